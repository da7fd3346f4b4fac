/* SPDX-License-Identifier: GPL-2.0 */
/* Slow a VM down: hold its vCPUs for a share of the time, in short pauses. */
#ifndef VMMD_MIGRATE_THROTTLE_H
#define VMMD_MIGRATE_THROTTLE_H

struct throttle;
struct vm;

struct throttle *throttle_new(struct vm *vm);	/* NULL: out of memory */
/* percent of the time that it is held, if it runs all the rest; 0: soon not at all */
void throttle_set(struct throttle *t, unsigned int percent);
void throttle_free(struct throttle *t);		/* lock not held; NULL is fine */

#endif
