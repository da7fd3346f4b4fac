// SPDX-License-Identifier: GPL-2.0
/* As firmware (rom.S): prints a line on COM1 and powers the machine off. */
#include "pc.h"

int main(void)
{
	u32 base = pm_enable();
	const char *s;

	for (s = "off\n"; *s; s++)
		outb(COM1, *s);
	pm_off(base);
}
