// SPDX-License-Identifier: GPL-2.0
/*
 * KVM's paravirtual ABI from inside: arg 0 is the subject, arg 2 the TSC's kHz,
 * the others are the subject's own. See pv.h.
 */
#include "rt.h"
#include "pv.h"

#define MSR_WALL	0x4b564d00
#define MSR_CLOCK	0x4b564d01
#define MSR_STEAL	0x4b564d03
#define MSR_EOI		0x4b564d04
#define MSR_POLL	0x4b564d05

#define HC_KICK		5
#define HC_IPI		10
#define HC_YIELD	11
#define ENOSYS		-1000l
#define EPERM		-1l
#define EINVAL		-22l

/* bits of CPUID 40000001 EAX */
#define F_CLOCK		3
#define F_STEAL		5
#define F_EOI		6
#define F_UNHALT	7
#define F_IPI		11
#define F_POLL		12
#define F_YIELD		13

#define VECTOR		0x51
#define OTHER		0x61		/* of a higher priority */
#define MAX_CPUS	64

struct steal_time {
	u64 steal;
	u32 version;
	u32 flags;
	u8 preempted;
	u8 pad[47];
};

static volatile u32 got[MAX_CPUS], nmis[MAX_CPUS], others;
static volatile u32 ready;
static int vmmcall;

static volatile struct steal_time *steal_of(u32 cpu)
{
	return phys(PV_STEAL_PAGE + cpu * sizeof(struct steal_time));
}

static volatile u32 *turn(void)
{
	return phys(PV_TURN);
}

static volatile u32 *eoi_word(void)
{
	return phys(PV_EOI_WORD);
}

static long hypercall(u64 nr, u64 a0, u64 a1, u64 a2, u64 a3)
{
	long ret;

	if (vmmcall)
		asm volatile(".byte 0x0f, 0x01, 0xd9" : "=a"(ret)
			     : "a"(nr), "b"(a0), "c"(a1), "d"(a2), "S"(a3) : "memory");
	else
		asm volatile(".byte 0x0f, 0x01, 0xc1" : "=a"(ret)
			     : "a"(nr), "b"(a0), "c"(a1), "d"(a2), "S"(a3) : "memory");
	return ret;
}

static void spin_us(u64 us)
{
	u64 end = rdtsc() + us * arg(2) / 1000;

	while (rdtsc() < end)
		pause();
}

/* until *p has reached n; interrupts are on */
static void wait_for(volatile u32 *p, u32 n)
{
	while (READ(p) < n)
		pause();
}

/* ---- what there is ---------------------------------------------------------- */

static void msr_is(u32 index, int there, u64 bad, u64 good)
{
	u64 v;

	check(try_rdmsr(index, &v) == (there ? -1 : GP));
	check(try_wrmsr(index, bad) == GP);
	check(try_wrmsr(index, good) == (there ? -1 : GP));
	if (there)
		check(rdmsr(index) == good);
}

static void table(void)
{
	u32 r[4], f = arg(1);

	cpuid(0x40000001, 0, r);
	check(r[0] == f);
	msr_is(MSR_WALL, f >> F_CLOCK & 1, 2, GUEST_FREE);
	msr_is(MSR_CLOCK, f >> F_CLOCK & 1, 2, (GUEST_FREE + 64) | 1);
	msr_is(MSR_STEAL, f >> F_STEAL & 1, PV_STEAL_PAGE | 3, PV_STEAL_PAGE | 1);
	msr_is(MSR_EOI, f >> F_EOI & 1, PV_EOI_WORD | 2, PV_EOI_WORD | 1);
	msr_is(MSR_POLL, f >> F_POLL & 1, 2, 0);
	check((hypercall(HC_KICK, 0, 7, 0, 0) == ENOSYS) == !(f >> F_UNHALT & 1));
	check((hypercall(HC_IPI, 0, 0, 0, VECTOR) == ENOSYS) == !(f >> F_IPI & 1));
	check((hypercall(HC_YIELD, 7, 0, 0, 0) == ENOSYS) == !(f >> F_YIELD & 1));
	check(hypercall(1, 0, 0, 0, 0) == ENOSYS);
	check(hypercall(~0ull, 0, 0, 0, 0) == ENOSYS);
	/* nowhere: no page is written, and nobody is hurt */
	if (f >> F_STEAL & 1)
		wrmsr(MSR_STEAL, 0x90000001);
	if (f >> F_EOI & 1)
		wrmsr(MSR_EOI, 0x90000001);
	apic_icr(0, ICR_SELF | ICR_ASSERT | VECTOR);
	sti();
	wait_for(&got[0], 1);
	spin_us(1000);
}

/* ---- steal time --------------------------------------------------------------- */

static u64 read_steal(u32 cpu)
{
	volatile struct steal_time *s = steal_of(cpu);
	u32 version;
	u64 v;

	do {
		version = READ(&s->version);
		asm volatile("" : : : "memory");
		v = READ(&s->steal);
		asm volatile("" : : : "memory");
	} while (version & 1 || version != READ(&s->version));
	return v;
}

static void steal(void)
{
	u64 start, last = 0, now;

	wrmsr(MSR_STEAL, PV_STEAL_PAGE | 1);
	start = rdtsc();
	while (rdtsc() - start < arg(1) * arg(2)) {
		now = read_steal(0);
		check(now >= last);
		last = now;
		check(steal_of(0)->flags == 0);
		/* who looks at it runs */
		check(steal_of(0)->preempted == 0);
	}
	report(PV_REPORT_TSC, rdtsc() - start);
	report(PV_REPORT_STEAL, last);
	wrmsr(MSR_STEAL, 0);
	now = READ(&steal_of(0)->steal);
	spin_us(20000);
	check(READ(&steal_of(0)->steal) == now);
}

/* ---- EOI ---------------------------------------------------------------------- */

static u32 eois, in_memory, nest;

static u32 in_service(u32 vector)
{
	return apic_read(APIC_ISR + vector / 32 * 16) >> vector % 32 & 1;
}

/* as Linux does: one instruction, so that no interrupt comes between */
static void pv_eoi(void)
{
	u8 was;

	asm volatile("btrl $0, %0; setc %1" : "+m"(*eoi_word()), "=q"(was) : : "memory");
	eois++;
	if (was)
		in_memory++;
	else
		apic_eoi();
}

static void on_vector(struct frame *f)
{
	(void)f;
	got[apic_id()]++;
	if (arg(0) != PV_EOI || !rdmsr(MSR_EOI)) {
		apic_eoi();
		return;
	}
	check(in_service(VECTOR));
	if (nest) {
		/* it waits behind this one, and one that does not wait */
		apic_icr(0, ICR_SELF | ICR_ASSERT | (VECTOR - 0x10));
		apic_icr(0, ICR_SELF | ICR_ASSERT | OTHER);
		sti();
		wait_for(&others, nest);
		cli();
		check(!in_service(OTHER) && in_service(VECTOR));
	}
	pv_eoi();
	check(!in_service(VECTOR));
}

static void on_other(struct frame *f)
{
	check(in_service(f->vector));
	others++;
	pv_eoi();
	check(!in_service(f->vector));
}

static void eoi(void)
{
	u32 i, n = arg(1);

	handlers[OTHER] = on_other;
	handlers[VECTOR - 0x10] = on_other;
	wrmsr(MSR_EOI, PV_EOI_WORD | 1);
	for (i = 1; i <= n; i++) {
		apic_icr(0, ICR_SELF | ICR_ASSERT | VECTOR);
		sti_hlt();
		cli();
		check(got[0] == i && !(*eoi_word() & 1));
	}
	report(PV_REPORT_EOIS, in_memory);
	for (i = 1; i <= n; i++) {
		nest = 2 * i - 1;
		apic_icr(0, ICR_SELF | ICR_ASSERT | VECTOR);
		sti_hlt();
		wait_for(&others, 2 * i);
		cli();
		check(got[0] == n + i && others == 2 * i);
	}
	check(eois == 4 * n && !(*eoi_word() & 1));
	wrmsr(MSR_EOI, 0);
	apic_icr(0, ICR_SELF | ICR_ASSERT | VECTOR);
	sti_hlt();
	cli();
	check(!(*eoi_word() & 1) && !in_service(VECTOR));
}

/*
 * The CPU that is interrupted has no exit of its own in between: what tells it of
 * the next interrupt is the next interrupt.
 */
static void on_spin(struct frame *f)
{
	(void)f;
	pv_eoi();
	got[1]++;
}

static void eoi_spin(void)
{
	u32 i;

	for (i = 1; i <= arg(1); i++) {
		apic_icr(1, ICR_ASSERT | VECTOR);
		wait_for(&got[1], i);
	}
	report(PV_REPORT_EOIS, READ(&in_memory));
}

/* ---- KICK_CPU ----------------------------------------------------------------- */

/* even: CPU 0 is to play. Interrupts are off: nothing else ends the HLT. */
static void kick(u32 self)
{
	u32 i, n = arg(1);

	for (i = 0; i < n; i++) {
		while ((*turn() & 1) != self)
			asm volatile("hlt" : : : "memory");
		++*turn();
		check(hypercall(HC_KICK, 0, !self, 0, 0) == 0);
	}
}

/* ---- SEND_IPI ----------------------------------------------------------------- */

static u32 ncpus;

static void expect(u64 mask)
{
	u32 i;

	for (i = 0; i < ncpus; i++)
		wait_for(&got[i], mask >> i & 1);
	spin_us(500);
	for (i = 0; i < ncpus; i++) {
		check(got[i] == (mask >> i & 1));
		got[i] = 0;
	}
}

static void on_nmi(struct frame *f)
{
	(void)f;
	__atomic_fetch_add(&nmis[apic_id()], 1, __ATOMIC_SEQ_CST);
}

static long bits_in(u64 map)
{
	long n = 0;

	for (; map; map &= map - 1)
		n++;
	return n;
}

static void ipi(void)
{
	u64 all = (1ull << ncpus) - 1, m;
	u32 i;

	for (m = 0; m <= all; m++) {
		check(hypercall(HC_IPI, m, 0, 0, VECTOR) == bits_in(m));
		expect(m);
	}
	/* from another ID on, in the second half, and beyond the last */
	check(hypercall(HC_IPI, 1, 0, ncpus - 1, VECTOR) == 1);
	expect(1ull << (ncpus - 1));
	check(hypercall(HC_IPI, ~0ull, ~0ull, 1, VECTOR) == ncpus - 1);
	expect(all & ~1ull);
	check(hypercall(HC_IPI, 0, ~0ull, 0, VECTOR) == 0);
	check(hypercall(HC_IPI, ~0ull, ~0ull, ncpus, VECTOR) == 0);
	check(hypercall(HC_IPI, ~0ull, ~0ull, 0xffffffff, VECTOR) == 0);
	expect(0);
	/* a destination, a shorthand, a vector that is none */
	check(hypercall(HC_IPI, 1, 0, 0, 0x800 | VECTOR) == EINVAL);
	check(hypercall(HC_IPI, 1, 0, 0, ICR_SELF | VECTOR) == EINVAL);
	check(hypercall(HC_IPI, 1, 0, 0, 15) == EINVAL);
	check(hypercall(HC_IPI, 1, 0, 1ull << 32, VECTOR) == EINVAL);
	expect(0);
	check(hypercall(HC_IPI, all & ~1ull, 0, 0, ICR_NMI) == ncpus - 1);
	for (i = 1; i < ncpus; i++)
		wait_for(&nmis[i], 1);
	check(nmis[0] == 0);
}

/* ---- FLUSH_TLB ---------------------------------------------------------------- */

#define PREEMPTED	1
#define FLUSH_TLB	2

static void flush(void)
{
	volatile u8 *byte = &steal_of(1)->preempted;
	u32 i, n = 20;

	for (i = 1; i <= n; i++) {
		u8 old;

		/* it sleeps in HLT: nobody need wake it for this */
		do {
			while (READ(byte) != PREEMPTED)
				pause();
			old = PREEMPTED;
		} while (arg(1) && !__atomic_compare_exchange_n(byte, &old,
				PREEMPTED | FLUSH_TLB, 0, __ATOMIC_SEQ_CST,
				__ATOMIC_SEQ_CST));
		apic_icr(1, ICR_ASSERT | VECTOR);
		wait_for(&got[1], i);
	}
	check(got[1] == n);
}

/* ---- SCHED_YIELD, PAUSE --------------------------------------------------------- */

static void spin(u32 self)
{
	u32 i, n = arg(1);

	for (i = 0; i < n; i++) {
		while ((*turn() & 1) != self) {
			if (arg(3) == YIELD_CALL)
				check(hypercall(HC_YIELD, !self, 0, 0, 0) == 0);
			else if (arg(3) == YIELD_PAUSE)
				pause();
		}
		++*turn();
	}
}

/* ---- all ---------------------------------------------------------------------- */

void ap_main(int cpu)
{
	(void)cpu;
	apic_enable(1);
	if (arg(0) == PV_FLUSH)
		wrmsr(MSR_STEAL, (u64)steal_of(1) | 1);
	if (arg(0) == PV_EOI_SPIN)
		wrmsr(MSR_EOI, PV_EOI_WORD | 1);
	__atomic_fetch_add(&ready, 1, __ATOMIC_SEQ_CST);
	if (arg(0) == PV_EOI_SPIN)
		for (sti();;)
			asm volatile("" : : : "memory");
	if (arg(0) == PV_UNHALT)
		kick(1);
	if (arg(0) == PV_YIELD)
		spin(1);
	for (;;) {
		sti_hlt();
		cli();
		if (arg(0) == PV_FLUSH)
			check(READ(&steal_of(1)->preempted) == 0);
	}
}

static void others_too(u32 cpus)
{
	ncpus = cpus;
	start_cpus(cpus);
	wait_for(&ready, cpus - 1);
	sti();
}

int main(void)
{
	u32 r[4];

	puts("pv\n");
	cpuid(0, 0, r);
	vmmcall = r[2] == 0x444d4163;	/* "cAMD" */
	handlers[VECTOR] = on_vector;
	handlers[NMI] = on_nmi;
	apic_enable(1);
	switch (arg(0)) {
	case PV_TABLE:
		table();
		break;
	case PV_STEAL:
		steal();
		break;
	case PV_EOI:
		eoi();
		break;
	case PV_EOI_SPIN:
		handlers[VECTOR] = on_spin;
		others_too(2);
		eoi_spin();
		break;
	case PV_UNHALT:
		others_too(2);
		cli();
		kick(0);
		while (*turn() < 2 * arg(1))
			asm volatile("hlt" : : : "memory");
		break;
	case PV_IPI:
		others_too(arg(1));
		ipi();
		break;
	case PV_FLUSH:
		others_too(2);
		flush();
		break;
	case PV_YIELD:
		others_too(2);
		spin(0);
		wait_for(turn(), 2 * arg(1));
		break;
	default:
		quit(1);
	}
	return 0;
}
