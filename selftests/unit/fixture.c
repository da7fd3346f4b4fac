// SPDX-License-Identifier: GPL-2.0
#define _GNU_SOURCE 1
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#include "fixture.h"

#define FX_SOURCE	31

/* ---- the clock ------------------------------------------------------------
 *
 * These two replace the C library's in every test program; without a fixture
 * they do what those do.
 */
static bool clock_fake;
static uint64_t clock_ns;		/* monotonic */
static uint64_t clock_real;		/* wall time less monotonic */

int clock_gettime(clockid_t id, struct timespec *ts)
{
	uint64_t ns;

	if (!__atomic_load_n(&clock_fake, __ATOMIC_ACQUIRE))
		return syscall(SYS_clock_gettime, id, ts);
	ns = __atomic_load_n(&clock_ns, __ATOMIC_ACQUIRE);
	if (id == CLOCK_REALTIME)
		ns += clock_real;
	ts->tv_sec = ns / FX_SEC;
	ts->tv_nsec = ns % FX_SEC;
	return 0;
}

int timerfd_settime(int fd, int flags, const struct itimerspec *new,
		    struct itimerspec *old)
{
	struct itimerspec its = *new;
	uint64_t when = its.it_value.tv_sec * FX_SEC + its.it_value.tv_nsec;

	if (clock_fake && when) {	/* due: at once; else: when it is moved */
		its.it_value.tv_sec = 0;
		its.it_value.tv_nsec = when <= clock_ns;
	}
	return syscall(SYS_timerfd_settime, fd, flags, &its, old);
}

void fx_hold_clock(bool hold)
{
	clock_ns = 1000 * FX_SEC;
	clock_real = FX_START - clock_ns;
	__atomic_store_n(&clock_fake, hold, __ATOMIC_RELEASE);
}

void fx_clock_add(uint64_t ns)
{
	__atomic_add_fetch(&clock_ns, ns, __ATOMIC_ACQ_REL);
}

void fx_set_realtime(struct fx *fx, uint64_t ns)
{
	fx_lock(fx);
	clock_real = ns - clock_ns;
	fx_unlock(fx);
}

void fx_advance(struct fx *fx, uint64_t ns)
{
	fx_lock(fx);
	__atomic_store_n(&clock_ns, clock_ns + ns, __ATOMIC_RELEASE);
	/* the loop looks at its timers again */
	loop_timer_arm(fx->clock, UINT64_MAX - 1);
	fx_unlock(fx);
	fx_sync(fx);
}

static void synced(void *owner)
{
	__atomic_store_n((bool *)owner, true, __ATOMIC_RELEASE);
}

/* twice: the first post may be seen in one batch with what came before it */
void fx_sync(struct fx *fx)
{
	unsigned int i;

	for (i = 0; i < 2; i++) {
		bool done = false;

		assert_int_equal(loop_post(fx->env.loop, synced, &done), 0);
		while (!__atomic_load_n(&done, __ATOMIC_ACQUIRE))
			usleep(50);
	}
}

/* ---- the machine ---------------------------------------------------------- */

static int fx_add(struct dev_env *env, const char *name,
		  const struct dev_ops *ops, void *owner)
{
	struct fx *fx = (struct fx *)env;

	if (fx->ndevs == FX_DEVS)
		return -ENOSPC;
	fx->dev[fx->ndevs].ops = ops;
	fx->dev[fx->ndevs++].owner = owner;
	return 0;
}

static void fx_request_reset(struct dev_env *env)
{
	((struct fx *)env)->resets++;
}

static void fx_request_poweroff(struct dev_env *env)
{
	((struct fx *)env)->poweroffs++;
}

static void fx_msi(void *owner, uint64_t addr, uint32_t data)
{
	struct fx *fx = owner;

	fx->msis++;
	fx->msi_addr = addr;
	fx->msi_data = data;
}

static void fx_set(void *owner, unsigned int gsi, bool level)
{
	struct fx *fx = owner;

	fx->level[gsi] = level;
	fx->edges[gsi] += level;
}

static void *fx_thread(void *arg)
{
	struct fx *fx = arg;

	loop_run(fx->env.loop);
	return NULL;
}

static void fx_nothing(void *owner)
{
}

struct fx *fx_new(void)
{
	struct fx *fx = calloc(1, sizeof(*fx));

	assert_non_null(fx);
	fx_hold_clock(true);
	pthread_mutex_init(&fx->lock, NULL);
	fx->env.pio = bus_new("pio");
	fx->env.mmio = bus_new("mmio");
	fx->env.irq = irq_new(fx_msi, fx);
	fx->env.loop = loop_new(&fx->lock);
	fx->env.mem = mem_new(NULL);
	fx->env.add = fx_add;
	fx->env.request_reset = fx_request_reset;
	fx->env.request_poweroff = fx_request_poweroff;
	assert_int_equal(mem_add_ram(fx->env.mem, 0, FX_RAM, "ram"), 0);
	irq_add_sink(fx->env.irq, (struct irq_sink){ fx_set, fx });
	fx->clock = loop_timer_new(fx->env.loop, fx_nothing, NULL);
	assert_int_equal(pthread_create(&fx->thread, NULL, fx_thread, fx), 0);
	return fx;
}

void fx_free(struct fx *fx)
{
	if (fx->locked)		/* an assertion failed there */
		fx_unlock(fx);
	loop_stop(fx->env.loop, 0);
	pthread_join(fx->thread, NULL);
	while (fx->ndevs--)
		fx->dev[fx->ndevs].ops->free(fx->dev[fx->ndevs].owner);
	loop_timer_free(fx->clock);
	loop_free(fx->env.loop);
	mem_free(fx->env.mem);
	irq_free(fx->env.irq);
	bus_free(fx->env.pio);
	bus_free(fx->env.mmio);
	pthread_mutex_destroy(&fx->lock);
	free(fx);
	fx_hold_clock(false);
}

void fx_lock(struct fx *fx)
{
	pthread_mutex_lock(&fx->lock);
	fx->locked = true;
}

void fx_unlock(struct fx *fx)
{
	fx->locked = false;
	pthread_mutex_unlock(&fx->lock);
}

static uint64_t locked_read(struct fx *fx, struct bus *bus, uint64_t addr,
			    unsigned int size)
{
	uint64_t value;

	fx_lock(fx);
	value = bus_read(bus, addr, size);
	fx_unlock(fx);
	return value;
}

static void locked_write(struct fx *fx, struct bus *bus, uint64_t addr,
			 uint64_t value, unsigned int size)
{
	fx_lock(fx);
	bus_write(bus, addr, value, size);
	fx_unlock(fx);
}

uint32_t fx_in(struct fx *fx, uint16_t port, unsigned int size)
{
	return locked_read(fx, fx->env.pio, port, size);
}

void fx_out(struct fx *fx, uint16_t port, uint32_t value, unsigned int size)
{
	locked_write(fx, fx->env.pio, port, value, size);
}

uint64_t fx_read(struct fx *fx, uint64_t gpa, unsigned int size)
{
	return locked_read(fx, fx->env.mmio, gpa, size);
}

void fx_write(struct fx *fx, uint64_t gpa, uint64_t value, unsigned int size)
{
	locked_write(fx, fx->env.mmio, gpa, value, size);
}

void fx_wire(struct fx *fx, unsigned int gsi, bool level)
{
	fx_lock(fx);
	irq_set(fx->env.irq, gsi, FX_SOURCE, level);
	fx_unlock(fx);
}

void fx_eoi(struct fx *fx, uint8_t vector)
{
	fx_lock(fx);
	irq_eoi(fx->env.irq, vector);
	fx_unlock(fx);
}

void fx_reset(struct fx *fx)
{
	unsigned int i;

	fx_lock(fx);
	for (i = 0; i < fx->ndevs; i++)
		fx->dev[i].ops->reset(fx->dev[i].owner);
	fx_unlock(fx);
}

uint32_t fx_cfg_read(struct fx *fx, unsigned int devfn, unsigned int offset,
		     unsigned int size)
{
	fx_out(fx, 0xcf8, 0x80000000U | devfn << 8 | (offset & 0xfc), 4);
	return fx_in(fx, 0xcfc + (offset & 3), size);
}

void fx_cfg_write(struct fx *fx, unsigned int devfn, unsigned int offset,
		  uint32_t value, unsigned int size)
{
	fx_out(fx, 0xcf8, 0x80000000U | devfn << 8 | (offset & 0xfc), 4);
	fx_out(fx, 0xcfc + (offset & 3), value, size);
}

/* ---- what holds for every device ------------------------------------------ */

static void *save(const struct dev_ops *ops, void *owner, size_t *len)
{
	void *buf;

	*len = ops->save(owner, NULL, 0);
	buf = calloc(1, *len + 1);
	assert_non_null(buf);
	assert_int_equal(ops->save(owner, buf, *len), *len);
	return buf;
}

static void roundtrip(const struct dev_ops *ops, void *owner)
{
	size_t len, again;
	void *before = save(ops, owner, &len), *after;

	assert_int_equal(ops->load(owner, before, len + 1), -EINVAL);
	if (len)
		assert_int_equal(ops->load(owner, before, len - 1), -EINVAL);
	after = save(ops, owner, &again);
	assert_memory_equal(before, after, len);
	free(after);

	ops->reset(owner);
	assert_int_equal(ops->load(owner, before, len), 0);
	after = save(ops, owner, &again);
	assert_int_equal(again, len);
	assert_memory_equal(before, after, len);
	free(after);
	free(before);
}

void fx_roundtrip(struct fx *fx)
{
	unsigned int i;

	fx_lock(fx);
	for (i = 0; i < fx->ndevs; i++)
		roundtrip(fx->dev[i].ops, fx->dev[i].owner);
	fx_unlock(fx);
}

/* xorshift: the same sequence in every run */
static uint64_t next_random(void)
{
	static uint64_t x = 0x9e3779b97f4a7c15ULL;

	x ^= x << 13;
	x ^= x >> 7;
	x ^= x << 17;
	return x;
}

void fx_fuzz(struct fx *fx, struct bus *bus, uint64_t start, uint64_t len,
	     unsigned int n)
{
	unsigned int i, size;
	uint64_t addr, r;

	for (i = 0; i < n; i++) {
		r = next_random();
		size = 1U << (r & 3);
		addr = start + (r >> 8) % len;
		if (r & 4)
			locked_write(fx, bus, addr, next_random(), size);
		else
			locked_read(fx, bus, addr, size);
		if (!(r & 0xff00000000ULL))
			fx_advance(fx, (r >> 40) * 100);
	}
	fx_roundtrip(fx);
}
