// SPDX-License-Identifier: GPL-2.0
/*
 * Requests to one file. Each is cut into steps (one system call's worth each):
 * short transfers go on where they stopped, transfers that O_DIRECT would
 * refuse go through a bounce buffer, and ranges that the host cannot zero are
 * written with zeroes.
 *
 * A host that is full stops nobody but the writes it has no room for: they are
 * tried again every second, as a guest does worse with an I/O error than with a
 * slow disk. A flush is not: what it failed to write may be gone.
 *
 * Order: a flush is an fdatasync that starts after it was submitted, so it
 * covers every write that was completed before. Nothing else is ordered, as
 * with a real disk.
 */
#define _GNU_SOURCE 1		/* fallocate modes */
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "block/block_priv.h"
#include "iov.h"
#include "loop.h"

#define BOUNCE_MAX	(128 * 1024U)	/* times BLOCK_DEPTH: the most we hold */
#define RETRIES_MAX	100
#define ROOM_NS		1000000000ULL	/* from one try for room to the next */

/* what a request is doing */
enum stage {
	STAGE_PLAIN,		/* the transfer itself */
	STAGE_BOUNCE,		/* the same through the bounce buffer */
	STAGE_FILL,		/* read around a write that is not aligned */
	STAGE_PUNCH,		/* fallocate PUNCH_HOLE */
	STAGE_ZERO,		/* fallocate ZERO_RANGE */
	STAGE_WRITE_ZEROES,	/* the host cannot: write them */
};

void block_list_add(struct block_list *l, struct block_req *req)
{
	req->next = NULL;
	if (l->tail)
		l->tail->next = req;
	else
		l->head = req;
	l->tail = req;
}

struct block_req *block_list_take(struct block_list *l)
{
	struct block_req *req = l->head;

	if (req) {
		l->head = req->next;
		if (!l->head)
			l->tail = NULL;
	}
	return req;
}

/* of data; a discard is none */
static bool is_write(const struct block_req *req)
{
	return req->op == BLOCK_WRITE || req->op == BLOCK_WRITE_ZEROES;
}

static void finish(struct block *b, struct block_req *req, int result)
{
	if (req->stalled && !--b->nstalled && !result)
		fprintf(stderr, "vmmd: disk %s: there is room again, and all writes that waited for it are done\n",
			b->path);
	free(req->bounce);
	req->bounce = NULL;
	b->in_flight--;
	b->exclusive = false;
	block_complete(b, req, result);
}

/* ---- what O_DIRECT would refuse ------------------------------------------- */

static bool range_aligned(const struct block_req *req)
{
	return !((req->pos | req->len) % req->file->align);
}

static bool memory_aligned(const struct block_req *req)
{
	unsigned int i;

	for (i = 0; i < req->niov; i++)
		if (((uintptr_t)req->iov[i].iov_base | req->iov[i].iov_len) %
		    req->file->align)
			return false;
	return true;
}

/* it writes what it read a moment ago around its data: no one in between */
static bool must_be_alone(const struct block_req *req)
{
	return req->file->align > 1 && is_write(req) && !range_aligned(req);
}

/* the piece of the request that the next bounce moves, bytes */
static uint64_t bounce_piece(const struct block_req *req)
{
	uint64_t skip = req->pos + req->progress - req->bounce_start;
	uint64_t room = req->bounce_len - skip;
	uint64_t left = req->len - req->progress;

	return left < room ? left : room;
}

static void bounce_window(struct block_req *req)
{
	uint64_t pos = req->pos + req->progress;
	uint64_t end = req->pos + req->len;
	uint64_t mask = req->file->align - 1;

	req->bounce_start = pos & ~mask;
	if (end > req->bounce_start + BOUNCE_MAX)
		end = req->bounce_start + BOUNCE_MAX;
	req->bounce_len = ((end + mask) & ~mask) - req->bounce_start;
}

static void bounce_put(struct block_req *req)
{
	uint8_t *to = (uint8_t *)req->bounce +
		(req->pos + req->progress - req->bounce_start);
	uint64_t n = bounce_piece(req);

	if (req->op == BLOCK_WRITE_ZEROES)
		memset(to, 0, n);
	else
		iov_read(req->iov, req->niov, 0, to, n);
}

static int bounce_next(struct block_req *req)
{
	if (!req->bounce && posix_memalign(&req->bounce, 4096, BOUNCE_MAX)) {
		req->bounce = NULL;
		return -ENOMEM;
	}
	bounce_window(req);
	req->stage = STAGE_BOUNCE;
	if (is_write(req)) {
		if (bounce_piece(req) < req->bounce_len)
			req->stage = STAGE_FILL;
		else
			bounce_put(req);
	}
	return 0;
}

/* ---- steps ---------------------------------------------------------------- */

static void issue_transfer(struct block *b, struct block_req *req)
{
	const struct block_step step = {
		.op = is_write(req) ? STEP_WRITE : STEP_READ,
		.offset = req->pos + req->progress,
		.iov = req->iov,
		.niov = req->niov,
	};

	engine_issue(b, req, &step);
}

static void issue_bounce(struct block *b, struct block_req *req)
{
	struct iovec iov = { req->bounce, req->bounce_len };
	const struct block_step step = {
		.op = req->stage == STAGE_BOUNCE && is_write(req) ?
			STEP_WRITE : STEP_READ,
		.offset = req->bounce_start,
		.iov = &iov,
		.niov = 1,
	};

	engine_issue(b, req, &step);
}

static void issue_zeroes(struct block *b, struct block_req *req)
{
	/* never written to */
	static uint8_t zeroes[BOUNCE_MAX] __attribute__((aligned(4096)));
	uint64_t left = req->len - req->progress;
	struct iovec iov = { zeroes, left < BOUNCE_MAX ? left : BOUNCE_MAX };
	const struct block_step step = {
		.op = STEP_WRITE,
		.offset = req->pos + req->progress,
		.iov = &iov,
		.niov = 1,
	};

	engine_issue(b, req, &step);
}

/* a device discards whole blocks of its own; the rest may keep its contents */
static void issue_fallocate(struct block *b, struct block_req *req)
{
	uint64_t start = req->pos, end = req->pos + req->len;
	uint64_t mask = req->file->device_align - 1;
	struct block_step step = { .op = STEP_FALLOCATE };

	if (req->op == BLOCK_DISCARD && req->file->is_device) {
		start = (start + mask) & ~mask;
		end &= ~mask;
	}
	if (start >= end) {
		engine_post(b, req, 0);
		return;
	}
	step.mode = FALLOC_FL_KEEP_SIZE | (req->stage == STAGE_PUNCH ?
			FALLOC_FL_PUNCH_HOLE : FALLOC_FL_ZERO_RANGE);
	step.offset = start;
	step.len = end - start;
	engine_issue(b, req, &step);
}

static void issue(struct block *b, struct block_req *req)
{
	static const struct block_step sync = { .op = STEP_FSYNC };

	if (req->op == BLOCK_FLUSH) {
		engine_issue(b, req, &sync);
		return;
	}
	switch (req->stage) {
	case STAGE_PLAIN:
		issue_transfer(b, req);
		break;
	case STAGE_BOUNCE:
	case STAGE_FILL:
		issue_bounce(b, req);
		break;
	case STAGE_PUNCH:
	case STAGE_ZERO:
		issue_fallocate(b, req);
		break;
	case STAGE_WRITE_ZEROES:
		issue_zeroes(b, req);
		break;
	}
}

/* the next step of a read, write or written-out zeroes */
static void transfer(struct block *b, struct block_req *req)
{
	bool zeroes = req->op == BLOCK_WRITE_ZEROES;
	unsigned int align = req->file->align;
	int ret;

	req->stage = zeroes ? STAGE_WRITE_ZEROES : STAGE_PLAIN;
	if (align > 1 && (!range_aligned(req) || req->progress % align ||
			  (!zeroes && !memory_aligned(req)))) {
		ret = bounce_next(req);
		if (ret) {
			engine_post(b, req, ret);
			return;
		}
	}
	issue(b, req);
}

static void block_start(struct block *b, struct block_req *req)
{
	b->in_flight++;
	b->exclusive = must_be_alone(req);
	if (req->res) {
		engine_post(b, req, req->res);
		return;
	}
	switch (req->op) {
	case BLOCK_READ:
	case BLOCK_WRITE:
		transfer(b, req);
		return;
	case BLOCK_FLUSH:
		break;
	case BLOCK_DISCARD:
		req->stage = STAGE_PUNCH;
		break;
	case BLOCK_WRITE_ZEROES:
		req->stage = req->may_unmap && req->file->can_discard ?
			STAGE_PUNCH : STAGE_ZERO;
		if (req->stage == STAGE_ZERO && req->file->no_zero_range) {
			transfer(b, req);
			return;
		}
		break;
	}
	issue(b, req);
}

/* ---- no room on the host -------------------------------------------------- */

static bool no_room(const struct block *b, const struct block_req *req, int res)
{
	return (res == -ENOSPC || res == -EDQUOT) && is_write(req) &&
		req->file == b->file && !b->draining;
}

static void stall(struct block *b, struct block_req *req, int res)
{
	if (!b->nstalled)
		fprintf(stderr, "vmmd: disk %s: %s: the guest's writes wait until there is room on the host's file system\n",
			b->path, strerror(-res));
	b->nstalled += !req->stalled;
	req->stalled = true;
	req->res = 0;
	free(req->bounce);	/* others may write around it meanwhile */
	req->bounce = NULL;
	b->in_flight--;
	b->exclusive = false;
	block_list_add(&b->stalled, req);
	loop_timer_arm(b->room, loop_now() + ROOM_NS);
}

/* they begin again where they stopped */
static void unstall(struct block *b)
{
	struct block_req *req;

	while ((req = block_list_take(&b->stalled)))
		block_list_add(&b->waiting, req);
}

static void room_timer(void *owner)
{
	struct block *b = owner;

	unstall(b);
	block_plug(b);
	block_pump(b);
	block_unplug(b);
}

/* ---- results -------------------------------------------------------------- */

static void moved(struct block *b, struct block_req *req, uint64_t n)
{
	if (!n) {		/* the file was cut short under us */
		finish(b, req, -EIO);
		return;
	}
	req->progress += n;
	if (req->op != BLOCK_WRITE_ZEROES)
		iov_drop_front(&req->iov, &req->niov, n);
	if (req->progress == req->len)
		finish(b, req, 0);
	else
		transfer(b, req);
}

static void bounce_done(struct block *b, struct block_req *req, uint64_t res)
{
	uint64_t skip = req->pos + req->progress - req->bounce_start;
	uint64_t n = bounce_piece(req);

	if (req->stage == STAGE_FILL) {
		if (res < req->bounce_len) {
			finish(b, req, -EIO);
			return;
		}
		bounce_put(req);
		req->stage = STAGE_BOUNCE;
		issue(b, req);
		return;
	}
	if (res < skip + n)
		n = res > skip ? res - skip : 0;
	if (req->op == BLOCK_READ)
		iov_write(req->iov, req->niov, 0, (uint8_t *)req->bounce + skip, n);
	moved(b, req, n);
}

/* the host cannot do it this way: is there another one */
static void fallocate_failed(struct block *b, struct block_req *req, int res)
{
	struct block_file *f = req->file;
	uint64_t range[2] = { req->pos, req->len };

	if (res != -EOPNOTSUPP && res != -EINVAL && res != -ENOSYS &&
	    res != -ENODEV) {
		finish(b, req, res);
	} else if (req->op == BLOCK_DISCARD) {
		/* a device that discards, but not to zeroes */
		if (f->is_device && !ioctl(f->fd, BLKDISCARD, range))
			res = 0;
		finish(b, req, res ? -EOPNOTSUPP : 0);
	} else if (req->stage == STAGE_PUNCH && !f->no_zero_range) {
		req->stage = STAGE_ZERO;
		issue(b, req);
	} else {
		f->no_zero_range |= res != -EINVAL;
		transfer(b, req);
	}
}

static bool transient(int res)
{
	return res == -EINTR || res == -EAGAIN || res == -ECANCELED;
}

void block_step_done(struct block *b, struct block_req *req, int res)
{
	bool range = req->stage == STAGE_PUNCH || req->stage == STAGE_ZERO;

	if (transient(res) && req->retries++ < RETRIES_MAX)
		issue(b, req);
	else if (no_room(b, req, res))
		stall(b, req, res);
	else if (res < 0 && range)
		fallocate_failed(b, req, res);
	else if (res < 0)
		finish(b, req, res);
	else if (range || req->op == BLOCK_FLUSH)
		finish(b, req, 0);
	else if (req->stage == STAGE_BOUNCE || req->stage == STAGE_FILL)
		bounce_done(b, req, res);
	else
		moved(b, req, res);
}

/* ---- what the other files call -------------------------------------------- */

void block_pump(struct block *b)
{
	struct block_req *req;

	while ((req = b->waiting.head) && b->in_flight < BLOCK_DEPTH &&
	       !b->exclusive) {
		if (b->in_flight && must_be_alone(req))
			break;
		block_start(b, block_list_take(&b->waiting));
	}
}

void step_submit(struct block *b, struct block_file *f, struct block_req *req)
{
	req->file = f;
	req->pos = f->start + req->offset;
	req->progress = 0;
	req->bounce = NULL;
	req->stage = STAGE_PLAIN;
	req->retries = 0;
	req->stalled = false;
	block_list_add(&b->waiting, req);
	block_pump(b);
	if (!b->plugged)
		engine_flush(b);
}

void step_drain(struct block *b)
{
	b->draining++;
	unstall(b);
	block_pump(b);
	while (b->pending)
		engine_wait(b);
	b->draining--;
}

int step_start(struct block *b)
{
	b->room = loop_timer_new(b->loop, room_timer, b);
	return b->room ? engine_start(b) : -ENOMEM;
}

void step_stop(struct block *b)
{
	while (b->in_flight || b->waiting.head)
		engine_wait(b);
	engine_stop(b);
	if (b->room)
		loop_timer_free(b->room);
}
