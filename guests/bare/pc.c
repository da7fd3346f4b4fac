// SPDX-License-Identifier: GPL-2.0
/*
 * The PC of vmmd and QEMU ("pc" and "q35") as its firmware finds it: nothing
 * has an address yet.
 */
#include "pc.h"

#define PCI_ID		0x00
#define PCI_COMMAND	0x04
#define PCI_BAR		0x10
#define PCI_CAPS	0x34
#define COMMAND_MEMORY	2
#define CAP_VENDOR	9

#define PIIX4_PM	0x0b		/* slot 1, function 3 */
#define ICH9_LPC	0xf8		/* slot 31, function 0 */
#define ID_ICH9_LPC	0x29188086
#define POST		0x80
#define ELCR		0x4d0
#define PM_BASE		0x600
#define PM_CONTROL	4
#define SLEEP_ENABLE	(1 << 13)	/* of type 0, which is S5 in all three */

/* virtio 1.2, 4.1.4: capabilities, and the common configuration's fields */
#define ID_RNG		0x10441af4
#define CAP_COMMON	1
#define CAP_NOTIFY	2
#define FEATURE_SELECT	0x08
#define FEATURE		0x0c
#define STATUS		0x14
#define QUEUE_SIZE	0x18
#define QUEUE_ENABLE	0x1c
#define QUEUE_DESC	0x20
#define QUEUE_AVAIL	0x28
#define QUEUE_USED	0x30
#define BAR_AT		0xd0000000
#define RINGS		0x90000		/* above the stacks */

static u32 config_read(u8 devfn, u8 reg)
{
	outl(0xcf8, 0x80000000 | devfn << 8 | (reg & 0xfc));
	return inl(0xcfc);
}

static void config_write(u8 devfn, u8 reg, u32 value)
{
	outl(0xcf8, 0x80000000 | devfn << 8 | reg);
	outl(0xcfc, value);
}

static int is_q35(void)
{
	return config_read(ICH9_LPC, PCI_ID) == ID_ICH9_LPC;
}

u16 kernel_port(void)
{
	return is_q35() ? ELCR : POST;
}

u32 pm_enable(void)
{
	if (is_q35()) {
		config_write(ICH9_LPC, 0x40, PM_BASE | 1);
		config_write(ICH9_LPC, 0x44, 0x80);
	} else {
		config_write(PIIX4_PM, 0x40, PM_BASE | 1);
		config_write(PIIX4_PM, 0x80, 1);
	}
	return PM_BASE;
}

void pm_off(u32 base)
{
	outw(base + PM_CONTROL, SLEEP_ENABLE);
	for (;;)
		asm volatile("cli; hlt");
}

/* Where the registers are that the virtio capability of this type describes. */
static u8 *virtio_block(u8 devfn, u8 type)
{
	u8 cap = config_read(devfn, PCI_CAPS), bar;
	u32 head;

	for (; cap; cap = (u8)(head >> 8)) {
		head = config_read(devfn, cap);
		if ((head & 0xff) != CAP_VENDOR || head >> 24 != type)
			continue;
		bar = PCI_BAR + 4 * (config_read(devfn, cap + 4) & 0xff);
		if (config_read(devfn, bar) & 4)	/* 64 bits */
			config_write(devfn, bar + 4, 0);
		config_write(devfn, bar, BAR_AT);
		return phys(BAR_AT + config_read(devfn, cap + 8));
	}
	return 0;
}

static void put32(u8 *reg, u32 value)
{
	*(volatile u32 *)reg = value;
}

static void driver_starts(u8 *common)
{
	volatile u8 *status = common + STATUS;

	*status = 0;
	*status = 1;			/* ACKNOWLEDGE */
	*status = 3;			/* DRIVER */
	put32(common + FEATURE_SELECT, 1);
	put32(common + FEATURE, 1);	/* VERSION_1 */
	*status = 0xb;			/* FEATURES_OK */
	*(volatile u16 *)(common + QUEUE_SIZE) = 8;
	put32(common + QUEUE_DESC, RINGS);
	put32(common + QUEUE_AVAIL, RINGS + 0x1000);
	put32(common + QUEUE_USED, RINGS + 0x2000);
	*(volatile u16 *)(common + QUEUE_ENABLE) = 1;
	*status = 0xf;			/* DRIVER_OK */
}

volatile u16 *rng_start(void)
{
	u32 slot;
	u8 *common, *notify;

	for (slot = 0; config_read(slot << 3, PCI_ID) != ID_RNG; slot++)
		if (slot == 31)
			return 0;
	common = virtio_block(slot << 3, CAP_COMMON);
	notify = virtio_block(slot << 3, CAP_NOTIFY);
	if (!common || !notify)
		return 0;
	config_write(slot << 3, PCI_COMMAND, COMMAND_MEMORY);
	driver_starts(common);
	return (volatile u16 *)notify;	/* queue 0 is the first there */
}
