// SPDX-License-Identifier: GPL-2.0
/*
 * Saving a running VM, by a thread of its own. The guest runs while its memory is
 * written, in rounds, until little of it is dirty; then it is paused for as long
 * as it takes to copy that, its registers and its devices' state to memory of
 * ours, and to begin a copy of the disk. All that is written when it runs again.
 *
 * A difference begins with what was written since the last snapshot: tracking
 * goes on in between. When a save fails half way, what it has harvested is known
 * to nobody any more, and the next one has to be a whole one.
 */
#define _GNU_SOURCE 1		/* asprintf, pthread_setname_np */
#include <errno.h>
#include <inttypes.h>
#include <libgen.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "block/block.h"
#include "loop.h"
#include "machine.h"
#include "mem.h"
#include "snapshot/lazy.h"
#include "snapshot/snapshot.h"
#include "snapshot/writer.h"
#include "state/buffer.h"
#include "state/ram.h"
#include "vm.h"

#define ROUNDS_MAX	6
#define LATE_PAGES	1024		/* few enough to copy while paused */
#define LATE_MAX	(1ULL << 18)	/* pages that are copied, and not written, then */

/* pages copied while paused */
struct late {
	uint8_t *data;
	uint64_t max, n;	/* pages */
	struct pages_head *run;
	uint64_t nruns;
};

struct snapshot_save {
	struct vm *vm;
	struct snapshot_opts opts;
	char *path;
	struct snapshot_writer w;
	struct ram *ram;
	struct state_ident ident;
	struct snapshot_parent parent;
	struct state_range range[STATE_RANGES];
	unsigned int nranges;
	struct buffer state;		/* sections */
	struct late late;
	uint64_t done, total;		/* pages, for progress */
	atomic_bool cancel;
	pthread_t thread;
	/* the disk's copy; lock */
	struct block_copy *copy;
	char *disk_path;
	char disk_file[SNAPSHOT_NAME_MAX + 1];
	bool disk_done;
	int disk_result;
	struct snapshot_result result;
};

static int __attribute__((format(printf, 3, 4)))
fail(struct snapshot_save *s, int ret, const char *fmt, ...)
{
	va_list ap;

	if (s->result.error)
		return ret;
	s->result.error = ret;
	va_start(ap, fmt);
	vsnprintf(s->result.text, sizeof(s->result.text), fmt, ap);
	va_end(ap);
	return ret;
}

/* the file cannot be written */
static int fail_file(struct snapshot_save *s, int ret)
{
	if (ret == -ECANCELED)
		return fail(s, ret, "the snapshot was given up");
	return fail(s, ret, "snapshot %s: %s; nothing was changed", s->path,
		    strerror(-ret));
}

/* ---- memory of ours ------------------------------------------------------- */

static int late_init(struct late *l, uint64_t pages)
{
	l->max = pages;
	l->run = malloc((pages + 1) * sizeof(*l->run));
	l->data = mmap(NULL, pages * PAGES_SIZE + 1, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	if (l->data == MAP_FAILED)
		l->data = NULL;
	return l->run && l->data ? 0 : -ENOMEM;
}

static void late_free(struct late *l)
{
	free(l->run);
	if (l->data)
		munmap(l->data, l->max * PAGES_SIZE + 1);
}

static int late_put(void *owner, uint64_t gpa, const void *data, uint32_t count)
{
	struct late *l = owner;

	if (l->n + count > l->max)
		return -E2BIG;
	memcpy(l->data + l->n * PAGES_SIZE, data, count * PAGES_SIZE);
	l->run[l->nruns++] = (struct pages_head){ .gpa = gpa, .count = count };
	l->n += count;
	return 0;
}

/* ---- rounds --------------------------------------------------------------- */

static int put_pages(void *owner, uint64_t gpa, const void *data, uint32_t count)
{
	struct snapshot_save *s = owner;
	int ret;

	if (atomic_load(&s->cancel))
		return -ECANCELED;
	ret = writer_pages(&s->w, gpa, data, count);
	s->done += count;
	if (!ret && s->opts.progress)
		s->opts.progress(s->opts.owner, s->done, s->total);
	return ret;
}

static int harvest(struct snapshot_save *s)
{
	int ret;

	pthread_mutex_lock(&s->vm->lock);
	ret = s->vm->ending ? -ESHUTDOWN : ram_harvest(s->ram);
	pthread_mutex_unlock(&s->vm->lock);
	return ret;
}

/* until so little is dirty that it can be copied in a moment */
static int send_rounds(struct snapshot_save *s)
{
	uint64_t before;
	unsigned int i;
	int ret = 0;

	s->total = ram_pending(s->ram);
	s->w.pages.skip_zero = !s->opts.diff;
	for (i = 0; !ret && i < ROUNDS_MAX; i++) {
		before = ram_pending(s->ram);
		ret = ram_send(s->ram, put_pages, s);
		s->w.pages.skip_zero = false;
		if (!ret)
			ret = harvest(s);
		s->total = s->done + ram_pending(s->ram);
		/* a guest that writes as fast as we do never comes to an end */
		if (ram_pending(s->ram) <= LATE_PAGES ||
		    ram_pending(s->ram) > before / 2)
			break;
	}
	return ret;
}

/* ---- the instant ---------------------------------------------------------- */

static void disk_copied(void *owner, int result)
{
	struct snapshot_save *s = owner;

	s->copy = NULL;
	s->disk_done = true;
	s->disk_result = result;
	pthread_cond_broadcast(&s->vm->changed);
}

/*
 * What is written from here on is the next difference's. NULL: it was not kept
 * track of; all of the disk is copied.
 */
static uint64_t *written_to_disk(struct snapshot_save *s, struct block *disk)
{
	uint64_t *set = block_harvest(disk);

	if (!set)
		block_track(disk, true);
	if (s->opts.diff && s->vm->last_snapshot.disk)
		return set;
	free(set);
	return NULL;
}

static int begin_disk(struct snapshot_save *s, struct sink *out)
{
	struct block *disk = machine_disk(s->vm->machine);
	struct block_copy_opts opts = { 0 };
	struct snapshot_disk d = { 0 };
	char err[256] = "";
	uint64_t *set;

	s->disk_done = true;
	if (!disk)
		return 0;
	s->disk_done = false;
	set = written_to_disk(s, disk);
	if (set) {
		opts.base = s->vm->last_snapshot.disk;
		opts.set = set;
	}
	s->copy = block_copy_start(disk, s->disk_path, &opts, disk_copied, s,
				   err, sizeof(err));
	free(set);
	if (!s->copy && !s->disk_done) {
		s->disk_done = true;	/* nothing to wait for */
		return fail(s, -EIO, "%s", err);
	}
	d.size = block_size(disk);
	memcpy(d.file, s->disk_file, sizeof(d.file));
	return section_put(out, SNAPSHOT_DISK, 1, &d, sizeof(d), NULL, 0);
}

static int put_state(struct snapshot_save *s)
{
	int ret = s->w.sink.write(s->w.sink.owner, s->state.data, s->state.len);

	s->state.len = 0;
	return ret;
}

/* lock held, paused: devices first, they write to memory until they are quiet */
static int take_instant(struct snapshot_save *s)
{
	struct sink out = {
		.write = buffer_write, .owner = &s->state,
		.number = s->w.sink.number,
	};
	uint64_t pending;
	int ret;

	ret = begin_disk(s, &out);
	if (!ret)
		ret = vmstate_save_end(s->vm, &out);
	s->w.sink.number = out.number;
	if (!ret)
		ret = ram_harvest(s->ram);
	if (ret)
		return ret;
	pending = ram_pending(s->ram);
	s->result.late_pages = pending;
	s->total = s->done + pending;
	if (pending <= s->late.max)
		return ram_send(s->ram, late_put, &s->late);
	/* more than can be copied is written here and now, behind the state */
	ret = put_state(s);
	return ret ? ret : ram_send(s->ram, writer_pages, &s->w);
}

static int pause_and_copy(struct snapshot_save *s)
{
	struct vm *vm = s->vm;
	uint64_t start;
	int ret;

	/* and what the guest writes until it stands still */
	ret = late_init(&s->late, ram_pending(s->ram) + LATE_PAGES < LATE_MAX ?
			ram_pending(s->ram) + LATE_PAGES : 0);
	if (ret)
		return ret;
	writer_mark_state(&s->w);
	pthread_mutex_lock(&vm->lock);
	start = loop_now();
	ret = vm_pause(vm, VM_PAUSE_SNAPSHOT);
	if (!ret)
		ret = take_instant(s);
	vm_resume(vm, VM_PAUSE_SNAPSHOT);
	s->result.pause_ns = loop_now() - start;
	pthread_mutex_unlock(&vm->lock);
	return ret;
}

/* ---- the file ------------------------------------------------------------- */

static int put_beginning(struct snapshot_save *s)
{
	int ret = vmstate_save_begin(s->vm, &s->w.sink, &s->ident);

	if (!ret && s->opts.diff)
		ret = section_put(&s->w.sink, SNAPSHOT_PARENT, 1, &s->parent,
				  sizeof(s->parent), NULL, 0);
	return ret;
}

static int put_late(struct snapshot_save *s)
{
	const struct late *l = &s->late;
	const uint8_t *data = l->data;
	uint64_t i;
	int ret;

	ret = put_state(s);
	for (i = 0; !ret && i < l->nruns; i++) {
		ret = put_pages(s, l->run[i].gpa, data, l->run[i].count);
		data += l->run[i].count * PAGES_SIZE;
	}
	return ret ? ret : vmstate_put_end(&s->w.sink);
}

static int wait_disk(struct snapshot_save *s)
{
	struct vm *vm = s->vm;
	int ret;

	pthread_mutex_lock(&vm->lock);
	while (!s->disk_done) {
		if (atomic_load(&s->cancel) && s->copy)
			block_copy_cancel(s->copy);
		pthread_cond_wait(&vm->changed, &vm->lock);
	}
	ret = s->disk_result;
	pthread_mutex_unlock(&vm->lock);
	if (ret && ret != -ECANCELED)
		fail(s, ret, "snapshot of the disk, %s: %s; nothing was changed",
		     s->disk_path, strerror(-ret));
	return ret;
}

static const char *base_of(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

/*
 * The disk of the snapshot whose name we take over; NULL: there was none, or it
 * has not the name that a disk of ours would have
 */
static char *old_disk(const char *path)
{
	const char *base = base_of(path);
	size_t n = strlen(base);
	struct snapshot_disk d;
	char err[256];
	struct snapshot_file *f = snapshot_open(path, err, sizeof(err));
	char *file = NULL;

	if (f && !snapshot_find_disk(f, &d, err, sizeof(err)) &&
	    !strncmp(d.file, base, n) && !strncmp(d.file + n, ".disk-", 6))
		file = snapshot_beside(path, d.file);
	snapshot_close(f);
	return file;
}

static int commit(struct snapshot_save *s)
{
	char *old = old_disk(s->path);
	int ret;

	s->result.bytes = s->w.offset;
	s->result.pages = s->w.npages;
	ret = writer_commit(&s->w, s->range, s->nranges);
	/* there may be overlays over it that nobody has open */
	if (!ret && old)
		snprintf(s->result.left, sizeof(s->result.left), "%s", old);
	free(old);
	return ret;
}

static int begin_memory(struct snapshot_save *s)
{
	struct vm *vm = s->vm;

	/* a page that is not there yet is not zero */
	if (vm->lazy && lazy_wait(vm->lazy))
		return -EIO;
	pthread_mutex_lock(&vm->lock);
	s->ram = ram_new(vm, s->opts.diff);
	pthread_mutex_unlock(&vm->lock);
	return s->ram ? 0 : -ENOMEM;
}

static int save(struct snapshot_save *s)
{
	int ret = put_beginning(s);

	if (!ret)
		ret = begin_memory(s);
	if (!ret)
		ret = send_rounds(s);
	if (!ret)
		ret = pause_and_copy(s);
	if (!ret)
		ret = put_late(s);
	if (!ret)
		ret = wait_disk(s);
	return ret ? ret : commit(s);
}

/* ---- the worker ----------------------------------------------------------- */

void snapshot_forget(struct vm *vm)
{
	free(vm->last_snapshot.path);
	free(vm->last_snapshot.disk);
	memset(&vm->last_snapshot, 0, sizeof(vm->last_snapshot));
}

static void remember(struct snapshot_save *s)
{
	struct snapshot_last *last = &s->vm->last_snapshot;

	snapshot_forget(s->vm);
	last->path = realpath(s->path, NULL);
	if (last->path && machine_disk(s->vm->machine))
		last->disk = realpath(s->disk_path, NULL);
	memcpy(last->id, s->ident.id, sizeof(last->id));
}

static void save_free(struct snapshot_save *s)
{
	ram_free(s->ram);
	late_free(&s->late);
	free(s->state.data);
	free(s->path);
	free(s->disk_path);
	free(s);
}

static void *save_main(void *arg)
{
	struct snapshot_save *s = arg;
	struct vm *vm = s->vm;
	int ret = save(s);

	if (ret) {
		fail_file(s, ret);
		if (!s->disk_done) {
			atomic_store(&s->cancel, true);
			wait_disk(s);
		}
		writer_discard(&s->w);
		if (machine_disk(vm->machine))
			unlink(s->disk_path);
	}
	pthread_mutex_lock(&vm->lock);
	if (!ret)
		remember(s);
	else
		snapshot_forget(vm);
	s->opts.done(s->opts.owner, &s->result);
	vm->saving = NULL;
	pthread_cond_broadcast(&vm->changed);
	/* who waits for that may free the VM now */
	pthread_mutex_unlock(&vm->lock);
	save_free(s);
	return NULL;
}

/* ---- beginning and ending ------------------------------------------------- */

/* PATH.disk-ID: another save to the same name does not touch this one's */
static int name_disk(struct snapshot_save *s)
{
	uint64_t id;
	int n;

	memcpy(&id, s->ident.id, sizeof(id));
	n = snprintf(s->disk_file, sizeof(s->disk_file), "%s.disk-%016" PRIx64,
		     base_of(s->path), id);
	if (n >= (int)sizeof(s->disk_file))
		return -ENAMETOOLONG;
	s->disk_path = snapshot_beside(s->path, s->disk_file);
	return s->disk_path ? 0 : -ENOMEM;
}

/* by its bare name if it is in the same directory, and can move with it */
static int name_parent(struct snapshot_save *s, char *err, size_t errlen)
{
	const struct snapshot_last *last = &s->vm->last_snapshot;
	char *copy = strdup(s->path), *dir = copy ? realpath(dirname(copy), NULL) : NULL;
	const char *name = last->path;
	int ret = -ENAMETOOLONG;

	if (dir && !strncmp(name, dir, strlen(dir)) && name[strlen(dir)] == '/' &&
	    !strchr(name + strlen(dir) + 1, '/'))
		name += strlen(dir) + 1;
	if (strlen(name) <= SNAPSHOT_NAME_MAX) {
		strcpy(s->parent.file, name);
		memcpy(s->parent.id, last->id, sizeof(last->id));
		ret = 0;
	} else {
		snprintf(err, errlen, "snapshot %s: the path of %s is too long to be named in it",
			 s->path, name);
	}
	free(copy);
	free(dir);
	return ret;
}

static int check_diff(struct snapshot_save *s, char *err, size_t errlen)
{
	const struct snapshot_last *last = &s->vm->last_snapshot;

	if (!last->path) {
		snprintf(err, errlen, "snapshot %s: there is none that this could be the difference to: take one without --diff first",
			 s->path);
		return -ENOENT;
	}
	if (!strcmp(base_of(last->path), base_of(s->path)) && !access(s->path, F_OK)) {
		snprintf(err, errlen, "snapshot %s: wanted another name than that of the snapshot that this is the difference to",
			 s->path);
		return -EEXIST;
	}
	return name_parent(s, err, errlen);
}

static int prepare(struct snapshot_save *s, char *err, size_t errlen)
{
	struct vm *vm = s->vm;
	struct mem *mem = machine_mem(vm->machine);
	int ret;

	if (s->opts.diff) {
		ret = check_diff(s, err, errlen);
		if (ret)
			return ret;
	}
	vmstate_identify(vm, &s->ident, s->opts.diff ? s->parent.id : NULL);
	for (s->nranges = 0; s->nranges < mem_regions(mem); s->nranges++) {
		struct mem_info r = mem_region(mem, s->nranges);

		s->range[s->nranges] = (struct state_range){
			.gpa = r.gpa, .size = r.size, .rom = r.rom,
		};
	}
	ret = name_disk(s);
	if (!ret)
		ret = writer_open(&s->w, s->path);
	if (ret)
		snprintf(err, errlen, "snapshot %s: %s", s->path, strerror(-ret));
	return ret;
}

struct snapshot_save *snapshot_save_start(struct vm *vm,
					  const struct snapshot_opts *opts,
					  char *err, size_t errlen)
{
	struct snapshot_save *s;

	if (vm->saving || vm->migrating || vm->ending || vm->lent) {
		snprintf(err, errlen, vm->ending ? "the machine is ending" :
			 vm->lent ? "the machine was migrated, and perhaps its disk is another's" :
			 vm->migrating ? "this machine is being migrated" :
			 "another snapshot of this machine is being taken");
		return NULL;
	}
	s = calloc(1, sizeof(*s));
	if (s)
		s->path = strdup(opts->path);
	if (!s || !s->path) {
		free(s);
		snprintf(err, errlen, "snapshot %s: out of memory", opts->path);
		return NULL;
	}
	s->vm = vm;
	s->opts = *opts;
	s->w.fd = -1;
	if (prepare(s, err, errlen))
		goto fail;
	s->disk_done = true;
	vm->saving = s;
	if (pthread_create(&s->thread, NULL, save_main, s)) {
		snprintf(err, errlen, "snapshot %s: cannot start a thread", s->path);
		vm->saving = NULL;
		goto fail;
	}
	pthread_setname_np(s->thread, "snapshot");
	pthread_detach(s->thread);
	return s;
fail:
	writer_discard(&s->w);
	save_free(s);
	return NULL;
}

void snapshot_save_cancel(struct snapshot_save *save)
{
	atomic_store(&save->cancel, true);
	pthread_cond_broadcast(&save->vm->changed);
}

void snapshot_save_stop(struct vm *vm)
{
	pthread_mutex_lock(&vm->lock);
	if (vm->saving)
		snapshot_save_cancel(vm->saving);
	while (vm->saving)
		pthread_cond_wait(&vm->changed, &vm->lock);
	pthread_mutex_unlock(&vm->lock);
}
