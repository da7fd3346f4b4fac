/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The terminal that is standard input: raw while a guest has it, with Ctrl-A for
 * commands to us. Its old mode comes back on every way out that a process has,
 * SIGKILL apart.
 */
#ifndef VMMD_TERMINAL_H
#define VMMD_TERMINAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* standard input is a terminal, and we are not in its background */
bool terminal_ours(void);
void terminal_raw(void);
void terminal_restore(void);		/* async-signal-safe */

struct terminal_keys {
	void (*command)(void *owner, uint8_t key);	/* what follows Ctrl-A */
	void *owner;
	bool escaped;			/* the last key was Ctrl-A */
};

/* take the commands out of what was typed; what is left, in place */
size_t terminal_filter(struct terminal_keys *keys, uint8_t *buf, size_t len);

#endif
