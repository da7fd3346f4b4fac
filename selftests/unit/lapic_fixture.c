// SPDX-License-Identifier: GPL-2.0
/* kmod's local APIC, compiled here with the kernel's part played by kshim/ */
#include "lapic_fixture.h"

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wmissing-field-initializers"
#pragma GCC diagnostic ignored "-Wsign-compare"
#include "../../kmod/lapic.c"
#include "../../kmod/lapic_state.c"
#include "../../kmod/lapic_page.c"
#include "../../kmod/lapic_timer.c"
#include "../../kmod/irq_route.c"
#pragma GCC diagnostic pop

/* ---- the rest of the module, played ---------------------------------------- */

ktime_t kshim_now;
u32 tsc_khz = 2999999;		/* not a multiple of anything */

struct vmm_vm vm;
struct vmm_vcpu cpus[NCPU];
int kicks[VMM_MAX_VCPUS];
struct vmm_cpuid_entry leaf1 = { .function = 1 };
static struct vmm_cpuid_entry leaf8 = { .function = 0x80000008, .eax = 40 };
u8 last_eoi;

struct vmm_vcpu *vmm_vm_vcpu(struct vmm_vm *v, u32 id)
{
	return id < VMM_MAX_VCPUS ? v->vcpus[id] : NULL;
}

void vmm_kick(struct vmm_vcpu *vcpu)
{
	__atomic_fetch_add(&kicks[vcpu->id], 1, __ATOMIC_SEQ_CST);
}

void vmm_request(struct vmm_vcpu *vcpu, enum vmm_request req)
{
	set_bit(req, &vcpu->requests);
	vmm_kick(vcpu);
}

const struct vmm_cpuid_entry *vmm_cpuid_find(struct vmm_vcpu *vcpu, u32 fn, u32 index)
{
	(void)vcpu;
	(void)index;
	if (fn == leaf1.function)
		return &leaf1;
	return fn == leaf8.function ? &leaf8 : NULL;
}

static u64 host_tsc(void)
{
	return (unsigned __int128)kshim_now * tsc_khz / 1000000;
}

u64 vmm_guest_tsc(struct vmm_vcpu *vcpu)
{
	return host_tsc() + vcpu->tsc_offset;
}

/* ---- helpers --------------------------------------------------------------- */

void wr(struct vmm_vcpu *c, u32 reg, u32 value)
{
	assert_int_equal(vmm_lapic_mmio_write(c, reg << 4, value, &last_eoi), 0);
}

u32 rd(struct vmm_vcpu *c, u32 reg)
{
	return vmm_lapic_mmio_read(c, reg << 4);
}

int wrmsr(struct vmm_vcpu *c, u32 index, u64 value)
{
	return vmm_lapic_msr_write(c, index, value, &last_eoi);
}

u64 rdmsr(struct vmm_vcpu *c, u32 index)
{
	u64 value = 0xdeadbeef;

	assert_int_equal(vmm_lapic_msr_read(c, index, &value), 0);
	return value;
}

int rdmsr_fails(struct vmm_vcpu *c, u32 index)
{
	u64 value;

	return vmm_lapic_msr_read(c, index, &value);
}

void enable(struct vmm_vcpu *c)
{
	wr(c, LAPIC_SVR, 0x1ff);
}

void to_x2apic(struct vmm_vcpu *c)
{
	assert_int_equal(wrmsr(c, 0x1b, c->apic.base | LAPIC_BASE_EXTD), 0);
}

bool in_irr(struct vmm_vcpu *c, u8 vector)
{
	return test_bit(vector, lapic_map(&c->apic, LAPIC_IRR));
}

void pump(struct vmm_vcpu *c)
{
	if (test_and_clear_bit(REQ_TIMER, &c->requests))
		vmm_lapic_timer_fired(c);
}

int advance(struct vmm_vcpu *c, u64 ns)
{
	struct hrtimer *t = &c->apic.timer;
	ktime_t end = kshim_now + ns;
	int rung = 0;

	while (t->queued && t->expires <= end) {
		if (t->expires > kshim_now)
			kshim_now = t->expires;
		t->queued = false;
		assert_int_equal(t->function(t), HRTIMER_NORESTART);
		rung++;
	}
	kshim_now = end;
	return rung;
}

int run_for(struct vmm_vcpu *c, u64 ns)
{
	struct hrtimer *t = &c->apic.timer;
	ktime_t end = kshim_now + ns;
	int taken = 0;

	for (;;) {
		u64 left = end - kshim_now;
		int v;

		pump(c);
		while ((v = vmm_lapic_pending(c)) >= 0) {
			vmm_lapic_ack(c, v);
			vmm_lapic_mmio_write(c, LAPIC_EOI << 4, 0, &last_eoi);
			taken++;
		}
		if (!left && !(t->queued && t->expires <= end))
			break;
		if (t->queued && t->expires < end)
			left = t->expires > kshim_now ? t->expires - kshim_now : 0;
		advance(c, left);
	}
	return taken;
}

int lapic_setup(void **state)
{
	u32 i;

	(void)state;
	memset(&vm, 0, sizeof(vm));
	memset(cpus, 0, sizeof(cpus));
	memset(kicks, 0, sizeof(kicks));
	kshim_now = 1000000007;
	leaf1.ecx = CPUID_X2APIC | CPUID_TSC_DEADLINE;
	for (i = 0; i < NCPU; i++) {
		cpus[i].vm = &vm;
		cpus[i].id = i;
		cpus[i].tsc_offset = -12345678;
		vmm_lapic_init(&cpus[i]);
		vm.vcpus[i] = &cpus[i];
	}
	vm.top = NCPU;
	return 0;
}

void clear_irrs(void)
{
	u32 i;

	for (i = 0; i < NCPU; i++) {
		memset(&cpus[i].apic.regs[LAPIC_IRR], 0, 32);
		cpus[i].requests = 0;
	}
	memset(kicks, 0, sizeof(kicks));
}

u32 who_has(u8 vector)
{
	u32 i, mask = 0;

	for (i = 0; i < NCPU; i++)
		if (in_irr(&cpus[i], vector))
			mask |= 1 << i;
	clear_irrs();
	return mask;
}

u32 who_got(enum vmm_request req)
{
	u32 i, mask = 0;

	for (i = 0; i < NCPU; i++)
		if (cpus[i].requests & BIT(req))
			mask |= 1 << i;
	clear_irrs();
	return mask;
}

void dirty(struct vmm_vcpu *c)
{
	enable(c);
	wr(c, LAPIC_TPR, 0x23);
	wr(c, LAPIC_LDR, 0x04000000);
	wr(c, LAPIC_DFR, 0);
	wr(c, LAPIC_LVT_TIMER, 0x20040);
	wr(c, LAPIC_TDCR, 0xb);
	wr(c, LAPIC_TMICT, 1000000);
	wr(c, LAPIC_LVT_LINT0, 0x700);
	wr(c, LAPIC_ICR2, 0x05000000);
	wr(c, LAPIC_ICR, 0x44000);
	lapic_accept(c, 0x51, true);
	vmm_lapic_ack(c, 0x51);
	lapic_accept(c, 0x61, false);
	lapic_log_error(c, ESR_SEND_VECTOR);
}

void enable_all(void)
{
	u32 i;

	for (i = 0; i < NCPU; i++)
		enable(&cpus[i]);
}
