// SPDX-License-Identifier: GPL-2.0
/*
 * What KVM's documented paravirtual ABI (Documentation/virt/kvm/x86/msr.rst)
 * keeps in guest memory, one page's worth per vCPU: steal time, and in it
 * whether the vCPU runs and whether its TLB is to be flushed before it does
 * again; and the EOI that a guest may say in memory, without an exit. Each
 * exists only where the vCPU's CPUID table shows it.
 */
#include <linux/sched.h>
#include <linux/sched/stat.h>
#include <asm/kvm_para.h>

#include "lapic.h"

/* how often to try against a guest that changes the word meanwhile */
#define TRIES		4

u32 vmm_pv_features(void)
{
	return BIT(KVM_FEATURE_NOP_IO_DELAY) | BIT(KVM_FEATURE_CLOCKSOURCE2) |
	       BIT(KVM_FEATURE_CLOCKSOURCE_STABLE_BIT) |
	       (sched_info_on() ? BIT(KVM_FEATURE_STEAL_TIME) |
				  BIT(KVM_FEATURE_PV_TLB_FLUSH) : 0) |
	       BIT(KVM_FEATURE_PV_EOI) | BIT(KVM_FEATURE_PV_UNHALT) |
	       BIT(KVM_FEATURE_PV_SEND_IPI) | BIT(KVM_FEATURE_POLL_CONTROL) |
	       BIT(KVM_FEATURE_PV_SCHED_YIELD);
}

/* what a new table no longer shows is off, whatever the guest had set */
void vmm_pv_cpuid(struct vmm_vcpu *vcpu, u32 features)
{
	struct vmm_pv *pv = &vcpu->pv;

	pv->features = features;
	if (!vmm_pv_has(vcpu, KVM_FEATURE_STEAL_TIME))
		pv->steal = 0;
	if (!vmm_pv_has(vcpu, KVM_FEATURE_PV_EOI))
		pv->eoi = 0;
	if (!vmm_pv_has(vcpu, KVM_FEATURE_POLL_CONTROL))
		pv->poll = KVM_MSR_ENABLED;
}

void vmm_pv_reset(struct vmm_vcpu *vcpu)
{
	vcpu->pv.steal = 0;
	vcpu->pv.eoi = 0;
	vcpu->pv.poll = KVM_MSR_ENABLED;
}

/* ---- MSRs -------------------------------------------------------------------- */

static u64 *slot_of(struct vmm_vcpu *vcpu, u32 index)
{
	struct vmm_pv *pv = &vcpu->pv;

	switch (index) {
	case MSR_KVM_STEAL_TIME:
		return vmm_pv_has(vcpu, KVM_FEATURE_STEAL_TIME) ? &pv->steal : NULL;
	case MSR_KVM_PV_EOI_EN:
		return vmm_pv_has(vcpu, KVM_FEATURE_PV_EOI) ? &pv->eoi : NULL;
	case MSR_KVM_POLL_CONTROL:
		return vmm_pv_has(vcpu, KVM_FEATURE_POLL_CONTROL) ? &pv->poll : NULL;
	}
	return NULL;
}

int vmm_pv_msr_read(struct vmm_vcpu *vcpu, u32 index, u64 *value)
{
	const u64 *slot = slot_of(vcpu, index);

	if (!slot)
		return -EPERM;
	*value = *slot;
	return 0;
}

int vmm_pv_msr_write(struct vmm_vcpu *vcpu, u32 index, u64 value)
{
	static const struct {
		u32 index;
		u64 reserved;
	} msrs[] = {
		{ MSR_KVM_STEAL_TIME, KVM_STEAL_RESERVED_MASK },
		{ MSR_KVM_PV_EOI_EN, BIT(1) },
		{ MSR_KVM_POLL_CONTROL, ~1ULL },
	};
	u64 *slot = slot_of(vcpu, index);
	int i;

	if (!slot)
		return -EPERM;
	for (i = 0; i < ARRAY_SIZE(msrs); i++)
		if (msrs[i].index == index && value & msrs[i].reserved)
			return -EPERM;
	/* what is in memory has to be seen to before the guest goes on */
	if (vcpu->loaded && (slot == &vcpu->pv.steal || vcpu->pv.eoi_vector))
		return -EAGAIN;
	if (vcpu->pv.eoi_vector)
		vmm_pv_eoi_disarm(vcpu);
	*slot = value;
	if (slot == &vcpu->pv.steal) {
		vcpu->pv.away = true;	/* for all that we know of the byte */
		vcpu->pv.new_thread = true;
	}
	return 0;
}

/* with a fault where one may be taken; 0 or -EFAULT */
static int put(struct vmm_vcpu *vcpu, u64 gpa, const void *buf, u32 len)
{
	return vcpu->loaded ? vmm_mem_write_now(vcpu->vm, gpa, buf, len) :
			      vmm_mem_write(vcpu->vm, gpa, buf, len);
}

/* ---- steal time ---------------------------------------------------------------- */

static u64 steal_gpa(const struct vmm_vcpu *vcpu)
{
	return vcpu->pv.steal & KVM_STEAL_VALID_BITS;
}

/*
 * The thread is about to leave the CPU. From here on others in the guest need not
 * wait for this vCPU, nor interrupt it to have its TLB flushed. The byte is 0 up
 * to now: the guest changes only what says that the vCPU is away. Any gear.
 */
void vmm_pv_away(struct vmm_vcpu *vcpu)
{
	u8 preempted = KVM_VCPU_PREEMPTED;

	if (!(vcpu->pv.steal & KVM_MSR_ENABLED) || vcpu->pv.away)
		return;
	if (!put(vcpu, steal_gpa(vcpu) + offsetof(struct kvm_steal_time, preempted),
		 &preempted, sizeof(preempted)))
		vcpu->pv.away = true;
}

/* what the byte said is taken in one step with clearing it, or it is not believed */
static void end_away(struct vmm_vcpu *vcpu)
{
	u64 gpa = steal_gpa(vcpu) + offsetof(struct kvm_steal_time, preempted);
	bool flush = true;
	u32 word;
	u8 none = 0;
	int i, r = 1;

	vcpu->pv.away = false;
	for (i = 0; r > 0 && i < TRIES; i++) {
		if (vmm_mem_read(vcpu->vm, gpa, &word, sizeof(word)))
			break;
		r = vmm_mem_cmpxchg(vcpu->vm, gpa, sizeof(word), word, word & ~0xffU);
	}
	if (!r)
		flush = word & KVM_VCPU_FLUSH_TLB;
	else
		vmm_mem_write(vcpu->vm, gpa, &none, sizeof(none));
	if (flush && vmm_pv_has(vcpu, KVM_FEATURE_PV_TLB_FLUSH))
		vmm_ops->flush(vcpu);
}

/* an odd version says: being written */
static void add_steal(struct vmm_vcpu *vcpu, u64 ns)
{
	u64 gpa = steal_gpa(vcpu);
	struct {
		u64 steal;
		u32 version;
	} head;
	u64 at_version = gpa + offsetof(struct kvm_steal_time, version);

	if (vmm_mem_read(vcpu->vm, gpa, &head, offsetofend(typeof(head), version)))
		return;
	head.version |= 1;
	if (vmm_mem_write(vcpu->vm, at_version, &head.version, sizeof(head.version)))
		return;
	smp_wmb();
	head.steal += ns;
	vmm_mem_write(vcpu->vm, gpa, &head.steal, sizeof(head.steal));
	smp_wmb();
	head.version++;
	vmm_mem_write(vcpu->vm, at_version, &head.version, sizeof(head.version));
}

void vmm_pv_back(struct vmm_vcpu *vcpu)
{
	struct vmm_pv *pv = &vcpu->pv;
	u64 delay = READ_ONCE(current->sched_info.run_delay);

	if (!(pv->steal & KVM_MSR_ENABLED))
		return;
	if (pv->away)
		end_away(vcpu);
	/* another thread has waited another time */
	if (pv->new_thread)
		pv->run_delay = delay;
	pv->new_thread = false;
	if (delay == pv->run_delay)
		return;
	add_steal(vcpu, delay - pv->run_delay);
	pv->run_delay = delay;
}

/* ---- EOI ----------------------------------------------------------------------- */

static int eoi_write(struct vmm_vcpu *vcpu, u32 word)
{
	return put(vcpu, vcpu->pv.eoi & ~3ULL, &word, sizeof(word));
}

/* 1: an EOI said in memory cannot be mistaken, since there is but one interrupt */
static bool alone(struct vmm_vcpu *vcpu, u8 vector)
{
	struct vmm_lapic *apic = &vcpu->apic;
	unsigned long *irr = lapic_map(apic, LAPIC_IRR), *isr = lapic_map(apic, LAPIC_ISR);
	int i;

	for (i = 0; i < 256 / BITS_PER_LONG; i++) {
		unsigned long mine = i == vector / BITS_PER_LONG ?
				     BIT(vector % BITS_PER_LONG) : 0;
		unsigned long waiting = READ_ONCE(irr[i]), in_service = isr[i];

		if ((waiting | in_service) & ~mine || waiting & in_service)
			return false;
	}
	/* the monitor is to hear of the EOI of a level-triggered one */
	return !test_bit(vector, lapic_map(apic, LAPIC_TMR));
}

void vmm_pv_eoi_disarm(struct vmm_vcpu *vcpu)
{
	/* if the page is gone, then so is the guest that would look there */
	eoi_write(vcpu, 0);
	vcpu->pv.eoi_vector = 0;
}

bool vmm_pv_eoi_offer(struct vmm_vcpu *vcpu)
{
	struct vmm_pv *pv = &vcpu->pv;

	if (pv->eoi_vector) {
		/* with another one waiting we are to hear of the EOI at once */
		if (READ_ONCE(vcpu->apic.irr_pending) && !alone(vcpu, pv->eoi_vector)) {
			if (eoi_write(vcpu, 0))
				return false;
			pv->eoi_vector = 0;
		}
	} else if (vcpu->offer >= 0 && !vcpu->ev.extint_pending &&
		   alone(vcpu, vcpu->offer) && !eoi_write(vcpu, KVM_PV_EOI_ENABLED)) {
		pv->eoi_vector = vcpu->offer;
	}
	return true;
}

bool vmm_pv_eoi_settle(struct vmm_vcpu *vcpu)
{
	struct vmm_pv *pv = &vcpu->pv;
	u32 word;

	if (vmm_guest_read(vcpu, pv->eoi & ~3ULL, &word, sizeof(word))) {
		if (vcpu->loaded)
			return false;
		pv->eoi_vector = 0;
		return true;
	}
	if (word & KVM_PV_EOI_ENABLED)
		return true;
	lapic_own(&vcpu->apic);
	__clear_bit(pv->eoi_vector, lapic_map(&vcpu->apic, LAPIC_ISR));
	pv->eoi_vector = 0;
	return true;
}
