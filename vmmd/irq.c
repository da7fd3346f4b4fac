// SPDX-License-Identifier: GPL-2.0
/* The interrupt wires: a wired OR of sources per GSI, told to every sink. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "irq.h"

#define MAX_SINKS	4

struct irq {
	uint32_t sources[IRQ_GSIS];	/* which of them hold the wire high */
	struct irq_sink sink[MAX_SINKS];
	unsigned int nsinks;
	void (*msi)(void *owner, uint64_t addr, uint32_t data);
	void *msi_owner;
	void (*eoi)(void *owner, uint8_t vector);
	void *eoi_owner;
};

struct irq *irq_new(void (*msi)(void *owner, uint64_t addr, uint32_t data),
		    void *msi_owner)
{
	struct irq *irq = calloc(1, sizeof(*irq));

	if (!irq)
		return NULL;
	irq->msi = msi;
	irq->msi_owner = msi_owner;
	return irq;
}

void irq_free(struct irq *irq)
{
	free(irq);
}

void irq_add_sink(struct irq *irq, struct irq_sink sink)
{
	if (irq->nsinks < MAX_SINKS)
		irq->sink[irq->nsinks++] = sink;
}

void irq_set(struct irq *irq, unsigned int gsi, unsigned int source, bool level)
{
	uint32_t was, now;
	unsigned int i;

	if (gsi >= IRQ_GSIS || source >= 32)
		return;
	was = irq->sources[gsi];
	now = level ? was | 1U << source : was & ~(1U << source);
	irq->sources[gsi] = now;
	if (!was == !now)
		return;
	for (i = 0; i < irq->nsinks; i++)
		irq->sink[i].set(irq->sink[i].owner, gsi, now != 0);
}

void irq_msi(struct irq *irq, uint64_t addr, uint32_t data)
{
	if (irq->msi)
		irq->msi(irq->msi_owner, addr, data);
}

void irq_eoi(struct irq *irq, uint8_t vector)
{
	if (irq->eoi)
		irq->eoi(irq->eoi_owner, vector);
}

void irq_set_eoi(struct irq *irq, void (*fn)(void *owner, uint8_t vector),
		 void *owner)
{
	irq->eoi = fn;
	irq->eoi_owner = owner;
}

size_t irq_save(struct irq *irq, void *buf, size_t max)
{
	if (buf && max >= sizeof(irq->sources))
		memcpy(buf, irq->sources, sizeof(irq->sources));
	return sizeof(irq->sources);
}

int irq_load(struct irq *irq, const void *buf, size_t len)
{
	if (len != sizeof(irq->sources))
		return -EINVAL;
	memcpy(irq->sources, buf, sizeof(irq->sources));
	return 0;
}
