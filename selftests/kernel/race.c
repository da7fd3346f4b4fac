// SPDX-License-Identifier: GPL-2.0
/* Memory that changes under counting vCPUs. See race.h. */
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

#include "race.h"

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE	25
#endif

#define STORM_MS	5000
#define RUN_MS		60000		/* emulated, on a busy machine */

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

void race_init(struct race *r, unsigned int cpus)
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

enum vm_end race_run(struct race *r, u32 rounds)
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

u64 race_wrong(struct race *r)
{
	u64 wrong = 0, i;
	u32 cpu;

	for (i = 0; i < PAGES; i++)
		for (cpu = 0; cpu < r->cpus; cpu++)
			wrong += ((u32 *)(r->mem + i * PAGE))[cpu] != r->rounds[cpu];
	return wrong;
}

void race_pick(unsigned int *seed, u64 *at, u64 *size)
{
	u64 max = rand_r(seed) % 4 ? 16 : 512;

	*at = rand_r(seed) % PAGES * PAGE;
	*size = (1 + rand_r(seed) % max) * PAGE;
	if (*size > SIZE - *at)
		*size = SIZE - *at;
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
void race_change_process(struct race *r, unsigned int *seed)
{
	u64 at, size, huge;

	race_pick(seed, &at, &size);
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

void race_ksm(const char *how)
{
	int fd = open("/sys/kernel/mm/ksm/run", O_WRONLY | O_CLOEXEC);

	if (fd >= 0 && write(fd, how, 1) < 0)
		vm_die("ksm: %s", strerror(errno));
	close(fd);
}

void race_discard(struct race *r, unsigned int *seed)
{
	u64 at, size;

	race_pick(seed, &at, &size);
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

/* ---- the VM's mappings change ------------------------------------------------- */

void race_change_vm(struct race *r, unsigned int *seed)
{
	struct vmm_map m = {};
	int e = 0;

	race_pick(seed, &m.gpa, &m.size);
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

/* ---- killed at any moment ------------------------------------------------------ */

static bool killed(unsigned int wait_us, void (*victim)(int ready))
{
	int ready[2], status;
	pid_t child;
	char c;

	if (pipe(ready))
		vm_die("pipe: %s", strerror(errno));
	child = fork();
	if (!child)
		victim(ready[1]);
	if (read(ready[0], &c, 1) != 1)
		vm_die("the victim did not begin");
	usleep(wait_us);
	kill(child, SIGKILL);
	if (waitpid(child, &status, 0) != child)
		vm_die("waitpid: %s", strerror(errno));
	close(ready[0]);
	close(ready[1]);
	return WIFSIGNALED(status);
}

unsigned int race_kill(unsigned int times, void (*victim)(int ready))
{
	unsigned int i, n = 0;

	for (i = 0; i < times; i++)
		n += killed(20000 * i, victim);
	return n;
}
