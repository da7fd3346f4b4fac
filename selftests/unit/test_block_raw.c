// SPDX-License-Identifier: GPL-2.0
/*
 * A disk that moves: the set of granules that were written, reading by another
 * thread while a guest writes, writing where no guest runs yet; and its
 * generation.
 */
#define _GNU_SOURCE 1
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
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
#include "crc32c.h"

#define PIECE	65536U

static const struct block_opts plain = { 0 }, ro = { .read_only = true };
static char sidecar[256];

/* ---- moving --------------------------------------------------------------- */

struct mover {
	struct disk *from, *to;
	const uint64_t *set;
	unsigned int shift;		/* of its memory */
	int ret;
};

/* all granules of the set, one by one or many at once */
static void *move(void *arg)
{
	struct mover *m = arg;
	uint64_t g, end, granules = block_granules(m->from->b), len;
	uint8_t *buf = malloc(PIECE + 512);

	for (g = 0; g < granules && !m->ret; g = end) {
		end = g + 1;
		if (!bit_get(m->set, g))
			continue;
		while (end < granules && (end - g) * 4096 < PIECE &&
		       bit_get(m->set, end))
			end++;
		len = (end - g) * 4096;
		if (len > disk_size - g * 4096)
			len = disk_size - g * 4096;
		m->ret = block_read_raw(m->from->b, g * 4096, buf + m->shift, len);
		if (!m->ret)
			m->ret = block_write_raw(m->to->b, g * 4096,
						 buf + m->shift, len);
	}
	free(buf);
	return NULL;
}

/* where it moves to, empty */
static struct disk *target(bool overlay)
{
	char base[256], keep[256];
	struct disk *d;
	int fd;

	strcpy(keep, path);
	in_dir(path, "target");
	fd = open(path, O_CREAT | O_TRUNC | O_WRONLY, 0600);
	assert_int_equal(ftruncate(fd, disk_size), 0);
	close(fd);
	if (overlay) {
		strcpy(base, path);
		unlink(in_dir(path, "target-top"));
		assert_int_equal(block_overlay_create(path, base, err, sizeof(err)), 0);
	}
	d = disk_open(&plain);
	assert_non_null(d->b);
	strcpy(path, keep);
	return d;
}

static void move_disk(enum engine e, uint64_t size, bool overlay)
{
	struct mover m = { .shift = overlay ? 17 : 0 };
	char keep[256];
	uint64_t *set;
	unsigned int round;
	pthread_t thread;

	m.from = start_disk(e, size, overlay);
	if (!m.from) {
		print_message("no %s here\n", engine_names[e]);
		return;
	}
	m.to = target(overlay);
	assert_int_equal(block_track(m.from->b, true), 0);
	set = block_harvest(m.from->b);
	memset(set, 0xff, (block_granules(m.from->b) + 63) / 64 * 8);
	for (round = 0; round < 5; round++) {
		m.set = set;
		if (round == 4)		/* the last round is alone */
			guest_rests(m.from);
		pthread_create(&thread, NULL, move, &m);
		guest_works(m.from, round == 4 ? 0 : 20);
		pthread_join(thread, NULL);
		assert_int_equal(m.ret, 0);
		free(set);
		if (round == 3)
			guest_rests(m.from);
		set = block_harvest(m.from->b);
	}
	free(set);
	disk_close(m.from);
	assert_int_equal(one(m.to, BLOCK_FLUSH, 0, NULL, 0), 0);
	same_as_model(m.to);
	disk_close(m.to);
	/* and for who opens it later */
	strcpy(keep, path);
	in_dir(path, overlay ? "target-top" : "target");
	m.to = disk_open(&ro);
	assert_non_null(m.to->b);
	same_as_model(m.to);
	disk_close(m.to);
	strcpy(path, keep);
}

static void test_move(void **state)
{
	(void)state;
	move_disk(URING, ODD, false);
	move_disk(URING, ODD, true);
	move_disk(DIRECT, DISK, false);
	move_disk(DIRECT, DISK, true);
}

static void test_raw_range(void **state)
{
	static uint8_t buf[8192];
	struct disk *d;

	(void)state;
	d = start_disk(URING, ODD, false);
	assert_int_equal(block_read_raw(d->b, 0, buf, 0), -EINVAL);
	assert_int_equal(block_read_raw(d->b, 512, buf, 4096), -EINVAL);
	assert_int_equal(block_read_raw(d->b, 0, buf, 512), -EINVAL);
	assert_int_equal(block_read_raw(d->b, DISK, buf, 4096), -EINVAL);
	assert_int_equal(block_read_raw(d->b, ~4095ULL, buf, 4096), -EINVAL);
	assert_int_equal(block_read_raw(d->b, DISK, buf, 3 * 512), 0);
	assert_memory_equal(buf, model + DISK, 3 * 512);
	assert_int_equal(block_write_raw(d->b, 512, buf, 4096), -EINVAL);
	assert_int_equal(truncate(path, MIB), 0);
	assert_int_equal(block_read_raw(d->b, MIB, buf, 4096), -EIO);
	disk_close(d);
	d = disk_open(&ro);
	assert_int_equal(block_write_raw(d->b, 0, buf, 4096), -EROFS);
	disk_close(d);
}

/* zeroes take no room */
static void test_raw_zeroes(void **state)
{
	static uint8_t zero[MIB];
	struct disk *d;
	struct stat st;

	(void)state;
	d = start_disk(URING, DISK, false);
	assert_int_equal(block_write_raw(d->b, 0, zero, MIB), 0);
	memset(model, 0, MIB);
	assert_int_equal(one(d, BLOCK_FLUSH, 0, NULL, 0), 0);
	same_as_model(d);
	assert_int_equal(stat(path, &st), 0);
	if (block_can_discard(d->b))
		assert_in_range(st.st_blocks * 512, 1, DISK - MIB + 65536);
	disk_close(d);
}

/* ---- the set -------------------------------------------------------------- */

static bool in_set(const uint64_t *set, uint64_t g)
{
	return set[g / 64] >> g % 64 & 1;
}

static void test_tracked(void **state)
{
	static uint8_t data[MIB];
	struct iovec iov = { data, 512 };
	struct answer a;
	uint64_t *set, g;
	struct disk *d;

	(void)state;
	d = start_disk(URING, ODD, false);
	assert_int_equal(block_granules(d->b), DISK / 4096 + 1);
	assert_null(block_harvest(d->b));
	assert_int_equal(one(d, BLOCK_WRITE, 0, data, 512), 0);
	assert_int_equal(block_track(d->b, true), 0);
	assert_int_equal(block_tracked(d->b), 0);
	assert_int_equal(one(d, BLOCK_WRITE, 4096 * 3 - 512, data, 1024), 0);
	assert_int_equal(one(d, BLOCK_WRITE, 4096 * 2, data, 4096), 0);
	assert_int_equal(one(d, BLOCK_WRITE_ZEROES, 4096 * 62, NULL, 4096 * 70), 0);
	assert_int_equal(one(d, BLOCK_WRITE, ODD - 512, data, 512), 0);
	/* what does not change it */
	assert_int_equal(one(d, BLOCK_READ, MIB, data, MIB), 0);
	assert_int_equal(one(d, BLOCK_FLUSH, 0, NULL, 0), 0);
	assert_int_equal(one(d, BLOCK_WRITE, ODD, data, 512), -EINVAL);
	assert_int_equal(one(d, BLOCK_WRITE, ~0ULL - 511, data, 512), -EINVAL);
	assert_int_equal(block_tracked(d->b), 4096 * 73);
	set = block_harvest(d->b);
	for (g = 0; g <= DISK / 4096; g++)
		assert_int_equal(in_set(set, g), g == 2 || g == 3 ||
				 (g >= 62 && g < 132) || g == DISK / 4096);
	free(set);
	assert_int_equal(block_tracked(d->b), 0);
	/* one that is in flight when the set is taken is in both */
	submit(d, &a, BLOCK_WRITE, 4096 * 9, 512, &iov, 1);
	set = block_harvest(d->b);
	assert_true(in_set(set, 9));
	free(set);
	block_drain(d->b);
	set = block_harvest(d->b);
	assert_true(in_set(set, 9));
	assert_false(in_set(set, 2));
	free(set);
	/* switched off it is forgotten */
	assert_int_equal(one(d, BLOCK_WRITE, 0, data, 512), 0);
	assert_int_equal(block_track(d->b, false), 0);
	assert_int_equal(block_track(d->b, true), 0);
	assert_int_equal(block_tracked(d->b), 0);
	disk_close(d);
}

/* ---- the generation ------------------------------------------------------- */

static uint64_t get(struct disk *d)
{
	uint64_t g = 77;

	if (block_generation_get(d->b, &g, err, sizeof(err)))
		fail_msg("%s", err);
	return g;
}

static int set(struct disk *d, uint64_t from, uint64_t to)
{
	err[0] = 0;
	return block_generation_set(d->b, from, to, err, sizeof(err));
}

static struct disk *generation_disk(void)
{
	struct disk *d = start_disk(URING, DISK, false);

	snprintf(sidecar, sizeof(sidecar), "%.200s.vmmd-generation", path);
	return d;
}

static void test_generation(void **state)
{
	struct disk *d = generation_disk();
	char link[256];

	(void)state;
	assert_int_equal(get(d), 0);
	assert_int_equal(access(sidecar, F_OK), -1);
	assert_int_equal(set(d, 0, 1), 0);
	assert_int_equal(get(d), 1);
	/* somebody else was faster; and it never goes back */
	assert_int_equal(set(d, 0, 1), -ESTALE);
	assert_non_null(strstr(err, "its generation is 1"));
	assert_int_equal(set(d, 1, 1), -ESTALE);
	assert_int_equal(set(d, 1, 0), -ESTALE);
	assert_int_equal(get(d), 1);
	assert_int_equal(set(d, 1, ~0ULL), 0);
	assert_int_equal(get(d), ~0ULL);
	disk_close(d);
	d = disk_open(&ro);
	assert_int_equal(get(d), ~0ULL);
	assert_int_equal(set(d, ~0ULL, ~0ULL), -EROFS);
	disk_close(d);
	/* by another name it is the same disk */
	assert_int_equal(symlink(path, in_dir(link, "link")), 0);
	strcpy(path, link);
	d = disk_open(&plain);
	assert_int_equal(get(d), ~0ULL);
	disk_close(d);
	unlink(link);
	unlink(sidecar);
}

static void put(const char *text, size_t len)
{
	int fd = open(sidecar, O_CREAT | O_TRUNC | O_WRONLY, 0600);

	assert_int_equal(write(fd, text, len), len);
	close(fd);
}

/* every bit, and every length */
static void test_generation_damage(void **state)
{
	struct disk *d = generation_disk();
	char good[128], bad[128];
	unsigned int i;
	uint64_t g;
	ssize_t n;
	int fd;

	(void)state;
	assert_int_equal(set(d, 0, 1234567), 0);
	fd = open(sidecar, O_RDONLY);
	n = read(fd, good, sizeof(good));
	close(fd);
	assert_in_range(n, 20, 63);
	for (i = 0; i < n * 8; i++) {
		memcpy(bad, good, n);
		bad[i / 8] ^= 1 << i % 8;
		put(bad, n);
		assert_int_equal(block_generation_get(d->b, &g, err, sizeof(err)),
				 -EBADMSG);
		assert_non_null(strstr(err, sidecar));
	}
	for (i = 0; i < n; i++) {
		put(good, i);
		assert_int_equal(set(d, 1234567, 1234568), -EBADMSG);
	}
	memcpy(bad, good, n);
	memset(bad + n, ' ', sizeof(bad) - n);
	put(bad, n + 1);
	assert_int_equal(set(d, 1234567, 1234568), -EBADMSG);
	put(bad, sizeof(bad));
	assert_int_equal(set(d, 1234567, 1234568), -EBADMSG);
	put(good, n);
	assert_int_equal(get(d), 1234567);
	unlink(sidecar);
	assert_int_equal(mkdir(sidecar, 0700), 0);
	assert_int_equal(block_generation_get(d->b, &g, err, sizeof(err)), -EISDIR);
	assert_int_equal(rmdir(sidecar), 0);
	disk_close(d);
}

/* what a crash left of a new one is no hindrance, and counts for nothing */
static void test_generation_crash(void **state)
{
	struct disk *d = generation_disk();
	char new[300];

	(void)state;
	assert_int_equal(set(d, 0, 5), 0);
	snprintf(new, sizeof(new), "%s.new", sidecar);
	strcpy(err, sidecar);
	assert_int_equal(symlink("/nowhere/else", new), 0);
	assert_int_equal(get(d), 5);
	assert_int_equal(set(d, 5, 6), 0);
	assert_int_equal(get(d), 6);
	assert_int_equal(access(new, F_OK), -1);
	unlink(sidecar);
	disk_close(d);
}

/* no room for it: the old one stays */
static int full_child(void)
{
	char mnt[256], filler[256];
	struct disk *d;
	int fd;

	if (unshare(CLONE_NEWNS) < 0 ||
	    mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mkdir(in_dir(mnt, "mnt"), 0700) < 0 ||
	    mount("none", mnt, "tmpfs", 0, "size=1m") < 0)
		return 77;
	in_dir(path, "mnt/gen.img");
	make_file("x", 1, 4096);
	d = disk_open(&plain);
	if (!d->b || set(d, 0, 1))
		return 1;
	fd = open(in_dir(filler, "mnt/filler"), O_CREAT | O_WRONLY, 0600);
	while (write(fd, model, 4096) > 0)
		;
	if (set(d, 1, 2) != -ENOSPC || get(d) != 1)
		return 2;
	if (ftruncate(fd, 0) || set(d, 1, 2) || get(d) != 2)
		return 3;
	close(fd);
	disk_close(d);
	return 0;
}

static void test_generation_full(void **state)
{
	(void)state;
	in_child(full_child);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_tracked),
		cmocka_unit_test(test_move),
		cmocka_unit_test(test_raw_range),
		cmocka_unit_test(test_raw_zeroes),
		cmocka_unit_test(test_generation),
		cmocka_unit_test(test_generation_damage),
		cmocka_unit_test(test_generation_crash),
		cmocka_unit_test(test_generation_full),
	};

	return cmocka_run_group_tests_name("block_raw", tests, block_setup,
					   block_teardown);
}
