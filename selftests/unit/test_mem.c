// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "machine.h"
#include "mem.h"

#define PAGE	4096ULL

static int setup(void **state)
{
	static uint8_t rom[PAGE];

	memset(rom, 0x5a, sizeof(rom));
	*state = mem_new(NULL);
	if (!*state)
		return -1;
	/* RAM 0..3 pages, RAM 3..4, hole, ROM 8, RAM 9 */
	return mem_add_ram(*state, 0, 3 * PAGE, "a") ||
	       mem_add_ram(*state, 3 * PAGE, PAGE, "b") ||
	       mem_add_ram(*state, 9 * PAGE, PAGE, "c") ||
	       mem_add_rom(*state, 8 * PAGE, rom, PAGE, "rom");
}

static int teardown(void **state)
{
	mem_free(*state);
	return 0;
}

static void test_add(void **state)
{
	struct mem *m = *state;

	assert_int_equal(mem_add_ram(m, 0x800, PAGE, "x"), -EINVAL);
	assert_int_equal(mem_add_ram(m, 4 * PAGE, 100, "x"), -EINVAL);
	assert_int_equal(mem_add_ram(m, 4 * PAGE, 0, "x"), -EINVAL);
	assert_int_equal(mem_add_ram(m, -PAGE, 2 * PAGE, "x"), -EINVAL);
	assert_int_equal(mem_add_ram(m, 2 * PAGE, PAGE, "x"), -EEXIST);
	assert_int_equal(mem_add_ram(m, 4 * PAGE, 5 * PAGE, "x"), -EEXIST);
	assert_int_equal(mem_add_rom(m, 8 * PAGE, "", PAGE, "x"), -EEXIST);
	/* more than there can be: refused, and nothing is left behind */
	assert_true(mem_add_ram(m, 1ULL << 40, 1ULL << 62, "x") < 0);
	assert_null(mem_ptr_ro(m, 1ULL << 40, 1));
	assert_int_equal(mem_add_ram(m, 4 * PAGE, 4 * PAGE, "x"), 0);
}

static void test_pointers(void **state)
{
	struct mem *m = *state;
	uint8_t *p = mem_ptr(m, 0, 3 * PAGE);

	assert_non_null(p);
	assert_ptr_equal(mem_ptr(m, 100, 1), p + 100);
	assert_ptr_equal(mem_ptr(m, 3 * PAGE - 1, 1), p + 3 * PAGE - 1);
	/* across two regions, into a hole, beyond everything, wrapping */
	assert_null(mem_ptr(m, 3 * PAGE - 1, 2));
	assert_null(mem_ptr(m, 4 * PAGE - 1, 2));
	assert_null(mem_ptr(m, 4 * PAGE, 1));
	assert_null(mem_ptr(m, 10 * PAGE, 1));
	assert_null(mem_ptr(m, ~0ULL, 2));
	assert_null(mem_ptr(m, 100, ~0ULL));
	assert_null(mem_ptr(m, 100, ~0ULL - 99));
	assert_null(mem_ptr_ro(m, 7 * PAGE, 1));
	/* ROM only for reading */
	assert_null(mem_ptr(m, 8 * PAGE, 1));
	assert_int_equal(*(const uint8_t *)mem_ptr_ro(m, 8 * PAGE, PAGE), 0x5a);
}

static void test_copies(void **state)
{
	struct mem *m = *state;
	uint8_t buf[3 * PAGE], back[3 * PAGE];
	unsigned int i;

	for (i = 0; i < sizeof(buf); i++)
		buf[i] = i * 7;
	/* RAM is zero at first */
	memset(back, 1, sizeof(back));
	assert_true(mem_read(m, 2 * PAGE - 5, back, 2 * PAGE));
	for (i = 0; i < 2 * PAGE; i++)
		assert_int_equal(back[i], 0);
	/* across regions */
	assert_true(mem_write(m, 2 * PAGE - 5, buf, 2 * PAGE));
	assert_true(mem_read(m, 2 * PAGE - 5, back, 2 * PAGE));
	assert_memory_equal(buf, back, 2 * PAGE);
	/* into the hole: nothing is copied */
	memset(back, 0xee, sizeof(back));
	assert_false(mem_read(m, 3 * PAGE, back, PAGE + 1));
	assert_int_equal(back[0], 0xee);
	memset(buf, 0xdd, sizeof(buf));
	assert_false(mem_write(m, 4 * PAGE - 1, buf, 2));
	assert_true(mem_read(m, 4 * PAGE - 1, back, 1));
	assert_int_equal(back[0], 0);
	assert_false(mem_read(m, ~0ULL - 1, back, 16));
	assert_false(mem_read(m, 20 * PAGE, back, 1));
	assert_true(mem_read(m, 20 * PAGE, back, 0));
	/* ROM keeps its bytes, the RAM after it takes its own */
	assert_true(mem_write(m, 9 * PAGE - 2, buf, 4));
	assert_true(mem_read(m, 9 * PAGE - 2, back, 4));
	assert_memory_equal(back, "\x5a\x5a\xdd\xdd", 4);
}

static void test_sizes(void **state)
{
	struct mem *m = *state;

	assert_int_equal(mem_low_size(m), 10 * PAGE);
	assert_int_equal(mem_high_size(m), 0);
	/* RAM in the hole below 4 GiB does not count, RAM above it does */
	assert_int_equal(mem_add_ram(m, MACHINE_MMIO_HOLE + PAGE, PAGE, "x"), 0);
	assert_int_equal(mem_add_ram(m, 1ULL << 32, 2 * PAGE, "x"), 0);
	assert_int_equal(mem_low_size(m), 10 * PAGE);
	assert_int_equal(mem_high_size(m), 2 * PAGE);
}

/* large pages need the same offset in them on both sides */
static void test_alignment(void **state)
{
	const uint64_t large = 2 << 20, gpa = (1ULL << 32) + 5 * PAGE;
	struct mem *m = *state;
	const uint8_t *p;

	assert_int_equal(mem_add_ram(m, gpa, 4 * large, "x"), 0);
	p = mem_ptr(m, gpa, 4 * large);
	assert_non_null(p);
	assert_int_equal((uintptr_t)p % large, gpa % large);
	assert_int_equal(p[0] | p[4 * large - 1], 0);
}

/* has the mapping around p this flag in smaps */
static bool has_flag(const void *p, const char *flag)
{
	FILE *f = fopen("/proc/self/smaps", "re");
	unsigned long start, end;
	bool here = false, found = false;
	char line[512];

	assert_non_null(f);
	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%lx-%lx ", &start, &end) == 2)
			here = (uintptr_t)p >= start && (uintptr_t)p < end;
		else if (here && !strncmp(line, "VmFlags:", 8))
			found = strstr(line, flag);
	}
	fclose(f);
	return found;
}

/* asked for where one fits; a few pages must not cost as much as 512 */
static void test_large_pages(void **state)
{
	const uint64_t large = 2 << 20, gpa = 1ULL << 32;
	static uint8_t rom[16 * PAGE];
	struct mem *m = *state;

	if (access("/sys/kernel/mm/transparent_hugepage", F_OK))
		skip();
	/* one aligned large page in it, and none */
	assert_int_equal(mem_add_ram(m, gpa + large - PAGE, large + PAGE, "x"), 0);
	assert_int_equal(mem_add_ram(m, gpa + 3 * large + PAGE, 2 * large - 2 * PAGE, "x"), 0);
	assert_int_equal(mem_add_rom(m, gpa - sizeof(rom), rom, sizeof(rom), "x"), 0);
	assert_true(has_flag(mem_ptr(m, gpa + large, 1), " hg"));
	assert_true(has_flag(mem_ptr(m, gpa + 4 * large, 1), " nh"));
	assert_true(has_flag(mem_ptr_ro(m, gpa - 1, 1), " nh"));
	/* not now; and again, where one fits */
	mem_large(m, false);
	assert_true(has_flag(mem_ptr(m, gpa + large, 1), " nh"));
	mem_large(m, true);
	assert_true(has_flag(mem_ptr(m, gpa + large, 1), " hg"));
	assert_true(has_flag(mem_ptr(m, gpa + 4 * large, 1), " nh"));
}

/* as many as no machine has: an error, and what to do about it */
static void test_no_hugepages(void **state)
{
	struct mem *m = *state;
	char text[256];

	mem_use_hugepages(m, 2 << 20);
	assert_true(mem_add_ram(m, 1ULL << 32, 1ULL << 45, "x") < 0);
	assert_null(mem_ptr(m, 1ULL << 32, 1));
	mem_hugepage_advice(2 << 20, 1ULL << 45, text, sizeof(text));
	assert_non_null(strstr(text, "--hugepages=2M wants"));
	/* less than a page is none of them */
	assert_int_equal(mem_add_ram(m, 1ULL << 32, PAGE, "x"), 0);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_add), T(test_pointers), T(test_copies), T(test_sizes),
		T(test_alignment), T(test_large_pages), T(test_no_hugepages),
	};

	return cmocka_run_group_tests_name("mem", tests, NULL, NULL);
}
