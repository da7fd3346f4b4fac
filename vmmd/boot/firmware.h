/* SPDX-License-Identifier: GPL-2.0 */
/* The firmware: its image, and what it is told through fw_cfg. */
#ifndef VMMD_BOOT_FIRMWARE_H
#define VMMD_BOOT_FIRMWARE_H

#include <stddef.h>
#include <stdint.h>

struct fwcfg;
struct mem;

struct firmware {
	uint8_t *data;		/* until it is mapped */
	size_t size;		/* bytes, a multiple of 64 KiB */
};

/* 0, or -errno with one line in err[] */
int firmware_load(struct firmware *fw, const char *path, char *err,
		  size_t errlen);
/* the same from a saved state */
int firmware_take(struct firmware *fw, const void *image, size_t size, char *err,
		  size_t errlen);
void firmware_free(struct firmware *fw);
/* as ROM below 4 GiB, where it is from then on; once */
int firmware_map(struct firmware *fw, struct mem *mem);
/* its last 128 KiB at 0xe0000, where it may have been written to; each reset */
void firmware_shadow(const struct firmware *fw, struct mem *mem);

/*
 * Why this firmware will find nothing to boot on a disk with that first sector, or
 * NULL. A BIOS says so on a screen only, and there is none.
 */
const char *firmware_cannot_boot(const struct firmware *fw, const uint8_t mbr[512]);

struct boot_info {
	uint64_t ram_low;	/* RAM ends here below 4 GiB, bytes */
	uint64_t ram_high;	/* RAM above 4 GiB, bytes */
	unsigned int cpus;
	int disk_slot;		/* PCI slot of the boot disk, -1: none */
};

/* the items and files, ACPI tables among them; 0 or -errno */
int boot_describe(struct fwcfg *fw, const struct boot_info *info);

#endif
