// SPDX-License-Identifier: GPL-2.0
/*
 * The interrupt shadow: nothing is delivered between STI or MOV SS and the
 * next instruction, and what was pending comes right behind that one. The
 * timer interrupt is pending each time. arg(1): rounds.
 */
#include "rt.h"

#define VECTOR	0x40

static volatile u32 ticks;
static volatile ulong tick_ip;

static void on_tick(struct frame *f)
{
	if (apic_early(f))
		return;
	ticks++;
	tick_ip = f->ip;
	apic_eoi();
}

/* a self-IPI with interrupts off: in IRR when this returns */
static void make_pending(void)
{
	apic_icr(0, ICR_SELF | ICR_ASSERT | VECTOR);
	while (!(apic_read(APIC_IRR + 0x10 * (VECTOR / 32)) & 1 << VECTOR % 32))
		pause();
}

/* `insn` runs with a pending interrupt; it must be taken at label 1 exactly */
#define TAKEN_AT_1(insn)						\
do {									\
	ulong at;							\
									\
	cli();								\
	make_pending();							\
	ticks = 0;							\
	asm volatile("lea 1f(%%rip), %0\n\t" insn			\
		     : "=&r"(at) : : "memory", "cc", "ecx");		\
	cli();								\
	check(ticks == 1);						\
	check(tick_ip == at);						\
} while (0)

static void sti_hlt_pending(void)
{
	/* an interrupt between STI and HLT would leave HLT asleep for good */
	TAKEN_AT_1("sti; hlt\n1:\tnop; nop\n\t");
}

static void sti_shadow(void)
{
	TAKEN_AT_1("sti; nop\n1:\tnop; nop\n\t");
	/* the shadowed instruction exits to the monitor, or to the module */
	TAKEN_AT_1("sti; outb %%al, $0x80\n1:\tnop; nop\n\t");
	TAKEN_AT_1("sti; inb $0x80, %%al\n1:\tnop; nop\n\t");
	/* STI while interrupts are on already casts no shadow: POPF before */
	TAKEN_AT_1("pushf; orw $0x200, (%%rsp); popf\n1:\tsti; nop; nop\n\t");
}

static void mov_ss(void)
{
	TAKEN_AT_1("mov %%ss, %%ecx; pushf; orw $0x200, (%%rsp); "
		   "mov %%ecx, %%ss; popf\n1:\tnop; nop\n\t");
}

/* CLI behind STI: the interrupt never gets its chance */
static void sti_cli(void)
{
	cli();
	make_pending();
	ticks = 0;
	asm volatile("sti; cli; nop; nop; nop" : : : "memory");
	check(ticks == 0);
	asm volatile("sti; nop; nop; cli" : : : "memory");
	check(ticks == 1);
}

int main(void)
{
	u32 i, rounds = arg(1);

	puts("shadow\n");
	handlers[VECTOR] = on_tick;
	apic_enable(arg(0));
	for (i = 0; i < rounds; i++) {
		sti_hlt_pending();
		sti_shadow();
		mov_ss();
		sti_cli();
	}
	return 0;
}
