/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A guest in 64-bit mode for tests without a module: flat segments and 4-level
 * page tables that a test fills page by page.
 */
#ifndef GUEST64_H
#define GUEST64_H

#include <stdint.h>
#include <linux/vmm.h>

#include "mem.h"

#define G64_TABLES	0x10000ULL	/* gpa of the tables, CR3 first */
#define G64_RAM		0x400000ULL	/* RAM from 0 to here */

#define G64_P	1ULL
#define G64_W	2ULL
#define G64_U	4ULL
#define G64_NX	(1ULL << 63)

struct guest64 {
	struct mem *mem;
	struct vmm_sregs sregs;
	uint64_t next_table;
};

void g64_init(struct guest64 *g);
void g64_free(struct guest64 *g);
/* map the page at `linear` to gpa | flags; tables are made as needed */
void g64_map(struct guest64 *g, uint64_t linear, uint64_t gpa, uint64_t flags);
/* where the 4 KiB entry of `linear` is */
uint64_t *g64_pte(struct guest64 *g, uint64_t linear);
void g64_set_cpl(struct guest64 *g, unsigned int cpl);

#endif
