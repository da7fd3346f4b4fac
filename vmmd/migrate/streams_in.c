// SPDX-License-Identifier: GPL-2.0
#define _GNU_SOURCE 1		/* pthread_setname_np */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "loop.h"
#include "migrate/channel.h"
#include "migrate/streams.h"
#include "migrate/target.h"
#include "state/pages.h"

#define STRANGERS	16		/* that may come in between */
#define LOOK_NS		50000000L	/* between looks at what else may have come */

struct stream {
	struct streams_in *all;
	struct channel *c;
	struct source in;
	struct pages_coder *coder;
	pthread_t thread;
	bool started;
	uint8_t *body;		/* of a section */
	uint32_t barrier;	/* lock; its thread may read it */
};

struct streams_in {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	const struct target_guest *guest;
	int error;
	char text[512];
	int wake_fd;
	uint64_t patience;
	uint64_t came;		/* sections. lock */
	unsigned int n;
	struct stream stream[];
};

/* ---- a channel's thread --------------------------------------------------- */

static int take_section(struct stream *s, char *err, size_t errlen)
{
	struct streams_in *i = s->all;
	struct migrate_message m = { .number = s->barrier };
	int ret = section_next(&s->in, err, errlen);

	if (ret)
		return ret;
	if (section_is(&s->in, PAGES_TAG))
		ret = target_take_pages(&s->in, s->coder, s->body, i->guest, err, errlen);
	else if (section_is(&s->in, MSG_BARRIER))
		ret = message_take(&s->in, &m, err, errlen);
	else
		ret = section_bad(&s->in, err, errlen, "is nothing for a stream");
	pthread_mutex_lock(&i->lock);
	i->came++;
	if (m.number != s->barrier)
		pthread_cond_broadcast(&i->changed);
	s->barrier = m.number;
	pthread_mutex_unlock(&i->lock);
	return ret;
}

static void *stream_main(void *arg)
{
	struct stream *s = arg;
	struct streams_in *i = s->all;
	char err[512] = "";
	int ret = 0;

	while (!ret)
		ret = take_section(s, err, sizeof(err));
	pthread_mutex_lock(&i->lock);
	if (!i->error) {
		i->error = ret;
		snprintf(i->text, sizeof(i->text), "a stream: %.480s", err);
	}
	pthread_cond_broadcast(&i->changed);
	pthread_mutex_unlock(&i->lock);
	return NULL;
}

/* ---- making and ending ---------------------------------------------------- */

/* which one it is, or -errno: it is none of ours */
static int greet(struct streams_in *i, struct channel *c, struct source *in,
		 const struct migrate_streams *all)
{
	struct migrate_streams hello;
	char err[256];
	int ret;

	*in = (struct source){ .read = channel_read, .owner = c, .name = c->peer };
	ret = section_next(in, err, sizeof(err));
	if (!ret && !section_is(in, MSG_STREAM))
		ret = -EPROTO;
	if (!ret)
		ret = section_version(in, 1, err, sizeof(err));
	if (!ret)
		ret = section_body(in, &hello, sizeof(hello), err, sizeof(err));
	if (ret)
		return ret;
	if (in->head.len != sizeof(hello) || hello.count >= all->count || hello.pad ||
	    memcmp(hello.token, all->token, sizeof(hello.token)) || i->stream[hello.count].c)
		return -EPROTO;
	return hello.count;
}

static int accept_all(struct streams_in *i, const struct migrate_streams *all,
		      streams_open open, void *owner, char *err, size_t errlen)
{
	unsigned int have = 0, strangers = 0;
	struct channel *c;
	struct source in;
	int n;

	while (have < all->count) {
		c = open(owner, err, errlen);
		if (!c && strangers++ < STRANGERS)
			continue;
		if (!c)
			return -ECONNABORTED;
		c->deadline = loop_now() + i->patience;
		n = greet(i, c, &in, all);
		c->deadline = 0;
		if (n < 0) {
			channel_close(c);
			if (strangers++ < STRANGERS)
				continue;
			snprintf(err, errlen, "too many connect that are no streams of this machine");
			return -ECONNABORTED;
		}
		i->stream[n].c = c;
		i->stream[n].in = in;
		have++;
	}
	return 0;
}

struct streams_in *streams_in_new(const struct migrate_streams *s, streams_open open,
				  void *owner, uint64_t patience, char *err,
				  size_t errlen)
{
	struct streams_in *i = calloc(1, sizeof(*i) + s->count * sizeof(i->stream[0]));
	unsigned int n;

	if (!i) {
		snprintf(err, errlen, "out of memory");
		return NULL;
	}
	pthread_mutex_init(&i->lock, NULL);
	pthread_cond_init(&i->changed, NULL);
	i->patience = patience;
	i->n = s->count;
	i->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	for (n = 0; n < i->n; n++) {
		i->stream[n].all = i;
		i->stream[n].coder = pages_coder_new();
		i->stream[n].body = malloc(PAGES_BODY_MAX);
	}
	if (!accept_all(i, s, open, owner, err, errlen))
		return i;
	streams_in_free(i);
	return NULL;
}

int streams_in_start(struct streams_in *i, const struct target_guest *guest)
{
	unsigned int n;
	int ret = i->wake_fd < 0 ? -EMFILE : 0;

	i->guest = guest;
	for (n = 0; !ret && n < i->n; n++) {
		struct stream *s = &i->stream[n];

		/* the head says where it comes from */
		s->in.owner = s->c;
		s->in.name = s->c->peer;
		s->c->wake_fd = i->wake_fd;
		ret = s->coder && s->body ? -pthread_create(&s->thread, NULL, stream_main, s) :
					    -ENOMEM;
		s->started = !ret;
		if (!ret)
			pthread_setname_np(s->thread, "stream");
	}
	return ret;
}

void streams_in_free(struct streams_in *i)
{
	unsigned int n;

	if (!i)
		return;
	if (i->wake_fd >= 0)
		eventfd_write(i->wake_fd, 1);
	for (n = 0; n < i->n; n++) {
		if (i->stream[n].started)
			pthread_join(i->stream[n].thread, NULL);
		channel_close(i->stream[n].c);
		pages_coder_free(i->stream[n].coder);
		free(i->stream[n].body);
	}
	if (i->wake_fd >= 0)
		close(i->wake_fd);
	pthread_cond_destroy(&i->changed);
	pthread_mutex_destroy(&i->lock);
	free(i);
}

/* ---- waiting -------------------------------------------------------------- */

/* lock */
static bool passed(const struct streams_in *i, uint32_t number)
{
	unsigned int n;

	for (n = 0; n < i->n; n++)
		if (i->stream[n].barrier < number)
			return false;
	return true;
}

/* lock; or an error */
static bool wait_a_bit(struct streams_in *i, uint32_t number)
{
	struct timespec until;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_nsec += LOOK_NS;
	if (until.tv_nsec >= 1000000000) {
		until.tv_sec++;
		until.tv_nsec -= 1000000000;
	}
	if (!passed(i, number) && !i->error)
		pthread_cond_timedwait(&i->changed, &i->lock, &until);
	return passed(i, number);
}

int streams_in_wait(struct streams_in *i, uint32_t number, struct channel *first,
		    char *err, size_t errlen)
{
	uint64_t end = loop_now() + i->patience, came = 0;
	bool done = false;
	int ret = 0;

	while (!ret && !done) {
		pthread_mutex_lock(&i->lock);
		done = wait_a_bit(i, number);
		if (!done)
			ret = i->error;
		if (i->came != came)
			end = loop_now() + i->patience;
		came = i->came;
		if (ret)
			snprintf(err, errlen, "%s", i->text);
		pthread_mutex_unlock(&i->lock);
		if (ret || done)
			break;
		ret = channel_woken(first) ? -ECANCELED : loop_now() > end ? -ETIMEDOUT : 0;
		if (ret)
			snprintf(err, errlen, "%s: its streams: %s", first->peer, strerror(-ret));
	}
	return ret;
}
