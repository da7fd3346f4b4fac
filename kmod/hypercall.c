// SPDX-License-Identifier: GPL-2.0
/*
 * KVM's documented hypercalls (Documentation/virt/kvm/x86/hypercalls.rst): the
 * number in RAX, arguments in RBX, RCX, RDX, RSI, the answer in RAX. Each is
 * there only where the vCPU's CPUID table shows its feature.
 */
#include <asm/kvm_para.h>
#include <linux/kvm_para.h>

#include "vmm.h"

#define NARGS	4

struct call {
	bool wide;		/* of a caller in 64-bit mode */
	u64 nr;
	u64 arg[NARGS];
};

static void take_call(struct vmm_vcpu *vcpu, bool wide, struct call *c)
{
	static const u8 regs[NARGS] = { VMM_RBX, VMM_RCX, VMM_RDX, VMM_RSI };
	u64 mask = wide ? ~0ULL : U32_MAX;
	int i;

	c->wide = wide;
	c->nr = vcpu->gpr[VMM_RAX] & mask;
	for (i = 0; i < NARGS; i++)
		c->arg[i] = vcpu->gpr[regs[i]] & mask;
}

static struct vmm_vcpu *by_apic_id(struct vmm_vm *vm, u64 id)
{
	return id > U32_MAX ? NULL : vmm_vm_vcpu(vm, id);
}

/* out of HLT, or past the next one; RFLAGS.IF does not matter */
static s64 kick_cpu(struct vmm_vcpu *vcpu, const struct call *c)
{
	struct vmm_vcpu *target = by_apic_id(vcpu->vm, c->arg[1]);

	if (target)
		vmm_request(target, REQ_UNHALT);
	return 0;
}

static s64 send_ipi(struct vmm_vcpu *vcpu, const struct call *c)
{
	if (c->arg[2] > U32_MAX || c->arg[3] > U32_MAX)
		return -KVM_EINVAL;
	return vmm_lapic_ipis(vcpu->vm, &c->arg[0], c->wide ? 64 : 32, c->arg[2],
			      c->arg[3]);
}

static s64 sched_yield(struct vmm_vcpu *vcpu, const struct call *c)
{
	struct vmm_vcpu *target = by_apic_id(vcpu->vm, c->arg[0]);

	if (target && target != vcpu)
		vmm_yield_to(target);
	return 0;
}

static const struct {
	u8 nr;
	u8 feature;
	bool slow;		/* may sleep */
	s64 (*call)(struct vmm_vcpu *vcpu, const struct call *c);
} calls[] = {
	{ KVM_HC_KICK_CPU, KVM_FEATURE_PV_UNHALT, false, kick_cpu },
	{ KVM_HC_SEND_IPI, KVM_FEATURE_PV_SEND_IPI, false, send_ipi },
	{ KVM_HC_SCHED_YIELD, KVM_FEATURE_PV_SCHED_YIELD, true, sched_yield },
};

int vmm_hypercall(struct vmm_vcpu *vcpu)
{
	struct vmm_sregs s;
	struct call c;
	s64 r = -KVM_ENOSYS;
	int i;

	vmm_ops->get_sregs(vcpu, &s);
	take_call(vcpu, s.efer & EFER_LMA && s.seg[VMM_CS].attr & VMM_SEG_L, &c);
	for (i = 0; i < ARRAY_SIZE(calls); i++) {
		if (c.nr != calls[i].nr || !vmm_pv_has(vcpu, calls[i].feature))
			continue;
		if (s.seg[VMM_SS].attr >> VMM_SEG_DPL_SHIFT & 3) {
			r = -KVM_EPERM;
			break;
		}
		if (calls[i].slow && vcpu->loaded)
			return 0;
		r = calls[i].call(vcpu, &c);
		break;
	}
	vcpu->gpr[VMM_RAX] = c.wide ? (u64)r : (u32)r;
	return 1;
}
