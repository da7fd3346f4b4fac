// SPDX-License-Identifier: GPL-2.0
/*
 * Nested page tables: guest physical to host physical. Here: zap, flush,
 * accessed bits, life; npt_fault.c fills them.
 *
 * Faults run in parallel: mmu_lock for reading, every entry written with
 * cmpxchg. Zaps hold it for writing, so a table that a fault walks stays.
 * No page reference is kept: the MMU notifier (mem.c) takes an entry away
 * before Linux takes the page. A zap only unlinks; tables are freed by the
 * flush that follows, when no CPU can be walking them any more.
 */
#include <linux/mm.h>
#include <linux/vmstat.h>

#include "npt.h"

int vmm_npt_gpa_bits(void)
{
	return min_t(int, boot_cpu_data.x86_phys_bits, 48);
}

/* ---- table pages ------------------------------------------------------------ */

void pt_account(struct vmm_vm *vm, u64 *table, int n)
{
	atomic_long_add(n, &vm->npt_pages);
	mod_node_page_state(page_pgdat(virt_to_page(table)), NR_SECONDARY_PAGETABLE, n);
}

/* a table that was linked or is the root, with all below it */
static void table_free(struct vmm_vm *vm, u64 *table, int level)
{
	int i;

	for (i = 0; level > 1 && i < PT_ENTRIES; i++) {
		if (!pt_present(table[i]))
			continue;
		if (pt_is_leaf(table[i], level))
			pt_count_leaf(vm, level, -1);
		else
			table_free(vm, pt_child(table[i]), level - 1);
	}
	pt_account(vm, table, -1);
	free_page((unsigned long)table);
}

/*
 * Unlinked tables wait for the flush in a list through page_private: the
 * address of the next one, with its level in the bits below the page size.
 * The tables' own contents must stay, a CPU may be walking them.
 */
static void detached_free(struct vmm_vm *vm, unsigned long head)
{
	while (head) {
		u64 *table = (u64 *)(head & PAGE_MASK);
		int level = head & ~PAGE_MASK;
		struct page *page = virt_to_page(table);

		head = page_private(page);
		set_page_private(page, 0);
		table_free(vm, table, level);
	}
}

static void detached_publish(struct vmm_vm *vm, unsigned long first, unsigned long last)
{
	struct page *page = virt_to_page((void *)(last & PAGE_MASK));
	unsigned long head = READ_ONCE(vm->npt_detached);

	do {
		set_page_private(page, head);
	} while (!try_cmpxchg(&vm->npt_detached, &head, first));
}

/* ---- zap ----------------------------------------------------------------------- */

struct zap {
	struct vmm_vm *vm;
	bool tracked;			/* some range is: see every leaf go */
	bool removed;
	unsigned long first, last;	/* list of detached tables */
};

static void zap_detach(struct zap *z, u64 *table, int level)
{
	set_page_private(virt_to_page(table), z->first);
	z->first = (unsigned long)table | level;
	if (!z->last)
		z->last = z->first;
}

/* A leaf that reaches beyond the range goes too; the rest faults in again. */
static void zap_table(struct zap *z, u64 *table, int level, u64 start, u64 end)
{
	u64 span = pt_span(level), next;

	for (; start < end; start = next) {
		u64 *entry = pt_entry(table, start, level);
		u64 old = READ_ONCE(*entry);

		next = min(end, (start | (span - 1)) + 1);
		if (!pt_present(old))
			continue;
		if (!pt_is_leaf(old, level) && (next - start < span || z->tracked)) {
			/* a detached table's leaves would still take A and D bits */
			zap_table(z, pt_child(old), level - 1, start, next);
			if (next - start < span)
				continue;
		}
		/* The CPU may be setting A and D: an atomic exchange. */
		old = xchg(entry, 0);
		z->removed = true;
		if (!pt_is_leaf(old, level)) {
			zap_detach(z, pt_child(old), level - 1);
			continue;
		}
		pt_count_leaf(z->vm, level, -1);
		if (z->tracked)
			vmm_dirty_leaf_gone(z->vm, start & ~(span - 1), span, old);
	}
}

void vmm_npt_stale(struct vmm_vm *vm)
{
	atomic64_inc_return(&vm->tlb_gen);
}

bool vmm_npt_zap(struct vmm_vm *vm, u64 gpa_start, u64 gpa_end)
{
	struct zap z = { .vm = vm, .tracked = rcu_access_pointer(vm->tracks) };

	lockdep_assert_held_write(&vm->mmu_lock);
	zap_table(&z, vm->npt_root, pt_levels(), gpa_start, gpa_end);
	if (!z.removed)
		return false;
	/*
	 * In this order: the generation tells a vCPU to flush what was cleared
	 * above; a table in the list says that its generation is out.
	 */
	vmm_npt_stale(vm);
	if (z.first)
		detached_publish(vm, z.first, z.last);
	return true;
}

/* ---- flush --------------------------------------------------------------------- */

static void flush_ipi(void *unused)
{
	/* that it arrived is all: the CPU left the guest for it */
}

/* make every vCPU that is in the guest leave it; returns when they have */
static void flush_kick(struct vmm_vm *vm)
{
	int i, idx, cpu;

	cpumask_clear(vm->flush_mask);
	idx = srcu_read_lock(&vm->srcu);
	for (i = 0; i < READ_ONCE(vm->top); i++) {
		struct vmm_vcpu *vcpu = srcu_dereference(vm->vcpus[i], &vm->srcu);

		if (!vcpu || READ_ONCE(vcpu->mode) != MODE_GUEST)
			continue;
		cpu = READ_ONCE(vcpu->cpu);
		if (cpu >= 0)
			cpumask_set_cpu(cpu, vm->flush_mask);
	}
	srcu_read_unlock(&vm->srcu, idx);
	smp_call_function_many(vm->flush_mask, flush_ipi, NULL, true);
}

void vmm_npt_flush(struct vmm_vm *vm)
{
	unsigned long detached = 0;
	u64 gen = atomic64_read(&vm->tlb_gen);

	if (smp_load_acquire(&vm->tlb_done) >= gen)
		return;
	/* Those who wait here find their work done by the one before. */
	spin_lock(&vm->flush_lock);
	if (vm->tlb_done < gen) {
		/* the list before the generation, see vmm_npt_zap */
		detached = xchg(&vm->npt_detached, 0);
		gen = atomic64_read(&vm->tlb_gen);
		/*
		 * Pairs with the barrier after mode = MODE_GUEST in the run
		 * loop: either we see the mode, or the vCPU the generation.
		 */
		smp_mb();
		flush_kick(vm);
		smp_store_release(&vm->tlb_done, gen);
	}
	spin_unlock(&vm->flush_lock);
	detached_free(vm, detached);
}

void vmm_npt_kick(struct vmm_vm *vm)
{
	spin_lock(&vm->flush_lock);
	/* as above: either we see the mode, or the vCPU what we have written */
	smp_mb();
	flush_kick(vm);
	spin_unlock(&vm->flush_lock);
}

/* ---- accessed bits ------------------------------------------------------------- */

static bool entry_young(u64 *entry, bool clear)
{
	u64 old = READ_ONCE(*entry);

	do {
		if (!pt_present(old) || !(old & vmm_ops->pt->accessed))
			return false;
	} while (clear && !try_cmpxchg(entry, &old, old & ~vmm_ops->pt->accessed));
	return true;
}

static bool table_young(struct vmm_vm *vm, u64 *table, int level, u64 start, u64 end,
			bool clear)
{
	u64 span = pt_span(level), next;
	bool young = false;

	for (; start < end; start = next) {
		u64 *entry = pt_entry(table, start, level);
		u64 old = READ_ONCE(*entry);

		next = min(end, (start | (span - 1)) + 1);
		if (!pt_present(old))
			continue;
		if (!pt_is_leaf(old, level)) {
			young |= table_young(vm, pt_child(old), level - 1, start, next, clear);
		} else if (entry_young(entry, clear)) {
			young = true;
			if (clear)
				vmm_dirty_made_old(vm, start & ~(span - 1), span);
		}
	}
	return young;
}

bool vmm_npt_young(struct vmm_vm *vm, u64 gpa_start, u64 gpa_end, bool clear)
{
	lockdep_assert_held(&vm->mmu_lock);
	return table_young(vm, vm->npt_root, pt_levels(), gpa_start, gpa_end, clear);
}

/* ---- life ------------------------------------------------------------------------ */

int vmm_npt_create(struct vmm_vm *vm)
{
	u64 *root;

	if (!zalloc_cpumask_var(&vm->flush_mask, GFP_KERNEL_ACCOUNT))
		return -ENOMEM;
	root = pt_alloc();
	if (!root) {
		free_cpumask_var(vm->flush_mask);
		return -ENOMEM;
	}
	pt_account(vm, root, 1);
	vm->npt_root = root;
	return 0;
}

/* nobody else is left, no notifier and no vCPU that runs */
void vmm_npt_destroy(struct vmm_vm *vm)
{
	detached_free(vm, xchg(&vm->npt_detached, 0));
	table_free(vm, vm->npt_root, pt_levels());
	free_cpumask_var(vm->flush_mask);
}
