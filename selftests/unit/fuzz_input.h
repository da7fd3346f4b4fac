/* SPDX-License-Identifier: GPL-2.0 */
/* States and snapshots taken apart, changed at random, and put together again. */
#ifndef SELFTESTS_FUZZ_INPUT_H
#define SELFTESTS_FUZZ_INPUT_H

#include "snapshot/file.h"
#include "stream.h"

#define SECTIONS_MAX	400
#define INPUT_MAX	(1 << 20)	/* bytes */

struct piece {
	struct section_head h;
	uint8_t *body;
	size_t len;
	uint64_t offset;	/* where it was */
};

struct input {
	struct piece piece[SECTIONS_MAX];
	unsigned int n;
	struct snapshot_trailer trailer;
};

extern struct rng fuzz_rng;
uint32_t fuzz_rnd(uint32_t below);

void input_take_apart(struct input *in, const uint8_t *data, size_t len);
void input_free(struct input *in);
void input_change(struct input *in);
/*
 * Numbers, checksums, lengths and offsets are made to fit, each of them most of the
 * time; with a trailer or without. Good until the next call.
 */
uint8_t *input_put_together(struct input *in, bool snapshot, size_t *len);
/* one change of some bytes */
void fuzz_change_bytes(uint8_t *p, size_t len);

#endif
