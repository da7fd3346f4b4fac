// SPDX-License-Identifier: GPL-2.0
/*
 * Intel's VMX: the life of a vCPU's VMCS, and the ops table through which the
 * common code reaches this room.
 */
#include <linux/gfp.h>
#include <linux/idr.h>
#include <linux/mm.h>
#include <linux/slab.h>
#include <asm/io.h>
#include <asm/msr.h>
#include <asm/processor-flags.h>

#include "vmx/vmx.h"

/* PAUSE-loop exiting, in TSC ticks: what belongs to one loop, and how long is long */
#define PLE_GAP_TICKS		128
#define PLE_WINDOW_TICKS	4096

/* the MSR bitmap, SDM 3C 25.6.9: reads of the two ranges, then writes */
#define BITMAP_HIGH		1024
#define BITMAP_WRITE		2048

/* all memory is the host's and write-back: the guest's own types do not count */
#define EPT_LEAF	(VMX_EPT_READABLE_MASK | VMX_EPT_EXECUTABLE_MASK | \
			 VMX_EPTP_MT_WB << VMX_EPT_MT_EPTE_SHIFT | VMX_EPT_IPAT_BIT)
#define EPT_LARGE	BIT_ULL(7)
#define EPT_LEVELS	4

static u8 *msr_bitmap;
static DEFINE_IDA(vpids);

static struct vmm_pt_format vmx_pt = {
	.levels		= EPT_LEVELS,
	.present	= VMX_EPT_RWX_MASK,
	.table		= VMX_EPT_RWX_MASK,
	.leaf		= EPT_LEAF,
	.write		= VMX_EPT_WRITABLE_MASK,
	.fetch		= VMX_EPT_EXECUTABLE_MASK,
	.large		= EPT_LARGE,
};

void vmx_bitmap_allow(u8 *bitmap, u32 msr, u32 how)
{
	u8 *map = bitmap + (msr >= 0xc0000000 ? BITMAP_HIGH : 0);
	u32 bit = msr & 0x1fff;

	if (how & VMX_MSR_READ)
		map[bit / 8] &= ~BIT(bit % 8);
	if (how & VMX_MSR_WRITE)
		map[BITMAP_WRITE + bit / 8] &= ~BIT(bit % 8);
}

u64 vmx_msr_bitmap_pa(void)
{
	return __pa(msr_bitmap);
}

static void msr_bitmap_allow(u32 msr, bool write)
{
	vmx_bitmap_allow(msr_bitmap, msr, VMX_MSR_READ | (write ? VMX_MSR_WRITE : 0));
}

/* The guest may have the real ones of what the VMCS or a change of gear switches. */
static void msr_bitmap_fill(void)
{
	memset(msr_bitmap, 0xff, PAGE_SIZE);
	msr_bitmap_allow(MSR_FS_BASE, true);
	msr_bitmap_allow(MSR_GS_BASE, true);
	msr_bitmap_allow(MSR_KERNEL_GS_BASE, true);
	msr_bitmap_allow(MSR_IA32_SYSENTER_CS, true);
	msr_bitmap_allow(MSR_IA32_SYSENTER_ESP, true);
	msr_bitmap_allow(MSR_IA32_SYSENTER_EIP, true);
	/* written seldom, so a change of gear need not read them */
	msr_bitmap_allow(MSR_STAR, false);
	msr_bitmap_allow(MSR_LSTAR, false);
	msr_bitmap_allow(MSR_CSTAR, false);
	msr_bitmap_allow(MSR_SYSCALL_MASK, false);
}

static int vmx_setup(void)
{
	msr_bitmap = (u8 *)__get_free_page(GFP_KERNEL);
	if (!msr_bitmap)
		return -ENOMEM;
	msr_bitmap_fill();
	if (vmx_apic_setup(msr_bitmap))
		goto free_bitmap;
	if (vmx_cpus_alloc())
		goto free_apic;
	vmx_pt.max_leaf = !(vmx_caps.ept_vpid & VMX_EPT_2MB_PAGE_BIT) ? 1 :
			  !(vmx_caps.ept_vpid & VMX_EPT_1GB_PAGE_BIT) ? 2 : 3;
	if (vmx_caps.ept_vpid & VMX_EPT_AD_BIT) {
		vmx_pt.accessed = VMX_EPT_ACCESS_BIT;
		vmx_pt.dirty = VMX_EPT_DIRTY_BIT;
	}
	return 0;

free_apic:
	vmx_apic_teardown();
free_bitmap:
	free_page((unsigned long)msr_bitmap);
	return -ENOMEM;
}

static void vmx_teardown(void)
{
	vmx_cpus_free();
	vmx_apic_teardown();
	free_page((unsigned long)msr_bitmap);
	ida_destroy(&vpids);
}

/* ---- vCPU ------------------------------------------------------------------- */

static u64 ept_pointer(const struct vmm_vm *vm)
{
	return __pa(vm->npt_root) | VMX_EPTP_MT_WB | VMX_EPTP_PWL_4 |
	       (vmx_pt.accessed ? VMX_EPTP_AD_ENABLE_BIT : 0);
}

/* KVM takes them from 1 up; none left is no fault, only slower */
static u16 vpid_take(void)
{
	int n;

	if (!(vmx_caps.proc2 & SECONDARY_EXEC_ENABLE_VPID))
		return 0;
	n = ida_alloc_max(&vpids, 0xfffe, GFP_KERNEL);
	return n < 0 ? 0 : 0xffff - n;
}

static void write_controls(const struct vmx_vcpu *vmx)
{
	vmcs_write(PIN_BASED_VM_EXEC_CONTROL, vmx_caps.pin);
	vmcs_write(CPU_BASED_VM_EXEC_CONTROL, vmx->proc);
	vmcs_write(SECONDARY_VM_EXEC_CONTROL, vmx->proc2);
	vmcs_write(VM_EXIT_CONTROLS, vmx_caps.exit);
	vmcs_write(VM_ENTRY_CONTROLS, vmx_caps.entry);
	vmcs_write(EXCEPTION_BITMAP, VMX_EXCEPTIONS);
	vmcs_write(PAGE_FAULT_ERROR_CODE_MASK, 0);
	vmcs_write(PAGE_FAULT_ERROR_CODE_MATCH, 0);
	vmcs_write(CR3_TARGET_COUNT, 0);
	vmcs_write(VM_EXIT_MSR_STORE_COUNT, 0);
	vmcs_write(VM_EXIT_MSR_LOAD_COUNT, 0);
	vmcs_write(VM_ENTRY_MSR_LOAD_COUNT, 0);
	vmcs_write(VM_ENTRY_INTR_INFO_FIELD, 0);
	vmcs_write(MSR_BITMAP, vmx->msr_bitmap);
	vmcs_write(VIRTUAL_APIC_PAGE_ADDR, __pa(vmx->apic_page));
	vmcs_write(TPR_THRESHOLD, 0);
	vmcs_write(EPT_POINTER, vmx->eptp);
	vmcs_write(VIRTUAL_PROCESSOR_ID, vmx->vpid);
	/* these fields exist where their control does */
	if (vmx->proc2 & SECONDARY_EXEC_PAUSE_LOOP_EXITING) {
		vmcs_write(PLE_GAP, PLE_GAP_TICKS);
		vmcs_write(PLE_WINDOW, PLE_WINDOW_TICKS);
	}
	if (vmx->proc2 & VMCS_CONTROL_BIT(XSAVES))
		vmcs_write(XSS_EXIT_BITMAP, 0);
	if (vmx->proc2 & SECONDARY_EXEC_ENCLS_EXITING)
		vmcs_write(ENCLS_EXITING_BITMAP, ~0ULL);
	vmx_pml_write_fields(vmx);
	vmcs_write(CR0_GUEST_HOST_MASK, VMX_CR0_HELD);
}

static void write_guest(const struct vmx_vcpu *vmx)
{
	vmcs_write(VMCS_LINK_POINTER, ~0ULL);
	vmcs_write(GUEST_IA32_DEBUGCTL, 0);
	vmcs_write(GUEST_ACTIVITY_STATE, GUEST_ACTIVITY_ACTIVE);
	vmcs_write(GUEST_INTERRUPTIBILITY_INFO, 0);
	vmcs_write(GUEST_PENDING_DBG_EXCEPTIONS, 0);
	vmcs_write(GUEST_RIP, vmx->rip);
	vmcs_write(GUEST_RSP, vmx->rsp);
	vmcs_write(GUEST_RFLAGS, vmx->rflags);
	vmcs_write(GUEST_DR7, vmx->dr7);
	vmcs_write(TSC_OFFSET, vmx->tsc_offset);
	vmcs_write(GUEST_SYSENTER_CS, 0);
	vmcs_write(GUEST_SYSENTER_ESP, 0);
	vmcs_write(GUEST_SYSENTER_EIP, 0);
}

static void vmx_vcpu_destroy(struct vmm_vcpu *vcpu)
{
	struct vmx_vcpu *vmx = to_vmx(vcpu);

	if (vmx->vpid)
		ida_free(&vpids, 0xffff - vmx->vpid);
	vmx_pml_destroy(vmx);
	free_page((unsigned long)vmx->apic_page);
	free_page((unsigned long)vmx->vmcs);
	kfree(vmx);
	vcpu->arch = NULL;
}

static int vmx_vcpu_create(struct vmm_vcpu *vcpu)
{
	struct vmx_vcpu *vmx = kzalloc(sizeof(*vmx), GFP_KERNEL_ACCOUNT);
	struct vmx_hold hold;

	if (!vmx)
		return -ENOMEM;
	vcpu->arch = vmx;
	vmx->vmcs = (void *)get_zeroed_page(GFP_KERNEL_ACCOUNT);
	vmx->apic_page = (void *)get_zeroed_page(GFP_KERNEL_ACCOUNT);
	if (!vmx->vmcs || !vmx->apic_page || vmx_pml_create(vmx))
		goto fail;
	*(u32 *)vmx->vmcs = vmx_caps.revision;
	vmx->vmcs_pa = __pa(vmx->vmcs);
	vmx->vpid = vpid_take();
	vmx->eptp = ept_pointer(vcpu->vm);
	vmx->proc = vmx_caps.proc;
	vmx->proc2 = vmx_caps.proc2;
	vmx->msr_bitmap = __pa(msr_bitmap);
	vmx->flush = true;
	if (!vmx_open(vcpu, &hold))
		goto fail;
	write_controls(vmx);
	write_guest(vmx);
	vmx_apic_create(vcpu);
	vmx_host_constant();
	vmx_close(vcpu, &hold);
	return 0;
fail:
	vmx_vcpu_destroy(vcpu);
	return -ENOMEM;
}

static void vmx_flush(struct vmm_vcpu *vcpu)
{
	to_vmx(vcpu)->flush = true;
}

const struct vmm_ops vmm_vmx_ops = {
	.name = "VT-x",
	.kvm_module = "kvm_intel",
	.vendor = VMM_VENDOR_VMX,
	.pt = &vmx_pt,
	.cpuid_repeats = true,
	.features = vmx_features,
	.check = vmx_check,
	.setup = vmx_setup,
	.teardown = vmx_teardown,
	.cpu_enable = vmx_cpu_enable,
	.cpu_disable = vmx_cpu_disable,
	.vcpu_create = vmx_vcpu_create,
	.vcpu_destroy = vmx_vcpu_destroy,
	.load = vmx_host_load,
	.put = vmx_host_put,
	.stretch_begin = vmx_stretch_begin,
	.stretch_end = vmx_stretch_end,
	.enter = vmx_vcpu_enter,
	.why = vmx_why,
	.step = vmx_step,
	.flush = vmx_flush,
	.get_cr = vmx_get_cr,
	.get_efer = vmx_get_efer,
	.get_segment = vmx_get_segment,
	.get_sregs = vmx_get_sregs,
	.set_sregs = vmx_set_sregs,
	.get_msr = vmx_get_msr,
	.set_msr = vmx_set_msr,
};
