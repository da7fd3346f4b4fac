// SPDX-License-Identifier: GPL-2.0
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "crc32c.h"
#include "stream.h"

/* RFC 3720, B.4 */
static void test_known(void **state)
{
	uint8_t buf[32];
	unsigned int i;

	memset(buf, 0, sizeof(buf));
	assert_int_equal(crc32c(0, buf, 32), 0x8a9136aa);
	memset(buf, 0xff, sizeof(buf));
	assert_int_equal(crc32c(0, buf, 32), 0x62a8ab43);
	for (i = 0; i < 32; i++)
		buf[i] = i;
	assert_int_equal(crc32c(0, buf, 32), 0x46dd794e);
	for (i = 0; i < 32; i++)
		buf[i] = 31 - i;
	assert_int_equal(crc32c(0, buf, 32), 0x113fdb5c);
	assert_int_equal(crc32c(0, "123456789", 9), 0xe3069283);
	assert_int_equal(crc32c(0, NULL, 0), 0);
}

/* Castagnoli's polynomial, a bit at a time */
static uint32_t slow(const uint8_t *p, size_t len)
{
	uint32_t crc = ~0U;
	unsigned int bit;

	while (len--) {
		crc ^= *p++;
		for (bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78 : 0);
	}
	return ~crc;
}

/* of every length, at every place, whole and in two parts */
static void test_slow(void **state)
{
	struct rng r = { 1 };
	uint8_t buf[600];
	size_t at, len, cut;

	rng_fill(&r, buf, sizeof(buf));
	for (len = 0; len < 300; len++) {
		for (at = 0; at < 9; at++)
			assert_int_equal(crc32c(0, buf + at, len), slow(buf + at, len));
		cut = rng_below(&r, len + 1);
		assert_int_equal(crc32c(crc32c(0, buf, cut), buf + cut, len - cut),
				 slow(buf, len));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_known), cmocka_unit_test(test_slow),
	};

	return cmocka_run_group_tests_name("crc32c", tests, NULL, NULL);
}
