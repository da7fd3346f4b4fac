// SPDX-License-Identifier: GPL-2.0
/*
 * What every PCI function has: a type 0 header (PCI 2.3, 6.1) whose bytes know
 * which of their bits can be written, base registers, capabilities, state.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "pci/pci_priv.h"

#define COMMAND_WMASK	(PCI_COMMAND_IO | PCI_COMMAND_MEMORY | \
			 PCI_COMMAND_MASTER | PCI_COMMAND_PARITY | \
			 PCI_COMMAND_SERR | PCI_COMMAND_INTX_DISABLE)
#define STATUS_W1C	0xf900
#define BARS_LEN	(4 * PCI_BARS)

void pci_init_ids(struct pci_dev *dev, uint16_t vendor, uint16_t device,
		  uint8_t revision, uint32_t class_code, uint16_t sub_vendor,
		  uint16_t sub_device)
{
	uint8_t *c = dev->config;

	pci_put16(&c[PCI_VENDOR_ID], vendor);
	pci_put16(&c[PCI_DEVICE_ID], device);
	pci_put32(&c[PCI_CLASS_REVISION], class_code << 8 | revision);
	pci_put16(&c[PCI_SUBSYSTEM_VENDOR_ID], sub_vendor);
	pci_put16(&c[PCI_SUBSYSTEM_ID], sub_device);
	pci_put16(&dev->wmask[PCI_COMMAND], COMMAND_WMASK);
	pci_put16(&dev->w1c[PCI_STATUS], STATUS_W1C);
	dev->wmask[PCI_CACHE_LINE_SIZE] = 0xff;
	dev->wmask[PCI_LATENCY_TIMER] = 0xff;
	dev->wmask[PCI_INTERRUPT_LINE] = 0xff;
	/* bridges have no interrupt of their own */
	if (class_code >> 16 != PCI_BASE_CLASS_BRIDGE)
		c[PCI_INTERRUPT_PIN] = 1;
	dev->cap_end = PCI_STD_HEADER_SIZEOF;
}

uint8_t pci_add_cap(struct pci_dev *dev, uint8_t id, uint8_t size)
{
	unsigned int at = dev->cap_end, len = (size + 3U) & ~3U;
	uint8_t *link = &dev->config[PCI_CAPABILITY_LIST];

	if (size < 2 || at + len > PCI_CONFIG_SIZE - 4)
		return 0;
	while (*link)
		link = &dev->config[*link + PCI_CAP_LIST_NEXT];
	*link = at;
	dev->config[at + PCI_CAP_LIST_ID] = id;
	dev->config[at + PCI_CAP_LIST_NEXT] = 0;
	dev->config[PCI_STATUS] |= PCI_STATUS_CAP_LIST;
	dev->cap_end = at + len;
	return at;
}

void pci_set_bar(struct pci_dev *dev, unsigned int n, const struct pci_bar *bar)
{
	unsigned int at = PCI_BASE_ADDRESS_0 + 4 * n;
	uint64_t mask = ~(bar->size - 1);
	uint32_t type = 0;

	if (n >= PCI_BARS || !bar->size || (bar->size & (bar->size - 1)) ||
	    (bar->is_64 && (bar->is_io || n + 1 == PCI_BARS)))
		abort();	/* a device's author got it wrong */
	dev->bar[n] = *bar;
	dev->bar[n].mapped = false;
	if (bar->is_io)
		type = PCI_BASE_ADDRESS_SPACE_IO;
	else if (bar->prefetch)
		type = PCI_BASE_ADDRESS_MEM_PREFETCH;
	if (bar->is_64)
		type |= PCI_BASE_ADDRESS_MEM_TYPE_64;
	pci_put32(&dev->config[at], type);
	pci_put32(&dev->wmask[at], mask & (bar->is_io ? ~3U : ~15U));
	if (bar->is_64)
		pci_put32(&dev->wmask[at + 4], mask >> 32);
}

/* does the guest want BAR n on its bus, and where */
bool pci_bar_wanted(const struct pci_dev *dev, unsigned int n, uint64_t *addr)
{
	const struct pci_bar *bar = &dev->bar[n];
	unsigned int at = PCI_BASE_ADDRESS_0 + 4 * n;
	uint64_t limit = bar->is_io ? 0xffff : 0xffffffff;
	uint8_t enable = bar->is_io ? PCI_COMMAND_IO : PCI_COMMAND_MEMORY;

	if (!bar->size || !(dev->config[PCI_COMMAND] & enable))
		return false;
	*addr = pci_get32(&dev->config[at]);
	if (bar->is_64) {
		*addr |= (uint64_t)pci_get32(&dev->config[at + 4]) << 32;
		limit = UINT64_MAX;
	}
	*addr &= ~(bar->size - 1) & (bar->is_io ? ~3ULL : ~15ULL);
	/* zero: not programmed; up against the limit: being sized */
	return *addr && *addr <= limit - bar->size;
}

uint32_t pci_config_read(struct pci_dev *dev, unsigned int offset,
			 unsigned int size)
{
	uint32_t value = 0;
	unsigned int i;

	if (dev->config_reading)
		dev->config_reading(dev->owner, offset, size);
	for (i = 0; i < size && offset + i < PCI_CONFIG_SIZE; i++)
		value |= (uint32_t)dev->config[offset + i] << (8 * i);
	return value;
}

void pci_config_write(struct pci_dev *dev, unsigned int offset, uint32_t value,
		      unsigned int size)
{
	bool command = pci_overlaps(offset, size, PCI_COMMAND, 2);
	unsigned int i;

	for (i = 0; i < size && offset + i < PCI_CONFIG_SIZE; i++) {
		uint8_t *p = &dev->config[offset + i], v = value >> (8 * i);
		uint8_t mask = dev->wmask[offset + i];

		*p = (*p & ~mask) | (v & mask);
		*p &= ~(v & dev->w1c[offset + i]);
	}
	if (command || pci_overlaps(offset, size, PCI_BASE_ADDRESS_0, BARS_LEN))
		pci_remap(dev->bus, dev);
	if (dev->msix_cap &&
	    (command || pci_overlaps(offset, size, dev->msix_cap, 4)))
		pci_msix_written(dev);
	pci_intx_update(dev);
	if (dev->config_written)
		dev->config_written(dev->owner, offset, size);
}

/* a register with another value after reset is set by its device's own reset */
void pci_dev_reset(struct pci_dev *dev)
{
	unsigned int i;

	for (i = 0; i < PCI_CONFIG_SIZE; i++)
		dev->config[i] &= ~(dev->wmask[i] | dev->w1c[i]);
	pci_msix_reset(dev);
	pci_intx(dev, false);
	if (dev->bus)
		pci_remap(dev->bus, dev);
}

struct pci_dev_state {
	uint8_t config[PCI_CONFIG_SIZE];
	uint8_t intx_level;
	uint8_t pad[7];
	/* then the MSI-X state */
};

size_t pci_dev_save(struct pci_dev *dev, void *buf, size_t max)
{
	size_t len = sizeof(struct pci_dev_state) + pci_msix_state_size(dev);
	struct pci_dev_state st = { .intx_level = dev->intx_level };

	if (!buf || max < len)
		return len;
	memcpy(st.config, dev->config, sizeof(st.config));
	memcpy(buf, &st, sizeof(st));
	pci_msix_state_save(dev, (uint8_t *)buf + sizeof(st));
	return len;
}

int pci_dev_load(struct pci_dev *dev, const void *buf, size_t len)
{
	struct pci_dev_state st;
	unsigned int i;
	uint8_t guest;

	if (len != sizeof(st) + pci_msix_state_size(dev))
		return -EINVAL;
	memcpy(&st, buf, sizeof(st));
	if (memcmp(st.config, dev->config, 4) || st.intx_level > 1)
		return -EINVAL;		/* another device's */
	for (i = 0; i < PCI_CONFIG_SIZE; i++) {
		guest = dev->wmask[i] | dev->w1c[i];
		dev->config[i] = (dev->config[i] & ~guest) |
				 (st.config[i] & guest);
	}
	pci_msix_state_load(dev, (const uint8_t *)buf + sizeof(st));
	pci_remap(dev->bus, dev);
	pci_intx(dev, st.intx_level);
	return 0;
}
