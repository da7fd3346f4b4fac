// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "attach.h"
#include "chardev.h"
#include "loop.h"

/* always wanted, and never there: a hang-up is told to who wants something */
#define ATTACH_EVENTS	EPOLLPRI

struct attach {
	struct attach **list, *next;
	struct chardev *chr;
	struct chardev_tap tap;
	int fd;
	struct loop_fd *lf;
	struct loop_timer *flush_timer;
	bool eof;			/* types no more, but may listen */
	char *ahead;			/* typed, and not taken yet */
	size_t ahead_len, ahead_done;
	size_t head, used;
	uint8_t ring[ATTACH_RING];
};

static void attach_free(struct attach *a)
{
	struct attach **p;

	for (p = a->list; *p != a; p = &(*p)->next)
		;
	*p = a->next;
	chardev_tap_remove(a->chr, &a->tap);
	loop_fd_remove(a->lf);
	loop_timer_free(a->flush_timer);
	close(a->fd);
	free(a->ahead);
	free(a);
}

/* what it waits for now */
static void attach_settle(struct attach *a)
{
	uint32_t events = ATTACH_EVENTS;

	if (!a->eof && a->ahead_done == a->ahead_len &&
	    chardev_input_room(a->chr))
		events |= EPOLLIN;
	if (a->used)
		events |= EPOLLOUT;
	loop_fd_set(a->lf, events);
}

/* false: it is gone */
static bool attach_flush(struct attach *a)
{
	size_t len;
	ssize_t n;

	while (a->used) {
		len = ATTACH_RING - a->head;
		n = send(a->fd, a->ring + a->head, len < a->used ? len : a->used,
			 MSG_DONTWAIT | MSG_NOSIGNAL);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return true;
		if (n < 0) {
			attach_free(a);
			return false;
		}
		a->head = (a->head + n) % ATTACH_RING;
		a->used -= n;
	}
	return true;
}

static void flush_timer(void *owner)
{
	if (attach_flush(owner))
		attach_settle(owner);
}

static void tap_output(void *owner, uint8_t byte)
{
	struct attach *a = owner;

	if (a->used == ATTACH_RING)
		return;			/* a slow reader loses */
	if (!a->used)
		loop_timer_arm(a->flush_timer, loop_now() + CHARDEV_FLUSH_NS);
	a->ring[(a->head + a->used++) % ATTACH_RING] = byte;
}

/* false: there is more of it than the guest takes now */
static bool give_ahead(struct attach *a)
{
	size_t len = a->ahead_len - a->ahead_done;
	size_t room = chardev_input_room(a->chr);

	if (len > room)
		len = room;
	if (len) {
		a->ahead_done += len;
		chardev_input(a->chr, (uint8_t *)a->ahead + a->ahead_done - len,
			      len);
	}
	return a->ahead_done == a->ahead_len;
}

static void tap_room(void *owner)
{
	struct attach *a = owner;

	give_ahead(a);
	attach_settle(a);
}

static void attach_read(struct attach *a)
{
	uint8_t buf[CHARDEV_INPUT];
	size_t room = chardev_input_room(a->chr);
	ssize_t n;

	if (!room)
		return;
	n = recv(a->fd, buf, room, MSG_DONTWAIT);
	if (n > 0)
		chardev_input(a->chr, buf, n);
	else if (n == 0 || (errno != EAGAIN && errno != EINTR))
		a->eof = true;
}

static void attach_event(void *owner, uint32_t events)
{
	struct attach *a = owner;

	if (events & EPOLLIN) {
		attach_read(a);
	} else if (events & (EPOLLHUP | EPOLLERR)) {
		attach_free(a);
		return;
	}
	if (attach_flush(a))
		attach_settle(a);
}

int attach_new(struct attach **list, struct loop *loop, struct chardev *chr,
	       int fd, char *ahead, size_t len)
{
	struct attach *a = calloc(1, sizeof(*a));

	if (!a) {
		free(ahead);
		close(fd);
		return -ENOMEM;
	}
	a->list = list;
	a->next = *list;
	*list = a;
	a->chr = chr;
	a->fd = fd;
	a->ahead = ahead;
	a->ahead_len = len;
	a->tap.output = tap_output;
	a->tap.room = tap_room;
	a->tap.owner = a;
	a->flush_timer = loop_timer_new(loop, flush_timer, a);
	if (a->flush_timer)
		a->lf = loop_fd_add(loop, fd, ATTACH_EVENTS, attach_event, a);
	if (!a->lf) {
		attach_free(a);
		return -ENOMEM;
	}
	chardev_tap_add(chr, &a->tap);
	give_ahead(a);
	attach_settle(a);
	return 0;
}

unsigned int attach_count(const struct attach *list)
{
	unsigned int n = 0;

	for (; list; list = list->next)
		n++;
	return n;
}

void attach_free_all(struct attach **list)
{
	while (*list)
		if (attach_flush(*list))
			attach_free(*list);
}
