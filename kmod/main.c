// SPDX-License-Identifier: GPL-2.0
/* The module: picks the vendor, has it switched on on every CPU, /dev/vmm. */
#define pr_fmt(fmt) "vmm: " fmt

#include <linux/fs.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <asm/tsc.h>

#include "vmm.h"

const struct vmm_ops *vmm_ops;

#define DEFINE_OP(op)							\
	DEFINE_STATIC_CALL_NULL(vmm_op_##op, *(((struct vmm_ops *)NULL)->op));
VMM_DIRECT_OPS(DEFINE_OP)

static void patch_calls(void)
{
#define PATCH_OP(op)	static_call_update(vmm_op_##op, vmm_ops->op);
	VMM_DIRECT_OPS(PATCH_OP)
}

/* a host that uses no XSAVE has nothing of it for guests */
static u64 features(void)
{
	u64 f = vmm_ops->features();

	return vmm_fpu_mask() ? f | VMM_FEAT_XSAVE : f & ~VMM_FEAT_XSAVES;
}

static long get_info(void __user *arg)
{
	struct vmm_info info = {
		.abi_version = VMM_ABI_VERSION,
		.vendor = vmm_ops->vendor,
		.max_vcpus = VMM_MAX_VCPUS,
		.max_maps = VMM_MAX_MAPS,
		.features = features(),
		.xcr0_mask = vmm_fpu_mask(),
		.gpa_bits = vmm_npt_gpa_bits(),
		.tsc_khz = tsc_khz,
	};

	return copy_to_user(arg, &info, sizeof(info)) ? -EFAULT : 0;
}

static long get_cpuid(void __user *arg)
{
	struct vmm_cpuid_entry *e;
	struct vmm_cpuid c;
	int n;

	if (copy_from_user(&c, arg, sizeof(c)))
		return -EFAULT;
	if (c.pad)
		return -EINVAL;
	e = kcalloc(VMM_MAX_CPUID, sizeof(*e), GFP_KERNEL);
	if (!e)
		return -ENOMEM;
	n = vmm_cpuid_supported(e, min_t(u32, c.count, VMM_MAX_CPUID));
	if (n >= 0) {
		c.count = n;
		n = 0;
		if (copy_to_user(u64_to_user_ptr(c.entries), e, c.count * sizeof(*e)) ||
		    copy_to_user(arg, &c, sizeof(c)))
			n = -EFAULT;
	}
	kfree(e);
	return n;
}

static long dev_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	void __user *p = (void __user *)arg;

	switch (cmd) {
	case VMM_GET_INFO:
		return get_info(p);
	case VMM_GET_CPUID:
		return get_cpuid(p);
	case VMM_CREATE_VM:
		return arg ? -EINVAL : vmm_vm_create();
	}
	return -ENOTTY;
}

static const struct file_operations dev_fops = {
	.owner = THIS_MODULE,
	.unlocked_ioctl = dev_ioctl,
	.llseek = noop_llseek,
};

static struct miscdevice dev = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "vmm",
	.mode = 0660,
	.fops = &dev_fops,
};

/* by what the CPU says itself: the kernel hides what firmware has locked off */
static const struct vmm_ops *this_cpu_ops(void)
{
	if (cpuid_ecx(1) & BIT(5))
		return &vmm_vmx_ops;
	if (cpuid_eax(0x80000000) >= 0x80000001 && cpuid_ecx(0x80000001) & BIT(2))
		return &vmm_svm_ops;
	return NULL;
}

static int __init vmm_init(void)
{
	int r;

	vmm_fpu_setup();
	vmm_ops = this_cpu_ops();
	if (!vmm_ops) {
		pr_err("this CPU shows neither SVM nor VT-x: run on one that has it, and in a virtual machine switch nested virtualization on\n");
		return -EOPNOTSUPP;
	}
	r = vmm_ops->check();
	if (r)
		return r;
	r = vmm_ops->setup();
	if (r)
		return r;
	patch_calls();
	r = vmm_dirty_setup();
	if (r)
		goto teardown;
	vmm_exit_timer = vmm_ops->features() & VMM_FEAT_EXIT_TIMER;
	r = vmm_host_enable();
	if (r) {
		if (r == -EBUSY)
			pr_err("%s is in use on some CPU, probably by KVM: stop its virtual machines and `rmmod %s`, then insmod vmm.ko again\n",
			       vmm_ops->name, vmm_ops->kvm_module);
		goto teardown;
	}
	vmm_stats_init();
	r = misc_register(&dev);
	if (r)
		goto disable;
	return 0;
disable:
	vmm_stats_exit();
	vmm_host_disable();
teardown:
	vmm_ops->teardown();
	return r;
}

static void __exit vmm_exit_module(void)
{
	misc_deregister(&dev);
	vmm_stats_exit();
	vmm_host_disable();
	vmm_ops->teardown();
}

module_init(vmm_init);
module_exit(vmm_exit_module);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("vmm: virtual machines on SVM and VT-x");
