// SPDX-License-Identifier: GPL-2.0
/*
 * Snapshots that older vmmds have written must load for ever: golden/vN-whole.zst
 * and golden/vN-diff.zst have the VM of vm_fixture.h, with every section there
 * was. When a section gets a new version, or there is a new one, this test says
 * so; then
 *
 *	build/unit/test_state_golden --write vN
 *
 * with the next N, and a line in the table below. Those that are there are never
 * written again.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "snapshot/restore.h"
#include "state/vmstate_priv.h"
#include "vm_fixture.h"

/* the last one is the newest */
static const char *const versions[] = { "v1" };

#define N	(sizeof(versions) / sizeof(versions[0]))

/* what vmmd writes now */
static const struct { const char *tag; uint32_t version; } known[] = {
	{ "vmm-state", 1 }, { "options", 1 }, { "firmware", 1 }, { "cpuid", 1 },
	{ "memory", 1 }, { "parent", 1 }, { "pages", 1 }, { "disk", 1 }, { "device", 1 },
	{ "clock", 1 }, { "vcpu", 1 }, { "end", 1 }, { "index", 1 },
};

/* page by page, what is in the whole one and in the difference */
static const struct { unsigned int page; uint32_t whole, diff; } written[] = {
	{ 1, 5, 5 }, { 2, 200, 0 }, { 300, 201, 201 }, { 301, 7, 8 }, { 700, 0, 77 },
};

static void write_pages(struct vmx *x, bool diff)
{
	size_t i;

	for (i = 0; i < sizeof(written) / sizeof(written[0]); i++)
		if (!diff || written[i].diff != written[i].whole)
			vmx_write(x, written[i].page, diff ? written[i].diff : written[i].whole);
}

static void write_golden(const char *version)
{
	static const char *const kind[] = { "whole", "diff" };
	struct vmx *x = vmx_new(NULL);
	char name[64], path[100];
	uint8_t *data;
	size_t len;
	int i;

	vmx_stir(x);
	for (i = 0; i < 2; i++) {
		write_pages(x, i);
		snprintf(name, sizeof(name), "%s-%s", version, kind[i]);
		vmx_snapshot(x, sf_path(name), i);
		data = sf_read(sf_path(name), &len);
		snprintf(path, sizeof(path), "selftests/unit/golden/%s.zst", name);
		sf_pack(path, data, len);
		printf("%s: %zu bytes\n", path, len);
		free(data);
	}
	vmx_free(x);
}

static char *unpacked(const char *version, const char *kind)
{
	char name[64], file[70];
	uint8_t *data;
	size_t len;

	snprintf(name, sizeof(name), "%s-%s", version, kind);
	snprintf(file, sizeof(file), "%s.zst", name);
	data = sf_unpack("golden", file, &len);
	sf_write(sf_path(name), data, len);
	free(data);
	return sf_path(name);
}

static void loads(const char *path, int files, bool diff)
{
	struct snapshot_file *chain[SNAPSHOT_CHAIN_MAX];
	uint8_t *all = calloc(1, VMX_MEMORY), want[PAGES_SIZE];
	char err[512] = "";
	struct snapshot_disk d;
	struct vmx *x;
	size_t i;
	int n;

	n = snapshot_open_chain(path, chain, err, sizeof(err));
	if (n != files)
		fail_msg("%s", err);
	assert_null(options_text_alien(chain[0]->state.text, chain[0]->state.text_len));
	assert_int_equal(restore_memory(chain, n, all, VMX_MEMORY, err, sizeof(err)), 0);
	for (i = 0; i < sizeof(written) / sizeof(written[0]); i++) {
		uint32_t what = diff ? written[i].diff : written[i].whole;
		struct rng r = { what };
		/* the hole at 640 KiB is not in it */
		size_t at = written[i].page - (written[i].page > 0xa0 ? 32 : 0);

		memset(want, what, sizeof(want));
		if (what >= 100)
			rng_fill(&r, want, sizeof(want));
		assert_memory_equal(all + at * PAGES_SIZE, want, PAGES_SIZE);
	}
	assert_int_equal(snapshot_find_disk(chain[0], &d, err, sizeof(err)), 0);
	assert_true(d.file[0] && d.size == 1 << 20);
	x = vmx_new(&chain[0]->state);
	if (vmx_load(x, chain[0], err, sizeof(err)))
		fail_msg("%s", err);
	assert_int_equal(x->clock.ns, 123456789);
	for (i = 0; i < VMX_CPUS; i++) {
		assert_int_equal(x->regs[i].regs.rip, 0x1000 + i);
		assert_true(x->regs[i].regs.gpr[0] == 0x1111111111111111ULL * (i + 1));
		assert_true(x->tsc[i].base == 5000000000ULL + i + 246913578);
	}
	/* the IOAPIC's and the UART's registers as vmx_stir has left them */
	machine_mmio_write(x->vm.machine, MACHINE_IOAPIC, 0x12, 4);
	assert_int_equal(machine_mmio_read(x->vm.machine, MACHINE_IOAPIC + 0x10, 4), 0x131);
	assert_int_equal(machine_pio_read(x->vm.machine, 0x3fc, 1), 0xb);
	assert_int_equal(machine_pio_read(x->vm.machine, 0x21, 1), 0xfa);
	vmx_free(x);
	snapshot_close_chain(chain, n);
	free(all);
}

static void test_loads(void **state)
{
	const char *whole;
	size_t i;

	for (i = 0; i < N; i++) {
		whole = unpacked(versions[i], "whole");
		loads(whole, 1, false);
		loads(unpacked(versions[i], "diff"), 2, true);
	}
}

static void test_is_newest(void **state)
{
	uint8_t *diff;
	char name[64];
	size_t d, i, at;
	struct section_head h;

	snprintf(name, sizeof(name), "%s-diff.zst", versions[N - 1]);
	diff = sf_unpack("golden", name, &d);
	for (i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
		at = sf_find(diff, d, known[i].tag, 0);
		if (at == SIZE_MAX)
			fail_msg("there is no section \"%s\" in golden/%s-diff", known[i].tag,
				 versions[N - 1]);
		memcpy(&h, diff + at, sizeof(h));
		if (h.version != known[i].version)
			fail_msg("section \"%s\" is of version %u now: write new files", known[i].tag,
				 known[i].version);
	}
	free(diff);
}

/* a fresh save has no section, and no version, that is not in the table */
static void test_table_is_whole(void **state)
{
	struct vmx *x = vmx_new(NULL);
	struct section_head h;
	uint8_t *data;
	size_t len, at, i;

	vmx_snapshot(x, sf_path("t0"), false);
	vmx_write(x, 1, 1);
	vmx_write(x, 2, 0);
	vmx_snapshot(x, sf_path("t1"), true);
	data = sf_read(sf_path("t1"), &len);
	for (at = 0; at < len - sizeof(struct snapshot_trailer); at += sizeof(h) + h.len) {
		memcpy(&h, data + at, sizeof(h));
		for (i = 0; i < sizeof(known) / sizeof(known[0]); i++)
			if (!strncmp(known[i].tag, h.tag, SECTION_TAG) &&
			    known[i].version == h.version)
				break;
		if (i == sizeof(known) / sizeof(known[0]))
			fail_msg("section \"%.16s\" of version %u: into the table, and write new files",
				 h.tag, h.version);
	}
	free(data);
	vmx_free(x);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_loads), cmocka_unit_test(test_is_newest),
		cmocka_unit_test(test_table_is_whole),
	};

	if (argc == 3 && !strcmp(argv[1], "--write")) {
		sf_setup(NULL);
		write_golden(argv[2]);
		return sf_teardown(NULL);
	}
	return cmocka_run_group_tests_name("state_golden", tests, sf_setup, sf_teardown);
}
