/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A machine's options as text, for options_parse() of another vmmd: those that
 * make the machine what the guest sees, and those of the host's side that have a
 * meaning elsewhere. The disk is not among them, nor the console and files that
 * are written to.
 */
#ifndef VMMD_OPTIONS_TEXT_H
#define VMMD_OPTIONS_TEXT_H

#include <stddef.h>

struct vm_options;

/* strings one after the other, each with its 0; how many bytes. buf NULL: just that */
size_t options_text(const struct vm_options *opt, char *buf, size_t max);

#endif
