// SPDX-License-Identifier: GPL-2.0
/*
 * RDTSCP: the TSC as RDTSC has it, and the guest's own TSC_AUX, never the host's.
 * Reports whether CPUID promises it (1), and if not, what it does all the same:
 * the vector or -1 (2), and TSC_AUX (3).
 */
#include "rt.h"

#define TSC_AUX		0xc0000103
#define ROUNDS		50

static u64 rdtscp(u32 *aux)
{
	u32 lo, hi;

	asm volatile("rdtscp" : "=a"(lo), "=d"(hi), "=c"(*aux) : : "memory");
	return (u64)hi << 32 | lo;
}

static void promised(void)
{
	u64 before, now, after;
	u32 i, aux;

	rdtscp(&aux);
	check(aux == 0);
	for (i = 1; i <= ROUNDS; i++) {
		wrmsr(TSC_AUX, i * 0x1010101);
		before = rdtsc();
		now = rdtscp(&aux);
		after = rdtsc();
		check(aux == i * 0x1010101);
		check(before <= now && now <= after);
		/* to the monitor and back, where the host has its own */
		outb(0x80, 0);
		rdtscp(&aux);
		check(aux == i * 0x1010101 && rdmsr(TSC_AUX) == aux);
	}
	check(try_wrmsr(TSC_AUX, 1ull << 32) == GP);
}

static void not_promised(void)
{
	int vector = TRY("rdtscp");
	u32 aux = 0;
	u64 v;

	report(2, vector);
	if (vector == -1)
		rdtscp(&aux);
	report(3, aux);
	check(try_rdmsr(TSC_AUX, &v) == GP);
	check(try_wrmsr(TSC_AUX, 0) == GP);
}

int main(void)
{
	u32 r[4];

	puts("rdtscp\n");
	cpuid(0x80000001, 0, r);
	report(1, r[3] >> 27 & 1);
	if (r[3] >> 27 & 1)
		promised();
	else
		not_promised();
	return 0;
}
