/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Counters: what vCPUs did since they were made. Each is a word of its vCPU that
 * only one thread at a time adds to, the one that runs it or its IPI's handler,
 * without locks or atomic instructions; whoever reads it finds it some
 * instructions late. A new one is a line here, with the name that users see.
 */
#ifndef VMM_STATS_H
#define VMM_STATS_H

#include <linux/types.h>

/* exits by what the vendor reported: as enum vmm_fact_kind, FACT_NONE first */
#define VMM_FACT_STATS(x)						\
	x(NONE, "exit_internal") x(HOST, "exit_host")			\
	x(CPUID, "exit_cpuid") x(HLT, "exit_hlt") x(MSR, "exit_msr")	\
	x(IO, "exit_io") x(NPF, "exit_page_fault")			\
	x(APIC_ACCESS, "exit_apic_access") x(STEP, "exit_step")	\
	x(EOI, "exit_eoi") x(APIC_WRITE, "exit_apic_write")		\
	x(TPR_WRITE, "exit_tpr") x(CR4, "exit_cr4")			\
	x(EXCEPTION, "exit_exception") x(UNDEFINED, "exit_undefined")	\
	x(NOP, "exit_wbinvd") x(XSETBV, "exit_xsetbv")			\
	x(RDPMC, "exit_rdpmc") x(TIMER, "exit_timer")			\
	x(PAUSE, "exit_pause") x(HYPERCALL, "exit_hypercall")		\
	x(TASK_SWITCH, "exit_task_switch") x(SHUTDOWN, "exit_shutdown")	\
	x(ENTRY_FAILED, "exit_entry_failed") x(UNKNOWN, "exit_unknown")

#define VMM_OTHER_STATS(x)						\
	x(RUNS, "runs")			/* VMM_RUN */			\
	x(USER_EXITS, "user_exits")	/* of it with something for the monitor */ \
	x(GEARS, "gear_changes")	/* into the fast gear */	\
	x(INTERRUPTS, "interrupts")	/* delivered to the guest */	\
	x(NMIS, "nmis")							\
	x(EXCEPTIONS, "exceptions")	/* injected */			\
	x(FAULTS, "faults")		/* pages mapped */		\
	x(HALTS, "halts")		/* slept in HLT or WAIT_SIPI */	\
	x(KICKS, "kicks")		/* IPIs that ended its turn */	\
	x(FLUSHES, "tlb_flushes")					\
	x(IPIS, "ipis")			/* sent by the guest */

enum vmm_stat_index {
#define VMM_STAT_ENUM(name, text)	STAT_##name,
	VMM_FACT_STATS(VMM_STAT_ENUM)
	VMM_OTHER_STATS(VMM_STAT_ENUM)
	VMM_NSTATS
};

struct vmm_vm;
struct vmm_vcpu;
struct dentry;

/* of the vCPU's thread, or of its kick's handler for STAT_KICKS */
#define vmm_count(vcpu, stat)	((void)(vcpu)->stats[stat]++)

/* VMM_GET_STATS, vcpu is NULL; VMM_GET_VCPU_STATS */
long vmm_stats_get(struct vmm_vm *vm, struct vmm_vcpu *vcpu, void __user *p);

/* debugfs: what these cannot make is missing there, and that is all */
void vmm_stats_init(void);
void vmm_stats_exit(void);
void vmm_stats_add_vm(struct vmm_vm *vm);
void vmm_stats_add_vcpu(struct vmm_vcpu *vcpu);
/* nobody reads them any more when this returns; before what they show goes */
void vmm_stats_remove(struct vmm_vm *vm);

#endif /* VMM_STATS_H */
