/* SPDX-License-Identifier: GPL-2.0 */
/*
 * How long the guest would stand still if it were stopped now, from how fast its
 * memory went over until now; and how much a guest is to be slowed down that writes
 * faster than that.
 */
#ifndef VMMD_MIGRATE_PACE_H
#define VMMD_MIGRATE_PACE_H

#include <stdint.h>

struct pace {
	uint64_t page_ns;	/* a page's, from here until it is in its place */
	uint64_t trip_ns;	/* there and back, of nothing */
	uint64_t state_ns;	/* all that is not pages: stopping, saving, loading */
};

/* `pages` pages took that long, there and back once */
void pace_sent(struct pace *p, uint64_t pages, uint64_t ns);
/*
 * An attempt was late, of `promised`; ns of it are known to be no page's. The next
 * one wants more room, but there will be one.
 */
void pace_late(struct pace *p, uint64_t ns, uint64_t promised);
uint64_t pace_predict(const struct pace *p, uint64_t pages);	/* ns */

/* the next step of slowing down, percent of the time that the guest is stopped */
unsigned int pace_throttle(unsigned int percent);

#endif
