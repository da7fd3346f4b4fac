// SPDX-License-Identifier: GPL-2.0
#include <assert.h>
#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <net/if.h>

#include "control/names.h"
#include "cpuid.h"
#include "options.h"
#include "value.h"
#include "virtio/virtio_blk.h"
#include "virtio/virtio_net.h"

#define MAX_FORWARDS	(sizeof(((struct vm_config *)0)->forward) / \
			 sizeof(((struct vm_config *)0)->forward[0]))

static_assert(OPTIONS_QUEUES_MAX == VIRTIO_BLK_QUEUES_MAX &&
	      OPTIONS_QUEUES_MAX == VIRTIO_NET_PAIRS_MAX,
	      "one limit for both, as --help says");

const char options_help[] =
"usage: vmmd run DISK [OPTION]...   run a virtual machine from a disk image\n"
"       vmmd list                   list the running machines\n"
"       vmmd info NAME              tell what one is and does, or what a snapshot has\n"
"       vmmd console NAME           attach to its serial console\n"
"       vmmd pause | resume NAME    hold its CPUs, let them go on\n"
"       vmmd stop NAME              press its power button, wait until it is off\n"
"       vmmd kill NAME              force it off\n"
"       vmmd snapshot NAME FILE     save one while it runs\n"
"       vmmd restore FILE           run what was saved\n"
"       vmmd clone FILE -n N        run it N times\n"
"       vmmd migrate NAME ADDRESS   move it to another vmmd, while it runs\n"
"       vmmd migrate-cancel NAME    keep it here\n"
"       vmmd receive ADDRESS        wait for one that is moved, and run it\n"
"       vmmd features               print the CPU features that a guest can have here\n"
"       vmmd overlay BASE TOP       make a disk that has only what differs from BASE\n"
"       vmmd COMMAND --help         the options of each\n"
"       vmmd --help | help          this text\n"
"       vmmd --version\n"
"\n"
"vmmd is the monitor of the vmm hypervisor: one process per virtual machine.\n"
"See vmmd(1).\n";

const char options_run_help[] =
"usage: vmmd run DISK [OPTION]...\n"
"       vmmd run [DISK] --kernel FILE [OPTION]...\n"
"\n"
"Run a virtual machine from DISK, a raw disk image, a block device or an overlay\n"
"(see vmmd overlay), until it powers itself off. SIGTERM presses its power button.\n"
"\n"
"  --cpus N              virtual CPUs (default 1)\n"
"  --memory SIZE         guest memory, with a suffix K, M, G or T; no suffix:\n"
"                        bytes (default 512M, at least 16M)\n"
"  --balloon SIZE        ask the guest to give back SIZE of its memory while it can\n"
"                        spare it, and what it finds free; 0: only the latter\n"
"                        (default: it keeps what it once touched)\n"
"  --hugepages[=2M|1G]   guest memory in the host's reserved huge pages (default\n"
"                        2M), of which --memory is a multiple\n"
"  --read-only           the guest cannot write to DISK\n"
"  --direct              bypass the host's page cache (O_DIRECT)\n"
"  --disk-queues N       request queues of DISK, 1 to 16 (default: one for each\n"
"                        CPU, up to 8)\n"
"  --no-pv FEATURE[,FEATURE]...\n"
"                        hide paravirtual features from the guest: clock,\n"
"                        steal-time, eoi, unhalt, tlb-flush, ipi, poll, yield,\n"
"                        or all (default: it has all of them)\n"
"  --features FILE       give the guest only those CPU features that FILE names, as\n"
"                        vmmd features prints them on another host\n"
"  --net user            network through this process, no privilege (default)\n"
"  --net tap=NAME        network through the tap interface NAME\n"
"  --net none            no network card\n"
"  --net-queues N        pairs of queues with --net tap=NAME, 1 to 16, which NAME\n"
"                        must have been made for (default: one for each CPU, up\n"
"                        to 8, or a single one)\n"
"  --mac ADDRESS         address of the network card (default: made from the name)\n"
"  --net-vhost auto      the host's kernel moves the frames of --net tap=NAME by\n"
"                        itself if /dev/vhost-net can be opened (default)\n"
"  --net-vhost on        it must; off: frames pass through this process\n"
"  --forward PROTO:HOST:GUEST\n"
"                        with --net user: connections to port HOST of 127.0.0.1\n"
"                        go to port GUEST of the guest; PROTO is tcp or udp; may\n"
"                        be given 16 times; none: forget those before\n"
"  --ring split          virtqueues have split rings (default)\n"
"  --ring packed         the guest may choose packed rings\n"
"  --console stdio       serial console on this terminal; Ctrl-A x ends the\n"
"                        machine (default)\n"
"  --console socket=PATH serial console on a Unix socket\n"
"  --console file=PATH   serial console's output into a file\n"
"  --console none        no serial console but that of vmmd console NAME\n"
"  --kernel FILE         start this Linux kernel (a bzImage) without firmware; DISK\n"
"                        may be left out then\n"
"  --initrd FILE         its initial RAM file system\n"
"  --append TEXT         its command line (default " OPTIONS_APPEND ")\n"
"  --firmware FILE       BIOS image (default " OPTIONS_FIRMWARE ")\n"
"  --firmware-log FILE   what the firmware says on port 0x402, into a file; -:\n"
"                        standard error\n"
"  --detach              go on in the background once the guest runs; no console then\n"
"                        but that of vmmd console NAME, unless --console gives one\n"
"  --name NAME           name of the machine for vmmd list and others, which no other\n"
"                        running one has (default: DISK's file name)\n"
"  --grace SECONDS       time to power off after SIGTERM (default 30); 0: none\n"
"  --on-crash reset      a triple fault resets the machine (default)\n"
"  --on-crash exit       a triple fault ends the machine\n"
"  --help                this text\n"
"\n"
"Exit status: 0 the guest powered off, 1 error, 2 usage, 3 the guest crashed,\n"
"4 it was forced off.\n";

struct parse {
	struct vm_options *opt;
	char *err;
	size_t errlen;
	bool console_given;
};

static int __attribute__((format(printf, 2, 3)))
bad(struct parse *p, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(p->err, p->errlen, fmt, ap);
	va_end(ap);
	return -EINVAL;
}

static int parse_cpus(struct parse *p, const char *s)
{
	uint64_t n;

	if (!value_number(s, strlen(s), 1, OPTIONS_CPUS_MAX, &n))
		return bad(p, "--cpus wants a number from 1 to %d, found '%s'",
			   OPTIONS_CPUS_MAX, s);
	p->opt->config.cpus = n;
	return 0;
}

static int parse_queues(struct parse *p, const char *name, const char *s,
			unsigned int *out)
{
	uint64_t n;

	if (!value_number(s, strlen(s), 1, OPTIONS_QUEUES_MAX, &n))
		return bad(p, "%s wants a number from 1 to %d, found '%s'",
			   name, OPTIONS_QUEUES_MAX, s);
	*out = n;
	return 0;
}

static int parse_disk_queues(struct parse *p, const char *s)
{
	return parse_queues(p, "--disk-queues", s, &p->opt->config.disk_queues);
}

static int parse_net_queues(struct parse *p, const char *s)
{
	return parse_queues(p, "--net-queues", s, &p->opt->config.net_queues);
}

/* bytes, from min to OPTIONS_MEMORY_MAX, in whole pages */
static int parse_size(struct parse *p, const char *name, const char *s,
		      uint64_t min, uint64_t *out)
{
	int ret = value_size(name, s, min, OPTIONS_MEMORY_MAX, out, p->err,
			     p->errlen);

	if (!ret && *out % 4096)
		ret = bad(p, "%s wants a multiple of 4096 bytes, found '%s': round it to %llu",
			  name, s, (unsigned long long)(*out & ~4095ULL));
	return ret;
}

static int parse_memory(struct parse *p, const char *s)
{
	return parse_size(p, "--memory", s, OPTIONS_MEMORY_MIN,
			  &p->opt->config.memory);
}

static int parse_balloon(struct parse *p, const char *s)
{
	p->opt->config.has_balloon = true;
	return parse_size(p, "--balloon", s, 0, &p->opt->config.balloon);
}

static int parse_no_pv(struct parse *p, const char *s)
{
	uint32_t bits;
	size_t len;

	p->opt->no_pv = 0;
	for (;; s += len + 1) {
		len = strcspn(s, ",");
		bits = cpuid_pv_feature(s, len);
		if (!bits)
			return bad(p, "--no-pv wants clock, steal-time, eoi, unhalt, tlb-flush, ipi, poll, yield or all, found '%.*s'",
				   (int)len, s);
		p->opt->no_pv |= bits;
		if (!s[len])
			return 0;
	}
}

static int parse_hugepages(struct parse *p, const char *s)
{
	if (!s || !strcmp(s, "2M"))
		p->opt->config.hugepages = 2ULL << 20;
	else if (!strcmp(s, "1G"))
		p->opt->config.hugepages = 1ULL << 30;
	else
		return bad(p, "--hugepages wants =2M, =1G or nothing, found '%s'", s);
	return 0;
}

static int parse_net(struct parse *p, const char *s)
{
	struct vm_config *c = &p->opt->config;

	if (!strcmp(s, "user")) {
		c->net = NET_USER;
	} else if (!strcmp(s, "none")) {
		c->net = NET_NONE;
	} else if (!strncmp(s, "tap=", 4)) {
		if (!s[4] || strlen(s + 4) >= IFNAMSIZ || strchr(s + 4, '/'))
			return bad(p, "--net tap=NAME wants an interface name of 1 to %d characters, found '%s'",
				   IFNAMSIZ - 1, s + 4);
		c->net = NET_TAP;
		c->tap = s + 4;
	} else {
		return bad(p, "--net wants user, tap=NAME or none, found '%s'", s);
	}
	return 0;
}

/* of one station: bit 0 of the first byte clear (IEEE 802, 8.2.2) */
static int parse_mac(struct parse *p, const char *s)
{
	struct vm_config *c = &p->opt->config;
	unsigned int m[6], i;
	int end = 0;

	if (sscanf(s, "%2x:%2x:%2x:%2x:%2x:%2x%n", &m[0], &m[1], &m[2], &m[3],
		   &m[4], &m[5], &end) != 6 || s[end] || end != 17 || m[0] & 1)
		return bad(p, "--mac wants the address of a network card such as 52:54:00:12:34:56, found '%s'",
			   s);
	for (i = 0; i < 6; i++)
		c->mac[i] = m[i];
	c->has_mac = true;
	return 0;
}

static int parse_net_vhost(struct parse *p, const char *s)
{
	struct vm_config *c = &p->opt->config;

	if (!strcmp(s, "auto"))
		c->net_vhost = NET_VHOST_AUTO;
	else if (!strcmp(s, "on"))
		c->net_vhost = NET_VHOST_ON;
	else if (!strcmp(s, "off"))
		c->net_vhost = NET_VHOST_OFF;
	else
		return bad(p, "--net-vhost wants auto, on or off, found '%s'", s);
	return 0;
}

static int parse_forward(struct parse *p, const char *s)
{
	struct vm_config *c = &p->opt->config;
	struct net_forward f = { 0 };
	const char *host, *guest;
	uint64_t h, g;
	unsigned int i;

	if (!strcmp(s, "none")) {
		c->nforward = 0;
		return 0;
	}
	host = strchr(s, ':');
	guest = host ? strchr(host + 1, ':') : NULL;
	if (!guest || (strncmp(s, "tcp:", 4) && strncmp(s, "udp:", 4)) ||
	    !value_number(host + 1, guest - host - 1, 1, 65535, &h) ||
	    !value_number(guest + 1, strlen(guest + 1), 1, 65535, &g))
		return bad(p, "--forward wants tcp:HOST:GUEST, udp:HOST:GUEST or none, with port numbers from 1 to 65535, found '%s'",
			   s);
	f.udp = *s == 'u';
	f.host_port = h;
	f.guest_port = g;
	for (i = 0; i < c->nforward; i++)
		if (c->forward[i].udp == f.udp &&
		    c->forward[i].host_port == f.host_port)
			return bad(p, "--forward wants each host port once, found %.3s port %u again: choose another",
				   s, f.host_port);
	if (c->nforward == MAX_FORWARDS)
		return bad(p, "--forward may be given %zu times, found '%s' beyond that",
			   MAX_FORWARDS, s);
	c->forward[c->nforward++] = f;
	return 0;
}

static int parse_ring(struct parse *p, const char *s)
{
	if (!strcmp(s, "split"))
		p->opt->config.packed_rings = false;
	else if (!strcmp(s, "packed"))
		p->opt->config.packed_rings = true;
	else
		return bad(p, "--ring wants split or packed, found '%s'", s);
	return 0;
}

static int parse_console(struct parse *p, const char *s)
{
	struct vm_config *c = &p->opt->config;
	const size_t max = sizeof(((struct sockaddr_un *)0)->sun_path) - 1;

	c->console_path = NULL;
	p->console_given = true;
	if (!strcmp(s, "stdio")) {
		c->console = CONSOLE_STDIO;
		return 0;
	}
	if (!strcmp(s, "none")) {
		c->console = CONSOLE_NONE;
		return 0;
	}
	if (!strncmp(s, "socket=", 7) && s[7]) {
		if (strlen(s + 7) > max)
			return bad(p, "--console socket=PATH wants at most %zu characters, found %zu: give a shorter path",
				   max, strlen(s + 7));
		c->console = CONSOLE_SOCKET;
		c->console_path = s + 7;
		return 0;
	}
	if (!strncmp(s, "file=", 5) && s[5]) {
		c->console = CONSOLE_FILE;
		c->console_path = s + 5;
		return 0;
	}
	return bad(p, "--console wants stdio, socket=PATH, file=PATH or none, found '%s'",
		   s);
}

static int parse_name(struct parse *p, const char *s)
{
	if (!names_valid(s))
		return bad(p, "--name wants " NAMES_RULE ", found '%s'", s);
	p->opt->config.name = s;
	return 0;
}

static int parse_grace(struct parse *p, const char *s)
{
	uint64_t n;

	if (!value_number(s, strlen(s), 0, OPTIONS_GRACE_MAX, &n))
		return bad(p, "--grace wants seconds from 0 to %d, found '%s'",
			   OPTIONS_GRACE_MAX, s);
	p->opt->grace = n;
	return 0;
}

static int parse_on_crash(struct parse *p, const char *s)
{
	if (!strcmp(s, "reset"))
		p->opt->on_crash = ON_CRASH_RESET;
	else if (!strcmp(s, "exit"))
		p->opt->on_crash = ON_CRASH_EXIT;
	else
		return bad(p, "--on-crash wants reset or exit, found '%s'", s);
	return 0;
}

static int parse_file(struct parse *p, const char *option, const char *s, const char **to)
{
	if (!*s)
		return bad(p, "%s wants a file, found nothing", option);
	*to = s;
	return 0;
}

static int parse_features(struct parse *p, const char *s)
{
	return parse_file(p, "--features", s, &p->opt->features);
}

static int parse_firmware(struct parse *p, const char *s)
{
	return parse_file(p, "--firmware", s, &p->opt->config.firmware);
}

static int parse_kernel(struct parse *p, const char *s)
{
	return parse_file(p, "--kernel", s, &p->opt->config.kernel);
}

static int parse_initrd(struct parse *p, const char *s)
{
	return parse_file(p, "--initrd", s, &p->opt->config.initrd);
}

static int parse_append(struct parse *p, const char *s)
{
	p->opt->config.append = s;
	return 0;
}

static int parse_firmware_log(struct parse *p, const char *s)
{
	if (!*s)
		return bad(p, "--firmware-log wants a file or -, found nothing");
	p->opt->config.firmware_log = s;
	return 0;
}

/* options with a value: getopt_long returns VALUED + the index */
static const struct {
	const char *name;
	int (*parse)(struct parse *p, const char *s);
} valued[] = {
	{ "cpus",	parse_cpus },
	{ "memory",	parse_memory },
	{ "balloon",	parse_balloon },
	{ "disk-queues", parse_disk_queues },
	{ "no-pv",	parse_no_pv },
	{ "features",	parse_features },
	{ "net",	parse_net },
	{ "net-queues",	parse_net_queues },
	{ "mac",	parse_mac },
	{ "net-vhost",	parse_net_vhost },
	{ "forward",	parse_forward },
	{ "ring",	parse_ring },
	{ "console",	parse_console },
	{ "kernel",	parse_kernel },
	{ "initrd",	parse_initrd },
	{ "append",	parse_append },
	{ "firmware",	parse_firmware },
	{ "firmware-log", parse_firmware_log },
	{ "name",	parse_name },
	{ "grace",	parse_grace },
	{ "on-crash",	parse_on_crash },
};

#define NVALUED	(sizeof(valued) / sizeof(valued[0]))
#define VALUED	256		/* above every character */

enum { FLAG_HELP = VALUED + NVALUED, FLAG_READ_ONLY, FLAG_DIRECT, FLAG_HUGEPAGES, FLAG_DETACH };

static void long_options(struct option *lo)
{
	static const struct option flags[] = {
		{ "help",	no_argument, NULL, FLAG_HELP },
		{ "read-only",	no_argument, NULL, FLAG_READ_ONLY },
		{ "direct",	no_argument, NULL, FLAG_DIRECT },
		{ "hugepages",	optional_argument, NULL, FLAG_HUGEPAGES },
		{ "detach",	no_argument, NULL, FLAG_DETACH },
		{ 0 },
	};
	size_t i;

	for (i = 0; i < NVALUED; i++)
		*lo++ = (struct option){
			valued[i].name, required_argument, NULL, VALUED + i,
		};
	memcpy(lo, flags, sizeof(flags));
}

/* what all options together must fulfil */
static int check_whole(struct parse *p, int ndisks, char **disks)
{
	struct vm_config *c = &p->opt->config;
	const char *slash;

	if (ndisks < 1 && !c->kernel)
		return bad(p, "run wants a DISK, found none: vmmd run DISK [OPTION]...");
	if (ndisks > 1)
		return bad(p, "run wants one DISK, found '%s' and '%s'",
			   disks[0], disks[1]);
	if (ndisks && !*disks[0])
		return bad(p, "run wants a DISK, found an empty name");
	if (c->balloon >= c->memory)
		return bad(p, "--balloon wants less than --memory, found %llu of %llu bytes: leave the guest some",
			   (unsigned long long)c->balloon,
			   (unsigned long long)c->memory);
	if (!ndisks && c->disk_queues)
		return bad(p, "--disk-queues wants a DISK, found none: leave it out");
	if (c->hugepages && c->has_balloon)
		return bad(p, "--balloon wants memory that can be given back, found --hugepages: leave one of the two out");
	if (c->hugepages && c->memory % c->hugepages)
		return bad(p, "--hugepages=%s wants --memory to be a multiple of that, found %llu MiB: round it",
			   c->hugepages >> 30 ? "1G" : "2M",
			   (unsigned long long)c->memory >> 20);
	if (c->nforward && c->net != NET_USER)
		return bad(p, "--forward wants --net user, found another --net: leave one of the two out");
	if (c->net_queues > 1 && c->net != NET_TAP)
		return bad(p, "--net-queues %u wants --net tap=NAME, found another --net: leave one of the two out",
			   c->net_queues);
	if (c->net_vhost == NET_VHOST_ON && c->net != NET_TAP)
		return bad(p, "--net-vhost on wants --net tap=NAME, found another --net: leave one of the two out");
	if (c->net_vhost == NET_VHOST_ON && c->packed_rings)
		return bad(p, "--net-vhost on wants --ring split, found packed, which the host's vhost-net does not know: leave one of the two out");
	if (c->kernel && c->firmware)
		return bad(p, "--kernel starts without firmware, found --firmware too: leave one of the two out");
	if (!c->kernel && (c->initrd || c->append))
		return bad(p, "%s goes with --kernel, found none: add it",
			   c->initrd ? "--initrd" : "--append");
	if (p->opt->detach && c->console == CONSOLE_STDIO) {
		if (p->console_given)
			return bad(p, "--detach leaves the terminal, found --console stdio: give socket=PATH, file=PATH or none");
		c->console = CONSOLE_NONE;
	}
	if (!c->firmware)
		c->firmware = OPTIONS_FIRMWARE;
	if (!c->append)
		c->append = OPTIONS_APPEND;
	c->disk = ndisks ? disks[0] : NULL;
	if (!c->name) {
		const char *path = c->disk ? c->disk : c->kernel;

		slash = strrchr(path, '/');
		c->name = slash && slash[1] ? slash + 1 : path;
	}
	return 0;
}

static int parse_run(struct parse *p, int argc, char **argv, bool *help)
{
	struct option lo[NVALUED + 6];
	int c, ret;

	long_options(lo);
	opterr = 0;
	optind = 0;		/* GNU: start anew, also with the permutation */
	while ((c = getopt_long(argc, argv, ":h", lo, NULL)) != -1) {
		switch (c) {
		case 'h':
		case FLAG_HELP:
			*help = true;
			return 0;
		case FLAG_READ_ONLY:
			p->opt->config.disk_read_only = true;
			break;
		case FLAG_DIRECT:
			p->opt->config.disk_direct = true;
			break;
		case FLAG_DETACH:
			p->opt->detach = true;
			break;
		case FLAG_HUGEPAGES:
			ret = parse_hugepages(p, optarg);
			if (ret)
				return ret;
			break;
		case ':':
			return bad(p, "%s wants a value, found none", argv[optind - 1]);
		case '?':
			if (optopt > 0 && optopt < VALUED)
				return bad(p, "unknown option '-%c': see vmmd run --help",
					   optopt);
			return bad(p, "%s option '%s': see vmmd run --help",
				   optopt ? "no value is wanted by" : "unknown",
				   argv[optind - 1]);
		default:
			ret = valued[c - VALUED].parse(p, optarg);
			if (ret)
				return ret;
		}
	}
	return check_whole(p, argc - optind, argv + optind);
}

static bool is_one_of(const char *s, const char *a, const char *b, const char *c)
{
	return !strcmp(s, a) || !strcmp(s, b) || !strcmp(s, c);
}

enum options_verdict options_parse(int argc, char **argv,
				   struct vm_options *opt, char *err,
				   size_t errlen)
{
	struct parse p = { .opt = opt, .err = err, .errlen = errlen };
	bool help = false;

	*opt = (struct vm_options){
		.config = {
			.cpus = 1,
			.memory = OPTIONS_MEMORY,
			.net = NET_USER,
			.console = CONSOLE_STDIO,
		},
		.grace = OPTIONS_GRACE,
		.on_crash = ON_CRASH_RESET,
	};
	if (argc < 2) {
		bad(&p, "a command is wanted, found none: vmmd run DISK, or vmmd --help");
		return OPTIONS_BAD;
	}
	if (is_one_of(argv[1], "--help", "-h", "help"))
		return argc > 2 && !strcmp(argv[2], "run") ? OPTIONS_RUN_HELP :
							     OPTIONS_HELP;
	if (is_one_of(argv[1], "--version", "-V", "version"))
		return OPTIONS_VERSION;
	if (strcmp(argv[1], "run")) {
		bad(&p, "there is no command '%s': see vmmd --help",
		    argv[1]);
		return OPTIONS_BAD;
	}
	if (parse_run(&p, argc - 1, argv + 1, &help))
		return OPTIONS_BAD;
	return help ? OPTIONS_RUN_HELP : OPTIONS_RUN;
}
