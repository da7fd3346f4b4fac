/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Both sides of a migration, with VMs that are a few pages: source.c in a thread,
 * target.c in another, and between them a wire that the test can cut, or damage.
 */
#ifndef SELFTESTS_MIGRATE_FAKE_H
#define SELFTESTS_MIGRATE_FAKE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "migrate/address.h"
#include "migrate/channel.h"
#include "migrate/source.h"
#include "migrate/target.h"

#define FAKE_PAGES	48U
#define FAKE_BYTES	(FAKE_PAGES * 4096U)
#define FAKE_REGS	64U		/* bytes of state */

struct block;

struct fake_run;

struct fake_vm {
	struct fake_run *run;
	/* NULL: none; both sides', of one file, or with `mirrors` each has its own */
	struct block *disk;
	bool mirrors;
	struct disk_mirror *mirror;	/* of a source */
	void (*write_disk)(struct fake_vm *vm);	/* it does that when it writes; NULL: not */
	bool disk_zero;			/* of a target */
	bool spread;			/* its memory is in pieces, for all the streams */
	struct migrate_disk lent;
	const char *in_the_way;		/* a directory that it finds then */
	bool dies;			/* a target: killed when it has the disk's lock */
	uint8_t mem[FAKE_BYTES];
	uint8_t regs[FAKE_REGS];
	atomic_bool runs;
	/* of a source */
	uint64_t pending;		/* a bit a page */
	unsigned int writes;		/* harvests that will find something written */
	unsigned int harvests;
	unsigned int stops, resumes;
	/* so many take slow_ns of a clock that stands still otherwise */
	unsigned int slow_stops, slow_sends;
	uint64_t slow_ns;
	bool user_paused;
	unsigned int let_loose;		/* so often it was not to be slowed down any more */
	atomic_bool cancel;
	/* of a target */
	bool has_regs;
	unsigned int agains, slow_loads;
	const char *refuse;		/* says this in place of "welcome" */
};

/* what the wire does */
struct fake_wire {
	/* bytes after which it is cut, each way; UINT64_MAX: never */
	uint64_t cut_there, cut_back;
	/* source to target: a byte to change, and how; mask 0: none */
	uint64_t flip_at;
	uint8_t flip;
	bool flip_back;			/* or target to source */
	/* what went there, recorded */
	uint8_t *record;
	size_t recorded, room;
	uint64_t there, back;		/* bytes that came through */
};

struct fake_run {
	struct fake_vm source, target;
	struct fake_wire wire;
	struct migrate_params params;
	struct migrate_result result;
	int target_ret;
	char target_err[768];
	bool target_paused;
	/* where a source asks that does not know; NULL: nowhere. The target's then */
	struct listener *listener;
	struct address at;
	struct answer *answer;
	unsigned int asked;
	/* with params.streams: a pair of sockets each, in the order of their use */
	int stream[STREAMS_MAX][2];
	unsigned int connected, accepted;
	/* so many come with nothing, or wrong, before; so many of the right do not */
	unsigned int strangers, missing;
};

/* a source with memory in it, promises of a minute, a wire that is fine */
void fake_init(struct fake_run *r);
void fake_migrate(struct fake_run *r);	/* returns when both sides have ended */
/* a target alone, and a stream that is said to be a source's, or its beginning */
void fake_feed(struct fake_run *r, const void *stream, size_t len);
/* and a source alone, with what is said to be a target's answers */
void fake_answer(struct fake_run *r, const void *stream, size_t len);
void fake_free(struct fake_run *r);
/* asserts that one of the two has the guest, or that this is in doubt */
void fake_check_one(struct fake_run *r);

#endif
