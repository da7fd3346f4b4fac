// SPDX-License-Identifier: GPL-2.0
/* One entry into the guest, and what its exit means. */
#include <linux/mm.h>
#include <asm/debugreg.h>
#include <asm/io.h>
#include <asm/processor-flags.h>
#include <asm/trapnr.h>

#include "assert.h"
#include "lapic.h"
#include "svm/svm.h"

/*
 * TF makes the guest stop after one instruction. The instructions that read or
 * load RFLAGS would show or overwrite our TF, and an exception would push it:
 * all are intercepted meanwhile.
 */
#define STEP_GUARDS	(INTERCEPT3_PUSHF | INTERCEPT3_POPF | INTERCEPT3_INTN)
#define DR_ENABLED_BITS	0xff
#define DR7_DISARMED	0x400
#define STEP_EXCEPTIONS	(~(u32)BIT(X86_TRAP_NMI))

/* the virtual interrupt's fields, all that one offer or window sets */
#define V_OFFER		(V_IRQ | V_IGN_TPR | V_PRIO_MASK | V_VECTOR_MASK)

static void step_begin(struct vmm_vcpu *vcpu, bool iret)
{
	struct svm_vcpu *svm = to_svm(vcpu);

	svm->step = true;
	svm->step_iret = iret;
	svm->guest_tf = vcpu->rflags & X86_EFLAGS_TF;
	vcpu->rflags |= X86_EFLAGS_TF;
	svm->vmcb->intercept_exc = STEP_EXCEPTIONS;
	if (!iret)
		svm->vmcb->intercept3 |= STEP_GUARDS | INTERCEPT3_IRET;
}

void svm_step(struct vmm_vcpu *vcpu)
{
	step_begin(vcpu, false);
}

/* the step is over, by whatever exit: TF is the guest's again */
static void step_end(struct vmm_vcpu *vcpu)
{
	struct svm_vcpu *svm = to_svm(vcpu);

	svm->step = false;
	svm->vmcb->intercept_exc = SVM_EXCEPTIONS;
	svm->vmcb->intercept3 &= ~(STEP_GUARDS | INTERCEPT3_IRET);
	if (svm->step_iret && vcpu->rip != svm->iret_rip)
		return;
	if (!svm->guest_tf)
		vcpu->rflags &= ~(u64)X86_EFLAGS_TF;
}

static u64 event_encode(const struct vmm_events *ev)
{
	static const u64 type[] = {
		[VMM_EVENT_INTR] = EVTYPE_INTR,
		[VMM_EVENT_NMI] = EVTYPE_NMI,
		[VMM_EVENT_EXCEPTION] = EVTYPE_EXCEPTION,
	};
	u64 e = EVENT_VALID | type[ev->type] << EVTYPE_SHIFT | ev->vector;

	if (ev->has_error)
		e |= EVENT_HAS_ERROR | (u64)ev->error << 32;
	return e;
}

/*
 * Was it the offered interrupt whose delivery the exit cut short? The CPU says so
 * by the type; an emulated one calls it an exception, but still holds V_IRQ.
 */
static bool offer_cut_short(const struct vmm_vcpu *vcpu, const struct vmcb *v)
{
	u64 e = v->exit_int_info;

	if (vcpu->offer < 0 || !(e & EVENT_VALID) ||
	    (e & EVENT_VECTOR) != vcpu->offer)
		return false;
	return v->int_ctl & V_IRQ ||
	       (e & EVTYPE_MASK) == EVTYPE_INTR << EVTYPE_SHIFT;
}

/*
 * An event whose delivery the exit cut short, APM 2 15.7.2. INT n, INT3 and
 * INTO run again: RIP is still at them.
 */
static void event_decode(struct vmm_vcpu *vcpu, u64 e)
{
	struct vmm_events *ev = &vcpu->ev;
	u8 vector = e & EVENT_VECTOR;

	switch ((e & EVTYPE_MASK) >> EVTYPE_SHIFT) {
	case EVTYPE_INTR:	/* one that set-state gave us */
		ev->type = VMM_EVENT_INTR;
		break;
	case EVTYPE_NMI:
		ev->type = VMM_EVENT_NMI;
		break;
	case EVTYPE_EXCEPTION:
		if (vector == X86_TRAP_BP || vector == X86_TRAP_OF)
			return;
		ev->type = VMM_EVENT_EXCEPTION;
		break;
	default:
		return;
	}
	ev->vector = vector;
	ev->has_error = !!(e & EVENT_HAS_ERROR);
	ev->error = ev->has_error ? e >> 32 : 0;
}

/*
 * The interrupt goes to the guest as a virtual one: the CPU looks at IF, the
 * shadow and TPR and delivers it without an exit (APM 2 15.21.4). EVENTINJ would
 * do as well, but QEMU may deliver an interrupt given there twice. Bochs 2.7 has
 * defects of its own, for which there is no remedy here: it overlooks V_IRQ in a
 * guest that is entered with IF set (the exit masks it, and only a change of IF
 * from 0 to 1 inside the guest unmasks it), and what it delivers in the end is
 * vector 0 instead of V_INTR_VECTOR.
 */
static u64 offered(struct vmm_vcpu *vcpu)
{
	u64 vector = vcpu->offer;

	/* one above all priorities that only makes an exit */
	if (vcpu->irq_window)
		return V_IRQ | V_IGN_TPR | V_PRIO_MASK;
	if (vcpu->offer < 0)
		return 0;
	/* the PIC's do not know of priorities */
	return V_IRQ | vector << V_VECTOR_SHIFT | (vector >> 4) << V_PRIO_SHIFT |
	       (vcpu->ev.extint_pending ? V_IGN_TPR : 0);
}

/*
 * A new ASID is a flushed one. They run out: then all are flushed at once and
 * numbering starts again (APM 2 15.16).
 */
static void take_asid(struct svm_vcpu *svm, struct svm_cpu *cpu)
{
	svm->vmcb->tlb_control = TLB_CONTROL_NONE;
	if (svm->asid_gen == cpu->asid_gen)
		return;
	if (cpu->asid_next > cpu->asid_max) {
		cpu->asid_gen++;
		cpu->asid_next = 1;
		svm->vmcb->tlb_control = TLB_CONTROL_FLUSH_ALL;
	}
	svm->clean = 0;
	svm->asid_gen = cpu->asid_gen;
	svm->asid_cpu = smp_processor_id();
	svm->vmcb->asid = cpu->asid_next++;
}

static void fact_io(struct vmm_vcpu *vcpu, const struct vmcb *v)
{
	struct vmm_fact *f = &vcpu->fact;
	u32 info = v->exit_info1;

	f->kind = FACT_IO;
	f->insn_len = v->exit_info2 - vcpu->rip;
	f->io.port = info >> 16;
	f->io.size = (info >> IOIO_SIZE_SHIFT) & IOIO_SIZE_MASK;
	f->io.in = info & IOIO_IN;
	f->io.string = info & IOIO_STRING;
}

static bool pushes_error(u8 vector)
{
	return vector == X86_TRAP_DF || vector == X86_TRAP_AC ||
	       (vector >= X86_TRAP_TS && vector <= X86_TRAP_PF);
}

static void fact_exception(struct vmm_vcpu *vcpu, const struct vmcb *v, u8 vector)
{
	struct vmm_fact *f = &vcpu->fact;

	switch (vector) {
	case X86_TRAP_MC:
		/* the host's own: its handler runs as if nothing lay between */
		asm volatile("int $0x12");
		f->kind = FACT_HOST;
		return;
	case X86_TRAP_BP:
	case X86_TRAP_OF:
		/* a step met them: nothing ran, the shadow is given up instead */
		f->kind = FACT_STEP;
		return;
	case X86_TRAP_PF:
		vcpu->cr2 = v->exit_info2;
		break;
	}
	f->kind = FACT_EXCEPTION;
	f->exc.vector = vector;
	f->exc.has_error = pushes_error(vector);
	f->exc.error = f->exc.has_error ? v->exit_info1 : 0;
}

static void fact_debug(struct vmm_vcpu *vcpu, const struct vmcb *v, bool stepped)
{
	struct svm_vcpu *svm = to_svm(vcpu);

	if (stepped && !svm->guest_tf) {
		vcpu->dregs.dr6 &= ~(u64)DR_STEP;
		if (!(vcpu->dregs.dr6 & DR_TRAP_BITS)) {
			vcpu->fact.kind = FACT_STEP;
			return;
		}
	}
	fact_exception(vcpu, v, X86_TRAP_DB);
}

static void fact_iret(struct vmm_vcpu *vcpu, bool stepped)
{
	struct svm_vcpu *svm = to_svm(vcpu);

	/* a step met IRET: nothing ran, the shadow is given up instead */
	vcpu->fact.kind = stepped ? FACT_STEP : FACT_NONE;
	if (!vcpu->ev.nmi_blocked)
		return;
	svm->iret_seen = true;
	svm->iret_rip = vcpu->rip;
}

static void fact_simple(struct vmm_vcpu *vcpu, enum vmm_fact_kind kind)
{
	struct vmcb *v = to_svm(vcpu)->vmcb;

	vcpu->fact.kind = kind;
	if (boot_cpu_has(X86_FEATURE_NRIPS) && v->next_rip)
		vcpu->fact.insn_len = v->next_rip - vcpu->rip;
}

static void fact_raw(struct vmm_vcpu *vcpu, enum vmm_fact_kind kind)
{
	const struct vmcb *v = to_svm(vcpu)->vmcb;

	vcpu->fact.kind = kind;
	vcpu->fact.raw.code = v->exit_code;
	vcpu->fact.raw.info1 = v->exit_info1;
	vcpu->fact.raw.info2 = v->exit_info2;
	vcpu->fact.raw.event = v->exit_int_info;
}

static void fact_of_exit(struct vmm_vcpu *vcpu, bool stepped)
{
	struct svm_vcpu *svm = to_svm(vcpu);
	const struct vmcb *v = svm->vmcb;
	struct vmm_fact *f = &vcpu->fact;
	u32 code = v->exit_code;

	f->insn_len = 0;
	switch (code) {
	case EXIT_INTR:
	case EXIT_NMI:
	case EXIT_SMI:
	case EXIT_INIT:
	case EXIT_FERR:
		f->kind = FACT_HOST;
		return;
	case EXIT_IOIO:
		fact_io(vcpu, v);
		return;
	case EXIT_NPF:
		f->kind = FACT_NPF;
		f->npf.gpa = v->exit_info2;
		f->npf.access = (v->exit_info1 & NPF_WRITE ? VMM_ACCESS_WRITE : 0) |
				(v->exit_info1 & NPF_FETCH ? VMM_ACCESS_FETCH : 0);
		return;
	case EXIT_MSR:
		fact_simple(vcpu, FACT_MSR);
		f->msr.write = v->exit_info1 & 1;
		return;
	case EXIT_CPUID:
		fact_simple(vcpu, FACT_CPUID);
		return;
	case EXIT_HLT:
		fact_simple(vcpu, FACT_HLT);
		return;
	case EXIT_PAUSE:
		f->kind = FACT_PAUSE;
		return;
	case EXIT_VMMCALL:
		fact_simple(vcpu, FACT_HYPERCALL);
		return;
	case EXIT_XSETBV:
		fact_simple(vcpu, FACT_XSETBV);
		return;
	case EXIT_INVD:
	case EXIT_WBINVD:
		fact_simple(vcpu, FACT_NOP);
		return;
	case EXIT_RDPMC:
		f->kind = FACT_RDPMC;
		return;
	case EXIT_VINTR:
		vcpu->irq_window = false;
		f->kind = FACT_NONE;
		return;
	case EXIT_READ_CR4:
	case EXIT_WRITE_CR4:
		f->kind = FACT_CR4;
		f->cr4.write = code == EXIT_WRITE_CR4;
		return;
	case EXIT_WRITE_CR8:
		f->kind = FACT_TPR_WRITE;
		return;
	case EXIT_READ_DR0 ... EXIT_WRITE_DR15:
		vmm_dregs_load(vcpu);
		f->kind = FACT_NONE;
		return;
	case EXIT_EXCEPTION + X86_TRAP_DB:
		fact_debug(vcpu, v, stepped);
		return;
	case EXIT_EXCEPTION ... EXIT_EXCEPTION + X86_TRAP_DB - 1:
	case EXIT_EXCEPTION + X86_TRAP_DB + 1 ... EXIT_EXCEPTION + 31:
		fact_exception(vcpu, v, code - EXIT_EXCEPTION);
		return;
	case EXIT_IRET:
		fact_iret(vcpu, stepped);
		return;
	case EXIT_PUSHF:
	case EXIT_POPF:
	case EXIT_INTN:
		f->kind = FACT_STEP;	/* a step met it: as with IRET above */
		return;
	case EXIT_INVLPGA:
	case EXIT_VMRUN:
	case EXIT_VMLOAD ... EXIT_SKINIT:
	case EXIT_MONITOR:
	case EXIT_MWAIT:
	case EXIT_MWAIT_ARMED:
	case EXIT_RDPRU:
		f->kind = FACT_UNDEFINED;
		return;
	case EXIT_SHUTDOWN:
		f->kind = FACT_SHUTDOWN;
		return;
	}
	fact_raw(vcpu, FACT_UNKNOWN);
}

/*
 * QEMU (7.2, cpu_x86_update_cr0) restores the host's CR0 at the exit while EFER
 * and CR4 are the guest's. EFER.LME without CR4.PAE and without paging, which is
 * a legal state, it takes for an attempt to enter long mode without PAE, and goes
 * on in the host with the guest's CR0: no paging, no GIF, no way back. LME means
 * nothing before the guest has written CR4, which exits: it is held back. A guest
 * that sets CR0.PG first gets no #GP for that, but fails at its next entry. The
 * sign of QEMU is that it has no next-RIP, which real CPUs have.
 */
static bool hold_back_lme(struct vmm_vcpu *vcpu)
{
	struct svm_vcpu *svm = to_svm(vcpu);
	struct vmcb *v = svm->vmcb;

	if (boot_cpu_has(X86_FEATURE_NRIPS) || !(v->efer & EFER_LME) ||
	    v->cr0 & X86_CR0_PG || svm->cr4 & X86_CR4_PAE)
		return false;
	v->efer &= ~(u64)EFER_LME;
	svm->clean = 0;
	return true;
}

/* registers and the event to the VMCB */
static void before_entry(struct vmm_vcpu *vcpu)
{
	struct svm_vcpu *svm = to_svm(vcpu);
	struct vmcb *v = svm->vmcb;
	u32 intercept3 = v->intercept3 & ~INTERCEPT3_VINTR;

	/* NMIs are masked until IRET, which hardware does not tell us without */
	if (vcpu->ev.nmi_blocked && !svm->iret_seen)
		intercept3 |= INTERCEPT3_IRET;
	else if (!svm->step)
		intercept3 &= ~INTERCEPT3_IRET;
	if (vcpu->irq_window)
		intercept3 |= INTERCEPT3_VINTR;
	v->intercept3 = intercept3;
	/* one is waiting: see that there is an exit right after the IRET */
	if (svm->iret_seen && vcpu->ev.nmi_pending && !svm->step && !vcpu->ev.type)
		step_begin(vcpu, true);

	v->rax = vcpu->gpr[VMM_RAX];
	v->rsp = vcpu->gpr[VMM_RSP];
	v->rip = vcpu->rip;
	v->rflags = vcpu->rflags;
	v->cr2 = vcpu->cr2;
	v->dr6 = vcpu->dregs.dr6;
	v->dr7 = vcpu->dregs.dr7;
	v->intercept_dr = vcpu->dr_resident ? 0 : ~0U;
	v->tsc_offset = vmm_tsc_gap + vcpu->tsc_offset;
	v->int_state = vcpu->ev.shadow ? INT_STATE_SHADOW : 0;
	/*
	 * V_INTR_MASKING each time: the CPU writes this field at the exit, and
	 * without that bit a guest with IF clear would keep the CPU for good.
	 */
	v->int_ctl = (v->int_ctl & ~(V_TPR_MASK | V_OFFER)) | vmm_lapic_cr8(vcpu) |
		     V_INTR_MASKING | offered(vcpu);
	/*
	 * QEMU dies of a guest that writes CR8 while V_IRQ is set: it tells the
	 * virtual CPU without holding its lock. Elsewhere that costs an exit, and
	 * only to a guest that writes CR8 with an interrupt held back.
	 */
	if (vcpu->watch_tpr || v->int_ctl & V_IRQ)
		v->intercept_cr |= INTERCEPT_CR8_WRITE;
	else
		v->intercept_cr &= ~INTERCEPT_CR8_WRITE;
	v->event_inj = 0;
	if (vcpu->ev.type) {
		v->event_inj = event_encode(&vcpu->ev);
		vcpu->ev.type = VMM_EVENT_NONE;
	}
}

static void after_exit(struct vmm_vcpu *vcpu, bool stepped)
{
	struct svm_vcpu *svm = to_svm(vcpu);
	struct vmcb *v = svm->vmcb;
	u64 cr8 = v->int_ctl & V_TPR_MASK;
	/* where VMRUN does not load the shadow: nothing ran that could end it */
	bool shadow = vcpu->ev.shadow && v->rip == vcpu->rip;

	vcpu->gpr[VMM_RAX] = v->rax;
	vcpu->gpr[VMM_RSP] = v->rsp;
	vcpu->rip = v->rip;
	vcpu->rflags = v->rflags;
	vcpu->cr2 = v->cr2;
	vcpu->dregs.dr6 = v->dr6;
	vcpu->dregs.dr7 = v->dr7;
	vcpu->ev.shadow = shadow || v->int_state & INT_STATE_SHADOW;
	if (cr8 != vmm_lapic_cr8(vcpu))
		vmm_lapic_set_cr8(vcpu, cr8);
	if (offer_cut_short(vcpu, v)) {
		vcpu->taken = false;	/* it is offered again */
	} else {
		vcpu->taken = vcpu->offer >= 0 && !(v->int_ctl & V_IRQ);
		if (v->exit_int_info & EVENT_VALID)
			event_decode(vcpu, v->exit_int_info);
	}
	if (svm->iret_seen && vcpu->rip != svm->iret_rip) {
		svm->iret_seen = false;
		vcpu->ev.nmi_blocked = 0;
	}
	fact_of_exit(vcpu, stepped);
}

/*
 * A VMRUN that is refused may write over the guest's state: emulated CPUs save the
 * host's there. It is refused for what was written to the VMCB, or for an event;
 * what the guest did itself the CPU let it do, but for control registers, of which
 * emulated CPUs do not check all.
 */
static void keep(struct svm_vcpu *svm)
{
	const struct vmcb *v = svm->vmcb;
	struct svm_kept *k = &svm->kept;

	k->efer = v->efer;
	k->cr0 = v->cr0;
	k->cr3 = v->cr3;
	if (svm->clean == CLEAN_KEPT && !v->event_inj)
		return;
	k->seg[0] = v->es;
	k->seg[1] = v->cs;
	k->seg[2] = v->ss;
	k->seg[3] = v->ds;
	k->gdtr = v->gdtr;
	k->idtr = v->idtr;
	k->pat = v->pat;
	k->cpl = v->cpl;
}

/* nothing ran: the guest is as it was */
static void refused(struct vmm_vcpu *vcpu, u64 event)
{
	struct svm_vcpu *svm = to_svm(vcpu);
	const struct svm_kept *k = &svm->kept;
	struct vmcb *v = svm->vmcb;

	v->es = k->seg[0];
	v->cs = k->seg[1];
	v->ss = k->seg[2];
	v->ds = k->seg[3];
	v->gdtr = k->gdtr;
	v->idtr = k->idtr;
	v->efer = k->efer;
	v->cr0 = k->cr0;
	v->cr3 = k->cr3;
	v->cr4 = svm->cr4 | svm_host_mce;
	v->pat = k->pat;
	v->cpl = k->cpl;
	svm->clean = 0;
	vcpu->taken = false;
	if (event & EVENT_VALID)
		event_decode(vcpu, event);
	vcpu->fact.insn_len = 0;
	fact_raw(vcpu, FACT_ENTRY_FAILED);
}

void svm_vcpu_enter(struct vmm_vcpu *vcpu)
{
	struct svm_cpu *cpu = this_cpu_ptr(&svm_cpus);
	struct svm_vcpu *svm = to_svm(vcpu);
	bool stepped, lme;
	u64 event;

	/* breakpoints may be armed though the guest has not touched them here */
	if (vcpu->dregs.dr7 & DR_ENABLED_BITS && !vcpu->dr_resident)
		vmm_dregs_load(vcpu);
	before_entry(vcpu);
	keep(svm);
	lme = hold_back_lme(vcpu);
	event = svm->vmcb->event_inj;
	take_asid(svm, cpu);
	svm->vmcb->clean = svm_clean_take(svm);
	/* an ASID means something on the CPU that gave it, until that flushes all */
	vmm_assert(vcpu->vm, svm->asid_cpu == smp_processor_id() &&
		   svm->asid_gen == cpu->asid_gen && svm->vmcb->asid &&
		   svm->vmcb->asid <= cpu->asid_max);
	vmm_assert(vcpu->vm, svm_clean_right(svm));
	svm_enter(vcpu->gpr, svm->vmcb_pa, page_to_phys(cpu->host));
	svm_clean_seen(svm);
	if (lme) {
		svm->vmcb->efer |= EFER_LME;
		svm->clean = 0;
	}
	stepped = svm->step;
	if ((u32)svm->vmcb->exit_code == EXIT_INVALID)
		refused(vcpu, event);
	else
		after_exit(vcpu, stepped);
	if (stepped)
		step_end(vcpu);
	/* the exit disarmed the guest's breakpoints, but not on emulated CPUs */
	if (vcpu->dregs.dr7 & DR_ENABLED_BITS)
		set_debugreg(DR7_DISARMED, 7);
}
