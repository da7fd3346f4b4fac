// SPDX-License-Identifier: GPL-2.0
/*
 * Overlays as files: what they are made of, who may open them, and what is
 * refused and in which words.
 */
#define _GNU_SOURCE 1
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "block/overlay.h"
#include "block_fixture.h"
#include "crc32c.h"

static const struct block_opts rw = { 0 }, ro = { .read_only = true };

static char base[256], top[256];

/* path becomes that of the overlay; every test begins with it */
static void make_pair(uint64_t size)
{
	in_dir(base, "base");
	in_dir(top, "top");
	unlink(top);
	strcpy(path, base);
	make_file("base", 4, size);
	if (block_overlay_create(top, base, err, sizeof(err)))
		fail_msg("%s", err);
	strcpy(path, top);
}

static struct overlay_header header(void)
{
	struct overlay_header h;
	int fd = open(top, O_RDONLY);

	assert_int_equal(pread(fd, &h, sizeof(h), 0), sizeof(h));
	close(fd);
	return h;
}

static void put(uint64_t at, const void *buf, size_t len)
{
	int fd = open(top, O_WRONLY);

	assert_int_equal(pwrite(fd, buf, len, at), len);
	close(fd);
}

/* ---- making one ----------------------------------------------------------- */

static void test_create(void **state)
{
	struct overlay_header h;
	struct stat st, bst;
	struct disk *d;
	char buf[512];

	(void)state;
	make_pair(DISK + 512);
	h = header();
	assert_int_equal(h.size, DISK + 512);
	assert_int_equal(h.base_kind, OVERLAY_BASE_FILE);
	assert_string_equal(h.base, "base");
	assert_int_equal(stat(base, &bst), 0);
	assert_int_equal(h.base_mtime, bst.st_mtim.tv_sec);
	assert_int_equal(h.base_mtime_nsec, bst.st_mtim.tv_nsec);
	assert_int_equal(stat(top, &st), 0);
	assert_int_equal(st.st_size, 65536 + DISK + 4096);
	assert_true(st.st_blocks * 512 < 65536);
	d = disk_open(&rw);
	assert_non_null(d->b);
	assert_int_equal(block_size(d->b), DISK + 512);
	assert_int_equal(one(d, BLOCK_READ, 0, buf, 512), 0);
	assert_memory_equal(buf, "base", 4);
	disk_close(d);
}

static void not_made(const char *t, const char *b, const char *words)
{
	assert_int_equal(block_overlay_create(t, b, err, sizeof(err)), -1);
	if (!strstr(err, words) || strchr(err, '\n'))
		fail_msg("'%s' lacks '%s'", err, words);
}

static void test_create_refused(void **state)
{
	struct disk *d;
	char name[256];
	uint8_t was[4096], is[4096];
	int fd;

	(void)state;
	make_pair(DISK);
	fd = open(top, O_RDONLY);
	assert_int_equal(pread(fd, was, 4096, 0), 4096);
	not_made(top, base, "File exists");
	assert_int_equal(pread(fd, is, 4096, 0), 4096);
	assert_memory_equal(was, is, 4096);
	close(fd);
	not_made(in_dir(name, "none/top"), base, "path cannot be had");
	not_made(in_dir(name, "new"), "/nowhere/base", "/nowhere/base: there is no such file");
	not_made(in_dir(name, "new"), dir, "directory");
	strcpy(path, in_dir(name, "odd"));
	make_file("x", 1, 1000);
	not_made(in_dir(name, "new"), path, "multiple of 512");
	/* a base that is being written to */
	strcpy(path, base);
	d = disk_open(&rw);
	not_made(in_dir(name, "new"), base, "locked");
	disk_close(d);
	assert_int_equal(access(in_dir(name, "new"), F_OK), -1);
}

/* both can be moved together, and an absolute path is kept */
static void test_paths(void **state)
{
	char sub[256], name[256], cwd[256];
	struct overlay_header h;
	struct disk *d;

	(void)state;
	make_pair(DISK);
	assert_int_equal(mkdir(in_dir(sub, "sub"), 0700), 0);
	in_dir(name, "sub/top");
	assert_int_equal(block_overlay_create(name, base, err, sizeof(err)), 0);
	strcpy(path, top);
	strcpy(top, name);
	h = header();
	assert_string_equal(h.base, base);
	/* of a relative name: where the overlay is, not where we are */
	assert_non_null(getcwd(cwd, sizeof(cwd)));
	assert_int_equal(chdir(sub), 0);
	strcpy(path, "../top");
	d = disk_open(&rw);
	assert_non_null(d->b);
	disk_close(d);
	/* by a link, too */
	assert_int_equal(symlink("../top", "link"), 0);
	strcpy(path, "link");
	d = disk_open(&rw);
	assert_non_null(d->b);
	disk_close(d);
	assert_int_equal(chdir(cwd), 0);
	unlink(name);
	unlink(in_dir(name, "sub/link"));
	assert_int_equal(rmdir(sub), 0);
}

/* ---- who may open what ---------------------------------------------------- */

static void test_locks(void **state)
{
	struct disk *a, *b;
	char other[256];

	(void)state;
	make_pair(DISK);
	assert_int_equal(block_overlay_create(in_dir(other, "other"), base, err,
					      sizeof(err)), 0);
	a = disk_open(&rw);
	assert_non_null(a->b);
	refused("locked", "stop that VM");
	/* the base is shared with others, and nobody may write to it */
	strcpy(path, other);
	b = disk_open(&rw);
	assert_non_null(b->b);
	strcpy(path, base);
	refused("as the base of an overlay", "stop that VM");
	disk_close(b);
	b = disk_open(&ro);
	assert_non_null(b->b);
	disk_close(b);
	disk_close(a);
	/* and the other way round */
	a = disk_open(&rw);
	assert_non_null(a->b);
	strcpy(path, top);
	refused("locked", "stop that VM");
	assert_non_null(strstr(err, base));
	disk_close(a);
	a = disk_open(&rw);
	assert_non_null(a->b);
	disk_close(a);
	unlink(other);
}

static void test_read_only(void **state)
{
	static uint8_t buf[512];
	struct disk *a, *b;

	(void)state;
	make_pair(DISK);
	a = disk_open(&ro);
	b = disk_open(&ro);
	assert_non_null(a->b);
	assert_non_null(b->b);
	assert_int_equal(one(a, BLOCK_WRITE, 0, buf, 512), -EROFS);
	assert_int_equal(one(a, BLOCK_FLUSH, 0, NULL, 0), 0);
	refused("locked", "stop that VM");
	disk_close(a);
	disk_close(b);
}

/* ---- a base that is not what it was --------------------------------------- */

static void base_refused(const char *words, const char *remedy)
{
	refused(words, remedy);
	assert_non_null(strstr(err, base));
}

static void set_time(time_t sec, long nsec)
{
	const struct timespec t[2] = { { sec, nsec }, { sec, nsec } };

	assert_int_equal(utimensat(AT_FDCWD, base, t, 0), 0);
}

static void opens(void)
{
	struct disk *d = disk_open(&rw);

	if (!d->b)
		fail_msg("%s", err);
	disk_close(d);
}

static void test_base_missing(void **state)
{
	char away[256];

	(void)state;
	make_pair(DISK);
	assert_int_equal(rename(base, in_dir(away, "away")), 0);
	base_refused("no such file", "bring it back");
	assert_int_equal(mkdir(base, 0700), 0);
	base_refused("directory", "raw disk image");
	assert_int_equal(rmdir(base), 0);
	assert_int_equal(rename(away, base), 0);
	opens();
}

static void test_base_changed(void **state)
{
	struct stat st;

	(void)state;
	make_pair(DISK);
	assert_int_equal(stat(base, &st), 0);
	assert_int_equal(truncate(base, DISK + 512), 0);
	base_refused("its size is 4194816 bytes where the overlay wants 4194304",
		     "bring back");
	assert_int_equal(truncate(base, DISK), 0);
	set_time(st.st_mtim.tv_sec + 1, st.st_mtim.tv_nsec);
	base_refused("it was changed", "touch -d @");
	set_time(st.st_mtim.tv_sec, (st.st_mtim.tv_nsec + 1) % 1000000000);
	base_refused("it was changed", "touch -d @");
	/* a copy by a program that knows no nanoseconds */
	set_time(st.st_mtim.tv_sec, 0);
	opens();
	set_time(st.st_mtim.tv_sec, st.st_mtim.tv_nsec);
	opens();
}

/* an overlay in the place of another one, or of a raw file */
static void test_base_replaced(void **state)
{
	char second[256], third[256];
	struct stat st;

	(void)state;
	make_pair(DISK);
	assert_int_equal(block_overlay_create(in_dir(third, "third"), top, err,
					      sizeof(err)), 0);
	strcpy(path, third);
	opens();
	assert_int_equal(stat(top, &st), 0);
	assert_int_equal(block_overlay_create(in_dir(second, "second"), base,
					      err, sizeof(err)), 0);
	assert_int_equal(rename(second, top), 0);
	strcpy(base, top);
	set_time(st.st_mtim.tv_sec, st.st_mtim.tv_nsec);
	base_refused("another one", "bring that one back");
	make_file("", 0, 0);
	unlink(third);
}

/* ---- chains --------------------------------------------------------------- */

static void test_loop(void **state)
{
	struct overlay_header h;
	char other[256];

	(void)state;
	make_pair(DISK);
	/* itself */
	h = header();
	strcpy(h.base, "top");
	h.base_len = 3;
	memset(h.base + 3, 0, sizeof(h.base) - 3);
	overlay_header_seal(&h);
	put(0, &h, sizeof(h));
	refused("comes back to", "no bottom");
	/* by a second one */
	make_pair(DISK);
	assert_int_equal(block_overlay_create(in_dir(other, "other"), top, err,
					      sizeof(err)), 0);
	h = header();
	strcpy(h.base, "other");
	h.base_len = 5;
	overlay_header_seal(&h);
	put(0, &h, sizeof(h));
	refused("comes back to", "no bottom");
	unlink(other);
}

static void test_depth(void **state)
{
	char a[256], b[256], name[32];
	int i;

	(void)state;
	make_pair(DISK);
	strcpy(a, base);
	for (i = 1; i < OVERLAY_DEPTH_MAX; i++) {
		snprintf(name, sizeof(name), "chain%d", i);
		if (block_overlay_create(in_dir(b, name), a, err, sizeof(err)))
			fail_msg("%d: %s", i, err);
		strcpy(a, b);
	}
	strcpy(path, a);
	opens();
	not_made(in_dir(b, "one-more"), a, "at most 64 files");
}

/* ---- headers that lie ----------------------------------------------------- */

static void lies(struct overlay_header *h, const char *words)
{
	overlay_header_seal(h);
	put(0, h, sizeof(*h));
	refused(words, "");
	*h = header();
}

#define LIE(field, value, words) do {		\
	struct overlay_header h_ = good;	\
	h_.field = (value);			\
	lies(&h_, words);			\
	put(0, &good, sizeof(good));		\
} while (0)

static void test_header(void **state)
{
	struct overlay_header good;

	(void)state;
	make_pair(DISK);
	good = header();
	LIE(version, 2, "version is 2 and this vmmd knows 1");
	LIE(version, 0, "version is 0");
	LIE(header_size, 8192, "header's size is 8192 where 4096 is wanted");
	LIE(size, 0, "size is 0");
	LIE(size, DISK + 1, "multiple of 512");
	LIE(size, OVERLAY_SIZE_MAX + 512, "multiple of 512 up to");
	LIE(size, ~511ULL, "multiple of 512 up to");
	LIE(size, DISK - 4096, "file's length");
	LIE(granule, 512, "granule is 512");
	LIE(base_kind, 0, "kind is 0");
	LIE(base_kind, 4, "kind is 4");
	LIE(base_kind, OVERLAY_BASE_OVERLAY, "id does not go with its kind");
	LIE(base_kind, OVERLAY_BASE_DEVICE, "a time, which a device has not");
	LIE(map, 0, "map's offset is 0");
	LIE(data, 4096, "data's offset is 4096");
	LIE(data, ~0ULL, "data's offset");
	LIE(base_id[15], 1, "id does not go with its kind");
	LIE(base_mtime_nsec, 1000000000, "nanoseconds");
	LIE(base_mtime, 1, "it was changed");
	LIE(base_len, 0, "length of its base's path is 0");
	LIE(base_len, OVERLAY_PATH_MAX + 1, "length of its base's path is 3836");
	LIE(base_len, ~0U, "length of its base's path");
	LIE(base_len, 3, "goes on behind its end");
	LIE(base_len, 5, "zero in it");
	LIE(base[2], 0, "zero in it");
	LIE(base[3835], 'x', "goes on behind its end");
	LIE(reserved[0], 1, "reserved");
	LIE(reserved[159], 1, "reserved");
	{
		struct overlay_header h = good;

		memset(h.id, 0, sizeof(h.id));
		lies(&h, "id is zero");
		put(0, &good, sizeof(good));
	}
	opens();
}

/* a bit that fell over anywhere in the header, or the file's end */
static void test_header_damage(void **state)
{
	struct overlay_header good, h;
	unsigned int bit;
	char why[256];

	(void)state;
	make_pair(DISK);
	good = header();
	for (bit = 0; bit < sizeof(good) * 8; bit++) {
		h = good;
		((uint8_t *)&h)[bit / 8] ^= 1 << bit % 8;
		assert_false(overlay_header_ok(&h, overlay_file_size(DISK), why,
					       sizeof(why)));
	}
	assert_true(overlay_header_ok(&good, overlay_file_size(DISK), why,
				      sizeof(why)));
	h = good;
	h.crc ^= 1;
	put(0, &h, sizeof(h));
	refused("sum", "");
	put(0, &good, sizeof(good));
	assert_int_equal(truncate(top, overlay_file_size(DISK) - 512), 0);
	refused("file's length", "");
	assert_int_equal(truncate(top, 100), 0);
	refused("cut short", "");
}

/* whatever is in it, with a sum that is right: an answer, and no more */
static void test_header_rubbish(void **state)
{
	struct overlay_header good, h;
	unsigned int round, i, n, accepted = 0;
	struct disk *d;
	char why[256];

	(void)state;
	make_pair(DISK);
	good = header();
	for (round = 0; round < 20000; round++) {
		h = good;
		n = 1 + rnd(4);
		for (i = 0; i < n; i++) {
			/* most of it is path */
			uint32_t at = 8 + rnd(rnd(4) ? 256 : 4080);

			((uint8_t *)&h)[at] = rnd(2) ? rnd(256) :
				(uint8_t[]){ 0, 1, 0x7f, 0xff }[rnd(4)];
		}
		overlay_header_seal(&h);
		why[0] = 0;
		if (overlay_header_ok(&h, overlay_file_size(h.size), why,
				      sizeof(why))) {
			assert_true(h.size && h.size <= OVERLAY_SIZE_MAX);
			assert_true(h.base_len < sizeof(h.base));
			assert_int_equal(h.base[h.base_len], 0);
			accepted++;
		} else {
			assert_true(why[0]);
		}
		if (round % 20)
			continue;
		/* and all the way */
		put(0, &h, sizeof(h));
		d = disk_open(&rw);
		assert_true(d->b || strstr(err, top));
		disk_close(d);
	}
	assert_true(accepted);
}

/* ---- maps that lie -------------------------------------------------------- */

static void test_map(void **state)
{
	static uint8_t data[4096], page[OVERLAY_PAGE];
	uint64_t *bits = overlay_bits_new(DISK);
	struct overlay_header h;
	unsigned int bit;
	struct disk *d;
	int fd;

	(void)state;
	make_pair(DISK);
	h = header();
	d = disk_open(&rw);
	assert_int_equal(one(d, BLOCK_WRITE, 8192, data, 4096), 0);
	disk_close(d);
	fd = open(top, O_RDONLY);
	assert_int_equal(pread(fd, page, sizeof(page), OVERLAY_HEADER), sizeof(page));
	close(fd);
	assert_int_equal(page[0], 1 << 2);
	assert_true(overlay_page_decode(h.id, 0, page, bits));
	assert_int_equal(bits[0], 1 << 2);
	for (bit = 0; bit < OVERLAY_SECTOR * 8; bit++) {
		page[bit / 8] ^= 1 << bit % 8;
		assert_false(overlay_page_decode(h.id, 0, page, bits));
		page[bit / 8] ^= 1 << bit % 8;
	}
	/* of another place, and of another overlay */
	assert_false(overlay_page_decode(h.id, 1, page, bits));
	h.id[0] ^= 1;
	assert_false(overlay_page_decode(h.id, 0, page, bits));
	h.id[0] ^= 1;
	page[0] ^= 1;
	put(OVERLAY_HEADER, page, sizeof(page));
	refused("page 0 of its map is wrong", "take a copy");
	/* beyond the disk's end */
	bits[0] = 0;
	bits[DISK / 4096 / 64] = 1;
	overlay_page_encode(h.id, 0, bits, page);
	put(OVERLAY_HEADER, page, sizeof(page));
	refused("page 0 of its map is wrong", "take a copy");
	memset(page, 0, sizeof(page));
	put(OVERLAY_HEADER, page, sizeof(page));
	opens();
	free(bits);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_create),
		cmocka_unit_test(test_create_refused),
		cmocka_unit_test(test_paths),
		cmocka_unit_test(test_locks),
		cmocka_unit_test(test_read_only),
		cmocka_unit_test(test_base_missing),
		cmocka_unit_test(test_base_changed),
		cmocka_unit_test(test_base_replaced),
		cmocka_unit_test(test_loop),
		cmocka_unit_test(test_depth),
		cmocka_unit_test(test_header),
		cmocka_unit_test(test_header_damage),
		cmocka_unit_test(test_header_rubbish),
		cmocka_unit_test(test_map),
	};

	return cmocka_run_group_tests_name("overlay", tests, block_setup,
					   block_teardown);
}
