// SPDX-License-Identifier: GPL-2.0
/* The real-time clock: the time in every format, its interrupts, CMOS. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "dev/devices.h"
#include "fixture.h"

static int setup(void **state)
{
	const struct rtc_config cfg = {
		.ram_low = 0xc0000000,
		.ram_high = 5ULL << 30,
		.cpus = 3,
	};
	struct fx *fx = fx_new();

	assert_int_equal(rtc_new(&fx->env, &cfg), 0);
	*state = fx;
	return 0;
}

static int teardown(void **state)
{
	fx_free(*state);
	return 0;
}

static uint8_t get(struct fx *fx, uint8_t reg)
{
	fx_out(fx, 0x70, reg, 1);
	return fx_in(fx, 0x71, 1);
}

static void set(struct fx *fx, uint8_t reg, uint8_t value)
{
	fx_out(fx, 0x70, reg, 1);
	fx_out(fx, 0x71, value, 1);
}

static void time_is(struct fx *fx, uint8_t h, uint8_t m, uint8_t s)
{
	assert_int_equal(get(fx, 4), h);
	assert_int_equal(get(fx, 2), m);
	assert_int_equal(get(fx, 0), s);
}

static void host_time(void **state)
{
	struct fx *fx = *state;

	time_is(fx, 0, 0, 0);
	assert_int_equal(get(fx, 6), 2);	/* a Monday */
	assert_int_equal(get(fx, 7), 0x01);
	assert_int_equal(get(fx, 8), 0x01);
	assert_int_equal(get(fx, 9), 0x24);
	assert_int_equal(get(fx, 0x32), 0x20);
	fx_advance(fx, (13 * 3600 + 59 * 60 + 58) * FX_SEC);
	time_is(fx, 0x13, 0x59, 0x58);
	set(fx, 0x0b, 0x06);			/* binary */
	time_is(fx, 13, 59, 58);
	set(fx, 0x0b, 0x00);			/* BCD, 12 hours */
	time_is(fx, 0x81, 0x59, 0x58);
	fx_set_realtime(fx, FX_START - FX_SEC);	/* the host's clock is set */
	set(fx, 0x0b, 0x02);
	time_is(fx, 0x23, 0x59, 0x59);
	assert_int_equal(get(fx, 9), 0x23);
}

/* as hwclock does it: SET, all registers, not SET */
static void set_time(void **state)
{
	struct fx *fx = *state;

	set(fx, 0x0b, 0x82);
	set(fx, 0, 0x30);
	set(fx, 2, 0x45);
	set(fx, 4, 0x21);
	set(fx, 7, 0x29);
	set(fx, 8, 0x02);
	set(fx, 9, 0x28);
	fx_advance(fx, 10 * FX_SEC);
	time_is(fx, 0x21, 0x45, 0x30);		/* it stands still */
	set(fx, 0x0b, 0x02);
	fx_advance(fx, FX_SEC);
	time_is(fx, 0x21, 0x45, 0x31);
	fx_advance(fx, 3 * 3600 * FX_SEC);
	assert_int_equal(get(fx, 8), 0x03);	/* 2028 has a 29 February */
	assert_int_equal(get(fx, 7), 0x01);
	fx_reset(fx);				/* it has a battery */
	time_is(fx, 0x00, 0x45, 0x31);
	set(fx, 4, 0x12);			/* without SET too */
	time_is(fx, 0x12, 0x45, 0x31);
}

static void divider(void **state)
{
	struct fx *fx = *state;

	set(fx, 0x0a, 0x76);			/* held */
	fx_advance(fx, 5 * FX_SEC);
	time_is(fx, 0, 0, 0);
	set(fx, 0x0a, 0x26);
	fx_advance(fx, FX_SEC / 2 - 1000);
	time_is(fx, 0, 0, 0);
	fx_advance(fx, 1000);			/* the first update: half a second */
	time_is(fx, 0, 0, 1);
}

static void uip(void **state)
{
	struct fx *fx = *state;

	assert_false(get(fx, 0x0a) & 0x80);
	fx_advance(fx, FX_SEC - 200000);
	assert_true(get(fx, 0x0a) & 0x80);
	set(fx, 0x0a, 0xa6);
	assert_int_equal(get(fx, 0x0a), 0xa6);	/* read-only: still updating */
	fx_advance(fx, 200000);
	assert_int_equal(get(fx, 0x0a), 0x26);
}

static void update_interrupt(void **state)
{
	struct fx *fx = *state;

	get(fx, 0x0c);
	set(fx, 0x0b, 0x12);
	fx_advance(fx, FX_SEC);
	assert_true(fx->level[8]);
	fx_advance(fx, 5 * FX_SEC);
	assert_int_equal(fx->edges[8], 1);	/* none until C is read */
	assert_int_equal(get(fx, 0x0c) & 0xb0, 0x90);
	assert_false(fx->level[8]);
	assert_int_equal(get(fx, 0x0c) & 0x90, 0);
	fx_advance(fx, FX_SEC);
	assert_int_equal(fx->edges[8], 2);
	set(fx, 0x0b, 0x82);			/* SET clears UIE */
	assert_int_equal(get(fx, 0x0b), 0x82);
}

static void periodic_interrupt(void **state)
{
	struct fx *fx = *state;
	unsigned int i;

	set(fx, 0x0a, 0x26);			/* 1024 Hz */
	set(fx, 0x0b, 0x42);
	for (i = 0; i < 100; i++) {
		get(fx, 0x0c);
		fx_advance(fx, 976563);
	}
	assert_in_range(fx->edges[8], 98, 100);
	set(fx, 0x0a, 0x20);			/* rate 0: none */
	get(fx, 0x0c);
	i = fx->edges[8];
	fx_advance(fx, FX_SEC);
	assert_int_equal(fx->edges[8], i);
}

static void alarm_interrupt(void **state)
{
	struct fx *fx = *state;

	set(fx, 1, 0x10);
	set(fx, 3, 0x01);
	set(fx, 5, 0xff);			/* every hour */
	set(fx, 0x0b, 0x22);
	get(fx, 0x0c);
	fx_advance(fx, 69 * FX_SEC);
	assert_false(fx->level[8]);
	fx_advance(fx, FX_SEC);
	assert_true(fx->level[8]);
	assert_int_equal(get(fx, 0x0c) & 0xa0, 0xa0);
	fx_advance(fx, 86400 * 30 * FX_SEC);	/* found although long past */
	assert_true(fx->level[8]);
}

static void cmos(void **state)
{
	struct fx *fx = *state;

	assert_int_equal(get(fx, 0x0d), 0x80);
	assert_int_equal(get(fx, 0x15) | get(fx, 0x16) << 8, 640);
	assert_int_equal(get(fx, 0x30) | get(fx, 0x31) << 8, 0xffff);
	assert_int_equal(get(fx, 0x34) | get(fx, 0x35) << 8, 0xbf00);
	assert_int_equal(get(fx, 0x5b) | get(fx, 0x5c) << 8 |
			 get(fx, 0x5d) << 16, 5 << 14);
	assert_int_equal(get(fx, 0x5f), 2);
	assert_int_equal(get(fx, 0x10), 0);	/* no floppy */
	set(fx, 0x0f, 0x05);
	assert_int_equal(get(fx, 0x0f | 0x80), 0x05);	/* NMI mask bit */
	fx_out(fx, 0x70, 0x770f, 2);
	assert_int_equal(get(fx, 0x0f), 0x77);
}

/* the farthest dates that the registers can hold have a state too */
static void far_dates(void **state)
{
	static const uint8_t year[][2] = { { 0x00, 0x00 }, { 0x99, 0x99 },
					   { 0xff, 0xff } };
	struct fx *fx = *state;
	unsigned int i;

	for (i = 0; i < 3; i++) {
		set(fx, 0x0b, 0x82);
		set(fx, 0x32, year[i][0]);
		set(fx, 9, year[i][1]);
		set(fx, 0x0b, 0x12);
		fx_roundtrip(fx);
		fx_advance(fx, FX_SEC);
	}
}

static void state_of_everything(void **state)
{
	struct fx *fx = *state;

	set(fx, 4, 0x17);
	set(fx, 0x0b, 0x12);
	fx_roundtrip(fx);
	assert_int_equal(get(fx, 4), 0x17);
	fx_advance(fx, FX_SEC);
	assert_true(fx->level[8]);
	fx_fuzz(fx, fx->env.pio, 0x70, 2, 20000);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(host_time), T(set_time), T(divider), T(uip),
		T(update_interrupt), T(periodic_interrupt), T(alarm_interrupt),
		T(cmos), T(far_dates), T(state_of_everything),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
