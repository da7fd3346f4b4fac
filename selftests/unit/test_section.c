// SPDX-License-Identifier: GPL-2.0
/* Sections: what was written is read, and whatever is damaged is named. */
#define _GNU_SOURCE 1
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "stream.h"

static char err[512];
static uint8_t body[4096];

static const struct {
	const char *tag;
	uint32_t version;
	const char *a, *b;
} sections[] = {
	{ "first", 1, "some bytes", " in two parts" },
	{ "sixteen-letters!", 7, "", "" },
	{ "third", 2, "", "only the second" },
	{ "x", 1, "the first alone", "" },
};

#define N	(sizeof(sections) / sizeof(sections[0]))

static int setup(void **state)
{
	struct stream *s = calloc(1, sizeof(*s));
	size_t i;

	stream_init(s);
	for (i = 0; i < N; i++)
		assert_int_equal(section_put(&s->out, sections[i].tag, sections[i].version,
					     sections[i].a, strlen(sections[i].a),
					     sections[i].b, strlen(sections[i].b)), 0);
	memset(err, 0, sizeof(err));
	*state = s;
	return 0;
}

static int teardown(void **state)
{
	struct stream *s = *state;

	stream_free(s);
	free(s);
	return 0;
}

/* one line, with these words, and where it was found */
static void says(const char *what)
{
	if (!strstr(err, what) || strncmp(err, "stream: ", 8) || strchr(err, '\n'))
		fail_msg("wanted '%s', found '%s'", what, err);
}

/* how many sections are good, from the beginning; the error of what is not */
static unsigned int read_all(struct stream *s, int *ret)
{
	unsigned int n = 0;

	stream_rewind(s);
	for (;;) {
		memset(err, 0, sizeof(err));
		*ret = section_next(&s->in, err, sizeof(err));
		if (!*ret)
			*ret = section_body(&s->in, body, sizeof(body), err, sizeof(err));
		if (*ret)
			return n;
		n++;
	}
}

static void test_good(void **state)
{
	struct stream *s = *state;
	char want[100];
	size_t i;

	for (i = 0; i < N; i++) {
		assert_int_equal(section_next(&s->in, err, sizeof(err)), 0);
		assert_true(section_is(&s->in, sections[i].tag));
		assert_false(section_is(&s->in, "other"));
		assert_int_equal(s->in.head.version, sections[i].version);
		snprintf(want, sizeof(want), "%s%s", sections[i].a, sections[i].b);
		assert_int_equal(s->in.head.len, strlen(want));
		/* room for exactly that */
		assert_int_equal(section_body(&s->in, body, strlen(want), err, sizeof(err)), 0);
		assert_memory_equal(body, want, strlen(want));
	}
	assert_int_equal(section_next(&s->in, err, sizeof(err)), -ENODATA);
	says("in the head of section 4");
}

static void test_tags_are_whole(void **state)
{
	struct stream *s = *state;

	assert_int_equal(section_next(&s->in, err, sizeof(err)), 0);
	assert_false(section_is(&s->in, "firs"));
	assert_false(section_is(&s->in, "first1"));
	assert_false(section_is(&s->in, ""));
	assert_int_equal(section_body(&s->in, body, sizeof(body), err, sizeof(err)), 0);
	assert_int_equal(section_next(&s->in, err, sizeof(err)), 0);
	assert_true(section_is(&s->in, "sixteen-letters!"));
	assert_false(section_is(&s->in, "sixteen-letters"));
}

/* one bit, anywhere: nothing that follows it is believed */
static void test_flips(void **state)
{
	struct stream *s = *state;
	size_t i, at = 0, k = 0;
	int ret;

	for (i = 0; i < s->len * 8; i++) {
		if (i / 8 == stream_next(s, at)) {
			at = i / 8;
			k++;
		}
		s->data[i / 8] ^= 1 << i % 8;
		assert_int_equal(read_all(s, &ret), k);
		assert_int_equal(ret, -EBADMSG);
		says("damaged");
		s->data[i / 8] ^= 1 << i % 8;
	}
	assert_int_equal(k, N - 1);
	assert_int_equal(read_all(s, &ret), N);
}

static void test_truncated(void **state)
{
	struct stream *s = *state;
	size_t at = 0, k = 0, whole = s->len;
	int ret;

	for (s->len = 0; s->len < whole; s->len++) {
		size_t len = s->len;

		s->len = whole;
		if (len == stream_next(s, at)) {
			at = len;
			k++;
		}
		s->len = len;
		assert_int_equal(read_all(s, &ret), k);
		assert_int_equal(ret, -ENODATA);
		says("ends in the middle");
	}
}

/* each is whole, but stands where another should be */
static void test_order(void **state)
{
	struct stream *s = *state;
	uint32_t was;
	int ret;

	stream_head(s, 0)->number = 1;
	stream_seal(s->data);
	assert_int_equal(read_all(s, &ret), 0);
	assert_int_equal(ret, -EBADMSG);
	says("section 1 \"first\": stands where section 0 should be");
	stream_head(s, 0)->number = 0;
	stream_seal(s->data);
	/* the second twice */
	was = stream_next(s, 0);
	stream_head(s, was)->number = 0;
	stream_seal(s->data + was);
	assert_int_equal(read_all(s, &ret), 1);
	says("stands where section 1 should be");
	stream_head(s, was)->number = 2;
	stream_seal(s->data + was);
	assert_int_equal(read_all(s, &ret), 1);
	says("stands where section 1 should be");
}

/* heads whose checksum fits, and that say what cannot be */
static void test_bad_tags(void **state)
{
	static const char bad[][SECTION_TAG] = {
		"", "a b", "tab\t", "esc\33[2J", "del\177", "\377\376",
		{ 'a', 0, 'b' }, { 0, 'a' }, { [15] = 'z' },
	};
	struct stream *s = *state;
	size_t i;
	int ret;

	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		memcpy(stream_head(s, 0)->tag, bad[i], SECTION_TAG);
		stream_seal(s->data);
		assert_int_equal(read_all(s, &ret), 0);
		assert_int_equal(ret, -EBADMSG);
		says("head of section 0 is damaged, or this is no state");
	}
}

/* nothing is read, and nothing written, of what there is no room for */
static void test_too_long(void **state)
{
	static const uint64_t len[] = { 25, 4096, 1ULL << 32, 1ULL << 63, ~0ULL };
	struct stream *s = *state;
	size_t i;

	for (i = 0; i < sizeof(len) / sizeof(len[0]); i++) {
		stream_head(s, 0)->len = len[i];
		stream_seal_head(s->data);
		stream_rewind(s);
		memset(body, 0xee, sizeof(body));
		assert_int_equal(section_next(&s->in, err, sizeof(err)), 0);
		assert_int_equal(section_body(&s->in, body, 24, err, sizeof(err)), -EBADMSG);
		says("at most 24 are possible");
		assert_int_equal(body[0], 0xee);
		assert_int_equal(s->at, sizeof(struct section_head));
	}
}

static void test_version(void **state)
{
	struct stream *s = *state;

	assert_int_equal(section_next(&s->in, err, sizeof(err)), 0);
	assert_int_equal(section_version(&s->in, 1, err, sizeof(err)), 0);
	assert_int_equal(section_version(&s->in, 9, err, sizeof(err)), 0);
	s->in.head.version = 10;
	assert_int_equal(section_version(&s->in, 9, err, sizeof(err)), -ENOTSUP);
	says("section 0 \"first\": has version 10, this vmmd knows those up to 9: use a newer one");
	s->in.head.version = 0;
	assert_int_equal(section_version(&s->in, 9, err, sizeof(err)), -ENOTSUP);
	says("has version 0");
}

/* the sink's error comes out, whichever of the three writes it is */
static void test_full(void **state)
{
	struct stream s;
	size_t room;

	(void)state;
	for (room = 1; room < 46; room++) {
		stream_init(&s);
		s.room = room;
		assert_int_equal(section_put(&s.out, "t", 1, "abc", 3, "def", 3), -ENOSPC);
		stream_free(&s);
	}
	stream_init(&s);
	s.room = 46;
	assert_int_equal(section_put(&s.out, "t", 1, "abc", 3, "def", 3), 0);
	stream_free(&s);
}

/* the error of the source is told, and is no end */
static int broken_read(void *owner, void *buf, size_t len)
{
	return -EIO;
}

static void test_unreadable(void **state)
{
	struct source in = { .read = broken_read, .name = "stream" };

	(void)state;
	assert_int_equal(section_next(&in, err, sizeof(err)), -EIO);
	says("cannot be read: Input/output error");
}

/* a long complaint, and little room for it */
static void test_bad(void **state)
{
	struct stream *s = *state;
	char small[20];

	assert_int_equal(section_next(&s->in, err, sizeof(err)), 0);
	assert_int_equal(section_bad(&s->in, err, sizeof(err), "%0400d", 7), -EBADMSG);
	assert_in_range(strlen(err), 200, 400);
	assert_int_equal(section_bad(&s->in, small, sizeof(small), "%0400d", 7), -EBADMSG);
	assert_string_equal(small, "stream: section 0 \"");
}

static void test_fd(void **state)
{
	int fd = memfd_create("section", MFD_CLOEXEC), pipes[2];
	struct sink out = { .write = fd_write, .owner = &fd };
	struct source in = { .read = fd_read, .owner = &fd, .name = "stream" };

	(void)state;
	assert_int_equal(section_put(&out, "a", 1, "123", 3, NULL, 0), 0);
	assert_int_equal(section_put(&out, "b", 1, NULL, 0, NULL, 0), 0);
	lseek(fd, 0, SEEK_SET);
	assert_int_equal(section_next(&in, err, sizeof(err)), 0);
	assert_int_equal(section_body(&in, body, 3, err, sizeof(err)), 0);
	assert_memory_equal(body, "123", 3);
	assert_int_equal(section_next(&in, err, sizeof(err)), 0);
	assert_int_equal(section_body(&in, NULL, 0, err, sizeof(err)), 0);
	assert_int_equal(section_next(&in, err, sizeof(err)), -ENODATA);
	close(fd);
	assert_int_equal(fd_write(&fd, "x", 1), -EBADF);
	assert_int_equal(fd_read(&fd, body, 1), -EBADF);
	/* in pieces */
	assert_int_equal(pipe(pipes), 0);
	assert_int_equal(write(pipes[1], "ab", 2), 2);
	close(pipes[1]);
	assert_int_equal(fd_read(&pipes[0], body, 1), 0);
	assert_int_equal(fd_read(&pipes[0], body, 2), -ENODATA);
	close(pipes[0]);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_good), T(test_tags_are_whole), T(test_flips), T(test_truncated),
		T(test_order), T(test_bad_tags), T(test_too_long), T(test_version),
		T(test_full), T(test_unreadable), T(test_bad), T(test_fd),
	};

	return cmocka_run_group_tests_name("section", tests, NULL, NULL);
}
