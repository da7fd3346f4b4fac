// SPDX-License-Identifier: GPL-2.0
/*
 * Copies of a disk that is written to meanwhile: each is what the disk was at
 * its instant, whatever the guest does.
 */
#define _GNU_SOURCE 1
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "block_copies.h"

static const struct block_opts plain = { 0 };

/* ---- at random moments ---------------------------------------------------- */

static void random_copies(enum engine e, uint64_t size, bool overlay)
{
	static struct copy c;
	struct block_copy_opts o = { 0 };
	unsigned int round;
	struct disk *d;

	d = start_disk(e, size, overlay);
	if (!d) {
		print_message("no %s here\n", engine_names[e]);
		return;
	}
	for (round = 0; round < 12; round++) {
		o.same_base = overlay && round % 2;
		guest_works(d, 5 + rnd(30));
		snprintf(c.what, sizeof(c.what), "%s%s%s, round %u", engine_names[e],
			 overlay ? ", overlay" : "", o.same_base ? ", same base" : "", round);
		copy_start(d, &c, "copy", &o);
		guest_works(d, 1 + rnd(60));
		copy_wait(d, &c);
		guest_rests(d);
		copy_check(&c);
		same_as_model(d);
		copy_forget(&c);
	}
	disk_close(d);
}

static void test_random(void **state)
{
	(void)state;
	random_copies(URING, ODD, false);
	random_copies(SYNC, ODD, false);
	random_copies(DIRECT, DISK, false);
	random_copies(URING, ODD, true);
	random_copies(SYNC, ODD, true);
	random_copies(DIRECT, DISK, true);
}

/* a write waits for what it overwrites, is what is copied next, and goes on */
static void test_waits(void **state)
{
	static struct copy c;
	static uint8_t data[2][4096];
	const struct block_copy_opts o = { 0 };
	struct iovec iov[2] = { { data[0], 512 }, { data[1], 4096 } };
	struct answer a[2];
	uint64_t done, total;
	struct disk *d;

	(void)state;
	d = start_disk(SYNC, ODD, false);
	copy_start(d, &c, "copy", &o);
	/* what is copied now, and what would be last */
	submit(d, &a[0], BLOCK_WRITE, 4096, 512, &iov[0], 1);
	submit(d, &a[1], BLOCK_WRITE, DISK - 8192, 4096, &iov[1], 1);
	assert_int_equal(d->b->writing, 0);
	assert_int_equal(d->b->pending, 2);
	while (!a[0].done || !a[1].done)
		engine_wait(d->b);
	assert_int_equal(c.result, 1);
	block_copy_progress(c.c, &done, &total);
	assert_in_range(done, 1, total / 2);
	/* now these are free */
	submit(d, &a[0], BLOCK_WRITE, 4096, 512, &iov[0], 1);
	assert_int_equal(d->b->writing, 1);
	copy_wait(d, &c);
	block_drain(d->b);
	copy_check(&c);
	copy_forget(&c);
	disk_close(d);
}

/* a chain of what differs, each taken while the one before is not done */
static void test_diff(void **state)
{
	enum { N = 6 };
	static struct copy c[N];
	struct block_copy_opts o = { 0 };
	char name[32];
	uint64_t *set;
	struct stat st;
	struct disk *d;
	unsigned int i;

	(void)state;
	d = start_disk(URING, ODD, false);
	assert_int_equal(block_track(d->b, true), 0);
	for (i = 0; i < N; i++) {
		guest_works(d, 12);
		snprintf(name, sizeof(name), "diff%u", i);
		set = block_harvest(d->b);
		assert_non_null(set);
		o.base = i ? c[i - 1].path : NULL;
		o.set = set;
		copy_start(d, &c[i], name, &o);
		free(set);
		guest_works(d, 12);
		copy_wait(d, &c[i]);
	}
	guest_rests(d);
	disk_close(d);
	for (i = 0; i < N; i++) {
		copy_check(&c[i]);
		assert_int_equal(stat(c[i].path, &st), 0);
		/* a few dozen requests are not the whole disk */
		assert_true(!i || st.st_blocks * 512 < (off_t)(DISK * 3 / 4));
	}
	for (i = 0; i < N; i++)
		copy_forget(&c[i]);
}

/* ---- holes, sharing ------------------------------------------------------- */

static void test_holes(void **state)
{
	static struct copy c;
	const struct block_copy_opts o = { 0 };
	uint64_t done, total;
	struct stat st;
	struct disk *d;
	int fd;

	(void)state;
	in_dir(path, "disk.img");
	unlink(path);
	disk_size = DISK;
	memset(model, 0, DISK);
	fd = open(path, O_CREAT | O_RDWR, 0600);
	assert_int_equal(ftruncate(fd, DISK), 0);
	memset(model + MIB, 3, 20000);
	assert_int_equal(pwrite(fd, model + MIB, 20000, MIB), 20000);
	memset(model + DISK - 4096, 4, 4096);
	assert_int_equal(pwrite(fd, model + DISK - 4096, 4096, DISK - 4096), 4096);
	close(fd);
	d = open_on(URING, &plain);
	copy_start(d, &c, "copy", &o);
	block_copy_progress(c.c, &done, &total);
	assert_int_equal(total, DISK);
	assert_in_range(done, 0, DISK);
	copy_wait(d, &c);
	copy_check(&c);
	assert_int_equal(stat(c.path, &st), 0);
	assert_int_equal(st.st_size, DISK);
	if (lseek(d->b->file->fd, 0, SEEK_DATA) == (off_t)MIB)
		assert_in_range(st.st_blocks * 512, 24576, 65536);
	copy_forget(&c);
	disk_close(d);
}

/* a large disk that is nearly empty is done in a few steps */
static void test_large(void **state)
{
	static const uint64_t size = 1ULL << 40, at[] = { 0, 1ULL << 39, size - 4096 };
	static uint8_t data[4096], got[4096];
	const struct block_copy_opts o = { 0 };
	struct copy *c = calloc(1, sizeof(*c));
	unsigned int i, steps = 0;
	char base[256];
	struct stat st;
	struct disk *d;
	int fd;

	(void)state;
	memset(data, 0x77, sizeof(data));
	fd = open(in_dir(base, "large"), O_CREAT | O_TRUNC | O_WRONLY, 0600);
	if (ftruncate(fd, size) < 0) {
		free(c);
		skip();
	}
	assert_int_equal(pwrite(fd, data, 4096, at[1]), 4096);
	close(fd);
	unlink(in_dir(path, "top"));
	assert_int_equal(block_overlay_create(path, base, err, sizeof(err)), 0);
	d = open_on(URING, &plain);
	assert_int_equal(one(d, BLOCK_WRITE, at[0], data, 4096), 0);
	assert_int_equal(one(d, BLOCK_WRITE, at[2], data, 4096), 0);
	disk_size = 0;
	copy_start(d, c, "copy", &o);
	for (; c->result == 1; steps++)
		engine_wait(d->b);
	assert_int_equal(c->result, 0);
	assert_in_range(steps, 1, 100);
	disk_close(d);
	fd = open(c->path, O_RDONLY);
	for (i = 0; i < 3; i++) {
		assert_int_equal(pread(fd, got, 4096, at[i]), 4096);
		assert_memory_equal(got, data, 4096);
	}
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(st.st_size, size);
	assert_in_range(st.st_blocks * 512, 3 * 4096, MIB);
	close(fd);
	copy_forget(c);
	unlink(base);
	free(c);
}

int __real_ioctl(int fd, unsigned long what, void *arg);
int __wrap_ioctl(int fd, unsigned long what, void *arg);

static unsigned int clones;		/* asked for */
/* what this file system is to be able to */
static enum { CLONE_NOT, CLONE_PLAYED, CLONE_REAL } cloning;

int __wrap_ioctl(int fd, unsigned long what, void *arg)
{
	static uint8_t buf[ODD];
	ssize_t n;

	clones += what == FICLONE;
	if (what != FICLONE || cloning == CLONE_REAL)
		return __real_ioctl(fd, what, arg);
	if (cloning == CLONE_NOT) {
		errno = EOPNOTSUPP;
		return -1;
	}
	n = pread((long)arg, buf, sizeof(buf), 0);
	return pwrite(fd, buf, n, 0) == n ? 0 : -1;
}

/* where blocks can be shared it is there at once, and no write waits for it */
static void test_clone(void **state)
{
	static struct copy c;
	static uint8_t data[MIB];
	const struct block_copy_opts o = { 0 };
	struct iovec iov = { data, 4096 };
	struct answer a, b;
	struct disk *d;

	(void)state;
	d = start_disk(SYNC, ODD, false);
	cloning = CLONE_PLAYED;
	clones = 0;
	copy_start(d, &c, "copy", &o);
	assert_int_equal(clones, 1);
	submit(d, &a, BLOCK_WRITE, 0, 4096, &iov, 1);
	assert_int_equal(d->b->writing, 1);
	copy_wait(d, &c);
	block_drain(d->b);
	copy_check(&c);
	copy_forget(&c);
	memset(model, 0, 4096);
	/* not before a write of before is done, and later ones wait for that */
	memset(data, 0x33, 4096);
	submit(d, &a, BLOCK_WRITE, 8192, 4096, &iov, 1);
	memset(model + 8192, 0x33, 4096);
	copy_start(d, &c, "copy", &o);
	assert_int_equal(clones, 1);
	iov = (struct iovec){ data + 8192, 4096 };
	submit(d, &b, BLOCK_WRITE, 0, 4096, &iov, 1);
	assert_int_equal(d->b->writing, 1);
	copy_wait(d, &c);
	assert_int_equal(clones, 2);
	assert_true(a.done);
	block_drain(d->b);
	assert_true(b.done && !b.result);
	copy_check(&c);
	copy_forget(&c);
	cloning = CLONE_NOT;
	disk_close(d);
}

/* a file system that does share them, if one can be had */
static int clone_child(void)
{
	static struct copy c;
	const struct block_copy_opts o = { 0 };
	char command[1024], mnt[256];
	uint64_t done, total;
	struct disk *d;

	if (geteuid() || access("/sbin/mkfs.xfs", X_OK) ||
	    unshare(CLONE_NEWNS) < 0 ||
	    mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		return 77;
	snprintf(command, sizeof(command),
		 "cd %s && mkdir mnt && truncate -s 400M xfs && /sbin/mkfs.xfs -q xfs && mount -o loop xfs mnt",
		 dir);
	if (system(command))
		return 77;
	in_dir(path, "mnt/disk.img");
	make_model(ODD);
	d = open_on(URING, &plain);
	cloning = CLONE_REAL;
	clones = 0;
	copy_start(d, &c, "mnt/copy", &o);
	block_copy_progress(c.c, &done, &total);
	if (clones != 1 || done != total)
		return 1;
	guest_works(d, 40);
	copy_wait(d, &c);
	guest_rests(d);
	copy_check(&c);
	disk_close(d);
	umount(in_dir(mnt, "mnt"));
	return 0;
}

static void test_real_clone(void **state)
{
	(void)state;
	in_child(clone_child);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_random),
		cmocka_unit_test(test_waits),
		cmocka_unit_test(test_diff),
		cmocka_unit_test(test_holes),
		cmocka_unit_test(test_large),
		cmocka_unit_test(test_clone),
		cmocka_unit_test(test_real_clone),
	};

	return cmocka_run_group_tests_name("block_copy", tests, block_setup,
					   block_teardown);
}
