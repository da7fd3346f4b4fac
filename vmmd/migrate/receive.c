// SPDX-License-Identifier: GPL-2.0
/*
 * The receiving side of a VM's migration. The VM is made as any other is, of the
 * options that came; what is loaded into it comes from the source, and before it
 * runs it has to be ours.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "block/block.h"
#include "detach.h"
#include "loop.h"
#include "machine.h"
#include "mem.h"
#include "migrate/answer.h"
#include "migrate/disk_mirror.h"
#include "migrate/disk_shared.h"
#include "migrate/receive.h"
#include "migrate/streams.h"
#include "migrate/target.h"
#include "state/saved_options.h"
#include "vm.h"

#define ARGS_MAX	64

struct receive {
	struct channel *c;
	struct target t;
	struct vmstate st;
	struct saved_options saved;
	struct vm *vm;
	struct vmstate_loader l;
	bool looked;		/* --dry-run: that was all */
	struct listener *listener;	/* NULL: nobody else is waited for */
	uint64_t until;		/* for its streams */
	bool may_ask;		/* the source, by that listener */
	struct answer *answer;
	const char *made;	/* a disk's file, for what comes; NULL: none */
};

/* ---- the VM, as target.c wants it ----------------------------------------- */

static uint8_t *guest_place(void *owner, uint64_t gpa, uint64_t len)
{
	struct receive *r = owner;

	return mem_ptr(machine_mem(r->vm->machine), gpa, len);
}

static int guest_load(void *owner, struct source *in, char *err, size_t errlen)
{
	struct receive *r = owner;

	if (r->l.ended)
		return section_bad(in, err, errlen, "comes behind the end");
	return vmstate_load(&r->l, in, err, errlen);
}

static int guest_loaded(void *owner, const char *name, char *err, size_t errlen)
{
	struct receive *r = owner;

	return vmstate_load_done(&r->l, name, err, errlen);
}

static int guest_again(void *owner, char *err, size_t errlen)
{
	struct receive *r = owner;

	r->l = (struct vmstate_loader){ .vm = r->vm };
	machine_reset_devices(r->vm->machine);
	return 0;
}

static int guest_claim(void *owner, char *err, size_t errlen)
{
	struct receive *r = owner;

	return disk_shared_claim(machine_disk(r->vm->machine), &r->t.disk, err, errlen);
}

static int guest_store(void *owner, uint64_t offset, const void *data,
		       uint32_t granules, char *err, size_t errlen)
{
	struct receive *r = owner;

	return disk_mirror_store(machine_disk(r->vm->machine), offset, data, granules, err,
				 errlen);
}

static int guest_flush(void *owner, char *err, size_t errlen)
{
	struct receive *r = owner;
	struct block *b = machine_disk(r->vm->machine);
	int ret = block_flush(b);

	if (ret)
		snprintf(err, errlen, "disk %s: %s", block_path(b), strerror(-ret));
	return ret;
}

/* ---- making it ------------------------------------------------------------ */

/* a device has its own; a file was made with this one */
static int check_size(const struct block *b, const struct migrate_disk *d, char *err,
		      size_t errlen)
{
	if (block_size(b) == d->size)
		return 0;
	snprintf(err, errlen, "disk %s: it has %" PRIu64 " bytes, and the one that comes %" PRIu64,
		 block_path(b), block_size(b), d->size);
	return -EINVAL;
}

static int load(struct vm *vm, void *owner, char *err, size_t errlen)
{
	struct receive *r = owner;
	int ret;

	r->vm = vm;
	r->l.vm = vm;
	r->c->wake_fd = vm->signal_fd;
	ret = vmstate_check_memory(&r->st, machine_mem(vm->machine), r->c->peer, err,
				   errlen);
	if (!ret && r->t.hello.flags & HELLO_DISK)
		ret = disk_shared_check(machine_disk(vm->machine), &r->t.disk, err, errlen);
	if (!ret && r->t.hello.flags & HELLO_MIRROR)
		ret = check_size(machine_disk(vm->machine), &r->t.disk, err, errlen);
	if (!ret)
		ret = target_load(&r->t, err, errlen);
	if (ret == -ENODATA && r->t.hello.flags & HELLO_DRY_RUN) {
		r->looked = true;
		snprintf(err, errlen, "the source has only looked whether the machine could come here (--dry-run)");
	}
	return ret;
}

static int commit(struct vm *vm, void *owner, char *err, size_t errlen)
{
	struct receive *r = owner;
	int ret = target_wait(&r->t, err, errlen);

	if (ret)
		return ret;
	if (r->t.paused)
		vm->paused |= VM_PAUSE_USER;
	if (r->listener)
		r->answer = answer_running(r->c, r->listener, r->t.streams.token);
	else
		channel_close(r->c);
	r->listener = NULL;
	r->c = NULL;
	return 0;
}

static void failed(void *owner, const char *why)
{
	struct receive *r = owner;

	if (r->c)
		target_fail(&r->t, why);
}

static int told(struct receive *r, const char *err, int status)
{
	fprintf(stderr, "vmmd: %s\n", err);
	if (r->c)
		target_fail(&r->t, err);
	return status;
}

/* what comes is nobody's to name a place for but the user's */
static int make_disk(struct receive *r, const char *path, char *err, size_t errlen)
{
	int ret;

	if (!path) {
		snprintf(err, errlen, "the machine's disk, %.500s of %" PRIu64 " bytes, comes with it: say where to with --disk, a file that is not there yet or a block device",
			 r->t.disk.path, r->t.disk.size);
		return -EINVAL;
	}
	ret = disk_mirror_make(path, &r->t.disk, &r->t.disk_zero, err, errlen);
	if (!ret && r->t.disk_zero)
		r->made = path;
	return ret;
}

static struct channel *accept_stream(void *owner, char *err, size_t errlen)
{
	struct receive *r = owner;

	return listener_accept(r->listener, r->until, err, errlen);
}

static int take_streams(struct receive *r, uint64_t patience, char *err, size_t errlen)
{
	const uint32_t flags = r->t.hello.flags;
	/* a disk that both write to answers better */
	const bool asks = r->may_ask && flags & HELLO_STREAMS &&
			  !(flags & HELLO_DISK && !(r->t.disk.flags & DISK_READ_ONLY));

	if (r->t.streams.count) {
		r->until = loop_now() + patience;
		r->t.more = streams_in_new(&r->t.streams, accept_stream, r, patience, err, errlen);
		if (!r->t.more)
			return -ECONNABORTED;
	}
	if (asks)
		return 0;
	/* a unix socket's name is free for another one now */
	listener_close(r->listener);
	r->listener = NULL;
	return 0;
}

/*
 * Where the disk is: as the user says, or as at the source, where a generation shows
 * that it is the same; a device has none, and is nobody's to name but the user's.
 */
static int find_disk(struct receive *r, const char **disk, char *err, size_t errlen)
{
	const struct migrate_disk *d = &r->t.disk;

	if (r->t.hello.flags & HELLO_MIRROR)
		return make_disk(r, *disk, err, errlen);
	if (!(r->t.hello.flags & HELLO_DISK)) {
		if (!*disk)
			return 0;
		snprintf(err, errlen, "the machine has no disk, found --disk %s: leave it out", *disk);
		return -EINVAL;
	}
	if (!*disk && !(d->flags & (DISK_GENERATION | DISK_READ_ONLY))) {
		snprintf(err, errlen, "the machine's disk is the block device %.500s: name it here, too, with --disk",
			 d->path);
		return -EINVAL;
	}
	if (!*disk)
		*disk = d->path;
	return 0;
}

static int run(struct receive *r, const struct channel_opts *o, const char *disk,
	       int ready_fd, int argc, char **argv)
{
	struct target_guest guest = {
		.owner = r, .place = guest_place, .load = guest_load,
		.loaded = guest_loaded, .again = guest_again,
	};
	char err[768] = "";
	int ret;

	if (target_init(&r->t, r->c, &guest))
		return told(r, "out of memory", VM_EXIT_ERROR);
	r->c->patience = o->timeout;
	if (target_hello(&r->t, err, sizeof(err)) ||
	    find_disk(r, &disk, err, sizeof(err)) ||
	    vmstate_read(&r->t.in, &r->st, err, sizeof(err)) ||
	    take_streams(r, o->timeout, err, sizeof(err)))
		return told(r, err, VM_EXIT_ERROR);
	r->saved.state = &r->st;
	r->saved.name = r->c->peer;
	ret = saved_options_take(&r->saved, disk, argc, argv, err, sizeof(err));
	if (ret)
		return told(r, err, ret);
	/* the source names a file for writing only if a generation goes with that */
	if (disk && r->saved.opt.config.disk_read_only != !!(r->t.disk.flags & DISK_READ_ONLY))
		return told(r, "the machine's options and its disk differ in --read-only",
			    VM_EXIT_ERROR);
	if (r->t.hello.flags & HELLO_MIRROR) {
		guest.store = guest_store;
		guest.flush = guest_flush;
	} else if (disk && !r->saved.opt.config.disk_read_only) {
		r->saved.opt.config.disk_late = true;
		guest.claim = guest_claim;
	}
	r->saved.opt.load = load;
	r->saved.opt.commit = commit;
	r->saved.opt.failed = failed;
	r->saved.opt.load_owner = r;
	r->saved.opt.ready_fd = ready_fd;
	ret = vm_run(&r->saved.opt);
	return r->looked ? VM_EXIT_OK : ret;
}

int receive_vm(const struct address *at, const struct channel_opts *o, const char *disk,
	       int argc, char **argv)
{
	struct receive r = { 0 };
	char err[512], *args[ARGS_MAX];
	int n = 0, i, status, ready_fd = -1, ret;
	bool detach = false;

	/* standard input and output are not the console's */
	if (at->kind == ADDRESS_STDIO)
		args[n++] = (char *)"--console=none";
	for (i = 0; i < argc && n < ARGS_MAX; i++) {
		args[n++] = argv[i];
		detach |= !strcmp(argv[i], "--detach");
	}
	ret = detach ? detach_begin(&ready_fd, &status) : 0;
	if (ret > 0)
		return status;
	if (ret < 0) {
		fprintf(stderr, "vmmd: cannot make a process in the background: %s\n",
			strerror(-ret));
		return VM_EXIT_ERROR;
	}
	r.may_ask = at->kind == ADDRESS_TCP;
	r.listener = listener_new(at, o, err, sizeof(err));
	if (r.listener)
		r.c = listener_accept(r.listener, 0, err, sizeof(err));
	if (!r.c) {
		fprintf(stderr, "vmmd: %s\n", err);
		listener_close(r.listener);
		return VM_EXIT_ERROR;
	}
	ret = run(&r, o, disk, ready_fd, n, args);
	if (r.made && !target_may_run(r.t.state))
		unlink(r.made);
	answer_stop(r.answer);
	if (r.listener && r.t.unheard) {
		fprintf(stderr, "vmmd: waits for the source to ask what became of the machine\n");
		answer_failed(r.listener, r.t.streams.token);
		r.listener = NULL;
	}
	target_free(&r.t);
	listener_close(r.listener);
	saved_options_free(&r.saved);
	vmstate_free(&r.st);
	channel_close(r.c);
	return ret;
}
