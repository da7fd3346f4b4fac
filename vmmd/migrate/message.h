/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What is said in a migration, beside the state's own sections: vmmd-migrate(7).
 * Each message is a section.
 */
#ifndef VMMD_MIGRATE_MESSAGE_H
#define VMMD_MIGRATE_MESSAGE_H

#include <stdint.h>

#include "state/section.h"

#define MIGRATE_PROTOCOL	1U
#define MIGRATE_TEXT		1024U		/* bytes of a "failed" */
#define MIGRATE_PROBE		(256U << 10)	/* bytes of a "probe" */

/* source to target */
#define MSG_HELLO	"migrate"	/* struct migrate_hello */
#define MSG_PROBE	"probe"		/* bytes of no meaning: how fast they go */
#define MSG_SYNC	"sync"		/* say when all before this is where it belongs */
#define MSG_OFFER	"offer"		/* behind "end": that was all */
#define MSG_AGAIN	"again"		/* it was not: forget all but the pages */
#define MSG_GO		"go"		/* it is yours */
#define MSG_DONE	"done"		/* "running" was heard */
/* target to source */
#define MSG_WELCOME	"welcome"	/* such a VM is there, empty */
#define MSG_SYNCED	"synced"	/* the number of the "sync" */
#define MSG_READY	"ready"		/* to an "offer", whose number it has */
#define MSG_RUNNING	"running"	/* to "go" */
#define MSG_FAILED	"failed"	/* a line of text; it never runs here */

/* and of what may be on the way, too */
#define MSG_DISK	"disk"		/* behind "migrate": struct migrate_disk */
#define MSG_STREAMS	"streams"	/* behind that: struct migrate_streams */
#define MSG_BLOCKS	"blocks"	/* as "pages", of the disk: offsets for addresses */
#define MSG_BARRIER	"barrier"	/* on all channels: first what came by the others */
#define MSG_STREAM	"stream"	/* first on another channel, as "streams" */
#define MSG_ASK		"ask"		/* the same: has "go" come */

#define HELLO_DRY_RUN	(1U << 0)	/* nothing will be sent but probes */
#define HELLO_DISK	(1U << 1)	/* "disk" follows: one that both have */
#define HELLO_MIRROR	(1U << 2)	/* "disk" follows: one that goes over, too */
#define HELLO_STREAMS	(1U << 3)	/* "streams" follows */

#define WELCOME_ZERO	(1U << 0)	/* the disk here is all zeroes */

#define STREAMS_MAX	16U		/* channels beside the first */

/* whoever has seen the first channel knows the token */
struct migrate_streams {
	uint32_t count;			/* 0: none yet; or which one, from 0 on */
	uint32_t pad;
	uint8_t token[16];
};

struct migrate_hello {
	uint32_t protocol;
	uint32_t flags;
};

#define DISK_GENERATION	(1U << 0)	/* it has one, which says whose it is */
#define DISK_READ_ONLY	(1U << 1)	/* both may have it */

/* the machine's disk, which the target has to find, too */
struct migrate_disk {
	uint64_t size;			/* bytes */
	uint64_t generation;
	uint32_t flags;
	uint32_t pad;
	uint8_t id[16];			/* an overlay's; else 0 */
	char path[4096];		/* ends with a 0 */
};

#define OFFER_PAUSED	(1U << 0)	/* it does not go on before somebody resumes it */

/* all others */
struct migrate_message {
	uint32_t number;
	uint32_t flags;
};

int message_put(struct sink *out, const char *tag, uint32_t number, uint32_t flags);
/*
 * The message whose head was read and whose tag is known; 0 or -errno with one line
 * in err[].
 */
int message_take(struct source *in, struct migrate_message *m, char *err,
		 size_t errlen);

#endif
