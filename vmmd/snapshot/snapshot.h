/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Snapshots of a running VM, and what is made of them. A snapshot is a file, and
 * one more with its disk; it is there as a whole, under its name, or not at all.
 */
#ifndef VMMD_SNAPSHOT_SNAPSHOT_H
#define VMMD_SNAPSHOT_SNAPSHOT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct snapshot_save;
struct vm;

/* the last one of this VM, for the next difference; path NULL: there is none */
struct snapshot_last {
	char *path;			/* absolute */
	char *disk;			/* the same; NULL: it has none */
	uint8_t id[16];
};

struct snapshot_result {
	int error;			/* 0 or -errno, with text */
	char text[512];			/* one line */
	uint64_t pages;			/* written, of 4096 bytes */
	uint64_t late_pages;		/* of these, copied while the VM was paused */
	uint64_t bytes;			/* of the file */
	uint64_t pause_ns;
	char left[512];			/* the disk of the one that was replaced, or "" */
};

struct snapshot_opts {
	const char *path;
	bool diff;			/* only what changed since the last one */
	/* from the worker's thread, the lock not held */
	void (*progress)(void *owner, uint64_t done, uint64_t total);
	/* at the end, the lock held; the save is gone when it returns */
	void (*done)(void *owner, const struct snapshot_result *result);
	void *owner;
};

/* Lock held. NULL: not begun, with one line in err[]; one at a time */
struct snapshot_save *snapshot_save_start(struct vm *vm,
					  const struct snapshot_opts *opts,
					  char *err, size_t errlen);
/* give up soon: done comes with -ECANCELED, unless it was too late. Lock held */
void snapshot_save_cancel(struct snapshot_save *save);
/* somebody else has harvested pages: the next snapshot is no difference. Lock held */
void snapshot_forget(struct vm *vm);
/* before the VM is torn down, lock not held: cancel and wait */
void snapshot_save_stop(struct vm *vm);

#endif
