/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A bus: address ranges and who answers them. One for ports, one for MMIO.
 * Devices get offsets relative to their range and an opaque owner pointer.
 * All calls are made with the machine lock held (machine.h).
 */
#ifndef VMMD_BUS_H
#define VMMD_BUS_H

#include <stdint.h>

struct bus;

struct bus_ops {
	/* size is 1, 2, 4 or 8 bytes; [offset, offset + size) is in the range */
	uint64_t (*read)(void *owner, uint64_t offset, unsigned int size);
	void (*write)(void *owner, uint64_t offset, uint64_t value,
		      unsigned int size);
};

struct bus *bus_new(const char *name);
void bus_free(struct bus *bus);

/* 0; -EEXIST: overlaps another range; -EINVAL: empty or wraps; -ENOMEM */
int bus_add(struct bus *bus, uint64_t start, uint64_t size,
	    const struct bus_ops *ops, void *owner, const char *name);
/* remove the range that starts at `start`; none there: nothing happens */
void bus_remove(struct bus *bus, uint64_t start);

/*
 * Nobody there: reads give all ones, writes are dropped. An access that
 * crosses the end of a range is split into bytes.
 */
uint64_t bus_read(struct bus *bus, uint64_t addr, unsigned int size);
void bus_write(struct bus *bus, uint64_t addr, uint64_t value,
	       unsigned int size);

#endif
