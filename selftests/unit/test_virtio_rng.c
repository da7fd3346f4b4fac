// SPDX-License-Identifier: GPL-2.0
/*
 * The entropy device: gives what it may, and no guest gets all of the host.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <linux/virtio_config.h>
#include <linux/virtio_pci.h>
#include <stdlib.h>
#include <string.h>

#include "virtio/virtio_rng.h"
#include "virtio_driver.h"

#define F_VERSION_1	(1ULL << VIRTIO_F_VERSION_1)

struct fixture {
	struct vt_machine *m;
	struct vt_dev d;
	uint64_t buf;
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	f->m = vt_new();
	vt_lock(f->m);
	assert_int_equal(virtio_rng_new(&f->m->env, f->m->bus), 0);
	vt_unlock(f->m);
	vt_probe(&f->d, f->m, 3 << 3);
	vt_enable_msix(&f->d, 2);
	f->buf = vt_alloc(f->m, 1 << 20, 4096);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	vt_free(f->m);
	free(f);
	return 0;
}

static uint32_t ask(struct fixture *f, uint32_t len)
{
	const struct vt_buf buf = { f->buf, len, true };
	struct vring_used_elem elem;

	vt_add(&f->d, 0, &buf, 1);
	vt_kick(&f->d, 0);
	assert_true(vt_get(&f->d, 0, &elem));
	return elem.len;
}

static void test_gives(void **state)
{
	struct fixture *f = *state;
	uint8_t *p = vt_ptr(f->m, f->buf, 256);
	unsigned int i, zeroes = 0;

	vt_start(&f->d, F_VERSION_1, 1, 16);
	assert_int_equal(vt_cfg_read(f->m, 3 << 3, 2, 2), 0x1044);
	memset(p, 0, 256);
	assert_int_equal(ask(f, 64), 64);
	for (i = 0; i < 64; i++)
		zeroes += !p[i];
	assert_true(zeroes < 16);
	for (; i < 256; i++)
		assert_int_equal(p[i], 0);
	assert_int_equal(f->m->msi[1], 1);
}

static void test_odd_requests(void **state)
{
	const struct vt_buf nothing = { 0, 0, true }, read_only = { VT_RAM, 64, false };
	struct vring_used_elem elem;
	struct fixture *f = *state;

	vt_start(&f->d, F_VERSION_1, 1, 16);
	vt_add(&f->d, 0, &nothing, 1);
	vt_add(&f->d, 0, &read_only, 1);
	vt_kick(&f->d, 0);
	assert_true(vt_get(&f->d, 0, &elem));
	assert_int_equal(elem.len, 0);
	assert_true(vt_get(&f->d, 0, &elem));
	assert_int_equal(elem.len, 0);
	assert_int_equal(vt_status(&f->d) & VIRTIO_CONFIG_S_NEEDS_RESET, 0);
}

/* greed gets a part, 5.4.6.1, and a rate */
static void test_rate(void **state)
{
	struct fixture *f = *state;
	uint64_t start = vt_now_ms(), bytes = 0, took;

	vt_start(&f->d, F_VERSION_1, 1, 16);
	do {
		uint32_t n = ask(f, 1 << 20);

		assert_true(n > 0 && n <= 4096);
		bytes += n;
	} while (vt_now_ms() - start < 300);
	took = vt_now_ms() - start;
	/* 64 KiB in 50 ms, and one allowance to begin with */
	assert_true(bytes <= (took / 50 + 2) * 65536);
	assert_true(bytes >= took / 50 * 65536 / 4);
}

static void test_flood_of_nothing(void **state)
{
	const struct vt_buf nothing = { 0, 0, true };
	uint64_t start = vt_now_ms(), got = 0;
	struct vring_used_elem elem;
	struct fixture *f = *state;
	unsigned int i;

	vt_start(&f->d, F_VERSION_1, 1, 16);
	while (vt_now_ms() - start < 300) {
		for (i = 0; i < 16; i++)
			vt_add(&f->d, 0, &nothing, 1);
		vt_kick(&f->d, 0);
		for (i = 0; i < 16; i++, got++)
			assert_true(vt_get(&f->d, 0, &elem));
	}
	assert_true(got <= ((vt_now_ms() - start) / 50 + 2) * 256);
}

static void test_reset_while_waiting(void **state)
{
	const struct vt_buf nothing = { 0, 0, true };
	struct fixture *f = *state;
	unsigned int i, j;

	vt_start(&f->d, F_VERSION_1, 1, 64);
	for (j = 0; j < 5; j++) {
		for (i = 0; i < 60; i++)
			vt_add(&f->d, 0, &nothing, 1);
		vt_kick(&f->d, 0);
	}
	vt_set_status(&f->d, 0);
	vt_start(&f->d, F_VERSION_1, 1, 16);
	assert_true(ask(f, 16) > 0);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_gives),
		T(test_odd_requests),
		T(test_rate),
		T(test_flood_of_nothing),
		T(test_reset_while_waiting),
	};

	return cmocka_run_group_tests_name("virtio_rng", tests, NULL, NULL);
}
