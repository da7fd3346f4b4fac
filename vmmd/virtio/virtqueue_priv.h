/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Between the files of a virtqueue: virtqueue.c has what both kinds of ring
 * share, virtqueue_split.c and virtqueue_packed.c know where things are.
 */
#ifndef VMMD_VIRTQUEUE_PRIV_H
#define VMMD_VIRTQUEUE_PRIV_H

#include "virtio/virtqueue.h"

/* called of a queue that is enabled and not broken */
struct vq_ring {
	bool (*find)(struct virtqueue *vq);	/* the parts; false: broken */
	int (*pop)(struct virtqueue *vq, struct vq_chain *c);
	void (*stage)(struct virtqueue *vq, struct vq_head head, uint32_t len);
	void (*publish)(struct virtqueue *vq);
	/* both after a full barrier */
	bool (*should_signal)(const struct virtqueue *vq);
	bool (*gone_on)(const struct virtqueue *vq, struct vq_pos seen);
	void (*ask_notify)(struct virtqueue *vq, struct vq_pos seen);
	void (*refuse_notify)(struct virtqueue *vq);
	/* is what a snapshot says of the indices possible; nothing is in flight */
	bool (*indices_ok)(const struct vq_state *st);
};

extern const struct vq_ring vq_split, vq_packed;

/* breaks the queue; -1 */
int vq_fail(struct virtqueue *vq, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

/* a chain is made of what descriptors say; 0 or -1 */
void vq_chain_start(struct vq_chain *c);
int vq_chain_add(struct virtqueue *vq, struct vq_chain *c, uint64_t addr,
		 uint32_t len, bool write);
void vq_chain_end(struct vq_chain *c);
/* a table of indirect descriptors, 16 bytes each in both kinds; NULL: broken */
const uint8_t *vq_indirect_table(struct virtqueue *vq, uint64_t addr,
				 uint32_t len);

#endif
