// SPDX-License-Identifier: GPL-2.0
/*
 * Which granules an overlay has, and how that reaches the disk: a flush makes
 * the data durable, then writes those pages of the map that tell of it, then
 * makes these durable. So what the map says is always true, whenever the host
 * stops: bits are only ever added, and a sector of it is old or new.
 *
 * Requests that become done while a flush runs are not its business: it writes
 * the map as it was when it began.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "block/overlay.h"

#define WRITES	8		/* pages with the host at once */

struct flush {
	struct block *b;
	enum { FLUSH_DATA, FLUSH_MAP, FLUSH_END } stage;
	uint64_t npages, next;
	uint64_t *page;			/* which */
	uint8_t *buf;			/* what is in them */
	unsigned int busy;
	int result;
	struct block_req req[WRITES];
	struct iovec iov[WRITES];
};

static void flush_start(struct block *b);

void overlay_present(struct block *b, uint64_t offset, uint64_t len)
{
	uint64_t g = offset / BLOCK_GRANULE;
	uint64_t end = (offset + len + BLOCK_GRANULE - 1) / BLOCK_GRANULE;

	for (; g < end; g++) {
		bit_set(b->file->bits, g);
		__atomic_store_n(&b->overlay->dirty[g / OVERLAY_PAGE_BITS], 1,
				 __ATOMIC_RELEASE);
	}
}

static uint64_t dirty_pages(const struct block *b)
{
	uint64_t i, n = 0, pages = overlay_pages(b->file->size);

	for (i = 0; i < pages; i++)
		n += b->overlay->dirty[i];
	return n;
}

/* ---- one that writes the map ---------------------------------------------- */

static void flush_finish(struct flush *fl)
{
	struct block *b = fl->b;
	struct block_list answered = b->overlay->flush;
	int result = fl->result;
	struct block_req *req;
	uint64_t i;

	for (i = 0; result && i < fl->npages; i++)
		b->overlay->dirty[fl->page[i]] = 1;
	free(fl->page);
	free(fl->buf);
	free(fl);
	b->overlay->flush = (struct block_list){ 0 };
	b->overlay->flushing = false;
	while ((req = block_list_take(&answered)))
		block_complete(b, req, result);
	if (b->overlay->flush_next.head && !b->overlay->flushing)
		flush_start(b);
}

static void flush_advance(struct flush *fl);

static void flush_done(struct block_req *req, int result)
{
	struct flush *fl = req->owner;

	if (result && !fl->result)
		fl->result = result;
	fl->busy--;
	/* free for the next page */
	req->done = NULL;
	flush_advance(fl);
}

static void flush_sync(struct flush *fl)
{
	fl->busy++;
	fl->req[0] = (struct block_req){
		.op = BLOCK_FLUSH, .done = flush_done, .owner = fl, .piece = true,
	};
	step_submit(fl->b, fl->b->file, &fl->req[0]);
}

static void write_page(struct flush *fl, unsigned int slot)
{
	const struct block_file *f = fl->b->file;
	uint64_t page = fl->page[fl->next];

	fl->busy++;
	fl->iov[slot] = (struct iovec){
		fl->buf + fl->next * OVERLAY_PAGE, OVERLAY_PAGE,
	};
	fl->next++;
	fl->req[slot] = (struct block_req){
		.op = BLOCK_WRITE,
		/* the disk begins behind the map: arithmetic modulo 2^64 */
		.offset = OVERLAY_HEADER + page * OVERLAY_PAGE - f->start,
		.len = OVERLAY_PAGE,
		.iov = &fl->iov[slot],
		.niov = 1,
		.done = flush_done,
		.owner = fl,
		.piece = true,
	};
	step_submit(fl->b, fl->b->file, &fl->req[slot]);
}

static void flush_advance(struct flush *fl)
{
	unsigned int i;

	if (fl->stage == FLUSH_DATA && !fl->result)
		fl->stage = FLUSH_MAP;
	for (i = 0; i < WRITES && fl->next < fl->npages && !fl->result; i++)
		if (!fl->req[i].done)
			write_page(fl, i);
	if (fl->busy)
		return;
	if (fl->stage == FLUSH_MAP && !fl->result) {
		fl->stage = FLUSH_END;
		flush_sync(fl);
	} else {
		flush_finish(fl);
	}
}

/* the pages as they are now */
static int take_pages(struct flush *fl)
{
	struct block *b = fl->b;
	uint8_t *dirty = b->overlay->dirty;
	uint64_t i, n = 0, pages = overlay_pages(b->file->size);
	void *buf;

	fl->npages = dirty_pages(b);
	fl->page = calloc(fl->npages, sizeof(*fl->page));
	if (!fl->page || posix_memalign(&buf, 4096, fl->npages * OVERLAY_PAGE))
		return -ENOMEM;
	fl->buf = buf;
	for (i = 0; i < pages; i++) {
		if (!dirty[i])
			continue;
		dirty[i] = 0;
		overlay_page_encode(b->file->id, i, b->file->bits,
				    fl->buf + n * OVERLAY_PAGE);
		fl->page[n++] = i;
	}
	return 0;
}

static void pass_on(struct block *b, struct block_list *l, int error)
{
	struct block_req *req;

	while ((req = block_list_take(l))) {
		req->res = error;
		step_submit(b, b->file, req);
	}
}

/* for all that wait */
static void flush_start(struct block *b)
{
	struct overlay *o = b->overlay;
	struct flush *fl;

	if (!dirty_pages(b)) {
		pass_on(b, &o->flush_next, 0);
		return;
	}
	fl = calloc(1, sizeof(*fl));
	if (fl)
		fl->b = b;
	if (!fl || take_pages(fl)) {
		if (fl)
			free(fl->page);
		free(fl);
		pass_on(b, &o->flush_next, -ENOMEM);
		return;
	}
	o->flushing = true;
	o->flush = o->flush_next;
	o->flush_next = (struct block_list){ 0 };
	flush_sync(fl);
}

void overlay_flush(struct block *b, struct block_req *req)
{
	block_list_add(&b->overlay->flush_next, req);
	if (!b->overlay->flushing)
		flush_start(b);
}

int overlay_write_map(const struct block_file *f)
{
	uint64_t i, pages = overlay_pages(f->size);
	ssize_t n = OVERLAY_PAGE;
	void *buf;

	if (posix_memalign(&buf, 4096, OVERLAY_PAGE))
		return -ENOMEM;
	for (i = 0; i < pages && n == OVERLAY_PAGE; i++) {
		overlay_page_encode(f->id, i, f->bits, buf);
		n = pwrite(f->fd, buf, OVERLAY_PAGE,
			   OVERLAY_HEADER + i * OVERLAY_PAGE);
	}
	free(buf);
	return n == OVERLAY_PAGE ? 0 : n < 0 ? -errno : -EIO;
}

/* ---- with the disk -------------------------------------------------------- */

int overlay_start(struct block *b)
{
	b->overlay = calloc(1, sizeof(*b->overlay));
	if (!b->overlay)
		return -ENOMEM;
	b->overlay->dirty = calloc(1, overlay_pages(b->file->size));
	return b->overlay->dirty ? 0 : -ENOMEM;
}

static void closed(struct block_req *req, int result)
{
	*(int *)req->owner = result;
}

/* what the guest did not flush is kept as well as that of a raw disk */
void overlay_stop(struct block *b)
{
	int result = 1;
	struct block_req req = {
		.op = BLOCK_FLUSH, .done = closed, .owner = &result, .piece = true,
	};

	if (b->overlay->dirty && dirty_pages(b)) {
		b->draining++;		/* nobody waits for room any more */
		overlay_flush(b, &req);
		while (result > 0)
			engine_wait(b);
		b->draining--;
		if (result)
			fprintf(stderr, "vmmd: disk %s: the last flush failed: %s; what the guest wrote since its own last one is lost\n",
				b->path, strerror(-result));
	}
	free(b->overlay->dirty);
	free(b->overlay);
	b->overlay = NULL;
}
