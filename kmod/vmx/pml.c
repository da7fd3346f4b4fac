// SPDX-License-Identifier: GPL-2.0
/*
 * Page-modification logging, SDM 3C 29.3.6: the CPU writes the address of a page
 * to the log when it sets a D bit in the EPT. The index counts down from the last
 * entry and is beyond the first when the log is full: then the next one exits
 * before it sets the bit.
 *
 * The log is on only while somebody wants it, and empty after every exit.
 */
#include <linux/gfp.h>
#include <linux/mm.h>
#include <asm/io.h>

#include "vmx/vmx.h"

#define PML_ENTRIES	(PAGE_SIZE / sizeof(u64))

int vmx_pml_create(struct vmx_vcpu *vmx)
{
	if (!(vmx_caps.proc2 & SECONDARY_EXEC_ENABLE_PML))
		return 0;
	vmx->pml = (void *)get_zeroed_page(GFP_KERNEL_ACCOUNT);
	return vmx->pml ? 0 : -ENOMEM;
}

void vmx_pml_destroy(struct vmx_vcpu *vmx)
{
	free_page((unsigned long)vmx->pml);
}

void vmx_pml_write_fields(const struct vmx_vcpu *vmx)
{
	if (!vmx->pml)
		return;
	vmcs_write(PML_ADDRESS, __pa(vmx->pml));
	vmcs_write(GUEST_PML_INDEX, PML_ENTRIES - 1);
}

void vmx_pml_drain(struct vmm_vcpu *vcpu)
{
	struct vmx_vcpu *vmx = to_vmx(vcpu);
	u16 index = vmcs_read(GUEST_PML_INDEX);
	u32 first = index < PML_ENTRIES ? index + 1 : 0;

	if (first == PML_ENTRIES)
		return;
	vmm_dirty_logged(vcpu->vm, vmx->pml + first, PML_ENTRIES - first);
	vmcs_write(GUEST_PML_INDEX, PML_ENTRIES - 1);
}
