// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "bus.h"

struct device {
	uint64_t last_offset, last_value;
	unsigned int last_size, calls;
	uint8_t bytes[64];
	struct bus *bus;	/* moves itself when written to */
};

static uint64_t dev_read(void *owner, uint64_t offset, unsigned int size)
{
	struct device *d = owner;
	uint64_t v = 0;

	d->calls++;
	d->last_offset = offset;
	d->last_size = size;
	assert_true(offset + size <= sizeof(d->bytes));
	memcpy(&v, d->bytes + offset, size);
	/* more than was asked for: the bus must cut it */
	return size < 8 ? v | ~0ULL << (size * 8) : v;
}

static void dev_write(void *owner, uint64_t offset, uint64_t v, unsigned int size)
{
	struct device *d = owner;

	d->calls++;
	d->last_offset = offset;
	d->last_size = size;
	d->last_value = v;
	assert_true(offset + size <= sizeof(d->bytes));
	memcpy(d->bytes + offset, &v, size);
}

static const struct bus_ops ops = { dev_read, dev_write };

static void test_add(void **state)
{
	struct bus *bus = bus_new("test");
	struct device d = { 0 };

	(void)state;
	assert_int_equal(bus_add(bus, 0x100, 0, &ops, &d, "d"), -EINVAL);
	assert_int_equal(bus_add(bus, ~0ULL, 2, &ops, &d, "d"), -EINVAL);
	assert_int_equal(bus_add(bus, ~0ULL, 1, &ops, &d, "d"), 0);
	assert_int_equal(bus_add(bus, 0x100, 0x40, &ops, &d, "d"), 0);
	assert_int_equal(bus_add(bus, 0x100, 0x40, &ops, &d, "d"), -EEXIST);
	assert_int_equal(bus_add(bus, 0xff, 2, &ops, &d, "d"), -EEXIST);
	assert_int_equal(bus_add(bus, 0x13f, 1, &ops, &d, "d"), -EEXIST);
	assert_int_equal(bus_add(bus, 0x110, 1, &ops, &d, "d"), -EEXIST);
	assert_int_equal(bus_add(bus, 0, 0x1000, &ops, &d, "d"), -EEXIST);
	assert_int_equal(bus_add(bus, 0x140, 0x40, &ops, &d, "d"), 0);
	assert_int_equal(bus_add(bus, 0xc0, 0x40, &ops, &d, "d"), 0);
	bus_remove(bus, 0x101);		/* none starts there */
	assert_int_equal(bus_add(bus, 0x100, 0x40, &ops, &d, "d"), -EEXIST);
	bus_remove(bus, 0x100);
	assert_int_equal(bus_add(bus, 0x100, 0x40, &ops, &d, "d"), 0);
	bus_free(bus);
	bus_free(NULL);
}

static void test_access(void **state)
{
	static const unsigned int size[] = { 1, 2, 4, 8 };
	struct bus *bus = bus_new("test");
	struct device d = { .bytes = { 1, 2, 3, 4, 5, 6, 7, 8, 9 } };
	unsigned int i;

	(void)state;
	assert_int_equal(bus_add(bus, 0x1000, sizeof(d.bytes), &ops, &d, "d"), 0);
	for (i = 0; i < 4; i++) {
		uint64_t mask = size[i] == 8 ? ~0ULL : (1ULL << size[i] * 8) - 1;

		assert_int_equal(bus_read(bus, 0x1001, size[i]),
				 0x0908070605040302 & mask);
		assert_int_equal(d.last_offset, 1);
		assert_int_equal(d.last_size, size[i]);
		bus_write(bus, 0x1010, 0x1122334455667788, size[i]);
		assert_int_equal(d.last_value, 0x1122334455667788 & mask);
		assert_int_equal(d.last_offset, 0x10);
	}
	bus_free(bus);
}

static void test_nobody(void **state)
{
	struct bus *bus = bus_new("test");

	(void)state;
	assert_int_equal(bus_read(bus, 0x80, 1), 0xff);
	assert_int_equal(bus_read(bus, 0x80, 4), 0xffffffff);
	assert_int_equal(bus_read(bus, ~0ULL, 8), ~0ULL);
	assert_int_equal(bus_read(bus, 0x80, 0), ~0ULL);
	assert_int_equal(bus_read(bus, 0x80, 9), ~0ULL);
	bus_write(bus, 0x80, 0, 8);
	bus_free(bus);
}

/* across a range's end: bytes, and ones where nobody is */
static void test_split(void **state)
{
	struct bus *bus = bus_new("test");
	struct device a = { 0 }, b = { 0 };

	(void)state;
	memset(a.bytes, 0xaa, sizeof(a.bytes));
	memset(b.bytes, 0xbb, sizeof(b.bytes));
	assert_int_equal(bus_add(bus, 0x100, 64, &ops, &a, "a"), 0);
	assert_int_equal(bus_add(bus, 0x140, 64, &ops, &b, "b"), 0);
	assert_int_equal(bus_read(bus, 0x13e, 4), 0xbbbbaaaa);
	assert_int_equal(a.calls, 2);
	assert_int_equal(a.last_size, 1);
	assert_int_equal(bus_read(bus, 0xfe, 4), 0xaaaaffff);
	assert_int_equal(bus_read(bus, 0x17d, 8), 0xffffffffffbbbbbb);
	bus_write(bus, 0x13f, 0x11223344, 4);
	assert_int_equal(a.bytes[63], 0x44);
	assert_memory_equal(b.bytes, "\x33\x22\x11\xbb", 4);
	/* an odd size goes by bytes, too */
	assert_int_equal(bus_read(bus, 0x100, 3), 0xaaaaaa);
	assert_int_equal(a.last_size, 1);
	bus_free(bus);
}

/* an access that wraps around the end of the address space */
static void test_wrap(void **state)
{
	struct bus *bus = bus_new("test");
	struct device a = { .bytes = { 0x11 } }, b = { .bytes = { 0x22 } };

	(void)state;
	assert_int_equal(bus_add(bus, ~0ULL, 1, &ops, &a, "a"), 0);
	assert_int_equal(bus_add(bus, 0, 1, &ops, &b, "b"), 0);
	assert_int_equal(bus_read(bus, ~0ULL, 2), 0x2211);
	bus_free(bus);
}

static void move_write(void *owner, uint64_t offset, uint64_t v, unsigned int size)
{
	struct device *d = owner;
	static const struct bus_ops move_ops = { dev_read, move_write };

	(void)offset;
	(void)size;
	d->calls++;
	bus_remove(d->bus, d->last_offset);
	d->last_offset = v;
	assert_int_equal(bus_add(d->bus, v, 8, &move_ops, d, "d"), 0);
}

/* a device moves its own range in its callback, as a BAR does */
static void test_move(void **state)
{
	static const struct bus_ops move_ops = { dev_read, move_write };
	struct device d = { .last_offset = 0x1000 };
	uint64_t i;

	(void)state;
	d.bus = bus_new("test");
	assert_int_equal(bus_add(d.bus, 0x1000, 8, &move_ops, &d, "d"), 0);
	for (i = 0; i < 100; i++)
		bus_write(d.bus, d.last_offset, 0x1000 + 16 * i, 4);
	assert_int_equal(d.calls, 100);
	/* split: after the first byte moved it away, the rest meets nobody */
	bus_write(d.bus, d.last_offset + 7, 0x55, 2);
	assert_int_equal(d.calls, 101);
	bus_free(d.bus);
}

/* against a model: one owner per address, and the size of what starts there */
static void test_random(void **state)
{
	static struct device dev[64];
	struct device *owner[1024] = { 0 };
	unsigned int length[1024] = { 0 };
	struct bus *bus = bus_new("test");
	unsigned int i, j, start, size;

	(void)state;
	srandom(1);
	for (i = 0; i < 20000; i++) {
		struct device *d = &dev[random() % 64];
		bool empty = true;

		start = random() % 1000;
		size = random() % 24 + 1;
		if (random() & 1) {
			for (j = start; j < start + size; j++)
				empty &= !owner[j];
			assert_int_equal(bus_add(bus, start, size, &ops, d, "d"),
					 empty ? 0 : -EEXIST);
			for (j = start; empty && j < start + size; j++)
				owner[j] = d;
			if (empty)
				length[start] = size;
		} else {
			bus_remove(bus, start);
			for (j = start; j < start + length[start]; j++)
				owner[j] = NULL;
			length[start] = 0;
		}
		j = random() % 1024;
		for (size = 0; size < 64; size++)
			dev[size].calls = 0;
		assert_int_equal(bus_read(bus, j, 1), owner[j] ? 0 : 0xff);
		if (owner[j])
			assert_int_equal(owner[j]->calls, 1);
	}
	bus_free(bus);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_add), cmocka_unit_test(test_access),
		cmocka_unit_test(test_nobody), cmocka_unit_test(test_split),
		cmocka_unit_test(test_wrap), cmocka_unit_test(test_move),
		cmocka_unit_test(test_random),
	};

	return cmocka_run_group_tests_name("bus", tests, NULL, NULL);
}
