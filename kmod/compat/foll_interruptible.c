// SPDX-License-Identifier: GPL-2.0
/* GUP that gives up for any signal, not only a fatal one */
#include <linux/mm.h>

unsigned int probe(void);
unsigned int probe(void)
{
	return FOLL_INTERRUPTIBLE;
}
