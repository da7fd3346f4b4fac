// SPDX-License-Identifier: GPL-2.0
#define _GNU_SOURCE 1		/* ppoll */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "loop.h"
#include "migrate/channel.h"
#include "migrate/tls.h"

#define NSEC	1000000000ULL
#define PIECE	16384U		/* sent at a time where there is a limit */

struct channel *channel_new(int rfd, int wfd, const char *peer)
{
	struct channel *c = calloc(1, sizeof(*c));

	if (!c) {
		close(rfd);
		if (wfd != rfd)
			close(wfd);
		return NULL;
	}
	c->rfd = rfd;
	c->wfd = wfd;
	c->wake_fd = -1;
	snprintf(c->peer, sizeof(c->peer), "%s", peer);
	fcntl(rfd, F_SETFL, fcntl(rfd, F_GETFL) | O_NONBLOCK);
	fcntl(wfd, F_SETFL, fcntl(wfd, F_GETFL) | O_NONBLOCK);
	return c;
}

void channel_close(struct channel *c)
{
	if (!c)
		return;
	tls_free(c->tls);
	close(c->rfd);
	if (c->wfd != c->rfd)
		close(c->wfd);
	if (c->ssh)
		while (waitpid(c->ssh, NULL, 0) < 0 && errno == EINTR)
			;
	free(c);
}

/* ---- waiting -------------------------------------------------------------- */

int channel_check(struct channel *c)
{
	if (!c->deadline || loop_now() < c->deadline)
		return 0;
	if (!c->late)
		return -ETIMEDOUT;
	c->deadline = 0;
	c->late(c->owner);
	return 0;
}

/* for events of fd (-1: none), at most until then (0: for ever) */
static int wait_for(struct channel *c, int fd, short events, uint64_t until)
{
	struct pollfd p[2] = {
		{ .fd = c->wake_fd, .events = POLLIN },
		{ .fd = fd, .events = events },
	};
	struct timespec ts;
	uint64_t now, end = until;
	int n;

	now = loop_now();
	if (!end && c->patience)
		end = now + c->patience;
	if (c->deadline && (!until || c->deadline < end))
		end = c->deadline;
	now = end > now ? end - now : 0;
	ts.tv_sec = now / NSEC;
	ts.tv_nsec = now % NSEC;
	n = ppoll(p, 2, end ? &ts : NULL, NULL);
	if (n < 0 && errno != EINTR)
		return -errno;
	if (n > 0 && p[0].revents)
		return -ECANCELED;
	if (!n && !until && !c->deadline)
		return -ETIMEDOUT;
	return channel_check(c);
}

bool channel_woken(const struct channel *c)
{
	struct pollfd p = { .fd = c->wake_fd, .events = POLLIN };

	return poll(&p, 1, 0) > 0;
}

int channel_sleep(struct channel *c, uint64_t until)
{
	int ret = 0;

	while (!ret && loop_now() < until)
		ret = wait_for(c, -1, 0, until);
	return ret;
}

/* ---- writing -------------------------------------------------------------- */

static ssize_t send_some(struct channel *c, const void *buf, size_t len)
{
	ssize_t n;

	if (c->tls)
		return tls_send(c->tls, buf, len);
	n = send(c->wfd, buf, len, MSG_NOSIGNAL);
	if (n < 0 && errno == ENOTSOCK)
		n = write(c->wfd, buf, len);
	return n < 0 ? -errno : n;
}

/* as much as the limit has room for; may wait */
static int keep_limit(struct channel *c, size_t *len)
{
	uint64_t now = loop_now();
	int ret;

	if (!c->limit)
		return 0;
	if (*len > PIECE)
		*len = PIECE;
	if (c->next_send > now) {
		ret = channel_sleep(c, c->next_send);
		if (ret)
			return ret;
	} else {
		c->next_send = now;	/* what was not used is gone */
	}
	return 0;
}

static int send_all(struct channel *c, const uint8_t *p, size_t len)
{
	ssize_t n;
	size_t part;
	int ret;

	while (len) {
		part = len;
		ret = keep_limit(c, &part);
		if (ret)
			return ret;
		n = send_some(c, p, part);
		if (n == -EAGAIN) {
			ret = wait_for(c, c->wfd, c->tls && tls_wants_read(c->tls) ?
				       POLLIN : POLLOUT, 0);
			if (ret)
				return ret;
			continue;
		}
		if (n == -EINTR)
			continue;
		if (n < 0)
			return n;
		if (c->limit)
			c->next_send += n * NSEC / c->limit;
		c->sent += n;
		p += n;
		len -= n;
	}
	return channel_check(c);
}

int channel_flush(struct channel *c)
{
	size_t n = c->used;

	c->used = 0;
	return send_all(c, c->buf, n);
}

int channel_write(void *channel, const void *buf, size_t len)
{
	struct channel *c = channel;
	int ret;

	if (c->used + len > sizeof(c->buf)) {
		ret = channel_flush(c);
		if (ret)
			return ret;
	}
	if (len > sizeof(c->buf))
		return send_all(c, buf, len);
	memcpy(c->buf + c->used, buf, len);
	c->used += len;
	return 0;
}

/* ---- reading -------------------------------------------------------------- */

static ssize_t read_some(struct channel *c, void *buf, size_t len)
{
	ssize_t n;

	if (c->tls)
		return tls_receive(c->tls, buf, len);
	n = read(c->rfd, buf, len);
	return n < 0 ? -errno : n;
}

int channel_read(void *channel, void *buf, size_t len)
{
	struct channel *c = channel;
	uint8_t *p = buf;
	ssize_t n;
	int ret;

	while (len) {
		n = read_some(c, p, len);
		if (n == -EAGAIN) {
			ret = wait_for(c, c->rfd, c->tls && tls_wants_write(c->tls) ?
				       POLLOUT : POLLIN, 0);
			if (ret)
				return ret;
			continue;
		}
		if (n == -EINTR)
			continue;
		if (!n)
			return -ENODATA;
		if (n < 0)
			return n;
		p += n;
		len -= n;
	}
	return 0;
}

bool channel_readable(struct channel *c)
{
	struct pollfd p = { .fd = c->rfd, .events = POLLIN };

	if (c->tls && tls_pending(c->tls))
		return true;
	return poll(&p, 1, 0) > 0;
}

void channel_linger(struct channel *c, uint64_t ns)
{
	uint8_t dump[4096];

	c->late = NULL;
	c->deadline = loop_now() + ns;
	if (channel_flush(c))
		return;
	if (c->tls)
		tls_bye(c->tls);
	if (c->wfd != c->rfd || shutdown(c->wfd, SHUT_WR))
		return;
	while (!channel_read(c, dump, sizeof(dump)))
		;
}
