// SPDX-License-Identifier: GPL-2.0
/* Real mode: segments, far calls, software interrupts, 32-bit operands. */
#include "rt.h"

static volatile u32 ints;

static void count_int(struct frame *f)
{
	ints += f->ax & 0xff;
}

int main(void)
{
	u32 v, cr0;

	puts("real16\n");
	asm volatile("mov %%cr0, %0" : "=r"(cr0));
	check(!(cr0 & 1));

	/* a segment register reaches what linear address << 4 says */
	asm volatile("pushw %%es\n\t mov %1, %%es\n\t"
		     "movl $0x12345678, %%es:4\n\t mov %2, %%es\n\t"
		     "movl %%es:0x14, %0\n\t popw %%es"
		     : "=&r"(v) : "r"((u16)0x7000), "r"((u16)0x6fff) : "memory");
	check(v == 0x12345678);

	/* FS wraps nowhere below 1 MiB and reaches past it with FFFF */
	WRITE((u32 *)phys(0x500), 0x55aa55aa);
	asm volatile("mov %1, %%fs\n\t movl %%fs:0, %0"
		     : "=r"(v) : "r"((u16)0x50) : "memory");
	check(v == 0x55aa55aa);

	handlers[0x42] = count_int;
	asm volatile("mov $5, %%al; int $0x42; mov $7, %%al; int $0x42"
		     : : : "eax", "memory");
	check(ints == 12);

	return 0;
}
