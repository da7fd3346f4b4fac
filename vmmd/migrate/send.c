// SPDX-License-Identifier: GPL-2.0
/* The sending side of a VM's migration: a thread, which source.c has the work of. */
#define _GNU_SOURCE 1		/* pthread_setname_np */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "block/block.h"
#include "loop.h"
#include "machine.h"
#include "mem.h"
#include "migrate/channel.h"
#include "migrate/disk_mirror.h"
#include "migrate/disk_shared.h"
#include "migrate/migrate.h"
#include "migrate/throttle.h"
#include "snapshot/lazy.h"
#include "snapshot/snapshot.h"
#include "state/pages.h"
#include "state/ram.h"
#include "state/vmstate.h"
#include "vm.h"

#define CONNECT_NS	15000000000ULL

struct migrate {
	struct vm *vm;
	struct migrate_opts opts;
	struct address to;
	char *tls_dir, *disk_there;
	struct ram *ram;
	struct throttle *throttle;
	struct block *block;	/* NULL: no disk */
	struct migrate_disk disk;
	struct disk_mirror *mirror;	/* NULL: it does not go over, or not yet */
	bool held;		/* the VM stands still, and we have the lock */
	atomic_bool cancel;
	int wake_fd;
	pthread_t thread;
	struct migrate_result result;
};

/* ---- the VM, as source.c wants it ----------------------------------------- */

static int guest_begin(void *owner, struct sink *out)
{
	struct migrate *m = owner;
	struct state_ident ident;

	vmstate_identify(m->vm, &ident, NULL);
	return vmstate_save_begin(m->vm, out, &ident);
}

static uint64_t guest_total(void *owner)
{
	struct migrate *m = owner;
	struct mem *mem = machine_mem(m->vm->machine);
	uint64_t n = 0;
	unsigned int i;

	for (i = 0; i < mem_regions(mem); i++)
		if (!mem_region(mem, i).rom)
			n += mem_region(mem, i).size / PAGES_SIZE;
	return n;
}

static int guest_track(void *owner)
{
	struct migrate *m = owner;
	struct vm *vm = m->vm;

	/* a page that is not there yet is not zero */
	if (vm->lazy && lazy_wait(vm->lazy))
		return -EIO;
	pthread_mutex_lock(&vm->lock);
	snapshot_forget(vm);
	m->ram = ram_new(vm, false);
	pthread_mutex_unlock(&vm->lock);
	return m->ram ? 0 : -ENOMEM;
}

static int harvest(struct migrate *m)
{
	int ret = m->vm->ending ? -ESHUTDOWN : 0;

	if (!ret && m->mirror)
		ret = disk_mirror_harvest(m->mirror);
	if (!ret && m->ram)
		ret = ram_harvest(m->ram);
	return ret;
}

static int guest_harvest(void *owner)
{
	struct migrate *m = owner;
	int ret;

	if (!m->held)
		pthread_mutex_lock(&m->vm->lock);
	ret = harvest(m);
	if (!m->held)
		pthread_mutex_unlock(&m->vm->lock);
	return ret;
}

static uint64_t guest_pending(void *owner)
{
	struct migrate *m = owner;

	return (m->ram ? ram_pending(m->ram) : 0) +
	       (m->mirror ? disk_mirror_pending(m->mirror) : 0);
}

static int guest_send(void *owner, ram_put put, void *put_owner)
{
	struct migrate *m = owner;

	return m->ram ? ram_send(m->ram, put, put_owner) : 0;
}

static int guest_track_disk(void *owner, bool zeroes, char *err, size_t errlen)
{
	struct migrate *m = owner;
	struct vm *vm = m->vm;

	pthread_mutex_lock(&vm->lock);
	snapshot_forget(vm);
	m->mirror = disk_mirror_new(m->block, zeroes, err, errlen);
	pthread_mutex_unlock(&vm->lock);
	return m->mirror ? 0 : -EIO;
}

static int guest_send_disk(void *owner, ram_put put, void *put_owner, char *err,
			   size_t errlen)
{
	struct migrate *m = owner;

	return disk_mirror_send(m->mirror, put, put_owner, err, errlen);
}

/*
 * Devices stand still, too: what they did after their state was taken would be lost,
 * or be in memory only. So nobody else gets the lock until the guest goes on, or has
 * gone.
 */
static int guest_stop(void *owner, bool *paused)
{
	struct migrate *m = owner;
	int ret;

	pthread_mutex_lock(&m->vm->lock);
	m->held = true;
	ret = vm_pause(m->vm, VM_PAUSE_MIGRATE);
	*paused = m->vm->paused & VM_PAUSE_USER;
	return ret;
}

static void guest_go_on(void *owner)
{
	struct migrate *m = owner;

	vm_resume(m->vm, VM_PAUSE_MIGRATE);
	m->held = false;
	pthread_mutex_unlock(&m->vm->lock);
}

static int guest_state(void *owner, struct sink *out)
{
	struct migrate *m = owner;
	int ret = vmstate_save_end(m->vm, out);

	/* the devices are quiet, and what they wrote is for somebody else to read */
	return ret || !m->block ? ret : block_flush(m->block);
}

static int guest_describe(void *owner, struct migrate_disk *d, char *err, size_t errlen)
{
	struct migrate *m = owner;
	int ret = m->opts.with_disk ? disk_mirror_describe(m->block, &m->disk, err, errlen) :
				      disk_shared_describe(m->block, &m->disk, err, errlen);

	*d = m->disk;
	return ret;
}

static void guest_lend(void *owner)
{
	block_let_go(((struct migrate *)owner)->block);
}

static int guest_settle(void *owner, bool never, char *err, size_t errlen)
{
	struct migrate *m = owner;

	return disk_shared_settle(m->block, &m->disk, never, err, errlen);
}

static void guest_throttle(void *owner, unsigned int percent)
{
	struct migrate *m = owner;

	if (!m->throttle && percent)
		m->throttle = throttle_new(m->vm);
	if (m->throttle)
		throttle_set(m->throttle, percent);
}

/* ---- the worker ----------------------------------------------------------- */

static bool cancelled(void *owner)
{
	struct migrate *m = owner;

	return atomic_load(&m->cancel);
}

static void tell_progress(void *owner, const struct migrate_now *now)
{
	struct migrate *m = owner;

	m->opts.progress(m->opts.owner, now);
}

/* the disk is one that both have, and only one may write to */
static bool lends(const struct migrate *m)
{
	return m->block && !m->opts.with_disk && !block_read_only(m->block);
}

static struct channel *connect_it(void *owner, char *err, size_t errlen)
{
	struct migrate *m = owner;
	const struct channel_opts o = {
		.tls_dir = m->tls_dir, .insecure = m->opts.insecure, .disk = m->disk_there,
		.wake_fd = m->wake_fd, .timeout = CONNECT_NS,
	};

	return channel_connect(&m->to, &o, err, errlen);
}

static void send_vm(struct migrate *m)
{
	const bool mirrors = m->opts.with_disk;
	const struct migrate_guest guest = {
		.owner = m, .begin = guest_begin, .total = guest_total,
		.describe = m->block ? guest_describe : NULL,
		.track_disk = mirrors ? guest_track_disk : NULL,
		.send_disk = mirrors ? guest_send_disk : NULL,
		.lend = lends(m) ? guest_lend : NULL,
		.settle = lends(m) ? guest_settle : NULL,
		.track = guest_track, .harvest = guest_harvest,
		.pending = guest_pending, .send = guest_send, .stop = guest_stop,
		.go_on = guest_go_on, .state = guest_state,
		.throttle = guest_throttle,
	};
	const struct migrate_params params = {
		.downtime_ns = m->opts.downtime_ns, .dry_run = m->opts.dry_run,
		.streams = m->opts.streams > 1 ? m->opts.streams : 0,
		/* another ssh would begin another receive */
		.connect = m->to.kind == ADDRESS_SSH ? NULL : connect_it,
		.can_ask = m->to.kind == ADDRESS_TCP,
		.cancelled = cancelled, .progress = tell_progress, .owner = m,
	};
	struct channel *c;

	m->result.state = SOURCE_KEPT;
	c = connect_it(m, m->result.text, sizeof(m->result.text));
	if (!c) {
		m->result.error = cancelled(m) ? -ECANCELED : -ECONNREFUSED;
		return;
	}
	c->limit = m->opts.bandwidth;
	source_run(c, &guest, &params, &m->result);
	/* it has gone, or may have */
	if (m->held)
		pthread_mutex_unlock(&m->vm->lock);
	channel_close(c);
}

static void migrate_free(struct migrate *m)
{
	throttle_free(m->throttle);
	ram_free(m->ram);
	disk_mirror_free(m->mirror);
	if (m->wake_fd >= 0)
		close(m->wake_fd);
	free(m->tls_dir);
	free(m->disk_there);
	free(m);
}

/* lock held */
static void tell_end(struct migrate *m)
{
	const struct migrate_result *r = &m->result;
	struct vm *vm = m->vm;

	switch (r->state) {
	case SOURCE_MOVED:
		fprintf(stderr, "vmmd: the machine has gone to %s; it stood still for %.1f ms\n",
			m->opts.to, r->downtime_ns / 1e6);
		if (m->mirror)
			fprintf(stderr, "vmmd: its disk has gone, too: %s is not the machine's any more\n",
				block_path(m->block));
		break;
	case SOURCE_DOUBT:
		vm->in_doubt = true;
		vm->lent = lends(m);
		vm->lent_disk = m->disk.generation;
		fprintf(stderr, "vmmd: the machine was handed over to %s, and nothing was heard of it since: %s. It stands still here. See whether it runs there: then vmmd kill it here; else vmmd resume --force\n",
			m->opts.to, r->text);
		break;
	default:
		/* what tracking costs is not wanted any more */
		if (m->ram)
			mem_track(machine_mem(vm->machine), false);
		if (m->mirror)
			block_track(m->block, false);
	}
}

static void *migrate_main(void *arg)
{
	struct migrate *m = arg;
	struct vm *vm = m->vm;

	send_vm(m);
	/* joins a thread that may want the lock */
	throttle_free(m->throttle);
	m->throttle = NULL;
	pthread_mutex_lock(&vm->lock);
	tell_end(m);
	m->opts.done(m->opts.owner, &m->result);
	if (m->result.state == SOURCE_MOVED)
		vm_end(vm, VM_EXIT_OK);
	vm->migrating = NULL;
	pthread_cond_broadcast(&vm->changed);
	pthread_mutex_unlock(&vm->lock);
	migrate_free(m);
	return NULL;
}

/* ---- beginning and ending ------------------------------------------------- */

static int check(struct vm *vm, const struct migrate_opts *opts, char *err, size_t errlen)
{
	const char *why = NULL;

	if (vm->ending)
		why = "the machine is ending";
	else if (vm->migrating)
		why = "the machine is being migrated already";
	else if (vm->saving)
		why = "a snapshot of the machine is being taken: wait for its end";
	else if (vm->in_doubt)
		why = "the machine was migrated, and nobody knows whether it runs there: vmmd resume --force first, if it does not";
	else if (opts->with_disk && !machine_disk(vm->machine))
		why = "the machine has no disk: leave out --with-disk";
	if (!why)
		return 0;
	snprintf(err, errlen, "%s", why);
	return -EBUSY;
}

/* of an ssh, which begins the receive that has to be told */
static int name_disk(struct migrate *m, char *err, size_t errlen)
{
	const bool ssh = m->to.kind == ADDRESS_SSH;

	if (m->opts.disk && !ssh) {
		snprintf(err, errlen, "--disk is for ssh: alone: give it to the vmmd receive that waits at %s",
			 m->opts.to);
		return -EINVAL;
	}
	if (m->opts.disk)
		m->disk_there = strdup(m->opts.disk);
	else if (m->opts.with_disk && ssh)
		m->disk_there = realpath(block_path(m->block), NULL);
	else
		return 0;
	if (m->disk_there)
		return 0;
	snprintf(err, errlen, "%s: %s", block_path(m->block), strerror(errno));
	return -errno;
}

struct migrate *migrate_start(struct vm *vm, const struct migrate_opts *opts,
			      char *err, size_t errlen)
{
	struct migrate *m;

	if (check(vm, opts, err, errlen))
		return NULL;
	m = calloc(1, sizeof(*m));
	if (!m) {
		snprintf(err, errlen, "out of memory");
		return NULL;
	}
	m->vm = vm;
	m->opts = *opts;
	m->block = machine_disk(vm->machine);
	m->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	m->tls_dir = opts->tls_dir ? strdup(opts->tls_dir) : NULL;
	if (m->wake_fd < 0 || (opts->tls_dir && !m->tls_dir)) {
		snprintf(err, errlen, "no memory or descriptors to migrate");
		goto fail;
	}
	if (address_parse(&m->to, opts->to, false, err, errlen) ||
	    name_disk(m, err, errlen))
		goto fail;
	if (opts->streams > 1 && m->to.kind == ADDRESS_SSH) {
		snprintf(err, errlen, "ssh: has one connection: leave out --streams");
		goto fail;
	}
	if (pthread_create(&m->thread, NULL, migrate_main, m)) {
		snprintf(err, errlen, "cannot start a thread");
		goto fail;
	}
	pthread_setname_np(m->thread, "migrate");
	pthread_detach(m->thread);
	vm->migrating = m;
	return m;
fail:
	migrate_free(m);
	return NULL;
}

void migrate_cancel(struct migrate *m)
{
	const uint64_t one = 1;

	atomic_store(&m->cancel, true);
	/* it is a counter that nobody reads: it cannot be full */
	if (write(m->wake_fd, &one, sizeof(one)) < 0)
		return;
}

void migrate_stop(struct vm *vm)
{
	pthread_mutex_lock(&vm->lock);
	if (vm->migrating)
		migrate_cancel(vm->migrating);
	while (vm->migrating)
		pthread_cond_wait(&vm->changed, &vm->lock);
	pthread_mutex_unlock(&vm->lock);
}

/* the disk has the last word: what it says is true, whatever somebody knows */
static int take_back(struct vm *vm, char *err, size_t errlen)
{
	struct block *b = machine_disk(vm->machine);
	struct migrate_disk d = {
		.generation = vm->lent_disk,
		.flags = vm->lent_disk ? DISK_GENERATION : 0,
	};

	return disk_shared_settle(b, &d, !vm->lent_disk, err, errlen);
}

int migrate_force(struct vm *vm, char *err, size_t errlen)
{
	int ret = vm->lent ? take_back(vm, err, errlen) : 0;

	if (ret)
		return ret;
	vm->lent = false;
	vm->in_doubt = false;
	vm_resume(vm, VM_PAUSE_MIGRATE);
	return 0;
}
