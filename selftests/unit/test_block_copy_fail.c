// SPDX-License-Identifier: GPL-2.0
/*
 * Copies of a disk that come to nothing: they leave no file behind, and no
 * request of the guest's fails for that.
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

#include "block_copies.h"

static const struct block_opts ro = { .read_only = true };

static void gone(const struct copy *c)
{
	assert_int_equal(access(c->path, F_OK), -1);
}

static void test_cancel(void **state)
{
	static struct copy c;
	const struct block_copy_opts o = { 0 };
	unsigned int when;
	struct disk *d;

	(void)state;
	for (when = 0; when < 12; when++) {
		d = start_disk(when % 2 ? SYNC : URING, ODD, when % 3);
		guest_works(d, when % 4);
		copy_start(d, &c, "copy", &o);
		guest_works(d, when * 2);
		if (c.c)
			block_copy_cancel(c.c);
		guest_works(d, 10);
		copy_wait(d, &c);
		if (c.result) {
			assert_int_equal(c.result, -ECANCELED);
			gone(&c);
		} else {
			copy_check(&c);
			copy_forget(&c);
		}
		guest_rests(d);
		same_as_model(d);
		disk_close(d);
	}
}

/* the machine ends first; what the guest wrote is there */
static void test_close(void **state)
{
	static struct copy c;
	const struct block_copy_opts o = { 0 };
	unsigned int when, i;
	struct disk *d;

	(void)state;
	for (when = 0; when < 8; when++) {
		d = start_disk(when % 2 ? SYNC : URING, ODD, when & 2);
		guest_works(d, when % 3);
		copy_start(d, &c, "copy", &o);
		guest_works(d, when);
		disk_close(d);
		for (i = 0; i < GUEST_AT_ONCE; i++)
			if (guest[i].busy)
				assert_true(random_done(&guest[i]));
		assert_true(c.result == -ECANCELED || !c.result);
		if (c.result)
			gone(&c);
		else
			copy_forget(&c);
		d = open_on(URING, &ro);
		same_as_model(d);
		disk_close(d);
	}
}

/* a part of the disk is gone: the copy has an end, the guest's writes go on */
static void test_failing_disk(void **state)
{
	static struct copy c;
	const struct block_copy_opts o = { 0 };
	static uint8_t data[4096];
	struct iovec iov = { data, 4096 };
	struct answer a;
	struct disk *d;
	enum engine e;

	(void)state;
	for (e = URING; e <= SYNC; e++) {
		d = start_disk(e, DISK, false);
		assert_int_equal(truncate(path, DISK - MIB), 0);
		copy_start(d, &c, "copy", &o);
		submit(d, &a, BLOCK_WRITE, 0, 4096, &iov, 1);
		copy_wait(d, &c);
		block_drain(d->b);
		assert_int_equal(c.result, -EIO);
		gone(&c);
		assert_true(a.done && !a.result);
		disk_close(d);
	}
}

/* the copy's file system is full: no write of the guest's fails for that */
static int full_child(void)
{
	static struct copy c;
	const struct block_copy_opts o = { 0 };
	enum engine e;
	struct disk *d;
	char mnt[256];

	if (unshare(CLONE_NEWNS) < 0 ||
	    mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    (mkdir(in_dir(mnt, "mnt"), 0700) < 0 && errno != EEXIST) ||
	    mount("none", mnt, "tmpfs", 0, "size=1m") < 0)
		return 77;
	for (e = URING; e <= SYNC; e++) {
		d = start_disk(e, ODD, e == SYNC);
		copy_start(d, &c, "mnt/copy", &o);
		guest_works(d, 60);
		copy_wait(d, &c);
		if (c.result != -ENOSPC || !access(c.path, F_OK))
			return 1;
		guest_rests(d);
		same_as_model(d);
		disk_close(d);
	}
	return 0;
}

static void test_full(void **state)
{
	(void)state;
	in_child(full_child);
}

static void not_started(struct disk *d, const char *name,
			const struct block_copy_opts *o, const char *words)
{
	char at[256];
	struct copy c = { .result = 1 };

	c.c = block_copy_start(d->b, in_dir(at, name), o, copy_done, &c, err,
			       sizeof(err));
	assert_null(c.c);
	if (!strstr(err, words) || strchr(err, '\n'))
		fail_msg("'%s' lacks '%s'", err, words);
	assert_null(d->b->copy);
}

static void test_refused(void **state)
{
	static struct copy c;
	struct block_copy_opts o = { 0 };
	char small[256], name[256];
	uint64_t *set;
	struct disk *d;
	int fd;

	(void)state;
	d = start_disk(URING, ODD, false);
	not_started(d, "disk.img", &o, "File exists");
	not_started(d, "none/copy", &o, "cannot be made");
	o.same_base = true;
	not_started(d, "copy", &o, "it is no overlay");
	o.same_base = false;
	block_track(d->b, true);
	set = block_harvest(d->b);
	o.set = set;
	o.base = in_dir(small, "small");
	not_started(d, "copy", &o, "no such file");
	fd = open(small, O_CREAT | O_WRONLY, 0600);
	assert_int_equal(ftruncate(fd, MIB), 0);
	close(fd);
	not_started(d, "copy", &o, "wants them to be the same");
	assert_int_equal(access(in_dir(name, "copy"), F_OK), -1);
	free(set);
	o = (struct block_copy_opts){ 0 };
	copy_start(d, &c, "copy", &o);
	assert_null(block_copy_start(d->b, small, &o, copy_done, NULL, err,
				     sizeof(err)));
	assert_non_null(strstr(err, "a copy of it is being made"));
	copy_wait(d, &c);
	copy_check(&c);
	copy_forget(&c);
	disk_close(d);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_cancel),
		cmocka_unit_test(test_close),
		cmocka_unit_test(test_failing_disk),
		cmocka_unit_test(test_full),
		cmocka_unit_test(test_refused),
	};

	return cmocka_run_group_tests_name("block_copy_fail", tests, block_setup,
					   block_teardown);
}
