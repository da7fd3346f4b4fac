// SPDX-License-Identifier: GPL-2.0
/*
 * A VM is saved while its memory changes, loaded into another one, and saved
 * again: nothing is lost, and nothing is there of the instant after.
 */
#define _GNU_SOURCE 1
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "snapshot/info.h"
#include "snapshot/restore.h"
#include "vm_fixture.h"

struct waiter {
	struct vmx *x;
	bool done;
	struct snapshot_result result;
	unsigned int told;
	void (*progress)(struct vmx *x, unsigned int n);
	bool cancel;
};

/* the lock is held */
static void on_done(void *owner, const struct snapshot_result *r)
{
	struct waiter *w = owner;

	w->result = *r;
	w->done = true;
	assert_int_equal(pthread_mutex_trylock(&w->x->vm.lock), EBUSY);
}

/* the lock is not held: a guest can write */
static void on_progress(void *owner, uint64_t done, uint64_t total)
{
	struct waiter *w = owner;

	vmx_lock(w->x);
	if (w->progress && !w->x->stood_still)
		w->progress(w->x, w->told);
	w->told++;
	if (w->cancel)
		snapshot_save_cancel(w->x->vm.saving);
	vmx_unlock(w->x);
	if (done > total)
		fail_msg("%d of %d pages", (int)done, (int)total);
}

static struct waiter save(struct vmx *x, const char *name, bool diff,
			  void (*progress)(struct vmx *, unsigned int), bool cancel)
{
	struct waiter w = { .x = x, .progress = progress, .cancel = cancel };
	struct snapshot_opts opts = {
		.path = sf_path(name), .diff = diff, .progress = on_progress,
		.done = on_done, .owner = &w,
	};

	vmx_lock(x);
	x->stood_still = false;
	if (!snapshot_save_start(&x->vm, &opts, x->err, sizeof(x->err))) {
		w.done = true;
		w.result.error = 1;
		snprintf(w.result.text, sizeof(w.result.text), "%s", x->err);
	} else {
		/* one at a time */
		char err[512];

		assert_null(snapshot_save_start(&x->vm, &opts, err, sizeof(err)));
		assert_non_null(strstr(err, "another snapshot"));
	}
	while (!w.done || x->vm.saving)
		pthread_cond_wait(&x->vm.changed, &x->vm.lock);
	vmx_unlock(x);
	return w;
}

static void saved(const struct waiter *w)
{
	if (w->result.error)
		fail_msg("%s", w->result.text);
}

/* all of RAM is in the file as it is in the VM */
static void same_memory(struct vmx *x, const char *name, int files)
{
	struct snapshot_file *chain[SNAPSHOT_CHAIN_MAX];
	struct mem *mem = machine_mem(x->vm.machine);
	uint8_t *all = calloc(1, VMX_MEMORY), *p = all;
	char err[512] = "";
	unsigned int i;
	int n;

	n = snapshot_open_chain(sf_path(name), chain, err, sizeof(err));
	if (n != files)
		fail_msg("%s", err);
	assert_int_equal(restore_memory(chain, n, all, VMX_MEMORY, err, sizeof(err)), 0);
	for (i = 0; i < mem_regions(mem); i++) {
		struct mem_info r = mem_region(mem, i);

		if (r.rom)
			continue;
		if (memcmp(r.hva, p, r.size))
			fail_msg("other memory at %#llx", (unsigned long long)r.gpa);
		p += r.size;
	}
	snapshot_close_chain(chain, n);
	free(all);
}

static int setup(void **state)
{
	struct vmx *x = vmx_new(NULL);

	vmx_stir(x);
	vmx_write(x, 1, 5);
	vmx_write(x, 2, 200);
	vmx_write(x, 300, 201);
	*state = x;
	return 0;
}

static int teardown(void **state)
{
	vmx_free(*state);
	return 0;
}

/* ---- saving --------------------------------------------------------------- */

static void test_whole(void **state)
{
	struct vmx *x = *state;
	struct snapshot_file *f;
	struct snapshot_disk d;
	struct waiter w;
	uint8_t *disk;
	size_t len;

	w = save(x, "a", false, NULL, false);
	saved(&w);
	same_memory(x, "a", 1);
	assert_int_equal(x->vm.paused, 0);
	/* zeroes are not among them */
	assert_in_range(w.result.pages, 3, 200);
	f = snapshot_open(sf_path("a"), x->err, sizeof(x->err));
	assert_non_null(f);
	assert_true(w.result.bytes <= f->size);
	assert_int_equal(snapshot_find_disk(f, &d, x->err, sizeof(x->err)), 0);
	assert_int_equal(d.size, 1 << 20);
	disk = sf_read(sf_path(d.file), &len);
	assert_int_equal(len, 1 << 20);
	assert_memory_equal(disk, "what the guest wrote", 20);
	free(disk);
	snapshot_close(f);
	assert_string_equal(w.result.left, "");
	/* the next of that name takes its place; its disk may be somebody's base */
	w = save(x, "a", false, NULL, false);
	saved(&w);
	assert_string_equal(w.result.left, sf_path(d.file));
	assert_int_equal(access(sf_path(d.file), F_OK), 0);
	same_memory(x, "a", 1);
}

/* what is written meanwhile comes in a later round */
static void guest_writes(struct vmx *x, unsigned int n)
{
	unsigned int i;

	for (i = 0; i < 3 && n < 40; i++)
		vmx_write(x, 256 + (n * 7 + i * 13) % 3000, 1000 + n * 3 + i);
}

static void test_moving(void **state)
{
	struct vmx *x = *state;
	struct waiter w = save(x, "m", false, guest_writes, false);

	saved(&w);
	assert_true(w.told > 1);
	same_memory(x, "m", 1);
}

/* and what is written until the guest stands still */
static void last_words(struct vmx *x)
{
	unsigned int i;

	for (i = 0; i < 20; i++)
		vmx_write(x, 1000 + i * 2, 50 + i);
	x->paused = NULL;
}

static void test_late(void **state)
{
	struct vmx *x = *state;
	struct waiter w;

	x->paused = last_words;
	w = save(x, "l", false, NULL, false);
	saved(&w);
	assert_in_range(w.result.late_pages, 20, 60);
	same_memory(x, "l", 1);
}

/* more than there is room for: it is written while the guest stands still */
static void many_words(struct vmx *x)
{
	unsigned int i;

	for (i = 0; i < 1500; i++)
		vmx_write(x, 1000 + i, 1 + i % 90);
	x->paused = NULL;
}

static void test_too_late(void **state)
{
	struct vmx *x = *state, *y;
	struct snapshot_file *f;
	struct waiter w;

	x->paused = many_words;
	w = save(x, "tl", false, NULL, false);
	saved(&w);
	assert_true(w.result.late_pages >= 1500);
	same_memory(x, "tl", 1);
	/* and what comes behind the pages is found */
	f = snapshot_open(sf_path("tl"), x->err, sizeof(x->err));
	y = vmx_new(&f->state);
	if (vmx_load(y, f, y->err, sizeof(y->err)))
		fail_msg("%s", y->err);
	vmx_free(y);
	vmx_now = x;
	snapshot_close(f);
}

static void test_diff(void **state)
{
	struct vmx *x = *state;
	struct waiter w;

	w = save(x, "d0", true, NULL, false);
	assert_non_null(strstr(w.result.text, "take one without --diff first"));
	w = save(x, "d0", false, NULL, false);
	saved(&w);
	vmx_write(x, 700, 77);
	vmx_write(x, 2, 0);		/* one that becomes zero */
	w = save(x, "d1", true, NULL, false);
	saved(&w);
	assert_in_range(w.result.pages, 2, 20);
	same_memory(x, "d1", 2);
	w = save(x, "d1", true, NULL, false);
	assert_non_null(strstr(w.result.text, "wanted another name"));
	vmx_write(x, 700, 78);
	w = save(x, "d2", true, guest_writes, false);
	saved(&w);
	same_memory(x, "d2", 3);
	/* what was harvested half way is lost to the next one */
	w = save(x, "d3", true, NULL, true);
	assert_int_equal(w.result.error, w.told ? -ECANCELED : 0);
	vmx_write(x, 701, 79);
	w = save(x, "no/such/directory", false, NULL, false);
	assert_non_null(strstr(w.result.text, "No such file"));
}

/* what vmmd info FILE tells */
static void test_info(void **state)
{
	struct vmx *x = *state;
	char err[512] = "";
	struct waiter w;
	json_t *info, *list;

	w = save(x, "i0", false, NULL, false);
	saved(&w);
	vmx_write(x, 700, 77);
	w = save(x, "i1", true, NULL, false);
	saved(&w);
	info = snapshot_describe(sf_path("i1"), err, sizeof(err));
	assert_non_null(info);
	assert_string_equal(json_string_value(json_object_get(info, "vendor")), "SVM");
	assert_int_equal(json_integer_value(json_object_get(info, "cpus")), 2);
	assert_int_equal(json_integer_value(json_object_get(info, "memory")),
			 VMX_MEMORY - 32 * PAGES_SIZE);
	assert_true(json_integer_value(json_object_get(info, "pages")) <= (long)w.result.pages);
	assert_int_equal(json_integer_value(json_object_get(json_object_get(info, "disk"), "size")),
			 1 << 20);
	list = json_object_get(info, "parents");
	assert_int_equal(json_array_size(list), 1);
	assert_string_equal(json_string_value(json_object_get(json_array_get(list, 0), "file")),
			    sf_path("i0"));
	assert_string_equal(json_string_value(json_array_get(json_object_get(info, "options"), 0)),
			    "--name=fixture");
	json_decref(info);
	assert_null(snapshot_describe(sf_path("firmware"), err, sizeof(err)));
	assert_non_null(strstr(err, "no snapshot"));
}

static void test_cancel(void **state)
{
	struct vmx *x = *state;
	struct waiter w;

	w = save(x, "c", false, NULL, false);
	saved(&w);
	vmx_write(x, 3, 3);
	w = save(x, "c", false, NULL, true);
	assert_int_equal(w.result.error, -ECANCELED);
	assert_non_null(strstr(w.result.text, "given up"));
	/* the old one is still whole, and there is no difference to it */
	vmx_write(x, 3, 0);
	same_memory(x, "c", 1);
	w = save(x, "c1", true, NULL, false);
	assert_non_null(strstr(w.result.text, "without --diff first"));
}

/* a disk that cannot be copied is told, and not waited for */
static void test_no_room_for_disk(void **state)
{
	struct vmx *x = *state;
	struct waiter w;
	char name[260];

	memset(name, 0, sizeof(name));
	memset(name, 'n', 245);		/* and ".disk-..." does not fit */
	w = save(x, name, false, NULL, false);
	assert_int_not_equal(w.result.error, 0);
	assert_int_equal(x->vm.paused, 0);
}

/* ---- loading -------------------------------------------------------------- */

static void test_load(void **state)
{
	struct vmx *x = *state, *y;
	struct stream before, after;
	struct snapshot_file *f;
	struct waiter w;

	w = save(x, "s", false, NULL, false);
	saved(&w);
	vmx_save(x, &before);
	f = snapshot_open(sf_path("s"), x->err, sizeof(x->err));
	assert_non_null(f);
	y = vmx_new(&f->state);
	if (vmx_load(y, f, y->err, sizeof(y->err)))
		fail_msg("%s", y->err);
	assert_int_equal(y->clock.ns, 123456789);
	assert_int_equal(y->regs[1].regs.rip, 0x1001);
	/* the TSC where the clock's ticks are 0, which is now */
	assert_int_equal(y->tsc[1].base, 5000000001ULL + 246913578);
	y->clock.ticks = 0;
	vmx_save(y, &after);
	x->clock.ticks = 0;
	x->tsc[0].base += 246913578;
	x->tsc[1].base += 246913578;
	stream_free(&before);
	vmx_save(x, &before);
	assert_int_equal(before.len, after.len);
	assert_memory_equal(before.data, after.data, before.len);
	stream_free(&before);
	stream_free(&after);
	vmx_free(y);
	vmx_now = x;
	snapshot_close(f);
}

/* ---- sections that are missing, doubled, unknown -------------------------- */

static const char *loads_badly(struct stream *s, struct vmx *y)
{
	struct vmstate_loader l = { .vm = &y->vm };
	static char err[512];
	int ret = 0;

	vmx_now = y;
	vmx_lock(y);
	stream_rewind(s);
	err[0] = 0;
	while (!ret && !l.ended) {
		ret = section_next(&s->in, err, sizeof(err));
		if (!ret)
			ret = vmstate_load(&l, &s->in, err, sizeof(err));
	}
	if (!ret)
		ret = vmstate_load_done(&l, "stream", err, sizeof(err));
	vmx_unlock(y);
	assert_true(!ret == !err[0]);
	assert_null(strchr(err, '\n'));
	return err;
}

/* the sections of `from` in this order, -1 ends it; numbers as they must be */
static void arrange(struct stream *to, struct stream *from, const int *order)
{
	uint32_t number = 0;
	size_t at;
	int i;

	stream_init(to);
	for (; *order >= 0; order++) {
		for (i = 0, at = 0; i < *order; i++)
			at = stream_next(from, at);
		to->out.write(to, from->data + at, stream_next(from, at) - at);
		at = to->len - (stream_next(from, at) - at);
		stream_head(to, at)->number = number++;
		stream_seal(to->data + at);
	}
}

static void test_sections(void **state)
{
	struct vmx *x = *state;
	struct stream all, s;
	int order[64], n = 0, i, k, clock = -1;
	size_t at;

	vmx_save(x, &all);
	vmx_lock(x);
	assert_int_equal(vmstate_put_end(&all.out), 0);
	vmx_unlock(x);
	for (at = 0; at < all.len; at = stream_next(&all, at), n++)
		if (!strcmp(stream_head(&all, at)->tag, "clock"))
			clock = n;
	assert_true(clock > 10 && n == clock + 4);
	/* each one left out */
	for (i = 0; i < n; i++) {
		for (k = 0; k < n - 1; k++)
			order[k] = k < i ? k : k + 1;
		order[k] = -1;
		arrange(&s, &all, order);
		if (!strstr(loads_badly(&s, x), i == clock ? "not wanted here" : i == n - 1 ?
			    "ends in the middle" : i > clock ? "no state of a vCPU" : "no state of "))
			fail_msg("without %d: %s", i, loads_badly(&s, x));
		stream_free(&s);
	}
	/* each one twice */
	for (i = 0; i < n - 1; i++) {
		for (k = 0; k < n + 1; k++)
			order[k] = k <= i ? k : k - 1;
		order[k] = -1;
		arrange(&s, &all, order);
		if (!strstr(loads_badly(&s, x), i == clock ? "or another one" : i > clock ?
			    "not wanted here" : "which this machine has not"))
			fail_msg("twice %d: %s", i, loads_badly(&s, x));
		stream_free(&s);
	}
	/* each of a newer version, each with a byte more or less */
	for (at = 0; at < all.len; at = stream_next(&all, at)) {
		stream_head(&all, at)->version = 2;
		stream_seal(all.data + at);
		assert_non_null(strstr(loads_badly(&all, x), "has version 2, this vmmd knows those up to 1"));
		stream_head(&all, at)->version = 1;
		stream_seal(all.data + at);
	}
	assert_string_equal(loads_badly(&all, x), "");
	/* none that we know */
	memcpy(stream_head(&all, 0)->tag, "novelty\0", 8);
	stream_seal(all.data);
	assert_non_null(strstr(loads_badly(&all, x), "section 0 \"novelty\": is not known to this vmmd: use a newer one"));
	stream_free(&all);
}

static void test_refused_by_module(void **state)
{
	struct vmx *x = *state;
	struct stream all;

	vmx_save(x, &all);
	x->refuse = true;
	assert_non_null(strstr(loads_badly(&all, x), "of vCPU 0 is refused by the module: Invalid argument"));
	x->refuse = false;
	stream_free(&all);
}

/* ---- rounds --------------------------------------------------------------- */

struct sent {
	uint64_t pages, last;
	bool seen[VMX_MEMORY / PAGES_SIZE];
	uint64_t fail_after;
};

static int take(void *owner, uint64_t gpa, const void *data, uint32_t count)
{
	struct sent *s = owner;
	uint32_t i;

	assert_in_range(count, 1, PAGES_MAX);
	assert_true(!s->pages || gpa > s->last);
	if (s->pages >= s->fail_after)
		return -EPIPE;
	for (i = 0; i < count; i++)
		s->seen[gpa / PAGES_SIZE + i] = true;
	s->last = gpa + (count - 1) * PAGES_SIZE;
	s->pages += count;
	return 0;
}

static void test_rounds(void **state)
{
	struct vmx *x = *state;
	struct sent s = { .fail_after = ~0ULL };
	struct ram *ram;
	uint64_t pending;

	ram = ram_new(&x->vm, false);
	assert_non_null(ram);
	/* what the host has not is zero, and is not sent */
	pending = ram_pending(ram);
	assert_in_range(pending, 3, 400);
	assert_int_equal(ram_total(ram), VMX_MEMORY / PAGES_SIZE - 32); /* the hole at 640 KiB */
	assert_int_equal(ram_send(ram, take, &s), 0);
	assert_int_equal(s.pages, pending);
	assert_true(s.seen[1] && s.seen[2] && s.seen[300]);
	assert_false(s.seen[2000]);
	assert_int_equal(ram_pending(ram), 0);
	assert_int_equal(ram_harvest(ram), 0);
	assert_int_equal(ram_pending(ram), 0);
	/* what is written, and no more */
	vmx_write(x, 2000, 1);
	vmx_write(x, 2001, 1);
	vmx_write(x, 9, 1);
	assert_int_equal(ram_pending(ram), 0);
	assert_int_equal(ram_harvest(ram), 0);
	assert_int_equal(ram_pending(ram), 3);
	memset(&s, 0, sizeof(s));
	s.fail_after = 1;
	assert_int_equal(ram_send(ram, take, &s), -EPIPE);
	assert_true(s.seen[9]);
	assert_int_equal(ram_pending(ram), 2);
	memset(&s, 0, sizeof(s));
	s.fail_after = ~0ULL;
	assert_int_equal(ram_send(ram, take, &s), 0);
	assert_true(s.pages == 2 && s.seen[2000] && s.seen[2001]);
	ram_free(ram);
	/* tracking has gone on */
	vmx_write(x, 77, 1);
	ram = ram_new(&x->vm, true);
	assert_int_equal(ram_pending(ram), 1);
	ram_free(ram);
	ram_free(NULL);
	assert_int_equal(mem_track(machine_mem(x->vm.machine), false), 0);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_whole), T(test_moving), T(test_late), T(test_too_late), T(test_diff),
		T(test_info), T(test_cancel), T(test_no_room_for_disk), T(test_load), T(test_sections),
		T(test_refused_by_module), T(test_rounds),
	};

	return cmocka_run_group_tests_name("snapshot_save", tests, sf_setup, sf_teardown);
}
