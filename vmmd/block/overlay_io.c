// SPDX-License-Identifier: GPL-2.0
/*
 * Requests to a disk that is an overlay. One that concerns a single file as it
 * is goes there; the others are carried out in pieces:
 *
 * A read goes to the file that has its granule, run by run.
 *
 * A write to granules that the overlay lacks writes its data and around it, up
 * to whole granules, what the chain below has there; only when all of that is
 * in the file do the granules count as present. No other write may be at these
 * granules meanwhile: it waits.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "block/overlay.h"
#include "iov.h"

#define PIECES		8	/* of one request with the host at once */
#define PIECE_IOV	16
#define ACTIVE_MAX	BLOCK_DEPTH

struct piece {
	struct block_req req;
	struct iovec iov[PIECE_IOV];
};

/* a part of the granule at either end of a write, which the file lacks */
struct edge {
	bool used;
	uint64_t start;			/* of the granule */
	uint8_t *buf;			/* all of it */
};

struct overlay_op {
	struct block *b;
	struct block_req *req;
	uint64_t at;			/* what is before it was handed out */
	uint64_t end;
	/* its memory: the next is skip bytes into iov[0]; the list stays as it is */
	const struct iovec *iov;
	size_t skip;
	uint32_t busy;			/* pieces; a bit each */
	int result;
	bool filling;			/* edges are read */
	struct edge head, tail;
	void *edges;			/* memory of both */
	uint64_t first, last;		/* bytes: whole granules, to be present */
	struct overlay_op *next;
	struct piece piece[PIECES];
};

/* ---- pieces --------------------------------------------------------------- */

static void op_advance(struct overlay_op *op);

static void piece_done(struct block_req *req, int result)
{
	struct overlay_op *op = req->owner;

	op->busy &= ~(1U << ((struct piece *)req - op->piece));
	if (result && !op->result)
		op->result = result;
	op_advance(op);
}

static struct piece *piece_get(struct overlay_op *op)
{
	unsigned int i;

	for (i = 0; i < PIECES; i++) {
		if (op->busy & 1U << i)
			continue;
		op->busy |= 1U << i;
		return &op->piece[i];
	}
	return NULL;
}

static void piece_submit(struct overlay_op *op, struct piece *p,
			 struct block_file *f, enum block_op what,
			 uint64_t offset, uint64_t len, unsigned int niov)
{
	p->req = (struct block_req){
		.op = what,
		.offset = offset,
		.len = len,
		.iov = p->iov,
		.niov = niov,
		.may_unmap = op->req->may_unmap || op->req->op == BLOCK_DISCARD,
		.done = piece_done,
		.owner = op,
		.piece = true,
	};
	step_submit(op->b, f, &p->req);
}

static void skip(struct overlay_op *op, uint64_t n)
{
	const struct iovec *end = op->req->iov + op->req->niov;

	op->skip += n;
	while (op->iov < end && op->skip >= op->iov->iov_len)
		op->skip -= op->iov++->iov_len;
}

/* a piece of the request's own memory, at most len bytes; returns how many */
static uint64_t piece_take(struct overlay_op *op, struct piece *p, uint64_t len,
			   unsigned int *niov)
{
	uint64_t n, got = 0;

	for (*niov = 0; got < len && *niov < PIECE_IOV; ++*niov) {
		n = op->iov->iov_len - op->skip;
		if (n > len - got)
			n = len - got;
		p->iov[*niov] = (struct iovec){
			(uint8_t *)op->iov->iov_base + op->skip, n,
		};
		got += n;
		skip(op, n);
	}
	return got;
}

/* ---- reads ---------------------------------------------------------------- */

static void read_next(struct overlay_op *op, struct piece *p)
{
	struct block_file *f = overlay_owner(op->b->file, op->at);
	uint64_t n = overlay_run(op->b->file, f, op->at, op->end - op->at);
	uint64_t at = op->at;
	unsigned int niov;

	n = piece_take(op, p, n, &niov);
	op->at += n;
	piece_submit(op, p, f, BLOCK_READ, at, n, niov);
}

/* ---- writes --------------------------------------------------------------- */

static void merge(struct overlay_op *op, const struct edge *e)
{
	struct block_req *req = op->req;
	uint64_t from = req->offset > e->start ? req->offset : e->start;
	uint64_t to = e->start + BLOCK_GRANULE;
	uint8_t *at = e->buf + (from - e->start);

	if (to > req->offset + req->len)
		to = req->offset + req->len;
	if (req->op == BLOCK_WRITE)
		iov_read(req->iov, req->niov, from - req->offset, at, to - from);
	else
		memset(at, 0, to - from);
}

static void fill(struct overlay_op *op, const struct edge *e)
{
	struct block_file *f = overlay_owner(op->b->file, e->start);
	uint64_t len = f->size - e->start;
	struct piece *p = piece_get(op);

	if (len > BLOCK_GRANULE)
		len = BLOCK_GRANULE;
	p->iov[0] = (struct iovec){ e->buf, len };
	piece_submit(op, p, f, BLOCK_READ, e->start, len, 1);
}

/* the edges have all of their granules: now they are pieces like others */
static void filled(struct overlay_op *op)
{
	struct block_req *req = op->req;

	op->filling = false;
	if (op->head.used)
		merge(op, &op->head);
	if (op->tail.used)
		merge(op, &op->tail);
	op->at = op->head.used ? op->head.start : req->offset;
	if (op->tail.used)
		op->end = op->tail.start + BLOCK_GRANULE;
	else if (op->head.used && op->end < op->head.start + BLOCK_GRANULE)
		op->end = op->head.start + BLOCK_GRANULE;
	if (op->head.used && req->op == BLOCK_WRITE)
		skip(op, op->head.start + BLOCK_GRANULE - req->offset);
}

static void write_edge(struct overlay_op *op, struct piece *p,
		       const struct edge *e)
{
	p->iov[0] = (struct iovec){ e->buf, BLOCK_GRANULE };
	op->at = e->start + BLOCK_GRANULE;
	piece_submit(op, p, op->b->file, BLOCK_WRITE, e->start, BLOCK_GRANULE, 1);
}

static void write_next(struct overlay_op *op, struct piece *p)
{
	uint64_t at = op->at, n = op->end - at;
	bool write = op->req->op == BLOCK_WRITE;
	unsigned int niov = 0;

	if (op->head.used && at == op->head.start) {
		write_edge(op, p, &op->head);
		return;
	}
	if (op->tail.used && at == op->tail.start) {
		write_edge(op, p, &op->tail);
		return;
	}
	if (op->tail.used)
		n -= BLOCK_GRANULE;
	if (write)
		n = piece_take(op, p, n, &niov);
	op->at += n;
	piece_submit(op, p, op->b->file,
		     write ? BLOCK_WRITE : BLOCK_WRITE_ZEROES, at, n, niov);
}

/* ---- a request in pieces -------------------------------------------------- */

static void retry_waiting(struct block *b)
{
	struct block_list l = b->overlay->waiting;
	struct block_req *req;

	b->overlay->waiting = (struct block_list){ 0 };
	while ((req = block_list_take(&l)))
		overlay_submit(b, req);
}

static void op_finish(struct overlay_op *op)
{
	struct block *b = op->b;
	struct overlay *o = b->overlay;
	struct overlay_op **link = &o->active;

	if (op->last) {
		while (*link != op)
			link = &(*link)->next;
		*link = op->next;
		o->nactive--;
		if (!op->result)
			overlay_present(b, op->first, op->last - op->first);
	}
	block_complete(b, op->req, op->result);
	free(op->edges);
	free(op);
	if (o->waiting.head)
		retry_waiting(b);
}

static void op_advance(struct overlay_op *op)
{
	struct block *b = op->b;
	struct piece *p;

	if (op->filling) {
		if (op->busy)
			return;
		filled(op);
	}
	b->plugged++;
	while (!op->result && op->at < op->end && (p = piece_get(op))) {
		if (op->req->op == BLOCK_READ)
			read_next(op, p);
		else
			write_next(op, p);
	}
	b->plugged--;
	if (!b->plugged)
		engine_flush(b);
	if (!op->busy)
		op_finish(op);
}

static struct overlay_op *op_new(struct block *b, struct block_req *req)
{
	struct overlay_op *op = calloc(1, sizeof(*op));

	if (op) {
		op->b = b;
		op->req = req;
		op->iov = req->iov;
		op->at = req->offset;
		op->end = req->offset + req->len;
	}
	return op;
}

static void fail(struct block *b, struct block_req *req, int error)
{
	req->res = error;
	step_submit(b, b->file, req);
}

static void start_read(struct block *b, struct block_req *req)
{
	struct block_file *f = overlay_owner(b->file, req->offset);
	struct overlay_op *op;

	if (overlay_run(b->file, f, req->offset, req->len) == req->len) {
		step_submit(b, f, req);
		return;
	}
	op = op_new(b, req);
	if (op)
		op_advance(op);
	else
		fail(b, req, -ENOMEM);
}

/* the granule at `start` is written in part, and the rest is not in the file */
static bool is_edge(const struct overlay_op *op, uint64_t start)
{
	const struct block_file *f = op->b->file;
	uint64_t end = start + BLOCK_GRANULE;

	if (end > f->size)
		end = f->size;
	return (op->at > start || op->end < end) &&
		!bit_get(f->bits, start / BLOCK_GRANULE);
}

static int find_edges(struct overlay_op *op)
{
	op->head.start = op->first;
	op->head.used = is_edge(op, op->head.start);
	op->tail.start = op->last - BLOCK_GRANULE;
	op->tail.used = op->tail.start != op->head.start &&
		is_edge(op, op->tail.start);
	op->filling = op->head.used || op->tail.used;
	if (!op->filling)
		return 0;
	if (posix_memalign(&op->edges, 4096, 2 * BLOCK_GRANULE))
		return -ENOMEM;
	memset(op->edges, 0, 2 * BLOCK_GRANULE);
	op->head.buf = op->edges;
	op->tail.buf = op->head.buf + BLOCK_GRANULE;
	return 0;
}

/* no pieces go out before all edges' were asked for */
static void start_allocating(struct block *b, struct block_req *req)
{
	struct overlay_op *op = op_new(b, req);

	if (!op) {
		fail(b, req, -ENOMEM);
		return;
	}
	op->first = op->at / BLOCK_GRANULE * BLOCK_GRANULE;
	op->last = (op->end + BLOCK_GRANULE - 1) / BLOCK_GRANULE * BLOCK_GRANULE;
	if (find_edges(op)) {
		free(op);
		fail(b, req, -ENOMEM);
		return;
	}
	op->next = b->overlay->active;
	b->overlay->active = op;
	b->overlay->nactive++;
	if (!op->filling) {
		op_advance(op);
		return;
	}
	b->plugged++;
	if (op->head.used)
		fill(op, &op->head);
	if (op->tail.used)
		fill(op, &op->tail);
	b->plugged--;
	if (!b->plugged)
		engine_flush(b);
}

static bool must_wait(const struct overlay *o, const struct block_req *req)
{
	const struct overlay_op *op;

	for (op = o->active; op; op = op->next)
		if (req->offset < op->last && op->first < req->offset + req->len)
			return true;
	return o->nactive >= ACTIVE_MAX;
}

static void start_write(struct block *b, struct block_req *req)
{
	if (must_wait(b->overlay, req))
		block_list_add(&b->overlay->waiting, req);
	else if (overlay_owner(b->file, req->offset) == b->file &&
		 overlay_run(b->file, b->file, req->offset, req->len) == req->len)
		step_submit(b, b->file, req);
	else
		start_allocating(b, req);
}

void overlay_submit(struct block *b, struct block_req *req)
{
	if (req->op == BLOCK_FLUSH)
		overlay_flush(b, req);
	else if (req->op == BLOCK_READ)
		start_read(b, req);
	else
		start_write(b, req);
}
