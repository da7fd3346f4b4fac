// SPDX-License-Identifier: GPL-2.0
/*
 * Goes where nothing is. arg(0) picks: 0 jumps to an unmapped address, 1 into
 * device memory, 2 puts the stack there and pushes, 3 the page tables, 4 the
 * IDT and then faults, 5 jumps into the APIC. None of them gets anywhere.
 */
#include "rt.h"

#define UNMAPPED	0x80000000ul

int main(void)
{
	puts("nowhere\n");
	switch (arg(0)) {
	case 0:
		asm volatile("jmp *%0" : : "r"(UNMAPPED));
		break;
	case 1:
		asm volatile("jmp *%0" : : "r"((ulong)GUEST_MMIO));
		break;
	case 2:
		asm volatile("mov %0, %%rsp; push %%rax" : : "r"(UNMAPPED + 0x800));
		break;
	case 3:
		WRITE_CR(3, UNMAPPED);
		break;
	case 5:
		apic_enable(0);
		asm volatile("jmp *%0" : : "r"(0xfee00000ul));
		break;
	case 4:
		set_idt(phys(UNMAPPED), 0xfff);
		asm volatile("ud2");
		break;
	}
	return 1;
}
