// SPDX-License-Identifier: GPL-2.0
/*
 * Port 0x402: the firmware's log. SeaBIOS and OVMF read the port first and
 * write to it only when it answers 0xe9, so that a log nobody wants costs no
 * exits.
 */
#include <errno.h>
#include <stdlib.h>

#include "bus.h"
#include "dev/devices.h"

#define DEBUGCON_PORT	0x402
#define DEBUGCON_HERE	0xe9

struct debugcon {
	FILE *log;
};

static uint64_t debugcon_read(void *owner, uint64_t offset, unsigned int size)
{
	struct debugcon *d = owner;

	return d->log ? DEBUGCON_HERE : 0xff;
}

static void debugcon_write(void *owner, uint64_t offset, uint64_t value,
			   unsigned int size)
{
	struct debugcon *d = owner;

	if (d->log)
		fputc((uint8_t)value, d->log);
}

static void debugcon_reset(void *owner)
{
}

static size_t debugcon_save(void *owner, void *buf, size_t max)
{
	return 0;
}

static int debugcon_load(void *owner, const void *buf, size_t len)
{
	return len ? -EINVAL : 0;
}

static const struct bus_ops debugcon_bus_ops = {
	.read = debugcon_read,
	.write = debugcon_write,
};

static const struct dev_ops debugcon_ops = {
	.reset = debugcon_reset,
	.save = debugcon_save,
	.load = debugcon_load,
	.free = free,
};

int debugcon_new(struct dev_env *env, FILE *log)
{
	struct debugcon *d = calloc(1, sizeof(*d));
	int err;

	if (!d)
		return -ENOMEM;
	d->log = log;
	err = bus_add(env->pio, DEBUGCON_PORT, 1, &debugcon_bus_ops, d,
		      "debugcon");
	if (err)
		goto out_free;
	err = env->add(env, "debugcon", &debugcon_ops, d);
	if (!err)
		return 0;
	bus_remove(env->pio, DEBUGCON_PORT);
out_free:
	free(d);
	return err;
}
