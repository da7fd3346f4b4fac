// SPDX-License-Identifier: GPL-2.0
/* Segments, control registers and MSRs, in the VMCS and beside it. */
#include <asm/msr.h>
#include <asm/processor-flags.h>

#include "vmx/vmx.h"

#define SEG_SELECTOR(n)	(GUEST_ES_SELECTOR + 2 * (n))
#define SEG_LIMIT(n)	(GUEST_ES_LIMIT + 2 * (n))
#define SEG_AR(n)	(GUEST_ES_AR_BYTES + 2 * (n))
#define SEG_BASE(n)	(GUEST_ES_BASE + 2 * (n))

/* the VMCS keeps the descriptor's bits 55:52 four bits further up than we do */
#define AR_LOW		0x00ff
#define AR_HIGH_SHIFT	4
#define AR_HIGH		0xf000

static u64 shown(u64 real, u64 shadow, u64 held)
{
	return (real & ~held) | (shadow & held);
}

/* bits of CR4 that may really be others than the guest reads */
static u64 cr4_shadowed(void)
{
	/* a machine check must reach the host whatever the guest wants */
	return ~vmm_cr4_allowed() | X86_CR4_MCE;
}

static u64 read_cr(int n)
{
	if (n == 0)
		return shown(vmcs_read(GUEST_CR0), vmcs_read(CR0_READ_SHADOW), VMX_CR0_HELD);
	if (n == 3)
		return vmcs_read(GUEST_CR3);
	return shown(vmcs_read(GUEST_CR4), vmcs_read(CR4_READ_SHADOW), cr4_shadowed());
}

static u64 read_efer(int unused)
{
	return vmcs_read(GUEST_IA32_EFER);
}

/* outside a stretch, which costs much more */
static noinline u64 open_and_read(struct vmm_vcpu *vcpu, u64 (*read)(int n), int n)
{
	struct vmx_hold hold;
	u64 value;

	if (!vmx_open(vcpu, &hold))
		return 0;
	value = read(n);
	vmx_close(vcpu, &hold);
	return value;
}

u64 vmx_get_cr(struct vmm_vcpu *vcpu, int n)
{
	return to_vmx(vcpu)->open ? read_cr(n) : open_and_read(vcpu, read_cr, n);
}

u64 vmx_get_efer(struct vmm_vcpu *vcpu)
{
	return to_vmx(vcpu)->open ? read_efer(0) : open_and_read(vcpu, read_efer, 0);
}

static void get_segment(struct vmm_segment *s, int n)
{
	u32 ar = vmcs_read(SEG_AR(n));

	s->selector = vmcs_read(SEG_SELECTOR(n));
	s->limit = vmcs_read(SEG_LIMIT(n));
	s->base = vmcs_read(SEG_BASE(n));
	s->attr = (ar & AR_LOW) | (ar & AR_HIGH) >> AR_HIGH_SHIFT;
	if (ar & VMX_AR_UNUSABLE_MASK)
		s->attr &= ~VMM_SEG_P;
}

static void set_segment(const struct vmm_segment *s, int n)
{
	u32 ar = (s->attr & AR_LOW) | ((s->attr << AR_HIGH_SHIFT) & AR_HIGH);

	/* SDM 3C 25.4.1; P is set so that it comes back as it was when clear */
	if (!(s->attr & VMM_SEG_P))
		ar |= VMX_AR_UNUSABLE_MASK;
	vmcs_write(SEG_SELECTOR(n), s->selector);
	vmcs_write(SEG_LIMIT(n), s->limit);
	vmcs_write(SEG_BASE(n), s->base);
	vmcs_write(SEG_AR(n), ar);
}

void vmx_get_segment(struct vmm_vcpu *vcpu, int n, struct vmm_segment *s)
{
	struct vmx_hold hold;

	memset(s, 0, sizeof(*s));
	if (!vmx_open(vcpu, &hold))
		return;
	get_segment(s, n);
	vmx_close(vcpu, &hold);
}

void vmx_get_sregs(struct vmm_vcpu *vcpu, struct vmm_sregs *s)
{
	struct vmx_hold hold;
	int n;

	memset(s, 0, sizeof(*s));
	if (!vmx_open(vcpu, &hold))
		return;
	for (n = 0; n < VMM_NSEG; n++)
		get_segment(&s->seg[n], n);
	s->gdtr.base = vmcs_read(GUEST_GDTR_BASE);
	s->gdtr.limit = vmcs_read(GUEST_GDTR_LIMIT);
	s->idtr.base = vmcs_read(GUEST_IDTR_BASE);
	s->idtr.limit = vmcs_read(GUEST_IDTR_LIMIT);
	s->cr0 = vmx_get_cr(vcpu, 0);
	s->cr3 = vmx_get_cr(vcpu, 3);
	s->cr4 = vmx_get_cr(vcpu, 4);
	s->efer = vmx_get_efer(vcpu);
	vmx_close(vcpu, &hold);
}

static void set_control_registers(struct vmm_vcpu *vcpu, const struct vmm_sregs *s)
{
	u64 real = vmx_caps.cr4_fixed0;
	u32 entry = vmx_caps.entry;

	vmcs_write(CR0_READ_SHADOW, s->cr0);
	vmcs_write(GUEST_CR0, (s->cr0 & ~VMX_CR0_HELD) | X86_CR0_NE);
	vmcs_write(GUEST_CR3, s->cr3);
	if (native_read_cr4() & X86_CR4_MCE)
		real |= X86_CR4_MCE;
	vmcs_write(CR4_READ_SHADOW, s->cr4);
	vmcs_write(GUEST_CR4, (s->cr4 & ~cr4_shadowed()) | real);
	/* those that are not the guest's to set by itself */
	vmcs_write(CR4_GUEST_HOST_MASK, ~vcpu->cr4_may | X86_CR4_MCE);
	vmcs_write(GUEST_IA32_EFER, s->efer);
	if (s->efer & EFER_LMA)
		entry |= VM_ENTRY_IA32E_MODE;
	vmcs_write(VM_ENTRY_CONTROLS, entry);
}

static bool pae_paging(const struct vmm_sregs *s)
{
	return s->cr0 & X86_CR0_PG && s->cr4 & X86_CR4_PAE && !(s->efer & EFER_LMA);
}

/*
 * With PAE paging the CPU keeps the four entries that CR3 points to (SDM 3A
 * 4.4.1): a MOV to CR3 reads them, an entry takes them from the VMCS. In the fast
 * gear nobody gives another CR3. What cannot be read is not present.
 */
static void set_pdptes(struct vmm_vcpu *vcpu, const struct vmm_sregs *s)
{
	u64 pdpte[4] = {};
	struct vmx_hold hold;
	int i;

	if (!pae_paging(s) || vcpu->loaded)
		return;
	if (vmm_mem_read(vcpu->vm, s->cr3 & 0xffffffe0, pdpte, sizeof(pdpte)))
		memset(pdpte, 0, sizeof(pdpte));
	if (!vmx_open(vcpu, &hold))
		return;
	for (i = 0; i < 4; i++)
		vmcs_write(GUEST_PDPTR0 + 2 * i, pdpte[i]);
	vmx_close(vcpu, &hold);
}

void vmx_set_sregs(struct vmm_vcpu *vcpu, const struct vmm_sregs *s)
{
	struct vmx_hold hold;
	int n;

	set_pdptes(vcpu, s);
	if (!vmx_open(vcpu, &hold))
		return;
	for (n = 0; n < VMM_NSEG; n++)
		set_segment(&s->seg[n], n);
	vmcs_write(GUEST_GDTR_BASE, s->gdtr.base);
	vmcs_write(GUEST_GDTR_LIMIT, s->gdtr.limit);
	vmcs_write(GUEST_IDTR_BASE, s->idtr.base);
	vmcs_write(GUEST_IDTR_LIMIT, s->idtr.limit);
	set_control_registers(vcpu, s);
	vmx_close(vcpu, &hold);
}

/* the VMCS field that holds an MSR, or 0 */
static unsigned long msr_field(u32 index)
{
	switch (index) {
	case MSR_FS_BASE: return GUEST_FS_BASE;
	case MSR_GS_BASE: return GUEST_GS_BASE;
	case MSR_IA32_SYSENTER_CS: return GUEST_SYSENTER_CS;
	case MSR_IA32_SYSENTER_ESP: return GUEST_SYSENTER_ESP;
	case MSR_IA32_SYSENTER_EIP: return GUEST_SYSENTER_EIP;
	}
	return 0;
}

int vmx_get_msr(struct vmm_vcpu *vcpu, u32 index, u64 *value)
{
	struct vmx_vcpu *vmx = to_vmx(vcpu);
	unsigned long field = msr_field(index);
	int slot = vmx_syscall_slot(index);
	struct vmx_hold hold;

	if (slot >= 0) {
		*value = vmx->syscall[slot];
	} else if (index == MSR_KERNEL_GS_BASE) {
		if (vcpu->loaded)
			rdmsrl(MSR_KERNEL_GS_BASE, vmx->kernel_gs_base);
		*value = vmx->kernel_gs_base;
	} else if (index == MSR_IA32_CR_PAT) {
		*value = vmx->pat;
	} else if (field && vmx_open(vcpu, &hold)) {
		*value = vmcs_read(field);
		vmx_close(vcpu, &hold);
	} else {
		return -ENOENT;
	}
	return 0;
}

int vmx_set_msr(struct vmm_vcpu *vcpu, u32 index, u64 value)
{
	struct vmx_vcpu *vmx = to_vmx(vcpu);
	unsigned long field = msr_field(index);
	int slot = vmx_syscall_slot(index);
	struct vmx_hold hold;

	if (slot >= 0) {
		vmx->syscall[slot] = value;
		if (vcpu->loaded)
			wrmsrl(index, value);
	} else if (index == MSR_KERNEL_GS_BASE) {
		vmx->kernel_gs_base = value;
		if (vcpu->loaded)
			wrmsrl(index, value);
	} else if (index == MSR_IA32_CR_PAT) {
		vmx->pat = value;
	} else if (field && vmx_open(vcpu, &hold)) {
		vmcs_write(field, value);
		vmx_close(vcpu, &hold);
	} else {
		return -ENOENT;
	}
	return 0;
}
