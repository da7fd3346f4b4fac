// SPDX-License-Identifier: GPL-2.0
/* The commands "migrate" and "migrate-cancel" of vmmd-control(7). */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "control/control.h"
#include "loop.h"
#include "migrate/command.h"
#include "migrate/migrate.h"
#include "state/pages.h"
#include "vm.h"

#define TELL_NS		100000000ULL	/* between two words of progress */
#define NSEC		1e9

/* between the connection and the worker, each of which may go first */
struct request {
	struct vm *vm;
	struct control_call *call;
	struct migrate *migrate;	/* lock; NULL: over */
	char *to;
	uint64_t told;			/* loop_now() */
};

static void on_progress(void *owner, const struct migrate_now *now)
{
	struct request *r = owner;
	uint64_t t = loop_now();

	if (t - r->told < TELL_NS)
		return;
	r->told = t;
	pthread_mutex_lock(&r->vm->lock);
	control_progress(r->call, json_pack(
		"{sI sI sI si si sf}", "done", (json_int_t)now->done,
		"total", (json_int_t)now->total, "rate", (json_int_t)now->rate,
		"round", (int)now->round, "throttle", (int)now->throttle,
		"predicted", now->predicted_ns / NSEC));
	pthread_mutex_unlock(&r->vm->lock);
}

static void on_done(void *owner, const struct migrate_result *m)
{
	struct request *r = owner;

	r->migrate = NULL;
	if (m->state == SOURCE_DOUBT)
		control_fail(r->call, ENOTRECOVERABLE, "the machine was handed over, and nothing was heard of it since: %s. It stands still here. See whether it runs there: then vmmd kill it here; else vmmd resume --force",
			     m->text);
	else if (m->error)
		control_fail(r->call, -m->error, "%s; it stays here", m->text);
	else
		control_done(r->call, json_pack(
			"{ss sb sI sI sI sI si si si sf sf sI}", "to", r->to,
			"moved", m->state == SOURCE_MOVED,
			"pages", (json_int_t)m->now.done,
			"memory", (json_int_t)(m->total * PAGES_SIZE),
			"disk", (json_int_t)m->disk,
			"bytes", (json_int_t)m->bytes,
			"rounds", (int)m->now.round,
			"throttle", (int)m->now.throttle, "late", (int)m->late,
			"predicted", m->now.predicted_ns / NSEC,
			"paused", m->downtime_ns / NSEC,
			"rate", (json_int_t)m->now.rate));
	free(r->to);
	free(r);
}

static void on_hang_up(void *owner)
{
	struct request *r = owner;

	if (r->migrate)
		migrate_cancel(r->migrate);
}

void cmd_migrate(struct vm *vm, json_t *args, struct control_call *call)
{
	struct migrate_opts o = { .progress = on_progress, .done = on_done };
	json_int_t bandwidth = 0, streams = 1;
	double downtime = MIGRATE_DOWNTIME_MS / 1e3;
	int insecure = 0, dry_run = 0, with_disk = 0;
	struct request *r;
	char err[512];

	if (!control_args(call, args, "{ss s?F s?I s?s s?b s?b s?b s?s s?I !}", "to", &o.to,
			  "downtime", &downtime, "bandwidth", &bandwidth,
			  "tls_dir", &o.tls_dir, "insecure", &insecure,
			  "dry_run", &dry_run, "with_disk", &with_disk,
			  "disk", &o.disk, "streams", &streams))
		return;
	if (streams < 1 || streams > MIGRATE_STREAMS_MAX) {
		control_fail(call, EINVAL, "\"streams\" is 1 to %d, found %lld",
			     MIGRATE_STREAMS_MAX, (long long)streams);
		return;
	}
	if (!(downtime > 0 && downtime <= MIGRATE_DOWNTIME_MAX / 1e3) || bandwidth < 0) {
		control_fail(call, EINVAL, "\"downtime\" is seconds, up to %d, \"bandwidth\" bytes a second, found %f and %lld",
			     MIGRATE_DOWNTIME_MAX / 1000, downtime, (long long)bandwidth);
		return;
	}
	r = calloc(1, sizeof(*r));
	if (r)
		r->to = strdup(o.to);
	if (!r || !r->to) {
		free(r);
		control_fail(call, ENOMEM, "out of memory");
		return;
	}
	r->vm = vm;
	r->call = call;
	o.to = r->to;
	o.downtime_ns = downtime * NSEC;
	o.bandwidth = bandwidth;
	o.streams = streams;
	o.insecure = insecure;
	o.dry_run = dry_run;
	o.with_disk = with_disk;
	o.owner = r;
	/* the lock is held: the worker is not done before this is */
	r->migrate = migrate_start(vm, &o, err, sizeof(err));
	if (r->migrate) {
		control_on_cancel(call, on_hang_up, r);
		return;
	}
	control_fail(call, EBUSY, "%s", err);
	free(r->to);
	free(r);
}

void cmd_migrate_cancel(struct vm *vm, json_t *args, struct control_call *call)
{
	if (!control_args(call, args, "{!}"))
		return;
	if (!vm->migrating) {
		control_fail(call, EALREADY, "the machine is not being migrated");
		return;
	}
	migrate_cancel(vm->migrating);
	control_done(call, NULL);
}
