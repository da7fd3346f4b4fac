/* SPDX-License-Identifier: GPL-2.0 */
/* What the files of this room share; nobody outside includes it. */
#ifndef VMM_SVM_H
#define VMM_SVM_H

#include <linux/bits.h>
#include <asm/trapnr.h>

#include "vmm.h"
#include "svm/vmcb.h"

/*
 * #DB and #AC could repeat for ever inside the CPU (CVE-2015-5307, -8104); #MC
 * is the host's.
 */
#define SVM_EXCEPTIONS	(BIT(X86_TRAP_DB) | BIT(X86_TRAP_AC) | BIT(X86_TRAP_MC))

/* of the VMCB, when state was last written to it */
struct svm_kept {
	struct vmcb_seg seg[4], gdtr, idtr;
	u64 efer, cr0, cr3, pat;
	u8 cpl;
};

struct svm_vcpu {
	struct vmcb *vmcb;
	u64 vmcb_pa;
	u64 asid_gen;		/* svm_cpu.asid_gen the ASID is of; 0: needs one */
	int asid_cpu;		/* which CPU gave it */
	bool step;		/* TF is ours for one instruction */
	bool step_iret;		/* ... and that one is IRET, which loads TF */
	bool guest_tf;		/* what TF was */
	bool iret_seen;		/* IRET is about to end the NMI handler */
	u64 iret_rip;
	u64 cr4;		/* the guest's; the VMCB's has the host's MCE */
	u64 clean;		/* CLEAN_*: not written since the last exit */
	struct svm_kept kept;
	u64 intercepts[3];	/* as they were at the last entry, clean.c */
#ifdef VMM_DEBUG
	u8 seen[offsetofend(struct vmcb, pat)];	/* the VMCB after that exit */
#endif
};

struct svm_cpu {
	struct page *hsave;	/* VM_HSAVE_PA: the CPU's own */
	struct page *host;	/* VMSAVE area for the host's half */
	u64 asid_gen;
	u32 asid_next;
	u32 asid_max;
	bool enabled;
};

DECLARE_PER_CPU(struct svm_cpu, svm_cpus);

extern u64 svm_host_mce;	/* X86_CR4_MCE as the host has it */

static inline struct svm_vcpu *to_svm(struct vmm_vcpu *vcpu)
{
	return vcpu->arch;
}

/* enter.S */
asmlinkage void svm_enter(u64 *gpr, u64 vmcb_pa, u64 host_pa);

/* run.c */
void svm_vcpu_enter(struct vmm_vcpu *vcpu);
void svm_step(struct vmm_vcpu *vcpu);

/* clean.c */
u64 svm_clean_take(struct svm_vcpu *svm);	/* for the entry that follows */
#ifdef VMM_DEBUG
void svm_clean_seen(struct svm_vcpu *svm);	/* an exit */
bool svm_clean_right(struct svm_vcpu *svm);	/* before an entry */
#else
static inline void svm_clean_seen(struct svm_vcpu *svm)
{
}
#endif

/* why.c */
void svm_why(struct vmm_vcpu *vcpu, char *text, u32 size);

/* state.c */
u64 svm_get_cr(struct vmm_vcpu *vcpu, int n);
u64 svm_get_efer(struct vmm_vcpu *vcpu);
void svm_get_segment(struct vmm_vcpu *vcpu, int n, struct vmm_segment *s);
void svm_get_sregs(struct vmm_vcpu *vcpu, struct vmm_sregs *s);
void svm_set_sregs(struct vmm_vcpu *vcpu, const struct vmm_sregs *s);
int svm_get_msr(struct vmm_vcpu *vcpu, u32 index, u64 *value);
int svm_set_msr(struct vmm_vcpu *vcpu, u32 index, u64 value);

#endif
