/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Between the files of block/: probe.c opens and refuses, block.c cuts
 * requests into steps, engine.c carries steps out.
 */
#ifndef VMMD_BLOCK_PRIV_H
#define VMMD_BLOCK_PRIV_H

#include <liburing.h>
#include <stdbool.h>
#include <stdint.h>

#include "block/block.h"

#define BLOCK_DEPTH	128	/* requests with the host at once */

struct loop_fd;
struct loop_timer;

struct block_list {
	struct block_req *head;
	struct block_req *tail;
};

struct block {
	char *path;

	/* probe.c */
	int fd;
	uint64_t size;			/* bytes */
	bool read_only;
	bool direct;
	bool is_device;
	bool can_discard;
	unsigned int align;		/* of O_DIRECT; 1: none */
	unsigned int device_align;	/* of discards of a device */

	/* block.c */
	struct block_list waiting;	/* not started */
	unsigned int in_flight;
	bool exclusive;			/* one that must be alone is running */
	bool no_zero_range;		/* the host said so */
	struct block_list stalled;	/* wait for room on the host */
	unsigned int nstalled;		/* have waited for it, and are not done */
	unsigned int draining;		/* nothing may wait for room */
	struct loop_timer *room;	/* stalled requests are tried again */
	void (*batch)(void *owner);	/* some are done; NULL: nobody asks */
	void *batch_owner;
	bool some_done;			/* since batch was called */

	/* engine.c */
	struct loop *loop;
	bool uring;			/* else: synchronous */
	struct io_uring ring;
	struct loop_fd *ring_fd;
	struct loop_timer *timer;	/* sync: results wait; uring: retry */
	struct block_list results;	/* steps done, result in res */
	unsigned int plugged;		/* holds of engine_flush */
	bool unsubmitted;
};

enum step_op {
	STEP_READ,
	STEP_WRITE,
	STEP_FSYNC,
	STEP_FALLOCATE,
};

/* one system call's worth of a request */
struct block_step {
	enum step_op op;
	int mode;			/* of fallocate */
	uint64_t offset;
	uint64_t len;			/* of fallocate */
	struct iovec *iov;		/* more than one: valid until it is done */
	unsigned int niov;
};

void block_list_add(struct block_list *l, struct block_req *req);
struct block_req *block_list_take(struct block_list *l);

/* open, lock, refuse; 0 or -1 with one line in err[] */
int block_probe(struct block *b, const char *path,
		const struct block_opts *opts, char *err, unsigned long errlen);

int engine_start(struct block *b);	/* 0 or -errno */
void engine_stop(struct block *b);
void engine_issue(struct block *b, struct block_req *req,
		  const struct block_step *step);
/* as if a step had been done with this result */
void engine_post(struct block *b, struct block_req *req, int res);
void engine_flush(struct block *b);	/* issued steps go to the host */
/* finish what the host has done, and start what waited for that */
void engine_collect(struct block *b);
void engine_wait(struct block *b);	/* for at least one step, and finish it */

/* engine.c tells block.c: bytes moved, 0, or -errno */
void block_step_done(struct block *b, struct block_req *req, int res);
/* room has come: start what waits */
void block_pump(struct block *b);

#endif
