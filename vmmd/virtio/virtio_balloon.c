// SPDX-License-Identifier: GPL-2.0
/*
 * virtio memory balloon (virtio 1.2, 5.5). The guest is asked once, by the
 * config, to do without some of its memory, and takes it back when it would run
 * out (DEFLATE_ON_OOM). Besides, it reports what is free now and then
 * (REPORTING). Either way the pages go back to the host, and come back empty
 * when they are touched: a driver that lies loses contents of its own memory.
 */
#include <errno.h>
#include <linux/virtio_balloon.h>
#include <linux/virtio_ids.h>
#include <stddef.h>
#include <stdlib.h>

#include "iov.h"
#include "loop.h"
#include "mem.h"
#include "virtio/virtio_balloon.h"
#include "virtio/virtio_pci.h"

/* drivers count only the queues that exist, though 5.5.2 gives each a number */
enum { BALLOON_INFLATE, BALLOON_DEFLATE, BALLOON_REPORTING, BALLOON_QUEUES };

#define BALLOON_QUEUE	128
#define BALLOON_BATCH	4		/* requests under one hold of the lock */
#define BALLOON_PFNS	1024U		/* pages of one request; Linux: 256 */
#define BALLOON_PAGE	(1UL << VIRTIO_BALLOON_PFN_SHIFT)

struct virtio_balloon {
	struct virtio_dev vdev;		/* device_state: pages in the balloon */
	struct virtio_balloon_config config;
	struct loop_timer *more;
	uint32_t more_queues;		/* have more than a batch; a bit each */
	struct vq_chain chain;
};

/* 5.5.6: an array of page numbers; those where no RAM is are nobody's */
static void balloon_inflate(struct virtio_balloon *b)
{
	const struct vq_chain *c = &b->chain;
	unsigned int i, n = BALLOON_PFNS;
	uint32_t pfn;
	void *page;

	if (c->out_len / sizeof(pfn) < n)
		n = c->out_len / sizeof(pfn);
	for (i = 0; i < n; i++) {
		iov_read(c->out, c->nout, i * sizeof(pfn), &pfn, sizeof(pfn));
		page = mem_ptr(b->vdev.env->mem,
			       (uint64_t)pfn << VIRTIO_BALLOON_PFN_SHIFT,
			       BALLOON_PAGE);
		if (page)
			mem_discard(page, BALLOON_PAGE);
	}
}

/* the free pages are the buffers */
static void balloon_report(struct virtio_balloon *b)
{
	const struct vq_chain *c = &b->chain;
	unsigned int i;

	for (i = 0; i < c->nin; i++)
		mem_discard(c->in[i].iov_base, c->in[i].iov_len);
}

static bool balloon_batch(struct virtio_balloon *b, unsigned int q)
{
	unsigned int n;

	for (n = 0; n < BALLOON_BATCH; n++) {
		if (virtio_pop(&b->vdev, q, &b->chain) <= 0)
			return false;
		/* what leaves the balloon comes back when it is touched */
		if (q == BALLOON_INFLATE)
			balloon_inflate(b);
		else if (q == BALLOON_REPORTING)
			balloon_report(b);
		vq_push(&b->vdev.vq[q], b->chain.head, 0);
	}
	return true;
}

static void balloon_notify(void *owner, unsigned int q)
{
	struct virtio_balloon *b = owner;
	struct virtqueue *vq = &b->vdev.vq[q];
	bool more;

	vq_refuse_notify(vq);
	more = balloon_batch(b, q) || vq_want_notify(vq, vq_pos(vq));
	virtio_signal(&b->vdev, q);
	if (!more || !virtio_running(&b->vdev))
		return;
	b->more_queues |= 1U << q;
	loop_timer_arm(b->more, loop_now());
}

static void balloon_more(void *owner)
{
	struct virtio_balloon *b = owner;
	uint32_t queues = b->more_queues;

	b->more_queues = 0;
	for (; queues; queues &= queues - 1)
		balloon_notify(b, __builtin_ctz(queues));
}

static void balloon_quiesce(void *owner)
{
	struct virtio_balloon *b = owner;

	b->more_queues = 0;
	loop_timer_cancel(b->more);
}

/* 5.5.6: the driver says how much it gave; it is asked for by reading */
static void balloon_config_write(void *owner, uint64_t offset, uint64_t value,
				 unsigned int size)
{
	struct virtio_balloon *b = owner;

	if (offset != offsetof(struct virtio_balloon_config, actual) || size != 4)
		return;
	b->vdev.device_state = value;
	b->config.actual = value;
}

static void balloon_configure(void *owner)
{
	struct virtio_balloon *b = owner;

	b->config.actual = b->vdev.device_state;
}

static void balloon_free(void *owner)
{
	struct virtio_balloon *b = owner;

	loop_timer_free(b->more);
	free(b);
}

static const struct virtio_ops balloon_ops = {
	.notify = balloon_notify,
	.quiesce = balloon_quiesce,
	.configure = balloon_configure,
	.config_write = balloon_config_write,
	.free = balloon_free,
};

int virtio_balloon_new(struct dev_env *env, struct pci_bus *bus, uint32_t pages)
{
	struct virtio_balloon *b = calloc(1, sizeof(*b));

	if (!b)
		return -ENOMEM;
	b->more = loop_timer_new(env->loop, balloon_more, b);
	if (!b->more) {
		free(b);
		return -ENOMEM;
	}
	b->config.num_pages = pages;
	/*
	 * No PAGE_POISON: a driver that wants to find its pattern in free pages
	 * does not take REPORTING then (5.5.3.1).
	 */
	b->vdev = (struct virtio_dev){
		.name = "virtio-balloon",
		.id = VIRTIO_ID_BALLOON,
		.class_code = 0x00ff00,		/* other */
		.features = 1ULL << VIRTIO_BALLOON_F_DEFLATE_ON_OOM |
			    1ULL << VIRTIO_BALLOON_F_REPORTING,
		.config = &b->config,
		.config_len = offsetof(struct virtio_balloon_config,
				       free_page_hint_cmd_id),
		.nqueues = BALLOON_QUEUES,
		.queue_size = BALLOON_QUEUE,
		.device_state_max = UINT32_MAX,
		.ops = &balloon_ops,
		.owner = b,
	};
	return virtio_pci_new(&b->vdev, env, bus);
}
