// SPDX-License-Identifier: GPL-2.0
/*
 * What an exit does, the same on both vendors. Called in the fast gear first;
 * what needs to sleep or to fault answers 0 and is called again in the slow one.
 */
#include <linux/sched/signal.h>
#include <linux/mm.h>
#include <asm/debugreg.h>
#include <asm/fpu/xcr.h>
#include <asm/processor-flags.h>
#include <asm/trapnr.h>

#include "trace.h"
#include "vmm.h"

static bool contributory(u8 vector)
{
	return vector == X86_TRAP_DE ||
	       (vector >= X86_TRAP_TS && vector <= X86_TRAP_GP);
}

/* SDM 3A table 6-5, APM 2 8.2.9: do the two make a third, worse one */
static bool worsens(u8 first, u8 second)
{
	if (first == X86_TRAP_PF || first == X86_TRAP_DF)
		return contributory(second) || second == X86_TRAP_PF;
	return contributory(first) && contributory(second);
}

/*
 * If the exit cut the delivery of another event short, this one came of that.
 * An interrupt or NMI waits then, and a benign exception comes again when its
 * instruction does.
 */
void vmm_queue_exception(struct vmm_vcpu *vcpu, u8 vector, bool has_error, u32 error)
{
	struct vmm_events *ev = &vcpu->ev;

	if (ev->type == VMM_EVENT_INTR) {
		/* acknowledged already, where it came from */
		ev->extint_pending = 1;
		ev->extint_vector = ev->vector;
	} else if (ev->type == VMM_EVENT_NMI) {
		ev->nmi_pending = min(ev->nmi_pending + 1, 2);
		ev->nmi_blocked = 0;
	} else if (ev->type == VMM_EVENT_EXCEPTION && worsens(ev->vector, vector)) {
		if (ev->vector == X86_TRAP_DF) {
			ev->type = VMM_EVENT_NONE;
			ev->run_state = VMM_STOPPED;
			return;
		}
		vector = X86_TRAP_DF;
		has_error = true;
		error = 0;
	}
	ev->type = VMM_EVENT_EXCEPTION;
	ev->vector = vector;
	ev->has_error = has_error;
	ev->error = has_error ? error : 0;
	ev->shadow = 0;
}

static int general_protection(struct vmm_vcpu *vcpu)
{
	vmm_queue_exception(vcpu, X86_TRAP_GP, true, 0);
	return 1;
}

u64 vmm_next_rip(struct vmm_vcpu *vcpu, u8 len)
{
	u64 next = vcpu->rip + len;

	/* what crosses 4 GiB asks; what is beyond them is in long mode */
	if (next >> 32 && !(vcpu->rip >> 32) && !(vmm_op(get_efer)(vcpu) & EFER_LMA))
		next = (u32)next;
	return next;
}

void vmm_skip(struct vmm_vcpu *vcpu, u8 len)
{
	vcpu->rip = vmm_next_rip(vcpu, len);
	vcpu->ev.shadow = 0;
	vcpu->rflags &= ~(u64)X86_EFLAGS_RF;
	if (vcpu->rflags & X86_EFLAGS_TF && !vcpu->ev.type) {
		vcpu->dregs.dr6 |= DR_STEP;
		vmm_queue_exception(vcpu, X86_TRAP_DB, false, 0);
	}
}

/* only the head of the run page: the groups are copied where they are needed */
void vmm_exit_to_user(struct vmm_vcpu *vcpu, u32 reason)
{
	WRITE_ONCE(vcpu->run->reason, reason);
	vmm_count(vcpu, STAT_USER_EXITS);
	if (reason == VMM_EXIT_IO || reason == VMM_EXIT_MMIO)
		vcpu->pending.reason = reason;
}

/* the monitor decodes the instruction: it needs to see the registers */
static void show_registers(struct vmm_vcpu *vcpu)
{
	vmm_regs_get(vcpu, &vcpu->run->regs);
	vmm_sregs_get(vcpu, &vcpu->run->sregs);
	vmm_events_get(vcpu, &vcpu->run->events);
	WRITE_ONCE(vcpu->run->valid,
		   VMM_STATE_REGS | VMM_STATE_SREGS | VMM_STATE_EVENTS);
}

/* 1: *len is the instruction's; 0: slow gear; -1: to the monitor; 2: run again */
static int instruction_length(struct vmm_vcpu *vcpu, u8 *len)
{
	int r;

	*len = vcpu->fact.insn_len;
	if (*len)
		return 1;
	if (vcpu->fact.kind == FACT_CR4)
		r = vmm_insn_mov_cr4(vcpu);
	else
		r = vmm_insn_len(vcpu, vcpu->fact.kind);
	if (r > 0) {
		*len = r;
		return 1;
	}
	if (r == -EFAULT && vcpu->loaded)
		return 0;
	if (r == -EFAULT) {
		vcpu->run->exit.fault = (struct vmm_exit_fault){
			.gpa = ~0ULL, .access = VMM_ACCESS_FETCH, .error = r,
		};
		vmm_exit_to_user(vcpu, VMM_EXIT_FAULT);
		return -1;
	}
	/* other bytes than those that exited: another vCPU wrote there */
	return 2;
}

static int exit_io(struct vmm_vcpu *vcpu)
{
	const struct vmm_fact *f = &vcpu->fact;
	u32 data = vcpu->gpr[VMM_RAX] & (u32)GENMASK_ULL(f->io.size * 8 - 1, 0);

	if (!f->io.in && !f->io.string &&
	    vmm_io_write(vcpu, true, f->io.port, f->io.size, data)) {
		vmm_skip(vcpu, f->insn_len);
		return 1;
	}
	vcpu->run->exit.io = (struct vmm_exit_io){
		.port = f->io.port,
		.size = f->io.size,
		.in = f->io.in,
		.string = f->io.string,
		.data = f->io.in ? 0 : data,
	};
	if (f->io.string)
		show_registers(vcpu);
	vcpu->pending.next_rip = vmm_next_rip(vcpu, f->insn_len);
	vcpu->pending.size = f->io.string ? 0 : f->io.size;
	vcpu->pending.in = f->io.in;
	vcpu->pending.reg = VMM_RAX;
	vmm_exit_to_user(vcpu, VMM_EXIT_IO);
	return -1;
}

static int exit_eoi(struct vmm_vcpu *vcpu, u8 vector)
{
	if (vmm_irqfd_eoi(vcpu->vm, vector))
		return 1;
	vcpu->run->exit.eoi = (struct vmm_exit_eoi){ .vector = vector };
	vmm_exit_to_user(vcpu, VMM_EXIT_EOI);
	return -1;
}

/* done by the CPU, but for what the register does */
static noinline int exit_apic_write(struct vmm_vcpu *vcpu)
{
	u8 eoi = 0;
	int r = vmm_lapic_written(vcpu, vcpu->fact.apic.offset, &eoi);

	vmm_skip(vcpu, 0);
	return r ? exit_eoi(vcpu, eoi) : 1;
}

static noinline int exit_msr(struct vmm_vcpu *vcpu, u8 len)
{
	u32 index = vcpu->gpr[VMM_RCX];
	u64 value;
	u8 eoi = 0;
	int r;

	if (vcpu->fact.msr.write) {
		value = (u32)vcpu->gpr[VMM_RAX] | vcpu->gpr[VMM_RDX] << 32;
		r = vmm_msr_write(vcpu, index, value, &eoi);
	} else {
		r = vmm_msr_read(vcpu, index, &value);
		if (!r) {
			vcpu->gpr[VMM_RAX] = (u32)value;
			vcpu->gpr[VMM_RDX] = value >> 32;
		}
	}
	if (r < 0)
		return r == -EAGAIN ? 0 : general_protection(vcpu);
	vmm_skip(vcpu, len);
	return r ? exit_eoi(vcpu, eoi) : 1;
}

static int exit_cr4(struct vmm_vcpu *vcpu, u8 len)
{
	const struct vmm_fact *f = &vcpu->fact;
	u64 *reg = &vcpu->gpr[f->cr4.reg];

	if (!f->cr4.write)
		*reg = vmm_op(get_cr)(vcpu, 4);
	else if (vmm_cr4_write(vcpu, f->cr4.wide ? *reg : (u32)*reg))
		return general_protection(vcpu);
	vmm_skip(vcpu, len);
	return 1;
}

/* XSETBV, SDM 2C: what it checks; the privilege the CPU checked */
static int exit_xsetbv(struct vmm_vcpu *vcpu, u8 len)
{
	u64 value = (u32)vcpu->gpr[VMM_RAX] | vcpu->gpr[VMM_RDX] << 32;

	if ((u32)vcpu->gpr[VMM_RCX] || value & ~vcpu->xcr0_may || vmm_fpu_xcr0_check(value))
		return general_protection(vcpu);
	vcpu->xcr0 = value;
	if (vcpu->loaded)
		xsetbv(XCR_XFEATURE_ENABLED_MASK, value);
	vmm_skip(vcpu, len);
	return 1;
}

static int apic_page(struct vmm_vcpu *vcpu)
{
	u32 offset = vcpu->fact.npf.gpa & 0xfff;
	struct vmm_insn_mov m;
	u8 eoi = 0;
	int r;

	if (vcpu->fact.kind == FACT_NPF) {
		r = vmm_apic_access_fault(vcpu);
		if (r >= 0)
			return r;
	}
	if (vmm_insn_mov(vcpu, &m) || m.size != 4)
		return 0;	/* another form: the monitor will say which */
	if (m.write) {
		u32 value = m.has_imm ? m.imm : vcpu->gpr[m.reg];

		r = vmm_lapic_mmio_write(vcpu, offset, value, &eoi);
	} else {
		vcpu->gpr[m.reg] = vmm_lapic_mmio_read(vcpu, offset);
		r = 0;
	}
	vmm_skip(vcpu, m.len);
	return r ? exit_eoi(vcpu, eoi) : 1;
}

/* is it a write that doorbells or coalescing may answer; read-only pages are not */
static bool may_be_answered(struct vmm_vcpu *vcpu, bool memory)
{
	return vcpu->fact.npf.access & VMM_ACCESS_WRITE && !memory &&
	       vmm_io_at(vcpu->vm, vcpu->fact.npf.gpa);
}

/* 0: *m is the MOV that exited; -EFAULT: it cannot be read here; -EINVAL: another */
static int device_mov(struct vmm_vcpu *vcpu, struct vmm_insn_mov *m)
{
	const struct vmm_fact *f = &vcpu->fact;
	bool write = f->npf.access & VMM_ACCESS_WRITE;
	int r;

	/* an event whose frame goes there is nothing of the instruction's */
	if (vcpu->ev.type || f->npf.access & VMM_ACCESS_FETCH)
		return -EINVAL;
	r = vmm_insn_mov(vcpu, m);
	if (r)
		return r;
	/* one that began in the page before, or other bytes than those that exited */
	return m->write == write && m->offset == (f->npf.gpa & ~PAGE_MASK) ? 0 : -EINVAL;
}

static u64 mov_value(const struct vmm_vcpu *vcpu, const struct vmm_insn_mov *m)
{
	u64 value = m->has_imm ? m->imm : vcpu->gpr[m->reg];

	return value & GENMASK_ULL(m->size * 8 - 1, 0);
}

/* 1: done; 0: an instruction that cannot be read here; -1: the monitor's */
static int answer_write(struct vmm_vcpu *vcpu)
{
	struct vmm_insn_mov m;
	int r = device_mov(vcpu, &m);

	if (r)
		return r == -EFAULT ? 0 : -1;
	if (!vmm_io_write(vcpu, false, vcpu->fact.npf.gpa, m.size, mov_value(vcpu, &m)))
		return -1;
	vmm_skip(vcpu, m.len);
	return 1;
}

/* the monitor need not decode it; one that a device may see in pieces is for it */
static bool show_mov(struct vmm_vcpu *vcpu)
{
	struct vmm_exit_mmio *mmio = &vcpu->run->exit.mmio;
	u64 gpa = vcpu->fact.npf.gpa;
	struct vmm_insn_mov m;

	if (!vcpu->mov_wanted || device_mov(vcpu, &m) || gpa & (m.size - 1))
		return false;
	*mmio = (struct vmm_exit_mmio){
		.gpa = gpa,
		.access = vcpu->fact.npf.access,
		.size = m.size,
		.data = m.write ? mov_value(vcpu, &m) : 0,
	};
	vcpu->pending.next_rip = vmm_next_rip(vcpu, m.len);
	vcpu->pending.size = m.size;
	vcpu->pending.in = !m.write;
	vcpu->pending.reg = m.reg;
	return true;
}

/*
 * No memory is there, or (`memory`) none that may be written: a device of the
 * monitor's.
 */
static int device_access(struct vmm_vcpu *vcpu, bool memory)
{
	u64 gpa = vcpu->fact.npf.gpa;
	int r;

	/* what cannot be read here, the slow gear may read */
	if (vmm_lapic_in_page(vcpu, gpa)) {
		r = apic_page(vcpu);
		if (r || vcpu->loaded)
			return r;
	} else if (may_be_answered(vcpu, memory)) {
		r = answer_write(vcpu);
		if (r > 0 || (!r && vcpu->loaded))
			return r;
	}
	if (memory || !show_mov(vcpu)) {
		vcpu->run->exit.mmio = (struct vmm_exit_mmio){
			.gpa = gpa, .access = vcpu->fact.npf.access,
		};
		vcpu->pending.size = 0;
		show_registers(vcpu);
	}
	vmm_exit_to_user(vcpu, VMM_EXIT_MMIO);
	return -1;
}

static noinline int page_fault(struct vmm_vcpu *vcpu)
{
	u64 gpa = vcpu->fact.npf.gpa;
	u32 access = vcpu->fact.npf.access;
	struct vmm_vm *vm = vcpu->vm;
	unsigned long seq = READ_ONCE(vm->mmu_seq);
	struct vmm_mapping map;
	bool memory;
	int r;

	/* seq before the table, see vmm_npt_fault_now */
	smp_rmb();
	memory = vmm_mem_find(vm, gpa, &map);
	if (!memory || (access & VMM_ACCESS_WRITE && map.flags & VMM_MAP_READONLY))
		return device_access(vcpu, memory);
	if (!vcpu->loaded)
		r = vmm_npt_fault(vcpu, gpa, access);
	else if (vmm_npt_fault_now(vcpu, gpa, access, &map, seq))
		r = 0;
	else
		return 0;
	trace_vmm_fault(vcpu, gpa, access, r);
	if (!r) {
		vmm_count(vcpu, STAT_FAULTS);
		return 1;
	}
	if (r == -EINTR || r == -ERESTARTSYS)
		return 1;	/* the loop sees the signal */
	if (r > 0)	/* it was unmapped meanwhile */
		return device_access(vcpu, vmm_mem_find(vm, gpa, &map));
	vcpu->run->exit.fault = (struct vmm_exit_fault){
		.gpa = gpa, .access = access, .error = r,
	};
	vmm_exit_to_user(vcpu, VMM_EXIT_FAULT);
	return -1;
}

static int exit_raw(struct vmm_vcpu *vcpu, u32 reason)
{
	vcpu->run->exit.raw = vcpu->fact.raw;
	show_registers(vcpu);
	vmm_exit_to_user(vcpu, reason);
	return -1;
}

static noinline int exit_failed(struct vmm_vcpu *vcpu)
{
	char why[sizeof(vcpu->run->exit.failed.why)] = {};
	int r = exit_raw(vcpu, VMM_EXIT_ENTRY_FAILED);

	vmm_ops->why(vcpu, why, sizeof(why));
	memcpy(vcpu->run->exit.failed.why, why, sizeof(why));
	return r;
}

int vmm_exit_shutdown(struct vmm_vcpu *vcpu)
{
	vcpu->ev.run_state = VMM_STOPPED;
	show_registers(vcpu);
	vmm_exit_to_user(vcpu, VMM_EXIT_SHUTDOWN);
	return -1;
}

/* the exits that end with the instruction done */
static int instruction(struct vmm_vcpu *vcpu)
{
	u8 len;
	int r = instruction_length(vcpu, &len);

	if (r == 2)
		return 1;
	if (r <= 0)
		return r;
	switch (vcpu->fact.kind) {
	case FACT_CPUID:
		vmm_cpuid_exec(vcpu);
		break;
	case FACT_HLT:
		if (!vcpu->ev.unhalted)
			vcpu->ev.run_state = VMM_HALTED;
		vcpu->ev.unhalted = 0;
		break;
	case FACT_MSR:
		return exit_msr(vcpu, len);
	case FACT_CR4:
		return exit_cr4(vcpu, len);
	case FACT_XSETBV:
		return exit_xsetbv(vcpu, len);
	case FACT_HYPERCALL:
		if (!vmm_hypercall(vcpu))
			return 0;
		break;
	default:	/* FACT_NOP */
		break;
	}
	vmm_skip(vcpu, len);
	return 1;
}

int vmm_exit(struct vmm_vcpu *vcpu)
{
	const struct vmm_fact *f = &vcpu->fact;

	if (vcpu->pv.eoi_vector && !vmm_pv_eoi_settle(vcpu))
		return 0;
	switch (f->kind) {
	case FACT_NONE:
	case FACT_HOST:
	case FACT_TPR_WRITE:	/* choose_event sees to it */
		return 1;
	case FACT_STEP:
		vcpu->ev.shadow = 0;
		return 1;
	case FACT_CPUID:
	case FACT_HLT:
	case FACT_MSR:
	case FACT_CR4:
	case FACT_NOP:
	case FACT_XSETBV:
	case FACT_HYPERCALL:
		return instruction(vcpu);
	case FACT_IO:
		return exit_io(vcpu);
	case FACT_NPF:
	case FACT_APIC_ACCESS:
		return page_fault(vcpu);
	case FACT_EXCEPTION:
		vmm_queue_exception(vcpu, f->exc.vector, f->exc.has_error, f->exc.error);
		return vcpu->ev.run_state == VMM_STOPPED ? vmm_exit_shutdown(vcpu) : 1;
	case FACT_EOI:
		vmm_skip(vcpu, 0);
		return exit_eoi(vcpu, f->eoi.vector);
	case FACT_APIC_WRITE:
		return exit_apic_write(vcpu);
	case FACT_UNDEFINED:
		vmm_queue_exception(vcpu, X86_TRAP_UD, false, 0);
		return 1;
	case FACT_RDPMC:
		return general_protection(vcpu);
	case FACT_TIMER:
		vmm_lapic_timer_fired(vcpu);
		return 1;
	case FACT_PAUSE:
		if (vcpu->loaded)
			return 0;
		vmm_spin(vcpu);
		return 1;
	case FACT_TASK_SWITCH:
		return vmm_task_switch(vcpu);
	case FACT_SHUTDOWN:
		return vmm_exit_shutdown(vcpu);
	case FACT_ENTRY_FAILED:
		return exit_failed(vcpu);
	case FACT_UNKNOWN:
		break;
	}
	return exit_raw(vcpu, VMM_EXIT_UNKNOWN);
}
