// SPDX-License-Identifier: GPL-2.0
/* A guest is given what two hosts have: what one prints, the other one reads. */
#define _GNU_SOURCE 1
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "cpuid.h"
#include "features.h"

#define INDEXED	VMM_CPUID_INDEXED

static char path[] = "/tmp/vmm-features-XXXXXX", err[512];

/* SSE3, AVX, OSXSAVE; SMEP, AVX2, PKU; x87, SSE, AVX and PKRU state; XSAVES with PT's */
static const struct vmm_cpuid_entry big[] = {
	{ .function = 0, .eax = 0xd },
	{ .function = 1, .ecx = 1U << 0 | 1U << 28 | 1U << 27, .edx = 1U << 9 },
	{ .function = 7, .flags = INDEXED, .ebx = 1U << 5 | 1U << 7, .ecx = 1U << 3 | 1U << 4 },
	{ .function = 0xd, .flags = INDEXED, .eax = 0x207, .ebx = 576, .ecx = 2696 },
	{ .function = 0xd, .index = 1, .flags = INDEXED, .eax = 0xf, .ecx = 1U << 8 },
	{ .function = 0xd, .index = 2, .flags = INDEXED, .eax = 256, .ebx = 576 },
	{ .function = 0xd, .index = 8, .flags = INDEXED, .eax = 128, .ecx = 1 },
	{ .function = 0xd, .index = 9, .flags = INDEXED, .eax = 8, .ebx = 2688 },
	{ .function = 0x80000008, .eax = 48 | 48 << 8 },
};

#define N	(sizeof(big) / sizeof(big[0]))

static void write_list(const char *text)
{
	FILE *f = fopen(path, "w");

	assert_non_null(f);
	fputs(text, f);
	fclose(f);
}

static void print(const struct vmm_cpuid_entry *e, uint32_t count)
{
	FILE *f = fopen(path, "w");

	assert_non_null(f);
	assert_int_equal(features_print(f, e, count), 0);
	fclose(f);
}

static uint32_t keep(struct vmm_cpuid_entry *e)
{
	struct features *l = features_read(path, err, sizeof(err));
	uint32_t count = N;

	if (!l)
		fail_msg("%s", err);
	memcpy(e, big, sizeof(big));
	features_keep(l, e, &count);
	free(l);
	return count;
}

static int setup(void **state)
{
	strcpy(path, "/tmp/vmm-features-XXXXXX");
	close(mkstemp(path));
	return 0;
}

static int teardown(void **state)
{
	unlink(path);
	return 0;
}

static void test_all(void **state)
{
	struct vmm_cpuid_entry e[N];
	char name[80];

	print(big, N);
	assert_int_equal(keep(e), N);
	assert_memory_equal(e, big, sizeof(big));
	assert_false(features_missing(e, N, big, N, name, sizeof(name)));
}

static void test_text(void **state)
{
	char text[4096];
	FILE *f;
	size_t n;

	print(big, N);
	f = fopen(path, "r");
	n = fread(text, 1, sizeof(text) - 1, f);
	fclose(f);
	text[n] = 0;
	assert_non_null(strstr(text, "1.0.ecx.28 AVX\n"));
	assert_non_null(strstr(text, "7.0.ebx.7 SMEP\n"));
	assert_non_null(strstr(text, "d.0.eax.9 PKRU state\n"));
	assert_non_null(strstr(text, "\naddress-bits 48\n"));
	/* which follow what the guest does */
	assert_null(strstr(text, "OSXSAVE"));
	assert_null(strstr(text, "OSPKE"));
}

/* without AVX: no AVX state, and an area that is smaller; PKRU's stays where it is */
static void test_less(void **state)
{
	struct vmm_cpuid_entry e[N];
	char name[80];
	uint32_t n;

	write_list("# another host's\n1.0.ecx.0 SSE3\n\n7.0.ebx.7 SMEP\n7.0.ecx.3\n"
		   "d.0.eax.0\nd.0.eax.1\nd.0.eax.9\nd.1.eax.0\nd.1.eax.1\n"
		   "7.2.edx.31 one of tomorrow\naddress-bits 40\n");
	n = keep(e);
	assert_int_equal(n, N - 1);
	assert_null(cpuid_find(e, n, 0xd, 2));
	assert_non_null(cpuid_find(e, n, 0xd, 8));
	assert_non_null(cpuid_find(e, n, 0xd, 9));
	assert_int_equal(cpuid_find(e, n, 1, 0)->ecx, 1U << 0 | 1U << 27);
	assert_int_equal(cpuid_find(e, n, 7, 0)->ebx, 1U << 7);
	assert_int_equal(cpuid_find(e, n, 7, 0)->ecx, 1U << 3 | 1U << 4);
	assert_int_equal(cpuid_find(e, n, 0xd, 0)->eax, 0x203);
	assert_int_equal(cpuid_find(e, n, 0xd, 0)->ecx, 2696);
	assert_int_equal(cpuid_find(e, n, 0xd, 1)->eax, 3);
	assert_int_equal(cpuid_phys_bits(e, n), 40);
	assert_int_equal(cpuid_find(e, n, 0x80000008, 0)->eax >> 8, 48);
	assert_false(features_missing(e, n, big, N, name, sizeof(name)));
	assert_true(features_missing(big, N, e, n, name, sizeof(name)));
	assert_string_equal(name, "1.0.ecx.28 AVX");
}

static void test_nothing(void **state)
{
	struct vmm_cpuid_entry e[N];
	uint32_t n;

	write_list("d.0.eax.0\nd.0.eax.1\n");
	n = keep(e);
	assert_int_equal(cpuid_find(e, n, 0xd, 0)->ecx, 576);
	assert_int_equal(cpuid_find(e, n, 1, 0)->ecx, 1U << 27);
	assert_int_equal(cpuid_phys_bits(e, n), 48);
}

static void refused(const char *text, const char *wanted)
{
	write_list(text);
	assert_null(features_read(path, err, sizeof(err)));
	if (!strstr(err, wanted))
		print_error("%s\n", err);
	assert_non_null(strstr(err, wanted));
	assert_null(strchr(err, '\n'));
}

static void test_bad(void **state)
{
	refused("AVX\n", "line 1 is no feature as vmmd features prints them: 'AVX'");
	refused("1.0.ecx.0\n1.0.ecx.32\n", "line 2");
	refused("1.0.efx.1\n", "line 1");
	refused("1.0.ecx\n", "line 1");
	refused("address-bits 8\n", "line 1");
	refused("address-bits\n", "line 1");
	unlink(path);
	assert_null(features_read(path, err, sizeof(err)));
	assert_non_null(strstr(err, "No such file"));
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_all), T(test_text), T(test_less), T(test_nothing), T(test_bad),
	};

	return cmocka_run_group_tests_name("features", tests, NULL, NULL);
}
