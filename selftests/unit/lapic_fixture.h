/* SPDX-License-Identifier: GPL-2.0 */
/*
 * For tests of kmod's local APIC: a VM of six vCPUs without anything else, on a
 * clock that only the test moves. lapic_fixture.c has the module's sources.
 */
#ifndef SELFTESTS_LAPIC_FIXTURE_H
#define SELFTESTS_LAPIC_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

/* the kernel is built so, and the bitmaps in regs[] are read by the long */
#pragma GCC optimize("no-strict-aliasing")
#include "../../kmod/lapic.h"

#define NCPU		6
#define c0		(&cpus[0])
#define c1		(&cpus[1])

extern struct vmm_vm vm;
extern struct vmm_vcpu cpus[NCPU];
extern int kicks[VMM_MAX_VCPUS];		/* of each vCPU */
extern struct vmm_cpuid_entry leaf1;		/* of all of them */
extern u8 last_eoi;				/* the vector to tell I/O APICs */

/* before each test: power-on */
int lapic_setup(void **state);

#define LAPIC_TEST(name) cmocka_unit_test_setup(name, lapic_setup)

/* registers by page, index as in enum lapic_reg, and by MSR; must succeed */
void wr(struct vmm_vcpu *c, u32 reg, u32 value);
u32 rd(struct vmm_vcpu *c, u32 reg);
u64 rdmsr(struct vmm_vcpu *c, u32 index);
/* what comes of it */
int wrmsr(struct vmm_vcpu *c, u32 index, u64 value);
int rdmsr_fails(struct vmm_vcpu *c, u32 index);

void enable(struct vmm_vcpu *c);		/* by software: SVR */
void enable_all(void);
void to_x2apic(struct vmm_vcpu *c);
/* enabled, with something in every kind of register */
void dirty(struct vmm_vcpu *c);

bool in_irr(struct vmm_vcpu *c, u8 vector);
/* all IRRs, requests and kicks forgotten */
void clear_irrs(void);
/* bit n: vCPU n has the vector in its IRR, or the request; then as clear_irrs */
u32 who_has(u8 vector);
u32 who_got(enum vmm_request req);

/* what the run loop does with REQ_TIMER */
void pump(struct vmm_vcpu *c);
/*
 * Move the clock and ring what is due; the thread does not look before the end.
 * Returns the alarms.
 */
int advance(struct vmm_vcpu *c, u64 ns);
/*
 * The same up to and including that moment, with a thread that looks after each
 * alarm and takes what is pending. Returns the interrupts taken.
 */
int run_for(struct vmm_vcpu *c, u64 ns);

#endif
