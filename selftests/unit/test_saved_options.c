// SPDX-License-Identifier: GPL-2.0
/* Options given where a machine goes on: those of the host's side, and no others. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "options.h"
#include "options_text.h"
#include "state/saved_options.h"

static char err[512];
static struct vmstate state;

static int setup(void **unused)
{
	char *argv[] = {
		"vmmd", "run", "disk", "--cpus", "2", "--memory", "64M", "--name", "one",
		"--forward", "tcp:2222:22", NULL,
	};
	struct vm_options opt;

	assert_int_equal(options_parse(11, argv, &opt, err, sizeof(err)), OPTIONS_RUN);
	state = (struct vmstate){ .ident.vcpus = 2 };
	state.text = options_text(&opt, &state.text_len);
	assert_non_null(state.text);
	return 0;
}

static int take(struct saved_options *s, char *option, char *value)
{
	char *argv[] = { option, value, NULL };

	*s = (struct saved_options){ .state = &state, .name = "file" };
	strcpy(err, "");
	return saved_options_take(s, "disk", !!option + !!value, argv, err, sizeof(err));
}

static void test_as_saved(void **unused)
{
	struct saved_options s;

	assert_int_equal(take(&s, NULL, NULL), 0);
	assert_int_equal(s.opt.config.cpus, 2);
	assert_int_equal(s.opt.config.memory, 64 << 20);
	assert_string_equal(s.opt.config.name, "one");
	assert_int_equal(s.opt.config.nforward, 1);
	assert_true(s.opt.config.incoming);
	saved_options_free(&s);
}

static void test_of_the_host(void **unused)
{
	struct saved_options s;

	assert_int_equal(take(&s, "--name", "two"), 0);
	assert_string_equal(s.opt.config.name, "two");
	saved_options_free(&s);
	assert_int_equal(take(&s, "--forward", "tcp:3333:33"), 0);
	assert_int_equal(s.opt.config.nforward, 1);
	assert_int_equal(s.opt.config.forward[0].host_port, 3333);
	saved_options_free(&s);
	/* the port that it had, for another of the guest's */
	assert_int_equal(take(&s, "--forward=tcp:2222:80", NULL), 0);
	assert_int_equal(s.opt.config.nforward, 1);
	assert_int_equal(s.opt.config.forward[0].guest_port, 80);
	saved_options_free(&s);
	assert_int_equal(take(&s, "--forward", "none"), 0);
	assert_int_equal(s.opt.config.nforward, 0);
	saved_options_free(&s);
	/* the same again is no change */
	assert_int_equal(take(&s, "--cpus", "2"), 0);
	saved_options_free(&s);
}

static void test_of_the_machine(void **unused)
{
	static char *const given[][2] = {
		{ "--cpus", "3" }, { "--memory", "65M" }, { "--balloon", "32M" },
		{ "--ring", "packed" }, { "--read-only", NULL },
		{ "--no-pv", "clock" }, { "--firmware", "other.rom" },
	};
	struct saved_options s;
	size_t i;

	for (i = 0; i < sizeof(given) / sizeof(given[0]); i++) {
		assert_int_equal(take(&s, given[i][0], given[i][1]), VM_EXIT_USAGE);
		if (!strstr(err, "file: ") || !strstr(err, given[i][0]) ||
		    !strstr(err, "cannot be changed"))
			fail_msg("%s: '%s'", given[i][0], err);
		saved_options_free(&s);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_as_saved),
		cmocka_unit_test(test_of_the_host),
		cmocka_unit_test(test_of_the_machine),
	};

	return cmocka_run_group_tests(tests, setup, NULL);
}
