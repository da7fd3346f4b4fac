/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Interrupt wires of the PC. A GSI goes to the PIC (0..15) and to the I/O APIC
 * (0..23) alike; MSIs go straight to the module. Machine lock held.
 */
#ifndef VMMD_IRQ_H
#define VMMD_IRQ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define IRQ_GSIS	24

struct irq;

/* who listens to the wires and where MSIs go */
struct irq_sink {
	void (*set)(void *owner, unsigned int gsi, bool level);
	void *owner;
};

struct irq *irq_new(void (*msi)(void *owner, uint64_t addr, uint32_t data),
		    void *msi_owner);
void irq_free(struct irq *irq);
void irq_add_sink(struct irq *irq, struct irq_sink sink);	/* PIC, I/O APIC */

/* a wire is high while any of its sources is: `source` is a small number that
 * tells sharers of one GSI apart (0..31) */
void irq_set(struct irq *irq, unsigned int gsi, unsigned int source, bool level);
void irq_msi(struct irq *irq, uint64_t addr, uint32_t data);

/* a level-triggered vector was EOIed at a local APIC: the I/O APIC listens */
void irq_eoi(struct irq *irq, uint8_t vector);
void irq_set_eoi(struct irq *irq, void (*fn)(void *owner, uint8_t vector),
		 void *owner);

/*
 * The levels of the wires, without telling the sinks: those restore their own
 * view of them. Loaded before any device; the forms are those of dev_ops.
 */
size_t irq_save(struct irq *irq, void *buf, size_t max);
int irq_load(struct irq *irq, const void *buf, size_t len);

#endif
