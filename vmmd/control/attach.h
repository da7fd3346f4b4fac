/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A connection that carries the serial console's bytes, beside whatever else
 * --console chose. Machine lock held.
 */
#ifndef VMMD_ATTACH_H
#define VMMD_ATTACH_H

#include <stddef.h>

#define ATTACH_RING	65536	/* bytes kept for a reader; more are lost */
#define ATTACH_MAX	8

struct attach;
struct chardev;
struct loop;

/*
 * Takes the non-blocking socket, and `ahead`, which was typed already; with more
 * in *list, from which it goes when its peer hangs up. 0, or -errno with both
 * closed and freed.
 */
int attach_new(struct attach **list, struct loop *loop, struct chardev *chr,
	       int fd, char *ahead, size_t len);
unsigned int attach_count(const struct attach *list);
/* each gets what is kept for it, if it takes that at once */
void attach_free_all(struct attach **list);

#endif
