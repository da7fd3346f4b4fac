/* SPDX-License-Identifier: GPL-2.0 */
/*
 * When the link breaks at "go" the source does not know whether that came. It connects
 * again, and asks; the target, which knows, waits for that.
 */
#ifndef VMMD_MIGRATE_ANSWER_H
#define VMMD_MIGRATE_ANSWER_H

#include <stdint.h>

struct answer;
struct channel;
struct listener;

/*
 * It runs here: in a thread, until c says that the source has heard that, or it has
 * asked, or for some time. c and l are its own from here on. NULL: no thread, and both
 * are closed.
 */
struct answer *answer_running(struct channel *c, struct listener *l, const uint8_t *token);
void answer_stop(struct answer *a);	/* at once. NULL is fine */
/* it never runs here: for the same time, or until it was asked. l is its own */
void answer_failed(struct listener *l, const uint8_t *token);

#endif
