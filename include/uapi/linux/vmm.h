/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
/*
 * The ABI of /dev/vmm. kmod/vmm.4 says what each call does and each error
 * means; this header says what the bytes are.
 *
 * Three kinds of file descriptor: /dev/vmm (VMM_GET_INFO, VMM_GET_CPUID,
 * VMM_CREATE_VM) -> VM (memory, MSI, eventfds, clock, VMM_CREATE_VCPU; mmap of
 * one page: struct vmm_ring) -> vCPU (run, state, CPUID, inject, kick; mmap of
 * one page at offset 0: struct vmm_run).
 *
 * Rules: fixed-width fields, no implicit padding, pointers are __u64, every
 * `pad`/`reserved` must be zero and unknown flag bits give EINVAL.
 */
#ifndef _UAPI_LINUX_VMM_H
#define _UAPI_LINUX_VMM_H

#include <linux/ioctl.h>
#include <linux/types.h>

#define VMM_ABI_VERSION		1

#define VMM_IOC_TYPE		0xB7

/* ---- /dev/vmm ---------------------------------------------------------- */

enum vmm_vendor {
	VMM_VENDOR_SVM		= 1,
	VMM_VENDOR_VMX		= 2,
};

/* vmm_info.features: what this CPU gives us, for reports and parity tables */
#define VMM_FEAT_NRIP		(1ULL << 0)	/* next RIP at exits */
#define VMM_FEAT_DECODE		(1ULL << 1)	/* decode assists */
#define VMM_FEAT_FLUSHBYASID	(1ULL << 2)
#define VMM_FEAT_VGIF		(1ULL << 3)
#define VMM_FEAT_2M		(1ULL << 4)	/* 2 MiB guest mappings */
#define VMM_FEAT_1G		(1ULL << 5)
#define VMM_FEAT_XSAVE		(1ULL << 6)
#define VMM_FEAT_TSC_SCALE	(1ULL << 7)
#define VMM_FEAT_XSAVES		(1ULL << 8)
#define VMM_FEAT_AD		(1ULL << 9)	/* accessed and dirty bits, nested tables */
#define VMM_FEAT_EXIT_TIMER	(1ULL << 10)	/* preemption timer */
#define VMM_FEAT_TPR		(1ULL << 11)	/* CR8 without exits */
#define VMM_FEAT_PAUSE_LOOP	(1ULL << 12)	/* exits of loops of PAUSEs only */
#define VMM_FEAT_VIRT_INTR	(1ULL << 13)	/* delivers interrupts by itself */
#define VMM_FEAT_XSETBV		(1ULL << 14)	/* XSETBV can be intercepted */
#define VMM_FEAT_RDTSCP		(1ULL << 15)
#define VMM_FEAT_INVPCID	(1ULL << 16)
#define VMM_FEAT_TASKS		(1ULL << 17)	/* task switches without exits */
#define VMM_FEAT_PML		(1ULL << 18)	/* logs the pages that are written */

struct vmm_info {
	__u32 abi_version;	/* VMM_ABI_VERSION */
	__u32 vendor;		/* enum vmm_vendor */
	__u32 max_vcpus;	/* per VM; also the bound of an APIC ID */
	__u32 max_maps;		/* mappings per VM */
	__u64 features;		/* VMM_FEAT_* */
	__u64 xcr0_mask;	/* XSAVE components a guest may enable */
	__u32 gpa_bits;		/* guest physical addresses are below 1 << this */
	__u32 tsc_khz;		/* of the host, which the guest sees unscaled */
	__u64 reserved[4];
};

struct vmm_cpuid_entry {
	__u32 function;
	__u32 index;
	__u32 flags;
#define VMM_CPUID_INDEXED	(1U << 0)	/* `index` must match ECX */
	__u32 eax;
	__u32 ebx;
	__u32 ecx;
	__u32 edx;
	__u32 pad;
};

#define VMM_MAX_CPUID		256

struct vmm_cpuid {
	__u32 count;		/* in: entries at `entries`; out: entries used */
	__u32 pad;
	__u64 entries;		/* struct vmm_cpuid_entry * */
};

/* ---- VM ---------------------------------------------------------------- */

#define VMM_MAP_READONLY	(1U << 0)	/* guest writes become MMIO exits */

struct vmm_map {
	__u64 gpa;		/* page-aligned, all in bytes */
	__u64 size;
	__u64 hva;		/* VMM_MAP only; 0 for unmap and protect */
	__u32 flags;		/* VMM_MAP_*; 0 for unmap */
	__u32 pad;
};

/* what is tracked; VMM_TRACK: any of them, VMM_HARVEST: one */
#define VMM_TRACK_DIRTY		(1U << 0)	/* pages that the guest has written */
#define VMM_TRACK_ACCESSED	(1U << 1)	/* read, written or executed */
/* VMM_HARVEST: and forget them */
#define VMM_HARVEST_CLEAR	(1U << 2)

#define VMM_MAX_TRACKS		64		/* ranges per VM */
#define VMM_MAX_TRACKED		(1ULL << 42)	/* bytes in one */

struct vmm_track {
	__u64 gpa;		/* page-aligned, in bytes */
	__u64 size;
	__u32 flags;		/* VMM_TRACK_*; 0: stop */
	__u32 pad;
};

struct vmm_harvest {
	__u64 gpa;		/* a multiple of 64 pages into a tracked range */
	__u64 size;		/* bytes, page-aligned, all of it in that range */
	__u64 bitmap;		/* __u64 *: bit n % 64 of word n / 64 is the nth page's */
	__u32 flags;		/* VMM_TRACK_DIRTY or _ACCESSED, VMM_HARVEST_CLEAR */
	__u32 pad;
};

struct vmm_msi {
	__u64 address;		/* as a device would write it, SDM 3A 11.11.1 */
	__u32 data;
	__u32 pad;
};

/* VMM_BIND_DOORBELL: what a guest's write must be to signal an eventfd */
#define VMM_DOORBELL_PORT	(1U << 0)	/* addr is a port, else a gpa */
#define VMM_DOORBELL_MATCH	(1U << 1)	/* only writes of `data` */

struct vmm_doorbell {
	__u64 addr;
	__u64 data;		/* 0 without VMM_DOORBELL_MATCH */
	__u32 size;		/* bytes: 1, 2, 4, 8 (not a port); 0: any */
	__u32 flags;		/* VMM_DOORBELL_* */
	__s32 fd;		/* eventfd; -1 for VMM_UNBIND_DOORBELL */
	__u32 pad;
};

/* VMM_BIND_IRQ: an eventfd that sends the message its GSI is routed to */
#define VMM_IRQ_RESAMPLE	(1U << 0)	/* level-triggered: resample_fd */

struct vmm_irqfd {
	__u32 gsi;		/* below VMM_MAX_GSI */
	__u32 flags;		/* VMM_IRQ_*; 0 for VMM_UNBIND_IRQ */
	__s32 fd;		/* eventfd; -1 for VMM_UNBIND_IRQ */
	__s32 resample_fd;	/* eventfd, signalled at EOI; -1: none */
};

#define VMM_MAX_GSI		1024	/* a GSI is a number below this */

#define VMM_ROUTE_NONE		(1U << 0)	/* nowhere; address and data are 0 */
#define VMM_ROUTE_EOI		(1U << 1)	/* VMM_EXIT_EOI in spite of RESAMPLE */

struct vmm_route {
	__u32 gsi;
	__u32 flags;		/* VMM_ROUTE_* */
	__u64 address;		/* as in struct vmm_msi */
	__u32 data;
	__u32 pad;
};

/* VMM_SET_ROUTES: those listed change, all at once */
struct vmm_routes {
	__u32 count;		/* 1..VMM_MAX_GSI */
	__u32 pad;
	__u64 routes;		/* struct vmm_route * */
};

/* VMM_COALESCE: guest writes to a range go into the ring, without an exit */
#define VMM_COALESCE_PORT	(1U << 0)	/* addr is a port, else a gpa */
#define VMM_COALESCE_OFF	(1U << 1)	/* no more: exactly this range */

struct vmm_coalesce {
	__u64 addr;
	__u64 size;		/* bytes */
	__u32 flags;		/* VMM_COALESCE_* */
	__u32 width;		/* only writes of 1, 2, 4, 8 bytes; 0: of any size */
};

struct vmm_ring_entry {
	__u64 addr;
	__u64 data;
	__u32 size;		/* 1, 2, 4, 8 */
	__u32 flags;		/* VMM_COALESCE_PORT or 0 */
};

#define VMM_RING_ENTRIES	128

/*
 * mmap of the VM fd, one page at offset 0. Both indices count up, modulo 2^32;
 * entry i is entry[i % VMM_RING_ENTRIES], and those from tail to head wait.
 */
struct vmm_ring {
	__u32 head;		/* the kernel's */
	__u32 tail;		/* the monitor's */
	__u64 reserved[7];
	struct vmm_ring_entry entry[VMM_RING_ENTRIES];
};

struct vmm_clock {
	__u64 ns;		/* the VM's pv clock, nanoseconds since creation */
	__u64 ticks;		/* out: of the TSC, since it was set last; in: not used */
	__u64 reserved[2];
};

/* VMM_GET_TSC, VMM_SET_TSC: exact, where IA32_TSC runs on while it is handed over */
struct vmm_tsc {
	__u64 base;		/* the vCPU's TSC where vmm_clock.ticks is 0 */
	__u64 reserved[3];
};

/* ---- vCPU state -------------------------------------------------------- */

/* Groups: bits of vmm_state.mask, vmm_run.set and vmm_run.valid. */
#define VMM_STATE_REGS		(1U << 0)
#define VMM_STATE_SREGS		(1U << 1)
#define VMM_STATE_EVENTS	(1U << 2)
#define VMM_STATE_DREGS		(1U << 3)
#define VMM_STATE_APIC		(1U << 4)
#define VMM_STATE_MSRS		(1U << 5)
#define VMM_STATE_XSAVE		(1U << 6)
#define VMM_STATE_ALL		0x7fU

/* gpr[] in the order of the instruction encoding */
enum vmm_gpr {
	VMM_RAX, VMM_RCX, VMM_RDX, VMM_RBX, VMM_RSP, VMM_RBP, VMM_RSI, VMM_RDI,
	VMM_R8, VMM_R9, VMM_R10, VMM_R11, VMM_R12, VMM_R13, VMM_R14, VMM_R15,
};

struct vmm_regs {
	__u64 gpr[16];
	__u64 rip;
	__u64 rflags;
};

/* seg[] in the order of the instruction encoding, then the system segments */
enum vmm_seg {
	VMM_ES, VMM_CS, VMM_SS, VMM_DS, VMM_FS, VMM_GS, VMM_LDTR, VMM_TR,
	VMM_NSEG,
};

struct vmm_segment {
	__u64 base;
	__u32 limit;		/* in bytes, granularity already applied */
	__u16 selector;
	__u16 attr;
};

/*
 * vmm_segment.attr: bits 47:40 of the descriptor in 7:0 and bits 55:52 in
 * 11:8 (APM 2 15.5, the VMCB's own form). P clear means unusable.
 */
#define VMM_SEG_TYPE		0x000f
#define VMM_SEG_S		0x0010
#define VMM_SEG_DPL_SHIFT	5
#define VMM_SEG_P		0x0080
#define VMM_SEG_AVL		0x0100
#define VMM_SEG_L		0x0200
#define VMM_SEG_DB		0x0400
#define VMM_SEG_G		0x0800

struct vmm_table {
	__u64 base;
	__u32 limit;
	__u32 pad;
};

struct vmm_sregs {
	struct vmm_segment seg[VMM_NSEG];
	struct vmm_table gdtr;
	struct vmm_table idtr;
	__u64 cr0;
	__u64 cr2;
	__u64 cr3;
	__u64 cr4;
	__u64 cr8;
	__u64 efer;		/* LMA included; the host's SVME never shows */
};

enum vmm_event_type {
	VMM_EVENT_NONE		= 0,
	VMM_EVENT_INTR		= 1,	/* external interrupt */
	VMM_EVENT_NMI		= 2,
	VMM_EVENT_EXCEPTION	= 3,
};

enum vmm_run_state {
	VMM_RUNNING		= 0,
	VMM_HALTED		= 1,	/* HLT, until an interrupt, NMI, INIT */
	VMM_WAIT_SIPI		= 2,	/* after INIT, until a start-up IPI */
	VMM_STOPPED		= 3,	/* triple fault: RUN answers SHUTDOWN */
};

struct vmm_events {
	__u8 type;		/* enum vmm_event_type: to be delivered first */
	__u8 vector;
	__u8 has_error;
	__u8 extint_pending;	/* VMM_RUN_EXTINT's, not yet delivered */
	__u32 error;
	__u8 nmi_pending;	/* 0..2 */
	__u8 nmi_blocked;	/* until IRET */
	__u8 shadow;		/* interrupts held for one instruction */
	__u8 run_state;		/* enum vmm_run_state */
	__u8 init_pending;
	__u8 sipi_pending;
	__u8 sipi_vector;
	__u8 extint_vector;
	__u8 unhalted;		/* KVM_HC_KICK_CPU came: the next HLT ends at once */
	__u8 pad[7];
	__u64 reserved;
};

struct vmm_dregs {
	__u64 dr[4];
	__u64 dr6;
	__u64 dr7;
};

/*
 * regs[] are the registers of the xAPIC page, SDM 3A table 11-1: regs[n] is
 * the one at offset n * 16. In x2APIC mode regs[2] is the 32-bit ID and
 * regs[0x31] the destination half of ICR. regs[0x39], the current count, is
 * computed when read and restarts the timer when written. regs[0x29] is no
 * register: errors that the guest's next write to the error status (regs[0x28])
 * will show there.
 */
struct vmm_apic {
	__u64 base;		/* IA32_APIC_BASE */
	__u64 tsc_deadline;	/* guest TSC, 0 when disarmed */
	__u32 regs[64];
};

struct vmm_msr {
	__u32 index;
	__u32 pad;
	__u64 value;
};

#define VMM_MAX_MSRS		96

/*
 * Read: every MSR the module keeps for the vCPU and that no other group
 * carries; IA32_TSC (0x10) is among them. Write: any subset of those.
 */
struct vmm_msrs {
	__u32 count;
	__u32 pad;
	struct vmm_msr msr[VMM_MAX_MSRS];
};

#define VMM_XSAVE_SIZE		4080

struct vmm_xsave {
	__u64 xcr0;
	__u32 size;		/* bytes of `area` in use; in: 512, or 576 and what XSTATE_BV has */
	__u32 pad;
	__u8 area[VMM_XSAVE_SIZE];	/* standard form, SDM 1 13.4 */
};

struct vmm_state {
	__u32 mask;		/* VMM_STATE_*: the groups to read or write */
	__u32 pad;
	struct vmm_regs regs;
	struct vmm_sregs sregs;
	struct vmm_events events;
	struct vmm_dregs dregs;
	struct vmm_apic apic;
	struct vmm_msrs msrs;
	struct vmm_xsave xsave;
};

/* VMM_INJECT */
struct vmm_inject {
	__u8 type;		/* VMM_EVENT_NMI or VMM_EVENT_EXCEPTION */
	__u8 vector;
	__u8 has_error;
	__u8 pad;
	__u32 error;
};

/* ---- the run page ------------------------------------------------------ */

enum vmm_exit {
	VMM_EXIT_NONE		= 0,
	VMM_EXIT_IO		= 1,	/* port I/O; exit.io */
	VMM_EXIT_MMIO		= 2,	/* access to an unmapped gpa; exit.mmio */
	VMM_EXIT_FAULT		= 3,	/* no page behind a mapped gpa; exit.fault */
	VMM_EXIT_WINDOW		= 4,	/* asked for, and ExtINT can be taken now */
	VMM_EXIT_EOI		= 5,	/* of a level-triggered vector; exit.eoi */
	VMM_EXIT_KICK		= 6,	/* VMM_KICK, run.kick */
	VMM_EXIT_SHUTDOWN	= 7,	/* triple fault */
	VMM_EXIT_ENTRY_FAILED	= 8,	/* state that the CPU refuses; exit.failed */
	VMM_EXIT_UNKNOWN	= 9,	/* an exit nobody knows; exit.raw */
};

struct vmm_exit_io {
	__u16 port;
	__u8 size;		/* 1, 2, 4 */
	__u8 in;		/* 1: IN, 0: OUT */
	__u8 string;		/* INS/OUTS: decode at CS:RIP; regs, sregs valid */
	__u8 pad[3];
	__u32 data;		/* OUT: the value. IN: put the answer here */
	__u32 pad2;
};

#define VMM_ACCESS_WRITE	(1U << 0)
#define VMM_ACCESS_FETCH	(1U << 1)

/*
 * size 0: regs and sregs are valid: decode at CS:RIP, do it, write regs back.
 * Otherwise, which only VMM_RUN_MOV brings, it is a MOV of so many bytes, aligned,
 * and no registers are shown.
 */
struct vmm_exit_mmio {
	__u64 gpa;		/* of the first byte that faulted */
	__u32 access;		/* VMM_ACCESS_* */
	__u32 size;		/* 0, 1, 2, 4, 8 */
	__u64 data;		/* with a size: written; or to be filled in, read */
};

struct vmm_exit_fault {
	__u64 gpa;
	__u32 access;
	__s32 error;		/* -errno from the host's memory management */
};

struct vmm_exit_eoi {
	__u32 vector;
	__u32 pad;
};

struct vmm_exit_raw {
	__u64 code;		/* the vendor's exit code, for the report only */
	__u64 info1;
	__u64 info2;
	__u64 event;		/* event in delivery at the exit */
};

/* VMM_EXIT_ENTRY_FAILED */
struct vmm_exit_failed {
	struct vmm_exit_raw raw;
	char why[96];		/* the fields that break the manual's rules; 0 at the end */
};

/* vmm_run.flags, read once at each VMM_RUN */
#define VMM_RUN_COMPLETE	(1U << 0)	/* the exit's instruction is done */
#define VMM_RUN_WINDOW		(1U << 1)	/* exit when ExtINT can be taken */
#define VMM_RUN_EXTINT		(1U << 2)	/* deliver `extint` now */
#define VMM_RUN_MOV		(1U << 3)	/* exit.mmio may have a size */

struct vmm_run {
	/* in; `kick` may be written at any time, the rest between RUNs */
	__u32 kick;		/* nonzero: finish what is pending, return at once */
	__u32 flags;		/* VMM_RUN_*; the kernel clears it */
	__u32 set;		/* VMM_STATE_REGS|SREGS|EVENTS to take from below */
	__u32 extint;		/* vector */
	/* out */
	__u32 reason;		/* enum vmm_exit */
	__u32 valid;		/* groups below that are up to date */
	__u64 reserved[5];
	union {
		struct vmm_exit_io io;
		struct vmm_exit_mmio mmio;
		struct vmm_exit_fault fault;
		struct vmm_exit_eoi eoi;
		struct vmm_exit_raw raw;
		struct vmm_exit_failed failed;
		__u64 bytes[16];
	} exit;
	/* in and out */
	struct vmm_regs regs;
	struct vmm_sregs sregs;
	struct vmm_events events;
};

/* ---- counters ----------------------------------------------------------- */

#define VMM_STAT_NAME	24

struct vmm_stat {
	char name[VMM_STAT_NAME];	/* ends with a 0 */
	__u64 value;
};

struct vmm_stats {
	__u32 count;		/* in: room in stats; out: how many there are */
	__u32 pad;
	__u64 stats;		/* struct vmm_stat * */
};

/* ---- ioctls ------------------------------------------------------------ */

#define VMM_GET_INFO	_IOR(VMM_IOC_TYPE, 0x00, struct vmm_info)
#define VMM_GET_CPUID	_IOWR(VMM_IOC_TYPE, 0x01, struct vmm_cpuid)
#define VMM_CREATE_VM	_IO(VMM_IOC_TYPE, 0x02)

#define VMM_CREATE_VCPU	_IO(VMM_IOC_TYPE, 0x10)		/* arg: APIC ID */
#define VMM_MAP		_IOW(VMM_IOC_TYPE, 0x11, struct vmm_map)
#define VMM_UNMAP	_IOW(VMM_IOC_TYPE, 0x12, struct vmm_map)
#define VMM_PROTECT	_IOW(VMM_IOC_TYPE, 0x13, struct vmm_map)
#define VMM_SEND_MSI	_IOW(VMM_IOC_TYPE, 0x14, struct vmm_msi)
#define VMM_GET_CLOCK	_IOR(VMM_IOC_TYPE, 0x15, struct vmm_clock)
#define VMM_SET_CLOCK	_IOW(VMM_IOC_TYPE, 0x16, struct vmm_clock)
#define VMM_GET_STATS	_IOWR(VMM_IOC_TYPE, 0x1f, struct vmm_stats)
#define VMM_TRACK	_IOW(VMM_IOC_TYPE, 0x17, struct vmm_track)
#define VMM_HARVEST	_IOW(VMM_IOC_TYPE, 0x18, struct vmm_harvest)

#define VMM_BIND_DOORBELL	_IOW(VMM_IOC_TYPE, 0x19, struct vmm_doorbell)
#define VMM_UNBIND_DOORBELL	_IOW(VMM_IOC_TYPE, 0x1a, struct vmm_doorbell)
#define VMM_BIND_IRQ		_IOW(VMM_IOC_TYPE, 0x1b, struct vmm_irqfd)
#define VMM_UNBIND_IRQ		_IOW(VMM_IOC_TYPE, 0x1c, struct vmm_irqfd)
#define VMM_SET_ROUTES		_IOW(VMM_IOC_TYPE, 0x1d, struct vmm_routes)
#define VMM_COALESCE		_IOW(VMM_IOC_TYPE, 0x1e, struct vmm_coalesce)

#define VMM_RUN		_IO(VMM_IOC_TYPE, 0x20)
#define VMM_KICK	_IO(VMM_IOC_TYPE, 0x21)
#define VMM_GET_STATE	_IOWR(VMM_IOC_TYPE, 0x22, struct vmm_state)
#define VMM_SET_STATE	_IOW(VMM_IOC_TYPE, 0x23, struct vmm_state)
#define VMM_SET_CPUID	_IOW(VMM_IOC_TYPE, 0x24, struct vmm_cpuid)
#define VMM_INJECT	_IOW(VMM_IOC_TYPE, 0x25, struct vmm_inject)
#define VMM_GET_VCPU_STATS _IOWR(VMM_IOC_TYPE, 0x26, struct vmm_stats)
#define VMM_GET_TSC	_IOR(VMM_IOC_TYPE, 0x27, struct vmm_tsc)
#define VMM_SET_TSC	_IOW(VMM_IOC_TYPE, 0x28, struct vmm_tsc)

#endif /* _UAPI_LINUX_VMM_H */
