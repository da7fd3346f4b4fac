// SPDX-License-Identifier: GPL-2.0
/* MSI-X: the capability, and a BAR with table and PBA (PCI 3.0, 6.8.2). */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "irq.h"
#include "pci/pci_priv.h"

#define MSIX_BAR_SIZE	4096U
#define PBA_OFFSET	2048U
#define MAX_VECTORS	(PBA_OFFSET / PCI_MSIX_ENTRY_SIZE)
#define ENTRY_MASKED	PCI_MSIX_ENTRY_CTRL_MASKBIT

static uint16_t control(const struct pci_dev *dev)
{
	return pci_get16(&dev->config[dev->msix_cap + PCI_MSIX_FLAGS]);
}

bool pci_msix_enabled(const struct pci_dev *dev)
{
	return dev->msix_cap && (control(dev) & PCI_MSIX_FLAGS_ENABLE);
}

static bool is_pending(const struct pci_dev *dev, unsigned int v)
{
	return dev->msix_pending[v / 64] >> (v % 64) & 1;
}

static void set_pending(struct pci_dev *dev, unsigned int v, bool on)
{
	uint64_t bit = 1ULL << (v % 64);

	if (on)
		dev->msix_pending[v / 64] |= bit;
	else
		dev->msix_pending[v / 64] &= ~bit;
}

/* 6.8.3.4: a message writes to memory, so it needs bus mastership too */
static bool may_send(const struct pci_dev *dev, unsigned int v)
{
	return pci_msix_enabled(dev) &&
	       !(control(dev) & PCI_MSIX_FLAGS_MASKALL) &&
	       !(dev->msix[v].ctrl & ENTRY_MASKED) &&
	       (dev->config[PCI_COMMAND] & PCI_COMMAND_MASTER);
}

static void send_pending(struct pci_dev *dev, unsigned int v)
{
	if (!is_pending(dev, v) || !may_send(dev, v))
		return;
	set_pending(dev, v, false);
	irq_msi(pci_bus_env(dev->bus)->irq, dev->msix[v].addr,
		dev->msix[v].data);
}

void pci_msix_notify(struct pci_dev *dev, uint16_t vector)
{
	if (vector >= dev->msix_count || !pci_msix_enabled(dev))
		return;
	set_pending(dev, vector, true);
	send_pending(dev, vector);
}

bool pci_msix_message(const struct pci_dev *dev, uint16_t vector, uint64_t *addr,
		      uint32_t *data)
{
	if (vector >= dev->msix_count || !may_send(dev, vector))
		return false;
	*addr = dev->msix[vector].addr;
	*data = dev->msix[vector].data;
	return true;
}

/* what was pending goes before what others may send from now on */
static void vector_changed(struct pci_dev *dev, unsigned int v)
{
	send_pending(dev, v);
	if (dev->msix_changed)
		dev->msix_changed(dev->owner, v);
}

void pci_msix_written(struct pci_dev *dev)
{
	unsigned int v;

	for (v = 0; v < dev->msix_count; v++)
		vector_changed(dev, v);
}

static uint32_t table_read(const struct pci_dev *dev, unsigned int offset)
{
	const struct msix_entry *e = &dev->msix[offset / PCI_MSIX_ENTRY_SIZE];

	switch (offset % PCI_MSIX_ENTRY_SIZE) {
	case PCI_MSIX_ENTRY_LOWER_ADDR:
		return e->addr;
	case PCI_MSIX_ENTRY_UPPER_ADDR:
		return e->addr >> 32;
	case PCI_MSIX_ENTRY_DATA:
		return e->data;
	}
	return e->ctrl;
}

static void table_write(struct pci_dev *dev, unsigned int offset,
			uint32_t value)
{
	unsigned int v = offset / PCI_MSIX_ENTRY_SIZE;
	struct msix_entry *e = &dev->msix[v];

	switch (offset % PCI_MSIX_ENTRY_SIZE) {
	case PCI_MSIX_ENTRY_LOWER_ADDR:
		e->addr = (e->addr & ~0xffffffffULL) | (value & ~3U);
		break;
	case PCI_MSIX_ENTRY_UPPER_ADDR:
		e->addr = (e->addr & 0xffffffffULL) | (uint64_t)value << 32;
		break;
	case PCI_MSIX_ENTRY_DATA:
		e->data = value;
		break;
	default:
		e->ctrl = value & ENTRY_MASKED;
	}
	vector_changed(dev, v);
}

static uint32_t msix_read32(const struct pci_dev *dev, unsigned int offset)
{
	unsigned int words = (dev->msix_count + 63U) / 64;

	if (offset < dev->msix_count * PCI_MSIX_ENTRY_SIZE)
		return table_read(dev, offset);
	if (offset >= PBA_OFFSET && offset < PBA_OFFSET + 8 * words)
		return dev->msix_pending[(offset - PBA_OFFSET) / 8] >>
		       (offset & 4 ? 32 : 0);
	return 0;
}

/* 6.8.2: software uses aligned 32- and 64-bit accesses; others are nothing */
static uint64_t msix_read(void *owner, uint64_t offset, unsigned int size)
{
	uint64_t value;

	if (size < 4 || offset % size)
		return 0;
	value = msix_read32(owner, offset);
	if (size == 8)
		value |= (uint64_t)msix_read32(owner, offset + 4) << 32;
	return value;
}

static void msix_write(void *owner, uint64_t offset, uint64_t value,
		       unsigned int size)
{
	struct pci_dev *dev = owner;

	if (size < 4 || offset % size ||
	    offset >= dev->msix_count * PCI_MSIX_ENTRY_SIZE)
		return;
	table_write(dev, offset, value);
	if (size == 8)
		table_write(dev, offset + 4, value >> 32);
}

/* 6.8.2.9: every vector is masked after reset */
void pci_msix_reset(struct pci_dev *dev)
{
	unsigned int v;

	for (v = 0; v < dev->msix_count; v++) {
		dev->msix[v] = (struct msix_entry){ .ctrl = ENTRY_MASKED };
		set_pending(dev, v, false);
	}
}

static size_t pending_size(const struct pci_dev *dev)
{
	return (dev->msix_count + 63U) / 64 * sizeof(uint64_t);
}

size_t pci_msix_state_size(const struct pci_dev *dev)
{
	return dev->msix_count * sizeof(struct msix_entry) + pending_size(dev);
}

void pci_msix_state_save(const struct pci_dev *dev, uint8_t *buf)
{
	size_t table = dev->msix_count * sizeof(struct msix_entry);

	if (!dev->msix_count)
		return;
	memcpy(buf, dev->msix, table);
	memcpy(buf + table, dev->msix_pending, pending_size(dev));
}

/* any bytes are a state: what the guest could not write is masked off */
void pci_msix_state_load(struct pci_dev *dev, const uint8_t *buf)
{
	size_t table = dev->msix_count * sizeof(struct msix_entry);
	unsigned int v;

	if (!dev->msix_count)
		return;
	memcpy(dev->msix, buf, table);
	memcpy(dev->msix_pending, buf + table, pending_size(dev));
	for (v = 0; v < dev->msix_count; v++) {
		dev->msix[v].addr &= ~3ULL;
		dev->msix[v].ctrl &= ENTRY_MASKED;
	}
	if (v % 64)
		dev->msix_pending[v / 64] &= (1ULL << (v % 64)) - 1;
}

static const struct bus_ops msix_ops = {
	.read = msix_read,
	.write = msix_write,
};

int pci_msix_init(struct pci_dev *dev, unsigned int n, uint16_t vectors)
{
	const struct pci_bar bar = {
		.size = MSIX_BAR_SIZE,
		.ops = &msix_ops,
		.owner = dev,
	};
	uint8_t cap;

	if (!vectors || vectors > MAX_VECTORS || n >= PCI_BARS || dev->msix)
		return -EINVAL;
	cap = pci_add_cap(dev, PCI_CAP_ID_MSIX, PCI_CAP_MSIX_SIZEOF);
	if (!cap)
		return -ENOSPC;
	/* entries and pending bits in one piece, which the bus frees */
	dev->msix = calloc(1, vectors * sizeof(struct msix_entry) +
			      (vectors + 63U) / 64 * sizeof(uint64_t));
	if (!dev->msix)
		return -ENOMEM;
	dev->msix_pending = (uint64_t *)&dev->msix[vectors];
	dev->msix_count = vectors;
	dev->msix_cap = cap;
	pci_put16(&dev->config[cap + PCI_MSIX_FLAGS], vectors - 1);
	pci_put16(&dev->wmask[cap + PCI_MSIX_FLAGS],
		  PCI_MSIX_FLAGS_ENABLE | PCI_MSIX_FLAGS_MASKALL);
	pci_put32(&dev->config[cap + PCI_MSIX_TABLE], n);
	pci_put32(&dev->config[cap + PCI_MSIX_PBA], PBA_OFFSET | n);
	pci_set_bar(dev, n, &bar);
	pci_msix_reset(dev);
	return 0;
}
