// SPDX-License-Identifier: GPL-2.0
/*
 * PC16550D serial port on a chardev. Bytes move at once when the chardev takes
 * them, whatever the divisor says; when it does not, the transmitter is busy.
 * Sections: National Semiconductor PC16550D data sheet, chapter 8.
 */
#include <errno.h>
#include <stdlib.h>

#include "bus.h"
#include "chardev.h"
#include "dev/devices.h"
#include "dev/state.h"
#include "irq.h"

#define FIFO_SIZE	16

enum { R_DATA, R_IER, R_IIR, R_LCR, R_MCR, R_LSR, R_MSR, R_SCR, REGS };

#define IER_RDI		0x01
#define IER_THRI	0x02
#define IER_RLSI	0x04
#define IER_MSI		0x08

#define IIR_NONE	0x01
#define IIR_MSI		0x00
#define IIR_THRI	0x02
#define IIR_RDI		0x04
#define IIR_RLSI	0x06
#define IIR_TIMEOUT	0x0c
#define IIR_FIFO	0xc0

#define FCR_ENABLE	0x01
#define FCR_CLEAR_RX	0x02
#define FCR_CLEAR_TX	0x04
#define FCR_KEPT	0xc9

#define LCR_DLAB	0x80

#define MCR_DTR		0x01
#define MCR_RTS		0x02
#define MCR_OUT1	0x04
#define MCR_OUT2	0x08	/* on a PC: lets the interrupt out */
#define MCR_LOOP	0x10
#define MCR_MASK	0x1f

#define LSR_DR		0x01
#define LSR_OE		0x02
#define LSR_THRE	0x20
#define LSR_TEMT	0x40

#define MSR_CTS		0x10
#define MSR_DSR		0x20
#define MSR_RI		0x40
#define MSR_DCD		0x80
#define MSR_DELTAS	0x0f
#define MSR_TERI	0x04

struct uart_state {
	uint8_t rx[FIFO_SIZE];
	uint8_t tx[FIFO_SIZE];
	uint8_t rx_head, rx_used;
	uint8_t tx_head, tx_used;
	uint8_t ier, fcr, lcr, mcr;
	uint8_t lsr;		/* error bits only */
	uint8_t msr, scr;
	uint8_t thri;		/* the THRE interrupt is pending */
	uint16_t divisor;
	uint8_t pad[2];
};

struct uart {
	struct uart_state s;
	struct irq *irq;
	unsigned int gsi;
	struct chardev *chr;
};

static unsigned int depth(const struct uart *u)
{
	return u->s.fcr & FCR_ENABLE ? FIFO_SIZE : 1;
}

static unsigned int trigger(const struct uart *u)
{
	static const uint8_t levels[4] = { 1, 4, 8, 14 };

	return u->s.fcr & FCR_ENABLE ? levels[u->s.fcr >> 6] : 1;
}

/* 8.5, table IV: the interrupt of highest priority */
static uint8_t interrupt(const struct uart *u)
{
	if ((u->s.ier & IER_RLSI) && (u->s.lsr & LSR_OE))
		return IIR_RLSI;
	if ((u->s.ier & IER_RDI) && u->s.rx_used)
		/* the line is always idle by now: no wait for four characters */
		return u->s.rx_used >= trigger(u) ? IIR_RDI : IIR_TIMEOUT;
	if ((u->s.ier & IER_THRI) && u->s.thri)
		return IIR_THRI;
	if ((u->s.ier & IER_MSI) && (u->s.msr & MSR_DELTAS))
		return IIR_MSI;
	return IIR_NONE;
}

static void update(struct uart *u)
{
	bool out = (u->s.mcr & MCR_OUT2) && !(u->s.mcr & MCR_LOOP);

	irq_set(u->irq, u->gsi, 0, out && interrupt(u) != IIR_NONE);
}

static void rx_put(struct uart *u, uint8_t value)
{
	if (u->s.rx_used >= depth(u)) {
		u->s.lsr |= LSR_OE;
		if (!(u->s.fcr & FCR_ENABLE))	/* overwritten, 8.3 bit 1 */
			u->s.rx[u->s.rx_head] = value;
		return;
	}
	u->s.rx[(u->s.rx_head + u->s.rx_used++) % FIFO_SIZE] = value;
}

static uint8_t rx_get(struct uart *u)
{
	uint8_t value = u->s.rx[u->s.rx_head];

	if (u->s.rx_used) {
		u->s.rx_used--;
		u->s.rx_head = (u->s.rx_head + 1) % FIFO_SIZE;
	}
	if (!u->s.rx_used && u->chr && !(u->s.mcr & MCR_LOOP))
		chardev_resume(u->chr);
	return value;
}

/* hand the transmitter's bytes on while somebody takes them */
static void tx_drain(struct uart *u)
{
	if (!u->s.tx_used)
		return;
	while (u->s.tx_used) {
		uint8_t value = u->s.tx[u->s.tx_head];

		if (u->s.mcr & MCR_LOOP)
			rx_put(u, value);
		else if (u->chr && !chardev_write(u->chr, value))
			return;
		u->s.tx_head = (u->s.tx_head + 1) % FIFO_SIZE;
		u->s.tx_used--;
	}
	u->s.thri = 1;
}

static void tx_put(struct uart *u, uint8_t value)
{
	u->s.thri = 0;
	if (u->s.tx_used < depth(u))
		u->s.tx[(u->s.tx_head + u->s.tx_used++) % FIFO_SIZE] = value;
	tx_drain(u);
}

static uint8_t lsr(const struct uart *u)
{
	uint8_t value = u->s.lsr;

	if (u->s.rx_used)
		value |= LSR_DR;
	if (!u->s.tx_used)
		value |= LSR_THRE | LSR_TEMT;
	return value;
}

/* the modem lines, and which of them changed since MSR was read; 8.8 */
static void msr_set(struct uart *u, uint8_t lines)
{
	uint8_t old = u->s.msr, deltas = (old ^ lines) >> 4;

	/* RI tells of its trailing edge only */
	if (!(old & MSR_RI) || (lines & MSR_RI))
		deltas &= ~MSR_TERI;
	u->s.msr = lines | ((old | deltas) & MSR_DELTAS);
}

static void modem_update(struct uart *u)
{
	uint8_t lines = MSR_DCD | MSR_DSR | MSR_CTS;

	if (u->s.mcr & MCR_LOOP) {
		lines = u->s.mcr & MCR_RTS ? MSR_CTS : 0;
		lines |= u->s.mcr & MCR_DTR ? MSR_DSR : 0;
		lines |= u->s.mcr & MCR_OUT1 ? MSR_RI : 0;
		lines |= u->s.mcr & MCR_OUT2 ? MSR_DCD : 0;
	}
	msr_set(u, lines);
}

static void fcr_write(struct uart *u, uint8_t value)
{
	if ((u->s.fcr ^ value) & FCR_ENABLE)	/* 8.4 bit 0: clears both */
		value |= FCR_CLEAR_RX | FCR_CLEAR_TX;
	if (value & FCR_CLEAR_RX) {
		u->s.rx_used = 0;
		if (u->chr)
			chardev_resume(u->chr);
	}
	if ((value & FCR_CLEAR_TX) && u->s.tx_used) {
		u->s.tx_used = 0;
		u->s.thri = 1;
	}
	u->s.fcr = value & FCR_ENABLE ? value & FCR_KEPT : 0;
}

static void mcr_write(struct uart *u, uint8_t value)
{
	bool was = u->s.mcr & MCR_LOOP;

	u->s.mcr = value & MCR_MASK;
	modem_update(u);
	if (was && !(value & MCR_LOOP) && u->chr)
		chardev_resume(u->chr);
	tx_drain(u);
}

static void ier_write(struct uart *u, uint8_t value)
{
	/* enabling THRE with an empty transmitter interrupts at once */
	if ((value & IER_THRI) && !(u->s.ier & IER_THRI) && !u->s.tx_used)
		u->s.thri = 1;
	u->s.ier = value & 0x0f;
}

static void reg_write(struct uart *u, unsigned int reg, uint8_t value)
{
	bool dlab = u->s.lcr & LCR_DLAB;

	switch (reg) {
	case R_DATA:
		if (dlab)
			u->s.divisor = (u->s.divisor & 0xff00) | value;
		else
			tx_put(u, value);
		break;
	case R_IER:
		if (dlab)
			u->s.divisor = (u->s.divisor & 0xff) | value << 8;
		else
			ier_write(u, value);
		break;
	case R_IIR:
		fcr_write(u, value);
		break;
	case R_LCR:
		u->s.lcr = value;
		break;
	case R_MCR:
		mcr_write(u, value);
		break;
	case R_SCR:
		u->s.scr = value;
		break;
	}
	update(u);
}

static uint8_t iir_read(struct uart *u)
{
	uint8_t value = interrupt(u);

	if (value == IIR_THRI)
		u->s.thri = 0;
	return u->s.fcr & FCR_ENABLE ? value | IIR_FIFO : value;
}

static uint8_t reg_read(struct uart *u, unsigned int reg)
{
	bool dlab = u->s.lcr & LCR_DLAB;
	uint8_t value = 0;

	switch (reg) {
	case R_DATA:
		value = dlab ? u->s.divisor : rx_get(u);
		break;
	case R_IER:
		value = dlab ? u->s.divisor >> 8 : u->s.ier;
		break;
	case R_IIR:
		value = iir_read(u);
		break;
	case R_LCR:
		value = u->s.lcr;
		break;
	case R_MCR:
		value = u->s.mcr;
		break;
	case R_LSR:
		value = lsr(u);
		u->s.lsr = 0;
		break;
	case R_MSR:
		value = u->s.msr;
		u->s.msr &= ~MSR_DELTAS;
		break;
	case R_SCR:
		value = u->s.scr;
		break;
	}
	update(u);
	return value;
}

static uint64_t uart_read(void *owner, uint64_t offset, unsigned int size)
{
	uint64_t value = 0;
	unsigned int i;

	for (i = 0; i < size; i++)
		value |= (uint64_t)reg_read(owner, offset + i) << (8 * i);
	return value;
}

static void uart_write(void *owner, uint64_t offset, uint64_t value,
		       unsigned int size)
{
	unsigned int i;

	for (i = 0; i < size; i++)
		reg_write(owner, offset + i, value >> (8 * i));
}

/* from the chardev: takes what the receiver has room for */
static size_t uart_receive(void *owner, const uint8_t *buf, size_t len)
{
	struct uart *u = owner;
	size_t n = 0;

	if (u->s.mcr & MCR_LOOP)
		return 0;
	while (n < len && u->s.rx_used < depth(u))
		rx_put(u, buf[n++]);
	update(u);
	return n;
}

static void uart_drained(void *owner)
{
	struct uart *u = owner;

	tx_drain(u);
	update(u);
}

static void uart_reset(void *owner)
{
	struct uart *u = owner;

	u->s = (struct uart_state){
		.divisor = 12,		/* 9600 baud */
		.mcr = 0,
		.msr = MSR_DCD | MSR_DSR | MSR_CTS,
		.thri = 0,
	};
	update(u);
	if (u->chr)
		chardev_resume(u->chr);
}

static size_t uart_save(void *owner, void *buf, size_t max)
{
	struct uart *u = owner;

	return state_save(&u->s, sizeof(u->s), buf, max);
}

static int uart_load(void *owner, const void *buf, size_t len)
{
	struct uart *u = owner;
	struct uart_state s;

	if (len != sizeof(s))
		return -EINVAL;
	memcpy(&s, buf, sizeof(s));
	if (s.rx_head >= FIFO_SIZE || s.rx_used > FIFO_SIZE ||
	    s.tx_head >= FIFO_SIZE || s.tx_used > FIFO_SIZE)
		return -EINVAL;
	u->s = s;
	uart_drained(u);
	if (u->chr)
		chardev_resume(u->chr);
	return 0;
}

static void uart_free(void *owner)
{
	struct uart *u = owner;

	if (u->chr)
		chardev_set_front(u->chr, NULL, NULL, NULL);
	free(u);
}

static const struct bus_ops uart_bus_ops = {
	.read = uart_read,
	.write = uart_write,
};

static const struct dev_ops uart_ops = {
	.reset = uart_reset,
	.save = uart_save,
	.load = uart_load,
	.free = uart_free,
};

/* chr NULL: nobody is at the other end. The caller keeps and frees chr. */
int uart_new(struct dev_env *env, uint16_t port, unsigned int gsi,
	     struct chardev *chr)
{
	struct uart *u = calloc(1, sizeof(*u));
	int err;

	if (!u)
		return -ENOMEM;
	u->irq = env->irq;
	u->gsi = gsi;
	uart_reset(u);
	err = bus_add(env->pio, port, REGS, &uart_bus_ops, u, "uart");
	if (err)
		goto out_free;
	err = env->add(env, "uart", &uart_ops, u);
	if (err)
		goto out_bus;
	u->chr = chr;
	if (chr)
		chardev_set_front(chr, uart_receive, uart_drained, u);
	return 0;

out_bus:
	bus_remove(env->pio, port);
out_free:
	free(u);
	return err;
}
