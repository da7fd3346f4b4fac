// SPDX-License-Identifier: GPL-2.0
/*
 * APIC-register virtualization and virtual-interrupt delivery, SDM 3C chapter 30:
 * the CPU reads and writes the guest's APIC in a page of ours (kmod/lapic_page.c),
 * and delivers from it. What is left to exit is told as facts.
 */
#include <linux/gfp.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <asm/io.h>
#include <asm/processor-flags.h>

#include "lapic.h"
#include "vmx/vmx.h"

#define X2APIC_TPR	0x808
#define X2APIC_EOI	0x80b
#define X2APIC_SELF_IPI	0x83f

#define PAGE_TMR	0x180
#define PAGE_IRR	0x200
#define MAP_REGS	8		/* a map's registers, 16 bytes apart */

static bool virt_intr = true;
module_param(virt_intr, bool, 0444);
MODULE_PARM_DESC(virt_intr, "Let CPUs that can deliver interrupts by themselves (default: yes)");

/* where the guest's APIC is in x2APIC mode */
static u8 *x2apic_bitmap;

/* by the revision of its VMCS; see the end of this file */
static bool on_bochs(void)
{
	return vmx_caps.revision == 0x2b;
}

bool vmx_apic_caps(u32 *proc2)
{
	bool all = virt_intr && (*proc2 & VMX_APIC_CONTROLS) == VMX_APIC_CONTROLS;

	*proc2 &= ~VMX_APIC_CONTROLS;
	return all;
}

/*
 * Registers that the page holds: reads of all but those that are none, of the
 * current count, and of ICR, whose upper half the page has elsewhere (30.5).
 */
static void allow_x2apic(void)
{
	static const struct {
		u16 first, last;
	} read[] = {
		{ 0x802, 0x803 }, { 0x808, 0x808 }, { 0x80a, 0x80a }, { 0x80d, 0x80d },
		{ 0x80f, 0x828 }, { 0x832, 0x838 }, { 0x83e, 0x83e },
	};
	u32 i, msr;

	for (i = 0; i < ARRAY_SIZE(read); i++)
		for (msr = read[i].first; msr <= read[i].last; msr++)
			vmx_bitmap_allow(x2apic_bitmap, msr, VMX_MSR_READ);
	vmx_bitmap_allow(x2apic_bitmap, X2APIC_TPR, VMX_MSR_WRITE);
	vmx_bitmap_allow(x2apic_bitmap, X2APIC_EOI, VMX_MSR_WRITE);
	if (!on_bochs())
		vmx_bitmap_allow(x2apic_bitmap, X2APIC_SELF_IPI, VMX_MSR_WRITE);
}

int vmx_apic_setup(const u8 *msr_bitmap)
{
	if (!vmx_caps.virt_intr)
		return 0;
	x2apic_bitmap = (u8 *)__get_free_page(GFP_KERNEL);
	if (!x2apic_bitmap)
		return -ENOMEM;
	memcpy(x2apic_bitmap, msr_bitmap, PAGE_SIZE);
	allow_x2apic();
	vmm_apic_access = true;
	return 0;
}

void vmx_apic_teardown(void)
{
	free_page((unsigned long)x2apic_bitmap);
}

/* the VMCS is current */
void vmx_apic_create(struct vmm_vcpu *vcpu)
{
	int i;

	if (!vmx_caps.virt_intr)
		return;
	vcpu->apic.page = (u32 *)to_vmx(vcpu)->apic_page;
	vmcs_write(APIC_ACCESS_ADDR, page_to_phys(vcpu->vm->apic_access));
	vmcs_write(GUEST_INTR_STATUS, 0);
	for (i = 0; i < VMX_NEOI; i++)
		vmcs_write(EOI_EXIT_BITMAP0 + 2 * i, 0);
}

/* level-triggered ones end with an exit: the monitor is to hear of it; or all */
static void write_eoi_exits(struct vmx_vcpu *vmx, bool all)
{
	const u32 *tmr = (u32 *)(vmx->apic_page + PAGE_TMR);
	int i;

	vmx->all_eois_exit = all;
	for (i = 0; i < VMX_NEOI; i++)
		WRITE_IF_CHANGED(vmx->eoi_exits[i], EOI_EXIT_BITMAP0 + 2 * i,
				 all ? ~0ULL : tmr[8 * i] | (u64)tmr[8 * i + 4] << 32);
}

bool vmx_apic_level(const struct vmx_vcpu *vmx, u8 vector)
{
	const u32 *tmr = (u32 *)(vmx->apic_page + PAGE_TMR);

	return tmr[vector / 32 * 4] & BIT(vector % 32);
}

static bool eoi_uncovers(struct vmm_vcpu *vcpu);

/*
 * Without delivery ISR and IRR are not in the page, and all but TPR exits; in x2APIC
 * mode really all, or EOI and SELF_IPI would be those of the real APIC. The access
 * page is as it is mapped.
 */
static u32 controls(struct vmm_vcpu *vcpu)
{
	u32 deliver = vmm_lapic_auto(vcpu) ? SECONDARY_EXEC_VIRTUAL_INTR_DELIVERY |
					     SECONDARY_EXEC_APIC_REGISTER_VIRT : 0;

	switch (vmm_lapic_mode(vcpu)) {
	case VMM_LAPIC_XAPIC:
		return deliver | SECONDARY_EXEC_VIRTUALIZE_APIC_ACCESSES;
	case VMM_LAPIC_X2APIC:
		return deliver ? deliver | SECONDARY_EXEC_VIRTUALIZE_X2APIC_MODE : 0;
	default:
		return deliver;
	}
}

/* the base and whether it delivers are all that they depend on */
static void choose_controls(struct vmm_vcpu *vcpu)
{
	struct vmx_vcpu *vmx = to_vmx(vcpu);

	vmx->apic_base = vcpu->apic.base;
	vmx->apic_auto = vmm_lapic_auto(vcpu);
	vmx->apic_proc2 = controls(vcpu);
	WRITE_IF_CHANGED(vmx->msr_bitmap, MSR_BITMAP,
			 vmx->apic_proc2 & SECONDARY_EXEC_VIRTUALIZE_X2APIC_MODE ?
			 __pa(x2apic_bitmap) : vmx_msr_bitmap_pa());
}

u32 vmx_apic_before_entry(struct vmm_vcpu *vcpu)
{
	struct vmx_vcpu *vmx = to_vmx(vcpu);
	bool given, all;

	if (!vmx_caps.virt_intr)
		return 0;
	if (vmx->apic_base != vcpu->apic.base || vmx->apic_auto != vmm_lapic_auto(vcpu))
		choose_controls(vcpu);
	if (!vmx->apic_auto)
		return vmx->apic_proc2;
	/* as vmm_lapic_give has it: nothing new */
	given = (!vcpu->apic.in_page || READ_ONCE(vcpu->apic.irr_pending)) &&
		vmm_lapic_give(vcpu);
	all = eoi_uncovers(vcpu);
	if (given || all != vmx->all_eois_exit)
		write_eoi_exits(vmx, all);
	WRITE_IF_CHANGED(vmx->intr_status, GUEST_INTR_STATUS, vcpu->apic.status);
	return vmx->apic_proc2;
}

void vmx_apic_after_exit(struct vmm_vcpu *vcpu)
{
	struct vmx_vcpu *vmx = to_vmx(vcpu);

	vmx->intr_status = vmcs_read(GUEST_INTR_STATUS);
	vcpu->apic.status = vmx->intr_status;
}

/* ---- Bochs ------------------------------------------------------------------- */

/*
 * Bochs 2.7 does not write down which event it is about to deliver if that is a
 * virtual interrupt: an exit that cuts it short names the event before it. That
 * there was one is true; and with interrupts on and one in service it is this one,
 * unless the entry injected another.
 */
u32 vmx_apic_vectoring(struct vmm_vcpu *vcpu, u32 info)
{
	u32 vector = vcpu->apic.status >> 8;

	if (!on_bochs() || !(info & INTR_INFO_VALID_MASK) || !vcpu->apic.in_page ||
	    !vector || to_vmx(vcpu)->injected || !(vcpu->rflags & X86_EFLAGS_IF))
		return info;
	return INTR_INFO_VALID_MASK | INTR_TYPE_EXT_INTR | vector;
}

/*
 * And when the host has an interrupt, Bochs delivers a virtual one that waits for
 * the guest to set IF: Linux was interrupted where it held a lock that the handler
 * took. Where we know that it would wait, have an exit instead when it need not any
 * more. So an EOI that lets another one through has to be an exit. (What the guest
 * lets through by TPR, or sends itself in xAPIC mode, is beyond us. The bare guests
 * are prepared for it.)
 */
static bool eoi_uncovers(struct vmm_vcpu *vcpu)
{
	const u32 *irr = (u32 *)(to_vmx(vcpu)->apic_page + PAGE_IRR);
	u32 waiting = 0;
	int i;

	if (!on_bochs() || !(vcpu->apic.status & 0xff))
		return false;
	for (i = 0; i < MAP_REGS; i++)
		waiting += hweight32(irr[i * 4]);
	return waiting > 1 || vcpu->apic.status >> 8;
}

u32 vmx_apic_window(struct vmm_vcpu *vcpu)
{
	u32 rvi = vcpu->apic.status & 0xf0, svi = vcpu->apic.status >> 8;

	if (!on_bochs() || !vmm_lapic_auto(vcpu) ||
	    rvi <= max_t(u32, svi & 0xf0, vmm_lapic_tpr(vcpu) & 0xf0))
		return 0;
	if (vcpu->rflags & X86_EFLAGS_IF && !vcpu->ev.shadow && !to_vmx(vcpu)->injected)
		return 0;
	return CPU_BASED_INTR_WINDOW_EXITING;
}
