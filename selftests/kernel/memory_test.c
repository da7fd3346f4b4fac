// SPDX-License-Identifier: GPL-2.0
/* VMM_MAP, VMM_UNMAP, VMM_PROTECT: arguments, errors, and what the guest sees. */
#define _GNU_SOURCE
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kselftest_harness.h"
#include "touch.h"

#define PAGE	0x1000ull
#define AREA	TOUCH_AREA
#define PAGES	16

FIXTURE(memory) {
	struct vm *vm;
	struct vcpu *v;
	u32 *mem;			/* PAGES of host memory; each begins with its number */
};

FIXTURE_SETUP(memory)
{
	unsigned int i;

	self->vm = touch_vm(1);
	self->v = &self->vm->vcpu[0];
	self->mem = touch_alloc(PAGES * PAGE, PAGE);
	for (i = 0; i < PAGES; i++)
		self->mem[i * 1024] = 100 + i;
}

FIXTURE_TEARDOWN(memory)
{
	vm_free(self->vm);
}

static int change(struct vm *vm, unsigned long request, u64 gpa, u64 size, u64 hva,
		  u32 flags, u32 pad)
{
	struct vmm_map m = {
		.gpa = gpa, .size = size, .hva = hva, .flags = flags, .pad = pad,
	};

	return vm_ioctl(vm->fd, request, &m);
}

static int map(struct vm *vm, u64 gpa, u64 size, void *hva, u32 flags)
{
	return change(vm, VMM_MAP, gpa, size, (uintptr_t)hva, flags, 0);
}

static int unmap(struct vm *vm, u64 gpa, u64 size)
{
	return change(vm, VMM_UNMAP, gpa, size, 0, 0, 0);
}

static int protect(struct vm *vm, u64 gpa, u64 size, u32 flags)
{
	return change(vm, VMM_PROTECT, gpa, size, 0, flags, 0);
}

/* the dword at gpa, or ~exit */
static u32 read_at(struct vcpu *v, u64 gpa)
{
	u32 value, r = touch_read(v, gpa, &value);

	return r ? ~r : value;
}

#define IS_MMIO	((u32)~VMM_EXIT_MMIO)

TEST_F(memory, guest_and_host_see_the_same_bytes)
{
	ASSERT_EQ(0, map(self->vm, AREA, PAGES * PAGE, self->mem, 0));
	EXPECT_EQ(100, read_at(self->v, AREA));
	EXPECT_EQ(107, read_at(self->v, AREA + 7 * PAGE));
	EXPECT_EQ(VMM_EXIT_NONE, touch_write(self->v, AREA + 7 * PAGE, 1234));
	EXPECT_EQ(1234, self->mem[7 * 1024]);
	self->mem[7 * 1024] = 4321;
	EXPECT_EQ(4321, read_at(self->v, AREA + 7 * PAGE));
	self->mem[8 * 1024] = TOUCH_INSN;
	EXPECT_EQ(VMM_EXIT_NONE, touch_fetch(self->v, AREA + 8 * PAGE));
}

TEST_F(memory, aliases_are_coherent)
{
	ASSERT_EQ(0, map(self->vm, AREA, PAGE, self->mem, 0));
	ASSERT_EQ(0, map(self->vm, AREA + 5 * PAGE, PAGE, self->mem, 0));
	ASSERT_EQ(0, map(self->vm, AREA + 9 * PAGE, PAGE, self->mem, VMM_MAP_READONLY));
	EXPECT_EQ(VMM_EXIT_NONE, touch_write(self->v, AREA, 77));
	EXPECT_EQ(77, read_at(self->v, AREA + 5 * PAGE));
	EXPECT_EQ(VMM_EXIT_NONE, touch_write(self->v, AREA + 5 * PAGE, 78));
	EXPECT_EQ(78, read_at(self->v, AREA));
	EXPECT_EQ(78, read_at(self->v, AREA + 9 * PAGE));
}

TEST_F(memory, no_mapping_is_mmio)
{
	struct vmm_exit_mmio *mmio = &self->v->run->exit.mmio;

	ASSERT_EQ(0, map(self->vm, AREA, PAGE, self->mem, 0));
	EXPECT_EQ(IS_MMIO, read_at(self->v, AREA + PAGE + 8));
	EXPECT_EQ(AREA + PAGE + 8, mmio->gpa);
	EXPECT_EQ(0, mmio->access & VMM_ACCESS_WRITE);
	EXPECT_EQ(VMM_EXIT_MMIO, touch_write(self->v, AREA - 16, 1));
	EXPECT_EQ(AREA - 16, mmio->gpa);
	EXPECT_EQ(VMM_ACCESS_WRITE, mmio->access & VMM_ACCESS_WRITE);
}

TEST_F(memory, bad_arguments_are_refused)
{
	const struct {
		unsigned long request;
		u64 gpa, size, hva;
		u32 flags, pad;
		int want;
	} cases[] = {
		{ VMM_MAP, AREA, 0, 1, 0, 0, -EINVAL },
		{ VMM_MAP, AREA + 1, PAGE, 1, 0, 0, -EINVAL },
		{ VMM_MAP, AREA, PAGE + 8, 1, 0, 0, -EINVAL },
		{ VMM_MAP, AREA, PAGE, 1, 2, 0, -EINVAL },
		{ VMM_MAP, AREA, PAGE, 1, 1u << 31, 0, -EINVAL },
		{ VMM_MAP, AREA, PAGE, 1, 0, 1, -EINVAL },
		{ VMM_MAP, 1ull << 52, PAGE, 1, 0, 0, -EINVAL },
		{ VMM_MAP, 1ull << 63, PAGE, 1, 0, 0, -EINVAL },
		{ VMM_MAP, AREA, -PAGE, 1, 0, 0, -EINVAL },
		{ VMM_MAP, -PAGE, PAGE, 1, 0, 0, -EINVAL },
		{ VMM_MAP, -PAGE, 2 * PAGE, 1, 0, 0, -EINVAL },
		/* not the user's: kernel half, no address at all, wrapping */
		{ VMM_MAP, AREA, PAGE, 0xffff888000000000, 0, 0, -EINVAL },
		{ VMM_MAP, AREA, PAGE, 0xffffffff80000000, 0, 0, -EINVAL },
		{ VMM_MAP, AREA, PAGE, 0x8000000000000000, 0, 0, -EINVAL },
		{ VMM_MAP, AREA, 2 * PAGE, 0xfffffffffffff000, 0, 0, -EINVAL },
		{ VMM_UNMAP, AREA, 0, 0, 0, 0, -EINVAL },
		{ VMM_UNMAP, AREA + 8, PAGE, 0, 0, 0, -EINVAL },
		{ VMM_UNMAP, AREA, PAGE, PAGE, 0, 0, -EINVAL },
		{ VMM_UNMAP, AREA, PAGE, 0, VMM_MAP_READONLY, 0, -EINVAL },
		{ VMM_UNMAP, AREA, PAGE, 0, 0, 1, -EINVAL },
		{ VMM_UNMAP, AREA, -PAGE, 0, 0, 0, -EINVAL },
		{ VMM_UNMAP, AREA, PAGE, 0, 0, 0, -ENOENT },
		{ VMM_PROTECT, AREA, 0, 0, 0, 0, -EINVAL },
		{ VMM_PROTECT, AREA, PAGE, PAGE, 0, 0, -EINVAL },
		{ VMM_PROTECT, AREA, PAGE, 0, 2, 0, -EINVAL },
		{ VMM_PROTECT, AREA, PAGE, 0, 0, 1, -EINVAL },
		{ VMM_PROTECT, AREA, -PAGE, 0, 0, 0, -EINVAL },
		{ VMM_PROTECT, AREA, PAGE, 0, VMM_MAP_READONLY, 0, -ENOENT },
	};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(cases); i++)
		EXPECT_EQ(cases[i].want,
			  change(self->vm, cases[i].request, cases[i].gpa, cases[i].size,
				 cases[i].hva == 1 ? (uintptr_t)self->mem : cases[i].hva,
				 cases[i].flags, cases[i].pad))
			TH_LOG("case %zu", i);
	EXPECT_EQ(-EINVAL, change(self->vm, VMM_MAP, AREA, PAGE,
				  (uintptr_t)self->mem + 8, 0, 0));
	EXPECT_EQ(-EFAULT, vm_ioctl(self->vm->fd, VMM_MAP, NULL));
	EXPECT_EQ(-EFAULT, vm_ioctl(self->vm->fd, VMM_UNMAP, (void *)8));
	EXPECT_EQ(-EFAULT, vm_ioctl(self->vm->fd, VMM_PROTECT, (void *)-8));
	EXPECT_EQ(IS_MMIO, read_at(self->v, AREA));
}

TEST_F(memory, overlap_is_refused_and_changes_nothing)
{
	ASSERT_EQ(0, map(self->vm, AREA + PAGE, 4 * PAGE, self->mem, 0));
	EXPECT_EQ(-EEXIST, map(self->vm, AREA + PAGE, PAGE, self->mem + 5 * 1024, 0));
	EXPECT_EQ(-EEXIST, map(self->vm, AREA, 2 * PAGE, self->mem + 5 * 1024, 0));
	EXPECT_EQ(-EEXIST, map(self->vm, AREA + 4 * PAGE, 2 * PAGE, self->mem + 5 * 1024, 0));
	EXPECT_EQ(-EEXIST, map(self->vm, AREA, 8 * PAGE, self->mem + 5 * 1024, 0));
	/* the same again is an overlap, too */
	EXPECT_EQ(-EEXIST, map(self->vm, AREA + PAGE, 4 * PAGE, self->mem, 0));
	EXPECT_EQ(IS_MMIO, read_at(self->v, AREA));
	EXPECT_EQ(100, read_at(self->v, AREA + PAGE));
	EXPECT_EQ(103, read_at(self->v, AREA + 4 * PAGE));
	EXPECT_EQ(IS_MMIO, read_at(self->v, AREA + 5 * PAGE));
	EXPECT_EQ(0, map(self->vm, AREA, PAGE, self->mem + 5 * 1024, 0));
	EXPECT_EQ(0, map(self->vm, AREA + 5 * PAGE, PAGE, self->mem + 6 * 1024, 0));
	EXPECT_EQ(105, read_at(self->v, AREA));
	EXPECT_EQ(106, read_at(self->v, AREA + 5 * PAGE));
}

TEST_F(memory, unmap_takes_any_pages)
{
	unsigned int i;

	ASSERT_EQ(0, map(self->vm, AREA, PAGES * PAGE, self->mem, 0));
	for (i = 0; i < PAGES; i++)
		EXPECT_EQ(VMM_EXIT_NONE, touch_write(self->v, AREA + i * PAGE, 200 + i));
	EXPECT_EQ(0, unmap(self->vm, AREA + 3 * PAGE, PAGE));
	EXPECT_EQ(0, unmap(self->vm, AREA + 7 * PAGE, 2 * PAGE));
	for (i = 0; i < PAGES; i++)
		EXPECT_EQ(i == 3 || i == 7 || i == 8 ? IS_MMIO : 200 + i,
			  read_at(self->v, AREA + i * PAGE));
	/* over holes and beyond both ends */
	EXPECT_EQ(0, unmap(self->vm, AREA - PAGE, 10 * PAGE));
	EXPECT_EQ(-ENOENT, unmap(self->vm, AREA - PAGE, 10 * PAGE));
	EXPECT_EQ(IS_MMIO, read_at(self->v, AREA + 4 * PAGE));
	EXPECT_EQ(209, read_at(self->v, AREA + 9 * PAGE));
	/* what the guest wrote stays the host's */
	EXPECT_EQ(203, self->mem[3 * 1024]);
	/* another page in the old place */
	EXPECT_EQ(0, map(self->vm, AREA + 3 * PAGE, PAGE, self->mem + 12 * 1024, 0));
	EXPECT_EQ(212, read_at(self->v, AREA + 3 * PAGE));
}

TEST_F(memory, protect_works_on_any_pages)
{
	u64 ro = AREA + 5 * PAGE;

	ASSERT_EQ(0, map(self->vm, AREA, PAGES * PAGE, self->mem, 0));
	EXPECT_EQ(VMM_EXIT_NONE, touch_write(self->v, ro, 1));
	EXPECT_EQ(0, protect(self->vm, ro, PAGE, VMM_MAP_READONLY));
	EXPECT_EQ(1, read_at(self->v, ro));
	EXPECT_EQ(VMM_EXIT_MMIO, touch_write(self->v, ro + 8, 2));
	EXPECT_EQ(ro + 8, self->v->run->exit.mmio.gpa);
	EXPECT_EQ(VMM_ACCESS_WRITE, self->v->run->exit.mmio.access & VMM_ACCESS_WRITE);
	EXPECT_EQ(0, self->mem[5 * 1024 + 2]);
	EXPECT_EQ(VMM_EXIT_NONE, touch_write(self->v, ro - 4, 3));
	EXPECT_EQ(VMM_EXIT_NONE, touch_write(self->v, ro + PAGE, 4));
	self->mem[5 * 1024] = TOUCH_INSN;
	EXPECT_EQ(VMM_EXIT_NONE, touch_fetch(self->v, ro));
	EXPECT_EQ(0, protect(self->vm, AREA, PAGES * PAGE, 0));
	EXPECT_EQ(VMM_EXIT_NONE, touch_write(self->v, ro, 5));
	EXPECT_EQ(5, self->mem[5 * 1024]);
	/* not all of it mapped: nothing changes */
	EXPECT_EQ(-ENOENT, protect(self->vm, AREA - PAGE, 4 * PAGE, VMM_MAP_READONLY));
	EXPECT_EQ(-ENOENT, protect(self->vm, AREA + 15 * PAGE, 2 * PAGE, VMM_MAP_READONLY));
	EXPECT_EQ(0, unmap(self->vm, AREA + 9 * PAGE, PAGE));
	EXPECT_EQ(-ENOENT, protect(self->vm, AREA, PAGES * PAGE, VMM_MAP_READONLY));
	EXPECT_EQ(VMM_EXIT_NONE, touch_write(self->v, AREA, 6));
	EXPECT_EQ(VMM_EXIT_NONE, touch_write(self->v, AREA + 15 * PAGE, 7));
}

TEST_F(memory, thousands_of_mappings)
{
	struct vmm_info info;
	u64 n, i, taken = self->vm->nmaps;
	u32 *mem;

	ASSERT_EQ(0, vm_ioctl(self->vm->dev, VMM_GET_INFO, &info));
	ASSERT_GE(info.max_maps, 1024);
	n = info.max_maps - taken;
	mem = touch_alloc(n * PAGE, PAGE);
	/* every other page, from the last to the first */
	for (i = n; i-- > 0;)
		ASSERT_EQ(0, map(self->vm, AREA + 2 * i * PAGE, PAGE, mem + i * 1024,
				 i & 1 ? VMM_MAP_READONLY : 0));
	EXPECT_EQ(-ENOSPC, map(self->vm, AREA - 4 * PAGE, PAGE, self->mem, 0));
	for (i = 0; i < n; i += 61) {
		mem[i * 1024] = i;
		EXPECT_EQ(i, read_at(self->v, AREA + 2 * i * PAGE));
		EXPECT_EQ(i & 1 ? VMM_EXIT_MMIO : VMM_EXIT_NONE,
			  touch_write(self->v, AREA + 2 * i * PAGE, ~i));
		EXPECT_EQ(IS_MMIO, read_at(self->v, AREA + (2 * i + 1) * PAGE));
	}
	/* full: a split has no room either, and changes nothing */
	EXPECT_EQ(-ENOSPC, unmap(self->vm, 3 * PAGE, PAGE));
	EXPECT_EQ(-ENOSPC, protect(self->vm, 0x100000, PAGE, VMM_MAP_READONLY));
	EXPECT_EQ(0, read_at(self->v, 0x100000));
	EXPECT_EQ(0, unmap(self->vm, AREA, 2 * n * PAGE));
	EXPECT_EQ(IS_MMIO, read_at(self->v, AREA));
	EXPECT_EQ(0, map(self->vm, AREA, PAGE, self->mem, 0));
	EXPECT_EQ(100, read_at(self->v, AREA));
}

TEST_F(memory, up_to_the_last_guest_physical_page)
{
	u64 *pd = (u64 *)(self->vm->ram + GUEST_PD);
	struct vmm_info info;
	u64 top;

	ASSERT_EQ(0, vm_ioctl(self->vm->dev, VMM_GET_INFO, &info));
	top = 1ull << info.gpa_bits;
	EXPECT_EQ(-EINVAL, map(self->vm, top, PAGE, self->mem, 0));
	EXPECT_EQ(-EINVAL, map(self->vm, top - PAGE, 2 * PAGE, self->mem, 0));
	ASSERT_EQ(0, map(self->vm, top - 2 * PAGE, 2 * PAGE, self->mem, 0));
	/* the guest's last 2 MiB below 4 GiB show that end */
	pd[2047] = (top - 0x200000) | 0x87;
	EXPECT_EQ(100, read_at(self->v, 0xffffe000));
	EXPECT_EQ(101, read_at(self->v, 0xfffff000));
	EXPECT_EQ(IS_MMIO, read_at(self->v, 0xffffd000));
	EXPECT_EQ(top - 3 * PAGE, self->v->run->exit.mmio.gpa);
}

TEST_F(memory, only_the_owner_may_change_it)
{
	int status;
	pid_t child = fork();

	if (!child) {
		if (map(self->vm, AREA, PAGE, self->mem, 0) != -EIO ||
		    unmap(self->vm, 0, PAGE) != -EIO ||
		    protect(self->vm, 0, PAGE, VMM_MAP_READONLY) != -EIO)
			_exit(1);
		_exit(0);
	}
	ASSERT_EQ(child, waitpid(child, &status, 0));
	EXPECT_EQ(0, status);
	EXPECT_EQ(IS_MMIO, read_at(self->v, AREA));
}

TEST_HARNESS_MAIN
