// SPDX-License-Identifier: GPL-2.0
/*
 * The host sides of the console: files, sockets, pipes and a terminal (a
 * pty), with readers that come, go and stop reading.
 */
#define _GNU_SOURCE 1
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>
#include <cmocka.h>

#include "chardev.h"
#include "control/attach.h"
#include "fixture.h"

struct test {
	struct fx *fx;
	char dir[32];
	char path[64];
	char err[256];
	char got[4096];		/* input */
	size_t len;
	unsigned int quit, button;
};

static size_t take(void *owner, const uint8_t *buf, size_t len)
{
	struct test *t = owner;

	if (len > sizeof(t->got) - t->len)
		len = sizeof(t->got) - t->len;
	memcpy(t->got + t->len, buf, len);
	t->len += len;
	return len;
}

/* no loop's thread: a fork would take what that one has locked into the child */
static int setup_alone(void **state)
{
	static struct test t;

	memset(&t, 0, sizeof(t));
	strcpy(t.dir, "/tmp/vmm-console-XXXXXX");
	assert_non_null(mkdtemp(t.dir));
	snprintf(t.path, sizeof(t.path), "%s/c", t.dir);
	*state = &t;
	return 0;
}

static int setup(void **state)
{
	struct test *t;

	setup_alone(state);
	t = *state;
	t->fx = fx_new();
	return 0;
}

static int teardown(void **state)
{
	struct test *t = *state;

	if (t->fx)
		fx_free(t->fx);
	unlink(t->path);
	rmdir(t->dir);
	return 0;
}

static void front(struct test *t, struct chardev *c)
{
	fx_lock(t->fx);
	chardev_set_front(c, take, NULL, t);
	fx_unlock(t->fx);
}

/* what it takes */
static size_t put(struct test *t, struct chardev *c, const char *s)
{
	size_t n = 0;

	fx_lock(t->fx);
	while (s[n] && chardev_write(c, s[n]))
		n++;
	fx_unlock(t->fx);
	return n;
}

/* and then the moment at which it goes out */
static size_t print(struct test *t, struct chardev *c, const char *s)
{
	size_t n = put(t, c, s);

	fx_advance(t->fx, CHARDEV_FLUSH_NS);
	return n;
}

static void close_console(struct test *t, struct chardev *c)
{
	fx_lock(t->fx);
	chardev_free(c);
	fx_unlock(t->fx);
}

/* until fd gives all of it, 5 s at most */
static void expect(int fd, const char *s)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	char buf[256];
	size_t len = 0, want = strlen(s);
	ssize_t n;

	while (len < want) {
		assert_int_equal(poll(&p, 1, 5000), 1);
		n = read(fd, buf + len, want - len);
		assert_true(n > 0);
		len += n;
	}
	assert_memory_equal(buf, s, want);
}

static void expect_input(struct test *t, const char *s)
{
	unsigned int i;
	bool done = false;

	for (i = 0; i < 5000 && !done; i++) {
		fx_lock(t->fx);
		done = t->len >= strlen(s);
		fx_unlock(t->fx);
		usleep(1000);
	}
	assert_int_equal(t->len, strlen(s));
	assert_memory_equal(t->got, s, t->len);
	t->len = 0;
}

static void file(void **state)
{
	struct test *t = *state;
	struct chardev *c = chardev_file_new(t->fx->env.loop, t->path, t->err,
					     sizeof(t->err));
	int fd;

	assert_non_null(c);
	print(t, c, "to a file");
	fd = open(t->path, O_RDONLY);
	expect(fd, "to a file");
	close(fd);
	close_console(t, c);
	assert_null(chardev_file_new(t->fx->env.loop, t->dir, t->err,
				     sizeof(t->err)));
	assert_non_null(strstr(t->err, "directory"));
}

/* /dev/full says ENOSPC: dropped, the guest goes on */
static void full_disk(void **state)
{
	struct test *t = *state;
	struct chardev *c = chardev_file_new(t->fx->env.loop, "/dev/full",
					     t->err, sizeof(t->err));
	unsigned int i;

	assert_non_null(c);
	for (i = 0; i < 200; i++)
		assert_int_equal(print(t, c, "lost, but not the guest"), 23);
	close_console(t, c);
}

static int client(struct test *t)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	assert_true(fd >= 0);
	strcpy(a.sun_path, t->path);
	assert_int_equal(connect(fd, (void *)&a, sizeof(a)), 0);
	return fd;
}

static void socket_clients(void **state)
{
	struct test *t = *state;
	struct chardev *c = chardev_socket_new(t->fx->env.loop, t->path, t->err,
					       sizeof(t->err));
	int a, b;

	assert_non_null(c);
	front(t, c);
	print(t, c, "before anybody came;");
	a = client(t);
	expect(a, "before anybody came;");
	print(t, c, "now");
	expect(a, "now");
	assert_int_equal(write(a, "in", 2), 2);
	expect_input(t, "in");
	shutdown(a, SHUT_WR);			/* end of file, still listening */
	fx_sync(t->fx);
	print(t, c, "more");
	expect(a, "more");
	b = client(t);				/* waits for its turn */
	close(a);
	usleep(20000);
	fx_sync(t->fx);
	print(t, c, "second");
	expect(b, "second");
	close(b);
	close_console(t, c);
	assert_int_equal(access(t->path, F_OK), -1);
}

/* nobody: the newest is kept; a client that does not read: bounded, lossy */
static void socket_flood(void **state)
{
	struct test *t = *state;
	struct chardev *c = chardev_socket_new(t->fx->env.loop, t->path, t->err,
					       sizeof(t->err));
	unsigned int i;
	int fd;

	assert_non_null(c);
	for (i = 0; i < 30000; i++)
		assert_int_equal(put(t, c, "0123456789"), 10);
	fd = client(t);
	expect(fd, "4567890123456789");		/* 65536 = 6 mod 10 */
	fx_sync(t->fx);
	for (i = 0; i < 100000 && put(t, c, "0123456789") == 10; i++)
		if (i % 100 == 0)
			fx_advance(t->fx, CHARDEV_FLUSH_NS);
	assert_in_range(i, 1, 99999);		/* full: the guest must wait */
	fx_advance(t->fx, 2 * CHARDEV_STUCK_NS);
	assert_int_equal(print(t, c, "0123456789"), 10);
	close(fd);
	usleep(20000);
	fx_sync(t->fx);
	assert_int_equal(print(t, c, "0123456789"), 10);
	close_console(t, c);
}

static void socket_path(void **state)
{
	struct test *t = *state;
	struct chardev *c = chardev_socket_new(t->fx->env.loop, t->path, t->err,
					       sizeof(t->err));
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	char path[200];
	int fd;

	assert_non_null(c);
	assert_null(chardev_socket_new(t->fx->env.loop, t->path, t->err,
				       sizeof(t->err)));	/* it is served */
	assert_non_null(strstr(t->err, t->path));
	close_console(t, c);

	fd = socket(AF_UNIX, SOCK_STREAM, 0);	/* left over from a dead one */
	strcpy(a.sun_path, t->path);
	assert_int_equal(bind(fd, (void *)&a, sizeof(a)), 0);
	close(fd);
	c = chardev_socket_new(t->fx->env.loop, t->path, t->err, sizeof(t->err));
	assert_non_null(c);
	close_console(t, c);

	fd = open(t->path, O_CREAT | O_WRONLY, 0600);	/* never a file */
	close(fd);
	assert_null(chardev_socket_new(t->fx->env.loop, t->path, t->err,
				       sizeof(t->err)));
	assert_int_equal(access(t->path, F_OK), 0);
	memset(path, 'x', sizeof(path) - 1);
	path[sizeof(path) - 1] = 0;
	assert_null(chardev_socket_new(t->fx->env.loop, path, t->err,
				       sizeof(t->err)));
}

/* ---- those who listen beside, through the control socket ------------------- */

static int attach(struct test *t, struct chardev *c, struct attach **list,
		  const char *ahead)
{
	int fd[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fd), 0);
	fx_lock(t->fx);
	assert_int_equal(attach_new(list, t->fx->env.loop, c, fd[0],
				    strdup(ahead), strlen(ahead)), 0);
	fx_unlock(t->fx);
	return fd[1];
}

static void detach(struct test *t, struct attach **list)
{
	fx_lock(t->fx);
	attach_free_all(list);
	fx_unlock(t->fx);
}

/* nobody at the other end: what was said is kept for all who come */
static void nobody_and_attached(void **state)
{
	struct test *t = *state;
	struct chardev *c = chardev_none_new(t->fx->env.loop, t->err,
					     sizeof(t->err));
	struct attach *list = NULL;
	int a, b;

	assert_non_null(c);
	front(t, c);
	print(t, c, "before;");
	a = attach(t, c, &list, "typed ");
	expect_input(t, "typed ");
	fx_advance(t->fx, CHARDEV_FLUSH_NS);
	expect(a, "before;");
	print(t, c, "now");
	expect(a, "now");
	b = attach(t, c, &list, "");
	fx_advance(t->fx, CHARDEV_FLUSH_NS);
	expect(b, "before;now");
	assert_int_equal(write(a, "in", 2), 2);
	expect_input(t, "in");
	assert_int_equal(write(b, "too", 3), 3);
	expect_input(t, "too");
	shutdown(a, SHUT_WR);			/* types no more, listens */
	fx_sync(t->fx);
	print(t, c, "more");
	expect(a, "more");
	close(b);
	fx_sync(t->fx);
	assert_int_equal(attach_count(list), 1);
	put(t, c, "last");
	detach(t, &list);
	expect(a, "last");
	assert_int_equal(read(a, t->got, 1), 0);
	close(a);
	close_console(t, c);
}

/* one that does not read loses, and holds up neither the guest nor the file */
static void attached_and_deaf(void **state)
{
	struct test *t = *state;
	struct chardev *c = chardev_file_new(t->fx->env.loop, t->path, t->err,
					     sizeof(t->err));
	struct attach *list = NULL;
	struct stat st;
	unsigned int i;
	int fd;

	assert_non_null(c);
	fd = attach(t, c, &list, "");
	for (i = 0; i < 100000; i++) {
		assert_int_equal(put(t, c, "0123456789"), 10);
		if (i % 1000 == 0)
			fx_advance(t->fx, CHARDEV_FLUSH_NS);
	}
	close(fd);
	fx_sync(t->fx);
	assert_null(list);
	close_console(t, c);
	assert_int_equal(stat(t->path, &st), 0);
	assert_int_equal(st.st_size, 1000000);
}

/* at most t->quit bytes */
static size_t take_few(void *owner, const uint8_t *buf, size_t len)
{
	struct test *t = owner;

	if (!t->quit)
		return 0;
	t->quit--;
	return take(owner, buf, 1);
}

/* more than the guest takes waits in the socket, and goes on when it does */
static void attached_and_typing(void **state)
{
	struct test *t = *state;
	struct chardev *c = chardev_none_new(t->fx->env.loop, t->err,
					     sizeof(t->err));
	char ahead[CHARDEV_INPUT + 101], more[CHARDEV_INPUT];
	const size_t all = sizeof(ahead) - 1 + sizeof(more);
	struct attach *list = NULL;
	unsigned int i;
	int fd;

	assert_non_null(c);
	fx_lock(t->fx);
	chardev_set_front(c, take_few, NULL, t);
	fx_unlock(t->fx);
	memset(ahead, 'a', sizeof(ahead) - 1);
	ahead[sizeof(ahead) - 1] = 0;
	memset(more, 'b', sizeof(more));
	fd = attach(t, c, &list, ahead);
	assert_int_equal(write(fd, more, sizeof(more)), sizeof(more));
	for (i = 0; i < 5000 && t->len < all; i++) {
		fx_lock(t->fx);
		t->quit = 7;
		chardev_resume(c);
		fx_unlock(t->fx);
		fx_sync(t->fx);
	}
	assert_int_equal(t->len, all);
	assert_memory_equal(t->got, ahead, sizeof(ahead) - 1);
	assert_memory_equal(t->got + sizeof(ahead) - 1, more, sizeof(more));
	detach(t, &list);
	close(fd);
	close_console(t, c);
}

/* ---- stdio: a child, since it is the process that has it ------------------ */

static void on_quit(void *owner)
{
	((struct test *)owner)->quit++;
}

static void on_button(void *owner)
{
	((struct test *)owner)->button++;
}

enum how { UNTIL_DOT, UNTIL_QUIT, ABORT, A_MOMENT };

/* tells on stdout what it got on stdin, until quit or a dot */
static int child(enum how how)
{
	struct test t = { .fx = fx_new() };
	const struct console_keys keys = { on_quit, on_button, &t };
	struct chardev *c;
	char line[64];
	unsigned int i;
	bool done = false;

	/* no input comes before there is somebody to take it */
	fx_lock(t.fx);
	c = console_stdio_new(t.fx->env.loop, &keys, t.err, sizeof(t.err));
	if (c)
		chardev_set_front(c, take, NULL, &t);
	fx_unlock(t.fx);
	if (!c)
		return 10;
	print(&t, c, "ready\n");
	if (how == ABORT)
		abort();
	for (i = how == A_MOMENT ? 4800 : 0; i < 5000 && !done; i++) {
		usleep(1000);
		fx_sync(t.fx);
		fx_lock(t.fx);
		done = t.quit || (t.len && t.got[t.len - 1] == '.');
		fx_unlock(t.fx);
	}
	snprintf(line, sizeof(line), "got %.*s quit %u button %u\n", (int)t.len,
		 t.got, t.quit, t.button);
	print(&t, c, line);
	close_console(&t, c);
	fx_free(t.fx);
	return done ? 0 : 11;
}

static pid_t spawn(int in, int out, enum how how)
{
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid)
		return pid;
	setsid();
	dup2(in, 0);
	dup2(out, 1);
	if (isatty(0))
		ioctl(0, TIOCSCTTY, 0);
	_exit(child(how));
}

static int reap(pid_t pid)
{
	int status;

	assert_int_equal(waitpid(pid, &status, 0), pid);
	return status;
}

static void pipes(void **state)
{
	int in[2], out[2];
	pid_t pid;

	assert_int_equal(pipe2(in, O_CLOEXEC) | pipe2(out, O_CLOEXEC), 0);
	pid = spawn(in[0], out[1], UNTIL_DOT);
	expect(out[0], "ready\n");
	assert_int_equal(write(in[1], "a\001x.", 4), 4);	/* no keys here */
	close(in[1]);
	expect(out[0], "got a\001x. quit 0 button 0\n");
	assert_int_equal(reap(pid), 0);
	assert_false(fcntl(out[0], F_GETFL) & O_NONBLOCK);
	assert_false(fcntl(out[1], F_GETFL) & O_NONBLOCK);
	close(in[0]);
	close(out[0]);
	close(out[1]);
}

static void file_and_dev_null_as_input(void **state)
{
	struct test *t = *state;
	int fd = open(t->path, O_CREAT | O_RDWR, 0600), out[2];
	pid_t pid;

	assert_int_equal(write(fd, "script.", 7), 7);
	lseek(fd, 0, SEEK_SET);
	assert_int_equal(pipe2(out, O_CLOEXEC), 0);
	pid = spawn(fd, out[1], UNTIL_DOT);
	expect(out[0], "ready\ngot script. quit 0 button 0\n");
	assert_int_equal(reap(pid), 0);
	close(fd);
	fd = open("/dev/null", O_RDWR);
	pid = spawn(fd, out[1], A_MOMENT);
	expect(out[0], "ready\n");
	assert_int_equal(reap(pid), 11 << 8);	/* went on until its time */
	close(fd);
	close(out[0]);
	close(out[1]);
}

static void no_reader(void **state)
{
	int in[2], out[2];
	pid_t pid;

	assert_int_equal(pipe2(in, O_CLOEXEC) | pipe2(out, O_CLOEXEC), 0);
	close(out[0]);
	pid = spawn(in[0], out[1], UNTIL_DOT);
	close(out[1]);
	assert_int_equal(write(in[1], ".", 1), 1);
	assert_int_equal(reap(pid), 0);		/* SIGPIPE would have shown */
	close(in[0]);
	close(in[1]);
}

static struct termios terminal(int fd)
{
	struct termios t = { 0 };

	assert_int_equal(tcgetattr(fd, &t), 0);
	return t;
}

static void keys(void **state)
{
	int pty, tty;
	struct termios before, during, after;
	pid_t pid;

	assert_int_equal(openpty(&pty, &tty, NULL, NULL, NULL), 0);
	before = terminal(tty);
	pid = spawn(tty, tty, UNTIL_QUIT);
	expect(pty, "ready\r\n");
	during = terminal(tty);
	assert_int_equal(during.c_lflag & (ICANON | ISIG), 0);
	assert_true(during.c_oflag & OPOST);
	assert_int_equal(write(pty, "\003k\001\001\001p\001z\001x", 10), 10);
	expect(pty, "got \003k\001 quit 1 button 1\r\n");
	assert_int_equal(reap(pid), 0);
	after = terminal(tty);
	assert_memory_equal(&after, &before, sizeof(before));
	close(pty);
	close(tty);
}

static void terminal_after_abort(void **state)
{
	struct termios before, after;
	int pty, tty;
	pid_t pid;

	assert_int_equal(openpty(&pty, &tty, NULL, NULL, NULL), 0);
	before = terminal(tty);
	pid = spawn(tty, tty, ABORT);
	expect(pty, "ready\r\n");
	assert_int_equal(WTERMSIG(reap(pid)), SIGABRT);
	after = terminal(tty);
	assert_memory_equal(&after, &before, sizeof(before));
	close(pty);
	close(tty);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
#define ALONE(name) cmocka_unit_test_setup_teardown(name, setup_alone, teardown)
	const struct CMUnitTest tests[] = {
		T(file), T(full_disk), T(socket_clients), T(socket_flood),
		T(socket_path), T(nobody_and_attached),
		T(attached_and_deaf), T(attached_and_typing), ALONE(pipes),
		ALONE(file_and_dev_null_as_input), ALONE(no_reader), ALONE(keys),
		ALONE(terminal_after_abort),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
