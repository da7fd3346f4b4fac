// SPDX-License-Identifier: GPL-2.0
/*
 * What an exit costs, in ticks of the TSC, which in the instruction-count lab
 * are instructions. Runs as firmware (rom.S) under a whole monitor, prints
 * "name ticks" lines on COM1 and powers off.
 */
#include "rt.h"

#define ROUNDS		2000
#define COM1		0x3f8
#define PM_DEVFN	0x0b		/* PIIX4 function 3 in slot 1 */
#define PM_BASE		0x600
#define PM_TIMER	(PM_BASE + 8)
#define IOAPIC		0xfec00000
#define POST_PORT	0x80

static void put(char c)
{
	outb(COM1, c);
}

static void result(const char *name, u64 value)
{
	char digits[20];
	int n = 0;

	while (*name)
		put(*name++);
	put(' ');
	do {
		digits[n++] = '0' + value % 10;
		value /= 10;
	} while (value);
	while (n)
		put(digits[--n]);
	put('\n');
}

static void config_write(u8 devfn, u8 reg, u32 value)
{
	outl(0xcf8, 0x80000000 | devfn << 8 | reg);
	outl(0xcfc, value);
}

static void nothing(void)
{
	asm volatile("" : : : "memory");
}

static void one_cpuid(void)
{
	u32 r[4];

	cpuid(1, 0, r);
}

static void one_port(void)
{
	inl(PM_TIMER);
}

static void one_bell(void)
{
	outb(POST_PORT, 0);
}

static void one_mmio(void)
{
	u32 v;

	asm volatile("mov (%1), %0" : "=a"(v) : "r"((u64)IOAPIC) : "memory");
}

static u64 ticks(void (*op)(void))
{
	u64 start;
	int i;

	for (i = 0; i < 10; i++)
		op();
	start = rdtsc();
	for (i = 0; i < ROUNDS; i++)
		op();
	return (rdtsc() - start) / ROUNDS;
}

int main(void)
{
	u64 loop;

	config_write(PM_DEVFN, 0x40, PM_BASE | 1);
	config_write(PM_DEVFN, 0x80, 1);
	loop = ticks(nothing);
	result("cpuid_exit", ticks(one_cpuid) - loop);
	result("pio_kernel", ticks(one_bell) - loop);
	result("pio_user", ticks(one_port) - loop);
	result("mmio_user", ticks(one_mmio) - loop);
	outw(PM_BASE + 4, 1 << 13);	/* S5 */
	return 0;
}
