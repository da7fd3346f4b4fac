/* SPDX-License-Identifier: GPL-2.0 */
/*
 * fw_cfg: how the firmware learns of the machine and gets its ACPI tables.
 * Data is copied in; everything is added before the first run.
 */
#ifndef VMMD_DEV_FWCFG_H
#define VMMD_DEV_FWCFG_H

#include <stddef.h>
#include <stdint.h>

#include "dev.h"

/* legacy items that firmware reads by number */
#define FWCFG_SIGNATURE		0x00
#define FWCFG_ID		0x01
#define FWCFG_UUID		0x02
#define FWCFG_RAM_SIZE		0x03
#define FWCFG_NOGRAPHIC		0x04
#define FWCFG_NB_CPUS		0x05
#define FWCFG_BOOT_MENU		0x0e
#define FWCFG_MAX_CPUS		0x0f
#define FWCFG_FILE_DIR		0x19
#define FWCFG_FILE_FIRST	0x20
#define FWCFG_IRQ0_OVERRIDE	0x8002

struct fwcfg;

struct fwcfg *fwcfg_new(struct dev_env *env);
/* 0; -EEXIST; -ENOSPC: table full; -ENAMETOOLONG; -ENOMEM */
int fwcfg_add_item(struct fwcfg *fw, uint16_t key, const void *data, size_t len);
int fwcfg_add_u16(struct fwcfg *fw, uint16_t key, uint16_t value);
int fwcfg_add_u32(struct fwcfg *fw, uint16_t key, uint32_t value);
int fwcfg_add_u64(struct fwcfg *fw, uint16_t key, uint64_t value);
int fwcfg_add_file(struct fwcfg *fw, const char *name, const void *data,
		   size_t len);

#endif
