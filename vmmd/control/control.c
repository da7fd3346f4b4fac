// SPDX-License-Identifier: GPL-2.0
/* The control socket's server: calls, the commands that begin them, who comes. */
#define _GNU_SOURCE 1		/* accept4, strerrorname_np */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "control_priv.h"
#include "loop.h"

#define NSEC		1000000000ULL

/* ---- the end of a call ---------------------------------------------------- */

static void call_free(struct control_call *call)
{
	struct control_call **p;

	for (p = &call->c->calls; *p != call; p = &(*p)->next)
		;
	*p = call->next;
	json_decref(call->id);
	free(call);
}

void control_hung_up(struct control *c, struct conn *conn)
{
	struct control_call *call;

again:
	/* what is told may answer at once: then the list is another */
	for (call = c->calls; call; call = call->next) {
		if (call->conn != conn)
			continue;
		call->conn = NULL;
		if (call->cancel) {
			call->cancel(call->owner);
			goto again;
		}
	}
}

/* answer is stolen */
static void call_end(struct control_call *call, json_t *answer)
{
	struct conn *conn = call->conn;

	if (conn) {
		conn_send(conn, answer);
		conn->ncalls--;
	} else {
		json_decref(answer);
	}
	call_free(call);
	if (conn)
		conn_settle(conn);
}

static json_t *answer_ok(json_t *id, json_t *result)
{
	return json_pack("{sO sb so}", "id", id, "ok", 1, "result",
			 result ? result : json_object());
}

static json_t *answer_error(json_t *id, int err, const char *text)
{
	const char *code = strerrorname_np(err);
	json_t *answer;

	if (!code)
		code = "EIO";
	answer = json_pack("{sO sb s{ss ss}}", "id", id, "ok", 0, "error",
			   "code", code, "message", text);
	/* what a message quotes need not be UTF-8 */
	if (!answer)
		answer = json_pack("{sO sb s{ss ss}}", "id", id, "ok", 0,
				   "error", "code", code, "message",
				   strerror(err));
	return answer;
}

/* ---- calls: what commands use --------------------------------------------- */

void control_done(struct control_call *call, json_t *result)
{
	call_end(call, answer_ok(call->id, result));
}

void control_fail(struct control_call *call, int err, const char *fmt, ...)
{
	char text[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	call_end(call, answer_error(call->id, err, text));
}

void control_progress(struct control_call *call, json_t *fields)
{
	struct conn *conn = call->conn;
	json_t *event;

	if (!conn || conn->broken || conn_slow(conn)) {
		json_decref(fields);
		return;
	}
	event = json_pack("{sO ss}", "id", call->id, "event", "progress");
	if (event && fields)
		json_object_update_missing(event, fields);
	json_decref(fields);
	conn_send(conn, event);
	conn_settle(conn);
}

void control_on_cancel(struct control_call *call, void (*fn)(void *owner),
		       void *owner)
{
	call->cancel = fn;
	call->owner = owner;
}

bool control_args(struct control_call *call, json_t *args, const char *fmt, ...)
{
	json_error_t e;
	va_list ap;
	int ret;

	va_start(ap, fmt);
	ret = json_vunpack_ex(args, &e, 0, fmt, ap);
	va_end(ap);
	if (ret)
		control_fail(call, EINVAL, "the arguments are not those of this command: %s",
			     e.text);
	return !ret;
}

int control_take(struct control_call *call, json_t *result, char **ahead,
		 size_t *len)
{
	struct conn *conn = call->conn;
	int fd;

	if (!conn || conn->ncalls > 1 || conn->out_used) {
		json_decref(result);
		control_fail(call, EBUSY, "this takes the whole connection, but other requests of it are in progress: open one for it alone");
		return -EBUSY;
	}
	conn_send(conn, answer_ok(call->id, result));
	if (conn->broken || conn->out_used) {	/* it took not even this */
		conn->broken = true;
		conn->out_used = 0;
		conn->ncalls--;
		call_free(call);
		conn_settle(conn);
		return -EPIPE;
	}
	fd = conn_take(conn, ahead, len);
	conn->ncalls--;
	call_free(call);
	conn_settle(conn);
	return fd;
}

/* ---- requests ------------------------------------------------------------- */

static struct control_command *command_find(struct control *c, const char *name)
{
	struct control_command *cmd = c->commands;

	while (cmd && strcmp(cmd->name, name))
		cmd = cmd->next;
	return cmd;
}

void control_refuse(struct conn *conn, json_t *id, int err, const char *text)
{
	conn_send(conn, answer_error(id ? id : json_null(), err, text));
}

/* a command with its arguments, or NULL and refused */
static struct control_command *request_check(struct conn *conn, json_t *request,
				     json_t *id, json_t **args)
{
	struct control_command *cmd;
	const char *name, *key;
	char text[256];
	json_t *value;

	json_object_foreach(request, key, value) {
		if (!strcmp(key, "id") || !strcmp(key, "cmd") ||
		    !strcmp(key, "args"))
			continue;
		snprintf(text, sizeof(text), "a request has id, cmd and args, found '%.64s'",
			 key);
		control_refuse(conn, id, EINVAL, text);
		return NULL;
	}
	name = json_string_value(json_object_get(request, "cmd"));
	*args = json_object_get(request, "args");
	if (!name) {
		control_refuse(conn, id, EINVAL, "\"cmd\" has to be the name of a command, found none");
		return NULL;
	}
	if (*args && !json_is_object(*args)) {
		control_refuse(conn, id, EINVAL, "\"args\" has to be an object, found something else");
		return NULL;
	}
	cmd = command_find(conn->c, name);
	if (!cmd) {
		snprintf(text, sizeof(text), "there is no command '%.64s': see vmmd-control(7)",
			 name);
		control_refuse(conn, id, ENOSYS, text);
	} else if (conn->ncalls == CONTROL_CALLS_MAX) {
		snprintf(text, sizeof(text), "%u requests of this connection are in progress: wait for an answer",
			 conn->ncalls);
		control_refuse(conn, id, EBUSY, text);
		cmd = NULL;
	}
	return cmd;
}

static void request_begin(struct conn *conn, struct control_command *cmd, json_t *id,
			  json_t *args)
{
	struct control_call *call = calloc(1, sizeof(*call));

	args = args ? json_incref(args) : json_object();
	if (call && args) {
		call->conn = conn;
		call->c = conn->c;
		call->id = id ? json_incref(id) : json_null();
		call->next = conn->c->calls;
		conn->c->calls = call;
		conn->ncalls++;
		cmd->fn(conn->c->vm, args, call);
	} else {
		free(call);
		control_refuse(conn, id, ENOMEM, "out of memory");
	}
	json_decref(args);
}

void control_request(struct conn *conn, const char *line, size_t len)
{
	json_error_t e;
	json_t *r = json_loadb(line, len, JSON_REJECT_DUPLICATES, &e);
	json_t *id = json_object_get(r, "id"), *args;
	struct control_command *cmd;
	char text[320];

	if (!r) {
		snprintf(text, sizeof(text), "a request is a line of JSON, found something else at byte %d: %s",
			 e.position, e.text);
		control_refuse(conn, NULL, EINVAL, text);
	} else if (!json_is_object(r)) {
		control_refuse(conn, NULL, EINVAL, "a request is a JSON object, found another value");
	} else {
		cmd = request_check(conn, r, id, &args);
		if (cmd)
			request_begin(conn, cmd, id, args);
	}
	json_decref(r);
}

/* ---- connections ---------------------------------------------------------- */

static void accept_again(void *owner)
{
	struct control *c = owner;

	loop_fd_set(c->lf, EPOLLIN);
}

static void accept_event(void *owner, uint32_t events)
{
	struct control *c = owner;
	int fd = accept4(c->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (fd >= 0) {
		conn_new(c, fd);
	} else if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED) {
		/* no fds, no memory: it stays readable, so not at once again */
		loop_fd_set(c->lf, 0);
		loop_timer_arm(c->accept_timer, loop_now() + NSEC);
	}
}

struct control *control_new(struct loop *loop, struct vm *vm, int listen_fd)
{
	struct control *c = calloc(1, sizeof(*c));

	if (!c) {
		close(listen_fd);
		return NULL;
	}
	c->loop = loop;
	c->vm = vm;
	c->fd = listen_fd;
	c->accept_timer = loop_timer_new(loop, accept_again, c);
	if (c->accept_timer)
		c->lf = loop_fd_add(loop, listen_fd, EPOLLIN, accept_event, c);
	if (!c->lf) {
		control_free(c);
		return NULL;
	}
	return c;
}

int control_add(struct control *c, const char *name, control_fn fn)
{
	struct control_command *cmd = calloc(1, sizeof(*cmd));

	if (!cmd)
		return -ENOMEM;
	*cmd = (struct control_command){ name, fn, c->commands };
	c->commands = cmd;
	return 0;
}

void control_free(struct control *c)
{
	struct control_command *cmd;

	if (!c)
		return;
	loop_fd_remove(c->lf);
	loop_timer_free(c->accept_timer);
	close(c->fd);
	while (c->calls)
		control_fail(c->calls, ECANCELED, "the machine has ended");
	while (c->conns)
		conn_end(c->conns);
	while ((cmd = c->commands)) {
		c->commands = cmd->next;
		free(cmd);
	}
	free(c);
}
