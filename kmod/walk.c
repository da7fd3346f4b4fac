// SPDX-License-Identifier: GPL-2.0
/*
 * The guest's page tables as the CPU walks them: SDM 3A 4, APM 2 5.2 - 5.6. They
 * lie in guest memory: an entry is copied once, then checked and used.
 */
#include <linux/bits.h>
#include <linux/uaccess.h>
#include <asm/pgtable_types.h>
#include <asm/processor-flags.h>
#include <asm/trap_pf.h>

#include "vmm.h"

#define PTE_ADDR	0x000ffffffffff000ULL
#define MAX_TRIES	8

struct paging {
	u8 levels;
	u8 size;		/* of an entry, in bytes */
	u8 bits;		/* of the address that a level takes */
	bool pdptes;		/* the top level has neither rights nor A */
};

static const struct paging paging_32 = { 2, 4, 10, false };
static const struct paging paging_pae = { 3, 8, 9, true };
static const struct paging paging_4 = { 4, 8, 9, false };
static const struct paging paging_5 = { 5, 8, 9, false };

static const struct paging *paging_of(const struct vmm_mmu *mmu)
{
	if (mmu->efer & EFER_LMA)
		return mmu->cr4 & X86_CR4_LA57 ? &paging_5 : &paging_4;
	return mmu->cr4 & X86_CR4_PAE ? &paging_pae : &paging_32;
}

void vmm_mmu_get(struct vmm_vcpu *vcpu, struct vmm_mmu *mmu)
{
	*mmu = (struct vmm_mmu){
		.cr0 = vmm_op(get_cr)(vcpu, 0),
		.cr3 = vmm_op(get_cr)(vcpu, 3),
		.cr4 = vmm_op(get_cr)(vcpu, 4),
		.efer = vmm_op(get_efer)(vcpu),
	};
}

int vmm_guest_read(struct vmm_vcpu *vcpu, u64 gpa, void *buf, u32 len)
{
	struct vmm_mapping m;
	unsigned long left;

	if (!vcpu->loaded)
		return vmm_mem_read(vcpu->vm, gpa, buf, len);
	if (!vmm_mem_find(vcpu->vm, gpa, &m) || m.gpa + m.size - gpa < len)
		return -EFAULT;
	pagefault_disable();
	left = __copy_from_user_inatomic(buf, u64_to_user_ptr(m.hva + gpa - m.gpa), len);
	pagefault_enable();
	return left ? -EFAULT : 0;
}

static bool is_large(const struct vmm_mmu *mmu, const struct paging *p, int level,
		     u64 entry)
{
	if (!(entry & _PAGE_PSE) || level == 1)
		return false;
	if (p->size == 4)
		return mmu->cr4 & X86_CR4_PSE;
	return level == 2 || (level == 3 && !p->pdptes);
}

/* bits lo..hi-1 */
static u64 bit_range(int lo, int hi)
{
	return hi <= lo ? 0 : GENMASK_ULL(hi - 1, lo);
}

static u64 reserved_bits(const struct vmm_mmu *mmu, const struct paging *p, int level,
			 bool large)
{
	u64 bits;

	if (p->size == 4)	/* PSE-36: 20:13 are address bits 39:32 */
		return large ? BIT_ULL(21) : 0;
	bits = bit_range(vmm_npt_gpa_bits(), 52);
	if (!(mmu->efer & EFER_NX))
		bits |= _PAGE_NX;
	if (large)
		bits |= bit_range(13, 12 + (level - 1) * p->bits);
	if (level >= 4)
		bits |= _PAGE_PSE;
	return bits;
}

static bool permitted(const struct vmm_mmu *mmu, u32 access, u64 rights)
{
	bool user = access & WALK_USER;

	if (user && !(rights & _PAGE_USER))
		return false;
	if (!user && rights & _PAGE_USER && mmu->cr4 & X86_CR4_SMAP)
		return false;
	if (access & WALK_WRITE && !(rights & _PAGE_RW))
		return !user && !(mmu->cr0 & X86_CR0_WP);
	return true;
}

static u64 leaf_address(const struct paging *p, int level, u64 entry, u64 va)
{
	u64 offset = bit_range(0, 12 + (level - 1) * p->bits);
	u64 base = entry & PTE_ADDR & ~offset;

	if (p->size == 4 && level == 2)
		base |= (entry >> 13 & 0xff) << 32;
	return base | (va & offset);
}

/* accessed and dirty; 1: somebody changed an entry meanwhile */
static int mark(struct vmm_vcpu *vcpu, const struct paging *p,
		const struct vmm_walk *w, u32 access)
{
	u64 bits;
	int i, r;

	for (i = p->pdptes; i < w->levels; i++) {
		const struct vmm_walk_step *step = &w->step[i];

		bits = _PAGE_ACCESSED;
		if (i == w->levels - 1 && access & WALK_WRITE)
			bits |= _PAGE_DIRTY;
		if ((step->entry & bits) == bits)
			continue;
		r = vmm_mem_cmpxchg(vcpu->vm, step->gpa, p->size, step->entry,
				    step->entry | bits);
		/* -EFAULT: tables in ROM keep their bits as they are */
		if (r > 0)
			return 1;
	}
	return 0;
}

static int page_fault(struct vmm_walk *w, u32 access, u32 error)
{
	w->error = error | (access & WALK_WRITE ? X86_PF_WRITE : 0) |
		   (access & WALK_USER ? X86_PF_USER : 0);
	return 1;
}

/* as vmm_walk, or 2: again */
static int walk_once(struct vmm_vcpu *vcpu, const struct vmm_mmu *mmu, u64 va,
		     u32 access, struct vmm_walk *w)
{
	const struct paging *p = paging_of(mmu);
	u64 rights = _PAGE_USER | _PAGE_RW, entry, table;
	bool peek = access & WALK_PEEK, large;
	int level;

	w->size = p->size;
	w->levels = 0;
	table = mmu->cr3 & (p->pdptes ? 0xffffffe0 : p->size == 4 ? 0xfffff000 : PTE_ADDR);
	for (level = p->levels;; level--) {
		u64 index = va >> (12 + (level - 1) * p->bits) & bit_range(0, p->bits);

		w->gpa = table + index * p->size;
		entry = 0;
		if (vmm_guest_read(vcpu, w->gpa, &entry, p->size))
			return -EFAULT;
		if (!(entry & _PAGE_PRESENT))
			return page_fault(w, access, 0);
		large = is_large(mmu, p, level, entry);
		if (!peek && entry & reserved_bits(mmu, p, level, large))
			return page_fault(w, access, X86_PF_PROT | X86_PF_RSVD);
		w->step[w->levels++] = (struct vmm_walk_step){ w->gpa, entry };
		if (!(p->pdptes && level == p->levels))
			rights &= entry;
		if (level == 1 || large)
			break;
		table = entry & PTE_ADDR;
	}
	w->gpa = leaf_address(p, level, entry, va);
	if (peek)
		return 0;
	if (!permitted(mmu, access, rights))
		return page_fault(w, access, X86_PF_PROT);
	return mark(vcpu, p, w, access) ? 2 : 0;
}

int vmm_walk(struct vmm_vcpu *vcpu, const struct vmm_mmu *mmu, u64 va, u32 access,
	     struct vmm_walk *w)
{
	int r, tries = 0;

	if (!(mmu->efer & EFER_LMA))
		va = (u32)va;
	if (!(mmu->cr0 & X86_CR0_PG)) {
		w->gpa = va;
		w->levels = 0;
		return 0;
	}
	/* whoever changes the tables all the time does without A and D bits */
	do {
		r = walk_once(vcpu, mmu, va, access, w);
	} while (r == 2 && ++tries < MAX_TRIES);
	return r == 2 ? 0 : r;
}
