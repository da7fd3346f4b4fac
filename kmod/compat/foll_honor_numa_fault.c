// SPDX-License-Identifier: GPL-2.0
/* GUP for reading skips NUMA hinting faults unless told not to */
#include <linux/mm.h>

unsigned int probe(void);
unsigned int probe(void)
{
	return FOLL_HONOR_NUMA_FAULT;
}
