// SPDX-License-Identifier: GPL-2.0
/*
 * kmod's names for why VMRUN refused: one rule of APM 2 15.5.1 broken gives the
 * one field's name, a good state none.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wsign-compare"
#include "../../kmod/svm/why.c"
#pragma GCC diagnostic pop

struct cpuinfo_x86 boot_cpu_data = { .x86_phys_bits = 40 };

u64 vmm_cr4_allowed(void)
{
	return 0x7ff;
}

static struct vmcb vmcb;
static struct svm_vcpu svm = { .vmcb = &vmcb };
static struct vmm_vcpu vcpu = { .arch = &svm };

static void good(void)
{
	memset(&vmcb, 0, sizeof(vmcb));
	vmcb.cr0 = X86_CR0_PG | X86_CR0_PE;
	vmcb.cr4 = X86_CR4_PAE;
	vmcb.efer = EFER_SVME | EFER_LME | EFER_LMA | EFER_NX;
	vmcb.cs.attr = VMM_SEG_L;
	vmcb.pat = 0x0007040600070406ULL;
	vmcb.intercept4 = INTERCEPT4_VMRUN;
	vmcb.asid = 1;
}

static const char *why(void)
{
	static char text[96];

	memset(text, 0xff, sizeof(text));
	svm_why(&vcpu, text, sizeof(text));
	return text;
}

#define EVENT(type, vector)	(EVENT_VALID | (u64)(type) << EVTYPE_SHIFT | (vector))

#define ROW(name, field, value)	{ name, offsetof(struct vmcb, field), sizeof(vmcb.field), value }

/* what a row has is toggled */
static const struct {
	const char *want;
	u32 offset, size;
	u64 value;
} rows[] = {
	ROW("EFER.SVME", efer, EFER_SVME),
	ROW("EFER", efer, 1 << 16),
	ROW("EFER", efer, 1ULL << 63),
	ROW("CR0", cr0, 1ULL << 32),
	ROW("CR0.NW", cr0, X86_CR0_NW),
	ROW("CR0.PE", cr0, X86_CR0_PE),
	ROW("CR4.PAE", cr4, X86_CR4_PAE),
	ROW("CR4", cr4, 1 << 11),
	ROW("CR3", cr3, 1ULL << 40),
	ROW("DR6", dr6, 1ULL << 32),
	ROW("DR7", dr7, 1ULL << 32),
	ROW("CS.D", cs.attr, VMM_SEG_DB),
	ROW("PAT", pat, 2 ^ 6),
	ROW("PAT", pat, 3 ^ 6),
	ROW("PAT", pat, 8ULL << 56),
	ROW("PAT", pat, (2ULL ^ 7) << 48),
	ROW("VMRUN intercept", intercept4, INTERCEPT4_VMRUN),
	ROW("ASID", asid, 1),
	ROW("nCR3", n_cr3, 1ULL << 40),
	/* no rule is broken: what is left to blame */
	ROW("VMCB", rip, 1ULL << 63),
	ROW("VMCB", event_inj, EVENT(1, 0) & ~EVENT_VALID),
	ROW("EVENTINJ", event_inj, EVENT(EVTYPE_EXCEPTION, 31)),
	ROW("EVENTINJ", event_inj, EVENT(EVTYPE_NMI, 2)),
	/* near to one */
	ROW("VMCB", cr0, X86_CR0_CD | X86_CR0_NW),
	ROW("VMCB", cr0, X86_CR0_PG | X86_CR0_PE),
	ROW("VMCB", cs.attr, VMM_SEG_L | VMM_SEG_DB),
	ROW("VMCB", cr3, (1ULL << 40) - 1),
	ROW("VMCB", pat, 5 ^ 6),
	ROW("VMCB", efer, 1 << 14),
};

static void each_rule(void **unused)
{
	unsigned int i;
	u64 value;

	for (i = 0; i < ARRAY_SIZE(rows); i++) {
		good();
		value = 0;
		memcpy(&value, (u8 *)&vmcb + rows[i].offset, rows[i].size);
		value ^= rows[i].value;
		memcpy((u8 *)&vmcb + rows[i].offset, &value, rows[i].size);
		if (strcmp(why(), rows[i].want))
			fail_msg("row %u: wanted %s, found %s", i, rows[i].want, why());
	}
}

/* an illegal one is named beside others, a legal one only if there are none */
static void events(void **unused)
{
	static const struct {
		u64 event;
		bool illegal;
	} t[] = {
		{ EVENT(1, 0), true }, { EVENT(5, 0), true }, { EVENT(7, 0), true },
		{ EVENT(EVTYPE_EXCEPTION, 2), true }, { EVENT(EVTYPE_EXCEPTION, 32), true },
		{ EVENT(EVTYPE_INTR, 0x20) | 1 << 12, true },
		{ EVENT(EVTYPE_INTR, 0x20) | 1 << 30, true },
		{ EVENT(EVTYPE_INTR, 0x20), false }, { EVENT(EVTYPE_INTR, 2), false },
		{ EVENT(EVTYPE_NMI, 2), false }, { EVENT(4, 0x80), false },
		{ EVENT(EVTYPE_EXCEPTION, 31), false },
		{ EVENT(EVTYPE_EXCEPTION, 14) | EVENT_HAS_ERROR | 7ULL << 32, false },
		{ EVENT(1, 0) & ~EVENT_VALID, false },
	};
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(t); i++) {
		good();
		vmcb.event_inj = t[i].event;
		assert_string_equal(why(), t[i].event & EVENT_VALID ? "EVENTINJ" : "VMCB");
		vmcb.cr3 = ~0ULL;
		assert_string_equal(why(), t[i].illegal ? "CR3 EVENTINJ" : "CR3");
	}
}

static void good_state(void **unused)
{
	good();
	assert_string_equal(why(), "VMCB");
}

static void many_names(void **unused)
{
	char text[8];

	good();
	vmcb.cr0 |= 1ULL << 32;
	vmcb.cr3 = vmcb.dr7 = ~0ULL;
	assert_string_equal(why(), "CR0 CR3 DR7");
	svm_why(&vcpu, text, sizeof(text));
	assert_string_equal(text, "CR0 CR3");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_rule),
		cmocka_unit_test(events),
		cmocka_unit_test(good_state),
		cmocka_unit_test(many_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
