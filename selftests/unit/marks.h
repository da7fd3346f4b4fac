/* SPDX-License-Identifier: GPL-2.0 */
/* Is all that a device writes to guest memory marked as written. */
#ifndef SELFTESTS_MARKS_H
#define SELFTESTS_MARKS_H

#include <stdbool.h>
#include <stdint.h>

struct marks;
struct mem;

struct marks *marks_new(struct mem *mem);	/* tracking begins */
void marks_free(struct marks *m);
void marks_begin(struct marks *m);	/* what was written so far is the driver's */
/* each page that is not as it was at the beginning was marked; fails otherwise */
void marks_check(struct marks *m);
bool marks_has(struct marks *m, uint64_t gpa);	/* as found by the last check */

#endif
