// SPDX-License-Identifier: GPL-2.0
/*
 * Guest memory while everything moves: vCPUs count in every page, meanwhile the
 * page tables of the process or the mappings of the VM change under them. At
 * the end no increment may be missing. And nothing may stay behind.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kselftest_harness.h"
#include "mm.h"
#include "race.h"

/* ---- nothing stays ------------------------------------------------------------ */

FIXTURE(race) {
	long tables;			/* kB */
};

FIXTURE_SETUP(race)
{
	self->tables = touch_table_kb();
}

FIXTURE_TEARDOWN(race)
{
	EXPECT_TRUE(touch_tables_back_to(self->tables));
}

/* ---- faults ------------------------------------------------------------------ */

TEST_F_TIMEOUT(race, parallel_faults_on_the_same_pages, 60)
{
	struct race r;

	race_init(&r, CPUS);
	madvise(r.mem, SIZE, MADV_NOHUGEPAGE);
	EXPECT_EQ(VM_STOPPED, race_run(&r, 3)) vm_explain(r.vm);
	EXPECT_EQ(0, race_wrong(&r));
	EXPECT_EQ(0, r.retried);
	vm_free(r.vm);
}

TEST_F_TIMEOUT(race, parallel_faults_on_huge_pages, 60)
{
	struct race r;

	race_init(&r, CPUS);
	madvise(r.mem, SIZE, MADV_HUGEPAGE);
	/* Linux makes no large page for who reads it first */
	memset(r.mem, 0, SIZE);
	EXPECT_EQ(VM_STOPPED, race_run(&r, 20)) vm_explain(r.vm);
	EXPECT_EQ(0, race_wrong(&r));
	EXPECT_EQ(0, r.retried);
	EXPECT_EQ(mm_huge(r.mem, SIZE) / (2 * MIB), vm_stat(r.vm, "pages_2m"));
	EXPECT_LT(0, vm_stat(r.vm, "pages_2m"));
	vm_free(r.vm);
}

/* ---- the process's page tables change ------------------------------------------ */

TEST_F_TIMEOUT(race, no_write_is_lost_while_the_process_changes_its_memory, 120)
{
	bool swap = mm_swap_on();
	struct race r;

	race_init(&r, CPUS);
	r.disturb = race_change_process;
	race_ksm("1");
	EXPECT_EQ(VM_STOPPED, race_run(&r, FOREVER)) vm_explain(r.vm);
	race_ksm("2");
	EXPECT_EQ(0, race_wrong(&r));
	EXPECT_LE(ENOUGH, r.disturbed);
	vm_free(r.vm);
	if (swap)
		EXPECT_EQ(0, mm_swap_off());
}

/* what is thrown away is gone for both; what they see then is the same */
TEST_F_TIMEOUT(race, discarded_pages_stay_common, 120)
{
	u32 value, *word, differ = 0, high = 0;
	struct race r;
	u64 i;

	race_init(&r, CPUS);
	r.disturb = race_discard;
	EXPECT_EQ(VM_STOPPED, race_run(&r, FOREVER)) vm_explain(r.vm);
	for (i = 0; i < PAGES; i++) {
		word = (u32 *)(r.mem + i * PAGE);
		high += *word > r.rounds[0];
		if (i % 16)
			continue;
		*word = i + 1000;
		differ += touch_read(&r.vm->vcpu[0], AREA + i * PAGE, &value) ||
			  value != i + 1000;
	}
	EXPECT_EQ(0, differ);
	EXPECT_EQ(0, high);
	vm_free(r.vm);
}

/* ---- the VM's mappings change ------------------------------------------------- */

TEST_F_TIMEOUT(race, no_write_is_lost_while_mappings_change, 120)
{
	struct race r;

	race_init(&r, CPUS);
	r.disturb = race_change_vm;
	EXPECT_EQ(VM_STOPPED, race_run(&r, FOREVER)) vm_explain(r.vm);
	EXPECT_EQ(0, race_wrong(&r));
	EXPECT_LE(ENOUGH, r.disturbed);
	vm_free(r.vm);
}

/* ---- the end --------------------------------------------------------------------- */

TEST_F_TIMEOUT(race, page_tables_are_freed_with_the_vm, 60)
{
	u64 freed = 0;
	struct race r;
	int i;

	race_init(&r, 1);
	madvise(r.mem, SIZE, MADV_NOHUGEPAGE);
	/* unmapping frees them at once; NUMA balancing may have been before it */
	for (i = 0; i < 10 && freed != SIZE / (2 * MIB); i++) {
		r.done = 0;
		EXPECT_EQ(VM_STOPPED, race_run(&r, 1)) vm_explain(r.vm);
		freed = vm_stat(r.vm, "page_table_pages");
		EXPECT_EQ(0, vm_unmap(r.vm, AREA, SIZE));
		freed -= vm_stat(r.vm, "page_table_pages");
		EXPECT_EQ(0, vm_map(r.vm, AREA, SIZE, r.mem, 0));
	}
	EXPECT_EQ(SIZE / (2 * MIB), freed);
	vm_free(r.vm);
}

/* a VM with vCPUs that count for ever; says in `pipe` that it runs */
static void victim(int ready)
{
	struct race r;
	char c = 0;

	race_init(&r, 2);
	if (write(ready, &c, 1) != 1)
		_exit(1);
	race_run(&r, FOREVER);
	_exit(0);
}

TEST_F_TIMEOUT(race, kill_leaves_nothing_behind, 60)
{
	EXPECT_EQ(8, race_kill(8, victim));
}

/* the fds live on in a child: page tables go with the memory, the rest later */
TEST_F_TIMEOUT(race, fds_may_outlive_the_memory, 60)
{
	int alive[2], status;
	pid_t owner;
	char c;

	ASSERT_EQ(0, pipe(alive));
	owner = fork();
	if (!owner) {
		struct race r;

		race_init(&r, 1);
		race_run(&r, 1);
		if (!fork()) {
			usleep(300000);
			/* the VM is not ours, and its owner is gone */
			if (vm_ioctl_n(r.vm->vcpu[0].fd, VMM_RUN, 0) != -EIO ||
			    vm_ioctl(r.vm->fd, VMM_UNMAP, r.vm->map) != -EIO)
				_exit(1);
			close(r.vm->vcpu[0].fd);
			close(r.vm->fd);
			if (write(alive[1], "x", 1) != 1)
				_exit(1);
			_exit(0);
		}
		_exit(0);
	}
	close(alive[1]);
	ASSERT_EQ(owner, waitpid(owner, &status, 0));
	EXPECT_EQ(0, status);
	EXPECT_EQ(1, read(alive[0], &c, 1));
}

TEST_HARNESS_MAIN
