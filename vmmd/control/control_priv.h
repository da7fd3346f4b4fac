/* SPDX-License-Identifier: GPL-2.0 */
/* What control.c (calls, commands) and conn.c (connections, lines) share. */
#ifndef VMMD_CONTROL_PRIV_H
#define VMMD_CONTROL_PRIV_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "control.h"

struct control_call {
	struct conn *conn;		/* NULL: it hung up */
	struct control *c;
	json_t *id;
	void (*cancel)(void *owner);
	void *owner;
	struct control_call *next;	/* of the control's */
};

struct conn {
	struct control *c;
	int fd;
	struct loop_fd *lf;
	char *in;			/* CONTROL_LINE_MAX bytes */
	size_t in_used, in_head;	/* bytes; of them done with */
	bool skipping;			/* the rest of an over-long line */
	bool waiting;			/* lines that are read, but not begun */
	bool eof;			/* no more requests, but may listen */
	bool broken;			/* takes nothing any more */
	bool busy;			/* the loop's thread is in it */
	char *out;
	size_t out_used, out_size;
	unsigned int ncalls;
	struct conn *next;
};

struct control_command {
	const char *name;
	control_fn fn;
	struct control_command *next;
};

struct control {
	struct loop *loop;
	struct vm *vm;
	int fd;
	struct loop_fd *lf;
	struct loop_timer *accept_timer;	/* for when there were no fds */
	struct conn *conns;
	unsigned int nconns;
	struct control_call *calls;
	struct control_command *commands;
};

/* conn.c */
void conn_new(struct control *c, int fd);	/* the fd is its own */
void conn_send(struct conn *conn, json_t *message /* stolen */);
bool conn_slow(const struct conn *conn);	/* keeps much for its peer */
/* what it waits for now; gone if that is nothing */
void conn_settle(struct conn *conn);
/* give the socket away, and what was read ahead; the rest goes with settle */
int conn_take(struct conn *conn, char **ahead, size_t *len);
void conn_end(struct conn *conn);	/* what is kept for it goes out first */

/* control.c: a line without its end; conn is busy */
void control_request(struct conn *conn, const char *line, size_t len);
void control_refuse(struct conn *conn, json_t *id, int err, const char *text);
/* conn has gone: its calls are told */
void control_hung_up(struct control *c, struct conn *conn);

#endif
