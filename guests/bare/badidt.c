// SPDX-License-Identifier: GPL-2.0
/*
 * Exceptions whose delivery goes wrong. arg(0) picks:
 *   0  IDT of limit 0, then #UD: triple fault
 *   1  gates not present, then #UD: triple fault
 *   2  #DB forever: an execution breakpoint on the handler of #DB itself
 *   3  #AC forever: ring 3 with a misaligned stack, handlers there as well
 *   4  #UD forever: the handler starts with UD2
 *   5  #PF forever: the handler's page is not there, the stack is
 *   6  stack of the handler not there: double fault, then triple fault
 *   7  nothing: takes back what 2 has set in a CPU that keeps breakpoints armed
 * The endless ones never come back: the harness stops them from outside.
 */
#include "rt.h"

/* an interrupt gate on a stack of its own, where each frame covers the last */
#define GATE	0x8e00
#define IST1	1

static struct {
	u32 words[4];
} table[32];

static void gate(int vector, void *target)
{
	table[vector].words[0] = SEL_CODE64 << 16 | ((ulong)target & 0xffff);
	table[vector].words[1] = ((ulong)target & 0xffff0000) | GATE | IST1;
	table[vector].words[2] = 0;
}

void self_break(void);
void self_ud(void);
void user_code(void);

asm(".balign 16\n"
    "self_break:\n\t nop\n\t jmp self_break\n"
    "self_ud:\n\t ud2\n"
    /* misaligned, with AC on and AM on: #AC, whose handler IRETs right back */
    ".balign 16\n"
    "user_code:\n\t mov 1(%rsp), %rax\n\t jmp user_code\n"
    "ac_handler:\n\t add $8, %rsp\n\t iretq\n");

void ac_handler(void);

static void debug_loop(void)
{
	gate(DB, self_break);
	set_idt(table, sizeof(table) - 1);
	WRITE_DR(0, (ulong)self_break);
	WRITE_DR(7, 0x402);
	self_break();
}

/*
 * Emulated CPUs forget DR7 at an exit, but not the breakpoints that it armed.
 * Another type for all of them removes those, even though DR7 looks clear.
 */
static void disarm(void)
{
	WRITE_DR(7, 0x11110400);
	WRITE_DR(7, 0x400);
}

static void alignment_loop(void)
{
	gate(AC, ac_handler);
	set_idt(table, sizeof(table) - 1);
	WRITE_CR(0, READ_CR(0) | 0x40000);
	outl(PORT_ASK, 3);
	asm volatile("push %0; push $0x7f000; push $0x40002; push %1; push %2; iretq"
		     : : "i"(SEL_USER_DATA), "i"(SEL_USER64), "r"(user_code));
}

static void page_fault_loop(void)
{
	volatile u64 *pd = phys(GUEST_PD);

	pd[8] = 0;			/* 16 MiB is not there */
	WRITE_CR(3, READ_CR(3));
	gate(PF, phys(0x1000000));
	set_idt(table, sizeof(table) - 1);
	asm volatile("mov 0x1000000, %%eax" : : : "eax");
}

static void no_stack(void)
{
	gate(UD, self_ud);
	gate(PF, self_ud);
	gate(DF, self_ud);
	set_ist1(0x300000000);
	set_idt(table, sizeof(table) - 1);
	asm volatile("ud2");
}

int main(void)
{
	puts("badidt\n");
	outl(PORT_ASK, 1);
	set_ist1(GUEST_STACKS - 7 * GUEST_STACK);
	switch (arg(0)) {
	case 0:
		set_idt(table, 0);
		asm volatile("ud2");
		break;
	case 1:
		set_idt(table, sizeof(table) - 1);
		asm volatile("ud2");
		break;
	case 2:
		debug_loop();
		break;
	case 3:
		alignment_loop();
		break;
	case 4:
		gate(UD, self_ud);
		set_idt(table, sizeof(table) - 1);
		asm volatile("ud2");
		break;
	case 5:
		page_fault_loop();
		break;
	case 6:
		no_stack();
		break;
	case 7:
		disarm();
		return 0;
	}
	return 1;
}
