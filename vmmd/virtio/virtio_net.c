// SPDX-License-Identifier: GPL-2.0
/*
 * virtio network device (virtio 1.2, 5.1): as many pairs of queues as the back
 * end has. With a back end that knows the header that precedes each frame, the
 * guest's kernel and the host's leave each other checksums and segmentation;
 * without, the header is all zeroes but for the number of buffers. Pairs that the
 * host's kernel can work by itself are lent to it while the guest uses them.
 */
#include <assert.h>
#include <errno.h>
#include <linux/if_tun.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ids.h>
#include <stdlib.h>
#include <string.h>

#include "iov.h"
#include "loop.h"
#include "virtio/virtio_net_priv.h"

#define NET_TX_BATCH	64		/* frames under one hold of the lock */
#define NET_CTRL_BATCH	16		/* commands, likewise */

static_assert(NET_RX(VIRTIO_NET_PAIRS_MAX) < VIRTIO_QUEUES_MAX,
	      "all pairs and the control queue");

/* ---- headers, 5.1.6 ------------------------------------------------------- */

/* is what gso_type asks for among what was negotiated */
static bool gso_ok(const struct virtio_net *vn, uint8_t gso_type, bool to_guest)
{
	bool ecn = gso_type & VIRTIO_NET_HDR_GSO_ECN;

	if (ecn && !net_has(vn, to_guest ? VIRTIO_NET_F_GUEST_ECN :
					   VIRTIO_NET_F_HOST_ECN))
		return false;
	switch (gso_type & ~VIRTIO_NET_HDR_GSO_ECN) {
	case VIRTIO_NET_HDR_GSO_NONE:
		return !ecn;
	case VIRTIO_NET_HDR_GSO_TCPV4:
		return net_has(vn, to_guest ? VIRTIO_NET_F_GUEST_TSO4 :
					      VIRTIO_NET_F_HOST_TSO4);
	case VIRTIO_NET_HDR_GSO_TCPV6:
		return net_has(vn, to_guest ? VIRTIO_NET_F_GUEST_TSO6 :
					      VIRTIO_NET_F_HOST_TSO6);
	}
	return false;
}

bool net_header_ok(const struct virtio_net *vn, struct virtio_net_hdr_mrg_rxbuf *h,
		   bool to_guest)
{
	uint8_t known = VIRTIO_NET_HDR_F_NEEDS_CSUM;

	if (to_guest)
		known |= VIRTIO_NET_HDR_F_DATA_VALID;
	h->hdr.flags &= known;
	if (!net_has(vn, to_guest ? VIRTIO_NET_F_GUEST_CSUM : VIRTIO_NET_F_CSUM)) {
		if (h->hdr.flags & VIRTIO_NET_HDR_F_NEEDS_CSUM)
			return false;
		h->hdr.flags = 0;
	}
	return gso_ok(vn, h->hdr.gso_type, to_guest);
}

/* ---- transmit ------------------------------------------------------------- */

static void net_send(struct virtio_net *vn, unsigned int pair)
{
	struct vq_chain *c = &vn->sent;
	struct iovec *iov = vn->sent_iov;
	uint64_t len;

	if (c->out_len < NET_HDR)
		return;
	len = c->out_len - NET_HDR;
	if (len < NET_FRAME_MIN || len > NET_FRAME_MAX)
		return;
	iov_read(c->out, c->nout, 0, &vn->sent_header, NET_HDR);
	iov_drop_front(&c->out, &c->nout, NET_HDR);
	/* 5.1.6.2: the header's fields are for offloads, if there are any */
	if (!vn->net->has_header) {
		vn->net->ops->send(vn->net, pair, c->out, c->nout, len);
		return;
	}
	if (!net_header_ok(vn, &vn->sent_header, false))
		return;
	vn->sent_header.num_buffers = 0;
	iov[0] = (struct iovec){ &vn->sent_header, NET_HDR };
	memcpy(&iov[1], c->out, c->nout * sizeof(*iov));
	vn->net->ops->send(vn->net, pair, iov, c->nout + 1, NET_HDR + len);
}

static bool net_send_batch(struct virtio_net *vn, unsigned int pair)
{
	unsigned int n, q = NET_TX(pair);

	for (n = 0; n < NET_TX_BATCH; n++) {
		if (virtio_pop(&vn->vdev, q, &vn->sent) <= 0)
			return false;
		net_send(vn, pair);
		vq_push(&vn->vdev.vq[q], vn->sent.head, 0);
	}
	return true;
}

/* ---- control, 5.1.6.5 ----------------------------------------------------- */

static unsigned int net_offloads(const struct virtio_net *vn)
{
	unsigned int offloads = TUN_F_CSUM;

	/* 5.1.3.1: segmentation requires checksums */
	if (!net_has(vn, VIRTIO_NET_F_GUEST_CSUM))
		return 0;
	if (net_has(vn, VIRTIO_NET_F_GUEST_TSO4))
		offloads |= TUN_F_TSO4;
	if (net_has(vn, VIRTIO_NET_F_GUEST_TSO6))
		offloads |= TUN_F_TSO6;
	if (offloads != TUN_F_CSUM && net_has(vn, VIRTIO_NET_F_GUEST_ECN))
		offloads |= TUN_F_TSO_ECN;
	return offloads;
}

static int net_tell(struct virtio_net *vn, unsigned int pairs)
{
	struct net *net = vn->net;

	if (!net->ops->configure)
		return 0;
	return net->ops->configure(net, pairs, net_offloads(vn));
}

static void net_configure(void *owner)
{
	struct virtio_net *vn = owner;
	int ret = net_tell(vn, vn->vdev.device_state + 1);

	if (ret)
		virtio_report(&vn->vdev,
			      "the host's interface does not take %u queue pairs with the guest's offloads: %s; the guest may receive nothing",
			      vn->vdev.device_state + 1, strerror(-ret));
}

/* 5.1.6.5.5: how many pairs the driver wants used */
static uint8_t net_set_pairs(struct virtio_net *vn, const struct vq_chain *c)
{
	uint16_t pairs;
	int ret;

	if (c->out_len != sizeof(struct virtio_net_ctrl_hdr) + sizeof(pairs))
		return VIRTIO_NET_ERR;
	iov_read(c->out, c->nout, sizeof(struct virtio_net_ctrl_hdr), &pairs,
		 sizeof(pairs));
	if (pairs < VIRTIO_NET_CTRL_MQ_VQ_PAIRS_MIN || pairs > vn->net->pairs)
		return VIRTIO_NET_ERR;
	net_return_from(vn, pairs);
	ret = net_tell(vn, pairs);
	if (!ret)
		vn->vdev.device_state = pairs - 1;
	net_lend_used(vn);
	return ret ? VIRTIO_NET_ERR : VIRTIO_NET_OK;
}

static uint8_t net_command(struct virtio_net *vn, const struct vq_chain *c)
{
	struct virtio_net_ctrl_hdr hdr;

	if (iov_read(c->out, c->nout, 0, &hdr, sizeof(hdr)) == sizeof(hdr) &&
	    hdr.class == VIRTIO_NET_CTRL_MQ &&
	    hdr.cmd == VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET &&
	    net_has(vn, VIRTIO_NET_F_MQ))
		return net_set_pairs(vn, c);
	return VIRTIO_NET_ERR;
}

static bool net_control_batch(struct virtio_net *vn, unsigned int q)
{
	struct vq_chain *c = &vn->sent;
	unsigned int n;
	uint8_t ack;

	for (n = 0; n < NET_CTRL_BATCH; n++) {
		if (virtio_pop(&vn->vdev, q, c) <= 0)
			return false;
		if (!c->in_len) {
			virtio_fail(&vn->vdev,
				    "a command without room for its answer; the device stops until the guest resets it");
			return false;
		}
		ack = net_command(vn, c);
		iov_write(c->in, c->nin, 0, &ack, sizeof(ack));
		vq_push(&vn->vdev.vq[q], c->head, sizeof(ack));
	}
	return true;
}

void net_look_later(struct virtio_net *vn, unsigned int q)
{
	vn->more_queues |= 1ULL << q;
	loop_timer_arm(vn->more, loop_now());
}

/* ---- the device ----------------------------------------------------------- */

/* 5.1.2: without MQ the driver counts one pair */
static bool net_is_control(const struct virtio_net *vn, unsigned int q)
{
	unsigned int pairs = net_has(vn, VIRTIO_NET_F_MQ) ? vn->net->pairs : 1;

	return net_has(vn, VIRTIO_NET_F_CTRL_VQ) && q == 2 * pairs;
}

static void net_work(struct virtio_net *vn, unsigned int q)
{
	struct virtqueue *vq = &vn->vdev.vq[q];
	bool more;

	vq_refuse_notify(vq);
	more = net_is_control(vn, q) ? net_control_batch(vn, q) :
				       net_send_batch(vn, q / 2);
	more = more || vq_want_notify(vq, vq_pos(vq));
	virtio_signal(&vn->vdev, q);
	/* the back end may have answered at once */
	net_signal_received(vn);
	if (!more || !virtio_running(&vn->vdev))
		return;
	net_look_later(vn, q);
}

static void net_run(void *owner)
{
	struct virtio_net *vn = owner;

	if (!virtio_running(&vn->vdev))
		net_return_from(vn, 0);
}

static void net_more(void *owner)
{
	struct virtio_net *vn = owner;
	uint64_t queues = vn->more_queues;

	vn->more_queues = 0;
	for (; queues; queues &= queues - 1)
		virtio_notify(&vn->vdev, __builtin_ctzll(queues));
}

static void net_notify(void *owner, unsigned int q)
{
	struct virtio_net *vn = owner;

	if (net_is_control(vn, q))
		net_work(vn, q);
	else if (q / 2 < vn->net->pairs && net_lend(vn, q / 2))
		virtio_loan_kick(&vn->vdev, q);
	else if (q % 2)
		net_work(vn, q);
	else if (q / 2 < vn->net->pairs)
		net_rx_notify(vn, q / 2);
}

static void net_quiesce(void *owner)
{
	struct virtio_net *vn = owner;

	net_return_from(vn, 0);
	vn->refused = 0;
	/* starved stays: the back end still waits for resume */
	net_signal_received(vn);
	vn->more_queues = 0;
	loop_timer_cancel(vn->more);
}

static void net_free(void *owner)
{
	struct virtio_net *vn = owner;

	vn->net->receive = NULL;
	vn->net->received = NULL;
	loop_timer_free(vn->more);
	free(vn);
}

static const struct virtio_ops net_ops = {
	.notify = net_notify,
	.quiesce = net_quiesce,
	.configure = net_configure,
	.in_flight = net_in_flight,
	.run = net_run,
	.free = net_free,
};

/* 5.1.3 */
static uint64_t net_features(const struct net *net)
{
	uint64_t f = 1ULL << VIRTIO_NET_F_MAC | 1ULL << VIRTIO_NET_F_STATUS |
		     1ULL << VIRTIO_NET_F_MRG_RXBUF;

	if (net->has_header)
		f |= 1ULL << VIRTIO_NET_F_CSUM | 1ULL << VIRTIO_NET_F_GUEST_CSUM |
		     1ULL << VIRTIO_NET_F_HOST_TSO4 |
		     1ULL << VIRTIO_NET_F_HOST_TSO6 |
		     1ULL << VIRTIO_NET_F_HOST_ECN |
		     1ULL << VIRTIO_NET_F_GUEST_TSO4 |
		     1ULL << VIRTIO_NET_F_GUEST_TSO6 |
		     1ULL << VIRTIO_NET_F_GUEST_ECN;
	if (net->pairs > 1)
		f |= 1ULL << VIRTIO_NET_F_CTRL_VQ | 1ULL << VIRTIO_NET_F_MQ;
	return f;
}

static void net_fill_config(struct virtio_net *vn, const uint8_t mac[6])
{
	memcpy(vn->config.mac, mac, sizeof(vn->config.mac));
	vn->config.status = VIRTIO_NET_S_LINK_UP;
	vn->config.max_virtqueue_pairs = vn->net->pairs;
}

int virtio_net_new(struct dev_env *env, struct pci_bus *bus, struct net *net,
		   const uint8_t mac[6])
{
	struct virtio_net *vn = calloc(1, sizeof(*vn));
	int ret;

	if (!vn)
		return -ENOMEM;
	vn->more = loop_timer_new(env->loop, net_more, vn);
	if (!vn->more) {
		free(vn);
		return -ENOMEM;
	}
	vn->net = net;
	net->receive = net_receive;
	net->received = net_signal_received;
	net->owner = vn;
	net->mem = env->mem;
	net_fill_config(vn, mac);
	vn->vdev = (struct virtio_dev){
		.name = "virtio-net",
		.id = VIRTIO_ID_NET,
		.class_code = 0x020000,		/* Ethernet controller */
		.features = net_features(net),
		.config = &vn->config,
		.config_len = offsetof(struct virtio_net_config, mtu),
		.nqueues = 2 * net->pairs + (net->pairs > 1),
		.queue_size = NET_QUEUE,
		.device_state_max = net->pairs - 1,
		.ops = &net_ops,
		.owner = vn,
	};
	ret = virtio_pci_new(&vn->vdev, env, bus);
	if (!ret && net->lend)
		ret = virtio_loans_new(&vn->vdev);
	return ret;
}
