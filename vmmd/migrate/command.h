/* SPDX-License-Identifier: GPL-2.0 */
#ifndef VMMD_MIGRATE_COMMAND_H
#define VMMD_MIGRATE_COMMAND_H

#include "control/control.h"

void cmd_migrate(struct vm *vm, json_t *args, struct control_call *call);
void cmd_migrate_cancel(struct vm *vm, json_t *args, struct control_call *call);

#endif
