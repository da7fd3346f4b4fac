// SPDX-License-Identifier: GPL-2.0
/*
 * Large pages behind a guest: Linux splits them, merges parts of them, swaps them out
 * and makes them whole again, and pages written are looked for in them. Each time the
 * guest has the mapping that it should have, no larger and, once it may be, no smaller,
 * and finds what was there. That it did happen is told by counters, Linux's and ours.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <linux/mman.h>
#include <sys/mman.h>
#include <unistd.h>

#include "kselftest_harness.h"
#include "area.h"

#define SHMEM	"/sys/kernel/mm/transparent_hugepage/shmem_enabled"
#define LIMIT	120			/* the slower emulator needs some of it */

/* ---- transparent ones ----------------------------------------------------------- */

/* all of it large, also for the guest; false: there are no large pages */
static bool huge_init(struct area *a, bool shared)
{
	char *mem;

	if (shared && access(SHMEM, W_OK) == 0)
		mm_write(SHMEM, "advise");
	mem = shared ? area_file(0) : touch_alloc(SIZE, 2 * MIB);
	if (!mem)
		vm_die("no file in memory to be had");
	if (madvise(mem, SIZE, MADV_HUGEPAGE))
		return false;
	area_init(a, mem);
	if (!(a->info.features & VMM_FEAT_2M))
		return false;
	/* memory may have been in pieces before */
	if (mm_huge(mem, SIZE) != SIZE && mm_collapse(mem, SIZE))
		vm_die("no large pages, though memory is there");
	if (area_rewrite(a) || area_large(a) != AREA_LARGE)
		vm_die("the guest has %llu large pages, wanted %llu", area_large(a), AREA_LARGE);
	return true;
}

static void huge_exit(struct area *a, bool shared)
{
	if (a->vm)
		vm_free(a->vm);
	if (shared && access(SHMEM, W_OK) == 0)
		mm_write(SHMEM, "never");
}

FIXTURE(huge) {
	struct area a;
	u64 map[WORDS(SIZE)];
	bool ready;
};

FIXTURE_VARIANT(huge) {
	bool shared;			/* a file in memory, as vmmd has it */
};

FIXTURE_VARIANT_ADD(huge, anonymous) {
	.shared = false,
};

FIXTURE_VARIANT_ADD(huge, shared) {
	.shared = true,
};

FIXTURE_SETUP(huge)
{
	self->ready = huge_init(&self->a, variant->shared);
}

FIXTURE_TEARDOWN(huge)
{
	huge_exit(&self->a, variant->shared);
}

#define NEED_HUGE()							\
	do {								\
		if (!self->ready)					\
			SKIP(return, "no transparent huge pages or none in nested tables"); \
	} while (0)
#define LARGE()		area_large(&self->a)
#define WRONG()		area_wrong(&self->a)
#define WRITE(page, value)						\
	EXPECT_EQ(VMM_EXIT_NONE, area_write(&self->a, page, value))
#define HARVEST() harvest(self->a.vm, AREA, SIZE, self->map, DIRTY | CLEAR)
/* found are these and no others */
#define EXPECT_WRITTEN(...)						\
	do {								\
		static const u64 pages[] = { __VA_ARGS__ };		\
									\
		EXPECT_EQ((int)ARRAY_SIZE(pages), HARVEST());		\
		EXPECT_TRUE(area_bits(self->map, pages, ARRAY_SIZE(pages))); \
	} while (0)
/* Linux makes all large, and the guest gets it so */
#define EXPECT_WHOLE_AGAIN()						\
	do {								\
		EXPECT_EQ(0, mm_collapse(self->a.mem, SIZE));		\
		EXPECT_EQ(0, WRONG());					\
		EXPECT_EQ(AREA_LARGE, LARGE());				\
		EXPECT_EQ(0, area_rewrite(&self->a));			\
		EXPECT_EQ(0, WRONG());					\
		EXPECT_EQ(AREA_LARGE, LARGE());				\
	} while (0)

static int discard(char *p, u64 size, bool shared)
{
	return madvise(p, size, shared ? MADV_REMOVE : MADV_DONTNEED);
}

TEST_F_TIMEOUT(huge, discarding_a_page_splits_one, LIMIT)
{
	struct area *a = &self->a;

	NEED_HUGE();
	ASSERT_EQ(0, discard(a->mem + 5 * PAGE, PAGE, variant->shared));
	a->want[5] = 0;
	/* the other one stays mapped, and only it */
	EXPECT_EQ(AREA_LARGE - 1, LARGE());
	EXPECT_EQ(SIZE - 2 * MIB, mm_huge(a->mem, SIZE));
	EXPECT_EQ(0, WRONG());
	EXPECT_EQ(AREA_LARGE - 1, LARGE());
	EXPECT_EQ(0, area_rewrite(a));
	EXPECT_EQ(0, WRONG());
	EXPECT_WHOLE_AGAIN();
}

TEST_F_TIMEOUT(huge, protecting_a_page_splits_one, LIMIT)
{
	struct area *a = &self->a;
	char *p = a->mem + (PAGES - 7) * PAGE;

	NEED_HUGE();
	ASSERT_EQ(0, mprotect(p, PAGE, PROT_READ));
	EXPECT_EQ(AREA_LARGE - 1, LARGE());
	EXPECT_EQ(0, WRONG());
	EXPECT_EQ(VMM_EXIT_FAULT, area_write(a, PAGES - 7, 1));
	EXPECT_EQ(-EFAULT, a->v->run->exit.fault.error);
	WRITE(PAGES - 8, 2);
	WRITE(PAGES - 6, 3);
	EXPECT_EQ(0, WRONG());
	EXPECT_EQ(AREA_LARGE - 1, LARGE());
	ASSERT_EQ(0, mprotect(p, PAGE, PROT_READ | PROT_WRITE));
	WRITE(PAGES - 7, 4);
	EXPECT_WHOLE_AGAIN();
}

TEST_F_TIMEOUT(huge, swapped_out_and_in, LIMIT)
{
	struct area *a = &self->a;
	long out;
	u64 i;

	NEED_HUGE();
	if (!mm_swap_on())
		SKIP(return, "no zram to swap to");
	out = mm_vmstat("pswpout");
	mm_page_out(a->mem, SIZE);
	EXPECT_EQ(0, LARGE());
	EXPECT_EQ(0, mm_huge(a->mem, SIZE));
	EXPECT_EQ(0, mm_resident(a->mem, SIZE));
	EXPECT_LE(out + (long)PAGES, mm_vmstat("pswpout"));
	/* by the guest, and then out again, what only it has written */
	EXPECT_EQ(0, WRONG());
	for (i = 0; i < PAGES; i += 3)
		WRITE(i, i + 77);
	mm_page_out(a->mem, SIZE);
	EXPECT_EQ(0, mm_resident(a->mem, SIZE));
	EXPECT_LE(out + (long)(PAGES + PAGES / 3), mm_vmstat("pswpout"));
	EXPECT_EQ(0, WRONG());
	EXPECT_EQ(0, mm_swap_off());
	/* Linux joins no pages that were not written since */
	EXPECT_EQ(0, area_rewrite(a));
	EXPECT_WHOLE_AGAIN();
}

TEST_F_TIMEOUT(huge, tracking_splits_in_place, LIMIT)
{
	struct area *a = &self->a;
	u64 faults;

	NEED_HUGE();
	faults = vcpu_stat(a->v, "faults");
	ASSERT_EQ(0, track(a->vm, AREA, SIZE, DIRTY));
	EXPECT_EQ(0, LARGE());
	EXPECT_EQ(0, HARVEST());
	/* Linux's stay large, and what was mapped still is */
	EXPECT_EQ(SIZE, mm_huge(a->mem, SIZE));
	EXPECT_EQ(0, WRONG());
	EXPECT_EQ(faults, vcpu_stat(a->v, "faults"));
	EXPECT_EQ(0, HARVEST());
	WRITE(3, 1);
	WRITE(511, 2);
	WRITE(512, 3);
	WRITE(1000, 4);
	EXPECT_WRITTEN(3, 511, 512, 1000);
	EXPECT_EQ(0, WRONG());
	EXPECT_EQ(0, HARVEST());
	EXPECT_EQ(0, LARGE());
	ASSERT_EQ(0, track(a->vm, AREA, SIZE, 0));
	EXPECT_EQ(0, WRONG());
	EXPECT_EQ(AREA_LARGE, LARGE());
	EXPECT_EQ(0, area_rewrite(a));
	EXPECT_EQ(AREA_LARGE, LARGE());
}

/* only the large page that part of is tracked */
TEST_F_TIMEOUT(huge, tracking_a_part_splits_one, LIMIT)
{
	struct area *a = &self->a;
	u64 part = AREA + MIB;

	NEED_HUGE();
	ASSERT_EQ(0, track(a->vm, part, 64 * PAGE, DIRTY));
	EXPECT_EQ(AREA_LARGE - 1, LARGE());
	EXPECT_EQ(0, WRONG());
	EXPECT_EQ(0, area_rewrite(a));
	EXPECT_EQ(AREA_LARGE - 1, LARGE());
	EXPECT_EQ(64, harvest(a->vm, part, 64 * PAGE, self->map, DIRTY | CLEAR));
	WRITE(255, 1);
	WRITE(256 + 9, 2);
	WRITE(256 + 64, 3);
	EXPECT_EQ(1, harvest(a->vm, part, 64 * PAGE, self->map, DIRTY | CLEAR));
	EXPECT_EQ(1ull << 9, self->map[0]);
	ASSERT_EQ(0, track(a->vm, part, 64 * PAGE, 0));
	EXPECT_EQ(0, WRONG());
	EXPECT_EQ(AREA_LARGE, LARGE());
	EXPECT_EQ(0, area_rewrite(a));
	EXPECT_EQ(AREA_LARGE, LARGE());
}

/* which pages are used may be known of large ones: they stay */
TEST_F_TIMEOUT(huge, accessed_is_a_large_page, LIMIT)
{
	struct area *a = &self->a;
	u32 value;
	u64 i;

	NEED_HUGE();
	ASSERT_EQ(0, track(a->vm, AREA, SIZE, ACCESSED));
	EXPECT_EQ(0, harvest(a->vm, AREA, SIZE, self->map, ACCESSED | CLEAR));
	ASSERT_EQ(VMM_EXIT_NONE, touch_read(a->v, AREA + 700 * PAGE, &value));
	EXPECT_EQ(512, harvest(a->vm, AREA, SIZE, self->map, ACCESSED | CLEAR));
	for (i = 0; i < PAGES; i++)
		EXPECT_EQ(i >= 512, bit(self->map, i));
	EXPECT_EQ(0, WRONG());
	EXPECT_EQ(AREA_LARGE, LARGE());
	EXPECT_EQ(PAGES, harvest(a->vm, AREA, SIZE, self->map, ACCESSED | CLEAR));
}

/* Linux splits and joins what is tracked: nothing written is lost, nothing is large */
TEST_F_TIMEOUT(huge, split_and_joined_while_tracked, LIMIT)
{
	struct area *a = &self->a;

	NEED_HUGE();
	ASSERT_EQ(0, track(a->vm, AREA, SIZE, DIRTY));
	WRITE(5, 1);
	WRITE(600, 2);
	ASSERT_EQ(0, discard(a->mem + 6 * PAGE, PAGE, variant->shared));
	a->want[6] = 0;
	EXPECT_EQ(SIZE - 2 * MIB, mm_huge(a->mem, SIZE));
	EXPECT_EQ(0, WRONG());
	WRITE(7, 3);
	EXPECT_EQ(0, mm_collapse(a->mem, SIZE));
	EXPECT_EQ(0, WRONG());
	EXPECT_EQ(0, LARGE());
	EXPECT_WRITTEN(5, 7, 600);
	WRITE(8, 4);
	EXPECT_WRITTEN(8);
	ASSERT_EQ(0, track(a->vm, AREA, SIZE, 0));
	EXPECT_EQ(0, WRONG());
	EXPECT_EQ(AREA_LARGE, LARGE());
}

/* ---- and KSM, which merges anonymous pages only ---------------------------------- */

FIXTURE(ksm) {
	struct area a;
	bool ready;
};

FIXTURE_SETUP(ksm)
{
	self->ready = huge_init(&self->a, false);
}

FIXTURE_TEARDOWN(ksm)
{
	huge_exit(&self->a, false);
}

#define KSM	"/sys/kernel/mm/ksm/"
#define TWIN	8			/* the first of them */
#define TWINS	64

TEST_F_TIMEOUT(ksm, merging_pages_splits_one, LIMIT)
{
	u64 i, until = vm_now_ms() + 60000;
	struct area *a = &self->a;
	char *twin = a->mem + TWIN * PAGE;

	NEED_HUGE();
	if (madvise(a->mem, 2 * MIB, MADV_MERGEABLE))
		SKIP(return, "no KSM");
	for (i = TWIN; i < TWIN + TWINS; i++)
		WRITE(i, 4711);
	EXPECT_NE(mm_pfn(twin), mm_pfn(twin + PAGE));
	mm_write(KSM "pages_to_scan", "1000");
	mm_write(KSM "sleep_millisecs", "5");
	mm_write(KSM "run", "1");
	while (mm_number(KSM "pages_sharing") < TWINS - 1 && vm_now_ms() < until)
		usleep(10000);
	EXPECT_LE(TWINS - 1, mm_number(KSM "pages_sharing"));
	mm_write(KSM "run", "0");
	EXPECT_EQ(mm_pfn(twin), mm_pfn(twin + (TWINS - 1) * PAGE));
	EXPECT_EQ(AREA_LARGE - 1, LARGE());
	EXPECT_EQ(SIZE - 2 * MIB, mm_huge(a->mem, SIZE));
	EXPECT_EQ(0, WRONG());

	/* the guest takes some apart */
	for (i = TWIN; i < TWIN + TWINS; i += 3)
		WRITE(i, i);
	EXPECT_EQ(0, WRONG());
	EXPECT_NE(mm_pfn(twin), mm_pfn(twin + PAGE));
	EXPECT_EQ(mm_pfn(twin + PAGE), mm_pfn(twin + 2 * PAGE));
	EXPECT_EQ(AREA_LARGE - 1, LARGE());
	/* and Linux the others */
	mm_write(KSM "run", "2");
	ASSERT_EQ(0, madvise(a->mem, 2 * MIB, MADV_UNMERGEABLE));
	EXPECT_NE(mm_pfn(twin + PAGE), mm_pfn(twin + 2 * PAGE));
	EXPECT_EQ(0, WRONG());
	/* the one that all had is not the guest's any more */
	for (i = TWIN; i < TWIN + TWINS; i++)
		area_set(a, i, 5000 + i);
	EXPECT_EQ(0, WRONG());
	EXPECT_WHOLE_AGAIN();
}

/* ---- hugetlbfs, 2 MiB ------------------------------------------------------------ */

FIXTURE(hugetlb) {
	struct area a;
	u64 map[WORDS(SIZE)];
	bool ready;
	long before;			/* pages set aside */
};

FIXTURE_VARIANT(hugetlb) {
	bool shared;
};

FIXTURE_VARIANT_ADD(hugetlb, private) {
	.shared = false,
};

FIXTURE_VARIANT_ADD(hugetlb, shared) {
	.shared = true,
};

#define NR_HUGE	"/proc/sys/vm/nr_hugepages"

FIXTURE_SETUP(hugetlb)
{
	char text[32], *mem;

	self->before = mm_number(NR_HUGE);
	snprintf(text, sizeof(text), "%lld", self->before + AREA_LARGE);
	mm_write(NR_HUGE, text);
	if (variant->shared)
		mem = area_file(MFD_HUGETLB);
	else
		mem = mmap(NULL, SIZE, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1, 0);
	self->ready = mem && mem != MAP_FAILED;
	if (!self->ready)
		return;
	area_init(&self->a, mem);
	self->ready = self->a.info.features & VMM_FEAT_2M;
}

FIXTURE_TEARDOWN(hugetlb)
{
	char text[32];

	if (self->a.vm)
		vm_free(self->a.vm);
	snprintf(text, sizeof(text), "%ld", self->before);
	mm_write(NR_HUGE, text);
}

#define NEED_HUGETLB()							\
	do {								\
		if (!self->ready)					\
			SKIP(return, "no huge pages to be had or none in nested tables"); \
	} while (0)

TEST_F_TIMEOUT(hugetlb, discarding_and_protecting, LIMIT)
{
	struct area *a = &self->a;
	u64 i;

	NEED_HUGETLB();
	EXPECT_EQ(0, WRONG());
	EXPECT_EQ(AREA_LARGE, LARGE());
	/* there is nothing smaller to be taken away */
	ASSERT_EQ(0, discard(a->mem, 2 * MIB, variant->shared));
	for (i = 0; i < 512; i++)
		a->want[i] = 0;
	EXPECT_EQ(AREA_LARGE - 1, LARGE());
	EXPECT_EQ(0, WRONG());
	EXPECT_EQ(0, area_rewrite(a));
	EXPECT_EQ(AREA_LARGE, LARGE());
	ASSERT_EQ(0, mprotect(a->mem + 2 * MIB, 2 * MIB, PROT_READ));
	EXPECT_EQ(AREA_LARGE - 1, LARGE());
	EXPECT_EQ(0, WRONG());
	EXPECT_EQ(AREA_LARGE, LARGE());
	EXPECT_EQ(VMM_EXIT_FAULT, area_write(a, 700, 1));
	EXPECT_EQ(-EFAULT, a->v->run->exit.fault.error);
	WRITE(300, 2);
	ASSERT_EQ(0, mprotect(a->mem + 2 * MIB, 2 * MIB, PROT_READ | PROT_WRITE));
	EXPECT_EQ(0, area_rewrite(a));
	EXPECT_EQ(0, WRONG());
	EXPECT_EQ(AREA_LARGE, LARGE());
}

TEST_F_TIMEOUT(hugetlb, tracking, LIMIT)
{
	struct area *a = &self->a;

	NEED_HUGETLB();
	EXPECT_EQ(AREA_LARGE, LARGE());
	ASSERT_EQ(0, track(a->vm, AREA, SIZE, DIRTY));
	EXPECT_EQ(0, LARGE());
	EXPECT_EQ(0, WRONG());
	EXPECT_EQ(0, HARVEST());
	WRITE(3, 1);
	WRITE(1000, 2);
	EXPECT_WRITTEN(3, 1000);
	/* what is discarded and comes back has no larger leaf either */
	ASSERT_EQ(0, discard(a->mem, 2 * MIB, variant->shared));
	memset(a->want, 0, sizeof(a->want) / 2);
	WRITE(4, 3);
	EXPECT_EQ(0, WRONG());
	EXPECT_EQ(0, LARGE());
	EXPECT_WRITTEN(4);
	ASSERT_EQ(0, track(a->vm, AREA, SIZE, 0));
	EXPECT_EQ(0, WRONG());
	EXPECT_EQ(AREA_LARGE, LARGE());
}

/* ---- hugetlbfs, 1 GiB: the lab sets a page aside ---------------------------------- */

#define GIB		(1ull << 30)
#define GIGANTIC	"/sys/kernel/mm/hugepages/hugepages-1048576kB/nr_hugepages"
#define STEP		(64 * MIB)	/* from word to word */

FIXTURE(gigantic) {
	struct vm *vm;
	struct vcpu *v;
	char *mem;
	const char *why;		/* it cannot be tested, or NULL */
	u32 want[GIB / STEP];
	long before;
};

FIXTURE_VARIANT(gigantic) {
	bool shared;
};

FIXTURE_VARIANT_ADD(gigantic, private) {
	.shared = false,
};

FIXTURE_VARIANT_ADD(gigantic, shared) {
	.shared = true,
};

static char *gigantic_page(bool shared)
{
	/* the same bits for both calls */
	unsigned int size = 30u << MAP_HUGE_SHIFT;
	int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB | size;
	int fd = -1;
	char *p;

	if (shared) {
		fd = memfd_create("gigantic", MFD_CLOEXEC | MFD_HUGETLB | size);
		if (fd < 0 || ftruncate(fd, GIB))
			return MAP_FAILED;
	}
	p = mmap(NULL, GIB, PROT_READ | PROT_WRITE, shared ? MAP_SHARED : flags, fd, 0);
	if (fd >= 0)
		close(fd);
	return p;
}

#define WORD(i)	((u32 *)(self->mem + (i) * STEP))

FIXTURE_SETUP(gigantic)
{
	struct vmm_info info;
	u64 i;

	self->before = mm_number(GIGANTIC);
	self->vm = touch_vm(1);
	self->v = &self->vm->vcpu[0];
	ASSERT_EQ(0, vm_ioctl(self->vm->dev, VMM_GET_INFO, &info));
	if (access(GIGANTIC, W_OK)) {
		self->why = "the CPU has no pages of 1 GiB";
		return;
	}
	if (!(info.features & VMM_FEAT_1G)) {
		self->why = "the CPU has none in nested page tables";
		return;
	}
	if (!self->before)
		mm_write(GIGANTIC, "1");
	self->mem = gigantic_page(variant->shared);
	if (self->mem == MAP_FAILED) {
		self->why = "no page of 1 GiB to be had";
		return;
	}
	ASSERT_EQ(0, vm_map(self->vm, AREA, GIB, self->mem, 0));
	for (i = 0; i < GIB / STEP; i++)
		*WORD(i) = self->want[i] = 100 + i;
}

FIXTURE_TEARDOWN(gigantic)
{
	vm_free(self->vm);
	if (self->before == 0)
		mm_write(GIGANTIC, "0");
}

#define NEED_GIGANTIC()							\
	do {								\
		if (self->why)						\
			SKIP(return, "%s", self->why);			\
	} while (0)
#define LARGEST()	vm_stat(self->vm, "pages_1g")
#define LARGE_OF(vm)	vm_stat(vm, "pages_2m")
#define WRITE_WORD(i, value)						\
	do {								\
		EXPECT_EQ(VMM_EXIT_NONE, touch_write(self->v, AREA + (i) * STEP, value)); \
		self->want[i] = (value);				\
	} while (0)
/* guest and process find what was written */
#define EXPECT_WORDS()							\
	do {								\
		u32 value;						\
		u64 n;							\
									\
		for (n = 0; n < GIB / STEP; n++) {			\
			EXPECT_EQ(VMM_EXIT_NONE, touch_read(self->v, AREA + n * STEP, &value)); \
			EXPECT_EQ(self->want[n], value);		\
			EXPECT_EQ(self->want[n], *WORD(n));		\
		}							\
	} while (0)

TEST_F_TIMEOUT(gigantic, mapped_large, LIMIT)
{
	u64 i;

	NEED_GIGANTIC();
	EXPECT_WORDS();
	EXPECT_EQ(1, LARGEST());
	EXPECT_EQ(0, LARGE_OF(self->vm));
	for (i = 0; i < GIB / STEP; i++)
		WRITE_WORD(i, 1000 + i);
	EXPECT_WORDS();
	EXPECT_EQ(1, LARGEST());
	munmap(self->mem, GIB);
	EXPECT_EQ(0, LARGEST());
	EXPECT_EQ(VMM_EXIT_FAULT, touch_write(self->v, AREA + STEP, 1));
	EXPECT_EQ(-EFAULT, self->v->run->exit.fault.error);
}

/* small pages where they are needed and no further, and no write is overlooked */
TEST_F_TIMEOUT(gigantic, tracking_a_part, LIMIT)
{
	u64 map = 0, at = AREA + STEP;

	NEED_GIGANTIC();
	EXPECT_WORDS();
	ASSERT_EQ(0, track(self->vm, at, 64 * PAGE, DIRTY));
	EXPECT_EQ(0, LARGEST());
	EXPECT_EQ(511, LARGE_OF(self->vm));
	EXPECT_WORDS();
	EXPECT_EQ(0, harvest(self->vm, at, 64 * PAGE, &map, DIRTY | CLEAR));
	EXPECT_EQ(VMM_EXIT_NONE, touch_write(self->v, at + 5 * PAGE, 1));
	EXPECT_EQ(VMM_EXIT_NONE, touch_write(self->v, at + 65 * PAGE, 2));
	EXPECT_EQ(1, harvest(self->vm, at, 64 * PAGE, &map, DIRTY | CLEAR));
	EXPECT_EQ(1ull << 5, map);
	ASSERT_EQ(0, track(self->vm, at, 64 * PAGE, 0));
	EXPECT_WORDS();
	EXPECT_EQ(1, LARGEST());
	EXPECT_EQ(0, LARGE_OF(self->vm));
}

TEST_F_TIMEOUT(gigantic, tracking_all_of_it, LIMIT)
{
	u64 *map = touch_alloc(GIB / PAGE / 8, PAGE);

	NEED_GIGANTIC();
	EXPECT_WORDS();
	ASSERT_EQ(0, track(self->vm, AREA, GIB, DIRTY));
	EXPECT_EQ(0, LARGEST());
	EXPECT_EQ(0, LARGE_OF(self->vm));
	EXPECT_WORDS();
	EXPECT_EQ(0, harvest(self->vm, AREA, GIB, map, DIRTY | CLEAR));
	WRITE_WORD(0, 1);
	WRITE_WORD(9, 2);
	EXPECT_EQ(2, harvest(self->vm, AREA, GIB, map, DIRTY | CLEAR));
	EXPECT_TRUE(bit(map, 0));
	EXPECT_TRUE(bit(map, 9 * STEP / PAGE));
	ASSERT_EQ(0, track(self->vm, AREA, GIB, 0));
	EXPECT_WORDS();
	EXPECT_EQ(1, LARGEST());
}

/* the VM's mapping is split, and the page with it */
TEST_F_TIMEOUT(gigantic, mapping_split_inside, LIMIT)
{
	NEED_GIGANTIC();
	EXPECT_WORDS();
	ASSERT_EQ(1, LARGEST());
	ASSERT_EQ(0, vm_protect(self->vm, AREA + 2 * STEP, PAGE, VMM_MAP_READONLY));
	EXPECT_EQ(0, LARGEST());
	EXPECT_WORDS();
	EXPECT_EQ(GIB / STEP - 1, LARGE_OF(self->vm));
	EXPECT_EQ(VMM_EXIT_MMIO, touch_write(self->v, AREA + 2 * STEP, 1));
	EXPECT_EQ(VMM_EXIT_NONE, touch_write(self->v, AREA + 2 * STEP + PAGE, 2));
	WRITE_WORD(3, 3);
	EXPECT_WORDS();
}

TEST_HARNESS_MAIN
