// SPDX-License-Identifier: GPL-2.0
/*
 * Switches learn where a MAC is from what it sends: a reverse ARP request, which
 * wants no answer of anybody and needs no address (RFC 903).
 */
#include <assert.h>
#include <endian.h>
#include <linux/virtio_net.h>
#include <net/ethernet.h>
#include <net/if_arp.h>
#include <string.h>

#include "net/net.h"

struct __attribute__((packed)) rarp {
	struct virtio_net_hdr_mrg_rxbuf header;
	struct ether_header ether;
	struct arphdr arp;
	uint8_t sender[6], sender_ip[4], target[6], target_ip[4];
	uint8_t pad[18];
};

static_assert(sizeof(struct rarp) - offsetof(struct rarp, ether) == 60,
	      "the shortest frame there is");

void net_announce(struct net *net, const uint8_t mac[6])
{
	struct rarp frame = {
		.ether.ether_type = htobe16(ETHERTYPE_REVARP),
		.arp = {
			.ar_hrd = htobe16(ARPHRD_ETHER),
			.ar_pro = htobe16(ETHERTYPE_IP),
			.ar_hln = 6, .ar_pln = 4,
			.ar_op = htobe16(ARPOP_RREQUEST),
		},
	};
	struct iovec iov = { .iov_base = &frame, .iov_len = sizeof(frame) };

	memset(frame.ether.ether_dhost, 0xff, sizeof(frame.ether.ether_dhost));
	memcpy(frame.ether.ether_shost, mac, sizeof(frame.ether.ether_shost));
	memcpy(frame.sender, mac, sizeof(frame.sender));
	memcpy(frame.target, mac, sizeof(frame.target));
	if (!net->has_header) {
		iov.iov_base = &frame.ether;
		iov.iov_len -= offsetof(struct rarp, ether);
	}
	net->ops->send(net, 0, &iov, 1, iov.iov_len);
}
