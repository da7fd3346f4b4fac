/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The host side of a serial line: stdio (console.c), a unix socket, a file, or
 * nothing; and taps on that.
 * What the guest writes waits in a ring of fixed size. When the reader is
 * slow the ring fills and the UART shows "transmitter busy", so nothing is
 * lost; when the reader makes no progress for CHARDEV_STUCK_NS, new output is
 * dropped until it does, so the guest never hangs. Machine lock held.
 */
#ifndef VMMD_CHARDEV_H
#define VMMD_CHARDEV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "loop.h"

#define CHARDEV_RING		65536	/* bytes kept for a reader */
#define CHARDEV_INPUT		1024	/* bytes read ahead for the guest */
#define CHARDEV_STUCK_NS	1000000000ULL
#define CHARDEV_FLUSH_NS	1000000ULL	/* a burst goes out as one write */

struct chardev;

struct chardev_ops {
	/*
	 * Give bytes to the host without blocking: how many were taken,
	 * -EAGAIN when none can be now, another -errno when never again.
	 */
	ssize_t (*put)(struct chardev *c, const uint8_t *buf, size_t len);
	/* ask for chardev_writable when put can go on (on) or not any more */
	void (*want_put)(struct chardev *c, bool on);
	/* there is room for input, or (off) none */
	void (*want_get)(struct chardev *c, bool on);
	void (*free)(struct chardev *c);
};

/* somebody who listens beside the back end, and may type; never waited for */
struct chardev_tap {
	void (*output)(void *owner, uint8_t byte);
	void (*room)(void *owner);	/* for input, after there was none */
	void *owner;
	struct chardev_tap *next;	/* chardev.c's */
};

struct chardev {
	const struct chardev_ops *ops;
	struct loop *loop;
	/* back end's: nobody listens, keep the newest output for who comes */
	bool overwrite;
	/* set by the front end; both may be NULL */
	size_t (*receive)(void *owner, const uint8_t *buf, size_t len);
	void (*drained)(void *owner);	/* after chardev_write said false */
	void *owner;
	/* chardev.c's own */
	uint8_t ring[CHARDEV_RING];
	size_t head, used;
	uint8_t input[CHARDEV_INPUT];
	size_t in_head, in_used;
	struct loop_timer *flush_timer;
	bool refused;		/* the front end waits for drained */
	bool stuck;		/* dropping */
	bool closed;		/* put failed for good */
	struct loop_timer *stuck_timer;
	uint64_t progress;	/* when bytes last went out, ns */
	struct chardev_tap *taps;
};

/*
 * false: no room, the byte was not taken and drained() will be called. A byte
 * that is dropped by policy counts as taken.
 */
bool chardev_write(struct chardev *c, uint8_t byte);
/* all that was written has reached the host */
bool chardev_idle(const struct chardev *c);
/* the front end has room for input again */
void chardev_resume(struct chardev *c);
void chardev_set_front(struct chardev *c,
		       size_t (*receive)(void *owner, const uint8_t *buf,
					 size_t len),
		       void (*drained)(void *owner), void *owner);
/* it hears what the guest writes from now on, and first what is kept for nobody */
void chardev_tap_add(struct chardev *c, struct chardev_tap *tap);
void chardev_tap_remove(struct chardev *c, struct chardev_tap *tap);
void chardev_free(struct chardev *c);	/* flushes for at most 100 ms; NULL ok */

/* for the back ends; the last two for taps as well */
int chardev_init(struct chardev *c, const struct chardev_ops *ops,
		 struct loop *loop);
void chardev_writable(struct chardev *c);
size_t chardev_input_room(const struct chardev *c);
void chardev_input(struct chardev *c, const uint8_t *buf, size_t len);

/* NULL on failure with one line in err[] */
struct chardev *chardev_socket_new(struct loop *loop, const char *path,
				   char *err, size_t errlen);
struct chardev *chardev_none_new(struct loop *loop, char *err, size_t errlen);
struct chardev *chardev_file_new(struct loop *loop, const char *path,
				 char *err, size_t errlen);

/* console.c: the terminal; keys after Ctrl-A are told to these */
struct console_keys {
	void (*quit)(void *owner);
	void (*power_button)(void *owner);
	void *owner;
};
struct chardev *console_stdio_new(struct loop *loop,
				  const struct console_keys *keys,
				  char *err, size_t errlen);

#endif
