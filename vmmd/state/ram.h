/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Guest memory on its way to a file or to another host while the guest runs:
 * which pages are still to be sent. All that was there goes in a first round, in
 * each further one what was written meanwhile.
 */
#ifndef VMMD_STATE_RAM_H
#define VMMD_STATE_RAM_H

#include <stdbool.h>
#include <stdint.h>

struct ram;
struct vm;

/*
 * Lock held. Begin to track, unless that is done already, with all pages that are
 * not known to be zero; or, `diff`, with those that were written since the last
 * harvest. NULL: out of memory, or the module refuses.
 */
struct ram *ram_new(struct vm *vm, bool diff);
void ram_free(struct ram *ram);		/* tracking goes on */

/* add what was written meanwhile. Lock held; 0 or -errno */
int ram_harvest(struct ram *ram);
uint64_t ram_pending(const struct ram *ram);	/* pages */
uint64_t ram_total(const struct ram *ram);	/* pages of RAM */

/* takes up to PAGES_MAX neighbouring pages; 0 or -errno, which ends the round */
typedef int (*ram_put)(void *owner, uint64_t gpa, const void *data, uint32_t count);
/* send all pending ones, or until put fails: those not sent are pending still */
int ram_send(struct ram *ram, ram_put put, void *owner);

#endif
