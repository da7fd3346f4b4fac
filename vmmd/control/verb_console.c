// SPDX-License-Identifier: GPL-2.0
/* vmmd console: this terminal at a running machine's serial console. */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "client.h"
#include "terminal.h"
#include "verbs.h"
#include "vm.h"

static const char keys_help[] =
	"\r\nCtrl-A h  this help\r\n"
	"Ctrl-A x  leave the console; the machine goes on\r\n"
	"Ctrl-A Ctrl-A  send Ctrl-A to the guest\r\n";

struct session {
	int fd;
	bool tty;		/* standard input is a terminal that is ours */
	bool in_eof;
	bool leave;
	struct terminal_keys keys;
	uint8_t typed[4096];	/* not sent yet */
	size_t ntyped;
};

static int put(const void *data, size_t len)
{
	const char *s = data;
	ssize_t n;

	for (; len; s += n, len -= n) {
		n = write(STDOUT_FILENO, s, len);
		if (n < 0 && errno == EINTR)
			n = 0;
		if (n < 0)
			return -errno;
	}
	return 0;
}

static void command(void *owner, uint8_t key)
{
	struct session *s = owner;

	if (key == 'x' || key == 'X')
		s->leave = true;
	else if (key == 'h' || key == 'H' || key == '?')
		put(keys_help, sizeof(keys_help) - 1);
}

/*
 * A terminal is read always, as Ctrl-A x must work when the guest takes nothing:
 * then it loses what is typed. A file or a pipe waits.
 */
static bool wants_input(const struct session *s)
{
	return !s->in_eof && (s->tty || !s->ntyped);
}

static void read_input(struct session *s)
{
	uint8_t buf[sizeof(s->typed)];
	size_t room = sizeof(s->typed) - s->ntyped, len;
	ssize_t n = read(STDIN_FILENO, buf, sizeof(buf));

	if (n < 0 && errno == EINTR)
		return;
	if (n <= 0) {
		s->in_eof = true;
		return;
	}
	len = s->tty ? terminal_filter(&s->keys, buf, n) : (size_t)n;
	if (len > room)
		len = room;
	memcpy(s->typed + s->ntyped, buf, len);
	s->ntyped += len;
}

static void send_typed(struct session *s)
{
	ssize_t n = send(s->fd, s->typed, s->ntyped, MSG_DONTWAIT | MSG_NOSIGNAL);

	if (n <= 0)
		return;		/* later; an end is heard of by reading */
	s->ntyped -= n;
	memmove(s->typed, s->typed + n, s->ntyped);
}

/* until one of the sides ends */
static int session_run(struct session *s)
{
	struct pollfd p[2] = { { .fd = s->fd }, { .events = POLLIN } };
	bool told = false;
	char buf[4096];
	ssize_t n;

	while (!s->leave) {
		if (s->in_eof && !s->ntyped && !told)
			told = !shutdown(s->fd, SHUT_WR);
		p[0].events = POLLIN | (s->ntyped ? POLLOUT : 0);
		p[1].fd = wants_input(s) ? STDIN_FILENO : -1;
		if (poll(p, 2, -1) < 0) {
			if (errno == EINTR)
				continue;
			return -errno;
		}
		if (p[0].revents & (POLLIN | POLLHUP | POLLERR)) {
			n = recv(s->fd, buf, sizeof(buf), MSG_DONTWAIT);
			if (!n || (n < 0 && errno != EAGAIN && errno != EINTR))
				return 0;
			if (n > 0 && put(buf, n))
				return -EPIPE;
		}
		if (p[0].revents & POLLOUT)
			send_typed(s);
		if (p[1].revents)
			read_input(s);
	}
	return 0;
}

static int session_begin(struct client *c, const char *name)
{
	struct session s = { .fd = c->fd, .tty = terminal_ours() };
	int ret;

	s.keys.command = command;
	s.keys.owner = &s;
	/* in the background, reading would stop this process */
	s.in_eof = !s.tty && isatty(STDIN_FILENO);
	if (s.tty) {
		fprintf(stderr, "vmmd: the console of %s; Ctrl-A x leaves it\n", name);
		terminal_raw();
	}
	/* what came behind the answer */
	ret = put(c->buf, c->used);
	if (!ret)
		ret = session_run(&s);
	terminal_restore();
	if (s.tty)
		fputc('\n', stderr);
	if (!ret)
		return VM_EXIT_OK;
	fprintf(stderr, "vmmd: cannot write to standard output: %s\n",
		strerror(-ret));
	return VM_EXIT_ERROR;
}

static int console_main(const struct verb *verb, int argc, char **argv)
{
	char err[512];
	const char *name;
	struct client c;
	json_t *result;
	int ret = verb_options(verb, argc, argv, NULL, "NAME", 1, &name);

	if (ret >= 0)
		return ret;
	if (client_open(&c, name, err, sizeof(err))) {
		fprintf(stderr, "vmmd: %s\n", err);
		return VM_EXIT_ERROR;
	}
	result = client_call(&c, "console", NULL, CLIENT_PATIENCE_MS, NULL, NULL,
			     err, sizeof(err));
	ret = VM_EXIT_ERROR;
	if (result)
		ret = session_begin(&c, name);
	else
		fprintf(stderr, "vmmd: %s: %s\n", name, err);
	json_decref(result);
	client_close(&c);
	return ret;
}

const struct verb verb_console = {
	.name = "console",
	.help =
"usage: vmmd console NAME\n"
"\n"
"Attach this terminal to the serial console of the machine NAME, beside whatever\n"
"else has it. Ctrl-A x leaves the console; the machine goes on. Without a terminal,\n"
"standard input is typed and what the guest prints goes to standard output until\n"
"the machine ends.\n",
	.main = console_main,
};
