// SPDX-License-Identifier: GPL-2.0
/*
 * States and snapshots that somebody has worked on: nothing that is read may
 * crash, hang, write beyond memory or be answered in more than one line; a device
 * that refuses a state is as it was; and with one that it takes it can work.
 *
 *	FUZZ_SECONDS=600 FUZZ_SEED=7 build/unit/test_state_fuzz
 *	build/unit/test_state_fuzz FILE...
 *
 * Inputs are taken apart into sections, changed, and put together again with
 * numbers, checksums and offsets that fit, most of the time. They begin with the
 * files in golden/ and corpus/, and a VM whose devices are at work. A crash leaves
 * its input in FUZZ_OUT (by default /tmp/vmm-fuzz-SEED) and names the seed, with
 * which the run goes the same way again; such an input belongs into corpus/, packed
 * by zstd.
 */
#define _GNU_SOURCE 1
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <dirent.h>
#include <sanitizer/common_interface_defs.h>
#include <signal.h>
#include <sys/random.h>
#include <time.h>

#include "fuzz_input.h"
#include "snapshot/restore.h"
#include "vm_fixture.h"

#define BASES_MAX	32
#define HANG_SECONDS	60

static struct { uint8_t *data; size_t len; } bases[BASES_MAX];
static unsigned int nbases;
static uint64_t seed, cases, opened, loaded, taken, refused;
static struct vmx *x;

/* what is being tried, for a crash */
static const uint8_t *trying;
static size_t trying_len;

/* ---- a crash -------------------------------------------------------------- */

static void leave_input(void)
{
	static char path[300];
	const char *out = getenv("FUZZ_OUT");
	int fd;

	snprintf(path, sizeof(path), out ? "%s" : "/tmp/vmm-fuzz-%s%llu", out ? out : "",
		 (unsigned long long)seed);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	dprintf(STDERR_FILENO, "FUZZ_SEED=%llu, case %llu; its input, %zu bytes: %s\n",
		(unsigned long long)seed, (unsigned long long)cases, trying_len, path);
	if (fd < 0 || write(fd, trying, trying_len) != (ssize_t)trying_len)
		dprintf(STDERR_FILENO, "cannot write it\n");
}

static void on_signal(int sig)
{
	dprintf(STDERR_FILENO, sig == SIGALRM ? "it hangs\n" : "aborted\n");
	leave_input();
	signal(sig, SIG_DFL);
	raise(sig);
}

static void bad(const char *what)
{
	fprintf(stderr, "%s\n", what);
	abort();
}

static void check_line(int ret, const char *err)
{
	if (ret < 0 ? !err[0] || strchr(err, '\n') : err[0])
		bad(err[0] ? err : "refused without a word");
}

/* ---- a guest that works --------------------------------------------------- */

static uint32_t config(unsigned int slot, unsigned int offset, const uint32_t *value)
{
	machine_pio_write(x->vm.machine, 0xcf8, 0x80000000U | slot << 11 | offset, 4);
	if (value)
		machine_pio_write(x->vm.machine, 0xcfc, *value, 4);
	return machine_pio_read(x->vm.machine, 0xcfc, 4);
}

static void set_config(unsigned int slot, unsigned int offset, uint32_t value)
{
	config(slot, offset, &value);
}

/* virtio 1.2, 4.1.4.3: common configuration */
enum { DRIVER_SELECT = 8, DRIVER_FEATURES = 12, STATUS = 0x14, QUEUE_SELECT = 0x16,
	QUEUE_SIZE = 0x18, QUEUE_ENABLE = 0x1c, QUEUE_DESC = 0x20, QUEUE_DRIVER = 0x28,
	QUEUE_DEVICE = 0x30 };

#define RINGS	0x200000ULL	/* a page for each queue */

static void drive_queue(uint64_t bar, unsigned int q, uint64_t at)
{
	/* two buffers in one chain, to be read and to be written */
	static const struct { uint64_t addr; uint32_t len; uint16_t flags, next; } desc[2] = {
		{ 0x300000, 16, 1, 1 }, { 0x301000, 600, 2, 0 },
	};
	static const uint16_t avail[4] = { 0, 1, 0, 0 };
	struct mem *mem = machine_mem(x->vm.machine);
	struct machine *m = x->vm.machine;

	mem_write(mem, at, desc, sizeof(desc));
	mem_write(mem, at + 0x400, avail, sizeof(avail));
	mem_write(mem, at + 0x800, avail + 2, 4);
	machine_mmio_write(m, bar + QUEUE_SELECT, q, 2);
	machine_mmio_write(m, bar + QUEUE_SIZE, 16, 2);
	machine_mmio_write(m, bar + QUEUE_DESC, at, 4);
	machine_mmio_write(m, bar + QUEUE_DRIVER, at + 0x400, 4);
	machine_mmio_write(m, bar + QUEUE_DEVICE, at + 0x800, 4);
	machine_mmio_write(m, bar + QUEUE_ENABLE, 1, 2);
}

/* all virtio devices have queues, with something in them */
static void drive(void)
{
	struct machine *m = x->vm.machine;
	unsigned int slot, q;

	for (slot = 0; slot < 32; slot++) {
		uint64_t bar = 0xfe000000ULL + slot * 0x10000;

		if ((config(slot, 0, NULL) & 0xffff) != 0x1af4)
			continue;
		set_config(slot, 0x10, bar);
		set_config(slot, 0x14, bar + 0x8000);
		set_config(slot, 4, 6);
		machine_mmio_write(m, bar + STATUS, 0, 1);
		machine_mmio_write(m, bar + STATUS, 3, 1);
		machine_mmio_write(m, bar + DRIVER_SELECT, 1, 4);
		machine_mmio_write(m, bar + DRIVER_FEATURES, 1, 4);
		machine_mmio_write(m, bar + STATUS, 11, 1);
		for (q = 0; q < 2; q++)
			drive_queue(bar, q, RINGS + (slot * 2 + q) * PAGES_SIZE);
		machine_mmio_write(m, bar + STATUS, 15, 1);
		/* taken back and given anew by the use that follows */
		machine_mmio_write(m, bar + 0x3000, 0, 2);
	}
}

/* ---- who reads it --------------------------------------------------------- */

/* what the guest and the loop do next */
static void use_machine(void)
{
	static const uint16_t ports[] = {
		0x20, 0x21, 0xa0, 0xa1, 0x40, 0x41, 0x42, 0x43, 0x60, 0x61, 0x64, 0x70, 0x71,
		0x3f8, 0x3f9, 0x3fa, 0x3fb, 0x3fc, 0x3fd, 0x3fe, 0x4d0, 0x510, 0x511, 0x600, 0x602,
		0x604, 0x608, 0xcf8, 0xcfc, 0xcfd, 0xcff,
	};
	struct machine *m = x->vm.machine;
	unsigned int i;

	for (i = 0; i < 30; i++) {
		uint16_t port = ports[fuzz_rnd(sizeof(ports) / sizeof(*ports))];

		if (fuzz_rnd(2))
			machine_pio_read(m, port, 1U << fuzz_rnd(3));
		else
			machine_pio_write(m, port, rng_next(&fuzz_rng), 1U << fuzz_rnd(3));
		machine_mmio_read(m, MACHINE_IOAPIC + fuzz_rnd(64), 4);
		machine_eoi(m, fuzz_rnd(256));
		if (machine_pic_pending(m))
			machine_pic_ack(m);
	}
	/* the devices' BARs, see drive() */
	for (i = 0; i < 40; i++) {
		uint64_t gpa = 0xfe000000ULL + fuzz_rnd(8) * 0x10000 + fuzz_rnd(10) * 0x1000 + fuzz_rnd(64) * 4;

		if (fuzz_rnd(2))
			machine_mmio_read(m, gpa, 4);
		else
			machine_mmio_write(m, gpa, fuzz_rnd(2) ? fuzz_rnd(16) : fuzz_rnd(~0U), 1U << fuzz_rnd(3));
	}
}

static void read_snapshot(const uint8_t *data, size_t len)
{
	struct snapshot_file *chain[SNAPSHOT_CHAIN_MAX];
	static uint8_t all[VMX_MEMORY];
	char err[512] = "";
	struct snapshot_disk d;
	int n, ret;

	sf_write(sf_path("fuzz"), data, len);
	n = snapshot_open_chain(sf_path("fuzz"), chain, err, sizeof(err));
	check_line(n, err);
	if (n < 0)
		return;
	opened++;
	options_text_alien(chain[0]->state.text, chain[0]->state.text_len);
	err[0] = 0;
	ret = snapshot_find_disk(chain[0], &d, err, sizeof(err));
	check_line(ret, err);
	if (!ret && strchr(d.file, '/'))
		bad("a disk of elsewhere");
	err[0] = 0;
	ret = restore_memory(chain, n, all, fuzz_rnd(4) ? sizeof(all) : fuzz_rnd(sizeof(all)) & ~4095U, err,
			     sizeof(err));
	check_line(ret, err);
	err[0] = 0;
	ret = vmx_load(x, chain[0], err, sizeof(err));
	check_line(ret, err);
	loaded += !ret;
	snapshot_close_chain(chain, n);
	use_machine();
}

static void read_stream(const uint8_t *data, size_t len)
{
	struct vmstate_loader l = { .vm = &x->vm };
	struct vmm_cpuid_entry host[2] = { { .function = 1, .edx = 0x11 } };
	struct stream s;
	char err[512] = "";
	struct vmstate st;
	int ret;

	stream_init(&s);
	s.data = (uint8_t *)data;
	s.len = len;
	ret = vmstate_read(&s.in, &st, err, sizeof(err));
	check_line(ret, err);
	if (!ret) {
		vmstate_check_host(&st, &x->vm.api.info, host, 2, err, sizeof(err));
		vmstate_check_memory(&st, machine_mem(x->vm.machine), "stream", err, sizeof(err));
	} else if (fuzz_rnd(2)) {
		stream_rewind(&s);	/* what follows may be good */
	}
	vmstate_free(&st);
	vmx_lock(x);
	for (ret = 0, err[0] = 0; !ret && !l.ended; err[0] = 0) {
		ret = section_next(&s.in, err, sizeof(err));
		if (!ret && section_is(&s.in, PAGES_TAG))
			s.at += s.in.head.len < s.len - s.at ? s.in.head.len : s.len - s.at;
		else if (!ret)
			ret = vmstate_load(&l, &s.in, err, sizeof(err));
		check_line(ret, err);
	}
	vmx_unlock(x);
	use_machine();
}

/* one device's bytes, changed: taken, or refused with nothing changed */
static void load_device(void)
{
	struct machine *m = x->vm.machine;
	unsigned int n = 0, i, k;
	uint8_t *was, *now, *after;
	struct stream s;
	size_t len;
	char name[32] = { 0 };
	int ret;

	while (machine_dev_name(m, n))
		n++;
	i = fuzz_rnd(n);
	vmx_lock(x);
	len = machine_dev_save(m, i, NULL, 0);
	was = malloc(len + 1);
	now = malloc(len + 1);
	after = malloc(len + 1);
	if (machine_dev_save(m, i, was, len) != len)
		bad("a save of another length");
	memcpy(now, was, len);
	for (k = 1 + fuzz_rnd(4); k; k--)
		fuzz_change_bytes(now, len);
	/* as a section, in case it crashes */
	strncpy(name, machine_dev_name(m, i), sizeof(name));
	stream_init(&s);
	section_put(&s.out, "device", 1, name, sizeof(name), now, len);
	trying = s.data;
	trying_len = s.len;
	ret = machine_dev_load(m, i, now, fuzz_rnd(16) ? len : fuzz_rnd(len + 1));
	if (ret && ret != -EINVAL)
		bad("an error that is not EINVAL");
	if (machine_dev_save(m, i, after, len) != len)
		bad("a save of another length after a load");
	if (ret && memcmp(was, after, len))
		bad("refused, but changed");
	/* what it saves it takes */
	if (!ret && machine_dev_load(m, i, after, len))
		bad("its own save is refused");
	taken += !ret;
	refused += !!ret;
	vmx_unlock(x);
	use_machine();
	stream_free(&s);
	free(was);
	free(now);
	free(after);
}

/* ---- running -------------------------------------------------------------- */

static void try(const uint8_t *data, size_t len)
{
	/* a copy of just that size: who reads beyond its end is found */
	uint8_t *copy = malloc(len);

	memcpy(copy, data, len);
	trying = copy;
	trying_len = len;
	read_snapshot(copy, len);
	read_stream(copy, len);
	free(copy);
}

static void one_case(void)
{
	static struct input in;
	unsigned int base = fuzz_rnd(nbases);
	size_t len;
	uint8_t *out;

	alarm(HANG_SECONDS);
	if (fuzz_rnd(4)) {
		load_device();
	} else {
		input_take_apart(&in, bases[base].data, bases[base].len);
		input_change(&in);
		out = input_put_together(&in, fuzz_rnd(30), &len);
		try(out, fuzz_rnd(30) ? len : fuzz_rnd(len + 1));
		input_free(&in);
	}
	/* back to where devices have something to do */
	if (cases % 16 == 0) {
		vmx_lock(x);
		machine_reset(x->vm.machine);
		vmx_unlock(x);
		vmx_stir(x);
		drive();
	}
	cases++;
}

static void read_bases(const char *dir)
{
	char path[300];
	struct dirent *e;
	DIR *d;

	snprintf(path, sizeof(path), "selftests/unit/%s", dir);
	d = opendir(path);
	assert_non_null(d);
	while ((e = readdir(d))) {
		if (!strstr(e->d_name, ".zst"))
			continue;
		assert_true(nbases < BASES_MAX);
		bases[nbases].data = sf_unpack(dir, e->d_name, &bases[nbases].len);
		/* parents are found */
		snprintf(path, sizeof(path), "%.*s", (int)strlen(e->d_name) - 4, e->d_name);
		sf_write(sf_path(path), bases[nbases].data, bases[nbases].len);
		nbases++;
	}
	closedir(d);
}

static uint64_t number_of(const char *variable, uint64_t otherwise)
{
	const char *s = getenv(variable);

	return s && *s ? strtoull(s, NULL, 0) : otherwise;
}

static uint64_t seconds(void)
{
	return time(NULL);
}

static void begin(void)
{
	const struct sigaction act = { .sa_handler = on_signal, .sa_flags = SA_RESETHAND };

	__sanitizer_set_death_callback(leave_input);
	sigaction(SIGABRT, &act, NULL);
	sigaction(SIGALRM, &act, NULL);
	if (getrandom(&seed, sizeof(seed), 0) != sizeof(seed))
		seed = seconds();
	seed = number_of("FUZZ_SEED", seed >> 40);
	fuzz_rng.x = seed * 2 + 1;
	read_bases("golden");
	read_bases("corpus");
	x = vmx_new(NULL);
	vmx_stir(x);
	drive();
	/* one whose devices are at work */
	vmx_snapshot(x, sf_path("live"), false);
	bases[nbases].data = sf_read(sf_path("live"), &bases[nbases].len);
	assert_true(bases[nbases].len < INPUT_MAX && nbases < BASES_MAX);
	nbases++;
}

static void end(void)
{
	alarm(0);
	vmx_free(x);
	while (nbases)
		free(bases[--nbases].data);
}

/* all of them as they are: they can be read, and crash nothing */
static void test_corpus(void **state)
{
	unsigned int i;

	for (i = 0; i < nbases; i++)
		try(bases[i].data, bases[i].len);
	assert_true(opened >= 3 && loaded >= 3);
}

static void test_cases(void **state)
{
	uint64_t last = seconds() + number_of("FUZZ_SECONDS", 5);

	opened = loaded = 0;
	do {
		one_case();
	} while (seconds() < last);
	assert_true(opened && taken && refused);
	printf("# FUZZ_SEED=%llu: %llu cases, %llu snapshots opened, %llu loaded; %llu states of devices taken, %llu refused\n",
	       (unsigned long long)seed, (unsigned long long)cases,
	       (unsigned long long)opened, (unsigned long long)loaded,
	       (unsigned long long)taken, (unsigned long long)refused);
	fflush(stdout);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_corpus), cmocka_unit_test(test_cases),
	};
	int failed = 0, i;
	uint8_t *data;
	size_t len;

	if (sf_setup(NULL))
		return 1;
	begin();
	for (i = 1; i < argc; i++) {
		data = sf_read(argv[i], &len);
		try(data, len);
		free(data);
	}
	if (argc == 1)
		failed = cmocka_run_group_tests_name("state_fuzz", tests, NULL, NULL);
	end();
	return sf_teardown(NULL) || failed;
}
