/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A disk's bytes: a raw file, a block device or an overlay over one of them,
 * driven through io_uring. Knows nothing of virtio. Completions come as callbacks with the machine lock
 * held: in the loop's thread, and in that of block_unplug for what the host had
 * at hand.
 */
#ifndef VMMD_BLOCK_H
#define VMMD_BLOCK_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#define BLOCK_GRANULE	4096U	/* bytes: unit of overlays, sets and copies */

struct block;
struct block_file;
struct loop;

enum block_op {
	BLOCK_READ,
	BLOCK_WRITE,
	BLOCK_FLUSH,		/* fdatasync: what was completed is durable */
	BLOCK_DISCARD,		/* contents become undefined (here: zero) */
	BLOCK_WRITE_ZEROES,
};

struct block_req {
	enum block_op op;
	uint64_t offset;	/* bytes */
	uint64_t len;		/* bytes */
	struct iovec *iov;	/* read, write: sums to len; may be consumed */
	unsigned int niov;
	bool may_unmap;		/* write zeroes: the range may be deallocated */
	/*
	 * Result: 0, or -errno. Short transfers are continued or -EIO. Writes
	 * that the host has no room for wait until there is; block_drain and
	 * block_close do not wait for room: -ENOSPC or -EDQUOT.
	 */
	void (*done)(struct block_req *req, int result);
	void *owner;
	/* block/'s own */
	bool piece;		/* of what a request needs, or of our own */
	struct block_file *file;
	uint64_t pos;		/* offset in the file */
	uint64_t progress;	/* bytes done */
	void *bounce;
	uint64_t bounce_start;	/* offset of the bounce buffer's first byte */
	uint32_t bounce_len;
	uint8_t stage;
	uint8_t retries;
	bool stalled;		/* the host had no room for it */
	int res;
	struct block_req *next;
};

struct block_opts {
	bool read_only;
	bool direct;		/* O_DIRECT */
	bool late;		/* another vmmd has it yet: block_take before it is used */
};

/*
 * Open and lock (OFD lock: another vmmd is refused). NULL on failure, with one
 * line that says what was wanted, what was found and what to do in err[].
 * Refused: missing, a directory, unreadable, empty, not a multiple of 512, a
 * qcow2/vmdk/vdi/vhdx by its magic (names `qemu-img convert`), locked; an
 * overlay that is damaged, or whose base is missing or not as it was.
 */
struct block *block_open(const char *path, const struct block_opts *opts,
			 struct loop *loop, char *err, unsigned long errlen);
void block_close(struct block *b);	/* waits for what is in flight */
const char *block_path(const struct block *b);	/* as given, for reports */
uint64_t block_size(const struct block *b);	/* bytes */
bool block_read_only(const struct block *b);
bool block_is_device(const struct block *b);
/* 16 bytes that tell an overlay from all others; of other disks they are 0 */
const uint8_t *block_id(const struct block *b);
bool block_can_discard(const struct block *b);
/* O_DIRECT: alignment wanted of offset, length and memory, bytes; else 1 */
unsigned int block_align(const struct block *b);
/* never calls done from inside */
void block_submit(struct block *b, struct block_req *req);
/*
 * Requests between the two reach the host in one system call. Those that it
 * carried out within that (its page cache had the data) are done on return.
 */
void block_plug(struct block *b);
void block_unplug(struct block *b);
/*
 * fn is called after one or more requests were done, when no other is at hand:
 * the place to tell of all of them at once.
 */
void block_set_batch(struct block *b, void (*fn)(void *owner), void *owner);
void block_drain(struct block *b);	/* until no request is in flight */

/*
 * Which granules are written, a bit each: set when a write is submitted and
 * again when it is done, so that a set taken while it is in flight and the next
 * one have it. Switching it off forgets the set. 0 or -ENOMEM.
 */
int block_track(struct block *b, bool on);
uint64_t block_tracked(const struct block *b);	/* bytes: how much is written */
uint64_t block_granules(const struct block *b);	/* bits of a set */
/* the set, for the caller to free; it begins anew. NULL: no memory, it goes on */
uint64_t *block_harvest(struct block *b);

/*
 * A copy of the disk as it is when this is called, made while the guest goes on:
 * at once where the file system can share blocks, else in the background, and
 * what the guest overwrites is copied before. Writes that are in flight belong
 * to the copy, and later ones wait for them (for room on the host, too). path
 * must not exist; it goes away if the copy fails, which no request of the
 * guest's does for that. One copy at a time.
 *
 * done is called once, later, with 0 when all of it is on the disk (the
 * directory is the caller's), or -errno (-ECANCELED); the copy is gone then.
 * NULL, with one line in err[], if it cannot begin.
 */
struct block_copy;

struct block_copy_opts {
	/* NULL: a raw file. Else an overlay over this disk, which has set */
	const char *base;
	const uint64_t *set;		/* as block_harvest returns it */
	/* the disk is an overlay: make one over the same base */
	bool same_base;
};

struct block_copy *block_copy_start(struct block *b, const char *path,
				    const struct block_copy_opts *opts,
				    void (*done)(void *owner, int result),
				    void *owner, char *err,
				    unsigned long errlen);
void block_copy_cancel(struct block_copy *c);
/* bytes; what was never written counts as copied when it is found */
void block_copy_progress(const struct block_copy *c, uint64_t *done,
			 uint64_t *total);

/*
 * From any thread, without the machine lock, while the guest works: to read all
 * of a disk, and what was written since again. And on a disk whose guest does
 * not run yet: to write it, durable after a flush. Whole granules, but for the
 * disk's end. 0 or -errno.
 */
int block_read_raw(struct block *b, uint64_t offset, void *buf, uint64_t len);
int block_write_raw(struct block *b, uint64_t offset, const void *buf,
		    uint64_t len);
/*
 * The end of a run of granules, from g on and at most `end`, that all have data, or
 * that have none and are zero. Of what was flushed; of what is on its way to the disk
 * a file system may say that it is not there.
 */
uint64_t block_extent(const struct block *b, uint64_t g, uint64_t end, bool *data);

/* Lock held: make durable what was completed and written, now. 0 or -errno */
int block_flush(struct block *b);

/*
 * From one vmmd to another that has opened it `late`: who lets go of it has nothing
 * in flight, has flushed, and does not touch it before he takes it again. take gets
 * the lock, and sees what the other one has written: 0, or -EAGAIN while somebody
 * else has it, or another -errno, with one line in err[]. A block device has no lock
 * that other hosts know of.
 */
void block_let_go(struct block *b);
int block_take(struct block *b, char *err, unsigned long errlen);

/*
 * A number that goes with the disk, for who has it open; 0 before it is set. It
 * can only grow: set is refused with -ESTALE if it is not `from` or to <= from.
 * 0, or -errno with one line in err[]; set is durable on return. If set fails
 * with another error, get tells whether it came about.
 */
int block_generation_get(const struct block *b, uint64_t *generation,
			 char *err, unsigned long errlen);
int block_generation_set(struct block *b, uint64_t from, uint64_t to,
			 char *err, unsigned long errlen);

/*
 * Make a disk of that many bytes, all zero: a raw file, which must not exist. 0, or
 * -errno with one line in err[].
 */
int block_create(const char *path, uint64_t size, char *err, unsigned long errlen);
/*
 * Make an overlay over base: a file that has what is written to it and takes
 * the rest from base, which is not changed. top must not exist. 0, or -1 with
 * one line in err[].
 */
int block_overlay_create(const char *top, const char *base, char *err,
			 unsigned long errlen);

#endif
