// SPDX-License-Identifier: GPL-2.0
/*
 * The PC.
 *
 *        0      RAM, 640 KiB
 *   0xa0000     nothing: no VGA
 *   0xc0000     RAM, the firmware's last 128 KiB copied to 0xe0000 at reset; or,
 *               without firmware, what boot/linux.c puts there
 *  0x100000     RAM, to at most MACHINE_MMIO_HOLE
 *  0xc0000000   PCI memory, I/O APIC, local APICs
 *  ...4 GiB     firmware ROM
 *   4 GiB       the rest of RAM
 *
 * Lock: everything here runs under m->lock. The functions for the vCPU threads
 * take it, all others want it held, machine_new, machine_build and machine_free
 * apart: they have the machine to themselves.
 */
#include <errno.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api.h"
#include "block/block.h"
#include "boot/firmware.h"
#include "boot/linux.h"
#include "bus.h"
#include "chardev.h"
#include "dev/devices.h"
#include "dev/fwcfg.h"
#include "irq.h"
#include "loop.h"
#include "machine.h"
#include "mem.h"
#include "net/net.h"
#include "pci/pci.h"
#include "virtio/virtio_balloon.h"
#include "virtio/virtio_blk.h"
#include "virtio/virtio_net.h"
#include "virtio/virtio_rng.h"

#define LOW_RAM		0xa0000ULL
#define SHADOW_RAM	0xc0000ULL
#define TOP_4G		(1ULL << 32)
#define COM1		0x3f8
#define COM1_IRQ	4
#define MAX_DEVS	32
#define FIRST_PCI_SLOT	3
#define QUEUES_DEFAULT	8U	/* at most, unless more are asked for */

struct machine_dev {
	const char *name;
	const struct dev_ops *ops;
	void *owner;
};

struct machine {
	struct dev_env env;
	struct api_vm *vm;
	pthread_mutex_t *lock;
	const struct vm_config *cfg;
	struct machine_dev dev[MAX_DEVS];	/* in the order of reset, load */
	unsigned int ndevs;
	struct machine_hooks hooks;
	atomic_bool intr;			/* the PIC's INTR line */
	struct pci_bus *pci;
	struct pic *pic;
	struct acpipm *pm;
	struct fwcfg *fwcfg;
	struct chardev *console;
	struct block *disk;
	struct net *net;
	FILE *firmware_log;
	struct firmware firmware;		/* one of these two boots */
	struct linux_boot *linux_boot;
	struct vmm_ring *ring;			/* writes kept by the module, or NULL */
	uint64_t ram_low, ram_high;		/* ends below 4 GiB; size above */
};

/* ---- what devices lean on ------------------------------------------------- */

static struct machine *of_env(struct dev_env *env)
{
	return (struct machine *)((char *)env - offsetof(struct machine, env));
}

static int env_add(struct dev_env *env, const char *name,
		   const struct dev_ops *ops, void *owner)
{
	struct machine *m = of_env(env);

	if (m->ndevs == MAX_DEVS)
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

static void pic_intr(void *owner, bool level)
{
	struct machine *m = owner;

	atomic_store(&m->intr, level);
	if (level && m->hooks.pic_raised)
		m->hooks.pic_raised(m->hooks.owner);
}

static void key_quit(void *owner)
{
	struct machine *m = owner;

	env_request_poweroff(&m->env);
}

static void key_power_button(void *owner)
{
	machine_power_button(owner);
}

/* ---- for the vCPU threads ------------------------------------------------- */

/*
 * What the module kept comes first, in its order. Up to the head as it is now:
 * what other vCPUs write meanwhile is not before this access.
 */
static void take_kept(struct machine *m)
{
	struct vmm_ring *ring = m->ring;
	const struct vmm_ring_entry *e;
	uint32_t head;

	if (!ring)
		return;
	/* acquire: an entry is read after the head that covers it */
	head = __atomic_load_n(&ring->head, __ATOMIC_ACQUIRE);
	while (ring->tail != head) {
		e = &ring->entry[ring->tail % VMM_RING_ENTRIES];
		bus_write(e->flags & VMM_COALESCE_PORT ? m->env.pio : m->env.mmio,
			  e->addr, e->data, e->size);
		__atomic_store_n(&ring->tail, ring->tail + 1, __ATOMIC_RELEASE);
	}
}

static void access_begins(struct machine *m)
{
	pthread_mutex_lock(m->lock);
	take_kept(m);
}

uint64_t machine_pio_read(struct machine *m, uint16_t port, unsigned int size)
{
	uint64_t value;

	access_begins(m);
	value = bus_read(m->env.pio, port, size);
	pthread_mutex_unlock(m->lock);
	return value;
}

void machine_pio_write(struct machine *m, uint16_t port, uint32_t value,
		       unsigned int size)
{
	access_begins(m);
	bus_write(m->env.pio, port, value, size);
	pthread_mutex_unlock(m->lock);
}

uint64_t machine_mmio_read(struct machine *m, uint64_t gpa, unsigned int size)
{
	uint64_t value;

	access_begins(m);
	value = bus_read(m->env.mmio, gpa, size);
	pthread_mutex_unlock(m->lock);
	return value;
}

void machine_mmio_write(struct machine *m, uint64_t gpa, uint64_t value,
			unsigned int size)
{
	access_begins(m);
	bus_write(m->env.mmio, gpa, value, size);
	pthread_mutex_unlock(m->lock);
}

void machine_eoi(struct machine *m, uint8_t vector)
{
	access_begins(m);
	irq_eoi(m->env.irq, vector);
	pthread_mutex_unlock(m->lock);
}

/* asked before every entry: without the lock */
bool machine_pic_pending(struct machine *m)
{
	return atomic_load(&m->intr);
}

uint8_t machine_pic_ack(struct machine *m)
{
	uint8_t vector;

	pthread_mutex_lock(m->lock);
	vector = pic_ack(m->pic);
	pthread_mutex_unlock(m->lock);
	return vector;
}

/* ---- with the lock held --------------------------------------------------- */

void machine_reset_devices(struct machine *m)
{
	unsigned int i;

	take_kept(m);
	for (i = 0; i < m->ndevs; i++)
		m->dev[i].ops->reset(m->dev[i].owner);
}

int machine_reset(struct machine *m)
{
	machine_reset_devices(m);
	if (m->linux_boot) {
		acpipm_place(m->pm, MACHINE_PM_BASE);
		return linux_boot_place(m->linux_boot, m->env.mem);
	}
	firmware_shadow(&m->firmware, m->env.mem);
	return 0;
}

void machine_boot_state(struct machine *m, struct vmm_state *st)
{
	if (m->linux_boot)
		linux_boot_state(m->linux_boot, st);
}

void machine_power_button(struct machine *m)
{
	acpipm_power_button(m->pm);
}

void machine_set_hooks(struct machine *m, const struct machine_hooks *hooks)
{
	m->hooks = *hooks;
}

struct mem *machine_mem(struct machine *m)
{
	return m->env.mem;
}

struct chardev *machine_console(struct machine *m)
{
	return m->console;
}

struct block *machine_disk(struct machine *m)
{
	return m->disk;
}

struct net *machine_net(struct machine *m)
{
	return m->net;
}

/* ---- saving and loading, the lock held ------------------------------------ */

const char *machine_dev_name(const struct machine *m, unsigned int i)
{
	return i < m->ndevs ? m->dev[i].name : NULL;
}

size_t machine_dev_save(struct machine *m, unsigned int i, void *buf, size_t max)
{
	take_kept(m);
	return m->dev[i].ops->save(m->dev[i].owner, buf, max);
}

int machine_dev_load(struct machine *m, unsigned int i, const void *buf, size_t len)
{
	return m->dev[i].ops->load(m->dev[i].owner, buf, len);
}

long machine_harvest(struct machine *m, unsigned int i, uint64_t *bitmap)
{
	long n = mem_harvest(m->env.mem, i, bitmap);
	unsigned int d;

	for (d = 0; n >= 0 && d < m->ndevs; d++)
		if (m->dev[d].ops->in_flight)
			m->dev[d].ops->in_flight(m->dev[d].owner);
	return n;
}

/* ---- building ------------------------------------------------------------- */

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

static int make_rooms(struct machine *m, struct loop *loop)
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

static int make_memory(struct machine *m)
{
	uint64_t low = m->cfg->memory, high = 0;
	int err;

	if (low > MACHINE_MMIO_HOLE) {
		high = low - MACHINE_MMIO_HOLE;
		low = MACHINE_MMIO_HOLE;
	}
	m->ram_low = low;
	m->ram_high = high;
	mem_use_hugepages(m->env.mem, m->cfg->hugepages);
	if (m->cfg->incoming)
		mem_use_contents(m->env.mem, m->cfg->memory_fd);
	err = mem_add_ram(m->env.mem, 0, LOW_RAM, "ram-base");
	if (!err)
		err = mem_add_ram(m->env.mem, SHADOW_RAM, low - SHADOW_RAM,
				  "ram");
	if (!err && high)
		err = mem_add_ram(m->env.mem, TOP_4G, high, "ram-high");
	if (!err && !m->linux_boot)
		err = firmware_map(&m->firmware, m->env.mem);
	return err;
}

static int make_board(struct machine *m)
{
	struct dev_env *env = &m->env;
	const struct rtc_config rtc = {
		.ram_low = m->ram_low,
		.ram_high = m->ram_high,
		.cpus = m->cfg->cpus,
	};
	int err = 0;

	m->pic = pic_new(env, pic_intr, m);
	m->pci = pci_bus_new(env);
	m->fwcfg = fwcfg_new(env);
	if (!m->pic || !m->pci || !m->fwcfg)
		return -ENOMEM;
	err = ioapic_new(env, MACHINE_IOAPIC);
	if (!err)
		err = pit_new(env);
	if (!err)
		err = rtc_new(env, &rtc);
	if (!err)
		err = i8042_new(env);
	if (!err)
		err = uart_new(env, COM1, COM1_IRQ, m->console);
	if (!err)
		err = debugcon_new(env, m->firmware_log);
	if (!err)
		err = post_new(env);
	if (!err)
		err = piix3_new(env, m->pci);
	if (err)
		return err;
	m->pm = acpipm_new(env, m->pci, MACHINE_SCI);
	return m->pm ? 0 : -ENOMEM;
}

static int open_console(struct machine *m, char *err, size_t errlen)
{
	const struct console_keys keys = { key_quit, key_power_button, m };

	switch (m->cfg->console) {
	case CONSOLE_SOCKET:
		m->console = chardev_socket_new(m->env.loop,
						m->cfg->console_path, err,
						errlen);
		break;
	case CONSOLE_FILE:
		m->console = chardev_file_new(m->env.loop,
					      m->cfg->console_path, err,
					      errlen);
		break;
	case CONSOLE_NONE:
		m->console = chardev_none_new(m->env.loop, err, errlen);
		break;
	default:
		m->console = console_stdio_new(m->env.loop, &keys, err, errlen);
	}
	return m->console ? 0 : -EINVAL;
}

static int open_firmware_log(struct machine *m, char *err, size_t errlen)
{
	const char *path = m->cfg->firmware_log;

	if (!path)
		return 0;
	m->firmware_log = strcmp(path, "-") ? fopen(path, "we") : stderr;
	if (!m->firmware_log) {
		snprintf(err, errlen,
			 "firmware log %s: %s; wanted a file that can be written",
			 path, strerror(errno));
		return -EINVAL;
	}
	setvbuf(m->firmware_log, NULL, _IOLBF, 0);
	return 0;
}

/* one for each CPU, so that none waits for another's lock in the guest */
static unsigned int queues(const struct machine *m, unsigned int wanted)
{
	if (wanted)
		return wanted;
	return m->cfg->cpus < QUEUES_DEFAULT ? m->cfg->cpus : QUEUES_DEFAULT;
}

static int open_net(struct machine *m, char *err, size_t errlen)
{
	const struct vm_config *cfg = m->cfg;
	const struct net_tap_opts tap = {
		.ifname = cfg->tap,
		.pairs = queues(m, cfg->net_queues),
		.or_less = !cfg->net_queues,
		.vhost = cfg->net_vhost,
	};

	if (cfg->net == NET_NONE)
		return 0;
	if (cfg->net == NET_TAP)
		m->net = net_tap_new(m->env.loop, &tap, err, errlen);
	else
		m->net = net_user_new(m->env.loop, cfg->forward, cfg->nforward,
				      err, errlen);
	return m->net ? 0 : -EINVAL;
}

static int open_disk(struct machine *m, char *err, size_t errlen)
{
	const struct block_opts opts = {
		.read_only = m->cfg->disk_read_only,
		.direct = m->cfg->disk_direct,
	};

	if (!m->cfg->disk)
		return 0;
	m->disk = block_open(m->cfg->disk, &opts, m->env.loop, err, errlen);
	return m->disk ? 0 : -EINVAL;
}

static void warn_unbootable(struct machine *m)
{
	const char *why = m->disk && !m->linux_boot && !m->cfg->incoming ?
		firmware_cannot_boot(&m->firmware, m->cfg->disk) : NULL;

	if (why)
		fprintf(stderr, "vmmd: disk %s: %s; the firmware will find nothing to boot\n",
			m->cfg->disk, why);
}

/*
 * Locally administered, and the same at each start: from what tells this VM
 * from others on the same bridge.
 */
static void make_mac(const struct vm_config *cfg, uint8_t mac[6])
{
	const char *s = cfg->name ? cfg->name : cfg->disk;
	uint32_t h = 2166136261U;	/* FNV-1a */

	if (cfg->has_mac) {
		memcpy(mac, cfg->mac, 6);
		return;
	}
	for (; s && *s; s++)
		h = (h ^ (uint8_t)*s) * 16777619U;
	mac[0] = 0x52;
	mac[1] = 0x54;
	mac[2] = 0x00;
	mac[3] = h;
	mac[4] = h >> 8;
	mac[5] = h >> 16;
}

/* the disk comes first: its slot is in the firmware's boot order */
static int make_virtio(struct machine *m)
{
	uint8_t mac[6];
	int err = 0;

	make_mac(m->cfg, mac);
	if (m->disk)
		err = virtio_blk_new(&m->env, m->pci, m->disk,
				     queues(m, m->cfg->disk_queues));
	if (!err && m->net)
		err = virtio_net_new(&m->env, m->pci, m->net, mac);
	if (!err)
		err = virtio_rng_new(&m->env, m->pci);
	if (!err && m->cfg->has_balloon)
		err = virtio_balloon_new(&m->env, m->pci,
					 m->cfg->balloon >> 12);
	return err;
}

/* to the firmware, or to what comes in its place */
static int describe(struct machine *m, char *err, size_t errlen)
{
	const struct boot_info info = {
		.ram_low = m->ram_low,
		.ram_high = m->ram_high,
		.cpus = m->cfg->cpus,
		.disk_slot = m->disk ? FIRST_PCI_SLOT : -1,
	};

	int ret = boot_describe(m->fwcfg, &info);

	if (ret)
		snprintf(err, errlen, "cannot build the machine: %s", strerror(-ret));
	else if (m->linux_boot)
		ret = linux_boot_fit(m->linux_boot, &info, err, errlen);
	return ret;
}

void machine_describe(const struct machine *m, struct vm_config *cfg)
{
	*cfg = *m->cfg;
	cfg->disk_queues = m->disk ? queues(m, cfg->disk_queues) : 0;
	cfg->net_queues = cfg->net == NET_TAP ? m->net->pairs : 0;
	make_mac(m->cfg, cfg->mac);
	cfg->has_mac = m->net;
	cfg->firmware_size = m->firmware.size;
	cfg->firmware_image = mem_ptr_ro(m->env.mem, TOP_4G - m->firmware.size,
					 m->firmware.size);
}

static int open_boot(struct machine *m, char *err, size_t errlen)
{
	const struct vm_config *c = m->cfg;

	if (!c->kernel && c->incoming)
		return firmware_take(&m->firmware, c->firmware_image,
				     c->firmware_size, err, errlen);
	if (!c->kernel)
		return firmware_load(&m->firmware, c->firmware, err, errlen);
	m->linux_boot = linux_boot_new(c->kernel, c->initrd, c->append, err, errlen);
	return m->linux_boot ? 0 : -EINVAL;
}

/* what the user named: each failure has its own line in err[] */
static int open_all(struct machine *m, char *err, size_t errlen)
{
	int ret = open_boot(m, err, errlen);

	if (!ret)
		ret = open_firmware_log(m, err, errlen);
	if (!ret)
		ret = open_disk(m, err, errlen);
	if (!ret)
		ret = open_net(m, err, errlen);
	return ret;
}

static int make_all(struct machine *m, char *err, size_t errlen)
{
	int ret = make_memory(m);

	if (ret && m->cfg->hugepages) {
		mem_hugepage_advice(m->cfg->hugepages, m->cfg->memory, err, errlen);
		return ret;
	}
	if (ret) {
		snprintf(err, errlen,
			 "cannot set up %llu MiB of guest memory: %s",
			 (unsigned long long)m->cfg->memory >> 20,
			 strerror(-ret));
		return ret;
	}
	/* late: from here on the terminal is raw */
	ret = open_console(m, err, errlen);
	if (ret)
		return ret;
	ret = make_board(m);
	if (!ret)
		ret = make_virtio(m);
	if (!ret)
		return describe(m, err, errlen);
	snprintf(err, errlen, "cannot build the machine: %s", strerror(-ret));
	return ret;
}

struct machine *machine_new(struct api_vm *vm, struct loop *loop,
			    pthread_mutex_t *lock, const struct vm_config *cfg,
			    char *err, unsigned long errlen)
{
	struct machine *m = calloc(1, sizeof(*m));

	if (!m) {
		snprintf(err, errlen, "cannot build the machine: out of memory");
		return NULL;
	}
	m->vm = vm;
	m->lock = lock;
	m->cfg = cfg;
	if (make_rooms(m, loop)) {
		snprintf(err, errlen, "cannot build the machine: out of memory");
	} else if (!open_all(m, err, errlen)) {
		return m;
	}
	machine_free(m);
	return NULL;
}

int machine_build(struct machine *m, char *err, unsigned long errlen)
{
	int ret;

	warn_unbootable(m);
	ret = make_all(m, err, errlen);
	if (!ret && m->cfg->incoming) {
		machine_reset_devices(m);
	} else if (!ret && machine_reset(m)) {
		snprintf(err, errlen, "what is to boot cannot be put into the guest's memory");
		ret = -EIO;
	}
	return ret;
}

void machine_free(struct machine *m)
{
	if (!m)
		return;
	memset(&m->hooks, 0, sizeof(m->hooks));
	while (m->ndevs--)
		m->dev[m->ndevs].ops->free(m->dev[m->ndevs].owner);
	if (m->disk)
		block_close(m->disk);
	if (m->net)
		m->net->ops->free(m->net);
	chardev_free(m->console);
	if (m->firmware_log && m->firmware_log != stderr)
		fclose(m->firmware_log);
	api_ring_free(m->ring);
	mem_free(m->env.mem);
	irq_free(m->env.irq);
	if (m->env.pio)
		bus_free(m->env.pio);
	if (m->env.mmio)
		bus_free(m->env.mmio);
	firmware_free(&m->firmware);
	linux_boot_free(m->linux_boot);
	free(m);
}
