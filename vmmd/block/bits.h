/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Sets of granules: a bit each, the lowest of the first word for the first.
 * bit_get and bit_set may be called by several threads at once.
 */
#ifndef VMMD_BLOCK_BITS_H
#define VMMD_BLOCK_BITS_H

#include <stdbool.h>
#include <stdint.h>

static inline bool bit_get(const uint64_t *bits, uint64_t g)
{
	return __atomic_load_n(&bits[g / 64], __ATOMIC_RELAXED) >> g % 64 & 1;
}

static inline void bit_set(uint64_t *bits, uint64_t g)
{
	__atomic_fetch_or(&bits[g / 64], 1ULL << g % 64, __ATOMIC_RELAXED);
}

/* the first one from g on that is set, or with `invert` is not; end: none */
static inline uint64_t bit_find(const uint64_t *bits, uint64_t g, uint64_t end,
				uint64_t invert)
{
	uint64_t word;

	while (g < end) {
		word = __atomic_load_n(&bits[g / 64], __ATOMIC_RELAXED) ^ invert;
		word >>= g % 64;
		if (word) {
			g += __builtin_ctzll(word);
			break;
		}
		g = (g / 64 + 1) * 64;
	}
	return g < end ? g : end;
}

static inline uint64_t bit_next(const uint64_t *bits, uint64_t g, uint64_t end)
{
	return bit_find(bits, g, end, 0);
}

static inline uint64_t bit_next_clear(const uint64_t *bits, uint64_t g,
				      uint64_t end)
{
	return bit_find(bits, g, end, ~0ULL);
}

/* make all in [g, end) as `on` is; returns how many were not */
static inline uint64_t bits_change(uint64_t *bits, uint64_t g, uint64_t end,
				   bool on)
{
	uint64_t mask, n, changed = 0;

	for (; g < end; g += n) {
		n = 64 - g % 64 < end - g ? 64 - g % 64 : end - g;
		mask = (n == 64 ? ~0ULL : (1ULL << n) - 1) << g % 64;
		if (on)
			mask &= ~bits[g / 64];
		else
			mask &= bits[g / 64];
		changed += __builtin_popcountll(mask);
		bits[g / 64] ^= mask;
	}
	return changed;
}

static inline uint64_t bits_count(const uint64_t *bits, uint64_t end)
{
	uint64_t i, n = 0;

	for (i = 0; i < end / 64; i++)
		n += __builtin_popcountll(bits[i]);
	if (end % 64)
		n += __builtin_popcountll(bits[i] << (64 - end % 64));
	return n;
}

#endif
