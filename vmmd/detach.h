/* SPDX-License-Identifier: GPL-2.0 */
/* --detach: the machine goes on in the background, and whoever began it is told. */
#ifndef VMMD_DETACH_H
#define VMMD_DETACH_H

#include <stdbool.h>

struct vm_options;

/*
 * Before any thread is. In the child, which is to be the machine: 0, and *fd for
 * detach_ready. In the parent 1 when that was called or the child has ended, with
 * the exit status. -errno.
 */
int detach_begin(int *fd, int *status);
/*
 * The same if the options say so. true: nothing is to be run in this process, and
 * *status is its exit status.
 */
bool detach_wanted(struct vm_options *opt, int *status);
/*
 * The machine is made: the terminal and pipes are let go of, standard error too
 * unless it is a file, and the parent returns. false: it has gone.
 */
bool detach_ready(int fd);

#endif
