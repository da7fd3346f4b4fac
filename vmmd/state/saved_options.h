/* SPDX-License-Identifier: GPL-2.0 */
/* The options of a VM that is made from a state: the state's and the user's. */
#ifndef VMMD_STATE_SAVED_OPTIONS_H
#define VMMD_STATE_SAVED_OPTIONS_H

#include <stddef.h>

#include "state/vmstate.h"
#include "vm.h"

struct saved_options {
	const struct vmstate *state;
	const char *name;		/* where it came from, for reports */
	struct vm_options opt;		/* strings are in state and in argv */
	char **argv;			/* private */
};

/*
 * Make s->opt, for a VM that goes on from s->state, of its options and the argc
 * ones given here, which are of the host's side only; disk NULL: it has none. 0,
 * or an enum vm_exit with one line in err[].
 */
int saved_options_take(struct saved_options *s, const char *disk, int argc,
		       char **argv, char *err, size_t errlen);
void saved_options_free(struct saved_options *s);

#endif
