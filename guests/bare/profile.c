// SPDX-License-Identifier: GPL-2.0
/*
 * For scripts/profile: prints the name of an exit, makes many of them, and goes
 * on to the next. Runs as firmware (rom.S) under a whole monitor.
 */
#include "rt.h"

#define ROUNDS		20000
#define COM1		0x3f8
#define POST		0x80
#define PM_DEVFN	0x0b		/* PIIX4 function 3 in slot 1 */
#define PM_BASE		0x600
#define PM_TIMER	(PM_BASE + 8)
#define IOAPIC		0xfec00000

static void say(const char *name)
{
	while (*name)
		outb(COM1, *name++);
	outb(COM1, '\n');
}

static void config_write(u8 devfn, u8 reg, u32 value)
{
	outl(0xcf8, 0x80000000 | devfn << 8 | reg);
	outl(0xcfc, value);
}

int main(void)
{
	u32 r[4], v;
	int i;

	config_write(PM_DEVFN, 0x40, PM_BASE | 1);
	config_write(PM_DEVFN, 0x80, 1);
	say("cpuid_exit");
	for (i = 0; i < ROUNDS; i++)
		cpuid(1, 0, r);
	say("msr_exit");
	for (i = 0; i < ROUNDS; i++)
		rdmsr(MSR_APIC_BASE);
	say("pio_kernel");
	for (i = 0; i < ROUNDS; i++)
		outb(POST, 0);
	say("pio_user");
	for (i = 0; i < ROUNDS; i++)
		inl(PM_TIMER);
	say("mmio_user");
	for (i = 0; i < ROUNDS; i++)
		asm volatile("mov (%1), %0" : "=a"(v) : "r"((u64)IOAPIC) : "memory");
	say("end");
	outw(PM_BASE + 4, 1 << 13);	/* S5 */
	return 0;
}
