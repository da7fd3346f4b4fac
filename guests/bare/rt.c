// SPDX-License-Identifier: GPL-2.0
/* The runtime of the bare guests: output, traps, descriptor tables. */
#include "rt.h"

volatile struct last last;
volatile ulong fixup;
void (*handlers[256])(struct frame *f);

extern char trap_stubs[];

void puts(const char *s)
{
	while (*s)
		outb(PORT_CONSOLE, *s++);
}

void report(u32 code, u64 value)
{
	outl(PORT_CODE, code);
	outl(PORT_VALUE_LO, value);
	outl(PORT_VALUE_HI, value >> 32);
}

void quit(u32 code)
{
	outl(PORT_EXIT, code);
	for (;;)
		asm volatile("cli; hlt");
}

u64 arg(int n)
{
	return ((volatile u64 *)phys(GUEST_ARGS))[n];
}

__attribute__((weak)) void ap_main(int cpu)
{
	(void)cpu;
	for (;;)
		asm volatile("cli; hlt");
}

#if MODE != 64
__attribute__((regparm(1)))
#endif
void trap(struct frame *f)
{
	if (handlers[f->vector]) {
		handlers[f->vector](f);
		return;
	}
	last.vector = f->vector;
	last.error = f->error;
	last.ip = f->ip;
	last.cs = f->cs;
	last.flags = f->flags;
#if MODE != 16
	last.cr2 = READ_CR(2);
#endif
	last.count++;
	if (!fixup) {
		report(f->vector, f->ip);
		quit(0x1000 + f->vector);
	}
	f->ip = fixup;
	fixup = 0;
	/* a trap that single-steps must not step the way out */
	f->flags &= ~0x100;
}

int try_rdmsr(u32 index, u64 *v)
{
	u32 count = last.count, lo = 0, hi = 0;

	asm volatile("push %%" AX "\n\t" SAVE_FIXUP "pop %%" AX "\n\t"
		     "rdmsr" CLEAR_FIXUP
		     : "+a"(lo), "+d"(hi) : "c"(index) : "memory", "cc");
	*v = (u64)hi << 32 | lo;
	return count == last.count ? -1 : last.vector;
}

int try_wrmsr(u32 index, u64 v)
{
	u32 count = last.count, lo = v;

	asm volatile("push %%" AX "\n\t" SAVE_FIXUP "pop %%" AX "\n\t"
		     "wrmsr" CLEAR_FIXUP
		     : "+a"(lo) : "d"((u32)(v >> 32)), "c"(index)
		     : "memory", "cc");
	return count == last.count ? -1 : last.vector;
}

#if MODE == 16

void trap_init(void)
{
	volatile u32 *ivt = phys(0);
	int i;

	for (i = 0; i < 256; i++)
		ivt[i] = (u32)trap_stubs + i * 16;
}

#else

/* One for all CPUs would do for the IDT, but a TSS is busy once loaded. */
#define MAX_CPUS	64

static struct {
	u32 words[2 + 2 * (MODE == 64)];
} idt[256];

static struct {
	u8 bytes[104];
} tss[MAX_CPUS] __attribute__((aligned(128)));

static u8 trap_stacks[MAX_CPUS][1024] __attribute__((aligned(16)));

extern u64 gdt[];

static void set_gate(int vector, ulong target)
{
	u32 *g = idt[vector].words;

	/* interrupt gate, DPL 3 so that INT n works from everywhere */
	g[0] = (MODE == 64 ? SEL_CODE64 : SEL_CODE32) << 16 | (target & 0xffff);
	g[1] = (target & 0xffff0000) | 0xee00;
}

void set_idt(void *base, u32 limit)
{
	struct {
		u16 limit;
		ulong base;
	} __attribute__((packed)) p = { limit, (ulong)base };

	asm volatile("lidt %0" : : "m"(p));
}

#if MODE == 64
void set_ist1(ulong stack)
{
	*(u64 *)&tss[0].bytes[36] = stack;
}
#endif

/* On each CPU. The next one waits in start_cpus' order, so gdt is ours. */
void trap_init(void)
{
	static volatile u32 next;
	u32 cpu = __atomic_fetch_add(&next, 1, __ATOMIC_SEQ_CST);
	ulong base = (ulong)&tss[cpu];
	ulong stack = (ulong)&trap_stacks[cpu + 1];
	int i;

	if (cpu == 0)
		for (i = 0; i < 256; i++)
			set_gate(i, (ulong)trap_stubs + i * 16);
	set_idt(idt, sizeof(idt) - 1);

#if MODE == 64
	*(u64 *)&tss[cpu].bytes[4] = stack;
#else
	*(u32 *)&tss[cpu].bytes[4] = stack;
	*(u32 *)&tss[cpu].bytes[8] = SEL_DATA;
#endif
	*(u16 *)&tss[cpu].bytes[102] = 104;
	gdt[SEL_TSS / 8] = 103 | (u64)(base & 0xffffff) << 16 |
			   0x89ull << 40 | (u64)(base >> 24) << 56;
	gdt[SEL_TSS / 8 + 1] = 0;
	asm volatile("ltr %w0" : : "r"(SEL_TSS));
}

#endif
