// SPDX-License-Identifier: GPL-2.0
#include <assert.h>
#include <stddef.h>
#include <string.h>

#include "guest64.h"

void g64_init(struct guest64 *g)
{
	unsigned int i;

	memset(g, 0, sizeof(*g));
	g->mem = mem_new(NULL);
	assert(g->mem);
	assert(!mem_add_ram(g->mem, 0, G64_RAM, "test"));
	g->next_table = G64_TABLES + 0x1000;
	for (i = 0; i < VMM_NSEG; i++)
		g->sregs.seg[i] = (struct vmm_segment){
			.limit = 0xffffffff, .attr = VMM_SEG_P | VMM_SEG_S |
				VMM_SEG_G | VMM_SEG_DB | 3,
		};
	g->sregs.seg[VMM_CS].attr = VMM_SEG_P | VMM_SEG_S | VMM_SEG_G |
				    VMM_SEG_L | 0xb;
	g->sregs.cr0 = 1ULL << 31 | 1ULL << 16 | 1;	/* PG, WP, PE */
	g->sregs.cr3 = G64_TABLES;
	g->sregs.cr4 = 1ULL << 5;			/* PAE */
	g->sregs.efer = 1ULL << 11 | 1ULL << 10 | 1ULL << 8; /* NXE LMA LME */
}

void g64_free(struct guest64 *g)
{
	mem_free(g->mem);
}

uint64_t *g64_pte(struct guest64 *g, uint64_t linear)
{
	uint64_t table = G64_TABLES, *e;
	int shift;

	for (shift = 39; ; shift -= 9) {
		e = mem_ptr(g->mem, table + (linear >> shift & 511) * 8, 8);
		assert(e);
		if (shift == 12)
			return e;
		if (!(*e & G64_P)) {
			*e = g->next_table | G64_P | G64_W | G64_U;
			g->next_table += 0x1000;
		}
		table = *e & 0xffffffffff000ULL;
	}
}

void g64_map(struct guest64 *g, uint64_t linear, uint64_t gpa, uint64_t flags)
{
	*g64_pte(g, linear) = gpa | flags;
}

void g64_set_cpl(struct guest64 *g, unsigned int cpl)
{
	struct vmm_segment *ss = &g->sregs.seg[VMM_SS];

	ss->attr = (ss->attr & ~(3 << VMM_SEG_DPL_SHIFT)) |
		   cpl << VMM_SEG_DPL_SHIFT;
}
