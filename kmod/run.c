// SPDX-License-Identifier: GPL-2.0
/*
 * VMM_RUN: take what the monitor wrote, then turn between the two gears until
 * something is for the monitor.
 *
 * Fast gear: preemption off, guest FPU resident. Slow gear: preemptible, may
 * sleep and touch user memory. Injection is decided in one place, choose_event.
 */
#include <linux/sched/signal.h>
#include <linux/interrupt.h>
#include <linux/task_work.h>
#include <asm/kvm_para.h>
#include <asm/processor-flags.h>

#include "assert.h"
#include "lapic.h"
#include "trace.h"
#include "vmm.h"

#define FAST_REQUESTS	(BIT(REQ_NMI) | BIT(REQ_TIMER) | BIT(REQ_UNHALT))
#define STRETCH_EXITS	256

void vmm_kick(struct vmm_vcpu *vcpu)
{
	/* pairs with the barrier between MODE_GUEST and the last check */
	smp_mb();
	if (READ_ONCE(vcpu->mode) != MODE_GUEST) {
		if (wq_has_sleeper(&vcpu->wq))
			wake_up(&vcpu->wq);
		return;
	}
	/*
	 * One at a time: two senders must not queue the same IPI twice. Not
	 * preempted in between, so that vmm_wait_for_kick waits for CPUs only.
	 */
	preempt_disable();
	if (!atomic_xchg(&vcpu->kick_sent, 1) &&
	    smp_call_function_single_async(READ_ONCE(vcpu->cpu), &vcpu->csd))
		atomic_set(&vcpu->kick_sent, 0);	/* the CPU went offline */
	preempt_enable();
}

void vmm_wait_for_kick(struct vmm_vcpu *vcpu)
{
	while (atomic_read_acquire(&vcpu->kick_sent))
		cpu_relax();
}

void vmm_request(struct vmm_vcpu *vcpu, enum vmm_request req)
{
	set_bit(req, &vcpu->requests);
	vmm_kick(vcpu);
}

static bool take(struct vmm_vcpu *vcpu, enum vmm_request req)
{
	return test_bit(req, &vcpu->requests) &&
	       test_and_clear_bit(req, &vcpu->requests);
}

/* what others asked for becomes state: also before the state is read */
void vmm_take_requests(struct vmm_vcpu *vcpu)
{
	struct vmm_events *ev = &vcpu->ev;

	if (!READ_ONCE(vcpu->requests))
		return;
	if (take(vcpu, REQ_TIMER))
		vmm_lapic_timer_fired(vcpu);
	if (take(vcpu, REQ_NMI) && ev->nmi_pending < 2)
		ev->nmi_pending++;
	if (take(vcpu, REQ_UNHALT))
		ev->unhalted = 1;
	if (take(vcpu, REQ_INIT)) {
		ev->init_pending = 1;
		ev->sipi_pending = 0;
	}
	if (take(vcpu, REQ_SIPI)) {
		ev->sipi_pending = 1;
		ev->sipi_vector = READ_ONCE(vcpu->sipi_vector);
	}
}

/* INIT and SIPI, SDM 3A 9.4.4. INIT restarts the boot processor at once. */
static void act_on_init(struct vmm_vcpu *vcpu)
{
	struct vmm_events *ev = &vcpu->ev;
	struct vmm_sregs s;

	if (ev->init_pending && ev->run_state != VMM_STOPPED) {
		/* one that came behind the INIT is for the CPU that it reset */
		u8 sipi = ev->sipi_pending, vector = ev->sipi_vector;

		vmm_vcpu_reset(vcpu, true);
		ev->sipi_pending = sipi;
		ev->sipi_vector = vector;
	}
	if (ev->sipi_pending && ev->run_state == VMM_WAIT_SIPI) {
		vmm_sregs_get(vcpu, &s);
		s.seg[VMM_CS].selector = ev->sipi_vector << 8;
		s.seg[VMM_CS].base = ev->sipi_vector << 12;
		vmm_sregs_set(vcpu, &s);
		vcpu->rip = 0;
		ev->run_state = VMM_RUNNING;
	}
	/* a SIPI is dropped unless it is waited for */
	if (ev->run_state != VMM_WAIT_SIPI)
		ev->sipi_pending = 0;
}

static bool irqs_on(const struct vmm_vcpu *vcpu)
{
	return vcpu->rflags & X86_EFLAGS_IF;
}

static bool wants_extint(struct vmm_vcpu *vcpu)
{
	return vcpu->window_wanted && vmm_lapic_extint(vcpu);
}

/* would a halted vCPU wake for what it has now */
static bool wakes(struct vmm_vcpu *vcpu)
{
	const struct vmm_events *ev = &vcpu->ev;

	if (ev->type || (ev->nmi_pending && !ev->nmi_blocked) || ev->unhalted)
		return true;
	return irqs_on(vcpu) && (ev->extint_pending || wants_extint(vcpu) ||
				 vmm_lapic_wakes(vcpu));
}

static bool can_run(struct vmm_vcpu *vcpu)
{
	switch (vcpu->ev.run_state) {
	case VMM_RUNNING:
		return true;
	case VMM_HALTED:
		return wakes(vcpu);
	}
	return false;
}

static bool awake(struct vmm_vcpu *vcpu)
{
	return READ_ONCE(vcpu->requests) || can_run(vcpu);
}

/* in HLT or WAIT_SIPI; IRR may be set and the requests come from anywhere */
static int sleep(struct vmm_vcpu *vcpu)
{
	int r;

	vmm_count(vcpu, STAT_HALTS);
	vmm_lapic_timer_sleep(vcpu);
	r = vmm_halt(vcpu, awake);
	vmm_lapic_timer_wake(vcpu);
	return r;
}

/*
 * What the next entry delivers. An event queued or cut short goes first, then an
 * NMI; an interrupt is offered beside them and the guest takes it when it can:
 * the monitor's ExtINT before the APIC's, which are not offered to a CPU that looks
 * for them itself. -1: the monitor can have its window.
 */
static int choose_event(struct vmm_vcpu *vcpu)
{
	struct vmm_events *ev = &vcpu->ev;
	bool window = false;
	int vector = -1;

	vcpu->offer = -1;
	if (!ev->type && ev->nmi_pending && !ev->nmi_blocked) {
		if (ev->shadow)
			goto step;
		ev->nmi_pending--;
		ev->nmi_blocked = 1;
		ev->type = VMM_EVENT_NMI;
		ev->vector = 2;
		ev->has_error = 0;
	}
	/* what comes next may let an interrupt through that is held back now */
	if (!ev->type && vcpu->fact.kind == FACT_TPR_WRITE) {
		vcpu->watch_tpr = false;
		goto step;
	}
	if (ev->extint_pending) {
		vector = ev->extint_vector;
	} else if (wants_extint(vcpu)) {
		if (!ev->type && !ev->shadow && irqs_on(vcpu))
			return -1;
		window = true;
	} else {
		vcpu->watch_tpr = false;
		if (!vmm_lapic_auto(vcpu) && !vmm_lapic_idle(vcpu)) {
			vector = vmm_lapic_pending(vcpu);
			vcpu->watch_tpr = vector < 0 && vmm_lapic_held(vcpu) >= 0;
		}
	}
	/*
	 * STI and MOV SS hold interrupts for one instruction. Not every CPU takes
	 * that back from us at entry: run just that instruction, then deliver.
	 */
	if ((vector >= 0 || window) && ev->shadow && !ev->type && irqs_on(vcpu))
		goto step;
	vcpu->irq_window = window;
	vcpu->offer = vector;
	return 0;
step:
	vcpu->irq_window = false;
	vmm_op(step)(vcpu);
	return 0;
}

/*
 * What the APIC offers is in service from before the entry: the guest may take it
 * and be done with it without an exit, and what is sent from then on is another
 * one, that must not find the first still waiting.
 */
static void enter_with_offer(struct vmm_vcpu *vcpu)
{
	bool lapic = vcpu->offer >= 0 && !vcpu->ev.extint_pending;

	if (lapic)
		vmm_lapic_ack(vcpu, vcpu->offer);
	vmm_op(enter)(vcpu);
	if (vcpu->taken) {
		vmm_count(vcpu, STAT_INTERRUPTS);
		trace_vmm_inject(vcpu, VMM_EVENT_INTR, vcpu->offer, 0);
		if (!lapic)
			vcpu->ev.extint_pending = 0;
	} else if (lapic) {
		vmm_lapic_untaken(vcpu, vcpu->offer);
	}
}

/*
 * Signals, and what the kernel has left to do before this thread is back in
 * userspace. TIF_NOTIFY_RESUME itself is no sign: rseq sets it at every switch.
 */
static bool wanted_in_user(void)
{
	return signal_pending(current) || task_work_pending(current);
}

/* need_resched() and wanted_in_user() in one, since it is asked at each exit */
#define WORK_FLAGS	(_TIF_NEED_RESCHED | _TIF_SIGPENDING | _TIF_NOTIFY_SIGNAL)

static bool work_for_host(void)
{
	/*
	 * Newer kernels keep softirqs off, too, while the FPU is ours: those
	 * that an interrupt raised want us to leave.
	 */
	return read_thread_flags() & WORK_FLAGS || task_work_pending(current) ||
	       (in_softirq() && local_softirq_pending());
}

static void flush_if_stale(struct vmm_vcpu *vcpu)
{
	u64 gen = atomic64_read(&vcpu->vm->tlb_gen);

	if (vcpu->tlb_gen == gen)
		return;
	vcpu->tlb_gen = gen;
	vmm_count(vcpu, STAT_FLUSHES);
	vmm_op(flush)(vcpu);
}

/* the next entry delivers vcpu->ev */
static void injects(struct vmm_vcpu *vcpu)
{
	static const u8 stat[] = {
		[VMM_EVENT_INTR] = STAT_INTERRUPTS,
		[VMM_EVENT_NMI] = STAT_NMIS,
		[VMM_EVENT_EXCEPTION] = STAT_EXCEPTIONS,
	};
	const struct vmm_events *ev = &vcpu->ev;

	vmm_count(vcpu, stat[ev->type]);
	trace_vmm_inject(vcpu, ev->type, ev->vector, ev->has_error ? ev->error : 0);
}

/* 1: entered; 0: the host or a request wants the slow gear; -1: to the monitor */
static int enter_once(struct vmm_vcpu *vcpu)
{
	int r;

	if (READ_ONCE(vcpu->requests) & ~FAST_REQUESTS || work_for_host())
		return 0;
	vmm_take_requests(vcpu);
	r = choose_event(vcpu);
	if (r)
		return r;
	if (vcpu->pv.eoi & KVM_MSR_ENABLED && !vmm_pv_eoi_offer(vcpu))
		return 0;
	flush_if_stale(vcpu);
	/* whoever waited for a flush has gone on: it must be behind us, too */
	vmm_assert(vcpu->vm, vcpu->tlb_gen >= smp_load_acquire(&vcpu->vm->tlb_done));
	if (vcpu->ev.type)
		injects(vcpu);
	trace_vmm_entry(vcpu);
	enter_with_offer(vcpu);
	vmm_count(vcpu, vcpu->fact.kind);
	trace_vmm_exit(vcpu);
	return 1;
}

/* false: this CPU takes no guests, now or at all */
static bool gear_up(struct vmm_vcpu *vcpu)
{
	vmm_fpu_load(vcpu);	/* preemption is off from here */
	if (!vmm_cpu_open()) {
		vmm_fpu_put(vcpu);
		return false;
	}
	vmm_gear_load(vcpu);
	vmm_op(load)(vcpu);
	if (vcpu->cpu != smp_processor_id()) {
		/* one under way to the old CPU would hold back those to this one */
		vmm_wait_for_kick(vcpu);
		WRITE_ONCE(vcpu->cpu, smp_processor_id());
	}
	vmm_msr_load(vcpu);
	vmm_count(vcpu, STAT_GEARS);
	vcpu->loaded = true;
	return true;
}

static void gear_down(struct vmm_vcpu *vcpu)
{
	vcpu->loaded = false;
	vmm_msr_put(vcpu);
	vmm_op(put)(vcpu);
	vmm_gear_put(vcpu);
	vmm_fpu_put(vcpu);
}

static void wake(struct vmm_vcpu *vcpu)
{
	if (vcpu->ev.run_state == VMM_HALTED)
		vcpu->ev.unhalted = 0;
	vcpu->ev.run_state = VMM_RUNNING;
}

/*
 * The host takes interrupts now. Behind an exception, too: emulated CPUs may meet
 * the next one before they look for interrupts, and so on for ever.
 */
static bool stretch_over(struct vmm_vcpu *vcpu)
{
	/* a HLT that has been woken from already */
	if (vcpu->ev.run_state == VMM_HALTED && wakes(vcpu))
		wake(vcpu);
	return vcpu->fact.kind == FACT_HOST || vcpu->fact.kind == FACT_TIMER ||
	       vcpu->fact.kind == FACT_EXCEPTION || vcpu->ev.run_state != VMM_RUNNING;
}

/*
 * Entries and exits until the host wants the CPU. Interrupts stay off: one that
 * comes ends the guest's turn at once, or its next one before it begins. Whoever
 * sets a request or removes a mapping meanwhile sees MODE_GUEST and sends one.
 * Not for ever, for the reason above: a loop of writes to a doorbell is nothing
 * but exits that end here.
 *
 * 1: another stretch; 2: the slow gear first; 0: vcpu->fact wants the slow gear;
 * -1: to the monitor; -EIO: the hardware is not ours any more
 */
static int stretch(struct vmm_vcpu *vcpu)
{
	int left = STRETCH_EXITS, r;

	local_irq_disable();
	r = vmm_op(stretch_begin)(vcpu);
	if (r)
		goto out;
	WRITE_ONCE(vcpu->mode, MODE_GUEST);
	/* before anything is looked at that others change */
	smp_mb();
	do {
		r = enter_once(vcpu);
		if (r > 0)
			r = vmm_exit(vcpu);
		else if (r < 0)
			vmm_exit_to_user(vcpu, VMM_EXIT_WINDOW);
		else
			r = 2;
	} while (r == 1 && --left && !stretch_over(vcpu));
	smp_store_release(&vcpu->mode, MODE_OUT);
	vmm_op(stretch_end)(vcpu);
out:
	/* the host takes the interrupt that ended the guest's turn, if one did */
	local_irq_enable();
	return r;
}

/* as stretch, but for 1: to be prepared for again */
static int fast_gear(struct vmm_vcpu *vcpu)
{
	int r;

	if (!gear_up(vcpu))
		return 1;
	do {
		r = stretch(vcpu);
	} while (r == 1 && vcpu->ev.run_state == VMM_RUNNING);
	if (need_resched())
		vmm_pv_away(vcpu);
	gear_down(vcpu);
	return r;
}

/* what the guest reads, of `size` bytes: 32 bits clear the upper half, less leaves it */
static u64 merge(u64 old, u64 data, u8 size)
{
	u64 mask = GENMASK_ULL(size * 8 - 1, 0);

	return size == 4 ? (u32)data : (old & ~mask) | (data & mask);
}

/* the monitor has done, or (with a size) let us do, what the last exit asked for */
static void complete_exit(struct vmm_vcpu *vcpu, u64 data)
{
	u64 *reg = &vcpu->gpr[vcpu->pending.reg];

	if (vcpu->pending.size) {
		if (vcpu->pending.in)
			*reg = merge(*reg, data, vcpu->pending.size);
		vcpu->rip = vcpu->pending.next_rip;
	}
	vmm_skip(vcpu, 0);
}

/* the run page is shared: copy once, check all, then use. 0 or -EINVAL, -EBUSY */
static int take_input(struct vmm_vcpu *vcpu)
{
	struct vmm_run *run = vcpu->run;
	u32 flags = READ_ONCE(run->flags);
	u32 set = READ_ONCE(run->set);
	u32 extint = READ_ONCE(run->extint);
	u64 data = vcpu->pending.reason == VMM_EXIT_MMIO ? READ_ONCE(run->exit.mmio.data) :
							   READ_ONCE(run->exit.io.data);
	/* each filled where it is wanted, which is seldom */
	struct vmm_events events __uninitialized;
	struct vmm_sregs sregs __uninitialized;

	if (flags & ~(VMM_RUN_COMPLETE | VMM_RUN_WINDOW | VMM_RUN_EXTINT | VMM_RUN_MOV) ||
	    set & ~(VMM_STATE_REGS | VMM_STATE_SREGS | VMM_STATE_EVENTS))
		return -EINVAL;
	if (flags & VMM_RUN_COMPLETE && !vcpu->pending.reason)
		return -EINVAL;
	if (set & VMM_STATE_SREGS) {
		memcpy(&sregs, &run->sregs, sizeof(sregs));
		barrier();
		if (vmm_sregs_check(&sregs))
			return -EINVAL;
	}
	if (set & VMM_STATE_EVENTS) {
		memcpy(&events, &run->events, sizeof(events));
		barrier();
		if (vmm_events_check(&events))
			return -EINVAL;
	}
	if (flags & VMM_RUN_EXTINT) {
		if (extint > 255)
			return -EINVAL;
		if (vcpu->ev.type || vcpu->ev.extint_pending || vcpu->ev.shadow ||
		    !irqs_on(vcpu) || flags & VMM_RUN_COMPLETE || set)
			return -EBUSY;
	}
	/* any values will do, so each is copied but once and not looked at */
	if (set & VMM_STATE_REGS)
		vmm_regs_set(vcpu, &run->regs);
	if (set & VMM_STATE_SREGS)
		vmm_sregs_set(vcpu, &sregs);
	if (set & VMM_STATE_EVENTS)
		vmm_events_set(vcpu, &events);
	if (flags & VMM_RUN_COMPLETE)
		complete_exit(vcpu, data);
	if (flags & VMM_RUN_EXTINT) {
		vcpu->ev.extint_pending = 1;
		vcpu->ev.extint_vector = extint;
	}
	vcpu->window_wanted = flags & VMM_RUN_WINDOW;
	vcpu->mov_wanted = flags & VMM_RUN_MOV;
	vcpu->pending.reason = VMM_EXIT_NONE;
	WRITE_ONCE(run->flags, 0);
	WRITE_ONCE(run->set, 0);
	return 0;
}

/* slow gear, before the next turn. 1: turn; 0: again; -1: monitor; -EINTR, -ESHUTDOWN */
static int prepare(struct vmm_vcpu *vcpu)
{
	vmm_take_requests(vcpu);
	if (vcpu->pv.eoi_vector)
		vmm_pv_eoi_disarm(vcpu);
	if (vcpu->ev.init_pending || vcpu->ev.sipi_pending)
		act_on_init(vcpu);
	if (READ_ONCE(vcpu->requests)) {
		if (take(vcpu, REQ_KICK)) {
			vmm_exit_to_user(vcpu, VMM_EXIT_KICK);
			return -1;
		}
		if (take(vcpu, REQ_APIC))
			vmm_apic_access_moved(vcpu);
		if (take(vcpu, REQ_CLOCK))
			vmm_clock_update(vcpu);
		if (take(vcpu, REQ_WALL))
			vmm_clock_wall(vcpu);
	}
	if (wanted_in_user())
		return -EINTR;
	if (vmm_host_closed())
		return -ESHUTDOWN;
	if (vcpu->ev.run_state == VMM_STOPPED) {
		vmm_exit_to_user(vcpu, VMM_EXIT_SHUTDOWN);
		return -1;
	}
	if (!can_run(vcpu))
		return sleep(vcpu) ? -EINTR : 0;
	wake(vcpu);
	if (vcpu->pv.steal)
		vmm_pv_back(vcpu);
	return 1;
}

/* 0: the run page says why; -errno */
static int turns(struct vmm_vcpu *vcpu)
{
	int r;

	for (;;) {
		r = prepare(vcpu);
		if (r == -EINTR || r == -ESHUTDOWN)
			return r;
		if (r > 0)
			r = fast_gear(vcpu);
		else if (!r)
			continue;
		if (!r)
			r = vmm_exit(vcpu);
		if (r < 0)
			return r == -EIO ? r : 0;
		cond_resched();
	}
}

int vmm_run(struct vmm_vcpu *vcpu)
{
	int r;

	if (READ_ONCE(vcpu->vm->broken))
		return -EIO;
	vmm_count(vcpu, STAT_RUNS);
	r = take_input(vcpu);
	if (r)
		return r;
	WRITE_ONCE(vcpu->run->reason, VMM_EXIT_NONE);
	WRITE_ONCE(vcpu->run->valid, 0);
	if (READ_ONCE(vcpu->run->kick)) {
		vmm_exit_to_user(vcpu, VMM_EXIT_KICK);
		return 0;
	}
	if (vcpu->thread != task_pid(current))
		vmm_thread_is(vcpu, task_pid(current));
	r = turns(vcpu);
	/* the guest's EOIs are ours to hear while its state may be read */
	if (vcpu->pv.eoi_vector)
		vmm_pv_eoi_disarm(vcpu);
	return r;
}
