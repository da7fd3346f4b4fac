/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A split virtqueue, the device's side (virtio 1.2, 2.7). The rings and
 * descriptors are in guest memory and hostile: everything is copied once,
 * then checked, then used. A violation breaks the queue for good, until
 * vq_reset(): vq->error says what was found, and no more is read or written.
 */
#ifndef VMMD_VIRTQUEUE_H
#define VMMD_VIRTQUEUE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#define VQ_SIZE_MAX	256

struct mem;
struct vring_desc;
struct vring_avail;
struct vring_used;

struct virtqueue {
	struct mem *mem;
	uint16_t size_max;	/* what the device offers, a power of two */

	/* as the driver programmed it */
	uint16_t size;
	uint64_t desc_gpa;
	uint64_t avail_gpa;
	uint64_t used_gpa;
	bool enabled;
	bool event_idx;		/* VIRTIO_F_RING_EVENT_IDX negotiated */
	bool indirect;		/* VIRTIO_F_RING_INDIRECT_DESC negotiated */

	/* while enabled */
	struct vring_desc *desc;
	struct vring_avail *avail;
	struct vring_used *used;
	uint16_t last_avail;	/* next entry to take */
	uint16_t used_idx;	/* next entry to give back */
	uint16_t signalled;	/* used_idx when the driver was last told */
	bool signalled_valid;
	bool pushed;		/* since vq_should_signal was asked */
	uint16_t in_flight;	/* taken and not given back */
	bool broken;
	char error[96];
};

/* a chain of descriptors, as host memory */
struct vq_chain {
	uint16_t head;
	unsigned int nout, nin;
	uint64_t out_len, in_len;	/* bytes */
	struct iovec *out;		/* the device reads these */
	struct iovec *in;		/* the device writes these */
	struct iovec iov[VQ_SIZE_MAX];
};

struct vq_state {			/* what a snapshot keeps */
	uint64_t desc_gpa;
	uint64_t avail_gpa;
	uint64_t used_gpa;
	uint16_t size;
	uint16_t last_avail;
	uint16_t used_idx;
	uint16_t signalled;
	uint8_t enabled;
	uint8_t signalled_valid;
	uint8_t broken;
	uint8_t pad[5];
};

void vq_init(struct virtqueue *vq, struct mem *mem, uint16_t size_max);
void vq_reset(struct virtqueue *vq);	/* nothing may be in flight */
/* the driver says the rings are there; false: broken */
bool vq_enable(struct virtqueue *vq);

/* 1: a chain was taken; 0: none there; -1: broken */
int vq_pop(struct virtqueue *vq, struct vq_chain *chain);
/* give back the last n chains taken as if vq_pop had not been called */
void vq_unpop(struct virtqueue *vq, uint16_t n);

/* give back one chain of which len bytes were written */
void vq_push(struct virtqueue *vq, uint16_t head, uint32_t len);
/* the same in two steps, for chains that must appear together */
void vq_stage(struct virtqueue *vq, uint16_t nth, uint16_t head, uint32_t len);
void vq_publish(struct virtqueue *vq, uint16_t n);

/* does the driver want an interrupt for what was pushed since the last call */
bool vq_should_signal(struct virtqueue *vq);
/*
 * Ask for a notification once the driver goes beyond the available index
 * `seen` (last_avail where the queue was emptied). True: it did already.
 */
bool vq_want_notify(struct virtqueue *vq, uint16_t seen);
void vq_refuse_notify(struct virtqueue *vq);

void vq_save(const struct virtqueue *vq, struct vq_state *st);
/* could vq_load succeed: memory is there and numbers are sane */
bool vq_state_ok(const struct virtqueue *vq, const struct vq_state *st);
void vq_load(struct virtqueue *vq, const struct vq_state *st);

#endif
