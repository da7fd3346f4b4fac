/* SPDX-License-Identifier: GPL-2.0 */
/* The receiving side of a migration, of whatever VM: all that is said and decided. */
#ifndef VMMD_MIGRATE_TARGET_H
#define VMMD_MIGRATE_TARGET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "migrate/commit.h"
#include "migrate/message.h"
#include "state/pages.h"
#include "state/section.h"

struct channel;

/* what it wants of the VM that it makes. 0, or -errno with one line in err[] */
struct target_guest {
	void *owner;
	/* where these guest addresses are; NULL: not all of it in RAM */
	uint8_t *(*place)(void *owner, uint64_t gpa, uint64_t len);
	/* a section of the state, whose head was read */
	int (*load)(void *owner, struct source *in, char *err, size_t errlen);
	int (*loaded)(void *owner, const char *name, char *err, size_t errlen);
	/* forget all but the pages */
	int (*again)(void *owner, char *err, size_t errlen);
	/* a disk that comes, too: disk_mirror.h; NULL: there is none */
	int (*store)(void *owner, uint64_t offset, const void *data, uint32_t granules,
		     char *err, size_t errlen);
	int (*flush)(void *owner, char *err, size_t errlen);
	/* "go" came: is the disk ours; NULL: there is none that knows */
	int (*claim)(void *owner, char *err, size_t errlen);
};

struct target {
	struct channel *c;
	const struct target_guest *guest;	/* those of the disk: may be set until load */
	enum target_state state;
	struct source in;
	struct sink out;
	struct migrate_hello hello;
	struct migrate_disk disk;	/* with HELLO_DISK or HELLO_MIRROR */
	bool disk_zero;			/* which we have made, and is all zeroes */
	struct migrate_streams streams;	/* with HELLO_STREAMS */
	struct streams_in *more;	/* ours from then on; NULL: none */
	uint32_t offer;		/* number of the last one */
	bool paused;		/* it does not go on by itself */
	bool unheard;		/* all was there, but no word came: the source may ask */
	/* private */
	struct pages_coder *coder;
	uint8_t *body;
	uint8_t *granules;		/* PAGES_BYTES, of a disk's */
	uint64_t stored;		/* bytes since a flush */
	bool state_begun;
};

/*
 * The body of a section of pages, whose head was read, into the VM, by way of a body[]
 * of PAGES_BODY_MAX bytes. For any thread that has its own of these. 0 or -errno, told
 */
int target_take_pages(struct source *in, struct pages_coder *coder, uint8_t *body,
		      const struct target_guest *guest, char *err, size_t errlen);

/*
 * 0 or -errno with one line in err[], after which there is only target_fail. In this
 * order: init, hello, then whatever says how to make the VM, from t->in; load, until
 * all is there; wait, until it is ours: the guest may run, and has to.
 */
int target_init(struct target *t, struct channel *c, const struct target_guest *guest);
int target_hello(struct target *t, char *err, size_t errlen);
int target_load(struct target *t, char *err, size_t errlen);
int target_wait(struct target *t, char *err, size_t errlen);
/* it never runs here: tell the source why */
void target_fail(struct target *t, const char *why);
void target_free(struct target *t);	/* not the channel */

#endif
