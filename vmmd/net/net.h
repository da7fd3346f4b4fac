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

struct loop;
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
	void (*free)(struct net *net);
};

struct net {
	const struct net_ops *ops;
	unsigned int pairs;	/* of queues, at most; at least 1 */
	/* each frame begins with a struct virtio_net_hdr_mrg_rxbuf */
	bool has_header;
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

struct net_tap_opts {
	const char *ifname;
	unsigned int pairs;
	bool or_less;		/* one pair will do if the device has only one */
};

struct net *net_tap_new(struct loop *loop, const struct net_tap_opts *opts,
			char *err, size_t errlen);

#endif
