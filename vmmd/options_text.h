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

/* strings one after the other, each with its 0, for free(); NULL: no memory */
char *options_text(const struct vm_options *opt, size_t *len);
/*
 * Where text that came from elsewhere has what options_text never writes, such as
 * a file to be written to; NULL: nowhere. Behind its len bytes there is a 0 more.
 */
const char *options_text_alien(const char *text, size_t len);
/* names of the options that options_text writes, NULL behind the last */
extern const char *const options_text_carried[];

#endif
