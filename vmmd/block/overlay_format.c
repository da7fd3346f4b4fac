// SPDX-License-Identifier: GPL-2.0
/*
 * What is in an overlay's file: vmmd-overlay(5). Nothing of it is believed
 * before it was looked at here.
 */
#include <assert.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "block/overlay.h"
#include "crc32c.h"

#define DATA_ALIGN	65536ULL

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "as the file is");
static_assert(sizeof(struct overlay_header) == OVERLAY_HEADER, "one page");
static_assert(offsetof(struct overlay_header, id) == 48, "no padding");
static_assert(offsetof(struct overlay_header, base) == 256, "no padding");
static_assert(offsetof(struct overlay_header, crc) == 4092, "no padding");
static_assert(sizeof(((struct overlay_header *)0)->base) == OVERLAY_PATH_MAX + 1,
	      "the path ends with a zero");

bool overlay_is(int fd)
{
	char magic[8];

	return pread(fd, magic, sizeof(magic), 0) == sizeof(magic) &&
		!memcmp(magic, OVERLAY_MAGIC, sizeof(magic));
}

uint64_t overlay_granules(uint64_t size)
{
	return (size + BLOCK_GRANULE - 1) / BLOCK_GRANULE;
}

uint64_t overlay_pages(uint64_t size)
{
	return (overlay_granules(size) + OVERLAY_PAGE_BITS - 1) /
		OVERLAY_PAGE_BITS;
}

uint64_t overlay_data(uint64_t size)
{
	uint64_t end = OVERLAY_HEADER + overlay_pages(size) * OVERLAY_PAGE;

	return (end + DATA_ALIGN - 1) & ~(DATA_ALIGN - 1);
}

uint64_t overlay_file_size(uint64_t size)
{
	return overlay_data(size) + overlay_granules(size) * BLOCK_GRANULE;
}

/* ---- the header ----------------------------------------------------------- */

struct why {
	char *text;
	unsigned long len;
};

__attribute__((format(printf, 2, 3)))
static bool bad(const struct why *w, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(w->text, w->len, fmt, ap);
	va_end(ap);
	return false;
}

static bool field(const struct why *w, const char *name, uint64_t found,
		  uint64_t wanted)
{
	return found == wanted ||
		bad(w, "its %s is %llu where %llu is wanted", name,
		    (unsigned long long)found, (unsigned long long)wanted);
}

static bool all_zero(const void *buf, size_t len)
{
	const uint8_t *p = buf;

	return !len || (!p[0] && !memcmp(p, p + 1, len - 1));
}

static bool path_ok(const struct overlay_header *h, const struct why *w)
{
	uint32_t n = h->base_len;

	if (!n || n > OVERLAY_PATH_MAX)
		return bad(w, "the length of its base's path is %u where 1 to %u is wanted",
			   n, OVERLAY_PATH_MAX);
	if (strnlen(h->base, n) < n)
		return bad(w, "its base's path has a zero in it");
	if (!all_zero(h->base + n, sizeof(h->base) - n))
		return bad(w, "its base's path goes on behind its end");
	return true;
}

static bool base_ok(const struct overlay_header *h, const struct why *w)
{
	if (h->base_kind < OVERLAY_BASE_FILE || h->base_kind > OVERLAY_BASE_DEVICE)
		return bad(w, "its base's kind is %u where 1, 2 or 3 is wanted",
			   h->base_kind);
	if (all_zero(h->base_id, sizeof(h->base_id)) !=
	    (h->base_kind != OVERLAY_BASE_OVERLAY))
		return bad(w, "its base's id does not go with its kind");
	if (h->base_mtime_nsec >= 1000000000)
		return bad(w, "its base's nanoseconds are %u where less than a second is wanted",
			   h->base_mtime_nsec);
	if (h->base_kind == OVERLAY_BASE_DEVICE &&
	    (h->base_mtime || h->base_mtime_nsec))
		return bad(w, "its base has a time, which a device has not");
	return path_ok(h, w);
}

static uint32_t header_crc(const struct overlay_header *h)
{
	return crc32c(0, h, offsetof(struct overlay_header, crc));
}

bool overlay_header_ok(const struct overlay_header *h, uint64_t file_size,
		       char *why, unsigned long len)
{
	const struct why w = { why, len };

	if (memcmp(h->magic, OVERLAY_MAGIC, sizeof(h->magic)))
		return bad(&w, "it is no overlay");
	/* of another version this is all that is known */
	if (h->version != OVERLAY_VERSION)
		return bad(&w, "its version is %u and this vmmd knows %u; take a newer vmmd",
			   h->version, OVERLAY_VERSION);
	if (h->crc != header_crc(h))
		return bad(&w, "its header has the sum %08x where %08x is wanted",
			   h->crc, header_crc(h));
	if (!field(&w, "header's size", h->header_size, OVERLAY_HEADER) ||
	    !field(&w, "granule", h->granule, BLOCK_GRANULE))
		return false;
	if (!h->size || h->size % 512 || h->size > OVERLAY_SIZE_MAX)
		return bad(&w, "its disk's size is %llu where a multiple of 512 up to %llu is wanted",
			   (unsigned long long)h->size, OVERLAY_SIZE_MAX);
	if (all_zero(h->id, sizeof(h->id)))
		return bad(&w, "its id is zero");
	if (!all_zero(h->reserved, sizeof(h->reserved)))
		return bad(&w, "its reserved bytes are not zero");
	return field(&w, "map's offset", h->map, OVERLAY_HEADER) &&
		field(&w, "data's offset", h->data, overlay_data(h->size)) &&
		base_ok(h, &w) &&
		field(&w, "file's length", file_size, overlay_file_size(h->size));
}

void overlay_header_seal(struct overlay_header *h)
{
	h->crc = header_crc(h);
}

/* ---- the map -------------------------------------------------------------- */

/* of a sector; one that was never written has none and is all zero */
static uint32_t sector_crc(const uint8_t id[16], uint64_t sector,
			   const uint8_t *bits)
{
	uint32_t crc = crc32c(0, id, 16);

	crc = crc32c(crc, &sector, sizeof(sector));
	return crc32c(crc, bits, OVERLAY_SECTOR_BYTES);
}

bool overlay_page_decode(const uint8_t id[16], uint64_t page,
			 const uint8_t *from, uint64_t *bits)
{
	uint64_t sector = page * OVERLAY_PAGE_SECTORS;
	uint8_t *to = (uint8_t *)bits + page * OVERLAY_PAGE_BYTES;
	unsigned int i;
	uint32_t crc;

	for (i = 0; i < OVERLAY_PAGE_SECTORS; i++, sector++) {
		memcpy(&crc, from + OVERLAY_SECTOR_BYTES, sizeof(crc));
		if (!all_zero(from, OVERLAY_SECTOR) &&
		    crc != sector_crc(id, sector, from))
			return false;
		memcpy(to, from, OVERLAY_SECTOR_BYTES);
		from += OVERLAY_SECTOR;
		to += OVERLAY_SECTOR_BYTES;
	}
	return true;
}

void overlay_page_encode(const uint8_t id[16], uint64_t page,
			 const uint64_t *bits, uint8_t *to)
{
	uint64_t sector = page * OVERLAY_PAGE_SECTORS;
	const uint8_t *from = (const uint8_t *)bits + page * OVERLAY_PAGE_BYTES;
	unsigned int i;
	uint32_t crc;

	for (i = 0; i < OVERLAY_PAGE_SECTORS; i++, sector++) {
		memset(to, 0, OVERLAY_SECTOR);
		if (!all_zero(from, OVERLAY_SECTOR_BYTES)) {
			memcpy(to, from, OVERLAY_SECTOR_BYTES);
			crc = sector_crc(id, sector, to);
			memcpy(to + OVERLAY_SECTOR_BYTES, &crc, sizeof(crc));
		}
		from += OVERLAY_SECTOR_BYTES;
		to += OVERLAY_SECTOR;
	}
}

/* whole pages of the map, and whole words */
uint64_t *overlay_bits_new(uint64_t size)
{
	return calloc((overlay_pages(size) * OVERLAY_PAGE_BYTES + 7) / 8, 8);
}
