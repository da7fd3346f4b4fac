// SPDX-License-Identifier: GPL-2.0
/* Pages that vmmd writes: each is found, once, and no other. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "mem.h"
#include "stream.h"

#define PAGE	4096ULL
#define REGIONS	4
#define WORDS	4			/* of the largest region's bitmap */

/* in pages; a hole behind the first, none between the others; b is a ROM */
static const struct { uint64_t at, n; bool rom; } layout[REGIONS] = {
	{ 0, 70, false }, { 100, 3, true }, { 103, 65, false }, { 168, 200, false },
};

static uint64_t bitmap[WORDS];

static int setup(void **state)
{
	static uint8_t rom[3 * PAGE];
	struct mem *m = mem_new(NULL);
	unsigned int i;

	for (i = 0; i < REGIONS; i++) {
		int ret = layout[i].rom ?
			mem_add_rom(m, layout[i].at * PAGE, rom, sizeof(rom), "rom") :
			mem_add_ram(m, layout[i].at * PAGE, layout[i].n * PAGE, "ram");

		assert_int_equal(ret, 0);
	}
	*state = m;
	return 0;
}

static int teardown(void **state)
{
	mem_free(*state);
	return 0;
}

/* exactly these pages of a region, from first up to end */
static void finds(struct mem *m, unsigned int region, uint64_t first, uint64_t end)
{
	uint64_t i;

	memset(bitmap, 0x55, sizeof(bitmap));
	assert_int_equal(mem_harvest(m, region, bitmap), end - first);
	for (i = 0; i < layout[region].n; i++)
		if ((bitmap[i / 64] >> i % 64 & 1) != (i >= first && i < end))
			fail_msg("region %u, page %u", region, (unsigned int)i);
}

static void finds_nothing(struct mem *m)
{
	unsigned int i;

	for (i = 0; i < REGIONS; i++)
		finds(m, i, 0, 0);
}

static void test_table(void **state)
{
	struct mem *m = *state;
	unsigned int i;

	assert_int_equal(mem_regions(m), REGIONS);
	for (i = 0; i < REGIONS; i++) {
		struct mem_info r = mem_region(m, i);

		assert_int_equal(r.gpa, layout[i].at * PAGE);
		assert_int_equal(r.size, layout[i].n * PAGE);
		assert_int_equal(r.rom, layout[i].rom);
		assert_ptr_equal(r.hva, mem_ptr_ro(m, r.gpa, 1));
		if (!r.rom)
			assert_true(r.zeroed);
	}
}

static void test_off(void **state)
{
	struct mem *m = *state;

	/* harmless before, refused without */
	mem_wrote(m, 0, PAGE);
	assert_int_equal(mem_harvest(m, 0, bitmap), -EINVAL);
	assert_int_equal(mem_harvest(m, 1, bitmap), 0);
	assert_int_equal(mem_track(m, false), 0);
	assert_int_equal(mem_track(m, true), 0);
	finds_nothing(m);
	mem_wrote(m, 0, PAGE);
	/* stop and forget */
	assert_int_equal(mem_track(m, false), 0);
	assert_int_equal(mem_harvest(m, 0, bitmap), -EINVAL);
	mem_wrote(m, PAGE, PAGE);
	assert_int_equal(mem_track(m, true), 0);
	finds_nothing(m);
	/* on when it is on: nothing is forgotten */
	mem_wrote(m, PAGE, PAGE);
	assert_int_equal(mem_track(m, true), 0);
	finds(m, 0, 1, 2);
	finds_nothing(m);
}

static void test_ranges(void **state)
{
	struct mem *m = *state;

	assert_int_equal(mem_track(m, true), 0);
	mem_wrote(m, 10, 0);
	finds_nothing(m);
	mem_wrote(m, 0, 1);
	finds(m, 0, 0, 1);
	mem_wrote(m, PAGE - 1, 2);
	finds(m, 0, 0, 2);
	mem_wrote(m, 63 * PAGE + 5, PAGE);
	finds(m, 0, 63, 65);
	mem_wrote(m, 69 * PAGE + 4095, 1);
	finds(m, 0, 69, 70);
	mem_wrote(m, 0, 70 * PAGE);
	finds(m, 0, 0, 70);
	/* into the hole and out of it */
	mem_wrote(m, 69 * PAGE, 10 * PAGE);
	finds(m, 0, 69, 70);
	mem_wrote(m, 75 * PAGE, 10 * PAGE);
	finds_nothing(m);
	mem_wrote(m, 99 * PAGE, 5 * PAGE);
	finds(m, 1, 0, 0);
	finds(m, 2, 0, 1);
	/* a ROM never; across two; all there is */
	mem_wrote(m, 100 * PAGE, 3 * PAGE);
	finds_nothing(m);
	mem_wrote(m, 167 * PAGE + 1, PAGE);
	finds(m, 2, 64, 65);
	finds(m, 3, 0, 1);
	mem_wrote(m, 0, 1000 * PAGE);
	finds(m, 0, 0, 70);
	finds(m, 1, 0, 0);
	finds(m, 2, 0, 65);
	finds(m, 3, 0, 200);
	/* where there is no memory */
	mem_wrote(m, 368 * PAGE, PAGE);
	mem_wrote(m, ~0ULL - PAGE, PAGE);
	finds_nothing(m);
}

static void test_host_addresses(void **state)
{
	struct mem *m = *state;
	uint8_t *p = mem_ptr(m, 103 * PAGE, 65 * PAGE), other[16];

	assert_int_equal(mem_track(m, true), 0);
	mem_wrote_at(m, p, 1);
	finds(m, 2, 0, 1);
	mem_wrote_at(m, p + 2 * PAGE - 1, 2);
	finds(m, 2, 1, 3);
	mem_wrote_at(m, p + 65 * PAGE - 1, 1);
	finds(m, 2, 64, 65);
	mem_wrote_at(m, other, sizeof(other));
	finds_nothing(m);
}

/* whoever copies to guest memory has it marked */
static void test_copies(void **state)
{
	struct mem *m = *state;
	uint8_t buf[3 * PAGE] = { 1 };

	assert_int_equal(mem_track(m, true), 0);
	assert_true(mem_read(m, 0, buf, sizeof(buf)));
	finds_nothing(m);
	assert_true(mem_write(m, PAGE + 1, buf, 2 * PAGE));
	finds(m, 0, 1, 4);
	assert_true(mem_write(m, 102 * PAGE, buf, 3 * PAGE));
	finds(m, 2, 0, 2);
	assert_true(mem_write(m, 167 * PAGE, buf, 2 * PAGE));
	finds(m, 2, 64, 65);
	finds(m, 3, 0, 1);
	/* nothing was written */
	assert_false(mem_write(m, 69 * PAGE, buf, 3 * PAGE));
	finds_nothing(m);
}

/* any number of marks and harvests against a plain table */
static void test_model(void **state)
{
	struct mem *m = *state;
	struct rng rng = { 3 };
	bool written[400] = { 0 };
	unsigned int n, i;

	assert_int_equal(mem_track(m, true), 0);
	for (n = 0; n < 3000; n++) {
		uint64_t gpa = rng_below(&rng, 380 * PAGE);
		uint64_t len = rng_below(&rng, rng_below(&rng, 2) ? 100 : 20 * PAGE);
		uint64_t page, r = rng_below(&rng, REGIONS);

		mem_wrote(m, gpa, len);
		for (page = gpa / PAGE; len && page <= (gpa + len - 1) / PAGE; page++)
			written[page] = true;
		if (rng_below(&rng, 4))
			continue;
		assert_true(mem_harvest(m, r, bitmap) >= 0);
		for (i = 0; i < layout[r].n; i++) {
			bool *w = &written[layout[r].at + i];

			if ((bitmap[i / 64] >> i % 64 & 1) != (*w && !layout[r].rom))
				fail_msg("round %u: region %u, page %u", n, (unsigned int)r, i);
			*w = false;
		}
	}
}

/* ---- threads -------------------------------------------------------------- */

#define WRITERS	3
#define ROUNDS	20000

struct writer {
	struct mem *m;
	unsigned int id;
	atomic_uint *running;
};

/* a counter in a page of its own for each writer, in the same word of the bitmap */
static void *write_on(void *arg)
{
	struct writer *w = arg;
	atomic_uint *p = mem_ptr(w->m, (168 + w->id) * PAGE, PAGE);
	unsigned int i;

	for (i = 1; i <= ROUNDS; i++) {
		atomic_store(p, i);
		mem_wrote(w->m, (168 + w->id) * PAGE, 4);
	}
	atomic_fetch_sub(w->running, 1);
	return NULL;
}

/* who copies what was harvested has, at the end, all that was written */
static void test_threads(void **state)
{
	atomic_uint running = WRITERS;
	struct writer w[WRITERS];
	unsigned int copy[WRITERS] = { 0 }, i;
	pthread_t thread[WRITERS];
	struct mem *m = *state;
	bool last;

	assert_int_equal(mem_track(m, true), 0);
	for (i = 0; i < WRITERS; i++) {
		w[i] = (struct writer){ m, i, &running };
		assert_int_equal(pthread_create(&thread[i], NULL, write_on, &w[i]), 0);
	}
	do {
		last = !atomic_load(&running);
		assert_true(mem_harvest(m, 3, bitmap) >= 0);
		for (i = 0; i < WRITERS; i++)
			if (bitmap[0] >> i & 1)
				copy[i] = atomic_load((atomic_uint *)
						      mem_ptr(m, (168 + i) * PAGE, 4));
		assert_int_equal(bitmap[0] >> WRITERS, 0);
	} while (!last);
	for (i = 0; i < WRITERS; i++) {
		pthread_join(thread[i], NULL);
		assert_int_equal(copy[i], ROUNDS);
	}
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_table), T(test_off), T(test_ranges), T(test_host_addresses),
		T(test_copies), T(test_model), T(test_threads),
	};

	return cmocka_run_group_tests_name("mem_dirty", tests, NULL, NULL);
}
