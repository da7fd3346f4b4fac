// SPDX-License-Identifier: GPL-2.0
/*
 * Disks: what is refused and in which words, what arrives on the file, and
 * what a host that fails does to a request. Each test of requests runs on
 * io_uring, on the synchronous fallback, and with O_DIRECT where the file
 * system has it.
 */
#define _GNU_SOURCE 1
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "block_fixture.h"
#include "loop.h"

/* ---- refusals ------------------------------------------------------------- */

static void test_missing(void **state)
{
	(void)state;
	unlink(path);
	refused("no such file", "truncate -s");
}

static void test_directory(void **state)
{
	char keep[sizeof(path)];

	(void)state;
	strcpy(keep, path);
	strcpy(path, dir);
	refused("directory", "raw disk image");
	strcpy(path, keep);
}

static void test_special(void **state)
{
	char keep[sizeof(path)];

	(void)state;
	strcpy(keep, path);
	strcpy(path, "/dev/null");
	refused("neither a file nor a block device", "raw disk image");
	strcpy(path, keep);
}

static void test_empty(void **state)
{
	(void)state;
	make_file("", 0, 0);
	refused("empty", "truncate -s");
}

static void test_odd_size(void **state)
{
	(void)state;
	make_file("x", 1, 1000);
	refused("1000 bytes is not a multiple of 512", "truncate -s %512");
}

static void test_formats(void **state)
{
	static const struct {
		const char *name;
		unsigned int at, len;
		const char *magic;
	} f[] = {
		{ "qcow2", 0, 8, "QFI\xfb\0\0\0\3" },
		{ "qcow2", 0, 8, "QFI\xfb\0\0\0\2" },
		{ "qcow ", 0, 8, "QFI\xfb\0\0\0\1" },
		{ "vmdk", 0, 4, "KDMV" },
		{ "vmdk", 0, 21, "# Disk DescriptorFile" },
		{ "vdi", 64, 4, "\x7f\x10\xda\xbe" },
		{ "vhdx", 0, 8, "vhdxfile" },
		{ "vhd", 0, 8, "conectix" },
		{ "vhd", 4096 - 512, 8, "conectix" },
		{ "qed", 0, 4, "QED" },
		{ "parallels", 0, 16, "WithouFreSpacExt" },
	};
	uint8_t data[4096];
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(f) / sizeof(f[0]); i++) {
		memset(data, 0, sizeof(data));
		memcpy(data + f[i].at, f[i].magic, f[i].len);
		make_file(data, sizeof(data), sizeof(data));
		refused(f[i].name, "qemu-img convert -O raw");
	}
	/* a format's odd size is not what is wrong with it */
	make_file("QFI\xfb\0\0\0\3", 8, 1000);
	refused("qcow2", "qemu-img convert -O raw");
}

static void test_unreadable(void **state)
{
	(void)state;
	make_file("x", 1, DISK);
	chmod(path, 0);
	if (geteuid() == 0) {
		/* root reads everything: see it as somebody else */
		if (seteuid(65534) < 0)
			skip();
		chmod(dir, 0755);
	}
	refused("permission", "mode");
	if (getuid() == 0)
		assert_int_equal(seteuid(0), 0);
	chmod(path, 0600);
}

static void test_locked(void **state)
{
	const struct block_opts rw = { 0 }, ro = { .read_only = true };
	struct disk *a, *b;

	(void)state;
	make_file("x", 1, DISK);
	a = disk_open(&rw);
	assert_non_null(a->b);
	refused("locked", "stop that VM");
	b = disk_open(&ro);
	assert_null(b->b);
	disk_close(b);
	disk_close(a);
	/* readers share, and keep writers out */
	a = disk_open(&ro);
	b = disk_open(&ro);
	assert_non_null(a->b);
	assert_non_null(b->b);
	refused("locked", "stop that VM");
	disk_close(b);
	disk_close(a);
	a = disk_open(&rw);
	assert_non_null(a->b);
	disk_close(a);
}

/* ---- requests, on each engine --------------------------------------------- */

static void on_each_engine(void (*fn)(struct disk *d),
			   const struct block_opts *opts)
{
	enum engine e;
	struct disk *d;

	for (e = URING; e <= DIRECT; e++) {
		make_file("", 0, DISK);
		d = open_on(e, opts);
		if (!d) {
			print_message("no %s here\n", engine_names[e]);
			continue;
		}
		fn(d);
		disk_close(d);
	}
}

static const struct block_opts plain = { 0 };

static void do_random(struct disk *d)
{
	static uint8_t model[DISK], got[DISK];
	static uint8_t pool[512 * 1024 + 4096] __attribute__((aligned(4096)));
	unsigned int i, j, k, shift;
	uint64_t offset, len, left;
	struct iovec iov[16];
	struct answer a;
	enum block_op op;

	memset(model, 0, sizeof(model));
	for (i = 0; i < 300; i++) {
		op = (enum block_op[]){ BLOCK_READ, BLOCK_WRITE, BLOCK_WRITE,
			BLOCK_FLUSH, BLOCK_DISCARD, BLOCK_WRITE_ZEROES }[rnd(6)];
		len = 512 * (1 + rnd(rnd(4) ? 16 : 1000));
		offset = 512 * (uint64_t)rnd((DISK - len) / 512);
		/* guest buffers may lie anywhere */
		shift = rnd(2) ? rnd(512) : 0;
		for (j = 0; j < len; j++)
			pool[shift + j] = op == BLOCK_WRITE ? rnd(256) : 0xee;
		for (j = 0, left = len; left; j++) {
			uint64_t n = j == 15 ? left : 1 + rnd(left);

			iov[j] = (struct iovec){ pool + shift + len - left, n };
			left -= n;
		}
		a = (struct answer){ .req = { .may_unmap = false } };
		submit(d, &a, op, offset, len, iov, j);
		block_drain(d->b);
		assert_true(a.done);
		assert_int_equal(a.result, 0);
		if (op == BLOCK_WRITE)
			memcpy(model + offset, pool + shift, len);
		else if (op == BLOCK_DISCARD || op == BLOCK_WRITE_ZEROES)
			memset(model + offset, 0, len);
		else if (op == BLOCK_READ)
			for (k = 0; k < len; k++)
				if (pool[shift + k] != model[offset + k])
					fail_msg("round %u: byte %u", i, k);
	}
	assert_int_equal(one(d, BLOCK_READ, 0, got, DISK), 0);
	assert_memory_equal(got, model, DISK);
}

static void test_random(void **state)
{
	(void)state;
	on_each_engine(do_random, &plain);
}

static void do_many(struct disk *d)
{
	enum { N = 600 };
	static struct answer a[N];
	static struct iovec iov[N];
	static uint8_t data[N][4096] __attribute__((aligned(4096)));
	static uint8_t back[4096] __attribute__((aligned(4096)));
	unsigned int i;

	block_plug(d->b);
	for (i = 0; i < N; i++) {
		memset(data[i], i, 4096);
		iov[i] = (struct iovec){ data[i], 4096 };
		submit(d, &a[i], BLOCK_WRITE, 4096ULL * i, 4096, &iov[i], 1);
	}
	assert_true(d->b->in_flight <= BLOCK_DEPTH);
	block_unplug(d->b);
	block_drain(d->b);
	for (i = 0; i < N; i++) {
		assert_true(a[i].done);
		assert_int_equal(a[i].result, 0);
		assert_int_equal(one(d, BLOCK_READ, 4096ULL * i, back, 4096), 0);
		assert_int_equal(back[17], (uint8_t)i);
	}
}

static void test_many_in_flight(void **state)
{
	(void)state;
	on_each_engine(do_many, &plain);
}

/* two neighbours in one block of the host, each by reading around itself */
static void do_neighbours(struct disk *d)
{
	static uint8_t a_data[512], b_data[512], back[1024];
	struct iovec ia, ib;
	struct answer a, b;
	unsigned int i;

	for (i = 0; i < 50; i++) {
		memset(a_data, i, 512);
		memset(b_data, 255 - i, 512);
		ia = (struct iovec){ a_data, 512 };
		ib = (struct iovec){ b_data, 512 };
		submit(d, &a, BLOCK_WRITE, 512, 512, &ia, 1);
		submit(d, &b, BLOCK_WRITE, 1024, 512, &ib, 1);
		block_drain(d->b);
		assert_int_equal(one(d, BLOCK_READ, 512, back, 1024), 0);
		assert_memory_equal(back, a_data, 512);
		assert_memory_equal(back + 512, b_data, 512);
	}
}

static void test_neighbours(void **state)
{
	(void)state;
	on_each_engine(do_neighbours, &plain);
}

static void do_out_of_range(struct disk *d)
{
	static uint8_t buf[1024];

	assert_int_equal(one(d, BLOCK_READ, DISK, buf, 512), -EINVAL);
	assert_int_equal(one(d, BLOCK_WRITE, DISK - 512, buf, 1024), -EINVAL);
	assert_int_equal(one(d, BLOCK_READ, ~511ULL, buf, 1024), -EINVAL);
	assert_int_equal(one(d, BLOCK_DISCARD, DISK - 512, buf, 1024), -EINVAL);
	assert_int_equal(one(d, BLOCK_WRITE_ZEROES, 512, buf, 0), -EINVAL);
}

static void test_out_of_range(void **state)
{
	(void)state;
	on_each_engine(do_out_of_range, &plain);
}

static void do_read_only(struct disk *d)
{
	static uint8_t buf[512];

	assert_true(block_read_only(d->b));
	assert_false(block_can_discard(d->b));
	assert_int_equal(one(d, BLOCK_READ, 0, buf, 512), 0);
	assert_int_equal(one(d, BLOCK_WRITE, 0, buf, 512), -EROFS);
	assert_int_equal(one(d, BLOCK_DISCARD, 0, buf, 512), -EROFS);
	assert_int_equal(one(d, BLOCK_FLUSH, 0, NULL, 0), 0);
}

static void test_read_only(void **state)
{
	const struct block_opts ro = { .read_only = true };

	(void)state;
	on_each_engine(do_read_only, &ro);
}

/* the file is cut short behind our back: EIO, and no loop without end */
static void do_cut(struct disk *d)
{
	static uint8_t buf[8192] __attribute__((aligned(4096)));

	assert_int_equal(truncate(path, 4096), 0);
	assert_int_equal(one(d, BLOCK_READ, 0, buf, 4096), 0);
	assert_int_equal(one(d, BLOCK_READ, 0, buf, 8192), -EIO);
	assert_int_equal(one(d, BLOCK_READ, 8192, buf, 512), -EIO);
	assert_int_equal(truncate(path, DISK), 0);
	assert_int_equal(one(d, BLOCK_READ, 0, buf, 8192), 0);
}

static void test_cut_short(void **state)
{
	(void)state;
	on_each_engine(do_cut, &plain);
}

static void do_discard(struct disk *d)
{
	static uint8_t buf[MIB], zero[MIB];
	struct stat before, after;

	memset(buf, 0x55, sizeof(buf));
	assert_int_equal(one(d, BLOCK_WRITE, 0, buf, MIB), 0);
	assert_int_equal(one(d, BLOCK_FLUSH, 0, NULL, 0), 0);
	assert_int_equal(stat(path, &before), 0);
	if (!block_can_discard(d->b)) {
		print_message("no holes on this file system\n");
		return;
	}
	assert_int_equal(one(d, BLOCK_DISCARD, 0, NULL, MIB), 0);
	assert_int_equal(stat(path, &after), 0);
	assert_true(after.st_blocks < before.st_blocks);
	assert_int_equal(after.st_size, DISK);
	assert_int_equal(one(d, BLOCK_READ, 0, buf, MIB), 0);
	assert_memory_equal(buf, zero, MIB);
}

static void test_discard(void **state)
{
	(void)state;
	on_each_engine(do_discard, &plain);
}

/* pages of the file that only the host's memory has; -1: kernel before 6.5 */
static long dirty_pages(int fd)
{
	struct { uint64_t off, len; } range = { 0, 0 };
	struct { uint64_t cache, dirty, writeback, evicted, recently; } stat;

	if (syscall(451 /* cachestat */, fd, &range, &stat, 0) < 0)
		return -1;
	return stat.dirty + stat.writeback;
}

/* a flush that is done means that what was written before is on the disk */
static void do_flush(struct disk *d)
{
	static uint8_t buf[MIB];
	unsigned int i;

	if (d->b->file->direct || dirty_pages(d->b->file->fd) < 0)
		return;
	for (i = 0; i < 4; i++) {
		memset(buf, i, sizeof(buf));
		assert_int_equal(one(d, BLOCK_WRITE, i * MIB, buf, MIB), 0);
		assert_true(dirty_pages(d->b->file->fd) > 0);
		assert_int_equal(one(d, BLOCK_FLUSH, 0, NULL, 0), 0);
		assert_int_equal(dirty_pages(d->b->file->fd), 0);
	}
}

static void test_flush(void **state)
{
	(void)state;
	on_each_engine(do_flush, &plain);
}

/* the host refuses to zero: they are written */
static void do_written_zeroes(struct disk *d)
{
	static uint8_t buf[MIB], want[MIB];

	d->b->file->no_zero_range = true;
	memset(buf, 0x77, sizeof(buf));
	memset(want, 0x77, sizeof(want));
	memset(want + 512, 0, MIB - 1536);
	assert_int_equal(one(d, BLOCK_WRITE, 0, buf, MIB), 0);
	assert_int_equal(one(d, BLOCK_WRITE_ZEROES, 512, NULL, MIB - 1536), 0);
	assert_int_equal(one(d, BLOCK_READ, 0, buf, MIB), 0);
	assert_memory_equal(buf, want, MIB);
}

static void test_written_zeroes(void **state)
{
	(void)state;
	on_each_engine(do_written_zeroes, &plain);
}

/* ---- the loop delivers, a thread that ends takes nothing with it ---------- */

static void *run_loop(void *arg)
{
	loop_run(((struct disk *)arg)->loop);
	return NULL;
}

struct vcpu_work {
	struct disk *d;
	struct answer a[64];
	struct iovec iov[64];
	uint8_t data[64][4096];
};

/* a vCPU thread that ends with its writes in flight */
static void *vcpu(void *arg)
{
	struct vcpu_work *w = arg;
	unsigned int i;

	pthread_mutex_lock(&w->d->lock);
	for (i = 0; i < 64; i++) {
		memset(w->data[i], i + 1, 4096);
		w->iov[i] = (struct iovec){ w->data[i], 4096 };
		submit(w->d, &w->a[i], i % 8 == 7 ? BLOCK_FLUSH : BLOCK_WRITE,
		       4096ULL * i, 4096, &w->iov[i], 1);
	}
	pthread_mutex_unlock(&w->d->lock);
	return NULL;
}

static bool all_done(struct vcpu_work *w)
{
	unsigned int i, n = 0;

	pthread_mutex_lock(&w->d->lock);
	for (i = 0; i < 64; i++)
		n += w->a[i].done;
	pthread_mutex_unlock(&w->d->lock);
	return n == 64;
}

static void test_threads(void **state)
{
	static struct vcpu_work w;
	pthread_t loop, thread;
	unsigned int i, round;
	struct disk *d;

	(void)state;
	make_file("", 0, DISK);
	d = disk_open(&plain);
	assert_non_null(d->b);
	pthread_create(&loop, NULL, run_loop, d);
	for (round = 0; round < 20; round++) {
		w.d = d;
		pthread_create(&thread, NULL, vcpu, &w);
		pthread_join(thread, NULL);
		for (i = 0; !all_done(&w) && i < 20000; i++)
			usleep(100);
		assert_true(all_done(&w));
		for (i = 0; i < 64; i++)
			assert_int_equal(w.a[i].result, 0);
	}
	loop_stop(d->loop, 0);
	pthread_join(loop, NULL);
	disk_close(d);
}

/* close waits for what is in flight */
static void test_close_in_flight(void **state)
{
	static uint8_t data[MIB];
	struct iovec iov = { data, MIB };
	struct answer a;
	struct disk *d;

	(void)state;
	make_file("", 0, DISK);
	d = disk_open(&plain);
	submit(d, &a, BLOCK_WRITE, 0, MIB, &iov, 1);
	disk_close(d);
	assert_true(a.done);
	assert_int_equal(a.result, 0);
}

/* ---- a full host ---------------------------------------------------------- */

static int full_child(void)
{
	static uint8_t data[2 * MIB];
	struct block_opts opts = { 0 };
	int fd, full, again;
	struct disk *d;

	if (unshare(CLONE_NEWNS) < 0 ||
	    mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount("none", dir, "tmpfs", 0, "size=1m") < 0)
		return 77;
	snprintf(path, sizeof(path), "%s/full", dir);
	fd = open(path, O_CREAT | O_RDWR, 0600);
	if (fd < 0 || ftruncate(fd, DISK) < 0)
		return 1;
	close(fd);
	d = disk_open(&opts);
	if (!d->b)
		return 2;
	memset(data, 1, sizeof(data));
	full = one(d, BLOCK_WRITE, 0, data, sizeof(data));
	/* room comes back: it goes on */
	if (one(d, BLOCK_DISCARD, 0, NULL, 2 * MIB))
		return 3;
	again = one(d, BLOCK_WRITE, 0, data, MIB / 2);
	disk_close(d);
	return full == -ENOSPC && !again ? 0 : 4;
}

static bool is_done(struct disk *d, struct answer *a)
{
	bool done;

	pthread_mutex_lock(&d->lock);
	done = a->done;
	pthread_mutex_unlock(&d->lock);
	return done;
}

static bool done_within(struct disk *d, struct answer *a, unsigned int ms)
{
	while (!is_done(d, a) && ms--)
		usleep(1000);
	return is_done(d, a);
}

static void submit_one(struct disk *d, struct answer *a, enum block_op op,
		       uint64_t offset, struct iovec *iov)
{
	pthread_mutex_lock(&d->lock);
	submit(d, a, op, offset, iov->iov_len, iov, 1);
	pthread_mutex_unlock(&d->lock);
}

static int fill_host(uint64_t bytes)
{
	char name[160];
	int fd, ret;

	snprintf(name, sizeof(name), "%s/filler", dir);
	fd = open(name, O_CREAT | O_RDWR, 0600);
	ret = bytes ? posix_fallocate(fd, 0, bytes) : ftruncate(fd, 0);
	close(fd);
	return ret;
}

/* lines on the standard error that a file took the place of */
static unsigned int lines_said(int fd, const char *words)
{
	static char text[65536];
	unsigned int n = 0;
	char *at = text;
	ssize_t len = pread(fd, text, sizeof(text) - 1, 0);

	text[len > 0 ? len : 0] = 0;
	while ((at = strstr(at, words))) {
		at++;
		n++;
	}
	return n;
}

/* writes wait for room, reads do not; said once; then all is as written */
static int waits_for_room(enum engine e)
{
	static uint8_t data[3][MIB] __attribute__((aligned(4096)));
	static uint8_t back[MIB] __attribute__((aligned(4096)));
	struct iovec iov[3], read = { back, MIB };
	int said = memfd_create("stderr", 0);
	struct answer a[3], r;
	pthread_t loop;
	struct disk *d;
	unsigned int i;

	make_file("", 0, DISK);
	d = open_on(e, &plain);
	if (!d)
		return 0;
	if (fill_host(7 * MIB / 2) || dup2(said, 2) < 0)
		return 10;
	pthread_create(&loop, NULL, run_loop, d);
	for (i = 0; i < 3; i++) {
		memset(data[i], i + 1, MIB);
		iov[i] = (struct iovec){ data[i], MIB };
		/* at odd sectors: O_DIRECT has to read around them */
		submit_one(d, &a[i], BLOCK_WRITE, i * MIB + 512, &iov[i]);
	}
	if (done_within(d, &a[2], 1500) || is_done(d, &a[1]))
		return 11;
	submit_one(d, &r, BLOCK_READ, 3 * MIB, &read);
	if (!done_within(d, &r, 1000) || r.result)
		return 12;
	if (lines_said(said, "until there is room") != 1 || fill_host(0))
		return 13;
	for (i = 0; i < 3; i++)
		if (!done_within(d, &a[i], 5000) || a[i].result)
			return 14;
	if (lines_said(said, "room again") != 1 || lines_said(said, "\n") != 2)
		return 15;
	loop_stop(d->loop, 0);
	pthread_join(loop, NULL);
	for (i = 0; i < 3; i++)
		if (one(d, BLOCK_READ, i * MIB + 512, back, MIB) ||
		    memcmp(back, data[i], MIB))
			return 16;
	disk_close(d);
	close(said);
	return 0;
}

/* a guest that is reset, or ends, does not wait for the host's room */
static int drains_without_room(void)
{
	static uint8_t data[MIB];
	struct iovec iov = { data, MIB };
	struct answer a;
	pthread_t loop;
	struct disk *d;

	make_file("", 0, DISK);
	d = open_on(URING, &plain);
	if (fill_host(7 * MIB / 2))
		return 20;
	pthread_create(&loop, NULL, run_loop, d);
	submit_one(d, &a, BLOCK_WRITE, 0, &iov);
	if (done_within(d, &a, 200))
		return 21;
	pthread_mutex_lock(&d->lock);
	block_drain(d->b);
	pthread_mutex_unlock(&d->lock);
	if (!is_done(d, &a) || a.result != -ENOSPC)
		return 22;
	loop_stop(d->loop, 0);
	pthread_join(loop, NULL);
	disk_close(d);
	return 0;
}

static int wait_child(void)
{
	enum engine e;
	int ret = 0;

	if (unshare(CLONE_NEWNS) < 0 ||
	    mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount("none", dir, "tmpfs", 0, "size=4m") < 0)
		return 77;
	snprintf(path, sizeof(path), "%s/full", dir);
	for (e = URING; e <= DIRECT && !ret; e++)
		ret = waits_for_room(e);
	return ret ? ret : drains_without_room();
}

static void test_full_host(void **state)
{
	(void)state;
	in_child(full_child);
}

static void test_wait_for_room(void **state)
{
	(void)state;
	in_child(wait_child);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_missing),
		cmocka_unit_test(test_directory),
		cmocka_unit_test(test_special),
		cmocka_unit_test(test_empty),
		cmocka_unit_test(test_odd_size),
		cmocka_unit_test(test_formats),
		cmocka_unit_test(test_unreadable),
		cmocka_unit_test(test_locked),
		cmocka_unit_test(test_random),
		cmocka_unit_test(test_many_in_flight),
		cmocka_unit_test(test_neighbours),
		cmocka_unit_test(test_out_of_range),
		cmocka_unit_test(test_read_only),
		cmocka_unit_test(test_cut_short),
		cmocka_unit_test(test_discard),
		cmocka_unit_test(test_flush),
		cmocka_unit_test(test_written_zeroes),
		cmocka_unit_test(test_threads),
		cmocka_unit_test(test_close_in_flight),
		cmocka_unit_test(test_full_host),
		cmocka_unit_test(test_wait_for_room),
	};

	return cmocka_run_group_tests_name("block", tests, block_setup,
					   block_teardown);
}
