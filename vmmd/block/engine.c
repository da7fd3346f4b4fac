// SPDX-License-Identifier: GPL-2.0
/*
 * Carries steps out: through io_uring, whose ring descriptor the loop polls;
 * or, on a host that forbids io_uring, one by one in the caller's thread.
 * Either way no result is delivered from inside a submit, but from the loop; or,
 * where the host had it at hand, from who let go of the plug.
 *
 * io_uring ties a request to the thread that submitted it, and cancels it when
 * that thread (a vCPU) ends: block.c starts such a step again.
 */
#define _GNU_SOURCE 1		/* preadv, fallocate */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "block/block_priv.h"
#include "loop.h"

#define RETRY_NS	1000000ULL

/* ---- io_uring ------------------------------------------------------------- */

static void uring_prepare(int fd, struct io_uring_sqe *sqe,
			  const struct block_step *step)
{
	switch (step->op) {
	case STEP_READ:
		if (step->niov == 1)
			io_uring_prep_read(sqe, fd, step->iov->iov_base,
					   step->iov->iov_len, step->offset);
		else
			io_uring_prep_readv(sqe, fd, step->iov, step->niov,
					    step->offset);
		break;
	case STEP_WRITE:
		if (step->niov == 1)
			io_uring_prep_write(sqe, fd, step->iov->iov_base,
					    step->iov->iov_len, step->offset);
		else
			io_uring_prep_writev(sqe, fd, step->iov, step->niov,
					     step->offset);
		break;
	case STEP_FSYNC:
		io_uring_prep_fsync(sqe, fd, IORING_FSYNC_DATASYNC);
		break;
	case STEP_FALLOCATE:
		io_uring_prep_fallocate(sqe, fd, step->mode, step->offset,
					step->len);
		break;
	}
}

/* what is not taken now stays in the queue: try again soon */
static void uring_submit(struct block *b)
{
	b->unsubmitted = false;
	if (io_uring_submit(&b->ring) < 0 || io_uring_sq_ready(&b->ring))
		loop_timer_arm(b->timer, loop_now() + RETRY_NS);
}

static void uring_issue(struct block *b, struct block_req *req,
			const struct block_step *step)
{
	/* the queue has room for BLOCK_DEPTH, and no more are in flight */
	struct io_uring_sqe *sqe = io_uring_get_sqe(&b->ring);

	uring_prepare(req->file->fd, sqe, step);
	io_uring_sqe_set_data(sqe, req);
	b->unsubmitted = true;
}

static void uring_reap(struct block *b)
{
	struct io_uring_cqe *cqe;
	struct block_req *req;
	unsigned int n;
	int res;

	for (n = 0; n < BLOCK_DEPTH && !io_uring_peek_cqe(&b->ring, &cqe); n++) {
		req = io_uring_cqe_get_data(cqe);
		res = cqe->res;
		io_uring_cqe_seen(&b->ring, cqe);
		block_step_done(b, req, res);
	}
}

/* ---- synchronous ---------------------------------------------------------- */

static ssize_t sync_call(int fd, const struct block_step *step)
{
	switch (step->op) {
	case STEP_READ:
		return preadv(fd, step->iov, step->niov, step->offset);
	case STEP_WRITE:
		return pwritev(fd, step->iov, step->niov, step->offset);
	case STEP_FSYNC:
		return fdatasync(fd);
	case STEP_FALLOCATE:
		return fallocate(fd, step->mode, step->offset, step->len);
	}
	return -1;
}

static void sync_issue(struct block *b, struct block_req *req,
		       const struct block_step *step)
{
	ssize_t n = sync_call(req->file->fd, step);

	engine_post(b, req, n < 0 ? -errno : n);
}

/* ---- common --------------------------------------------------------------- */

void engine_post(struct block *b, struct block_req *req, int res)
{
	req->res = res;
	block_list_add(&b->results, req);
	loop_timer_arm(b->timer, loop_now());
}

/* a request may need many steps: take those that were there at the start */
static void engine_reap(struct block *b)
{
	struct block_list results = b->results;
	struct block_req *req;

	b->results = (struct block_list){ 0 };
	while ((req = block_list_take(&results)))
		block_step_done(b, req, req->res);
}

void engine_collect(struct block *b)
{
	if (b->uring)
		uring_reap(b);
	engine_reap(b);
	block_pump(b);
}

static void engine_work(struct block *b)
{
	/* whatever the callbacks submit goes out in one call */
	block_plug(b);
	engine_collect(b);
	block_unplug(b);
}

static void engine_ready(void *owner, uint32_t events)
{
	(void)events;
	engine_work(owner);
}

static void engine_timer(void *owner)
{
	struct block *b = owner;

	if (b->uring)
		uring_submit(b);
	engine_work(b);
}

void engine_issue(struct block *b, struct block_req *req,
		  const struct block_step *step)
{
	if (b->uring)
		uring_issue(b, req, step);
	else
		sync_issue(b, req, step);
}

void engine_flush(struct block *b)
{
	if (b->unsubmitted)
		uring_submit(b);
}

void engine_wait(struct block *b)
{
	struct io_uring_cqe *cqe;

	/* EINTR: the caller looks and comes again */
	if (b->uring && !b->results.head && io_uring_peek_cqe(&b->ring, &cqe))
		io_uring_submit_and_wait(&b->ring, 1);
	engine_work(b);
}

static int uring_start(struct block *b)
{
	int ret = io_uring_queue_init(BLOCK_DEPTH, &b->ring, IORING_SETUP_CLAMP);

	if (ret < 0)
		return ret;
	b->ring_fd = loop_fd_add(b->loop, b->ring.ring_fd, EPOLLIN,
				 engine_ready, b);
	if (!b->ring_fd) {
		io_uring_queue_exit(&b->ring);
		return -ENOMEM;
	}
	b->uring = true;
	return 0;
}

int engine_start(struct block *b)
{
	int ret;

	b->timer = loop_timer_new(b->loop, engine_timer, b);
	if (!b->timer)
		return -ENOMEM;
	ret = uring_start(b);
	if (ret)
		fprintf(stderr, "vmmd: io_uring is not to be had (%s): disk I/O is synchronous and slower; see kernel.io_uring_disabled\n",
			strerror(-ret));
	return 0;
}

void engine_stop(struct block *b)
{
	if (b->uring) {
		loop_fd_remove(b->ring_fd);
		io_uring_queue_exit(&b->ring);
	}
	if (b->timer)
		loop_timer_free(b->timer);
}
