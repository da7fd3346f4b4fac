// SPDX-License-Identifier: GPL-2.0
/*
 * The whole PC: it is built, survives accesses anywhere, is reset and freed
 * without a leak; and what it says when it cannot be built.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "loop.h"
#include "machine.h"
#include "mem.h"

static char disk[] = "/tmp/vmm-machine-XXXXXX";
static char firmware[] = "/tmp/vmm-machine-XXXXXX";
static char console[64];

static unsigned int resets, poweroffs, raised;

static void on_reset(void *owner)
{
	resets++;
}

static void on_poweroff(void *owner)
{
	poweroffs++;
}

static void on_raised(void *owner)
{
	raised++;
}

static int setup(void **state)
{
	uint8_t *image = calloc(1, 65536);
	int fd;

	strcpy(disk, "/tmp/vmm-machine-XXXXXX");
	strcpy(firmware, "/tmp/vmm-machine-XXXXXX");
	fd = mkstemp(disk);
	assert_int_equal(ftruncate(fd, 1 << 20), 0);
	close(fd);
	memset(image + 65520, 0xea, 16);
	fd = mkstemp(firmware);
	assert_int_equal(write(fd, image, 65536), 65536);
	close(fd);
	snprintf(console, sizeof(console), "%s.console", disk);
	free(image);
	resets = poweroffs = raised = 0;
	return 0;
}

static int teardown(void **state)
{
	unlink(disk);
	unlink(firmware);
	unlink(console);
	return 0;
}

static struct vm_config config(void)
{
	return (struct vm_config){
		.disk = disk,
		.cpus = 2,
		.memory = 64 << 20,
		.net = NET_NONE,
		.console = CONSOLE_FILE,
		.console_path = console,
		.firmware = firmware,
	};
}

static struct machine *build(struct loop *loop, pthread_mutex_t *lock,
			     const struct vm_config *cfg, char *err)
{
	const struct machine_hooks hooks = {
		.reset = on_reset,
		.poweroff = on_poweroff,
		.pic_raised = on_raised,
	};
	struct machine *m = machine_new(NULL, loop, lock, cfg, err, 256);

	if (m && machine_build(m, err, 256)) {
		machine_free(m);
		m = NULL;
	}
	if (m)
		machine_set_hooks(m, &hooks);
	return m;
}

static void survives(void **state)
{
	pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
	struct loop *loop = loop_new(&lock);
	struct vm_config cfg = config();
	char err[256] = "";
	struct machine *m = build(loop, &lock, &cfg, err);
	unsigned int i, size;
	uint64_t x = 88172645463325252ULL;

	assert_non_null(m);
	assert_int_equal(machine_pio_read(m, 0xed, 1), 0xff);
	assert_int_equal(machine_mmio_read(m, 0xa0000, 4), 0xffffffff);
	machine_pio_write(m, 0xcf9, 6, 1);
	assert_int_equal(resets, 1);
	for (i = 0; i < 200000; i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		size = 1U << (x >> 60) % 3;
		/* every port, those of PCI config space more often */
		if (x & 1)
			machine_pio_write(m, x & 2 ? 0xcf8 + (x >> 8) % 8 :
					  x >> 8, x >> 24, size);
		else
			machine_pio_read(m, x >> 8, size);
		machine_mmio_write(m, 0xfec00000 + (x >> 8) % 4096, x >> 20,
				   size);
		machine_eoi(m, x >> 8);
		if (machine_pic_pending(m))
			machine_pic_ack(m);
		if (i % 50000 == 0) {
			pthread_mutex_lock(&lock);
			machine_power_button(m);
			machine_reset(m);
			pthread_mutex_unlock(&lock);
		}
	}
	machine_free(m);
	loop_free(loop);
}

static void memory(void **state)
{
	pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
	struct loop *loop = loop_new(&lock);
	struct vm_config cfg = config();
	char err[256] = "";
	struct machine *m;
	struct mem *mem;

	cfg.memory = 5ULL << 30;
	m = build(loop, &lock, &cfg, err);
	assert_non_null(m);
	mem = machine_mem(m);
	assert_true(mem_low_size(mem) == MACHINE_MMIO_HOLE);
	assert_true(mem_high_size(mem) == (5ULL << 30) - MACHINE_MMIO_HOLE);
	assert_non_null(mem_ptr(mem, 0, 0xa0000));
	assert_null(mem_ptr_ro(mem, 0xa0000, 1));
	assert_non_null(mem_ptr(mem, 0xc0000, MACHINE_MMIO_HOLE - 0xc0000));
	assert_null(mem_ptr_ro(mem, MACHINE_MMIO_HOLE, 1));
	assert_non_null(mem_ptr_ro(mem, 0xffff0000, 0x10000));
	machine_free(m);
	loop_free(loop);
}

static void refused(struct vm_config *cfg, const char *word)
{
	pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
	struct loop *loop = loop_new(&lock);
	char err[256] = "";

	assert_null(build(loop, &lock, cfg, err));
	if (!strstr(err, word))
		fail_msg("no \"%s\" in \"%s\"", word, err);
	loop_free(loop);
}

static void bad_config(void **state)
{
	struct vm_config cfg = config();

	cfg.firmware = "/nonexistent/bios.bin";
	refused(&cfg, "/nonexistent/bios.bin");
	cfg = config();
	cfg.disk = "/nonexistent/disk.img";
	refused(&cfg, "/nonexistent/disk.img");
	cfg = config();
	cfg.console_path = "/nonexistent/console";
	refused(&cfg, "/nonexistent/console");
	cfg = config();
	cfg.firmware_log = "/nonexistent/log";
	refused(&cfg, "/nonexistent/log");
	cfg = config();
	cfg.memory = 1ULL << 62;
	refused(&cfg, "guest memory");
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(survives), T(memory), T(bad_config),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
