// SPDX-License-Identifier: GPL-2.0
/*
 * Memory goes over while the guest runs, in rounds, each with what was written during
 * the one before. When what is left would fit into the pause that was promised, the
 * guest is stopped and the rest sent. A clock runs meanwhile: at its end the guest
 * goes on here, in the middle of whatever is being sent, and rounds follow again.
 *
 * commit.h has which side runs the guest at each moment; every change of that goes
 * through sender_step().
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "loop.h"
#include "migrate/source_priv.h"
#include "state/vmstate.h"

#define MSEC		1000000ULL
#define ROUNDS_MAX	40
#define LATE_MAX	8
#define PROBES		4
#define TRIPS		3
/* of a peer that is to answer, and of one that has our guest */
#define PATIENCE_NS	(60000 * MSEC)
#define GIVEN_NS	(10000 * MSEC)
/* what is not pages, before any attempt has told */
#define STATE_NS	(2 * MSEC)
/* of silence on the channel, while its streams are busy */
#define WORD_NS		(1000 * MSEC)

/* ---- who runs the guest --------------------------------------------------- */

int sender_step(struct sender *s, enum source_event e)
{
	bool ran = source_may_run(s->state);

	if (source_step(&s->state, e))
		return sender_fail(s, -EPROTO, "%s: out of turn while %s", s->c->peer,
				   source_state_name(s->state));
	if (!ran && source_may_run(s->state))
		s->guest->go_on(s->guest->owner);
	return 0;
}

static void be_patient(struct sender *s)
{
	s->c->late = NULL;
	s->c->deadline = 0;
	s->c->patience = PATIENCE_NS;
}

/* the channel says that the promised time is over */
static void on_late(void *owner)
{
	struct sender *s = owner;

	s->late = true;
	s->result->late++;
	sender_step(s, SOURCE_LATE);
	be_patient(s);
}

static int ask(struct sender *s, const char *tag, uint32_t number, uint32_t flags)
{
	int ret = message_put(&s->out, tag, number, flags);

	return ret ? ret : channel_flush(s->c);
}

/* ---- memory --------------------------------------------------------------- */

static void note_pages(void *owner, const struct pages_head *h)
{
	struct sender *s = owner;

	if (h->kind != PAGES_ZERO)
		s->not_zero += h->count;
}

/* is there a reason not to go on */
static int look_around(struct sender *s)
{
	if (s->params->cancelled(s->params->owner))
		return -ECANCELED;
	return source_may_run(s->state) ? sender_listen(s) : 0;
}

static int tell_progress(struct sender *s, uint32_t count)
{
	s->result->now.done += count;
	if (source_may_run(s->state))
		s->params->progress(s->params->owner, &s->result->now);
	return 0;
}

/* while the streams are at work: the clock runs, and the target knows that we are there */
static int wait_for_streams(struct sender *s)
{
	int ret = look_around(s);

	if (!ret)
		ret = channel_check(s->c);
	if (ret || loop_now() - s->heard_of < WORD_NS)
		return ret;
	s->heard_of = loop_now();
	ret = section_put(&s->out, MSG_PROBE, 1, NULL, 0, NULL, 0);
	return ret ? ret : channel_flush(s->c);
}

/* what a stream says, or the target, which knows better why it has ended */
static int stream_failed(struct sender *s, int ret)
{
	if (ret == -ECANCELED)
		return ret;
	sender_last_word(s);
	return sender_fail(s, ret, "%s", streams_out_error(s->streams));
}

static int put_streams(struct sender *s, uint64_t gpa, const uint8_t *data, uint32_t count)
{
	uint32_t n;
	int ret = 0;

	for (; !ret && count; gpa += n * PAGES_SIZE, data += n * PAGES_SIZE, count -= n) {
		n = PAGES_MAX - gpa / PAGES_SIZE % PAGES_MAX;
		if (n > count)
			n = count;
		do {
			ret = wait_for_streams(s);
			if (ret)
				return ret;
			ret = streams_out_put(s->streams, gpa, data, n, s->pages.skip_zero);
		} while (ret == -EAGAIN);
	}
	return ret ? stream_failed(s, ret) : 0;
}

static int put_pages(void *owner, uint64_t gpa, const void *data, uint32_t count)
{
	struct sender *s = owner;
	int ret = look_around(s);

	if (!ret)
		ret = s->streams ? put_streams(s, gpa, data, count) :
				   pages_put(&s->pages, gpa, data, count);
	return ret ? ret : tell_progress(s, count);
}

static int put_blocks(void *owner, uint64_t offset, const void *data, uint32_t count)
{
	struct sender *s = owner;
	int ret = look_around(s);

	if (!ret)
		ret = pages_put(&s->blocks, offset, data, count);
	s->result->disk += count * PAGES_SIZE;
	return ret ? ret : tell_progress(s, count);
}

/* what was put into the streams is there before what is said next */
static int gather_streams(struct sender *s)
{
	int ret;

	if (!s->streams)
		return 0;
	streams_out_barrier(s->streams, ++s->barriers);
	do {
		ret = wait_for_streams(s);
		if (ret)
			return ret;
		ret = streams_out_wait(s->streams);
	} while (ret == -EAGAIN);
	s->not_zero += streams_out_not_zero(s->streams);
	return ret ? stream_failed(s, ret) : message_put(&s->out, MSG_BARRIER, s->barriers, 0);
}

/* all that is pending: of the disk first, as memory changes faster */
static int send_pending(struct sender *s)
{
	struct migrate_now *now = &s->result->now;
	char err[512] = "";
	int ret = 0;

	now->total = now->done + s->guest->pending(s->guest->owner);
	if (s->guest->send_disk)
		ret = s->guest->send_disk(s->guest->owner, put_blocks, s, err, sizeof(err));
	if (ret && err[0])
		return sender_fail(s, ret, "%s", err);
	return ret ? ret : s->guest->send(s->guest->owner, put_pages, s);
}

static int sync_target(struct sender *s)
{
	int ret = ask(s, MSG_SYNC, ++s->syncs, 0);

	return ret ? ret : sender_expect(s, MSG_SYNCED, s->syncs);
}

/* all that is pending, and how long that took until it was there */
static int send_round(struct sender *s)
{
	struct migrate_now *now = &s->result->now;
	uint64_t start = loop_now(), ns;
	int ret;

	be_patient(s);
	s->not_zero = 0;
	ret = send_pending(s);
	s->pages.skip_zero = false;
	s->blocks.skip_zero = false;
	/* a stale "ready" may be before the answer */
	if (!ret)
		ret = gather_streams(s);
	if (!ret)
		ret = sync_target(s);
	if (ret)
		return ret;
	ns = loop_now() - start;
	pace_sent(&s->pace, s->not_zero, ns);
	now->rate = s->pace.page_ns ? PAGES_SIZE * 1000 * MSEC / s->pace.page_ns : 0;
	return s->guest->harvest(s->guest->owner);
}

/* ---- the pause ------------------------------------------------------------ */

/* one section after the other, with the number that it has now */
static int send_saved(struct sender *s)
{
	const struct buffer *b = &s->saved;
	struct section_head h;
	char tag[SECTION_TAG + 1] = "";
	size_t at = 0;
	int ret = 0;

	while (!ret && !s->late && at < b->len) {
		memcpy(&h, b->data + at, sizeof(h));
		memcpy(tag, h.tag, SECTION_TAG);
		at += sizeof(h);
		s->state_sent = true;
		ret = section_put(&s->out, tag, h.version, b->data + at, h.len, NULL, 0);
		at += h.len;
	}
	return ret;
}

/* stopped; what the guest's devices still write is in the pages */
static int save_state(struct sender *s)
{
	struct sink out = { .write = buffer_write, .owner = &s->saved };
	int ret;

	s->saved.len = 0;
	ret = s->guest->state(s->guest->owner, &out);
	return ret ? ret : s->guest->harvest(s->guest->owner);
}

/* is there time for what is left; else the guest goes on */
static bool fits(struct sender *s)
{
	uint64_t spent = loop_now() - s->stopped_at;
	uint64_t left = pace_predict(&s->pace, s->guest->pending(s->guest->owner)) -
			s->pace.state_ns;

	if (spent + left <= s->params->downtime_ns)
		return true;
	pace_late(&s->pace, spent, s->params->downtime_ns);
	on_late(s);
	return false;
}

static int offer(struct sender *s, bool paused)
{
	int ret = send_pending(s);

	if (!ret && !s->late)
		ret = send_saved(s);
	if (!ret && !s->late)
		ret = gather_streams(s);
	if (ret || s->late)
		return ret;
	ret = vmstate_put_end(&s->out);
	if (!ret)
		ret = sender_step(s, SOURCE_OFFER);
	if (!ret)
		ret = ask(s, MSG_OFFER, s->attempt, paused ? OFFER_PAUSED : 0);
	/* the clock may have run out in that: then there is no turn for "ready" */
	if (!ret && !s->late)
		ret = sender_expect(s, MSG_READY, s->attempt);
	return ret ? ret : channel_check(s->c);
}

/* the point of no return */
static int give(struct sender *s)
{
	uint64_t sent;
	size_t wanted;
	int ret;

	s->c->late = NULL;
	s->c->deadline = 0;
	ret = sender_step(s, SOURCE_READY);
	if (ret)
		return ret;
	/* nothing of it is in the buffer: what is sent from here on is "go" */
	ret = channel_flush(s->c);
	if (ret)
		return ret;
	sender_step(s, s->guest->lend ? SOURCE_LEND : SOURCE_GO);
	if (s->guest->lend)
		s->guest->lend(s->guest->owner);
	s->c->wake_fd = -1;
	s->c->deadline = loop_now() + GIVEN_NS;
	sent = s->c->sent;
	ret = message_put(&s->out, MSG_GO, s->attempt, 0);
	wanted = s->c->used;
	if (!ret)
		ret = channel_flush(s->c);
	/* TLS keeps bytes of its own */
	if (ret && !s->c->tls && s->c->sent - sent < wanted) {
		s->never = true;
		sender_step(s, SOURCE_UNSENT);
		return ret;
	}
	if (!ret)
		ret = sender_expect(s, MSG_RUNNING, s->attempt);
	s->result->downtime_ns = loop_now() - s->stopped_at;
	if (!ret)
		ret = sender_step(s, SOURCE_RUNNING);
	/* then nobody will ask; a target that does not hear it waits for some time */
	if (!ret && s->params->can_ask && !message_put(&s->out, MSG_DONE, s->attempt, 0))
		channel_flush(s->c);
	return ret;
}

/* 0, and moved or going on with rounds */
static int try_to_finish(struct sender *s)
{
	uint64_t reserve = s->pace.trip_ns;
	bool paused = false;
	int ret;

	s->late = false;
	s->state_sent = false;
	s->attempt++;
	s->stopped_at = loop_now();
	ret = s->guest->stop(s->guest->owner, &paused);
	/* not before: it would run as fast as it can, and write, until it is stopped */
	s->guest->throttle(s->guest->owner, 0);
	/* from here on step() lets it go on */
	sender_step(s, SOURCE_STOP);
	if (!ret)
		ret = save_state(s);
	if (ret)
		return ret;
	if (fits(s)) {
		s->c->late = on_late;
		s->c->owner = s;
		s->c->deadline = s->stopped_at + s->params->downtime_ns -
			(reserve < s->params->downtime_ns / 4 ? reserve : 0);
		ret = offer(s, paused);
		if (!ret && !s->late)
			return give(s);
		if (s->late)
			pace_late(&s->pace, 0, s->params->downtime_ns);
	}
	if (ret)
		return ret;
	s->guest->throttle(s->guest->owner, s->result->now.throttle);
	be_patient(s);
	return s->state_sent ? ask(s, MSG_AGAIN, s->attempt, 0) : 0;
}

/* ---- all ------------------------------------------------------------------ */

static int give_up(struct sender *s, uint64_t predicted)
{
	const struct migrate_now *now = &s->result->now;

	if (s->result->late >= LATE_MAX)
		return sender_fail(s, -EBUSY, "the machine would have stood still for longer than the %.1f ms that were promised (--downtime), tried %u times, after %u rounds: %" PRIu64 " KiB/s were sent and it was slowed down by %u %%",
				   s->params->downtime_ns / 1e6, s->result->late, now->round,
				   now->rate >> 10, now->throttle);
	return sender_fail(s, -EBUSY, "after %u rounds the machine would still stand still for %.1f ms, %.1f ms were promised (--downtime): %" PRIu64 " KiB/s were sent and it was slowed down by %u %%",
		    now->round, predicted / 1e6, s->params->downtime_ns / 1e6,
		    now->rate >> 10, now->throttle);
}

/*
 * The promise would be kept; but as long as rounds halve what is left, one more is
 * cheap, and leaves room for what was not foreseen.
 */
static bool has_room(const struct sender *s, uint64_t before, uint64_t pending)
{
	return s->result->now.predicted_ns <= s->params->downtime_ns / 2 ||
	       pending >= before / 2 || s->result->now.round + 1 >= ROUNDS_MAX;
}

static int send_rounds(struct sender *s)
{
	struct migrate_now *now = &s->result->now;
	uint64_t before, pending;
	int ret;

	for (now->round = 1;; now->round++) {
		before = s->guest->pending(s->guest->owner);
		ret = send_round(s);
		if (ret)
			return ret;
		pending = s->guest->pending(s->guest->owner);
		now->predicted_ns = pace_predict(&s->pace, pending);
		if (now->predicted_ns <= s->params->downtime_ns) {
			ret = has_room(s, before, pending) ? try_to_finish(s) : 0;
			if (ret || s->state == SOURCE_MOVED)
				return ret;
		} else if (now->round > 1 && pending > before - before / 4) {
			now->throttle = pace_throttle(now->throttle);
			s->guest->throttle(s->guest->owner, now->throttle);
		}
		if (now->round >= ROUNDS_MAX || s->result->late >= LATE_MAX)
			return give_up(s, now->predicted_ns);
	}
}

static bool names_streams(const struct sender *s)
{
	return s->params->connect && !s->params->dry_run;
}

static int name_streams(struct sender *s)
{
	struct migrate_streams *m = &s->named;

	m->count = s->params->streams;
	if (getrandom(m->token, sizeof(m->token), 0) != sizeof(m->token))
		return -EIO;
	return section_put(&s->out, MSG_STREAMS, 1, m, sizeof(*m), NULL, 0);
}

static int open_streams(struct sender *s)
{
	char err[512];

	s->streams = streams_out_new(&s->named, s->params->connect, s->params->owner,
				     s->c->limit / s->named.count, err, sizeof(err));
	if (s->streams)
		return 0;
	/* it may have refused the machine before it heard of streams */
	sender_last_word(s);
	return sender_fail(s, -ECONNREFUSED, "%s", err);
}

static int send_hello(struct sender *s)
{
	const struct migrate_hello hello = {
		.protocol = MIGRATE_PROTOCOL,
		.flags = (s->params->dry_run ? HELLO_DRY_RUN : 0) |
			 (s->guest->send_disk ? HELLO_MIRROR :
			  s->guest->describe ? HELLO_DISK : 0) |
			 (names_streams(s) ? HELLO_STREAMS : 0),
	};
	int ret;

	be_patient(s);
	ret = section_put(&s->out, MSG_HELLO, 1, &hello, sizeof(hello), NULL, 0);
	if (!ret)
		ret = sender_describe(s);
	if (!ret && names_streams(s))
		ret = name_streams(s);
	if (!ret)
		ret = s->guest->begin(s->guest->owner, &s->out);
	if (!ret)
		ret = channel_flush(s->c);
	if (!ret && s->named.count)
		ret = open_streams(s);
	return ret ? ret : sender_expect(s, MSG_WELCOME, MIGRATE_PROTOCOL);
}

/* how long is the way, and how wide */
static int measure(struct sender *s)
{
	static const uint8_t probe[MIGRATE_PROBE];
	uint64_t start, ns;
	unsigned int i;
	int ret = 0;

	/* the first one may find the target busy or its code cold */
	for (i = 0; !ret && i < TRIPS; i++) {
		start = loop_now();
		ret = sync_target(s);
		ns = loop_now() - start;
		if (!i || ns < s->pace.trip_ns)
			s->pace.trip_ns = ns;
	}
	start = loop_now();
	for (i = 0; !ret && i < PROBES; i++)
		ret = section_put(&s->out, MSG_PROBE, 1, probe, sizeof(probe), NULL, 0);
	if (!ret)
		ret = sync_target(s);
	if (ret)
		return ret;
	ns = loop_now() - start;
	s->pace.state_ns = STATE_NS;
	s->pace.page_ns = 0;
	pace_sent(&s->pace, PROBES * MIGRATE_PROBE / PAGES_SIZE, ns);
	s->result->now.rate = s->pace.page_ns ?
			      PAGES_SIZE * 1000 * MSEC / s->pace.page_ns : 0;
	s->result->now.predicted_ns = pace_predict(&s->pace, 0);
	return 0;
}

/* all of the disk, before memory changes are of interest */
static int send_disk(struct sender *s)
{
	char err[512] = "";
	int ret;

	ret = s->guest->track_disk(s->guest->owner, !s->blocks.skip_zero, err, sizeof(err));
	if (ret)
		return sender_fail(s, ret, "%s", err);
	return send_round(s);
}

static int run(struct sender *s)
{
	int ret = send_hello(s);

	s->blocks.skip_zero = s->heard.flags & WELCOME_ZERO;
	if (!ret)
		ret = measure(s);
	if (ret || s->params->dry_run)
		return ret;
	if (s->result->now.predicted_ns > s->params->downtime_ns)
		return give_up(s, s->result->now.predicted_ns);
	if (s->guest->send_disk)
		ret = send_disk(s);
	if (!ret)
		ret = s->guest->track(s->guest->owner);
	s->pages.skip_zero = true;
	return ret ? ret : send_rounds(s);
}

static void end(struct sender *s, int ret)
{
	if (ret == -EPIPE || ret == -ECONNRESET)
		sender_last_word(s);
	if (!source_ended(s->state) && s->state != SOURCE_ASKS)
		sender_step(s, !source_handed_over(s->state) &&
			    (!ret || ret == -ECANCELED) ? SOURCE_GIVE_UP : SOURCE_CUT);
	if (s->state == SOURCE_ASKS)
		sender_settle(s);
	if (s->state == SOURCE_DOUBT && !s->guest->settle && s->params->can_ask)
		sender_ask(s);
	if (s->state == SOURCE_MOVED) {
		/* what was wrong with the link does not matter */
		s->result->error = 0;
		s->result->text[0] = 0;
	} else if (ret == -ECANCELED && s->state != SOURCE_DOUBT)
		sender_fail(s, ret, "the migration was given up");
	else if (ret)
		sender_fail(s, ret, "%s: %s", s->c->peer, strerror(-ret));
	s->result->state = s->state;
}

void source_run(struct channel *c, const struct migrate_guest *guest,
		const struct migrate_params *params, struct migrate_result *result)
{
	struct sender s = {
		.c = c, .guest = guest, .params = params, .result = result,
		.out = { .write = channel_write, .owner = c },
		.in = { .read = channel_read, .owner = c, .name = c->peer },
	};
	int ret = -ENOMEM;

	memset(result, 0, sizeof(*result));
	result->total = guest->total(guest->owner);
	s.pages = (struct pages_out){
		.coder = pages_coder_new(), .sink = &s.out, .tag = PAGES_TAG,
		.note = note_pages, .owner = &s,
	};
	s.blocks = s.pages;
	s.blocks.tag = MSG_BLOCKS;
	if (s.pages.coder)
		ret = run(&s);
	guest->throttle(guest->owner, 0);
	end(&s, ret);
	result->bytes = c->sent;
	if (s.streams)
		result->bytes += streams_out_free(s.streams);
	pages_coder_free(s.pages.coder);
	free(s.saved.data);
}
