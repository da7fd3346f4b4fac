/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What machine.c, which runs, machine_build.c, which makes, and machine_env.c, on
 * which devices lean, share.
 */
#ifndef VMMD_MACHINE_PRIV_H
#define VMMD_MACHINE_PRIV_H

#include <stdatomic.h>
#include <stdio.h>

#include "boot/firmware.h"
#include "dev.h"
#include "machine.h"

#define MACHINE_DEVS	32

struct linux_boot;
struct vmm_ring;

struct machine_dev {
	const char *name;
	const struct dev_ops *ops;
	void *owner;
};

struct machine {
	struct dev_env env;
	struct api_vm *vm;
	pthread_mutex_t *lock;
	const struct vm_config *cfg;
	struct machine_dev dev[MACHINE_DEVS];	/* in the order of reset, load */
	unsigned int ndevs;
	struct machine_hooks hooks;
	atomic_bool intr;			/* the PIC's INTR line */
	struct pci_bus *pci;
	struct pic *pic;
	struct acpipm *pm;
	struct fwcfg *fwcfg;
	struct chardev *console;
	struct block *disk;
	struct net *net;
	FILE *firmware_log;
	struct firmware firmware;		/* one of these two boots */
	struct linux_boot *linux_boot;
	struct vmm_ring *ring;			/* writes kept by the module, or NULL */
	uint64_t ram_low, ram_high;		/* ends below 4 GiB; size above */
};

/* machine_env.c: what all devices are given, and the wires; 0 or -errno */
int machine_make_env(struct machine *m, struct loop *loop);
/* the PIC's line, for pic_new */
void machine_pic_intr(void *owner, bool level);
/* for a console's keys */
void machine_key_quit(void *owner);
void machine_key_power_button(void *owner);

#endif
