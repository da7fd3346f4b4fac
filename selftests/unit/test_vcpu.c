// SPDX-License-Identifier: GPL-2.0
/*
 * vmmd's vCPU thread over a module that is played: it says that it runs before it
 * does, so that a reset waits for the end of an exit that is under way. And who
 * has paused a VM finds it so until he resumes it.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "loop.h"
#include "machine.h"
#include "mem.h"
#include "vcpu.h"
#include "vm.h"

static struct vm vm = {
	.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER,
	.nvcpus = 1,
};
static struct vcpu vcpu;
static unsigned int machine_resets;
static bool asks_reset;		/* the next exit is the guest's wish for a reset */
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

int machine_reset(struct machine *m)
{
	machine_resets++;
	return 0;
}

struct mem *machine_mem(struct machine *m)
{
	return (struct mem *)m;
}

int api_get_stats(struct api_vm *a, struct vmm_stat *s, uint32_t *count)
{
	return -EBADF;
}

/* an exit that the monitor has nothing to do for, or a triple fault */
int api_run(struct api_vcpu *v)
{
	if (asks_reset) {
		asks_reset = false;
		v->run->reason = VMM_EXIT_SHUTDOWN;
		return 0;
	}
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

/* ---- pause ---------------------------------------------------------------- */

static int pause_for(unsigned int why)
{
	int ret;

	pthread_mutex_lock(&vm.lock);
	ret = vm_pause(&vm, why);
	assert_int_equal(vcpu.state == VCPU_RUNNING, false);
	pthread_mutex_unlock(&vm.lock);
	return ret;
}

static void resume(unsigned int why)
{
	pthread_mutex_lock(&vm.lock);
	vm_resume(&vm, why);
	pthread_mutex_unlock(&vm.lock);
}

static bool stands(void)
{
	unsigned int n = runs;

	usleep(300);
	return runs == n && vcpu.state == VCPU_PAUSED;
}

static int setup_vm(void **unused)
{
	static const struct vm_options opt = { .on_crash = ON_CRASH_RESET };

	vm.vcpu = &vcpu;
	vm.opt = &opt;
	vm.loop = loop_new(&vm.lock);
	vm.machine = (struct machine *)mem_new(NULL);	/* all that reports need */
	vm.paused = 0;
	vm.ending = false;
	vm.reset_posted = false;
	machine_resets = 0;
	return setup(unused);
}

static int teardown_vm(void **unused)
{
	int ret = teardown(unused);

	mem_free(machine_mem(vm.machine));
	loop_free(vm.loop);
	return ret;
}

static void for_two_reasons(void **unused)
{
	assert_int_equal(vcpu_start(&vcpu), 0);
	resume(VM_PAUSE_USER);
	wait_for_runs(1);
	assert_int_equal(pause_for(VM_PAUSE_USER), 0);
	assert_int_equal(pause_for(VM_PAUSE_SNAPSHOT), 0);
	resume(VM_PAUSE_SNAPSHOT);
	assert_true(stands());
	/* a report changes nothing about it */
	pthread_mutex_lock(&vm.lock);
	vm_report(&vm);
	pthread_mutex_unlock(&vm.lock);
	assert_true(stands());
	resume(VM_PAUSE_USER);
	wait_for_runs(runs + 2);
	pthread_mutex_lock(&vm.lock);
	vm_report(&vm);
	pthread_mutex_unlock(&vm.lock);
	wait_for_runs(runs + 2);
}

static void vm_end_zero(void *owner)
{
	vm_end(owner, 0);
}

/* what the guest began before the pause is done before vm_pause returns */
static void reset_and_pause(void **unused)
{
	assert_int_equal(vcpu_start(&vcpu), 0);
	asks_reset = true;
	resume(VM_PAUSE_USER);
	pthread_mutex_lock(&vm.lock);
	while (!vm.reset_posted)
		pthread_cond_wait(&vm.changed, &vm.lock);
	pthread_mutex_unlock(&vm.lock);
	assert_int_equal(pause_for(VM_PAUSE_SNAPSHOT), 0);
	assert_int_equal(machine_resets, 1);
	assert_true(stands());
	/* the loop finds it done */
	loop_post(vm.loop, vm_end_zero, &vm);
	assert_int_equal(loop_run(vm.loop), 0);
	assert_int_equal(machine_resets, 1);
	assert_int_equal(pause_for(VM_PAUSE_USER), -ESHUTDOWN);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(told_before_it_begins, setup, teardown),
		cmocka_unit_test_setup_teardown(told_later, setup, teardown),
		cmocka_unit_test_setup_teardown(never_told, setup, teardown),
		cmocka_unit_test_setup_teardown(for_two_reasons, setup_vm, teardown_vm),
		cmocka_unit_test_setup_teardown(reset_and_pause, setup_vm, teardown_vm),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
