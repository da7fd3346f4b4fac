// SPDX-License-Identifier: GPL-2.0
/*
 * A host that stops at any moment. What is written to an overlay is recorded,
 * call by call; then, for each moment, files are made that the disk may hold
 * then: all that was made durable, and of what came after it any calls and any
 * sectors of them. Each of these files must open, and have in each sector what
 * was written there last before the last flush that was answered, or something
 * that was written later.
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
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "block/overlay.h"
#include "block_fixture.h"

#define SECTOR		512U
/* a large disk with a few places in use, so that its map has several pages */
#define SIZE		(300 * MIB)
#define PLACE		(16 * 4096U)
#define PLACE_SECTORS	(PLACE / SECTOR)
#define PLACES		3
#define SECTORS		(PLACES * PLACE_SECTORS)
#define REQUESTS	100
#define AT_ONCE		6
#define CUTS		3		/* files for a moment */
#define CALLS		1000

static const uint64_t places[PLACES] = {
	0,
	/* where the first page of the map ends and the second begins */
	OVERLAY_PAGE_BITS * 4096 - PLACE / 2,
	SIZE - PLACE,
};

/* ---- what is recorded ----------------------------------------------------- */

struct call {
	enum { CALL_WRITE, CALL_PUNCH, CALL_SYNC } what;
	uint64_t offset, len;
	uint8_t *data;
};

static struct call calls[CALLS];
static unsigned int ncalls;
static int recorded = -1;		/* this descriptor's calls */

/* what was written to a sector, in order: 0 is zeroes, else a number's bytes */
struct version {
	uint32_t number;
	unsigned int sent;		/* so many calls were recorded then */
	unsigned int done;		/* its answer came before this call */
};

static struct version versions[SECTORS][REQUESTS + 1];
static unsigned int nversions[SECTORS];

/* a flush: what was done before it was sent is durable when it is answered */
static struct { unsigned int sent, done; } flushes[REQUESTS];
static unsigned int nflushes;

static struct call *record(int what, uint64_t offset, uint64_t len)
{
	assert_true(ncalls < CALLS);
	calls[ncalls] = (struct call){ .what = what, .offset = offset, .len = len };
	return &calls[ncalls++];
}

ssize_t __real_pwritev(int fd, const struct iovec *iov, int n, off_t offset);
ssize_t __wrap_pwritev(int fd, const struct iovec *iov, int n, off_t offset);
int __real_fallocate(int fd, int mode, off_t offset, off_t len);
int __wrap_fallocate(int fd, int mode, off_t offset, off_t len);
int __real_fdatasync(int fd);
int __wrap_fdatasync(int fd);

ssize_t __wrap_pwritev(int fd, const struct iovec *iov, int n, off_t offset)
{
	uint64_t len = 0, at = 0;
	struct call *c;
	int i;

	if (fd == recorded) {
		for (i = 0; i < n; i++)
			len += iov[i].iov_len;
		c = record(CALL_WRITE, offset, len);
		c->data = malloc(len);
		for (i = 0; i < n; at += iov[i++].iov_len)
			memcpy(c->data + at, iov[i].iov_base, iov[i].iov_len);
	}
	return __real_pwritev(fd, iov, n, offset);
}

int __wrap_fallocate(int fd, int mode, off_t offset, off_t len)
{
	if (fd == recorded)
		record(CALL_PUNCH, offset, len);
	return __real_fallocate(fd, mode, offset, len);
}

/* the machine of this test is not to wait for its own disk */
int __wrap_fdatasync(int fd)
{
	if (fd == recorded)
		record(CALL_SYNC, 0, 0);
	return 0;
}

/* ---- a guest at work ------------------------------------------------------ */

static uint64_t sector_offset(unsigned int s)
{
	return places[s / PLACE_SECTORS] + s % PLACE_SECTORS * SECTOR;
}

static void pattern(uint8_t *buf, unsigned int s, uint32_t number)
{
	unsigned int i;

	for (i = 0; i < SECTOR; i++)
		buf[i] = number ? number * 7 + s * 3 + i + (number >> 8) : 0;
}

struct op {
	bool busy;
	struct answer a;
	struct iovec iov;
	unsigned int sector, n;		/* n is 0: a flush */
	unsigned int number;		/* of the flush */
	uint8_t data[40 * SECTOR];
};

static struct op ops[AT_ONCE];
static uint32_t numbers;

static bool meets(unsigned int s, unsigned int len)
{
	unsigned int i;

	for (i = 0; i < AT_ONCE; i++)
		if (ops[i].busy && ops[i].n && s < ops[i].sector + ops[i].n &&
		    ops[i].sector < s + len)
			return true;
	return false;
}

static void send_write(struct disk *d, struct op *o)
{
	bool zero = !rnd(4);
	unsigned int k, s, n;

	do {
		s = rnd(SECTORS);
		n = 1 + rnd(rnd(2) ? 8 : 40);
		if (n > PLACE_SECTORS - s % PLACE_SECTORS)
			n = PLACE_SECTORS - s % PLACE_SECTORS;
	} while (meets(s, n));
	*o = (struct op){ .busy = true, .sector = s, .n = n };
	numbers++;
	for (k = 0; k < n; k++, s++) {
		pattern(o->data + k * SECTOR, s, zero ? 0 : numbers);
		versions[s][nversions[s]++] = (struct version){
			.number = zero ? 0 : numbers, .sent = ncalls, .done = ~0U,
		};
	}
	o->iov = (struct iovec){ o->data, n * SECTOR };
	submit(d, &o->a, zero ? rnd(2) ? BLOCK_DISCARD : BLOCK_WRITE_ZEROES :
	       BLOCK_WRITE, sector_offset(o->sector), n * SECTOR, &o->iov, 1);
}

static void send_flush(struct disk *d, struct op *o)
{
	*o = (struct op){ .busy = true, .number = nflushes++ };
	flushes[o->number].sent = ncalls;
	flushes[o->number].done = ~0U;
	submit(d, &o->a, BLOCK_FLUSH, 0, 0, NULL, 0);
}

static void note_answers(void)
{
	struct op *o;
	unsigned int k;

	for (o = ops; o < ops + AT_ONCE; o++) {
		if (!o->busy || !o->a.done)
			continue;
		o->busy = false;
		assert_int_equal(o->a.result, 0);
		if (!o->n)
			flushes[o->number].done = ncalls;
		for (k = o->sector; k < o->sector + o->n; k++)
			versions[k][nversions[k] - 1].done = ncalls;
	}
}

/* some of what the host has done becomes known, in any order */
static void some_results(struct disk *d)
{
	struct block_req *r[64], *tmp;
	unsigned int i, j, n = 0, now;

	while ((tmp = block_list_take(&d->b->results)))
		r[n++] = tmp;
	for (i = n; i > 1; i--) {
		j = rnd(i);
		tmp = r[j];
		r[j] = r[i - 1];
		r[i - 1] = tmp;
	}
	now = 1 + rnd(n);
	for (i = 0; i < now; i++)
		block_list_add(&d->b->results, r[i]);
	engine_wait(d->b);
	for (; i < n; i++)
		block_list_add(&d->b->results, r[i]);
	note_answers();
}

static void work(struct disk *d)
{
	unsigned int i, sent = 0;

	while (sent < REQUESTS) {
		i = rnd(AT_ONCE);
		if (ops[i].busy) {
			some_results(d);
			continue;
		}
		if (rnd(3))
			send_write(d, &ops[i]);
		else
			send_flush(d, &ops[i]);
		sent++;
	}
	while (d->b->pending)
		some_results(d);
}

/* ---- a disk after a crash ------------------------------------------------- */

static uint8_t *file_image;		/* of the overlay, as it was made */
static size_t image_len;

/* the host stopped when this many calls were made */
static void apply(int fd, unsigned int moment)
{
	static const uint8_t zero[SECTOR];
	unsigned int i, durable = 0;
	const struct call *c;
	uint64_t at, n;
	bool all;

	for (i = 0; i < moment; i++)
		if (calls[i].what == CALL_SYNC)
			durable = i;
	for (i = 0; i < moment; i++) {
		c = &calls[i];
		/* all of it, some, or none */
		all = i < durable || !rnd(3);
		if (c->what == CALL_SYNC || (!all && !rnd(3)))
			continue;
		for (at = 0; at < c->len; at += n) {
			n = SECTOR - (c->offset + at) % SECTOR;
			if (n > c->len - at)
				n = c->len - at;
			if (all || rnd(2))
				assert_int_equal(pwrite(fd, c->data ? c->data + at :
							zero, n, c->offset + at), n);
		}
	}
}

/* the first version that it may have */
static unsigned int oldest(unsigned int s, unsigned int moment)
{
	unsigned int f, v, first = 0;

	for (f = 0; f < nflushes; f++)
		for (v = 1; flushes[f].done <= moment && v < nversions[s]; v++)
			if (versions[s][v].done <= flushes[f].sent && v > first)
				first = v;
	return first;
}

static void check_sector(const uint8_t *got, unsigned int s, unsigned int moment)
{
	unsigned int v = oldest(s, moment);
	uint8_t want[SECTOR];

	for (; v < nversions[s] && versions[s][v].sent <= moment; v++) {
		pattern(want, s, versions[s][v].number);
		if (!memcmp(got, want, SECTOR))
			return;
	}
	fail_msg("moment %u: sector %u begins with %02x %02x, and that is neither flushed nor written later",
		 moment, s, got[0], got[1]);
}

static void check_moment(unsigned int moment)
{
	static uint8_t got[PLACE];
	const struct block_opts opts = { .read_only = true };
	unsigned int i, s;
	struct disk *d;
	int fd;

	fd = open(path, O_CREAT | O_TRUNC | O_RDWR, 0600);
	assert_int_equal(pwrite(fd, file_image, image_len, 0), image_len);
	assert_int_equal(ftruncate(fd, overlay_file_size(SIZE)), 0);
	apply(fd, moment);
	close(fd);
	d = disk_open(&opts);
	if (!d->b)
		fail_msg("moment %u: %s", moment, err);
	for (i = 0; i < PLACES; i++) {
		assert_int_equal(one(d, BLOCK_READ, places[i], got, PLACE), 0);
		for (s = 0; s < PLACE_SECTORS; s++)
			check_sector(got + s * SECTOR, i * PLACE_SECTORS + s, moment);
	}
	disk_close(d);
}

static void make_disk(void)
{
	char base[256], top[256];
	uint8_t buf[SECTOR];
	unsigned int s;
	int fd;

	in_dir(base, "base");
	fd = open(base, O_CREAT | O_TRUNC | O_WRONLY, 0600);
	assert_int_equal(ftruncate(fd, SIZE), 0);
	for (s = 0; s < SECTORS; s++) {
		pattern(buf, s, ++numbers);
		assert_int_equal(pwrite(fd, buf, SECTOR, sector_offset(s)), SECTOR);
		versions[s][0] = (struct version){ .number = numbers };
		nversions[s] = 1;
	}
	close(fd);
	unlink(in_dir(top, "top"));
	if (block_overlay_create(top, base, err, sizeof(err)))
		fail_msg("%s", err);
	image_len = overlay_data(SIZE);
	file_image = malloc(image_len);
	fd = open(top, O_RDONLY);
	assert_int_equal(pread(fd, file_image, image_len, 0), image_len);
	close(fd);
	strcpy(path, top);
}

static void test_crash(void **state)
{
	const struct block_opts opts = { 0 };
	unsigned int moment, cut, i, flushed = 0;
	struct disk *d;
	char after[256];

	(void)state;
	make_disk();
	assert_int_equal(overlay_pages(SIZE), 3);
	d = open_on(SYNC, &opts);
	recorded = d->b->file->fd;
	work(d);
	recorded = -1;
	disk_close(d);
	for (i = 0; i < nflushes; i++)
		flushed += flushes[i].done != ~0U;
	assert_int_equal(flushed, nflushes);
	assert_true(nflushes > 10);
	strcpy(path, in_dir(after, "after"));
	for (moment = 0; moment <= ncalls; moment++)
		for (cut = 0; cut < CUTS; cut++)
			check_moment(moment);
	for (i = 0; i < ncalls; i++)
		free(calls[i].data);
	free(file_image);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_crash),
	};

	return cmocka_run_group_tests_name("overlay_crash", tests, block_setup,
					   block_teardown);
}
