/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The runtime of the bare guests, in the mode they are built for.
 *
 * A guest has `int main(void)`; what it returns is the result, 0 is success.
 * check() ends it at once with the line's number, which the harness prints;
 * a fault that nobody expected ends it with 0x1000 + vector. Guests with more
 * CPUs have `void ap_main(int cpu)` too.
 *
 * TRY("instruction") executes something that may fault and goes on behind it;
 * it returns the vector or -1, and `last` says the rest.
 */
#ifndef GUEST_RT_H
#define GUEST_RT_H

#include "abi.h"
#include "gdt.h"

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef unsigned long ulong;

#if MODE == 16
struct frame {
	u16 es, ds;
	u32 di, si, bp, sp_unused, bx, dx, cx, ax;
	u32 vector, error;
	u16 ip, cs, flags;
};
#elif MODE == 32
struct frame {
	u32 es, ds;
	u32 di, si, bp, sp_unused, bx, dx, cx, ax;
	u32 vector, error;
	u32 ip, cs, flags;
	u32 user_sp, user_ss;		/* from ring 3 only */
};
#else
struct frame {
	u64 r15, r14, r13, r12, r11, r10, r9, r8;
	u64 di, si, bp, bx, dx, cx, ax;
	u64 vector, error;
	u64 ip, cs, flags, sp, ss;
};
#endif

enum { DE, DB, NMI, BP, OF, BR, UD, NM, DF, TS = 10, NP, SS, GP, PF, MF = 16,
       AC, MC, XM };

/* the last trap that was caught; count goes up with each */
struct last {
	int vector;
	u32 count;
	ulong error, ip, cs, flags, cr2;
};

extern volatile struct last last;
/* where the next trap goes on; 0: an unexpected trap ends the guest */
extern volatile ulong fixup;
/* interrupt handlers: called instead of all the above */
extern void (*handlers[256])(struct frame *f);
extern volatile u32 cpus_started;

int main(void);
void ap_main(int cpu);

/* CPU 0's stack for gates that ask for IST 1; 64-bit only */
void set_ist1(ulong stack);
void set_idt(void *base, u32 limit);
void puts(const char *s);
void report(u32 code, u64 value);
void quit(u32 code) __attribute__((noreturn));
u64 arg(int n);

#define check(cond)							\
	do {								\
		if (!(cond))						\
			quit(__LINE__);					\
	} while (0)

#if MODE == 64
#define AX		"rax"
#define SAVE_FIXUP	"lea 771f(%%rip), %%rax\n\tmov %%rax, fixup\n\t"
#define CLEAR_FIXUP	"\n771:\tmovq $0, fixup\n\t"
#else
#define AX		"eax"
#define SAVE_FIXUP	"movl $771f, fixup\n\t"
#define CLEAR_FIXUP	"\n771:\tmovl $0, fixup\n\t"
#endif

/* Inputs as in inline assembly, but not in RAX and RCX, which are lost. */
#define TRY(insn, ...)							\
({									\
	u32 try_count = last.count;					\
	asm volatile(SAVE_FIXUP insn CLEAR_FIXUP			\
		     : : __VA_ARGS__ : "memory", "cc", "eax", "ecx");		\
	try_count == last.count ? -1 : last.vector;			\
})

static inline void outb(u16 port, u8 v)
{
	asm volatile("outb %0, %1" : : "a"(v), "Nd"(port) : "memory");
}

static inline void outw(u16 port, u16 v)
{
	asm volatile("outw %0, %1" : : "a"(v), "Nd"(port) : "memory");
}

static inline void outl(u16 port, u32 v)
{
	asm volatile("outl %0, %1" : : "a"(v), "Nd"(port) : "memory");
}

static inline u8 inb(u16 port)
{
	u8 v;

	asm volatile("inb %1, %0" : "=a"(v) : "Nd"(port) : "memory");
	return v;
}

static inline u16 inw(u16 port)
{
	u16 v;

	asm volatile("inw %1, %0" : "=a"(v) : "Nd"(port) : "memory");
	return v;
}

static inline u32 inl(u16 port)
{
	u32 v;

	asm volatile("inl %1, %0" : "=a"(v) : "Nd"(port) : "memory");
	return v;
}

static inline void cpuid(u32 fn, u32 index, u32 *r)
{
	asm volatile("cpuid" : "=a"(r[0]), "=b"(r[1]), "=c"(r[2]), "=d"(r[3])
		     : "a"(fn), "c"(index));
}

static inline u64 rdmsr(u32 index)
{
	u32 lo, hi;

	asm volatile("rdmsr" : "=a"(lo), "=d"(hi) : "c"(index));
	return (u64)hi << 32 | lo;
}

static inline void wrmsr(u32 index, u64 v)
{
	asm volatile("wrmsr" : : "a"((u32)v), "d"((u32)(v >> 32)), "c"(index)
		     : "memory");
}

/* vector of the fault, or -1; RDMSR leaves its answer in *v */
int try_rdmsr(u32 index, u64 *v);
int try_wrmsr(u32 index, u64 v);

static inline u64 rdtsc(void)
{
	u32 lo, hi;

	asm volatile("rdtsc" : "=a"(lo), "=d"(hi) : : "memory");
	return (u64)hi << 32 | lo;
}

#define READ_CR(n)							\
({									\
	ulong cr_value;							\
	asm volatile("mov %%cr" #n ", %0" : "=r"(cr_value) : : "memory");	\
	cr_value;							\
})
#define WRITE_CR(n, v)							\
	asm volatile("mov %0, %%cr" #n : : "r"((ulong)(v)) : "memory")
#define READ_DR(n)							\
({									\
	ulong dr_value;							\
	asm volatile("mov %%dr" #n ", %0" : "=r"(dr_value) : : "memory");	\
	dr_value;							\
})
#define WRITE_DR(n, v)							\
	asm volatile("mov %0, %%dr" #n : : "r"((ulong)(v)) : "memory")

static inline void sti(void) { asm volatile("sti" : : : "memory"); }
static inline void cli(void) { asm volatile("cli" : : : "memory"); }
/* one instruction of shadow: nothing is taken between the two */
static inline void sti_hlt(void) { asm volatile("sti; hlt" : : : "memory"); }
static inline void pause(void) { asm volatile("pause" : : : "memory"); }

#define READ(p)		(*(volatile typeof(*(p)) *)&(*(p)))
#define WRITE(p, v)	(*(volatile typeof(*(p)) *)&(*(p)) = (v))

static inline void *phys(ulong gpa)
{
	void *p = (void *)gpa;

	/* the compiler thinks that nothing lives at small addresses */
	asm("" : "+r"(p));
	return p;
}

/* ---- local APIC: apic.c ---------------------------------------------------- */

#define APIC_ID		0x020
#define APIC_VERSION	0x030
#define APIC_TPR	0x080
#define APIC_PPR	0x0a0
#define APIC_EOI	0x0b0
#define APIC_LDR	0x0d0
#define APIC_DFR	0x0e0
#define APIC_SVR	0x0f0
#define APIC_ISR	0x100
#define APIC_IRR	0x200
#define APIC_ESR	0x280
#define APIC_ICR	0x300
#define APIC_ICR2	0x310
#define APIC_LVTT	0x320
#define APIC_LVT0	0x350
#define APIC_LVT1	0x360
#define APIC_TMICT	0x380
#define APIC_TMCCT	0x390
#define APIC_TDCR	0x3e0

#define ICR_INIT	0x00500
#define ICR_STARTUP	0x00600
#define ICR_NMI		0x00400
#define ICR_ASSERT	0x04000
#define ICR_SELF	0x40000
#define ICR_ALL		0x80000
#define ICR_OTHERS	0xc0000

#define MSR_APIC_BASE	0x1b
#define MSR_TSC_DEADLINE 0x6e0

extern int x2apic;			/* apic_* go through MSRs */
void apic_enable(int want_x2apic);	/* on this CPU */
u32 apic_read(u32 reg);
void apic_write(u32 reg, u32 v);
void apic_icr(u32 dest, u32 low);
u32 apic_id(void);
void apic_eoi(void);
/* an emulator's mistake, taken back: the handler is to do nothing */
int apic_early(struct frame *f);
/* INIT, two SIPIs to everybody else; waits until `cpus` CPUs are up */
void start_cpus(u32 cpus);

#endif /* GUEST_RT_H */
