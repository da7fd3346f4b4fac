// SPDX-License-Identifier: GPL-2.0
/* How long a guest would stand still, from how fast its memory went over. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "migrate/pace.h"

#define MS	1000000ULL

static void test_predicts(void **state)
{
	struct pace p = { .trip_ns = 1 * MS, .state_ns = 2 * MS };

	/* 1000 pages in 11 ms, of which one is the trip's */
	pace_sent(&p, 1000, 11 * MS);
	assert_int_equal(p.page_ns, 10000);
	assert_int_equal(pace_predict(&p, 0), 4 * MS);
	assert_int_equal(pace_predict(&p, 100), 5 * MS);
}

/* a trip that was measured on a bad day is not taken for the whole */
static void test_short(void **state)
{
	struct pace p = { .trip_ns = 50 * MS };

	pace_sent(&p, 1000, 10 * MS);
	assert_int_equal(p.page_ns, 5000);
}

static void test_slower_at_once(void **state)
{
	struct pace p = { 0 };

	pace_sent(&p, 100, 100 * 1000);
	assert_int_equal(p.page_ns, 1000);
	pace_sent(&p, 100, 100 * 5000);
	assert_int_equal(p.page_ns, 5000);
	/* and faster by and by */
	pace_sent(&p, 100, 100 * 1000);
	assert_int_equal(p.page_ns, 4000);
	/* few pages say nothing */
	pace_sent(&p, 3, 1000 * MS);
	assert_int_equal(p.page_ns, 4000);
}

/* each late attempt wants more room, and there is always a next one */
static void test_late(void **state)
{
	struct pace p = { .state_ns = 2 * MS };
	unsigned int i;

	pace_late(&p, 0, 100 * MS);
	assert_int_equal(p.state_ns, 4 * MS);
	pace_late(&p, 30 * MS, 100 * MS);
	assert_int_equal(p.state_ns, 30 * MS);
	for (i = 0; i < 10; i++)
		pace_late(&p, 500 * MS, 100 * MS);
	assert_int_equal(p.state_ns, 75 * MS);
	assert_true(pace_predict(&p, 0) < 100 * MS);
}

static void test_throttle(void **state)
{
	unsigned int percent = 0, next, n = 0;

	while ((next = pace_throttle(percent)) != percent) {
		assert_true(next > percent && next < 100);
		percent = next;
		n++;
	}
	assert_int_equal(percent, 98);
	assert_int_equal(n, 8);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_predicts),
		cmocka_unit_test(test_short),
		cmocka_unit_test(test_slower_at_once),
		cmocka_unit_test(test_late),
		cmocka_unit_test(test_throttle),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
