// SPDX-License-Identifier: GPL-2.0
/*
 * All that comes is hostile until it is checked, and goes nowhere but into the VM
 * that is being made of it.
 */
#include <errno.h>
#include <stdlib.h>
#include <stdio.h>
#include <string.h>

#include "migrate/channel.h"
#include "migrate/streams.h"
#include "migrate/target.h"

#define LINGER_NS	2000000000ULL
/* bytes of a disk that wait for their flush: the source waits for that only so long */
#define STORED_MAX	(64ULL << 20)

int target_init(struct target *t, struct channel *c, const struct target_guest *guest)
{
	*t = (struct target){
		.c = c, .guest = guest,
		.in = { .read = channel_read, .owner = c, .name = c->peer },
		.out = { .write = channel_write, .owner = c },
		.coder = pages_coder_new(),
		.body = malloc(PAGES_BODY_MAX),
		.granules = aligned_alloc(4096, PAGES_BYTES),
	};
	return t->coder && t->body && t->granules ? 0 : -ENOMEM;
}

void target_free(struct target *t)
{
	streams_in_free(t->more);
	pages_coder_free(t->coder);
	free(t->body);
	free(t->granules);
}

static int say(struct target *t, const char *tag, uint32_t number, uint32_t flags,
	       char *err, size_t errlen)
{
	int ret = message_put(&t->out, tag, number, flags);

	if (!ret)
		ret = channel_flush(t->c);
	if (ret)
		snprintf(err, errlen, "%s: %s", t->c->peer, strerror(-ret));
	return ret;
}

static int take_disk(struct target *t, char *err, size_t errlen)
{
	struct source *in = &t->in;
	struct migrate_disk *d = &t->disk;
	int ret = section_next(in, err, errlen);

	if (!ret && !section_is(in, MSG_DISK))
		ret = section_bad(in, err, errlen, "\"%s\" was wanted here", MSG_DISK);
	if (!ret)
		ret = section_version(in, 1, err, errlen);
	if (!ret)
		ret = section_body(in, d, sizeof(*d), err, errlen);
	if (ret)
		return ret;
	if (in->head.len != sizeof(*d) || d->path[0] != '/' ||
	    !memchr(d->path, 0, sizeof(d->path)) || !section_name_ok(d->path) ||
	    d->flags & ~(t->hello.flags & HELLO_DISK ? DISK_GENERATION | DISK_READ_ONLY : 0) ||
	    d->pad ||
	    d->generation > UINT64_MAX - 2)
		return section_bad(in, err, errlen, "is of a disk that cannot be");
	return 0;
}

static int take_streams(struct target *t, char *err, size_t errlen)
{
	struct source *in = &t->in;
	int ret = section_next(in, err, errlen);

	if (!ret && !section_is(in, MSG_STREAMS))
		ret = section_bad(in, err, errlen, "\"%s\" was wanted here", MSG_STREAMS);
	if (!ret)
		ret = section_version(in, 1, err, errlen);
	if (!ret)
		ret = section_body(in, &t->streams, sizeof(t->streams), err, errlen);
	if (ret)
		return ret;
	if (in->head.len != sizeof(t->streams) ||
	    t->streams.count > STREAMS_MAX || t->streams.pad)
		return section_bad(in, err, errlen, "are streams that cannot be");
	return 0;
}

int target_hello(struct target *t, char *err, size_t errlen)
{
	struct source *in = &t->in;
	int ret = section_next(in, err, errlen);

	if (!ret && !section_is(in, MSG_HELLO))
		ret = section_bad(in, err, errlen, "\"%s\" was wanted here", MSG_HELLO);
	if (!ret)
		ret = section_version(in, 1, err, errlen);
	if (!ret)
		ret = section_body(in, &t->hello, sizeof(t->hello), err, errlen);
	if (ret)
		return ret;
	if (in->head.len != sizeof(t->hello))
		return section_bad(in, err, errlen, "is too short");
	if (t->hello.protocol != MIGRATE_PROTOCOL) {
		section_bad(in, err, errlen, "speaks protocol %u, this vmmd %u: use the same vmmd on both sides",
			    t->hello.protocol, MIGRATE_PROTOCOL);
		return -ENOTSUP;
	}
	if (t->hello.flags & ~(HELLO_DRY_RUN | HELLO_DISK | HELLO_MIRROR |
				HELLO_STREAMS) ||
	    (t->hello.flags & HELLO_DISK && t->hello.flags & HELLO_MIRROR))
		return section_bad(in, err, errlen, "wants what this vmmd does not know");
	if (t->hello.flags & (HELLO_DISK | HELLO_MIRROR))
		ret = take_disk(t, err, errlen);
	if (!ret && t->hello.flags & HELLO_STREAMS)
		ret = take_streams(t, err, errlen);
	return ret;
}

/* ---- what comes ----------------------------------------------------------- */

static int flush(struct target *t, char *err, size_t errlen)
{
	if (!t->stored)
		return 0;
	t->stored = 0;
	return t->guest->flush(t->guest->owner, err, errlen);
}

static int store(struct target *t, const struct pages_head *h, char *err, size_t errlen)
{
	int ret = t->guest->store(t->guest->owner, h->gpa, t->granules, h->count, err, errlen);

	t->stored += h->count * PAGES_SIZE;
	return ret || t->stored < STORED_MAX ? ret : flush(t, err, errlen);
}

/* the head of what is in body[] then */
static int read_pages(struct source *in, uint8_t *body, struct pages_head *h, char *err,
		      size_t errlen)
{
	int ret = section_version(in, PAGES_VERSION, err, errlen);

	if (!ret)
		ret = section_body(in, body, PAGES_BODY_MAX, err, errlen);
	if (!ret && pages_check(body, in->head.len, h))
		ret = section_bad(in, err, errlen, "has pages that are not possible");
	return ret;
}

static int unpack(struct source *in, struct pages_coder *coder, const uint8_t *body,
		  void *to, char *err, size_t errlen)
{
	return pages_get(coder, body, in->head.len, to) ?
	       section_bad(in, err, errlen, "its pages cannot be unpacked") : 0;
}

int target_take_pages(struct source *in, struct pages_coder *coder, uint8_t *body,
		      const struct target_guest *guest, char *err, size_t errlen)
{
	struct pages_head h;
	uint8_t *to;
	int ret = read_pages(in, body, &h, err, errlen);

	if (ret)
		return ret;
	to = guest->place(guest->owner, h.gpa, h.count * PAGES_SIZE);
	if (!to)
		return section_bad(in, err, errlen, "has pages that are not in RAM");
	return unpack(in, coder, body, to, err, errlen);
}

static int take_blocks(struct target *t, char *err, size_t errlen)
{
	struct pages_head h;
	int ret = read_pages(&t->in, t->body, &h, err, errlen);

	if (!ret)
		ret = unpack(&t->in, t->coder, t->body, t->granules, err, errlen);
	return ret ? ret : store(t, &h, err, errlen);
}

static int take_again(struct target *t, const struct migrate_message *m, char *err,
		      size_t errlen)
{
	if (target_step(&t->state, TARGET_AGAIN))
		return section_bad(&t->in, err, errlen, "comes out of turn");
	t->offer = m->number;
	if (!t->state_begun)
		return 0;
	t->state_begun = false;
	return t->guest->again(t->guest->owner, err, errlen);
}

/* is it one of ours; *ret: then what came of it */
static bool take_message(struct target *t, int *ret, bool *done, char *err,
			 size_t errlen)
{
	struct source *in = &t->in;
	struct migrate_message m;

	if (section_is(in, MSG_PROBE)) {
		*ret = section_version(in, 1, err, errlen);
		if (!*ret)
			*ret = section_body(in, t->body, MIGRATE_PROBE, err, errlen);
		return true;
	}
	if (!section_is(in, MSG_SYNC) && !section_is(in, MSG_AGAIN) &&
	    !(section_is(in, MSG_BARRIER) && t->more) &&
	    !section_is(in, MSG_OFFER) && !section_is(in, MSG_GO))
		return false;
	*ret = message_take(in, &m, err, errlen);
	if (*ret)
		return true;
	if (section_is(in, MSG_SYNC)) {
		*ret = flush(t, err, errlen);
		if (!*ret)
			*ret = say(t, MSG_SYNCED, m.number, 0, err, errlen);
	} else if (section_is(in, MSG_BARRIER)) {
		*ret = streams_in_wait(t->more, m.number, t->c, err, errlen);
	} else if (section_is(in, MSG_AGAIN)) {
		*ret = take_again(t, &m, err, errlen);
	} else if (section_is(in, MSG_OFFER)) {
		t->offer = m.number;
		t->paused = m.flags & OFFER_PAUSED;
		*ret = flush(t, err, errlen);
		if (!*ret)
			*ret = t->guest->loaded(t->guest->owner, t->c->peer, err, errlen);
		*done = true;
	} else {
		*ret = section_bad(in, err, errlen, "comes out of turn");
	}
	return true;
}

/* until an offer is loaded and checked */
static int take_all(struct target *t, char *err, size_t errlen)
{
	bool done = false;
	int ret = 0;

	while (!ret && !done) {
		ret = section_next(&t->in, err, errlen);
		if (ret)
			return ret;
		if (section_is(&t->in, PAGES_TAG)) {
			ret = target_take_pages(&t->in, t->coder, t->body, t->guest, err, errlen);
		} else if (section_is(&t->in, MSG_BLOCKS) && t->guest->store) {
			ret = take_blocks(t, err, errlen);
		} else if (!take_message(t, &ret, &done, err, errlen)) {
			t->state_begun = true;
			ret = t->guest->load(t->guest->owner, &t->in, err, errlen);
		}
	}
	return ret;
}

int target_load(struct target *t, char *err, size_t errlen)
{
	int ret = say(t, MSG_WELCOME, MIGRATE_PROTOCOL, t->disk_zero ? WELCOME_ZERO : 0, err,
		      errlen);

	if (!ret && t->more)
		ret = streams_in_start(t->more, t->guest);
	return ret ? ret : take_all(t, err, errlen);
}

/* "go", or "again"; 1: it is ours */
static int take_answer(struct target *t, char *err, size_t errlen)
{
	struct source *in = &t->in;
	struct migrate_message m;
	int ret = section_next(in, err, errlen);

	if (!ret && !section_is(in, MSG_GO) && !section_is(in, MSG_AGAIN))
		ret = section_bad(in, err, errlen, "\"%s\" was wanted here", MSG_GO);
	if (!ret)
		ret = message_take(in, &m, err, errlen);
	if (!ret && m.number != t->offer)
		ret = section_bad(in, err, errlen, "is of offer %u, the last was %u",
				  m.number, t->offer);
	if (ret)
		return ret;
	if (section_is(in, MSG_AGAIN))
		return take_again(t, &m, err, errlen);
	return target_step(&t->state, t->guest->claim ? TARGET_GO_CLAIM : TARGET_GO) ?
	       section_bad(in, err, errlen, "comes out of turn") : 1;
}

int target_wait(struct target *t, char *err, size_t errlen)
{
	char ignored[256];
	int ret;

	for (;;) {
		target_step(&t->state, TARGET_LOADED);
		ret = say(t, MSG_READY, t->offer, 0, err, errlen);
		if (!ret)
			ret = take_answer(t, err, errlen);
		t->unheard = ret < 0 && ret != -ECANCELED;
		if (ret > 0)
			break;
		if (!ret)
			ret = take_all(t, err, errlen);
		if (ret)
			return ret;
	}
	if (t->guest->claim) {
		ret = t->guest->claim(t->guest->owner, err, errlen);
		if (ret)
			return ret;
		target_step(&t->state, TARGET_CLAIMED);
	}
	/* it runs here, whether that is heard or not */
	say(t, MSG_RUNNING, t->offer, 0, ignored, sizeof(ignored));
	streams_in_free(t->more);
	t->more = NULL;
	return 0;
}

void target_fail(struct target *t, const char *why)
{
	size_t len = strnlen(why, MIGRATE_TEXT);

	if (target_step(&t->state, TARGET_FAIL))
		return;
	if (!section_put(&t->out, MSG_FAILED, 1, why, len, NULL, 0))
		channel_linger(t->c, LINGER_NS);
}
