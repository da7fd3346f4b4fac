/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A virtqueue, the device's side: split (virtio 1.2, 2.7) or packed (2.8), as
 * was negotiated; devices do not see which. The rings and descriptors are in
 * guest memory and hostile: everything is copied once, then checked, then
 * used. A violation breaks the queue for good, until vq_reset(): vq->error
 * says what was found, and no more is read or written.
 */
#ifndef VMMD_VIRTQUEUE_H
#define VMMD_VIRTQUEUE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#define VQ_SIZE_MAX	256

struct mem;
struct ring_loan;
struct vq_ring;
struct vring_avail;
struct vring_desc;
struct vring_packed_desc;
struct vring_packed_desc_event;
struct vring_used;

/* of the ring, as negotiated */
struct vq_features {
	bool event_idx;		/* VIRTIO_F_EVENT_IDX */
	bool indirect;		/* VIRTIO_F_INDIRECT_DESC */
	bool packed;		/* VIRTIO_F_RING_PACKED */
};

/* which chain, for giving it back */
struct vq_head {
	uint16_t id;		/* split: its first descriptor; packed: buffer ID */
	uint16_t slots;		/* entries of the ring that it takes */
};

/* how far the queue was read: what vq_rewind() goes back to */
struct vq_pos {
	uint16_t avail;
	uint16_t in_flight;
	bool wrap;
};

struct virtqueue {
	struct mem *mem;
	uint16_t size_max;	/* what the device offers, a power of two */

	/* as the driver programmed it */
	uint16_t size;
	uint64_t desc_gpa;
	uint64_t avail_gpa;	/* split: available ring; packed: driver event */
	uint64_t used_gpa;	/* split: used ring; packed: device event */
	bool enabled;
	struct vq_features features;

	/* while enabled */
	const struct vq_ring *ring;
	union {
		struct vring_desc *desc;
		struct vring_packed_desc *packed;
	};
	union {
		struct vring_avail *avail;
		const struct vring_packed_desc_event *driver_event;
	};
	union {
		struct vring_used *used;
		struct vring_packed_desc_event *device_event;
	};
	/*
	 * Split: free-running indices. Packed: places in the ring, with the
	 * value that the wrap counter has there.
	 */
	uint16_t last_avail;	/* next entry to take */
	uint16_t used_idx;	/* next entry to give back */
	bool avail_wrap;
	bool used_wrap;
	uint16_t in_flight;	/* entries taken and not given back */
	uint16_t unsignalled;	/* entries given back since vq_should_signal */
	/* chains that are given back together */
	uint16_t staged;
	uint16_t staged_slots;
	uint16_t staged_flags;	/* packed: of the first, written last */
	bool lent;		/* somebody else works it: there is nothing to do */
	bool broken;
	char error[96];
};

/* a chain of descriptors, as host memory */
struct vq_chain {
	struct vq_head head;
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
	uint16_t unsignalled;
	uint8_t enabled;
	uint8_t broken;
	uint8_t avail_wrap;
	uint8_t used_wrap;
	uint8_t pad[4];
};

void vq_init(struct virtqueue *vq, struct mem *mem, uint16_t size_max);
void vq_reset(struct virtqueue *vq);	/* nothing may be in flight */
/*
 * The driver says the rings are there. Firmware does so before it negotiates,
 * so features may still change, while nothing was taken. False: broken.
 */
bool vq_enable(struct virtqueue *vq);
bool vq_set_features(struct virtqueue *vq, struct vq_features features);

/* 1: a chain was taken; 0: none there; -1: broken */
int vq_pop(struct virtqueue *vq, struct vq_chain *chain);
/* give back all chains taken since `pos` as if vq_pop had not been called */
struct vq_pos vq_pos(const struct virtqueue *vq);
void vq_rewind(struct virtqueue *vq, struct vq_pos pos);

/* give back one chain of which len bytes were written */
void vq_push(struct virtqueue *vq, struct vq_head head, uint32_t len);
/* the same in two steps, for chains that must appear together */
void vq_stage(struct virtqueue *vq, struct vq_head head, uint32_t len);
void vq_publish(struct virtqueue *vq);

/* does the driver want an interrupt for what was pushed since the last call */
bool vq_should_signal(struct virtqueue *vq);
/*
 * Ask for a notification once the driver goes beyond `seen` (vq_pos() where
 * the queue was emptied). True: it did already.
 */
bool vq_want_notify(struct virtqueue *vq, struct vq_pos seen);
void vq_refuse_notify(struct virtqueue *vq);

/*
 * Somebody else works the queue until it is returned: fills in where it is and
 * how far it was read. False: it is none that is enabled, whole and split. It is
 * returned with nothing in flight, and with interrupts as the driver wants them.
 */
bool vq_lend(struct virtqueue *vq, struct ring_loan *loan);
void vq_return(struct virtqueue *vq, uint16_t next);

/* of a queue that is not lent */
void vq_save(const struct virtqueue *vq, struct vq_state *st);
/* could vq_load succeed: memory is there and numbers are sane */
bool vq_state_ok(const struct virtqueue *vq, const struct vq_state *st,
		 struct vq_features features);
void vq_load(struct virtqueue *vq, const struct vq_state *st,
	     struct vq_features features);

#endif
