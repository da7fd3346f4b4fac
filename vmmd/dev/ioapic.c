// SPDX-License-Identifier: GPL-2.0
/*
 * 82093AA I/O APIC: 24 pins, each a redirection entry that turns a wire into
 * an interrupt message. Version 0x20, so that guests have the EOI register.
 * Sections: Intel 82093AA data sheet (290566); SDM 3A 11.11 for messages.
 *
 * The end of a level-triggered interrupt costs no exit: the module knows each
 * pin's message as that of a GSI and signals an eventfd, which the loop takes
 * for the EOI message. Where there is no module to do so it is an exit.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "bus.h"
#include "dev/devices.h"
#include "dev/state.h"
#include "irq.h"
#include "loop.h"

#define PINS		24

#define REG_SELECT	0x00
#define REG_WINDOW	0x10
#define REG_EOI		0x40
#define RANGE		0x1000

#define IND_ID		0x00
#define IND_VERSION	0x01
#define IND_ARB		0x02
#define IND_TABLE	0x10
#define VERSION		(0x20 | (PINS - 1) << 16)

/* redirection entry, 3.2.4 */
#define RTE_VECTOR	0xffULL
#define RTE_MODE(e)	((e) >> 8 & 7)
#define RTE_LOGICAL	(1ULL << 11)
#define RTE_STATUS	(1ULL << 12)
#define RTE_REMOTE_IRR	(1ULL << 14)
#define RTE_LEVEL	(1ULL << 15)
#define RTE_MASK	(1ULL << 16)
#define RTE_DEST(e)	((e) >> 56)
#define RTE_RO		(RTE_STATUS | RTE_REMOTE_IRR)
#define RTE_WRITABLE	(0xff0000000001ffffULL & ~RTE_RO)

#define MODE_FIXED	0
#define MODE_LOWEST	1
#define MODE_NMI	4
#define MODE_INIT	5

#define MSI_ADDRESS	0xfee00000ULL
#define MSI_DEST_SHIFT	12
#define MSI_LOGICAL	(1U << 2)
#define MSI_ASSERT	(1U << 14)
#define MSI_LEVEL	(1U << 15)

struct ioapic_state {
	uint64_t rte[PINS];
	uint32_t lines;		/* levels of the pins */
	uint32_t id;
	uint8_t select;
	uint8_t pad[7];
};

struct ioapic;

struct ioapic_pin {
	struct ioapic *io;
	unsigned int n;
	int eoi;		/* eventfd; -1: EOIs are exits */
	struct loop_fd *loop_fd;
	bool routed;		/* the module knows its message: */
	uint64_t addr;
	uint32_t data;
};

struct ioapic {
	struct ioapic_state s;
	struct irq *irq;
	struct dev_env *env;
	int line;		/* eventfd that goes with the pins' and is never signalled */
	struct ioapic_pin pin[PINS];
};

/* SMI and ExtINT have nobody to go to here: the PIC reaches CPU 0 by itself */
static bool deliverable(uint64_t rte)
{
	switch (RTE_MODE(rte)) {
	case MODE_FIXED:
	case MODE_LOWEST:
	case MODE_NMI:
	case MODE_INIT:
		return true;
	}
	return false;
}

static bool is_level(uint64_t rte)
{
	return (rte & RTE_LEVEL) && RTE_MODE(rte) <= MODE_LOWEST;
}

static void message(uint64_t rte, uint64_t *addr, uint32_t *data)
{
	*addr = MSI_ADDRESS | RTE_DEST(rte) << MSI_DEST_SHIFT;
	if (rte & RTE_LOGICAL)
		*addr |= MSI_LOGICAL;
	*data = (rte & RTE_VECTOR) | RTE_MODE(rte) << 8;
	if (is_level(rte))
		*data |= MSI_LEVEL | MSI_ASSERT;
}

/*
 * Send what pin n has to say, if it has anything and may. An edge that meets a
 * mask is lost, 3.2.4 bit 16: there is no memory of it.
 */
static void service(struct ioapic *io, unsigned int n, bool edge)
{
	uint64_t rte = io->s.rte[n];
	uint64_t addr;
	uint32_t data;

	if ((rte & RTE_MASK) || !deliverable(rte))
		return;
	if (is_level(rte)) {
		if (!(io->s.lines & 1U << n) || (rte & RTE_REMOTE_IRR))
			return;
		io->s.rte[n] |= RTE_REMOTE_IRR;
	} else if (!edge) {
		return;
	}
	message(rte, &addr, &data);
	irq_msi(io->irq, addr, data);
}

/* the timer's wire, ISA IRQ 0, is on pin 2 as in every PC (and in the MADT) */
static void ioapic_set(void *owner, unsigned int gsi, bool level)
{
	struct ioapic *io = owner;
	unsigned int n = gsi == 0 ? 2 : gsi;
	uint32_t bit = 1U << n;
	bool edge;

	if (gsi == 2 || n >= PINS)
		return;
	if (level) {
		edge = !(io->s.lines & bit);
		io->s.lines |= bit;
		service(io, n, edge);
	} else {
		io->s.lines &= ~bit;
	}
}

static void pin_eoi(struct ioapic *io, unsigned int n)
{
	if (!(io->s.rte[n] & RTE_REMOTE_IRR))
		return;
	io->s.rte[n] &= ~RTE_REMOTE_IRR;
	service(io, n, false);
}

static void ioapic_eoi(void *owner, uint8_t vector)
{
	struct ioapic *io = owner;
	unsigned int n;

	for (n = 0; n < PINS; n++)
		if ((io->s.rte[n] & RTE_VECTOR) == vector)
			pin_eoi(io, n);
}

/* ---- EOIs without an exit --------------------------------------------------- */

static void take_eoi(struct ioapic_pin *pin)
{
	uint64_t count;

	if (pin->eoi >= 0 && read(pin->eoi, &count, sizeof(count)) > 0)
		pin_eoi(pin->io, pin->n);
}

static void eoi_signalled(void *owner, uint32_t events)
{
	take_eoi(owner);
}

static void unbind_pin(struct ioapic_pin *pin)
{
	if (pin->eoi < 0)
		return;
	if (pin->loop_fd)
		pin->io->env->msi_bind(pin->io->env, pin->n, -1, -1);
	loop_fd_remove(pin->loop_fd);
	close(pin->eoi);
	pin->eoi = -1;
}

static void bind_pin(struct ioapic_pin *pin)
{
	struct dev_env *env = pin->io->env;

	pin->eoi = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (pin->eoi < 0)
		return;
	if (!env->msi_bind(env, pin->n, pin->io->line, pin->eoi))
		pin->loop_fd = loop_fd_add(env->loop, pin->eoi, EPOLLIN,
					   eoi_signalled, pin);
	if (!pin->loop_fd)
		unbind_pin(pin);
}

/* a masked pin too: what it sent before the mask is still to end */
static void route(struct ioapic *io, unsigned int n)
{
	struct ioapic_pin *pin = &io->pin[n];
	bool level = is_level(io->s.rte[n]);
	uint64_t addr = 0;
	uint32_t data = 0;

	/* few pins ever have a level */
	if (level && pin->eoi < 0 && io->line >= 0)
		bind_pin(pin);
	if (pin->eoi < 0)
		return;
	if (level)
		message(io->s.rte[n], &addr, &data);
	if (pin->routed == level && pin->addr == addr && pin->data == data)
		return;
	pin->routed = !io->env->msi_route(io->env, n, addr, data) && level;
	pin->addr = addr;
	pin->data = data;
}

static void init_pins(struct ioapic *io)
{
	unsigned int n;

	for (n = 0; n < PINS; n++)
		io->pin[n] = (struct ioapic_pin){ .io = io, .n = n, .eoi = -1 };
	io->line = io->env->msi_bind ? eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK) : -1;
}

static void unbind_pins(struct ioapic *io)
{
	unsigned int n;

	for (n = 0; n < PINS; n++)
		unbind_pin(&io->pin[n]);
	if (io->line >= 0)
		close(io->line);
}

/* ---- registers -------------------------------------------------------------- */

static void rte_write(struct ioapic *io, unsigned int n, bool high,
		      uint32_t value)
{
	uint64_t old = io->s.rte[n], rte;

	if (high)
		rte = (old & 0xffffffffULL) | (uint64_t)value << 32;
	else
		rte = (old & ~0xffffffffULL) | value;
	rte = (rte & RTE_WRITABLE) | (old & RTE_RO);
	/* guests clear a stuck remote IRR by turning the pin to edge */
	if (!(rte & RTE_LEVEL))
		rte &= ~RTE_REMOTE_IRR;
	io->s.rte[n] = rte;
	route(io, n);
	service(io, n, false);
}

static uint32_t window_read(struct ioapic *io)
{
	unsigned int i = io->s.select, n;

	switch (i) {
	case IND_ID:
	case IND_ARB:
		return io->s.id;
	case IND_VERSION:
		return VERSION;
	}
	if (i < IND_TABLE || i >= IND_TABLE + 2 * PINS)
		return 0;
	n = (i - IND_TABLE) / 2;
	return io->s.rte[n] >> (i & 1 ? 32 : 0);
}

static void window_write(struct ioapic *io, uint32_t value)
{
	unsigned int i = io->s.select;

	if (i == IND_ID)
		io->s.id = value & 0x0f000000;
	else if (i >= IND_TABLE && i < IND_TABLE + 2 * PINS)
		rte_write(io, (i - IND_TABLE) / 2, i & 1, value);
}

/* 3.1: registers are 32 bits; the select register's low byte is what counts */
static uint64_t ioapic_read(void *owner, uint64_t offset, unsigned int size)
{
	struct ioapic *io = owner;
	uint32_t value;

	switch (offset & ~3ULL) {
	case REG_SELECT:
		value = io->s.select;
		break;
	case REG_WINDOW:
		value = window_read(io);
		break;
	default:
		return 0;
	}
	value >>= 8 * (offset & 3);
	return size < 4 ? value & ((1U << (8 * size)) - 1) : value;
}

static void ioapic_write(void *owner, uint64_t offset, uint64_t value,
			 unsigned int size)
{
	struct ioapic *io = owner;

	switch (offset) {
	case REG_SELECT:
		io->s.select = value;
		break;
	case REG_WINDOW:
		if (size >= 4)
			window_write(io, value);
		break;
	case REG_EOI:
		ioapic_eoi(io, value);
		break;
	}
}

static void ioapic_reset(void *owner)
{
	struct ioapic *io = owner;
	unsigned int n;

	io->s.id = 0;
	io->s.select = 0;
	for (n = 0; n < PINS; n++) {
		io->s.rte[n] = RTE_MASK;
		route(io, n);
	}
}

static size_t ioapic_save(void *owner, void *buf, size_t max)
{
	struct ioapic *io = owner;
	unsigned int n;

	/* what was signalled belongs to the state */
	for (n = 0; n < PINS && buf; n++)
		take_eoi(&io->pin[n]);
	return state_save(&io->s, sizeof(io->s), buf, max);
}

static int ioapic_load(void *owner, const void *buf, size_t len)
{
	struct ioapic *io = owner;
	struct ioapic_state s;
	unsigned int n;

	if (len != sizeof(s))
		return -EINVAL;
	memcpy(&s, buf, sizeof(s));
	for (n = 0; n < PINS; n++)
		if (s.rte[n] & ~(RTE_WRITABLE | RTE_RO))
			return -EINVAL;
	if (s.lines >> PINS)
		return -EINVAL;
	io->s = s;
	for (n = 0; n < PINS; n++)
		route(io, n);
	return 0;
}

static void ioapic_free(void *owner)
{
	unbind_pins(owner);
	free(owner);
}

static const struct bus_ops ioapic_bus_ops = {
	.read = ioapic_read,
	.write = ioapic_write,
};

static const struct dev_ops ioapic_ops = {
	.reset = ioapic_reset,
	.save = ioapic_save,
	.load = ioapic_load,
	.free = ioapic_free,
};

int ioapic_new(struct dev_env *env, uint64_t gpa)
{
	struct ioapic *io = calloc(1, sizeof(*io));
	int err;

	if (!io)
		return -ENOMEM;
	io->irq = env->irq;
	io->env = env;
	init_pins(io);
	ioapic_reset(io);
	err = bus_add(env->mmio, gpa, RANGE, &ioapic_bus_ops, io, "ioapic");
	if (err)
		goto out_free;
	err = env->add(env, "ioapic", &ioapic_ops, io);
	if (err)
		goto out_bus;
	if (env->coalesce)
		env->coalesce(env, false, gpa + REG_SELECT, 4);
	irq_add_sink(env->irq, (struct irq_sink){ ioapic_set, io });
	irq_set_eoi(env->irq, ioapic_eoi, io);
	return 0;

out_bus:
	bus_remove(env->mmio, gpa);
out_free:
	ioapic_free(io);
	return err;
}
