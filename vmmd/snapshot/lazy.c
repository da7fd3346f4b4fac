// SPDX-License-Identifier: GPL-2.0
/*
 * One thread serves faults first and fills in the rest between them. It needs no
 * lock: whoever holds the machine lock may well be waiting for a page. Where the
 * guest has no other CPU the rest would be in its way: it waits until the guest
 * has begun, and, after each fault, whether there is another.
 *
 * A file that cannot be read any more is the end of the process, here and now: a
 * vCPU that waits must not see, and a write to the disk that waits must not store,
 * a page that the guest never had.
 */
#define _GNU_SOURCE 1		/* pthread_setname_np */
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "machine.h"
#include "mem.h"
#include "snapshot/lazy.h"
#include "state/pages.h"
#include "terminal.h"
#include "vm.h"

#define FAULTS		16		/* read at a time */
#define BEGIN_MS	20		/* in which a guest that runs has touched a page */
#define NEXT_MS		1

#ifndef USERFAULTFD_IOC_NEW
#define USERFAULTFD_IOC_NEW	_IO(0xAA, 0x00)
#endif

struct lazy {
	struct vm *vm;
	struct snapshot_file *chain[SNAPSHOT_CHAIN_MAX];
	int n;
	int uffd;
	int stop;			/* eventfd */
	struct pages_coder *coder;
	uint8_t *buf;			/* pages of one section */
	/* how far the background has come */
	int file;
	uint64_t run;
	char err[512];
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool over;			/* lock */
	int result;			/* lock */
};

static int uffd_open(void)
{
	int flags = O_CLOEXEC | O_NONBLOCK, dev, fd;

	/* a device file's permissions say who may; else root, or a sysctl */
	dev = open("/dev/userfaultfd", O_RDWR | O_CLOEXEC);
	if (dev >= 0) {
		fd = ioctl(dev, USERFAULTFD_IOC_NEW, flags);
		close(dev);
		if (fd >= 0)
			return fd;
	}
	fd = syscall(SYS_userfaultfd, flags);
	return fd < 0 ? -errno : fd;
}

static int uffd_register(struct lazy *l)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct mem *mem = machine_mem(l->vm->machine);
	unsigned int i;

	if (ioctl(l->uffd, UFFDIO_API, &api))
		return -errno;
	/* Linux clears a large page before it sees that the page is ours to bring */
	mem_large(mem, false);
	for (i = 0; i < mem_regions(mem); i++) {
		struct mem_info r = mem_region(mem, i);
		struct uffdio_register reg = {
			.range = { (uintptr_t)r.hva, r.size },
			.mode = UFFDIO_REGISTER_MODE_MISSING,
		};

		if (!r.rom && ioctl(l->uffd, UFFDIO_REGISTER, &reg))
			return -errno;
	}
	return 0;
}

static void uffd_unregister(struct lazy *l)
{
	struct mem *mem = machine_mem(l->vm->machine);
	unsigned int i;

	for (i = 0; i < mem_regions(mem); i++) {
		struct mem_info r = mem_region(mem, i);
		struct uffdio_range range = { (uintptr_t)r.hva, r.size };

		if (!r.rom)
			ioctl(l->uffd, UFFDIO_UNREGISTER, &range);
	}
	mem_large(mem, true);
}

/* ---- pages ---------------------------------------------------------------- */

/* one page, or more; those that are there already stay as they are */
static int place(struct lazy *l, void *to, const void *from, uint64_t len)
{
	struct uffdio_copy c;

	while (len) {
		c = (struct uffdio_copy){
			.dst = (uintptr_t)to, .src = (uintptr_t)from, .len = len,
		};
		if (!ioctl(l->uffd, UFFDIO_COPY, &c))
			return 0;
		/* refused before anything was tried */
		if (!c.copy)
			return -errno;
		if (c.copy < 0 && c.copy != -EEXIST && c.copy != -EAGAIN)
			return c.copy;
		/* so many came before it met one that is there */
		if (c.copy <= 0)
			c.copy = c.copy == -EEXIST ? PAGES_SIZE : 0;
		to = (uint8_t *)to + c.copy;
		from = (const uint8_t *)from + c.copy;
		len -= c.copy;
	}
	return 0;
}

static int place_zero(struct lazy *l, void *to)
{
	struct uffdio_zeropage z = { .range = { (uintptr_t)to, PAGES_SIZE } };

	if (ioctl(l->uffd, UFFDIO_ZEROPAGE, &z) && errno != EEXIST && errno != EAGAIN)
		return -errno;
	return 0;
}

/* is the page of this file, and not of a younger one */
static bool youngest(const struct lazy *l, int file, uint64_t gpa)
{
	int i;

	for (i = 0; i < file; i++)
		if (snapshot_find(l->chain[i], gpa))
			return false;
	return true;
}

/* the pages of a run, those that younger files do not have */
static int place_run(struct lazy *l, int file, const struct snapshot_run *run)
{
	struct mem *mem = machine_mem(l->vm->machine);
	uint8_t *to = mem_ptr(mem, run->gpa, run->count * PAGES_SIZE);
	const uint8_t *from = l->buf + run->first * PAGES_SIZE;
	uint32_t n, at, end;
	int ret;

	if (!to) {
		snprintf(l->err, sizeof(l->err), "%s: its index names pages that are not in RAM",
			 l->chain[file]->path);
		return -EBADMSG;
	}
	ret = snapshot_read_pages(l->chain[file], l->coder, run, l->buf, &n,
				  l->err, sizeof(l->err));
	for (at = 0; !ret && at < run->count; at = end) {
		bool ours = youngest(l, file, run->gpa + at * PAGES_SIZE);

		for (end = at + 1; file && end < run->count; end++)
			if (youngest(l, file, run->gpa + end * PAGES_SIZE) != ours)
				break;
		if (!file)
			end = run->count;
		if (!ours)
			continue;
		ret = place(l, to + at * PAGES_SIZE, from + at * PAGES_SIZE,
			    (end - at) * PAGES_SIZE);
		if (ret)
			snprintf(l->err, sizeof(l->err), "cannot fill guest memory: %s",
				 strerror(-ret));
	}
	return ret;
}

/* guest address of what was touched; false: not ours */
static bool gpa_of(const struct lazy *l, uintptr_t hva, uint64_t *gpa)
{
	struct mem *mem = machine_mem(l->vm->machine);
	unsigned int i;

	for (i = 0; i < mem_regions(mem); i++) {
		struct mem_info r = mem_region(mem, i);
		uintptr_t start = (uintptr_t)r.hva;

		if (hva < start || hva - start >= r.size)
			continue;
		*gpa = r.gpa + (hva - start);
		return true;
	}
	return false;
}

static int serve(struct lazy *l, uintptr_t hva)
{
	void *page = (void *)(hva & ~(PAGES_SIZE - 1));
	const struct snapshot_run *run;
	uint64_t gpa;
	int i;

	if (!gpa_of(l, (uintptr_t)page, &gpa))
		return 0;
	for (i = 0; i < l->n; i++) {
		run = snapshot_find(l->chain[i], gpa);
		if (run)
			return place_run(l, i, run);
	}
	return place_zero(l, page);
}

static int serve_faults(struct lazy *l)
{
	struct uffd_msg msg[FAULTS];
	ssize_t n = read(l->uffd, msg, sizeof(msg));
	int ret = 0;
	ssize_t i;

	for (i = 0; !ret && i < n / (ssize_t)sizeof(*msg); i++)
		if (msg[i].event == UFFD_EVENT_PAGEFAULT)
			ret = serve(l, msg[i].arg.pagefault.address);
	return ret;
}

/* one run more; false: there is none */
static bool fill(struct lazy *l, int *ret)
{
	const struct snapshot_file *f;
	uint64_t i;

	while (l->file < l->n) {
		f = l->chain[l->file];
		i = l->run++;
		if (i < f->nruns) {
			*ret = place_run(l, l->file, &f->run[i]);
			return true;
		}
		l->file++;
		l->run = 0;
	}
	return false;
}

/* ---- the thread ----------------------------------------------------------- */

static void give_up(const struct lazy *l)
{
	terminal_restore();
	fprintf(stderr, "vmmd: %s; the machine cannot go on\n", l->err);
	_exit(VM_EXIT_ERROR);
}

static int work(struct lazy *l)
{
	struct pollfd p[2] = {
		{ .fd = l->uffd, .events = POLLIN },
		{ .fd = l->stop, .events = POLLIN },
	};
	int ret = 0, patience = BEGIN_MS;

	while (!ret) {
		if (poll(p, 2, patience) < 0 && errno != EINTR)
			return -errno;
		patience = 0;
		if (p[1].revents)
			return -ECANCELED;
		if (p[0].revents) {
			ret = serve_faults(l);
			patience = NEXT_MS;
		} else if (!fill(l, &ret)) {
			return 0;
		}
	}
	return ret;
}

static void *lazy_main(void *arg)
{
	struct lazy *l = arg;
	int ret = work(l);

	if (ret && ret != -ECANCELED)
		give_up(l);
	uffd_unregister(l);
	pthread_mutex_lock(&l->lock);
	l->result = ret ? -EIO : 0;
	l->over = true;
	pthread_cond_broadcast(&l->changed);
	pthread_mutex_unlock(&l->lock);
	return NULL;
}

/* ---- beginning and ending ------------------------------------------------- */

static void lazy_free(struct lazy *l)
{
	if (l->uffd >= 0)
		close(l->uffd);
	if (l->stop >= 0)
		close(l->stop);
	pages_coder_free(l->coder);
	free(l->buf);
	pthread_mutex_destroy(&l->lock);
	pthread_cond_destroy(&l->changed);
	free(l);
}

struct lazy *lazy_start(struct vm *vm, struct snapshot_file **chain, int n,
			bool *denied, char *err, size_t errlen)
{
	struct lazy *l = calloc(1, sizeof(*l));
	int ret = -ENOMEM;

	*denied = false;
	if (!l) {
		snprintf(err, errlen, "out of memory");
		return NULL;
	}
	l->vm = vm;
	memcpy(l->chain, chain, n * sizeof(*chain));
	l->n = n;
	pthread_mutex_init(&l->lock, NULL);
	pthread_cond_init(&l->changed, NULL);
	l->coder = pages_coder_new();
	l->buf = malloc(PAGES_BYTES);
	l->stop = eventfd(0, EFD_CLOEXEC);
	l->uffd = uffd_open();
	if (l->uffd < 0) {
		*denied = true;
		ret = l->uffd;
	} else if (l->coder && l->buf && l->stop >= 0) {
		ret = uffd_register(l);
		*denied = ret;
	}
	if (!ret)
		ret = -pthread_create(&l->thread, NULL, lazy_main, l);
	if (!ret) {
		pthread_setname_np(l->thread, "lazy");
		return l;
	}
	snprintf(err, errlen, "cannot load memory as it is touched: %s", strerror(-ret));
	if (l->uffd >= 0)
		uffd_unregister(l);
	lazy_free(l);
	return NULL;
}

int lazy_wait(struct lazy *l)
{
	int ret;

	pthread_mutex_lock(&l->lock);
	while (!l->over)
		pthread_cond_wait(&l->changed, &l->lock);
	ret = l->result;
	pthread_mutex_unlock(&l->lock);
	return ret;
}

void lazy_stop(struct lazy *l)
{
	uint64_t one = 1;

	if (!l)
		return;
	if (write(l->stop, &one, sizeof(one)) < 0)
		perror("vmmd: eventfd");
	pthread_join(l->thread, NULL);
	lazy_free(l);
}
