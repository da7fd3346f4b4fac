// SPDX-License-Identifier: GPL-2.0
/* vmmd migrate, migrate-cancel and receive. */
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control/client.h"
#include "migrate/address.h"
#include "migrate/migrate.h"
#include "migrate/receive.h"
#include "progress.h"
#include "value.h"
#include "verbs.h"
#include "vm.h"

#define PATIENCE_NS	60000000000ULL	/* of a source that says nothing */
#define BANDWIDTH_MIN	4096
#define BANDWIDTH_MAX	(1ULL << 40)

/* ---- migrate -------------------------------------------------------------- */

static void show_progress(void *owner, json_t *event)
{
	progress_show(owner, json_integer_value(json_object_get(event, "done")) * 4096,
		      json_integer_value(json_object_get(event, "total")) * 4096);
}

static uint64_t number(json_t *result, const char *name)
{
	return json_integer_value(json_object_get(result, name));
}

static double ms(json_t *result, const char *name)
{
	return 1e3 * json_real_value(json_object_get(result, name));
}

static void report(const char *name, const char *to, json_t *result)
{
	uint64_t rate = number(result, "rate");

	if (json_is_true(json_object_get(result, "moved"))) {
		fprintf(stderr, "vmmd: %s runs at %s; it stood still for %.1f ms (%.1f predicted), %" PRIu64 " pages went over in %" PRIu64 " bytes and %" PRIu64 " rounds",
			name, to, ms(result, "paused"), ms(result, "predicted"),
			number(result, "pages"), number(result, "bytes"),
			number(result, "rounds"));
		if (number(result, "disk"))
			fprintf(stderr, ", %" PRIu64 " KiB of them its disk's",
				number(result, "disk") >> 10);
		if (number(result, "throttle"))
			fprintf(stderr, ", it was slowed down by %" PRIu64 " %%",
				number(result, "throttle"));
		fputc('\n', stderr);
		return;
	}
	fprintf(stderr, "vmmd: %s could go to %s: %" PRIu64 " KiB/s, %.1f s for all of its memory; idle it would stand still for %.1f ms\n",
		name, to, rate >> 10, rate ? (double)number(result, "memory") / rate : 0,
		ms(result, "predicted"));
}

/* as the user gave them */
struct given {
	const char *downtime, *bandwidth, *streams, *tls_dir, *disk;
	bool insecure, with_disk, dry_run;
};

static json_t *make_args(const struct verb *verb, const char *to, const struct given *g)
{
	char err[256], *full = NULL;
	uint64_t milliseconds = MIGRATE_DOWNTIME_MS, bytes = 0, streams = 1;
	struct address a;
	json_t *args;

	if ((g->downtime && !verb_number(verb, "--downtime", g->downtime, 1,
					 MIGRATE_DOWNTIME_MAX, &milliseconds)) ||
	    (g->streams && !verb_number(verb, "--streams", g->streams, 1,
					MIGRATE_STREAMS_MAX, &streams)))
		return NULL;
	if (address_parse(&a, to, false, err, sizeof(err)) ||
	    (g->bandwidth && value_size("--bandwidth", g->bandwidth, BANDWIDTH_MIN,
					BANDWIDTH_MAX, &bytes, err, sizeof(err)))) {
		fprintf(stderr, "vmmd: %s\n", err);
		return NULL;
	}
	/* the machine's process may be elsewhere */
	if (g->tls_dir) {
		full = realpath(g->tls_dir, NULL);
		if (!full) {
			perror(g->tls_dir);
			return NULL;
		}
	}
	args = json_pack("{ss sf sI sI sb sb sb ss* ss*}", "to", to, "downtime",
			 milliseconds / 1e3, "bandwidth", (json_int_t)bytes,
			 "streams", (json_int_t)streams, "insecure", g->insecure,
			 "dry_run", g->dry_run, "with_disk", g->with_disk,
			 "tls_dir", full, "disk", g->disk);
	free(full);
	return args;
}

static int migrate_main(const struct verb *verb, int argc, char **argv)
{
	struct given g = { 0 };
	const struct verb_option options[] = {
		{ .name = "downtime", .value = &g.downtime },
		{ .name = "bandwidth", .value = &g.bandwidth },
		{ .name = "streams", .value = &g.streams },
		{ .name = "tls-dir", .value = &g.tls_dir },
		{ .name = "insecure", .flag = &g.insecure },
		{ .name = "dry-run", .flag = &g.dry_run },
		{ .name = "with-disk", .flag = &g.with_disk },
		{ .name = "disk", .value = &g.disk },
		{ 0 },
	};
	const char *name[2];
	struct progress bar = { .what = "memory" };
	char err[1024] = "";
	struct client c;
	json_t *args, *result;
	int ret = verb_options(verb, argc, argv, options, "NAME and ADDRESS", 2, name);

	if (ret >= 0)
		return ret;
	args = make_args(verb, name[1], &g);
	if (!args)
		return VM_EXIT_USAGE;
	if (client_open(&c, name[0], err, sizeof(err))) {
		fprintf(stderr, "vmmd: %s\n", err);
		json_decref(args);
		return VM_EXIT_ERROR;
	}
	result = client_call(&c, "migrate", args, -1, show_progress, &bar, err,
			     sizeof(err));
	client_close(&c);
	progress_end(&bar);
	if (!result) {
		fprintf(stderr, "vmmd: %s: %s\n", name[0], err);
		return VM_EXIT_ERROR;
	}
	report(name[0], name[1], result);
	json_decref(result);
	return VM_EXIT_OK;
}

const struct verb verb_migrate = {
	.name = "migrate",
	.help =
"usage: vmmd migrate NAME ADDRESS [--downtime MS] [--bandwidth B] [--streams N]\n"
"                    [--tls-dir DIR] [--insecure] [--with-disk] [--disk FILE] [--dry-run]\n"
"\n"
"Move the running machine NAME to the vmmd receive that waits at ADDRESS: tcp:HOST,\n"
"tcp:HOST:PORT, unix:PATH, or ssh:HOST, which begins one there. It goes on here until\n"
"it goes on there; Ctrl-C or vmmd migrate-cancel keeps it here. A disk has to be on\n"
"storage that both share, or goes over, too.\n"
"\n"
"  --downtime MS         it stands still for no longer than that, 1 to 60000 (default\n"
"                        300); if that cannot be kept it stays here\n"
"  --bandwidth B         send at most so many bytes a second; suffix K, M or G\n"
"  --streams N           tcp, unix: memory goes by that many connections more, 2 to 16,\n"
"                        each packed by a thread; 1, the default, is one for all\n"
"  --tls-dir DIR         tcp: TLS 1.3 with DIR/ca.pem, cert.pem and key.pem\n"
"  --insecure            tcp: in the clear, even beyond this host\n"
"  --with-disk           the disk goes over, too, to where receive --disk says; the file\n"
"                        that it had stays here, as it was at the end\n"
"  --disk FILE           ssh: the disk's name there, if it is not as here\n"
"  --dry-run             look whether it could go and how fast, and leave it\n"
"\n"
"Exit status: 0, 1 error, 2 usage.\n",
	.main = migrate_main,
};

/* ---- migrate-cancel ------------------------------------------------------- */

const struct verb verb_migrate_cancel = {
	.name = "migrate-cancel",
	.help =
"usage: vmmd migrate-cancel NAME\n"
"\n"
"Give up the migration of the machine NAME, which goes on here, unless it has been\n"
"handed over already.\n",
	.main = verb_ask_main,
};

/* ---- receive -------------------------------------------------------------- */

static int receive_main(const struct verb *verb, int argc, char **argv)
{
	struct channel_opts o = { .wake_fd = -1, .timeout = PATIENCE_NS };
	const char *disk = NULL;
	struct address at;
	char err[512];
	int i, n = 0;

	for (i = 1; i < argc; i++)
		if (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h"))
			return fputs(verb->help, stdout) < 0 || fflush(stdout) ?
			       VM_EXIT_ERROR : VM_EXIT_OK;
	if (argc < 2 || (argv[1][0] == '-' && argv[1][1])) {
		fprintf(stderr, "vmmd: receive wants ADDRESS first, found %s: see vmmd receive --help\n",
			argc < 2 ? "none" : argv[1]);
		return VM_EXIT_USAGE;
	}
	if (address_parse(&at, argv[1], true, err, sizeof(err))) {
		fprintf(stderr, "vmmd: %s\n", err);
		return VM_EXIT_USAGE;
	}
	/* what is ours is taken out; the rest is for run's options */
	for (i = 2; i < argc; i++) {
		if (!strncmp(argv[i], "--tls-dir=", 10))
			o.tls_dir = argv[i] + 10;
		else if (!strcmp(argv[i], "--tls-dir") && i + 1 < argc)
			o.tls_dir = argv[++i];
		else if (!strncmp(argv[i], "--disk=", 7))
			disk = argv[i] + 7;
		else if (!strcmp(argv[i], "--disk") && i + 1 < argc)
			disk = argv[++i];
		else if (!strcmp(argv[i], "--insecure"))
			o.insecure = true;
		else
			argv[2 + n++] = argv[i];
	}
	signal(SIGPIPE, SIG_IGN);
	return receive_vm(&at, &o, disk, n, argv + 2);
}

const struct verb verb_receive = {
	.name = "receive",
	.help =
"usage: vmmd receive ADDRESS [--disk FILE] [--tls-dir DIR] [--insecure] [OPTION]...\n"
"\n"
"Wait at ADDRESS for a machine that is migrated, and run it: tcp:PORT on any address\n"
"as tcp::PORT, tcp:ADDR:PORT, unix:PATH, or - for standard input and output.\n"
"\n"
"  --disk FILE           the machine's disk, which both hosts share, if it is not\n"
"                        where it is at the source; or where one goes that comes with\n"
"                        the machine (--with-disk): a new file, or a block device\n"
"  --tls-dir DIR         tcp: TLS 1.3 with DIR/ca.pem, cert.pem and key.pem; who\n"
"                        comes needs a certificate of that authority\n"
"  --insecure            tcp: in the clear, even beyond this host\n"
"\n"
"Options of run that are of the host's side may be given, too: --name, --net,\n"
"--forward, --console, --detach, --direct, --grace, --on-crash.\n"
"\n"
"Exit status: as that of run.\n",
	.main = receive_main,
};
