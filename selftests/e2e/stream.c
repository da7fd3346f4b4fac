// SPDX-License-Identifier: GPL-2.0
/*
 * One end of numbered UDP packets, and of a TCP connection whose bytes are known, in
 * both directions; the other end is the same program.
 *
 *     stream OWN PEER PORT MS none|listen|connect
 *
 * Every MS milliseconds it sends a packet from its own address to the peer's, and some
 * bytes; if MS is 0 it only listens. It keeps a tally of what it hears. A line on
 * standard input makes it print that, and what the other end has told of its own, and
 * begin both anew. It ends with a line that begins with BAD if a byte is wrong or the
 * connection breaks. Times are in ns, of CLOCK_MONOTONIC.
 */
#define _GNU_SOURCE 1		/* accept4 */
#include <arpa/inet.h>
#include <err.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#define MAGIC		0x706f6c6c61727473ULL
#define TICK_BYTES	512		/* that TCP is given each time */

struct tally {
	uint64_t round;			/* it is the so many-th */
	uint64_t packets, first, last;	/* how many, and their numbers */
	uint64_t lost, old;		/* numbers left out; not above the one before */
	uint64_t gap;			/* the longest time without one */
	uint64_t skew;			/* the most that the sender's clock was off, since the first */
	uint64_t tcp, stall;		/* bytes since the beginning; as gap */
};

struct packet {
	uint64_t magic, number, time;
	uint64_t round;			/* tallies have come to this one */
	struct tally heard;		/* by the sender */
};

static struct sockaddr_in own, peer;
static int udp, tcp = -1, listener = -1;
static uint64_t number, sent;
static struct tally mine, theirs;
static uint64_t first_time, first_here;	/* of the first packet, there and here */
static uint64_t last_udp, last_tcp;

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ull + t.tv_nsec;
}

static void __attribute__((noreturn, format(printf, 1, 2))) bad(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	printf("BAD ");
	vprintf(format, args);
	printf("\n");
	va_end(args);
	exit(1);
}

static void longest(uint64_t *most, uint64_t ns)
{
	if (ns > *most)
		*most = ns;
}

static void begin(uint64_t round)
{
	mine = (struct tally){ .round = round, .tcp = mine.tcp };
	last_udp = last_tcp = now_ns();
}

/* ---- UDP --------------------------------------------------------------------- */

static void udp_send(void)
{
	struct packet p = {
		.magic = MAGIC, .number = ++number, .time = now_ns(),
		.round = mine.round, .heard = mine,
	};

	/* where nobody listens yet, or any more, there is an error to be read */
	if (sendto(udp, &p, sizeof(p), MSG_DONTWAIT, (void *)&peer, sizeof(peer)) < 0 &&
	    errno != EAGAIN && errno != ECONNREFUSED && errno != EHOSTUNREACH &&
	    errno != ENOBUFS)
		bad("udp: %s", strerror(errno));
}

static void udp_count(const struct packet *p, uint64_t now)
{
	int64_t off;

	longest(&mine.gap, now - last_udp);
	last_udp = now;
	if (!mine.packets++) {
		mine.first = mine.last = p->number;
		first_time = p->time;
		first_here = now;
		return;
	}
	if (p->number <= mine.last) {
		mine.old++;
		return;
	}
	mine.lost += p->number - mine.last - 1;
	mine.last = p->number;
	off = (p->time - first_time) - (now - first_here);
	longest(&mine.skew, off < 0 ? -off : off);
}

static void udp_receive(void)
{
	struct packet p;

	while (recv(udp, &p, sizeof(p), MSG_DONTWAIT) == sizeof(p)) {
		if (p.magic != MAGIC)
			bad("udp: a packet that is none of ours");
		if (p.round > mine.round)
			begin(p.round);
		udp_count(&p, now_ns());
		theirs = p.heard;
	}
}

/* ---- TCP --------------------------------------------------------------------- */

static uint8_t byte_at(uint64_t at)
{
	return (at + 1) * 0x9e3779b97f4a7c15ull >> 56;
}

static void tcp_begin(int fd)
{
	int one = 1;

	tcp = fd;
	setsockopt(tcp, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	last_tcp = now_ns();
}

static void tcp_open(const char *how)
{
	int one = 1, fd;

	if (!strcmp(how, "none"))
		return;
	fd = socket(AF_INET, SOCK_STREAM, 0);
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (!strcmp(how, "connect")) {
		if (connect(fd, (void *)&peer, sizeof(peer)))
			bad("tcp: connect: %s", strerror(errno));
		tcp_begin(fd);
		return;
	}
	if (bind(fd, (void *)&own, sizeof(own)) || listen(fd, 1))
		err(1, "listen");
	listener = fd;
}

static void tcp_accept(void)
{
	int fd = accept4(listener, NULL, NULL, 0);

	if (fd < 0)
		bad("tcp: accept: %s", strerror(errno));
	close(listener);
	listener = -1;
	tcp_begin(fd);
}

static void tcp_send(void)
{
	uint8_t buf[TICK_BYTES];
	ssize_t n;
	int i;

	for (i = 0; i < TICK_BYTES; i++)
		buf[i] = byte_at(sent + i);
	n = send(tcp, buf, sizeof(buf), MSG_DONTWAIT | MSG_NOSIGNAL);
	if (n < 0 && errno != EAGAIN)
		bad("tcp: send: %s", strerror(errno));
	sent += n < 0 ? 0 : n;
}

static void tcp_receive(void)
{
	uint8_t buf[4096];
	uint64_t now;
	ssize_t n = recv(tcp, buf, sizeof(buf), MSG_DONTWAIT), i;

	if (n < 0 && errno == EAGAIN)
		return;
	if (n <= 0)
		bad("tcp: %s", n ? strerror(errno) : "the other end has closed it");
	for (i = 0; i < n; i++)
		if (buf[i] != byte_at(mine.tcp + i))
			bad("tcp: byte %llu is wrong", (unsigned long long)mine.tcp + i);
	now = now_ns();
	longest(&mine.stall, now - last_tcp);
	last_tcp = now;
	mine.tcp += n;
}

/* ------------------------------------------------------------------------------ */

static void print(const char *whose, const struct tally *t)
{
	printf("%s round=%llu packets=%llu first=%llu last=%llu lost=%llu old=%llu gap=%llu skew=%llu tcp=%llu stall=%llu\n",
	       whose, (unsigned long long)t->round, (unsigned long long)t->packets,
	       (unsigned long long)t->first, (unsigned long long)t->last,
	       (unsigned long long)t->lost, (unsigned long long)t->old,
	       (unsigned long long)t->gap, (unsigned long long)t->skew,
	       (unsigned long long)t->tcp, (unsigned long long)t->stall);
}

static void tell(void)
{
	uint64_t now = now_ns();
	char line[64];

	if (!fgets(line, sizeof(line), stdin))
		exit(0);
	longest(&mine.gap, now - last_udp);
	if (tcp >= 0)
		longest(&mine.stall, now - last_tcp);
	print("mine", &mine);
	print("theirs", &theirs);
	begin(mine.round + 1);
}

static void tick(int timer)
{
	uint64_t times;

	/* what it missed while it stood still it does not make up for */
	if (read(timer, &times, sizeof(times)) != sizeof(times))
		return;
	udp_send();
	if (tcp >= 0)
		tcp_send();
}

int main(int argc, char **argv)
{
	struct itimerspec every = { 0 };
	struct pollfd p[5];
	int timer;

	if (argc != 6)
		errx(2, "usage: stream OWN PEER PORT MS none|listen|connect");
	setvbuf(stdin, NULL, _IONBF, 0);	/* what poll() says is not to be in a buffer */
	setvbuf(stdout, NULL, _IOLBF, 0);
	own = peer = (struct sockaddr_in){
		.sin_family = AF_INET, .sin_port = htons(atoi(argv[3])),
	};
	inet_pton(AF_INET, argv[1], &own.sin_addr);
	inet_pton(AF_INET, argv[2], &peer.sin_addr);
	udp = socket(AF_INET, SOCK_DGRAM, 0);
	if (bind(udp, (void *)&own, sizeof(own)))
		err(1, "bind %s", argv[1]);
	tcp_open(argv[5]);
	every.it_value.tv_nsec = every.it_interval.tv_nsec = atoi(argv[4]) * 1000000;
	timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
	timerfd_settime(timer, 0, &every, NULL);
	begin(0);
	puts("streams");
	for (;;) {
		p[0] = (struct pollfd){ 0, POLLIN, 0 };
		p[1] = (struct pollfd){ udp, POLLIN, 0 };
		p[2] = (struct pollfd){ timer, POLLIN, 0 };
		p[3] = (struct pollfd){ tcp, POLLIN, 0 };
		p[4] = (struct pollfd){ listener, POLLIN, 0 };
		if (poll(p, 5, -1) < 0)
			err(1, "poll");
		if (p[1].revents)
			udp_receive();
		if (p[2].revents)
			tick(timer);
		if (p[3].revents)
			tcp_receive();
		if (p[4].revents)
			tcp_accept();
		if (p[0].revents)
			tell();
	}
}
