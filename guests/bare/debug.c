// SPDX-License-Identifier: GPL-2.0
/*
 * Single step over instructions that a hypervisor carries out itself: the #DB
 * must come behind each of them, neither lost nor one instruction late. And
 * the debug registers keep what is written.
 */
#include "rt.h"

static volatile ulong stop_at;
static volatile u32 steps;
static volatile ulong step_ip[64];

static void on_step(struct frame *f)
{
	if (steps < 64)
		step_ip[steps] = f->ip;
	steps++;
	if (f->ip == stop_at)
		f->flags &= ~0x100ul;
}

#if MODE == 64
#define SP "rsp"
#define CX "rcx"
#define IP_REG "lea 775f(%%rip), %%rbx; mov %%rbx, %0; "
#else
#define SP "esp"
#define CX "ecx"
#define IP_REG "movl $775f, %0; "
#endif

/* steps from behind POPF to 775, where TF goes off: one for each instruction */
#define STEP(insn, eax, ecx, edx)					\
({									\
	u32 ax = eax, cx = ecx, dx = edx;				\
									\
	steps = 0;							\
	WRITE_DR(6, 0xffff0ff0);					\
	asm volatile(IP_REG "pushf\n\t orw $0x100, (%%" SP ")\n\t"	\
		     "popf\n\t" insn "\n775:\tnop\n\t"			\
		     : "=m"(stop_at), "+a"(ax), "+c"(cx), "+d"(dx) :	\
		     : "memory", "cc", "ebx");				\
	steps;								\
})

static void stepping(void)
{
	handlers[DB] = on_step;
	check(STEP("nop; nop", 0, 0, 0) == 2);
	check((READ_DR(6) & 0xf00f) == 0x4000);
	check(STEP("push %%" SP "; pushf; popf; pop %%" CX, 0, 0, 0) == 4);
	/* to the monitor and back */
	check(STEP("outb %%al, %%dx", 1, 0, PORT_LATCH) == 1);
	check((READ_DR(6) & 0xf00f) == 0x4000);
	check(STEP("nop; outb %%al, %%dx; nop", 2, 0, PORT_LATCH) == 3);
	check((inl(PORT_LATCH_INFO) >> 8) == 2);
	handlers[DB] = 0;
}

/* what the module does by itself */
static void stepping_kernel(void)
{
	handlers[DB] = on_step;
	check(STEP("cpuid; nop", 0, 0, 0) == 2);
	check(STEP("rdmsr; nop", 0, MSR_APIC_BASE, 0) == 2);
	check(STEP("wrmsr; nop", 0, 0x277, 0) == 2);	/* PAT */
	check(STEP("wbinvd; nop", 0, 0, 0) == 2);
	check(step_ip[1] == stop_at);
	handlers[DB] = 0;
}

static void registers(void)
{
	WRITE_DR(0, 0x1234);
	WRITE_DR(1, 0x2345);
	WRITE_DR(2, 0x3456);
	WRITE_DR(3, 0x4567);
	outb(0x80, 0);
	check(READ_DR(0) == 0x1234 && READ_DR(1) == 0x2345);
	check(READ_DR(2) == 0x3456 && READ_DR(3) == 0x4567);
	WRITE_DR(7, 0x400);
	check(READ_DR(7) == 0x400);
}

int main(void)
{
	puts("debug\n");
	registers();
	stepping();
	stepping_kernel();
	return 0;
}
