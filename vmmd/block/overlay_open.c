// SPDX-License-Identifier: GPL-2.0
/*
 * Opening an overlay, which is opening the files of its chain one after the
 * other; and making one.
 */
#define _GNU_SOURCE 1		/* SEEK_DATA */
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "block/overlay.h"

/* what a disk is opened with, where it is only read */
static struct block_opts base_opts(const struct block_opts *opts)
{
	return (struct block_opts){ .read_only = true, .direct = opts->direct };
}

/* ---- the map -------------------------------------------------------------- */

static bool page_in_range(const struct block_file *f, uint64_t page)
{
	uint64_t g = overlay_granules(f->size);
	uint64_t end = (page + 1) * OVERLAY_PAGE_BITS;

	for (; g < end; g++)
		if (bit_get(f->bits, g))
			return false;
	return true;
}

static int load_page(struct block_file *f, uint64_t page, uint8_t *buf,
		     char *err, unsigned long errlen)
{
	off_t at = OVERLAY_HEADER + page * OVERLAY_PAGE;

	if (pread(f->fd, buf, OVERLAY_PAGE, at) != OVERLAY_PAGE)
		return file_refuse(f, err, errlen, "page %llu of its map cannot be read: %s",
				   (unsigned long long)page, strerror(errno));
	if (!overlay_page_decode(f->id, page, buf, f->bits) ||
	    (page == overlay_pages(f->size) - 1 && !page_in_range(f, page)))
		return file_refuse(f, err, errlen, "it is a damaged overlay: page %llu of its map is wrong; take a copy of it",
				   (unsigned long long)page);
	return 0;
}

static int load_map(struct block_file *f, uint8_t *buf, char *err,
		    unsigned long errlen)
{
	uint64_t page, pages = overlay_pages(f->size);
	off_t data;

	f->bits = overlay_bits_new(f->size);
	if (!f->bits)
		return file_refuse(f, err, errlen, "no memory for its map");
	for (page = 0; page < pages; page++) {
		/* most of a large one was never written */
		data = lseek(f->fd, OVERLAY_HEADER + page * OVERLAY_PAGE,
			     SEEK_DATA);
		if (data < 0 && errno == ENXIO)
			break;
		if (data > 0 && (uint64_t)(data - OVERLAY_HEADER) / OVERLAY_PAGE > page)
			page = (data - OVERLAY_HEADER) / OVERLAY_PAGE;
		if (page < pages && load_page(f, page, buf, err, errlen))
			return -1;
	}
	return 0;
}

/* ---- the base ------------------------------------------------------------- */

static uint32_t kind(const struct block_file *f)
{
	return f->is_device ? OVERLAY_BASE_DEVICE :
		f->is_overlay ? OVERLAY_BASE_OVERLAY : OVERLAY_BASE_FILE;
}

/* base as the header has it: what is not absolute begins where the overlay is */
static char *base_path(const struct block_file *f, const char *base)
{
	char *real, *path = NULL;

	if (base[0] == '/')
		return strdup(base);
	real = realpath(f->path, NULL);
	if (real && asprintf(&path, "%s/%s", dirname(real), base) < 0)
		path = NULL;
	free(real);
	return path;
}

/* a copy that lost the fraction of a second is the same */
static bool same_time(const struct block_file *base,
		      const struct overlay_header *h)
{
	const struct timespec *t = &base->st.st_mtim;

	return base->is_device ||
		(t->tv_sec == h->base_mtime &&
		 (t->tv_nsec == h->base_mtime_nsec || !t->tv_nsec));
}

static int check_base(const struct block_file *f, const struct overlay_header *h,
		      char *err, unsigned long errlen)
{
	const struct block_file *base = f->below;

	if (base->size != h->size)
		return file_refuse(base, err, errlen, "its size is %llu bytes where the overlay wants %llu; bring back the file that the overlay was made over",
				   (unsigned long long)base->size,
				   (unsigned long long)h->size);
	if (kind(base) != h->base_kind ||
	    memcmp(base->id, h->base_id, sizeof(base->id)))
		return file_refuse(base, err, errlen, "it is another one than the overlay was made over; bring that one back");
	if (!same_time(base, h))
		return file_refuse(base, err, errlen, "it was changed since the overlay was made, at %lld.%09ld and not %lld.%09u, and the two do not fit any more; bring back the old one (and if it is the same, its time: touch -d @%lld.%09u)",
				   (long long)base->st.st_mtim.tv_sec,
				   base->st.st_mtim.tv_nsec,
				   (long long)h->base_mtime, h->base_mtime_nsec,
				   (long long)h->base_mtime, h->base_mtime_nsec);
	return 0;
}

static int open_base(struct block_file *f, const struct overlay_header *h,
		     const struct block_opts *opts, char *err,
		     unsigned long errlen)
{
	const struct block_opts ro = base_opts(opts);
	char *path = base_path(f, h->base);

	f->below = calloc(1, sizeof(*f->below));
	if (f->below)
		f->below->fd = -1;
	if (!path || !f->below) {
		free(path);
		return file_refuse(f, err, errlen, "no memory");
	}
	if (file_open(f->below, path, &ro, f, err, errlen)) {
		free(path);
		return -1;
	}
	free(path);
	return check_base(f, h, err, errlen);
}

int overlay_load(struct block_file *f, const struct block_opts *opts,
		 char *err, unsigned long errlen)
{
	struct overlay_header *h;
	char why[256];
	void *buf;
	int ret;

	if (posix_memalign(&buf, 4096, OVERLAY_HEADER))
		return file_refuse(f, err, errlen, "no memory");
	h = buf;
	if (pread(f->fd, h, sizeof(*h), 0) != sizeof(*h)) {
		ret = file_refuse(f, err, errlen, "it is an overlay, and its header cannot be read; was it cut short?");
	} else if (!overlay_header_ok(h, f->st.st_size, why, sizeof(why))) {
		ret = file_refuse(f, err, errlen, "it is an overlay that cannot be used: %s", why);
	} else {
		f->size = h->size;
		f->start = h->data;
		memcpy(f->id, h->id, sizeof(f->id));
		ret = open_base(f, h, opts, err, errlen);
		if (!ret)
			ret = load_map(f, buf, err, errlen);
	}
	free(buf);
	return ret;
}

int overlay_reload(struct block_file *f, char *err, unsigned long errlen)
{
	void *buf;
	int ret;

	if (posix_memalign(&buf, 4096, OVERLAY_PAGE))
		return file_refuse(f, err, errlen, "no memory");
	free(f->bits);
	ret = load_map(f, buf, err, errlen);
	free(buf);
	return ret;
}

/* ---- making one ----------------------------------------------------------- */

/* relative if the base is beside the overlay or below, so that both can move */
static int store_path(struct overlay_header *h, const char *top,
		      const char *base)
{
	char *real = realpath(base, NULL), *copy = strdup(top), *dir = NULL;
	const char *path = real;
	size_t n;
	int ret = -1;

	if (copy)
		dir = realpath(dirname(copy), NULL);
	if (real && dir) {
		n = strlen(dir);
		if (n > 1 && !strncmp(real, dir, n) && real[n] == '/')
			path = real + n + 1;
		h->base_len = strlen(path);
		ret = h->base_len > OVERLAY_PATH_MAX ? -1 : 0;
	}
	if (!ret)
		memcpy(h->base, path, h->base_len);
	free(real);
	free(copy);
	free(dir);
	return ret;
}

static int fill_header(struct overlay_header *h, const char *top,
		       const struct block_file *base)
{
	memcpy(h->magic, OVERLAY_MAGIC, sizeof(h->magic));
	h->version = OVERLAY_VERSION;
	h->header_size = OVERLAY_HEADER;
	h->size = base->size;
	h->granule = BLOCK_GRANULE;
	h->base_kind = kind(base);
	h->map = OVERLAY_HEADER;
	h->data = overlay_data(h->size);
	memcpy(h->base_id, base->id, sizeof(h->base_id));
	if (!base->is_device) {
		h->base_mtime = base->st.st_mtim.tv_sec;
		h->base_mtime_nsec = base->st.st_mtim.tv_nsec;
	}
	if (getrandom(h->id, sizeof(h->id), 0) != sizeof(h->id) ||
	    store_path(h, top, base->path))
		return -1;
	overlay_header_seal(h);
	return 0;
}

static int write_file(struct block_file *f, const struct overlay_header *h,
		      bool sync, char *err, unsigned long errlen)
{
	off_t map = overlay_pages(h->size) * OVERLAY_PAGE;
	int ret;

	if (ftruncate(f->fd, overlay_file_size(h->size)) < 0)
		return file_refuse(f, err, errlen, "cannot be made %llu bytes long, most of them a hole: %s",
				   (unsigned long long)overlay_file_size(h->size),
				   strerror(errno));
	/* so that a flush finds room */
	ret = fallocate(f->fd, 0, OVERLAY_HEADER, map);
	if ((ret < 0 && errno != EOPNOTSUPP && errno != ENOSYS) ||
	    pwrite(f->fd, h, sizeof(*h), 0) != sizeof(*h) ||
	    (sync && fsync(f->fd) < 0))
		return file_refuse(f, err, errlen, "cannot be written: %s",
				   strerror(errno));
	ret = sync ? file_sync_dir(f->path) : 0;
	if (ret)
		file_refuse(f, err, errlen, "its directory cannot be written: %s",
			    strerror(-ret));
	return ret;
}

static int make_over(struct block_file *f, const struct block_file *base,
		     bool sync, char *err, unsigned long errlen)
{
	struct overlay_header h = { 0 };
	int ret;

	if (base->size > OVERLAY_SIZE_MAX)
		return file_refuse(base, err, errlen, "a disk of more than %llu bytes has no overlay",
				   OVERLAY_SIZE_MAX);
	if (fill_header(&h, f->path, base))
		return file_refuse(base, err, errlen, "its path cannot be had, or is longer than %u bytes",
				   OVERLAY_PATH_MAX);
	f->fd = open(f->path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
	if (f->fd < 0)
		return file_refuse(f, err, errlen, "cannot be made: %s; an overlay is a new file in a directory that exists",
				   strerror(errno));
	f->bits = overlay_bits_new(h.size);
	if (!f->bits)
		ret = file_refuse(f, err, errlen, "no memory for its map");
	else
		ret = write_file(f, &h, sync, err, errlen);
	f->size = h.size;
	f->start = h.data;
	memcpy(f->id, h.id, sizeof(f->id));
	if (ret)
		unlink(f->path);
	return ret;
}

/* one more file than the base's chain has */
static int check_depth(const struct block_file *base, char *err,
		       unsigned long errlen)
{
	const struct block_file *f = base;
	unsigned int depth = 1;

	for (; f; f = f->below)
		depth++;
	if (depth <= OVERLAY_DEPTH_MAX)
		return 0;
	return file_refuse(base, err, errlen, "a chain has at most %u files, and it has as many; copy some of them together",
			   OVERLAY_DEPTH_MAX);
}

int overlay_make(struct block_file *f, const char *top, const char *base,
		 bool sync, char *err, unsigned long errlen)
{
	const struct block_opts ro = { .read_only = true };
	struct block_file below;
	int ret;

	*f = (struct block_file){
		.fd = -1, .path = strdup(top), .align = 1, .is_overlay = true,
	};
	if (!f->path) {
		snprintf(err, errlen, "disk %s: no memory", top);
		return -1;
	}
	ret = file_open(&below, base, &ro, NULL, err, errlen);
	if (!ret)
		ret = check_depth(&below, err, errlen);
	if (!ret)
		ret = make_over(f, &below, sync, err, errlen);
	file_close(&below);
	return ret;
}

int block_overlay_create(const char *top, const char *base, char *err,
			 unsigned long errlen)
{
	struct block_file f;
	int ret = overlay_make(&f, top, base, true, err, errlen);

	file_close(&f);
	return ret;
}
