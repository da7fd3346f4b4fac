// SPDX-License-Identifier: GPL-2.0
/*
 * Disks: opening and closing them, and where requests come in and their results
 * go out.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "block/block_priv.h"
#include "block/overlay.h"

void block_complete(struct block *b, struct block_req *req, int result)
{
	if (!req->piece) {
		b->pending--;
		b->some_done = true;
		if (block_is_write(req)) {
			b->writing--;
			if (b->tracked)
				block_track_write(b, req);
			if (b->copy && !b->writing)
				block_copy_quiet(b->copy);
		}
	}
	req->done(req, result);
}

/* what the caller should have known; told by the request's result */
static int check(const struct block *b, const struct block_req *req)
{
	uint64_t size = b->file->size;

	if (req->op == BLOCK_FLUSH)
		return 0;
	if (req->op != BLOCK_READ && b->file->read_only)
		return -EROFS;
	if (!req->len || req->offset > size || req->len > size - req->offset)
		return -EINVAL;
	return 0;
}

void block_dispatch(struct block *b, struct block_req *req)
{
	if (!req->piece && block_is_write(req))
		b->writing++;
	if (b->overlay && !req->res)
		overlay_submit(b, req);
	else
		step_submit(b, b->file, req);
}

void block_submit(struct block *b, struct block_req *req)
{
	req->piece = false;
	req->res = check(b, req);
	b->pending++;
	if (block_is_write(req) && !req->res) {
		if (b->tracked)
			block_track_write(b, req);
		if (b->copy && block_copy_holds(b->copy, req))
			return;
	}
	block_dispatch(b, req);
}

void block_plug(struct block *b)
{
	b->plugged++;
}

void block_unplug(struct block *b)
{
	if (b->plugged == 1) {
		engine_flush(b);
		/* still plugged: callbacks submit, and that goes out at once */
		engine_collect(b);
		engine_flush(b);
	}
	b->plugged--;
	if (b->plugged || !b->some_done)
		return;
	b->some_done = false;
	if (b->batch)
		b->batch(b->batch_owner);
}

void block_set_batch(struct block *b, void (*fn)(void *owner), void *owner)
{
	b->batch = fn;
	b->batch_owner = owner;
}

void block_drain(struct block *b)
{
	step_drain(b);
}

const char *block_path(const struct block *b)
{
	return b->path;
}

uint64_t block_size(const struct block *b)
{
	return b->file->size;
}

bool block_read_only(const struct block *b)
{
	return b->file->read_only;
}

bool block_is_device(const struct block *b)
{
	return b->file->is_device;
}

const uint8_t *block_id(const struct block *b)
{
	return b->file->id;
}

bool block_can_discard(const struct block *b)
{
	return b->file->can_discard;
}

unsigned int block_align(const struct block *b)
{
	return b->align;
}

void block_close(struct block *b)
{
	if (!b)
		return;
	if (b->copy)
		block_copy_cancel(b->copy);
	step_drain(b);
	while (b->copy)
		engine_wait(b);
	if (b->overlay)
		overlay_stop(b);
	step_stop(b);
	block_track(b, false);
	if (b->file) {
		file_close(b->file);
		free(b->file);
	}
	free(b->path);
	free(b);
}

struct block *block_open(const char *path, const struct block_opts *opts,
			 struct loop *loop, char *err, unsigned long errlen)
{
	struct block *b = calloc(1, sizeof(*b));
	const struct block_file *f;

	if (!b) {
		snprintf(err, errlen, "disk %s: no memory", path);
		return NULL;
	}
	b->loop = loop;
	b->path = strdup(path);
	b->file = calloc(1, sizeof(*b->file));
	if (!b->path || !b->file) {
		snprintf(err, errlen, "disk %s: no memory", path);
		free(b->file);
		b->file = NULL;
		goto fail;
	}
	if (file_open(b->file, path, opts, NULL, err, errlen))
		goto fail;
	for (f = b->file; f; f = f->below)
		if (f->align > b->align)
			b->align = f->align;
	if (step_start(b) || (b->file->is_overlay && overlay_start(b))) {
		snprintf(err, errlen, "disk %s: no memory for its queue", path);
		goto fail;
	}
	return b;
fail:
	block_close(b);
	return NULL;
}
