// SPDX-License-Identifier: GPL-2.0
/*
 * PCI: the config mechanism, write masks, sizing and moving of BARs, INTx
 * through PIIX3, the reset port.
 */
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

#define SLOT(n)	((n) << 3)

struct card {
	struct pci_dev pci;
	uint64_t last;		/* offset of the last access */
};

struct test {
	struct fx *fx;
	struct pci_bus *bus;
	struct card *card[2];
};

static uint64_t card_read(void *owner, uint64_t offset, unsigned int size)
{
	struct card *c = owner;

	c->last = offset;
	return 0x5a;
}

static void card_write(void *owner, uint64_t offset, uint64_t value,
		       unsigned int size)
{
	struct card *c = owner;

	c->last = offset;
}

static const struct bus_ops card_bar_ops = {
	.read = card_read,
	.write = card_write,
};

static void card_reset(void *owner)
{
	pci_dev_reset(&((struct card *)owner)->pci);
}

static size_t card_save(void *owner, void *buf, size_t max)
{
	return pci_dev_save(&((struct card *)owner)->pci, buf, max);
}

static int card_load(void *owner, const void *buf, size_t len)
{
	return pci_dev_load(&((struct card *)owner)->pci, buf, len);
}

static const struct dev_ops card_ops = {
	.reset = card_reset,
	.save = card_save,
	.load = card_load,
	.free = free,
};

/* BAR 0: 32 bits, 4 KiB; BAR 1: I/O, 32 bytes; BAR 2: 64 bits, 16 KiB */
static struct card *card_new(struct test *t)
{
	struct card *c = calloc(1, sizeof(*c));
	struct pci_bar bar = { .ops = &card_bar_ops, .owner = c };

	assert_non_null(c);
	c->pci.name = "card";
	pci_init_ids(&c->pci, 0x1234, 0x5678, 9, 0x020000, 0x1111, 0x2222);
	bar.size = 4096;
	pci_set_bar(&c->pci, 0, &bar);
	bar.size = 32;
	bar.is_io = true;
	pci_set_bar(&c->pci, 1, &bar);
	bar.size = 16384;
	bar.is_io = false;
	bar.is_64 = true;
	bar.prefetch = true;
	pci_set_bar(&c->pci, 2, &bar);
	assert_int_equal(pci_add(t->bus, &c->pci, -1), 0);
	assert_int_equal(t->fx->env.add(&t->fx->env, "card", &card_ops, c), 0);
	return c;
}

static int setup(void **state)
{
	static struct test t;

	t = (struct test){ .fx = fx_new() };
	t.bus = pci_bus_new(&t.fx->env);
	assert_non_null(t.bus);
	assert_int_equal(piix3_new(&t.fx->env, t.bus), 0);
	t.card[0] = card_new(&t);
	t.card[1] = card_new(&t);
	*state = &t;
	return 0;
}

static int teardown(void **state)
{
	fx_free(((struct test *)*state)->fx);
	return 0;
}

static void board(void **state)
{
	struct fx *fx = ((struct test *)*state)->fx;

	assert_int_equal(fx_cfg_read(fx, 0, 0, 4), 0x12378086);
	assert_int_equal(fx_cfg_read(fx, 0, 0x2c, 4), 0x11001af4);
	assert_int_equal(fx_cfg_read(fx, SLOT(1), 0, 4), 0x70008086);
	assert_int_equal(fx_cfg_read(fx, SLOT(1), 0x0e, 1), 0x80);
	assert_int_equal(fx_cfg_read(fx, SLOT(2), 0, 4), 0xffffffff);
	assert_int_equal(fx_cfg_read(fx, SLOT(3), 0, 4), 0x56781234);
	assert_int_equal(fx_cfg_read(fx, SLOT(3), 8, 4), 0x02000009);
	assert_int_equal(fx_cfg_read(fx, SLOT(3), 0x3d, 1), 1);
}

static void mechanism(void **state)
{
	struct fx *fx = ((struct test *)*state)->fx;

	fx_out(fx, 0xcf8, 0x80001803, 4);
	assert_int_equal(fx_in(fx, 0xcf8, 4), 0x80001800);
	assert_int_equal(fx_in(fx, 0xcfc, 2), 0x1234);
	assert_int_equal(fx_in(fx, 0xcfe, 2), 0x5678);
	assert_int_equal(fx_in(fx, 0xcff, 1), 0x56);
	fx_out(fx, 0xcf8, 0x00, 1);			/* not 32 bits: not ours */
	assert_int_equal(fx_in(fx, 0xcf8, 4), 0x80001800);
	assert_int_equal(fx_in(fx, 0xcf8, 2), 0xffff);
	fx_out(fx, 0xcf8, 0x00001800, 4);		/* not enabled */
	assert_int_equal(fx_in(fx, 0xcfc, 4), 0xffffffff);
	fx_out(fx, 0xcf8, 0x80011800, 4);		/* another bus */
	assert_int_equal(fx_in(fx, 0xcfc, 4), 0xffffffff);
	assert_int_equal(fx_in(fx, 0xcfc, 1), 0xff);
	fx_out(fx, 0xcfc, 0, 4);
}

static void masks(void **state)
{
	struct fx *fx = ((struct test *)*state)->fx;

	fx_cfg_write(fx, SLOT(3), 0, 0, 4);
	assert_int_equal(fx_cfg_read(fx, SLOT(3), 0, 4), 0x56781234);
	fx_cfg_write(fx, SLOT(3), PCI_INTERRUPT_LINE, 0xffff, 2);
	assert_int_equal(fx_cfg_read(fx, SLOT(3), PCI_INTERRUPT_LINE, 2), 0x1ff);
	fx_cfg_write(fx, SLOT(3), PCI_COMMAND, 0xffff, 2);
	assert_int_equal(fx_cfg_read(fx, SLOT(3), PCI_COMMAND, 2), 0x547);
}

static void sizing(void **state)
{
	struct fx *fx = ((struct test *)*state)->fx;
	unsigned int i;

	for (i = 0; i < 6; i++)
		fx_cfg_write(fx, SLOT(3), 0x10 + 4 * i, 0xffffffff, 4);
	assert_int_equal(fx_cfg_read(fx, SLOT(3), 0x10, 4), 0xfffff000);
	assert_int_equal(fx_cfg_read(fx, SLOT(3), 0x14, 4), 0xffffffe1);
	assert_int_equal(fx_cfg_read(fx, SLOT(3), 0x18, 4), 0xffffc00c);
	assert_int_equal(fx_cfg_read(fx, SLOT(3), 0x1c, 4), 0xffffffff);
	assert_int_equal(fx_cfg_read(fx, SLOT(3), 0x20, 4), 0);
	fx_cfg_write(fx, SLOT(3), PCI_ROM_ADDRESS, 0xffffffff, 4);
	assert_int_equal(fx_cfg_read(fx, SLOT(3), PCI_ROM_ADDRESS, 4), 0);
}

static bool answers(struct test *t, uint64_t gpa)
{
	return fx_read(t->fx, gpa, 1) == 0x5a;
}

static void bars_move(void **state)
{
	struct test *t = *state;
	struct fx *fx = t->fx;

	fx_cfg_write(fx, SLOT(3), 0x10, 0xe0000000, 4);
	fx_cfg_write(fx, SLOT(3), 0x14, 0xc000, 4);
	fx_cfg_write(fx, SLOT(3), 0x18, 0x00004000, 4);
	fx_cfg_write(fx, SLOT(3), 0x1c, 0x12, 4);
	assert_false(answers(t, 0xe0000000));		/* not enabled */
	fx_cfg_write(fx, SLOT(3), PCI_COMMAND, PCI_COMMAND_MEMORY, 2);
	assert_true(answers(t, 0xe0000123));
	assert_int_equal(t->card[0]->last, 0x123);
	assert_true(answers(t, 0x1200004000));
	assert_int_equal(fx_in(fx, 0xc000, 1), 0xff);
	fx_cfg_write(fx, SLOT(3), PCI_COMMAND, 3, 2);
	assert_int_equal(fx_in(fx, 0xc01f, 1), 0x5a);
	fx_cfg_write(fx, SLOT(3), 0x10, 0xe0001000, 4);
	assert_false(answers(t, 0xe0000000));
	assert_true(answers(t, 0xe0001000));
	fx_cfg_write(fx, SLOT(3), 0x10, 0xffffffff, 4);	/* while sized */
	assert_false(answers(t, 0xfffff000));
	fx_reset(fx);
	assert_false(answers(t, 0xe0001000));
	assert_int_equal(fx_cfg_read(fx, SLOT(3), 0x10, 4), 0);
	assert_int_equal(fx_in(fx, 0xc000, 1), 0xff);
}

/* two at one place: the first keeps it, the other gets it afterwards */
static void bars_collide(void **state)
{
	struct test *t = *state;
	struct fx *fx = t->fx;
	unsigned int i;

	for (i = 3; i < 5; i++) {
		fx_cfg_write(fx, SLOT(i), 0x10, 0xe0000000, 4);
		fx_cfg_write(fx, SLOT(i), PCI_COMMAND, PCI_COMMAND_MEMORY, 2);
	}
	fx_read(fx, 0xe0000010, 1);
	assert_int_equal(t->card[0]->last, 0x10);
	assert_int_equal(t->card[1]->last, 0);
	fx_cfg_write(fx, SLOT(3), PCI_COMMAND, 0, 2);
	fx_read(fx, 0xe0000020, 1);
	assert_int_equal(t->card[1]->last, 0x20);
	fx_cfg_write(fx, SLOT(3), 0x14, 0x60, 4);
	fx_cfg_write(fx, SLOT(3), 0x1c, 0xffffffff, 4);
	fx_cfg_write(fx, SLOT(3), 0x18, 0xffffc000, 4);
	fx_cfg_write(fx, SLOT(3), PCI_COMMAND, 3, 2);
}

static void intx(struct test *t, unsigned int n, bool level)
{
	fx_lock(t->fx);
	pci_intx(&t->card[n]->pci, level);
	fx_unlock(t->fx);
}

static void intx_is_routed(void **state)
{
	struct test *t = *state;
	struct fx *fx = t->fx;

	intx(t, 0, true);
	assert_true(fx_cfg_read(fx, SLOT(3), PCI_STATUS, 2) & PCI_STATUS_INTERRUPT);
	fx_cfg_write(fx, SLOT(1), 0x62, 11, 1);		/* slot 3 INTA: PIRQC */
	assert_true(fx->level[11]);
	fx_cfg_write(fx, SLOT(1), 0x62, 10, 1);
	assert_false(fx->level[11]);
	assert_true(fx->level[10]);
	fx_cfg_write(fx, SLOT(1), 0x63, 10, 1);		/* slot 4: shares it */
	intx(t, 1, true);
	intx(t, 0, false);
	assert_true(fx->level[10]);
	fx_cfg_write(fx, SLOT(4), PCI_COMMAND, PCI_COMMAND_INTX_DISABLE, 2);
	assert_false(fx->level[10]);
	fx_cfg_write(fx, SLOT(4), PCI_COMMAND, 0, 2);
	assert_true(fx->level[10]);
	fx_cfg_write(fx, SLOT(1), 0x63, 0x8a, 1);
	assert_false(fx->level[10]);
	fx_cfg_write(fx, SLOT(1), 0x63, 8, 1);		/* a reserved IRQ */
	assert_false(fx->level[8]);
	fx_cfg_write(fx, SLOT(1), 0x63, 10, 1);
	fx_roundtrip(fx);
	assert_true(fx->level[10]);
	fx_reset(fx);
	assert_false(fx->level[10]);
}

static void reset_port(void **state)
{
	struct fx *fx = ((struct test *)*state)->fx;

	fx_out(fx, 0xcf9, 0x02, 1);
	assert_int_equal(fx_in(fx, 0xcf9, 1), 0x02);
	assert_int_equal(fx->resets, 0);
	fx_out(fx, 0xcf9, 0x06, 1);
	assert_int_equal(fx->resets, 1);
}

static void places(void **state)
{
	struct test *t = *state;
	struct pci_dev extra = { .name = "extra" };

	assert_int_equal(t->card[0]->pci.devfn, SLOT(3));
	assert_int_equal(t->card[1]->pci.devfn, SLOT(4));
	assert_int_equal(pci_add(t->bus, &extra, SLOT(1)), -EBUSY);
	assert_int_equal(pci_add(t->bus, &extra, 256), -EINVAL);
}

static void capabilities(void **state)
{
	struct pci_dev d = { .name = "caps" };
	unsigned int at, n = 0;

	pci_init_ids(&d, 1, 2, 3, 0x020000, 4, 5);
	while ((at = pci_add_cap(&d, PCI_CAP_ID_VNDR, 14)))
		assert_int_equal(at, 0x40 + 16 * n++);
	assert_int_equal(n, 11);
	for (at = d.config[0x34], n = 0; at; at = d.config[at + 1])
		n++;
	assert_int_equal(n, 11);
}

static void state_of_everything(void **state)
{
	struct test *t = *state;
	struct fx *fx = t->fx;
	unsigned int i;

	fx_cfg_write(fx, SLOT(3), 0x10, 0xe0000000, 4);
	fx_cfg_write(fx, SLOT(3), PCI_COMMAND, PCI_COMMAND_MEMORY, 2);
	fx_roundtrip(fx);
	assert_true(answers(t, 0xe0000000));
	for (i = 0; i < 200; i++) {
		static const uint8_t devfns[] = {
			SLOT(0), SLOT(1), SLOT(3), SLOT(4),
		};

		fx_out(fx, 0xcf8, 0x80000000U | devfns[i % 4] << 8 |
				  (i * 52 & 0xfc), 4);
		fx_fuzz(fx, fx->env.pio, 0xcf9, 7, 50);
	}
	fx_fuzz(fx, fx->env.pio, 0xcf8, 8, 10000);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(board), T(mechanism), T(masks), T(sizing), T(bars_move),
		T(bars_collide), T(intx_is_routed), T(reset_port), T(places),
		T(capabilities), T(state_of_everything),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
