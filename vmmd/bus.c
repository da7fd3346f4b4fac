// SPDX-License-Identifier: GPL-2.0
/*
 * A bus: a sorted array of ranges, searched by bisection. A range is copied
 * out before its device is called, since a device may move ranges (a PCI BAR)
 * from inside its own callback.
 */
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "bus.h"

struct bus_range {
	uint64_t start;
	uint64_t last;		/* inclusive: a range may end at 2^64 - 1 */
	const struct bus_ops *ops;
	void *owner;
	const char *name;
};

struct bus {
	const char *name;
	struct bus_range *range;	/* sorted by start, no overlaps */
	size_t count;
	size_t room;
	size_t recent;			/* index of the last hit: often the next */
};

struct bus *bus_new(const char *name)
{
	struct bus *bus = calloc(1, sizeof(*bus));

	if (bus)
		bus->name = name;
	return bus;
}

void bus_free(struct bus *bus)
{
	if (!bus)
		return;
	free(bus->range);
	free(bus);
}

/* index of the first range that ends at or after addr; count if none does */
static size_t bus_lower_bound(const struct bus *bus, uint64_t addr)
{
	size_t lo = 0, hi = bus->count;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (bus->range[mid].last < addr)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

static int bus_grow(struct bus *bus)
{
	size_t room = bus->room ? bus->room * 2 : 16;
	struct bus_range *range;

	if (bus->count < bus->room)
		return 0;
	range = reallocarray(bus->range, room, sizeof(*range));
	if (!range)
		return -ENOMEM;
	bus->range = range;
	bus->room = room;
	return 0;
}

int bus_add(struct bus *bus, uint64_t start, uint64_t size,
	    const struct bus_ops *ops, void *owner, const char *name)
{
	uint64_t last = start + size - 1;
	size_t i;
	int ret;

	if (!size || last < start)
		return -EINVAL;
	i = bus_lower_bound(bus, start);
	if (i < bus->count && bus->range[i].start <= last)
		return -EEXIST;
	ret = bus_grow(bus);
	if (ret)
		return ret;

	memmove(&bus->range[i + 1], &bus->range[i],
		(bus->count - i) * sizeof(bus->range[0]));
	bus->range[i] = (struct bus_range){ start, last, ops, owner, name };
	bus->count++;
	return 0;
}

void bus_remove(struct bus *bus, uint64_t start)
{
	size_t i = bus_lower_bound(bus, start);

	if (i == bus->count || bus->range[i].start != start)
		return;
	bus->count--;
	memmove(&bus->range[i], &bus->range[i + 1],
		(bus->count - i) * sizeof(bus->range[0]));
}

enum bus_hit { BUS_HIT, BUS_NOBODY, BUS_SPLIT };

/* who answers [addr, addr + size): one range, nobody, or more than one */
static enum bus_hit bus_find(struct bus *bus, uint64_t addr,
			     unsigned int size, struct bus_range *out)
{
	uint64_t last = addr + size - 1;
	size_t i = bus->recent;

	if (i >= bus->count || addr < bus->range[i].start || addr > bus->range[i].last)
		i = bus_lower_bound(bus, addr);
	if (last < addr)
		return BUS_SPLIT;
	if (i == bus->count || bus->range[i].start > last)
		return BUS_NOBODY;
	bus->recent = i;
	*out = bus->range[i];
	if (out->start <= addr && last <= out->last)
		return BUS_HIT;
	return BUS_SPLIT;
}

static uint64_t size_mask(unsigned int size)
{
	return size >= 8 ? ~0ULL : (1ULL << (size * 8)) - 1;
}

static bool size_ok(unsigned int size)
{
	return size == 1 || size == 2 || size == 4 || size == 8;
}

uint64_t bus_read(struct bus *bus, uint64_t addr, unsigned int size)
{
	struct bus_range r;
	uint64_t value = 0;
	unsigned int i;

	if (!size || size > 8)
		return ~0ULL;
	switch (bus_find(bus, addr, size, &r)) {
	case BUS_NOBODY:
		return size_mask(size);
	case BUS_HIT:
		if (!size_ok(size))
			break;
		if (!r.ops->read)
			return size_mask(size);
		return r.ops->read(r.owner, addr - r.start, size) &
		       size_mask(size);
	case BUS_SPLIT:
		break;
	}
	for (i = 0; i < size; i++)
		value |= bus_read(bus, addr + i, 1) << (i * 8);
	return value;
}

void bus_write(struct bus *bus, uint64_t addr, uint64_t value,
	       unsigned int size)
{
	struct bus_range r;
	unsigned int i;

	if (!size || size > 8)
		return;
	value &= size_mask(size);
	switch (bus_find(bus, addr, size, &r)) {
	case BUS_NOBODY:
		return;
	case BUS_HIT:
		if (!size_ok(size))
			break;
		if (r.ops->write)
			r.ops->write(r.owner, addr - r.start, value, size);
		return;
	case BUS_SPLIT:
		break;
	}
	for (i = 0; i < size; i++)
		bus_write(bus, addr + i, (value >> (i * 8)) & 0xff, 1);
}
