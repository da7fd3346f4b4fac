/* SPDX-License-Identifier: GPL-2.0 */
/*
 * vmm: the objects and the rooms of the module.
 *
 *   main.c   /dev/vmm, module load        host.c   hotplug, suspend, reboot
 *   vm.c     VM fd                        vcpu.c   vCPU fd
 *   run.c    the run loop, two gears
 *   state.c  get/set state                exit.c   what an exit does
 *   cpuid.c msr.c clock.c insn.c          fpu.c    guest FPU residency
 *   walk.c   guest page tables            task.c   task switches
 *   fetch.c  guest instruction bytes
 *   gear.c   what of the CPU a change of gear moves
 *   mem.c    gpa -> hva map, notifier     maptable.c  its arithmetic
 *   npt.c    nested page tables           npt_fault.c npt_host.c npt_split.c
 *   dirty.c  pages written and accessed
 *   lapic.c  local APIC                   lapic_timer.c lapic_state.c
 *   lapic_page.c lapic_access.c  as CPUs have it that deliver interrupts
 *   irq_route.c  IPIs and MSIs to vCPUs
 *   stats.c  counters                     trace.c  trace events
 *   pv.c hypercall.c  KVM's paravirtual ABI   wait.c  guests that halt or spin
 *   doorbell.c   guest writes to eventfds  coalesce.c  and to a ring
 *   irqfd.c      eventfds to MSIs
 *   svm/ vmx/  reached through vmm_ops only
 *
 * Lock order, outermost first:
 *   vcpu->lock (mutex)  >  vm->lock (mutex)  >  vm->mmu_lock (rwlock)
 *   vm->track_lock (mutex, with none of the other two)  >  vm->mmu_lock
 * A letter on a field says what guards it:
 *   L  vm->lock                 V  vcpu->lock (held by RUN and get/set state)
 *   M  vm->mmu_lock             a  atomic     c  constant after creation
 *   F  vm->flush_lock (innermost)    T  vm->track_lock
 *   s  written under L, read under SRCU or after a publishing store
 *   T  vcpu->thread_lock (innermost)
 */
#ifndef VMM_H
#define VMM_H

#include <linux/cpumask.h>
#include <linux/hrtimer.h>
#include <linux/kref.h>
#include <linux/mm_types.h>
#include <linux/mmu_notifier.h>
#include <linux/mutex.h>
#include <linux/smp.h>
#include <linux/spinlock.h>
#include <linux/srcu.h>
#include <linux/static_call.h>
#include <linux/types.h>
#include <linux/wait.h>
#include <linux/vmm.h>

#include "maptable.h"
#include "stats.h"

#define VMM_MAX_VCPUS	64
#define VMM_MAX_MAPS	4096
#define VMM_MAX_DOORBELLS	1024
#define VMM_MAX_COALESCED	64
#define VMM_MAX_GSIS	VMM_MAX_GSI

struct pid;
struct vm_area_struct;
struct vmm_vm;
struct vmm_vcpu;

/* ---- facts: what the vendor reports of an exit --------------------------- */

enum vmm_fact_kind {
	FACT_NONE,		/* nothing to do */
	FACT_HOST,		/* the host wants the CPU: interrupt, NMI taken */
	FACT_CPUID,
	FACT_HLT,
	FACT_MSR,		/* msr.write */
	FACT_IO,		/* io */
	FACT_NPF,		/* npf */
	FACT_APIC_ACCESS,	/* npf: for the APIC, but not done by the CPU */
	FACT_STEP,		/* one instruction ran, as asked */
	FACT_EOI,		/* eoi: done, and the monitor is to hear of it */
	FACT_APIC_WRITE,	/* apic: the guest has written to the page */
	FACT_TPR_WRITE,		/* CR8 is about to be written, as watched for */
	FACT_CR4,		/* cr4.write */
	FACT_EXCEPTION,		/* exc: give it back to the guest */
	FACT_UNDEFINED,		/* an instruction guests may not have: #UD */
	FACT_NOP,		/* skip it: WBINVD, INVD */
	FACT_XSETBV,
	FACT_RDPMC,
	FACT_TIMER,		/* the TSC deadline has come, or a long time passed */
	FACT_PAUSE,		/* a loop of PAUSEs: it waits for another vCPU */
	FACT_HYPERCALL,
	FACT_TASK_SWITCH,	/* task: do it in the CPU's place */
	FACT_SHUTDOWN,		/* triple fault */
	FACT_ENTRY_FAILED,	/* raw */
	FACT_UNKNOWN,		/* raw */
};

enum vmm_task_by {		/* what began it, SDM 3C table 28-2 */
	TASK_BY_CALL,
	TASK_BY_IRET,
	TASK_BY_JMP,
	TASK_BY_GATE,		/* a task gate in the IDT */
};

struct vmm_fact {
	enum vmm_fact_kind kind;
	u8 insn_len;		/* 0: not told; insn.c finds it */
	union {
		struct {
			u16 port;
			u8 size;
			bool in;
			bool string;
		} io;
		struct {
			bool write;
		} msr;
		struct {
			bool write;
			bool wide;	/* 64 bits; this and the next: insn.c */
			u8 reg;		/* enum vmm_gpr */
		} cr4;
		struct {
			u64 gpa;
			u32 access;	/* VMM_ACCESS_* */
		} npf;
		struct {
			u8 vector;
		} eoi;
		struct {
			u16 offset;	/* in the APIC's page */
		} apic;
		struct {
			u8 vector;
			bool has_error;
			u32 error;
		} exc;
		/*
		 * RIP and RFLAGS are what the old task is to go on with, except
		 * that insn_len is still to be added to RIP: that of CALL, JMP,
		 * IRET, INT n, INT3, INTO, INT1; 0 for other events. The event
		 * is none that vcpu->ev still holds.
		 */
		struct {
			u16 selector;	/* of the new TSS */
			u8 by;		/* enum vmm_task_by */
			u8 event;	/* enum vmm_event_type; NONE: instruction */
			u8 vector;	/* of the event */
			bool has_error;	/* the new task finds it on its stack */
			u32 error;
		} task;
		struct vmm_exit_raw raw;
	};
};

/* ---- memory: mem.c, npt.c -------------------------------------------------- */

struct vmm_maps {		/* immutable once published; see maptable.h */
	struct rcu_head rcu;
	u32 count;
	struct vmm_mapping map[];
};

/* ---- local APIC: lapic.c --------------------------------------------------- */

struct vmm_lapic {
	u64 base;		/* V  IA32_APIC_BASE */
	u64 tsc_deadline;	/* V  guest TSC; 0 disarmed */
	u32 regs[64];		/* V; IRR and TMR words are bit-atomic (a) */
	u32 *page;		/* c  of a CPU that delivers by itself: register n at 16 n */
	bool in_page;		/* V  ISR is there, and IRR but for what came since */
	bool stray;		/* M  it is not where the VM's access page is */
	u16 status;		/* V  meanwhile: guest interrupt status, RVI and SVI */
	bool irr_pending;	/* a  maybe something in IRR */
	unsigned long errors;	/* a  logged, not yet in the error status */
	struct hrtimer timer;	/*    alarm only; the truth is below */
	bool timer_running;	/* V  counting, in one-shot or periodic mode */
	ktime_t timer_target;	/* V  when the count reaches 0 */
};

/* ---- guest page tables: walk.c, fetch.c ------------------------------------- */

struct vmm_mmu {		/* what a walk depends on */
	u64 cr0, cr3, cr4, efer;
};

#define VMM_WALK_LEVELS	5
#define VMM_CODE_PAGES	8	/* whose walks are remembered */

/* fetch.c: a walk to a page of code, and all that it read */
struct vmm_code_page {
	bool valid;
	u8 levels;
	u64 va;
	struct vmm_mmu mmu;
	u64 maps_gen;		/* vm->maps_gen when the addresses were looked up */
	u64 __user *at[VMM_WALK_LEVELS];
	u64 entry[VMM_WALK_LEVELS];
	u8 __user *code;
};

/* ---- paravirtual ABI: pv.c --------------------------------------------------- */

struct vmm_pv {
	u32 features;		/* V  BIT(KVM_FEATURE_*), by the CPUID table */
	u64 steal;		/* V  MSR_KVM_STEAL_TIME */
	u64 eoi;		/* V  MSR_KVM_PV_EOI_EN */
	u64 poll;		/* V  MSR_KVM_POLL_CONTROL: may HLT be polled */
	u64 run_delay;		/* V  of the thread, as far as the guest was told */
	bool new_thread;	/* V  run_delay is another one's */
	bool away;		/* V  guest memory says that it does not run */
	u8 eoi_vector;		/* V  whose EOI may come by memory, or 0 */
};

/* ---- vCPU ------------------------------------------------------------------ */

/* vcpu->requests: bits set by anyone, taken by the vCPU before entry */
enum vmm_request {
	REQ_KICK,		/* leave RUN with VMM_EXIT_KICK */
	REQ_NMI,
	REQ_INIT,
	REQ_SIPI,
	REQ_CLOCK,		/* rewrite the pv clock page */
	REQ_WALL,		/* write the wall clock */
	REQ_TIMER,		/* APIC timer fired */
	REQ_UNHALT,		/* KVM_HC_KICK_CPU: out of HLT */
	REQ_APIC,		/* it went away from its page, or came back */
};

enum vmm_mode {			/* where the vCPU thread is, for kicks */
	MODE_OUT,
	MODE_GUEST,		/* from before the last check to after the exit */
};

struct vmm_vcpu {
	struct vmm_vm *vm;		/* c */
	u32 id;				/* c  APIC ID */
	struct mutex lock;
	struct vmm_run *run;		/* c  shared page: copy once, check, use */

	u64 gpr[16];			/* V  enum vmm_gpr; RSP and RAX too */
	u64 rip;			/* V */
	u64 rflags;			/* V */
	u64 cr2;			/* V */
	struct vmm_dregs dregs;		/* V  dr[] is stale while resident */
	bool dr_resident;		/* V  the guest's DR0..3 are in the CPU */
	u64 host_dr[4], host_dr7;	/* V  while loaded */
	u64 tsc_offset;			/* V  guest TSC = vmm_host_tsc() + this */
	struct vmm_events ev;		/* V  type..error: deliver before all else */
	bool window_wanted;		/* V  monitor waits to inject ExtINT */
	bool mov_wanted;		/* V  ... and need not decode MOVs to devices */
	int offer;			/* V  vector the next entry may deliver, or -1 */
	bool taken;			/* V  and the last one did */
	bool irq_window;		/* V  exit once the guest could take an interrupt */
	bool watch_tpr;			/* V  exit before the guest writes CR8 */
	struct vmm_fact fact;		/* V  the exit being handled */
	struct {			/* V  the exit the monitor is to complete */
		u32 reason;		/*    enum vmm_exit, or NONE */
		u64 next_rip;
		u8 size;		/*    0: it writes the registers itself */
		bool in;
		u8 reg;			/*    enum vmm_gpr that is read into */
	} pending;

	unsigned long requests;		/* a  bits of enum vmm_request */
	int mode;			/* a  enum vmm_mode */
	int cpu;			/* a  last CPU that loaded it, or -1 */
	bool loaded;			/* V  fast gear: FPU, MSRs resident */
	call_single_data_t csd;		/* kick IPI; whoever sets kick_sent sends it */
	atomic_t kick_sent;		/* a  until it has arrived */
	wait_queue_head_t wq;		/* HLT and WAIT_SIPI sleep here */
	u8 sipi_vector;			/* a */

	struct vmm_lapic apic;
	struct vmm_pv pv;
	u32 poll_ns;			/* V  how long to poll in HLT */
	spinlock_t thread_lock;
	struct pid *thread;		/* T  that was last in RUN, or NULL */

	struct vmm_cpuid_entry *cpuid;	/* V */
	u32 ncpuid;			/* V */

	/* MSRs that common code keeps, msr.c */
	u64 misc_enable;		/* V */
	u64 tsc_aux;			/* V */
	bool has_rdtscp;		/* V  by its CPUID table */
	u64 cr4_shown, xcr0_shown;	/* V  bits that it shows, all before there is one */
	u64 cr4_may, xcr0_may;		/* V  those, and what the monitor gave it */
	u64 mtrr_def;			/* V */
	u64 mtrr_fixed[11];		/* V */
	u64 mtrr_var[16];		/* V */
	u64 kvm_system_time;		/* V  clock.c */
	u64 kvm_wall_clock;		/* V */

	/* fpu.c */
	u64 xcr0;			/* V */
	u32 host_pkru;			/* V  while loaded */
	void *fpu;			/* V  XSAVE area, 64-byte aligned */

	struct vmm_code_page code[VMM_CODE_PAGES];	/* V  by page number */
	u32 door;			/* V  where doorbell.c found the last one */
	u64 stats[VMM_NSTATS];		/* V  but KICKS: its IPI; read by anyone */
	u64 tlb_gen;			/* V  vm->tlb_gen seen at the last flush */
	void *arch;			/* c  the vendor's: struct svm_vcpu, vmx_vcpu */
};

/* ---- VM -------------------------------------------------------------------- */

struct vmm_vm {
	struct kref ref;		/* VM fd and each vCPU fd hold one */
	u64 serial;			/* c  never used twice */
	struct mm_struct *mm;		/* c  whose memory it is; mmgrab'ed */
	struct mutex lock;
	bool broken;			/* a  an assertion failed: no more RUN */

	struct vmm_vcpu __rcu *vcpus[VMM_MAX_VCPUS];	/* s  by APIC ID */
	u32 nvcpus;			/* L */
	u32 top;			/* s  highest APIC ID + 1 */
	u32 last_yield;			/* a  APIC ID that was yielded to */

	struct srcu_struct srcu;
	struct vmm_maps __rcu *maps;	/* s  replaced under M too */
	u64 maps_gen;			/* s  counts those */

	rwlock_t mmu_lock;
	struct mmu_notifier notifier;
	u64 *npt_root;			/* c  page table page; entries M */
	unsigned long mmu_seq;		/* M  an invalidation ended since */
	int mmu_busy;			/* M  invalidations under way */
	unsigned long inv_start, inv_end;	/* M  hva range under way */
	wait_queue_head_t mmu_wait;	/* faults that wait for its end */
	struct page *apic_access;	/* c  APIC-access page, or NULL */
	u32 apic_strays;		/* M  vCPUs whose APIC is not there: not mapped */
	atomic_long_t npt_pages;	/* a  for accounting */
	atomic_long_t npt_large[2];	/* a  leaves of level 2, and of level 3 */
	atomic64_t tlb_gen;		/* a  bumped when a mapping is removed */
	u64 tlb_done;			/* F  generation that every vCPU has seen */
	unsigned long npt_detached;	/* a  table pages to free after a flush */
	cpumask_var_t flush_mask;	/* F */
	spinlock_t flush_lock;

	struct dentry *debugfs;		/* c */
	struct vmm_doors __rcu *doors;	/* s  doorbell.c; NULL: none */
	struct vmm_coalesced *coalesced;	/* s  coalesce.c; NULL: none yet */
	struct vmm_irqfds *irqfds;	/* s  irqfd.c; NULL: none yet */
	struct mutex track_lock;
	struct vmm_tracks __rcu *tracks; /* as s, but T for L; under M too; NULL: none */
	bool log_dirty;			/* T  read without; vCPUs log what they write */

	u64 clock_tsc;			/* L  pv clock: at this vmm_host_tsc() ... */
	u64 clock_ns;			/* L  ... it read this many ns */
};

/* ---- the vendor ------------------------------------------------------------ */

/*
 * What an entry of a nested page table looks like. Bits that are hardware's to
 * set are 0 where the format has none.
 */
struct vmm_pt_format {
	int levels;
	int max_leaf;		/* level of the largest page: 1 is 4 KiB, 3 1 GiB */
	u64 present;		/* any of these */
	u64 table;		/* of an entry that points to a table */
	u64 leaf;		/* of an entry that maps a page for reading */
	u64 write;
	u64 fetch;		/* in leaf: of instructions too; 0: it cannot be refused so */
	u64 large;		/* a leaf in a table above level 1 */
	u64 accessed;
	u64 dirty;
};

struct vmm_ops {
	const char *name;
	const char *kvm_module;		/* of KVM, for this hardware */
	u32 vendor;			/* enum vmm_vendor */
	const struct vmm_pt_format *pt;	/* filled by setup */
	bool cpuid_repeats;		/* CPUID beyond the last leaf gives the last */
	u64 (*features)(void);		/* VMM_FEAT_* */

	/* CPU: check says why not in one sentence and returns -errno */
	int (*check)(void);
	int (*setup)(void);		/* once, at module load */
	void (*teardown)(void);
	/* on the CPU it is about, preemption off; host.c knows when */
	int (*cpu_enable)(void);
	void (*cpu_disable)(void);

	int (*vcpu_create)(struct vmm_vcpu *vcpu);	/* at reset state */
	void (*vcpu_destroy)(struct vmm_vcpu *vcpu);

	/* fast gear begins and ends on this CPU; preemption off */
	void (*load)(struct vmm_vcpu *vcpu);
	void (*put)(struct vmm_vcpu *vcpu);

	/*
	 * Around a stretch of entries and exits, in which irqs are off. -EIO: the
	 * CPU's virtualization is off or somebody else's.
	 */
	int (*stretch_begin)(struct vmm_vcpu *vcpu);
	void (*stretch_end)(struct vmm_vcpu *vcpu);
	/*
	 * One entry and exit. Takes vcpu->ev.type.. into the event
	 * field, says in vcpu->fact what happened, and puts an event whose
	 * delivery the exit cut short back into vcpu->ev. The guest gets the
	 * interrupt vcpu->offer as soon as it can take it: vcpu->taken. And it
	 * exits as vcpu->irq_window and vcpu->watch_tpr want.
	 */
	void (*enter)(struct vmm_vcpu *vcpu);
	/* after FACT_ENTRY_FAILED: names the fields that break the manual's rules */
	void (*why)(struct vmm_vcpu *vcpu, char *text, u32 size);
	/* run one instruction of the guest, then exit with FACT_STEP */
	void (*step)(struct vmm_vcpu *vcpu);
	void (*flush)(struct vmm_vcpu *vcpu);	/* guest TLB, before next entry */

	u64 (*get_cr)(struct vmm_vcpu *vcpu, int n);	/* 0, 3, 4 */
	u64 (*get_efer)(struct vmm_vcpu *vcpu);
	void (*get_segment)(struct vmm_vcpu *vcpu, int n, struct vmm_segment *s);
	/* all but CR2 and CR8, which common code keeps */
	void (*get_sregs)(struct vmm_vcpu *vcpu, struct vmm_sregs *s);
	void (*set_sregs)(struct vmm_vcpu *vcpu, const struct vmm_sregs *s);
	/* MSRs the hardware switches; -ENOENT: not one of those */
	int (*get_msr)(struct vmm_vcpu *vcpu, u32 index, u64 *value);
	int (*set_msr)(struct vmm_vcpu *vcpu, u32 index, u64 value);
};

extern const struct vmm_ops vmm_svm_ops;
extern const struct vmm_ops vmm_vmx_ops;
extern const struct vmm_ops *vmm_ops;

/*
 * vmm_op(enter)(vcpu) is vmm_ops->enter(vcpu) with the call patched to be a direct
 * one: where the host has retpolines, each indirect call is predicted wrongly.
 * For what an exit may need.
 */
#define VMM_DIRECT_OPS(x)						\
	x(load) x(put) x(stretch_begin) x(stretch_end) x(enter)		\
	x(step) x(flush)						\
	x(get_cr) x(get_efer) x(get_segment) x(get_sregs)
#define VMM_DECLARE_OP(op)						\
	DECLARE_STATIC_CALL(vmm_op_##op, *(((struct vmm_ops *)NULL)->op));
VMM_DIRECT_OPS(VMM_DECLARE_OP)
#define vmm_op(op)	static_call(vmm_op_##op)

/*
 * host.c. The host's TSC may start anew when the host wakes; vmm_host_tsc() goes
 * on from where it was. In the CPU: guest TSC = TSC + vmm_tsc_gap + tsc_offset.
 */
extern u64 vmm_tsc_gap;
u64 vmm_host_tsc(void);
int vmm_host_enable(void);			/* all CPUs, now and later; 0 or -errno */
void vmm_host_disable(void);
/* may this CPU enter guests? true lasts as long as preemption is off */
bool vmm_cpu_open(void);
bool vmm_host_closed(void);			/* no CPU will ever again */

/* vm.c */
int vmm_vm_create(void);			/* -> fd or -errno */
void vmm_vm_get(struct vmm_vm *vm);
void vmm_vm_put(struct vmm_vm *vm);
/* APIC ID -> vCPU; valid while the caller holds a VM reference */
struct vmm_vcpu *vmm_vm_vcpu(struct vmm_vm *vm, u32 id);
#define vmm_for_each_vcpu(vm, id, vcpu)					\
	for ((id) = 0; (id) < READ_ONCE((vm)->top); (id)++)		\
		if (!((vcpu) = vmm_vm_vcpu(vm, id))) {} else

/* vcpu.c */
int vmm_vcpu_create(struct vmm_vm *vm, u32 id);	/* -> fd or -errno */
void vmm_vcpu_free(struct vmm_vcpu *vcpu);

/* run.c */
int vmm_run(struct vmm_vcpu *vcpu);
/*
 * Make the vCPU notice: wakes it if it sleeps, one IPI if it is in the guest.
 * Any context, also hard irq.
 */
void vmm_kick(struct vmm_vcpu *vcpu);
void vmm_wait_for_kick(struct vmm_vcpu *vcpu);	/* until no IPI is under way */
void vmm_request(struct vmm_vcpu *vcpu, enum vmm_request req);	/* set + kick */
void vmm_take_requests(struct vmm_vcpu *vcpu);	/* into vcpu->ev and the APIC */

/*
 * exit.c: act on vcpu->fact. 1: handled, enter again; 0: call again in the slow
 * gear; -1: leave to the monitor, the run page says why.
 */
int vmm_exit(struct vmm_vcpu *vcpu);
int vmm_exit_shutdown(struct vmm_vcpu *vcpu);	/* triple fault: -1 */
void vmm_exit_to_user(struct vmm_vcpu *vcpu, u32 reason);
void vmm_queue_exception(struct vmm_vcpu *vcpu, u8 vector, bool has_error, u32 error);
/* the instruction at RIP is done and `len` bytes long: single-step trap, shadow */
void vmm_skip(struct vmm_vcpu *vcpu, u8 len);
u64 vmm_next_rip(struct vmm_vcpu *vcpu, u8 len);	/* where that goes on */

/* state.c */
void vmm_vcpu_reset(struct vmm_vcpu *vcpu, bool init);	/* init: INIT, not power-on */
int vmm_state_get(struct vmm_vcpu *vcpu, struct vmm_state *st);
int vmm_state_set(struct vmm_vcpu *vcpu, const struct vmm_state *st);
void vmm_regs_get(struct vmm_vcpu *vcpu, struct vmm_regs *r);
void vmm_regs_set(struct vmm_vcpu *vcpu, const struct vmm_regs *r);
void vmm_sregs_get(struct vmm_vcpu *vcpu, struct vmm_sregs *s);
int vmm_sregs_check(const struct vmm_sregs *s);	/* 0 or -EINVAL */
u64 vmm_cr4_allowed(void);			/* bits guests may have here */
u64 vmm_cr4_shown(u32 ecx1, u32 ebx7, u32 ecx7);	/* by CPUID leaves 1 and 7 */
int vmm_cr4_write(struct vmm_vcpu *vcpu, u64 value);	/* 0, or -EINVAL: #GP */
void vmm_sregs_set(struct vmm_vcpu *vcpu, const struct vmm_sregs *s);
void vmm_events_get(struct vmm_vcpu *vcpu, struct vmm_events *e);
int vmm_events_check(const struct vmm_events *e);
void vmm_events_set(struct vmm_vcpu *vcpu, const struct vmm_events *e);

/* cpuid.c */
int vmm_cpuid_supported(struct vmm_cpuid_entry *e, u32 max);	/* -> count, -E2BIG */
int vmm_cpuid_set(struct vmm_vcpu *vcpu, struct vmm_cpuid_entry *e, u32 count);
void vmm_cpuid_exec(struct vmm_vcpu *vcpu);	/* EAX, ECX -> EAX..EDX */
const struct vmm_cpuid_entry *vmm_cpuid_find(struct vmm_vcpu *vcpu, u32 fn, u32 index);

/*
 * msr.c: 0, or -EPERM: #GP. A write may answer 1: the monitor is to hear of the
 * EOI of *eoi; and in the fast gear -EAGAIN: again in the slow one.
 */
int vmm_msr_read(struct vmm_vcpu *vcpu, u32 index, u64 *value);
int vmm_msr_write(struct vmm_vcpu *vcpu, u32 index, u64 value, u8 *eoi);
void vmm_msr_load(struct vmm_vcpu *vcpu);	/* gear change: TSC_AUX */
void vmm_msr_put(struct vmm_vcpu *vcpu);
void vmm_msr_open_cpu(void);			/* before its first guest */
void vmm_msr_reset(struct vmm_vcpu *vcpu);
void vmm_msrs_get(struct vmm_vcpu *vcpu, struct vmm_msrs *m);
int vmm_msrs_set(struct vmm_vcpu *vcpu, const struct vmm_msrs *m);

/*
 * pv.c. MSRs: 0, or -EPERM: #GP. What is in guest memory: away in any gear, back
 * and disarm in the slow one.
 */
u32 vmm_pv_features(void);			/* BIT(KVM_FEATURE_*) that there are */
static inline bool vmm_pv_has(const struct vmm_vcpu *vcpu, int feature)
{
	return vcpu->pv.features & BIT(feature);
}
void vmm_pv_cpuid(struct vmm_vcpu *vcpu, u32 features);
void vmm_pv_reset(struct vmm_vcpu *vcpu);
int vmm_pv_msr_read(struct vmm_vcpu *vcpu, u32 index, u64 *value);
int vmm_pv_msr_write(struct vmm_vcpu *vcpu, u32 index, u64 value);
void vmm_pv_away(struct vmm_vcpu *vcpu);	/* the thread will leave the CPU */
void vmm_pv_back(struct vmm_vcpu *vcpu);	/* before the next entries */
/*
 * The EOI of the interrupt on offer may come by memory: before the entry that
 * offers it; false: the slow gear first. After each exit while pv.eoi_vector is
 * set: false: again in the slow gear. And before the vCPU's state is looked at.
 */
bool vmm_pv_eoi_offer(struct vmm_vcpu *vcpu);
bool vmm_pv_eoi_settle(struct vmm_vcpu *vcpu);
void vmm_pv_eoi_disarm(struct vmm_vcpu *vcpu);

/* hypercall.c: 1: done, the answer is in RAX; 0: call again in the slow gear */
int vmm_hypercall(struct vmm_vcpu *vcpu);

/* wait.c: slow gear */
int vmm_halt(struct vmm_vcpu *vcpu, bool (*done)(struct vmm_vcpu *vcpu));
void vmm_thread_is(struct vmm_vcpu *vcpu, struct pid *pid);
int vmm_yield_to(struct vmm_vcpu *target);
void vmm_spin(struct vmm_vcpu *vcpu);		/* it waits for another vCPU */

/* clock.c */
u64 vmm_guest_tsc(struct vmm_vcpu *vcpu);
void vmm_clock_update(struct vmm_vcpu *vcpu);	/* slow gear: writes guest memory */
void vmm_clock_wall(struct vmm_vcpu *vcpu);	/* slow gear */
void vmm_clock_get(struct vmm_vm *vm, struct vmm_clock *c);
u64 vmm_tsc_base(struct vmm_vcpu *vcpu);		/* struct vmm_tsc */
void vmm_tsc_set_base(struct vmm_vcpu *vcpu, u64 base);
void vmm_clock_set(struct vmm_vm *vm, u64 ns);

/*
 * gear.c. load and put at a change of gear, preemption off. Accesses to debug
 * registers exit until vmm_dregs_load has put the guest's DR0 to DR3 into the CPU,
 * where they stay until vmm_gear_put.
 */
void vmm_gear_load(struct vmm_vcpu *vcpu);
void vmm_dregs_load(struct vmm_vcpu *vcpu);
void vmm_gear_put(struct vmm_vcpu *vcpu);

/* fpu.c */
int vmm_fpu_create(struct vmm_vcpu *vcpu);
void vmm_fpu_destroy(struct vmm_vcpu *vcpu);
void vmm_fpu_reset(struct vmm_vcpu *vcpu);
void vmm_fpu_load(struct vmm_vcpu *vcpu);	/* begins kernel_fpu, preemption off */
void vmm_fpu_put(struct vmm_vcpu *vcpu);
void vmm_fpu_setup(void);			/* once, before all others */
u64 vmm_fpu_mask(void);				/* XCR0 bits guests may have */
u32 vmm_fpu_compact_size(u64 xcr0);		/* as XSAVEC and XSAVES write it */
u32 vmm_fpu_size(u64 xcr0);
int vmm_fpu_xcr0_check(u64 xcr0);		/* may a guest have that; 0 or -EINVAL */
void vmm_fpu_get(struct vmm_vcpu *vcpu, struct vmm_xsave *x);
int vmm_fpu_set(struct vmm_vcpu *vcpu, const struct vmm_xsave *x);

/*
 * walk.c: guest linear addresses. vmm_guest_read: 0 or -EFAULT; in the fast gear
 * it reads only what is in memory, since no fault is taken there.
 */
#define WALK_WRITE	BIT(0)
#define WALK_USER	BIT(1)	/* with the rights of ring 3 */
#define WALK_PEEK	BIT(2)	/* with all rights; A and D bits stay */
struct vmm_walk {
	u64 gpa;
	u32 error;		/* of the page fault */
	u8 size;		/* of a table's entry, in bytes */
	u8 levels;		/* entries read: 0 without paging */
	struct vmm_walk_step {
		u64 gpa, entry;
	} step[VMM_WALK_LEVELS];
};
void vmm_mmu_get(struct vmm_vcpu *vcpu, struct vmm_mmu *mmu);
int vmm_guest_read(struct vmm_vcpu *vcpu, u64 gpa, void *buf, u32 len);
/*
 * Linear to physical; holds up to the end of the 4 KiB page. 0; 1: #PF with
 * w->error; -EFAULT: no memory at w->gpa, where the tables go on. Slow gear,
 * unless it only peeks.
 */
int vmm_walk(struct vmm_vcpu *vcpu, const struct vmm_mmu *mmu, u64 va, u32 access,
	     struct vmm_walk *w);

/*
 * fetch.c: up to `max` bytes at a linear address that the CPU has just fetched
 * from; rights are not looked at. The count, or -EFAULT; in the fast gear as
 * vmm_guest_read.
 */
#define VMM_INSN_MAX	15
#define VMM_FETCH_MAX	16	/* bytes that buf has room for */
int vmm_fetch(struct vmm_vcpu *vcpu, const struct vmm_mmu *mmu, u64 va, u8 *buf, u32 max);

/*
 * task.c: act on FACT_TASK_SWITCH, as vmm_exit does. SVM's CPUs switch tasks by
 * themselves, VT-x leaves it to us.
 */
int vmm_task_switch(struct vmm_vcpu *vcpu);

/*
 * insn.c: only what the APIC page and CPUs without next-RIP need.
 * vmm_insn_len: bytes of the instruction at CS:RIP if it is one of the kind
 * that causes `kind`; -EFAULT: guest page tables do not let us read it;
 * -EINVAL: it is something else.
 */
int vmm_insn_len(struct vmm_vcpu *vcpu, enum vmm_fact_kind kind);
/* MOV to or from CR4: fills in fact.cr4 and returns as vmm_insn_len */
int vmm_insn_mov_cr4(struct vmm_vcpu *vcpu);
struct vmm_insn_mov {		/* a MOV to or from memory */
	u8 len;
	u8 size;		/* of the access: 1, 2, 4, 8 bytes */
	bool write;
	bool has_imm;
	u8 reg;			/* enum vmm_gpr */
	u16 offset;		/* of its first byte in the page */
	u64 imm;
};
int vmm_insn_mov(struct vmm_vcpu *vcpu, struct vmm_insn_mov *m);

/*
 * mem.c: the gpa -> hva table and the MMU notifier. All three change calls
 * validate, then replace the whole table at once; a failure changes nothing.
 * They take vm->lock. Errors: maptable.h; -EINVAL for a malformed range or an
 * hva that is not the user's; -ENOSPC for more than VMM_MAX_MAPS; -ENOMEM.
 */
/* In the owner's context, vm->mm set: page tables, srcu, notifier. */
int vmm_mem_create(struct vmm_vm *vm);
/*
 * Last reference is gone; any process, also after the mm exited. Before vCPUs
 * are freed: a notifier looks at them until this returns. vm->srcu is gone then.
 */
void vmm_mem_destroy(struct vmm_vm *vm);
int vmm_mem_map(struct vmm_vm *vm, const struct vmm_map *m);
int vmm_mem_unmap(struct vmm_vm *vm, const struct vmm_map *m);
int vmm_mem_protect(struct vmm_vm *vm, const struct vmm_map *m);
/* the mapping that holds gpa, copied to *out; false if none */
bool vmm_mem_find(struct vmm_vm *vm, u64 gpa, struct vmm_mapping *out);
/*
 * Copy to / from guest memory through the owner's address space; slow gear,
 * may sleep. 0, or -EFAULT (no mapping, not readable, read-only).
 */
int vmm_mem_read(struct vmm_vm *vm, u64 gpa, void *buf, u32 len);
int vmm_mem_write(struct vmm_vm *vm, u64 gpa, const void *buf, u32 len);
/* In any gear: takes no fault, so -EFAULT also for a page that is not there now. */
int vmm_mem_write_now(struct vmm_vm *vm, u64 gpa, const void *buf, u32 len);
/*
 * As vmm_mem_write, for a word of 4 or 8 bytes that others change too, aligned: 0, 1 if
 * it was not `old`, or -EFAULT.
 */
int vmm_mem_cmpxchg(struct vmm_vm *vm, u64 gpa, u32 size, u64 old, u64 new);

/*
 * npt.c: the nested page tables.
 * vmm_npt_fault: make gpa accessible. 0: done, enter again; 1: no mapping or a
 * write to a read-only one: MMIO; -errno: no page to be had (-EFAULT, -ENOMEM,
 * -EHWPOISON), or -EINTR: a signal came first. Slow gear: may sleep.
 */
int vmm_npt_gpa_bits(void);	/* guests have physical addresses below 1 << it */
int vmm_npt_create(struct vmm_vm *vm);
void vmm_npt_destroy(struct vmm_vm *vm);
int vmm_npt_fault(struct vmm_vcpu *vcpu, u64 gpa, u32 access);
/*
 * The same without sleeping, irqs off: true: done, with a page that the process has
 * in its page table, and maybe its neighbours. *map is vmm_mem_find's answer to gpa,
 * *seq vm->mmu_seq as it was before that question.
 */
bool vmm_npt_fault_now(struct vmm_vcpu *vcpu, u64 gpa, u32 access,
		       const struct vmm_mapping *map, unsigned long seq);
/* map vm->apic_access at gpa unless memory is there. 0; 1: it is; -ENOMEM */
int vmm_npt_map_apic(struct vmm_vm *vm, u64 gpa);
/*
 * Drop what maps the gpa range, mmu_lock held for writing; true if there was
 * anything. vmm_npt_flush must follow, after the lock.
 */
bool vmm_npt_zap(struct vmm_vm *vm, u64 gpa_start, u64 gpa_end);
/*
 * Leaves of the gpa range lose the bits of mask, and become 4 KiB ones unless
 * they may be large. vmm_npt_stale, vmm_npt_flush must follow, also after an
 * error: 0, or -ENOMEM with only some of it done. Faults go on meanwhile.
 */
int vmm_npt_split(struct vmm_vm *vm, u64 gpa_start, u64 gpa_end, bool large, u64 mask);
/* test and maybe clear accessed; mmu_lock held for reading is enough */
bool vmm_npt_young(struct vmm_vm *vm, u64 gpa_start, u64 gpa_end, bool clear);
/*
 * When this returns, no vCPU uses a translation that was zapped before the
 * call, whoever zapped it: makes vCPUs leave the guest and waits until they
 * have, unless that was done already. Does not sleep; no spinlock held.
 * run.c's part: irqs off; mode = MODE_GUEST; smp_mb(); if vcpu->tlb_gen !=
 * vm->tlb_gen then ops->flush and remember it; enter; mode = MODE_OUT.
 */
void vmm_npt_flush(struct vmm_vm *vm);
/* entries have lost rights or bits: the next vmm_npt_flush is to do something */
void vmm_npt_stale(struct vmm_vm *vm);
/* When this returns, every vCPU has been out of the guest since the call. */
void vmm_npt_kick(struct vmm_vm *vm);

/*
 * dirty.c: which pages of the tracked ranges the guest has written or accessed.
 * The truth is in the leaves of the nested page tables as long as they are
 * there, and in a bitmap from then on: whoever takes bits out of a leaf that may
 * be tracked calls one of these, with mmu_lock held.
 */
enum vmm_dirty_by {
	DIRTY_BY_WP,		/* write protection; accessed: by unmapping */
	DIRTY_BY_BITS,		/* A and D bits */
	DIRTY_BY_LOG,		/* and a log that says where to look for D bits */
};
extern enum vmm_dirty_by vmm_dirty_by;	/* set once, at module load */
int vmm_dirty_setup(void);
void vmm_dirty_destroy(struct vmm_vm *vm);	/* nobody else is left */
/* VMM_TRACK, VMM_HARVEST: vmm(4) has the errors. Harvest: pages found */
int vmm_dirty_track(struct vmm_vm *vm, const struct vmm_track *t);
int vmm_dirty_harvest(struct vmm_vm *vm, const struct vmm_harvest *h);
/* is a page of this range tracked for writes: 4 KiB leaves only */
bool vmm_dirty_tracked(struct vmm_vm *vm, u64 gpa, u64 size);
/* would the leaf of a page that is mapped untouched tell when it is touched */
bool vmm_dirty_sees_touch(struct vmm_vm *vm);
/* what such a leaf begins with, of the rights to write and the dirty bit */
u64 vmm_dirty_rights(bool writable, bool write);
void vmm_dirty_leaf_gone(struct vmm_vm *vm, u64 gpa, u64 size, u64 leaf);
void vmm_dirty_made_old(struct vmm_vm *vm, u64 gpa, u64 size);
/* the module has written there itself; no lock needed, also not for the next */
void vmm_dirty_written(struct vmm_vm *vm, u64 gpa, u32 len);
void vmm_dirty_logged(struct vmm_vm *vm, const u64 *gpa, u32 n);

/*
 * lapic.c. IRR may be set from any context; all else by the vCPU thread (or
 * get/set state) under vcpu->lock.
 */
void vmm_lapic_init(struct vmm_vcpu *vcpu);		/* once */
void vmm_lapic_reset(struct vmm_vcpu *vcpu, bool init);
void vmm_lapic_destroy(struct vmm_vcpu *vcpu);		/* cancels the timer */
void vmm_lapic_get(struct vmm_vcpu *vcpu, struct vmm_apic *a);
int vmm_lapic_set(struct vmm_vcpu *vcpu, const struct vmm_apic *a);
/* highest vector that may be delivered now given PPR, or -1 */
int vmm_lapic_pending(struct vmm_vcpu *vcpu);
/* highest vector that TPR alone holds back, or -1: watch the guest's CR8 */
int vmm_lapic_held(struct vmm_vcpu *vcpu);
/* anything in IRR above TPR ignored IF: would HLT wake */
bool vmm_lapic_wakes(struct vmm_vcpu *vcpu);
void vmm_lapic_ack(struct vmm_vcpu *vcpu, u8 vector);	/* IRR -> ISR */
void vmm_lapic_untaken(struct vmm_vcpu *vcpu, u8 vector);	/* and back */
/* may an ExtINT from the PIC be taken (LINT0 set so, or APIC disabled) */
bool vmm_lapic_extint(struct vmm_vcpu *vcpu);
/* xAPIC page; offset 0..0xfff, 32 bits. 0; 1: EOI for the monitor (vector in
 * vcpu->run exit is filled by the caller from *eoi) */
u32 vmm_lapic_mmio_read(struct vmm_vcpu *vcpu, u32 offset);
int vmm_lapic_mmio_write(struct vmm_vcpu *vcpu, u32 offset, u32 value, u8 *eoi);
bool vmm_lapic_in_page(struct vmm_vcpu *vcpu, u64 gpa);
/* MSRs 0x1b, 0x6e0, 0x800..0x8ff: 0; -EPERM: #GP; 1: EOI for the monitor */
int vmm_lapic_msr_read(struct vmm_vcpu *vcpu, u32 index, u64 *value);
int vmm_lapic_msr_write(struct vmm_vcpu *vcpu, u32 index, u64 value, u8 *eoi);
enum vmm_lapic_mode {
	VMM_LAPIC_OFF,
	VMM_LAPIC_XAPIC,	/* its page is where it is after reset */
	VMM_LAPIC_MOVED,	/* or elsewhere */
	VMM_LAPIC_X2APIC,
};
enum vmm_lapic_mode vmm_lapic_mode(struct vmm_vcpu *vcpu);
/*
 * A CPU with virtual-interrupt delivery takes ISR and IRR from apic.page and the
 * status: before each entry on which it is to deliver (vmm_lapic_auto) all there is
 * goes there; false: nothing new. After it the vendor writes down the status, and
 * always TPR.
 */
bool vmm_lapic_give(struct vmm_vcpu *vcpu);
/*
 * lapic_access.c: a page that is mapped for guests where their APIC is, so that the
 * CPU knows it (SDM 3C 30.4). One vCPU whose APIC is not there takes it from all.
 */
extern bool vmm_apic_access;			/* CPUs want it; set once, at module load */
int vmm_apic_access_create(struct vmm_vm *vm);	/* 0 or -ENOMEM */
void vmm_apic_access_destroy(struct vmm_vm *vm);
/*
 * FACT_NPF in the APIC's page. 1: it is mapped now, enter again; 0: call again in
 * the slow gear; -1: it is not to be, do what the instruction wants.
 */
int vmm_apic_access_fault(struct vmm_vcpu *vcpu);
void vmm_apic_access_moved(struct vmm_vcpu *vcpu);	/* REQ_APIC: slow gear */
/* FACT_APIC_WRITE: as vmm_lapic_mmio_write, with the value in the page */
int vmm_lapic_written(struct vmm_vcpu *vcpu, u32 offset, u8 *eoi);
void vmm_lapic_set_tpr(struct vmm_vcpu *vcpu, u8 tpr);
void vmm_lapic_set_cr8(struct vmm_vcpu *vcpu, u64 cr8);
/* REQ_TIMER: put the timer's vector into IRR, start the next period */
void vmm_lapic_timer_fired(struct vmm_vcpu *vcpu);
/*
 * With vmm_exit_timer the vendor gives FACT_TIMER at the deadline (guest TSC; 0:
 * none), and an alarm of the host's is set only while the vCPU sleeps.
 */
extern bool vmm_exit_timer;			/* set once, at module load */
void vmm_lapic_timer_sleep(struct vmm_vcpu *vcpu);
void vmm_lapic_timer_wake(struct vmm_vcpu *vcpu);
/* after tsc_offset changed: the deadline is another distance away */
void vmm_lapic_tsc_moved(struct vmm_vcpu *vcpu);
/* MSI by address and data; -> vCPUs it went to, 0 none, -errno malformed */
int vmm_lapic_msi(struct vmm_vm *vm, u64 address, u32 data);
/*
 * The IPI that the low half of ICR describes, without a destination, to the vCPUs
 * whose bits are set in map[0] and then map[1], `bits` each, from APIC ID `first`
 * on; -> vCPUs that took it, -KVM_EINVAL
 */
int vmm_lapic_ipis(struct vmm_vm *vm, const u64 *map, u32 bits, u32 first, u32 icr);

/* may this be an MSI: 0, -EINVAL: as vmm_lapic_msi says */
int vmm_lapic_msi_check(u64 address, u32 data);

/*
 * doorbell.c: guest writes that end in the kernel. Both gears, also with irqs
 * off. vmm_io_at: might a write to there be one; vmm_io_write: it was, and is
 * done. `port`: addr is a port, else a gpa that no memory is mapped at.
 */
bool vmm_io_at(struct vmm_vm *vm, u64 gpa);
bool vmm_io_write(struct vmm_vcpu *vcpu, bool port, u64 addr, u32 size, u64 data);
int vmm_doorbell_bind(struct vmm_vm *vm, const struct vmm_doorbell *d);
int vmm_doorbell_unbind(struct vmm_vm *vm, const struct vmm_doorbell *d);
void vmm_doorbell_destroy(struct vmm_vm *vm);	/* no vCPU runs any more */

/* coalesce.c: the same for writes that are kept in a ring; vmm_coalesce_push: kept */
bool vmm_coalesce_at(struct vmm_vm *vm, u64 gpa);
bool vmm_coalesce_push(struct vmm_vm *vm, bool port, u64 addr, u32 size, u64 data);
int vmm_coalesce_change(struct vmm_vm *vm, const struct vmm_coalesce *c);
int vmm_coalesce_mmap(struct vmm_vm *vm, struct vm_area_struct *vma);
void vmm_coalesce_destroy(struct vmm_vm *vm);

/* irqfd.c. vmm_irqfd_eoi: a level-triggered one ended; true: not for the monitor */
bool vmm_irqfd_eoi(struct vmm_vm *vm, u8 vector);
int vmm_irqfd_bind(struct vmm_vm *vm, const struct vmm_irqfd *arg);
int vmm_irqfd_unbind(struct vmm_vm *vm, const struct vmm_irqfd *arg);
int vmm_irqfd_routes(struct vmm_vm *vm, const struct vmm_route *route, u32 count);
void vmm_irqfd_destroy(struct vmm_vm *vm);	/* before vCPUs go */

#endif /* VMM_H */
