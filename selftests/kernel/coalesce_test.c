// SPDX-License-Identifier: GPL-2.0
/* Writes that wait in the ring which the VM's descriptor maps. */
#define _GNU_SOURCE
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kselftest_harness.h"
#include "vm.h"

#define PAGE	4096
#define PORT	0x40
#define MAX	64		/* ranges of a VM */

FIXTURE(coalesce) {
	struct vm *vm;
	struct vcpu *v;
	struct vmm_run *run;
	struct vmm_ring *ring;
};

FIXTURE_SETUP(coalesce)
{
	self->vm = vm_create(VM_RAM);
	self->v = vm_add_vcpu(self->vm);
	self->run = self->v->run;
	self->ring = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, self->vm->fd, 0);
	ASSERT_NE(MAP_FAILED, (void *)self->ring);
	vcpu_start16(self->v, 0, GUEST_IMAGE);
}

FIXTURE_TEARDOWN(coalesce)
{
	vm_free(self->vm);
	/* the page outlives the VM while it is mapped */
	EXPECT_EQ(0, self->ring->reserved[0]);
	munmap(self->ring, PAGE);
}

#define CODE(...)							\
	memcpy(self->vm->ram + GUEST_IMAGE, (const u8[]) { __VA_ARGS__ },	\
	       sizeof((const u8[]) { __VA_ARGS__ }))

#define NEXT_IO(p)							\
do {									\
	ASSERT_EQ(0, vcpu_exit(self->v));				\
	ASSERT_EQ(VMM_EXIT_IO, self->run->reason);			\
	ASSERT_EQ(p, self->run->exit.io.port);				\
} while (0)

static int range(struct vm *vm, u64 addr, u64 size, u32 flags)
{
	struct vmm_coalesce c = { .addr = addr, .size = size, .flags = flags };

	return vm_ioctl(vm->fd, VMM_COALESCE, &c);
}

static int ports(struct vm *vm, u16 first, u16 count)
{
	return range(vm, first, count, VMM_COALESCE_PORT);
}

#define EXPECT_ENTRY(n, a, d, s, f)					\
do {									\
	const struct vmm_ring_entry *e = &self->ring->entry[n];		\
									\
	EXPECT_EQ(a, e->addr);						\
	EXPECT_EQ(d, e->data);						\
	EXPECT_EQ(s, e->size);						\
	EXPECT_EQ(f, e->flags);						\
} while (0)

TEST_F(coalesce, ports_in_order)
{
	/* mov eax,0x44332211; out 0x40,al; out 0x41,ax; out 0x40,eax; out 0x99,al */
	CODE(0x66, 0xb8, 0x11, 0x22, 0x33, 0x44, 0xe6, 0x40, 0xe7, 0x41,
	     0x66, 0xe7, 0x40, 0xe6, 0x99);
	ASSERT_EQ(0, ports(self->vm, PORT, 4));
	NEXT_IO(0x99);
	ASSERT_EQ(3, self->ring->head);
	EXPECT_EQ(0, self->ring->tail);
	EXPECT_ENTRY(0, 0x40, 0x11, 1, VMM_COALESCE_PORT);
	EXPECT_ENTRY(1, 0x41, 0x2211, 2, VMM_COALESCE_PORT);
	EXPECT_ENTRY(2, 0x40, 0x44332211, 4, VMM_COALESCE_PORT);
}

/* only what lies in the range as a whole, and only writes */
TEST_F(coalesce, others_exit)
{
	/* out 0x43,ax; out 0x3f,ax; out 0x44,al; in al,0x40 */
	CODE(0xe7, 0x43, 0xe7, 0x3f, 0xe6, 0x44, 0xe4, 0x40);
	ASSERT_EQ(0, ports(self->vm, PORT, 4));
	NEXT_IO(0x43);
	vcpu_complete(self->v);
	NEXT_IO(0x3f);
	vcpu_complete(self->v);
	NEXT_IO(0x44);
	vcpu_complete(self->v);
	NEXT_IO(0x40);
	EXPECT_EQ(1, self->run->exit.io.in);
	EXPECT_EQ(0, self->ring->head);
}

TEST_F(coalesce, mmio)
{
	/* mov [0xd0000010],eax; mov [0xd000001c],al; mov [0xd000001d],eax */
	CODE(0xa3, 0x10, 0x00, 0x00, 0xd0, 0xa2, 0x1c, 0x00, 0x00, 0xd0,
	     0xa3, 0x1d, 0x00, 0x00, 0xd0);
	vcpu_start32(self->v, GUEST_IMAGE);
	ASSERT_EQ(0, range(self->vm, GUEST_MMIO + 0x10, 0x10, 0));
	ASSERT_EQ(0, vcpu_exit(self->v));
	/* the last one reaches beyond */
	ASSERT_EQ(VMM_EXIT_MMIO, self->run->reason);
	EXPECT_EQ(GUEST_MMIO + 0x1d, self->run->exit.mmio.gpa);
	ASSERT_EQ(2, self->ring->head);
	EXPECT_ENTRY(0, GUEST_MMIO + 0x10, 0, 4, 0);
	EXPECT_ENTRY(1, GUEST_MMIO + 0x1c, 0, 1, 0);
}

TEST_F(coalesce, full_ring_exits)
{
	unsigned int round;

	/* l: out 0x40,al; inc al; jmp l */
	CODE(0xe6, 0x40, 0xfe, 0xc0, 0xeb, 0xfa);
	ASSERT_EQ(0, ports(self->vm, PORT, 1));
	for (round = 0; round < 5; round++) {
		u32 first = self->ring->tail;

		NEXT_IO(PORT);
		ASSERT_EQ(VMM_RING_ENTRIES, self->ring->head - first);
		/* each exit is one more write than the ring's */
		EXPECT_ENTRY(first % VMM_RING_ENTRIES, PORT,
			     (u8)(first + round), 1, VMM_COALESCE_PORT);
		EXPECT_EQ((u8)(self->ring->head + round), self->run->exit.io.data);
		__atomic_store_n(&self->ring->tail, self->ring->head, __ATOMIC_RELEASE);
		vcpu_complete(self->v);
	}
	/* some room is room */
	NEXT_IO(PORT);
	self->ring->tail += 3;
	vcpu_complete(self->v);
	NEXT_IO(PORT);
	EXPECT_EQ(VMM_RING_ENTRIES, self->ring->head - self->ring->tail);
}

/* whatever the monitor writes there: an exit, or its own entries lost */
TEST_F(coalesce, indices_that_lie)
{
	static const u32 lies[] = { 1, 0x80000000, -VMM_RING_ENTRIES, VMM_RING_ENTRIES + 1 };
	unsigned int i;

	CODE(0xe6, 0x40, 0xe6, 0x99);
	ASSERT_EQ(0, ports(self->vm, PORT, 1));
	for (i = 0; i < 4; i++) {
		memset(self->ring, 0xff, PAGE);
		self->ring->tail = lies[i];
		vcpu_start16(self->v, 0, GUEST_IMAGE);
		ASSERT_EQ(0, vcpu_exit(self->v));
		ASSERT_EQ(VMM_EXIT_IO, self->run->reason);
	}
	memset(self->ring, 0, PAGE);
	vcpu_start16(self->v, 0, GUEST_IMAGE);
	NEXT_IO(0x99);
}

/* of one width only: the others mean something else there */
TEST_F(coalesce, width)
{
	struct vmm_coalesce c = {
		.addr = PORT, .size = 4, .flags = VMM_COALESCE_PORT, .width = 4,
	};

	/* out 0x40,eax; out 0x41,al */
	CODE(0x66, 0xe7, 0x40, 0xe6, 0x41, 0xe7, 0x40, 0x66, 0xe7, 0x40, 0xe6, 0x99);
	ASSERT_EQ(0, vm_ioctl(self->vm->fd, VMM_COALESCE, &c));
	NEXT_IO(0x41);
	EXPECT_EQ(1, self->ring->head);
	vcpu_complete(self->v);
	NEXT_IO(PORT);
	EXPECT_EQ(2, self->run->exit.io.size);
	vcpu_complete(self->v);
	NEXT_IO(0x99);
	EXPECT_EQ(2, self->ring->head);
	/* off with exactly this */
	EXPECT_EQ(-ENOENT, range(self->vm, PORT, 4, VMM_COALESCE_PORT | VMM_COALESCE_OFF));
	c.flags |= VMM_COALESCE_OFF;
	EXPECT_EQ(0, vm_ioctl(self->vm->fd, VMM_COALESCE, &c));
	/* none of these is one */
	c.flags = VMM_COALESCE_PORT;
	for (c.width = 1; c.width < 20; c.width++)
		if (c.width != 1 && c.width != 2 && c.width != 4)
			EXPECT_EQ(-EINVAL, vm_ioctl(self->vm->fd, VMM_COALESCE, &c));
	c.width = 1u << 31;
	EXPECT_EQ(-EINVAL, vm_ioctl(self->vm->fd, VMM_COALESCE, &c));
}

TEST_F(coalesce, off)
{
	CODE(0xe6, 0x40, 0xe6, 0x99, 0xe6, 0x40);
	ASSERT_EQ(0, ports(self->vm, PORT, 2));
	NEXT_IO(0x99);
	vcpu_complete(self->v);
	EXPECT_EQ(-ENOENT, range(self->vm, PORT, 1, VMM_COALESCE_PORT | VMM_COALESCE_OFF));
	EXPECT_EQ(-ENOENT, range(self->vm, PORT, 2, VMM_COALESCE_OFF));
	EXPECT_EQ(0, range(self->vm, PORT, 2, VMM_COALESCE_PORT | VMM_COALESCE_OFF));
	EXPECT_EQ(-ENOENT, range(self->vm, PORT, 2, VMM_COALESCE_PORT | VMM_COALESCE_OFF));
	NEXT_IO(PORT);
	EXPECT_EQ(1, self->ring->head);
}

TEST_F(coalesce, bad_ranges)
{
	struct vmm_info info;

	ASSERT_EQ(0, vm_ioctl(self->vm->dev, VMM_GET_INFO, &info));
	EXPECT_EQ(-EFAULT, vm_ioctl(self->vm->fd, VMM_COALESCE, (void *)8));
	EXPECT_EQ(-EINVAL, range(self->vm, PORT, 1, 4));
	EXPECT_EQ(-EINVAL, ports(self->vm, PORT, 0));
	EXPECT_EQ(-EINVAL, range(self->vm, 0xffff, 2, VMM_COALESCE_PORT));
	EXPECT_EQ(-EINVAL, range(self->vm, 0x10000, 1, VMM_COALESCE_PORT));
	EXPECT_EQ(-EINVAL, range(self->vm, 1ull << info.gpa_bits, 1, 0));
	EXPECT_EQ(-EINVAL, range(self->vm, 0, (1ull << info.gpa_bits) + 1, 0));
	EXPECT_EQ(-EINVAL, range(self->vm, PORT, ~0ull, 0));
	ASSERT_EQ(0, ports(self->vm, PORT, 4));
	EXPECT_EQ(-EEXIST, ports(self->vm, PORT, 4));
	EXPECT_EQ(-EEXIST, ports(self->vm, PORT - 1, 2));
	EXPECT_EQ(-EEXIST, ports(self->vm, PORT + 3, 2));
	EXPECT_EQ(-EEXIST, ports(self->vm, PORT - 1, 6));
	EXPECT_EQ(0, ports(self->vm, PORT - 1, 1));
	EXPECT_EQ(0, ports(self->vm, PORT + 4, 1));
	EXPECT_EQ(0, range(self->vm, PORT, 4, 0));
}

TEST_F(coalesce, as_many_as_there_may_be)
{
	unsigned int i;

	for (i = 0; i < MAX; i++)
		ASSERT_EQ(0, ports(self->vm, 0x100 + 2 * i, 1));
	EXPECT_EQ(-ENOSPC, ports(self->vm, 0x1000, 1));
	/* the first one off, the rest stays */
	EXPECT_EQ(0, range(self->vm, 0x100, 1, VMM_COALESCE_PORT | VMM_COALESCE_OFF));
	EXPECT_EQ(0, ports(self->vm, 0x1000, 1));
	EXPECT_EQ(-EEXIST, ports(self->vm, 0x100 + 2 * (MAX - 1), 1));
}

TEST_F(coalesce, bad_mappings)
{
	int fd = self->vm->fd, prot = PROT_READ | PROT_WRITE, status;
	void *again;
	pid_t pid;

	EXPECT_EQ(MAP_FAILED, mmap(NULL, PAGE, prot, MAP_SHARED, fd, PAGE));
	EXPECT_EQ(MAP_FAILED, mmap(NULL, 2 * PAGE, prot, MAP_SHARED, fd, 0));
	EXPECT_EQ(MAP_FAILED, mmap(NULL, PAGE, prot, MAP_PRIVATE, fd, 0));
	/* the same page each time */
	again = mmap(NULL, PAGE, prot, MAP_SHARED, fd, 0);
	ASSERT_NE(MAP_FAILED, again);
	self->ring->tail = 77;
	EXPECT_EQ(77, ((struct vmm_ring *)again)->tail);
	munmap(again, PAGE);
	self->ring->tail = 0;
	pid = fork();
	ASSERT_GE(pid, 0);
	if (!pid)
		_exit(mmap(NULL, PAGE, prot, MAP_SHARED, fd, 0) == MAP_FAILED &&
		      errno == EIO ? 0 : 1);
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
}

TEST_HARNESS_MAIN
