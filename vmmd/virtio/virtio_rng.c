// SPDX-License-Identifier: GPL-2.0
/*
 * virtio entropy device (virtio 1.2, 5.4).
 *
 * Rate: a guest may ask without end, and each byte costs the host time under
 * the machine lock. So there is an allowance, refilled by a timer; a request
 * gets at most what is left of it, which 5.4.6.1 permits.
 */
#include <errno.h>
#include <linux/virtio_ids.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "iov.h"
#include "loop.h"
#include "virtio/virtio_pci.h"
#include "virtio/virtio_rng.h"

#define RNG_QUEUE	64
#define RNG_CHUNK	4096U			/* bytes for one request */
#define RNG_ALLOWANCE	(64 * 1024U)		/* bytes per period */
#define RNG_REQUESTS	256U			/* requests per period */
#define RNG_PERIOD	(50 * 1000000ULL)	/* ns */

struct virtio_rng {
	struct virtio_dev vdev;
	struct loop_timer *refill;
	uint64_t period_start;		/* ns */
	unsigned int bytes;		/* left of the allowance */
	unsigned int requests;
	struct vq_chain chain;
};

/* returns bytes written; the guest's memory gets nothing half-random */
static uint32_t rng_fill(struct virtio_rng *rng, const struct vq_chain *c)
{
	uint8_t buf[RNG_CHUNK];
	size_t want = c->in_len < sizeof(buf) ? c->in_len : sizeof(buf);
	ssize_t n;

	if (want > rng->bytes)
		want = rng->bytes;
	/* never blocks once the host has booted */
	n = getrandom(buf, want, GRND_NONBLOCK);
	if (n <= 0)
		return 0;
	rng->bytes -= n;
	n = iov_write(c->in, c->nin, 0, buf, n);
	explicit_bzero(buf, sizeof(buf));
	return n;
}

static void rng_refill(struct virtio_rng *rng)
{
	uint64_t now = loop_now();

	if (now - rng->period_start < RNG_PERIOD)
		return;
	rng->period_start = now;
	rng->bytes = RNG_ALLOWANCE;
	rng->requests = RNG_REQUESTS;
}

static void rng_notify(void *owner, unsigned int q)
{
	struct virtio_rng *rng = owner;
	struct virtqueue *vq = &rng->vdev.vq[q];

	rng_refill(rng);
	do {
		for (; rng->bytes && rng->requests; rng->requests--) {
			if (virtio_pop(&rng->vdev, q, &rng->chain) <= 0)
				break;
			vq_push(vq, rng->chain.head, rng_fill(rng, &rng->chain));
		}
		if (!rng->bytes || !rng->requests) {
			loop_timer_arm(rng->refill,
				       rng->period_start + RNG_PERIOD);
			break;
		}
	} while (virtio_running(&rng->vdev) && vq_want_notify(vq, vq_pos(vq)));
	virtio_signal(&rng->vdev, q);
}

static void rng_timer(void *owner)
{
	rng_notify(owner, 0);
}

static void rng_quiesce(void *owner)
{
	struct virtio_rng *rng = owner;

	if (rng->refill)
		loop_timer_cancel(rng->refill);
}

static void rng_free(void *owner)
{
	struct virtio_rng *rng = owner;

	loop_timer_free(rng->refill);
	free(rng);
}

static const struct virtio_ops rng_ops = {
	.notify = rng_notify,
	.quiesce = rng_quiesce,
	.free = rng_free,
};

int virtio_rng_new(struct dev_env *env, struct pci_bus *bus)
{
	struct virtio_rng *rng = calloc(1, sizeof(*rng));

	if (!rng)
		return -ENOMEM;
	rng->refill = loop_timer_new(env->loop, rng_timer, rng);
	if (!rng->refill) {
		free(rng);
		return -ENOMEM;
	}
	rng->vdev = (struct virtio_dev){
		.name = "virtio-rng",
		.id = VIRTIO_ID_RNG,
		.class_code = 0x00ff00,		/* other */
		.nqueues = 1,
		.queue_size = RNG_QUEUE,
		.ops = &rng_ops,
		.owner = rng,
	};
	return virtio_pci_new(&rng->vdev, env, bus);
}
