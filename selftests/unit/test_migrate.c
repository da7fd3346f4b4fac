// SPDX-License-Identifier: GPL-2.0
/*
 * A migration over a wire that is cut after every message, and in the middle of each;
 * that carries rubbish; and sources that are late, cancelled or refused. The guest is
 * never on both sides, nor on none but when that is known to be in doubt.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "fixture.h"
#include "migrate/message.h"
#include "migrate_fake.h"

static struct fake_run *r;

static int setup(void **state)
{
	r = malloc(sizeof(*r));
	assert_non_null(r);
	fake_init(r);
	return 0;
}

static int teardown(void **state)
{
	fake_free(r);
	free(r);
	fx_hold_clock(false);
	return 0;
}

static void again(void)
{
	fake_free(r);
	fake_init(r);
}

static void says(const char *text, const char *wanted)
{
	if (!strstr(text, wanted))
		print_error("'%s' does not say '%s'\n", text, wanted);
	assert_non_null(strstr(text, wanted));
	assert_null(strchr(text, '\n'));
}

/* ---- as it should be ------------------------------------------------------ */

static void test_moves(void **state)
{
	fake_migrate(r);
	assert_int_equal(r->result.state, SOURCE_MOVED);
	assert_int_equal(r->result.error, 0);
	assert_int_equal(r->result.late, 0);
	assert_int_equal(r->source.stops, 1);
	/* one that is slowed down stays so until it is stopped */
	assert_int_equal(r->source.let_loose, 0);
	assert_int_equal(r->source.resumes, 0);
	assert_false(r->target_paused);
	fake_check_one(r);
	assert_int_equal(r->result.bytes, r->wire.there);
}

static void test_zeroes_stay(void **state)
{
	r->source.writes = 0;
	fake_migrate(r);
	fake_check_one(r);
	/* probes, and of the pages only those that have something in them */
	assert_true(r->wire.there < 4 * MIGRATE_PROBE + FAKE_BYTES * 3 / 4 + 8192);
}

static void test_paused(void **state)
{
	r->source.user_paused = true;
	fake_migrate(r);
	assert_int_equal(r->result.state, SOURCE_MOVED);
	assert_true(r->target_paused);
}

static void test_dry_run(void **state)
{
	r->params.dry_run = true;
	fake_migrate(r);
	assert_int_equal(r->result.state, SOURCE_KEPT);
	assert_int_equal(r->result.error, 0);
	assert_true(r->result.now.predicted_ns > 0);
	assert_int_equal(r->source.stops, 0);
	assert_int_equal(r->source.harvests, 0);
	fake_check_one(r);
}

/* ---- the link is cut ------------------------------------------------------ */

/* where section n of what was recorded begins, and what it is */
static uint64_t section_at(const struct fake_wire *w, unsigned int n,
			   struct section_head *h)
{
	uint64_t at = 0;

	do {
		if (at + sizeof(*h) > w->recorded)
			return UINT64_MAX;
		memcpy(h, w->record + at, sizeof(*h));
		at += sizeof(*h) + h->len;
	} while (n--);
	return at - sizeof(*h) - h->len;
}

static uint64_t find_section(const struct fake_wire *w, const char *tag)
{
	struct section_head h;
	uint64_t at;
	unsigned int n;

	for (n = 0; (at = section_at(w, n, &h)) != UINT64_MAX; n++)
		if (!strncmp(h.tag, tag, SECTION_TAG))
			return at;
	fail();
	return 0;
}

static void cut_there(uint64_t after, uint64_t go, uint64_t end)
{
	again();
	r->wire.cut_there = after;
	fake_migrate(r);
	fake_check_one(r);
	/* not all of "go" came: it does not run there, and before it, it does here */
	if (after < end)
		assert_false(r->target.runs);
	if (after <= go)
		assert_int_equal(r->result.state, SOURCE_KEPT);
	if (after >= end)
		assert_true(r->target.runs);
}

static void test_cut_there(void **state)
{
	struct section_head h;
	uint64_t *at, go, end, i;
	unsigned int n;

	fake_migrate(r);
	go = find_section(&r->wire, MSG_GO);
	end = r->wire.recorded;
	at = calloc(1000, sizeof(*at));
	assert_non_null(at);
	for (n = 0; n < 1000 && (at[n] = section_at(&r->wire, n, &h)) != UINT64_MAX; n++)
		;
	assert_true(n > 20 && n < 1000);
	while (n--) {
		cut_there(at[n], go, end);
		cut_there(at[n] + 1, go, end);
		cut_there(at[n] + sizeof(h), go, end);
	}
	free(at);
	for (i = go; i <= end; i++)
		cut_there(i, go, end);
	/* and anywhere */
	for (i = 9973; i < end; i += 99730)
		cut_there(i, go, end);
}

static void test_cut_back(void **state)
{
	uint64_t end, i, doubts = 0, running;

	fake_migrate(r);
	end = r->wire.back;
	/* "running" is the last thing that is said */
	running = end - sizeof(struct section_head) - sizeof(struct migrate_message);
	for (i = 0; i <= end; i++) {
		again();
		r->wire.cut_back = i;
		fake_migrate(r);
		fake_check_one(r);
		doubts += r->result.state == SOURCE_DOUBT;
		if (i < running - 1)
			assert_false(r->result.state == SOURCE_MOVED);
	}
	assert_true(doubts > 0);
}

/* ---- rubbish -------------------------------------------------------------- */

/* a bit of every section, of its head and of its body */
static void test_flipped(void **state)
{
	struct section_head h;
	uint64_t at[200];
	unsigned int n, i, k;

	fake_migrate(r);
	for (n = 0; n < 200 && (at[n] = section_at(&r->wire, n, &h)) != UINT64_MAX; n++)
		;
	for (i = 0; i < n; i++) {
		for (k = 0; k < 3; k++) {
			again();
			r->wire.flip_at = at[i] + (const unsigned int[]){ 3, 26, 43 }[k];
			r->wire.flip = 1 << i % 8;
			fake_migrate(r);
			fake_check_one(r);
			/* bytes of probes have no meaning, but a checksum */
			assert_false(r->target.runs);
			says(r->target_err, "section ");
			/* also of "go": the target has not got it, and says so */
			assert_int_equal(r->result.state, SOURCE_KEPT);
			says(r->result.text, "section ");
		}
	}
}

/* every byte of what the target says */
static void test_flipped_back(void **state)
{
	uint64_t end, i, doubts = 0;

	fake_migrate(r);
	end = r->wire.back;
	for (i = 0; i < end; i++) {
		again();
		r->wire.flip_at = i;
		r->wire.flip = 0x10;
		r->wire.flip_back = true;
		fake_migrate(r);
		fake_check_one(r);
		says(r->result.text, "section ");
		assert_int_not_equal(r->result.state, SOURCE_MOVED);
		doubts += r->result.state == SOURCE_DOUBT;
	}
	/* "running", and nothing before it */
	assert_int_equal(doubts, sizeof(struct section_head) +
			 sizeof(struct migrate_message));
}

/* ---- promises ------------------------------------------------------------- */

#define MS	1000000ULL

/* the clock stands still, but where the test lets it go on */
static void promise(uint64_t ns)
{
	fx_hold_clock(true);
	r->params.downtime_ns = ns;
	r->source.slow_ns = r->target.slow_ns = 2 * ns;
}

static void test_late_stop(void **state)
{
	promise(10 * MS);
	r->source.slow_stops = 1;
	fake_migrate(r);
	assert_int_equal(r->result.state, SOURCE_MOVED);
	assert_int_equal(r->result.late, 1);
	assert_int_equal(r->source.stops, 2);
	assert_true(r->result.downtime_ns <= 10 * MS);
	fake_check_one(r);
}

static void test_late_pages(void **state)
{
	promise(10 * MS);
	r->source.slow_sends = 2;
	fake_migrate(r);
	assert_int_equal(r->result.state, SOURCE_MOVED);
	assert_int_equal(r->result.late, 2);
	assert_true(r->result.downtime_ns <= 10 * MS);
	fake_check_one(r);
}

/* all is over there, and is forgotten again */
static void test_late_ready(void **state)
{
	promise(10 * MS);
	r->target.slow_loads = 1;
	fake_migrate(r);
	assert_int_equal(r->result.state, SOURCE_MOVED);
	assert_int_equal(r->result.late, 1);
	assert_int_equal(r->target.agains, 1);
	assert_true(r->result.downtime_ns <= 10 * MS);
	fake_check_one(r);
}

static void test_always_late(void **state)
{
	promise(10 * MS);
	r->target.slow_loads = 1000;
	fake_migrate(r);
	assert_int_equal(r->result.state, SOURCE_KEPT);
	assert_true(r->source.runs);
	says(r->result.text, "longer than the 10.0 ms that were promised (--downtime), tried 8 times");
	fake_check_one(r);
}

static void test_impossible(void **state)
{
	promise(1);
	fake_migrate(r);
	assert_int_equal(r->result.state, SOURCE_KEPT);
	assert_int_equal(r->source.stops, 0);
	says(r->result.text, "would still stand still for 2.0 ms");
	fake_check_one(r);
}

/* ---- and those who say no ------------------------------------------------- */

static void test_refused(void **state)
{
	r->target.refuse = "the guest was given the CPU feature avx512f";
	fake_migrate(r);
	assert_int_equal(r->result.state, SOURCE_KEPT);
	assert_int_equal(r->source.stops, 0);
	assert_int_equal(r->source.harvests, 0);
	says(r->result.text, "the target refuses: the guest was given the CPU feature avx512f");
	fake_check_one(r);
}

static void test_cancelled(void **state)
{
	r->source.cancel = true;
	fake_migrate(r);
	assert_int_equal(r->result.state, SOURCE_KEPT);
	says(r->result.text, "given up");
	fake_check_one(r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_moves, setup, teardown),
		cmocka_unit_test_setup_teardown(test_zeroes_stay, setup, teardown),
		cmocka_unit_test_setup_teardown(test_paused, setup, teardown),
		cmocka_unit_test_setup_teardown(test_dry_run, setup, teardown),
		cmocka_unit_test_setup_teardown(test_cut_there, setup, teardown),
		cmocka_unit_test_setup_teardown(test_cut_back, setup, teardown),
		cmocka_unit_test_setup_teardown(test_flipped, setup, teardown),
		cmocka_unit_test_setup_teardown(test_flipped_back, setup, teardown),
		cmocka_unit_test_setup_teardown(test_late_stop, setup, teardown),
		cmocka_unit_test_setup_teardown(test_late_pages, setup, teardown),
		cmocka_unit_test_setup_teardown(test_late_ready, setup, teardown),
		cmocka_unit_test_setup_teardown(test_always_late, setup, teardown),
		cmocka_unit_test_setup_teardown(test_impossible, setup, teardown),
		cmocka_unit_test_setup_teardown(test_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(test_cancelled, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
