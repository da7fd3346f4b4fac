// SPDX-License-Identifier: GPL-2.0
/*
 * virtio network device (virtio 1.2, 5.1). No offloads: the back ends have
 * none, so the header that precedes each frame is all zeroes but for the
 * number of buffers.
 */
#include <errno.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_net.h>
#include <stdlib.h>
#include <string.h>

#include "iov.h"
#include "loop.h"
#include "net/net.h"
#include "virtio/virtio_net.h"
#include "virtio/virtio_pci.h"

#define NET_RX		0
#define NET_TX		1
#define NET_QUEUE	VQ_SIZE_MAX
#define NET_TX_BATCH	64		/* frames under one hold of the lock */
#define NET_FRAME_MIN	14		/* an Ethernet header */
#define NET_FRAME_MAX	65550
#define NET_HDR		sizeof(struct virtio_net_hdr_mrg_rxbuf)

struct virtio_net {
	struct virtio_dev vdev;
	struct net *net;
	struct virtio_net_config config;
	struct loop_timer *more;	/* frames to send are left */
	bool starved;			/* a frame found no receive buffer */
	struct vq_head head[NET_QUEUE];	/* buffers of the frame being received */
	uint32_t len[NET_QUEUE];	/* bytes written to each */
	struct vq_chain first, rest;	/* of the frame being received */
	struct vq_chain sent;
};

/* ---- receive -------------------------------------------------------------- */

static bool net_put_header(struct virtio_net *vn)
{
	const struct virtio_net_hdr_mrg_rxbuf hdr = { .num_buffers = 1 };
	const struct vq_chain *c = &vn->first;

	if (iov_write(c->in, c->nin, 0, &hdr, NET_HDR) == NET_HDR)
		return true;
	virtio_fail(&vn->vdev,
		    "a receive buffer of %llu bytes has no room for a header; the device stops until the guest resets it",
		    (unsigned long long)c->in_len);
	return false;
}

/*
 * Spread the frame over buffers, without publishing them. Returns how many;
 * 0: there are not enough, and they end at *seen; -1: it cannot be done, drop
 * the frame.
 */
static int net_spread(struct virtio_net *vn, const uint8_t *frame, size_t len,
		      struct vq_pos *seen)
{
	struct virtqueue *vq = &vn->vdev.vq[NET_RX];
	struct vq_pos start = vq_pos(vq);
	unsigned int i, max = 1;
	size_t done = 0, skip, n;
	struct vq_chain *c;
	int ret;

	if (virtio_has_feature(&vn->vdev, VIRTIO_NET_F_MRG_RXBUF))
		max = vq->size;
	for (i = 0; i < max; i++) {
		c = i ? &vn->rest : &vn->first;
		ret = virtio_pop(&vn->vdev, NET_RX, c);
		if (ret <= 0) {
			*seen = vq_pos(vq);
			vq_rewind(vq, start);
			return ret;
		}
		skip = i ? 0 : NET_HDR;
		if (!i && !net_put_header(vn)) {
			vq_rewind(vq, start);
			return -1;
		}
		n = iov_write(c->in, c->nin, skip, frame + done, len - done);
		done += n;
		vn->head[i] = c->head;
		vn->len[i] = skip + n;
		if (done == len)
			return i + 1;
	}
	/* 5.1.6.3.1: buffers this small take no frame of this size */
	vq_rewind(vq, start);
	return -1;
}

static void net_deliver(struct virtio_net *vn, uint16_t n)
{
	struct virtqueue *vq = &vn->vdev.vq[NET_RX];
	uint16_t i;

	iov_write(vn->first.in, vn->first.nin,
		  offsetof(struct virtio_net_hdr_mrg_rxbuf, num_buffers),
		  &n, sizeof(n));
	for (i = 0; i < n; i++)
		vq_stage(vq, vn->head[i], vn->len[i]);
	vq_publish(vq);
	virtio_signal(&vn->vdev, NET_RX);
}

/* false: no room, the back end waits for resume */
static bool net_receive(void *owner, const void *frame, size_t len)
{
	struct virtio_net *vn = owner;
	struct virtqueue *vq = &vn->vdev.vq[NET_RX];
	struct vq_pos seen;
	int n;

	/* no driver, no link: lost, as on a cable that is not plugged in */
	if (!virtio_running(&vn->vdev) || !vq->enabled ||
	    len < NET_FRAME_MIN || len > NET_FRAME_MAX)
		return true;
	/* ends: each turn saw more buffers, and there are at most `size` */
	do {
		n = net_spread(vn, frame, len, &seen);
		if (n > 0)
			net_deliver(vn, n);
		if (n)
			return true;
	} while (vq_want_notify(vq, seen));
	vn->starved = true;
	return false;
}

/* ---- transmit ------------------------------------------------------------- */

static void net_send(struct virtio_net *vn)
{
	struct vq_chain *c = &vn->sent;
	uint64_t len;

	/* 5.1.6.2: the header's fields are for offloads, which are not there */
	if (c->out_len < NET_HDR)
		return;
	len = c->out_len - NET_HDR;
	if (len < NET_FRAME_MIN || len > NET_FRAME_MAX)
		return;
	iov_drop_front(&c->out, &c->nout, NET_HDR);
	vn->net->ops->send(vn->net, c->out, c->nout, len);
}

static bool net_send_batch(struct virtio_net *vn)
{
	unsigned int n;

	for (n = 0; n < NET_TX_BATCH; n++) {
		if (virtio_pop(&vn->vdev, NET_TX, &vn->sent) <= 0)
			return false;
		net_send(vn);
		vq_push(&vn->vdev.vq[NET_TX], vn->sent.head, 0);
	}
	return true;
}

static void net_transmit(struct virtio_net *vn)
{
	struct virtqueue *vq = &vn->vdev.vq[NET_TX];
	bool more;

	vq_refuse_notify(vq);
	more = net_send_batch(vn) || vq_want_notify(vq, vq_pos(vq));
	virtio_signal(&vn->vdev, NET_TX);
	if (more && virtio_running(&vn->vdev))
		loop_timer_arm(vn->more, loop_now());
}

static void net_more(void *owner)
{
	net_transmit(owner);
}

/* ---- the device ----------------------------------------------------------- */

static void net_notify(void *owner, unsigned int q)
{
	struct virtio_net *vn = owner;

	if (q == NET_TX) {
		net_transmit(vn);
		return;
	}
	/* buffers are there: no need to hear of more until they run out */
	vq_refuse_notify(&vn->vdev.vq[NET_RX]);
	if (!vn->starved)
		return;
	vn->starved = false;
	vn->net->ops->resume(vn->net);
}

static void net_quiesce(void *owner)
{
	struct virtio_net *vn = owner;

	/* starved stays: the back end still waits for resume */
	loop_timer_cancel(vn->more);
}

static void net_free(void *owner)
{
	struct virtio_net *vn = owner;

	vn->net->receive = NULL;
	loop_timer_free(vn->more);
	free(vn);
}

static const struct virtio_ops net_ops = {
	.notify = net_notify,
	.quiesce = net_quiesce,
	.free = net_free,
};

int virtio_net_new(struct dev_env *env, struct pci_bus *bus, struct net *net,
		   const uint8_t mac[6])
{
	struct virtio_net *vn = calloc(1, sizeof(*vn));

	if (!vn)
		return -ENOMEM;
	vn->more = loop_timer_new(env->loop, net_more, vn);
	if (!vn->more) {
		free(vn);
		return -ENOMEM;
	}
	memcpy(vn->config.mac, mac, sizeof(vn->config.mac));
	vn->config.status = VIRTIO_NET_S_LINK_UP;
	vn->net = net;
	net->receive = net_receive;
	net->owner = vn;
	vn->vdev = (struct virtio_dev){
		.name = "virtio-net",
		.id = VIRTIO_ID_NET,
		.class_code = 0x020000,		/* Ethernet controller */
		.features = 1ULL << VIRTIO_NET_F_MAC |
			    1ULL << VIRTIO_NET_F_STATUS |
			    1ULL << VIRTIO_NET_F_MRG_RXBUF,
		.config = &vn->config,
		.config_len = offsetof(struct virtio_net_config,
				       max_virtqueue_pairs),
		.nqueues = 2,
		.queue_size = NET_QUEUE,
		.ops = &net_ops,
		.owner = vn,
	};
	return virtio_pci_new(&vn->vdev, env, bus);
}
