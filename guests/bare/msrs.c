// SPDX-License-Identifier: GPL-2.0
/*
 * Every MSR that a guest may have, each with what it takes and what it
 * refuses; and a sample of those that do not exist.
 */
#include "rt.h"

#define EFER		0xc0000080
#define CANONICAL	0xffff800000001000ull

struct row {
	u32 index;
	u64 good, bad;		/* bad == good: nothing is refused */
};

static const struct row rows[] = {
	{ 0x277, 0x0007040600010500, 0x0207040600010500 },	/* PAT */
	{ 0x174, 0x10, 0x10 },					/* SYSENTER_CS */
	{ 0x175, CANONICAL, CANONICAL },
	{ 0x176, CANONICAL, CANONICAL },
	{ 0xc0000081, 0x0023001000000000, 0x0023001000000000 },	/* STAR */
	{ 0xc0000082, CANONICAL, CANONICAL },			/* LSTAR */
	{ 0xc0000083, CANONICAL, CANONICAL },			/* CSTAR */
	{ 0xc0000084, 0x47700, 0x47700 },			/* SFMASK */
	{ 0xc0000100, CANONICAL, CANONICAL },			/* FS base */
	{ 0xc0000101, CANONICAL, CANONICAL },			/* GS base */
	{ 0xc0000102, CANONICAL, CANONICAL },			/* kernel GS base */
	{ 0x2ff, 0x806, 0x807 },				/* MTRR default */
	{ 0x200, 0x80000006, 0x80000002 },			/* MTRR base 0 */
	{ 0x201, 0xffff800ull << 4 & ~0x7ffull, 0x7ff },	/* MTRR mask 0 */
	{ 0x250, 0x0606060606060606, 0x0606060606060602 },
	{ 0x258, 0x0, 0x0200000000000000 },
	{ 0x26f, 0x0505050505050505, 0x0303030303030303 },
};

static const u32 absent[] = {
	0xdeadbeef, 0x480 /* VMX_BASIC */, 0xc0010117 /* VM_HSAVE_PA */,
	0x600, 0x3a + 0x1000, 0x40000000, 0xc0011100,
};

static void allowed(void)
{
	unsigned int i;
	u64 v;

	for (i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		const struct row *m = &rows[i];

		report(m->index, m->good);
		check(try_wrmsr(m->index, m->good) == -1);
		check(try_rdmsr(m->index, &v) == -1);
		check(v == m->good);
		if (m->bad == m->good)
			continue;
		check(try_wrmsr(m->index, m->bad) == GP);
		check(rdmsr(m->index) == m->good);
	}
}

static void forbidden(void)
{
	unsigned int i;
	u64 v;

	for (i = 0; i < sizeof(absent) / sizeof(*absent); i++) {
		report(absent[i], 0);
		check(try_rdmsr(absent[i], &v) == GP);
		check(try_wrmsr(absent[i], 0) == GP);
	}
	/* read-only: MTRRcap */
	check(try_rdmsr(0xfe, &v) == -1);
	check(try_wrmsr(0xfe, v) == GP);
}

static void efer(void)
{
	u64 v = rdmsr(EFER);

	check((v & 0x1500) == 0x500);		/* LMA, LME; SVME hidden */
	check(try_wrmsr(EFER, v | 0x1000) == GP);	/* SVME */
	check(try_wrmsr(EFER, v | 0x200) == GP);	/* reserved */
	check(try_wrmsr(EFER, v | 1ull << 40) == GP);
	check(try_wrmsr(EFER, v & ~0x100ull) == GP);	/* LME, paging on */
	check(try_wrmsr(EFER, v | 0x801) == -1);	/* NX, SCE */
	check(rdmsr(EFER) == (v | 0x801));
	check(try_wrmsr(EFER, (v | 0x800) & ~0x400ull) == -1);
	check(rdmsr(EFER) == (v | 0x800));		/* LMA is the CPU's */
	check(try_wrmsr(EFER, v) == -1);
	check(rdmsr(EFER) == v);
}

static void tsc(void)
{
	u64 a = rdtsc(), b = rdmsr(0x10), c = rdtsc();

	check(a <= b && b <= c);
	wrmsr(0x10, 1ull << 40);
	a = rdtsc();
	check(a >= 1ull << 40 && a < 1ull << 41);
	wrmsr(0x10, 0);
	check(rdtsc() < 1ull << 40);
}

static void tsc_aux(void)
{
	u32 r[4], aux;

	cpuid(0x80000001, 0, r);
	if (!(r[3] & 1 << 27))
		return;
	wrmsr(0xc0000103, 0x1234567);
	asm volatile("rdtscp" : "=c"(aux) : : "eax", "edx");
	check(aux == 0x1234567);
	/* a long way round: to the monitor and back */
	outb(0x80, 0);
	asm volatile("rdtscp" : "=c"(aux) : : "eax", "edx");
	check(aux == 0x1234567);
}

int main(void)
{
	puts("msrs\n");
	allowed();
	forbidden();
	efer();
	tsc();
	tsc_aux();
	return 0;
}
