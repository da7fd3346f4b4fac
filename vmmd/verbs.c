// SPDX-License-Identifier: GPL-2.0
#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "value.h"
#include "verbs.h"
#include "vm.h"

#define OPTIONS_MAX	16
#define FIRST		256		/* above every character */

static const struct verb *const verbs[] = {
	&verb_list, &verb_info, &verb_pause, &verb_resume, &verb_stop,
	&verb_kill, &verb_console, &verb_overlay, &verb_features,
	&verb_snapshot, &verb_restore, &verb_clone,
	&verb_migrate, &verb_migrate_cancel, &verb_receive,
};

const struct verb *verbs_find(const char *name)
{
	size_t i;

	for (i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++)
		if (!strcmp(verbs[i]->name, name))
			return verbs[i];
	return NULL;
}

static int help(const struct verb *verb)
{
	if (fputs(verb->help, stdout) < 0 || fflush(stdout)) {
		perror("vmmd: cannot write to standard output");
		return VM_EXIT_ERROR;
	}
	return VM_EXIT_OK;
}

static int bad_option(const struct verb *verb, int c, char **argv)
{
	if (c == ':')
		fprintf(stderr, "vmmd: %s wants a value, found none\n",
			argv[optind - 1]);
	else if (optopt > 0 && optopt < FIRST)
		fprintf(stderr, "vmmd: unknown option '-%c': see vmmd %s --help\n",
			optopt, verb->name);
	else
		fprintf(stderr, "vmmd: %s option '%s': see vmmd %s --help\n",
			optopt ? "no value is wanted by" : "unknown",
			argv[optind - 1], verb->name);
	return VM_EXIT_USAGE;
}

int verb_options(const struct verb *verb, int argc, char **argv,
		 const struct verb_option *options, const char *wanted,
		 unsigned int n, const char **operands)
{
	struct option lo[OPTIONS_MAX + 2] = { { "help", no_argument, NULL, 'h' } };
	unsigned int i, found;
	int c;

	for (i = 0; options && options[i].name && i < OPTIONS_MAX; i++)
		lo[i + 1] = (struct option){
			options[i].name,
			options[i].value ? required_argument : no_argument,
			NULL, FIRST + i,
		};
	opterr = 0;
	optind = 0;		/* GNU: start anew */
	while ((c = getopt_long(argc, argv, ":h", lo, NULL)) != -1) {
		if (c == 'h')
			return help(verb);
		if (c < FIRST)
			return bad_option(verb, c, argv);
		if (options[c - FIRST].value)
			*options[c - FIRST].value = optarg;
		else
			*options[c - FIRST].flag = true;
	}
	found = argc - optind;
	if (found != n) {
		const char *more = found > n ? argv[optind + n] : NULL;

		fprintf(stderr, "vmmd: %s wants %s, found %s%s%s: see vmmd %s --help\n",
			verb->name, n ? wanted : "no operand", more ? "'" : "",
			more ? more : found ? "too few" : "none",
			more ? "' as well" : "", verb->name);
		return VM_EXIT_USAGE;
	}
	for (i = 0; i < n; i++)
		operands[i] = argv[optind + i];
	return -1;
}

bool verb_number(const struct verb *verb, const char *option, const char *s,
		 uint64_t min, uint64_t max, uint64_t *out)
{
	if (value_number(s, strlen(s), min, max, out))
		return true;
	fprintf(stderr, "vmmd: %s %s wants a number from %llu to %llu, found '%s'\n",
		verb->name, option, (unsigned long long)min,
		(unsigned long long)max, s);
	return false;
}
