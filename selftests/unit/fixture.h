/* SPDX-License-Identifier: GPL-2.0 */
/*
 * For tests of devices: buses, wires, memory and a loop in a thread of its
 * own, with a clock that stands still until the test moves it. Everything that
 * touches a device takes the machine lock, as vmmd does.
 */
#ifndef SELFTESTS_FIXTURE_H
#define SELFTESTS_FIXTURE_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bus.h"
#include "dev.h"
#include "irq.h"
#include "loop.h"
#include "mem.h"

#define FX_RAM		0x100000ULL	/* 1 MiB of RAM at 0; a hole above */
#define FX_DEVS		16
#define FX_START	1704067200000000000ULL	/* 2024-01-01 00:00:00 UTC, ns */
#define FX_MS		1000000ULL
#define FX_SEC		1000000000ULL

struct fx {
	struct dev_env env;		/* first: env->add finds the fixture */
	pthread_mutex_t lock;
	bool locked;			/* by the test */
	pthread_t thread;
	struct loop_timer *clock;
	struct {
		const struct dev_ops *ops;
		void *owner;
	} dev[FX_DEVS];
	unsigned int ndevs;
	/* what came out */
	bool level[IRQ_GSIS];
	unsigned int edges[IRQ_GSIS];	/* rising */
	unsigned int msis;
	uint64_t msi_addr;		/* of the last */
	uint32_t msi_data;
	unsigned int resets, poweroffs;
};

void fx_clock_add(uint64_t ns);		/* to one that is held */

struct fx *fx_new(void);
/* that clock, for a test with a machine of another kind */
void fx_hold_clock(bool hold);
void fx_free(struct fx *fx);
void fx_lock(struct fx *fx);
void fx_unlock(struct fx *fx);
void fx_sync(struct fx *fx);		/* the loop has done all that is due */
void fx_advance(struct fx *fx, uint64_t ns);	/* both clocks; and sync */
void fx_set_realtime(struct fx *fx, uint64_t ns);	/* of the wall */

uint32_t fx_in(struct fx *fx, uint16_t port, unsigned int size);
void fx_out(struct fx *fx, uint16_t port, uint32_t value, unsigned int size);
uint64_t fx_read(struct fx *fx, uint64_t gpa, unsigned int size);
void fx_write(struct fx *fx, uint64_t gpa, uint64_t value, unsigned int size);
void fx_wire(struct fx *fx, unsigned int gsi, bool level);	/* source 31 */
void fx_reset(struct fx *fx);
void fx_eoi(struct fx *fx, uint8_t vector);

/* PCI configuration mechanism #1 */
uint32_t fx_cfg_read(struct fx *fx, unsigned int devfn, unsigned int offset,
		     unsigned int size);
void fx_cfg_write(struct fx *fx, unsigned int devfn, unsigned int offset,
		  uint32_t value, unsigned int size);

/* every device: save -> reset -> load -> save gives the same bytes; truncated
 * and too long states are refused with nothing changed */
void fx_roundtrip(struct fx *fx);
/* n accesses of sizes 1, 2, 4, 8 in [start, start + len) with random values,
 * then a roundtrip */
void fx_fuzz(struct fx *fx, struct bus *bus, uint64_t start, uint64_t len,
	     unsigned int n);

#endif
