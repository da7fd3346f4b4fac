/* SPDX-License-Identifier: GPL-2.0 */
/*
 * vCPUs that count in every page of some memory, while the page tables of the
 * process or the mappings of the VM change under them.
 */
#ifndef RACE_H
#define RACE_H

#include "touch.h"

#define PAGE	0x1000ull
#define MIB	(1ull << 20)
#define AREA	TOUCH_AREA
#define CPUS	4
#define SIZE	(4 * MIB)
#define PAGES	(SIZE / PAGE)
#define ENOUGH	10			/* disturbances, however slow the machine is */
#define FOREVER	~0u			/* rounds: until the disturbances are over */

struct race {
	struct vm *vm;
	char *mem, *aside;		/* aside: as large, for moving away */
	unsigned int cpus;
	_Atomic unsigned int done;	/* vCPUs that have counted */
	u32 rounds[CPUS];		/* what they say: how often */
	_Atomic unsigned long retried;	/* exits because a page was away */
	void (*disturb)(struct race *r, unsigned int *seed);	/* or NULL */
	unsigned long disturbed;
	pthread_t thread;
};

/* maps r->mem at AREA */
void race_init(struct race *r, unsigned int cpus);
/* vCPU i counts at offset 4 * i of every page, while disturb is called */
enum vm_end race_run(struct race *r, u32 rounds);
/* counters that do not say what their vCPU said */
u64 race_wrong(struct race *r);

/* a random range of whole pages, mostly short, in *at and *size */
void race_pick(unsigned int *seed, u64 *at, u64 *size);
/* the process's page tables change, but no byte that it sees */
void race_change_process(struct race *r, unsigned int *seed);
/* memory is thrown away */
void race_discard(struct race *r, unsigned int *seed);
/* the VM's mappings change */
void race_change_vm(struct race *r, unsigned int *seed);
/*
 * Processes that run victim(ready), which writes a byte to `ready` once it has begun
 * and does not return, killed sooner and later; how many of them died of that
 */
unsigned int race_kill(unsigned int times, void (*victim)(int ready));
void race_ksm(const char *how);		/* to /sys/kernel/mm/ksm/run, if there is one */

#endif /* RACE_H */
