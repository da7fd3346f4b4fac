// SPDX-License-Identifier: GPL-2.0
/*
 * A connection to the control socket: lines in, lines out.
 *
 * A peer is hostile or slow at any time. What it sends is a line of bounded
 * length; what it does not fetch makes it wait, not us: no more of its requests
 * are read while CONTROL_OUT_SLOW bytes are kept for it, and progress is left
 * out. So a connection costs at most its line, its slow answers, and one answer
 * for each of its CONTROL_CALLS_MAX calls.
 *
 * A command may let go of the machine lock while it waits (vm_pause does), and
 * a worker may answer meanwhile: `busy` keeps the connection until the loop's
 * thread is out of it.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "control_priv.h"
#include "loop.h"

#define LINES_AT_ONCE	32	/* then vCPUs get their turn */
#define FLUSH_MS	100	/* at the end, for each peer */
/* always wanted, and never there: a hang-up is told to who wants something */
#define CONN_EVENTS	EPOLLPRI

/* ---- output --------------------------------------------------------------- */

static void conn_flush(struct conn *conn)
{
	size_t done = 0;
	ssize_t n;

	if (!conn->out_used)
		return;
	while (done < conn->out_used && !conn->broken) {
		n = send(conn->fd, conn->out + done, conn->out_used - done,
			 MSG_DONTWAIT | MSG_NOSIGNAL);
		if (n >= 0)
			done += n;
		else if (errno == EAGAIN)
			break;
		else if (errno != EINTR)
			conn->broken = true;
	}
	conn->out_used -= done;
	memmove(conn->out, conn->out + done, conn->out_used);
	if (conn->broken)
		conn->out_used = 0;
}

void conn_send(struct conn *conn, json_t *message)
{
	size_t len = json_dumpb(message, NULL, 0, JSON_COMPACT);
	size_t need = conn->out_used + len + 1;
	char *out = conn->out;

	if (need > conn->out_size) {
		out = len ? realloc(conn->out, need) : NULL;
		if (out) {
			conn->out = out;
			conn->out_size = need;
		}
	}
	if (out && !conn->broken) {
		json_dumpb(message, out + conn->out_used, len, JSON_COMPACT);
		out[need - 1] = '\n';
		conn->out_used = need;
		conn_flush(conn);
	} else {
		conn->broken = true;	/* an answer is missing */
	}
	json_decref(message);
}

bool conn_slow(const struct conn *conn)
{
	return conn->out_used >= CONTROL_OUT_SLOW;
}

/* ---- its end -------------------------------------------------------------- */

static void conn_free(struct conn *conn)
{
	struct control *c = conn->c;
	struct conn **p;

	for (p = &c->conns; *p != conn; p = &(*p)->next)
		;
	*p = conn->next;
	c->nconns--;
	loop_fd_remove(conn->lf);
	if (conn->fd >= 0)
		close(conn->fd);
	/* a call that answers now finds nobody */
	conn->broken = true;
	conn->busy = true;
	control_hung_up(c, conn);
	free(conn->in);
	free(conn->out);
	free(conn);
}

void conn_settle(struct conn *conn)
{
	uint32_t events = CONN_EVENTS;

	if (conn->busy)
		return;
	if (conn->broken)
		conn->waiting = false;
	if ((conn->eof || conn->broken) && !conn->ncalls && !conn->out_used &&
	    !conn->waiting) {
		conn_free(conn);
		return;
	}
	if (!conn->eof && !conn->broken && !conn_slow(conn))
		events |= EPOLLIN;
	/* an answer of a worker's may have made room: the loop goes on there */
	if (conn->out_used || conn->waiting)
		events |= EPOLLOUT;
	loop_fd_set(conn->lf, events);
}

static void conn_compact(struct conn *conn)
{
	conn->in_used -= conn->in_head;
	memmove(conn->in, conn->in + conn->in_head, conn->in_used);
	conn->in_head = 0;
}

int conn_take(struct conn *conn, char **ahead, size_t *len)
{
	int fd = conn->fd;

	conn_compact(conn);
	*ahead = conn->in;
	*len = conn->in_used;
	loop_fd_remove(conn->lf);
	conn->lf = NULL;
	conn->fd = -1;
	conn->in = NULL;
	conn->in_used = 0;
	conn->eof = true;
	return fd;
}

void conn_end(struct conn *conn)
{
	struct pollfd p = { .fd = conn->fd, .events = POLLOUT };

	conn_flush(conn);
	while (conn->out_used && poll(&p, 1, FLUSH_MS) == 1)
		conn_flush(conn);
	conn_free(conn);
}

/* ---- input ---------------------------------------------------------------- */

/* a copy of the line at in_head, without its end; NULL also if it is skipped */
static char *conn_line(struct conn *conn, size_t *len)
{
	char *start = conn->in + conn->in_head, *line = NULL;

	*len = (char *)memchr(start, '\n', conn->in_used - conn->in_head) - start;
	if (!conn->skipping) {
		line = malloc(*len + 1);
		if (line)
			memcpy(line, start, *len);
		else
			conn->broken = true;
	}
	conn->skipping = false;
	conn->in_head += *len + 1;
	return line;
}

static bool conn_has_line(const struct conn *conn)
{
	return conn->in_used > conn->in_head &&
	       memchr(conn->in + conn->in_head, '\n',
		      conn->in_used - conn->in_head);
}

/* some of the lines that are complete, while their answers are fetched */
static void conn_lines(struct conn *conn)
{
	unsigned int n;
	size_t len;
	char *line;

	for (n = 0; n < LINES_AT_ONCE && !conn->broken && !conn_slow(conn) &&
	     conn_has_line(conn); n++) {
		line = conn_line(conn, &len);
		/* this may take the connection away */
		if (line)
			control_request(conn, line, len);
		free(line);
	}
	conn->waiting = conn_has_line(conn);
	if (conn->in)
		conn_compact(conn);
	if (conn->in_used == CONTROL_LINE_MAX && !conn->waiting) {
		if (!conn->skipping)
			control_refuse(conn, NULL, EMSGSIZE, "a request has at most 65536 bytes, found no end of line in as many");
		conn->skipping = true;
		conn->in_used = 0;
	}
}

static void conn_read(struct conn *conn)
{
	ssize_t n = recv(conn->fd, conn->in + conn->in_used,
			 CONTROL_LINE_MAX - conn->in_used, MSG_DONTWAIT);

	if (n > 0)
		conn->in_used += n;
	else if (n == 0)
		conn->eof = true;
	else if (errno != EAGAIN && errno != EINTR)
		conn->broken = true;
}

static void conn_event(void *owner, uint32_t events)
{
	struct conn *conn = owner;

	conn->busy = true;
	if (events & EPOLLOUT)
		conn_flush(conn);
	if ((events & EPOLLIN) && conn->in_used < CONTROL_LINE_MAX)
		conn_read(conn);
	conn_lines(conn);
	conn->busy = false;
	if ((events & (EPOLLHUP | EPOLLERR)) && conn->lf &&
	    (conn->eof || !(events & EPOLLIN)))
		conn_free(conn);	/* and whoever works for it is told */
	else
		conn_settle(conn);
}

void conn_new(struct control *c, int fd)
{
	static const char full[] =
		"{\"id\":null,\"ok\":false,\"error\":{\"code\":\"EBUSY\","
		"\"message\":\"all connections are taken: close one\"}}\n";
	struct conn *conn;

	if (c->nconns == CONTROL_CONNS_MAX) {
		send(fd, full, sizeof(full) - 1, MSG_DONTWAIT | MSG_NOSIGNAL);
		close(fd);
		return;
	}
	conn = calloc(1, sizeof(*conn));
	if (!conn) {
		close(fd);
		return;
	}
	conn->c = c;
	conn->fd = fd;
	conn->next = c->conns;
	c->conns = conn;
	c->nconns++;
	conn->in = malloc(CONTROL_LINE_MAX);
	if (conn->in)
		conn->lf = loop_fd_add(c->loop, fd, CONN_EVENTS | EPOLLIN,
				       conn_event, conn);
	if (!conn->lf)
		conn_free(conn);
}

