// SPDX-License-Identifier: GPL-2.0
/*
 * Copies of a disk that is written to meanwhile: each is what the disk was at
 * its instant, whatever the guest, the host's disk or its file system do; and
 * the set of granules that were written.
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
#include <sys/wait.h>
#include <unistd.h>

#include "block/overlay.h"
#include "block_fixture.h"
#include "block_random.h"
#include "loop.h"

#define AT_ONCE	6

static const struct block_opts plain = { 0 }, ro = { .read_only = true };

struct copy {
	struct block_copy *c;
	char path[256];
	int result;			/* 1: it goes on */
	char what[64];
	uint8_t instant[ODD];		/* what it has to have */
};

static void copy_done(void *owner, int result)
{
	struct copy *c = owner;

	assert_int_equal(c->result, 1);
	c->c = NULL;
	c->result = result;
}

static void copy_start(struct disk *d, struct copy *c, const char *name,
		       const struct block_copy_opts *o)
{
	c->result = 1;
	in_dir(c->path, name);
	memcpy(c->instant, model, disk_size);
	c->c = block_copy_start(d->b, c->path, o, copy_done, c, err, sizeof(err));
	if (!c->c)
		fail_msg("%s", err);
	assert_int_equal(c->result, 1);		/* never from inside */
}

static void copy_wait(struct disk *d, struct copy *c)
{
	while (c->result == 1)
		engine_wait(d->b);
}

/* what the file has, read as a disk */
static void copy_check(struct copy *c)
{
	static uint8_t got[ODD];
	char keep[256];
	struct disk *d;
	uint64_t i;

	assert_int_equal(c->result, 0);
	strcpy(keep, path);
	strcpy(path, c->path);
	d = disk_open(&ro);
	if (!d->b)
		fail_msg("%s", err);
	assert_int_equal(block_size(d->b), disk_size);
	assert_int_equal(one(d, BLOCK_READ, 0, got, disk_size), 0);
	for (i = 0; i < disk_size; i++)
		if (got[i] != c->instant[i])
			fail_msg("%s: byte %llu is %02x and was %02x", c->what,
				 (unsigned long long)i, got[i], c->instant[i]);
	disk_close(d);
	strcpy(path, keep);
}

/* path becomes that of the disk, or of an overlay over it */
static struct disk *start_disk(enum engine e, uint64_t size, bool overlay)
{
	char base[256];

	in_dir(path, "disk.img");
	make_model(size);
	if (overlay) {
		strcpy(base, path);
		unlink(in_dir(path, "top"));
		assert_int_equal(block_overlay_create(path, base, err, sizeof(err)), 0);
	}
	return open_on(e, &plain);
}

static void forget(struct copy *c)
{
	unlink(c->path);
}

/* ---- at random moments ---------------------------------------------------- */

/* a guest with some requests at once */
static struct random guest[AT_ONCE];

static void guest_works(struct disk *d, unsigned int steps)
{
	unsigned int i;

	while (steps--) {
		i = rnd(AT_ONCE);
		if (guest[i].busy && !random_done(&guest[i])) {
			engine_wait(d->b);
			continue;
		}
		random_submit(d, guest, AT_ONCE, i, 512 * (uint64_t)rnd(disk_size / 512));
	}
}

static void guest_rests(struct disk *d)
{
	unsigned int i;

	block_drain(d->b);
	for (i = 0; i < AT_ONCE; i++)
		if (guest[i].busy)
			assert_true(random_done(&guest[i]));
}

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
		forget(&c);
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
	forget(&c);
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
		forget(&c[i]);
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
	forget(&c);
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
	forget(c);
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
	forget(&c);
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
	forget(&c);
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

/* ---- what goes wrong ------------------------------------------------------ */

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
			forget(&c);
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
		for (i = 0; i < AT_ONCE; i++)
			if (guest[i].busy)
				assert_true(random_done(&guest[i]));
		assert_true(c.result == -ECANCELED || !c.result);
		if (c.result)
			gone(&c);
		else
			forget(&c);
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

static void in_child(int (*fn)(void))
{
	char name[256];
	int status;
	pid_t pid;

	fflush(NULL);
	pid = fork();
	if (!pid)
		_exit(fn());
	assert_int_equal(waitpid(pid, &status, 0), pid);
	rmdir(in_dir(name, "mnt"));
	assert_true(WIFEXITED(status));
	if (WEXITSTATUS(status) == 77)
		skip();
	assert_int_equal(WEXITSTATUS(status), 0);
}

static void test_full(void **state)
{
	(void)state;
	in_child(full_child);
}

static void test_real_clone(void **state)
{
	(void)state;
	in_child(clone_child);
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
	forget(&c);
	disk_close(d);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_tracked),
		cmocka_unit_test(test_random),
		cmocka_unit_test(test_waits),
		cmocka_unit_test(test_diff),
		cmocka_unit_test(test_holes),
		cmocka_unit_test(test_large),
		cmocka_unit_test(test_clone),
		cmocka_unit_test(test_real_clone),
		cmocka_unit_test(test_cancel),
		cmocka_unit_test(test_close),
		cmocka_unit_test(test_failing_disk),
		cmocka_unit_test(test_full),
		cmocka_unit_test(test_refused),
	};

	return cmocka_run_group_tests_name("block_copy", tests, block_setup,
					   block_teardown);
}
