// SPDX-License-Identifier: GPL-2.0
/* Snapshot files that lie are refused, in one line that names them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "snapshot/restore.h"
#include "snapshot_fixture.h"
#include "state/pages.h"

struct victim {
	uint8_t *data;
	size_t len;
};

static struct victim victim(void)
{
	struct rng r = { 17 };
	struct snapshot_parent p = sf_parent(1, "v0");
	struct victim v;

	memset(sf_model, 0, sizeof(sf_model));
	sf_write_random("v0", 1, &r, 6, NULL);
	sf_write_random("v", 2, &r, 6, &p);
	v.data = sf_read(sf_path("v"), &v.len);
	return v;
}

static void test_trailer(void **state)
{
	static const uint64_t offsets[] = { 0, 1, 40, 1ULL << 40, 1ULL << 63, ~0ULL };
	struct victim v = victim();
	struct snapshot_trailer t = sf_trailer(v.data, v.len), bad;
	size_t i, at = v.len - sizeof(t);

	for (i = 0; i < sizeof(t) * 8; i++) {
		v.data[at + i / 8] ^= 1 << i % 8;
		sf_write(sf_path("v"), v.data, v.len);
		sf_refused("v", i < 64 ? "no snapshot" : "its trailer is damaged");
		v.data[at + i / 8] ^= 1 << i % 8;
	}
	for (i = 1; i < 100; i++) {
		sf_write(sf_path("v"), v.data, v.len - i);
		sf_refused("v", "no snapshot");
	}
	bad = t;
	bad.pad = 1;
	sf_put_trailer(v.data, v.len, bad);
	sf_write(sf_path("v"), v.data, v.len);
	sf_refused("v", "its trailer is damaged");
	bad = t;
	bad.index = t.state;
	bad.index_number = t.state_number;
	sf_put_trailer(v.data, v.len, bad);
	sf_write(sf_path("v"), v.data, v.len);
	sf_refused("v", "\"end\": \"index\" was wanted here");
	for (i = 0; i < 6; i++) {
		bad = t;
		bad.index = offsets[i];
		sf_put_trailer(v.data, v.len, bad);
		sf_write(sf_path("v"), v.data, v.len);
		sf_refused("v", "section");
	}
	bad = t;
	bad.index_number++;
	sf_put_trailer(v.data, v.len, bad);
	sf_write(sf_path("v"), v.data, v.len);
	sf_refused("v", "stands where section");
	free(v.data);
}

/* is what is there ever read: not pages that were written again, nor "end" */
static bool is_read(const struct victim *v, size_t at)
{
	size_t index = sf_find(v->data, v->len, SNAPSHOT_INDEX, 0), s, next = 0;
	struct section_head h;
	struct snapshot_run run;

	for (s = 0; s < v->len - sizeof(struct snapshot_trailer); s = next) {
		memcpy(&h, v->data + s, sizeof(h));
		next = s + sizeof(h) + h.len;
		if (at < next)
			break;
	}
	if (s >= v->len - sizeof(struct snapshot_trailer))
		return true;
	if (strcmp(h.tag, "pages"))
		return strcmp(h.tag, "end");
	for (s = index + sizeof(h); s < v->len - sizeof(struct snapshot_trailer); s += sizeof(run)) {
		memcpy(&run, v->data + s, sizeof(run));
		if (run.offset == next - sizeof(h) - h.len)
			return true;
	}
	return false;
}

/* a byte anywhere: sf_refused when it is opened or when its pages are read */
static void test_flips(void **state)
{
	struct victim v = victim();
	uint8_t *all = malloc(SF_PAGES * PAGES_SIZE);
	struct snapshot_file *chain[SNAPSHOT_CHAIN_MAX];
	size_t end = sf_find(v.data, v.len, "end", 0), at, step;
	int n, ret;

	for (at = 0; at < v.len; at += step) {
		/* more of the heads, fewer of the pages */
		step = at < 1200 || at >= end ? 3 : 3999;
		v.data[at] ^= 0x10;
		sf_write(sf_path("v"), v.data, v.len);
		v.data[at] ^= 0x10;
		sf_err[0] = 0;
		n = snapshot_open_chain(sf_path("v"), chain, sf_err, sizeof(sf_err));
		ret = n;
		if (n >= 0) {
			ret = restore_memory(chain, n, all, SF_PAGES * PAGES_SIZE, sf_err, sizeof(sf_err));
			snapshot_close_chain(chain, n);
		}
		if ((ret < 0) != is_read(&v, at))
			fail_msg("at %zu: %d, %s", at, ret, sf_err);
		if (ret < 0)
			assert_true(strstr(sf_err, sf_path("v")) && !strchr(sf_err, '\n'));
	}
	free(all);
	free(v.data);
}

/* an index whose checksum fits and that lies */
static void test_index(void **state)
{
	struct victim v = victim();
	size_t at = sf_find(v.data, v.len, SNAPSHOT_INDEX, 0), n, i;
	struct snapshot_run *run = (struct snapshot_run *)(v.data + at + sizeof(struct section_head));
	struct section_head h;
	struct snapshot_run good[3], bad;

	memcpy(&h, v.data + at, sizeof(h));
	n = h.len / sizeof(*run);
	assert_true(n > 3);
	memcpy(good, run, sizeof(good));
	for (i = 0; i < 9; i++) {
		memcpy(run, good, sizeof(good));
		bad = good[1];
		switch (i) {
		case 0: bad.count = 0; break;
		case 1: bad.count = PAGES_MAX + 1; break;
		case 2: bad.count = 0xffffffff; break;
		case 3: bad.first = PAGES_MAX; break;
		case 4: bad.first = 0xffffffff; bad.count = 2; break;
		case 5: bad.gpa++; break;
		case 6: bad.gpa = -4096ULL; bad.count = 2; break;
		case 7: bad.gpa = good[0].gpa; break;	/* the same page twice */
		case 8: memcpy(run, &good[1], sizeof(bad)); bad = good[0]; break;
		}
		memcpy(run + 1, &bad, sizeof(bad));
		stream_seal(v.data + at);
		sf_write(sf_path("v"), v.data, v.len);
		sf_refused("v", "\"index\": its run 1 cannot be, or not there");
	}
	memcpy(run, good, sizeof(good));
	/* not whole */
	memcpy(&h, v.data + at, sizeof(h));
	h.len -= 8;
	memcpy(v.data + at, &h, sizeof(h));
	stream_seal(v.data + at);
	sf_write(sf_path("v"), v.data, v.len);
	sf_refused("v", "is no whole table");
	h.len = 1ULL << 40;
	memcpy(v.data + at, &h, sizeof(h));
	stream_seal_head(v.data + at);
	sf_write(sf_path("v"), v.data, v.len);
	sf_refused("v", "is no whole table");
	free(v.data);
}

static void reads_badly(const struct victim *v, size_t index, const char *what)
{
	struct snapshot_file *chain[SNAPSHOT_CHAIN_MAX];
	uint8_t *all = malloc(SF_PAGES * PAGES_SIZE);
	int n;

	stream_seal(v->data + index);
	sf_write(sf_path("v"), v->data, v->len);
	n = snapshot_open_chain(sf_path("v"), chain, sf_err, sizeof(sf_err));
	assert_int_equal(n, 2);
	assert_true(restore_memory(chain, n, all, SF_PAGES * PAGES_SIZE, sf_err, sizeof(sf_err)) < 0);
	if (!strstr(sf_err, what) || !strstr(sf_err, sf_path("v")))
		fail_msg("wanted '%s', found '%s'", what, sf_err);
	snapshot_close_chain(chain, n);
	free(all);
}

/* runs that may be, but not in this file */
static void test_index_elsewhere(void **state)
{
	struct victim v = victim();
	size_t at = sf_find(v.data, v.len, SNAPSHOT_INDEX, 0);
	uint8_t *where = v.data + at + sizeof(struct section_head);
	struct snapshot_run good, bad;

	memcpy(&good, where, sizeof(good));
	bad = good;
	bad.offset = v.len;
	memcpy(where, &bad, sizeof(bad));
	reads_badly(&v, at, "leads beyond its end");
	bad.offset = ~0ULL - 100;
	memcpy(where, &bad, sizeof(bad));
	reads_badly(&v, at, "leads beyond its end");
	bad.offset = 0;
	memcpy(where, &bad, sizeof(bad));
	reads_badly(&v, at, "pages were wanted here");
	bad.offset = good.offset + 1;
	memcpy(where, &bad, sizeof(bad));
	reads_badly(&v, at, "is damaged");
	bad = good;
	bad.first = good.first + 1 < PAGES_MAX - good.count ? good.first + 1 : 0;
	memcpy(where, &bad, sizeof(bad));
	reads_badly(&v, at, "has other pages than its index says");
	/* not in RAM: in the hole; the last run, so that the order stays */
	memcpy(where, &good, sizeof(good));
	where = v.data + v.len - sizeof(struct snapshot_trailer) - sizeof(bad);
	memcpy(&good, where, sizeof(good));
	bad = good;
	bad.gpa = sf_gpa(SF_PAGES - 1) + PAGES_SIZE;
	memcpy(where, &bad, sizeof(bad));
	reads_badly(&v, at, "names pages that are not in RAM");
	free(v.data);
}

/* a run in the section of the one before, which has not as many pages */
static void test_index_same_section(void **state)
{
	static uint8_t data[4 * PAGES_SIZE];
	struct snapshot_file *chain[SNAPSHOT_CHAIN_MAX];
	struct snapshot_run run[2];
	struct snapshot_writer w;
	struct victim v;
	uint8_t *all;
	size_t at;
	int n;

	memset(data, 7, sizeof(data));
	assert_int_equal(writer_open(&w, sf_path("same")), 0);
	sf_begin(&w.sink, 1, NULL);
	assert_int_equal(writer_pages(&w, sf_gpa(0), data, 4), 0);
	assert_int_equal(writer_pages(&w, sf_gpa(10), data, 4), 0);
	writer_mark_state(&w);
	assert_int_equal(writer_commit(&w, sf_range, 3), 0);
	v.data = sf_read(sf_path("same"), &v.len);
	at = sf_find(v.data, v.len, SNAPSHOT_INDEX, 0);
	memcpy(run, v.data + at + sizeof(struct section_head), sizeof(run));
	run[1].offset = run[0].offset;
	run[1].first = 3;
	memcpy(v.data + at + sizeof(struct section_head), run, sizeof(run));
	stream_seal(v.data + at);
	sf_write(sf_path("same"), v.data, v.len);
	n = snapshot_open_chain(sf_path("same"), chain, sf_err, sizeof(sf_err));
	assert_int_equal(n, 1);
	all = malloc(SF_PAGES * PAGES_SIZE);
	assert_int_equal(restore_memory(chain, n, all, SF_PAGES * PAGES_SIZE, sf_err,
					sizeof(sf_err)), -EBADMSG);
	assert_non_null(strstr(sf_err, "more pages than there are in a section"));
	free(all);
	snapshot_close_chain(chain, n);
	free(v.data);
}

/* one of its sections in another form, its checksums right */
static void patched(struct victim *v, const char *tag, size_t offset, const void *with,
		    size_t len, const char *what)
{
	size_t at = sf_find(v->data, v->len, tag, 0);
	uint8_t *body = v->data + at + sizeof(struct section_head) + offset, was[64];

	assert_true(at != SIZE_MAX && len <= sizeof(was));
	memcpy(was, body, len);
	memcpy(body, with, len);
	stream_seal(v->data + at);
	sf_write(sf_path("v"), v->data, v->len);
	sf_refused("v", what);
	memcpy(body, was, len);
	stream_seal(v->data + at);
}

static void test_beginnings(void **state)
{
	static const char *const tags[] = { "vmm-state", "options", "cpuid", "memory", "parent", "index" };
	static const uint32_t none = 0, many = 65, newer = VMM_ABI_VERSION + 1;
	static const uint64_t odd = 4095, huge = ~0xfffULL;
	struct victim v = victim();
	size_t vcpus = offsetof(struct state_ident, vcpus), k;
	uint32_t version = 2;

	patched(&v, "vmm-state", vcpus, &none, 4, "says nothing that is possible");
	patched(&v, "vmm-state", vcpus, &many, 4, "says nothing that is possible");
	patched(&v, "vmm-state", offsetof(struct state_ident, abi_version), &newer, 4, "ABI version");
	/* fewer vCPUs than there are tables, and more */
	patched(&v, "vmm-state", vcpus, "\1\0\0\0", 4, "\"memory\" was wanted here");
	patched(&v, "vmm-state", vcpus, "\3\0\0\0", 4, "\"cpuid\" was wanted here");
	patched(&v, "memory", offsetof(struct state_range, gpa), &odd, 8, "ranges that cannot be");
	patched(&v, "memory", offsetof(struct state_range, size), &odd, 8, "ranges that cannot be");
	patched(&v, "memory", offsetof(struct state_range, size), &huge, 8, "ranges that cannot be");
	patched(&v, "memory", offsetof(struct state_range, size), "\0\0\0\0\0\0\0", 8, "ranges that cannot be");
	patched(&v, "memory", offsetof(struct state_range, rom), "\2", 1, "ranges that cannot be");
	patched(&v, "memory", offsetof(struct state_range, pad), "\1", 1, "ranges that cannot be");
	patched(&v, "memory", sizeof(struct state_range), "\0\0\0\0\0\0\0", 8, "ranges that cannot be");
	patched(&v, "memory", 2 * sizeof(struct state_range) + 8, &huge, 8, "ranges that cannot be");
	/* wraps to nothing */
	patched(&v, "memory", offsetof(struct state_range, size), "\0\xf0\xff\xff\xff\xff\xff\xff", 8,
		"ranges that cannot be");
	patched(&v, "parent", STATE_ID, "", 1, "names no file");
	patched(&v, "parent", STATE_ID + SNAPSHOT_NAME_MAX, "x", 1, "names no file");
	patched(&v, "parent", 3, "\xee", 1, "is the difference to another");
	for (k = 0; k < 6; k++) {
		size_t at = sf_find(v.data, v.len, tags[k], 0);

		memcpy(v.data + at + offsetof(struct section_head, version), &version, 4);
		stream_seal(v.data + at);
		sf_write(sf_path("v"), v.data, v.len);
		sf_refused("v", "has version 2, this vmmd knows those up to 1: use a newer one");
		memcpy(v.data + at + offsetof(struct section_head, version), "\1", 1);
		stream_seal(v.data + at);
	}
	sf_write(sf_path("v"), v.data, v.len);
	sf_check_chain("v", 2);
	free(v.data);
}

static int find_disk(const char *file, uint64_t size)
{
	struct snapshot_disk d = { .size = size }, found;
	struct snapshot_writer w;
	struct snapshot_file *f;
	int ret;

	memcpy(d.file, file, strlen(file));
	assert_int_equal(writer_open(&w, sf_path("disk")), 0);
	sf_begin(&w.sink, 1, NULL);
	writer_mark_state(&w);
	assert_int_equal(section_put(&w.sink, SNAPSHOT_DISK, 1, &d, sizeof(d), NULL, 0), 0);
	assert_int_equal(writer_commit(&w, sf_range, 3), 0);
	f = snapshot_open(sf_path("disk"), sf_err, sizeof(sf_err));
	assert_non_null(f);
	ret = snapshot_find_disk(f, &found, sf_err, sizeof(sf_err));
	if (!ret)
		assert_memory_equal(&found, &d, sizeof(d));
	snapshot_close(f);
	return ret;
}

static void test_disk(void **state)
{
	char name[SNAPSHOT_NAME_MAX + 2] = { 0 };

	assert_int_equal(find_disk("disk.disk-1", 1 << 20), 0);
	assert_int_equal(find_disk("", 512), -EBADMSG);
	assert_int_equal(find_disk("d", 511), -EBADMSG);
	/* no files of elsewhere */
	assert_int_equal(find_disk("/etc/shadow", 512), -EBADMSG);
	assert_int_equal(find_disk("../shadow", 512), -EBADMSG);
	memset(name, 'n', SNAPSHOT_NAME_MAX);
	assert_int_equal(find_disk(name, 512), 0);
	memset(name, 'n', SNAPSHOT_NAME_MAX + 1);
	assert_int_equal(find_disk(name, 512), -EBADMSG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_trailer),
		cmocka_unit_test(test_flips),
		cmocka_unit_test(test_index),
		cmocka_unit_test(test_index_elsewhere),
		cmocka_unit_test(test_index_same_section),
		cmocka_unit_test(test_beginnings),
		cmocka_unit_test(test_disk),
	};

	return cmocka_run_group_tests_name("snapshot_hostile", tests, sf_setup, sf_teardown);
}
