// SPDX-License-Identifier: GPL-2.0
#include <stdlib.h>
#include <string.h>

#include "crc32c.h"
#include "fuzz_input.h"

struct rng fuzz_rng;

uint32_t fuzz_rnd(uint32_t below)
{
	return rng_below(&fuzz_rng, below);
}

/* ---- taking apart and putting together ------------------------------------ */

static void add(struct input *in, const struct piece *p)
{
	struct piece *to = &in->piece[in->n];

	if (in->n == SECTIONS_MAX)
		return;
	*to = *p;
	to->body = malloc(p->len + 1);
	memcpy(to->body, p->body, p->len);
	in->n++;
}

void input_take_apart(struct input *in, const uint8_t *data, size_t len)
{
	size_t at = 0;
	struct piece p;

	in->n = 0;
	memset(&in->trailer, 0, sizeof(in->trailer));
	while (len - at >= sizeof(p.h)) {
		memcpy(&p.h, data + at, sizeof(p.h));
		if (!memcmp(&p.h, SNAPSHOT_MAGIC, 8) || p.h.len > len - at - sizeof(p.h))
			break;
		p.offset = at;
		p.len = p.h.len;
		p.body = (uint8_t *)data + at + sizeof(p.h);
		add(in, &p);
		at += sizeof(p.h) + p.len;
	}
	if (len - at >= sizeof(in->trailer))
		memcpy(&in->trailer, data + at, sizeof(in->trailer));
}

void input_free(struct input *in)
{
	while (in->n)
		free(in->piece[--in->n].body);
}

static bool is(const struct piece *p, const char *tag)
{
	return !strncmp(p->h.tag, tag, SECTION_TAG);
}

/* where a section that was at `offset` is now */
static uint64_t moved(const struct input *in, const uint64_t *now, uint64_t offset,
		      uint32_t *number)
{
	unsigned int i;

	for (i = 0; i < in->n; i++) {
		if (in->piece[i].offset != offset)
			continue;
		*number = in->piece[i].h.number;
		return now[i];
	}
	return offset;
}

static void fix_offsets(struct input *in)
{
	uint64_t now[SECTIONS_MAX], at = 0;
	struct snapshot_run run;
	uint32_t ignored;
	unsigned int i;
	size_t k;

	for (i = 0; i < in->n; i++) {
		now[i] = at;
		at += sizeof(struct section_head) + in->piece[i].len;
	}
	for (i = 0; i < in->n; i++) {
		struct piece *p = &in->piece[i];

		for (k = 0; is(p, "index") && k + sizeof(run) <= p->len; k += sizeof(run)) {
			memcpy(&run, p->body + k, sizeof(run));
			run.offset = moved(in, now, run.offset, &ignored);
			memcpy(p->body + k, &run, sizeof(run));
		}
	}
	in->trailer.state = moved(in, now, in->trailer.state, &in->trailer.state_number);
	in->trailer.index = moved(in, now, in->trailer.index, &in->trailer.index_number);
}

uint8_t *input_put_together(struct input *in, bool snapshot, size_t *len)
{
	bool number = fuzz_rnd(12), seal = fuzz_rnd(20), offsets = fuzz_rnd(8), lens = fuzz_rnd(12);
	static uint8_t out[INPUT_MAX + 4096];
	unsigned int i;

	for (i = 0; i < in->n; i++) {
		if (number)
			in->piece[i].h.number = i;
		if (lens)
			in->piece[i].h.len = in->piece[i].len;
	}
	if (offsets)
		fix_offsets(in);
	for (i = 0, *len = 0; i < in->n; i++) {
		struct piece *p = &in->piece[i];

		if (*len + sizeof(p->h) + p->len > INPUT_MAX)
			break;
		if (seal) {
			p->h.body_crc = crc32c(0, p->body, p->len);
			p->h.head_crc = crc32c(0, &p->h, offsetof(struct section_head, head_crc));
		}
		memcpy(out + *len, &p->h, sizeof(p->h));
		memcpy(out + *len + sizeof(p->h), p->body, p->len);
		*len += sizeof(p->h) + p->len;
	}
	if (snapshot) {
		if (seal)
			in->trailer.crc = crc32c(0, &in->trailer, offsetof(struct snapshot_trailer, crc));
		memcpy(out + *len, &in->trailer, sizeof(in->trailer));
		*len += sizeof(in->trailer);
	}
	return out;
}

/* ---- changing ------------------------------------------------------------- */

static const uint64_t numbers[] = {
	0, 1, 2, 3, 7, 8, 15, 16, 31, 32, 63, 64, 65, 127, 128, 255, 256, 257, 511, 512,
	4095, 4096, 4097, 0x7fff, 0x8000, 0xffff, 0x10000, 0x7fffffff, 0x80000000, 0xfffff000,
	0xffffffff, 0x100000000, 1ULL << 40, 0x7fffffffffffffff, 1ULL << 63, ~0xfffULL, ~0ULL,
};

void fuzz_change_bytes(uint8_t *p, size_t len)
{
	uint64_t v = numbers[fuzz_rnd(sizeof(numbers) / sizeof(*numbers))];
	size_t at, n = 1U << fuzz_rnd(4), i;

	if (!len)
		return;
	/* the beginning of a long body more often: heads are there */
	at = fuzz_rnd(3) && len > 256 ? fuzz_rnd(256) : fuzz_rnd(len);
	if (n > len - at)
		n = 1;
	switch (fuzz_rnd(5)) {
	case 0:
		p[at] ^= 1 << fuzz_rnd(8);
		break;
	case 1:
		if (fuzz_rnd(2))
			at -= at % n;
		memcpy(p + at, &v, n);
		break;
	case 2:
		p[at] += fuzz_rnd(2) ? 1 : -1;
		break;
	case 3:
		for (i = fuzz_rnd(len - at < 64 ? len - at : 64); i; i--)
			p[at + i] = rng_next(&fuzz_rng);
		break;
	case 4:
		i = fuzz_rnd(len);
		n = fuzz_rnd(len - (at > i ? at : i)) % 64;
		memmove(p + at, p + i, n);
		break;
	}
}

/* one field of the first head, or of any row of a table, among neighbours' values */
static void change_field(struct piece *p, size_t row)
{
	uint64_t v = numbers[fuzz_rnd(sizeof(numbers) / sizeof(*numbers))];
	size_t at = p->len < row ? 0 : fuzz_rnd(p->len / row) * row;
	size_t field = fuzz_rnd(row / 4) * 4, n = field % 8 || fuzz_rnd(2) ? 4 : 8;

	if (p->len < at + field + n)
		return;
	if (fuzz_rnd(2)) {
		memcpy(&v, p->body + at + field, n);
		v += (int)fuzz_rnd(5) - 2;
		if (fuzz_rnd(2))
			v = v << 12 | v >> 52;
	}
	memcpy(p->body + at + field, &v, n);
}

/* any with that tag; NULL: there is none */
static struct piece *find(struct input *in, const char *tag)
{
	unsigned int first = fuzz_rnd(in->n), i;

	for (i = 0; i < in->n; i++)
		if (is(&in->piece[(first + i) % in->n], tag))
			return &in->piece[(first + i) % in->n];
	return NULL;
}

static const struct { const char *tag; size_t row; } tables[] = {
	{ "index", sizeof(struct snapshot_run) }, { "pages", 16 }, { "memory", 24 },
	{ "vmm-state", 56 }, { "index", sizeof(struct snapshot_run) }, { "pages", 16 },
};

static void change_table(struct input *in)
{
	unsigned int t = fuzz_rnd(sizeof(tables) / sizeof(*tables));
	struct piece *p = find(in, tables[t].tag);

	if (p && is(p, "pages") && p->len > 16)
		change_field(&(struct piece){ .body = p->body, .len = 16 }, 16);
	else if (p)
		change_field(p, tables[t].row);
}

static void change_size(struct piece *p)
{
	size_t len = fuzz_rnd(3) ? p->len + fuzz_rnd(64) - 32 : fuzz_rnd(p->len + 1);

	if (fuzz_rnd(8) == 0)
		len = fuzz_rnd(65536 + 4096);
	if (len > 1 << 18)
		len = 0;
	p->body = realloc(p->body, len + 1);
	if (len > p->len)
		rng_fill(&fuzz_rng, p->body + p->len, len - p->len);
	p->len = len;
}

static void change_head(struct piece *p)
{
	static const char *const tags[] = {
		"vmm-state", "options", "firmware", "cpuid", "memory", "parent", "pages",
		"disk", "device", "clock", "vcpu", "end", "index", "x",
	};

	switch (fuzz_rnd(4)) {
	case 0:
		memset(p->h.tag, 0, sizeof(p->h.tag));
		strcpy(p->h.tag, tags[fuzz_rnd(sizeof(tags) / sizeof(*tags))]);
		break;
	case 1:
		p->h.version = numbers[fuzz_rnd(10)];
		break;
	case 2:
		p->h.len = numbers[fuzz_rnd(sizeof(numbers) / sizeof(*numbers))];
		break;
	default:
		fuzz_change_bytes((uint8_t *)&p->h, sizeof(p->h));
	}
}

static void change_order(struct input *in)
{
	unsigned int a = fuzz_rnd(in->n), b = fuzz_rnd(in->n);
	struct piece p = in->piece[a];

	switch (fuzz_rnd(4)) {
	case 0:		/* swap */
		in->piece[a] = in->piece[b];
		in->piece[b] = p;
		break;
	case 1:		/* leave out */
		free(p.body);
		memmove(&in->piece[a], &in->piece[a + 1], (in->n - a - 1) * sizeof(p));
		in->n--;
		break;
	case 2:		/* twice */
		add(in, &p);
		break;
	default:	/* another one's body */
		if (a != b && in->piece[b].len) {
			in->piece[a].body = realloc(in->piece[a].body, in->piece[b].len + 1);
			memcpy(in->piece[a].body, in->piece[b].body, in->piece[b].len);
			in->piece[a].len = in->piece[b].len;
		}
	}
}

void input_change(struct input *in)
{
	unsigned int k = 1 + fuzz_rnd(fuzz_rnd(4) ? 3 : 12), i, tries;

	while (k-- && in->n) {
		i = fuzz_rnd(in->n);
		/* pages are many, and all alike */
		for (tries = 0; tries < 3 && is(&in->piece[i], "pages"); tries++)
			i = fuzz_rnd(in->n);
		switch (fuzz_rnd(16)) {
		case 0:
			change_head(&in->piece[i]);
			break;
		case 1:
			change_order(in);
			break;
		case 2:
			change_size(&in->piece[i]);
			break;
		case 4 ... 7:
			change_table(in);
			break;
		case 3:
			fuzz_change_bytes((uint8_t *)&in->trailer, sizeof(in->trailer));
			break;
		default:
			fuzz_change_bytes(in->piece[i].body, in->piece[i].len);
		}
	}
}
