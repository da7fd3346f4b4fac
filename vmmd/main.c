// SPDX-License-Identifier: GPL-2.0
#include <stdio.h>
#include <string.h>

#include "detach.h"
#include "options.h"
#include "verbs.h"
#include "vm.h"

static int print(const char *text)
{
	if (fputs(text, stdout) < 0 || fflush(stdout)) {
		perror("vmmd: cannot write to standard output");
		return VM_EXIT_ERROR;
	}
	return VM_EXIT_OK;
}

static int run(struct vm_options *opt)
{
	int status;

	return detach_wanted(opt, &status) ? status : vm_run(opt);
}

int main(int argc, char **argv)
{
	const struct verb *verb = argc > 1 ? verbs_find(argv[1]) : NULL;
	struct vm_options opt;
	char err[512];

	if (verb)
		return verb->main(verb, argc - 1, argv + 1);
	verb = argc > 2 && !strcmp(argv[1], "help") ? verbs_find(argv[2]) : NULL;
	if (verb)
		return print(verb->help);
	switch (options_parse(argc, argv, &opt, err, sizeof(err))) {
	case OPTIONS_HELP:
		return print(options_help);
	case OPTIONS_RUN_HELP:
		return print(options_run_help);
	case OPTIONS_VERSION:
		return print("vmmd " VMMD_VERSION "\n");
	case OPTIONS_BAD:
		fprintf(stderr, "vmmd: %s\n", err);
		return VM_EXIT_USAGE;
	case OPTIONS_RUN:
		break;
	}
	return run(&opt);
}
