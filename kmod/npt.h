/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The shape of a nested page table, for npt*.c and dirty.c only.
 *
 * A table of level 1 maps 4 KiB pages, of level 2 2 MiB pages, and so on.
 */
#ifndef VMM_NPT_H
#define VMM_NPT_H

#include <linux/io.h>
#include <linux/mem_encrypt.h>
#include <linux/mm.h>
#include <linux/pgtable.h>

#include "vmm.h"

#define PT_ENTRIES	512
#define PT_ADDR		GENMASK_ULL(51, PAGE_SHIFT)

static inline int pt_levels(void)
{
	return vmm_ops->pt->levels;
}

static inline u64 pt_span(int level)
{
	return 1ULL << (PAGE_SHIFT + 9 * (level - 1));
}

static inline u64 *pt_entry(u64 *table, u64 gpa, int level)
{
	return &table[(gpa / pt_span(level)) % PT_ENTRIES];
}

static inline bool pt_present(u64 entry)
{
	return entry & vmm_ops->pt->present;
}

static inline bool pt_is_leaf(u64 entry, int level)
{
	return level == 1 || (entry & vmm_ops->pt->large);
}

/* With memory encryption the C-bit belongs in every entry, APM 2 15.34.6. */
static inline u64 pt_addr(u64 pa)
{
	return __sme_set(pa);
}

static inline u64 *pt_child(u64 entry)
{
	return phys_to_virt(__sme_clr(entry & PT_ADDR));
}

static inline u64 *pt_alloc(void)
{
	return (u64 *)get_zeroed_page(GFP_KERNEL_ACCOUNT);
}

/* n tables more or less; also SecPageTables in /proc/meminfo */
void pt_account(struct vmm_vm *vm, u64 *table, int n);

/* n leaves of this level more or less; those of level 1 nobody counts */
static inline void pt_count_leaf(struct vmm_vm *vm, int level, long n)
{
	if (level > 1)
		atomic_long_add(n, &vm->npt_large[level - 2]);
}

/*
 * npt_host.c: the page tables of current->mm. mmu_lock is held, no invalidation of
 * the address is under way, and irqs are off as long as the host_map is used.
 */
struct host_map {
	int level;		/* of the leaf; 0: there is none */
	u64 leaf;		/* above level 1 */
	const pte_t *table;	/* at level 1: of the leaf and its neighbours */
};

struct host_page {
	struct page *page;	/* 4 KiB; not referenced */
	bool writable;
	bool dirty;
};

void host_find(unsigned long hva, struct host_map *h);
/* a page of what host_find found; false: none that may be taken without asking Linux */
bool host_page(const struct host_map *h, unsigned long hva, struct host_page *p);

#endif /* VMM_NPT_H */
