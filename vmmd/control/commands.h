/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A VM under its name: the control socket's life beside the VM's, and the
 * commands that need nothing but the VM.
 */
#ifndef VMMD_COMMANDS_H
#define VMMD_COMMANDS_H

#include <stddef.h>

struct vm;

/*
 * Take the name. 0 also if there is no way to have one, which is told on stderr:
 * vm->control stays NULL, then. -errno with a line in err[]: it is taken.
 */
int commands_name(struct vm *vm, char *err, size_t errlen);
/* listen; before the first run, machine and vCPUs are there. 0, or as above */
int commands_open(struct vm *vm);
/* after the loop's end, and before the machine's */
void commands_detach(struct vm *vm);
/* last of all but the loop: whoever waited for the end is told its code */
void commands_close(struct vm *vm, int code);

#endif
