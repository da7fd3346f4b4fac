/* SPDX-License-Identifier: GPL-2.0 */
/* Small snapshot files, made of a beginning without a machine and random pages. */
#ifndef SELFTESTS_SNAPSHOT_FIXTURE_H
#define SELFTESTS_SNAPSHOT_FIXTURE_H

#include <stddef.h>
#include <stdint.h>

#include "snapshot/file.h"
#include "snapshot/writer.h"
#include "stream.h"

#define SF_PAGES	800		/* of RAM: 600 at 0, 200 at 1 MiB * 16 */
#define SF_LOW		600
#define SF_HIGH_GPA	0x1000000ULL

/* RAM, a ROM, RAM */
extern const struct state_range sf_range[3];

/* a directory for this run; a file's path in it, in one of a few buffers */
int sf_setup(void **state);
int sf_teardown(void **state);
char *sf_path(const char *name);

uint64_t sf_gpa(unsigned int page);	/* of 0..SF_PAGES - 1 */

/* the sections up to "memory", and "parent" with a name; NULL: none */
void sf_begin(struct sink *out, uint8_t id, const struct snapshot_parent *parent);

/* a whole file on the disk, as bytes; len + 1 are there */
uint8_t *sf_read(const char *path, size_t *len);
void sf_write(const char *path, const void *data, size_t len);

/* the offset of the n-th section with that tag; SIZE_MAX: there is none */
size_t sf_find(const uint8_t *data, size_t len, const char *tag, unsigned int n);
struct snapshot_trailer sf_trailer(const uint8_t *data, size_t len);
void sf_put_trailer(uint8_t *data, size_t len, struct snapshot_trailer t);	/* with its checksum */

extern char sf_err[768];
/* what each page holds: 0, zeroes; 1..99 can be compressed, others not */
extern uint32_t sf_model[SF_PAGES];

/* random runs, which overlap; the model has what was written last */
void sf_write_random(const char *name, uint8_t id, struct rng *r, unsigned int runs,
		     const struct snapshot_parent *parent);
struct snapshot_parent sf_parent(uint8_t id, const char *file);
/* a chain of that many files has what is in the model */
void sf_check_chain(const char *name, int wanted);
/* not opened, with these words in one line that names a file of ours */
void sf_refused(const char *name, const char *what);

/* one that is committed, unpacked: selftests/unit/DIR/NAME.zst */
uint8_t *sf_unpack(const char *dir, const char *name, size_t *len);
void sf_pack(const char *path, const void *data, size_t len);

#endif
