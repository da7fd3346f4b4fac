// SPDX-License-Identifier: GPL-2.0
/* vmmd overlay BASE TOP */
#include <stdio.h>
#include <string.h>

#include "block/block.h"
#include "verb_overlay.h"
#include "vm.h"

static const char help[] =
"usage: vmmd overlay BASE TOP\n"
"\n"
"Make the file TOP, a disk that begins as a copy of BASE, a raw image, a block\n"
"device or another overlay, and has only what is written to it. BASE must stay\n"
"as it is as long as TOP is in use. See vmmd-overlay(5).\n"
"\n"
"Exit status: 0, 1 error, 2 usage.\n";

int verb_overlay(int argc, char **argv)
{
	char err[1024];
	int i;

	for (i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h")) {
			if (fputs(help, stdout) < 0 || fflush(stdout)) {
				perror("vmmd: cannot write to standard output");
				return VM_EXIT_ERROR;
			}
			return VM_EXIT_OK;
		}
		if (argv[i][0] == '-' && argv[i][1]) {
			fprintf(stderr, "vmmd: overlay has no option '%s': see vmmd overlay --help\n",
				argv[i]);
			return VM_EXIT_USAGE;
		}
	}
	if (argc != 3) {
		fprintf(stderr, "vmmd: overlay wants a base and the file to make, found %d names: vmmd overlay BASE TOP\n",
			argc - 1);
		return VM_EXIT_USAGE;
	}
	if (!block_overlay_create(argv[2], argv[1], err, sizeof(err)))
		return VM_EXIT_OK;
	fprintf(stderr, "vmmd: %s\n", err);
	return VM_EXIT_ERROR;
}
