// SPDX-License-Identifier: GPL-2.0
/*
 * The local APIC from inside: arg 0 picks the subject, arg 1 is 1 for x2APIC,
 * arg 2 the TSC's kHz, arg 3 the subject's own. See selftests/kernel/lapic_test.c.
 */
#include "rt.h"
#include "lapic.h"

#define VECTOR		0x40
#define IPI		0x51
#define REPLY		0x52
#define MAX_CPUS	8

/* until something that must come has come: the host may be busy elsewhere */
#define LONG_MS		10000

#define LVT_MASKED	0x10000
#define LVT_PERIODIC	0x20000
#define LVT_DEADLINE	0x40000
#define DIVIDE_BY_1	0xb

static volatile u32 got[256];		/* interrupts of all CPUs, by vector */
static volatile u32 got_on[MAX_CPUS];	/* IPI, by APIC ID */
static volatile u32 nmis[MAX_CPUS];
static volatile u32 alive[MAX_CPUS];	/* goes up while the CPU spins */

static u32 in_map(u32 map, u32 vector)
{
	return apic_read(map + vector / 32 * 16) >> vector % 32 & 1;
}

/*
 * QEMU's VMRUN leaves the vector that it injected in exception_index, and when
 * it is disturbed before the next #VMEXIT it delivers that once more. No APIC
 * has such a one in service: count it apart, and let it be rare.
 */
static volatile u32 doubled;

static int is_ours(struct frame *f)
{
	if (in_map(APIC_ISR, f->vector))
		return !apic_early(f);
	__atomic_fetch_add(&doubled, 1, __ATOMIC_SEQ_CST);
	return 0;
}

static void ack(struct frame *f)
{
	if (!is_ours(f))
		return;
	got[f->vector]++;
	apic_eoi();
}

static void on_ipi(struct frame *f)
{
	if (!is_ours(f))
		return;
	__atomic_fetch_add(&got_on[apic_id()], 1, __ATOMIC_SEQ_CST);
	apic_eoi();
}

static u64 khz(void)
{
	return arg(2);
}

/* spin with interrupts on until *p has reached n, at most ms; what it is then */
static u32 wait_for(volatile u32 *p, u32 n, u32 ms)
{
	u64 end = rdtsc() + ms * khz();

	while (*p < n && rdtsc() < end)
		pause();
	return *p;
}

/* HLT until *p has reached n */
static void halt_until(volatile u32 *p, u32 n)
{
	cli();
	while (*p < n) {
		sti_hlt();
		cli();
	}
	sti();
}

static void spin_us(u64 us)
{
	u64 end = rdtsc() + us * khz() / 1000;

	while (rdtsc() < end)
		pause();
}

/* ---- timer ------------------------------------------------------------------ */

static void timer_oneshot(void)
{
	u64 start;
	u32 left;
	int late;

	apic_write(APIC_TDCR, DIVIDE_BY_1);
	apic_write(APIC_LVTT, VECTOR);
	start = rdtsc();
	apic_write(APIC_TMICT, 3000000);
	left = apic_read(APIC_TMCCT);
	/* 0: a busy host, and it is over already */
	check(left <= 3000000);
	check(left || rdtsc() - start >= 3 * khz() * 99 / 100);
	halt_until(&got[VECTOR], 1);
	/* 1 % for clocks that disagree, as an emulator's may */
	check(rdtsc() - start >= 3 * khz() * 99 / 100);
	check(apic_read(APIC_TMCCT) == 0);
	spin_us(5000);
	check(got[VECTOR] == 1);
	/* divided by 128: it counts that much slower */
	apic_write(APIC_TDCR, 0xa);
	start = rdtsc();
	apic_write(APIC_TMICT, 3000000 / 128);
	halt_until(&got[VECTOR], 2);
	check(rdtsc() - start >= 3 * khz() * 98 / 100);
	/* masked, nothing comes */
	apic_write(APIC_TDCR, DIVIDE_BY_1);
	apic_write(APIC_LVTT, VECTOR | LVT_MASKED);
	apic_write(APIC_TMICT, 100000);
	spin_us(2000);
	check(got[VECTOR] == 2 && apic_read(APIC_TMCCT) == 0);
	/* and stopped, neither */
	apic_write(APIC_LVTT, VECTOR);
	start = rdtsc();
	apic_write(APIC_TMICT, 2000000);
	apic_write(APIC_TMICT, 0);
	late = rdtsc() - start >= 2 * khz() * 98 / 100;
	spin_us(4000);
	/* a busy host may have let it run out before it was stopped */
	check(got[VECTOR] == 2 || late);
}

static void timer_periodic(void)
{
	u32 n = arg(3);
	u64 start;

	apic_write(APIC_TDCR, DIVIDE_BY_1);
	apic_write(APIC_LVTT, VECTOR | LVT_PERIODIC);
	start = rdtsc();
	apic_write(APIC_TMICT, 2000000);
	halt_until(&got[VECTOR], n);
	check(rdtsc() - start >= 2 * n * khz() * 98 / 100);
	apic_write(APIC_LVTT, VECTOR | LVT_PERIODIC | LVT_MASKED);
	n = got[VECTOR];
	spin_us(5000);
	check(got[VECTOR] == n);
	/* as short as can be: the guest must still come to this line */
	apic_write(APIC_LVTT, VECTOR | LVT_PERIODIC);
	apic_write(APIC_TMICT, 1);
	check(wait_for(&got[VECTOR], n + 10, LONG_MS) >= n + 10);
	apic_write(APIC_TMICT, 0);
}

static void timer_deadline(void)
{
	u64 at, left;
	u32 i;

	apic_write(APIC_LVTT, VECTOR | LVT_DEADLINE);
	/* SDM 3A 11.5.4.1: the mode before the deadline */
	asm volatile("mfence" : : : "memory");
	for (i = 1; i <= 10; i++) {
		at = rdtsc() + 2 * khz();
		wrmsr(MSR_TSC_DEADLINE, at);
		left = rdmsr(MSR_TSC_DEADLINE);
		/* 0: a busy host, and it is over already */
		check(left == at || !left);
		halt_until(&got[VECTOR], i);
		check(rdtsc() >= at);
		check(rdmsr(MSR_TSC_DEADLINE) == 0);
	}
	/* past: at once */
	wrmsr(MSR_TSC_DEADLINE, rdtsc() - 1);
	check(wait_for(&got[VECTOR], 11, LONG_MS) == 11);
	/* disarmed */
	wrmsr(MSR_TSC_DEADLINE, rdtsc() + 2 * khz());
	wrmsr(MSR_TSC_DEADLINE, 0);
	spin_us(4000);
	check(got[VECTOR] == 11);
	/* moved under the running timer: 20 s away becomes 2 ms */
	at = rdtsc() + 20000 * khz();
	wrmsr(MSR_TSC_DEADLINE, at);
	wrmsr(0x10, at - 2 * khz());
	halt_until(&got[VECTOR], 12);
	check(rdtsc() >= at && rdtsc() < at + 10000 * khz());
}

/* ticks go on over whatever the harness does at each PORT_ASK */
static void timer_over_state(void)
{
	u32 i, before;

	apic_write(APIC_TDCR, DIVIDE_BY_1);
	apic_write(APIC_LVTT, VECTOR | LVT_PERIODIC);
	apic_write(APIC_TMICT, 1000000);
	for (i = 0; i < arg(3); i++) {
		before = got[VECTOR];
		outl(PORT_ASK, i);
		halt_until(&got[VECTOR], before + 1);
		check(apic_read(APIC_TMICT) == 1000000);
		check(apic_read(APIC_LVTT) == (VECTOR | LVT_PERIODIC));
	}
	apic_write(APIC_TMICT, 0);
	/* one-shot and deadline, each saved half way */
	apic_write(APIC_LVTT, VECTOR);
	before = got[VECTOR];
	apic_write(APIC_TMICT, 5000000);
	outl(PORT_ASK, i);
	halt_until(&got[VECTOR], before + 1);
	apic_write(APIC_LVTT, VECTOR | LVT_DEADLINE);
	wrmsr(MSR_TSC_DEADLINE, rdtsc() + 5 * khz());
	outl(PORT_ASK, i);
	halt_until(&got[VECTOR], before + 2);
	check(rdmsr(MSR_TSC_DEADLINE) == 0);
}

/* ---- one CPU: priority, errors, base --------------------------------------- */

static u32 in_irr(u32 vector)
{
	return in_map(APIC_IRR, vector);
}

/* self IPIs in a closed window come out by priority */
static u8 order[4];
static u32 norder;

static void on_order(struct frame *f)
{
	if (!is_ours(f))
		return;
	if (norder < sizeof(order))
		order[norder++] = f->vector;
	apic_eoi();
}

static void task_priority(void)
{
	u32 i;

	handlers[0x31] = handlers[0x52] = handlers[0x54] = handlers[0xd3] = on_order;
	cli();
	apic_icr(0, ICR_SELF | ICR_ASSERT | 0x31);
	apic_icr(0, ICR_SELF | ICR_ASSERT | 0xd3);
	apic_icr(0, ICR_SELF | ICR_ASSERT | 0x52);
	apic_icr(0, ICR_SELF | ICR_ASSERT | 0x54);
	check(in_irr(0x31) && in_irr(0x52) && in_irr(0x54) && in_irr(0xd3));
	apic_write(APIC_TPR, 0x50);
	check(READ_CR(8) == 5);
	sti();
	for (i = 0; i < 100 && norder < 1; i++)
		pause();
	check(norder == 1 && order[0] == 0xd3);
	spin_us(2000);
	check(norder == 1);
	/*
	 * CR8 without anything else that exits: what it frees is taken within
	 * instructions, not when the host next happens to look.
	 */
	WRITE_CR(8, 4);
	for (i = 0; i < 100 && READ(&norder) < 3; i++)
		asm volatile("nop");
	check(READ(&norder) == 3 && order[1] == 0x54 && order[2] == 0x52);
	check(apic_read(APIC_TPR) == 0x40);
	apic_write(APIC_TPR, 0);
	for (i = 0; i < 100 && READ(&norder) < 4; i++)
		asm volatile("nop");
	check(READ(&norder) == 4 && order[3] == 0x31);
	check(apic_read(0xa0) == 0);
}

static void errors(void)
{
	handlers[0xe0] = ack;
	apic_write(0x370, 0xe0);
	sti();
	apic_icr(0, ICR_SELF | ICR_ASSERT | 0x0e);
	check(wait_for(&got[0xe0], 1, LONG_MS) == 1);
	check(apic_read(APIC_ESR) == 0);
	apic_write(APIC_ESR, 0);
	check(apic_read(APIC_ESR) == 0x20);
	apic_write(APIC_ESR, 0);
	check(apic_read(APIC_ESR) == 0);
	if (x2apic) {
		u64 v;

		check(try_rdmsr(0x801, &v) == GP);
		check(try_rdmsr(0x80b, &v) == GP);
		check(try_rdmsr(0x80e, &v) == GP);
		check(try_rdmsr(0x831, &v) == GP);
		check(try_rdmsr(0x8ff, &v) == GP);
		check(try_wrmsr(0x80b, 1) == GP);
		check(try_wrmsr(0x828, 1) == GP);
		check(try_wrmsr(0x802, 0) == GP);
		check(try_wrmsr(0x808, 0x100) == GP);
		check(try_wrmsr(0x808, 1ull << 32) == GP);
		check(try_wrmsr(0x830, 1 << 13) == GP);
		check(try_wrmsr(0x832, 0x60040) == GP);
		/* the page is gone: not ours to answer for, so not tried here */
		return;
	}
	/* registers that are none */
	check(apic_read(0x3f0) == 0);
	check(wait_for(&got[0xe0], 2, LONG_MS) == 2);
	apic_write(APIC_ESR, 0);
	check(apic_read(APIC_ESR) == 0x80);
	check(apic_read(APIC_VERSION) == 0x50014);
	apic_write(APIC_VERSION, 0);
	apic_write(APIC_ID, 0x0f000000);
	check(apic_read(APIC_VERSION) == 0x50014 && apic_id() == 0);
}

static void base(void)
{
	u64 v = rdmsr(MSR_APIC_BASE), tried;
	u32 r[4];

	/* reserved bits, and addresses that the CPU has not */
	check(try_wrmsr(MSR_APIC_BASE, v | 1) == GP);
	check(try_wrmsr(MSR_APIC_BASE, v | 1ull << 62) == GP);
	check(try_wrmsr(MSR_APIC_BASE, (v & ~0x800ull) | 0x400) == GP);
	if (x2apic) {
		check(try_wrmsr(MSR_APIC_BASE, v & ~0x400ull) == GP);
		check(try_rdmsr(0x802, &tried) == -1 && tried == 0);
		wrmsr(MSR_APIC_BASE, v & ~0xc00ull);
		check(try_rdmsr(0x802, &tried) == GP);
		check(try_wrmsr(MSR_APIC_BASE, v) == GP);
		cpuid(1, 0, r);
		check(!(r[3] & 0x200));
		wrmsr(MSR_APIC_BASE, v & ~0x400ull);
		wrmsr(MSR_APIC_BASE, v);
		check(rdmsr(0x80f) == 0xff);
		cpuid(1, 0, r);
		check(r[3] & 0x200);
		return;
	}
	check(try_rdmsr(0x802, &tried) == GP);
	/* elsewhere: the page goes with it, and the state stays */
	apic_write(APIC_TPR, 0x20);
	wrmsr(MSR_APIC_BASE, (v & 0xfff) | 0xfed00000);
	check(*(volatile u32 *)phys(0xfed00080) == 0x20);
	wrmsr(MSR_APIC_BASE, v);
	check(apic_read(APIC_TPR) == 0x20);
	/* off and on: reset state */
	wrmsr(MSR_APIC_BASE, v & ~0x800ull);
	wrmsr(MSR_APIC_BASE, v);
	check(apic_read(APIC_TPR) == 0 && apic_read(APIC_SVR) == 0xff);
}

/* ---- several CPUs ----------------------------------------------------------- */

static u32 ncpus;

static u32 sum_on(u32 except)
{
	u32 i, n = 0;

	for (i = 0; i < ncpus; i++)
		if (i != except)
			n += got_on[i];
	return n;
}

/* all of mask got exactly one more, the others none; then forget */
static void expect_on(u32 mask)
{
	u32 i;

	for (i = 0; i < ncpus; i++)
		check(wait_for(&got_on[i], mask >> i & 1, LONG_MS) == (mask >> i & 1));
	spin_us(500);
	for (i = 0; i < ncpus; i++) {
		check(got_on[i] == (mask >> i & 1));
		got_on[i] = 0;
	}
}

static void on_nmi(struct frame *f)
{
	(void)f;
	__atomic_fetch_add(&nmis[apic_id()], 1, __ATOMIC_SEQ_CST);
}

static void ipis(void)
{
	u32 all = (1 << ncpus) - 1;
	u32 i, m;

	for (i = 0; i < ncpus; i++) {
		apic_icr(i, ICR_ASSERT | IPI);
		expect_on(1 << i);
	}
	apic_icr(0, ICR_SELF | ICR_ASSERT | IPI);
	expect_on(1);
	apic_icr(0, ICR_ALL | ICR_ASSERT | IPI);
	expect_on(all);
	apic_icr(0, ICR_OTHERS | ICR_ASSERT | IPI);
	expect_on(all & ~1u);
	apic_icr(x2apic ? ~0u : 0xff, ICR_ASSERT | IPI);
	expect_on(all);
	/* flat: a bit per CPU; and in x2APIC's cluster 0 the same bits */
	for (m = 1; m <= all; m++) {
		apic_icr(m, 0x800 | ICR_ASSERT | IPI);
		expect_on(m);
	}
	/* to nobody */
	apic_icr(ncpus, ICR_ASSERT | IPI);
	expect_on(0);
	/* lowest priority: to one, whoever that is */
	if (!x2apic) {
		apic_icr(all, 0x900 | ICR_ASSERT | IPI);
		for (i = 0; i < LONG_MS && !sum_on(~0u); i++)
			spin_us(1000);
		spin_us(2000);
		check(sum_on(~0u) == 1);
		for (i = 0; i < ncpus; i++)
			got_on[i] = 0;
	} else {
		wrmsr(0x83f, IPI);
		expect_on(1);
	}
	/* NMIs wake from HLT too */
	for (i = 0; i < ncpus; i++) {
		apic_icr(i, ICR_ASSERT | ICR_NMI);
		check(wait_for(&nmis[i], 1, LONG_MS) == 1);
	}
	apic_icr(0, ICR_OTHERS | ICR_ASSERT | ICR_NMI);
	for (i = 1; i < ncpus; i++)
		check(wait_for(&nmis[i], 2, LONG_MS) == 2);
	check(nmis[0] == 1);
}

/*
 * INIT stops a CPU in its tracks (if it does not, this never ends) and takes
 * its APIC's state; SIPI starts it.
 */
static void restart(void)
{
	u32 before, round;

	for (round = 0; round < 4; round++) {
		apic_icr(1, ICR_ASSERT | ICR_INIT);
		do {
			before = alive[1];
			spin_us(5000);
		} while (alive[1] != before);
		/* waiting for a SIPI it takes nothing else */
		apic_icr(1, ICR_ASSERT | IPI);
		spin_us(1000);
		check(got_on[1] == 0);
		before = cpus_started;
		apic_icr(1, ICR_ASSERT | ICR_STARTUP | GUEST_SIPI);
		apic_icr(1, ICR_ASSERT | ICR_STARTUP | GUEST_SIPI);
		check(wait_for(&cpus_started, before + 1, LONG_MS) == before + 1);
		before = alive[1];
		spin_us(1000);
		while (alive[1] == before)
			pause();
		/* a late second SIPI does not start it again */
		apic_icr(1, ICR_ASSERT | ICR_STARTUP | GUEST_SIPI);
		spin_us(1000);
		check(cpus_started == 2 + round + 1);
		apic_icr(1, ICR_ASSERT | IPI);
		expect_on(2);
	}
}

/* each in HLT until the other one calls; arg 3 rounds */
static void ping_pong(void)
{
	u32 i, n = arg(3);

	for (i = 1; i <= n; i++) {
		apic_icr(1, ICR_ASSERT | REPLY);
		halt_until(&got[REPLY + 1], i);
	}
	report(REPLY, doubled);
	check(got[REPLY] == n && got[REPLY + 1] == n);
	check(doubled <= 2 + n / 500);
}

static void on_ping(struct frame *f)
{
	if (!is_ours(f))
		return;
	got[REPLY]++;
	apic_eoi();
	apic_icr(0, ICR_ASSERT | (REPLY + 1));
}

void ap_main(int cpu)
{
	u32 id;

	(void)cpu;
	apic_enable(x2apic);
	id = apic_id();
	if (!x2apic)
		apic_write(APIC_LDR, 1u << (24 + id));
	sti();
	alive[id]++;
	if (arg(0) == LAPIC_RESTART)
		for (;;)
			alive[id]++;
	for (;;)
		asm volatile("hlt");
}

/* ---- the monitor's part ----------------------------------------------------- */

/* PORT_ASK: the number says what the harness is to send */
static void msis(void)
{
	u32 i;

	for (i = 0; i < 16; i++)
		handlers[0x80 + i] = ack;
	outl(PORT_ASK, 1);			/* edge, 0x80..0x8f */
	for (i = 0; i < 16; i++)
		check(wait_for(&got[0x80 + i], 1, LONG_MS) == 1);
	outl(PORT_ASK, 2);			/* level, 0x80 */
	check(wait_for(&got[0x80], 2, LONG_MS) == 2);
	check(inl(PORT_ASK) == 1);		/* level EOIs that were seen */
	outl(PORT_ASK, 4);			/* NMI by MSI */
	check(wait_for(&nmis[0], 1, LONG_MS) == 1);
	outl(PORT_ASK, 5);			/* NMI by VMM_INJECT */
	check(wait_for(&nmis[0], 2, LONG_MS) == 2);
	outl(PORT_ASK, 6);			/* malformed and unheard ones */
	spin_us(2000);
	check(nmis[0] == 2);
}

/* NMI in an NMI handler waits for IRET */
static volatile u32 depth, deepest;

static void on_nested_nmi(struct frame *f)
{
	(void)f;
	if (++depth > deepest)
		deepest = depth;
	if (nmis[0]++ == 0) {
		apic_icr(0, ICR_SELF | ICR_ASSERT | ICR_NMI);
		spin_us(1000);
	}
	depth--;
}

static void nested_nmi(void)
{
	handlers[NMI] = on_nested_nmi;
	apic_icr(0, ICR_SELF | ICR_ASSERT | ICR_NMI);
	check(wait_for(&nmis[0], 2, LONG_MS) == 2);
	check(deepest == 1);
}

/* threads of the harness send 0x80, 0x81.. until told; IN says when they end */
static void flood(void)
{
	u32 i;

	for (i = 0; i < 16; i++)
		handlers[0x80 + i] = ack;
	outl(PORT_ASK, 1);
	/* from the answer to HLT nothing may come, or it could be the last */
	for (cli(); inl(PORT_ASK) == 0; cli())
		sti_hlt();
	sti();
	for (i = 0; i < arg(3); i++)
		check(wait_for(&got[0x80 + i], 1, LONG_MS) > 0);
}

static void start(void)
{
	handlers[VECTOR] = ack;
	handlers[IPI] = on_ipi;
	handlers[REPLY] = on_ping;
	handlers[REPLY + 1] = ack;
	handlers[NMI] = on_nmi;
	apic_enable(arg(1));
	if (!x2apic)
		apic_write(APIC_LDR, 1 << 24);
	sti();
}

int main(void)
{
	static void (* const subject[])(void) = {
		[LAPIC_ONESHOT] = timer_oneshot, [LAPIC_PERIODIC] = timer_periodic,
		[LAPIC_DEADLINE] = timer_deadline, [LAPIC_OVER_STATE] = timer_over_state,
		[LAPIC_PRIORITY] = task_priority, [LAPIC_ERRORS] = errors,
		[LAPIC_BASE] = base, [LAPIC_IPIS] = ipis, [LAPIC_RESTART] = restart,
		[LAPIC_PING_PONG] = ping_pong, [LAPIC_MSIS] = msis,
		[LAPIC_NESTED_NMI] = nested_nmi, [LAPIC_FLOOD] = flood,
	};
	u32 n = arg(0);

	start();
	if (n == LAPIC_IPIS || n == LAPIC_RESTART || n == LAPIC_PING_PONG) {
		ncpus = n == LAPIC_IPIS ? arg(3) : 2;
		start_cpus(ncpus);
		/* up is not yet ready */
		while (!alive[ncpus - 1])
			pause();
	}
	subject[n]();
	cli();
	return 0;
}
