/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The host kernel's vhost-net: a thread of its own moves frames between a pair of
 * rings in our memory and a tap device.
 */
#ifndef VMMD_VHOST_H
#define VMMD_VHOST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ring.h"

struct mem;

#define VHOST_RX	0
#define VHOST_TX	1
#define VHOST_RINGS	2

struct vhost {			/* of one pair */
	int fd;			/* -1: none */
	bool has_memory;	/* it knows where the guest's is */
	/* while it runs */
	uint64_t features;
	struct ring_loan ring[VHOST_RINGS];
	bool logs;
};

/* a bit for each page of 4 KiB from gpa 0 on to the end of RAM */
struct vhost_log {
	uint64_t *bits;
	size_t len;		/* bytes */
};

/* 0 or -errno; *features: VIRTIO_*F_* that it understands in rings and headers */
int vhost_open(struct vhost *vhost, uint64_t *features);
void vhost_close(struct vhost *vhost);

/*
 * Work the rings, VHOST_RX and VHOST_TX, with these features, on a tap device's
 * descriptor, whose frames begin with a struct virtio_net_hdr_mrg_rxbuf; with a
 * log, set the bits of pages that are written. 0; or -errno, then they are stopped.
 */
int vhost_start(struct vhost *vhost, const struct mem *mem,
		struct ring_loan ring[VHOST_RINGS], uint64_t features, int tap,
		const struct vhost_log *log);
/* all that was taken is given back, and `next` of each ring is how far it was read */
void vhost_stop(struct vhost *vhost, struct ring_loan ring[VHOST_RINGS]);

/* the same of one that runs already. 0; or -errno, then it has to be stopped */
int vhost_log_begin(struct vhost *vhost, const struct vhost_log *log);
int vhost_log_new(struct vhost_log *log, const struct mem *mem);	/* 0 or -errno */
void vhost_log_free(struct vhost_log *log);
/* tell memory of the bits, and clear them */
void vhost_log_take(struct vhost_log *log, struct mem *mem);

#endif
