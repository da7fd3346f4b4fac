// SPDX-License-Identifier: GPL-2.0
/*
 * The tap back end, on real tap devices in a network namespace of its own: a
 * raw socket on the interface is the other end of the wire.
 */
#define _GNU_SOURCE 1		/* unshare */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <linux/virtio_net.h>
#include <net/if.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "loop.h"
#include "net/net.h"

#define HDR	((int)sizeof(struct virtio_net_hdr_mrg_rxbuf))
#define PAIRS	4
#define FRAME	60

struct fixture {
	pthread_mutex_t lock;
	pthread_t thread;
	struct loop *loop;
	struct net *net;
	int socket;
	bool full;			/* the guest has no room */
	unsigned int got[PAIRS];	/* frames of ours */
	unsigned int refused;
	bool bad;			/* one was not as it was sent */
	char err[256];
};

static struct net *open_tap(struct fixture *f, const char *name,
			    unsigned int pairs, bool or_less)
{
	const struct net_tap_opts o = { name, pairs, or_less, NET_VHOST_OFF };

	return net_tap_new(f->loop, &o, f->err, sizeof(f->err));
}

static void test_refusals(void **state)
{
	static const struct {
		const char *name, *want;
	} bad[] = {
		{ "nosuchtap0", "no such interface" },
		{ "", "no such interface" },
		{ "a-name-that-is-much-too-long", "no such interface" },
		{ "../../etc", "no such interface" },
		{ "lo", "tap device lo: " },
	};
	struct fixture f = { .lock = PTHREAD_MUTEX_INITIALIZER };
	size_t i;

	(void)state;
	f.loop = loop_new(&f.lock);
	for (i = 0; i < 2 * sizeof(bad) / sizeof(bad[0]); i++) {
		assert_null(open_tap(&f, bad[i / 2].name, 1 + i % 2 * 3, false));
		if (!strstr(f.err, bad[i / 2].want) || strchr(f.err, '\n'))
			fail_msg("%s", f.err);
	}
	loop_free(f.loop);
}

/* ---- the wire ------------------------------------------------------------- */

static int tap_make(const char *name, short flags)
{
	struct ifreq ifr = { .ifr_flags = IFF_TAP | IFF_NO_PI | flags };
	int fd = open("/dev/net/tun", O_RDWR), ret;

	strcpy(ifr.ifr_name, name);
	ret = fd < 0 || ioctl(fd, TUNSETIFF, &ifr) < 0 ||
	      ioctl(fd, TUNSETPERSIST, 1) < 0;
	if (fd >= 0)
		close(fd);
	return ret;
}

/* a raw socket that sees what passes the interface, which is brought up */
static int tap_socket(const char *name)
{
	struct ifreq ifr = { 0 };
	struct sockaddr_ll ll = { .sll_family = AF_PACKET };
	struct timeval tv = { .tv_sec = 2 };
	int fd = socket(AF_PACKET, SOCK_RAW, htons(ETH_P_ALL));

	strcpy(ifr.ifr_name, name);
	if (fd < 0 || ioctl(fd, SIOCGIFFLAGS, &ifr) < 0)
		return -1;
	ifr.ifr_flags |= IFF_UP;
	ll.sll_ifindex = if_nametoindex(name);
	ll.sll_protocol = htons(ETH_P_ALL);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
	if (ioctl(fd, SIOCSIFFLAGS, &ifr) < 0 ||
	    bind(fd, (void *)&ll, sizeof(ll)) < 0)
		return -1;
	return fd;
}

/* UDP from 10.9.9.1 to 10.9.9.2 port 9, of flow number n */
static void make_frame(uint8_t frame[FRAME], unsigned int n)
{
	static const uint8_t start[] = {
		255, 255, 255, 255, 255, 255, 0x52, 0x54, 0, 1, 2, 3, 8, 0,
		0x45, 0, 0, FRAME - 14, 0, 0, 0, 0, 64, 17, 0, 0,
		10, 9, 9, 1, 10, 9, 9, 2, 0, 0, 0, 9, 0, FRAME - 34, 0, 0,
	};

	memset(frame, 0x77, FRAME);
	memcpy(frame, start, sizeof(start));
	frame[34] = 0x80 | n >> 8;
	frame[35] = n;
}

static bool is_ours(const uint8_t *data, size_t len)
{
	return len == FRAME && data[23] == 17 && !memcmp(data + 26, "\x0a\x09\x09\x01", 4);
}

static bool on_receive(void *owner, unsigned int pair, const void *data,
		       size_t len)
{
	struct fixture *f = owner;
	const uint8_t *p = data;

	if (f->full) {
		f->refused++;
		return false;
	}
	if (pair >= PAIRS || len < (size_t)HDR)
		f->bad = true;
	else if (is_ours(p + HDR, len - HDR))
		f->got[pair]++;
	return true;
}

static void *run(void *owner)
{
	loop_run(((struct fixture *)owner)->loop);
	return NULL;
}

/* 0; or why not: 77 if tap devices cannot be made here */
static int start(struct fixture *f, short flags, unsigned int pairs)
{
	*f = (struct fixture){ .lock = PTHREAD_MUTEX_INITIALIZER };
	if (unshare(CLONE_NEWNET) < 0 || tap_make("tap0", flags))
		return 77;
	f->socket = tap_socket("tap0");
	f->loop = loop_new(&f->lock);
	f->net = open_tap(f, "tap0", pairs, false);
	if (f->socket < 0 || !f->net)
		return 1;
	f->net->receive = on_receive;
	f->net->owner = f;
	pthread_create(&f->thread, NULL, run, f);
	return 0;
}

static void stop(struct fixture *f)
{
	loop_stop(f->loop, 0);
	pthread_join(f->thread, NULL);
	f->net->ops->free(f->net);
	loop_free(f->loop);
	close(f->socket);
}

static unsigned int counts(struct fixture *f, unsigned int got[PAIRS])
{
	unsigned int i, n = 0;

	pthread_mutex_lock(&f->lock);
	memcpy(got, f->got, sizeof(f->got));
	pthread_mutex_unlock(&f->lock);
	for (i = 0; i < PAIRS; i++)
		n += got[i];
	return n;
}

static int configure(struct fixture *f, unsigned int pairs, unsigned int offloads)
{
	int ret;

	pthread_mutex_lock(&f->lock);
	memset(f->got, 0, sizeof(f->got));
	ret = f->net->ops->configure(f->net, pairs, offloads);
	pthread_mutex_unlock(&f->lock);
	return ret;
}

/* each test is a child of its own, which says what is wrong by its status */
static void in_child(int (*fn)(void))
{
	int status;
	pid_t pid;

	fflush(NULL);
	pid = fork();
	if (!pid)
		_exit(fn());
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	if (WEXITSTATUS(status) == 77)
		skip();
	assert_int_equal(WEXITSTATUS(status), 0);
}

/* ---- one pair ------------------------------------------------------------- */

static int send_and_receive(void)
{
	struct virtio_net_hdr_mrg_rxbuf hdr = { 0 };
	uint8_t frame[FRAME], got[2048];
	const struct iovec iov[] = { { &hdr, HDR }, { frame, FRAME } };
	unsigned int i, n[PAIRS];
	struct fixture f;
	int ret = start(&f, 0, 1);
	ssize_t len;

	if (ret)
		return ret;
	if (open_tap(&f, "tap0", 1, false) ||
	    !strstr(f.err, "another program has it open"))
		return 2;
	f.full = true;
	make_frame(frame, 1);
	pthread_mutex_lock(&f.lock);
	f.net->ops->send(f.net, 0, iov, 2, HDR + FRAME);
	pthread_mutex_unlock(&f.lock);
	do
		len = recv(f.socket, got, sizeof(got), 0);
	while (len > 0 && !is_ours(got, len));
	if (len != FRAME || memcmp(got, frame, FRAME))
		return 3;
	/*
	 * The other way, to a guest without room at first. Opening the device
	 * gave it a carrier, which Linux notices a little later: send often.
	 */
	for (i = 0; i < 100 && !counts(&f, n); i++) {
		if (send(f.socket, frame, FRAME, 0) != FRAME)
			return 4;
		usleep(20000);
		pthread_mutex_lock(&f.lock);
		f.full = i < 3;
		if (i == 3)
			f.net->ops->resume(f.net, 0);
		pthread_mutex_unlock(&f.lock);
	}
	if (i <= 3 || i == 100 || f.bad)
		return 5;
	stop(&f);
	return 0;
}

static void test_one_pair(void **state)
{
	(void)state;
	in_child(send_and_receive);
}

static int offloads(void)
{
	struct fixture f;
	int ret = start(&f, 0, 1);

	if (ret)
		return ret;
	if (configure(&f, 1, TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN) ||
	    configure(&f, 1, TUN_F_CSUM) || configure(&f, 1, 0))
		return 2;
	/* segments without checksums: not with this kernel */
	if (configure(&f, 1, TUN_F_TSO4) != -EINVAL || configure(&f, 1, 0))
		return 3;
	stop(&f);
	return 0;
}

static void test_offloads(void **state)
{
	(void)state;
	in_child(offloads);
}

/* ---- several -------------------------------------------------------------- */

/* frames of many flows, until some come; how many pairs got any, or -1 */
static int spread(struct fixture *f)
{
	unsigned int i, round, n[PAIRS], used = 0;
	uint8_t frame[FRAME];

	for (round = 0; round < 100 && !counts(f, n); round++) {
		for (i = 0; i < 64; i++) {
			make_frame(frame, i);
			if (send(f->socket, frame, FRAME, 0) != FRAME)
				return -1;
		}
		usleep(20000);
	}
	counts(f, n);
	for (i = 0; i < PAIRS; i++) {
		/* from 0 on, without gaps */
		if (n[i] && used != i)
			return -1;
		used += n[i] > 0;
	}
	return f->bad ? -1 : (int)used;
}

static int queues(void)
{
	struct fixture f;
	int ret = start(&f, IFF_MULTI_QUEUE, PAIRS);

	if (ret)
		return ret;
	if (f.net->pairs != PAIRS || !f.net->has_header)
		return 2;
	if (spread(&f) != 1)
		return 3;
	if (configure(&f, PAIRS, 0) || spread(&f) != PAIRS)
		return 4;
	if (configure(&f, 2, TUN_F_CSUM) || spread(&f) != 2)
		return 5;
	/* refused: nothing changed, the pairs neither */
	if (configure(&f, 3, 0x8000) != -EINVAL || spread(&f) != 2)
		return 6;
	if (configure(&f, 1, 0) || spread(&f) != 1)
		return 7;
	/* a descriptor without a queue is not "ready" all the time */
	if (f.refused)
		return 8;
	stop(&f);
	return 0;
}

static void test_queues(void **state)
{
	(void)state;
	in_child(queues);
}

/* what the device was made for, and what is wanted of it */
static int fits(void)
{
	struct fixture f = { .lock = PTHREAD_MUTEX_INITIALIZER };
	struct net *net;

	if (unshare(CLONE_NEWNET) < 0 || tap_make("one", 0) ||
	    tap_make("many", IFF_MULTI_QUEUE))
		return 77;
	f.loop = loop_new(&f.lock);
	if (open_tap(&f, "one", 2, false) || !strstr(f.err, "multi_queue"))
		return 2;
	net = open_tap(&f, "one", 2, true);
	if (!net || net->pairs != 1)
		return 3;
	net->ops->free(net);
	net = open_tap(&f, "many", 1, false);
	if (!net || net->pairs != 1)
		return 4;
	net->ops->free(net);
	net = open_tap(&f, "many", PAIRS, true);
	if (!net || net->pairs != PAIRS)
		return 5;
	net->ops->free(net);
	loop_free(f.loop);
	return 0;
}

static void test_fits(void **state)
{
	(void)state;
	in_child(fits);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_one_pair),
		cmocka_unit_test(test_offloads),
		cmocka_unit_test(test_queues),
		cmocka_unit_test(test_fits),
	};

	return cmocka_run_group_tests_name("net_tap", tests, NULL, NULL);
}
