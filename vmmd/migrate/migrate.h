/* SPDX-License-Identifier: GPL-2.0 */
/* A running VM goes to another vmmd, and ends here when it runs there. */
#ifndef VMMD_MIGRATE_MIGRATE_H
#define VMMD_MIGRATE_MIGRATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "migrate/source.h"

#define MIGRATE_DOWNTIME_MS	300
#define MIGRATE_DOWNTIME_MAX	60000
#define MIGRATE_STREAMS_MAX	16

struct migrate;
struct vm;

struct migrate_opts {
	const char *to;			/* as address_parse has it */
	uint64_t downtime_ns;
	uint64_t bandwidth;		/* bytes a second; 0: as they go */
	const char *tls_dir;		/* NULL: none */
	unsigned int streams;		/* 1: all by one connection */
	bool insecure;
	bool dry_run;
	bool with_disk;			/* it goes, too: the target has another one */
	/* ssh: its name there; NULL: as here, if it goes, or as receive has it */
	const char *disk;
	/* from the worker's thread, the lock not held */
	void (*progress)(void *owner, const struct migrate_now *now);
	/*
	 * At the end, the lock held; it is gone when that returns. The VM ends then,
	 * if it was moved, or stands still, if that is in doubt.
	 */
	void (*done)(void *owner, const struct migrate_result *result);
	void *owner;
};

/* Lock held. NULL: not begun, with one line in err[]; one at a time */
struct migrate *migrate_start(struct vm *vm, const struct migrate_opts *opts,
			      char *err, size_t errlen);
/* give up soon, unless it is too late. Lock held */
void migrate_cancel(struct migrate *m);
/* before the VM is torn down, lock not held: cancel and wait */
void migrate_stop(struct vm *vm);
/*
 * Lock held: whoever asks knows that a VM in doubt runs nowhere else. 0; or -errno with
 * one line in err[], if its disk knows better or cannot be had.
 */
int migrate_force(struct vm *vm, char *err, size_t errlen);

#endif
