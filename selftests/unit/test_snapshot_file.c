// SPDX-License-Identifier: GPL-2.0
/*
 * Snapshot files: what was written last is found, through any chain of files; and
 * files that lie are refused, in one line that names them.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "snapshot/restore.h"
#include "snapshot_fixture.h"

static char err[768];

/* what each page holds: 0, zeroes; 1..99 can be compressed, others not */
static uint32_t model[SF_PAGES];

static void make_page(uint8_t *p, uint32_t what)
{
	struct rng r = { what };

	memset(p, what, PAGES_SIZE);
	if (what >= 100)
		rng_fill(&r, p, PAGES_SIZE);
}

static void put_pages(struct snapshot_writer *w, unsigned int first, unsigned int n)
{
	static uint8_t data[PAGES_BYTES];
	unsigned int i;

	for (i = 0; i < n; i++)
		make_page(data + i * PAGES_SIZE, model[first + i]);
	assert_int_equal(writer_pages(w, sf_gpa(first), data, n), 0);
}

/* after the pages, as save.c: something, and "end" */
static void finish(struct snapshot_writer *w)
{
	writer_mark_state(w);
	assert_int_equal(section_put(&w->sink, "end", 1, NULL, 0, NULL, 0), 0);
	assert_int_equal(writer_commit(w, sf_range, 3), 0);
}

/* random runs, which overlap; the model has what was written last */
static void write_random(const char *name, uint8_t id, struct rng *r,
			 unsigned int runs, const struct snapshot_parent *parent)
{
	struct snapshot_writer w;
	unsigned int i, k, first, n, end;

	assert_int_equal(writer_open(&w, sf_path(name)), 0);
	sf_begin(&w.sink, id, parent);
	for (i = 0; i < runs; i++) {
		first = rng_below(r, SF_PAGES);
		end = first < SF_LOW ? SF_LOW : SF_PAGES;
		n = 1 + rng_below(r, PAGES_MAX);
		if (n > end - first)
			n = end - first;
		for (k = first; k < first + n; k++)
			model[k] = rng_below(r, 3) ? 1 + rng_below(r, 300) : 0;
		put_pages(&w, first, n);
	}
	finish(&w);
}

static struct snapshot_parent parent_of(uint8_t id, const char *file)
{
	struct snapshot_parent p = { .id = { 0 } };

	memset(p.id, id, sizeof(p.id));
	strcpy(p.file, file);
	return p;
}

/* ---- reading --------------------------------------------------------------- */

/* each page by the index, and all of memory at once */
static void check_chain(const char *name, int wanted)
{
	struct snapshot_file *chain[SNAPSHOT_CHAIN_MAX];
	struct pages_coder *coder = pages_coder_new();
	uint8_t *buf = malloc(PAGES_BYTES), want[PAGES_SIZE], *all;
	const struct snapshot_run *run;
	unsigned int page;
	uint32_t count;
	int n, i;

	n = snapshot_open_chain(sf_path(name), chain, err, sizeof(err));
	if (n != wanted)
		fail_msg("%d: %s", n, err);
	all = calloc(SF_PAGES, PAGES_SIZE);
	assert_int_equal(restore_memory(chain, n, all, SF_PAGES * PAGES_SIZE, err,
					sizeof(err)), 0);
	for (page = 0; page < SF_PAGES; page++) {
		make_page(want, model[page]);
		assert_memory_equal(all + page * PAGES_SIZE, want, PAGES_SIZE);
		for (i = 0, run = NULL; i < n && !run; i++)
			run = snapshot_find(chain[i], sf_gpa(page));
		if (!run) {
			assert_int_equal(model[page], 0);
			continue;
		}
		assert_int_equal(snapshot_read_pages(chain[i - 1], coder, run, buf, &count,
						     err, sizeof(err)), 0);
		assert_memory_equal(buf + run->first * PAGES_SIZE + sf_gpa(page) - run->gpa,
				    want, PAGES_SIZE);
	}
	/* where there is no memory there are no pages */
	for (i = 0; i < n; i++) {
		assert_null(snapshot_find(chain[i], sf_gpa(SF_LOW - 1) + PAGES_SIZE));
		assert_null(snapshot_find(chain[i], sf_gpa(SF_PAGES - 1) + PAGES_SIZE));
		assert_null(snapshot_find(chain[i], ~0xfffULL));
	}
	/* memory that is a page too small is not overrun */
	if (model[SF_PAGES - 1])
		assert_int_equal(restore_memory(chain, n, all, (SF_PAGES - 1) * PAGES_SIZE,
						err, sizeof(err)), -EBADMSG);
	free(all);
	free(buf);
	pages_coder_free(coder);
	snapshot_close_chain(chain, n);
}

static void test_overlaps(void **state)
{
	struct rng r = { 11 };
	unsigned int i;

	for (i = 0; i < 12; i++) {
		memset(model, 0, sizeof(model));
		write_random("one", 1, &r, i * i, NULL);
		check_chain("one", 1);
	}
}

static void test_chain(void **state)
{
	struct rng r = { 12 };
	struct snapshot_parent p;

	memset(model, 0, sizeof(model));
	write_random("c0", 1, &r, 20, NULL);
	p = parent_of(1, "c0");
	write_random("c1", 2, &r, 9, &p);
	p = parent_of(2, sf_path("c1"));	/* an absolute name, too */
	write_random("c2", 3, &r, 0, &p);
	p = parent_of(3, "c2");
	write_random("c3", 4, &r, 7, &p);
	check_chain("c3", 4);
}

static void test_beginning(void **state)
{
	struct rng r = { 13 };
	struct snapshot_file *f;
	struct snapshot_disk d;
	struct stat st;

	write_random("b", 7, &r, 3, NULL);
	f = snapshot_open(sf_path("b"), err, sizeof(err));
	assert_non_null(f);
	assert_int_equal(f->state.ident.id[15], 7);
	assert_int_equal(f->state.ident.vcpus, 2);
	assert_int_equal(f->state.cpuid[1].count, 2);
	assert_int_equal(f->state.nranges, 3);
	assert_string_equal(f->state.text, "--name=x");
	assert_false(f->has_parent);
	assert_int_equal(snapshot_find_disk(f, &d, err, sizeof(err)), 0);
	assert_int_equal(d.file[0], 0);
	snapshot_close(f);
	/* a guest's memory is nobody else's */
	assert_int_equal(stat(sf_path("b"), &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
}

static void test_beside(void **state)
{
	static const char *const t[][3] = {
		{ "/a/b/c", "d", "/a/b/d" }, { "c", "d", "d" }, { "/a/b", "/d", "/d" },
		{ "a/b", "../d", "a/../d" }, { "/a", "d", "/d" },
	};
	size_t i;
	char *s;

	for (i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		s = snapshot_beside(t[i][0], t[i][1]);
		assert_string_equal(s, t[i][2]);
		free(s);
	}
}

/* ---- what is not there ---------------------------------------------------- */

static void refused(const char *name, const char *what)
{
	struct snapshot_file *chain[SNAPSHOT_CHAIN_MAX];

	err[0] = 0;
	assert_true(snapshot_open_chain(sf_path(name), chain, err, sizeof(err)) < 0);
	if (!strstr(err, what) || !strstr(err, sf_path("")) || strchr(err, '\n'))
		fail_msg("wanted '%s', found '%s'", what, err);
}

static void test_no_snapshot(void **state)
{
	refused("nothing", "No such file");
	refused("", "no regular file");
	sf_write(sf_path("empty"), "", 0);
	refused("empty", "no snapshot, or only the beginning of one");
	sf_write(sf_path("short"), "VMMSNAP1", 8);
	refused("short", "no snapshot, or only the beginning of one");
	assert_int_equal(mkfifo(sf_path("fifo"), 0600), 0);
	refused("fifo", "no regular file");	/* and does not wait */
}

static void opens(const char *name, int wanted)
{
	struct snapshot_file *chain[SNAPSHOT_CHAIN_MAX];
	int n = snapshot_open_chain(sf_path(name), chain, err, sizeof(err));

	assert_int_equal(n, wanted);
	snapshot_close_chain(chain, n);
}

static void test_bad_chains(void **state)
{
	struct rng r = { 14 };
	struct snapshot_parent p = parent_of(9, "gone");
	char name[16];
	unsigned int i;

	write_random("d", 1, &r, 1, &p);
	refused("d", "gone: No such file");
	/* another snapshot has its name now */
	write_random("gone", 8, &r, 1, NULL);
	refused("d", "is the difference to another snapshot");
	write_random("gone", 9, &r, 1, NULL);
	opens("d", 2);
	/* itself, and each other */
	p = parent_of(5, "self");
	write_random("self", 5, &r, 1, &p);
	refused("self", "more than 31 parents");
	p = parent_of(6, "l6");
	write_random("l5", 5, &r, 1, &p);
	p = parent_of(5, "l5");
	write_random("l6", 6, &r, 1, &p);
	refused("l6", "more than 31 parents");
	/* as many as there may be, and one more */
	write_random("n0", 100, &r, 1, NULL);
	for (i = 1; i <= SNAPSHOT_CHAIN_MAX; i++) {
		snprintf(name, sizeof(name), "n%u", i - 1);
		p = parent_of(99 + i, name);
		snprintf(name, sizeof(name), "n%u", i);
		write_random(name, 100 + i, &r, 0, &p);
	}
	refused("n32", "more than 31 parents");
	opens("n31", SNAPSHOT_CHAIN_MAX);
}

/* ---- writing -------------------------------------------------------------- */

static unsigned int files(void)
{
	DIR *d = opendir(sf_path("."));
	unsigned int n = 0;

	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

/* the old one stays until the new one is whole, and nothing is left of one given up */
static void test_replace(void **state)
{
	struct rng r = { 15 };
	struct snapshot_writer w;
	unsigned int before;

	memset(model, 0, sizeof(model));
	write_random("r", 1, &r, 5, NULL);
	before = files();
	assert_int_equal(writer_open(&w, sf_path("r")), 0);
	sf_begin(&w.sink, 2, NULL);
	assert_int_equal(files(), before + 1);
	check_chain("r", 1);
	writer_discard(&w);
	assert_int_equal(files(), before);
	check_chain("r", 1);
	writer_discard(&w);	/* once more does no harm */
	memset(model, 0, sizeof(model));
	write_random("r", 2, &r, 5, NULL);
	assert_int_equal(files(), before);
	check_chain("r", 1);
}

static void test_cannot_write(void **state)
{
	struct snapshot_writer w;

	assert_int_equal(writer_open(&w, sf_path("no/such")), -ENOENT);
	writer_discard(&w);
	/* there is a directory of that name */
	assert_int_equal(writer_open(&w, sf_path(".")), 0);
	sf_begin(&w.sink, 1, NULL);
	writer_mark_state(&w);
	assert_true(writer_commit(&w, sf_range, 3) < 0);
	writer_discard(&w);
}

/* larger than its buffer, in pieces of all sizes */
static void test_large(void **state)
{
	static uint8_t body[3 << 20];
	struct snapshot_writer w;
	struct rng r = { 16 };
	size_t len, n = 0, at;
	struct stream s;
	uint8_t *data;

	assert_int_equal(writer_open(&w, sf_path("large")), 0);
	for (len = 1; len < sizeof(body); len = len * 5 / 3 + 1, n++) {
		rng_fill(&r, body, 64);
		body[len - 1] = n;
		assert_int_equal(section_put(&w.sink, "large", 1, body, len, NULL, 0), 0);
	}
	assert_int_equal(writer_commit(&w, sf_range, 3), 0);
	data = sf_read(sf_path("large"), &len);
	stream_init(&s);
	s.data = data;
	s.len = len;
	for (at = 0; at < n; at++) {
		assert_int_equal(section_next(&s.in, err, sizeof(err)), 0);
		assert_int_equal(section_body(&s.in, body, sizeof(body), err, sizeof(err)), 0);
		assert_int_equal(body[s.in.head.len - 1], s.in.head.len == 1 ? body[0] : at);
	}
	free(data);
}

/* ---- hostile -------------------------------------------------------------- */

struct victim {
	uint8_t *data;
	size_t len;
};

static struct victim victim(void)
{
	struct rng r = { 17 };
	struct snapshot_parent p = parent_of(1, "v0");
	struct victim v;

	memset(model, 0, sizeof(model));
	write_random("v0", 1, &r, 6, NULL);
	write_random("v", 2, &r, 6, &p);
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
		refused("v", i < 64 ? "no snapshot" : "its trailer is damaged");
		v.data[at + i / 8] ^= 1 << i % 8;
	}
	for (i = 1; i < 100; i++) {
		sf_write(sf_path("v"), v.data, v.len - i);
		refused("v", "no snapshot");
	}
	bad = t;
	bad.pad = 1;
	sf_put_trailer(v.data, v.len, bad);
	sf_write(sf_path("v"), v.data, v.len);
	refused("v", "its trailer is damaged");
	bad = t;
	bad.index = t.state;
	bad.index_number = t.state_number;
	sf_put_trailer(v.data, v.len, bad);
	sf_write(sf_path("v"), v.data, v.len);
	refused("v", "\"end\": \"index\" was wanted here");
	for (i = 0; i < 6; i++) {
		bad = t;
		bad.index = offsets[i];
		sf_put_trailer(v.data, v.len, bad);
		sf_write(sf_path("v"), v.data, v.len);
		refused("v", "section");
	}
	bad = t;
	bad.index_number++;
	sf_put_trailer(v.data, v.len, bad);
	sf_write(sf_path("v"), v.data, v.len);
	refused("v", "stands where section");
	free(v.data);
}

/* is what is there ever read: not pages that were written again, nor "end" */
static bool is_read(const struct victim *v, size_t at)
{
	size_t index = sf_find(v->data, v->len, SNAPSHOT_INDEX, 0), s, next;
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

/* a byte anywhere: refused when it is opened or when its pages are read */
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
		err[0] = 0;
		n = snapshot_open_chain(sf_path("v"), chain, err, sizeof(err));
		ret = n;
		if (n >= 0) {
			ret = restore_memory(chain, n, all, SF_PAGES * PAGES_SIZE, err, sizeof(err));
			snapshot_close_chain(chain, n);
		}
		if ((ret < 0) != is_read(&v, at))
			fail_msg("at %zu: %d, %s", at, ret, err);
		if (ret < 0)
			assert_true(strstr(err, sf_path("v")) && !strchr(err, '\n'));
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
		refused("v", "\"index\": its run 1 cannot be, or not there");
	}
	memcpy(run, good, sizeof(good));
	/* not whole */
	memcpy(&h, v.data + at, sizeof(h));
	h.len -= 8;
	memcpy(v.data + at, &h, sizeof(h));
	stream_seal(v.data + at);
	sf_write(sf_path("v"), v.data, v.len);
	refused("v", "is no whole table");
	h.len = 1ULL << 40;
	memcpy(v.data + at, &h, sizeof(h));
	stream_seal_head(v.data + at);
	sf_write(sf_path("v"), v.data, v.len);
	refused("v", "is no whole table");
	free(v.data);
}

static void reads_badly(const struct victim *v, size_t index, const char *what)
{
	struct snapshot_file *chain[SNAPSHOT_CHAIN_MAX];
	uint8_t *all = malloc(SF_PAGES * PAGES_SIZE);
	int n;

	stream_seal(v->data + index);
	sf_write(sf_path("v"), v->data, v->len);
	n = snapshot_open_chain(sf_path("v"), chain, err, sizeof(err));
	assert_int_equal(n, 2);
	assert_true(restore_memory(chain, n, all, SF_PAGES * PAGES_SIZE, err, sizeof(err)) < 0);
	if (!strstr(err, what) || !strstr(err, sf_path("v")))
		fail_msg("wanted '%s', found '%s'", what, err);
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
	refused("v", what);
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
		refused("v", "has version 2, this vmmd knows those up to 1: use a newer one");
		memcpy(v.data + at + offsetof(struct section_head, version), "\1", 1);
		stream_seal(v.data + at);
	}
	sf_write(sf_path("v"), v.data, v.len);
	check_chain("v", 2);
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
	f = snapshot_open(sf_path("disk"), err, sizeof(err));
	assert_non_null(f);
	ret = snapshot_find_disk(f, &found, err, sizeof(err));
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
		cmocka_unit_test(test_overlaps), cmocka_unit_test(test_chain),
		cmocka_unit_test(test_beginning), cmocka_unit_test(test_beside),
		cmocka_unit_test(test_no_snapshot), cmocka_unit_test(test_bad_chains),
		cmocka_unit_test(test_replace), cmocka_unit_test(test_cannot_write),
		cmocka_unit_test(test_large), cmocka_unit_test(test_trailer),
		cmocka_unit_test(test_flips), cmocka_unit_test(test_index),
		cmocka_unit_test(test_index_elsewhere), cmocka_unit_test(test_beginnings),
		cmocka_unit_test(test_disk),
	};

	return cmocka_run_group_tests_name("snapshot_file", tests, sf_setup, sf_teardown);
}
