/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A device: one file with its state struct, its ops, its register map, its
 * save and load, and one *_new() at the bottom, which puts its ranges on the
 * buses and registers a struct dev with the machine. It sees no ioctl.
 */
#ifndef VMMD_DEV_H
#define VMMD_DEV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct bus;
struct irq;
struct loop;
struct mem;
struct dev_ops;

/* what a device may lean on; handed to every *_new() */
struct dev_env {
	struct bus *pio;
	struct bus *mmio;
	struct irq *irq;
	struct loop *loop;
	struct mem *mem;
	bool packed_rings;	/* virtio devices offer VIRTIO_F_RING_PACKED */
	/* add to the machine's list of devices; 0 or -errno */
	int (*add)(struct dev_env *env, const char *name,
		   const struct dev_ops *ops, void *owner);
	/* the guest asks: reset the machine, power it off (machine.c) */
	void (*request_reset)(struct dev_env *env);
	void (*request_poweroff)(struct dev_env *env);
	/*
	 * The module answers the guest's writes to a gpa or a port: it adds 1
	 * to the eventfd. -1: no more. 0 or -errno; NULL: there is no module.
	 */
	int (*doorbell)(struct dev_env *env, bool port, uint64_t addr,
			int eventfd);
	/*
	 * Writes of `size` bytes to a gpa or a port have no effect before the
	 * guest's next access to something else: the module keeps them and the
	 * vCPU runs on. They come as ever, through the bus. May be refused.
	 */
	void (*coalesce)(struct dev_env *env, bool port, uint64_t addr,
			 unsigned int size);
	/*
	 * The module sends the message that gsi is routed to (0, 0: none) when
	 * the eventfd is signalled, and signals `eoi` when the guest ends it;
	 * -1: neither any more, no eoi. GSIs below `gsis` are taken, the first
	 * of them by the wires. -EINVAL: no message. NULL: there is no module.
	 */
	unsigned int gsis;
	int (*msi_route)(struct dev_env *env, unsigned int gsi, uint64_t addr,
			 uint32_t data);
	int (*msi_bind)(struct dev_env *env, unsigned int gsi, int eventfd,
			int eoi);
};

struct dev_ops {
	void (*reset)(void *owner);		/* to power-on state */
	/*
	 * State as bytes: a fixed-width struct of the device's own. save
	 * returns its size (buf NULL: just that); load: 0, or -EINVAL when the
	 * bytes are no state of this device, with nothing changed.
	 */
	size_t (*save)(void *owner, void *buf, size_t max);
	int (*load)(void *owner, const void *buf, size_t len);
	/*
	 * Guest memory that requests in flight are still to write is marked
	 * with mem_wrote; NULL: a device that has none when the lock is free
	 */
	void (*in_flight)(void *owner);
	void (*free)(void *owner);
};

#endif
