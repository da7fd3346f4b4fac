// SPDX-License-Identifier: GPL-2.0
/*
 * Coalesced writes: what a guest writes to some ports and addresses needs no
 * answer. It is kept in a ring that the monitor maps and empties before it looks
 * at an exit. A full ring is an ordinary exit.
 *
 * The page is shared: the head that counts is ours, the monitor's tail is read
 * once, and one that lies costs it its own entries.
 */
#include <linux/mm.h>
#include <linux/slab.h>
#include <linux/spinlock.h>

#include "vmm.h"

static_assert(sizeof(struct vmm_ring_entry) == 24);
static_assert(sizeof(struct vmm_ring) <= PAGE_SIZE);

struct span {
	u64 addr, size;
	u32 width;		/* 0: any */
	bool port;
};

struct spans {
	u32 count;
	struct span span[];	/* no two overlap */
};

struct vmm_coalesced {
	struct spans __rcu *spans;	/* s */
	struct vmm_ring *ring;		/* c  a page */
	raw_spinlock_t lock;		/* innermost; vCPUs that write to these only */
	u32 head;			/* under lock */
};

/* ---- a guest writes -------------------------------------------------------- */

/* size 0: is there anything at all */
static bool covers(struct vmm_vm *vm, struct vmm_coalesced *co, bool port, u64 addr,
		   u32 size)
{
	int idx = srcu_read_lock(&vm->srcu);
	const struct spans *spans = srcu_dereference(co->spans, &vm->srcu);
	bool found = false;
	u32 i;

	for (i = 0; spans && i < spans->count && !found; i++) {
		const struct span *r = &spans->span[i];

		found = r->port == port && addr >= r->addr &&
			addr - r->addr < r->size && size <= r->size - (addr - r->addr) &&
			(!size || !r->width || size == r->width);
	}
	srcu_read_unlock(&vm->srcu, idx);
	return found;
}

bool vmm_coalesce_at(struct vmm_vm *vm, u64 gpa)
{
	struct vmm_coalesced *co = smp_load_acquire(&vm->coalesced);

	return co && covers(vm, co, false, gpa, 0);
}

bool vmm_coalesce_push(struct vmm_vm *vm, bool port, u64 addr, u32 size, u64 data)
{
	struct vmm_coalesced *co = smp_load_acquire(&vm->coalesced);
	unsigned long flags;
	bool room;

	if (!co || !covers(vm, co, port, addr, size))
		return false;
	raw_spin_lock_irqsave(&co->lock, flags);
	/* pairs with the monitor's store when it has read the entries */
	room = co->head - smp_load_acquire(&co->ring->tail) < VMM_RING_ENTRIES;
	if (room) {
		co->ring->entry[co->head % VMM_RING_ENTRIES] = (struct vmm_ring_entry){
			.addr = addr,
			.data = data,
			.size = size,
			.flags = port ? VMM_COALESCE_PORT : 0,
		};
		smp_store_release(&co->ring->head, ++co->head);
	}
	raw_spin_unlock_irqrestore(&co->lock, flags);
	return room;
}

/* ---- the monitor's side ------------------------------------------------------ */

/* the page and what goes with it, made by whoever wants it first */
static struct vmm_coalesced *coalesced(struct vmm_vm *vm)
{
	struct vmm_coalesced *co = smp_load_acquire(&vm->coalesced), *other;

	if (co)
		return co;
	co = kzalloc(sizeof(*co), GFP_KERNEL_ACCOUNT);
	if (!co)
		return NULL;
	raw_spin_lock_init(&co->lock);
	co->ring = (void *)get_zeroed_page(GFP_KERNEL_ACCOUNT);
	other = co->ring ? cmpxchg(&vm->coalesced, NULL, co) : NULL;
	if (co->ring && !other)
		return co;
	free_page((unsigned long)co->ring);
	kfree(co);
	return other;
}

int vmm_coalesce_mmap(struct vmm_vm *vm, struct vm_area_struct *vma)
{
	struct vmm_coalesced *co;

	if (vma->vm_pgoff || vma_pages(vma) != 1 || !(vma->vm_flags & VM_SHARED))
		return -EINVAL;
	co = coalesced(vm);
	if (!co)
		return -ENOMEM;
	/* the page has its own reference: it outlives the fd while mapped */
	return vm_insert_page(vma, vma->vm_start, virt_to_page(co->ring));
}

static int check(const struct vmm_coalesce *c)
{
	u64 end = c->flags & VMM_COALESCE_PORT ? 0x10000 : 1ULL << vmm_npt_gpa_bits();

	if (c->flags & ~(VMM_COALESCE_PORT | VMM_COALESCE_OFF))
		return -EINVAL;
	/* a width is a power of two that fits */
	if (c->width & (c->width - 1) || c->width > 8 || c->width > c->size)
		return -EINVAL;
	return !c->size || c->addr >= end || c->size > end - c->addr ? -EINVAL : 0;
}

/* 0; *n: of the range itself, or the count */
static int look_up(const struct spans *spans, const struct span *r, bool off, u32 *n)
{
	u32 i;

	for (i = 0; i < spans->count; i++) {
		const struct span *have = &spans->span[i];

		if (have->port != r->port || have->addr >= r->addr + r->size ||
		    r->addr >= have->addr + have->size)
			continue;
		*n = i;
		if (!off)
			return -EEXIST;
		return have->addr == r->addr && have->size == r->size &&
		       have->width == r->width ? 0 : -ENOENT;
	}
	*n = spans->count;
	return off ? -ENOENT : 0;
}

static int change_locked(struct vmm_vm *vm, struct vmm_coalesced *co,
			 const struct span *r, bool off)
{
	static const struct spans none;
	struct spans *old = rcu_dereference_protected(co->spans,
						       lockdep_is_held(&vm->lock));
	const struct spans *now = old ? old : &none;
	struct spans *new;
	u32 n;
	int err = look_up(now, r, off, &n);

	if (err)
		return err;
	if (!off && now->count == VMM_MAX_COALESCED)
		return -ENOSPC;
	new = kmalloc(struct_size(new, span, now->count + 1), GFP_KERNEL_ACCOUNT);
	if (!new)
		return -ENOMEM;
	new->count = off ? now->count - 1 : now->count + 1;
	memcpy(new->span, now->span, now->count * sizeof(*r));
	/* off: the last one takes its place */
	new->span[n] = off ? now->span[now->count - 1] : *r;
	rcu_assign_pointer(co->spans, new);
	synchronize_srcu_expedited(&vm->srcu);
	kfree(old);
	return 0;
}

int vmm_coalesce_change(struct vmm_vm *vm, const struct vmm_coalesce *c)
{
	const struct span r = {
		.addr = c->addr, .size = c->size, .width = c->width,
		.port = c->flags & VMM_COALESCE_PORT,
	};
	struct vmm_coalesced *co;
	int err = check(c);

	if (err)
		return err;
	co = coalesced(vm);
	if (!co)
		return -ENOMEM;
	mutex_lock(&vm->lock);
	err = change_locked(vm, co, &r, c->flags & VMM_COALESCE_OFF);
	mutex_unlock(&vm->lock);
	return err;
}

void vmm_coalesce_destroy(struct vmm_vm *vm)
{
	struct vmm_coalesced *co = vm->coalesced;

	if (!co)
		return;
	kfree(rcu_dereference_protected(co->spans, true));
	free_page((unsigned long)co->ring);
	kfree(co);
}
