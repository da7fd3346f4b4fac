// SPDX-License-Identifier: GPL-2.0
/*
 * kmod's fetch of instruction bytes: a walk that is remembered is used again while
 * nothing that it depends on has changed, and only then. guests/bare/remap.c asks
 * the same of a whole machine.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wmissing-field-initializers"
#pragma GCC diagnostic ignored "-Wsign-compare"
#include "../../kmod/walk.c"
#include "../../kmod/fetch.c"
#pragma GCC diagnostic pop

/* ---- the machine -------------------------------------------------------------- */

#define RAM_SIZE	0x10000
#define VA		0x8123456000ULL
#define CODE		0x5000
#define OTHER		0x6000

static const u64 entries[] = {	/* on the way from 0x1000 to VA */
	0x1000 + (VA >> 39 & 511) * 8, 0x2000 + (VA >> 30 & 511) * 8,
	0x3000 + (VA >> 21 & 511) * 8, 0x4000 + (VA >> 12 & 511) * 8,
};

static u8 ram[2][RAM_SIZE];	/* the second: where memory moves to */
static int bank, finds;
static struct vmm_vm vm;
static struct vmm_vcpu cpu, *const vcpu = &cpu;
static struct vmm_mmu mmu;

bool vmm_mem_find(struct vmm_vm *v, u64 gpa, struct vmm_mapping *out)
{
	finds++;
	if (gpa >= RAM_SIZE)
		return false;
	*out = (struct vmm_mapping){ .hva = (u64)ram[bank], .size = RAM_SIZE };
	return true;
}

int vmm_mem_read(struct vmm_vm *v, u64 gpa, void *buf, u32 len)
{
	if (gpa >= RAM_SIZE || len > RAM_SIZE - gpa)
		return -EFAULT;
	memcpy(buf, ram[bank] + gpa, len);
	return 0;
}

int vmm_mem_cmpxchg(struct vmm_vm *v, u64 gpa, u32 size, u64 old, u64 new)
{
	fail_msg("a fetch writes to %#llx", (unsigned long long)gpa);
	return -EFAULT;
}

int vmm_npt_gpa_bits(void)
{
	return 40;
}

const struct vmm_ops *vmm_ops;

static u64 *entry(int level)
{
	return (u64 *)(ram[bank] + entries[level]);
}

static void fill(void)
{
	int i;

	for (i = 0; i < 0x1000; i++) {
		ram[bank][CODE + i] = i * 7;
		ram[bank][OTHER + i] = i * 7 + 1;
	}
	for (i = 0; i < 4; i++)
		*entry(i) = (0x2000 + i * 0x1000) | 7;
}

static int setup(void **state)
{
	memset(ram, 0, sizeof(ram));
	memset(&cpu, 0, sizeof(cpu));
	memset(&vm, 0, sizeof(vm));
	bank = 0;
	vcpu->vm = &vm;
	vcpu->loaded = true;
	mmu = (struct vmm_mmu){
		.cr0 = 0x80000001, .cr3 = 0x1000, .cr4 = X86_CR4_PAE, .efer = EFER_LMA,
	};
	fill();
	return 0;
}

/* fetches 15 bytes; `walks`: whether it has to look memory up */
static void expect(u64 va, u64 gpa, bool walks)
{
	u8 buf[VMM_FETCH_MAX] = {};

	finds = 0;
	assert_int_equal(vmm_fetch(vcpu, &mmu, va, buf, VMM_INSN_MAX), VMM_INSN_MAX);
	assert_memory_equal(buf, ram[bank] + gpa, VMM_INSN_MAX);
	assert_int_equal(finds != 0, walks);
}

/* ---- tests ---------------------------------------------------------------------- */

static void test_again(void **state)
{
	int i;

	expect(VA + 0x10, CODE + 0x10, true);
	expect(VA + 0x10, CODE + 0x10, false);
	for (i = 0; i <= 0xff0; i++)
		expect(VA + i, CODE + i, false);
	ram[0][CODE + 0x20] ^= 0xff;
	expect(VA + 0x20, CODE + 0x20, false);
}

/* those of a driver and of what it calls: neither pushes the other out */
static void test_pages_in_turn(void **state)
{
	int i;

	entry(3)[1] = OTHER | 7;
	expect(VA, CODE, true);
	expect(VA + 0x1000, OTHER, true);
	for (i = 0; i < 3; i++) {
		expect(VA + i, CODE + i, false);
		expect(VA + 0x1000 + i, OTHER + i, false);
	}
	/* what an entry of one says does not matter to the other */
	entry(3)[1] = CODE | 7;
	expect(VA, CODE, false);
	expect(VA + 0x1000, CODE, true);
}

static void test_entries(void **state)
{
	static const u64 bit[] = { 1 << 5, 1 << 9, 1ULL << 63 };
	int level;
	u32 i;

	for (level = 0; level < 4; level++)
		for (i = 0; i < 3; i++) {
			expect(VA, CODE, true);
			expect(VA, CODE, false);
			*entry(level) ^= bit[i];
			expect(VA, CODE, true);
			*entry(level) ^= bit[i];
			expect(VA, CODE, true);
			*entry(level) ^= bit[i];
		}
	*entry(3) = OTHER | 7;
	expect(VA, OTHER, true);
	expect(VA, OTHER, false);
}

static void test_gone(void **state)
{
	u8 buf[VMM_FETCH_MAX];

	expect(VA, CODE, true);
	*entry(1) = 0;
	assert_int_equal(vmm_fetch(vcpu, &mmu, VA, buf, VMM_INSN_MAX), -EFAULT);
	*entry(1) = 0x3007;
	expect(VA, CODE, false);
	*entry(3) = (RAM_SIZE + 0x1000) | 7;
	assert_int_equal(vmm_fetch(vcpu, &mmu, VA, buf, VMM_INSN_MAX), -EFAULT);
}

static void test_registers(void **state)
{
	u64 *const reg[] = { &mmu.cr0, &mmu.cr3, &mmu.cr4, &mmu.efer };
	/* WP, PCID, SMEP, NXE: none of them leads elsewhere, but they may */
	static const u64 bit[] = { 1 << 16, 1, 1 << 20, 1 << 11 };
	int i;

	for (i = 0; i < 4; i++) {
		expect(VA, CODE, true);
		expect(VA, CODE, false);
		*reg[i] ^= bit[i];
	}
	expect(VA, CODE, true);
	/* the same page of another address */
	memcpy(ram[0] + 0x7000, ram[0] + 0x1000, 0x1000);
	mmu.cr3 = 0x7000;
	expect(VA, CODE, true);
	mmu.cr0 &= ~X86_CR0_PG;
	expect(CODE, CODE, true);
	expect(CODE, CODE, false);
}

static void test_memory_moves(void **state)
{
	expect(VA, CODE, true);
	bank = 1;
	fill();
	ram[1][CODE] = 0x55;
	vm.maps_gen++;
	expect(VA, CODE, true);
	expect(VA, CODE, false);
}

/* near its end a page is not enough, and the next one may be elsewhere */
static void test_edge(void **state)
{
	u8 buf[VMM_FETCH_MAX];
	int i;

	*entry(3) = CODE | 7;
	entry(3)[1] = 0x9000 | 7;
	memset(ram[0] + 0x9000, 0x99, 0x1000);
	for (i = 0xff0; i < 0x1000; i++) {
		assert_int_equal(vmm_fetch(vcpu, &mmu, VA + i, buf, VMM_INSN_MAX),
				 VMM_INSN_MAX);
		assert_memory_equal(buf, ram[0] + CODE + i, min(15, 0x1000 - i));
		if (0x1000 - i < 15)
			assert_int_equal(buf[14], 0x99);
	}
	entry(3)[1] = 0;
	assert_int_equal(vmm_fetch(vcpu, &mmu, VA + 0xffd, buf, VMM_INSN_MAX), 3);
}

/* entries of four bytes are not remembered */
static void test_32(void **state)
{
	mmu.cr4 = 0;
	mmu.efer = 0;
	mmu.cr3 = 0x8000;
	*(u32 *)(ram[0] + 0x8000 + 4) = 0x9000 | 7;
	*(u32 *)(ram[0] + 0x9000 + 8) = CODE | 7;
	expect(0x402010, CODE + 0x10, true);
	expect(0x402010, CODE + 0x10, true);
}

#define T(name) cmocka_unit_test_setup(name, setup)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_again), T(test_pages_in_turn), T(test_entries), T(test_gone),
		T(test_registers),
		T(test_memory_moves), T(test_edge), T(test_32),
	};

	return cmocka_run_group_tests_name("fetch", tests, NULL, NULL);
}
