// SPDX-License-Identifier: GPL-2.0
/*
 * A fault about a page that the process has brings its neighbours along, and
 * nobody can tell but by the number of faults: not those who ask which pages the
 * guest has touched, nor those who gave a page less rights or none.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "kselftest_harness.h"
#include "dirty.h"

#define AROUND		16		/* pages, aligned */
#define NPAGES		512

FIXTURE(around) {
	struct vm *vm;
	struct vcpu *v;
	u32 *mem;		/* NPAGES at AREA, all there and written by the process */
	bool bits;		/* the CPU has A and D bits in nested tables */
};

static void map_all(struct vm *vm, u64 gpa, void *mem, u32 flags)
{
	if (vm_map(vm, gpa, NPAGES * PAGE, mem, flags))
		vm_die("memory cannot be mapped");
}

FIXTURE_SETUP(around)
{
	struct vmm_info info;
	u32 i;

	self->vm = touch_vm(1);
	self->v = &self->vm->vcpu[0];
	self->mem = touch_alloc(NPAGES * PAGE, 2 * MIB);
	madvise(self->mem, NPAGES * PAGE, MADV_NOHUGEPAGE);
	for (i = 0; i < NPAGES; i++)
		self->mem[i * 1024] = i;
	map_all(self->vm, AREA, self->mem, 0);
	ASSERT_EQ(0, vm_ioctl(self->vm->dev, VMM_GET_INFO, &info));
	self->bits = info.features & VMM_FEAT_AD;
}

FIXTURE_TEARDOWN(around)
{
	vm_free(self->vm);
	munmap(self->mem, NPAGES * PAGE);
}

#define GPA(page)	(AREA + (page) * PAGE)
#define WRITE(page, value) EXPECT_EQ(VMM_EXIT_NONE, touch_write(self->v, GPA(page), value))
#define READ(page, wanted)						\
	do {								\
		u32 value;						\
									\
		EXPECT_EQ(VMM_EXIT_NONE, touch_read(self->v, GPA(page), &value)); \
		EXPECT_EQ(wanted, value);				\
	} while (0)
#define FAULTS()	vcpu_stat(self->v, "faults")

TEST_F(around, one_fault_for_many_pages)
{
	u64 before;
	u32 i;

	READ(0, 0);		/* and the tables are there */
	before = FAULTS();
	for (i = AROUND; i < 5 * AROUND; i++)
		READ(i, i);
	EXPECT_EQ(self->bits ? 4 : 4 * AROUND, FAULTS() - before);
	/* what the process has written may be written */
	before = FAULTS();
	for (i = AROUND; i < 5 * AROUND; i++)
		WRITE(i, i + 1000);
	if (self->bits)
		EXPECT_EQ(0, FAULTS() - before);
	for (i = AROUND; i < 5 * AROUND; i++)
		EXPECT_EQ(i + 1000, self->mem[i * 1024]);
}

TEST_F(around, what_is_not_touched_does_not_count)
{
	u64 map[WORDS(NPAGES * PAGE)] = {};

	READ(0, 0);
	ASSERT_EQ(0, track(self->vm, AREA, NPAGES * PAGE, BOTH));
	READ(37, 37);
	WRITE(71, 1);
	EXPECT_EQ(2, harvest(self->vm, AREA, NPAGES * PAGE, map, ACCESSED | CLEAR));
	EXPECT_TRUE(bit(map, 37));
	EXPECT_TRUE(bit(map, 71));
	EXPECT_EQ(1, harvest(self->vm, AREA, NPAGES * PAGE, map, DIRTY | CLEAR));
	EXPECT_TRUE(bit(map, 71));
	/* mapped already, and now touched */
	READ(38, 38);
	WRITE(70, 1);
	EXPECT_EQ(2, harvest(self->vm, AREA, NPAGES * PAGE, map, ACCESSED | CLEAR));
	EXPECT_TRUE(bit(map, 38));
	EXPECT_TRUE(bit(map, 70));
	EXPECT_EQ(1, harvest(self->vm, AREA, NPAGES * PAGE, map, DIRTY | CLEAR));
	EXPECT_TRUE(bit(map, 70));
}

TEST_F(around, rights_are_each_page_s_own)
{
	u32 *p = self->mem;
	u64 before;

	ASSERT_EQ(0, mprotect(p + 20 * 1024, PAGE, PROT_NONE));
	ASSERT_EQ(0, mprotect(p + 21 * 1024, PAGE, PROT_READ));
	ASSERT_EQ(0, madvise(p + 22 * 1024, PAGE, MADV_DONTNEED));
	READ(0, 0);
	READ(16, 16);
	EXPECT_EQ(VMM_EXIT_FAULT, touch_write(self->v, GPA(20), 1));
	EXPECT_EQ(-EFAULT, self->v->run->exit.fault.error);
	READ(21, 21);
	EXPECT_EQ(VMM_EXIT_FAULT, touch_write(self->v, GPA(21), 1));
	before = FAULTS();
	READ(22, 0);
	EXPECT_LT(before, FAULTS());
	WRITE(22, 7);
	EXPECT_EQ(7, p[22 * 1024]);

	/* the same memory, read-only for the guest, and only part of it */
	if (vm_map(self->vm, AREA + 4 * MIB, 6 * PAGE, p, VMM_MAP_READONLY))
		vm_die("memory cannot be mapped");
	READ(1024, 0);
	EXPECT_EQ(VMM_EXIT_MMIO, touch_write(self->v, GPA(1025), 1));
	EXPECT_EQ(VMM_EXIT_MMIO, touch_write(self->v, GPA(1030), 1));
	EXPECT_EQ(1, p[1024]);
}

/* a page that a child shares is copied before the guest writes to it */
TEST_F(around, pages_shared_with_a_child)
{
	int stop[2], status;
	char c;

	ASSERT_EQ(0, pipe(stop));
	if (!fork()) {
		close(stop[1]);
		if (read(stop[0], &c, 1) < 0)
			_exit(2);
		_exit(self->mem[17 * 1024] != 17);
	}
	READ(0, 0);
	READ(16, 16);
	WRITE(17, 1);
	READ(17, 1);
	EXPECT_EQ(1, self->mem[17 * 1024]);
	close(stop[0]);
	close(stop[1]);
	wait(&status);
	EXPECT_EQ(0, status);
}

/* what get_user_pages refuses, with tables and neighbours that are there */
TEST_F(around, pages_that_only_the_process_may_have)
{
	volatile u32 *secret = MAP_FAILED, *io;
	int fd = open("/dev/mem", O_RDWR | O_CLOEXEC);

	ASSERT_LE(0, fd);
	io = mmap(self->mem + 17 * 1024, PAGE, PROT_READ | PROT_WRITE,
		  MAP_SHARED | MAP_FIXED | MAP_POPULATE, fd, 0xb8000);
	ASSERT_NE(MAP_FAILED, io);
	READ(0, 0);
	READ(16, 16);
	EXPECT_EQ(VMM_EXIT_FAULT, touch_write(self->v, GPA(17), 1));
	READ(18, 18);

	fd = syscall(__NR_memfd_secret, 0);
	if (fd >= 0 && !ftruncate(fd, PAGE))
		secret = mmap(self->mem + 33 * 1024, PAGE, PROT_READ | PROT_WRITE,
			      MAP_SHARED | MAP_FIXED, fd, 0);
	if (secret == MAP_FAILED)
		return;		/* this kernel has none */
	*secret = 1;
	READ(32, 32);
	EXPECT_EQ(VMM_EXIT_FAULT, touch_write(self->v, GPA(33), 1));
	EXPECT_EQ(1, *secret);
}

TEST_HARNESS_MAIN
