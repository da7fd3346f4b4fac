// SPDX-License-Identifier: GPL-2.0
/* CPUID topology and vector registers in the XSAVE area. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

#include "cpuid.h"
#include "vector.h"

static const struct vmm_cpuid_entry *get(const struct vmm_cpuid_entry *e,
					 uint32_t n, uint32_t fn, uint32_t index)
{
	const struct vmm_cpuid_entry *found = NULL;
	uint32_t i;

	for (i = 0; i < n; i++) {
		if (e[i].function != fn ||
		    (e[i].flags & VMM_CPUID_INDEXED && e[i].index != index))
			continue;
		assert_null(found);	/* each leaf once */
		found = &e[i];
	}
	return found;
}

static uint32_t make(struct vmm_cpuid_entry *e, bool amd, uint32_t max)
{
	const struct vmm_cpuid_entry t[] = {
		{ .function = 0, .eax = max, .ebx = amd ? 0x68747541 : 0x756e6547 },
		{ .function = 1, .ebx = 0x12345678, .edx = 1 << 28 | 1 },
		{ .function = 4, .index = 0, .flags = VMM_CPUID_INDEXED, .eax = 0xfc004121 },
		{ .function = 4, .index = 1, .flags = VMM_CPUID_INDEXED, .eax = 0xfc01c163 },
		{ .function = 4, .index = 2, .flags = VMM_CPUID_INDEXED },
		{ .function = 0xb, .index = 0, .flags = VMM_CPUID_INDEXED, .edx = 77 },
		{ .function = 0x1f, .index = 0, .flags = VMM_CPUID_INDEXED, .edx = 77 },
		{ .function = 0x80000000, .eax = 0x8000001e },
		{ .function = 0x80000001, .ecx = 1 << 22 | 2 },
		{ .function = 0x80000008, .eax = 0x3028, .ecx = 0xffff },
		{ .function = 0x8000001d, .index = 0, .flags = VMM_CPUID_INDEXED,
		  .eax = 0x3ffc163 },
		{ .function = 0x8000001e, .eax = 99, .ebx = 99, .ecx = 99 },
	};

	memcpy(e, t, sizeof(t));
	return sizeof(t) / sizeof(t[0]);
}

static void test_pv(void **state)
{
	static const char *const names[] = {
		"clock", "steal-time", "eoi", "unhalt", "tlb-flush", "ipi", "poll", "yield",
	};
	struct vmm_cpuid_entry e[2] = {
		{ .function = 0x40000000, .eax = ~0U },
		{ .function = 0x40000001, .eax = ~0U },
	};
	uint32_t seen = 0, bits;
	unsigned int i;

	(void)state;
	/* each its own bits, and only its whole name */
	for (i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		bits = cpuid_pv_feature(names[i], strlen(names[i]));
		assert_true(bits && !(seen & bits));
		seen |= bits;
		assert_int_equal(cpuid_pv_feature(names[i], strlen(names[i]) - 1), 0);
	}
	assert_int_equal(cpuid_pv_feature("", 0), 0);
	cpuid_hide_pv(e, 2, cpuid_pv_feature("eoi,x", 3));
	assert_int_equal(e[1].eax, ~(1U << 6));
	cpuid_hide_pv(e, 2, cpuid_pv_feature("all", 3));
	assert_int_equal(e[1].eax, 0);
	assert_int_equal(e[0].eax, ~0U);
	/* a table without the leaf */
	cpuid_hide_pv(e, 1, ~0U);
	assert_int_equal(e[0].eax, ~0U);
}

static void test_topology(void **state)
{
	struct vmm_cpuid_entry e[VMM_MAX_CPUID];
	uint32_t n = make(e, true, 0xd);

	(void)state;
	cpuid_topology(e, &n, 2, 3);
	assert_int_equal(get(e, n, 1, 0)->ebx, 0x02045678);
	assert_int_equal(get(e, n, 1, 0)->edx, 1 << 28 | 1);
	/* a cache of each CPU; one that all share; the end of the list */
	assert_int_equal(get(e, n, 4, 0)->eax, 0x0c000121);
	assert_int_equal(get(e, n, 4, 1)->eax, 0x0c00c163);
	assert_int_equal(get(e, n, 4, 2)->eax, 0);
	assert_int_equal(get(e, n, 0x8000001d, 0)->eax, 0xc163);
	assert_int_equal(get(e, n, 0xb, 0)->eax, 0);
	assert_int_equal(get(e, n, 0xb, 0)->ebx, 1);
	assert_int_equal(get(e, n, 0xb, 0)->ecx, 0x100);
	assert_int_equal(get(e, n, 0xb, 0)->edx, 2);
	assert_int_equal(get(e, n, 0xb, 1)->eax, 2);
	assert_int_equal(get(e, n, 0xb, 1)->ebx, 3);
	assert_int_equal(get(e, n, 0xb, 1)->ecx, 0x201);
	assert_int_equal(get(e, n, 0xb, 2)->ecx, 2);
	assert_null(get(e, n, 0x1f, 0));
	assert_int_equal(get(e, n, 0x80000008, 0)->ecx, 0x2f02);
	assert_int_equal(get(e, n, 0x80000008, 0)->eax, 0x3028);
	assert_int_equal(get(e, n, 0x80000001, 0)->ecx, 1 << 22 | 2);
	assert_int_equal(get(e, n, 0x8000001e, 0)->eax, 2);
	assert_int_equal(get(e, n, 0x8000001e, 0)->ebx, 2);
	assert_int_equal(get(e, n, 0x8000001e, 0)->ecx, 0);
}

static void test_one_cpu(void **state)
{
	struct vmm_cpuid_entry e[VMM_MAX_CPUID];
	uint32_t n = make(e, true, 0xa);

	(void)state;
	cpuid_topology(e, &n, 0, 1);
	assert_int_equal(get(e, n, 1, 0)->ebx, 0x00005678);
	assert_int_equal(get(e, n, 1, 0)->edx, 1);
	assert_int_equal(get(e, n, 0x80000001, 0)->ecx, 1 << 22);
	assert_int_equal(get(e, n, 0x80000008, 0)->ecx & 0xf0ff, 0);
	/* 0xb is beyond what leaf 0 announces: left as it was */
	assert_int_equal(get(e, n, 0xb, 0)->edx, 77);
}

static void test_intel(void **state)
{
	struct vmm_cpuid_entry e[VMM_MAX_CPUID];
	uint32_t n = make(e, false, 0x1f);

	(void)state;
	cpuid_topology(e, &n, 1, 2);
	assert_int_equal(get(e, n, 0x80000001, 0)->ecx, 1 << 22 | 2);
	assert_int_equal(get(e, n, 0x8000001e, 0)->eax, 99);
	assert_int_equal(get(e, n, 0xb, 1)->ebx, 2);
}

/* a full table: what does not fit is left out, nothing is overrun */
static void test_full(void **state)
{
	struct vmm_cpuid_entry e[VMM_MAX_CPUID + 1] = { 0 };
	uint32_t n = VMM_MAX_CPUID;

	(void)state;
	make(e, true, 0xd);
	e[VMM_MAX_CPUID].eax = 0x5a5a;
	cpuid_topology(e, &n, 1, 2);
	assert_in_range(n, 1, VMM_MAX_CPUID);
	assert_int_equal(e[VMM_MAX_CPUID].eax, 0x5a5a);
}

static void test_phys_bits(void **state)
{
	struct vmm_cpuid_entry e[VMM_MAX_CPUID];
	uint32_t n = make(e, true, 0xd);

	(void)state;
	assert_int_equal(cpuid_phys_bits(e, n), 0x28);
	assert_int_equal(cpuid_phys_bits(e, 1), 36);
}

static uint64_t bv(const struct vmm_xsave *x)
{
	uint64_t v;

	memcpy(&v, x->area + 512, 8);
	return v;
}

static void test_vectors(void **state)
{
	static struct vmm_xsave x;
	uint8_t v[32], w[32];
	unsigned int i;

	(void)state;
	x.xcr0 = 7;
	x.size = 832;
	/* rubbish in components that are in their initial state reads as zero */
	memset(x.area, 0xee, sizeof(x.area));
	memset(x.area + 512, 0, 64);
	assert_int_equal(vector_get(&x, 3, v), 0);
	for (i = 0; i < 32; i++)
		assert_int_equal(v[i], 0);
	for (i = 0; i < 32; i++)
		v[i] = i + 1;
	assert_int_equal(vector_set(&x, 3, v), 0);
	assert_int_equal(bv(&x), 6);
	assert_memory_equal(x.area + 160 + 48, v, 16);
	assert_memory_equal(x.area + 576 + 48, v + 16, 16);
	assert_int_equal(vector_get(&x, 3, w), 0);
	assert_memory_equal(v, w, 32);
	/* and the neighbours are still zero */
	assert_int_equal(vector_get(&x, 4, w), 0);
	for (i = 0; i < 32; i++)
		assert_int_equal(w[i], 0);
	/* x87's part is not touched */
	assert_int_equal(x.area[0], 0xee);
	assert_int_equal(x.area[159], 0xee);
}

static void test_x87(void **state)
{
	static struct vmm_xsave x;
	uint8_t s[X87_SIZE], t[X87_SIZE];
	unsigned int i;

	(void)state;
	x.xcr0 = 3;
	x.size = 576;
	memset(x.area, 0xee, sizeof(x.area));
	memset(x.area + 512, 0, 64);
	/* in its initial state, whatever the bytes are; MXCSR is not of it */
	assert_int_equal(x87_get(&x, s), 0);
	assert_int_equal(s[0] | s[1] << 8, 0x37f);
	for (i = 2; i < sizeof(s); i++)
		assert_int_equal(s[i], i >= 24 && i < 32 ? 0xee : 0);
	for (i = 0; i < sizeof(s); i++)
		s[i] = i + 1;
	assert_int_equal(x87_set(&x, s), 0);
	assert_int_equal(bv(&x), 1);
	assert_int_equal(x87_get(&x, t), 0);
	for (i = 0; i < sizeof(t); i++)
		assert_int_equal(t[i], i >= 24 && i < 32 ? 0xee : i + 1);
	assert_int_equal(x.area[X87_SIZE], 0xee);
	x.size = 512;
	assert_int_equal(x87_get(&x, s), -EINVAL);
	assert_int_equal(x87_set(&x, s), -EINVAL);
}

static void test_vectors_without_avx(void **state)
{
	static struct vmm_xsave x;
	uint8_t v[32];

	(void)state;
	x.xcr0 = 3;
	x.size = 576;
	memset(v, 0x77, sizeof(v));
	assert_int_equal(vector_set(&x, 15, v), 0);
	assert_int_equal(bv(&x), 2);
	assert_int_equal(x.area[576], 0);
	assert_int_equal(vector_get(&x, 15, v), 0);
	assert_int_equal(v[0], 0x77);
	assert_int_equal(v[16], 0);
	assert_int_equal(vector_get(&x, 16, v), -EINVAL);
	assert_int_equal(vector_set(&x, 16, v), -EINVAL);
	x.size = 0;
	assert_int_equal(vector_get(&x, 0, v), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_pv),
		cmocka_unit_test(test_topology), cmocka_unit_test(test_one_cpu),
		cmocka_unit_test(test_intel), cmocka_unit_test(test_full),
		cmocka_unit_test(test_phys_bits), cmocka_unit_test(test_vectors),
		cmocka_unit_test(test_vectors_without_avx), cmocka_unit_test(test_x87),
	};

	return cmocka_run_group_tests_name("vcpu_tables", tests, NULL, NULL);
}
