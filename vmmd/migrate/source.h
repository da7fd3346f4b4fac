/* SPDX-License-Identifier: GPL-2.0 */
/* The sending side of a migration, of whatever VM: all that is said and decided. */
#ifndef VMMD_MIGRATE_SOURCE_H
#define VMMD_MIGRATE_SOURCE_H

#include <stdbool.h>
#include <stdint.h>

#include "migrate/commit.h"
#include "migrate/message.h"
#include "migrate/streams.h"
#include "state/ram.h"
#include "state/section.h"

struct channel;

/* what a migration wants of a VM. 0 or -errno where an int is returned */
struct migrate_guest {
	void *owner;
	int (*begin)(void *owner, struct sink *out);	/* vmstate_save_begin */
	uint64_t (*total)(void *owner);			/* pages of RAM */
	int (*track)(void *owner);
	int (*harvest)(void *owner);
	uint64_t (*pending)(void *owner);		/* pages */
	int (*send)(void *owner, ram_put put, void *put_owner);
	/* until go_on; *paused: somebody else holds it, too */
	int (*stop)(void *owner, bool *paused);
	void (*go_on)(void *owner);
	int (*state)(void *owner, struct sink *out);	/* stopped: vmstate_save_end */
	void (*throttle)(void *owner, unsigned int percent);
	/* what the disk is that the target will have; NULL: there is none */
	int (*describe)(void *owner, struct migrate_disk *d, char *err, size_t errlen);
	/*
	 * NULL: the disk is one that both have. Else it goes over: track it, from when
	 * on pending and harvest are of its granules, too, and send as in
	 * disk_mirror.h; track_disk has one line in err[] if it fails
	 */
	int (*track_disk)(void *owner, bool zeroes, char *err, size_t errlen);
	int (*send_disk)(void *owner, ram_put put, void *put_owner, char *err,
			 size_t errlen);
	/* NULL: there is none that knows whose it is. As in disk_shared.h; stopped */
	void (*lend)(void *owner);
	int (*settle)(void *owner, bool never, char *err, size_t errlen);
};

struct migrate_now {
	uint64_t done, total;		/* pages */
	uint64_t rate;			/* bytes of guest memory a second */
	uint64_t predicted_ns;		/* of standing still */
	unsigned int round, throttle;
};

struct migrate_params {
	uint64_t downtime_ns;		/* what was promised */
	bool dry_run;
	unsigned int streams;		/* beside the channel; 0: all goes by that */
	streams_open connect;		/* another channel; NULL: there can be none */
	bool can_ask;			/* with that: a target that was handed the machine */
	bool (*cancelled)(void *owner);
	void (*progress)(void *owner, const struct migrate_now *now);
	void *owner;
};

struct migrate_result {
	enum source_state state;	/* MOVED, KEPT or DOUBT */
	int error;			/* 0 or -errno, with text */
	char text[768];			/* one line */
	struct migrate_now now;
	uint64_t bytes;			/* sent */
	uint64_t downtime_ns;		/* from the guest's stop to "running" */
	unsigned int late;		/* times that it was stopped, and went on */
	uint64_t total;			/* pages of RAM */
	uint64_t disk;			/* bytes of the disk that were sent, unpacked */
};

/*
 * All of it. When this returns the guest goes on here, unless state says that it was
 * moved, or may have been.
 */
void source_run(struct channel *c, const struct migrate_guest *guest,
		const struct migrate_params *params, struct migrate_result *result);

#endif
