/* SPDX-License-Identifier: GPL-2.0 */
/* Random requests to a disk, and a model of what it has to have then. */
#ifndef BLOCK_RANDOM_H
#define BLOCK_RANDOM_H

#include "block_fixture.h"

#define ODD	(DISK + 3 * 512)	/* the last granule is not whole */

/* of those that are busy none is where another is; many meet in a granule */
struct random {
	struct answer a;
	uint64_t offset, len;		/* what it was when it was submitted */
	bool busy;
	struct iovec iov[24];
	uint8_t pool[200 * 512 + 512];
	uint8_t *data;
};

extern uint8_t model[ODD + 4096];
extern uint64_t disk_size;

void make_model(uint64_t size);		/* and the file at path, the same */
void same_as_model(struct disk *d);
/* r[i], of n; the model has it at once. Most are not far from near */
void random_submit(struct disk *d, struct random *r, unsigned int n,
		   unsigned int i, uint64_t near);
/* is it done; then its result was looked at */
bool random_done(struct random *r);

/* path becomes that of a disk, or of an overlay over one; NULL: no such engine */
struct disk *start_disk(enum engine e, uint64_t size, bool overlay);

#define GUEST_AT_ONCE	6

/* a guest with some requests at once, everywhere on the disk */
extern struct random guest[GUEST_AT_ONCE];

void guest_works(struct disk *d, unsigned int steps);
void guest_rests(struct disk *d);		/* all are done */

#endif
