// SPDX-License-Identifier: GPL-2.0
/*
 * Channels: to whom, and from whom. Bytes of a guest's memory cross a network only
 * within TLS or ssh, unless the user says otherwise.
 */
#define _GNU_SOURCE 1		/* accept4, pipe2 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "loop.h"
#include "migrate/channel.h"
#include "migrate/tls.h"

#define NSEC		1000000000ULL
#define BACKLOG		17		/* a source and its streams */
#define SILENCE_MS	20000		/* of a peer that is sent to; then it has gone */

extern char **environ;

static struct channel *refuse(int fd, const char *peer, const char *what, char *err,
			      size_t errlen)
{
	snprintf(err, errlen, "%s: %s", peer, what);
	if (fd >= 0)
		close(fd);
	return NULL;
}

/* an event of fd, or wake_fd, or the time is up */
static int wait_fd(int fd, short events, const struct channel_opts *o, uint64_t until)
{
	struct pollfd p[2] = {
		{ .fd = o->wake_fd, .events = POLLIN },
		{ .fd = fd, .events = events },
	};
	uint64_t now;
	int n, ms = -1;

	do {
		now = loop_now();
		if (until)
			ms = until > now ? (until - now + 999999) / 1000000 : 0;
		n = poll(p, 2, ms);
	} while (n < 0 && errno == EINTR);
	if (n <= 0)
		return n ? -errno : -ETIMEDOUT;
	return p[0].revents ? -ECANCELED : 0;
}

/* ---- tcp: what is asked of both sides ------------------------------------- */

static bool is_loopback(const struct sockaddr_storage *a)
{
	const struct sockaddr_in *v4 = (const void *)a;
	const struct sockaddr_in6 *v6 = (const void *)a;

	if (a->ss_family == AF_INET)
		return ntohl(v4->sin_addr.s_addr) >> 24 == 127;
	return a->ss_family == AF_INET6 && IN6_IS_ADDR_LOOPBACK(&v6->sin6_addr);
}

static void set_up_tcp(int fd)
{
	int on = 1, silence = SILENCE_MS, idle = 5, every = 5, n = 3;

	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &silence, sizeof(silence));
	/* a host that lost its power says nothing: it is asked */
	setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof(idle));
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &every, sizeof(every));
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &n, sizeof(n));
}

/* host NULL: the peer has connected to us */
static struct channel *finish_tcp(int fd, const char *host, const char *peer,
				  const struct channel_opts *o, char *err,
				  size_t errlen)
{
	struct sockaddr_storage a = { 0 };
	socklen_t len = sizeof(a);
	struct channel *c;
	int ret;

	if (getpeername(fd, (struct sockaddr *)&a, &len))
		return refuse(fd, peer, strerror(errno), err, errlen);
	if (!o->tls_dir && !o->insecure && !is_loopback(&a))
		return refuse(fd, peer, "a guest's memory is not sent over a network in the clear: give --tls-dir DIR, use ssh:HOST, or say --insecure",
			      err, errlen);
	set_up_tcp(fd);
	c = channel_new(fd, fd, peer);
	if (!c)
		return refuse(-1, peer, "out of memory", err, errlen);
	c->wake_fd = o->wake_fd;
	if (!o->tls_dir)
		return c;
	if (o->timeout)
		c->deadline = loop_now() + o->timeout;
	ret = tls_start(c, o->tls_dir, host, err, errlen);
	c->deadline = 0;
	if (!ret)
		return c;
	channel_close(c);
	return NULL;
}

static struct addrinfo *resolve(const struct address *a, bool listen, const char *peer,
				char *err, size_t errlen)
{
	const struct addrinfo hints = {
		.ai_socktype = SOCK_STREAM,
		.ai_flags = listen ? AI_PASSIVE : 0,
	};
	struct addrinfo *list;
	int ret = getaddrinfo(a->host[0] ? a->host : NULL, a->port, &hints, &list);

	if (!ret)
		return list;
	snprintf(err, errlen, "%s: %s", peer, gai_strerror(ret));
	return NULL;
}

/* ---- connecting ----------------------------------------------------------- */

static int finish_connect(int fd, const struct channel_opts *o, uint64_t until)
{
	socklen_t len = sizeof(int);
	int error = 0, ret = wait_fd(fd, POLLOUT, o, until);

	if (ret)
		return ret;
	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len))
		return -errno;
	return -error;
}

static int connect_to(const struct sockaddr *sa, socklen_t len, int family,
		      const struct channel_opts *o)
{
	int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int ret = 0;

	if (fd < 0)
		return -errno;
	if (connect(fd, sa, len))
		ret = errno != EINPROGRESS ? -errno :
		      finish_connect(fd, o, o->timeout ? loop_now() + o->timeout : 0);
	if (!ret)
		return fd;
	close(fd);
	return ret;
}

static struct channel *connect_tcp(const struct address *a,
				   const struct channel_opts *o, const char *peer,
				   char *err, size_t errlen)
{
	struct addrinfo *list = resolve(a, false, peer, err, errlen), *i;
	int fd = -EADDRNOTAVAIL;

	if (!list)
		return NULL;
	for (i = list; i && fd < 0 && fd != -ECANCELED; i = i->ai_next)
		fd = connect_to(i->ai_addr, i->ai_addrlen, i->ai_family, o);
	freeaddrinfo(list);
	if (fd < 0)
		return refuse(-1, peer, strerror(-fd), err, errlen);
	return finish_tcp(fd, a->host, peer, o, err, errlen);
}

static void unix_address(struct sockaddr_un *un, const struct address *a)
{
	memset(un, 0, sizeof(*un));
	un->sun_family = AF_UNIX;
	strcpy(un->sun_path, a->path);
}

static struct channel *finish_fds(int rfd, int wfd, const char *peer,
				  const struct channel_opts *o, char *err,
				  size_t errlen)
{
	struct channel *c = channel_new(rfd, wfd, peer);

	if (!c)
		return refuse(-1, peer, "out of memory", err, errlen);
	c->wake_fd = o->wake_fd;
	return c;
}

static struct channel *connect_unix(const struct address *a,
				    const struct channel_opts *o, const char *peer,
				    char *err, size_t errlen)
{
	struct sockaddr_un un;
	int fd;

	unix_address(&un, a);
	fd = connect_to((struct sockaddr *)&un, sizeof(un), AF_UNIX, o);
	if (fd < 0)
		return refuse(-1, peer, strerror(-fd), err, errlen);
	return finish_fds(fd, fd, peer, o, err, errlen);
}

/* for the shell that ssh begins there, which takes what is in quotes as it is */
static char *quoted(const char *text)
{
	char *s = malloc(4 * strlen(text) + 3), *to = s;

	if (!s)
		return NULL;
	*to++ = '\'';
	for (; *text; text++) {
		if (*text == '\'')
			to = stpcpy(to, "'\\'");
		*to++ = *text;
	}
	strcpy(to, "'");
	return s;
}

/* its errors are on our stderr; it is asked nothing that a terminal would answer */
static struct channel *connect_ssh(const struct address *a,
				   const struct channel_opts *o, const char *peer,
				   char *err, size_t errlen)
{
	char *disk = o->disk ? quoted(o->disk) : NULL;
	char *const argv[] = {
		(char *)"ssh", (char *)"-T", (char *)"-o", (char *)"BatchMode=yes",
		(char *)"-o", (char *)"ServerAliveInterval=5", (char *)a->host,
		(char *)"vmmd", (char *)"receive", (char *)"-", (char *)"--detach",
		disk ? (char *)"--disk" : NULL, disk, NULL,
	};
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attr;
	struct channel *c;
	int sv[2], ret;
	sigset_t none;
	pid_t pid;

	if ((o->disk && !disk) || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv)) {
		free(disk);
		return refuse(-1, peer, strerror(errno), err, errlen);
	}
	sigemptyset(&none);
	posix_spawnattr_init(&attr);
	posix_spawnattr_setsigmask(&attr, &none);
	/* a Ctrl-C on the VM's terminal is the VM's */
	posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETPGROUP);
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, sv[1], STDIN_FILENO);
	posix_spawn_file_actions_adddup2(&actions, sv[1], STDOUT_FILENO);
	ret = posix_spawnp(&pid, "ssh", &actions, &attr, argv, environ);
	posix_spawn_file_actions_destroy(&actions);
	posix_spawnattr_destroy(&attr);
	close(sv[1]);
	free(disk);
	if (ret)
		return refuse(sv[0], peer, strerror(ret), err, errlen);
	c = finish_fds(sv[0], sv[0], peer, o, err, errlen);
	if (c)
		c->ssh = pid;
	return c;
}

static void name_peer(const struct address *a, char *peer, size_t len)
{
	switch (a->kind) {
	case ADDRESS_TCP:
		snprintf(peer, len, strchr(a->host, ':') ? "tcp:[%s]:%s" : "tcp:%s:%s",
			 a->host, a->port);
		break;
	case ADDRESS_UNIX:
		snprintf(peer, len, "unix:%s", a->path);
		break;
	case ADDRESS_SSH:
		snprintf(peer, len, "ssh:%s", a->host);
		break;
	case ADDRESS_STDIO:
		snprintf(peer, len, "standard input");
		break;
	}
}

struct channel *channel_connect(const struct address *a,
				const struct channel_opts *o, char *err,
				size_t errlen)
{
	char peer[320];

	name_peer(a, peer, sizeof(peer));
	switch (a->kind) {
	case ADDRESS_TCP:
		return connect_tcp(a, o, peer, err, errlen);
	case ADDRESS_UNIX:
		return connect_unix(a, o, peer, err, errlen);
	case ADDRESS_SSH:
		return connect_ssh(a, o, peer, err, errlen);
	case ADDRESS_STDIO:
		break;
	}
	return refuse(-1, peer, "nothing to connect to", err, errlen);
}

/* ---- accepting ------------------------------------------------------------ */

static int listen_unix(const struct address *a)
{
	struct sockaddr_un un;
	struct stat st;
	mode_t mask;
	int fd, ret = 0;

	/* what another one left; a name that is something else stays */
	if (!lstat(a->path, &st) && S_ISSOCK(st.st_mode))
		unlink(a->path);
	unix_address(&un, a);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	mask = umask(0177);	/* there is one thread yet */
	if (bind(fd, (struct sockaddr *)&un, sizeof(un)) || listen(fd, BACKLOG))
		ret = -errno;
	umask(mask);
	if (!ret)
		return fd;
	close(fd);
	return ret;
}

static int listen_at(const struct addrinfo *i)
{
	int fd = socket(i->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int on = 1, ret;

	if (fd < 0)
		return -errno;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (!bind(fd, i->ai_addr, i->ai_addrlen) && !listen(fd, BACKLOG))
		return fd;
	ret = -errno;
	close(fd);
	return ret;
}

static int listen_tcp(const struct address *a, const char *peer, char *err,
		      size_t errlen)
{
	struct addrinfo *list = resolve(a, true, peer, err, errlen), *i;
	int fd = -EADDRNOTAVAIL;

	if (!list)
		return -EADDRNOTAVAIL;
	for (i = list; i && fd < 0; i = i->ai_next)
		fd = listen_at(i);
	freeaddrinfo(list);
	if (fd < 0)
		snprintf(err, errlen, "%s: %s", peer, strerror(-fd));
	return fd;
}

/* others may use 0 and 1, and detaching closes them */
static struct channel *accept_stdio(const struct channel_opts *o, const char *peer,
				    char *err, size_t errlen)
{
	int rfd = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3), wfd;

	if (rfd < 0)
		return refuse(-1, peer, strerror(errno), err, errlen);
	wfd = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3);
	if (wfd < 0)
		return refuse(rfd, peer, strerror(errno), err, errlen);
	/* what is printed by mistake is no part of the stream */
	dup2(STDERR_FILENO, STDOUT_FILENO);
	return finish_fds(rfd, wfd, peer, o, err, errlen);
}

struct listener {
	const struct address *at;
	struct channel_opts opts;
	char peer[320];
	int fd;			/* -1: standard input, or it was */
	bool stdio;
};

static struct channel *accept_one(struct listener *l, uint64_t until, char *err,
				  size_t errlen)
{
	int conn, ret;

	do {
		ret = wait_fd(l->fd, POLLIN, &l->opts, until);
		if (ret)
			return refuse(-1, l->peer, strerror(-ret), err, errlen);
		conn = accept4(l->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	} while (conn < 0 && (errno == EAGAIN || errno == ECONNABORTED || errno == EINTR));
	if (conn < 0)
		return refuse(-1, l->peer, strerror(errno), err, errlen);
	if (l->at->kind == ADDRESS_TCP)
		return finish_tcp(conn, NULL, l->peer, &l->opts, err, errlen);
	return finish_fds(conn, conn, l->peer, &l->opts, err, errlen);
}

struct listener *listener_new(const struct address *a, const struct channel_opts *o,
			      char *err, size_t errlen)
{
	struct listener *l = calloc(1, sizeof(*l));

	if (!l) {
		snprintf(err, errlen, "out of memory");
		return NULL;
	}
	l->at = a;
	l->opts = *o;
	l->stdio = a->kind == ADDRESS_STDIO;
	name_peer(a, l->peer, sizeof(l->peer));
	if (l->stdio)
		return l;
	l->fd = a->kind == ADDRESS_UNIX ? listen_unix(a) :
					  listen_tcp(a, l->peer, err, errlen);
	if (l->fd >= 0)
		return l;
	if (a->kind == ADDRESS_UNIX)
		refuse(-1, l->peer, strerror(-l->fd), err, errlen);
	free(l);
	return NULL;
}

struct channel *listener_accept(struct listener *l, uint64_t until, char *err,
				size_t errlen)
{
	if (l->at->kind != ADDRESS_STDIO)
		return accept_one(l, until, err, errlen);
	if (!l->stdio)
		return refuse(-1, l->peer, "there is one channel of it", err, errlen);
	l->stdio = false;
	return accept_stdio(&l->opts, l->peer, err, errlen);
}

void listener_wake(struct listener *l, int wake_fd)
{
	l->opts.wake_fd = wake_fd;
}

bool listener_woken(const struct listener *l)
{
	struct pollfd p = { .fd = l->opts.wake_fd, .events = POLLIN };

	return poll(&p, 1, 0) > 0;
}

void listener_close(struct listener *l)
{
	if (!l)
		return;
	if (l->at->kind != ADDRESS_STDIO)
		close(l->fd);
	if (l->at->kind == ADDRESS_UNIX)
		unlink(l->at->path);
	free(l);
}
