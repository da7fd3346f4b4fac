// SPDX-License-Identifier: GPL-2.0
/*
 * INVPCID: each of its types takes the translations that it says, of the PCID that
 * it says, and a bad descriptor faults (SDM 2A). Reports whether CPUID promises
 * INVPCID (1) and PCIDs (2).
 */
#include "rt.h"

#define PT		0x200000	/* page table of the window */
#define FRAMES		0x210000
#define WINDOW		0x40000000ul
#define PAGE		0x1000ul
#define PCID		5ul
#define CR4_PGE		(1ul << 7)
#define CR4_PCIDE	(1ul << 17)
#define CR3_KEEP	(1ul << 63)	/* MOV to CR3 flushes nothing */
#define GLOBAL		0x100

enum { ADDRESS, SINGLE, ALL, ALL_BUT_GLOBAL };

static volatile u64 *pt;

struct descriptor {
	u64 pcid, address;
};

static int invpcid(ulong type, u64 pcid, u64 address)
{
	struct descriptor d = { pcid, address };

	return TRY("invpcid (%0), %1", "b"(&d), "d"(type), "m"(d));
}

static u64 peek(u32 page)
{
	return *(volatile u64 *)phys(WINDOW + page * PAGE);
}

/* another frame than before, behind the TLB's back */
static void remap(u32 page, u64 flags)
{
	u64 frame = (pt[page] >> 12 & 1) ^ 1;

	pt[page] = (FRAMES + frame * PAGE) | 3 | flags;
}

/* after the flush, and not earlier than that, the new frame must be seen */
static void flushes(ulong type, u64 flags, u64 pcid)
{
	u64 old = peek(0);

	remap(0, flags);
	check(invpcid(type, pcid, WINDOW) == -1);
	check(peek(0) != old);
}

static void setup(void)
{
	pt = phys(PT);
	*(volatile u64 *)phys(FRAMES) = 0x1111;
	*(volatile u64 *)phys(FRAMES + PAGE) = 0x2222;
	pt[0] = FRAMES | 3;
	((volatile u64 *)phys(GUEST_PD))[WINDOW >> 21] = PT | 7;
	WRITE_CR(3, READ_CR(3));
}

static void types(u64 pcid)
{
	u32 i;

	for (i = 0; i < 20; i++) {
		flushes(ADDRESS, 0, pcid);
		flushes(SINGLE, 0, pcid);
		flushes(ALL, 0, 0);
		flushes(ALL_BUT_GLOBAL, 0, 0);
	}
	/* global ones: by address, or with all */
	WRITE_CR(4, READ_CR(4) | CR4_PGE);
	for (i = 0; i < 20; i++)
		flushes(ALL, GLOBAL, 0);
	WRITE_CR(4, READ_CR(4) & ~CR4_PGE);
}

static void bad_descriptors(int pcids)
{
	check(invpcid(4, 0, 0) == GP);
	check(invpcid(~0ul, 0, 0) == GP);
	check(invpcid(ADDRESS, 1 << 12, 0) == GP);
	check(invpcid(ALL, 1 << 12, 0) == GP);
	check(invpcid(ADDRESS, 0, 1ull << 63) == GP);
	/* without CR4.PCIDE there is none but 0 */
	check(invpcid(SINGLE, 1, 0) == GP);
	check(invpcid(ADDRESS, 1, 0) == GP);
	if (!pcids)
		check(TRY("mov %0, %%cr4", "b"(READ_CR(4) | CR4_PCIDE)) == GP);
}

/* a translation of another PCID than the current one */
static void of_another(void)
{
	ulong cr3 = READ_CR(3);
	u64 old;
	u32 i;

	for (i = 0; i < 20; i++) {
		WRITE_CR(3, cr3 | PCID | CR3_KEEP);
		old = peek(0);
		WRITE_CR(3, cr3 | CR3_KEEP);
		remap(0, 0);
		check(invpcid(SINGLE, PCID, 0) == -1);
		WRITE_CR(3, cr3 | PCID | CR3_KEEP);
		check(peek(0) != old);
		types(PCID);
		WRITE_CR(3, cr3);
	}
}

int main(void)
{
	u32 r[4], has, pcids;

	puts("invpcid\n");
	cpuid(1, 0, r);
	pcids = r[2] >> 17 & 1;
	cpuid(7, 0, r);
	has = r[1] >> 10 & 1;
	report(1, has);
	report(2, pcids);
	if (!has)
		return 0;
	setup();
	types(0);
	bad_descriptors(pcids);
	if (pcids) {
		WRITE_CR(4, READ_CR(4) | CR4_PCIDE);
		of_another();
	}
	return 0;
}
