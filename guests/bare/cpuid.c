// SPDX-License-Identifier: GPL-2.0
/* CPUID as a guest may rely on it, and its parts that follow CR4 and XCR0. */
#include "rt.h"

#define CR4_OSXSAVE	(1ul << 18)

static u32 r[4];

static void signature(void)
{
	u32 max;

	cpuid(0x40000000, 0, r);
	max = r[0];
	check(max >= 0x40000001);
	/* "KVMKVMKVM\0\0\0" */
	check(r[1] == 0x4b4d564b && r[2] == 0x564b4d56 && r[3] == 0x4d);
	cpuid(1, 0, r);
	check(r[2] & 1u << 31);			/* hypervisor */
	check(r[1] >> 24 == 0);			/* APIC ID of CPU 0 */
	check(r[3] & 1 << 9);			/* APIC */
	check(!(r[2] & 1 << 5));		/* VMX */
	check(!(r[2] & 1 << 3));		/* MONITOR */
	cpuid(0x80000001, 0, r);
	check(!(r[2] & 1 << 2));		/* SVM */
	check(r[3] & 1 << 29);			/* long mode */
}

static void outside(void)
{
	u32 last[4], max;
	int intel;

	cpuid(0, 0, r);
	max = r[0];
	check(max >= 1 && max < 0x100);
	intel = r[1] == 0x756e6547;		/* "Genu" */
	cpuid(0x80000000, 0, r);
	check(r[0] >= 0x80000008);
	cpuid(max, 0, last);
	cpuid(0x8000000a, 0, r);		/* SVM's own leaf */
	/* beyond the last: AMD has nothing there, Intel the last basic leaf */
	if (intel)
		check(r[0] == last[0] && r[1] == last[1] && r[2] == last[2] && r[3] == last[3]);
	else
		check(!r[0] && !r[1] && !r[2] && !r[3]);
}

static u64 xgetbv0(void)
{
	u32 lo, hi;

	asm volatile(".byte 0x0f, 0x01, 0xd0" : "=a"(lo), "=d"(hi) : "c"(0));
	return (u64)hi << 32 | lo;
}

#define XSETBV(v)							\
	TRY("movl %%ebx, %%eax; xorl %%ecx, %%ecx; .byte 0x0f, 0x01, 0xd1", \
	    "b"((u32)(v)), "d"(0))

/* OSXSAVE follows CR4, the size of the XSAVE area follows XCR0 */
static void xsave(void)
{
	u32 supported;

	cpuid(1, 0, r);
	check(!(r[2] & 1 << 27));
	report(1, r[2] >> 26 & 1);
	if (!(r[2] & 1 << 26)) {
		check(TRY("mov %0, %%cr4", "b"(READ_CR(4) | CR4_OSXSAVE)) == GP);
		return;
	}
	WRITE_CR(4, READ_CR(4) | CR4_OSXSAVE);
	cpuid(1, 0, r);
	check(r[2] & 1 << 27);
	check(xgetbv0() == 1);
	cpuid(0xd, 0, r);
	supported = r[0];
	check((supported & 3) == 3);
	check(r[1] == 576);
	check(XSETBV(3) == -1);
	check(xgetbv0() == 3);
	check(XSETBV(2) == GP);			/* x87 must be there */
	check(XSETBV(0x80000003) == GP);
	check(xgetbv0() == 3);
	if (supported & 4) {
		check(XSETBV(5) == GP);		/* AVX without SSE */
		check(XSETBV(7) == -1);
		cpuid(0xd, 0, r);
		check(r[1] == 576 + 256);
		check(r[2] >= 576 + 256);
	}
	report(2, xgetbv0());
}

int main(void)
{
	puts("cpuid\n");
	signature();
	outside();
	xsave();
	return 0;
}
