// SPDX-License-Identifier: GPL-2.0
/*
 * VMM_TRACK, VMM_HARVEST: which pages the guest has written or accessed. Exactly
 * those while nothing else happens; none less whatever happens.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kselftest_harness.h"
#include "dirty.h"

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE	25
#endif

#define CLOCK_MSR	0x4b564d01

/* ---- one page at a time --------------------------------------------------------- */

FIXTURE(dirty) {
	struct vm *vm;
	struct vcpu *v;
	u32 *mem;			/* SIZE bytes at AREA */
	long tables;			/* kB, before */
	u64 map[WORDS(SIZE) + 1];
};

FIXTURE_SETUP(dirty)
{
	self->tables = touch_table_kb();
	self->vm = touch_vm(1);
	self->v = &self->vm->vcpu[0];
	self->mem = touch_alloc(SIZE, 2 * MIB);
	ASSERT_EQ(0, vm_map(self->vm, AREA, SIZE, self->mem, 0));
}

FIXTURE_TEARDOWN(dirty)
{
	vm_free(self->vm);
	EXPECT_TRUE(touch_tables_back_to(self->tables));
}

#define TRACK(size, flags) ASSERT_EQ(0, track(self->vm, AREA, size, flags))
#define HARVEST(flags) harvest(self->vm, AREA, SIZE, self->map, flags)
#define WRITE(page) ASSERT_EQ(VMM_EXIT_NONE, touch_write(self->v, AREA + (page) * PAGE, 1))
#define READ(page)							\
	do {								\
		u32 value;						\
									\
		ASSERT_EQ(VMM_EXIT_NONE,				\
			  touch_read(self->v, AREA + (page) * PAGE, &value)); \
	} while (0)

TEST_F(dirty, pages_written_are_found)
{
	WRITE(1);
	TRACK(SIZE, DIRTY);
	EXPECT_EQ(0, HARVEST(DIRTY));
	READ(2);
	EXPECT_EQ(0, HARVEST(DIRTY));
	WRITE(3);
	WRITE(700);
	/* as often as wanted, until they are cleared */
	EXPECT_EQ(2, HARVEST(DIRTY));
	EXPECT_EQ(2, HARVEST(DIRTY | CLEAR));
	EXPECT_TRUE(bit(self->map, 3));
	EXPECT_TRUE(bit(self->map, 700));
	EXPECT_EQ(0, HARVEST(DIRTY | CLEAR));
	EXPECT_EQ(0, self->map[0]);
	/* mapped and known to be written: it is to be seen again */
	WRITE(3);
	READ(700);
	EXPECT_EQ(1, HARVEST(DIRTY | CLEAR));
	EXPECT_TRUE(bit(self->map, 3));
	/* a page that was read first */
	WRITE(2);
	EXPECT_EQ(1, HARVEST(DIRTY | CLEAR));
	EXPECT_TRUE(bit(self->map, 2));
}

TEST_F(dirty, pages_accessed_are_found)
{
	TRACK(SIZE, BOTH);
	READ(2);
	WRITE(3);
	EXPECT_EQ(2, HARVEST(ACCESSED));
	EXPECT_EQ(2, HARVEST(ACCESSED | CLEAR));
	EXPECT_TRUE(bit(self->map, 2));
	EXPECT_TRUE(bit(self->map, 3));
	EXPECT_EQ(0, HARVEST(ACCESSED | CLEAR));
	/* one does not take the other's */
	EXPECT_EQ(1, HARVEST(DIRTY | CLEAR));
	READ(3);
	EXPECT_EQ(1, HARVEST(ACCESSED | CLEAR));
	EXPECT_TRUE(bit(self->map, 3));
	EXPECT_EQ(0, HARVEST(DIRTY | CLEAR));
	/* what Linux takes for its own use is not lost */
	READ(9);
	ASSERT_EQ(0, madvise((char *)self->mem + 9 * PAGE, PAGE, MADV_COLD));
	EXPECT_EQ(1, HARVEST(ACCESSED | CLEAR));
	EXPECT_TRUE(bit(self->map, 9));
}

TEST_F(dirty, part_of_a_range)
{
	u64 at = AREA + 64 * PAGE;

	TRACK(SIZE, DIRTY);
	WRITE(63);
	WRITE(64);
	WRITE(65);
	WRITE(74);
	WRITE(128);
	self->map[1] = 4711;
	EXPECT_EQ(2, harvest(self->vm, at, 10 * PAGE, self->map, DIRTY | CLEAR));
	EXPECT_EQ(3, self->map[0]);
	EXPECT_EQ(4711, self->map[1]);
	EXPECT_EQ(1, harvest(self->vm, at, 64 * PAGE, self->map, DIRTY | CLEAR));
	EXPECT_EQ(1ull << 10, self->map[0]);
	EXPECT_EQ(2, HARVEST(DIRTY | CLEAR));
	EXPECT_TRUE(bit(self->map, 63));
	EXPECT_TRUE(bit(self->map, 128));
	EXPECT_EQ(-EINVAL, harvest(self->vm, AREA + PAGE, PAGE, self->map, DIRTY));
}

TEST_F(dirty, several_ranges)
{
	/* one begins where the other ends, not at 64 pages, the third has no memory */
	TRACK(3 * PAGE, DIRTY);
	ASSERT_EQ(0, track(self->vm, AREA + 3 * PAGE, 100 * PAGE, BOTH));
	ASSERT_EQ(0, track(self->vm, AREA + SIZE, SIZE, DIRTY));
	WRITE(2);
	WRITE(3);
	WRITE(200);
	EXPECT_EQ(1, harvest(self->vm, AREA, 3 * PAGE, self->map, DIRTY | CLEAR));
	EXPECT_EQ(4, self->map[0]);
	EXPECT_EQ(1, harvest(self->vm, AREA + 3 * PAGE, 100 * PAGE, self->map, ACCESSED));
	EXPECT_EQ(1, self->map[0]);
	EXPECT_EQ(0, harvest(self->vm, AREA + SIZE, SIZE, self->map, DIRTY));
	/* over the edge, or not tracked for that */
	EXPECT_EQ(-ENOENT, harvest(self->vm, AREA, 4 * PAGE, self->map, DIRTY));
	EXPECT_EQ(-ENOENT, harvest(self->vm, AREA, PAGE, self->map, ACCESSED));
	EXPECT_EQ(-ENOENT, harvest(self->vm, AREA + 200 * PAGE, PAGE, self->map, DIRTY));
	/* memory comes, and goes on being tracked */
	ASSERT_EQ(0, vm_unmap(self->vm, AREA, SIZE));
	ASSERT_EQ(0, vm_map(self->vm, AREA + SIZE, SIZE, self->mem, 0));
	WRITE(PAGES + 5);
	EXPECT_EQ(1, harvest(self->vm, AREA + SIZE, SIZE, self->map, DIRTY | CLEAR));
	EXPECT_EQ(1u << 5, self->map[0]);
	/* one ends, the others stay */
	ASSERT_EQ(0, track(self->vm, AREA, 3 * PAGE, 0));
	EXPECT_EQ(1, harvest(self->vm, AREA + 3 * PAGE, 100 * PAGE, self->map, DIRTY));
}

TEST_F(dirty, large_pages_are_split_and_come_back)
{
	u64 small, i;

	if (madvise(self->mem, SIZE, MADV_HUGEPAGE))
		SKIP(return, "no transparent huge pages");
	memset(self->mem, 1, SIZE);
	for (i = 0; i < PAGES; i += 16)
		WRITE(i);
	small = vm_stat(self->vm, "page_table_pages");
	TRACK(SIZE, DIRTY);
	EXPECT_EQ(0, HARVEST(DIRTY | CLEAR));
	WRITE(512);
	EXPECT_EQ(1, HARVEST(DIRTY | CLEAR));
	EXPECT_TRUE(bit(self->map, 512));
	READ(1);
	/* a table for each 2 MiB */
	EXPECT_LE(small + SIZE / (2 * MIB), vm_stat(self->vm, "page_table_pages"));
	ASSERT_EQ(0, track(self->vm, AREA, SIZE, 0));
	for (i = 0; i < PAGES; i += 16)
		WRITE(i);
	EXPECT_GE(small, vm_stat(self->vm, "page_table_pages"));
}

TEST_F(dirty, what_the_module_writes)
{
	struct vmm_state *st = calloc(1, sizeof(*st));

	TRACK(SIZE, DIRTY);
	/* the pv clock's page */
	st->msrs.count = 1;
	st->msrs.msr[0].index = CLOCK_MSR;
	st->msrs.msr[0].value = (AREA + 6 * PAGE) | 1;
	ASSERT_EQ(0, vcpu_set(self->v, VMM_STATE_MSRS, st));
	READ(1);
	EXPECT_NE(0, self->mem[6 * 1024]);
	EXPECT_EQ(1, HARVEST(DIRTY | CLEAR));
	EXPECT_TRUE(bit(self->map, 6));
	free(st);
}

/* what happens to a page between the guest's write and the harvest */
static void mprotect_twice(struct vm *vm, void *p)
{
	mprotect(p, PAGE, PROT_READ);
	mprotect(p, PAGE, PROT_READ | PROT_WRITE);
}

static void move_and_back(struct vm *vm, void *p)
{
	void *aside = touch_alloc(PAGE, PAGE);
	int flags = MREMAP_MAYMOVE | MREMAP_FIXED;

	if (mremap(p, PAGE, PAGE, flags, aside) != aside ||
	    mremap(aside, PAGE, PAGE, flags, p) != p)
		vm_die("mremap: %s", strerror(errno));
}

static void discard(struct vm *vm, void *p)
{
	madvise(p, PAGE, MADV_DONTNEED);
}

static void page_out(struct vm *vm, void *p)
{
	madvise(p, PAGE, MADV_PAGEOUT);
}

static void copy_on_write(struct vm *vm, void *p)
{
	pid_t child = fork();

	if (!child)
		_exit(0);
	waitpid(child, NULL, 0);
}

static void collapse(struct vm *vm, void *p)
{
	void *huge = (void *)((uintptr_t)p & ~(2 * MIB - 1));

	madvise(huge, 2 * MIB, MADV_HUGEPAGE);
	madvise(huge, 2 * MIB, MADV_COLLAPSE);
}

static void unmap_and_map(struct vm *vm, void *p)
{
	u64 gpa = vm->map[vm->nmaps - 1].gpa +
		  ((uintptr_t)p - vm->map[vm->nmaps - 1].hva);
	struct vmm_map m = { .gpa = gpa, .size = PAGE };

	if (vm_ioctl(vm->fd, VMM_UNMAP, &m))
		vm_die("VMM_UNMAP of a page");
	m.hva = (uintptr_t)p;
	if (vm_ioctl(vm->fd, VMM_MAP, &m))
		vm_die("VMM_MAP of a page");
}

static void protect(struct vm *vm, void *p)
{
	u64 gpa = vm->map[vm->nmaps - 1].gpa +
		  ((uintptr_t)p - vm->map[vm->nmaps - 1].hva);
	struct vmm_map m = { .gpa = gpa, .size = PAGE, .flags = VMM_MAP_READONLY };

	if (vm_ioctl(vm->fd, VMM_PROTECT, &m))
		vm_die("VMM_PROTECT of a page");
	m.flags = 0;
	if (vm_ioctl(vm->fd, VMM_PROTECT, &m))
		vm_die("VMM_PROTECT of a page");
}

TEST_F(dirty, nothing_is_lost_with_its_mapping)
{
	static void (*const change[])(struct vm *vm, void *p) = {
		mprotect_twice, move_and_back, discard, page_out, copy_on_write,
		collapse, unmap_and_map, protect,
	};
	u64 i, page;

	TRACK(SIZE, BOTH);
	for (i = 0; i < ARRAY_SIZE(change); i++) {
		/* in one 2 MiB page, so that they meet each other's remains */
		page = 10 + i;
		WRITE(page);
		READ(page + 100);
		change[i](self->vm, self->mem + page * 1024);
		change[i](self->vm, self->mem + (page + 100) * 1024);
		EXPECT_EQ(1, HARVEST(DIRTY | CLEAR)) TH_LOG("change %llu", i);
		EXPECT_TRUE(bit(self->map, page)) TH_LOG("change %llu", i);
		EXPECT_EQ(2, HARVEST(ACCESSED | CLEAR)) TH_LOG("change %llu", i);
		EXPECT_EQ(0, HARVEST(DIRTY)) TH_LOG("change %llu", i);
		/* and it works on */
		WRITE(page);
		READ(page + 100);
		EXPECT_EQ(1, HARVEST(DIRTY | CLEAR)) TH_LOG("change %llu", i);
		EXPECT_EQ(2, HARVEST(ACCESSED | CLEAR)) TH_LOG("change %llu", i);
	}
}

/* ---- arguments ------------------------------------------------------------------- */

TEST_F(dirty, bad_arguments_are_refused)
{
	u64 top = 1ull << 63, *map = self->map;
	const struct {
		struct vmm_track t;
		int want;
	} cases[] = {
		{ { AREA, 0, DIRTY, 0 }, -EINVAL },
		{ { AREA + 8, PAGE, DIRTY, 0 }, -EINVAL },
		{ { AREA, PAGE + 8, DIRTY, 0 }, -EINVAL },
		{ { AREA, -PAGE, DIRTY, 0 }, -EINVAL },
		{ { -PAGE, PAGE, DIRTY, 0 }, -EINVAL },
		{ { -PAGE, 2 * PAGE, DIRTY, 0 }, -EINVAL },
		{ { top, PAGE, DIRTY, 0 }, -EINVAL },
		{ { AREA, PAGE, DIRTY, 1 }, -EINVAL },
		{ { AREA, PAGE, CLEAR, 0 }, -EINVAL },
		{ { AREA, PAGE, DIRTY | 1u << 31, 0 }, -EINVAL },
		{ { AREA, PAGE, 0, 0 }, -ENOENT },
		{ { 0, 1ull << 38, DIRTY, 0 }, -E2BIG },
	};
	const struct vmm_harvest bad[] = {
		{ AREA, 0, (uintptr_t)map, DIRTY, 0 },
		{ AREA, PAGE + 8, (uintptr_t)map, DIRTY, 0 },
		{ AREA + 8, PAGE, (uintptr_t)map, DIRTY, 0 },
		{ AREA, -PAGE, (uintptr_t)map, DIRTY, 0 },
		{ top, PAGE, (uintptr_t)map, DIRTY, 0 },
		{ AREA, PAGE, (uintptr_t)map, 0, 0 },
		{ AREA, PAGE, (uintptr_t)map, CLEAR, 0 },
		{ AREA, PAGE, (uintptr_t)map, BOTH, 0 },
		{ AREA, PAGE, (uintptr_t)map, DIRTY | 8, 0 },
		{ AREA, PAGE, (uintptr_t)map, DIRTY, 1 },
		{ AREA, PAGE, (uintptr_t)map + 4, DIRTY, 0 },
	};
	u64 i;

	for (i = 0; i < ARRAY_SIZE(cases); i++)
		EXPECT_EQ(cases[i].want,
			  vm_ioctl(self->vm->fd, VMM_TRACK, (void *)&cases[i].t))
			TH_LOG("case %llu", i);
	EXPECT_EQ(-ENOENT, HARVEST(DIRTY));
	TRACK(SIZE, DIRTY);
	for (i = 0; i < ARRAY_SIZE(bad); i++)
		EXPECT_EQ(-EINVAL, vm_ioctl(self->vm->fd, VMM_HARVEST, (void *)&bad[i]))
			TH_LOG("harvest %llu", i);
	/* overlaps: the same, inside, both ends */
	EXPECT_EQ(-EEXIST, track(self->vm, AREA, SIZE, DIRTY));
	EXPECT_EQ(-EEXIST, track(self->vm, AREA + PAGE, PAGE, ACCESSED));
	EXPECT_EQ(-EEXIST, track(self->vm, AREA - PAGE, 2 * PAGE, DIRTY));
	EXPECT_EQ(-EEXIST, track(self->vm, AREA + SIZE - PAGE, 2 * PAGE, DIRTY));
	/* what ends is what began, as a whole */
	EXPECT_EQ(-ENOENT, track(self->vm, AREA, PAGE, 0));
	EXPECT_EQ(0, track(self->vm, AREA, SIZE, 0));
	for (i = 0; i < VMM_MAX_TRACKS; i++)
		ASSERT_EQ(0, track(self->vm, AREA + 2 * i * PAGE, PAGE, DIRTY));
	EXPECT_EQ(-ENOSPC, track(self->vm, AREA + PAGE, PAGE, DIRTY));
	EXPECT_EQ(0, track(self->vm, AREA + 20 * PAGE, PAGE, 0));
	EXPECT_EQ(0, track(self->vm, AREA + PAGE, PAGE, DIRTY));
}

TEST_F(dirty, bad_bitmap_loses_nothing)
{
	char *edge = touch_alloc(2 * PAGE, PAGE);

	ASSERT_EQ(0, munmap(edge + PAGE, PAGE));
	TRACK(SIZE, BOTH);
	WRITE(5);
	WRITE(900);
	EXPECT_EQ(-EFAULT, harvest(self->vm, AREA, SIZE, NULL, DIRTY | CLEAR));
	EXPECT_EQ(-EFAULT, harvest(self->vm, AREA, SIZE, (u64 *)-8ull, DIRTY | CLEAR));
	EXPECT_EQ(-EFAULT, harvest(self->vm, AREA, SIZE, (u64 *)(edge + PAGE - 16),
				   DIRTY | CLEAR));
	EXPECT_EQ(-EFAULT, harvest(self->vm, AREA, SIZE, NULL, ACCESSED | CLEAR));
	EXPECT_EQ(2, HARVEST(DIRTY | CLEAR));
	EXPECT_TRUE(bit(self->map, 5));
	EXPECT_TRUE(bit(self->map, 900));
	EXPECT_EQ(2, HARVEST(ACCESSED | CLEAR));
}

TEST_F(dirty, only_the_owner_may)
{
	int status;
	pid_t child;

	TRACK(SIZE, DIRTY);
	child = fork();
	if (!child)
		_exit(track(self->vm, AREA, SIZE, 0) != -EIO || HARVEST(DIRTY) != -EIO);
	ASSERT_EQ(child, waitpid(child, &status, 0));
	EXPECT_EQ(0, status);
	EXPECT_EQ(0, HARVEST(DIRTY));
}

static long available_kb(void)
{
	FILE *f = fopen("/proc/meminfo", "re");
	char line[128];
	long kb = -1;

	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "MemAvailable: %ld kB", &kb) == 1)
			break;
	if (kb < 0)
		vm_die("no MemAvailable in /proc/meminfo");
	fclose(f);
	return kb;
}

#define VAST_ROUNDS	50

/* also of ranges that have more holes than the host has memory */
TEST_F_TIMEOUT(dirty, bitmaps_are_freed, 120)
{
	u64 *map = touch_alloc(VAST / PAGE / 8, PAGE);
	long before = available_kb();
	int i;

	for (i = 0; i < VAST_ROUNDS; i++) {
		TRACK(VAST, BOTH);
		WRITE(77);
		EXPECT_EQ(1, harvest(self->vm, AREA, VAST, map, DIRTY | CLEAR));
		EXPECT_TRUE(bit(map, 77));
		EXPECT_EQ(0, track(self->vm, AREA, VAST, 0));
		/* or with the VM */
		TRACK(VAST, BOTH);
		vm_free(self->vm);
		self->vm = touch_vm(1);
		self->v = &self->vm->vcpu[0];
		ASSERT_EQ(0, vm_map(self->vm, AREA, SIZE, self->mem, 0));
	}
	EXPECT_LT(before - VAST_ROUNDS * VAST_BITS_KB, available_kb());
}

/* ---- a guest that says what it writes -------------------------------------------- */

#define GUEST_PAGES	3000

struct pattern {
	u64 pages, stride;
	unsigned int wrong, rounds;
};

static enum vm_verdict on_exit_compare(struct vcpu *v)
{
	struct pattern *p = v->vm->priv;
	u64 map[GUEST_PAGES / 64 + 1], i, round;

	if (v->run->reason != VMM_EXIT_IO || v->run->exit.io.port != PORT_ASK)
		return VM_HANDLE;
	round = v->run->exit.io.data;
	p->rounds++;
	if (harvest(v->vm, AREA, p->pages * PAGE, map, DIRTY | CLEAR) < 0)
		vm_die("VMM_HARVEST in round %llu", round);
	for (i = 0; i < p->pages; i++)
		p->wrong += bit(map, i) != (i % p->stride == round % p->stride);
	return VM_HANDLE;
}

FIXTURE(pattern) {
};

FIXTURE_SETUP(pattern)
{
}

FIXTURE_TEARDOWN(pattern)
{
}

FIXTURE_VARIANT(pattern) {
	u64 pages, stride, rounds;
	int advice;
};

FIXTURE_VARIANT_ADD(pattern, small_pages) {
	.pages = 512, .stride = 5, .rounds = 12, .advice = MADV_NOHUGEPAGE,
};

FIXTURE_VARIANT_ADD(pattern, large_pages) {
	.pages = 1024, .stride = 7, .rounds = 16, .advice = MADV_HUGEPAGE,
};

/* more between two exits than a log has room for */
FIXTURE_VARIANT_ADD(pattern, many) {
	.pages = GUEST_PAGES, .stride = 1, .rounds = 3, .advice = MADV_HUGEPAGE,
};

TEST_F_TIMEOUT(pattern, found_is_what_was_written, 120)
{
	struct pattern p = { .pages = variant->pages, .stride = variant->stride };
	struct vm *vm = vm_guest("dirty", 1);
	char *mem = touch_alloc(p.pages * PAGE, 2 * MIB);

	madvise(mem, p.pages * PAGE, variant->advice);
	memset(mem, 1, p.pages * PAGE);
	ASSERT_EQ(0, vm_map(vm, AREA, p.pages * PAGE, mem, 0));
	vm_arg(vm, 0, AREA / PAGE);
	vm_arg(vm, 1, p.pages);
	vm_arg(vm, 2, variant->rounds);
	vm_arg(vm, 3, p.stride);
	vm->priv = &p;
	vm->on_exit = on_exit_compare;
	ASSERT_EQ(0, track(vm, AREA, p.pages * PAGE, BOTH));
	EXPECT_EQ(VM_EXITED, vm_run(vm, 100000)) vm_explain(vm);
	EXPECT_EQ(0, vm->result);
	EXPECT_EQ(variant->rounds, p.rounds);
	EXPECT_EQ(0, p.wrong);
	vm_free(vm);
}

TEST_HARNESS_MAIN
