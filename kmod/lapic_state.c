// SPDX-License-Identifier: GPL-2.0
/*
 * The local APIC's state as the monitor reads and writes it.
 *
 * What is read can be written back, and the guest cannot tell. What is written
 * is a state that a guest could have reached, or it is refused: nothing below
 * lapic.c is prepared for another.
 */
#include <linux/errno.h>
#include <linux/string.h>
#include "lapic.h"

#define LVT_BITS	(LVT_VECTOR | LVT_MASKED)
#define LINT_BITS	(LVT_BITS | LVT_DELIVERY | LVT_POLARITY | LVT_TRIGGER)

/* What a word may hold; 0 for those that are no registers */
static const u32 state_bits[LAPIC_NREGS] = {
	[LAPIC_ID]		= ~0U,		/* these four: exactly, below */
	[LAPIC_VERSION]		= ~0U,
	[LAPIC_LDR]		= ~0U,
	[LAPIC_DFR]		= ~0U,
	[LAPIC_TPR]		= 0xff,
	[LAPIC_PPR]		= 0xff,		/* computed: ignored */
	[LAPIC_SVR]		= LVT_VECTOR | LAPIC_SVR_ENABLE | LAPIC_SVR_FOCUS,
	/* vectors below 16 get no further than the error status */
	[LAPIC_ISR]		= 0xffff0000,
	[LAPIC_ISR + 1 ... LAPIC_ISR + 7] = ~0U,
	[LAPIC_TMR]		= 0xffff0000,
	[LAPIC_TMR + 1 ... LAPIC_TMR + 7] = ~0U,
	[LAPIC_IRR]		= 0xffff0000,
	[LAPIC_IRR + 1 ... LAPIC_IRR + 7] = ~0U,
	[LAPIC_ESR]		= ESR_BITS,
	[LAPIC_ERRORS]		= ESR_BITS,
	[LAPIC_ICR]		= ICR_BITS,
	[LAPIC_ICR2]		= ~0U,
	[LAPIC_LVT_TIMER]	= LVT_BITS | LVT_TIMER_MODE,
	[LAPIC_LVT_THERM]	= LVT_BITS | LVT_DELIVERY,
	[LAPIC_LVT_PERF]	= LVT_BITS | LVT_DELIVERY,
	[LAPIC_LVT_LINT0 ... LAPIC_LVT_LINT1] = LINT_BITS,
	[LAPIC_LVT_ERROR]	= LVT_BITS,
	[LAPIC_TMICT]		= ~0U,
	[LAPIC_TMCCT]		= ~0U,
	[LAPIC_TDCR]		= 0xb,
};

void vmm_lapic_get(struct vmm_vcpu *vcpu, struct vmm_apic *a)
{
	struct vmm_lapic *apic = &vcpu->apic;
	u32 reg;

	/*
	 * The timer first: what expires from here on is not in the IRR that is
	 * read below, and so must still be on the clock.
	 */
	lapic_own(apic);
	lapic_timer_get(vcpu, &a->regs[LAPIC_TMCCT], &a->tsc_deadline);
	a->base = apic->base;
	for (reg = 0; reg < LAPIC_NREGS; reg++)
		if (reg != LAPIC_TMCCT)
			a->regs[reg] = lapic_reg(apic, reg);
	a->regs[LAPIC_PPR] = lapic_ppr(apic);
	a->regs[LAPIC_ICR2] = lapic_icr2(apic);
	a->regs[LAPIC_ERRORS] = READ_ONCE(apic->errors);
}

static bool valid_base(u64 base)
{
	if (base & ~(LAPIC_BASE_ADDR | LAPIC_BASE_MODE | LAPIC_BASE_BSP))
		return false;
	return (base & LAPIC_BASE_MODE) != LAPIC_BASE_EXTD;
}

/* ID, version and addressing registers, of which each mode has its own form */
static bool valid_ids(const struct vmm_vcpu *vcpu, const struct vmm_apic *a)
{
	const u32 *regs = a->regs;

	if (regs[LAPIC_VERSION] != LAPIC_VERSION_VALUE ||
	    (regs[LAPIC_DFR] & LAPIC_DFR_ONES) != LAPIC_DFR_ONES)
		return false;
	if (a->base & LAPIC_BASE_EXTD)
		return regs[LAPIC_ID] == vcpu->id &&
		       regs[LAPIC_LDR] == lapic_x2apic_ldr(vcpu->id);
	return regs[LAPIC_ID] == vcpu->id << 24 &&
	       !(regs[LAPIC_LDR] & 0x00ffffff) && !(regs[LAPIC_ICR2] & 0x00ffffff);
}

/* A software-disabled APIC has all entries masked, SDM 3A 11.4.7.2 */
static bool valid_lvts(const u32 *regs)
{
	u32 reg;

	if (regs[LAPIC_SVR] & LAPIC_SVR_ENABLE)
		return true;
	for (reg = LAPIC_LVT_TIMER; reg <= LAPIC_LVT_ERROR; reg++)
		if (!(regs[reg] & LVT_MASKED))
			return false;
	return true;
}

/* One of the two ways to count, and a count that its mode can hold */
static bool valid_timer(const struct vmm_apic *a)
{
	u32 count = a->regs[LAPIC_TMCCT];

	switch (a->regs[LAPIC_LVT_TIMER] & LVT_TIMER_MODE) {
	case LVT_TIMER_ONESHOT:
	case LVT_TIMER_PERIODIC:
		return !a->tsc_deadline && count <= a->regs[LAPIC_TMICT];
	case LVT_TIMER_DEADLINE:
		return !count;
	default:
		return false;
	}
}

static bool valid(const struct vmm_vcpu *vcpu, const struct vmm_apic *a)
{
	u32 reg;

	for (reg = 0; reg < LAPIC_NREGS; reg++)
		if (a->regs[reg] & ~state_bits[reg])
			return false;
	return valid_base(a->base) && valid_ids(vcpu, a) && valid_lvts(a->regs) &&
	       valid_timer(a);
}

/* -EINVAL: no state that an APIC can be in; nothing is changed */
int vmm_lapic_set(struct vmm_vcpu *vcpu, const struct vmm_apic *a)
{
	struct vmm_lapic *apic = &vcpu->apic;
	u32 reg;

	if (!valid(vcpu, a))
		return -EINVAL;

	lapic_own(apic);
	lapic_timer_stop(vcpu);
	lapic_set_base(vcpu, a->base);
	for (reg = 0; reg < LAPIC_NREGS; reg++)
		lapic_set_reg(apic, reg, a->regs[reg]);
	WRITE_ONCE(apic->errors, a->regs[LAPIC_ERRORS]);
	/* after the bits, as lapic_accept() does */
	smp_wmb();
	WRITE_ONCE(apic->irr_pending, true);

	apic->tsc_deadline = a->tsc_deadline;
	lapic_timer_restart(vcpu, a->regs[LAPIC_TMCCT]);
	return 0;
}
