/* SPDX-License-Identifier: GPL-2.0 */
/*
 * virtio block device (virtio 1.2, 5.2) on top of block.h.
 */
#ifndef VMMD_VIRTIO_BLK_H
#define VMMD_VIRTIO_BLK_H

struct block;
struct dev_env;
struct pci_bus;

#define VIRTIO_BLK_QUEUES_MAX	16

/* 0 or -errno; the block stays the caller's, who closes it after dev_ops.free */
int virtio_blk_new(struct dev_env *env, struct pci_bus *bus,
		   struct block *block, unsigned int queues);

#endif
