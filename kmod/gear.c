// SPDX-License-Identifier: GPL-2.0
/*
 * What a guest's turn would leave behind in the host's CPU, the same on both
 * vendors: debug registers, branch history. Without the kernel's own functions
 * for that, which later kernels keep for KVM.
 */
#include <linux/percpu.h>
#include <asm/cpufeature.h>
#include <asm/debugreg.h>
#include <asm/msr.h>

#include "vmm.h"

#define DR7_ENABLED_BITS	0xffUL

/* serial of the VM whose branch history is in the CPU */
static DEFINE_PER_CPU(u64, last_vm);

static void read_breakpoints(u64 *dr)
{
	unsigned long v;

	get_debugreg(v, 0);
	dr[0] = v;
	get_debugreg(v, 1);
	dr[1] = v;
	get_debugreg(v, 2);
	dr[2] = v;
	get_debugreg(v, 3);
	dr[3] = v;
}

static void write_breakpoints(const u64 *dr)
{
	set_debugreg(dr[0], 0);
	set_debugreg(dr[1], 1);
	set_debugreg(dr[2], 2);
	set_debugreg(dr[3], 3);
}

void vmm_gear_load(struct vmm_vcpu *vcpu)
{
	unsigned long dr7;

	get_debugreg(dr7, 7);
	vcpu->host_dr7 = dr7;
	if (dr7 & DR7_ENABLED_BITS)
		read_breakpoints(vcpu->host_dr);
	/* no branch history goes from one guest to another */
	if (this_cpu_read(last_vm) != vcpu->vm->serial) {
		this_cpu_write(last_vm, vcpu->vm->serial);
		if (boot_cpu_has(X86_FEATURE_IBPB))
			wrmsrl(MSR_IA32_PRED_CMD, PRED_CMD_IBPB);
	}
}

void vmm_dregs_load(struct vmm_vcpu *vcpu)
{
	write_breakpoints(vcpu->dregs.dr);
	vcpu->dr_resident = true;
}

void vmm_gear_put(struct vmm_vcpu *vcpu)
{
	if (vcpu->dr_resident)
		read_breakpoints(vcpu->dregs.dr);
	vcpu->dr_resident = false;
	/* each exit disabled all breakpoints (APM 2 15.6, SDM 3C 28.5.1) */
	if (vcpu->host_dr7 & DR7_ENABLED_BITS) {
		write_breakpoints(vcpu->host_dr);
		set_debugreg(vcpu->host_dr7, 7);
	}
}
