// SPDX-License-Identifier: GPL-2.0
/*
 * Guest memory while everything moves: vCPUs count in every page, meanwhile the
 * page tables of the process or the mappings of the VM change under them. At
 * the end no increment may be missing. And nothing may stay behind.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kselftest_harness.h"
#include "touch.h"

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE	25
#endif

#define PAGE	0x1000ull
#define MIB	(1ull << 20)
#define AREA	TOUCH_AREA
#define CPUS	4
#define SIZE	(4 * MIB)
#define PAGES	(SIZE / PAGE)
#define STORM_MS	5000
#define ENOUGH		10		/* disturbances, however slow the machine is */
#define RUN_MS		60000		/* emulated, on a busy machine */

struct race {
	struct vm *vm;
	char *mem, *aside;		/* aside: as large, for moving away */
	unsigned int cpus;
	_Atomic unsigned int done;	/* vCPUs that have counted */
	u32 rounds[CPUS];		/* what they say: how often */
	_Atomic unsigned long retried;	/* exits because a page was away */
	void (*disturb)(struct race *r, unsigned int *seed);
	unsigned long disturbed;
	pthread_t thread;
};

static enum vm_verdict on_exit_count(struct vcpu *v)
{
	struct race *r = v->vm->priv;

	switch (v->run->reason) {
	case VMM_EXIT_IO:
		r->rounds[v->id] = v->run->exit.io.data;
		return ++r->done == r->cpus ? VM_STOP : VM_HANDLE;
	case VMM_EXIT_FAULT:
	case VMM_EXIT_MMIO:
		/* the same instruction again, when the page is back */
		r->retried++;
		usleep(200);
		return VM_AGAIN;
	}
	return VM_HANDLE;
}

static void race_init(struct race *r, unsigned int cpus)
{
	memset(r, 0, sizeof(*r));
	r->cpus = cpus;
	r->vm = touch_vm(cpus);
	r->vm->priv = r;
	r->vm->on_exit = on_exit_count;
	r->mem = touch_alloc(SIZE, 2 * MIB);
	r->aside = touch_alloc(SIZE, 2 * MIB);
	if (vm_map(r->vm, AREA, SIZE, r->mem, 0))
		vm_die("VMM_MAP failed");
}

/* for some time and often enough; then the vCPUs end their round undisturbed */
static void *disturb_thread(void *arg)
{
	u64 until = vm_now_ms() + STORM_MS;
	struct race *r = arg;
	unsigned int seed = 1;

	while (vm_now_ms() < until || r->disturbed < ENOUGH) {
		r->disturb(r, &seed);
		r->disturbed++;
		usleep(1000);
	}
	touch_stop(r->vm);
	return NULL;
}

/* vCPU i counts at offset 4 * i of every page, while disturb is called */
static enum vm_end race_run(struct race *r, u32 rounds)
{
	enum vm_end end;
	unsigned int i;

	for (i = 0; i < r->cpus; i++)
		touch_count(&r->vm->vcpu[i], AREA, AREA + SIZE, 4 * i, rounds);
	if (r->disturb && pthread_create(&r->thread, NULL, disturb_thread, r))
		vm_die("no thread");
	end = vm_run(r->vm, RUN_MS);
	if (r->disturb)
		pthread_join(r->thread, NULL);
	printf("# rounds %u %u %u %u, %lu disturbances, %lu exits retried\n", r->rounds[0],
	       r->rounds[1], r->rounds[2], r->rounds[3], r->disturbed, r->retried);
	fflush(stdout);
	return end;
}

/* counters that do not say what their vCPU said */
static u64 race_wrong(struct race *r)
{
	u64 wrong = 0, i;
	u32 cpu;

	for (i = 0; i < PAGES; i++)
		for (cpu = 0; cpu < r->cpus; cpu++)
			wrong += ((u32 *)(r->mem + i * PAGE))[cpu] != r->rounds[cpu];
	return wrong;
}

#define FOREVER	~0u

/* a random range of whole pages, mostly short, in *at and *size */
static void pick(unsigned int *seed, u64 *at, u64 *size)
{
	u64 max = rand_r(seed) % 4 ? 16 : 512;

	*at = rand_r(seed) % PAGES * PAGE;
	*size = (1 + rand_r(seed) % max) * PAGE;
	if (*size > SIZE - *at)
		*size = SIZE - *at;
}

/* ---- nothing stays ------------------------------------------------------------ */

/* SecPageTables back at `kb` soon? what a killed process held goes a bit later */
static bool tables_back_to(long kb)
{
	u64 until = vm_now_ms() + 5000;

	while (touch_table_kb() > kb && vm_now_ms() < until)
		usleep(20000);
	return touch_table_kb() <= kb;
}

FIXTURE(race) {
	long tables;			/* kB */
};

FIXTURE_SETUP(race)
{
	self->tables = touch_table_kb();
}

FIXTURE_TEARDOWN(race)
{
	EXPECT_TRUE(tables_back_to(self->tables));
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
	EXPECT_EQ(VM_STOPPED, race_run(&r, 20)) vm_explain(r.vm);
	EXPECT_EQ(0, race_wrong(&r));
	EXPECT_EQ(0, r.retried);
	vm_free(r.vm);
}

/* ---- the process's page tables change ------------------------------------------ */

static void move_away_and_back(struct race *r, u64 at, u64 size)
{
	int flags = MREMAP_MAYMOVE | MREMAP_FIXED;

	/* refused where the range has several areas: then nothing moves */
	if (mremap(r->mem + at, size, size, flags, r->aside + at) == MAP_FAILED)
		return;
	if (mremap(r->aside + at, size, size, flags, r->mem + at) == MAP_FAILED)
		vm_die("mremap back: %s", strerror(errno));
}

static void fork_and_reap(void)
{
	pid_t child = fork();

	if (!child)
		_exit(0);
	if (child < 0 || waitpid(child, NULL, 0) != child)
		vm_die("fork: %s", strerror(errno));
}

static void compact(void)
{
	int fd = open("/proc/sys/vm/compact_memory", O_WRONLY | O_CLOEXEC);

	if (fd < 0 || write(fd, "1", 1) != 1)
		vm_die("cannot compact memory: %s", strerror(errno));
	close(fd);
}

/* none of these changes a byte that the process sees */
static void change_process(struct race *r, unsigned int *seed)
{
	u64 at, size, huge;

	pick(seed, &at, &size);
	huge = at & ~(2 * MIB - 1);
	switch (rand_r(seed) % 16) {
	case 0 ... 2:
		mprotect(r->mem + at, size, PROT_READ);
		mprotect(r->mem + at, size, PROT_READ | PROT_WRITE);
		break;
	case 3 ... 4:
		mprotect(r->mem + at, size, PROT_NONE);
		mprotect(r->mem + at, size, PROT_READ | PROT_WRITE);
		break;
	case 5 ... 6:
		move_away_and_back(r, at, size);
		break;
	case 7:
		fork_and_reap();
		break;
	case 8 ... 9:
		madvise(r->mem + huge, 2 * MIB, MADV_HUGEPAGE);
		madvise(r->mem + huge, 2 * MIB, MADV_COLLAPSE);
		break;
	case 10:
		madvise(r->mem + huge, 2 * MIB, MADV_NOHUGEPAGE);
		break;
	case 11 ... 12:
		madvise(r->mem + at, size, MADV_PAGEOUT);
		break;
	case 13:
		madvise(r->mem + at, size, MADV_COLD);
		break;
	case 14:
		madvise(r->mem + at, size, MADV_MERGEABLE);
		break;
	case 15:
		compact();
		break;
	}
}

static void ksm_run(const char *how)
{
	int fd = open("/sys/kernel/mm/ksm/run", O_WRONLY | O_CLOEXEC);

	if (fd >= 0 && write(fd, how, 1) < 0)
		vm_die("ksm: %s", strerror(errno));
	close(fd);
}

TEST_F_TIMEOUT(race, no_write_is_lost_while_the_process_changes_its_memory, 120)
{
	bool swap = !system("modprobe -q zram && echo 64M >/sys/block/zram0/disksize && "
			    "mkswap -q /dev/zram0 && swapon /dev/zram0");
	struct race r;

	race_init(&r, CPUS);
	r.disturb = change_process;
	ksm_run("1");
	EXPECT_EQ(VM_STOPPED, race_run(&r, FOREVER)) vm_explain(r.vm);
	ksm_run("2");
	EXPECT_EQ(0, race_wrong(&r));
	EXPECT_LE(ENOUGH, r.disturbed);
	vm_free(r.vm);
	if (swap)
		EXPECT_EQ(0, system("swapoff /dev/zram0 && echo 1 >/sys/block/zram0/reset"));
}

static void discard(struct race *r, unsigned int *seed)
{
	u64 at, size;

	pick(seed, &at, &size);
	switch (rand_r(seed) % 4) {
	case 0 ... 1:
		madvise(r->mem + at, size, MADV_DONTNEED);
		break;
	case 2:
		madvise(r->mem + at, size, MADV_FREE);
		break;
	case 3:
		munmap(r->mem + at, size);
		if (mmap(r->mem + at, size, PROT_READ | PROT_WRITE, MAP_PRIVATE |
			 MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED)
			vm_die("mmap: %s", strerror(errno));
		break;
	}
}

/* what is thrown away is gone for both; what they see then is the same */
TEST_F_TIMEOUT(race, discarded_pages_stay_common, 120)
{
	u32 value, *word, differ = 0, high = 0;
	struct race r;
	u64 i;

	race_init(&r, CPUS);
	r.disturb = discard;
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

static void change_vm(struct race *r, unsigned int *seed)
{
	struct vmm_map m = {};
	int e = 0;

	pick(seed, &m.gpa, &m.size);
	m.gpa += AREA;
	if (rand_r(seed) % 2) {
		m.flags = VMM_MAP_READONLY;
		e |= vm_ioctl(r->vm->fd, VMM_PROTECT, &m);
		m.flags = 0;
		e |= vm_ioctl(r->vm->fd, VMM_PROTECT, &m);
	} else {
		e |= vm_ioctl(r->vm->fd, VMM_UNMAP, &m);
		m.hva = (uintptr_t)r->mem + (m.gpa - AREA);
		e |= vm_ioctl(r->vm->fd, VMM_MAP, &m);
	}
	if (e)
		vm_die("changing gpa %#llx, %#llx bytes: %d", m.gpa, m.size, e);
}

TEST_F_TIMEOUT(race, no_write_is_lost_while_mappings_change, 120)
{
	struct race r;

	race_init(&r, CPUS);
	r.disturb = change_vm;
	EXPECT_EQ(VM_STOPPED, race_run(&r, FOREVER)) vm_explain(r.vm);
	EXPECT_EQ(0, race_wrong(&r));
	EXPECT_LE(ENOUGH, r.disturbed);
	vm_free(r.vm);
}

/* ---- the end --------------------------------------------------------------------- */

TEST_F_TIMEOUT(race, page_tables_are_freed_with_the_vm, 60)
{
	long during;
	struct race r;

	race_init(&r, 1);
	madvise(r.mem, SIZE, MADV_NOHUGEPAGE);
	EXPECT_EQ(VM_STOPPED, race_run(&r, 1)) vm_explain(r.vm);
	during = touch_table_kb();
	EXPECT_LE(self->tables + (long)(SIZE / (2 * MIB) * 4), during);
	/* unmapping frees them at once */
	EXPECT_EQ(0, vm_unmap(r.vm, AREA, SIZE));
	EXPECT_GE(during - (long)(SIZE / (2 * MIB) * 4), touch_table_kb());
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
	int ready[2], i, status;
	pid_t child;
	char c;

	for (i = 0; i < 8; i++) {
		ASSERT_EQ(0, pipe(ready));
		child = fork();
		if (!child)
			victim(ready[1]);
		ASSERT_EQ(1, read(ready[0], &c, 1));
		usleep(20000 * i);
		kill(child, SIGKILL);
		ASSERT_EQ(child, waitpid(child, &status, 0));
		EXPECT_TRUE(WIFSIGNALED(status));
		close(ready[0]);
		close(ready[1]);
	}
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
