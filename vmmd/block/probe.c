// SPDX-License-Identifier: GPL-2.0
/*
 * Opening a disk: what it is, whether we can have it, and one line that says
 * what to do when not.
 */
#define _GNU_SOURCE 1		/* O_DIRECT, F_OFD_SETLK, fallocate */
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "block/block_priv.h"

#define SECTOR	512

struct refusal {
	char *err;
	unsigned long len;
	const char *path;
};

__attribute__((format(printf, 2, 3)))
static int refuse(const struct refusal *r, const char *fmt, ...)
{
	va_list ap;
	int n;

	n = snprintf(r->err, r->len, "disk %s: ", r->path);
	if (n < 0 || (unsigned long)n >= r->len)
		return -1;
	va_start(ap, fmt);
	vsnprintf(r->err + n, r->len - n, fmt, ap);
	va_end(ap);
	return -1;
}

static int refuse_open(const struct refusal *r, const struct block_opts *opts,
		       int error)
{
	switch (error) {
	case ENOENT:
		return refuse(r, "there is no such file; name a raw disk image or a block device (truncate -s 8G FILE makes an empty one)");
	case EACCES:
	case EPERM:
		return refuse(r, "no permission to open it for %s; change its mode or run as its owner",
			      opts->read_only ? "reading" : "reading and writing");
	case EROFS:
		return refuse(r, "it is on a read-only file system and is wanted for writing; copy it, or attach it read-only");
	case EISDIR:
		return refuse(r, "it is a directory; name a raw disk image or a block device");
	case EBUSY:
		return refuse(r, "the host uses this block device (mounted?); unmount it first");
	case EINVAL:
		if (opts->direct)
			return refuse(r, "its file system cannot do direct I/O; leave the option out");
		break;
	}
	return refuse(r, "cannot be opened: %s", strerror(error));
}

/* ---- formats that are no raw disk ----------------------------------------- */

struct magic {
	const char *format;	/* as qemu-img calls it, for people */
	unsigned int offset;
	unsigned int len;
	const char *bytes;
};

static const struct magic magics[] = {
	{ "qcow",	0,	8,	"QFI\xfb\0\0\0\1" },
	{ "qcow2",	0,	4,	"QFI\xfb" },
	{ "qed",	0,	4,	"QED\0" },
	{ "vmdk",	0,	4,	"KDMV" },
	{ "vmdk",	0,	4,	"COWD" },
	{ "vmdk",	0,	21,	"# Disk DescriptorFile" },
	{ "vdi",	0x40,	4,	"\x7f\x10\xda\xbe" },
	{ "vhdx",	0,	8,	"vhdxfile" },
	{ "vhd",	0,	8,	"conectix" },
	{ "parallels",	0,	16,	"WithoutFreeSpace" },
	{ "parallels",	0,	16,	"WithouFreSpacExt" },
};

static const char *find_format(int fd, uint64_t size)
{
	uint8_t head[SECTOR], tail[SECTOR];
	const struct magic *m;
	ssize_t n;
	size_t i;

	memset(head, 0, sizeof(head));
	n = pread(fd, head, sizeof(head), 0);
	if (n < 0)
		return NULL;
	for (i = 0; i < sizeof(magics) / sizeof(magics[0]); i++) {
		m = &magics[i];
		if (m->offset + m->len <= (size_t)n &&
		    !memcmp(head + m->offset, m->bytes, m->len))
			return m->format;
	}
	/* a fixed-size VHD is a raw disk with a footer */
	if (size >= 2 * SECTOR &&
	    pread(fd, tail, sizeof(tail), size - SECTOR) == SECTOR &&
	    !memcmp(tail, "conectix", 8))
		return "vhd";
	return NULL;
}

/* ---- what the host can do ------------------------------------------------- */

static unsigned long sysfs_number(const char *path)
{
	unsigned long value = 0;
	FILE *f = fopen(path, "re");

	if (!f)
		return 0;
	if (fscanf(f, "%lu", &value) != 1)
		value = 0;
	fclose(f);
	return value;
}

static bool device_can_discard(dev_t dev)
{
	static const char *const where[] = { "", "/.." };	/* disk, partition */
	char path[96];
	size_t i;

	for (i = 0; i < 2; i++) {
		snprintf(path, sizeof(path),
			 "/sys/dev/block/%u:%u%s/queue/discard_max_bytes",
			 major(dev), minor(dev), where[i]);
		if (sysfs_number(path))
			return true;
	}
	return false;
}

static void probe_discard(struct block *b, const struct stat *st)
{
	if (b->read_only)
		b->can_discard = false;
	else if (b->is_device)
		b->can_discard = device_can_discard(st->st_rdev);
	else	/* a hole behind the end changes nothing */
		b->can_discard = !fallocate(b->fd, FALLOC_FL_PUNCH_HOLE |
					    FALLOC_FL_KEEP_SIZE, b->size, 4096);
}

/* the smallest unit that a direct read takes; 0: none that we can give */
static unsigned int probe_align(int fd)
{
	unsigned int align;
	void *buf;

	if (posix_memalign(&buf, 4096, 4096))
		return 0;
	for (align = SECTOR; align <= 4096; align *= 2)
		if (pread(fd, (uint8_t *)buf + align % 4096, align, 0) >= 0 ||
		    errno != EINVAL)
			break;
	free(buf);
	return align <= 4096 ? align : 0;
}

/* ---- the steps of opening ------------------------------------------------- */

static int probe_type(struct block *b, const struct stat *st,
		      const struct refusal *r)
{
	int lbs = SECTOR;

	if (S_ISDIR(st->st_mode))
		return refuse_open(r, &(struct block_opts){ 0 }, EISDIR);
	if (S_ISREG(st->st_mode)) {
		b->size = st->st_size;
		return 0;
	}
	if (!S_ISBLK(st->st_mode))
		return refuse(r, "it is neither a file nor a block device; name a raw disk image or a block device");
	b->is_device = true;
	if (ioctl(b->fd, BLKGETSIZE64, &b->size) < 0)
		return refuse(r, "its size cannot be read: %s", strerror(errno));
	if (!ioctl(b->fd, BLKSSZGET, &lbs))
		b->device_align = lbs;
	return 0;
}

static int probe_content(struct block *b, const struct refusal *r)
{
	const char *format;

	if (!b->size)
		return refuse(r, "it is empty; a disk has at least one sector (truncate -s 8G FILE gives it a size)");
	format = find_format(b->fd, b->size);
	if (format)
		return refuse(r, "it is a %s image and a raw one is wanted; convert it: qemu-img convert -O raw %s %s.raw",
			      format, r->path, r->path);
	if (b->size % SECTOR)
		return refuse(r, "its size of %llu bytes is not a multiple of %u; is it a raw disk image? (truncate -s %%%u FILE rounds it up)",
			      (unsigned long long)b->size, SECTOR, SECTOR);
	return 0;
}

/* open file description locks: dropped with the last close, kill -9 or not */
static int probe_lock(struct block *b, const struct refusal *r)
{
	struct flock lock = {
		.l_type = b->read_only ? F_RDLCK : F_WRLCK,
		.l_whence = SEEK_SET,
	};

	if (!fcntl(b->fd, F_OFD_SETLK, &lock))
		return 0;
	if (errno == EAGAIN || errno == EACCES)
		return refuse(r, "it is locked: another vmmd has it open; stop that VM or give this one a copy");
	return refuse(r, "it cannot be locked: %s", strerror(errno));
}

/* format and content were looked at through the page cache: now O_DIRECT */
static int probe_direct(struct block *b, const struct block_opts *opts,
			const struct refusal *r)
{
	int flags;

	if (!opts->direct)
		return 0;
	flags = fcntl(b->fd, F_GETFL);
	if (flags < 0 || fcntl(b->fd, F_SETFL, flags | O_DIRECT) < 0)
		return refuse_open(r, opts, errno);
	b->direct = true;
	b->align = probe_align(b->fd);
	if (!b->align)
		return refuse(r, "direct I/O needs an alignment of more than 4096 bytes; leave the option out");
	if (b->size % b->align)
		return refuse(r, "direct I/O here needs a size that is a multiple of %u, and it is %llu; leave the option out or enlarge it",
			      b->align, (unsigned long long)b->size);
	return 0;
}

int block_probe(struct block *b, const char *path,
		const struct block_opts *opts, char *err, unsigned long errlen)
{
	const struct refusal r = { err, errlen, path };
	int flags = O_CLOEXEC | O_NONBLOCK |
		(opts->read_only ? O_RDONLY : O_RDWR);
	struct stat st;

	b->align = 1;
	b->device_align = SECTOR;
	b->read_only = opts->read_only;
	/* a pipe or a tape must not block or move: look first, O_EXCL on devices */
	if (stat(path, &st) < 0)
		return refuse_open(&r, opts, errno);
	if (S_ISBLK(st.st_mode) && !opts->read_only)
		flags |= O_EXCL;
	b->fd = open(path, flags);
	if (b->fd < 0)
		return refuse_open(&r, opts, errno);
	if (fstat(b->fd, &st) < 0)
		return refuse(&r, "cannot be examined: %s", strerror(errno));
	if (probe_type(b, &st, &r) || probe_content(b, &r) ||
	    probe_lock(b, &r) || probe_direct(b, opts, &r))
		return -1;
	probe_discard(b, &st);
	/* files do not care, devices might */
	fcntl(b->fd, F_SETFL, fcntl(b->fd, F_GETFL) & ~O_NONBLOCK);
	return 0;
}
