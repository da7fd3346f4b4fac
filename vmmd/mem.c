// SPDX-License-Identifier: GPL-2.0
/*
 * Guest physical memory. Each region is one memfd, mapped shared: the pages
 * are ordinary page cache that Linux may swap, and another process (vhost-user)
 * can be handed the file. The table is built before the first vCPU runs and
 * is constant from then on, so the accessors take no lock.
 */
#define _GNU_SOURCE 1		/* memfd_create */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "api.h"
#include "machine.h"
#include "mem.h"

#define MEM_PAGE	4096ULL
#define MEM_4G		(1ULL << 32)

struct mem_region {
	uint64_t gpa;
	uint64_t size;
	uint8_t *hva;
	int fd;
	bool rom;
};

struct mem {
	struct api_vm *vm;
	struct mem_region *region;	/* sorted by gpa, no overlaps */
	size_t count;
};

struct mem *mem_new(struct api_vm *vm)
{
	struct mem *mem = calloc(1, sizeof(*mem));

	if (mem)
		mem->vm = vm;
	return mem;
}

static void region_drop(struct mem_region *r)
{
	if (r->hva)
		munmap(r->hva, r->size);
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
		region_drop(&mem->region[i]);
	}
	free(mem->region);
	free(mem);
}

/* index of the first region that ends after gpa; count if none does */
static size_t mem_index(const struct mem *mem, uint64_t gpa)
{
	size_t i;

	for (i = 0; i < mem->count; i++)
		if (gpa < mem->region[i].gpa + mem->region[i].size)
			break;
	return i;
}

/* a page-aligned region of its own, not in the table yet */
static int region_new(struct mem_region *r, uint64_t gpa, uint64_t size,
		      bool rom, const char *name)
{
	char file[64];
	int ret;

	*r = (struct mem_region){ .gpa = gpa, .size = size, .rom = rom };
	snprintf(file, sizeof(file), "vmm-%s", name);
	r->fd = memfd_create(file, MFD_CLOEXEC);
	if (r->fd < 0)
		return -errno;
	/* sparse: pages come when they are touched */
	if (ftruncate(r->fd, size) < 0)
		goto fail;
	r->hva = mmap(NULL, size, PROT_READ | PROT_WRITE,
		      MAP_SHARED | MAP_NORESERVE, r->fd, 0);
	if (r->hva == MAP_FAILED) {
		r->hva = NULL;
		goto fail;
	}
	/* a wish, not a need: 2 MiB pages make 2 MiB nested mappings */
	madvise(r->hva, size, MADV_HUGEPAGE);
	/* guest memory in a core file helps nobody and may hold secrets */
	madvise(r->hva, size, MADV_DONTDUMP);
	return 0;
fail:
	ret = -errno;
	region_drop(r);
	return ret;
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
		ret = region_new(&r, gpa, size, false, name);
	if (ret)
		return ret;
	ret = mem_insert(mem, &r);
	if (ret)
		region_drop(&r);
	return ret;
}

int mem_add_rom(struct mem *mem, uint64_t gpa, const void *data, size_t size,
		const char *name)
{
	struct mem_region r;
	int ret;

	ret = mem_check(mem, gpa, size);
	if (!ret)
		ret = region_new(&r, gpa, size, true, name);
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
	struct mem_region *r;
	uint8_t *to = buf;
	size_t n;

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
		if (!r->rom)
			memcpy(r->hva + (gpa - r->gpa), from, n);
	}
	return true;
}

void mem_discard(void *hva, uint64_t len)
{
	uintptr_t start = ((uintptr_t)hva + MEM_PAGE - 1) & ~(MEM_PAGE - 1);
	uintptr_t end = ((uintptr_t)hva + len) & ~(MEM_PAGE - 1);

	/* a hole in the memfd, as others may map it; what fails stays */
	if (start < end)
		madvise((void *)start, end - start, MADV_REMOVE);
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
