// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "machine.h"
#include "mem.h"
#include "state/pages.h"
#include "state/ram.h"
#include "vm.h"

/* Documentation/admin-guide/mm/pagemap.rst: in memory, or in swap */
#define PAGEMAP_THERE	(3ULL << 62)
#define PAGEMAP_CHUNK	512

struct part {
	struct mem_info info;
	uint64_t *bitmap;	/* pending; a bit a page */
	uint64_t *found;	/* room for a harvest */
	uint64_t pages, words;
};

struct ram {
	struct vm *vm;
	struct part *part;	/* by region; a ROM has no bitmap */
	unsigned int nparts;
	uint64_t pending;
};

static void set_all(struct part *p)
{
	memset(p->bitmap, 0xff, p->words * sizeof(*p->bitmap));
	if (p->pages % 64)
		p->bitmap[p->words - 1] = (1ULL << p->pages % 64) - 1;
}

/* those that the host has; false: it does not tell */
static bool set_present(struct part *p, int pagemap)
{
	uint64_t entry[PAGEMAP_CHUNK], at, n, i;
	uint64_t first = (uintptr_t)p->info.hva / PAGES_SIZE;

	for (at = 0; at < p->pages; at += n) {
		n = p->pages - at < PAGEMAP_CHUNK ? p->pages - at : PAGEMAP_CHUNK;
		if (pread(pagemap, entry, n * sizeof(*entry),
			  (first + at) * sizeof(*entry)) !=
		    (ssize_t)(n * sizeof(*entry)))
			return false;
		for (i = 0; i < n; i++)
			if (entry[i] & PAGEMAP_THERE)
				p->bitmap[(at + i) / 64] |= 1ULL << (at + i) % 64;
	}
	return true;
}

static void count(struct ram *ram)
{
	unsigned int i;
	uint64_t w;

	ram->pending = 0;
	for (i = 0; i < ram->nparts; i++)
		for (w = 0; w < ram->part[i].words; w++)
			ram->pending += __builtin_popcountll(ram->part[i].bitmap[w]);
}

static void set_first(struct ram *ram)
{
	int pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	unsigned int i;

	for (i = 0; i < ram->nparts; i++) {
		struct part *p = &ram->part[i];

		if (p->bitmap && (!p->info.zeroed || pagemap < 0 ||
				  !set_present(p, pagemap)))
			set_all(p);
	}
	if (pagemap >= 0)
		close(pagemap);
}

static int make_parts(struct ram *ram, const struct mem *mem)
{
	unsigned int i;

	ram->nparts = mem_regions(mem);
	ram->part = calloc(ram->nparts, sizeof(*ram->part));
	for (i = 0; ram->part && i < ram->nparts; i++) {
		struct part *p = &ram->part[i];

		p->info = mem_region(mem, i);
		if (p->info.rom)
			continue;
		p->pages = p->info.size / PAGES_SIZE;
		p->words = (p->pages + 63) / 64;
		p->bitmap = calloc(p->words, sizeof(*p->bitmap));
		p->found = calloc(p->words, sizeof(*p->found));
		if (!p->bitmap || !p->found)
			return -ENOMEM;
	}
	return ram->part ? 0 : -ENOMEM;
}

struct ram *ram_new(struct vm *vm, bool diff)
{
	struct mem *mem = machine_mem(vm->machine);
	struct ram *ram = calloc(1, sizeof(*ram));
	int ret;

	if (!ram)
		return NULL;
	ram->vm = vm;
	ret = make_parts(ram, mem);
	if (!ret)
		ret = mem_track(mem, true);
	/* what came before is in the first round */
	if (!ret)
		ret = ram_harvest(ram);
	if (ret) {
		ram_free(ram);
		return NULL;
	}
	if (!diff) {
		set_first(ram);
		count(ram);
	}
	return ram;
}

void ram_free(struct ram *ram)
{
	unsigned int i;

	if (!ram)
		return;
	for (i = 0; ram->part && i < ram->nparts; i++) {
		free(ram->part[i].bitmap);
		free(ram->part[i].found);
	}
	free(ram->part);
	free(ram);
}

int ram_harvest(struct ram *ram)
{
	unsigned int i;
	uint64_t w;
	long n;

	for (i = 0; i < ram->nparts; i++) {
		struct part *p = &ram->part[i];

		if (!p->bitmap)
			continue;
		n = machine_harvest(ram->vm->machine, i, p->found);
		if (n < 0)
			return n;
		for (w = 0; n && w < p->words; w++)
			p->bitmap[w] |= p->found[w];
	}
	count(ram);
	return 0;
}

uint64_t ram_pending(const struct ram *ram)
{
	return ram->pending;
}

uint64_t ram_total(const struct ram *ram)
{
	uint64_t n = 0;
	unsigned int i;

	for (i = 0; i < ram->nparts; i++)
		n += ram->part[i].pages;
	return n;
}

static bool is_set(const struct part *p, uint64_t page)
{
	return p->bitmap[page / 64] & 1ULL << page % 64;
}

/* the next page that is set, from `page` on; p->pages: none */
static uint64_t next_set(const struct part *p, uint64_t page)
{
	uint64_t w = page / 64, bits;

	if (page >= p->pages)
		return p->pages;
	bits = p->bitmap[w] & ~0ULL << page % 64;
	while (!bits) {
		if (++w == p->words)
			return p->pages;
		bits = p->bitmap[w];
	}
	return w * 64 + __builtin_ctzll(bits);
}

static int send_part(struct ram *ram, struct part *p, ram_put put, void *owner)
{
	uint64_t page, end, i;
	int ret;

	for (page = next_set(p, 0); page < p->pages; page = next_set(p, end)) {
		for (end = page + 1; end < p->pages && end - page < PAGES_MAX; end++)
			if (!is_set(p, end))
				break;
		ret = put(owner, p->info.gpa + page * PAGES_SIZE,
			  p->info.hva + page * PAGES_SIZE, end - page);
		if (ret)
			return ret;
		for (i = page; i < end; i++)
			p->bitmap[i / 64] &= ~(1ULL << i % 64);
		ram->pending -= end - page;
	}
	return 0;
}

int ram_send(struct ram *ram, ram_put put, void *owner)
{
	unsigned int i;
	int ret = 0;

	for (i = 0; !ret && i < ram->nparts; i++)
		if (ram->part[i].bitmap)
			ret = send_part(ram, &ram->part[i], put, owner);
	return ret;
}
