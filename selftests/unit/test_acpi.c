// SPDX-License-Identifier: GPL-2.0
/*
 * The ACPI tables as an operating system finds them: the loader's script is
 * run as firmware would, then every pointer is followed and every checksum
 * added up; iasl reads each table back.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <endian.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "boot/acpi.h"
#include "boot/acpi_tables.h"
#include "machine.h"

#define TABLES_AT	0x1fff0000ULL
#define RSDP_AT		0xf5000ULL

struct test {
	struct acpi_files f;
	bool have_tables, have_rsdp;
};

static struct acpi_blob *named(struct test *t, const char *name)
{
	if (!strcmp(name, ACPI_TABLES_FILE))
		return &t->f.tables;
	assert_string_equal(name, ACPI_RSDP_FILE);
	return &t->f.rsdp;
}

static uint8_t sum(const uint8_t *p, size_t len)
{
	uint8_t s = 0;

	while (len--)
		s += *p++;
	return s;
}

static void run_entry(struct test *t, const struct loader_entry *e)
{
	struct acpi_blob *b;
	uint64_t value = 0;
	uint32_t at, start, len;

	switch (le32toh(e->command)) {
	case LOADER_ALLOCATE:
		if (named(t, e->alloc.file) == &t->f.tables)
			t->have_tables = true;
		else
			t->have_rsdp = true;
		assert_int_equal(TABLES_AT % le32toh(e->alloc.align), 0);
		break;
	case LOADER_ADD_POINTER:
		b = named(t, e->pointer.dest);
		assert_string_equal(e->pointer.src, ACPI_TABLES_FILE);
		assert_true(t->have_tables && t->have_rsdp);
		at = le32toh(e->pointer.offset);
		assert_true(at + e->pointer.size <= b->len);
		memcpy(&value, b->data + at, e->pointer.size);
		assert_true(value < t->f.tables.len);
		value += TABLES_AT;
		memcpy(b->data + at, &value, e->pointer.size);
		break;
	case LOADER_ADD_CHECKSUM:
		b = named(t, e->checksum.file);
		at = le32toh(e->checksum.offset);
		start = le32toh(e->checksum.start);
		len = le32toh(e->checksum.length);
		assert_true(at >= start && at < start + len);
		assert_true(start + len <= b->len);
		b->data[at] -= sum(b->data + start, len);
		break;
	default:
		fail();
	}
}

static void load(struct test *t, unsigned int cpus)
{
	size_t i;

	memset(t, 0, sizeof(*t));
	assert_int_equal(acpi_build(&t->f, cpus), 0);
	assert_int_equal(t->f.loader.len % sizeof(struct loader_entry), 0);
	for (i = 0; i < t->f.loader.len; i += sizeof(struct loader_entry))
		run_entry(t, (const void *)(t->f.loader.data + i));
}

static const void *table(struct test *t, uint64_t gpa, const char *signature)
{
	const struct acpi_header *h;

	assert_in_range(gpa, TABLES_AT, TABLES_AT + t->f.tables.len - 1);
	h = (const void *)(t->f.tables.data + (gpa - TABLES_AT));
	assert_memory_equal(h->signature, signature, 4);
	assert_true(gpa - TABLES_AT + le32toh(h->length) <= t->f.tables.len);
	if (strcmp(signature, "FACS"))
		assert_int_equal(sum((const void *)h, le32toh(h->length)), 0);
	return h;
}

/* by the XSDT, which must say what the RSDT says */
static uint64_t entry(struct test *t, unsigned int n)
{
	const struct acpi_rsdp *r = (const void *)t->f.rsdp.data;
	const uint8_t *rsdt = table(t, le32toh(r->rsdt), "RSDT");
	const uint8_t *xsdt = table(t, le64toh(r->xsdt), "XSDT");
	uint32_t a;
	uint64_t b;

	memcpy(&a, rsdt + 36 + 4 * n, 4);
	memcpy(&b, xsdt + 36 + 8 * n, 8);
	assert_true(a == b);
	return b;
}

static void pointers_and_checksums(void **state)
{
	struct test t;
	const struct acpi_rsdp *r;
	const struct acpi_fadt *f;
	uint64_t facs;

	load(&t, 2);
	r = (const void *)t.f.rsdp.data;
	assert_int_equal(sum(t.f.rsdp.data, 20), 0);
	assert_int_equal(sum(t.f.rsdp.data, 36), 0);
	assert_memory_equal(r->signature, "RSD PTR ", 8);
	f = table(&t, entry(&t, 0), "FACP");
	table(&t, le32toh(f->dsdt), "DSDT");
	assert_true(le64toh(f->x_dsdt) == le32toh(f->dsdt));
	facs = le32toh(f->firmware_ctrl);
	table(&t, facs, "FACS");
	assert_int_equal(facs % 64, 0);
	assert_int_equal(le16toh(f->sci_int), MACHINE_SCI);
	assert_int_equal(le32toh(f->pm_tmr_blk), MACHINE_PM_BASE + 8);
	assert_int_equal(le64toh(f->x_pm_tmr_blk.address), MACHINE_PM_BASE + 8);
	assert_int_equal(le64toh(f->reset_reg.address), 0xcf9);
	assert_int_equal(le32toh(f->smi_cmd), 0);
	acpi_free(&t.f);
}

/* every CPU once, by an entry that can hold its ID */
static void madt(void **state)
{
	static const unsigned int counts[] = { 1, 64, 255, 256, 300 };
	unsigned int i, cpus, lapics, x2apics, ioapics, timer;
	const uint8_t *p, *end;
	struct test t;

	for (i = 0; i < 5; i++) {
		cpus = counts[i];
		lapics = x2apics = ioapics = timer = 0;
		load(&t, cpus);
		p = table(&t, entry(&t, 1), "APIC");
		end = p + le32toh(((const struct acpi_header *)p)->length);
		for (p += sizeof(struct acpi_madt); p < end; p += p[1]) {
			assert_true(p[1] >= 2 && p + p[1] <= end);
			if (p[0] == 0)
				assert_int_equal(p[3], lapics++);
			else if (p[0] == 9)
				assert_int_equal(p[4] | p[5] << 8,
						 255 + x2apics++);
			else if (p[0] == 1)
				ioapics++;
			else if (p[0] == 2 && p[3] == 0)
				timer = p[4];
		}
		assert_ptr_equal(p, end);
		assert_int_equal(lapics, cpus > 255 ? 255 : cpus);
		assert_int_equal(x2apics, cpus > 255 ? cpus - 255 : 0);
		assert_int_equal(ioapics, 1);
		assert_int_equal(timer, 2);
		acpi_free(&t.f);
	}
}

static void decompile(struct test *t, const char *dir, uint64_t gpa,
		      const char *signature)
{
	const struct acpi_header *h = table(t, gpa, signature);
	char path[64], cmd[256];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s.dat", dir, signature);
	f = fopen(path, "w");
	assert_non_null(f);
	assert_int_equal(fwrite(h, le32toh(h->length), 1, f), 1);
	fclose(f);
	snprintf(cmd, sizeof(cmd),
		 "cd %s && iasl -d %s.dat >%s.log 2>&1 && test -s %s.dsl && ! grep -i error %s.log",
		 dir, signature, signature, signature, signature);
	assert_int_equal(system(cmd), 0);
}

static void iasl_reads_them(void **state)
{
	char dir[] = "/tmp/vmm-acpi-XXXXXX", cmd[64];
	const struct acpi_fadt *f;
	struct test t;

	if (system("command -v iasl >/dev/null"))
		skip();
	assert_non_null(mkdtemp(dir));
	load(&t, 3);
	f = table(&t, entry(&t, 0), "FACP");
	decompile(&t, dir, entry(&t, 0), "FACP");
	decompile(&t, dir, entry(&t, 1), "APIC");
	decompile(&t, dir, le32toh(f->dsdt), "DSDT");
	acpi_free(&t.f);
	snprintf(cmd, sizeof(cmd), "rm -r %s", dir);
	assert_int_equal(system(cmd), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(pointers_and_checksums),
		cmocka_unit_test(madt),
		cmocka_unit_test(iasl_reads_them),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
