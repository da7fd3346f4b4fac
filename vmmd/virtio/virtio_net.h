/* SPDX-License-Identifier: GPL-2.0 */
/*
 * virtio network device (virtio 1.2, 5.1): pairs of a receive and a transmit
 * queue in front of a net.h back end.
 */
#ifndef VMMD_VIRTIO_NET_H
#define VMMD_VIRTIO_NET_H

#include <stdint.h>

#define VIRTIO_NET_PAIRS_MAX	16

struct dev_env;
struct net;
struct pci_bus;

/* 0 or -errno; the net stays the caller's, who frees it after dev_ops.free */
int virtio_net_new(struct dev_env *env, struct pci_bus *bus, struct net *net,
		   const uint8_t mac[6]);

#endif
