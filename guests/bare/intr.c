// SPDX-License-Identifier: GPL-2.0
/*
 * Interrupts in interrupts: a model of the APIC beside the real one, which must do
 * the same at every step. arg 0 picks the subject (intr.h), arg 1 is 1 for
 * x2APIC, arg 2 rounds.
 */
#include "rt.h"
#include "intr.h"

#define LAST_VECTOR	0xfe
#define LOWEST		0x30
#define DEPTH		14	/* one of each priority class */

/* by then an interrupt that can be taken has been: each is an instruction or two */
#define SOON		100

static volatile u8 irr[256], isr[256];		/* as the APIC's should be */
static volatile u32 tpr, taken, early, depth, deepest;
static int busy;		/* handlers do more than come and go */
static volatile u32 finished;	/* none begins to wait any more */

/*
 * QEMU delivers an interrupt twice now and then (guests/bare/lapic.c): the second
 * one is not in service, and is none.
 */
static u32 in_map(u32 map, u32 vector)
{
	return apic_read(map + vector / 32 * 16) >> vector % 32 & 1;
}

static u64 seed = 88172645463325252ull;

static u32 rnd(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed >> 16;
}

static u32 highest(volatile u8 *map)
{
	u32 v;

	for (v = LAST_VECTOR; v >= LOWEST; v--)
		if (map[v])
			return v;
	return 0;
}

static u32 ppr(void)
{
	u32 in_service = highest(isr);

	return tpr >> 4 >= in_service >> 4 ? tpr : in_service & 0xf0;
}

static void set_tpr(u32 v)
{
	/* CR8 has the upper half only */
	if (rnd() & 1) {
		tpr = v & 0xf0;
		WRITE_CR(8, v >> 4);
	} else {
		tpr = v;
		apic_write(APIC_TPR, v);
	}
}

static void self_ipi(u32 v)
{
	irr[v] = 1;
	if (x2apic && (rnd() & 1))
		wrmsr(0x83f, v);
	else
		apic_icr(0, ICR_SELF | ICR_ASSERT | v);
}

static void tell(u32 map, volatile u8 *model)
{
	u32 v;

	for (v = LOWEST; v <= LAST_VECTOR; v++)
		if (in_map(map, v) != model[v])
			report(map, v << 8 | model[v]);
}

/* they differ: what the APIC has, what the model has, and the line */
static void differ(u32 line, u32 found, u32 wanted)
{
	report(line, (u64)found << 32 | wanted);
	report(APIC_TPR, (u64)apic_read(APIC_TPR) << 32 | tpr);
	report(APIC_PPR, (u64)apic_read(APIC_PPR) << 32 | ppr());
	tell(APIC_IRR, irr);
	tell(APIC_ISR, isr);
	quit(line);
}

#define same(found, wanted)						\
	do {								\
		u32 found_ = (found), wanted_ = (wanted);		\
									\
		if (found_ != wanted_)					\
			differ(__LINE__, found_, wanted_);		\
	} while (0)

/* the registers say what the model says; interrupts are off */
static void compare(void)
{
	u32 v = LOWEST + rnd() % (LAST_VECTOR + 1 - LOWEST);

	same(in_map(APIC_IRR, v), irr[v]);
	same(in_map(APIC_ISR, v), isr[v]);
	v = highest(irr);
	if (v)
		check(in_map(APIC_IRR, v));
	/* a CR8 that stays the same leaves the lower half alone, where the CPU has V_TPR */
	same(apic_read(APIC_TPR) >> 4, tpr >> 4);
	same(READ_CR(8), tpr >> 4);
	same(apic_read(APIC_PPR) >> 4, ppr() >> 4);
}

/* interrupts on until nothing is left that they let through */
static void let_in(void)
{
	u32 i;

	sti();
	for (i = 0; i < SOON && highest(irr) >> 4 > ppr() >> 4; i++)
		asm volatile("nop");
	cli();
	if (highest(irr) >> 4 > ppr() >> 4)
		differ(__LINE__, highest(irr), ppr());
}

static void something(void)
{
	u32 n;

	for (n = rnd() % 4; n; n--)
		self_ipi(LOWEST + rnd() % (LAST_VECTOR + 1 - LOWEST));
	if (rnd() % 4 == 0)
		set_tpr(rnd() & 0xff);
	if (rnd() % 2 == 0)
		compare();
}

static void on_any(struct frame *f)
{
	u32 v = f->vector;

	if (!(f->flags & 0x200) && ++early && apic_early(f))
		return;
	if (!in_map(APIC_ISR, v) || (isr[v] && !irr[v]))
		return;
	/* the highest there is, and above what the CPU is at */
	same(v, highest(irr));
	if (v >> 4 <= ppr() >> 4)
		differ(__LINE__, v, ppr());
	irr[v] = 0;
	isr[v] = 1;
	if (++taken == arg(2) && arg(0) == INTR_NESTED)
		finished = 1;
	if (++depth > deepest)
		deepest = depth;
	if (busy)
		something();
	if (busy && depth < DEPTH && !finished)
		let_in();
	same(v, highest(isr));
	apic_eoi();
	isr[v] = 0;
	depth--;
}

static void all_handlers(void)
{
	u32 v;

	for (v = LOWEST; v <= LAST_VECTOR; v++)
		handlers[v] = on_any;
}

/* none pending: all out, whatever TPR held back */
static void drain(void)
{
	set_tpr(0);
	while (highest(irr))
		let_in();
	set_tpr(0);
	compare();
	check(!highest(isr) && !depth);
}

static void nested(void)
{
	busy = 1;
	while (taken < arg(2)) {
		set_tpr(0);
		something();
		let_in();
	}
	busy = 0;
	drain();
	check(deepest > 3 && early <= 2 + taken / 50);
	report(1, taken);
	report(2, deepest);
	report(3, early);
}

/* ---- level-triggered ones, from the harness ------------------------------------- */

static volatile u32 got;

static void on_level(struct frame *f)
{
	if (!in_map(APIC_ISR, f->vector))
		return;
	/* the harness counts what ends, and when */
	outl(PORT_ASK, INTR_ENDS | f->vector);
	got++;
	apic_eoi();
}

static void level(void)
{
	u32 i, before, n = arg(2);

	for (i = LOWEST; i <= LAST_VECTOR; i++)
		handlers[i] = on_level;
	for (i = 0; i < n; i++) {
		before = got;
		/* three, of which some are level-triggered */
		outl(PORT_ASK, INTR_SEND | (LOWEST + i % 64));
		sti();
		while (READ(&got) < before + 3)
			pause();
		cli();
	}
}

/* ---- from one mode to the other -------------------------------------------------- */

static u64 base;
static volatile u32 switched;

static void to_x2apic(void)
{
	wrmsr(MSR_APIC_BASE, base | 0xc00);
	x2apic = 1;
}

static void to_xapic(void)
{
	wrmsr(MSR_APIC_BASE, base & ~0xc00ull);
	wrmsr(MSR_APIC_BASE, base | 0x800);
	x2apic = 0;
}

/* begun in one mode, ended in the other, while another one waits */
static void on_switch(struct frame *f)
{
	if (apic_early(f))
		return;
	check(irr[f->vector] && in_map(APIC_ISR, f->vector));
	irr[f->vector] = 0;
	isr[f->vector] = 1;
	self_ipi(0x41);
	to_x2apic();
	compare();
	check(in_map(APIC_IRR, 0x41) && in_map(APIC_ISR, f->vector));
	apic_eoi();
	isr[f->vector] = 0;
	switched++;
}

static void once(void)
{
	self_ipi(0x80);
	let_in();
	check(!highest(irr));
}

static void modes(void)
{
	u32 i;

	base = rdmsr(MSR_APIC_BASE) & ~0xc00ull;
	for (i = 0; i < arg(2); i++) {
		all_handlers();
		/* the page, elsewhere, and back */
		once();
		self_ipi(0x52);
		set_tpr(0x60);
		wrmsr(MSR_APIC_BASE, (base & 0xfff) | 0x800 | 0xfed00000);
		check(*(volatile u32 *)phys(0xfed00080) == tpr);
		check(*(volatile u32 *)phys(0xfed00220) == 1u << 0x12);
		*(volatile u32 *)phys(0xfed00080) = tpr = 0;
		check(READ_CR(8) == 0);
		wrmsr(MSR_APIC_BASE, base | 0x800);
		let_in();
		check(!highest(irr));
		once();

		handlers[0x91] = on_switch;
		self_ipi(0x91);
		let_in();
		check(switched == i + 1 && !highest(irr));
		/* software-disabled: it takes none from itself, but ends what it has */
		once();
		apic_write(APIC_SVR, 0xff);
		apic_icr(0, ICR_SELF | ICR_ASSERT | 0x71);
		wrmsr(0x83f, 0x71);
		check(!in_map(APIC_IRR, 0x71));
		apic_write(APIC_SVR, 0x1ff);
		once();
		/* off: all is lost */
		self_ipi(0x77);
		irr[0x77] = 0;
		to_xapic();
		check(!in_map(APIC_IRR, 0x77));
		apic_icr(0, ICR_SELF | ICR_ASSERT | 0x71);
		check(!in_map(APIC_IRR, 0x71));
		apic_write(APIC_SVR, 0x1ff);
		set_tpr(0);
		once();
	}
}

/* ---- the page, and what else is at its address --------------------------------- */

/* a fixed length, so that the harness can go behind it */
static u32 peek(u32 offset)
{
	u32 v;

	asm volatile(".byte 0x8b, 0x07" : "=a"(v) : "D"(0xfee00000ul + offset) : "memory");
	return v;
}

static void page(void)
{
	set_tpr(0x23);
	tpr = 0x23;
	apic_write(APIC_TPR, tpr);
	check(peek(APIC_TPR) == 0x23);
	/* memory has its way, and goes again */
	outl(PORT_ASK, INTR_MAP);
	check(peek(APIC_TPR) == INTR_MEMORY);
	check(READ_CR(8) == 2);
	outl(PORT_ASK, INTR_UNMAP);
	check(peek(APIC_TPR) == 0x23);
	/* x2APIC has no page: it is the monitor's to answer */
	base = rdmsr(MSR_APIC_BASE) & ~0xc00ull;
	to_x2apic();
	check(peek(APIC_TPR) == INTR_MMIO);
	check(apic_read(APIC_TPR) == 0x23);
	to_xapic();
	check(peek(APIC_TPR) == 0);
	wrmsr(MSR_APIC_BASE, base);
	check(peek(APIC_TPR) == INTR_MMIO);
	wrmsr(MSR_APIC_BASE, base | 0x800);
	check(peek(APIC_VERSION) == 0x50014);
	/* software-disabled it shows what waits, and takes no more from itself */
	apic_write(APIC_SVR, 0x1ff);
	apic_icr(0, ICR_SELF | ICR_ASSERT | 0x77);
	apic_write(APIC_SVR, 0xff);
	check(in_map(APIC_IRR, 0x77) && apic_read(APIC_SVR) == 0xff);
	apic_icr(0, ICR_SELF | ICR_ASSERT | 0x78);
	check(!in_map(APIC_IRR, 0x78));
}

/* ---- one CPU comes and goes, the other one stays in xAPIC mode -------------------- */

/* x2apic and all that asks for it is the other CPU's */
void ap_main(int cpu)
{
	u64 b = rdmsr(MSR_APIC_BASE);
	u32 i;

	check(rdmsr(MSR_APIC_BASE) >> 12 == 0xfee00);
	for (i = 0; i < arg(2); i++) {
		check(peek(APIC_ID) == (u32)cpu << 24);
		wrmsr(MSR_APIC_BASE, b | 0xc00);
		check(peek(APIC_ID) == INTR_MMIO && rdmsr(0x802) == (u32)cpu);
		wrmsr(MSR_APIC_BASE, b & ~0xc00ull);
		check(peek(APIC_ID) == INTR_MMIO);
		wrmsr(MSR_APIC_BASE, b);
	}
	finished = 1;
	for (;;)
		asm volatile("cli; hlt");
}

static void mixed(void)
{
	start_cpus(2);
	busy = 1;
	while (!finished) {
		set_tpr(0);
		something();
		let_in();
	}
	busy = 0;
	drain();
	check(peek(APIC_ID) == 0);
}

/* ---- two at once: the second waits behind the EOI until IF is set ---------------- */

/* long enough for the host's own interrupts to come now and then */
#define LONG	20000

static void on_behind(struct frame *f)
{
	u32 i;

	if (!in_map(APIC_ISR, f->vector))
		return;
	/* where it interrupts the other's handler, Linux would hold a lock */
	if (!(f->flags & 0x200))
		early++;
	apic_eoi();
	taken++;
	for (i = 0; i < LONG; i++)
		asm volatile("");
}

static void behind(void)
{
	u32 i, n = arg(2);

	handlers[0x50] = handlers[0x80] = on_behind;
	for (i = 0; i < n; i++) {
		apic_icr(0, ICR_SELF | ICR_ASSERT | 0x50);
		apic_icr(0, ICR_SELF | ICR_ASSERT | 0x80);
		sti();
		while (taken < 2 * i + 2)
			asm volatile("");
		cli();
	}
	report(3, early);
	check(taken == 2 * n && !early);
}

int main(void)
{
	static void (* const subject[])(void) = {
		[INTR_NESTED] = nested, [INTR_LEVEL] = level,
		[INTR_MODES] = modes, [INTR_PAGE] = page,
		[INTR_MIXED] = mixed, [INTR_BEHIND] = behind,
	};

	all_handlers();
	apic_enable(arg(1));
	cli();
	subject[arg(0)]();
	return 0;
}
