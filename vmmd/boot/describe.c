// SPDX-License-Identifier: GPL-2.0
/* What fw_cfg tells the firmware about this machine, and how to boot it fast. */
#include <endian.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "boot/acpi.h"
#include "boot/firmware.h"
#include "dev/fwcfg.h"

#define TOP_4G		(1ULL << 32)
#define E820_RAM	1
#define WAIT_FOREVER	0xffffffffU

struct e820_entry {		/* little-endian */
	uint64_t addr;
	uint64_t size;
	uint32_t type;
} __attribute__((packed));

static int add_e820(struct fwcfg *fw, const struct boot_info *info)
{
	const struct e820_entry map[2] = {
		{ 0, htole64(info->ram_low), htole32(E820_RAM) },
		{ htole64(TOP_4G), htole64(info->ram_high), htole32(E820_RAM) },
	};

	return fwcfg_add_file(fw, "etc/e820", map,
			      (info->ram_high ? 2 : 1) * sizeof(map[0]));
}

static int add_bootorder(struct fwcfg *fw, const struct boot_info *info)
{
	char path[64];

	if (info->disk_slot < 0)
		return 0;
	snprintf(path, sizeof(path), "/pci@i0cf8/scsi@%x/disk@0,0\n",
		 info->disk_slot);
	return fwcfg_add_file(fw, "bootorder", path, strlen(path) + 1);
}

static int add_acpi(struct fwcfg *fw, const struct boot_info *info)
{
	struct acpi_files files;
	int err = acpi_build(&files, info->cpus);

	if (!err)
		err = fwcfg_add_file(fw, ACPI_TABLES_FILE, files.tables.data,
				     files.tables.len);
	if (!err)
		err = fwcfg_add_file(fw, ACPI_RSDP_FILE, files.rsdp.data,
				     files.rsdp.len);
	if (!err)
		err = fwcfg_add_file(fw, ACPI_LOADER_FILE, files.loader.data,
				     files.loader.len);
	acpi_free(&files);
	return err;
}

int boot_describe(struct fwcfg *fw, const struct boot_info *info)
{
	const uint8_t irq0_override = 1;	/* IRQ 0 is on I/O APIC pin 2 */
	const uint32_t forever = htole32(WAIT_FOREVER);
	int err;

	err = fwcfg_add_u64(fw, FWCFG_RAM_SIZE, info->ram_low + info->ram_high);
	if (!err)
		err = fwcfg_add_u16(fw, FWCFG_NOGRAPHIC, 0);
	if (!err)
		err = fwcfg_add_u16(fw, FWCFG_NB_CPUS, info->cpus);
	if (!err)
		err = fwcfg_add_u16(fw, FWCFG_MAX_CPUS, info->cpus);
	if (!err)
		err = fwcfg_add_u16(fw, FWCFG_BOOT_MENU, 0);
	if (!err)
		err = fwcfg_add_item(fw, FWCFG_IRQ0_OVERRIDE, &irq0_override, 1);
	if (!err)	/* with nothing to boot: stand still, no reset loop */
		err = fwcfg_add_file(fw, "etc/boot-fail-wait", &forever,
				     sizeof(forever));
	if (!err)
		err = add_e820(fw, info);
	if (!err)
		err = add_bootorder(fw, info);
	if (!err)
		err = add_acpi(fw, info);
	return err;
}
