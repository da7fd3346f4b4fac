// SPDX-License-Identifier: GPL-2.0
/*
 * What every virtio device does, whatever carries its registers: status and
 * features (virtio 1.2, 2.1, 3.1), interrupts, reports of what a driver did wrong.
 */
#include <linux/pci_regs.h>
#include <linux/virtio_config.h>
#include <linux/virtio_pci.h>
#include <linux/virtio_ring.h>
#include <stdarg.h>
#include <stdio.h>

#include "loop.h"
#include "virtio/virtio_pci.h"

#define ISR_QUEUE		1
#define REPORTS_MAX		20

#define TRANSPORT_FEATURES	(1ULL << VIRTIO_F_VERSION_1 | \
				 1ULL << VIRTIO_RING_F_INDIRECT_DESC | \
				 1ULL << VIRTIO_RING_F_EVENT_IDX)

/* ---- interrupts and reports ----------------------------------------------- */

static void virtio_interrupt(struct virtio_dev *vdev, uint16_t vector,
			     uint8_t isr)
{
	if (pci_msix_enabled(&vdev->pci)) {
		if (vector != VIRTIO_MSI_NO_VECTOR)
			pci_msix_notify(&vdev->pci, vector);
		return;
	}
	vdev->isr |= isr;
	pci_intx(&vdev->pci, true);
}

void virtio_interrupt_queue(struct virtio_dev *vdev, unsigned int q)
{
	virtio_interrupt(vdev, vdev->vector[q], ISR_QUEUE);
}

void virtio_signal(struct virtio_dev *vdev, unsigned int q)
{
	if (vq_should_signal(&vdev->vq[q]))
		virtio_interrupt_queue(vdev, q);
}

void virtio_config_changed(struct virtio_dev *vdev)
{
	vdev->generation++;
	if (vdev->status & VIRTIO_CONFIG_S_DRIVER_OK)
		virtio_interrupt(vdev, vdev->config_vector,
				 VIRTIO_PCI_ISR_CONFIG);
}

static void virtio_vreport(struct virtio_dev *vdev, const char *fmt, va_list ap)
{
	char line[256];

	if (vdev->reports++ >= REPORTS_MAX)
		return;
	vsnprintf(line, sizeof(line), fmt, ap);
	fprintf(stderr, "vmmd: %s: %s%s\n", vdev->name, line,
		vdev->reports == REPORTS_MAX ?
		" (further reports of this device are left out)" : "");
}

void virtio_report(struct virtio_dev *vdev, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	virtio_vreport(vdev, fmt, ap);
	va_end(ap);
}

void virtio_run_changed(struct virtio_dev *vdev)
{
	if (vdev->ops->run)
		vdev->ops->run(vdev->owner);
}

void virtio_fail(struct virtio_dev *vdev, const char *fmt, ...)
{
	unsigned int q;
	va_list ap;

	if (vdev->status & VIRTIO_CONFIG_S_NEEDS_RESET)
		return;
	va_start(ap, fmt);
	virtio_vreport(vdev, fmt, ap);
	va_end(ap);
	/* whatever still completes stays out of the rings */
	for (q = 0; q < vdev->nqueues; q++)
		vdev->vq[q].broken = true;
	vdev->status |= VIRTIO_CONFIG_S_NEEDS_RESET;
	virtio_run_changed(vdev);
	virtio_config_changed(vdev);
}

void virtio_queue_failed(struct virtio_dev *vdev, unsigned int q)
{
	virtio_fail(vdev, "queue %u: %s; the device stops until the guest resets it",
		    q, vdev->vq[q].error);
}

/* ---- for the devices ------------------------------------------------------ */

bool virtio_has_feature(const struct virtio_dev *vdev, unsigned int bit)
{
	return vdev->driver_features >> bit & 1;
}

bool virtio_running(const struct virtio_dev *vdev)
{
	return (vdev->status & (VIRTIO_CONFIG_S_DRIVER_OK |
				VIRTIO_CONFIG_S_NEEDS_RESET)) ==
		VIRTIO_CONFIG_S_DRIVER_OK &&
	       (vdev->pci.config[PCI_COMMAND] & PCI_COMMAND_MASTER);
}

int virtio_pop(struct virtio_dev *vdev, unsigned int q, struct vq_chain *chain)
{
	int ret;

	if (!virtio_running(vdev))
		return 0;
	ret = vq_pop(&vdev->vq[q], chain);
	if (ret < 0)
		virtio_queue_failed(vdev, q);
	return ret;
}

void virtio_notify(struct virtio_dev *vdev, unsigned int q)
{
	if (q < vdev->nqueues && vdev->vq[q].enabled && virtio_running(vdev))
		vdev->ops->notify(vdev->owner, q);
}

void virtio_notify_all(void *owner)
{
	struct virtio_dev *vdev = owner;
	unsigned int q;

	for (q = 0; q < vdev->nqueues; q++)
		virtio_notify(vdev, q);
}

/* ---- status, 2.1 and 3.1 -------------------------------------------------- */

uint64_t virtio_offered(const struct virtio_dev *vdev)
{
	uint64_t f = vdev->features | TRANSPORT_FEATURES;

	return vdev->env->packed_rings ? f | 1ULL << VIRTIO_F_RING_PACKED : f;
}

static void virtio_configure(struct virtio_dev *vdev)
{
	if (vdev->ops->configure)
		vdev->ops->configure(vdev->owner);
}

void virtio_reset(struct virtio_dev *vdev)
{
	unsigned int q;

	vdev->ops->quiesce(vdev->owner);
	for (q = 0; q < vdev->nqueues; q++) {
		vq_reset(&vdev->vq[q]);
		vdev->vector[q] = VIRTIO_MSI_NO_VECTOR;
	}
	loop_timer_cancel(vdev->kick);
	vdev->config_vector = VIRTIO_MSI_NO_VECTOR;
	vdev->driver_features = 0;
	vdev->device_feature_select = 0;
	vdev->driver_feature_select = 0;
	vdev->queue_select = 0;
	vdev->status = 0;
	vdev->isr = 0;
	vdev->device_state = 0;
	pci_intx(&vdev->pci, false);
	virtio_configure(vdev);
}

struct vq_features virtio_ring_features(uint64_t features)
{
	return (struct vq_features){
		.event_idx = features >> VIRTIO_RING_F_EVENT_IDX & 1,
		.indirect = features >> VIRTIO_RING_F_INDIRECT_DESC & 1,
		.packed = features >> VIRTIO_F_RING_PACKED & 1,
	};
}

/* features are fixed: queues that are enabled already learn what they are */
static void virtio_set_ring_features(struct virtio_dev *vdev)
{
	unsigned int q;

	for (q = 0; q < vdev->nqueues; q++)
		if (!vq_set_features(&vdev->vq[q],
				     virtio_ring_features(vdev->driver_features)))
			virtio_queue_failed(vdev, q);
}

bool virtio_features_ok(const struct virtio_dev *vdev, uint64_t features)
{
	return !(features & ~virtio_offered(vdev)) &&
	       (features >> VIRTIO_F_VERSION_1 & 1);
}

void virtio_set_status(struct virtio_dev *vdev, uint8_t value)
{
	uint8_t set = value & ~vdev->status &
		(VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER |
		 VIRTIO_CONFIG_S_FEATURES_OK | VIRTIO_CONFIG_S_DRIVER_OK |
		 VIRTIO_CONFIG_S_FAILED);

	if (!value) {
		virtio_reset(vdev);
		return;
	}
	if ((set & VIRTIO_CONFIG_S_FEATURES_OK) &&
	    !virtio_features_ok(vdev, vdev->driver_features))
		set &= ~VIRTIO_CONFIG_S_FEATURES_OK;
	if (!((vdev->status | set) & VIRTIO_CONFIG_S_FEATURES_OK))
		set &= ~VIRTIO_CONFIG_S_DRIVER_OK;
	vdev->status |= set;
	if (set & VIRTIO_CONFIG_S_FEATURES_OK)
		virtio_set_ring_features(vdev);
	if (set & VIRTIO_CONFIG_S_DRIVER_OK) {
		virtio_configure(vdev);
		/* 3.1.1: the driver may have filled queues before this */
		virtio_notify_all(vdev);
	}
}

void virtio_resume(struct virtio_dev *vdev)
{
	virtio_configure(vdev);
	pci_intx(&vdev->pci, vdev->isr && !pci_msix_enabled(&vdev->pci));
	/* not now: guest memory may be loaded after the devices */
	loop_timer_arm(vdev->kick, loop_now());
}
