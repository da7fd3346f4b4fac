// SPDX-License-Identifier: GPL-2.0
/* Whether a guest can go on here: what is missing is named. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "state/vmstate.h"

enum { EAX, EBX, ECX, EDX };

/* all that features.c looks at, and bits that it must not */
static const struct {
	uint32_t function, index, flags;
	unsigned int reg;
	uint32_t not_features;
} leaves[] = {
	{ 1, 0, 0, ECX, 1U << 27 },
	{ 1, 0, 0, EDX, 1U << 9 | 1U << 28 },
	{ 6, 0, 0, EAX, 0 },
	{ 7, 0, VMM_CPUID_INDEXED, EBX, 0 },
	{ 7, 0, VMM_CPUID_INDEXED, ECX, 1U << 4 },
	{ 7, 0, VMM_CPUID_INDEXED, EDX, 0 },
	{ 0xd, 0, VMM_CPUID_INDEXED, EAX, 0 },
	{ 0xd, 1, VMM_CPUID_INDEXED, EAX, 0 },
	{ 0x40000001, 0, 0, EAX, 0 },
	{ 0x80000001, 0, 0, ECX, 1U << 1 },
	{ 0x80000001, 0, 0, EDX, 1U << 9 },
	{ 0x80000007, 0, 0, EDX, 0 },
	{ 0x80000008, 0, 0, EBX, 0 },
	{ 7, 1, VMM_CPUID_INDEXED, EAX, 0 },
	{ 0x80000021, 0, 0, EAX, 0 },
};

#define LEAVES	(sizeof(leaves) / sizeof(leaves[0]))

static struct vmm_cpuid_entry host[LEAVES], guest[LEAVES];
static uint32_t count;
static struct state_cpuid cpuid[2];
static struct vmstate st;
static struct vmm_info info;
static char err[512];

static uint32_t *reg(struct vmm_cpuid_entry *e, unsigned int r)
{
	return r == EAX ? &e->eax : r == EBX ? &e->ebx : r == ECX ? &e->ecx : &e->edx;
}

static struct vmm_cpuid_entry *leaf(struct vmm_cpuid_entry *table, size_t l)
{
	uint32_t i;

	for (i = 0; i < count; i++)
		if (table[i].function == leaves[l].function && table[i].index == leaves[l].index)
			return &table[i];
	table[count] = (struct vmm_cpuid_entry){
		.function = leaves[l].function, .index = leaves[l].index,
		.flags = leaves[l].flags,
	};
	return &table[count];
}

/* every bit set on both sides */
static int setup(void **state)
{
	size_t l;

	count = 0;
	for (l = 0; l < LEAVES; l++) {
		struct vmm_cpuid_entry *e = leaf(host, l);

		*reg(e, leaves[l].reg) = ~0U;
		if (e == &host[count])
			count++;
	}
	for (l = 0; l < count; l++)
		if (host[l].function == 0x80000008)
			host[l].eax = 48;
	memcpy(guest, host, sizeof(guest));
	cpuid[0] = cpuid[1] = (struct state_cpuid){ .entry = guest, .count = count };
	st = (struct vmstate){
		.ident = { .vendor = VMM_VENDOR_SVM, .tsc_khz = 2000000, .vcpus = 1,
			   .abi_version = VMM_ABI_VERSION },
		.cpuid = cpuid,
	};
	info = (struct vmm_info){ .vendor = VMM_VENDOR_SVM, .tsc_khz = 2000000 };
	err[0] = 0;
	return 0;
}

static int check(void)
{
	err[0] = 0;
	return vmstate_check_host(&st, &info, host, count, err, sizeof(err));
}

static void refused(const char *what)
{
	assert_int_equal(check(), -ENOTSUP);
	if (!strstr(err, what) || strchr(err, '\n'))
		fail_msg("wanted '%s', found '%s'", what, err);
}

static void test_same(void **state)
{
	assert_int_equal(check(), 0);
}

/* a host with more is fine; with each one less it is not, and that one is named */
static void test_each_feature(void **state)
{
	static const char *const names[] = { "eax", "ebx", "ecx", "edx" };
	unsigned int bit;
	char what[64];
	size_t l;

	for (l = 0; l < LEAVES; l++) {
		uint32_t *h = reg(leaf(host, l), leaves[l].reg);
		uint32_t *g = reg(leaf(guest, l), leaves[l].reg);

		for (bit = 0; bit < 32; bit++) {
			*g &= ~(1U << bit);
			assert_int_equal(check(), 0);
			*g |= 1U << bit;
			*h &= ~(1U << bit);
			snprintf(what, sizeof(what), "the CPU feature %x.%x.%s.%u",
				 leaves[l].function, leaves[l].index, names[leaves[l].reg], bit);
			if (leaves[l].not_features >> bit & 1)
				assert_int_equal(check(), 0);
			else
				refused(what);
			*h |= 1U << bit;
		}
	}
}

static void test_names(void **state)
{
	static const struct {
		size_t leaf;
		unsigned int bit;
		const char *name;
	} t[] = {
		{ 0, 0, "SSE3" }, { 0, 28, "AVX" }, { 0, 30, "RDRAND" }, { 0, 16, "1.0.ecx.16" },
		{ 1, 26, "SSE2" }, { 2, 2, "ARAT" }, { 3, 5, "AVX2" }, { 3, 7, "SMEP" },
		{ 3, 20, "SMAP" }, { 3, 29, "SHA" }, { 4, 3, "PKU" }, { 4, 22, "RDPID" },
		{ 4, 28, "MOVDIR64B" }, { 5, 4, "FSRM" }, { 5, 29, "ARCH_CAPABILITIES" },
		{ 5, 31, "SSBD" }, { 6, 2, "AVX state" }, { 6, 9, "PKRU state" }, { 7, 3, "XSAVES" },
		{ 8, 24, "KVM stable clock" }, { 8, 6, "KVM PV EOI" }, { 9, 22, "TopologyExtensions" },
		{ 9, 0, "LAHF" }, { 10, 20, "NX" }, { 10, 26, "1 GiB pages" }, { 10, 29, "long mode" },
		{ 11, 8, "invariant TSC" }, { 12, 0, "CLZERO" }, { 12, 12, "IBPB" }, { 12, 24, "SSBD" },
		{ 13, 5, "AVX512_BF16" }, { 14, 8, "AutoIBRS" },
	};
	size_t i;

	for (i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		uint32_t *h = reg(leaf(host, t[i].leaf), leaves[t[i].leaf].reg);
		char what[80];

		*h &= ~(1U << t[i].bit);
		snprintf(what, sizeof(what), "%s, which this host has not", t[i].name);
		refused(what);
		*h |= 1U << t[i].bit;
	}
}

/* what the host does not say, it has not */
static void test_missing_leaves(void **state)
{
	uint32_t all = count, i;

	for (i = 0; i < all; i++) {
		struct vmm_cpuid_entry was = host[i];

		host[i].function = 0x1234567;
		refused(was.function == 0x80000008 ? "physical addresses of 48 bits, this host has 36" :
						     "which this host has not");
		host[i] = was;
		/* and what the guest was not given, it does not miss */
		was = guest[i];
		guest[i].function = 0x1234567;
		assert_int_equal(check(), 0);
		guest[i] = was;
	}
}

/* a state may say of each of them what it likes */
static void test_each_vcpu(void **state)
{
	static struct vmm_cpuid_entry less[LEAVES];

	memcpy(less, guest, sizeof(less));
	*reg(leaf(less, 3), leaves[3].reg) = 0;
	*reg(leaf(host, 3), leaves[3].reg) = 0;
	st.ident.vcpus = 2;
	refused("which this host has not");
	cpuid[0].entry = less;
	refused("which this host has not");
	cpuid[1].entry = less;
	assert_int_equal(check(), 0);
	leaf(host, 12)->eax = 40;
	cpuid[0].count = 0;
	refused("physical addresses of 48 bits, this host has 40");
}

static void test_vendor(void **state)
{
	info.vendor = VMM_VENDOR_VMX;
	refused("with SVM, this host's has VT-x");
	st.ident.vendor = VMM_VENDOR_VMX;
	assert_int_equal(check(), 0);
	info.vendor = VMM_VENDOR_SVM;
	refused("with VT-x, this host's has SVM");
}

static void test_tsc(void **state)
{
	info.tsc_khz = 2000500;
	assert_int_equal(check(), 0);
	info.tsc_khz = 1999501;
	assert_int_equal(check(), 0);
	info.tsc_khz = 2000501;
	refused("a TSC of 2000000 kHz, this host's has 2000501");
	info.tsc_khz = 1999499;
	refused("a TSC of 2000000 kHz, this host's has 1999499");
	info.tsc_khz = 0xffffffff;
	refused("TSC");
	info.tsc_khz = 0;
	refused("TSC");
	st.ident.tsc_khz = 0xffffffff;
	info.tsc_khz = 2000000;
	refused("a TSC of 4294967295 kHz");
}

static void test_phys_bits(void **state)
{
	uint32_t i;

	for (i = 0; host[i].function != 0x80000008; i++)
		;
	host[i].eax = 52;
	assert_int_equal(check(), 0);
	host[i].eax = 47;
	refused("physical addresses of 48 bits, this host has 47");
	guest[i].eax = 40;
	assert_int_equal(check(), 0);
}

#define T(name) cmocka_unit_test_setup(name, setup)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_same), T(test_each_feature), T(test_names), T(test_missing_leaves),
		T(test_each_vcpu), T(test_vendor), T(test_tsc), T(test_phys_bits),
	};

	return cmocka_run_group_tests_name("vmstate_host", tests, NULL, NULL);
}
