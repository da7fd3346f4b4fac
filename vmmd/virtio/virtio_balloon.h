/* SPDX-License-Identifier: GPL-2.0 */
/*
 * virtio memory balloon (virtio 1.2, 5.5): memory that the guest can spare goes
 * back to the host.
 */
#ifndef VMMD_VIRTIO_BALLOON_H
#define VMMD_VIRTIO_BALLOON_H

#include <stdint.h>

struct dev_env;
struct pci_bus;

/* pages (of 4 KiB) that the guest is asked to do without; 0 or -errno */
int virtio_balloon_new(struct dev_env *env, struct pci_bus *bus,
		       uint32_t pages);

#endif
