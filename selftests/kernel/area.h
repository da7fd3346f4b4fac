/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Guest memory with a word in each page that is known: whatever becomes of the pages,
 * guest and process must find it there.
 */
#ifndef AREA_H
#define AREA_H

#include "dirty.h"
#include "mm.h"

#define AREA_LARGE	(SIZE / (2 * MIB))	/* large pages in it */

struct area {
	struct vm *vm;
	struct vcpu *v;
	char *mem;			/* SIZE bytes at AREA */
	u32 want[PAGES];		/* first word of each page */
	struct vmm_info info;
};

/* a VM with `mem` behind AREA, and a word in each page by the process and the guest */
void area_init(struct area *a, char *mem);
/* SIZE bytes of a file in memory, at such an address that large pages can map them */
char *area_file(unsigned int memfd_flags);

/* by the process */
void area_set(struct area *a, u64 page, u32 value);
/* by the guest: VMM_EXIT_NONE, or the exit that came instead */
u32 area_write(struct area *a, u64 page, u32 value);
/* all pages again with other words, by the guest; how many of them could not be written */
u64 area_rewrite(struct area *a);
/* pages whose word is not what it should be, as guest or process find it */
u64 area_wrong(struct area *a);
/* large pages in the VM's tables, of 2 MiB */
u64 area_large(struct area *a);

/* is the bitmap of a harvest of all these pages and nothing else? */
bool area_bits(const u64 *map, const u64 *pages, unsigned int n);

#endif /* AREA_H */
