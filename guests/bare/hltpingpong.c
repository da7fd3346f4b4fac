// SPDX-License-Identifier: GPL-2.0
/*
 * Two CPUs wake each other out of HLT, arg(1) times each. Whose turn it is
 * stands in memory, so an interrupt too many changes nothing, while a wake-up
 * that is lost, or one taken between STI and HLT, ends in a standstill.
 * arg(0): x2APIC.
 */
#include "rt.h"

#define BALL	0x50

/* even: CPU 0 is to play */
static volatile u32 turn, interrupts, ready;

static void on_ball(struct frame *f)
{
	(void)f;
	interrupts = 1;
	apic_eoi();
}

static void play(u32 self, u32 rounds)
{
	u32 n;

	for (n = 0; n < rounds; n++) {
		cli();
		while ((READ(&turn) & 1) != self) {
			sti_hlt();
			cli();
		}
		turn++;
		apic_icr(!self, ICR_ASSERT | BALL);
	}
}

void ap_main(int cpu)
{
	apic_enable(arg(0));
	ready = 1;
	play(cpu, arg(1));
	for (;;)
		asm volatile("cli; hlt");
}

int main(void)
{
	u32 rounds = arg(1);

	puts("hltpingpong\n");
	handlers[BALL] = on_ball;
	apic_enable(arg(0));
	start_cpus(2);
	while (!ready)
		pause();
	play(0, rounds);
	cli();
	while (READ(&turn) < 2 * rounds) {
		sti_hlt();
		cli();
	}
	check(turn == 2 * rounds);
	check(interrupts > 0);
	report(1, turn);
	return 0;
}
