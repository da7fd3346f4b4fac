// SPDX-License-Identifier: GPL-2.0
/* The sending side's disk, which the target opens, too. */
#include <errno.h>
#include <time.h>

#include "migrate/source_priv.h"

#define TRIES	250
#define TRY_NS	20000000L

int sender_describe(struct sender *s)
{
	struct migrate_disk d;
	char err[512];
	int ret;

	if (!s->guest->describe)
		return 0;
	ret = s->guest->describe(s->guest->owner, &d, err, sizeof(err));
	if (ret)
		return sender_fail(s, ret, "%s", err);
	return section_put(&s->out, MSG_DISK, 1, &d, sizeof(d), NULL, 0);
}

void sender_settle(struct sender *s)
{
	const struct timespec pause = { .tv_nsec = TRY_NS };
	enum source_event e = SOURCE_UNKNOWN;
	char err[512];
	unsigned int i;
	int ret = -EAGAIN;

	/* the target may be about to take it, or to let go of it, or there is no room */
	for (i = 0; i < TRIES && ret && ret != -ESTALE && ret != -EOPNOTSUPP; i++) {
		if (i)
			nanosleep(&pause, NULL);
		ret = s->guest->settle(s->guest->owner, s->never, err, sizeof(err));
	}
	if (!ret)
		e = SOURCE_TAKEN;
	else if (ret == -ESTALE)
		e = SOURCE_STALE;
	else
		sender_fail(s, ret, "%s", err);
	sender_step(s, e);
}
