// SPDX-License-Identifier: GPL-2.0
/*
 * Snapshot files: what was written last is found, through any chain of files; and
 * files that lie are sf_refused, in one line that names them.
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

/* ---- reading --------------------------------------------------------------- */

static void test_overlaps(void **state)
{
	struct rng r = { 11 };
	unsigned int i;

	for (i = 0; i < 12; i++) {
		memset(sf_model, 0, sizeof(sf_model));
		sf_write_random("one", 1, &r, i * i, NULL);
		sf_check_chain("one", 1);
	}
}

static void test_chain(void **state)
{
	struct rng r = { 12 };
	struct snapshot_parent p;

	memset(sf_model, 0, sizeof(sf_model));
	sf_write_random("c0", 1, &r, 20, NULL);
	p = sf_parent(1, "c0");
	sf_write_random("c1", 2, &r, 9, &p);
	p = sf_parent(2, sf_path("c1"));	/* an absolute name, too */
	sf_write_random("c2", 3, &r, 0, &p);
	p = sf_parent(3, "c2");
	sf_write_random("c3", 4, &r, 7, &p);
	sf_check_chain("c3", 4);
}

static void test_beginning(void **state)
{
	struct rng r = { 13 };
	struct snapshot_file *f;
	struct snapshot_disk d;
	struct stat st;

	sf_write_random("b", 7, &r, 3, NULL);
	f = snapshot_open(sf_path("b"), sf_err, sizeof(sf_err));
	assert_non_null(f);
	assert_int_equal(f->state.ident.id[15], 7);
	assert_int_equal(f->state.ident.vcpus, 2);
	assert_int_equal(f->state.cpuid[1].count, 2);
	assert_int_equal(f->state.nranges, 3);
	assert_string_equal(f->state.text, "--name=x");
	assert_false(f->has_parent);
	assert_int_equal(snapshot_find_disk(f, &d, sf_err, sizeof(sf_err)), 0);
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

static void test_no_snapshot(void **state)
{
	sf_refused("nothing", "No such file");
	sf_refused("", "no regular file");
	sf_write(sf_path("empty"), "", 0);
	sf_refused("empty", "no snapshot, or only the beginning of one");
	sf_write(sf_path("short"), "VMMSNAP1", 8);
	sf_refused("short", "no snapshot, or only the beginning of one");
	assert_int_equal(mkfifo(sf_path("fifo"), 0600), 0);
	sf_refused("fifo", "no regular file");	/* and does not wait */
}

static void opens(const char *name, int wanted)
{
	struct snapshot_file *chain[SNAPSHOT_CHAIN_MAX];
	int n = snapshot_open_chain(sf_path(name), chain, sf_err, sizeof(sf_err));

	assert_int_equal(n, wanted);
	snapshot_close_chain(chain, n);
}

static void test_bad_chains(void **state)
{
	struct rng r = { 14 };
	struct snapshot_parent p = sf_parent(9, "gone");
	char name[16];
	unsigned int i;

	sf_write_random("d", 1, &r, 1, &p);
	sf_refused("d", "gone: No such file");
	/* another snapshot has its name now */
	sf_write_random("gone", 8, &r, 1, NULL);
	sf_refused("d", "is the difference to another snapshot");
	sf_write_random("gone", 9, &r, 1, NULL);
	opens("d", 2);
	/* itself, and each other */
	p = sf_parent(5, "self");
	sf_write_random("self", 5, &r, 1, &p);
	sf_refused("self", "more than 31 parents");
	p = sf_parent(6, "l6");
	sf_write_random("l5", 5, &r, 1, &p);
	p = sf_parent(5, "l5");
	sf_write_random("l6", 6, &r, 1, &p);
	sf_refused("l6", "more than 31 parents");
	/* as many as there may be, and one more */
	sf_write_random("n0", 100, &r, 1, NULL);
	for (i = 1; i <= SNAPSHOT_CHAIN_MAX; i++) {
		snprintf(name, sizeof(name), "n%u", i - 1);
		p = sf_parent(99 + i, name);
		snprintf(name, sizeof(name), "n%u", i);
		sf_write_random(name, 100 + i, &r, 0, &p);
	}
	sf_refused("n32", "more than 31 parents");
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

	memset(sf_model, 0, sizeof(sf_model));
	sf_write_random("r", 1, &r, 5, NULL);
	before = files();
	assert_int_equal(writer_open(&w, sf_path("r")), 0);
	sf_begin(&w.sink, 2, NULL);
	assert_int_equal(files(), before + 1);
	sf_check_chain("r", 1);
	writer_discard(&w);
	assert_int_equal(files(), before);
	sf_check_chain("r", 1);
	writer_discard(&w);	/* once more does no harm */
	memset(sf_model, 0, sizeof(sf_model));
	sf_write_random("r", 2, &r, 5, NULL);
	assert_int_equal(files(), before);
	sf_check_chain("r", 1);
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
		assert_int_equal(section_next(&s.in, sf_err, sizeof(sf_err)), 0);
		assert_int_equal(section_body(&s.in, body, sizeof(body), sf_err, sizeof(sf_err)), 0);
		assert_int_equal(body[s.in.head.len - 1], s.in.head.len == 1 ? body[0] : at);
	}
	free(data);
}

/* who waits for a page waits for all of its section: many pages are many sections */
static void test_sections(void **state)
{
	static uint8_t data[PAGES_BYTES];
	const uint64_t gpa = sf_range[0].gpa + PAGES_SIZE;
	struct snapshot_writer w;
	struct snapshot_file *f;
	uint64_t i, pages = 0;

	memset(data, 1, sizeof(data));
	assert_int_equal(writer_open(&w, sf_path("sections")), 0);
	sf_begin(&w.sink, 1, NULL);
	assert_int_equal(writer_pages(&w, gpa, data, PAGES_MAX), 0);
	writer_mark_state(&w);
	assert_int_equal(section_put(&w.sink, "end", 1, NULL, 0, NULL, 0), 0);
	assert_int_equal(writer_commit(&w, sf_range, 3), 0);
	f = snapshot_open(sf_path("sections"), sf_err, sizeof(sf_err));
	assert_non_null(f);
	assert_int_equal(f->run[0].gpa, gpa);
	for (i = 0; i < f->nruns; i++) {
		assert_in_range(f->run[i].count, 1, 16);
		assert_true(!i || f->run[i].gpa % (16 * PAGES_SIZE) == 0);
		pages += f->run[i].count;
	}
	assert_int_equal(pages, PAGES_MAX);
	snapshot_close(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_overlaps), cmocka_unit_test(test_chain),
		cmocka_unit_test(test_beginning), cmocka_unit_test(test_beside),
		cmocka_unit_test(test_no_snapshot), cmocka_unit_test(test_bad_chains),
		cmocka_unit_test(test_replace), cmocka_unit_test(test_cannot_write),
		cmocka_unit_test(test_large), cmocka_unit_test(test_sections),
	};

	return cmocka_run_group_tests_name("snapshot_file", tests, sf_setup, sf_teardown);
}
