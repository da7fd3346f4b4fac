/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Pages of guest memory as sections "pages": up to PAGES_MAX neighbours, raw,
 * compressed or all zero.
 */
#ifndef VMMD_STATE_PAGES_H
#define VMMD_STATE_PAGES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "state/section.h"

#define PAGES_TAG	"pages"
#define PAGES_VERSION	1
#define PAGES_MAX	256U			/* in one section */
#define PAGES_SIZE	4096ULL
#define PAGES_BYTES	(PAGES_MAX * PAGES_SIZE)
/* the largest body: never larger than raw */
#define PAGES_BODY_MAX	(sizeof(struct pages_head) + PAGES_BYTES)

enum pages_kind {
	PAGES_ZERO	= 1,	/* nothing follows */
	PAGES_RAW	= 2,
	PAGES_ZSTD	= 3,	/* one frame */
};

struct pages_head {
	uint64_t gpa;
	uint32_t count;		/* pages, 1..PAGES_MAX */
	uint32_t kind;		/* enum pages_kind */
};

/* of one thread */
struct pages_coder;
struct pages_coder *pages_coder_new(void);	/* NULL: out of memory */
void pages_coder_free(struct pages_coder *c);

/* room for a body of PAGES_BODY_MAX bytes that is to be taken apart */
uint8_t *pages_coder_body(struct pages_coder *c);

struct pages_out {
	struct pages_coder *coder;
	struct sink *sink;
	const char *tag;	/* PAGES_TAG; or another's, of what is like them */
	bool skip_zero;		/* who reads it begins with zeroes */
	/* before each section; NULL: nobody asks */
	void (*note)(void *owner, const struct pages_head *h);
	void *owner;
};

/*
 * Write `count` pages, at most PAGES_MAX, which may change meanwhile: each is read
 * once. 0 or -errno.
 */
int pages_put(const struct pages_out *out, uint64_t gpa, const void *data,
	      uint32_t count);

/* the head of a body of `len` bytes: is all of it possible. 0 or -EBADMSG */
int pages_check(const void *body, size_t len, struct pages_head *h);
/* what was checked, to `to`, which has room for h->count pages. 0 or -EBADMSG */
int pages_get(struct pages_coder *c, const void *body, size_t len, void *to);

#endif
