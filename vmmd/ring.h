/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A split virtqueue (virtio 1.2, 2.7) that the host's kernel works in our stead
 * for a while: its parts in this process's memory, and how the two of them tell
 * each other of what happens.
 */
#ifndef VMMD_RING_H
#define VMMD_RING_H

#include <stdint.h>

struct ring_loan {
	void *desc;
	void *avail;
	void *used;
	uint64_t used_gpa;	/* for who notes which pages of the guest are written */
	uint16_t size;
	uint16_t next;		/* of the available ring, the first not taken yet */
	/* eventfds */
	int kick;		/* the guest made something available */
	int call;		/* the guest wants an interrupt */
	int error;		/* the guest broke a rule */
};

#endif
