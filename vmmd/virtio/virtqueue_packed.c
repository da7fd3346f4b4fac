// SPDX-License-Identifier: GPL-2.0
/*
 * The packed ring (virtio 1.2, 2.8): one ring of descriptors that driver and
 * device write in turn. Whose a descriptor is say two of its bits, compared
 * with a counter that flips each time the ring was gone round.
 *
 * A chain lies in consecutive entries, so it cannot loop, but it can run into
 * what is in flight: it may take only what is left of the ring.
 */
#include <linux/virtio_ring.h>
#include <string.h>

#include "mem.h"
#include "virtio/virtqueue_priv.h"

#define F_AVAIL		(1U << VRING_PACKED_DESC_F_AVAIL)
#define F_USED		(1U << VRING_PACKED_DESC_F_USED)
#define EVENT_WRAP	(1U << VRING_PACKED_EVENT_F_WRAP_CTR)

/* 2.8.10.1: any size, and alignments of the three parts */
static bool packed_find(struct virtqueue *vq)
{
	if (!vq->size || vq->size > vq->size_max) {
		vq_fail(vq, "queue size %u is not within 1 to %u", vq->size,
			vq->size_max);
		return false;
	}
	if (vq->desc_gpa % 16 || vq->avail_gpa % 4 || vq->used_gpa % 4) {
		vq_fail(vq, "a ring is not aligned");
		return false;
	}
	vq->packed = mem_ptr(vq->mem, vq->desc_gpa,
			     vq->size * sizeof(*vq->packed));
	vq->driver_event = mem_ptr(vq->mem, vq->avail_gpa,
				   sizeof(*vq->driver_event));
	vq->device_event = mem_ptr(vq->mem, vq->used_gpa,
				   sizeof(*vq->device_event));
	if (!vq->packed || !vq->driver_event || !vq->device_event) {
		vq_fail(vq, "a ring is not in RAM");
		return false;
	}
	return true;
}

/* n entries further; at most once round */
static void advance(const struct virtqueue *vq, uint16_t *at, bool *wrap,
		    uint16_t n)
{
	*at += n;
	if (*at >= vq->size) {
		*at -= vq->size;
		*wrap = !*wrap;
	}
}

/* ---- chains --------------------------------------------------------------- */

/* 2.8.1: available is what differs from used, and has the driver's wrap */
static bool is_available(const struct virtqueue *vq, uint16_t at, bool wrap,
			 int order)
{
	uint16_t flags = __atomic_load_n(&vq->packed[at].flags, order);

	return !!(flags & F_AVAIL) == wrap && !!(flags & F_USED) != wrap;
}

/* see desc_read of the split ring */
static struct vring_packed_desc desc_read(const void *from)
{
	struct vring_packed_desc d;

	memcpy(&d, from, sizeof(d));
	__asm__ volatile("" ::: "memory");
	return d;
}

/* 2.8.7: all entries of a table, in order; their only flag is WRITE */
static int chain_walk_indirect(struct virtqueue *vq, struct vq_chain *c,
			       const struct vring_packed_desc *indirect)
{
	const uint8_t *table = vq_indirect_table(vq, indirect->addr,
						 indirect->len);
	struct vring_packed_desc d;
	unsigned int i, n = indirect->len / sizeof(d);

	if (!table)
		return -1;
	if (n > vq->size)
		return vq_fail(vq, "indirect table of %u for a queue of %u", n,
			       vq->size);
	for (i = 0; i < n; i++) {
		d = desc_read(table + i * sizeof(d));
		/* 2.8.19: a driver must not; the other flags mean nothing */
		if (d.flags & VRING_DESC_F_INDIRECT)
			return vq_fail(vq, "indirect descriptor in a table of such");
		if (vq_chain_add(vq, c, d.addr, d.len,
				 d.flags & VRING_DESC_F_WRITE))
			return -1;
	}
	return 0;
}

static int chain_read(struct virtqueue *vq, struct vq_chain *c)
{
	uint16_t at = vq->last_avail, left = vq->size - vq->in_flight;
	struct vring_packed_desc d;
	bool wrap = vq->avail_wrap;

	c->head.slots = 0;
	do {
		if (c->head.slots == left)
			return vq_fail(vq, "chain runs into what is in flight");
		d = desc_read(&vq->packed[at]);
		c->head.slots++;
		advance(vq, &at, &wrap, 1);
		if (d.flags & VRING_DESC_F_INDIRECT) {
			/* 2.8.19: alone in its chain */
			if (c->head.slots > 1 || (d.flags & VRING_DESC_F_NEXT))
				return vq_fail(vq, "misplaced indirect descriptor");
			if (chain_walk_indirect(vq, c, &d))
				return -1;
		} else if (vq_chain_add(vq, c, d.addr, d.len,
					d.flags & VRING_DESC_F_WRITE)) {
			return -1;
		}
	} while (d.flags & VRING_DESC_F_NEXT);
	/* 2.8.6: the last one has the ID */
	c->head.id = d.id;
	return 0;
}

static int packed_pop(struct virtqueue *vq, struct vq_chain *c)
{
	/* acquire: the rest of the chain was written before its first flags */
	if (!is_available(vq, vq->last_avail, vq->avail_wrap, __ATOMIC_ACQUIRE))
		return 0;
	vq_chain_start(c);
	if (chain_read(vq, c))
		return -1;
	vq_chain_end(c);
	advance(vq, &vq->last_avail, &vq->avail_wrap, c->head.slots);
	vq->in_flight += c->head.slots;
	return 1;
}

/* ---- giving back ---------------------------------------------------------- */

/* 2.8.3, 2.8.4: a length counts only with WRITE */
static void packed_stage(struct virtqueue *vq, struct vq_head head, uint32_t len)
{
	uint16_t at = vq->used_idx, flags = len ? VRING_DESC_F_WRITE : 0;
	bool wrap = vq->used_wrap;

	advance(vq, &at, &wrap, vq->staged_slots);
	if (wrap)
		flags |= F_AVAIL | F_USED;
	vq->packed[at].id = head.id;
	vq->packed[at].len = len;
	/* the driver reads in order: it meets the first one first */
	if (vq->staged)
		__atomic_store_n(&vq->packed[at].flags, flags, __ATOMIC_RELAXED);
	else
		vq->staged_flags = flags;
}

static void packed_publish(struct virtqueue *vq)
{
	if (!vq->staged)
		return;
	/* release: the buffers and the other entries are there before it */
	__atomic_store_n(&vq->packed[vq->used_idx].flags, vq->staged_flags,
			 __ATOMIC_RELEASE);
	advance(vq, &vq->used_idx, &vq->used_wrap, vq->staged_slots);
}

/* ---- notifications, 2.8.10 ------------------------------------------------ */

static bool packed_should_signal(const struct virtqueue *vq)
{
	struct vring_packed_desc_event e;
	uint16_t event;
	uint32_t both;

	/* one read: its two halves belong together */
	both = __atomic_load_n((const uint32_t *)vq->driver_event,
			       __ATOMIC_RELAXED);
	memcpy(&e, &both, sizeof(e));
	if (!vq->features.event_idx || e.flags != VRING_PACKED_EVENT_FLAG_DESC)
		return e.flags != VRING_PACKED_EVENT_FLAG_DISABLE;
	/* the same place on the round before lies one ring behind */
	event = e.off_wrap & ~EVENT_WRAP;
	if (!!(e.off_wrap & EVENT_WRAP) != vq->used_wrap)
		event -= vq->size;
	return vring_need_event(event, vq->used_idx,
				vq->used_idx - vq->unsignalled);
}

static void packed_ask_notify(struct virtqueue *vq, struct vq_pos seen)
{
	uint16_t flags = VRING_PACKED_EVENT_FLAG_ENABLE;

	if (vq->features.event_idx) {
		flags = VRING_PACKED_EVENT_FLAG_DESC;
		__atomic_store_n(&vq->device_event->off_wrap,
				 seen.avail | (seen.wrap ? EVENT_WRAP : 0),
				 __ATOMIC_RELAXED);
	}
	/* release: the driver does not look at a place that is not there yet */
	__atomic_store_n(&vq->device_event->flags, flags, __ATOMIC_RELEASE);
}

static bool packed_gone_on(const struct virtqueue *vq, struct vq_pos seen)
{
	return is_available(vq, seen.avail, seen.wrap, __ATOMIC_RELAXED);
}

static void packed_refuse_notify(struct virtqueue *vq)
{
	__atomic_store_n(&vq->device_event->flags,
			 VRING_PACKED_EVENT_FLAG_DISABLE, __ATOMIC_RELAXED);
}

/* as many were given back as were taken: both are at the same place */
static bool packed_indices_ok(const struct vq_state *st)
{
	return st->last_avail < st->size && st->used_idx == st->last_avail &&
	       st->used_wrap == st->avail_wrap;
}

const struct vq_ring vq_packed = {
	.find = packed_find,
	.pop = packed_pop,
	.stage = packed_stage,
	.publish = packed_publish,
	.should_signal = packed_should_signal,
	.gone_on = packed_gone_on,
	.ask_notify = packed_ask_notify,
	.refuse_notify = packed_refuse_notify,
	.indices_ok = packed_indices_ok,
};
