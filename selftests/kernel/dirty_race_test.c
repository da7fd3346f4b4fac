// SPDX-License-Identifier: GPL-2.0
/*
 * Pages that vCPUs write are found while the memory changes under them, while
 * others harvest, and while tracking begins and ends.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#include "kselftest_harness.h"
#include "dirty.h"

/* ---- a copy that follows ---------------------------------------------------------- */

/*
 * As a migration does it: copy what is dirty, again and again while the guest
 * writes; when it has stopped, once more. Then the copy is the same, or a write
 * went unnoticed.
 */
struct copy {
	struct race *r;
	pthread_mutex_t lock;		/* of what follows */
	char to[SIZE];
	bool due[PAGES];
	_Atomic bool stop;
	_Atomic unsigned long harvests, pages;
};

/* the page may be away or protected just now: later, then */
static void copy_due(struct copy *c)
{
	u64 i;

	pthread_mutex_lock(&c->lock);
	for (i = 0; i < PAGES; i++) {
		struct iovec from = { c->r->mem + i * PAGE, PAGE };
		struct iovec to = { c->to + i * PAGE, PAGE };

		if (!c->due[i])
			continue;
		if (process_vm_readv(getpid(), &to, 1, &from, 1, 0) == (ssize_t)PAGE) {
			c->due[i] = false;
			c->pages++;
		}
	}
	pthread_mutex_unlock(&c->lock);
}

static void copy_turn(struct copy *c)
{
	u64 map[WORDS(SIZE)], i;
	int r = harvest(c->r->vm, AREA, SIZE, map, DIRTY | CLEAR);

	if (r < 0)
		vm_die("VMM_HARVEST: %s", strerror(-r));
	pthread_mutex_lock(&c->lock);
	for (i = 0; i < PAGES; i++)
		c->due[i] |= bit(map, i);
	pthread_mutex_unlock(&c->lock);
	c->harvests++;
	copy_due(c);
	/* in others' way */
	harvest(c->r->vm, AREA, SIZE, map, ACCESSED | CLEAR);
}

static void *copy_thread(void *arg)
{
	struct copy *c = arg;

	while (!c->stop) {
		copy_turn(c);
		usleep(500);
	}
	return NULL;
}

/* the monitor knows what it throws away */
static struct copy *discarder;

static void race_discard_knowing(struct race *r, unsigned int *seed)
{
	u64 at, size, i;

	race_pick(seed, &at, &size);
	madvise(r->mem + at, size, MADV_DONTNEED);
	pthread_mutex_lock(&discarder->lock);
	for (i = at / PAGE; i < (at + size) / PAGE; i++)
		discarder->due[i] = true;
	pthread_mutex_unlock(&discarder->lock);
}

/* all at once */
static void race_change_all(struct race *r, unsigned int *seed)
{
	race_change_process(r, seed);
	race_change_vm(r, seed);
	race_discard_knowing(r, seed);
}

FIXTURE(copy) {
	long tables;
};

FIXTURE_SETUP(copy)
{
	self->tables = touch_table_kb();
}

FIXTURE_TEARDOWN(copy)
{
	EXPECT_TRUE(touch_tables_back_to(self->tables));
}

FIXTURE_VARIANT(copy) {
	void (*disturb)(struct race *r, unsigned int *seed);
	unsigned int threads;
};

FIXTURE_VARIANT_ADD(copy, undisturbed) {
	.threads = 1,
};

FIXTURE_VARIANT_ADD(copy, process_changes) {
	.disturb = race_change_process, .threads = 1,
};

FIXTURE_VARIANT_ADD(copy, mappings_change) {
	.disturb = race_change_vm, .threads = 1,
};

FIXTURE_VARIANT_ADD(copy, all_changes_two_harvest) {
	.disturb = race_change_all, .threads = 2,
};

TEST_F_TIMEOUT(copy, is_the_same_in_the_end, 120)
{
	struct copy *c = calloc(1, sizeof(*c));
	pthread_t thread[2];
	u64 i, differ = 0;
	struct race r;

	race_init(&r, 2);
	c->r = &r;
	pthread_mutex_init(&c->lock, NULL);
	discarder = c;
	r.disturb = variant->disturb;
	ASSERT_EQ(0, track(r.vm, AREA, SIZE, BOTH));
	race_ksm("1");
	for (i = 0; i < variant->threads; i++)
		ASSERT_EQ(0, pthread_create(&thread[i], NULL, copy_thread, c));
	EXPECT_EQ(VM_STOPPED, race_run(&r, r.disturb ? FOREVER : 100)) vm_explain(r.vm);
	c->stop = true;
	for (i = 0; i < variant->threads; i++)
		pthread_join(thread[i], NULL);
	race_ksm("2");
	copy_turn(c);
	printf("# %lu harvests, %lu pages copied\n", c->harvests, c->pages);
	fflush(stdout);
	for (i = 0; i < PAGES; i++)
		differ += c->due[i] || memcmp(c->to + i * PAGE, r.mem + i * PAGE, PAGE);
	EXPECT_EQ(0, differ);
	EXPECT_LT(2, c->harvests);
	EXPECT_LT(PAGES, c->pages);
	/* and what was tracked is what ran */
	if (r.disturb != race_change_all)
		EXPECT_EQ(0, race_wrong(&r));
	vm_free(r.vm);
}

/* ---- in the midst of it ------------------------------------------------------------ */

static void race_track(struct race *r, unsigned int *seed)
{
	u64 map[WORDS(SIZE)], at = AREA + rand_r(seed) % 4 * MIB;

	switch (rand_r(seed) % 4) {
	case 0:
		track(r->vm, at, MIB, 1 + rand_r(seed) % 3);
		break;
	case 1:
		track(r->vm, at, MIB, 0);
		break;
	default:
		harvest(r->vm, at, MIB, map, CLEAR | (rand_r(seed) % 2 ? DIRTY : ACCESSED));
		break;
	}
}

static void race_track_and_change(struct race *r, unsigned int *seed)
{
	race_track(r, seed);
	race_change_process(r, seed);
}

FIXTURE(dirty) {
	long tables;			/* kB */
};

FIXTURE_SETUP(dirty)
{
	self->tables = touch_table_kb();
}

FIXTURE_TEARDOWN(dirty)
{
	EXPECT_TRUE(touch_tables_back_to(self->tables));
}

TEST_F_TIMEOUT(dirty, begun_and_ended_while_vcpus_run, 120)
{
	struct race r;

	race_init(&r, 2);
	r.disturb = race_track_and_change;
	EXPECT_EQ(VM_STOPPED, race_run(&r, FOREVER)) vm_explain(r.vm);
	EXPECT_EQ(0, race_wrong(&r));
	EXPECT_LE(ENOUGH, r.disturbed);
	vm_free(r.vm);
}

/* a VM that is tracked and runs; says so in `ready` */
static void victim(int ready)
{
	struct race r;

	race_init(&r, 2);
	r.disturb = race_track;
	if (track(r.vm, AREA + SIZE, VAST, BOTH) || write(ready, "x", 1) != 1)
		_exit(1);
	race_run(&r, FOREVER);
	_exit(0);
}

TEST_F_TIMEOUT(dirty, kill_leaves_nothing_behind, 60)
{
	EXPECT_EQ(6, race_kill(6, victim));
}

TEST_HARNESS_MAIN
