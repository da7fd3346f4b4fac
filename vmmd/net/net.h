/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A network back end: where a guest's Ethernet frames go. user (libslirp) and
 * tap. Knows nothing of virtio. Loop's thread or a vCPU thread, machine lock
 * held.
 */
#ifndef VMMD_NET_H
#define VMMD_NET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "ring.h"

struct loop;
struct mem;
struct net;

struct net_ops {
	/* a frame from the guest; sent or dropped, never kept */
	void (*send)(struct net *net, unsigned int pair,
		     const struct iovec *iov, unsigned int n, size_t len);
	/* the guest has receive buffers again */
	void (*resume)(struct net *net, unsigned int pair);
	/*
	 * How many pairs are in use from now on, from 0 on, and what the guest
	 * takes (TUN_F_*); 0 or -errno with nothing changed. NULL: of a back
	 * end with one pair and no headers.
	 */
	int (*configure)(struct net *net, unsigned int pairs,
			 unsigned int offloads);
	/*
	 * The host's kernel moves the pair's frames between the device and two
	 * rings, one to receive and one to send, until it is stopped; features
	 * are what the guest negotiated of `lend`. 0, or -errno and stopped. A
	 * stop tells how far each was read. NULL: of a back end without `lend`.
	 */
	int (*start)(struct net *net, unsigned int pair, struct ring_loan ring[2],
		     uint64_t features);
	void (*stop)(struct net *net, unsigned int pair, struct ring_loan ring[2]);
	/*
	 * Mark with mem_wrote what the kernel wrote of memory that is tracked, and
	 * was at the last call or at the start; a stop does so by itself. 0; or
	 * -errno: it has to be stopped.
	 */
	int (*wrote)(struct net *net);
	void (*free)(struct net *net);
};

struct net {
	const struct net_ops *ops;
	unsigned int pairs;	/* of queues, at most; at least 1 */
	/* each frame begins with a struct virtio_net_hdr_mrg_rxbuf */
	bool has_header;
	/* VIRTIO_*F_* of rings that the host's kernel may work; 0: none */
	uint64_t lend;
	struct mem *mem;	/* set by the front end: what is in rings is there */
	/* set by the front end: takes a frame; false: no room now, keep or drop
	 * it and wait for resume */
	bool (*receive)(void *owner, unsigned int pair, const void *frame,
			size_t len);
	/*
	 * Called when there are no more frames for now: the guest is told of
	 * them all at once. Not needed from within send and resume.
	 */
	void (*received)(void *owner);
	void *owner;
};

/* send what tells switches that this MAC is here now; machine lock held */
void net_announce(struct net *net, const uint8_t mac[6]);

/* for the back ends */
static inline void net_received(struct net *net)
{
	if (net->received)
		net->received(net->owner);
}

struct net_forward {		/* --forward tcp:HOST:GUEST */
	bool udp;
	uint16_t host_port;	/* on 127.0.0.1 */
	uint16_t guest_port;
};

/* NULL on failure with one line in err[] (port already bound: which) */
struct net *net_user_new(struct loop *loop, const struct net_forward *fwd,
			 unsigned int nfwd, char *err, size_t errlen);

/* whether the host's kernel moves a tap device's frames by itself, with vhost-net */
enum net_vhost { NET_VHOST_AUTO, NET_VHOST_OFF, NET_VHOST_ON };	/* auto: if it can */

struct net_tap_opts {
	const char *ifname;
	unsigned int pairs;
	bool or_less;		/* one pair will do if the device has only one */
	enum net_vhost vhost;
};

struct net *net_tap_new(struct loop *loop, const struct net_tap_opts *opts,
			char *err, size_t errlen);

#endif
