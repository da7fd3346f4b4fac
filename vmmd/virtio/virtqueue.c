// SPDX-License-Identifier: GPL-2.0
/*
 * What split and packed virtqueues share: chains as host memory, when to
 * signal, snapshots.
 *
 * Bounds: a chain has at most `size` descriptors with all its indirect ones
 * (virtio 1.2, 2.7.5 and 2.8.17: none longer than the queue), so a loop
 * ends there; at most `size` entries of the ring are in flight.
 */
#include <assert.h>
#include <linux/virtio_ring.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "mem.h"
#include "ring.h"
#include "virtio/virtqueue_priv.h"

#define DESC_SIZE	16U

static_assert(sizeof(struct vring_desc) == DESC_SIZE &&
	      sizeof(struct vring_packed_desc) == DESC_SIZE,
	      "tables of both are counted alike");
static_assert(sizeof(struct vq_state) == 40, "vq_state is a file format");

int vq_fail(struct virtqueue *vq, const char *fmt, ...)
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
	/* 2.8.1: both wrap counters start at 1 */
	vq->avail_wrap = true;
	vq->used_wrap = true;
}

void vq_reset(struct virtqueue *vq)
{
	vq_init(vq, vq->mem, vq->size_max);
}

static bool vq_find_ring(struct virtqueue *vq)
{
	vq->ring = vq->features.packed ? &vq_packed : &vq_split;
	return vq->ring->find(vq);
}

bool vq_enable(struct virtqueue *vq)
{
	vq->enabled = true;
	return vq_find_ring(vq);
}

bool vq_set_features(struct virtqueue *vq, struct vq_features features)
{
	vq->features = features;
	return !vq->enabled || vq->broken || vq_find_ring(vq);
}

static bool vq_usable(const struct virtqueue *vq)
{
	return vq->enabled && !vq->broken && !vq->lent;
}

/* ---- chains --------------------------------------------------------------- */

void vq_chain_start(struct vq_chain *c)
{
	c->nout = 0;
	c->nin = 0;
	c->out_len = 0;
	c->in_len = 0;
}

int vq_chain_add(struct virtqueue *vq, struct vq_chain *c, uint64_t addr,
		 uint32_t len, bool write)
{
	struct iovec *iov = &c->iov[c->nout + c->nin];

	/* 2.7.4.2, 2.8.17: readable descriptors come first */
	if (c->nin && !write)
		return vq_fail(vq, "readable descriptor after a writable one");
	/* an empty piece has no address */
	if (!len)
		return 0;
	iov->iov_base = mem_ptr(vq->mem, addr, len);
	iov->iov_len = len;
	if (!iov->iov_base)
		return vq_fail(vq, "buffer 0x%llx of 0x%x bytes is not in RAM",
			       (unsigned long long)addr, len);
	if (write) {
		/* those that stay out are marked again at each harvest */
		mem_wrote(vq->mem, addr, len);
		c->nin++;
		c->in_len += len;
	} else {
		c->nout++;
		c->out_len += len;
	}
	return 0;
}

void vq_chain_end(struct vq_chain *c)
{
	c->out = c->iov;
	c->in = c->iov + c->nout;
}

const uint8_t *vq_indirect_table(struct virtqueue *vq, uint64_t addr,
				 uint32_t len)
{
	const uint8_t *table;

	if (!vq->features.indirect) {
		vq_fail(vq, "indirect descriptor without the feature");
		return NULL;
	}
	if (!len || len % DESC_SIZE) {
		vq_fail(vq, "indirect table of 0x%x bytes", len);
		return NULL;
	}
	table = mem_ptr(vq->mem, addr, len);
	if (!table)
		vq_fail(vq, "indirect table 0x%llx is not in RAM",
			(unsigned long long)addr);
	return table;
}

int vq_pop(struct virtqueue *vq, struct vq_chain *chain)
{
	if (!vq_usable(vq))
		return vq->broken ? -1 : 0;
	return vq->ring->pop(vq, chain);
}

struct vq_pos vq_pos(const struct virtqueue *vq)
{
	return (struct vq_pos){ vq->last_avail, vq->in_flight, vq->avail_wrap };
}

void vq_rewind(struct virtqueue *vq, struct vq_pos pos)
{
	vq->last_avail = pos.avail;
	vq->in_flight = pos.in_flight;
	vq->avail_wrap = pos.wrap;
}

/* ---- giving back ---------------------------------------------------------- */

/* the parts of the ring that are the device's */
static void vq_wrote_ring(struct virtqueue *vq)
{
	uint64_t n = vq->size;

	if (vq->features.packed) {
		mem_wrote(vq->mem, vq->desc_gpa, n * DESC_SIZE);
		mem_wrote(vq->mem, vq->used_gpa,
			  sizeof(struct vring_packed_desc_event));
	} else {
		mem_wrote(vq->mem, vq->used_gpa,
			  6 + n * sizeof(struct vring_used_elem));
	}
}

void vq_stage(struct virtqueue *vq, struct vq_head head, uint32_t len)
{
	if (!vq->broken)
		vq->ring->stage(vq, head, len);
	vq->staged++;
	vq->staged_slots += head.slots;
}

void vq_publish(struct virtqueue *vq)
{
	if (!vq->broken) {
		vq->ring->publish(vq);
		vq_wrote_ring(vq);
	}
	vq->in_flight -= vq->staged_slots;
	vq->unsignalled += vq->staged_slots;
	vq->staged = 0;
	vq->staged_slots = 0;
}

void vq_push(struct virtqueue *vq, struct vq_head head, uint32_t len)
{
	vq_stage(vq, head, len);
	vq_publish(vq);
}

/* ---- notifications, 2.7.7, 2.7.10 and 2.8.10 ------------------------------ */

bool vq_should_signal(struct virtqueue *vq)
{
	bool ret;

	if (!vq_usable(vq) || !vq->unsignalled)
		return false;
	/* what was given back must be seen before the driver's wish is read */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	ret = vq->ring->should_signal(vq);
	vq->unsignalled = 0;
	return ret;
}

bool vq_want_notify(struct virtqueue *vq, struct vq_pos seen)
{
	if (!vq_usable(vq))
		return false;
	vq->ring->ask_notify(vq, seen);
	vq_wrote_ring(vq);
	/* the wish must be seen before the ring is looked at again */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	return vq->ring->gone_on(vq, seen);
}

void vq_refuse_notify(struct virtqueue *vq)
{
	if (!vq_usable(vq))
		return;
	vq->ring->refuse_notify(vq);
	vq_wrote_ring(vq);
}

/* ---- loans --------------------------------------------------------------- */

bool vq_lend(struct virtqueue *vq, struct ring_loan *loan)
{
	if (!vq_usable(vq) || vq->features.packed || vq->in_flight)
		return false;
	loan->desc = vq->desc;
	loan->avail = vq->avail;
	loan->used = vq->used;
	loan->used_gpa = vq->used_gpa;
	loan->size = vq->size;
	loan->next = vq->last_avail;
	vq->lent = true;
	return true;
}

void vq_return(struct virtqueue *vq, uint16_t next)
{
	vq->lent = false;
	vq->last_avail = next;
	vq->used_idx = next;
	vq->unsignalled = 0;
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
		.unsignalled = vq->unsignalled,
		.enabled = vq->enabled,
		.broken = vq->broken,
		.avail_wrap = vq->avail_wrap,
		.used_wrap = vq->used_wrap,
	};
}

static void vq_set(struct virtqueue *vq, const struct vq_state *st,
		   struct vq_features features)
{
	vq->features = features;
	vq->desc_gpa = st->desc_gpa;
	vq->avail_gpa = st->avail_gpa;
	vq->used_gpa = st->used_gpa;
	vq->size = st->size;
	vq->last_avail = st->last_avail;
	vq->used_idx = st->used_idx;
	vq->unsignalled = st->unsignalled;
	vq->enabled = st->enabled;
	vq->avail_wrap = st->avail_wrap;
	vq->used_wrap = st->used_wrap;
}

bool vq_state_ok(const struct virtqueue *vq, const struct vq_state *st,
		 struct vq_features features)
{
	static const uint8_t zero[sizeof(st->pad)];
	struct virtqueue probe;

	if (st->enabled > 1 || st->broken > 1 || st->avail_wrap > 1 ||
	    st->used_wrap > 1 || memcmp(st->pad, zero, sizeof(zero)))
		return false;
	/* a broken queue may well be one whose rings are nowhere */
	if (!st->enabled || st->broken)
		return st->size && st->size <= vq->size_max;
	vq_init(&probe, vq->mem, vq->size_max);
	vq_set(&probe, st, features);
	return vq_find_ring(&probe) && probe.ring->indices_ok(st);
}

void vq_load(struct virtqueue *vq, const struct vq_state *st,
	     struct vq_features features)
{
	vq_reset(vq);
	vq_set(vq, st, features);
	if (st->broken)
		vq_fail(vq, "broken before the snapshot");
	else if (st->enabled)
		vq_find_ring(vq);
}
