// SPDX-License-Identifier: GPL-2.0
/*
 * Guest physical memory. Each region is private anonymous memory: that is where
 * Linux has transparent huge pages for the asking (for a memfd an administrator
 * must first say so in shmem_enabled), merges pages (KSM) and moves them between
 * nodes; and no other process is to be handed it. With --hugepages it is a memfd
 * in hugetlbfs. An address has the same offset in a large page as its gpa, or
 * there could be no large nested page.
 *
 * The table is built before the first vCPU runs and is constant from then on, so
 * the accessors take no lock.
 */
#define _GNU_SOURCE 1		/* memfd_create */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "api.h"
#include "machine.h"
#include "mem_priv.h"

#ifndef MFD_HUGE_SHIFT
#define MFD_HUGE_SHIFT	26
#endif

struct mem *mem_new(struct api_vm *vm)
{
	struct mem *mem = calloc(1, sizeof(*mem));

	if (mem) {
		mem->vm = vm;
		mem->contents = -1;
	}
	return mem;
}

void mem_use_contents(struct mem *mem, int fd)
{
	mem->contents = fd;
}

void mem_use_hugepages(struct mem *mem, uint64_t size)
{
	mem->huge = size;
}

static void region_drop(struct mem_region *r)
{
	if (r->map)
		munmap(r->map, r->map_size);
	if (r->fd >= 0)
		close(r->fd);
}

void mem_free(struct mem *mem)
{
	size_t i;

	if (!mem)
		return;
	for (i = 0; i < mem->count; i++) {
		if (mem->vm)
			api_unmap(mem->vm, mem->region[i].gpa,
				  mem->region[i].size);
		free(mem->region[i].written);
		region_drop(&mem->region[i]);
	}
	free(mem->region);
	free(mem);
}

size_t mem_index(const struct mem *mem, uint64_t gpa)
{
	size_t i;

	for (i = 0; i < mem->count; i++)
		if (gpa < mem->region[i].gpa + mem->region[i].size)
			break;
	return i;
}

/*
 * `size` bytes that begin `offset` after a multiple of `align`, as mmap maps them;
 * NULL and errno. Found by reserving more than that.
 */
static uint8_t *map_aligned(size_t size, uint64_t align, uint64_t offset, int flags, int fd)
{
	uint8_t *all = mmap(NULL, size + align, PROT_NONE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	size_t before;

	if (all == MAP_FAILED)
		return NULL;
	before = (offset - (uintptr_t)all) & (align - 1);
	if (mmap(all + before, size, PROT_READ | PROT_WRITE, flags | MAP_FIXED, fd, 0) ==
	    MAP_FAILED) {
		int err = errno;

		munmap(all, size + align);
		errno = err;
		return NULL;
	}
	if (before)
		munmap(all, before);
	munmap(all + before + size, align - before);
	return all + before;
}

/* a file of hugetlbfs's that has `size` bytes; -1 and errno */
static int hugetlb_file(const char *name, uint64_t size, uint64_t page)
{
	unsigned int flags = MFD_CLOEXEC | MFD_HUGETLB |
			     (unsigned int)__builtin_ctzll(page) << MFD_HUGE_SHIFT;
	char file[64];
	int fd;

	snprintf(file, sizeof(file), "vmm-%s", name);
	fd = memfd_create(file, flags);
	if (fd >= 0 && ftruncate(fd, size) < 0) {
		int err = errno;

		close(fd);
		errno = err;
		return -1;
	}
	return fd;
}

/*
 * A wish, not a need: 2 MiB pages make 2 MiB nested mappings. What has no room for
 * one wants none with its neighbours in the address space.
 */
static void wish_large(const struct mem_region *r, bool large)
{
	large = large && r->size >= (-r->gpa & (MEM_LARGE - 1)) + MEM_LARGE;
	madvise(r->map, r->map_size, large ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
}

/* a page-aligned region of its own, not in the table yet */
static int region_new(const struct mem *mem, struct mem_region *r, uint64_t gpa,
		      uint64_t size, bool rom, const char *name)
{
	bool huge = mem->huge && !rom && gpa % mem->huge + size >= mem->huge;
	uint64_t page = huge ? mem->huge : MEM_LARGE, offset = gpa % page;
	int ret;

	*r = (struct mem_region){ .gpa = gpa, .size = size, .rom = rom, .fd = -1 };
	if (offset + size < size || offset + size > PTRDIFF_MAX)
		return -ENOMEM;
	if (huge) {
		/* reserved as a whole when it is mapped: no guest fails later */
		r->map_size = (offset + size + page - 1) & ~(page - 1);
		r->fd = hugetlb_file(name, r->map_size, page);
		if (r->fd < 0)
			return -errno;
		r->map = map_aligned(r->map_size, page, 0, MAP_SHARED, r->fd);
	} else {
		/* pages come when they are touched */
		r->map_size = size;
		r->map = map_aligned(r->map_size, page, offset,
				     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1);
	}
	if (!r->map) {
		ret = -errno;
		region_drop(r);
		return ret;
	}
	r->hva = huge ? r->map + offset : r->map;
	r->zeroed = !huge && mem->contents < 0;
	if (!r->zeroed && !huge && !rom &&
	    mmap(r->hva, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED,
		 mem->contents, mem->contents_used) == MAP_FAILED) {
		ret = -errno;
		region_drop(r);
		return ret;
	}
	if (!huge)
		wish_large(r, true);
	/* guest memory in a core file helps nobody and may hold secrets */
	madvise(r->map, r->map_size, MADV_DONTDUMP);
	return 0;
}

/* put a region into the table and tell the module; takes it over on success */
static int mem_insert(struct mem *mem, const struct mem_region *r)
{
	struct mem_region *table;
	size_t i = mem_index(mem, r->gpa);
	int ret;

	table = reallocarray(mem->region, mem->count + 1, sizeof(*table));
	if (!table)
		return -ENOMEM;
	mem->region = table;
	if (mem->vm) {
		ret = api_map(mem->vm, r->gpa, r->size, r->hva,
			      r->rom ? VMM_MAP_READONLY : 0);
		if (ret)
			return ret;
	}
	memmove(&table[i + 1], &table[i], (mem->count - i) * sizeof(*table));
	table[i] = *r;
	mem->count++;
	return 0;
}

static int mem_check(const struct mem *mem, uint64_t gpa, uint64_t size)
{
	size_t i;

	if (!size || (gpa | size) % MEM_PAGE || gpa + size - 1 < gpa)
		return -EINVAL;
	i = mem_index(mem, gpa);
	if (i < mem->count && mem->region[i].gpa < gpa + size)
		return -EEXIST;
	return 0;
}

int mem_add_ram(struct mem *mem, uint64_t gpa, uint64_t size, const char *name)
{
	struct mem_region r;
	int ret;

	ret = mem_check(mem, gpa, size);
	if (!ret)
		ret = region_new(mem, &r, gpa, size, false, name);
	if (ret)
		return ret;
	ret = mem_insert(mem, &r);
	if (ret)
		region_drop(&r);
	else
		mem->contents_used += size;
	return ret;
}

int mem_add_rom(struct mem *mem, uint64_t gpa, const void *data, size_t size,
		const char *name)
{
	struct mem_region r;
	int ret;

	ret = mem_check(mem, gpa, size);
	if (!ret)
		ret = region_new(mem, &r, gpa, size, true, name);
	if (ret)
		return ret;
	memcpy(r.hva, data, size);
	ret = mem_insert(mem, &r);
	if (ret)
		region_drop(&r);
	return ret;
}

/* the region that holds all of [gpa, gpa + len), or NULL */
static struct mem_region *mem_find(struct mem *mem, uint64_t gpa, uint64_t len)
{
	size_t i = mem_index(mem, gpa);
	struct mem_region *r;

	if (i == mem->count)
		return NULL;
	r = &mem->region[i];
	/* gpa < r->gpa + r->size holds here, so nothing below can wrap */
	if (gpa < r->gpa || len > r->size - (gpa - r->gpa))
		return NULL;
	return r;
}

void *mem_ptr(struct mem *mem, uint64_t gpa, uint64_t len)
{
	struct mem_region *r = mem_find(mem, gpa, len);

	return r && !r->rom ? r->hva + (gpa - r->gpa) : NULL;
}

const void *mem_ptr_ro(struct mem *mem, uint64_t gpa, uint64_t len)
{
	struct mem_region *r = mem_find(mem, gpa, len);

	return r ? r->hva + (gpa - r->gpa) : NULL;
}

/* is there memory behind every byte */
static bool mem_covered(struct mem *mem, uint64_t gpa, size_t len)
{
	size_t i;

	if (gpa + len < gpa)
		return false;
	for (i = mem_index(mem, gpa); len && i < mem->count; i++) {
		const struct mem_region *r = &mem->region[i];
		uint64_t n;

		if (gpa < r->gpa)
			return false;
		n = r->size - (gpa - r->gpa);
		if (n >= len)
			return true;
		gpa += n;
		len -= n;
	}
	return !len;
}

/* bytes of [gpa, gpa + len) in the region of gpa, which must exist */
static size_t mem_chunk(struct mem *mem, uint64_t gpa, size_t len,
			struct mem_region **r)
{
	uint64_t n;

	*r = mem_find(mem, gpa, 1);
	n = (*r)->size - (gpa - (*r)->gpa);
	return n < len ? n : len;
}

bool mem_read(struct mem *mem, uint64_t gpa, void *buf, size_t len)
{
	struct mem_region *r = mem_find(mem, gpa, len);
	uint8_t *to = buf;
	size_t n;

	/* nearly always */
	if (r) {
		memcpy(to, r->hva + (gpa - r->gpa), len);
		return true;
	}
	if (!mem_covered(mem, gpa, len))
		return false;
	for (; len; gpa += n, to += n, len -= n) {
		n = mem_chunk(mem, gpa, len, &r);
		memcpy(to, r->hva + (gpa - r->gpa), n);
	}
	return true;
}

bool mem_write(struct mem *mem, uint64_t gpa, const void *buf, size_t len)
{
	const uint8_t *from = buf;
	struct mem_region *r;
	size_t n;

	if (!mem_covered(mem, gpa, len))
		return false;
	for (; len; gpa += n, from += n, len -= n) {
		n = mem_chunk(mem, gpa, len, &r);
		if (r->rom)
			continue;
		memcpy(r->hva + (gpa - r->gpa), from, n);
		mem_wrote(mem, gpa, n);
	}
	return true;
}

void mem_large(struct mem *mem, bool large)
{
	size_t i;

	for (i = 0; i < mem->count; i++)
		if (mem->region[i].fd < 0)
			wish_large(&mem->region[i], large);
}

void mem_discard(void *hva, uint64_t len)
{
	uintptr_t start = ((uintptr_t)hva + MEM_PAGE - 1) & ~(MEM_PAGE - 1);
	uintptr_t end = ((uintptr_t)hva + len) & ~(MEM_PAGE - 1);

	/* nobody else has this memory: its next touch finds zeros */
	if (start < end)
		madvise((void *)start, end - start, MADV_DONTNEED);
}

uint64_t mem_low_size(struct mem *mem)
{
	uint64_t end = 0;
	size_t i;

	for (i = 0; i < mem->count; i++) {
		const struct mem_region *r = &mem->region[i];

		if (!r->rom && r->gpa + r->size <= MACHINE_MMIO_HOLE)
			end = r->gpa + r->size;
	}
	return end;
}

uint64_t mem_high_size(struct mem *mem)
{
	uint64_t size = 0;
	size_t i;

	for (i = 0; i < mem->count; i++)
		if (!mem->region[i].rom && mem->region[i].gpa >= MEM_4G)
			size += mem->region[i].size;
	return size;
}

/* a number from a file of the kernel's; false if there is no such file */
static bool read_number(const char *path, uint64_t *value)
{
	FILE *f = fopen(path, "re");
	bool found = f && fscanf(f, "%" SCNu64, value) == 1;

	if (f)
		fclose(f);
	return found;
}

void mem_hugepage_advice(uint64_t page, uint64_t memory, char *text, size_t len)
{
	const char *unit = page >> 30 ? "1G" : "2M";
	char dir[64], path[96];
	uint64_t free, wanted = (memory + page - 1) / page;

	snprintf(dir, sizeof(dir), "/sys/kernel/mm/hugepages/hugepages-%" PRIu64 "kB",
		 page >> 10);
	snprintf(path, sizeof(path), "%s/free_hugepages", dir);
	if (!read_number(path, &free)) {
		snprintf(text, len, "--hugepages=%s wants pages that this host has not: leave it out or choose another size",
			 unit);
		return;
	}
	snprintf(path, sizeof(path), "%s/nr_hugepages", dir);
	snprintf(text, len, "--hugepages=%s wants %" PRIu64 " free huge pages, found %" PRIu64 ": write a larger number to %s",
		 unit, wanted, free,
		 page == MEM_LARGE ? "/proc/sys/vm/nr_hugepages" : path);
}
