// SPDX-License-Identifier: GPL-2.0
/* What an exit means: SDM 3C appendix C and 28.2. */
#include <linux/percpu.h>
#include <asm/apicdef.h>
#include <asm/debugreg.h>
#include <asm/processor-flags.h>

#include "vmx/vmx.h"

/* qualification of an I/O instruction, SDM 3C table 28-5 */
#define IO_SIZE_MASK	7
#define IO_IN		BIT(3)
#define IO_STRING	BIT(4)
#define IO_PORT_SHIFT	16

/* which the kernel's headers lack, or some of them */
#ifndef EXIT_REASON_GETSEC
#define EXIT_REASON_GETSEC	11
#endif
#ifndef EXIT_REASON_SEAMCALL
#define EXIT_REASON_SEAMCALL	76
#define EXIT_REASON_TDCALL	77
#endif
#ifndef EXIT_REASON_MSR_READ_IMM
#define EXIT_REASON_MSR_READ_IMM	84
#define EXIT_REASON_MSR_WRITE_IMM	85
#endif

void vmx_fact_raw(struct vmm_vcpu *vcpu, enum vmm_fact_kind kind)
{
	const struct vmx_vcpu *vmx = to_vmx(vcpu);

	vcpu->fact.kind = kind;
	vcpu->fact.insn_len = 0;
	vcpu->fact.raw.code = vmx->exit_reason;
	vcpu->fact.raw.info1 = vmcs_read(EXIT_QUALIFICATION);
	vcpu->fact.raw.info2 = vmcs_read(VM_INSTRUCTION_ERROR);
	vcpu->fact.raw.event = vmcs_read(IDT_VECTORING_INFO_FIELD);
}

static void fact_insn(struct vmm_vcpu *vcpu, enum vmm_fact_kind kind)
{
	vcpu->fact.kind = kind;
	vcpu->fact.insn_len = vmcs_read(VM_EXIT_INSTRUCTION_LEN);
}

static void fact_gp(struct vmm_vcpu *vcpu)
{
	vcpu->fact.kind = FACT_EXCEPTION;
	vcpu->fact.exc.vector = X86_TRAP_GP;
	vcpu->fact.exc.has_error = true;
	vcpu->fact.exc.error = 0;
}

/* The CPU leaves DR6 alone at this exit and says what it would have set. */
static void fact_debug(struct vmm_vcpu *vcpu)
{
	u64 *dr6 = &vcpu->dregs.dr6;

	/* the four breakpoints' bits are these now, the others add up */
	*dr6 &= ~(u64)DR_TRAP_BITS;
	*dr6 |= vmcs_read(EXIT_QUALIFICATION) & (DR_TRAP_BITS | DR_STEP | BIT(13));
	vcpu->fact.kind = FACT_EXCEPTION;
	vcpu->fact.exc.vector = X86_TRAP_DB;
	vcpu->fact.exc.has_error = false;
}

static void fact_exception(struct vmm_vcpu *vcpu)
{
	u32 info = vmcs_read(VM_EXIT_INTR_INFO);

	if ((info & INTR_INFO_INTR_TYPE_MASK) == INTR_TYPE_NMI_INTR) {
		/* the host's, which has it when VMX is off: blocked until then */
		to_vmx(vcpu)->nmi = true;
		vcpu->fact.kind = FACT_HOST;
		return;
	}
	switch (info & INTR_INFO_VECTOR_MASK) {
	case X86_TRAP_MC:
		/* the host's own: its handler runs as if nothing lay between */
		asm volatile("int $0x12");
		vcpu->fact.kind = FACT_HOST;
		return;
	case X86_TRAP_DB:
		fact_debug(vcpu);
		return;
	}
	vcpu->fact.kind = FACT_EXCEPTION;
	vcpu->fact.exc.vector = info & INTR_INFO_VECTOR_MASK;
	vcpu->fact.exc.has_error = info & INTR_INFO_DELIVER_CODE_MASK;
	vcpu->fact.exc.error = vcpu->fact.exc.has_error ?
			       vmcs_read(VM_EXIT_INTR_ERROR_CODE) : 0;
}

static void fact_io(struct vmm_vcpu *vcpu)
{
	u64 q = vmcs_read(EXIT_QUALIFICATION);
	struct vmm_fact *f = &vcpu->fact;

	fact_insn(vcpu, FACT_IO);
	f->io.port = q >> IO_PORT_SHIFT;
	f->io.size = (q & IO_SIZE_MASK) + 1;
	f->io.in = q & IO_IN;
	f->io.string = q & IO_STRING;
}

static void fact_ept(struct vmm_vcpu *vcpu)
{
	u64 q = vmcs_read(EXIT_QUALIFICATION);

	vcpu->fact.kind = FACT_NPF;
	vcpu->fact.insn_len = 0;
	vcpu->fact.npf.gpa = vmcs_read(GUEST_PHYSICAL_ADDRESS);
	vcpu->fact.npf.access = (q & EPT_VIOLATION_ACC_WRITE ? VMM_ACCESS_WRITE : 0) |
				(q & EPT_VIOLATION_ACC_INSTR ? VMM_ACCESS_FETCH : 0);
}

/* SDM 3C table 28-6: by an instruction, in event delivery, or by physical address */
static void fact_apic_access(struct vmm_vcpu *vcpu)
{
	u64 q = vmcs_read(EXIT_QUALIFICATION);

	vcpu->fact.kind = FACT_APIC_ACCESS;
	vcpu->fact.npf.gpa = APIC_DEFAULT_PHYS_BASE | (q & APIC_ACCESS_OFFSET);
	switch (q & APIC_ACCESS_TYPE) {
	case TYPE_LINEAR_APIC_INST_WRITE:
		vcpu->fact.npf.access = VMM_ACCESS_WRITE;
		break;
	case TYPE_LINEAR_APIC_INST_FETCH:
		vcpu->fact.npf.access = VMM_ACCESS_FETCH;
		break;
	default:
		vcpu->fact.npf.access = 0;
	}
}

/* what MOV to CR0 refuses of the bits that we hold back (SDM 2B, MOV CR) */
static bool cr0_bad(u64 cr0)
{
	return cr0 >> 32 || (cr0 & X86_CR0_PG && !(cr0 & X86_CR0_PE)) ||
	       (cr0 & X86_CR0_NW && !(cr0 & X86_CR0_CD));
}

/*
 * MOV to CR0 or CR4 exits only when a bit that is not the guest's to change
 * would change. It gets its way in the shadow and the instruction runs again: now
 * nothing is held back, and the CPU does all the rest of it, faults and page
 * directory pointers included.
 */
static void fact_cr(struct vmm_vcpu *vcpu)
{
	u64 q = vmcs_read(EXIT_QUALIFICATION);
	u64 value = vcpu->gpr[(q & CONTROL_REG_ACCESS_REG) >> 8];

	vcpu->fact.kind = FACT_NONE;
	if (q & CONTROL_REG_ACCESS_TYPE) {
		vmx_fact_raw(vcpu, FACT_UNKNOWN);
		return;
	}
	/* outside long mode the register's upper half does not count */
	if (!(vmcs_read(GUEST_IA32_EFER) & EFER_LMA))
		value = (u32)value;
	switch (q & CONTROL_REG_ACCESS_NUM) {
	case 0:
		if (cr0_bad(value))
			fact_gp(vcpu);
		else
			vmcs_write(CR0_READ_SHADOW, value);
		return;
	case 4:
		if (value & ~vcpu->cr4_may)
			fact_gp(vcpu);
		else
			vmcs_write(CR4_READ_SHADOW, value);
		return;
	}
	vmx_fact_raw(vcpu, FACT_UNKNOWN);
}

/*
 * SDM 3C 26.4.2 and table 28-2. An event that goes through a task gate is in the
 * IDT-vectoring information, from where it must not be delivered again.
 */
static void fact_task_switch(struct vmm_vcpu *vcpu)
{
	static const u8 by[] = { TASK_BY_CALL, TASK_BY_IRET, TASK_BY_JMP, TASK_BY_GATE };
	u64 q = vmcs_read(EXIT_QUALIFICATION);
	u32 vectoring = vmcs_read(IDT_VECTORING_INFO_FIELD);
	struct vmm_fact *f = &vcpu->fact;

	f->kind = FACT_TASK_SWITCH;
	f->task.selector = q;
	f->task.by = by[q >> 30 & 3];
	f->task.event = VMM_EVENT_NONE;
	f->task.has_error = false;
	f->task.error = 0;
	if (f->task.by == TASK_BY_GATE && vcpu->ev.type) {
		f->task.event = vcpu->ev.type;
		f->task.vector = vcpu->ev.vector;
		f->task.has_error = vcpu->ev.has_error;
		f->task.error = vcpu->ev.error;
		vcpu->ev.type = VMM_EVENT_NONE;
		return;
	}
	/* an instruction: also INT n, INT3, INTO, INT1, of which no event is left */
	f->insn_len = vmcs_read(VM_EXIT_INSTRUCTION_LEN);
	if (f->task.by == TASK_BY_GATE)
		f->task.vector = vectoring & INTR_INFO_VECTOR_MASK;
}

/*
 * Appendix C but for what no guest can cause: exits of SMM, of controls that are off
 * (among them those of RDTSC, RDRAND, INVLPG, descriptor tables, UMWAIT, ENQCMD, bus
 * locks), of XSAVES, whose bitmap is empty, and of EPT entries as we never write them.
 */
void vmx_fact_of_exit(struct vmm_vcpu *vcpu)
{
	struct vmx_vcpu *vmx = to_vmx(vcpu);
	struct vmm_fact *f = &vcpu->fact;

	f->insn_len = 0;
	switch (vmx->exit_reason) {
	case EXIT_REASON_EXCEPTION_NMI:
		fact_exception(vcpu);
		return;
	case EXIT_REASON_EXTERNAL_INTERRUPT:
	case EXIT_REASON_INIT_SIGNAL:
	case EXIT_REASON_SIPI_SIGNAL:
		f->kind = FACT_HOST;
		return;
	case EXIT_REASON_PREEMPTION_TIMER:
		f->kind = FACT_TIMER;
		return;
	case EXIT_REASON_INTERRUPT_WINDOW:
	case EXIT_REASON_NMI_WINDOW:
	case EXIT_REASON_TPR_BELOW_THRESHOLD:
	case EXIT_REASON_PML_FULL:
		f->kind = FACT_NONE;
		return;
	case EXIT_REASON_TRIPLE_FAULT:
		f->kind = FACT_SHUTDOWN;
		return;
	case EXIT_REASON_CPUID:
		fact_insn(vcpu, FACT_CPUID);
		return;
	case EXIT_REASON_HLT:
		fact_insn(vcpu, FACT_HLT);
		return;
	case EXIT_REASON_INVD:
	case EXIT_REASON_WBINVD:
		fact_insn(vcpu, FACT_NOP);
		return;
	case EXIT_REASON_RDPMC:
		f->kind = FACT_RDPMC;
		return;
	case EXIT_REASON_VMCALL:
		fact_insn(vcpu, FACT_HYPERCALL);
		return;
	case EXIT_REASON_XSETBV:
		fact_insn(vcpu, FACT_XSETBV);
		return;
	case EXIT_REASON_MSR_READ:
	case EXIT_REASON_MSR_WRITE:
		fact_insn(vcpu, FACT_MSR);
		f->msr.write = vmx->exit_reason == EXIT_REASON_MSR_WRITE;
		return;
	case EXIT_REASON_IO_INSTRUCTION:
		fact_io(vcpu);
		return;
	case EXIT_REASON_EPT_VIOLATION:
		fact_ept(vcpu);
		return;
	case EXIT_REASON_APIC_ACCESS:
		fact_apic_access(vcpu);
		return;
	case EXIT_REASON_EOI_INDUCED:
		f->eoi.vector = vmcs_read(EXIT_QUALIFICATION);
		/* others exit for apic.c only */
		f->kind = vmx_apic_level(vmx, f->eoi.vector) ? FACT_EOI : FACT_NONE;
		return;
	case EXIT_REASON_APIC_WRITE:
		f->kind = FACT_APIC_WRITE;
		f->apic.offset = vmcs_read(EXIT_QUALIFICATION) & 0xfff;
		return;
	case EXIT_REASON_CR_ACCESS:
		fact_cr(vcpu);
		return;
	case EXIT_REASON_TASK_SWITCH:
		fact_task_switch(vcpu);
		return;
	case EXIT_REASON_DR_ACCESS:
		vmm_dregs_load(vcpu);
		f->kind = FACT_NONE;
		return;
	case EXIT_REASON_PAUSE_INSTRUCTION:
		f->kind = FACT_PAUSE;
		return;
	case EXIT_REASON_VMCLEAR ... EXIT_REASON_VMON:
	case EXIT_REASON_MWAIT_INSTRUCTION:
	case EXIT_REASON_MONITOR_INSTRUCTION:
	case EXIT_REASON_INVEPT:
	case EXIT_REASON_INVVPID:
	case EXIT_REASON_VMFUNC:
	case EXIT_REASON_ENCLS:
	case EXIT_REASON_GETSEC:
	/* these exit on every CPU that has them, whatever CPUID tells the guest */
	case EXIT_REASON_SEAMCALL:
	case EXIT_REASON_TDCALL:
	case EXIT_REASON_MSR_READ_IMM:
	case EXIT_REASON_MSR_WRITE_IMM:
		f->kind = FACT_UNDEFINED;
		return;
	}
	vmx_fact_raw(vcpu, FACT_UNKNOWN);
}
