// SPDX-License-Identifier: GPL-2.0
/*
 * Guest memory that moves between the host's nodes: moved by hand, also under vCPUs
 * that count in it, and by NUMA balancing, which takes rights away to see who uses
 * what. Needs a host with two nodes, which make check-kernel NODES=2 boots.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "kselftest_harness.h"
#include "area.h"

#define SHMEM	"/sys/kernel/mm/transparent_hugepage/shmem_enabled"
#define NODE1	"/sys/devices/system/node/node1"
#define LIMIT	120

#define NEED_NODES()							\
	do {								\
		if (access(NODE1, F_OK))				\
			SKIP(return, "the host has one node only: NODES=2"); \
	} while (0)

/* ---- while the guest stands still ------------------------------------------------ */

FIXTURE(nodes) {
	struct area a;
};

FIXTURE_VARIANT(nodes) {
	bool shared;
	int advice;
	size_t page;			/* that Linux has */
	u64 large;			/* mappings of the guest then */
};

FIXTURE_VARIANT_ADD(nodes, small_anonymous) {
	.shared = false, .advice = MADV_NOHUGEPAGE, .page = PAGE, .large = 0,
};

FIXTURE_VARIANT_ADD(nodes, huge_anonymous) {
	.shared = false, .advice = MADV_HUGEPAGE, .page = 2 * MIB, .large = AREA_LARGE,
};

FIXTURE_VARIANT_ADD(nodes, huge_shared) {
	.shared = true, .advice = MADV_HUGEPAGE, .page = 2 * MIB, .large = AREA_LARGE,
};

FIXTURE_SETUP(nodes)
{
	char *mem;

	if (access(NODE1, F_OK))
		return;
	/* what is to be seen here is what is done by hand */
	mm_write("/proc/sys/kernel/numa_balancing", "0");
	if (variant->shared)
		mm_write(SHMEM, "advise");
	mem = variant->shared ? area_file(0) : touch_alloc(SIZE, 2 * MIB);
	ASSERT_NE(NULL, mem);
	ASSERT_EQ(0, madvise(mem, SIZE, variant->advice));
	area_init(&self->a, mem);
	if (variant->large && mm_huge(mem, SIZE) != SIZE)
		ASSERT_EQ(0, mm_collapse(mem, SIZE));
	ASSERT_EQ(0, area_rewrite(&self->a));
}

FIXTURE_TEARDOWN(nodes)
{
	if (!self->a.vm)
		return;
	vm_free(self->a.vm);
	if (variant->shared)
		mm_write(SHMEM, "never");
	mm_write("/proc/sys/kernel/numa_balancing", "1");
}

static unsigned int pages_on(struct area *a, int node)
{
	unsigned int n = 0;
	u64 at;

	for (at = 0; at < SIZE; at += PAGE)
		n += mm_node(a->mem + at) == node;
	return n;
}

TEST_F_TIMEOUT(nodes, moved_there_and_back, LIMIT)
{
	long small = mm_vmstat("pgmigrate_success"), large = mm_vmstat("thp_migration_success");
	struct area *a = &self->a;
	int i, from, to;
	u64 pfn;

	NEED_NODES();
	if (variant->large && !(a->info.features & VMM_FEAT_2M))
		SKIP(return, "nested page tables have no large pages");
	from = mm_node(a->mem);
	ASSERT_LE(0, from);
	ASSERT_EQ(0, mm_move(a->mem, SIZE, variant->page, from));
	for (i = 0; i < 4; i++) {
		to = i % 2 ? from : !from;
		EXPECT_EQ(variant->large, area_large(a));
		pfn = mm_pfn(a->mem);
		ASSERT_EQ(0, mm_move(a->mem, SIZE, variant->page, to));
		/* no mapping of the old place is left */
		EXPECT_EQ(0, area_large(a));
		EXPECT_NE(pfn, mm_pfn(a->mem));
		EXPECT_EQ(PAGES, pages_on(a, to));
		EXPECT_EQ(0, area_wrong(a));
		EXPECT_EQ(0, area_rewrite(a));
		EXPECT_EQ(0, area_wrong(a));
	}
	if (variant->large) {
		EXPECT_EQ(SIZE, mm_huge(a->mem, SIZE));
		EXPECT_EQ(AREA_LARGE, area_large(a));
		EXPECT_LE(large + 4 * (long)AREA_LARGE, mm_vmstat("thp_migration_success"));
	}
	EXPECT_LE(small + 4 * (long)PAGES, mm_vmstat("pgmigrate_success"));
}

/* ---- while vCPUs count ------------------------------------------------------------- */

FIXTURE(moving) {
};

FIXTURE_SETUP(moving)
{
}

FIXTURE_TEARDOWN(moving)
{
}

/* Linux makes no large page for who reads it first: the process writes it */
static void init_huge(struct race *r)
{
	race_init(r, CPUS);
	madvise(r->mem, SIZE, MADV_HUGEPAGE);
	memset(r->mem, 0, SIZE);
}

static long moved;

static void move_some(struct race *r, unsigned int *seed)
{
	u64 at, size;

	race_pick(seed, &at, &size);
	moved += !mm_move(r->mem + at, PAGE, PAGE, rand_r(seed) % 2);
	if (rand_r(seed) % 4 == 0)
		madvise(r->mem + (at & ~(2 * MIB - 1)), 2 * MIB, MADV_COLLAPSE);
}

TEST_F_TIMEOUT(moving, no_write_is_lost_by_hand, LIMIT)
{
	long before = mm_vmstat("pgmigrate_success");
	struct race r;

	NEED_NODES();
	init_huge(&r);
	r.disturb = move_some;
	EXPECT_EQ(VM_STOPPED, race_run(&r, FOREVER)) vm_explain(r.vm);
	EXPECT_EQ(0, race_wrong(&r));
	EXPECT_EQ(0, r.retried);
	EXPECT_LE(ENOUGH, r.disturbed);
	EXPECT_LT(0, moved);
	EXPECT_LT(before, mm_vmstat("pgmigrate_success"));
	TH_LOG("%ld moves, %ld pages", moved, mm_vmstat("pgmigrate_success") - before);
	vm_free(r.vm);
}

#define SCAN	"/sys/kernel/debug/sched/numa_balancing/"

/* pages go to the node that is not theirs, and Linux is left to find that out */
static void misplace(struct race *r, unsigned int *seed)
{
	if (rand_r(seed) % 8 == 0)
		mm_move(r->mem, SIZE, 2 * MIB, 1);
	usleep(50000);
}

TEST_F_TIMEOUT(moving, no_write_is_lost_by_balancing, LIMIT)
{
	long took = mm_vmstat("numa_pte_updates"), huge = mm_vmstat("numa_huge_pte_updates");
	long faults = mm_vmstat("numa_hint_faults");
	struct race r;

	NEED_NODES();
	if (access("/sys/kernel/debug/sched", F_OK))
		system("mount -t debugfs none /sys/kernel/debug 2>/dev/null");
	if (access(SCAN "scan_delay_ms", W_OK))
		SKIP(return, "no NUMA balancing");
	/* often, since this does not take long */
	mm_write(SCAN "scan_delay_ms", "10");
	mm_write(SCAN "scan_period_min_ms", "10");
	mm_write(SCAN "scan_period_max_ms", "100");
	mm_write("/proc/sys/kernel/numa_balancing", "1");
	init_huge(&r);
	r.disturb = misplace;
	EXPECT_EQ(VM_STOPPED, race_run(&r, FOREVER)) vm_explain(r.vm);
	EXPECT_EQ(0, race_wrong(&r));
	EXPECT_EQ(0, r.retried);
	TH_LOG("rights taken from %ld pages, %ld large, %ld faults to see who uses them",
	       mm_vmstat("numa_pte_updates") - took, mm_vmstat("numa_huge_pte_updates") - huge,
	       mm_vmstat("numa_hint_faults") - faults);
	EXPECT_LT(huge, mm_vmstat("numa_huge_pte_updates"));
	EXPECT_LT(faults, mm_vmstat("numa_hint_faults"));
	vm_free(r.vm);
}

TEST_HARNESS_MAIN
