// SPDX-License-Identifier: GPL-2.0
/*
 * Which pairs of the network device's queues the host's kernel may work, and
 * getting them there and back.
 */
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <string.h>

#include "virtio/virtio_net_priv.h"

/* what the kernel has to know of */
#define RING_FEATURES	(1ULL << VIRTIO_F_VERSION_1 | 1ULL << VIRTIO_NET_F_MRG_RXBUF | \
			 1ULL << VIRTIO_RING_F_INDIRECT_DESC | \
			 1ULL << VIRTIO_RING_F_EVENT_IDX | 1ULL << VIRTIO_F_RING_PACKED)
/*
 * What it takes for granted: without the first it leaves num_buffers as it was in
 * the guest's buffer, and it sets flags that need the second (5.1.6.4.1).
 */
#define GRANTED		(1ULL << VIRTIO_NET_F_MRG_RXBUF | 1ULL << VIRTIO_NET_F_GUEST_CSUM)

static bool may_lend(const struct virtio_net *vn, unsigned int pair)
{
	const struct virtqueue *vq = &vn->vdev.vq[NET_RX(pair)];
	uint64_t features = vn->vdev.driver_features;

	/* both queues, or one would be lent and returned without end */
	return vn->net->lend && pair <= vn->vdev.device_state &&
	       !(vn->refused & 1U << pair) && (features & GRANTED) == GRANTED &&
	       !(features & RING_FEATURES & ~vn->net->lend) &&
	       vq[0].enabled && !vq[0].broken && vq[1].enabled && !vq[1].broken;
}

static void return_both(struct virtio_net *vn, unsigned int pair,
			const struct ring_loan ring[2])
{
	virtio_return(&vn->vdev, NET_RX(pair), ring[0].next);
	virtio_return(&vn->vdev, NET_TX(pair), ring[1].next);
}

static bool lend_both(struct virtio_net *vn, unsigned int pair, struct ring_loan ring[2])
{
	if (!virtio_lend(&vn->vdev, NET_RX(pair), &ring[0]))
		return false;
	if (virtio_lend(&vn->vdev, NET_TX(pair), &ring[1]))
		return true;
	virtio_return(&vn->vdev, NET_RX(pair), ring[0].next);
	return false;
}

bool net_lend(struct virtio_net *vn, unsigned int pair)
{
	struct ring_loan ring[2];
	int ret;

	if (vn->lent & 1U << pair)
		return true;
	if (!may_lend(vn, pair) || !lend_both(vn, pair, ring))
		return false;
	ret = vn->net->ops->start(vn->net, pair, ring,
				  vn->vdev.driver_features & RING_FEATURES);
	if (ret) {
		vn->refused |= 1U << pair;
		return_both(vn, pair, ring);
		virtio_report(&vn->vdev,
			      "the host's vhost-net does not take queue pair %u: %s; its frames pass through this process",
			      pair, strerror(-ret));
		return false;
	}
	vn->lent |= 1U << pair;
	vn->starved &= ~(1U << pair);
	vn->more_queues &= ~(3ULL << NET_RX(pair));
	return true;
}

void net_lend_used(struct virtio_net *vn)
{
	unsigned int pair;

	for (pair = 0; pair <= vn->vdev.device_state; pair++)
		net_lend(vn, pair);
}

void net_return_from(struct virtio_net *vn, unsigned int pair)
{
	for (; pair < vn->net->pairs; pair++) {
		struct virtqueue *vq = &vn->vdev.vq[NET_RX(pair)];
		struct ring_loan ring[2] = {
			{ .next = vq[0].last_avail },
			{ .next = vq[1].last_avail },
		};

		if (!(vn->lent & 1U << pair))
			continue;
		vn->net->ops->stop(vn->net, pair, ring);
		vn->lent &= ~(1U << pair);
		return_both(vn, pair, ring);
		/* what the kernel left there, if the device goes on */
		net_look_later(vn, NET_RX(pair));
		net_look_later(vn, NET_TX(pair));
	}
}

void net_in_flight(void *owner)
{
	struct virtio_net *vn = owner;
	uint32_t lent = vn->lent;

	if (!lent || !vn->net->ops->wrote(vn->net))
		return;
	/* what is not known to be written may be anything: do that here */
	vn->refused |= lent;
	net_return_from(vn, 0);
	virtio_report(&vn->vdev,
		      "the host's vhost-net does not tell what it writes; frames pass through this process");
}
