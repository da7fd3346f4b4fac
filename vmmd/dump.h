/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What a vCPU looked like when it could not go on: a report for a person.
 */
#ifndef VMMD_DUMP_H
#define VMMD_DUMP_H

#include <stdio.h>
#include <linux/vmm.h>

struct mem;

/* one exit, by name and with what the record says of it */
void dump_exit(FILE *to, const struct vmm_run *run);
/* registers, segments, control registers, and the bytes at CS:RIP */
void dump_state(FILE *to, struct mem *mem, const struct vmm_state *st);

#endif
