/* SPDX-License-Identifier: GPL-2.0 */
/* What source.c, which acts, and source_hear.c, which listens, share. */
#ifndef VMMD_MIGRATE_SOURCE_PRIV_H
#define VMMD_MIGRATE_SOURCE_PRIV_H

#include "migrate/channel.h"
#include "migrate/message.h"
#include "migrate/pace.h"
#include "migrate/source.h"
#include "state/buffer.h"
#include "state/pages.h"

struct sender {
	struct channel *c;
	const struct migrate_guest *guest;
	const struct migrate_params *params;
	struct migrate_result *result;
	enum source_state state;
	struct sink out;
	struct source in;
	struct pages_out pages, blocks;
	struct streams_out *streams;	/* NULL: pages go by the channel */
	uint64_t heard_of;		/* loop_now() of the last word that it may wait for */
	struct pace pace;
	struct buffer saved;		/* the state's sections */
	struct migrate_message heard;	/* by the last sender_expect */
	uint64_t not_zero;		/* pages, since it was set to 0 */
	uint64_t stopped_at;		/* loop_now() */
	struct migrate_streams named;	/* as the hello says */
	uint32_t attempt, syncs, barriers;
	bool late;			/* this attempt was */
	bool state_sent;		/* some of it, in this attempt */
	bool told;			/* result->text is set */
	bool never;			/* it is known not to run there */
};

/* the only way in which the guest changes sides; 0 or -EPROTO, told */
int sender_step(struct sender *s, enum source_event e);
/* the first line counts; ret */
int sender_fail(struct sender *s, int ret, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* all three: 0 or -errno, told unless it is -ECANCELED */
/* wait for the answer of that name and number */
int sender_expect(struct sender *s, const char *tag, uint32_t number);
/* it speaks only when it is asked; but when it fails, and late */
int sender_listen(struct sender *s);
/* source_disk.c: the disk, behind "migrate" */
int sender_describe(struct sender *s);
/* the link broke, and nobody else knows whose the guest is: has it come there */
void sender_ask(struct sender *s);
/* the guest was handed over with a disk, and "running" did not come: whose is it */
void sender_settle(struct sender *s);
/* the link broke while we wrote: has it said why */
void sender_last_word(struct sender *s);

#endif
