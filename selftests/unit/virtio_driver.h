/* SPDX-License-Identifier: GPL-2.0 */
/*
 * For tests: a small machine (memory, buses, a loop in a thread of its own)
 * and a driver that works a virtio device as Linux does: capabilities, BARs,
 * MSI-X, status, features, queues of both kinds.
 */
#ifndef SELFTESTS_VIRTIO_DRIVER_H
#define SELFTESTS_VIRTIO_DRIVER_H

#include <linux/virtio_ring.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "dev.h"
#include "loop.h"
#include "mem.h"
#include "pci/pci.h"

#define VT_RAM		0x100000ULL		/* RAM from here on, 32 MiB */
#define VT_RAM_SIZE	0x2000000ULL
#define VT_ROM		0xf0000ULL		/* 64 KiB; a hole below */
#define VT_QUEUES	16
#define VT_QUEUE_MAX	256
#define VT_DEVS		8
#define VT_VECTORS	32
#define VT_NO_DEVFN	-1

struct vt_registered {
	const struct dev_ops *ops;
	void *owner;
};

struct vt_machine {
	struct dev_env env;		/* first: env->add finds the machine */
	pthread_mutex_t lock;
	pthread_t thread;
	struct pci_bus *bus;
	struct vt_registered dev[VT_DEVS];
	unsigned int ndevs;
	unsigned int msi[VT_VECTORS];	/* how often each came */
	bool gsi[24];			/* wires of INTx */
	uint64_t alloc;			/* next free guest memory */
};

struct vt_machine *vt_new(void);
struct vt_machine *vt_new_packed(void);	/* devices offer packed rings */
void vt_free(struct vt_machine *m);
/* stop and free the devices, so that back ends can be closed after */
void vt_free_devices(struct vt_machine *m);
void vt_lock(struct vt_machine *m);
void vt_unlock(struct vt_machine *m);
uint64_t vt_alloc(struct vt_machine *m, uint64_t size, uint64_t align);
void *vt_ptr(struct vt_machine *m, uint64_t gpa, uint64_t len);
/* poll until cond is true, taking the lock each time; false: not in time */
bool vt_wait(struct vt_machine *m, bool (*cond)(void *arg), void *arg,
	     unsigned int ms);

/* how often a vector came; whoever completes does so under the lock */
unsigned int vt_msis(struct vt_machine *m, unsigned int vector);

uint32_t vt_cfg_read(struct vt_machine *m, int devfn, unsigned int offset,
		     unsigned int size);
void vt_cfg_write(struct vt_machine *m, int devfn, unsigned int offset,
		  unsigned int size, uint32_t value);

struct vt_queue {
	uint16_t size;
	uint64_t desc_gpa, avail_gpa, used_gpa;
	bool is_packed;
	/* split */
	struct vring_desc *desc;
	struct vring_avail *avail;
	struct vring_used *used;
	uint16_t last_used;
	uint16_t next_desc;
	/* packed: these two as places in the ring; a chain's ID is its first */
	struct vring_packed_desc *packed;
	struct vring_packed_desc_event *driver_event;
	bool avail_wrap, used_wrap;
	uint16_t slots[VT_QUEUE_MAX];
};

struct vt_dev {
	struct vt_machine *m;
	int devfn;
	uint64_t bar[6];
	uint64_t common, notify, isr, device;	/* bus addresses */
	uint32_t notify_multiplier;
	uint8_t cfg_cap, msix_cap;
	uint64_t features;		/* negotiated */
	struct vt_queue q[VT_QUEUES];
};

/* find the function, place its BARs, find its capabilities */
void vt_probe(struct vt_dev *d, struct vt_machine *m, int devfn);
void vt_enable_msix(struct vt_dev *d, unsigned int vectors);

uint64_t vt_read(struct vt_dev *d, uint64_t addr, unsigned int size);
void vt_write(struct vt_dev *d, uint64_t addr, uint64_t value, unsigned int size);
uint8_t vt_status(struct vt_dev *d);
void vt_set_status(struct vt_dev *d, uint8_t status);
uint64_t vt_features(struct vt_dev *d);
/* reset, ACKNOWLEDGE, DRIVER, features & want, FEATURES_OK: was it granted */
bool vt_negotiate(struct vt_dev *d, uint64_t want);
void vt_setup_queue(struct vt_dev *d, unsigned int q, uint16_t size);
/* all of the above with every queue, then DRIVER_OK; returns the features */
uint64_t vt_start(struct vt_dev *d, uint64_t want, unsigned int queues,
		  uint16_t size);

struct vt_buf {
	uint64_t gpa;
	uint32_t len;
	bool write;
};

/* offer a chain; returns its head */
uint16_t vt_add(struct vt_dev *d, unsigned int q, const struct vt_buf *bufs,
		unsigned int n);
void vt_kick(struct vt_dev *d, unsigned int q);
bool vt_used(struct vt_dev *d, unsigned int q);	/* is there a used entry */
/* wait for the next used entry; false: none in two seconds */
bool vt_get(struct vt_dev *d, unsigned int q, struct vring_used_elem *elem);
/* the same without waiting, also for who holds the lock */
bool vt_take(struct vt_dev *d, unsigned int q, struct vring_used_elem *elem);

uint64_t vt_now_ms(void);

#endif
