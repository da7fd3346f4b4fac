/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Guest physical memory: regions of RAM and ROM, mapped here and told to the
 * module through api.h. Guest addresses are hostile: every access goes through
 * a bounds check.
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
/*
 * RAM that is added from now on begins with what is in fd, in the order in which
 * it is added, and shares its pages until they are written to.
 */
void mem_use_contents(struct mem *mem, int fd);
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

/* large pages, where there is room for them, come when a page is touched; or none do */
void mem_large(struct mem *mem, bool large);

struct mem_info {
	uint64_t gpa;
	uint64_t size;		/* bytes */
	uint8_t *hva;
	bool rom;
	bool zeroed;		/* pages that the host has not are zero */
};

/* the table, in the order of gpa */
unsigned int mem_regions(const struct mem *mem);
struct mem_info mem_region(const struct mem *mem, unsigned int i);

/*
 * mem_dirty.c: which pages of RAM were written, by the guest or by us. Whoever
 * writes to guest memory through mem_ptr tells so: after the write or, with the
 * machine lock held from then on until the write is done, before it.
 */
void mem_wrote(struct mem *mem, uint64_t gpa, uint64_t len);
void mem_wrote_at(struct mem *mem, const void *hva, uint64_t len);
/* begin, or stop and forget. Lock held. 0, or -errno with nothing changed */
int mem_track(struct mem *mem, bool on);
bool mem_tracked(const struct mem *mem);
/*
 * Which pages of region i were written since the last call or the beginning, as
 * a bitmap of its size / 4096 bits in whole words; returns how many, or -errno.
 * A page's contents are read after that. Lock held. Of a ROM none ever are.
 */
long mem_harvest(struct mem *mem, unsigned int i, uint64_t *bitmap);

/*
 * As laid out by machine_build.c, in bytes: where RAM below MACHINE_MMIO_HOLE ends,
 * and how much RAM there is from 4 GiB on.
 */
uint64_t mem_low_size(struct mem *mem);
uint64_t mem_high_size(struct mem *mem);

#endif
