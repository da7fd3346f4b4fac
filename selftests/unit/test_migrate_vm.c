// SPDX-License-Identifier: GPL-2.0
/*
 * A whole VM, of whose parts only the module is missing, goes over a socket while its
 * memory changes: what is there then is what was here.
 */
#define _GNU_SOURCE 1
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "block/block.h"
#include "migrate/channel.h"
#include "migrate/disk_shared.h"
#include "migrate/migrate.h"
#include "migrate/target.h"
#include "vm_fixture.h"

#define MS	1000000ULL

/* there is no vCPU thread to be told */
void vm_end(struct vm *vm, int code)
{
	vm->ending = true;
}

struct move {
	struct vmx *x, *y;
	struct migrate_result result;
	bool done;
	unsigned int told, writes;
	bool cancel;
	unsigned int disk_taken;	/* by somebody else, before the target comes to it */
	/* the target */
	struct target t;
	struct vmstate st;
	struct vmstate_loader l;
	unsigned int late_loads, agains;
	int ret;
	char err[512], path[300];
};

/* ---- the target ----------------------------------------------------------- */

static uint8_t *place(void *owner, uint64_t gpa, uint64_t len)
{
	return mem_ptr(machine_mem(((struct move *)owner)->y->vm.machine), gpa, len);
}

static int load(void *owner, struct source *in, char *err, size_t errlen)
{
	struct move *m = owner;
	int ret;

	/* the source has asked its vCPUs by now */
	vmx_now = m->y;
	vmx_lock(m->y);
	ret = vmstate_load(&m->l, in, err, errlen);
	vmx_unlock(m->y);
	return ret;
}

static int loaded(void *owner, const char *name, char *err, size_t errlen)
{
	struct move *m = owner;

	if (m->late_loads) {
		m->late_loads--;
		fx_clock_add(1000 * MS);
	}
	vmx_now = m->x;
	return vmstate_load_done(&m->l, name, err, errlen);
}

static int again(void *owner, char *err, size_t errlen)
{
	struct move *m = owner;

	m->agains++;
	m->l = (struct vmstate_loader){ .vm = &m->y->vm };
	vmx_lock(m->y);
	machine_reset_devices(m->y->vm.machine);
	vmx_unlock(m->y);
	return 0;
}

static int claim(void *owner, char *err, size_t errlen)
{
	struct move *m = owner;
	struct block *b = machine_disk(m->y->vm.machine);

	/* the source was in doubt, and is ahead of us */
	if (m->disk_taken)
		assert_int_equal(disk_shared_settle(machine_disk(m->x->vm.machine),
						    &m->t.disk, false, err, errlen), 0);
	return disk_shared_claim(b, &m->t.disk, err, errlen);
}

static int receive(struct move *m)
{
	int ret = target_hello(&m->t, m->err, sizeof(m->err));

	if (!ret)
		ret = vmstate_read(&m->t.in, &m->st, m->err, sizeof(m->err));
	if (ret)
		return ret;
	m->y = vmx_new(&m->st);
	m->l.vm = &m->y->vm;
	vmx_now = m->x;
	ret = vmstate_check_memory(&m->st, machine_mem(m->y->vm.machine), "x", m->err,
				   sizeof(m->err));
	if (!ret && m->t.hello.flags & HELLO_DISK)
		ret = disk_shared_check(machine_disk(m->y->vm.machine), &m->t.disk, m->err,
					sizeof(m->err));
	if (!ret)
		ret = target_load(&m->t, m->err, sizeof(m->err));
	return ret ? ret : target_wait(&m->t, m->err, sizeof(m->err));
}

static void *target_main(void *arg)
{
	struct move *m = arg;
	const struct target_guest guest = {
		.owner = m, .place = place, .load = load, .loaded = loaded,
		.again = again, .claim = vmx_no_disk ? NULL : claim,
	};
	const struct channel_opts o = { .wake_fd = -1 };
	struct listener *l;
	struct address a;
	struct channel *c;

	assert_int_equal(address_parse(&a, m->path, true, m->err, sizeof(m->err)), 0);
	l = listener_new(&a, &o, m->err, sizeof(m->err));
	if (!l)
		fail_msg("%s", m->err);
	c = listener_accept(l, 0, m->err, sizeof(m->err));
	if (!c)
		fail_msg("%s", m->err);
	listener_close(l);
	assert_int_equal(target_init(&m->t, c, &guest), 0);
	m->ret = receive(m);
	if (m->ret)
		target_fail(&m->t, m->err);
	target_free(&m->t);
	channel_close(c);
	return NULL;
}

/* ---- the source ----------------------------------------------------------- */

static void on_progress(void *owner, const struct migrate_now *now)
{
	struct move *m = owner;
	unsigned int i;

	m->told++;
	assert_true(now->done <= now->total);
	vmx_lock(m->x);
	for (i = 0; i < 3 && m->writes; i++, m->writes--)
		vmx_write(m->x, 256 + (m->told * 7 + i * 13) % 3000,
			  1000 + m->told * 3 + i);
	if (m->cancel)
		migrate_cancel(m->x->vm.migrating);
	vmx_unlock(m->x);
}

/* the lock is held */
static void on_done(void *owner, const struct migrate_result *result)
{
	struct move *m = owner;

	m->result = *result;
	m->done = true;
	assert_int_equal(pthread_mutex_trylock(&m->x->vm.lock), EBUSY);
}

/* it is bound first, and listens a moment later: /proc/net/unix says so */
static bool listens(const char *path)
{
	char line[512];
	unsigned int flags;
	bool found = false;
	FILE *f = fopen("/proc/net/unix", "r");

	assert_non_null(f);
	while (fgets(line, sizeof(line), f))
		if (strstr(line, path) &&
		    sscanf(line, "%*s %*s %*s %x", &flags) == 1 &&
		    flags & 1 << 16)	/* __SO_ACCEPTCON */
			found = true;
	fclose(f);
	return found;
}

static void move(struct move *m)
{
	struct migrate_opts o = {
		.to = m->path, .downtime_ns = 300 * MS, .progress = on_progress,
		.done = on_done, .owner = m,
	};
	struct vm *vm = &m->x->vm;
	pthread_t target;
	char err[512];

	snprintf(m->path, sizeof(m->path), "unix:%s", sf_path("sock"));
	assert_int_equal(pthread_create(&target, NULL, target_main, m), 0);
	while (!listens(m->path + 5))
		usleep(100);
	vmx_lock(m->x);
	if (!migrate_start(vm, &o, err, sizeof(err)))
		fail_msg("%s", err);
	assert_null(migrate_start(vm, &o, err, sizeof(err)));
	assert_non_null(strstr(err, "already"));
	while (vm->migrating)
		pthread_cond_wait(&vm->changed, &vm->lock);
	vmx_unlock(m->x);
	pthread_join(target, NULL);
	assert_true(m->done);
}

/* ---- tests ---------------------------------------------------------------- */

static int setup(void **state)
{
	struct move *m = calloc(1, sizeof(*m));

	vmx_no_disk = true;
	vmx_same_disk = false;
	m->x = vmx_new(NULL);
	vmx_stir(m->x);
	vmx_write(m->x, 1, 5);
	vmx_write(m->x, 2, 200);
	vmx_write(m->x, 300, 201);
	*state = m;
	return 0;
}

static int teardown(void **state)
{
	struct move *m = *state;

	if (m->y)
		vmx_free(m->y);
	vmx_free(m->x);
	vmstate_free(&m->st);
	free(m);
	fx_hold_clock(false);
	return 0;
}

/* the ACPI timer notes what it has counted when it is asked, wherever that is */
static void look_at_timer(struct vmx *x)
{
	struct machine *m = x->vm.machine;

	vmx_now = x;
	machine_pio_write(m, 0xcf8, 0x80000000U | 1 << 11 | 3 << 8 | 0x40, 4);
	machine_pio_write(m, 0xcfc, MACHINE_PM_BASE | 1, 4);
	machine_pio_write(m, 0xcf8, 0x80000000U | 1 << 11 | 3 << 8 | 0x80, 4);
	machine_pio_write(m, 0xcfc, 1, 1);
	machine_pio_read(m, MACHINE_PM_BASE, 2);
}

static void same(struct move *m)
{
	struct mem *here = machine_mem(m->x->vm.machine);
	struct mem *there = machine_mem(m->y->vm.machine);
	struct stream a, b;
	unsigned int i;

	for (i = 0; i < mem_regions(here); i++) {
		struct mem_info r = mem_region(here, i), s = mem_region(there, i);

		assert_int_equal(r.size, s.size);
		if (memcmp(r.hva, s.hva, r.size))
			fail_msg("other memory in the region at %#llx",
				 (unsigned long long)r.gpa);
	}
	/* the TSC where the clock's ticks are 0, which was when it was loaded */
	for (i = 0; i < VMX_CPUS; i++)
		m->x->tsc[i].base += m->x->clock.ticks;
	m->x->clock.ticks = m->y->clock.ticks = 0;
	look_at_timer(m->x);
	look_at_timer(m->y);
	vmx_save(m->x, &a);
	vmx_save(m->y, &b);
	assert_int_equal(a.len, b.len);
	assert_memory_equal(a.data, b.data, a.len);
	stream_free(&a);
	stream_free(&b);
}

static void moved(struct move *m)
{
	if (m->result.state != SOURCE_MOVED)
		fail_msg("%s; %s", m->result.text, m->err);
	assert_int_equal(m->ret, 0);
	assert_true(m->x->vm.ending);
	assert_int_equal(m->x->vm.paused, VM_PAUSE_MIGRATE);
	same(m);
}

static void test_moves(void **state)
{
	struct move *m = *state;

	move(m);
	moved(m);
	/* zeroes are not among what was sent */
	assert_true(m->result.now.done < 400);
}

static void test_moves_while_written(void **state)
{
	struct move *m = *state;

	m->writes = 60;
	move(m);
	moved(m);
	assert_true(m->told > 1);
}

static void last_words(struct vmx *x)
{
	unsigned int i;

	for (i = 0; i < 20; i++)
		vmx_write(x, 1000 + i * 2, 50 + i);
}

/* and what is written until the guest stands still */
static void test_last_words(void **state)
{
	struct move *m = *state;

	m->x->paused = last_words;
	move(m);
	moved(m);
}

/* all of it comes twice to devices that have it already */
static void test_late(void **state)
{
	struct move *m = *state;

	m->late_loads = 2;
	m->writes = 20;
	m->x->paused = last_words;
	move(m);
	moved(m);
	assert_int_equal(m->agains, 2);
	assert_int_equal(m->result.late, 2);
}

static void test_cancelled(void **state)
{
	struct move *m = *state;

	m->cancel = true;
	move(m);
	assert_int_equal(m->result.state, SOURCE_KEPT);
	assert_int_equal(m->result.error, -ECANCELED);
	assert_int_equal(m->x->vm.paused, 0);
	assert_false(m->x->vm.ending);
	assert_int_not_equal(m->ret, 0);
}

static void test_nobody(void **state)
{
	struct move *m = *state;
	struct migrate_opts o = {
		.to = "unix:/nonexistent/socket", .downtime_ns = MS,
		.progress = on_progress, .done = on_done, .owner = m,
	};

	vmx_lock(m->x);
	assert_non_null(migrate_start(&m->x->vm, &o, m->err, sizeof(m->err)));
	while (m->x->vm.migrating)
		pthread_cond_wait(&m->x->vm.changed, &m->x->vm.lock);
	vmx_unlock(m->x);
	assert_int_equal(m->result.state, SOURCE_KEPT);
	assert_int_equal(m->x->vm.paused, 0);
	assert_non_null(strstr(m->result.text, "/nonexistent/socket"));
}

static void test_refused(void **state)
{
	struct move *m = *state;
	struct migrate_opts o = { .to = "there", .downtime_ns = MS };

	vmx_lock(m->x);
	assert_null(migrate_start(&m->x->vm, &o, m->err, sizeof(m->err)));
	assert_non_null(strstr(m->err, "tcp:HOST"));
	o.to = "unix:x";
	m->x->vm.in_doubt = true;
	assert_null(migrate_start(&m->x->vm, &o, m->err, sizeof(m->err)));
	assert_non_null(strstr(m->err, "resume --force"));
	assert_int_equal(migrate_force(&m->x->vm, m->err, sizeof(m->err)), 0);
	assert_false(m->x->vm.in_doubt);
	vmx_unlock(m->x);
}

static void with_disk(struct move *m, bool same)
{
	vmx_free(m->x);
	vmx_no_disk = false;
	vmx_same_disk = same;
	m->x = vmx_new(NULL);
	vmx_stir(m->x);
}

static uint64_t generation(struct vmx *x)
{
	uint64_t n = 0;

	assert_int_equal(block_generation_get(machine_disk(x->vm.machine), &n, x->err,
					      sizeof(x->err)), 0);
	return n;
}

/* who else would open it is refused; 0: nobody has it */
static int taken(struct vmx *x)
{
	return block_take(machine_disk(x->vm.machine), x->err, sizeof(x->err));
}

static void test_shared_disk(void **state)
{
	struct move *m = *state;

	with_disk(m, true);
	move(m);
	if (m->result.state != SOURCE_MOVED)
		fail_msg("%s; %s", m->result.text, m->err);
	assert_int_equal(generation(m->y), m->t.disk.generation + 1);
	assert_int_equal(taken(m->x), -EAGAIN);
	/* and back it never comes without the target */
	assert_int_equal(disk_shared_settle(machine_disk(m->x->vm.machine), &m->t.disk, false,
					    m->err, sizeof(m->err)), -ESTALE);
}

/* it has as many bytes, but is no disk of ours */
static void test_other_disk(void **state)
{
	struct move *m = *state;

	with_disk(m, false);
	move(m);
	assert_int_equal(m->result.state, SOURCE_KEPT);
	assert_int_equal(m->ret, -ESTALE);
	assert_non_null(strstr(m->result.text, "another file, perhaps a copy"));
	assert_int_equal(m->x->vm.paused, 0);
}

/* "go" came, and the disk was taken back meanwhile: it says no */
static void test_disk_taken_back(void **state)
{
	struct move *m = *state;

	with_disk(m, true);
	m->disk_taken = 1;
	move(m);
	assert_int_equal(m->result.state, SOURCE_KEPT);
	assert_int_equal(m->ret, -ESTALE);
	assert_int_equal(m->x->vm.paused, 0);
	assert_true(generation(m->x) > m->t.disk.generation + 1);
	assert_int_equal(taken(m->y), -EAGAIN);
}

/* --force asks the disk, which knows better */
static void test_force_asks(void **state)
{
	struct move *m = *state;
	struct migrate_disk d;
	struct block *b;
	struct vm *vm;

	with_disk(m, true);
	vm = &m->x->vm;
	b = machine_disk(vm->machine);
	vmx_lock(m->x);
	assert_int_equal(disk_shared_describe(b, &d, m->err, sizeof(m->err)), 0);
	block_let_go(b);
	vm->in_doubt = vm->lent = true;
	vm->lent_disk = d.generation;
	assert_int_equal(disk_shared_claim(b, &d, m->err, sizeof(m->err)), 0);
	block_let_go(b);
	assert_int_equal(migrate_force(vm, m->err, sizeof(m->err)), -ESTALE);
	assert_true(vm->in_doubt);
	vm->lent_disk++;
	assert_int_equal(migrate_force(vm, m->err, sizeof(m->err)), 0);
	assert_false(vm->in_doubt);
	assert_int_equal(generation(m->x), d.generation + 3);
	vmx_unlock(m->x);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_moves), T(test_moves_while_written), T(test_last_words),
		T(test_late), T(test_cancelled), T(test_nobody), T(test_refused),
		T(test_shared_disk), T(test_other_disk), T(test_disk_taken_back),
		T(test_force_asks),
	};

	return cmocka_run_group_tests_name("migrate_vm", tests, sf_setup, sf_teardown);
}
