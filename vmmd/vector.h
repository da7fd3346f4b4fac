/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Vector and x87 registers inside an XSAVE area of the standard form (SDM 1 13.4):
 * x87 and XMM in the legacy region, the high halves of YMM at 576.
 */
#ifndef VMMD_VECTOR_H
#define VMMD_VECTOR_H

#include <stdint.h>
#include <linux/vmm.h>

/* 32 bytes of register 0..15; 0, or -EINVAL: no such register or no room */
int vector_get(const struct vmm_xsave *x, unsigned int reg, uint8_t *out);
int vector_set(struct vmm_xsave *x, unsigned int reg, const uint8_t *in);

#define X87_SIZE	160	/* control words, pointers, ST0 to ST7; and MXCSR */

/* set leaves MXCSR as it was; 0, or -EINVAL: no room */
int x87_get(const struct vmm_xsave *x, void *out);
int x87_set(struct vmm_xsave *x, const void *in);

#endif
