// SPDX-License-Identifier: GPL-2.0
/*
 * What this CPU's VMX can, SDM 3D appendix A: each control has bits that may be
 * 0 and bits that may be 1. We ask for what we need and for what we would like.
 */
#define pr_fmt(fmt) "vmm: " fmt

#include <asm/cpufeature.h>
#include <asm/msr.h>

#include "vmx/vmx.h"

/*
 * Every CPU since Westmere (2010) has these, and nothing works without: EPT, real
 * mode without tricks, the TPR without exits, NMIs that are told apart.
 */
#define PIN_NEEDED	(PIN_BASED_EXT_INTR_MASK | PIN_BASED_NMI_EXITING | \
			 PIN_BASED_VIRTUAL_NMIS)
#define PIN_LIKED	PIN_BASED_VMX_PREEMPTION_TIMER
/*
 * I/O exits without bitmaps, which would only say which ports do not exit (SDM 3C
 * 25.6.4): no port of the host's is ever a guest's.
 */
#define PROC_NEEDED	(CPU_BASED_HLT_EXITING | CPU_BASED_MWAIT_EXITING | \
			 CPU_BASED_RDPMC_EXITING | CPU_BASED_TPR_SHADOW | \
			 CPU_BASED_MOV_DR_EXITING | CPU_BASED_UNCOND_IO_EXITING | \
			 CPU_BASED_USE_MSR_BITMAPS | CPU_BASED_MONITOR_EXITING | \
			 CPU_BASED_USE_TSC_OFFSETTING | \
			 CPU_BASED_ACTIVATE_SECONDARY_CONTROLS)
#define PROC_WINDOWS	(CPU_BASED_INTR_WINDOW_EXITING | CPU_BASED_NMI_WINDOW_EXITING)
#define PROC2_NEEDED	(SECONDARY_EXEC_ENABLE_EPT | SECONDARY_EXEC_UNRESTRICTED_GUEST)
#define PROC2_LIKED	(SECONDARY_EXEC_ENABLE_VPID | SECONDARY_EXEC_WBINVD_EXITING | \
			 SECONDARY_EXEC_ENABLE_RDTSCP | SECONDARY_EXEC_ENABLE_INVPCID | \
			 SECONDARY_EXEC_PAUSE_LOOP_EXITING | SECONDARY_EXEC_ENCLS_EXITING | \
			 VMX_APIC_CONTROLS | SECONDARY_EXEC_ENABLE_PML | \
			 VMCS_CONTROL_BIT(XSAVES))	/* its name changes */
#define EXIT_NEEDED	(VM_EXIT_SAVE_DEBUG_CONTROLS | VM_EXIT_HOST_ADDR_SPACE_SIZE | \
			 VM_EXIT_SAVE_IA32_EFER | VM_EXIT_LOAD_IA32_EFER)
#define ENTRY_NEEDED	(VM_ENTRY_LOAD_DEBUG_CONTROLS | VM_ENTRY_LOAD_IA32_EFER)

/* tables of four levels in write-back memory, and the instruction to flush them */
#define EPT_NEEDED	(VMX_EPT_PAGE_WALK_4_BIT | VMX_EPTP_WB_BIT | VMX_EPT_INVEPT_BIT | \
			 VMX_EPT_EXTENT_CONTEXT_BIT)

#define BASIC_TRUE_CTLS	BIT_ULL(55)

struct vmx_caps vmx_caps;

/*
 * The control's value, as the MSR allows it; false if a needed bit cannot be 1.
 * Low half: bits that must be 1; high half: bits that may be 1 (A.2 to A.5).
 */
static bool choose(u32 msr, u32 needed, u32 liked, u32 *value)
{
	u64 allowed;

	rdmsrl(msr, allowed);
	*value = ((needed | liked) & allowed >> 32) | (u32)allowed;
	return (*value & needed) == needed;
}

/* a bit of the CPU's default that would cost an exit each, and may be off */
static bool may_be_off(u32 msr, u32 bits)
{
	u64 allowed;

	rdmsrl(msr, allowed);
	return !((u32)allowed & bits);
}

int vmx_caps_read(struct vmx_caps *c)
{
	u32 spare, proc_msr = MSR_IA32_VMX_TRUE_PROCBASED_CTLS;
	u64 basic, misc;

	memset(c, 0, sizeof(*c));
	rdmsrl(MSR_IA32_VMX_BASIC, basic);
	c->revision = basic & 0x7fffffff;
	if (!(basic & BASIC_TRUE_CTLS) ||
	    !choose(MSR_IA32_VMX_TRUE_PINBASED_CTLS, PIN_NEEDED, PIN_LIKED, &c->pin) ||
	    !choose(proc_msr, PROC_NEEDED | PROC_WINDOWS, 0, &spare) ||
	    !choose(proc_msr, PROC_NEEDED, 0, &c->proc) ||
	    !may_be_off(proc_msr, PROC_WINDOWS | CPU_BASED_CR3_LOAD_EXITING |
			CPU_BASED_CR3_STORE_EXITING) ||
	    !choose(MSR_IA32_VMX_PROCBASED_CTLS2, PROC2_NEEDED, PROC2_LIKED, &c->proc2) ||
	    !choose(MSR_IA32_VMX_TRUE_EXIT_CTLS, EXIT_NEEDED, 0, &c->exit) ||
	    !choose(MSR_IA32_VMX_TRUE_ENTRY_CTLS, ENTRY_NEEDED, 0, &c->entry))
		return -EOPNOTSUPP;
	rdmsrl(MSR_IA32_VMX_EPT_VPID_CAP, c->ept_vpid);
	if ((c->ept_vpid & EPT_NEEDED) != EPT_NEEDED)
		return -EOPNOTSUPP;
	/* tags are of use only if those of one guest can be flushed */
	if (!(c->ept_vpid >> 32 & VMX_VPID_INVVPID_BIT) ||
	    !(c->ept_vpid >> 32 & VMX_VPID_EXTENT_SINGLE_CONTEXT_BIT))
		c->proc2 &= ~SECONDARY_EXEC_ENABLE_VPID;
	c->virt_intr = vmx_apic_caps(&c->proc2);
	if (!(c->ept_vpid & VMX_EPT_AD_BIT))
		c->proc2 &= ~SECONDARY_EXEC_ENABLE_PML;
	rdmsrl(MSR_IA32_VMX_CR4_FIXED0, c->cr4_fixed0);
	rdmsrl(MSR_IA32_VMX_MISC, misc);
	c->timer_shift = vmx_misc_preemption_timer_rate(misc);
	return 0;
}

u64 vmx_features(void)
{
	u32 proc2 = vmx_caps.proc2;

	return VMM_FEAT_NRIP | VMM_FEAT_DECODE | VMM_FEAT_TPR | VMM_FEAT_XSETBV |
	       (vmx_caps.ept_vpid & VMX_EPT_AD_BIT ? VMM_FEAT_AD : 0) |
	       (vmx_caps.pin & PIN_BASED_VMX_PREEMPTION_TIMER ? VMM_FEAT_EXIT_TIMER : 0) |
	       (vmx_caps.virt_intr ? VMM_FEAT_VIRT_INTR : 0) |
	       (proc2 & VMCS_CONTROL_BIT(XSAVES) ? VMM_FEAT_XSAVES : 0) |
	       (proc2 & SECONDARY_EXEC_ENABLE_PML ? VMM_FEAT_PML : 0) |
	       (proc2 & SECONDARY_EXEC_PAUSE_LOOP_EXITING ? VMM_FEAT_PAUSE_LOOP : 0) |
	       (proc2 & SECONDARY_EXEC_ENABLE_RDTSCP ? VMM_FEAT_RDTSCP : 0) |
	       (proc2 & SECONDARY_EXEC_ENABLE_INVPCID ? VMM_FEAT_INVPCID : 0) |
	       (vmx_caps.ept_vpid & VMX_EPT_2MB_PAGE_BIT ? VMM_FEAT_2M : 0) |
	       (vmx_caps.ept_vpid & VMX_EPT_1GB_PAGE_BIT ? VMM_FEAT_1G : 0) |
	       (proc2 & SECONDARY_EXEC_ENABLE_VPID ? VMM_FEAT_FLUSHBYASID : 0);
}

/* SDM 3C 24.7; the kernel takes VMX out of boot_cpu_data where it is locked off */
int vmx_check(void)
{
	u64 control;

	if (!(cpuid_ecx(1) & BIT(5)))
		return -EOPNOTSUPP;
	if (rdmsrl_safe(MSR_IA32_FEAT_CTL, &control) ||
	    (control & FEAT_CTL_LOCKED && !(control & FEAT_CTL_VMX_ENABLED_OUTSIDE_SMX))) {
		pr_err("VT-x is switched off and locked by the firmware: enable VT-x (Intel Virtualization Technology) in its setup and power the machine off and on\n");
		return -EOPNOTSUPP;
	}
	if (vmx_caps_read(&vmx_caps)) {
		pr_err("this CPU has VT-x without EPT or unrestricted guests, which vmm needs: there is no remedy but another CPU\n");
		return -EOPNOTSUPP;
	}
	return 0;
}
