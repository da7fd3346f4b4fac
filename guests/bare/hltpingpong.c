// SPDX-License-Identifier: GPL-2.0
/*
 * Two CPUs wake each other out of HLT, arg(1) times: a wake-up that is lost
 * ends in a standstill. arg(0): x2APIC.
 */
#include "rt.h"

#define BALL	0x50

static volatile u32 count[2], ready;

static void on_ball(struct frame *f)
{
	(void)f;
	count[apic_id()]++;
	apic_eoi();
}

static void play(u32 self, u32 rounds)
{
	u32 n;

	for (n = 1; n <= rounds; n++) {
		cli();
		while (READ(&count[self]) < n) {
			sti_hlt();
			cli();
		}
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
	apic_icr(1, ICR_ASSERT | BALL);
	play(0, rounds - 1);
	cli();
	while (READ(&count[0]) < rounds) {
		sti_hlt();
		cli();
	}
	check(count[0] == rounds && count[1] == rounds);
	report(1, count[0]);
	return 0;
}
