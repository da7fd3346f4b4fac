// SPDX-License-Identifier: GPL-2.0
/*
 * The network device, worked by a driver, in front of a back end that the
 * test holds in its hands.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <linux/if_tun.h>
#include <linux/virtio_config.h>
#include <linux/virtio_net.h>
#include <linux/virtio_pci.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bus.h"
#include "iov.h"
#include "net/net.h"
#include "virtio/virtio_net.h"
#include "virtio_driver.h"

#define F_VERSION_1	(1ULL << VIRTIO_F_VERSION_1)
#define F_EVENT_IDX	(1ULL << VIRTIO_RING_F_EVENT_IDX)
#define F_MRG		(1ULL << VIRTIO_NET_F_MRG_RXBUF)
#define F_ALL		(~0ULL)
#define RX		0
#define TX		1
#define HDR		12
#define DEVFN		(3 << 3)
#define PAIRS		3
#define CTRL		(2 * PAIRS)
#define QUEUES		(CTRL + 1)

struct back_end {
	struct net net;
	unsigned int sent, resumed;
	unsigned int last_pair;
	/* as configured */
	unsigned int pairs, offloads;
	int configure_ret;
	size_t last_len;
	uint8_t last[2048];
};

struct fixture {
	struct vt_machine *m;
	struct vt_dev d;
	struct back_end be;
	uint64_t tx, rx;	/* guest memory for frames */
};

static void be_send(struct net *net, unsigned int pair,
		    const struct iovec *iov, unsigned int n, size_t len)
{
	struct back_end *be = (struct back_end *)net;

	be->sent++;
	be->last_pair = pair;
	be->last_len = len;
	assert_int_equal(iov_read(iov, n, 0, be->last, sizeof(be->last)),
			 len < sizeof(be->last) ? len : sizeof(be->last));
}

static void be_resume(struct net *net, unsigned int pair)
{
	((struct back_end *)net)->resumed++;
}

static int be_configure(struct net *net, unsigned int pairs,
			unsigned int offloads)
{
	struct back_end *be = (struct back_end *)net;

	if (be->configure_ret)
		return be->configure_ret;
	be->pairs = pairs;
	be->offloads = offloads;
	return 0;
}

static const struct net_ops be_ops = { .send = be_send, .resume = be_resume };
static const struct net_ops be_tap_ops = {
	.send = be_send,
	.resume = be_resume,
	.configure = be_configure,
};

/* one pair and no headers, as slirp; or several with, as a tap device */
static int start(void **state, struct vt_machine *m, unsigned int pairs)
{
	static const uint8_t mac[6] = { 0x52, 0x54, 0, 1, 2, 3 };
	struct fixture *f = calloc(1, sizeof(*f));

	f->m = m;
	f->be.net.ops = pairs > 1 ? &be_tap_ops : &be_ops;
	f->be.net.pairs = pairs;
	f->be.net.has_header = pairs > 1;
	vt_lock(f->m);
	assert_int_equal(virtio_net_new(&f->m->env, f->m->bus, &f->be.net, mac), 0);
	vt_unlock(f->m);
	vt_probe(&f->d, f->m, DEVFN);
	vt_enable_msix(&f->d, 2 * pairs + 1 + (pairs > 1));
	f->tx = vt_alloc(f->m, 1 << 20, 4096);
	f->rx = vt_alloc(f->m, 1 << 20, 4096);
	*state = f;
	return 0;
}

static int setup(void **state)
{
	return start(state, vt_new(), 1);
}

static int setup_packed(void **state)
{
	return start(state, vt_new_packed(), 1);
}

static int setup_pairs(void **state)
{
	return start(state, vt_new(), PAIRS);
}

static int setup_pairs_packed(void **state)
{
	return start(state, vt_new_packed(), PAIRS);
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	vt_free_devices(f->m);
	assert_null(f->be.net.receive);
	vt_free(f->m);
	free(f);
	return 0;
}

static bool receive_on(struct fixture *f, unsigned int pair, const void *frame,
		       size_t len)
{
	bool ok;

	vt_lock(f->m);
	ok = f->be.net.receive(f->be.net.owner, pair, frame, len);
	net_received(&f->be.net);
	vt_unlock(f->m);
	return ok;
}

static bool receive(struct fixture *f, const void *frame, size_t len)
{
	return receive_on(f, 0, frame, len);
}

static void send_one(struct fixture *f, uint32_t hdr, uint32_t len)
{
	const struct vt_buf bufs[] = {
		{ f->tx, hdr, false },
		{ f->tx + 4096, len, false },
	};
	struct vring_used_elem elem;

	vt_add(&f->d, TX, bufs, 2);
	vt_kick(&f->d, TX);
	assert_true(vt_get(&f->d, TX, &elem));
	assert_int_equal(elem.len, 0);
}

static void offer_rx_on(struct fixture *f, unsigned int q, unsigned int n,
			uint32_t len)
{
	unsigned int i;

	for (i = 0; i < n; i++)
		vt_add(&f->d, q, &(struct vt_buf){ f->rx + i * 4096, len, true }, 1);
	vt_kick(&f->d, q);
}

static void offer_rx(struct fixture *f, unsigned int n, uint32_t len)
{
	offer_rx_on(f, RX, n, len);
}

static void test_config(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(vt_cfg_read(f->m, DEVFN, 2, 2), 0x1041);
	assert_int_equal(vt_read(&f->d, f->d.device, 4), 0x01005452);
	assert_int_equal(vt_read(&f->d, f->d.device + 4, 2), 0x0302);
	assert_int_equal(vt_read(&f->d, f->d.device + 6, 2), VIRTIO_NET_S_LINK_UP);
	assert_int_equal(vt_features(&f->d) & (1ULL << VIRTIO_NET_F_CSUM |
					       1ULL << VIRTIO_NET_F_CTRL_VQ), 0);
}

static void test_send(void **state)
{
	struct fixture *f = *state;
	uint8_t *p = vt_ptr(f->m, f->tx + 4096, 1514);
	unsigned int i;

	vt_start(&f->d, F_ALL, 2, 64);
	for (i = 0; i < 1514; i++)
		p[i] = i;
	send_one(f, HDR, 1514);
	assert_int_equal(f->be.sent, 1);
	assert_int_equal(f->be.last_len, 1514);
	assert_memory_equal(f->be.last, p, 1514);
	assert_int_equal(vt_msis(f->m, 2), 1);
	/* header and frame in pieces as the driver likes */
	send_one(f, 5, 60 + 7);
	assert_int_equal(f->be.last_len, 60);
	assert_memory_equal(f->be.last, p + 7, 60);
}

static void test_send_nonsense(void **state)
{
	struct fixture *f = *state;

	vt_start(&f->d, F_ALL, 2, 64);
	send_one(f, HDR, 0);			/* no frame */
	send_one(f, HDR, 13);			/* no Ethernet header */
	send_one(f, 0, 11);			/* no header */
	send_one(f, HDR, 65551);		/* no medium takes it */
	send_one(f, HDR, 900 * 1024);
	assert_int_equal(f->be.sent, 0);
	assert_int_equal(vt_status(&f->d) & VIRTIO_CONFIG_S_NEEDS_RESET, 0);
	send_one(f, HDR, 65550);
	assert_int_equal(f->be.sent, 1);
}

static bool all_sent(void *arg)
{
	struct fixture *f = arg;

	return f->be.sent >= 200;
}

/* a full queue is not sent under one hold of the lock, and yet all of it is */
static void test_send_batches(void **state)
{
	struct fixture *f = *state;
	unsigned int i, at_once;

	vt_start(&f->d, F_ALL, 2, 256);
	for (i = 0; i < 200; i++)
		vt_add(&f->d, TX, &(struct vt_buf){ f->tx, 100, false }, 1);
	/* the loop cannot get at the lock in between */
	vt_lock(f->m);
	bus_write(f->m->env.mmio, f->d.notify + TX * f->d.notify_multiplier, TX, 2);
	at_once = f->be.sent;
	vt_unlock(f->m);
	assert_int_equal(at_once, 64);
	assert_true(vt_wait(f->m, all_sent, f, 2000));
	assert_int_equal(f->be.sent, 200);
}

static void test_receive(void **state)
{
	struct fixture *f = *state;
	struct virtio_net_hdr_mrg_rxbuf *hdr = vt_ptr(f->m, f->rx, HDR);
	struct vring_used_elem elem;
	uint8_t frame[1514];

	vt_start(&f->d, F_ALL, 2, 64);
	memset(frame, 0x3c, sizeof(frame));
	memset(hdr, 0xff, HDR);
	offer_rx(f, 4, 2048);
	assert_true(receive(f, frame, 1514));
	assert_true(vt_get(&f->d, RX, &elem));
	assert_int_equal(elem.len, HDR + 1514);
	assert_int_equal(hdr->num_buffers, 1);
	assert_int_equal(hdr->hdr.flags | hdr->hdr.gso_type, 0);
	assert_memory_equal(vt_ptr(f->m, f->rx + HDR, 1514), frame, 1514);
	assert_int_equal(vt_msis(f->m, 1), 1);
	/* senseless frames of a back end are dropped */
	assert_true(receive(f, frame, 5));
	assert_false(vt_used(&f->d, RX));
}

/* frames that come together are told with one interrupt */
static void test_receive_batch(void **state)
{
	struct fixture *f = *state;
	struct vring_used_elem elem;
	uint8_t frame[100] = { 0 };
	unsigned int i;

	/* without event indices each would be worth one */
	vt_start(&f->d, F_VERSION_1, 2, 64);
	offer_rx(f, 8, 2048);
	vt_lock(f->m);
	for (i = 0; i < 8; i++)
		assert_true(f->be.net.receive(f->be.net.owner, 0, frame,
					      sizeof(frame)));
	assert_int_equal(f->m->msi[1], 0);
	net_received(&f->be.net);
	net_received(&f->be.net);
	assert_int_equal(f->m->msi[1], 1);
	vt_unlock(f->m);
	for (i = 0; i < 8; i++)
		assert_true(vt_get(&f->d, RX, &elem));
}

/* 5.1.6.3.1: a frame over several buffers appears at once */
static void test_merge(void **state)
{
	struct fixture *f = *state;
	struct virtio_net_hdr_mrg_rxbuf *hdr = vt_ptr(f->m, f->rx, HDR);
	struct vring_used_elem elem;
	uint8_t frame[1000], got[1012];
	unsigned int i, at = 0;

	vt_start(&f->d, F_ALL, 2, 64);
	for (i = 0; i < sizeof(frame); i++)
		frame[i] = i * 7;
	offer_rx(f, 10, 300);
	assert_true(receive(f, frame, sizeof(frame)));
	assert_int_equal(hdr->num_buffers, 4);
	for (i = 0; i < 4; i++) {
		assert_true(vt_used(&f->d, RX));
		assert_true(vt_get(&f->d, RX, &elem));
		memcpy(got + at, vt_ptr(f->m, f->rx + 4096 * i, elem.len), elem.len);
		at += elem.len;
	}
	assert_false(vt_used(&f->d, RX));
	assert_int_equal(at, HDR + sizeof(frame));
	assert_memory_equal(got + HDR, frame, sizeof(frame));
}

/* without MRG_RXBUF a frame that does not fit is lost, and its buffer is not */
static void test_no_merge(void **state)
{
	struct fixture *f = *state;
	struct vring_used_elem elem;
	uint8_t frame[1000] = { 0 };

	vt_start(&f->d, F_VERSION_1, 2, 64);
	offer_rx(f, 2, 300);
	assert_true(receive(f, frame, 1000));
	assert_int_equal(f->d.q[RX].used->idx, 0);
	assert_true(receive(f, frame, 100));
	assert_true(vt_get(&f->d, RX, &elem));
	assert_int_equal(elem.len, HDR + 100);
}

static void starve(struct fixture *f, uint64_t features)
{
	uint8_t frame[1000] = { 0 };
	unsigned int i;

	vt_start(&f->d, features, 2, 64);
	f->be.resumed = 0;
	assert_false(receive(f, frame, 100));
	offer_rx(f, 1, 2048);
	assert_int_equal(f->be.resumed, 1);
	assert_true(receive(f, frame, 100));
	assert_false(receive(f, frame, 100));
	/* some buffers, but too few: hear of the next one */
	offer_rx(f, 2, 300);
	assert_int_equal(f->be.resumed, 2);
	if (features & F_MRG) {
		assert_false(receive(f, frame, 1000));
		assert_int_equal(f->d.q[RX].used->idx, 1);
		offer_rx(f, 2, 300);
		assert_int_equal(f->be.resumed, 3);
		assert_true(receive(f, frame, 1000));
	}
	/* enough buffers: rings are not wanted */
	for (i = 0; i < 5; i++)
		offer_rx(f, 1, 2048);
	assert_true(f->be.resumed <= 3);
}

static void test_starving(void **state)
{
	struct fixture *f = *state;

	starve(f, F_VERSION_1);
	starve(f, F_VERSION_1 | F_MRG);
	starve(f, F_VERSION_1 | F_MRG | F_EVENT_IDX);
	/* with event indices it asked for the one after the last it saw */
	assert_false(receive(f, (uint8_t[65000]){ 0 }, 65000));
	assert_int_equal(*(uint16_t *)&f->d.q[RX].used->ring[64],
			 f->d.q[RX].avail->idx);
}

/* a back end that waits is woken by the next driver, whoever that is */
static void test_starving_over_reset(void **state)
{
	struct fixture *f = *state;
	uint8_t frame[100] = { 0 };

	vt_start(&f->d, F_ALL, 2, 64);
	assert_false(receive(f, frame, 100));
	vt_set_status(&f->d, 0);
	assert_true(receive(f, frame, 100));	/* no driver: lost */
	f->be.resumed = 0;
	vt_start(&f->d, F_ALL, 2, 64);
	assert_int_equal(f->be.resumed, 1);
}

static void test_bad_rx_buffers(void **state)
{
	struct fixture *f = *state;
	uint8_t frame[100] = { 0 };
	const struct vt_buf bad[] = {
		{ f->rx, 11, true },		/* no room for a header */
		{ f->rx, 0, true },
		{ f->rx, 2048, false },		/* not for writing */
		{ VT_ROM, 2048, true },
	};
	unsigned int i;

	for (i = 0; i < 4; i++) {
		vt_start(&f->d, F_ALL, 2, 64);
		vt_add(&f->d, RX, &bad[i], 1);
		vt_kick(&f->d, RX);
		assert_true(receive(f, frame, 100));
		assert_true(vt_status(&f->d) & VIRTIO_CONFIG_S_NEEDS_RESET);
		assert_true(receive(f, frame, 100));
	}
}

/* buffers of one byte each: bounded, and no harm */
static void test_tiny_rx_buffers(void **state)
{
	struct fixture *f = *state;
	struct vring_used_elem elem;
	uint8_t frame[1514] = { 0 };
	unsigned int n;

	vt_start(&f->d, F_ALL, 2, 64);
	offer_rx(f, 1, HDR);
	offer_rx(f, 63, 1);
	assert_true(receive(f, frame, 1514));
	assert_false(vt_used(&f->d, RX));
	assert_true(receive(f, frame, 60));
	for (n = 0; vt_take(&f->d, RX, &elem); n++)
		;
	assert_int_equal(n, 61);
}

static void test_save_load(void **state)
{
	struct fixture *f = *state;
	struct vt_registered *r = &f->m->dev[f->m->ndevs - 1];
	static uint8_t a[8192], b[8192];
	struct vring_used_elem elem;
	uint8_t frame[100] = { 0 };
	size_t n;

	vt_start(&f->d, F_ALL, 2, 64);
	offer_rx(f, 8, 2048);
	assert_true(receive(f, frame, 100));
	send_one(f, HDR, 100);
	vt_lock(f->m);
	n = r->ops->save(r->owner, a, sizeof(a));
	r->ops->reset(r->owner);
	assert_int_equal(r->ops->load(r->owner, a, n), 0);
	assert_int_equal(r->ops->save(r->owner, b, sizeof(b)), n);
	vt_unlock(f->m);
	assert_memory_equal(a, b, n);
	send_one(f, HDR, 100);
	assert_true(receive(f, frame, 100));
	assert_true(vt_get(&f->d, RX, &elem));
	assert_true(vt_get(&f->d, RX, &elem));
	assert_int_equal(elem.len, HDR + 100);
}

/* ---- several pairs, 5.1.2 and 5.1.6.5.5 ----------------------------------- */

/* a command of `len` bytes, and its answer */
static uint8_t command(struct fixture *f, unsigned int q, uint8_t class,
		       uint8_t cmd, uint16_t value, uint32_t len)
{
	uint8_t *out = vt_ptr(f->m, f->tx, 16), *in = vt_ptr(f->m, f->rx, 1);
	const struct vt_buf bufs[] = {
		{ f->tx, len, false },
		{ f->rx, 1, true },
	};
	struct vring_used_elem elem;

	out[0] = class;
	out[1] = cmd;
	memcpy(out + 2, &value, sizeof(value));
	*in = 0xee;
	vt_add(&f->d, q, bufs, 2);
	vt_kick(&f->d, q);
	assert_true(vt_get(&f->d, q, &elem));
	assert_int_equal(elem.len, 1);
	return *in;
}

static uint8_t set_pairs(struct fixture *f, uint16_t pairs)
{
	return command(f, CTRL, VIRTIO_NET_CTRL_MQ,
		       VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET, pairs, 4);
}

static void test_pairs(void **state)
{
	struct fixture *f = *state;
	struct vring_used_elem elem;
	uint8_t frame[HDR + 100] = { 0 };
	unsigned int pair;

	vt_start(&f->d, F_ALL, QUEUES, 64);
	assert_int_equal(vt_read(&f->d, f->d.device + 8, 2), PAIRS);
	assert_int_equal(f->be.pairs, 1);
	for (pair = 0; pair < PAIRS; pair++)
		offer_rx_on(f, 2 * pair, 4, 2048);
	/* until the driver asks for more: the first pair only */
	assert_true(receive_on(f, 1, frame, sizeof(frame)));
	assert_false(vt_used(&f->d, 2));
	assert_int_equal(set_pairs(f, PAIRS), VIRTIO_NET_OK);
	assert_int_equal(f->be.pairs, PAIRS);
	for (pair = 0; pair < PAIRS; pair++) {
		assert_true(receive_on(f, pair, frame, sizeof(frame)));
		assert_true(vt_get(&f->d, 2 * pair, &elem));
		assert_int_equal(elem.len, sizeof(frame));
		assert_int_equal(vt_msis(f->m, 2 * pair + 1), 1);
		vt_add(&f->d, 2 * pair + 1, &(struct vt_buf){ f->tx, 112, false }, 1);
		vt_kick(&f->d, 2 * pair + 1);
		assert_true(vt_get(&f->d, 2 * pair + 1, &elem));
		assert_int_equal(f->be.last_pair, pair);
		assert_int_equal(f->be.last_len, 112);
	}
	assert_int_equal(set_pairs(f, 2), VIRTIO_NET_OK);
	assert_int_equal(f->be.pairs, 2);
	assert_true(receive_on(f, 2, frame, sizeof(frame)));
	assert_false(vt_used(&f->d, 4));
	/* one pair again after a reset */
	vt_set_status(&f->d, 0);
	assert_int_equal(f->be.pairs, 1);
	assert_int_equal(f->be.offloads, 0);
}

static void test_bad_commands(void **state)
{
	struct fixture *f = *state;
	const uint8_t mq = VIRTIO_NET_CTRL_MQ;
	unsigned int len;

	vt_start(&f->d, F_ALL, QUEUES, 64);
	assert_int_equal(set_pairs(f, 2), VIRTIO_NET_OK);
	assert_int_equal(set_pairs(f, 0), VIRTIO_NET_ERR);
	assert_int_equal(set_pairs(f, PAIRS + 1), VIRTIO_NET_ERR);
	assert_int_equal(set_pairs(f, 0x8000), VIRTIO_NET_ERR);
	assert_int_equal(set_pairs(f, 0xffff), VIRTIO_NET_ERR);
	for (len = 0; len <= 6; len++)
		assert_int_equal(command(f, CTRL, mq, 0, 2, len),
				 len == 4 ? VIRTIO_NET_OK : VIRTIO_NET_ERR);
	assert_int_equal(command(f, CTRL, mq, 1, 2, 4), VIRTIO_NET_ERR);
	assert_int_equal(command(f, CTRL, VIRTIO_NET_CTRL_RX, 0, 1, 3),
			 VIRTIO_NET_ERR);
	assert_int_equal(command(f, CTRL, 0xff, 0xff, 2, 4), VIRTIO_NET_ERR);
	/* the host cannot */
	f->be.configure_ret = -EINVAL;
	assert_int_equal(set_pairs(f, PAIRS), VIRTIO_NET_ERR);
	f->be.configure_ret = 0;
	assert_int_equal(f->be.pairs, 2);
	/* nowhere to answer */
	vt_add(&f->d, CTRL, &(struct vt_buf){ f->tx, 4, false }, 1);
	vt_kick(&f->d, CTRL);
	assert_true(vt_status(&f->d) & VIRTIO_CONFIG_S_NEEDS_RESET);
}

/* without MQ the control queue is the third, and has nothing to say */
static void test_control_without_mq(void **state)
{
	struct fixture *f = *state;

	vt_start(&f->d, F_VERSION_1 | 1ULL << VIRTIO_NET_F_CTRL_VQ, 3, 64);
	assert_int_equal(command(f, 2, VIRTIO_NET_CTRL_MQ, 0, 2, 4),
			 VIRTIO_NET_ERR);
	assert_int_equal(f->be.pairs, 1);
	/* and without any control queue it is no queue of ours */
	vt_start(&f->d, F_VERSION_1, QUEUES, 64);
	vt_kick(&f->d, CTRL);
	assert_int_equal(vt_status(&f->d) & VIRTIO_CONFIG_S_NEEDS_RESET, 0);
}

/* a flood of commands does not hold the lock until it ends */
static void test_command_batches(void **state)
{
	struct fixture *f = *state;
	uint8_t *out = vt_ptr(f->m, f->tx, 4);
	struct vring_used_elem elem;
	unsigned int i, n;

	vt_start(&f->d, F_ALL, QUEUES, 64);
	memcpy(out, "\4\0\2\0", 4);
	for (i = 0; i < 30; i++)
		vt_add(&f->d, CTRL, (struct vt_buf[]){ { f->tx, 4, false },
						       { f->rx, 1, true } }, 2);
	vt_lock(f->m);
	bus_write(f->m->env.mmio, f->d.notify + CTRL * f->d.notify_multiplier,
		  CTRL, 2);
	for (n = 0; vt_take(&f->d, CTRL, &elem); n++)
		;
	vt_unlock(f->m);
	assert_int_equal(n, 16);
	for (; n < 30; n++)
		assert_true(vt_get(&f->d, CTRL, &elem));
}

static void test_starving_pairs(void **state)
{
	struct fixture *f = *state;
	uint8_t frame[HDR + 100] = { 0 };

	vt_start(&f->d, F_ALL, QUEUES, 64);
	assert_int_equal(set_pairs(f, PAIRS), VIRTIO_NET_OK);
	assert_false(receive_on(f, 1, frame, sizeof(frame)));
	assert_false(receive_on(f, 2, frame, sizeof(frame)));
	f->be.resumed = 0;
	offer_rx_on(f, 0, 1, 2048);
	assert_int_equal(f->be.resumed, 0);
	offer_rx_on(f, 4, 1, 2048);
	assert_int_equal(f->be.resumed, 1);
	assert_true(receive_on(f, 2, frame, sizeof(frame)));
	offer_rx_on(f, 2, 1, 2048);
	assert_int_equal(f->be.resumed, 2);
}

/* ---- offloads, 5.1.6 ------------------------------------------------------ */

/* send a frame with this header; what the back end got, or false */
static bool send_header(struct fixture *f, const struct virtio_net_hdr *h,
			struct virtio_net_hdr_mrg_rxbuf *got)
{
	unsigned int sent = f->be.sent;

	memset(vt_ptr(f->m, f->tx, HDR), 0xff, HDR);
	memcpy(vt_ptr(f->m, f->tx, sizeof(*h)), h, sizeof(*h));
	send_one(f, HDR, 1500);
	memcpy(got, f->be.last, sizeof(*got));
	return f->be.sent == sent + 1;
}

static void test_send_offloads(void **state)
{
	const struct virtio_net_hdr plain = { 0 }, csum = {
		.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
		.csum_start = 34, .csum_offset = 16,
	}, tso = {
		.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
		.gso_type = VIRTIO_NET_HDR_GSO_TCPV4 | VIRTIO_NET_HDR_GSO_ECN,
		.gso_size = 1000, .hdr_len = 54, .csum_start = 34,
		.csum_offset = 16,
	}, ufo = { .gso_type = VIRTIO_NET_HDR_GSO_UDP },
	   ecn = { .gso_type = VIRTIO_NET_HDR_GSO_ECN },
	   strange = { .flags = 0xfe };
	struct fixture *f = *state;
	struct virtio_net_hdr_mrg_rxbuf got;

	vt_start(&f->d, F_ALL, QUEUES, 64);
	assert_true(send_header(f, &tso, &got));
	assert_memory_equal(&got.hdr, &tso, sizeof(tso));
	assert_int_equal(got.num_buffers, 0);
	assert_int_equal(f->be.last_len, HDR + 1500);
	assert_memory_equal(f->be.last + HDR, vt_ptr(f->m, f->tx + 4096, 1500), 1500);
	assert_false(send_header(f, &ufo, &got));
	assert_false(send_header(f, &ecn, &got));
	/* flags that no driver sets are not passed on */
	assert_true(send_header(f, &strange, &got));
	assert_int_equal(got.hdr.flags, 0);
	vt_start(&f->d, F_VERSION_1 | 1ULL << VIRTIO_NET_F_CSUM, 2, 64);
	assert_true(send_header(f, &csum, &got));
	assert_int_equal(got.hdr.flags, VIRTIO_NET_HDR_F_NEEDS_CSUM);
	assert_false(send_header(f, &tso, &got));
	vt_start(&f->d, F_VERSION_1, 2, 64);
	assert_true(send_header(f, &plain, &got));
	assert_false(send_header(f, &csum, &got));
	assert_int_equal(vt_status(&f->d) & VIRTIO_CONFIG_S_NEEDS_RESET, 0);
}

/* a frame from the back end; the header that the guest got, or false */
static bool receive_header(struct fixture *f, const struct virtio_net_hdr *h,
			   struct virtio_net_hdr_mrg_rxbuf *got)
{
	uint8_t frame[HDR + 1000] = { 0 };
	struct vring_used_elem elem;

	memcpy(frame, h, sizeof(*h));
	memset(frame + sizeof(*h), 0xff, 2);
	offer_rx(f, 1, 2048);
	assert_true(receive(f, frame, sizeof(frame)));
	if (!vt_used(&f->d, RX))
		return false;
	assert_true(vt_get(&f->d, RX, &elem));
	assert_int_equal(elem.len, sizeof(frame));
	memcpy(got, vt_ptr(f->m, f->rx, HDR), HDR);
	assert_int_equal(got->num_buffers, 1);
	return true;
}

static void test_receive_offloads(void **state)
{
	const struct virtio_net_hdr valid = {
		.flags = VIRTIO_NET_HDR_F_DATA_VALID,
	}, tso = {
		.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
		.gso_type = VIRTIO_NET_HDR_GSO_TCPV6,
		.gso_size = 500, .csum_start = 54, .csum_offset = 16,
	}, csum = { .flags = VIRTIO_NET_HDR_F_NEEDS_CSUM };
	struct fixture *f = *state;
	struct virtio_net_hdr_mrg_rxbuf got;

	vt_start(&f->d, F_ALL, QUEUES, 64);
	assert_int_equal(f->be.offloads, TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 |
			 TUN_F_TSO_ECN);
	assert_true(receive_header(f, &tso, &got));
	assert_memory_equal(&got.hdr, &tso, sizeof(tso));
	assert_true(receive_header(f, &valid, &got));
	assert_int_equal(got.hdr.flags, VIRTIO_NET_HDR_F_DATA_VALID);
	/* a header and nothing behind it; less than a header */
	assert_true(receive(f, &got, HDR));
	assert_true(receive(f, &got, HDR - 1));
	assert_false(vt_used(&f->d, RX));

	/* 5.1.3.1: segmentation without checksums is none */
	vt_start(&f->d, F_VERSION_1 | 1ULL << VIRTIO_NET_F_GUEST_TSO6, 2, 64);
	assert_int_equal(f->be.offloads, 0);
	assert_true(receive_header(f, &valid, &got));
	assert_int_equal(got.hdr.flags, 0);
	/* left over from a driver that took it */
	assert_false(receive_header(f, &csum, &got));
	vt_start(&f->d, F_VERSION_1 | 1ULL << VIRTIO_NET_F_GUEST_CSUM, 2, 64);
	assert_int_equal(f->be.offloads, TUN_F_CSUM);
	assert_false(receive_header(f, &tso, &got));
}

/* the pairs in use are the device's one word of state */
static void test_save_load_pairs(void **state)
{
	struct fixture *f = *state;
	struct vt_registered *r = &f->m->dev[f->m->ndevs - 1];
	static uint8_t a[8192], b[8192];
	size_t n;

	vt_start(&f->d, F_ALL, QUEUES, 64);
	assert_int_equal(set_pairs(f, 2), VIRTIO_NET_OK);
	vt_lock(f->m);
	n = r->ops->save(r->owner, a, sizeof(a));
	r->ops->reset(r->owner);
	assert_int_equal(f->be.pairs, 1);
	assert_int_equal(r->ops->load(r->owner, a, n), 0);
	assert_int_equal(f->be.pairs, 2);
	assert_int_equal(f->be.offloads, TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 |
			 TUN_F_TSO_ECN);
	assert_int_equal(r->ops->save(r->owner, b, sizeof(b)), n);
	assert_memory_equal(a, b, n);
	/* behind the fixed part's first 32 bytes; more pairs than there are */
	assert_int_equal(a[32], 1);
	b[32] = PAIRS;
	assert_int_equal(r->ops->load(r->owner, b, n), -EINVAL);
	vt_unlock(f->m);
	assert_int_equal(set_pairs(f, PAIRS), VIRTIO_NET_OK);
}

static void test_random(void **state)
{
	struct fixture *f = *state;
	unsigned int queues = f->be.net.pairs > 1 ? QUEUES : 2;
	uint64_t end = vt_now_ms() + 1000, seed = 0x9e3779b97f4a7c15ULL;
	static uint8_t frame[65550];
	unsigned int i, j, n, q;
	struct vt_buf bufs[5];

#define RND(below) (seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17, \
		    (seed >> 20) % (below))
	while (vt_now_ms() < end) {
		f->m->alloc = f->rx + (1 << 20);
		vt_start(&f->d, RND(2) ? F_ALL : F_VERSION_1, queues, 64);
		for (i = 0; i < 40; i++) {
			q = RND(queues);
			n = 1 + RND(5);
			for (j = 0; j < n; j++)
				bufs[j] = (struct vt_buf){
					.gpa = RND(100) ? f->rx + RND(65536) : seed,
					.len = RND(100) ? RND(2000) : RND(0xffffffff),
					.write = RND(50) ? q % 2 == RX : q % 2 == TX,
				};
			vt_add(&f->d, q, bufs, n);
			vt_kick(&f->d, q);
			frame[0] = RND(8);
			frame[1] = RND(8);
			n = RND(f->be.net.pairs);
			receive_on(f, n, frame, RND(4) ? RND(2000) : RND(65550));
		}
	}
#undef RND
	f->m->alloc = f->rx + (1 << 20);
	vt_start(&f->d, F_ALL, queues, 64);
	memset(vt_ptr(f->m, f->tx, HDR), 0, HDR);
	send_one(f, HDR, 100);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
#define Q(name, how) cmocka_unit_test_setup_teardown(name, how, teardown)
#define P(name) { #name " (packed)", name, setup_packed, teardown, NULL }

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_config),
		T(test_send),
		T(test_send_nonsense),
		T(test_send_batches),
		T(test_receive),
		T(test_receive_batch),
		T(test_merge),
		T(test_no_merge),
		T(test_starving),
		T(test_starving_over_reset),
		T(test_bad_rx_buffers),
		T(test_tiny_rx_buffers),
		T(test_save_load),
		T(test_random),
		P(test_send),
		P(test_send_nonsense),
		P(test_send_batches),
		P(test_receive),
		P(test_merge),
		P(test_starving_over_reset),
		P(test_bad_rx_buffers),
		P(test_tiny_rx_buffers),
		P(test_save_load),
		P(test_random),
		Q(test_pairs, setup_pairs),
		Q(test_pairs, setup_pairs_packed),
		Q(test_bad_commands, setup_pairs),
		Q(test_bad_commands, setup_pairs_packed),
		Q(test_control_without_mq, setup_pairs),
		Q(test_command_batches, setup_pairs),
		Q(test_starving_pairs, setup_pairs),
		Q(test_send_offloads, setup_pairs),
		Q(test_receive_offloads, setup_pairs),
		Q(test_save_load_pairs, setup_pairs),
		Q(test_save_load_pairs, setup_pairs_packed),
		Q(test_random, setup_pairs),
		Q(test_random, setup_pairs_packed),
	};

	return cmocka_run_group_tests_name("virtio_net", tests, NULL, NULL);
}
