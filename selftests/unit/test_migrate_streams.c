// SPDX-License-Identifier: GPL-2.0
/*
 * A migration whose pages go by several channels: all of them are there when that is
 * said, and the newest of each; and whatever becomes of a channel, one runs the guest.
 */
#define _GNU_SOURCE 1
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "fixture.h"
#include "migrate/message.h"
#include "migrate/streams.h"
#include "migrate_fake.h"
#include "state/pages.h"

#define MS	1000000ULL

static struct fake_run *r;
static char err[512];

static int setup(void **state)
{
	r = malloc(sizeof(*r));
	assert_non_null(r);
	fake_init(r);
	r->params.streams = 3;
	r->source.spread = r->target.spread = true;
	return 0;
}

static int teardown(void **state)
{
	fx_hold_clock(false);
	fake_free(r);
	free(r);
	return 0;
}

static void again(void)
{
	teardown(NULL);
	setup(NULL);
}

static void test_moves(void **state)
{
	unsigned int i;

	for (i = 0; i < 20; i++) {
		again();
		fake_migrate(r);
		assert_int_equal(r->result.state, SOURCE_MOVED);
		/* no page went by the first channel, and all are counted */
		assert_true(r->wire.there < 4 * MIGRATE_PROBE + FAKE_BYTES / 2);
		assert_true(r->result.bytes > r->wire.there + FAKE_BYTES / 2);
		fake_check_one(r);
	}
}

static void test_one(void **state)
{
	r->params.streams = 1;
	fake_migrate(r);
	assert_int_equal(r->result.state, SOURCE_MOVED);
	fake_check_one(r);
}

static void test_late(void **state)
{
	fx_hold_clock(true);
	r->params.downtime_ns = 10 * MS;
	r->source.slow_ns = r->target.slow_ns = 20 * MS;
	r->source.slow_sends = 3;
	r->target.slow_loads = 2;
	r->source.writes = 8;
	fake_migrate(r);
	assert_int_equal(r->result.state, SOURCE_MOVED);
	assert_true(r->result.late >= 3);
	fake_check_one(r);
}

static void test_dry_run(void **state)
{
	r->params.dry_run = true;
	fake_migrate(r);
	assert_int_equal(r->connected, 3);	/* by fake_migrate, to close them */
	assert_int_equal(r->result.error, 0);
	assert_int_equal(r->result.state, SOURCE_KEPT);
	fake_check_one(r);
}

/* who knows no token is sent away */
static void test_strangers(void **state)
{
	r->strangers = 5;
	fake_migrate(r);
	assert_int_equal(r->result.state, SOURCE_MOVED);
	fake_check_one(r);
}

static void test_missing(void **state)
{
	r->missing = 1;
	fake_migrate(r);
	assert_int_equal(r->result.state, SOURCE_KEPT);
	assert_non_null(strstr(r->result.text, "nobody comes"));
	fake_check_one(r);
}

static void test_too_many_strangers(void **state)
{
	r->strangers = 1000;
	fake_migrate(r);
	assert_int_equal(r->result.state, SOURCE_KEPT);
	assert_non_null(strstr(r->result.text, "too many connect"));
	fake_check_one(r);
}

static void test_cut(void **state)
{
	unsigned int kept = 0;
	uint64_t end, i;

	fake_migrate(r);
	end = r->wire.there;
	for (i = 0; i < end; i += end / 25) {
		again();
		r->wire.cut_there = i;
		fake_migrate(r);
		fake_check_one(r);
		kept += r->result.state == SOURCE_KEPT;
	}
	assert_true(kept > 20);
}

/* ---- one side alone ------------------------------------------------------- */

static uint8_t memory[2][2 * PAGES_BYTES];
static int pair[2];

static struct channel *source_end(void *owner, char *why, size_t len)
{
	return channel_new(pair[0], pair[0], "there");
}

static struct channel *target_end(void *owner, char *why, size_t len)
{
	return channel_new(pair[1], pair[1], "here");
}

static uint8_t *place(void *owner, uint64_t gpa, uint64_t len)
{
	return gpa < sizeof(memory[1]) && len <= sizeof(memory[1]) - gpa ? memory[1] + gpa : NULL;
}

static const struct target_guest guest = { .place = place };
static const struct migrate_streams one = { .count = 1, .token = "sixteen bytes.." };

static void begin(struct streams_out **o, struct streams_in **i)
{
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	*o = streams_out_new(&one, source_end, NULL, 0, err, sizeof(err));
	*i = streams_in_new(&one, target_end, NULL, 5000 * MS, err, sizeof(err));
	assert_true(*o && *i);
	assert_int_equal(streams_in_start(*i, &guest), 0);
}

/* however slow the other side is, nobody waits for ever, and the newest copy stays */
static void test_order(void **state)
{
	struct channel *first = channel_new(dup(0), dup(0), "first");
	struct streams_out *o;
	struct streams_in *i;
	unsigned int n;
	int ret;

	begin(&o, &i);
	for (n = 0; n < 200; n++) {
		memset(memory[0], n, PAGES_BYTES);
		while ((ret = streams_out_put(o, 0, memory[0], PAGES_MAX, false)) == -EAGAIN)
			;
		assert_int_equal(ret, 0);
		streams_out_barrier(o, n + 1);
		while ((ret = streams_out_wait(o)) == -EAGAIN)
			;
		assert_int_equal(ret, 0);
		assert_int_equal(streams_in_wait(i, n + 1, first, err, sizeof(err)), 0);
		assert_memory_equal(memory[0], memory[1], PAGES_BYTES);
	}
	streams_out_free(o);
	streams_in_free(i);
	channel_close(first);
}

static void test_beyond(void **state)
{
	struct channel *first = channel_new(dup(0), dup(0), "first");
	struct streams_out *o;
	struct streams_in *i;
	int ret = 0;

	begin(&o, &i);
	assert_int_equal(streams_out_put(o, 2 * PAGES_BYTES, memory[0], 1, false), 0);
	streams_out_barrier(o, 1);
	assert_int_not_equal(streams_in_wait(i, 1, first, err, sizeof(err)), 0);
	assert_non_null(strstr(err, "a stream: here: section 1 \"pages\": has pages that are not in RAM"));
	streams_in_free(i);
	/* and the other side finds that out */
	while (!ret || ret == -EAGAIN)
		ret = streams_out_put(o, 0, memory[0], PAGES_MAX, false);
	assert_non_null(strstr(streams_out_error(o), "there: a stream: "));
	streams_out_free(o);
	channel_close(first);
}

static void test_nothing_for_it(void **state)
{
	struct channel *first = channel_new(dup(0), dup(0), "first");
	struct sink out = { .write = fd_write, .owner = &pair[0] };
	struct streams_in *i;

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	assert_int_equal(section_put(&out, MSG_STREAM, 1, &(struct migrate_streams){
				     .token = "sixteen bytes.." }, sizeof(one), NULL, 0), 0);
	assert_int_equal(message_put(&out, MSG_GO, 1, 0), 0);
	i = streams_in_new(&one, target_end, NULL, 5000 * MS, err, sizeof(err));
	assert_non_null(i);
	assert_int_equal(streams_in_start(i, &guest), 0);
	assert_int_not_equal(streams_in_wait(i, 1, first, err, sizeof(err)), 0);
	assert_non_null(strstr(err, "section 1 \"go\": is nothing for a stream"));
	streams_in_free(i);
	close(pair[0]);
	channel_close(first);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_moves), T(test_one), T(test_late), T(test_dry_run), T(test_strangers),
		T(test_missing), T(test_too_many_strangers), T(test_cut), T(test_order),
		T(test_beyond), T(test_nothing_for_it),
	};

	return cmocka_run_group_tests_name("migrate_streams", tests, NULL, NULL);
}
