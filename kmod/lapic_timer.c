// SPDX-License-Identifier: GPL-2.0
/*
 * The timer of the local APIC, SDM 3A 11.5.4.
 *
 * What the guest sees follows from (target, now) or (tsc_deadline, guest TSC)
 * alone: timer_sync() brings it up to this moment. The hrtimer is only an alarm
 * clock that makes the vCPU's thread look: an alarm too many does no harm, a
 * masked timer sets none, and a vCPU that does not run is rung for once.
 */
#include <linux/hrtimer.h>
#include <linux/ktime.h>
#include <linux/minmax.h>
#include <asm/tsc.h>
#include "compat.h"
#include "lapic.h"

/*
 * The APIC's bus clock is 1 GHz: a count is a nanosecond, times the divider.
 * A period shorter than the floor is stretched to it, or a guest could keep the
 * host busy with nothing but alarms.
 */
#define TIMER_MIN_PERIOD_NS	200000ULL

/* A deadline further away than this gets another alarm then; see tsc_to_ns() */
#define TIMER_MAX_SLEEP_MS	100000ULL

bool vmm_exit_timer;

static u32 timer_mode(const struct vmm_lapic *apic)
{
	return lapic_reg(apic, LAPIC_LVT_TIMER) & LVT_TIMER_MODE;
}

/* Bits 3, 1, 0: 000 divides by 2, 110 by 128, 111 by 1; SDM 3A figure 11-10 */
static u64 timer_divider(const struct vmm_lapic *apic)
{
	u32 tdcr = lapic_reg(apic, LAPIC_TDCR);

	return 1ULL << (((tdcr & 3) + ((tdcr & 8) >> 1) + 1) & 7);
}

static u64 timer_count_to_ns(const struct vmm_lapic *apic, u32 count)
{
	return count * timer_divider(apic);
}

/* 0: does not start again */
static u64 timer_period(const struct vmm_lapic *apic)
{
	u32 initial = lapic_reg(apic, LAPIC_TMICT);

	if (timer_mode(apic) != LVT_TIMER_PERIODIC || !initial)
		return 0;
	return max(timer_count_to_ns(apic, initial), TIMER_MIN_PERIOD_NS);
}

/* Ticks to nanoseconds, rounded up; bounded so that the product fits 64 bits */
static u64 tsc_to_ns(u64 ticks)
{
	u64 khz = max(tsc_khz, 1U);

	return min(ticks, khz * TIMER_MAX_SLEEP_MS) * 1000000 / khz + 1;
}

static void timer_expire(struct vmm_vcpu *vcpu)
{
	struct vmm_lapic *apic = &vcpu->apic;

	if (!timer_masked(apic))
		lapic_accept(vcpu, lapic_reg(apic, LAPIC_LVT_TIMER) & LVT_VECTOR, false);
}

static bool timer_sync_deadline(struct vmm_vcpu *vcpu)
{
	struct vmm_lapic *apic = &vcpu->apic;

	if (!apic->tsc_deadline || vmm_guest_tsc(vcpu) < apic->tsc_deadline)
		return false;
	apic->tsc_deadline = 0;
	timer_expire(vcpu);
	return true;
}

static bool timer_sync_count(struct vmm_vcpu *vcpu)
{
	struct vmm_lapic *apic = &vcpu->apic;
	u64 period, late;
	ktime_t now;

	if (!apic->timer_running)
		return false;
	now = ktime_get();
	if (ktime_before(now, apic->timer_target))
		return false;
	timer_expire(vcpu);
	period = timer_period(apic);
	if (!period) {
		apic->timer_running = false;
		return true;
	}
	/* periods that nobody saw end are one interrupt: IRR holds no more */
	late = ktime_to_ns(ktime_sub(now, apic->timer_target));
	apic->timer_target = ktime_add_ns(apic->timer_target, (late / period + 1) * period);
	return true;
}

/* True if something expired, so that the alarm is to be set anew */
static bool timer_sync(struct vmm_vcpu *vcpu)
{
	if (timer_mode(&vcpu->apic) == LVT_TIMER_DEADLINE)
		return timer_sync_deadline(vcpu);
	return timer_sync_count(vcpu);
}

/* in the fast gear the CPU itself ends the guest's turn when the deadline comes */
static bool cpu_rings(const struct vmm_vcpu *vcpu)
{
	return vmm_exit_timer && vcpu->loaded && vcpu->apic.tsc_deadline;
}

static void timer_set_alarm(struct vmm_vcpu *vcpu)
{
	struct vmm_lapic *apic = &vcpu->apic;
	ktime_t alarm = apic->timer_target;
	u64 now;

	if ((!apic->timer_running && !apic->tsc_deadline) || timer_masked(apic) ||
	    cpu_rings(vcpu)) {
		/* one that is under way already finds nothing to do */
		hrtimer_try_to_cancel(&apic->timer);
		return;
	}
	if (apic->tsc_deadline) {
		now = vmm_guest_tsc(vcpu);
		alarm = ktime_get();
		if (now < apic->tsc_deadline)
			alarm = ktime_add_ns(alarm, tsc_to_ns(apic->tsc_deadline - now));
	}
	hrtimer_start(&apic->timer, alarm, HRTIMER_MODE_ABS_HARD);
}

/* REQ_TIMER, in the vCPU's thread */
void vmm_lapic_timer_fired(struct vmm_vcpu *vcpu)
{
	timer_sync(vcpu);
	timer_set_alarm(vcpu);
}

/* The vCPU is about to sleep, where no CPU rings for it; and is awake again */
void vmm_lapic_timer_sleep(struct vmm_vcpu *vcpu)
{
	if (vmm_exit_timer && vcpu->apic.tsc_deadline)
		timer_set_alarm(vcpu);
}

void vmm_lapic_timer_wake(struct vmm_vcpu *vcpu)
{
	if (vmm_exit_timer && vcpu->apic.tsc_deadline)
		hrtimer_try_to_cancel(&vcpu->apic.timer);
}

/* The guest's TSC was moved: the deadline is another distance away */
void vmm_lapic_tsc_moved(struct vmm_vcpu *vcpu)
{
	if (vcpu->apic.tsc_deadline)
		timer_set_alarm(vcpu);
}

static enum hrtimer_restart timer_alarm(struct hrtimer *timer)
{
	struct vmm_vcpu *vcpu = container_of(timer, struct vmm_vcpu, apic.timer);

	vmm_request(vcpu, REQ_TIMER);
	return HRTIMER_NORESTART;
}

void lapic_timer_create(struct vmm_vcpu *vcpu)
{
	hrtimer_setup(&vcpu->apic.timer, timer_alarm, CLOCK_MONOTONIC, HRTIMER_MODE_ABS_HARD);
}

void lapic_timer_destroy(struct vmm_vcpu *vcpu)
{
	hrtimer_cancel(&vcpu->apic.timer);
}

void lapic_timer_stop(struct vmm_vcpu *vcpu)
{
	vcpu->apic.timer_running = false;
	vcpu->apic.tsc_deadline = 0;
	timer_set_alarm(vcpu);
}

/*
 * Rounded up, so that a running timer never reads 0. One with a stretched
 * period has more left than its initial count says, and stays there.
 */
static u32 timer_left(const struct vmm_lapic *apic)
{
	u64 divider = timer_divider(apic);
	s64 left;

	if (!apic->timer_running)
		return 0;
	left = ktime_to_ns(ktime_sub(apic->timer_target, ktime_get()));
	left = left > 0 ? (left + divider - 1) / divider : 1;
	return min_t(u64, left, lapic_reg(apic, LAPIC_TMICT));
}

u32 lapic_timer_count(struct vmm_vcpu *vcpu)
{
	if (timer_sync(vcpu))
		timer_set_alarm(vcpu);
	return timer_left(&vcpu->apic);
}

u64 lapic_timer_deadline(struct vmm_vcpu *vcpu)
{
	if (timer_sync(vcpu))
		timer_set_alarm(vcpu);
	return vcpu->apic.tsc_deadline;
}

/* Both as of one moment: what is not in IRR by then is still to come */
void lapic_timer_get(struct vmm_vcpu *vcpu, u32 *count, u64 *deadline)
{
	*count = lapic_timer_count(vcpu);
	*deadline = vcpu->apic.tsc_deadline;
}

static void timer_start(struct vmm_vcpu *vcpu, u64 ns)
{
	struct vmm_lapic *apic = &vcpu->apic;

	apic->timer_running = ns;
	apic->timer_target = ktime_add_ns(ktime_get(), ns);
	timer_set_alarm(vcpu);
}

/* Count down from here; 0 stops */
void lapic_timer_restart(struct vmm_vcpu *vcpu, u32 count)
{
	timer_start(vcpu, timer_count_to_ns(&vcpu->apic, count));
}

/* Without effect in TSC-deadline mode, SDM 3A 11.5.4.1 */
void lapic_timer_write_initial(struct vmm_vcpu *vcpu, u32 value)
{
	struct vmm_lapic *apic = &vcpu->apic;

	if (timer_mode(apic) == LVT_TIMER_DEADLINE)
		return;
	timer_sync(vcpu);
	lapic_set_reg(apic, LAPIC_TMICT, value);
	timer_start(vcpu, timer_period(apic) ?: timer_count_to_ns(apic, value));
}

/* The count goes on from where it is, at the new rate */
void lapic_timer_write_divide(struct vmm_vcpu *vcpu, u32 value)
{
	u32 count = lapic_timer_count(vcpu);

	lapic_set_reg(&vcpu->apic, LAPIC_TDCR, value);
	if (count)
		lapic_timer_restart(vcpu, count);
}

/*
 * To and from TSC-deadline mode disarms (SDM 3A 11.5.4.1). Between one-shot and
 * periodic CPUs keep counting, and look at the mode when the count ends.
 */
void lapic_timer_write_lvt(struct vmm_vcpu *vcpu, u32 value)
{
	struct vmm_lapic *apic = &vcpu->apic;
	u32 old;

	timer_sync(vcpu);
	old = timer_mode(apic);
	lapic_set_reg(apic, LAPIC_LVT_TIMER, value);
	if ((old ^ value) & LVT_TIMER_DEADLINE)
		lapic_timer_stop(vcpu);
	else
		timer_set_alarm(vcpu);
}

/* Ignored in the other modes, 0 disarms, SDM 3A 11.5.4.1 */
void lapic_timer_write_deadline(struct vmm_vcpu *vcpu, u64 value)
{
	if (timer_mode(&vcpu->apic) != LVT_TIMER_DEADLINE)
		return;
	timer_sync(vcpu);
	vcpu->apic.tsc_deadline = value;
	timer_sync(vcpu);
	timer_set_alarm(vcpu);
}
