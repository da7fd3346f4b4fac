// SPDX-License-Identifier: GPL-2.0
/* The verbs that ask one machine one thing: pause, resume, stop, kill. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "client.h"
#include "options.h"
#include "verbs.h"
#include "vm.h"

#define KILL_PATIENCE_MS	5000	/* then the process is killed */

/* ---- pause, resume -------------------------------------------------------- */

int verb_ask_main(const struct verb *verb, int argc, char **argv)
{
	const char *name;
	json_t *result;
	int ret = verb_options(verb, argc, argv, NULL, "NAME", 1, &name);

	if (ret >= 0)
		return ret;
	/* the verb is the command's name, too */
	result = client_ask(name, verb->name, NULL, CLIENT_PATIENCE_MS);
	json_decref(result);
	return result ? VM_EXIT_OK : VM_EXIT_ERROR;
}

const struct verb verb_pause = {
	.name = "pause",
	.help =
"usage: vmmd pause NAME\n"
"\n"
"Hold the CPUs of the machine NAME until vmmd resume. Its clocks go on.\n",
	.main = verb_ask_main,
};

static int resume_main(const struct verb *verb, int argc, char **argv)
{
	const char *name;
	bool force = false;
	const struct verb_option options[] = {
		{ .name = "force", .flag = &force },
		{ 0 },
	};
	json_t *result;
	int ret = verb_options(verb, argc, argv, options, "NAME", 1, &name);

	if (ret >= 0)
		return ret;
	result = client_ask(name, "resume", force ? json_pack("{sb}", "force", 1) : NULL,
			    CLIENT_PATIENCE_MS);
	json_decref(result);
	return result ? VM_EXIT_OK : VM_EXIT_ERROR;
}

const struct verb verb_resume = {
	.name = "resume",
	.help =
"usage: vmmd resume NAME [--force]\n"
"\n"
"Let the machine NAME go on after vmmd pause.\n"
"\n"
"  --force               even if it was handed over in a migration and may run there:\n"
"                        you know that it does not\n",
	.main = resume_main,
};

/* ---- stop ----------------------------------------------------------------- */

static int stop_main(const struct verb *verb, int argc, char **argv)
{
	const char *name, *timeout = NULL;
	const struct verb_option options[] = {
		{ .name = "timeout", .value = &timeout },
		{ 0 },
	};
	json_t *args, *result;
	uint64_t grace;
	int ret = verb_options(verb, argc, argv, options, "NAME", 1, &name);

	if (ret >= 0)
		return ret;
	args = json_pack("{sb}", "wait", 1);
	if (timeout) {
		if (!verb_number(verb, "--timeout", timeout, 0,
				 OPTIONS_GRACE_MAX, &grace)) {
			json_decref(args);
			return VM_EXIT_USAGE;
		}
		json_object_set_new(args, "grace", json_integer(grace));
	}
	result = client_ask(name, "stop", args, -1);
	if (!result)
		return VM_EXIT_ERROR;
	ret = json_integer_value(json_object_get(result, "exit"));
	json_decref(result);
	if (ret == VM_EXIT_FORCED)
		fprintf(stderr, "vmmd: %s: it did not power off in time and was forced off\n",
			name);
	return ret;
}

const struct verb verb_stop = {
	.name = "stop",
	.help =
"usage: vmmd stop NAME [--timeout SECONDS]\n"
"\n"
"Press the power button of the machine NAME and wait until it is off.\n"
"\n"
"  --timeout SECONDS     force it off after that time, 0: at once (default: that of\n"
"                        its --grace)\n"
"\n"
"Exit status: that of its vmmd run: 0 it powered off, 4 it was forced off; 1 also\n"
"if there is no such machine.\n",
	.main = stop_main,
};

/* ---- kill ----------------------------------------------------------------- */

static int kill_main(const struct verb *verb, int argc, char **argv)
{
	char err[512] = "";
	const char *name;
	struct client c;
	json_t *result;
	int ret = verb_options(verb, argc, argv, NULL, "NAME", 1, &name);

	if (ret >= 0)
		return ret;
	if (client_open(&c, name, err, sizeof(err))) {
		fprintf(stderr, "vmmd: %s\n", err);
		return VM_EXIT_ERROR;
	}
	result = client_call(&c, "kill", json_pack("{sb}", "wait", 1),
			     KILL_PATIENCE_MS, NULL, NULL, err, sizeof(err));
	ret = VM_EXIT_OK;
	/* whoever still has the connection open has not ended */
	if (!result && client_wait_end(&c, 0) && c.pid > 0) {
		fprintf(stderr, "vmmd: %s: process %d does not answer and is killed\n",
			name, (int)c.pid);
		if (kill(c.pid, SIGKILL) ||
		    client_wait_end(&c, CLIENT_PATIENCE_MS)) {
			fprintf(stderr, "vmmd: %s: process %d cannot be killed: %s\n",
				name, (int)c.pid, strerror(errno));
			ret = VM_EXIT_ERROR;
		}
	}
	json_decref(result);
	client_close(&c);
	return ret;
}

const struct verb verb_kill = {
	.name = "kill",
	.help =
"usage: vmmd kill NAME\n"
"\n"
"Force the machine NAME off and wait until it is; if it does not answer, kill its\n"
"process.\n",
	.main = kill_main,
};
