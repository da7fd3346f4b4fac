// SPDX-License-Identifier: GPL-2.0
/*
 * The host's CPUs come and go, it sleeps, it goes down: the hardware is on where
 * guests may run and off everywhere else, and no vCPU meets it off.
 *
 * Whether a CPU is open changes in its own hotplug thread, or while every task
 * is frozen. So the fast gear, with preemption off, needs to look only once.
 *
 * CPUs go offline: a vCPU's thread may still be there when its CPU closes, since
 * the scheduler has yet to push it away; it sees that and schedules.
 *
 * Suspend and hibernation: all CPUs but one go offline, that one passes through
 * host_sleep() with interrupts off and no task left that could run a guest. What
 * an image holds, and what the firmware gives back, is a CPU with SVM off.
 * Suspend to idle does neither and needs neither: a CPU that idles keeps its
 * registers. Its TSC runs on, and guests see that.
 *
 * Reboot, halt, power off, kexec: the reboot notifier. Firmware and the next
 * kernel find the CPUs as they were before insmod.
 *
 * Not so after a crash, with or without a kernel that takes the dump: its other
 * CPUs are stopped by NMI, and the hook for hypervisors to have a say there is
 * KVM's alone on newer kernels. SVM may stay on, then. That hurts nobody: GIF is
 * set wherever an NMI is taken, so INIT still starts those CPUs, and the page at
 * VM_HSAVE_PA is written by VMRUN only, which nobody executes. (Some kernels
 * switch SVM off there themselves.) A vendor whose CPUs would not take INIT must
 * leave its mode before interrupts or NMIs reach the host.
 */
#define pr_fmt(fmt) "vmm: " fmt

#include <linux/cpu.h>
#include <linux/cpuhotplug.h>
#include <linux/percpu.h>
#include <linux/preempt.h>
#include <linux/reboot.h>
#include <linux/syscore_ops.h>
#include <asm/msr.h>

#include "compat.h"
#include "vmm.h"

u64 vmm_tsc_gap __read_mostly;

static DEFINE_PER_CPU(bool, cpu_open);
static bool host_closed;
static int host_cpuhp;		/* 0: not registered */
static u64 asleep_tsc;

bool vmm_cpu_open(void)
{
	return this_cpu_read(cpu_open);
}

bool vmm_host_closed(void)
{
	return READ_ONCE(host_closed);
}

u64 vmm_host_tsc(void)
{
	return rdtsc() + vmm_tsc_gap;
}

static int open_cpu(void)
{
	int r = vmm_ops->cpu_enable();

	vmm_msr_open_cpu();
	this_cpu_write(cpu_open, !r);
	return r;
}

static void close_cpu(void)
{
	this_cpu_write(cpu_open, false);
	vmm_ops->cpu_disable();
}

static int host_online(unsigned int cpu)
{
	int r;

	preempt_disable();
	r = open_cpu();
	preempt_enable();
	return r;
}

static int host_offline(unsigned int cpu)
{
	preempt_disable();
	close_cpu();
	preempt_enable();
	return 0;
}

/* The last CPU, interrupts off. */
static int host_sleep(VMM_SYSCORE_ARG)
{
	close_cpu();
	asleep_tsc = vmm_host_tsc();
	return 0;
}

/*
 * Guests do not see the host's sleep: their clocks stand still as CLOCK_MONOTONIC
 * does, whether the TSC ran on or started anew.
 */
static void host_wake(VMM_SYSCORE_ARG)
{
	int r;

	vmm_tsc_gap = asleep_tsc - rdtsc();
	r = open_cpu();
	if (!r)
		return;
	WRITE_ONCE(host_closed, true);
	pr_err("cannot switch %s on after the host's sleep (error %d): virtual machines cannot go on; reboot, or end them and insmod vmm.ko again\n",
	       vmm_ops->name, r);
}

VMM_SYSCORE(host_syscore, .suspend = host_sleep, .resume = host_wake);

static void close_cpus(void)
{
	if (host_cpuhp)
		cpuhp_remove_state(host_cpuhp);
	host_cpuhp = 0;
}

/* Tasks still run, in guests too: they leave with an error. */
static int host_reboot(struct notifier_block *nb, unsigned long event, void *data)
{
	WRITE_ONCE(host_closed, true);
	close_cpus();
	return NOTIFY_DONE;
}

static struct notifier_block host_reboot_nb = { .notifier_call = host_reboot };

int vmm_host_enable(void)
{
	int r = cpuhp_setup_state(CPUHP_AP_ONLINE_DYN, "vmm:online", host_online,
				  host_offline);

	if (r < 0)
		return r;
	host_cpuhp = r;
	register_syscore(&host_syscore);
	register_reboot_notifier(&host_reboot_nb);
	return 0;
}

void vmm_host_disable(void)
{
	unregister_reboot_notifier(&host_reboot_nb);
	unregister_syscore(&host_syscore);
	close_cpus();
}
