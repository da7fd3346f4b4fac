// SPDX-License-Identifier: GPL-2.0
/*
 * A snapshot's disk is never written to: the VM gets an overlay over it. What the
 * guest sees of the machine is the snapshot's and cannot be changed by options.
 */
#define _GNU_SOURCE 1		/* asprintf */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "block/block.h"
#include "machine.h"
#include "mem.h"
#include "options.h"
#include "options_text.h"
#include "snapshot/file.h"
#include "snapshot/lazy.h"
#include "snapshot/restore.h"
#include "state/pages.h"

#define ARGS_MAX	96

/* ---- memory, all at once -------------------------------------------------- */

/* where a guest address is; NULL: not all of it in RAM */
typedef uint8_t *(*place_fn)(void *owner, uint64_t gpa, uint64_t len);

struct fill {
	struct snapshot_file *f;
	struct pages_coder *coder;
	uint8_t *buf;
	uint64_t have;		/* offset of the section that is in buf */
	uint32_t n;		/* and its pages */
	place_fn place;
	void *owner;
};

static int fill_run(struct fill *l, const struct snapshot_run *run, char *err,
		    size_t errlen)
{
	uint64_t len = run->count * PAGES_SIZE;
	uint8_t *to;
	int ret;

	to = l->place(l->owner, run->gpa, len);
	if (!to) {
		snprintf(err, errlen, "%s: its index names pages that are not in RAM",
			 l->f->path);
		return -EBADMSG;
	}
	if (l->have != run->offset) {
		ret = snapshot_read_pages(l->f, l->coder, run, l->buf, &l->n,
					  err, errlen);
		if (ret)
			return ret;
		l->have = run->offset;
	}
	if (run->first + run->count > l->n) {
		snprintf(err, errlen, "%s: its index names more pages than there are in a section",
			 l->f->path);
		return -EBADMSG;
	}
	memcpy(to, l->buf + run->first * PAGES_SIZE, len);
	return 0;
}

/* the oldest first, what is younger replaces it */
static int fill_memory(struct snapshot_file **chain, int n, place_fn place,
		       void *owner, char *err, size_t errlen)
{
	struct fill l = {
		.coder = pages_coder_new(), .buf = malloc(PAGES_BYTES),
		.place = place, .owner = owner,
	};
	uint64_t i;
	int ret = l.coder && l.buf ? 0 : -ENOMEM;

	if (ret)
		snprintf(err, errlen, "out of memory");
	while (!ret && n-- > 0) {
		l.f = chain[n];
		l.have = UINT64_MAX;
		for (i = 0; !ret && i < l.f->nruns; i++)
			ret = fill_run(&l, &l.f->run[i], err, errlen);
	}
	pages_coder_free(l.coder);
	free(l.buf);
	return ret;
}

static uint8_t *place_in_guest(void *owner, uint64_t gpa, uint64_t len)
{
	return mem_ptr(owner, gpa, len);
}

struct flat {
	const struct vmstate *st;
	uint8_t *memory;
	size_t size;
};

static uint8_t *place_in_flat(void *owner, uint64_t gpa, uint64_t len)
{
	const struct flat *m = owner;
	uint64_t at = 0;
	unsigned int i;

	for (i = 0; i < m->st->nranges; i++) {
		const struct state_range *r = &m->st->range[i];

		if (r->rom)
			continue;
		if (gpa >= r->gpa && gpa - r->gpa < r->size)
			return len <= r->size - (gpa - r->gpa) &&
			       at + (gpa - r->gpa) + len <= m->size ?
			       m->memory + at + (gpa - r->gpa) : NULL;
		at += r->size;
	}
	return NULL;
}

int restore_memory(struct snapshot_file **chain, int n, void *memory, size_t size,
		   char *err, size_t errlen)
{
	struct flat m = { &chain[0]->state, memory, size };

	return fill_memory(chain, n, place_in_flat, &m, err, errlen);
}

/* ---- the state ------------------------------------------------------------ */

static int load_pages(struct restore *r, struct vm *vm, char *err, size_t errlen)
{
	bool denied;

	if (r->memory_fd >= 0)
		return 0;	/* it is there */
	if (!r->eager && !vm->opt->config.hugepages) {
		vm->lazy = lazy_start(vm, r->chain, r->n, &denied, err, errlen);
		if (vm->lazy || !denied)
			return vm->lazy ? 0 : -EIO;
		fprintf(stderr, "vmmd: %s; it is loaded before the guest runs (may this user open /dev/userfaultfd?)\n",
			err);
	}
	return fill_memory(r->chain, r->n, place_in_guest, machine_mem(vm->machine),
			   err, errlen);
}

/* what comes behind the pages, and pages among it, which the index has */
static int load_rest(struct snapshot_file *f, struct vm *vm, char *err, size_t errlen)
{
	struct vmstate_loader l = { .vm = vm };
	struct source *in = &f->in;
	int ret = 0;

	snapshot_seek(f, f->trailer.state, f->trailer.state_number);
	while (!ret && !l.ended) {
		ret = section_next(in, err, errlen);
		if (ret)
			break;
		if (section_is(in, PAGES_TAG) || section_is(in, SNAPSHOT_DISK))
			f->reader.at += in->head.len;
		else
			ret = vmstate_load(&l, in, err, errlen);
	}
	return ret ? ret : vmstate_load_done(&l, f->path, err, errlen);
}

static int restore_load(struct vm *vm, void *owner, char *err, size_t errlen)
{
	struct restore *r = owner;
	struct snapshot_file *f = r->chain[0];
	int ret;

	ret = vmstate_check_memory(&f->state, machine_mem(vm->machine), f->path,
				   err, errlen);
	if (!ret)
		ret = load_pages(r, vm, err, errlen);
	if (!ret)
		ret = load_rest(f, vm, err, errlen);
	r->started = !ret;
	return ret;
}

/* ---- options -------------------------------------------------------------- */

/* run [DISK] SAVED... GIVEN... */
static int make_argv(struct restore *r, const char *disk, int argc, char **argv)
{
	const struct vmstate *st = &r->chain[0]->state;
	int n = 0, i;
	size_t at;

	free(r->argv);
	r->argv = calloc(ARGS_MAX + 1, sizeof(*r->argv));
	if (!r->argv)
		return -1;
	r->argv[n++] = (char *)"vmmd";
	r->argv[n++] = (char *)"run";
	/* st->text ends with a 0 of ours, whatever is in it */
	for (at = 0; at < st->text_len && n < ARGS_MAX; at += strlen(st->text + at) + 1)
		r->argv[n++] = st->text + at;
	for (i = 0; i < argc && n < ARGS_MAX; i++)
		r->argv[n++] = argv[i];
	if (disk && n < ARGS_MAX)
		r->argv[n++] = (char *)disk;
	return n;
}

/* what the options say of the machine alone */
static char *machine_text(const struct vm_options *opt, size_t *len)
{
	struct vm_options o = *opt;
	char *text;

	o.config.name = NULL;
	o.config.nforward = 0;
	o.config.disk_direct = false;
	o.config.tap = "";
	o.grace = 0;
	o.on_crash = ON_CRASH_RESET;
	*len = options_text(&o, NULL, 0);
	text = malloc(*len);
	if (text)
		options_text(&o, text, *len);
	return text;
}

/* options that would make another machine of it are refused */
static int check_given(struct restore *r, const struct vm_options *saved, char *err,
		       size_t errlen)
{
	size_t a_len, b_len, at, n;
	char *a = machine_text(saved, &a_len), *b = machine_text(&r->opt, &b_len);
	int ret = -ENOMEM;

	snprintf(err, errlen, "out of memory");
	if (!a || !b)
		goto out;
	ret = 0;
	for (at = 0; at < b_len; at += n) {
		n = strlen(b + at) + 1;
		if (at + n <= a_len && !memcmp(a + at, b + at, n))
			continue;
		snprintf(err, errlen, "%s: the snapshot's machine has other options than %s: they cannot be changed",
			 r->file, b + at);
		ret = -EINVAL;
		break;
	}
out:
	free(a);
	free(b);
	return ret;
}

static int parse(struct restore *r, const char *disk, int argc, char **argv,
		 char *err, size_t errlen)
{
	const struct vmstate *st = &r->chain[0]->state;
	const char *alien = options_text_alien(st->text, st->text_len);
	struct vm_options saved;
	int n;

	if (alien) {
		snprintf(err, errlen, "%s: section \"options\" has '%s', which is none of those that a snapshot may bring",
			 r->file, section_name_ok(alien) ? alien : "something");
		return VM_EXIT_ERROR;
	}
	n = make_argv(r, disk, 0, NULL);
	if (n > 0 && options_parse(n, r->argv, &saved, err, errlen) != OPTIONS_RUN) {
		char why[256];

		snprintf(why, sizeof(why), "%s", err);
		snprintf(err, errlen, "%s: section \"options\": %s", r->file, why);
		return VM_EXIT_ERROR;
	}
	/* getopt puts the operands last: anew */
	n = make_argv(r, disk, argc, argv);
	if (n < 0) {
		snprintf(err, errlen, "out of memory");
		return VM_EXIT_ERROR;
	}
	if (options_parse(n, r->argv, &r->opt, err, errlen) != OPTIONS_RUN ||
	    check_given(r, &saved, err, errlen))
		return VM_EXIT_USAGE;
	return 0;
}

/* ---- the disk ------------------------------------------------------------- */

static int make_disk(struct restore *r, char *err, size_t errlen)
{
	struct snapshot_disk d;
	char *base;
	int ret;

	ret = snapshot_find_disk(r->chain[0], &d, err, errlen);
	if (ret || !d.file[0])
		return ret;
	if (r->disk)
		r->disk_path = strdup(r->disk);
	else if (asprintf(&r->disk_path, "%s.%s-disk", r->file, r->opt.config.name) < 0)
		r->disk_path = NULL;
	base = snapshot_beside(r->file, d.file);
	if (!base || !r->disk_path) {
		snprintf(err, errlen, "out of memory");
		ret = -ENOMEM;
	} else {
		ret = block_overlay_create(r->disk_path, base, err, errlen);
		r->disk_made = !ret;
	}
	free(base);
	return ret;
}

/* ---- all ------------------------------------------------------------------ */

static int told(const char *err, int status)
{
	fprintf(stderr, "vmmd: %s\n", err);
	return status;
}

int restore_begin(struct restore *r, int argc, char **argv)
{
	struct snapshot_file *f;
	char err[768] = "";
	int ret;

	r->n = snapshot_open_chain(r->file, r->chain, err, sizeof(err));
	if (r->n < 0) {
		r->n = 0;
		return told(err, VM_EXIT_ERROR);
	}
	f = r->chain[0];
	/* a name for what is to be made yet */
	ret = parse(r, "disk", argc, argv, err, sizeof(err));
	if (ret)
		return told(err, ret);
	if (make_disk(r, err, sizeof(err)))
		return told(err, VM_EXIT_ERROR);
	ret = parse(r, r->disk_path, argc, argv, err, sizeof(err));
	if (ret)
		return told(err, ret);
	if (r->opt.config.cpus != f->state.ident.vcpus) {
		snprintf(err, sizeof(err), "%s: has %u vCPUs, but its options say %u",
			 r->file, f->state.ident.vcpus, r->opt.config.cpus);
		return told(err, VM_EXIT_ERROR);
	}
	r->opt.config.incoming = true;
	r->opt.config.memory_fd = r->memory_fd;
	r->opt.config.firmware_image = f->state.firmware;
	r->opt.config.firmware_size = f->state.firmware_size;
	r->opt.state = &f->state;
	r->opt.load = restore_load;
	r->opt.load_owner = r;
	return 0;
}

struct vm_options *restore_options(struct restore *r)
{
	return &r->opt;
}

void restore_end(struct restore *r)
{
	if (r->disk_made && (r->discard_disk || !r->started))
		unlink(r->disk_path);
	snapshot_close_chain(r->chain, r->n);
	free(r->argv);
	free(r->disk_path);
}
