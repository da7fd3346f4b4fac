// SPDX-License-Identifier: GPL-2.0
/* Protected mode: 32-bit and 16-bit code, PSE, PAE paging, ring 3. */
#include "rt.h"

#define PD_PSE		0x200000	/* page directories of this test */
#define PDPT_PAE	0x201000
#define PD_PAE		0x202000
#define CR4_PSE		0x10
#define CR4_PAE		0x20
#define CR0_PG		0x80000000

static void no_paging(void)
{
	WRITE_CR(0, READ_CR(0) & ~CR0_PG);
	WRITE_CR(4, 0);
}

/* 4 MiB pages; 0x80000000 shows what is at 4 MiB - 4 MiB = 0 too */
static void pse(void)
{
	volatile u32 *pd = phys(PD_PSE);

	pd[0] = 0x83;
	pd[0x200] = 0x83;
	WRITE_CR(3, PD_PSE);
	WRITE_CR(4, CR4_PSE);
	WRITE_CR(0, READ_CR(0) | CR0_PG);
	WRITE((u32 *)phys(0x300000), 0xcafe);
	check(READ((u32 *)phys(0x80300000)) == 0xcafe);
	check(TRY("movl 0x90000000, %%ecx") == PF);
	check(last.cr2 == 0x90000000 && last.error == 0);
	check(TRY("movl %%ecx, 0x90000123") == PF);
	check(last.cr2 == 0x90000123 && last.error == 2);
	no_paging();
}

static void pae(void)
{
	volatile u64 *pdpt = phys(PDPT_PAE), *pd = phys(PD_PAE);

	pdpt[0] = PD_PAE | 1;
	pdpt[1] = 0;
	pdpt[2] = PD_PAE | 1;
	pdpt[3] = 0;
	pd[0] = 0x83;
	pd[1] = 0x83 | 0x200000;
	WRITE_CR(3, PDPT_PAE);
	WRITE_CR(4, CR4_PAE);
	WRITE_CR(0, READ_CR(0) | CR0_PG);
	WRITE((u32 *)phys(0x300000), 0xbeef);
	check(READ((u32 *)phys(0x80300000)) == 0xbeef);
	check(TRY("movl 0x40000000, %%ecx") == PF);
	no_paging();
}

static volatile u32 from_ring3;

static void ring3_call(struct frame *f)
{
	from_ring3 = f->cs & 3;
	f->ip = f->bx;
	f->cs = SEL_CODE32;
}

/* into ring 3 by IRET, back by INT 0x80 whose handler rewrites the frame */
static void ring3(void)
{
	handlers[0x80] = ring3_call;
	/* IRET to ring 3 empties DS and ES: reload before memory is touched */
	asm volatile("push %%ebp\n\t"
		     "mov %%esp, %%esi\n\t"
		     "mov $1f, %%ebx\n\t"
		     "push %[ss]\n\t push $0x7f000\n\t push $2\n\t"
		     "push %[cs]\n\t push $2f\n\t"
		     "iret\n"
		     "2:\t int $0x80\n"
		     "1:\t mov %%esi, %%esp\n\t"
		     "mov %[data], %%ecx\n\t"
		     "mov %%ecx, %%ds\n\t mov %%ecx, %%es\n\t"
		     "pop %%ebp"
		     : : [ss] "i"(SEL_USER_DATA), [cs] "i"(SEL_USER32),
		     [data] "i"(SEL_DATA)
		     : "ebx", "ecx", "esi", "edi", "memory", "cc");
	check(from_ring3 == 3);
}

int main(void)
{
	puts("prot32\n");
	check(READ_CR(0) & 1);
	check(!(READ_CR(0) & CR0_PG));
	/* no paging: all 4 GiB are there, above RAM is device memory */
	WRITE((u32 *)phys(GUEST_FREE), 1);
	check(READ((u32 *)phys(GUEST_FREE)) == 1);
	pse();
	pae();
	ring3();
	return 0;
}
