// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "vector.h"

#define MXCSR_OFFSET	24
#define ST_OFFSET	32
#define XMM_OFFSET	160
#define XSTATE_BV	512
#define YMM_OFFSET	576	/* of the high halves */
#define BV_X87		(1ULL << 0)
#define BV_SSE		(1ULL << 1)
#define BV_AVX		(1ULL << 2)

static bool has_avx(const struct vmm_xsave *x)
{
	return (x->xcr0 & BV_AVX) && x->size >= YMM_OFFSET + 256;
}

int vector_get(const struct vmm_xsave *x, unsigned int reg, uint8_t *out)
{
	uint64_t bv;

	if (reg >= 16 || x->size < XSTATE_BV + 8)
		return -EINVAL;
	memcpy(&bv, x->area + XSTATE_BV, sizeof(bv));
	/* a clear bit means the initial state, whatever the bytes are */
	memset(out, 0, 32);
	if (bv & BV_SSE)
		memcpy(out, x->area + XMM_OFFSET + 16 * reg, 16);
	if (has_avx(x) && (bv & BV_AVX))
		memcpy(out + 16, x->area + YMM_OFFSET + 16 * reg, 16);
	return 0;
}

int vector_set(struct vmm_xsave *x, unsigned int reg, const uint8_t *in)
{
	uint64_t bv;

	if (reg >= 16 || x->size < XSTATE_BV + 8)
		return -EINVAL;
	memcpy(&bv, x->area + XSTATE_BV, sizeof(bv));
	/* what was in its initial state becomes explicit now: it is zero */
	if (!(bv & BV_SSE))
		memset(x->area + XMM_OFFSET, 0, 256);
	memcpy(x->area + XMM_OFFSET + 16 * reg, in, 16);
	bv |= BV_SSE;
	if (has_avx(x)) {
		if (!(bv & BV_AVX))
			memset(x->area + YMM_OFFSET, 0, 256);
		memcpy(x->area + YMM_OFFSET + 16 * reg, in + 16, 16);
		bv |= BV_AVX;
	}
	memcpy(x->area + XSTATE_BV, &bv, sizeof(bv));
	return 0;
}

int x87_get(const struct vmm_xsave *x, void *out)
{
	static const uint16_t initial_fcw = 0x37f;	/* FNINIT, SDM 1 8.1.5 */
	uint64_t bv;

	if (x->size < XSTATE_BV + 8)
		return -EINVAL;
	memcpy(&bv, x->area + XSTATE_BV, sizeof(bv));
	memcpy(out, x->area, X87_SIZE);
	if (bv & BV_X87)
		return 0;
	memset(out, 0, MXCSR_OFFSET);
	memset((uint8_t *)out + ST_OFFSET, 0, X87_SIZE - ST_OFFSET);
	memcpy(out, &initial_fcw, sizeof(initial_fcw));
	return 0;
}

int x87_set(struct vmm_xsave *x, const void *in)
{
	uint64_t bv;

	if (x->size < XSTATE_BV + 8)
		return -EINVAL;
	memcpy(x->area, in, MXCSR_OFFSET);
	memcpy(x->area + ST_OFFSET, (const uint8_t *)in + ST_OFFSET, X87_SIZE - ST_OFFSET);
	memcpy(&bv, x->area + XSTATE_BV, sizeof(bv));
	bv |= BV_X87;
	memcpy(x->area + XSTATE_BV, &bv, sizeof(bv));
	return 0;
}
