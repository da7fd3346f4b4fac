// SPDX-License-Identifier: GPL-2.0
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "options.h"

#define MAX_ARGS	40

static struct vm_options opt;
static char err[512];
static char *line;

/* parse a command line given as one string */
static enum options_verdict parse(const char *args)
{
	char *argv[MAX_ARGS + 1] = { NULL }, *save, *w;
	int argc = 0;

	free(line);
	line = strdup(args);
	for (w = strtok_r(line, " ", &save); w; w = strtok_r(NULL, " ", &save)) {
		assert_true(argc < MAX_ARGS);
		argv[argc++] = strcmp(w, "''") ? w : w + 2;
	}
	memset(err, 0, sizeof(err));
	return options_parse(argc, argv, &opt, err, sizeof(err));
}

static void test_defaults(void **state)
{
	const struct vm_config *c = &opt.config;

	(void)state;
	assert_int_equal(parse("vmmd run /a/b.img"), OPTIONS_RUN);
	assert_string_equal(c->disk, "/a/b.img");
	assert_string_equal(c->name, "b.img");
	assert_int_equal(c->cpus, 1);
	assert_int_equal(c->memory, 512 << 20);
	assert_int_equal(c->net, NET_USER);
	assert_int_equal(c->nforward, 0);
	assert_int_equal(c->console, CONSOLE_STDIO);
	assert_false(c->disk_read_only);
	assert_false(c->disk_direct);
	assert_false(c->has_balloon);
	assert_int_equal(c->disk_queues, 0);
	assert_int_equal(c->net_queues, 0);
	assert_false(c->packed_rings);
	assert_non_null(c->firmware);
	assert_int_equal(opt.grace, 30);
	assert_int_equal(opt.on_crash, ON_CRASH_RESET);
	assert_int_equal(opt.no_pv, 0);
}

static void test_everything(void **state)
{
	const struct vm_config *c = &opt.config;

	(void)state;
	/* options before and after the disk, both spellings of a value */
	assert_int_equal(parse("vmmd run --cpus 4 --memory=2G d --net user "
			       "--forward tcp:1:1 --forward none "
			       "--forward tcp:2222:22 --forward udp:2222:53 "
			       "--console socket=/tmp/s --firmware f --firmware-log l "
			       "--name a.b-c_9 --ring packed --disk-queues 3 "
			       "--balloon 1G "
			       "--read-only --direct --grace 5 --on-crash exit"),
			 OPTIONS_RUN);
	assert_string_equal(c->disk, "d");
	assert_int_equal(c->cpus, 4);
	assert_true(c->memory == 2ULL << 30);
	assert_int_equal(c->nforward, 2);
	assert_false(c->forward[0].udp);
	assert_int_equal(c->forward[0].host_port, 2222);
	assert_int_equal(c->forward[0].guest_port, 22);
	assert_true(c->forward[1].udp);
	assert_int_equal(c->console, CONSOLE_SOCKET);
	assert_string_equal(c->console_path, "/tmp/s");
	assert_string_equal(c->firmware, "f");
	assert_string_equal(c->firmware_log, "l");
	assert_string_equal(c->name, "a.b-c_9");
	assert_true(c->disk_read_only);
	assert_true(c->disk_direct);
	assert_int_equal(c->disk_queues, 3);
	assert_true(c->has_balloon);
	assert_true(c->balloon == 1ULL << 30);
	assert_true(c->packed_rings);
	assert_int_equal(opt.grace, 5);
	assert_int_equal(opt.on_crash, ON_CRASH_EXIT);

	assert_int_equal(parse("vmmd run d --net tap=tap0 --net-queues 16 "
			       "--console file=log"),
			 OPTIONS_RUN);
	assert_int_equal(c->net, NET_TAP);
	assert_int_equal(c->net_queues, 16);
	assert_string_equal(c->tap, "tap0");
	assert_int_equal(c->net_vhost, NET_VHOST_AUTO);
	assert_int_equal(c->console, CONSOLE_FILE);
	assert_int_equal(parse("vmmd run d --console none"), OPTIONS_RUN);
	assert_int_equal(c->console, CONSOLE_NONE);
	assert_false(opt.detach);
	assert_int_equal(parse("vmmd run d --detach"), OPTIONS_RUN);
	assert_true(opt.detach);
	assert_int_equal(c->console, CONSOLE_NONE);
	assert_int_equal(parse("vmmd run d --detach --console file=x"), OPTIONS_RUN);
	assert_int_equal(c->console, CONSOLE_FILE);
	assert_int_equal(parse("vmmd run d --net tap=tap0 --net-vhost on"), OPTIONS_RUN);
	assert_int_equal(c->net_vhost, NET_VHOST_ON);
	assert_int_equal(parse("vmmd run d --net-vhost on --net-vhost off"), OPTIONS_RUN);
	assert_int_equal(c->net_vhost, NET_VHOST_OFF);
	assert_int_equal(parse("vmmd run d --net-vhost auto"), OPTIONS_RUN);
	assert_int_equal(c->net_vhost, NET_VHOST_AUTO);
	assert_int_equal(parse("vmmd run --net none -- -disk-"), OPTIONS_RUN);
	assert_string_equal(c->disk, "-disk-");
	assert_int_equal(parse("vmmd run d --balloon 0"), OPTIONS_RUN);
	assert_true(c->has_balloon);
	assert_int_equal(c->balloon, 0);
	/* the last one counts */
	assert_int_equal(parse("vmmd run d --cpus 2 --cpus 3"), OPTIONS_RUN);
	assert_int_equal(c->cpus, 3);
	assert_int_equal(parse("vmmd run d --no-pv eoi,steal-time"), OPTIONS_RUN);
	assert_int_equal(opt.no_pv, 3 << 5);
	assert_int_equal(parse("vmmd run d --no-pv all --no-pv yield"), OPTIONS_RUN);
	assert_int_equal(opt.no_pv, 1 << 13);
}

static void test_hugepages(void **state)
{
	assert_int_equal(parse("vmmd run d"), OPTIONS_RUN);
	assert_true(opt.config.hugepages == 0);
	assert_int_equal(parse("vmmd run --hugepages d"), OPTIONS_RUN);
	assert_true(opt.config.hugepages == 2ULL << 20);
	assert_int_equal(parse("vmmd run d --hugepages=2M --memory 18M"), OPTIONS_RUN);
	assert_true(opt.config.hugepages == 2ULL << 20);
	assert_int_equal(parse("vmmd run d --hugepages=1G --memory 2G"), OPTIONS_RUN);
	assert_true(opt.config.hugepages == 1ULL << 30);
}

static void test_memory(void **state)
{
	static const struct {
		const char *arg;
		uint64_t bytes;
	} t[] = {
		{ "16M", 16 << 20 }, { "16777216", 16 << 20 },
		{ "16384K", 16 << 20 }, { "16m", 16 << 20 }, { "1GiB", 1 << 30 },
		{ "3g", 3ULL << 30 }, { "1T", 1ULL << 40 },
		{ "20004K", 20004 << 10 }, { "64T", 64ULL << 40 },
	};
	char args[64];
	unsigned int i;

	(void)state;
	for (i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		snprintf(args, sizeof(args), "vmmd run d --memory %s", t[i].arg);
		assert_int_equal(parse(args), OPTIONS_RUN);
		assert_true(opt.config.memory == t[i].bytes);
	}
}

static void test_help(void **state)
{
	(void)state;
	assert_int_equal(parse("vmmd --help"), OPTIONS_HELP);
	assert_int_equal(parse("vmmd -h"), OPTIONS_HELP);
	assert_int_equal(parse("vmmd help"), OPTIONS_HELP);
	assert_int_equal(parse("vmmd help run"), OPTIONS_RUN_HELP);
	assert_int_equal(parse("vmmd run --help"), OPTIONS_RUN_HELP);
	assert_int_equal(parse("vmmd run d --cpus 2 --help"), OPTIONS_RUN_HELP);
	assert_int_equal(parse("vmmd --version"), OPTIONS_VERSION);
	assert_non_null(strstr(options_run_help, OPTIONS_FIRMWARE));
}

/* each is refused with one line that has these words */
static void test_refusals(void **state)
{
	static const struct {
		const char *args, *says[2];
	} t[] = {
		{ "vmmd", { "command", "run" } },
		{ "vmmd boot", { "'boot'" } },
		{ "vmmd run", { "DISK" } },
		{ "vmmd run ''", { "DISK" } },
		{ "vmmd run a b", { "'a'", "'b'" } },
		{ "vmmd run d --bogus", { "--bogus", "--help" } },
		{ "vmmd run d --bogus=1", { "--bogus=1", "--help" } },
		{ "vmmd run d -x", { "-x", "--help" } },
		{ "vmmd run d --direct=yes", { "--direct" } },
		{ "vmmd run d --hugepages --balloon 0", { "--balloon", "--hugepages" } },
		{ "vmmd run d --hugepages=4M", { "2M", "'4M'" } },
		{ "vmmd run d --hugepages=", { "2M", "''" } },
		{ "vmmd run d --hugepages --memory 513K", { "16M" } },
		{ "vmmd run d --hugepages=2M --memory 17M", { "2M", "17 MiB" } },
		{ "vmmd run d --hugepages=1G --memory 1536M", { "1G", "1536 MiB" } },
		{ "vmmd run d --cpus", { "--cpus", "value" } },
		{ "vmmd run d --cpus 0", { "from 1 to 64", "'0'" } },
		{ "vmmd run d --cpus 65", { "'65'" } },
		{ "vmmd run d --cpus 2x", { "'2x'" } },
		{ "vmmd run d --cpus -1", { "'-1'" } },
		{ "vmmd run d --cpus ''", { "''" } },
		{ "vmmd run d --cpus 18446744073709551617", { "--cpus" } },
		{ "vmmd run d --disk-queues 0", { "1 to 16", "'0'" } },
		{ "vmmd run --kernel k --disk-queues 2", { "--disk-queues", "DISK" } },
		{ "vmmd run d --disk-queues 17", { "--disk-queues", "'17'" } },
		{ "vmmd run d --net tap=t --net-queues 0", { "1 to 16", "'0'" } },
		{ "vmmd run d --net tap=t --net-queues x", { "--net-queues" } },
		{ "vmmd run d --net-queues 2", { "tap=NAME", "2" } },
		{ "vmmd run d --net-vhost maybe", { "auto, on or off", "'maybe'" } },
		{ "vmmd run d --net-vhost on", { "--net-vhost", "tap=NAME" } },
		{ "vmmd run d --net tap=t --ring packed --net-vhost on",
		  { "--net-vhost", "--ring split" } },
		{ "vmmd run d --memory 512", { "16M", "bytes" } },
		{ "vmmd run d --memory 15M", { "16M" } },
		{ "vmmd run d --memory M", { "'M'" } },
		{ "vmmd run d --memory 16X", { "'16X'" } },
		{ "vmmd run d --memory 16MB", { "'16MB'" } },
		{ "vmmd run d --memory -16M", { "'-16M'" } },
		{ "vmmd run d --memory 16.5M", { "'16.5M'" } },
		{ "vmmd run d --memory 16777217", { "4096", "16777216" } },
		{ "vmmd run d --balloon 512M", { "--memory", "536870912" } },
		{ "vmmd run d --memory 64M --balloon 1G", { "--balloon" } },
		{ "vmmd run d --balloon much", { "--balloon", "'much'" } },
		{ "vmmd run d --balloon 4095", { "4096", "to 0" } },
		{ "vmmd run d --memory 65T", { "64T" } },
		{ "vmmd run d --memory 18446744073709551616T", { "--memory" } },
		{ "vmmd run d --memory 99999999T", { "--memory" } },
		{ "vmmd run d --no-pv ''", { "steal-time", "''" } },
		{ "vmmd run d --no-pv eoi,", { "steal-time", "''" } },
		{ "vmmd run d --no-pv eoi,steal", { "steal-time", "'steal'" } },
		{ "vmmd run d --no-pv eoi,eois,ipi", { "steal-time", "'eois'" } },
		{ "vmmd run d --net bridge", { "tap=NAME", "'bridge'" } },
		{ "vmmd run d --net tap=", { "interface name" } },
		{ "vmmd run d --net tap=0123456789abcdef", { "interface name" } },
		{ "vmmd run d --net tap=a/b", { "interface name" } },
		{ "vmmd run d --forward 80:80", { "tcp:HOST:GUEST" } },
		{ "vmmd run d --forward tcp:80", { "tcp:HOST:GUEST" } },
		{ "vmmd run d --forward sctp:80:80", { "tcp:HOST:GUEST" } },
		{ "vmmd run d --forward tcp:0:80", { "1 to 65535" } },
		{ "vmmd run d --forward tcp:80:65536", { "1 to 65535" } },
		{ "vmmd run d --forward tcp:80:80:80", { "1 to 65535" } },
		{ "vmmd run d --forward tcp::80", { "1 to 65535" } },
		{ "vmmd run d --forward tcp:80:1 --forward tcp:80:2", { "once" } },
		{ "vmmd run d --forward tcp:80:80 --net none", { "--net user" } },
		{ "vmmd run d --ring twisted", { "packed", "'twisted'" } },
		{ "vmmd run d --console tty", { "'tty'" } },
		{ "vmmd run d --console stdio --detach", { "--detach", "--console" } },
		{ "vmmd run d --console file=", { "'file='" } },
		{ "vmmd run d --console socket=", { "'socket='" } },
		{ "vmmd run d --name a/b", { "--name" } },
		{ "vmmd run d --name ''", { "--name" } },
		{ "vmmd run d --firmware ''", { "--firmware" } },
		{ "vmmd run --kernel ''", { "--kernel" } },
		{ "vmmd run --kernel k --initrd ''", { "--initrd" } },
		{ "vmmd run --kernel k --firmware f", { "--kernel", "--firmware" } },
		{ "vmmd run d --initrd i", { "--initrd", "--kernel" } },
		{ "vmmd run d --append a", { "--append", "--kernel" } },
		{ "vmmd run --append a", { "DISK" } },
		{ "vmmd run d --firmware-log ''", { "--firmware-log" } },
		{ "vmmd run d --grace x", { "'x'" } },
		{ "vmmd run d --grace 86401", { "86400" } },
		{ "vmmd run d --on-crash die", { "'die'" } },
	};
	unsigned int i, j;

	(void)state;
	for (i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		if (parse(t[i].args) != OPTIONS_BAD)
			fail_msg("taken: %s", t[i].args);
		for (j = 0; j < 2 && t[i].says[j]; j++)
			if (!strstr(err, t[i].says[j]))
				fail_msg("%s: '%s' does not say %s", t[i].args,
					 err, t[i].says[j]);
		assert_null(strchr(err, '\n'));
	}
}

static void test_kernel(void **state)
{
	const struct vm_config *c = &opt.config;

	(void)state;
	assert_int_equal(parse("vmmd run --kernel /boot/vmlinuz"), OPTIONS_RUN);
	assert_null(c->disk);
	assert_null(c->initrd);
	assert_string_equal(c->name, "vmlinuz");
	assert_string_equal(c->append, "console=ttyS0");
	assert_int_equal(parse("vmmd run d --kernel k --initrd i --append ''"),
			 OPTIONS_RUN);
	assert_string_equal(c->disk, "d");
	assert_string_equal(c->name, "d");
	assert_string_equal(c->initrd, "i");
	assert_string_equal(c->append, "");
}

static void test_long_values(void **state)
{
	char args[400];

	(void)state;
	snprintf(args, sizeof(args), "vmmd run d --console socket=%0107d", 0);
	assert_int_equal(parse(args), OPTIONS_RUN);
	snprintf(args, sizeof(args), "vmmd run d --console socket=%0108d", 0);
	assert_int_equal(parse(args), OPTIONS_BAD);
	snprintf(args, sizeof(args), "vmmd run d --name %064d", 0);
	assert_int_equal(parse(args), OPTIONS_RUN);
	snprintf(args, sizeof(args), "vmmd run d --name %065d", 0);
	assert_int_equal(parse(args), OPTIONS_BAD);
}

static void test_many_forwards(void **state)
{
	char args[1024] = "vmmd run d", more[32];
	int i;

	(void)state;
	for (i = 1; i <= 17; i++) {
		snprintf(more, sizeof(more), " --forward=tcp:%d:1", i);
		strcat(args, more);
		assert_int_equal(parse(args), i <= 16 ? OPTIONS_RUN : OPTIONS_BAD);
	}
	assert_non_null(strstr(err, "16"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_defaults), cmocka_unit_test(test_everything),
		cmocka_unit_test(test_memory), cmocka_unit_test(test_hugepages),
		cmocka_unit_test(test_help),
		cmocka_unit_test(test_refusals), cmocka_unit_test(test_long_values),
		cmocka_unit_test(test_many_forwards), cmocka_unit_test(test_kernel),
	};
	int failed = cmocka_run_group_tests_name("options", tests, NULL, NULL);

	free(line);
	return failed;
}
