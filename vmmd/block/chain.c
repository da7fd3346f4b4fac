// SPDX-License-Identifier: GPL-2.0
/* Which file of a chain has what; a raw disk is a chain of one. */
#define _GNU_SOURCE 1		/* SEEK_DATA */
#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

#include "block/overlay.h"

struct block_file *overlay_owner(struct block_file *f, uint64_t offset)
{
	while (f->bits && !bit_get(f->bits, offset / BLOCK_GRANULE))
		f = f->below;
	return f;
}

/* the same in granules: the end of it */
static uint64_t run_end(const struct block_file *f, const struct block_file *owner,
			uint64_t g, uint64_t end)
{
	for (; f != owner; f = f->below)
		end = bit_next(f->bits, g, end);
	return f->bits ? bit_next_clear(f->bits, g, end) : end;
}

uint64_t overlay_run(const struct block_file *top,
		     const struct block_file *owner, uint64_t offset,
		     uint64_t len)
{
	uint64_t end = run_end(top, owner, offset / BLOCK_GRANULE,
			       overlay_granules(offset + len)) * BLOCK_GRANULE;

	return end < offset + len ? end - offset : len;
}

/* what is not there any more is no hole: reading it will fail */
static bool is_whole(const struct block_file *f)
{
	struct stat st;

	return !fstat(f->fd, &st) &&
		(uint64_t)st.st_size >= f->start + f->size;
}

uint64_t overlay_extent(struct block_file *top, uint64_t g, uint64_t end,
			bool *data)
{
	struct block_file *f = overlay_owner(top, g * BLOCK_GRANULE);
	uint64_t len = overlay_run(top, f, g * BLOCK_GRANULE,
				   (end - g) * BLOCK_GRANULE);
	off_t start = f->start + g * BLOCK_GRANULE;
	off_t at = lseek(f->fd, start, SEEK_DATA);
	uint64_t n = len;

	/* a file system that cannot tell has data everywhere */
	*data = at < 0 ? errno != ENXIO || !is_whole(f) :
		(uint64_t)(at - start) < BLOCK_GRANULE;
	if (at >= 0 && *data) {
		at = lseek(f->fd, at, SEEK_HOLE);
		if (at > start)
			n = (at - start + BLOCK_GRANULE - 1) & ~(BLOCK_GRANULE - 1ULL);
	} else if (at >= 0) {
		n = (at - start) & ~(BLOCK_GRANULE - 1ULL);
	}
	return g + (n < len ? n : len) / BLOCK_GRANULE;
}
