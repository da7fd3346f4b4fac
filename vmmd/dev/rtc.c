// SPDX-License-Identifier: GPL-2.0
/*
 * MC146818 real-time clock and 128 bytes of CMOS at 0x70. The guest's clock is
 * the host's (UTC) plus an offset that the guest sets by setting the time.
 * Flags of register C are computed when somebody looks; a host timer runs only
 * while an interrupt is enabled and not already raised.
 */
#include <errno.h>
#include <stdlib.h>
#include <time.h>

#include "bus.h"
#include "dev/devices.h"
#include "dev/state.h"
#include "irq.h"
#include "loop.h"

#define RTC_GSI		8
#define CMOS_SIZE	128

enum {
	R_SEC, R_SEC_ALARM, R_MIN, R_MIN_ALARM, R_HOUR, R_HOUR_ALARM,
	R_WDAY, R_MDAY, R_MONTH, R_YEAR, R_A, R_B, R_C, R_D,
	R_CENTURY = 0x32,
};

#define A_UIP		0x80
#define A_DIV(a)	((a) >> 4 & 7)
#define A_DIV_RESET	6	/* 11x: the divider is held */
#define A_RATE		0x0f
#define B_SET		0x80
#define B_PIE		0x40
#define B_AIE		0x20
#define B_UIE		0x10
#define B_BINARY	0x04
#define B_24H		0x02
#define C_IRQF		0x80
#define C_FLAGS		0x70	/* PF, AF, UF: the bits of B that enable them */
#define C_PF		0x40
#define C_AF		0x20
#define C_UF		0x10
#define D_VALID		0x80

/* nanoseconds since 1970 and offsets between two such times fit 63 bits */
#define MAX_SEC		(1LL << 33)	/* year 2242 */
#define MIN_SEC		-(1LL << 32)	/* year 1833 */
#define MAX_OFFSET	7000000000000000000LL
#define UIP_NS		244000	/* UIP comes so long before an update */
#define ALARM_ANY	0xc0	/* and above: matches always */

/* CMOS bytes that PC firmware reads; the sizes little-endian */
#define CMOS_EQUIPMENT	0x14
#define CMOS_BASE_KB	0x15
#define CMOS_EXT_KB	0x17	/* above 1 MiB */
#define CMOS_EXT2_KB	0x30
#define CMOS_EXT_64K	0x34	/* above 16 MiB */
#define CMOS_BOOT1	0x38
#define CMOS_BOOT2	0x3d
#define CMOS_HIGH_64K	0x5b	/* above 4 GiB, 3 bytes */
#define CMOS_CPUS	0x5f	/* less one */

struct rtc_state {
	uint8_t cmos[CMOS_SIZE];
	int64_t offset;		/* guest's time less the host's, ns */
	int64_t last;		/* guest's second when flags were last computed */
	uint64_t last_period;
	uint8_t index;
	uint8_t frozen;		/* the time stands still in cmos[] */
	uint8_t pad[6];
};

struct rtc {
	struct rtc_state s;
	struct rtc_config cfg;
	struct irq *irq;
	struct loop_timer *timer;
};

static int64_t host_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

static int64_t guest_ns(const struct rtc *rtc)
{
	return (int64_t)((uint64_t)host_ns() + (uint64_t)rtc->s.offset);
}

static int64_t floor_sec(int64_t ns)
{
	int64_t sec = ns / 1000000000;

	return ns % 1000000000 < 0 ? sec - 1 : sec;
}

static uint8_t encode(const struct rtc *rtc, unsigned int n)
{
	if (rtc->s.cmos[R_B] & B_BINARY)
		return n;
	return n / 10 << 4 | n % 10;
}

static unsigned int decode(const struct rtc *rtc, uint8_t v)
{
	if (rtc->s.cmos[R_B] & B_BINARY)
		return v;
	return (v >> 4) * 10 + (v & 15);
}

static uint8_t encode_hour(const struct rtc *rtc, unsigned int hour)
{
	uint8_t v;

	if (rtc->s.cmos[R_B] & B_24H)
		return encode(rtc, hour);
	v = encode(rtc, hour % 12 ? hour % 12 : 12);
	return hour >= 12 ? v | 0x80 : v;
}

static unsigned int decode_hour(const struct rtc *rtc, uint8_t v)
{
	if (rtc->s.cmos[R_B] & B_24H)
		return decode(rtc, v);
	return decode(rtc, v & 0x7f) % 12 + (v & 0x80 ? 12 : 0);
}

/* the time registers from the running clock */
static void time_load(struct rtc *rtc)
{
	time_t t = floor_sec(guest_ns(rtc));
	uint8_t *r = rtc->s.cmos;
	unsigned int year;
	struct tm tm;

	if (rtc->s.frozen || !gmtime_r(&t, &tm))
		return;
	year = tm.tm_year + 1900U;
	r[R_SEC] = encode(rtc, tm.tm_sec);
	r[R_MIN] = encode(rtc, tm.tm_min);
	r[R_HOUR] = encode_hour(rtc, tm.tm_hour);
	r[R_WDAY] = encode(rtc, tm.tm_wday + 1);
	r[R_MDAY] = encode(rtc, tm.tm_mday);
	r[R_MONTH] = encode(rtc, tm.tm_mon + 1);
	r[R_YEAR] = encode(rtc, year % 100);
	r[R_CENTURY] = encode(rtc, year / 100 % 100);
}

/* the running clock from the time registers; nonsense is normalized */
static void time_store(struct rtc *rtc, int64_t fraction)
{
	const uint8_t *r = rtc->s.cmos;
	struct tm tm = {
		.tm_sec = decode(rtc, r[R_SEC]),
		.tm_min = decode(rtc, r[R_MIN]),
		.tm_hour = decode_hour(rtc, r[R_HOUR]),
		.tm_mday = decode(rtc, r[R_MDAY]),
		.tm_mon = (int)decode(rtc, r[R_MONTH]) - 1,
	};
	int64_t t;

	tm.tm_year = (int)(decode(rtc, r[R_CENTURY]) * 100 +
			   decode(rtc, r[R_YEAR])) - 1900;
	t = timegm(&tm);
	if (t > MAX_SEC)
		t = MAX_SEC;
	if (t < MIN_SEC)
		t = MIN_SEC;
	t = t * 1000000000 + fraction;
	rtc->s.offset = (int64_t)((uint64_t)t - (uint64_t)host_ns());
	rtc->s.last = floor_sec(t);
}

static bool is_frozen(const struct rtc *rtc)
{
	return (rtc->s.cmos[R_B] & B_SET) ||
	       A_DIV(rtc->s.cmos[R_A]) >= A_DIV_RESET;
}

static bool alarm_at(const struct rtc *rtc, int64_t sec)
{
	const uint8_t *r = rtc->s.cmos;
	int64_t day = sec % 86400;

	if (day < 0)
		day += 86400;
	return (r[R_SEC_ALARM] >= ALARM_ANY ||
		r[R_SEC_ALARM] == encode(rtc, day % 60)) &&
	       (r[R_MIN_ALARM] >= ALARM_ANY ||
		r[R_MIN_ALARM] == encode(rtc, day / 60 % 60)) &&
	       (r[R_HOUR_ALARM] >= ALARM_ANY ||
		r[R_HOUR_ALARM] == encode_hour(rtc, day / 3600));
}

/* of the periodic interrupt, in 32768ths of a second; 0: none */
static unsigned int period(const struct rtc *rtc)
{
	unsigned int rate = rtc->s.cmos[R_A] & A_RATE;

	if (!rate)
		return 0;
	if (rate <= 2)		/* 256 Hz and 128 Hz, out of the row */
		rate += 7;
	return 1U << (rate - 1);
}

static uint64_t period_index(const struct rtc *rtc, int64_t ns)
{
	unsigned int p = period(rtc);

	return p ? muldiv((uint64_t)ns, 32768, NSEC_PER_SEC) / p : 0;
}

/* bring register C up to now */
static void flags_update(struct rtc *rtc)
{
	int64_t ns = guest_ns(rtc), sec = floor_sec(ns), s;
	uint64_t index = period_index(rtc, ns);
	uint8_t *c = &rtc->s.cmos[R_C];

	if (index != rtc->s.last_period) {
		rtc->s.last_period = index;
		*c |= C_PF;
	}
	if (rtc->s.frozen)
		return;
	if (sec > rtc->s.last) {
		*c |= C_UF;
		s = rtc->s.last + 1;
		if (sec - s >= 86400)
			s = sec - 86399;
		for (; s <= sec && !(*c & C_AF); s++)
			if (alarm_at(rtc, s))
				*c |= C_AF;
	}
	rtc->s.last = sec;	/* back too: the host's clock may be set */
}

static void rtc_update(struct rtc *rtc);

static void rtc_timer(void *owner)
{
	rtc_update(owner);
}

static void rtc_schedule(struct rtc *rtc)
{
	uint8_t b = rtc->s.cmos[R_B];
	int64_t ns = guest_ns(rtc), in = INT64_MAX, to;
	unsigned int p = period(rtc);

	if (!rtc->s.frozen && (b & (B_UIE | B_AIE)))
		in = (floor_sec(ns) + 1) * 1000000000 - ns;
	if ((b & B_PIE) && p) {
		to = muldiv_up((rtc->s.last_period + 1) * p, NSEC_PER_SEC,
			       32768) - (uint64_t)ns;
		if (to < in)
			in = to;
	}
	if (in == INT64_MAX)
		loop_timer_cancel(rtc->timer);
	else
		loop_timer_arm(rtc->timer,
			       loop_now() + (in < 1000 ? 1000 : in));
}

static void rtc_update(struct rtc *rtc)
{
	uint8_t *c = &rtc->s.cmos[R_C];

	flags_update(rtc);
	if (*c & rtc->s.cmos[R_B] & C_FLAGS)
		*c |= C_IRQF;
	else
		*c &= ~C_IRQF;
	irq_set(rtc->irq, RTC_GSI, 0, *c & C_IRQF);
	if (*c & C_IRQF)	/* nothing to tell until C is read */
		loop_timer_cancel(rtc->timer);
	else
		rtc_schedule(rtc);
}

/* A or B was written: the clock may stop or go on */
static void freeze_changed(struct rtc *rtc, bool divider_was_held)
{
	bool frozen = is_frozen(rtc);

	if (frozen && !rtc->s.frozen) {
		time_load(rtc);
		rtc->s.frozen = 1;
	} else if (!frozen && rtc->s.frozen) {
		/* released from reset, the first update is 0.5 s away */
		time_store(rtc, divider_was_held ? 500000000 : 0);
		rtc->s.frozen = 0;
	}
}

static void time_write(struct rtc *rtc, uint8_t index, uint8_t value)
{
	int64_t ns = guest_ns(rtc);

	time_load(rtc);
	rtc->s.cmos[index] = value;
	if (!rtc->s.frozen)
		time_store(rtc, ns - floor_sec(ns) * 1000000000);
}

static void cmos_write(struct rtc *rtc, uint8_t value)
{
	uint8_t index = rtc->s.index, *r = rtc->s.cmos;
	bool held = A_DIV(r[R_A]) >= A_DIV_RESET;

	flags_update(rtc);
	switch (index) {
	case R_SEC:
	case R_MIN:
	case R_HOUR:
	case R_WDAY:
	case R_MDAY:
	case R_MONTH:
	case R_YEAR:
	case R_CENTURY:
		time_write(rtc, index, value);
		break;
	case R_A:
		r[R_A] = value & ~A_UIP;
		rtc->s.last_period = period_index(rtc, guest_ns(rtc));
		freeze_changed(rtc, held);
		break;
	case R_B:
		if (value & B_SET)	/* data sheet, SET: clears UIE */
			value &= ~B_UIE;
		/* the mode bits tell how what is set now will be read */
		if ((value & B_SET) && !rtc->s.frozen) {
			time_load(rtc);
			rtc->s.frozen = 1;
		}
		r[R_B] = value;
		freeze_changed(rtc, held);
		break;
	case R_C:
	case R_D:
		return;
	default:
		r[index] = value;
	}
	rtc_update(rtc);
}

static uint8_t cmos_read(struct rtc *rtc)
{
	uint8_t index = rtc->s.index, *r = rtc->s.cmos, value;
	int64_t ns;

	switch (index) {
	case R_A:
		ns = guest_ns(rtc);
		ns -= floor_sec(ns) * 1000000000;
		value = r[R_A];
		if (!rtc->s.frozen && ns >= 1000000000 - UIP_NS)
			value |= A_UIP;
		return value;
	case R_C:
		rtc_update(rtc);
		value = r[R_C];
		r[R_C] = 0;
		rtc_update(rtc);
		return value;
	}
	if (index <= R_YEAR || index == R_CENTURY)
		time_load(rtc);
	return r[index];
}

static uint64_t rtc_read(void *owner, uint64_t offset, unsigned int size)
{
	struct rtc *rtc = owner;

	if (size == 2)
		return 0xff | cmos_read(rtc) << 8;
	return offset ? cmos_read(rtc) : 0xff;	/* 0x70 is write-only */
}

/* bit 7 of the index masks NMI, of which the PC has none here */
static void rtc_write(void *owner, uint64_t offset, uint64_t value,
		      unsigned int size)
{
	struct rtc *rtc = owner;

	if (offset == 0)
		rtc->s.index = value & (CMOS_SIZE - 1);
	if (offset == 0 && size == 2)
		cmos_write(rtc, value >> 8);
	else if (offset)
		cmos_write(rtc, value);
}

static void put_le(uint8_t *p, uint64_t value, unsigned int bytes)
{
	uint64_t max = (1ULL << (8 * bytes)) - 1;

	for (value = value > max ? max : value; bytes--; value >>= 8)
		*p++ = value;
}

static uint64_t above(uint64_t size, uint64_t start)
{
	return size > start ? size - start : 0;
}

static void cmos_fill(struct rtc *rtc)
{
	const struct rtc_config *cfg = &rtc->cfg;
	uint8_t *r = rtc->s.cmos;

	r[CMOS_EQUIPMENT] = 0x06;	/* FPU, PS/2; no floppy, no display */
	put_le(&r[CMOS_BASE_KB], 640, 2);
	put_le(&r[CMOS_EXT_KB], above(cfg->ram_low, 1 << 20) >> 10, 2);
	put_le(&r[CMOS_EXT2_KB], above(cfg->ram_low, 1 << 20) >> 10, 2);
	put_le(&r[CMOS_EXT_64K], above(cfg->ram_low, 16 << 20) >> 16, 2);
	put_le(&r[CMOS_HIGH_64K], cfg->ram_high >> 16, 3);
	r[CMOS_CPUS] = cfg->cpus - 1;
	r[CMOS_BOOT1] = 0x01;		/* no floppy signature check */
	r[CMOS_BOOT2] = 0x02;		/* first disk, nothing after it */
}

/* the battery keeps the time; everything else is as the factory left it */
static void rtc_reset(void *owner)
{
	struct rtc *rtc = owner;

	if (rtc->s.frozen)
		time_store(rtc, 0);
	memset(rtc->s.cmos, 0, sizeof(rtc->s.cmos));
	rtc->s.cmos[R_A] = 0x26;	/* 32768 Hz, 1024 Hz periodic */
	rtc->s.cmos[R_B] = B_24H;
	rtc->s.cmos[R_D] = D_VALID;
	rtc->s.index = 0;
	rtc->s.frozen = 0;
	cmos_fill(rtc);
	rtc->s.last = floor_sec(guest_ns(rtc));
	rtc->s.last_period = period_index(rtc, guest_ns(rtc));
	rtc_update(rtc);
}

static size_t rtc_save(void *owner, void *buf, size_t max)
{
	struct rtc *rtc = owner;

	rtc_update(rtc);	/* what happened until now is part of the state */
	return state_save(&rtc->s, sizeof(rtc->s), buf, max);
}

static int rtc_load(void *owner, const void *buf, size_t len)
{
	struct rtc *rtc = owner;
	struct rtc_state s;

	if (len != sizeof(s))
		return -EINVAL;
	memcpy(&s, buf, sizeof(s));
	if (s.index >= CMOS_SIZE || s.frozen > 1 ||
	    s.offset > MAX_OFFSET || s.offset < -MAX_OFFSET ||
	    s.last > 2 * MAX_SEC || s.last < -2 * MAX_SEC)
		return -EINVAL;
	rtc->s = s;
	rtc_update(rtc);
	return 0;
}

static void rtc_free(void *owner)
{
	struct rtc *rtc = owner;

	loop_timer_free(rtc->timer);
	free(rtc);
}

static const struct bus_ops rtc_bus_ops = {
	.read = rtc_read,
	.write = rtc_write,
};

static const struct dev_ops rtc_ops = {
	.reset = rtc_reset,
	.save = rtc_save,
	.load = rtc_load,
	.free = rtc_free,
};

int rtc_new(struct dev_env *env, const struct rtc_config *cfg)
{
	struct rtc *rtc = calloc(1, sizeof(*rtc));
	int err = -ENOMEM;

	if (!rtc)
		return -ENOMEM;
	rtc->cfg = *cfg;
	rtc->irq = env->irq;
	rtc->timer = loop_timer_new(env->loop, rtc_timer, rtc);
	if (!rtc->timer)
		goto out_free;
	rtc_reset(rtc);
	err = bus_add(env->pio, 0x70, 2, &rtc_bus_ops, rtc, "rtc");
	if (err)
		goto out_timer;
	err = env->add(env, "rtc", &rtc_ops, rtc);
	if (!err && env->coalesce)
		env->coalesce(env, true, 0x70, 1);
	if (!err)
		return 0;

	bus_remove(env->pio, 0x70);
out_timer:
	loop_timer_free(rtc->timer);
out_free:
	free(rtc);
	return err;
}
