// SPDX-License-Identifier: GPL-2.0
/*
 * A user, ring 3, with a device's memory in its hands: what the monitor cannot
 * execute there is an invalid opcode to that user, and not the machine's end.
 * Runs as firmware (rom.S) under a whole monitor, prints the vectors that it
 * met on COM1 and powers off.
 */
#include "rt.h"

#define COM1		0x3f8
#define PM_DEVFN	0x0b		/* PIIX4 function 3 in slot 1 */
#define PM_BASE		0x600
#define IOAPIC		0xfec00000ul

static void config_write(u8 devfn, u8 reg, u32 value)
{
	outl(0xcf8, 0x80000000 | devfn << 8 | reg);
	outl(0xcfc, value);
}

static void result(int vector)
{
	outb(COM1, '0' + vector);
	outb(COM1, '\n');
}

static void user(void)
{
	u32 version = 0x11, again = 0x11;

	/* an ordinary access works */
	*(volatile u32 *)IOAPIC = 1;
	asm volatile("mov (%1), %0" : "=r"(version) : "r"(IOAPIC + 0x10));
	result((version & 0xff) == 0x20 ? 0 : 9);
	/* and from the FPU and to it, where the monitor changes the FPU's state */
	*(volatile u32 *)IOAPIC = 0;
	asm volatile("fninit; fld1; fistpl (%1); fildl 16(%1); fistpl %0"
		     : "=m"(again) : "r"(IOAPIC) : "memory");
	result(again == version ? 0 : 9);
	result(TRY("fxsave (%0)", "r"(IOAPIC)));
	result(TRY("jmp *%0", "r"(IOAPIC)));
	outw(PM_BASE + 4, 1 << 13);	/* S5 */
}

int main(void)
{
	config_write(PM_DEVFN, 0x40, PM_BASE | 1);
	config_write(PM_DEVFN, 0x80, 1);
	/* IOPL 3; below the stack that traps from there come in on */
	asm volatile("push %0; push $0x7f000; push $0x3002; push %1; push %2; iretq"
		     : : "i"(SEL_USER_DATA), "i"(SEL_USER64), "r"(user));
	return 0;
}
