// SPDX-License-Identifier: GPL-2.0
/*
 * What an exit costs, in ticks of the TSC, which in the instruction-count lab
 * are instructions. Runs as firmware (rom.S) under a whole monitor, ours or
 * QEMU, on two CPUs. A letter that comes in on COM1 says what to do; results
 * go out as lines "name ticks", then one ".".
 *
 *  e  exits        k  faults, 4 KiB apart, on memory that the host has
 *  q  power off    m  the same, 2 MiB apart
 *                  w  a bit of work, and power off
 */
#include "pc.h"

#define COM1_LSR	(COM1 + 5)
#define LSR_READY	1

#define ROUNDS		2000
#define WAKES		1000
#define TIMERS		101
#define TIMER_TICKS	10000
#define TIMER_ROUNDS	20000	/* of computing, while one comes */
/* A guest may have 5,000 timer interrupts a second: this is fewer. */
#define TIMER_PAUSE	100000

#define IOAPIC		0xfec00000
#define VECTOR_IPI	0x50
#define VECTOR_WAKE	0x51
#define VECTOR_TIMER	0x52

#define TOUCHED		0x1000000ul	/* 16 MiB, of 2 MiB pages */
#define TOUCHED_END	0x3000000ul
#define LARGE		0x200000ul

static volatile u32 ipis, turn, timers, ap_ready, ap_rounds;
static volatile u16 *notify_at;
static u32 pm_base;
static u16 quick_port;

static void put(char c)
{
	outb(COM1, c);
}

static char get(void)
{
	while (!(inb(COM1_LSR) & LSR_READY))
		;
	return inb(COM1);
}

static void result(const char *name, u64 value)
{
	char digits[20];
	int n = 0;

	while (*name)
		put(*name++);
	put(' ');
	do {
		digits[n++] = '0' + value % 10;
		value /= 10;
	} while (value);
	while (n)
		put(digits[--n]);
	put('\n');
}

/* ---- exits that come back at once ------------------------------------------ */

static void nothing(void)
{
	asm volatile("" : : : "memory");
}

static void one_cpuid(void)
{
	u32 r[4];

	cpuid(1, 0, r);
}

static void one_quick_port(void)
{
	outb(quick_port, 0);
}

static void one_port(void)
{
	inl(pm_base + PM_TIMER);
}

static void one_mmio(void)
{
	u32 v;

	asm volatile("mov (%1), %0" : "=a"(v) : "r"((u64)IOAPIC) : "memory");
}

static void one_notify(void)
{
	*notify_at = 0;
}

static u64 ticks(void (*op)(void), int rounds)
{
	u64 start;
	int i;

	for (i = 0; i < 10; i++)
		op();
	start = rdtsc();
	for (i = 0; i < rounds; i++)
		op();
	return (rdtsc() - start) / rounds;
}

/* ---- interrupts ------------------------------------------------------------ */

static void on_ipi(struct frame *f)
{
	(void)f;
	ipis++;
	apic_eoi();
}

static void on_wake(struct frame *f)
{
	(void)f;
	apic_eoi();
}

/* To itself: with one CPU for both, another CPU's would measure the scheduler. */
static void one_ipi(void)
{
	u32 before = ipis;

	apic_icr(0, ICR_SELF | ICR_ASSERT | VECTOR_IPI);
	while (ipis == before)
		;
}

/* Two CPUs take turns, each asleep while it is the other's; self is 0 or 1. */
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
		apic_icr(!self, ICR_ASSERT | VECTOR_WAKE);
	}
}

void ap_main(int cpu)
{
	u32 rounds;

	apic_enable(1);
	ap_ready = 1;
	for (;;) {
		cli();
		while (!READ(&ap_rounds)) {
			sti_hlt();
			cli();
		}
		/* taken now: the next may be there as soon as these are over */
		rounds = ap_rounds;
		ap_rounds = 0;
		play(cpu, rounds);
	}
}

/* Ticks from one CPU's IPI until the other one has left HLT and sends its own. */
static u64 wakes(u32 rounds)
{
	u64 start;

	turn = 0;
	ap_rounds = rounds;
	start = rdtsc();
	play(0, rounds);
	while (READ(&turn) < 2 * rounds) {
		sti_hlt();
		cli();
	}
	sti();
	return (rdtsc() - start) / (2 * rounds);
}

static void arm(void)
{
	wrmsr(MSR_TSC_DEADLINE, rdtsc() + TIMER_TICKS);
}

static void on_timer(struct frame *f)
{
	(void)f;
	timers++;
	apic_eoi();
}

/* a round is two instructions */
static u64 compute(u64 rounds)
{
	u64 start = rdtsc();

	while (rounds--)
		asm volatile("");
	return rdtsc() - start;
}

/*
 * What a timer takes from a guest that computes: all of the way from arming it
 * to the end of its interrupt. The host's own timer falls into few of them, so the
 * one in the middle is taken.
 */
static u64 timer_cost(void)
{
	static long sorted[TIMERS];
	u64 start;
	long cost;
	int n, i;

	apic_write(APIC_LVTT, VECTOR_TIMER | 2 << 17);
	timers = 0;
	for (n = 0; n < TIMERS; n++) {
		compute(TIMER_PAUSE);
		cost = -compute(TIMER_ROUNDS);
		start = rdtsc();
		arm();
		compute(TIMER_ROUNDS);
		cost += rdtsc() - start;
		check(timers == (u32)n + 1);
		for (i = n; i && sorted[i - 1] > cost; i--)
			sorted[i] = sorted[i - 1];
		sorted[i] = cost;
	}
	return sorted[TIMERS / 2];
}

static void exits(void)
{
	u64 loop = ticks(nothing, ROUNDS);

	result("cpuid_exit", ticks(one_cpuid, ROUNDS) - loop);
	result("pio_kernel", ticks(one_quick_port, ROUNDS) - loop);
	result("pio_user", ticks(one_port, ROUNDS) - loop);
	result("mmio_user", ticks(one_mmio, ROUNDS) - loop);
	if (notify_at)
		result("virtio_notify", ticks(one_notify, ROUNDS) - loop);
	result("ipi", ticks(one_ipi, ROUNDS) - loop);
	wakes(10);
	result("hlt_wake", wakes(WAKES));
	result("timer", timer_cost());
}

/* ---- memory ---------------------------------------------------------------- */

static void touch(ulong stride)
{
	ulong a;

	for (a = TOUCHED; a < TOUCHED_END; a += stride)
		asm volatile("testb $1, (%0)" : : "r"(a) : "cc", "memory");
}

/*
 * On the letter that comes next the host has all of this memory, but the
 * hypervisor knows none of it.
 */
static void faults(const char *name, ulong stride)
{
	u64 start, once, again;
	ulong a;

	for (a = TOUCHED; a < TOUCHED_END; a += 0x1000)
		*(volatile u8 *)phys(a) = 1;
	put('.');
	put('\n');
	get();
	start = rdtsc();
	touch(stride);
	once = rdtsc() - start;
	start = rdtsc();
	touch(stride);
	again = rdtsc() - start;
	result(name, (once - again) / ((TOUCHED_END - TOUCHED) / stride));
}

/* A bit of all, for about the same time with every monitor. */
static void work(void)
{
	int i;

	for (i = 0; i < 1000; i++) {
		one_cpuid();
		one_port();
		one_mmio();
		one_ipi();
		compute(10000);
	}
	for (i = 0; i < 1024; i++)
		*(volatile u8 *)phys(TOUCHED + i * 0x1000) = 1;
}

int main(void)
{
	char c;

	pm_base = pm_enable();
	quick_port = kernel_port();
	notify_at = rng_start();
	handlers[VECTOR_IPI] = on_ipi;
	handlers[VECTOR_WAKE] = on_wake;
	handlers[VECTOR_TIMER] = on_timer;
	apic_enable(1);
	start_cpus(2);
	while (!READ(&ap_ready))
		pause();
	sti();
	while ((c = get()) != 'q' && c != 'w') {
		if (c == 'e')
			exits();
		else if (c == 'k')
			faults("fault_4k", 0x1000);
		else if (c == 'm')
			faults("fault_2m", LARGE);
		else
			continue;
		put('.');
		put('\n');
	}
	if (c == 'w')
		work();
	pm_off(pm_base);
}
