/* SPDX-License-Identifier: GPL-2.0 */
/* How far something is, as a line on a terminal; where there is none, nothing. */
#ifndef VMMD_PROGRESS_H
#define VMMD_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

struct progress {
	const char *what;
	bool shown;
};

void progress_show(struct progress *p, uint64_t done, uint64_t total);	/* bytes */
void progress_end(struct progress *p);		/* the next line is another's */

#endif
