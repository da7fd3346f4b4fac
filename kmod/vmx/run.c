// SPDX-License-Identifier: GPL-2.0
/* One entry into the guest and the exit that ends it. */
#include <linux/bits.h>
#include <linux/percpu.h>
#include <asm/debugreg.h>
#include <asm/processor-flags.h>
#include <asm/special_insns.h>
#include <asm/tsc.h>

#include "lapic.h"
#include "vmx/vmx.h"

#define DR_ENABLED_BITS	0xff

#define APIC_PAGE_TPR	0x80
#define APIC_RVI_CLASS	0xf0

#define EXIT_FAILED	BIT(31)		/* of the exit reason: not entered */

#define SHADOWS		(GUEST_INTR_STATE_STI | GUEST_INTR_STATE_MOV_SS)

/* The window respects the shadow: it opens when the instruction has run. */
void vmx_step(struct vmm_vcpu *vcpu)
{
	to_vmx(vcpu)->step = true;
}

/* with the TPR shadow: an exit once TPR no longer holds the vector back */
static u32 tpr_threshold(struct vmm_vcpu *vcpu)
{
	return vcpu->watch_tpr ? max(vmm_lapic_held(vcpu), 0) >> 4 : 0;
}

/* ---- entry ------------------------------------------------------------------ */

static u32 inject(u32 info, bool has_error, u32 error)
{
	if (has_error)
		vmcs_write(VM_ENTRY_EXCEPTION_ERROR_CODE, error);
	vmcs_write(VM_ENTRY_INTR_INFO_FIELD, INTR_INFO_VALID_MASK | info);
	return INTR_INFO_VALID_MASK | info;
}

static u32 inject_event(struct vmm_events *ev)
{
	static const u32 type[] = {
		[VMM_EVENT_INTR] = INTR_TYPE_EXT_INTR,
		[VMM_EVENT_NMI] = INTR_TYPE_NMI_INTR,
		[VMM_EVENT_EXCEPTION] = INTR_TYPE_HARD_EXCEPTION,
	};
	u32 info = type[ev->type] | ev->vector;
	/* real mode pushes none, and the entry would be refused (SDM 3C 27.2.1.3) */
	bool has_error = ev->has_error && vmcs_read(GUEST_CR0) & X86_CR0_PE;

	if (has_error)
		info |= INTR_INFO_DELIVER_CODE_MASK;
	ev->type = VMM_EVENT_NONE;
	return inject(info, has_error, ev->error);
}

/*
 * An event first, else the interrupt on offer if the guest can take it now. What
 * has to wait gets its window; returned are the controls for that.
 */
static u32 deliver(struct vmm_vcpu *vcpu)
{
	struct vmx_vcpu *vmx = to_vmx(vcpu);
	struct vmm_events *ev = &vcpu->ev;
	u32 proc = vmx_caps.proc;

	vcpu->taken = false;
	vmx->injected = 0;
	if (ev->type)
		vmx->injected = inject_event(ev);
	else if (vcpu->offer >= 0 && !ev->shadow && vcpu->rflags & X86_EFLAGS_IF) {
		vmx->injected = inject(INTR_TYPE_EXT_INTR | vcpu->offer, false, 0);
		vcpu->taken = true;
	}
	if (vcpu->irq_window || vmx->step || (vcpu->offer >= 0 && !vcpu->taken))
		proc |= CPU_BASED_INTR_WINDOW_EXITING;
	if (ev->nmi_pending)
		proc |= CPU_BASED_NMI_WINDOW_EXITING;
	vmx->step = false;
	return proc;
}

/* SDM 3C table 25-3 and what 27.3.1.5 checks about it */
static u32 interruptibility(struct vmm_vcpu *vcpu, bool injects_nmi)
{
	bool mov_ss = to_vmx(vcpu)->mov_ss || !(vcpu->rflags & X86_EFLAGS_IF);
	u32 state = 0;

	if (vcpu->ev.shadow)
		state |= mov_ss ? GUEST_INTR_STATE_MOV_SS : GUEST_INTR_STATE_STI;
	if (vcpu->ev.nmi_blocked && !injects_nmi)
		state |= GUEST_INTR_STATE_NMI;
	return state;
}

static void write_interruptibility(struct vmm_vcpu *vcpu, bool injects_nmi)
{
	struct vmx_vcpu *vmx = to_vmx(vcpu);
	u32 state = interruptibility(vcpu, injects_nmi);
	u64 pending = vmx->pending_dbg & ~PENDING_DBG_BS;

	/* a single-step trap waits for the end of the shadow, and only then */
	if (state & SHADOWS && vcpu->rflags & X86_EFLAGS_TF)
		pending |= PENDING_DBG_BS;
	if (!(state & SHADOWS))
		pending = 0;
	if (pending != vmx->pending_dbg) {
		vmx->pending_dbg = pending;
		vmcs_write(GUEST_PENDING_DBG_EXCEPTIONS, pending);
	}
	if (state != vmx->interruptibility) {
		vmx->interruptibility = state;
		vmcs_write(GUEST_INTERRUPTIBILITY_INFO, state);
	}
}

static void write_registers(struct vmm_vcpu *vcpu)
{
	struct vmx_vcpu *vmx = to_vmx(vcpu);

	WRITE_IF_CHANGED(vmx->rip, GUEST_RIP, vcpu->rip);
	WRITE_IF_CHANGED(vmx->rsp, GUEST_RSP, vcpu->gpr[VMM_RSP]);
	WRITE_IF_CHANGED(vmx->rflags, GUEST_RFLAGS, vcpu->rflags);
	WRITE_IF_CHANGED(vmx->dr7, GUEST_DR7, vcpu->dregs.dr7);
	WRITE_IF_CHANGED(vmx->tsc_offset, TSC_OFFSET, vmm_tsc_gap + vcpu->tsc_offset);
	if (native_read_cr2() != vcpu->cr2)
		native_write_cr2(vcpu->cr2);
	if (vcpu->dr_resident)
		set_debugreg(vcpu->dregs.dr6, 6);
	vmx->apic_page[APIC_PAGE_TPR] = vmm_lapic_tpr(vcpu);
}

/*
 * An exit after at most this long. A CPU that does as the manual says needs none;
 * an emulated one may enter a guest that has IF clear with the host's interrupts
 * masked, for as long as the guest leaves IF alone.
 */
#define MAX_TURN_MS	10

/* for the preemption timer, SDM 3C 26.5.1: until the guest's deadline */
static u32 timer_value(struct vmm_vcpu *vcpu)
{
	u64 ticks = (u64)tsc_khz * MAX_TURN_MS, deadline = vmm_lapic_deadline(vcpu), now;
	u64 unit = 1ULL << vmx_caps.timer_shift;

	if (deadline) {
		now = vmm_guest_tsc(vcpu);
		ticks = min(ticks, deadline > now ? deadline - now : 0);
	}
	return min_t(u64, (ticks + unit - 1) >> vmx_caps.timer_shift, U32_MAX);
}

static void before_entry(struct vmm_vcpu *vcpu)
{
	struct vmx_vcpu *vmx = to_vmx(vcpu);
	bool nmi = vcpu->ev.type == VMM_EVENT_NMI;
	u32 proc, proc2 = vmx_caps.proc2;

	/* breakpoints may be armed though the guest has not touched them here */
	if (vcpu->dregs.dr7 & DR_ENABLED_BITS && !vcpu->dr_resident)
		vmm_dregs_load(vcpu);
	proc2 |= vmx_apic_before_entry(vcpu);
	proc = deliver(vcpu);
	if (vcpu->apic.status & APIC_RVI_CLASS)
		proc |= vmx_apic_window(vcpu);
	if (vcpu->dr_resident)
		proc &= ~CPU_BASED_MOV_DR_EXITING;
	/* or RDTSCP and RDPID would tell the guest a number of the host's */
	if (!vcpu->has_rdtscp)
		proc2 &= ~SECONDARY_EXEC_ENABLE_RDTSCP;
	if (!vmx->vpid)
		proc2 &= ~SECONDARY_EXEC_ENABLE_VPID;
	if (!READ_ONCE(vcpu->vm->log_dirty))
		proc2 &= ~SECONDARY_EXEC_ENABLE_PML;
	WRITE_IF_CHANGED(vmx->tpr_threshold, TPR_THRESHOLD, tpr_threshold(vcpu));
	WRITE_IF_CHANGED(vmx->proc, CPU_BASED_VM_EXEC_CONTROL, proc);
	WRITE_IF_CHANGED(vmx->proc2, SECONDARY_VM_EXEC_CONTROL, proc2);
	if (vmx_caps.pin & PIN_BASED_VMX_PREEMPTION_TIMER)
		WRITE_IF_CHANGED(vmx->timer, VMX_PREEMPTION_TIMER_VALUE,
				 timer_value(vcpu));
	write_interruptibility(vcpu, nmi);
	write_registers(vcpu);
	if (vmx->flush)
		vmx_flush_now(vmx);
}

/* ---- exit ------------------------------------------------------------------- */

/*
 * An event whose delivery the exit cut short, SDM 3C 28.2.4. INT n, INT1, INT3
 * and INTO run again: RIP is still at them.
 */
static void event_decode(struct vmm_events *ev, u32 info, u32 error)
{
	switch (info & INTR_INFO_INTR_TYPE_MASK) {
	case INTR_TYPE_EXT_INTR:
		ev->type = VMM_EVENT_INTR;
		break;
	case INTR_TYPE_NMI_INTR:
		ev->type = VMM_EVENT_NMI;
		break;
	case INTR_TYPE_HARD_EXCEPTION:
		ev->type = VMM_EVENT_EXCEPTION;
		break;
	default:
		return;
	}
	ev->vector = info & INTR_INFO_VECTOR_MASK;
	ev->has_error = !!(info & INTR_INFO_DELIVER_CODE_MASK);
	ev->error = ev->has_error ? error : 0;
}

/*
 * IRET unblocks NMIs when it begins: if it faulted on the host's account, they are
 * to be blocked still when it runs again (SDM 3C 28.2.3, bit 12).
 */
static bool iret_cut_short(const struct vmx_vcpu *vmx, u32 vectoring)
{
	if (vectoring & INTR_INFO_VALID_MASK)
		return false;
	if (vmx->exit_reason == EXIT_REASON_EPT_VIOLATION ||
	    vmx->exit_reason == EXIT_REASON_PML_FULL)
		return vmcs_read(EXIT_QUALIFICATION) & INTR_INFO_UNBLOCK_NMI;
	if (vmx->exit_reason == EXIT_REASON_EXCEPTION_NMI) {
		u32 info = vmcs_read(VM_EXIT_INTR_INFO);

		return info & INTR_INFO_UNBLOCK_NMI &&
		       (info & INTR_INFO_VECTOR_MASK) != X86_TRAP_DF;
	}
	return false;
}

static void read_events(struct vmm_vcpu *vcpu)
{
	struct vmx_vcpu *vmx = to_vmx(vcpu);
	u32 vectoring = vmcs_read(IDT_VECTORING_INFO_FIELD);

	if (vectoring & INTR_INFO_VALID_MASK)
		vectoring = vmx_apic_vectoring(vcpu, vectoring);

	vmx->interruptibility = vmcs_read(GUEST_INTERRUPTIBILITY_INFO);
	vmx->mov_ss = vmx->interruptibility & GUEST_INTR_STATE_MOV_SS;
	vcpu->ev.shadow = !!(vmx->interruptibility & SHADOWS);
	if (vmx->dr7 & DR_ENABLED_BITS || vcpu->rflags & X86_EFLAGS_TF)
		vmx->pending_dbg = vmcs_read(GUEST_PENDING_DBG_EXCEPTIONS);
	vcpu->ev.nmi_blocked = !!(vmx->interruptibility & GUEST_INTR_STATE_NMI) ||
			       iret_cut_short(vmx, vectoring);
	if (vectoring & INTR_INFO_VALID_MASK)
		event_decode(&vcpu->ev, vectoring, vmcs_read(IDT_VECTORING_ERROR_CODE));
	if (vcpu->ev.type == VMM_EVENT_NMI)
		vcpu->ev.nmi_blocked = 1;
}

static void after_exit(struct vmm_vcpu *vcpu)
{
	struct vmx_vcpu *vmx = to_vmx(vcpu);
	u8 tpr;

	vmx->launched = true;
	vcpu->cr2 = native_read_cr2();
	vcpu->rip = vmx->rip = vmcs_read(GUEST_RIP);
	vcpu->gpr[VMM_RSP] = vmx->rsp = vmcs_read(GUEST_RSP);
	vcpu->rflags = vmx->rflags = vmcs_read(GUEST_RFLAGS);
	if (vcpu->dr_resident) {
		unsigned long dr6;

		get_debugreg(dr6, 6);
		vcpu->dregs.dr6 = dr6;
		vcpu->dregs.dr7 = vmx->dr7 = vmcs_read(GUEST_DR7);
	}
	tpr = READ_ONCE(vmx->apic_page[APIC_PAGE_TPR]);
	if (tpr != vmm_lapic_tpr(vcpu))
		vmm_lapic_set_tpr(vcpu, tpr);
	if (vcpu->apic.in_page)
		vmx_apic_after_exit(vcpu);
	read_events(vcpu);
	vmx_fact_of_exit(vcpu);
}

/* nothing ran; what was to be delivered is still to be */
static void refused(struct vmm_vcpu *vcpu, u8 event)
{
	to_vmx(vcpu)->exit_qualification = vmcs_read(EXIT_QUALIFICATION);
	vcpu->taken = false;
	vcpu->ev.type = event;
	/* the field keeps its valid bit when the entry fails early */
	vmcs_write(VM_ENTRY_INTR_INFO_FIELD, 0);
	if ((u16)to_vmx(vcpu)->exit_reason == EXIT_REASON_MCE_DURING_VMENTRY) {
		/* the host's own: nothing is wrong with the guest */
		asm volatile("int $0x12");
		vcpu->fact.kind = FACT_HOST;
		return;
	}
	vmx_fact_raw(vcpu, FACT_ENTRY_FAILED);
}

void vmx_vcpu_enter(struct vmm_vcpu *vcpu)
{
	struct vmx_vcpu *vmx = to_vmx(vcpu);
	u8 event = vcpu->ev.type;
	bool failed;

	before_entry(vcpu);
	failed = vmx_enter(vcpu->gpr, vmx->launched);
	vmx->exit_reason = failed ? EXIT_FAILED : vmcs_read(VM_EXIT_REASON);
	if (vmx->proc2 & SECONDARY_EXEC_ENABLE_PML)
		vmx_pml_drain(vcpu);
	if (vmx->exit_reason & EXIT_FAILED)
		refused(vcpu, event);
	else
		after_exit(vcpu);
}
