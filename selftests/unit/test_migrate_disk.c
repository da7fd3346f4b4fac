// SPDX-License-Identifier: GPL-2.0
/*
 * A migration with a disk that both sides have, over a wire that is cut after every
 * byte from "offer" on: one of the two runs the guest, never two and never none. So it
 * is when the disk is full or the target killed at the worst moment.
 */
#define _GNU_SOURCE 1
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "block/block.h"
#include "loop.h"
#include "migrate/disk_shared.h"
#include "migrate/message.h"
#include "migrate_fake.h"
#include "snapshot_fixture.h"

static struct fake_run *r;
static struct loop *loop;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char err[512];

static struct block *open_disk(bool late)
{
	const struct block_opts o = { .late = late };
	struct block *b = block_open(sf_path("disk"), &o, loop, err, sizeof(err));

	if (!b)
		fail_msg("%s", err);
	return b;
}

static int setup(void **state)
{
	loop = loop_new(&lock);
	sf_write(sf_path("disk"), "a disk", 6);
	assert_int_equal(truncate(sf_path("disk"), 1 << 20), 0);
	r = malloc(sizeof(*r));
	assert_non_null(r);
	fake_init(r);
	r->source.disk = open_disk(false);
	r->target.disk = open_disk(true);
	return 0;
}

static void close_all(void)
{
	block_close(r->source.disk);
	block_close(r->target.disk);
	fake_free(r);
}

static int teardown(void **state)
{
	close_all();
	free(r);
	loop_free(loop);
	return 0;
}

static void again(void)
{
	close_all();
	fake_init(r);
	r->source.disk = open_disk(false);
	r->target.disk = open_disk(true);
}

static uint64_t generation(void)
{
	uint64_t n = 0;

	assert_int_equal(block_generation_get(r->source.disk, &n, err, sizeof(err)), 0);
	return n;
}

/* one of the two, and it has the disk; the other one cannot have it */
static void check_one(void)
{
	const struct fake_vm *has, *not;

	fake_check_one(r);
	assert_int_not_equal(r->result.state, SOURCE_DOUBT);
	assert_true(r->source.runs != r->target.runs);
	has = r->source.runs ? &r->source : &r->target;
	not = r->source.runs ? &r->target : &r->source;
	assert_int_equal(block_take(not->disk, err, sizeof(err)), -EAGAIN);
	assert_int_equal(block_take(has->disk, err, sizeof(err)), 0);
	if (r->target.runs)
		assert_int_equal(generation(), r->target.lent.generation + 1);
}

static void test_moves(void **state)
{
	fake_migrate(r);
	assert_int_equal(r->result.state, SOURCE_MOVED);
	assert_int_equal(r->result.error, 0);
	check_one();
}

static void test_cut_there(void **state)
{
	uint64_t end, i, kept = 0, moved = 0;

	fake_migrate(r);
	end = r->wire.there;
	/* "offer" and "go", of 48 bytes each, and some of what is before them */
	for (i = end - 200; i <= end; i++) {
		again();
		r->wire.cut_there = i;
		fake_migrate(r);
		check_one();
		kept += r->source.runs;
		moved += r->target.runs;
	}
	/* when all of "go" came it is who asks the disk first */
	assert_true(kept >= 200 && kept + moved == 201);
}

static void test_cut_back(void **state)
{
	uint64_t end, i, moved = 0, kept = 0;

	fake_migrate(r);
	end = r->wire.back;
	for (i = end - 2 * 48 - 10; i <= end; i++) {
		again();
		r->wire.cut_back = i;
		fake_migrate(r);
		check_one();
		moved += r->target.runs;
		kept += r->source.runs;
	}
	/* all of "ready" came: the source heard nothing more, and asked the disk */
	assert_true(moved >= 48 && kept >= 48);
}

/* and every message before, of either side */
static void test_cut_anywhere(void **state)
{
	uint64_t there, back, i;

	fake_migrate(r);
	there = r->wire.there;
	back = r->wire.back;
	for (i = 0; i < there; i += there / 40) {
		again();
		r->wire.cut_there = i;
		fake_migrate(r);
		check_one();
	}
	for (i = 0; i < back; i += 7) {
		again();
		r->wire.cut_back = i;
		fake_migrate(r);
		check_one();
	}
}

/* it never gets to say that it failed */
static void test_killed(void **state)
{
	r->target.dies = true;
	fake_migrate(r);
	assert_int_equal(r->result.state, SOURCE_KEPT);
	check_one();
	assert_int_equal(generation(), r->source.lent.generation + 2);
	/* one that was only very slow comes too late */
	assert_int_equal(disk_shared_claim(r->target.disk, &r->target.lent, err, sizeof(err)),
			 -ESTALE);
}

/* no room for the new number: as far as a test can have that without a full disk */
static void test_full(void **state)
{
	char new[300];

	snprintf(new, sizeof(new), "%s.vmmd-generation.new", sf_path("disk"));
	r->target.in_the_way = new;
	fake_migrate(r);
	assert_int_equal(r->result.state, SOURCE_KEPT);
	assert_non_null(strstr(r->result.text, "its generation cannot be written"));
	assert_int_equal(rmdir(new), 0);
	check_one();
}

/* nor does the source hear of that: it stands still until there is room */
static void test_full_and_cut(void **state)
{
	char new[300];

	fake_migrate(r);
	assert_int_equal(r->result.state, SOURCE_MOVED);
	again();
	snprintf(new, sizeof(new), "%s.vmmd-generation.new", sf_path("disk"));
	r->target.in_the_way = new;
	r->target.dies = true;
	fake_migrate(r);
	assert_int_equal(r->result.state, SOURCE_DOUBT);
	assert_false(r->source.runs);
	assert_int_equal(rmdir(new), 0);
	assert_int_equal(disk_shared_settle(r->source.disk, &r->source.lent, false, err,
					    sizeof(err)), 0);
	assert_int_equal(disk_shared_claim(r->target.disk, &r->target.lent, err, sizeof(err)),
			 -ESTALE);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_moves), T(test_cut_there), T(test_cut_back), T(test_cut_anywhere),
		T(test_killed), T(test_full), T(test_full_and_cut),
	};

	return cmocka_run_group_tests_name("migrate_disk", tests, sf_setup, sf_teardown);
}
