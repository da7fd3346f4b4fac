// SPDX-License-Identifier: GPL-2.0
/* The local APIC's registers, modes, priorities and errors. */
#include "lapic_fixture.h"

/* ---- reset ----------------------------------------------------------------- */

static void test_power_on(void **state)
{
	u32 reg;

	(void)state;
	assert_int_equal(rdmsr(c0, 0x1b), 0xfee00900);
	assert_int_equal(rdmsr(c1, 0x1b), 0xfee00800);
	for (reg = 0; reg < 0x40; reg++) {
		u32 want = 0;

		switch (reg) {
		case LAPIC_ID:
			want = 1 << 24;
			break;
		case LAPIC_VERSION:
			want = 0x50014;
			break;
		case LAPIC_DFR:
			want = 0xffffffff;
			break;
		case LAPIC_SVR:
			want = 0xff;
			break;
		case LAPIC_LVT_TIMER ... LAPIC_LVT_ERROR:
			want = 0x10000;
			break;
		}
		assert_int_equal(rd(c1, reg), want);
	}
	assert_int_equal(vmm_lapic_pending(c1), -1);
	assert_false(vmm_lapic_extint(c1));
}

static void test_init_reset(void **state)
{
	struct vmm_apic fresh, after;

	(void)state;
	vmm_lapic_get(c1, &fresh);
	dirty(c1);
	vmm_lapic_reset(c1, true);
	vmm_lapic_get(c1, &after);
	assert_memory_equal(&fresh, &after, sizeof(fresh));
	assert_false(c1->apic.timer.queued);
	assert_int_equal(run_for(c1, 10000000), 0);

	/* base and mode survive INIT, and only INIT */
	assert_int_equal(wrmsr(c1, 0x1b, 0xfed00800), 0);
	to_x2apic(c1);
	vmm_lapic_reset(c1, true);
	assert_int_equal(rdmsr(c1, 0x1b), 0xfed00c00);
	assert_int_equal(rdmsr(c1, 0x802), 1);
	assert_int_equal(rdmsr(c1, 0x80d), 2);
	assert_int_equal(rdmsr(c1, 0x80f), 0xff);
	vmm_lapic_reset(c1, false);
	vmm_lapic_get(c1, &after);
	assert_memory_equal(&fresh, &after, sizeof(fresh));
}

/* ---- registers ------------------------------------------------------------- */

static void test_xapic_registers(void **state)
{
	static const struct {
		u32 reg, write, want;
	} t[] = {
		{ LAPIC_ID, 0xffffffff, 0x01000000 },
		{ LAPIC_VERSION, 0, 0x50014 },
		{ LAPIC_TPR, 0xffffffff, 0xff },
		{ LAPIC_APR, 0xffffffff, 0 },
		{ LAPIC_RRD, 0xffffffff, 0 },
		{ LAPIC_LDR, 0xffffffff, 0xff000000 },
		{ LAPIC_DFR, 0, 0x0fffffff },
		{ LAPIC_DFR, 0xf0000000, 0xffffffff },
		{ LAPIC_SVR, 0xffffffff, 0x3ff },
		{ LAPIC_ISR, 0xffffffff, 0 },
		{ LAPIC_TMR + 3, 0xffffffff, 0 },
		{ LAPIC_IRR + 7, 0xffffffff, 0 },
		{ LAPIC_ICR, 0xffffffff & ~LVT_DELIVERY & ~ICR_SHORTHAND, 0x0000c8ff },
		{ LAPIC_ICR2, 0xffffffff, 0xff000000 },
		{ LAPIC_LVT_TIMER, 0xffffffff, 0x500ff },
		{ LAPIC_LVT_TIMER, 0x00020040, 0x20040 },
		{ LAPIC_LVT_THERM, 0xffffffff, 0x107ff },
		{ LAPIC_LVT_PERF, 0xffffffff, 0x107ff },
		{ LAPIC_LVT_LINT0, 0xffffffff, 0x1a7ff },
		{ LAPIC_LVT_LINT1, 0xffffffff, 0x1a7ff },
		{ LAPIC_LVT_ERROR, 0xffffffff, 0x100ff },
		{ LAPIC_TMICT, 0xffffffff, 0xffffffff },
		{ LAPIC_TMCCT, 5, 0xffffffff },	/* of the row above: no time passed */
		{ LAPIC_TDCR, 0xffffffff, 0xb },
	};
	size_t i;

	(void)state;
	enable(c1);
	for (i = 0; i < sizeof(t) / sizeof(*t); i++) {
		wr(c1, t[i].reg, t[i].write);
		if (rd(c1, t[i].reg) != t[i].want)
			fail_msg("row %zu, register %#x: %#x", i, t[i].reg, rd(c1, t[i].reg));
	}
	assert_int_equal(c1->apic.errors, 0);
}

static void test_undefined_offsets(void **state)
{
	/* SDM 3A table 11-1, without what came after six LVT entries */
	static const u64 page_registers = BIT_ULL(LAPIC_ID) | BIT_ULL(LAPIC_VERSION) |
		GENMASK_ULL(LAPIC_IRR + 7, LAPIC_TPR) | BIT_ULL(LAPIC_ESR) |
		GENMASK_ULL(LAPIC_TMCCT, LAPIC_ICR) | BIT_ULL(LAPIC_TDCR);
	u32 offset;

	(void)state;
	for (offset = 0; offset < 0x1000; offset++) {
		u32 reg = offset >> 4;
		bool exists = reg < LAPIC_NREGS && page_registers >> reg & 1;

		if (exists && !(offset & 15))
			continue;
		c1->apic.errors = 0;
		assert_int_equal(vmm_lapic_mmio_read(c1, offset), 0);
		assert_int_equal(vmm_lapic_mmio_write(c1, offset, ~0U, &last_eoi), 0);
		assert_int_equal(c1->apic.errors, offset & 15 ? 0 : BIT(ESR_REGISTER));
	}
	assert_int_equal(vmm_lapic_mmio_read(c1, 0xffffffff), 0);
}

static void test_in_page(void **state)
{
	(void)state;
	assert_true(vmm_lapic_in_page(c0, 0xfee00000));
	assert_true(vmm_lapic_in_page(c0, 0xfee00fff));
	assert_false(vmm_lapic_in_page(c0, 0xfee01000));
	assert_false(vmm_lapic_in_page(c0, 0xfedfffff));
	assert_false(vmm_lapic_in_page(c0, 0x1fee00000));
	assert_int_equal(wrmsr(c0, 0x1b, 0x1234567900ULL | LAPIC_BASE_EN), 0);
	assert_true(vmm_lapic_in_page(c0, 0x1234567080ULL));
	assert_false(vmm_lapic_in_page(c0, 0xfee00000));
	to_x2apic(c0);
	assert_false(vmm_lapic_in_page(c0, 0x1234567080ULL));
	assert_int_equal(wrmsr(c0, 0x1b, 0xfee00000), 0);
	assert_false(vmm_lapic_in_page(c0, 0xfee00000));
}

static void test_x2apic_registers(void **state)
{
	static const u32 readable[] = {
		0x02, 0x03, 0x08, 0x0a, 0x0d, 0x0f, 0x10, 0x11, 0x12, 0x13, 0x14, 0x15,
		0x16, 0x17, 0x18, 0x19, 0x1a, 0x1b, 0x1c, 0x1d, 0x1e, 0x1f, 0x20, 0x21,
		0x22, 0x23, 0x24, 0x25, 0x26, 0x27, 0x28, 0x30, 0x32, 0x33, 0x34, 0x35,
		0x36, 0x37, 0x38, 0x39, 0x3e,
	};
	static const struct {
		u32 reg;
		u64 good, bad;	/* bits that may be set; each other alone is #GP */
	} w[] = {
		{ 0x08, 0xff, 0 }, { 0x0b, 0, 0 }, { 0x0f, 0x3ff, 0 }, { 0x28, 0, 0 },
		{ 0x30, 0xffffffff000cdfff, 0 }, { 0x32, 0x710ff, 0 },
		{ 0x33, 0x117ff, 0 }, { 0x34, 0x117ff, 0 }, { 0x35, 0x1f7ff, 0 },
		{ 0x36, 0x1f7ff, 0 }, { 0x37, 0x110ff, 0 }, { 0x38, 0xffffffff, 0 },
		{ 0x3e, 0xb, 0 }, { 0x3f, 0xff, 0 },
	};
	u32 i, j, reg;

	(void)state;
	assert_int_equal(rdmsr_fails(c1, 0x802), -EPERM);	/* still xAPIC */
	assert_int_equal(wrmsr(c1, 0x808, 0), -EPERM);
	to_x2apic(c1);
	assert_int_equal(wrmsr(c1, 0x80f, 0x1ff), 0);
	for (reg = 0; reg < 0x100; reg++) {
		for (i = 0; i < sizeof(readable) / 4; i++)
			if (readable[i] == reg)
				break;
		assert_int_equal(rdmsr_fails(c1, 0x800 + reg),
				 i < sizeof(readable) / 4 ? 0 : -EPERM);
		for (i = 0; i < sizeof(w) / sizeof(*w); i++)
			if (w[i].reg == reg)
				break;
		if (i == sizeof(w) / sizeof(*w)) {
			assert_int_equal(wrmsr(c1, 0x800 + reg, 0), -EPERM);
			continue;
		}
		for (j = 0; j < 64; j++) {
			int want = w[i].good >> j & 1 ? 0 : -EPERM;

			if (wrmsr(c1, 0x800 + reg, 1ULL << j) != want)
				fail_msg("MSR %#x bit %u", 0x800 + reg, j);
		}
	}
	assert_int_equal(wrmsr(c1, 0x80f, 0x1ff), 0);
	/* both timer modes at once; and TSC-deadline only with CPUID's word */
	assert_int_equal(wrmsr(c1, 0x832, 0x600ff), -EPERM);
	leaf1.ecx = 0;
	assert_int_equal(wrmsr(c1, 0x832, 0x400ff), -EPERM);
	assert_int_equal(wrmsr(c1, 0x832, 0x200ff), 0);
	assert_int_equal(rdmsr(c1, 0x832), 0x200ff);
	/* read-only bits that were written are not kept */
	assert_int_equal(wrmsr(c1, 0x835, 0x1f7ff), 0);
	assert_int_equal(rdmsr(c1, 0x835), 0x1a7ff);
	/* ICR is one register of 64 bits */
	assert_int_equal(wrmsr(c1, 0x830, 0x00000007000010fdULL), 0);
	assert_int_equal(rdmsr(c1, 0x830), 0x00000007000000fdULL);
	/* neither below the range nor above */
	assert_int_equal(rdmsr_fails(c1, 0x7ff), -EPERM);
	assert_int_equal(rdmsr_fails(c1, 0x900), -EPERM);
}

/* every ordered pair of modes, SDM 3A 11.12.5 */
static void test_base_transitions(void **state)
{
	static const u64 mode[] = { 0, LAPIC_BASE_EN, LAPIC_BASE_MODE, LAPIC_BASE_EXTD };
	static const bool legal[3][4] = {
		/* to: off, xAPIC, x2APIC, invalid */
		{ true, true, false, false },
		{ true, true, true, false },
		{ true, false, true, false },
	};
	int from, to;

	for (from = 0; from < 3; from++) {
		for (to = 0; to < 4; to++) {
			lapic_setup(state);
			if (from == 0)
				assert_int_equal(wrmsr(c1, 0x1b, 0xfee00000), 0);
			if (from == 2)
				to_x2apic(c1);
			assert_int_equal(wrmsr(c1, 0x1b, 0xfee00000 | mode[to]),
					 legal[from][to] ? 0 : -EPERM);
			assert_int_equal(rdmsr(c1, 0x1b), 0xfee00000 |
					 mode[legal[from][to] ? to : from]);
		}
	}
}

static void test_base_bits(void **state)
{
	u32 bit;

	(void)state;
	for (bit = 0; bit < 64; bit++) {
		bool may = bit == 8 || bit == 11 || (bit >= 12 && bit < 40);

		lapic_setup(state);
		/* EXTD alone is no mode; with EN set it is tested above */
		assert_int_equal(wrmsr(c0, 0x1b, LAPIC_BASE_EN | 1ULL << bit),
				 may || bit == 10 ? 0 : -EPERM);
	}
	lapic_setup(state);
	leaf1.ecx = 0;
	assert_int_equal(wrmsr(c0, 0x1b, 0xfee00d00), -EPERM);
}

static void test_disable_loses_state(void **state)
{
	struct vmm_apic fresh, after;

	(void)state;
	vmm_lapic_get(c1, &fresh);
	dirty(c1);
	assert_int_equal(wrmsr(c1, 0x1b, 0xfee00000), 0);
	assert_int_equal(vmm_lapic_pending(c1), -1);
	assert_true(vmm_lapic_extint(c1));
	assert_int_equal(run_for(c1, 10000000), 0);
	assert_int_equal(wrmsr(c1, 0x1b, 0xfee00800), 0);
	vmm_lapic_get(c1, &after);
	assert_memory_equal(&fresh, &after, sizeof(fresh));
}

static void test_enter_x2apic_keeps_state(void **state)
{
	(void)state;
	dirty(c1);
	to_x2apic(c1);
	assert_int_equal(rdmsr(c1, 0x802), 1);
	assert_int_equal(rdmsr(c1, 0x80d), 2);
	assert_int_equal(rdmsr(c1, 0x808), 0x23);
	assert_int_equal(rdmsr(c1, 0x812), 1 << (0x51 & 31));
	assert_int_equal(rdmsr(c1, 0x823), 1 << (0x61 & 31));
	assert_int_equal(rdmsr(c1, 0x830), 0x44000);
	assert_int_equal(rdmsr(c1, 0x835), 0x700);
	assert_int_equal(rdmsr(c1, 0x839), 1000000);
}

static void test_software_disable(void **state)
{
	u32 reg;

	(void)state;
	wr(c1, LAPIC_LVT_LINT0, 0x700);		/* before SVR allows it */
	assert_int_equal(rd(c1, LAPIC_LVT_LINT0), 0x10700);
	dirty(c1);
	assert_true(vmm_lapic_extint(c1));
	wr(c1, LAPIC_SVR, 0xff);
	for (reg = LAPIC_LVT_TIMER; reg <= LAPIC_LVT_ERROR; reg++)
		assert_true(rd(c1, reg) & LVT_MASKED);
	assert_false(vmm_lapic_extint(c1));
	assert_int_equal(rd(c1, LAPIC_LVT_TIMER), 0x30040);
	assert_false(c1->apic.timer.queued);
	/* what was there already is still delivered; nothing else comes in */
	assert_int_equal(vmm_lapic_mmio_write(c1, 0xb0, 0, &last_eoi), 1);
	assert_int_equal(vmm_lapic_pending(c1), 0x61);
	assert_int_equal(vmm_lapic_msi(&vm, 0xfee01000, 0x71), 0);
	assert_int_equal(vmm_lapic_msi(&vm, 0xfee01000, 0x400), 1);	/* NMI does */
	/* enabling again unmasks nothing */
	enable(c1);
	assert_int_equal(rd(c1, LAPIC_LVT_LINT0), 0x10700);
}

/* ---- priority and EOI ------------------------------------------------------ */

static void test_priority(void **state)
{
	u32 tpr, isr, irr;
	bool held;

	(void)state;
	enable(c1);
	for (tpr = 0; tpr < 0x100; tpr += 7) {
		for (isr = 0; isr < 0x100; isr += 9) {
			u32 ppr = tpr;

			lapic_setup(state);
			enable(c1);
			if (isr >= 16) {
				lapic_accept(c1, isr, false);
				vmm_lapic_ack(c1, isr);
				if (isr >> 4 > tpr >> 4)
					ppr = isr & 0xf0;
			}
			wr(c1, LAPIC_TPR, tpr);
			assert_int_equal(rd(c1, LAPIC_PPR), ppr);
			assert_int_equal(vmm_lapic_cr8(c1), tpr >> 4);
			for (irr = 16; irr < 0x100; irr += 5) {
				memset(&c1->apic.regs[LAPIC_IRR], 0, 32);
				lapic_accept(c1, irr, false);
				assert_int_equal(vmm_lapic_pending(c1),
						 irr >> 4 > ppr >> 4 ? (int)irr : -1);
				assert_int_equal(vmm_lapic_wakes(c1), irr >> 4 > ppr >> 4);
				held = irr >> 4 <= tpr >> 4 &&
				       (isr < 16 || irr >> 4 > isr >> 4);
				assert_int_equal(vmm_lapic_held(c1), held ? (int)irr : -1);
			}
		}
	}
}

static void test_nesting(void **state)
{
	(void)state;
	enable(c0);
	lapic_accept(c0, 0x31, false);
	lapic_accept(c0, 0x35, false);
	lapic_accept(c0, 0x82, false);
	assert_int_equal(vmm_lapic_pending(c0), 0x82);
	vmm_lapic_ack(c0, 0x82);
	assert_int_equal(vmm_lapic_pending(c0), -1);
	lapic_accept(c0, 0x8f, false);		/* the same class waits */
	assert_int_equal(vmm_lapic_pending(c0), -1);
	lapic_accept(c0, 0x91, false);
	assert_int_equal(vmm_lapic_pending(c0), 0x91);
	vmm_lapic_ack(c0, 0x91);
	wr(c0, LAPIC_EOI, 0);
	assert_int_equal(vmm_lapic_pending(c0), -1);
	wr(c0, LAPIC_EOI, 0);
	assert_int_equal(vmm_lapic_pending(c0), 0x8f);
	vmm_lapic_ack(c0, 0x8f);
	wr(c0, LAPIC_EOI, 0);
	assert_int_equal(vmm_lapic_pending(c0), 0x35);
	vmm_lapic_ack(c0, 0x35);
	wr(c0, LAPIC_EOI, 0);
	vmm_lapic_ack(c0, 0x31);
	assert_false(c0->apic.irr_pending);
	wr(c0, LAPIC_EOI, 0);
	wr(c0, LAPIC_EOI, 0);			/* nothing in service: no effect */
	assert_int_equal(vmm_lapic_pending(c0), -1);
}

static void test_cr8(void **state)
{
	(void)state;
	wr(c0, LAPIC_TPR, 0x5f);
	assert_int_equal(vmm_lapic_cr8(c0), 5);
	vmm_lapic_set_cr8(c0, 9);
	assert_int_equal(rd(c0, LAPIC_TPR), 0x90);
}

static void test_eoi_level(void **state)
{
	(void)state;
	enable(c0);
	assert_int_equal(vmm_lapic_msi(&vm, 0xfee00000, 0xc041), 1);
	assert_int_equal(rd(c0, LAPIC_TMR + 2), 1 << 1);
	vmm_lapic_ack(c0, 0x41);
	last_eoi = 0;
	assert_int_equal(vmm_lapic_mmio_write(c0, 0xb0, 0, &last_eoi), 1);
	assert_int_equal(last_eoi, 0x41);
	/* an edge on the same vector takes the mark away */
	assert_int_equal(vmm_lapic_msi(&vm, 0xfee00000, 0x4041), 1);
	assert_int_equal(rd(c0, LAPIC_TMR + 2), 0);
	vmm_lapic_ack(c0, 0x41);
	wr(c0, LAPIC_EOI, 0);
	/* and by MSR */
	to_x2apic(c0);
	assert_int_equal(vmm_lapic_msi(&vm, 0xfee00000, 0x8042), 1);
	vmm_lapic_ack(c0, 0x42);
	assert_int_equal(wrmsr(c0, 0x80b, 1), -EPERM);
	assert_int_equal(wrmsr(c0, 0x80b, 0), 1);
	assert_int_equal(last_eoi, 0x42);
}

static void test_extint_gate(void **state)
{
	(void)state;
	assert_false(vmm_lapic_extint(c0));	/* LINT0 is masked after reset */
	enable(c0);
	wr(c0, LAPIC_LVT_LINT0, 0x700);
	assert_true(vmm_lapic_extint(c0));
	wr(c0, LAPIC_LVT_LINT0, 0x10700);
	assert_false(vmm_lapic_extint(c0));
	wr(c0, LAPIC_LVT_LINT0, 0x031);
	assert_false(vmm_lapic_extint(c0));
}

/* ---- errors ---------------------------------------------------------------- */

static void test_error_status(void **state)
{
	(void)state;
	enable(c0);
	wr(c0, LAPIC_LVT_ERROR, 0xfe);
	wr(c0, LAPIC_ICR, 0x0000400f);		/* fixed, vector 15 */
	assert_int_equal(rd(c0, LAPIC_ESR), 0);	/* not before a write */
	assert_int_equal(vmm_lapic_pending(c0), 0xfe);
	wr(c0, LAPIC_ESR, 0xffffffff);
	assert_int_equal(rd(c0, LAPIC_ESR), 1 << 5);
	wr(c0, LAPIC_ESR, 0);
	assert_int_equal(rd(c0, LAPIC_ESR), 0);

	/* the receiver of a bad MSI logs it, and is told */
	clear_irrs();
	assert_int_equal(vmm_lapic_msi(&vm, 0xfee00000, 0x0f), 1);
	assert_int_equal(kicks[0], 1);
	assert_true(in_irr(c0, 0xfe));
	wr(c0, LAPIC_ESR, 0);
	assert_int_equal(rd(c0, LAPIC_ESR), 1 << 6);

	/* an error entry that itself has a bad vector ends there */
	clear_irrs();
	wr(c0, LAPIC_LVT_ERROR, 3);
	vmm_lapic_mmio_read(c0, 0x3f0);
	wr(c0, LAPIC_ESR, 0);
	assert_int_equal(rd(c0, LAPIC_ESR), 1 << 7 | 1 << 6);

	/* the timer with a bad vector */
	wr(c0, LAPIC_LVT_TIMER, 5);
	wr(c0, LAPIC_TMICT, 10);
	run_for(c0, 1000);
	wr(c0, LAPIC_ESR, 0);
	assert_int_equal(rd(c0, LAPIC_ESR), 1 << 6);
	assert_int_equal(vmm_lapic_pending(c0), -1);

	/* self IPI */
	wr(c0, LAPIC_LVT_ERROR, 0x10003);
	to_x2apic(c0);
	assert_int_equal(wrmsr(c0, 0x83f, 0x0e), 0);
	assert_int_equal(wrmsr(c0, 0x828, 0), 0);
	assert_int_equal(rdmsr(c0, 0x828), 1 << 5);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		LAPIC_TEST(test_power_on), LAPIC_TEST(test_init_reset),
		LAPIC_TEST(test_xapic_registers),
		LAPIC_TEST(test_undefined_offsets), LAPIC_TEST(test_in_page),
		LAPIC_TEST(test_x2apic_registers),
		LAPIC_TEST(test_base_transitions), LAPIC_TEST(test_base_bits),
		LAPIC_TEST(test_disable_loses_state),
		LAPIC_TEST(test_enter_x2apic_keeps_state),
		LAPIC_TEST(test_software_disable), LAPIC_TEST(test_priority),
		LAPIC_TEST(test_nesting), LAPIC_TEST(test_cr8),
		LAPIC_TEST(test_eoi_level), LAPIC_TEST(test_extint_gate),
		LAPIC_TEST(test_error_status),
	};

	return cmocka_run_group_tests_name("lapic", tests, NULL, NULL);
}
