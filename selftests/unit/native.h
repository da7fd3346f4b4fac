/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Execute one instruction on the real CPU: registers and flags in, registers
 * and flags out. Memory operands are ordinary memory below 2 GiB.
 */
#ifndef NATIVE_H
#define NATIVE_H

#include <stdbool.h>
#include <stdint.h>

#define NATIVE_DATA	0x10000000UL	/* memory for operands */
#define NATIVE_SIZE	0x4000UL
#define NATIVE_VECS	2		/* vector registers 0 and 1 */

struct native {
	uint64_t gpr[16];
	uint64_t rflags;
	uint64_t host_rsp;
	uint8_t vec[NATIVE_VECS][32];
	bool x87;		/* fxsave counts: ST0 to ST7, control words */
	uint8_t fxsave[512] __attribute__((aligned(16)));
};

bool native_init(void);		/* false: the addresses are taken */
bool native_has_avx(void);
/* *n is replaced by the registers after it */
void native_run(struct native *n, const void *code, unsigned int len);

#endif
