// SPDX-License-Identifier: GPL-2.0
/* The local APIC's timer, on a clock that only the test moves. */
#include "lapic_fixture.h"

static void test_timer_oneshot(void **state)
{
	static const u8 tdcr[] = { 0, 1, 2, 3, 8, 9, 10, 11 };
	static const u32 div[] = { 2, 4, 8, 16, 32, 64, 128, 1 };
	u32 i;

	for (i = 0; i < 8; i++) {
		lapic_setup(state);
		enable(c0);
		wr(c0, LAPIC_LVT_TIMER, 0x40);
		wr(c0, LAPIC_TDCR, tdcr[i]);
		wr(c0, LAPIC_TMICT, 1000);
		assert_int_equal(rd(c0, LAPIC_TMCCT), 1000);
		assert_int_equal(advance(c0, 400 * div[i]), 0);
		assert_int_equal(rd(c0, LAPIC_TMCCT), 600);
		assert_int_equal(advance(c0, 600 * div[i] - 1), 0);
		assert_int_equal(rd(c0, LAPIC_TMCCT), 1);
		assert_int_equal(kicks[0], 0);
		assert_int_equal(advance(c0, 1), 1);
		assert_int_equal(kicks[0], 1);
		pump(c0);
		assert_int_equal(vmm_lapic_pending(c0), 0x40);
		assert_int_equal(rd(c0, LAPIC_TMCCT), 0);
		assert_int_equal(rd(c0, LAPIC_TMICT), 1000);
		assert_int_equal(run_for(c0, 1000000000), 1);
		assert_int_equal(run_for(c0, 1000000000), 0);
	}
}

static void test_timer_periodic(void **state)
{
	(void)state;
	enable(c0);
	wr(c0, LAPIC_TDCR, 0xb);
	wr(c0, LAPIC_LVT_TIMER, 0x20040);
	wr(c0, LAPIC_TMICT, 1000000);
	assert_int_equal(run_for(c0, 50500000), 50);
	assert_int_equal(rd(c0, LAPIC_TMCCT), 500000);
	/* a thread that does not look: one alarm, one interrupt, the phase kept */
	assert_int_equal(advance(c0, 10000000), 1);
	assert_int_equal(kicks[0], 51);
	pump(c0);
	assert_int_equal(rd(c0, LAPIC_TMCCT), 500000);
	assert_int_equal(run_for(c0, 500000), 2);
	/* 0 stops it */
	wr(c0, LAPIC_TMICT, 0);
	assert_false(c0->apic.timer.queued);
	assert_int_equal(rd(c0, LAPIC_TMCCT), 0);
	assert_int_equal(run_for(c0, 10000000), 0);
}

static void test_timer_floor(void **state)
{
	(void)state;
	enable(c0);
	wr(c0, LAPIC_TDCR, 0xb);
	wr(c0, LAPIC_LVT_TIMER, 0x20040);
	wr(c0, LAPIC_TMICT, 1);
	assert_int_equal(rd(c0, LAPIC_TMCCT), 1);
	assert_int_equal(run_for(c0, 1000000), 5);
	assert_int_equal(kicks[0], 5);
	/* one-shot is as short as asked for: each costs the guest an exit */
	wr(c0, LAPIC_LVT_TIMER, 0x40);
	wr(c0, LAPIC_TMICT, 1);
	assert_int_equal(advance(c0, 1), 1);
}

static void test_timer_masked(void **state)
{
	(void)state;
	enable(c0);
	wr(c0, LAPIC_TDCR, 0xb);
	wr(c0, LAPIC_LVT_TIMER, 0x30040);
	wr(c0, LAPIC_TMICT, 1000000);
	assert_false(c0->apic.timer.queued);
	advance(c0, 10250000);
	assert_int_equal(rd(c0, LAPIC_TMCCT), 750000);
	assert_int_equal(vmm_lapic_pending(c0), -1);
	wr(c0, LAPIC_LVT_TIMER, 0x20040);
	assert_int_equal(run_for(c0, 749999), 0);
	assert_int_equal(run_for(c0, 2), 1);
	wr(c0, LAPIC_LVT_TIMER, 0x30040);
	assert_int_equal(run_for(c0, 10000000), 0);
}

static void test_timer_modes(void **state)
{
	(void)state;
	enable(c0);
	wr(c0, LAPIC_TDCR, 0xb);
	/* one-shot to periodic goes on counting, and starts again at the end */
	wr(c0, LAPIC_LVT_TIMER, 0x40);
	wr(c0, LAPIC_TMICT, 1000000);
	advance(c0, 300000);
	wr(c0, LAPIC_LVT_TIMER, 0x20040);
	assert_int_equal(rd(c0, LAPIC_TMCCT), 700000);
	assert_int_equal(run_for(c0, 1800000), 2);
	/* and back: once more, then no more */
	wr(c0, LAPIC_LVT_TIMER, 0x40);
	assert_int_equal(run_for(c0, 5000000), 1);
	/* the divider changes the rate, not the count */
	wr(c0, LAPIC_TMICT, 1000000);
	advance(c0, 500000);
	wr(c0, LAPIC_TDCR, 0);
	assert_int_equal(rd(c0, LAPIC_TMCCT), 500000);
	advance(c0, 500000);
	assert_int_equal(rd(c0, LAPIC_TMCCT), 250000);
	/* to TSC-deadline disarms; counts cannot be written there */
	wr(c0, LAPIC_LVT_TIMER, 0x40040);
	assert_int_equal(rd(c0, LAPIC_TMCCT), 0);
	wr(c0, LAPIC_TMICT, 77);
	assert_int_equal(rd(c0, LAPIC_TMICT), 1000000);
	assert_int_equal(run_for(c0, 5000000), 0);
	/* and back disarms */
	wrmsr(c0, 0x6e0, vmm_guest_tsc(c0) + 1000000);
	assert_true(c0->apic.timer.queued);
	wr(c0, LAPIC_LVT_TIMER, 0x40);
	assert_int_equal(rdmsr(c0, 0x6e0), 0);
	assert_int_equal(run_for(c0, 5000000), 0);
	wrmsr(c0, 0x6e0, vmm_guest_tsc(c0) + 1000000);	/* ignored here */
	assert_int_equal(rdmsr(c0, 0x6e0), 0);
	/* an expiry that was not looked at yet is not lost by what comes next */
	wr(c0, LAPIC_TMICT, 1000);
	advance(c0, 10000);
	wr(c0, LAPIC_TMICT, 1000);
	assert_true(in_irr(c0, 0x40));
	assert_int_equal(run_for(c0, 10000), 2);
	wr(c0, LAPIC_TMICT, 1000);
	advance(c0, 10000);
	wr(c0, LAPIC_LVT_TIMER, 0x40041);
	assert_int_equal(vmm_lapic_pending(c0), 0x40);
}

static void test_timer_deadline(void **state)
{
	u64 at;

	(void)state;
	enable(c0);
	wr(c0, LAPIC_LVT_TIMER, 0x40040);
	at = vmm_guest_tsc(c0) + 30000000;
	assert_int_equal(wrmsr(c0, 0x6e0, at), 0);
	assert_int_equal(rdmsr(c0, 0x6e0), at);
	assert_int_equal(run_for(c0, 9999000), 0);
	assert_true(vmm_guest_tsc(c0) < at);
	assert_int_equal(run_for(c0, 2000), 1);
	assert_int_equal(rdmsr(c0, 0x6e0), 0);
	/* in the past: at once, no alarm */
	assert_int_equal(wrmsr(c0, 0x6e0, 1), 0);
	assert_int_equal(vmm_lapic_pending(c0), 0x40);
	assert_false(c0->apic.timer.queued);
	assert_int_equal(rdmsr(c0, 0x6e0), 0);
	assert_int_equal(run_for(c0, 1), 1);
	/* 0 disarms */
	wrmsr(c0, 0x6e0, vmm_guest_tsc(c0) + 1000);
	wrmsr(c0, 0x6e0, 0);
	assert_int_equal(run_for(c0, 1000000), 0);
	/* never: an alarm now and then, no interrupt */
	wrmsr(c0, 0x6e0, ~0ULL);
	assert_in_range(c0->apic.timer.expires - kshim_now, 99000000000LL, 101000000000LL);
	assert_int_equal(run_for(c0, 350000000000ULL), 0);
	assert_in_range(kicks[0], 1, 10);
	/* passed, not looked at, and set again */
	wrmsr(c0, 0x6e0, vmm_guest_tsc(c0) + 1000);
	advance(c0, 100000);
	wrmsr(c0, 0x6e0, vmm_guest_tsc(c0) + 1000);
	assert_true(in_irr(c0, 0x40));
	assert_int_equal(run_for(c0, 100000), 2);
	/* masked: it passes in silence */
	wr(c0, LAPIC_LVT_TIMER, 0x50040);
	wrmsr(c0, 0x6e0, vmm_guest_tsc(c0) + 1000);
	assert_int_equal(run_for(c0, 1000000), 0);
	assert_int_equal(rdmsr(c0, 0x6e0), 0);
}

static void test_timer_tsc_moved(void **state)
{
	u64 at;

	(void)state;
	enable(c0);
	wr(c0, LAPIC_LVT_TIMER, 0x40040);
	at = vmm_guest_tsc(c0) + 30000000;
	wrmsr(c0, 0x6e0, at);
	c0->tsc_offset -= 30000000;		/* twice as far now */
	vmm_lapic_tsc_moved(c0);
	assert_int_equal(run_for(c0, 15000000), 0);
	assert_int_equal(rdmsr(c0, 0x6e0), at);
	c0->tsc_offset += 60000000;		/* past it */
	vmm_lapic_tsc_moved(c0);
	assert_int_equal(run_for(c0, 1), 1);
	/* an alarm that rang too early for a moved TSC finds nothing */
	wrmsr(c0, 0x6e0, vmm_guest_tsc(c0) + 3000000);
	c0->tsc_offset -= 3000000;
	assert_int_equal(run_for(c0, 1500000), 0);
	assert_int_equal(run_for(c0, 1000000), 1);
}

/* A TSC slower than tsc_khz says: never early, and not many alarms */
static void test_timer_slow_tsc(void **state)
{
	u64 at;
	int i;

	(void)state;
	enable(c0);
	wr(c0, LAPIC_LVT_TIMER, 0x40040);
	at = vmm_guest_tsc(c0) + 300000000;
	wrmsr(c0, 0x6e0, at);
	for (i = 0; i < 100 && c0->apic.tsc_deadline; i++) {
		u64 left = c0->apic.timer.expires - kshim_now;

		c0->tsc_offset -= left * 3 * 5 / 1000;	/* half a per cent */
		advance(c0, left);
		pump(c0);
	}
	assert_true(vmm_guest_tsc(c0) >= at);
	assert_true(vmm_guest_tsc(c0) < at + 100);
	assert_in_range(i, 2, 10);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		LAPIC_TEST(test_timer_oneshot), LAPIC_TEST(test_timer_periodic),
		LAPIC_TEST(test_timer_floor), LAPIC_TEST(test_timer_masked),
		LAPIC_TEST(test_timer_modes), LAPIC_TEST(test_timer_deadline),
		LAPIC_TEST(test_timer_tsc_moved),
		LAPIC_TEST(test_timer_slow_tsc),
	};

	return cmocka_run_group_tests_name("lapic_timer", tests, NULL, NULL);
}
