// SPDX-License-Identifier: GPL-2.0
/*
 * A copy of the disk as it was at one instant, made while it changes.
 *
 * Writes that were at work at the instant belong to the copy: it begins when
 * they are done, and later ones wait for that. Then a write goes on when all of
 * its granules were copied; those that were not are copied before anything else
 * is. The guest waits for nothing but that, and not at all when the copy fails.
 *
 * Holes stay holes. Where they are is asked when all that was written before is
 * on the disk: file systems have said hole of what was just on its way there.
 * Until then only what the guest overwrites is copied, hole or not.
 *
 * A file system that shares blocks first writes out what it has of the disk in
 * memory: a flush beforehand makes the instant short.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "block/overlay.h"

#define CHUNK		(256 * 1024U)
#define CHUNK_GRANULES	(CHUNK / BLOCK_GRANULE)
#define CHUNKS		4	/* memory of a copy is so many of these */
#define BACKGROUND	2	/* with those that nobody waits for */

struct chunk {
	struct block_copy *c;
	bool busy;
	uint64_t first, end;		/* granules */
	void *buf;
	struct iovec iov;
	struct block_req req;
};

struct block_copy {
	struct block *b;
	struct block_file out;
	bool same_base;
	bool begun;			/* writes of before are done */
	struct block_file *settling;	/* is being flushed; NULL: none is */
	bool settled;			/* and all are: holes can be told */
	struct block_req flush;
	bool ending;
	int result;			/* not 0: it has failed, it ends */
	uint64_t granules;
	uint64_t *left;			/* granules that no chunk took yet */
	uint64_t next;			/* none of left is before it */
	uint64_t total, copied;
	struct block_list held;
	struct chunk chunk[CHUNKS];
	unsigned int busy;
	struct block_req end;
	void (*done)(void *owner, int result);
	void *owner;
};

static void copy_kick(struct block_copy *c);

/* ---- chunks --------------------------------------------------------------- */

static void copy_fail(struct block_copy *c, int error)
{
	if (!c->result)
		c->result = error;
}

static void chunk_free(struct chunk *k)
{
	k->busy = false;
	k->c->busy--;
	copy_kick(k->c);
}

static void chunk_written(struct block_req *req, int result)
{
	struct chunk *k = req->owner;

	if (result)
		copy_fail(k->c, result);
	else
		k->c->copied += k->end - k->first;
	chunk_free(k);
}

static void chunk_request(struct chunk *k, enum block_op op,
			  void (*done)(struct block_req *req, int result))
{
	uint64_t offset = k->first * BLOCK_GRANULE;
	uint64_t len = (k->end - k->first) * BLOCK_GRANULE;

	if (len > k->c->b->file->size - offset)
		len = k->c->b->file->size - offset;
	k->iov = (struct iovec){ k->buf, len };
	k->req = (struct block_req){
		.op = op, .offset = offset, .len = len, .iov = &k->iov,
		.niov = 1, .done = done, .owner = k, .piece = true,
	};
}

static bool is_zero(const uint8_t *buf, size_t len)
{
	return !buf[0] && !memcmp(buf, buf + 1, len - 1);
}

static void chunk_read(struct block_req *req, int result)
{
	struct chunk *k = req->owner;

	if (result || k->c->result) {
		copy_fail(k->c, result);
		chunk_free(k);
		return;
	}
	if (is_zero(k->buf, k->iov.iov_len)) {
		chunk_written(req, 0);
		return;
	}
	chunk_request(k, BLOCK_WRITE, chunk_written);
	step_submit(k->c->b, &k->c->out, &k->req);
}

/* from a granule of left on, as far as that and its data go */
static void chunk_start(struct block_copy *c, uint64_t g, uint64_t end)
{
	struct chunk *k = c->chunk;

	while (k->busy)
		k++;
	k->busy = true;
	c->busy++;
	k->first = g;
	if (end > g + CHUNK_GRANULES)
		end = g + CHUNK_GRANULES;
	k->end = bit_next_clear(c->left, g, end);
	bits_change(c->left, k->first, k->end, false);
	chunk_request(k, BLOCK_READ, chunk_read);
	block_dispatch(c->b, &k->req);
}

/* start one at g or behind it and before end; false: nothing is left there */
static bool copy_from(struct block_copy *c, uint64_t g, uint64_t end)
{
	uint64_t run;
	bool data;

	while ((g = bit_next(c->left, g, end)) < end) {
		data = true;
		run = c->settled ? overlay_extent(c->b->file, g, end, &data) : end;
		if (data) {
			chunk_start(c, g, run);
			return true;
		}
		/* the copy has it already */
		c->copied += bits_change(c->left, g, run, false);
		g = run;
	}
	return false;
}

/* ---- writes that wait ----------------------------------------------------- */

static void range(const struct block_req *req, uint64_t *g, uint64_t *end)
{
	*g = req->offset / BLOCK_GRANULE;
	*end = (req->offset + req->len + BLOCK_GRANULE - 1) / BLOCK_GRANULE;
}

static bool passes(const struct block_copy *c, const struct block_req *req)
{
	const struct chunk *k;
	uint64_t g, end;

	if (c->result || c->ending)
		return true;
	if (!c->begun)
		return false;
	range(req, &g, &end);
	for (k = c->chunk; k < c->chunk + CHUNKS; k++)
		if (k->busy && g < k->end && k->first < end)
			return false;
	return bit_next(c->left, g, end) == end;
}

static void release(struct block_copy *c)
{
	struct block_list l = c->held;
	struct block_req *req;

	c->held = (struct block_list){ 0 };
	while ((req = block_list_take(&l))) {
		if (passes(c, req))
			block_dispatch(c->b, req);
		else
			block_list_add(&c->held, req);
	}
}

/* what the first of them needs; false: they have it all, or nobody waits */
static bool copy_wanted(struct block_copy *c)
{
	struct block_req *req;
	uint64_t g, end;

	for (req = c->held.head; req; req = req->next) {
		range(req, &g, &end);
		if (copy_from(c, g, end))
			return true;
	}
	return false;
}

bool block_copy_holds(struct block_copy *c, struct block_req *req)
{
	if (passes(c, req))
		return false;
	block_list_add(&c->held, req);
	copy_kick(c);
	return true;
}

/* ---- the whole ------------------------------------------------------------ */

static void copy_end(struct block_req *req, int result)
{
	struct block_copy *c = req->owner;
	void (*done)(void *owner, int result) = c->done;
	void *owner = c->owner;
	unsigned int i;

	copy_fail(c, result);
	result = c->result;
	if (result)
		unlink(c->out.path);
	c->b->copy = NULL;
	release(c);
	file_close(&c->out);
	for (i = 0; i < CHUNKS; i++)
		free(c->chunk[i].buf);
	free(c->left);
	free(c);
	done(owner, result);
}

/* all of it is there, or it failed: a flush, or its failure, ends it */
static void copy_finish(struct block_copy *c)
{
	c->ending = true;
	if (!c->result && c->out.is_overlay)
		copy_fail(c, overlay_write_map(&c->out));
	c->end = (struct block_req){
		.op = BLOCK_FLUSH, .res = c->result, .done = copy_end,
		.owner = c, .piece = true,
	};
	step_submit(c->b, &c->out, &c->end);
}

static void copy_kick(struct block_copy *c)
{
	struct block *b = c->b;

	if (c->ending || (!c->begun && !c->result))
		return;
	b->plugged++;
	while (!c->result && c->busy < CHUNKS && copy_wanted(c))
		;
	while (c->settled && !c->result && c->busy < BACKGROUND &&
	       c->next < c->granules) {
		c->next = bit_next(c->left, c->next, c->granules);
		if (!copy_from(c, c->next, c->granules))
			c->next = c->granules;
	}
	if (!c->busy && !c->settling && (c->result || c->next == c->granules))
		copy_finish(c);
	/* holes were found, or it is over */
	release(c);
	b->plugged--;
	if (!b->plugged)
		engine_flush(b);
}

/* blocks shared with the disk's file; false: not here */
static bool try_clone(struct block_copy *c)
{
	return !c->b->file->is_overlay && !c->b->file->is_device &&
		!c->out.is_overlay &&
		!ioctl(c->out.fd, FICLONE, c->b->file->fd);
}

static void settle(struct block_copy *c, struct block_file *f);

static void settle_done(struct block_req *req, int result)
{
	struct block_copy *c = req->owner;
	struct block_file *f = c->settling->below;

	c->settling = NULL;
	if (result)
		copy_fail(c, result);
	if (f && !c->result) {
		settle(c, f);
		return;
	}
	c->settled = true;
	copy_kick(c);
}

/* it, and those below */
static void settle(struct block_copy *c, struct block_file *f)
{
	c->settling = f;
	c->flush = (struct block_req){
		.op = BLOCK_FLUSH, .done = settle_done, .owner = c, .piece = true,
	};
	step_submit(c->b, f, &c->flush);
}

/* nothing is written to the disk now */
static void copy_begin(struct block_copy *c)
{
	size_t words = (c->granules + 63) / 64;

	c->begun = true;
	if (c->same_base) {
		memcpy(c->left, c->b->file->bits, words * 8);
		memcpy(c->out.bits, c->left, words * 8);
	}
	c->total = bits_count(c->left, c->granules);
	if (try_clone(c)) {
		memset(c->left, 0, words * 8);
		c->copied = c->total;
		c->next = c->granules;
		return;
	}
	settle(c, c->b->file);
}

void block_copy_quiet(struct block_copy *c)
{
	if (c->begun || c->result)
		return;
	copy_begin(c);
	copy_kick(c);
}

void block_copy_cancel(struct block_copy *c)
{
	copy_fail(c, -ECANCELED);
	copy_kick(c);
}

void block_copy_progress(const struct block_copy *c, uint64_t *done,
			 uint64_t *total)
{
	*done = c->copied * BLOCK_GRANULE;
	*total = c->total * BLOCK_GRANULE;
}

/* ---- beginning ------------------------------------------------------------ */

static int open_raw(struct block_copy *c, const char *path, char *err,
		    unsigned long errlen)
{
	struct block_file *out = &c->out;

	*out = (struct block_file){ .fd = -1, .path = strdup(path), .align = 1 };
	if (!out->path)
		return file_refuse(c->b->file, err, errlen, "no memory for a copy");
	out->fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
	if (out->fd < 0)
		return file_refuse(out, err, errlen, "cannot be made: %s; a copy is a new file in a directory that exists",
				   strerror(errno));
	if (!ftruncate(out->fd, c->b->file->size))
		return 0;
	file_refuse(out, err, errlen, "a file of %llu bytes cannot be made: %s",
		    (unsigned long long)c->b->file->size, strerror(errno));
	unlink(path);
	return -1;
}

static int open_overlay(struct block_copy *c, const char *path,
			const struct block_copy_opts *o, char *err,
			unsigned long errlen)
{
	const struct block_file *f = c->b->file;
	size_t words = (c->granules + 63) / 64;

	if (!f->is_overlay && c->same_base)
		return file_refuse(f, err, errlen, "it is no overlay, and a copy over the same base is wanted");
	if (overlay_make(&c->out, path, c->same_base ? f->below->path : o->base,
			 false, err, errlen))
		return -1;
	if (c->out.size != f->size) {
		unlink(path);
		return file_refuse(f, err, errlen, "its size is %llu bytes and that of %s is %llu; a copy of what differs wants them to be the same",
				   (unsigned long long)f->size, o->base,
				   (unsigned long long)c->out.size);
	}
	if (c->same_base)
		return 0;
	memcpy(c->left, o->set, words * 8);
	memcpy(c->out.bits, o->set, words * 8);
	return 0;
}

static int copy_memory(struct block_copy *c)
{
	size_t words = (c->granules + 63) / 64;
	unsigned int i;

	c->left = malloc(words * 8);
	for (i = 0; i < CHUNKS; i++) {
		c->chunk[i].c = c;
		if (posix_memalign(&c->chunk[i].buf, 4096, CHUNK))
			c->chunk[i].buf = NULL;
		if (!c->left || !c->chunk[i].buf)
			return -1;
	}
	memset(c->left, 0xff, words * 8);
	return 0;
}

struct block_copy *block_copy_start(struct block *b, const char *path,
				    const struct block_copy_opts *opts,
				    void (*done)(void *owner, int result),
				    void *owner, char *err,
				    unsigned long errlen)
{
	struct block_copy *c;
	unsigned int i;
	int ret;

	if (b->copy) {
		file_refuse(b->file, err, errlen, "a copy of it is being made; wait until it is done");
		return NULL;
	}
	c = calloc(1, sizeof(*c));
	if (!c) {
		file_refuse(b->file, err, errlen, "no memory for a copy");
		return NULL;
	}
	c->b = b;
	c->out.fd = -1;
	c->granules = block_granules(b);
	c->same_base = opts->same_base;
	c->done = done;
	c->owner = owner;
	if (copy_memory(c))
		ret = file_refuse(b->file, err, errlen, "no memory for a copy");
	else if (opts->base || opts->same_base)
		ret = open_overlay(c, path, opts, err, errlen);
	else
		ret = open_raw(c, path, err, errlen);
	if (ret) {
		file_close(&c->out);
		for (i = 0; i < CHUNKS; i++)
			free(c->chunk[i].buf);
		free(c->left);
		free(c);
		return NULL;
	}
	b->copy = c;
	if (!b->writing)
		block_copy_quiet(c);
	return c;
}
