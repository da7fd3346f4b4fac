/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Between the files of the network device: virtio_net.c is the device, its control
 * queue and what the guest sends; virtio_net_rx.c what it receives;
 * virtio_net_loan.c what neither sees, as the host's kernel moves it.
 */
#ifndef VMMD_VIRTIO_NET_PRIV_H
#define VMMD_VIRTIO_NET_PRIV_H

#include <linux/virtio_net.h>

#include "net/net.h"
#include "virtio/virtio_net.h"
#include "virtio/virtio_pci.h"

/* 5.1.2: receive and transmit in turn, the control queue behind the last */
#define NET_RX(pair)	(2 * (pair))
#define NET_TX(pair)	(2 * (pair) + 1)
#define NET_QUEUE	VQ_SIZE_MAX
#define NET_FRAME_MIN	14		/* an Ethernet header */
#define NET_FRAME_MAX	65550

#define NET_HDR		sizeof(struct virtio_net_hdr_mrg_rxbuf)

struct virtio_net {
	struct virtio_dev vdev;		/* device_state: pairs in use, less 1 */
	struct net *net;
	struct virtio_net_config config;
	struct loop_timer *more;
	uint64_t more_queues;		/* have more than a batch; a bit each */
	/* a bit a pair: */
	uint32_t starved;		/* found no receive buffer */
	uint32_t received;		/* got frames not signalled */
	uint32_t lent;			/* the host's kernel moves the frames */
	uint32_t refused;		/* it would not: not asked again for now */
	struct vq_head head[NET_QUEUE];	/* buffers of the frame being received */
	uint32_t len[NET_QUEUE];	/* bytes written to each */
	struct vq_chain first, rest;	/* of the frame being received */
	struct vq_chain sent;
	struct virtio_net_hdr_mrg_rxbuf sent_header;
	struct iovec sent_iov[NET_QUEUE + 1];
};

static inline bool net_has(const struct virtio_net *vn, unsigned int bit)
{
	return virtio_has_feature(&vn->vdev, bit);
}

/* look at the queue again soon, from the loop */
void net_look_later(struct virtio_net *vn, unsigned int q);

/*
 * What was not negotiated is not there: flags are cleared, and false is for a
 * frame that is no good without it. That happens for what was on its way when
 * another driver took over.
 */
bool net_header_ok(const struct virtio_net *vn, struct virtio_net_hdr_mrg_rxbuf *h,
		   bool to_guest);

/* virtio_net_rx.c: for struct net, and for a receive queue */
bool net_receive(void *owner, unsigned int pair, const void *frame, size_t len);
void net_signal_received(void *owner);
void net_rx_notify(struct virtio_net *vn, unsigned int pair);

/* virtio_net_loan.c: is the pair in use and lent, if need be from now on */
bool net_lend(struct virtio_net *vn, unsigned int pair);
void net_lend_used(struct virtio_net *vn);
/* take those back that are lent, from this pair on */
void net_return_from(struct virtio_net *vn, unsigned int pair);
void net_in_flight(void *owner);	/* virtio_ops.in_flight */

#endif
