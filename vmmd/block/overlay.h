/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Overlays: files that have what was written to them, by granules, and take the
 * rest from their base. vmmd-overlay(5) has the format.
 */
#ifndef VMMD_BLOCK_OVERLAY_H
#define VMMD_BLOCK_OVERLAY_H

#include <stdbool.h>
#include <stdint.h>

#include "block/bits.h"
#include "block/block_priv.h"

#define OVERLAY_MAGIC		"vmmd-ovl"
#define OVERLAY_VERSION		1
#define OVERLAY_DEPTH_MAX	64	/* files of a chain */
#define OVERLAY_HEADER		4096U
#define OVERLAY_SIZE_MAX	(1ULL << 46)
#define OVERLAY_PATH_MAX	3835U
/* a sector of the map: so many bits, and their sum */
#define OVERLAY_SECTOR		512U
#define OVERLAY_SECTOR_BYTES	(OVERLAY_SECTOR - 4)
/* what is written of it at once */
#define OVERLAY_PAGE		4096U
#define OVERLAY_PAGE_SECTORS	(OVERLAY_PAGE / OVERLAY_SECTOR)
#define OVERLAY_PAGE_BYTES	(OVERLAY_PAGE_SECTORS * OVERLAY_SECTOR_BYTES)
#define OVERLAY_PAGE_BITS	(OVERLAY_PAGE_BYTES * 8ULL)

enum overlay_base {
	OVERLAY_BASE_FILE	= 1,
	OVERLAY_BASE_OVERLAY	= 2,
	OVERLAY_BASE_DEVICE	= 3,
};

/* as in the file; little endian, as is all that we run on */
struct overlay_header {
	char magic[8];
	uint32_t version;
	uint32_t header_size;
	uint64_t size;			/* of the disk and of the base's, bytes */
	uint32_t granule;
	uint32_t base_kind;		/* enum overlay_base */
	uint64_t map;			/* offset in the file */
	uint64_t data;			/* offset of the disk's first byte */
	uint8_t id[16];			/* random */
	uint8_t base_id[16];		/* of an overlay, else 0 */
	int64_t base_mtime;		/* of a file, seconds; else 0 */
	uint32_t base_mtime_nsec;
	uint32_t base_len;		/* of the path, bytes */
	uint8_t reserved[160];
	char base[3836];		/* path, padded with zeroes */
	uint32_t crc;			/* CRC-32C of all before it */
};

/* overlay_format.c */

bool overlay_is(int fd);
uint64_t overlay_granules(uint64_t size);
uint64_t overlay_pages(uint64_t size);		/* of the map */
uint64_t overlay_data(uint64_t size);
uint64_t overlay_file_size(uint64_t size);
/* is it right, in a file of this size; else why not, in words */
bool overlay_header_ok(const struct overlay_header *h, uint64_t file_size,
		       char *why, unsigned long len);
void overlay_header_seal(struct overlay_header *h);
/* between a page of the map in the file, and its bits in memory */
bool overlay_page_decode(const uint8_t id[16], uint64_t page,
			 const uint8_t *from, uint64_t *bits);
void overlay_page_encode(const uint8_t id[16], uint64_t page,
			 const uint64_t *bits, uint8_t *to);
uint64_t *overlay_bits_new(uint64_t size);

/* overlay_open.c: the rest of file_open for an overlay */
int overlay_load(struct block_file *f, const struct block_opts *opts,
		 char *err, unsigned long errlen);
/* its map as it is now in the file; nothing is in flight. 0, or -1 as that */
int overlay_reload(struct block_file *f, char *err, unsigned long errlen);
/*
 * A new overlay, open for writing and empty; overlay_write_map is for those of
 * its granules that f->bits has, later. On the disk on return if sync. 0, or -1
 * with one line in err[]; file_close either way.
 */
int overlay_make(struct block_file *f, const char *top, const char *base,
		 bool sync, char *err, unsigned long errlen);

/* chain.c */

/* the file of the chain that has the granule with this byte of the disk */
struct block_file *overlay_owner(struct block_file *f, uint64_t offset);
/* bytes from offset on, at most len, that the same file has */
uint64_t overlay_run(const struct block_file *top,
		     const struct block_file *owner, uint64_t offset,
		     uint64_t len);
/*
 * From granule g on, a run of those that have data, or of those that have none:
 * its end, at most `end`. One that has both has data.
 */
uint64_t overlay_extent(struct block_file *top, uint64_t g, uint64_t end,
			bool *data);

/* overlay_io.c */

struct overlay_op;

struct overlay {
	/* requests that make granules present: nobody else may be at those */
	struct overlay_op *active;
	unsigned int nactive;
	struct block_list waiting;

	/* overlay_flush.c */
	uint8_t *dirty;			/* pages of the map, a byte each */
	bool flushing;
	struct block_list flush;	/* the running one answers these */
	struct block_list flush_next;	/* came since it began */
};

void overlay_submit(struct block *b, struct block_req *req);
int overlay_start(struct block *b);
void overlay_stop(struct block *b);	/* no request is pending */

/* overlay_flush.c */

/* the bytes of the disk are in the file: from now on they count */
void overlay_present(struct block *b, uint64_t offset, uint64_t len);
void overlay_flush(struct block *b, struct block_req *req);
/* write all of a map, its owner being nobody else; 0 or -errno */
int overlay_write_map(const struct block_file *f);

#endif
