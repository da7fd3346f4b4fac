// SPDX-License-Identifier: GPL-2.0
/*
 * A snapshot's disk is never written to: the VM gets an overlay over it.
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
#include "snapshot/file.h"
#include "snapshot/lazy.h"
#include "snapshot/restore.h"
#include "state/pages.h"

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

/* there may be pages among it, which the index has */
int restore_state(struct snapshot_file *f, struct vm *vm, char *err, size_t errlen)
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
		ret = restore_state(f, vm, err, errlen);
	r->started = !ret;
	return ret;
}

/* ---- the disk ------------------------------------------------------------- */

static int make_disk(struct restore *r, const char *file, char *err, size_t errlen)
{
	char *base;
	int ret;

	if (r->disk)
		r->disk_path = strdup(r->disk);
	else if (asprintf(&r->disk_path, "%s.%s-disk", r->file, r->saved.opt.config.name) < 0)
		r->disk_path = NULL;
	base = snapshot_beside(r->file, file);
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
	struct snapshot_disk d;
	char err[768] = "";
	int ret;

	r->n = snapshot_open_chain(r->file, r->chain, err, sizeof(err));
	if (r->n < 0) {
		r->n = 0;
		return told(err, VM_EXIT_ERROR);
	}
	f = r->chain[0];
	r->saved.state = &f->state;
	r->saved.name = f->path;
	if (snapshot_find_disk(f, &d, err, sizeof(err)))
		return told(err, VM_EXIT_ERROR);
	/* a name for what is to be made yet, and has the machine's name in its own */
	ret = saved_options_take(&r->saved, d.file[0] ? "disk" : NULL, argc, argv, err,
				 sizeof(err));
	if (ret)
		return told(err, ret);
	if (d.file[0] && make_disk(r, d.file, err, sizeof(err)))
		return told(err, VM_EXIT_ERROR);
	r->saved.opt.config.disk = r->disk_path;
	r->saved.opt.config.memory_fd = r->memory_fd;
	r->saved.opt.load = restore_load;
	r->saved.opt.load_owner = r;
	return 0;
}

struct vm_options *restore_options(struct restore *r)
{
	return &r->saved.opt;
}

void restore_end(struct restore *r)
{
	if (r->disk_made && (r->discard_disk || !r->started))
		unlink(r->disk_path);
	snapshot_close_chain(r->chain, r->n);
	saved_options_free(&r->saved);
	free(r->disk_path);
}
