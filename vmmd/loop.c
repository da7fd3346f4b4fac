// SPDX-License-Identifier: GPL-2.0
/*
 * The event loop: epoll for descriptors, one timerfd for all timers (a VM has
 * a dozen), one eventfd for posts and for stopping.
 *
 * Who may be freed when: a callback, or another thread that holds the machine
 * lock, may remove a descriptor whose event is already in the batch that the
 * loop works on. So removal only marks it dead; the loop frees the dead ones
 * between two batches.
 */
#include <errno.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "loop.h"

#define LOOP_BATCH	32
#define LOOP_GOES	INT_MIN
#define NSEC		1000000000ULL

struct loop_fd {
	struct loop *loop;
	int fd;
	uint32_t events;	/* 0: paused, then not in the epoll set */
	bool dead;
	void (*fn)(void *owner, uint32_t events);
	void *owner;
	struct loop_fd *next;
};

struct loop_timer {
	struct loop *loop;
	uint64_t when;		/* ns; valid while armed */
	bool armed;
	void (*fn)(void *owner);
	void *owner;
	struct loop_timer *next;
};

struct loop_post {
	void (*fn)(void *owner);
	void *owner;
	struct loop_post *next;
};

struct loop {
	pthread_mutex_t *lock;		/* the machine lock: fds, timers */
	int epoll;
	int timerfd;
	int eventfd;
	struct loop_fd *fds;
	bool some_dead;
	struct loop_timer *timers;
	pthread_mutex_t post_lock;	/* posts; innermost */
	struct loop_post *posts, **posts_end;
	atomic_int code;		/* LOOP_GOES, or why it stopped */
};

static const char loop_timer_tag, loop_event_tag;	/* epoll data.ptr */

uint64_t loop_now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * NSEC + (uint64_t)ts.tv_nsec;
}

static int loop_watch(struct loop *loop, int fd, const void *tag)
{
	struct epoll_event ev = {
		.events = EPOLLIN,
		.data.ptr = (void *)tag,
	};

	return epoll_ctl(loop->epoll, EPOLL_CTL_ADD, fd, &ev);
}

struct loop *loop_new(pthread_mutex_t *machine_lock)
{
	struct loop *loop = calloc(1, sizeof(*loop));

	if (!loop)
		return NULL;
	loop->lock = machine_lock;
	loop->posts_end = &loop->posts;
	atomic_init(&loop->code, LOOP_GOES);
	pthread_mutex_init(&loop->post_lock, NULL);
	loop->epoll = epoll_create1(EPOLL_CLOEXEC);
	loop->timerfd = timerfd_create(CLOCK_MONOTONIC,
				       TFD_CLOEXEC | TFD_NONBLOCK);
	loop->eventfd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (loop->epoll < 0 || loop->timerfd < 0 || loop->eventfd < 0 ||
	    loop_watch(loop, loop->timerfd, &loop_timer_tag) ||
	    loop_watch(loop, loop->eventfd, &loop_event_tag)) {
		loop_free(loop);
		return NULL;
	}
	return loop;
}

static void loop_reap(struct loop *loop)
{
	struct loop_fd **p = &loop->fds, *lf;

	if (!loop->some_dead)
		return;
	loop->some_dead = false;
	while ((lf = *p)) {
		if (lf->dead) {
			*p = lf->next;
			free(lf);
		} else {
			p = &lf->next;
		}
	}
}

void loop_free(struct loop *loop)
{
	struct loop_timer *t;
	struct loop_post *post;
	struct loop_fd *lf;

	if (!loop)
		return;
	while ((lf = loop->fds)) {
		loop->fds = lf->next;
		free(lf);
	}
	while ((t = loop->timers)) {
		loop->timers = t->next;
		free(t);
	}
	while ((post = loop->posts)) {
		loop->posts = post->next;
		free(post);
	}
	if (loop->epoll >= 0)
		close(loop->epoll);
	if (loop->timerfd >= 0)
		close(loop->timerfd);
	if (loop->eventfd >= 0)
		close(loop->eventfd);
	pthread_mutex_destroy(&loop->post_lock);
	free(loop);
}

static bool loop_stopped(struct loop *loop)
{
	return atomic_load(&loop->code) != LOOP_GOES;
}

static void loop_wake(struct loop *loop)
{
	uint64_t one = 1;

	/* fails only when the counter is full, and then the loop wakes anyway */
	if (write(loop->eventfd, &one, sizeof(one)) < 0)
		return;
}

void loop_stop(struct loop *loop, int code)
{
	int goes = LOOP_GOES;

	/* the first reason to stop is the one that counts */
	atomic_compare_exchange_strong(&loop->code, &goes, code);
	loop_wake(loop);
}

/* ---- descriptors ---------------------------------------------------------- */

struct loop_fd *loop_fd_add(struct loop *loop, int fd, uint32_t events,
			    void (*fn)(void *owner, uint32_t events), void *owner)
{
	struct epoll_event ev = { .events = events };
	struct loop_fd *lf = calloc(1, sizeof(*lf));

	if (!lf)
		return NULL;
	ev.data.ptr = lf;
	/* added even when paused, so that EPERM (a plain file) shows now */
	if (epoll_ctl(loop->epoll, EPOLL_CTL_ADD, fd, &ev) < 0) {
		free(lf);
		return NULL;
	}
	if (!events)
		epoll_ctl(loop->epoll, EPOLL_CTL_DEL, fd, NULL);
	lf->loop = loop;
	lf->fd = fd;
	lf->events = events;
	lf->fn = fn;
	lf->owner = owner;
	lf->next = loop->fds;
	loop->fds = lf;
	return lf;
}

void loop_fd_set(struct loop_fd *lf, uint32_t events)
{
	struct epoll_event ev = { .events = events, .data.ptr = lf };
	int op = EPOLL_CTL_MOD;

	if (lf->events == events)
		return;
	/*
	 * Paused means out of the set: epoll reports EPOLLHUP and EPOLLERR
	 * even to those who want no events, and would spin.
	 */
	if (!events)
		op = EPOLL_CTL_DEL;
	else if (!lf->events)
		op = EPOLL_CTL_ADD;
	epoll_ctl(lf->loop->epoll, op, lf->fd, &ev);
	lf->events = events;
}

void loop_fd_remove(struct loop_fd *lf)
{
	if (!lf)
		return;
	loop_fd_set(lf, 0);
	lf->dead = true;
	lf->loop->some_dead = true;
}

/* ---- timers --------------------------------------------------------------- */

/* set the timerfd to the earliest of the armed timers */
static void loop_program(struct loop *loop)
{
	struct itimerspec its = { 0 };
	uint64_t first = UINT64_MAX;
	struct loop_timer *t;

	for (t = loop->timers; t; t = t->next)
		if (t->armed && t->when < first)
			first = t->when;
	if (first != UINT64_MAX) {
		its.it_value.tv_sec = first / NSEC;
		its.it_value.tv_nsec = first % NSEC;
		/* all zero would mean: never */
		if (!first)
			its.it_value.tv_nsec = 1;
	}
	timerfd_settime(loop->timerfd, TFD_TIMER_ABSTIME, &its, NULL);
}

struct loop_timer *loop_timer_new(struct loop *loop, void (*fn)(void *owner),
				  void *owner)
{
	struct loop_timer *t = calloc(1, sizeof(*t));

	if (!t)
		return NULL;
	t->loop = loop;
	t->fn = fn;
	t->owner = owner;
	t->next = loop->timers;
	loop->timers = t;
	return t;
}

void loop_timer_arm(struct loop_timer *t, uint64_t when_ns)
{
	t->when = when_ns;
	t->armed = true;
	loop_program(t->loop);
}

void loop_timer_cancel(struct loop_timer *t)
{
	if (!t->armed)
		return;
	t->armed = false;
	loop_program(t->loop);
}

void loop_timer_free(struct loop_timer *t)
{
	struct loop_timer **p;

	if (!t)
		return;
	loop_timer_cancel(t);
	for (p = &t->loop->timers; *p; p = &(*p)->next) {
		if (*p == t) {
			*p = t->next;
			break;
		}
	}
	free(t);
}

/* the armed timer that is due first, or NULL */
static struct loop_timer *loop_due(struct loop *loop, uint64_t now)
{
	struct loop_timer *t, *due = NULL;

	for (t = loop->timers; t; t = t->next)
		if (t->armed && t->when <= now && (!due || t->when < due->when))
			due = t;
	return due;
}

static void loop_timers(struct loop *loop)
{
	uint64_t now = loop_now(), expired;
	struct loop_timer *t;
	int n;

	if (read(loop->timerfd, &expired, sizeof(expired)) < 0 &&
	    errno != EAGAIN)
		return;
	/*
	 * The list is searched anew each time: fn may arm, cancel and free any
	 * timer. Bounded, since a guest may make a timer re-arm itself in the
	 * past for ever; what is left over makes the timerfd fire again.
	 */
	for (n = 0; n < LOOP_BATCH && !loop_stopped(loop); n++) {
		t = loop_due(loop, now);
		if (!t)
			break;
		t->armed = false;
		t->fn(t->owner);
	}
	loop_program(loop);
}

/* ---- posts ---------------------------------------------------------------- */

int loop_post(struct loop *loop, void (*fn)(void *owner), void *owner)
{
	struct loop_post *post = calloc(1, sizeof(*post));

	if (!post)
		return -ENOMEM;
	post->fn = fn;
	post->owner = owner;
	pthread_mutex_lock(&loop->post_lock);
	*loop->posts_end = post;
	loop->posts_end = &post->next;
	pthread_mutex_unlock(&loop->post_lock);
	loop_wake(loop);
	return 0;
}

static void loop_posts(struct loop *loop)
{
	struct loop_post *post, *next;
	uint64_t count;

	if (read(loop->eventfd, &count, sizeof(count)) < 0 && errno != EAGAIN)
		return;
	pthread_mutex_lock(&loop->post_lock);
	post = loop->posts;
	loop->posts = NULL;
	loop->posts_end = &loop->posts;
	pthread_mutex_unlock(&loop->post_lock);
	for (; post; post = next) {
		next = post->next;
		post->fn(post->owner);
		free(post);
	}
}

/* ---- the loop ------------------------------------------------------------- */

static void loop_dispatch(struct loop *loop, const struct epoll_event *ev)
{
	struct loop_fd *lf = ev->data.ptr;
	uint32_t events;

	if (ev->data.ptr == &loop_timer_tag) {
		loop_timers(loop);
	} else if (ev->data.ptr == &loop_event_tag) {
		loop_posts(loop);
	} else if (!lf->dead && lf->events) {
		/* what it wants may have changed since epoll looked */
		events = ev->events & (lf->events | EPOLLHUP | EPOLLERR);
		if (events)
			lf->fn(lf->owner, events);
	}
}

int loop_run(struct loop *loop)
{
	struct epoll_event ev[LOOP_BATCH];
	int i, n;

	while (!loop_stopped(loop)) {
		n = epoll_wait(loop->epoll, ev, LOOP_BATCH, -1);
		/* one lock for each event: vCPUs get their turn in between */
		for (i = 0; i < n && !loop_stopped(loop); i++) {
			pthread_mutex_lock(loop->lock);
			loop_dispatch(loop, &ev[i]);
			pthread_mutex_unlock(loop->lock);
		}
		pthread_mutex_lock(loop->lock);
		loop_reap(loop);
		pthread_mutex_unlock(loop->lock);
	}
	return atomic_load(&loop->code);
}
