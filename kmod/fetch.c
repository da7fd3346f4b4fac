// SPDX-License-Identifier: GPL-2.0
/*
 * The guest's instruction bytes. Of a few pages fetched from last the walks are
 * remembered, with every entry that they read: as long as these read the same,
 * another walk would end at the same page. So nobody has to tell us what the guest
 * does with its tables, and what is remembered cannot be stale. More than one page:
 * a driver and the APIC's code take turns for each packet.
 */
#include <linux/mm.h>
#include <linux/uaccess.h>

#include "vmm.h"

static void __user *user_at(struct vmm_vm *vm, u64 gpa)
{
	struct vmm_mapping m;

	if (!vmm_mem_find(vm, gpa, &m))
		return NULL;
	return (void __user *)(m.hva + (gpa - m.gpa));
}

static struct vmm_code_page *code_page(struct vmm_vcpu *vcpu, u64 va)
{
	return &vcpu->code[va / PAGE_SIZE % VMM_CODE_PAGES];
}

static void remember(struct vmm_vcpu *vcpu, const struct vmm_mmu *mmu, u64 va,
		     const struct vmm_walk *w)
{
	struct vmm_code_page *c = code_page(vcpu, va);
	int i;

	c->valid = false;
	if (w->levels && w->size != sizeof(u64))
		return;
	/* before the addresses are looked up: none is newer than that says */
	c->maps_gen = smp_load_acquire(&vcpu->vm->maps_gen);
	for (i = 0; i < w->levels; i++) {
		c->at[i] = user_at(vcpu->vm, w->step[i].gpa);
		c->entry[i] = w->step[i].entry;
		if (!c->at[i])
			return;
	}
	c->code = user_at(vcpu->vm, w->gpa & PAGE_MASK);
	if (!c->code)
		return;
	c->levels = w->levels;
	c->va = va & PAGE_MASK;
	c->mmu = *mmu;
	c->valid = true;
}

static bool is_remembered(const struct vmm_vcpu *vcpu, const struct vmm_code_page *c,
			  const struct vmm_mmu *mmu, u64 va)
{
	return c->valid && c->va == (va & PAGE_MASK) && c->mmu.cr3 == mmu->cr3 &&
	       c->mmu.cr0 == mmu->cr0 && c->mmu.cr4 == mmu->cr4 &&
	       c->mmu.efer == mmu->efer &&
	       c->maps_gen == READ_ONCE(vcpu->vm->maps_gen);
}

/*
 * VMM_FETCH_MAX bytes of the remembered page; false: walk. The addresses are
 * the user's: they were checked when the memory was mapped.
 */
static bool recall(const struct vmm_code_page *c, u32 offset, u8 *buf)
{
	u64 __user *code = (u64 __user *)(c->code + offset);
	u64 entry, low, high;
	int i;

	pagefault_disable();
	if (!user_access_begin(code, VMM_FETCH_MAX))
		goto out;
	for (i = 0; i < c->levels; i++) {
		unsafe_get_user(entry, c->at[i], fault);
		if (entry != c->entry[i])
			goto fault;
	}
	unsafe_get_user(low, code, fault);
	unsafe_get_user(high, code + 1, fault);
	user_access_end();
	pagefault_enable();
	memcpy(buf, &low, sizeof(low));
	memcpy(buf + sizeof(low), &high, sizeof(high));
	return true;
fault:
	user_access_end();
out:
	pagefault_enable();
	return false;
}

static noinline int walk_and_read(struct vmm_vcpu *vcpu, const struct vmm_mmu *mmu,
				  u64 va, u8 *buf, u32 max)
{
	struct vmm_walk w __uninitialized;
	u32 got = 0;

	while (got < max) {
		u32 n = min_t(u32, max - got, PAGE_SIZE - (va & ~PAGE_MASK));

		/* the CPU has fetched from there: what it checked, it checked */
		if (vmm_walk(vcpu, mmu, va, WALK_PEEK, &w) ||
		    vmm_guest_read(vcpu, w.gpa, buf + got, n))
			break;
		if (!got)
			remember(vcpu, mmu, va, &w);
		got += n;
		va += n;
	}
	return got ? got : -EFAULT;
}

int vmm_fetch(struct vmm_vcpu *vcpu, const struct vmm_mmu *mmu, u64 va, u8 *buf, u32 max)
{
	const struct vmm_code_page *c = code_page(vcpu, va);
	u32 offset = va & ~PAGE_MASK;

	if (offset <= PAGE_SIZE - VMM_FETCH_MAX && is_remembered(vcpu, c, mmu, va) &&
	    recall(c, offset, buf))
		return max;
	return walk_and_read(vcpu, mmu, va, buf, max);
}
