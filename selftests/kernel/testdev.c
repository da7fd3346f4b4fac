// SPDX-License-Identifier: GPL-2.0
/* The devices that the bare guests talk to; guests/bare/abi.h says how. */
#include <string.h>

#include "vm.h"

void testdev_init(struct testdev *d)
{
	unsigned int i;

	memset(d, 0, sizeof(*d));
	pthread_mutex_init(&d->lock, NULL);
	for (i = 0; i < sizeof(d->mmio); i++)
		d->mmio[i] = i;
}

static void testdev_out(struct testdev *d, u16 port, unsigned int size, u32 data)
{
	switch (port) {
	case PORT_CONSOLE:
		if (d->console_len < sizeof(d->console) - 1)
			d->console[d->console_len++] = data;
		break;
	case PORT_EXIT:
		d->exited = true;
		d->exit_code = data;
		break;
	case PORT_CODE:
		d->code = data;
		break;
	case PORT_VALUE_LO:
		d->value_lo = data;
		break;
	case PORT_VALUE_HI:
		if (d->nreports < TESTDEV_REPORTS) {
			d->report[d->nreports].code = d->code;
			d->report[d->nreports].value = (u64)data << 32 | d->value_lo;
			d->nreports++;
		}
		break;
	case PORT_LATCH:
	case PORT_LATCH_IMM:
		d->latch = data;
		d->latch_size = size;
		d->latch_count++;
		break;
	case PORT_SUM:
		d->sum = (d->sum << 1 | d->sum >> 31) + data;
		break;
	case PORT_ASK:
		d->asked = data;
		d->asks++;
		break;
	}
}

static u32 testdev_in(struct testdev *d, u16 port, unsigned int size)
{
	u32 data = 0;
	unsigned int i;

	switch (port) {
	case PORT_LATCH:
	case PORT_LATCH_IMM:
		return d->latch;
	case PORT_LATCH_INFO:
		return d->latch_size | d->latch_count << 8;
	case PORT_COUNTER:
		for (i = 0; i < size; i++)
			data |= (u32)d->counter++ << i * 8;
		return data;
	case PORT_SUM:
		return d->sum;
	default:
		return ~0u;
	}
}

void testdev_io(struct testdev *d, u16 port, unsigned int size, bool in, u32 *data)
{
	u32 mask = size == 4 ? ~0u : (1u << size * 8) - 1;

	pthread_mutex_lock(&d->lock);
	if (in)
		*data = testdev_in(d, port, size) & mask;
	else
		testdev_out(d, port, size, *data & mask);
	pthread_mutex_unlock(&d->lock);
}

bool testdev_mmio(struct testdev *d, u64 gpa, unsigned int size, bool write, void *data)
{
	u8 *p;

	if (gpa < GUEST_MMIO || gpa + size > GUEST_MMIO_END)
		return false;
	p = d->mmio + (gpa - GUEST_MMIO);
	pthread_mutex_lock(&d->lock);
	if (write)
		memcpy(p, data, size);
	else
		memcpy(data, p, size);
	pthread_mutex_unlock(&d->lock);
	return true;
}

u64 testdev_report(struct testdev *d, u32 code, unsigned int nth, bool *found)
{
	unsigned int i;

	for (i = 0; i < d->nreports; i++) {
		if (d->report[i].code != code || nth--)
			continue;
		*found = true;
		return d->report[i].value;
	}
	*found = false;
	return 0;
}

bool testdev_equal(const struct testdev *a, const struct testdev *b)
{
	size_t from = offsetof(struct testdev, console);

	return !memcmp((const u8 *)a + from, (const u8 *)b + from,
		       sizeof(*a) - from);
}
