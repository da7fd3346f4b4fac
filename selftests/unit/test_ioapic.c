// SPDX-License-Identifier: GPL-2.0
/* The I/O APIC: what each redirection entry makes of its wire. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>
#include <sys/eventfd.h>

#include "dev/devices.h"
#include "fixture.h"

#define IO	0xfec00000ULL
#define LEVEL	0x8000U
#define MASKED	0x10000U
#define REMOTE	0x4000U

static int setup(void **state)
{
	struct fx *fx = fx_new();

	assert_int_equal(ioapic_new(&fx->env, IO), 0);
	*state = fx;
	return 0;
}

static int teardown(void **state)
{
	fx_free(*state);
	return 0;
}

static uint32_t get(struct fx *fx, unsigned int reg)
{
	fx_write(fx, IO, reg, 4);
	return fx_read(fx, IO + 0x10, 4);
}

static void set(struct fx *fx, unsigned int reg, uint32_t value)
{
	fx_write(fx, IO, reg, 4);
	fx_write(fx, IO + 0x10, value, 4);
}

static void rte(struct fx *fx, unsigned int pin, uint32_t low, uint32_t high)
{
	set(fx, 0x11 + 2 * pin, high);
	set(fx, 0x10 + 2 * pin, low);
}

static void identity(void **state)
{
	struct fx *fx = *state;

	assert_int_equal(get(fx, 1), 0x170020);
	set(fx, 0, 0xffffffff);
	assert_int_equal(get(fx, 0), 0x0f000000);
	assert_int_equal(get(fx, 2), 0x0f000000);
	assert_int_equal(get(fx, 0x10), MASKED);
	assert_int_equal(get(fx, 0x40), 0);
	set(fx, 0x10, 0xffffffff);
	assert_int_equal(get(fx, 0x10), 0x1afff);	/* status is read-only */
	set(fx, 0x11, 0xffffffff);
	assert_int_equal(get(fx, 0x11), 0xff000000);
}

static void edge(void **state)
{
	struct fx *fx = *state;

	rte(fx, 4, 0x0941, 0x03000000);		/* lowest priority, logical */
	fx_wire(fx, 4, true);
	assert_int_equal(fx->msis, 1);
	assert_int_equal(fx->msi_addr, 0xfee03004);
	assert_int_equal(fx->msi_data, 0x141);
	fx_wire(fx, 4, false);
	fx_wire(fx, 4, true);
	assert_int_equal(fx->msis, 2);
	fx_eoi(fx, 0x41);
	assert_int_equal(fx->msis, 2);
}

static void edge_masked_is_lost(void **state)
{
	struct fx *fx = *state;

	rte(fx, 4, 0x41 | MASKED, 0);
	fx_wire(fx, 4, true);
	rte(fx, 4, 0x41, 0);
	assert_int_equal(fx->msis, 0);
}

static void level(void **state)
{
	struct fx *fx = *state;

	rte(fx, 11, 0x52 | LEVEL, 0);
	fx_wire(fx, 11, true);
	assert_int_equal(fx->msis, 1);
	assert_int_equal(fx->msi_data, 0xc052);	/* level, assert */
	assert_true(get(fx, 0x10 + 22) & REMOTE);
	fx_wire(fx, 11, false);
	fx_wire(fx, 11, true);
	assert_int_equal(fx->msis, 1);		/* not before the EOI */
	fx_eoi(fx, 0x51);
	assert_int_equal(fx->msis, 1);
	fx_eoi(fx, 0x52);
	assert_int_equal(fx->msis, 2);		/* still high */
	fx_wire(fx, 11, false);
	fx_write(fx, IO + 0x40, 0x52, 4);	/* the EOI register */
	assert_int_equal(fx->msis, 2);
	assert_false(get(fx, 0x10 + 22) & REMOTE);
}

static void level_masked_waits(void **state)
{
	struct fx *fx = *state;

	rte(fx, 11, 0x52 | LEVEL | MASKED, 0);
	fx_wire(fx, 11, true);
	assert_int_equal(fx->msis, 0);
	rte(fx, 11, 0x52 | LEVEL, 0);
	assert_int_equal(fx->msis, 1);
	/* guests free a pin by making it edge-triggered */
	rte(fx, 11, 0x52 | MASKED, 0);
	assert_false(get(fx, 0x10 + 22) & REMOTE);
}

static void timer_is_pin_2(void **state)
{
	struct fx *fx = *state;

	rte(fx, 0, 0x60, 0);
	rte(fx, 2, 0x62, 0);
	fx_wire(fx, 0, true);
	assert_int_equal(fx->msis, 1);
	assert_int_equal(fx->msi_data, 0x62);
	fx_wire(fx, 2, true);			/* the cascade has no pin */
	assert_int_equal(fx->msis, 1);
}

static void extint_goes_nowhere(void **state)
{
	struct fx *fx = *state;

	rte(fx, 0, 0x700, 0);
	rte(fx, 2, 0x700, 0);
	fx_wire(fx, 0, true);
	assert_int_equal(fx->msis, 0);
	rte(fx, 5, 0x400, 0);
	fx_wire(fx, 5, true);
	assert_int_equal(fx->msi_data, 0x400);	/* NMI */
}

static void accesses(void **state)
{
	struct fx *fx = *state;

	fx_write(fx, IO, 0x01, 1);
	assert_int_equal(fx_read(fx, IO + 0x12, 1), 0x17);
	assert_int_equal(fx_read(fx, IO + 0x10, 2), 0x20);
	fx_write(fx, IO, 0x10, 4);
	fx_write(fx, IO + 0x10, 0, 1);		/* not 32 bits: dropped */
	assert_int_equal(get(fx, 0x10), MASKED);
	assert_int_equal(fx_read(fx, IO + 0x30, 8), 0);
}

static void state_of_everything(void **state)
{
	struct fx *fx = *state;

	rte(fx, 11, 0x52 | LEVEL, 0x1000000);
	fx_wire(fx, 11, true);
	fx_roundtrip(fx);
	assert_true(get(fx, 0x10 + 22) & REMOTE);
	fx_fuzz(fx, fx->env.mmio, IO, 0x50, 20000);
}

/* ---- with a module that signals EOIs ------------------------------------------ */

#define PINS	24

static struct {
	int eoi;			/* eventfd; -1: not bound */
	uint64_t addr;
	uint32_t data;
	unsigned int routes;
} module[PINS];

static int fake_route(struct dev_env *env, unsigned int gsi, uint64_t addr,
		      uint32_t data)
{
	module[gsi].addr = addr;
	module[gsi].data = data;
	module[gsi].routes++;
	return 0;
}

static int fake_bind(struct dev_env *env, unsigned int gsi, int fd, int eoi)
{
	assert_int_equal(module[gsi].eoi < 0, eoi >= 0);
	assert_int_equal(fd < 0, eoi < 0);
	module[gsi].eoi = eoi;
	return 0;
}

static struct {
	uint64_t addr;
	unsigned int size;
} kept;

static void fake_coalesce(struct dev_env *env, bool port, uint64_t addr,
			  unsigned int size)
{
	assert_false(port);
	kept.addr = addr;
	kept.size = size;
}

static int setup_module(void **state)
{
	struct fx *fx = fx_new();
	unsigned int n;

	memset(module, 0, sizeof(module));
	for (n = 0; n < PINS; n++)
		module[n].eoi = -1;
	fx->env.msi_route = fake_route;
	fx->env.msi_bind = fake_bind;
	fx->env.coalesce = fake_coalesce;
	assert_int_equal(ioapic_new(&fx->env, IO), 0);
	*state = fx;
	return 0;
}

static int teardown_module(void **state)
{
	unsigned int n;

	fx_free(*state);
	for (n = 0; n < PINS; n++)
		assert_int_equal(module[n].eoi, -1);
	return 0;
}

static void signal_eoi(struct fx *fx, unsigned int pin)
{
	assert_int_equal(eventfd_write(module[pin].eoi, 1), 0);
	fx_sync(fx);
}

static void eoi_by_eventfd(void **state)
{
	struct fx *fx = *state;

	rte(fx, 9, LEVEL | 0x49, 0x01000000);
	/* as it is sent, and known before it is */
	assert_int_equal(module[9].addr, 0xfee01000);
	assert_int_equal(module[9].data, 0xc049);
	fx_wire(fx, 9, true);
	assert_int_equal(fx->msis, 1);
	assert_int_equal(fx->msi_addr, module[9].addr);
	assert_int_equal(fx->msi_data, module[9].data);
	assert_true(get(fx, 0x10 + 18) & REMOTE);
	/* still asserted: once more; then not */
	signal_eoi(fx, 9);
	assert_int_equal(fx->msis, 2);
	fx_wire(fx, 9, false);
	signal_eoi(fx, 9);
	assert_int_equal(fx->msis, 2);
	assert_false(get(fx, 0x10 + 18) & REMOTE);
	/* one more is nothing, nor is one of another pin */
	signal_eoi(fx, 9);
	rte(fx, 10, LEVEL | 0x4a, 0);
	signal_eoi(fx, 10);
	assert_int_equal(fx->msis, 2);
}

/* only the register that has no effect of its own may wait */
static void the_select_register_may_wait(void **state)
{
	struct fx *fx = *state;

	assert_int_equal(kept.addr, IO);
	assert_int_equal(kept.size, 4);
	fx_write(fx, kept.addr, 1, kept.size);
	assert_int_equal(fx->msis, 0);
	assert_int_equal(fx_read(fx, IO, 4), 1);
}

static void routes_follow_the_entries(void **state)
{
	struct fx *fx = *state;
	unsigned int routes;

	/* edges end without an EOI */
	rte(fx, 5, 0x45, 0);
	assert_int_equal(module[5].addr, 0);
	assert_int_equal(module[5].eoi, -1);
	rte(fx, 5, LEVEL | 0x45, 0);
	assert_int_equal(module[5].data, 0xc045);
	routes = module[5].routes;
	/* a mask changes nothing of what is to end */
	rte(fx, 5, MASKED | LEVEL | 0x45, 0);
	rte(fx, 5, LEVEL | 0x45, 0);
	assert_int_equal(module[5].routes, routes);
	rte(fx, 5, LEVEL | 0x46, 0);
	assert_int_equal(module[5].data, 0xc046);
	fx_reset(fx);
	assert_int_equal(module[5].addr, 0);
}

/* an EOI that the loop has not seen yet is in what is saved */
static void saved_with_the_eoi(void **state)
{
	struct fx *fx = *state;
	uint8_t buf[512];
	size_t len;

	rte(fx, 9, LEVEL | 0x49, 0);
	fx_wire(fx, 9, true);
	fx_wire(fx, 9, false);
	fx_lock(fx);
	assert_int_equal(eventfd_write(module[9].eoi, 1), 0);
	len = fx->dev[0].ops->save(fx->dev[0].owner, buf, sizeof(buf));
	fx->dev[0].ops->reset(fx->dev[0].owner);
	assert_int_equal(fx->dev[0].ops->load(fx->dev[0].owner, buf, len), 0);
	fx_unlock(fx);
	assert_int_equal(module[9].data, 0xc049);
	assert_false(get(fx, 0x10 + 18) & REMOTE);
	fx_wire(fx, 9, true);
	assert_int_equal(fx->msis, 2);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
#define M(name)	\
	cmocka_unit_test_setup_teardown(name, setup_module, teardown_module)
	const struct CMUnitTest tests[] = {
		T(identity), T(edge), T(edge_masked_is_lost), T(level),
		T(level_masked_waits), T(timer_is_pin_2),
		T(extint_goes_nowhere), T(accesses), T(state_of_everything),
		M(eoi_by_eventfd),
		M(routes_follow_the_entries),
		M(saved_with_the_eoi), M(the_select_register_may_wait),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
