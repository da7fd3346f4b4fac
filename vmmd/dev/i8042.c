// SPDX-License-Identifier: GPL-2.0
/*
 * i8042 keyboard controller at 0x60/0x64 and the fast A20/reset port 0x92. A
 * keyboard is attached that answers every command and has no keys; no mouse.
 * What guests want of it is the reset line. A20 is always open: the gate's bit
 * is kept, the address line is not.
 */
#include <errno.h>
#include <stdlib.h>

#include "bus.h"
#include "dev/devices.h"
#include "dev/state.h"
#include "irq.h"

#define KBD_GSI		1
#define AUX_GSI		12

#define ST_OBF		0x01
#define ST_SYS		0x04
#define ST_CMD		0x08
#define ST_UNLOCKED	0x10
#define ST_AUX		0x20

#define CTR_KBD_INT	0x01
#define CTR_AUX_INT	0x02
#define CTR_SYS		0x04
#define CTR_KBD_OFF	0x10
#define CTR_AUX_OFF	0x20
#define CTR_XLATE	0x40

#define OUT_RESET	0x01		/* low: reset */
#define OUT_A20		0x02
#define OUT_OBF		0x10
#define OUT_AUX_OBF	0x20

#define PORT92_RESET	0x01
#define PORT92_A20	0x02

#define KBD_ACK		0xfa
#define KBD_RESEND	0xfe
#define KBD_SELF_TEST	0xaa

struct i8042_state {
	uint8_t queue[16];
	uint8_t aux[16];	/* 1: that byte is the mouse's */
	uint8_t head;
	uint8_t used;
	uint8_t ctr;
	uint8_t outport;
	uint8_t cmd;		/* that waits for its data byte; 0: none */
	uint8_t kbd_cmd;	/* the same of the keyboard */
	uint8_t last_cmd;	/* port 0x64 was written last, not 0x60 */
	uint8_t scan_set;
	uint8_t ram[32];
};

struct i8042 {
	struct i8042_state s;
	struct dev_env *env;
};

static void update(struct i8042 *k)
{
	bool obf = k->s.used, aux = obf && k->s.aux[k->s.head];

	k->s.outport &= ~(OUT_OBF | OUT_AUX_OBF);
	if (obf)
		k->s.outport |= aux ? OUT_AUX_OBF : OUT_OBF;
	irq_set(k->env->irq, KBD_GSI, 0,
		obf && !aux && (k->s.ctr & CTR_KBD_INT));
	irq_set(k->env->irq, AUX_GSI, 0,
		aux && (k->s.ctr & CTR_AUX_INT));
}

static void push(struct i8042 *k, uint8_t value, bool aux)
{
	unsigned int at = (k->s.head + k->s.used) % sizeof(k->s.queue);

	if (k->s.used == sizeof(k->s.queue))
		return;
	k->s.queue[at] = value;
	k->s.aux[at] = aux;
	k->s.used++;
}

static uint8_t pop(struct i8042 *k)
{
	uint8_t value = k->s.queue[k->s.head];

	if (!k->s.used)
		return value;	/* the buffer keeps the last byte */
	/* each byte makes its own edge on the wire */
	irq_set(k->env->irq, KBD_GSI, 0, false);
	irq_set(k->env->irq, AUX_GSI, 0, false);
	if (--k->s.used)
		k->s.head = (k->s.head + 1) % sizeof(k->s.queue);
	return value;
}

static void outport_write(struct i8042 *k, uint8_t value)
{
	k->s.outport = value;
	if (!(value & OUT_RESET))
		k->env->request_reset(k->env);
}

static void kbd_data(struct i8042 *k, uint8_t value)
{
	uint8_t cmd = k->s.kbd_cmd;

	k->s.kbd_cmd = 0;
	push(k, KBD_ACK, false);
	if (cmd != 0xf0)
		return;
	if (value)
		k->s.scan_set = value;
	else
		push(k, k->s.scan_set, false);
}

/* the keyboard's own commands, IBM PS/2 technical reference */
static void kbd_command(struct i8042 *k, uint8_t value)
{
	switch (value) {
	case 0xed:		/* LEDs */
	case 0xf0:		/* scan code set */
	case 0xf3:		/* typematic rate */
		k->s.kbd_cmd = value;
		push(k, KBD_ACK, false);
		break;
	case 0xee:		/* echo */
		push(k, 0xee, false);
		break;
	case 0xf2:		/* identify */
		push(k, KBD_ACK, false);
		push(k, 0xab, false);
		push(k, k->s.ctr & CTR_XLATE ? 0x41 : 0x83, false);
		break;
	case 0xff:		/* reset, then the basic assurance test */
		k->s.scan_set = 2;
		push(k, KBD_ACK, false);
		push(k, KBD_SELF_TEST, false);
		break;
	case 0xf4:		/* enable, disable, defaults, all keys */
	case 0xf5:
	case 0xf6:
	case 0xf7 ... 0xfd:
		push(k, KBD_ACK, false);
		break;
	default:
		push(k, KBD_RESEND, false);
	}
}

static void data_write(struct i8042 *k, uint8_t value)
{
	uint8_t cmd = k->s.cmd;

	k->s.cmd = 0;
	k->s.last_cmd = 0;
	switch (cmd) {
	case 0x60 ... 0x7f:
		if (cmd == 0x60)
			k->s.ctr = value;
		else
			k->s.ram[cmd & 31] = value;
		break;
	case 0xd1:
		outport_write(k, value);
		break;
	case 0xd2:
	case 0xd3:
		push(k, value, cmd == 0xd3);
		break;
	case 0xd4:		/* to the mouse: nobody answers */
		push(k, KBD_RESEND, true);
		break;
	default:
		k->s.ctr &= ~CTR_KBD_OFF;	/* sending opens the line */
		if (k->s.kbd_cmd)
			kbd_data(k, value);
		else
			kbd_command(k, value);
	}
	update(k);
}

/* the controller's commands */
static void command_write(struct i8042 *k, uint8_t value)
{
	k->s.cmd = 0;
	k->s.last_cmd = 1;
	switch (value) {
	case 0x20:
		push(k, k->s.ctr, false);
		break;
	case 0x21 ... 0x3f:
		push(k, k->s.ram[value & 31], false);
		break;
	case 0x60 ... 0x7f:
	case 0xd1 ... 0xd4:
		k->s.cmd = value;
		break;
	case 0xa7:
		k->s.ctr |= CTR_AUX_OFF;
		break;
	case 0xa8:
		k->s.ctr &= ~CTR_AUX_OFF;
		break;
	case 0xa9:		/* interface tests: nothing found */
	case 0xab:
		push(k, 0, false);
		break;
	case 0xaa:		/* self test */
		k->s.ctr |= CTR_SYS;
		push(k, 0x55, false);
		break;
	case 0xad:
		k->s.ctr |= CTR_KBD_OFF;
		break;
	case 0xae:
		k->s.ctr &= ~CTR_KBD_OFF;
		break;
	case 0xc0:		/* input port: keyboard not locked */
		push(k, 0x80, false);
		break;
	case 0xd0:
		push(k, k->s.outport, false);
		break;
	case 0xf0 ... 0xff:	/* pulse the lines whose bit is clear */
		if (!(value & OUT_RESET))
			k->env->request_reset(k->env);
		break;
	}
	update(k);
}

static uint64_t data_port_read(void *owner, uint64_t offset, unsigned int size)
{
	struct i8042 *k = owner;
	uint8_t value = pop(k);

	update(k);
	return value;
}

static void data_port_write(void *owner, uint64_t offset, uint64_t value,
			    unsigned int size)
{
	data_write(owner, value);
}

static uint64_t status_read(void *owner, uint64_t offset, unsigned int size)
{
	struct i8042 *k = owner;
	uint8_t st = ST_UNLOCKED;

	if (k->s.used) {
		st |= ST_OBF;
		if (k->s.aux[k->s.head])
			st |= ST_AUX;
	}
	if (k->s.ctr & CTR_SYS)
		st |= ST_SYS;
	if (k->s.last_cmd)
		st |= ST_CMD;
	return st;
}

static void command_port_write(void *owner, uint64_t offset, uint64_t value,
			       unsigned int size)
{
	command_write(owner, value);
}

static uint64_t port92_read(void *owner, uint64_t offset, unsigned int size)
{
	struct i8042 *k = owner;

	return k->s.outport & OUT_A20 ? PORT92_A20 : 0;
}

static void port92_write(void *owner, uint64_t offset, uint64_t value,
			 unsigned int size)
{
	struct i8042 *k = owner;

	k->s.outport &= ~OUT_A20;
	if (value & PORT92_A20)
		k->s.outport |= OUT_A20;
	if (value & PORT92_RESET)
		k->env->request_reset(k->env);
}

static void i8042_reset(void *owner)
{
	struct i8042 *k = owner;

	k->s = (struct i8042_state){
		.ctr = CTR_KBD_OFF | CTR_AUX_OFF,
		.outport = OUT_RESET | OUT_A20,
		.scan_set = 2,
	};
	update(k);
}

static size_t i8042_save(void *owner, void *buf, size_t max)
{
	struct i8042 *k = owner;

	return state_save(&k->s, sizeof(k->s), buf, max);
}

static int i8042_load(void *owner, const void *buf, size_t len)
{
	struct i8042 *k = owner;
	struct i8042_state s;

	if (len != sizeof(s))
		return -EINVAL;
	memcpy(&s, buf, sizeof(s));
	if (s.head >= sizeof(s.queue) || s.used > sizeof(s.queue))
		return -EINVAL;
	k->s = s;
	update(k);
	return 0;
}

static const struct bus_ops data_ops = {
	.read = data_port_read,
	.write = data_port_write,
};

static const struct bus_ops command_ops = {
	.read = status_read,
	.write = command_port_write,
};

static const struct bus_ops port92_ops = {
	.read = port92_read,
	.write = port92_write,
};

static const struct dev_ops i8042_ops = {
	.reset = i8042_reset,
	.save = i8042_save,
	.load = i8042_load,
	.free = free,
};

int i8042_new(struct dev_env *env)
{
	struct i8042 *k = calloc(1, sizeof(*k));
	int err;

	if (!k)
		return -ENOMEM;
	k->env = env;
	i8042_reset(k);
	err = bus_add(env->pio, 0x60, 1, &data_ops, k, "i8042-data");
	if (err)
		goto out_free;
	err = bus_add(env->pio, 0x64, 1, &command_ops, k, "i8042-command");
	if (err)
		goto out_data;
	err = bus_add(env->pio, 0x92, 1, &port92_ops, k, "port92");
	if (err)
		goto out_command;
	err = env->add(env, "i8042", &i8042_ops, k);
	if (!err)
		return 0;

	bus_remove(env->pio, 0x92);
out_command:
	bus_remove(env->pio, 0x64);
out_data:
	bus_remove(env->pio, 0x60);
out_free:
	free(k);
	return err;
}
