// SPDX-License-Identifier: GPL-2.0
/*
 * The module's gpa -> hva table against a model that has one cell per page.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <linux/types.h>

typedef __u64 u64;
typedef __u32 u32;

#include "../../kmod/maptable.c"

#define P	4096ULL
#define RO	VMM_MAP_READONLY
#define PAGES	48

static const struct vmm_mapping two[] = {
	{ .gpa = 1 * P, .size = 4 * P, .hva = 101 * P, .flags = 0 },
	{ .gpa = 8 * P, .size = 2 * P, .hva = 300 * P, .flags = RO },
};

static struct vmm_mapping out[PAGES + 2];

static void assert_entry(u32 i, u64 gpa, u64 size, u64 hva, u32 flags)
{
	assert_int_equal(out[i].gpa, gpa * P);
	assert_int_equal(out[i].size, size * P);
	assert_int_equal(out[i].hva, hva * P);
	assert_int_equal(out[i].flags, flags);
}

static int map(const struct vmm_mapping *in, u32 n, u64 gpa, u64 size, u64 hva, u32 flags)
{
	struct vmm_mapping m = {
		.gpa = gpa * P, .size = size * P, .hva = hva * P, .flags = flags,
	};

	return vmm_table_map(out, in, n, &m);
}

static void check_refuses_malformed_ranges(void **state)
{
	static const struct {
		struct vmm_map map;
		int want;
	} cases[] = {
		{ { .gpa = 0, .size = P, .hva = P }, 0 },
		{ { .gpa = 0, .size = 1ULL << 40, .hva = P }, 0 },
		{ { .gpa = (1ULL << 40) - P, .size = P, .hva = P }, 0 },
		{ { .gpa = 0, .size = P, .hva = P, .flags = RO }, 0 },
		{ { .gpa = 0, .size = 0, .hva = P }, -EINVAL },
		{ { .gpa = 1, .size = P, .hva = P }, -EINVAL },
		{ { .gpa = 0, .size = P + 1, .hva = P }, -EINVAL },
		{ { .gpa = 0, .size = P, .hva = P + 512 }, -EINVAL },
		{ { .gpa = 0, .size = P, .hva = P, .flags = 2 }, -EINVAL },
		{ { .gpa = 0, .size = P, .hva = P, .pad = 1 }, -EINVAL },
		{ { .gpa = 1ULL << 40, .size = P, .hva = P }, -EINVAL },
		{ { .gpa = (1ULL << 40) - P, .size = 2 * P, .hva = P }, -EINVAL },
		{ { .gpa = P, .size = 0 - P, .hva = P }, -EINVAL },
		{ { .gpa = 0, .size = 2 * P, .hva = 0 - P }, -EINVAL },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		assert_int_equal(vmm_table_check(&cases[i].map, 40, RO), cases[i].want);
	assert_int_equal(vmm_table_check(&cases[3].map, 40, 0), -EINVAL);
}

static void find_answers_at_every_edge(void **state)
{
	(void)state;
	assert_int_equal(vmm_table_find(two, 0, 0), 0);
	assert_int_equal(vmm_table_find(two, 2, 0), 0);
	assert_int_equal(vmm_table_find(two, 2, 1 * P), 0);
	assert_int_equal(vmm_table_find(two, 2, 5 * P - 1), 0);
	assert_int_equal(vmm_table_find(two, 2, 5 * P), 1);
	assert_int_equal(vmm_table_find(two, 2, 10 * P - 1), 1);
	assert_int_equal(vmm_table_find(two, 2, 10 * P), 2);
	assert_int_equal(vmm_table_find(two, 2, ~0ULL), 2);
}

static void map_refuses_overlap(void **state)
{
	(void)state;
	assert_int_equal(map(two, 2, 0, 2, 50, 0), -EEXIST);
	assert_int_equal(map(two, 2, 4, 1, 50, 0), -EEXIST);
	assert_int_equal(map(two, 2, 5, 4, 50, 0), -EEXIST);
	assert_int_equal(map(two, 2, 0, 40, 50, 0), -EEXIST);
	assert_int_equal(map(two, 2, 2, 1, 50, 0), -EEXIST);
	assert_int_equal(map(two, 2, 0, 1, 50, 0), 3);
	assert_int_equal(map(two, 2, 5, 3, 50, 0), 3);
	assert_int_equal(map(two, 2, 10, 1, 50, 0), 3);
	assert_int_equal(map(NULL, 0, 10, 1, 50, 0), 1);
}

static void map_joins_what_continues(void **state)
{
	(void)state;
	assert_int_equal(map(two, 2, 5, 1, 105, 0), 2);
	assert_entry(0, 1, 5, 101, 0);
	assert_int_equal(map(two, 2, 0, 1, 100, 0), 2);
	assert_entry(0, 0, 5, 100, 0);
	/* other flags, other hva: not the same */
	assert_int_equal(map(two, 2, 5, 1, 105, RO), 3);
	assert_int_equal(map(two, 2, 5, 1, 106, 0), 3);
}

static void unmap_punches(void **state)
{
	(void)state;
	assert_int_equal(vmm_table_unmap(out, two, 2, 2 * P, P), 3);
	assert_entry(0, 1, 1, 101, 0);
	assert_entry(1, 3, 2, 103, 0);
	assert_entry(2, 8, 2, 300, RO);
	assert_int_equal(vmm_table_unmap(out, two, 2, 4 * P, 5 * P), 2);
	assert_entry(0, 1, 3, 101, 0);
	assert_entry(1, 9, 1, 301, RO);
	assert_int_equal(vmm_table_unmap(out, two, 2, 0, 100 * P), 0);
	assert_int_equal(vmm_table_unmap(out, two, 2, 5 * P, 3 * P), -ENOENT);
	assert_int_equal(vmm_table_unmap(out, two, 2, 10 * P, 3 * P), -ENOENT);
	assert_int_equal(vmm_table_unmap(out, NULL, 0, 0, P), -ENOENT);
}

static void protect_splits_and_joins(void **state)
{
	struct vmm_mapping in[PAGES];

	(void)state;
	assert_int_equal(vmm_table_protect(out, two, 2, 2 * P, P, RO), 4);
	assert_entry(0, 1, 1, 101, 0);
	assert_entry(1, 2, 1, 102, RO);
	assert_entry(2, 3, 2, 103, 0);
	memcpy(in, out, 4 * sizeof(in[0]));
	assert_int_equal(vmm_table_protect(out, in, 4, 2 * P, P, 0), 2);
	assert_entry(0, 1, 4, 101, 0);
	assert_int_equal(vmm_table_protect(out, two, 2, 4 * P, 2 * P, RO), -ENOENT);
	assert_int_equal(vmm_table_protect(out, two, 2, 0, 2 * P, RO), -ENOENT);
	assert_int_equal(vmm_table_protect(out, two, 2, 20 * P, P, RO), -ENOENT);
}

/* ---- the model ------------------------------------------------------------- */

struct cell {
	u64 hva;
	u32 flags;
	bool mapped;
};

static int model_change(struct cell *cells, int op, u64 gpa, u64 size, u64 hva, u32 flags)
{
	u64 mapped = 0;

	for (u64 i = gpa; i < gpa + size; i++)
		mapped += cells[i].mapped;
	if (op == 0 && mapped)
		return -EEXIST;
	if ((op == 1 && !mapped) || (op == 2 && mapped < size))
		return -ENOENT;
	for (u64 i = gpa; i < gpa + size; i++) {
		if (op == 0)
			cells[i].hva = hva + (i - gpa);
		cells[i].mapped = op != 1;
		cells[i].flags = flags;
	}
	return 0;
}

static void assert_is_model(const struct vmm_mapping *t, u32 n, const struct cell *cells)
{
	u64 page = 0;

	for (u32 i = 0; i < n; i++) {
		assert_true(t[i].size > 0 && t[i].gpa >= page * P);
		assert_false(i && t[i - 1].gpa + t[i - 1].size == t[i].gpa &&
			     t[i - 1].hva + t[i - 1].size == t[i].hva &&
			     t[i - 1].flags == t[i].flags);
		for (; page < t[i].gpa / P; page++)
			assert_false(cells[page].mapped);
		for (; page < (t[i].gpa + t[i].size) / P; page++) {
			assert_true(cells[page].mapped);
			assert_int_equal(cells[page].flags, t[i].flags);
			assert_int_equal(cells[page].hva * P, t[i].hva + (page * P - t[i].gpa));
		}
	}
	for (; page < PAGES; page++)
		assert_false(cells[page].mapped);
}

static void random_changes_match_the_model(void **state)
{
	struct vmm_mapping in[PAGES];
	struct cell cells[PAGES] = {};
	u32 n = 0;

	(void)state;
	srandom(1);
	for (int round = 0; round < 200000; round++) {
		int op = random() % 3, r;
		u64 gpa = random() % PAGES;
		u64 size = 1 + random() % (PAGES - gpa < 12 ? PAGES - gpa : 12);
		u64 hva = gpa + 100 * (1 + random() % 2);	/* often continues */
		u32 flags = op != 1 && random() % 2 ? RO : 0;

		if (op == 0)
			r = map(in, n, gpa, size, hva, flags);
		else if (op == 1)
			r = vmm_table_unmap(out, in, n, gpa * P, size * P);
		else
			r = vmm_table_protect(out, in, n, gpa * P, size * P, flags);
		assert_int_equal(r < 0 ? r : 0, model_change(cells, op, gpa, size, hva, flags));
		if (r < 0)
			continue;
		assert_true((u32)r <= n + 2);
		n = r;
		memcpy(in, out, n * sizeof(in[0]));
		assert_is_model(in, n, cells);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(check_refuses_malformed_ranges),
		cmocka_unit_test(find_answers_at_every_edge),
		cmocka_unit_test(map_refuses_overlap),
		cmocka_unit_test(map_joins_what_continues),
		cmocka_unit_test(unmap_punches),
		cmocka_unit_test(protect_splits_and_joins),
		cmocka_unit_test(random_changes_match_the_model),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
