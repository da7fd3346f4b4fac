// SPDX-License-Identifier: GPL-2.0
#define _GNU_SOURCE 1
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "block_fixture.h"
#include "loop.h"

const char *const engine_names[] = { "io_uring", "sync", "direct" };

char dir[] = "/var/tmp/test_block.XXXXXX";
char path[256];
char err[1024];

static unsigned int answers;
static uint64_t seed = 0x2545f4914f6cdd1dULL;

int block_setup(void **state)
{
	(void)state;
	if (!mkdtemp(dir))
		return -1;
	in_dir(path, "disk.img");
	return 0;
}

/* tests leave files behind, but nothing in other directories */
int block_teardown(void **state)
{
	struct dirent *e;
	DIR *d = opendir(dir);
	char name[512];

	(void)state;
	while (d && (e = readdir(d))) {
		snprintf(name, sizeof(name), "%s/%s", dir, e->d_name);
		if (e->d_name[0] != '.')
			unlink(name);
	}
	if (d)
		closedir(d);
	return rmdir(dir);
}

char *in_dir(char to[256], const char *name)
{
	snprintf(to, 256, "%s/%s", dir, name);
	return to;
}

void make_file(const void *head, size_t len, uint64_t size)
{
	int fd = open(path, O_CREAT | O_TRUNC | O_RDWR, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, head, len), len);
	assert_int_equal(ftruncate(fd, size), 0);
	close(fd);
}

struct disk *disk_open(const struct block_opts *opts)
{
	struct disk *d = calloc(1, sizeof(*d));

	pthread_mutex_init(&d->lock, NULL);
	d->loop = loop_new(&d->lock);
	d->b = block_open(path, opts, d->loop, err, sizeof(err));
	return d;
}

struct disk *open_on(enum engine e, const struct block_opts *base)
{
	struct block_opts opts = *base;
	struct block_file *f;
	struct disk *d;

	opts.direct = e == DIRECT;
	d = disk_open(&opts);
	if (!d->b && e == DIRECT) {
		disk_close(d);
		return NULL;
	}
	assert_non_null(d->b);
	if (e == SYNC && d->b->uring) {
		/* as on a host that forbids it */
		loop_fd_remove(d->b->ring_fd);
		io_uring_queue_exit(&d->b->ring);
		d->b->uring = false;
	}
	for (f = d->b->file; f && e == DIRECT; f = f->below) {
		assert_true(f->direct);
		/* be as strict as the strictest host */
		f->align = 4096;
	}
	return d;
}

void disk_close(struct disk *d)
{
	block_close(d->b);
	loop_free(d->loop);
	free(d);
}

static void on_done(struct block_req *req, int result)
{
	struct answer *a = req->owner;

	assert_false(a->done);
	a->done = true;
	a->result = result;
	a->order = answers++;
}

void submit(struct disk *d, struct answer *a, enum block_op op,
	    uint64_t offset, uint64_t len, struct iovec *iov,
	    unsigned int niov)
{
	*a = (struct answer){
		.req = {
			.op = op, .offset = offset, .len = len, .iov = iov,
			.niov = niov, .done = on_done, .owner = a,
		},
	};
	block_submit(d->b, &a->req);
	assert_false(a->done);		/* never from inside */
}

int one(struct disk *d, enum block_op op, uint64_t offset, void *buf,
	uint64_t len)
{
	struct iovec iov = { buf, len };
	struct answer a;

	submit(d, &a, op, offset, len, &iov, 1);
	block_drain(d->b);
	assert_true(a.done);
	return a.result;
}

void refused(const char *what, const char *remedy)
{
	const struct block_opts opts = { 0 };
	struct disk *d = disk_open(&opts);

	assert_null(d->b);
	if (!strstr(err, what) || !strstr(err, remedy) || !strstr(err, path) ||
	    strchr(err, '\n'))
		fail_msg("'%s' lacks '%s' or '%s'", err, what, remedy);
	disk_close(d);
}

uint32_t rnd(uint32_t below)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return (seed >> 32) % below;
}

void in_child(int (*fn)(void))
{
	char name[256];
	int status;
	pid_t pid;

	fflush(NULL);
	pid = fork();
	if (!pid)
		_exit(fn());
	assert_int_equal(waitpid(pid, &status, 0), pid);
	rmdir(in_dir(name, "mnt"));
	assert_true(WIFEXITED(status));
	if (WEXITSTATUS(status) == 77)
		skip();
	assert_int_equal(WEXITSTATUS(status), 0);
}
