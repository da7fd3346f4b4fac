// SPDX-License-Identifier: GPL-2.0
/*
 * The page on which a CPU that delivers interrupts by itself works: SDM 3C
 * chapter 30, "APIC virtualization and virtual interrupts".
 *
 * While the vCPU runs the CPU changes VISR, VIRR, VTPR and VPPR there and keeps
 * the highest vectors of the first two in the guest interrupt status. Nobody else
 * may touch them then: senders go on setting bits in regs[], as with any CPU, and
 * what they have left there is moved into the page before the next entry. All
 * other registers of the page are only what the guest sees when it reads; a guest
 * writes them as it likes, and what counts of that is in regs[].
 *
 * ISR and IRR come back into regs[] only when somebody asks for them, which is
 * seldom: not for interrupts, EOIs, IPIs and priorities.
 */
#include <linux/bitops.h>
#include "lapic.h"

#define MAP_LONGS	(256 / BITS_PER_LONG)

/* guest interrupt status, SDM 3C 25.4.2 */
#define STATUS_RVI	GENMASK(7, 0)
#define STATUS_SVI_SHIFT 8

static u32 *page_word(struct vmm_lapic *apic, u32 reg)
{
	return &apic->page[reg * 4];
}

/* the 64 vectors of long `i` of a map: 2 registers of 4 bytes each */
static unsigned long page_long(struct vmm_lapic *apic, u32 map, int i)
{
	return READ_ONCE(*page_word(apic, map + 2 * i)) |
	       (unsigned long)READ_ONCE(*page_word(apic, map + 2 * i + 1)) << 32;
}

static void set_page_long(struct vmm_lapic *apic, u32 map, int i, unsigned long value)
{
	WRITE_ONCE(*page_word(apic, map + 2 * i), (u32)value);
	WRITE_ONCE(*page_word(apic, map + 2 * i + 1), value >> 32);
}

/*
 * What senders have left, into the page. They set the bit, then irr_pending; here
 * irr_pending goes first, then the bits are looked at. TMR after IRR: senders
 * write it before. Returns RVI.
 */
static u32 move_requests(struct vmm_lapic *apic, u32 rvi)
{
	unsigned long *irr = lapic_map(apic, LAPIC_IRR), new;
	unsigned long *tmr = lapic_map(apic, LAPIC_TMR);
	int i;

	WRITE_ONCE(apic->irr_pending, false);
	smp_mb();
	for (i = 0; i < MAP_LONGS; i++) {
		new = READ_ONCE(irr[i]) ? xchg(&irr[i], 0) : 0;
		if (new) {
			set_page_long(apic, LAPIC_IRR, i, page_long(apic, LAPIC_IRR, i) | new);
			rvi = max_t(u32, rvi, i * BITS_PER_LONG + __fls(new));
		}
		set_page_long(apic, LAPIC_TMR, i, READ_ONCE(tmr[i]));
	}
	return rvi;
}

/*
 * The CPU knows nothing of SVR: an APIC that software has disabled takes no IPI
 * from itself either (SDM 3A 11.4.7.2).
 */
bool vmm_lapic_give(struct vmm_vcpu *vcpu)
{
	struct vmm_lapic *apic = &vcpu->apic;
	unsigned long *isr = lapic_map(apic, LAPIC_ISR);
	int svi, i;

	if (apic->in_page) {
		if (!READ_ONCE(apic->irr_pending))
			return false;
		apic->status = (apic->status & ~STATUS_RVI) |
			       move_requests(apic, apic->status & STATUS_RVI);
		return true;
	}
	svi = max(lapic_highest(apic, LAPIC_ISR), 0);
	for (i = 0; i < MAP_LONGS; i++) {
		set_page_long(apic, LAPIC_IRR, i, 0);
		set_page_long(apic, LAPIC_ISR, i, isr[i]);
		WRITE_ONCE(isr[i], 0);
	}
	apic->status = move_requests(apic, 0) | svi << STATUS_SVI_SHIFT;
	apic->in_page = true;
	return true;
}

void lapic_take(struct vmm_lapic *apic)
{
	unsigned long *isr = lapic_map(apic, LAPIC_ISR);
	unsigned long *irr = lapic_map(apic, LAPIC_IRR);
	int i, bit;

	apic->in_page = false;
	for (i = 0; i < MAP_LONGS; i++) {
		unsigned long set = page_long(apic, LAPIC_IRR, i);

		WRITE_ONCE(isr[i], page_long(apic, LAPIC_ISR, i));
		for (; set; set &= set - 1) {
			bit = __ffs(set);
			set_bit(bit, &irr[i]);
		}
	}
	/* after the bits, as lapic_accept() does */
	smp_wmb();
	if (lapic_highest(apic, LAPIC_IRR) >= 0)
		WRITE_ONCE(apic->irr_pending, true);
}

u32 lapic_icr2(struct vmm_lapic *apic)
{
	if (apic->page && !lapic_x2apic(apic))
		WRITE_ONCE(apic->regs[LAPIC_ICR2],
			   READ_ONCE(*page_word(apic, LAPIC_ICR2)) & LAPIC_ICR2_DEST);
	return lapic_reg(apic, LAPIC_ICR2);
}

/*
 * The guest has written to a register, and the page has what it wrote: now do what
 * the register does, and let the page show what became of it. A write to less
 * than the register's beginning is undefined; here it is none.
 */
int vmm_lapic_written(struct vmm_vcpu *vcpu, u32 offset, u8 *eoi)
{
	struct vmm_lapic *apic = &vcpu->apic;
	u32 reg = offset >> 4, value;
	int r = 0;

	if (reg >= LAPIC_NREGS)
		return 0;
	value = READ_ONCE(*page_word(apic, reg));
	/* by MSR only SELF_IPI comes here, for its vector: 30.5 */
	if (lapic_x2apic(apic))
		r = vmm_lapic_msr_write(vcpu, LAPIC_MSR_X2APIC + reg, value, eoi);
	else if (!(offset & 0xf))
		r = vmm_lapic_mmio_write(vcpu, offset, value, eoi);
	WRITE_ONCE(*page_word(apic, reg), lapic_reg(apic, reg));
	return max(r, 0);
}
