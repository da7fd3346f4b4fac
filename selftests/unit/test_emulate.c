// SPDX-License-Identifier: GPL-2.0
/* The emulator: faults, partial progress, ports, other modes, refusals. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "emulate.h"
#include "guest64.h"

#define MMIO		0xd0000000ULL
#define CODE		0x400000ULL	/* linear */
#define CODE_GPA	0x100000ULL
#define DATA		0x500000ULL	/* linear: RAM, then nothing */
#define DATA_GPA	0x200000ULL
#define DEV		0x600000ULL	/* linear: MMIO, then read-only RAM */
#define RO_GPA		0x210000ULL
#define ROM		0x800000ULL	/* gpa and linear */
#define PAGE		4096U

struct access {
	uint64_t addr, value;
	unsigned int size;
	bool write;
};

struct fixture {
	struct guest64 g;
	struct emu e;
	struct access log[4096];
	unsigned int n;
	uint64_t answer;	/* of the next read; then one more each time */
};

static void logged(struct fixture *f, uint64_t addr, uint64_t v,
		   unsigned int size, bool write)
{
	assert_true(f->n < 4096);
	f->log[f->n++] = (struct access){ addr, v, size, write };
}

static uint64_t dev_read(void *owner, uint64_t addr, unsigned int size)
{
	struct fixture *f = owner;

	logged(f, addr, f->answer, size, false);
	return f->answer++;
}

static void dev_write(void *owner, uint64_t addr, uint64_t v, unsigned int size)
{
	logged(owner, addr, v, size, true);
}

static uint64_t port_read(void *owner, uint16_t port, unsigned int size)
{
	return dev_read(owner, port, size);
}

static void port_write(void *owner, uint16_t port, uint32_t v, unsigned int size)
{
	dev_write(owner, port, v, size);
}

static const struct emu_ops ops = {
	.mmio_read = dev_read, .mmio_write = dev_write,
	.pio_read = port_read, .pio_write = port_write,
};

static int setup(void **state)
{
	static uint8_t rom[PAGE];
	struct fixture *f = calloc(1, sizeof(*f));

	g64_init(&f->g);
	assert_int_equal(mem_add_rom(f->g.mem, ROM, rom, PAGE, "rom"), 0);
	g64_map(&f->g, CODE, CODE_GPA, G64_P);
	g64_map(&f->g, DATA, DATA_GPA, G64_P | G64_W);
	g64_map(&f->g, DATA + PAGE, 0, 0);
	g64_map(&f->g, DEV, MMIO, G64_P | G64_W);
	g64_map(&f->g, DEV + PAGE, RO_GPA, G64_P);
	g64_map(&f->g, ROM, ROM, G64_P | G64_W);
	f->e = (struct emu){
		.mem = f->g.mem, .ops = &ops, .owner = f, .phys_bits = 40,
		.sregs = &f->g.sregs, .regs = { .rip = CODE, .rflags = 2 },
	};
	f->answer = 0x1122334455667788;
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	g64_free(&f->g);
	free(f);
	return 0;
}

static uint8_t *ram(struct fixture *f, uint64_t gpa)
{
	return mem_ptr(f->g.mem, gpa, 1);
}

static enum emu_result run(struct fixture *f, const char *code, unsigned int len)
{
	memset(ram(f, CODE_GPA), 0xcc, 64);
	memcpy(ram(f, CODE_GPA), code, len);
	return emu_run(&f->e);
}
#define RUN(f, code) run(f, code, sizeof(code) - 1)

static void expect_access(struct fixture *f, unsigned int i, bool write,
			  uint64_t addr, unsigned int size, uint64_t v)
{
	assert_true(i < f->n);
	assert_int_equal(f->log[i].write, write);
	assert_int_equal(f->log[i].addr, addr);
	assert_int_equal(f->log[i].size, size);
	assert_int_equal(f->log[i].value, v);
}

static void expect_fault(struct fixture *f, unsigned int vector, uint32_t error,
			 uint64_t cr2)
{
	assert_int_equal(f->e.fault.vector, vector);
	assert_true(f->e.fault.has_error);
	assert_int_equal(f->e.fault.error, error);
	if (vector == WALK_PF)
		assert_int_equal(f->e.fault.cr2, cr2);
}

/* ---- plain accesses ---------------------------------------------------------- */

static void test_one_access_each(void **state)
{
	struct fixture *f = *state;

	f->e.regs.gpr[VMM_RBX] = DEV + 6;
	assert_int_equal(RUN(f, "\x8b\x03"), EMU_DONE);	/* mov (%rbx),%eax */
	assert_int_equal(f->n, 1);
	expect_access(f, 0, false, MMIO + 6, 4, 0x1122334455667788);
	assert_int_equal(f->e.regs.gpr[VMM_RAX], 0x55667788);
	assert_int_equal(f->e.regs.rip, CODE + 2);

	f->e.regs.rip = CODE;
	assert_int_equal(RUN(f, "\x48\x89\x03"), EMU_DONE);
	assert_int_equal(f->n, 2);
	expect_access(f, 1, true, MMIO + 6, 8, 0x55667788);
}

/* read-modify-write: one read and one write of the operand's size */
static void test_rmw(void **state)
{
	struct fixture *f = *state;

	f->e.regs.gpr[VMM_RBX] = DEV;
	assert_int_equal(RUN(f, "\x66\x83\x03\x01"), EMU_DONE);	/* addw $1 */
	assert_int_equal(f->n, 2);
	expect_access(f, 0, false, MMIO, 2, 0x1122334455667788);
	expect_access(f, 1, true, MMIO, 2, 0x7789);
}

/* MMIO into RAM: the device sees its bytes in aligned pieces */
static void test_crossing(void **state)
{
	struct fixture *f = *state;

	g64_map(&f->g, DEV + PAGE, DATA_GPA, G64_P | G64_W);
	f->e.regs.gpr[VMM_RBX] = DEV + PAGE - 3;
	f->e.regs.gpr[VMM_RAX] = 0x8877665544332211;
	assert_int_equal(RUN(f, "\x48\x89\x03"), EMU_DONE);
	assert_int_equal(f->n, 2);
	expect_access(f, 0, true, MMIO + PAGE - 3, 1, 0x11);
	expect_access(f, 1, true, MMIO + PAGE - 2, 2, 0x3322);
	assert_memory_equal(ram(f, DATA_GPA), "\x44\x55\x66\x77\x88", 5);
}

static void test_rom_write_dropped(void **state)
{
	struct fixture *f = *state;

	f->e.regs.gpr[VMM_RBX] = ROM + 8;
	f->e.regs.gpr[VMM_RAX] = ~0ULL;
	assert_int_equal(RUN(f, "\x48\x89\x03"), EMU_DONE);
	assert_int_equal(f->n, 0);
	assert_int_equal(*(const uint64_t *)mem_ptr_ro(f->g.mem, ROM + 8, 8), 0);
}

/* the bytes change, or the mode does: what was decoded before is not used */
static void test_cache(void **state)
{
	struct fixture *f = *state;

	f->e.cache = emu_cache_new();
	f->e.regs.gpr[VMM_RBX] = DEV;
	f->e.regs.gpr[VMM_RAX] = 0x11;
	assert_int_equal(RUN(f, "\x89\x03"), EMU_DONE);
	f->e.regs.rip = CODE;
	assert_int_equal(RUN(f, "\x89\x03"), EMU_DONE);
	f->e.regs.rip = CODE;
	assert_int_equal(RUN(f, "\x88\x03"), EMU_DONE);
	assert_int_equal(f->n, 3);
	assert_int_equal(f->log[1].size, 4);
	assert_int_equal(f->log[2].size, 1);
	/* the same bytes at the same place in 32-bit code: inc eax, no prefix */
	f->e.regs.rip = CODE;
	assert_int_equal(RUN(f, "\x48\x89\x03"), EMU_DONE);
	assert_int_equal(f->log[3].size, 8);
	f->g.sregs.seg[VMM_CS].attr = 0x49b;
	f->e.regs.rip = CODE;
	assert_int_equal(RUN(f, "\x48\x89\x03"), EMU_DONE);
	assert_int_equal(f->n, 4);
	assert_int_equal(f->e.regs.rip, CODE + 1);
	/* no instruction is not remembered as one */
	f->e.regs.rip = CODE;
	assert_int_equal(RUN(f, "\x0f\x0a"), EMU_UNSUPPORTED);
	assert_int_equal(RUN(f, "\x0f\x0a"), EMU_UNSUPPORTED);
	emu_cache_free(f->e.cache);
}

static void test_clears_rf(void **state)
{
	struct fixture *f = *state;

	f->e.regs.gpr[VMM_RBX] = DEV;
	f->e.regs.rflags = 0x10002;
	assert_int_equal(RUN(f, "\x8b\x03"), EMU_DONE);
	assert_int_equal(f->e.regs.rflags, 2);
}

/* ---- faults ------------------------------------------------------------------ */

static void test_page_faults(void **state)
{
	struct fixture *f = *state;
	struct vmm_regs before;

	/* the second page is missing: no byte is written, CR2 is its start */
	f->e.regs.gpr[VMM_RBX] = DATA + PAGE - 2;
	f->e.regs.gpr[VMM_RAX] = ~0ULL;
	before = f->e.regs;
	assert_int_equal(RUN(f, "\x89\x03"), EMU_FAULT);
	expect_fault(f, WALK_PF, 2, DATA + PAGE);
	assert_memory_equal(&f->e.regs, &before, sizeof(before));
	assert_int_equal(*ram(f, DATA_GPA + PAGE - 2), 0);

	/* device first, read-only page second: the device sees nothing */
	f->e.regs.gpr[VMM_RBX] = DEV + PAGE - 2;
	assert_int_equal(RUN(f, "\x89\x03"), EMU_FAULT);
	expect_fault(f, WALK_PF, 3, DEV + PAGE);
	assert_int_equal(f->n, 0);
	/* a read of the same is fine */
	assert_int_equal(RUN(f, "\x8b\x0b"), EMU_DONE);

	/* a read-modify-write faults as a write before it reads */
	f->n = 0;
	f->e.regs.rip = CODE;
	*g64_pte(&f->g, DEV) &= ~G64_W;
	f->e.regs.gpr[VMM_RBX] = DEV;
	assert_int_equal(RUN(f, "\xff\x03"), EMU_FAULT);
	expect_fault(f, WALK_PF, 3, DEV);
	assert_int_equal(f->n, 0);
}

static void test_user_faults(void **state)
{
	struct fixture *f = *state;

	g64_set_cpl(&f->g, 3);
	f->e.regs.gpr[VMM_RBX] = DEV;
	assert_int_equal(RUN(f, "\x8b\x03"), EMU_FAULT);
	expect_fault(f, WALK_PF, 0x15, CODE);	/* the fetch already */
	*g64_pte(&f->g, CODE) |= G64_U;
	assert_int_equal(RUN(f, "\x8b\x03"), EMU_FAULT);
	expect_fault(f, WALK_PF, 5, DEV);
	*g64_pte(&f->g, DEV) |= G64_U;
	assert_int_equal(RUN(f, "\x8b\x03"), EMU_DONE);
}

static void test_canonical(void **state)
{
	struct fixture *f = *state;

	f->e.regs.gpr[VMM_RBX] = 1ULL << 47;
	assert_int_equal(RUN(f, "\x8b\x03"), EMU_FAULT);
	expect_fault(f, WALK_GP, 0, 0);
	f->e.regs.gpr[VMM_RBP] = 1ULL << 47;
	assert_int_equal(RUN(f, "\x8b\x45\x00"), EMU_FAULT);
	expect_fault(f, WALK_SS, 0, 0);
}

static void test_fetch_faults(void **state)
{
	struct fixture *f = *state;

	/* the instruction's second byte is on a page that is not there */
	*ram(f, CODE_GPA + PAGE - 1) = 0x8b;
	f->e.regs.rip = CODE + PAGE - 1;
	assert_int_equal(emu_run(&f->e), EMU_FAULT);
	expect_fault(f, WALK_PF, 0x10, CODE + PAGE);
	/* no such page needed: no fault */
	*ram(f, CODE_GPA + PAGE - 1) = 0xa4;	/* movsb */
	f->e.regs.gpr[VMM_RSI] = DEV;
	f->e.regs.gpr[VMM_RDI] = DATA;
	assert_int_equal(emu_run(&f->e), EMU_DONE);
	/* no execute */
	f->e.regs.rip = CODE;
	*g64_pte(&f->g, CODE) |= G64_NX;
	assert_int_equal(RUN(f, "\x8b\x03"), EMU_FAULT);
	expect_fault(f, WALK_PF, 0x11, CODE);
}

static void test_alignment(void **state)
{
	struct fixture *f = *state;

	f->e.regs.gpr[VMM_RBX] = DATA + 8;
	/* movaps (%rbx),%xmm0; cmpxchg16b (%rbx) */
	assert_int_equal(RUN(f, "\x0f\x28\x03"), EMU_FAULT);
	expect_fault(f, WALK_GP, 0, 0);
	assert_int_equal(RUN(f, "\x48\x0f\xc7\x0b"), EMU_FAULT);
	expect_fault(f, WALK_GP, 0, 0);
}

/* quotients at the edge and beyond; test_emulate_native has the others */
static void test_division(void **state)
{
	static const struct {
		const char *code;
		uint64_t rdx, rax, divisor;
		bool fits;
	} t[] = {
		{ "\xf6\x33", 0, 0x100, 0, false },			/* divb */
		{ "\xf6\x33", 0, 0x1ff, 2, true },
		{ "\xf6\x33", 0, 0x200, 2, false },
		{ "\xf7\x33", 1, 0xffffffff, 2, true },		/* divl */
		{ "\xf7\x33", 2, 0, 2, false },
		{ "\x48\xf7\x33", 1, ~0ULL, 2, true },			/* divq */
		{ "\x48\xf7\x33", 2, 0, 2, false },
		{ "\xf6\x3b", 0, 0, 0, false },				/* idivb */
		{ "\xf6\x3b", 0, 0xff80, 0xff, false },			/* 128 */
		{ "\xf6\x3b", 0, 0xff00, 2, true },			/* -128 */
		{ "\xf6\x3b", 0, 0xfefe, 2, false },			/* -129 */
		{ "\xf6\x3b", 0, 0xfeff, 2, true },			/* -128, rest -1 */
		{ "\xf7\x3b", 0, 0x7fffffff, 1, true },			/* idivl */
		{ "\xf7\x3b", 0, 0x80000000, 1, false },
		{ "\xf7\x3b", 0xffffffff, 0x80000000, 1, true },
		{ "\x48\xf7\x3b", ~0ULL, 1ULL << 63, 1, true },		/* idivq */
		{ "\x48\xf7\x3b", ~0ULL, 1ULL << 63, ~0ULL, false },
		{ "\x48\xf7\x3b", 1ULL << 63, 0, ~0ULL, false },
	};
	struct fixture *f = *state;
	unsigned int i;

	for (i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		f->answer = t[i].divisor;
		f->e.regs.rip = CODE;
		f->e.regs.gpr[VMM_RBX] = DEV;
		f->e.regs.gpr[VMM_RAX] = t[i].rax;
		f->e.regs.gpr[VMM_RDX] = t[i].rdx;
		if (run(f, t[i].code, strlen(t[i].code)) !=
		    (t[i].fits ? EMU_DONE : EMU_FAULT))
			fail_msg("row %u", i);
		if (t[i].fits)
			continue;
		assert_int_equal(f->e.fault.vector, WALK_DE);
		assert_false(f->e.fault.has_error);
		assert_int_equal(f->e.regs.rip, CODE);
		assert_int_equal(f->e.regs.gpr[VMM_RAX], t[i].rax);
	}
}

/* ---- strings ------------------------------------------------------------------ */

/* a fault in the middle leaves what was done, and the rest to be done */
static void test_rep_fault(void **state)
{
	struct fixture *f = *state;

	f->e.regs.gpr[VMM_RSI] = DEV;
	f->e.regs.gpr[VMM_RDI] = DATA + PAGE - 12;
	f->e.regs.gpr[VMM_RCX] = 10;
	assert_int_equal(RUN(f, "\xf3\xa5"), EMU_FAULT);	/* rep movsl */
	expect_fault(f, WALK_PF, 2, DATA + PAGE);
	assert_int_equal(f->n, 3);
	assert_int_equal(f->e.regs.gpr[VMM_RCX], 7);
	assert_int_equal(f->e.regs.gpr[VMM_RSI], DEV + 12);
	assert_int_equal(f->e.regs.gpr[VMM_RDI], DATA + PAGE);
	assert_int_equal(f->e.regs.rip, CODE);
	assert_int_equal(*(uint32_t *)ram(f, DATA_GPA + PAGE - 4), 0x5566778a);
}

static void test_rep_batches(void **state)
{
	struct fixture *f = *state;
	unsigned int calls = 1;

	f->e.regs.gpr[VMM_RAX] = 0x77;
	f->e.regs.gpr[VMM_RDI] = DEV + 3000;
	f->e.regs.gpr[VMM_RCX] = 3000;
	f->e.regs.rflags |= 0x400;
	while (RUN(f, "\xf3\xaa") == EMU_AGAIN) {		/* rep stosb */
		assert_int_equal(f->e.regs.rip, CODE);
		assert_int_equal(f->e.regs.gpr[VMM_RCX], 3000 - f->n);
		assert_int_equal(f->e.regs.gpr[VMM_RDI], DEV + 3000 - f->n);
		calls++;
	}
	assert_in_range(calls, 2, 30);
	assert_int_equal(f->n, 3000);
	assert_int_equal(f->e.regs.gpr[VMM_RCX], 0);
	assert_int_equal(f->e.regs.rip, CODE + 2);
	expect_access(f, 2999, true, MMIO + 1, 1, 0x77);
}

static void test_rep_zero(void **state)
{
	struct fixture *f = *state;

	f->e.regs.gpr[VMM_RDI] = 1ULL << 47;	/* not even looked at */
	assert_int_equal(RUN(f, "\xf3\xaa"), EMU_DONE);
	assert_int_equal(f->n, 0);
	/* 32-bit addresses count in ECX */
	f->e.regs.rip = CODE;
	f->e.regs.gpr[VMM_RCX] = 1ULL << 32;
	assert_int_equal(RUN(f, "\x67\xf3\xaa"), EMU_DONE);
	assert_int_equal(f->n, 0);
}

static void test_ports(void **state)
{
	struct vmm_exit_io io = { .port = 0x3f8, .size = 2, .in = 1, .string = 1 };
	struct fixture *f = *state;

	f->e.io = &io;
	f->e.regs.gpr[VMM_RDX] = 0xffff03f8;	/* DX only */
	f->e.regs.gpr[VMM_RCX] = 3;
	f->e.regs.gpr[VMM_RDI] = DATA;
	assert_int_equal(RUN(f, "\xf3\x66\x6d"), EMU_DONE);	/* rep insw */
	assert_int_equal(f->n, 3);
	expect_access(f, 2, false, 0x3f8, 2, 0x112233445566778a);
	assert_memory_equal(ram(f, DATA_GPA), "\x88\x77\x89\x77\x8a\x77", 6);

	f->n = 0;
	f->e.regs.rip = CODE;
	f->e.regs.gpr[VMM_RCX] = 2;
	f->e.regs.gpr[VMM_RSI] = DATA + 4;
	f->e.regs.rflags |= 0x400;
	io.in = 0;
	io.size = 4;
	assert_int_equal(RUN(f, "\xf3\x6f"), EMU_DONE);		/* rep outsl */
	assert_int_equal(f->n, 2);
	expect_access(f, 0, true, 0x3f8, 4, 0x778a);
	expect_access(f, 1, true, 0x3f8, 4, 0x77897788);
	assert_int_equal(f->e.regs.gpr[VMM_RSI], DATA - 4);
}

/*
 * Code that another vCPU has changed since the exit: the CPU has allowed
 * something else, and is to be asked again.
 */
static void test_ports_not_allowed(void **state)
{
	static const struct vmm_exit_io t[] = {
		{ .port = 0x3f8, .size = 1, .in = 0, .string = 1 },
		{ .port = 0x3f8, .size = 2, .in = 1, .string = 1 },
		{ .port = 0x3f9, .size = 1, .in = 1, .string = 1 },
		{ .port = 0x3f8, .size = 1, .in = 1, .string = 0 },
	};
	struct fixture *f = *state;
	struct vmm_regs before;
	unsigned int i;

	f->e.regs.gpr[VMM_RDX] = 0x3f8;
	f->e.regs.gpr[VMM_RCX] = 3;
	f->e.regs.gpr[VMM_RDI] = DATA;
	f->e.regs.gpr[VMM_RSI] = DATA;
	before = f->e.regs;
	assert_int_equal(RUN(f, "\x6e"), EMU_AGAIN);		/* outsb, from MMIO */
	for (i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		f->e.io = &t[i];
		assert_int_equal(RUN(f, "\xf3\x6c"), EMU_AGAIN);	/* rep insb */
	}
	assert_int_equal(f->n, 0);
	assert_memory_equal(&f->e.regs, &before, sizeof(before));
}

/* INS: a fault of the destination comes before the port is read */
static void test_ins_fault_first(void **state)
{
	const struct vmm_exit_io io = { .size = 1, .in = 1, .string = 1 };
	struct fixture *f = *state;

	f->e.io = &io;
	f->e.regs.gpr[VMM_RDI] = DEV + PAGE;
	assert_int_equal(RUN(f, "\x6c"), EMU_FAULT);
	expect_fault(f, WALK_PF, 3, DEV + PAGE);
	assert_int_equal(f->n, 0);
}

static void test_source_prefix(void **state)
{
	struct fixture *f = *state;

	f->g.sregs.seg[VMM_FS].base = DEV;
	f->e.regs.gpr[VMM_RSI] = 0x10;
	f->e.regs.gpr[VMM_RDI] = DATA;
	assert_int_equal(RUN(f, "\x64\xa4"), EMU_DONE);		/* movsb %fs: */
	expect_access(f, 0, false, MMIO + 0x10, 1, 0x1122334455667788);
}

/* ---- other modes --------------------------------------------------------------- */

static void real_mode(struct fixture *f)
{
	unsigned int i;

	f->g.sregs.cr0 = 0x10;
	f->g.sregs.efer = 0;
	f->g.sregs.cr4 = 0;
	for (i = 0; i < VMM_NSEG; i++)
		f->g.sregs.seg[i] = (struct vmm_segment){
			.limit = 0xffff, .attr = 0x93,
		};
	f->g.sregs.seg[VMM_CS] = (struct vmm_segment){
		.base = CODE_GPA, .limit = 0xffff, .attr = 0x9b,
	};
	f->e.regs.rip = 0;
}

static void test_real_mode(void **state)
{
	const struct vmm_exit_io io = { .port = 0x1f0, .size = 1, .in = 1, .string = 1 };
	struct fixture *f = *state;

	real_mode(f);
	f->g.sregs.seg[VMM_DS].base = MMIO;
	f->e.regs.gpr[VMM_RBX] = 0xaaaa8000;
	f->e.regs.gpr[VMM_RSI] = 0xbbbb8010;
	f->e.regs.gpr[VMM_RAX] = 0x1234;
	/* mov %ax,(%bx,%si): the sum wraps at 64 KiB */
	assert_int_equal(RUN(f, "\x89\x00"), EMU_DONE);
	expect_access(f, 0, true, MMIO + 0x10, 2, 0x1234);
	assert_int_equal(f->e.regs.rip, 2);

	/* beyond the limit: #GP, or #SS with BP, and no error code */
	f->e.regs.rip = 0;
	f->e.regs.gpr[VMM_RBX] = 0xffff;
	f->e.regs.gpr[VMM_RSI] = 0;
	assert_int_equal(RUN(f, "\x89\x00"), EMU_FAULT);
	assert_int_equal(f->e.fault.vector, WALK_GP);
	assert_false(f->e.fault.has_error);
	f->e.regs.gpr[VMM_RBP] = 0xffff;
	assert_int_equal(RUN(f, "\x89\x02"), EMU_FAULT);
	assert_int_equal(f->e.fault.vector, WALK_SS);

	/* rep insb to ES:DI, which stay 16 bits wide */
	f->e.io = &io;
	f->e.regs.gpr[VMM_RDX] = 0x1f0;
	f->e.regs.gpr[VMM_RCX] = 0xffff0002;
	f->e.regs.gpr[VMM_RDI] = 0xffff0100;
	f->n = 0;
	assert_int_equal(RUN(f, "\xf3\x6c"), EMU_DONE);
	assert_int_equal(f->n, 2);
	assert_int_equal(f->e.regs.gpr[VMM_RCX], 0xffff0000);
	assert_int_equal(f->e.regs.gpr[VMM_RDI], 0xffff0102);
	assert_int_equal(*ram(f, 0x100), 0x88);
}

/* "unreal" mode, as firmware uses it: a 4 GiB limit with 16-bit code */
static void test_unreal_mode(void **state)
{
	struct fixture *f = *state;

	real_mode(f);
	f->g.sregs.seg[VMM_ES].limit = 0xffffffff;
	f->e.regs.gpr[VMM_RDI] = MMIO + 0x20;
	f->e.regs.gpr[VMM_RAX] = 0xcafe;
	/* addr32 mov %ax,%es:(%edi) */
	assert_int_equal(RUN(f, "\x26\x67\x89\x07"), EMU_DONE);
	expect_access(f, 0, true, MMIO + 0x20, 2, 0xcafe);
}

static void test_protected_mode(void **state)
{
	struct fixture *f = *state;
	struct vmm_segment *ds = &f->g.sregs.seg[VMM_DS];

	real_mode(f);
	f->g.sregs.cr0 |= 1;
	f->g.sregs.seg[VMM_CS].attr = 0x49b;	/* 32-bit code */
	f->g.sregs.seg[VMM_CS].limit = 0xfffff;
	*ds = (struct vmm_segment){ .base = MMIO, .limit = 0xff, .attr = 0x493 };
	f->e.regs.gpr[VMM_RBX] = 0xfc;
	assert_int_equal(RUN(f, "\x89\x03"), EMU_DONE);
	assert_int_equal(f->log[0].addr, MMIO + 0xfc);
	f->e.regs.rip = 0;
	f->e.regs.gpr[VMM_RBX] = 0xfd;
	assert_int_equal(RUN(f, "\x89\x03"), EMU_FAULT);
	expect_fault(f, WALK_GP, 0, 0);

	/* a read-only segment, one that cannot be used, one that grows down */
	f->e.regs.gpr[VMM_RBX] = 0;
	ds->attr = 0x491;
	assert_int_equal(RUN(f, "\x89\x03"), EMU_FAULT);
	assert_int_equal(RUN(f, "\x8b\x03"), EMU_DONE);
	f->e.regs.rip = 0;
	ds->attr = 0x413;
	assert_int_equal(RUN(f, "\x8b\x03"), EMU_FAULT);
	ds->attr = 0x497;
	f->e.regs.gpr[VMM_RBX] = 0xff;
	assert_int_equal(RUN(f, "\x8a\x03"), EMU_FAULT);
	f->e.regs.gpr[VMM_RBX] = 0x100;
	assert_int_equal(RUN(f, "\x8a\x03"), EMU_DONE);
	/* code that is not readable */
	f->e.regs.rip = 0;
	f->g.sregs.seg[VMM_CS].attr = 0x499;
	assert_int_equal(RUN(f, "\x2e\x8a\x03"), EMU_FAULT);
}

/* ---- jumps, refusals ------------------------------------------------------------ */

static void test_call_and_jump(void **state)
{
	struct fixture *f = *state;

	f->answer = 0x123456;
	f->e.regs.gpr[VMM_RBX] = DEV;
	f->e.regs.gpr[VMM_RSP] = DATA + 0x100;
	assert_int_equal(RUN(f, "\xff\x13"), EMU_DONE);		/* call *(%rbx) */
	assert_int_equal(f->e.regs.rip, 0x123456);
	assert_int_equal(f->e.regs.gpr[VMM_RSP], DATA + 0xf8);
	assert_int_equal(*(uint64_t *)ram(f, DATA_GPA + 0xf8), CODE + 2);

	f->answer = 1ULL << 63;
	f->e.regs.rip = CODE;
	assert_int_equal(RUN(f, "\xff\x23"), EMU_FAULT);	/* jmp *(%rbx) */
	expect_fault(f, WALK_GP, 0, 0);
}

static void test_refusals(void **state)
{
	static const struct {
		const char *code;
		unsigned int len;
		const char *says;
	} t[] = {
		{ "\x0f\xae\x03", 3, "fxsave" },
		{ "\x8e\x1b", 2, "mov ds" },
		{ "\x0f\x01\x13", 3, "lgdt" },
		{ "\xff\x2b", 2, "jmp" },		/* far */
		{ "\xd8\x03", 2, "fadd" },		/* no x87_get here */
		{ "\xd9\x23", 2, "fldenv" },
		{ "\xdd\x33", 2, "fnsave" },
		{ "\x0f\x22\xd8", 3, "mov cr3" },
		{ "\x0f\x0a", 2, "0f 0a" },		/* no instruction */
		{ "\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x90",
		  16, "66 66" },			/* too long */
		{ "\x62\xf1\x7c\x48\x10\x03", 6, "vmovups" },	/* EVEX */
		{ "\x0f\x10\x03", 3, "movups" },	/* no vec_get here */
	};
	struct fixture *f = *state;
	unsigned int i;

	f->e.regs.gpr[VMM_RBX] = DEV;
	for (i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		struct vmm_regs before = f->e.regs;

		assert_int_equal(run(f, t[i].code, t[i].len), EMU_UNSUPPORTED);
		if (!strstr(f->e.why, t[i].says))
			fail_msg("'%s' does not name '%s'", f->e.why, t[i].says);
		assert_memory_equal(&f->e.regs, &before, sizeof(before));
	}
	assert_int_equal(f->n, 0);
}

/* ---- x87: test_emulate_native has what it computes ------------------------------ */

static struct {
	uint16_t fcw, fsw;
	uint8_t tags, reserved;
	uint16_t fop;
	uint64_t fip, fdp;
	uint8_t rest[EMU_X87_SIZE - 24];
} x87;

static int x87_get(void *owner, void *s)
{
	memcpy(s, &x87, sizeof(x87));
	return 0;
}

static int x87_set(void *owner, const void *s)
{
	memcpy(&x87, s, sizeof(x87));
	return 0;
}

static const struct emu_ops x87_ops = {
	.mmio_read = dev_read, .mmio_write = dev_write,
	.pio_read = port_read, .pio_write = port_write,
	.x87_get = x87_get, .x87_set = x87_set,
};

static void x87_begin(struct fixture *f, uint16_t fcw, uint16_t fsw)
{
	memset(&x87, 0, sizeof(x87));
	x87.fcw = fcw;
	x87.fsw = fsw;
	f->e.ops = &x87_ops;
	f->e.regs.rip = CODE;
	f->e.regs.gpr[VMM_RBX] = DEV;
	f->n = 0;
}

/* the last instruction and its operand are the guest's, not this program's */
static void test_x87_pointers(void **state)
{
	struct fixture *f = *state;

	x87_begin(f, 0x37f, 0);
	assert_int_equal(RUN(f, "\xdd\x43\x08"), EMU_DONE);	/* fldl 8(%rbx) */
	expect_access(f, 0, false, MMIO + 8, 8, 0x1122334455667788);
	assert_int_equal(x87.fop, 0x543);
	assert_int_equal(x87.fip, CODE);
	assert_int_equal(x87.fdp, DEV + 8);
	assert_int_equal(x87.fsw >> 11, 7);
	assert_int_equal(x87.tags, 0x80);
}

/* an exception that the guest wants to hear of: nothing is done */
static void test_x87_unmasked(void **state)
{
	struct fixture *f = *state;

	/* is pending already; but these two do not wait for it */
	x87_begin(f, 0x37e, 0x8081);
	assert_int_equal(RUN(f, "\xdd\x03"), EMU_UNSUPPORTED);
	assert_int_equal(f->n, 0);
	assert_int_equal(RUN(f, "\xdd\x3b"), EMU_DONE);		/* fnstsw (%rbx) */
	expect_access(f, 0, true, MMIO, 2, 0x8081);
	f->e.regs.rip = CODE;
	assert_int_equal(RUN(f, "\xd9\x3b"), EMU_DONE);		/* fnstcw (%rbx) */
	expect_access(f, 1, true, MMIO, 2, 0x37e);
	/* comes of it: the stack is empty */
	x87_begin(f, 0x37e, 0);
	assert_int_equal(RUN(f, "\xdd\x1b"), EMU_UNSUPPORTED);	/* fstpl (%rbx) */
	assert_int_equal(f->n, 0);
	assert_int_equal(x87.fsw, 0);
	/* masked, it is the indefinite number */
	x87_begin(f, 0x37f, 0);
	assert_int_equal(RUN(f, "\xdd\x1b"), EMU_DONE);
	expect_access(f, 0, true, MMIO, 8, 0xfff8000000000000);
	assert_int_equal(x87.fsw & 0x41, 0x41);
}

static void test_x87_page_fault(void **state)
{
	struct fixture *f = *state;

	x87_begin(f, 0x37f, 0);
	f->e.regs.gpr[VMM_RBX] = DEV + PAGE;
	assert_int_equal(RUN(f, "\xdd\x1b"), EMU_FAULT);	/* read-only */
	assert_int_equal(x87.fsw, 0);
	/* ten bytes are eight and two */
	x87_begin(f, 0x37f, 0);
	f->e.regs.gpr[VMM_RBX] = DEV + 16;
	assert_int_equal(RUN(f, "\xdb\x3b"), EMU_DONE);		/* fstpt (%rbx) */
	expect_access(f, 0, true, MMIO + 16, 8, 0xc000000000000000);
	expect_access(f, 1, true, MMIO + 24, 2, 0xffff);
}

/* random bytes in every mode: anything may come out, but nothing breaks */
static void test_random_code(void **state)
{
	struct fixture *f = *state;
	const struct vmm_sregs sregs = f->g.sregs;
	struct vmm_exit_io io = { .string = 1 };
	uint8_t code[16];
	unsigned int i, j;

	srandom(1);
	x87_begin(f, 0x37f, 0);
	f->e.io = &io;
	for (i = 0; i < 60000; i++) {
		f->g.sregs = sregs;
		if (i % 3)
			real_mode(f);
		if (i % 3 == 2) {
			f->g.sregs.cr0 |= 1;
			f->g.sregs.seg[VMM_CS].attr = 0x49b;
		}
		for (j = 0; j < 16; j++) {
			code[j] = random();
			f->e.regs.gpr[j] = (random() & 1 ? DEV : DATA) +
					   random() % PAGE;
		}
		f->e.regs.gpr[VMM_RCX] = random() % 64;
		io.port = f->e.regs.gpr[VMM_RDX];
		io.size = 1 << random() % 3;
		io.in = random() & 1;
		f->e.regs.rip = i % 3 ? 0 : CODE;
		f->e.regs.rflags = 2;
		f->n = 0;
		run(f, (char *)code, sizeof(code));
	}
}

static void test_peek(void **state)
{
	struct fixture *f = *state;
	uint8_t buf[16];
	char text[96];

	memcpy(ram(f, CODE_GPA + PAGE - 2), "\x89\x03", 2);
	*g64_pte(&f->g, CODE) |= G64_NX;	/* does not matter here */
	f->e.regs.rip = CODE + PAGE - 2;
	assert_int_equal(emu_peek(f->g.mem, &f->e.regs, &f->g.sregs, buf, 16,
				  text, sizeof(text)), 2);
	assert_string_equal(text, "mov [rbx], eax");
	f->e.regs.rip = 1ULL << 47;
	assert_int_equal(emu_peek(f->g.mem, &f->e.regs, &f->g.sregs, buf, 16,
				  text, sizeof(text)), 0);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_one_access_each), T(test_rmw), T(test_crossing),
		T(test_rom_write_dropped), T(test_cache), T(test_clears_rf),
		T(test_page_faults), T(test_user_faults), T(test_canonical),
		T(test_fetch_faults), T(test_alignment), T(test_division),
		T(test_rep_fault),
		T(test_rep_batches), T(test_rep_zero), T(test_ports), T(test_ports_not_allowed),
		T(test_ins_fault_first), T(test_source_prefix),
		T(test_real_mode), T(test_unreal_mode), T(test_protected_mode),
		T(test_call_and_jump), T(test_refusals), T(test_random_code),
		T(test_x87_pointers), T(test_x87_unmasked), T(test_x87_page_fault),
		T(test_peek),
	};

	return cmocka_run_group_tests_name("emulate", tests, NULL, NULL);
}
