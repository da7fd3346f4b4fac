// SPDX-License-Identifier: GPL-2.0
/*
 * Making the PC: what the user named is opened, then memory, the board and its
 * cards are made. Nobody else has the machine yet.
 *
 *        0      RAM, 640 KiB
 *   0xa0000     nothing: no VGA
 *   0xc0000     RAM, the firmware's last 128 KiB copied to 0xe0000 at reset; or,
 *               without firmware, what boot/linux.c puts there
 *  0x100000     RAM, to at most MACHINE_MMIO_HOLE
 *  0xc0000000   PCI memory, I/O APIC, local APICs
 *  ...4 GiB     firmware ROM
 *   4 GiB       the rest of RAM
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api.h"
#include "block/block.h"
#include "boot/linux.h"
#include "bus.h"
#include "chardev.h"
#include "dev/devices.h"
#include "dev/fwcfg.h"
#include "irq.h"
#include "machine_priv.h"
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
#define FIRST_PCI_SLOT	3
#define QUEUES_DEFAULT	8U	/* at most, unless more are asked for */

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

	m->pic = pic_new(env, machine_pic_intr, m);
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
	const struct console_keys keys = { machine_key_quit, machine_key_power_button, m };

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
		.late = m->cfg->disk_late,
	};

	if (!m->cfg->disk)
		return 0;
	m->disk = block_open(m->cfg->disk, &opts, m->env.loop, err, errlen);
	return m->disk ? 0 : -EINVAL;
}

static void warn_unbootable(struct machine *m)
{
	static uint8_t first[BLOCK_GRANULE];
	uint64_t len = sizeof(first);
	const char *why;

	if (!m->disk || m->linux_boot || m->cfg->incoming)
		return;
	if (block_size(m->disk) < len)
		len = block_size(m->disk);
	/* one that cannot be read says so when the guest does */
	if (block_read_raw(m->disk, 0, first, len))
		return;
	why = firmware_cannot_boot(&m->firmware, first);
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
	if (machine_make_env(m, loop)) {
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
