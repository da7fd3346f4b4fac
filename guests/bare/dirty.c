// SPDX-License-Identifier: GPL-2.0
/*
 * Writes memory in a pattern that the harness can foretell, and sums it up.
 *
 * arg(0): first page, arg(1): pages, arg(2): rounds, arg(3): stride in pages.
 * In round r (from 0) the pages r % stride, + stride, ... get the word
 * page << 32 | r at their offset (r * 8) % 4096. After each round the number
 * is told at PORT_ASK, where the harness may look; report(1, checksum) ends it.
 */
#include "rt.h"

#define PAGE	0x1000ull

int main(void)
{
	u64 first = arg(0), pages = arg(1), rounds = arg(2), stride = arg(3);
	u64 r, p, i, sum = 0;

	puts("dirty\n");
	for (r = 0; r < rounds; r++) {
		for (p = r % stride; p < pages; p += stride)
			*(volatile u64 *)phys((first + p) * PAGE + r * 8 % PAGE) =
				p << 32 | r;
		outl(PORT_ASK, r);
	}
	for (p = 0; p < pages; p++)
		for (i = 0; i < PAGE; i += 8)
			sum = (sum << 1 | sum >> 63) +
			      *(volatile u64 *)phys((first + p) * PAGE + i);
	report(1, sum);
	return 0;
}
