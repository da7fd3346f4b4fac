// SPDX-License-Identifier: GPL-2.0
/*
 * For tests: a small machine and a virtio driver (virtio_driver.h).
 */
#include <linux/pci_regs.h>
#include <linux/virtio_config.h>
#include <linux/virtio_pci.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "bus.h"
#include "irq.h"
#include "virtio_driver.h"

#define VT_MMIO	0xe0000000ULL

/* ---- the machine ---------------------------------------------------------- */

static int vt_add_dev(struct dev_env *env, const char *name,
		      const struct dev_ops *ops, void *owner)
{
	struct vt_machine *m = (struct vt_machine *)env;

	(void)name;
	assert_true(m->ndevs < VT_DEVS);
	m->dev[m->ndevs++] = (struct vt_registered){ ops, owner };
	return 0;
}

static void vt_msi(void *owner, uint64_t addr, uint32_t data)
{
	struct vt_machine *m = owner;

	assert_int_equal(addr, 0xfee00000);
	assert_true(data < VT_VECTORS);
	m->msi[data]++;
}

static void vt_gsi(void *owner, unsigned int gsi, bool level)
{
	struct vt_machine *m = owner;

	m->gsi[gsi] = level;
}

static int vt_route(void *owner, int pin)
{
	(void)owner;
	return 8 + pin;
}

static void *vt_thread(void *owner)
{
	struct vt_machine *m = owner;

	loop_run(m->env.loop);
	return NULL;
}

struct vt_machine *vt_new(void)
{
	static const uint8_t rom[0x10000];
	struct vt_machine *m = calloc(1, sizeof(*m));

	pthread_mutex_init(&m->lock, NULL);
	m->env.pio = bus_new("pio");
	m->env.mmio = bus_new("mmio");
	m->env.irq = irq_new(vt_msi, m);
	irq_add_sink(m->env.irq, (struct irq_sink){ vt_gsi, m });
	m->env.loop = loop_new(&m->lock);
	m->env.mem = mem_new(NULL);
	m->env.add = vt_add_dev;
	assert_int_equal(mem_add_ram(m->env.mem, VT_RAM, VT_RAM_SIZE, "ram"), 0);
	assert_int_equal(mem_add_rom(m->env.mem, VT_ROM, rom, sizeof(rom), "rom"), 0);
	m->alloc = VT_RAM;
	m->bus = pci_bus_new(&m->env);
	assert_non_null(m->bus);
	pci_set_router(m->bus, vt_route, m);
	assert_int_equal(pthread_create(&m->thread, NULL, vt_thread, m), 0);
	return m;
}

struct vt_machine *vt_new_packed(void)
{
	struct vt_machine *m = vt_new();

	m->env.packed_rings = true;
	return m;
}

void vt_free_devices(struct vt_machine *m)
{
	if (m->thread) {
		loop_stop(m->env.loop, 0);
		pthread_join(m->thread, NULL);
		m->thread = 0;
	}
	while (m->ndevs) {
		m->ndevs--;
		m->dev[m->ndevs].ops->free(m->dev[m->ndevs].owner);
	}
}

void vt_free(struct vt_machine *m)
{
	vt_free_devices(m);
	loop_free(m->env.loop);
	irq_free(m->env.irq);
	bus_free(m->env.pio);
	bus_free(m->env.mmio);
	mem_free(m->env.mem);
	pthread_mutex_destroy(&m->lock);
	free(m);
}

void vt_lock(struct vt_machine *m)
{
	pthread_mutex_lock(&m->lock);
}

void vt_unlock(struct vt_machine *m)
{
	pthread_mutex_unlock(&m->lock);
}

uint64_t vt_alloc(struct vt_machine *m, uint64_t size, uint64_t align)
{
	uint64_t at = (m->alloc + align - 1) & ~(align - 1);

	m->alloc = at + size;
	assert_true(m->alloc <= VT_RAM + VT_RAM_SIZE);
	return at;
}

void *vt_ptr(struct vt_machine *m, uint64_t gpa, uint64_t len)
{
	void *p = mem_ptr(m->env.mem, gpa, len);

	assert_non_null(p);
	return p;
}

uint64_t vt_now_ms(void)
{
	return loop_now() / 1000000;
}

bool vt_wait(struct vt_machine *m, bool (*cond)(void *arg), void *arg,
	     unsigned int ms)
{
	uint64_t end = vt_now_ms() + ms;
	bool ok;

	for (;;) {
		vt_lock(m);
		ok = cond(arg);
		vt_unlock(m);
		if (ok || vt_now_ms() >= end)
			return ok;
		usleep(200);
	}
}

unsigned int vt_msis(struct vt_machine *m, unsigned int vector)
{
	unsigned int n;

	vt_lock(m);
	n = m->msi[vector];
	vt_unlock(m);
	return n;
}

/* ---- config space --------------------------------------------------------- */

static void vt_cfg_select(struct vt_machine *m, int devfn, unsigned int offset)
{
	bus_write(m->env.pio, 0xcf8,
		  0x80000000U | (uint32_t)devfn << 8 | (offset & 0xfc), 4);
}

uint32_t vt_cfg_read(struct vt_machine *m, int devfn, unsigned int offset,
		     unsigned int size)
{
	uint32_t value;

	vt_lock(m);
	vt_cfg_select(m, devfn, offset);
	value = bus_read(m->env.pio, 0xcfc + (offset & 3), size);
	vt_unlock(m);
	return value;
}

void vt_cfg_write(struct vt_machine *m, int devfn, unsigned int offset,
		  unsigned int size, uint32_t value)
{
	vt_lock(m);
	vt_cfg_select(m, devfn, offset);
	bus_write(m->env.pio, 0xcfc + (offset & 3), value, size);
	vt_unlock(m);
}

static uint64_t place_bar(struct vt_dev *d, unsigned int n, uint64_t *next)
{
	unsigned int at = PCI_BASE_ADDRESS_0 + 4 * n;
	uint32_t mask;

	vt_cfg_write(d->m, d->devfn, at, 4, 0xffffffff);
	mask = vt_cfg_read(d->m, d->devfn, at, 4) & ~15U;
	if (!mask)
		return 0;
	*next = (*next + ~mask) & mask;
	vt_cfg_write(d->m, d->devfn, at, 4, *next);
	*next += (uint64_t)~mask + 1;
	return vt_cfg_read(d->m, d->devfn, at, 4) & ~15U;
}

static void parse_virtio_cap(struct vt_dev *d, uint8_t at)
{
	uint8_t type = vt_cfg_read(d->m, d->devfn, at + VIRTIO_PCI_CAP_CFG_TYPE, 1);
	uint8_t bar = vt_cfg_read(d->m, d->devfn, at + VIRTIO_PCI_CAP_BAR, 1);
	uint32_t offset = vt_cfg_read(d->m, d->devfn, at + VIRTIO_PCI_CAP_OFFSET, 4);
	uint64_t addr;

	if (type == VIRTIO_PCI_CAP_PCI_CFG) {
		d->cfg_cap = at;
		return;
	}
	assert_true(bar < 6 && d->bar[bar]);
	addr = d->bar[bar] + offset;
	switch (type) {
	case VIRTIO_PCI_CAP_COMMON_CFG:
		d->common = addr;
		break;
	case VIRTIO_PCI_CAP_NOTIFY_CFG:
		d->notify = addr;
		d->notify_multiplier = vt_cfg_read(d->m, d->devfn,
						   at + VIRTIO_PCI_NOTIFY_CAP_MULT, 4);
		break;
	case VIRTIO_PCI_CAP_ISR_CFG:
		d->isr = addr;
		break;
	case VIRTIO_PCI_CAP_DEVICE_CFG:
		d->device = addr;
		break;
	}
}

void vt_probe(struct vt_dev *d, struct vt_machine *m, int devfn)
{
	uint64_t next = VT_MMIO + ((uint64_t)devfn << 16);
	unsigned int n;
	uint8_t cap;

	*d = (struct vt_dev){ .m = m, .devfn = devfn };
	assert_int_equal(vt_cfg_read(m, devfn, 0, 2), 0x1af4);
	assert_true(vt_cfg_read(m, devfn, PCI_REVISION_ID, 1) >= 1);
	for (n = 0; n < 6; n++)
		d->bar[n] = place_bar(d, n, &next);
	vt_cfg_write(m, devfn, PCI_COMMAND, 2,
		     PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
	assert_true(vt_cfg_read(m, devfn, PCI_STATUS, 2) & PCI_STATUS_CAP_LIST);
	for (cap = vt_cfg_read(m, devfn, PCI_CAPABILITY_LIST, 1); cap;
	     cap = vt_cfg_read(m, devfn, cap + 1, 1)) {
		uint8_t id = vt_cfg_read(m, devfn, cap, 1);

		if (id == PCI_CAP_ID_MSIX)
			d->msix_cap = cap;
		else if (id == PCI_CAP_ID_VNDR)
			parse_virtio_cap(d, cap);
	}
	assert_true(d->common && d->notify && d->isr && d->cfg_cap);
}

void vt_enable_msix(struct vt_dev *d, unsigned int vectors)
{
	uint32_t table = vt_cfg_read(d->m, d->devfn, d->msix_cap + PCI_MSIX_TABLE, 4);
	uint64_t base = d->bar[table & 7] + (table & ~7U);
	unsigned int i;

	for (i = 0; i < vectors; i++) {
		vt_write(d, base + i * 16, 0xfee00000, 4);
		vt_write(d, base + i * 16 + 4, 0, 4);
		vt_write(d, base + i * 16 + 8, i, 4);
		vt_write(d, base + i * 16 + 12, 0, 4);
	}
	vt_cfg_write(d->m, d->devfn, d->msix_cap + PCI_MSIX_FLAGS, 2,
		     PCI_MSIX_FLAGS_ENABLE);
}

/* ---- registers ------------------------------------------------------------ */

uint64_t vt_read(struct vt_dev *d, uint64_t addr, unsigned int size)
{
	uint64_t value;

	vt_lock(d->m);
	value = bus_read(d->m->env.mmio, addr, size);
	vt_unlock(d->m);
	return value;
}

void vt_write(struct vt_dev *d, uint64_t addr, uint64_t value, unsigned int size)
{
	vt_lock(d->m);
	bus_write(d->m->env.mmio, addr, value, size);
	vt_unlock(d->m);
}

uint8_t vt_status(struct vt_dev *d)
{
	return vt_read(d, d->common + VIRTIO_PCI_COMMON_STATUS, 1);
}

void vt_set_status(struct vt_dev *d, uint8_t status)
{
	vt_write(d, d->common + VIRTIO_PCI_COMMON_STATUS, status, 1);
}

uint64_t vt_features(struct vt_dev *d)
{
	uint64_t f;

	vt_write(d, d->common + VIRTIO_PCI_COMMON_DFSELECT, 1, 4);
	f = vt_read(d, d->common + VIRTIO_PCI_COMMON_DF, 4) << 32;
	vt_write(d, d->common + VIRTIO_PCI_COMMON_DFSELECT, 0, 4);
	return f | vt_read(d, d->common + VIRTIO_PCI_COMMON_DF, 4);
}

bool vt_negotiate(struct vt_dev *d, uint64_t want)
{
	vt_set_status(d, 0);
	assert_int_equal(vt_status(d), 0);
	vt_set_status(d, VIRTIO_CONFIG_S_ACKNOWLEDGE);
	vt_set_status(d, VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER);
	vt_write(d, d->common + VIRTIO_PCI_COMMON_GFSELECT, 0, 4);
	vt_write(d, d->common + VIRTIO_PCI_COMMON_GF, (uint32_t)want, 4);
	vt_write(d, d->common + VIRTIO_PCI_COMMON_GFSELECT, 1, 4);
	vt_write(d, d->common + VIRTIO_PCI_COMMON_GF, want >> 32, 4);
	vt_set_status(d, VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER |
		      VIRTIO_CONFIG_S_FEATURES_OK);
	d->features = want;
	return vt_status(d) & VIRTIO_CONFIG_S_FEATURES_OK;
}

static void write_address(struct vt_dev *d, unsigned int offset, uint64_t gpa)
{
	vt_write(d, d->common + offset, (uint32_t)gpa, 4);
	vt_write(d, d->common + offset + 4, gpa >> 32, 4);
}

static void alloc_split(struct vt_dev *d, struct vt_queue *vq)
{
	uint16_t size = vq->size;

	vq->desc_gpa = vt_alloc(d->m, size * 16, 16);
	vq->avail_gpa = vt_alloc(d->m, 6 + size * 2, 2);
	vq->used_gpa = vt_alloc(d->m, 6 + size * 8, 4);
	vq->desc = vt_ptr(d->m, vq->desc_gpa, size * 16);
	vq->avail = vt_ptr(d->m, vq->avail_gpa, 6 + size * 2);
	vq->used = vt_ptr(d->m, vq->used_gpa, 6 + size * 8);
	memset(vq->avail, 0, 6 + size * 2);
	memset(vq->used, 0, 6 + size * 8);
}

static void alloc_packed(struct vt_dev *d, struct vt_queue *vq)
{
	assert_true(vq->size <= VT_QUEUE_MAX);
	vq->desc_gpa = vt_alloc(d->m, vq->size * 16, 16);
	vq->avail_gpa = vt_alloc(d->m, 4, 4);
	vq->used_gpa = vt_alloc(d->m, 4, 4);
	vq->packed = vt_ptr(d->m, vq->desc_gpa, vq->size * 16);
	vq->driver_event = vt_ptr(d->m, vq->avail_gpa, 4);
	vq->avail_wrap = vq->used_wrap = true;
	memset(vq->packed, 0, vq->size * 16);
	memset(vq->driver_event, 0, 4);
	memset(vt_ptr(d->m, vq->used_gpa, 4), 0, 4);
}

void vt_setup_queue(struct vt_dev *d, unsigned int q, uint16_t size)
{
	struct vt_queue *vq = &d->q[q];

	*vq = (struct vt_queue){ .size = size };
	vq->is_packed = d->features >> VIRTIO_F_RING_PACKED & 1;
	if (vq->is_packed)
		alloc_packed(d, vq);
	else
		alloc_split(d, vq);
	vt_write(d, d->common + VIRTIO_PCI_COMMON_Q_SELECT, q, 2);
	vt_write(d, d->common + VIRTIO_PCI_COMMON_Q_SIZE, size, 2);
	vt_write(d, d->common + VIRTIO_PCI_COMMON_Q_MSIX, q + 1, 2);
	write_address(d, VIRTIO_PCI_COMMON_Q_DESCLO, vq->desc_gpa);
	write_address(d, VIRTIO_PCI_COMMON_Q_AVAILLO, vq->avail_gpa);
	write_address(d, VIRTIO_PCI_COMMON_Q_USEDLO, vq->used_gpa);
	vt_write(d, d->common + VIRTIO_PCI_COMMON_Q_ENABLE, 1, 2);
}

uint64_t vt_start(struct vt_dev *d, uint64_t want, unsigned int queues,
		  uint16_t size)
{
	uint64_t features;
	unsigned int q;

	vt_set_status(d, 0);
	features = vt_features(d) & want;
	assert_true(vt_negotiate(d, features));
	vt_write(d, d->common + VIRTIO_PCI_COMMON_MSIX, 0, 2);
	for (q = 0; q < queues; q++)
		vt_setup_queue(d, q, size);
	vt_set_status(d, vt_status(d) | VIRTIO_CONFIG_S_DRIVER_OK);
	assert_int_equal(vt_status(d) & (VIRTIO_CONFIG_S_DRIVER_OK |
					 VIRTIO_CONFIG_S_NEEDS_RESET),
			 VIRTIO_CONFIG_S_DRIVER_OK);
	return features;
}

/* ---- queues --------------------------------------------------------------- */

static uint16_t add_packed(struct vt_queue *vq, const struct vt_buf *bufs,
			   unsigned int n)
{
	uint16_t head = vq->next_desc, flags, first = 0;
	struct vring_packed_desc *p;
	unsigned int i;

	for (i = 0; i < n; i++) {
		p = &vq->packed[vq->next_desc];
		p->addr = bufs[i].gpa;
		p->len = bufs[i].len;
		p->id = head;
		flags = (bufs[i].write ? VRING_DESC_F_WRITE : 0) |
			(i + 1 < n ? VRING_DESC_F_NEXT : 0) |
			1U << (vq->avail_wrap ? VRING_PACKED_DESC_F_AVAIL :
						VRING_PACKED_DESC_F_USED);
		if (i)
			p->flags = flags;
		else
			first = flags;
		vq->next_desc = (vq->next_desc + 1) % vq->size;
		vq->avail_wrap ^= !vq->next_desc;
	}
	vq->slots[head] = n;
	__atomic_store_n(&vq->packed[head].flags, first, __ATOMIC_RELEASE);
	return head;
}

uint16_t vt_add(struct vt_dev *d, unsigned int q, const struct vt_buf *bufs,
		unsigned int n)
{
	struct vt_queue *vq = &d->q[q];
	uint16_t head = vq->next_desc, at = head, next;
	unsigned int i;

	if (vq->is_packed)
		return add_packed(vq, bufs, n);

	for (i = 0; i < n; i++, at = next) {
		next = (at + 1) % vq->size;
		vq->desc[at] = (struct vring_desc){
			.addr = bufs[i].gpa,
			.len = bufs[i].len,
			.flags = (bufs[i].write ? VRING_DESC_F_WRITE : 0) |
				 (i + 1 < n ? VRING_DESC_F_NEXT : 0),
			.next = next,
		};
	}
	vq->next_desc = at;
	vq->avail->ring[vq->avail->idx % vq->size] = head;
	__atomic_store_n(&vq->avail->idx, vq->avail->idx + 1, __ATOMIC_RELEASE);
	return head;
}

void vt_kick(struct vt_dev *d, unsigned int q)
{
	vt_write(d, d->notify + q * d->notify_multiplier, q, 2);
}

bool vt_used(struct vt_dev *d, unsigned int q)
{
	const uint16_t both = 1U << VRING_PACKED_DESC_F_AVAIL |
			      1U << VRING_PACKED_DESC_F_USED;
	struct vt_queue *vq = &d->q[q];
	uint16_t flags;

	if (!vq->is_packed)
		return __atomic_load_n(&vq->used->idx, __ATOMIC_ACQUIRE) !=
		       vq->last_used;
	flags = __atomic_load_n(&vq->packed[vq->last_used].flags,
				__ATOMIC_ACQUIRE);
	return (flags & both) == (vq->used_wrap ? both : 0);
}

static void get_packed(struct vt_dev *d, struct vt_queue *vq,
		       struct vring_used_elem *elem)
{
	struct vring_packed_desc *p = &vq->packed[vq->last_used];

	elem->id = p->id;
	elem->len = p->flags & VRING_DESC_F_WRITE ? p->len : 0;
	assert_true(elem->id < vq->size);
	vq->last_used += vq->slots[elem->id];
	if (vq->last_used >= vq->size) {
		vq->last_used -= vq->size;
		vq->used_wrap = !vq->used_wrap;
	}
	if (!(d->features >> VIRTIO_RING_F_EVENT_IDX & 1))
		return;
	vq->driver_event->off_wrap = vq->last_used |
		vq->used_wrap << VRING_PACKED_EVENT_F_WRAP_CTR;
	vq->driver_event->flags = VRING_PACKED_EVENT_FLAG_DESC;
}

bool vt_get(struct vt_dev *d, unsigned int q, struct vring_used_elem *elem)
{
	uint64_t end = vt_now_ms() + 2000;

	while (!vt_used(d, q)) {
		if (vt_now_ms() > end)
			return false;
		usleep(100);
	}
	/* until it was signalled, too: then what comes of it can be counted */
	vt_lock(d->m);
	vt_unlock(d->m);
	return vt_take(d, q, elem);
}

bool vt_take(struct vt_dev *d, unsigned int q, struct vring_used_elem *elem)
{
	struct vt_queue *vq = &d->q[q];

	if (!vt_used(d, q))
		return false;
	if (vq->is_packed) {
		get_packed(d, vq, elem);
		return true;
	}
	*elem = vq->used->ring[vq->last_used % vq->size];
	vq->last_used++;
	/* used_event, as Linux keeps it: interrupt for the next one */
	vq->avail->ring[vq->size] = vq->last_used;
	return true;
}
