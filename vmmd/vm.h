/* SPDX-License-Identifier: GPL-2.0 */
/*
 * One VM: the module's VM fd, the machine, its vCPUs, and how it starts, is
 * reset and ends.
 */
#ifndef VMMD_VM_H
#define VMMD_VM_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "api.h"
#include "machine.h"
#include "snapshot/snapshot.h"

/* exit status of vmmd run; also in vmmd.1 */
enum vm_exit {
	VM_EXIT_OK	= 0,	/* the guest powered itself off */
	VM_EXIT_ERROR	= 1,	/* it could not be started or the host failed */
	VM_EXIT_USAGE	= 2,
	VM_EXIT_CRASHED	= 3,	/* the guest did what no CPU can go on from */
	VM_EXIT_FORCED	= 4,	/* it did not power off within the grace */
};

struct lazy;
struct migrate;
struct vm;
struct vmstate;

enum on_crash { ON_CRASH_RESET, ON_CRASH_EXIT };

struct vm_options {
	struct vm_config config;
	unsigned int grace;		/* seconds */
	enum on_crash on_crash;		/* triple fault */
	uint32_t no_pv;			/* for cpuid_hide_pv */
	const char *features;		/* a file for features_read; NULL: all */
	bool detach;
	int ready_fd;			/* with detach: for detach_ready */
	/*
	 * With config.incoming: the state's beginning, and who loads the rest,
	 * before any vCPU runs, the lock held; 0 or -errno with one line in err[]
	 */
	const struct vmstate *state;
	int (*load)(struct vm *vm, void *owner, char *err, size_t errlen);
	/* after that, when nothing else can fail: may it run */
	int (*commit)(struct vm *vm, void *owner, char *err, size_t errlen);
	/* it does not come to run, for that reason; may be NULL, as the one before */
	void (*failed)(void *owner, const char *err);
	void *load_owner;
};

/* why the vCPUs do not run: each of these for itself */
enum vm_pause_why {
	VM_PAUSE_USER		= 1 << 0,
	VM_PAUSE_SNAPSHOT	= 1 << 1,
	VM_PAUSE_MIGRATE	= 1 << 2,
	VM_PAUSE_REPORT		= 1 << 3,
	VM_PAUSE_THROTTLE	= 1 << 4,
};

struct commands;
struct control;
struct vcpu;

struct vm {
	struct api_vm api;
	const struct vm_options *opt;
	pthread_mutex_t lock;		/* the machine lock */
	pthread_cond_t changed;		/* a vCPU's state did; with lock */
	struct loop *loop;
	struct machine *machine;
	struct vcpu *vcpu;		/* array of nvcpus */
	unsigned int nvcpus;
	unsigned int phys_bits;		/* MAXPHYADDR in the guest's CPUID */
	bool reset_posted;		/* lock */
	unsigned int paused;		/* lock: enum vm_pause_why */
	bool ending;			/* lock: no vCPU runs any more */
	struct lazy *lazy;		/* memory is still being loaded; or NULL */
	struct snapshot_save *saving;	/* lock: under way; NULL: none */
	struct snapshot_last last_snapshot; /* lock */
	struct migrate *migrating;	/* lock: under way; NULL: none */
	bool in_doubt;			/* lock: migrated, perhaps: VM_PAUSE_MIGRATE */
	bool lent;			/* lock: and the disk was let go of */
	uint64_t lent_disk;		/* lock: its generation then; 0: none */
	/* vm_signal.c */
	struct loop_fd *signal_watch;
	struct loop_timer *grace_timer;
	int signal_fd;
	bool asked;			/* lock: the power button was pressed */
	uint64_t asked_at;		/* lock: loop_now() */
	unsigned int grace;		/* lock: seconds from then on */
	uint64_t started_at;		/* loop_now() */
	struct control *control;	/* NULL: no socket */
	struct commands *commands;	/* NULL: no name */
};

/* run a VM from nothing to its end; enum vm_exit, errors are on stderr */
int vm_run(const struct vm_options *opt);

/* from a vCPU thread, lock not held */
void vm_crashed(struct vm *vm, int code);	/* ends the VM; was reported */
void vm_triple_fault(struct vm *vm);		/* resets or ends it */

/* lock held: no vCPU goes on, the loop ends with this code */
void vm_end(struct vm *vm, int code);

/*
 * Lock held, by any thread but a vCPU's; it is let go of meanwhile. All vCPUs are
 * PAUSED on return, and stay so until vm_resume was called for each reason. A
 * reset that the guest has begun is done by then. 0, or -ESHUTDOWN: the VM ends.
 */
int vm_pause(struct vm *vm, unsigned int why);
int vm_resume(struct vm *vm, unsigned int why);

/*
 * Lock held: press the power button, force it off after `grace` seconds, or at
 * once for 0. Whoever paused the VM for a user sees it go on. `who` is for the
 * line on stderr.
 */
void vm_power_off(struct vm *vm, unsigned int grace, const char *who);

/* loop's thread, lock held: vCPUs' state and counters on stderr; the VM goes on */
void vm_report(struct vm *vm);

/*
 * SIGUSR1: vm_report. SIGTERM, SIGINT, SIGHUP: power button, force after the
 * grace; another one, a second or more later, forces at once. init blocks them
 * in the calling thread, so before any other thread exists. 0 or -errno.
 */
int vm_signal_init(struct vm *vm);
void vm_signal_free(struct vm *vm);

#endif
