// SPDX-License-Identifier: GPL-2.0
/*
 * CPUID in pages that change behind the same address: by their table's entry, by
 * another table, in place. Its length is that of the bytes that are there now,
 * or it goes on in the middle of something.
 */
#include "rt.h"

#define VA	0x40000000ull
#define TABLE	GUEST_FREE		/* two of them */
#define CODE	(GUEST_FREE + 0x2000)	/* two pages */
#define ROUNDS	40

static volatile u64 *const pde = (u64 *)(GUEST_PD + 0x1000ul);

static volatile u64 *pte(int table, int page)
{
	return phys(TABLE + table * 0x1000 + page * 8);
}

/* CPUID with n prefixes, then RET */
static void put(u64 at, int n)
{
	volatile u8 *p = phys(at);

	while (n--)
		*p++ = 0x66;
	*p++ = 0x0f;
	*p++ = 0xa2;
	*p++ = 0xc3;
}

static void clear(void)
{
	volatile u8 *p = phys(CODE);
	int i;

	for (i = 0; i < 0x2000; i++)
		p[i] = 0xcc;
}

static void invlpg(void)
{
	asm volatile("invlpg (%0)" : : "r"(VA) : "memory");
}

static void call(u64 va)
{
	u32 max = 0;

	asm volatile("call *%2" : "+a"(max) : "c"(0), "r"(va) : "ebx", "edx", "memory");
	check(max);
}

int main(void)
{
	int i;

	clear();
	for (i = 0; i < ROUNDS; i++) {
		put(CODE, 0);
		put(CODE + 0x1000, 1 + i % 5);
		*pte(0, 0) = CODE | 7;
		*pte(0, 1) = (CODE + 0x1000) | 7;
		*pte(1, 0) = (CODE + 0x1000) | 7;
		*pde = TABLE | 7;
		WRITE_CR(3, READ_CR(3));
		call(VA);
		/* the entry */
		*pte(0, 0) = (CODE + 0x1000) | 7;
		invlpg();
		call(VA);
		*pte(0, 0) = CODE | 7;
		invlpg();
		call(VA);
		/* the table */
		*pde = (TABLE + 0x1000) | 7;
		WRITE_CR(3, READ_CR(3));
		call(VA);
		*pde = TABLE | 7;
		WRITE_CR(3, READ_CR(3));
		call(VA);
		/* the bytes */
		put(CODE, 2 + i % 3);
		call(VA);
		/* across the edge of two pages, then only in the first */
		put(CODE + 0x1000 - 3, 2);
		call(VA + 0x1000 - 3);
		put(CODE + 0x1000 - 3, 0);
		call(VA + 0x1000 - 3);
		clear();
	}
	return 0;
}
