// SPDX-License-Identifier: GPL-2.0
/* What the machine's devices lean on: buses, wires, interrupts, the way out. */
#include <errno.h>
#include <stdatomic.h>
#include <stddef.h>

#include "api.h"
#include "bus.h"
#include "irq.h"
#include "machine_priv.h"
#include "mem.h"

static struct machine *of_env(struct dev_env *env)
{
	return (struct machine *)((char *)env - offsetof(struct machine, env));
}

static int env_add(struct dev_env *env, const char *name,
		   const struct dev_ops *ops, void *owner)
{
	struct machine *m = of_env(env);

	if (m->ndevs == MACHINE_DEVS)
		return -ENOSPC;
	m->dev[m->ndevs++] = (struct machine_dev){ name, ops, owner };
	return 0;
}

static void env_request_reset(struct dev_env *env)
{
	struct machine *m = of_env(env);

	if (m->hooks.reset)
		m->hooks.reset(m->hooks.owner);
}

static void env_request_poweroff(struct dev_env *env)
{
	struct machine *m = of_env(env);

	if (m->hooks.poweroff)
		m->hooks.poweroff(m->hooks.owner);
}

static int env_doorbell(struct dev_env *env, bool port, uint64_t addr,
			int eventfd)
{
	struct machine *m = of_env(env);

	if (eventfd < 0)
		return api_unbind_doorbell(m->vm, port, addr);
	return api_bind_doorbell(m->vm, port, addr, eventfd);
}

static int env_msi_route(struct dev_env *env, unsigned int gsi, uint64_t addr,
			 uint32_t data)
{
	return api_set_route(of_env(env)->vm, gsi, addr, data);
}

static int env_msi_bind(struct dev_env *env, unsigned int gsi, int eventfd,
			int eoi)
{
	if (eventfd < 0)
		return api_unbind_irq(of_env(env)->vm, gsi);
	return api_bind_irq(of_env(env)->vm, gsi, eventfd, eoi);
}

static void env_coalesce(struct dev_env *env, bool port, uint64_t addr,
			 unsigned int size)
{
	struct machine *m = of_env(env);

	if (!m->ring && m->vm)
		m->ring = api_ring(m->vm);
	/* without a ring to read from, they had better be exits */
	if (m->ring)
		api_coalesce(m->vm, port, addr, size);
}

static void send_msi(void *owner, uint64_t addr, uint32_t data)
{
	struct machine *m = owner;

	/* a guest that sends to nobody hurts itself only */
	if (m->vm)
		api_msi(m->vm, addr, data);
}

void machine_pic_intr(void *owner, bool level)
{
	struct machine *m = owner;

	atomic_store(&m->intr, level);
	if (level && m->hooks.pic_raised)
		m->hooks.pic_raised(m->hooks.owner);
}

void machine_key_quit(void *owner)
{
	struct machine *m = owner;

	env_request_poweroff(&m->env);
}

void machine_key_power_button(void *owner)
{
	machine_power_button(owner);
}

static void wires_reset(void *owner)
{
}

static size_t wires_save(void *owner, void *buf, size_t max)
{
	return irq_save(owner, buf, max);
}

static int wires_load(void *owner, const void *buf, size_t len)
{
	return irq_load(owner, buf, len);
}

static void wires_free(void *owner)
{
}

/* first in the list: devices find the wires as they left them */
static const struct dev_ops wires_ops = {
	.reset = wires_reset,
	.save = wires_save,
	.load = wires_load,
	.free = wires_free,
};

int machine_make_env(struct machine *m, struct loop *loop)
{
	struct dev_env *env = &m->env;

	env->pio = bus_new("pio");
	env->mmio = bus_new("mmio");
	env->irq = irq_new(send_msi, m);
	env->mem = mem_new(m->vm);
	env->loop = loop;
	env->packed_rings = m->cfg->packed_rings;
	env->add = env_add;
	env->request_reset = env_request_reset;
	env->request_poweroff = env_request_poweroff;
	env->coalesce = env_coalesce;
	/* the wires have the first */
	env->gsis = IRQ_GSIS;
	if (m->vm) {
		env->doorbell = env_doorbell;
		env->msi_route = env_msi_route;
		env->msi_bind = env_msi_bind;
	}
	if (!env->pio || !env->mmio || !env->irq || !env->mem)
		return -ENOMEM;
	return env_add(env, "irq", &wires_ops, env->irq);
}
