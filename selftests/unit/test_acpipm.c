// SPDX-License-Identifier: GPL-2.0
/* The ACPI PM block: timer, power button, SCI, soft off, where it sits. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "dev/devices.h"
#include "fixture.h"
#include "pci/pci.h"

#define DEVFN	(1 << 3 | 3)
#define PM	0x600
#define PM_HZ	3579545ULL

struct test {
	struct fx *fx;
	struct acpipm *pm;
};

static int setup(void **state)
{
	static struct test t;
	struct pci_bus *bus;

	t = (struct test){ .fx = fx_new() };
	bus = pci_bus_new(&t.fx->env);
	assert_non_null(bus);
	t.pm = acpipm_new(&t.fx->env, bus, 9);
	assert_non_null(t.pm);
	/* as SeaBIOS does it */
	fx_cfg_write(t.fx, DEVFN, 0x40, PM | 1, 4);
	fx_cfg_write(t.fx, DEVFN, 0x80, 1, 1);
	*state = &t;
	return 0;
}

static int teardown(void **state)
{
	fx_free(((struct test *)*state)->fx);
	return 0;
}

static void place(void **state)
{
	struct fx *fx = ((struct test *)*state)->fx;

	assert_int_equal(fx_cfg_read(fx, DEVFN, 0, 4), 0x71138086);
	assert_int_equal(fx_cfg_read(fx, DEVFN, 0x58, 4), 0x02000000);
	assert_int_equal(fx_cfg_read(fx, DEVFN, 0x40, 4), PM | 1);
	assert_int_equal(fx_in(fx, PM + 4, 2), 1);	/* SCI_EN */
	fx_cfg_write(fx, DEVFN, 0x40, 0xb001, 4);
	assert_int_equal(fx_in(fx, PM + 4, 2), 0xffff);
	assert_int_equal(fx_in(fx, 0xb004, 2), 1);
	fx_cfg_write(fx, DEVFN, 0x80, 0, 1);
	assert_int_equal(fx_in(fx, 0xb004, 2), 0xffff);
	fx_cfg_write(fx, DEVFN, 0x80, 1, 1);
	fx_reset(fx);
	assert_int_equal(fx_in(fx, 0xb004, 2), 0xffff);
}

static void timer(void **state)
{
	struct fx *fx = ((struct test *)*state)->fx;
	uint32_t a = fx_in(fx, PM + 8, 4), b;

	fx_advance(fx, FX_SEC);
	b = fx_in(fx, PM + 8, 4);
	assert_int_equal(b - a, PM_HZ);
	fx_advance(fx, 4 * FX_SEC);
	b = fx_in(fx, PM + 8, 4);
	assert_int_equal((b - a) & 0xffffff, 5 * PM_HZ - (1 << 24));
	assert_int_equal(b >> 24, 0);
	assert_int_equal(fx_in(fx, PM + 8, 2), b & 0xffff);
	assert_int_equal(fx_in(fx, PM + 10, 1), b >> 16);
}

static void timer_status(void **state)
{
	struct fx *fx = ((struct test *)*state)->fx;

	fx_out(fx, PM, 0xffff, 2);
	fx_out(fx, PM + 2, 1, 2);
	fx_advance(fx, 2 * FX_SEC);
	assert_false(fx->level[9]);
	fx_advance(fx, FX_SEC);			/* bit 23 changed after 2.34 s */
	assert_true(fx->level[9]);
	assert_int_equal(fx_in(fx, PM, 2), 1);
	fx_out(fx, PM, 1, 2);
	assert_false(fx->level[9]);
	fx_advance(fx, 2 * FX_SEC);
	assert_true(fx->level[9]);
	fx_out(fx, PM + 2, 0, 2);
	assert_false(fx->level[9]);
}

static void power_button(void **state)
{
	struct test *t = *state;
	struct fx *fx = t->fx;

	fx_lock(fx);
	acpipm_power_button(t->pm);
	fx_unlock(fx);
	assert_false(fx->level[9]);
	assert_int_equal(fx_in(fx, PM, 2), 0x100);
	fx_out(fx, PM + 3, 0x01, 1);		/* PWRBTN_EN, as a byte */
	assert_int_equal(fx_in(fx, PM + 2, 2), 0x100);
	assert_true(fx->level[9]);
	fx_out(fx, PM, 0xff, 1);		/* the other byte: untouched */
	assert_true(fx->level[9]);
	fx_out(fx, PM + 1, 0x01, 1);
	assert_false(fx->level[9]);
	assert_int_equal(fx_in(fx, PM, 2), 0);
}

static void soft_off(void **state)
{
	struct fx *fx = ((struct test *)*state)->fx;

	fx_out(fx, PM + 4, 0x2c00, 2);		/* another sleep type */
	assert_int_equal(fx->poweroffs, 0);
	assert_int_equal(fx_in(fx, PM + 4, 2), 0x0c01);	/* SLP_EN reads 0 */
	fx_out(fx, PM + 4, 0x0000, 2);
	assert_int_equal(fx->poweroffs, 0);
	fx_out(fx, PM + 4, 0x2000, 2);		/* _S5 of the DSDT */
	assert_int_equal(fx->poweroffs, 1);
	fx_out(fx, PM + 5, 0x20, 1);
	assert_int_equal(fx->poweroffs, 2);
}

static void gpe(void **state)
{
	struct fx *fx = ((struct test *)*state)->fx;

	fx_out(fx, PM + 0xe, 0x1234, 2);
	assert_int_equal(fx_in(fx, PM + 0xe, 2), 0x1234);
	assert_int_equal(fx_in(fx, PM + 0xc, 4), 0x12340000);
	assert_false(fx->level[9]);
	assert_int_equal(fx_in(fx, PM + 0x20, 4), 0);
}

static void state_of_everything(void **state)
{
	struct test *t = *state;
	struct fx *fx = t->fx;
	uint32_t before;

	fx_out(fx, PM + 2, 0x101, 2);
	fx_advance(fx, FX_SEC);
	acpipm_power_button(t->pm);
	before = fx_in(fx, PM + 8, 4);
	fx_roundtrip(fx);
	assert_int_equal(fx_in(fx, PM + 8, 4), before);
	assert_true(fx->level[9]);
	fx_fuzz(fx, fx->env.pio, PM, 64, 20000);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(place), T(timer), T(timer_status), T(power_button),
		T(soft_off), T(gpe), T(state_of_everything),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
