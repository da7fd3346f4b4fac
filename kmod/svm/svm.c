// SPDX-License-Identifier: GPL-2.0
/*
 * AMD's SVM: what a CPU and a vCPU need, and the ops table through which the
 * common code reaches this room.
 */
#define pr_fmt(fmt) "vmm: " fmt

#include <linux/gfp.h>
#include <linux/mm.h>
#include <linux/percpu.h>
#include <linux/pgtable.h>
#include <linux/slab.h>
#include <asm/io.h>
#include <asm/msr.h>

#include "svm/svm.h"

#define SVM_LEAF	0x8000000a

#ifndef MSR_VM_CR
#define MSR_VM_CR	0xc0010114
#endif
#ifndef MSR_VM_HSAVE_PA
#define MSR_VM_HSAVE_PA	0xc0010117
#endif
#define VM_CR_SVMDIS	(1ULL << 4)

/* the MSR bitmap has three ranges of 0x2000 MSRs, 2 bits each (APM 2 15.11) */
#define MSRPM_ORDER	1
#define IOPM_ORDER	2

/*
 * APM 2 15.14.4: this many PAUSEs are a loop, if no two are further apart than
 * so many cycles
 */
#define PAUSE_COUNT	3000
#define PAUSE_THRESHOLD	128

DEFINE_PER_CPU(struct svm_cpu, svm_cpus);

u64 svm_host_mce;

static struct page *svm_iopm, *svm_msrpm;

/*
 * VMLOAD and VMSAVE switch these: the guest may have the real ones. PAT is not
 * among them, since not every implementation switches it.
 */
static const u32 svm_direct_msrs[] = {
	MSR_STAR, MSR_LSTAR, MSR_CSTAR, MSR_SYSCALL_MASK,
	MSR_FS_BASE, MSR_GS_BASE, MSR_KERNEL_GS_BASE,
	MSR_IA32_SYSENTER_CS, MSR_IA32_SYSENTER_ESP, MSR_IA32_SYSENTER_EIP,
};

static void msrpm_allow(u8 *map, u32 msr)
{
	u32 bit = (msr & 0x1fff) * 2;

	if (msr >= 0xc0000000)
		map += 0x800;
	map[bit / 8] &= ~(3 << (bit % 8));
}

static u32 svm_features_edx(void)
{
	return cpuid_edx(SVM_LEAF);
}

static u64 svm_features(void)
{
	u32 edx = svm_features_edx();

	return VMM_FEAT_2M | VMM_FEAT_AD | VMM_FEAT_TPR | VMM_FEAT_VIRT_INTR |
	       VMM_FEAT_TASKS |
	       (boot_cpu_has(X86_FEATURE_NRIPS) ? VMM_FEAT_XSETBV : 0) |
	       (boot_cpu_has(X86_FEATURE_XSAVES) ? VMM_FEAT_XSAVES : 0) |
	       (boot_cpu_has(X86_FEATURE_RDTSCP) ? VMM_FEAT_RDTSCP : 0) |
	       (boot_cpu_has(X86_FEATURE_INVPCID) ? VMM_FEAT_INVPCID : 0) |
	       (boot_cpu_has(X86_FEATURE_GBPAGES) ? VMM_FEAT_1G : 0) |
	       (edx & BIT(3) ? VMM_FEAT_NRIP : 0) |
	       (edx & BIT(7) ? VMM_FEAT_DECODE : 0) |
	       (edx & BIT(6) ? VMM_FEAT_FLUSHBYASID : 0) |
	       (edx & BIT(10) ? VMM_FEAT_PAUSE_LOOP : 0) |
	       (edx & BIT(16) ? VMM_FEAT_VGIF : 0) |
	       (edx & BIT(4) ? VMM_FEAT_TSC_SCALE : 0);
}

static int svm_check(void)
{
	u64 efer, vm_cr;

	if (!rdmsrl_safe(MSR_VM_CR, &vm_cr) && vm_cr & VM_CR_SVMDIS) {
		pr_err("SVM is switched off by the firmware: enable SVM (AMD-V) in its setup\n");
		return -EOPNOTSUPP;
	}
	if (!(svm_features_edx() & BIT(0))) {
		pr_err("this CPU has SVM without nested paging, which vmm needs: there is no remedy but another CPU\n");
		return -EOPNOTSUPP;
	}
	rdmsrl(MSR_EFER, efer);
	if (efer & EFER_SVME) {
		pr_err("SVM is in use, probably by KVM: stop its virtual machines and `rmmod kvm_amd`, then insmod vmm.ko again\n");
		return -EBUSY;
	}
	return 0;
}

static void svm_free_maps(void)
{
	if (svm_iopm)
		__free_pages(svm_iopm, IOPM_ORDER);
	if (svm_msrpm)
		__free_pages(svm_msrpm, MSRPM_ORDER);
	svm_iopm = svm_msrpm = NULL;
}

static void svm_teardown(void)
{
	int cpu;

	for_each_possible_cpu(cpu) {
		struct svm_cpu *c = per_cpu_ptr(&svm_cpus, cpu);

		if (c->hsave)
			__free_page(c->hsave);
		if (c->host)
			__free_page(c->host);
		c->hsave = c->host = NULL;
	}
	svm_free_maps();
}

/*
 * APM 2 5.3, 15.25.5: the host's own long-mode format, and as many levels. Each
 * nested access counts as a user access, so U/S must be set. NX stays clear:
 * whether the guest may execute is for its own tables to say.
 */
static struct vmm_pt_format svm_pt = {
	.present	= _PAGE_PRESENT,
	.table		= _PAGE_PRESENT | _PAGE_RW | _PAGE_USER | _PAGE_ACCESSED,
	.leaf		= _PAGE_PRESENT | _PAGE_USER,
	.write		= _PAGE_RW,
	.large		= _PAGE_PSE,
	.accessed	= _PAGE_ACCESSED,
	.dirty		= _PAGE_DIRTY,
};

static int svm_setup(void)
{
	int cpu, i;

	svm_pt.levels = pgtable_l5_enabled() ? 5 : 4;
	svm_pt.max_leaf = boot_cpu_has(X86_FEATURE_GBPAGES) ? 3 : 2;
	svm_host_mce = __read_cr4() & X86_CR4_MCE;
	svm_iopm = alloc_pages(GFP_KERNEL, IOPM_ORDER);
	svm_msrpm = alloc_pages(GFP_KERNEL, MSRPM_ORDER);
	if (!svm_iopm || !svm_msrpm)
		goto fail;
	memset(page_address(svm_iopm), 0xff, PAGE_SIZE << IOPM_ORDER);
	memset(page_address(svm_msrpm), 0xff, PAGE_SIZE << MSRPM_ORDER);
	for (i = 0; i < ARRAY_SIZE(svm_direct_msrs); i++)
		msrpm_allow(page_address(svm_msrpm), svm_direct_msrs[i]);
	for_each_possible_cpu(cpu) {
		struct svm_cpu *c = per_cpu_ptr(&svm_cpus, cpu);

		c->hsave = alloc_page(GFP_KERNEL | __GFP_ZERO);
		c->host = alloc_page(GFP_KERNEL | __GFP_ZERO);
		if (!c->hsave || !c->host)
			goto fail;
	}
	return 0;
fail:
	svm_teardown();
	return -ENOMEM;
}

static int svm_cpu_enable(void)
{
	struct svm_cpu *c = this_cpu_ptr(&svm_cpus);
	u64 efer;

	rdmsrl(MSR_EFER, efer);
	if (efer & EFER_SVME)
		return -EBUSY;
	wrmsrl(MSR_EFER, efer | EFER_SVME);
	wrmsrl(MSR_VM_HSAVE_PA, page_to_phys(c->hsave));
	c->asid_max = cpuid_ebx(SVM_LEAF) - 1;
	/* the first entry takes a new generation and flushes all */
	c->asid_next = c->asid_max + 1;
	c->asid_gen++;
	c->enabled = true;
	return 0;
}

static void svm_cpu_disable(void)
{
	struct svm_cpu *c = this_cpu_ptr(&svm_cpus);
	u64 efer;

	if (!c->enabled)
		return;
	c->enabled = false;
	wrmsrl(MSR_VM_HSAVE_PA, 0);
	rdmsrl(MSR_EFER, efer);
	wrmsrl(MSR_EFER, efer & ~(u64)EFER_SVME);
}

static int svm_vcpu_create(struct vmm_vcpu *vcpu)
{
	struct svm_vcpu *svm = kzalloc(sizeof(*svm), GFP_KERNEL_ACCOUNT);
	struct vmcb *v;

	if (!svm)
		return -ENOMEM;
	v = (void *)get_zeroed_page(GFP_KERNEL_ACCOUNT);
	if (!v) {
		kfree(svm);
		return -ENOMEM;
	}
	svm->vmcb = v;
	svm->vmcb_pa = __pa(v);
	v->intercept_cr = INTERCEPT_CR4_WRITE;
	v->intercept_exc = SVM_EXCEPTIONS;
	v->intercept3 = INTERCEPT3_INTR | INTERCEPT3_NMI | INTERCEPT3_SMI |
			INTERCEPT3_INIT | INTERCEPT3_RDPMC | INTERCEPT3_CPUID |
			INTERCEPT3_INVD | INTERCEPT3_HLT | INTERCEPT3_INVLPGA |
			INTERCEPT3_IOIO | INTERCEPT3_MSR | INTERCEPT3_FERR |
			INTERCEPT3_SHUTDOWN;
	v->intercept4 = INTERCEPT4_VMRUN | INTERCEPT4_VMMCALL | INTERCEPT4_VMLOAD |
			INTERCEPT4_VMSAVE | INTERCEPT4_STGI | INTERCEPT4_CLGI |
			INTERCEPT4_SKINIT | INTERCEPT4_WBINVD | INTERCEPT4_MONITOR |
			INTERCEPT4_MWAIT | INTERCEPT4_MWAIT_ARMED |
			INTERCEPT4_XSETBV | INTERCEPT4_RDPRU;
	/*
	 * Without a filter each PAUSE would exit: most loops of them are short, and
	 * one that is long ends with the host's tick.
	 */
	if (svm_features() & VMM_FEAT_PAUSE_LOOP) {
		v->intercept3 |= INTERCEPT3_PAUSE;
		v->pause_count = PAUSE_COUNT;
		if (svm_features_edx() & BIT(12))
			v->pause_threshold = PAUSE_THRESHOLD;
	}
	v->iopm_pa = page_to_phys(svm_iopm);
	v->msrpm_pa = page_to_phys(svm_msrpm);
	v->int_ctl = V_INTR_MASKING;
	v->np_enable = 1;
	v->n_cr3 = __pa(vcpu->vm->npt_root);
	vcpu->arch = svm;
	return 0;
}

static void svm_vcpu_destroy(struct vmm_vcpu *vcpu)
{
	struct svm_vcpu *svm = to_svm(vcpu);

	free_page((unsigned long)svm->vmcb);
	kfree(svm);
}

static void svm_load(struct vmm_vcpu *vcpu)
{
	struct svm_cpu *c = this_cpu_ptr(&svm_cpus);
	struct svm_vcpu *svm = to_svm(vcpu);

	if (vcpu->cpu != smp_processor_id())
		svm->asid_gen = 0;
	asm volatile("vmsave %%rax" : : "a"(page_to_phys(c->host)) : "memory");
}

static int svm_stretch_begin(struct vmm_vcpu *vcpu)
{
	return 0;
}

/* SVM stays on, which disturbs nothing; VMSAVE and VMLOAD restore at each exit */
static void svm_nothing(struct vmm_vcpu *vcpu)
{
}

static void svm_flush(struct vmm_vcpu *vcpu)
{
	to_svm(vcpu)->asid_gen = 0;
}

const struct vmm_ops vmm_svm_ops = {
	.name = "SVM",
	.kvm_module = "kvm_amd",
	.vendor = VMM_VENDOR_SVM,
	.pt = &svm_pt,
	.features = svm_features,
	.check = svm_check,
	.setup = svm_setup,
	.teardown = svm_teardown,
	.cpu_enable = svm_cpu_enable,
	.cpu_disable = svm_cpu_disable,
	.vcpu_create = svm_vcpu_create,
	.vcpu_destroy = svm_vcpu_destroy,
	.load = svm_load,
	.put = svm_nothing,
	.stretch_begin = svm_stretch_begin,
	.stretch_end = svm_nothing,
	.enter = svm_vcpu_enter,
	.why = svm_why,
	.step = svm_step,
	.flush = svm_flush,
	.get_cr = svm_get_cr,
	.get_efer = svm_get_efer,
	.get_segment = svm_get_segment,
	.get_sregs = svm_get_sregs,
	.set_sregs = svm_set_sregs,
	.get_msr = svm_get_msr,
	.set_msr = svm_set_msr,
};
