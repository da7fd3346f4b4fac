// SPDX-License-Identifier: GPL-2.0
/*
 * kmod's meaning of VT-x's exits: every number of SDM 3C appendix C that a guest can
 * cause has one, all others end the VM with their number.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wsign-compare"
/* the VMCS is an array: the header's instructions are not for here */
#define vmcs_read vmread
#define vmcs_write vmwrite
#include "../../kmod/vmx/vmx.h"
#undef vmcs_read
#undef vmcs_write
static u64 vmcs[VMCS_FIELDS];

static u64 vmcs_read(unsigned long field)
{
	assert_in_range(field, 0, VMCS_FIELDS - 1);
	return vmcs[field];
}

static void vmcs_write(unsigned long field, u64 value)
{
	assert_in_range(field, 0, VMCS_FIELDS - 1);
	vmcs[field] = value;
}

#include "../../kmod/vmx/exit.c"
#pragma GCC diagnostic pop

#define LENGTH	3

static bool dregs_loaded;

void vmm_dregs_load(struct vmm_vcpu *vcpu)
{
	dregs_loaded = true;
}

static unsigned int level = 0xe1;

bool vmx_apic_level(const struct vmx_vcpu *v, u8 vector)
{
	return vector == level;
}

static struct vmx_vcpu vmx;
static struct vmm_vcpu vcpu = { .arch = &vmx, .cr4_may = 0x3707ff };

static const struct vmm_fact *fact(u32 reason, u64 qualification)
{
	vmx = (struct vmx_vcpu){ .exit_reason = reason, .exit_qualification = qualification };
	memset(&vcpu.fact, 0xff, sizeof(vcpu.fact));
	vmcs[VM_EXIT_INSTRUCTION_LEN] = LENGTH;
	vmcs[EXIT_QUALIFICATION] = qualification;
	dregs_loaded = false;
	vmx_fact_of_exit(&vcpu);
	return &vcpu.fact;
}

static void setup(void)
{
	memset(vmcs, 0, sizeof(vmcs));
	vcpu = (struct vmm_vcpu){ .arch = &vmx, .cr4_may = 0x3707ff };
}

/* appendix C, with what a guest does for it */
static const struct {
	u16 reason;
	u8 kind;
	u8 insn_len;
} meaning[] = {
	{ 0, FACT_EXCEPTION, 0 },	/* exception or NMI: see below */
	{ 1, FACT_HOST, 0 },		/* external interrupt */
	{ 2, FACT_SHUTDOWN, 0 },	/* triple fault */
	{ 3, FACT_HOST, 0 },		/* INIT */
	{ 4, FACT_HOST, 0 },		/* SIPI */
	{ 7, FACT_NONE, 0 },		/* interrupt window */
	{ 8, FACT_NONE, 0 },		/* NMI window */
	{ 9, FACT_TASK_SWITCH, LENGTH },
	{ 10, FACT_CPUID, LENGTH },
	{ 11, FACT_UNDEFINED, 0 },	/* GETSEC */
	{ 12, FACT_HLT, LENGTH },
	{ 13, FACT_NOP, LENGTH },	/* INVD */
	{ 15, FACT_RDPMC, 0 },
	{ 18, FACT_HYPERCALL, LENGTH },
	{ 19, FACT_UNDEFINED, 0 },	/* VMCLEAR */
	{ 20, FACT_UNDEFINED, 0 },	/* VMLAUNCH */
	{ 21, FACT_UNDEFINED, 0 },	/* VMPTRLD */
	{ 22, FACT_UNDEFINED, 0 },	/* VMPTRST */
	{ 23, FACT_UNDEFINED, 0 },	/* VMREAD */
	{ 24, FACT_UNDEFINED, 0 },	/* VMRESUME */
	{ 25, FACT_UNDEFINED, 0 },	/* VMWRITE */
	{ 26, FACT_UNDEFINED, 0 },	/* VMXOFF */
	{ 27, FACT_UNDEFINED, 0 },	/* VMXON */
	{ 28, FACT_NONE, 0 },		/* MOV to CR0, see below */
	{ 29, FACT_NONE, 0 },		/* MOV DR */
	{ 30, FACT_IO, LENGTH },
	{ 31, FACT_MSR, LENGTH },	/* RDMSR */
	{ 32, FACT_MSR, LENGTH },	/* WRMSR */
	{ 36, FACT_UNDEFINED, 0 },	/* MWAIT */
	{ 39, FACT_UNDEFINED, 0 },	/* MONITOR */
	{ 40, FACT_PAUSE, 0 },
	{ 43, FACT_NONE, 0 },		/* TPR below threshold */
	{ 44, FACT_APIC_ACCESS, 0 },
	{ 45, FACT_NONE, 0 },		/* EOI: see below */
	{ 48, FACT_NPF, 0 },		/* EPT violation */
	{ 50, FACT_UNDEFINED, 0 },	/* INVEPT */
	{ 52, FACT_TIMER, 0 },		/* preemption timer */
	{ 53, FACT_UNDEFINED, 0 },	/* INVVPID */
	{ 54, FACT_NOP, LENGTH },	/* WBINVD, WBNOINVD */
	{ 55, FACT_XSETBV, LENGTH },
	{ 56, FACT_APIC_WRITE, 0 },
	{ 59, FACT_UNDEFINED, 0 },	/* VMFUNC */
	{ 60, FACT_UNDEFINED, 0 },	/* ENCLS */
	{ 62, FACT_NONE, 0 },		/* PML full */
	{ 76, FACT_UNDEFINED, 0 },	/* SEAMCALL */
	{ 77, FACT_UNDEFINED, 0 },	/* TDCALL */
	{ 84, FACT_UNDEFINED, 0 },	/* RDMSR with an immediate */
	{ 85, FACT_UNDEFINED, 0 },	/* WRMSRNS with one */
};

static void every_reason(void **unused)
{
	unsigned int reason, i = 0;

	setup();
	vmcs[VM_EXIT_INTR_INFO] = INTR_TYPE_HARD_EXCEPTION | X86_TRAP_AC;
	vmcs[VM_INSTRUCTION_ERROR] = 12;
	vmcs[IDT_VECTORING_INFO_FIELD] = 34;
	for (reason = 0; reason < 256; reason++) {
		const struct vmm_fact *f = fact(reason, 0);

		if (i < ARRAY_SIZE(meaning) && meaning[i].reason == reason) {
			if (f->kind != meaning[i].kind || f->insn_len != meaning[i].insn_len)
				fail_msg("reason %u: kind %d, length %u", reason, f->kind,
					 f->insn_len);
			assert_int_equal(dregs_loaded, reason == 29);
			i++;
			continue;
		}
		if (f->kind != FACT_UNKNOWN || f->raw.code != reason)
			fail_msg("reason %u: kind %d, wanted its number", reason, f->kind);
		assert_int_equal(f->raw.info2, 12);
		assert_int_equal(f->raw.event, 34);
	}
	assert_int_equal(i, ARRAY_SIZE(meaning));
}

static void exceptions(void **unused)
{
	const struct vmm_fact *f;

	setup();
	vmcs[VM_EXIT_INTR_INFO] = INTR_TYPE_NMI_INTR | X86_TRAP_NMI;
	assert_int_equal(fact(0, 0)->kind, FACT_HOST);
	assert_true(vmx.nmi);

	vmcs[VM_EXIT_INTR_INFO] = INTR_TYPE_HARD_EXCEPTION | INTR_INFO_DELIVER_CODE_MASK |
				  X86_TRAP_AC;
	vmcs[VM_EXIT_INTR_ERROR_CODE] = 5;
	f = fact(0, 0);
	assert_int_equal(f->exc.vector, X86_TRAP_AC);
	assert_true(f->exc.has_error);
	assert_int_equal(f->exc.error, 5);

	/* DR6: the breakpoints' bits are new, the others add up */
	vmcs[VM_EXIT_INTR_INFO] = INTR_TYPE_HARD_EXCEPTION | X86_TRAP_DB;
	vcpu.dregs.dr6 = 0xffff0ff0 | 0x2 | 1 << 13;
	f = fact(0, 0x4001);
	assert_int_equal(f->exc.vector, X86_TRAP_DB);
	assert_false(f->exc.has_error);
	assert_int_equal(vcpu.dregs.dr6, 0xffff0ff0 | 0x6001);
}

/* SDM 3C tables 28-3 and 28-5 to 28-7 */
static void qualifications(void **unused)
{
	const struct vmm_fact *f;

	setup();
	f = fact(30, 0x64ULL << 16 | 1 << 4 | 1 << 3 | 1);
	assert_int_equal(f->io.port, 0x64);
	assert_int_equal(f->io.size, 2);
	assert_true(f->io.in && f->io.string);
	f = fact(30, 0x3f8ULL << 16 | 3);
	assert_int_equal(f->io.size, 4);
	assert_true(!f->io.in && !f->io.string);
	assert_false(fact(31, 0)->msr.write);
	assert_true(fact(32, 0)->msr.write);

	vmcs[GUEST_PHYSICAL_ADDRESS] = 0x123456000;
	f = fact(48, 1);
	assert_int_equal(f->npf.gpa, 0x123456000);
	assert_int_equal(f->npf.access, 0);
	assert_int_equal(fact(48, 2)->npf.access, VMM_ACCESS_WRITE);
	assert_int_equal(fact(48, 4)->npf.access, VMM_ACCESS_FETCH);

	assert_int_equal(fact(44, 0x0300)->npf.gpa, 0xfee00300);
	assert_int_equal(fact(44, 0x0300)->npf.access, 0);
	assert_int_equal(fact(44, 0x1300)->npf.access, VMM_ACCESS_WRITE);
	assert_int_equal(fact(44, 0x2300)->npf.access, VMM_ACCESS_FETCH);
	assert_int_equal(fact(45, level)->kind, FACT_EOI);
	assert_int_equal(vcpu.fact.eoi.vector, level);
	assert_int_equal(fact(45, level + 1)->kind, FACT_NONE);
	assert_int_equal(fact(56, 0x1380)->apic.offset, 0x380);
}

/* MOV to CR0 or CR4: the shadow has it, unless the CPU would refuse */
static void control_registers(void **unused)
{
	setup();
	vcpu.gpr[VMM_RSI] = 0x60000011;
	assert_int_equal(fact(28, VMM_RSI << 8)->kind, FACT_NONE);
	assert_int_equal(vmcs[CR0_READ_SHADOW], 0x60000011);
	vcpu.gpr[VMM_RSI] = 0x20000011;		/* NW without CD */
	assert_int_equal(fact(28, VMM_RSI << 8)->kind, FACT_EXCEPTION);
	assert_int_equal(vcpu.fact.exc.vector, X86_TRAP_GP);
	vcpu.gpr[VMM_RSI] = 0x80000010;		/* PG without PE */
	assert_int_equal(fact(28, VMM_RSI << 8)->kind, FACT_EXCEPTION);
	assert_int_equal(vmcs[CR0_READ_SHADOW], 0x60000011);

	vcpu.gpr[VMM_RDI] = 0x660;
	assert_int_equal(fact(28, VMM_RDI << 8 | 4)->kind, FACT_NONE);
	assert_int_equal(vmcs[CR4_READ_SHADOW], 0x660);
	vcpu.gpr[VMM_RDI] = X86_CR4_VMXE;
	assert_int_equal(fact(28, VMM_RDI << 8 | 4)->kind, FACT_EXCEPTION);
	/* the upper half counts in long mode only */
	vcpu.gpr[VMM_RDI] = 1ULL << 32 | 0x20;
	assert_int_equal(fact(28, VMM_RDI << 8 | 4)->kind, FACT_NONE);
	vmcs[GUEST_IA32_EFER] = EFER_LMA;
	assert_int_equal(fact(28, VMM_RDI << 8 | 4)->kind, FACT_EXCEPTION);

	/* none that is asked for: MOV from CR3, CLTS, LMSW */
	assert_int_equal(fact(28, 1 << 4 | 3)->kind, FACT_UNKNOWN);
	assert_int_equal(fact(28, 2 << 4)->kind, FACT_UNKNOWN);
	assert_int_equal(fact(28, 3 << 4)->kind, FACT_UNKNOWN);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_reason),
		cmocka_unit_test(exceptions),
		cmocka_unit_test(qualifications),
		cmocka_unit_test(control_registers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
