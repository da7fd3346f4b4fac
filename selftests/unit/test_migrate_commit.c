// SPDX-License-Identifier: GPL-2.0
/*
 * Two hosts and one VM: every order in which the two sides of commit.h can act, with
 * the link cut at every moment, and any tail of what was under way lost.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "migrate/commit.h"

#define ATTEMPTS	2	/* stops of the guest */
#define QUEUE		4	/* messages under way, each way */
#define SEEN		(1U << 20)

enum message { NONE, OFFER, AGAIN, GO, READY, RUNNING, FAILED };

struct way {
	uint8_t what[QUEUE], number[QUEUE];
	uint8_t n;
};

/* all there is to know; compared as bytes */
struct world {
	uint8_t source, target;
	uint8_t attempt, offer;
	bool cut;		/* nothing goes in any more */
	bool source_left, target_left;	/* they have closed it */
	bool go_left;		/* all of "go" did */
	struct way there, back;
};

static struct world *seen;
static size_t nseen, ends;
static bool found[SOURCE_STATES][TARGET_STATES];

static bool is_new(const struct world *w)
{
	const uint8_t *p = (const uint8_t *)w;
	uint64_t h = 14695981039346656037ULL;
	size_t i;

	for (i = 0; i < sizeof(*w); i++)
		h = (h ^ p[i]) * 1099511628211ULL;
	for (i = h % SEEN; seen[i].source; i = (i + 1) % SEEN)
		if (!memcmp(&seen[i], w, sizeof(*w)))
			return false;
	assert_true(nseen++ < SEEN / 2);
	seen[i] = *w;
	return true;
}

static void push(const struct world *w, struct way *q, enum message m, uint8_t number)
{
	if (w->cut)
		return;
	assert_true(q->n < QUEUE);
	q->what[q->n] = m;
	q->number[q->n++] = number;
}

static void pop(struct way *q)
{
	q->n--;
	memmove(q->what, q->what + 1, q->n);
	memmove(q->number, q->number + 1, q->n);
	q->what[q->n] = q->number[q->n] = 0;
}

static void trim(struct way *q, uint8_t n)
{
	while (q->n > n) {
		q->n--;
		q->what[q->n] = q->number[q->n] = 0;
	}
}

static void visit(struct world w);

/* states are kept + 1, so that 0 is a free place */
static enum source_state source_of(const struct world *w)
{
	return w->source - 1;
}

/* the source does this; false: it cannot now */
static bool source_does(struct world *w, enum source_event e)
{
	enum source_state s = source_of(w);

	if (source_step(&s, e))
		return false;
	w->source = s + 1;
	if (source_ended(s)) {
		w->source_left = true;
		w->cut = true;
	}
	return true;
}

static bool target_does(struct world *w, enum target_event e)
{
	enum target_state t = w->target;

	if (target_step(&t, e))
		return false;
	w->target = t;
	if (t == TARGET_GONE || t == TARGET_RUNS)
		w->target_left = true;
	return true;
}

static void source_acts(const struct world *now)
{
	enum source_state s = source_of(now);
	struct world w;

	w = *now;
	if (w.attempt < ATTEMPTS && source_does(&w, SOURCE_STOP)) {
		w.attempt++;
		visit(w);
	}
	w = *now;
	if (source_does(&w, SOURCE_OFFER)) {
		push(&w, &w.there, OFFER, w.attempt);
		visit(w);
	}
	w = *now;
	if (source_does(&w, SOURCE_LATE)) {
		push(&w, &w.there, AGAIN, w.attempt);
		visit(w);
	}
	w = *now;
	if (source_does(&w, SOURCE_GO)) {
		struct world unsent = w;

		push(&w, &w.there, GO, w.attempt);
		w.go_left = !w.cut;
		visit(w);
		unsent.cut = true;
		assert_true(source_does(&unsent, SOURCE_UNSENT));
		visit(unsent);
	}
	w = *now;
	if (source_does(&w, SOURCE_GIVE_UP))
		visit(w);
	/* its patience ends, or it writes into a link that is cut */
	w = *now;
	if ((w.cut || s == SOURCE_GIVEN) && source_does(&w, SOURCE_CUT))
		visit(w);
}

static void source_hears(const struct world *now)
{
	enum source_state s = source_of(now);
	enum message m = now->back.what[0];
	uint8_t number = now->back.number[0];
	struct world w = *now;

	if (!now->back.n || now->source_left)
		return;
	pop(&w.back);
	switch (m) {
	case READY:
		/* one that is too late is passed over */
		if (s == SOURCE_OFFERED && number == w.attempt)
			assert_true(source_does(&w, SOURCE_READY));
		else
			assert_true(number < w.attempt || source_may_run(s));
		break;
	case RUNNING:
		assert_int_equal(number, w.attempt);
		assert_true(source_does(&w, SOURCE_RUNNING));
		break;
	case FAILED:
		assert_true(source_does(&w, SOURCE_FAILED));
		break;
	default:
		fail();
	}
	visit(w);
}

static void target_acts(const struct world *now)
{
	struct world w = *now;

	if (target_does(&w, TARGET_FAIL)) {
		push(&w, &w.back, FAILED, 0);
		visit(w);
	}
	w = *now;
	if (w.cut && !w.target_left && target_does(&w, TARGET_CUT))
		visit(w);
}

static void target_hears(const struct world *now)
{
	enum message m = now->there.what[0];
	uint8_t number = now->there.number[0];
	struct world w = *now;

	if (!now->there.n || now->target_left)
		return;
	pop(&w.there);
	switch (m) {
	case OFFER:
		assert_true(target_does(&w, TARGET_LOADED));
		w.offer = number;
		push(&w, &w.back, READY, number);
		break;
	case AGAIN:
		assert_true(target_does(&w, TARGET_AGAIN));
		break;
	case GO:
		assert_int_equal(number, w.offer);
		assert_true(target_does(&w, TARGET_GO));
		push(&w, &w.back, RUNNING, number);
		break;
	default:
		fail();
	}
	visit(w);
}

/* any number of the messages under way is lost */
static void link_is_cut(const struct world *now)
{
	struct world w;
	uint8_t i, j;

	if (now->cut && !now->source_left)
		return;
	for (i = 0; i <= now->there.n; i++)
		for (j = 0; j <= now->back.n; j++) {
			w = *now;
			w.cut = true;
			trim(&w.there, i);
			trim(&w.back, j);
			visit(w);
		}
}

static void check_end(const struct world *w)
{
	enum source_state s = source_of(w);
	struct world forced = *w;

	if (!w->source_left || !w->target_left)
		return;
	ends++;
	found[s][w->target] = true;
	switch (s) {
	case SOURCE_KEPT:
		assert_int_equal(w->target, TARGET_GONE);
		break;
	case SOURCE_MOVED:
		assert_int_equal(w->target, TARGET_RUNS);
		break;
	default:
		assert_int_equal(s, SOURCE_DOUBT);
		/* who looks knows, and that is the end of it */
		if (w->target == TARGET_GONE) {
			assert_true(source_does(&forced, SOURCE_FORCE));
			assert_true(source_may_run(source_of(&forced)));
		}
	}
}

static void visit(struct world w)
{
	enum source_state s = source_of(&w);

	if (!is_new(&w))
		return;
	/* never two */
	assert_false(source_may_run(s) && target_may_run(w.target));
	/* a doubt has one cause */
	if (s == SOURCE_DOUBT && w.target == TARGET_RUNS)
		assert_true(w.go_left);
	/* and a target never runs what was not given to it */
	if (target_may_run(w.target))
		assert_true(w.go_left);
	check_end(&w);
	if (!w.source_left)
		source_acts(&w);
	source_hears(&w);
	target_acts(&w);
	target_hears(&w);
	link_is_cut(&w);
}

static void test_every_order(void **state)
{
	struct world w;

	memset(&w, 0, sizeof(w));
	w.source = SOURCE_RUNS + 1;
	seen = calloc(SEEN, sizeof(*seen));
	assert_non_null(seen);
	visit(w);
	free(seen);
	print_message("%zu worlds, %zu of them ends\n", nseen, ends);
	assert_true(nseen > 500 && ends > 100);
	/* all that can happen did */
	assert_true(found[SOURCE_MOVED][TARGET_RUNS]);
	assert_true(found[SOURCE_KEPT][TARGET_GONE]);
	assert_true(found[SOURCE_DOUBT][TARGET_RUNS]);
	assert_true(found[SOURCE_DOUBT][TARGET_GONE]);
}

/* what is given is never taken back by this side alone */
static void test_given(void **state)
{
	static const enum source_event never[] = {
		SOURCE_STOP, SOURCE_OFFER, SOURCE_LATE, SOURCE_READY, SOURCE_GO,
		SOURCE_GIVE_UP, SOURCE_FORCE,
	};
	size_t i;

	for (i = 0; i < sizeof(never) / sizeof(never[0]); i++) {
		enum source_state s = SOURCE_GIVEN;

		assert_int_not_equal(source_step(&s, never[i]), 0);
		assert_int_equal(s, SOURCE_GIVEN);
	}
}

static void test_ends(void **state)
{
	enum source_state s;
	enum target_state t;
	int e;

	for (e = 0; e < SOURCE_EVENTS; e++) {
		s = SOURCE_MOVED;
		assert_int_not_equal(source_step(&s, e), 0);
		s = SOURCE_KEPT;
		assert_int_not_equal(source_step(&s, e), 0);
	}
	for (e = 0; e < TARGET_EVENTS; e++) {
		t = TARGET_GONE;
		target_step(&t, e);
		assert_int_equal(t, TARGET_GONE);
		t = TARGET_RUNS;
		target_step(&t, e);
		assert_int_equal(t, TARGET_RUNS);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_order),
		cmocka_unit_test(test_given),
		cmocka_unit_test(test_ends),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
