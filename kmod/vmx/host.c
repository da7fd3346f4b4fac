// SPDX-License-Identifier: GPL-2.0
/*
 * The host's half of the VMCS, and what an exit does not give back (SDM 3C 28.5):
 * selectors become null, the LDT unusable, the limits of GDT and TSS others.
 */
#include <linux/smp.h>
#include <asm/cpufeature.h>
#include <asm/desc.h>
#include <asm/desc_defs.h>
#include <asm/msr.h>
#include <asm/processor-flags.h>
#include <asm/segment.h>
#include <asm/special_insns.h>

#include "vmx/vmx.h"

#define SELECTOR_RPL_TI		7

static const u32 syscall_msrs[VMX_NSYSCALL] = {
	MSR_STAR, MSR_LSTAR, MSR_CSTAR, MSR_SYSCALL_MASK,
};

int vmx_syscall_slot(u32 index)
{
	int i;

	for (i = 0; i < VMX_NSYSCALL; i++)
		if (syscall_msrs[i] == index)
			return i;
	return -1;
}

void vmx_host_cpu(struct vmx_cpu *c)
{
	int i;

	for (i = 0; i < VMX_NSYSCALL; i++)
		rdmsrl(syscall_msrs[i], c->host_syscall[i]);
}

static void write_syscall_msrs(const u64 *now, const u64 *value)
{
	int i;

	for (i = 0; i < VMX_NSYSCALL; i++)
		if (now[i] != value[i])
			wrmsrl(syscall_msrs[i], value[i]);
}

/*
 * The MSRs of SYSCALL and SWAPGS matter on the way to and from userspace only:
 * they may be the guest's while preemption is off.
 */
void vmx_host_load(struct vmm_vcpu *vcpu)
{
	struct vmx_vcpu *vmx = to_vmx(vcpu);
	struct vmx_cpu *c = this_cpu_ptr(&vmx_cpus);

	if (vcpu->cpu != smp_processor_id()) {
		vmx->flush = true;
		vmx->host_stale = true;
	}
	savesegment(ds, vmx->host_ds);
	savesegment(es, vmx->host_es);
	savesegment(fs, vmx->host_fs);
	savesegment(gs, vmx->host_gs);
	asm("sldt %0" : "=rm"(vmx->host_ldt));
	rdmsrl(MSR_FS_BASE, vmx->host_fs_base);
	rdmsrl(MSR_KERNEL_GS_BASE, vmx->host_kernel_gs_base);
	wrmsrl(MSR_KERNEL_GS_BASE, vmx->kernel_gs_base);
	write_syscall_msrs(c->host_syscall, vmx->syscall);
}

static void put_segments(struct vmx_vcpu *vmx)
{
	unsigned long flags;

	if (vmx->host_ldt)
		asm volatile("lldt %0" : : "rm"(vmx->host_ldt));
	if (vmx->host_ds | vmx->host_es) {
		loadsegment(ds, vmx->host_ds);
		loadsegment(es, vmx->host_es);
	}
	if (vmx->host_fs) {
		loadsegment(fs, vmx->host_fs);
		wrmsrl(MSR_FS_BASE, vmx->host_fs_base);
	}
	if (vmx->host_gs) {
		local_irq_save(flags);
		load_gs_index(vmx->host_gs);
		local_irq_restore(flags);
	}
}

void vmx_host_put(struct vmm_vcpu *vcpu)
{
	struct vmx_vcpu *vmx = to_vmx(vcpu);
	struct vmx_cpu *c = this_cpu_ptr(&vmx_cpus);

	/* SWAPGS needs no exit: what is there now is the guest's */
	rdmsrl(MSR_KERNEL_GS_BASE, vmx->kernel_gs_base);
	put_segments(vmx);
	wrmsrl(MSR_KERNEL_GS_BASE, vmx->host_kernel_gs_base);
	write_syscall_msrs(vmx->syscall, c->host_syscall);
	/* the exit made the GDT's limit 0xffff and the TSS's 0x67 */
	load_fixmap_gdt(smp_processor_id());
	invalidate_tss_limit();
}

/*
 * An exit clears DEBUGCTL (SDM 3C 28.5.1). PEBS would write its records to the
 * host's linear addresses through the guest's page tables.
 */
void vmx_host_tracing(struct vmx_cpu *c, bool on)
{
	if (on) {
		if (c->debugctl)
			wrmsrl(MSR_IA32_DEBUGCTLMSR, c->debugctl);
		if (c->pebs)
			wrmsrl(MSR_IA32_PEBS_ENABLE, c->pebs);
		return;
	}
	rdmsrl(MSR_IA32_DEBUGCTLMSR, c->debugctl);
	c->pebs = 0;
	if (boot_cpu_has(X86_FEATURE_PEBS))
		rdmsrl(MSR_IA32_PEBS_ENABLE, c->pebs);
	if (c->pebs)
		wrmsrl(MSR_IA32_PEBS_ENABLE, 0);
}

/* the base in a system descriptor of the GDT, SDM 3A 8.2.3 */
static unsigned long system_base(const struct desc_ptr *gdt, u16 selector)
{
	const struct ldttss_desc *d = (void *)(gdt->address + (selector & ~SELECTOR_RPL_TI));

	return d->base0 | (unsigned long)d->base1 << 16 | (unsigned long)d->base2 << 24 |
	       (unsigned long)d->base3 << 32;
}

static void write_this_cpu(void)
{
	struct desc_ptr gdt, idt;
	u64 value;
	u16 tr;

	native_store_gdt(&gdt);
	store_idt(&idt);
	asm("str %0" : "=rm"(tr));
	vmcs_write(HOST_GDTR_BASE, gdt.address);
	vmcs_write(HOST_IDTR_BASE, idt.address);
	vmcs_write(HOST_TR_SELECTOR, tr);
	vmcs_write(HOST_TR_BASE, system_base(&gdt, tr));
	rdmsrl(MSR_GS_BASE, value);
	vmcs_write(HOST_GS_BASE, value);
	rdmsrl(MSR_IA32_SYSENTER_CS, value);
	vmcs_write(HOST_IA32_SYSENTER_CS, value);
	rdmsrl(MSR_IA32_SYSENTER_ESP, value);
	vmcs_write(HOST_IA32_SYSENTER_ESP, value);
	rdmsrl(MSR_IA32_SYSENTER_EIP, value);
	vmcs_write(HOST_IA32_SYSENTER_EIP, value);
	rdmsrl(MSR_EFER, value);
	vmcs_write(HOST_IA32_EFER, value);
	vmcs_write(HOST_CR0, native_read_cr0());
}

void vmx_host_write(struct vmx_vcpu *vmx)
{
	/* the kernel may have changed its mind about the PCID */
	u64 cr3 = __native_read_cr3();

	if (vmx->host_stale) {
		vmx->host_stale = false;
		vmx->host_cr3 = ~cr3;
		vmx->vmcs_fs_base = ~vmx->host_fs_base;
		write_this_cpu();
	}
	/* another thread may run it now */
	if (vmx->vmcs_fs_base != vmx->host_fs_base) {
		vmx->vmcs_fs_base = vmx->host_fs_base;
		vmcs_write(HOST_FS_BASE, vmx->host_fs_base);
	}
	if (vmx->host_cr3 != cr3) {
		vmx->host_cr3 = cr3;
		vmcs_write(HOST_CR3, cr3);
	}
	/* VMXE included */
	vmcs_write(HOST_CR4, native_read_cr4());
}

void vmx_host_constant(void)
{
	vmcs_write(HOST_CS_SELECTOR, __KERNEL_CS);
	vmcs_write(HOST_SS_SELECTOR, __KERNEL_DS);
	vmcs_write(HOST_DS_SELECTOR, 0);
	vmcs_write(HOST_ES_SELECTOR, 0);
	vmcs_write(HOST_FS_SELECTOR, 0);
	vmcs_write(HOST_GS_SELECTOR, 0);
	vmcs_write(HOST_RIP, (unsigned long)vmx_exited);
}
