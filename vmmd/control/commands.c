// SPDX-License-Identifier: GPL-2.0
/* The commands of vmmd-control(7) that need nothing but the VM. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "attach.h"
#include "commands.h"
#include "control.h"
#include "loop.h"
#include "migrate/command.h"
#include "migrate/migrate.h"
#include "names.h"
#include "options.h"
#include "snapshot/command.h"
#include "vm.h"

#define NSEC		1e9
#define STATS_MAX	128

/* a call that is answered at the end of the VM */
struct waiter {
	struct commands *of;
	struct control_call *call;
	struct waiter *next;
};

struct commands {
	struct names_own name;
	struct attach *attached;
	struct waiter *waiters;
};

static void ends(struct control_call *call)
{
	control_fail(call, ESHUTDOWN, "the machine is ending");
}

/* ---- info ----------------------------------------------------------------- */

/* a file's name need not be UTF-8; JSON has to be */
static json_t *text(const char *s)
{
	json_t *j = s ? json_string(s) : json_null();
	char *copy, *c;

	if (j)
		return j;
	copy = strdup(s);
	for (c = copy; c && *c; c++)
		if (*c & 0x80)
			*c = '?';
	j = copy ? json_string(copy) : NULL;
	free(copy);
	return j ? j : json_null();
}

static json_t *full_path(const char *path)
{
	char *full = path ? realpath(path, NULL) : NULL;
	json_t *j = text(full ? full : path);

	free(full);
	return j;
}

static json_t *counters(struct vm *vm)
{
	struct vmm_stat s[STATS_MAX];
	uint32_t count = STATS_MAX, i;
	json_t *j = json_object();

	if (api_get_stats(&vm->api, s, &count))
		return j;
	for (i = 0; i < count; i++) {
		char name[VMM_STAT_NAME + 1] = "";

		memcpy(name, s[i].name, VMM_STAT_NAME);
		json_object_set_new(j, name, json_integer(s[i].value));
	}
	return j;
}

static json_t *paused_by(const struct vm *vm)
{
	static const struct {
		unsigned int why;
		const char *name;
	} reasons[] = {
		{ VM_PAUSE_USER, "user" },
		{ VM_PAUSE_SNAPSHOT, "snapshot" },
		{ VM_PAUSE_MIGRATE, "migrate" },
	};
	json_t *j = json_array();
	size_t i;

	for (i = 0; i < sizeof(reasons) / sizeof(reasons[0]); i++)
		if (vm->paused & reasons[i].why)
			json_array_append_new(j, json_string(reasons[i].name));
	return j;
}

static const char *state(const struct vm *vm)
{
	if (vm->in_doubt)
		return "in doubt";
	return vm->paused & ~(VM_PAUSE_REPORT | VM_PAUSE_THROTTLE) ? "paused" : "running";
}

static void cmd_info(struct vm *vm, json_t *args, struct control_call *call)
{
	const struct vm_config *c = &vm->opt->config;

	if (!control_args(call, args, "{!}"))
		return;
	control_done(call, json_pack(
		"{ss si ss so si sI so so sf so}",
		"name", vm->commands->name.name, "pid", (int)getpid(),
		"state", state(vm), "paused_by", paused_by(vm),
		"cpus", (int)c->cpus, "memory", (json_int_t)c->memory,
		"disk", full_path(c->disk), "kernel", full_path(c->kernel),
		"uptime", (loop_now() - vm->started_at) / NSEC,
		"counters", counters(vm)));
}

/* ---- pause, resume -------------------------------------------------------- */

static void cmd_pause(struct vm *vm, json_t *args, struct control_call *call)
{
	if (!control_args(call, args, "{!}"))
		return;
	if (vm_pause(vm, VM_PAUSE_USER))
		ends(call);
	else
		control_done(call, json_pack("{ss}", "state", state(vm)));
}

static void cmd_resume(struct vm *vm, json_t *args, struct control_call *call)
{
	char err[512];
	int force = 0;

	if (!control_args(call, args, "{s?b !}", "force", &force))
		return;
	if (vm->in_doubt && !force) {
		control_fail(call, ENOTRECOVERABLE, "the machine was migrated, and may run there: only if it does not, say \"force\" (vmmd resume --force)");
		return;
	}
	if (vm->in_doubt && migrate_force(vm, err, sizeof(err))) {
		control_fail(call, ENOTRECOVERABLE, "%s", err);
		return;
	}
	if (vm_resume(vm, VM_PAUSE_USER))
		ends(call);
	else
		control_done(call, json_pack("{ss}", "state", state(vm)));
}

/* ---- stop, kill ----------------------------------------------------------- */

static void waiter_free(struct waiter *w)
{
	struct waiter **p;

	for (p = &w->of->waiters; *p != w; p = &(*p)->next)
		;
	*p = w->next;
	free(w);
}

static void waiter_hung_up(void *owner)
{
	struct waiter *w = owner;

	control_fail(w->call, ECANCELED, "nobody waits");
	waiter_free(w);
}

/* the answer is for later if it is to be waited for; false: none was begun */
static bool answer_end(struct vm *vm, struct control_call *call, bool wait)
{
	struct waiter *w;

	if (vm->ending) {
		ends(call);
		return false;
	}
	if (!wait) {
		control_done(call, NULL);
		return true;
	}
	w = malloc(sizeof(*w));
	if (!w) {
		control_fail(call, ENOMEM, "out of memory");
		return false;
	}
	*w = (struct waiter){ vm->commands, call, vm->commands->waiters };
	vm->commands->waiters = w;
	control_on_cancel(call, waiter_hung_up, w);
	return true;
}

static void cmd_stop(struct vm *vm, json_t *args, struct control_call *call)
{
	json_int_t grace = vm->opt->grace;
	int wait = 0;

	if (!control_args(call, args, "{s?I s?b !}", "grace", &grace, "wait", &wait))
		return;
	if (grace < 0 || grace > OPTIONS_GRACE_MAX)
		control_fail(call, EINVAL, "\"grace\" is seconds from 0 to %d, found %lld",
			     OPTIONS_GRACE_MAX, (long long)grace);
	else if (answer_end(vm, call, wait))
		vm_power_off(vm, grace, "control socket");
}

static void cmd_kill(struct vm *vm, json_t *args, struct control_call *call)
{
	int wait = 0;

	if (control_args(call, args, "{s?b !}", "wait", &wait) &&
	    answer_end(vm, call, wait))
		vm_power_off(vm, 0, "control socket");
}

/* ---- console -------------------------------------------------------------- */

static void cmd_console(struct vm *vm, json_t *args, struct control_call *call)
{
	struct commands *cs = vm->commands;
	size_t len;
	char *ahead;
	int fd;

	if (!control_args(call, args, "{!}"))
		return;
	if (attach_count(cs->attached) == ATTACH_MAX) {
		control_fail(call, EBUSY, "%u others are at the console: let one go",
			     ATTACH_MAX);
		return;
	}
	fd = control_take(call, NULL, &ahead, &len);
	if (fd >= 0)
		attach_new(&cs->attached, vm->loop, machine_console(vm->machine),
			   fd, ahead, len);
}

/* ---- beside the VM -------------------------------------------------------- */

static const struct {
	const char *name;
	control_fn fn;
} table[] = {
	{ "info",	cmd_info },
	{ "pause",	cmd_pause },
	{ "resume",	cmd_resume },
	{ "stop",	cmd_stop },
	{ "kill",	cmd_kill },
	{ "console",	cmd_console },
	{ "snapshot",	cmd_snapshot },
	{ "migrate",	cmd_migrate },
	{ "migrate-cancel", cmd_migrate_cancel },
};

int commands_name(struct vm *vm, char *err, size_t errlen)
{
	struct commands *cs = calloc(1, sizeof(*cs));
	int ret;

	if (!cs) {
		snprintf(err, errlen, "out of memory");
		return -ENOMEM;
	}
	ret = names_take(&cs->name, vm->opt->config.name, err, errlen);
	if (!ret) {
		vm->commands = cs;
		return 0;
	}
	names_release(&cs->name);
	free(cs);
	if (ret == -EEXIST)
		return ret;
	fprintf(stderr, "vmmd: no control socket: %s\n", err);
	return 0;
}

int commands_open(struct vm *vm)
{
	char err[256] = "out of memory";
	size_t i;
	int fd;

	if (!vm->commands)
		return 0;
	fd = names_listen(&vm->commands->name, err, sizeof(err));
	if (fd >= 0)
		vm->control = control_new(vm->loop, vm, fd);
	for (i = 0; vm->control && i < sizeof(table) / sizeof(table[0]); i++)
		if (control_add(vm->control, table[i].name, table[i].fn))
			return -ENOMEM;
	if (!vm->control)
		fprintf(stderr, "vmmd: no control socket: %s\n", err);
	return 0;
}

void commands_detach(struct vm *vm)
{
	if (vm->commands)
		attach_free_all(&vm->commands->attached);
}

void commands_close(struct vm *vm, int code)
{
	struct commands *cs = vm->commands;
	struct waiter *w;

	if (!cs)
		return;
	/* whoever is told may run the next one of this name */
	names_release(&cs->name);
	while ((w = cs->waiters)) {
		control_done(w->call, json_pack("{si}", "exit", code));
		waiter_free(w);
	}
	control_free(vm->control);
	vm->control = NULL;
	vm->commands = NULL;
	free(cs);
}
