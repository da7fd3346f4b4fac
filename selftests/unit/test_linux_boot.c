// SPDX-License-Identifier: GPL-2.0
/* Linux without firmware: images good and bad, and what the kernel then finds. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>
#include <linux/vmm.h>

#include "boot/linux.h"
#include "mem.h"
#include "walk.h"

#define LOW		(64ULL << 20)
#define HIGH		(2ULL << 20)
#define TOP_4G		(1ULL << 32)
#define PREFERRED	0x1000000ULL
#define INIT_SIZE	0x800000U
#define SETUP		(3 * 512)	/* with two setup sectors */
#define KERNEL		5000		/* bytes of it behind the setup */

static char kernel[] = "/tmp/vmm-kernel-XXXXXX";
static char initrd[] = "/tmp/vmm-initrd-XXXXXX";
static uint8_t image[SETUP + KERNEL];
static char err[512];

static const struct boot_info machine = { .ram_low = LOW, .ram_high = HIGH, .cpus = 2 };

static void put(unsigned int at, uint64_t value, unsigned int size)
{
	memcpy(image + at, &value, size);
}

static void write_file(const char *path, const void *data, size_t len)
{
	FILE *f = fopen(path, "w");

	assert_int_equal(fwrite(data, 1, len, f), len);
	fclose(f);
}

static int setup(void **state)
{
	unsigned int i;

	strcpy(kernel, "/tmp/vmm-kernel-XXXXXX");
	strcpy(initrd, "/tmp/vmm-initrd-XXXXXX");
	close(mkstemp(kernel));
	close(mkstemp(initrd));
	for (i = 0; i < sizeof(image); i++)
		image[i] = i * 7;
	put(0x1f1, 2, 1);
	put(0x201, 0x6a, 1);		/* the header ends at 0x26c */
	put(0x202, 0x53726448, 4);
	put(0x206, 0x020f, 2);
	put(0x210, 0, 1);
	put(0x22c, 0x7fffffff, 4);
	put(0x236, 0x7f, 2);
	put(0x238, 2047, 4);
	put(0x258, PREFERRED, 8);
	put(0x260, INIT_SIZE, 4);
	write_file(initrd, "the initrd", 10);
	return 0;
}

static int teardown(void **state)
{
	unlink(kernel);
	unlink(initrd);
	return 0;
}

static struct linux_boot *load(const char *rd, const char *cmdline)
{
	write_file(kernel, image, sizeof(image));
	err[0] = 0;
	return linux_boot_new(kernel, rd, cmdline, err, sizeof(err));
}

static void says(const char *word)
{
	if (!strstr(err, word))
		fail_msg("no \"%s\" in \"%s\"", word, err);
	assert_null(strchr(err, '\n'));
}

static void refused(const char *word)
{
	assert_null(load(NULL, ""));
	says(word);
	says(kernel);
	says("bzImage");
	setup(NULL);
}

static void bad_kernels(void **state)
{
	put(0x202, 0, 4);
	refused("no Linux boot header");
	put(0, 0x464c457f, 4);
	put(0x202, 0, 4);
	refused("ELF");
	put(0x206, 0x20b, 2);
	refused("older than 2.12");
	put(0x236, 0x7e, 2);
	refused("32-bit");
	put(0x1f1, 255, 1);
	refused("cut short");
	write_file(kernel, image, 100);
	assert_null(linux_boot_new(kernel, NULL, "", err, sizeof(err)));
	says("too short");
	assert_null(linux_boot_new("/nonexistent", NULL, "", err, sizeof(err)));
	says("No such file");
	assert_null(linux_boot_new("/tmp", NULL, "", err, sizeof(err)));
	says("not a regular file");
}

static void bad_companions(void **state)
{
	char line[2049];

	assert_null(load("/nonexistent", ""));
	says("initrd /nonexistent: No such file");
	write_file(initrd, "", 0);
	assert_null(load(initrd, ""));
	says("empty");
	memset(line, 'x', sizeof(line));
	line[2048] = 0;
	assert_null(load(NULL, line));
	says("2047 characters, found 2048");
}

static void unfit(const struct boot_info *info, const char *rd, const char *word)
{
	struct linux_boot *b = load(rd, "");

	assert_non_null(b);
	assert_true(linux_boot_fit(b, info, err, sizeof(err)) < 0);
	says(word);
	linux_boot_free(b);
}

static void no_room(void **state)
{
	struct boot_info info = machine;

	info.ram_low = PREFERRED + INIT_SIZE - 4096;
	unfit(&info, NULL, "--memory");
	info.ram_low = PREFERRED + INIT_SIZE + 4096;
	unfit(&info, initrd, initrd);
	/* a kernel that cannot have it where there is room */
	put(0x22c, PREFERRED, 4);
	unfit(&machine, initrd, initrd);
	put(0x258, 0x1000, 8);
	unfit(&machine, NULL, "impossible address");
	put(0x258, ~0ULL << 12, 8);
	unfit(&machine, NULL, "impossible address");
}

static uint64_t get(struct mem *mem, uint64_t gpa, unsigned int size)
{
	uint64_t v = 0;

	assert_true(mem_read(mem, gpa, &v, size));
	return v;
}

static struct mem *make_memory(void)
{
	struct mem *mem = mem_new(NULL);

	assert_int_equal(mem_add_ram(mem, 0, 0xa0000, "base"), 0);
	assert_int_equal(mem_add_ram(mem, 0xc0000, LOW - 0xc0000, "ram"), 0);
	assert_int_equal(mem_add_ram(mem, TOP_4G, HIGH, "high"), 0);
	return mem;
}

static void check_e820(struct mem *mem, uint64_t params)
{
	static const uint64_t want[][3] = {
		{ 0, 0xa0000, 1 }, { 0xe0000, 0x20000, 2 },
		{ 0x100000, LOW - 0x100000, 1 }, { TOP_4G, HIGH, 1 },
	};
	unsigned int i;

	assert_int_equal(get(mem, params + 0x1e8, 1), 4);
	for (i = 0; i < 4; i++) {
		assert_true(get(mem, params + 0x2d0 + 20 * i, 8) == want[i][0]);
		assert_true(get(mem, params + 0x2d8 + 20 * i, 8) == want[i][1]);
		assert_true(get(mem, params + 0x2e0 + 20 * i, 4) == want[i][2]);
	}
}

static uint8_t sum(struct mem *mem, uint64_t gpa, uint32_t len)
{
	uint8_t s = 0;

	while (len--)
		s += get(mem, gpa++, 1);
	return s;
}

/* every table's checksum, from the RSDP on */
static void check_acpi(struct mem *mem, uint64_t rsdp)
{
	uint64_t xsdt, t;
	unsigned int i;

	assert_in_range(rsdp, 0xe0000, 0xfffff);
	assert_true(get(mem, rsdp, 8) == 0x2052545020445352ULL);
	assert_int_equal(sum(mem, rsdp, 20), 0);
	assert_int_equal(sum(mem, rsdp, 36), 0);
	xsdt = get(mem, rsdp + 24, 8);
	assert_in_range(xsdt, 0xe0000, 0xfffff);
	assert_int_equal(get(mem, xsdt, 4), 0x54445358);
	assert_int_equal(sum(mem, xsdt, get(mem, xsdt + 4, 4)), 0);
	for (i = 0; i < 2; i++) {
		t = get(mem, xsdt + 36 + 8 * i, 8);
		assert_in_range(t, 0xe0000, 0xfffff);
		assert_int_equal(get(mem, t, 4), i ? 0x43495041 : 0x50434146);
		assert_int_equal(sum(mem, t, get(mem, t + 4, 4)), 0);
	}
}

/* the first 4 GiB are where they seem to be */
static void check_paging(struct mem *mem, const struct vmm_sregs *s)
{
	const struct walk w = { .mem = mem, .sregs = s, .rflags = 2, .phys_bits = 40 };
	static const uint64_t at[] = { 0, 0x7123, PREFERRED + 0x200, 0xfee00000, 0xffffffff };
	struct walk_fault f;
	uint64_t gpa;
	unsigned int i;

	for (i = 0; i < sizeof(at) / sizeof(at[0]); i++) {
		assert_true(walk_page(&w, at[i], WALK_WRITE, &gpa, &f));
		assert_true(gpa == at[i]);
	}
	assert_false(walk_page(&w, TOP_4G, 0, &gpa, &f));
}

static void check_state(struct mem *mem, const struct linux_boot *b)
{
	struct vmm_state *st = calloc(1, sizeof(*st));
	const struct vmm_sregs *s = &st->sregs;

	st->msrs.count = 2;
	st->msrs.msr[0].index = 0x2ff;
	st->msrs.msr[1].index = 0x10;
	memset(&st->regs, 0x55, sizeof(st->regs));
	linux_boot_state(b, st);
	assert_true(st->regs.rip == PREFERRED + 0x200);
	assert_true(st->regs.gpr[VMM_RSI] == 0x7000);
	assert_true(st->regs.rflags == 2);
	assert_true(st->msrs.msr[0].value == 0x806);
	assert_true(st->msrs.msr[1].value == 0);
	/* what the segments hold is what a load of their selectors would give */
	assert_int_equal(s->seg[VMM_CS].selector, 0x10);
	assert_int_equal(s->seg[VMM_SS].selector, 0x18);
	assert_int_equal(s->gdtr.limit, 31);
	assert_true(get(mem, s->gdtr.base + 0x10, 8) == 0x00af9b000000ffffULL);
	assert_true(get(mem, s->gdtr.base + 0x18, 8) == 0x00cf93000000ffffULL);
	assert_int_equal(s->seg[VMM_CS].attr, 0xa9b);
	assert_int_equal(s->seg[VMM_DS].attr, 0xc93);
	check_paging(mem, s);
	free(st);
}

static void placed(void **state)
{
	struct linux_boot *b = load(initrd, "quiet");
	struct mem *mem = make_memory();
	uint64_t params = 0x7000, rd;
	char text[11] = "";
	unsigned int round;

	assert_int_equal(linux_boot_fit(b, &machine, err, sizeof(err)), 0);
	for (round = 0; round < 2; round++) {	/* the second as after a reset */
		assert_int_equal(linux_boot_place(b, mem), 0);
		assert_true(get(mem, params + 0x202, 4) == 0x53726448);
		assert_int_equal(get(mem, params + 0x210, 1), 0xff);
		/* nothing of the file but its header */
		assert_int_equal(get(mem, params + 0x1f0, 1), 0);
		assert_int_equal(get(mem, params + 0x26b, 1), image[0x26b]);
		assert_int_equal(get(mem, params + 0x26c, 1), 0);
		assert_true(mem_read(mem, get(mem, params + 0x228, 4), text, 6));
		assert_string_equal(text, "quiet");
		rd = get(mem, params + 0x218, 4);
		assert_int_equal(get(mem, params + 0x21c, 4), 10);
		assert_true(rd == LOW - 4096);
		assert_true(mem_read(mem, rd, text, 10));
		assert_string_equal(text, "the initrd");
		assert_memory_equal(mem_ptr(mem, PREFERRED, KERNEL), image + SETUP, KERNEL);
		check_e820(mem, params);
		check_acpi(mem, get(mem, params + 0x70, 8));
		check_state(mem, b);
		memset(mem_ptr(mem, 0, 0xa0000), 0xaa, 0xa0000);
		memset(mem_ptr(mem, 0xc0000, LOW - 0xc0000), 0xaa, LOW - 0xc0000);
	}
	/* somebody cut the file meanwhile */
	assert_int_equal(truncate(kernel, 1000), 0);
	assert_true(linux_boot_place(b, mem) < 0);
	linux_boot_free(b);
	mem_free(mem);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(bad_kernels), T(bad_companions), T(no_room), T(placed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
