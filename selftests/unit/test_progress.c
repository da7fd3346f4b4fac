// SPDX-License-Identifier: GPL-2.0
/* The line that tells how far something is, on a terminal and on none. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <poll.h>
#include <pty.h>
#include <stdio.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include "progress.h"

static int old, out[2];		/* standard error as it was; its reader, its writer */
static char said[4096];

static void begin(void)
{
	old = dup(STDERR_FILENO);
	assert_true(old >= 0 && dup2(out[1], STDERR_FILENO) >= 0);
}

/* what it said until now */
static const char *end(void)
{
	struct pollfd p = { .fd = out[0], .events = POLLIN };
	size_t n = 0;
	ssize_t got;

	assert_true(dup2(old, STDERR_FILENO) >= 0);
	close(old);
	while (n < sizeof(said) - 1 && poll(&p, 1, 0) == 1) {
		got = read(out[0], said + n, sizeof(said) - 1 - n);
		if (got <= 0)
			break;
		n += got;
	}
	said[n] = 0;
	return said;
}

static int make_pty(void **state)
{
	struct termios raw = { 0 };

	cfmakeraw(&raw);
	return openpty(&out[0], &out[1], NULL, &raw, NULL);
}

static int make_pipe(void **state)
{
	return pipe(out);
}

static int teardown(void **state)
{
	return close(out[0]) | close(out[1]);
}

static void show(struct progress *p, uint64_t done, uint64_t total)
{
	begin();
	progress_show(p, done, total);
}

static void test_terminal(void **state)
{
	struct progress p = { .what = "saving" };
	char want[128], full[41];

	memset(full, '#', 40);
	full[40] = 0;
	show(&p, 0, 512 << 20);
	snprintf(want, sizeof(want), "\rsaving [%40s]   0 %% of 512 MiB ", "");
	assert_string_equal(end(), want);
	show(&p, 256 << 20, 512 << 20);
	snprintf(want, sizeof(want), "\rsaving [%-40.20s]  50 %% of 512 MiB ", full);
	assert_string_equal(end(), want);
	/* a guest that goes on may make it more than all */
	show(&p, 600 << 20, 512 << 20);
	snprintf(want, sizeof(want), "\rsaving [%s] 100 %% of 512 MiB ", full);
	assert_string_equal(end(), want);
	begin();
	progress_end(&p);
	assert_string_equal(end(), "\n");
	/* it was ended: there is no line any more */
	begin();
	progress_end(&p);
	assert_string_equal(end(), "");
}

static void test_large(void **state)
{
	struct progress p = { .what = "w" };

	show(&p, UINT64_MAX - 1, UINT64_MAX);
	assert_non_null(strstr(end(), "100 % of 17592186044415 MiB"));
	show(&p, 1, UINT64_MAX);
	assert_non_null(strstr(end(), "  0 % of"));
}

static void test_of_nothing(void **state)
{
	struct progress p = { .what = "w" };

	show(&p, 0, 0);
	assert_string_equal(end(), "");
	assert_false(p.shown);
}

static void test_no_terminal(void **state)
{
	struct progress p = { .what = "w" };

	show(&p, 1, 2);
	progress_end(&p);
	assert_string_equal(end(), "");
	assert_false(p.shown);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_terminal, make_pty, teardown),
		cmocka_unit_test_setup_teardown(test_large, make_pty, teardown),
		cmocka_unit_test_setup_teardown(test_of_nothing, make_pty, teardown),
		cmocka_unit_test_setup_teardown(test_no_terminal, make_pipe, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
