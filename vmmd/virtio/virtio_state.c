// SPDX-License-Identifier: GPL-2.0
/*
 * What every virtio device does when the machine resets, saves, loads or
 * frees it. Devices keep no state of their own but one word: requests in flight
 * are finished before a save.
 */
#include <assert.h>
#include <errno.h>
#include <linux/virtio_config.h>
#include <linux/virtio_pci.h>
#include <stddef.h>
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
	uint32_t device;
	uint32_t pad2;
	/* then a queue_state for each queue, then the bytes of pci_dev_save */
};

struct queue_state {
	struct vq_state vq;
	uint16_t vector;
	uint8_t pad[6];
};

static_assert(sizeof(struct virtio_state) == 40 &&
	      sizeof(struct queue_state) == 48,
	      "virtio_state is a file format");

/* the transport's part as it is in the file */
struct state {
	struct virtio_state st;
	struct queue_state q[VIRTIO_QUEUES_MAX];
};

static size_t state_len(const struct virtio_dev *vdev)
{
	return offsetof(struct state, q[vdev->nqueues]);
}

static void state_fill(const struct virtio_dev *vdev, struct state *s)
{
	unsigned int q;

	memset(s, 0, sizeof(*s));
	s->st = (struct virtio_state){
		.magic = STATE_MAGIC,
		.id = vdev->id,
		.nqueues = vdev->nqueues,
		.driver_features = vdev->driver_features,
		.device_feature_select = vdev->device_feature_select,
		.driver_feature_select = vdev->driver_feature_select,
		.queue_select = vdev->queue_select,
		.config_vector = vdev->config_vector,
		.status = vdev->status,
		.isr = vdev->isr,
		.generation = vdev->generation,
		.device = vdev->device_state,
	};
	for (q = 0; q < vdev->nqueues; q++) {
		s->q[q].vector = vdev->vector[q];
		vq_save(&vdev->vq[q], &s->q[q].vq);
	}
}

static size_t state_save(void *owner, void *buf, size_t max)
{
	struct virtio_dev *vdev = owner;
	size_t len = state_len(vdev);
	size_t pci_len = pci_dev_save(&vdev->pci, NULL, 0);
	struct state s;

	if (!buf)
		return len + pci_len;
	if (max < len + pci_len)
		return 0;
	vdev->ops->quiesce(vdev->owner);
	/* the machine may go on: then what was given up is taken up again */
	loop_timer_arm(vdev->kick, loop_now());
	state_fill(vdev, &s);
	memcpy(buf, &s, len);
	return len + pci_dev_save(&vdev->pci, (uint8_t *)buf + len, max - len);
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

static bool queue_ok(const struct virtio_dev *vdev, const struct state *s,
		     unsigned int q)
{
	static const uint8_t zero[sizeof(s->q[q].pad)];

	return vector_ok(vdev, s->q[q].vector) &&
	       vq_state_ok(&vdev->vq[q], &s->q[q].vq, ring_features(&s->st)) &&
	       !memcmp(s->q[q].pad, zero, sizeof(zero));
}

static bool state_ok(const struct virtio_dev *vdev, const struct state *s)
{
	const struct virtio_state *st = &s->st;
	unsigned int q;

	if (st->magic != STATE_MAGIC || st->id != vdev->id ||
	    st->nqueues != vdev->nqueues || st->pad || st->pad2 ||
	    st->device > vdev->device_state_max ||
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
		if (!queue_ok(vdev, s, q))
			return false;
	return true;
}

static void state_apply(struct virtio_dev *vdev, const struct state *s)
{
	unsigned int q;

	vdev->driver_features = s->st.driver_features;
	vdev->device_feature_select = s->st.device_feature_select;
	vdev->driver_feature_select = s->st.driver_feature_select;
	vdev->queue_select = s->st.queue_select;
	vdev->config_vector = s->st.config_vector;
	vdev->status = s->st.status;
	vdev->isr = s->st.isr;
	vdev->generation = s->st.generation;
	vdev->device_state = s->st.device;
	for (q = 0; q < vdev->nqueues; q++) {
		vdev->vector[q] = s->q[q].vector;
		vq_load(&vdev->vq[q], &s->q[q].vq, ring_features(&s->st));
	}
}

static int state_load(void *owner, const void *buf, size_t len)
{
	struct virtio_dev *vdev = owner;
	size_t own = state_len(vdev);
	struct state s;

	if (len < own)
		return -EINVAL;
	memcpy(&s, buf, own);
	if (!state_ok(vdev, &s))
		return -EINVAL;
	vdev->ops->quiesce(vdev->owner);
	if (pci_dev_load(&vdev->pci, (const uint8_t *)buf + own, len - own))
		return -EINVAL;
	state_apply(vdev, &s);
	virtio_resume(vdev);
	virtio_place_bells(vdev);
	return 0;
}

static void state_reset(void *owner)
{
	struct virtio_dev *vdev = owner;

	virtio_reset(vdev);
	virtio_place_bells(vdev);
	vdev->generation = 0;
	pci_dev_reset(&vdev->pci);
}

static void state_free(void *owner)
{
	struct virtio_dev *vdev = owner;

	vdev->ops->quiesce(vdev->owner);
	virtio_bells_free(vdev);
	virtio_loans_free(vdev);
	loop_timer_free(vdev->kick);
	vdev->ops->free(vdev->owner);
}

static void state_in_flight(void *owner)
{
	struct virtio_dev *vdev = owner;

	if (vdev->ops->in_flight)
		vdev->ops->in_flight(vdev->owner);
}

const struct dev_ops virtio_dev_ops = {
	.reset = state_reset,
	.save = state_save,
	.load = state_load,
	.in_flight = state_in_flight,
	.free = state_free,
};
