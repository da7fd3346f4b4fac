// SPDX-License-Identifier: GPL-2.0
/*
 * Queues of the network device that the host's kernel works. The kernel is played
 * by the back end: it takes what the driver made available when it is told to.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <linux/pci_regs.h>
#include <linux/virtio_config.h>
#include <linux/virtio_net.h>
#include <linux/virtio_pci.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "net/net.h"
#include "virtio/virtio_net.h"
#include "virtio_driver.h"

#define DEVFN		(3 << 3)
#define PAIRS		2
#define RX		0
#define TX		1
#define CTRL		(2 * PAIRS)
#define QUEUES		(CTRL + 1)
#define SIZE		16
#define F_ALL		(~0ULL)
#define LEND		(1ULL << VIRTIO_F_VERSION_1 | 1ULL << VIRTIO_NET_F_MRG_RXBUF | \
			 1ULL << VIRTIO_RING_F_INDIRECT_DESC | \
			 1ULL << VIRTIO_RING_F_EVENT_IDX)
#define GSIS		40

struct fixture {
	struct net net;			/* first: the back end's functions find us */
	struct vt_machine *m;
	struct vt_dev d;
	/* the kernel */
	struct ring_loan ring[PAIRS][2];
	bool runs[PAIRS];
	uint64_t features;
	unsigned int starts, stops;
	int start_ret;
	unsigned int sent;		/* by the device itself */
	unsigned int pairs;		/* as configured */
	bool stopped_first;		/* what the last configure takes away */
	int configure_ret;
	unsigned int asked;		/* what the kernel wrote */
	int wrote_ret;
	uint64_t frames;		/* guest memory */
	uint8_t state[4096];
	size_t state_len;
};

/* ---- the module, played --------------------------------------------------------- */

static struct {
	uint64_t bell[2 * QUEUES];	/* where they are bound */
	int bell_fd[2 * QUEUES];
	uint64_t addr[GSIS];		/* of messages; 0: none */
	uint32_t data[GSIS];
	int fd[GSIS];			/* bound; -1: none */
	int route_ret;
	unsigned int binds;
} module;

static int fake_doorbell(struct dev_env *env, bool port, uint64_t gpa, int fd)
{
	unsigned int i;

	(void)env;
	(void)port;
	for (i = 0; i < 2 * QUEUES; i++) {
		if (module.bell[i] != (fd < 0 ? gpa : 0))
			continue;
		module.bell[i] = fd < 0 ? 0 : gpa;
		module.bell_fd[i] = fd;
		return 0;
	}
	return -ENOSPC;
}

static int fake_route(struct dev_env *env, unsigned int gsi, uint64_t addr,
		      uint32_t data)
{
	(void)env;
	if (module.route_ret)
		return module.route_ret;
	module.addr[gsi] = addr;
	module.data[gsi] = data;
	return 0;
}

static int fake_bind(struct dev_env *env, unsigned int gsi, int fd, int eoi)
{
	(void)env;
	assert_int_equal(eoi, -1);
	/* neither twice, nor what is not bound */
	assert_true((module.fd[gsi] < 0) != (fd < 0));
	module.fd[gsi] = fd;
	module.binds++;
	return 0;
}

/* the GSI that the eventfd is bound to, or -1 */
static int gsi_of(int fd)
{
	int gsi;

	for (gsi = 0; gsi < GSIS; gsi++)
		if (module.fd[gsi] == fd)
			return gsi;
	return -1;
}

static int bell_of(struct fixture *f, unsigned int q)
{
	unsigned int i;

	for (i = 0; i < 2 * QUEUES; i++)
		if (module.bell[i] == f->d.notify + q * f->d.notify_multiplier)
			return module.bell_fd[i];
	return -1;
}

/* ---- the back end, and the kernel behind it --------------------------------------- */

static void be_send(struct net *net, unsigned int pair, const struct iovec *iov,
		    unsigned int n, size_t len)
{
	(void)pair;
	(void)iov;
	(void)n;
	(void)len;
	((struct fixture *)net)->sent++;
}

static void be_resume(struct net *net, unsigned int pair)
{
	(void)net;
	(void)pair;
}

static int be_configure(struct net *net, unsigned int pairs, unsigned int offloads)
{
	struct fixture *f = (struct fixture *)net;

	(void)offloads;
	f->stopped_first = pairs > 1 || !f->runs[1];
	if (f->configure_ret)
		return f->configure_ret;
	f->pairs = pairs;
	return 0;
}

static int be_start(struct net *net, unsigned int pair, struct ring_loan ring[2],
		    uint64_t features)
{
	struct fixture *f = (struct fixture *)net;

	assert_true(pair < f->pairs && !f->runs[pair]);
	assert_ptr_equal(net->mem, f->m->env.mem);
	f->starts++;
	if (f->start_ret)
		return f->start_ret;
	memcpy(f->ring[pair], ring, sizeof(f->ring[pair]));
	f->features = features;
	f->runs[pair] = true;
	return 0;
}

static void be_stop(struct net *net, unsigned int pair, struct ring_loan ring[2])
{
	struct fixture *f = (struct fixture *)net;

	assert_true(f->runs[pair]);
	f->stops++;
	f->runs[pair] = false;
	ring[RX].next = f->ring[pair][RX].next;
	ring[TX].next = f->ring[pair][TX].next;
}

static int be_wrote(struct net *net)
{
	struct fixture *f = (struct fixture *)net;

	f->asked++;
	return f->wrote_ret;
}

static const struct net_ops be_ops = {
	.send = be_send,
	.resume = be_resume,
	.configure = be_configure,
	.start = be_start,
	.stop = be_stop,
	.wrote = be_wrote,
};

static bool signal_fd(int fd)
{
	const uint64_t one = 1;

	return write(fd, &one, sizeof(one)) == sizeof(one);
}

static uint64_t take(int fd)
{
	uint64_t count = 0;

	return read(fd, &count, sizeof(count)) == sizeof(count) ? count : 0;
}

/* it gives back all that is available, and calls; how many that were */
static unsigned int kernel_works(struct ring_loan *r)
{
	struct vring_avail *avail = r->avail;
	struct vring_used *used = r->used;
	unsigned int n = 0;

	for (; r->next != avail->idx; r->next++, n++) {
		used->ring[used->idx % r->size].id = avail->ring[r->next % r->size];
		used->ring[used->idx % r->size].len = 0;
		used->idx++;
	}
	assert_true(signal_fd(r->call));
	return n;
}

/* ---- the driver ------------------------------------------------------------------ */

static int start_machine(void **state, struct vt_machine *m, bool messages)
{
	static const uint8_t mac[6] = { 0x52, 0x54, 0, 1, 2, 3 };
	struct fixture *f = calloc(1, sizeof(*f));
	unsigned int i;

	memset(&module, 0, sizeof(module));
	for (i = 0; i < GSIS; i++)
		module.fd[i] = -1;
	f->m = m;
	m->env.doorbell = fake_doorbell;
	m->env.gsis = 24;
	if (messages) {
		m->env.msi_route = fake_route;
		m->env.msi_bind = fake_bind;
	}
	f->net.ops = &be_ops;
	f->net.pairs = PAIRS;
	f->net.has_header = true;
	f->net.lend = LEND;
	vt_lock(m);
	assert_int_equal(virtio_net_new(&m->env, m->bus, &f->net, mac), 0);
	vt_unlock(m);
	vt_probe(&f->d, m, DEVFN);
	vt_enable_msix(&f->d, QUEUES + 1);
	f->frames = vt_alloc(m, 1 << 16, 4096);
	*state = f;
	return 0;
}

static int setup(void **state)
{
	return start_machine(state, vt_new(), true);
}

static int setup_no_messages(void **state)
{
	return start_machine(state, vt_new(), false);
}

static int setup_packed(void **state)
{
	return start_machine(state, vt_new_packed(), true);
}

static int teardown(void **state)
{
	struct fixture *f = *state;
	unsigned int i;

	vt_free_devices(f->m);
	for (i = 0; i < PAIRS; i++)
		assert_false(f->runs[i]);
	for (i = 0; i < GSIS; i++)
		assert_int_equal(module.fd[i], -1);
	vt_free(f->m);
	free(f);
	return 0;
}

static void add(struct fixture *f, unsigned int q)
{
	vt_add(&f->d, q, &(struct vt_buf){ f->frames + 4096 * q, 112, q == RX }, 1);
}

static uint8_t set_pairs(struct fixture *f, uint16_t pairs)
{
	uint8_t *out = vt_ptr(f->m, f->frames, 16);
	const struct vt_buf bufs[] = {
		{ f->frames, 4, false },
		{ f->frames + 8, 1, true },
	};
	struct vring_used_elem elem;

	out[0] = VIRTIO_NET_CTRL_MQ;
	out[1] = VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET;
	memcpy(out + 2, &pairs, sizeof(pairs));
	vt_add(&f->d, CTRL, bufs, 2);
	vt_kick(&f->d, CTRL);
	assert_true(vt_get(&f->d, CTRL, &elem));
	return out[8];
}

/* write to MSI-X's table */
static void set_vector(struct fixture *f, unsigned int v, unsigned int offset,
		       uint32_t value)
{
	uint32_t table = vt_cfg_read(f->m, DEVFN, f->d.msix_cap + PCI_MSIX_TABLE, 4);

	vt_write(&f->d, f->d.bar[table & 7] + v * 16 + offset, value, 4);
}

struct interrupt {
	struct fixture *f;
	unsigned int vector, wanted;
};

static bool has_come(void *arg)
{
	struct interrupt *i = arg;

	return i->f->m->msi[i->vector] >= i->wanted;
}

/* the loop has heard so many of the vector */
static void comes(struct fixture *f, unsigned int vector, unsigned int wanted)
{
	assert_true(vt_wait(f->m, has_come, &(struct interrupt){ f, vector, wanted }, 2000));
	assert_int_equal(vt_msis(f->m, vector), wanted);
}

/* ---- getting there and back -------------------------------------------------------- */

static void lent_while_driven(void **state)
{
	struct fixture *f = *state;
	const struct ring_loan *r = f->ring[0];
	unsigned int q;

	vt_start(&f->d, F_ALL, QUEUES, SIZE);
	assert_true(f->runs[0] && !f->runs[1]);
	assert_int_equal(f->features, LEND);
	for (q = RX; q <= TX; q++) {
		assert_ptr_equal(r[q].desc, f->d.q[q].desc);
		assert_ptr_equal(r[q].avail, f->d.q[q].avail);
		assert_ptr_equal(r[q].used, f->d.q[q].used);
		assert_int_equal(r[q].used_gpa, f->d.q[q].used_gpa);
		assert_int_equal(r[q].size, SIZE);
		assert_int_equal(r[q].next, 0);
		/* the module rings there, and we do for what came before that */
		assert_int_equal(r[q].kick, bell_of(f, q));
		assert_true(take(r[q].kick) >= 1);
		/* a write that was no doorbell after all */
		vt_kick(&f->d, q);
		assert_int_equal(take(r[q].kick), 1);
	}
	/* the device itself is out of it */
	add(f, TX);
	vt_kick(&f->d, TX);
	assert_int_equal(f->sent, 0);
	vt_set_status(&f->d, 0);
	assert_false(f->runs[0]);
	vt_start(&f->d, F_ALL, QUEUES, SIZE);
	assert_true(f->runs[0]);
	assert_int_equal(f->ring[0][TX].next, 0);
}

/* the device goes on where the kernel stopped, and the kernel where the device did */
static void index_goes_along(void **state)
{
	struct fixture *f = *state;
	struct vring_used_elem elem;
	unsigned int i;

	vt_start(&f->d, F_ALL, QUEUES, SIZE);
	for (i = 0; i < 3; i++) {
		add(f, TX);
		assert_int_equal(kernel_works(&f->ring[0][TX]), 1);
		assert_true(vt_get(&f->d, TX, &elem));
	}
	/* no bus master: nobody touches the rings */
	vt_cfg_write(f->m, DEVFN, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
	assert_false(f->runs[0]);
	f->start_ret = -EIO;
	vt_cfg_write(f->m, DEVFN, PCI_COMMAND, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
	assert_false(f->runs[0]);
	for (i = 1; i <= 2; i++) {
		add(f, TX);
		vt_kick(&f->d, TX);
		assert_true(vt_get(&f->d, TX, &elem));
		assert_int_equal(f->sent, i);
	}
	/* refused once is enough, until the next driver */
	assert_int_equal(f->starts, 2);
	f->start_ret = 0;
	vt_kick(&f->d, TX);
	assert_int_equal(f->starts, 2);
	vt_start(&f->d, F_ALL, QUEUES, SIZE);
	assert_int_equal(f->starts, 3);
	assert_true(f->runs[0]);
}

/* the device as the machine sees it: the last one made */
static struct vt_registered *registered(struct fixture *f)
{
	return &f->m->dev[f->m->ndevs - 1];
}

/* while memory is copied the kernel has to tell what it writes, or not to write */
static void in_flight(void **state)
{
	struct fixture *f = *state;
	struct vt_registered *r = registered(f);

	vt_lock(f->m);
	r->ops->in_flight(r->owner);
	vt_unlock(f->m);
	assert_int_equal(f->asked, 0);
	vt_start(&f->d, F_ALL, QUEUES, SIZE);
	vt_lock(f->m);
	r->ops->in_flight(r->owner);
	assert_int_equal(f->asked, 1);
	assert_true(f->runs[0]);
	f->wrote_ret = -ENOMEM;
	r->ops->in_flight(r->owner);
	assert_false(f->runs[0]);
	vt_unlock(f->m);
	add(f, TX);
	vt_kick(&f->d, TX);
	assert_int_equal(f->sent, 1);
	assert_int_equal(f->starts, 1);
}

static void over_a_save(void **state)
{
	struct fixture *f = *state;
	struct vt_registered *r = registered(f);
	struct vring_used_elem elem;
	unsigned int i;

	vt_start(&f->d, F_ALL, QUEUES, SIZE);
	for (i = 0; i < 5; i++) {
		add(f, TX);
		kernel_works(&f->ring[0][TX]);
		assert_true(vt_get(&f->d, TX, &elem));
	}
	vt_lock(f->m);
	f->state_len = r->ops->save(r->owner, f->state, sizeof(f->state));
	assert_true(f->state_len > 0);
	assert_false(f->runs[0]);
	vt_unlock(f->m);
	/* if the machine goes on it is soon there again, where it was */
	assert_int_equal(set_pairs(f, 1), VIRTIO_NET_OK);
	assert_true(f->runs[0]);
	assert_int_equal(f->ring[0][TX].next, 5);
	vt_lock(f->m);
	r->ops->reset(r->owner);
	assert_false(f->runs[0]);
	assert_int_equal(r->ops->load(r->owner, f->state, f->state_len), 0);
	/* memory may come after the devices: not yet */
	assert_false(f->runs[0]);
	vt_unlock(f->m);
	vt_kick(&f->d, RX);
	assert_true(f->runs[0]);
	assert_int_equal(f->ring[0][TX].next, 5);
	assert_int_equal(f->ring[0][RX].next, 0);
}

static void not_lent(void **state)
{
	static const uint64_t without[] = {
		VIRTIO_NET_F_MRG_RXBUF, VIRTIO_NET_F_GUEST_CSUM,
	};
	struct fixture *f = *state;
	unsigned int i;

	for (i = 0; i < 2; i++) {
		vt_start(&f->d, ~(1ULL << without[i]), QUEUES, SIZE);
		assert_int_equal(f->starts, 0);
	}
	/* one queue of the two only */
	vt_start(&f->d, F_ALL, 1, SIZE);
	assert_int_equal(f->starts, 0);
	/* a kernel that knows less than the driver wants */
	f->net.lend = LEND & ~(1ULL << VIRTIO_RING_F_EVENT_IDX);
	vt_start(&f->d, F_ALL, QUEUES, SIZE);
	assert_int_equal(f->starts, 0);
	add(f, TX);
	vt_kick(&f->d, TX);
	assert_int_equal(f->sent, 1);
	vt_start(&f->d, ~(1ULL << VIRTIO_RING_F_EVENT_IDX), QUEUES, SIZE);
	assert_int_equal(f->starts, 1);
}

static void packed(void **state)
{
	struct fixture *f = *state;

	vt_start(&f->d, F_ALL, QUEUES, SIZE);
	assert_int_equal(f->starts, 0);
	add(f, TX);
	vt_kick(&f->d, TX);
	assert_int_equal(f->sent, 1);
	/* a driver that does not take them */
	vt_start(&f->d, ~(1ULL << VIRTIO_F_RING_PACKED), QUEUES, SIZE);
	assert_true(f->runs[0]);
}

static void pairs(void **state)
{
	struct fixture *f = *state;

	vt_start(&f->d, F_ALL, QUEUES, SIZE);
	assert_int_equal(set_pairs(f, 2), VIRTIO_NET_OK);
	assert_true(f->runs[0] && f->runs[1]);
	assert_ptr_equal(f->ring[1][TX].desc, f->d.q[3].desc);
	assert_int_equal(f->ring[1][TX].kick, bell_of(f, 3));
	/* stopped before its queue of the device is taken away */
	assert_int_equal(set_pairs(f, 1), VIRTIO_NET_OK);
	assert_true(f->stopped_first && f->runs[0] && !f->runs[1]);
	assert_int_equal(f->starts, 2);
	assert_int_equal(set_pairs(f, 2), VIRTIO_NET_OK);
	/* refused: both go on */
	f->configure_ret = -EIO;
	assert_int_equal(set_pairs(f, 1), VIRTIO_NET_ERR);
	assert_true(f->runs[0] && f->runs[1]);
	f->configure_ret = 0;
	vt_set_status(&f->d, 0);
	assert_true(!f->runs[0] && !f->runs[1]);
}

static bool is_broken(void *arg)
{
	struct fixture *f = arg;

	return !f->runs[0];
}

static void broken(void **state)
{
	struct fixture *f = *state;

	vt_start(&f->d, F_ALL, QUEUES, SIZE);
	assert_true(signal_fd(f->ring[0][RX].error));
	assert_true(vt_wait(f->m, is_broken, f, 2000));
	assert_true(vt_status(&f->d) & VIRTIO_CONFIG_S_NEEDS_RESET);
	assert_int_equal(vt_msis(f->m, 0), 1);
	vt_kick(&f->d, RX);
	assert_false(f->runs[0]);
	vt_start(&f->d, F_ALL, QUEUES, SIZE);
	assert_true(f->runs[0]);
}

/* ---- interrupts ---------------------------------------------------------------------- */

static void sent_by_the_module(void **state)
{
	struct fixture *f = *state;
	int gsi, call;

	vt_start(&f->d, F_ALL, QUEUES, SIZE);
	call = f->ring[0][TX].call;
	gsi = gsi_of(call);
	assert_true(gsi >= 24);
	assert_int_not_equal(gsi, gsi_of(f->ring[0][RX].call));
	assert_int_equal(module.addr[gsi], 0xfee00000);
	assert_int_equal(module.data[gsi], TX + 1);
	/* another message, of a vector that is not masked meanwhile */
	module.binds = 0;
	set_vector(f, TX + 1, 8, 20);
	assert_int_equal(module.data[gsi], 20);
	/* another vector */
	vt_write(&f->d, f->d.common + VIRTIO_PCI_COMMON_Q_SELECT, TX, 2);
	vt_write(&f->d, f->d.common + VIRTIO_PCI_COMMON_Q_MSIX, CTRL + 1, 2);
	assert_int_equal(module.data[gsi], CTRL + 1);
	assert_int_equal(module.binds, 0);
	/* none, and then one again */
	vt_write(&f->d, f->d.common + VIRTIO_PCI_COMMON_Q_MSIX, VIRTIO_MSI_NO_VECTOR, 2);
	assert_int_equal(gsi_of(call), -1);
	vt_write(&f->d, f->d.common + VIRTIO_PCI_COMMON_Q_MSIX, TX + 1, 2);
	assert_int_equal(gsi_of(call), gsi);
	assert_int_equal(module.data[gsi], 20);
	vt_set_status(&f->d, 0);
	assert_int_equal(gsi_of(call), -1);
}

static bool is_pending(void *arg)
{
	struct fixture *f = arg;
	uint32_t pba = vt_cfg_read(f->m, DEVFN, f->d.msix_cap + PCI_MSIX_PBA, 4);

	return vt_read(&f->d, f->d.bar[pba & 7] + (pba & ~7U), 4) >> (TX + 1) & 1;
}

static void masked(void **state)
{
	struct fixture *f = *state;
	unsigned int i;
	int gsi, call;

	vt_start(&f->d, F_ALL, QUEUES, SIZE);
	call = f->ring[0][TX].call;
	gsi = gsi_of(call);
	set_vector(f, TX + 1, 12, PCI_MSIX_ENTRY_CTRL_MASKBIT);
	assert_int_equal(gsi_of(call), -1);
	assert_true(signal_fd(call));
	for (i = 0; i < 2000 && !is_pending(f); i++)
		usleep(1000);
	assert_true(is_pending(f));
	assert_int_equal(vt_msis(f->m, TX + 1), 0);
	set_vector(f, TX + 1, 12, 0);
	assert_int_equal(vt_msis(f->m, TX + 1), 1);
	assert_false(is_pending(f));
	assert_int_equal(gsi_of(call), gsi);
	/* the whole function */
	vt_cfg_write(f->m, DEVFN, f->d.msix_cap + PCI_MSIX_FLAGS, 2,
		     PCI_MSIX_FLAGS_ENABLE | PCI_MSIX_FLAGS_MASKALL);
	assert_int_equal(gsi_of(call), -1);
	vt_cfg_write(f->m, DEVFN, f->d.msix_cap + PCI_MSIX_FLAGS, 2,
		     PCI_MSIX_FLAGS_ENABLE);
	assert_int_equal(gsi_of(call), gsi);
}

/* one of those that the router has for PCI's four */
static bool wire_is_high(void *arg)
{
	const bool *gsi = ((struct fixture *)arg)->m->gsi;

	return gsi[8] || gsi[9] || gsi[10] || gsi[11];
}

/* without MSI-X the wire, with what the guest reads to acknowledge */
static void by_wire(void **state)
{
	struct fixture *f = *state;

	vt_cfg_write(f->m, DEVFN, f->d.msix_cap + PCI_MSIX_FLAGS, 2, 0);
	vt_start(&f->d, F_ALL, QUEUES, SIZE);
	assert_int_equal(gsi_of(f->ring[0][RX].call), -1);
	assert_true(signal_fd(f->ring[0][RX].call));
	assert_true(vt_wait(f->m, wire_is_high, f, 2000));
	assert_int_equal(vt_read(&f->d, f->d.isr, 1), 1);
	assert_false(wire_is_high(f));
}

/* a message that the module refuses, or no module: the loop sends it */
static void sent_by_the_loop(void **state)
{
	struct fixture *f = *state;

	module.route_ret = -EINVAL;
	vt_start(&f->d, F_ALL, QUEUES, SIZE);
	assert_int_equal(gsi_of(f->ring[0][TX].call), -1);
	add(f, TX);
	assert_int_equal(kernel_works(&f->ring[0][TX]), 1);
	comes(f, TX + 1, 1);
	/* one that has not been heard yet when the kernel stops */
	vt_lock(f->m);
	assert_true(signal_fd(f->ring[0][RX].call));
	vt_unlock(f->m);
	vt_cfg_write(f->m, DEVFN, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
	vt_cfg_write(f->m, DEVFN, PCI_COMMAND, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
	comes(f, RX + 1, 1);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(lent_while_driven),
		T(index_goes_along),
		T(in_flight),
		T(over_a_save),
		T(not_lent),
		cmocka_unit_test_setup_teardown(packed, setup_packed, teardown),
		T(pairs),
		T(broken),
		T(sent_by_the_module),
		T(masked),
		T(by_wire),
		T(sent_by_the_loop),
		cmocka_unit_test_setup_teardown(sent_by_the_loop, setup_no_messages, teardown),
	};

	return cmocka_run_group_tests_name("virtio_loan", tests, NULL, NULL);
}
