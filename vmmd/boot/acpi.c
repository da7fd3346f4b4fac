// SPDX-License-Identifier: GPL-2.0
/*
 * Builds the ACPI tables of the PC. The DSDT is boot/dsdt.asl, compiled at
 * build time. Pointers hold offsets into the tables file and checksums are
 * zero: the firmware's loader, or acpi_link, runs the script that makes both
 * right.
 */
#include <endian.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "boot/acpi.h"
#include "boot/acpi_tables.h"
#include "machine.h"

#include "boot/dsdt.hex"

#define MADT_PCAT	1U		/* there is a PIC too */
#define MADT_ENABLED	1U
#define MADT_LEVEL_HIGH	0x000dU		/* 5.2.12.5 */
#define MADT_ALL_CPUS	0xffU
#define X2APIC_FIRST	255U		/* IDs that no LAPIC entry can hold */

/* 5.2.9, flags */
#define FADT_WBINVD	(1U << 0)
#define FADT_PROC_C1	(1U << 2)
#define FADT_NO_SLPBTN	(1U << 5)
#define FADT_NO_RTC	(1U << 6)
#define FADT_RESET_REG	(1U << 10)
/*
 * 5.2.9.3. The keyboard controller is not announced, so that guests lose no
 * time on a keyboard without keys.
 */
#define BOOT_LEGACY	(1U << 0)
#define BOOT_NO_VGA	(1U << 2)

#define RESET_PORT	0xcf9
#define RESET_VALUE	0x06
#define CMOS_CENTURY	0x32
#define NO_C_STATE	0xfff
#define PM1_EVT		(MACHINE_PM_BASE + 0x00)
#define PM1_CNT		(MACHINE_PM_BASE + 0x04)
#define PM_TMR		(MACHINE_PM_BASE + 0x08)
#define GPE0		(MACHINE_PM_BASE + 0x0c)

struct builder {
	struct acpi_files *f;
	bool failed;
	uint32_t facs, dsdt, fadt, madt, rsdt, xsdt;	/* offsets in tables */
};

/* room for len bytes at the end, zeroed; its offset */
static size_t append(struct builder *b, struct acpi_blob *blob,
		     const void *data, size_t len, size_t align)
{
	size_t at = (blob->len + align - 1) & ~(align - 1);
	uint8_t *p;

	if (b->failed)
		return 0;
	p = realloc(blob->data, at + len);
	if (!p) {
		b->failed = true;
		return 0;
	}
	memset(p + blob->len, 0, at - blob->len);
	memcpy(p + at, data, len);
	blob->data = p;
	blob->len = at + len;
	return at;
}

static void header(struct acpi_header *h, const char *signature,
		   uint8_t revision, size_t length)
{
	memcpy(h->signature, signature, 4);
	h->length = htole32(length);
	h->revision = revision;
	memcpy(h->oem_id, "VMM   ", 6);
	memcpy(h->oem_table_id, "VMMPC   ", 8);
	h->oem_revision = htole32(1);
	memcpy(h->creator_id, "VMM ", 4);
	h->creator_revision = htole32(1);
}

static struct acpi_gas io_port(uint16_t port, uint8_t bytes, uint8_t access)
{
	return (struct acpi_gas){
		.space = 1,
		.bits = bytes * 8,
		.access = access,
		.address = htole64(port),
	};
}

static void add_facs(struct builder *b)
{
	struct acpi_facs t = {
		.signature = "FACS",
		.length = htole32(sizeof(t)),
		.version = 1,
	};

	b->facs = append(b, &b->f->tables, &t, sizeof(t), 64);
}

static void add_dsdt(struct builder *b)
{
	uint8_t *copy = malloc(sizeof(dsdt_aml_code));

	if (!copy) {
		b->failed = true;
		return;
	}
	memcpy(copy, dsdt_aml_code, sizeof(dsdt_aml_code));
	((struct acpi_header *)copy)->checksum = 0;
	b->dsdt = append(b, &b->f->tables, copy, sizeof(dsdt_aml_code), 16);
	free(copy);
}

static void add_fadt(struct builder *b)
{
	struct acpi_fadt t = {
		.firmware_ctrl = htole32(b->facs),
		.dsdt = htole32(b->dsdt),
		.x_dsdt = htole64(b->dsdt),
		.sci_int = htole16(MACHINE_SCI),
		.pm1a_evt_blk = htole32(PM1_EVT),
		.pm1a_cnt_blk = htole32(PM1_CNT),
		.pm_tmr_blk = htole32(PM_TMR),
		.gpe0_blk = htole32(GPE0),
		.pm1_evt_len = 4,
		.pm1_cnt_len = 2,
		.pm_tmr_len = 4,
		.gpe0_blk_len = 4,
		.p_lvl2_lat = htole16(NO_C_STATE),
		.p_lvl3_lat = htole16(NO_C_STATE),
		.century = CMOS_CENTURY,
		.boot_arch = htole16(BOOT_LEGACY | BOOT_NO_VGA),
		.flags = htole32(FADT_WBINVD | FADT_PROC_C1 | FADT_NO_SLPBTN |
				 FADT_NO_RTC | FADT_RESET_REG),
		.reset_reg = io_port(RESET_PORT, 1, 1),
		.reset_value = RESET_VALUE,
		.x_pm1a_evt_blk = io_port(PM1_EVT, 4, 2),
		.x_pm1a_cnt_blk = io_port(PM1_CNT, 2, 2),
		.x_pm_tmr_blk = io_port(PM_TMR, 4, 3),
		.x_gpe0_blk = io_port(GPE0, 4, 1),
	};

	header(&t.h, "FACP", 3, sizeof(t));
	b->fadt = append(b, &b->f->tables, &t, sizeof(t), 16);
}

static void madt_override(struct builder *b, uint8_t source, uint32_t gsi,
			  uint16_t flags)
{
	struct acpi_madt_override e = {
		.type = 2,
		.length = sizeof(e),
		.source = source,
		.gsi = htole32(gsi),
		.flags = htole16(flags),
	};

	append(b, &b->f->tables, &e, sizeof(e), 1);
}

static void madt_cpu(struct builder *b, unsigned int id)
{
	struct acpi_madt_lapic e = {
		.type = 0,
		.length = sizeof(e),
		.uid = id,
		.id = id,
		.flags = htole32(MADT_ENABLED),
	};
	struct acpi_madt_x2apic x = {
		.type = 9,
		.length = sizeof(x),
		.id = htole32(id),
		.uid = htole32(id),
		.flags = htole32(MADT_ENABLED),
	};

	if (id < X2APIC_FIRST)
		append(b, &b->f->tables, &e, sizeof(e), 1);
	else
		append(b, &b->f->tables, &x, sizeof(x), 1);
}

/* LINT1 of every CPU is NMI */
static void madt_nmi(struct builder *b, unsigned int cpus)
{
	struct acpi_madt_nmi e = {
		.type = 4,
		.length = sizeof(e),
		.uid = MADT_ALL_CPUS,
		.lint = 1,
	};
	struct acpi_madt_x2nmi x = {
		.type = 10,
		.length = sizeof(x),
		.uid = htole32(0xffffffff),
		.lint = 1,
	};

	append(b, &b->f->tables, &e, sizeof(e), 1);
	if (cpus > X2APIC_FIRST)
		append(b, &b->f->tables, &x, sizeof(x), 1);
}

static void add_madt(struct builder *b, unsigned int cpus)
{
	static const uint8_t pci_irqs[] = { 5, 10, 11 };	/* dsdt.asl, _PRS */
	struct acpi_madt t = {
		.lapic = htole32(MACHINE_LAPIC),
		.flags = htole32(MADT_PCAT),
	};
	struct acpi_madt_ioapic io = {
		.type = 1,
		.length = sizeof(io),
		.address = htole32(MACHINE_IOAPIC),
	};
	unsigned int i;

	header(&t.h, "APIC", 3, 0);
	b->madt = append(b, &b->f->tables, &t, sizeof(t), 16);
	for (i = 0; i < cpus; i++)
		madt_cpu(b, i);
	append(b, &b->f->tables, &io, sizeof(io), 1);
	madt_override(b, 0, 2, 0);
	madt_override(b, MACHINE_SCI, MACHINE_SCI, MADT_LEVEL_HIGH);
	for (i = 0; i < sizeof(pci_irqs); i++)
		madt_override(b, pci_irqs[i], pci_irqs[i], MADT_LEVEL_HIGH);
	madt_nmi(b, cpus);
	if (!b->failed)
		((struct acpi_header *)(b->f->tables.data + b->madt))->length =
			htole32(b->f->tables.len - b->madt);
}

static void add_root_tables(struct builder *b)
{
	struct {
		struct acpi_header h;
		uint32_t table[2];
	} ACPI_PACKED rsdt = {
		.table = { htole32(b->fadt), htole32(b->madt) },
	};
	struct {
		struct acpi_header h;
		uint64_t table[2];
	} ACPI_PACKED xsdt = {
		.table = { htole64(b->fadt), htole64(b->madt) },
	};
	struct acpi_rsdp rsdp = {
		.revision = 2,
		.length = htole32(sizeof(rsdp)),
	};

	header(&rsdt.h, "RSDT", 1, sizeof(rsdt));
	b->rsdt = append(b, &b->f->tables, &rsdt, sizeof(rsdt), 16);
	header(&xsdt.h, "XSDT", 1, sizeof(xsdt));
	b->xsdt = append(b, &b->f->tables, &xsdt, sizeof(xsdt), 16);
	memcpy(rsdp.signature, "RSD PTR ", 8);
	memcpy(rsdp.oem_id, "VMM   ", 6);
	rsdp.rsdt = htole32(b->rsdt);
	rsdp.xsdt = htole64(b->xsdt);
	append(b, &b->f->rsdp, &rsdp, sizeof(rsdp), 1);
}

/* ---- the loader's script -------------------------------------------------- */

static void say(struct builder *b, const struct loader_entry *e)
{
	append(b, &b->f->loader, e, sizeof(*e), 1);
}

static void say_alloc(struct builder *b, const char *file, uint32_t align,
		      uint8_t zone)
{
	struct loader_entry e = {
		.command = htole32(LOADER_ALLOCATE),
		.alloc = { .align = htole32(align), .zone = zone },
	};

	strcpy(e.alloc.file, file);
	say(b, &e);
}

/* the field at `offset` of `dest` points into the tables */
static void say_pointer(struct builder *b, const char *dest, uint32_t offset,
			uint8_t size)
{
	struct loader_entry e = {
		.command = htole32(LOADER_ADD_POINTER),
		.pointer = { .offset = htole32(offset), .size = size },
	};

	strcpy(e.pointer.dest, dest);
	strcpy(e.pointer.src, ACPI_TABLES_FILE);
	say(b, &e);
}

static void say_checksum(struct builder *b, const char *file, uint32_t offset,
			 uint32_t start, uint32_t length)
{
	struct loader_entry e = {
		.command = htole32(LOADER_ADD_CHECKSUM),
		.checksum = {
			.offset = htole32(offset),
			.start = htole32(start),
			.length = htole32(length),
		},
	};

	strcpy(e.checksum.file, file);
	say(b, &e);
}

static void say_table_checksum(struct builder *b, uint32_t at)
{
	const struct acpi_header *h;

	if (b->failed)
		return;
	h = (const void *)(b->f->tables.data + at);
	say_checksum(b, ACPI_TABLES_FILE,
		     at + offsetof(struct acpi_header, checksum), at,
		     le32toh(h->length));
}

static void add_loader(struct builder *b)
{
	const uint32_t list = sizeof(struct acpi_header);
	unsigned int i;

	say_alloc(b, ACPI_TABLES_FILE, 64, LOADER_ZONE_HIGH);
	say_alloc(b, ACPI_RSDP_FILE, 16, LOADER_ZONE_FSEG);
	say_pointer(b, ACPI_TABLES_FILE,
		    b->fadt + offsetof(struct acpi_fadt, firmware_ctrl), 4);
	say_pointer(b, ACPI_TABLES_FILE,
		    b->fadt + offsetof(struct acpi_fadt, dsdt), 4);
	say_pointer(b, ACPI_TABLES_FILE,
		    b->fadt + offsetof(struct acpi_fadt, x_dsdt), 8);
	for (i = 0; i < 2; i++) {
		say_pointer(b, ACPI_TABLES_FILE, b->rsdt + list + 4 * i, 4);
		say_pointer(b, ACPI_TABLES_FILE, b->xsdt + list + 8 * i, 8);
	}
	say_pointer(b, ACPI_RSDP_FILE, offsetof(struct acpi_rsdp, rsdt), 4);
	say_pointer(b, ACPI_RSDP_FILE, offsetof(struct acpi_rsdp, xsdt), 8);
	say_table_checksum(b, b->dsdt);
	say_table_checksum(b, b->fadt);
	say_table_checksum(b, b->madt);
	say_table_checksum(b, b->rsdt);
	say_table_checksum(b, b->xsdt);
	say_checksum(b, ACPI_RSDP_FILE, offsetof(struct acpi_rsdp, checksum), 0,
		     offsetof(struct acpi_rsdp, length));
	say_checksum(b, ACPI_RSDP_FILE,
		     offsetof(struct acpi_rsdp, ext_checksum), 0,
		     sizeof(struct acpi_rsdp));
}

int acpi_build(struct acpi_files *files, unsigned int cpus)
{
	struct builder b = { .f = files };

	memset(files, 0, sizeof(*files));
	add_facs(&b);
	add_dsdt(&b);
	add_fadt(&b);
	add_madt(&b, cpus);
	add_root_tables(&b);
	add_loader(&b);
	if (!b.failed)
		return 0;
	acpi_free(files);
	return -ENOMEM;
}

static struct acpi_blob *file_named(struct acpi_files *files, const char *name)
{
	return strcmp(name, ACPI_RSDP_FILE) ? &files->tables : &files->rsdp;
}

static void link_pointer(struct acpi_files *files, const struct loader_entry *e,
			 uint64_t gpa)
{
	uint8_t *p = file_named(files, e->pointer.dest)->data + le32toh(e->pointer.offset);
	uint64_t value = 0;

	memcpy(&value, p, e->pointer.size);
	value = htole64(le64toh(value) + gpa);
	memcpy(p, &value, e->pointer.size);
}

static void link_checksum(struct acpi_files *files, const struct loader_entry *e)
{
	uint8_t *data = file_named(files, e->checksum.file)->data;
	const uint8_t *p = data + le32toh(e->checksum.start);
	uint32_t len = le32toh(e->checksum.length);
	uint8_t sum = 0;

	while (len--)
		sum += *p++;
	data[le32toh(e->checksum.offset)] -= sum;
}

void acpi_link(struct acpi_files *files, uint64_t gpa)
{
	const struct loader_entry *e = (const void *)files->loader.data;
	size_t n = files->loader.len / sizeof(*e);

	for (; n--; e++) {
		if (le32toh(e->command) == LOADER_ADD_POINTER)
			link_pointer(files, e, gpa);
		else if (le32toh(e->command) == LOADER_ADD_CHECKSUM)
			link_checksum(files, e);
	}
}

void acpi_free(struct acpi_files *files)
{
	free(files->tables.data);
	free(files->rsdp.data);
	free(files->loader.data);
	memset(files, 0, sizeof(*files));
}
