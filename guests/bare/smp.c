// SPDX-License-Identifier: GPL-2.0
/*
 * Many CPUs: every one of them started, reached by each kind of IPI, told of a
 * changed translation, and faulting in memory of its own beside all others.
 * arg(0): x2APIC; arg(1): CPUs; arg(2): rounds.
 */
#include "rt.h"

#define IPI		0x51
#define SHOOT		0x52
#define FAULT		0x53
#define MAX		64

#define ICR_LOGICAL	0x800
#define ICR_LOWEST	0x100

#define PT		0x200000	/* page table of the window */
#define FRAMES		0x210000
#define WINDOW		0x40000000ul
#define PAGE		0x1000ul
#define FAULTS		0x400000	/* from here on: PAGES for each CPU */
#define PAGES		16

static volatile u32 got[MAX], nmis[MAX], ready, seen, faulted;
static volatile u64 expected;
static u32 cpus;

static void wait_for(volatile u32 *p, u32 n)
{
	while (READ(p) < n)
		pause();
}

static void on_ipi(struct frame *f)
{
	(void)f;
	__atomic_fetch_add(&got[apic_id()], 1, __ATOMIC_SEQ_CST);
	apic_eoi();
}

static void on_nmi(struct frame *f)
{
	(void)f;
	__atomic_fetch_add(&nmis[apic_id()], 1, __ATOMIC_SEQ_CST);
}

static u64 peek(void)
{
	return *(volatile u64 *)phys(WINDOW);
}

static void on_shoot(struct frame *f)
{
	(void)f;
	asm volatile("invlpg (%0)" : : "r"(WINDOW) : "memory");
	check(peek() == expected);
	__atomic_fetch_add(&seen, 1, __ATOMIC_SEQ_CST);
	apic_eoi();
}

static void touch(void)
{
	u32 i, id = apic_id();

	for (i = 0; i < PAGES; i++) {
		u64 *p = phys(FAULTS + (i * cpus + id) * PAGE);

		check(*p == 0);
		*p = id + 1;
	}
	__atomic_fetch_add(&faulted, 1, __ATOMIC_SEQ_CST);
}

static void on_fault(struct frame *f)
{
	(void)f;
	apic_eoi();
	touch();
}

/* logical: the bit of each of the first eight */
static void my_address(void)
{
	u32 id = apic_id();

	if (!x2apic)
		apic_write(APIC_LDR, id < 8 ? 1u << (24 + id) : 0);
}

void ap_main(int cpu)
{
	apic_enable(arg(0));
	check(apic_id() == (u32)cpu);
	my_address();
	sti();
	peek();
	__atomic_fetch_add(&ready, 1, __ATOMIC_SEQ_CST);
	for (;;)
		asm volatile("hlt");
}

/* exactly those that in() names got one; then forget */
static void expect(int (*in)(u32 id, u32 n), u32 n)
{
	u32 i;

	for (i = 0; i < cpus; i++)
		wait_for(&got[i], in(i, n));
	for (i = 0; i < cpus; i++) {
		check(got[i] == (u32)in(i, n));
		got[i] = 0;
	}
}

static int only(u32 id, u32 n)
{
	return id == n;
}

static int all_but(u32 id, u32 n)
{
	return id != n;
}

static int in_cluster(u32 id, u32 n)
{
	return id / 16 == n;
}

static u32 total(void)
{
	u32 i, n = 0;

	for (i = 0; i < cpus; i++)
		n += got[i];
	return n;
}

static void lowest(u32 dest)
{
	u32 i;

	apic_icr(dest, ICR_LOGICAL | ICR_LOWEST | ICR_ASSERT | IPI);
	while (!total())
		pause();
	for (i = 0; i < 10000; i++)
		pause();
	check(total() == 1);
	for (i = 0; i < cpus; i++)
		got[i] = 0;
}

static void ipis(void)
{
	u32 i;

	for (i = 0; i < cpus; i++) {
		apic_icr(i, ICR_ASSERT | IPI);
		expect(only, i);
	}
	apic_icr(0, ICR_ALL | ICR_ASSERT | IPI);
	expect(all_but, ~0u);
	apic_icr(0, ICR_OTHERS | ICR_ASSERT | IPI);
	expect(all_but, 0);
	apic_icr(x2apic ? ~0u : 0xff, ICR_ASSERT | IPI);
	expect(all_but, ~0u);
	apic_icr(0, ICR_SELF | ICR_ASSERT | IPI);
	expect(only, 0);
	if (x2apic) {
		for (i = 0; i * 16 < cpus; i++) {
			apic_icr(i << 16 | 0xffff, ICR_LOGICAL | ICR_ASSERT | IPI);
			expect(in_cluster, i);
		}
		for (i = 0; i < cpus; i++) {
			apic_icr(i / 16 << 16 | 1u << i % 16, ICR_LOGICAL | ICR_ASSERT | IPI);
			expect(only, i);
		}
		lowest((cpus - 1) / 16 << 16 | 0xffff);
	} else {
		apic_icr(0xff, ICR_LOGICAL | ICR_ASSERT | IPI);
		expect(all_but, ~0u);
		apic_icr(0x7f, ICR_LOGICAL | ICR_ASSERT | IPI);
		for (i = 0; i < 7; i++)
			wait_for(&got[i], 1);
		check(total() == 7);
		for (i = 0; i < cpus; i++)
			got[i] = 0;
		lowest(0x3c);
	}
	for (i = 1; i < cpus; i++) {
		apic_icr(i, ICR_NMI | ICR_ASSERT);
		wait_for(&nmis[i], 1);
	}
	apic_icr(0, ICR_OTHERS | ICR_NMI | ICR_ASSERT);
	for (i = 1; i < cpus; i++)
		wait_for(&nmis[i], 2);
	check(nmis[0] == 0);
}

static void map(u32 frame)
{
	volatile u64 *pt = phys(PT);

	*(volatile u64 *)phys(FRAMES + frame * PAGE) = 0x5a00 + frame;
	expected = 0x5a00 + frame;
	pt[0] = (FRAMES + frame * PAGE) | 3;
	asm volatile("invlpg (%0)" : : "r"(WINDOW) : "memory");
}

static void shootdown(void)
{
	u32 n, rounds = arg(2);

	for (n = 1; n <= rounds; n++) {
		map(n % 8);
		apic_icr(0, ICR_OTHERS | ICR_ASSERT | SHOOT);
		wait_for(&seen, n * (cpus - 1));
		check(peek() == expected);
	}
}

static void faults(void)
{
	u32 i;

	apic_icr(0, ICR_OTHERS | ICR_ASSERT | FAULT);
	touch();
	wait_for(&faulted, cpus);
	for (i = 0; i < cpus * PAGES; i++)
		check(*(u64 *)phys(FAULTS + i * PAGE) == i % cpus + 1);
}

int main(void)
{
	volatile u64 *pd = phys(GUEST_PD);

	puts("smp\n");
	cpus = arg(1);
	handlers[IPI] = on_ipi;
	handlers[SHOOT] = on_shoot;
	handlers[FAULT] = on_fault;
	handlers[NMI] = on_nmi;
	apic_enable(arg(0));
	my_address();
	pd[WINDOW >> 21] = PT | 7;
	map(0);
	start_cpus(cpus);
	wait_for(&ready, cpus - 1);
	check(cpus_started == cpus);
	sti();
	ipis();
	shootdown();
	faults();
	return 0;
}
