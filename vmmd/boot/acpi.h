/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The ACPI tables as firmware wants them from fw_cfg: one file with all
 * tables, one with the RSDP, and a script of relocations and checksums. Where
 * there is no firmware acpi_link takes its place.
 */
#ifndef VMMD_BOOT_ACPI_H
#define VMMD_BOOT_ACPI_H

#include <stddef.h>
#include <stdint.h>

#define ACPI_TABLES_FILE	"etc/acpi/tables"
#define ACPI_RSDP_FILE		"etc/acpi/rsdp"
#define ACPI_LOADER_FILE	"etc/table-loader"

struct acpi_blob {
	uint8_t *data;
	size_t len;
};

struct acpi_files {
	struct acpi_blob tables;
	struct acpi_blob rsdp;
	struct acpi_blob loader;
};

int acpi_build(struct acpi_files *files, unsigned int cpus);	/* 0, -ENOMEM */
void acpi_free(struct acpi_files *files);
/*
 * Run the script as firmware does, for tables that will be at gpa: pointers and
 * checksums are right then.
 */
void acpi_link(struct acpi_files *files, uint64_t gpa);

#endif
