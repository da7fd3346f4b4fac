/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the files of this room share; nobody outside includes it. Fields, controls
 * and their bits have the kernel's names (asm/vmx.h, from SDM 3C appendix B).
 *
 *   vmx.c    ops table, vCPU's life     caps.c   what this CPU can
 *   on.c     VMX operation, VMCS        host.c   the host's half of the VMCS
 *   run.c    entry and exit             exit.c   what an exit means
 *   state.c  registers in the VMCS      enter.S  the world switch
 *   why.c    why an entry was refused: the guest's state   why_control.c  ours
 *   apic.c   interrupts by the CPU      pml.c    log of the pages written
 */
#ifndef VMM_VMX_H
#define VMM_VMX_H

#include <linux/bits.h>
#include <linux/percpu.h>
#include <asm/trapnr.h>
#include <asm/vmx.h>

#include "vmm.h"

/*
 * #DB and #AC could repeat for ever inside the CPU (CVE-2015-5307, -8104); #MC
 * is the host's.
 */
#define VMX_EXCEPTIONS	(BIT(X86_TRAP_DB) | BIT(X86_TRAP_AC) | BIT(X86_TRAP_MC))

/* bits of GUEST_PENDING_DBG_EXCEPTIONS and of a #DB's qualification */
#define PENDING_DBG_BS		BIT(14)

/* in CR0 the host's, whatever the guest writes; it sees its own through the shadow */
#define VMX_CR0_HELD	(X86_CR0_NE | X86_CR0_CD | X86_CR0_NW)

/* system call MSRs, which the VMCS does not switch; STAR to SFMASK in their order */
#define VMX_NSYSCALL	4

struct vmx_caps {
	u32 revision;
	u32 pin, proc, proc2, exit, entry;	/* what every vCPU begins with */
	u64 ept_vpid;
	u64 cr4_fixed0;
	bool virt_intr;				/* interrupts delivered by the CPU */
	u8 timer_shift;				/* preemption timer: TSC ticks >> this */
};

extern struct vmx_caps vmx_caps;

/* 64 bits each, of the EOI-exit bitmap */
#define VMX_NEOI	4

struct vmx_vcpu {
	void *vmcs;			/* the region; its contents are the CPU's */
	u64 vmcs_pa;
	u8 *apic_page;			/* virtual-APIC page */
	u64 *pml;			/* log, or NULL: the CPU has none */
	bool open;			/* VMX is on and this VMCS current, irqs off */
	bool launched;			/* since the last VMCLEAR */
	bool flush;			/* guest TLB, before the next entry */
	bool nmi;			/* the host's has ended the guest's turn */
	bool step;			/* nothing is delivered before one instruction */
	bool host_stale;		/* host half is another CPU's */
	u16 vpid;			/* 0: had none left */
	u64 eptp;
	/* what the VMCS holds, so that only changes are written */
	u64 rip, rsp, rflags, dr7, tsc_offset;
	u32 interruptibility, proc, proc2, tpr_threshold, timer;
	u16 intr_status;
	/* apic.c: what the controls were chosen by; for base 0 all is 0 */
	u64 apic_base;
	bool apic_auto;
	u32 apic_proc2;
	u64 msr_bitmap, eoi_exits[VMX_NEOI];
	bool all_eois_exit;
	bool mov_ss;			/* the shadow is MOV SS's, not STI's */
	u64 pending_dbg;
	u64 host_cr3;			/* these two: as the VMCS has them */
	u64 vmcs_fs_base;
	u32 exit_reason;
	u32 injected;			/* by the last entry, or 0 */
	u64 exit_qualification;		/* of an entry that failed */
	/* not in the VMCS */
	u64 syscall[VMX_NSYSCALL];
	u64 kernel_gs_base;
	u64 pat;			/* EPT has all memory write-back: only shown */
	/* while loaded: what of the host's an exit destroys */
	u64 host_kernel_gs_base, host_fs_base;
	u16 host_ds, host_es, host_fs, host_gs, host_ldt;
};

struct vmx_cpu {
	void *vmxon;			/* VMXON region: the CPU's own */
	u64 host_syscall[VMX_NSYSCALL];
	unsigned long cr4;		/* before VMXON, while on */
	u64 foreign;			/* somebody else's current VMCS */
	u64 debugctl, pebs;		/* during a stretch: the host's */
	bool shared;			/* VMX was on already, and stays on */
};

DECLARE_PER_CPU(struct vmx_cpu, vmx_cpus);

static inline struct vmx_vcpu *to_vmx(struct vmm_vcpu *vcpu)
{
	return vcpu->arch;
}

static __always_inline u64 vmcs_read(unsigned long field)
{
	u64 value = 0;

	asm volatile("vmread %1, %0" : "+r"(value) : "r"(field) : "cc");
	return value;
}

/* A field that the CPU has not: it cannot be meant, so nothing is lost. */
static __always_inline void vmcs_write(unsigned long field, u64 value)
{
	asm volatile("vmwrite %1, %0" : : "r"(field), "r"(value) : "cc");
}

#define WRITE_IF_CHANGED(cached, field, value)		\
	do {						\
		typeof(cached) new_value = (value);	\
							\
		if ((cached) != new_value) {		\
			(cached) = new_value;		\
			vmcs_write(field, new_value);	\
		}					\
	} while (0)

/* on.c */
/*
 * Make the vCPU's VMCS the current one, and VMX operation that goes with it:
 * interrupts are off until vmx_close. Nests. False: it cannot be had.
 */
struct vmx_hold {
	unsigned long flags;
	bool outer;
};

bool vmx_open(struct vmm_vcpu *vcpu, struct vmx_hold *hold);
void vmx_close(struct vmm_vcpu *vcpu, struct vmx_hold *hold);
int vmx_stretch_begin(struct vmm_vcpu *vcpu);
void vmx_stretch_end(struct vmm_vcpu *vcpu);
int vmx_cpu_enable(void);
void vmx_cpu_disable(void);
int vmx_cpus_alloc(void);
void vmx_cpus_free(void);
void vmx_flush_now(struct vmx_vcpu *vmx);

/* caps.c */
int vmx_check(void);
int vmx_caps_read(struct vmx_caps *caps);	/* this CPU's; -EOPNOTSUPP, told why */
u64 vmx_features(void);

/* vmx.c: the MSR bitmap, SDM 3C 25.6.9 */
#define VMX_MSR_READ	BIT(0)
#define VMX_MSR_WRITE	BIT(1)
void vmx_bitmap_allow(u8 *bitmap, u32 msr, u32 how);
u64 vmx_msr_bitmap_pa(void);

/* apic.c; without vmx_caps.virt_intr nothing is done */
#define VMX_APIC_CONTROLS	(SECONDARY_EXEC_VIRTUALIZE_APIC_ACCESSES | \
				 SECONDARY_EXEC_VIRTUALIZE_X2APIC_MODE | \
				 SECONDARY_EXEC_APIC_REGISTER_VIRT | \
				 SECONDARY_EXEC_VIRTUAL_INTR_DELIVERY)	/* by mode */
bool vmx_apic_caps(u32 *proc2);		/* takes them out; true: there were all */
int vmx_apic_setup(const u8 *msr_bitmap);
void vmx_apic_teardown(void);
void vmx_apic_create(struct vmm_vcpu *vcpu);
u32 vmx_apic_before_entry(struct vmm_vcpu *vcpu);	/* -> secondary controls */
void vmx_apic_after_exit(struct vmm_vcpu *vcpu);
u32 vmx_apic_window(struct vmm_vcpu *vcpu);	/* -> primary control */
bool vmx_apic_level(const struct vmx_vcpu *vmx, u8 vector);	/* by the page's TMR */
u32 vmx_apic_vectoring(struct vmm_vcpu *vcpu, u32 info);	/* IDT-vectoring, as it is */

/* host.c */
void vmx_host_load(struct vmm_vcpu *vcpu);	/* gear up */
void vmx_host_put(struct vmm_vcpu *vcpu);	/* gear down */
void vmx_host_write(struct vmx_vcpu *vmx);	/* its half of the VMCS, if stale */
void vmx_host_constant(void);			/* what no CPU changes */
void vmx_host_tracing(struct vmx_cpu *c, bool on);	/* off while guests run */
void vmx_host_cpu(struct vmx_cpu *c);		/* what a CPU does not change */
int vmx_syscall_slot(u32 index);		/* into syscall[], or -1 */

/* enter.S: 0, or 1: the VM entry failed before it began */
asmlinkage int vmx_enter(u64 *gpr, bool launched);
extern const char vmx_exited[];

/* run.c */
void vmx_vcpu_enter(struct vmm_vcpu *vcpu);
void vmx_step(struct vmm_vcpu *vcpu);

/* exit.c */
void vmx_fact_of_exit(struct vmm_vcpu *vcpu);
void vmx_fact_raw(struct vmm_vcpu *vcpu, enum vmm_fact_kind kind);

/* pml.c */
int vmx_pml_create(struct vmx_vcpu *vmx);	/* 0 or -ENOMEM */
void vmx_pml_destroy(struct vmx_vcpu *vmx);
void vmx_pml_write_fields(const struct vmx_vcpu *vmx);
void vmx_pml_drain(struct vmm_vcpu *vcpu);

/* why.c */
void vmx_why(struct vmm_vcpu *vcpu, char *text, u32 size);

/* state.c */
u64 vmx_get_cr(struct vmm_vcpu *vcpu, int n);
u64 vmx_get_efer(struct vmm_vcpu *vcpu);
void vmx_get_segment(struct vmm_vcpu *vcpu, int n, struct vmm_segment *s);
void vmx_get_sregs(struct vmm_vcpu *vcpu, struct vmm_sregs *s);
void vmx_set_sregs(struct vmm_vcpu *vcpu, const struct vmm_sregs *s);
int vmx_get_msr(struct vmm_vcpu *vcpu, u32 index, u64 *value);
int vmx_set_msr(struct vmm_vcpu *vcpu, u32 index, u64 value);

#endif
