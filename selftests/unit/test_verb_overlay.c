// SPDX-License-Identifier: GPL-2.0
/* vmmd overlay BASE TOP, as it is typed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "block_fixture.h"
#include "verbs.h"
#include "vm.h"

static char base[256], top[256];
static char said[4096];

/* the words up to NULL; what it said, on either, is in said */
static int run(char *const words[])
{
	char *argv[8] = { "overlay" }, name[256];
	int argc = 1, out = dup(1), err_fd = dup(2), fd, status;
	ssize_t n;

	while (words[argc - 1]) {
		argv[argc] = words[argc - 1];
		argc++;
	}
	fflush(NULL);
	fd = open(in_dir(name, "said"), O_CREAT | O_TRUNC | O_RDWR, 0600);
	dup2(fd, 1);
	dup2(fd, 2);
	status = verb_overlay.main(&verb_overlay, argc, argv);
	fflush(NULL);
	dup2(out, 1);
	dup2(err_fd, 2);
	close(out);
	close(err_fd);
	n = pread(fd, said, sizeof(said) - 1, 0);
	said[n > 0 ? n : 0] = 0;
	close(fd);
	return status;
}

#define RUN(...) run((char *const[]){ __VA_ARGS__, NULL })

static void test_makes(void **state)
{
	const struct block_opts opts = { 0 };
	char name[256];
	struct disk *d;

	(void)state;
	in_dir(base, "base");
	in_dir(top, "top");
	strcpy(path, base);
	make_file("disk", 4, DISK);
	assert_int_equal(RUN(base, top), VM_EXIT_OK);
	assert_string_equal(said, "");
	strcpy(path, top);
	d = disk_open(&opts);
	assert_non_null(d->b);
	disk_close(d);
	/* it is never made twice, or over nothing */
	assert_int_equal(RUN(base, top), VM_EXIT_ERROR);
	assert_non_null(strstr(said, "File exists"));
	assert_int_equal(RUN(in_dir(name, "none"), name), VM_EXIT_ERROR);
	assert_non_null(strstr(said, "vmmd: disk "));
	assert_ptr_equal(strchr(said, '\n'), said + strlen(said) - 1);
}

static void test_usage(void **state)
{
	(void)state;
	assert_ptr_equal(verbs_find("overlay"), &verb_overlay);
	assert_int_equal(run((char *const[]){ NULL }), VM_EXIT_USAGE);
	assert_non_null(strstr(said, "overlay wants BASE and TOP, found none"));
	assert_int_equal(RUN(base), VM_EXIT_USAGE);
	assert_non_null(strstr(said, "found too few"));
	assert_int_equal(RUN(base, top, top), VM_EXIT_USAGE);
	assert_int_equal(RUN("--size", base, top), VM_EXIT_USAGE);
	assert_non_null(strstr(said, "unknown option '--size'"));
	assert_int_equal(RUN("--help"), VM_EXIT_OK);
	assert_non_null(strstr(said, "usage: vmmd overlay BASE TOP"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_makes),
		cmocka_unit_test(test_usage),
	};

	return cmocka_run_group_tests_name("verb_overlay", tests, block_setup,
					   block_teardown);
}
