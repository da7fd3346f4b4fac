// SPDX-License-Identifier: GPL-2.0
/* Segments, control registers and hardware-switched MSRs in the VMCB. */
#include <asm/msr.h>
#include <asm/processor-flags.h>

#include "svm/svm.h"

static struct vmcb_seg *svm_seg(struct vmcb *v, int n)
{
	switch (n) {
	case VMM_ES: return &v->es;
	case VMM_CS: return &v->cs;
	case VMM_SS: return &v->ss;
	case VMM_DS: return &v->ds;
	case VMM_FS: return &v->fs;
	case VMM_GS: return &v->gs;
	case VMM_LDTR: return &v->ldtr;
	default: return &v->tr;
	}
}

u64 svm_get_cr(struct vmm_vcpu *vcpu, int n)
{
	struct svm_vcpu *svm = to_svm(vcpu);

	return n == 0 ? svm->vmcb->cr0 : n == 3 ? svm->vmcb->cr3 : svm->cr4;
}

/*
 * A machine check shuts the machine down while CR4.MCE is clear (APM 2 9.3.1),
 * whatever is intercepted: in the guest, too, it stays as the host has it. So
 * the guest must not write the register, and not read it while its MCE differs.
 */
static void set_cr4(struct svm_vcpu *svm, u64 cr4)
{
	struct vmcb *v = svm->vmcb;

	svm->cr4 = cr4;
	v->cr4 = cr4 | svm_host_mce;
	if (v->cr4 != cr4)
		v->intercept_cr |= INTERCEPT_CR4_READ;
	else
		v->intercept_cr &= ~INTERCEPT_CR4_READ;
}

u64 svm_get_efer(struct vmm_vcpu *vcpu)
{
	return to_svm(vcpu)->vmcb->efer & ~(u64)EFER_SVME;
}

static void get_segment(struct vmm_segment *s, const struct vmcb_seg *seg)
{
	*s = (struct vmm_segment){
		.base = seg->base,
		.limit = seg->limit,
		.selector = seg->selector,
		.attr = seg->attr & 0xfff,
	};
}

/* the CPU keeps CPL apart and SS.DPL may lag behind, APM 2 15.5.1 */
static void set_cpl(struct vmm_segment *ss, const struct vmcb *v)
{
	ss->attr &= ~(3 << VMM_SEG_DPL_SHIFT);
	ss->attr |= (v->cpl & 3) << VMM_SEG_DPL_SHIFT;
}

void svm_get_segment(struct vmm_vcpu *vcpu, int n, struct vmm_segment *s)
{
	struct vmcb *v = to_svm(vcpu)->vmcb;

	get_segment(s, svm_seg(v, n));
	if (n == VMM_SS)
		set_cpl(s, v);
}

void svm_get_sregs(struct vmm_vcpu *vcpu, struct vmm_sregs *s)
{
	struct vmcb *v = to_svm(vcpu)->vmcb;

	get_segment(&s->seg[VMM_ES], &v->es);
	get_segment(&s->seg[VMM_CS], &v->cs);
	get_segment(&s->seg[VMM_SS], &v->ss);
	get_segment(&s->seg[VMM_DS], &v->ds);
	get_segment(&s->seg[VMM_FS], &v->fs);
	get_segment(&s->seg[VMM_GS], &v->gs);
	get_segment(&s->seg[VMM_LDTR], &v->ldtr);
	get_segment(&s->seg[VMM_TR], &v->tr);
	set_cpl(&s->seg[VMM_SS], v);
	s->gdtr = (struct vmm_table){ .base = v->gdtr.base, .limit = v->gdtr.limit };
	s->idtr = (struct vmm_table){ .base = v->idtr.base, .limit = v->idtr.limit };
	s->cr0 = v->cr0;
	s->cr3 = v->cr3;
	s->cr4 = to_svm(vcpu)->cr4;
	s->efer = svm_get_efer(vcpu);
}

void svm_set_sregs(struct vmm_vcpu *vcpu, const struct vmm_sregs *s)
{
	struct vmcb *v = to_svm(vcpu)->vmcb;
	int n;

	to_svm(vcpu)->clean &= ~(CLEAN_CR | CLEAN_TABLES | CLEAN_SEGMENTS);
	for (n = 0; n < VMM_NSEG; n++)
		*svm_seg(v, n) = (struct vmcb_seg){
			.selector = s->seg[n].selector,
			.attr = s->seg[n].attr,
			.limit = s->seg[n].limit,
			.base = s->seg[n].base,
		};
	v->cpl = (s->seg[VMM_SS].attr >> VMM_SEG_DPL_SHIFT) & 3;
	v->gdtr.base = s->gdtr.base;
	v->gdtr.limit = s->gdtr.limit;
	v->idtr.base = s->idtr.base;
	v->idtr.limit = s->idtr.limit;
	v->cr0 = s->cr0;
	v->cr3 = s->cr3;
	set_cr4(to_svm(vcpu), s->cr4);
	v->efer = s->efer | EFER_SVME;	/* VMRUN wants it set, APM 2 15.5.1 */
}

static u64 *svm_msr(struct vmcb *v, u32 index)
{
	switch (index) {
	case MSR_STAR: return &v->star;
	case MSR_LSTAR: return &v->lstar;
	case MSR_CSTAR: return &v->cstar;
	case MSR_SYSCALL_MASK: return &v->sfmask;
	case MSR_FS_BASE: return &v->fs.base;
	case MSR_GS_BASE: return &v->gs.base;
	case MSR_KERNEL_GS_BASE: return &v->kernel_gs_base;
	case MSR_IA32_SYSENTER_CS: return &v->sysenter_cs;
	case MSR_IA32_SYSENTER_ESP: return &v->sysenter_esp;
	case MSR_IA32_SYSENTER_EIP: return &v->sysenter_eip;
	case MSR_IA32_CR_PAT: return &v->pat;
	}
	return NULL;
}

int svm_get_msr(struct vmm_vcpu *vcpu, u32 index, u64 *value)
{
	u64 *p = svm_msr(to_svm(vcpu)->vmcb, index);

	if (!p)
		return -ENOENT;
	*value = *p;
	return 0;
}

int svm_set_msr(struct vmm_vcpu *vcpu, u32 index, u64 value)
{
	u64 *p = svm_msr(to_svm(vcpu)->vmcb, index);

	if (!p)
		return -ENOENT;
	to_svm(vcpu)->clean &= ~CLEAN_NP;	/* it may be PAT */
	*p = value;
	return 0;
}
