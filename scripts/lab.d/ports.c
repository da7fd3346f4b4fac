// SPDX-License-Identifier: GPL-2.0
/*
 * What virtio ports are in QEMU, for Bochs: runs a program with these open
 *   3  control, both ways   4  stdin of the lab's command, to be read
 *   5, 6  its stdout and stderr   7  the tar archive of $OUT, to be written
 * and carries them to scripts/lab.d/bochs.py. Towards there through port 0xe9,
 * which takes bytes as fast as "rep outs" gives them; from there through the
 * second serial port, never more than its FIFO holds before we answer: so
 * nothing is lost, however long interrupts were off.
 */
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/io.h>
#include <sys/socket.h>
#include <termios.h>
#include <unistd.h>

enum { READY, CONTROL, STDIN, STDOUT, STDERR, RESULTS, STREAMS };

static void out(const void *data, unsigned long size)
{
	asm volatile("rep outsb" : "+S"(data), "+c"(size) : "d"(0xe9) : "memory");
}

static void send_frame(uint8_t stream, const void *data, uint16_t size)
{
	/* Bochs writes other things to the same place: mark where ours begin. */
	const uint8_t head[] = { 0xf5, 'l', 'a', 'b', stream, size & 0xff, size >> 8 };

	out(head, sizeof(head));
	out(data, size);
}

static int open_serial(void)
{
	struct termios t;
	int fd = open("/dev/ttyS1", O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);

	if (fd < 0 || tcgetattr(fd, &t))
		err(1, "/dev/ttyS1");
	cfmakeraw(&t);
	t.c_cflag |= CLOCAL;
	cfsetspeed(&t, B115200);
	if (tcsetattr(fd, TCSANOW, &t))
		err(1, "/dev/ttyS1");
	return fd;
}

/*
 * Frames: a byte with the stream in its high half and the size in the low one,
 * then the data. Of each of the two streams one may be on its way: together
 * they fit the UART's FIFO.
 */
static uint8_t frame[16], waiting[16];
static unsigned int have, waiting_size;

static void answer(uint8_t stream)
{
	send_frame(READY, &stream, 1);
}

/* The command's stdin; who does not read any more misses nothing. */
static void pass_stdin(int *fds)
{
	if (write(fds[STDIN], waiting, waiting_size) < 0 && errno == EAGAIN)
		return;
	waiting_size = 0;
	answer(STDIN);
}

static void receive(int serial, int *fds)
{
	while (read(serial, &frame[have], 1) == 1) {
		uint8_t stream = frame[0] >> 4, size = frame[0] & 15;

		if (++have <= size)
			continue;
		have = 0;
		if (stream == CONTROL) {
			write(fds[CONTROL], frame + 1, size);
			answer(CONTROL);
		} else if (!size) {
			close(fds[STDIN]);
			fds[STDIN] = -1;
		} else {
			waiting_size = size;
			memcpy(waiting, frame + 1, size);
			pass_stdin(fds);
		}
	}
}

static void serve(int *fds)
{
	/* Control last: when a status is passed on, all that came before it has been. */
	static const uint8_t order[] = { STDOUT, STDERR, RESULTS, CONTROL };
	static uint8_t data[32768];
	int serial = open_serial(), i;
	ssize_t size;

	fcntl(fds[STDIN], F_SETFL, O_NONBLOCK);
	answer(CONTROL);
	answer(STDIN);
	for (;;) {
		struct pollfd polls[6] = {
			{ serial, POLLIN, 0 },
			{ waiting_size ? fds[STDIN] : -1, POLLOUT, 0 },
		};

		for (i = 0; i < 4; i++)
			polls[i + 2] = (struct pollfd){ fds[order[i]], POLLIN, 0 };
		poll(polls, 6, -1);
		if (polls[0].revents)
			receive(serial, fds);
		if (polls[1].revents)
			pass_stdin(fds);
		for (i = 0; i < 4; i++)
			if (polls[i + 2].revents)
				break;
		if (i == 4)
			continue;
		size = read(fds[order[i]], data, sizeof(data));
		if (size <= 0) {
			close(fds[order[i]]);
			fds[order[i]] = -1;
			continue;
		}
		send_frame(order[i], data, size);
		/* "inside" waits for this before it powers off. */
		if (order[i] == CONTROL && !memcmp(data, "status", 6))
			write(fds[CONTROL], "sent\n", 5);
	}
}

int main(int argc, char **argv)
{
	int mine[STREAMS], theirs[STREAMS], fd, i, pair[2];

	if (argc < 2)
		errx(2, "wanted a program to run");
	if (ioperm(0xe9, 1, 1))
		err(1, "port 0xe9");
	for (i = CONTROL; i < STREAMS; i++) {
		if (i == CONTROL ? socketpair(AF_UNIX, SOCK_STREAM, 0, pair) : pipe(pair))
			err(1, "pipe");
		/* Out of the way of 3 to 7. */
		mine[i] = fcntl(pair[i == STDIN], F_DUPFD_CLOEXEC, 20);
		theirs[i] = fcntl(pair[i != STDIN], F_DUPFD_CLOEXEC, 20);
		close(pair[0]);
		close(pair[1]);
	}
	switch (fork()) {
	case -1:
		err(1, "fork");
	case 0:
		for (i = CONTROL; i < STREAMS; i++)
			close(theirs[i]);
		signal(SIGPIPE, SIG_IGN);
		serve(mine);
	}
	for (i = CONTROL, fd = 3; i < STREAMS; i++, fd++)
		dup2(theirs[i], fd);
	execv(argv[1], argv + 1);
	err(1, "%s", argv[1]);
}
