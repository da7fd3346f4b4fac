// SPDX-License-Identifier: GPL-2.0
/* The keyboard controller: tests, commands, A20 and the ways to reset. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "dev/devices.h"
#include "fixture.h"

static int setup(void **state)
{
	struct fx *fx = fx_new();

	assert_int_equal(i8042_new(&fx->env), 0);
	*state = fx;
	return 0;
}

static int teardown(void **state)
{
	fx_free(*state);
	return 0;
}

static void cmd(struct fx *fx, uint8_t value)
{
	fx_out(fx, 0x64, value, 1);
}

static void data(struct fx *fx, uint8_t value)
{
	fx_out(fx, 0x60, value, 1);
}

static void answer(struct fx *fx, uint8_t value)
{
	assert_true(fx_in(fx, 0x64, 1) & 1);
	assert_int_equal(fx_in(fx, 0x60, 1), value);
}

static void none(struct fx *fx)
{
	assert_false(fx_in(fx, 0x64, 1) & 1);
}

static void self_tests(void **state)
{
	struct fx *fx = *state;

	none(fx);
	assert_false(fx_in(fx, 0x64, 1) & 4);
	cmd(fx, 0xaa);
	answer(fx, 0x55);
	assert_true(fx_in(fx, 0x64, 1) & 4);
	cmd(fx, 0xab);
	answer(fx, 0);
	cmd(fx, 0xa9);
	answer(fx, 0);
	none(fx);
}

static void command_byte(void **state)
{
	struct fx *fx = *state;

	cmd(fx, 0x60);
	data(fx, 0x45);
	cmd(fx, 0x20);
	answer(fx, 0x45);
	cmd(fx, 0xad);
	cmd(fx, 0xa7);
	cmd(fx, 0x20);
	answer(fx, 0x75);
	cmd(fx, 0xae);
	cmd(fx, 0xa8);
	cmd(fx, 0x20);
	answer(fx, 0x45);
}

static void keyboard(void **state)
{
	struct fx *fx = *state;

	cmd(fx, 0x60);
	data(fx, 0x01);				/* with interrupts */
	data(fx, 0xff);
	assert_true(fx->level[1]);
	answer(fx, 0xfa);
	assert_int_equal(fx->edges[1], 2);	/* one for each byte */
	answer(fx, 0xaa);
	assert_false(fx->level[1]);
	data(fx, 0xed);
	answer(fx, 0xfa);
	data(fx, 0x07);
	answer(fx, 0xfa);
	data(fx, 0xf2);
	answer(fx, 0xfa);
	answer(fx, 0xab);
	answer(fx, 0x83);
	data(fx, 0xf0);
	answer(fx, 0xfa);
	data(fx, 0);
	answer(fx, 0xfa);
	answer(fx, 2);
	data(fx, 0x10);				/* no such command */
	answer(fx, 0xfe);
	none(fx);
}

static void mouse(void **state)
{
	struct fx *fx = *state;

	cmd(fx, 0x60);
	data(fx, 0x02);
	cmd(fx, 0xd3);
	data(fx, 0x5a);
	assert_true(fx->level[12]);
	assert_int_equal(fx_in(fx, 0x64, 1) & 0x21, 0x21);
	answer(fx, 0x5a);
	cmd(fx, 0xd4);				/* there is none */
	data(fx, 0xff);
	answer(fx, 0xfe);
}

static void a20(void **state)
{
	struct fx *fx = *state;

	assert_int_equal(fx_in(fx, 0x92, 1), 2);
	fx_out(fx, 0x92, 0, 1);
	cmd(fx, 0xd0);
	assert_int_equal(fx_in(fx, 0x60, 1) & 2, 0);
	cmd(fx, 0xd1);
	data(fx, 0xdf);
	assert_int_equal(fx_in(fx, 0x92, 1), 2);
	assert_int_equal(fx->resets, 0);
}

static void resets(void **state)
{
	struct fx *fx = *state;

	cmd(fx, 0xfe);
	assert_int_equal(fx->resets, 1);
	cmd(fx, 0xff);				/* pulses nothing */
	assert_int_equal(fx->resets, 1);
	fx_out(fx, 0x92, 1, 1);
	assert_int_equal(fx->resets, 2);
	cmd(fx, 0xd1);
	data(fx, 0xde);
	assert_int_equal(fx->resets, 3);
}

static void overflow(void **state)
{
	struct fx *fx = *state;
	unsigned int i;

	for (i = 0; i < 100; i++)
		cmd(fx, 0xaa);
	for (i = 0; i < 16; i++)
		answer(fx, 0x55);
	none(fx);
}

static void state_of_everything(void **state)
{
	struct fx *fx = *state;

	data(fx, 0xff);
	cmd(fx, 0x60);
	fx_roundtrip(fx);
	data(fx, 0x01);				/* goes to the command byte */
	assert_true(fx->level[1]);
	fx_fuzz(fx, fx->env.pio, 0x60, 1, 5000);
	fx_fuzz(fx, fx->env.pio, 0x60, 5, 20000);
	fx_fuzz(fx, fx->env.pio, 0x92, 1, 100);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(self_tests), T(command_byte), T(keyboard), T(mouse), T(a20),
		T(resets), T(overflow), T(state_of_everything),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
