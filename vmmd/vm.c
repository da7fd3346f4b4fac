// SPDX-License-Identifier: GPL-2.0
/*
 * One VM from nothing to its end.
 *
 * Reset: the hook may be called from a vCPU thread that is in the middle of a
 * port write, so it only takes the vCPUs' permission to run away and posts the
 * work to the loop. There everybody is waited for, and the machine and every
 * vCPU get back the state in which they were made.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "block/block.h"
#include "control/commands.h"
#include "cpuid.h"
#include "features.h"
#include "detach.h"
#include "loop.h"
#include "migrate/migrate.h"
#include "net/net.h"
#include "snapshot/lazy.h"
#include "state/vmstate.h"
#include "vcpu.h"
#include "vm.h"

static void vm_want(struct vm *vm, enum vcpu_state want)
{
	unsigned int i;

	for (i = 0; i < vm->nvcpus; i++)
		vcpu_want(&vm->vcpu[i], want);
}

void vm_end(struct vm *vm, int code)
{
	if (vm->ending)
		return;
	vm->ending = true;
	vm_want(vm, VCPU_FINISHED);
	loop_stop(vm->loop, code);
}

void vm_crashed(struct vm *vm, int code)
{
	pthread_mutex_lock(&vm->lock);
	vm_end(vm, code);
	pthread_mutex_unlock(&vm->lock);
}

/* ---- reset ---------------------------------------------------------------- */

static void vm_wait_paused(struct vm *vm)
{
	unsigned int i;

	for (i = 0; i < vm->nvcpus; i++)
		while (vm->vcpu[i].state == VCPU_RUNNING)
			pthread_cond_wait(&vm->changed, &vm->lock);
}

/* unless somebody has a reason against it */
static void vm_go_on(struct vm *vm)
{
	if (!vm->ending && !vm->reset_posted && !vm->paused)
		vm_want(vm, VCPU_RUNNING);
}

/* wait for all vCPUs, unless somebody ends or resumes that while we wait */
static void vm_hold(struct vm *vm, unsigned int why)
{
	unsigned int i;

	vm->paused |= why;
	if (!vm->ending)
		vm_want(vm, VCPU_PAUSED);
	for (i = 0; i < vm->nvcpus; i++)
		while (vm->vcpu[i].state == VCPU_RUNNING && vm->paused & why)
			pthread_cond_wait(&vm->changed, &vm->lock);
}

/* what the VM made the module do: those counters that moved */
static void report_counters(struct vm *vm)
{
	struct vmm_stat s[128];
	uint32_t count = sizeof(s) / sizeof(s[0]), i;

	if (api_get_stats(&vm->api, s, &count))
		return;
	flockfile(stderr);
	fprintf(stderr, "vmmd: counters:");
	for (i = 0; i < count; i++)
		if (s[i].value)
			fprintf(stderr, " %.*s %llu", VMM_STAT_NAME, s[i].name,
				(unsigned long long)s[i].value);
	fputc('\n', stderr);
	funlockfile(stderr);
}

void vm_report(struct vm *vm)
{
	unsigned int i;

	if (vm->ending || vm->reset_posted)
		return;
	vm_hold(vm, VM_PAUSE_REPORT);
	for (i = 0; i < vm->nvcpus && !vm->ending; i++)
		vcpu_report(&vm->vcpu[i], "as it was found");
	report_counters(vm);
	/* if a reset or the end came meanwhile, theirs is the next word */
	vm_resume(vm, VM_PAUSE_REPORT);
}

static void vm_do_reset(void *owner)
{
	struct vm *vm = owner;
	unsigned int i;
	int ret;

	vm_wait_paused(vm);
	if (vm->ending || !vm->reset_posted)	/* vm_pause has done it */
		return;
	if (machine_reset(vm->machine)) {
		vm_end(vm, VM_EXIT_ERROR);
		return;
	}
	for (i = 0; i < vm->nvcpus; i++) {
		ret = vcpu_reset(&vm->vcpu[i]);
		if (ret) {
			fprintf(stderr, "vmmd: vCPU %u could not be reset: %s\n",
				i, strerror(-ret));
			vm_end(vm, VM_EXIT_ERROR);
			return;
		}
	}
	vm->reset_posted = false;
	vm_go_on(vm);
}

static void vm_reset(struct vm *vm)
{
	if (vm->ending || vm->reset_posted)
		return;
	vm->reset_posted = true;
	vm_want(vm, VCPU_PAUSED);
	if (loop_post(vm->loop, vm_do_reset, vm)) {
		fprintf(stderr, "vmmd: no memory to reset the machine\n");
		vm_end(vm, VM_EXIT_ERROR);
	}
}

void vm_triple_fault(struct vm *vm)
{
	pthread_mutex_lock(&vm->lock);
	if (vm->opt->on_crash == ON_CRASH_EXIT) {
		vm_end(vm, VM_EXIT_CRASHED);
	} else {
		fprintf(stderr, "vmmd: resetting the machine\n");
		vm_reset(vm);
	}
	pthread_mutex_unlock(&vm->lock);
}

/* ---- pause ---------------------------------------------------------------- */

int vm_pause(struct vm *vm, unsigned int why)
{
	vm_hold(vm, why);
	/* the guest's reset is of before the pause, and belongs there */
	if (vm->reset_posted)
		vm_do_reset(vm);
	return vm->ending ? -ESHUTDOWN : 0;
}

int vm_resume(struct vm *vm, unsigned int why)
{
	vm->paused &= ~why;
	vm_go_on(vm);
	return vm->ending ? -ESHUTDOWN : 0;
}

/* ---- hooks: the machine calls, with the lock held ------------------------- */

static void hook_pic_raised(void *owner)
{
	struct vm *vm = owner;

	vcpu_pic_raised(&vm->vcpu[0]);
}

static void hook_reset(void *owner)
{
	vm_reset(owner);
}

static void hook_poweroff(void *owner)
{
	vm_end(owner, VM_EXIT_OK);
}

/* ---- making --------------------------------------------------------------- */

static int check_limits(const struct vm *vm, char *err, size_t errlen)
{
	const struct vm_config *c = &vm->opt->config;
	uint64_t end = c->memory;

	if (c->cpus > vm->api.info.max_vcpus) {
		snprintf(err, errlen, "wanted %u CPUs, but this host's vmm.ko allows %u per VM: give a smaller --cpus",
			 c->cpus, vm->api.info.max_vcpus);
		return -EINVAL;
	}
	if (end > MACHINE_MMIO_HOLE)
		end += (1ULL << 32) - MACHINE_MMIO_HOLE;
	if (vm->api.info.gpa_bits < 64 && end > 1ULL << vm->api.info.gpa_bits) {
		snprintf(err, errlen, "wanted %" PRIu64 " MiB of memory, but guest addresses have %u bits on this host: give a smaller --memory",
			 c->memory >> 20, vm->api.info.gpa_bits);
		return -EINVAL;
	}
	return 0;
}

static int keep_features(const char *path, struct vmm_cpuid_entry *e, uint32_t *count,
			 char *err, size_t errlen)
{
	struct features *l = features_read(path, err, errlen);

	if (!l)
		return -EINVAL;
	features_keep(l, e, count);
	free(l);
	return 0;
}

static int make_vcpus(struct vm *vm, char *err, size_t errlen)
{
	static struct vmm_cpuid_entry supported[VMM_MAX_CPUID];
	struct vmm_cpuid_entry own[VMM_MAX_CPUID];
	const struct vmstate *st = vm->opt->state;
	uint32_t count = VMM_MAX_CPUID, n;
	unsigned int i, cpus = vm->opt->config.cpus;
	int ret;

	ret = api_get_cpuid(&vm->api, supported, &count);
	if (ret) {
		snprintf(err, errlen, "cannot read the supported CPUID table: %s",
			 strerror(-ret));
		return ret;
	}
	if (st) {
		ret = vmstate_check_host(st, &vm->api.info, supported, count,
					 err, errlen);
		if (ret)
			return ret;
	}
	cpuid_hide_pv(supported, count, vm->opt->no_pv);
	if (vm->opt->features && !st) {
		ret = keep_features(vm->opt->features, supported, &count, err, errlen);
		if (ret)
			return ret;
	}
	vm->vcpu = calloc(cpus, sizeof(*vm->vcpu));
	if (!vm->vcpu) {
		snprintf(err, errlen, "no memory for %u vCPUs", cpus);
		return -ENOMEM;
	}
	for (i = 0; i < cpus; i++) {
		if (st) {
			n = st->cpuid[i].count;
			memcpy(own, st->cpuid[i].entry, n * sizeof(*own));
		} else {
			n = count;
			memcpy(own, supported, n * sizeof(*own));
			cpuid_topology(own, &n, i, cpus);
		}
		vm->phys_bits = cpuid_phys_bits(own, n);
		ret = vcpu_init(&vm->vcpu[i], vm, i, own, n);
		if (ret) {
			snprintf(err, errlen, "cannot create vCPU %u: %s", i,
				 strerror(-ret));
			return ret;
		}
		vm->nvcpus++;
	}
	machine_boot_state(vm->machine, &vm->vcpu[0].initial);
	ret = vcpu_reset(&vm->vcpu[0]);
	if (ret)
		snprintf(err, errlen, "cannot set the state in which vCPU 0 begins: %s",
			 strerror(-ret));
	return ret;
}

/* all that can fail, with one line in err[] if it does */
static int vm_setup(struct vm *vm, char *err, size_t errlen)
{
	struct machine_hooks hooks = {
		.pic_raised	= hook_pic_raised,
		.reset		= hook_reset,
		.poweroff	= hook_poweroff,
		.owner		= vm,
	};
	unsigned int i;
	int ret;

	vm->loop = loop_new(&vm->lock);
	ret = vm->loop ? vm_signal_init(vm) : -ENOMEM;
	if (ret) {
		snprintf(err, errlen, "cannot make the event loop: %s",
			 strerror(-ret));
		return ret;
	}
	vm->machine = machine_new(&vm->api, vm->loop, &vm->lock,
				  &vm->opt->config, err, errlen);
	if (!vm->machine)
		return -EINVAL;
	ret = commands_name(vm, err, errlen);
	if (!ret)
		ret = api_open(&vm->api, err, errlen);
	if (!ret)
		ret = check_limits(vm, err, errlen);
	if (!ret)
		ret = machine_build(vm->machine, err, errlen);
	if (!ret)
		ret = make_vcpus(vm, err, errlen);
	if (ret)
		return ret;
	machine_set_hooks(vm->machine, &hooks);
	for (i = 0; i < vm->nvcpus; i++) {
		ret = vcpu_start(&vm->vcpu[i]);
		if (ret) {
			snprintf(err, errlen, "cannot start the thread of vCPU %u: %s",
				 i, strerror(-ret));
			return ret;
		}
	}
	if (vm->opt->load) {
		pthread_mutex_lock(&vm->lock);
		ret = vm->opt->load(vm, vm->opt->load_owner, err, errlen);
		pthread_mutex_unlock(&vm->lock);
		if (ret)
			return ret;
	}
	ret = commands_open(vm);
	if (ret)
		snprintf(err, errlen, "cannot make the control socket: %s",
			 strerror(-ret));
	return ret;
}

static int vm_commit(struct vm *vm, char *err, size_t errlen)
{
	int ret;

	if (!vm->opt->commit)
		return 0;
	pthread_mutex_lock(&vm->lock);
	ret = vm->opt->commit(vm, vm->opt->load_owner, err, errlen);
	pthread_mutex_unlock(&vm->lock);
	return ret;
}

/* of one that ran elsewhere: a switch is to find it here from now on; lock held */
static void vm_announce(struct vm *vm)
{
	struct net *net = machine_net(vm->machine);
	struct vm_config config = vm->opt->config;

	machine_describe(vm->machine, &config);
	if (net && config.net == NET_TAP)
		net_announce(net, config.mac);
}

static void vm_teardown(struct vm *vm, int code)
{
	unsigned int i;

	pthread_mutex_lock(&vm->lock);
	vm->ending = true;
	vm_want(vm, VCPU_FINISHED);
	pthread_mutex_unlock(&vm->lock);
	migrate_stop(vm);
	snapshot_save_stop(vm);
	for (i = 0; i < vm->nvcpus; i++)
		vcpu_join(&vm->vcpu[i]);
	/* a write to the disk may still wait for its page */
	if (vm->lazy && machine_disk(vm->machine)) {
		pthread_mutex_lock(&vm->lock);
		block_drain(machine_disk(vm->machine));
		pthread_mutex_unlock(&vm->lock);
	}
	lazy_stop(vm->lazy);
	commands_detach(vm);
	/* devices may still have requests in flight: they go before the fds */
	if (vm->machine)
		machine_free(vm->machine);
	for (i = 0; i < vm->nvcpus; i++)
		vcpu_destroy(&vm->vcpu[i]);
	api_close(&vm->api);
	commands_close(vm, code);
	if (vm->loop) {
		vm_signal_free(vm);
		loop_free(vm->loop);
	}
	free(vm->vcpu);
	snapshot_forget(vm);
}

int vm_run(const struct vm_options *opt)
{
	struct vm vm = {
		.api = { .dev = -1, .fd = -1 },
		.opt = opt,
		.signal_fd = -1,
		.started_at = loop_now(),
	};
	char err[512] = "";
	int code = VM_EXIT_ERROR;

	pthread_mutex_init(&vm.lock, NULL);
	pthread_cond_init(&vm.changed, NULL);
	if (vm_setup(&vm, err, sizeof(err)) || vm_commit(&vm, err, sizeof(err))) {
		fprintf(stderr, "vmmd: %s\n", err);
		if (opt->failed)
			opt->failed(opt->load_owner, err);
	/* a VM that was handed over to us has no other place */
	} else if (!opt->detach || detach_ready(opt->ready_fd) || opt->commit) {
		pthread_mutex_lock(&vm.lock);
		if (opt->load)
			vm_announce(&vm);
		vm_go_on(&vm);
		pthread_mutex_unlock(&vm.lock);
		code = loop_run(vm.loop);
	}
	vm_teardown(&vm, code);
	pthread_cond_destroy(&vm.changed);
	pthread_mutex_destroy(&vm.lock);
	return code;
}
