// SPDX-License-Identifier: GPL-2.0
/*
 * User networking through net.h: a guest of a few frames asks for its address,
 * connects to the host, and is connected to.
 */
#define _GNU_SOURCE 1
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <net/ethernet.h>
#include <netinet/ip.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "loop.h"
#include "net/net.h"

#define GUEST	0x0a00020fU
#define HOST	0x0a000202U
#define DNS	0x0a000203U
#define FRAMES	512

struct frame {
	size_t len;
	uint8_t pad[2];		/* aligns what follows the Ethernet header */
	uint8_t data[2046];
};

struct fixture {
	pthread_mutex_t lock;
	pthread_t thread;
	struct loop *loop;
	struct net *net;
	char err[256];
	/* what came to the guest, and how much of it was looked at */
	struct frame *frame;
	unsigned int count, seen;
	bool full;		/* the guest has no buffers */
	uint8_t gw_mac[6];
};

static const uint8_t mac[6] = { 0x52, 0x54, 0x00, 0x12, 0x34, 0x56 };

static bool on_receive(void *owner, unsigned int pair, const void *data,
		       size_t len)
{
	struct fixture *f = owner;

	if (f->full || f->count == FRAMES || len > sizeof(f->frame[0].data))
		return false;
	f->frame[f->count].len = len;
	memcpy(f->frame[f->count].data, data, len);
	f->count++;
	return true;
}

static void *run(void *arg)
{
	loop_run(((struct fixture *)arg)->loop);
	return NULL;
}

static struct fixture *start(const struct net_forward *fwd, unsigned int n)
{
	struct fixture *f = calloc(1, sizeof(*f));

	f->frame = calloc(FRAMES, sizeof(*f->frame));
	pthread_mutex_init(&f->lock, NULL);
	f->loop = loop_new(&f->lock);
	f->net = net_user_new(f->loop, fwd, n, f->err, sizeof(f->err));
	if (!f->net)
		return f;
	f->net->receive = on_receive;
	f->net->owner = f;
	pthread_create(&f->thread, NULL, run, f);
	return f;
}

static void stop(struct fixture *f)
{
	if (f->net) {
		loop_stop(f->loop, 0);
		pthread_join(f->thread, NULL);
		f->net->ops->free(f->net);
	}
	loop_free(f->loop);
	free(f->frame);
	free(f);
}

static void send_frame(struct fixture *f, const void *data, size_t len)
{
	/* in two pieces, as a driver may */
	struct iovec iov[2] = {
		{ (void *)data, 10 },
		{ (uint8_t *)data + 10, len - 10 },
	};

	pthread_mutex_lock(&f->lock);
	f->net->ops->send(f->net, 0, iov, 2, len);
	pthread_mutex_unlock(&f->lock);
}

/* the next frame of this kind, or NULL after two seconds */
static struct frame *await(struct fixture *f, bool (*want)(const struct frame *))
{
	struct frame *found = NULL;
	unsigned int i;

	for (i = 0; i < 20000 && !found; i++) {
		pthread_mutex_lock(&f->lock);
		while (f->seen < f->count && !found) {
			if (want(&f->frame[f->seen]))
				found = &f->frame[f->seen];
			f->seen++;
		}
		pthread_mutex_unlock(&f->lock);
		if (!found)
			usleep(100);
	}
	return found;
}

/* ---- frames --------------------------------------------------------------- */

static uint32_t sum16(const void *data, size_t len, uint32_t sum)
{
	const uint8_t *p = data;
	size_t i;

	for (i = 0; i < len; i++)
		sum += i % 2 ? p[i] : p[i] << 8;
	return sum;
}

static uint16_t fold(uint32_t sum)
{
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return htons(~sum);
}

struct __attribute__((packed)) arp {
	struct ether_header eth;
	uint16_t htype, ptype;
	uint8_t hlen, plen;
	uint16_t op;
	uint8_t sha[6];
	uint32_t spa;
	uint8_t tha[6];
	uint32_t tpa;
};

static void send_arp(struct fixture *f, uint16_t op, const uint8_t *to,
		     uint32_t ip)
{
	struct arp a = {
		.eth.ether_type = htons(ETHERTYPE_ARP),
		.htype = htons(1), .ptype = htons(0x800), .hlen = 6, .plen = 4,
		.op = htons(op), .spa = htonl(GUEST), .tpa = htonl(ip),
	};
	uint8_t frame[60] = { 0 };

	memcpy(a.eth.ether_dhost, to, 6);
	memcpy(a.eth.ether_shost, mac, 6);
	memcpy(a.sha, mac, 6);
	memcpy(frame, &a, sizeof(a));
	send_frame(f, frame, sizeof(frame));
}

static bool is_arp(const struct frame *fr, uint16_t op)
{
	const struct arp *a = (const void *)fr->data;

	return fr->len >= sizeof(*a) &&
	       a->eth.ether_type == htons(ETHERTYPE_ARP) && a->op == htons(op);
}

static bool is_arp_reply(const struct frame *fr)
{
	return is_arp(fr, 2);
}

static void resolve(struct fixture *f)
{
	static const uint8_t all[6] = { 255, 255, 255, 255, 255, 255 };
	struct frame *fr;

	send_arp(f, 1, all, HOST);
	fr = await(f, is_arp_reply);
	assert_non_null(fr);
	assert_int_equal(((struct arp *)fr->data)->spa, htonl(HOST));
	memcpy(f->gw_mac, ((struct arp *)fr->data)->sha, 6);
}

/* an IP packet around a payload; returns the frame's length */
static size_t wrap(struct fixture *f, uint8_t *frame, uint8_t proto,
		   uint32_t from, uint32_t to, const void *payload, size_t len)
{
	struct ether_header *eth = (void *)frame;
	struct iphdr ip = {
		.version = 4, .ihl = 5, .ttl = 64, .protocol = proto,
		.tot_len = htons(20 + len),
		.saddr = htonl(from), .daddr = htonl(to),
	};

	memcpy(eth->ether_dhost, f->gw_mac, 6);
	if (to == 0xffffffff)
		memset(eth->ether_dhost, 0xff, 6);
	memcpy(eth->ether_shost, mac, 6);
	eth->ether_type = htons(ETHERTYPE_IP);
	ip.check = fold(sum16(&ip, 20, 0));
	memcpy(frame + 14, &ip, 20);
	memcpy(frame + 34, payload, len);
	return 34 + len;
}

/* ---- DHCP ----------------------------------------------------------------- */

struct __attribute__((packed)) dhcp {
	struct udphdr udp;
	uint8_t op, htype, hlen, hops;
	uint32_t xid;
	uint16_t secs, flags;
	uint32_t ciaddr, yiaddr, siaddr, giaddr;
	uint8_t chaddr[16], sname[64], file[128];
	uint32_t cookie;
	uint8_t options[64];
};

static bool is_dhcp(const struct frame *fr)
{
	return fr->len >= 34 + offsetof(struct dhcp, options) &&
	       fr->data[12] == 8 && fr->data[23] == IPPROTO_UDP &&
	       fr->data[37] == 68;
}

static const uint8_t *option(const struct frame *fr, uint8_t code)
{
	const uint8_t *p = fr->data + 34 + offsetof(struct dhcp, options);

	while (p < fr->data + fr->len - 2 && *p != 255) {
		if (*p == code)
			return p + 2;
		p += *p ? 2 + p[1] : 1;
	}
	return NULL;
}

static struct frame *ask_dhcp(struct fixture *f, uint8_t type)
{
	struct dhcp d = {
		.udp = { .source = htons(68), .dest = htons(67),
			 .len = htons(sizeof(d)) },
		.op = 1, .htype = 1, .hlen = 6, .xid = 0x1234,
		.cookie = htonl(0x63825363),
		.options = { 53, 1, type, 255 },
	};
	uint8_t frame[34 + sizeof(d)];

	if (type == 3)
		memcpy(d.options + 3, "\x32\x04\x0a\x00\x02\x0f\xff", 7);
	memcpy(d.chaddr, mac, 6);
	send_frame(f, frame, wrap(f, frame, IPPROTO_UDP, 0, 0xffffffff, &d,
				  sizeof(d)));
	return await(f, is_dhcp);
}

static void test_dhcp(void **state)
{
	struct fixture *f = start(NULL, 0);
	const struct dhcp *d;
	const uint8_t *opt;
	struct frame *fr;

	(void)state;
	assert_non_null(f->net);
	fr = ask_dhcp(f, 1);
	assert_non_null(fr);
	d = (void *)(fr->data + 34);
	assert_int_equal(d->yiaddr, htonl(GUEST));
	assert_int_equal(*option(fr, 53), 2);			/* offer */
	fr = ask_dhcp(f, 3);
	assert_non_null(fr);
	assert_int_equal(*option(fr, 53), 5);			/* ack */
	opt = option(fr, 3);
	assert_memory_equal(opt, "\x0a\x00\x02\x02", 4);	/* router */
	opt = option(fr, 6);
	assert_memory_equal(opt, "\x0a\x00\x02\x03", 4);	/* DNS */
	opt = option(fr, 1);
	assert_memory_equal(opt, "\xff\xff\xff\x00", 4);
	stop(f);
}

static void test_arp(void **state)
{
	struct fixture *f = start(NULL, 0);
	static const uint8_t all[6] = { 255, 255, 255, 255, 255, 255 };

	(void)state;
	resolve(f);
	send_arp(f, 1, all, DNS);
	assert_non_null(await(f, is_arp_reply));
	stop(f);
}

/* ---- TCP ------------------------------------------------------------------ */

struct tcp {
	uint16_t port, peer_port;
	uint32_t peer;			/* address */
	uint32_t seq, ack;
};

static void send_tcp(struct fixture *f, struct tcp *t, uint8_t flags,
		     const void *data, size_t len)
{
	struct tcphdr h = {
		.source = htons(t->port), .dest = htons(t->peer_port),
		.seq = htonl(t->seq), .ack_seq = htonl(t->ack),
		.doff = 5, .window = htons(32000),
	};
	uint8_t segment[1500], frame[1514];
	uint32_t sum = (GUEST >> 16) + (GUEST & 0xffff) + (t->peer >> 16) +
		(t->peer & 0xffff) + IPPROTO_TCP + 20 + len;

	((uint8_t *)&h)[13] = flags;
	memcpy(segment, &h, 20);
	memcpy(segment + 20, data, len);
	h.check = fold(sum16(segment, 20 + len, sum));
	memcpy(segment, &h, 20);
	send_frame(f, frame, wrap(f, frame, IPPROTO_TCP, GUEST, t->peer, segment,
				  20 + len));
	t->seq += len + !!(flags & (TH_SYN | TH_FIN));
}

static bool is_tcp(const struct frame *fr)
{
	return fr->len >= 54 && fr->data[12] == 8 && fr->data[13] == 0 &&
	       fr->data[23] == IPPROTO_TCP;
}

static const struct tcphdr *tcp_of(const struct frame *fr)
{
	return (const void *)(fr->data + 34);
}

static size_t payload_len(const struct frame *fr)
{
	uint16_t total = fr->data[16] << 8 | fr->data[17];

	return total - 20 - tcp_of(fr)->doff * 4;
}

/* the next segment, acknowledged in t; NULL: none */
static struct frame *await_tcp(struct fixture *f, struct tcp *t)
{
	struct frame *fr = await(f, is_tcp);

	if (fr) {
		const struct tcphdr *h = tcp_of(fr);

		t->ack = ntohl(h->seq) + payload_len(fr) + h->syn + h->fin;
		t->peer_port = ntohs(h->source);
	}
	return fr;
}

static const uint8_t *await_data(struct fixture *f, struct tcp *t, size_t *len)
{
	struct frame *fr;

	while ((fr = await_tcp(f, t))) {
		*len = payload_len(fr);
		if (*len)
			return fr->data + 34 + tcp_of(fr)->doff * 4;
	}
	return NULL;
}

static int local_socket(struct sockaddr_in *sin, bool listening)
{
	socklen_t len = sizeof(*sin);
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	*sin = (struct sockaddr_in){
		.sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	assert_int_equal(bind(fd, (void *)sin, len), 0);
	if (listening)
		assert_int_equal(listen(fd, 1), 0);
	assert_int_equal(getsockname(fd, (void *)sin, &len), 0);
	return fd;
}

/* the guest connects to a server of the host, through 10.0.2.2 */
static void test_outgoing(void **state)
{
	struct fixture *f = start(NULL, 0);
	struct tcp t = { .port = 40000, .peer = HOST, .seq = 1000 };
	struct sockaddr_in sin;
	const uint8_t *data;
	int server, fd;
	char buf[64];
	size_t len;

	(void)state;
	server = local_socket(&sin, true);
	t.peer_port = ntohs(sin.sin_port);
	resolve(f);
	send_tcp(f, &t, TH_SYN, "", 0);
	assert_non_null(await_tcp(f, &t));
	send_tcp(f, &t, TH_ACK, "", 0);
	send_tcp(f, &t, TH_ACK | TH_PUSH, "hello", 5);
	fd = accept(server, NULL, NULL);
	assert_int_equal(recv(fd, buf, 5, MSG_WAITALL), 5);
	assert_memory_equal(buf, "hello", 5);
	assert_int_equal(write(fd, "world", 5), 5);
	data = await_data(f, &t, &len);
	assert_non_null(data);
	assert_memory_equal(data, "world", 5);
	/* end of file goes both ways */
	send_tcp(f, &t, TH_ACK | TH_FIN, "", 0);
	assert_int_equal(read(fd, buf, 1), 0);
	close(fd);
	close(server);
	stop(f);
}

/* --forward: the host connects to a server of the guest */
static void test_forward(void **state)
{
	struct net_forward fwd = { .guest_port = 22 };
	struct tcp t = { .port = 22, .seq = 5000 };
	struct sockaddr_in sin;
	struct fixture *f;
	struct frame *fr;
	const uint8_t *data;
	int fd, reserve;
	char buf[16];
	size_t len;

	(void)state;
	reserve = local_socket(&sin, false);
	fwd.host_port = ntohs(sin.sin_port);
	close(reserve);
	f = start(&fwd, 1);
	assert_non_null(f->net);
	resolve(f);
	fd = socket(AF_INET, SOCK_STREAM, 0);
	assert_int_equal(connect(fd, (void *)&sin, sizeof(sin)), 0);
	assert_int_equal(write(fd, "knock", 5), 5);
	/* it may ask where the guest is */
	fr = await_tcp(f, &t);
	assert_non_null(fr);
	assert_true(tcp_of(fr)->syn);
	assert_int_equal(ntohs(tcp_of(fr)->dest), 22);
	memcpy(&t.peer, fr->data + 26, 4);
	t.peer = ntohl(t.peer);
	send_tcp(f, &t, TH_SYN | TH_ACK, "", 0);
	data = await_data(f, &t, &len);
	assert_non_null(data);
	assert_memory_equal(data, "knock", 5);
	send_tcp(f, &t, TH_ACK | TH_PUSH, "come in", 7);
	assert_int_equal(recv(fd, buf, 7, MSG_WAITALL), 7);
	assert_memory_equal(buf, "come in", 7);
	close(fd);
	stop(f);
}

static void test_port_bound(void **state)
{
	struct net_forward fwd = { .guest_port = 22 };
	struct sockaddr_in sin;
	struct fixture *f;
	char port[16];
	int fd;

	(void)state;
	fd = local_socket(&sin, true);
	fwd.host_port = ntohs(sin.sin_port);
	snprintf(port, sizeof(port), ":%u ", fwd.host_port);
	f = start(&fwd, 1);
	assert_null(f->net);
	assert_non_null(strstr(f->err, port));
	assert_non_null(strstr(f->err, "already bound"));
	assert_null(strchr(f->err, '\n'));
	stop(f);
	/* and only on the loopback address */
	close(fd);
	f = start(&fwd, 1);
	assert_non_null(f->net);
	stop(f);
}

/* a guest without buffers: frames wait, within bounds, and come in order */
static void test_backlog(void **state)
{
	struct fixture *f = start(NULL, 0);
	struct tcp t = { .port = 40001, .peer = HOST, .seq = 1000 };
	static uint8_t data[40000];
	struct sockaddr_in sin;
	uint32_t next;
	unsigned int i;
	int server, fd;
	size_t got = 0;

	(void)state;
	server = local_socket(&sin, true);
	t.peer_port = ntohs(sin.sin_port);
	resolve(f);
	send_tcp(f, &t, TH_SYN, "", 0);
	assert_non_null(await_tcp(f, &t));
	send_tcp(f, &t, TH_ACK, "", 0);
	fd = accept(server, NULL, NULL);
	pthread_mutex_lock(&f->lock);
	f->full = true;
	pthread_mutex_unlock(&f->lock);
	next = t.ack;
	for (i = 0; i < sizeof(data); i++)
		data[i] = i / 100;
	assert_int_equal(write(fd, data, sizeof(data)), sizeof(data));
	usleep(100000);
	pthread_mutex_lock(&f->lock);
	f->full = false;
	f->net->ops->resume(f->net, 0);
	pthread_mutex_unlock(&f->lock);
	while (got < 20000) {
		struct frame *fr = await_tcp(f, &t);

		assert_non_null(fr);
		if (!payload_len(fr))
			continue;
		assert_int_equal(ntohl(tcp_of(fr)->seq), next + got);
		assert_memory_equal(fr->data + 34 + tcp_of(fr)->doff * 4,
				    data + got, payload_len(fr));
		got += payload_len(fr);
		send_tcp(f, &t, TH_ACK, "", 0);
	}
	close(fd);
	close(server);
	stop(f);
}

/* frames of all lengths and contents */
static void test_random_frames(void **state)
{
	struct fixture *f = start(NULL, 0);
	uint64_t seed = 0x2545f4914f6cdd1dULL;
	static uint8_t frame[65550];
	unsigned int i, j;
	size_t len;

	(void)state;
	resolve(f);
	for (i = 0; i < 3000; i++) {
		seed ^= seed << 13;
		seed ^= seed >> 7;
		seed ^= seed << 17;
		len = 14 + (seed >> 20) % (i % 50 ? 1600 : 65536);
		for (j = 0; j < len && j < 200; j++)
			frame[j] = seed >> (j % 57);
		memcpy(frame, f->gw_mac, 6);
		memcpy(frame + 6, mac, 6);
		frame[12] = 8;
		frame[13] = i % 3 ? 0 : 6;
		if (i % 2) {
			frame[14] = 0x45;
			/* nobody else's network */
			memcpy(frame + 26, "\x0a\x00\x02\x0f\x0a\x00\x02\x02", 8);
		} else {
			memcpy(frame + 30, "\x0a\x00\x02\x02", 4);
		}
		send_frame(f, frame, len);
		pthread_mutex_lock(&f->lock);
		f->count = f->seen = 0;
		pthread_mutex_unlock(&f->lock);
	}
	resolve(f);
	stop(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_arp),
		cmocka_unit_test(test_dhcp),
		cmocka_unit_test(test_outgoing),
		cmocka_unit_test(test_forward),
		cmocka_unit_test(test_port_bound),
		cmocka_unit_test(test_backlog),
		cmocka_unit_test(test_random_frames),
	};

	return cmocka_run_group_tests_name("net_user", tests, NULL, NULL);
}
