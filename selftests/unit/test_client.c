// SPDX-License-Identifier: GPL-2.0
/*
 * The verbs and the client's end of the control socket: against the server, and
 * against one that answers what no server would.
 */
#define _GNU_SOURCE 1
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "control/client.h"
#include "control/control.h"
#include "control/names.h"
#include "fixture.h"
#include "verbs.h"

static char dir[64], err[512], said[65536], told[65536];
static struct fx *fx;
static struct control *control;
static struct names_own own;
static char asked[256];			/* the last request's arguments */

/* ---- a machine of the test's ------------------------------------------------ */

static void cmd_info(struct vm *vm, json_t *args, struct control_call *call)
{
	control_done(call, json_pack("{ss si ss s[s] si sI ss sn sf s{si}}",
				     "name", "a", "pid", 7, "state", "paused",
				     "paused_by", "user", "cpus", 3, "memory",
				     (json_int_t)64 << 20, "disk", "/d/disk.img",
				     "kernel", "uptime", 3723.5,
				     "counters", "exits", 5));
}

static void cmd_any(struct vm *vm, json_t *args, struct control_call *call)
{
	char *s = json_dumps(args, JSON_SORT_KEYS | JSON_COMPACT);

	snprintf(asked, sizeof(asked), "%s", s);
	free(s);
	control_progress(call, json_pack("{si}", "done", 1));
	control_done(call, json_pack("{si}", "exit", 4));
}

static void cmd_refuse(struct vm *vm, json_t *args, struct control_call *call)
{
	control_fail(call, EBUSY, "not now");
}

static int setup_dir(void **state)
{
	strcpy(dir, "/tmp/vmm-client-XXXXXX");
	assert_non_null(mkdtemp(dir));
	setenv("VMMD_RUNTIME_DIR", dir, 1);
	assert_int_equal(names_take(&own, "a", err, sizeof(err)), 0);
	return 0;
}

static int teardown_dir(void **state)
{
	names_release(&own);
	assert_int_equal(rmdir(dir), 0);
	return 0;
}

static int setup(void **state)
{
	setup_dir(state);
	fx = fx_new();
	fx_lock(fx);
	control = control_new(fx->env.loop, NULL,
			      names_listen(&own, err, sizeof(err)));
	assert_non_null(control);
	assert_int_equal(control_add(control, "info", cmd_info), 0);
	assert_int_equal(control_add(control, "stop", cmd_any), 0);
	assert_int_equal(control_add(control, "resume", cmd_any), 0);
	assert_int_equal(control_add(control, "pause", cmd_refuse), 0);
	fx_unlock(fx);
	return 0;
}

static int teardown(void **state)
{
	fx_lock(fx);
	control_free(control);
	fx_unlock(fx);
	fx_free(fx);
	return teardown_dir(state);
}

/* ---- verbs ------------------------------------------------------------------ */

static void slurp(FILE *f, char *text)
{
	rewind(f);
	text[fread(text, 1, sizeof(said) - 1, f)] = 0;
	fclose(f);
}

/* its exit status; said, told: what went to stdout, to stderr */
static int run(const char *line)
{
	FILE *out = tmpfile(), *complaints = tmpfile();
	int saved[2] = { dup(1), dup(2) }, argc = 0, status;
	char *argv[8] = { NULL }, copy[128], *save, *w;
	const struct verb *verb;

	snprintf(copy, sizeof(copy), "%s", line);
	for (w = strtok_r(copy, " ", &save); w; w = strtok_r(NULL, " ", &save))
		argv[argc++] = w;
	verb = verbs_find(argv[0]);
	assert_non_null(verb);
	fflush(stdout);
	dup2(fileno(out), 1);
	dup2(fileno(complaints), 2);
	status = verb->main(verb, argc, argv);
	fflush(stdout);
	dup2(saved[0], 1);
	dup2(saved[1], 2);
	close(saved[0]);
	close(saved[1]);
	slurp(out, said);
	slurp(complaints, told);
	return status;
}

static void usage(void **state)
{
	static const char *const bad[][2] = {
		{ "list x", "'x'" },
		{ "list --jason", "--jason" },
		{ "list --json=1", "--json=1" },
		{ "list -j", "'-j'" },
		{ "info", "NAME" },
		{ "info a b", "'b'" },
		{ "stop", "NAME" },
		{ "stop a --timeout", "--timeout" },
		{ "stop a --timeout x", "'x'" },
		{ "stop a --timeout 86401", "86400" },
		{ "stop a --timeout 99999999999999999999999", "86400" },
		{ "stop a --timeout -1", "'-1'" },
		{ "kill", "NAME" },
		{ "pause", "NAME" },
		{ "resume", "NAME" },
		{ "console", "NAME" },
		{ "console a b", "'b'" },
	};
	size_t i;

	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_int_equal(run(bad[i][0]), 2);
		assert_string_equal(said, "");
		/* one line */
		assert_ptr_equal(strchr(told, '\n'), told + strlen(told) - 1);
		if (!strstr(told, bad[i][1]))
			fail_msg("wanted %s in %s", bad[i][1], told);
	}
	assert_null(verbs_find("run"));
	assert_null(verbs_find(""));
}

static void help(void **state)
{
	static const char *const verbs[] = {
		"list", "info", "console", "pause", "resume", "stop", "kill",
	};
	char line[32], begin[64];
	size_t i;

	for (i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++) {
		snprintf(line, sizeof(line), "%s --help", verbs[i]);
		snprintf(begin, sizeof(begin), "usage: vmmd %s", verbs[i]);
		assert_int_equal(run(line), 0);
		assert_memory_equal(said, begin, strlen(begin));
	}
}

static void tells(void **state)
{
	json_t *j;

	assert_int_equal(run("list"), 0);
	assert_non_null(strstr(said, "NAME"));
	assert_non_null(strstr(said, "\na "));
	assert_non_null(strstr(said, " 64M "));
	assert_non_null(strstr(said, " 1:02:03\n"));
	assert_int_equal(run("list --json"), 0);
	j = json_loads(said, 0, NULL);
	assert_int_equal(json_array_size(j), 1);
	assert_int_equal(json_integer_value(json_object_get(json_array_get(j, 0), "cpus")), 3);
	json_decref(j);
	assert_int_equal(run("info a"), 0);
	assert_non_null(strstr(said, "paused by user\n"));
	assert_non_null(strstr(said, "/d/disk.img"));
	assert_null(strstr(said, "kernel"));
	assert_int_equal(run("info a --json"), 0);
	assert_non_null(strstr(said, "\"exits\": 5"));
}

static void asks(void **state)
{
	assert_int_equal(run("stop a"), 4);
	assert_string_equal(asked, "{\"wait\":true}");
	assert_int_equal(run("stop --timeout 0 a"), 4);
	assert_string_equal(asked, "{\"grace\":0,\"wait\":true}");
	assert_int_equal(run("resume a"), 0);
	assert_string_equal(asked, "{}");
	assert_int_equal(run("pause a"), 1);
	assert_string_equal(told, "vmmd: a: not now\n");
	/* this machine has no such command */
	assert_int_equal(run("console a"), 1);
	assert_int_equal(run("resume b"), 1);
	assert_string_equal(told, "vmmd: no machine named 'b' runs: see vmmd list\n");
	assert_int_equal(run("resume a/b"), 1);
}

/* ---- a server that is none --------------------------------------------------- */

/* a process that listens, and says `text` to who comes, over and over */
static pid_t liar(const char *text, bool forever)
{
	int fd = names_listen(&own, err, sizeof(err)), peer;
	pid_t pid = fork();

	if (pid) {
		close(fd);
		return pid;
	}
	fcntl(fd, F_SETFL, 0);
	peer = accept(fd, NULL, NULL);
	do
		if (send(peer, text, strlen(text), MSG_NOSIGNAL) < 0)
			break;
	while (forever);
	shutdown(peer, SHUT_WR);
	/* what was asked is read, so that nothing is lost by a reset */
	while (read(peer, said, sizeof(said)) > 0)
		;
	_exit(0);
}

static void events(void *owner, json_t *event)
{
	++*(unsigned int *)owner;
}

static json_t *ask_liar(const char *text, bool forever, unsigned int *progress)
{
	pid_t pid = liar(text, forever);
	struct client c;
	json_t *result;

	assert_int_equal(client_open(&c, "a", err, sizeof(err)), 0);
	strcpy(err, "");
	result = client_call(&c, "info", json_object(), -1, events, progress,
			     err, sizeof(err));
	client_close(&c);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	assert_true(result || *err);
	assert_null(strchr(err, '\n'));
	return result;
}

static void lies(void **state)
{
	static const char *const lie[] = {
		"", "hello\n", "\n", "[]\n", "7\n", "{}\n", "{\"ok\":true}\n",
		"{\"ok\":false}\n", "{\"ok\":false,\"error\":7}\n",
		"{\"ok\":1,\"result\":{}}\n", "{\"ok\":true,\"result\":{}}",
		"{\"event\":\"progress\"}\n", "\xff\n",
	};
	unsigned int n = 0, i;
	json_t *j;

	for (i = 0; i < sizeof(lie) / sizeof(lie[0]); i++)
		assert_null(ask_liar(lie[i], false, &n));
	assert_int_equal(n, 1);
	/* a line without an end takes no memory without end */
	assert_null(ask_liar("xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", true, &n));
	j = ask_liar("{\"event\":\"x\"}\n{\"event\":\"y\"}\n{\"ok\":true,\"result\":{}}\n",
		     false, &n);
	assert_non_null(j);
	json_decref(j);
	assert_int_equal(n, 3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(usage, setup, teardown),
		cmocka_unit_test_setup_teardown(help, setup, teardown),
		cmocka_unit_test_setup_teardown(tells, setup, teardown),
		cmocka_unit_test_setup_teardown(asks, setup, teardown),
		cmocka_unit_test_setup_teardown(lies, setup_dir, teardown_dir),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
