/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A Linux kernel started without firmware: what the boot loader does, by the
 * 64-bit boot protocol (Linux, Documentation/arch/x86/boot.rst).
 */
#ifndef VMMD_BOOT_LINUX_H
#define VMMD_BOOT_LINUX_H

#include <stddef.h>

#include "boot/firmware.h"

struct linux_boot;
struct vmm_state;

/*
 * Open and check a bzImage, an initial RAM file system (NULL: none) and the
 * command line. NULL with one line in err[] if one of them is not that.
 */
struct linux_boot *linux_boot_new(const char *kernel, const char *initrd,
				  const char *cmdline, char *err, size_t errlen);
void linux_boot_free(struct linux_boot *b);

/* find everything its place in this machine; -EINVAL or -ENOMEM, with err[] */
int linux_boot_fit(struct linux_boot *b, const struct boot_info *info, char *err,
		   size_t errlen);
/*
 * Put it all there, at each reset; 0 or -errno, told on standard error: the
 * files are read anew, and may be gone.
 */
int linux_boot_place(struct linux_boot *b, struct mem *mem);
/* the state in which the boot processor begins */
void linux_boot_state(const struct linux_boot *b, struct vmm_state *st);

#endif
