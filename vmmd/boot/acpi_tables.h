/* SPDX-License-Identifier: GPL-2.0 */
/* ACPI 6.5, chapter 5: the tables as bytes, little-endian and packed. */
#ifndef VMMD_BOOT_ACPI_TABLES_H
#define VMMD_BOOT_ACPI_TABLES_H

#include <assert.h>
#include <stdint.h>

#define ACPI_PACKED	__attribute__((packed))

struct acpi_header {		/* 5.2.6 */
	char signature[4];
	uint32_t length;
	uint8_t revision;
	uint8_t checksum;
	char oem_id[6];
	char oem_table_id[8];
	uint32_t oem_revision;
	char creator_id[4];
	uint32_t creator_revision;
} ACPI_PACKED;

struct acpi_gas {		/* 5.2.3.2 */
	uint8_t space;		/* 1: I/O */
	uint8_t bits;
	uint8_t offset;
	uint8_t access;		/* 1 byte, 2 word, 3 dword */
	uint64_t address;
} ACPI_PACKED;

struct acpi_rsdp {		/* 5.2.5.3 */
	char signature[8];
	uint8_t checksum;
	char oem_id[6];
	uint8_t revision;
	uint32_t rsdt;
	uint32_t length;
	uint64_t xsdt;
	uint8_t ext_checksum;
	uint8_t reserved[3];
} ACPI_PACKED;

struct acpi_facs {		/* 5.2.10 */
	char signature[4];
	uint32_t length;
	uint32_t hardware_signature;
	uint32_t waking_vector;
	uint32_t global_lock;
	uint32_t flags;
	uint64_t x_waking_vector;
	uint8_t version;
	uint8_t reserved[31];
} ACPI_PACKED;

struct acpi_fadt {		/* 5.2.9, of revision 3 */
	struct acpi_header h;
	uint32_t firmware_ctrl;
	uint32_t dsdt;
	uint8_t reserved;
	uint8_t pm_profile;
	uint16_t sci_int;
	uint32_t smi_cmd;
	uint8_t acpi_enable;
	uint8_t acpi_disable;
	uint8_t s4bios_req;
	uint8_t pstate_cnt;
	uint32_t pm1a_evt_blk;
	uint32_t pm1b_evt_blk;
	uint32_t pm1a_cnt_blk;
	uint32_t pm1b_cnt_blk;
	uint32_t pm2_cnt_blk;
	uint32_t pm_tmr_blk;
	uint32_t gpe0_blk;
	uint32_t gpe1_blk;
	uint8_t pm1_evt_len;
	uint8_t pm1_cnt_len;
	uint8_t pm2_cnt_len;
	uint8_t pm_tmr_len;
	uint8_t gpe0_blk_len;
	uint8_t gpe1_blk_len;
	uint8_t gpe1_base;
	uint8_t cst_cnt;
	uint16_t p_lvl2_lat;
	uint16_t p_lvl3_lat;
	uint16_t flush_size;
	uint16_t flush_stride;
	uint8_t duty_offset;
	uint8_t duty_width;
	uint8_t day_alarm;
	uint8_t month_alarm;
	uint8_t century;
	uint16_t boot_arch;
	uint8_t reserved2;
	uint32_t flags;
	struct acpi_gas reset_reg;
	uint8_t reset_value;
	uint8_t reserved3[3];
	uint64_t x_firmware_ctrl;
	uint64_t x_dsdt;
	struct acpi_gas x_pm1a_evt_blk;
	struct acpi_gas x_pm1b_evt_blk;
	struct acpi_gas x_pm1a_cnt_blk;
	struct acpi_gas x_pm1b_cnt_blk;
	struct acpi_gas x_pm2_cnt_blk;
	struct acpi_gas x_pm_tmr_blk;
	struct acpi_gas x_gpe0_blk;
	struct acpi_gas x_gpe1_blk;
} ACPI_PACKED;

struct acpi_madt {		/* 5.2.12 */
	struct acpi_header h;
	uint32_t lapic;
	uint32_t flags;
} ACPI_PACKED;

struct acpi_madt_lapic {
	uint8_t type, length;
	uint8_t uid;
	uint8_t id;
	uint32_t flags;
} ACPI_PACKED;

struct acpi_madt_ioapic {
	uint8_t type, length;
	uint8_t id;
	uint8_t reserved;
	uint32_t address;
	uint32_t gsi_base;
} ACPI_PACKED;

struct acpi_madt_override {
	uint8_t type, length;
	uint8_t bus;
	uint8_t source;
	uint32_t gsi;
	uint16_t flags;
} ACPI_PACKED;

struct acpi_madt_nmi {
	uint8_t type, length;
	uint8_t uid;
	uint16_t flags;
	uint8_t lint;
} ACPI_PACKED;

struct acpi_madt_x2apic {
	uint8_t type, length;
	uint16_t reserved;
	uint32_t id;
	uint32_t flags;
	uint32_t uid;
} ACPI_PACKED;

struct acpi_madt_x2nmi {
	uint8_t type, length;
	uint16_t flags;
	uint32_t uid;
	uint8_t lint;
	uint8_t reserved[3];
} ACPI_PACKED;

/* one entry of etc/table-loader; QEMU, hw/acpi/bios-linker-loader */
#define LOADER_NAME	56

struct loader_entry {
	uint32_t command;
	union {
		struct {
			char file[LOADER_NAME];
			uint32_t align;
			uint8_t zone;
		} ACPI_PACKED alloc;
		struct {
			char dest[LOADER_NAME];
			char src[LOADER_NAME];
			uint32_t offset;
			uint8_t size;
		} ACPI_PACKED pointer;
		struct {
			char file[LOADER_NAME];
			uint32_t offset;
			uint32_t start;
			uint32_t length;
		} ACPI_PACKED checksum;
		uint8_t bytes[124];
	};
} ACPI_PACKED;

#define LOADER_ALLOCATE		1
#define LOADER_ADD_POINTER	2
#define LOADER_ADD_CHECKSUM	3
#define LOADER_ZONE_HIGH	1
#define LOADER_ZONE_FSEG	2

static_assert(sizeof(struct acpi_header) == 36, "ACPI header");
static_assert(sizeof(struct acpi_rsdp) == 36, "RSDP");
static_assert(sizeof(struct acpi_facs) == 64, "FACS");
static_assert(sizeof(struct acpi_fadt) == 244, "FADT of revision 3");
static_assert(sizeof(struct acpi_madt) == 44, "MADT");
static_assert(sizeof(struct loader_entry) == 128, "loader entry");

#endif
