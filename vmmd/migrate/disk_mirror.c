// SPDX-License-Identifier: GPL-2.0
#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "block/bits.h"
#include "block/block.h"
#include "migrate/disk_mirror.h"
#include "migrate/disk_shared.h"
#include "state/pages.h"

static_assert(BLOCK_GRANULE == PAGES_SIZE, "granules travel as pages do");

struct disk_mirror {
	struct block *block;
	uint64_t *bits;		/* pending */
	uint64_t granules, pending;
	uint8_t *buf;		/* PAGES_BYTES */
};

/* ---- source --------------------------------------------------------------- */

int disk_mirror_describe(const struct block *b, struct migrate_disk *d, char *err,
			 size_t errlen)
{
	disk_shared_fill(b, d);
	memset(d->id, 0, sizeof(d->id));
	if (!block_read_only(b))
		return 0;
	snprintf(err, errlen, "disk %s: it is only read, and need not go while the machine runs: copy it to the other host, and leave out --with-disk",
		 block_path(b));
	return -EROFS;
}

static int begin(struct disk_mirror *m, bool zeroes)
{
	struct block *b = m->block;
	uint64_t g, end;
	bool data = true;
	int ret;

	m->granules = block_granules(b);
	m->bits = calloc((m->granules + 63) / 64, sizeof(*m->bits));
	m->buf = aligned_alloc(4096, PAGES_BYTES);
	if (!m->bits || !m->buf)
		return -ENOMEM;
	/* a set that somebody else had begun is not of our instant */
	block_track(b, false);
	ret = block_track(b, true);
	/* holes are those of what was written before */
	if (!ret)
		ret = block_flush(b);
	for (g = 0; !ret && g < m->granules; g = end) {
		end = zeroes ? m->granules : block_extent(b, g, m->granules, &data);
		if (data)
			m->pending += bits_change(m->bits, g, end, true);
	}
	return ret;
}

struct disk_mirror *disk_mirror_new(struct block *b, bool zeroes, char *err,
				    size_t errlen)
{
	struct disk_mirror *m = calloc(1, sizeof(*m));
	int ret = -ENOMEM;

	if (m) {
		m->block = b;
		ret = begin(m, zeroes);
	}
	if (!ret)
		return m;
	snprintf(err, errlen, "disk %s: %s", block_path(b), strerror(-ret));
	disk_mirror_free(m);
	return NULL;
}

void disk_mirror_free(struct disk_mirror *m)
{
	if (!m)
		return;
	free(m->bits);
	free(m->buf);
	free(m);
}

int disk_mirror_harvest(struct disk_mirror *m)
{
	uint64_t *set = block_harvest(m->block), i;

	if (!set)
		return -ENOMEM;
	for (i = 0; i < (m->granules + 63) / 64; i++)
		m->bits[i] |= set[i];
	free(set);
	m->pending = bits_count(m->bits, m->granules);
	return 0;
}

uint64_t disk_mirror_pending(const struct disk_mirror *m)
{
	return m->pending;
}

static int read_run(struct disk_mirror *m, uint64_t g, uint64_t end, char *err,
		    size_t errlen)
{
	uint64_t at = g * BLOCK_GRANULE, len = (end - g) * BLOCK_GRANULE;
	uint64_t there = block_size(m->block) - at;
	int ret;

	if (there < len)
		memset(m->buf + there, 0, len - there);
	ret = block_read_raw(m->block, at, m->buf, there < len ? there : len);
	if (ret)
		snprintf(err, errlen, "disk %s: cannot be read at byte %" PRIu64 ": %s",
			 block_path(m->block), at, strerror(-ret));
	return ret;
}

int disk_mirror_send(struct disk_mirror *m, ram_put put, void *owner, char *err,
		     size_t errlen)
{
	uint64_t g = 0, end;
	int ret;

	err[0] = 0;
	while ((g = bit_next(m->bits, g, m->granules)) < m->granules) {
		end = g + PAGES_MAX < m->granules ? g + PAGES_MAX : m->granules;
		end = bit_next_clear(m->bits, g, end);
		ret = read_run(m, g, end, err, errlen);
		if (!ret)
			ret = put(owner, g * BLOCK_GRANULE, m->buf, end - g);
		if (ret)
			return ret;
		m->pending -= bits_change(m->bits, g, end, false);
		g = end;
	}
	return 0;
}

/* ---- target --------------------------------------------------------------- */

int disk_mirror_make(const char *path, const struct migrate_disk *d, bool *zero,
		     char *err, size_t errlen)
{
	struct stat st;

	*zero = true;
	if (stat(path, &st) || S_ISREG(st.st_mode))
		return block_create(path, d->size, err, errlen);
	*zero = false;
	if (S_ISBLK(st.st_mode))
		return 0;
	snprintf(err, errlen, "disk %s: it is neither a block device nor a new name", path);
	return -EINVAL;
}

int disk_mirror_store(struct block *b, uint64_t offset, const void *data,
		      uint32_t granules, char *err, size_t errlen)
{
	uint64_t len = granules * (uint64_t)BLOCK_GRANULE, size = block_size(b);
	int ret = -EINVAL;

	/* whatever is behind the end of the last granule */
	if (offset < size && len - BLOCK_GRANULE < size - offset)
		ret = block_write_raw(b, offset, data, len < size - offset ? len : size - offset);
	if (ret)
		snprintf(err, errlen, "disk %s: cannot be written at byte %" PRIu64 ": %s",
			 block_path(b), offset, strerror(-ret));
	return ret;
}
