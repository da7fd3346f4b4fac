// SPDX-License-Identifier: GPL-2.0
/*
 * The block device, worked by a driver, on a real file.
 */
#define _GNU_SOURCE 1
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_config.h>
#include <linux/virtio_pci.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "block/block.h"
#include "bus.h"
#include "virtio/virtio_blk.h"
#include "virtio/virtqueue.h"
#include "virtio_driver.h"

#define F_VERSION_1	(1ULL << VIRTIO_F_VERSION_1)
#define F_ALL		(~0ULL)
#define DISK		(8ULL << 20)
#define DEVFN		(3 << 3)

static char path[] = "/var/tmp/test_virtio_blk.XXXXXX";

struct fixture {
	struct vt_machine *m;
	struct vt_dev d;
	struct block *block;
	uint64_t hdr, data, status;	/* guest addresses */
	int fd;
};

#define QUEUES	3

static int start(void **state, struct vt_machine *m, bool read_only,
		 unsigned int queues)
{
	const struct block_opts opts = { .read_only = read_only };
	struct fixture *f = calloc(1, sizeof(*f));
	char err[256];

	f->fd = open(path, O_CREAT | O_TRUNC | O_RDWR, 0600);
	assert_int_equal(ftruncate(f->fd, DISK), 0);
	f->m = m;
	vt_lock(f->m);
	f->block = block_open(path, &opts, f->m->env.loop, err, sizeof(err));
	assert_non_null(f->block);
	assert_int_equal(virtio_blk_new(&f->m->env, f->m->bus, f->block,
					queues), 0);
	vt_unlock(f->m);
	vt_probe(&f->d, f->m, DEVFN);
	vt_enable_msix(&f->d, queues + 1);
	f->hdr = vt_alloc(f->m, 64 * 1024, 4096);
	f->status = vt_alloc(f->m, 4096, 4096);
	f->data = vt_alloc(f->m, 4 << 20, 4096);
	*state = f;
	return 0;
}

static int setup(void **state)
{
	return start(state, vt_new(), false, 1);
}

static int setup_packed(void **state)
{
	return start(state, vt_new_packed(), false, 1);
}

static int setup_read_only(void **state)
{
	return start(state, vt_new(), true, 1);
}

static int setup_queues(void **state)
{
	return start(state, vt_new(), false, QUEUES);
}

static int setup_queues_packed(void **state)
{
	return start(state, vt_new_packed(), false, QUEUES);
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	vt_free_devices(f->m);
	block_close(f->block);
	vt_free(f->m);
	close(f->fd);
	free(f);
	return 0;
}

/* offer request number i in queue q; returns its chain's head */
static uint16_t request_in(struct fixture *f, unsigned int q, unsigned int i,
			   uint32_t type, uint64_t sector, uint64_t data,
			   uint32_t len)
{
	struct virtio_blk_outhdr *hdr = vt_ptr(f->m, f->hdr + i * 16, 16);
	const bool in = type == VIRTIO_BLK_T_IN || type == VIRTIO_BLK_T_GET_ID;
	struct vt_buf bufs[3] = {
		{ f->hdr + i * 16, sizeof(*hdr), false },
		{ data, len, in },
		{ f->status + i, 1, true },
	};

	*hdr = (struct virtio_blk_outhdr){ .type = type, .sector = sector };
	*(uint8_t *)vt_ptr(f->m, f->status + i, 1) = 0xff;
	if (!len)
		bufs[1] = bufs[2];
	return vt_add(&f->d, q, bufs, len ? 3 : 2);
}

static uint16_t request(struct fixture *f, unsigned int i, uint32_t type,
			uint64_t sector, uint64_t data, uint32_t len)
{
	return request_in(f, 0, i, type, sector, data, len);
}

static uint8_t status_of(struct fixture *f, unsigned int i)
{
	return *(volatile uint8_t *)vt_ptr(f->m, f->status + i, 1);
}

static uint8_t one(struct fixture *f, uint32_t type, uint64_t sector,
		   uint32_t len)
{
	uint16_t head = request(f, 0, type, sector, f->data, len);
	struct vring_used_elem elem;

	vt_kick(&f->d, 0);
	assert_true(vt_get(&f->d, 0, &elem));
	assert_int_equal(elem.id, head);
	return status_of(f, 0);
}

static void test_config(void **state)
{
	struct fixture *f = *state;
	uint64_t features = vt_features(&f->d), c = f->d.device;

	assert_int_equal(vt_cfg_read(f->m, DEVFN, 2, 2), 0x1042);
	assert_true(features & 1ULL << VIRTIO_BLK_F_FLUSH);
	assert_false(features & 1ULL << VIRTIO_BLK_F_RO);
	assert_int_equal(vt_read(&f->d, c, 8), DISK / 512);
	assert_int_equal(vt_read(&f->d, c + offsetof(struct virtio_blk_config,
						     blk_size), 4), 512);
	assert_int_equal(vt_read(&f->d, c + offsetof(struct virtio_blk_config,
						     seg_max), 4), 254);
}

static void test_read_write(void **state)
{
	struct fixture *f = *state;
	uint8_t *p = vt_ptr(f->m, f->data, 65536), back[512];
	struct vring_used_elem elem;
	unsigned int i;

	vt_start(&f->d, F_ALL, 1, 64);
	for (i = 0; i < 65536; i++)
		p[i] = i / 512 + 1;
	assert_int_equal(one(f, VIRTIO_BLK_T_OUT, 100, 65536), VIRTIO_BLK_S_OK);
	assert_int_equal(one(f, VIRTIO_BLK_T_FLUSH, 0, 0), VIRTIO_BLK_S_OK);
	assert_int_equal(pread(f->fd, back, 512, 103 * 512), 512);
	assert_int_equal(back[0], 4);
	memset(p, 0, 65536);
	request(f, 0, VIRTIO_BLK_T_IN, 110, f->data, 1024);
	vt_kick(&f->d, 0);
	assert_true(vt_get(&f->d, 0, &elem));
	assert_int_equal(elem.len, 1025);
	assert_int_equal(p[0], 11);
	assert_int_equal(p[512], 12);
	assert_int_equal(vt_msis(f->m, 1), 3);
}

/* a layout of the driver's own choice: 2.7.4.3 */
static void test_any_layout(void **state)
{
	struct fixture *f = *state;
	struct virtio_blk_outhdr hdr = { .type = VIRTIO_BLK_T_OUT, .sector = 7 };
	uint8_t *p = vt_ptr(f->m, f->data, 4096), back[1024];
	struct vt_buf bufs[] = {
		{ f->data, 3, false },
		{ f->data + 100, 13 + 500, false },
		{ f->data + 1000, 524, false },
		{ f->status, 1, true },
	};
	struct vring_used_elem elem;

	vt_start(&f->d, F_ALL, 1, 64);
	memset(p, 0x42, 4096);
	memcpy(p, &hdr, 3);
	memcpy(p + 100, (uint8_t *)&hdr + 3, 13);
	*(uint8_t *)vt_ptr(f->m, f->status, 1) = 0xff;
	vt_add(&f->d, 0, bufs, 4);
	vt_kick(&f->d, 0);
	assert_true(vt_get(&f->d, 0, &elem));
	assert_int_equal(status_of(f, 0), 0);
	assert_int_equal(pread(f->fd, back, 1024, 7 * 512), 1024);
	assert_int_equal(back[0], 0x42);
	assert_int_equal(back[1023], 0x42);
	/* a read whose status byte is the tail of the data buffer */
	hdr.type = VIRTIO_BLK_T_IN;
	memcpy(vt_ptr(f->m, f->hdr, 16), &hdr, 16);
	memset(p, 0xff, 1024);
	vt_add(&f->d, 0, (struct vt_buf[]){ { f->hdr, 16, false },
					    { f->data, 513, true } }, 2);
	vt_kick(&f->d, 0);
	assert_true(vt_get(&f->d, 0, &elem));
	assert_int_equal(elem.len, 513);
	assert_int_equal(p[511], 0x42);
	assert_int_equal(p[512], 0);
	assert_int_equal(p[513], 0xff);
}

static void test_refused_requests(void **state)
{
	struct fixture *f = *state;

	vt_start(&f->d, F_ALL, 1, 64);
	assert_int_equal(one(f, VIRTIO_BLK_T_IN, DISK / 512, 512), VIRTIO_BLK_S_IOERR);
	assert_int_equal(one(f, VIRTIO_BLK_T_IN, DISK / 512 - 1, 1024), VIRTIO_BLK_S_IOERR);
	assert_int_equal(one(f, VIRTIO_BLK_T_OUT, ~0ULL, 512), VIRTIO_BLK_S_IOERR);
	assert_int_equal(one(f, VIRTIO_BLK_T_OUT, 1ULL << 55, 512), VIRTIO_BLK_S_IOERR);
	assert_int_equal(one(f, VIRTIO_BLK_T_IN, 0, 511), VIRTIO_BLK_S_IOERR);
	assert_int_equal(one(f, VIRTIO_BLK_T_IN, 0, 0), VIRTIO_BLK_S_IOERR);
	assert_int_equal(one(f, 77, 0, 512), VIRTIO_BLK_S_UNSUPP);
	assert_int_equal(one(f, VIRTIO_BLK_T_SECURE_ERASE, 0, 16), VIRTIO_BLK_S_UNSUPP);
	assert_int_equal(vt_status(&f->d) & VIRTIO_CONFIG_S_NEEDS_RESET, 0);
	assert_int_equal(one(f, VIRTIO_BLK_T_IN, 0, 512), VIRTIO_BLK_S_OK);
}

static void test_get_id(void **state)
{
	struct fixture *f = *state;
	char *id = vt_ptr(f->m, f->data, 32);

	vt_start(&f->d, F_ALL, 1, 64);
	memset(id, 0x7f, 32);
	assert_int_equal(one(f, VIRTIO_BLK_T_GET_ID, 0, 20), VIRTIO_BLK_S_OK);
	assert_string_equal(id, "vmm-disk-18");
	assert_int_equal(id[20], 0x7f);
	assert_int_equal(one(f, VIRTIO_BLK_T_GET_ID, 0, 4), VIRTIO_BLK_S_OK);
}

static uint8_t range(struct fixture *f, uint32_t type, uint64_t sector,
		     uint32_t sectors, uint32_t flags)
{
	struct virtio_blk_discard_write_zeroes *r = vt_ptr(f->m, f->data, 16);

	*r = (struct virtio_blk_discard_write_zeroes){ sector, sectors, flags };
	return one(f, type, 0, sizeof(*r));
}

static void fill_disk(struct fixture *f)
{
	static uint8_t data[1 << 20];

	memset(data, 0x99, sizeof(data));
	assert_int_equal(pwrite(f->fd, data, sizeof(data), 0), sizeof(data));
}

static uint8_t byte_at(struct fixture *f, uint64_t at)
{
	uint8_t byte;

	assert_int_equal(pread(f->fd, &byte, 1, at), 1);
	return byte;
}

static void test_discard_and_zeroes(void **state)
{
	struct fixture *f = *state;
	uint32_t type;

	vt_start(&f->d, F_ALL, 1, 64);
	fill_disk(f);
	assert_int_equal(range(f, VIRTIO_BLK_T_WRITE_ZEROES, 8, 16, 0), 0);
	assert_int_equal(byte_at(f, 8 * 512 - 1), 0x99);
	assert_int_equal(byte_at(f, 8 * 512), 0);
	assert_int_equal(byte_at(f, 24 * 512 - 1), 0);
	assert_int_equal(byte_at(f, 24 * 512), 0x99);
	assert_int_equal(range(f, VIRTIO_BLK_T_WRITE_ZEROES, 100, 1, 1), 0);
	assert_int_equal(byte_at(f, 100 * 512), 0);
	if (block_can_discard(f->block)) {
		assert_int_equal(range(f, VIRTIO_BLK_T_DISCARD, 64, 8, 0), 0);
		assert_int_equal(byte_at(f, 64 * 512), 0);
		assert_int_equal(range(f, VIRTIO_BLK_T_DISCARD, 64, 8, 1),
				 VIRTIO_BLK_S_UNSUPP);
	}
	type = VIRTIO_BLK_T_WRITE_ZEROES;
	assert_int_equal(range(f, type, 0, 8, 2), VIRTIO_BLK_S_UNSUPP);
	assert_int_equal(range(f, type, 0, 0, 0), VIRTIO_BLK_S_IOERR);
	assert_int_equal(range(f, type, DISK / 512, 8, 0), VIRTIO_BLK_S_IOERR);
	assert_int_equal(range(f, type, ~0ULL, 8, 0), VIRTIO_BLK_S_IOERR);
	assert_int_equal(range(f, type, 0, 0xffffffff, 0), VIRTIO_BLK_S_IOERR);
	assert_int_equal(one(f, type, 0, 17), VIRTIO_BLK_S_UNSUPP);
	assert_int_equal(one(f, type, 0, 32), VIRTIO_BLK_S_UNSUPP);
	/* not negotiated: not done */
	vt_start(&f->d, F_VERSION_1, 1, 64);
	assert_int_equal(range(f, type, 200, 8, 0), VIRTIO_BLK_S_UNSUPP);
	assert_int_equal(byte_at(f, 200 * 512), 0x99);
}

static void test_read_only(void **state)
{
	struct fixture *f = *state;
	uint64_t features = vt_start(&f->d, F_ALL, 1, 64);

	assert_true(features & 1ULL << VIRTIO_BLK_F_RO);
	assert_false(features & 1ULL << VIRTIO_BLK_F_DISCARD);
	memset(vt_ptr(f->m, f->data, 512), 0x31, 512);
	assert_int_equal(one(f, VIRTIO_BLK_T_OUT, 0, 512), VIRTIO_BLK_S_IOERR);
	assert_int_equal(range(f, VIRTIO_BLK_T_WRITE_ZEROES, 0, 8, 0),
			 VIRTIO_BLK_S_UNSUPP);
	assert_int_equal(one(f, VIRTIO_BLK_T_IN, 0, 512), VIRTIO_BLK_S_OK);
	assert_int_equal(one(f, VIRTIO_BLK_T_FLUSH, 0, 0), VIRTIO_BLK_S_OK);
	assert_int_equal(*(uint8_t *)vt_ptr(f->m, f->data, 1), 0);
}

/* a queue full at once, and again while that is in flight */
static void test_full_queue(void **state)
{
	struct fixture *f = *state;
	struct vring_used_elem elem;
	unsigned int round, i;

	vt_start(&f->d, F_ALL, 1, VQ_SIZE_MAX);
	for (round = 0; round < 20; round++) {
		for (i = 0; i < 85; i++)
			request(f, i, i % 2 ? VIRTIO_BLK_T_IN : VIRTIO_BLK_T_OUT,
				i * 8, f->data + i * 4096, 4096);
		vt_kick(&f->d, 0);
		for (i = 0; i < 85; i++)
			assert_true(vt_get(&f->d, 0, &elem));
		for (i = 0; i < 85; i++)
			assert_int_equal(status_of(f, i), 0);
	}
}

/* one request of as many segments as seg_max allows */
static void test_long_chain(void **state)
{
	struct fixture *f = *state;
	struct vt_buf bufs[256];
	struct vring_used_elem elem;
	uint8_t back[512];
	unsigned int i;

	vt_start(&f->d, F_ALL, 1, VQ_SIZE_MAX);
	*(struct virtio_blk_outhdr *)vt_ptr(f->m, f->hdr, 16) =
		(struct virtio_blk_outhdr){ .type = VIRTIO_BLK_T_OUT };
	memset(vt_ptr(f->m, f->data, 254 * 1024), 0x66, 254 * 1024);
	bufs[0] = (struct vt_buf){ f->hdr, 16, false };
	for (i = 0; i < 254; i++)
		bufs[1 + i] = (struct vt_buf){ f->data + 1024 * i, 512, false };
	bufs[255] = (struct vt_buf){ f->status, 1, true };
	*(uint8_t *)vt_ptr(f->m, f->status, 1) = 0xff;
	vt_add(&f->d, 0, bufs, 256);
	vt_kick(&f->d, 0);
	assert_true(vt_get(&f->d, 0, &elem));
	assert_int_equal(status_of(f, 0), 0);
	assert_int_equal(pread(f->fd, back, 512, 253 * 512), 512);
	assert_int_equal(back[511], 0x66);
}

/* the disk fails: the guest gets an error for that request only */
static void test_disk_error(void **state)
{
	struct fixture *f = *state;

	vt_start(&f->d, F_ALL, 1, 64);
	assert_int_equal(truncate(path, 4096), 0);
	assert_int_equal(one(f, VIRTIO_BLK_T_IN, 8, 512), VIRTIO_BLK_S_IOERR);
	assert_int_equal(one(f, VIRTIO_BLK_T_IN, 7, 1024), VIRTIO_BLK_S_IOERR);
	assert_int_equal(one(f, VIRTIO_BLK_T_IN, 0, 512), VIRTIO_BLK_S_OK);
	assert_int_equal(truncate(path, DISK), 0);
	assert_int_equal(one(f, VIRTIO_BLK_T_IN, 8, 512), VIRTIO_BLK_S_OK);
}

/* no header, no status: nothing can be answered */
static void test_broken_requests(void **state)
{
	struct fixture *f = *state;
	const struct vt_buf shapes[][2] = {
		{ { f->hdr, 15, false }, { f->status, 1, true } },
		{ { f->hdr, 16, false }, { f->hdr, 16, false } },
		{ { f->status, 1, true }, { f->status, 1, true } },
		{ { f->hdr, 16, false }, { f->status, 0, true } },
		{ { f->hdr, 16, false }, { 0xfee00000, 1, true } },
		{ { f->hdr, 0xffffffff, false }, { f->status, 1, true } },
	};
	unsigned int i;

	for (i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++) {
		vt_start(&f->d, F_ALL, 1, 64);
		assert_int_equal(one(f, VIRTIO_BLK_T_IN, 0, 512), 0);
		vt_add(&f->d, 0, shapes[i], 2);
		vt_kick(&f->d, 0);
		assert_true(vt_status(&f->d) & VIRTIO_CONFIG_S_NEEDS_RESET);
	}
	vt_start(&f->d, F_ALL, 1, 64);
	assert_int_equal(one(f, VIRTIO_BLK_T_IN, 0, 512), 0);
}

static void ring_up(struct fixture *f, unsigned int n)
{
	unsigned int i;

	for (i = 0; i < n; i++)
		request(f, i, VIRTIO_BLK_T_OUT, i * 8, f->data + i * 4096, 4096);
	vt_kick(&f->d, 0);
}

/* on return from the reset nothing more is written to the guest's memory */
static void test_reset_in_flight(void **state)
{
	struct fixture *f = *state;
	unsigned int round;
	uint16_t used;

	for (round = 0; round < 50; round++) {
		f->m->alloc = f->data + (4 << 20);
		vt_start(&f->d, F_ALL, 1, 64);
		ring_up(f, 20);
		vt_set_status(&f->d, 0);
		used = f->d.q[0].used->idx;
		memset(vt_ptr(f->m, f->status, 20), 0xab, 20);
		usleep(500);
		assert_int_equal(f->d.q[0].used->idx, used);
		assert_int_equal(status_of(f, 19), 0xab);
	}
}

/* a break with requests in flight: they end, and are not reported */
static void test_broken_in_flight(void **state)
{
	struct fixture *f = *state;

	vt_start(&f->d, F_ALL, 1, 64);
	ring_up(f, 20);
	f->d.q[0].avail->idx += 1000;
	vt_kick(&f->d, 0);
	assert_true(vt_status(&f->d) & VIRTIO_CONFIG_S_NEEDS_RESET);
	vt_start(&f->d, F_ALL, 1, 64);
	assert_int_equal(one(f, VIRTIO_BLK_T_IN, 0, 512), 0);
}

static void test_save_in_flight(void **state)
{
	struct fixture *f = *state;
	struct vt_registered *r = &f->m->dev[f->m->ndevs - 1];
	struct vring_used_elem elem;
	static uint8_t a[8192], b[8192];
	unsigned int i;
	size_t n;

	vt_start(&f->d, F_ALL, 1, 64);
	ring_up(f, 20);
	vt_lock(f->m);
	n = r->ops->save(r->owner, a, sizeof(a));
	r->ops->reset(r->owner);
	assert_int_equal(r->ops->load(r->owner, a, n), 0);
	assert_int_equal(r->ops->save(r->owner, b, sizeof(b)), n);
	assert_memory_equal(a, b, n);
	vt_unlock(f->m);
	/* each was answered once, before the save */
	for (i = 0; i < 20; i++) {
		assert_true(vt_used(&f->d, 0));
		assert_true(vt_get(&f->d, 0, &elem));
		assert_int_equal(status_of(f, i), 0);
	}
	assert_false(vt_used(&f->d, 0));
	assert_int_equal(one(f, VIRTIO_BLK_T_IN, 0, 512), 0);
}

/* -Wl,--wrap: what would be submitted waits while this is set */
static bool hold;
static struct block_req *held[8];
static unsigned int nheld;

void __real_block_submit(struct block *b, struct block_req *req);
void __wrap_block_submit(struct block *b, struct block_req *req);

void __wrap_block_submit(struct block *b, struct block_req *req)
{
	if (!hold) {
		__real_block_submit(b, req);
		return;
	}
	assert_true(nheld < 8);
	held[nheld++] = req;
}

/* which of `pages` from gpa on are marked as written */
static uint64_t marked(struct fixture *f, uint64_t gpa, unsigned int pages)
{
	static uint64_t bits[VT_RAM_SIZE / 4096 / 64];
	struct mem *mem = f->m->env.mem;
	uint64_t at, found = 0;
	unsigned int r, i;

	for (r = 0; mem_region(mem, r).gpa != VT_RAM; r++)
		;
	assert_true(mem_harvest(mem, r, bits) >= 0);
	for (i = 0; i < pages; i++) {
		at = (gpa - VT_RAM) / 4096 + i;
		found |= (bits[at / 64] >> at % 64 & 1) << i;
	}
	return found;
}

/*
 * Tracking begins, and is harvested, while requests are in flight: after each harvest
 * what a read is still to fill, and the status of all, is marked for the next one;
 * what a write reads never is.
 */
static void test_tracked_in_flight(void **state)
{
	struct fixture *f = *state;
	struct vt_registered *r = &f->m->dev[f->m->ndevs - 1];
	const uint64_t read = 1ULL << 1 | 1ULL << 2;
	uint64_t data[4], status;
	struct vring_used_elem elem;
	unsigned int i;

	vt_start(&f->d, F_ALL, 1, 64);
	hold = true;
	nheld = 0;
	request(f, 0, VIRTIO_BLK_T_OUT, 0, f->data, 4096);
	request(f, 1, VIRTIO_BLK_T_IN, 8, f->data + 4096, 8192);
	vt_kick(&f->d, 0);
	/* nothing is asserted with the lock held: the device's end wants it */
	vt_lock(f->m);
	mem_track(f->m->env.mem, true);
	data[0] = marked(f, f->data, 8);
	r->ops->in_flight(r->owner);
	data[1] = marked(f, f->data, 8);
	r->ops->in_flight(r->owner);
	status = marked(f, f->status, 1);
	r->ops->in_flight(r->owner);
	hold = false;
	for (i = 0; i < nheld; i++)
		__real_block_submit(f->block, held[i]);
	vt_unlock(f->m);
	assert_int_equal(nheld, 2);
	for (i = 0; i < 2; i++)
		assert_true(vt_get(&f->d, 0, &elem));
	vt_lock(f->m);
	data[2] = marked(f, f->data, 8);
	r->ops->in_flight(r->owner);
	data[3] = marked(f, f->data, 8);
	vt_unlock(f->m);
	assert_int_equal(data[0], 0);
	assert_int_equal(data[1], read);
	assert_int_equal(status, 1);
	assert_int_equal(data[2], read);
	/* all have come */
	assert_int_equal(data[3], 0);
}

/* a driver that cannot flush: 5.2.6.2 */
static void test_write_through(void **state)
{
	struct fixture *f = *state;

	vt_start(&f->d, F_VERSION_1, 1, 64);
	memset(vt_ptr(f->m, f->data, 4096), 0x13, 4096);
	assert_int_equal(one(f, VIRTIO_BLK_T_OUT, 16, 4096), VIRTIO_BLK_S_OK);
	assert_int_equal(byte_at(f, 16 * 512), 0x13);
}

/* ---- several queues ------------------------------------------------------- */

static void test_queues(void **state)
{
	struct fixture *f = *state;
	struct vring_used_elem elem;
	unsigned int q, i, round;
	uint16_t head[QUEUES];
	uint64_t features = vt_start(&f->d, F_ALL, QUEUES, 64);

	assert_true(features & 1ULL << VIRTIO_BLK_F_MQ);
	assert_int_equal(vt_read(&f->d, f->d.device +
				 offsetof(struct virtio_blk_config, num_queues),
				 2), QUEUES);
	for (round = 0; round < 50; round++) {
		for (q = 0; q < QUEUES; q++) {
			memset(vt_ptr(f->m, f->data + q * 4096, 4096), q + round, 4096);
			head[q] = request_in(f, q, q, VIRTIO_BLK_T_OUT, q * 8,
					     f->data + q * 4096, 4096);
		}
		for (q = QUEUES; q--;)
			vt_kick(&f->d, q);
		/* each is answered where it was asked */
		for (q = 0; q < QUEUES; q++) {
			assert_true(vt_get(&f->d, q, &elem));
			assert_int_equal(elem.id, head[q]);
			assert_int_equal(status_of(f, q), 0);
			assert_int_equal(byte_at(f, q * 4096), (uint8_t)(q + round));
			assert_false(vt_used(&f->d, q));
		}
	}
	/* and told by that queue's own vector, once for each */
	for (i = 1; i <= QUEUES; i++)
		assert_int_equal(vt_msis(f->m, i), 50);
	assert_int_equal(vt_msis(f->m, 0), 0);
}

/* one queue of several is the driver's choice; the others are left alone */
static void test_one_of_queues(void **state)
{
	struct fixture *f = *state;

	vt_start(&f->d, F_VERSION_1, 1, 64);
	assert_int_equal(one(f, VIRTIO_BLK_T_OUT, 0, 512), VIRTIO_BLK_S_OK);
	vt_kick(&f->d, 1);
	vt_kick(&f->d, QUEUES);
	vt_kick(&f->d, 1000);
	assert_int_equal(one(f, VIRTIO_BLK_T_IN, 0, 512), VIRTIO_BLK_S_OK);
}

/* a lie in one queue stops all; what the others had in flight ends unseen */
static void test_one_queue_lies(void **state)
{
	struct fixture *f = *state;
	unsigned int i;

	vt_start(&f->d, F_ALL, QUEUES, 64);
	for (i = 0; i < 15; i++)
		request_in(f, 1, i, VIRTIO_BLK_T_OUT, i * 8, f->data, 4096);
	vt_kick(&f->d, 1);
	vt_add(&f->d, 2, &(struct vt_buf){ VT_ROM, 16, false }, 1);
	vt_kick(&f->d, 2);
	assert_true(vt_status(&f->d) & VIRTIO_CONFIG_S_NEEDS_RESET);
	vt_start(&f->d, F_ALL, QUEUES, 64);
	assert_int_equal(one(f, VIRTIO_BLK_T_IN, 0, 512), VIRTIO_BLK_S_OK);
}

static void test_save_queues_in_flight(void **state)
{
	struct fixture *f = *state;
	struct vt_registered *r = &f->m->dev[f->m->ndevs - 1];
	static uint8_t a[8192], b[8192];
	struct vring_used_elem elem;
	unsigned int i, q;
	size_t n;

	vt_start(&f->d, F_ALL, QUEUES, 64);
	for (i = 0; i < 30; i++)
		request_in(f, i % QUEUES, i, VIRTIO_BLK_T_OUT, i * 8,
			   f->data + i * 4096, 4096);
	vt_lock(f->m);
	n = r->ops->save(r->owner, a, sizeof(a));
	r->ops->reset(r->owner);
	assert_int_equal(r->ops->load(r->owner, a, n), 0);
	assert_int_equal(r->ops->save(r->owner, b, sizeof(b)), n);
	assert_memory_equal(a, b, n);
	vt_unlock(f->m);
	/* nobody rang: it is the load that looks at all queues */
	for (i = 0; i < 30; i++) {
		q = i % QUEUES;
		assert_true(vt_get(&f->d, q, &elem));
		assert_int_equal(status_of(f, i), 0);
	}
}

/*
 * What is done at the same time is told with one interrupt, also to a driver
 * without event indices: one for what the host had at hand, one for the rest.
 */
static void test_batch_is_one_interrupt(void **state)
{
	struct fixture *f = *state;
	struct vring_used_elem elem;
	unsigned int i, before, msis = 0, tries;

	vt_start(&f->d, F_VERSION_1 | 1ULL << VIRTIO_BLK_F_FLUSH, 1, 256);
	/* more than once, as the host may take its time */
	for (tries = 0; tries < 10; tries++) {
		before = vt_msis(f->m, 1);
		for (i = 0; i < 40; i++)
			request(f, i, VIRTIO_BLK_T_IN, i * 8,
				f->data + i * 4096, 4096);
		vt_lock(f->m);
		bus_write(f->m->env.mmio, f->d.notify, 0, 2);
		usleep(100000);
		vt_unlock(f->m);
		for (i = 0; i < 40; i++)
			assert_true(vt_get(&f->d, 0, &elem));
		msis = vt_msis(f->m, 1) - before;
		assert_true(msis > 0);
		if (msis <= 2)
			return;
	}
	fail_msg("%u interrupts for 40 requests", msis);
}

/* random requests, most of them wrong somewhere */
static void test_random(void **state)
{
	struct fixture *f = *state;
	uint64_t end = vt_now_ms() + 1000, seed = 88172645463325252ULL;
	struct virtio_blk_outhdr *hdr = vt_ptr(f->m, f->hdr, 4096);
	unsigned int i, j, n, rounds = 0;
	struct vt_buf bufs[6];

#define RND(below) (seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17, \
		    (seed >> 20) % (below))
	for (; vt_now_ms() < end; rounds++) {
		f->m->alloc = f->data + (4 << 20);
		vt_start(&f->d, F_ALL, 1, 64);
		for (i = 0; i < 8; i++) {
			hdr[i].type = RND(16);
			hdr[i].sector = RND(4) ? RND(DISK / 512 + 8) : seed;
			n = 1 + RND(6);
			for (j = 0; j < n; j++)
				bufs[j] = (struct vt_buf){
					.gpa = RND(20) ? f->data + RND(8192) : seed,
					.len = RND(20) ? RND(4) * 512 : RND(0xffffffff),
					.write = RND(6) < j,
				};
			bufs[0] = (struct vt_buf){ f->hdr + 16 * i, 16, !RND(30) };
			if (RND(20))
				bufs[n - 1] = (struct vt_buf){ f->status + i, 1, true };
			vt_add(&f->d, 0, bufs, n);
			if (RND(2))
				vt_kick(&f->d, 0);
		}
		vt_kick(&f->d, 0);
	}
#undef RND
	f->m->alloc = f->data + (4 << 20);
	vt_start(&f->d, F_ALL, 1, 64);
	assert_int_equal(one(f, VIRTIO_BLK_T_IN, 0, 512), 0);
	assert_true(rounds > 10);
}

static int group_setup(void **state)
{
	int fd = mkstemp(path);

	(void)state;
	close(fd);
	return fd < 0;
}

static int group_teardown(void **state)
{
	(void)state;
	return unlink(path);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
#define Q(name, how) cmocka_unit_test_setup_teardown(name, how, teardown)
#define P(name) { #name " (packed)", name, setup_packed, teardown, NULL }

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_config),
		T(test_read_write),
		T(test_any_layout),
		T(test_refused_requests),
		T(test_get_id),
		T(test_discard_and_zeroes),
		cmocka_unit_test_setup_teardown(test_read_only, setup_read_only,
						teardown),
		T(test_full_queue),
		T(test_long_chain),
		T(test_disk_error),
		T(test_broken_requests),
		T(test_reset_in_flight),
		T(test_broken_in_flight),
		T(test_save_in_flight),
		T(test_tracked_in_flight),
		T(test_write_through),
		T(test_random),
		P(test_read_write),
		P(test_any_layout),
		P(test_refused_requests),
		P(test_get_id),
		P(test_discard_and_zeroes),
		P(test_full_queue),
		P(test_long_chain),
		P(test_disk_error),
		P(test_broken_requests),
		P(test_save_in_flight),
		P(test_tracked_in_flight),
		P(test_random),
		Q(test_queues, setup_queues),
		Q(test_queues, setup_queues_packed),
		Q(test_one_of_queues, setup_queues),
		Q(test_one_queue_lies, setup_queues),
		Q(test_one_queue_lies, setup_queues_packed),
		Q(test_save_queues_in_flight, setup_queues),
		Q(test_save_queues_in_flight, setup_queues_packed),
		Q(test_random, setup_queues),
		T(test_batch_is_one_interrupt),
	};

	return cmocka_run_group_tests_name("virtio_blk", tests, group_setup,
					   group_teardown);
}
