// SPDX-License-Identifier: GPL-2.0
/* The local APIC as the bare guests use it, xAPIC and x2APIC alike. */
#include "rt.h"

#define APIC_PHYS	0xfee00000
#define BASE_ENABLE	0x800
#define BASE_X2APIC	0x400

int x2apic;

u32 apic_read(u32 reg)
{
	if (x2apic)
		return rdmsr(0x800 + reg / 16);
	return *(volatile u32 *)phys(APIC_PHYS + reg);
}

void apic_write(u32 reg, u32 v)
{
	if (x2apic)
		wrmsr(0x800 + reg / 16, v);
	else
		*(volatile u32 *)phys(APIC_PHYS + reg) = v;
}

void apic_icr(u32 dest, u32 low)
{
	if (x2apic) {
		wrmsr(0x830, (u64)dest << 32 | low);
		return;
	}
	apic_write(APIC_ICR2, dest << 24);
	apic_write(APIC_ICR, low);
}

u32 apic_id(void)
{
	u32 id = apic_read(APIC_ID);

	return x2apic ? id : id >> 24;
}

void apic_eoi(void)
{
	apic_write(APIC_EOI, 0);
}

/*
 * Bochs 2.7 delivers an interrupt to a guest that has IF clear when the host has
 * one at that moment: as if it had not been, again.
 */
int apic_early(struct frame *f)
{
	if (f->flags & 0x200)
		return 0;
	apic_eoi();
	apic_icr(0, ICR_SELF | ICR_ASSERT | f->vector);
	return 1;
}

void apic_enable(int want_x2apic)
{
	u64 base = rdmsr(MSR_APIC_BASE) | BASE_ENABLE;

	/* SDM 3A 11.12.5: enabled first, then x2APIC */
	wrmsr(MSR_APIC_BASE, base);
	if (want_x2apic)
		wrmsr(MSR_APIC_BASE, base | BASE_X2APIC);
	x2apic = want_x2apic;
	apic_write(APIC_SVR, 0x1ff);
	apic_write(APIC_TPR, 0);
}

void start_cpus(u32 cpus)
{
	u32 i;

	for (i = 1; i < cpus; i++) {
		apic_icr(i, ICR_INIT | ICR_ASSERT);
		apic_icr(i, ICR_STARTUP | ICR_ASSERT | GUEST_SIPI);
		/* one after the other: trap_init uses one TSS descriptor */
		while (READ(&cpus_started) <= i)
			pause();
	}
}
