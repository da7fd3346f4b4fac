// SPDX-License-Identifier: GPL-2.0
/*
 * Doorbells: a guest's write to a port, or to a gpa without memory, signals an
 * eventfd, and the vCPU runs on.
 *
 * The table is sorted and replaced as a whole under vm->lock. A vCPU looks into
 * it in an SRCU section, from either gear; a change waits for those that still
 * see the old one, so that nothing is signalled once it is unbound.
 */
#include <linux/eventfd.h>
#include <linux/mm.h>
#include <linux/slab.h>

#include "compat.h"
#include "vmm.h"

struct door {
	u64 addr;
	u64 data;
	struct eventfd_ctx *ctx;
	u8 size;		/* 0: any */
	bool port;
	bool match;		/* `data` only */
};

struct vmm_doors {
	u32 count;
	struct door door[];	/* ports first, then by address */
};

/* ---- a guest writes -------------------------------------------------------- */

/* index of the first that is not before (port, addr) */
static u32 first_at(const struct vmm_doors *doors, bool port, u64 addr)
{
	u32 low = 0, high = doors->count;

	while (low < high) {
		u32 mid = low + (high - low) / 2;
		const struct door *d = &doors->door[mid];

		if (d->port > port || (d->port == port && d->addr < addr))
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

static bool is_at(const struct vmm_doors *doors, u32 i, bool port, u64 addr)
{
	return i < doors->count && doors->door[i].port == port &&
	       doors->door[i].addr == addr;
}

/* a guest tends to ring the same one again; *guess may be of another table */
static const struct door *find(const struct vmm_doors *doors, bool port, u64 addr,
			       u32 size, u64 data, u32 *guess)
{
	u32 i = *guess;

	if (!is_at(doors, i, port, addr) || (i && is_at(doors, i - 1, port, addr)))
		*guess = i = first_at(doors, port, addr);
	for (; is_at(doors, i, port, addr); i++) {
		const struct door *d = &doors->door[i];

		if ((!d->size || d->size == size) && (!d->match || d->data == data))
			return d;
	}
	return NULL;
}

static bool ring_bell(struct vmm_vcpu *vcpu, bool port, u64 addr, u32 size, u64 data)
{
	struct vmm_vm *vm = vcpu->vm;
	const struct door *d = NULL;
	const struct vmm_doors *doors;
	int idx;

	idx = srcu_read_lock(&vm->srcu);
	doors = srcu_dereference(vm->doors, &vm->srcu);
	if (doors)
		d = find(doors, port, addr, size, data, &vcpu->door);
	if (d)
		vmm_eventfd_signal(d->ctx);
	srcu_read_unlock(&vm->srcu, idx);
	return d;
}

bool vmm_io_write(struct vmm_vcpu *vcpu, bool port, u64 addr, u32 size, u64 data)
{
	if (rcu_access_pointer(vcpu->vm->doors) && ring_bell(vcpu, port, addr, size, data))
		return true;
	return vmm_coalesce_push(vcpu->vm, port, addr, size, data);
}

bool vmm_io_at(struct vmm_vm *vm, u64 gpa)
{
	const struct vmm_doors *doors;
	bool found = false;
	int idx;

	if (rcu_access_pointer(vm->doors)) {
		idx = srcu_read_lock(&vm->srcu);
		doors = srcu_dereference(vm->doors, &vm->srcu);
		found = doors && is_at(doors, first_at(doors, false, gpa), false, gpa);
		srcu_read_unlock(&vm->srcu, idx);
	}
	return found || vmm_coalesce_at(vm, gpa);
}

/* ---- the monitor binds ------------------------------------------------------ */

static bool bad_size(const struct vmm_doorbell *d)
{
	switch (d->size) {
	case 0:
		/* data of which width? */
		return d->flags & VMM_DOORBELL_MATCH;
	case 1:
	case 2:
	case 4:
		break;
	case 8:
		if (d->flags & VMM_DOORBELL_PORT)
			return true;
		break;
	default:
		return true;
	}
	return d->data & ~GENMASK_ULL(d->size * 8 - 1, 0);
}

static int check(const struct vmm_doorbell *d)
{
	u64 end = d->flags & VMM_DOORBELL_PORT ? 0x10000 : 1ULL << vmm_npt_gpa_bits();

	if (d->pad || d->flags & ~(VMM_DOORBELL_PORT | VMM_DOORBELL_MATCH) || bad_size(d))
		return -EINVAL;
	if (d->data && !(d->flags & VMM_DOORBELL_MATCH))
		return -EINVAL;
	return d->addr >= end || max(d->size, 1U) > end - d->addr ? -EINVAL : 0;
}

static struct door as_door(const struct vmm_doorbell *d, struct eventfd_ctx *ctx)
{
	return (struct door){
		.addr = d->addr,
		.data = d->data,
		.ctx = ctx,
		.size = d->size,
		.port = d->flags & VMM_DOORBELL_PORT,
		.match = d->flags & VMM_DOORBELL_MATCH,
	};
}

/* is there a write that would ring both */
static bool clash(const struct door *a, const struct door *b)
{
	return (!a->size || !b->size || a->size == b->size) &&
	       (!a->match || !b->match || a->data == b->data);
}

static struct vmm_doors *doors_under_lock(struct vmm_vm *vm)
{
	return rcu_dereference_protected(vm->doors, lockdep_is_held(&vm->lock));
}

static struct vmm_doors *doors_alloc(u32 count)
{
	struct vmm_doors *doors;

	doors = kvmalloc(struct_size(doors, door, count), GFP_KERNEL_ACCOUNT);
	if (doors)
		doors->count = count;
	return doors;
}

static void replace(struct vmm_vm *vm, struct vmm_doors *new)
{
	struct vmm_doors *old = doors_under_lock(vm);

	rcu_assign_pointer(vm->doors, new);
	synchronize_srcu_expedited(&vm->srcu);
	kvfree(old);
}

static int bind_locked(struct vmm_vm *vm, const struct door *d)
{
	const struct vmm_doors *old = doors_under_lock(vm);
	u32 count = old ? old->count : 0, at = 0, i;
	struct vmm_doors *new;

	if (old) {
		at = first_at(old, d->port, d->addr);
		for (i = at; is_at(old, i, d->port, d->addr); i++)
			if (clash(&old->door[i], d))
				return -EEXIST;
	}
	if (count == VMM_MAX_DOORBELLS)
		return -ENOSPC;
	new = doors_alloc(count + 1);
	if (!new)
		return -ENOMEM;
	if (old) {
		memcpy(new->door, old->door, at * sizeof(*d));
		memcpy(new->door + at + 1, old->door + at, (count - at) * sizeof(*d));
	}
	new->door[at] = *d;
	replace(vm, new);
	return 0;
}

int vmm_doorbell_bind(struct vmm_vm *vm, const struct vmm_doorbell *arg)
{
	struct eventfd_ctx *ctx;
	struct door d;
	int r = check(arg);

	if (r)
		return r;
	ctx = eventfd_ctx_fdget(arg->fd);
	if (IS_ERR(ctx))
		return PTR_ERR(ctx);
	d = as_door(arg, ctx);
	mutex_lock(&vm->lock);
	r = bind_locked(vm, &d);
	mutex_unlock(&vm->lock);
	if (r)
		eventfd_ctx_put(ctx);
	return r;
}

static bool same(const struct door *a, const struct door *b)
{
	return a->size == b->size && a->match == b->match && a->data == b->data;
}

/* *ctx: what was bound */
static int unbind_locked(struct vmm_vm *vm, const struct door *d,
			 struct eventfd_ctx **ctx)
{
	const struct vmm_doors *old = doors_under_lock(vm);
	struct vmm_doors *new = NULL;
	u32 i;

	if (!old)
		return -ENOENT;
	for (i = first_at(old, d->port, d->addr); ; i++) {
		if (!is_at(old, i, d->port, d->addr))
			return -ENOENT;
		if (same(&old->door[i], d))
			break;
	}
	*ctx = old->door[i].ctx;
	if (old->count > 1) {
		new = doors_alloc(old->count - 1);
		if (!new)
			return -ENOMEM;
		memcpy(new->door, old->door, i * sizeof(*d));
		memcpy(new->door + i, old->door + i + 1,
		       (new->count - i) * sizeof(*d));
	}
	replace(vm, new);
	return 0;
}

int vmm_doorbell_unbind(struct vmm_vm *vm, const struct vmm_doorbell *arg)
{
	struct eventfd_ctx *ctx;
	struct door d;
	int r = check(arg);

	if (r || arg->fd != -1)
		return -EINVAL;
	d = as_door(arg, NULL);
	mutex_lock(&vm->lock);
	r = unbind_locked(vm, &d, &ctx);
	mutex_unlock(&vm->lock);
	if (!r)
		eventfd_ctx_put(ctx);
	return r;
}

void vmm_doorbell_destroy(struct vmm_vm *vm)
{
	struct vmm_doors *doors = rcu_dereference_protected(vm->doors, true);
	u32 i;

	for (i = 0; doors && i < doors->count; i++)
		eventfd_ctx_put(doors->door[i].ctx);
	kvfree(doors);
}
