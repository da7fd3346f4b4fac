// SPDX-License-Identifier: GPL-2.0
/*
 * VMX operation and the current VMCS.
 *
 * In VMX operation CR4.VMXE cannot be cleared: a MOV to CR4 without it faults
 * (SDM 3C 24.8). The kernel writes CR4 from a copy of its own, when it flushes
 * global TLB entries or switches a thread with other flags, so the bit would have
 * to be in that copy; the functions that put it there (cr4_update_irqsoff) are
 * KVM's alone in later kernels. So VMX is on only while interrupts are off, for
 * one stretch of entries and exits or one look at a VMCS, and CR4 is before it
 * and after it what the kernel believes. Nobody writes CR4 meanwhile: interrupt
 * handlers and the scheduler do not run, and NMI and machine check handlers do
 * not touch it. That holds on 6.1, 6.12 and 7.2 alike, and no symbol is needed.
 *
 * What follows from it: CPU hotplug, suspend, reboot and kexec find every CPU as
 * if there were no VMX, with nothing to switch off and no INIT held back. And if
 * KVM comes later and keeps VMX on, we go on beside it: our VMCS becomes current
 * with interrupts off, and its own is put back before they open. VPIDs are taken
 * from the other end than KVM does, and EPT roots are everybody's own.
 */
#define pr_fmt(fmt) "vmm: " fmt

#include <linux/gfp.h>
#include <linux/mm.h>
#include <linux/smp.h>
#include <asm/asm.h>
#include <asm/cpufeature.h>
#include <asm/io.h>
#include <asm/msr.h>
#include <asm/processor-flags.h>
#include <asm/segment.h>
#include <asm/special_insns.h>

#include "vmx/vmx.h"

#define NO_VMCS		(~0ULL)

DEFINE_PER_CPU(struct vmx_cpu, vmx_cpus);

/* not the kernel's function: it would look after its own bits (see above) */
static void write_cr4(unsigned long cr4)
{
	asm volatile("mov %0, %%cr4" : : "r"(cr4) : "memory");
}

/* true if it failed or faulted */
static bool vmxon(void *region)
{
	u64 pa = __pa(region);
	bool failed = true;

	asm volatile("1: vmxon %[pa]\n\t"
		     "setna %[failed]\n"
		     "2:\n"
		     _ASM_EXTABLE(1b, 2b)
		     : [failed] "+q"(failed) : [pa] "m"(pa) : "cc", "memory");
	return failed;
}

static bool vmptrst(u64 *pa)
{
	bool failed = true;

	asm volatile("1: vmptrst %[pa]\n\t"
		     "movb $0, %[failed]\n"
		     "2:\n"
		     _ASM_EXTABLE(1b, 2b)
		     : [failed] "+q"(failed), [pa] "=m"(*pa) : : "cc", "memory");
	return failed;
}

static bool vmptrld(u64 pa)
{
	bool failed;

	asm volatile("vmptrld %[pa]\n\t"
		     "setna %[failed]"
		     : [failed] "=q"(failed) : [pa] "m"(pa) : "cc", "memory");
	return failed;
}

static void vmclear(u64 pa)
{
	asm volatile("vmclear %0" : : "m"(pa) : "cc", "memory");
}

/* irqs off; 0 or -EIO */
static int vmx_on(struct vmx_cpu *c)
{
	c->cr4 = native_read_cr4();
	c->shared = c->cr4 & X86_CR4_VMXE;
	if (c->shared)
		return vmptrst(&c->foreign) ? -EIO : 0;
	write_cr4(c->cr4 | X86_CR4_VMXE);
	if (!vmxon(c->vmxon))
		return 0;
	write_cr4(c->cr4);
	return -EIO;
}

static void vmx_off(struct vmx_cpu *c)
{
	if (c->shared) {
		if (c->foreign != NO_VMCS)
			vmptrld(c->foreign);
		return;
	}
	asm volatile("vmxoff" : : : "cc", "memory");
	write_cr4(c->cr4);
}

static int open_vmcs(struct vmx_vcpu *vmx)
{
	struct vmx_cpu *c = this_cpu_ptr(&vmx_cpus);

	if (vmx_on(c)) {
		pr_err_ratelimited("VMX operation cannot be entered on CPU %d\n",
				   smp_processor_id());
		return -EIO;
	}
	if (vmptrld(vmx->vmcs_pa)) {
		vmx_off(c);
		return -EIO;
	}
	vmx->open = true;
	return 0;
}

/* Cleared each time: then its contents are in memory, for whatever CPU is next. */
static void close_vmcs(struct vmx_vcpu *vmx)
{
	vmx->open = false;
	vmx->launched = false;
	vmclear(vmx->vmcs_pa);
	vmx_off(this_cpu_ptr(&vmx_cpus));
}

bool vmx_open(struct vmm_vcpu *vcpu, struct vmx_hold *hold)
{
	struct vmx_vcpu *vmx = to_vmx(vcpu);

	hold->outer = !vmx->open;
	if (!hold->outer)
		return true;
	local_irq_save(hold->flags);
	if (!open_vmcs(vmx))
		return true;
	local_irq_restore(hold->flags);
	return false;
}

void vmx_close(struct vmm_vcpu *vcpu, struct vmx_hold *hold)
{
	if (!hold->outer)
		return;
	close_vmcs(to_vmx(vcpu));
	local_irq_restore(hold->flags);
}

/* VERW of a valid selector, with the microcode for it (SDM's name: MD_CLEAR) */
static void clear_cpu_buffers(void)
{
	static const u16 ds = __KERNEL_DS;

	asm volatile("verw %0" : : "m"(ds) : "cc");
}

int vmx_stretch_begin(struct vmm_vcpu *vcpu)
{
	struct vmx_vcpu *vmx = to_vmx(vcpu);

	if (open_vmcs(vmx))
		return -EIO;
	vmx_host_write(vmx);
	vmx_host_tracing(this_cpu_ptr(&vmx_cpus), false);
	/*
	 * What the host has touched must not be in reach of a guest's speculation:
	 * first-level cache (L1TF), fill and store buffers (MDS).
	 */
	if (boot_cpu_has_bug(X86_BUG_L1TF) && boot_cpu_has(X86_FEATURE_FLUSH_L1D))
		wrmsrl(MSR_IA32_FLUSH_CMD, L1D_FLUSH);
	if (boot_cpu_has_bug(X86_BUG_MDS))
		clear_cpu_buffers();
	return 0;
}

/*
 * An NMI comes to its handler with VMX off: if it is a crash that stops this CPU
 * there, INIT must still start it for the next kernel. (One that comes between an
 * exit and this is served at once: then the kernel's own emergency hook, where it
 * looks at CR4, switches VMX off.)
 */
void vmx_stretch_end(struct vmm_vcpu *vcpu)
{
	struct vmx_vcpu *vmx = to_vmx(vcpu);

	close_vmcs(vmx);
	vmx_host_tracing(this_cpu_ptr(&vmx_cpus), true);
	if (vmx->nmi)
		asm volatile("int $2");
	vmx->nmi = false;
}

/* ---- TLB -------------------------------------------------------------------- */

struct inv {
	u64 first, second;
};

static void invept(u64 type, u64 eptp)
{
	struct inv d = { .first = eptp };

	asm volatile("invept %0, %1" : : "m"(d), "r"(type) : "cc", "memory");
}

static void invvpid(u64 type, u16 vpid)
{
	struct inv d = { .first = vpid };

	asm volatile("invvpid %0, %1" : : "m"(d), "r"(type) : "cc", "memory");
}

/*
 * SDM 3C 29.4.3: what was cached by guest-physical address goes with the EPT
 * root, what by linear address with the VPID. Without a VPID every entry and
 * exit flushes the latter.
 */
void vmx_flush_now(struct vmx_vcpu *vmx)
{
	vmx->flush = false;
	invept(VMX_EPT_EXTENT_CONTEXT, vmx->eptp);
	if (vmx->vpid)
		invvpid(VMX_VPID_EXTENT_SINGLE_CONTEXT, vmx->vpid);
}

/* ---- CPUs ------------------------------------------------------------------- */

/* SDM 3C 24.7. A kernel without KVM or TXT may have left it open: lock it on. */
static int feature_control(void)
{
	u64 control;

	rdmsrl(MSR_IA32_FEAT_CTL, control);
	if (!(control & FEAT_CTL_LOCKED)) {
		control |= FEAT_CTL_LOCKED | FEAT_CTL_VMX_ENABLED_OUTSIDE_SMX;
		wrmsrl(MSR_IA32_FEAT_CTL, control);
	}
	return control & FEAT_CTL_VMX_ENABLED_OUTSIDE_SMX ? 0 : -EOPNOTSUPP;
}

/* Nothing stays on: see that it can be had, and that all CPUs are alike. */
int vmx_cpu_enable(void)
{
	struct vmx_cpu *c = this_cpu_ptr(&vmx_cpus);
	struct vmx_caps caps;
	unsigned long flags;
	int r;

	if (native_read_cr4() & X86_CR4_VMXE)
		return -EBUSY;
	r = feature_control();
	if (r)
		return r;
	if (vmx_caps_read(&caps) || memcmp(&caps, &vmx_caps, sizeof(caps))) {
		pr_err("CPU %d has another VT-x than the first one\n", smp_processor_id());
		return -EOPNOTSUPP;
	}
	vmx_host_cpu(c);
	local_irq_save(flags);
	r = vmx_on(c);
	if (!r)
		vmx_off(c);
	local_irq_restore(flags);
	return r;
}

void vmx_cpu_disable(void)
{
}

void vmx_cpus_free(void)
{
	int cpu;

	for_each_possible_cpu(cpu) {
		struct vmx_cpu *c = per_cpu_ptr(&vmx_cpus, cpu);

		free_page((unsigned long)c->vmxon);
		c->vmxon = NULL;
	}
}

int vmx_cpus_alloc(void)
{
	int cpu;

	for_each_possible_cpu(cpu) {
		struct vmx_cpu *c = per_cpu_ptr(&vmx_cpus, cpu);

		c->vmxon = (void *)get_zeroed_page(GFP_KERNEL);
		if (!c->vmxon) {
			vmx_cpus_free();
			return -ENOMEM;
		}
		*(u32 *)c->vmxon = vmx_caps.revision;
	}
	return 0;
}
