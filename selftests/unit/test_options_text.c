// SPDX-License-Identifier: GPL-2.0
/*
 * Options as text for another vmmd. The parser's source is part of this test, for
 * its tables of what there is.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <unistd.h>

#include "options.c"
#include "options_text.h"

#define MAX_ARGS	60

/* of this host's side: they say nothing of the machine, or are elsewhere in a state */
static const char *const host_side[] = {
	"help",
	"no-pv", "features",	/* "cpuid" has what came of it */
	"firmware",		/* "firmware" has it all */
	"console", "firmware-log", "detach", "net-vhost",
};

static char args[8192], err[512], text[8192];
static size_t text_len;

static enum options_verdict parse_words(const char *words, struct vm_options *opt)
{
	char *argv[MAX_ARGS + 1] = { NULL }, *save, *w;
	int argc = 0;

	strcpy(args, words);
	for (w = strtok_r(args, " ", &save); w; w = strtok_r(NULL, " ", &save))
		argv[argc++] = w;
	return options_parse(argc, argv, opt, err, sizeof(err));
}

static void put_text(const struct vm_options *opt)
{
	char *found = options_text(opt, &text_len);

	assert_non_null(found);
	assert_in_range(text_len, 1, sizeof(text));
	memcpy(text, found, text_len);
	free(found);
	assert_int_equal(text[text_len - 1], 0);
}

static bool has(const char *option)
{
	size_t at;

	for (at = 0; at < text_len; at += strlen(text + at) + 1)
		if (!strcmp(text + at, option))
			return true;
	return false;
}

/* the words as another vmmd reads them; twice gives the same */
static void round_trip(const char *words, struct vm_options *opt)
{
	char *argv[MAX_ARGS + 1] = { (char *)"vmmd", (char *)"run", (char *)"disk" };
	static char again[8192];
	struct vm_options first;
	int argc = 3;
	size_t at;

	if (parse_words(words, &first) != OPTIONS_RUN)
		fail_msg("%s: %s", words, err);
	put_text(&first);
	assert_null(options_text_alien(text, text_len));
	memcpy(again, text, text_len);
	for (at = 0; at < text_len; at += strlen(again + at) + 1)
		argv[argc++] = again + at;
	if (options_parse(argc, argv, opt, err, sizeof(err)) != OPTIONS_RUN)
		fail_msg("%s: text of it: %s", words, err);
	put_text(opt);
	assert_memory_equal(again, text, text_len);
}

static void test_defaults(void **state)
{
	struct vm_options opt;

	(void)state;
	round_trip("vmmd run /a/disk", &opt);
	assert_true(has("--cpus=1") && has("--memory=536870912") && has("--net=user"));
	assert_true(has("--name=disk") && has("--ring=split") && has("--grace=30"));
	assert_true(has("--on-crash=reset"));
	assert_string_equal(opt.config.name, "disk");
	assert_false(opt.config.has_mac || opt.config.has_balloon || opt.config.hugepages);
	assert_false(opt.config.disk_read_only || opt.config.disk_direct || opt.config.kernel);
	assert_int_equal(opt.config.disk_queues, 0);
}

static void test_everything(void **state)
{
	static const uint8_t mac[] = { 0x52, 0x54, 0, 0xab, 0xcd, 0xef };
	const struct vm_config *c;
	struct vm_options opt;

	(void)state;
	c = &opt.config;
	round_trip("vmmd run d --name n-1 --cpus 3 --memory 1G --balloon 256M --read-only "
		   "--direct --disk-queues 5 --net user --mac 52:54:00:ab:cd:ef "
		   "--forward tcp:2222:22 --forward udp:53:54 --ring packed --grace 7 "
		   "--on-crash exit", &opt);
	assert_string_equal(c->name, "n-1");
	assert_int_equal(c->cpus, 3);
	assert_true(c->memory == 1ULL << 30);
	assert_true(c->has_balloon && c->balloon == 256 << 20);
	assert_true(c->disk_read_only && c->disk_direct && c->packed_rings);
	assert_int_equal(c->disk_queues, 5);
	assert_true(c->net == NET_USER && c->has_mac);
	assert_memory_equal(c->mac, mac, 6);
	assert_int_equal(c->nforward, 2);
	assert_true(!c->forward[0].udp && c->forward[0].host_port == 2222 &&
		    c->forward[0].guest_port == 22);
	assert_true(c->forward[1].udp && c->forward[1].host_port == 53 &&
		    c->forward[1].guest_port == 54);
	assert_int_equal(opt.grace, 7);
	assert_int_equal(opt.on_crash, ON_CRASH_EXIT);

	round_trip("vmmd run d --net tap=t0 --net-queues 4 --balloon 0", &opt);
	assert_true(c->net == NET_TAP && c->has_balloon && !c->balloon);
	assert_string_equal(c->tap, "t0");
	assert_int_equal(c->net_queues, 4);
	round_trip("vmmd run d --net none --grace 0", &opt);
	assert_int_equal(c->net, NET_NONE);
	assert_int_equal(opt.grace, 0);
	round_trip("vmmd run d --hugepages", &opt);
	assert_true(c->hugepages == 2 << 20);
	round_trip("vmmd run d --memory 3G --hugepages=1G", &opt);
	assert_true(c->hugepages == 1 << 30);
}

/* files are named so that they are found from elsewhere */
static void test_files(void **state)
{
	char kernel[] = "/tmp/vmm-text-XXXXXX", words[200], want[300], *full;
	struct vm_options opt;

	(void)state;
	close(mkstemp(kernel));
	assert_int_equal(chdir("/tmp"), 0);
	snprintf(words, sizeof(words), "vmmd run --kernel %s --initrd ./%s --append a=b",
		 strrchr(kernel, '/') + 1, strrchr(kernel, '/') + 1);
	round_trip(words, &opt);
	full = realpath(kernel, NULL);
	assert_string_equal(opt.config.kernel, full);
	assert_string_equal(opt.config.initrd, full);
	assert_string_equal(opt.config.append, "a=b");
	unlink(kernel);
	/* one that is gone is still named */
	assert_int_equal(parse_words(words, &opt), OPTIONS_RUN);
	put_text(&opt);
	snprintf(want, sizeof(want), "--kernel=%s", strrchr(kernel, '/') + 1);
	assert_true(has(want));
	free(full);
}

/* with spaces, newlines and equals signs, as one word */
static void test_any_text(void **state)
{
	char *argv[] = { (char *)"vmmd", (char *)"run", (char *)"--kernel=/nonexistent/k",
			 (char *)"--append", (char *)"a \"b\" c=d=\n --cpus=9", NULL };
	struct vm_options opt;

	(void)state;
	assert_int_equal(options_parse(5, argv, &opt, err, sizeof(err)), OPTIONS_RUN);
	put_text(&opt);
	assert_true(has("--append=a \"b\" c=d=\n --cpus=9"));
	assert_false(has("--cpus=9"));
	assert_null(options_text_alien(text, text_len));
}

static bool is_in(const char *name, const char *const *list, size_t n)
{
	size_t i;

	for (i = 0; i < n && list[i]; i++)
		if (!strcmp(list[i], name))
			return true;
	return false;
}

/* whoever adds an option says on which side it is */
static void test_sides(void **state)
{
	struct option lo[NVALUED + 16] = { 0 };
	const char *const *name;
	size_t i;

	(void)state;
	long_options(lo);
	for (i = 0; lo[i].name; i++)
		if (is_in(lo[i].name, options_text_carried, 99) ==
		    is_in(lo[i].name, host_side, sizeof(host_side) / sizeof(*host_side)))
			fail_msg("--%s: either options_text writes it (options_text_carried), or it is of the host's side (host_side here)",
				 lo[i].name);
	for (name = options_text_carried; *name; name++) {
		for (i = 0; lo[i].name && strcmp(lo[i].name, *name); i++)
			;
		if (!lo[i].name)
			fail_msg("--%s is no option", *name);
	}
}

/* each that is carried is written by one of these machines */
static void test_all_carried_are_written(void **state)
{
	static const char *const machines[] = {
		"vmmd run d --balloon 1M --read-only --direct --disk-queues 2 --forward tcp:1:1",
		"vmmd run --kernel k --initrd i --append a --hugepages --mac 52:54:00:00:00:01",
		"vmmd run d --net tap=t --net-queues 2",
	};
	const char *const *name;
	struct vm_options opt;
	size_t m, at, n;
	bool found;

	(void)state;
	for (name = options_text_carried; *name; name++) {
		n = strlen(*name);
		found = false;
		for (m = 0; m < 3; m++) {
			assert_int_equal(parse_words(machines[m], &opt), OPTIONS_RUN);
			put_text(&opt);
			for (at = 0; at < text_len; at += strlen(text + at) + 1)
				found |= !strncmp(text + at + 2, *name, n) &&
					 strchr("=", text[at + 2 + n]);
		}
		if (!found)
			fail_msg("--%s is written for none of the machines here", *name);
	}
}

static void test_alien(void **state)
{
	static const struct { const char *text; size_t len, alien; } t[] = {
		{ "--cpus=1\0--console=file=/etc/passwd", 36, 9 },
		{ "--firmware-log=/tmp/x", 22, 0 },
		{ "--firmware=/tmp/x", 18, 0 },
		{ "--cpus=1\0/dev/sda", 18, 9 },
		{ "--cpus=1\0--", 12, 9 },
		{ "--cpus=1\0-h", 12, 9 },
		{ "--cpu=1", 8, 0 },		/* getopt would take it */
		{ "--con=file=x", 13, 0 },
		{ "--help", 7, 0 },
		{ "", 1, 0 },
		{ "--cpus=1\0", 10, 9 },
	};
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(t) / sizeof(t[0]); i++)
		if (options_text_alien(t[i].text, t[i].len) != t[i].text + t[i].alien)
			fail_msg("row %zu", i);
	assert_null(options_text_alien("", 0));
	assert_null(options_text_alien("--cpus=1\0--direct", 18));
	/* the last without its 0: there is one behind */
	assert_null(options_text_alien("--direct", 8));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_defaults), cmocka_unit_test(test_everything),
		cmocka_unit_test(test_files), cmocka_unit_test(test_any_text),
		cmocka_unit_test(test_sides), cmocka_unit_test(test_all_carried_are_written),
		cmocka_unit_test(test_alien),
	};

	return cmocka_run_group_tests_name("options_text", tests, NULL, NULL);
}
