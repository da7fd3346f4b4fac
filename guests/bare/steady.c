// SPDX-License-Identifier: GPL-2.0
/*
 * CPUs that work side by side and notice when the host neglects one of them. In
 * each round every CPU moves memory and checks it, sends its neighbour an IPI
 * and sleeps until that one has answered, sleeps until its own timer ticks, and
 * looks at both clocks: neither may be behind what any CPU has seen before.
 * arg(0): x2APIC; arg(1): CPUs; arg(2): rounds. Reports how long CPU 0 took by
 * the pv clock.
 */
#include "rt.h"
#include "steady.h"

#define ASK		0x51
#define ANSWER		0x52
#define TICK		0x53
#define MAX		64

#define MSR_CLOCK	0x4b564d01
#define PERIODIC	(1u << 17)
#define PERIOD		500000		/* of the APIC's 1 GHz */
#define WORDS		2048

/* Documentation/virt/kvm/x86/msr.rst, MSR_KVM_SYSTEM_TIME_NEW */
struct clock {
	u32 version;
	u32 pad;
	u64 tsc;
	u64 ns;
	u32 mul;
	signed char shift;
	u8 flags;
	u8 pad2[2];
};

static volatile u32 asked[MAX], answered[MAX], ticks[MAX], ready, done;
static volatile u64 last_tsc, last_ns;
static u32 cpus, rounds;
static u64 first_ns;

static void on_ask(struct frame *f)
{
	u32 self = apic_id();

	(void)f;
	asked[self]++;
	apic_eoi();
	apic_icr((self + cpus - 1) % cpus, ICR_ASSERT | ANSWER);
}

static void on_answer(struct frame *f)
{
	(void)f;
	answered[apic_id()]++;
	apic_eoi();
}

static void on_tick(struct frame *f)
{
	(void)f;
	ticks[apic_id()]++;
	apic_eoi();
}

static void sleep_until(volatile u32 *p, u32 n)
{
	cli();
	while (READ(p) < n) {
		sti_hlt();
		cli();
	}
	sti();
}

/* ---- clocks ------------------------------------------------------------------ */

static volatile struct clock *clock_of(u32 cpu)
{
	return phys(STEADY_CLOCKS + cpu * sizeof(struct clock));
}

static u64 read_ns(u32 cpu)
{
	volatile struct clock *c = clock_of(cpu);
	u32 version, mul;
	u64 ns, ticks, tsc;
	int shift;

	do {
		version = READ(&c->version);
		ns = c->ns;
		tsc = c->tsc;
		mul = c->mul;
		shift = c->shift;
		ticks = rdtsc();
	} while (version & 1 || version != READ(&c->version));
	ticks -= tsc;
	ticks = shift < 0 ? ticks >> -shift : ticks << shift;
	return ns + (u64)((unsigned __int128)ticks * mul >> 32);
}

/* what is now is not before what any CPU saw; it is what they saw from now on */
static void never_back(volatile u64 *last, u64 seen, u64 now)
{
	check(now >= seen);
	while (seen < now && !__atomic_compare_exchange_n(last, &seen, now, 0,
							  __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
		;
}

static void clocks(u32 cpu)
{
	u64 seen;

	seen = __atomic_load_n(&last_tsc, __ATOMIC_SEQ_CST);
	asm volatile("lfence" : : : "memory");
	never_back(&last_tsc, seen, rdtsc());
	seen = __atomic_load_n(&last_ns, __ATOMIC_SEQ_CST);
	asm volatile("lfence" : : : "memory");
	never_back(&last_ns, seen, read_ns(cpu));
}

/* ---- memory ------------------------------------------------------------------ */

static u32 step(u32 x)
{
	x ^= x << 13;
	x ^= x >> 17;
	return x ^ x << 5;
}

/* from one half to the other and back, each time other numbers */
static void memory(u32 cpu, u32 round)
{
	u32 *a = phys(STEADY_MEMORY + cpu * 2 * WORDS * sizeof(u32)), *b = a + WORDS;
	u32 i, seed = cpu * 0x9e3779b9 + round + 1, x;

	for (i = 0, x = seed; i < WORDS; i++)
		a[i] = x = step(x);
	for (i = 0; i < WORDS; i++)
		WRITE(&b[WORDS - 1 - i], READ(&a[i]));
	for (i = 0, x = seed; i < WORDS; i++) {
		x = step(x);
		check(READ(&a[i]) == x && READ(&b[WORDS - 1 - i]) == x);
	}
}

/* ---- all --------------------------------------------------------------------- */

static void begin(u32 cpu)
{
	check(apic_id() == cpu);
	wrmsr(MSR_CLOCK, (u64)clock_of(cpu) | 1);
	apic_write(APIC_TDCR, 0xb);		/* divide by 1 */
	apic_write(APIC_LVTT, TICK | PERIODIC);
	apic_write(APIC_TMICT, PERIOD);
}

static void work(u32 cpu)
{
	u32 n;

	/* an IPI to an APIC that is off is lost */
	__atomic_fetch_add(&ready, 1, __ATOMIC_SEQ_CST);
	sti();
	while (READ(&ready) < cpus)
		pause();
	for (n = 1; n <= rounds; n++) {
		memory(cpu, n);
		apic_icr((cpu + 1) % cpus, ICR_ASSERT | ASK);
		sleep_until(&answered[cpu], n);
		check(answered[cpu] == n);
		sleep_until(&ticks[cpu], READ(&ticks[cpu]) + 1);
		clocks(cpu);
	}
	__atomic_fetch_add(&done, 1, __ATOMIC_SEQ_CST);
}

void ap_main(int cpu)
{
	apic_enable(arg(0));
	begin(cpu);
	work(cpu);
	for (;;)
		asm volatile("hlt");
}

int main(void)
{
	u32 i;

	puts("steady\n");
	cpus = arg(1);
	rounds = arg(2);
	handlers[ASK] = on_ask;
	handlers[ANSWER] = on_answer;
	handlers[TICK] = on_tick;
	apic_enable(arg(0));
	begin(0);
	first_ns = read_ns(0);
	start_cpus(cpus);
	work(0);
	/* its timer wakes it */
	sleep_until(&done, cpus);
	report(STEADY_NS, read_ns(0) - first_ns);
	for (i = 0; i < cpus; i++)
		check(asked[i] == rounds && ticks[i] >= rounds);
	return 0;
}
