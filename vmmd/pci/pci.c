// SPDX-License-Identifier: GPL-2.0
/*
 * PCI bus 0: configuration mechanism #1 (PCI 2.3, 3.2.2.3.2), the devices'
 * places on the port and MMIO buses, and their INTx wires.
 */
#include <errno.h>
#include <stdlib.h>

#include "dev/state.h"
#include "irq.h"
#include "pci/pci_priv.h"

#define CONFIG_PORT	0xcf8
#define CONFIG_PORTS	8
#define CONFIG_RESET	1		/* 0xcf9 */
#define CONFIG_DATA	4		/* 0xcfc */
#define CONFIG_ENABLE	0x80000000U
#define CONFIG_MASK	0x80fffffcU

#define DEVFNS		256
#define PIRQS		4
#define IRQ_SOURCE	16		/* of PIRQA; irq.h */
#define ALL_ONES(size)	((size) < 4 ? (1U << (8 * (size))) - 1 : 0xffffffffU)

struct pci_slot {
	struct pci_dev *dev;
	struct msix_entry *msix;	/* freed with the bus: devices go first */
	bool asserted;
};

struct pci_bus {
	struct dev_env *env;
	uint32_t address;		/* 0xcf8 */
	struct pci_slot slot[DEVFNS];
	unsigned int pirq_count[PIRQS];	/* devices that pull it */
	int pirq_gsi[PIRQS];		/* -1: goes nowhere */
	int (*route)(void *owner, int pin);
	void *route_owner;
	struct pci_reset_port reset_port;
};

struct dev_env *pci_bus_env(struct pci_bus *bus)
{
	return bus->env;
}

/* ---- BARs ----------------------------------------------------------------- */

static struct bus *bar_bus(struct pci_bus *bus, const struct pci_bar *bar)
{
	return bar->is_io ? bus->env->pio : bus->env->mmio;
}

static void bars_unmap(struct pci_bus *bus, struct pci_dev *dev)
{
	uint64_t addr;
	unsigned int n;

	for (n = 0; n < PCI_BARS; n++) {
		struct pci_bar *bar = &dev->bar[n];

		if (!bar->mapped)
			continue;
		if (pci_bar_wanted(dev, n, &addr) && addr == bar->addr)
			continue;
		bus_remove(bar_bus(bus, bar), bar->addr);
		bar->mapped = false;
	}
}

/* one that meets something else stays unmapped until that moves away */
static void bars_map(struct pci_bus *bus, struct pci_dev *dev)
{
	uint64_t addr;
	unsigned int n;

	for (n = 0; n < PCI_BARS; n++) {
		struct pci_bar *bar = &dev->bar[n];

		if (bar->mapped || !pci_bar_wanted(dev, n, &addr))
			continue;
		if (bus_add(bar_bus(bus, bar), addr, bar->size, bar->ops,
			    bar->owner, dev->name))
			continue;
		bar->addr = addr;
		bar->mapped = true;
	}
}

void pci_remap(struct pci_bus *bus, struct pci_dev *dev)
{
	unsigned int i;

	bars_unmap(bus, dev);
	for (i = 0; i < DEVFNS; i++)
		if (bus->slot[i].dev)
			bars_map(bus, bus->slot[i].dev);
}

/* ---- INTx ----------------------------------------------------------------- */

static void pirq_drive(struct pci_bus *bus, unsigned int pirq)
{
	if (bus->pirq_gsi[pirq] >= 0)
		irq_set(bus->env->irq, bus->pirq_gsi[pirq], IRQ_SOURCE + pirq,
			bus->pirq_count[pirq]);
}

/* how the board wires slots to PIRQA..D; firmware and DSDT know the same */
static unsigned int pirq_of(const struct pci_dev *dev)
{
	return (dev->config[PCI_INTERRUPT_PIN] - 1 + (dev->devfn >> 3) - 1) & 3;
}

void pci_intx_update(struct pci_dev *dev)
{
	uint16_t command = pci_get16(&dev->config[PCI_COMMAND]);
	struct pci_slot *slot;
	bool on;

	if (dev->intx_level)
		dev->config[PCI_STATUS] |= PCI_STATUS_INTERRUPT;
	else
		dev->config[PCI_STATUS] &= ~PCI_STATUS_INTERRUPT;
	if (!dev->bus || !dev->config[PCI_INTERRUPT_PIN])
		return;
	on = dev->intx_level && !(command & PCI_COMMAND_INTX_DISABLE) &&
	     !pci_msix_enabled(dev);
	slot = &dev->bus->slot[dev->devfn];
	if (slot->asserted == on)
		return;
	slot->asserted = on;
	if (on)
		dev->bus->pirq_count[pirq_of(dev)]++;
	else
		dev->bus->pirq_count[pirq_of(dev)]--;
	pirq_drive(dev->bus, pirq_of(dev));
}

void pci_intx(struct pci_dev *dev, bool level)
{
	dev->intx_level = level;
	pci_intx_update(dev);
}

void pci_set_router(struct pci_bus *bus, int (*route)(void *owner, int pin),
		    void *owner)
{
	bus->route = route;
	bus->route_owner = owner;
	pci_route_changed(bus);
}

void pci_route_changed(struct pci_bus *bus)
{
	unsigned int i;
	int gsi;

	for (i = 0; i < PIRQS; i++) {
		gsi = bus->route(bus->route_owner, i);
		if (gsi == bus->pirq_gsi[i])
			continue;
		if (bus->pirq_gsi[i] >= 0)
			irq_set(bus->env->irq, bus->pirq_gsi[i],
				IRQ_SOURCE + i, false);
		bus->pirq_gsi[i] = gsi;
		pirq_drive(bus, i);
	}
}

/* ---- configuration mechanism #1 ------------------------------------------- */

static struct pci_dev *addressed(struct pci_bus *bus)
{
	if (!(bus->address & CONFIG_ENABLE) || bus->address >> 16 & 0xff)
		return NULL;
	return bus->slot[bus->address >> 8 & 0xff].dev;
}

static uint64_t config_port_read(void *owner, uint64_t offset,
				 unsigned int size)
{
	struct pci_bus *bus = owner;
	struct pci_dev *dev;

	if (size > 4)
		return ~0ULL;
	if (offset >= CONFIG_DATA) {
		dev = addressed(bus);
		if (!dev)
			return ALL_ONES(size);
		return pci_config_read(dev, (bus->address & 0xfc) +
					    (offset - CONFIG_DATA), size);
	}
	if (offset == 0 && size == 4)
		return bus->address;
	if (offset == CONFIG_RESET && size == 1 && bus->reset_port.read)
		return bus->reset_port.read(bus->reset_port.owner);
	return ALL_ONES(size);
}

static void config_port_write(void *owner, uint64_t offset, uint64_t value,
			      unsigned int size)
{
	struct pci_bus *bus = owner;
	struct pci_dev *dev;

	if (size > 4)
		return;
	if (offset >= CONFIG_DATA) {
		dev = addressed(bus);
		if (dev)
			pci_config_write(dev, (bus->address & 0xfc) +
					      (offset - CONFIG_DATA),
					 value, size);
	} else if (offset == 0 && size == 4) {
		bus->address = value & CONFIG_MASK;
	} else if (offset == CONFIG_RESET && size == 1 &&
		   bus->reset_port.write) {
		bus->reset_port.write(bus->reset_port.owner, value);
	}
}

void pci_set_reset_port(struct pci_bus *bus, struct pci_reset_port port)
{
	bus->reset_port = port;
}

/* ---- the bus as a device -------------------------------------------------- */

static void pci_bus_reset(void *owner)
{
	struct pci_bus *bus = owner;

	bus->address = 0;
}

static size_t pci_bus_save(void *owner, void *buf, size_t max)
{
	struct pci_bus *bus = owner;

	return state_save(&bus->address, sizeof(bus->address), buf, max);
}

static int pci_bus_load(void *owner, const void *buf, size_t len)
{
	struct pci_bus *bus = owner;
	uint32_t address;

	if (len != sizeof(address))
		return -EINVAL;
	memcpy(&address, buf, sizeof(address));
	if (address & ~CONFIG_MASK)
		return -EINVAL;
	bus->address = address;
	return 0;
}

static void pci_bus_free(void *owner)
{
	struct pci_bus *bus = owner;
	unsigned int i;

	for (i = 0; i < DEVFNS; i++)
		free(bus->slot[i].msix);
	free(bus);
}

static int find_slot(const struct pci_bus *bus)
{
	unsigned int slot;

	for (slot = PCI_SLOT_ANY; slot < 32; slot++)
		if (!bus->slot[slot << 3].dev)
			return slot << 3;
	return -ENOSPC;
}

int pci_add(struct pci_bus *bus, struct pci_dev *dev, int devfn)
{
	if (devfn == -1)
		devfn = find_slot(bus);
	if (devfn < 0)
		return devfn;
	if (devfn >= DEVFNS)
		return -EINVAL;
	if (bus->slot[devfn].dev)
		return -EBUSY;
	dev->bus = bus;
	dev->devfn = devfn;
	bus->slot[devfn].dev = dev;
	bus->slot[devfn].msix = dev->msix;
	return 0;
}

static const struct bus_ops config_port_ops = {
	.read = config_port_read,
	.write = config_port_write,
};

static const struct dev_ops pci_bus_ops = {
	.reset = pci_bus_reset,
	.save = pci_bus_save,
	.load = pci_bus_load,
	.free = pci_bus_free,
};

struct pci_bus *pci_bus_new(struct dev_env *env)
{
	struct pci_bus *bus = calloc(1, sizeof(*bus));
	unsigned int i;

	if (!bus)
		return NULL;
	bus->env = env;
	for (i = 0; i < PIRQS; i++)
		bus->pirq_gsi[i] = -1;
	if (bus_add(env->pio, CONFIG_PORT, CONFIG_PORTS, &config_port_ops, bus,
		    "pci-config"))
		goto out_free;
	if (env->add(env, "pci", &pci_bus_ops, bus))
		goto out_bus;
	/* the address; its second byte, written alone, is the reset register */
	if (env->coalesce)
		env->coalesce(env, true, CONFIG_PORT, 4);
	if (i440fx_new(env, bus))	/* the bus is the machine's by now */
		return NULL;
	return bus;

out_bus:
	bus_remove(env->pio, CONFIG_PORT);
out_free:
	free(bus);
	return NULL;
}
