/* SPDX-License-Identifier: GPL-2.0 */
/* Copies of a disk that has block_random.h's model. */
#ifndef BLOCK_COPIES_H
#define BLOCK_COPIES_H

#include "block_random.h"

struct copy {
	struct block_copy *c;
	char path[256];
	int result;			/* 1: it goes on */
	char what[64];
	uint8_t instant[ODD];		/* what it has to have */
};

void copy_done(void *owner, int result);
/* begin one, in a file of that name */
void copy_start(struct disk *d, struct copy *c, const char *name,
		const struct block_copy_opts *o);
void copy_wait(struct disk *d, struct copy *c);
/* the file is a disk that has what the model had when the copy began */
void copy_check(struct copy *c);
void copy_forget(struct copy *c);

#endif
