/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The commands of vmmd beside "run": each is a row with its help text and its
 * main, and looks at its own options.
 */
#ifndef VMMD_VERBS_H
#define VMMD_VERBS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct verb {
	const char *name;
	const char *help;		/* of --help; begins with "usage: " */
	/* argv[0] is the verb; the exit status, enum vm_exit */
	int (*main)(const struct verb *verb, int argc, char **argv);
};

const struct verb *verbs_find(const char *name);	/* or NULL */

/* ---- for their mains ------------------------------------------------------ */

/* one of the two is set: `flag` becomes true, `value` what was given */
struct verb_option {
	const char *name;
	bool *flag;
	const char **value;
};

/*
 * Take apart what follows the verb: options, a NULL name at their end, and
 * exactly n operands, whose names `wanted` has for the error. -1: go on; else
 * the exit status, all is said.
 */
int verb_options(const struct verb *verb, int argc, char **argv,
		 const struct verb_option *options, const char *wanted,
		 unsigned int n, const char **operands);
/* a main that asks the machine NAME what is called as the verb */
int verb_ask_main(const struct verb *verb, int argc, char **argv);
/* a number in [min, max]; false: that was told, the exit status is 2 */
bool verb_number(const struct verb *verb, const char *option, const char *s,
		 uint64_t min, uint64_t max, uint64_t *out);

extern const struct verb verb_overlay, verb_features;

/* snapshot/verbs.c */
extern const struct verb verb_snapshot, verb_restore, verb_clone;

/* migrate/verbs.c */
extern const struct verb verb_migrate, verb_migrate_cancel, verb_receive;

/* control/verbs_*.c */
extern const struct verb verb_list, verb_info, verb_pause, verb_resume,
	verb_stop, verb_kill, verb_console;

#endif
