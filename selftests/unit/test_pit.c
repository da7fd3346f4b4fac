// SPDX-License-Identifier: GPL-2.0
/* The 8254: counters against the clock, latches, interrupts, port 0x61. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "dev/devices.h"
#include "fixture.h"

#define HZ	1193182ULL
/* the first moment at which n ticks have passed, ns */
#define TICKS(n)	(((n) * FX_SEC + HZ - 1) / HZ)

static int setup(void **state)
{
	struct fx *fx = fx_new();

	assert_int_equal(pit_new(&fx->env), 0);
	*state = fx;
	return 0;
}

static int teardown(void **state)
{
	fx_free(*state);
	return 0;
}

static void load(struct fx *fx, unsigned int chan, unsigned int mode,
		 uint16_t count)
{
	fx_out(fx, 0x43, chan << 6 | 0x30 | mode << 1, 1);
	fx_out(fx, 0x40 + chan, count & 0xff, 1);
	fx_out(fx, 0x40 + chan, count >> 8, 1);
}

static unsigned int latch(struct fx *fx, unsigned int chan)
{
	unsigned int low;

	fx_out(fx, 0x43, chan << 6, 1);
	low = fx_in(fx, 0x40 + chan, 1);
	return low | fx_in(fx, 0x40 + chan, 1) << 8;
}

static void mode2_counts_and_interrupts(void **state)
{
	struct fx *fx = *state;
	unsigned int i, edges = fx->edges[0];

	load(fx, 0, 2, 11932);		/* 100 Hz */
	edges = fx->edges[0];
	assert_int_equal(latch(fx, 0), 11932);
	fx_advance(fx, TICKS(932));
	assert_int_equal(latch(fx, 0), 11000);
	fx_advance(fx, TICKS(11000));
	assert_int_equal(fx->edges[0], edges + 1);
	for (i = 0; i < 10; i++)
		fx_advance(fx, 10 * FX_MS + 1000);
	assert_int_equal(fx->edges[0], edges + 11);
}

/* a guest that was stopped for a minute gets one tick, not 6000 */
static void lost_ticks_are_dropped(void **state)
{
	struct fx *fx = *state;
	unsigned int edges;

	load(fx, 0, 2, 11932);
	edges = fx->edges[0];
	fx_advance(fx, 60 * FX_SEC);
	assert_int_equal(fx->edges[0], edges + 1);
	fx_advance(fx, 10 * FX_MS + 1000);
	assert_int_equal(fx->edges[0], edges + 2);
}

static void fast_is_limited(void **state)
{
	struct fx *fx = *state;
	unsigned int edges, i;

	load(fx, 0, 2, 1);
	edges = fx->edges[0];
	for (i = 0; i < 100; i++)
		fx_advance(fx, 1000);
	assert_in_range(fx->edges[0] - edges, 1, 3);
}

static void mode0_is_one_shot(void **state)
{
	struct fx *fx = *state;
	unsigned int edges = fx->edges[0];

	load(fx, 0, 0, 1193);
	assert_false(fx->level[0]);
	fx_advance(fx, TICKS(1192) - 1000);
	assert_int_equal(fx->edges[0], edges);
	fx_advance(fx, 2000);
	assert_int_equal(fx->edges[0], edges + 1);
	assert_true(fx->level[0]);
	fx_advance(fx, FX_SEC);
	assert_int_equal(fx->edges[0], edges + 1);
	load(fx, 0, 0, 0);
	assert_false(fx->level[0]);
}

static void read_back(void **state)
{
	struct fx *fx = *state;

	load(fx, 2, 3, 1000);
	fx_out(fx, 0x61, 1, 1);
	fx_out(fx, 0x43, 0xe8, 1);		/* status only */
	assert_int_equal(fx_in(fx, 0x42, 1), 0xb6);
	fx_out(fx, 0x43, 0xb4, 1);		/* a new control word: no count */
	fx_out(fx, 0x43, 0xc8, 1);		/* both */
	assert_int_equal(fx_in(fx, 0x42, 1) & 0x7f, 0x74);
	fx_in(fx, 0x42, 2);
	load(fx, 0, 2, 5000);
	fx_out(fx, 0x43, 0xd2, 1);		/* count of 0 */
	fx_advance(fx, TICKS(100));
	fx_out(fx, 0x43, 0xd2, 1);		/* the first latch holds */
	assert_int_equal(fx_in(fx, 0x40, 1), 5000 & 0xff);
	assert_int_equal(fx_in(fx, 0x40, 1), 5000 >> 8);
	assert_int_equal(latch(fx, 0), 4900);
}

static void single_bytes(void **state)
{
	struct fx *fx = *state;

	fx_out(fx, 0x43, 0x54, 1);		/* channel 1, low byte, mode 2 */
	fx_out(fx, 0x41, 0x12, 1);
	assert_int_equal(fx_in(fx, 0x41, 1), 0x12);
	assert_int_equal(fx_in(fx, 0x41, 1), 0x12);
	fx_out(fx, 0x43, 0x64, 1);		/* high byte */
	fx_out(fx, 0x41, 0x12, 1);
	assert_int_equal(fx_in(fx, 0x41, 1), 0x12);
}

static void bcd(void **state)
{
	struct fx *fx = *state;

	fx_out(fx, 0x43, 0x35, 1);
	fx_out(fx, 0x40, 0x00, 1);
	fx_out(fx, 0x40, 0x10, 1);		/* 1000 */
	fx_advance(fx, TICKS(1));
	assert_int_equal(latch(fx, 0), 0x0999);
}

/* how Linux measures the TSC: mode 0 on channel 2, then bit 5 of 0x61 */
static void calibration(void **state)
{
	struct fx *fx = *state;
	unsigned int ticks = HZ / 20;

	fx_out(fx, 0x61, (fx_in(fx, 0x61, 1) & ~2) | 1, 1);
	load(fx, 2, 0, ticks);
	assert_false(fx_in(fx, 0x61, 1) & 0x20);
	fx_advance(fx, TICKS(ticks) - 2000);
	assert_false(fx_in(fx, 0x61, 1) & 0x20);
	fx_advance(fx, 3000);
	assert_true(fx_in(fx, 0x61, 1) & 0x20);
}

static void gate(void **state)
{
	struct fx *fx = *state;

	fx_out(fx, 0x61, 0, 1);
	load(fx, 2, 0, 10000);
	fx_advance(fx, TICKS(5000));
	assert_int_equal(latch(fx, 2), 10000);	/* closed: it does not count */
	fx_out(fx, 0x61, 1, 1);
	fx_advance(fx, TICKS(4000));
	fx_out(fx, 0x61, 0, 1);
	fx_advance(fx, TICKS(5000));
	assert_int_equal(latch(fx, 2), 6000);
	load(fx, 2, 2, 10000);
	fx_out(fx, 0x61, 1, 1);
	fx_advance(fx, TICKS(4000));
	fx_out(fx, 0x61, 0, 1);
	fx_out(fx, 0x61, 1, 1);			/* mode 2 starts again */
	assert_int_equal(latch(fx, 2), 10000);
}

static void refresh_toggles(void **state)
{
	struct fx *fx = *state;
	unsigned int i, seen = 0;

	for (i = 0; i < 10; i++) {
		seen |= 1U << !!(fx_in(fx, 0x61, 1) & 0x10);
		fx_advance(fx, 15000);
	}
	assert_int_equal(seen, 3);
}

static void state_of_everything(void **state)
{
	struct fx *fx = *state;
	unsigned int before, edges;

	load(fx, 0, 2, 50000);
	fx_advance(fx, TICKS(1234));
	before = latch(fx, 0);
	fx_roundtrip(fx);
	assert_int_equal(latch(fx, 0), before);
	edges = fx->edges[0];
	fx_advance(fx, TICKS(50000));		/* the timer was armed again */
	assert_int_equal(fx->edges[0], edges + 1);
	fx_fuzz(fx, fx->env.pio, 0x40, 4, 20000);
	fx_fuzz(fx, fx->env.pio, 0x61, 1, 1000);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(mode2_counts_and_interrupts), T(lost_ticks_are_dropped),
		T(fast_is_limited), T(mode0_is_one_shot), T(read_back),
		T(single_bytes), T(bcd), T(calibration), T(gate),
		T(refresh_toggles), T(state_of_everything),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
