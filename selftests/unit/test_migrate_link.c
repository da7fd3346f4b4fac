// SPDX-License-Identifier: GPL-2.0
/* Channels between two threads: over unix, tcp and TLS, and who is not let in. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "loop.h"
#include "migrate/channel.h"

static char base[64], err[512], other_err[512];
static struct address here, there;
static struct channel_opts opts, other_opts;

static void shell(const char *fmt, ...)
{
	char command[1024];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(command, sizeof(command), fmt, ap);
	va_end(ap);
	assert_int_equal(system(command), 0);
}

/* an authority, and a certificate of it for 127.0.0.1; all directories trust "one" */
static void make_certificates(const char *name)
{
	static const char ec[] = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";

	shell("cd %s && mkdir %s && { openssl req -x509 %s -days 36500 -subj /CN=%s -keyout %s-key.pem -out %s.pem"
	      " && openssl req -new %s -subj /CN=host -keyout %s/key.pem -out csr"
	      " && echo subjectAltName=IP:127.0.0.1 >ext"
	      " && openssl x509 -req -in csr -CA %s.pem -CAkey %s-key.pem -CAcreateserial -days 36500 -extfile ext -out %s/cert.pem; } 2>/dev/null >&2 && cp one.pem %s/ca.pem",
	      base, name, ec, name, name, name, ec, name, name, name, name, name);
}

static int group_setup(void **state)
{
	strcpy(base, "/tmp/vmm-link-XXXXXX");
	assert_non_null(mkdtemp(base));
	make_certificates("one");
	make_certificates("two");
	return 0;
}

static int group_teardown(void **state)
{
	shell("rm -rf %s", base);
	return 0;
}

static int setup(void **state)
{
	opts = other_opts = (struct channel_opts){
		.wake_fd = -1, .timeout = 60000000000ULL,
	};
	err[0] = other_err[0] = 0;
	return 0;
}

/* a port that is free now */
static void use_tcp(void)
{
	struct sockaddr_in in = { .sin_family = AF_INET };
	socklen_t len = sizeof(in);
	char text[64];
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	assert_int_equal(bind(fd, (struct sockaddr *)&in, sizeof(in)), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&in, &len), 0);
	close(fd);
	snprintf(text, sizeof(text), "tcp:127.0.0.1:%u", ntohs(in.sin_port));
	assert_int_equal(address_parse(&here, text, true, err, sizeof(err)), 0);
	assert_int_equal(address_parse(&there, text, false, err, sizeof(err)), 0);
}

static void use_unix(void)
{
	char text[128];

	snprintf(text, sizeof(text), "unix:%s/sock", base);
	assert_int_equal(address_parse(&here, text, true, err, sizeof(err)), 0);
	there = here;
}

static struct channel *accept_at(const struct address *a, const struct channel_opts *o,
				 char *why)
{
	struct listener *l = listener_new(a, o, why, sizeof(err));
	struct channel *c;

	if (!l)
		return NULL;
	c = listener_accept(l, 0, why, sizeof(err));
	listener_close(l);
	return c;
}

static void *accept_main(void *arg)
{
	return accept_at(&here, &other_opts, other_err);
}

/* both ends; either may be NULL, and says why */
static void link_up(struct channel **a, struct channel **b)
{
	pthread_t thread;
	void *other;
	int i;

	assert_int_equal(pthread_create(&thread, NULL, accept_main, NULL), 0);
	/* until the other listens */
	for (i = 0; i < 10000; i++) {
		*a = channel_connect(&there, &opts, err, sizeof(err));
		if (*a || (!strstr(err, "refused") && !strstr(err, "No such file")))
			break;
		usleep(1000);
	}
	/* who was let in, and sees now that it was not */
	if (*a && opts.tls_dir) {
		char c;

		(*a)->deadline = 0;
		(*a)->patience = 60000000000ULL;
		if (strcmp(opts.tls_dir, other_opts.tls_dir)) {
			assert_int_equal(channel_read(*a, &c, 1), -EACCES);
			channel_close(*a);
			*a = NULL;
		}
	}
	pthread_join(thread, &other);
	*b = other;
}

#define MUCH	(3U << 20)

static void *write_main(void *arg)
{
	static uint8_t data[MUCH];
	size_t i;

	for (i = 0; i < MUCH; i++)
		data[i] = i * 7 + i / 251;
	assert_int_equal(channel_write(arg, data, 100), 0);
	assert_int_equal(channel_write(arg, data + 100, MUCH - 100), 0);
	assert_int_equal(channel_flush(arg), 0);
	return NULL;
}

/* much one way while the other way is quiet, and back */
static void check_bytes(struct channel *from, struct channel *to)
{
	uint8_t *data = malloc(MUCH);
	pthread_t thread;
	size_t i;

	assert_non_null(data);
	assert_int_equal(pthread_create(&thread, NULL, write_main, from), 0);
	assert_int_equal(channel_read(to, data, MUCH), 0);
	pthread_join(thread, NULL);
	for (i = 0; i < MUCH; i++)
		if (data[i] != (uint8_t)(i * 7 + i / 251))
			break;
	assert_int_equal(i, MUCH);
	free(data);
}

static void check_link(void)
{
	struct channel *a, *b;
	char c;

	link_up(&a, &b);
	if (!a || !b)
		print_error("'%s', '%s'\n", err, other_err);
	assert_non_null(a);
	assert_non_null(b);
	check_bytes(a, b);
	check_bytes(b, a);
	assert_false(channel_readable(a));
	channel_close(b);
	assert_int_equal(channel_read(a, &c, 1), -ENODATA);
	channel_close(a);
}

static void test_unix(void **state)
{
	use_unix();
	check_link();
	assert_int_not_equal(access(here.path, F_OK), 0);
	/* a socket that somebody left is no obstacle, another file is */
	shell("echo x >%s", here.path);
	assert_null(accept_at(&here, &opts, err));
	assert_non_null(strstr(err, here.path));
	unlink(here.path);
}

/* one after the other; but nobody is waited for longer than one wants */
static void test_several(void **state)
{
	struct channel *a[3], *b[3];
	struct listener *l;
	unsigned int i;
	char x;

	use_unix();
	l = listener_new(&here, &other_opts, err, sizeof(err));
	assert_non_null(l);
	for (i = 0; i < 3; i++)
		a[i] = channel_connect(&there, &opts, err, sizeof(err));
	for (i = 0; i < 3; i++) {
		b[i] = listener_accept(l, 0, other_err, sizeof(other_err));
		assert_true(a[i] && b[i]);
		assert_int_equal(channel_write(a[i], "012" + i, 1) | channel_flush(a[i]), 0);
	}
	for (i = 0; i < 3; i++) {
		assert_int_equal(channel_read(b[i], &x, 1), 0);
		assert_int_equal(x, '0' + i);
		channel_close(a[i]);
		channel_close(b[i]);
	}
	assert_null(listener_accept(l, loop_now() + 1000000, err, sizeof(err)));
	assert_non_null(strstr(err, "timed out"));
	listener_close(l);
	assert_int_not_equal(access(here.path, F_OK), 0);
}

static void test_tcp(void **state)
{
	use_tcp();
	check_link();
}

static char dir[2][128];

static void use_tls(const char *mine, const char *others)
{
	use_tcp();
	snprintf(dir[0], sizeof(dir[0]), "%s/%s", base, mine);
	snprintf(dir[1], sizeof(dir[1]), "%s/%s", base, others);
	opts.tls_dir = dir[0];
	other_opts.tls_dir = dir[1];
}

static void test_tls(void **state)
{
	use_tls("one", "one");
	check_link();
}

/* of another authority: neither comes in, nor is connected to */
static void test_strangers(void **state)
{
	struct channel *a, *b;

	use_tls("two", "one");
	link_up(&a, &b);
	assert_null(b);
	assert_non_null(strstr(other_err, "TLS: "));
	channel_close(a);
	use_tls("one", "two");
	link_up(&a, &b);
	assert_null(a);
	assert_non_null(strstr(err, "TLS: "));
	channel_close(b);
}

/* the certificate is for 127.0.0.1 */
static void test_wrong_host(void **state)
{
	struct channel *a, *b;

	use_tls("one", "one");
	strcpy(there.host, "localhost");
	link_up(&a, &b);
	assert_null(a);
	assert_non_null(strstr(err, "TLS: "));
	channel_close(b);
}

static void test_no_files(void **state)
{
	struct channel *a, *b;

	use_tls("none", "one");
	link_up(&a, &b);
	assert_null(a);
	assert_non_null(strstr(err, "none/ca.pem"));
	channel_close(b);
}

static void test_nobody(void **state)
{
	use_unix();
	assert_null(channel_connect(&there, &opts, err, sizeof(err)));
	assert_non_null(strstr(err, "No such file"));
	use_tcp();
	assert_null(channel_connect(&there, &opts, err, sizeof(err)));
	assert_non_null(strstr(err, "refused"));
}

/* whoever waits is woken, also when the pipe is full */
static void test_woken(void **state)
{
	static const uint8_t much[MUCH];
	int sv[2], wake = eventfd(1, EFD_CLOEXEC);
	struct channel *a;
	char c;

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, sv), 0);
	a = channel_new(sv[0], sv[0], "x");
	assert_non_null(a);
	a->wake_fd = wake;
	assert_int_equal(channel_read(a, &c, 1), -ECANCELED);
	assert_int_equal(channel_write(a, much, MUCH), -ECANCELED);
	a->wake_fd = -1;
	a->deadline = 1;
	assert_int_equal(channel_read(a, &c, 1), -ETIMEDOUT);
	close(wake);
	close(sv[1]);
	channel_close(a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_unix, setup),
		cmocka_unit_test_setup(test_several, setup),
		cmocka_unit_test_setup(test_tcp, setup),
		cmocka_unit_test_setup(test_tls, setup),
		cmocka_unit_test_setup(test_strangers, setup),
		cmocka_unit_test_setup(test_wrong_host, setup),
		cmocka_unit_test_setup(test_no_files, setup),
		cmocka_unit_test_setup(test_nobody, setup),
		cmocka_unit_test_setup(test_woken, setup),
	};

	return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
