// SPDX-License-Identifier: GPL-2.0
/*
 * A migration that takes the disk along, while it is written to: what the target has
 * is what the guest wrote, whenever it may run there, and nothing is asked of a target
 * that is not.
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
#include "fixture.h"
#include "loop.h"
#include "migrate/disk_mirror.h"
#include "migrate/message.h"
#include "migrate_fake.h"
#include "snapshot_fixture.h"

/* no whole number of granules */
#define DISK	(3 * (1ULL << 20) + 5 * 512)

static struct fake_run *r;
static struct loop *loop;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char err[768];
static unsigned int seed;

static unsigned int any(void)
{
	seed = seed * 1103515245 + 12345;
	return seed >> 12;
}

static struct block *open_disk(const char *path)
{
	const struct block_opts o = { 0 };
	struct block *b = block_open(path, &o, loop, err, sizeof(err));

	if (!b)
		fail_msg("%s", err);
	return b;
}

static void written(struct block_req *req, int result)
{
	*(int *)req->owner = result;
}

static void request(struct block *b, enum block_op op, uint64_t sector, uint64_t sectors,
		    void *buf)
{
	struct iovec iov = { buf, sectors * 512 };
	int result = -EINPROGRESS;
	struct block_req req = {
		.op = op, .offset = sector * 512, .len = sectors * 512,
		.iov = buf ? &iov : NULL, .niov = !!buf, .may_unmap = true,
		.done = written, .owner = &result,
	};

	block_submit(b, &req);
	block_drain(b);
	assert_int_equal(result, 0);
}

/* some sectors here and there, and the last one; and some that become zeroes */
static void write_disk(struct fake_vm *vm)
{
	static uint8_t buf[64 * 512];
	unsigned int i, j;

	for (i = 0; i < 20; i++) {
		for (j = 0; j < sizeof(buf); j++)
			buf[j] = any();
		request(vm->disk, BLOCK_WRITE, any() % (DISK / 512 - 64), 1 + any() % 64, buf);
	}
	request(vm->disk, BLOCK_WRITE, DISK / 512 - 1, 1, buf);
	for (i = 0; i < 5; i++)
		request(vm->disk, BLOCK_WRITE_ZEROES, any() % (DISK / 512 - 64), 1 + any() % 64,
			NULL);
}

static void begin(void)
{
	struct migrate_disk d = { .size = DISK };
	const char *to = sf_path("to");

	fake_init(r);
	unlink(sf_path("from"));
	unlink(to);
	assert_int_equal(block_create(sf_path("from"), DISK, err, sizeof(err)), 0);
	r->source.disk = open_disk(sf_path("from"));
	assert_int_equal(disk_mirror_make(to, &d, &r->target.disk_zero, err, sizeof(err)), 0);
	assert_true(r->target.disk_zero);
	r->target.disk = open_disk(to);
	r->source.mirrors = r->target.mirrors = true;
	r->source.write_disk = write_disk;
	write_disk(&r->source);
}

static void close_all(void)
{
	block_close(r->source.disk);
	block_close(r->target.disk);
	fake_free(r);
}

static int setup(void **state)
{
	loop = loop_new(&lock);
	r = malloc(sizeof(*r));
	assert_non_null(r);
	begin();
	return 0;
}

static int teardown(void **state)
{
	close_all();
	free(r);
	loop_free(loop);
	fx_hold_clock(false);
	return 0;
}

static void again(void)
{
	close_all();
	begin();
}

static void check_same(void)
{
	static uint8_t from[DISK], to[DISK];

	assert_int_equal(block_read_raw(r->source.disk, 0, from, DISK), 0);
	assert_int_equal(block_read_raw(r->target.disk, 0, to, DISK), 0);
	assert_memory_equal(from, to, DISK);
}

static void check_one(void)
{
	fake_check_one(r);
	if (r->target.runs)
		check_same();
}

static void test_moves(void **state)
{
	fake_migrate(r);
	assert_int_equal(r->result.state, SOURCE_MOVED);
	assert_int_equal(r->result.error, 0);
	assert_int_equal(r->source.harvests, 3);
	/* holes are not sent */
	assert_true(r->result.disk > 100 * 1024 && r->wire.there < DISK);
	check_one();
}

/* a device has something on it, which has to go */
static void test_not_zero(void **state)
{
	static uint8_t junk[DISK];

	memset(junk, 0xee, sizeof(junk));
	assert_int_equal(block_write_raw(r->target.disk, 0, junk, DISK), 0);
	r->target.disk_zero = false;
	fake_migrate(r);
	assert_int_equal(r->result.state, SOURCE_MOVED);
	assert_true(r->result.disk >= DISK);
	check_one();
}

/* what was sent for an attempt is as it was for those that follow */
static void test_late(void **state)
{
	fx_hold_clock(true);
	r->params.downtime_ns = 10 * 1000000ULL;
	r->source.slow_ns = 2 * r->params.downtime_ns;
	r->source.slow_stops = 2;
	r->source.writes = 5;
	fake_migrate(r);
	assert_int_equal(r->result.state, SOURCE_MOVED);
	assert_int_equal(r->result.late, 2);
	check_one();
}

static void test_overlay(void **state)
{
	block_close(r->source.disk);
	assert_int_equal(block_overlay_create(sf_path("top"), sf_path("from"), err,
					      sizeof(err)), 0);
	r->source.disk = open_disk(sf_path("top"));
	write_disk(&r->source);
	fake_migrate(r);
	assert_int_equal(r->result.state, SOURCE_MOVED);
	check_one();
}

static void test_cut(void **state)
{
	unsigned int states[SOURCE_STATES] = { 0 };
	uint64_t there, back, i;

	fake_migrate(r);
	there = r->wire.there;
	back = r->wire.back;
	for (i = 0; i < there; i += there / 30) {
		again();
		r->wire.cut_there = i;
		fake_migrate(r);
		check_one();
		states[r->result.state]++;
	}
	for (i = 0; i <= back; i += 12) {
		again();
		r->wire.cut_back = i;
		fake_migrate(r);
		check_one();
		states[r->result.state]++;
	}
	assert_true(states[SOURCE_KEPT] > 30 && states[SOURCE_DOUBT] + states[SOURCE_MOVED] > 2);
}

/* the disk cannot take what comes */
static void test_too_small(void **state)
{
	block_close(r->target.disk);
	assert_int_equal(truncate(sf_path("to"), 64 * 1024), 0);
	r->target.disk = open_disk(sf_path("to"));
	fake_migrate(r);
	assert_int_equal(r->result.state, SOURCE_KEPT);
	assert_non_null(strstr(r->result.text, "cannot be written at byte"));
	check_one();
}

/* nobody may send a disk to who does not expect one, nor with what makes no sense */
static void test_unasked(void **state)
{
	r->target.mirrors = false;
	block_close(r->target.disk);
	r->target.disk = NULL;
	fake_migrate(r);
	assert_int_equal(r->result.state, SOURCE_KEPT);
	assert_non_null(strstr(r->result.text, "\"blocks\""));
	check_one();
}

static void test_make(void **state)
{
	struct migrate_disk d = { .size = DISK };
	bool zero;

	assert_int_equal(disk_mirror_make(sf_path("to"), &d, &zero, err, sizeof(err)), -EEXIST);
	assert_non_null(strstr(err, "File exists"));
	assert_int_equal(disk_mirror_make("/dev/null", &d, &zero, err, sizeof(err)), -EINVAL);
	assert_int_equal(disk_mirror_make(sf_path("no/dir"), &d, &zero, err, sizeof(err)), -ENOENT);
	d.size = 513;
	assert_int_equal(disk_mirror_make(sf_path("odd"), &d, &zero, err, sizeof(err)), -EINVAL);
	d.size = UINT64_MAX - 511;
	assert_int_equal(disk_mirror_make(sf_path("odd"), &d, &zero, err, sizeof(err)), -EINVAL);
	d.size = INT64_MAX - 511;
	assert_int_not_equal(disk_mirror_make(sf_path("odd"), &d, &zero, err, sizeof(err)), 0);
	assert_int_equal(access(sf_path("odd"), F_OK), -1);
}

/* pages.h has bounded how many, but not where */
static void test_store(void **state)
{
	static uint8_t from[2 * 4096], to[5 * 512];
	struct block *b = r->target.disk;
	const uint64_t last = DISK / 4096 * 4096;

	memset(from, 0x11, sizeof(from));
	assert_int_equal(disk_mirror_store(b, last, from, 1, err, sizeof(err)), 0);
	assert_int_equal(disk_mirror_store(b, last - 4096, from, 2, err, sizeof(err)), 0);
	assert_int_equal(block_read_raw(b, last, to, sizeof(to)), 0);
	assert_memory_equal(from, to, sizeof(to));
	assert_int_equal(disk_mirror_store(b, last, from, 2, err, sizeof(err)), -EINVAL);
	assert_non_null(strstr(err, "cannot be written at byte 3145728"));
	assert_int_equal(disk_mirror_store(b, last + 4096, from, 1, err, sizeof(err)), -EINVAL);
	assert_int_equal(disk_mirror_store(b, -4096ULL, from, 1, err, sizeof(err)), -EINVAL);
	assert_int_equal(block_size(b), DISK);
}

static void test_read_only(void **state)
{
	const struct block_opts o = { .read_only = true };
	struct migrate_disk d;
	struct block *b;

	block_close(r->source.disk);
	b = r->source.disk = block_open(sf_path("from"), &o, loop, err, sizeof(err));
	assert_non_null(b);
	assert_int_equal(disk_mirror_describe(b, &d, err, sizeof(err)), -EROFS);
	assert_non_null(strstr(err, "leave out --with-disk"));
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_moves), T(test_not_zero), T(test_late), T(test_overlay), T(test_cut),
		T(test_too_small), T(test_unasked), T(test_make), T(test_store),
		T(test_read_only),
	};

	return cmocka_run_group_tests_name("migrate_mirror", tests, sf_setup, sf_teardown);
}
