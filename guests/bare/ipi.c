// SPDX-License-Identifier: GPL-2.0
/*
 * Several CPUs: INIT and start-up IPIs, a fixed IPI that goes round, to all,
 * to all others, to itself, NMI. arg(0): x2APIC; arg(1): rounds; arg(2): CPUs.
 */
#include "rt.h"

#define ROUND	0x41
#define ALL	0x42
#define LATE	0x43

#define MAX	8

static volatile u32 turn, all[MAX], nmis[MAX], late, ready, rounds, cpus;

/* the APIC ID, without a memory access that another CPU could disturb */
static u32 me(void)
{
	return apic_id();
}

static void on_round(struct frame *f)
{
	(void)f;
	turn++;
	apic_eoi();
	if (turn < rounds)
		apic_icr((me() + 1) % cpus, ICR_ASSERT | ROUND);
}

static void on_all(struct frame *f)
{
	(void)f;
	__atomic_fetch_add(&all[me()], 1, __ATOMIC_SEQ_CST);
	apic_eoi();
}

static void spin(void)
{
	u32 i;

	for (i = 0; i < 20000; i++)
		asm volatile("" : : : "memory");
}

/* the next one is sent while this one is in service */
static void on_late(struct frame *f)
{
	(void)f;
	late++;
	spin();
	apic_eoi();
}

static void on_nmi(struct frame *f)
{
	(void)f;
	__atomic_fetch_add(&nmis[me()], 1, __ATOMIC_SEQ_CST);
}

void ap_main(int cpu)
{
	apic_enable(arg(0));
	check(me() == (u32)cpu);
	__atomic_fetch_add(&ready, 1, __ATOMIC_SEQ_CST);
	for (;;) {
		sti_hlt();
		cli();
	}
}

static void wait_for(volatile u32 *p, u32 value)
{
	while (*p < value)
		pause();
}

static void broadcast(void)
{
	u32 i, n;

	for (n = 1; n <= 20; n++) {
		apic_icr(0, ICR_ALL | ICR_ASSERT | ALL);
		for (i = 0; i < cpus; i++)
			wait_for(&all[i], n);
	}
	for (n = 21; n <= 40; n++) {
		apic_icr(0, ICR_OTHERS | ICR_ASSERT | ALL);
		for (i = 1; i < cpus; i++)
			wait_for(&all[i], n);
	}
	check(all[0] == 20);
	apic_icr(0, ICR_SELF | ICR_ASSERT | ALL);
	wait_for(&all[0], 21);
}

static void in_service(void)
{
	u32 n;

	for (n = 1; n <= 50; n++) {
		apic_icr(1, ICR_ASSERT | LATE);
		wait_for(&late, n);
	}
}

static void nmi(void)
{
	u32 i, n;

	for (n = 1; n <= 10; n++)
		for (i = 1; i < cpus; i++) {
			apic_icr(i, ICR_NMI | ICR_ASSERT);
			wait_for(&nmis[i], n);
		}
	check(nmis[0] == 0);
}

int main(void)
{
	puts("ipi\n");
	rounds = arg(1);
	cpus = arg(2);
	handlers[ROUND] = on_round;
	handlers[ALL] = on_all;
	handlers[LATE] = on_late;
	handlers[NMI] = on_nmi;
	apic_enable(arg(0));
	start_cpus(cpus);
	wait_for(&ready, cpus - 1);
	check(cpus_started == cpus);
	sti();
	broadcast();
	in_service();
	nmi();
	/* the ball; this CPU sleeps while it is elsewhere */
	cli();
	apic_icr(1, ICR_ASSERT | ROUND);
	while (READ(&turn) < rounds) {
		sti_hlt();
		cli();
		if (READ(&turn) + cpus > rounds)
			break;
	}
	sti();
	wait_for(&turn, rounds);
	report(1, turn);
	return 0;
}
