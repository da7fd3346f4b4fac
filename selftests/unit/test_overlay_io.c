// SPDX-License-Identifier: GPL-2.0
/*
 * Requests to overlays: chains of them behave as one disk would, bases are not
 * touched, hosts that fail or are full do no more harm than to a raw disk.
 */
#define _GNU_SOURCE 1
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "block/overlay.h"
#include "block_fixture.h"
#include "block_random.h"
#include "loop.h"

#define DEPTH	4

static const struct block_opts plain = { 0 }, ro = { .read_only = true };
static void name_layer(unsigned int i)
{
	char name[32];

	snprintf(name, sizeof(name), "layer%u", i);
	in_dir(path, name);
}

static void make_base(uint64_t size)
{
	name_layer(0);
	make_model(size);
}

/* path becomes that of the new top */
static void add_layer(unsigned int i)
{
	char base[256];

	name_layer(i - 1);
	strcpy(base, path);
	name_layer(i);
	unlink(path);
	if (block_overlay_create(path, base, err, sizeof(err)))
		fail_msg("%s", err);
}

/* ---- random requests, some at once ----------------------------------------- */

#define BATCH	6

static void do_random(struct disk *d, unsigned int rounds)
{
	static struct random r[BATCH];
	unsigned int i, n, round;
	uint64_t near;

	for (round = 0; round < rounds; round++) {
		n = 1 + rnd(BATCH);
		near = 512 * (uint64_t)rnd(disk_size / 512);
		for (i = 0; i < n; i++)
			random_submit(d, r, n, i, near);
		block_drain(d->b);
		for (i = 0; i < n; i++)
			assert_true(random_done(&r[i]));
	}
	same_as_model(d);
}

static uint64_t sum_of_file(const char *name)
{
	static uint64_t buf[ODD / 8 + 65536];
	int fd = open(name, O_RDONLY);
	uint64_t sum = 0;
	ssize_t i, n = read(fd, buf, sizeof(buf));

	assert_true(n > 0);
	for (i = 0; i < n / 8; i++)
		sum = sum * 31 + buf[i];
	close(fd);
	return sum;
}

static void random_chain(enum engine e, uint64_t size)
{
	uint64_t below = 0;
	struct disk *d;
	unsigned int i;

	make_base(size);
	for (i = 1; i < DEPTH; i++) {
		add_layer(i);
		d = open_on(e, &plain);
		if (!d) {
			print_message("no %s here\n", engine_names[e]);
			return;
		}
		do_random(d, 60);
		disk_close(d);
		/* what is below stays as it was */
		if (i == DEPTH - 1) {
			name_layer(i - 1);
			assert_int_equal(sum_of_file(path), below);
			name_layer(i);
		}
		below = sum_of_file(path);
		/* and it is all there when it is opened again */
		d = open_on(e, i % 2 ? &plain : &ro);
		same_as_model(d);
		disk_close(d);
	}
}

static void test_random(void **state)
{
	(void)state;
	random_chain(URING, ODD);
	random_chain(SYNC, ODD);
	random_chain(DIRECT, DISK);
}

/* ---- writes that meet in a granule ---------------------------------------- */

static void test_neighbours(void **state)
{
	static uint8_t data[8][512];
	struct iovec iov[8];
	struct answer a[8];
	unsigned int i, round;
	enum engine e;
	struct disk *d;

	(void)state;
	for (e = URING; e <= SYNC; e++) {
		make_base(DISK);
		add_layer(1);
		d = open_on(e, &plain);
		for (round = 0; round < 40; round++) {
			/* eight sectors of a granule that is not there yet */
			for (i = 0; i < 8; i++) {
				if (i == 5)
					continue;
				memset(data[i], 1 + rnd(255), 512);
				iov[i] = (struct iovec){ data[i], 512 };
				submit(d, &a[i], BLOCK_WRITE,
				       round * 8192 + i * 512, 512, &iov[i], 1);
				memcpy(model + round * 8192 + i * 512, data[i], 512);
			}
			assert_int_equal(d->b->overlay->nactive, 1);
			block_drain(d->b);
			for (i = 0; i < 8; i++)
				assert_true(i == 5 || (a[i].done && !a[i].result));
		}
		assert_int_equal(d->b->overlay->nactive, 0);
		same_as_model(d);
		disk_close(d);
	}
}

/* many writes at once, more than may be at work: all arrive */
static void test_many(void **state)
{
	enum { N = 500 };
	static struct answer a[N];
	static struct iovec iov[N];
	static uint8_t data[N][512];
	struct disk *d;
	unsigned int i;

	(void)state;
	make_base(DISK);
	add_layer(1);
	d = open_on(URING, &plain);
	for (i = 0; i < N; i++) {
		memset(data[i], i, 512);
		iov[i] = (struct iovec){ data[i], 512 };
		submit(d, &a[i], BLOCK_WRITE, i * 8192 + 1024, 512, &iov[i], 1);
		memcpy(model + i * 8192 + 1024, data[i], 512);
	}
	assert_true(d->b->overlay->nactive <= BLOCK_DEPTH);
	block_drain(d->b);
	for (i = 0; i < N; i++)
		assert_true(a[i].done && !a[i].result);
	same_as_model(d);
	disk_close(d);
}

/* ---- what is on the file -------------------------------------------------- */

static uint64_t used(void)
{
	struct stat st;

	assert_int_equal(stat(path, &st), 0);
	return st.st_blocks * 512ULL;
}

/* a write takes as much room as it needs, a discard gives it back */
static void test_room(void **state)
{
	static uint8_t data[MIB], got[MIB], zero[MIB];
	struct disk *d;

	(void)state;
	make_base(DISK);
	add_layer(1);
	d = open_on(URING, &plain);
	memset(data, 0x5a, sizeof(data));
	assert_int_equal(one(d, BLOCK_WRITE, MIB, data, MIB), 0);
	assert_int_equal(one(d, BLOCK_FLUSH, 0, NULL, 0), 0);
	assert_in_range(used(), MIB, MIB + 128 * 1024);
	if (block_can_discard(d->b)) {
		/* of its own and of the base's */
		assert_int_equal(one(d, BLOCK_DISCARD, MIB / 2, NULL, MIB), 0);
		assert_int_equal(one(d, BLOCK_FLUSH, 0, NULL, 0), 0);
		assert_in_range(used(), MIB / 2, MIB / 2 + 128 * 1024);
		assert_int_equal(one(d, BLOCK_READ, MIB / 2, got, MIB), 0);
		assert_memory_equal(got, zero, MIB);
	}
	disk_close(d);
}

/* ---- a host that fails ---------------------------------------------------- */

/* the base is cut short behind our back: what needs it fails, and only that */
static void test_failing_base(void **state)
{
	static uint8_t data[8192];
	char base[256];
	struct disk *d;
	enum engine e;

	(void)state;
	for (e = URING; e <= SYNC; e++) {
		make_base(DISK);
		strcpy(base, path);
		add_layer(1);
		d = open_on(e, &plain);
		assert_int_equal(one(d, BLOCK_WRITE, MIB, data, 4096), 0);
		assert_int_equal(truncate(base, MIB), 0);
		assert_int_equal(one(d, BLOCK_READ, MIB, data, 4096), 0);
		assert_int_equal(one(d, BLOCK_READ, MIB, data, 8192), -EIO);
		assert_int_equal(one(d, BLOCK_READ, MIB + 4096, data, 512), -EIO);
		/* it cannot be filled up, so it stays absent */
		assert_int_equal(one(d, BLOCK_WRITE, MIB + 4096, data, 512), -EIO);
		assert_int_equal(one(d, BLOCK_READ, MIB + 4096, data, 512), -EIO);
		assert_int_equal(d->b->overlay->nactive, 0);
		assert_int_equal(one(d, BLOCK_WRITE, MIB + 4096, data, 4096), 0);
		assert_int_equal(one(d, BLOCK_READ, MIB, data, 8192), 0);
		assert_int_equal(one(d, BLOCK_FLUSH, 0, NULL, 0), 0);
		disk_close(d);
	}
}

/* nothing of it can be written any more */
static void test_failing_top(void **state)
{
	static uint8_t data[4096];
	struct disk *d;
	enum engine e;
	int fd;

	(void)state;
	for (e = URING; e <= SYNC; e++) {
		make_base(DISK);
		add_layer(1);
		d = open_on(e, &plain);
		memset(data, 0x11, sizeof(data));
		assert_int_equal(one(d, BLOCK_WRITE, 4096, data, 4096), 0);
		memcpy(model + 4096, data, 4096);
		fd = open(path, O_RDONLY | O_CLOEXEC);
		assert_true(fd >= 0);
		/* in the place of the one that could be written */
		assert_true(dup3(fd, d->b->file->fd, O_CLOEXEC) >= 0);
		close(fd);
		assert_int_equal(one(d, BLOCK_WRITE, 8192, data, 4096), -EBADF);
		assert_int_equal(one(d, BLOCK_WRITE, 8192, data, 512), -EBADF);
		same_as_model(d);
		assert_int_not_equal(one(d, BLOCK_FLUSH, 0, NULL, 0), 0);
		assert_true(d->b->overlay->dirty[0]);
		disk_close(d);
	}
}

/* a map that lost its room cannot be written: closing says so, and ends */
static int without_room(const char *filler)
{
	static uint8_t data[4096];
	struct disk *d;
	int fd;

	if (truncate(filler, 0))
		return 8;
	d = disk_open(&plain);
	if (!d->b || one(d, BLOCK_WRITE, 2 * MIB, data, 4096) ||
	    fallocate(d->b->file->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
		      OVERLAY_HEADER, OVERLAY_PAGE))
		return 9;
	fd = open(filler, O_WRONLY);
	while (write(fd, data, 4096) > 0)
		;
	close(fd);
	if (one(d, BLOCK_FLUSH, 0, NULL, 0) != -ENOSPC)
		return 10;
	disk_close(d);
	return 0;
}

static int full_child(void)
{
	static uint8_t data[MIB];
	struct disk *d;
	char base[256], filler[256];
	int fd;

	make_base(DISK);
	strcpy(base, path);
	if (unshare(CLONE_NEWNS) < 0 ||
	    mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mkdir(in_dir(path, "mnt"), 0700) < 0)
		return 77;
	if (mount("none", path, "tmpfs", 0, "size=1m") < 0) {
		rmdir(path);
		return 77;
	}
	in_dir(path, "mnt/top");
	if (block_overlay_create(path, base, err, sizeof(err)))
		return 1;
	d = disk_open(&plain);
	if (!d->b)
		return 2;
	memset(data, 7, sizeof(data));
	/* too much for it: an error, as drains do not wait, and nothing of it */
	if (one(d, BLOCK_WRITE, 0, data, MIB) != -ENOSPC)
		return 3;
	if (one(d, BLOCK_READ, 0, data, MIB) || memcmp(data, model, MIB))
		return 4;
	/* its room is given back by a discard, which leaves zeroes */
	if (one(d, BLOCK_DISCARD, 0, NULL, MIB) ||
	    one(d, BLOCK_WRITE, 4096 + 512, data, 512))
		return 5;
	memset(model, 0, MIB);
	memcpy(model + 4096 + 512, data, 512);
	/* the map has its room from the start */
	fd = open(in_dir(filler, "mnt/filler"), O_CREAT | O_WRONLY, 0600);
	while (write(fd, data, 4096) > 0)
		;
	close(fd);
	if (one(d, BLOCK_FLUSH, 0, NULL, 0))
		return 6;
	disk_close(d);
	d = disk_open(&ro);
	if (!d->b || one(d, BLOCK_READ, 0, data, MIB) || memcmp(data, model, MIB))
		return 7;
	disk_close(d);
	return without_room(filler);
}

static void test_full_host(void **state)
{
	(void)state;
	in_child(full_child);
}

/* ---- closing -------------------------------------------------------------- */

/* what the guest did not flush is there when the disk is opened again */
static void test_close(void **state)
{
	static uint8_t data[3 * 4096];
	struct iovec iov = { data, sizeof(data) };
	struct answer a;
	struct disk *d;

	(void)state;
	make_base(DISK);
	add_layer(1);
	d = open_on(URING, &plain);
	memset(data, 0x42, sizeof(data));
	submit(d, &a, BLOCK_WRITE, 512, sizeof(data), &iov, 1);
	disk_close(d);
	assert_true(a.done);
	memcpy(model + 512, data, sizeof(data));
	d = open_on(URING, &plain);
	same_as_model(d);
	disk_close(d);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_random),
		cmocka_unit_test(test_neighbours),
		cmocka_unit_test(test_many),
		cmocka_unit_test(test_room),
		cmocka_unit_test(test_failing_base),
		cmocka_unit_test(test_failing_top),
		cmocka_unit_test(test_full_host),
		cmocka_unit_test(test_close),
	};

	return cmocka_run_group_tests_name("overlay_io", tests, block_setup,
					   block_teardown);
}
