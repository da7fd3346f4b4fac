// SPDX-License-Identifier: GPL-2.0
/* Firmware images, good and bad; what fw_cfg then tells of the machine. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <endian.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "boot/firmware.h"
#include "dev/fwcfg.h"
#include "fixture.h"

static char path[] = "/tmp/vmm-firmware-XXXXXX";

static int setup(void **state)
{
	strcpy(path, "/tmp/vmm-firmware-XXXXXX");
	close(mkstemp(path));
	return 0;
}

static int teardown(void **state)
{
	unlink(path);
	return 0;
}

/* 64 KiB units, each filled with its number from 1; a jump at the end */
static void write_image(unsigned int units, long extra, int last)
{
	FILE *f = fopen(path, "w");
	unsigned int i, n;

	for (i = 1; i <= units; i++)
		for (n = 0; n < 65536; n++)
			fputc(i == units && n >= 65520 ? last : (int)i, f);
	while (extra-- > 0)
		fputc(0, f);
	fclose(f);
}

static void refused(const char *word)
{
	struct firmware fw;
	char err[256] = "";

	assert_true(firmware_load(&fw, path, err, sizeof(err)) < 0);
	assert_null(fw.data);
	assert_non_null(strstr(err, word));
	assert_non_null(strstr(err, path));
	assert_non_null(strstr(err, "seabios"));	/* what to do */
	assert_null(strchr(err, '\n'));
}

static void bad_images(void **state)
{
	struct firmware fw;
	char err[256];

	refused("0 bytes");
	write_image(2, 1, 0xea);
	refused("131073 bytes");
	write_image(257, 0, 0xea);
	refused("bytes");
	write_image(2, 0, 0xff);
	refused("reset vector");
	write_image(2, 0, 0);
	refused("reset vector");
	unlink(path);
	refused("No such file");
	assert_true(firmware_load(&fw, "/tmp", err, sizeof(err)) < 0);
	assert_non_null(strstr(err, "not a regular file"));
}

static uint8_t byte(struct mem *mem, uint64_t gpa)
{
	uint8_t b = 0;

	assert_true(mem_read(mem, gpa, &b, 1));
	return b;
}

static void placed(struct mem *mem, unsigned int units)
{
	struct firmware fw;
	char err[256];
	uint8_t b = 0x99;

	write_image(units, 0, 0xea);
	assert_int_equal(firmware_load(&fw, path, err, sizeof(err)), 0);
	assert_int_equal(firmware_map(&fw, mem), 0);
	assert_int_equal(byte(mem, 0xfffffff0), 0xea);
	assert_int_equal(byte(mem, (1ULL << 32) - units * 65536), 1);
	mem_write(mem, 0xffff0000, &b, 1);		/* it is ROM */
	assert_int_equal(byte(mem, 0xffff0000), units);
	firmware_shadow(&fw, mem);
	assert_int_equal(byte(mem, 0xffff0), 0xea);
	mem_write(mem, 0xf0000, &b, 1);			/* and that is RAM */
	assert_int_equal(byte(mem, 0xf0000), 0x99);
	firmware_shadow(&fw, mem);			/* as new after a reset */
	assert_int_equal(byte(mem, 0xf0000), units);
	assert_int_equal(byte(mem, 0xe0000), units == 1 ? 0 : units - 1);
	firmware_free(&fw);
}

static void good_images(void **state)
{
	static const unsigned int units[] = { 1, 2, 4, 64 };
	unsigned int i;

	for (i = 0; i < 4; i++) {
		struct mem *mem = mem_new(NULL);

		assert_int_equal(mem_add_ram(mem, 0, 1 << 20, "ram"), 0);
		placed(mem, units[i]);
		mem_free(mem);
	}
}

static void nothing_to_boot(void **state)
{
	const struct firmware bios = { .size = 262144 }, uefi = { .size = 4 << 20 };
	uint8_t mbr[512] = { 0 };

	assert_non_null(strstr(firmware_cannot_boot(&bios, mbr), "signature"));
	assert_null(firmware_cannot_boot(&uefi, mbr));
	mbr[510] = 0x55;
	mbr[511] = 0xaa;
	mbr[450] = 0xee;			/* a protective partition */
	assert_non_null(strstr(firmware_cannot_boot(&bios, mbr), "UEFI"));
	assert_null(firmware_cannot_boot(&uefi, mbr));
	mbr[0] = 0xeb;
	assert_null(firmware_cannot_boot(&bios, mbr));
}

static void described(void **state)
{
	struct fx *fx = fx_new();
	struct fwcfg *fw = fwcfg_new(&fx->env);
	const struct boot_info info = {
		.ram_low = 0xc0000000,
		.ram_high = 1ULL << 30,
		.cpus = 2,
		.disk_slot = 3,
	};
	static const char *const wanted[] = {
		"etc/e820", "bootorder", "etc/acpi/tables", "etc/acpi/rsdp",
		"etc/table-loader", "etc/boot-fail-wait",
	};
	char dir[4096];
	unsigned int i, n;

	assert_non_null(fw);
	assert_int_equal(boot_describe(fw, &info), 0);
	fx_out(fx, 0x510, FWCFG_FILE_DIR, 2);
	for (i = 0; i < sizeof(dir); i++)
		dir[i] = fx_in(fx, 0x511, 1);
	for (i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++) {
		for (n = 0; n < 60; n++)
			if (!strcmp(dir + 4 + 64 * n + 8, wanted[i]))
				break;
		assert_in_range(n, 0, 59);
	}
	fx_out(fx, 0x510, FWCFG_NB_CPUS, 2);
	assert_int_equal(fx_in(fx, 0x511, 1), 2);
	fx_free(fx);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(bad_images), T(good_images), T(nothing_to_boot), T(described),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
