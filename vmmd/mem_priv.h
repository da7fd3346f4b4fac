/* SPDX-License-Identifier: GPL-2.0 */
/* Between mem.c, which makes the table of regions, and mem_dirty.c. */
#ifndef VMMD_MEM_PRIV_H
#define VMMD_MEM_PRIV_H

#include <stdatomic.h>

#include "mem.h"

#define MEM_PAGE	4096ULL
#define MEM_4G		(1ULL << 32)
#define MEM_LARGE	(2ULL << 20)

struct mem_region {
	uint64_t gpa;
	uint64_t size;
	uint8_t *hva;
	uint8_t *map;		/* what is mapped: all of the large pages */
	size_t map_size;
	int fd;			/* or -1 */
	bool rom;
	bool zeroed;			/* pages that were never touched are zero */
	_Atomic uint64_t *written;	/* by this process, a bit a page; or NULL */
};

struct mem {
	struct api_vm *vm;
	uint64_t huge;			/* size of hugetlbfs's pages, or 0 */
	struct mem_region *region;	/* sorted by gpa, no overlaps */
	size_t count;
	int contents;			/* fd, or -1 */
	uint64_t contents_used;		/* bytes */
	atomic_bool tracked;		/* all RAM has `written` */
};

/* index of the first region that ends after gpa; count if none does */
size_t mem_index(const struct mem *mem, uint64_t gpa);

#endif
