/* SPDX-License-Identifier: GPL-2.0 */
/* A disk on a file of its own, and requests to it. */
#ifndef BLOCK_FIXTURE_H
#define BLOCK_FIXTURE_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "block/block_priv.h"

#define MIB	(1024 * 1024ULL)
#define DISK	(4 * MIB)

struct disk {
	pthread_mutex_t lock;
	struct loop *loop;
	struct block *b;
};

struct answer {
	struct block_req req;
	bool done;
	int result;
	unsigned int order;
};

enum engine { URING, SYNC, DIRECT };

extern const char *const engine_names[];
extern char dir[];		/* made for this run */
extern char path[256];		/* of the disk, in it */
extern char err[1024];		/* of the last open that failed */

/* of a group of tests: the directory, and then it is empty again */
int block_setup(void **state);
int block_teardown(void **state);

char *in_dir(char to[256], const char *name);
void make_file(const void *head, size_t len, uint64_t size);
struct disk *disk_open(const struct block_opts *opts);
/* NULL: it has no O_DIRECT here */
struct disk *open_on(enum engine e, const struct block_opts *base);
void disk_close(struct disk *d);
void submit(struct disk *d, struct answer *a, enum block_op op,
	    uint64_t offset, uint64_t len, struct iovec *iov,
	    unsigned int niov);
/* a request that is waited for; its result */
int one(struct disk *d, enum block_op op, uint64_t offset, void *buf,
	uint64_t len);
/* path is not opened, and err has these words and the path in one line */
void refused(const char *what, const char *remedy);
uint32_t rnd(uint32_t below);
/* in another process, which may mount: 0 is success, 77 skips the test */
void in_child(int (*fn)(void));

#endif
