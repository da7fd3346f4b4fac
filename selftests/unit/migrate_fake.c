// SPDX-License-Identifier: GPL-2.0
#define _GNU_SOURCE 1
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "block/block.h"
#include "fixture.h"
#include "loop.h"
#include "migrate/answer.h"
#include "migrate/disk_mirror.h"
#include "migrate/disk_shared.h"
#include "migrate/streams.h"
#include "migrate_fake.h"
#include "state/pages.h"

static void take_time(struct fake_vm *vm, unsigned int *times)
{
	if (!*times)
		return;
	--*times;
	fx_clock_add(vm->slow_ns);
}

/* ---- a source ------------------------------------------------------------- */

static int src_begin(void *owner, struct sink *out)
{
	return section_put(out, "fake-vm", 1, "x", 1, NULL, 0);
}

static uint64_t src_total(void *owner)
{
	return FAKE_PAGES;
}

static int src_track(void *owner)
{
	((struct fake_vm *)owner)->pending = (1ULL << FAKE_PAGES) - 1;
	return 0;
}

/* a guest that runs has written, for some time */
static int src_harvest(void *owner)
{
	struct fake_vm *vm = owner;
	unsigned int page;

	vm->harvests++;
	if (vm->harvests > vm->writes || !vm->runs)
		return vm->mirror ? disk_mirror_harvest(vm->mirror) : 0;
	for (page = vm->harvests % 3; page < FAKE_PAGES; page += 5) {
		vm->mem[page * 4096 + vm->harvests % 4096] ^= 0x5a;
		vm->pending |= 1ULL << page;
	}
	if (vm->write_disk)
		vm->write_disk(vm);
	return vm->mirror ? disk_mirror_harvest(vm->mirror) : 0;
}

static uint64_t src_pending(void *owner)
{
	struct fake_vm *vm = owner;

	return __builtin_popcountll(vm->pending) +
	       (vm->mirror ? disk_mirror_pending(vm->mirror) : 0);
}

/* the same page by the same stream, but not all by one */
static uint64_t where(const struct fake_vm *vm, unsigned int page)
{
	return page * 4096 + (vm->spread ? page % 3 * PAGES_BYTES : 0);
}

static int src_send(void *owner, ram_put put, void *put_owner)
{
	struct fake_vm *vm = owner;
	unsigned int page;
	int ret;

	if (!vm->runs)
		take_time(vm, &vm->slow_sends);
	for (page = 0; page < FAKE_PAGES; page++) {
		if (!(vm->pending & 1ULL << page))
			continue;
		ret = put(put_owner, where(vm, page), vm->mem + page * 4096, 1);
		if (ret)
			return ret;
		vm->pending &= ~(1ULL << page);
	}
	return 0;
}

static int src_stop(void *owner, bool *paused)
{
	struct fake_vm *vm = owner;

	assert_true(vm->runs);
	vm->runs = false;
	vm->stops++;
	*paused = vm->user_paused;
	take_time(vm, &vm->slow_stops);
	return 0;
}

static void src_go_on(void *owner)
{
	struct fake_vm *vm = owner;

	assert_false(vm->runs);
	vm->runs = true;
	vm->resumes++;
}

static int src_state(void *owner, struct sink *out)
{
	struct fake_vm *vm = owner;

	assert_false(vm->runs);
	return section_put(out, "fake-regs", 1, vm->regs, sizeof(vm->regs), NULL, 0);
}

static void src_throttle(void *owner, unsigned int percent)
{
	struct fake_vm *vm = owner;

	if (!percent && vm->runs)
		vm->let_loose++;
}

static bool src_cancelled(void *owner)
{
	return ((struct fake_vm *)owner)->cancel;
}

static void src_progress(void *owner, const struct migrate_now *now)
{
	assert_true(now->done <= now->total);
}

static int src_describe(void *owner, struct migrate_disk *d, char *err, size_t errlen)
{
	struct fake_vm *vm = owner;
	int ret = vm->mirrors ? disk_mirror_describe(vm->disk, &vm->lent, err, errlen) :
				disk_shared_describe(vm->disk, &vm->lent, err, errlen);

	*d = vm->lent;
	return ret;
}

static int src_track_disk(void *owner, bool zeroes, char *err, size_t errlen)
{
	struct fake_vm *vm = owner;

	vm->mirror = disk_mirror_new(vm->disk, zeroes, err, errlen);
	return vm->mirror ? 0 : -EIO;
}

static int src_send_disk(void *owner, ram_put put, void *put_owner, char *err,
			 size_t errlen)
{
	struct fake_vm *vm = owner;

	return disk_mirror_send(vm->mirror, put, put_owner, err, errlen);
}

static void src_lend(void *owner)
{
	struct fake_vm *vm = owner;

	assert_false(vm->runs);
	block_let_go(vm->disk);
}

static int src_settle(void *owner, bool never, char *err, size_t errlen)
{
	struct fake_vm *vm = owner;

	assert_false(vm->runs);
	return disk_shared_settle(vm->disk, &vm->lent, never, err, errlen);
}

/* ---- a target ------------------------------------------------------------- */

static uint8_t *dst_place(void *owner, uint64_t gpa, uint64_t len)
{
	struct fake_vm *vm = owner;

	if (vm->spread)
		gpa %= PAGES_BYTES;
	return gpa < FAKE_BYTES && len <= FAKE_BYTES - gpa ? vm->mem + gpa : NULL;
}

static int dst_load(void *owner, struct source *in, char *err, size_t errlen)
{
	struct fake_vm *vm = owner;

	if (section_is(in, "end"))
		return section_body(in, NULL, 0, err, errlen);
	if (!section_is(in, "fake-regs") || vm->has_regs)
		return section_bad(in, err, errlen, "was not wanted here");
	vm->has_regs = true;
	return section_body(in, vm->regs, sizeof(vm->regs), err, errlen);
}

static int dst_loaded(void *owner, const char *name, char *err, size_t errlen)
{
	take_time(owner, &((struct fake_vm *)owner)->slow_loads);
	if (((struct fake_vm *)owner)->has_regs)
		return 0;
	snprintf(err, errlen, "%s: has no registers", name);
	return -EBADMSG;
}

static int dst_again(void *owner, char *err, size_t errlen)
{
	struct fake_vm *vm = owner;

	vm->has_regs = false;
	vm->agains++;
	return 0;
}

static int dst_claim(void *owner, char *err, size_t errlen)
{
	struct fake_vm *vm = owner;
	int ret;

	if (vm->in_the_way)
		assert_int_equal(mkdir(vm->in_the_way, 0700), 0);
	if (!vm->dies)
		return disk_shared_claim(vm->disk, &vm->lent, err, errlen);
	ret = block_take(vm->disk, err, errlen);
	assert_int_equal(ret, 0);
	block_let_go(vm->disk);
	snprintf(err, errlen, "killed");
	return -ESHUTDOWN;
}

static int dst_store(void *owner, uint64_t offset, const void *data, uint32_t granules,
		     char *err, size_t errlen)
{
	struct fake_vm *vm = owner;

	return disk_mirror_store(vm->disk, offset, data, granules, err, errlen);
}

static int dst_flush(void *owner, char *err, size_t errlen)
{
	return block_flush(((struct fake_vm *)owner)->disk);
}

/* ---- the wire ------------------------------------------------------------- */

struct wire_end {
	struct fake_wire *wire;
	int source, target;
};

static void record(struct fake_wire *w, const uint8_t *p, size_t n)
{
	if (w->recorded + n > w->room) {
		w->room = 2 * (w->room + n);
		w->record = realloc(w->record, w->room);
		assert_non_null(w->record);
	}
	memcpy(w->record + w->recorded, p, n);
	w->recorded += n;
}

static bool pass_on(int to, const uint8_t *p, size_t n)
{
	ssize_t m;

	for (; n; p += m, n -= m) {
		m = send(to, p, n, MSG_NOSIGNAL);
		if (m <= 0)
			return false;
	}
	return true;
}

/* some bytes from one to the other; false: it is cut, or they are */
static bool carry(struct fake_wire *w, int from, int to, bool there)
{
	uint64_t *count = there ? &w->there : &w->back;
	uint64_t end = there ? w->cut_there : w->cut_back;
	uint8_t buf[65536];
	ssize_t n = read(from, buf, sizeof(buf));

	if (n <= 0)
		return false;
	if ((uint64_t)n > end - *count)
		n = end - *count;
	if (there != w->flip_back && w->flip && w->flip_at >= *count && w->flip_at < *count + n)
		buf[w->flip_at - *count] ^= w->flip;
	if (there)
		record(w, buf, n);
	*count += n;
	return pass_on(to, buf, n) && *count < end;
}

static void *wire_main(void *arg)
{
	struct wire_end *e = arg;
	struct pollfd p[2] = {
		{ .fd = e->source, .events = POLLIN },
		{ .fd = e->target, .events = POLLIN },
	};
	bool up = e->wire->cut_there && e->wire->cut_back;

	while (up && poll(p, 2, -1) > 0) {
		if (p[0].revents)
			up = carry(e->wire, e->source, e->target, true);
		if (up && p[1].revents)
			up = carry(e->wire, e->target, e->source, false);
	}
	/* what was sent before one side ended may still come */
	shutdown(e->target, SHUT_WR);
	shutdown(e->source, SHUT_WR);
	close(e->target);
	close(e->source);
	return NULL;
}

static struct channel *src_connect(void *owner, char *err, size_t errlen)
{
	struct fake_vm *vm = owner;
	const struct channel_opts o = { .wake_fd = -1, .timeout = 1000000000ULL };
	struct fake_run *r = vm->run;
	int fd;

	if (r->connected == r->params.streams) {
		r->asked++;
		return channel_connect(&r->at, &o, err, errlen);
	}
	fd = r->stream[r->connected++][0];
	return channel_new(fd, fd, "the target");
}

static struct channel *dst_accept(void *owner, char *err, size_t errlen)
{
	struct fake_run *r = owner;
	int sv[2];

	if (r->strangers) {
		r->strangers--;
		assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv), 0);
		assert_int_equal(write(sv[0], "GET / HTTP/1.1", 14), 14);
		close(sv[0]);
		return channel_new(sv[1], sv[1], "a stranger");
	}
	if (r->accepted + r->missing >= r->params.streams) {
		snprintf(err, errlen, "nobody comes");
		return NULL;
	}
	sv[1] = r->stream[r->accepted++][1];
	return channel_new(sv[1], sv[1], "the source");
}

static void make_streams(struct fake_run *r)
{
	unsigned int i;

	r->source.run = r;
	for (i = 0; i < r->params.streams; i++)
		assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0,
					    r->stream[i]), 0);
}

/* ---- both ----------------------------------------------------------------- */

struct target_thread {
	struct fake_run *r;
	int fd;
};

static int receive(struct fake_run *r, struct target *t)
{
	char *err = r->target_err;
	size_t len = sizeof(r->target_err);
	int ret = target_hello(t, err, len);

	r->target.lent = t->disk;
	t->disk_zero = r->target.disk_zero;
	if (!ret && r->target.disk && !r->target.mirrors)
		ret = disk_shared_check(r->target.disk, &t->disk, err, len);
	if (!ret)
		ret = section_next(&t->in, err, len);
	if (!ret && !section_is(&t->in, "fake-vm"))
		ret = section_bad(&t->in, err, len, "was not wanted here");
	if (!ret)
		ret = section_body(&t->in, r->target_err, 1, err, len);
	if (!ret && r->target.refuse) {
		strcpy(err, r->target.refuse);
		ret = -ENOTSUP;
	}
	if (!ret && t->streams.count) {
		t->more = streams_in_new(&t->streams, dst_accept, r, 5000000000ULL, err, len);
		ret = t->more ? 0 : -ECONNABORTED;
	}
	if (!ret)
		ret = target_load(t, err, len);
	return ret ? ret : target_wait(t, err, len);
}

static void *target_main(void *arg)
{
	struct target_thread *tt = arg;
	struct fake_run *r = tt->r;
	const struct target_guest guest = {
		.owner = &r->target, .place = dst_place, .load = dst_load,
		.loaded = dst_loaded, .again = dst_again,
		.claim = r->target.disk && !r->target.mirrors ? dst_claim : NULL,
		.store = r->target.mirrors ? dst_store : NULL,
		.flush = r->target.mirrors ? dst_flush : NULL,
	};
	struct channel *c = channel_new(tt->fd, tt->fd, "the source");
	struct target t;

	assert_non_null(c);
	assert_int_equal(target_init(&t, c, &guest), 0);
	r->target_ret = receive(r, &t);
	if (r->target_ret && !r->target.dies)
		target_fail(&t, r->target_err);
	r->target.runs = target_may_run(t.state);
	r->target_paused = t.paused;
	if (r->listener && r->target.runs) {
		r->answer = answer_running(c, r->listener, t.streams.token);
		c = NULL;
	} else if (r->listener && t.unheard && !r->target.dies) {
		channel_close(c);
		c = NULL;
		answer_failed(r->listener, t.streams.token);
	} else {
		listener_close(r->listener);
	}
	target_free(&t);
	channel_close(c);
	return NULL;
}

void fake_init(struct fake_run *r)
{
	unsigned int i, seed = 1;

	memset(r, 0, sizeof(*r));
	/* three quarters have something in them that does not shrink */
	for (i = 0; i < FAKE_BYTES; i++) {
		seed = seed * 1103515245 + 12345;
		r->source.mem[i] = i / 4096 % 4 ? seed >> 16 : 0;
	}
	memset(r->source.regs, 0x42, sizeof(r->source.regs));
	r->source.writes = 3;
	r->source.runs = true;
	r->wire.cut_there = UINT64_MAX;
	r->wire.cut_back = UINT64_MAX;
	r->params = (struct migrate_params){
		.downtime_ns = 60000000000ULL, .cancelled = src_cancelled,
		.progress = src_progress, .connect = src_connect, .owner = &r->source,
	};
}

static void run_source(struct fake_run *r, int fd)
{
	const bool lends = r->source.disk && !r->source.mirrors;
	const struct migrate_guest guest = {
		.owner = &r->source, .begin = src_begin, .total = src_total,
		.track = src_track, .harvest = src_harvest, .pending = src_pending,
		.send = src_send, .stop = src_stop, .go_on = src_go_on,
		.state = src_state, .throttle = src_throttle,
		.describe = r->source.disk ? src_describe : NULL,
		.lend = lends ? src_lend : NULL,
		.settle = lends ? src_settle : NULL,
		.track_disk = r->source.mirrors ? src_track_disk : NULL,
		.send_disk = r->source.mirrors ? src_send_disk : NULL,
	};
	struct channel *c = channel_new(fd, fd, "the target");

	assert_non_null(c);
	source_run(c, &guest, &r->params, &r->result);
	channel_close(c);
}

void fake_migrate(struct fake_run *r)
{
	struct target_thread tt = { .r = r };
	struct wire_end ends = { .wire = &r->wire };
	pthread_t wire, target;
	int a[2], b[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, a), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, b), 0);
	ends.source = a[1];
	ends.target = b[0];
	tt.fd = b[1];
	make_streams(r);
	assert_int_equal(pthread_create(&wire, NULL, wire_main, &ends), 0);
	assert_int_equal(pthread_create(&target, NULL, target_main, &tt), 0);
	run_source(r, a[0]);
	pthread_join(wire, NULL);
	pthread_join(target, NULL);
	answer_stop(r->answer);
	for (; r->connected < r->params.streams; r->connected++)
		close(r->stream[r->connected][0]);
	for (; r->accepted < r->params.streams; r->accepted++)
		close(r->stream[r->accepted][1]);
}

struct feed {
	const uint8_t *stream;
	size_t len;
	int fd;
};

static void *feed_main(void *arg)
{
	struct feed *f = arg;

	/* it may hang up before it has read all */
	pass_on(f->fd, f->stream, f->len);
	shutdown(f->fd, SHUT_WR);
	return NULL;
}

void fake_feed(struct fake_run *r, const void *stream, size_t len)
{
	struct feed feed = { stream, len, -1 };
	struct target_thread tt = { .r = r };
	pthread_t feeder;
	int sv[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv), 0);
	feed.fd = sv[0];
	tt.fd = sv[1];
	assert_int_equal(pthread_create(&feeder, NULL, feed_main, &feed), 0);
	target_main(&tt);
	pthread_join(feeder, NULL);
	close(sv[0]);
}

static void *answer_main(void *arg)
{
	struct feed *f = arg;
	uint8_t dump[4096];

	feed_main(f);
	while (read(f->fd, dump, sizeof(dump)) > 0)
		;
	return NULL;
}

void fake_answer(struct fake_run *r, const void *stream, size_t len)
{
	struct feed feed = { stream, len, -1 };
	pthread_t target;
	int sv[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv), 0);
	feed.fd = sv[0];
	assert_int_equal(pthread_create(&target, NULL, answer_main, &feed), 0);
	run_source(r, sv[1]);
	pthread_join(target, NULL);
	close(sv[0]);
}

void fake_free(struct fake_run *r)
{
	free(r->wire.record);
	disk_mirror_free(r->source.mirror);
}

void fake_check_one(struct fake_run *r)
{
	switch (r->result.state) {
	case SOURCE_MOVED:
		assert_false(r->source.runs);
		assert_true(r->target.runs);
		break;
	case SOURCE_KEPT:
		assert_true(r->source.runs);
		assert_false(r->target.runs);
		assert_int_not_equal(r->target_ret, 0);
		assert_true(r->result.text[0] || r->params.dry_run);
		break;
	case SOURCE_DOUBT:
		assert_false(r->source.runs);
		break;
	default:
		fail();
	}
	assert_int_equal(r->source.stops, r->source.resumes + !r->source.runs);
	if (!r->target.runs)
		return;
	assert_memory_equal(r->source.mem, r->target.mem, FAKE_BYTES);
	assert_memory_equal(r->source.regs, r->target.regs, FAKE_REGS);
}
