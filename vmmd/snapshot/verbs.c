// SPDX-License-Identifier: GPL-2.0
/* vmmd snapshot, restore and clone. */
#define _GNU_SOURCE 1		/* memfd_create, asprintf */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "control/client.h"
#include "detach.h"
#include "progress.h"
#include "snapshot/file.h"
#include "snapshot/restore.h"
#include "verbs.h"

#define CLONES_MAX	1000

/* ---- snapshot ------------------------------------------------------------- */

/* as another process finds it, though it need not be there yet */
static char *absolute(const char *path)
{
	char cwd[PATH_MAX], *full;

	if (path[0] == '/')
		return strdup(path);
	if (!getcwd(cwd, sizeof(cwd)) || asprintf(&full, "%s/%s", cwd, path) < 0)
		return NULL;
	return full;
}

static void show_progress(void *owner, json_t *event)
{
	progress_show(owner, json_integer_value(json_object_get(event, "done")) * 4096,
		      json_integer_value(json_object_get(event, "total")) * 4096);
}

static int snapshot_main(const struct verb *verb, int argc, char **argv)
{
	struct progress bar = { .what = "memory" };
	const char *name[2];
	bool diff = false;
	const struct verb_option options[] = {
		{ .name = "diff", .flag = &diff },
		{ 0 },
	};
	char err[768] = "", *path;
	const char *left;
	struct client c;
	json_t *result;
	int ret = verb_options(verb, argc, argv, options, "NAME and FILE", 2, name);

	if (ret >= 0)
		return ret;
	path = absolute(name[1]);
	if (!path || client_open(&c, name[0], err, sizeof(err))) {
		fprintf(stderr, "vmmd: %s\n", path ? err : strerror(errno));
		free(path);
		return VM_EXIT_ERROR;
	}
	result = client_call(&c, "snapshot", json_pack("{ss sb}", "file", path,
						       "diff", diff),
			     -1, show_progress, &bar, err, sizeof(err));
	client_close(&c);
	free(path);
	progress_end(&bar);
	if (!result) {
		fprintf(stderr, "vmmd: %s\n", err);
		return VM_EXIT_ERROR;
	}
	fprintf(stderr, "vmmd: %s: %" PRIu64 " pages in %" PRIu64 " bytes, the machine stood still for %.1f ms\n",
		name[1], (uint64_t)json_integer_value(json_object_get(result, "pages")),
		(uint64_t)json_integer_value(json_object_get(result, "bytes")),
		1e3 * json_real_value(json_object_get(result, "paused")));
	left = json_string_value(json_object_get(result, "left"));
	if (left && *left)
		fprintf(stderr, "vmmd: the disk of the snapshot that was replaced, %s, is left: remove it if no overlay stands on it\n",
			left);
	json_decref(result);
	return VM_EXIT_OK;
}

const struct verb verb_snapshot = {
	.name = "snapshot",
	.help =
"usage: vmmd snapshot NAME FILE [--diff]\n"
"\n"
"Save the running machine NAME, its memory and its disk of one instant, to FILE\n"
"and, beside it, FILE.disk-ID. The machine goes on. An older snapshot of that name\n"
"is replaced when the new one is whole; Ctrl-C gives it up.\n"
"\n"
"  --diff                only what changed since the machine's last snapshot, which\n"
"                        must stay where it is\n"
"\n"
"Exit status: 0, 1 error, 2 usage.\n",
	.main = snapshot_main,
};

/* ---- restore -------------------------------------------------------------- */

/*
 * FILE comes first; what is ours is taken out of what follows, and the rest left
 * in its place for the options of run. How many are left, or -1: told.
 */
static int take_options(const struct verb *verb, int argc, char **argv,
			struct restore *r, const char **count)
{
	int i, n = 0;

	if (argc < 2 || argv[1][0] == '-') {
		fprintf(stderr, "vmmd: %s wants FILE first, found %s: see vmmd %s --help\n",
			verb->name, argc < 2 ? "none" : argv[1], verb->name);
		return -1;
	}
	r->file = argv[1];
	for (i = 2; i < argc; i++) {
		const char **value = NULL;

		if (!strncmp(argv[i], "--disk=", 7))
			r->disk = argv[i] + 7;
		else if (!strcmp(argv[i], "--disk"))
			value = &r->disk;
		else if (count && !strcmp(argv[i], "-n"))
			value = count;
		else if (!strcmp(argv[i], "--discard-disk"))
			r->discard_disk = true;
		else if (!strcmp(argv[i], "--load-all"))
			r->eager = true;
		else
			argv[2 + n++] = argv[i];
		if (!value)
			continue;
		if (++i == argc) {
			fprintf(stderr, "vmmd: %s wants a value, found none\n", argv[i - 1]);
			return -1;
		}
		*value = argv[i];
	}
	return n;
}

static bool wants_help(int argc, char **argv)
{
	int i;

	for (i = 1; i < argc; i++)
		if (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h"))
			return true;
	return false;
}

static int print_help(const struct verb *verb)
{
	if (fputs(verb->help, stdout) < 0 || fflush(stdout)) {
		perror("vmmd: cannot write to standard output");
		return VM_EXIT_ERROR;
	}
	return VM_EXIT_OK;
}

static int restore_run(struct restore *r, int argc, char **argv)
{
	int ret = restore_begin(r, argc, argv), status;

	if (!ret && detach_wanted(restore_options(r), &status))
		return status;	/* the disk is the other process's */
	if (!ret)
		ret = vm_run(restore_options(r));
	restore_end(r);
	return ret;
}

static int restore_main(const struct verb *verb, int argc, char **argv)
{
	struct restore r = { .memory_fd = -1 };
	int n;

	if (wants_help(argc, argv))
		return print_help(verb);
	n = take_options(verb, argc, argv, &r, NULL);
	return n < 0 ? VM_EXIT_USAGE : restore_run(&r, n, argv + 2);
}

const struct verb verb_restore = {
	.name = "restore",
	.help =
"usage: vmmd restore FILE [--disk TOP] [--discard-disk] [--load-all] [OPTION]...\n"
"\n"
"Run the machine that is in the snapshot FILE. It begins at once; its memory is read\n"
"as it is touched, and in the background. The snapshot's disk stays as it is: the\n"
"machine has an overlay over it.\n"
"\n"
"  --disk TOP            make the overlay there (default FILE.NAME-disk)\n"
"  --discard-disk        and remove it when the machine ends\n"
"  --load-all            read all of memory first\n"
"\n"
"Options of run that are of the host's side may be given, too: --name, --net,\n"
"--net-vhost, --forward, --console, --direct, --grace, --on-crash.\n"
"\n"
"Exit status: as that of run.\n",
	.main = restore_main,
};

/* ---- clone ---------------------------------------------------------------- */

/* all of RAM in a memfd that nobody can write to any more; -1: told */
static int make_memory(const char *file)
{
	struct snapshot_file *chain[SNAPSHOT_CHAIN_MAX];
	const struct vmstate *st;
	char err[768] = "";
	uint64_t size = 0;
	void *map = MAP_FAILED;
	unsigned int i;
	int n, fd, ret = -1;

	n = snapshot_open_chain(file, chain, err, sizeof(err));
	if (n < 0) {
		fprintf(stderr, "vmmd: %s\n", err);
		return -1;
	}
	st = &chain[0]->state;
	for (i = 0; i < st->nranges; i++)
		if (!st->range[i].rom)
			size += st->range[i].size;
	fd = memfd_create("vmm-clones", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (fd >= 0 && size <= PTRDIFF_MAX && !ftruncate(fd, size))
		map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED) {
		fprintf(stderr, "vmmd: %s: no memory for %" PRIu64 " bytes: %s\n",
			file, size, strerror(errno));
	} else {
		ret = restore_memory(chain, n, map, size, err, sizeof(err));
		if (ret)
			fprintf(stderr, "vmmd: %s\n", err);
		munmap(map, size);
	}
	if (!ret && fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW)) {
		perror("vmmd: memfd");
		ret = -1;
	}
	snapshot_close_chain(chain, n);
	if (ret && fd >= 0)
		close(fd);
	return ret ? -1 : fd;
}

/* the name that the snapshot or the options give; "-1", "-2"... come behind it */
static const char *base_name(int argc, char **argv, const char *file)
{
	const char *name = strrchr(file, '/');
	int i;

	name = name ? name + 1 : file;
	for (i = 0; i < argc; i++) {
		if (!strncmp(argv[i], "--name=", 7))
			name = argv[i] + 7;
		else if (!strcmp(argv[i], "--name") && i + 1 < argc)
			name = argv[i + 1];
	}
	return name;
}

static int clone_one(const struct restore *all, int memory, unsigned int i,
		     int argc, char **argv)
{
	struct restore r = *all;
	char *args[64], name[300], disk[PATH_MAX];
	int n = 0, k;

	if (argc > 60) {
		fprintf(stderr, "vmmd: too many options\n");
		return VM_EXIT_USAGE;
	}
	/* the saved one's ports can be one machine's only */
	args[n++] = (char *)"--forward=none";
	for (k = 0; k < argc; k++)
		args[n++] = argv[k];
	snprintf(name, sizeof(name), "--name=%s-%u", base_name(argc, argv, r.file), i);
	args[n++] = name;
	args[n++] = (char *)"--detach";
	if (r.disk) {
		snprintf(disk, sizeof(disk), "%s-%u", r.disk, i);
		r.disk = disk;
	}
	r.memory_fd = memory;
	return restore_run(&r, n, args);
}

/* each is a process of its own, which has detached when its parent sees 0 */
static int clone_main(const struct verb *verb, int argc, char **argv)
{
	struct restore r = { .memory_fd = -1 };
	const char *count = "1";
	uint64_t n, i;
	int left, memory, status, ret = VM_EXIT_OK;
	pid_t pid;

	if (wants_help(argc, argv))
		return print_help(verb);
	left = take_options(verb, argc, argv, &r, &count);
	if (left < 0 || !verb_number(verb, "-n", count, 1, CLONES_MAX, &n))
		return VM_EXIT_USAGE;
	memory = make_memory(r.file);
	if (memory < 0)
		return VM_EXIT_ERROR;
	for (i = 1; i <= n && !ret; i++) {
		fflush(NULL);
		pid = fork();
		if (!pid)
			_exit(clone_one(&r, memory, i, left, argv + 2));
		if (pid < 0 || waitpid(pid, &status, 0) != pid) {
			perror("vmmd: fork");
			ret = VM_EXIT_ERROR;
		} else {
			ret = WIFEXITED(status) ? WEXITSTATUS(status) : VM_EXIT_ERROR;
		}
	}
	return ret;
}

const struct verb verb_clone = {
	.name = "clone",
	.help =
"usage: vmmd clone FILE [-n N] [--disk TOP] [--discard-disk] [OPTION]...\n"
"\n"
"Run N machines (default 1) from the snapshot FILE in the background. They share the\n"
"memory that none of them has written to. Each has its own overlay over the\n"
"snapshot's disk, and a name that ends in -1, -2, ...\n"
"\n"
"  -n N                  how many, 1 to 1000\n"
"  --disk TOP            make the overlays TOP-1, TOP-2, ... (default FILE.NAME-disk)\n"
"  --discard-disk        and remove each when its machine ends\n"
"  --name NAME           machines NAME-1, NAME-2, ... (default: FILE's name)\n"
"\n"
"Options of run as with restore. Ports are forwarded only if --forward says so.\n"
"\n"
"Exit status: 0 all run; else that of the first that does not, and no more are begun.\n",
	.main = clone_main,
};
