// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "client.h"
#include "names.h"

#define CHUNK		4096U
#define ANSWER_MAX	(16U << 20)

int client_open(struct client *c, const char *name, char *err, size_t errlen)
{
	memset(c, 0, sizeof(*c));
	c->fd = names_connect(name, &c->pid, err, errlen);
	return c->fd < 0 ? c->fd : 0;
}

void client_close(struct client *c)
{
	if (c->fd >= 0)
		close(c->fd);
	free(c->buf);
	c->fd = -1;
	c->buf = NULL;
}

/* send all of it: the machine reads while it has none of our answers kept */
static int client_send(struct client *c, const char *s, size_t len)
{
	ssize_t n;

	while (len) {
		n = send(c->fd, s, len, MSG_NOSIGNAL);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		s += n;
		len -= n;
	}
	return 0;
}

/* more bytes; 0: the end; -errno */
static ssize_t client_read(struct client *c, int patience_ms)
{
	struct pollfd p = { .fd = c->fd, .events = POLLIN };
	char *more;
	ssize_t n;
	int ret;

	if (c->used + CHUNK > c->size) {
		if (c->size >= ANSWER_MAX)
			return -EMSGSIZE;
		more = realloc(c->buf, 2 * c->size + CHUNK);
		if (!more)
			return -ENOMEM;
		c->buf = more;
		c->size = 2 * c->size + CHUNK;
	}
	do
		ret = poll(&p, 1, patience_ms);
	while (ret < 0 && errno == EINTR);
	if (ret <= 0)
		return ret ? -errno : -ETIMEDOUT;
	do
		n = recv(c->fd, c->buf + c->used, CHUNK, 0);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	c->used += n;
	return n;
}

/* a line as JSON; NULL with a line in err[] */
static json_t *client_line(struct client *c, int patience_ms, char *err,
			   size_t errlen)
{
	size_t looked = 0;
	json_error_t e;
	json_t *line;
	ssize_t n;
	char *end;

	while (c->used == looked ||
	       !(end = memchr(c->buf + looked, '\n', c->used - looked))) {
		looked = c->used;
		n = client_read(c, patience_ms);
		if (n > 0)
			continue;
		if (n == -ETIMEDOUT)
			snprintf(err, errlen, "process %d does not answer", (int)c->pid);
		else
			snprintf(err, errlen, "the connection ended before the answer: %s",
				 n ? strerror(-n) : "the machine has gone");
		return NULL;
	}
	line = json_loadb(c->buf, end - c->buf, 0, &e);
	if (!line)
		snprintf(err, errlen, "process %d answers something else than JSON: %s",
			 (int)c->pid, e.text);
	c->used -= end + 1 - c->buf;
	memmove(c->buf, end + 1, c->used);
	return line;
}

static json_t *result_of(json_t *answer, char *err, size_t errlen)
{
	json_t *result = json_object_get(answer, "result");
	const char *text;

	if (json_is_true(json_object_get(answer, "ok")) && result)
		return json_incref(result);
	text = json_string_value(json_object_get(json_object_get(answer, "error"),
						 "message"));
	snprintf(err, errlen, "%s", text ? text : "an answer that is none");
	return NULL;
}

json_t *client_call(struct client *c, const char *cmd, json_t *args,
		    int patience_ms,
		    void (*progress)(void *owner, json_t *event), void *owner,
		    char *err, size_t errlen)
{
	json_t *request = json_pack("{ss so*}", "cmd", cmd, "args", args);
	char *s = request ? json_dumps(request, JSON_COMPACT) : NULL;
	json_t *answer, *result;
	size_t len = s ? strlen(s) : 0;
	int ret = s ? 0 : -ENOMEM;

	json_decref(request);
	if (!ret) {
		s[len] = '\n';		/* in the place of its end */
		ret = client_send(c, s, len + 1);
	}
	free(s);
	if (ret) {
		snprintf(err, errlen, "cannot send: %s", strerror(-ret));
		return NULL;
	}
	while ((answer = client_line(c, patience_ms, err, errlen)) &&
	       json_object_get(answer, "event")) {
		if (progress)
			progress(owner, answer);
		json_decref(answer);
	}
	result = answer ? result_of(answer, err, errlen) : NULL;
	json_decref(answer);
	return result;
}

int client_wait_end(struct client *c, int patience_ms)
{
	ssize_t n;

	do {
		c->used = 0;
		n = client_read(c, patience_ms);
	} while (n > 0);
	return n == -ETIMEDOUT ? n : 0;
}

json_t *client_ask(const char *name, const char *cmd, json_t *args,
		   int patience_ms)
{
	struct client c;
	char err[512];
	json_t *result = NULL;

	if (client_open(&c, name, err, sizeof(err))) {
		fprintf(stderr, "vmmd: %s\n", err);
		json_decref(args);
		return NULL;
	}
	result = client_call(&c, cmd, args, patience_ms, NULL, NULL, err,
			     sizeof(err));
	if (!result)
		fprintf(stderr, "vmmd: %s: %s\n", name, err);
	client_close(&c);
	return result;
}
