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
	void (*send)(struct net *net, const struct iovec *iov, unsigned int n,
		     size_t len);
	/* the guest has receive buffers again */
	void (*resume)(struct net *net);
	void (*free)(struct net *net);
};

struct net {
	const struct net_ops *ops;
	/* set by the front end: takes a frame; false: no room now, keep or drop
	 * it and wait for resume */
	bool (*receive)(void *owner, const void *frame, size_t len);
	void *owner;
};

struct net_forward {		/* --forward tcp:HOST:GUEST */
	bool udp;
	uint16_t host_port;	/* on 127.0.0.1 */
	uint16_t guest_port;
};

/* NULL on failure with one line in err[] (port already bound: which) */
struct net *net_user_new(struct loop *loop, const struct net_forward *fwd,
			 unsigned int nfwd, char *err, size_t errlen);
struct net *net_tap_new(struct loop *loop, const char *ifname, char *err,
			size_t errlen);

#endif
