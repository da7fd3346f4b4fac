// SPDX-License-Identifier: GPL-2.0
/*
 * Pages of guest memory that were written. The module knows what the guest and
 * the module itself wrote; what devices and the emulator here write is marked in
 * a bitmap of our own, atomically, since vCPU threads do so without a lock.
 *
 * A mark is made after its write, or the lock keeps a harvest from coming
 * between: either way a harvest that misses the mark is followed by another that
 * does not, and one that takes it is followed by a look at what was written.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "api.h"
#include "mem_priv.h"

static size_t words(const struct mem_region *r)
{
	return (r->size / MEM_PAGE + 63) / 64;
}

unsigned int mem_regions(const struct mem *mem)
{
	return mem->count;
}

struct mem_info mem_region(const struct mem *mem, unsigned int i)
{
	const struct mem_region *r = &mem->region[i];

	return (struct mem_info){
		.gpa = r->gpa,
		.size = r->size,
		.hva = r->hva,
		.rom = r->rom,
		.zeroed = r->zeroed,
	};
}

void mem_wrote(struct mem *mem, uint64_t gpa, uint64_t len)
{
	const struct mem_region *r;
	uint64_t page, end;
	size_t i;

	/* with that of mem_track: it is seen, or what was written is */
	atomic_thread_fence(memory_order_seq_cst);
	if (!atomic_load_explicit(&mem->tracked, memory_order_relaxed) || !len)
		return;
	for (i = mem_index(mem, gpa); i < mem->count; i++) {
		r = &mem->region[i];
		if (gpa + len <= r->gpa)
			return;
		if (r->rom)
			continue;
		page = gpa <= r->gpa ? 0 : (gpa - r->gpa) / MEM_PAGE;
		end = gpa + len >= r->gpa + r->size ? r->size / MEM_PAGE :
		      (gpa + len - r->gpa + MEM_PAGE - 1) / MEM_PAGE;
		for (; page < end; page++)
			atomic_fetch_or(&r->written[page / 64], 1ULL << page % 64);
	}
}

void mem_wrote_at(struct mem *mem, const void *hva, uint64_t len)
{
	uintptr_t at = (uintptr_t)hva;
	size_t i;

	for (i = 0; i < mem->count; i++) {
		const struct mem_region *r = &mem->region[i];
		uintptr_t start = (uintptr_t)r->hva;

		if (at >= start && at - start < r->size)
			mem_wrote(mem, r->gpa + (at - start), len);
	}
}

/* stays when tracking ends: vCPU threads, without the lock, may be at it */
static int make_written(struct mem_region *r)
{
	if (!r->written)
		r->written = calloc(words(r), sizeof(*r->written));
	return r->written ? 0 : -ENOMEM;
}

static int tell_module(struct mem *mem, const struct mem_region *r, bool on)
{
	return mem->vm ? api_track(mem->vm, r->gpa, r->size, on) : 0;
}

static void forget(struct mem_region *r)
{
	size_t w;

	for (w = 0; w < words(r); w++)
		atomic_store_explicit(&r->written[w], 0, memory_order_relaxed);
}

int mem_track(struct mem *mem, bool on)
{
	struct mem_region *r;
	size_t i;
	int ret = 0;

	if (on == atomic_load(&mem->tracked))
		return 0;
	for (i = 0; i < mem->count; i++) {
		r = &mem->region[i];
		if (r->rom)
			continue;
		ret = make_written(r);
		if (!ret)
			ret = tell_module(mem, r, on);
		if (ret)
			break;
		forget(r);
	}
	if (!ret) {
		atomic_store(&mem->tracked, on);
		/* with that of mem_wrote */
		atomic_thread_fence(memory_order_seq_cst);
		return 0;
	}
	while (i--)
		if (!mem->region[i].rom)
			tell_module(mem, &mem->region[i], !on);
	return ret;
}

bool mem_tracked(const struct mem *mem)
{
	return atomic_load(&mem->tracked);
}

long mem_harvest(struct mem *mem, unsigned int i, uint64_t *bitmap)
{
	struct mem_region *r = &mem->region[i];
	size_t w, n = words(r);
	long count = 0;
	int ret;

	if (r->rom || !mem->vm)
		memset(bitmap, 0, n * sizeof(*bitmap));
	if (r->rom)
		return 0;
	if (!atomic_load(&mem->tracked))
		return -EINVAL;
	ret = mem->vm ? api_harvest(mem->vm, r->gpa, r->size, bitmap) : 0;
	if (ret)
		return ret;
	for (w = 0; w < n; w++) {
		if (atomic_load_explicit(&r->written[w], memory_order_relaxed))
			bitmap[w] |= atomic_exchange(&r->written[w], 0);
		count += __builtin_popcountll(bitmap[w]);
	}
	return count;
}
