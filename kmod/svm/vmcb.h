/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The VMCB and its bits, APM 2 appendix B. The control area's CRn and DRn
 * intercepts, the AVIC fields and the LBR state are not used and not named.
 */
#ifndef VMM_SVM_VMCB_H
#define VMM_SVM_VMCB_H

#include <linux/build_bug.h>
#include <linux/types.h>

#define INTERCEPT_CR4_READ	(1U << 4)
#define INTERCEPT_CR4_WRITE	(1U << 20)
#define INTERCEPT_CR8_WRITE	(1U << 24)

/* intercepts, APM 2 15.9: word 3 (offset 0x00c) and word 4 (0x010) */
#define INTERCEPT3_INTR		(1U << 0)
#define INTERCEPT3_NMI		(1U << 1)
#define INTERCEPT3_SMI		(1U << 2)
#define INTERCEPT3_INIT		(1U << 3)
#define INTERCEPT3_VINTR	(1U << 4)
#define INTERCEPT3_RDPMC	(1U << 15)
#define INTERCEPT3_PUSHF	(1U << 16)
#define INTERCEPT3_POPF		(1U << 17)
#define INTERCEPT3_CPUID	(1U << 18)
#define INTERCEPT3_RSM		(1U << 19)
#define INTERCEPT3_IRET		(1U << 20)
#define INTERCEPT3_INTN		(1U << 21)
#define INTERCEPT3_INVD		(1U << 22)
#define INTERCEPT3_PAUSE	(1U << 23)
#define INTERCEPT3_HLT		(1U << 24)
#define INTERCEPT3_INVLPGA	(1U << 26)
#define INTERCEPT3_IOIO		(1U << 27)
#define INTERCEPT3_MSR		(1U << 28)
#define INTERCEPT3_FERR		(1U << 30)
#define INTERCEPT3_SHUTDOWN	(1U << 31)

#define INTERCEPT4_VMRUN	(1U << 0)
#define INTERCEPT4_VMMCALL	(1U << 1)
#define INTERCEPT4_VMLOAD	(1U << 2)
#define INTERCEPT4_VMSAVE	(1U << 3)
#define INTERCEPT4_STGI		(1U << 4)
#define INTERCEPT4_CLGI		(1U << 5)
#define INTERCEPT4_SKINIT	(1U << 6)
#define INTERCEPT4_WBINVD	(1U << 9)
#define INTERCEPT4_MONITOR	(1U << 10)
#define INTERCEPT4_MWAIT	(1U << 11)
#define INTERCEPT4_MWAIT_ARMED	(1U << 12)
#define INTERCEPT4_XSETBV	(1U << 13)
#define INTERCEPT4_RDPRU	(1U << 14)

#define TLB_CONTROL_NONE	0
#define TLB_CONTROL_FLUSH_ALL	1
#define TLB_CONTROL_FLUSH_ASID	3

/* offset 0x060: the virtual interrupt, APM 2 15.21 */
#define V_TPR_MASK		0x0fULL
#define V_IRQ			(1ULL << 8)
#define V_PRIO_SHIFT		16
#define V_IGN_TPR		(1ULL << 20)
#define V_PRIO_MASK		(0xfULL << V_PRIO_SHIFT)
#define V_VECTOR_SHIFT		32
#define V_VECTOR_MASK		(0xffULL << V_VECTOR_SHIFT)
#define V_INTR_MASKING		(1ULL << 24)

#define INT_STATE_SHADOW	(1ULL << 0)

/* clean bits, APM 2 15.15.3 */
#define CLEAN_INTERCEPTS	(1ULL << 0)	/* and the TSC offset */
#define CLEAN_MAPS		(1ULL << 1)
#define CLEAN_ASID		(1ULL << 2)
#define CLEAN_NP		(1ULL << 4)	/* and PAT */
#define CLEAN_CR		(1ULL << 5)
#define CLEAN_TABLES		(1ULL << 7)
#define CLEAN_SEGMENTS		(1ULL << 8)
#define CLEAN_KEPT		(CLEAN_INTERCEPTS | CLEAN_MAPS | CLEAN_ASID | CLEAN_NP | \
				 CLEAN_CR | CLEAN_TABLES | CLEAN_SEGMENTS)

/* EVENTINJ and EXITINTINFO, APM 2 15.20 */
#define EVENT_VECTOR		0xffULL
#define EVTYPE_SHIFT	8
#define EVTYPE_MASK		(7ULL << EVTYPE_SHIFT)
#define EVTYPE_INTR		0ULL
#define EVTYPE_NMI		2ULL
#define EVTYPE_EXCEPTION	3ULL
#define EVENT_HAS_ERROR		(1ULL << 11)
#define EVENT_VALID		(1ULL << 31)

/* exit codes, APM 2 appendix C */
#define EXIT_READ_CR4		0x004
#define EXIT_WRITE_CR4		0x014
#define EXIT_WRITE_CR8		0x018
#define EXIT_READ_DR0		0x020
#define EXIT_WRITE_DR15		0x03f
#define EXIT_EXCEPTION		0x040
#define EXIT_INTR		0x060
#define EXIT_NMI		0x061
#define EXIT_SMI		0x062
#define EXIT_INIT		0x063
#define EXIT_VINTR		0x064
#define EXIT_RDPMC		0x06f
#define EXIT_PUSHF		0x070
#define EXIT_POPF		0x071
#define EXIT_CPUID		0x072
#define EXIT_RSM		0x073
#define EXIT_IRET		0x074
#define EXIT_INTN		0x075
#define EXIT_INVD		0x076
#define EXIT_PAUSE		0x077
#define EXIT_HLT		0x078
#define EXIT_INVLPGA		0x07a
#define EXIT_IOIO		0x07b
#define EXIT_MSR		0x07c
#define EXIT_FERR		0x07e
#define EXIT_SHUTDOWN		0x07f
#define EXIT_VMRUN		0x080
#define EXIT_VMMCALL		0x081
#define EXIT_VMLOAD		0x082
#define EXIT_SKINIT		0x086
#define EXIT_WBINVD		0x089
#define EXIT_MONITOR		0x08a
#define EXIT_MWAIT		0x08b
#define EXIT_MWAIT_ARMED	0x08c
#define EXIT_XSETBV		0x08d
#define EXIT_RDPRU		0x08e
#define EXIT_NPF		0x400
/* only the low half is the same on every implementation */
#define EXIT_INVALID		0xffffffffU

/* EXITINFO1 of IOIO, APM 2 15.10.2 */
#define IOIO_IN			(1U << 0)
#define IOIO_STRING		(1U << 2)
#define IOIO_REP		(1U << 3)
#define IOIO_SIZE_SHIFT		4
#define IOIO_SIZE_MASK		7U

/* EXITINFO1 of NPF, APM 2 15.25.6 */
#define NPF_WRITE		(1ULL << 1)
#define NPF_FETCH		(1ULL << 4)

struct vmcb_seg {
	u16 selector;
	u16 attr;
	u32 limit;
	u64 base;
};

struct vmcb {
	/* control area */
	u32 intercept_cr;		/* 000 */
	u32 intercept_dr;
	u32 intercept_exc;
	u32 intercept3;
	u32 intercept4;			/* 010 */
	u32 intercept5;
	u8 rsvd1[0x3c - 0x18];
	u16 pause_threshold;		/* 03c */
	u16 pause_count;
	u64 iopm_pa;			/* 040 */
	u64 msrpm_pa;
	u64 tsc_offset;			/* 050 */
	u32 asid;
	u8 tlb_control;
	u8 rsvd2[3];
	u64 int_ctl;			/* 060 */
	u64 int_state;
	u64 exit_code;			/* 070 */
	u64 exit_info1;
	u64 exit_info2;			/* 080 */
	u64 exit_int_info;
	u64 np_enable;			/* 090 */
	u8 rsvd3[0xa8 - 0x98];
	u64 event_inj;			/* 0a8 */
	u64 n_cr3;			/* 0b0 */
	u64 lbr_ctl;
	u64 clean;			/* 0c0 */
	u64 next_rip;
	u8 rsvd4[0x400 - 0xd0];
	/* state save area */
	struct vmcb_seg es, cs, ss, ds, fs, gs, gdtr, ldtr, idtr, tr;	/* 400 */
	u8 rsvd5[0x4cb - 0x4a0];
	u8 cpl;				/* 4cb */
	u8 rsvd6[4];
	u64 efer;			/* 4d0 */
	u8 rsvd7[0x548 - 0x4d8];
	u64 cr4;			/* 548 */
	u64 cr3;
	u64 cr0;
	u64 dr7;			/* 560 */
	u64 dr6;
	u64 rflags;
	u64 rip;
	u8 rsvd8[0x5d8 - 0x580];
	u64 rsp;			/* 5d8 */
	u8 rsvd9[0x5f8 - 0x5e0];
	u64 rax;			/* 5f8 */
	u64 star;
	u64 lstar;
	u64 cstar;
	u64 sfmask;
	u64 kernel_gs_base;
	u64 sysenter_cs;
	u64 sysenter_esp;
	u64 sysenter_eip;
	u64 cr2;			/* 640 */
	u8 rsvd10[0x668 - 0x648];
	u64 pat;			/* 668 */
	u8 rsvd11[0x1000 - 0x670];
};

static_assert(sizeof(struct vmcb) == 0x1000);
static_assert(offsetof(struct vmcb, iopm_pa) == 0x40);
static_assert(offsetof(struct vmcb, int_ctl) == 0x60);
static_assert(offsetof(struct vmcb, event_inj) == 0xa8);
static_assert(offsetof(struct vmcb, next_rip) == 0xc8);
static_assert(offsetof(struct vmcb, cpl) == 0x4cb);
static_assert(offsetof(struct vmcb, efer) == 0x4d0);
static_assert(offsetof(struct vmcb, cr4) == 0x548);
static_assert(offsetof(struct vmcb, rsp) == 0x5d8);
static_assert(offsetof(struct vmcb, rax) == 0x5f8);
static_assert(offsetof(struct vmcb, cr2) == 0x640);
static_assert(offsetof(struct vmcb, pat) == 0x668);

#endif
