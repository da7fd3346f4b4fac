// SPDX-License-Identifier: GPL-2.0
/*
 * Two CPUs hand a turn to each other, arg(0) times, and wait for it in a loop:
 * of PAUSEs if arg(1), else of nothing. Reports the TSC ticks that it took (1).
 */
#include "rt.h"

#define NOBODY	2

static volatile u32 turn = NOBODY, ready;

static void play(u32 me)
{
	u32 rounds = arg(0), pauses = arg(1);

	while (rounds--) {
		while (turn != me)
			if (pauses)
				pause();
		turn = me ^ 1;
	}
}

void ap_main(int cpu)
{
	ready = 1;
	play(cpu);
	for (;;)
		asm volatile("cli; hlt");
}

int main(void)
{
	u64 begin;

	puts("pauses\n");
	apic_enable(0);
	start_cpus(2);
	while (!ready)
		pause();
	begin = rdtsc();
	turn = 0;
	play(0);
	while (turn != 0)
		pause();
	report(1, rdtsc() - begin);
	return 0;
}
