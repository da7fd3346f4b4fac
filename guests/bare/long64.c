// SPDX-License-Identifier: GPL-2.0
/* Long mode: all 16 registers, NX, non-canonical addresses, SYSCALL, SSE. */
#include "rt.h"

#define EFER		0xc0000080
#define STAR		0xc0000081
#define LSTAR		0xc0000082
#define SFMASK		0xc0000084
#define FS_BASE		0xc0000100
#define GS_BASE		0xc0000101
#define KERNEL_GS_BASE	0xc0000102

#define CALL	"lea 1f(%%rip), %%rcx; jmp *%%rsi; 1:"

static void nx(void)
{
	volatile u64 *pd = phys(GUEST_PD);
	u8 *code = phys(0x300000);

	code[0] = 0xff;			/* jmp *%rcx: a return without a stack */
	code[1] = 0xe1;
	check(TRY(CALL, "S"(code)) == -1);
	wrmsr(EFER, rdmsr(EFER) | 0x800);
	pd[1] |= 1ull << 63;
	WRITE_CR(3, READ_CR(3));
	check(TRY(CALL, "S"(code)) == PF);
	check(last.error == 0x11 && last.cr2 == 0x300000);
	pd[1] &= ~(1ull << 63);
	WRITE_CR(3, READ_CR(3));
	check(TRY(CALL, "S"(code)) == -1);
}

static void segments(void)
{
	static u64 a = 0xa, b = 0xb;
	u64 v;

	wrmsr(FS_BASE, (ulong)&a);
	wrmsr(GS_BASE, (ulong)&b);
	asm volatile("mov %%fs:0, %0" : "=r"(v) : : "memory");
	check(v == 0xa);
	asm volatile("mov %%gs:0, %0" : "=r"(v) : : "memory");
	check(v == 0xb);
	wrmsr(KERNEL_GS_BASE, (ulong)&a);
	asm volatile("swapgs; mov %%gs:0, %0; swapgs" : "=r"(v) : : "memory");
	check(v == 0xa);
}

static void syscall(void)
{
	u64 rcx, r11;

	wrmsr(EFER, rdmsr(EFER) | 1);
	/* CS = SEL_CODE64 and SS the one behind it; no descriptor is read */
	wrmsr(STAR, (u64)SEL_CODE64 << 32);
	asm volatile("lea 1f(%%rip), %%rax\n\t"
		     "mov %%rax, %%rdx\n\t shr $32, %%rdx\n\t"
		     "mov %2, %%ecx\n\t wrmsr\n\t"
		     "lea 2f(%%rip), %%rbx\n\t"
		     "syscall\n"
		     "2:\t ud2\n"
		     "1:\t sub %%rbx, %%rcx\n\t"
		     "mov %%rcx, %0\n\t mov %%r11, %1\n\t"
		     /* SS is SEL_ABSENT by name, which an IRET would refuse */
		     "mov %3, %%ecx\n\t mov %%ecx, %%ss"
		     : "=m"(rcx), "=m"(r11) : "i"(LSTAR), "i"(SEL_DATA)
		     : "rax", "rbx", "rcx", "rdx", "r11", "memory", "cc");
	check(rcx == 0);
	check(r11 & 2);
}

static void sse(void)
{
	static u64 in[2] = { 0x1122334455667788, 0x99aabbccddeeff00 }, out[2];

	asm volatile("movups %1, %%xmm5; outb %%al, $0x80; movups %%xmm5, %0"
		     : "=m"(out) : "m"(in) : "memory");
	check(out[0] == in[0] && out[1] == in[1]);
}

int main(void)
{
	u64 v = 1;
	int vector;

	puts("long64\n");
	check((rdmsr(EFER) & 0x500) == 0x500);
	/* each register keeps its value over an exit to the monitor */
	asm volatile("mov $8, %%r8; mov $9, %%r9; mov $10, %%r10\n\t"
		     "mov $11, %%r11; mov $12, %%r12; mov $13, %%r13\n\t"
		     "mov $14, %%r14; mov $15, %%r15; outb %%al, $0x80\n\t"
		     "lea (%%r8, %%r9), %0\n\t add %%r10, %0\n\t"
		     "add %%r11, %0\n\t add %%r12, %0\n\t add %%r13, %0\n\t"
		     "add %%r14, %0\n\t add %%r15, %0"
		     : "=&a"(v) : : "r8", "r9", "r10", "r11", "r12", "r13",
		     "r14", "r15", "cc");
	check(v == 92);
	/* non-canonical: #GP, and through RSP #SS */
	check(TRY("mov (%%rdx), %%rcx", "d"(1ull << 63)) == GP);
	vector = TRY("mov (%%rsp, %%rdx), %%rcx", "d"(1ull << 63));
	/* emulated CPUs know only #GP for both */
	check(vector == SS || vector == GP);
	nx();
	segments();
	syscall();
	sse();
	return 0;
}
