// SPDX-License-Identifier: GPL-2.0
/* The local APIC's state out and in: every reachable one, and no other. */
#include "lapic_fixture.h"

/* ---- state ----------------------------------------------------------------- */

static void same(const struct vmm_apic *a, const struct vmm_apic *b)
{
	u32 reg;

	assert_true(a->base == b->base);
	assert_true(a->tsc_deadline == b->tsc_deadline);
	for (reg = 0; reg < LAPIC_NREGS; reg++)
		if (a->regs[reg] != b->regs[reg])
			fail_msg("register %#x: %#x, %#x", reg, a->regs[reg], b->regs[reg]);
}

static bool anything_waits(struct vmm_vcpu *c)
{
	u32 i, bits = 0;

	for (i = 0; i < 8; i++)
		bits |= c->apic.regs[LAPIC_IRR + i];
	return bits;
}

/* get -> a new vCPU of the same ID -> set -> get */
static void round_trip(struct vmm_vcpu *c)
{
	static struct vmm_vcpu fresh;
	struct vmm_apic before, after;

	memset(&fresh, 0, sizeof(fresh));
	fresh.vm = c->vm;
	fresh.id = c->id;
	fresh.tsc_offset = c->tsc_offset;
	vmm_lapic_init(&fresh);
	vmm_lapic_get(c, &before);
	assert_int_equal(vmm_lapic_set(&fresh, &before), 0);
	vmm_lapic_get(&fresh, &after);
	same(&before, &after);
	assert_int_equal(vmm_lapic_pending(&fresh), vmm_lapic_pending(c));
	/* each entry looks for more while that is set */
	assert_int_equal(fresh.apic.irr_pending, anything_waits(c));
	assert_int_equal(vmm_lapic_extint(&fresh), vmm_lapic_extint(c));
	assert_int_equal(fresh.apic.timer.queued, c->apic.timer.queued);
}

static void test_state_round_trip(void **state)
{
	(void)state;
	round_trip(c0);
	dirty(c0);
	advance(c0, 300000);
	round_trip(c0);
	wr(c0, LAPIC_LVT_TIMER, 0x40044);
	wrmsr(c0, 0x6e0, vmm_guest_tsc(c0) + 100000);
	round_trip(c0);
	to_x2apic(c0);
	round_trip(c0);
	wrmsr(c0, 0x830, 0x1234567800004055ULL);
	round_trip(c0);
	wrmsr(c0, 0x1b, 0xfee00000);
	round_trip(c0);
}

/* a timer that ran out is either in IRR or still on the clock, never both */
static void test_state_expired_timer(void **state)
{
	struct vmm_apic a;

	(void)state;
	enable(c0);
	wr(c0, LAPIC_TDCR, 0xb);
	wr(c0, LAPIC_LVT_TIMER, 0x20040);
	wr(c0, LAPIC_TMICT, 1000000);
	advance(c0, 3200000);			/* nobody looked */
	vmm_lapic_get(c0, &a);
	assert_int_equal(a.regs[LAPIC_IRR + 2], 1);
	assert_int_equal(a.regs[LAPIC_TMCCT], 800000);
	pump(c0);				/* the late alarm adds nothing */
	vmm_lapic_ack(c0, 0x40);
	wr(c0, LAPIC_EOI, 0);
	assert_int_equal(vmm_lapic_pending(c0), -1);
	assert_int_equal(vmm_lapic_set(c0, &a), 0);
	assert_int_equal(run_for(c0, 850000), 2);

	wr(c0, LAPIC_LVT_TIMER, 0x40040);
	wrmsr(c0, 0x6e0, vmm_guest_tsc(c0) + 3000);
	advance(c0, 3000);
	vmm_lapic_get(c0, &a);
	assert_int_equal(a.tsc_deadline, 0);
	assert_int_equal(a.regs[LAPIC_IRR + 2], 1);
	assert_int_equal(vmm_lapic_set(c0, &a), 0);
	pump(c0);
	assert_int_equal(run_for(c0, 1000000), 1);
}

static void test_state_running_timer(void **state)
{
	struct vmm_apic a;

	(void)state;
	enable(c0);
	wr(c0, LAPIC_TDCR, 0);
	wr(c0, LAPIC_LVT_TIMER, 0x20040);
	wr(c0, LAPIC_TMICT, 1000000);
	run_for(c0, 500000);
	vmm_lapic_get(c0, &a);
	assert_int_equal(a.regs[LAPIC_TMCCT], 750000);
	vmm_lapic_reset(c0, false);
	kshim_now += 123456789;			/* stopped meanwhile */
	assert_int_equal(vmm_lapic_set(c0, &a), 0);
	assert_int_equal(run_for(c0, 1499999), 0);
	assert_int_equal(run_for(c0, 2), 1);
	assert_int_equal(run_for(c0, 2000000), 1);
}

static void test_state_hostile(void **state)
{
	static const struct {
		u32 reg, value;
	} bad[] = {
		{ 0, 1 }, { 1, 1 }, { LAPIC_ID, 0 }, { LAPIC_ID, 1 }, { LAPIC_ID, 2 << 24 },
		{ LAPIC_VERSION, 0x14 }, { LAPIC_VERSION, 0x01050014 }, { 4, 1 }, { 7, ~0U },
		{ LAPIC_TPR, 0x100 }, { LAPIC_APR, 1 }, { LAPIC_PPR, 0x100 },
		{ LAPIC_EOI, 1 }, { LAPIC_RRD, 1 }, { LAPIC_LDR, 0x00800000 },
		{ LAPIC_DFR, 0 }, { LAPIC_DFR, 0xfffffffe }, { LAPIC_SVR, 0x11ff },
		{ LAPIC_ISR, 1 }, { LAPIC_ISR, 0x8000 }, { LAPIC_TMR, 2 }, { LAPIC_IRR, 4 },
		{ LAPIC_ESR, 0x100 }, { LAPIC_ERRORS, 0x100 }, { 0x2a, 1 }, { 0x2f, 0x10000 },
		{ LAPIC_ICR, 0x1000 }, { LAPIC_ICR, 0x100000 }, { LAPIC_ICR2, 1 },
		{ LAPIC_LVT_TIMER, 0x60040 }, { LAPIC_LVT_TIMER, 0x700 },
		{ LAPIC_LVT_TIMER, 0x80000 }, { LAPIC_LVT_THERM, 0x1000 },
		{ LAPIC_LVT_PERF, 0x20000 }, { LAPIC_LVT_LINT0, 0x4000 },
		{ LAPIC_LVT_LINT1, 0x20000 }, { LAPIC_LVT_ERROR, 0x400 },
		{ LAPIC_TMCCT, 1 },	/* above its initial count of 0 */
		{ 0x3a, 1 }, { LAPIC_TDCR, 4 }, { LAPIC_TDCR, 0x10 }, { LAPIC_SELF_IPI, 1 },
		{ LAPIC_SVR, 0xff },	/* with entries unmasked */
	};
	static const u64 base[] = {
		0xfee00400, 0xfee00801, 0xfee00a00, 0xfff00000fee00800ULL,
		0x8000000000000800ULL, 0xfee00c00 /* with an ID of the other form */,
	};
	struct vmm_apic good, a, now;
	size_t i;

	(void)state;
	enable(c1);
	wr(c1, LAPIC_LVT_ERROR, 0xfe);
	vmm_lapic_get(c1, &good);
	assert_int_equal(vmm_lapic_set(c1, &good), 0);
	for (i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		a = good;
		a.regs[bad[i].reg] = bad[i].value;
		if (vmm_lapic_set(c1, &a) != -EINVAL)
			fail_msg("row %zu: register %#x", i, bad[i].reg);
		vmm_lapic_get(c1, &now);
		same(&good, &now);
	}
	for (i = 0; i < sizeof(base) / sizeof(*base); i++) {
		a = good;
		a.base = base[i];
		assert_int_equal(vmm_lapic_set(c1, &a), -EINVAL);
	}
	a = good;
	a.tsc_deadline = 1;			/* not its mode */
	assert_int_equal(vmm_lapic_set(c1, &a), -EINVAL);
	a.regs[LAPIC_LVT_TIMER] = 0x40040;
	assert_int_equal(vmm_lapic_set(c1, &a), 0);
	assert_int_equal(run_for(c1, 100), 1);	/* long past */
	a.tsc_deadline = 0;
	a.regs[LAPIC_TMICT] = 5;
	a.regs[LAPIC_TMCCT] = 5;
	assert_int_equal(vmm_lapic_set(c1, &a), -EINVAL);
	/* x2APIC: the ID and what follows from it */
	to_x2apic(c1);
	vmm_lapic_get(c1, &a);
	assert_int_equal(vmm_lapic_set(c1, &a), 0);
	a.regs[LAPIC_ID] = 2;
	assert_int_equal(vmm_lapic_set(c1, &a), -EINVAL);
	a.regs[LAPIC_ID] = 1;
	a.regs[LAPIC_LDR] = 1;
	assert_int_equal(vmm_lapic_set(c1, &a), -EINVAL);
	/* the shortest period that can be set is the floor, too */
	lapic_setup(NULL);
	enable(c1);
	vmm_lapic_get(c1, &a);
	a.regs[LAPIC_LVT_TIMER] = 0x20040;
	a.regs[LAPIC_TDCR] = 0xb;
	a.regs[LAPIC_TMICT] = 1;
	a.regs[LAPIC_TMCCT] = 1;
	assert_int_equal(vmm_lapic_set(c1, &a), 0);
	assert_in_range(run_for(c1, 1000000), 5, 6);
	/* a period of nothing cannot be set to run */
	a.regs[LAPIC_TMICT] = 0;
	assert_int_equal(vmm_lapic_set(c1, &a), -EINVAL);
	a.regs[LAPIC_TMCCT] = 0;
	assert_int_equal(vmm_lapic_set(c1, &a), 0);
	assert_int_equal(run_for(c1, 1000000), 0);
}

/* ---- at random ------------------------------------------------------------- */

static u64 seed;

static u64 rnd(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed;
}

static void check_invariants(struct vmm_vcpu *c)
{
	struct vmm_lapic *apic = &c->apic;
	struct vmm_apic a, b;
	int v = vmm_lapic_pending(c);
	u32 reg;
	bool live = apic->timer_running || apic->tsc_deadline;

	assert_int_equal(apic->regs[LAPIC_IRR] & 0xffff, 0);
	assert_int_equal(apic->regs[LAPIC_ISR] & 0xffff, 0);
	assert_int_equal(apic->regs[LAPIC_TMR] & 0xffff, 0);
	assert_int_equal(apic->errors & ~0xffUL, 0);
	assert_true(v < 0 || v >> 4 > (int)(lapic_ppr(apic) >> 4));
	for (reg = LAPIC_IRR; reg < LAPIC_IRR + 8; reg++)
		if (apic->regs[reg])
			assert_true(apic->irr_pending);
	if (!lapic_software_enabled(apic))
		for (reg = LAPIC_LVT_TIMER; reg <= LAPIC_LVT_ERROR; reg++)
			assert_true(apic->regs[reg] & LVT_MASKED);
	/* a timer that can interrupt has an alarm set, or has just rung */
	if (live && !(apic->regs[LAPIC_LVT_TIMER] & LVT_MASKED))
		assert_true(apic->timer.queued || (c->requests & BIT(REQ_TIMER)));
	else
		assert_false(apic->timer.queued);
	assert_false(apic->timer_running && apic->tsc_deadline);
	/* every state that a guest reaches can be set, and set exactly */
	vmm_lapic_get(c, &a);
	assert_int_equal(vmm_lapic_set(c, &a), 0);
	vmm_lapic_get(c, &b);
	same(&a, &b);
}

/* the page is not there in x2APIC mode, nor when the APIC is off */
static void write_page(struct vmm_vcpu *c, u32 offset, u32 value)
{
	if (vmm_lapic_in_page(c, c->apic.base & ~0xfffULL))
		vmm_lapic_mmio_write(c, offset, value, &last_eoi);
}

static void random_step(struct vmm_vcpu *c)
{
	static const u32 bases[] = { 0x800, 0xc00, 0, 0x900, 0x400 };
	u32 value = rnd() >> (rnd() & 31);
	u64 wide = rnd() >> (rnd() & 63);
	u64 out;

	switch (rnd() % 16) {
	case 0 ... 3:
		write_page(c, (rnd() & 0x3f) << 4, value);
		break;
	case 4:
		if (vmm_lapic_in_page(c, c->apic.base & ~0xfffULL))
			vmm_lapic_mmio_read(c, rnd() & 0xfff);
		break;
	case 5 ... 7:
		vmm_lapic_msr_write(c, 0x800 + (rnd() & 0x3f), wide, &last_eoi);
		break;
	case 8:
		vmm_lapic_msr_read(c, 0x800 + (rnd() & 0xff), &out);
		break;
	case 9:
		if (rnd() % 8 == 0)
			vmm_lapic_msr_write(c, 0x1b, (u64)value << 12 | bases[rnd() % 5],
					    &last_eoi);
		break;
	case 10:
		vmm_lapic_msr_write(c, 0x6e0, vmm_guest_tsc(c) + (s64)(rnd() % 20000) - 1000,
				    &last_eoi);
		break;
	case 11:
		vmm_lapic_msi(&vm, 0xfee00000 | (rnd() & 0xfffff), value);
		break;
	case 12:
		if (vmm_lapic_pending(c) >= 0)
			vmm_lapic_ack(c, vmm_lapic_pending(c));
		break;
	case 13:
		advance(c, rnd() % 50000);
		break;
	case 14:
		pump(c);
		break;
	case 15:
		/* keep it interesting: enabled, something to count */
		write_page(c, 0xf0, 0x1ff);
		write_page(c, 0x320, (value & 0x700ff) | 0x40);
		write_page(c, 0x380, rnd() % 30000);
		if (rnd() % 64 == 0)
			vmm_lapic_reset(c, rnd() & 1);
		c->requests &= BIT(REQ_TIMER);
		break;
	}
}

/* The alarms of all vCPUs share one clock here; only c's are rung by advance() */
static void test_random(void **state)
{
	u32 round, i;

	for (round = 0; round < 20; round++) {
		lapic_setup(state);
		seed = 0x9e3779b97f4a7c15ULL * (round + 1);
		for (i = 0; i < 5000; i++) {
			random_step(c1);
			check_invariants(c1);
		}
	}
}

/* Random states: refused, or held exactly and harmless */
static void test_random_set(void **state)
{
	struct vmm_apic good, a;
	u32 i, j, taken = 0;

	(void)state;
	seed = 88172645463325252ULL;
	dirty(c1);
	vmm_lapic_get(c1, &good);
	for (i = 0; i < 200000; i++) {
		a = good;
		for (j = rnd() % 4; j < 4; j++)
			a.regs[rnd() % 64] = rnd() >> (rnd() & 63);
		if (rnd() % 4 == 0)
			a.tsc_deadline = rnd() >> (rnd() & 63);
		if (rnd() % 4 == 0)
			a.base = rnd() >> (rnd() & 63);
		if (vmm_lapic_set(c1, &a))
			continue;
		taken++;
		check_invariants(c1);
		random_step(c1);
		check_invariants(c1);
	}
	assert_true(taken > 1000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		LAPIC_TEST(test_state_round_trip),
		LAPIC_TEST(test_state_expired_timer),
		LAPIC_TEST(test_state_running_timer),
		LAPIC_TEST(test_state_hostile), LAPIC_TEST(test_random),
		LAPIC_TEST(test_random_set),
	};

	return cmocka_run_group_tests_name("lapic_state", tests, NULL, NULL);
}
