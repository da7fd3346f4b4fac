/* SPDX-License-Identifier: GPL-2.0 */
/* The command line of vmmd: every value is checked here or where it is used. */
#ifndef VMMD_OPTIONS_H
#define VMMD_OPTIONS_H

#include <stddef.h>

#include "vm.h"

#define VMMD_VERSION		"0.1"

#define OPTIONS_MEMORY		(512ULL << 20)
/* SeaBIOS, GRUB and their tables work in 8 MiB; no Linux in less than this */
#define OPTIONS_MEMORY_MIN	(16ULL << 20)
#define OPTIONS_MEMORY_MAX	(1ULL << 46)
#define OPTIONS_CPUS_MAX	64
#define OPTIONS_QUEUES_MAX	16
#define OPTIONS_GRACE		30
#define OPTIONS_GRACE_MAX	86400
#define OPTIONS_FIRMWARE	"/usr/share/seabios/bios-256k.bin"
#define OPTIONS_APPEND		"console=ttyS0"

enum options_verdict {
	OPTIONS_RUN,		/* *opt is what to run */
	OPTIONS_HELP,		/* vmmd --help */
	OPTIONS_RUN_HELP,	/* vmmd run --help */
	OPTIONS_VERSION,
	OPTIONS_BAD,		/* err[] has one line */
};

/* strings in *opt point into argv; argv is permuted as getopt_long does */
enum options_verdict options_parse(int argc, char **argv,
				   struct vm_options *opt, char *err,
				   size_t errlen);

extern const char options_help[];
extern const char options_run_help[];

#endif
