// SPDX-License-Identifier: GPL-2.0
/* The names of running machines: taken once, listed, and free after any end. */
#define _GNU_SOURCE 1
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "control/names.h"

static char base[64], dir[128], err[512];

static int setup(void **state)
{
	strcpy(base, "/tmp/vmm-names-XXXXXX");
	assert_non_null(mkdtemp(base));
	snprintf(dir, sizeof(dir), "%s/run", base);
	setenv("VMMD_RUNTIME_DIR", dir, 1);
	unsetenv("XDG_RUNTIME_DIR");
	err[0] = 0;
	return 0;
}

static int teardown(void **state)
{
	char command[256];

	snprintf(command, sizeof(command), "rm -rf %s", base);
	assert_int_equal(system(command), 0);
	return 0;
}

static bool exists(const char *file)
{
	char path[256];

	snprintf(path, sizeof(path), "%s/%s", dir, file);
	return !access(path, F_OK);
}

static unsigned int listed(const char *first)
{
	char **list = names_list(err, sizeof(err));
	unsigned int n = 0;

	assert_non_null(list);
	while (list[n])
		n++;
	if (first) {
		assert_true(n >= 1);
		assert_string_equal(list[0], first);
	}
	names_list_free(list);
	return n;
}

/* a process that is the VM of that name until it is killed */
static pid_t another(const char *name, bool listens)
{
	struct names_own own;
	int pipes[2];
	char c;
	pid_t pid;

	assert_int_equal(pipe(pipes), 0);
	pid = fork();
	if (!pid) {
		close(pipes[0]);
		if (!names_take(&own, name, err, sizeof(err)) &&
		    (!listens || names_listen(&own, err, sizeof(err)) >= 0) &&
		    write(pipes[1], "x", 1) == 1)
			for (;;)
				pause();
		_exit(1);
	}
	close(pipes[1]);
	assert_int_equal(read(pipes[0], &c, 1), 1);
	close(pipes[0]);
	return pid;
}

static void end(pid_t pid)
{
	kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
}

static void valid(void **state)
{
	char name[NAMES_MAX + 2];

	memset(name, 'a', sizeof(name));
	name[NAMES_MAX + 1] = 0;
	assert_false(names_valid(name));
	name[NAMES_MAX] = 0;
	assert_true(names_valid(name));
	assert_true(names_valid("."));
	assert_true(names_valid("disk.img"));
	assert_false(names_valid(""));
	assert_false(names_valid("a/b"));
	assert_false(names_valid("a b"));
	assert_false(names_valid("\xc3\xa4"));
}

static void one_of_a_name(void **state)
{
	pid_t pid = another("a", true), found = 0;
	struct names_own own;
	char text[32];
	int fd;

	assert_int_equal(names_take(&own, "a", err, sizeof(err)), -EEXIST);
	snprintf(text, sizeof(text), "process %d:", pid);
	assert_non_null(strstr(err, text));
	assert_non_null(strstr(err, "--name"));
	names_release(&own);
	assert_true(exists("a.sock"));
	fd = names_connect("a", &found, err, sizeof(err));
	assert_true(fd >= 0);
	assert_int_equal(found, pid);
	close(fd);
	assert_int_equal(names_take(&own, "b", err, sizeof(err)), 0);
	assert_int_equal(listed("a"), 2);
	names_release(&own);
	assert_false(exists("b.lock"));
	assert_int_equal(listed("a"), 1);
	end(pid);
}

static void killed(void **state)
{
	struct names_own own;
	pid_t pid;
	int fd;

	/* it is no more, to who looks for it, who lists, and who comes next */
	end(another("a", true));
	assert_true(exists("a.sock"));
	assert_int_equal(names_connect("a", &pid, err, sizeof(err)), -ENOENT);
	assert_false(exists("a.sock"));
	assert_false(exists("a.lock"));
	end(another("a", true));
	assert_int_equal(listed(NULL), 0);
	assert_false(exists("a.sock"));
	assert_false(exists("a.lock"));
	end(another("a", true));
	assert_int_equal(names_take(&own, "a", err, sizeof(err)), 0);
	fd = names_listen(&own, err, sizeof(err));
	assert_true(fd >= 0);
	assert_int_equal(listed("a"), 1);
	close(fd);
	names_release(&own);
	assert_false(exists("a.sock"));
	assert_false(exists("a.lock"));
}

static void starting(void **state)
{
	pid_t pid = another("a", false), found;

	assert_int_equal(names_connect("a", &found, err, sizeof(err)), -EAGAIN);
	assert_int_equal(listed("a"), 1);
	end(pid);
}

static void nobody(void **state)
{
	pid_t pid;

	/* not even a directory */
	assert_int_equal(listed(NULL), 0);
	assert_int_equal(names_connect("a", &pid, err, sizeof(err)), -ENOENT);
	assert_non_null(strstr(err, "'a'"));
	assert_int_equal(access(dir, F_OK), -1);
	assert_int_equal(names_connect("../a", &pid, err, sizeof(err)), -EINVAL);
}

/* starts when `go` ends, says what came of it, and is that until `stay` ends */
static void starter(bool lists, int go, int say, int stay)
{
	struct names_own own;
	char c;

	if (read(go, &c, 1))
		_exit(1);
	if (lists)
		c = names_list(err, sizeof(err)) ? 'l' : '?';
	else if (!names_take(&own, "a", err, sizeof(err)))
		c = names_listen(&own, err, sizeof(err)) >= 0 ? 'w' : '?';
	else
		c = strstr(err, "runs already") ? 'r' : '?';
	_exit(write(say, &c, 1) != 1 || read(stay, &c, 1));
}

/*
 * Three start over what a killed one left: one has the name, each time. Somebody
 * who lists meanwhile removes what is stale, but nothing else.
 */
static void race(void **state)
{
	int go[2], say[2], stay[2], status;
	unsigned int round, i, n;
	pid_t pid[4];
	char said[5];

	for (round = 0; round < 20; round++) {
		n = 3 + round % 2;
		end(another("a", true));
		assert_int_equal(pipe(go) | pipe(say) | pipe(stay), 0);
		for (i = 0; i < n; i++) {
			pid[i] = fork();
			if (!pid[i]) {
				close(go[1]);
				close(stay[1]);
				starter(i == 3, go[0], say[1], stay[0]);
			}
		}
		close(go[1]);
		for (i = 0; i < n; i++)
			assert_int_equal(read(say[0], said + i, 1), 1);
		said[n] = 0;
		assert_null(strchr(said, '?'));
		assert_true(strchr(said, 'w') == strrchr(said, 'w'));
		/* who lists may be slow, and then the name is not to be had */
		assert_true(n == 4 || strchr(said, 'w'));
		assert_int_equal(exists("a.sock"), !!strchr(said, 'w'));
		close(stay[1]);
		for (i = 0; i < n; i++) {
			assert_int_equal(waitpid(pid[i], &status, 0), pid[i]);
			assert_int_equal(status, 0);
		}
		close(go[0]);
		close(say[0]);
		close(say[1]);
		close(stay[0]);
	}
}

static void modes(void **state)
{
	struct names_own own;
	char path[256];
	struct stat st;
	mode_t mask = umask(0);
	int fd;

	assert_int_equal(names_take(&own, "a", err, sizeof(err)), 0);
	fd = names_listen(&own, err, sizeof(err));
	assert_true(fd >= 0);
	umask(mask);
	snprintf(path, sizeof(path), "%s/a.sock", dir);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_int_equal(stat(dir, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0700);
	close(fd);
	names_release(&own);
	/* others could put there what they like */
	assert_int_equal(chmod(dir, 0777), 0);
	assert_int_equal(names_take(&own, "a", err, sizeof(err)), -EPERM);
	assert_non_null(strstr(err, dir));
	assert_non_null(strstr(err, "777"));
	names_release(&own);
	/* nor is what a link names the directory */
	snprintf(path, sizeof(path), "%s/link", base);
	assert_int_equal(chmod(dir, 0700), 0);
	assert_int_equal(symlink(dir, path), 0);
	setenv("VMMD_RUNTIME_DIR", path, 1);
	assert_true(names_take(&own, "a", err, sizeof(err)) < 0);
	names_release(&own);
	snprintf(path, sizeof(path), "%s/none/such", base);
	setenv("VMMD_RUNTIME_DIR", path, 1);
	assert_int_equal(names_take(&own, "a", err, sizeof(err)), -ENOENT);
	assert_non_null(strstr(err, "VMMD_RUNTIME_DIR"));
	names_release(&own);
}

/* a path that no socket address has room for */
static void long_path(void **state)
{
	struct names_own own;
	char path[256];
	pid_t pid;
	int fd, peer;

	memset(path, 'd', sizeof(path));
	path[200] = 0;
	memcpy(path, base, strlen(base));
	path[strlen(base)] = '/';
	setenv("VMMD_RUNTIME_DIR", path, 1);
	assert_int_equal(names_take(&own, "a", err, sizeof(err)), 0);
	fd = names_listen(&own, err, sizeof(err));
	assert_true(fd >= 0);
	peer = names_connect("a", &pid, err, sizeof(err));
	assert_true(peer >= 0);
	assert_int_equal(pid, getpid());
	close(peer);
	close(fd);
	names_release(&own);
}

static void xdg(void **state)
{
	struct names_own own;

	unsetenv("VMMD_RUNTIME_DIR");
	setenv("XDG_RUNTIME_DIR", base, 1);
	snprintf(dir, sizeof(dir), "%s/vmmd", base);
	assert_int_equal(names_take(&own, "a", err, sizeof(err)), 0);
	assert_true(exists("a.lock"));
	names_release(&own);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(valid),
		cmocka_unit_test_setup_teardown(one_of_a_name, setup, teardown),
		cmocka_unit_test_setup_teardown(killed, setup, teardown),
		cmocka_unit_test_setup_teardown(starting, setup, teardown),
		cmocka_unit_test_setup_teardown(nobody, setup, teardown),
		cmocka_unit_test_setup_teardown(race, setup, teardown),
		cmocka_unit_test_setup_teardown(modes, setup, teardown),
		cmocka_unit_test_setup_teardown(long_path, setup, teardown),
		cmocka_unit_test_setup_teardown(xdg, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
