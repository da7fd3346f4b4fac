// SPDX-License-Identifier: GPL-2.0
/*
 * The local APIC: registers in xAPIC and x2APIC form, priority, errors, state.
 * SDM 3A chapter 11.
 *
 * IRR, TMR and the error log are written by any CPU in any context; all else
 * belongs to the vCPU's thread, or to who sets its state, under vcpu->lock.
 */
#include <linux/bitops.h>
#include <linux/errno.h>
#include <linux/string.h>
#include "lapic.h"

static_assert(offsetof(struct vmm_lapic, regs) % sizeof(long) == 0);
static_assert(sizeof_field(struct vmm_lapic, regs) ==
	      sizeof_field(struct vmm_apic, regs));

/* ---- the registers and who may do what with them --------------------------- */

#define XR	BIT(0)		/* readable, writable in the xAPIC page */
#define XW	BIT(1)
#define MR	BIT(2)		/* readable, writable as x2APIC MSR */
#define MW	BIT(3)

/*
 * Bits outside `keep` are reserved: dropped by the page, #GP from the MSR,
 * where those in `drop` are read-only and do no harm.
 */
static const struct lapic_access {
	u8 how;
	u32 keep;
	u32 drop;
} lapic_access[LAPIC_NREGS] = {
	[LAPIC_ID]			= { XR | MR },
	[LAPIC_VERSION]			= { XR | MR },
	[LAPIC_TPR]			= { XR | XW | MR | MW, 0xff },
	[LAPIC_APR]			= { XR },
	[LAPIC_PPR]			= { XR | MR },
	[LAPIC_EOI]			= { XW | MW },
	[LAPIC_RRD]			= { XR },
	[LAPIC_LDR]			= { XR | XW | MR, 0xff000000 },
	[LAPIC_DFR]			= { XR | XW, ~LAPIC_DFR_ONES },
	[LAPIC_SVR]			= { XR | XW | MR | MW, LVT_VECTOR |
					    LAPIC_SVR_ENABLE | LAPIC_SVR_FOCUS },
	[LAPIC_ISR ... LAPIC_ISR + 7]	= { XR | MR },
	[LAPIC_TMR ... LAPIC_TMR + 7]	= { XR | MR },
	[LAPIC_IRR ... LAPIC_IRR + 7]	= { XR | MR },
	[LAPIC_ESR]			= { XR | XW | MR | MW },
	[LAPIC_ICR]			= { XR | XW | MR | MW, ICR_BITS, ICR_BUSY },
	[LAPIC_ICR2]			= { XR | XW, LAPIC_ICR2_DEST },
	[LAPIC_LVT_TIMER]		= { XR | XW | MR | MW,
					    LVT_VECTOR | LVT_MASKED | LVT_TIMER_MODE,
					    LVT_STATUS },
	[LAPIC_LVT_THERM]		= { XR | XW | MR | MW,
					    LVT_VECTOR | LVT_DELIVERY | LVT_MASKED,
					    LVT_STATUS },
	[LAPIC_LVT_PERF]		= { XR | XW | MR | MW,
					    LVT_VECTOR | LVT_DELIVERY | LVT_MASKED,
					    LVT_STATUS },
	[LAPIC_LVT_LINT0 ... LAPIC_LVT_LINT1] = { XR | XW | MR | MW,
					    LVT_VECTOR | LVT_DELIVERY | LVT_POLARITY |
					    LVT_TRIGGER | LVT_MASKED,
					    LVT_STATUS | LVT_REMOTE_IRR },
	[LAPIC_LVT_ERROR]		= { XR | XW | MR | MW, LVT_VECTOR | LVT_MASKED,
					    LVT_STATUS },
	[LAPIC_TMICT]			= { XR | XW | MR | MW, ~0U },
	[LAPIC_TMCCT]			= { XR | MR },
	[LAPIC_TDCR]			= { XR | XW | MR | MW, 0xb },
	[LAPIC_SELF_IPI]		= { MW, LVT_VECTOR },
};

static bool is_lvt(u32 reg)
{
	return reg >= LAPIC_LVT_TIMER && reg <= LAPIC_LVT_ERROR;
}

/* ---- priority -------------------------------------------------------------- */

int lapic_highest(struct vmm_lapic *apic, u32 reg)
{
	unsigned long *map = lapic_map(apic, reg);
	int i;

	for (i = 256 / BITS_PER_LONG - 1; i >= 0; i--) {
		unsigned long word = READ_ONCE(map[i]);

		if (word)
			return i * BITS_PER_LONG + __fls(word);
	}
	return -1;
}

/*
 * SDM 3A 11.8.3.1; any context, for lowest-priority arbitration, to which what is
 * in service in a page counts nothing.
 */
u32 lapic_ppr(struct vmm_lapic *apic)
{
	u32 tpr = lapic_reg(apic, LAPIC_TPR);
	int isr = lapic_highest(apic, LAPIC_ISR);

	if (isr < 0 || (isr & 0xf0) <= (tpr & 0xf0))
		return tpr;
	return isr & 0xf0;
}

/* nothing waits, though it seemed so, after a state was written: look no more */
static void irr_is_empty(struct vmm_lapic *apic)
{
	WRITE_ONCE(apic->irr_pending, false);
	/* as in vmm_lapic_ack */
	smp_mb();
	if (lapic_highest(apic, LAPIC_IRR) >= 0)
		WRITE_ONCE(apic->irr_pending, true);
}

int vmm_lapic_pending(struct vmm_vcpu *vcpu)
{
	struct vmm_lapic *apic = &vcpu->apic;
	int irr;

	lapic_own(apic);
	if (!READ_ONCE(apic->irr_pending))
		return -1;
	irr = lapic_highest(apic, LAPIC_IRR);
	if (irr < 0)
		irr_is_empty(apic);
	if (irr < 0 || (u32)(irr & 0xf0) <= (lapic_ppr(apic) & 0xf0))
		return -1;
	return irr;
}

/*
 * The guest lowers TPR by CR8 without an exit: where only TPR stands between it
 * and an interrupt, that write has to be seen.
 */
int vmm_lapic_held(struct vmm_vcpu *vcpu)
{
	struct vmm_lapic *apic = &vcpu->apic;
	int irr, isr;

	if (!READ_ONCE(apic->irr_pending))
		return -1;
	irr = lapic_highest(apic, LAPIC_IRR);
	isr = lapic_highest(apic, LAPIC_ISR);
	if (irr < 0 || (isr >= 0 && irr >> 4 <= isr >> 4))
		return -1;
	return (u32)irr >> 4 <= lapic_reg(apic, LAPIC_TPR) >> 4 ? irr : -1;
}

bool vmm_lapic_wakes(struct vmm_vcpu *vcpu)
{
	return vmm_lapic_pending(vcpu) >= 0;
}

/*
 * A sender sets the bit, then irr_pending; here irr_pending goes first, then
 * the bits are looked at, so that none is left behind with irr_pending clear.
 */
void vmm_lapic_ack(struct vmm_vcpu *vcpu, u8 vector)
{
	struct vmm_lapic *apic = &vcpu->apic;

	lapic_own(apic);
	WRITE_ONCE(apic->irr_pending, false);
	clear_bit(vector, lapic_map(apic, LAPIC_IRR));
	smp_mb__after_atomic();
	if (lapic_highest(apic, LAPIC_IRR) >= 0)
		WRITE_ONCE(apic->irr_pending, true);
	__set_bit(vector, lapic_map(apic, LAPIC_ISR));
}

/* it was not taken: it goes on waiting, as if it had never been in service */
void vmm_lapic_untaken(struct vmm_vcpu *vcpu, u8 vector)
{
	struct vmm_lapic *apic = &vcpu->apic;

	__clear_bit(vector, lapic_map(apic, LAPIC_ISR));
	set_bit(vector, lapic_map(apic, LAPIC_IRR));
	WRITE_ONCE(apic->irr_pending, true);
}

/*
 * The trigger mode goes before the request: SDM 3A 11.8.4 has TMR updated upon
 * acceptance. A vector that is pending already was announced by whom set it.
 */
bool lapic_accept(struct vmm_vcpu *vcpu, u8 vector, bool level)
{
	struct vmm_lapic *apic = &vcpu->apic;
	unsigned long *tmr = lapic_map(apic, LAPIC_TMR);

	if (vector < 16)
		return lapic_log_error(vcpu, ESR_RECEIVE_VECTOR);
	if (test_bit(vector, tmr) != level) {
		if (level)
			set_bit(vector, tmr);
		else
			clear_bit(vector, tmr);
	}
	if (test_and_set_bit(vector, lapic_map(apic, LAPIC_IRR)))
		return false;
	WRITE_ONCE(apic->irr_pending, true);
	return true;
}

bool lapic_log_error(struct vmm_vcpu *vcpu, int error)
{
	struct vmm_lapic *apic = &vcpu->apic;
	u32 lvt = lapic_reg(apic, LAPIC_LVT_ERROR);
	u8 vector = lvt & LVT_VECTOR;

	if (test_and_set_bit(error, &apic->errors) || (lvt & LVT_MASKED))
		return false;
	if (vector < 16) {
		set_bit(ESR_RECEIVE_VECTOR, &apic->errors);
		return false;
	}
	return lapic_accept(vcpu, vector, false);
}

/* 1: a level-triggered one ended, for the monitor's I/O APIC */
static int lapic_eoi(struct vmm_lapic *apic, u8 *eoi)
{
	int vector;

	lapic_own(apic);
	vector = lapic_highest(apic, LAPIC_ISR);
	if (vector < 0)
		return 0;
	__clear_bit(vector, lapic_map(apic, LAPIC_ISR));
	if (!test_bit(vector, lapic_map(apic, LAPIC_TMR)))
		return 0;
	*eoi = vector;
	return 1;
}

enum vmm_lapic_mode vmm_lapic_mode(struct vmm_vcpu *vcpu)
{
	if (!lapic_enabled(&vcpu->apic))
		return VMM_LAPIC_OFF;
	if (lapic_x2apic(&vcpu->apic))
		return VMM_LAPIC_X2APIC;
	return (vcpu->apic.base & LAPIC_BASE_ADDR) == LAPIC_BASE_DEFAULT ?
	       VMM_LAPIC_XAPIC : VMM_LAPIC_MOVED;
}

/* IA32_APIC_BASE; what it decides about guest memory is done before the next entry */
void lapic_set_base(struct vmm_vcpu *vcpu, u64 base)
{
	WRITE_ONCE(vcpu->apic.base, base);
	if (vcpu->vm->apic_access &&
	    (vmm_lapic_mode(vcpu) != VMM_LAPIC_XAPIC) != READ_ONCE(vcpu->apic.stray))
		set_bit(REQ_APIC, &vcpu->requests);
}

/* SDM 3A 11.4.3: an APIC that is off leaves the INTR pin to the CPU */
bool vmm_lapic_extint(struct vmm_vcpu *vcpu)
{
	struct vmm_lapic *apic = &vcpu->apic;
	u32 lint0 = lapic_reg(apic, LAPIC_LVT_LINT0);

	if (!lapic_enabled(apic))
		return true;
	return !(lint0 & LVT_MASKED) && (lint0 & LVT_DELIVERY) == DELIVER_EXTINT << 8;
}

void vmm_lapic_set_cr8(struct vmm_vcpu *vcpu, u64 cr8)
{
	lapic_set_reg(&vcpu->apic, LAPIC_TPR, (cr8 & 0xf) << 4);
}

void vmm_lapic_set_tpr(struct vmm_vcpu *vcpu, u8 tpr)
{
	lapic_set_reg(&vcpu->apic, LAPIC_TPR, tpr);
}

/* ---- reset ----------------------------------------------------------------- */

/* SDM 3A 11.4.7.1; the ID is its mode's, and with x2APIC the LDR too */
static void reset_regs(struct vmm_vcpu *vcpu)
{
	struct vmm_lapic *apic = &vcpu->apic;
	u32 reg;

	lapic_own(apic);
	for (reg = 0; reg < LAPIC_NREGS; reg++)
		lapic_set_reg(apic, reg, is_lvt(reg) ? LVT_MASKED : 0);
	lapic_set_reg(apic, LAPIC_VERSION, LAPIC_VERSION_VALUE);
	lapic_set_reg(apic, LAPIC_DFR, LAPIC_FLAT_DFR);
	lapic_set_reg(apic, LAPIC_SVR, 0xff);
	WRITE_ONCE(apic->errors, 0);
}

static void set_ids(struct vmm_vcpu *vcpu)
{
	struct vmm_lapic *apic = &vcpu->apic;

	if (!lapic_x2apic(apic)) {
		lapic_set_reg(apic, LAPIC_ID, vcpu->id << 24);
		return;
	}
	lapic_set_reg(apic, LAPIC_ID, vcpu->id);
	lapic_set_reg(apic, LAPIC_LDR, lapic_x2apic_ldr(vcpu->id));
}

/* init: INIT leaves IA32_APIC_BASE, and so the mode, as it is (11.4.7.3) */
void vmm_lapic_reset(struct vmm_vcpu *vcpu, bool init)
{
	lapic_timer_stop(vcpu);
	if (!init)
		lapic_set_base(vcpu, LAPIC_BASE_DEFAULT | LAPIC_BASE_EN |
			       (vcpu->id ? 0 : LAPIC_BASE_BSP));
	reset_regs(vcpu);
	set_ids(vcpu);
}

void vmm_lapic_init(struct vmm_vcpu *vcpu)
{
	lapic_timer_create(vcpu);
	vmm_lapic_reset(vcpu, false);
}

void vmm_lapic_destroy(struct vmm_vcpu *vcpu)
{
	lapic_timer_destroy(vcpu);
}

/* ---- access ---------------------------------------------------------------- */

static u32 read_reg(struct vmm_vcpu *vcpu, u32 reg)
{
	switch (reg) {
	case LAPIC_ISR ... LAPIC_ISR + 7:
	case LAPIC_IRR ... LAPIC_IRR + 7:
		lapic_own(&vcpu->apic);
		return lapic_reg(&vcpu->apic, reg);
	case LAPIC_ICR2:
		return lapic_icr2(&vcpu->apic);
	case LAPIC_PPR:
		lapic_own(&vcpu->apic);
		return lapic_ppr(&vcpu->apic);
	case LAPIC_TMCCT:
		return lapic_timer_count(vcpu);
	default:
		return lapic_reg(&vcpu->apic, reg);
	}
}

static void write_lvt(struct vmm_vcpu *vcpu, u32 reg, u32 value)
{
	struct vmm_lapic *apic = &vcpu->apic;

	/* SDM 3A 11.4.7.2: they stay masked while software has it disabled */
	if (!lapic_software_enabled(apic))
		value |= LVT_MASKED;
	if (reg == LAPIC_LVT_TIMER)
		lapic_timer_write_lvt(vcpu, value);
	else
		lapic_set_reg(apic, reg, value);
}

static void write_svr(struct vmm_vcpu *vcpu, u32 value)
{
	u32 reg;

	lapic_set_reg(&vcpu->apic, LAPIC_SVR, value);
	if (value & LAPIC_SVR_ENABLE)
		return;
	for (reg = LAPIC_LVT_TIMER; reg <= LAPIC_LVT_ERROR; reg++)
		write_lvt(vcpu, reg, lapic_reg(&vcpu->apic, reg));
}

/* `value` holds no reserved bits. 1: EOI for the monitor */
static int write_reg(struct vmm_vcpu *vcpu, u32 reg, u32 value, u8 *eoi)
{
	struct vmm_lapic *apic = &vcpu->apic;

	switch (reg) {
	case LAPIC_EOI:
		return lapic_eoi(apic, eoi);
	case LAPIC_DFR:
		value |= LAPIC_DFR_ONES;
		break;
	case LAPIC_SVR:
		write_svr(vcpu, value);
		return 0;
	case LAPIC_ESR:
		/* SDM 3A 11.5.3: the write shows what was logged since the last */
		value = xchg(&apic->errors, 0);
		break;
	case LAPIC_ICR:
		lapic_set_reg(apic, LAPIC_ICR, value);
		lapic_send_ipi(vcpu, value, lapic_icr2(apic));
		return 0;
	case LAPIC_LVT_TIMER ... LAPIC_LVT_ERROR:
		write_lvt(vcpu, reg, value);
		return 0;
	case LAPIC_TMICT:
		lapic_timer_write_initial(vcpu, value);
		return 0;
	case LAPIC_TDCR:
		lapic_timer_write_divide(vcpu, value);
		return 0;
	case LAPIC_SELF_IPI:
		lapic_send_ipi(vcpu, value | ICR_TO_SELF, 0);
		return 0;
	}
	lapic_set_reg(apic, reg, value);
	return 0;
}

/* CPUID.1:ECX */
#define CPUID_X2APIC		BIT(21)
#define CPUID_TSC_DEADLINE	BIT(24)

static bool cpuid_has(struct vmm_vcpu *vcpu, u32 ecx)
{
	const struct vmm_cpuid_entry *e = vmm_cpuid_find(vcpu, 1, 0);

	return e && (e->ecx & ecx);
}

/*
 * Bits that may be written now: bit 18 of the timer's entry only with TSC-
 * deadline in CPUID, and never both mode bits (SDM 3A table 11-2).
 */
static u32 writable_bits(struct vmm_vcpu *vcpu, u32 reg, u32 value)
{
	u32 keep = lapic_access[reg].keep;

	if (reg != LAPIC_LVT_TIMER || !(value & LVT_TIMER_DEADLINE))
		return keep;
	if (!cpuid_has(vcpu, CPUID_TSC_DEADLINE))
		return keep & ~LVT_TIMER_DEADLINE;
	return keep & ~LVT_TIMER_PERIODIC;
}

/* ---- the xAPIC page -------------------------------------------------------- */

bool vmm_lapic_in_page(struct vmm_vcpu *vcpu, u64 gpa)
{
	u64 base = vcpu->apic.base;

	return (base & LAPIC_BASE_MODE) == LAPIC_BASE_EN &&
	       !((base ^ gpa) & ~0xfffULL);
}

/* The register at an offset, if it may be accessed so; else -1, an error logged */
static int page_reg(struct vmm_vcpu *vcpu, u32 offset, u8 how)
{
	u32 reg = offset >> 4;

	/* registers are 4 bytes at a multiple of 16, the rest is undefined */
	if (offset & 0xf)
		return -1;
	if (reg < LAPIC_NREGS && (lapic_access[reg].how & how))
		return reg;
	if (reg >= LAPIC_NREGS || !(lapic_access[reg].how & (XR | XW)))
		lapic_log_error(vcpu, ESR_REGISTER);
	return -1;
}

u32 vmm_lapic_mmio_read(struct vmm_vcpu *vcpu, u32 offset)
{
	int reg = page_reg(vcpu, offset, XR);

	return reg < 0 ? 0 : read_reg(vcpu, reg);
}

int vmm_lapic_mmio_write(struct vmm_vcpu *vcpu, u32 offset, u32 value, u8 *eoi)
{
	int reg = page_reg(vcpu, offset, XW);

	if (reg < 0)
		return 0;
	return write_reg(vcpu, reg, value & writable_bits(vcpu, reg, value), eoi);
}

/* ---- MSRs ------------------------------------------------------------------ */

#define MSR_APIC_BASE		0x1b
#define MSR_TSC_DEADLINE	0x6e0

static u64 physical_address_bits(struct vmm_vcpu *vcpu)
{
	const struct vmm_cpuid_entry *e = vmm_cpuid_find(vcpu, 0x80000008, 0);
	u32 bits = e ? e->eax & 0xff : 36;

	return GENMASK_ULL(clamp(bits, 36U, 52U) - 1, 0);
}

/* The transitions of SDM 3A figure 11-27; between equal modes only the address */
static bool legal_transition(u64 from, u64 to)
{
	from &= LAPIC_BASE_MODE;
	to &= LAPIC_BASE_MODE;
	if (from == to)
		return true;
	switch (to) {
	case 0:
		return true;
	case LAPIC_BASE_EN:
		return from == 0;
	case LAPIC_BASE_MODE:
		return from == LAPIC_BASE_EN;
	default:
		return false;
	}
}

static int write_base(struct vmm_vcpu *vcpu, u64 value)
{
	struct vmm_lapic *apic = &vcpu->apic;
	u64 may = (LAPIC_BASE_ADDR & physical_address_bits(vcpu)) |
		  LAPIC_BASE_BSP | LAPIC_BASE_EN;
	u64 changed = apic->base ^ value;

	if (cpuid_has(vcpu, CPUID_X2APIC))
		may |= LAPIC_BASE_EXTD;
	if ((value & ~may) || !legal_transition(apic->base, value))
		return -EPERM;

	lapic_set_base(vcpu, value);
	if (!(changed & LAPIC_BASE_MODE))
		return 0;
	if (!(value & LAPIC_BASE_EN)) {
		/* 11.4.3: what was initialised is lost; back as after power-on */
		lapic_timer_stop(vcpu);
		reset_regs(vcpu);
	} else {
		lapic_set_reg(apic, LAPIC_ICR2, 0);
	}
	set_ids(vcpu);
	return 0;
}

int vmm_lapic_msr_read(struct vmm_vcpu *vcpu, u32 index, u64 *value)
{
	struct vmm_lapic *apic = &vcpu->apic;
	u32 reg = index - LAPIC_MSR_X2APIC;

	if (index == MSR_APIC_BASE) {
		*value = apic->base;
		return 0;
	}
	if (index == MSR_TSC_DEADLINE) {
		*value = lapic_timer_deadline(vcpu);
		return 0;
	}
	if (!lapic_x2apic(apic) || reg >= LAPIC_NREGS || !(lapic_access[reg].how & MR))
		return -EPERM;
	*value = read_reg(vcpu, reg);
	if (reg == LAPIC_ICR)
		*value |= (u64)lapic_reg(apic, LAPIC_ICR2) << 32;
	return 0;
}

static int write_x2apic(struct vmm_vcpu *vcpu, u32 reg, u64 value, u8 *eoi)
{
	u32 low = value, keep;

	if (!lapic_x2apic(&vcpu->apic) || reg >= LAPIC_NREGS ||
	    !(lapic_access[reg].how & MW))
		return -EPERM;
	keep = writable_bits(vcpu, reg, low);
	if (low & ~(keep | lapic_access[reg].drop))
		return -EPERM;
	if (reg == LAPIC_ICR)
		lapic_set_reg(&vcpu->apic, LAPIC_ICR2, value >> 32);
	else if (value >> 32)
		return -EPERM;
	return write_reg(vcpu, reg, low & keep, eoi);
}

int vmm_lapic_msr_write(struct vmm_vcpu *vcpu, u32 index, u64 value, u8 *eoi)
{
	switch (index) {
	case MSR_APIC_BASE:
		return write_base(vcpu, value);
	case MSR_TSC_DEADLINE:
		lapic_timer_write_deadline(vcpu, value);
		return 0;
	default:
		return write_x2apic(vcpu, index - LAPIC_MSR_X2APIC, value, eoi);
	}
}
