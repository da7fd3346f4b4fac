/* SPDX-License-Identifier: GPL-2.0 */
/* Guests that notice when anything is lost, played while the host changes. */
#ifndef HAZARD_H
#define HAZARD_H

#include "vm.h"

struct game {
	const char *image;
	unsigned int cpus;
	u64 arg[GUEST_NARGS];
	unsigned int times;		/* one VM after the other */
	u32 ns;				/* report of how long it took, or 0 */
};

/* two vCPUs wake each other out of HLT: a wake-up lost is a standstill */
extern const struct game game_ping;
/* APIC timer in all its modes, against the TSC */
extern const struct game game_timers;
/*
 * four vCPUs work, and each needs its timer and its neighbour's IPIs; no clock goes
 * back, and none of them goes faster than the host's
 */
extern const struct game game_steady;

struct hazard {
	void (*once)(struct hazard *h, unsigned int n);
	unsigned int pause_us;		/* between two */
	unsigned int limit;		/* to the number of times; 0: none */
	unsigned int enough;		/* times: the game is played until then */
	unsigned int times;		/* how often it was done */
	volatile bool stop;
	int error;			/* the first errno: no more after that */
};

/* 0 when the guest played to its end; vm_explain has told if not */
int play(const struct game *g);
int play_under(const struct game *g, struct hazard *h);
/* text into a file of the kernel's; 0 or errno, also h->error if h is given */
int kernel_write(struct hazard *h, const char *path, const char *text);

#endif
