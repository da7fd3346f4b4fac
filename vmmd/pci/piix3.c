// SPDX-License-Identifier: GPL-2.0
/*
 * PIIX3 ISA bridge at 00:01.0 (Intel 290550): which IRQ each of PIRQA..D
 * becomes, and the reset control register at port 0xcf9.
 */
#include <errno.h>
#include <stdlib.h>

#include "dev/devices.h"
#include "dev/state.h"
#include "pci/pci_priv.h"

#define PIRQRC		0x60		/* four of them */
#define PIRQ_OFF	0x80
#define PIRQ_IRQ	0x0f
#define VALID_IRQS	0xdef8U		/* 3-7, 9-12, 14, 15 */
#define XBCS		0x4e
#define RCR_SYSTEM	0x02
#define RCR_RESET	0x04

struct piix3 {
	struct pci_dev pci;
	struct dev_env *env;
	uint8_t rcr;
};

struct piix3_state {
	uint8_t rcr;
	uint8_t pad[7];
	/* then the PCI state */
};

static int piix3_route(void *owner, int pin)
{
	struct piix3 *p = owner;
	uint8_t reg = p->pci.config[PIRQRC + pin];

	if ((reg & PIRQ_OFF) || !(VALID_IRQS & 1U << (reg & PIRQ_IRQ)))
		return -1;
	return reg & PIRQ_IRQ;
}

static void piix3_written(void *owner, uint16_t offset, unsigned int size)
{
	struct piix3 *p = owner;

	if (pci_overlaps(offset, size, PIRQRC, 4))
		pci_route_changed(p->pci.bus);
}

static uint8_t rcr_read(void *owner)
{
	struct piix3 *p = owner;

	return p->rcr;
}

/* RCPU going from 0 to 1 resets; it reads as 0 since the reset clears it */
static void rcr_write(void *owner, uint8_t value)
{
	struct piix3 *p = owner;

	p->rcr = value & RCR_SYSTEM;
	if (value & RCR_RESET)
		p->env->request_reset(p->env);
}

static void piix3_reset(void *owner)
{
	struct piix3 *p = owner;
	unsigned int i;

	pci_dev_reset(&p->pci);
	p->rcr = 0;
	p->pci.config[XBCS] = 0x03;
	for (i = 0; i < 4; i++)
		p->pci.config[PIRQRC + i] = PIRQ_OFF;
	if (p->pci.bus)
		pci_route_changed(p->pci.bus);
}

static size_t piix3_save(void *owner, void *buf, size_t max)
{
	struct piix3 *p = owner;
	struct piix3_state st = { .rcr = p->rcr };
	size_t len = sizeof(st) + pci_dev_save(&p->pci, NULL, 0);

	if (!buf || max < len)
		return len;
	memcpy(buf, &st, sizeof(st));
	pci_dev_save(&p->pci, (uint8_t *)buf + sizeof(st), max - sizeof(st));
	return len;
}

static int piix3_load(void *owner, const void *buf, size_t len)
{
	struct piix3 *p = owner;
	struct piix3_state st;
	int err;

	if (len < sizeof(st))
		return -EINVAL;
	memcpy(&st, buf, sizeof(st));
	if (st.rcr & ~RCR_SYSTEM)
		return -EINVAL;
	err = pci_dev_load(&p->pci, (const uint8_t *)buf + sizeof(st),
			   len - sizeof(st));
	if (err)
		return err;
	p->rcr = st.rcr;
	pci_route_changed(p->pci.bus);
	return 0;
}

static const struct dev_ops piix3_ops = {
	.reset = piix3_reset,
	.save = piix3_save,
	.load = piix3_load,
	.free = free,
};

int piix3_new(struct dev_env *env, struct pci_bus *bus)
{
	struct piix3 *p = calloc(1, sizeof(*p));
	unsigned int i;
	int err;

	if (!p)
		return -ENOMEM;
	p->env = env;
	p->pci.name = "piix3";
	p->pci.owner = p;
	p->pci.config_written = piix3_written;
	pci_init_ids(&p->pci, PCI_VENDOR_ID_INTEL, 0x7000, 0,
		     PCI_CLASS_BRIDGE_ISA, 0, 0);
	pci_put16(&p->pci.config[PCI_STATUS], 0x0280);
	p->pci.config[PCI_HEADER_TYPE] = 0x80;	/* the PM function follows */
	pci_put16(&p->pci.wmask[XBCS], 0x03ff);
	for (i = 0; i < 4; i++)
		p->pci.wmask[PIRQRC + i] = PIRQ_OFF | PIRQ_IRQ;
	piix3_reset(p);
	err = env->add(env, p->pci.name, &piix3_ops, p);
	if (err) {
		free(p);
		return err;
	}
	err = pci_add(bus, &p->pci, 1 << 3);
	if (err)
		return err;	/* the machine frees it */
	pci_set_router(bus, piix3_route, p);
	pci_set_reset_port(bus, (struct pci_reset_port){
		.read = rcr_read,
		.write = rcr_write,
		.owner = p,
	});
	return 0;
}
