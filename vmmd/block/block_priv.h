/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Between the files of block/. A disk is a chain of files: overlays, and a raw
 * image or a device at its end; most have the latter only. probe.c opens a file
 * and refuses, overlay*.c are about chains, block.c hands each request to the
 * file or files that it concerns, step.c cuts what goes to one file into steps,
 * engine.c carries steps out.
 */
#ifndef VMMD_BLOCK_PRIV_H
#define VMMD_BLOCK_PRIV_H

#include <liburing.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

#include "block/block.h"

#define BLOCK_DEPTH	128	/* requests with the host at once */

struct loop_fd;
struct loop_timer;
struct overlay;

struct block_list {
	struct block_req *head;
	struct block_req *tail;
};

struct block_file {
	char *path;			/* as given, for reports */
	int fd;
	struct stat st;			/* when it was opened */
	uint64_t size;			/* bytes of the disk */
	uint64_t start;			/* the disk's first byte is here */
	bool read_only;
	bool direct;
	bool is_device;
	bool is_overlay;
	bool is_late;			/* was opened without a lock */
	bool can_discard;
	bool no_zero_range;		/* the host said so */
	unsigned int align;		/* of O_DIRECT; 1: none */
	unsigned int device_align;	/* of discards of a device */

	/* overlays only */
	uint8_t id[16];
	uint64_t *bits;			/* granules it has; NULL: all */
	struct block_file *below;	/* has what this one has not */
	const struct block_file *above;	/* whose base it is; NULL: the disk */
};

struct block {
	char *path;
	struct block_file *file;	/* the one that is written */
	unsigned int align;		/* the largest of the chain's */

	/* block.c */
	unsigned int pending;		/* requests that are not done */
	unsigned int writing;		/* those at work that change the disk */
	void (*batch)(void *owner);	/* some are done; NULL: nobody asks */
	void *batch_owner;
	bool some_done;			/* since batch was called */

	/* track.c */
	uint64_t *tracked;		/* granules written; NULL: not tracked */
	uint64_t ntracked;

	/* copy.c */
	struct block_copy *copy;	/* NULL: none is made */

	/* overlay_io.c */
	struct overlay *overlay;	/* NULL: a raw disk */

	/* step.c */
	struct block_list waiting;	/* not started */
	unsigned int in_flight;
	bool exclusive;			/* one that must be alone is running */
	struct block_list stalled;	/* wait for room on the host */
	unsigned int nstalled;		/* have waited for it, and are not done */
	unsigned int draining;		/* nothing may wait for room */
	struct loop_timer *room;	/* stalled requests are tried again */

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

static inline bool block_is_write(const struct block_req *req)
{
	return req->op != BLOCK_READ && req->op != BLOCK_FLUSH;
}

void block_list_add(struct block_list *l, struct block_req *req);
struct block_req *block_list_take(struct block_list *l);

/*
 * probe.c: open, lock, refuse. `above` is the overlay whose base it is, or NULL.
 * 0, or -1 with one line in err[]; file_close either way.
 */
int file_open(struct block_file *f, const char *path,
	      const struct block_opts *opts, const struct block_file *above,
	      char *err, unsigned long errlen);
void file_close(struct block_file *f);		/* and what is below */
/* with F_WRLCK, F_RDLCK or F_UNLCK, at once; 0 or -errno, -EAGAIN if it is locked */
int file_lock(const struct block_file *f, short type);
/* a file's name is in its directory after a crash, too; 0 or -errno */
int file_sync_dir(const char *path);
/* one line in err[], with the disk's name in front; -1 */
__attribute__((format(printf, 4, 5)))
int file_refuse(const struct block_file *f, char *err, unsigned long errlen,
		const char *fmt, ...);

/*
 * step.c: a request, or a piece of one, whose op, offset, len, iov, niov and
 * done are set, goes to one file; if req->res is not 0, that is its result.
 */
int step_start(struct block *b);		/* 0 or -errno */
void step_stop(struct block *b);		/* waits for all that is in flight */
void step_submit(struct block *b, struct block_file *f, struct block_req *req);
void step_drain(struct block *b);		/* until no request is pending */
/* engine.c tells it: bytes moved, 0, or -errno */
void block_step_done(struct block *b, struct block_req *req, int res);
/* room has come: start what waits */
void block_pump(struct block *b);

/* block.c: to the file or files */
void block_dispatch(struct block *b, struct block_req *req);
/* this one is done, whoever wanted it */
void block_complete(struct block *b, struct block_req *req, int result);

/* track.c: that granule and others */
void block_track_write(struct block *b, const struct block_req *req);

/* copy.c: take a write that is not to reach the disk yet */
bool block_copy_holds(struct block_copy *c, struct block_req *req);
/* no write is at work any more */
void block_copy_quiet(struct block_copy *c);

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

#endif
