// SPDX-License-Identifier: GPL-2.0
/*
 * Opening a disk: what it is, whether we can have it, and one line that says
 * what to do when not.
 */
#define _GNU_SOURCE 1		/* O_DIRECT, F_OFD_SETLK, fallocate */
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
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
#include "block/overlay.h"

#define SECTOR	512

int file_refuse(const struct block_file *f, char *err, unsigned long errlen,
		const char *fmt, ...)
{
	va_list ap;
	int n;

	if (f->above)
		n = snprintf(err, errlen, "disk %s (base of overlay %s): ",
			     f->path, f->above->path);
	else
		n = snprintf(err, errlen, "disk %s: ", f->path);
	if (n < 0 || (unsigned long)n >= errlen)
		return -1;
	va_start(ap, fmt);
	vsnprintf(err + n, errlen - n, fmt, ap);
	va_end(ap);
	return -1;
}

/* what the steps of opening need */
struct opening {
	struct block_file *f;
	const struct block_opts *opts;
	char *err;
	unsigned long errlen;
};

#define refuse(o, ...)	file_refuse((o)->f, (o)->err, (o)->errlen, __VA_ARGS__)

static int refuse_open(const struct opening *o, int error)
{
	const struct block_opts *opts = o->opts;

	switch (error) {
	case ENOENT:
		if (o->f->above)
			return refuse(o, "there is no such file; bring it back to where the overlay looks for it");
		return refuse(o, "there is no such file; name a raw disk image or a block device (truncate -s 8G FILE makes an empty one)");
	case EACCES:
	case EPERM:
		return refuse(o, "no permission to open it for %s; change its mode or run as its owner",
			      opts->read_only ? "reading" : "reading and writing");
	case EROFS:
		return refuse(o, "it is on a read-only file system and is wanted for writing; copy it, put an overlay over it, or attach it read-only");
	case EISDIR:
		return refuse(o, "it is a directory; name a raw disk image or a block device");
	case EBUSY:
		return refuse(o, "the host uses this block device (mounted?); unmount it first");
	case EINVAL:
		if (opts->direct)
			return refuse(o, "its file system cannot do direct I/O; leave the option out");
		break;
	}
	return refuse(o, "cannot be opened: %s", strerror(error));
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

static void probe_discard(struct block_file *f)
{
	const struct timespec time[2] = { { .tv_nsec = UTIME_OMIT }, f->st.st_mtim };

	if (f->read_only || f->is_device) {
		f->can_discard = !f->read_only &&
			device_can_discard(f->st.st_rdev);
		return;
	}
	/* a hole behind the end changes nothing, but the time that overlays know */
	f->can_discard = !fallocate(f->fd, FALLOC_FL_PUNCH_HOLE |
				    FALLOC_FL_KEEP_SIZE, f->st.st_size, 4096);
	/* which is no more the old one where another vmmd writes */
	if (!f->is_late)
		futimens(f->fd, time);
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

static int probe_type(const struct opening *o)
{
	struct block_file *f = o->f;
	int lbs = SECTOR;

	if (S_ISDIR(f->st.st_mode))
		return refuse_open(o, EISDIR);
	if (S_ISREG(f->st.st_mode)) {
		f->size = f->st.st_size;
		return 0;
	}
	if (!S_ISBLK(f->st.st_mode))
		return refuse(o, "it is neither a file nor a block device; name a raw disk image or a block device");
	f->is_device = true;
	if (ioctl(f->fd, BLKGETSIZE64, &f->size) < 0)
		return refuse(o, "its size cannot be read: %s", strerror(errno));
	if (!ioctl(f->fd, BLKSSZGET, &lbs))
		f->device_align = lbs;
	return 0;
}

static int probe_content(const struct opening *o)
{
	struct block_file *f = o->f;
	const char *format;

	if (!f->size)
		return refuse(o, "it is empty; a disk has at least one sector (truncate -s 8G FILE gives it a size)");
	f->is_overlay = !f->is_device && overlay_is(f->fd);
	if (f->is_overlay)
		return 0;
	format = find_format(f->fd, f->size);
	if (format)
		return refuse(o, "it is a %s image and a raw one is wanted; convert it: qemu-img convert -O raw %s %s.raw",
			      format, f->path, f->path);
	if (f->size % SECTOR)
		return refuse(o, "its size of %llu bytes is not a multiple of %u; is it a raw disk image? (truncate -s %%%u FILE rounds it up)",
			      (unsigned long long)f->size, SECTOR, SECTOR);
	return 0;
}

/* before it is locked: we would find our own lock and blame another vmmd */
static int probe_chain(const struct opening *o)
{
	const struct block_file *f = o->f, *a;
	unsigned int depth = 1;

	for (a = f->above; a; a = a->above, depth++)
		if (a->st.st_dev == f->st.st_dev && a->st.st_ino == f->st.st_ino)
			return refuse(o, "its chain of overlays comes back to %s; it has no bottom and is of no use",
				      a->path);
	if (depth > OVERLAY_DEPTH_MAX)
		return refuse(o, "a chain has at most %u files, and this one would be one more; copy some of them together",
			      OVERLAY_DEPTH_MAX);
	return 0;
}

/* open file description locks: dropped with the last close, kill -9 or not */
int file_lock(const struct block_file *f, short type)
{
	struct flock lock = { .l_type = type, .l_whence = SEEK_SET };

	if (!fcntl(f->fd, F_OFD_SETLK, &lock))
		return 0;
	return errno == EACCES ? -EAGAIN : -errno;
}

static int probe_lock(const struct opening *o)
{
	int ret = o->f->is_late ? 0 : file_lock(o->f, o->f->read_only ? F_RDLCK : F_WRLCK);

	if (!ret)
		return 0;
	if (ret != -EAGAIN)
		return refuse(o, "it cannot be locked: %s", strerror(-ret));
	if (o->f->above)
		return refuse(o, "it is locked: another vmmd has it open for writing; stop that VM");
	return refuse(o, "it is locked: another vmmd has it open%s; stop that VM or give this one a copy",
		      o->f->read_only ? "" : ", itself or as the base of an overlay");
}

/* format and content were looked at through the page cache: now O_DIRECT */
static int probe_direct(const struct opening *o)
{
	struct block_file *f = o->f;
	int flags;

	if (!o->opts->direct)
		return 0;
	flags = fcntl(f->fd, F_GETFL);
	if (flags < 0 || fcntl(f->fd, F_SETFL, flags | O_DIRECT) < 0)
		return refuse_open(o, errno);
	f->direct = true;
	f->align = probe_align(f->fd);
	if (!f->align)
		return refuse(o, "direct I/O needs an alignment of more than 4096 bytes; leave the option out");
	if (f->size % f->align)
		return refuse(o, "direct I/O here needs a size that is a multiple of %u, and it is %llu; leave the option out or enlarge it",
			      f->align, (unsigned long long)f->size);
	return 0;
}

int file_open(struct block_file *f, const char *path,
	      const struct block_opts *opts, const struct block_file *above,
	      char *err, unsigned long errlen)
{
	const struct opening o = { f, opts, err, errlen };
	int flags = O_CLOEXEC | O_NONBLOCK |
		(opts->read_only ? O_RDONLY : O_RDWR);

	*f = (struct block_file){
		.fd = -1,
		.path = strdup(path),
		.align = 1,
		.device_align = SECTOR,
		.read_only = opts->read_only,
		.is_late = opts->late && !opts->read_only,
		.above = above,
	};
	if (!f->path) {
		snprintf(err, errlen, "disk %s: no memory", path);
		return -1;
	}
	/* a pipe or a tape must not block or move: look first, O_EXCL on devices */
	if (stat(path, &f->st) < 0)
		return refuse_open(&o, errno);
	if (S_ISBLK(f->st.st_mode) && !opts->read_only && !f->is_late)
		flags |= O_EXCL;
	f->fd = open(path, flags);
	if (f->fd < 0)
		return refuse_open(&o, errno);
	if (fstat(f->fd, &f->st) < 0)
		return refuse(&o, "cannot be examined: %s", strerror(errno));
	if (probe_type(&o) || probe_content(&o) || probe_chain(&o) ||
	    probe_lock(&o) || probe_direct(&o))
		return -1;
	/* it may have been written to until it was locked */
	if (fstat(f->fd, &f->st) < 0)
		return refuse(&o, "cannot be examined: %s", strerror(errno));
	probe_discard(f);
	/* files do not care, devices might */
	fcntl(f->fd, F_SETFL, fcntl(f->fd, F_GETFL) & ~O_NONBLOCK);
	return f->is_overlay ? overlay_load(f, opts, err, errlen) : 0;
}

int file_sync_dir(const char *path)
{
	char *copy = strdup(path);
	int fd, ret = 0;

	if (!copy)
		return -ENOMEM;
	fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 || fsync(fd) < 0)
		ret = -errno;
	if (fd >= 0)
		close(fd);
	free(copy);
	return ret;
}

void file_close(struct block_file *f)
{
	if (f->below) {
		file_close(f->below);
		free(f->below);
	}
	if (f->fd >= 0)
		close(f->fd);
	free(f->bits);
	free(f->path);
}
