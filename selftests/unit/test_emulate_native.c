// SPDX-License-Identifier: GPL-2.0
/*
 * The emulator against the real CPU: each form runs on both with the same
 * registers, flags and memory, and must leave the same behind. For the emulator
 * the memory is MMIO, RAM, MMIO, RAM, page by page.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "emulate.h"
#include "guest64.h"
#include "insn_forms.h"
#include "native.h"

#define ROUNDS		150
#define MARGIN		2112U		/* what 255 quadwords may reach */
#define MMIO		0xd0000000ULL
#define CODE_LINEAR	0x400000ULL
#define FL_ARITH	0x8d5ULL
#define FL_DF		0x400ULL
#define PAGE		4096U

static struct guest64 guest;
static struct emu_cache *cache;
static uint8_t mmio[NATIVE_SIZE];	/* what the emulated device holds */
static uint8_t vec[16][EMU_VEC_SIZE];
static uint8_t x87[EMU_X87_SIZE];
static uint64_t seed = 1;

static uint64_t rnd(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed;
}

/* random, but values at the edges more often */
static uint64_t value(void)
{
	static const uint64_t edge[] = {
		0, 1, 0x7f, 0x80, 0xff, 0x7fff, 0x8000, 0xffff, 0x7fffffff,
		0x80000000, 0xffffffff, 0x7fffffffffffffff, 1ULL << 63, ~0ULL,
		0x7f7f7f7f7f7f7f7f, 0x8080808080808080,
	};
	uint64_t r = rnd();

	return r & 1 ? rnd() : edge[(r >> 1) % 16];
}

static uint64_t pointer(void)
{
	return NATIVE_DATA + MARGIN + rnd() % (NATIVE_SIZE - 2 * MARGIN);
}

/* ---- the emulator's side --------------------------------------------------- */

static uint64_t mmio_read(void *owner, uint64_t gpa, unsigned int size)
{
	uint64_t v = 0;

	(void)owner;
	assert_true(size == 1 || size == 2 || size == 4 || size == 8);
	assert_true(gpa >= MMIO && gpa + size <= MMIO + NATIVE_SIZE);
	memcpy(&v, mmio + (gpa - MMIO), size);
	return v;
}

static void mmio_write(void *owner, uint64_t gpa, uint64_t v, unsigned int size)
{
	(void)owner;
	assert_true(size == 1 || size == 2 || size == 4 || size == 8);
	assert_true(gpa >= MMIO && gpa + size <= MMIO + NATIVE_SIZE);
	memcpy(mmio + (gpa - MMIO), &v, size);
}

static int vec_get(void *owner, unsigned int reg, uint8_t *v)
{
	(void)owner;
	memcpy(v, vec[reg], EMU_VEC_SIZE);
	return 0;
}

static int vec_set(void *owner, unsigned int reg, const uint8_t *v)
{
	(void)owner;
	memcpy(vec[reg], v, EMU_VEC_SIZE);
	return 0;
}

static int x87_get(void *owner, void *s)
{
	(void)owner;
	memcpy(s, x87, EMU_X87_SIZE);
	return 0;
}

static int x87_set(void *owner, const void *s)
{
	(void)owner;
	memcpy(x87, s, EMU_X87_SIZE);
	return 0;
}

static const struct emu_ops ops = {
	.mmio_read = mmio_read, .mmio_write = mmio_write,
	.vec_get = vec_get, .vec_set = vec_set,
	.x87_get = x87_get, .x87_set = x87_set,
};

static uint64_t ram_gpa(unsigned int page)
{
	return 0x200000 + 0x5000 * page;
}

/* page i of the window, as the guest's memory holds it */
static uint8_t *window_page(unsigned int i)
{
	return i % 2 ? mem_ptr(guest.mem, ram_gpa(i), PAGE) : mmio + i * PAGE;
}

static int setup(void **state)
{
	unsigned int i;

	(void)state;
	if (!native_init())
		return -1;
	g64_init(&guest);
	cache = emu_cache_new();
	assert_non_null(cache);
	asm("mov %%ss, %0" : "=r"(guest.sregs.seg[VMM_SS].selector));
	asm("mov %%ds, %0" : "=r"(guest.sregs.seg[VMM_DS].selector));
	for (i = 0; i < NATIVE_SIZE / PAGE; i++)
		g64_map(&guest, NATIVE_DATA + i * PAGE,
			i % 2 ? ram_gpa(i) : MMIO + i * PAGE, G64_P | G64_W);
	/* two pages of code that do not follow each other in memory */
	g64_map(&guest, CODE_LINEAR, 0x100000, G64_P);
	g64_map(&guest, CODE_LINEAR + PAGE, 0x180000, G64_P);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	emu_cache_free(cache);
	g64_free(&guest);
	return 0;
}

/* ---- one round -------------------------------------------------------------- */

static void make_memory(void)
{
	uint64_t *p = (uint64_t *)NATIVE_DATA;
	uint64_t same = value();
	bool repeat = rnd() % 3 == 0;
	unsigned int i;

	/* long equal stretches make REPE and REPNE run */
	for (i = 0; i < NATIVE_SIZE / 8; i++)
		p[i] = repeat ? same : value();
}

/* the emulated guest's is the same */
static void copy_memory(void)
{
	unsigned int i;

	for (i = 0; i < NATIVE_SIZE / PAGE; i++)
		memcpy(window_page(i), (void *)(NATIVE_DATA + i * PAGE), PAGE);
}

#define FCW		0
#define FSW		2
#define TAGS		4
#define POINTERS	6		/* last instruction and operand; MXCSR */
#define POINTERS_END	32
#define MXCSR		24
#define ST(i)		(32 + 16 * (i))
#define FCW_MASKED	0x7f		/* and bit 6, which is always there */

/* any precision, rounding, depth of the stack; numbers of all kinds */
static void make_x87(struct native *n)
{
	uint16_t fcw = (rnd() & 0xf00) | FCW_MASKED, fsw = rnd() & 0x7f7f;
	uint32_t mxcsr = 0x1f80;
	unsigned int i;

	n->x87 = true;
	memcpy(n->fxsave + FCW, &fcw, 2);
	memcpy(n->fxsave + FSW, &fsw, 2);
	n->fxsave[TAGS] = rnd() & 1 ? 0xff : rnd();
	memcpy(n->fxsave + MXCSR, &mxcsr, 4);
	for (i = 0; i < 8; i++) {
		uint64_t mantissa = value();
		uint16_t exponent = rnd() & 1 ? 0x3fff + rnd() % 64 - 32 : value();

		if (rnd() & 3)
			mantissa |= 1ULL << 63;
		memcpy(n->fxsave + ST(i), &mantissa, 8);
		memcpy(n->fxsave + ST(i) + 8, &exponent, 2);
	}
	memcpy(x87, n->fxsave, sizeof(x87));
}

/* a control word that unmasks what is pending is nothing to compare */
static void make_control_word(struct native *n)
{
	uint16_t fcw = (rnd() & 0xf00) | FCW_MASKED;

	memcpy((void *)n->gpr[VMM_RBX], &fcw, 2);
}

static void make_registers(const struct form *f, struct native *n)
{
	unsigned int i;

	memset(n, 0, sizeof(*n));
	for (i = 0; i < 16; i++)
		n->gpr[i] = value();
	n->gpr[VMM_RCX] = rnd() & 0xff;
	if (rnd() % 4 == 0)
		n->gpr[VMM_RCX] &= 1;
	n->gpr[VMM_RBX] = pointer();
	n->gpr[VMM_RSP] = pointer();
	n->gpr[VMM_RSI] = pointer();
	n->gpr[VMM_RDI] = pointer();
	n->gpr[VMM_R8] = rnd() % 32768 - 16384;
	if (f->attr & FORM_ALIGN16)
		n->gpr[VMM_RBX] &= ~15ULL;
	if (f->attr & FORM_ALIGN32)
		n->gpr[VMM_RBX] &= ~31ULL;
	/* let comparisons succeed as often as not */
	if (rnd() & 1) {
		memcpy(&n->gpr[VMM_RAX], (void *)n->gpr[VMM_RBX], 8);
		memcpy(&n->gpr[VMM_RDX], (void *)(n->gpr[VMM_RBX] + 8), 8);
	} else if (rnd() & 1) {
		/* CMPXCHG8B takes its halves from one quadword */
		memcpy(&n->gpr[VMM_RAX], (void *)n->gpr[VMM_RBX], 4);
		memcpy(&n->gpr[VMM_RDX], (void *)(n->gpr[VMM_RBX] + 4), 4);
	}
	n->rflags = 0x202 | (rnd() & FL_ARITH);
	if (f->attr & FORM_DF)
		n->rflags |= rnd() & FL_DF;
	for (i = 0; i < sizeof(n->vec); i++)
		((uint8_t *)n->vec)[i] = rnd();
	memcpy(vec, n->vec, sizeof(n->vec));
	if (!native_has_avx())
		for (i = 0; i < NATIVE_VECS; i++)
			memset(n->vec[i] + 16, 0, 16);
	if (f->attr & FORM_X87)
		make_x87(n);
	if (f->attr & FORM_FCW)
		make_control_word(n);
}

static void put_code(const struct form *f, uint64_t rip)
{
	unsigned int i;

	for (i = 0; i < f->len; i++) {
		uint64_t at = rip + i - CODE_LINEAR;
		uint8_t *p = mem_ptr(guest.mem, at < PAGE ? 0x100000 + at :
				     0x180000 + at - PAGE, 1);

		*p = f->code[i];
	}
}

static void compare(const struct form *f, const struct native *n,
		    const struct emu *e, uint64_t rip)
{
	uint64_t flags = (FL_ARITH & ~(f->attr & FORM_FLAGS)) | FL_DF;
	unsigned int i;

	for (i = 0; i < 16; i++)
		if (n->gpr[i] != e->regs.gpr[i])
			fail_msg("%s: gpr %u: CPU %#lx emulator %#llx", f->text,
				 i, n->gpr[i], e->regs.gpr[i]);
	if ((n->rflags ^ e->regs.rflags) & flags)
		fail_msg("%s: flags: CPU %#lx emulator %#llx", f->text,
			 n->rflags & flags, e->regs.rflags & flags);
	if (e->regs.rip != rip + f->len)
		fail_msg("%s: rip %#llx", f->text, e->regs.rip);
	for (i = 0; i < NATIVE_SIZE / PAGE; i++)
		if (memcmp(window_page(i), (void *)(NATIVE_DATA + i * PAGE), PAGE))
			fail_msg("%s: memory of page %u differs", f->text, i);
	if (n->x87 && (memcmp(x87, n->fxsave, POINTERS) ||
		       memcmp(x87 + POINTERS_END, n->fxsave + POINTERS_END,
			      sizeof(x87) - POINTERS_END)))
		fail_msg("%s: x87 registers differ", f->text);
	for (i = 0; i < NATIVE_VECS; i++)
		if (memcmp(vec[i], n->vec[i], native_has_avx() ? 32 : 16))
			fail_msg("%s: vector register %u differs", f->text, i);
}

static bool source_is_zero(const struct native *n)
{
	uint64_t v;

	memcpy(&v, (void *)n->gpr[VMM_RBX], 8);
	return !(uint32_t)v;
}

static int64_t sign_extend(uint64_t v, unsigned int bits)
{
	return (int64_t)(v << (64 - bits)) >> (64 - bits);
}

/*
 * The dividend of what a division at RBX is to give. False: by zero, which only
 * the emulator is asked, in test_emulate.
 */
static bool make_dividend(const struct form *f, struct native *n)
{
	unsigned int bits = (f->attr >> 12 & 15) * 8;
	uint64_t divisor = 0, mask = ~0ULL >> (64 - bits);
	unsigned __int128 dividend;
	int64_t d, q;

	memcpy(&divisor, (void *)n->gpr[VMM_RBX], bits / 8);
	if (!divisor)
		return false;
	if (f->attr & FORM_DIV) {
		dividend = (unsigned __int128)divisor * (value() & mask) +
			   value() % divisor;
	} else {
		d = sign_extend(divisor, bits);
		q = sign_extend(value(), bits);
		/* the remainder has the dividend's sign */
		dividend = (__int128)d * q;
		divisor = value() % (d < 0 ? -(uint64_t)d : (uint64_t)d);
		dividend += q && (d < 0) != (q < 0) ?
			    -(__int128)divisor : (__int128)divisor;
	}
	if (bits == 8) {
		memcpy(&n->gpr[VMM_RAX], &dividend, 2);
		return true;
	}
	n->gpr[VMM_RAX] = (n->gpr[VMM_RAX] & ~mask) | ((uint64_t)dividend & mask);
	n->gpr[VMM_RDX] = (n->gpr[VMM_RDX] & ~mask) |
			  ((uint64_t)(dividend >> bits) & mask);
	return true;
}

static void run_form(const struct form *f)
{
	struct native n;
	struct emu e = {
		.mem = guest.mem, .cache = cache, .ops = &ops, .phys_bits = 40,
		.sregs = &guest.sregs,
	};
	uint64_t rip = CODE_LINEAR + PAGE - rnd() % (f->len + 1);
	enum emu_result r;

	make_memory();
	make_registers(f, &n);
	if (f->attr & FORM_NONZERO && source_is_zero(&n))
		return;
	if (f->attr & (FORM_DIV | FORM_IDIV) && !make_dividend(f, &n))
		return;
	copy_memory();
	memcpy(e.regs.gpr, n.gpr, sizeof(n.gpr));
	e.regs.rflags = n.rflags;
	e.regs.rip = rip;
	put_code(f, rip);
	r = emu_run(&e);
	if (r == EMU_UNSUPPORTED)
		fail_msg("%s: %s", f->text, e.why);
	if (r != EMU_DONE)
		fail_msg("%s: result %d, fault %u cr2 %#lx", f->text, r,
			 e.fault.vector, e.fault.cr2);
	native_run(&n, f->code, f->len);
	compare(f, &n, &e, rip);
}

static void test_forms(void **state)
{
	const struct form *f;
	unsigned int i;

	(void)state;
	assert_true(__stop_forms - __start_forms > 400);
	for (f = __start_forms; f < __stop_forms; f++) {
		if (f->attr & FORM_AVX && !native_has_avx())
			continue;
		for (i = 0; i < ROUNDS; i++)
			run_form(f);
	}
	print_message("%zd forms\n", __stop_forms - __start_forms);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_forms),
	};

	return cmocka_run_group_tests_name("emulate_native", tests, setup,
					   teardown);
}
