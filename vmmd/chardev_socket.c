// SPDX-License-Identifier: GPL-2.0
/*
 * --console socket=PATH: a listening unix socket, one client at a time. While
 * there is none, the newest output is kept for the next one.
 */
#define _GNU_SOURCE 1		/* accept4 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "chardev.h"

struct chardev_socket {
	struct chardev chr;
	struct sockaddr_un addr;
	int listen_fd;
	int fd;			/* of the client, -1 */
	struct loop_fd *listen_lf;
	struct loop_fd *lf;
	uint32_t events;
	bool eof;		/* the client sends no more, but may listen */
};

/* always wanted, and never there: the loop reports a hang-up only to those who
 * want something */
#define CLIENT_EVENTS	EPOLLPRI

static void client_close(struct chardev_socket *s)
{
	if (s->lf)
		loop_fd_remove(s->lf);
	if (s->fd >= 0)
		close(s->fd);
	s->lf = NULL;
	s->fd = -1;
	s->chr.overwrite = true;
	loop_fd_set(s->listen_lf, EPOLLIN);
}

static void client_events(struct chardev_socket *s, uint32_t bit, bool on)
{
	s->events = on ? s->events | bit : s->events & ~bit;
	if (s->lf)
		loop_fd_set(s->lf, s->events);
}

static ssize_t socket_put(struct chardev *c, const uint8_t *buf, size_t len)
{
	struct chardev_socket *s = (struct chardev_socket *)c;
	ssize_t n;

	if (s->fd < 0)
		return -EAGAIN;
	n = send(s->fd, buf, len, MSG_DONTWAIT | MSG_NOSIGNAL);
	if (n >= 0)
		return n;
	if (errno != EAGAIN && errno != EINTR)
		client_close(s);
	return -EAGAIN;
}

static void socket_want_put(struct chardev *c, bool on)
{
	client_events((struct chardev_socket *)c, EPOLLOUT, on);
}

static void socket_want_get(struct chardev *c, bool on)
{
	struct chardev_socket *s = (struct chardev_socket *)c;

	client_events(s, EPOLLIN, on && !s->eof);
}

static void client_read(struct chardev_socket *s)
{
	uint8_t buf[CHARDEV_INPUT];
	size_t room = chardev_input_room(&s->chr);
	ssize_t n;

	if (!room) {
		client_events(s, EPOLLIN, false);
		return;
	}
	n = recv(s->fd, buf, room, MSG_DONTWAIT);
	if (n > 0) {
		chardev_input(&s->chr, buf, n);
	} else if (n == 0) {
		s->eof = true;
		client_events(s, EPOLLIN, false);
	} else if (errno != EAGAIN && errno != EINTR) {
		client_close(s);
	}
}

static void client_event(void *owner, uint32_t events)
{
	struct chardev_socket *s = owner;

	if (events & EPOLLIN)
		client_read(s);
	else if (events & (EPOLLHUP | EPOLLERR))
		client_close(s);
	if (s->fd < 0 || (events & EPOLLOUT))
		chardev_writable(&s->chr);
}

static void listen_event(void *owner, uint32_t events)
{
	struct chardev_socket *s = owner;

	if (s->fd >= 0)
		return;
	s->fd = accept4(s->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (s->fd < 0)
		return;
	s->eof = false;
	s->events = CLIENT_EVENTS | (chardev_input_room(&s->chr) ? EPOLLIN : 0);
	s->lf = loop_fd_add(s->chr.loop, s->fd, s->events, client_event, s);
	if (!s->lf) {
		client_close(s);
		return;
	}
	loop_fd_set(s->listen_lf, 0);	/* others wait in the backlog */
	s->chr.overwrite = false;
	chardev_writable(&s->chr);
}

static void socket_free(struct chardev *c)
{
	struct chardev_socket *s = (struct chardev_socket *)c;

	if (s->fd >= 0)
		client_close(s);
	if (s->listen_lf)
		loop_fd_remove(s->listen_lf);
	close(s->listen_fd);
	unlink(s->addr.sun_path);
	free(s);
}

static const struct chardev_ops socket_ops = {
	.put = socket_put,
	.want_put = socket_want_put,
	.want_get = socket_want_get,
	.free = socket_free,
};

/* a socket that nobody serves is left over from a killed process */
static bool stale(const struct sockaddr_un *addr)
{
	struct stat st;
	bool dead;
	int fd;

	if (lstat(addr->sun_path, &st) || !S_ISSOCK(st.st_mode))
		return false;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return false;
	dead = connect(fd, (const void *)addr, sizeof(*addr)) &&
	       errno == ECONNREFUSED;
	close(fd);
	return dead;
}

static int socket_listen(struct chardev_socket *s)
{
	s->listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC |
					       SOCK_NONBLOCK, 0);
	if (s->listen_fd < 0)
		return -errno;
	if (stale(&s->addr))
		unlink(s->addr.sun_path);
	if (bind(s->listen_fd, (const void *)&s->addr, sizeof(s->addr)))
		return -errno;
	if (!listen(s->listen_fd, 1))
		return 0;
	unlink(s->addr.sun_path);
	return -errno;
}

struct chardev *chardev_socket_new(struct loop *loop, const char *path,
				   char *err, size_t errlen)
{
	struct chardev_socket *s = calloc(1, sizeof(*s));
	int e = -ENOMEM;

	if (!s)
		goto out;
	s->fd = -1;
	s->listen_fd = -1;
	s->addr.sun_family = AF_UNIX;
	e = -ENAMETOOLONG;
	if (strlen(path) >= sizeof(s->addr.sun_path))
		goto out;
	strcpy(s->addr.sun_path, path);
	e = socket_listen(s);
	if (e)
		goto out;
	e = -ENOMEM;
	s->listen_lf = loop_fd_add(loop, s->listen_fd, EPOLLIN, listen_event, s);
	if (!s->listen_lf || chardev_init(&s->chr, &socket_ops, loop)) {
		unlink(path);
		goto out;
	}
	s->chr.overwrite = true;
	return &s->chr;

out:
	if (s && s->listen_lf)
		loop_fd_remove(s->listen_lf);
	if (s && s->listen_fd >= 0)
		close(s->listen_fd);
	free(s);
	snprintf(err, errlen, "console socket %s: %s; %s", path, strerror(-e),
		 e == -EADDRINUSE ? "remove it, or name another" :
				    "wanted a path where a socket can be made");
	return NULL;
}
