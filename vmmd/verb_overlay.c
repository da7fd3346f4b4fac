// SPDX-License-Identifier: GPL-2.0
#include <stdio.h>

#include "block/block.h"
#include "verbs.h"
#include "vm.h"

static int overlay_main(const struct verb *verb, int argc, char **argv)
{
	const char *name[2];
	char err[1024];
	int ret = verb_options(verb, argc, argv, NULL, "BASE and TOP", 2, name);

	if (ret >= 0)
		return ret;
	if (!block_overlay_create(name[1], name[0], err, sizeof(err)))
		return VM_EXIT_OK;
	fprintf(stderr, "vmmd: %s\n", err);
	return VM_EXIT_ERROR;
}

const struct verb verb_overlay = {
	.name = "overlay",
	.help =
"usage: vmmd overlay BASE TOP\n"
"\n"
"Make the file TOP, a disk that begins as a copy of BASE, a raw image, a block\n"
"device or another overlay, and has only what is written to it. BASE must stay\n"
"as it is as long as TOP is in use. See vmmd-overlay(5).\n"
"\n"
"Exit status: 0, 1 error, 2 usage.\n",
	.main = overlay_main,
};
