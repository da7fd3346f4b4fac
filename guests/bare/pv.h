/* SPDX-License-Identifier: GPL-2.0 */
/* The subjects of the guest pv, its arg 0; see selftests/kernel/pv_test.c. */
#ifndef GUEST_PV_H
#define GUEST_PV_H

enum {
	PV_TABLE,	/* what CPUID does not show is not there; arg 1: what it shows */
	PV_STEAL,	/* spins for arg 1 ms; reports steal time and time */
	PV_EOI,		/* arg 1 rounds; reports EOIs said in memory */
	PV_EOI_SPIN,	/* 2 CPUs: one spins, the other interrupts it arg 1 times */
	PV_UNHALT,	/* 2 CPUs kick each other out of HLT, arg 1 times */
	PV_IPI,		/* arg 1 CPUs */
	PV_FLUSH,	/* 2 CPUs; arg 1: ask for the flush */
	PV_YIELD,	/* 2 CPUs spin for each other, arg 1 times; arg 3: how */
};

enum { YIELD_NOT, YIELD_CALL, YIELD_PAUSE };	/* arg 3 of PV_YIELD */

/* reports */
#define PV_REPORT_STEAL		1	/* ns */
#define PV_REPORT_TSC		2	/* ticks that it spun */
#define PV_REPORT_EOIS		3

/* where the guest has what it shares with the host */
#define PV_STEAL_PAGE		(GUEST_FREE + 0x1000)
#define PV_EOI_WORD		(GUEST_FREE + 0x2000)
#define PV_TURN			(GUEST_FREE + 0x3000)	/* rounds so far */

#endif /* GUEST_PV_H */
