/* SPDX-License-Identifier: GPL-2.0 */
/* The subjects of the guest intr, its arg 0, and what it asks of its harness. */
#ifndef GUEST_INTR_H
#define GUEST_INTR_H

enum { INTR_NESTED, INTR_LEVEL, INTR_MODES, INTR_PAGE, INTR_MIXED, INTR_BEHIND };

/* at PORT_ASK */
#define INTR_SEND	0x100	/* | first of three vectors */
#define INTR_ENDS	0x200	/* | vector: its EOI comes next */
#define INTR_MAP	0x300	/* memory at the APIC's page */
#define INTR_UNMAP	0x301

#define INTR_MEMORY	0x11223344	/* what it holds */
#define INTR_MMIO	0x55667788	/* what the monitor answers for there */

#endif /* GUEST_INTR_H */
