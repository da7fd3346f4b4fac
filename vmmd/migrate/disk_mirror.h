/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A disk that goes over with the machine, while it is written to: which granules are
 * still to be sent, and what the target does with those that come.
 */
#ifndef VMMD_MIGRATE_DISK_MIRROR_H
#define VMMD_MIGRATE_DISK_MIRROR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "migrate/message.h"
#include "state/ram.h"

struct block;
struct disk_mirror;

/* of the source. 0 or -errno with one line in err[] */
int disk_mirror_describe(const struct block *b, struct migrate_disk *d, char *err,
			 size_t errlen);
/*
 * Lock held. Begin to track, with all granules that are not known to be zero, or with
 * `zeroes` those, too. NULL with one line in err[].
 */
struct disk_mirror *disk_mirror_new(struct block *b, bool zeroes, char *err,
				    size_t errlen);
void disk_mirror_free(struct disk_mirror *m);	/* tracking goes on. NULL is fine */
/* add what was written meanwhile. Lock held; 0 or -errno */
int disk_mirror_harvest(struct disk_mirror *m);
uint64_t disk_mirror_pending(const struct disk_mirror *m);	/* granules */
/*
 * Send all pending ones, or until put fails; it gets their offset in bytes, and the
 * end of a disk filled up with zeroes. 0, what put returned, or -errno with one line
 * in err[], which is empty otherwise.
 */
int disk_mirror_send(struct disk_mirror *m, ram_put put, void *owner, char *err,
		     size_t errlen);

/*
 * Of the target. make: a new file at path, or a device that is there, of the size that
 * the source's disk has; *zero: all of it is zero. store: what came, where it belongs,
 * on the disk after a block_flush. 0 or -errno with one line in err[].
 */
int disk_mirror_make(const char *path, const struct migrate_disk *d, bool *zero,
		     char *err, size_t errlen);
int disk_mirror_store(struct block *b, uint64_t offset, const void *data,
		      uint32_t granules, char *err, size_t errlen);

#endif
