/* SPDX-License-Identifier: GPL-2.0 */
#ifndef VMMD_SNAPSHOT_COMMAND_H
#define VMMD_SNAPSHOT_COMMAND_H

#include "control/control.h"

void cmd_snapshot(struct vm *vm, json_t *args, struct control_call *call);

#endif
