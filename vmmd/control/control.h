/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The control socket of a VM: who may connect, sends requests as JSON lines and
 * gets answers, see vmmd-control(7). Commands are added by those who have
 * something to do. Everything runs with the machine lock held; nothing waits
 * for a peer.
 */
#ifndef VMMD_CONTROL_H
#define VMMD_CONTROL_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#define CONTROL_LINE_MAX	65536	/* bytes of a request, its newline too */
#define CONTROL_CONNS_MAX	16	/* connections at a time */
#define CONTROL_CALLS_MAX	8	/* unanswered requests of a connection */
#define CONTROL_OUT_SLOW	65536	/* bytes not fetched: no more requests */

struct control;
struct control_call;	/* one request in progress; may outlive the callback */
struct loop;
struct vm;

/*
 * Begin what cmd asks for; args is an object, and the caller's. Sooner or later
 * the call is answered, exactly once, by control_done, _fail or _take: it is
 * gone after that.
 */
typedef void (*control_fn)(struct vm *vm, json_t *args,
			   struct control_call *call);

/* takes the listening socket, also if it fails; NULL: out of memory */
struct control *control_new(struct loop *loop, struct vm *vm, int listen_fd);
/* after the loop's end; what is not answered yet fails with ECANCELED */
void control_free(struct control *c);
int control_add(struct control *c, const char *cmd, control_fn fn);

/* the machine lock is held for all that follows, by any thread */

/*
 * The arguments as json_unpack_ex takes them apart: fmt ends in '!', so that
 * unknown ones are refused. false: the call has failed with EINVAL and is gone.
 */
bool control_args(struct control_call *call, json_t *args, const char *fmt, ...);
/* {"id": ..., "event": "progress", FIELDS}; left out for a peer that is slow */
void control_progress(struct control_call *call, json_t *fields /* stolen */);
void control_done(struct control_call *call, json_t *result /* stolen, or NULL */);
/* err: positive, an errno; the text is one line */
void control_fail(struct control_call *call, int err, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/*
 * The peer hung up before the answer: long jobs may stop; the call wants its
 * answer all the same. Called in the loop's thread, or from control_free.
 */
void control_on_cancel(struct control_call *call, void (*fn)(void *owner),
		       void *owner);
/*
 * control_done, and the connection is the caller's from here: a non-blocking
 * socket; *ahead (to be freed) has what the peer sent after its request. -EBUSY
 * when other requests of the connection are in progress or answers not fetched:
 * the call has failed, then.
 */
int control_take(struct control_call *call, json_t *result /* stolen, or NULL */,
		 char **ahead, size_t *len);

#endif
