/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Guest physical memory: regions of RAM and ROM, mapped here and told to the module through api.h. Guest addresses are
 * hostile: every access goes through a bounds check.
 */
#ifndef VMMD_MEM_H
#define VMMD_MEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct api_vm;
struct mem;

struct mem *mem_new(struct api_vm *vm);	/* vm NULL: no module (unit tests) */
void mem_free(struct mem *mem);
/*
 * RAM that is added from now on lies in hugetlbfs's pages of this size in bytes,
 * which are the VM's alone from then on; but not what is less than such a page.
 */
void mem_use_hugepages(struct mem *mem, uint64_t size);
/* a line: why `memory` bytes of them could not be had, and what to do */
void mem_hugepage_advice(uint64_t page, uint64_t memory, char *text, size_t len);

/*
 * Add zeroed RAM (or ROM: guest writes are dropped) at gpa. 0, or -errno with
 * nothing changed. Sizes in bytes, page-aligned.
 */
int mem_add_ram(struct mem *mem, uint64_t gpa, uint64_t size, const char *name);
int mem_add_rom(struct mem *mem, uint64_t gpa, const void *data, size_t size,
		const char *name);

/* [gpa, gpa+len) as host memory, or NULL if not all of it is in one region */
void *mem_ptr(struct mem *mem, uint64_t gpa, uint64_t len);		/* RAM only */
const void *mem_ptr_ro(struct mem *mem, uint64_t gpa, uint64_t len);	/* RAM, ROM */

/*
 * Across regions; false if any byte has no memory (nothing copied then). Bytes
 * written to ROM are dropped.
 */
bool mem_read(struct mem *mem, uint64_t gpa, void *buf, size_t len);
bool mem_write(struct mem *mem, uint64_t gpa, const void *buf, size_t len);

/*
 * Give the whole pages within [hva, hva + len) of guest RAM, as mem_ptr told
 * it, back to the host: they are empty when they are touched again.
 */
void mem_discard(void *hva, uint64_t len);

/*
 * As laid out by machine.c, in bytes: where RAM below MACHINE_MMIO_HOLE ends,
 * and how much RAM there is from 4 GiB on.
 */
uint64_t mem_low_size(struct mem *mem);
uint64_t mem_high_size(struct mem *mem);

#endif
