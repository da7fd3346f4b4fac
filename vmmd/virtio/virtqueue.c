// SPDX-License-Identifier: GPL-2.0
/*
 * A split virtqueue, the device's side (virtio 1.2, 2.7).
 *
 * Bounds: a chain has at most `size` descriptors with all its indirect ones
 * (2.7.5: "a driver MUST NOT create a descriptor chain longer than the Queue
 * Size"), so a loop ends there; at most `size` chains are in flight.
 */
#include <assert.h>
#include <linux/virtio_ring.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "mem.h"
#include "virtio/virtqueue.h"

static_assert(sizeof(struct vq_state) == 40, "vq_state is a file format");

__attribute__((format(printf, 2, 3)))
static int vq_fail(struct virtqueue *vq, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(vq->error, sizeof(vq->error), fmt, ap);
	va_end(ap);
	vq->broken = true;
	return -1;
}

void vq_init(struct virtqueue *vq, struct mem *mem, uint16_t size_max)
{
	memset(vq, 0, sizeof(*vq));
	vq->mem = mem;
	vq->size_max = size_max;
	vq->size = size_max;
}

void vq_reset(struct virtqueue *vq)
{
	vq_init(vq, vq->mem, vq->size_max);
}

/* 2.7: sizes and alignments of the three parts */
static bool vq_find_rings(struct virtqueue *vq)
{
	uint64_t n = vq->size;

	if (!n || n > vq->size_max || (n & (n - 1))) {
		vq_fail(vq, "queue size %u is no power of two up to %u",
			vq->size, vq->size_max);
		return false;
	}
	if (vq->desc_gpa % 16 || vq->avail_gpa % 2 || vq->used_gpa % 4) {
		vq_fail(vq, "a ring is not aligned");
		return false;
	}
	vq->desc = mem_ptr(vq->mem, vq->desc_gpa, n * sizeof(*vq->desc));
	vq->avail = mem_ptr(vq->mem, vq->avail_gpa, 6 + n * 2);
	vq->used = mem_ptr(vq->mem, vq->used_gpa,
			   6 + n * sizeof(struct vring_used_elem));
	if (!vq->desc || !vq->avail || !vq->used) {
		vq_fail(vq, "a ring is not in RAM");
		return false;
	}
	return true;
}

bool vq_enable(struct virtqueue *vq)
{
	vq->enabled = true;
	return vq_find_rings(vq);
}

/* ---- chains --------------------------------------------------------------- */

/*
 * Copy of a descriptor. The barrier keeps the compiler from reading guest
 * memory a second time after the copy was checked.
 */
static struct vring_desc desc_read(const void *from)
{
	struct vring_desc d;

	memcpy(&d, from, sizeof(d));
	__asm__ volatile("" ::: "memory");
	return d;
}

static int chain_add(struct virtqueue *vq, struct vq_chain *c,
		     const struct vring_desc *d)
{
	struct iovec *iov = &c->iov[c->nout + c->nin];
	bool write = d->flags & VRING_DESC_F_WRITE;

	/* 2.7.4.2: readable descriptors come first */
	if (c->nin && !write)
		return vq_fail(vq, "readable descriptor after a writable one");
	/* an empty piece has no address */
	if (!d->len)
		return 0;
	iov->iov_base = mem_ptr(vq->mem, d->addr, d->len);
	iov->iov_len = d->len;
	if (!iov->iov_base)
		return vq_fail(vq, "buffer 0x%llx of 0x%x bytes is not in RAM",
			       (unsigned long long)d->addr, d->len);
	if (write) {
		c->nin++;
		c->in_len += d->len;
	} else {
		c->nout++;
		c->out_len += d->len;
	}
	return 0;
}

/* walk a table of `n` descriptors from `i` on; *left bounds the whole chain */
static int chain_walk(struct virtqueue *vq, struct vq_chain *c,
		      const uint8_t *table, uint32_t n, uint32_t i,
		      unsigned int *left, struct vring_desc *indirect)
{
	struct vring_desc d;

	do {
		if (i >= n)
			return vq_fail(vq, "descriptor %u of %u", i, n);
		if (!*left)
			return vq_fail(vq, "chain longer than the queue");
		--*left;
		d = desc_read(table + (uint64_t)i * sizeof(d));
		if (d.flags & VRING_DESC_F_INDIRECT) {
			/* 2.7.5.3.1: not nested, and the last of its chain */
			if (!indirect || (d.flags & VRING_DESC_F_NEXT))
				return vq_fail(vq, "misplaced indirect descriptor");
			*indirect = d;
			return 1;
		}
		if (chain_add(vq, c, &d))
			return -1;
		i = d.next;
	} while (d.flags & VRING_DESC_F_NEXT);
	return 0;
}

static int chain_walk_indirect(struct virtqueue *vq, struct vq_chain *c,
			       const struct vring_desc *d, unsigned int *left)
{
	const uint8_t *table;

	if (!vq->indirect)
		return vq_fail(vq, "indirect descriptor without the feature");
	if (!d->len || d->len % sizeof(*d))
		return vq_fail(vq, "indirect table of 0x%x bytes", d->len);
	table = mem_ptr(vq->mem, d->addr, d->len);
	if (!table)
		return vq_fail(vq, "indirect table 0x%llx is not in RAM",
			       (unsigned long long)d->addr);
	/* the descriptor that points to the table holds no buffer */
	++*left;
	return chain_walk(vq, c, table, d->len / sizeof(*d), 0, left, NULL);
}

static int chain_read(struct virtqueue *vq, struct vq_chain *c, uint16_t head)
{
	struct vring_desc indirect;
	unsigned int left = vq->size;
	int ret;

	c->head = head;
	c->nout = 0;
	c->nin = 0;
	c->out_len = 0;
	c->in_len = 0;
	ret = chain_walk(vq, c, (const uint8_t *)vq->desc, vq->size, head,
			 &left, &indirect);
	if (ret > 0)
		ret = chain_walk_indirect(vq, c, &indirect, &left);
	c->out = c->iov;
	c->in = c->iov + c->nout;
	return ret;
}

int vq_pop(struct virtqueue *vq, struct vq_chain *chain)
{
	uint16_t avail, head;

	if (vq->broken || !vq->enabled)
		return vq->broken ? -1 : 0;
	/* acquire: the entry is read after the index that covers it */
	avail = __atomic_load_n(&vq->avail->idx, __ATOMIC_ACQUIRE);
	if (avail == vq->last_avail)
		return 0;
	if ((uint16_t)(avail - vq->last_avail) > vq->size)
		return vq_fail(vq, "available index jumped from %u to %u",
			       vq->last_avail, avail);
	if (vq->in_flight >= vq->size)
		return vq_fail(vq, "more chains in flight than descriptors");
	head = __atomic_load_n(&vq->avail->ring[vq->last_avail & (vq->size - 1)],
			       __ATOMIC_RELAXED);
	if (chain_read(vq, chain, head))
		return -1;
	vq->last_avail++;
	vq->in_flight++;
	return 1;
}

void vq_unpop(struct virtqueue *vq, uint16_t n)
{
	vq->last_avail -= n;
	vq->in_flight -= n;
}

/* ---- giving back ---------------------------------------------------------- */

void vq_stage(struct virtqueue *vq, uint16_t nth, uint16_t head, uint32_t len)
{
	uint16_t slot = (vq->used_idx + nth) & (vq->size - 1);

	if (vq->broken)
		return;
	vq->used->ring[slot].id = head;
	vq->used->ring[slot].len = len;
}

void vq_publish(struct virtqueue *vq, uint16_t n)
{
	vq->in_flight -= n;
	if (vq->broken)
		return;
	vq->used_idx += n;
	vq->pushed = true;
	/* release: the entries and the buffers are there before the index */
	__atomic_store_n(&vq->used->idx, vq->used_idx, __ATOMIC_RELEASE);
}

void vq_push(struct virtqueue *vq, uint16_t head, uint32_t len)
{
	vq_stage(vq, 0, head, len);
	vq_publish(vq, 1);
}

/* ---- notifications, 2.7.7 and 2.7.10 ------------------------------------- */

/* the two event indices sit behind the rings' last entries */
static uint16_t *vq_used_event(struct virtqueue *vq)
{
	return &vq->avail->ring[vq->size];
}

static uint16_t *vq_avail_event(struct virtqueue *vq)
{
	return (uint16_t *)&vq->used->ring[vq->size];
}

bool vq_should_signal(struct virtqueue *vq)
{
	uint16_t old = vq->signalled, event;
	bool valid = vq->signalled_valid;

	if (vq->broken || !vq->pushed)
		return false;
	vq->pushed = false;
	/* the used index must be seen before the driver's wish is read */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (!vq->event_idx)
		return !(__atomic_load_n(&vq->avail->flags, __ATOMIC_RELAXED) &
			 VRING_AVAIL_F_NO_INTERRUPT);
	vq->signalled = vq->used_idx;
	vq->signalled_valid = true;
	event = __atomic_load_n(vq_used_event(vq), __ATOMIC_RELAXED);
	return !valid || vring_need_event(event, vq->used_idx, old);
}

bool vq_want_notify(struct virtqueue *vq, uint16_t seen)
{
	if (vq->broken || !vq->enabled)
		return false;
	if (vq->event_idx)
		__atomic_store_n(vq_avail_event(vq), seen, __ATOMIC_RELAXED);
	else
		__atomic_store_n(&vq->used->flags, 0, __ATOMIC_RELAXED);
	/* the wish must be seen before the index is read again */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	return __atomic_load_n(&vq->avail->idx, __ATOMIC_RELAXED) != seen;
}

void vq_refuse_notify(struct virtqueue *vq)
{
	/* with event indices an old index is refusal enough */
	if (vq->broken || !vq->enabled || vq->event_idx)
		return;
	__atomic_store_n(&vq->used->flags, VRING_USED_F_NO_NOTIFY,
			 __ATOMIC_RELAXED);
}

/* ---- snapshots ------------------------------------------------------------ */

void vq_save(const struct virtqueue *vq, struct vq_state *st)
{
	*st = (struct vq_state){
		.desc_gpa = vq->desc_gpa,
		.avail_gpa = vq->avail_gpa,
		.used_gpa = vq->used_gpa,
		.size = vq->size,
		.last_avail = vq->last_avail,
		.used_idx = vq->used_idx,
		.signalled = vq->signalled,
		.enabled = vq->enabled,
		.signalled_valid = vq->signalled_valid,
		.broken = vq->broken,
	};
}

static void vq_set(struct virtqueue *vq, const struct vq_state *st)
{
	vq->desc_gpa = st->desc_gpa;
	vq->avail_gpa = st->avail_gpa;
	vq->used_gpa = st->used_gpa;
	vq->size = st->size;
	vq->last_avail = st->last_avail;
	vq->used_idx = st->used_idx;
	vq->signalled = st->signalled;
	vq->signalled_valid = st->signalled_valid;
	vq->enabled = st->enabled;
}

bool vq_state_ok(const struct virtqueue *vq, const struct vq_state *st)
{
	static const uint8_t zero[sizeof(st->pad)];
	struct virtqueue probe;

	if (st->enabled > 1 || st->signalled_valid > 1 || st->broken > 1 ||
	    memcmp(st->pad, zero, sizeof(zero)))
		return false;
	/* a broken queue may well be one whose rings are nowhere */
	if (!st->enabled || st->broken)
		return st->size && st->size <= vq->size_max;
	vq_init(&probe, vq->mem, vq->size_max);
	vq_set(&probe, st);
	return vq_find_rings(&probe);
}

void vq_load(struct virtqueue *vq, const struct vq_state *st)
{
	vq_reset(vq);
	vq_set(vq, st);
	if (st->broken)
		vq_fail(vq, "broken before the snapshot");
	else if (st->enabled)
		vq_find_rings(vq);
}
