// SPDX-License-Identifier: GPL-2.0
/* kmod's local APIC, compiled here with the kernel's part played by kshim/ */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

/* the kernel is built so, and the bitmaps in regs[] are read by the long */
#pragma GCC optimize("no-strict-aliasing")
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wmissing-field-initializers"
#pragma GCC diagnostic ignored "-Wsign-compare"
#include "../../kmod/lapic.c"
#include "../../kmod/lapic_state.c"
#include "../../kmod/lapic_timer.c"
#include "../../kmod/irq_route.c"
#pragma GCC diagnostic pop

/* ---- the rest of the module, played ---------------------------------------- */

#define NCPU	6

ktime_t kshim_now;
u32 tsc_khz = 2999999;		/* not a multiple of anything */

static struct vmm_vm vm;
static struct vmm_vcpu cpus[NCPU];
static int kicks[VMM_MAX_VCPUS];
static struct vmm_cpuid_entry leaf1 = { .function = 1 };
static struct vmm_cpuid_entry leaf8 = { .function = 0x80000008, .eax = 40 };
static u8 last_eoi;

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

static struct vmm_vcpu *const c0 = &cpus[0];
static struct vmm_vcpu *const c1 = &cpus[1];

static void wr(struct vmm_vcpu *c, u32 reg, u32 value)
{
	assert_int_equal(vmm_lapic_mmio_write(c, reg << 4, value, &last_eoi), 0);
}

static u32 rd(struct vmm_vcpu *c, u32 reg)
{
	return vmm_lapic_mmio_read(c, reg << 4);
}

static int wrmsr(struct vmm_vcpu *c, u32 index, u64 value)
{
	return vmm_lapic_msr_write(c, index, value, &last_eoi);
}

static u64 rdmsr(struct vmm_vcpu *c, u32 index)
{
	u64 value = 0xdeadbeef;

	assert_int_equal(vmm_lapic_msr_read(c, index, &value), 0);
	return value;
}

static int rdmsr_fails(struct vmm_vcpu *c, u32 index)
{
	u64 value;

	return vmm_lapic_msr_read(c, index, &value);
}

static void enable(struct vmm_vcpu *c)
{
	wr(c, LAPIC_SVR, 0x1ff);
}

static void to_x2apic(struct vmm_vcpu *c)
{
	assert_int_equal(wrmsr(c, 0x1b, c->apic.base | LAPIC_BASE_EXTD), 0);
}

static bool in_irr(struct vmm_vcpu *c, u8 vector)
{
	return test_bit(vector, lapic_map(&c->apic, LAPIC_IRR));
}

/* what the run loop does with REQ_TIMER */
static void pump(struct vmm_vcpu *c)
{
	if (test_and_clear_bit(REQ_TIMER, &c->requests))
		vmm_lapic_timer_fired(c);
}

/* move the clock and ring what is due; the thread does not look before the end */
static int advance(struct vmm_vcpu *c, u64 ns)
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

/*
 * The same up to and including that moment, with a thread that looks after each
 * alarm and takes what is pending; -> interrupts taken
 */
static int run_for(struct vmm_vcpu *c, u64 ns)
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

static int setup(void **state)
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
	vm.nvcpus = NCPU;
	return 0;
}

static void clear_irrs(void)
{
	u32 i;

	for (i = 0; i < NCPU; i++) {
		memset(&cpus[i].apic.regs[LAPIC_IRR], 0, 32);
		cpus[i].requests = 0;
	}
	memset(kicks, 0, sizeof(kicks));
}

/* bit n: vCPU n has the vector in its IRR; then clean */
static u32 who_has(u8 vector)
{
	u32 i, mask = 0;

	for (i = 0; i < NCPU; i++)
		if (in_irr(&cpus[i], vector))
			mask |= 1 << i;
	clear_irrs();
	return mask;
}

static u32 who_got(enum vmm_request req)
{
	u32 i, mask = 0;

	for (i = 0; i < NCPU; i++)
		if (cpus[i].requests & BIT(req))
			mask |= 1 << i;
	clear_irrs();
	return mask;
}

/* ---- reset ----------------------------------------------------------------- */

static void test_power_on(void **state)
{
	u32 reg;

	(void)state;
	assert_int_equal(rdmsr(c0, 0x1b), 0xfee00900);
	assert_int_equal(rdmsr(c1, 0x1b), 0xfee00800);
	for (reg = 0; reg < 0x40; reg++) {
		u32 want = 0;

		switch (reg) {
		case LAPIC_ID:
			want = 1 << 24;
			break;
		case LAPIC_VERSION:
			want = 0x50014;
			break;
		case LAPIC_DFR:
			want = 0xffffffff;
			break;
		case LAPIC_SVR:
			want = 0xff;
			break;
		case LAPIC_LVT_TIMER ... LAPIC_LVT_ERROR:
			want = 0x10000;
			break;
		}
		assert_int_equal(rd(c1, reg), want);
	}
	assert_int_equal(vmm_lapic_pending(c1), -1);
	assert_false(vmm_lapic_extint(c1));
}

static void dirty(struct vmm_vcpu *c)
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

static void test_init_reset(void **state)
{
	struct vmm_apic fresh, after;

	(void)state;
	vmm_lapic_get(c1, &fresh);
	dirty(c1);
	vmm_lapic_reset(c1, true);
	vmm_lapic_get(c1, &after);
	assert_memory_equal(&fresh, &after, sizeof(fresh));
	assert_false(c1->apic.timer.queued);
	assert_int_equal(run_for(c1, 10000000), 0);

	/* base and mode survive INIT, and only INIT */
	assert_int_equal(wrmsr(c1, 0x1b, 0xfed00800), 0);
	to_x2apic(c1);
	vmm_lapic_reset(c1, true);
	assert_int_equal(rdmsr(c1, 0x1b), 0xfed00c00);
	assert_int_equal(rdmsr(c1, 0x802), 1);
	assert_int_equal(rdmsr(c1, 0x80d), 2);
	assert_int_equal(rdmsr(c1, 0x80f), 0xff);
	vmm_lapic_reset(c1, false);
	vmm_lapic_get(c1, &after);
	assert_memory_equal(&fresh, &after, sizeof(fresh));
}

/* ---- registers ------------------------------------------------------------- */

static void test_xapic_registers(void **state)
{
	static const struct {
		u32 reg, write, want;
	} t[] = {
		{ LAPIC_ID, 0xffffffff, 0x01000000 },
		{ LAPIC_VERSION, 0, 0x50014 },
		{ LAPIC_TPR, 0xffffffff, 0xff },
		{ LAPIC_APR, 0xffffffff, 0 },
		{ LAPIC_RRD, 0xffffffff, 0 },
		{ LAPIC_LDR, 0xffffffff, 0xff000000 },
		{ LAPIC_DFR, 0, 0x0fffffff },
		{ LAPIC_DFR, 0xf0000000, 0xffffffff },
		{ LAPIC_SVR, 0xffffffff, 0x3ff },
		{ LAPIC_ISR, 0xffffffff, 0 },
		{ LAPIC_TMR + 3, 0xffffffff, 0 },
		{ LAPIC_IRR + 7, 0xffffffff, 0 },
		{ LAPIC_ICR, 0xffffffff & ~LVT_DELIVERY & ~ICR_SHORTHAND, 0x0000c8ff },
		{ LAPIC_ICR2, 0xffffffff, 0xff000000 },
		{ LAPIC_LVT_TIMER, 0xffffffff, 0x500ff },
		{ LAPIC_LVT_TIMER, 0x00020040, 0x20040 },
		{ LAPIC_LVT_THERM, 0xffffffff, 0x107ff },
		{ LAPIC_LVT_PERF, 0xffffffff, 0x107ff },
		{ LAPIC_LVT_LINT0, 0xffffffff, 0x1a7ff },
		{ LAPIC_LVT_LINT1, 0xffffffff, 0x1a7ff },
		{ LAPIC_LVT_ERROR, 0xffffffff, 0x100ff },
		{ LAPIC_TMICT, 0xffffffff, 0xffffffff },
		{ LAPIC_TMCCT, 5, 0xffffffff },	/* of the row above: no time passed */
		{ LAPIC_TDCR, 0xffffffff, 0xb },
	};
	size_t i;

	(void)state;
	enable(c1);
	for (i = 0; i < sizeof(t) / sizeof(*t); i++) {
		wr(c1, t[i].reg, t[i].write);
		if (rd(c1, t[i].reg) != t[i].want)
			fail_msg("row %zu, register %#x: %#x", i, t[i].reg, rd(c1, t[i].reg));
	}
	assert_int_equal(c1->apic.errors, 0);
}

static void test_undefined_offsets(void **state)
{
	u32 offset;

	(void)state;
	for (offset = 0; offset < 0x1000; offset++) {
		u32 reg = offset >> 4;
		bool exists = reg < LAPIC_NREGS && (lapic_access[reg].how & (XR | XW));

		if (exists && !(offset & 15))
			continue;
		c1->apic.errors = 0;
		assert_int_equal(vmm_lapic_mmio_read(c1, offset), 0);
		assert_int_equal(vmm_lapic_mmio_write(c1, offset, ~0U, &last_eoi), 0);
		assert_int_equal(c1->apic.errors, offset & 15 ? 0 : BIT(ESR_REGISTER));
	}
	assert_int_equal(vmm_lapic_mmio_read(c1, 0xffffffff), 0);
}

static void test_in_page(void **state)
{
	(void)state;
	assert_true(vmm_lapic_in_page(c0, 0xfee00000));
	assert_true(vmm_lapic_in_page(c0, 0xfee00fff));
	assert_false(vmm_lapic_in_page(c0, 0xfee01000));
	assert_false(vmm_lapic_in_page(c0, 0xfedfffff));
	assert_false(vmm_lapic_in_page(c0, 0x1fee00000));
	assert_int_equal(wrmsr(c0, 0x1b, 0x1234567900ULL | LAPIC_BASE_EN), 0);
	assert_true(vmm_lapic_in_page(c0, 0x1234567080ULL));
	assert_false(vmm_lapic_in_page(c0, 0xfee00000));
	to_x2apic(c0);
	assert_false(vmm_lapic_in_page(c0, 0x1234567080ULL));
	assert_int_equal(wrmsr(c0, 0x1b, 0xfee00000), 0);
	assert_false(vmm_lapic_in_page(c0, 0xfee00000));
}

static void test_x2apic_registers(void **state)
{
	static const u32 readable[] = {
		0x02, 0x03, 0x08, 0x0a, 0x0d, 0x0f, 0x10, 0x11, 0x12, 0x13, 0x14, 0x15,
		0x16, 0x17, 0x18, 0x19, 0x1a, 0x1b, 0x1c, 0x1d, 0x1e, 0x1f, 0x20, 0x21,
		0x22, 0x23, 0x24, 0x25, 0x26, 0x27, 0x28, 0x30, 0x32, 0x33, 0x34, 0x35,
		0x36, 0x37, 0x38, 0x39, 0x3e,
	};
	static const struct {
		u32 reg;
		u64 good, bad;	/* bits that may be set; each other alone is #GP */
	} w[] = {
		{ 0x08, 0xff, 0 }, { 0x0b, 0, 0 }, { 0x0f, 0x3ff, 0 }, { 0x28, 0, 0 },
		{ 0x30, 0xffffffff000cdfff, 0 }, { 0x32, 0x710ff, 0 },
		{ 0x33, 0x117ff, 0 }, { 0x34, 0x117ff, 0 }, { 0x35, 0x1f7ff, 0 },
		{ 0x36, 0x1f7ff, 0 }, { 0x37, 0x110ff, 0 }, { 0x38, 0xffffffff, 0 },
		{ 0x3e, 0xb, 0 }, { 0x3f, 0xff, 0 },
	};
	u32 i, j, reg;

	(void)state;
	assert_int_equal(rdmsr_fails(c1, 0x802), -EPERM);	/* still xAPIC */
	assert_int_equal(wrmsr(c1, 0x808, 0), -EPERM);
	to_x2apic(c1);
	assert_int_equal(wrmsr(c1, 0x80f, 0x1ff), 0);
	for (reg = 0; reg < 0x100; reg++) {
		for (i = 0; i < sizeof(readable) / 4; i++)
			if (readable[i] == reg)
				break;
		assert_int_equal(rdmsr_fails(c1, 0x800 + reg),
				 i < sizeof(readable) / 4 ? 0 : -EPERM);
		for (i = 0; i < sizeof(w) / sizeof(*w); i++)
			if (w[i].reg == reg)
				break;
		if (i == sizeof(w) / sizeof(*w)) {
			assert_int_equal(wrmsr(c1, 0x800 + reg, 0), -EPERM);
			continue;
		}
		for (j = 0; j < 64; j++) {
			int want = w[i].good >> j & 1 ? 0 : -EPERM;

			if (wrmsr(c1, 0x800 + reg, 1ULL << j) != want)
				fail_msg("MSR %#x bit %u", 0x800 + reg, j);
		}
	}
	assert_int_equal(wrmsr(c1, 0x80f, 0x1ff), 0);
	/* both timer modes at once; and TSC-deadline only with CPUID's word */
	assert_int_equal(wrmsr(c1, 0x832, 0x600ff), -EPERM);
	leaf1.ecx = 0;
	assert_int_equal(wrmsr(c1, 0x832, 0x400ff), -EPERM);
	assert_int_equal(wrmsr(c1, 0x832, 0x200ff), 0);
	assert_int_equal(rdmsr(c1, 0x832), 0x200ff);
	/* read-only bits that were written are not kept */
	assert_int_equal(wrmsr(c1, 0x835, 0x1f7ff), 0);
	assert_int_equal(rdmsr(c1, 0x835), 0x1a7ff);
	/* ICR is one register of 64 bits */
	assert_int_equal(wrmsr(c1, 0x830, 0x00000007000010fdULL), 0);
	assert_int_equal(rdmsr(c1, 0x830), 0x00000007000000fdULL);
	/* neither below the range nor above */
	assert_int_equal(rdmsr_fails(c1, 0x7ff), -EPERM);
	assert_int_equal(rdmsr_fails(c1, 0x900), -EPERM);
}

/* every ordered pair of modes, SDM 3A 11.12.5 */
static void test_base_transitions(void **state)
{
	static const u64 mode[] = { 0, LAPIC_BASE_EN, LAPIC_BASE_MODE, LAPIC_BASE_EXTD };
	static const bool legal[3][4] = {
		/* to: off, xAPIC, x2APIC, invalid */
		{ true, true, false, false },
		{ true, true, true, false },
		{ true, false, true, false },
	};
	int from, to;

	for (from = 0; from < 3; from++) {
		for (to = 0; to < 4; to++) {
			setup(state);
			if (from == 0)
				assert_int_equal(wrmsr(c1, 0x1b, 0xfee00000), 0);
			if (from == 2)
				to_x2apic(c1);
			assert_int_equal(wrmsr(c1, 0x1b, 0xfee00000 | mode[to]),
					 legal[from][to] ? 0 : -EPERM);
			assert_int_equal(rdmsr(c1, 0x1b), 0xfee00000 |
					 mode[legal[from][to] ? to : from]);
		}
	}
}

static void test_base_bits(void **state)
{
	u32 bit;

	(void)state;
	for (bit = 0; bit < 64; bit++) {
		bool may = bit == 8 || bit == 11 || (bit >= 12 && bit < 40);

		setup(state);
		/* EXTD alone is no mode; with EN set it is tested above */
		assert_int_equal(wrmsr(c0, 0x1b, LAPIC_BASE_EN | 1ULL << bit),
				 may || bit == 10 ? 0 : -EPERM);
	}
	setup(state);
	leaf1.ecx = 0;
	assert_int_equal(wrmsr(c0, 0x1b, 0xfee00d00), -EPERM);
}

static void test_disable_loses_state(void **state)
{
	struct vmm_apic fresh, after;

	(void)state;
	vmm_lapic_get(c1, &fresh);
	dirty(c1);
	assert_int_equal(wrmsr(c1, 0x1b, 0xfee00000), 0);
	assert_int_equal(vmm_lapic_pending(c1), -1);
	assert_true(vmm_lapic_extint(c1));
	assert_int_equal(run_for(c1, 10000000), 0);
	assert_int_equal(wrmsr(c1, 0x1b, 0xfee00800), 0);
	vmm_lapic_get(c1, &after);
	assert_memory_equal(&fresh, &after, sizeof(fresh));
}

static void test_enter_x2apic_keeps_state(void **state)
{
	(void)state;
	dirty(c1);
	to_x2apic(c1);
	assert_int_equal(rdmsr(c1, 0x802), 1);
	assert_int_equal(rdmsr(c1, 0x80d), 2);
	assert_int_equal(rdmsr(c1, 0x808), 0x23);
	assert_int_equal(rdmsr(c1, 0x812), 1 << (0x51 & 31));
	assert_int_equal(rdmsr(c1, 0x823), 1 << (0x61 & 31));
	assert_int_equal(rdmsr(c1, 0x830), 0x44000);
	assert_int_equal(rdmsr(c1, 0x835), 0x700);
	assert_int_equal(rdmsr(c1, 0x839), 1000000);
}

static void test_software_disable(void **state)
{
	u32 reg;

	(void)state;
	wr(c1, LAPIC_LVT_LINT0, 0x700);		/* before SVR allows it */
	assert_int_equal(rd(c1, LAPIC_LVT_LINT0), 0x10700);
	dirty(c1);
	assert_true(vmm_lapic_extint(c1));
	wr(c1, LAPIC_SVR, 0xff);
	for (reg = LAPIC_LVT_TIMER; reg <= LAPIC_LVT_ERROR; reg++)
		assert_true(rd(c1, reg) & LVT_MASKED);
	assert_false(vmm_lapic_extint(c1));
	assert_int_equal(rd(c1, LAPIC_LVT_TIMER), 0x30040);
	assert_false(c1->apic.timer.queued);
	/* what was there already is still delivered; nothing else comes in */
	assert_int_equal(vmm_lapic_mmio_write(c1, 0xb0, 0, &last_eoi), 1);
	assert_int_equal(vmm_lapic_pending(c1), 0x61);
	assert_int_equal(vmm_lapic_msi(&vm, 0xfee01000, 0x71), 0);
	assert_int_equal(vmm_lapic_msi(&vm, 0xfee01000, 0x400), 1);	/* NMI does */
	/* enabling again unmasks nothing */
	enable(c1);
	assert_int_equal(rd(c1, LAPIC_LVT_LINT0), 0x10700);
}

/* ---- priority and EOI ------------------------------------------------------ */

static void test_priority(void **state)
{
	u32 tpr, isr, irr;
	bool held;

	(void)state;
	enable(c1);
	for (tpr = 0; tpr < 0x100; tpr += 7) {
		for (isr = 0; isr < 0x100; isr += 9) {
			u32 ppr = tpr;

			setup(state);
			enable(c1);
			if (isr >= 16) {
				lapic_accept(c1, isr, false);
				vmm_lapic_ack(c1, isr);
				if (isr >> 4 > tpr >> 4)
					ppr = isr & 0xf0;
			}
			wr(c1, LAPIC_TPR, tpr);
			assert_int_equal(rd(c1, LAPIC_PPR), ppr);
			assert_int_equal(vmm_lapic_cr8(c1), tpr >> 4);
			for (irr = 16; irr < 0x100; irr += 5) {
				memset(&c1->apic.regs[LAPIC_IRR], 0, 32);
				lapic_accept(c1, irr, false);
				assert_int_equal(vmm_lapic_pending(c1),
						 irr >> 4 > ppr >> 4 ? (int)irr : -1);
				assert_int_equal(vmm_lapic_wakes(c1), irr >> 4 > ppr >> 4);
				held = irr >> 4 <= tpr >> 4 &&
				       (isr < 16 || irr >> 4 > isr >> 4);
				assert_int_equal(vmm_lapic_held(c1), held ? (int)irr : -1);
			}
		}
	}
}

static void test_nesting(void **state)
{
	(void)state;
	enable(c0);
	lapic_accept(c0, 0x31, false);
	lapic_accept(c0, 0x35, false);
	lapic_accept(c0, 0x82, false);
	assert_int_equal(vmm_lapic_pending(c0), 0x82);
	vmm_lapic_ack(c0, 0x82);
	assert_int_equal(vmm_lapic_pending(c0), -1);
	lapic_accept(c0, 0x8f, false);		/* the same class waits */
	assert_int_equal(vmm_lapic_pending(c0), -1);
	lapic_accept(c0, 0x91, false);
	assert_int_equal(vmm_lapic_pending(c0), 0x91);
	vmm_lapic_ack(c0, 0x91);
	wr(c0, LAPIC_EOI, 0);
	assert_int_equal(vmm_lapic_pending(c0), -1);
	wr(c0, LAPIC_EOI, 0);
	assert_int_equal(vmm_lapic_pending(c0), 0x8f);
	vmm_lapic_ack(c0, 0x8f);
	wr(c0, LAPIC_EOI, 0);
	assert_int_equal(vmm_lapic_pending(c0), 0x35);
	vmm_lapic_ack(c0, 0x35);
	wr(c0, LAPIC_EOI, 0);
	vmm_lapic_ack(c0, 0x31);
	assert_false(c0->apic.irr_pending);
	wr(c0, LAPIC_EOI, 0);
	wr(c0, LAPIC_EOI, 0);			/* nothing in service: no effect */
	assert_int_equal(vmm_lapic_pending(c0), -1);
}

static void test_cr8(void **state)
{
	(void)state;
	wr(c0, LAPIC_TPR, 0x5f);
	assert_int_equal(vmm_lapic_cr8(c0), 5);
	vmm_lapic_set_cr8(c0, 9);
	assert_int_equal(rd(c0, LAPIC_TPR), 0x90);
}

static void test_eoi_level(void **state)
{
	(void)state;
	enable(c0);
	assert_int_equal(vmm_lapic_msi(&vm, 0xfee00000, 0xc041), 1);
	assert_int_equal(rd(c0, LAPIC_TMR + 2), 1 << 1);
	vmm_lapic_ack(c0, 0x41);
	last_eoi = 0;
	assert_int_equal(vmm_lapic_mmio_write(c0, 0xb0, 0, &last_eoi), 1);
	assert_int_equal(last_eoi, 0x41);
	/* an edge on the same vector takes the mark away */
	assert_int_equal(vmm_lapic_msi(&vm, 0xfee00000, 0x4041), 1);
	assert_int_equal(rd(c0, LAPIC_TMR + 2), 0);
	vmm_lapic_ack(c0, 0x41);
	wr(c0, LAPIC_EOI, 0);
	/* and by MSR */
	to_x2apic(c0);
	assert_int_equal(vmm_lapic_msi(&vm, 0xfee00000, 0x8042), 1);
	vmm_lapic_ack(c0, 0x42);
	assert_int_equal(wrmsr(c0, 0x80b, 1), -EPERM);
	assert_int_equal(wrmsr(c0, 0x80b, 0), 1);
	assert_int_equal(last_eoi, 0x42);
}

static void test_extint_gate(void **state)
{
	(void)state;
	assert_false(vmm_lapic_extint(c0));	/* LINT0 is masked after reset */
	enable(c0);
	wr(c0, LAPIC_LVT_LINT0, 0x700);
	assert_true(vmm_lapic_extint(c0));
	wr(c0, LAPIC_LVT_LINT0, 0x10700);
	assert_false(vmm_lapic_extint(c0));
	wr(c0, LAPIC_LVT_LINT0, 0x031);
	assert_false(vmm_lapic_extint(c0));
}

/* ---- errors ---------------------------------------------------------------- */

static void test_error_status(void **state)
{
	(void)state;
	enable(c0);
	wr(c0, LAPIC_LVT_ERROR, 0xfe);
	wr(c0, LAPIC_ICR, 0x0000400f);		/* fixed, vector 15 */
	assert_int_equal(rd(c0, LAPIC_ESR), 0);	/* not before a write */
	assert_int_equal(vmm_lapic_pending(c0), 0xfe);
	wr(c0, LAPIC_ESR, 0xffffffff);
	assert_int_equal(rd(c0, LAPIC_ESR), 1 << 5);
	wr(c0, LAPIC_ESR, 0);
	assert_int_equal(rd(c0, LAPIC_ESR), 0);

	/* the receiver of a bad MSI logs it, and is told */
	clear_irrs();
	assert_int_equal(vmm_lapic_msi(&vm, 0xfee00000, 0x0f), 1);
	assert_int_equal(kicks[0], 1);
	assert_true(in_irr(c0, 0xfe));
	wr(c0, LAPIC_ESR, 0);
	assert_int_equal(rd(c0, LAPIC_ESR), 1 << 6);

	/* an error entry that itself has a bad vector ends there */
	clear_irrs();
	wr(c0, LAPIC_LVT_ERROR, 3);
	vmm_lapic_mmio_read(c0, 0x3f0);
	wr(c0, LAPIC_ESR, 0);
	assert_int_equal(rd(c0, LAPIC_ESR), 1 << 7 | 1 << 6);

	/* the timer with a bad vector */
	wr(c0, LAPIC_LVT_TIMER, 5);
	wr(c0, LAPIC_TMICT, 10);
	run_for(c0, 1000);
	wr(c0, LAPIC_ESR, 0);
	assert_int_equal(rd(c0, LAPIC_ESR), 1 << 6);
	assert_int_equal(vmm_lapic_pending(c0), -1);

	/* self IPI */
	wr(c0, LAPIC_LVT_ERROR, 0x10003);
	to_x2apic(c0);
	assert_int_equal(wrmsr(c0, 0x83f, 0x0e), 0);
	assert_int_equal(wrmsr(c0, 0x828, 0), 0);
	assert_int_equal(rdmsr(c0, 0x828), 1 << 5);
}

/* ---- IPIs ------------------------------------------------------------------ */

static void enable_all(void)
{
	u32 i;

	for (i = 0; i < NCPU; i++)
		enable(&cpus[i]);
}

static void ipi(struct vmm_vcpu *c, u32 dest, u32 icr)
{
	wr(c, LAPIC_ICR2, dest << 24);
	wr(c, LAPIC_ICR, icr);
}

static void test_ipi_physical(void **state)
{
	(void)state;
	enable_all();
	ipi(c0, 3, 0x4055);
	assert_int_equal(kicks[3], 1);
	assert_int_equal(who_has(0x55), 1 << 3);
	ipi(c0, 0, 0x4055);
	assert_int_equal(who_has(0x55), 1 << 0);
	ipi(c0, 0xff, 0x4055);
	assert_int_equal(who_has(0x55), 0x3f);
	ipi(c0, NCPU, 0x4055);
	assert_int_equal(who_has(0x55), 0);
	ipi(c0, 200, 0x4055);
	assert_int_equal(who_has(0x55), 0);
	/* level has no meaning: no EOI for the monitor comes of it */
	ipi(c0, 3, 0xc055);
	assert_false(test_bit(0x55, lapic_map(&cpus[3].apic, LAPIC_TMR)));
	/* switched off in either way */
	wr(&cpus[2], LAPIC_SVR, 0xff);
	assert_int_equal(wrmsr(&cpus[4], 0x1b, 0xfee00000), 0);
	clear_irrs();
	ipi(c0, 0xff, 0x4055);
	assert_int_equal(who_has(0x55), 0x3f & ~(1 << 2 | 1 << 4));
	/* the second of two that meet is no news */
	ipi(c0, 3, 0x4055);
	ipi(c0, 3, 0x4055);
	assert_int_equal(kicks[3], 1);
}

static void test_ipi_shorthand(void **state)
{
	(void)state;
	enable_all();
	ipi(c1, 3, 0x44061);
	assert_int_equal(who_has(0x61), 1 << 1);
	ipi(c1, 3, 0x84061);
	assert_int_equal(who_has(0x61), 0x3f);
	ipi(c1, 3, 0xc4061);
	assert_int_equal(who_has(0x61), 0x3d);
	ipi(c1, 3, 0xc4400);
	assert_int_equal(who_got(REQ_NMI), 0x3d);
	ipi(c1, 3, 0xc4500);
	assert_int_equal(who_got(REQ_INIT), 0x3d);
}

static void test_ipi_modes(void **state)
{
	(void)state;
	enable_all();
	ipi(c0, 2, 0x4400);
	assert_int_equal(who_got(REQ_NMI), 1 << 2);
	ipi(c0, 2, 0x4500);
	assert_int_equal(who_got(REQ_INIT), 1 << 2);
	ipi(c0, 2, 0xc500);			/* INIT, level, assert */
	assert_int_equal(who_got(REQ_INIT), 1 << 2);
	ipi(c0, 0xff, 0x88500);			/* INIT level de-assert */
	assert_int_equal(who_got(REQ_INIT), 0);
	ipi(c0, 2, 0x4699);
	assert_int_equal(cpus[2].sipi_vector, 0x99);
	assert_int_equal(who_got(REQ_SIPI), 1 << 2);
	ipi(c0, 2, 0x4601);			/* vector below 16 is right here */
	assert_int_equal(cpus[2].sipi_vector, 1);
	assert_int_equal(c0->apic.errors, 0);
	clear_irrs();
	ipi(c0, 2, 0x4231);			/* SMI */
	ipi(c0, 2, 0x4331);			/* reserved */
	ipi(c0, 2, 0x4731);			/* ExtINT */
	assert_int_equal(cpus[2].requests, 0);
	assert_int_equal(who_has(0x31), 0);
}

static void test_ipi_logical_flat(void **state)
{
	u32 i, mask;

	(void)state;
	enable_all();
	for (i = 0; i < NCPU; i++)
		wr(&cpus[i], LAPIC_LDR, 1 << (24 + i));
	for (mask = 0; mask < 0x100; mask++) {
		ipi(c0, mask, 0x4871);
		assert_int_equal(who_has(0x71), mask & 0x3f);
	}
	/* one that answers to nothing still hears a broadcast */
	wr(&cpus[5], LAPIC_LDR, 0);
	ipi(c0, 0xff, 0x4871);
	assert_int_equal(who_has(0x71), 0x3f);
	ipi(c0, 0xfe, 0x4871);
	assert_int_equal(who_has(0x71), 0x1e);
}

static void test_ipi_logical_cluster(void **state)
{
	u32 i;

	(void)state;
	enable_all();
	for (i = 0; i < NCPU; i++) {	/* clusters 0 and 1 of three */
		wr(&cpus[i], LAPIC_DFR, 0);
		wr(&cpus[i], LAPIC_LDR, (i / 3) << 28 | 1 << (24 + i % 3));
	}
	ipi(c0, 0x05, 0x4871);
	assert_int_equal(who_has(0x71), 1 << 0 | 1 << 2);
	ipi(c0, 0x1f, 0x4871);
	assert_int_equal(who_has(0x71), 0x38);
	ipi(c0, 0x2f, 0x4871);
	assert_int_equal(who_has(0x71), 0);
	ipi(c0, 0x10, 0x4871);
	assert_int_equal(who_has(0x71), 0);
	ipi(c0, 0xff, 0x4871);
	assert_int_equal(who_has(0x71), 0x3f);
}

static void test_ipi_x2apic(void **state)
{
	static struct vmm_vcpu far;
	u32 i;

	(void)state;
	far = (struct vmm_vcpu){ .vm = &vm, .id = 35 };
	vmm_lapic_init(&far);
	vm.vcpus[35] = &far;
	enable_all();
	enable(&far);
	to_x2apic(&far);
	assert_int_equal(rdmsr(&far, 0x80d), 2 << 16 | 1 << 3);
	for (i = 0; i < NCPU; i++)
		to_x2apic(&cpus[i]);

	wrmsr(c0, 0x830, 4ULL << 32 | 0x4081);
	assert_int_equal(who_has(0x81), 1 << 4);
	wrmsr(c0, 0x830, 0xffULL << 32 | 0x4081);		/* an ID like another */
	assert_int_equal(who_has(0x81), 0);
	assert_false(in_irr(&far, 0x81));
	wrmsr(c0, 0x830, 0xffffffffULL << 32 | 0x4081);
	assert_int_equal(who_has(0x81), 0x3f);
	assert_true(in_irr(&far, 0x81));
	wrmsr(c0, 0x830, 35ULL << 32 | 0x4082);
	assert_true(in_irr(&far, 0x82));
	wrmsr(c0, 0x830, 0xffffULL << 32 | 0x4883);		/* cluster 0 */
	assert_int_equal(who_has(0x83), 0x3f);
	assert_false(in_irr(&far, 0x83));
	wrmsr(c0, 0x830, 0x2000aULL << 32 | 0x4883);
	assert_int_equal(who_has(0x83), 0);
	assert_true(in_irr(&far, 0x83));
	wrmsr(c0, 0x830, 0xffffffffULL << 32 | 0x4884);
	assert_int_equal(who_has(0x84), 0x3f);
	assert_int_equal(wrmsr(c0, 0x83f, 0x85), 0);
	assert_int_equal(who_has(0x85), 1 << 0);
	/* shorthand, 32 bits of destination ignored */
	wrmsr(c0, 0x830, 0x12345678ULL << 32 | 0xc4086);
	assert_int_equal(who_has(0x86), 0x3e);
	assert_true(in_irr(&far, 0x86));
}

static void test_lowest_priority(void **state)
{
	u32 i, v, seen = 0;

	(void)state;
	enable_all();
	for (i = 0; i < NCPU; i++) {
		wr(&cpus[i], LAPIC_LDR, 1 << (24 + i));
		wr(&cpus[i], LAPIC_TPR, 0x50);
	}
	wr(&cpus[4], LAPIC_TPR, 0x20);
	ipi(c0, 0x3f, 0x4991);
	assert_int_equal(who_has(0x91), 1 << 4);
	ipi(c0, 0x0f, 0x4991);			/* 4 is not among them: exactly one */
	v = who_has(0x91);
	assert_true(v && !(v & (v - 1)) && v <= 8);
	/* busy with an interrupt counts too */
	lapic_accept(&cpus[4], 0xd0, false);
	vmm_lapic_ack(&cpus[4], 0xd0);
	ipi(c0, 0x18, 0x4991);
	assert_int_equal(who_has(0x91), 1 << 3);
	/* disabled ones are no candidates */
	wr(&cpus[3], LAPIC_SVR, 0xff);
	ipi(c0, 0x18, 0x4991);
	assert_int_equal(who_has(0x91), 1 << 4);
	ipi(c0, 0x08, 0x4991);
	assert_int_equal(who_has(0x91), 0);

	/* where all are alike vectors spread, and each keeps its place */
	setup(state);
	enable_all();
	for (i = 0; i < NCPU; i++)
		wr(&cpus[i], LAPIC_LDR, 1 << (24 + i));
	for (v = 0x40; v < 0x40 + NCPU; v++) {
		u32 first, again;

		ipi(c0, 0x3f, 0x4900 | v);
		first = who_has(v);
		ipi(c0, 0x3f, 0x4900 | v);
		again = who_has(v);
		assert_int_equal(first, again);
		seen |= first;
	}
	assert_int_equal(seen, 0x3f);
}

/* ---- MSIs ------------------------------------------------------------------ */

static void test_msi(void **state)
{
	u32 i, v;

	(void)state;
	enable_all();
	for (i = 0; i < NCPU; i++)
		wr(&cpus[i], LAPIC_LDR, 1 << (24 + i));
	assert_int_equal(vmm_lapic_msi(&vm, 0xfee03000, 0x4031), 1);
	assert_int_equal(who_has(0x31), 1 << 3);
	assert_int_equal(vmm_lapic_msi(&vm, 0xfeeff000, 0x4031), NCPU);
	assert_int_equal(who_has(0x31), 0x3f);
	assert_int_equal(vmm_lapic_msi(&vm, 0xfee15004, 0x4031), 3);	/* logical */
	assert_int_equal(who_has(0x31), 0x15);
	assert_int_equal(vmm_lapic_msi(&vm, 0xfee15004, 0x4131), 1);	/* lowest */
	v = who_has(0x31);
	assert_true(v && !(v & (v - 1)) && !(v & ~0x15U));
	assert_int_equal(vmm_lapic_msi(&vm, 0xfee1500c, 0x4031), 1);	/* hint */
	v = who_has(0x31);
	assert_true(v && !(v & (v - 1)) && !(v & ~0x15U));
	/* nobody there; 15 bits of destination: 0x103 is not 3 */
	assert_int_equal(vmm_lapic_msi(&vm, 0xfee3f000, 0x4031), 0);
	assert_int_equal(vmm_lapic_msi(&vm, 0xfee03020, 0x4031), 0);
	assert_int_equal(vmm_lapic_msi(&vm, 0xfee03024, 0x4031), 0);
	assert_int_equal(vmm_lapic_msi(&vm, 0xfeefffe0, 0x4031), 0);
	assert_int_equal(who_has(0x31), 0);
	/* delivery modes */
	assert_int_equal(vmm_lapic_msi(&vm, 0xfee02000, 0x400), 1);
	assert_int_equal(who_got(REQ_NMI), 1 << 2);
	assert_int_equal(vmm_lapic_msi(&vm, 0xfeeff000, 0x400), NCPU);
	assert_int_equal(who_got(REQ_NMI), 0x3f);
	assert_int_equal(vmm_lapic_msi(&vm, 0xfee02000, 0x500), 1);
	assert_int_equal(who_got(REQ_INIT), 1 << 2);
	assert_int_equal(vmm_lapic_msi(&vm, 0xfee02000, 0x231), 0);	/* SMI */
	assert_int_equal(vmm_lapic_msi(&vm, 0xfee02000, 0x731), 0);	/* ExtINT */
	assert_int_equal(who_has(0x31), 0);
	/* the trigger mode is kept; reserved bits of the data are not looked at */
	assert_int_equal(vmm_lapic_msi(&vm, 0xfee02000, 0xffff3832 | 0x8000), 1);
	assert_true(test_bit(0x32, lapic_map(&cpus[2].apic, LAPIC_TMR)));
	assert_int_equal(who_has(0x32), 1 << 2);
	/* malformed */
	assert_int_equal(vmm_lapic_msi(&vm, 0xfee02000, 0x331), -EINVAL);
	assert_int_equal(vmm_lapic_msi(&vm, 0xfee02010, 0x31), -EINVAL);
	assert_int_equal(vmm_lapic_msi(&vm, 0xfef02000, 0x31), -EINVAL);
	assert_int_equal(vmm_lapic_msi(&vm, 0x1fee02000, 0x31), -EINVAL);
	assert_int_equal(vmm_lapic_msi(&vm, 0, 0), -EINVAL);
	assert_int_equal(who_has(0x31), 0);
}

/* 8-bit destinations and x2APIC targets, as before an IOMMU is there */
static void test_msi_x2apic(void **state)
{
	u32 i;

	(void)state;
	enable_all();
	for (i = 0; i < NCPU; i++)
		to_x2apic(&cpus[i]);
	assert_int_equal(vmm_lapic_msi(&vm, 0xfee03000, 0x31), 1);
	assert_int_equal(who_has(0x31), 1 << 3);
	assert_int_equal(vmm_lapic_msi(&vm, 0xfee0a004, 0x31), 2);
	assert_int_equal(who_has(0x31), 0x0a);
	assert_int_equal(vmm_lapic_msi(&vm, 0xfeeff004, 0x31), NCPU);
	assert_int_equal(who_has(0x31), 0x3f);
}

/* ---- timer ----------------------------------------------------------------- */

static void test_timer_oneshot(void **state)
{
	static const u8 tdcr[] = { 0, 1, 2, 3, 8, 9, 10, 11 };
	static const u32 div[] = { 2, 4, 8, 16, 32, 64, 128, 1 };
	u32 i;

	for (i = 0; i < 8; i++) {
		setup(state);
		enable(c0);
		wr(c0, LAPIC_LVT_TIMER, 0x40);
		wr(c0, LAPIC_TDCR, tdcr[i]);
		wr(c0, LAPIC_TMICT, 1000);
		assert_int_equal(rd(c0, LAPIC_TMCCT), 1000);
		assert_int_equal(advance(c0, 400 * div[i]), 0);
		assert_int_equal(rd(c0, LAPIC_TMCCT), 600);
		assert_int_equal(advance(c0, 600 * div[i] - 1), 0);
		assert_int_equal(rd(c0, LAPIC_TMCCT), 1);
		assert_int_equal(kicks[0], 0);
		assert_int_equal(advance(c0, 1), 1);
		assert_int_equal(kicks[0], 1);
		pump(c0);
		assert_int_equal(vmm_lapic_pending(c0), 0x40);
		assert_int_equal(rd(c0, LAPIC_TMCCT), 0);
		assert_int_equal(rd(c0, LAPIC_TMICT), 1000);
		assert_int_equal(run_for(c0, 1000000000), 1);
		assert_int_equal(run_for(c0, 1000000000), 0);
	}
}

static void test_timer_periodic(void **state)
{
	(void)state;
	enable(c0);
	wr(c0, LAPIC_TDCR, 0xb);
	wr(c0, LAPIC_LVT_TIMER, 0x20040);
	wr(c0, LAPIC_TMICT, 1000000);
	assert_int_equal(run_for(c0, 50500000), 50);
	assert_int_equal(rd(c0, LAPIC_TMCCT), 500000);
	/* a thread that does not look: one alarm, one interrupt, the phase kept */
	assert_int_equal(advance(c0, 10000000), 1);
	assert_int_equal(kicks[0], 51);
	pump(c0);
	assert_int_equal(rd(c0, LAPIC_TMCCT), 500000);
	assert_int_equal(run_for(c0, 500000), 2);
	/* 0 stops it */
	wr(c0, LAPIC_TMICT, 0);
	assert_false(c0->apic.timer.queued);
	assert_int_equal(rd(c0, LAPIC_TMCCT), 0);
	assert_int_equal(run_for(c0, 10000000), 0);
}

static void test_timer_floor(void **state)
{
	(void)state;
	enable(c0);
	wr(c0, LAPIC_TDCR, 0xb);
	wr(c0, LAPIC_LVT_TIMER, 0x20040);
	wr(c0, LAPIC_TMICT, 1);
	assert_int_equal(rd(c0, LAPIC_TMCCT), 1);
	assert_int_equal(run_for(c0, 1000000), 100);
	assert_int_equal(kicks[0], 100);
	/* one-shot is as short as asked for: each costs the guest an exit */
	wr(c0, LAPIC_LVT_TIMER, 0x40);
	wr(c0, LAPIC_TMICT, 1);
	assert_int_equal(advance(c0, 1), 1);
}

static void test_timer_masked(void **state)
{
	(void)state;
	enable(c0);
	wr(c0, LAPIC_TDCR, 0xb);
	wr(c0, LAPIC_LVT_TIMER, 0x30040);
	wr(c0, LAPIC_TMICT, 1000000);
	assert_false(c0->apic.timer.queued);
	advance(c0, 10250000);
	assert_int_equal(rd(c0, LAPIC_TMCCT), 750000);
	assert_int_equal(vmm_lapic_pending(c0), -1);
	wr(c0, LAPIC_LVT_TIMER, 0x20040);
	assert_int_equal(run_for(c0, 749999), 0);
	assert_int_equal(run_for(c0, 2), 1);
	wr(c0, LAPIC_LVT_TIMER, 0x30040);
	assert_int_equal(run_for(c0, 10000000), 0);
}

static void test_timer_modes(void **state)
{
	(void)state;
	enable(c0);
	wr(c0, LAPIC_TDCR, 0xb);
	/* one-shot to periodic goes on counting, and starts again at the end */
	wr(c0, LAPIC_LVT_TIMER, 0x40);
	wr(c0, LAPIC_TMICT, 1000000);
	advance(c0, 300000);
	wr(c0, LAPIC_LVT_TIMER, 0x20040);
	assert_int_equal(rd(c0, LAPIC_TMCCT), 700000);
	assert_int_equal(run_for(c0, 1800000), 2);
	/* and back: once more, then no more */
	wr(c0, LAPIC_LVT_TIMER, 0x40);
	assert_int_equal(run_for(c0, 5000000), 1);
	/* the divider changes the rate, not the count */
	wr(c0, LAPIC_TMICT, 1000000);
	advance(c0, 500000);
	wr(c0, LAPIC_TDCR, 0);
	assert_int_equal(rd(c0, LAPIC_TMCCT), 500000);
	advance(c0, 500000);
	assert_int_equal(rd(c0, LAPIC_TMCCT), 250000);
	/* to TSC-deadline disarms; counts cannot be written there */
	wr(c0, LAPIC_LVT_TIMER, 0x40040);
	assert_int_equal(rd(c0, LAPIC_TMCCT), 0);
	wr(c0, LAPIC_TMICT, 77);
	assert_int_equal(rd(c0, LAPIC_TMICT), 1000000);
	assert_int_equal(run_for(c0, 5000000), 0);
	/* and back disarms */
	wrmsr(c0, 0x6e0, vmm_guest_tsc(c0) + 1000000);
	assert_true(c0->apic.timer.queued);
	wr(c0, LAPIC_LVT_TIMER, 0x40);
	assert_int_equal(rdmsr(c0, 0x6e0), 0);
	assert_int_equal(run_for(c0, 5000000), 0);
	wrmsr(c0, 0x6e0, vmm_guest_tsc(c0) + 1000000);	/* ignored here */
	assert_int_equal(rdmsr(c0, 0x6e0), 0);
	/* an expiry that was not looked at yet is not lost by what comes next */
	wr(c0, LAPIC_TMICT, 1000);
	advance(c0, 10000);
	wr(c0, LAPIC_TMICT, 1000);
	assert_true(in_irr(c0, 0x40));
	assert_int_equal(run_for(c0, 10000), 2);
	wr(c0, LAPIC_TMICT, 1000);
	advance(c0, 10000);
	wr(c0, LAPIC_LVT_TIMER, 0x40041);
	assert_int_equal(vmm_lapic_pending(c0), 0x40);
}

static void test_timer_deadline(void **state)
{
	u64 at;

	(void)state;
	enable(c0);
	wr(c0, LAPIC_LVT_TIMER, 0x40040);
	at = vmm_guest_tsc(c0) + 30000000;
	assert_int_equal(wrmsr(c0, 0x6e0, at), 0);
	assert_int_equal(rdmsr(c0, 0x6e0), at);
	assert_int_equal(run_for(c0, 9999000), 0);
	assert_true(vmm_guest_tsc(c0) < at);
	assert_int_equal(run_for(c0, 2000), 1);
	assert_int_equal(rdmsr(c0, 0x6e0), 0);
	/* in the past: at once, no alarm */
	assert_int_equal(wrmsr(c0, 0x6e0, 1), 0);
	assert_int_equal(vmm_lapic_pending(c0), 0x40);
	assert_false(c0->apic.timer.queued);
	assert_int_equal(rdmsr(c0, 0x6e0), 0);
	assert_int_equal(run_for(c0, 1), 1);
	/* 0 disarms */
	wrmsr(c0, 0x6e0, vmm_guest_tsc(c0) + 1000);
	wrmsr(c0, 0x6e0, 0);
	assert_int_equal(run_for(c0, 1000000), 0);
	/* never: an alarm now and then, no interrupt */
	wrmsr(c0, 0x6e0, ~0ULL);
	assert_in_range(c0->apic.timer.expires - kshim_now, 99000000000LL, 101000000000LL);
	assert_int_equal(run_for(c0, 350000000000ULL), 0);
	assert_in_range(kicks[0], 1, 10);
	/* passed, not looked at, and set again */
	wrmsr(c0, 0x6e0, vmm_guest_tsc(c0) + 1000);
	advance(c0, 100000);
	wrmsr(c0, 0x6e0, vmm_guest_tsc(c0) + 1000);
	assert_true(in_irr(c0, 0x40));
	assert_int_equal(run_for(c0, 100000), 2);
	/* masked: it passes in silence */
	wr(c0, LAPIC_LVT_TIMER, 0x50040);
	wrmsr(c0, 0x6e0, vmm_guest_tsc(c0) + 1000);
	assert_int_equal(run_for(c0, 1000000), 0);
	assert_int_equal(rdmsr(c0, 0x6e0), 0);
}

static void test_timer_tsc_moved(void **state)
{
	u64 at;

	(void)state;
	enable(c0);
	wr(c0, LAPIC_LVT_TIMER, 0x40040);
	at = vmm_guest_tsc(c0) + 30000000;
	wrmsr(c0, 0x6e0, at);
	c0->tsc_offset -= 30000000;		/* twice as far now */
	vmm_lapic_tsc_moved(c0);
	assert_int_equal(run_for(c0, 15000000), 0);
	assert_int_equal(rdmsr(c0, 0x6e0), at);
	c0->tsc_offset += 60000000;		/* past it */
	vmm_lapic_tsc_moved(c0);
	assert_int_equal(run_for(c0, 1), 1);
	/* an alarm that rang too early for a moved TSC finds nothing */
	wrmsr(c0, 0x6e0, vmm_guest_tsc(c0) + 3000000);
	c0->tsc_offset -= 3000000;
	assert_int_equal(run_for(c0, 1500000), 0);
	assert_int_equal(run_for(c0, 1000000), 1);
}

/* A TSC slower than tsc_khz says: never early, and not many alarms */
static void test_timer_slow_tsc(void **state)
{
	u64 at;
	int i;

	(void)state;
	enable(c0);
	wr(c0, LAPIC_LVT_TIMER, 0x40040);
	at = vmm_guest_tsc(c0) + 300000000;
	wrmsr(c0, 0x6e0, at);
	for (i = 0; i < 100 && c0->apic.tsc_deadline; i++) {
		u64 left = c0->apic.timer.expires - kshim_now;

		c0->tsc_offset -= left * 3 * 5 / 1000;	/* half a per cent */
		advance(c0, left);
		pump(c0);
	}
	assert_true(vmm_guest_tsc(c0) >= at);
	assert_true(vmm_guest_tsc(c0) < at + 100);
	assert_in_range(i, 2, 10);
}

/* ---- state ----------------------------------------------------------------- */

static void same(const struct vmm_apic *a, const struct vmm_apic *b)
{
	u32 reg;

	assert_true(a->base == b->base);
	assert_true(a->tsc_deadline == b->tsc_deadline);
	for (reg = 0; reg < LAPIC_NREGS; reg++)
		if (a->regs[reg] != b->regs[reg])
			fail_msg("register %#x: %#x, %#x", reg, a->regs[reg], b->regs[reg]);
}

/* get -> a new vCPU of the same ID -> set -> get */
static void round_trip(struct vmm_vcpu *c)
{
	static struct vmm_vcpu fresh;
	struct vmm_apic before, after;

	memset(&fresh, 0, sizeof(fresh));
	fresh.vm = c->vm;
	fresh.id = c->id;
	fresh.tsc_offset = c->tsc_offset;
	vmm_lapic_init(&fresh);
	vmm_lapic_get(c, &before);
	assert_int_equal(vmm_lapic_set(&fresh, &before), 0);
	vmm_lapic_get(&fresh, &after);
	same(&before, &after);
	assert_int_equal(vmm_lapic_pending(&fresh), vmm_lapic_pending(c));
	assert_int_equal(vmm_lapic_extint(&fresh), vmm_lapic_extint(c));
	assert_int_equal(fresh.apic.timer.queued, c->apic.timer.queued);
}

static void test_state_round_trip(void **state)
{
	(void)state;
	round_trip(c0);
	dirty(c0);
	advance(c0, 300000);
	round_trip(c0);
	wr(c0, LAPIC_LVT_TIMER, 0x40044);
	wrmsr(c0, 0x6e0, vmm_guest_tsc(c0) + 100000);
	round_trip(c0);
	to_x2apic(c0);
	round_trip(c0);
	wrmsr(c0, 0x830, 0x1234567800004055ULL);
	round_trip(c0);
	wrmsr(c0, 0x1b, 0xfee00000);
	round_trip(c0);
}

/* a timer that ran out is either in IRR or still on the clock, never both */
static void test_state_expired_timer(void **state)
{
	struct vmm_apic a;

	(void)state;
	enable(c0);
	wr(c0, LAPIC_TDCR, 0xb);
	wr(c0, LAPIC_LVT_TIMER, 0x20040);
	wr(c0, LAPIC_TMICT, 1000000);
	advance(c0, 3200000);			/* nobody looked */
	vmm_lapic_get(c0, &a);
	assert_int_equal(a.regs[LAPIC_IRR + 2], 1);
	assert_int_equal(a.regs[LAPIC_TMCCT], 800000);
	pump(c0);				/* the late alarm adds nothing */
	vmm_lapic_ack(c0, 0x40);
	wr(c0, LAPIC_EOI, 0);
	assert_int_equal(vmm_lapic_pending(c0), -1);
	assert_int_equal(vmm_lapic_set(c0, &a), 0);
	assert_int_equal(run_for(c0, 850000), 2);

	wr(c0, LAPIC_LVT_TIMER, 0x40040);
	wrmsr(c0, 0x6e0, vmm_guest_tsc(c0) + 3000);
	advance(c0, 3000);
	vmm_lapic_get(c0, &a);
	assert_int_equal(a.tsc_deadline, 0);
	assert_int_equal(a.regs[LAPIC_IRR + 2], 1);
	assert_int_equal(vmm_lapic_set(c0, &a), 0);
	pump(c0);
	assert_int_equal(run_for(c0, 1000000), 1);
}

static void test_state_running_timer(void **state)
{
	struct vmm_apic a;

	(void)state;
	enable(c0);
	wr(c0, LAPIC_TDCR, 0);
	wr(c0, LAPIC_LVT_TIMER, 0x20040);
	wr(c0, LAPIC_TMICT, 1000000);
	run_for(c0, 500000);
	vmm_lapic_get(c0, &a);
	assert_int_equal(a.regs[LAPIC_TMCCT], 750000);
	vmm_lapic_reset(c0, false);
	kshim_now += 123456789;			/* stopped meanwhile */
	assert_int_equal(vmm_lapic_set(c0, &a), 0);
	assert_int_equal(run_for(c0, 1499999), 0);
	assert_int_equal(run_for(c0, 2), 1);
	assert_int_equal(run_for(c0, 2000000), 1);
}

static void test_state_hostile(void **state)
{
	static const struct {
		u32 reg, value;
	} bad[] = {
		{ 0, 1 }, { 1, 1 }, { LAPIC_ID, 0 }, { LAPIC_ID, 1 }, { LAPIC_ID, 2 << 24 },
		{ LAPIC_VERSION, 0x14 }, { LAPIC_VERSION, 0x01050014 }, { 4, 1 }, { 7, ~0U },
		{ LAPIC_TPR, 0x100 }, { LAPIC_APR, 1 }, { LAPIC_PPR, 0x100 },
		{ LAPIC_EOI, 1 }, { LAPIC_RRD, 1 }, { LAPIC_LDR, 0x00800000 },
		{ LAPIC_DFR, 0 }, { LAPIC_DFR, 0xfffffffe }, { LAPIC_SVR, 0x11ff },
		{ LAPIC_ISR, 1 }, { LAPIC_ISR, 0x8000 }, { LAPIC_TMR, 2 }, { LAPIC_IRR, 4 },
		{ LAPIC_ESR, 0x100 }, { LAPIC_ERRORS, 0x100 }, { 0x2a, 1 }, { 0x2f, 0x10000 },
		{ LAPIC_ICR, 0x1000 }, { LAPIC_ICR, 0x100000 }, { LAPIC_ICR2, 1 },
		{ LAPIC_LVT_TIMER, 0x60040 }, { LAPIC_LVT_TIMER, 0x700 },
		{ LAPIC_LVT_TIMER, 0x80000 }, { LAPIC_LVT_THERM, 0x1000 },
		{ LAPIC_LVT_PERF, 0x20000 }, { LAPIC_LVT_LINT0, 0x4000 },
		{ LAPIC_LVT_LINT1, 0x20000 }, { LAPIC_LVT_ERROR, 0x400 },
		{ LAPIC_TMCCT, 1 },	/* above its initial count of 0 */
		{ 0x3a, 1 }, { LAPIC_TDCR, 4 }, { LAPIC_TDCR, 0x10 }, { LAPIC_SELF_IPI, 1 },
		{ LAPIC_SVR, 0xff },	/* with entries unmasked */
	};
	static const u64 base[] = {
		0xfee00400, 0xfee00801, 0xfee00a00, 0xfff00000fee00800ULL,
		0x8000000000000800ULL, 0xfee00c00 /* with an ID of the other form */,
	};
	struct vmm_apic good, a, now;
	size_t i;

	(void)state;
	enable(c1);
	wr(c1, LAPIC_LVT_ERROR, 0xfe);
	vmm_lapic_get(c1, &good);
	assert_int_equal(vmm_lapic_set(c1, &good), 0);
	for (i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		a = good;
		a.regs[bad[i].reg] = bad[i].value;
		if (vmm_lapic_set(c1, &a) != -EINVAL)
			fail_msg("row %zu: register %#x", i, bad[i].reg);
		vmm_lapic_get(c1, &now);
		same(&good, &now);
	}
	for (i = 0; i < sizeof(base) / sizeof(*base); i++) {
		a = good;
		a.base = base[i];
		assert_int_equal(vmm_lapic_set(c1, &a), -EINVAL);
	}
	a = good;
	a.tsc_deadline = 1;			/* not its mode */
	assert_int_equal(vmm_lapic_set(c1, &a), -EINVAL);
	a.regs[LAPIC_LVT_TIMER] = 0x40040;
	assert_int_equal(vmm_lapic_set(c1, &a), 0);
	assert_int_equal(run_for(c1, 100), 1);	/* long past */
	a.tsc_deadline = 0;
	a.regs[LAPIC_TMICT] = 5;
	a.regs[LAPIC_TMCCT] = 5;
	assert_int_equal(vmm_lapic_set(c1, &a), -EINVAL);
	/* x2APIC: the ID and what follows from it */
	to_x2apic(c1);
	vmm_lapic_get(c1, &a);
	assert_int_equal(vmm_lapic_set(c1, &a), 0);
	a.regs[LAPIC_ID] = 2;
	assert_int_equal(vmm_lapic_set(c1, &a), -EINVAL);
	a.regs[LAPIC_ID] = 1;
	a.regs[LAPIC_LDR] = 1;
	assert_int_equal(vmm_lapic_set(c1, &a), -EINVAL);
	/* the shortest period that can be set is the floor, too */
	setup(NULL);
	enable(c1);
	vmm_lapic_get(c1, &a);
	a.regs[LAPIC_LVT_TIMER] = 0x20040;
	a.regs[LAPIC_TDCR] = 0xb;
	a.regs[LAPIC_TMICT] = 1;
	a.regs[LAPIC_TMCCT] = 1;
	assert_int_equal(vmm_lapic_set(c1, &a), 0);
	assert_in_range(run_for(c1, 1000000), 99, 101);
	/* a period of nothing cannot be set to run */
	a.regs[LAPIC_TMICT] = 0;
	assert_int_equal(vmm_lapic_set(c1, &a), -EINVAL);
	a.regs[LAPIC_TMCCT] = 0;
	assert_int_equal(vmm_lapic_set(c1, &a), 0);
	assert_int_equal(run_for(c1, 1000000), 0);
}

/* ---- at random ------------------------------------------------------------- */

static u64 seed;

static u64 rnd(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed;
}

static void check_invariants(struct vmm_vcpu *c)
{
	struct vmm_lapic *apic = &c->apic;
	struct vmm_apic a, b;
	int v = vmm_lapic_pending(c);
	u32 reg;
	bool live = apic->timer_running || apic->tsc_deadline;

	assert_int_equal(apic->regs[LAPIC_IRR] & 0xffff, 0);
	assert_int_equal(apic->regs[LAPIC_ISR] & 0xffff, 0);
	assert_int_equal(apic->regs[LAPIC_TMR] & 0xffff, 0);
	assert_int_equal(apic->errors & ~0xffUL, 0);
	assert_true(v < 0 || v >> 4 > (int)(lapic_ppr(apic) >> 4));
	if (highest(apic, LAPIC_IRR) >= 0)
		assert_true(apic->irr_pending);
	if (!lapic_software_enabled(apic))
		for (reg = LAPIC_LVT_TIMER; reg <= LAPIC_LVT_ERROR; reg++)
			assert_true(apic->regs[reg] & LVT_MASKED);
	/* a timer that can interrupt has an alarm set, or has just rung */
	if (live && !timer_masked(apic))
		assert_true(apic->timer.queued || (c->requests & BIT(REQ_TIMER)));
	else
		assert_false(apic->timer.queued);
	assert_false(apic->timer_running && apic->tsc_deadline);
	/* every state that a guest reaches can be set, and set exactly */
	vmm_lapic_get(c, &a);
	assert_int_equal(vmm_lapic_set(c, &a), 0);
	vmm_lapic_get(c, &b);
	same(&a, &b);
}

/* the page is not there in x2APIC mode, nor when the APIC is off */
static void write_page(struct vmm_vcpu *c, u32 offset, u32 value)
{
	if (vmm_lapic_in_page(c, c->apic.base & ~0xfffULL))
		vmm_lapic_mmio_write(c, offset, value, &last_eoi);
}

static void random_step(struct vmm_vcpu *c)
{
	static const u32 bases[] = { 0x800, 0xc00, 0, 0x900, 0x400 };
	u32 value = rnd() >> (rnd() & 31);
	u64 wide = rnd() >> (rnd() & 63);
	u64 out;

	switch (rnd() % 16) {
	case 0 ... 3:
		write_page(c, (rnd() & 0x3f) << 4, value);
		break;
	case 4:
		if (vmm_lapic_in_page(c, c->apic.base & ~0xfffULL))
			vmm_lapic_mmio_read(c, rnd() & 0xfff);
		break;
	case 5 ... 7:
		vmm_lapic_msr_write(c, 0x800 + (rnd() & 0x3f), wide, &last_eoi);
		break;
	case 8:
		vmm_lapic_msr_read(c, 0x800 + (rnd() & 0xff), &out);
		break;
	case 9:
		if (rnd() % 8 == 0)
			vmm_lapic_msr_write(c, 0x1b, (u64)value << 12 | bases[rnd() % 5],
					    &last_eoi);
		break;
	case 10:
		vmm_lapic_msr_write(c, 0x6e0, vmm_guest_tsc(c) + (s64)(rnd() % 20000) - 1000,
				    &last_eoi);
		break;
	case 11:
		vmm_lapic_msi(&vm, 0xfee00000 | (rnd() & 0xfffff), value);
		break;
	case 12:
		if (vmm_lapic_pending(c) >= 0)
			vmm_lapic_ack(c, vmm_lapic_pending(c));
		break;
	case 13:
		advance(c, rnd() % 50000);
		break;
	case 14:
		pump(c);
		break;
	case 15:
		/* keep it interesting: enabled, something to count */
		write_page(c, 0xf0, 0x1ff);
		write_page(c, 0x320, (value & 0x700ff) | 0x40);
		write_page(c, 0x380, rnd() % 30000);
		if (rnd() % 64 == 0)
			vmm_lapic_reset(c, rnd() & 1);
		c->requests &= BIT(REQ_TIMER);
		break;
	}
}

/* The alarms of all vCPUs share one clock here; only c's are rung by advance() */
static void test_random(void **state)
{
	u32 round, i;

	for (round = 0; round < 20; round++) {
		setup(state);
		seed = 0x9e3779b97f4a7c15ULL * (round + 1);
		for (i = 0; i < 5000; i++) {
			random_step(c1);
			check_invariants(c1);
		}
	}
}

/* Random states: refused, or held exactly and harmless */
static void test_random_set(void **state)
{
	struct vmm_apic good, a;
	u32 i, j, taken = 0;

	(void)state;
	seed = 88172645463325252ULL;
	dirty(c1);
	vmm_lapic_get(c1, &good);
	for (i = 0; i < 200000; i++) {
		a = good;
		for (j = rnd() % 4; j < 4; j++)
			a.regs[rnd() % 64] = rnd() >> (rnd() & 63);
		if (rnd() % 4 == 0)
			a.tsc_deadline = rnd() >> (rnd() & 63);
		if (rnd() % 4 == 0)
			a.base = rnd() >> (rnd() & 63);
		if (vmm_lapic_set(c1, &a))
			continue;
		taken++;
		check_invariants(c1);
		random_step(c1);
		check_invariants(c1);
	}
	assert_true(taken > 1000);
}

/* ---- senders on other CPUs ------------------------------------------------- */

#define ROUNDS	20000

static struct {
	u32 taken[256];
	bool stop;
} shared;

static void *sender(void *arg)
{
	u8 vector = (uintptr_t)arg;
	u32 i;

	for (i = 1; i <= ROUNDS; i++) {
		vmm_lapic_msi(&vm, 0xfee01000, vector);
		while (__atomic_load_n(&shared.taken[vector], __ATOMIC_SEQ_CST) < i)
			sched_yield();
	}
	return NULL;
}

static void *receiver(void *arg)
{
	(void)arg;
	while (!__atomic_load_n(&shared.stop, __ATOMIC_SEQ_CST)) {
		int v = vmm_lapic_pending(c1);

		if (v < 0) {
			sched_yield();
			continue;
		}
		vmm_lapic_ack(c1, v);
		vmm_lapic_mmio_write(c1, 0xb0, 0, &last_eoi);
		__atomic_fetch_add(&shared.taken[v], 1, __ATOMIC_SEQ_CST);
	}
	return NULL;
}

/* each waits for its own to be taken: one lost would hang here */
static void test_concurrent_senders(void **state)
{
	static const u8 vectors[] = { 0x31, 0x32, 0x95 };
	pthread_t rx, tx[3];
	u32 i;

	(void)state;
	memset(&shared, 0, sizeof(shared));
	enable(c1);
	assert_int_equal(pthread_create(&rx, NULL, receiver, NULL), 0);
	for (i = 0; i < 3; i++)
		assert_int_equal(pthread_create(&tx[i], NULL, sender,
						(void *)(uintptr_t)vectors[i]), 0);
	for (i = 0; i < 3; i++)
		pthread_join(tx[i], NULL);
	__atomic_store_n(&shared.stop, true, __ATOMIC_SEQ_CST);
	pthread_join(rx, NULL);
	for (i = 0; i < 3; i++)
		assert_int_equal(shared.taken[vectors[i]], ROUNDS);
	assert_int_equal(vmm_lapic_pending(c1), -1);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup(name, setup)
	const struct CMUnitTest tests[] = {
		T(test_power_on), T(test_init_reset),
		T(test_xapic_registers), T(test_undefined_offsets), T(test_in_page),
		T(test_x2apic_registers), T(test_base_transitions), T(test_base_bits),
		T(test_disable_loses_state), T(test_enter_x2apic_keeps_state),
		T(test_software_disable),
		T(test_priority), T(test_nesting), T(test_cr8), T(test_eoi_level),
		T(test_extint_gate), T(test_error_status),
		T(test_ipi_physical), T(test_ipi_shorthand), T(test_ipi_modes),
		T(test_ipi_logical_flat), T(test_ipi_logical_cluster), T(test_ipi_x2apic),
		T(test_lowest_priority), T(test_msi), T(test_msi_x2apic),
		T(test_timer_oneshot), T(test_timer_periodic), T(test_timer_floor),
		T(test_timer_masked), T(test_timer_modes), T(test_timer_deadline),
		T(test_timer_tsc_moved), T(test_timer_slow_tsc),
		T(test_state_round_trip), T(test_state_expired_timer),
		T(test_state_running_timer), T(test_state_hostile),
		T(test_random), T(test_random_set), T(test_concurrent_senders),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
