// SPDX-License-Identifier: GPL-2.0
/*
 * As firmware (rom.S): prints a line, gives back on COM1 what is typed there, in
 * the other case, and powers the machine off when its button is pressed.
 */
#include "pc.h"

#define COM1_LSR	(COM1 + 5)
#define LSR_DR		0x01
#define PWRBTN_STS	0x100		/* of the PM1 status register */

static void say(const char *s)
{
	for (; *s; s++)
		outb(COM1, *s);
}

int main(void)
{
	u32 base = pm_enable();

	say("ready\n");
	while (!(inw(base) & PWRBTN_STS))
		if (inb(COM1_LSR) & LSR_DR)
			outb(COM1, inb(COM1) ^ 0x20);
	say("button\n");
	pm_off(base);
}
