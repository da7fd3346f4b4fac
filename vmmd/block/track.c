// SPDX-License-Identifier: GPL-2.0
/*
 * The set of granules that were written: for copies of what differs, and for a
 * disk that moves while it is written to.
 */
#include <errno.h>
#include <stdlib.h>

#include "block/overlay.h"

static uint64_t *set_new(const struct block *b)
{
	return calloc((block_granules(b) + 63) / 64, sizeof(uint64_t));
}

void block_track_write(struct block *b, const struct block_req *req)
{
	uint64_t g = req->offset / BLOCK_GRANULE;
	uint64_t end = (req->offset + req->len + BLOCK_GRANULE - 1) / BLOCK_GRANULE;

	/* one that was refused has any offset */
	if (end > block_granules(b) || g >= end)
		return;
	b->ntracked += bits_change(b->tracked, g, end, true);
}

int block_track(struct block *b, bool on)
{
	if (on && b->tracked)
		return 0;
	free(b->tracked);
	b->tracked = on ? set_new(b) : NULL;
	b->ntracked = 0;
	return on && !b->tracked ? -ENOMEM : 0;
}

uint64_t block_tracked(const struct block *b)
{
	return b->ntracked * BLOCK_GRANULE;
}

uint64_t block_granules(const struct block *b)
{
	return b->file ? overlay_granules(b->file->size) : 0;
}

uint64_t *block_harvest(struct block *b)
{
	uint64_t *set = b->tracked, *fresh = set_new(b);

	if (!set || !fresh) {
		free(fresh);
		return NULL;
	}
	b->tracked = fresh;
	b->ntracked = 0;
	return set;
}
