// SPDX-License-Identifier: GPL-2.0
/* --console file=PATH: the guest's output goes to a file or a FIFO. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "chardev.h"

struct chardev_file {
	struct chardev chr;
	int fd;
	struct loop_fd *lf;	/* NULL: a regular file, always writable */
	char *path;
	bool full_told;
};

static ssize_t file_put(struct chardev *c, const uint8_t *buf, size_t len)
{
	struct chardev_file *f = (struct chardev_file *)c;
	ssize_t n = write(f->fd, buf, len);

	if (n >= 0) {
		f->full_told = false;
		return n;
	}
	if (errno == EINTR || errno == EAGAIN)
		return -EAGAIN;
	if (errno != ENOSPC && errno != EDQUOT)
		return -errno;
	if (!f->full_told)
		fprintf(stderr, "vmmd: %s: %s; console output is lost until there is room\n",
			f->path, strerror(errno));
	f->full_told = true;
	return len;
}

static void file_want_put(struct chardev *c, bool on)
{
	struct chardev_file *f = (struct chardev_file *)c;

	if (f->lf)
		loop_fd_set(f->lf, on ? EPOLLOUT : 0);
}

static void file_want_get(struct chardev *c, bool on)
{
}

static void file_event(void *owner, uint32_t events)
{
	struct chardev_file *f = owner;

	if (events & EPOLLOUT) {
		chardev_writable(&f->chr);
	} else if (events & (EPOLLERR | EPOLLHUP)) {
		/* the FIFO's reader is gone; the next put says so */
		loop_fd_remove(f->lf);
		f->lf = NULL;
		chardev_writable(&f->chr);
	}
}

static void file_free(struct chardev *c)
{
	struct chardev_file *f = (struct chardev_file *)c;

	if (f->lf)
		loop_fd_remove(f->lf);
	close(f->fd);
	free(f->path);
	free(f);
}

static const struct chardev_ops file_ops = {
	.put = file_put,
	.want_put = file_want_put,
	.want_get = file_want_get,
	.free = file_free,
};

struct chardev *chardev_file_new(struct loop *loop, const char *path,
				 char *err, size_t errlen)
{
	struct chardev_file *f = calloc(1, sizeof(*f));

	if (!f)
		goto nomem;
	f->fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_NONBLOCK |
			   O_NOCTTY | O_CLOEXEC, 0644);
	if (f->fd < 0) {
		snprintf(err, errlen,
			 "console file %s: %s; wanted a file that can be written%s",
			 path, strerror(errno),
			 errno == ENXIO ? ", or a FIFO with a reader" : "");
		free(f);
		return NULL;
	}
	f->path = strdup(path);
	if (!f->path || chardev_init(&f->chr, &file_ops, loop)) {
		close(f->fd);
		goto nomem;
	}
	f->lf = loop_fd_add(loop, f->fd, 0, file_event, f);
	return &f->chr;

nomem:
	if (f)
		free(f->path);
	free(f);
	snprintf(err, errlen, "console: out of memory");
	return NULL;
}
