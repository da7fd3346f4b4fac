// SPDX-License-Identifier: GPL-2.0
/*
 * What the network device's guest receives (virtio 1.2, 5.1.6.3, 5.1.6.4): a frame
 * is spread over as many buffers as it takes.
 */
#include <string.h>

#include "iov.h"
#include "virtio/virtio_net_priv.h"

static bool net_put_header(struct virtio_net *vn,
			   const struct virtio_net_hdr_mrg_rxbuf *h)
{
	const struct vq_chain *c = &vn->first;

	if (iov_write(c->in, c->nin, 0, h, NET_HDR) == NET_HDR)
		return true;
	virtio_fail(&vn->vdev,
		    "a receive buffer of %llu bytes has no room for a header; the device stops until the guest resets it",
		    (unsigned long long)c->in_len);
	return false;
}

struct net_frame {
	struct virtio_net_hdr_mrg_rxbuf header;
	const uint8_t *data;
	size_t len;
};

/*
 * Spread the frame over buffers, without publishing them. Returns how many;
 * 0: there are not enough, and they end at *seen; -1: it cannot be done, drop
 * the frame.
 */
static int net_spread(struct virtio_net *vn, unsigned int q,
		      const struct net_frame *f, struct vq_pos *seen)
{
	struct virtqueue *vq = &vn->vdev.vq[q];
	struct vq_pos start = vq_pos(vq);
	unsigned int i, max = net_has(vn, VIRTIO_NET_F_MRG_RXBUF) ? vq->size : 1;
	size_t done = 0, skip, n;
	struct vq_chain *c;
	int ret;

	for (i = 0; i < max; i++) {
		c = i ? &vn->rest : &vn->first;
		ret = virtio_pop(&vn->vdev, q, c);
		if (ret <= 0) {
			*seen = vq_pos(vq);
			vq_rewind(vq, start);
			return ret;
		}
		skip = i ? 0 : NET_HDR;
		if (!i && !net_put_header(vn, &f->header)) {
			vq_rewind(vq, start);
			return -1;
		}
		n = iov_write(c->in, c->nin, skip, f->data + done, f->len - done);
		done += n;
		vn->head[i] = c->head;
		vn->len[i] = skip + n;
		if (done == f->len)
			return i + 1;
	}
	/* 5.1.6.3.1: buffers this small take no frame of this size */
	vq_rewind(vq, start);
	return -1;
}

static void net_deliver(struct virtio_net *vn, unsigned int q, uint16_t n)
{
	struct virtqueue *vq = &vn->vdev.vq[q];
	uint16_t i;

	iov_write(vn->first.in, vn->first.nin,
		  offsetof(struct virtio_net_hdr_mrg_rxbuf, num_buffers),
		  &n, sizeof(n));
	for (i = 0; i < n; i++)
		vq_stage(vq, vn->head[i], vn->len[i]);
	vq_publish(vq);
	vn->received |= 1U << q / 2;
}

/* after a batch: one interrupt for each queue, if the driver wants it */
void net_signal_received(void *owner)
{
	struct virtio_net *vn = owner;
	uint32_t pairs = vn->received;

	vn->received = 0;
	for (; pairs; pairs &= pairs - 1)
		virtio_signal(&vn->vdev, NET_RX(__builtin_ctz(pairs)));
}

/* what the back end gave, taken apart; false: nothing for this driver */
static bool net_take_apart(struct virtio_net *vn, const uint8_t *frame,
			   size_t len, struct net_frame *f)
{
	*f = (struct net_frame){ .data = frame, .len = len };
	if (vn->net->has_header) {
		if (len < NET_HDR)
			return false;
		memcpy(&f->header, frame, NET_HDR);
		f->data += NET_HDR;
		f->len -= NET_HDR;
	}
	f->header.num_buffers = 1;
	return f->len >= NET_FRAME_MIN && f->len <= NET_FRAME_MAX &&
	       net_header_ok(vn, &f->header, true);
}

/* false: no room, the back end waits for resume */
bool net_receive(void *owner, unsigned int pair, const void *frame, size_t len)
{
	struct virtio_net *vn = owner;
	unsigned int q = NET_RX(pair);
	struct virtqueue *vq = &vn->vdev.vq[q];
	struct net_frame f;
	struct vq_pos seen;
	int n;

	/* no driver, no link: lost, as on a cable that is not plugged in */
	if (pair > vn->vdev.device_state || !virtio_running(&vn->vdev) ||
	    !vq->enabled || !net_take_apart(vn, frame, len, &f))
		return true;
	/* ends: each turn saw more buffers, and there are at most `size` */
	do {
		n = net_spread(vn, q, &f, &seen);
		if (n > 0)
			net_deliver(vn, q, n);
		if (n)
			return true;
	} while (vq_want_notify(vq, seen));
	vn->starved |= 1U << pair;
	return false;
}

void net_rx_notify(struct virtio_net *vn, unsigned int pair)
{
	/* buffers are there: no need to hear of more until they run out */
	vq_refuse_notify(&vn->vdev.vq[NET_RX(pair)]);
	if (!(vn->starved & 1U << pair))
		return;
	vn->starved &= ~(1U << pair);
	vn->net->ops->resume(vn->net, pair);
	net_signal_received(vn);
}
