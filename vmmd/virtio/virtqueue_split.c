// SPDX-License-Identifier: GPL-2.0
/*
 * The split ring (virtio 1.2, 2.7): a table of descriptors, a ring of heads
 * from the driver, a ring of heads from the device.
 */
#include <linux/virtio_ring.h>
#include <string.h>

#include "mem.h"
#include "virtio/virtqueue_priv.h"

/* 2.7: sizes and alignments of the three parts */
static bool split_find(struct virtqueue *vq)
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
		if (vq_chain_add(vq, c, d.addr, d.len,
				 d.flags & VRING_DESC_F_WRITE))
			return -1;
		i = d.next;
	} while (d.flags & VRING_DESC_F_NEXT);
	return 0;
}

static int chain_walk_indirect(struct virtqueue *vq, struct vq_chain *c,
			       const struct vring_desc *d, unsigned int *left)
{
	const uint8_t *table = vq_indirect_table(vq, d->addr, d->len);

	if (!table)
		return -1;
	/* the descriptor that points to the table holds no buffer */
	++*left;
	return chain_walk(vq, c, table, d->len / sizeof(*d), 0, left, NULL);
}

static int chain_read(struct virtqueue *vq, struct vq_chain *c, uint16_t head)
{
	struct vring_desc indirect;
	unsigned int left = vq->size;
	int ret;

	c->head = (struct vq_head){ head, 1 };
	vq_chain_start(c);
	ret = chain_walk(vq, c, (const uint8_t *)vq->desc, vq->size, head,
			 &left, &indirect);
	if (ret > 0)
		ret = chain_walk_indirect(vq, c, &indirect, &left);
	vq_chain_end(c);
	return ret;
}

static int split_pop(struct virtqueue *vq, struct vq_chain *c)
{
	uint16_t avail, head;

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
	if (chain_read(vq, c, head))
		return -1;
	vq->last_avail++;
	vq->in_flight++;
	return 1;
}

/* ---- giving back ---------------------------------------------------------- */

static void split_stage(struct virtqueue *vq, struct vq_head head, uint32_t len)
{
	uint16_t slot = (vq->used_idx + vq->staged) & (vq->size - 1);

	vq->used->ring[slot].id = head.id;
	vq->used->ring[slot].len = len;
}

static void split_publish(struct virtqueue *vq)
{
	vq->used_idx += vq->staged;
	/* release: the entries and the buffers are there before the index */
	__atomic_store_n(&vq->used->idx, vq->used_idx, __ATOMIC_RELEASE);
}

/* ---- notifications, 2.7.7 and 2.7.10 -------------------------------------- */

/* the two event indices sit behind the rings' last entries */
static const uint16_t *used_event(const struct virtqueue *vq)
{
	return &vq->avail->ring[vq->size];
}

static uint16_t *avail_event(struct virtqueue *vq)
{
	return (uint16_t *)&vq->used->ring[vq->size];
}

static bool split_should_signal(const struct virtqueue *vq)
{
	if (!vq->features.event_idx)
		return !(__atomic_load_n(&vq->avail->flags, __ATOMIC_RELAXED) &
			 VRING_AVAIL_F_NO_INTERRUPT);
	return vring_need_event(__atomic_load_n(used_event(vq), __ATOMIC_RELAXED),
				vq->used_idx, vq->used_idx - vq->unsignalled);
}

static void split_ask_notify(struct virtqueue *vq, struct vq_pos seen)
{
	if (vq->features.event_idx)
		__atomic_store_n(avail_event(vq), seen.avail, __ATOMIC_RELAXED);
	else
		__atomic_store_n(&vq->used->flags, 0, __ATOMIC_RELAXED);
}

static bool split_gone_on(const struct virtqueue *vq, struct vq_pos seen)
{
	return __atomic_load_n(&vq->avail->idx, __ATOMIC_RELAXED) != seen.avail;
}

static void split_refuse_notify(struct virtqueue *vq)
{
	/* with event indices an old index is refusal enough */
	if (!vq->features.event_idx)
		__atomic_store_n(&vq->used->flags, VRING_USED_F_NO_NOTIFY,
				 __ATOMIC_RELAXED);
}

/* as many were given back as were taken; they know of no wrap */
static bool split_indices_ok(const struct vq_state *st)
{
	return st->last_avail == st->used_idx && st->avail_wrap && st->used_wrap;
}

const struct vq_ring vq_split = {
	.find = split_find,
	.pop = split_pop,
	.stage = split_stage,
	.publish = split_publish,
	.should_signal = split_should_signal,
	.gone_on = split_gone_on,
	.ask_notify = split_ask_notify,
	.refuse_notify = split_refuse_notify,
	.indices_ok = split_indices_ok,
};
