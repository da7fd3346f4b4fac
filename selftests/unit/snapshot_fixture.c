// SPDX-License-Identifier: GPL-2.0
#define _GNU_SOURCE 1
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zstd.h>

#include "crc32c.h"
#include "snapshot/restore.h"
#include "snapshot_fixture.h"
#include "state/pages.h"
#include "state/vmstate_priv.h"

const struct state_range sf_range[3] = {
	{ .gpa = 0, .size = SF_LOW * PAGES_SIZE },
	{ .gpa = 0x800000, .size = 16 * PAGES_SIZE, .rom = 1 },
	{ .gpa = SF_HIGH_GPA, .size = (SF_PAGES - SF_LOW) * PAGES_SIZE },
};

static char dir[] = "/tmp/vmm-snapshot-XXXXXX";

int sf_setup(void **state)
{
	strcpy(dir, "/tmp/vmm-snapshot-XXXXXX");
	return !mkdtemp(dir);
}

int sf_teardown(void **state)
{
	DIR *d = opendir(dir);
	struct dirent *e;

	while ((e = readdir(d)))
		unlinkat(dirfd(d), e->d_name, 0);
	closedir(d);
	return rmdir(dir);
}

char *sf_path(const char *name)
{
	static char path[8][300];
	static unsigned int i;

	snprintf(path[++i % 8], sizeof(path[0]), "%s/%s", dir, name);
	return path[i % 8];
}

uint64_t sf_gpa(unsigned int page)
{
	return page < SF_LOW ? page * PAGES_SIZE :
			       SF_HIGH_GPA + (page - SF_LOW) * PAGES_SIZE;
}

static void put(struct sink *out, const struct state_section *s, const void *body,
		size_t len)
{
	assert_int_equal(section_put(out, s->tag, s->version, body, len, NULL, 0), 0);
}

void sf_begin(struct sink *out, uint8_t id, const struct snapshot_parent *parent)
{
	static const struct vmm_cpuid_entry cpuid[2] = {
		{ .function = 0, .eax = 1 }, { .function = 1, .edx = 0x11 },
	};
	struct state_ident ident = {
		.created = 1, .vendor = VMM_VENDOR_SVM, .tsc_khz = 2000000,
		.vcpus = 2, .abi_version = VMM_ABI_VERSION,
	};

	memset(ident.id, id, sizeof(ident.id));
	if (parent)
		memcpy(ident.parent, parent->id, sizeof(ident.parent));
	put(out, &state_ident, &ident, sizeof(ident));
	put(out, &state_options, "--name=x\0--cpus=2", 18);
	put(out, &state_cpuid, cpuid, sizeof(cpuid));
	put(out, &state_cpuid, cpuid, sizeof(cpuid));
	put(out, &state_memory, sf_range, sizeof(sf_range));
	if (parent)
		assert_int_equal(section_put(out, SNAPSHOT_PARENT, 1, parent,
					     sizeof(*parent), NULL, 0), 0);
}

uint8_t *sf_read(const char *path, size_t *len)
{
	int fd = open(path, O_RDONLY);
	struct stat st;
	uint8_t *data;

	assert_int_equal(fstat(fd, &st), 0);
	data = calloc(1, st.st_size + 1);
	assert_int_equal(read(fd, data, st.st_size), st.st_size);
	close(fd);
	*len = st.st_size;
	return data;
}

void sf_write(const char *path, const void *data, size_t len)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, data, len), len);
	close(fd);
}

size_t sf_find(const uint8_t *data, size_t len, const char *tag, unsigned int n)
{
	struct section_head h;
	size_t at;

	for (at = 0; at + sizeof(h) <= len - sizeof(struct snapshot_trailer);
	     at += sizeof(h) + h.len) {
		memcpy(&h, data + at, sizeof(h));
		if (!strncmp(h.tag, tag, sizeof(h.tag)) && !n--)
			return at;
	}
	return SIZE_MAX;
}

struct snapshot_trailer sf_trailer(const uint8_t *data, size_t len)
{
	struct snapshot_trailer t;

	memcpy(&t, data + len - sizeof(t), sizeof(t));
	return t;
}

void sf_put_trailer(uint8_t *data, size_t len, struct snapshot_trailer t)
{
	t.crc = crc32c(0, &t, offsetof(struct snapshot_trailer, crc));
	memcpy(data + len - sizeof(t), &t, sizeof(t));
}

uint8_t *sf_unpack(const char *from, const char *name, size_t *len)
{
	char path[300];
	uint8_t *packed, *data;
	size_t n;

	snprintf(path, sizeof(path), "%.*s/%s/%s", (int)(strrchr(__FILE__, '/') - __FILE__),
		 __FILE__, from, name);
	packed = sf_read(path, &n);
	*len = ZSTD_getFrameContentSize(packed, n);
	assert_true(*len < 64 << 20);
	data = calloc(1, *len + 1);
	assert_int_equal(ZSTD_decompress(data, *len, packed, n), *len);
	free(packed);
	return data;
}

void sf_pack(const char *path, const void *data, size_t len)
{
	size_t room = ZSTD_compressBound(len), n;
	void *packed = malloc(room);

	n = ZSTD_compress(packed, room, data, len, 19);
	assert_false(ZSTD_isError(n));
	sf_write(path, packed, n);
	free(packed);
}

/* ---- files of random pages ------------------------------------------------ */

char sf_err[768];

/* what each page holds: 0, zeroes; 1..99 can be compressed, others not */
uint32_t sf_model[SF_PAGES];

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
		make_page(data + i * PAGES_SIZE, sf_model[first + i]);
	assert_int_equal(writer_pages(w, sf_gpa(first), data, n), 0);
}

/* after the pages, as save.c: something, and "end" */
static void finish(struct snapshot_writer *w)
{
	writer_mark_state(w);
	assert_int_equal(section_put(&w->sink, "end", 1, NULL, 0, NULL, 0), 0);
	assert_int_equal(writer_commit(w, sf_range, 3), 0);
}

/* random runs, which overlap; the sf_model has what was written last */
void sf_write_random(const char *name, uint8_t id, struct rng *r,
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
			sf_model[k] = rng_below(r, 3) ? 1 + rng_below(r, 300) : 0;
		put_pages(&w, first, n);
	}
	finish(&w);
}

struct snapshot_parent sf_parent(uint8_t id, const char *file)
{
	struct snapshot_parent p = { .id = { 0 } };

	memset(p.id, id, sizeof(p.id));
	strcpy(p.file, file);
	return p;
}

/* each page by the index, and all of memory at once */
void sf_check_chain(const char *name, int wanted)
{
	struct snapshot_file *chain[SNAPSHOT_CHAIN_MAX];
	struct pages_coder *coder = pages_coder_new();
	uint8_t *buf = malloc(PAGES_BYTES), want[PAGES_SIZE], *all;
	const struct snapshot_run *run;
	unsigned int page;
	uint32_t count;
	int n, i;

	n = snapshot_open_chain(sf_path(name), chain, sf_err, sizeof(sf_err));
	if (n != wanted)
		fail_msg("%d: %s", n, sf_err);
	all = calloc(SF_PAGES, PAGES_SIZE);
	assert_int_equal(restore_memory(chain, n, all, SF_PAGES * PAGES_SIZE, sf_err,
					sizeof(sf_err)), 0);
	for (page = 0; page < SF_PAGES; page++) {
		make_page(want, sf_model[page]);
		assert_memory_equal(all + page * PAGES_SIZE, want, PAGES_SIZE);
		for (i = 0, run = NULL; i < n && !run; i++)
			run = snapshot_find(chain[i], sf_gpa(page));
		if (!run) {
			assert_int_equal(sf_model[page], 0);
			continue;
		}
		assert_int_equal(snapshot_read_pages(chain[i - 1], coder, run, buf, &count,
						     sf_err, sizeof(sf_err)), 0);
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
	if (sf_model[SF_PAGES - 1])
		assert_int_equal(restore_memory(chain, n, all, (SF_PAGES - 1) * PAGES_SIZE,
						sf_err, sizeof(sf_err)), -EBADMSG);
	free(all);
	free(buf);
	pages_coder_free(coder);
	snapshot_close_chain(chain, n);
}

void sf_refused(const char *name, const char *what)
{
	struct snapshot_file *chain[SNAPSHOT_CHAIN_MAX];

	sf_err[0] = 0;
	assert_true(snapshot_open_chain(sf_path(name), chain, sf_err, sizeof(sf_err)) < 0);
	if (!strstr(sf_err, what) || !strstr(sf_err, sf_path("")) || strchr(sf_err, '\n'))
		fail_msg("wanted '%s', found '%s'", what, sf_err);
}
