/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Which of the two hosts runs the VM: what each side of a migration may do at each
 * moment, and what it does when the link is cut. Pure: no sockets, no time.
 *
 *   source                            target
 *   RUNS      memory goes over        LOADING
 *   STOPPED   the guest stands still
 *   OFFERED   ------- offer ------->
 *   AGREED    <------ ready --------  READY
 *   GIVEN     -------- go --------->  RUNS
 *   MOVED     <----- running -------
 *
 * The guest is the source's until it is GIVEN, which it is before the first byte of
 * "go" leaves; it is the target's from when it has read all of "go". A source that
 * hears nothing after that cannot know (DOUBT): the target runs it, or nobody does.
 * Two never do.
 *
 * A disk that both have open, and its generation, know better. Before "go" the source
 * lets go of it (LENT); before the target runs it takes it (CLAIMS), and makes its
 * generation g to g + 1. A source that does not hear "running" (ASKS) tries to take
 * it, too, and to make g to g + 2. Who has done that has the guest, and the other one
 * never can: a number is set only by who has the disk's lock, from g alone, and only
 * grows. There is a doubt only as long as the disk does not answer.
 *
 *   AGREED    <------ ready --------  READY
 *   LENT      -------- go --------->  CLAIMS
 *   MOVED     <----- running -------  RUNS
 *   ASKS      <----- failed --------  GONE
 */
#ifndef VMMD_MIGRATE_COMMIT_H
#define VMMD_MIGRATE_COMMIT_H

#include <stdbool.h>

enum source_state {
	SOURCE_RUNS,
	SOURCE_STOPPED,
	SOURCE_OFFERED,
	SOURCE_AGREED,
	SOURCE_GIVEN,
	SOURCE_LENT,	/* the same, with a disk that knows */
	SOURCE_ASKS,	/* the disk */
	SOURCE_MOVED,	/* end: the target runs it */
	SOURCE_KEPT,	/* end: no migration, it runs here */
	SOURCE_DOUBT,	/* until somebody who knows says what is */
	SOURCE_STATES,
};

enum source_event {
	SOURCE_STOP,		/* all vCPUs are paused */
	SOURCE_OFFER,		/* "offer" leaves */
	SOURCE_LATE,		/* the pause would be longer than promised */
	SOURCE_READY,		/* "ready" came */
	SOURCE_GO,		/* "go" leaves */
	SOURCE_LEND,		/* the disk's lock is gone, and "go" leaves */
	SOURCE_RUNNING,		/* "running" came */
	SOURCE_FAILED,		/* "failed" came: it never runs there */
	SOURCE_GIVE_UP,		/* cancelled, or an error here */
	SOURCE_CUT,		/* the link */
	SOURCE_UNSENT,		/* and not all of "go" has left */
	SOURCE_TAKEN,		/* the disk is ours again: it never runs there */
	SOURCE_STALE,		/* the disk is the target's */
	SOURCE_UNKNOWN,		/* the disk does not say */
	SOURCE_FORCE,		/* who knows says: it does not run there */
	SOURCE_EVENTS,
};

enum target_state {
	TARGET_LOADING,
	TARGET_READY,
	TARGET_CLAIMS,	/* "go" came, but the disk is not ours yet */
	TARGET_RUNS,	/* end */
	TARGET_GONE,	/* end: never ran */
	TARGET_STATES,
};

enum target_event {
	TARGET_LOADED,		/* "offer" came, and all is there; "ready" leaves */
	TARGET_AGAIN,		/* "again" came: the source was late, and goes on */
	TARGET_GO,		/* "go" came */
	TARGET_GO_CLAIM,	/* the same, and there is a disk that knows */
	TARGET_CLAIMED,		/* it is ours */
	TARGET_FAIL,		/* something here; "failed" leaves */
	TARGET_CUT,		/* the link */
	TARGET_EVENTS,
};

/* 0; -EPROTO: that cannot be now, and the state is as it was */
int source_step(enum source_state *s, enum source_event e);
int target_step(enum target_state *t, enum target_event e);
/* may the guest's CPUs run on this side */
bool source_may_run(enum source_state s);
bool target_may_run(enum target_state t);
/* an end: but a DOUBT's, when the disk answers or with SOURCE_FORCE */
bool source_ended(enum source_state s);
/* "go" has left, or some of it: nothing that happens here alone brings it back */
bool source_handed_over(enum source_state s);

const char *source_state_name(enum source_state s);

#endif
