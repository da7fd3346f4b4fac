/* SPDX-License-Identifier: GPL-2.0 */
/*
 * virtio entropy device (virtio 1.2, 5.4): the host's getrandom.
 */
#ifndef VMMD_VIRTIO_RNG_H
#define VMMD_VIRTIO_RNG_H

struct dev_env;
struct pci_bus;

int virtio_rng_new(struct dev_env *env, struct pci_bus *bus);	/* 0, -errno */

#endif
