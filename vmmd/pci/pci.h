/* SPDX-License-Identifier: GPL-2.0 */
/*
 * PCI: configuration mechanism #1 (ports 0xcf8/0xcfc), bus 0, and what a
 * device function needs: config space with write masks, BARs that move on the
 * buses as the guest programs them, INTx through the PIIX3 router, MSI-X.
 */
#ifndef VMMD_PCI_H
#define VMMD_PCI_H

#include <stdbool.h>
#include <stdint.h>

#include "bus.h"
#include "dev.h"

#define PCI_CONFIG_SIZE	256
#define PCI_BARS	6

struct pci_bus;
struct pci_dev;

struct pci_bar {
	uint64_t size;			/* power of two; 0: absent */
	bool is_io;
	bool is_64;			/* takes the next slot too */
	bool prefetch;
	const struct bus_ops *ops;	/* offsets are BAR-relative */
	void *owner;
	/* pci.c's own */
	bool mapped;
	uint64_t addr;
};

struct msix_entry {
	uint64_t addr;
	uint32_t data;
	uint32_t ctrl;
};

struct pci_dev {
	const char *name;
	struct pci_bus *bus;
	uint8_t devfn;
	uint8_t config[PCI_CONFIG_SIZE];
	uint8_t wmask[PCI_CONFIG_SIZE];		/* bits the guest may write */
	uint8_t w1c[PCI_CONFIG_SIZE];		/* bits cleared by writing 1 */
	struct pci_bar bar[PCI_BARS];
	uint8_t cap_end;			/* next free capability offset */
	bool intx_level;
	/* MSI-X, when pci_msix_init was called */
	uint8_t msix_cap;
	uint16_t msix_count;
	struct msix_entry *msix;
	uint64_t *msix_pending;
	/*
	 * device's own view of config accesses; NULL: none. config_reading is
	 * called before the bytes are read and may change them (virtio's
	 * window into its BAR, virtio 1.2 4.1.4.9).
	 */
	void (*config_written)(void *owner, uint16_t offset, unsigned int size);
	void (*config_reading)(void *owner, uint16_t offset, unsigned int size);
	/* what pci_msix_message says of vector v may have changed; NULL: no need */
	void (*msix_changed)(void *owner, uint16_t v);
	void *owner;
};

/* the host bridge (440FX) and the bus; puts 0xcf8/0xcfc on env->pio */
struct pci_bus *pci_bus_new(struct dev_env *env);
struct dev_env *pci_bus_env(struct pci_bus *bus);
/* devfn -1: the next free slot from 3 on; 0, -EBUSY, -ENOSPC */
int pci_add(struct pci_bus *bus, struct pci_dev *dev, int devfn);
void pci_init_ids(struct pci_dev *dev, uint16_t vendor, uint16_t device,
		  uint8_t revision, uint32_t class_code, uint16_t sub_vendor,
		  uint16_t sub_device);
/* returns the offset of the capability (id filled in), 0: no room */
uint8_t pci_add_cap(struct pci_dev *dev, uint8_t id, uint8_t size);
void pci_set_bar(struct pci_dev *dev, unsigned int n, const struct pci_bar *bar);
void pci_intx(struct pci_dev *dev, bool level);

/* MSI-X table and PBA in BAR n, which this call sets up; 0 or -errno */
int pci_msix_init(struct pci_dev *dev, unsigned int n, uint16_t vectors);
bool pci_msix_enabled(const struct pci_dev *dev);
void pci_msix_notify(struct pci_dev *dev, uint16_t vector);
/* what the vector sends, if it may now: for who sends it in our stead */
bool pci_msix_message(const struct pci_dev *dev, uint16_t vector, uint64_t *addr,
		      uint32_t *data);

void pci_dev_reset(struct pci_dev *dev);	/* config, BARs, MSI-X */
size_t pci_dev_save(struct pci_dev *dev, void *buf, size_t max);
int pci_dev_load(struct pci_dev *dev, const void *buf, size_t len);

/* PIIX3 function 0 tells how INTA..INTD (0..3) are routed; -1: disabled */
void pci_set_router(struct pci_bus *bus, int (*route)(void *owner, int pin),
		    void *owner);
void pci_route_changed(struct pci_bus *bus);	/* PIRQ registers were written */

#endif
