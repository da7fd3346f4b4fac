// SPDX-License-Identifier: GPL-2.0
/*
 * 82441FX host bridge at 00:00.0 (Intel 290549). The PAM registers keep what
 * firmware writes and do nothing: 0xc0000-0xfffff is RAM from the first day.
 * The subsystem IDs are what makes SeaBIOS look for fw_cfg.
 */
#include <errno.h>
#include <stdlib.h>

#include "pci/pci_priv.h"

#define PAM0		0x59
#define PAM_REGS	7
#define SMRAM		0x72
#define SMRAM_RESET	0x02
#define STATUS_MEDIUM	0x0280		/* DEVSEL timing, fast back-to-back */

static void i440fx_reset(void *owner)
{
	struct pci_dev *dev = owner;

	pci_dev_reset(dev);
	dev->config[SMRAM] = SMRAM_RESET;
}

static size_t i440fx_save(void *owner, void *buf, size_t max)
{
	return pci_dev_save(owner, buf, max);
}

static int i440fx_load(void *owner, const void *buf, size_t len)
{
	return pci_dev_load(owner, buf, len);
}

static const struct dev_ops i440fx_ops = {
	.reset = i440fx_reset,
	.save = i440fx_save,
	.load = i440fx_load,
	.free = free,
};

int i440fx_new(struct dev_env *env, struct pci_bus *bus)
{
	struct pci_dev *dev = calloc(1, sizeof(*dev));
	unsigned int i;
	int err;

	if (!dev)
		return -ENOMEM;
	dev->name = "i440fx";
	pci_init_ids(dev, PCI_VENDOR_ID_INTEL, 0x1237, 2,
		     PCI_CLASS_BRIDGE_HOST, PCI_VENDOR_ID_REDHAT, 0x1100);
	pci_put16(&dev->config[PCI_STATUS], STATUS_MEDIUM);
	for (i = 0; i < PAM_REGS; i++)
		dev->wmask[PAM0 + i] = i ? 0x33 : 0x30;
	dev->wmask[SMRAM] = 0x7f;
	i440fx_reset(dev);
	err = env->add(env, dev->name, &i440fx_ops, dev);
	if (err) {
		free(dev);
		return err;
	}
	return pci_add(bus, dev, 0);
}
