/* SPDX-License-Identifier: GPL-2.0 */
/* What guests that run as firmware use of the PC around them: pc.c. */
#ifndef GUEST_PC_H
#define GUEST_PC_H

#include "rt.h"

#define COM1		0x3f8
#define PM_TIMER	8		/* from pm_enable()'s base */

/* Gives the ACPI registers their ports; returns the first. */
u32 pm_enable(void);
void pm_off(u32 base) __attribute__((noreturn));

/*
 * A port that may be written 0 to, and needs no monitor where one has the
 * kernel answer it: vmmd's POST code, and with QEMU ("q35") KVM's PIC.
 */
u16 kernel_port(void);

/*
 * Starts the virtio entropy device with one empty queue. Returns where the
 * driver notifies that queue, or 0 without such a device.
 */
volatile u16 *rng_start(void);

#endif /* GUEST_PC_H */
