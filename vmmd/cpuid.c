// SPDX-License-Identifier: GPL-2.0
/*
 * Topology in CPUID: one socket, one core per vCPU, one thread per core, and
 * APIC IDs 0..cpus-1. Guests cross-check these leaves against each other and
 * against the MADT, so they are all written from the same two numbers.
 */
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#include "cpuid.h"

#define EXT	0x80000000U

struct vmm_cpuid_entry *cpuid_find(const struct vmm_cpuid_entry *e, uint32_t count,
				   uint32_t function, uint32_t index)
{
	uint32_t i;

	for (i = 0; i < count; i++)
		if (e[i].function == function &&
		    (!(e[i].flags & VMM_CPUID_INDEXED) || e[i].index == index))
			return (struct vmm_cpuid_entry *)&e[i];
	return NULL;
}

static struct vmm_cpuid_entry *add(struct vmm_cpuid_entry *e, uint32_t *count,
				   uint32_t function, uint32_t index,
				   uint32_t flags)
{
	struct vmm_cpuid_entry *n;

	if (*count >= VMM_MAX_CPUID)
		return NULL;
	n = &e[(*count)++];
	*n = (struct vmm_cpuid_entry){
		.function = function, .index = index, .flags = flags,
	};
	return n;
}

static void drop(struct vmm_cpuid_entry *e, uint32_t *count, uint32_t function)
{
	uint32_t i, n = 0;

	for (i = 0; i < *count; i++)
		if (e[i].function != function)
			e[n++] = e[i];
	*count = n;
}

/* is `function` at or below the highest leaf that the table announces */
static bool announced(struct vmm_cpuid_entry *e, uint32_t count,
		      uint32_t function)
{
	const struct vmm_cpuid_entry *max = cpuid_find(e, count, function & EXT, 0);

	return max && max->eax >= function;
}

/* bits needed for 0..n-1 */
static unsigned int bits_for(unsigned int n)
{
	unsigned int bits = 0;

	while ((1U << bits) < n)
		bits++;
	return bits;
}

static void put(uint32_t *reg, unsigned int shift, unsigned int bits,
		uint32_t value)
{
	uint32_t mask = ((1U << bits) - 1) << shift;

	*reg = (*reg & ~mask) | ((value << shift) & mask);
}

static void features(struct vmm_cpuid_entry *e, uint32_t count,
		     unsigned int id, unsigned int cpus)
{
	struct vmm_cpuid_entry *n = cpuid_find(e, count, 1, 0);

	if (!n)
		return;
	put(&n->ebx, 24, 8, id);	/* initial APIC ID */
	put(&n->ebx, 16, 8, cpus > 1 ? 1U << bits_for(cpus) : 0);
	put(&n->edx, 28, 1, cpus > 1);	/* HTT: the field above is valid */
}

/*
 * SDM 2A CPUID.4 and APM 3 8000_001D have one layout: EAX[4:0] cache type,
 * [7:5] level, [25:14] CPUs that share it - 1, Intel's [31:26] cores - 1.
 */
static void caches(struct vmm_cpuid_entry *e, uint32_t count,
		   uint32_t function, unsigned int cpus)
{
	uint32_t i, level;

	for (i = 0; i < count; i++) {
		if (e[i].function != function || !(e[i].eax & 0x1f))
			continue;
		level = (e[i].eax >> 5) & 7;
		put(&e[i].eax, 14, 12,
		    level >= 3 ? (1U << bits_for(cpus)) - 1 : 0);
		if (function == 4)
			put(&e[i].eax, 26, 6, (1U << bits_for(cpus)) - 1);
	}
}

/* SDM 2A CPUID.0BH: level 0 the threads of a core, level 1 the cores */
static void extended(struct vmm_cpuid_entry *e, uint32_t *count,
		     unsigned int id, unsigned int cpus)
{
	struct vmm_cpuid_entry *n;
	unsigned int level;

	drop(e, count, 0x1f);
	if (!announced(e, *count, 0xb))
		return;
	drop(e, count, 0xb);
	for (level = 0; level < 3; level++) {
		n = add(e, count, 0xb, level, VMM_CPUID_INDEXED);
		if (!n)
			return;
		n->edx = id;
		n->ecx = level;
		if (level == 2)		/* type 0 ends the list */
			break;
		n->ecx |= (level + 1) << 8;
		n->eax = level ? bits_for(cpus) : 0;
		n->ebx = level ? cpus : 1;
	}
}

/* APM 3 8000_0001, 8000_0008, 8000_001E */
static void amd(struct vmm_cpuid_entry *e, uint32_t *count, unsigned int id,
		unsigned int cpus)
{
	struct vmm_cpuid_entry *n;

	n = cpuid_find(e, *count, EXT + 8, 0);
	if (n) {
		put(&n->ecx, 0, 8, cpus - 1);		/* NC */
		put(&n->ecx, 12, 4, bits_for(cpus));	/* ApicIdSize */
	}
	n = cpuid_find(e, *count, EXT + 1, 0);
	if (!n)
		return;
	put(&n->ecx, 1, 1, cpus > 1);			/* CmpLegacy */
	if (!(n->ecx & (1U << 22)))			/* TopologyExtensions */
		return;
	drop(e, count, EXT + 0x1e);
	n = add(e, count, EXT + 0x1e, 0, 0);
	if (n) {
		n->eax = id;
		n->ebx = id;		/* core id; one thread per core */
	}
}

void cpuid_topology(struct vmm_cpuid_entry *e, uint32_t *count,
		    unsigned int id, unsigned int cpus)
{
	const struct vmm_cpuid_entry *n = cpuid_find(e, *count, 0, 0);
	/* "Auth" of AuthenticAMD, "Hygo" of HygonGenuine */
	bool is_amd = n && (n->ebx == 0x68747541 || n->ebx == 0x6f677948);

	features(e, *count, id, cpus);
	caches(e, *count, 4, cpus);
	caches(e, *count, EXT + 0x1d, cpus);
	extended(e, count, id, cpus);
	if (is_amd)
		amd(e, count, id, cpus);
}

/* KVM's features, Documentation/virt/kvm/x86/cpuid.rst */
#define KVM_LEAF	0x40000001

static const struct {
	const char *name;
	uint32_t bits;
} pv_features[] = {
	{ "clock",	1U << 0 | 1U << 3 | 1U << 24 },
	{ "steal-time",	1U << 5 },
	{ "eoi",	1U << 6 },
	{ "unhalt",	1U << 7 },
	{ "tlb-flush",	1U << 9 },
	{ "ipi",	1U << 11 },
	{ "poll",	1U << 12 },
	{ "yield",	1U << 13 },
	{ "all",	~0U },
};

uint32_t cpuid_pv_feature(const char *name, size_t len)
{
	size_t i;

	for (i = 0; i < sizeof(pv_features) / sizeof(pv_features[0]); i++)
		if (strlen(pv_features[i].name) == len &&
		    !memcmp(pv_features[i].name, name, len))
			return pv_features[i].bits;
	return 0;
}

void cpuid_hide_pv(struct vmm_cpuid_entry *e, uint32_t count, uint32_t bits)
{
	struct vmm_cpuid_entry *n = cpuid_find(e, count, KVM_LEAF, 0);

	if (n)
		n->eax &= ~bits;
}

unsigned int cpuid_phys_bits(const struct vmm_cpuid_entry *e, uint32_t count)
{
	uint32_t i;

	for (i = 0; i < count; i++)
		if (e[i].function == EXT + 8 && (e[i].eax & 0xff))
			return e[i].eax & 0xff;
	return 36;
}
