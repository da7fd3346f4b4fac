// SPDX-License-Identifier: GPL-2.0
/* The verbs that tell of running machines: list, info. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "client.h"
#include "names.h"
#include "snapshot/info.h"
#include "verbs.h"
#include "vm.h"

#define LIST_PATIENCE_MS	2000

static int print_json(const json_t *j)
{
	if (!json_dumpf(j, stdout, JSON_INDENT(2)) && putchar('\n') != EOF &&
	    !fflush(stdout))
		return VM_EXIT_OK;
	perror("vmmd: cannot write to standard output");
	return VM_EXIT_ERROR;
}

static const char *string(const json_t *info, const char *key)
{
	const char *s = json_string_value(json_object_get(info, key));

	return s ? s : "-";
}

static long long integer(const json_t *info, const char *key)
{
	return json_integer_value(json_object_get(info, key));
}

static void duration(char *text, size_t len, const json_t *info)
{
	unsigned long long s = json_number_value(json_object_get(info, "uptime"));

	snprintf(text, len, "%llu:%02llu:%02llu", s / 3600, s / 60 % 60, s % 60);
}

/* ---- list ----------------------------------------------------------------- */

/* what a machine says of itself, or its name and state; NULL: it is gone */
static json_t *ask(const char *name)
{
	char err[512];
	struct client c;
	json_t *info;
	int ret = client_open(&c, name, err, sizeof(err));

	if (ret == -ENOENT)
		return NULL;
	if (ret)
		return json_pack("{ss ss}", "name", name, "state", "starting");
	info = client_call(&c, "info", NULL, LIST_PATIENCE_MS, NULL, NULL, err,
			   sizeof(err));
	if (info)
		json_object_del(info, "counters");
	else
		info = json_pack("{ss si ss}", "name", name, "pid", (int)c.pid,
				 "state", "no answer");
	client_close(&c);
	return info;
}

static int print_table(const json_t *list)
{
	char uptime[32];
	json_t *info;
	size_t i;

	printf("%-24s %8s %-10s %4s %8s %10s\n", "NAME", "PID", "STATE", "CPUS",
	       "MEMORY", "UPTIME");
	json_array_foreach(list, i, info) {
		duration(uptime, sizeof(uptime), info);
		printf("%-24s %8lld %-10s %4lld %7lldM %10s\n",
		       string(info, "name"), integer(info, "pid"),
		       string(info, "state"), integer(info, "cpus"),
		       integer(info, "memory") >> 20, uptime);
	}
	if (!fflush(stdout) && !ferror(stdout))
		return VM_EXIT_OK;
	perror("vmmd: cannot write to standard output");
	return VM_EXIT_ERROR;
}

static int list_main(const struct verb *verb, int argc, char **argv)
{
	bool json = false;
	const struct verb_option options[] = {
		{ .name = "json", .flag = &json },
		{ 0 },
	};
	char err[512] = "out of memory", **names;
	json_t *list;
	size_t i;
	int ret = verb_options(verb, argc, argv, options, NULL, 0, NULL);

	if (ret >= 0)
		return ret;
	names = names_list(err, sizeof(err));
	if (!names) {
		fprintf(stderr, "vmmd: %s\n", err);
		return VM_EXIT_ERROR;
	}
	list = json_array();
	for (i = 0; names[i]; i++)
		json_array_append_new(list, ask(names[i]));
	ret = json ? print_json(list) : print_table(list);
	json_decref(list);
	names_list_free(names);
	return ret;
}

const struct verb verb_list = {
	.name = "list",
	.help =
"usage: vmmd list [--json]\n"
"\n"
"List this user's running machines.\n"
"\n"
"  --json                as a JSON array of what vmmd info NAME --json tells of each,\n"
"                        but the counters\n",
	.main = list_main,
};

/* ---- info ----------------------------------------------------------------- */

static int print_info(const json_t *info)
{
	const json_t *by = json_object_get(info, "paused_by");
	char uptime[32];
	json_t *why;
	size_t i;

	duration(uptime, sizeof(uptime), info);
	printf("name:    %s\nprocess: %lld\nstate:   %s", string(info, "name"),
	       integer(info, "pid"), string(info, "state"));
	json_array_foreach(by, i, why)
		printf("%s%s", i ? ", " : " by ", json_string_value(why));
	printf("\ncpus:    %lld\nmemory:  %lld MiB\n", integer(info, "cpus"),
	       integer(info, "memory") >> 20);
	if (json_is_string(json_object_get(info, "disk")))
		printf("disk:    %s\n", string(info, "disk"));
	if (json_is_string(json_object_get(info, "kernel")))
		printf("kernel:  %s\n", string(info, "kernel"));
	printf("uptime:  %s\n", uptime);
	if (!fflush(stdout) && !ferror(stdout))
		return VM_EXIT_OK;
	perror("vmmd: cannot write to standard output");
	return VM_EXIT_ERROR;
}

/* a path, or a file of that name where no machine has it */
static bool is_file(const char *name)
{
	char err[512];
	struct client c;
	int ret;

	if (strchr(name, '/'))
		return true;
	ret = client_open(&c, name, err, sizeof(err));
	if (!ret)
		client_close(&c);
	return ret && !access(name, F_OK);
}

static json_t *snapshot(const char *path)
{
	char err[768] = "";
	json_t *info = snapshot_describe(path, err, sizeof(err));

	if (!info)
		fprintf(stderr, "vmmd: %s\n", err);
	return info;
}

static int info_main(const struct verb *verb, int argc, char **argv)
{
	bool json = false;
	const struct verb_option options[] = {
		{ .name = "json", .flag = &json },
		{ 0 },
	};
	const char *name;
	json_t *info;
	bool file;
	int ret = verb_options(verb, argc, argv, options, "NAME or FILE", 1, &name);

	if (ret >= 0)
		return ret;
	file = is_file(name);
	info = file ? snapshot(name) : client_ask(name, "info", NULL, CLIENT_PATIENCE_MS);
	if (!info)
		return VM_EXIT_ERROR;
	ret = json ? print_json(info) : file ? snapshot_print(info) : print_info(info);
	json_decref(info);
	return ret;
}

const struct verb verb_info = {
	.name = "info",
	.help =
"usage: vmmd info NAME | FILE [--json]\n"
"\n"
"Tell what the machine NAME is and does; or what is in the snapshot FILE, a path with\n"
"a / or a file where no machine runs by that name.\n"
"\n"
"  --json                all of it, with the module's counters; vmmd-control(7) has\n"
"                        the members, vmmd(1) those of a snapshot\n",
	.main = info_main,
};
