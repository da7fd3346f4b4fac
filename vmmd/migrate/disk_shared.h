/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A disk that both sides of a migration have open: how it goes from one to the other,
 * and how its generation says whose it is. See commit.h.
 */
#ifndef VMMD_MIGRATE_DISK_SHARED_H
#define VMMD_MIGRATE_DISK_SHARED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "migrate/message.h"

struct block;

/* what both kinds say of a disk: its size, path and id, and whether it is only read */
void disk_shared_fill(const struct block *b, struct migrate_disk *d);

/* of the source: what it says of its disk, with a generation that no copy has */
int disk_shared_describe(struct block *b, struct migrate_disk *d, char *err,
			 size_t errlen);
/*
 * After the disk was let go of: whose is it? 0: ours again; -ESTALE: the
 * target's; -EAGAIN: somebody has the lock, and it may become either; another -errno:
 * it does not say. `never`: the target is known not to run. One line in err[].
 */
int disk_shared_settle(struct block *b, const struct migrate_disk *d, bool never,
		       char *err, size_t errlen);

/* of the target: 0 or -errno with one line in err[] */
/* is this, which may be open late, the disk that the source has */
int disk_shared_check(struct block *b, const struct migrate_disk *d, char *err,
		      size_t errlen);
/* "go" came: take it, or never run */
int disk_shared_claim(struct block *b, const struct migrate_disk *d, char *err,
		      size_t errlen);

#endif
