// SPDX-License-Identifier: GPL-2.0
/*
 * The control socket's protocol: what each request is answered with, and peers
 * that send rubbish, half of a line, too much, do not listen, or hang up.
 */
#define _GNU_SOURCE 1
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "control/control.h"
#include "fixture.h"

#define BIG	(1U << 20)

struct test {
	struct fx *fx;
	struct control *c;
	struct sockaddr_un addr;
	struct control_call *held[CONTROL_CALLS_MAX];
	unsigned int nheld, begun, cancelled;
	int taken;			/* the socket that "take" took, -1 */
	char *ahead;
	size_t len;
};

static struct test t;

/* ---- commands of the test's ------------------------------------------------- */

static void cmd_echo(struct vm *vm, json_t *args, struct control_call *call)
{
	const char *s = "";
	int n = 0;

	t.begun++;
	if (control_args(call, args, "{s?s s?i !}", "text", &s, "number", &n))
		control_done(call, json_pack("{ss si}", "text", s, "number", n));
}

static void cmd_none(struct vm *vm, json_t *args, struct control_call *call)
{
	t.begun++;
	control_done(call, NULL);
}

static void cmd_fail(struct vm *vm, json_t *args, struct control_call *call)
{
	t.begun++;
	control_fail(call, ENOSPC, "no room for %d \xff", 5);
}

static void cmd_big(struct vm *vm, json_t *args, struct control_call *call)
{
	char *s = malloc(BIG + 1);

	t.begun++;
	memset(s, 'x', BIG);
	s[BIG] = 0;
	control_done(call, json_pack("{ss}", "text", s));
	free(s);
}

static void hung_up(void *owner)
{
	t.cancelled++;
	control_fail(owner, ECANCELED, "nobody listens");
}

static void cmd_hold(struct vm *vm, json_t *args, struct control_call *call)
{
	t.begun++;
	t.held[t.nheld++] = call;
	control_on_cancel(call, hung_up, call);
}

static void cmd_take(struct vm *vm, json_t *args, struct control_call *call)
{
	t.begun++;
	t.taken = control_take(call, NULL, &t.ahead, &t.len);
}

/* ---- a server, and peers of it ----------------------------------------------- */

static int setup(void **state)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);

	memset(&t, 0, sizeof(t));
	t.taken = -1;
	t.addr.sun_family = AF_UNIX;
	snprintf(t.addr.sun_path, sizeof(t.addr.sun_path),
		 "/tmp/vmm-control-%d.sock", getpid());
	unlink(t.addr.sun_path);
	assert_int_equal(bind(fd, (void *)&t.addr, sizeof(t.addr)), 0);
	assert_int_equal(listen(fd, 64), 0);
	t.fx = fx_new();
	fx_lock(t.fx);
	t.c = control_new(t.fx->env.loop, NULL, fd);
	assert_non_null(t.c);
	assert_int_equal(control_add(t.c, "echo", cmd_echo), 0);
	assert_int_equal(control_add(t.c, "none", cmd_none), 0);
	assert_int_equal(control_add(t.c, "fail", cmd_fail), 0);
	assert_int_equal(control_add(t.c, "big", cmd_big), 0);
	assert_int_equal(control_add(t.c, "hold", cmd_hold), 0);
	assert_int_equal(control_add(t.c, "take", cmd_take), 0);
	fx_unlock(t.fx);
	return 0;
}

static void server_free(void)
{
	fx_lock(t.fx);
	control_free(t.c);
	t.c = NULL;
	fx_unlock(t.fx);
}

static int teardown(void **state)
{
	server_free();
	fx_free(t.fx);
	unlink(t.addr.sun_path);
	free(t.ahead);
	if (t.taken >= 0)
		close(t.taken);
	return 0;
}

static int peer(void)
{
	const struct timeval patience = { .tv_sec = 20 };
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience,
				    sizeof(patience)), 0);
	assert_int_equal(connect(fd, (void *)&t.addr, sizeof(t.addr)), 0);
	return fd;
}

static void say(int fd, const char *s)
{
	size_t len = strlen(s);

	assert_int_equal(send(fd, s, len, MSG_NOSIGNAL), len);
}

/* a line, without its end, to be freed; "" at the end of the connection */
static char *hear(int fd)
{
	size_t n = 0, size = 2 * BIG;
	char *line = malloc(size), *end = NULL;
	ssize_t got;

	while (!end) {
		assert_true(n < size - 1);
		/* no more than this line is taken */
		got = recv(fd, line + n, size - 1 - n, MSG_PEEK);
		if (got == 0 || (got < 0 && errno == ECONNRESET))
			break;
		assert_true(got > 0);
		end = memchr(line + n, '\n', got);
		if (end)
			got = end + 1 - (line + n);
		assert_int_equal(recv(fd, line + n, got, 0), got);
		n += got;
	}
	line[end ? n - 1 : n] = 0;
	return line;
}

static void expect(int fd, const char *want)
{
	char *line = hear(fd);

	assert_string_equal(line, want);
	free(line);
}

/* an error of this code, and nothing was begun; for this id, as JSON */
static void expect_error(int fd, const char *id, const char *code)
{
	char *line = hear(fd), want[128];

	snprintf(want, sizeof(want), "{\"id\":%s,\"ok\":false,\"error\":{\"code\":\"%s\",",
		 id, code);
	if (strncmp(line, want, strlen(want)))
		fail_msg("wanted %s, found %s", want, line);
	free(line);
}

static unsigned int nheld(void)
{
	unsigned int n;

	fx_lock(t.fx);
	n = t.nheld;
	fx_unlock(t.fx);
	return n;
}

static void wait_held(unsigned int n)
{
	while (nheld() != n)
		usleep(100);
}

/* ---- tests ---------------------------------------------------------------- */

static void answers(void **state)
{
	int fd = peer();

	say(fd, "{\"id\":1,\"cmd\":\"echo\",\"args\":{\"text\":\"a\\nb\",\"number\":7}}\n");
	expect(fd, "{\"id\":1,\"ok\":true,\"result\":{\"text\":\"a\\nb\",\"number\":7}}");
	say(fd, "{\"cmd\":\"none\"}\r\n");
	expect(fd, "{\"id\":null,\"ok\":true,\"result\":{}}");
	say(fd, "{\"id\":{\"a\":[1,\"x\"]},\"cmd\":\"none\",\"args\":{}}\n");
	expect(fd, "{\"id\":{\"a\":[1,\"x\"]},\"ok\":true,\"result\":{}}");
	/* a message that is not UTF-8 is another, but the code comes */
	say(fd, "{\"id\":\"f\",\"cmd\":\"fail\"}\n");
	expect(fd, "{\"id\":\"f\",\"ok\":false,\"error\":{\"code\":\"ENOSPC\",\"message\":\"No space left on device\"}}");
	close(fd);
}

static void in_pieces(void **state)
{
	const char *s = "{\"id\":1,\"cmd\":\"none\"}\n{\"id\":2,\"cmd\":\"none\"}\n{\"id\":3,";
	int fd = peer();

	for (; *s; s++) {
		assert_int_equal(send(fd, s, 1, 0), 1);
		fx_sync(t.fx);
	}
	expect(fd, "{\"id\":1,\"ok\":true,\"result\":{}}");
	expect(fd, "{\"id\":2,\"ok\":true,\"result\":{}}");
	/* half a request at the end of what it sends is none */
	shutdown(fd, SHUT_WR);
	expect(fd, "");
	assert_int_equal(t.begun, 2);
	close(fd);
}

static void rubbish(void **state)
{
	static const struct {
		const char *line, *id, *code;
	} bad[] = {
		{ "", "null", "EINVAL" },
		{ "hello", "null", "EINVAL" },
		{ "[]", "null", "EINVAL" },
		{ "7", "null", "EINVAL" },
		{ "{\"id\":1,\"cmd\":\"none\"", "null", "EINVAL" },
		{ "{\"id\":1,\"cmd\":\"none\"} x", "null", "EINVAL" },
		{ "{\"id\":1,\"id\":2,\"cmd\":\"none\"}", "null", "EINVAL" },
		{ "{\"id\":\"\xff\",\"cmd\":\"none\"}", "null", "EINVAL" },
		{ "{\"id\":\"\\u0000\",\"cmd\":\"none\"}", "null", "EINVAL" },
		{ "{\"id\":1}", "1", "EINVAL" },
		{ "{\"id\":1,\"cmd\":7}", "1", "EINVAL" },
		{ "{\"id\":1,\"cmd\":\"nonesuch\"}", "1", "ENOSYS" },
		{ "{\"id\":1,\"cmd\":\"\"}", "1", "ENOSYS" },
		{ "{\"id\":1,\"cmd\":\"none\",\"args\":[]}", "1", "EINVAL" },
		{ "{\"id\":1,\"cmd\":\"none\",\"args\":null}", "1", "EINVAL" },
		{ "{\"id\":1,\"cmd\":\"none\",\"more\":1}", "1", "EINVAL" },
		{ "{\"id\":1,\"cmd\":\"echo\",\"args\":{\"text\":1}}", "1", "EINVAL" },
		{ "{\"id\":1,\"cmd\":\"echo\",\"args\":{\"texts\":\"\"}}", "1", "EINVAL" },
	};
	int fd = peer();
	size_t i;

	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		say(fd, bad[i].line);
		say(fd, "\n");
		expect_error(fd, bad[i].id, bad[i].code);
	}
	/* cmd_echo was called twice, and refused its arguments */
	assert_int_equal(t.begun, 2);
	say(fd, "{\"id\":1,\"cmd\":\"none\"}\n");
	expect(fd, "{\"id\":1,\"ok\":true,\"result\":{}}");
	close(fd);
}

static void send_all(int fd, const char *s, size_t len)
{
	ssize_t n;

	for (; len; s += n, len -= n) {
		n = send(fd, s, len, MSG_NOSIGNAL);
		assert_true(n > 0);
	}
}

static void deep(void **state)
{
	char *s = malloc(CONTROL_LINE_MAX);
	int fd = peer();

	memset(s, '[', CONTROL_LINE_MAX - 1);
	s[CONTROL_LINE_MAX - 1] = '\n';
	send_all(fd, s, CONTROL_LINE_MAX);
	expect_error(fd, "null", "EINVAL");
	/* NUL bytes end no line */
	memset(s, 0, 16);
	s[16] = '\n';
	send_all(fd, s, 17);
	expect_error(fd, "null", "EINVAL");
	free(s);
	close(fd);
}

static void too_long(void **state)
{
	size_t len = 3 * CONTROL_LINE_MAX;
	char *s = malloc(len);
	int fd = peer();

	/* the longest that is one: blanks count */
	memset(s, ' ', len);
	memcpy(s, "{\"cmd\":\"none\"}", 14);
	s[CONTROL_LINE_MAX - 1] = '\n';
	send_all(fd, s, CONTROL_LINE_MAX);
	expect(fd, "{\"id\":null,\"ok\":true,\"result\":{}}");
	/* one error for all of a line, and its end does nothing */
	memset(s, ' ', len);
	memcpy(s + len - 15, "{\"cmd\":\"none\"}\n", 15);
	send_all(fd, s, len);
	expect_error(fd, "null", "EMSGSIZE");
	say(fd, "{\"id\":2,\"cmd\":\"none\"}\n");
	expect(fd, "{\"id\":2,\"ok\":true,\"result\":{}}");
	assert_int_equal(t.begun, 2);
	free(s);
	close(fd);
}

static void many(void **state)
{
	int fd[CONTROL_CONNS_MAX + 1];
	unsigned int i;

	for (i = 0; i < CONTROL_CONNS_MAX; i++) {
		fd[i] = peer();
		say(fd[i], "{\"id\":1,\"cmd\":\"none\"}\n");
		expect(fd[i], "{\"id\":1,\"ok\":true,\"result\":{}}");
	}
	fd[i] = peer();
	expect_error(fd[i], "null", "EBUSY");
	expect(fd[i], "");
	close(fd[i]);
	/* room again */
	close(fd[0]);
	fx_sync(t.fx);
	fd[0] = peer();
	say(fd[0], "{\"id\":1,\"cmd\":\"none\"}\n");
	expect(fd[0], "{\"id\":1,\"ok\":true,\"result\":{}}");
	for (i = 0; i < CONTROL_CONNS_MAX; i++)
		close(fd[i]);
}

static void *worker(void *unused)
{
	unsigned int i;

	for (i = 0; i < 2; i++) {
		fx_lock(t.fx);
		control_progress(t.held[0], json_pack("{si}", "done", i));
		fx_unlock(t.fx);
	}
	fx_lock(t.fx);
	control_done(t.held[0], NULL);
	t.held[0] = NULL;
	fx_unlock(t.fx);
	return NULL;
}

/* the answer of a worker comes after that of a later request */
static void progress(void **state)
{
	pthread_t thread;
	int fd = peer();

	say(fd, "{\"id\":1,\"cmd\":\"hold\"}\n{\"id\":2,\"cmd\":\"none\"}\n");
	expect(fd, "{\"id\":2,\"ok\":true,\"result\":{}}");
	assert_int_equal(pthread_create(&thread, NULL, worker, NULL), 0);
	expect(fd, "{\"id\":1,\"event\":\"progress\",\"done\":0}");
	expect(fd, "{\"id\":1,\"event\":\"progress\",\"done\":1}");
	expect(fd, "{\"id\":1,\"ok\":true,\"result\":{}}");
	pthread_join(thread, NULL);
	close(fd);
}

static void too_many_calls(void **state)
{
	unsigned int i;
	int fd = peer();

	for (i = 0; i < CONTROL_CALLS_MAX; i++)
		say(fd, "{\"id\":1,\"cmd\":\"hold\"}\n");
	say(fd, "{\"id\":2,\"cmd\":\"none\"}\n");
	expect_error(fd, "2", "EBUSY");
	assert_int_equal(nheld(), CONTROL_CALLS_MAX);
	close(fd);
	fx_sync(t.fx);
	assert_int_equal(t.cancelled, CONTROL_CALLS_MAX);
}

/* who stops sending may still wait for an answer */
static void half_closed(void **state)
{
	int fd = peer();

	say(fd, "{\"id\":1,\"cmd\":\"hold\"}\n");
	shutdown(fd, SHUT_WR);
	wait_held(1);
	fx_sync(t.fx);
	assert_int_equal(t.cancelled, 0);
	worker(NULL);
	expect(fd, "{\"id\":1,\"event\":\"progress\",\"done\":0}");
	expect(fd, "{\"id\":1,\"event\":\"progress\",\"done\":1}");
	expect(fd, "{\"id\":1,\"ok\":true,\"result\":{}}");
	expect(fd, "");
	close(fd);
}

/* who sends and goes has said what is to be done */
static void fire_and_forget(void **state)
{
	int fd = peer();

	say(fd, "{\"id\":1,\"cmd\":\"none\"}\n");
	close(fd);
	fx_sync(t.fx);
	fx_sync(t.fx);
	assert_int_equal(t.begun, 1);
}

static void hangs_up(void **state)
{
	int fd = peer();

	say(fd, "{\"id\":1,\"cmd\":\"hold\"}\n");
	wait_held(1);
	close(fd);
	fx_sync(t.fx);
	assert_int_equal(t.cancelled, 1);
}

/*
 * Requests without end from a peer that fetches nothing: it is made to wait, the
 * others are not, and when it listens all that was begun is answered.
 */
static void deaf(void **state)
{
	static const char request[] = "{\"id\":1,\"cmd\":\"big\"}\n";
	unsigned int sent = 0, begun, i;
	int fd = peer(), other = peer();
	char *line;

	while (send(fd, request, sizeof(request) - 1, MSG_DONTWAIT) > 0) {
		fx_sync(t.fx);
		sent++;
	}
	assert_int_equal(errno, EAGAIN);
	fx_lock(t.fx);
	begun = t.begun;
	fx_unlock(t.fx);
	assert_true(begun < 8);
	say(other, "{\"id\":1,\"cmd\":\"none\"}\n");
	expect(other, "{\"id\":1,\"ok\":true,\"result\":{}}");
	/* all complete requests, now */
	shutdown(fd, SHUT_WR);
	for (i = 0; i < 20; i++) {
		line = hear(fd);
		assert_int_equal(strlen(line), BIG + strlen("{\"id\":1,\"ok\":true,\"result\":{\"text\":\"\"}}"));
		free(line);
	}
	assert_true(sent >= 20);
	close(fd);
	close(other);
}

/* many small ones at once: none is lost, however they fall */
static void flood(void **state)
{
	const unsigned int n = 20000;
	unsigned int i, heard = 0;
	char buf[65536], *s;
	int fd = peer();
	pid_t pid = fork();

	if (!pid) {
		for (i = 0; i < n; i++)
			if (send(fd, "{\"cmd\":\"none\"}\n", 15, MSG_NOSIGNAL) != 15)
				_exit(1);
		_exit(0);
	}
	while (heard < n) {
		ssize_t got = recv(fd, buf, sizeof(buf), 0);

		assert_true(got > 0);
		for (s = buf; (s = memchr(s, '\n', buf + got - s)); s++)
			heard++;
	}
	assert_int_equal(t.begun, n);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	close(fd);
}

/* what may be a request and may be none: each line has its one answer */
static void mutations(void **state)
{
	static const char *const seed[] = {
		"{\"id\":1,\"cmd\":\"echo\",\"args\":{\"text\":\"abc\",\"number\":-7}}",
		"{\"cmd\":\"none\",\"id\":[{\"a\":1.5e3},null,\"\\u00e4\"]}",
		"{\"id\":\"x\",\"cmd\":\"fail\",\"args\":{}}",
	};
	static const char bytes[] = "{}[]\":,\\u0eE+-.1ntrue \t\xff\xc3\x01";
	uint64_t x = 88172645463325252ULL;
	unsigned int i, n, answered = 0;
	char line[256], *answer;
	int fd = peer();
	json_t *j;

	for (i = 0; i < 3000; i++) {
		size_t len = strlen(seed[i / 3 % 3]);

		memcpy(line, seed[i / 3 % 3], len);
		for (n = 0; n < i % 3; n++) {
			x ^= x << 13;
			x ^= x >> 7;
			x ^= x << 17;
			line[(x >> 8) % len] = bytes[(x >> 40) % (sizeof(bytes) - 1)];
			if (x >> 61 == 7)
				len = 1 + (x >> 20) % len;
		}
		line[len] = '\n';
		send_all(fd, line, len + 1);
		answer = hear(fd);
		j = json_loads(answer, 0, NULL);
		if (!json_is_boolean(json_object_get(j, "ok")))
			fail_msg("%u: %.*s -> %s", i, (int)len, line, answer);
		assert_int_equal(json_object_size(j), 3);
		answered += json_is_true(json_object_get(j, "ok"));
		json_decref(j);
		free(answer);
	}
	/* those that were left as they are, but for "fail"; and not all others */
	assert_in_range(answered, 667, 2000);
	close(fd);
}

static void takes(void **state)
{
	int fd = peer(), busy = peer();
	char buf[16];

	say(fd, "{\"id\":1,\"cmd\":\"take\"}\nraw\nbytes");
	expect(fd, "{\"id\":1,\"ok\":true,\"result\":{}}");
	fx_sync(t.fx);
	assert_true(t.taken >= 0);
	assert_int_equal(t.len, 9);
	assert_memory_equal(t.ahead, "raw\nbytes", 9);
	/* what comes now is read by nobody else */
	say(fd, "{\"id\":2,\"cmd\":\"none\"}\n");
	fx_sync(t.fx);
	assert_int_equal(t.begun, 1);
	assert_int_equal(recv(t.taken, buf, 4, 0), 4);
	assert_memory_equal(buf, "{\"id", 4);
	close(t.taken);
	t.taken = -1;
	/* refused where somebody else waits for an answer */
	say(busy, "{\"id\":1,\"cmd\":\"hold\"}\n{\"id\":2,\"cmd\":\"take\"}\n");
	expect_error(busy, "2", "EBUSY");
	fx_sync(t.fx);
	assert_int_equal(t.taken, -EBUSY);
	close(fd);
	close(busy);
	fx_sync(t.fx);
}

static void the_end(void **state)
{
	int fd = peer();

	say(fd, "{\"id\":1,\"cmd\":\"hold\"}\n");
	wait_held(1);
	server_free();
	expect_error(fd, "1", "ECANCELED");
	expect(fd, "");
	assert_int_equal(t.cancelled, 0);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(answers, setup, teardown),
		cmocka_unit_test_setup_teardown(in_pieces, setup, teardown),
		cmocka_unit_test_setup_teardown(rubbish, setup, teardown),
		cmocka_unit_test_setup_teardown(deep, setup, teardown),
		cmocka_unit_test_setup_teardown(too_long, setup, teardown),
		cmocka_unit_test_setup_teardown(many, setup, teardown),
		cmocka_unit_test_setup_teardown(progress, setup, teardown),
		cmocka_unit_test_setup_teardown(too_many_calls, setup, teardown),
		cmocka_unit_test_setup_teardown(half_closed, setup, teardown),
		cmocka_unit_test_setup_teardown(fire_and_forget, setup, teardown),
		cmocka_unit_test_setup_teardown(hangs_up, setup, teardown),
		cmocka_unit_test_setup_teardown(deaf, setup, teardown),
		cmocka_unit_test_setup_teardown(flood, setup, teardown),
		cmocka_unit_test_setup_teardown(mutations, setup, teardown),
		cmocka_unit_test_setup_teardown(takes, setup, teardown),
		cmocka_unit_test_setup_teardown(the_end, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
