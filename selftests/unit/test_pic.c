// SPDX-License-Identifier: GPL-2.0
/* The 8259 pair: priorities, triggers, every EOI, masks, poll, ELCR. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "dev/devices.h"
#include "fixture.h"

#define M	0x20
#define S	0xa0

struct test {
	struct fx *fx;
	struct pic *pic;
	bool intr;
	unsigned int raised;
};

static void on_intr(void *owner, bool level)
{
	struct test *t = owner;

	t->intr = level;
	t->raised += level;
}

/* as Linux does it: vectors 0x30.., everything unmasked */
static void init(struct test *t, uint8_t icw4)
{
	fx_out(t->fx, M, 0x11, 1);
	fx_out(t->fx, M + 1, 0x30, 1);
	fx_out(t->fx, M + 1, 0x04, 1);
	fx_out(t->fx, M + 1, icw4, 1);
	fx_out(t->fx, S, 0x11, 1);
	fx_out(t->fx, S + 1, 0x38, 1);
	fx_out(t->fx, S + 1, 0x02, 1);
	fx_out(t->fx, S + 1, icw4, 1);
}

static int setup(void **state)
{
	static struct test t;

	t = (struct test){ .fx = fx_new() };
	t.pic = pic_new(&t.fx->env, on_intr, &t);
	assert_non_null(t.pic);
	init(&t, 0x01);
	*state = &t;
	return 0;
}

static int teardown(void **state)
{
	struct test *t = *state;

	fx_free(t->fx);
	return 0;
}

static void pulse(struct test *t, unsigned int irq)
{
	fx_wire(t->fx, irq, true);
	fx_wire(t->fx, irq, false);
}

static void masked_until_initialized(void **state)
{
	struct test *t = *state;

	fx_reset(t->fx);
	pulse(t, 1);
	assert_false(pic_pending(t->pic));
}

static void edge(void **state)
{
	struct test *t = *state;

	fx_wire(t->fx, 1, true);
	assert_true(t->intr);
	assert_int_equal(pic_ack(t->pic), 0x31);
	assert_false(t->intr);
	fx_out(t->fx, M, 0x20, 1);
	assert_false(pic_pending(t->pic));	/* the line is still high */
	pulse(t, 1);
	assert_false(pic_pending(t->pic));	/* and so it was no edge */
	pulse(t, 1);
	assert_true(pic_pending(t->pic));
}

static void level(void **state)
{
	struct test *t = *state;

	fx_out(t->fx, 0x4d1, 0x0c, 1);		/* IRQ 10, 11 */
	fx_wire(t->fx, 10, true);
	assert_int_equal(pic_ack(t->pic), 0x3a);
	fx_out(t->fx, S, 0x20, 1);
	fx_out(t->fx, M, 0x20, 1);
	assert_true(pic_pending(t->pic));	/* again, since it is high */
	fx_wire(t->fx, 10, false);
	assert_false(pic_pending(t->pic));
}

static void priority(void **state)
{
	struct test *t = *state;

	pulse(t, 5);
	pulse(t, 3);
	pulse(t, 12);
	assert_int_equal(pic_ack(t->pic), 0x3c);	/* the slave is on 2 */
	pulse(t, 4);
	assert_false(pic_pending(t->pic));
	pulse(t, 1);
	assert_int_equal(pic_ack(t->pic), 0x31);
	fx_out(t->fx, M, 0x20, 1);			/* of 1 */
	fx_out(t->fx, S, 0x20, 1);
	fx_out(t->fx, M, 0x20, 1);			/* of 2 */
	assert_int_equal(pic_ack(t->pic), 0x33);
	fx_out(t->fx, M, 0x63, 1);			/* specific EOI */
	assert_int_equal(pic_ack(t->pic), 0x34);
}

/* both requests of the slave come through without a second edge on input 2 */
static void slave_twice(void **state)
{
	struct test *t = *state;

	init(t, 0x03);					/* automatic EOI */
	pulse(t, 8);
	pulse(t, 9);
	assert_int_equal(pic_ack(t->pic), 0x38);
	assert_int_equal(pic_ack(t->pic), 0x39);
	assert_false(pic_pending(t->pic));
}

static void rotation(void **state)
{
	struct test *t = *state;

	pulse(t, 0);
	assert_int_equal(pic_ack(t->pic), 0x30);
	fx_out(t->fx, M, 0xa0, 1);	/* rotate on EOI: 1 is now on top */
	pulse(t, 0);
	pulse(t, 1);
	assert_int_equal(pic_ack(t->pic), 0x31);
	fx_out(t->fx, M, 0x20, 1);
	fx_out(t->fx, M, 0xc6, 1);	/* set priority: 7 is on top */
	pulse(t, 7);
	assert_int_equal(pic_ack(t->pic), 0x37);
}

static void special_mask(void **state)
{
	struct test *t = *state;

	pulse(t, 1);
	pic_ack(t->pic);
	pulse(t, 6);
	assert_false(pic_pending(t->pic));
	fx_out(t->fx, M + 1, 0x02, 1);	/* the one in service is masked */
	fx_out(t->fx, M, 0x68, 1);
	assert_true(pic_pending(t->pic));
	fx_out(t->fx, M, 0x48, 1);
	assert_false(pic_pending(t->pic));
}

static void spurious(void **state)
{
	struct test *t = *state;

	fx_out(t->fx, 0x4d0, 0x08, 1);
	fx_wire(t->fx, 3, true);
	fx_wire(t->fx, 3, false);
	assert_int_equal(pic_ack(t->pic), 0x37);
	fx_out(t->fx, M, 0x0b, 1);
	assert_int_equal(fx_in(t->fx, M, 1), 0);	/* no ISR bit */
}

static void poll_and_registers(void **state)
{
	struct test *t = *state;

	pulse(t, 4);
	fx_out(t->fx, M, 0x0a, 1);
	assert_int_equal(fx_in(t->fx, M, 1), 0x10);	/* IRR */
	fx_out(t->fx, M, 0x0c, 1);
	assert_int_equal(fx_in(t->fx, M, 1), 0x84);
	fx_out(t->fx, M, 0x0b, 1);
	assert_int_equal(fx_in(t->fx, M, 1), 0x10);	/* ISR */
	fx_out(t->fx, M, 0x0c, 1);
	assert_int_equal(fx_in(t->fx, M, 1), 0);
	fx_out(t->fx, M + 1, 0xa5, 1);
	assert_int_equal(fx_in(t->fx, M + 1, 1), 0xa5);
}

static void elcr_bits(void **state)
{
	struct test *t = *state;

	fx_out(t->fx, 0x4d0, 0xffff, 2);
	assert_int_equal(fx_in(t->fx, 0x4d0, 2), 0xdef8);
}

static void raised_once(void **state)
{
	struct test *t = *state;

	pulse(t, 3);
	pulse(t, 4);
	assert_int_equal(t->raised, 1);
	fx_out(t->fx, M + 1, 0xff, 1);
	assert_false(t->intr);
	fx_out(t->fx, M + 1, 0x00, 1);
	assert_int_equal(t->raised, 2);
}

static void state_of_everything(void **state)
{
	struct test *t = *state;

	pulse(t, 3);
	pulse(t, 9);
	pic_ack(t->pic);
	fx_out(t->fx, M, 0x11, 1);	/* in the middle of its ICWs */
	fx_roundtrip(t->fx);
	fx_fuzz(t->fx, t->fx->env.pio, M, 2, 5000);
	fx_fuzz(t->fx, t->fx->env.pio, S, 2, 5000);
	fx_fuzz(t->fx, t->fx->env.pio, 0x4d0, 2, 500);
	pic_ack(t->pic);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(masked_until_initialized), T(edge), T(level), T(priority),
		T(slave_twice), T(rotation), T(special_mask), T(spurious),
		T(poll_and_registers), T(elcr_bits), T(raised_once),
		T(state_of_everything),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
