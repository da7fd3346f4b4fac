// SPDX-License-Identifier: GPL-2.0
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "marks.h"
#include "mem.h"

#define PAGE		4096ULL
#define REGIONS_MAX	8

struct marks {
	struct mem *mem;
	unsigned int n;
	uint8_t *copy[REGIONS_MAX];
	uint64_t *bitmap[REGIONS_MAX];
};

struct marks *marks_new(struct mem *mem)
{
	struct marks *m = calloc(1, sizeof(*m));
	unsigned int i;

	m->mem = mem;
	m->n = mem_regions(mem);
	assert_true(m->n <= REGIONS_MAX);
	assert_int_equal(mem_track(mem, true), 0);
	for (i = 0; i < m->n; i++) {
		m->copy[i] = malloc(mem_region(mem, i).size);
		m->bitmap[i] = calloc(mem_region(mem, i).size / PAGE / 64 + 1, 8);
	}
	return m;
}

void marks_free(struct marks *m)
{
	unsigned int i;

	for (i = 0; i < m->n; i++) {
		free(m->copy[i]);
		free(m->bitmap[i]);
	}
	free(m);
}

void marks_begin(struct marks *m)
{
	unsigned int i;

	for (i = 0; i < m->n; i++) {
		struct mem_info r = mem_region(m->mem, i);

		assert_true(mem_harvest(m->mem, i, m->bitmap[i]) >= 0);
		memcpy(m->copy[i], r.hva, r.size);
	}
}

void marks_check(struct marks *m)
{
	unsigned int i;
	uint64_t p;

	for (i = 0; i < m->n; i++) {
		struct mem_info r = mem_region(m->mem, i);

		assert_true(mem_harvest(m->mem, i, m->bitmap[i]) >= 0);
		for (p = 0; p < r.size / PAGE; p++)
			if (!(m->bitmap[i][p / 64] >> p % 64 & 1) &&
			    memcmp(m->copy[i] + p * PAGE, r.hva + p * PAGE, PAGE))
				fail_msg("written, but not marked: %#llx",
					 (unsigned long long)(r.gpa + p * PAGE));
	}
}

bool marks_has(struct marks *m, uint64_t gpa)
{
	unsigned int i;

	for (i = 0; i < m->n; i++) {
		struct mem_info r = mem_region(m->mem, i);
		uint64_t p = (gpa - r.gpa) / PAGE;

		if (gpa >= r.gpa && gpa - r.gpa < r.size)
			return m->bitmap[i][p / 64] >> p % 64 & 1;
	}
	return false;
}
