// SPDX-License-Identifier: GPL-2.0
/*
 * The modern PCI transport, worked through ports and MMIO by a driver, with a
 * device behind it that echoes what it reads.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <linux/pci_regs.h>
#include <linux/virtio_config.h>
#include <linux/virtio_pci.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "iov.h"
#include "virtio/virtio_pci.h"
#include "virtio_driver.h"

#define F_VERSION_1	(1ULL << VIRTIO_F_VERSION_1)
#define F_EVENT_IDX	(1ULL << VIRTIO_RING_F_EVENT_IDX)
#define F_INDIRECT	(1ULL << VIRTIO_RING_F_INDIRECT_DESC)
#define F_PACKED	(1ULL << VIRTIO_F_RING_PACKED)
#define F_OWN		(1ULL << 5)
#define F_ALL		(F_VERSION_1 | F_EVENT_IDX | F_INDIRECT | F_OWN)
#define DRIVER_OK	(VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER | \
			 VIRTIO_CONFIG_S_FEATURES_OK | VIRTIO_CONFIG_S_DRIVER_OK)

/* ---- a device that copies what it reads to what it writes ----------------- */

struct echo {
	struct virtio_dev vdev;
	uint8_t config[12];
	unsigned int notified, quiesced;
	struct vq_chain chain;
};

static void echo_notify(void *owner, unsigned int q)
{
	struct echo *e = owner;
	uint8_t buf[256];
	size_t n;

	e->notified++;
	while (virtio_pop(&e->vdev, q, &e->chain) > 0) {
		n = iov_read(e->chain.out, e->chain.nout, 0, buf, sizeof(buf));
		n = iov_write(e->chain.in, e->chain.nin, 0, buf, n);
		vq_push(&e->vdev.vq[q], e->chain.head, n);
	}
	vq_want_notify(&e->vdev.vq[q], vq_pos(&e->vdev.vq[q]));
	virtio_signal(&e->vdev, q);
}

static void echo_quiesce(void *owner)
{
	struct echo *e = owner;

	e->quiesced++;
}

static void echo_free(void *owner)
{
	free(owner);
}

static const struct virtio_ops echo_ops = {
	.notify = echo_notify,
	.quiesce = echo_quiesce,
	.free = echo_free,
};

struct fixture {
	struct vt_machine *m;
	struct vt_dev d;
	struct echo *e;
	uint64_t out, in;
};

static int start(void **state, struct vt_machine *m)
{
	struct fixture *f = calloc(1, sizeof(*f));

	f->m = m;
	f->e = calloc(1, sizeof(*f->e));
	memcpy(f->e->config, "configspace!", 12);
	f->e->vdev = (struct virtio_dev){
		.name = "echo",
		.id = 0x1f,
		.class_code = 0xff0000,
		.features = F_OWN,
		.config = f->e->config,
		.config_len = sizeof(f->e->config),
		.nqueues = 2,
		.queue_size = 64,
		.ops = &echo_ops,
		.owner = f->e,
	};
	vt_lock(f->m);
	assert_int_equal(virtio_pci_new(&f->e->vdev, &f->m->env, f->m->bus), 0);
	vt_unlock(f->m);
	vt_probe(&f->d, f->m, f->e->vdev.pci.devfn);
	f->out = vt_alloc(f->m, 4096, 4096);
	f->in = vt_alloc(f->m, 4096, 4096);
	*state = f;
	return 0;
}

static int setup(void **state)
{
	return start(state, vt_new());
}

static int setup_packed(void **state)
{
	return start(state, vt_new_packed());
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	vt_free(f->m);
	free(f);
	return 0;
}

static uint16_t offer(struct fixture *f, unsigned int q, const char *text)
{
	const struct vt_buf bufs[] = {
		{ f->out, 32, false },
		{ f->in, 32, true },
	};

	strcpy(vt_ptr(f->m, f->out, 32), text);
	memset(vt_ptr(f->m, f->in, 32), 0, 32);
	return vt_add(&f->d, q, bufs, 2);
}

static void echoes(struct fixture *f, unsigned int q, const char *text)
{
	struct vring_used_elem elem;
	uint16_t head = offer(f, q, text);

	vt_kick(&f->d, q);
	assert_true(vt_get(&f->d, q, &elem));
	assert_int_equal(elem.id, head);
	assert_int_equal(elem.len, 32);
	assert_string_equal(vt_ptr(f->m, f->in, 32), text);
}

/* ---- what a driver finds -------------------------------------------------- */

static void test_identity(void **state)
{
	struct fixture *f = *state;
	struct vt_dev *d = &f->d;

	assert_int_equal(vt_cfg_read(f->m, d->devfn, PCI_DEVICE_ID, 2), 0x105f);
	assert_true(vt_cfg_read(f->m, d->devfn, PCI_REVISION_ID, 1) >= 1);
	assert_int_equal(vt_cfg_read(f->m, d->devfn, PCI_INTERRUPT_PIN, 1), 1);
	assert_int_equal(vt_read(d, d->common + VIRTIO_PCI_COMMON_NUMQ, 2), 2);
	assert_int_equal(vt_features(d), F_ALL);
	/* words beyond the second are zero */
	vt_write(d, d->common + VIRTIO_PCI_COMMON_DFSELECT, 2, 4);
	assert_int_equal(vt_read(d, d->common + VIRTIO_PCI_COMMON_DF, 4), 0);
}

static void test_negotiation(void **state)
{
	struct fixture *f = *state;
	struct vt_dev *d = &f->d;

	assert_false(vt_negotiate(d, F_OWN));			/* no VERSION_1 */
	assert_false(vt_negotiate(d, F_VERSION_1 | 1ULL << 7));	/* not offered */
	assert_true(vt_negotiate(d, F_VERSION_1));
	/* 3.1.1: fixed from now on */
	vt_write(d, d->common + VIRTIO_PCI_COMMON_GFSELECT, 0, 4);
	vt_write(d, d->common + VIRTIO_PCI_COMMON_GF, 0xffffffff, 4);
	assert_int_equal(vt_read(d, d->common + VIRTIO_PCI_COMMON_GF, 4), 0);
	assert_int_equal(f->e->vdev.driver_features, F_VERSION_1);
	vt_set_status(d, 0);
	assert_int_equal(vt_status(d), 0);
	/* DRIVER_OK without FEATURES_OK is not taken */
	vt_set_status(d, VIRTIO_CONFIG_S_DRIVER_OK);
	assert_int_equal(vt_status(d), 0);
}

static void test_queue_registers(void **state)
{
	struct fixture *f = *state;
	struct vt_dev *d = &f->d;
	uint64_t c = d->common;

	assert_true(vt_negotiate(d, F_ALL));
	vt_write(d, c + VIRTIO_PCI_COMMON_Q_SELECT, 2, 2);
	assert_int_equal(vt_read(d, c + VIRTIO_PCI_COMMON_Q_SIZE, 2), 0);
	vt_write(d, c + VIRTIO_PCI_COMMON_Q_SIZE, 8, 2);
	vt_write(d, c + VIRTIO_PCI_COMMON_Q_ENABLE, 1, 2);
	vt_write(d, c + VIRTIO_PCI_COMMON_Q_SELECT, 1, 2);
	assert_int_equal(vt_read(d, c + VIRTIO_PCI_COMMON_Q_SIZE, 2), 64);
	assert_int_equal(vt_read(d, c + VIRTIO_PCI_COMMON_Q_NOFF, 2), 1);
	/* a vector that is not there reads back as none */
	vt_write(d, c + VIRTIO_PCI_COMMON_Q_MSIX, 3, 2);
	assert_int_equal(vt_read(d, c + VIRTIO_PCI_COMMON_Q_MSIX, 2), 0xffff);
	vt_write(d, c + VIRTIO_PCI_COMMON_Q_MSIX, 2, 2);
	assert_int_equal(vt_read(d, c + VIRTIO_PCI_COMMON_Q_MSIX, 2), 2);
	vt_setup_queue(d, 1, 16);
	assert_int_equal(vt_read(d, c + VIRTIO_PCI_COMMON_Q_ENABLE, 2), 1);
	/* 64-bit accesses work, 8-bit ones to wider registers do not */
	assert_int_equal(vt_read(d, c + VIRTIO_PCI_COMMON_Q_DESCLO, 8),
			 d->q[1].desc_gpa);
	/* enabled: what it is made of does not change */
	vt_write(d, c + VIRTIO_PCI_COMMON_Q_DESCLO, 0x1000, 4);
	vt_write(d, c + VIRTIO_PCI_COMMON_Q_SIZE, 4, 2);
	assert_int_equal(vt_read(d, c + VIRTIO_PCI_COMMON_Q_DESCLO, 8),
			 d->q[1].desc_gpa);
	assert_int_equal(vt_read(d, c + VIRTIO_PCI_COMMON_Q_SIZE, 2), 16);
	vt_set_status(d, 0);
	vt_write(d, c + VIRTIO_PCI_COMMON_Q_SELECT, 1, 2);
	assert_int_equal(vt_read(d, c + VIRTIO_PCI_COMMON_Q_ENABLE, 2), 0);
	assert_int_equal(vt_read(d, c + VIRTIO_PCI_COMMON_Q_SIZE, 2), 64);
	/* an address is written in halves or at once */
	vt_write(d, c + VIRTIO_PCI_COMMON_Q_USEDLO, 0x123456789abcd000ULL, 8);
	assert_int_equal(vt_read(d, c + VIRTIO_PCI_COMMON_Q_USEDHI, 4), 0x12345678);
}

static void test_device_config(void **state)
{
	struct fixture *f = *state;
	struct vt_dev *d = &f->d;

	assert_int_equal(vt_read(d, d->device, 4), 0x666e6f63);
	assert_int_equal(vt_read(d, d->device + 11, 1), '!');
	/* over the end: nothing there */
	assert_int_equal(vt_read(d, d->device + 10, 4), 'e' | '!' << 8);
	assert_int_equal(vt_read(d, d->device + 12, 8), 0);
	vt_write(d, d->device, 0, 4);
	assert_int_equal(f->e->config[0], 'c');
}

/* ---- work ----------------------------------------------------------------- */

static void test_echo_msix(void **state)
{
	struct fixture *f = *state;

	vt_enable_msix(&f->d, 3);
	vt_start(&f->d, F_VERSION_1, 2, 16);
	echoes(f, 0, "first");
	echoes(f, 1, "second");
	echoes(f, 1, "third");
	assert_int_equal(f->m->msi[0], 0);
	assert_int_equal(f->m->msi[1], 1);
	assert_int_equal(f->m->msi[2], 2);
	/* 4.1.4.5: with MSI-X, no wire and no ISR */
	assert_int_equal(vt_read(&f->d, f->d.isr, 1), 0);
}

static bool wire(struct fixture *f)
{
	unsigned int i;

	for (i = 0; i < 24; i++)
		if (f->m->gsi[i])
			return true;
	return false;
}

static void test_echo_intx(void **state)
{
	struct fixture *f = *state;

	vt_start(&f->d, F_VERSION_1, 2, 16);
	assert_false(wire(f));
	echoes(f, 0, "wire");
	assert_true(wire(f));
	assert_int_equal(vt_read(&f->d, f->d.isr, 1), 1);
	assert_false(wire(f));
	assert_int_equal(vt_read(&f->d, f->d.isr, 1), 0);
	/* reset drops the wire as well */
	echoes(f, 0, "again");
	assert_true(wire(f));
	vt_set_status(&f->d, 0);
	assert_false(wire(f));
}

/* SeaBIOS sets up queues before it negotiates, and polls */
static void test_firmware_order(void **state)
{
	struct fixture *f = *state;
	struct vt_dev *d = &f->d;

	vt_set_status(d, 0);
	vt_set_status(d, VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER);
	vt_setup_queue(d, 0, 16);
	vt_write(d, d->common + VIRTIO_PCI_COMMON_GFSELECT, 1, 4);
	vt_write(d, d->common + VIRTIO_PCI_COMMON_GF, 1, 4);
	vt_set_status(d, DRIVER_OK & ~VIRTIO_CONFIG_S_DRIVER_OK);
	vt_set_status(d, DRIVER_OK);
	assert_int_equal(vt_status(d), DRIVER_OK);
	echoes(f, 0, "boot");
}

/* 3.1.1: buffers offered before DRIVER_OK are seen at it, not earlier */
static void test_early_buffers(void **state)
{
	struct fixture *f = *state;
	struct vring_used_elem elem;

	assert_true(vt_negotiate(&f->d, F_VERSION_1));
	vt_setup_queue(&f->d, 0, 16);
	offer(f, 0, "early");
	vt_kick(&f->d, 0);
	assert_int_equal(f->e->notified, 0);
	vt_set_status(&f->d, DRIVER_OK);
	assert_true(vt_get(&f->d, 0, &elem));
}

/* VIRTIO_F_RING_PACKED is the machine's to offer, and the driver's to take */
static void test_packed(void **state)
{
	struct fixture *f = *state;
	unsigned int i;

	assert_int_equal(vt_features(&f->d), F_ALL | F_PACKED);
	vt_enable_msix(&f->d, 3);
	vt_start(&f->d, F_ALL, 2, 16);
	assert_false(f->d.q[0].is_packed);
	echoes(f, 0, "split");
	vt_start(&f->d, F_ALL | F_PACKED, 2, 15);
	assert_true(f->d.q[0].is_packed);
	for (i = 0; i < 40; i++)
		echoes(f, i % 2, "packed");
	assert_int_equal(f->m->msi[1], 21);
	assert_int_equal(f->m->msi[2], 20);
}

/* without bus mastership a device leaves memory alone */
static void test_bus_master(void **state)
{
	struct fixture *f = *state;
	struct vring_used_elem elem;

	vt_start(&f->d, F_VERSION_1, 2, 16);
	vt_cfg_write(f->m, f->d.devfn, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
	offer(f, 0, "master");
	vt_kick(&f->d, 0);
	assert_int_equal(f->d.q[0].used->idx, 0);
	vt_cfg_write(f->m, f->d.devfn, PCI_COMMAND, 2,
		     PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
	assert_true(vt_get(&f->d, 0, &elem));
}

/* ---- the window in config space, 4.1.4.9 --------------------------------- */

static void window(struct fixture *f, uint32_t offset, uint32_t len)
{
	uint8_t cap = f->d.cfg_cap;

	vt_cfg_write(f->m, f->d.devfn, cap + VIRTIO_PCI_CAP_BAR, 1, 0);
	vt_cfg_write(f->m, f->d.devfn, cap + VIRTIO_PCI_CAP_OFFSET, 4, offset);
	vt_cfg_write(f->m, f->d.devfn, cap + VIRTIO_PCI_CAP_LENGTH, 4, len);
}

static void test_window(void **state)
{
	struct fixture *f = *state;
	uint32_t common = f->d.common - f->d.bar[0];
	uint8_t data = f->d.cfg_cap + 16;

	window(f, common + VIRTIO_PCI_COMMON_NUMQ, 2);
	assert_int_equal(vt_cfg_read(f->m, f->d.devfn, data, 2), 2);
	window(f, common + VIRTIO_PCI_COMMON_STATUS, 1);
	vt_cfg_write(f->m, f->d.devfn, data, 1, VIRTIO_CONFIG_S_ACKNOWLEDGE);
	assert_int_equal(vt_status(&f->d), VIRTIO_CONFIG_S_ACKNOWLEDGE);
	assert_int_equal(vt_cfg_read(f->m, f->d.devfn, data, 1),
			 VIRTIO_CONFIG_S_ACKNOWLEDGE);
	window(f, common + VIRTIO_PCI_COMMON_GF, 4);
	vt_cfg_write(f->m, f->d.devfn, data, 4, 0x12345678);
	assert_int_equal(vt_read(&f->d, f->d.common + VIRTIO_PCI_COMMON_GF, 4),
			 0x12345678);
	/* nonsense does nothing */
	window(f, common + VIRTIO_PCI_COMMON_STATUS, 3);
	vt_cfg_write(f->m, f->d.devfn, data, 4, 0);
	window(f, 0xfffffffc, 4);
	vt_cfg_write(f->m, f->d.devfn, data, 4, 0);
	vt_cfg_read(f->m, f->d.devfn, data, 4);
	window(f, common + VIRTIO_PCI_COMMON_GF + 1, 4);
	vt_cfg_write(f->m, f->d.devfn, data, 4, 0);
	assert_int_equal(vt_status(&f->d), VIRTIO_CONFIG_S_ACKNOWLEDGE);
}

/* ---- a driver that breaks rules ------------------------------------------- */

static void test_needs_reset(void **state)
{
	struct fixture *f = *state;
	unsigned int configs;

	vt_enable_msix(&f->d, 3);
	vt_start(&f->d, F_VERSION_1, 2, 16);
	echoes(f, 0, "fine");
	configs = f->m->msi[0];
	f->d.q[0].avail->idx += 100;
	vt_kick(&f->d, 0);
	assert_int_equal(vt_status(&f->d), DRIVER_OK | VIRTIO_CONFIG_S_NEEDS_RESET);
	/* 2.1.2: told by a configuration change */
	assert_int_equal(f->m->msi[0], configs + 1);
	assert_int_equal(f->e->vdev.reports, 1);
	/* dead, also its other queue; and no more lines */
	offer(f, 1, "dead");
	vt_kick(&f->d, 1);
	vt_kick(&f->d, 0);
	assert_int_equal(f->d.q[1].used->idx, 0);
	assert_int_equal(f->e->vdev.reports, 1);
	/* and well again after a reset */
	vt_start(&f->d, F_VERSION_1, 2, 16);
	echoes(f, 0, "alive");
	echoes(f, 1, "alive");
}

static void test_rings_in_rom(void **state)
{
	struct fixture *f = *state;
	struct vt_dev *d = &f->d;

	assert_true(vt_negotiate(d, F_VERSION_1));
	vt_write(d, d->common + VIRTIO_PCI_COMMON_Q_SELECT, 0, 2);
	vt_write(d, d->common + VIRTIO_PCI_COMMON_Q_DESCLO, VT_ROM, 8);
	vt_write(d, d->common + VIRTIO_PCI_COMMON_Q_AVAILLO, VT_RAM, 8);
	vt_write(d, d->common + VIRTIO_PCI_COMMON_Q_USEDLO, VT_RAM + 4096, 8);
	vt_write(d, d->common + VIRTIO_PCI_COMMON_Q_ENABLE, 1, 2);
	assert_true(vt_status(d) & VIRTIO_CONFIG_S_NEEDS_RESET);
	vt_set_status(d, DRIVER_OK);
	vt_kick(d, 0);
	assert_int_equal(f->e->notified, 0);
}

static void test_packed_needs_reset(void **state)
{
	struct fixture *f = *state;
	struct vt_queue *vq = &f->d.q[0];

	vt_start(&f->d, F_ALL | F_PACKED, 2, 16);
	offer(f, 0, "endless");
	vq->packed[1].flags |= VRING_DESC_F_INDIRECT;
	vt_kick(&f->d, 0);
	assert_int_equal(vt_status(&f->d), DRIVER_OK | VIRTIO_CONFIG_S_NEEDS_RESET);
	assert_int_equal(f->e->vdev.reports, 1);
	assert_false(vt_used(&f->d, 0));
	vt_start(&f->d, F_ALL | F_PACKED, 2, 16);
	echoes(f, 0, "alive");
}

/* a guest that breaks its device for ever does not fill the host's log */
static void test_report_flood(void **state)
{
	struct fixture *f = *state;
	unsigned int i, lines = 0;
	char buf[8192];
	int fd[2], saved;
	ssize_t n;

	assert_int_equal(pipe(fd), 0);
	saved = dup(2);
	dup2(fd[1], 2);
	for (i = 0; i < 100; i++) {
		f->m->alloc = VT_RAM + 0x10000;
		vt_start(&f->d, F_VERSION_1, 1, 16);
		f->d.q[0].avail->idx += 100;
		vt_kick(&f->d, 0);
	}
	dup2(saved, 2);
	close(saved);
	close(fd[1]);
	n = read(fd[0], buf, sizeof(buf));
	close(fd[0]);
	assert_true(n > 0);
	while (n--)
		lines += buf[n] == '\n';
	assert_int_equal(lines, 20);
}

/* ---- snapshots ------------------------------------------------------------ */

static size_t save(struct fixture *f, uint8_t *buf, size_t max)
{
	struct vt_registered *r = &f->m->dev[f->m->ndevs - 1];
	size_t n;

	vt_lock(f->m);
	assert_true(r->ops->save(r->owner, NULL, 0) <= max);
	n = r->ops->save(r->owner, buf, max);
	assert_int_equal(n, r->ops->save(r->owner, NULL, 0));
	vt_unlock(f->m);
	return n;
}

static int load(struct fixture *f, const uint8_t *buf, size_t len)
{
	struct vt_registered *r = &f->m->dev[f->m->ndevs - 1];
	int ret;

	vt_lock(f->m);
	ret = r->ops->load(r->owner, buf, len);
	vt_unlock(f->m);
	return ret;
}

static void reset(struct fixture *f)
{
	struct vt_registered *r = &f->m->dev[f->m->ndevs - 1];

	vt_lock(f->m);
	r->ops->reset(r->owner);
	vt_unlock(f->m);
}

static void save_load(struct fixture *f, uint64_t features)
{
	uint8_t a[8192], b[8192];
	size_t n;

	vt_enable_msix(&f->d, 3);
	vt_start(&f->d, features, 2, 16);
	echoes(f, 0, "before");
	n = save(f, a, sizeof(a));
	reset(f);
	assert_int_equal(f->e->vdev.status, 0);
	assert_false(pci_msix_enabled(&f->e->vdev.pci));
	assert_int_equal(load(f, a, n), 0);
	assert_int_equal(save(f, b, sizeof(b)), n);
	assert_memory_equal(a, b, n);
	/* and the driver notices nothing */
	echoes(f, 0, "after");
	echoes(f, 1, "after");
	assert_int_equal(f->m->msi[2], 1);
}

static void test_save_load(void **state)
{
	save_load(*state, F_VERSION_1 | F_EVENT_IDX);
}

static void test_save_load_packed(void **state)
{
	save_load(*state, F_VERSION_1 | F_EVENT_IDX | F_PACKED);
}

/* what was offered and not yet seen when the snapshot was taken */
static void test_load_looks_at_queues(void **state)
{
	struct fixture *f = *state;
	struct vring_used_elem elem;
	uint8_t a[8192];
	size_t n;

	vt_start(&f->d, F_VERSION_1, 2, 16);
	offer(f, 0, "pending");
	n = save(f, a, sizeof(a));
	reset(f);
	assert_int_equal(load(f, a, n), 0);
	assert_true(vt_get(&f->d, 0, &elem));
}

static void bad_states(struct fixture *f, uint64_t features)
{
	uint8_t a[8192], b[8192], c[8192];
	unsigned int i, refused = 0;
	size_t n;

	vt_enable_msix(&f->d, 3);
	vt_start(&f->d, features, 2, 16);
	echoes(f, 0, "state");
	n = save(f, a, sizeof(a));
	assert_int_equal(load(f, a, n - 1), -22);
	assert_int_equal(load(f, a, n + 1), -22);
	assert_int_equal(load(f, a, 0), -22);
	/* each byte turned over: refused with nothing changed, or a state */
	for (i = 0; i < n; i++) {
		memcpy(b, a, n);
		b[i] ^= 0xff;
		if (!load(f, b, n)) {
			assert_int_equal(save(f, c, sizeof(c)), n);
			assert_int_equal(load(f, a, n), 0);
			continue;
		}
		refused++;
		assert_int_equal(save(f, c, sizeof(c)), n);
		assert_memory_equal(a, c, n);
	}
	assert_true(refused > 100);
	echoes(f, 0, "still");
}

static void test_bad_states(void **state)
{
	bad_states(*state, F_VERSION_1);
}

static void test_bad_states_packed(void **state)
{
	bad_states(*state, F_VERSION_1 | F_PACKED);
}

/* ---- random accesses ------------------------------------------------------ */

static uint64_t seed = 0x853c49e6748fea9bULL;

static uint32_t rnd(uint32_t below)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return (seed >> 32) % below;
}

static void random_access(struct fixture *f)
{
	unsigned int size = 1U << rnd(4);
	uint64_t addr, value = (uint64_t)rnd(~0U) << 32 | rnd(~0U);

	switch (rnd(4)) {
	case 0:
		addr = f->d.common + rnd(64);
		if (rnd(2))
			value = rnd(4) ? VT_RAM + rnd(16) * 4096 : rnd(256);
		break;
	case 1:
		addr = f->d.notify + rnd(16);
		break;
	case 2:
		addr = f->d.bar[0] + rnd(0x4000);
		break;
	default:
		if (rnd(2))
			vt_cfg_write(f->m, f->d.devfn, f->d.cfg_cap + rnd(20),
				     1U << rnd(3), value);
		else
			vt_cfg_read(f->m, f->d.devfn, rnd(256), 1U << rnd(3));
		return;
	}
	if (rnd(3))
		vt_write(&f->d, addr, value, size);
	else
		vt_read(&f->d, addr, size);
}

static void test_random(void **state)
{
	struct fixture *f = *state;
	uint64_t end = vt_now_ms() + 1000;
	unsigned int i, round;
	uint32_t *ram = vt_ptr(f->m, VT_RAM, 16 * 4096);

	for (round = 0; vt_now_ms() < end; round++) {
		for (i = 0; i < 16 * 1024; i++)
			ram[i] = rnd(8) ? rnd(64) : VT_RAM + rnd(4096);
		if (rnd(2)) {
			f->m->alloc = VT_RAM;
			vt_start(&f->d, rnd(2) ? ~0ULL : F_ALL, 2, 16);
		}
		for (i = 0; i < 500; i++)
			random_access(f);
	}
	/* whatever it was, a reset heals it */
	vt_probe(&f->d, f->m, f->e->vdev.pci.devfn);
	f->m->alloc = VT_RAM + 0x100000;
	f->out = vt_alloc(f->m, 4096, 4096);
	f->in = vt_alloc(f->m, 4096, 4096);
	vt_start(&f->d, F_ALL, 2, 16);
	echoes(f, 0, "healed");
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
#define P(name) cmocka_unit_test_setup_teardown(name, setup_packed, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_identity),
		T(test_negotiation),
		T(test_queue_registers),
		T(test_device_config),
		T(test_echo_msix),
		T(test_echo_intx),
		T(test_firmware_order),
		T(test_early_buffers),
		T(test_bus_master),
		T(test_window),
		T(test_needs_reset),
		T(test_rings_in_rom),
		T(test_report_flood),
		T(test_save_load),
		T(test_load_looks_at_queues),
		T(test_bad_states),
		T(test_random),
		P(test_packed),
		P(test_packed_needs_reset),
		P(test_save_load_packed),
		P(test_bad_states_packed),
		{ "test_random (packed)", test_random, setup_packed, teardown, NULL },
	};

	return cmocka_run_group_tests_name("virtio_pci", tests, NULL, NULL);
}
