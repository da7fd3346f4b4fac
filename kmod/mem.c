// SPDX-License-Identifier: GPL-2.0
/*
 * Guest memory: the table gpa -> hva of one VM, and the MMU notifier through
 * which the nested page tables follow what Linux does with the pages behind it.
 *
 * The table is replaced as a whole, under vm->lock, and published together
 * with the zap of what it no longer allows, both under mmu_lock: an MMU
 * notifier sees either the old table or page tables without the old mapping,
 * never neither. A fault that looked into the old table finds mmu_seq changed
 * and starts again.
 */
#include <linux/mm.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "vmm.h"

/* ---- the table ------------------------------------------------------------- */

static struct vmm_maps *maps_alloc(u32 room)
{
	struct vmm_maps *maps;

	maps = kvmalloc(struct_size(maps, map, room), GFP_KERNEL_ACCOUNT);
	if (maps)
		maps->count = 0;
	return maps;
}

static void maps_free(struct rcu_head *rcu)
{
	kvfree(container_of(rcu, struct vmm_maps, rcu));
}

static struct vmm_maps *maps_under_lock(struct vmm_vm *vm)
{
	return rcu_dereference_protected(vm->maps, lockdep_is_held(&vm->lock));
}

/* with mmu_lock held, for writing or reading */
static struct vmm_maps *maps_under_mmu_lock(struct vmm_vm *vm)
{
	return rcu_dereference_protected(vm->maps, lockdep_is_held(&vm->mmu_lock));
}

/* publish *new; forget what the page tables hold of [gpa, gpa + size) */
static void maps_replace(struct vmm_vm *vm, struct vmm_maps *new, u64 gpa, u64 size)
{
	struct vmm_maps *old = maps_under_lock(vm);

	write_lock(&vm->mmu_lock);
	rcu_assign_pointer(vm->maps, new);
	/* whoever reads the new number finds the new table */
	smp_store_release(&vm->maps_gen, vm->maps_gen + 1);
	if (size)
		vmm_npt_zap(vm, gpa, gpa + size);
	vm->mmu_seq++;
	write_unlock(&vm->mmu_lock);
	vmm_npt_flush(vm);
	call_srcu(&vm->srcu, &old->rcu, maps_free);
}

enum change { CHANGE_MAP, CHANGE_UNMAP, CHANGE_PROTECT };

static int maps_compute(struct vmm_maps *new, const struct vmm_maps *old,
			enum change change, const struct vmm_map *m)
{
	struct vmm_mapping entry = {
		.gpa = m->gpa, .size = m->size, .hva = m->hva, .flags = m->flags,
	};

	switch (change) {
	case CHANGE_MAP:
		return vmm_table_map(new->map, old->map, old->count, &entry);
	case CHANGE_UNMAP:
		return vmm_table_unmap(new->map, old->map, old->count, m->gpa, m->size);
	case CHANGE_PROTECT:
		return vmm_table_protect(new->map, old->map, old->count,
					 m->gpa, m->size, m->flags);
	}
	return -EINVAL;
}

static int mem_change(struct vmm_vm *vm, enum change change, const struct vmm_map *m)
{
	struct vmm_maps *old, *new;
	int count;

	mutex_lock(&vm->lock);
	old = maps_under_lock(vm);
	new = maps_alloc(old->count + 2);
	count = new ? maps_compute(new, old, change, m) : -ENOMEM;
	if (count > VMM_MAX_MAPS)
		count = -ENOSPC;
	if (count < 0) {
		kvfree(new);
		goto out;
	}
	new->count = count;
	/*
	 * A new range has nothing to forget, as it was not mapped before, but for
	 * an APIC-access page.
	 */
	maps_replace(vm, new, m->gpa, change == CHANGE_MAP && !vm->apic_access ? 0 : m->size);
	count = 0;
out:
	mutex_unlock(&vm->lock);
	return count;
}

int vmm_mem_map(struct vmm_vm *vm, const struct vmm_map *m)
{
	int r = vmm_table_check(m, vmm_npt_gpa_bits(), VMM_MAP_READONLY);

	if (r)
		return r;
	if (!access_ok((void __user *)m->hva, m->size))
		return -EINVAL;
	return mem_change(vm, CHANGE_MAP, m);
}

int vmm_mem_unmap(struct vmm_vm *vm, const struct vmm_map *m)
{
	int r = vmm_table_check(m, vmm_npt_gpa_bits(), 0);

	if (r)
		return r;
	return m->hva ? -EINVAL : mem_change(vm, CHANGE_UNMAP, m);
}

int vmm_mem_protect(struct vmm_vm *vm, const struct vmm_map *m)
{
	int r = vmm_table_check(m, vmm_npt_gpa_bits(), VMM_MAP_READONLY);

	if (r)
		return r;
	return m->hva ? -EINVAL : mem_change(vm, CHANGE_PROTECT, m);
}

bool vmm_mem_find(struct vmm_vm *vm, u64 gpa, struct vmm_mapping *out)
{
	int idx = srcu_read_lock(&vm->srcu);
	struct vmm_maps *maps = srcu_dereference(vm->maps, &vm->srcu);
	u32 i = vmm_table_find(maps->map, maps->count, gpa);
	bool found = i < maps->count && maps->map[i].gpa <= gpa;

	if (found)
		*out = maps->map[i];
	srcu_read_unlock(&vm->srcu, idx);
	return found;
}

/* ---- access by the module itself ---------------------------------------------- */

/*
 * The user address of gpa, and in *len no more bytes than lie behind it in the
 * same mapping; NULL if there is none or, for a write, it is read-only.
 */
static void __user *mem_at(struct vmm_vm *vm, u64 gpa, u32 *len, bool write)
{
	struct vmm_mapping m;

	/* hva means nothing in another address space */
	if (current->mm != vm->mm || !vmm_mem_find(vm, gpa, &m))
		return NULL;
	if (write && (m.flags & VMM_MAP_READONLY))
		return NULL;
	*len = min_t(u64, *len, m.gpa + m.size - gpa);
	return (void __user *)(m.hva + (gpa - m.gpa));
}

int vmm_mem_read(struct vmm_vm *vm, u64 gpa, void *buf, u32 len)
{
	while (len) {
		u32 n = len;
		void __user *from = mem_at(vm, gpa, &n, false);

		if (!from || copy_from_user(buf, from, n))
			return -EFAULT;
		buf += n;
		gpa += n;
		len -= n;
	}
	return 0;
}

int vmm_mem_write(struct vmm_vm *vm, u64 gpa, const void *buf, u32 len)
{
	while (len) {
		u32 n = len;
		void __user *to = mem_at(vm, gpa, &n, true);
		unsigned long left;

		if (!to)
			return -EFAULT;
		left = copy_to_user(to, buf, n);
		vmm_dirty_written(vm, gpa, n);
		if (left)
			return -EFAULT;
		buf += n;
		gpa += n;
		len -= n;
	}
	return 0;
}

int vmm_mem_write_now(struct vmm_vm *vm, u64 gpa, const void *buf, u32 len)
{
	unsigned long left;
	u32 n = len;
	void __user *to = mem_at(vm, gpa, &n, true);

	if (!to || n < len)
		return -EFAULT;
	pagefault_disable();
	left = __copy_to_user_inatomic(to, buf, len);
	pagefault_enable();
	vmm_dirty_written(vm, gpa, len);
	return left ? -EFAULT : 0;
}

int vmm_mem_cmpxchg(struct vmm_vm *vm, u64 gpa, u32 size, u64 old, u64 new)
{
	u32 n = size, old4 = old;
	void __user *at = mem_at(vm, gpa, &n, true);
	int r;

	if (!at || n < size || gpa % size)
		return -EFAULT;
	if (size == 4)
		r = __try_cmpxchg_user((u32 __user *)at, &old4, (u32)new, fault4);
	else
		r = __try_cmpxchg_user((u64 __user *)at, &old, new, fault8);
	if (!r)
		vmm_dirty_written(vm, gpa, size);
	return r;
}

/* ---- the MMU notifier ----------------------------------------------------------- */

/* what of *m has its hva in [start, end), as gpa; false if nothing */
static bool hva_to_gpa(const struct vmm_mapping *m, u64 start, u64 end,
		       u64 *gpa_start, u64 *gpa_end)
{
	start = max(start, m->hva);
	end = min(end, m->hva + m->size);
	if (start >= end)
		return false;
	*gpa_start = m->gpa + (start - m->hva);
	*gpa_end = m->gpa + (end - m->hva);
	return true;
}

/* faults in [start, end) must not succeed until the matching invalidate_done */
static void invalidate_begin(struct vmm_vm *vm, unsigned long start, unsigned long end)
{
	if (!vm->mmu_busy++) {
		vm->inv_start = start;
		vm->inv_end = end;
	} else {
		/* one range for all under way: wider than need be, never too narrow */
		vm->inv_start = min(vm->inv_start, start);
		vm->inv_end = max(vm->inv_end, end);
	}
}

static int notify_start(struct mmu_notifier *mn, const struct mmu_notifier_range *range)
{
	struct vmm_vm *vm = container_of(mn, struct vmm_vm, notifier);
	struct vmm_maps *maps;
	u64 start, end;
	u32 i;

	/*
	 * Counted even if the range is no guest's memory: a mapping of it may
	 * be added before the end, and its faults must wait as well.
	 */
	write_lock(&vm->mmu_lock);
	invalidate_begin(vm, range->start, range->end);
	maps = maps_under_mmu_lock(vm);
	for (i = 0; i < maps->count; i++)
		if (hva_to_gpa(&maps->map[i], range->start, range->end, &start, &end))
			vmm_npt_zap(vm, start, end);
	write_unlock(&vm->mmu_lock);
	/*
	 * Even if nothing was zapped here: somebody else may have zapped it and
	 * not flushed yet, while Linux frees the page once this returns.
	 */
	vmm_npt_flush(vm);
	return 0;
}

static void notify_end(struct mmu_notifier *mn, const struct mmu_notifier_range *range)
{
	struct vmm_vm *vm = container_of(mn, struct vmm_vm, notifier);

	write_lock(&vm->mmu_lock);
	/* A fault that got its page before now may have got the old one. */
	vm->mmu_seq++;
	vm->mmu_busy--;
	write_unlock(&vm->mmu_lock);
	if (wq_has_sleeper(&vm->mmu_wait))
		wake_up_all(&vm->mmu_wait);
}

/*
 * The address space is being torn down, or we unregister. No vCPU can run any
 * more (RUN checks current->mm), and Linux frees the pages next.
 */
static void notify_release(struct mmu_notifier *mn, struct mm_struct *mm)
{
	struct vmm_vm *vm = container_of(mn, struct vmm_vm, notifier);

	write_lock(&vm->mmu_lock);
	vmm_npt_zap(vm, 0, 1ULL << vmm_npt_gpa_bits());
	vm->mmu_seq++;
	write_unlock(&vm->mmu_lock);
	vmm_npt_flush(vm);
}

/* called with the page's page table lock held: nothing here may sleep */
static int mem_young(struct vmm_vm *vm, unsigned long hva_start, unsigned long hva_end,
		     bool clear)
{
	struct vmm_maps *maps;
	bool young = false;
	u64 start, end;
	u32 i;

	read_lock(&vm->mmu_lock);
	maps = maps_under_mmu_lock(vm);
	for (i = 0; i < maps->count; i++)
		if (hva_to_gpa(&maps->map[i], hva_start, hva_end, &start, &end))
			young |= vmm_npt_young(vm, start, end, clear);
	read_unlock(&vm->mmu_lock);
	return young;
}

/*
 * No flush, as Linux itself does none on x86: a translation that stays in the
 * TLB hides later accesses until it is evicted, which costs only precision.
 */
static int notify_clear_young(struct mmu_notifier *mn, struct mm_struct *mm,
			      unsigned long start, unsigned long end)
{
	return mem_young(container_of(mn, struct vmm_vm, notifier), start, end, true);
}

static int notify_test_young(struct mmu_notifier *mn, struct mm_struct *mm,
			     unsigned long address)
{
	return mem_young(container_of(mn, struct vmm_vm, notifier),
			 address, address + PAGE_SIZE, false);
}

static const struct mmu_notifier_ops mem_notifier_ops = {
	.invalidate_range_start	= notify_start,
	.invalidate_range_end	= notify_end,
	.release		= notify_release,
	.clear_flush_young	= notify_clear_young,
	.clear_young		= notify_clear_young,
	.test_young		= notify_test_young,
};

/* ---- life ------------------------------------------------------------------------ */

int vmm_mem_create(struct vmm_vm *vm)
{
	struct vmm_maps *maps;
	int r;

	rwlock_init(&vm->mmu_lock);
	spin_lock_init(&vm->flush_lock);
	mutex_init(&vm->track_lock);
	init_waitqueue_head(&vm->mmu_wait);
	r = init_srcu_struct(&vm->srcu);
	if (r)
		return r;
	r = -ENOMEM;
	maps = maps_alloc(0);
	if (!maps)
		goto err_srcu;
	RCU_INIT_POINTER(vm->maps, maps);
	r = vmm_npt_create(vm);
	if (r)
		goto err_maps;
	/* Last: from here on the callbacks come. Keeps the mm, not its users. */
	vm->notifier.ops = &mem_notifier_ops;
	r = mmu_notifier_register(&vm->notifier, vm->mm);
	/* any signal, also one that stops the process: undo all and try again */
	if (r == -EINTR)
		r = -ERESTARTNOINTR;
	if (r)
		goto err_npt;
	return 0;

err_npt:
	vmm_npt_destroy(vm);
err_maps:
	kvfree(maps);
err_srcu:
	cleanup_srcu_struct(&vm->srcu);
	return r;
}

void vmm_mem_destroy(struct vmm_vm *vm)
{
	/*
	 * Calls notify_release unless the exit of the mm did so already, waits
	 * for callbacks that still run, and lets go of the mm.
	 */
	mmu_notifier_unregister(&vm->notifier, vm->mm);
	vmm_npt_destroy(vm);
	vmm_dirty_destroy(vm);
	srcu_barrier(&vm->srcu);
	kvfree(rcu_dereference_protected(vm->maps, true));
	cleanup_srcu_struct(&vm->srcu);
}
