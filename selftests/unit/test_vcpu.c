// SPDX-License-Identifier: GPL-2.0
/*
 * vmmd's vCPU thread over a module that is played: it says that it runs before it
 * does, so that a reset waits for the end of an exit that is under way.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "vcpu.h"
#include "vm.h"

static struct vm vm = {
	.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER,
	.nvcpus = 1,
};
static struct vcpu vcpu;
static unsigned int runs, runs_unsaid, kicks;

/* ---- the module: in the place of vmmd/api.c, as far as it is asked ---------- */

int api_vcpu_create(struct api_vm *a, uint32_t id, struct api_vcpu *v)
{
	v->run = calloc(1, sizeof(*v->run));
	return 0;
}

void api_vcpu_close(struct api_vcpu *v)
{
	free(v->run);
}

int api_set_cpuid(struct api_vcpu *v, struct vmm_cpuid_entry *e, uint32_t count)
{
	return 0;
}

int api_get_state(struct api_vcpu *v, struct vmm_state *st, uint32_t mask)
{
	memset(st, 0, sizeof(*st));
	return 0;
}

int api_set_state(struct api_vcpu *v, struct vmm_state *st, uint32_t mask)
{
	return 0;
}

int api_inject(struct api_vcpu *v, const struct vmm_inject *inj)
{
	return 0;
}

int api_kick(struct api_vcpu *v)
{
	kicks++;
	return 0;
}

/* an exit that the monitor has nothing to do for */
int api_run(struct api_vcpu *v)
{
	pthread_mutex_lock(&vm.lock);
	runs++;
	runs_unsaid += vcpu.state != VCPU_RUNNING;
	pthread_cond_broadcast(&vm.changed);
	pthread_mutex_unlock(&vm.lock);
	v->run->reason = VMM_EXIT_KICK;
	usleep(100);
	return 0;
}

/* ---- tests ---------------------------------------------------------------- */

static int setup(void **unused)
{
	runs = runs_unsaid = kicks = 0;
	memset(&vcpu, 0, sizeof(vcpu));
	return vcpu_init(&vcpu, &vm, 0, NULL, 0);
}

static void want(enum vcpu_state state)
{
	pthread_mutex_lock(&vm.lock);
	vcpu_want(&vcpu, state);
	pthread_mutex_unlock(&vm.lock);
}

static void wait_for_runs(unsigned int n)
{
	pthread_mutex_lock(&vm.lock);
	while (runs < n)
		pthread_cond_wait(&vm.changed, &vm.lock);
	pthread_mutex_unlock(&vm.lock);
}

static void wait_for_state(enum vcpu_state state)
{
	pthread_mutex_lock(&vm.lock);
	while (vcpu.state != state)
		pthread_cond_wait(&vm.changed, &vm.lock);
	pthread_mutex_unlock(&vm.lock);
}

static int teardown(void **unused)
{
	want(VCPU_FINISHED);
	vcpu_join(&vcpu);
	assert_int_equal(vcpu.state, VCPU_FINISHED);
	vcpu_destroy(&vcpu);
	return 0;
}

/* as on a host with one CPU: the thread begins after it was told to run */
static void told_before_it_begins(void **unused)
{
	want(VCPU_RUNNING);
	assert_int_equal(vcpu_start(&vcpu), 0);
	wait_for_runs(3);
	want(VCPU_PAUSED);
	wait_for_state(VCPU_PAUSED);
	assert_int_equal(runs_unsaid, 0);
}

static void told_later(void **unused)
{
	unsigned int i, n;

	assert_int_equal(vcpu_start(&vcpu), 0);
	wait_for_state(VCPU_PAUSED);
	for (i = 1; i <= 20; i++) {
		n = runs;
		want(VCPU_RUNNING);
		wait_for_runs(n + 2);
		want(VCPU_PAUSED);
		wait_for_state(VCPU_PAUSED);
		/* kicked each time, and not while it is paused */
		assert_int_equal(kicks, i);
		n = runs;
		usleep(300);
		assert_int_equal(runs, n);
	}
	assert_int_equal(runs_unsaid, 0);
}

/* a thread that never runs ends all the same */
static void never_told(void **unused)
{
	assert_int_equal(vcpu_start(&vcpu), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(told_before_it_begins, setup, teardown),
		cmocka_unit_test_setup_teardown(told_later, setup, teardown),
		cmocka_unit_test_setup_teardown(never_told, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
