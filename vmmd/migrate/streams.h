/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Channels beside the first one, by which pages of memory go over at the same time,
 * each packed and unpacked by a thread of its own. A page goes by the same one always,
 * so a later copy of it comes later. All else is said on the first channel; a barrier
 * there is passed when all of the others have come to theirs of that number.
 */
#ifndef VMMD_MIGRATE_STREAMS_H
#define VMMD_MIGRATE_STREAMS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "migrate/message.h"

struct channel;
struct target_guest;

typedef struct channel *(*streams_open)(void *owner, char *err, size_t errlen);

/* ---- source: for one thread ----------------------------------------------- */

struct streams_out;

/*
 * What the hello has said, s->count channels of it, made by `open`; `limit` is each
 * one's, bytes a second, 0: none. NULL with one line in err[].
 */
struct streams_out *streams_out_new(const struct migrate_streams *s, streams_open open,
				    void *owner, uint64_t limit, char *err, size_t errlen);
uint64_t streams_out_free(struct streams_out *o);	/* at once. Bytes that were sent */
/*
 * Pages as of pages_put, which are read later; they must not cross a multiple of
 * PAGES_BYTES. -EAGAIN: there is no room yet, after some waiting; another -errno: one
 * of the channels has ended, and streams_out_error says how.
 */
int streams_out_put(struct streams_out *o, uint64_t gpa, const void *data,
		    uint32_t count, bool skip_zero);
/* behind all that was put, on all of them */
void streams_out_barrier(struct streams_out *o, uint32_t number);
/* has all of that left; 0, or as put */
int streams_out_wait(struct streams_out *o);
const char *streams_out_error(const struct streams_out *o);
uint64_t streams_out_not_zero(struct streams_out *o);	/* pages, since the last call */

/* ---- target --------------------------------------------------------------- */

struct streams_in;

/* all that the hello has said; each gets so long to come, ns. NULL, with err[] */
struct streams_in *streams_in_new(const struct migrate_streams *s, streams_open open,
				  void *owner, uint64_t patience, char *err,
				  size_t errlen);
void streams_in_free(struct streams_in *i);	/* at once. NULL is fine */
/* pages are welcome, and go to where guest->place has them */
int streams_in_start(struct streams_in *i, const struct target_guest *guest);
/*
 * Until all have come to that one; first, what comes by it is waited for on the first
 * channel, whose end ends it. 0 or -errno with one line in err[].
 */
int streams_in_wait(struct streams_in *i, uint32_t number, struct channel *first,
		    char *err, size_t errlen);

#endif
