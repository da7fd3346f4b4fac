// SPDX-License-Identifier: GPL-2.0
/* fw_cfg: ports, DMA, the directory; and DMA descriptors that lie. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <endian.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "dev/fwcfg.h"
#include "fixture.h"

#define ERROR	1
#define READ	2
#define SKIP	4
#define SELECT	8
#define WRITE	16

struct test {
	struct fx *fx;
	struct fwcfg *fw;
};

struct dma {
	uint32_t control, length;
	uint64_t address;
};

static int setup(void **state)
{
	static struct test t;

	t = (struct test){ .fx = fx_new() };
	t.fw = fwcfg_new(&t.fx->env);
	assert_non_null(t.fw);
	*state = &t;
	return 0;
}

static int teardown(void **state)
{
	fx_free(((struct test *)*state)->fx);
	return 0;
}

static void pio_read(struct test *t, uint16_t key, void *buf, size_t len)
{
	uint8_t *p = buf;

	fx_out(t->fx, 0x510, key, 2);
	while (len--)
		*p++ = fx_in(t->fx, 0x511, 1);
}

/* the control word afterwards */
static uint32_t dma(struct test *t, uint64_t at, uint32_t control,
		    uint32_t length, uint64_t address)
{
	struct dma d = {
		.control = htobe32(control),
		.length = htobe32(length),
		.address = htobe64(address),
	};

	fx_lock(t->fx);
	mem_write(t->fx->env.mem, at, &d, sizeof(d));
	fx_unlock(t->fx);
	fx_out(t->fx, 0x514, htobe32(at >> 32), 4);
	fx_out(t->fx, 0x518, htobe32(at), 4);
	d.control = htobe32(0xdead);
	mem_read(t->fx->env.mem, at, &d.control, sizeof(d.control));
	return be32toh(d.control);
}

static void signature(void **state)
{
	struct test *t = *state;
	uint32_t id;
	char sig[6];

	pio_read(t, FWCFG_SIGNATURE, sig, 6);
	assert_memory_equal(sig, "QEMU\0\0", 6);
	pio_read(t, FWCFG_ID, &id, 4);
	assert_int_equal(le32toh(id), 3);
	assert_true(bus_read(t->fx->env.pio, 0x514, 8) ==
		    htobe64(0x51454d5520434647ULL));
	assert_int_equal(fx_in(t->fx, 0x518, 4), htobe32(0x20434647));
	pio_read(t, 0x7777, &id, 4);
	assert_int_equal(id, 0);
}

static void files(void **state)
{
	struct test *t = *state;
	struct {
		uint32_t count;
		struct {
			uint32_t size;
			uint16_t select, reserved;
			char name[56];
		} f[2];
	} __attribute__((packed)) dir;
	char text[8];
	char name[80];

	assert_int_equal(fwcfg_add_file(t->fw, "etc/one", "first", 5), 0);
	assert_int_equal(fwcfg_add_file(t->fw, "etc/two", "second", 6), 0);
	assert_int_equal(fwcfg_add_file(t->fw, "etc/two", "x", 1), -EEXIST);
	memset(name, 'n', sizeof(name));
	name[56] = 0;
	assert_int_equal(fwcfg_add_file(t->fw, name, "x", 1), -ENAMETOOLONG);
	pio_read(t, FWCFG_FILE_DIR, &dir, sizeof(dir));
	assert_int_equal(be32toh(dir.count), 2);
	assert_string_equal(dir.f[1].name, "etc/two");
	assert_int_equal(be32toh(dir.f[1].size), 6);
	pio_read(t, be16toh(dir.f[1].select), text, 8);
	assert_memory_equal(text, "second\0\0", 8);
	assert_int_equal(fwcfg_add_u16(t->fw, FWCFG_NB_CPUS, 4), 0);
	assert_int_equal(fwcfg_add_u16(t->fw, FWCFG_NB_CPUS, 4), -EEXIST);
	pio_read(t, FWCFG_NB_CPUS, text, 2);
	assert_memory_equal(text, "\4\0", 2);
}

static void many_files(void **state)
{
	struct test *t = *state;
	char name[16];
	unsigned int i;
	int err = 0;

	for (i = 0; i < 100 && !err; i++) {
		snprintf(name, sizeof(name), "f%u", i);
		err = fwcfg_add_file(t->fw, name, NULL, 0);
	}
	assert_int_equal(err, -ENOSPC);
}

static void dma_works(void **state)
{
	struct test *t = *state;
	uint8_t buf[16];

	fwcfg_add_file(t->fw, "f", "0123456789", 10);
	memset(mem_ptr(t->fx->env.mem, 0x2000, 64), 0xff, 64);
	assert_int_equal(dma(t, 0x1000, 0x20 << 16 | SELECT | READ, 4, 0x2000), 0);
	assert_int_equal(dma(t, 0x1000, SKIP, 2, 0), 0);
	assert_int_equal(dma(t, 0x1000, READ, 8, 0x2004), 0);
	mem_read(t->fx->env.mem, 0x2000, buf, 16);
	assert_memory_equal(buf, "01236789\0\0\0\0\xff\xff\xff\xff", 16);
	assert_int_equal(dma(t, 0x1000, 0x20 << 16 | SELECT, 0, 0), 0);
	assert_int_equal(fx_in(t->fx, 0x511, 1), '0');
	assert_int_equal(dma(t, 0x1000, WRITE, 1, 0x2000), ERROR);
	assert_int_equal(dma(t, 0x1000, SKIP, 0xffffffff, 0), 0);
	assert_int_equal(fx_in(t->fx, 0x511, 1), 0);
}

static void dma_lies(void **state)
{
	static const uint64_t bad[] = {
		FX_RAM, FX_RAM - 3, 0xffffffff, 0xfffffffffffffff8ULL,
		0xffffffffffffffffULL, 1ULL << 63, 0xfec00000,
	};
	struct test *t = *state;
	unsigned int i;

	fwcfg_add_file(t->fw, "f", "0123456789", 10);
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		/* the buffer, the descriptor */
		assert_int_equal(dma(t, 0x1000, 0x20 << 16 | SELECT | READ, 10,
				     bad[i]), ERROR);
		dma(t, bad[i], READ, 1, 0);
		assert_int_equal(dma(t, 0x1000, READ, 0xffffffff, bad[i]), ERROR);
	}
	assert_int_equal(dma(t, 0x1000, READ, 0xffffffff, 0), ERROR);
	assert_int_equal(dma(t, 0x1000, READ, FX_RAM, 8), ERROR);
	/* onto its own descriptor: the answer is written after the data */
	assert_int_equal(dma(t, 0x1000, 0x20 << 16 | SELECT | READ, 10, 0x1000), 0);
	/* half an address only */
	fx_out(t->fx, 0x514, 0xffffffff, 4);
	fx_roundtrip(t->fx);
	fx_out(t->fx, 0x518, 0, 4);
}

static void state_of_everything(void **state)
{
	struct test *t = *state;

	fwcfg_add_file(t->fw, "f", "0123456789", 10);
	fx_out(t->fx, 0x510, 0x20, 2);
	fx_in(t->fx, 0x511, 1);
	fx_roundtrip(t->fx);
	assert_int_equal(fx_in(t->fx, 0x511, 1), '1');
	fx_fuzz(t->fx, t->fx->env.pio, 0x510, 12, 20000);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(signature), T(files), T(many_files), T(dma_works),
		T(dma_lies), T(state_of_everything),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
