// SPDX-License-Identifier: GPL-2.0
#define _GNU_SOURCE 1		/* pthread_setname_np */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "loop.h"
#include "migrate/answer.h"
#include "migrate/channel.h"
#include "migrate/message.h"

#define HEARD_NS	2000000000ULL	/* for "done" to come */
#define ANSWER_NS	20000000000ULL	/* for a source that has to connect again */
#define RETRY_NS	10000000L	/* when accepting fails */
#define ASK_NS		5000000000ULL	/* for what who has connected says */

struct answer {
	pthread_t thread;
	struct channel *c;
	struct listener *l;
	struct migrate_streams mine;
	int wake_fd;
};

/* is it the source of our machine */
static bool is_asked(struct channel *c, const struct migrate_streams *mine)
{
	struct source in = { .read = channel_read, .owner = c, .name = c->peer };
	struct migrate_streams his;
	char err[256];

	c->deadline = loop_now() + ASK_NS;
	return !section_next(&in, err, sizeof(err)) && section_is(&in, MSG_ASK) &&
	       !section_version(&in, 1, err, sizeof(err)) &&
	       !section_body(&in, &his, sizeof(his), err, sizeof(err)) &&
	       in.head.len == sizeof(his) &&
	       !memcmp(his.token, mine->token, sizeof(his.token));
}

static int say(struct channel *c, bool running)
{
	struct sink out = { .write = channel_write, .owner = c };
	static const char why[] = "the link was cut before the machine was handed over";
	int ret;

	ret = running ? message_put(&out, MSG_RUNNING, 0, 0) :
			section_put(&out, MSG_FAILED, 1, why, sizeof(why) - 1, NULL, 0);
	return ret ? ret : channel_flush(c);
}

static void wait_for_question(struct listener *l, const struct migrate_streams *mine,
			      bool running)
{
	const struct timespec pause = { .tv_nsec = RETRY_NS };
	uint64_t until = loop_now() + ANSWER_NS;
	struct channel *c;
	bool told = false;
	char err[512];

	while (!told && loop_now() < until) {
		c = listener_accept(l, until, err, sizeof(err));
		if (!c && listener_woken(l))
			return;
		if (!c) {
			nanosleep(&pause, NULL);
			continue;
		}
		told = is_asked(c, mine) && !say(c, running);
		channel_linger(c, ASK_NS);
		channel_close(c);
	}
}

static bool is_heard(struct channel *c)
{
	uint8_t done[sizeof(struct section_head) + sizeof(struct migrate_message)];

	/* nothing else comes behind "go" */
	c->deadline = loop_now() + HEARD_NS;
	return !channel_read(c, done, sizeof(done));
}

static void *answer_main(void *arg)
{
	struct answer *a = arg;

	if (!is_heard(a->c))
		wait_for_question(a->l, &a->mine, true);
	channel_close(a->c);
	listener_close(a->l);
	return NULL;
}

struct answer *answer_running(struct channel *c, struct listener *l, const uint8_t *token)
{
	struct answer *a = calloc(1, sizeof(*a));

	if (a) {
		a->c = c;
		a->l = l;
		memcpy(a->mine.token, token, sizeof(a->mine.token));
		a->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		c->wake_fd = a->wake_fd;
		listener_wake(l, a->wake_fd);
	}
	if (a && a->wake_fd >= 0 && !pthread_create(&a->thread, NULL, answer_main, a)) {
		pthread_setname_np(a->thread, "answer");
		return a;
	}
	if (a && a->wake_fd >= 0)
		close(a->wake_fd);
	free(a);
	channel_close(c);
	listener_close(l);
	return NULL;
}

void answer_stop(struct answer *a)
{
	if (!a)
		return;
	eventfd_write(a->wake_fd, 1);
	pthread_join(a->thread, NULL);
	close(a->wake_fd);
	free(a);
}

void answer_failed(struct listener *l, const uint8_t *token)
{
	struct migrate_streams mine = { 0 };

	memcpy(mine.token, token, sizeof(mine.token));
	wait_for_question(l, &mine, false);
	listener_close(l);
}
