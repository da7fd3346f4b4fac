// SPDX-License-Identifier: GPL-2.0
/*
 * What the guest sees of the machine is the state's, and cannot be changed by
 * options.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "options.h"
#include "options_text.h"
#include "state/saved_options.h"

#define ARGS_MAX	96

/* those that are given replace the saved ones, which may be in use elsewhere by now */
static bool forwards(int argc, char **argv)
{
	while (argc-- > 0)
		if (!strncmp(argv[argc], "--fo", 4))
			return true;
	return false;
}

/* run SAVED... GIVEN... [DISK] */
static int make_argv(struct saved_options *s, const char *disk, int argc, char **argv)
{
	const struct vmstate *st = s->state;
	int n = 0, i;
	size_t at;

	free(s->argv);
	s->argv = calloc(ARGS_MAX + 1, sizeof(*s->argv));
	if (!s->argv)
		return -1;
	s->argv[n++] = (char *)"vmmd";
	s->argv[n++] = (char *)"run";
	/* st->text ends with a 0 of ours, whatever is in it */
	for (at = 0; at < st->text_len && n < ARGS_MAX; at += strlen(st->text + at) + 1)
		s->argv[n++] = st->text + at;
	if (forwards(argc, argv) && n < ARGS_MAX)
		s->argv[n++] = (char *)"--forward=none";
	for (i = 0; i < argc && n < ARGS_MAX; i++)
		s->argv[n++] = argv[i];
	if (disk && n < ARGS_MAX)
		s->argv[n++] = (char *)disk;
	return n;
}

/* what the options say of the machine alone */
static char *machine_text(const struct vm_options *opt, size_t *len)
{
	struct vm_options o = *opt;

	o.config.name = NULL;
	o.config.nforward = 0;
	o.config.disk_direct = false;
	o.config.tap = "";
	o.grace = 0;
	o.on_crash = ON_CRASH_RESET;
	return options_text(&o, len);
}

/* options that would make another machine of it are refused */
static int check_given(const struct saved_options *s, const struct vm_options *saved,
		       char *err, size_t errlen)
{
	size_t a_len, b_len, at, n;
	char *a = machine_text(saved, &a_len), *b = machine_text(&s->opt, &b_len);
	int ret = -ENOMEM;

	snprintf(err, errlen, "out of memory");
	if (!a || !b)
		goto out;
	ret = 0;
	/* not among the options that are saved, where they are the usual ones */
	if (s->opt.no_pv || s->opt.features || strcmp(s->opt.config.firmware, saved->config.firmware)) {
		snprintf(err, errlen, "%s: what %s does was done when the machine began, and cannot be changed",
			 s->name, s->opt.no_pv ? "--no-pv" :
			 s->opt.features ? "--features" : "--firmware");
		ret = -EINVAL;
	}
	for (at = 0; !ret && at < b_len; at += n) {
		n = strlen(b + at) + 1;
		if (at + n <= a_len && !memcmp(a + at, b + at, n))
			continue;
		snprintf(err, errlen, "%s: the machine was saved with other options than %s: they cannot be changed",
			 s->name, b + at);
		ret = -EINVAL;
	}
out:
	free(a);
	free(b);
	return ret;
}

int saved_options_take(struct saved_options *s, const char *disk, int argc,
		       char **argv, char *err, size_t errlen)
{
	const struct vmstate *st = s->state;
	const char *alien = options_text_alien(st->text, st->text_len);
	struct vm_options saved;
	int n;

	if (alien) {
		snprintf(err, errlen, "%s: section \"options\" has '%s', which is none of those that a saved machine may bring",
			 s->name, section_name_ok(alien) ? alien : "something");
		return VM_EXIT_ERROR;
	}
	n = make_argv(s, disk, 0, NULL);
	if (n > 0 && options_parse(n, s->argv, &saved, err, errlen) != OPTIONS_RUN) {
		char why[256];

		snprintf(why, sizeof(why), "%s", err);
		snprintf(err, errlen, "%s: section \"options\": %s", s->name, why);
		return VM_EXIT_ERROR;
	}
	/* getopt puts the operands last: anew */
	n = make_argv(s, disk, argc, argv);
	if (n < 0) {
		snprintf(err, errlen, "out of memory");
		return VM_EXIT_ERROR;
	}
	if (options_parse(n, s->argv, &s->opt, err, errlen) != OPTIONS_RUN ||
	    check_given(s, &saved, err, errlen))
		return VM_EXIT_USAGE;
	if (s->opt.config.cpus != st->ident.vcpus) {
		snprintf(err, errlen, "%s: has %u vCPUs, but its options say %u",
			 s->name, st->ident.vcpus, s->opt.config.cpus);
		return VM_EXIT_ERROR;
	}
	s->opt.config.incoming = true;
	s->opt.config.memory_fd = -1;
	s->opt.config.firmware_image = st->firmware;
	s->opt.config.firmware_size = st->firmware_size;
	s->opt.state = st;
	return 0;
}

void saved_options_free(struct saved_options *s)
{
	free(s->argv);
	s->argv = NULL;
}
