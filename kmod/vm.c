// SPDX-License-Identifier: GPL-2.0
/* The VM fd: memory, MSIs, eventfds, the clock, and the way to vCPUs. */
#include <linux/anon_inodes.h>
#include <linux/fs.h>
#include <linux/module.h>
#include <linux/nospec.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "vmm.h"

static_assert(sizeof(struct vmm_doorbell) == 32);
static_assert(sizeof(struct vmm_irqfd) == 16);
static_assert(sizeof(struct vmm_route) == 24);
static_assert(sizeof(struct vmm_routes) == 16);
static_assert(sizeof(struct vmm_coalesce) == 24);

static atomic64_t vm_serial;

void vmm_vm_get(struct vmm_vm *vm)
{
	kref_get(&vm->ref);
}

static void vm_release(struct kref *ref)
{
	struct vmm_vm *vm = container_of(ref, struct vmm_vm, ref);
	u32 i;

	vmm_stats_remove(vm);
	/* first: until then a signal may send to the vCPUs, and so take vm->srcu */
	vmm_irqfd_destroy(vm);
	/* and an MMU notifier look at them */
	vmm_mem_destroy(vm);
	vmm_doorbell_destroy(vm);
	vmm_coalesce_destroy(vm);
	for (i = 0; i < vm->top; i++)
		if (vm->vcpus[i])
			vmm_vcpu_free(rcu_dereference_raw(vm->vcpus[i]));
	vmm_apic_access_destroy(vm);
	mmdrop(vm->mm);
	kfree(vm);
}

void vmm_vm_put(struct vmm_vm *vm)
{
	kref_put(&vm->ref, vm_release);
}

/* vCPUs stay until the VM goes, so a published one may be used freely */
struct vmm_vcpu *vmm_vm_vcpu(struct vmm_vm *vm, u32 id)
{
	if (id >= VMM_MAX_VCPUS)
		return NULL;
	return rcu_dereference_raw(vm->vcpus[array_index_nospec(id, VMM_MAX_VCPUS)]);
}

static long change_map(struct vmm_vm *vm, void __user *p,
		       int (*change)(struct vmm_vm *vm, const struct vmm_map *m))
{
	struct vmm_map m;

	if (copy_from_user(&m, p, sizeof(m)))
		return -EFAULT;
	return change(vm, &m);
}

static long track(struct vmm_vm *vm, void __user *p)
{
	struct vmm_track t;

	if (copy_from_user(&t, p, sizeof(t)))
		return -EFAULT;
	return vmm_dirty_track(vm, &t);
}

static long harvest(struct vmm_vm *vm, void __user *p)
{
	struct vmm_harvest h;

	if (copy_from_user(&h, p, sizeof(h)))
		return -EFAULT;
	return vmm_dirty_harvest(vm, &h);
}

static long send_msi(struct vmm_vm *vm, void __user *p)
{
	struct vmm_msi m;

	if (copy_from_user(&m, p, sizeof(m)))
		return -EFAULT;
	if (m.pad)
		return -EINVAL;
	return vmm_lapic_msi(vm, m.address, m.data);
}

static long change_doorbell(struct vmm_vm *vm, void __user *p,
			    int (*change)(struct vmm_vm *vm, const struct vmm_doorbell *d))
{
	struct vmm_doorbell d;

	return copy_from_user(&d, p, sizeof(d)) ? -EFAULT : change(vm, &d);
}

static long change_irqfd(struct vmm_vm *vm, void __user *p,
			 int (*change)(struct vmm_vm *vm, const struct vmm_irqfd *arg))
{
	struct vmm_irqfd arg;

	return copy_from_user(&arg, p, sizeof(arg)) ? -EFAULT : change(vm, &arg);
}

static long set_routes(struct vmm_vm *vm, void __user *p)
{
	struct vmm_route *route;
	struct vmm_routes arg;
	long r;

	if (copy_from_user(&arg, p, sizeof(arg)))
		return -EFAULT;
	if (arg.pad || !arg.count || arg.count > VMM_MAX_GSI)
		return -EINVAL;
	route = vmemdup_user(u64_to_user_ptr(arg.routes), arg.count * sizeof(*route));
	if (IS_ERR(route))
		return PTR_ERR(route);
	r = vmm_irqfd_routes(vm, route, arg.count);
	kvfree(route);
	return r;
}

static long coalesce(struct vmm_vm *vm, void __user *p)
{
	struct vmm_coalesce c;

	return copy_from_user(&c, p, sizeof(c)) ? -EFAULT : vmm_coalesce_change(vm, &c);
}

static long get_clock(struct vmm_vm *vm, void __user *p)
{
	struct vmm_clock c = {};

	vmm_clock_get(vm, &c);
	return copy_to_user(p, &c, sizeof(c)) ? -EFAULT : 0;
}

static long set_clock(struct vmm_vm *vm, void __user *p)
{
	struct vmm_clock c;

	if (copy_from_user(&c, p, sizeof(c)))
		return -EFAULT;
	if (c.reserved[0] || c.reserved[1] || c.ns >> 63)
		return -EINVAL;
	vmm_clock_set(vm, c.ns);
	return 0;
}

static long vm_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	struct vmm_vm *vm = file->private_data;
	void __user *p = (void __user *)arg;

	if (current->mm != vm->mm)
		return -EIO;
	switch (cmd) {
	case VMM_CREATE_VCPU:
		return arg < VMM_MAX_VCPUS ? vmm_vcpu_create(vm, arg) : -EINVAL;
	case VMM_MAP:
		return change_map(vm, p, vmm_mem_map);
	case VMM_UNMAP:
		return change_map(vm, p, vmm_mem_unmap);
	case VMM_PROTECT:
		return change_map(vm, p, vmm_mem_protect);
	case VMM_SEND_MSI:
		return send_msi(vm, p);
	case VMM_BIND_DOORBELL:
		return change_doorbell(vm, p, vmm_doorbell_bind);
	case VMM_UNBIND_DOORBELL:
		return change_doorbell(vm, p, vmm_doorbell_unbind);
	case VMM_BIND_IRQ:
		return change_irqfd(vm, p, vmm_irqfd_bind);
	case VMM_UNBIND_IRQ:
		return change_irqfd(vm, p, vmm_irqfd_unbind);
	case VMM_SET_ROUTES:
		return set_routes(vm, p);
	case VMM_COALESCE:
		return coalesce(vm, p);
	case VMM_GET_CLOCK:
		return get_clock(vm, p);
	case VMM_SET_CLOCK:
		return set_clock(vm, p);
	case VMM_GET_STATS:
		return vmm_stats_get(vm, NULL, p);
	case VMM_TRACK:
		return track(vm, p);
	case VMM_HARVEST:
		return harvest(vm, p);
	}
	return -ENOTTY;
}

static int vm_mmap(struct file *file, struct vm_area_struct *vma)
{
	struct vmm_vm *vm = file->private_data;

	return current->mm == vm->mm ? vmm_coalesce_mmap(vm, vma) : -EIO;
}

static int vm_fd_release(struct inode *inode, struct file *file)
{
	vmm_vm_put(file->private_data);
	return 0;
}

static const struct file_operations vm_fops = {
	.owner = THIS_MODULE,
	.release = vm_fd_release,
	.unlocked_ioctl = vm_ioctl,
	.mmap = vm_mmap,
	.llseek = noop_llseek,
};

int vmm_vm_create(void)
{
	struct vmm_vm *vm = kzalloc(sizeof(*vm), GFP_KERNEL_ACCOUNT);
	int r;

	if (!vm)
		return -ENOMEM;
	kref_init(&vm->ref);
	mutex_init(&vm->lock);
	vm->serial = atomic64_inc_return(&vm_serial);
	vm->mm = current->mm;
	mmgrab(vm->mm);
	vmm_clock_set(vm, 0);
	r = vmm_apic_access_create(vm) ?: vmm_mem_create(vm);
	if (r) {
		vmm_apic_access_destroy(vm);
		mmdrop(vm->mm);
		kfree(vm);
		return r;
	}
	vmm_stats_add_vm(vm);
	/* complete before the fd can be used (CVE-2019-6974) */
	r = anon_inode_getfd("vmm-vm", &vm_fops, vm, O_RDWR | O_CLOEXEC);
	if (r < 0)
		vmm_vm_put(vm);
	return r;
}
