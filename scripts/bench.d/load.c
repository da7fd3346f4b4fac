// SPDX-License-Identifier: GPL-2.0
/*
 * The loads of scripts/bench, linked statically: the same program runs in the
 * guests and in the host. Each prints "ticks N idle M": what the TSC says that
 * it took, and how much of that this machine was idle.
 */
#define _GNU_SOURCE 1		/* O_DIRECT */
#include <arpa/inet.h>
#include <err.h>
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define DEPTH_MAX	64

static unsigned long long rdtsc(void)
{
	return __builtin_ia32_rdtsc();
}

/* Nanoseconds that this machine had nothing to do; /proc/stat has steps of 10 ms. */
static unsigned long long idle(void)
{
	unsigned long long sum = 0, ns;
	char line[256];
	FILE *f = fopen("/proc/timer_list", "r");

	if (!f)
		err(1, "/proc/timer_list");
	while (fgets(line, sizeof(line), f))
		if (sscanf(line, " .idle_sleeptime : %llu", &ns) == 1 ||
		    sscanf(line, " .iowait_sleeptime: %llu", &ns) == 1)
			sum += ns;
	fclose(f);
	return sum;
}

static unsigned long long start, idle_start;

static void begin(void)
{
	idle_start = idle();
	start = rdtsc();
}

static void finish(void)
{
	unsigned long long end = rdtsc();

	printf("ticks %llu idle %llu\n", end - start, idle() - idle_start);
}

/* ---- compute ROUNDS ---------------------------------------------------------- */

static void compute(char **arg)
{
	static uint32_t table[1 << 16];		/* 256 KiB: more than a page or two */
	unsigned long rounds = strtoul(arg[0], NULL, 0), i;
	uint32_t x = 1;

	for (i = 0; i < rounds; i++) {
		x = x * 1664525 + 1013904223;
		table[x >> 16] += x;
	}
	if (!table[x >> 16])
		puts("(a sum is 0)");
}

/* ---- read FILE random|sequential SIZE DEPTH COUNT ------------------------------ */

struct reader {
	int fd, random;
	size_t size;
	unsigned long long end, next;
	uint32_t seed;
};

/* within the file's first 256 MiB, which the disk image has written to */
static unsigned long long reader_next(struct reader *r)
{
	unsigned long long at = r->next;

	if (r->random) {
		r->seed = r->seed * 1664525 + 1013904223;
		return (r->seed >> 8) % (r->end / r->size) * r->size;
	}
	r->next = (at + r->size) % r->end;
	return at;
}

static void submit(aio_context_t ctx, struct reader *r, struct iocb **cb,
		   long n)
{
	long i;

	for (i = 0; i < n; i++)
		cb[i]->aio_offset = reader_next(r);
	if (syscall(SYS_io_submit, ctx, n, cb) != n)
		err(1, "io_submit");
}

static void read_deep(struct reader *r, unsigned int depth, unsigned long count)
{
	struct iocb cb[DEPTH_MAX] = { 0 }, *again[DEPTH_MAX];
	struct io_event done[DEPTH_MAX];
	unsigned long submitted = depth, finished;
	aio_context_t ctx = 0;
	unsigned int i;
	long n, more;

	if (syscall(SYS_io_setup, depth, &ctx))
		err(1, "io_setup");
	for (i = 0; i < depth; i++) {
		cb[i].aio_lio_opcode = IOCB_CMD_PREAD;
		cb[i].aio_fildes = r->fd;
		cb[i].aio_buf = (uintptr_t)aligned_alloc(4096, r->size);
		cb[i].aio_nbytes = r->size;
		again[i] = &cb[i];
	}
	submit(ctx, r, again, depth);
	for (finished = 0; finished < count; finished += n) {
		n = syscall(SYS_io_getevents, ctx, 1, depth, done, NULL);
		if (n < 1)
			err(1, "io_getevents");
		for (i = 0; i < n; i++) {
			if (done[i].res != (long long)r->size)
				errx(1, "read: %lld", (long long)done[i].res);
			again[i] = (struct iocb *)(uintptr_t)done[i].obj;
		}
		more = submitted + n > count ? (long)(count - submitted) : n;
		submitted += more;
		if (more)
			submit(ctx, r, again, more);
	}
}

static void read_disk(char **arg)
{
	struct reader r = {
		.fd = open(arg[0], O_RDONLY | O_DIRECT),
		.random = !strcmp(arg[1], "random"),
		.size = strtoul(arg[2], NULL, 0),
		.end = 256 << 20,
		.seed = 1,
	};
	unsigned int depth = strtoul(arg[3], NULL, 0);
	unsigned long count = strtoul(arg[4], NULL, 0), i;
	void *buf = aligned_alloc(4096, r.size);

	if (r.fd < 0 || depth > DEPTH_MAX || count < depth)
		err(1, "%s", arg[0]);
	begin();
	if (depth > 1) {
		read_deep(&r, depth, count);
		return;
	}
	for (i = 0; i < count; i++)
		if (pread(r.fd, buf, r.size, reader_next(&r)) !=
		    (ssize_t)r.size)
			err(1, "pread");
}

/* ---- serve PORT; send|ping ADDRESS PORT COUNT ---------------------------------- */

/* Takes 'b' and reads to the end, or 'r' and sends each byte back. */
static void serve(char **arg)
{
	struct sockaddr_in at = { .sin_family = AF_INET, .sin_port = htons(atoi(arg[0])) };
	int one = 1, s = socket(AF_INET, SOCK_STREAM, 0), fd;
	static char buf[1 << 17];
	ssize_t n;

	setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(s, (struct sockaddr *)&at, sizeof(at)) || listen(s, 1))
		err(1, "port %s", arg[0]);
	while ((fd = accept(s, NULL, NULL)) >= 0) {
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
		if (read(fd, buf, 1) == 1 && buf[0] == 'r') {
			while ((n = read(fd, buf, 1)) == 1)
				if (write(fd, buf, 1) != 1)
					err(1, "write");
		} else {
			while (read(fd, buf, sizeof(buf)) > 0)
				;
			/* the other side waits until all has been read */
			if (write(fd, buf, 1) != 1)
				err(1, "write");
		}
		close(fd);
	}
}

static int dial(char **arg, char kind)
{
	struct sockaddr_in at = { .sin_family = AF_INET, .sin_port = htons(atoi(arg[1])) };
	int one = 1, s = socket(AF_INET, SOCK_STREAM, 0);

	inet_pton(AF_INET, arg[0], &at.sin_addr);
	setsockopt(s, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if (connect(s, (struct sockaddr *)&at, sizeof(at)) || write(s, &kind, 1) != 1)
		err(1, "%s port %s", arg[0], arg[1]);
	return s;
}

static void send_bulk(char **arg)
{
	static char buf[1 << 17];
	unsigned long left = strtoul(arg[2], NULL, 0);
	int s = dial(arg, 'b');
	ssize_t n;

	for (begin(); left; left -= n) {
		n = write(s, buf, left < sizeof(buf) ? left : sizeof(buf));
		if (n <= 0)
			err(1, "write");
	}
	shutdown(s, SHUT_WR);
	if (read(s, buf, 1) != 1)
		err(1, "read");
}

static void ping(char **arg)
{
	unsigned long left = strtoul(arg[2], NULL, 0);
	int s = dial(arg, 'r');
	char c = 0;

	for (begin(); left; left--)
		if (write(s, &c, 1) != 1 || read(s, &c, 1) != 1)
			err(1, "ping");
}

/* ---- memory MIB ------------------------------------------------------------------- */

#define PAGE		4096ul
#define TICK_MS		10	/* that a guest which writes all the time sleeps in between */

static unsigned long long now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ull + t.tv_nsec;
}

/* Nothing that could be packed. */
static void fill(uint64_t *at, unsigned long bytes)
{
	uint64_t x = 88172645463325252ull;
	unsigned long i;

	for (i = 0; i < bytes / sizeof(*at); i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		at[i] = x;
	}
}

/* One page after the other, so that none is written twice before all are. */
static void touch(uint8_t *memory, unsigned long bytes, unsigned long pages)
{
	static unsigned long at;

	for (; pages; pages--, at = (at + PAGE) % bytes)
		++*(uint64_t *)(memory + at);
}

/* Until there is a line to read. What it was held up for it does not make up for. */
static void dirty(uint8_t *memory, unsigned long bytes, unsigned long kib)
{
	struct pollfd p = { .fd = 0, .events = POLLIN };
	unsigned long long last = now_ns(), now, ns, owed = 0;

	while (!poll(&p, 1, TICK_MS)) {
		now = now_ns();
		ns = now - last;
		last = now;
		owed += (ns < 20000000 ? ns : 20000000) * kib;
		touch(memory, bytes, owed / (1000000000ull * PAGE / 1024));
		owed %= 1000000000ull * PAGE / 1024;
	}
}

/*
 * Of so much memory that is in use: "write N" writes to N KiB of it, "dirty N" to N
 * KiB each second until the next line comes, until when "spin" does not sleep; any
 * other only wants an answer.
 */
static void memory(char **arg)
{
	unsigned long bytes = strtoul(arg[0], NULL, 0) << 20, kib;
	uint8_t *memory = aligned_alloc(PAGE, bytes);
	struct pollfd p = { .fd = 0, .events = POLLIN };
	char line[64];

	if (!memory || !bytes)
		err(1, "%s MiB", arg[0]);
	/* what poll() says is not to be in a buffer */
	setvbuf(stdin, NULL, _IONBF, 0);
	setvbuf(stdout, NULL, _IOLBF, 0);
	fill((uint64_t *)memory, bytes);
	puts("filled");
	while (fgets(line, sizeof(line), stdin)) {
		if (sscanf(line, "write %lu", &kib) == 1)
			touch(memory, bytes, kib * 1024 / PAGE);
		puts("here");
		if (sscanf(line, "dirty %lu", &kib) == 1)
			dirty(memory, bytes, kib);
		while (!strcmp(line, "spin\n") && !poll(&p, 1, 0))
			;
	}
}

/* ---- time PROGRAM ARGUMENT... ---------------------------------------------------- */

static void time_program(char **arg)
{
	pid_t pid = fork();
	int status;

	if (!pid) {
		execv(arg[0], arg);
		err(127, "%s", arg[0]);
	}
	if (waitpid(pid, &status, 0) != pid || status)
		errx(1, "%s: status %#x", arg[0], status);
}

/* -------------------------------------------------------------------------------- */

static const struct {
	const char *name;
	int args;			/* so many at least */
	void (*run)(char **arg);
} loads[] = {
	{ "compute", 1, compute },
	{ "read", 5, read_disk },
	{ "serve", 1, serve },
	{ "send", 3, send_bulk },
	{ "ping", 3, ping },
	{ "memory", 1, memory },
	{ "time", 1, time_program },
};

int main(int argc, char **argv)
{
	unsigned int i;

	for (i = 0; i < sizeof(loads) / sizeof(loads[0]); i++) {
		if (argc < 2 || strcmp(argv[1], loads[i].name) || argc - 2 < loads[i].args)
			continue;
		begin();
		loads[i].run(argv + 2);
		finish();
		return 0;
	}
	fputs("usage: load compute|read|serve|send|ping|memory|time ...; see its source\n", stderr);
	return 2;
}
