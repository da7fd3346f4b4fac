// SPDX-License-Identifier: GPL-2.0
/*
 * The APIC of a CPU that delivers interrupts by itself, against the one that the
 * module plays: what happens to both is the same, and so must be what comes of it.
 * The CPU's part is played here, after SDM 3C chapter 30.
 */
#include "lapic_fixture.h"

static u32 page[1024];
static struct vmm_vcpu soft, hard;

static u64 seed;

static u64 rnd(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed;
}

static int page_setup(void **state)
{
	lapic_setup(state);
	memset(page, 0, sizeof(page));
	memset(&soft, 0, sizeof(soft));
	memset(&hard, 0, sizeof(hard));
	soft.vm = hard.vm = &vm;
	hard.apic.page = page;
	vmm_lapic_init(&soft);
	vmm_lapic_init(&hard);
	return 0;
}

/* ---- the CPU ----------------------------------------------------------------- */

static u32 *word(u32 map, u32 vector)
{
	return &page[(map + vector / 32) * 4];
}

static u32 highest_in(u32 map)
{
	int v;

	for (v = 255; v > 0; v--)
		if (*word(map, v) >> v % 32 & 1)
			return v;
	return 0;
}

static u32 rvi(void)
{
	return hard.apic.status & 0xff;
}

static u32 svi(void)
{
	return hard.apic.status >> 8;
}

static void set_status(u32 s, u32 r)
{
	hard.apic.status = s << 8 | r;
}

/* 30.1.3 */
static u32 vppr(void)
{
	u32 tpr = page[LAPIC_TPR * 4] & 0xff;

	return tpr >> 4 >= svi() >> 4 ? tpr : svi() & 0xf0;
}

/* 30.2.2; -1: nothing to deliver */
static int cpu_delivers(void)
{
	u32 v = rvi();

	if (v >> 4 <= vppr() >> 4)
		return -1;
	assert_true(*word(LAPIC_IRR, v) >> v % 32 & 1);
	*word(LAPIC_IRR, v) &= ~(1U << v % 32);
	*word(LAPIC_ISR, v) |= 1U << v % 32;
	set_status(v, highest_in(LAPIC_IRR));
	return v;
}

/* 30.1.4; the vector, if its end is an exit */
static int cpu_eoi(void)
{
	u32 v = svi();

	if (!v)
		return -1;
	*word(LAPIC_ISR, v) &= ~(1U << v % 32);
	set_status(highest_in(LAPIC_ISR), rvi());
	return *word(LAPIC_TMR, v) >> v % 32 & 1 ? (int)v : -1;
}

/* ---- the same to both -------------------------------------------------------- */

static void compare(void)
{
	struct vmm_apic a, b;
	u32 reg;

	vmm_lapic_get(&soft, &a);
	vmm_lapic_get(&hard, &b);
	assert_true(a.base == b.base && a.tsc_deadline == b.tsc_deadline);
	for (reg = 0; reg < LAPIC_NREGS; reg++)
		if (a.regs[reg] != b.regs[reg])
			fail_msg("register %#x: %#x, on the CPU %#x", reg, a.regs[reg], b.regs[reg]);
	assert_int_equal(vmm_lapic_pending(&soft), vmm_lapic_pending(&hard));
	if (rnd() & 1)
		return;
	/* a timer goes on from a rounded count: both, or they would differ */
	assert_int_equal(vmm_lapic_set(&soft, &a), 0);
	assert_int_equal(vmm_lapic_set(&hard, &b), 0);
}

static void accept(u32 vector, bool level)
{
	lapic_accept(&soft, vector, level);
	lapic_accept(&hard, vector, level);
}

/* an entry, on which the highest is delivered if it can be */
static void enter(void)
{
	int v = vmm_lapic_pending(&soft);

	if (v >= 0)
		vmm_lapic_ack(&soft, v);
	if (vmm_lapic_auto(&hard)) {
		vmm_lapic_give(&hard);
		assert_int_equal(cpu_delivers(), v);
		return;
	}
	assert_int_equal(vmm_lapic_pending(&hard), v);
	if (v >= 0)
		vmm_lapic_ack(&hard, v);
}

static void end(void)
{
	u8 eoi = 0, by_cpu = 0;
	int r = vmm_lapic_mmio_write(&soft, LAPIC_EOI << 4, 0, &eoi), v;

	if (rnd() % 8 == 0 || !vmm_lapic_auto(&hard)) {
		/* by an instruction that the CPU leaves to us */
		assert_int_equal(vmm_lapic_mmio_write(&hard, LAPIC_EOI << 4, 0, &by_cpu), r);
		assert_int_equal(by_cpu, eoi);
		return;
	}
	vmm_lapic_give(&hard);
	v = cpu_eoi();
	assert_int_equal(v, r ? eoi : -1);
}

/* the guest writes to its page, anything to any register but TPR and EOI */
static void write_register(void)
{
	u32 reg = rnd() % LAPIC_NREGS, value = rnd() >> (rnd() & 63);
	u8 eoi;

	if (reg >= LAPIC_ISR && reg < LAPIC_ESR)
		return;		/* the CPU lets nobody */
	switch (reg) {
	case LAPIC_TPR:
		page[reg * 4] = value & 0xff;
		vmm_lapic_set_tpr(&hard, value);
		wr(&soft, reg, value);
		return;
	case LAPIC_EOI:
	case LAPIC_SELF_IPI:
		return;
	case LAPIC_ICR2:
		wr(&soft, reg, value);
		page[reg * 4] = value & 0xff000000;	/* no exit */
		return;
	case LAPIC_SVR:
		value |= rnd() % 8 ? LAPIC_SVR_ENABLE : 0;
		break;
	case LAPIC_ICR:
		/* to itself, as there is nobody else; and no INIT */
		value = (value & LVT_VECTOR) | ICR_TO_SELF;
		break;
	}
	wr(&soft, reg, value);
	page[reg * 4] = value;
	assert_int_equal(vmm_lapic_written(&hard, reg << 4, &eoi), 0);
	if (reg != LAPIC_TMCCT && reg != LAPIC_PPR)
		assert_int_equal(page[reg * 4], hard.apic.regs[reg]);
}

static void test_same(void **state)
{
	u32 round, i, entries = 0;

	for (round = 0; round < 20; round++) {
		page_setup(state);
		seed = 0x9e3779b97f4a7c15ULL * (round + 1);
		enable(&soft);
		enable(&hard);
		for (i = 0; i < 20000; i++) {
			kshim_now += rnd() % 1000;
			switch (rnd() % 8) {
			case 0 ... 1:
				accept(16 + rnd() % 240, rnd() % 4 == 0);
				break;
			case 2 ... 3:
				enter();
				entries++;
				break;
			case 4 ... 5:
				end();
				break;
			case 6:
				write_register();
				break;
			case 7:
				if (rnd() % 8 == 0)
					compare();
			}
		}
	}
	assert_true(entries > 50000);
}

/* what the guest may not have written shows what was there; nothing else changes */
static void test_refused(void **state)
{
	static const u32 reg[] = { LAPIC_ID, LAPIC_VERSION, LAPIC_TMCCT, 0x3a };
	struct vmm_apic before, after;
	u8 eoi;
	u32 i;

	(void)state;
	enable(&hard);
	vmm_lapic_get(&hard, &before);
	for (i = 0; i < ARRAY_SIZE(reg); i++) {
		page[reg[i] * 4] = 0x12345678;
		assert_int_equal(vmm_lapic_written(&hard, reg[i] << 4, &eoi), 0);
		assert_int_equal(page[reg[i] * 4], before.regs[reg[i]]);
	}
	/* part of a register */
	page[LAPIC_SVR * 4] = 0;
	assert_int_equal(vmm_lapic_written(&hard, (LAPIC_SVR << 4) + 1, &eoi), 0);
	assert_int_equal(page[LAPIC_SVR * 4], 0x1ff);
	/* none: beyond the registers */
	assert_int_equal(vmm_lapic_written(&hard, 0xfff, &eoi), 0);
	vmm_lapic_get(&hard, &after);
	after.regs[LAPIC_ERRORS] = 0;		/* 3a0 is no register */
	assert_memory_equal(&before, &after, sizeof(before));
}

/* the timer counts by what was written before, until it is told */
static void test_timer_mode(void **state)
{
	u8 eoi;

	(void)state;
	enable(&hard);
	wr(&hard, LAPIC_TDCR, 0xb);
	wr(&hard, LAPIC_LVT_TIMER, 0x40);
	wr(&hard, LAPIC_TMICT, 1000);
	kshim_now += 1000;
	/* it had expired when the guest masked it */
	page[LAPIC_LVT_TIMER * 4] = 0x10040;
	assert_int_equal(vmm_lapic_written(&hard, LAPIC_LVT_TIMER << 4, &eoi), 0);
	assert_true(in_irr(&hard, 0x40));
}

/* SDM 3A 11.4.7.2, and its bits in IRR and ISR stay what they were */
static void test_software_disabled(void **state)
{
	(void)state;
	enable(&hard);
	assert_true(vmm_lapic_auto(&hard));
	lapic_accept(&hard, 0x51, false);
	lapic_accept(&hard, 0x61, false);
	vmm_lapic_give(&hard);
	assert_int_equal(cpu_delivers(), 0x61);
	wr(&hard, LAPIC_SVR, 0xff);
	assert_false(vmm_lapic_auto(&hard));
	assert_int_equal(vmm_lapic_pending(&hard), -1);
	wr(&hard, LAPIC_EOI, 0);
	assert_int_equal(vmm_lapic_pending(&hard), 0x51);
	vmm_lapic_reset(&hard, true);
	assert_int_equal(vmm_lapic_pending(&hard), -1);
	enable(&hard);
	vmm_lapic_give(&hard);
	assert_int_equal(hard.apic.status, 0);
	assert_int_equal(cpu_delivers(), -1);
}

/* IPIs below 16 by the MSR: the CPU leaves the error to us */
static void test_self_ipi(void **state)
{
	u8 eoi;

	(void)state;
	enable(&hard);
	to_x2apic(&hard);
	page[LAPIC_SELF_IPI * 4] = 15;
	assert_int_equal(vmm_lapic_written(&hard, 0x3f0, &eoi), 0);
	assert_int_equal(page[LAPIC_SELF_IPI * 4], 0);
	assert_int_equal(hard.apic.errors, BIT(ESR_SEND_VECTOR));
}

#define PAGE_TEST(name) cmocka_unit_test_setup(name, page_setup)

int main(void)
{
	const struct CMUnitTest tests[] = {
		PAGE_TEST(test_same),
		PAGE_TEST(test_refused),
		PAGE_TEST(test_timer_mode),
		PAGE_TEST(test_software_disabled),
		PAGE_TEST(test_self_ipi),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
