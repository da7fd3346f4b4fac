// SPDX-License-Identifier: GPL-2.0
/*
 * Two hosts, one VM and one disk, whose lock and generation say whose the VM is: every
 * order in which the two sides of commit.h can act from "ready" on, with the link cut
 * and any tail of what was under way lost, either side killed and the disk full at
 * every moment.
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

#define SEEN	(1U << 20)

enum message { NONE, OFFER, GO, READY, RUNNING, FAILED };
enum who { NOBODY, SOURCE, TARGET };

struct way {
	uint8_t what[3], n;
};

/* all there is to know; compared as bytes. States are + 1: 0 is a free place */
struct world {
	uint8_t source, target;
	bool cut;
	bool source_left, target_left;
	bool source_dead, target_dead;
	bool never;		/* the source was told so */
	uint8_t lock, generation;	/* 0: as it was offered, 1, 2 */
	bool was_full;		/* once; then there is room */
	bool source_held, target_ran;
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

static void visit(struct world w);

static enum source_state src(const struct world *w)
{
	return w->source - 1;
}

static void push(const struct world *w, struct way *q, enum message m)
{
	if (w->cut)
		return;
	assert_true(q->n < sizeof(q->what));
	q->what[q->n++] = m;
}

static enum message pop(struct way *q)
{
	enum message m = q->what[0];

	q->n--;
	memmove(q->what, q->what + 1, q->n);
	q->what[q->n] = 0;
	return m;
}

static bool source_does(struct world *w, enum source_event e)
{
	enum source_state s = src(w);

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

/* one try of sender_settle */
static void source_settles(const struct world *now)
{
	struct world w = *now;
	bool locked = w.lock == TARGET;

	if (src(&w) != SOURCE_ASKS && src(&w) != SOURCE_DOUBT)
		return;
	if (!w.never && w.generation == 1) {
		assert_true(source_does(&w, SOURCE_STALE));
		visit(w);
		return;
	}
	if (locked) {
		/* it does not wait for ever */
		if (source_does(&w, SOURCE_UNKNOWN))
			visit(w);
		return;
	}
	w.lock = SOURCE;
	/* who is known not to run needs no number */
	if (!w.was_full && !w.never) {
		struct world full = w;

		full.was_full = true;
		full.lock = NOBODY;
		if (src(&full) == SOURCE_DOUBT || source_does(&full, SOURCE_UNKNOWN))
			visit(full);
	}
	w.generation = 2;
	assert_true(source_does(&w, SOURCE_TAKEN));
	visit(w);
}

static void source_acts(const struct world *now)
{
	struct world w = *now, unsent;

	if (now->source_dead)
		return;
	if (source_does(&w, SOURCE_STOP))
		visit(w);
	w = *now;
	if (source_does(&w, SOURCE_OFFER)) {
		push(&w, &w.there, OFFER);
		visit(w);
	}
	w = *now;
	if (source_does(&w, SOURCE_LEND)) {
		assert_int_equal(w.lock, SOURCE);
		w.lock = NOBODY;
		unsent = w;
		push(&w, &w.there, GO);
		visit(w);
		unsent.cut = true;
		unsent.never = true;
		assert_true(source_does(&unsent, SOURCE_UNSENT));
		visit(unsent);
	}
	w = *now;
	if (source_does(&w, SOURCE_GIVE_UP))
		visit(w);
	w = *now;
	if ((w.cut || src(&w) == SOURCE_LENT) && source_does(&w, SOURCE_CUT))
		visit(w);
	source_settles(now);
	w = *now;
	if (!now->source_left && now->back.n) {
		switch (pop(&w.back)) {
		case READY:
			if (src(&w) == SOURCE_OFFERED)
				assert_true(source_does(&w, SOURCE_READY));
			break;
		case RUNNING:
			if (src(&w) == SOURCE_LENT)
				assert_true(source_does(&w, SOURCE_RUNNING));
			break;
		default:
			if (src(&w) != SOURCE_ASKS) {
				w.never |= src(&w) == SOURCE_LENT;
				assert_true(source_does(&w, SOURCE_FAILED));
			}
		}
		visit(w);
	}
}

/* one try of disk_shared_claim */
static void target_claims(const struct world *now)
{
	struct world w = *now;

	if (w.target != TARGET_CLAIMS || w.lock == SOURCE || w.generation)
		return;
	w.lock = TARGET;
	visit(w);		/* it has the lock, and is slow */
	if (!w.was_full) {
		struct world full = w;

		full.was_full = true;
		full.lock = NOBODY;
		assert_true(target_does(&full, TARGET_FAIL));
		push(&full, &full.back, FAILED);
		visit(full);
	}
	w.generation = 1;
	visit(w);		/* the number is there, and it does not run yet */
	assert_true(target_does(&w, TARGET_CLAIMED));
	push(&w, &w.back, RUNNING);
	visit(w);
}

static void target_acts(const struct world *now)
{
	struct world w = *now;

	if (now->target_dead)
		return;
	/* whatever fails before it owns the number; after that nothing can */
	if (!(w.lock == TARGET && w.generation == 1) && target_does(&w, TARGET_FAIL)) {
		if (w.lock == TARGET)
			w.lock = NOBODY;
		push(&w, &w.back, FAILED);
		visit(w);
	}
	w = *now;
	if (w.cut && !w.target_left && target_does(&w, TARGET_CUT))
		visit(w);
	w = *now;
	if (w.target == TARGET_CLAIMS && w.lock == TARGET && w.generation == 1) {
		assert_true(target_does(&w, TARGET_CLAIMED));
		push(&w, &w.back, RUNNING);
		visit(w);
	}
	target_claims(now);
	w = *now;
	if (!now->target_left && now->there.n && now->target != TARGET_CLAIMS) {
		if (pop(&w.there) == OFFER) {
			assert_true(target_does(&w, TARGET_LOADED));
			push(&w, &w.back, READY);
		} else {
			assert_true(target_does(&w, TARGET_GO_CLAIM));
		}
		visit(w);
	}
}

/* the link is cut, or somebody killed */
static void world_acts(const struct world *now)
{
	struct world w;
	uint8_t i, j;

	for (i = 0; i <= now->there.n && (!now->cut || now->source_left); i++)
		for (j = 0; j <= now->back.n; j++) {
			w = *now;
			w.cut = true;
			memset(w.there.what + i, 0, sizeof(w.there.what) - i);
			memset(w.back.what + j, 0, sizeof(w.back.what) - j);
			w.there.n = i;
			w.back.n = j;
			visit(w);
		}
	if (now->source_dead || now->target_dead)
		return;
	w = *now;
	w.source_dead = w.source_left = w.cut = true;
	w.source_held = source_may_run(src(&w)) || src(&w) < SOURCE_GIVEN;
	if (w.lock == SOURCE)
		w.lock = NOBODY;
	visit(w);
	w = *now;
	w.target_dead = w.target_left = w.cut = true;
	w.target_ran = w.generation == 1;
	if (w.lock == TARGET)
		w.lock = NOBODY;
	visit(w);
}

/* when neither can do anything any more; who is dead runs nothing */
static void check_end(const struct world *w)
{
	bool here = source_may_run(src(w)) && !w->source_dead;
	bool there = target_may_run(w->target) && !w->target_dead;

	if ((!w->source_left && !w->source_dead) || (!w->target_left && !w->target_dead) ||
	    (src(w) == SOURCE_DOUBT && !w->source_dead))
		return;
	ends++;
	found[src(w)][w->target] = true;
	/* whoever was killed took with him what was his */
	if (w->source_dead && (w->source_held || w->target == TARGET_GONE))
		assert_false(here || there);
	else if (w->target_dead && w->target_ran)
		assert_false(here || there);
	else
		assert_true(here != there);
}

static void visit(struct world w)
{
	bool here = source_may_run(src(&w)) && !w.source_dead;
	bool there = target_may_run(w.target) && !w.target_dead;

	if (!is_new(&w))
		return;
	/* never two, and nobody without the disk */
	assert_false(here && there);
	if (here)
		assert_int_equal(w.lock, SOURCE);
	if (there) {
		assert_int_equal(w.lock, TARGET);
		assert_int_equal(w.generation, 1);
	}
	check_end(&w);
	source_acts(&w);
	target_acts(&w);
	world_acts(&w);
}

static void test_every_order(void **state)
{
	struct world w;

	memset(&w, 0, sizeof(w));
	w.source = SOURCE_RUNS + 1;
	w.lock = SOURCE;
	seen = calloc(SEEN, sizeof(*seen));
	assert_non_null(seen);
	visit(w);
	free(seen);
	print_message("%zu worlds, %zu of them ends\n", nseen, ends);
	assert_true(nseen > 300 && ends > 100);
	assert_true(found[SOURCE_MOVED][TARGET_RUNS]);
	assert_true(found[SOURCE_KEPT][TARGET_GONE]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_order),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
