// SPDX-License-Identifier: GPL-2.0
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <zstd.h>

#include "state/pages.h"

#define LEVEL	1		/* of zstd: its fastest of the usual ones */

static_assert(sizeof(struct pages_head) == 16, "pages_head is a file format");

struct pages_coder {
	ZSTD_CCtx *in;
	ZSTD_DCtx *out;
	uint8_t copy[PAGES_BYTES];
	uint8_t packed[PAGES_BYTES];
	uint8_t body[PAGES_BODY_MAX];
};

struct pages_coder *pages_coder_new(void)
{
	struct pages_coder *c = mmap(NULL, sizeof(*c), PROT_READ | PROT_WRITE,
				     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (c == MAP_FAILED)
		return NULL;
	/* to clear 2 MiB takes longer than a section that fills little of it */
	madvise(c, sizeof(*c), MADV_NOHUGEPAGE);
	c->in = ZSTD_createCCtx();
	c->out = ZSTD_createDCtx();
	if (c->in && c->out)
		return c;
	pages_coder_free(c);
	return NULL;
}

void pages_coder_free(struct pages_coder *c)
{
	if (!c)
		return;
	ZSTD_freeCCtx(c->in);
	ZSTD_freeDCtx(c->out);
	munmap(c, sizeof(*c));
}

uint8_t *pages_coder_body(struct pages_coder *c)
{
	return c->body;
}

static bool is_zero(const uint8_t *page)
{
	const uint64_t *w = (const uint64_t *)page;
	size_t i, n = PAGES_SIZE / sizeof(*w);
	uint64_t any = 0;

	/* most pages that are not zero show it soon */
	for (i = 0; i < n && !any; i += 8)
		any = w[i] | w[i + 1] | w[i + 2] | w[i + 3] |
		      w[i + 4] | w[i + 5] | w[i + 6] | w[i + 7];
	return !any;
}

static int put_run(const struct pages_out *out, uint64_t gpa,
		   const uint8_t *data, uint32_t count, bool zero)
{
	struct pages_coder *c = out->coder;
	struct pages_head h = { .gpa = gpa, .count = count, .kind = PAGES_ZERO };
	size_t raw = zero ? 0 : count * PAGES_SIZE, len = raw;

	if (zero && out->skip_zero)
		return 0;
	if (!zero) {
		/* too long is an error, and then it goes as it is */
		len = ZSTD_compressCCtx(c->in, c->packed, raw - 1, data, raw, LEVEL);
		h.kind = ZSTD_isError(len) ? PAGES_RAW : PAGES_ZSTD;
		if (h.kind == PAGES_RAW)
			len = raw;
		else
			data = c->packed;
	}
	if (out->note)
		out->note(out->owner, &h);
	return section_put(out->sink, out->tag, PAGES_VERSION, &h, sizeof(h),
			   data, len);
}

int pages_put(const struct pages_out *out, uint64_t gpa, const void *data,
	      uint32_t count)
{
	uint8_t *copy = out->coder->copy;
	uint32_t at, end;
	bool zero;
	int ret = 0;

	memcpy(copy, data, count * PAGES_SIZE);
	for (at = 0; !ret && at < count; at = end) {
		zero = is_zero(copy + at * PAGES_SIZE);
		for (end = at + 1; end < count; end++)
			if (is_zero(copy + end * PAGES_SIZE) != zero)
				break;
		ret = put_run(out, gpa + at * PAGES_SIZE,
			      copy + at * PAGES_SIZE, end - at, zero);
	}
	return ret;
}

int pages_check(const void *body, size_t len, struct pages_head *h)
{
	size_t raw;

	if (len < sizeof(*h))
		return -EBADMSG;
	memcpy(h, body, sizeof(*h));
	raw = h->count * PAGES_SIZE;
	len -= sizeof(*h);
	if (!h->count || h->count > PAGES_MAX || h->gpa % PAGES_SIZE ||
	    h->gpa + raw < h->gpa)
		return -EBADMSG;
	switch (h->kind) {
	case PAGES_ZERO:
		return len ? -EBADMSG : 0;
	case PAGES_RAW:
		return len == raw ? 0 : -EBADMSG;
	case PAGES_ZSTD:
		return len && len < raw ? 0 : -EBADMSG;
	}
	return -EBADMSG;
}

int pages_get(struct pages_coder *c, const void *body, size_t len, void *to)
{
	const uint8_t *data = (const uint8_t *)body + sizeof(struct pages_head);
	struct pages_head h;
	size_t raw;

	memcpy(&h, body, sizeof(h));
	raw = h.count * PAGES_SIZE;
	len -= sizeof(h);
	switch (h.kind) {
	case PAGES_ZERO:
		memset(to, 0, raw);
		return 0;
	case PAGES_RAW:
		memcpy(to, data, raw);
		return 0;
	}
	return ZSTD_decompressDCtx(c->out, to, raw, data, len) == raw ? 0 : -EBADMSG;
}
