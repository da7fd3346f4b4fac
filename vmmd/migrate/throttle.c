// SPDX-License-Identifier: GPL-2.0
#define _GNU_SOURCE 1		/* pthread_setname_np */
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <time.h>

#include "loop.h"
#include "migrate/throttle.h"
#include "vcpu.h"
#include "vm.h"

/*
 * A pause is shorter than this. The one in which the guest goes may follow at once, and
 * others on the network wait for both. Much shorter, and on a host that is short of CPUs
 * it takes longer to be held again than the guest was to run.
 */
#define PERIOD_NS	20000000ULL
#define LOOK_NS		100000ULL	/* not more often than this, at how long it ran */

struct throttle {
	struct vm *vm;
	pthread_t thread;
	pthread_mutex_t lock;		/* of what follows */
	pthread_cond_t changed;
	unsigned int percent;
	bool ending;
	uint64_t ran[];			/* by each vCPU, until it was let go on; own thread */
};

/* lock held; until then, or something changes */
static void wait_until(struct throttle *t, uint64_t when, unsigned int percent)
{
	const struct timespec ts = { when / 1000000000, when % 1000000000 };

	while (!t->ending && t->percent == percent && loop_now() < when)
		pthread_cond_timedwait(&t->changed, &t->lock, &ts);
}

static void hold(struct vm *vm, bool on)
{
	pthread_mutex_lock(&vm->lock);
	if (on)
		vm_pause(vm, VM_PAUSE_THROTTLE);
	else
		vm_resume(vm, VM_PAUSE_THROTTLE);
	pthread_mutex_unlock(&vm->lock);
}

/* the CPU time of a vCPU's thread: in the guest, and for it */
static uint64_t cpu_time(const struct vcpu *v)
{
	struct timespec ts = { 0 };
	clockid_t clock;

	if (!pthread_getcpuclockid(v->thread, &clock))
		clock_gettime(clock, &ts);
	return ts.tv_sec * 1000000000ULL + ts.tv_nsec;
}

/*
 * t->lock held. A guest that was to run for that long has not, while its host had no CPU
 * for it; and one that sleeps writes to nothing. So what counts is how long it ran.
 */
static void let_run(struct throttle *t, uint64_t ns, unsigned int percent)
{
	uint64_t most;
	unsigned int i;

	while (!t->ending && t->percent == percent) {
		for (i = 0, most = 0; i < t->vm->nvcpus; i++) {
			uint64_t n = cpu_time(&t->vm->vcpu[i]) - t->ran[i];

			most = n > most ? n : most;
		}
		if (most >= ns)
			return;
		wait_until(t, loop_now() + (ns - most > LOOK_NS ? ns - most : LOOK_NS), percent);
	}
}

/* t->lock held, but not while the VM's is waited for */
static void one_period(struct throttle *t)
{
	uint64_t start = loop_now();
	unsigned int percent = t->percent, i;

	pthread_mutex_unlock(&t->lock);
	hold(t->vm, true);
	for (i = 0; i < t->vm->nvcpus; i++)
		t->ran[i] = cpu_time(&t->vm->vcpu[i]);
	pthread_mutex_lock(&t->lock);
	wait_until(t, start + PERIOD_NS / 100 * percent, percent);
	pthread_mutex_unlock(&t->lock);
	hold(t->vm, false);
	pthread_mutex_lock(&t->lock);
	let_run(t, PERIOD_NS / 100 * (100 - percent), percent);
}

static void *throttle_main(void *arg)
{
	struct throttle *t = arg;

	pthread_mutex_lock(&t->lock);
	while (!t->ending) {
		if (t->percent)
			one_period(t);
		else
			pthread_cond_wait(&t->changed, &t->lock);
	}
	pthread_mutex_unlock(&t->lock);
	return NULL;
}

struct throttle *throttle_new(struct vm *vm)
{
	struct throttle *t = calloc(1, sizeof(*t) + vm->nvcpus * sizeof(t->ran[0]));
	pthread_condattr_t attr;

	if (!t)
		return NULL;
	t->vm = vm;
	pthread_mutex_init(&t->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);	/* loop_now's */
	pthread_cond_init(&t->changed, &attr);
	pthread_condattr_destroy(&attr);
	if (!pthread_create(&t->thread, NULL, throttle_main, t)) {
		pthread_setname_np(t->thread, "throttle");
		return t;
	}
	pthread_cond_destroy(&t->changed);
	pthread_mutex_destroy(&t->lock);
	free(t);
	return NULL;
}

void throttle_set(struct throttle *t, unsigned int percent)
{
	pthread_mutex_lock(&t->lock);
	t->percent = percent;
	pthread_cond_broadcast(&t->changed);
	pthread_mutex_unlock(&t->lock);
}

void throttle_free(struct throttle *t)
{
	if (!t)
		return;
	pthread_mutex_lock(&t->lock);
	t->ending = true;
	pthread_cond_broadcast(&t->changed);
	pthread_mutex_unlock(&t->lock);
	pthread_join(t->thread, NULL);
	pthread_cond_destroy(&t->changed);
	pthread_mutex_destroy(&t->lock);
	free(t);
}
