// SPDX-License-Identifier: GPL-2.0
/*
 * The PC as it runs.
 *
 * Lock: all of the machine runs under m->lock. The functions for the vCPU threads
 * take it, all others want it held, machine_new, machine_build and machine_free
 * apart: they have the machine to themselves.
 */
#include <errno.h>
#include <stdatomic.h>
#include <stddef.h>

#include "api.h"
#include "boot/linux.h"
#include "bus.h"
#include "dev/devices.h"
#include "irq.h"
#include "machine_priv.h"
#include "mem.h"

/* ---- for the vCPU threads ------------------------------------------------- */

/*
 * What the module kept comes first, in its order. Up to the head as it is now:
 * what other vCPUs write meanwhile is not before this access.
 */
static void take_kept(struct machine *m)
{
	struct vmm_ring *ring = m->ring;
	const struct vmm_ring_entry *e;
	uint32_t head;

	if (!ring)
		return;
	/* acquire: an entry is read after the head that covers it */
	head = __atomic_load_n(&ring->head, __ATOMIC_ACQUIRE);
	while (ring->tail != head) {
		e = &ring->entry[ring->tail % VMM_RING_ENTRIES];
		bus_write(e->flags & VMM_COALESCE_PORT ? m->env.pio : m->env.mmio,
			  e->addr, e->data, e->size);
		__atomic_store_n(&ring->tail, ring->tail + 1, __ATOMIC_RELEASE);
	}
}

static void access_begins(struct machine *m)
{
	pthread_mutex_lock(m->lock);
	take_kept(m);
}

uint64_t machine_pio_read(struct machine *m, uint16_t port, unsigned int size)
{
	uint64_t value;

	access_begins(m);
	value = bus_read(m->env.pio, port, size);
	pthread_mutex_unlock(m->lock);
	return value;
}

void machine_pio_write(struct machine *m, uint16_t port, uint32_t value,
		       unsigned int size)
{
	access_begins(m);
	bus_write(m->env.pio, port, value, size);
	pthread_mutex_unlock(m->lock);
}

uint64_t machine_mmio_read(struct machine *m, uint64_t gpa, unsigned int size)
{
	uint64_t value;

	access_begins(m);
	value = bus_read(m->env.mmio, gpa, size);
	pthread_mutex_unlock(m->lock);
	return value;
}

void machine_mmio_write(struct machine *m, uint64_t gpa, uint64_t value,
			unsigned int size)
{
	access_begins(m);
	bus_write(m->env.mmio, gpa, value, size);
	pthread_mutex_unlock(m->lock);
}

void machine_eoi(struct machine *m, uint8_t vector)
{
	access_begins(m);
	irq_eoi(m->env.irq, vector);
	pthread_mutex_unlock(m->lock);
}

/* asked before every entry: without the lock */
bool machine_pic_pending(struct machine *m)
{
	return atomic_load(&m->intr);
}

uint8_t machine_pic_ack(struct machine *m)
{
	uint8_t vector;

	pthread_mutex_lock(m->lock);
	vector = pic_ack(m->pic);
	pthread_mutex_unlock(m->lock);
	return vector;
}

/* ---- with the lock held --------------------------------------------------- */

void machine_reset_devices(struct machine *m)
{
	unsigned int i;

	take_kept(m);
	for (i = 0; i < m->ndevs; i++)
		m->dev[i].ops->reset(m->dev[i].owner);
}

int machine_reset(struct machine *m)
{
	machine_reset_devices(m);
	if (m->linux_boot) {
		acpipm_place(m->pm, MACHINE_PM_BASE);
		return linux_boot_place(m->linux_boot, m->env.mem);
	}
	firmware_shadow(&m->firmware, m->env.mem);
	return 0;
}

void machine_boot_state(struct machine *m, struct vmm_state *st)
{
	if (m->linux_boot)
		linux_boot_state(m->linux_boot, st);
}

void machine_power_button(struct machine *m)
{
	acpipm_power_button(m->pm);
}

void machine_set_hooks(struct machine *m, const struct machine_hooks *hooks)
{
	m->hooks = *hooks;
}

struct mem *machine_mem(struct machine *m)
{
	return m->env.mem;
}

struct chardev *machine_console(struct machine *m)
{
	return m->console;
}

struct block *machine_disk(struct machine *m)
{
	return m->disk;
}

struct net *machine_net(struct machine *m)
{
	return m->net;
}

/* ---- saving and loading, the lock held ------------------------------------ */

const char *machine_dev_name(const struct machine *m, unsigned int i)
{
	return i < m->ndevs ? m->dev[i].name : NULL;
}

size_t machine_dev_save(struct machine *m, unsigned int i, void *buf, size_t max)
{
	take_kept(m);
	return m->dev[i].ops->save(m->dev[i].owner, buf, max);
}

int machine_dev_load(struct machine *m, unsigned int i, const void *buf, size_t len)
{
	return m->dev[i].ops->load(m->dev[i].owner, buf, len);
}

long machine_harvest(struct machine *m, unsigned int i, uint64_t *bitmap)
{
	long n = mem_harvest(m->env.mem, i, bitmap);
	unsigned int d;

	for (d = 0; n >= 0 && d < m->ndevs; d++)
		if (m->dev[d].ops->in_flight)
			m->dev[d].ops->in_flight(m->dev[d].owner);
	return n;
}
