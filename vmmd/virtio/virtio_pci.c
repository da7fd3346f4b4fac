// SPDX-License-Identifier: GPL-2.0
/*
 * The modern PCI transport (virtio 1.2, 4.1): capabilities, and the four
 * register blocks in one memory BAR. MSI-X is in a BAR of its own.
 */
#include <errno.h>
#include <linux/pci_regs.h>
#include <linux/virtio_config.h>
#include <linux/virtio_pci.h>
#include <string.h>

#include "loop.h"
#include "virtio/virtio_pci.h"

#define VIRTIO_VENDOR		0x1af4
#define VIRTIO_MODERN_ID	0x1040		/* + device type, 4.1.2 */
#define VIRTIO_SUBSYSTEM	0x1100

/* BAR 0: a page for each block, so that notify can be mapped on its own */
#define BAR_SIZE		0x4000
#define BAR_COMMON		0x0000
#define BAR_ISR			0x1000
#define BAR_DEVICE		0x2000
#define BAR_NOTIFY		0x3000
#define BAR_BLOCK		0x1000
#define NOTIFY_MULTIPLIER	4
#define MSIX_BAR		1

/* ---- common configuration, 4.1.4.3 --------------------------------------- */

static uint32_t feature_word(uint64_t features, uint32_t select)
{
	return select < 2 ? (uint32_t)(features >> (32 * select)) : 0;
}

static void common_read_queue(const struct virtio_dev *vdev,
			      struct virtio_pci_common_cfg *c)
{
	const struct virtqueue *vq;

	if (vdev->queue_select >= vdev->nqueues)
		return;		/* size 0: there is no such queue */
	vq = &vdev->vq[vdev->queue_select];
	c->queue_size = vq->size;
	c->queue_msix_vector = vdev->vector[vdev->queue_select];
	c->queue_enable = vq->enabled;
	c->queue_notify_off = vdev->queue_select;
	c->queue_desc_lo = (uint32_t)vq->desc_gpa;
	c->queue_desc_hi = vq->desc_gpa >> 32;
	c->queue_avail_lo = (uint32_t)vq->avail_gpa;
	c->queue_avail_hi = vq->avail_gpa >> 32;
	c->queue_used_lo = (uint32_t)vq->used_gpa;
	c->queue_used_hi = vq->used_gpa >> 32;
}

/* the block as bytes: whatever size the guest reads, it gets */
static void common_read(const struct virtio_dev *vdev,
			struct virtio_pci_common_cfg *c)
{
	memset(c, 0, sizeof(*c));
	c->device_feature_select = vdev->device_feature_select;
	c->device_feature = feature_word(virtio_offered(vdev),
					 vdev->device_feature_select);
	c->guest_feature_select = vdev->driver_feature_select;
	c->guest_feature = feature_word(vdev->driver_features,
					vdev->driver_feature_select);
	c->msix_config = vdev->config_vector;
	c->num_queues = vdev->nqueues;
	c->device_status = vdev->status;
	c->config_generation = vdev->generation;
	c->queue_select = vdev->queue_select;
	common_read_queue(vdev, c);
}

static void common_write_features(struct virtio_dev *vdev, uint32_t value)
{
	uint32_t shift = 32 * vdev->driver_feature_select;

	/* 3.1.1: fixed once FEATURES_OK was accepted */
	if (vdev->driver_feature_select > 1 ||
	    (vdev->status & VIRTIO_CONFIG_S_FEATURES_OK))
		return;
	vdev->driver_features &= ~(0xffffffffULL << shift);
	vdev->driver_features |= (uint64_t)value << shift;
}

/* 4.1.5.1.2.1: a vector that cannot be had reads back as NO_VECTOR */
static uint16_t usable_vector(const struct virtio_dev *vdev, uint16_t value)
{
	return value < vdev->pci.msix_count ? value : VIRTIO_MSI_NO_VECTOR;
}

static void set_half(uint64_t *addr, bool high, uint32_t value)
{
	uint64_t keep = high ? 0xffffffffULL : ~0xffffffffULL;

	*addr = (*addr & keep) | (uint64_t)value << (high ? 32 : 0);
}

static void common_write_queue(struct virtio_dev *vdev, uint64_t offset,
			       uint32_t value)
{
	unsigned int q = vdev->queue_select;
	struct virtqueue *vq = &vdev->vq[q];

	if (offset == VIRTIO_PCI_COMMON_Q_MSIX) {
		vdev->vector[q] = usable_vector(vdev, value);
		virtio_loan_message(vdev, vdev->vector[q]);
		return;
	}
	/* 4.1.4.3.2: an enabled queue is not reprogrammed */
	if (vq->enabled || (vdev->status & VIRTIO_CONFIG_S_DRIVER_OK))
		return;
	switch (offset) {
	case VIRTIO_PCI_COMMON_Q_SIZE:
		vq->size = value;
		break;
	case VIRTIO_PCI_COMMON_Q_ENABLE:
		if (value == 1 && !vq_enable(vq))
			virtio_queue_failed(vdev, q);
		break;
	case VIRTIO_PCI_COMMON_Q_DESCLO:
	case VIRTIO_PCI_COMMON_Q_DESCHI:
		set_half(&vq->desc_gpa, offset & 4, value);
		break;
	case VIRTIO_PCI_COMMON_Q_AVAILLO:
	case VIRTIO_PCI_COMMON_Q_AVAILHI:
		set_half(&vq->avail_gpa, offset & 4, value);
		break;
	case VIRTIO_PCI_COMMON_Q_USEDLO:
	case VIRTIO_PCI_COMMON_Q_USEDHI:
		set_half(&vq->used_gpa, offset & 4, value);
		break;
	}
}

/* how wide the register at offset is, bytes; 0: none starts there */
static unsigned int common_width(uint64_t offset)
{
	switch (offset) {
	case VIRTIO_PCI_COMMON_STATUS:
		return 1;
	case VIRTIO_PCI_COMMON_MSIX:
	case VIRTIO_PCI_COMMON_Q_SELECT:
	case VIRTIO_PCI_COMMON_Q_SIZE:
	case VIRTIO_PCI_COMMON_Q_MSIX:
	case VIRTIO_PCI_COMMON_Q_ENABLE:
		return 2;
	case VIRTIO_PCI_COMMON_DFSELECT:
	case VIRTIO_PCI_COMMON_GFSELECT:
	case VIRTIO_PCI_COMMON_GF:
		return 4;
	}
	if (offset >= VIRTIO_PCI_COMMON_Q_DESCLO &&
	    offset <= VIRTIO_PCI_COMMON_Q_USEDHI && offset % 4 == 0)
		return 4;
	return 0;
}

/* 4.1.3.1: registers are written in their own width, addresses in halves */
static void common_write(struct virtio_dev *vdev, uint64_t offset,
			 uint64_t value, unsigned int size)
{
	if (size == 8) {
		common_write(vdev, offset, value & 0xffffffff, 4);
		common_write(vdev, offset + 4, value >> 32, 4);
		return;
	}
	if (size != common_width(offset))
		return;
	switch (offset) {
	case VIRTIO_PCI_COMMON_DFSELECT:
		vdev->device_feature_select = value;
		break;
	case VIRTIO_PCI_COMMON_GFSELECT:
		vdev->driver_feature_select = value;
		break;
	case VIRTIO_PCI_COMMON_GF:
		common_write_features(vdev, value);
		break;
	case VIRTIO_PCI_COMMON_MSIX:
		vdev->config_vector = usable_vector(vdev, value);
		break;
	case VIRTIO_PCI_COMMON_STATUS:
		virtio_set_status(vdev, value);
		virtio_place_bells(vdev);
		break;
	case VIRTIO_PCI_COMMON_Q_SELECT:
		vdev->queue_select = value;
		break;
	default:
		if (vdev->queue_select < vdev->nqueues)
			common_write_queue(vdev, offset, value);
	}
}

/* ---- the BAR -------------------------------------------------------------- */

static uint64_t bytes_at(const void *block, size_t len, uint64_t offset,
			 unsigned int size)
{
	uint64_t value = 0;

	if (offset < len)
		memcpy(&value, (const uint8_t *)block + offset,
		       size < len - offset ? size : len - offset);
	return value;
}

/* 4.1.4.5: reading acknowledges */
static uint8_t isr_read(struct virtio_dev *vdev)
{
	uint8_t isr = vdev->isr;

	vdev->isr = 0;
	pci_intx(&vdev->pci, false);
	return isr;
}

static uint64_t bar_read(void *owner, uint64_t offset, unsigned int size)
{
	struct virtio_dev *vdev = owner;
	struct virtio_pci_common_cfg common;
	uint64_t at = offset % BAR_BLOCK;

	switch (offset - at) {
	case BAR_COMMON:
		common_read(vdev, &common);
		return bytes_at(&common, sizeof(common), at, size);
	case BAR_ISR:
		return at ? 0 : isr_read(vdev);
	case BAR_DEVICE:
		return bytes_at(vdev->config, vdev->config_len, at, size);
	}
	return 0;
}

static void bar_write(void *owner, uint64_t offset, uint64_t value,
		      unsigned int size)
{
	struct virtio_dev *vdev = owner;
	uint64_t at = offset % BAR_BLOCK;

	switch (offset - at) {
	case BAR_COMMON:
		common_write(vdev, at, value, size);
		break;
	case BAR_DEVICE:
		if (vdev->ops->config_write)
			vdev->ops->config_write(vdev->owner, at, value, size);
		break;
	case BAR_NOTIFY:
		/* the address says which queue, as a doorbell sees it */
		virtio_notify(vdev, at / NOTIFY_MULTIPLIER);
		break;
	}
}

void virtio_place_bells(struct virtio_dev *vdev)
{
	const struct pci_bar *bar = &vdev->pci.bar[0];
	bool on = bar->mapped && (vdev->status & VIRTIO_CONFIG_S_DRIVER_OK);
	uint64_t gpa = bar->addr + BAR_NOTIFY;
	unsigned int q;

	for (q = 0; q < vdev->nqueues; q++, gpa += NOTIFY_MULTIPLIER)
		virtio_bell_set(vdev, q, on && vdev->vq[q].enabled ? gpa : 0);
}

static void message_changed(void *owner, uint16_t vector)
{
	virtio_loan_message(owner, vector);
}

static const struct bus_ops bar_ops = {
	.read = bar_read,
	.write = bar_write,
};

/* ---- the window in config space, 4.1.4.9 --------------------------------- */

static uint32_t config_get32(const struct virtio_dev *vdev, unsigned int at)
{
	uint32_t value;

	memcpy(&value, &vdev->pci.config[at], sizeof(value));
	return value;
}

/* does an access touch the data field, and where does it lead */
static bool window_hit(const struct virtio_dev *vdev, uint16_t offset,
		       unsigned int size, uint32_t *bar_offset, uint32_t *len)
{
	unsigned int data = vdev->cfg_cap + sizeof(struct virtio_pci_cap);

	if (offset + size <= data || offset >= data + 4)
		return false;
	*bar_offset = config_get32(vdev, vdev->cfg_cap + VIRTIO_PCI_CAP_OFFSET);
	*len = config_get32(vdev, vdev->cfg_cap + VIRTIO_PCI_CAP_LENGTH);
	return vdev->pci.config[vdev->cfg_cap + VIRTIO_PCI_CAP_BAR] == 0 &&
	       (*len == 1 || *len == 2 || *len == 4) &&
	       *bar_offset % *len == 0 && *bar_offset < BAR_SIZE;
}

static void window_written(void *owner, uint16_t offset, unsigned int size)
{
	struct virtio_dev *vdev = owner;
	uint32_t at, len, value;

	/* the BAR may have moved */
	virtio_place_bells(vdev);
	/* a driver that may master the bus now may have been waiting */
	if (offset <= PCI_COMMAND && offset + size > PCI_COMMAND) {
		virtio_run_changed(vdev);
		virtio_notify_all(vdev);
	}
	if (!window_hit(vdev, offset, size, &at, &len))
		return;
	value = config_get32(vdev, vdev->cfg_cap + sizeof(struct virtio_pci_cap));
	if (len < 4)
		value &= (1U << (8 * len)) - 1;
	bar_write(vdev, at, value, len);
}

static void window_reading(void *owner, uint16_t offset, unsigned int size)
{
	struct virtio_dev *vdev = owner;
	uint32_t at, len, value;

	if (!window_hit(vdev, offset, size, &at, &len))
		return;
	value = bar_read(vdev, at, len);
	memcpy(&vdev->pci.config[vdev->cfg_cap + sizeof(struct virtio_pci_cap)],
	       &value, len);
}

/* ---- making one ----------------------------------------------------------- */

/* returns where the capability is; 0: no room */
static uint8_t add_cap(struct pci_dev *pci, uint8_t type, uint32_t offset,
		       uint32_t length, uint8_t size)
{
	uint8_t at = pci_add_cap(pci, PCI_CAP_ID_VNDR, size);
	uint8_t *cap = &pci->config[at];

	if (!at)
		return 0;
	cap[VIRTIO_PCI_CAP_LEN] = size;
	cap[VIRTIO_PCI_CAP_CFG_TYPE] = type;
	memcpy(&cap[VIRTIO_PCI_CAP_OFFSET], &offset, sizeof(offset));
	memcpy(&cap[VIRTIO_PCI_CAP_LENGTH], &length, sizeof(length));
	return at;
}

static bool add_caps(struct virtio_dev *vdev)
{
	const uint8_t size = sizeof(struct virtio_pci_cap);
	struct pci_dev *pci = &vdev->pci;
	uint32_t multiplier = NOTIFY_MULTIPLIER;
	uint8_t notify, cfg;

	if (!add_cap(pci, VIRTIO_PCI_CAP_COMMON_CFG, BAR_COMMON,
		     sizeof(struct virtio_pci_common_cfg), size) ||
	    !add_cap(pci, VIRTIO_PCI_CAP_ISR_CFG, BAR_ISR, 1, size))
		return false;
	/* 4.1.4.6: present if the device has a config of its own */
	if (vdev->config_len &&
	    !add_cap(pci, VIRTIO_PCI_CAP_DEVICE_CFG, BAR_DEVICE, BAR_BLOCK, size))
		return false;
	notify = add_cap(pci, VIRTIO_PCI_CAP_NOTIFY_CFG, BAR_NOTIFY,
			 vdev->nqueues * NOTIFY_MULTIPLIER, size + 4);
	cfg = add_cap(pci, VIRTIO_PCI_CAP_PCI_CFG, 0, 0, size + 4);
	if (!notify || !cfg)
		return false;
	memcpy(&pci->config[notify + VIRTIO_PCI_NOTIFY_CAP_MULT], &multiplier,
	       sizeof(multiplier));
	/* bar, and offset, length, data: the driver's to write */
	pci->wmask[cfg + VIRTIO_PCI_CAP_BAR] = 0xff;
	memset(&pci->wmask[cfg + VIRTIO_PCI_CAP_OFFSET], 0xff, 12);
	vdev->cfg_cap = cfg;
	return true;
}

int virtio_pci_new(struct virtio_dev *vdev, struct dev_env *env,
		   struct pci_bus *bus)
{
	const struct pci_bar bar = {
		.size = BAR_SIZE,
		.ops = &bar_ops,
		.owner = vdev,
	};
	struct pci_dev *pci = &vdev->pci;
	unsigned int q;
	int ret;

	vdev->env = env;
	vdev->kick = loop_timer_new(env->loop, virtio_notify_all, vdev);
	if (!vdev->kick)
		return -ENOMEM;
	vdev->config_vector = VIRTIO_MSI_NO_VECTOR;
	for (q = 0; q < vdev->nqueues; q++) {
		vq_init(&vdev->vq[q], env->mem, vdev->queue_size);
		vdev->vector[q] = VIRTIO_MSI_NO_VECTOR;
	}
	pci->name = vdev->name;
	pci->owner = vdev;
	pci->config_written = window_written;
	pci->config_reading = window_reading;
	pci->msix_changed = message_changed;
	/* revision 1: no legacy interface, 4.1.2.1 */
	pci_init_ids(pci, VIRTIO_VENDOR, VIRTIO_MODERN_ID + vdev->id, 1,
		     vdev->class_code, VIRTIO_VENDOR, VIRTIO_SUBSYSTEM);
	pci_set_bar(pci, 0, &bar);
	if (!add_caps(vdev))
		return -ENOSPC;
	virtio_bells_new(vdev);
	/* one vector for config changes and one for each queue */
	ret = pci_msix_init(pci, MSIX_BAR, vdev->nqueues + 1);
	if (!ret)
		ret = pci_add(bus, pci, -1);
	if (!ret)
		ret = env->add(env, vdev->name, &virtio_dev_ops, vdev);
	return ret;
}
