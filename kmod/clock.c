// SPDX-License-Identifier: GPL-2.0
/*
 * The pv clock, KVM's documented ABI (Documentation/virt/kvm/x86/msr.rst,
 * MSR_KVM_SYSTEM_TIME_NEW). One line through (clock_tsc, clock_ns) with the
 * slope of the TSC serves all vCPUs of a VM for its whole life, so that two of
 * them never disagree and nothing needs updating while the guest runs.
 */
#include <linux/ktime.h>
#include <linux/math64.h>
#include <asm/pvclock-abi.h>
#include <asm/tsc.h>

#include "vmm.h"

/* ns = (ticks << shift or >> -shift) * mul >> 32 */
static void tsc_scale(u32 khz, s8 *shift, u32 *mul)
{
	u64 hz = (u64)khz * 1000;

	*shift = 0;
	/* so that 2^32 * 10^9 / hz has 32 bits */
	while (hz > 2 * NSEC_PER_SEC) {
		hz >>= 1;
		(*shift)--;
	}
	while (hz <= NSEC_PER_SEC) {
		hz <<= 1;
		(*shift)++;
	}
	*mul = div64_u64((u64)NSEC_PER_SEC << 32, hz);
}

static u64 tsc_to_ns(u64 ticks)
{
	u32 mul;
	s8 shift;

	tsc_scale(tsc_khz, &shift, &mul);
	ticks = shift < 0 ? ticks >> -shift : ticks << shift;
	return mul_u64_u32_shr(ticks, mul, 32);
}

u64 vmm_guest_tsc(struct vmm_vcpu *vcpu)
{
	return vmm_host_tsc() + vcpu->tsc_offset;
}

void vmm_clock_get(struct vmm_vm *vm, struct vmm_clock *c)
{
	mutex_lock(&vm->lock);
	c->ticks = vmm_host_tsc() - vm->clock_tsc;
	c->ns = vm->clock_ns + tsc_to_ns(c->ticks);
	mutex_unlock(&vm->lock);
}

/* the line's beginning is the same for all vCPUs of a VM: no time passes between */
u64 vmm_tsc_base(struct vmm_vcpu *vcpu)
{
	u64 base;

	mutex_lock(&vcpu->vm->lock);
	base = vcpu->vm->clock_tsc + vcpu->tsc_offset;
	mutex_unlock(&vcpu->vm->lock);
	return base;
}

void vmm_tsc_set_base(struct vmm_vcpu *vcpu, u64 base)
{
	mutex_lock(&vcpu->vm->lock);
	vcpu->tsc_offset = base - vcpu->vm->clock_tsc;
	mutex_unlock(&vcpu->vm->lock);
	vmm_lapic_tsc_moved(vcpu);
	vmm_request(vcpu, REQ_CLOCK);
}

void vmm_clock_set(struct vmm_vm *vm, u64 ns)
{
	struct vmm_vcpu *vcpu;
	u32 id;

	mutex_lock(&vm->lock);
	vm->clock_ns = ns;
	vm->clock_tsc = vmm_host_tsc();
	mutex_unlock(&vm->lock);
	vmm_for_each_vcpu(vm, id, vcpu)
		vmm_request(vcpu, REQ_CLOCK);
}

/*
 * An odd version says: being written. It goes on from the guest's own: in a VM
 * that goes on elsewhere a reader may be half way through what stood there.
 */
void vmm_clock_update(struct vmm_vcpu *vcpu)
{
	u64 gpa = vcpu->kvm_system_time & ~1ULL;
	struct pvclock_vcpu_time_info t = {};
	u32 version;

	if (!(vcpu->kvm_system_time & 1) ||
	    vmm_mem_read(vcpu->vm, gpa, &version, sizeof(version)))
		return;
	mutex_lock(&vcpu->vm->lock);
	t.tsc_timestamp = vcpu->vm->clock_tsc + vcpu->tsc_offset;
	t.system_time = vcpu->vm->clock_ns;
	mutex_unlock(&vcpu->vm->lock);
	tsc_scale(tsc_khz, &t.tsc_shift, &t.tsc_to_system_mul);
	if (boot_cpu_has(X86_FEATURE_CONSTANT_TSC) && !check_tsc_unstable())
		t.flags = PVCLOCK_TSC_STABLE_BIT;
	version |= 1;
	version += 2;
	t.version = version;
	if (vmm_mem_write(vcpu->vm, gpa, &version, sizeof(version)))
		return;
	smp_wmb();
	vmm_mem_write(vcpu->vm, gpa, &t, sizeof(t));
	smp_wmb();
	version++;
	vmm_mem_write(vcpu->vm, gpa, &version, sizeof(version));
}

/* wall clock time at which the pv clock was 0 */
void vmm_clock_wall(struct vmm_vcpu *vcpu)
{
	struct pvclock_wall_clock w = {};
	struct vmm_clock c;
	struct timespec64 boot;

	vmm_clock_get(vcpu->vm, &c);
	boot = ns_to_timespec64(ktime_get_real_ns() - c.ns);
	w.version = 2;
	w.sec = boot.tv_sec;
	w.nsec = boot.tv_nsec;
	vmm_mem_write(vcpu->vm, vcpu->kvm_wall_clock, &w, sizeof(w));
}
