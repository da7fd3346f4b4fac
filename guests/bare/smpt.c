// SPDX-License-Identifier: GPL-2.0
/*
 * Page tables that change while they are in use: a window of 4 KiB pages is
 * remapped, INVLPG'd and read through, arg(1) times; then with CR3 writes,
 * global pages, splitting a large page, and code that moves.
 */
#include "rt.h"

#define PT		0x200000	/* page table of the window */
#define FRAMES		0x210000	/* 16 pages of marked memory */
#define WINDOW		0x40000000ul	/* 1 GiB: its own PD entry */
#define PAGE		0x1000ul
#define N		16
#define CR4_PGE		0x80ul

static volatile u64 *pt, *pd;

static void invlpg(ulong va)
{
	asm volatile("invlpg (%0)" : : "r"(va) : "memory");
}

static u64 mark(u32 frame)
{
	return 0x5a5a000000000000ull | frame;
}

static void setup(void)
{
	u32 i;

	pt = phys(PT);
	pd = phys(GUEST_PD);
	for (i = 0; i < N; i++)
		*(volatile u64 *)phys(FRAMES + i * PAGE) = mark(i);
	for (i = 0; i < 512; i++)
		pt[i] = 0;
	pd[WINDOW >> 21] = PT | 7;
	WRITE_CR(3, READ_CR(3));
}

static u64 peek(u32 page)
{
	return *(volatile u64 *)phys(WINDOW + page * PAGE);
}

static void remap(u32 rounds)
{
	u32 i, frame, page;

	for (i = 0; i < rounds; i++) {
		page = i % N;
		frame = i * 7 % N;
		pt[page] = (FRAMES + frame * PAGE) | 7;
		invlpg(WINDOW + page * PAGE);
		check(peek(page) == mark(frame));
		/* a store goes where the load came from */
		*(volatile u32 *)phys(WINDOW + page * PAGE + 8) = i;
		check(*(volatile u32 *)phys(FRAMES + frame * PAGE + 8) == i);
		/* gone after the next INVLPG, with the address in CR2 */
		if (i % 5)
			continue;
		pt[page] = 0;
		invlpg(WINDOW + page * PAGE);
		check(TRY("movl (%0), %%eax", "b"(WINDOW + page * PAGE)) == PF);
		check(last.cr2 == WINDOW + page * PAGE);
	}
}

/* accessed and dirty bits appear when they should */
static void accessed(void)
{
	pt[0] = FRAMES | 3;
	invlpg(WINDOW);
	peek(0);
	check((pt[0] & 0x60) == 0x20);
	*(volatile u32 *)phys(WINDOW + 8) = 1;
	check((pt[0] & 0x60) == 0x60);
}

static void by_cr3(void)
{
	u32 i;

	for (i = 0; i < 100; i++) {
		pt[1] = (FRAMES + i % N * PAGE) | 3;
		WRITE_CR(3, READ_CR(3));
		check(peek(1) == mark(i % N));
	}
}

/* CR4.PGE off and on flushes global pages, INVLPG does too */
static void global(void)
{
	WRITE_CR(4, READ_CR(4) | CR4_PGE);
	pt[2] = FRAMES | 0x103;
	invlpg(WINDOW + 2 * PAGE);
	check(peek(2) == mark(0));
	pt[2] = (FRAMES + PAGE) | 0x103;
	invlpg(WINDOW + 2 * PAGE);
	check(peek(2) == mark(1));
	pt[2] = (FRAMES + 2 * PAGE) | 0x103;
	WRITE_CR(4, READ_CR(4) & ~CR4_PGE);
	WRITE_CR(4, READ_CR(4) | CR4_PGE);
	check(peek(2) == mark(2));
	WRITE_CR(4, READ_CR(4) & ~CR4_PGE);
}

/* a large page becomes 512 small ones, in use, and back */
static void split(void)
{
	u32 i;

	pd[WINDOW >> 21] = 0x200000 | 0x87;
	WRITE_CR(3, READ_CR(3));
	check(*(volatile u64 *)phys(WINDOW + FRAMES - 0x200000) == mark(0));
	for (i = 0; i < 512; i++)
		pt[i] = (0x200000 + i * PAGE) | 7;
	pd[WINDOW >> 21] = PT | 7;
	WRITE_CR(3, READ_CR(3));
	for (i = 0; i < N; i++)
		check(*(volatile u64 *)phys(WINDOW + FRAMES - 0x200000 + i * PAGE) ==
		      mark(i));
}

/* code that is rewritten and moved to another frame: mov $imm, %eax; ret */
static void code(void)
{
	u32 i;

	for (i = 0; i < 50; i++) {
		ulong frame = FRAMES + (N + i % 2) * PAGE;
		u8 *c = phys(frame);
		u32 v;

		c[0] = 0xb8;
		*(volatile u32 *)(c + 1) = i;
		c[5] = 0xc3;
		pt[3] = frame | 3;
		invlpg(WINDOW + 3 * PAGE);
		asm volatile("call *%1" : "=a"(v)
			     : "r"(WINDOW + 3 * PAGE) : "memory");
		check(v == i);
	}
}

int main(void)
{
	puts("smpt\n");
	setup();
	remap(arg(1));
	accessed();
	by_cr3();
	global();
	split();
	code();
	return 0;
}
