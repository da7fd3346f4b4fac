// SPDX-License-Identifier: GPL-2.0
/*
 * The page-table walker in every paging mode. Tables are written by hand here,
 * from the manuals' figures (SDM 3A 4.3 - 4.6), not through guest64.
 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "mem.h"
#include "walk.h"

#define P	1ULL
#define W	2ULL
#define U	4ULL
#define A	(1ULL << 5)
#define D	(1ULL << 6)
#define PS	(1ULL << 7)
#define NX	(1ULL << 63)

#define CR0_PE	1ULL
#define CR0_WP	(1ULL << 16)
#define CR0_PG	(1ULL << 31)
#define CR4_PSE	(1ULL << 4)
#define CR4_PAE	(1ULL << 5)
#define CR4_LA57 (1ULL << 12)
#define CR4_SMEP (1ULL << 20)
#define CR4_SMAP (1ULL << 21)
#define LMA	(1ULL << 10)
#define NXE	(1ULL << 11)
#define AC	(1ULL << 18)

/* error code bits */
#define EP	1U
#define EW	2U
#define EU	4U
#define ER	8U
#define EI	16U

struct fixture {
	struct mem *mem;
	struct vmm_sregs s;
	struct walk w;
	struct walk_known known[WALK_KNOWN];
	struct walk_fault fault;
	uint64_t gpa;
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	f->mem = mem_new(NULL);
	f->w = (struct walk){
		.mem = f->mem, .sregs = &f->s, .rflags = 2, .phys_bits = 40,
		.known = f->known,
	};
	f->s.cr0 = CR0_PE | CR0_PG | CR0_WP;
	*state = f;
	return mem_add_ram(f->mem, 0, 0x10000, "test");
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	mem_free(f->mem);
	free(f);
	return 0;
}

static uint64_t *e8(struct fixture *f, uint64_t gpa)
{
	return mem_ptr(f->mem, gpa, 8);
}

static uint32_t *e4(struct fixture *f, uint64_t gpa)
{
	return mem_ptr(f->mem, gpa, 4);
}

static void set_cpl(struct fixture *f, unsigned int cpl)
{
	f->s.seg[VMM_SS].attr = 0x93 | cpl << VMM_SEG_DPL_SHIFT;
}

/* twice: the second walk may be remembered and must be the same */
static void ok(struct fixture *f, uint64_t linear, unsigned int access,
	       uint64_t gpa)
{
	int i;

	for (i = 0; i < 2; i++) {
		f->gpa = ~0ULL;
		if (!walk_page(&f->w, linear, access, &f->gpa, &f->fault))
			fail_msg("%#lx: fault %u error %#x", linear,
				 f->fault.vector, f->fault.error);
		assert_int_equal(f->gpa, gpa);
	}
}

static void bad(struct fixture *f, uint64_t linear, unsigned int access,
		uint32_t error)
{
	assert_false(walk_page(&f->w, linear, access, &f->gpa, &f->fault));
	assert_int_equal(f->fault.vector, WALK_PF);
	assert_true(f->fault.has_error);
	assert_int_equal(f->fault.error, error);
	assert_int_equal(f->fault.cr2, linear);
}

static void test_no_paging(void **state)
{
	struct fixture *f = *state;

	f->s.cr0 = CR0_PE;
	ok(f, 0x12345678, WALK_WRITE, 0x12345678);
}

/* ---- 32-bit ------------------------------------------------------------------ */

static void test_32(void **state)
{
	struct fixture *f = *state;

	/* directory at 0x1000, table at 0x2000; linear 0x0040.3123 */
	f->s.cr3 = 0x1018;	/* PWT and PCD are no address */
	*e4(f, 0x1004) = 0x2000 | P | W | U;
	*e4(f, 0x200c) = 0xabcde000 | P | W;
	ok(f, 0x403123, 0, 0xabcde123);
	assert_int_equal(*e4(f, 0x1004), 0x2000 | P | W | U | A);
	assert_int_equal(*e4(f, 0x200c), 0xabcde000 | P | W | A);
	ok(f, 0x403124, WALK_WRITE, 0xabcde124);
	assert_int_equal(*e4(f, 0x200c), 0xabcde000 | P | W | A | D);
	bad(f, 0x404000, WALK_WRITE, EW);
	bad(f, 0x800000, 0, 0);
	set_cpl(f, 3);
	bad(f, 0x403000, 0, EP | EU);

	/* bit 7 of a directory entry means nothing without PSE */
	*e4(f, 0x1004) |= PS;
	set_cpl(f, 0);
	ok(f, 0x403000, 0, 0xabcde000);
	/* fetches are told apart only with NXE or SMEP */
	bad(f, 0x404000, WALK_FETCH, 0);
	f->s.cr4 = CR4_SMEP;
	bad(f, 0x404000, WALK_FETCH, EI);
}

static void test_pse(void **state)
{
	struct fixture *f = *state;

	f->s.cr3 = 0x1000;
	f->s.cr4 = CR4_PSE;
	*e4(f, 0x1004) = 0x12400000 | P | W | PS;
	ok(f, 0x7abcde, WALK_WRITE, 0x127abcde);
	assert_int_equal(*e4(f, 0x1004), 0x12400000 | P | W | PS | A | D);
	/* PSE-36: bits 20:13 are address bits 39:32 */
	*e4(f, 0x1004) = 0x12400000 | 0x12 << 13 | P | PS;
	ok(f, 0x7abcde, 0, 0x12127abcdeULL);
	f->w.phys_bits = 36;
	bad(f, 0x7abcde, 0, EP | ER);
	*e4(f, 0x1004) = 0x12400000 | 0x0f << 13 | P | PS;
	ok(f, 0x7abcde, 0, 0xf127abcdeULL);
	*e4(f, 0x1004) = 0x12400000 | 1 << 21 | P | PS;
	bad(f, 0x7abcde, 0, EP | ER);
}

/* ---- PAE ----------------------------------------------------------------------- */

static void test_pae(void **state)
{
	struct fixture *f = *state;

	/* pointer table at 0x1020: 32-byte aligned is enough */
	f->s.cr3 = 0x1020;
	f->s.cr4 = CR4_PAE;
	*e8(f, 0x1028) = 0x3000 | P;		/* 1 GiB .. 2 GiB */
	*e8(f, 0x3008) = 0x4000 | P | W | U;
	*e8(f, 0x4018) = 0xf123456000 | P | W | U;
	ok(f, 0x40203abc, WALK_WRITE, 0xf123456abcULL);
	assert_int_equal(*e8(f, 0x1028), 0x3000 | P);	/* has no such bits */
	assert_int_equal(*e8(f, 0x3008), 0x4000 | P | W | U | A);
	assert_int_equal(*e8(f, 0x4018), 0xf123456000 | P | W | U | A | D);
	bad(f, 0x80000000, 0, 0);
	/* 2 MiB, without PSE in CR4 */
	*e8(f, 0x3010) = 0x5400000 | P | W | PS;
	ok(f, 0x40512345, 0, 0x5512345);
	*e8(f, 0x3010) = 0x5400000 | P | 1 << 13 | PS;
	bad(f, 0x40512345, 0, EP | ER);
	/* NX is reserved until NXE; so are 62:52 and what is above MAXPHYADDR */
	*e8(f, 0x4018) = NX | P;
	bad(f, 0x40203000, 0, EP | ER);
	f->s.efer = NXE;
	ok(f, 0x40203000, 0, 0);
	bad(f, 0x40203000, WALK_FETCH, EP | EI);
	*e8(f, 0x4018) = 1ULL << 52 | P;
	bad(f, 0x40203000, 0, EP | ER);
	*e8(f, 0x4018) = 1ULL << 40 | P;
	bad(f, 0x40203000, 0, EP | ER);
}

/* ---- 4 and 5 levels ------------------------------------------------------------- */

#define LINEAR	0xffff812345678abcULL	/* indexes 0x102 0x8d 0x2b 0x78 */

static void make_4(struct fixture *f, uint64_t cr3)
{
	f->s.efer = LMA | NXE;
	f->s.cr4 |= CR4_PAE;
	f->s.cr3 = cr3;
	*e8(f, 0x1000 + 0x102 * 8) = 0x2000 | P | W | U;
	*e8(f, 0x2000 + 0x8d * 8) = 0x3000 | P | W | U;
	*e8(f, 0x3000 + 0x2b * 8) = 0x4000 | P | W | U;
	*e8(f, 0x4000 + 0x78 * 8) = 0x7654321000 | P | W | U;
}

static void test_4_levels(void **state)
{
	struct fixture *f = *state;

	make_4(f, 0x1fff);	/* PCID */
	f->s.cr3 = 0x1000 | 0xfff;
	ok(f, LINEAR, 0, 0x7654321abcULL);
	assert_true(*e8(f, 0x1000 + 0x102 * 8) & A);
	assert_true(*e8(f, 0x2000 + 0x8d * 8) & A);
	assert_true(*e8(f, 0x3000 + 0x2b * 8) & A);
	assert_int_equal(*e8(f, 0x4000 + 0x78 * 8), 0x7654321000 | P | W | U | A);
	/* bits 62:52 are software's here */
	*e8(f, 0x4000 + 0x78 * 8) = 0x7654321000 | 0x7ffULL << 52 | P;
	ok(f, LINEAR, 0, 0x7654321abcULL);
	/* bit 7 is reserved in the top level */
	*e8(f, 0x1000 + 0x102 * 8) |= PS;
	bad(f, LINEAR, 0, EP | ER);
}

static void test_large(void **state)
{
	struct fixture *f = *state;

	make_4(f, 0x1000);
	*e8(f, 0x3000 + 0x2b * 8) = 0x7600000000 | 1 << 12 | P | PS;	/* PAT */
	ok(f, LINEAR, 0, 0x7600078abcULL);
	*e8(f, 0x3000 + 0x2b * 8) |= 1 << 20;
	bad(f, LINEAR, 0, EP | ER);
	*e8(f, 0x2000 + 0x8d * 8) = 0x7640000000 | P | W | PS;
	ok(f, LINEAR, WALK_WRITE, 0x7645678abcULL);
	assert_true(*e8(f, 0x2000 + 0x8d * 8) & D);
	*e8(f, 0x2000 + 0x8d * 8) |= 1 << 29;
	bad(f, LINEAR, 0, EP | ER);
}

static void test_5_levels(void **state)
{
	struct fixture *f = *state;

	make_4(f, 0x5000);
	f->s.cr4 |= CR4_LA57;
	*e8(f, 0x5000 + 0x1ff * 8) = 0x1000 | P | W | U;
	ok(f, LINEAR, 0, 0x7654321abcULL);
	bad(f, LINEAR & ~(1ULL << 48), 0, 0);
}

/* ---- permissions ------------------------------------------------------------------ */

/* every mix of entry bits, mode bits and access against a second opinion */
static void test_permissions(void **state)
{
	struct fixture *f = *state;
	unsigned int i, access;

	make_4(f, 0x1000);
	for (i = 0; i < 1 << 12; i++) {
		/* the restriction may sit in the leaf or above it */
		uint64_t up = P | (i & 1 ? W : 0) | (i & 2 ? U : 0) | (i & 4 ? NX : 0);
		uint64_t leaf = P | (i & 8 ? W : 0) | (i & 16 ? U : 0) | (i & 32 ? NX : 0);
		bool w = i & 1 && i & 8, u = i & 2 && i & 16, nx = (i & 4) || (i & 32);
		bool user = i & 64, wp = i & 128, smep = i & 256, smap = i & 512;
		bool ac = i & 1024, allowed;
		uint32_t error = EP | (user ? EU : 0);

		access = i & 2048 ? WALK_WRITE : 0;
		f->s.cr0 = CR0_PE | CR0_PG | (wp ? CR0_WP : 0);
		f->s.cr4 = CR4_PAE | (smep ? CR4_SMEP : 0) | (smap ? CR4_SMAP : 0);
		f->w.rflags = 2 | (ac ? AC : 0);
		set_cpl(f, user ? 3 : 0);
		*e8(f, 0x2000 + 0x8d * 8) = 0x3000 | up;
		*e8(f, 0x4000 + 0x78 * 8) = 0x5000 | leaf;

		allowed = user ? u : !(u && smap && !ac);
		if (access && !w && (user || wp))
			allowed = false;
		if (allowed)
			ok(f, LINEAR, access, 0x5abc);
		else
			bad(f, LINEAR, access, error | (access ? EW : 0));
		/* a fetch of the same */
		allowed = user ? u && !nx : !nx && !(u && smep);
		if (allowed)
			ok(f, LINEAR, WALK_FETCH, 0x5abc);
		else
			bad(f, LINEAR, WALK_FETCH, error | EI);
	}
}

static void test_refused_leaves_dirty_alone(void **state)
{
	struct fixture *f = *state;

	make_4(f, 0x1000);
	*e8(f, 0x4000 + 0x78 * 8) = 0x5000 | P;
	bad(f, LINEAR, WALK_WRITE, EP | EW);
	assert_int_equal(*e8(f, 0x4000 + 0x78 * 8) & D, 0);
}

static void test_peek(void **state)
{
	struct fixture *f = *state;

	make_4(f, 0x1000);
	*e8(f, 0x4000 + 0x78 * 8) = 0x5000 | P | NX;
	set_cpl(f, 3);
	ok(f, LINEAR, WALK_FETCH | WALK_PEEK, 0x5abc);
	assert_int_equal(*e8(f, 0x4000 + 0x78 * 8), 0x5000 | P | NX);
	assert_int_equal(*e8(f, 0x1000 + 0x102 * 8) & A, 0);
}

/* tables where no memory is, in ROM, or pointing at themselves */
static void test_hostile_tables(void **state)
{
	static const uint64_t rom[512] = { [0] = 0x5000 | P | W };
	struct fixture *f = *state;

	make_4(f, 1ULL << 39);
	bad(f, LINEAR, 0, EP | ER);
	make_4(f, 0x1000);
	*e8(f, 0x3000 + 0x2b * 8) = 0x90000 | P | W | U;
	bad(f, LINEAR, 0, EP | ER);
	assert_int_equal(mem_add_rom(f->mem, 0x90000, rom, 4096, "rom"), 0);
	ok(f, LINEAR & ~0x1ff000ULL, WALK_WRITE, 0x5abc);
	/* a table that is its own child: an ordinary recursive mapping */
	*e8(f, 0x1000) = 0x1000 | P | W;
	ok(f, 0x10, WALK_WRITE, 0x1010);
}

/* what a remembered walk depends on: none of it may change unseen */
static void test_known(void **state)
{
	static const uint64_t at[] = {
		0x1000 + 0x102 * 8, 0x2000 + 0x8d * 8, 0x3000 + 0x2b * 8,
		0x4000 + 0x78 * 8,
	};
	struct fixture *f = *state;
	unsigned int i;
	uint64_t *e;

	make_4(f, 0x1000);
	for (i = 0; i < 4; i++) {
		e = e8(f, at[i]);
		ok(f, LINEAR, WALK_WRITE, 0x7654321abcULL);
		*e &= ~A;
		ok(f, LINEAR, WALK_WRITE, 0x7654321abcULL);
		assert_true(*e & A);
		*e &= ~W;
		bad(f, LINEAR, WALK_WRITE, EP | EW);
		*e = (*e | W) & ~P;
		bad(f, LINEAR, WALK_WRITE, EW);
		*e |= P;
	}
	e = e8(f, at[3]);
	*e &= ~D;
	ok(f, LINEAR, 0, 0x7654321abcULL);
	assert_false(*e & D);
	ok(f, LINEAR, WALK_WRITE, 0x7654321abcULL);
	assert_true(*e & D);
	*e = 0x7654322000 | P | W;
	ok(f, LINEAR, WALK_WRITE, 0x7654322abcULL);
	set_cpl(f, 3);
	bad(f, LINEAR, WALK_WRITE, EP | EW | EU);
	set_cpl(f, 0);
	*e = 0x7654322000 | P | NX;
	f->s.cr0 &= ~CR0_WP;
	ok(f, LINEAR, WALK_WRITE, 0x7654322abcULL);
	f->s.cr0 |= CR0_WP;
	bad(f, LINEAR, WALK_WRITE, EP | EW);
	ok(f, LINEAR, 0, 0x7654322abcULL);
	bad(f, LINEAR, WALK_FETCH, EP | EI);
	f->s.efer &= ~NXE;
	bad(f, LINEAR, 0, EP | ER);
	f->s.efer |= NXE;
	*e = 0x7654322000 | P | U;
	f->s.cr4 |= CR4_SMAP;
	f->w.rflags |= AC;
	ok(f, LINEAR, 0, 0x7654322abcULL);
	f->w.rflags &= ~AC;
	bad(f, LINEAR, 0, EP);
	f->s.cr4 &= ~CR4_SMAP;
	ok(f, LINEAR, 0, 0x7654322abcULL);
	f->s.cr3 = 0x8000;
	bad(f, LINEAR, 0, 0);
}

static void *scribble(void *arg)
{
	uint64_t *e = arg;
	int i;

	for (i = 0; i < 300000; i++)
		__atomic_store_n(e, i & 1 ? 0x5000 | P | W | U : 0x6000 | P | U,
				 __ATOMIC_SEQ_CST);
	return NULL;
}

/* another CPU rewrites the entry: what comes out is one of its values */
static void test_concurrent(void **state)
{
	struct fixture *f = *state;
	pthread_t t;
	int i;

	make_4(f, 0x1000);
	*e8(f, 0x4000 + 0x78 * 8) = 0x6000 | P | U;
	pthread_create(&t, NULL, scribble, e8(f, 0x4000 + 0x78 * 8));
	for (i = 0; i < 100000; i++) {
		if (walk_page(&f->w, LINEAR, WALK_WRITE, &f->gpa, &f->fault))
			assert_int_equal(f->gpa, 0x5abc);
		else
			assert_int_equal(f->fault.error & ~EP, EW);
	}
	pthread_join(t, NULL);
}

/* ---- segments ----------------------------------------------------------------------- */

static void test_canonical(void **state)
{
	static const struct {
		uint64_t offset;
		unsigned int size;
		bool ok48, ok57;
	} t[] = {
		{ 0x7fffffffffff, 1, true, true },
		{ 0x7fffffffffff, 2, false, true },
		{ 0x800000000000, 1, false, true },
		{ 0xffff7fffffffffff, 1, false, true },
		{ 0xffff800000000000, 8, true, true },
		{ 0x00ffffffffffffff, 1, false, true },
		{ 0x0100000000000000, 1, false, false },
		{ 0xffffffffffffffff, 1, true, true },
	};
	struct fixture *f = *state;
	uint64_t linear;
	unsigned int i;

	f->s.efer = LMA;
	f->s.seg[VMM_CS].attr = 0x29b;
	for (i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		f->s.cr4 = CR4_PAE;
		assert_int_equal(walk_segment(&f->w, VMM_DS, t[i].offset, t[i].size,
					      0, &linear, &f->fault), t[i].ok48);
		f->s.cr4 |= CR4_LA57;
		assert_int_equal(walk_segment(&f->w, VMM_SS, t[i].offset, t[i].size,
					      0, &linear, &f->fault), t[i].ok57);
	}
	assert_int_equal(f->fault.vector, WALK_SS);
	/* bases of FS and GS count, others do not */
	f->s.seg[VMM_GS].base = 0xffff888000000000;
	f->s.seg[VMM_DS].base = 0x1000;
	assert_true(walk_segment(&f->w, VMM_GS, 0x10, 8, 0, &linear, &f->fault));
	assert_int_equal(linear, 0xffff888000000010);
	assert_true(walk_segment(&f->w, VMM_DS, 0x10, 8, 0, &linear, &f->fault));
	assert_int_equal(linear, 0x10);
}

static void test_widths(void **state)
{
	struct fixture *f = *state;

	f->s.seg[VMM_CS].attr = 0x9b;
	assert_int_equal(walk_code_bits(&f->s), 16);
	f->s.seg[VMM_CS].attr = 0x49b;
	assert_int_equal(walk_code_bits(&f->s), 32);
	/* L means nothing outside long mode */
	f->s.seg[VMM_CS].attr = 0x29b;
	assert_int_equal(walk_code_bits(&f->s), 16);
	f->s.efer = LMA;
	assert_int_equal(walk_code_bits(&f->s), 64);
	assert_int_equal(walk_stack_bits(&f->s), 64);
	f->s.seg[VMM_CS].attr = 0x49b;
	assert_int_equal(walk_stack_bits(&f->s), 16);
	f->s.seg[VMM_SS].attr = 0x493;
	assert_int_equal(walk_stack_bits(&f->s), 32);
	/* CPL: SS's, 0 in real mode, 3 in virtual-8086 mode */
	set_cpl(f, 2);
	assert_int_equal(walk_cpl(&f->w), 2);
	f->w.rflags |= 1 << 17;
	assert_int_equal(walk_cpl(&f->w), 3);
	f->s.cr0 = 0;
	assert_int_equal(walk_cpl(&f->w), 0);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_no_paging), T(test_32), T(test_pse), T(test_pae),
		T(test_4_levels), T(test_large), T(test_5_levels),
		T(test_permissions), T(test_refused_leaves_dirty_alone),
		T(test_peek), T(test_hostile_tables), T(test_known),
		T(test_concurrent),
		T(test_canonical), T(test_widths),
	};

	return cmocka_run_group_tests_name("walk", tests, NULL, NULL);
}
