// SPDX-License-Identifier: GPL-2.0
/*
 * A disk's bytes without its ring, for threads that move all of them. They may
 * run while the guest's requests do: bits of an overlay's map are only ever set,
 * and after the data. What is read while it is written is old, new or both; who
 * wants more tracks what was written, and reads it again.
 */
#define _GNU_SOURCE 1		/* fallocate */
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "block/overlay.h"

#define SLICE	(64 * 1024U)

typedef ssize_t transfer_fn(int fd, void *buf, size_t len, off_t at);

static ssize_t do_read(int fd, void *buf, size_t len, off_t at)
{
	return pread(fd, buf, len, at);
}

static ssize_t do_write(int fd, void *buf, size_t len, off_t at)
{
	return pwrite(fd, buf, len, at);
}

static int all(transfer_fn *fn, int fd, uint8_t *buf, uint64_t len, uint64_t at)
{
	ssize_t n;

	for (; len; buf += n, at += n, len -= n) {
		n = fn(fd, buf, len, at);
		if (n < 0 && errno == EINTR)
			n = 0;
		else if (n <= 0)
			return n ? -errno : -EIO;
	}
	return 0;
}

/* O_DIRECT takes no memory from anywhere */
static int by_slices(const struct block_file *f, bool write, uint8_t *buf,
		     uint64_t len, uint64_t at)
{
	uint64_t n;
	void *slice;
	int ret = 0;

	if (posix_memalign(&slice, 4096, SLICE))
		return -ENOMEM;
	for (; len && !ret; buf += n, at += n, len -= n) {
		n = len < SLICE ? len : SLICE;
		if (write)
			memcpy(slice, buf, n);
		ret = all(write ? do_write : do_read, f->fd, slice, n, at);
		if (!write && !ret)
			memcpy(buf, slice, n);
	}
	free(slice);
	return ret;
}

static int transfer(const struct block_file *f, bool write, void *buf,
		    uint64_t len, uint64_t offset)
{
	uint64_t at = f->start + offset;

	if ((uintptr_t)buf % f->align)
		return by_slices(f, write, buf, len, at);
	return all(write ? do_write : do_read, f->fd, buf, len, at);
}

/* whole granules, but for the disk's last one */
static bool in_range(const struct block *b, uint64_t offset, uint64_t len)
{
	uint64_t size = b->file->size;

	return len && offset <= size && len <= size - offset &&
		!(offset % BLOCK_GRANULE) &&
		(!(len % BLOCK_GRANULE) || offset + len == size);
}

int block_read_raw(struct block *b, uint64_t offset, void *buf, uint64_t len)
{
	struct block_file *f;
	uint8_t *to = buf;
	uint64_t n;
	int ret = 0;

	if (!in_range(b, offset, len))
		return -EINVAL;
	for (; len && !ret; offset += n, to += n, len -= n) {
		f = overlay_owner(b->file, offset);
		n = overlay_run(b->file, f, offset, len);
		ret = transfer(f, false, to, n, offset);
	}
	return ret;
}

uint64_t block_extent(const struct block *b, uint64_t g, uint64_t end, bool *data)
{
	return overlay_extent(b->file, g, end, data);
}

/* most of a disk is often empty, and stays so */
static bool punched(const struct block_file *f, const uint8_t *buf,
		    uint64_t len, uint64_t offset)
{
	if (!f->can_discard || f->is_device || buf[0] ||
	    memcmp(buf, buf + 1, len - 1))
		return false;
	return !fallocate(f->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			  f->start + offset, len);
}

int block_write_raw(struct block *b, uint64_t offset, const void *buf,
		    uint64_t len)
{
	int ret = 0;

	if (b->file->read_only)
		return -EROFS;
	if (!in_range(b, offset, len))
		return -EINVAL;
	if (!punched(b->file, buf, len, offset))
		ret = transfer(b->file, true, (void *)buf, len, offset);
	if (!ret && b->overlay)
		overlay_present(b, offset, len);
	return ret;
}
