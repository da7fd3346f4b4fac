// SPDX-License-Identifier: GPL-2.0
/* The wires: a wired OR, told once to each listener. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <errno.h>
#include <cmocka.h>

#include "irq.h"

struct ear {
	unsigned int calls;
	bool level[IRQ_GSIS];
};

static void hear(void *owner, unsigned int gsi, bool level)
{
	struct ear *e = owner;

	e->calls++;
	e->level[gsi] = level;
}

static void wired_or(void **state)
{
	struct irq *irq = irq_new(NULL, NULL);
	struct ear a = { 0 }, b = { 0 };

	irq_add_sink(irq, (struct irq_sink){ hear, &a });
	irq_add_sink(irq, (struct irq_sink){ hear, &b });
	irq_set(irq, 10, 0, true);
	irq_set(irq, 10, 31, true);
	irq_set(irq, 10, 0, true);
	assert_int_equal(a.calls, 1);
	assert_int_equal(b.calls, 1);
	irq_set(irq, 10, 0, false);
	assert_true(a.level[10]);
	irq_set(irq, 10, 31, false);
	assert_false(b.level[10]);
	assert_int_equal(a.calls, 2);
	irq_set(irq, IRQ_GSIS, 0, true);	/* nobody's wire */
	irq_set(irq, 3, 32, true);
	assert_int_equal(a.calls, 2);
	irq_msi(irq, 0xfee00000, 0);		/* nobody to take it */
	irq_eoi(irq, 0x30);
	irq_free(irq);
}

static void saved(void **state)
{
	struct irq *irq = irq_new(NULL, NULL);
	struct ear a = { 0 };
	uint8_t buf[256];
	size_t len = irq_save(irq, NULL, 0);

	assert_true(len <= sizeof(buf));
	irq_set(irq, 5, 2, true);
	assert_int_equal(irq_save(irq, buf, sizeof(buf)), len);
	irq_set(irq, 5, 2, false);
	irq_add_sink(irq, (struct irq_sink){ hear, &a });
	assert_int_equal(irq_load(irq, buf, len - 1), -EINVAL);
	assert_int_equal(irq_load(irq, buf, len), 0);
	assert_int_equal(a.calls, 0);		/* sinks have their own state */
	irq_set(irq, 5, 2, true);
	assert_int_equal(a.calls, 0);
	irq_set(irq, 5, 2, false);
	assert_int_equal(a.calls, 1);
	irq_free(irq);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(wired_or), cmocka_unit_test(saved),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
