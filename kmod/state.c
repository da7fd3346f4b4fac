// SPDX-License-Identifier: GPL-2.0
/*
 * The whole of a vCPU, to be read and written back: reset, get, set, and the
 * checks that keep a state which would hurt the host from being written.
 */
#include <linux/slab.h>
#include <linux/mm.h>
#include <asm/debugreg.h>
#include <asm/processor-flags.h>
#include <asm/trapnr.h>

#include "lapic.h"
#include "vmm.h"

/* bit 10 always reads as one, SDM 3B 18.2.4 */
#define DR7_RESET	0x400
#define RFLAGS_FIXED	X86_EFLAGS_FIXED
#define RFLAGS_DEFINED	0x3f7fd5ULL

static const struct vmm_segment reset_data = {
	.limit = 0xffff, .attr = VMM_SEG_P | VMM_SEG_S | 3,
};

/* SDM 3A table 9-1, APM 2 14.1.3 */
static void reset_sregs(struct vmm_vcpu *vcpu, bool init)
{
	struct vmm_sregs old, s = {};
	int n;

	vmm_op(get_sregs)(vcpu, &old);
	for (n = VMM_ES; n <= VMM_GS; n++)
		s.seg[n] = reset_data;
	s.seg[VMM_CS].selector = 0xf000;
	s.seg[VMM_CS].base = 0xffff0000;
	s.seg[VMM_CS].attr = VMM_SEG_P | VMM_SEG_S | 0xb;
	s.seg[VMM_LDTR] = (struct vmm_segment){ .limit = 0xffff, .attr = VMM_SEG_P | 2 };
	s.seg[VMM_TR] = (struct vmm_segment){ .limit = 0xffff, .attr = VMM_SEG_P | 0xb };
	s.gdtr.limit = 0xffff;
	s.idtr.limit = 0xffff;
	/* INIT leaves CD and NW alone */
	s.cr0 = X86_CR0_ET | (init ? old.cr0 & (X86_CR0_CD | X86_CR0_NW) :
			      X86_CR0_CD | X86_CR0_NW);
	vmm_ops->set_sregs(vcpu, &s);
}

void vmm_vcpu_reset(struct vmm_vcpu *vcpu, bool init)
{
	const struct vmm_cpuid_entry *e = vmm_cpuid_find(vcpu, 1, 0);

	memset(vcpu->gpr, 0, sizeof(vcpu->gpr));
	vcpu->gpr[VMM_RDX] = e ? e->eax : 0x600;	/* the CPU's signature */
	vcpu->rip = 0xfff0;
	vcpu->rflags = RFLAGS_FIXED;
	vcpu->cr2 = 0;
	vcpu->dregs = (struct vmm_dregs){ .dr6 = DR6_RESERVED, .dr7 = DR7_RESET };
	vcpu->ev = (struct vmm_events){
		.run_state = vcpu->id ? VMM_WAIT_SIPI : VMM_RUNNING,
	};
	vcpu->pending.reason = VMM_EXIT_NONE;
	reset_sregs(vcpu, init);
	vmm_lapic_reset(vcpu, init);
	if (init)
		return;
	/* INIT keeps the FPU, the MSRs and the time-stamp counter */
	vmm_fpu_reset(vcpu);
	vmm_msr_reset(vcpu);
}

void vmm_regs_get(struct vmm_vcpu *vcpu, struct vmm_regs *r)
{
	memcpy(r->gpr, vcpu->gpr, sizeof(r->gpr));
	r->rip = vcpu->rip;
	r->rflags = vcpu->rflags;
}

void vmm_regs_set(struct vmm_vcpu *vcpu, const struct vmm_regs *r)
{
	memcpy(vcpu->gpr, r->gpr, sizeof(r->gpr));
	vcpu->rip = r->rip;
	vcpu->rflags = (READ_ONCE(r->rflags) & RFLAGS_DEFINED) | RFLAGS_FIXED;
}

void vmm_sregs_get(struct vmm_vcpu *vcpu, struct vmm_sregs *s)
{
	vmm_op(get_sregs)(vcpu, s);
	s->cr2 = vcpu->cr2;
	s->cr8 = vmm_lapic_cr8(vcpu);
}

u64 vmm_cr4_shown(u32 ecx1, u32 ebx7, u32 ecx7)
{
	u64 m = X86_CR4_VME | X86_CR4_PVI | X86_CR4_TSD | X86_CR4_DE |
		X86_CR4_PSE | X86_CR4_PAE | X86_CR4_MCE | X86_CR4_PGE |
		X86_CR4_PCE | X86_CR4_OSFXSR | X86_CR4_OSXMMEXCPT;

	m |= ecx1 & BIT(17) ? X86_CR4_PCIDE : 0;
	m |= ecx1 & BIT(26) ? X86_CR4_OSXSAVE : 0;
	m |= ebx7 & BIT(0) ? X86_CR4_FSGSBASE : 0;
	m |= ebx7 & BIT(7) ? X86_CR4_SMEP : 0;
	m |= ebx7 & BIT(20) ? X86_CR4_SMAP : 0;
	m |= ecx7 & BIT(2) ? X86_CR4_UMIP : 0;
	m |= ecx7 & BIT(3) ? X86_CR4_PKE : 0;
	m |= ecx7 & BIT(16) ? X86_CR4_LA57 : 0;
	return m;
}

/*
 * By what CPUID shows, to guests as well, and not by what the host makes use of:
 * it may do without 5-level paging, for one. But it has to switch XCR0.
 */
static noinline u64 cr4_of_cpu(void)
{
	u32 eax, ebx = 0, ecx = 0, edx;
	u64 m;

	if (boot_cpu_data.cpuid_level >= 7)
		cpuid_count(7, 0, &eax, &ebx, &ecx, &edx);
	m = vmm_cr4_shown(cpuid_ecx(1), ebx, ecx);
	return vmm_fpu_mask() ? m : m & ~X86_CR4_OSXSAVE;
}

u64 vmm_cr4_allowed(void)
{
	static u64 allowed;	/* never 0 once known, and always the same */

	if (!READ_ONCE(allowed))
		WRITE_ONCE(allowed, cr4_of_cpu());
	return READ_ONCE(allowed);
}

/* CR0, CR4 and EFER must agree: what VMRUN refuses (APM 2 15.5.1) and #GPs */
static int check_modes(const struct vmm_sregs *s)
{
	bool pg = s->cr0 & X86_CR0_PG;
	bool lme = s->efer & EFER_LME;

	if (s->cr0 >> 32 || (pg && !(s->cr0 & X86_CR0_PE)) ||
	    (s->cr0 & X86_CR0_NW && !(s->cr0 & X86_CR0_CD)))
		return -EINVAL;
	if (s->cr4 & ~vmm_cr4_allowed() || s->cr8 > 15)
		return -EINVAL;
	if (s->efer & ~(u64)(EFER_SCE | EFER_LME | EFER_LMA | EFER_NX))
		return -EINVAL;
	if (!!(s->efer & EFER_LMA) != (lme && pg))
		return -EINVAL;
	if (!(s->efer & EFER_LMA))
		return 0;
	if (!(s->cr4 & X86_CR4_PAE) || s->cr3 >> vmm_npt_gpa_bits())
		return -EINVAL;
	if (s->seg[VMM_CS].attr & VMM_SEG_L && s->seg[VMM_CS].attr & VMM_SEG_DB)
		return -EINVAL;
	return 0;
}

/* what a MOV to CR4 is refused, SDM 2B MOV to control registers, APM 2 5.5.1 */
int vmm_cr4_write(struct vmm_vcpu *vcpu, u64 value)
{
	bool lma = vmm_op(get_efer)(vcpu) & EFER_LMA;
	u64 old = vmm_op(get_cr)(vcpu, 4);
	struct vmm_sregs s;

	if (value & ~vcpu->cr4_may)
		return -EINVAL;
	if (lma && (!(value & X86_CR4_PAE) || (value ^ old) & X86_CR4_LA57))
		return -EINVAL;
	if (value & ~old & X86_CR4_PCIDE &&
	    (!lma || vmm_op(get_cr)(vcpu, 3) & X86_CR3_PCID_MASK))
		return -EINVAL;
	vmm_op(get_sregs)(vcpu, &s);
	s.cr4 = value;
	vmm_ops->set_sregs(vcpu, &s);
	/* which bits flush the TLB depends on the CPU (APM 2 5.5.2): all do here */
	vmm_op(flush)(vcpu);
	return 0;
}

int vmm_sregs_check(const struct vmm_sregs *s)
{
	int n;

	if (s->gdtr.pad || s->idtr.pad || s->gdtr.limit > 0xffff ||
	    s->idtr.limit > 0xffff)
		return -EINVAL;
	for (n = 0; n < VMM_NSEG; n++)
		if (s->seg[n].attr & ~0xfff)
			return -EINVAL;
	return check_modes(s);
}

void vmm_sregs_set(struct vmm_vcpu *vcpu, const struct vmm_sregs *s)
{
	/* a bit that its CPUID table does not show is the monitor's to give */
	vcpu->cr4_may = vcpu->cr4_shown | s->cr4;
	vmm_ops->set_sregs(vcpu, s);
	vcpu->cr2 = s->cr2;
	/* the same upper half of TPR, which the APIC's state may have set whole */
	if (s->cr8 != vmm_lapic_cr8(vcpu))
		vmm_lapic_set_cr8(vcpu, s->cr8);
	/* another CR3 or mode may stand for other translations */
	vmm_op(flush)(vcpu);
}

static bool has_error_code(u8 vector)
{
	switch (vector) {
	case X86_TRAP_DF:
	case X86_TRAP_TS ... X86_TRAP_PF:
	case X86_TRAP_AC:
		return true;
	}
	return false;
}

int vmm_events_check(const struct vmm_events *e)
{
	if (memchr_inv(e->pad, 0, sizeof(e->pad)) || e->reserved)
		return -EINVAL;
	if (e->has_error > 1 || e->extint_pending > 1 || e->nmi_pending > 2 || e->nmi_blocked > 1 ||
	    e->shadow > 1 || e->run_state > VMM_STOPPED || e->unhalted > 1 ||
	    e->init_pending > 1 || e->sipi_pending > 1)
		return -EINVAL;
	if (e->error && !e->has_error)
		return -EINVAL;
	if (e->type == VMM_EVENT_EXCEPTION)
		return e->vector > 31 || e->vector == X86_TRAP_NMI ||
		       e->has_error != has_error_code(e->vector) ? -EINVAL : 0;
	if (e->has_error || e->error)
		return -EINVAL;
	if (e->type == VMM_EVENT_NMI)
		return e->vector != X86_TRAP_NMI ? -EINVAL : 0;
	/* one at a time: the second would have to wait in the place of the first */
	if (e->type == VMM_EVENT_INTR)
		return e->extint_pending ? -EINVAL : 0;
	return e->type != VMM_EVENT_NONE ? -EINVAL : 0;
}

void vmm_events_get(struct vmm_vcpu *vcpu, struct vmm_events *e)
{
	*e = vcpu->ev;
	if (e->type == VMM_EVENT_NONE)
		e->vector = e->has_error = 0;
	if (!e->has_error)
		e->error = 0;
}

void vmm_events_set(struct vmm_vcpu *vcpu, const struct vmm_events *e)
{
	vcpu->ev = *e;
}

static int dregs_check(const struct vmm_dregs *d)
{
	return d->dr6 >> 32 || d->dr7 >> 32 ? -EINVAL : 0;
}

int vmm_state_get(struct vmm_vcpu *vcpu, struct vmm_state *st)
{
	u32 mask = st->mask;

	if (mask & ~VMM_STATE_ALL || st->pad)
		return -EINVAL;
	/* what others have asked for is part of what there is */
	vmm_take_requests(vcpu);
	if (mask & VMM_STATE_REGS)
		vmm_regs_get(vcpu, &st->regs);
	if (mask & VMM_STATE_SREGS)
		vmm_sregs_get(vcpu, &st->sregs);
	if (mask & VMM_STATE_EVENTS)
		vmm_events_get(vcpu, &st->events);
	if (mask & VMM_STATE_DREGS)
		st->dregs = vcpu->dregs;
	if (mask & VMM_STATE_APIC)
		vmm_lapic_get(vcpu, &st->apic);
	if (mask & VMM_STATE_MSRS)
		vmm_msrs_get(vcpu, &st->msrs);
	if (mask & VMM_STATE_XSAVE)
		vmm_fpu_get(vcpu, &st->xsave);
	return 0;
}

static int check_groups(const struct vmm_state *st)
{
	u32 mask = st->mask;

	if (mask & ~VMM_STATE_ALL || st->pad)
		return -EINVAL;
	if (mask & VMM_STATE_SREGS && vmm_sregs_check(&st->sregs))
		return -EINVAL;
	if (mask & VMM_STATE_EVENTS && vmm_events_check(&st->events))
		return -EINVAL;
	if (mask & VMM_STATE_DREGS && dregs_check(&st->dregs))
		return -EINVAL;
	return 0;
}

/* MSRs before the APIC: its deadline is in guest TSC */
static int write_groups(struct vmm_vcpu *vcpu, const struct vmm_state *st)
{
	u32 mask = st->mask;
	int r = 0;

	if (mask & VMM_STATE_XSAVE)
		r = vmm_fpu_set(vcpu, &st->xsave);
	if (!r && mask & VMM_STATE_MSRS)
		r = vmm_msrs_set(vcpu, &st->msrs);
	if (!r && mask & VMM_STATE_APIC)
		r = vmm_lapic_set(vcpu, &st->apic);
	if (r)
		return r;
	if (mask & VMM_STATE_REGS)
		vmm_regs_set(vcpu, &st->regs);
	if (mask & VMM_STATE_SREGS)
		vmm_sregs_set(vcpu, &st->sregs);
	if (mask & VMM_STATE_EVENTS)
		vmm_events_set(vcpu, &st->events);
	if (mask & VMM_STATE_DREGS)
		vcpu->dregs = st->dregs;
	/*
	 * The instruction of the last exit is forgotten: it runs again. But a monitor
	 * that executes it may write what it changes of the other groups.
	 */
	if (mask & (VMM_STATE_REGS | VMM_STATE_SREGS | VMM_STATE_EVENTS))
		vcpu->pending.reason = VMM_EXIT_NONE;
	return 0;
}

int vmm_state_set(struct vmm_vcpu *vcpu, const struct vmm_state *st)
{
	struct vmm_state *old;
	int r = check_groups(st);

	if (r)
		return r;
	/* XSAVE, MSRs and APIC check while they set: keep what to go back to */
	old = kzalloc(sizeof(*old), GFP_KERNEL_ACCOUNT);
	if (!old)
		return -ENOMEM;
	old->mask = st->mask & (VMM_STATE_XSAVE | VMM_STATE_MSRS | VMM_STATE_APIC);
	vmm_state_get(vcpu, old);
	r = write_groups(vcpu, st);
	if (r)
		write_groups(vcpu, old);
	kfree(old);
	return r;
}
