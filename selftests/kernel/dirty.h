/* SPDX-License-Identifier: GPL-2.0 */
/* VMM_TRACK and VMM_HARVEST for the tests of them. */
#ifndef DIRTY_H
#define DIRTY_H

#include "race.h"

#define DIRTY		VMM_TRACK_DIRTY
#define ACCESSED	VMM_TRACK_ACCESSED
#define CLEAR		VMM_HARVEST_CLEAR
#define BOTH		(DIRTY | ACCESSED)
#define WORDS(bytes)	(((bytes) / PAGE + 63) / 64)

static inline int track(struct vm *vm, u64 gpa, u64 size, u32 flags)
{
	struct vmm_track t = { .gpa = gpa, .size = size, .flags = flags };

	return vm_ioctl(vm->fd, VMM_TRACK, &t);
}

static inline int harvest(struct vm *vm, u64 gpa, u64 size, u64 *bitmap, u32 flags)
{
	struct vmm_harvest h = {
		.gpa = gpa, .size = size, .bitmap = (uintptr_t)bitmap, .flags = flags,
	};

	return vm_ioctl(vm->fd, VMM_HARVEST, &h);
}

static inline bool bit(const u64 *bitmap, u64 n)
{
	return bitmap[n / 64] >> n % 64 & 1;
}

/* a range with more holes than the host has memory */
#define VAST		(32ull << 30)
#define VAST_BITS_KB	(long)(VAST / PAGE / 8 / 1024)

#endif /* DIRTY_H */
