// SPDX-License-Identifier: GPL-2.0
/* hrtimer_setup() takes the callback too; it replaced hrtimer_init() */
#include <linux/hrtimer.h>

static enum hrtimer_restart probe_callback(struct hrtimer *timer)
{
	return HRTIMER_NORESTART;
}

void probe(struct hrtimer *timer);
void probe(struct hrtimer *timer)
{
	hrtimer_setup(timer, probe_callback, CLOCK_MONOTONIC, HRTIMER_MODE_ABS_HARD);
}
