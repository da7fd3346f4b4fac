// SPDX-License-Identifier: GPL-2.0
/*
 * Guests that wait. One that halts has its CPU kept for a moment, if nobody else
 * wants that, because to sleep and wake costs more. One that spins gives its CPU
 * to a vCPU of the same VM that has none.
 */
#include <linux/ktime.h>
#include <linux/moduleparam.h>
#include <linux/pid.h>
#include <linux/sched/signal.h>
#include <linux/sched/stat.h>
#include <linux/sched/task.h>

#include "vmm.h"

static unsigned int halt_poll_ns = 200000;
module_param(halt_poll_ns, uint, 0644);
MODULE_PARM_DESC(halt_poll_ns, "how long a halted vCPU polls before it sleeps, at most; 0: never");

#define POLL_START_NS	10000

/* ---- HLT ------------------------------------------------------------------------ */

static bool cpu_wanted(void)
{
	return need_resched() || !single_task_running();
}

/*
 * The window doubles while the vCPU wakes soon after it fell asleep, so that the
 * next time it would not have to, and halves when it sleeps long.
 */
static void adapt(struct vmm_vcpu *vcpu, u64 slept, u32 max)
{
	if (slept > max) {
		vcpu->poll_ns /= 2;
		if (vcpu->poll_ns < POLL_START_NS)
			vcpu->poll_ns = 0;
	} else if (slept > vcpu->poll_ns) {
		vcpu->poll_ns = max_t(u32, vcpu->poll_ns * 2, POLL_START_NS);
	}
}

/* poll, then sleep until done(vcpu); 0, or -ERESTARTSYS: a signal came first */
int vmm_halt(struct vmm_vcpu *vcpu, bool (*done)(struct vmm_vcpu *vcpu))
{
	u32 max = vcpu->pv.poll ? READ_ONCE(halt_poll_ns) : 0;
	ktime_t start;
	u64 window;
	int r;

	if (done(vcpu))
		return 0;
	start = ktime_get();
	window = min(vcpu->poll_ns, max);
	while (window && !cpu_wanted() && !signal_pending(current) &&
	       ktime_get() - start < window) {
		cpu_relax();
		if (done(vcpu))
			return 0;
	}
	vmm_pv_away(vcpu);
	r = wait_event_interruptible(vcpu->wq, done(vcpu));
	if (max)
		adapt(vcpu, ktime_get() - start, max);
	return r;
}

/* ---- directed yield --------------------------------------------------------------- */

/* in RUN, by the thread that is to be yielded to */
void vmm_thread_is(struct vmm_vcpu *vcpu, struct pid *pid)
{
	struct pid *old = vcpu->thread;

	spin_lock(&vcpu->thread_lock);
	vcpu->thread = get_pid(pid);
	spin_unlock(&vcpu->thread_lock);
	put_pid(old);
	vcpu->pv.new_thread = true;
}

/* 1: it has got our CPU, or another; 0: it cannot use one; -ESRCH: no need */
int vmm_yield_to(struct vmm_vcpu *target)
{
	struct task_struct *task;
	struct pid *pid;
	int r;

	/* those that run or sleep are not worth the scheduler's locks */
	if (READ_ONCE(target->mode) == MODE_GUEST || waitqueue_active(&target->wq))
		return 0;
	spin_lock(&target->thread_lock);
	pid = get_pid(target->thread);
	spin_unlock(&target->thread_lock);
	task = get_pid_task(pid, PIDTYPE_PID);
	put_pid(pid);
	if (!task)
		return 0;
	r = yield_to(task, true);
	put_task_struct(task);
	return r;
}

/* Whom it waits for nobody can say: go round, where the last one left off. */
void vmm_spin(struct vmm_vcpu *vcpu)
{
	struct vmm_vm *vm = vcpu->vm;
	u32 top = READ_ONCE(vm->top), next = READ_ONCE(vm->last_yield), i;

	for (i = 0; i < top; i++) {
		struct vmm_vcpu *target;

		next = next + 1 < top ? next + 1 : 0;
		target = vmm_vm_vcpu(vm, next);
		if (target && target != vcpu && vmm_yield_to(target) > 0) {
			WRITE_ONCE(vm->last_yield, next);
			return;
		}
	}
}
