// SPDX-License-Identifier: GPL-2.0
/*
 * Each exception that the mode has, with its error code; and what an
 * instruction of the virtualization extensions gives in a guest: #UD.
 */
#include "rt.h"

static void simple(void)
{
	u32 before = last.count;

	check(TRY("divl %%ebx", "b"(0), "d"(0)) == DE);
	check(TRY("int3") == BP);
	check(TRY("ud2") == UD);
	check(TRY(".byte 0x0f, 0x22, 0xc8") == UD);	/* MOV CR1, EAX */
	check(last.count == before + 4);
#if MODE != 64
	check(TRY("movb $0x7f, %%al; addb $1, %%al; into") == OF);
#endif
	check(TRY("nop") == -1);
}

#if MODE == 64
#define FLAGS_STEP "pushfq; orq $0x100, (%%rsp); popfq; "
#elif MODE == 32
#define FLAGS_STEP "pushfl; orl $0x100, (%%esp); popfl; "
#else
#define FLAGS_STEP "pushfl; popl %%eax; orl $0x100, %%eax; pushl %%eax; popfl; "
#endif

static void debug(void)
{
	WRITE_DR(6, 0xffff0ff0);
	check(TRY(FLAGS_STEP "nop; nop; nop") == DB);
	check((READ_DR(6) & 0x400f) == 0x4000);
	check(last.flags & 0x100);
}

static void fpu(void)
{
	static u16 cw = 0x037b;		/* divide by zero unmasked */
	ulong cr0 = READ_CR(0) & ~0xcul;

	/* TS: #NM; EM: #NM for x87; NE: errors are exceptions */
	WRITE_CR(0, cr0 | 8);
	check(TRY("fnop") == NM);
	asm volatile("clts");
	check(TRY("fnop") == -1);
	WRITE_CR(0, cr0 | 4);
	check(TRY("fnop") == NM);
	WRITE_CR(0, cr0 | 0x20);
	check(TRY("fninit; fldcw (%0); fld1; fldz; fdivrp; fwait",
		  "b"(&cw)) == MF);
	asm volatile("fninit");
}

/*
 * VMRUN and its like exit or fault in hardware; a guest sees #UD alone. RAX is
 * a physical address that exists: some CPUs look at it before they exit.
 */
#define VIRT(a, b, c) \
	TRY("xorl %%eax, %%eax; .byte " #a ", " #b ", " #c)

static void virtualization(void)
{
	check(VIRT(0x0f, 0x01, 0xd8) == UD);	/* VMRUN */
	check(VIRT(0x0f, 0x01, 0xda) == UD);	/* VMLOAD */
	check(VIRT(0x0f, 0x01, 0xdb) == UD);	/* VMSAVE */
	check(VIRT(0x0f, 0x01, 0xdc) == UD);	/* STGI */
	check(VIRT(0x0f, 0x01, 0xdd) == UD);	/* CLGI */
	check(VIRT(0x0f, 0x01, 0xde) == UD);	/* SKINIT */
	check(VIRT(0x0f, 0x01, 0xdf) == UD);	/* INVLPGA */
	check(VIRT(0x0f, 0x01, 0xc2) == UD);	/* VMLAUNCH */
	check(VIRT(0x0f, 0x01, 0xc4) == UD);	/* VMXOFF */
	check(VIRT(0x0f, 0x78, 0xc0) == UD);	/* VMREAD EAX, EAX */
}

#if MODE != 16

static void selectors(void)
{
	check(TRY("mov %w0, %%ds", "b"(SEL_ABSENT)) == NP);
	check(last.error == SEL_ABSENT);
	check(TRY("mov %w0, %%ss", "b"(SEL_ABSENT)) == SS);
	check(last.error == SEL_ABSENT);
	check(TRY("mov %w0, %%ds", "b"(0x1000)) == GP);
	check(last.error == 0x1000);
	/* an LDT selector while there is no LDT */
	check(TRY("mov %w0, %%es", "b"(0x0c)) == GP);
	check(last.error == 0x0c);
	check(TRY("mov %w0, %%ss", "b"(SEL_CODE32)) == GP);
#if MODE == 32
	/* IRET from a nested task whose back link is no TSS */
	check(TRY("pushl $0x4002; popfl; iret") == TS);
	asm volatile("pushl $2; popfl" : : : "cc");
#else
	check(TRY("pushq $0x4002; popfq; iretq") == GP);
	asm volatile("pushq $2; popfq" : : : "cc");
#endif
}

static void privileged(void)
{
	check(try_wrmsr(0xdeadbeef, 0) == GP);
	check(TRY("clts") == -1);
}

/* #GP whose gate is not present: #NP while #GP is delivered is #DF */
static void double_fault(void)
{
	struct {
		u16 limit;
		ulong base;
	} __attribute__((packed)) p;
	u8 *gate;

	asm volatile("sidt %0" : "=m"(p));
	gate = phys(p.base + GP * MODE / 4 + 5);
	*gate &= 0x7f;
	check(TRY("mov %w0, %%ds", "b"(0x1000)) == DF);
	check(last.error == 0);
	*gate |= 0x80;
	check(TRY("mov %w0, %%ds", "b"(0x1000)) == GP);
}

static int is_amd(void)
{
	u32 r[4];

	cpuid(0, 0, r);
	return r[2] == 0x444d4163;	/* "cAMD" */
}

static void hypercall(void)
{
	ulong ret = 0x7fffff00;

	if (!is_amd())
		return;
	asm volatile(".byte 0x0f, 0x01, 0xd9"		/* VMMCALL */
		     : "+a"(ret) : "b"(0), "c"(0), "d"(0), "S"(0) : "memory");
	check(ret == -1000ul);
}

#endif

#if MODE == 64
static void page_faults(void)
{
	volatile u64 *pd = phys(GUEST_PD);
	ulong page = GUEST_FREE + 0x100000;	/* 2 MiB, entry 1 */

	pd[1] &= ~1ull;
	WRITE_CR(3, READ_CR(3));
	check(TRY("movb (%0), %%al", "b"(page + 0x123)) == PF);
	check(last.error == 0 && last.cr2 == page + 0x123);
	check(TRY("movb %%al, (%0)", "b"(page + 0x456)) == PF);
	check(last.error == 2 && last.cr2 == page + 0x456);
	/* read-only binds the supervisor only with WP */
	pd[1] = (pd[1] | 1) & ~2ull;
	WRITE_CR(3, READ_CR(3));
	WRITE_CR(0, READ_CR(0) | 0x10000);
	check(TRY("movb %%al, (%0)", "b"(page)) == PF);
	check(last.error == 3);
	WRITE_CR(0, READ_CR(0) & ~0x10000ul);
	check(TRY("movb %%al, (%0)", "b"(page)) == -1);
	/* a reserved bit: the upper half of a large page's address, bit 13 */
	pd[1] = 0x200087 | 1 << 13;
	WRITE_CR(3, READ_CR(3));
	check(TRY("movb (%0), %%al", "b"(page)) == PF);
	/* emulated CPUs leave P clear in it */
	check((last.error & 8) == 8);
	pd[1] = 0x200087;
	WRITE_CR(3, READ_CR(3));
}
#endif

int main(void)
{
	puts("exceptions\n");
	simple();
	debug();
	fpu();
	virtualization();
#if MODE != 16
	selectors();
	privileged();
	double_fault();
	hypercall();
#endif
#if MODE == 64
	page_faults();
#endif
	return 0;
}
