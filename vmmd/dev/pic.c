// SPDX-License-Identifier: GPL-2.0
/*
 * Two 8259A interrupt controllers as a PC wires them: the slave's INT goes to
 * input 2 of the master, whose INT is the INTR line of CPU 0. With the ELCR of
 * PIIX3 at 0x4d0. Named sections: Intel 8259A data sheet (231468).
 */
#include <errno.h>
#include <stdlib.h>

#include "bus.h"
#include "dev/devices.h"
#include "dev/state.h"
#include "irq.h"

#define CASCADE		2	/* the master's input that is the slave */
#define NO_IRQ		(-1)

#define ICW1_IC4	0x01
#define ICW1_SNGL	0x02
#define ICW1_LTIM	0x08
#define ICW1		0x10	/* this is what makes it an ICW1 */
#define ICW4_AEOI	0x02
#define ICW4_SFNM	0x10
#define OCW3		0x08
#define OCW3_RIS	0x01
#define OCW3_RR		0x02
#define OCW3_POLL	0x04
#define OCW3_SMM	0x20
#define OCW3_ESMM	0x40

struct pic_chip {
	uint8_t irr;
	uint8_t isr;
	uint8_t imr;
	uint8_t lines;		/* levels of the inputs */
	uint8_t elcr;		/* inputs that are level-triggered */
	uint8_t base;		/* vector of input 0 */
	uint8_t top;		/* input of highest priority */
	uint8_t icw;		/* the ICW to come: 2..4; 0: initialized */
	uint8_t icw1;
	uint8_t icw4;
	uint8_t read_isr;
	uint8_t poll;
	uint8_t special_mask;
	uint8_t rotate_aeoi;
	uint8_t pad[2];
};

struct pic_state {
	struct pic_chip chip[2];	/* master, slave */
	uint32_t intr;			/* the INTR line */
};

struct pic {
	struct pic_state s;
	void (*intr)(void *owner, bool level);
	void *owner;
};

/* the set input of highest priority, as a distance from the top; 8: none */
static unsigned int rank(const struct pic_chip *c, uint8_t set)
{
	unsigned int n;

	for (n = 0; n < 8; n++)
		if (set & 1U << ((c->top + n) & 7))
			break;
	return n;
}

static bool is_level(const struct pic_chip *c, unsigned int n)
{
	return (c->icw1 & ICW1_LTIM) || (c->elcr & 1U << n);
}

/* the input that asks for service now, "Priority Resolver" and "SFNM" */
static int chip_irq(const struct pic *pic, unsigned int i)
{
	const struct pic_chip *c = &pic->s.chip[i];
	unsigned int want = rank(c, c->irr & ~c->imr);
	uint8_t isr = c->isr;

	if (c->special_mask)
		isr &= ~c->imr;
	/* the slave may interrupt its own service routine */
	if (i == 0 && (c->icw4 & ICW4_SFNM))
		isr &= ~(1U << CASCADE);
	if (want == 8 || want >= rank(c, isr))
		return NO_IRQ;
	return (c->top + want) & 7;
}

static void pic_update(struct pic *pic)
{
	struct pic_chip *m = &pic->s.chip[0];
	uint32_t intr;

	/* no latch between the chips: a second request of the slave must not
	 * need an edge */
	if (chip_irq(pic, 1) != NO_IRQ)
		m->irr |= 1U << CASCADE;
	else
		m->irr &= ~(1U << CASCADE);
	intr = chip_irq(pic, 0) != NO_IRQ;
	if (intr == pic->s.intr)
		return;
	pic->s.intr = intr;
	pic->intr(pic->owner, intr);
}

static void pic_set(void *owner, unsigned int gsi, bool level)
{
	struct pic *pic = owner;
	struct pic_chip *c;
	uint8_t bit;

	if (gsi >= 16 || gsi == CASCADE)
		return;
	c = &pic->s.chip[gsi >> 3];
	gsi &= 7;
	bit = 1U << gsi;
	if (level) {
		if (is_level(c, gsi) || !(c->lines & bit))
			c->irr |= bit;
		c->lines |= bit;
	} else {
		if (is_level(c, gsi))
			c->irr &= ~bit;
		c->lines &= ~bit;
	}
	pic_update(pic);
}

static void chip_ack(struct pic_chip *c, unsigned int n)
{
	if (!(c->icw4 & ICW4_AEOI))
		c->isr |= 1U << n;
	else if (c->rotate_aeoi)
		c->top = (n + 1) & 7;
	if (!is_level(c, n))
		c->irr &= ~(1U << n);
}

bool pic_pending(const struct pic *pic)
{
	return pic->s.intr;
}

/* "Interrupt Sequence"; a request that went away is input 7 without ISR bit */
uint8_t pic_ack(struct pic *pic)
{
	struct pic_chip *m = &pic->s.chip[0], *s = &pic->s.chip[1];
	int n = chip_irq(pic, 0);
	uint8_t vector;

	if (n == NO_IRQ) {
		vector = m->base + 7;
	} else if (n == CASCADE) {
		n = chip_irq(pic, 1);
		vector = s->base + (n == NO_IRQ ? 7 : n);
		if (n != NO_IRQ)
			chip_ack(s, n);
		chip_ack(m, CASCADE);
	} else {
		vector = m->base + n;
		chip_ack(m, n);
	}
	pic_update(pic);
	return vector;
}

/* "ICW1": the edge sense is reset, IMR cleared, IR7 gets the lowest priority */
static void chip_init(struct pic_chip *c, uint8_t value)
{
	unsigned int n;

	c->icw1 = value;
	c->icw = 2;
	c->irr = 0;
	for (n = 0; n < 8; n++)
		if (is_level(c, n))
			c->irr |= c->lines & 1U << n;
	c->isr = 0;
	c->imr = 0;
	c->top = 0;
	c->read_isr = 0;
	c->poll = 0;
	c->special_mask = 0;
	c->rotate_aeoi = 0;
	if (!(value & ICW1_IC4))
		c->icw4 = 0;
}

static void chip_icw(struct pic_chip *c, uint8_t value)
{
	switch (c->icw) {
	case 2:
		c->base = value & 0xf8;
		if (!(c->icw1 & ICW1_SNGL)) {
			c->icw = 3;
			return;
		}
		break;
	case 3:
		break;		/* ICW3: the wiring is what it is */
	default:
		c->icw4 = value;
		c->icw = 0;
		return;
	}
	c->icw = c->icw1 & ICW1_IC4 ? 4 : 0;
}

static void chip_ocw2(struct pic_chip *c, uint8_t value)
{
	unsigned int n = value & 7;

	switch (value >> 5) {
	case 0:			/* rotate in automatic EOI mode: clear, set */
	case 4:
		c->rotate_aeoi = value >> 7;
		break;
	case 1:			/* non-specific EOI, and with rotation */
	case 5:
		n = rank(c, c->special_mask ? c->isr & ~c->imr : c->isr);
		if (n == 8)
			break;
		n = (c->top + n) & 7;
		c->isr &= ~(1U << n);
		if (value >> 7)
			c->top = (n + 1) & 7;
		break;
	case 3:			/* specific EOI, and with rotation */
	case 7:
		c->isr &= ~(1U << n);
		if (value >> 7)
			c->top = (n + 1) & 7;
		break;
	case 6:			/* set priority */
		c->top = (n + 1) & 7;
		break;
	}
}

static void chip_ocw3(struct pic_chip *c, uint8_t value)
{
	if (value & OCW3_POLL)
		c->poll = 1;
	if (value & OCW3_RR)
		c->read_isr = value & OCW3_RIS;
	if (value & OCW3_ESMM)
		c->special_mask = !!(value & OCW3_SMM);
}

static void pic_write(struct pic *pic, unsigned int i, uint64_t offset,
		      uint8_t value)
{
	struct pic_chip *c = &pic->s.chip[i];

	if (offset) {
		if (c->icw)
			chip_icw(c, value);
		else
			c->imr = value;
	} else if (value & ICW1) {
		chip_init(c, value);
	} else if (value & OCW3) {
		chip_ocw3(c, value);
	} else {
		chip_ocw2(c, value);
	}
	pic_update(pic);
}

static uint8_t pic_read(struct pic *pic, unsigned int i, uint64_t offset)
{
	struct pic_chip *c = &pic->s.chip[i];
	int n;

	if (c->poll) {		/* "Poll Command": a read is the INTA */
		c->poll = 0;
		n = chip_irq(pic, i);
		if (n == NO_IRQ)
			return 0;
		chip_ack(c, n);
		pic_update(pic);
		return 0x80 | n;
	}
	if (offset)
		return c->imr;
	return c->read_isr ? c->isr : c->irr;
}

/* the registers are 8 bits wide: wider accesses see them side by side */
static uint64_t pic_read_any(struct pic *pic, unsigned int i, uint64_t offset,
			     unsigned int size)
{
	uint64_t value = 0;
	unsigned int n;

	for (n = 0; n < size; n++)
		value |= (uint64_t)pic_read(pic, i, offset + n) << (8 * n);
	return value;
}

static void pic_write_any(struct pic *pic, unsigned int i, uint64_t offset,
			  uint64_t value, unsigned int size)
{
	unsigned int n;

	for (n = 0; n < size; n++)
		pic_write(pic, i, offset + n, value >> (8 * n));
}

static uint64_t master_read(void *owner, uint64_t offset, unsigned int size)
{
	return pic_read_any(owner, 0, offset, size);
}

static void master_write(void *owner, uint64_t offset, uint64_t value,
			 unsigned int size)
{
	pic_write_any(owner, 0, offset, value, size);
}

static uint64_t slave_read(void *owner, uint64_t offset, unsigned int size)
{
	return pic_read_any(owner, 1, offset, size);
}

static void slave_write(void *owner, uint64_t offset, uint64_t value,
			unsigned int size)
{
	pic_write_any(owner, 1, offset, value, size);
}

static uint64_t elcr_read(void *owner, uint64_t offset, unsigned int size)
{
	struct pic *pic = owner;

	if (size == 2)
		return pic->s.chip[0].elcr | pic->s.chip[1].elcr << 8;
	return pic->s.chip[offset & 1].elcr;
}

/* PIIX3, ELCR1 and ELCR2: IRQ 0, 1, 2, 8 and 13 stay edge-triggered */
static void elcr_write(void *owner, uint64_t offset, uint64_t value,
		       unsigned int size)
{
	static const uint8_t mask[2] = { 0xf8, 0xde };
	struct pic *pic = owner;
	struct pic_chip *c;
	unsigned int n;

	for (n = 0; n < size && offset + n < 2; n++) {
		c = &pic->s.chip[offset + n];
		c->elcr = (value >> (8 * n)) & mask[offset + n];
		c->irr = (c->irr & ~c->elcr) | (c->lines & c->elcr);
	}
	pic_update(pic);
}

static void pic_reset(void *owner)
{
	struct pic *pic = owner;
	unsigned int i;

	for (i = 0; i < 2; i++) {
		pic->s.chip[i] = (struct pic_chip){
			.lines = pic->s.chip[i].lines,
			.imr = 0xff,	/* nothing until it is initialized */
		};
	}
	pic_update(pic);
}

static size_t pic_save(void *owner, void *buf, size_t max)
{
	struct pic *pic = owner;

	return state_save(&pic->s, sizeof(pic->s), buf, max);
}

static int pic_load(void *owner, const void *buf, size_t len)
{
	struct pic *pic = owner;
	struct pic_state s;
	unsigned int i;

	if (len != sizeof(s))
		return -EINVAL;
	memcpy(&s, buf, sizeof(s));
	for (i = 0; i < 2; i++)
		if (s.chip[i].top > 7 || s.chip[i].icw > 4 ||
		    s.chip[i].icw == 1)
			return -EINVAL;
	if (s.intr > 1)
		return -EINVAL;
	s.intr = pic->s.intr;		/* told below if it differs */
	pic->s = s;
	pic_update(pic);
	return 0;
}

static const struct bus_ops master_ops = {
	.read = master_read,
	.write = master_write,
};

static const struct bus_ops slave_ops = {
	.read = slave_read,
	.write = slave_write,
};

static const struct bus_ops elcr_ops = {
	.read = elcr_read,
	.write = elcr_write,
};

static const struct dev_ops pic_ops = {
	.reset = pic_reset,
	.save = pic_save,
	.load = pic_load,
	.free = free,
};

struct pic *pic_new(struct dev_env *env, void (*intr)(void *owner, bool level),
		    void *owner)
{
	struct pic *pic = calloc(1, sizeof(*pic));

	if (!pic)
		return NULL;
	pic->intr = intr;
	pic->owner = owner;
	pic_reset(pic);
	if (bus_add(env->pio, 0x20, 2, &master_ops, pic, "pic-master") ||
	    bus_add(env->pio, 0xa0, 2, &slave_ops, pic, "pic-slave") ||
	    bus_add(env->pio, 0x4d0, 2, &elcr_ops, pic, "pic-elcr") ||
	    env->add(env, "pic", &pic_ops, pic)) {
		bus_remove(env->pio, 0x20);
		bus_remove(env->pio, 0xa0);
		bus_remove(env->pio, 0x4d0);
		free(pic);
		return NULL;
	}
	irq_add_sink(env->irq, (struct irq_sink){ pic_set, pic });
	return pic;
}
