// SPDX-License-Identifier: GPL-2.0
/*
 * What every virtio device does when the machine resets, saves, loads or
 * frees it. Devices keep no state of their own beyond their queues: requests
 * in flight are finished before a save.
 */
#include <assert.h>
#include <errno.h>
#include <linux/virtio_config.h>
#include <linux/virtio_pci.h>
#include <stdlib.h>
#include <string.h>

#include "loop.h"
#include "virtio/virtio_pci.h"

#define STATE_MAGIC	0x54524956U		/* "VIRT" */

struct virtio_state {
	uint32_t magic;
	uint16_t id;
	uint16_t nqueues;
	uint64_t driver_features;
	uint32_t device_feature_select;
	uint32_t driver_feature_select;
	uint16_t queue_select;
	uint16_t config_vector;
	uint8_t status;
	uint8_t isr;
	uint8_t generation;
	uint8_t pad;
	uint16_t vector[VIRTIO_QUEUES_MAX];
	struct vq_state vq[VIRTIO_QUEUES_MAX];
	/* then the bytes of pci_dev_save */
};

static_assert(sizeof(struct virtio_state) == 40 + VIRTIO_QUEUES_MAX * 40,
	      "virtio_state is a file format");

static size_t state_save(void *owner, void *buf, size_t max)
{
	struct virtio_dev *vdev = owner;
	size_t pci_len = pci_dev_save(&vdev->pci, NULL, 0);
	struct virtio_state st;
	unsigned int q;

	if (!buf)
		return sizeof(st) + pci_len;
	if (max < sizeof(st) + pci_len)
		return 0;
	vdev->ops->quiesce(vdev->owner);
	memset(&st, 0, sizeof(st));
	st.magic = STATE_MAGIC;
	st.id = vdev->id;
	st.nqueues = vdev->nqueues;
	st.driver_features = vdev->driver_features;
	st.device_feature_select = vdev->device_feature_select;
	st.driver_feature_select = vdev->driver_feature_select;
	st.queue_select = vdev->queue_select;
	st.config_vector = vdev->config_vector;
	st.status = vdev->status;
	st.isr = vdev->isr;
	st.generation = vdev->generation;
	for (q = 0; q < vdev->nqueues; q++) {
		st.vector[q] = vdev->vector[q];
		vq_save(&vdev->vq[q], &st.vq[q]);
	}
	memcpy(buf, &st, sizeof(st));
	return sizeof(st) + pci_dev_save(&vdev->pci, (uint8_t *)buf + sizeof(st),
					 max - sizeof(st));
}

static bool vector_ok(const struct virtio_dev *vdev, uint16_t vector)
{
	return vector < vdev->pci.msix_count || vector == VIRTIO_MSI_NO_VECTOR;
}

/* those that count: until FEATURES_OK any bits may be written */
static struct vq_features ring_features(const struct virtio_state *st)
{
	return virtio_ring_features(st->status & VIRTIO_CONFIG_S_FEATURES_OK ?
				    st->driver_features : 0);
}

static bool state_ok(const struct virtio_dev *vdev, const struct virtio_state *st)
{
	static const struct vq_state none;
	unsigned int q;

	if (st->magic != STATE_MAGIC || st->id != vdev->id ||
	    st->nqueues != vdev->nqueues || st->pad ||
	    !vector_ok(vdev, st->config_vector))
		return false;
	/* features that FEATURES_OK accepted must be those we offer */
	if ((st->status & VIRTIO_CONFIG_S_FEATURES_OK) &&
	    !virtio_features_ok(vdev, st->driver_features))
		return false;
	if ((st->status & VIRTIO_CONFIG_S_DRIVER_OK) &&
	    !(st->status & VIRTIO_CONFIG_S_FEATURES_OK))
		return false;
	for (q = 0; q < vdev->nqueues; q++)
		if (!vector_ok(vdev, st->vector[q]) ||
		    !vq_state_ok(&vdev->vq[q], &st->vq[q], ring_features(st)))
			return false;
	for (; q < VIRTIO_QUEUES_MAX; q++)
		if (st->vector[q] || memcmp(&st->vq[q], &none, sizeof(none)))
			return false;
	return true;
}

static int state_load(void *owner, const void *buf, size_t len)
{
	struct virtio_dev *vdev = owner;
	struct virtio_state st;
	unsigned int q;

	if (len < sizeof(st))
		return -EINVAL;
	memcpy(&st, buf, sizeof(st));
	if (!state_ok(vdev, &st))
		return -EINVAL;
	vdev->ops->quiesce(vdev->owner);
	if (pci_dev_load(&vdev->pci, (const uint8_t *)buf + sizeof(st),
			 len - sizeof(st)))
		return -EINVAL;
	vdev->driver_features = st.driver_features;
	vdev->device_feature_select = st.device_feature_select;
	vdev->driver_feature_select = st.driver_feature_select;
	vdev->queue_select = st.queue_select;
	vdev->config_vector = st.config_vector;
	vdev->status = st.status;
	vdev->isr = st.isr;
	vdev->generation = st.generation;
	for (q = 0; q < vdev->nqueues; q++) {
		vdev->vector[q] = st.vector[q];
		vq_load(&vdev->vq[q], &st.vq[q], ring_features(&st));
	}
	virtio_resume(vdev);
	return 0;
}

static void state_reset(void *owner)
{
	struct virtio_dev *vdev = owner;

	virtio_reset(vdev);
	vdev->generation = 0;
	pci_dev_reset(&vdev->pci);
}

static void state_free(void *owner)
{
	struct virtio_dev *vdev = owner;

	vdev->ops->quiesce(vdev->owner);
	loop_timer_free(vdev->kick);
	vdev->ops->free(vdev->owner);
}

const struct dev_ops virtio_dev_ops = {
	.reset = state_reset,
	.save = state_save,
	.load = state_load,
	.free = state_free,
};
