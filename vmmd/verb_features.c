// SPDX-License-Identifier: GPL-2.0
#include <stdio.h>
#include <string.h>

#include "api.h"
#include "features.h"
#include "verbs.h"
#include "vm.h"

static int features_main(const struct verb *verb, int argc, char **argv)
{
	static struct vmm_cpuid_entry supported[VMM_MAX_CPUID];
	struct api_vm vm = { .dev = -1, .fd = -1 };
	uint32_t count = VMM_MAX_CPUID;
	char err[512];
	int ret = verb_options(verb, argc, argv, NULL, "nothing", 0, NULL);

	if (ret >= 0)
		return ret;
	if (api_open(&vm, err, sizeof(err))) {
		fprintf(stderr, "vmmd: %s\n", err);
		return VM_EXIT_ERROR;
	}
	ret = api_get_cpuid(&vm, supported, &count);
	api_close(&vm);
	if (!ret)
		ret = features_print(stdout, supported, count);
	if (!ret && !fflush(stdout))
		return VM_EXIT_OK;
	fprintf(stderr, "vmmd: cannot tell this host's features: %s\n", strerror(-ret));
	return VM_EXIT_ERROR;
}

const struct verb verb_features = {
	.name = "features",
	.help =
"usage: vmmd features\n"
"\n"
"Print the CPU features that a guest can be given here, one a line: where it is in\n"
"CPUID, and its name. A machine that is to move to another host is begun with vmmd run\n"
"--features FILE, where FILE is what that host prints: it is given what both have.\n"
"\n"
"Exit status: 0, 1 error, 2 usage.\n",
	.main = features_main,
};
