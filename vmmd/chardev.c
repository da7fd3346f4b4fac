// SPDX-License-Identifier: GPL-2.0
/* What the host sides of a serial line have in common: the two buffers. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "chardev.h"

#define FREE_FLUSH_TRIES	20	/* of 5 ms */

static void tell_drained(struct chardev *c)
{
	if (!c->refused)
		return;
	c->refused = false;
	loop_timer_cancel(c->stuck_timer);
	if (c->drained)
		c->drained(c->owner);
}

/* put as much as the host takes */
static void flush(struct chardev *c)
{
	while (c->used) {
		size_t len = CHARDEV_RING - c->head;
		ssize_t n;

		if (len > c->used)
			len = c->used;
		n = c->ops->put(c, c->ring + c->head, len);
		if (n == -EAGAIN || n == 0)
			break;
		if (n < 0) {		/* never again: all is dropped now */
			c->closed = true;
			c->used = 0;
			break;
		}
		c->head = (c->head + n) % CHARDEV_RING;
		c->used -= n;
		c->stuck = false;
		c->progress = loop_now();
	}
	c->ops->want_put(c, c->used != 0);
	if (c->used <= CHARDEV_RING / 2)
		tell_drained(c);
}

static void flush_timer(void *owner)
{
	flush(owner);
}

/* the ring is full and was when the guest last wanted to write */
static void stuck_timer(void *owner)
{
	struct chardev *c = owner;

	if (!c->refused)
		return;
	if (loop_now() - c->progress < CHARDEV_STUCK_NS) {
		loop_timer_arm(c->stuck_timer, c->progress + CHARDEV_STUCK_NS);
		return;
	}
	c->stuck = true;
	tell_drained(c);
}

/* as chardev_write, for the back end alone */
static bool keep(struct chardev *c, uint8_t byte)
{
	if (c->closed)
		return true;
	if (c->used == CHARDEV_RING && c->overwrite) {
		c->head = (c->head + 1) % CHARDEV_RING;
		c->used--;
	}
	if (c->used == CHARDEV_RING) {
		if (c->stuck)
			return true;
		if (!c->refused) {
			c->refused = true;
			loop_timer_arm(c->stuck_timer,
				       loop_now() + CHARDEV_STUCK_NS);
		}
		return false;
	}
	if (!c->used) {
		c->progress = loop_now();
		loop_timer_arm(c->flush_timer, c->progress + CHARDEV_FLUSH_NS);
	}
	c->ring[(c->head + c->used++) % CHARDEV_RING] = byte;
	return true;
}

bool chardev_write(struct chardev *c, uint8_t byte)
{
	struct chardev_tap *tap;

	if (!keep(c, byte))
		return false;
	for (tap = c->taps; tap; tap = tap->next)
		tap->output(tap->owner, byte);
	return true;
}

bool chardev_idle(const struct chardev *c)
{
	return !c->used;
}

void chardev_writable(struct chardev *c)
{
	flush(c);
	if (c->overwrite)	/* nobody to wait for any more */
		tell_drained(c);
}

/* give the guest what it takes of the input */
static void deliver(struct chardev *c)
{
	size_t n;

	while (c->in_used && c->receive) {
		n = c->receive(c->owner, c->input + c->in_head, c->in_used);
		if (!n)
			break;
		c->in_head += n;
		c->in_used -= n;
	}
	if (!c->in_used)
		c->in_head = 0;
}

size_t chardev_input_room(const struct chardev *c)
{
	return CHARDEV_INPUT - c->in_head - c->in_used;
}

void chardev_input(struct chardev *c, const uint8_t *buf, size_t len)
{
	if (len > chardev_input_room(c))
		len = chardev_input_room(c);
	memcpy(c->input + c->in_head + c->in_used, buf, len);
	c->in_used += len;
	deliver(c);
	if (!chardev_input_room(c))
		c->ops->want_get(c, false);
}

void chardev_resume(struct chardev *c)
{
	struct chardev_tap *tap, *next;

	if (!c->in_used)
		return;
	deliver(c);
	if (c->in_used)
		return;
	c->ops->want_get(c, true);
	for (tap = c->taps; tap; tap = next) {
		next = tap->next;
		tap->room(tap->owner);
	}
}

void chardev_tap_add(struct chardev *c, struct chardev_tap *tap)
{
	size_t i;

	tap->next = c->taps;
	c->taps = tap;
	for (i = 0; c->overwrite && i < c->used; i++)
		tap->output(tap->owner, c->ring[(c->head + i) % CHARDEV_RING]);
}

void chardev_tap_remove(struct chardev *c, struct chardev_tap *tap)
{
	struct chardev_tap **p;

	for (p = &c->taps; *p; p = &(*p)->next) {
		if (*p == tap) {
			*p = tap->next;
			return;
		}
	}
}

void chardev_set_front(struct chardev *c,
		       size_t (*receive)(void *owner, const uint8_t *buf,
					 size_t len),
		       void (*drained)(void *owner), void *owner)
{
	c->receive = receive;
	c->drained = drained;
	c->owner = owner;
}

int chardev_init(struct chardev *c, const struct chardev_ops *ops,
		 struct loop *loop)
{
	c->ops = ops;
	c->loop = loop;
	c->stuck_timer = loop_timer_new(loop, stuck_timer, c);
	c->flush_timer = loop_timer_new(loop, flush_timer, c);
	if (c->stuck_timer && c->flush_timer)
		return 0;
	if (c->stuck_timer)
		loop_timer_free(c->stuck_timer);
	return -ENOMEM;
}

void chardev_free(struct chardev *c)
{
	const struct timespec pause = { .tv_nsec = 5000000 };
	unsigned int i;

	if (!c)
		return;
	chardev_set_front(c, NULL, NULL, NULL);
	for (i = 0; i < FREE_FLUSH_TRIES; i++) {
		flush(c);
		if (!c->used || c->overwrite)
			break;
		nanosleep(&pause, NULL);
	}
	loop_timer_free(c->stuck_timer);
	loop_timer_free(c->flush_timer);
	c->ops->free(c);
}
