// SPDX-License-Identifier: GPL-2.0
/* The command "snapshot" of vmmd-control(7). */
#include <errno.h>
#include <stdlib.h>

#include "control/control.h"
#include "loop.h"
#include "snapshot/command.h"
#include "snapshot/snapshot.h"
#include "vm.h"

#define TELL_NS		100000000ULL	/* between two words of progress */

/* between the connection and the worker, each of which may go first */
struct request {
	struct vm *vm;
	struct control_call *call;
	struct snapshot_save *save;	/* lock; NULL: over */
	uint64_t told;			/* loop_now() */
};

static void on_progress(void *owner, uint64_t done, uint64_t total)
{
	struct request *r = owner;
	uint64_t now = loop_now();

	if (now - r->told < TELL_NS)
		return;
	r->told = now;
	pthread_mutex_lock(&r->vm->lock);
	control_progress(r->call, json_pack("{sI sI}", "done", (json_int_t)done,
					    "total", (json_int_t)total));
	pthread_mutex_unlock(&r->vm->lock);
}

static void on_done(void *owner, const struct snapshot_result *s)
{
	struct request *r = owner;

	r->save = NULL;
	if (s->error)
		control_fail(r->call, -s->error, "%s", s->text);
	else
		control_done(r->call, json_pack(
			"{sI sI sI sf ss}", "pages", (json_int_t)s->pages,
			"pages_paused", (json_int_t)s->late_pages,
			"bytes", (json_int_t)s->bytes, "paused", s->pause_ns / 1e9,
			"left", s->left));
	free(r);
}

static void on_hang_up(void *owner)
{
	struct request *r = owner;

	if (r->save)
		snapshot_save_cancel(r->save);
}

void cmd_snapshot(struct vm *vm, json_t *args, struct control_call *call)
{
	struct request *r;
	struct snapshot_opts opts = {
		.progress = on_progress, .done = on_done,
	};
	char err[512];
	int diff = 0;

	if (!control_args(call, args, "{ss s?b !}", "file", &opts.path, "diff", &diff))
		return;
	if (opts.path[0] != '/') {
		control_fail(call, EINVAL, "\"file\" is an absolute path, found '%s'",
			     opts.path);
		return;
	}
	r = calloc(1, sizeof(*r));
	if (!r) {
		control_fail(call, ENOMEM, "out of memory");
		return;
	}
	*r = (struct request){ .vm = vm, .call = call };
	opts.diff = diff;
	opts.owner = r;
	/* the lock is held: the worker is not done before this is */
	r->save = snapshot_save_start(vm, &opts, err, sizeof(err));
	if (!r->save) {
		control_fail(call, EBUSY, "%s", err);
		free(r);
		return;
	}
	control_on_cancel(call, on_hang_up, r);
}
