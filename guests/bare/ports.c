// SPDX-License-Identifier: GPL-2.0
/*
 * Port I/O: all sizes, immediate and DX, string forms with and without REP,
 * both directions, address-size and segment prefixes; in the mode of MODE.
 */
#include "rt.h"

#define BUFFER	0x70000
#define REAL_SEG "0x6ffc"	/* BUFFER is 0x40 in here */

/* OUT keeps the size and leaves the rest of EAX alone; IN merges into EAX */
static void by_register(void)
{
	u32 v;

	outl(PORT_LATCH, 0x12345678);
	check(inl(PORT_LATCH) == 0x12345678);
	check((inl(PORT_LATCH_INFO) & 0xff) == 4);
	outw(PORT_LATCH, 0xabcd);
	check(inl(PORT_LATCH) == 0xabcd);
	check((inl(PORT_LATCH_INFO) & 0xff) == 2);
	outb(PORT_LATCH, 0x42);
	check(inl(PORT_LATCH) == 0x42);
	check((inl(PORT_LATCH_INFO) & 0xff) == 1);

	outl(PORT_LATCH, 0x87654321);
	asm volatile("inb %w1, %b0" : "=a"(v) : "d"(PORT_LATCH), "0"(-1u));
	check(v == 0xffffff21);
	asm volatile("inw %w1, %w0" : "=a"(v) : "d"(PORT_LATCH), "0"(-1u));
	check(v == 0xffff4321);
	asm volatile("inl %w1, %k0" : "=a"(v) : "d"(PORT_LATCH), "0"(-1u));
	check(v == 0x87654321);
	asm volatile("outb %b0, %w1" : "+a"(v) : "d"(PORT_LATCH));
	check(v == 0x87654321);
}

static void by_immediate(void)
{
	u32 v = 0x11223344, n = inl(PORT_LATCH_INFO) >> 8;

	asm volatile("outl %0, %1" : : "a"(v), "i"(PORT_LATCH_IMM));
	check(inl(PORT_LATCH) == 0x11223344);
	asm volatile("outw %w0, %1" : : "a"(v), "i"(PORT_LATCH_IMM));
	check(inl(PORT_LATCH) == 0x3344);
	asm volatile("outb %b0, %1" : : "a"(v), "i"(PORT_LATCH_IMM));
	asm volatile("inl %1, %0" : "=a"(v) : "i"(PORT_LATCH_IMM));
	check(v == 0x44);
	asm volatile("inw %1, %w0" : "=a"(v) : "i"(PORT_LATCH_IMM), "0"(-1u));
	check(v == 0xffff0044);
	asm volatile("inb %1, %b0" : "=a"(v) : "i"(PORT_LATCH_IMM), "0"(-1u));
	check(v == 0xffffff44);
	/* each of them once, no more */
	check(inl(PORT_LATCH_INFO) >> 8 == n + 3);
	/* a port of nobody */
	check(inl(0x9990) == ~0u && inb(0x9990) == 0xff);
}

#if MODE == 16
#define PTR(off)	((u32)(0x40 + (off)))
#define SEGS		"pushw %%ds; pushw %%es; mov $" REAL_SEG ", %%ax;" \
			"mov %%ax, %%ds; mov %%ax, %%es;"
#define SEGS_END	"; popw %%es; popw %%ds"
#else
#define PTR(off)	((ulong)(BUFFER + (off)))
#define SEGS		""
#define SEGS_END	""
#endif

/* `insn` with DI/SI, CX, DX; the registers afterwards are in `at` and `n` */
#define STRING(insn, port, at, n)					\
	asm volatile(SEGS insn SEGS_END "; cld"				\
		     : "+D"(at), "+c"(n), "=&a"(unused)			\
		     : "d"(port), "S"(at) : "memory", "cc")
#define STRING_OUT(insn, port, at, n)					\
	asm volatile(SEGS insn SEGS_END "; cld"				\
		     : "+S"(at), "+c"(n), "=&a"(unused)			\
		     : "d"(port) : "memory", "cc")

static void string_in(void)
{
	u8 *b = phys(BUFFER);
	ulong at = PTR(0), n = 5, unused;
	int i;

	b[0] = b[1] = 0x77;
	STRING("insb", PORT_COUNTER, at, n);
	check(b[0] == 0 && b[1] == 0x77);
	check(at == PTR(1) && n == 5);
	STRING("rep insb", PORT_COUNTER, at, n);
	check(at == PTR(6) && n == 0);
	for (i = 0; i < 6; i++)
		check(b[i] == i);

	/* downwards: the counter's order is reversed by element */
	at = PTR(16);
	n = 3;
	STRING("std; rep insw", PORT_COUNTER, at, n);
	check(at == PTR(10) && n == 0);
	check(b[16] == 6 && b[17] == 7 && b[14] == 8 && b[12] == 10);

	at = PTR(0x20);
	n = 4;
	STRING("rep insl", PORT_COUNTER, at, n);
	check(at == PTR(0x30) && n == 0);
	for (i = 0; i < 16; i++)
		check(b[0x20 + i] == 12 + i);

	/* nothing to do is nothing done */
	n = 0;
	STRING("rep insl", PORT_COUNTER, at, n);
	check(at == PTR(0x30) && n == 0);
	check(inb(PORT_COUNTER) == 28);
}

static u32 sum_of(u32 sum, const u8 *b, int n, int size)
{
	u32 v;
	int i, k;

	for (i = 0; i < n; i++) {
		for (v = 0, k = 0; k < size; k++)
			v |= (u32)b[i * size + k] << k * 8;
		sum = (sum << 1 | sum >> 31) + v;
	}
	return sum;
}

static void string_out(void)
{
	u8 *b = phys(BUFFER);
	ulong at = PTR(0), n = 9, unused;
	u32 sum;
	int i;

	for (i = 0; i < 64; i++)
		b[i] = i * 7 + 1;
	sum = inl(PORT_SUM);
	STRING_OUT("outsb", PORT_SUM, at, n);
	check(at == PTR(1) && n == 9);
	sum = sum_of(sum, b, 1, 1);
	check(inl(PORT_SUM) == sum);
	at = PTR(0);
	STRING_OUT("rep outsb", PORT_SUM, at, n);
	check(at == PTR(9) && n == 0);
	sum = sum_of(sum, b, 9, 1);
	at = PTR(0);
	n = 8;
	STRING_OUT("rep outsw", PORT_SUM, at, n);
	check(at == PTR(16) && n == 0);
	sum = sum_of(sum, b, 8, 2);
	at = PTR(0);
	n = 16;
	STRING_OUT("rep outsl", PORT_SUM, at, n);
	check(at == PTR(64) && n == 0);
	sum = sum_of(sum, b, 16, 4);
	check(inl(PORT_SUM) == sum);
}

/* more than a page at once, and from one page into the next */
static void many(void)
{
	ulong at = PTR(0xf00), n = 0x200, unused;
	u8 *b = phys(BUFFER + 0xf00);
	u8 first = inb(PORT_COUNTER) + 1;
	int i;

	STRING("rep insb", PORT_COUNTER, at, n);
	check(at == PTR(0x1100) && n == 0);
	for (i = 0; i < 0x200; i++)
		check(b[i] == (u8)(first + i));
}

static void prefixes(void)
{
#if MODE != 16
	u8 *b = phys(BUFFER);
	ulong at, n, unused;
	u8 first = inb(PORT_COUNTER) + 1;

#if MODE == 64
	/* 32-bit addresses: the upper halves of RDI and RCX are not used */
	at = PTR(0) | 1ull << 40;
	n = 2 | 1ull << 40;
	STRING("addr32 rep insb", PORT_COUNTER, at, n);
	check(at == PTR(2) && n == 0);
#else
	/* 16-bit addresses: DI wraps, the upper half of ECX stays */
	b = phys(0x7e00);
	at = 0x7e00 | 0x50000;
	n = 2 | 0x30000;
	STRING("addr16 rep insb", PORT_COUNTER, at, n);
	check(at == 0x57e02 && n == 0x30000);
#endif
	check(b[0] == first && b[1] == (u8)(first + 1));
#endif
}

int main(void)
{
	puts("ports\n");
	by_register();
	by_immediate();
	string_in();
	string_out();
	many();
	prefixes();
	return 0;
}
