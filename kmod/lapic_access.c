// SPDX-License-Identifier: GPL-2.0
/*
 * The APIC-access page, SDM 3C 30.4: guests find it where their APIC is, and the
 * CPU turns what they do there into accesses to the vCPU's virtual-APIC page.
 * Nothing is kept in it, and no instruction fetched from it.
 *
 * All vCPUs of a VM have one nested page table. One whose APIC is elsewhere, off,
 * or in x2APIC mode must not find memory there: then the page is mapped for none,
 * and the others' accesses are page faults that exit.c decodes, as on CPUs without
 * all this. Memory that the monitor maps there has its way on every CPU.
 */
#include <linux/gfp.h>
#include <linux/mm.h>
#include "lapic.h"

bool vmm_apic_access;

int vmm_apic_access_create(struct vmm_vm *vm)
{
	if (!vmm_apic_access)
		return 0;
	vm->apic_access = alloc_page(GFP_KERNEL_ACCOUNT | __GFP_ZERO);
	return vm->apic_access ? 0 : -ENOMEM;
}

void vmm_apic_access_destroy(struct vmm_vm *vm)
{
	if (vm->apic_access)
		__free_page(vm->apic_access);
}

int vmm_apic_access_fault(struct vmm_vcpu *vcpu)
{
	struct vmm_vm *vm = vcpu->vm;

	if (!vm->apic_access || READ_ONCE(vm->apic_strays) ||
	    vmm_lapic_mode(vcpu) != VMM_LAPIC_XAPIC ||
	    vcpu->fact.npf.access & VMM_ACCESS_FETCH)
		return -1;
	if (vcpu->loaded)
		return 0;
	return vmm_npt_map_apic(vm, vcpu->fact.npf.gpa) ? -1 : 1;
}

void vmm_apic_access_moved(struct vmm_vcpu *vcpu)
{
	bool stray = vmm_lapic_mode(vcpu) != VMM_LAPIC_XAPIC;
	struct vmm_vm *vm = vcpu->vm;

	write_lock(&vm->mmu_lock);
	if (stray != vcpu->apic.stray) {
		WRITE_ONCE(vcpu->apic.stray, stray);
		WRITE_ONCE(vm->apic_strays, vm->apic_strays + (stray ? 1 : -1));
		/* a fault that saw none must look again */
		vm->mmu_seq++;
		if (stray)
			vmm_npt_zap(vm, LAPIC_BASE_DEFAULT, LAPIC_BASE_DEFAULT + PAGE_SIZE);
	}
	write_unlock(&vm->mmu_lock);
	vmm_npt_flush(vm);
}
