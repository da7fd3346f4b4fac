// SPDX-License-Identifier: GPL-2.0
/*
 * --console stdio. When standard input is a terminal it is put into raw mode,
 * and Ctrl-A begins a command to vmmd.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "chardev.h"
#include "terminal.h"

#define SAFE_CHUNK	64	/* a blocking fd that polls writable takes this */

static const char help[] =
	"\r\nCtrl-A h  this help\r\n"
	"Ctrl-A x  end the VM at once\r\n"
	"Ctrl-A p  press the power button\r\n"
	"Ctrl-A Ctrl-A  send Ctrl-A to the guest\r\n";

struct console {
	struct chardev chr;
	struct console_keys keys;
	int in;			/* 0, or -1 at end of file */
	int out;
	bool tty;		/* input is a terminal that is ours */
	bool own_out;		/* `out` was opened here, and does not block */
	bool out_socket;
	bool out_blocks;	/* write only after a poll, and little */
	struct terminal_keys commands;
	bool paused;		/* no room for input */
	struct loop_fd *in_lf;
	struct loop_fd *out_lf;
	struct loop_timer *in_timer;	/* for input that epoll does not take */
};

static ssize_t console_put(struct chardev *c, const uint8_t *buf, size_t len)
{
	struct console *con = (struct console *)c;
	struct pollfd p = { .fd = con->out, .events = POLLOUT };
	ssize_t n;

	if (con->out_blocks) {
		if (poll(&p, 1, 0) != 1)
			return -EAGAIN;
		if (len > SAFE_CHUNK)
			len = SAFE_CHUNK;
	}
	if (con->out_socket)
		n = send(con->out, buf, len, MSG_DONTWAIT | MSG_NOSIGNAL);
	else
		n = write(con->out, buf, len);
	if (n >= 0)
		return n;
	return errno == EINTR ? -EAGAIN : -errno;
}

static void console_want_put(struct chardev *c, bool on)
{
	struct console *con = (struct console *)c;

	if (con->out_lf)
		loop_fd_set(con->out_lf, on ? EPOLLOUT : 0);
}

/* a terminal is read always: Ctrl-A x must work when the guest hangs */
static void console_want_get(struct chardev *c, bool on)
{
	struct console *con = (struct console *)c;

	if (con->tty)
		return;
	con->paused = !on;
	if (con->in_lf)
		loop_fd_set(con->in_lf, on ? EPOLLIN : 0);
	else if (con->in >= 0 && on)
		loop_timer_arm(con->in_timer, loop_now());
}

static void console_out_event(void *owner, uint32_t events)
{
	struct console *con = owner;

	if (!(events & EPOLLOUT)) {	/* the reader is gone: put will tell */
		loop_fd_remove(con->out_lf);
		con->out_lf = NULL;
	}
	chardev_writable(&con->chr);
}

static void input_end(struct console *con)
{
	if (con->in_lf)
		loop_fd_remove(con->in_lf);
	con->in_lf = NULL;
	con->in = -1;
}

static void command_key(void *owner, uint8_t key)
{
	struct console *con = owner;

	switch (key) {
	case 'x':
	case 'X':
		if (con->keys.quit)
			con->keys.quit(con->keys.owner);
		break;
	case 'p':
	case 'P':
		if (con->keys.power_button)
			con->keys.power_button(con->keys.owner);
		break;
	case 'h':
	case 'H':
	case '?':
		console_put(&con->chr, (const uint8_t *)help, sizeof(help) - 1);
		break;
	}
}

/* false: nothing more to read now */
static bool console_read(struct console *con)
{
	uint8_t buf[CHARDEV_INPUT];
	size_t room = con->tty ? sizeof(buf) : chardev_input_room(&con->chr);
	ssize_t n;

	if (!room) {
		console_want_get(&con->chr, false);
		return false;
	}
	n = read(con->in, buf, room);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return false;
	if (n <= 0) {
		input_end(con);
		return false;
	}
	if (con->tty)
		n = terminal_filter(&con->commands, buf, n);
	chardev_input(&con->chr, buf, n);
	return true;
}

static void console_in_event(void *owner, uint32_t events)
{
	struct console *con = owner;

	console_read(con);		/* after a hang-up: what is left */
}

/* a regular file as input: read ahead whenever there is room */
static void console_in_timer(void *owner)
{
	struct console *con = owner;

	while (con->in >= 0 && !con->paused)
		if (!console_read(con))
			break;
}

static void console_free(struct chardev *c)
{
	struct console *con = (struct console *)c;

	input_end(con);
	if (con->out_lf)
		loop_fd_remove(con->out_lf);
	if (con->in_timer)
		loop_timer_free(con->in_timer);
	if (con->tty)
		terminal_restore();
	if (con->own_out)
		close(con->out);
	free(con);
}

static const struct chardev_ops console_ops = {
	.put = console_put,
	.want_put = console_want_put,
	.want_get = console_want_get,
	.free = console_free,
};

/*
 * O_NONBLOCK belongs to the open file, which the shell shares: open terminals
 * and pipes anew instead of setting it on ours.
 */
static void output_open(struct console *con)
{
	struct stat st;
	int fd;

	con->out = STDOUT_FILENO;
	if (fstat(con->out, &st))
		return;		/* closed: put will tell */
	con->out_socket = S_ISSOCK(st.st_mode);
	if (con->out_socket || !(isatty(con->out) || S_ISFIFO(st.st_mode)))
		return;
	fd = open("/proc/self/fd/1",
		  O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	con->own_out = fd >= 0;
	con->out_blocks = fd < 0;
	if (fd >= 0)
		con->out = fd;
}

static void input_open(struct console *con)
{
	con->tty = terminal_ours();
	if (!con->tty && isatty(STDIN_FILENO)) {	/* in the background */
		con->in = -1;
		return;
	}
	con->in = STDIN_FILENO;
	con->in_lf = loop_fd_add(con->chr.loop, con->in, EPOLLIN,
				 console_in_event, con);
	if (!con->in_lf)
		loop_timer_arm(con->in_timer, loop_now());
	if (con->tty)
		terminal_raw();
}

struct chardev *console_stdio_new(struct loop *loop,
				  const struct console_keys *keys,
				  char *err, size_t errlen)
{
	struct console *con = calloc(1, sizeof(*con));

	if (!con)
		goto nomem;
	con->in = -1;
	if (keys)
		con->keys = *keys;
	con->commands.command = command_key;
	con->commands.owner = con;
	con->in_timer = loop_timer_new(loop, console_in_timer, con);
	if (!con->in_timer)
		goto nomem;
	if (chardev_init(&con->chr, &console_ops, loop)) {
		loop_timer_free(con->in_timer);
		goto nomem;
	}
	/* a reader of our output that goes away must not take the VM along */
	signal(SIGPIPE, SIG_IGN);
	output_open(con);
	con->out_lf = loop_fd_add(loop, con->out, 0, console_out_event, con);
	input_open(con);
	return &con->chr;

nomem:
	free(con);
	snprintf(err, errlen, "console: out of memory");
	return NULL;
}
