/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A virtio device behind the modern PCI transport (virtio 1.2, 4.1). A device
 * embeds struct virtio_dev, fills in the upper part and calls
 * virtio_pci_new(). The transport owns the registers, the queues and the
 * snapshot; the device sees queues and its own config struct.
 */
#ifndef VMMD_VIRTIO_PCI_H
#define VMMD_VIRTIO_PCI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "dev.h"
#include "pci/pci.h"
#include "virtio/virtqueue.h"

#define VIRTIO_QUEUES_MAX	33	/* 16 pairs and a control queue */

struct ring_loan;
struct virtio_bell;
struct virtio_dev;
struct virtio_loan;

struct virtio_ops {
	/*
	 * Buffers were made available in queue q (or may have been: it is
	 * also called for each queue at DRIVER_OK and after a load). Bounded:
	 * a device that does not finish goes on from a timer.
	 */
	void (*notify)(void *owner, unsigned int q);
	/*
	 * Finish or forget all that is in flight: on return no chain is out,
	 * no queue is lent and no completion will come. Before a reset and before
	 * a save, after which each queue is notified.
	 */
	void (*quiesce)(void *owner);
	/* dev_ops.in_flight */
	void (*in_flight)(void *owner);
	/*
	 * Features and device_state are as the driver wants them: at DRIVER_OK,
	 * after a load, and when a reset has cleared them. NULL: no need.
	 */
	void (*configure)(void *owner);
	/*
	 * virtio_running() may say something else than before, other than by a
	 * reset. NULL: no need.
	 */
	void (*run)(void *owner);
	/* the driver writes to the config; NULL: it is read-only */
	void (*config_write)(void *owner, uint64_t offset, uint64_t value,
			     unsigned int size);
	void (*free)(void *owner);
};

struct virtio_dev {
	/* filled in by the device */
	const char *name;
	uint16_t id;			/* VIRTIO_ID_* */
	uint32_t class_code;		/* PCI class, 24 bits */
	uint64_t features;		/* offered, besides the transport's */
	const void *config;		/* device config space, or NULL */
	uint32_t config_len;
	unsigned int nqueues;
	uint16_t queue_size;
	uint32_t device_state_max;	/* of device_state */
	const struct virtio_ops *ops;
	void *owner;

	/* the device's one word of state: 0 after a reset, kept by snapshots */
	uint32_t device_state;

	/* the transport's */
	struct dev_env *env;
	struct pci_dev pci;
	uint8_t cfg_cap;		/* offset of the PCI_CFG capability */
	struct virtqueue vq[VIRTIO_QUEUES_MAX];
	uint16_t vector[VIRTIO_QUEUES_MAX];
	uint16_t config_vector;
	uint64_t driver_features;
	uint32_t device_feature_select;
	uint32_t driver_feature_select;
	uint16_t queue_select;
	uint8_t status;
	uint8_t isr;
	uint8_t generation;
	struct loop_timer *kick;	/* after a load or a save: look at the queues */
	struct virtio_bell *bell;	/* of each queue, or NULL */
	struct virtio_loan *loan;	/* of each queue, or NULL */
	unsigned int reports;		/* lines printed so far */
};

/* put it on the bus and register it with the machine; 0 or -errno */
int virtio_pci_new(struct virtio_dev *vdev, struct dev_env *env,
		   struct pci_bus *bus);

bool virtio_has_feature(const struct virtio_dev *vdev, unsigned int bit);
/* DRIVER_OK, not broken, and allowed to be bus master */
bool virtio_running(const struct virtio_dev *vdev);

/* vq_pop of a running device; a broken queue is reported */
int virtio_pop(struct virtio_dev *vdev, unsigned int q, struct vq_chain *chain);
/* interrupt the driver if it wants that */
void virtio_signal(struct virtio_dev *vdev, unsigned int q);
/* the same, whatever was pushed and whatever the driver's ring says */
void virtio_interrupt_queue(struct virtio_dev *vdev, unsigned int q);
/* the driver broke a rule: NEEDS_RESET (2.1.2), with one line on stderr */
void virtio_fail(struct virtio_dev *vdev, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
/* one line on stderr; bounded, since it is the guest that causes it */
void virtio_report(struct virtio_dev *vdev, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
/* the device changed its config struct */
void virtio_config_changed(struct virtio_dev *vdev);

/* queue q was notified, whichever way */
void virtio_notify(struct virtio_dev *vdev, unsigned int q);

/* after whatever may have changed which queues are in use, and where */
void virtio_place_bells(struct virtio_dev *vdev);

/* virtio_dev.c, for the registers */
void virtio_notify_all(void *vdev);
void virtio_run_changed(struct virtio_dev *vdev);
/* its error is set: virtio_fail */
void virtio_queue_failed(struct virtio_dev *vdev, unsigned int q);
uint64_t virtio_offered(const struct virtio_dev *vdev);	/* all features */
/* bits are only ever added, except by 0, which resets */
void virtio_set_status(struct virtio_dev *vdev, uint8_t value);

/* virtio_doorbell.c: queue q is notified by writes to gpa; 0: by none */
void virtio_bells_new(struct virtio_dev *vdev);
void virtio_bell_set(struct virtio_dev *vdev, unsigned int q, uint64_t gpa);
void virtio_bells_free(struct virtio_dev *vdev);
/* the eventfd that rings, which we do not listen to while it is lent; -1: none */
int virtio_bell_lend(struct virtio_dev *vdev, unsigned int q, bool lent);

/*
 * virtio_loan.c, for a device whose queues the host's kernel may work: virtio_lend
 * fills in all of *ring, false: not this queue, or not now. Whoever works it has
 * stopped to do so before virtio_return.
 */
int virtio_loans_new(struct virtio_dev *vdev);	/* 0 or -errno */
void virtio_loans_free(struct virtio_dev *vdev);
bool virtio_lend(struct virtio_dev *vdev, unsigned int q, struct ring_loan *ring);
void virtio_return(struct virtio_dev *vdev, unsigned int q, uint16_t next);
/* a queue that is lent was notified through the BAR, or may have been before */
void virtio_loan_kick(struct virtio_dev *vdev, unsigned int q);
/* what the vector sends, or which queue has it, changed */
void virtio_loan_message(struct virtio_dev *vdev, uint16_t vector);

/* virtio_state.c: dev_ops of every virtio device */
extern const struct dev_ops virtio_dev_ops;
/* would FEATURES_OK be granted */
bool virtio_features_ok(const struct virtio_dev *vdev, uint64_t features);
struct vq_features virtio_ring_features(uint64_t features);
/* the transport's part of a reset, without PCI config */
void virtio_reset(struct virtio_dev *vdev);
/* after a load: interrupt line and queues as the new state says */
void virtio_resume(struct virtio_dev *vdev);

#endif
