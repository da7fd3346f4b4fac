// SPDX-License-Identifier: GPL-2.0
#include <stddef.h>

#include "migrate/pace.h"

#define ENOUGH	64	/* pages: fewer say nothing */

void pace_sent(struct pace *p, uint64_t pages, uint64_t ns)
{
	/* a trip was measured alone, and need not have been a good one */
	uint64_t trip_ns = p->trip_ns < ns / 2 ? p->trip_ns : ns / 2;
	uint64_t page_ns;

	if (pages < ENOUGH)
		return;
	page_ns = (ns - trip_ns) / pages;
	/* slower is believed at once, faster by and by: a promise hangs on it */
	if (page_ns < p->page_ns)
		page_ns = (3 * p->page_ns + page_ns) / 4;
	p->page_ns = page_ns;
}

void pace_late(struct pace *p, uint64_t ns, uint64_t promised)
{
	uint64_t most = promised - promised / 4;

	if (ns < 2 * p->state_ns)
		ns = 2 * p->state_ns;
	if (ns > most)
		ns = most;
	if (ns > p->state_ns)
		p->state_ns = ns;
}

uint64_t pace_predict(const struct pace *p, uint64_t pages)
{
	/* "offer" and "ready", "go" and its first instruction */
	return pages * p->page_ns + 2 * p->trip_ns + p->state_ns;
}

unsigned int pace_throttle(unsigned int percent)
{
	static const unsigned char step[] = { 20, 40, 60, 75, 85, 92, 96, 98 };
	size_t i;

	for (i = 0; i < sizeof(step); i++)
		if (percent < step[i])
			return step[i];
	return percent;
}
