// SPDX-License-Identifier: GPL-2.0
/*
 * The balloon: what the guest gives is gone from this process, and nothing else.
 */
#define _GNU_SOURCE 1		/* mincore */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <linux/virtio_balloon.h>
#include <linux/virtio_config.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "bus.h"
#include "virtio/virtio_balloon.h"
#include "virtio_driver.h"

#define F_ALL		(~0ULL)
#define INFLATE		0
#define DEFLATE		1
#define REPORTING	2
#define QUEUES		3
#define PAGE		4096ULL
#define PAGES		512U		/* those that the tests give away */
#define TARGET		1000

struct fixture {
	struct vt_machine *m;
	struct vt_dev d;
	uint64_t pfns, data;		/* guest addresses */
};

static int start(void **state, struct vt_machine *m)
{
	struct fixture *f = calloc(1, sizeof(*f));

	f->m = m;
	vt_lock(f->m);
	assert_int_equal(virtio_balloon_new(&f->m->env, f->m->bus, TARGET), 0);
	vt_unlock(f->m);
	vt_probe(&f->d, f->m, 3 << 3);
	vt_enable_msix(&f->d, QUEUES + 1);
	f->pfns = vt_alloc(f->m, 64 * PAGE, PAGE);
	f->data = vt_alloc(f->m, PAGES * PAGE, PAGE);
	memset(vt_ptr(f->m, f->data, PAGES * PAGE), 0x5a, PAGES * PAGE);
	*state = f;
	return 0;
}

static int setup(void **state)
{
	return start(state, vt_new());
}

static int setup_packed(void **state)
{
	return start(state, vt_new_packed());
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	vt_free(f->m);
	free(f);
	return 0;
}

/* pages of the data that this process has; a touch would bring them back */
static unsigned int resident(struct fixture *f, unsigned int first, unsigned int n)
{
	unsigned char vec[PAGES];
	unsigned int i, count = 0;

	assert_int_equal(mincore((uint8_t *)vt_ptr(f->m, f->data, PAGES * PAGE) +
				 first * PAGE, n * PAGE, vec), 0);
	for (i = 0; i < n; i++)
		count += vec[i] & 1;
	return count;
}

static void done(struct fixture *f, unsigned int q)
{
	struct vring_used_elem elem;

	vt_kick(&f->d, q);
	assert_true(vt_get(&f->d, q, &elem));
	assert_int_equal(elem.len, 0);
}

/* the pages' numbers into queue q */
static void give(struct fixture *f, unsigned int q, unsigned int first,
		 unsigned int n)
{
	uint32_t *pfn = vt_ptr(f->m, f->pfns, n * 4);
	unsigned int i;

	for (i = 0; i < n; i++)
		pfn[i] = f->data / PAGE + first + i;
	vt_add(&f->d, q, &(struct vt_buf){ f->pfns, n * 4, false }, 1);
	done(f, q);
}

static void test_inflate(void **state)
{
	struct fixture *f = *state;
	uint8_t *p = vt_ptr(f->m, f->data, PAGES * PAGE);

	assert_int_equal(vt_read(&f->d, f->d.device, 4), TARGET);
	assert_int_equal(vt_read(&f->d, f->d.device + 4, 4), 0);
	vt_start(&f->d, F_ALL, QUEUES, 64);
	assert_int_equal(resident(f, 0, PAGES), PAGES);
	give(f, INFLATE, 100, 256);
	vt_write(&f->d, f->d.device + 4, 256, 4);
	assert_int_equal(vt_read(&f->d, f->d.device + 4, 4), 256);
	assert_int_equal(resident(f, 100, 256), 0);
	assert_int_equal(resident(f, 0, PAGES), PAGES - 256);
	assert_int_equal(p[100 * PAGE - 1], 0x5a);
	assert_int_equal(p[356 * PAGE], 0x5a);
	/* what comes back is empty, when it is touched */
	give(f, DEFLATE, 100, 256);
	assert_int_equal(resident(f, 100, 256), 0);
	assert_int_equal(p[100 * PAGE], 0);
	assert_int_equal(resident(f, 100, 256), 1);
	assert_int_equal(vt_msis(f->m, 1 + INFLATE), 1);
	assert_int_equal(vt_msis(f->m, 1 + DEFLATE), 1);
	/* only that one field is the driver's, and a reset clears it */
	vt_write(&f->d, f->d.device, 5, 4);
	vt_write(&f->d, f->d.device + 5, 5, 1);
	assert_int_equal(vt_read(&f->d, f->d.device, 8), 256ULL << 32 | TARGET);
	vt_set_status(&f->d, 0);
	assert_int_equal(vt_read(&f->d, f->d.device, 8), TARGET);
}

static void test_reporting(void **state)
{
	struct fixture *f = *state;
	const struct vt_buf bufs[] = {
		{ f->data + 10 * PAGE, 20 * PAGE, true },
		{ f->data + 50 * PAGE, 100 * PAGE, true },
	};
	uint8_t *p = vt_ptr(f->m, f->data, PAGES * PAGE);

	vt_start(&f->d, F_ALL, QUEUES, 64);
	vt_add(&f->d, REPORTING, bufs, 2);
	done(f, REPORTING);
	assert_int_equal(resident(f, 10, 20), 0);
	assert_int_equal(resident(f, 50, 100), 0);
	assert_int_equal(resident(f, 0, PAGES), PAGES - 120);
	/* only whole pages: the rest of the others is not free */
	vt_add(&f->d, REPORTING, &(struct vt_buf){ f->data + 200 * PAGE + 1,
						   3 * PAGE - 2, true }, 1);
	done(f, REPORTING);
	assert_int_equal(resident(f, 200, 3), 2);
	assert_int_equal(p[200 * PAGE], 0x5a);
	assert_int_equal(p[203 * PAGE - 1], 0x5a);
	vt_add(&f->d, REPORTING, &(struct vt_buf){ f->data + 300 * PAGE + 8,
						   PAGE, true }, 1);
	done(f, REPORTING);
	assert_int_equal(resident(f, 300, 2), 2);
}

/* the guest's word is not taken for what it points to */
static void test_lies(void **state)
{
	static const uint32_t nowhere[] = { 0xffffffff, VT_ROM >> 12, 0xfee00, 0,
					    (VT_RAM + VT_RAM_SIZE) >> 12 };
	struct fixture *f = *state;

	vt_start(&f->d, F_ALL, QUEUES, 64);
	memcpy(vt_ptr(f->m, f->pfns, sizeof(nowhere)), nowhere, sizeof(nowhere));
	/* and a piece of a number at the end */
	vt_add(&f->d, INFLATE, &(struct vt_buf){ f->pfns, sizeof(nowhere) + 3,
						 false }, 1);
	done(f, INFLATE);
	/* buffers of the wrong direction hold nothing */
	vt_add(&f->d, INFLATE, &(struct vt_buf){ f->data, PAGE, true }, 1);
	done(f, INFLATE);
	vt_add(&f->d, REPORTING, &(struct vt_buf){ f->data, PAGE, false }, 1);
	done(f, REPORTING);
	assert_int_equal(resident(f, 0, PAGES), PAGES);
	assert_int_equal(vt_status(&f->d) & VIRTIO_CONFIG_S_NEEDS_RESET, 0);
	/* pages that are none of the guest's: that breaks the queue */
	vt_add(&f->d, REPORTING, &(struct vt_buf){ VT_ROM, PAGE, true }, 1);
	vt_kick(&f->d, REPORTING);
	assert_true(vt_status(&f->d) & VIRTIO_CONFIG_S_NEEDS_RESET);
}

/* an array without end costs as much as the longest sensible one */
static void test_long_array(void **state)
{
	struct fixture *f = *state;
	uint32_t *pfn = vt_ptr(f->m, f->pfns, 64 * PAGE);
	unsigned int i;

	for (i = 0; i < 64 * PAGE / 4; i++)
		pfn[i] = i < 1024 ? 0xfee00 : f->data / PAGE;
	vt_start(&f->d, F_ALL, QUEUES, 64);
	vt_add(&f->d, INFLATE, &(struct vt_buf){ f->pfns, 64 * PAGE, false }, 1);
	done(f, INFLATE);
	assert_int_equal(resident(f, 0, PAGES), PAGES);
}

static void test_batches(void **state)
{
	struct fixture *f = *state;
	struct vring_used_elem elem;
	unsigned int i, n;

	vt_start(&f->d, F_ALL, QUEUES, 64);
	for (i = 0; i < 30; i++)
		vt_add(&f->d, REPORTING, &(struct vt_buf){ f->data + i * PAGE,
							   PAGE, true }, 1);
	vt_lock(f->m);
	bus_write(f->m->env.mmio, f->d.notify + REPORTING * f->d.notify_multiplier,
		  REPORTING, 2);
	for (n = 0; vt_take(&f->d, REPORTING, &elem); n++)
		;
	vt_unlock(f->m);
	assert_int_equal(n, 4);
	for (; n < 30; n++)
		assert_true(vt_get(&f->d, REPORTING, &elem));
	assert_int_equal(resident(f, 0, 31), 1);
}

static void test_save_load(void **state)
{
	struct fixture *f = *state;
	struct vt_registered *r = &f->m->dev[f->m->ndevs - 1];
	static uint8_t a[4096], b[4096];
	size_t n;

	vt_start(&f->d, F_ALL, QUEUES, 64);
	give(f, INFLATE, 0, 16);
	vt_write(&f->d, f->d.device + 4, 16, 4);
	vt_lock(f->m);
	n = r->ops->save(r->owner, a, sizeof(a));
	r->ops->reset(r->owner);
	assert_int_equal(r->ops->load(r->owner, a, n), 0);
	assert_int_equal(r->ops->save(r->owner, b, sizeof(b)), n);
	vt_unlock(f->m);
	assert_memory_equal(a, b, n);
	assert_int_equal(vt_read(&f->d, f->d.device + 4, 4), 16);
	give(f, INFLATE, 16, 16);
	assert_int_equal(resident(f, 0, 33), 1);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
#define P(name) { #name " (packed)", name, setup_packed, teardown, NULL }

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_inflate),
		T(test_reporting),
		T(test_lies),
		T(test_long_array),
		T(test_batches),
		T(test_save_load),
		P(test_inflate),
		P(test_reporting),
		P(test_save_load),
	};

	return cmocka_run_group_tests_name("virtio_balloon", tests, NULL, NULL);
}
