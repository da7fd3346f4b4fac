/* SPDX-License-Identifier: GPL-2.0 */
/* What the devices' save ops and clocks have in common. */
#ifndef VMMD_DEV_STATE_H
#define VMMD_DEV_STATE_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define NSEC_PER_SEC	1000000000ULL

/* dev_ops.save of a device whose state is one struct */
static inline size_t state_save(const void *st, size_t len, void *buf,
				size_t max)
{
	if (buf && max >= len)
		memcpy(buf, st, len);
	return len;
}

/* a * b / c without overflow in between; the result must fit */
static inline uint64_t muldiv(uint64_t a, uint64_t b, uint64_t c)
{
	__extension__ unsigned __int128 x = (unsigned __int128)a * b / c;

	return (uint64_t)x;
}

/* the same, rounded up: when a tick has surely passed */
static inline uint64_t muldiv_up(uint64_t a, uint64_t b, uint64_t c)
{
	__extension__ unsigned __int128 x = ((unsigned __int128)a * b + c - 1) / c;

	return (uint64_t)x;
}

#endif
