// SPDX-License-Identifier: GPL-2.0
#define _GNU_SOURCE 1		/* pthread_setname_np */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "migrate/channel.h"
#include "migrate/streams.h"
#include "state/pages.h"

#define QUEUE		4	/* items that wait for their thread */
#define ROOM_NS		2000000	/* that one waits for room */
#define PATIENCE_NS	60000000000ULL

struct item {
	uint64_t gpa;
	const void *data;	/* NULL: a barrier */
	uint32_t count;		/* or its number */
	bool skip_zero;
};

struct stream {
	struct streams_out *all;
	struct channel *c;
	struct sink out;
	struct pages_out pages;
	pthread_t thread;
	bool started;
	/* lock */
	struct item queue[QUEUE];
	unsigned int first, used;
	bool busy;		/* with one that was taken */
	uint32_t barrier;	/* behind these; 0: none */
};

struct streams_out {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool ending;
	int error;
	char text[512];
	int wake_fd;
	atomic_uint_fast64_t not_zero;
	unsigned int n;
	struct stream stream[];
};

static void note_pages(void *owner, const struct pages_head *h)
{
	struct streams_out *o = owner;

	if (h->kind != PAGES_ZERO)
		atomic_fetch_add(&o->not_zero, h->count);
}

/* ---- a channel's thread --------------------------------------------------- */

static bool take(struct stream *s, struct item *i)
{
	struct streams_out *o = s->all;
	bool goes_on;

	pthread_mutex_lock(&o->lock);
	s->busy = false;
	pthread_cond_broadcast(&o->changed);
	while (!s->used && !s->barrier && !o->ending && !o->error)
		pthread_cond_wait(&o->changed, &o->lock);
	goes_on = !o->ending && !o->error;
	if (goes_on && s->used) {
		*i = s->queue[s->first];
		s->first = (s->first + 1) % QUEUE;
		s->used--;
		pthread_cond_broadcast(&o->changed);
	} else if (goes_on) {
		*i = (struct item){ .count = s->barrier };
		s->barrier = 0;
	}
	s->busy = goes_on;
	pthread_mutex_unlock(&o->lock);
	return goes_on;
}

static void *stream_main(void *arg)
{
	struct stream *s = arg;
	struct streams_out *o = s->all;
	struct item i;
	int ret = 0;

	while (!ret && take(s, &i)) {
		s->pages.skip_zero = i.skip_zero;
		ret = i.data ? pages_put(&s->pages, i.gpa, i.data, i.count) :
			       message_put(&s->out, MSG_BARRIER, i.count, 0);
		if (!ret && !i.data)
			ret = channel_flush(s->c);
	}
	if (!ret)
		return NULL;
	pthread_mutex_lock(&o->lock);
	if (!o->error) {
		o->error = ret;
		snprintf(o->text, sizeof(o->text), "%s: a stream: %s", s->c->peer, strerror(-ret));
	}
	pthread_cond_broadcast(&o->changed);
	pthread_mutex_unlock(&o->lock);
	return NULL;
}

/* ---- making and ending ---------------------------------------------------- */

static int begin(struct stream *s, uint32_t number, const struct migrate_streams *all)
{
	struct migrate_streams hello = *all;
	int ret;

	hello.count = number;
	s->out = (struct sink){ .write = channel_write, .owner = s->c };
	s->pages = (struct pages_out){
		.coder = pages_coder_new(), .sink = &s->out, .tag = PAGES_TAG,
		.note = note_pages, .owner = s->all,
	};
	s->c->patience = PATIENCE_NS;
	if (!s->pages.coder)
		return -ENOMEM;
	ret = section_put(&s->out, MSG_STREAM, 1, &hello, sizeof(hello), NULL, 0);
	if (!ret)
		ret = channel_flush(s->c);
	s->c->wake_fd = s->all->wake_fd;
	if (!ret)
		ret = -pthread_create(&s->thread, NULL, stream_main, s);
	s->started = !ret;
	if (!ret)
		pthread_setname_np(s->thread, "stream");
	return ret;
}

struct streams_out *streams_out_new(const struct migrate_streams *s, streams_open open,
				    void *owner, uint64_t limit, char *err, size_t errlen)
{
	struct streams_out *o = calloc(1, sizeof(*o) + s->count * sizeof(o->stream[0]));
	pthread_condattr_t attr;
	unsigned int i;
	int ret = 0;

	if (!o) {
		snprintf(err, errlen, "out of memory");
		return NULL;
	}
	pthread_mutex_init(&o->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&o->changed, &attr);
	pthread_condattr_destroy(&attr);
	o->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	err[0] = 0;
	for (i = 0; !ret && i < s->count; i++) {
		o->stream[i].all = o;
		o->stream[i].c = open(owner, err, errlen);
		if (!o->stream[i].c)
			break;
		o->n++;
		o->stream[i].c->limit = limit;
		ret = begin(&o->stream[i], i, s);
	}
	if (o->n == s->count && !ret && o->wake_fd >= 0)
		return o;
	if (!err[0])
		snprintf(err, errlen, "a stream cannot begin: %s", strerror(ret ? -ret : errno));
	streams_out_free(o);
	return NULL;
}

uint64_t streams_out_free(struct streams_out *o)
{
	uint64_t sent = 0;
	unsigned int i;

	pthread_mutex_lock(&o->lock);
	o->ending = true;
	pthread_cond_broadcast(&o->changed);
	pthread_mutex_unlock(&o->lock);
	if (o->wake_fd >= 0)
		eventfd_write(o->wake_fd, 1);
	for (i = 0; i < o->n; i++) {
		if (o->stream[i].started)
			pthread_join(o->stream[i].thread, NULL);
		sent += o->stream[i].c->sent;
		channel_close(o->stream[i].c);
		pages_coder_free(o->stream[i].pages.coder);
	}
	if (o->wake_fd >= 0)
		close(o->wake_fd);
	pthread_cond_destroy(&o->changed);
	pthread_mutex_destroy(&o->lock);
	free(o);
	return sent;
}

/* ---- using ---------------------------------------------------------------- */

/* lock; 0 when something has changed, -EAGAIN at that time, or what ended a channel */
static int wait_a_bit(struct streams_out *o, const struct timespec *until)
{
	if (o->error)
		return o->error;
	return pthread_cond_timedwait(&o->changed, &o->lock, until) ? -EAGAIN : 0;
}

static struct timespec soon(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	t.tv_nsec += ROOM_NS;
	if (t.tv_nsec >= 1000000000) {
		t.tv_sec++;
		t.tv_nsec -= 1000000000;
	}
	return t;
}

int streams_out_put(struct streams_out *o, uint64_t gpa, const void *data,
		    uint32_t count, bool skip_zero)
{
	struct stream *s = &o->stream[gpa / PAGES_BYTES % o->n];
	const struct timespec until = soon();
	int ret = 0;

	pthread_mutex_lock(&o->lock);
	while (!ret && s->used == QUEUE)
		ret = wait_a_bit(o, &until);
	if (!ret) {
		s->queue[(s->first + s->used) % QUEUE] =
			(struct item){ gpa, data, count, skip_zero };
		s->used++;
		pthread_cond_broadcast(&o->changed);
	}
	pthread_mutex_unlock(&o->lock);
	return ret;
}

void streams_out_barrier(struct streams_out *o, uint32_t number)
{
	unsigned int i;

	pthread_mutex_lock(&o->lock);
	for (i = 0; i < o->n; i++)
		o->stream[i].barrier = number;
	pthread_cond_broadcast(&o->changed);
	pthread_mutex_unlock(&o->lock);
}

static bool all_sent(const struct streams_out *o)
{
	unsigned int i;

	for (i = 0; i < o->n; i++)
		if (o->stream[i].used || o->stream[i].barrier || o->stream[i].busy)
			return false;
	return true;
}

int streams_out_wait(struct streams_out *o)
{
	const struct timespec until = soon();
	int ret = 0;

	pthread_mutex_lock(&o->lock);
	while (!ret && !all_sent(o))
		ret = wait_a_bit(o, &until);
	pthread_mutex_unlock(&o->lock);
	return ret;
}

const char *streams_out_error(const struct streams_out *o)
{
	return o->text;
}

uint64_t streams_out_not_zero(struct streams_out *o)
{
	return atomic_exchange(&o->not_zero, 0);
}
