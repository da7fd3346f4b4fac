// SPDX-License-Identifier: GPL-2.0
/*
 * The link is cut at "go", and no disk says whose the guest is: the source connects
 * again, and is told. Only who does not answer leaves it in doubt.
 */
#define _GNU_SOURCE 1
#include <arpa/inet.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "loop.h"
#include "migrate/answer.h"
#include "migrate/message.h"
#include "migrate_fake.h"

#define MESSAGE	48U	/* bytes, with its head */

static struct fake_run *r;
static char err[512];
static const struct channel_opts opts = { .wake_fd = -1, .timeout = 5000000000ULL };

/* at a port that is free now */
static struct listener *listen_somewhere(struct address *at)
{
	struct sockaddr_in in = { .sin_family = AF_INET };
	socklen_t len = sizeof(in);
	struct listener *l;
	char text[64];
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	assert_int_equal(bind(fd, (struct sockaddr *)&in, sizeof(in)), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&in, &len), 0);
	close(fd);
	snprintf(text, sizeof(text), "tcp:127.0.0.1:%u", ntohs(in.sin_port));
	assert_int_equal(address_parse(at, text, true, err, sizeof(err)), 0);
	l = listener_new(at, &opts, err, sizeof(err));
	if (!l)
		fail_msg("%s", err);
	return l;
}

static void begin(void)
{
	fake_init(r);
	r->params.can_ask = true;
	r->listener = listen_somewhere(&r->at);
}

static int setup(void **state)
{
	r = malloc(sizeof(*r));
	assert_non_null(r);
	begin();
	return 0;
}

static int teardown(void **state)
{
	fake_free(r);
	free(r);
	return 0;
}

static void again(void)
{
	fake_free(r);
	begin();
}

static void check_one(void)
{
	fake_check_one(r);
	assert_int_not_equal(r->result.state, SOURCE_DOUBT);
	assert_true(r->source.runs != r->target.runs);
}

static void test_moves(void **state)
{
	fake_migrate(r);
	assert_int_equal(r->result.state, SOURCE_MOVED);
	assert_int_equal(r->asked, 0);
	check_one();
}

static void test_cut_there(void **state)
{
	unsigned int kept = 0, moved = 0;
	uint64_t end, i;

	fake_migrate(r);
	/* "done" is the last, and need not come */
	end = r->wire.there - MESSAGE;
	for (i = end - MESSAGE + 1; i <= end + 1; i++) {
		again();
		r->wire.cut_there = i;
		fake_migrate(r);
		check_one();
		kept += r->source.runs;
		moved += r->target.runs;
		if (i < end)
			assert_true(r->asked > 0);
	}
	assert_true(kept == MESSAGE - 1 && moved == 2);
}

static void test_cut_back(void **state)
{
	uint64_t end, i;

	fake_migrate(r);
	end = r->wire.back;
	for (i = end - MESSAGE + 1; i <= end; i++) {
		again();
		r->wire.cut_back = i;
		fake_migrate(r);
		check_one();
		assert_true(r->target.runs);
		assert_int_equal(r->asked, i < end);
	}
}

/* it was killed with the link */
static void test_nobody(void **state)
{
	uint64_t end;

	fake_migrate(r);
	end = r->wire.there - MESSAGE;
	again();
	r->wire.cut_there = end - 1;
	r->target.dies = true;
	fake_migrate(r);
	assert_int_equal(r->result.state, SOURCE_DOUBT);
	assert_false(r->source.runs);
	assert_true(r->asked > 1);
}

/* ---- who answers ---------------------------------------------------------- */

static const struct migrate_streams token = { .token = "sixteen bytes.." };

/* what comes back; "" : nothing */
static const char *ask(const struct address *at, const struct migrate_streams *with)
{
	static char tag[SECTION_TAG + 1];
	struct channel *c = channel_connect(at, &opts, err, sizeof(err));
	struct sink out = { .write = channel_write, .owner = c };
	struct source in = { .read = channel_read, .owner = c, .name = "there" };

	assert_non_null(c);
	assert_int_equal(section_put(&out, MSG_ASK, 1, with, sizeof(*with), NULL, 0), 0);
	assert_int_equal(channel_flush(c), 0);
	memset(tag, 0, sizeof(tag));
	if (!section_next(&in, err, sizeof(err)))
		memcpy(tag, in.head.tag, SECTION_TAG);
	channel_close(c);
	return tag;
}

static struct channel *half(int *other)
{
	int sv[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv), 0);
	*other = sv[0];
	return channel_new(sv[1], sv[1], "the source");
}

static void test_strangers(void **state)
{
	const struct migrate_streams wrong = { .token = "fifteen bytes.." };
	struct address at;
	struct listener *l = listen_somewhere(&at);
	struct answer *a;
	int other;

	a = answer_running(half(&other), l, token.token);
	close(other);
	assert_string_equal(ask(&at, &wrong), "");
	assert_string_equal(ask(&at, &token), MSG_RUNNING);
	answer_stop(a);
	/* once is enough */
	assert_null(channel_connect(&at, &opts, err, sizeof(err)));
}

static void test_stop(void **state)
{
	uint64_t start = loop_now();
	struct address at;
	struct listener *l = listen_somewhere(&at);
	struct answer *a;
	int other;

	a = answer_running(half(&other), l, token.token);
	answer_stop(a);
	close(other);
	l = listen_somewhere(&at);
	a = answer_running(half(&other), l, token.token);
	close(other);
	answer_stop(a);
	assert_true(loop_now() - start < 2000000000ULL);
}

static void test_done(void **state)
{
	struct address at;
	struct listener *l = listen_somewhere(&at);
	struct sink out = { .write = fd_write };
	struct answer *a;
	int other;

	a = answer_running(half(&other), l, token.token);
	out.owner = &other;
	assert_int_equal(message_put(&out, MSG_DONE, 1, 0), 0);
	/* the port is free for the next one: until then there is somebody */
	while ((l = listener_new(&at, &opts, err, sizeof(err))) == NULL)
		usleep(1000);
	answer_stop(a);
	listener_close(l);
	close(other);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_moves), T(test_cut_there), T(test_cut_back), T(test_nobody),
		cmocka_unit_test(test_strangers), cmocka_unit_test(test_stop),
		cmocka_unit_test(test_done),
	};

	return cmocka_run_group_tests_name("migrate_ask", tests, NULL, NULL);
}
