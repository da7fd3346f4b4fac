// SPDX-License-Identifier: GPL-2.0
/* The frame that tells switches where a machine is now, byte for byte. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "net/net.h"

#define HEADER	12	/* struct virtio_net_hdr_mrg_rxbuf */

static uint8_t sent[128];
static size_t sent_len;
static unsigned int frames;

static void send_frame(struct net *net, unsigned int pair, const struct iovec *iov,
		       unsigned int n, size_t len)
{
	assert_int_equal(pair, 0);
	assert_int_equal(n, 1);
	assert_int_equal(iov->iov_len, len);
	assert_true(len <= sizeof(sent));
	memcpy(sent, iov->iov_base, len);
	sent_len = len;
	frames++;
}

static void check(bool has_header)
{
	static const uint8_t mac[6] = { 2, 0x76, 0x6d, 1, 2, 3 };
	static const uint8_t wanted[60] = {
		0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0x76, 0x6d, 1, 2, 3, 0x80, 0x35,
		0, 1, 8, 0, 6, 4, 0, 3,
		2, 0x76, 0x6d, 1, 2, 3, 0, 0, 0, 0, 2, 0x76, 0x6d, 1, 2, 3, 0, 0, 0, 0,
	};
	static const uint8_t zeroes[HEADER];
	const struct net_ops ops = { .send = send_frame };
	struct net net = { .ops = &ops, .pairs = 1, .has_header = has_header };
	size_t skip = has_header ? HEADER : 0;

	frames = 0;
	net_announce(&net, mac);
	assert_int_equal(frames, 1);
	assert_int_equal(sent_len, skip + sizeof(wanted));
	assert_memory_equal(sent, zeroes, skip);
	assert_memory_equal(sent + skip, wanted, sizeof(wanted));
}

static void test_bare(void **state)
{
	check(false);
}

static void test_with_header(void **state)
{
	check(true);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bare),
		cmocka_unit_test(test_with_header),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
