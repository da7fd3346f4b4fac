// SPDX-License-Identifier: GPL-2.0
/*
 * The split queue against a driver that lies: each lie breaks the queue, none
 * makes it read or write where it must not, and the honest driver beside it
 * gets everything back.
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
#define HIGH		0x100000000ULL	/* a second piece of RAM */
#define DESC		0x1000ULL
#define AVAIL		0x3000ULL
#define USED		0x4000ULL
#define TABLE		0x8000ULL
#define DATA		0x100000ULL
#define SIZE		8

struct ring {
	struct mem *mem;
	struct virtqueue vq;
	struct vring_desc *desc;
	struct vring_avail *avail;
	struct vring_used *used;
	struct vring_desc *table;
	struct vq_chain chain;
};

static void program(struct ring *r, uint16_t size)
{
	r->vq.size = size;
	r->vq.desc_gpa = DESC;
	r->vq.avail_gpa = AVAIL;
	r->vq.used_gpa = USED;
}

static int setup(void **state)
{
	static const uint8_t rom[0x10000];
	struct ring *r = calloc(1, sizeof(*r));

	r->mem = mem_new(NULL);
	assert_int_equal(mem_add_ram(r->mem, 0, RAM_SIZE, "low"), 0);
	assert_int_equal(mem_add_rom(r->mem, ROM, rom, sizeof(rom), "rom"), 0);
	assert_int_equal(mem_add_ram(r->mem, HIGH, RAM_SIZE, "high"), 0);
	r->desc = mem_ptr(r->mem, DESC, 0x1000);
	r->avail = mem_ptr(r->mem, AVAIL, 0x1000);
	r->used = mem_ptr(r->mem, USED, 0x1000);
	r->table = mem_ptr(r->mem, TABLE, 0x4000);
	vq_init(&r->vq, r->mem, VQ_SIZE_MAX);
	program(r, SIZE);
	assert_true(vq_enable(&r->vq));
	r->vq.features.indirect = true;
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

static void set_desc(struct vring_desc *d, uint64_t addr, uint32_t len,
		     uint16_t flags, uint16_t next)
{
	*d = (struct vring_desc){ addr, len, flags, next };
}

static void offer(struct ring *r, uint16_t head)
{
	r->avail->ring[r->avail->idx % r->vq.size] = head;
	r->avail->idx++;
}

static void wants_broken(struct ring *r)
{
	uint16_t used = r->used->idx;

	assert_int_equal(vq_pop(&r->vq, &r->chain), -1);
	assert_true(r->vq.broken);
	assert_true(r->vq.error[0]);
	/* and stays so: nothing is read or written any more */
	assert_int_equal(vq_pop(&r->vq, &r->chain), -1);
	assert_false(vq_should_signal(&r->vq));
	assert_false(vq_want_notify(&r->vq, vq_pos(&r->vq)));
	assert_int_equal(r->used->idx, used);
}

/* ---- honest --------------------------------------------------------------- */

static void test_chain(void **state)
{
	struct ring *r = *state;

	assert_int_equal(vq_pop(&r->vq, &r->chain), 0);
	set_desc(&r->desc[3], DATA, 16, VRING_DESC_F_NEXT, 1);
	set_desc(&r->desc[1], HIGH, 512, VRING_DESC_F_NEXT | VRING_DESC_F_WRITE, 0);
	set_desc(&r->desc[0], DATA + 64, 1, VRING_DESC_F_WRITE, 7);
	offer(r, 3);
	assert_int_equal(vq_pop(&r->vq, &r->chain), 1);
	assert_int_equal(r->chain.head.id, 3);
	assert_int_equal(r->chain.nout, 1);
	assert_int_equal(r->chain.nin, 2);
	assert_int_equal(r->chain.out_len, 16);
	assert_int_equal(r->chain.in_len, 513);
	assert_ptr_equal(r->chain.in[0].iov_base, mem_ptr(r->mem, HIGH, 1));
	assert_int_equal(vq_pop(&r->vq, &r->chain), 0);
	vq_push(&r->vq, r->chain.head, 513);
	assert_int_equal(r->used->idx, 1);
	assert_int_equal(r->used->ring[0].id, 3);
	assert_int_equal(r->used->ring[0].len, 513);
}

static void test_indirect(void **state)
{
	struct ring *r = *state;
	unsigned int i;

	/* a normal descriptor, then a table: 2.7.5.3.2 */
	set_desc(&r->desc[0], DATA, 16, VRING_DESC_F_NEXT, 1);
	set_desc(&r->desc[1], TABLE, 7 * 16,
		 VRING_DESC_F_INDIRECT | VRING_DESC_F_WRITE, 0);
	for (i = 0; i < 7; i++)
		set_desc(&r->table[i], DATA + i * 4096, 4096,
			 VRING_DESC_F_WRITE | (i < 6 ? VRING_DESC_F_NEXT : 0),
			 i + 1);
	offer(r, 0);
	assert_int_equal(vq_pop(&r->vq, &r->chain), 1);
	assert_int_equal(r->chain.nin, 7);
	assert_int_equal(r->chain.in_len, 7 * 4096);
}

static void test_index_wraps(void **state)
{
	struct ring *r = *state;
	unsigned int i;

	set_desc(&r->desc[0], DATA, 16, 0, 0);
	for (i = 0; i < 70000; i++) {
		offer(r, 0);
		assert_int_equal(vq_pop(&r->vq, &r->chain), 1);
		vq_push(&r->vq, r->chain.head, i);
		assert_int_equal(r->used->idx, (uint16_t)(i + 1));
		assert_int_equal(r->used->ring[i % SIZE].len, i);
	}
}

static void test_rewind_and_stage(void **state)
{
	struct ring *r = *state;
	struct vq_head first;
	struct vq_pos pos;

	set_desc(&r->desc[0], DATA, 16, VRING_DESC_F_WRITE, 0);
	set_desc(&r->desc[1], DATA, 16, VRING_DESC_F_WRITE, 0);
	offer(r, 0);
	offer(r, 1);
	pos = vq_pos(&r->vq);
	assert_int_equal(vq_pop(&r->vq, &r->chain), 1);
	assert_int_equal(vq_pop(&r->vq, &r->chain), 1);
	vq_rewind(&r->vq, pos);
	assert_int_equal(vq_pop(&r->vq, &r->chain), 1);
	assert_int_equal(r->chain.head.id, 0);
	first = r->chain.head;
	assert_int_equal(vq_pop(&r->vq, &r->chain), 1);
	vq_stage(&r->vq, first, 5);
	vq_stage(&r->vq, r->chain.head, 6);
	assert_int_equal(r->used->idx, 0);
	vq_publish(&r->vq);
	assert_int_equal(r->used->idx, 2);
	assert_int_equal(r->used->ring[1].len, 6);
	assert_int_equal(r->vq.in_flight, 0);
}

static void test_empty_descriptors(void **state)
{
	struct ring *r = *state;

	/* no bytes, so no address to check */
	set_desc(&r->desc[0], ~0ULL, 0, VRING_DESC_F_NEXT, 1);
	set_desc(&r->desc[1], ~0ULL, 0, VRING_DESC_F_WRITE, 0);
	offer(r, 0);
	assert_int_equal(vq_pop(&r->vq, &r->chain), 1);
	assert_int_equal(r->chain.nout + r->chain.nin, 0);
}

static void give_one(struct ring *r)
{
	offer(r, 0);
	assert_int_equal(vq_pop(&r->vq, &r->chain), 1);
	vq_push(&r->vq, r->chain.head, 0);
}

static void test_signal_flag(void **state)
{
	struct ring *r = *state;

	set_desc(&r->desc[0], DATA, 16, 0, 0);
	/* nothing was given back: nothing to tell */
	assert_false(vq_should_signal(&r->vq));
	give_one(r);
	assert_true(vq_should_signal(&r->vq));
	assert_false(vq_should_signal(&r->vq));
	r->avail->flags = VRING_AVAIL_F_NO_INTERRUPT;
	give_one(r);
	assert_false(vq_should_signal(&r->vq));
	vq_refuse_notify(&r->vq);
	assert_int_equal(r->used->flags, VRING_USED_F_NO_NOTIFY);
	assert_false(vq_want_notify(&r->vq, vq_pos(&r->vq)));
	assert_int_equal(r->used->flags, 0);
	offer(r, 0);
	assert_true(vq_want_notify(&r->vq, vq_pos(&r->vq)));
}

static void test_event_index(void **state)
{
	struct ring *r = *state;
	uint16_t *used_event = &r->avail->ring[SIZE];
	uint16_t *avail_event = (uint16_t *)&r->used->ring[SIZE];
	unsigned int i;

	r->vq.features.event_idx = true;
	set_desc(&r->desc[0], DATA, 16, 0, 0);
	*used_event = 2;
	for (i = 0; i < 6; i++) {
		give_one(r);
		assert_int_equal(vq_should_signal(&r->vq), i == 2);
	}
	/* flags count for nothing with event indices */
	r->avail->flags = VRING_AVAIL_F_NO_INTERRUPT;
	*used_event = 5;
	give_one(r);
	assert_false(vq_should_signal(&r->vq));
	assert_false(vq_want_notify(&r->vq, vq_pos(&r->vq)));
	assert_int_equal(*avail_event, 7);
	vq_refuse_notify(&r->vq);
	assert_int_equal(r->used->flags, 0);
}

/* several given back, then one question for all of them */
static void test_event_index_of_batch(void **state)
{
	struct ring *r = *state;
	uint16_t *used_event = &r->avail->ring[SIZE];
	unsigned int i, from;

	r->vq.features.event_idx = true;
	set_desc(&r->desc[0], DATA, 16, 0, 0);
	for (from = 0; from < 0x20000; from += 4) {
		/* one before, each within, one behind the batch of four */
		*used_event = from + from / 4 % 6 - 1;
		for (i = 0; i < 4; i++)
			give_one(r);
		assert_int_equal(vq_should_signal(&r->vq),
				 from / 4 % 6 > 0 && from / 4 % 6 < 5);
		assert_false(vq_should_signal(&r->vq));
	}
}

/* ---- liars ---------------------------------------------------------------- */

static void test_index_jump(void **state)
{
	struct ring *r = *state;

	r->avail->idx = SIZE + 1;
	wants_broken(r);
}

static void test_index_backwards(void **state)
{
	struct ring *r = *state;

	r->avail->idx = 0xffff;
	wants_broken(r);
}

static void test_head_out_of_range(void **state)
{
	struct ring *r = *state;

	offer(r, SIZE);
	wants_broken(r);
}

static void test_next_out_of_range(void **state)
{
	struct ring *r = *state;

	set_desc(&r->desc[0], DATA, 16, VRING_DESC_F_NEXT, 0xffff);
	offer(r, 0);
	wants_broken(r);
}

static void test_loop(void **state)
{
	struct ring *r = *state;

	set_desc(&r->desc[0], DATA, 16, VRING_DESC_F_NEXT, 1);
	set_desc(&r->desc[1], DATA, 16, VRING_DESC_F_NEXT, 0);
	offer(r, 0);
	wants_broken(r);
}

static void test_loop_of_nothing(void **state)
{
	struct ring *r = *state;

	set_desc(&r->desc[0], DATA, 0, VRING_DESC_F_NEXT, 0);
	offer(r, 0);
	wants_broken(r);
}

struct bad_buffer {
	uint64_t addr;
	uint32_t len;
};

static const struct bad_buffer bad_buffers[] = {
	{ RAM_SIZE, 1 },			/* behind the end */
	{ RAM_SIZE - 1, 2 },			/* over the end */
	{ 0, 0xffffffff },			/* 4 GiB */
	{ DATA, 0xffffffff },
	{ ~0ULL, 1 },
	{ ~0ULL - 10, 100 },			/* wraps */
	{ ROM, 16 },				/* not even for reading */
	{ ROM - 8, 16 },
	{ 0xfee00000, 4 },			/* MMIO */
	{ HIGH + RAM_SIZE - 1, 2 },
	{ 0x300000, 1 },			/* hole */
};

static void test_bad_buffers(void **state)
{
	struct ring *r = *state;
	size_t i;

	for (i = 0; i < 2 * sizeof(bad_buffers) / sizeof(bad_buffers[0]); i++) {
		const struct bad_buffer *b = &bad_buffers[i / 2];

		vq_reset(&r->vq);
		program(r, SIZE);
		r->avail->idx = 0;
		assert_true(vq_enable(&r->vq));
		set_desc(&r->desc[0], b->addr, b->len,
			 i % 2 ? VRING_DESC_F_WRITE : 0, 0);
		offer(r, 0);
		wants_broken(r);
	}
}

static void test_read_after_write(void **state)
{
	struct ring *r = *state;

	set_desc(&r->desc[0], DATA, 16, VRING_DESC_F_WRITE | VRING_DESC_F_NEXT, 1);
	set_desc(&r->desc[1], DATA, 16, 0, 0);
	offer(r, 0);
	wants_broken(r);
}

static void test_indirect_without_feature(void **state)
{
	struct ring *r = *state;

	r->vq.features.indirect = false;
	set_desc(&r->desc[0], TABLE, 16, VRING_DESC_F_INDIRECT, 0);
	offer(r, 0);
	wants_broken(r);
}

static void test_indirect_in_indirect(void **state)
{
	struct ring *r = *state;

	set_desc(&r->desc[0], TABLE, 32, VRING_DESC_F_INDIRECT, 0);
	set_desc(&r->table[0], TABLE, 32, VRING_DESC_F_INDIRECT, 0);
	offer(r, 0);
	wants_broken(r);
}

static void test_indirect_with_next(void **state)
{
	struct ring *r = *state;

	set_desc(&r->desc[0], TABLE, 16, VRING_DESC_F_INDIRECT | VRING_DESC_F_NEXT, 1);
	set_desc(&r->desc[1], DATA, 16, 0, 0);
	offer(r, 0);
	wants_broken(r);
}

static const struct bad_buffer bad_tables[] = {
	{ TABLE, 0 },
	{ TABLE, 15 },
	{ TABLE, 0xfffffff0 },
	{ ROM, 16 },
	{ RAM_SIZE - 16, 32 },
	{ ~0ULL - 15, 16 },
};

static void test_bad_tables(void **state)
{
	struct ring *r = *state;
	size_t i;

	set_desc(&r->table[0], DATA, 16, 0, 0);
	for (i = 0; i < sizeof(bad_tables) / sizeof(bad_tables[0]); i++) {
		vq_reset(&r->vq);
		program(r, SIZE);
		r->avail->idx = 0;
		assert_true(vq_enable(&r->vq));
		r->vq.features.indirect = true;
		set_desc(&r->desc[0], bad_tables[i].addr, bad_tables[i].len,
			 VRING_DESC_F_INDIRECT, 0);
		offer(r, 0);
		wants_broken(r);
	}
}

static void test_indirect_loop_and_length(void **state)
{
	struct ring *r = *state;
	unsigned int i;

	/* a table longer than the queue, every entry used: 2.7.5.3.1 */
	for (i = 0; i < 16; i++)
		set_desc(&r->table[i], DATA, 16, i < 15 ? VRING_DESC_F_NEXT : 0,
			 i + 1);
	set_desc(&r->desc[0], TABLE, 16 * 16, VRING_DESC_F_INDIRECT, 0);
	offer(r, 0);
	wants_broken(r);
}

static void test_indirect_next_out_of_table(void **state)
{
	struct ring *r = *state;

	set_desc(&r->table[0], DATA, 16, VRING_DESC_F_NEXT, 1);
	set_desc(&r->desc[0], TABLE, 16, VRING_DESC_F_INDIRECT, 0);
	offer(r, 0);
	wants_broken(r);
}

/* a driver that offers the same buffers again and again without end */
static void test_too_many_in_flight(void **state)
{
	struct ring *r = *state;
	unsigned int i;

	set_desc(&r->desc[0], DATA, 16, 0, 0);
	for (i = 0; i < SIZE; i++) {
		offer(r, 0);
		assert_int_equal(vq_pop(&r->vq, &r->chain), 1);
	}
	offer(r, 0);
	wants_broken(r);
}

static void test_bad_rings(void **state)
{
	static const struct {
		uint16_t size;
		uint64_t desc, avail, used;
	} bad[] = {
		{ 0, DESC, AVAIL, USED },
		{ 3, DESC, AVAIL, USED },
		{ 512, DESC, AVAIL, USED },
		{ 0xffff, DESC, AVAIL, USED },
		{ SIZE, DESC + 8, AVAIL, USED },
		{ SIZE, DESC, AVAIL + 1, USED },
		{ SIZE, DESC, AVAIL, USED + 2 },
		{ SIZE, RAM_SIZE - 16, AVAIL, USED },
		{ SIZE, DESC, ~0ULL - 1, USED },
		{ SIZE, DESC, AVAIL, ROM },
		{ SIZE, ROM, AVAIL, USED },
		{ SIZE, DESC, 0xb8000000, USED },
	};
	struct ring *r = *state;
	size_t i;

	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		vq_reset(&r->vq);
		r->vq.size = bad[i].size;
		r->vq.desc_gpa = bad[i].desc;
		r->vq.avail_gpa = bad[i].avail;
		r->vq.used_gpa = bad[i].used;
		assert_false(vq_enable(&r->vq));
		wants_broken(r);
	}
}

/* ---- snapshots ------------------------------------------------------------ */

static void test_save_load(void **state)
{
	const struct vq_features f = { .indirect = true };
	struct ring *r = *state;
	struct vq_state a, b;
	unsigned int i;

	set_desc(&r->desc[0], DATA, 16, 0, 0);
	for (i = 0; i < 5; i++) {
		offer(r, 0);
		assert_int_equal(vq_pop(&r->vq, &r->chain), 1);
		vq_push(&r->vq, r->chain.head, 0);
	}
	offer(r, 0);
	vq_save(&r->vq, &a);
	vq_reset(&r->vq);
	assert_false(r->vq.enabled);
	assert_true(vq_state_ok(&r->vq, &a, f));
	vq_load(&r->vq, &a, f);
	vq_save(&r->vq, &b);
	assert_memory_equal(&a, &b, sizeof(a));
	assert_int_equal(vq_pop(&r->vq, &r->chain), 1);

	b = a;
	b.desc_gpa = ROM;
	assert_false(vq_state_ok(&r->vq, &b, f));
	b = a;
	b.size = 7;
	assert_false(vq_state_ok(&r->vq, &b, f));
	b = a;
	b.pad[3] = 1;
	assert_false(vq_state_ok(&r->vq, &b, f));
	b = a;
	b.used_idx--;
	assert_false(vq_state_ok(&r->vq, &b, f));
	b = a;
	b.used_wrap = 0;
	assert_false(vq_state_ok(&r->vq, &b, f));
	b = a;
	b.enabled = 2;
	assert_false(vq_state_ok(&r->vq, &b, f));
}

static void test_save_load_broken(void **state)
{
	const struct vq_features f = { .indirect = true };
	struct ring *r = *state;
	struct vq_state a, b;

	r->vq.desc_gpa = ROM;
	r->avail->idx = 100;
	assert_int_equal(vq_pop(&r->vq, &r->chain), -1);
	vq_save(&r->vq, &a);
	assert_true(vq_state_ok(&r->vq, &a, f));
	vq_load(&r->vq, &a, f);
	vq_save(&r->vq, &b);
	assert_memory_equal(&a, &b, sizeof(a));
	assert_int_equal(vq_pop(&r->vq, &r->chain), -1);
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

static void random_desc(struct vring_desc *d, unsigned int range)
{
	static const uint64_t base[] = { DATA, DATA, DATA, HIGH, ROM, TABLE,
					 RAM_SIZE - 64, ~0ULL - 64 };

	d->addr = base[rnd(8)] + rnd(128);
	d->len = rnd(20) ? rnd(256) : rnd(0xffffffff);
	d->flags = rnd(30) ? rnd(2) | (rnd(4) ? 2 : 0) : rnd(8);
	d->next = rnd(30) ? rnd(range) : rnd(0xffff);
}

/* every byte the device may touch: ASan is the judge */
static void use_chain(const struct vq_chain *c)
{
	unsigned int i;

	assert_true(c->nout + c->nin <= SIZE);
	for (i = 0; i < c->nin; i++)
		memset(c->in[i].iov_base, 0x5a, c->in[i].iov_len);
}

static void random_round(struct ring *r)
{
	unsigned int i, n;

	for (i = 0; i < SIZE; i++) {
		random_desc(&r->desc[i], SIZE);
		random_desc(&r->table[i], SIZE);
	}
	if (!rnd(4))
		set_desc(&r->desc[rnd(SIZE)], TABLE, 16 * (1 + rnd(SIZE)),
			 VRING_DESC_F_INDIRECT, 0);
	n = rnd(50) ? rnd(SIZE) : rnd(0xffff);
	for (i = 0; i < n && i < SIZE; i++)
		r->avail->ring[(r->avail->idx + i) % SIZE] =
			rnd(50) ? rnd(SIZE) : rnd(0xffff);
	r->avail->idx += n;
}

static void test_random(void **state)
{
	struct ring *r = *state;
	unsigned int taken = 0, broken = 0, n;
	uint64_t end = now_ms() + 1000;
	int ret;

	while (now_ms() < end) {
		random_round(r);
		for (n = 0; (ret = vq_pop(&r->vq, &r->chain)) > 0; n++) {
			assert_true(n <= SIZE);
			taken++;
			use_chain(&r->chain);
			vq_push(&r->vq, r->chain.head, r->chain.in_len);
		}
		if (ret == 0)
			continue;
		broken++;
		vq_reset(&r->vq);
		program(r, SIZE);
		r->avail->idx = 0;
		vq_enable(&r->vq);
		r->vq.features.indirect = true;
		r->vq.features.event_idx = rnd(2);
	}
	assert_true(taken > 100 && broken > 100);
}

/* ---- marks ---------------------------------------------------------------- */

/* buffers when they are taken, the used ring when it is written, and no more */
static void test_marks(void **state)
{
	struct ring *r = *state;
	struct marks *m = marks_new(r->mem);

	set_desc(&r->desc[0], DATA, 16, VRING_DESC_F_NEXT, 1);
	set_desc(&r->desc[1], DATA + 0x1ff0, 32, VRING_DESC_F_WRITE | VRING_DESC_F_NEXT, 2);
	set_desc(&r->desc[2], HIGH + 0x5000, 1, VRING_DESC_F_WRITE, 0);
	offer(r, 0);
	marks_begin(m);
	assert_int_equal(vq_pop(&r->vq, &r->chain), 1);
	marks_check(m);
	assert_true(marks_has(m, DATA + 0x1000) && marks_has(m, DATA + 0x2000));
	assert_true(marks_has(m, HIGH + 0x5000));
	/* read only, or the driver's */
	assert_false(marks_has(m, DATA) || marks_has(m, DATA + 0x3000));
	assert_false(marks_has(m, DESC) || marks_has(m, AVAIL) || marks_has(m, USED));
	assert_false(marks_has(m, HIGH + 0x4000) || marks_has(m, HIGH + 0x6000));

	vq_stage(&r->vq, r->chain.head, 33);
	vq_publish(&r->vq);
	marks_check(m);
	assert_true(marks_has(m, USED));
	assert_false(marks_has(m, DATA + 0x1000) || marks_has(m, DESC) || marks_has(m, AVAIL));
	vq_refuse_notify(&r->vq);
	marks_check(m);
	assert_true(marks_has(m, USED));
	vq_want_notify(&r->vq, vq_pos(&r->vq));
	marks_check(m);
	assert_true(marks_has(m, USED));
	/* what is broken is not written to */
	r->avail->idx = 0x8000;
	wants_broken(r);
	marks_begin(m);
	vq_push(&r->vq, r->chain.head, 0);
	vq_refuse_notify(&r->vq);
	marks_check(m);
	assert_false(marks_has(m, USED));
	marks_free(m);
}

/* whatever the driver says */
static void test_all_is_marked(void **state)
{
	struct ring *r = *state;
	struct marks *m = marks_new(r->mem);
	unsigned int round, n;
	int ret;

	for (round = 0; round < 300; round++) {
		random_round(r);
		marks_begin(m);
		for (n = 0; (ret = vq_pop(&r->vq, &r->chain)) > 0 && n <= SIZE; n++) {
			use_chain(&r->chain);
			vq_push(&r->vq, r->chain.head, r->chain.in_len);
			vq_want_notify(&r->vq, vq_pos(&r->vq));
			if (!rnd(4))
				vq_refuse_notify(&r->vq);
		}
		marks_check(m);
		if (ret >= 0)
			continue;
		vq_reset(&r->vq);
		program(r, SIZE);
		r->avail->idx = 0;
		vq_enable(&r->vq);
		r->vq.features.indirect = true;
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
		((volatile uint16_t *)r->avail->ring)[(x >> 16) % SIZE] = (x >> 44) % SIZE;
	}
	return NULL;
}

/* memory that changes while it is read: a second vCPU */
static void test_scribbler(void **state)
{
	struct ring *r = *state;
	uint64_t end = now_ms() + 700;
	pthread_t thread;

	scribbling = 1;
	pthread_create(&thread, NULL, scribble, r);
	while (now_ms() < end) {
		vq_reset(&r->vq);
		program(r, SIZE);
		r->avail->idx = 0;
		vq_enable(&r->vq);
		r->vq.features.indirect = true;
		set_desc(&r->desc[0], DATA, 64, VRING_DESC_F_WRITE | VRING_DESC_F_NEXT, 1);
		set_desc(&r->desc[1], TABLE, SIZE * 16, VRING_DESC_F_INDIRECT, 0);
		set_desc(&r->table[0], DATA, 64, VRING_DESC_F_WRITE, 0);
		r->avail->idx = SIZE;
		while (vq_pop(&r->vq, &r->chain) > 0) {
			use_chain(&r->chain);
			vq_push(&r->vq, r->chain.head, 0);
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
		T(test_index_wraps),
		T(test_rewind_and_stage),
		T(test_empty_descriptors),
		T(test_signal_flag),
		T(test_event_index),
		T(test_event_index_of_batch),
		T(test_index_jump),
		T(test_index_backwards),
		T(test_head_out_of_range),
		T(test_next_out_of_range),
		T(test_loop),
		T(test_loop_of_nothing),
		T(test_bad_buffers),
		T(test_read_after_write),
		T(test_indirect_without_feature),
		T(test_indirect_in_indirect),
		T(test_indirect_with_next),
		T(test_bad_tables),
		T(test_indirect_loop_and_length),
		T(test_indirect_next_out_of_table),
		T(test_too_many_in_flight),
		T(test_bad_rings),
		T(test_save_load),
		T(test_save_load_broken),
		T(test_random),
		T(test_marks),
		T(test_all_is_marked),
		T(test_scribbler),
	};

	return cmocka_run_group_tests_name("virtqueue", tests, NULL, NULL);
}
