/* SPDX-License-Identifier: GPL-2.0 */
/* A VM made from a snapshot: its options, its disk, and its state. */
#ifndef VMMD_SNAPSHOT_RESTORE_H
#define VMMD_SNAPSHOT_RESTORE_H

#include <stdbool.h>
#include <stddef.h>

#include "state/saved_options.h"

struct snapshot_file;

struct restore {
	/* in */
	const char *file;
	const char *disk;		/* an overlay that is to be made; NULL: named after the VM */
	bool discard_disk;		/* its changes are forgotten at the end */
	bool eager;			/* all of memory is there before the guest runs */
	int memory_fd;			/* all of RAM, in the order of gpa; -1: none */
	/* private */
	struct snapshot_file *chain[32];
	int n;
	struct saved_options saved;
	char *disk_path;
	bool disk_made;
	bool started;			/* the guest has the disk */
};

/*
 * Read the snapshot's beginning, take the options in it and those of argv (argc
 * of them, of the host's side only), and make the disk. 0: restore_options says
 * what is to be run; else an enum vm_exit, told on stderr. restore_end either way.
 */
int restore_begin(struct restore *r, int argc, char **argv);
struct vm_options *restore_options(struct restore *r);
/* after vm_run; of a VM that did not come to run the disk goes again */
void restore_end(struct restore *r);

/* what comes behind the pages, lock held; 0 or -errno with one line in err[] */
int restore_state(struct snapshot_file *f, struct vm *vm, char *err, size_t errlen);
/* fill a memory of `size` bytes, all of RAM in the order of gpa; told in err[] */
int restore_memory(struct snapshot_file **chain, int n, void *memory, size_t size,
		   char *err, size_t errlen);

#endif
