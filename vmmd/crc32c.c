// SPDX-License-Identifier: GPL-2.0
#include <stdbool.h>
#include <string.h>
#include <immintrin.h>

#include "crc32c.h"

/* SDM 2A, CRC32: eight bytes at a time, where the CPU has it */
__attribute__((target("sse4.2")))
static uint32_t by_cpu(uint32_t crc, const uint8_t *p, size_t len)
{
	uint64_t c = crc, v;

	for (; len >= sizeof(v); p += sizeof(v), len -= sizeof(v)) {
		memcpy(&v, p, sizeof(v));
		c = _mm_crc32_u64(c, v);
	}
	for (; len; p++, len--)
		c = _mm_crc32_u8(c, *p);
	return c;
}

/* half a byte at a time */
static uint32_t by_table(uint32_t crc, const uint8_t *p, size_t len)
{
	static const uint32_t table[16] = {
		0x00000000, 0x105ec76f, 0x20bd8ede, 0x30e349b1,
		0x417b1dbc, 0x5125dad3, 0x61c69362, 0x7198540d,
		0x82f63b78, 0x92a8fc17, 0xa24bb5a6, 0xb21572c9,
		0xc38d26c4, 0xd3d3e1ab, 0xe330a81a, 0xf36e6f75,
	};

	while (len--) {
		crc ^= *p++;
		crc = crc >> 4 ^ table[crc & 15];
		crc = crc >> 4 ^ table[crc & 15];
	}
	return crc;
}

uint32_t crc32c(uint32_t crc, const void *buf, size_t len)
{
	return ~(__builtin_cpu_supports("sse4.2") ? by_cpu(~crc, buf, len) :
						    by_table(~crc, buf, len));
}
