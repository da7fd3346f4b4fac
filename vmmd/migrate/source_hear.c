// SPDX-License-Identifier: GPL-2.0
/* What the target says to the sending side, and what is wrong with that. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <time.h>

#include "loop.h"
#include "migrate/source_priv.h"

#define LAST_WORD_NS	1000000000ULL
#define ASK_NS		10000000000ULL	/* how long a target is asked that does not answer */
#define ANSWER_NS	5000000000ULL
#define RETRY_NS	100000000L

int sender_fail(struct sender *s, int ret, const char *fmt, ...)
{
	va_list ap;

	if (s->told)
		return ret;
	s->told = true;
	s->result->error = ret;
	va_start(ap, fmt);
	vsnprintf(s->result->text, sizeof(s->result->text), fmt, ap);
	va_end(ap);
	return ret;
}

static int take_failed(struct sender *s)
{
	char text[MIGRATE_TEXT + 1] = "", err[512];
	char *c;

	if (section_version(&s->in, 1, err, sizeof(err)) ||
	    section_body(&s->in, text, MIGRATE_TEXT, err, sizeof(err)))
		return sender_fail(s, -EBADMSG, "%s", err);
	for (c = text; *c; c++)
		if ((unsigned char)*c < ' ' || *c == 127)
			*c = ' ';
	s->never = true;
	sender_step(s, SOURCE_FAILED);
	return sender_fail(s, -EREMOTEIO, "%s refuses: %s", s->c->peer, text);
}

/* its next message; 0 or -errno */
static int take_message(struct sender *s, struct migrate_message *m)
{
	char err[512];
	int ret = section_next(&s->in, err, sizeof(err));

	if (!ret && section_is(&s->in, MSG_FAILED))
		return take_failed(s);
	if (!ret)
		ret = message_take(&s->in, m, err, sizeof(err));
	return ret && ret != -ECANCELED ? sender_fail(s, ret, "%s", err) : ret;
}

/* "ready" came when the guest had gone on here */
static bool is_stale(const struct sender *s, const struct migrate_message *m)
{
	return section_is(&s->in, MSG_READY) && m->number <= s->attempt &&
	       source_may_run(s->state);
}

static int unexpected(struct sender *s, const struct migrate_message *m)
{
	return sender_fail(s, -EPROTO, "%s: says \"%.*s\" %u while %s", s->c->peer, SECTION_TAG,
		    s->in.head.tag, m->number, source_state_name(s->state));
}

int sender_expect(struct sender *s, const char *tag, uint32_t number)
{
	struct migrate_message m;
	int ret;

	for (;;) {
		ret = take_message(s, &m);
		if (ret)
			return ret;
		s->heard = m;
		if (section_is(&s->in, tag) && m.number == number)
			return 0;
		if (!is_stale(s, &m) && !(section_is(&s->in, MSG_READY) &&
					  m.number < s->attempt))
			return unexpected(s, &m);
	}
}

int sender_listen(struct sender *s)
{
	struct migrate_message m;
	int ret;

	if (!channel_readable(s->c))
		return 0;
	ret = take_message(s, &m);
	return ret || is_stale(s, &m) ? ret : unexpected(s, &m);
}

/* SOURCE_STALE, it runs there; SOURCE_TAKEN, it never does; SOURCE_UNKNOWN */
static enum source_event hear_answer(struct sender *s, struct channel *c)
{
	struct sink out = { .write = channel_write, .owner = c };
	struct source in = { .read = channel_read, .owner = c, .name = c->peer };
	char err[512];

	c->wake_fd = -1;
	c->deadline = loop_now() + ANSWER_NS;
	if (section_put(&out, MSG_ASK, 1, &s->named, sizeof(s->named), NULL, 0) ||
	    channel_flush(c) || section_next(&in, err, sizeof(err)))
		return SOURCE_UNKNOWN;
	if (section_is(&in, MSG_RUNNING))
		return SOURCE_STALE;
	return section_is(&in, MSG_FAILED) ? SOURCE_TAKEN : SOURCE_UNKNOWN;
}

void sender_ask(struct sender *s)
{
	const struct timespec pause = { .tv_nsec = RETRY_NS };
	enum source_event e = SOURCE_UNKNOWN;
	uint64_t until = loop_now() + ASK_NS;
	struct channel *c;
	char err[512];

	while (e == SOURCE_UNKNOWN && loop_now() < until) {
		c = s->params->connect(s->params->owner, err, sizeof(err));
		if (c)
			e = hear_answer(s, c);
		channel_close(c);
		if (e == SOURCE_UNKNOWN)
			nanosleep(&pause, NULL);
	}
	if (e != SOURCE_UNKNOWN)
		sender_step(s, e);
}

void sender_last_word(struct sender *s)
{
	struct migrate_message m;
	char err[512];

	if (s->told || source_handed_over(s->state))
		return;
	s->c->late = NULL;
	s->c->deadline = loop_now() + LAST_WORD_NS;
	while (!section_next(&s->in, err, sizeof(err))) {
		if (section_is(&s->in, MSG_FAILED)) {
			take_failed(s);
			return;
		}
		if (message_take(&s->in, &m, err, sizeof(err)))
			return;
	}
}
