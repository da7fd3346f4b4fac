// SPDX-License-Identifier: GPL-2.0
/* The 16550: FIFOs, interrupts, loopback, and a host that does not take bytes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <errno.h>
#include <cmocka.h>

#include "chardev.h"
#include "dev/devices.h"
#include "fixture.h"

#define COM	0x3f8

enum { DATA, IER, IIR, LCR, MCR, LSR, MSR, SCR };

/* a host side that takes what it is told to */
struct sink {
	struct chardev chr;
	uint8_t got[3 * CHARDEV_RING];
	size_t len;
	bool blocked;
	bool want_put, want_get;
};

struct test {
	struct fx *fx;
	struct sink *sink;
};

static ssize_t sink_put(struct chardev *c, const uint8_t *buf, size_t len)
{
	struct sink *s = (struct sink *)c;

	if (s->blocked)
		return -EAGAIN;
	assert_true(s->len + len <= sizeof(s->got));
	memcpy(s->got + s->len, buf, len);
	s->len += len;
	return len;
}

static void sink_want_put(struct chardev *c, bool on)
{
	((struct sink *)c)->want_put = on;
}

static void sink_want_get(struct chardev *c, bool on)
{
	((struct sink *)c)->want_get = on;
}

static void sink_free(struct chardev *c)
{
	free(c);
}

static const struct chardev_ops sink_ops = {
	.put = sink_put,
	.want_put = sink_want_put,
	.want_get = sink_want_get,
	.free = sink_free,
};

static int setup(void **state)
{
	static struct test t;

	t = (struct test){ .fx = fx_new() };
	t.sink = calloc(1, sizeof(*t.sink));
	assert_non_null(t.sink);
	assert_int_equal(chardev_init(&t.sink->chr, &sink_ops, t.fx->env.loop), 0);
	assert_int_equal(uart_new(&t.fx->env, COM, 4, &t.sink->chr), 0);
	*state = &t;
	return 0;
}

static int teardown(void **state)
{
	struct test *t = *state;

	fx_lock(t->fx);
	t->fx->dev[0].ops->free(t->fx->dev[0].owner);
	t->fx->ndevs = 0;
	t->sink->blocked = false;
	t->sink->len = 0;
	chardev_free(&t->sink->chr);
	fx_unlock(t->fx);
	fx_free(t->fx);
	return 0;
}

static uint8_t in(struct test *t, unsigned int reg)
{
	return fx_in(t->fx, COM + reg, 1);
}

static void out(struct test *t, unsigned int reg, uint8_t value)
{
	fx_out(t->fx, COM + reg, value, 1);
}

static void input(struct test *t, const char *s)
{
	fx_lock(t->fx);
	chardev_input(&t->sink->chr, (const uint8_t *)s, strlen(s));
	fx_unlock(t->fx);
}

static void writable(struct test *t)
{
	fx_lock(t->fx);
	t->sink->blocked = false;
	chardev_writable(&t->sink->chr);
	fx_unlock(t->fx);
}

static void transmit(void **state)
{
	struct test *t = *state;
	const char *s = "hello";

	assert_int_equal(in(t, LSR), 0x60);
	while (*s)
		out(t, DATA, *s++);
	assert_int_equal(in(t, LSR), 0x60);
	fx_advance(t->fx, CHARDEV_FLUSH_NS);
	assert_int_equal(t->sink->len, 5);
	assert_memory_equal(t->sink->got, "hello", 5);
}

static void transmit_interrupt(void **state)
{
	struct test *t = *state;

	out(t, IER, 2);
	assert_false(t->fx->level[4]);		/* OUT2 is off */
	out(t, MCR, 0x0b);
	assert_true(t->fx->level[4]);
	assert_int_equal(in(t, IIR), 0x02);
	assert_false(t->fx->level[4]);		/* reading IIR took it away */
	assert_int_equal(in(t, IIR), 0x01);
	out(t, DATA, 'x');
	assert_true(t->fx->level[4]);
	out(t, IER, 0);
	assert_false(t->fx->level[4]);
	in(t, IIR);
	out(t, IER, 2);				/* enabling asks again */
	assert_true(t->fx->level[4]);
}

static void receive(void **state)
{
	struct test *t = *state;

	out(t, MCR, 0x0b);
	out(t, IER, 1);
	input(t, "ab");
	assert_true(t->fx->level[4]);
	assert_int_equal(in(t, IIR), 0x04);
	assert_int_equal(in(t, LSR) & 1, 1);
	assert_int_equal(in(t, DATA), 'a');
	assert_int_equal(in(t, DATA), 'b');	/* kept by the chardev until then */
	assert_false(t->fx->level[4]);
	assert_int_equal(in(t, LSR) & 1, 0);
}

static void fifo(void **state)
{
	struct test *t = *state;

	out(t, IIR, 0xc1);			/* trigger 14 */
	assert_int_equal(in(t, IIR), 0xc1);
	out(t, MCR, 0x0b);
	out(t, IER, 1);
	input(t, "0123456789abc");
	assert_int_equal(in(t, IIR), 0xcc);	/* fewer than 14: timeout */
	input(t, "defghij");
	assert_int_equal(in(t, IIR), 0xc4);
	assert_int_equal(in(t, LSR) & 2, 0);	/* the rest waits, no overrun */
	out(t, IIR, 0xc3);			/* clear: the rest comes in */
	assert_int_equal(in(t, DATA), 'g');
	out(t, IIR, 0);
	assert_int_equal(in(t, IIR), 0x01);
}

static void divisor(void **state)
{
	struct test *t = *state;

	out(t, LCR, 0x83);
	assert_int_equal(in(t, DATA), 12);
	out(t, DATA, 1);
	out(t, IER, 2);
	assert_int_equal(fx_in(t->fx, COM, 2), 0x0201);
	out(t, LCR, 0x03);
	assert_int_equal(in(t, IER), 0);
	out(t, SCR, 0x5a);
	assert_int_equal(in(t, SCR), 0x5a);
}

static void loopback(void **state)
{
	struct test *t = *state;

	assert_int_equal(in(t, MSR), 0xb0);
	out(t, MCR, 0x1a);			/* RTS, OUT2: CTS, DCD */
	assert_int_equal(in(t, MSR), 0x92);
	assert_int_equal(in(t, MSR), 0x90);
	out(t, DATA, 'l');
	assert_int_equal(in(t, DATA), 'l');
	out(t, DATA, '1');
	out(t, DATA, '2');			/* without FIFO: overrun */
	assert_int_equal(in(t, LSR), 0x63);
	assert_int_equal(in(t, DATA), '2');
	fx_advance(t->fx, CHARDEV_FLUSH_NS);
	assert_int_equal(t->sink->len, 0);
	out(t, MCR, 0x14);			/* OUT1: RI */
	in(t, MSR);
	out(t, MCR, 0x10);
	assert_int_equal(in(t, MSR) & 0x44, 0x04);	/* its trailing edge */
}

/* writes as Linux does: each byte after LSR says there is room */
static size_t flood(struct test *t, size_t max)
{
	size_t n;

	for (n = 0; n < max && (in(t, LSR) & 0x20); n++)
		out(t, DATA, n);
	return n;
}

static void slow_reader_loses_nothing(void **state)
{
	struct test *t = *state;
	size_t i, n;

	out(t, MCR, 0x0b);
	out(t, IER, 2);
	t->sink->blocked = true;
	n = flood(t, 1 << 20);
	assert_int_equal(n, CHARDEV_RING + 1);
	in(t, IIR);
	assert_false(t->fx->level[4]);		/* busy: no THRE */
	writable(t);
	assert_true(t->fx->level[4]);
	assert_int_equal(in(t, LSR), 0x60);
	fx_advance(t->fx, CHARDEV_FLUSH_NS);
	assert_int_equal(t->sink->len, n);
	for (i = 0; i < n; i++)
		assert_int_equal(t->sink->got[i], (uint8_t)i);
}

/* the guest goes on after a second; and output comes back with the reader */
static void no_reader_blocks_nobody(void **state)
{
	struct test *t = *state;

	t->sink->blocked = true;
	flood(t, 1 << 20);
	fx_advance(t->fx, CHARDEV_STUCK_NS / 2);
	assert_int_equal(in(t, LSR) & 0x20, 0);
	fx_advance(t->fx, CHARDEV_STUCK_NS);
	assert_int_equal(flood(t, 1 << 18), 1 << 18);
	writable(t);
	assert_int_equal(t->sink->len, CHARDEV_RING);
	t->sink->len = 0;
	assert_int_equal(flood(t, 10), 10);
	fx_advance(t->fx, CHARDEV_FLUSH_NS);
	assert_int_equal(t->sink->len, 10);
}

static void input_waits(void **state)
{
	struct test *t = *state;
	char buf[CHARDEV_INPUT + 1];
	unsigned int i;

	memset(buf, 'i', CHARDEV_INPUT);
	buf[CHARDEV_INPUT] = 0;
	t->sink->want_get = true;
	in(t, LSR);
	input(t, buf);
	input(t, buf);
	assert_false(t->sink->want_get);
	for (i = 0; in(t, LSR) & 1; i++)
		in(t, DATA);
	assert_in_range(i, CHARDEV_INPUT, CHARDEV_INPUT + 1);
	assert_true(t->sink->want_get);
}

static void state_of_everything(void **state)
{
	struct test *t = *state;

	out(t, IIR, 0x41);
	out(t, MCR, 0x1b);
	out(t, DATA, 'q');
	out(t, IER, 0x0f);
	fx_roundtrip(t->fx);
	assert_int_equal(in(t, DATA), 'q');
	fx_fuzz(t->fx, t->fx->env.pio, COM, 8, 20000);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(transmit), T(transmit_interrupt), T(receive), T(fifo),
		T(divisor), T(loopback), T(slow_reader_loses_nothing),
		T(no_reader_blocks_nobody), T(input_waits),
		T(state_of_everything),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
