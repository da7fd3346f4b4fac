// SPDX-License-Identifier: GPL-2.0
/* Where a virtio device's doorbells are, and that a ring reaches its queue. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <linux/pci_regs.h>
#include <linux/virtio_config.h>
#include <linux/virtio_pci.h>
#include <stdlib.h>
#include <unistd.h>

#include "virtio/virtio_pci.h"
#include "virtio_driver.h"

#define QUEUES		3
#define BELLS		8

struct fixture {
	struct vt_machine *m;
	struct vt_dev d;
	struct virtio_dev vdev;
	unsigned int notified[QUEUES];
	unsigned int waiting;		/* for a notification of this queue */
};

/* ---- the module, played ---------------------------------------------------- */

static struct {
	uint64_t gpa;
	int fd;
} bell[BELLS];
static int refuse;			/* -errno of the next binding */

static int fake_doorbell(struct dev_env *env, bool port, uint64_t gpa, int fd)
{
	unsigned int i, free = BELLS;

	(void)env;
	assert_false(port);
	for (i = 0; i < BELLS; i++) {
		if (!bell[i].gpa)
			free = i;
		if (bell[i].gpa != gpa)
			continue;
		assert_int_equal(fd, -1);
		bell[i].gpa = 0;
		return 0;
	}
	/* nothing is unbound that was not bound */
	assert_true(fd >= 0);
	if (refuse)
		return refuse;
	assert_true(free < BELLS);
	bell[free].gpa = gpa;
	bell[free].fd = fd;
	return 0;
}

static unsigned int bound(void)
{
	unsigned int i, n = 0;

	for (i = 0; i < BELLS; i++)
		n += bell[i].gpa != 0;
	return n;
}

static bool ring(uint64_t gpa)
{
	const uint64_t one = 1;
	unsigned int i;

	for (i = 0; i < BELLS; i++)
		if (bell[i].gpa == gpa)
			return write(bell[i].fd, &one, sizeof(one)) == sizeof(one);
	return false;
}

/* ---- a device that counts ---------------------------------------------------- */

static void count_notify(void *owner, unsigned int q)
{
	((struct fixture *)owner)->notified[q]++;
}

static void nothing(void *owner)
{
	(void)owner;
}

static const struct virtio_ops count_ops = {
	.notify = count_notify,
	.quiesce = nothing,
	.free = nothing,
};

static bool was_notified(void *arg)
{
	struct fixture *f = arg;

	return f->notified[f->waiting];
}

/* rings at gpa, and only queue q hears of it */
static void rings(struct fixture *f, uint64_t gpa, unsigned int q)
{
	unsigned int i;

	vt_lock(f->m);
	for (i = 0; i < QUEUES; i++)
		f->notified[i] = 0;
	vt_unlock(f->m);
	f->waiting = q;
	assert_true(ring(gpa));
	assert_true(vt_wait(f->m, was_notified, f, 2000));
	for (i = 0; i < QUEUES; i++)
		assert_int_equal(f->notified[i], i == q);
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	refuse = 0;
	f->m = vt_new();
	f->m->env.doorbell = fake_doorbell;
	f->vdev = (struct virtio_dev){
		.name = "counter",
		.id = 0x1f,
		.class_code = 0xff0000,
		.nqueues = QUEUES,
		.queue_size = 64,
		.ops = &count_ops,
		.owner = f,
	};
	vt_lock(f->m);
	assert_int_equal(virtio_pci_new(&f->vdev, &f->m->env, f->m->bus), 0);
	vt_unlock(f->m);
	vt_probe(&f->d, f->m, f->vdev.pci.devfn);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	vt_free(f->m);
	/* none is left behind */
	assert_int_equal(bound(), 0);
	free(f);
	return 0;
}

static void start(struct fixture *f, unsigned int queues)
{
	vt_start(&f->d, 1ULL << VIRTIO_F_VERSION_1, queues, 16);
}

static uint64_t at(struct fixture *f, unsigned int q)
{
	return f->d.notify + q * f->d.notify_multiplier;
}

/* ---- the tests ---------------------------------------------------------------- */

static void bound_while_the_driver_drives(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(bound(), 0);
	start(f, 2);
	/* of three queues the driver wants two */
	assert_int_equal(bound(), 2);
	rings(f, at(f, 0), 0);
	rings(f, at(f, 1), 1);
	rings(f, at(f, 0), 0);
	vt_set_status(&f->d, 0);
	assert_int_equal(bound(), 0);
	start(f, QUEUES);
	assert_int_equal(bound(), QUEUES);
	rings(f, at(f, 2), 2);
}

static void the_bar_moves(void **state)
{
	struct fixture *f = *state;
	uint64_t old, bar = f->d.bar[0];

	start(f, 2);
	old = at(f, 1);
	vt_cfg_write(f->m, f->d.devfn, PCI_BASE_ADDRESS_0, 4, bar + 0x100000);
	f->d.notify += 0x100000;
	assert_int_equal(bound(), 2);
	assert_false(ring(old));
	rings(f, at(f, 1), 1);
	/* off the bus, and back */
	vt_cfg_write(f->m, f->d.devfn, PCI_COMMAND, 2, PCI_COMMAND_MASTER);
	assert_int_equal(bound(), 0);
	vt_cfg_write(f->m, f->d.devfn, PCI_COMMAND, 2,
		     PCI_COMMAND_MASTER | PCI_COMMAND_MEMORY);
	assert_int_equal(bound(), 2);
	rings(f, at(f, 0), 0);
}

/* no more doorbells to be had: the BAR works as ever */
static void refused(void **state)
{
	struct fixture *f = *state;

	refuse = -ENOSPC;
	start(f, 2);
	assert_int_equal(bound(), 0);
	f->notified[1] = 0;
	vt_kick(&f->d, 1);
	assert_int_equal(f->notified[1], 1);
}

static void with_the_machine(void **state)
{
	struct fixture *f = *state;
	struct vt_registered *r = &f->m->dev[0];
	static uint8_t buf[4096];
	unsigned int i;
	size_t len;

	for (i = 0; i < f->m->ndevs; i++)
		if (f->m->dev[i].owner == &f->vdev)
			r = &f->m->dev[i];
	start(f, 2);
	vt_lock(f->m);
	len = r->ops->save(r->owner, buf, sizeof(buf));
	assert_int_equal(bound(), 2);
	r->ops->reset(r->owner);
	assert_int_equal(bound(), 0);
	assert_int_equal(r->ops->load(r->owner, buf, len), 0);
	assert_int_equal(bound(), 2);
	f->notified[1] = 0;
	vt_unlock(f->m);
	/* what looks at the queues after a load is no ring */
	f->waiting = 1;
	assert_true(vt_wait(f->m, was_notified, f, 2000));
	rings(f, at(f, 0), 0);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(bound_while_the_driver_drives),
		T(the_bar_moves),
		T(refused),
		T(with_the_machine),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
