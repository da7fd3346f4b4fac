// SPDX-License-Identifier: GPL-2.0
/*
 * A disk that two vmmds have open, of which one at a time uses it: whose it is is
 * whose lock is on it. Network file systems read what others wrote when a lock is
 * taken; what we have of an overlay's map is read anew, and of a device forgotten.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <linux/fs.h>

#include "block/overlay.h"

static void flushed(struct block_req *req, int result)
{
	*(int *)req->owner = result;
}

int block_flush(struct block *b)
{
	int result = -EIO;
	struct block_req req = {
		.op = BLOCK_FLUSH, .done = flushed, .owner = &result,
	};

	if (b->file->read_only)
		return 0;
	block_submit(b, &req);
	block_drain(b);
	return result;
}

void block_let_go(struct block *b)
{
	file_lock(b->file, F_UNLCK);
}

static int size_now(const struct block_file *f, uint64_t *size)
{
	struct stat st;

	if (f->is_device)
		return ioctl(f->fd, BLKGETSIZE64, size);
	if (fstat(f->fd, &st) < 0)
		return -1;
	*size = f->is_overlay ? f->size : (uint64_t)st.st_size;
	return 0;
}

/* what it is by now, for who opened it when another one wrote to it */
static int look_again(struct block_file *f, char *err, unsigned long errlen)
{
	uint64_t size;

	if (size_now(f, &size) < 0) {
		file_refuse(f, err, errlen, "cannot be examined: %s", strerror(errno));
		return -EIO;
	}
	if (size != f->size) {
		file_refuse(f, err, errlen, "its size was %llu bytes and is %llu now",
			    (unsigned long long)f->size, (unsigned long long)size);
		return -EIO;
	}
	if (f->is_device)
		posix_fadvise(f->fd, 0, 0, POSIX_FADV_DONTNEED);
	if (f->is_overlay && overlay_reload(f, err, errlen))
		return -EIO;
	f->is_late = false;
	return 0;
}

int block_take(struct block *b, char *err, unsigned long errlen)
{
	struct block_file *f = b->file;
	int ret = file_lock(f, f->read_only ? F_RDLCK : F_WRLCK);

	if (ret == -EAGAIN)
		file_refuse(f, err, errlen, "it is locked: another vmmd has it open");
	else if (ret)
		file_refuse(f, err, errlen, "it cannot be locked: %s", strerror(-ret));
	else if (f->is_late)
		ret = look_again(f, err, errlen);
	if (ret && ret != -EAGAIN)
		block_let_go(b);
	return ret;
}
