/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the files of the local APIC share: lapic.c (registers, priority),
 * lapic_state.c, lapic_timer.c, lapic_page.c (CPUs that deliver by themselves),
 * irq_route.c (IPIs and MSIs to vCPUs).
 *
 * Section numbers of SDM 3A are those of the chapter "APIC" as chapter 11.
 */
#ifndef LAPIC_H
#define LAPIC_H

#include <linux/bits.h>
#include <linux/compiler.h>
#include "vmm.h"

/* regs[] indices: offset in the xAPIC page / 16 = x2APIC MSR - 0x800 */
enum lapic_reg {
	LAPIC_ID	= 0x02,
	LAPIC_VERSION	= 0x03,
	LAPIC_TPR	= 0x08,
	LAPIC_APR	= 0x09,
	LAPIC_PPR	= 0x0a,		/* computed, never read from here */
	LAPIC_EOI	= 0x0b,
	LAPIC_RRD	= 0x0c,
	LAPIC_LDR	= 0x0d,
	LAPIC_DFR	= 0x0e,
	LAPIC_SVR	= 0x0f,
	LAPIC_ISR	= 0x10,		/* 8 words each */
	LAPIC_TMR	= 0x18,
	LAPIC_IRR	= 0x20,
	LAPIC_ESR	= 0x28,
	LAPIC_ERRORS	= 0x29,		/* ABI only: logged, not yet in ESR */
	LAPIC_ICR	= 0x30,
	LAPIC_ICR2	= 0x31,
	LAPIC_LVT_TIMER	= 0x32,
	LAPIC_LVT_THERM	= 0x33,
	LAPIC_LVT_PERF	= 0x34,
	LAPIC_LVT_LINT0	= 0x35,
	LAPIC_LVT_LINT1	= 0x36,
	LAPIC_LVT_ERROR	= 0x37,
	LAPIC_TMICT	= 0x38,
	LAPIC_TMCCT	= 0x39,		/* computed, never read from here */
	LAPIC_TDCR	= 0x3e,
	LAPIC_SELF_IPI	= 0x3f,
	LAPIC_NREGS	= 0x40,
};

#define LAPIC_MSR_X2APIC	0x800	/* the MSR of regs[0] */

/* IA32_APIC_BASE, SDM 3A 11.4.4 and 11.12.1 */
#define LAPIC_BASE_BSP		BIT_ULL(8)
#define LAPIC_BASE_EXTD		BIT_ULL(10)
#define LAPIC_BASE_EN		BIT_ULL(11)
#define LAPIC_BASE_MODE		(LAPIC_BASE_EN | LAPIC_BASE_EXTD)
#define LAPIC_BASE_ADDR		GENMASK_ULL(51, 12)
#define LAPIC_BASE_DEFAULT	0xfee00000ULL

#define LAPIC_VERSION_VALUE	0x00050014	/* six LVT entries */
#define LAPIC_SVR_ENABLE	BIT(8)
#define LAPIC_SVR_FOCUS		BIT(9)
#define LAPIC_FLAT_DFR		0xffffffffU
#define LAPIC_DFR_ONES		0x0fffffffU

/* LVT entries, SDM 3A 11.5.1 */
#define LVT_VECTOR		GENMASK(7, 0)
#define LVT_DELIVERY		GENMASK(10, 8)
#define LVT_STATUS		BIT(12)
#define LVT_POLARITY		BIT(13)
#define LVT_REMOTE_IRR		BIT(14)
#define LVT_TRIGGER		BIT(15)
#define LVT_MASKED		BIT(16)
#define LVT_TIMER_MODE		GENMASK(18, 17)
#define LVT_TIMER_ONESHOT	0U
#define LVT_TIMER_PERIODIC	BIT(17)
#define LVT_TIMER_DEADLINE	BIT(18)

/* Error status, SDM 3A 11.5.3 */
#define ESR_SEND_VECTOR		5
#define ESR_RECEIVE_VECTOR	6
#define ESR_REGISTER		7
#define ESR_BITS		GENMASK(7, 0)

/* ICR and MSI data, SDM 3A 11.6.1 and 11.11.2 */
enum lapic_delivery {
	DELIVER_FIXED		= 0,
	DELIVER_LOWEST		= 1,
	DELIVER_SMI		= 2,
	DELIVER_NONE		= 3,	/* reserved */
	DELIVER_NMI		= 4,
	DELIVER_INIT		= 5,
	DELIVER_SIPI		= 6,
	DELIVER_EXTINT		= 7,
};

#define LAPIC_ICR2_DEST		GENMASK(31, 24)	/* in the xAPIC page */
#define ICR_LOGICAL		BIT(11)
#define ICR_BUSY		BIT(12)
#define ICR_ASSERT		BIT(14)
#define ICR_LEVEL		BIT(15)
#define ICR_SHORTHAND		GENMASK(19, 18)
#define ICR_TO_SELF		BIT(18)
#define ICR_TO_ALL		BIT(19)
#define ICR_TO_OTHERS		(BIT(18) | BIT(19))
#define ICR_BITS		(LVT_VECTOR | LVT_DELIVERY | ICR_LOGICAL | \
				 ICR_ASSERT | ICR_LEVEL | ICR_SHORTHAND)

/*
 * Everything but IRR, TMR and errors is written by the owner under vcpu->lock
 * and read by senders on other CPUs without it.
 */
static inline u32 lapic_reg(const struct vmm_lapic *apic, u32 reg)
{
	return READ_ONCE(apic->regs[reg]);
}

static inline void lapic_set_reg(struct vmm_lapic *apic, u32 reg, u32 value)
{
	WRITE_ONCE(apic->regs[reg], value);
	if (apic->page)
		WRITE_ONCE(apic->page[reg * 4], value);
}

/* ISR, TMR and IRR are 256-bit maps: x86-64 is little-endian, regs[] aligned */
static inline unsigned long *lapic_map(struct vmm_lapic *apic, u32 reg)
{
	return (unsigned long *)&apic->regs[reg];
}

static inline bool lapic_enabled(const struct vmm_lapic *apic)
{
	return READ_ONCE(apic->base) & LAPIC_BASE_EN;
}

static inline bool lapic_x2apic(const struct vmm_lapic *apic)
{
	return READ_ONCE(apic->base) & LAPIC_BASE_EXTD;
}

static inline bool lapic_software_enabled(const struct vmm_lapic *apic)
{
	return lapic_reg(apic, LAPIC_SVR) & LAPIC_SVR_ENABLE;
}

static inline bool timer_masked(const struct vmm_lapic *apic)
{
	return lapic_reg(apic, LAPIC_LVT_TIMER) & LVT_MASKED;
}

static inline u32 lapic_x2apic_ldr(u32 id)
{
	return (id >> 4) << 16 | BIT(id & 0xf);	/* SDM 3A 11.12.10.2 */
}

/* lapic_page.c: ISR and IRR back into regs[] */
void lapic_take(struct vmm_lapic *apic);
/* ICR's upper half, which guests write into the page without an exit */
u32 lapic_icr2(struct vmm_lapic *apic);

/* Before the owner looks at ISR, IRR or PPR, or changes them */
static inline void lapic_own(struct vmm_lapic *apic)
{
	if (apic->in_page)
		lapic_take(apic);
}

/* lapic.c */
void lapic_set_base(struct vmm_vcpu *vcpu, u64 base);
int lapic_highest(struct vmm_lapic *apic, u32 reg);	/* in a map; -1: none */
u32 lapic_ppr(struct vmm_lapic *apic);
/* any context: put a vector into IRR; true if the vCPU has to be told */
bool lapic_accept(struct vmm_vcpu *vcpu, u8 vector, bool level);
/* any context: log ESR_*, raise the error LVT; true as above */
bool lapic_log_error(struct vmm_vcpu *vcpu, int error);

/* irq_route.c */
void lapic_send_ipi(struct vmm_vcpu *source, u32 icr, u32 icr2);

/* lapic_timer.c: all under vcpu->lock */
void lapic_timer_create(struct vmm_vcpu *vcpu);
void lapic_timer_destroy(struct vmm_vcpu *vcpu);
void lapic_timer_stop(struct vmm_vcpu *vcpu);
u32 lapic_timer_count(struct vmm_vcpu *vcpu);
void lapic_timer_restart(struct vmm_vcpu *vcpu, u32 count);
void lapic_timer_write_initial(struct vmm_vcpu *vcpu, u32 value);
void lapic_timer_write_divide(struct vmm_vcpu *vcpu, u32 value);
void lapic_timer_write_lvt(struct vmm_vcpu *vcpu, u32 value);
u64 lapic_timer_deadline(struct vmm_vcpu *vcpu);
void lapic_timer_get(struct vmm_vcpu *vcpu, u32 *count, u64 *deadline);
void lapic_timer_write_deadline(struct vmm_vcpu *vcpu, u64 value);

/* ---- what every entry asks: inline ------------------------------------------- */

/* is a CPU with virtual-interrupt delivery to deliver now */
static inline bool vmm_lapic_auto(const struct vmm_vcpu *vcpu)
{
	return vcpu->apic.page && lapic_software_enabled(&vcpu->apic);
}

/* IRR is empty, and nothing of it is in the page: there is nothing to look for */
static inline bool vmm_lapic_idle(const struct vmm_vcpu *vcpu)
{
	return !vcpu->apic.in_page && !READ_ONCE(vcpu->apic.irr_pending);
}

static inline u8 vmm_lapic_tpr(const struct vmm_vcpu *vcpu)
{
	return lapic_reg(&vcpu->apic, LAPIC_TPR);
}

static inline u64 vmm_lapic_cr8(const struct vmm_vcpu *vcpu)
{
	return lapic_reg(&vcpu->apic, LAPIC_TPR) >> 4;
}

/* of the timer: guest TSC; 0: none */
static inline u64 vmm_lapic_deadline(const struct vmm_vcpu *vcpu)
{
	return timer_masked(&vcpu->apic) ? 0 : vcpu->apic.tsc_deadline;
}

#endif /* LAPIC_H */
