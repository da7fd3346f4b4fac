/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A vCPU: one thread, and a state machine that the machine lock guards.
 *
 *            vcpu_start            want RUN
 *   (new) ------------> PAUSED <-------------> RUNNING
 *                          |       want PAUSE     |
 *                          +------> FINISHED <----+   want FINISH
 */
#ifndef VMMD_VCPU_H
#define VMMD_VCPU_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "api.h"

struct emu_cache;
struct machine;
struct vm;

enum vcpu_state {
	VCPU_PAUSED,
	VCPU_RUNNING,
	VCPU_FINISHED,
};

struct vcpu {
	struct vm *vm;
	unsigned int id;		/* APIC ID */
	struct api_vcpu api;
	pthread_t thread;
	bool started;
	enum vcpu_state state;		/* machine lock; vm->changed tells */
	atomic_int want;		/* enum vcpu_state */
	atomic_bool pic_hint;		/* the PIC may have something */
	struct emu_cache *decoded;	/* own thread; NULL: goes without */
	bool window;			/* own thread: ExtINT can be taken now */
	bool told_user;			/* own thread: of a user's #UD */
	struct vmm_state initial;	/* as the module made it */
	struct vmm_cpuid_entry *cpuid;	/* as it was set */
	uint32_t ncpuid;
	struct vmm_state scratch;	/* own thread */
};

/* create it in the module, set its CPUID, read its initial state; 0 or -errno */
int vcpu_init(struct vcpu *v, struct vm *vm, unsigned int id,
	      struct vmm_cpuid_entry *cpuid, uint32_t ncpuid);
void vcpu_destroy(struct vcpu *v);	/* its thread has been joined */

int vcpu_start(struct vcpu *v);		/* the thread, paused; 0 or -errno */
void vcpu_join(struct vcpu *v);		/* after want FINISH; lock not held */

/* a line, the last exit and the state, on stderr; own thread, or it is PAUSED */
void vcpu_report(struct vcpu *v, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

/* the machine lock is held for these */
void vcpu_want(struct vcpu *v, enum vcpu_state want);	/* and kick */
int vcpu_reset(struct vcpu *v);		/* while PAUSED: back to `initial` */
/* take IA32_TSC out of the state's MSRs: the TSC stays as it is */
void vcpu_forget_tsc(struct vmm_state *st);
/* while PAUSED: go on from this state, and this TSC at the clock's ticks 0 */
int vcpu_load(struct vcpu *v, struct vmm_state *st, uint64_t tsc_base);
void vcpu_pic_raised(struct vcpu *v);

#endif
