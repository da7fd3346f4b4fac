// SPDX-License-Identifier: GPL-2.0
/*
 * MSIs from eventfds. A GSI is the name of a message: VMM_SET_ROUTES says which,
 * VMM_BIND_IRQ which eventfd sends it, and either may change without the other.
 *
 * We sit in the eventfd's wait queue, so the message is on its way when the
 * signal returns, in whatever context that was: routing takes no lock and does
 * not sleep. The binding keeps the eventfd alive, not its file: once all its
 * descriptors are closed there is just nobody left to signal it.
 */
#include <linux/eventfd.h>
#include <linux/file.h>
#include <linux/mm.h>
#include <linux/nospec.h>
#include <linux/poll.h>
#include <linux/rculist.h>
#include <linux/slab.h>
#include <linux/wait.h>

#include "compat.h"
#include "vmm.h"

#define MSI_LEVEL	BIT(15)

struct message {
	u64 address;
	u32 data;
	u32 flags;		/* VMM_ROUTE_NONE: there is none */
};

struct routes {
	u32 count;		/* GSIs from this on go nowhere */
	struct message msg[];	/* by GSI */
};

struct irqfd {
	struct vmm_vm *vm;			/* c */
	u32 gsi;				/* c */
	struct eventfd_ctx *ctx;		/* c */
	struct eventfd_ctx *resample;		/* c  or NULL */
	struct hlist_node resampled;		/* s  if it has one */
	wait_queue_entry_t wait;
	poll_table table;
};

struct vmm_irqfds {
	struct routes __rcu *routes;		/* s */
	struct hlist_head resampled;		/* s */
	struct irqfd *bound[VMM_MAX_GSIS];	/* L */
};

/* ---- a signal, any context -------------------------------------------------- */

static bool route_of(struct vmm_vm *vm, struct vmm_irqfds *q, u32 gsi, struct message *m)
{
	const struct routes *routes = srcu_dereference(q->routes, &vm->srcu);

	if (!routes || gsi >= routes->count || routes->msg[gsi].flags & VMM_ROUTE_NONE)
		return false;
	*m = routes->msg[gsi];
	return true;
}

static void send(struct irqfd *fd)
{
	struct vmm_vm *vm = fd->vm;
	struct message m;
	int idx = srcu_read_lock(&vm->srcu);

	if (route_of(vm, vm->irqfds, fd->gsi, &m))
		vmm_lapic_msi(vm, m.address, m.data);
	srcu_read_unlock(&vm->srcu, idx);
}

/* the eventfd's wait queue is locked, irqs are off */
static int signalled(wait_queue_entry_t *wait, unsigned int mode, int sync, void *key)
{
	struct irqfd *fd = container_of(wait, struct irqfd, wait);
	u64 count;

	if (!(key_to_poll(key) & EPOLLIN))
		return 0;
	eventfd_ctx_do_read(fd->ctx, &count);
	send(fd);
	return 0;
}

/* ---- the end of a level-triggered interrupt --------------------------------- */

bool vmm_irqfd_eoi(struct vmm_vm *vm, u8 vector)
{
	/* pairs with the store in irqfds() */
	struct vmm_irqfds *q = smp_load_acquire(&vm->irqfds);
	bool ours = false, theirs = false;
	struct message m;
	struct irqfd *fd;
	int idx;

	if (!q || hlist_empty(&q->resampled))
		return false;
	idx = srcu_read_lock(&vm->srcu);
	hlist_for_each_entry_srcu(fd, &q->resampled, resampled,
				  srcu_read_lock_held(&vm->srcu)) {
		if (!route_of(vm, q, fd->gsi, &m) || !(m.data & MSI_LEVEL) ||
		    (u8)m.data != vector)
			continue;
		vmm_eventfd_signal(fd->resample);
		ours = true;
		theirs |= m.flags & VMM_ROUTE_EOI;
	}
	srcu_read_unlock(&vm->srcu, idx);
	return ours && !theirs;
}

/* ---- binding ------------------------------------------------------------------ */

/* vm->lock held */
static struct vmm_irqfds *irqfds(struct vmm_vm *vm)
{
	struct vmm_irqfds *q = vm->irqfds;

	if (!q) {
		q = kvzalloc(sizeof(*q), GFP_KERNEL_ACCOUNT);
		if (q)
			smp_store_release(&vm->irqfds, q);
	}
	return q;
}

static void enter_queue(struct file *file, wait_queue_head_t *head, poll_table *table)
{
	struct irqfd *fd = container_of(table, struct irqfd, table);

	add_wait_queue(head, &fd->wait);
}

static void release(struct irqfd *fd)
{
	if (!IS_ERR_OR_NULL(fd->resample))
		eventfd_ctx_put(fd->resample);
	if (!IS_ERR_OR_NULL(fd->ctx))
		eventfd_ctx_put(fd->ctx);
	kfree(fd);
}

static struct irqfd *open_fds(struct vmm_vm *vm, const struct vmm_irqfd *arg,
			      struct file *file)
{
	struct irqfd *fd = kzalloc(sizeof(*fd), GFP_KERNEL_ACCOUNT);
	int r = 0;

	if (!fd)
		return ERR_PTR(-ENOMEM);
	fd->vm = vm;
	fd->gsi = array_index_nospec(arg->gsi, VMM_MAX_GSIS);
	init_waitqueue_func_entry(&fd->wait, signalled);
	init_poll_funcptr(&fd->table, enter_queue);
	fd->ctx = eventfd_ctx_fileget(file);
	if (IS_ERR(fd->ctx))
		r = PTR_ERR(fd->ctx);
	else if (arg->flags & VMM_IRQ_RESAMPLE)
		fd->resample = eventfd_ctx_fdget(arg->resample_fd);
	if (IS_ERR(fd->resample))
		r = PTR_ERR(fd->resample);
	if (!r)
		return fd;
	release(fd);
	return ERR_PTR(r);
}

static int bind_locked(struct vmm_vm *vm, struct irqfd *fd, struct file *file)
{
	struct vmm_irqfds *q = irqfds(vm);

	if (!q)
		return -ENOMEM;
	if (q->bound[fd->gsi])
		return -EEXIST;
	q->bound[fd->gsi] = fd;
	if (fd->resample)
		hlist_add_head_rcu(&fd->resampled, &q->resampled);
	/* from here on signals come; one that came before counts as well */
	if (vfs_poll(file, &fd->table) & EPOLLIN)
		send(fd);
	return 0;
}

int vmm_irqfd_bind(struct vmm_vm *vm, const struct vmm_irqfd *arg)
{
	struct file *file;
	struct irqfd *fd;
	int r;

	if (arg->gsi >= VMM_MAX_GSIS || arg->flags & ~VMM_IRQ_RESAMPLE ||
	    (!(arg->flags & VMM_IRQ_RESAMPLE) && arg->resample_fd != -1))
		return -EINVAL;
	file = eventfd_fget(arg->fd);
	if (IS_ERR(file))
		return PTR_ERR(file);
	fd = open_fds(vm, arg, file);
	if (IS_ERR(fd)) {
		r = PTR_ERR(fd);
		goto out;
	}
	mutex_lock(&vm->lock);
	r = bind_locked(vm, fd, file);
	mutex_unlock(&vm->lock);
	if (r)
		release(fd);
out:
	fput(file);
	return r;
}

/* no signal sends it any more, nor does one that is under way: the queue has a lock */
static void leave_queue(struct irqfd *fd)
{
	u64 count;

	eventfd_ctx_remove_wait_queue(fd->ctx, &fd->wait, &count);
}

int vmm_irqfd_unbind(struct vmm_vm *vm, const struct vmm_irqfd *arg)
{
	u32 gsi = arg->gsi;
	struct irqfd *fd;

	if (gsi >= VMM_MAX_GSIS || arg->flags || arg->fd != -1 ||
	    arg->resample_fd != -1)
		return -EINVAL;
	gsi = array_index_nospec(gsi, VMM_MAX_GSIS);
	mutex_lock(&vm->lock);
	fd = vm->irqfds ? vm->irqfds->bound[gsi] : NULL;
	if (fd) {
		leave_queue(fd);
		vm->irqfds->bound[gsi] = NULL;
		if (fd->resample) {
			hlist_del_rcu(&fd->resampled);
			synchronize_srcu_expedited(&vm->srcu);
		}
		release(fd);
	}
	mutex_unlock(&vm->lock);
	return fd ? 0 : -ENOENT;
}

/* ---- routes ------------------------------------------------------------------- */

static int check_route(const struct vmm_route *r)
{
	if (r->pad || r->gsi >= VMM_MAX_GSIS ||
	    r->flags & ~(VMM_ROUTE_NONE | VMM_ROUTE_EOI))
		return -EINVAL;
	if (r->flags & VMM_ROUTE_NONE)
		return r->flags != VMM_ROUTE_NONE || r->address || r->data ? -EINVAL : 0;
	return vmm_lapic_msi_check(r->address, r->data);
}

static int routes_locked(struct vmm_vm *vm, const struct vmm_route *route, u32 n,
			 u32 count)
{
	struct vmm_irqfds *q = irqfds(vm);
	struct routes *old, *new;
	u32 i;

	if (!q)
		return -ENOMEM;
	old = rcu_dereference_protected(q->routes, lockdep_is_held(&vm->lock));
	if (old)
		count = max(count, old->count);
	new = kvmalloc(struct_size(new, msg, count), GFP_KERNEL_ACCOUNT);
	if (!new)
		return -ENOMEM;
	new->count = count;
	for (i = 0; i < count; i++)
		new->msg[i] = old && i < old->count ? old->msg[i] :
			      (struct message){ .flags = VMM_ROUTE_NONE };
	for (i = 0; i < n; i++)
		new->msg[route[i].gsi] = (struct message){
			.address = route[i].address,
			.data = route[i].data,
			.flags = route[i].flags,
		};
	rcu_assign_pointer(q->routes, new);
	synchronize_srcu_expedited(&vm->srcu);
	kvfree(old);
	return 0;
}

/* one GSI twice in the list: the last one counts */
int vmm_irqfd_routes(struct vmm_vm *vm, const struct vmm_route *route, u32 n)
{
	u32 count = 0, i;
	int r;

	for (i = 0; i < n; i++) {
		r = check_route(&route[i]);
		if (r)
			return r;
		count = max(count, route[i].gsi + 1);
	}
	mutex_lock(&vm->lock);
	r = routes_locked(vm, route, n, count);
	mutex_unlock(&vm->lock);
	return r;
}

/* ---- the VM goes ---------------------------------------------------------------- */

void vmm_irqfd_destroy(struct vmm_vm *vm)
{
	struct vmm_irqfds *q = vm->irqfds;
	u32 gsi;

	if (!q)
		return;
	for (gsi = 0; gsi < VMM_MAX_GSIS; gsi++) {
		if (!q->bound[gsi])
			continue;
		leave_queue(q->bound[gsi]);
		release(q->bound[gsi]);
	}
	kvfree(rcu_dereference_protected(q->routes, true));
	kvfree(q);
}
