/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The constructors of the PC's devices, for machine_build.c. Each puts its ranges on
 * the buses of `env` and adds itself to the machine, which frees it. The int
 * ones return 0 or -errno, the others NULL when out of memory or out of room
 * on a bus.
 */
#ifndef VMMD_DEV_DEVICES_H
#define VMMD_DEV_DEVICES_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "dev.h"

struct chardev;
struct pci_bus;

/* 8259 pair; intr: the INTR pin of the master, called when it changes */
struct pic;
struct pic *pic_new(struct dev_env *env, void (*intr)(void *owner, bool level),
		    void *owner);
bool pic_pending(const struct pic *pic);
uint8_t pic_ack(struct pic *pic);		/* INTA: the vector */

/* 82093AA; listens to the wires and to EOIs */
int ioapic_new(struct dev_env *env, uint64_t gpa);

int pit_new(struct dev_env *env);		/* 8254 and port 0x61 */
int i8042_new(struct dev_env *env);		/* and port 0x92 */

struct rtc_config {
	uint64_t ram_low;	/* RAM ends here below 4 GiB, bytes */
	uint64_t ram_high;	/* RAM above 4 GiB, bytes */
	unsigned int cpus;
};
int rtc_new(struct dev_env *env, const struct rtc_config *cfg);

int uart_new(struct dev_env *env, uint16_t port, unsigned int gsi,
	     struct chardev *chr);

int piix3_new(struct dev_env *env, struct pci_bus *bus);	/* 00:01.0 */

/* PIIX4 function 3 at 00:01.3 */
struct acpipm;
struct acpipm *acpipm_new(struct dev_env *env, struct pci_bus *bus,
			  unsigned int sci);
void acpipm_power_button(struct acpipm *pm);
/* its I/O block to base and switched on, as firmware does after a reset */
void acpipm_place(struct acpipm *pm, uint16_t base);

int post_new(struct dev_env *env);		/* port 0x80 */

/* log NULL: firmware is told that nobody listens, and stays silent */
int debugcon_new(struct dev_env *env, FILE *log);

#endif
