// SPDX-License-Identifier: GPL-2.0
/* The vCPU fd: run, state, CPUID, inject, kick; mmap of the run page. */
#include <linux/anon_inodes.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/pid.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "vmm.h"

static_assert(sizeof(struct vmm_regs) == 144);
static_assert(sizeof(struct vmm_sregs) == 208);
static_assert(sizeof(struct vmm_events) == 32);
static_assert(sizeof(struct vmm_run) <= PAGE_SIZE);
static_assert(sizeof(struct vmm_info) == 72);
static_assert(sizeof(struct vmm_exit_failed) == 128);
static_assert(sizeof(struct vmm_map) == 32);
static_assert(sizeof(struct vmm_track) == 24);
static_assert(sizeof(struct vmm_harvest) == 32);
static_assert(sizeof(struct vmm_cpuid_entry) == 32);
static_assert(sizeof(struct vmm_apic) == 272);
static_assert(sizeof(struct vmm_xsave) == 4096);
static_assert(sizeof(struct vmm_stat) == 32);
static_assert(sizeof(struct vmm_stats) == 16);

static long get_state(struct vmm_vcpu *vcpu, void __user *p)
{
	struct vmm_state *st;
	long r;

	st = kzalloc(sizeof(*st), GFP_KERNEL_ACCOUNT);
	if (!st)
		return -ENOMEM;
	r = -EFAULT;
	if (copy_from_user(st, p, offsetof(struct vmm_state, regs)))
		goto out;
	r = vmm_state_get(vcpu, st);
	if (!r && copy_to_user(p, st, sizeof(*st)))
		r = -EFAULT;
out:
	kfree(st);
	return r;
}

static long set_state(struct vmm_vcpu *vcpu, void __user *p)
{
	struct vmm_state *st = memdup_user(p, sizeof(*st));
	long r;

	if (IS_ERR(st))
		return PTR_ERR(st);
	r = vmm_state_set(vcpu, st);
	kfree(st);
	return r;
}

static long set_cpuid(struct vmm_vcpu *vcpu, void __user *p)
{
	struct vmm_cpuid_entry *e;
	struct vmm_cpuid c;
	int r;

	if (copy_from_user(&c, p, sizeof(c)))
		return -EFAULT;
	if (c.pad || !c.count)
		return -EINVAL;
	if (c.count > VMM_MAX_CPUID)
		return -E2BIG;
	e = memdup_user(u64_to_user_ptr(c.entries), c.count * sizeof(*e));
	if (IS_ERR(e))
		return PTR_ERR(e);
	r = vmm_cpuid_set(vcpu, e, c.count);	/* keeps e if it takes it */
	if (r)
		kfree(e);
	return r;
}

static long get_tsc(struct vmm_vcpu *vcpu, void __user *p)
{
	struct vmm_tsc t = { .base = vmm_tsc_base(vcpu) };

	return copy_to_user(p, &t, sizeof(t)) ? -EFAULT : 0;
}

static long set_tsc(struct vmm_vcpu *vcpu, void __user *p)
{
	struct vmm_tsc t;

	if (copy_from_user(&t, p, sizeof(t)))
		return -EFAULT;
	if (t.reserved[0] || t.reserved[1] || t.reserved[2])
		return -EINVAL;
	vmm_tsc_set_base(vcpu, t.base);
	return 0;
}

static long inject(struct vmm_vcpu *vcpu, void __user *p)
{
	struct vmm_inject in;
	struct vmm_events ev = {};

	if (copy_from_user(&in, p, sizeof(in)))
		return -EFAULT;
	ev.type = in.type;
	ev.vector = in.vector;
	ev.has_error = in.has_error;
	ev.error = in.error;
	if (in.pad || in.type != VMM_EVENT_EXCEPTION || vmm_events_check(&ev))
		return -EINVAL;
	if (vcpu->ev.type)
		return -EBUSY;
	vmm_queue_exception(vcpu, in.vector, in.has_error, in.error);
	return 0;
}

/* any thread may inject an NMI: it is not for this instant but for soon */
static bool is_nmi(const void __user *p)
{
	struct vmm_inject in;

	return !copy_from_user(&in, p, sizeof(in)) && in.type == VMM_EVENT_NMI &&
	       !in.vector && !in.has_error && !in.error && !in.pad;
}

/* those that need no turn of their own: another thread may be in RUN. -ENOTTY: wait */
static noinline long at_any_time(struct vmm_vcpu *vcpu, unsigned int cmd, unsigned long arg)
{
	if (cmd == VMM_KICK) {
		if (arg)
			return -EINVAL;
		vmm_request(vcpu, REQ_KICK);
		return 0;
	}
	if (cmd == VMM_INJECT && is_nmi((void __user *)arg)) {
		vmm_request(vcpu, REQ_NMI);
		return 0;
	}
	if (cmd == VMM_GET_VCPU_STATS)
		return vmm_stats_get(vcpu->vm, vcpu, (void __user *)arg);
	return -ENOTTY;
}

/* noinline, these two: what they need on the stack RUN need not clear */
static noinline long in_turn(struct vmm_vcpu *vcpu, unsigned int cmd, void __user *p)
{
	switch (cmd) {
	case VMM_GET_STATE:
		return get_state(vcpu, p);
	case VMM_SET_STATE:
		return set_state(vcpu, p);
	case VMM_SET_CPUID:
		return set_cpuid(vcpu, p);
	case VMM_INJECT:
		return inject(vcpu, p);
	case VMM_GET_TSC:
		return get_tsc(vcpu, p);
	case VMM_SET_TSC:
		return set_tsc(vcpu, p);
	}
	return -ENOTTY;
}

static long vcpu_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	struct vmm_vcpu *vcpu = file->private_data;
	long r;

	if (current->mm != vcpu->vm->mm)
		return -EIO;
	if (cmd != VMM_RUN) {
		r = at_any_time(vcpu, cmd, arg);
		if (r != -ENOTTY)
			return r;
	}
	if (mutex_lock_killable(&vcpu->lock))
		return -EINTR;
	if (cmd == VMM_RUN)
		r = arg ? -EINVAL : vmm_run(vcpu);
	else
		r = in_turn(vcpu, cmd, (void __user *)arg);
	mutex_unlock(&vcpu->lock);
	return r;
}

static int vcpu_mmap(struct file *file, struct vm_area_struct *vma)
{
	struct vmm_vcpu *vcpu = file->private_data;

	if (vma->vm_pgoff || vma_pages(vma) != 1 || !(vma->vm_flags & VM_SHARED))
		return -EINVAL;
	/* the page has its own reference: it outlives the fd while mapped */
	return vm_insert_page(vma, vma->vm_start, virt_to_page(vcpu->run));
}

static int vcpu_fd_release(struct inode *inode, struct file *file)
{
	struct vmm_vcpu *vcpu = file->private_data;

	vmm_vm_put(vcpu->vm);
	return 0;
}

static const struct file_operations vcpu_fops = {
	.owner = THIS_MODULE,
	.release = vcpu_fd_release,
	.unlocked_ioctl = vcpu_ioctl,
	.mmap = vcpu_mmap,
	.llseek = noop_llseek,
};

/* the IPI itself is all that is wanted: it ends the guest's turn */
static void kick_ipi(void *info)
{
	struct vmm_vcpu *vcpu = info;

	vmm_count(vcpu, STAT_KICKS);
	atomic_set_release(&vcpu->kick_sent, 0);
}

void vmm_vcpu_free(struct vmm_vcpu *vcpu)
{
	vmm_lapic_destroy(vcpu);
	/* the last kick may still be on its way: it must not find us gone */
	vmm_wait_for_kick(vcpu);
	if (vcpu->arch)
		vmm_ops->vcpu_destroy(vcpu);
	vmm_fpu_destroy(vcpu);
	kfree(vcpu->cpuid);
	put_pid(vcpu->thread);
	free_page((unsigned long)vcpu->run);
	kfree(vcpu);
}

static struct vmm_vcpu *vcpu_alloc(struct vmm_vm *vm, u32 id)
{
	struct vmm_vcpu *vcpu = kzalloc(sizeof(*vcpu), GFP_KERNEL_ACCOUNT);

	if (!vcpu)
		return NULL;
	vcpu->vm = vm;
	vcpu->id = id;
	vcpu->cpu = -1;
	mutex_init(&vcpu->lock);
	spin_lock_init(&vcpu->thread_lock);
	init_waitqueue_head(&vcpu->wq);
	INIT_CSD(&vcpu->csd, kick_ipi, vcpu);
	vmm_lapic_init(vcpu);
	vcpu->cr4_shown = vcpu->cr4_may = vmm_cr4_allowed();
	vcpu->run = (void *)get_zeroed_page(GFP_KERNEL_ACCOUNT);
	if (!vcpu->run || vmm_fpu_create(vcpu) || vmm_ops->vcpu_create(vcpu)) {
		vmm_vcpu_free(vcpu);
		return NULL;
	}
	/* the guest's TSC starts at 0 on all of them, with the VM's clock */
	vcpu->tsc_offset = -vm->clock_tsc;
	vmm_vcpu_reset(vcpu, false);
	return vcpu;
}

int vmm_vcpu_create(struct vmm_vm *vm, u32 id)
{
	struct vmm_vcpu *vcpu;
	struct file *file;
	int fd;

	mutex_lock(&vm->lock);
	fd = -EEXIST;
	if (vm->vcpus[id])
		goto out;
	fd = -ENOMEM;
	vcpu = vcpu_alloc(vm, id);
	if (!vcpu)
		goto out;
	fd = get_unused_fd_flags(O_CLOEXEC);
	if (fd < 0)
		goto err_free;
	file = anon_inode_getfile("vmm-vcpu", &vcpu_fops, vcpu, O_RDWR);
	if (IS_ERR(file)) {
		put_unused_fd(fd);
		fd = PTR_ERR(file);
		goto err_free;
	}
	vmm_vm_get(vm);
	/*
	 * The object is complete and where IPIs and TLB flushes look for it before
	 * anybody can RUN it by guessing its fd (CVE-2019-6974). A close() that
	 * comes at once drops a VM reference, not the vCPU: that goes with the VM.
	 */
	rcu_assign_pointer(vm->vcpus[id], vcpu);
	vm->nvcpus++;
	WRITE_ONCE(vm->top, max(vm->top, id + 1));
	vmm_stats_add_vcpu(vcpu);
	fd_install(fd, file);
	goto out;

err_free:
	vmm_vcpu_free(vcpu);
out:
	mutex_unlock(&vm->lock);
	return fd;
}
