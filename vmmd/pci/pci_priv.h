/* SPDX-License-Identifier: GPL-2.0 */
/* What the files of pci/ share among themselves. */
#ifndef VMMD_PCI_PRIV_H
#define VMMD_PCI_PRIV_H

#include <linux/pci_regs.h>

#include "pci/pci.h"

#define PCI_VENDOR_ID_INTEL	0x8086
#define PCI_VENDOR_ID_REDHAT	0x1af4
#define PCI_BASE_CLASS_BRIDGE	0x06
#define PCI_CLASS_BRIDGE_HOST	0x060000
#define PCI_CLASS_BRIDGE_ISA	0x060100
#define PCI_CLASS_BRIDGE_OTHER	0x068000

#define PCI_SLOT_ANY	3		/* the first that pci_add gives away */

/* little-endian registers in a config space */
static inline uint16_t pci_get16(const uint8_t *p)
{
	return p[0] | p[1] << 8;
}

static inline uint32_t pci_get32(const uint8_t *p)
{
	return pci_get16(p) | (uint32_t)pci_get16(p + 2) << 16;
}

static inline void pci_put16(uint8_t *p, uint16_t v)
{
	p[0] = v;
	p[1] = v >> 8;
}

static inline void pci_put32(uint8_t *p, uint32_t v)
{
	pci_put16(p, v);
	pci_put16(p + 2, v >> 16);
}

static inline bool pci_overlaps(unsigned int offset, unsigned int size,
				unsigned int start, unsigned int len)
{
	return offset < start + len && start < offset + size;
}

/* the byte at 0xcf9, inside the config mechanism's ports, is PIIX3's */
struct pci_reset_port {
	uint8_t (*read)(void *owner);
	void (*write)(void *owner, uint8_t value);
	void *owner;
};
void pci_set_reset_port(struct pci_bus *bus, struct pci_reset_port port);

/* i440fx.c: the host bridge at 00:00.0 */
int i440fx_new(struct dev_env *env, struct pci_bus *bus);

/* pci.c: BARs follow the command and base registers; wires follow the levels */
void pci_remap(struct pci_bus *bus, struct pci_dev *dev);
void pci_intx_update(struct pci_dev *dev);

/* pci_dev.c */
void pci_config_write(struct pci_dev *dev, unsigned int offset, uint32_t value,
		      unsigned int size);
uint32_t pci_config_read(struct pci_dev *dev, unsigned int offset,
			 unsigned int size);
bool pci_bar_wanted(const struct pci_dev *dev, unsigned int n, uint64_t *addr);

/* msix.c */
void pci_msix_written(struct pci_dev *dev);	/* the control word may differ */
void pci_msix_reset(struct pci_dev *dev);
size_t pci_msix_state_size(const struct pci_dev *dev);
void pci_msix_state_save(const struct pci_dev *dev, uint8_t *buf);
void pci_msix_state_load(struct pci_dev *dev, const uint8_t *buf);

#endif
