// SPDX-License-Identifier: GPL-2.0
/* MSI-X: table, masks, pending bits, what must be on for a message to go. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <errno.h>
#include <cmocka.h>
#include <linux/pci_regs.h>

#include "dev/devices.h"
#include "fixture.h"
#include "pci/pci.h"

#define DEVFN		(3 << 3)
#define VECTORS		70
#define BAR		0xe0000000ULL
#define PBA		(BAR + 2048)
#define CMD		(PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER)

struct test {
	struct fx *fx;
	struct pci_dev *dev;
	unsigned int flags;	/* offset of the control word */
};

static void dev_reset(void *owner)
{
	pci_dev_reset(owner);
}

static size_t dev_save(void *owner, void *buf, size_t max)
{
	return pci_dev_save(owner, buf, max);
}

static int dev_load(void *owner, const void *buf, size_t len)
{
	return pci_dev_load(owner, buf, len);
}

static const struct dev_ops dev_ops = {
	.reset = dev_reset,
	.save = dev_save,
	.load = dev_load,
	.free = free,
};

static int setup(void **state)
{
	static struct test t;
	struct pci_bus *bus;

	t = (struct test){ .fx = fx_new() };
	bus = pci_bus_new(&t.fx->env);
	assert_non_null(bus);
	assert_int_equal(piix3_new(&t.fx->env, bus), 0);
	t.dev = calloc(1, sizeof(*t.dev));
	assert_non_null(t.dev);
	t.dev->name = "msix";
	pci_init_ids(t.dev, 0x1af4, 0x1041, 1, 0x020000, 0x1af4, 1);
	assert_int_equal(pci_msix_init(t.dev, 1, 0), -EINVAL);
	assert_int_equal(pci_msix_init(t.dev, 1, 129), -EINVAL);
	assert_int_equal(pci_msix_init(t.dev, 1, VECTORS), 0);
	assert_int_equal(pci_add(bus, t.dev, -1), 0);
	assert_int_equal(t.fx->env.add(&t.fx->env, "msix", &dev_ops, t.dev), 0);
	t.flags = t.dev->msix_cap + PCI_MSIX_FLAGS;
	fx_cfg_write(t.fx, DEVFN, 0x14, BAR, 4);
	fx_cfg_write(t.fx, DEVFN, PCI_COMMAND, CMD, 2);
	*state = &t;
	return 0;
}

static int teardown(void **state)
{
	fx_free(((struct test *)*state)->fx);
	return 0;
}

static void program(struct test *t, unsigned int v)
{
	fx_write(t->fx, BAR + 16 * v, 0xfee01000, 4);
	fx_write(t->fx, BAR + 16 * v + 8, 0x4000 + v, 4);
	fx_write(t->fx, BAR + 16 * v + 12, 0, 4);
}

static void enable(struct test *t, uint16_t control)
{
	fx_cfg_write(t->fx, DEVFN, t->flags, control, 2);
}

static void notify(struct test *t, unsigned int v)
{
	fx_lock(t->fx);
	pci_msix_notify(t->dev, v);
	fx_unlock(t->fx);
}

static bool pending(struct test *t, unsigned int v)
{
	return fx_read(t->fx, PBA + v / 64 * 8, 8) >> (v % 64) & 1;
}

static void capability(void **state)
{
	struct test *t = *state;
	struct fx *fx = t->fx;

	assert_int_equal(fx_cfg_read(fx, DEVFN, t->dev->msix_cap, 1),
			 PCI_CAP_ID_MSIX);
	assert_int_equal(fx_cfg_read(fx, DEVFN, t->flags, 2), VECTORS - 1);
	assert_int_equal(fx_cfg_read(fx, DEVFN, t->flags + 2, 4), 1);
	assert_int_equal(fx_cfg_read(fx, DEVFN, t->flags + 6, 4), 2048 + 1);
	enable(t, 0xffff);
	assert_int_equal(fx_cfg_read(fx, DEVFN, t->flags, 2),
			 0xc000 | (VECTORS - 1));
}

static void messages(void **state)
{
	struct test *t = *state;

	program(t, 3);
	notify(t, 3);
	assert_int_equal(t->fx->msis, 0);		/* not enabled */
	assert_false(pending(t, 3));
	enable(t, 0x8000);
	notify(t, 3);
	assert_int_equal(t->fx->msis, 1);
	assert_int_equal(t->fx->msi_addr, 0xfee01000);
	assert_int_equal(t->fx->msi_data, 0x4003);
	fx_write(t->fx, BAR + 16 * 69, 0x12fee02003, 8);
	fx_write(t->fx, BAR + 16 * 69 + 8, 0x77, 8);
	notify(t, 69);
	assert_true(t->fx->msi_addr == 0x12fee02000);
	assert_int_equal(t->fx->msi_data, 0x77);
	notify(t, VECTORS);				/* no such vector */
	assert_int_equal(t->fx->msis, 2);
}

static void masks(void **state)
{
	struct test *t = *state;

	enable(t, 0x8000);
	program(t, 66);
	fx_write(t->fx, BAR + 16 * 66 + 12, 1, 4);
	notify(t, 66);
	notify(t, 66);
	assert_int_equal(t->fx->msis, 0);
	assert_true(pending(t, 66));
	fx_write(t->fx, BAR + 16 * 66 + 12, 0, 4);
	assert_int_equal(t->fx->msis, 1);		/* once */
	assert_false(pending(t, 66));
	enable(t, 0xc000);				/* the whole function */
	notify(t, 66);
	assert_int_equal(t->fx->msis, 1);
	enable(t, 0x8000);
	assert_int_equal(t->fx->msis, 2);
	fx_cfg_write(t->fx, DEVFN, PCI_COMMAND, PCI_COMMAND_MEMORY, 2);
	notify(t, 66);					/* not bus master */
	assert_int_equal(t->fx->msis, 2);
	fx_cfg_write(t->fx, DEVFN, PCI_COMMAND, CMD, 2);
	assert_int_equal(t->fx->msis, 3);
	fx_write(t->fx, PBA, ~0ULL, 8);			/* read-only */
	assert_false(pending(t, 0));
}

static unsigned int changes;
static uint16_t changed;

static void count_change(void *owner, uint16_t v)
{
	(void)owner;
	changes++;
	changed = v;
}

/* is vector 5 for somebody else to send, and how often was that told to change */
static bool others_may_send(struct test *t, unsigned int told)
{
	uint64_t addr = 0;
	uint32_t data = 0;
	bool may;

	fx_lock(t->fx);
	may = pci_msix_message(t->dev, 5, &addr, &data);
	fx_unlock(t->fx);
	assert_int_equal(changes, told);
	changes = 0;
	if (may) {
		assert_int_equal(addr, 0xfee01000);
		assert_int_equal(data, 0x4005);
	}
	return may;
}

/* who sends a vector in our stead learns of all that matters */
static void told_to_others(void **state)
{
	struct test *t = *state;
	uint64_t addr;
	uint32_t data;

	program(t, 5);
	t->dev->msix_changed = count_change;
	changes = 0;
	assert_false(others_may_send(t, 0));
	enable(t, 0x8000);
	assert_true(others_may_send(t, VECTORS));
	fx_write(t->fx, BAR + 16 * 5 + 12, 1, 4);
	assert_int_equal(changed, 5);
	assert_false(others_may_send(t, 1));
	/* what came meanwhile is sent here, before they may */
	notify(t, 5);
	fx_write(t->fx, BAR + 16 * 5 + 12, 0, 4);
	assert_int_equal(t->fx->msis, 1);
	assert_true(others_may_send(t, 1));
	fx_write(t->fx, BAR + 16 * 5 + 8, 0x4005, 4);
	assert_true(others_may_send(t, 1));
	enable(t, 0xc000);
	assert_false(others_may_send(t, VECTORS));
	enable(t, 0x8000);
	assert_true(others_may_send(t, VECTORS));
	fx_cfg_write(t->fx, DEVFN, PCI_COMMAND, PCI_COMMAND_MEMORY, 2);
	assert_false(others_may_send(t, VECTORS));
	assert_false(pci_msix_message(t->dev, VECTORS, &addr, &data));
}

static void no_intx_while_enabled(void **state)
{
	struct test *t = *state;

	fx_cfg_write(t->fx, 1 << 3, 0x62, 11, 1);
	fx_lock(t->fx);
	pci_intx(t->dev, true);
	fx_unlock(t->fx);
	assert_true(t->fx->level[11]);
	enable(t, 0x8000);
	assert_false(t->fx->level[11]);
	enable(t, 0);
	assert_true(t->fx->level[11]);
}

static void widths(void **state)
{
	struct test *t = *state;

	program(t, 0);
	fx_write(t->fx, BAR + 8, 0xff, 1);
	fx_write(t->fx, BAR + 8, 0xff, 2);
	fx_write(t->fx, BAR + 9, 0xff, 4);
	assert_int_equal(fx_read(t->fx, BAR + 8, 4), 0x4000);
	assert_true(fx_read(t->fx, BAR, 8) == 0xfee01000);
	assert_int_equal(fx_read(t->fx, BAR + 16 * VECTORS, 4), 0);
	fx_write(t->fx, BAR + 16 * VECTORS, 1, 4);
}

static void state_of_everything(void **state)
{
	struct test *t = *state;

	enable(t, 0xc000);
	program(t, 7);
	notify(t, 7);
	fx_roundtrip(t->fx);
	assert_true(pending(t, 7));
	assert_int_equal(fx_read(t->fx, BAR + 16 * 7 + 8, 4), 0x4007);
	fx_reset(t->fx);
	fx_cfg_write(t->fx, DEVFN, 0x14, BAR, 4);
	fx_cfg_write(t->fx, DEVFN, PCI_COMMAND, CMD, 2);
	assert_int_equal(fx_read(t->fx, BAR + 16 * 7 + 12, 4), 1);
	assert_false(pending(t, 7));
	enable(t, 0x8000);
	fx_fuzz(t->fx, t->fx->env.mmio, BAR, 4096, 20000);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(capability), T(messages), T(masks), T(told_to_others), T(no_intx_while_enabled),
		T(widths), T(state_of_everything),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
