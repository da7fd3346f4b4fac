/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The PC: which devices there are, where they sit, and the memory layout.
 * Owns the machine lock: every device access by a vCPU thread and every loop
 * callback runs under it.
 */
#ifndef VMMD_MACHINE_H
#define VMMD_MACHINE_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "dev.h"
#include "net/net.h"

struct api_vm;
struct block;
struct chardev;
struct mem;
struct vmm_state;

enum console_kind { CONSOLE_STDIO, CONSOLE_SOCKET, CONSOLE_FILE, CONSOLE_NONE };
enum net_kind { NET_USER, NET_TAP, NET_NONE };

struct vm_config {
	const char *name;
	const char *disk;
	bool disk_read_only;
	bool disk_direct;
	bool disk_late;			/* incoming: another vmmd has it until it is taken */
	unsigned int disk_queues;	/* 0: as many as fit the CPUs */
	unsigned int cpus;
	uint64_t memory;		/* bytes */
	bool has_balloon;
	uint64_t balloon;		/* bytes that the guest is to give back */
	uint64_t hugepages;		/* 0, 2 MiB or 1 GiB: size of hugetlbfs's */
	enum net_kind net;
	const char *tap;
	unsigned int net_queues;	/* pairs; 0: as many as fit the CPUs */
	bool has_mac;			/* else one is made from the name */
	uint8_t mac[6];
	enum net_vhost net_vhost;
	struct net_forward forward[16];
	unsigned int nforward;
	bool packed_rings;		/* virtio devices offer them */
	enum console_kind console;
	const char *console_path;
	const char *firmware;		/* NULL: the usual one */
	/* goes on from a saved state: nothing is booted, and this is its firmware */
	bool incoming;
	const void *firmware_image;
	size_t firmware_size;
	int memory_fd;			/* incoming: what RAM begins with; -1: zeroes */
	const char *firmware_log;	/* NULL: none; "-": standard error */
	const char *kernel;		/* NULL: firmware boots */
	const char *initrd;		/* NULL: none */
	const char *append;
};

#define MACHINE_MMIO_HOLE	0xc0000000ULL	/* RAM below, PCI above, to 4 GiB */
#define MACHINE_IOAPIC		0xfec00000ULL
#define MACHINE_LAPIC		0xfee00000ULL
#define MACHINE_PM_BASE		0x600		/* ACPI PM I/O block */
#define MACHINE_SCI		9

struct machine;

/*
 * In two steps, as what the user named may be wrong on any host: new opens
 * that, and needs no VM yet; build makes memory and devices, in the VM and on
 * the terminal. NULL or -errno on failure, with one line in err[].
 */
struct machine *machine_new(struct api_vm *vm, struct loop *loop,
			    pthread_mutex_t *lock, const struct vm_config *cfg,
			    char *err, unsigned long errlen);
int machine_build(struct machine *m, char *err, unsigned long errlen);
void machine_free(struct machine *m);
/* these two with the lock held */
/* all devices, and what is to boot; vCPUs are vm.c's. 0, or -errno, told */
int machine_reset(struct machine *m);
void machine_reset_devices(struct machine *m);	/* memory stays as it is */
void machine_power_button(struct machine *m);	/* ACPI */
struct mem *machine_mem(struct machine *m);	/* constant after machine_build */
struct chardev *machine_console(struct machine *m);	/* so is this */
/* vCPU 0's state at reset becomes the one in which it begins in this machine */
void machine_boot_state(struct machine *m, struct vmm_state *st);

/* for the vCPU thread, lock taken inside */
uint64_t machine_pio_read(struct machine *m, uint16_t port, unsigned int size);
void machine_pio_write(struct machine *m, uint16_t port, uint32_t value,
		       unsigned int size);
uint64_t machine_mmio_read(struct machine *m, uint64_t gpa, unsigned int size);
void machine_mmio_write(struct machine *m, uint64_t gpa, uint64_t value,
			unsigned int size);
void machine_eoi(struct machine *m, uint8_t vector);
/* PIC: is INTR high; acknowledge it and get its vector */
bool machine_pic_pending(struct machine *m);
uint8_t machine_pic_ack(struct machine *m);

/* vm.c gives these before the first run; called with the lock held */
struct machine_hooks {
	void (*pic_raised)(void *owner);	/* INTR went high: kick vCPU 0 */
	void (*reset)(void *owner);		/* the guest asked for a reset */
	void (*poweroff)(void *owner);
	void *owner;
};
/* with what was left open as it turned out: queues, the MAC, the firmware */
void machine_describe(const struct machine *m, struct vm_config *cfg);
/*
 * Devices in the order in which they are to be loaded, the lock held and no vCPU
 * running. machine_dev_name: NULL after the last. save: dev_ops.save. load: 0, or
 * -EINVAL with nothing changed: these bytes are no state of it.
 */
const char *machine_dev_name(const struct machine *m, unsigned int i);
size_t machine_dev_save(struct machine *m, unsigned int i, void *buf, size_t max);
int machine_dev_load(struct machine *m, unsigned int i, const void *buf, size_t len);
/*
 * mem_harvest of region i, the lock held: devices mark anew what they are still
 * to write. The last one comes after all devices were saved.
 */
long machine_harvest(struct machine *m, unsigned int i, uint64_t *bitmap);
struct block *machine_disk(struct machine *m);	/* NULL: none */
struct net *machine_net(struct machine *m);	/* NULL: none */

void machine_set_hooks(struct machine *m, const struct machine_hooks *hooks);

#endif
