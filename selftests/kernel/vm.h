/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The harness of the kernel selftests: a VM around a bare guest of guests/.
 *
 * The usual test is three lines:
 *
 *	struct vm *vm = vm_guest("long64", 1);
 *	EXPECT_EQ(VM_EXITED, vm_run(vm, 5000));
 *	EXPECT_EQ(0, vm->result) vm_explain(vm);
 *
 * Layers, lowest first; each may be used without those above it:
 *
 *   ioctls	vm_ioctl(fd, request, arg) -> result or -errno. Nothing else.
 *   objects	vm_create, vm_map, vm_add_vcpu, vm_free: one VM, its RAM, its
 *		vCPUs. vcpu_start16/32/64 put a vCPU at an address in a mode.
 *   one exit	vcpu_run: one VMM_RUN. vcpu_handle: what the exit asks for,
 *		answered from the test devices below. Loop over both for full
 *		control from a single thread.
 *   whole run	vm_run: a thread for each vCPU, until the guest ends, the time
 *		is over or a callback stops it. vm->on_exit sees each exit first.
 *   state	vm_save, vm_rebuild, vm_roundtrip: all state out, VM destroyed,
 *		made anew, all state in.
 *
 * All that cannot fail in a healthy system ends the test with a sentence and
 * exit status 1 (vm_die), so that callers need not check it; what a test may
 * want to see fail returns -errno.
 *
 * Guests talk to struct testdev through the ports and the MMIO range of
 * guests/bare/abi.h. Memory: RAM at 0, plus one page on either side of the
 * MMIO range, so that accesses across its edges can be tried.
 */
#ifndef VM_H
#define VM_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <linux/vmm.h>

#include "../../guests/bare/abi.h"

typedef __u8 u8;
typedef __u16 u16;
typedef __u32 u32;
typedef __u64 u64;
typedef __s64 s64;

#define VM_MAX_VCPUS	64
#define VM_MAX_MAPS	64
#define VM_RAM		(16u << 20)

struct vm;

/* ---- ioctls ---------------------------------------------------------------- */

int vm_open(void);			/* /dev/vmm, or ends the test */
int vm_ioctl(int fd, unsigned long request, void *arg);
int vm_ioctl_n(int fd, unsigned long request, unsigned long arg);

/* ---- devices of the guest: testdev.c --------------------------------------- */

#define TESTDEV_REPORTS	1024

struct testdev {
	pthread_mutex_t lock;
	char console[4096];		/* what it printed, NUL at the end */
	unsigned int console_len;
	struct {
		u32 code;
		u64 value;
	} report[TESTDEV_REPORTS];
	unsigned int nreports;
	u32 code, value_lo;		/* of the report under way */
	u32 latch, latch_size, latch_count;
	u8 counter;
	u32 sum;
	u32 asked;			/* last value at PORT_ASK */
	unsigned int asks;		/* number of OUTs to it */
	bool exited;			/* wrote PORT_EXIT */
	u32 exit_code;
	u8 mmio[GUEST_MMIO_SIZE];
};

void testdev_init(struct testdev *d);
/* IN fills *data, OUT takes it; ports of nobody read as all ones */
void testdev_io(struct testdev *d, u16 port, unsigned int size, bool in, u32 *data);
/* false: address is not in the device */
bool testdev_mmio(struct testdev *d, u64 gpa, unsigned int size, bool write, void *data);
/* value of the nth report with this code, or 0 and *found = false */
u64 testdev_report(struct testdev *d, u32 code, unsigned int nth, bool *found);
/* the same as the guest sees it: everything but the lock */
bool testdev_equal(const struct testdev *a, const struct testdev *b);

/* ---- objects --------------------------------------------------------------- */

struct vcpu {
	struct vm *vm;
	int fd;
	u32 id;				/* APIC ID = index in vm->vcpu */
	struct vmm_run *run;
	u64 exits;			/* RUNs that returned 0 */
	pthread_t thread;
	bool parked;
};

enum vm_end {
	VM_NONE,			/* still running */
	VM_EXITED,			/* wrote PORT_EXIT; vm->result is what */
	VM_SHUTDOWN,			/* VMM_EXIT_SHUTDOWN */
	VM_BAD_EXIT,			/* an exit nobody handles; vm->result */
	VM_RUN_ERROR,			/* VMM_RUN failed; vm->result = -errno */
	VM_TIMEOUT,
	VM_STOPPED,			/* by a callback */
};

/* what on_exit wants */
enum vm_verdict {
	VM_HANDLE,			/* go on as usual */
	VM_AGAIN,			/* handled, or not at all: RUN again */
	VM_STOP,			/* vm_run returns VM_STOPPED */
};

struct vm {
	int dev, fd;
	u8 *ram;			/* gpa 0 */
	size_t ram_size;
	int memfd;			/* RAM, then the two edge pages */
	struct vmm_map map[VM_MAX_MAPS];	/* by vm_map, for vm_rebuild */
	unsigned int nmaps;
	struct vcpu vcpu[VM_MAX_VCPUS];
	unsigned int nvcpus;
	struct testdev testdev;

	/* callbacks, all optional; called on the vCPU's thread */
	enum vm_verdict (*on_exit)(struct vcpu *v);
	void *priv;			/* the test's own */

	/* the run: under lock */
	pthread_mutex_t lock;
	pthread_cond_t cond;
	enum vm_end end;
	int result;
	struct vcpu *ender;		/* whose exit ended it */
	bool parking;
	unsigned int threads;		/* vCPU threads that have not left */
};

/* VM with RAM at 0 and the edge pages, no vCPU; memfd-backed */
struct vm *vm_create(size_t ram_size);
/* vCPU with the next ID, supported CPUID, reset state */
struct vcpu *vm_add_vcpu(struct vm *vm);
u64 vm_stat(struct vm *vm, const char *name);		/* a counter of vmm(4) */
u64 vcpu_stat(struct vcpu *v, const char *name);
/* RAM, `cpus` vCPUs, image at GUEST_IMAGE, vCPU 0 at its entry in real mode */
struct vm *vm_guest(const char *image, unsigned int cpus);
void vm_free(struct vm *vm);

/* build/guests/<image>.bin to gpa; its size in bytes */
size_t vm_load(struct vm *vm, const char *image, u64 gpa);
void vm_arg(struct vm *vm, unsigned int n, u64 value);	/* arg(n) of the guest */
int vm_map(struct vm *vm, u64 gpa, u64 size, void *hva, u32 flags);	/* 0, -errno */
int vm_unmap(struct vm *vm, u64 gpa, u64 size);
int vm_protect(struct vm *vm, u64 gpa, u64 size, u32 flags);

/* RAX..R15 zero, RFLAGS 2, flat segments where the mode has them */
void vcpu_start16(struct vcpu *v, u16 cs, u16 ip);
void vcpu_start32(struct vcpu *v, u32 eip);		/* no paging */
void vcpu_start64(struct vcpu *v, u64 rip);		/* writes page tables */

/*
 * The guests that need no argument, end with result 0, and run the same way
 * each time: ROW(name) for each of them, in tests' tables of variants.
 */
#define VM_PLAIN_GUESTS(ROW)						\
	ROW(letter); ROW(real16); ROW(prot32); ROW(tasks); ROW(long64);	\
	ROW(ports16); ROW(ports32); ROW(ports64);			\
	ROW(mmio32); ROW(mmio64);					\
	ROW(exceptions16); ROW(exceptions32); ROW(exceptions64);	\
	ROW(debug); ROW(cpuid)

/* ---- state ----------------------------------------------------------------- */

/* indices of vmm_apic.regs[] */
#define APIC_SVR	0x0f
#define APIC_LVT0	0x35

int vcpu_get(struct vcpu *v, u32 mask, struct vmm_state *st);	/* 0, -errno */
int vcpu_set(struct vcpu *v, u32 mask, struct vmm_state *st);
/* LINT0 passes the PIC's interrupts on, as firmware sets it up */
void vcpu_virtual_wire(struct vcpu *v);
int vcpu_set_cpuid(struct vcpu *v);	/* all that VMM_GET_CPUID offers */
enum cpuid_reg { CPUID_EAX, CPUID_EBX, CPUID_ECX, CPUID_EDX };
/* ... but for bits of a leaf, with index 0 */
void vcpu_hide(struct vcpu *v, u32 function, enum cpuid_reg reg, u32 bits);
struct vmm_msr *vcpu_find_msr(struct vmm_state *st, u32 index);	/* or NULL */

struct vm_saved {
	struct vmm_state state[VM_MAX_VCPUS];
	struct vmm_clock clock;
};

/* the vCPUs must not be in VMM_RUN: between vm_runs, or after vm_park */
void vm_save(struct vm *vm, struct vm_saved *s);
/* close all, create, map, write all */
void vm_rebuild(struct vm *vm, const struct vm_saved *s);
/* vm_save and vm_rebuild; from on_exit it stops the other vCPUs meanwhile */
void vm_roundtrip(struct vm *vm, struct vcpu *caller);

/* ---- running --------------------------------------------------------------- */

/* one VMM_RUN: 0 or -errno; the exit is in v->run */
int vcpu_run(struct vcpu *v);
/* the same, and again after -EINTR: the kernel may have had work for the thread */
int vcpu_exit(struct vcpu *v);
/*
 * Answers v->run's exit from the test devices. VM_NONE: RUN again; else how
 * the guest ended. Port I/O incl. string forms; MMIO as GUEST_MMIO_DESC says.
 */
enum vm_end vcpu_handle(struct vcpu *v);
/* the exit's instruction is done: the next RUN goes on behind it */
void vcpu_complete(struct vcpu *v);
/* takes over what COMPLETE and `set` still ask for, without running the guest */
void vcpu_finish(struct vcpu *v);
/* vcpu_run and vcpu_handle until the guest ends; for one vCPU, no watchdog */
enum vm_end vcpu_loop(struct vcpu *v);

/* all vCPUs, at most ms milliseconds; may be called again to go on */
enum vm_end vm_run(struct vm *vm, unsigned int ms);
/* on a vCPU thread: the others out of VMM_RUN and waiting, until vm_unpark */
void vm_park(struct vm *vm, struct vcpu *caller);
void vm_unpark(struct vm *vm);
void vm_kick_all(struct vm *vm);

/* ---- reports --------------------------------------------------------------- */

void vm_die(const char *format, ...) __attribute__((noreturn, format(printf, 1, 2)));
/* how it ended, console, registers, as TAP comments */
void vm_explain(struct vm *vm);
const char *vm_end_name(enum vm_end end);
const char *vm_exit_name(u32 reason);	/* enum vmm_exit */
u64 vm_now_ms(void);			/* monotonic */

/* ---- insn.c: for vcpu_handle ----------------------------------------------- */

/* INS/OUTS at CS:RIP, all its repetitions; identity-mapped memory */
void insn_string_io(struct vcpu *v);
/* the access that GUEST_MMIO_DESC announces */
void insn_mmio(struct vcpu *v);
/* guest memory: RAM and edge pages; NULL if there is none for all of it */
void *vm_gpa(struct vm *vm, u64 gpa, size_t size);

#endif /* VM_H */
