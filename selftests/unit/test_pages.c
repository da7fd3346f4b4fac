// SPDX-License-Identifier: GPL-2.0
/* Pages as sections: they come back as they were, and nothing else comes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "state/pages.h"
#include "stream.h"

#define GPA	0x100000ULL

struct test {
	struct stream s;
	struct pages_coder *coder;
	struct pages_out out;
	struct rng rng;
	unsigned int notes;
	struct pages_head noted;	/* the last */
	uint8_t data[PAGES_BYTES];
	uint8_t body[PAGES_BODY_MAX + 1];
	uint8_t back[PAGES_BYTES + 16];
};

static char err[512];

static void note(void *owner, const struct pages_head *h)
{
	struct test *t = owner;

	t->notes++;
	t->noted = *h;
}

static int setup(void **state)
{
	struct test *t = calloc(1, sizeof(*t));

	stream_init(&t->s);
	t->rng.x = 7;
	t->coder = pages_coder_new();
	t->out = (struct pages_out){
		.coder = t->coder, .sink = &t->s.out, .tag = PAGES_TAG,
		.note = note, .owner = t,
	};
	*state = t;
	return !t->coder;
}

static int teardown(void **state)
{
	struct test *t = *state;

	pages_coder_free(t->coder);
	stream_free(&t->s);
	free(t);
	return 0;
}

/* the next section's pages to back; its head */
static struct pages_head take(struct test *t)
{
	struct pages_head h;
	struct source *in = &t->s.in;

	assert_int_equal(section_next(in, err, sizeof(err)), 0);
	assert_true(section_is(in, PAGES_TAG));
	assert_int_equal(section_version(in, PAGES_VERSION, err, sizeof(err)), 0);
	assert_int_equal(section_body(in, t->body, PAGES_BODY_MAX, err, sizeof(err)), 0);
	assert_int_equal(pages_check(t->body, in->head.len, &h), 0);
	memset(t->back, 0x77, sizeof(t->back));
	assert_int_equal(pages_get(t->coder, t->body, in->head.len, t->back), 0);
	/* that and no more */
	assert_int_equal(t->back[h.count * PAGES_SIZE], 0x77);
	return h;
}

/* random: cannot be compressed; repeated: can */
static void fill(struct test *t, unsigned int page, enum pages_kind kind)
{
	uint8_t *p = t->data + page * PAGES_SIZE;

	if (kind == PAGES_ZERO)
		memset(p, 0, PAGES_SIZE);
	else if (kind == PAGES_RAW)
		rng_fill(&t->rng, p, PAGES_SIZE);
	else
		memset(p, page % 255 + 1, PAGES_SIZE);
}

static void test_kinds(void **state)
{
	static const enum pages_kind kinds[] = { PAGES_ZERO, PAGES_RAW, PAGES_ZSTD };
	static const uint32_t counts[] = { 1, 2, 17, PAGES_MAX };
	struct test *t = *state;
	struct pages_head h;
	unsigned int k, c, i;

	for (k = 0; k < 3; k++) {
		for (c = 0; c < 4; c++) {
			for (i = 0; i < counts[c]; i++)
				fill(t, i, kinds[k]);
			assert_int_equal(pages_put(&t->out, GPA, t->data, counts[c]), 0);
			h = take(t);
			assert_int_equal(h.gpa, GPA);
			assert_int_equal(h.count, counts[c]);
			assert_int_equal(h.kind, kinds[k]);
			assert_memory_equal(&h, &t->noted, sizeof(h));
			assert_memory_equal(t->back, t->data, h.count * PAGES_SIZE);
			/* never more than raw */
			assert_true(t->s.in.head.len <= sizeof(h) + h.count * PAGES_SIZE);
		}
	}
	assert_int_equal(t->notes, 12);
}

/* runs of zeroes and others are sections of their own */
static void test_runs(void **state)
{
	static const char kinds[] = "zzrpprzrzzzpz";
	struct test *t = *state;
	struct pages_head h;
	unsigned int i, n = sizeof(kinds) - 1, sections = 0;

	for (i = 0; i < n; i++)
		fill(t, i, kinds[i] == 'z' ? PAGES_ZERO : kinds[i] == 'r' ? PAGES_RAW : PAGES_ZSTD);
	assert_int_equal(pages_put(&t->out, GPA, t->data, n), 0);
	for (i = 0; i < n; i += h.count, sections++) {
		h = take(t);
		assert_int_equal(h.gpa, GPA + i * PAGES_SIZE);
		assert_int_equal(h.kind == PAGES_ZERO, kinds[i] == 'z');
		assert_memory_equal(t->back, t->data + i * PAGES_SIZE, h.count * PAGES_SIZE);
	}
	assert_int_equal(sections, 7);
	assert_int_equal(t->notes, 7);

	/* who begins with zeroes is not told of them */
	t->out.skip_zero = true;
	assert_int_equal(pages_put(&t->out, GPA, t->data, n), 0);
	assert_int_equal(t->notes, 10);
	assert_int_equal(take(t).gpa, GPA + 2 * PAGES_SIZE);
	assert_int_equal(take(t).gpa, GPA + 7 * PAGES_SIZE);
	assert_int_equal(take(t).gpa, GPA + 11 * PAGES_SIZE);
	assert_int_equal(t->s.at, t->s.len);
}

/* a page with one bit, wherever it is, is not zero */
static void test_almost_zero(void **state)
{
	struct test *t = *state;
	unsigned int at;

	for (at = 0; at < PAGES_SIZE; at += at < 200 || at > 3900 ? 1 : 61) {
		memset(t->data, 0, PAGES_SIZE);
		t->data[at] = 1 << at % 8;
		assert_int_equal(pages_put(&t->out, GPA, t->data, 1), 0);
		assert_int_equal(take(t).kind, PAGES_ZSTD);
		assert_memory_equal(t->back, t->data, PAGES_SIZE);
	}
}

static void test_error_of_sink(void **state)
{
	struct test *t = *state;

	fill(t, 0, PAGES_RAW);
	t->s.room = 100;
	assert_int_equal(pages_put(&t->out, GPA, t->data, 1), -ENOSPC);
}

/* ---- hostile -------------------------------------------------------------- */

static void test_heads(void **state)
{
	static const struct {
		uint64_t gpa;
		uint32_t count, kind;
		size_t len;		/* behind the head */
		bool good;
	} t[] = {
		{ GPA, 1, PAGES_ZERO, 0, true },
		{ GPA, PAGES_MAX, PAGES_ZERO, 0, true },
		{ GPA, 1, PAGES_RAW, 4096, true },
		{ GPA, 2, PAGES_ZSTD, 8191, true },
		{ GPA, 1, PAGES_ZSTD, 1, true },
		{ 0ULL - 8192, 1, PAGES_ZERO, 0, true },
		{ GPA, 0, PAGES_ZERO, 0, false },
		{ GPA, 0, PAGES_RAW, 0, false },
		{ GPA, PAGES_MAX + 1, PAGES_ZERO, 0, false },
		{ GPA, PAGES_MAX + 1, PAGES_RAW, PAGES_BYTES, false },
		{ GPA, 0xffffffff, PAGES_ZERO, 0, false },
		{ GPA, 1U << 20, PAGES_RAW, 0, false },
		{ GPA + 1, 1, PAGES_ZERO, 0, false },
		{ GPA + 2048, 1, PAGES_ZERO, 0, false },
		{ 0ULL - 4096, 2, PAGES_ZERO, 0, false },	/* beyond the end */
		{ 0ULL - 4096, 256, PAGES_ZERO, 0, false },
		{ GPA, 1, PAGES_ZERO, 1, false },
		{ GPA, 1, PAGES_ZERO, 4096, false },
		{ GPA, 1, PAGES_RAW, 0, false },
		{ GPA, 1, PAGES_RAW, 4095, false },
		{ GPA, 1, PAGES_RAW, 4097, false },
		{ GPA, 1, PAGES_RAW, 8192, false },
		{ GPA, 1, PAGES_ZSTD, 0, false },
		{ GPA, 1, PAGES_ZSTD, 4096, false },
		{ GPA, 1, 0, 0, false },
		{ GPA, 1, 4, 4096, false },
		{ GPA, 1, 0x102, 4096, false },
	};
	struct test *x = *state;
	struct pages_head h;
	size_t i;

	for (i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		h = (struct pages_head){ t[i].gpa, t[i].count, t[i].kind };
		memcpy(x->body, &h, sizeof(h));
		if ((pages_check(x->body, sizeof(h) + t[i].len, &h) == 0) != t[i].good)
			fail_msg("row %zu", i);
	}
	for (i = 0; i < sizeof(h); i++)
		assert_int_equal(pages_check(x->body, i, &h), -EBADMSG);
}

static size_t compressed(struct test *t, uint32_t count)
{
	unsigned int i;

	t->out.sink->number = 0;
	stream_free(&t->s);
	for (i = 0; i < count; i++)
		fill(t, i, PAGES_ZSTD);
	assert_int_equal(pages_put(&t->out, GPA, t->data, count), 0);
	stream_rewind(&t->s);
	assert_int_equal(take(t).kind, PAGES_ZSTD);
	return t->s.in.head.len;
}

/* a frame of more, or fewer, pages than the head says; cut; and no frame at all */
static void test_frames(void **state)
{
	struct test *t = *state;
	struct pages_head *h = (struct pages_head *)t->body;
	size_t len = compressed(t, 4), cut;
	uint32_t count;

	for (count = 1; count < 8; count++) {
		h->count = count;
		memset(t->back, 0x77, sizeof(t->back));
		assert_int_equal(pages_get(t->coder, t->body, len, t->back),
				 count == 4 ? 0 : -EBADMSG);
		assert_int_equal(t->back[count * PAGES_SIZE], 0x77);
	}
	h->count = 4;
	for (cut = sizeof(*h); cut < len; cut++)
		assert_int_equal(pages_get(t->coder, t->body, cut, t->back), -EBADMSG);
	memset(h + 1, 0xff, len - sizeof(*h));
	assert_int_equal(pages_get(t->coder, t->body, len, t->back), -EBADMSG);
}

/* damaged frames give some pages or none, and never more */
static void test_damaged_frames(void **state)
{
	struct test *t = *state;
	size_t len = compressed(t, 3), i;
	uint8_t *good = malloc(len);
	unsigned int n;

	memcpy(good, t->body, len);
	for (n = 0; n < 5000; n++) {
		memcpy(t->body, good, len);
		for (i = rng_below(&t->rng, 3) + 1; i; i--)
			t->body[sizeof(struct pages_head) +
				rng_below(&t->rng, len - sizeof(struct pages_head))] = rng_next(&t->rng);
		memset(t->back + 3 * PAGES_SIZE, 0x77, 16);
		pages_get(t->coder, t->body, len, t->back);
		for (i = 0; i < 16; i++)
			assert_int_equal(t->back[3 * PAGES_SIZE + i], 0x77);
	}
	free(good);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_kinds), T(test_runs), T(test_almost_zero), T(test_error_of_sink),
		T(test_heads), T(test_frames), T(test_damaged_frames),
	};

	return cmocka_run_group_tests_name("pages", tests, NULL, NULL);
}
