// SPDX-License-Identifier: GPL-2.0
/*
 * What the process's own page tables map, looked at without taking a reference.
 *
 * With mmu_lock held and no invalidation of the address under way, Linux cannot
 * take a page or a right away: it would call the MMU notifier first (mem.c), which
 * waits for the lock. What it can do is to add. Interrupts off keep the tables
 * themselves: they are freed after an IPI or a grace period.
 */
#include <linux/mm.h>
#include <linux/pgtable.h>

#include "compat.h"
#include "npt.h"

#define WANTED	(_PAGE_PRESENT | _PAGE_USER)

/*
 * What GUP has its own rules for is left to it: pages that nobody counts
 * (CVE-2021-22543), devices' memory, protection keys.
 */
#define ODD	(_PAGE_SPECIAL | _PAGE_DEVMAP | _PAGE_PKEY_MASK)

void host_find(unsigned long hva, struct host_map *h)
{
	pgd_t pgd;
	p4d_t p4d;
	pud_t pud;
	pmd_t pmd;

	h->level = 0;
	pgd = READ_ONCE(*pgd_offset(current->mm, hva));
	if (pgd_none(pgd))
		return;
	p4d = READ_ONCE(*p4d_offset(&pgd, hva));
	if (p4d_none(p4d) || !p4d_present(p4d))
		return;
	pud = READ_ONCE(*pud_offset(&p4d, hva));
	if (!(pud_val(pud) & _PAGE_PRESENT))
		return;
	if (pud_leaf(pud)) {
		h->level = 3;
		h->leaf = pud_val(pud);
		return;
	}
	pmd = READ_ONCE(*pmd_offset(&pud, hva));
	if (!(pmd_val(pmd) & _PAGE_PRESENT))
		return;
	if (pmd_val(pmd) & _PAGE_PSE) {
		h->level = 2;
		h->leaf = pmd_val(pmd);
		return;
	}
	h->level = 1;
	h->table = (const pte_t *)pmd_page_vaddr(pmd);
}

bool host_page(const struct host_map *h, unsigned long hva, struct host_page *p)
{
	struct folio *folio;
	u64 entry, span;

	if (!h->level)
		return false;
	entry = h->level == 1 ? pte_val(READ_ONCE(h->table[pte_index(hva)])) : h->leaf;
	if ((entry & (WANTED | ODD)) != WANTED)
		return false;
	span = pt_span(h->level);
	p->page = pfn_to_page(((entry & PTE_PFN_MASK & ~(span - 1)) | (hva & (span - 1))) >>
			      PAGE_SHIFT);
	p->writable = entry & _PAGE_RW;
	p->dirty = entry & _PAGE_DIRTY;
	/* Of what else there is (files, secret memory) not all may be taken. */
	folio = page_folio(p->page);
	return folio_test_anon(folio) || folio_test_swapbacked(folio);
}
