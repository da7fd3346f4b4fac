// SPDX-License-Identifier: GPL-2.0
/*
 * XSAVES and XRSTORS: the compact area of SDM 1 13.4.3, with IA32_XSS, which has
 * no bit that a guest may set. Where CPUID does not promise them they are #UD.
 * Reports whether it does (1).
 */
#include "rt.h"

#define IA32_XSS	0xda0
#define CR4_OSXSAVE	(1ul << 18)
#define XCR0_AVX	4
#define LEGACY_SIZE	512u
#define XMM0_AT		160
#define COMPACT		(1ull << 63)
#define ROUNDS		50

/* of all components */
#define XSAVES(area)	TRY("movl $-1, %%eax; xsaves64 (%0)", "b"(area), "d"(-1))
#define XRSTORS(area)	TRY("movl $-1, %%eax; xrstors64 (%0)", "b"(area), "d"(-1))

static struct {
	u8 legacy[LEGACY_SIZE];
	u64 xstate_bv, xcomp_bv, rest[6];
	u64 extended[64];
} area __attribute__((aligned(64)));

static u32 xcr0;

static void set_xcr0(u32 v)
{
	xcr0 = v;
	asm volatile("xsetbv" : : "a"(v), "d"(0), "c"(0));
}

/* what the compact form of what XCR0 has takes */
static u32 size(void)
{
	u32 r[4];

	cpuid(0xd, 1, r);
	return r[1];
}

static void load(u64 v)
{
	asm volatile("movq %0, %%xmm0" : : "m"(v));
}

static u64 loaded(void)
{
	u64 v;

	asm volatile("movq %%xmm0, %0" : "=m"(v));
	return v;
}

static void saved_and_restored(u64 v)
{
	volatile u8 *bytes = (volatile u8 *)&area;
	u32 i;

	for (i = 0; i < sizeof(area); i++)
		bytes[i] = 0xa5;
	for (i = 0; i < 6; i++)
		WRITE(&area.rest[i], 0);	/* which XSAVES leaves alone */
	load(v);
	check(XSAVES(&area) == -1);
	check(READ(&area.xcomp_bv) == (COMPACT | xcr0));
	/* x87 may be as FNINIT leaves it */
	check((READ(&area.xstate_bv) | 1) == xcr0);
	check(*(u64 *)(area.legacy + XMM0_AT) == v);
	check(bytes[size()] == 0xa5);

	/* to the monitor and back, with other contents */
	load(~v);
	outb(0x80, 0);
	check(loaded() == ~v);
	check(XRSTORS(&area) == -1);
	check(loaded() == v);
}

/* SDM 1 13.12: what XRSTORS refuses */
static void bad_areas(void)
{
	check(XSAVES(&area) == -1);
	WRITE(&area.xcomp_bv, xcr0);		/* not compact */
	check(XRSTORS(&area) == GP);
	WRITE(&area.xcomp_bv, COMPACT | xcr0 | 1ull << 8);
	check(XRSTORS(&area) == GP);		/* a component of IA32_XSS's */
	WRITE(&area.xcomp_bv, COMPACT | xcr0);
	WRITE(&area.rest[5], 1);
	check(XRSTORS(&area) == GP);
	WRITE(&area.rest[5], 0);
	WRITE(&area.xstate_bv, xcr0 | 1ull << 9);
	check(XRSTORS(&area) == GP);
	check(XSAVES((ulong)&area + 8) == GP);
}

static void promised(void)
{
	u32 r[4], i;
	u64 v;

	check(XSAVES(&area) == UD);		/* without CR4.OSXSAVE */
	WRITE_CR(4, READ_CR(4) | CR4_OSXSAVE);
	cpuid(0xd, 1, r);
	check(!r[2] && !r[3]);
	cpuid(0xd, 0, r);
	if (r[0] & XCR0_AVX) {
		set_xcr0(7);
		check(size() == LEGACY_SIZE + 64 + 256);
	}
	/* AVX itself is left out: Bochs 2.7 neither saves nor restores it where it is */
	set_xcr0(3);
	check(size() == LEGACY_SIZE + 64);
	check(try_rdmsr(IA32_XSS, &v) == -1 && v == 0);
	check(try_wrmsr(IA32_XSS, 0) == -1);
	for (i = 0; i < 64; i++)
		check(try_wrmsr(IA32_XSS, 1ull << i) == GP);
	for (i = 1; i <= ROUNDS; i++)
		saved_and_restored(i * 0x0123456789abcdefull);
	bad_areas();
}

int main(void)
{
	u32 r[4], has = 0, xsave;

	puts("xsaves\n");
	cpuid(1, 0, r);
	xsave = r[2] >> 26 & 1;
	if (xsave) {
		cpuid(0xd, 1, r);
		has = r[0] >> 3 & 1;
	}
	report(1, has);
	if (has) {
		promised();
		return 0;
	}
	/* not for want of CR4.OSXSAVE */
	if (xsave)
		WRITE_CR(4, READ_CR(4) | CR4_OSXSAVE);
	check(XSAVES(&area) == UD);
	check(XRSTORS(&area) == UD);
	return 0;
}
