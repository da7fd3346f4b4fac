// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "crc32c.h"
#include "stream.h"

static int put(void *owner, const void *buf, size_t len)
{
	struct stream *s = owner;

	if (s->room && s->len + len > s->room)
		return -ENOSPC;
	if (!len)
		return 0;
	s->data = realloc(s->data, s->len + len);
	assert_non_null(s->data);
	memcpy(s->data + s->len, buf, len);
	s->len += len;
	return 0;
}

static int get(void *owner, void *buf, size_t len)
{
	struct stream *s = owner;

	if (len > s->len - s->at)
		return -ENODATA;
	if (len)
		memcpy(buf, s->data + s->at, len);
	s->at += len;
	return 0;
}

void stream_init(struct stream *s)
{
	*s = (struct stream){
		.out = { .write = put, .owner = s },
		.in = { .read = get, .owner = s, .name = "stream" },
	};
}

void stream_free(struct stream *s)
{
	free(s->data);
	s->data = NULL;
	s->len = 0;
}

void stream_rewind(struct stream *s)
{
	s->at = 0;
	s->in.number = 0;
}

stream_head_t *stream_head(struct stream *s, size_t at)
{
	assert_true(at + sizeof(struct section_head) <= s->len);
	return (stream_head_t *)(s->data + at);
}

size_t stream_next(struct stream *s, size_t at)
{
	struct section_head h;

	memcpy(&h, stream_head(s, at), sizeof(h));
	return at + sizeof(h) + h.len;
}

void stream_seal_head(uint8_t *section)
{
	uint32_t crc = crc32c(0, section, offsetof(struct section_head, head_crc));

	memcpy(section + offsetof(struct section_head, head_crc), &crc, sizeof(crc));
}

void stream_seal(uint8_t *section)
{
	struct section_head h;

	memcpy(&h, section, sizeof(h));
	h.body_crc = crc32c(0, section + sizeof(h), h.len);
	memcpy(section, &h, sizeof(h));
	stream_seal_head(section);
}

uint64_t rng_next(struct rng *r)
{
	r->x ^= r->x << 13;
	r->x ^= r->x >> 7;
	r->x ^= r->x << 17;
	return r->x * 0x2545f4914f6cdd1dULL;
}

uint64_t rng_below(struct rng *r, uint64_t below)
{
	return (rng_next(r) >> 16) % below;
}

void rng_fill(struct rng *r, void *buf, size_t len)
{
	uint8_t *p = buf;

	while (len--)
		*p++ = rng_next(r) >> 40;
}
