/* SPDX-License-Identifier: GPL-2.0 */
/* What Linux does with the memory of a process, made to happen and looked at. */
#ifndef MM_H
#define MM_H

#include "vm.h"

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE	25
#endif

void mm_write(const char *path, const char *text);	/* or ends the test */
long mm_number(const char *path);	/* in a file, or -1 */
long mm_vmstat(const char *name);	/* in /proc/vmstat, or -1 */

/* swap in compressed memory; false: there is none to be had */
bool mm_swap_on(void);
/* all is in memory again; 0 or the shell's status */
int mm_swap_off(void);
/* out with all of it, also with what is in use */
void mm_page_out(void *p, size_t size);

/* bytes that the process's page tables map by large entries, hugetlb's left out */
u64 mm_huge(const void *p, size_t size);
/* 0, or errno: whole 2 MiB pages of [p, p + size) are huge now */
int mm_collapse(void *p, size_t size);
/* entries of /proc/self/pagemap */
u64 mm_pfn(const void *p);		/* 0: not in memory */
unsigned int mm_resident(const void *p, size_t size);	/* pages */

/* the node of the page, or -errno */
int mm_node(const void *p);
/* the pages of [p, p + size), a large one by its first; 0 or errno */
int mm_move(void *p, size_t size, size_t page, int node);

#endif /* MM_H */
