// SPDX-License-Identifier: GPL-2.0
/* kmod's exit.c: an exception that an event's delivery raised, SDM 3A 6.15 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

#define ERESTARTSYS	512

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wsign-compare"
#include "../../kmod/exit.c"
#pragma GCC diagnostic pop

/* ---- the rest of the module, played ---------------------------------------- */

const struct vmm_ops *vmm_ops;

void vmm_regs_get(struct vmm_vcpu *vcpu, struct vmm_regs *r)
{
	memcpy(r->gpr, vcpu->gpr, sizeof(r->gpr));
}

void vmm_sregs_get(struct vmm_vcpu *vcpu, struct vmm_sregs *s)
{
	s->cr2 = vcpu->cr2;
}

void vmm_events_get(struct vmm_vcpu *vcpu, struct vmm_events *e)
{
	*e = vcpu->ev;
}

/* not called: nothing here gets as far as an instruction or a page */
#define NOT_CALLED(type, name, ...)	\
	type name(__VA_ARGS__) { fail_msg(#name); return (type)-1; }
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-parameter"
NOT_CALLED(int, vmm_insn_len, struct vmm_vcpu *vcpu, enum vmm_fact_kind kind)
NOT_CALLED(int, vmm_insn_mov_cr4, struct vmm_vcpu *vcpu)
NOT_CALLED(int, vmm_cr4_write, struct vmm_vcpu *vcpu, u64 value)
NOT_CALLED(int, vmm_task_switch, struct vmm_vcpu *vcpu)
NOT_CALLED(int, vmm_hypercall, struct vmm_vcpu *vcpu)
NOT_CALLED(bool, vmm_pv_eoi_settle, struct vmm_vcpu *vcpu)
NOT_CALLED(int, vmm_insn_mov, struct vmm_vcpu *vcpu, struct vmm_insn_mov *m)
NOT_CALLED(int, vmm_msr_read, struct vmm_vcpu *vcpu, u32 index, u64 *value)
NOT_CALLED(int, vmm_msr_write, struct vmm_vcpu *vcpu, u32 index, u64 value, u8 *eoi)
NOT_CALLED(int, vmm_fpu_xcr0_check, u64 xcr0)
NOT_CALLED(bool, vmm_io_at, struct vmm_vm *vm, u64 gpa)
NOT_CALLED(bool, vmm_io_write, struct vmm_vcpu *vcpu, bool port, u64 addr, u32 size, u64 data)
NOT_CALLED(bool, vmm_irqfd_eoi, struct vmm_vm *vm, u8 vector)
NOT_CALLED(int, vmm_npt_fault, struct vmm_vcpu *vcpu, u64 gpa, u32 access)
NOT_CALLED(bool, vmm_npt_fault_now, struct vmm_vcpu *vcpu, u64 gpa, u32 access,
	   const struct vmm_mapping *map, unsigned long seq)
NOT_CALLED(bool, vmm_mem_find, struct vmm_vm *vm, u64 gpa, struct vmm_mapping *out)
NOT_CALLED(bool, vmm_lapic_in_page, struct vmm_vcpu *vcpu, u64 gpa)
NOT_CALLED(int, vmm_apic_access_fault, struct vmm_vcpu *vcpu)
NOT_CALLED(int, vmm_lapic_written, struct vmm_vcpu *vcpu, u32 offset, u8 *eoi)
NOT_CALLED(u32, vmm_lapic_mmio_read, struct vmm_vcpu *vcpu, u32 offset)
NOT_CALLED(int, vmm_lapic_mmio_write, struct vmm_vcpu *vcpu, u32 offset, u32 value,
	   u8 *eoi)
#pragma GCC diagnostic pop

void vmm_lapic_timer_fired(struct vmm_vcpu *vcpu)
{
	fail_msg("vmm_lapic_timer_fired of vCPU %u", vcpu->id);
}

void vmm_spin(struct vmm_vcpu *vcpu)
{
	fail_msg("vmm_spin of vCPU %u", vcpu->id);
}

void vmm_cpuid_exec(struct vmm_vcpu *vcpu)
{
	fail_msg("vmm_cpuid_exec of vCPU %u", vcpu->id);
}

/* ---- the tests -------------------------------------------------------------- */

static struct vmm_run run;

/* what is left after an exit with exception `second` cut `first`'s delivery short */
static struct vmm_vcpu after(u8 type, u8 first, u8 second, int wanted)
{
	struct vmm_vcpu v = {
		.run = &run,
		.ev = { .type = type, .vector = first, .nmi_blocked = type == VMM_EVENT_NMI },
		.fact = { .kind = FACT_EXCEPTION },
	};

	v.fact.exc.vector = second;
	v.fact.exc.has_error = second != X86_TRAP_DB;
	v.fact.exc.error = 0x18;
	run.reason = VMM_EXIT_NONE;
	assert_int_equal(vmm_exit(&v), wanted);
	return v;
}

static void pairs_of_exceptions(void **state)
{
	/* SDM 3A table 6-5, with #DF's row below */
	static const struct {
		u8 first, second, wanted;
	} row[] = {
		{ X86_TRAP_DB, X86_TRAP_AC, X86_TRAP_AC },
		{ X86_TRAP_DB, X86_TRAP_GP, X86_TRAP_GP },
		{ X86_TRAP_DB, X86_TRAP_PF, X86_TRAP_PF },
		{ X86_TRAP_DE, X86_TRAP_AC, X86_TRAP_AC },
		{ X86_TRAP_DE, X86_TRAP_NP, X86_TRAP_DF },
		{ X86_TRAP_TS, X86_TRAP_PF, X86_TRAP_PF },
		{ X86_TRAP_GP, X86_TRAP_DB, X86_TRAP_DB },
		{ X86_TRAP_GP, X86_TRAP_DE, X86_TRAP_DF },
		{ X86_TRAP_SS, X86_TRAP_GP, X86_TRAP_DF },
		{ X86_TRAP_PF, X86_TRAP_AC, X86_TRAP_AC },
		{ X86_TRAP_PF, X86_TRAP_GP, X86_TRAP_DF },
		{ X86_TRAP_PF, X86_TRAP_PF, X86_TRAP_DF },
		{ X86_TRAP_DF, X86_TRAP_DB, X86_TRAP_DB },
		{ X86_TRAP_GP, X86_TRAP_DF, X86_TRAP_DF },
	};
	unsigned int i;

	(void)state;
	for (i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
		struct vmm_vcpu v = after(VMM_EVENT_EXCEPTION, row[i].first,
					  row[i].second, 1);
		bool same = row[i].second == row[i].wanted;

		assert_int_equal(v.ev.type, VMM_EVENT_EXCEPTION);
		assert_int_equal(v.ev.vector, row[i].wanted);
		assert_int_equal(v.ev.has_error, row[i].wanted != X86_TRAP_DB);
		assert_int_equal(v.ev.error, same && v.ev.has_error ? 0x18 : 0);
		assert_int_equal(v.ev.run_state, VMM_RUNNING);
	}
}

static void triple_fault(void **state)
{
	static const u8 second[] = { X86_TRAP_DE, X86_TRAP_NP, X86_TRAP_GP, X86_TRAP_PF };
	unsigned int i;

	(void)state;
	for (i = 0; i < sizeof(second); i++) {
		struct vmm_vcpu v = after(VMM_EVENT_EXCEPTION, X86_TRAP_DF, second[i], -1);

		assert_int_equal(run.reason, VMM_EXIT_SHUTDOWN);
		assert_int_equal(v.ev.run_state, VMM_STOPPED);
		assert_int_equal(v.ev.type, VMM_EVENT_NONE);
	}
}

static void interrupt_waits(void **state)
{
	struct vmm_vcpu v = after(VMM_EVENT_INTR, 0x41, X86_TRAP_AC, 1);

	(void)state;
	assert_int_equal(v.ev.type, VMM_EVENT_EXCEPTION);
	assert_int_equal(v.ev.vector, X86_TRAP_AC);
	assert_true(v.ev.extint_pending);
	assert_int_equal(v.ev.extint_vector, 0x41);
}

static void nmi_waits(void **state)
{
	struct vmm_vcpu v = after(VMM_EVENT_NMI, X86_TRAP_NMI, X86_TRAP_GP, 1);

	(void)state;
	assert_int_equal(v.ev.type, VMM_EVENT_EXCEPTION);
	assert_int_equal(v.ev.vector, X86_TRAP_GP);
	assert_int_equal(v.ev.nmi_pending, 1);
	assert_false(v.ev.nmi_blocked);
	/* a CPU holds one in service and one behind it */
	v.ev = (struct vmm_events){ .type = VMM_EVENT_NMI, .vector = X86_TRAP_NMI,
				    .nmi_pending = 2, .nmi_blocked = 1 };
	vmm_queue_exception(&v, X86_TRAP_GP, true, 0);
	assert_int_equal(v.ev.nmi_pending, 2);
}

static u64 efer;

static u64 get_efer(struct vmm_vcpu *vcpu)
{
	(void)vcpu;
	return efer;
}

/* outside long mode RIP has 32 bits */
static void next_instruction(void **state)
{
	static const struct vmm_ops ops = { .get_efer = get_efer };
	static const struct {
		u64 efer, rip;
		u8 len;
		u64 wanted;
	} row[] = {
		{ 0, 0x1000, 2, 0x1002 },
		{ 0, 0xfffffffe, 1, 0xffffffff },
		{ 0, 0xfffffffe, 2, 0 },
		{ EFER_LMA, 0xfffffffe, 2, 0x100000000 },
		{ EFER_LMA, 0x7ffffffffffe, 3, 0x800000000001 },
		{ EFER_LMA, 0xffffffff80000000, 3, 0xffffffff80000003 },
	};
	struct vmm_vcpu v = { .run = &run };
	unsigned int i;

	(void)state;
	vmm_ops = &ops;
	for (i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
		efer = row[i].efer;
		v.rip = row[i].rip;
		assert_int_equal(vmm_next_rip(&v, row[i].len), row[i].wanted);
		vmm_skip(&v, row[i].len);
		assert_int_equal(v.rip, row[i].wanted);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(pairs_of_exceptions),
		cmocka_unit_test(triple_fault),
		cmocka_unit_test(interrupt_waits),
		cmocka_unit_test(nmi_waits),
		cmocka_unit_test(next_instruction),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
