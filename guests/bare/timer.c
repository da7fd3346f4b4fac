// SPDX-License-Identifier: GPL-2.0
/*
 * The local APIC's timer without any other device: one-shot, periodic and
 * TSC-deadline. arg(0): x2APIC.
 */
#include "rt.h"

#define VECTOR	0x40

static volatile u32 ticks;
static volatile u64 tick_tsc;

static void on_tick(struct frame *f)
{
	(void)f;
	ticks++;
	tick_tsc = rdtsc();
	apic_eoi();
}

static void wait_ticks(u32 n)
{
	cli();
	while (ticks < n) {
		sti_hlt();
		cli();
	}
	sti();
}

static void one_shot(void)
{
	ticks = 0;
	apic_write(APIC_TDCR, 0xb);		/* divide by 1 */
	apic_write(APIC_LVTT, VECTOR);
	apic_write(APIC_TMICT, 200000);
	check(apic_read(APIC_TMCCT) <= 200000);
	wait_ticks(1);
	/* it does not come again, and the counter stays at 0 */
	check(apic_read(APIC_TMCCT) == 0);
	check(ticks == 1);
	/* each value starts it anew */
	apic_write(APIC_TMICT, 1000);
	wait_ticks(2);
	apic_write(APIC_TMICT, 1);
	wait_ticks(3);
}

static void masked(void)
{
	ticks = 0;
	apic_write(APIC_LVTT, VECTOR | 1 << 16);
	apic_write(APIC_TMICT, 10000);
	/* counts down all the same */
	while (apic_read(APIC_TMCCT))
		pause();
	check(ticks == 0);
	apic_write(APIC_LVTT, VECTOR);
	check(ticks == 0);
}

static void periodic(void)
{
	u32 before;

	ticks = 0;
	apic_write(APIC_LVTT, VECTOR | 1 << 17);
	apic_write(APIC_TMICT, 1000000);
	wait_ticks(5);
	/* 0 stops it */
	apic_write(APIC_TMICT, 0);
	before = ticks;
	check(apic_read(APIC_TMCCT) == 0);
	outb(0x80, 0);
	check(ticks <= before + 1);
}

/* interrupts while the guest computes, not only out of HLT */
static void busy(void)
{
	ticks = 0;
	apic_write(APIC_LVTT, VECTOR);
	apic_write(APIC_TMICT, 100000);
	while (!READ(&ticks))
		;
	check(ticks == 1);
}

static void deadline(void)
{
	u32 r[4], before;
	u64 t, armed;

	cpuid(1, 0, r);
	report(1, r[2] >> 24 & 1);
	if (!(r[2] & 1 << 24))
		return;
	ticks = 0;
	apic_write(APIC_LVTT, VECTOR | 2 << 17);
	check(rdmsr(MSR_TSC_DEADLINE) == 0);
	t = rdtsc() + 2000000;
	wrmsr(MSR_TSC_DEADLINE, t);
	wait_ticks(1);
	check(tick_tsc >= t);
	check(rdmsr(MSR_TSC_DEADLINE) == 0);
	/* one that has passed comes at once */
	wrmsr(MSR_TSC_DEADLINE, 1);
	wait_ticks(2);
	/* 0 disarms; again if the host let us come too late for that */
	do {
		t = rdtsc() + 50000000;
		wrmsr(MSR_TSC_DEADLINE, t);
		armed = rdmsr(MSR_TSC_DEADLINE);
		wrmsr(MSR_TSC_DEADLINE, 0);
		before = ticks;
	} while (rdtsc() >= t);
	check(armed == t);
	while (rdtsc() < t + 1000)
		;
	check(ticks == before);
}

int main(void)
{
	puts("timer\n");
	handlers[VECTOR] = on_tick;
	apic_enable(arg(0));
	sti();
	one_shot();
	masked();
	periodic();
	busy();
	deadline();
	return 0;
}
