// SPDX-License-Identifier: GPL-2.0
/*
 * Streams that no source sends: out of order, too long, beyond RAM, of another
 * version. Each ends with a line that names the section, and no guest runs.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "migrate/message.h"
#include "migrate_fake.h"
#include "state/buffer.h"
#include "state/pages.h"

static struct fake_run *r;
static struct buffer stream;
static struct sink out;
static uint8_t big[2 << 20];

static int setup(void **state)
{
	r = malloc(sizeof(*r));
	assert_non_null(r);
	fake_init(r);
	out = (struct sink){ .write = buffer_write, .owner = &stream };
	stream.len = 0;
	return 0;
}

static int teardown(void **state)
{
	fake_free(r);
	free(r);
	free(stream.data);
	memset(&stream, 0, sizeof(stream));
	return 0;
}

static void put(const char *tag, const void *body, size_t len)
{
	assert_int_equal(section_put(&out, tag, 1, body, len, NULL, 0), 0);
}

static void say(const char *tag, uint32_t number)
{
	assert_int_equal(message_put(&out, tag, number, 0), 0);
}

static void hello(void)
{
	const struct migrate_hello h = { .protocol = MIGRATE_PROTOCOL };

	put(MSG_HELLO, &h, sizeof(h));
	put("fake-vm", "x", 1);
}

static void regs(void)
{
	put("fake-regs", big, FAKE_REGS);
}

static void pages(uint64_t gpa, uint32_t count, uint32_t kind, size_t len)
{
	const struct pages_head h = { gpa, count, kind };

	assert_int_equal(section_put(&out, PAGES_TAG, PAGES_VERSION, &h, sizeof(h),
				     big, len), 0);
}

/* it ends like that, and has touched nothing else */
static void ends(const char *wanted)
{
	static const uint8_t zeroes[FAKE_BYTES];

	fake_feed(r, stream.data, stream.len);
	assert_int_not_equal(r->target_ret, 0);
	assert_false(r->target.runs);
	if (!strstr(r->target_err, wanted))
		print_error("'%s' does not say '%s'\n", r->target_err, wanted);
	assert_non_null(strstr(r->target_err, wanted));
	assert_null(strchr(r->target_err, '\n'));
	assert_memory_equal(r->target.mem, zeroes, FAKE_BYTES);
}

static void test_good(void **state)
{
	hello();
	regs();
	put("end", NULL, 0);
	say(MSG_OFFER, 1);
	say(MSG_GO, 1);
	fake_feed(r, stream.data, stream.len);
	assert_int_equal(r->target_ret, 0);
	assert_true(r->target.runs);
}

static void test_nothing(void **state)
{
	ends("ends in the middle, in the head of section 0");
}

static void test_not_us(void **state)
{
	static const char http[] = "GET / HTTP/1.1\r\nHost: there\r\nAccept: nothing\r\n\r\n";

	buffer_write(&stream, http, sizeof(http));
	ends("the head of section 0 is damaged");
}

static void test_no_hello(void **state)
{
	regs();
	ends("section 0 \"fake-regs\": \"migrate\" was wanted here");
}

static void test_newer(void **state)
{
	const struct migrate_hello h = { .protocol = MIGRATE_PROTOCOL + 1 };

	put(MSG_HELLO, &h, sizeof(h));
	ends("section 0 \"migrate\": speaks protocol 2");
}

static void test_short_hello(void **state)
{
	put(MSG_HELLO, "x", 1);
	ends("section 0 \"migrate\"");
}

/* a flag that nobody has yet; a disk that both have and that goes over */
static void test_flags(void **state)
{
	const struct migrate_hello h[2] = {
		{ MIGRATE_PROTOCOL, 1U << 31 }, { MIGRATE_PROTOCOL, HELLO_DISK | HELLO_MIRROR },
	};
	unsigned int i;

	for (i = 0; i < 2; i++) {
		stream.len = 0;
		out.number = 0;
		put(MSG_HELLO, &h[i], sizeof(h[i]));
		ends("section 0 \"migrate\": wants what this vmmd does not know");
	}
}

/* a path that would be an option, one without an end, flags of no meaning */
static void test_disk(void **state)
{
	const struct migrate_hello h = { MIGRATE_PROTOCOL, HELLO_DISK };
	struct migrate_disk d[4] = {
		{ .path = "--firmware-log=/tmp/x" }, { .path = "/x", .flags = 1 << 7 },
		{ .path = "/x", .generation = UINT64_MAX - 1 }, { .path = "/x" },
	};
	unsigned int i;

	memset(d[3].path, '/', sizeof(d[3].path));
	for (i = 0; i < 4; i++) {
		stream.len = 0;
		out.number = 0;
		put(MSG_HELLO, &h, sizeof(h));
		put(MSG_DISK, &d[i], sizeof(d[i]));
		ends("section 1 \"disk\": is of a disk that cannot be");
	}
	stream.len = 0;
	out.number = 0;
	put(MSG_HELLO, &h, sizeof(h));
	put("fake-vm", "x", 1);
	ends("\"disk\" was wanted here");
}

static void test_go_without_offer(void **state)
{
	hello();
	regs();
	put("end", NULL, 0);
	say(MSG_GO, 0);
	ends("\"go\": comes out of turn");
}

static void test_go_of_another(void **state)
{
	hello();
	regs();
	put("end", NULL, 0);
	say(MSG_OFFER, 7);
	say(MSG_GO, 8);
	ends("\"go\": is of offer 8, the last was 7");
}

static void test_go_after_again(void **state)
{
	hello();
	regs();
	put("end", NULL, 0);
	say(MSG_OFFER, 1);
	say(MSG_AGAIN, 1);
	say(MSG_GO, 1);
	ends("\"go\": comes out of turn");
}

static void test_pages_after_offer(void **state)
{
	hello();
	regs();
	put("end", NULL, 0);
	say(MSG_OFFER, 1);
	pages(0, 1, PAGES_RAW, PAGES_SIZE);
	ends("\"pages\": \"go\" was wanted here");
}

static void test_offer_without_state(void **state)
{
	hello();
	say(MSG_OFFER, 1);
	ends("has no registers");
}

static void test_state_twice(void **state)
{
	hello();
	regs();
	regs();
	ends("section 3 \"fake-regs\": was not wanted here");
}

static void test_unknown(void **state)
{
	hello();
	put("more", "x", 1);
	ends("section 2 \"more\": was not wanted here");
}

static void test_pages_beyond(void **state)
{
	memset(big, 0x55, sizeof(big));
	hello();
	pages(FAKE_BYTES, 1, PAGES_RAW, PAGES_SIZE);
	ends("section 2 \"pages\": has pages that are not in RAM");
}

static void test_pages_across(void **state)
{
	memset(big, 0x55, sizeof(big));
	hello();
	pages(FAKE_BYTES - PAGES_SIZE, 2, PAGES_RAW, 2 * PAGES_SIZE);
	ends("section 2 \"pages\": has pages that are not in RAM");
}

static void test_pages_wrap(void **state)
{
	hello();
	pages(-PAGES_SIZE, 2, PAGES_RAW, 2 * PAGES_SIZE);
	ends("section 2 \"pages\": has pages that are not possible");
}

static void test_pages_too_many(void **state)
{
	hello();
	pages(0, PAGES_MAX + 1, PAGES_ZERO, 0);
	ends("section 2 \"pages\": has pages that are not possible");
}

static void test_pages_not_zstd(void **state)
{
	hello();
	pages(0, 2, PAGES_ZSTD, 100);
	ends("section 2 \"pages\": its pages cannot be unpacked");
}

static void test_long_pages(void **state)
{
	hello();
	pages(0, 1, PAGES_RAW, PAGES_BYTES + 1);
	ends("section 2 \"pages\": has 1048593 bytes, at most 1048592 are possible");
}

static void test_long_probe(void **state)
{
	hello();
	put(MSG_PROBE, big, MIGRATE_PROBE + 1);
	ends("section 2 \"probe\": has 262145 bytes");
}

static void test_long_message(void **state)
{
	hello();
	put(MSG_SYNC, big, 100);
	ends("section 2 \"sync\": has 100 bytes");
}

static void test_swapped(void **state)
{
	struct section_head h;
	size_t at = sizeof(h) + sizeof(struct migrate_hello);

	/* the second section, as what it is, in the place of the first */
	hello();
	memmove(stream.data, stream.data + at, stream.len - at);
	stream.len -= at;
	ends("section 1 \"fake-vm\": stands where section 0 should be");
}

/* ---- targets -------------------------------------------------------------- */

static void stays(const char *wanted)
{
	fake_answer(r, stream.data, stream.len);
	assert_int_equal(r->result.state, SOURCE_KEPT);
	assert_true(r->source.runs);
	assert_int_equal(r->source.stops, r->source.resumes);
	if (!strstr(r->result.text, wanted))
		print_error("'%s' does not say '%s'\n", r->result.text, wanted);
	assert_non_null(strstr(r->result.text, wanted));
	assert_null(strchr(r->result.text, '\n'));
}

/* what is measured with */
static void synced(void)
{
	unsigned int i;

	for (i = 1; i <= 4; i++)
		say(MSG_SYNCED, i);
}

static void test_silent_target(void **state)
{
	stays("the target: ends in the middle, in the head of section 0");
}

static void test_other_welcome(void **state)
{
	say(MSG_WELCOME, MIGRATE_PROTOCOL + 1);
	stays("says \"welcome\" 2 while memory is sent");
}

static void test_running_at_once(void **state)
{
	say(MSG_RUNNING, 0);
	stays("says \"running\" 0");
}

static void test_running_early(void **state)
{
	say(MSG_WELCOME, MIGRATE_PROTOCOL);
	synced();
	say(MSG_RUNNING, 1);
	stays("says \"running\" 1 while memory is sent");
}

static void test_ready_early(void **state)
{
	say(MSG_WELCOME, MIGRATE_PROTOCOL);
	synced();
	say(MSG_READY, 1);
	stays("says \"ready\" 1 while memory is sent");
}

static void test_synced_wrong(void **state)
{
	say(MSG_WELCOME, MIGRATE_PROTOCOL);
	say(MSG_SYNCED, 9);
	stays("says \"synced\" 9");
}

/* what is printed on a terminal is text */
static void test_failed_escapes(void **state)
{
	static const char text[] = "no\033[2J\nyes";

	put(MSG_FAILED, text, sizeof(text) - 1);
	stays("refuses: no [2J yes");
}

static void test_failed_long(void **state)
{
	put(MSG_FAILED, big, MIGRATE_TEXT + 1);
	stays("section 0 \"failed\": has 1025 bytes");
}

/* ---- anything ------------------------------------------------------------- */

static unsigned int next_random(unsigned int *seed)
{
	*seed = *seed * 1103515245 + 12345;
	return *seed >> 16;
}

/*
 * Sections that are whole, in any order: the guest runs if "go" came for the last
 * offer, with nothing between the two, and a state before it.
 */
static void random_stream(unsigned int seed)
{
	static const char *const tags[] = {
		"fake-regs", "end", MSG_OFFER, MSG_GO, MSG_AGAIN, MSG_SYNC,
	};
	unsigned int n = 1 + next_random(&seed) % 10, number, tag;
	unsigned int last = 9, offered = 0;
	bool may_run = false, has_regs = false, over = false;

	hello();
	while (n-- && !over) {
		tag = next_random(&seed) % 7;
		number = 1 + next_random(&seed) % 2;
		if (tag == 6)
			pages(next_random(&seed) % (FAKE_PAGES + 2) * PAGES_SIZE,
			      1 + next_random(&seed) % 4, 1 + next_random(&seed) % 3,
			      next_random(&seed) % 2 ? PAGES_SIZE : 0);
		else if (tag == 0)
			regs();
		else if (tag == 1)
			put("end", NULL, 0);
		else
			say(tags[tag], number);
		if (tag == 3) {
			may_run |= last == 2 && has_regs && number == offered;
			over = true;
		}
		has_regs = tag == 0 || (has_regs && tag != 4);
		if (tag == 2)
			offered = number;
		last = tag;
	}
	fake_feed(r, stream.data, stream.len);
	if (r->target.runs)
		assert_true(may_run);
	else
		assert_null(strchr(r->target_err, '\n'));
}

static void test_random(void **state)
{
	unsigned int seed, ran = 0;

	for (seed = 0; seed < 3000; seed++) {
		fake_free(r);
		fake_init(r);
		out.number = 0;
		stream.len = 0;
		random_stream(seed * 7919);
		ran += r->target.runs;
	}
	/* some of them are right */
	assert_true(ran > 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_good, setup, teardown),
		cmocka_unit_test_setup_teardown(test_nothing, setup, teardown),
		cmocka_unit_test_setup_teardown(test_not_us, setup, teardown),
		cmocka_unit_test_setup_teardown(test_no_hello, setup, teardown),
		cmocka_unit_test_setup_teardown(test_newer, setup, teardown),
		cmocka_unit_test_setup_teardown(test_short_hello, setup, teardown),
		cmocka_unit_test_setup_teardown(test_flags, setup, teardown),
		cmocka_unit_test_setup_teardown(test_disk, setup, teardown),
		cmocka_unit_test_setup_teardown(test_go_without_offer, setup, teardown),
		cmocka_unit_test_setup_teardown(test_go_of_another, setup, teardown),
		cmocka_unit_test_setup_teardown(test_go_after_again, setup, teardown),
		cmocka_unit_test_setup_teardown(test_pages_after_offer, setup, teardown),
		cmocka_unit_test_setup_teardown(test_offer_without_state, setup, teardown),
		cmocka_unit_test_setup_teardown(test_state_twice, setup, teardown),
		cmocka_unit_test_setup_teardown(test_unknown, setup, teardown),
		cmocka_unit_test_setup_teardown(test_pages_beyond, setup, teardown),
		cmocka_unit_test_setup_teardown(test_pages_across, setup, teardown),
		cmocka_unit_test_setup_teardown(test_pages_wrap, setup, teardown),
		cmocka_unit_test_setup_teardown(test_pages_too_many, setup, teardown),
		cmocka_unit_test_setup_teardown(test_pages_not_zstd, setup, teardown),
		cmocka_unit_test_setup_teardown(test_long_pages, setup, teardown),
		cmocka_unit_test_setup_teardown(test_long_probe, setup, teardown),
		cmocka_unit_test_setup_teardown(test_long_message, setup, teardown),
		cmocka_unit_test_setup_teardown(test_swapped, setup, teardown),
		cmocka_unit_test_setup_teardown(test_silent_target, setup, teardown),
		cmocka_unit_test_setup_teardown(test_other_welcome, setup, teardown),
		cmocka_unit_test_setup_teardown(test_running_at_once, setup, teardown),
		cmocka_unit_test_setup_teardown(test_running_early, setup, teardown),
		cmocka_unit_test_setup_teardown(test_ready_early, setup, teardown),
		cmocka_unit_test_setup_teardown(test_synced_wrong, setup, teardown),
		cmocka_unit_test_setup_teardown(test_failed_escapes, setup, teardown),
		cmocka_unit_test_setup_teardown(test_failed_long, setup, teardown),
		cmocka_unit_test_setup_teardown(test_random, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
