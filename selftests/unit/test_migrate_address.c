// SPDX-License-Identifier: GPL-2.0
/* Where a machine goes to or comes from, as the user writes it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "migrate/address.h"

static struct address a;
static char err[512];

static void test_good(void **state)
{
	static const struct {
		const char *text;
		bool listen;
		enum address_kind kind;
		const char *host, *port, *path;
	} t[] = {
		{ "tcp:there", false, ADDRESS_TCP, "there", ADDRESS_PORT, "" },
		{ "tcp:there.example:65535", false, ADDRESS_TCP, "there.example", "65535", "" },
		{ "tcp:[fe80::1%eth0]:7", false, ADDRESS_TCP, "fe80::1%eth0", "7", "" },
		{ "tcp:[::1]", false, ADDRESS_TCP, "::1", ADDRESS_PORT, "" },
		{ "tcp::80", true, ADDRESS_TCP, "", "80", "" },
		{ "tcp:127.0.0.1:80", true, ADDRESS_TCP, "127.0.0.1", "80", "" },
		{ "unix:/run/x", false, ADDRESS_UNIX, "", "", "/run/x" },
		{ "unix:x:y", true, ADDRESS_UNIX, "", "", "x:y" },
		{ "ssh:root@there", false, ADDRESS_SSH, "root@there", "", "" },
		{ "-", true, ADDRESS_STDIO, "", "", "" },
	};
	size_t i;

	for (i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		assert_int_equal(address_parse(&a, t[i].text, t[i].listen, err,
					       sizeof(err)), 0);
		assert_int_equal(a.kind, t[i].kind);
		assert_string_equal(a.host, t[i].host);
		assert_string_equal(a.port, t[i].port);
		assert_string_equal(a.path, t[i].path);
	}
}

static void test_bad(void **state)
{
	static const struct {
		const char *text;
		bool listen;
		const char *says;
	} t[] = {
		{ "", false, "tcp:HOST[:PORT], unix:PATH or ssh:HOST" },
		{ "there", false, "tcp:HOST[:PORT], unix:PATH or ssh:HOST" },
		{ "-", false, "tcp:HOST[:PORT], unix:PATH or ssh:HOST" },
		{ "ssh:there", true, "tcp:[ADDRESS]:PORT, unix:PATH or -" },
		{ "tcp:", false, "found no host" },
		{ "tcp::80", false, "found no host" },
		{ "tcp:there", true, "found no port" },
		{ "tcp:there:", false, "a port from 1" },
		{ "tcp:there:0", false, "a port from 1" },
		{ "tcp:there:65536", false, "a port from 1" },
		{ "tcp:there:080808", false, "a port from 1" },
		{ "tcp:there:8x", false, "a port from 1" },
		{ "tcp:::1", false, "found no host" },
		{ "tcp:[::1", false, "in brackets" },
		{ "tcp:[::1]80", false, "in brackets" },
		{ "tcp:a b", false, "name or address" },
		{ "tcp:-v", false, "name or address" },
		{ "unix:", false, "unix:PATH" },
		{ "ssh:", false, "ssh:[USER@]HOST" },
		{ "ssh:-oProxyCommand=x", false, "ssh:[USER@]HOST" },
		{ "ssh:a;b", false, "ssh:[USER@]HOST" },
	};
	size_t i;

	for (i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		assert_int_not_equal(address_parse(&a, t[i].text, t[i].listen, err,
						   sizeof(err)), 0);
		assert_non_null(strstr(err, t[i].says));
		assert_null(strchr(err, '\n'));
	}
}

static void test_long(void **state)
{
	char text[400];

	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = 0;
	memcpy(text, "unix:", 5);
	assert_int_not_equal(address_parse(&a, text, false, err, sizeof(err)), 0);
	text[5 + ADDRESS_PATH] = 0;
	assert_int_equal(address_parse(&a, text, false, err, sizeof(err)), 0);
	assert_int_equal(strlen(a.path), ADDRESS_PATH);
	memset(text, 'x', sizeof(text) - 1);
	memcpy(text, "tcp:", 4);
	assert_int_not_equal(address_parse(&a, text, false, err, sizeof(err)), 0);
	text[4 + ADDRESS_HOST] = 0;
	assert_int_equal(address_parse(&a, text, false, err, sizeof(err)), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_good),
		cmocka_unit_test(test_bad),
		cmocka_unit_test(test_long),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
