// SPDX-License-Identifier: GPL-2.0
#include <errno.h>

#include "migrate/commit.h"

/* what follows, + 1; 0: that cannot be */
#define TO(state)	((state) + 1)

static const unsigned char source[SOURCE_STATES][SOURCE_EVENTS] = {
	[SOURCE_RUNS] = {
		[SOURCE_STOP]	 = TO(SOURCE_STOPPED),
		[SOURCE_FAILED]	 = TO(SOURCE_KEPT),
		[SOURCE_GIVE_UP] = TO(SOURCE_KEPT),
		[SOURCE_CUT]	 = TO(SOURCE_KEPT),
	},
	[SOURCE_STOPPED] = {
		[SOURCE_OFFER]	 = TO(SOURCE_OFFERED),
		[SOURCE_LATE]	 = TO(SOURCE_RUNS),
		[SOURCE_FAILED]	 = TO(SOURCE_KEPT),
		[SOURCE_GIVE_UP] = TO(SOURCE_KEPT),
		[SOURCE_CUT]	 = TO(SOURCE_KEPT),
	},
	[SOURCE_OFFERED] = {
		[SOURCE_READY]	 = TO(SOURCE_AGREED),
		[SOURCE_LATE]	 = TO(SOURCE_RUNS),
		[SOURCE_FAILED]	 = TO(SOURCE_KEPT),
		[SOURCE_GIVE_UP] = TO(SOURCE_KEPT),
		[SOURCE_CUT]	 = TO(SOURCE_KEPT),
	},
	[SOURCE_AGREED] = {
		[SOURCE_GO]	 = TO(SOURCE_GIVEN),
		[SOURCE_LEND]	 = TO(SOURCE_LENT),
		[SOURCE_LATE]	 = TO(SOURCE_RUNS),
		[SOURCE_FAILED]	 = TO(SOURCE_KEPT),
		[SOURCE_GIVE_UP] = TO(SOURCE_KEPT),
		[SOURCE_CUT]	 = TO(SOURCE_KEPT),
	},
	/* whatever happens here, only the target can say that it is not there */
	[SOURCE_GIVEN] = {
		[SOURCE_RUNNING] = TO(SOURCE_MOVED),
		[SOURCE_FAILED]	 = TO(SOURCE_KEPT),
		[SOURCE_CUT]	 = TO(SOURCE_DOUBT),
		[SOURCE_UNSENT]	 = TO(SOURCE_KEPT),
	},
	/* and then the disk has to be ours again */
	[SOURCE_LENT] = {
		[SOURCE_RUNNING] = TO(SOURCE_MOVED),
		[SOURCE_FAILED]	 = TO(SOURCE_ASKS),
		[SOURCE_CUT]	 = TO(SOURCE_ASKS),
		[SOURCE_UNSENT]	 = TO(SOURCE_ASKS),
	},
	[SOURCE_ASKS] = {
		[SOURCE_TAKEN]	 = TO(SOURCE_KEPT),
		[SOURCE_STALE]	 = TO(SOURCE_MOVED),
		[SOURCE_UNKNOWN] = TO(SOURCE_DOUBT),
	},
	[SOURCE_DOUBT] = {
		[SOURCE_FORCE]	 = TO(SOURCE_KEPT),
		[SOURCE_TAKEN]	 = TO(SOURCE_KEPT),
		[SOURCE_STALE]	 = TO(SOURCE_MOVED),
	},
};

static const unsigned char target[TARGET_STATES][TARGET_EVENTS] = {
	[TARGET_LOADING] = {
		[TARGET_LOADED]	= TO(TARGET_READY),
		[TARGET_AGAIN]	= TO(TARGET_LOADING),
		[TARGET_FAIL]	= TO(TARGET_GONE),
		[TARGET_CUT]	= TO(TARGET_GONE),
	},
	[TARGET_READY] = {
		[TARGET_AGAIN]	= TO(TARGET_LOADING),
		[TARGET_GO]	= TO(TARGET_RUNS),
		[TARGET_GO_CLAIM] = TO(TARGET_CLAIMS),
		[TARGET_FAIL]	= TO(TARGET_GONE),
		[TARGET_CUT]	= TO(TARGET_GONE),
	},
	/* it is the disk that says whose the guest is, whether the source hears or not */
	[TARGET_CLAIMS] = {
		[TARGET_CLAIMED] = TO(TARGET_RUNS),
		[TARGET_FAIL]	= TO(TARGET_GONE),
		[TARGET_CUT]	= TO(TARGET_CLAIMS),
	},
	[TARGET_RUNS] = {
		[TARGET_CUT]	= TO(TARGET_RUNS),
	},
	[TARGET_GONE] = {
		[TARGET_CUT]	= TO(TARGET_GONE),
	},
};

int source_step(enum source_state *s, enum source_event e)
{
	unsigned char to = source[*s][e];

	if (!to)
		return -EPROTO;
	*s = to - 1;
	return 0;
}

int target_step(enum target_state *t, enum target_event e)
{
	unsigned char to = target[*t][e];

	if (!to)
		return -EPROTO;
	*t = to - 1;
	return 0;
}

bool source_may_run(enum source_state s)
{
	return s == SOURCE_RUNS || s == SOURCE_KEPT;
}

bool target_may_run(enum target_state t)
{
	return t == TARGET_RUNS;
}

bool source_ended(enum source_state s)
{
	return s == SOURCE_MOVED || s == SOURCE_KEPT || s == SOURCE_DOUBT;
}

bool source_handed_over(enum source_state s)
{
	return s == SOURCE_GIVEN || s == SOURCE_LENT || s == SOURCE_ASKS;
}

const char *source_state_name(enum source_state s)
{
	static const char *const name[SOURCE_STATES] = {
		[SOURCE_RUNS]	 = "memory is sent",
		[SOURCE_STOPPED] = "the guest stands still",
		[SOURCE_OFFERED] = "all is sent",
		[SOURCE_AGREED]	 = "the target is ready",
		[SOURCE_GIVEN]	 = "handed over",
		[SOURCE_LENT]	 = "handed over",
		[SOURCE_ASKS]	 = "the disk is asked",
		[SOURCE_MOVED]	 = "moved",
		[SOURCE_KEPT]	 = "kept",
		[SOURCE_DOUBT]	 = "in doubt",
	};

	return name[s];
}
