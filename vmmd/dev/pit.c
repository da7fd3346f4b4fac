// SPDX-License-Identifier: GPL-2.0
/*
 * 8254 interval timer at 0x40 and the speaker port 0x61 (channel 2's gate and
 * output). Counters are not run: they are computed from the time since they
 * were started. Sections: Intel 8254 data sheet (231164).
 *
 * Channel 0's output is IRQ 0. Ticks that the host was too late for are
 * dropped, not made up for: a guest that was stopped must not drown in them.
 */
#include <errno.h>
#include <stdlib.h>

#include "bus.h"
#include "dev/devices.h"
#include "dev/state.h"
#include "irq.h"
#include "loop.h"

#define PIT_HZ		1193182ULL
#define PIT_MIN_NS	50000ULL	/* between two interrupts */

#define RW_LATCH	0
#define RW_LOW		1
#define RW_HIGH		2
#define RW_BOTH		3

#define STATUS_OUT	0x80
#define STATUS_NULL	0x40

/* "System Timer Control", port 0x61 */
#define SPK_GATE2	0x01
#define SPK_DATA	0x02
#define SPK_WRITABLE	0x0f
#define SPK_REFRESH	0x10
#define SPK_OUT2	0x20

struct pit_chan {
	uint64_t start;		/* ns; when saved: ns before the save */
	uint64_t held;		/* ticks counted before the gate closed */
	uint32_t count;		/* 1..0x10000 */
	uint16_t latch;
	uint8_t mode;		/* 0..5 */
	uint8_t rw;
	uint8_t bcd;
	uint8_t gate;
	uint8_t loaded;		/* a count was written after the control word */
	uint8_t running;
	uint8_t write_high;	/* the next write is the high byte */
	uint8_t write_low;	/* the byte that came first */
	uint8_t read_high;
	uint8_t latched;	/* bytes of `latch` that are still to be read */
	uint8_t status_latched;
	uint8_t status;
	uint8_t pad[4];
};

struct pit_state {
	struct pit_chan chan[3];
	uint8_t port61;
	uint8_t pad[7];
};

struct pit {
	struct pit_state s;
	struct irq *irq;
	struct loop_timer *timer;
};

static bool is_periodic(const struct pit_chan *c)
{
	return c->mode == 2 || c->mode == 3;
}

static uint64_t elapsed(const struct pit_chan *c, uint64_t now)
{
	if (!c->running)
		return c->held;
	return c->held + muldiv(now - c->start, PIT_HZ, NSEC_PER_SEC);
}

/* "Mode Definitions": the counting element as the guest reads it */
static uint16_t counter(const struct pit_chan *c, uint64_t now)
{
	uint64_t e = elapsed(c, now);
	uint32_t n;

	switch (c->mode) {
	case 2:
		n = c->count - e % c->count;
		break;
	case 3:
		n = c->count - (2 * e) % c->count;
		n &= ~1U;
		break;
	default:		/* goes on below zero */
		n = c->bcd ? (c->count + 10000 - e % 10000) % 10000 :
			     c->count - (uint32_t)e;
		break;
	}
	if (c->bcd) {
		n %= 10000;
		n = n / 1000 << 12 | n / 100 % 10 << 8 | n / 10 % 10 << 4 |
		    n % 10;
	}
	return n;
}

static bool output(const struct pit_chan *c, uint64_t now)
{
	uint64_t e = elapsed(c, now);

	if (!c->loaded)
		return c->mode != 0;
	switch (c->mode) {
	case 0:
		return e >= c->count;
	case 1:
		return !c->running || e >= c->count;
	case 2:
		return !c->gate || e % c->count != c->count - 1;
	case 3:
		return !c->gate || e % c->count < (c->count + 1) / 2;
	default:
		return e != c->count;
	}
}

static void chan_start(struct pit_chan *c, uint64_t now)
{
	c->held = 0;
	c->start = now;
	/* modes 1 and 5 wait for a trigger, the others need an open gate */
	c->running = c->mode != 1 && c->mode != 5 && c->gate;
}

static void chan_gate(struct pit_chan *c, bool gate, uint64_t now)
{
	if (c->gate == gate)
		return;
	if (c->loaded && !gate && c->mode != 1 && c->mode != 5) {
		c->held = elapsed(c, now);
		c->running = 0;
	}
	c->gate = gate;
	if (!c->loaded || !gate)
		return;
	c->start = now;
	c->running = 1;
	if (c->mode != 0 && c->mode != 4)	/* a rising gate restarts */
		c->held = 0;
}

/* channel 0: arm the timer for the next rising edge of the output */
static void pit_schedule(struct pit *pit, uint64_t now)
{
	struct pit_chan *c = &pit->s.chan[0];
	uint64_t e = elapsed(c, now), at, when;

	loop_timer_cancel(pit->timer);
	if (!c->loaded || !c->running)
		return;
	if (is_periodic(c))
		at = (e / c->count + 1) * c->count;
	else
		at = c->mode == 4 ? c->count + 1ULL : c->count;
	if (at <= e)		/* one shot, and it is over */
		return;
	when = c->start + muldiv_up(at - c->held, NSEC_PER_SEC, PIT_HZ);
	if (when < now + PIT_MIN_NS)
		when = now + PIT_MIN_NS;
	loop_timer_arm(pit->timer, when);
}

static void pit_tick(void *owner)
{
	struct pit *pit = owner;

	irq_set(pit->irq, 0, 0, false);
	irq_set(pit->irq, 0, 0, true);
	pit_schedule(pit, loop_now());
}

static void chan_load(struct pit *pit, unsigned int i, uint16_t value)
{
	struct pit_chan *c = &pit->s.chan[i];
	uint64_t now = loop_now();

	c->count = value;
	if (c->bcd)
		c->count = (value >> 12) * 1000 + (value >> 8 & 15) * 100 +
			   (value >> 4 & 15) * 10 + (value & 15);
	if (!c->count)
		c->count = c->bcd ? 10000 : 0x10000;
	/* "Mode 2": a count of 1 is illegal; it would never rise */
	if (c->count == 1 && is_periodic(c))
		c->count = 2;
	c->loaded = 1;
	chan_start(c, now);
	if (i)
		return;
	irq_set(pit->irq, 0, 0, c->mode != 0);
	pit_schedule(pit, now);
}

static void chan_write(struct pit *pit, unsigned int i, uint8_t value)
{
	struct pit_chan *c = &pit->s.chan[i];

	switch (c->rw) {
	case RW_LOW:
		chan_load(pit, i, value);
		return;
	case RW_HIGH:
		chan_load(pit, i, value << 8);
		return;
	}
	if (c->write_high) {
		c->write_high = 0;
		chan_load(pit, i, c->write_low | value << 8);
		return;
	}
	c->write_high = 1;
	c->write_low = value;
	if (c->mode == 0) {	/* "Mode 0": the first byte stops the count */
		c->held = elapsed(c, loop_now());
		c->running = 0;
		if (i == 0)
			loop_timer_cancel(pit->timer);
	}
}

static uint8_t chan_read(struct pit_chan *c)
{
	uint16_t value;

	if (c->status_latched) {
		c->status_latched = 0;
		return c->status;
	}
	if (c->latched) {
		value = c->latch;
		if (c->rw == RW_BOTH && c->latched == 1)
			value >>= 8;
		else if (c->rw == RW_HIGH)
			value >>= 8;
		c->latched--;
		return value;
	}
	value = counter(c, loop_now());
	if (c->rw == RW_BOTH) {
		if (c->read_high)
			value >>= 8;
		c->read_high ^= 1;
	} else if (c->rw == RW_HIGH) {
		value >>= 8;
	}
	return value;
}

static void latch_count(struct pit_chan *c)
{
	if (c->latched)		/* the first latch holds until it is read */
		return;
	c->latch = counter(c, loop_now());
	c->latched = c->rw == RW_BOTH ? 2 : 1;
}

static void latch_status(struct pit_chan *c)
{
	if (c->status_latched)
		return;
	c->status = c->rw << 4 | c->mode << 1 | c->bcd;
	if (output(c, loop_now()))
		c->status |= STATUS_OUT;
	if (!c->loaded)
		c->status |= STATUS_NULL;
	c->status_latched = 1;
}

/* "Read-Back Command": bits 1..3 name the counters */
static void read_back(struct pit *pit, uint8_t value)
{
	unsigned int i;

	for (i = 0; i < 3; i++) {
		if (!(value & 2U << i))
			continue;
		if (!(value & 0x20))
			latch_count(&pit->s.chan[i]);
		if (!(value & 0x10))
			latch_status(&pit->s.chan[i]);
	}
}

static void control_write(struct pit *pit, uint8_t value)
{
	unsigned int i = value >> 6, rw = value >> 4 & 3, mode = value >> 1 & 7;
	struct pit_chan *c;

	if (i == 3) {
		read_back(pit, value);
		return;
	}
	c = &pit->s.chan[i];
	if (rw == RW_LATCH) {
		latch_count(c);
		return;
	}
	*c = (struct pit_chan){
		.gate = c->gate,
		.count = 0x10000,
		.rw = rw,
		.mode = mode > 5 ? mode - 4 : mode,
		.bcd = value & 1,
	};
	if (i)
		return;
	loop_timer_cancel(pit->timer);
	irq_set(pit->irq, 0, 0, c->mode != 0);
}

static uint64_t pit_read(void *owner, uint64_t offset, unsigned int size)
{
	struct pit *pit = owner;
	uint64_t value = 0;
	unsigned int i;

	for (i = 0; i < size; i++)
		if (offset + i < 3)
			value |= (uint64_t)chan_read(&pit->s.chan[offset + i])
				 << (8 * i);
	return value;
}

static void pit_write(void *owner, uint64_t offset, uint64_t value,
		      unsigned int size)
{
	struct pit *pit = owner;
	unsigned int i;

	for (i = 0; i < size; i++, value >>= 8) {
		if (offset + i < 3)
			chan_write(pit, offset + i, value);
		else
			control_write(pit, value);
	}
}

static uint64_t port61_read(void *owner, uint64_t offset, unsigned int size)
{
	struct pit *pit = owner;
	uint64_t now = loop_now();
	uint8_t value = pit->s.port61;

	if (now / 15085 & 1)	/* DRAM refresh every 15 us */
		value |= SPK_REFRESH;
	if (output(&pit->s.chan[2], now))
		value |= SPK_OUT2;
	return value;
}

static void port61_write(void *owner, uint64_t offset, uint64_t value,
			 unsigned int size)
{
	struct pit *pit = owner;

	pit->s.port61 = value & SPK_WRITABLE;
	chan_gate(&pit->s.chan[2], value & SPK_GATE2, loop_now());
}

static void pit_reset(void *owner)
{
	struct pit *pit = owner;
	unsigned int i;

	for (i = 0; i < 3; i++)
		pit->s.chan[i] = (struct pit_chan){
			.count = 0x10000,
			.rw = RW_BOTH,
			.mode = 3,
			.gate = i != 2,
		};
	pit->s.port61 = 0;
	loop_timer_cancel(pit->timer);
	irq_set(pit->irq, 0, 0, false);
}

static size_t pit_save(void *owner, void *buf, size_t max)
{
	struct pit *pit = owner;
	struct pit_state s = pit->s;
	uint64_t now = loop_now();
	unsigned int i;

	for (i = 0; i < 3; i++)
		s.chan[i].start = s.chan[i].running ? now - s.chan[i].start : 0;
	return state_save(&s, sizeof(s), buf, max);
}

static bool chan_valid(const struct pit_chan *c)
{
	return c->count >= 1 && c->count <= 0x10000 && c->mode <= 5 &&
	       c->rw >= RW_LOW && c->rw <= RW_BOTH && c->bcd <= 1 &&
	       !(is_periodic(c) && c->count == 1) && c->latched <= 2 &&
	       c->gate <= 1 && c->read_high <= 1;
}

static int pit_load(void *owner, const void *buf, size_t len)
{
	struct pit *pit = owner;
	struct pit_state s;
	uint64_t now = loop_now();
	unsigned int i;

	if (len != sizeof(s))
		return -EINVAL;
	memcpy(&s, buf, sizeof(s));
	for (i = 0; i < 3; i++) {
		if (!chan_valid(&s.chan[i]))
			return -EINVAL;
		s.chan[i].start = now - s.chan[i].start;
	}
	pit->s = s;
	pit_schedule(pit, now);
	return 0;
}

static void pit_free(void *owner)
{
	struct pit *pit = owner;

	loop_timer_free(pit->timer);
	free(pit);
}

static const struct bus_ops pit_bus_ops = {
	.read = pit_read,
	.write = pit_write,
};

static const struct bus_ops port61_ops = {
	.read = port61_read,
	.write = port61_write,
};

static const struct dev_ops pit_ops = {
	.reset = pit_reset,
	.save = pit_save,
	.load = pit_load,
	.free = pit_free,
};

int pit_new(struct dev_env *env)
{
	struct pit *pit = calloc(1, sizeof(*pit));
	int err = -ENOMEM;

	if (!pit)
		return -ENOMEM;
	pit->irq = env->irq;
	pit->timer = loop_timer_new(env->loop, pit_tick, pit);
	if (!pit->timer)
		goto out_free;
	pit_reset(pit);
	err = bus_add(env->pio, 0x40, 4, &pit_bus_ops, pit, "pit");
	if (err)
		goto out_timer;
	err = bus_add(env->pio, 0x61, 1, &port61_ops, pit, "port61");
	if (err)
		goto out_pit;
	err = env->add(env, "pit", &pit_ops, pit);
	if (!err)
		return 0;

	bus_remove(env->pio, 0x61);
out_pit:
	bus_remove(env->pio, 0x40);
out_timer:
	loop_timer_free(pit->timer);
out_free:
	free(pit);
	return err;
}
