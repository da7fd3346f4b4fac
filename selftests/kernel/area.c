// SPDX-License-Identifier: GPL-2.0
/* Guest memory whose contents are known. See area.h. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "area.h"

#define TOLD	8		/* wrong pages that are told of */

static u32 *word(struct area *a, u64 page)
{
	return (u32 *)(a->mem + page * PAGE);
}

char *area_file(unsigned int memfd_flags)
{
	char *p = touch_alloc(SIZE, 2 * MIB);
	int fd = memfd_create("area", MFD_CLOEXEC | memfd_flags);

	if (fd < 0 || ftruncate(fd, SIZE))
		return NULL;
	p = mmap(p, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0);
	close(fd);
	return p == MAP_FAILED ? NULL : p;
}

void area_init(struct area *a, char *mem)
{
	u64 page;

	a->vm = touch_vm(1);
	a->v = &a->vm->vcpu[0];
	a->mem = mem;
	if (vm_ioctl(a->vm->dev, VMM_GET_INFO, &a->info) || vm_map(a->vm, AREA, SIZE, mem, 0))
		vm_die("no VM with memory to be had");
	for (page = 0; page < PAGES; page++)
		area_set(a, page, page + 1);
	if (area_rewrite(a))
		vm_die("memory cannot be written");
}

void area_set(struct area *a, u64 page, u32 value)
{
	*word(a, page) = a->want[page] = value;
}

u32 area_write(struct area *a, u64 page, u32 value)
{
	u32 r = touch_write(a->v, AREA + page * PAGE, value);

	if (r == VMM_EXIT_NONE)
		a->want[page] = value;
	return r;
}

u64 area_rewrite(struct area *a)
{
	u64 page, failed = 0;

	for (page = 0; page < PAGES; page++)
		failed += area_write(a, page, a->want[page] + PAGES) != VMM_EXIT_NONE;
	return failed;
}

u64 area_wrong(struct area *a)
{
	u64 page, wrong = 0;
	u32 value, r;

	for (page = 0; page < PAGES; page++) {
		r = touch_read(a->v, AREA + page * PAGE, &value);
		if (r == VMM_EXIT_NONE && value == a->want[page] && *word(a, page) == value)
			continue;
		if (wrong++ < TOLD)
			fprintf(stderr, "# page %llu: %u wanted, the guest found %u (exit %s), "
				"the process %u\n", page, a->want[page], value,
				vm_exit_name(r), *word(a, page));
	}
	return wrong;
}

u64 area_large(struct area *a)
{
	return vm_stat(a->vm, "pages_2m");
}

bool area_bits(const u64 *map, const u64 *pages, unsigned int n)
{
	u64 want[WORDS(SIZE)] = { };

	while (n--)
		want[pages[n] / 64] |= 1ull << pages[n] % 64;
	return !memcmp(want, map, sizeof(want));
}
