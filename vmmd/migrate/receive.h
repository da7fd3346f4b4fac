/* SPDX-License-Identifier: GPL-2.0 */
/* A VM that comes from another vmmd. */
#ifndef VMMD_MIGRATE_RECEIVE_H
#define VMMD_MIGRATE_RECEIVE_H

#include <stdbool.h>

#include "migrate/channel.h"

/*
 * Wait for a VM, whose disk is there or, NULL, where it was at the source, with the argc options of run that are given for it here, and run it
 * to its end; enum vm_exit, errors are on stderr.
 */
int receive_vm(const struct address *at, const struct channel_opts *o, const char *disk,
	       int argc, char **argv);

#endif
