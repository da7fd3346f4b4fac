/* SPDX-License-Identifier: GPL-2.0 */
/* Sections in memory, to be written, damaged and read; and random numbers. */
#ifndef SELFTESTS_STREAM_H
#define SELFTESTS_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "state/section.h"

struct stream {
	uint8_t *data;
	size_t len;
	size_t at;		/* read so far */
	size_t room;		/* bytes that can be written; 0: any number */
	struct sink out;
	struct source in;	/* reads from `at` on */
};

void stream_init(struct stream *s);
void stream_free(struct stream *s);
void stream_rewind(struct stream *s);	/* the next section is number 0, at 0 */

/* the section at that offset: its head, and where the next one begins */
typedef struct section_head stream_head_t __attribute__((aligned(1)));
stream_head_t *stream_head(struct stream *s, size_t at);
size_t stream_next(struct stream *s, size_t at);
/* make the checksums of the section at that offset fit what is there */
void stream_seal(uint8_t *section);
void stream_seal_head(uint8_t *section);	/* that of the head alone */

/* the same sequence in every run; below > 0 */
struct rng { uint64_t x; };
uint64_t rng_next(struct rng *r);
uint64_t rng_below(struct rng *r, uint64_t below);
void rng_fill(struct rng *r, void *buf, size_t len);

#endif
