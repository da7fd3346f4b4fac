// SPDX-License-Identifier: GPL-2.0
/*
 * The packed queue: an honest driver of a few lines, and one that lies.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <linux/virtio_ring.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "marks.h"
#include "mem.h"
#include "virtio/virtqueue.h"

#define RAM_SIZE	0x200000ULL
#define ROM		0x400000ULL	/* 64 KiB; nothing in between */
#define DESC		0x1000ULL
#define DRIVER		0x3000ULL
#define DEVICE		0x3004ULL
#define TABLE		0x8000ULL
#define DATA		0x100000ULL
#define SIZE		5		/* 2.8.10.1: need be no power of two */

#define F_NEXT		VRING_DESC_F_NEXT
#define F_WRITE		VRING_DESC_F_WRITE
#define F_INDIRECT	VRING_DESC_F_INDIRECT
#define F_AVAIL		(1U << VRING_PACKED_DESC_F_AVAIL)
#define F_USED		(1U << VRING_PACKED_DESC_F_USED)
#define WRAP		(1U << VRING_PACKED_EVENT_F_WRAP_CTR)

struct ring {
	struct mem *mem;
	struct virtqueue vq;
	struct vring_packed_desc *desc;
	struct vring_packed_desc_event *driver, *device;
	struct vring_packed_desc *table;
	struct vq_chain chain;
	/* the driver's side */
	unsigned int next_avail, next_used;
	bool avail_wrap, used_wrap;
};

static void enable(struct ring *r, uint16_t size)
{
	const struct vq_features f = { .indirect = true, .packed = true };

	vq_reset(&r->vq);
	r->vq.size = size;
	r->vq.desc_gpa = DESC;
	r->vq.avail_gpa = DRIVER;
	r->vq.used_gpa = DEVICE;
	memset(r->desc, 0, size * sizeof(*r->desc));
	memset(r->driver, 0, sizeof(*r->driver));
	memset(r->device, 0, sizeof(*r->device));
	r->next_avail = r->next_used = 0;
	r->avail_wrap = r->used_wrap = true;
	assert_true(vq_set_features(&r->vq, f));
	assert_true(vq_enable(&r->vq));
}

static int setup(void **state)
{
	static const uint8_t rom[0x10000];
	struct ring *r = calloc(1, sizeof(*r));

	r->mem = mem_new(NULL);
	assert_int_equal(mem_add_ram(r->mem, 0, RAM_SIZE, "low"), 0);
	assert_int_equal(mem_add_rom(r->mem, ROM, rom, sizeof(rom), "rom"), 0);
	r->desc = mem_ptr(r->mem, DESC, 0x1000);
	r->driver = mem_ptr(r->mem, DRIVER, 4);
	r->device = mem_ptr(r->mem, DEVICE, 4);
	r->table = mem_ptr(r->mem, TABLE, 0x4000);
	vq_init(&r->vq, r->mem, VQ_SIZE_MAX);
	enable(r, SIZE);
	*state = r;
	return 0;
}

static int teardown(void **state)
{
	struct ring *r = *state;

	mem_free(r->mem);
	free(r);
	return 0;
}

/* write one descriptor and make it available */
static void put(struct ring *r, uint64_t addr, uint32_t len, uint16_t flags,
		uint16_t id)
{
	struct vring_packed_desc *d = &r->desc[r->next_avail];

	d->addr = addr;
	d->len = len;
	d->id = id;
	d->flags = flags | (r->avail_wrap ? F_AVAIL : F_USED);
	r->next_avail++;
	if (r->next_avail == r->vq.size) {
		r->next_avail = 0;
		r->avail_wrap = !r->avail_wrap;
	}
}

/* what the driver finds used next, which took `slots`; false: nothing yet */
static bool get(struct ring *r, unsigned int slots, uint16_t *id, uint32_t *len)
{
	struct vring_packed_desc *d = &r->desc[r->next_used];

	if (!!(d->flags & F_USED) != r->used_wrap ||
	    !!(d->flags & F_AVAIL) != r->used_wrap)
		return false;
	*id = d->id;
	/* 2.8.4: reserved without WRITE */
	*len = d->flags & F_WRITE ? d->len : 0;
	r->next_used += slots;
	if (r->next_used >= r->vq.size) {
		r->next_used -= r->vq.size;
		r->used_wrap = !r->used_wrap;
	}
	return true;
}

static void gets(struct ring *r, unsigned int slots, uint16_t id, uint32_t len)
{
	uint32_t got_len;
	uint16_t got_id;

	assert_true(get(r, slots, &got_id, &got_len));
	assert_int_equal(got_id, id);
	assert_int_equal(got_len, len);
}

static void pops(struct ring *r)
{
	assert_int_equal(vq_pop(&r->vq, &r->chain), 1);
}

static void wants_broken(struct ring *r)
{
	struct vring_packed_desc before[SIZE];

	memcpy(before, r->desc, sizeof(before));
	assert_int_equal(vq_pop(&r->vq, &r->chain), -1);
	assert_true(r->vq.broken);
	assert_true(r->vq.error[0]);
	assert_int_equal(vq_pop(&r->vq, &r->chain), -1);
	assert_false(vq_should_signal(&r->vq));
	assert_false(vq_want_notify(&r->vq, vq_pos(&r->vq)));
	/* what is given back now is not written */
	vq_push(&r->vq, (struct vq_head){ 0, 1 }, 0);
	assert_memory_equal(before, r->desc, sizeof(before));
}

/* ---- honest --------------------------------------------------------------- */

static void test_chain(void **state)
{
	struct ring *r = *state;
	uint32_t len;
	uint16_t id;

	assert_int_equal(vq_pop(&r->vq, &r->chain), 0);
	put(r, DATA, 16, F_NEXT, 0);
	put(r, DATA + 512, 512, F_NEXT | F_WRITE, 0);
	put(r, DATA + 64, 1, F_WRITE, 0x7777);
	pops(r);
	assert_int_equal(r->chain.head.id, 0x7777);
	assert_int_equal(r->chain.head.slots, 3);
	assert_int_equal(r->chain.nout, 1);
	assert_int_equal(r->chain.nin, 2);
	assert_int_equal(r->chain.out_len, 16);
	assert_int_equal(r->chain.in_len, 513);
	assert_ptr_equal(r->chain.in[0].iov_base, mem_ptr(r->mem, DATA + 512, 1));
	assert_int_equal(vq_pop(&r->vq, &r->chain), 0);
	assert_false(get(r, 3, &id, &len));
	vq_push(&r->vq, r->chain.head, 513);
	gets(r, 3, 0x7777, 513);
}

static void test_indirect(void **state)
{
	struct ring *r = *state;
	unsigned int i;

	/* 2.8.7: neither NEXT nor ID count in the table, nor WRITE outside */
	for (i = 0; i < SIZE; i++)
		r->table[i] = (struct vring_packed_desc){
			DATA + i * 4096, 4096, 9,
			(i ? F_WRITE : 0) | F_NEXT | F_AVAIL | F_USED,
		};
	put(r, TABLE, SIZE * 16, F_INDIRECT | F_WRITE, 2);
	pops(r);
	assert_int_equal(r->chain.head.id, 2);
	assert_int_equal(r->chain.head.slots, 1);
	assert_int_equal(r->chain.nout, 1);
	assert_int_equal(r->chain.nin, SIZE - 1);
	vq_push(&r->vq, r->chain.head, 1);
	gets(r, 1, 2, 1);
}

/* chains of every length over the end of a ring of every size, many rounds */
static void test_wraps(void **state)
{
	struct ring *r = *state;
	unsigned int size, i, j, slots;

	for (size = 1; size <= 9; size++) {
		enable(r, size);
		for (i = 0; i < 500; i++) {
			slots = 1 + i % size;
			for (j = 0; j < slots; j++)
				put(r, DATA, 16, j + 1 < slots ? F_NEXT : 0, i);
			pops(r);
			assert_int_equal(r->chain.head.id, i);
			assert_int_equal(r->chain.head.slots, slots);
			assert_int_equal(vq_pop(&r->vq, &r->chain), 0);
			vq_push(&r->vq, r->chain.head, i);
			gets(r, slots, i, i);
		}
	}
}

/* 2.8: used descriptors are written in the order of completion */
static void test_out_of_order(void **state)
{
	struct ring *r = *state;
	struct vq_head a, b;
	unsigned int i;

	for (i = 0; i < 50; i++) {
		put(r, DATA, 16, F_NEXT, 0);
		put(r, DATA, 16, 0, 1);
		put(r, DATA, 16, 0, 2);
		pops(r);
		a = r->chain.head;
		pops(r);
		b = r->chain.head;
		assert_int_equal(r->vq.in_flight, 3);
		vq_push(&r->vq, b, 0);
		gets(r, 1, 2, 0);
		vq_push(&r->vq, a, 7);
		gets(r, 2, 1, 7);
		assert_int_equal(r->vq.in_flight, 0);
	}
}

/* 2.8.9: the driver sees the first of several only when all are there */
static void test_rewind_and_stage(void **state)
{
	struct ring *r = *state;
	struct vq_head head[2];
	struct vq_pos pos;
	unsigned int i;
	uint32_t len;
	uint16_t id;

	for (i = 0; i < 50; i++) {
		put(r, DATA, 16, F_WRITE | F_NEXT, 0);
		put(r, DATA, 16, F_WRITE, 3);
		put(r, DATA, 16, F_WRITE, 4);
		pos = vq_pos(&r->vq);
		pops(r);
		pops(r);
		vq_rewind(&r->vq, pos);
		pops(r);
		assert_int_equal(r->chain.head.id, 3);
		head[0] = r->chain.head;
		pops(r);
		head[1] = r->chain.head;
		vq_stage(&r->vq, head[0], 5);
		vq_stage(&r->vq, head[1], 6);
		assert_false(get(r, 2, &id, &len));
		vq_publish(&r->vq);
		gets(r, 2, 3, 5);
		gets(r, 1, 4, 6);
		assert_int_equal(r->vq.in_flight, 0);
	}
	/* nothing staged, nothing published */
	vq_publish(&r->vq);
	assert_false(get(r, 1, &id, &len));
}

static void give_one(struct ring *r)
{
	put(r, DATA, 16, 0, 0);
	pops(r);
	vq_push(&r->vq, r->chain.head, 0);
	gets(r, 1, 0, 0);
}

static void test_flags(void **state)
{
	struct ring *r = *state;

	assert_false(vq_should_signal(&r->vq));
	give_one(r);
	assert_true(vq_should_signal(&r->vq));
	assert_false(vq_should_signal(&r->vq));
	r->driver->flags = VRING_PACKED_EVENT_FLAG_DISABLE;
	give_one(r);
	assert_false(vq_should_signal(&r->vq));
	/* 2.8.10: valid only with EVENT_IDX, so it says nothing */
	r->driver->flags = VRING_PACKED_EVENT_FLAG_DESC;
	give_one(r);
	assert_true(vq_should_signal(&r->vq));
	vq_refuse_notify(&r->vq);
	assert_int_equal(r->device->flags, VRING_PACKED_EVENT_FLAG_DISABLE);
	assert_false(vq_want_notify(&r->vq, vq_pos(&r->vq)));
	assert_int_equal(r->device->flags, VRING_PACKED_EVENT_FLAG_ENABLE);
	put(r, DATA, 16, 0, 0);
	assert_true(vq_want_notify(&r->vq, vq_pos(&r->vq)));
}

/* ask for an interrupt `ahead` entries from here, then see batches pass it */
static void event_at(struct ring *r, unsigned int ahead, unsigned int batch)
{
	unsigned int i, at = r->next_used + ahead, done = 0;
	bool wrap = r->used_wrap, due;

	if (at >= r->vq.size) {
		at -= r->vq.size;
		wrap = !wrap;
	}
	r->driver->off_wrap = at | (wrap ? WRAP : 0);
	r->driver->flags = VRING_PACKED_EVENT_FLAG_DESC;
	while (done <= ahead) {
		due = done + batch > ahead;
		for (i = 0; i < batch; i++)
			give_one(r);
		done += batch;
		assert_int_equal(vq_should_signal(&r->vq), due);
	}
}

static void test_event_index(void **state)
{
	struct ring *r = *state;
	unsigned int i, ahead, batch;

	r->vq.features.event_idx = true;
	for (i = 0; i < 30; i++)
		for (ahead = 0; ahead < SIZE; ahead++)
			for (batch = 1; batch < SIZE; batch++)
				event_at(r, ahead, batch);
	r->driver->flags = VRING_PACKED_EVENT_FLAG_DISABLE;
	give_one(r);
	assert_false(vq_should_signal(&r->vq));
	r->driver->flags = VRING_PACKED_EVENT_FLAG_ENABLE;
	give_one(r);
	assert_true(vq_should_signal(&r->vq));
	/* our wish: the place, and the round that it is meant in */
	for (i = 0; i < 3 * SIZE; i++) {
		assert_false(vq_want_notify(&r->vq, vq_pos(&r->vq)));
		assert_int_equal(r->device->flags, VRING_PACKED_EVENT_FLAG_DESC);
		assert_int_equal(r->device->off_wrap,
				 r->next_avail | (r->avail_wrap ? WRAP : 0));
		vq_refuse_notify(&r->vq);
		assert_int_equal(r->device->flags, VRING_PACKED_EVENT_FLAG_DISABLE);
		give_one(r);
	}
}

/* firmware enables its queues before it negotiates */
static void test_features_after_enable(void **state)
{
	const struct vq_features packed = { .packed = true };
	struct ring *r = *state;

	enable(r, SIZE);
	vq_reset(&r->vq);
	r->vq.size = SIZE;
	r->vq.desc_gpa = DESC;
	r->vq.avail_gpa = DRIVER;
	r->vq.used_gpa = DEVICE;
	/* no size for a split queue */
	assert_false(vq_enable(&r->vq));
	vq_reset(&r->vq);
	r->vq.size = 4;
	r->vq.desc_gpa = DESC;
	r->vq.avail_gpa = DRIVER;
	r->vq.used_gpa = DEVICE;
	assert_true(vq_enable(&r->vq));
	assert_true(vq_set_features(&r->vq, packed));
	put(r, DATA, 16, 0, 1);
	pops(r);
	assert_int_equal(r->chain.head.id, 1);
}

/* ---- liars ---------------------------------------------------------------- */

/* a list without end goes once round at most */
static void test_endless_list(void **state)
{
	struct ring *r = *state;
	unsigned int i;

	for (i = 0; i < SIZE; i++)
		put(r, DATA, i % 2 ? 0 : 16, F_NEXT, 0);
	wants_broken(r);
}

/* and stops before what is in flight */
static void test_list_into_flight(void **state)
{
	struct ring *r = *state;
	unsigned int i;

	put(r, DATA, 16, 0, 0);
	pops(r);
	for (i = 0; i < SIZE - 1; i++)
		put(r, DATA, 16, F_NEXT, 0);
	wants_broken(r);
}

/* everything made available again, by turning the wrap bits over */
static void test_more_in_flight_than_entries(void **state)
{
	struct ring *r = *state;
	unsigned int i;

	for (i = 0; i < SIZE; i++) {
		put(r, DATA, 16, 0, i);
		pops(r);
	}
	assert_int_equal(r->vq.in_flight, SIZE);
	put(r, DATA, 16, 0, 0);
	wants_broken(r);
}

/* with the wrong wrap an entry is simply not there */
static void test_wrong_wrap(void **state)
{
	struct ring *r = *state;

	r->desc[0] = (struct vring_packed_desc){ DATA, 16, 0, F_USED };
	assert_int_equal(vq_pop(&r->vq, &r->chain), 0);
	r->desc[0].flags = F_USED | F_AVAIL;
	assert_int_equal(vq_pop(&r->vq, &r->chain), 0);
	r->desc[0].flags = 0;
	assert_int_equal(vq_pop(&r->vq, &r->chain), 0);
	assert_false(r->vq.broken);
	r->desc[0].flags = F_AVAIL;
	pops(r);
}

static void test_read_after_write(void **state)
{
	struct ring *r = *state;

	put(r, DATA, 16, F_WRITE | F_NEXT, 0);
	put(r, DATA, 16, 0, 0);
	wants_broken(r);
}

static void test_misplaced_indirect(void **state)
{
	struct ring *r = *state;

	r->table[0] = (struct vring_packed_desc){ DATA, 16, 0, 0 };
	put(r, TABLE, 16, F_INDIRECT | F_NEXT, 0);
	put(r, DATA, 16, 0, 0);
	wants_broken(r);
	enable(r, SIZE);
	put(r, DATA, 16, F_NEXT, 0);
	put(r, TABLE, 16, F_INDIRECT, 0);
	wants_broken(r);
	enable(r, SIZE);
	r->vq.features.indirect = false;
	put(r, TABLE, 16, F_INDIRECT, 0);
	wants_broken(r);
}

static void test_indirect_in_indirect(void **state)
{
	struct ring *r = *state;

	r->table[0] = (struct vring_packed_desc){ TABLE, 16, 0, F_INDIRECT };
	put(r, TABLE, 16, F_INDIRECT, 0);
	wants_broken(r);
}

static const struct bad_buffer {
	uint64_t addr;
	uint32_t len;
} bad_buffers[] = {
	{ RAM_SIZE, 1 }, { RAM_SIZE - 1, 2 }, { 0, 0xffffffff }, { ~0ULL, 1 },
	{ ~0ULL - 10, 100 }, { ROM, 16 }, { 0xfee00000, 4 }, { 0x300000, 1 },
}, bad_tables[] = {
	{ TABLE, 0 }, { TABLE, 15 }, { TABLE, (SIZE + 1) * 16 },
	{ TABLE, 0xfffffff0 }, { ROM, 16 }, { RAM_SIZE - 16, 32 },
	{ ~0ULL - 15, 16 },
};

static void test_bad_buffers(void **state)
{
	struct ring *r = *state;
	size_t i;

	for (i = 0; i < 2 * sizeof(bad_buffers) / sizeof(bad_buffers[0]); i++) {
		enable(r, SIZE);
		put(r, bad_buffers[i / 2].addr, bad_buffers[i / 2].len,
		    i % 2 ? F_WRITE : 0, 0);
		wants_broken(r);
	}
	for (i = 0; i < sizeof(bad_tables) / sizeof(bad_tables[0]); i++) {
		enable(r, SIZE);
		memset(r->table, 0, (SIZE + 1) * 16);
		put(r, bad_tables[i].addr, bad_tables[i].len, F_INDIRECT, 0);
		wants_broken(r);
	}
}

static void test_bad_rings(void **state)
{
	static const struct {
		uint16_t size;
		uint64_t desc, driver, device;
	} bad[] = {
		{ 0, DESC, DRIVER, DEVICE },
		{ VQ_SIZE_MAX + 1, DESC, DRIVER, DEVICE },
		{ 0xffff, DESC, DRIVER, DEVICE },
		{ SIZE, DESC + 8, DRIVER, DEVICE },
		{ SIZE, DESC, DRIVER + 2, DEVICE },
		{ SIZE, DESC, DRIVER, DEVICE + 2 },
		{ SIZE, RAM_SIZE - 64, DRIVER, DEVICE },
		{ SIZE, DESC, RAM_SIZE, DEVICE },
		{ SIZE, DESC, DRIVER, ROM },
		{ SIZE, ROM, DRIVER, DEVICE },
		{ SIZE, DESC, ~0ULL - 3, DEVICE },
	};
	struct ring *r = *state;
	size_t i;

	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		vq_reset(&r->vq);
		r->vq.features.packed = true;
		r->vq.size = bad[i].size;
		r->vq.desc_gpa = bad[i].desc;
		r->vq.avail_gpa = bad[i].driver;
		r->vq.used_gpa = bad[i].device;
		assert_false(vq_enable(&r->vq));
		wants_broken(r);
	}
}

/* ---- snapshots ------------------------------------------------------------ */

static void test_save_load(void **state)
{
	const struct vq_features f = { .packed = true, .event_idx = true };
	struct ring *r = *state;
	struct vq_state a, b;
	unsigned int i;

	for (i = 0; i < 3 * SIZE; i++) {
		give_one(r);
		vq_save(&r->vq, &a);
		vq_reset(&r->vq);
		assert_false(r->vq.enabled);
		assert_true(vq_state_ok(&r->vq, &a, f));
		vq_load(&r->vq, &a, f);
		vq_save(&r->vq, &b);
		assert_memory_equal(&a, &b, sizeof(a));
	}
	b = a;
	b.last_avail = b.used_idx = SIZE;
	assert_false(vq_state_ok(&r->vq, &b, f));
	b = a;
	b.used_idx++;
	assert_false(vq_state_ok(&r->vq, &b, f));
	b = a;
	b.used_wrap = !b.used_wrap;
	assert_false(vq_state_ok(&r->vq, &b, f));
	b = a;
	b.avail_wrap = 2;
	assert_false(vq_state_ok(&r->vq, &b, f));
	b = a;
	b.used_gpa = ROM;
	assert_false(vq_state_ok(&r->vq, &b, f));
	/* five entries are no split queue */
	assert_false(vq_state_ok(&r->vq, &a, (struct vq_features){ 0 }));
}

/* ---- random --------------------------------------------------------------- */

static uint64_t seed = 0x9e3779b97f4a7c15ULL;

static uint32_t rnd(uint32_t below)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return (seed >> 32) % below;
}

static uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000ULL + ts.tv_nsec / 1000000;
}

static void random_desc(struct vring_packed_desc *d)
{
	static const uint64_t base[] = { DATA, DATA, DATA, DATA, ROM, TABLE,
					 RAM_SIZE - 64, ~0ULL - 64 };

	d->addr = base[rnd(8)] + rnd(128);
	d->len = rnd(20) ? rnd(256) : rnd(0xffffffff);
	d->id = rnd(0xffff);
	d->flags = (rnd(30) ? rnd(2) | (rnd(4) ? 2 : 0) : rnd(8)) |
		(rnd(2) ? F_AVAIL : 0) | (rnd(2) ? F_USED : 0);
}

/* every byte the device may touch: ASan is the judge */
static void use_chain(const struct vq_chain *c, unsigned int size)
{
	unsigned int i;

	assert_true(c->nout + c->nin <= size && c->head.slots <= size);
	for (i = 0; i < c->nin; i++)
		memset(c->in[i].iov_base, 0x5a, c->in[i].iov_len);
}

static void test_random(void **state)
{
	struct ring *r = *state;
	unsigned int taken = 0, broken = 0, i, n, size = SIZE;
	uint64_t end = now_ms() + 1000;
	int ret;

	while (now_ms() < end) {
		for (i = 0; i < size; i++) {
			random_desc(&r->desc[i]);
			random_desc(&r->table[i]);
		}
		r->driver->flags = rnd(4);
		r->driver->off_wrap = rnd(0x10000);
		/* giving some back at once, some later, some never */
		for (n = 0; (ret = vq_pop(&r->vq, &r->chain)) > 0; n++) {
			assert_true(n <= size);
			taken++;
			use_chain(&r->chain, size);
			if (rnd(2))
				vq_push(&r->vq, r->chain.head, rnd(100));
			vq_should_signal(&r->vq);
			vq_want_notify(&r->vq, vq_pos(&r->vq));
			if (!rnd(4))
				vq_refuse_notify(&r->vq);
		}
		if (!ret && rnd(20))
			continue;
		broken += ret < 0;
		size = 1 + rnd(VQ_SIZE_MAX);
		enable(r, size);
		r->vq.features.event_idx = rnd(2);
	}
	assert_true(taken > 100 && broken > 100);
}

/* ---- marks ---------------------------------------------------------------- */

/* here the ring itself is written by both */
static void test_marks(void **state)
{
	struct ring *r = *state;
	struct marks *m = marks_new(r->mem);

	put(r, DATA, 16, F_NEXT, 1);
	put(r, DATA + 0x1ff0, 32, F_WRITE, 1);
	marks_begin(m);
	assert_int_equal(vq_pop(&r->vq, &r->chain), 1);
	marks_check(m);
	assert_true(marks_has(m, DATA + 0x1000) && marks_has(m, DATA + 0x2000));
	assert_false(marks_has(m, DATA) || marks_has(m, DATA + 0x3000));
	assert_false(marks_has(m, DESC) || marks_has(m, DEVICE));
	vq_stage(&r->vq, r->chain.head, 32);
	vq_publish(&r->vq);
	marks_check(m);
	assert_true(marks_has(m, DESC));
	assert_false(marks_has(m, DATA + 0x1000));
	vq_refuse_notify(&r->vq);
	marks_check(m);
	assert_true(marks_has(m, DEVICE));
	vq_want_notify(&r->vq, vq_pos(&r->vq));
	marks_check(m);
	assert_true(marks_has(m, DEVICE));
	marks_free(m);
}

/* whatever the driver says, and rings of all sizes */
static void test_all_is_marked(void **state)
{
	struct ring *r = *state;
	struct marks *m = marks_new(r->mem);
	unsigned int round, i, n, size = SIZE;
	int ret;

	for (round = 0; round < 300; round++) {
		for (i = 0; i < size; i++) {
			random_desc(&r->desc[i]);
			random_desc(&r->table[i]);
		}
		marks_begin(m);
		for (n = 0; (ret = vq_pop(&r->vq, &r->chain)) > 0 && n <= size; n++) {
			use_chain(&r->chain, size);
			vq_push(&r->vq, r->chain.head, rnd(100));
			vq_want_notify(&r->vq, vq_pos(&r->vq));
			if (!rnd(4))
				vq_refuse_notify(&r->vq);
		}
		marks_check(m);
		if (!ret && rnd(20))
			continue;
		size = 1 + rnd(VQ_SIZE_MAX);
		enable(r, size);
		r->vq.features.event_idx = rnd(2);
	}
	marks_free(m);
}

static volatile int scribbling;

static void *scribble(void *arg)
{
	struct ring *r = arg;
	uint64_t x = 88172645463325252ULL;

	while (scribbling) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		((volatile uint8_t *)r->desc)[x % (SIZE * 16)] ^= x >> 32;
		((volatile uint8_t *)r->table)[(x >> 8) % (SIZE * 16)] ^= x >> 40;
		((volatile uint8_t *)r->driver)[(x >> 16) % 4] ^= x >> 44;
	}
	return NULL;
}

/* memory that changes while it is read: a second vCPU */
static void test_scribbler(void **state)
{
	struct ring *r = *state;
	uint64_t end = now_ms() + 700;
	pthread_t thread;
	unsigned int n;

	scribbling = 1;
	pthread_create(&thread, NULL, scribble, r);
	while (now_ms() < end) {
		enable(r, SIZE);
		r->vq.features.event_idx = true;
		put(r, DATA, 64, F_WRITE | F_NEXT, 0);
		put(r, DATA, 64, F_WRITE, 0);
		put(r, TABLE, SIZE * 16, F_INDIRECT, 0);
		for (n = 0; n < 100 && vq_pop(&r->vq, &r->chain) > 0; n++) {
			use_chain(&r->chain, SIZE);
			vq_push(&r->vq, r->chain.head, 1);
			vq_should_signal(&r->vq);
		}
	}
	scribbling = 0;
	pthread_join(thread, NULL);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_chain),
		T(test_indirect),
		T(test_wraps),
		T(test_out_of_order),
		T(test_rewind_and_stage),
		T(test_flags),
		T(test_event_index),
		T(test_features_after_enable),
		T(test_endless_list),
		T(test_list_into_flight),
		T(test_more_in_flight_than_entries),
		T(test_wrong_wrap),
		T(test_read_after_write),
		T(test_misplaced_indirect),
		T(test_indirect_in_indirect),
		T(test_bad_buffers),
		T(test_bad_rings),
		T(test_save_load),
		T(test_random),
		T(test_marks),
		T(test_all_is_marked),
		T(test_scribbler),
	};

	return cmocka_run_group_tests_name("virtqueue_packed", tests, NULL, NULL);
}
