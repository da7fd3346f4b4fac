/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Guest memory that comes out of a snapshot as it is touched, by userfaultfd(2),
 * and in the background until all of it is there.
 */
#ifndef VMMD_SNAPSHOT_LAZY_H
#define VMMD_SNAPSHOT_LAZY_H

#include <stddef.h>

#include "snapshot/file.h"

struct lazy;
struct vm;

/*
 * From here on who touches RAM waits for the page. The chain's pages are this
 * one's to read until lazy_stop. NULL: the host does not allow that (*denied) or
 * it failed, with one line in err[].
 */
struct lazy *lazy_start(struct vm *vm, struct snapshot_file **chain, int n,
			bool *denied, char *err, size_t errlen);
/* wait until all is there; 0 or -EIO, when the file could not be read */
int lazy_wait(struct lazy *lazy);
/* give up what is not there yet: no vCPU and no device is left. NULL is fine */
void lazy_stop(struct lazy *lazy);

#endif
