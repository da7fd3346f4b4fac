// SPDX-License-Identifier: GPL-2.0
/* Counters by name: to the VM's and vCPUs' fds, and in debugfs to root. */
#include <linux/debugfs.h>
#include <linux/seq_file.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "vmm.h"

static const char *const names[VMM_NSTATS] = {
#define STAT_NAME(name, text)	[STAT_##name] = text,
	VMM_FACT_STATS(STAT_NAME)
	VMM_OTHER_STATS(STAT_NAME)
};

#define SAME(name, text)	static_assert((int)STAT_##name == (int)FACT_##name);
VMM_FACT_STATS(SAME)
#define LENGTH(name, text)	static_assert(sizeof(text) <= VMM_STAT_NAME);
VMM_FACT_STATS(LENGTH)
VMM_OTHER_STATS(LENGTH)

/* what a VM has beside its vCPUs' sums */
enum { VM_VCPUS, VM_TABLES, VM_2M, VM_1G, VM_ZAPS, VM_NSTATS };

static const char *const vm_names[VM_NSTATS] = {
	[VM_VCPUS] = "vcpus",
	[VM_TABLES] = "page_table_pages",
	[VM_2M] = "pages_2m",
	[VM_1G] = "pages_1g",
	[VM_ZAPS] = "unmappings",
};

static u32 count_of(const struct vmm_vcpu *vcpu)
{
	return vcpu ? VMM_NSTATS : VMM_NSTATS + VM_NSTATS;
}

static u64 sum(struct vmm_vm *vm, u32 index)
{
	struct vmm_vcpu *vcpu;
	u64 value = 0;
	u32 id;

	for (id = 0; id < VMM_MAX_VCPUS; id++) {
		vcpu = vmm_vm_vcpu(vm, id);
		if (vcpu)
			value += READ_ONCE(vcpu->stats[index]);
	}
	return value;
}

static u64 value_of(struct vmm_vm *vm, struct vmm_vcpu *vcpu, u32 index)
{
	if (index < VMM_NSTATS)
		return vcpu ? READ_ONCE(vcpu->stats[index]) : sum(vm, index);
	switch (index - VMM_NSTATS) {
	case VM_VCPUS:
		return READ_ONCE(vm->nvcpus);
	case VM_TABLES:
		return atomic_long_read(&vm->npt_pages);
	case VM_2M:
	case VM_1G:
		return atomic_long_read(&vm->npt_large[index - VMM_NSTATS - VM_2M]);
	default:
		return atomic64_read(&vm->tlb_gen);
	}
}

static const char *name_of(u32 index)
{
	return index < VMM_NSTATS ? names[index] : vm_names[index - VMM_NSTATS];
}

/* ---- ioctl ------------------------------------------------------------------ */

long vmm_stats_get(struct vmm_vm *vm, struct vmm_vcpu *vcpu, void __user *p)
{
	u32 count = count_of(vcpu), room, i;
	struct vmm_stat *stat;
	struct vmm_stats s;
	long r = 0;

	if (copy_from_user(&s, p, sizeof(s)))
		return -EFAULT;
	if (s.pad)
		return -EINVAL;
	room = s.count;
	s.count = count;
	if (copy_to_user(p, &s, sizeof(s)))
		return -EFAULT;
	if (room < count)
		return -E2BIG;
	stat = kcalloc(count, sizeof(*stat), GFP_KERNEL);
	if (!stat)
		return -ENOMEM;
	for (i = 0; i < count; i++) {
		strscpy(stat[i].name, name_of(i), sizeof(stat[i].name));
		stat[i].value = value_of(vm, vcpu, i);
	}
	if (copy_to_user(u64_to_user_ptr(s.stats), stat, count * sizeof(*stat)))
		r = -EFAULT;
	kfree(stat);
	return r;
}

/* ---- debugfs ---------------------------------------------------------------- */

static struct dentry *root;

static void show(struct seq_file *m, struct vmm_vm *vm, struct vmm_vcpu *vcpu)
{
	u32 i;

	for (i = 0; i < count_of(vcpu); i++)
		seq_printf(m, "%s %llu\n", name_of(i), value_of(vm, vcpu, i));
}

static int vm_stats_show(struct seq_file *m, void *unused)
{
	show(m, m->private, NULL);
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(vm_stats);

static int vcpu_stats_show(struct seq_file *m, void *unused)
{
	struct vmm_vcpu *vcpu = m->private;

	show(m, vcpu->vm, vcpu);
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(vcpu_stats);

void vmm_stats_add_vm(struct vmm_vm *vm)
{
	char name[32];

	snprintf(name, sizeof(name), "%d-%llu", task_tgid_nr(current), vm->serial);
	vm->debugfs = debugfs_create_dir(name, root);
	debugfs_create_file("stats", 0400, vm->debugfs, vm, &vm_stats_fops);
}

void vmm_stats_add_vcpu(struct vmm_vcpu *vcpu)
{
	char name[16];

	snprintf(name, sizeof(name), "vcpu%u", vcpu->id);
	debugfs_create_file(name, 0400, vcpu->vm->debugfs, vcpu, &vcpu_stats_fops);
}

void vmm_stats_remove(struct vmm_vm *vm)
{
	debugfs_remove_recursive(vm->debugfs);
}

void vmm_stats_init(void)
{
	root = debugfs_create_dir("vmm", NULL);
}

void vmm_stats_exit(void)
{
	debugfs_remove_recursive(root);
}
