// SPDX-License-Identifier: GPL-2.0
/*
 * MMIO in all sizes and all forms of MOV, inside a page, across pages of the
 * device, and across its edges to RAM. Before each access the guest says in
 * GUEST_MMIO_DESC what comes, for a harness that decodes nothing.
 */
#include "rt.h"

struct desc {
	u8 len, size, reg, flags;
	u32 pad;
	u64 imm;
	u64 addr;
};

static volatile struct desc *desc;

static void announce(int size, int reg, int flags, ulong addr, u64 imm)
{
	desc = phys(GUEST_MMIO_DESC);
	desc->size = size;
	desc->reg = reg;
	desc->flags = flags;
	desc->addr = addr;
	desc->imm = imm;
}

/* the instruction with its own length put into the descriptor before it */
#define WITH_LEN(insn)							\
	"movb $(772f - 771f), 0x680\n771:\t" insn "\n772:\n\t"
_Static_assert(GUEST_MMIO_DESC == 0x680, "asm above");

#define AX_REG	0
#define CX_REG	1

/* what the device holds at an offset, before anything was stored */
static u64 pattern(ulong addr, int size)
{
	u64 v = 0;
	int i;

	for (i = 0; i < size; i++)
		v |= (u64)(u8)(addr + i) << i * 8;
	return v;
}

#define LOAD(insn, size, flags, addr, before)				\
({									\
	ulong load_value = (before);					\
	announce(size, AX_REG, flags, addr, 0);				\
	asm volatile(WITH_LEN(insn)					\
		     : "+a"(load_value) : "d"((ulong)(addr)) : "memory");	\
	check(desc->len == 0);						\
	load_value;							\
})
#define STORE(insn, size, addr, value)					\
do {									\
	announce(size, CX_REG, DESC_STORE, addr, 0);			\
	asm volatile(WITH_LEN(insn)					\
		     : : "c"((ulong)(value)), "d"((ulong)(addr)) : "memory");	\
	check(desc->len == 0);						\
} while (0)
#define STORE_IMM(insn, size, addr, value)				\
do {									\
	announce(size, DESC_IMM, DESC_STORE, addr, value);		\
	asm volatile(WITH_LEN(insn) : : "d"((ulong)(addr)) : "memory");	\
	check(desc->len == 0);						\
} while (0)

#if MODE == 64
#define DX "rdx"
#else
#define DX "edx"
#endif

static void loads(ulong at)
{
	ulong ones = ~0ul;

	check(LOAD("movb (%%" DX "), %%al", 1, 0, at, ones) ==
	      ((ones & ~0xfful) | pattern(at, 1)));
	check(LOAD("movw (%%" DX "), %%ax", 2, 0, at, ones) ==
	      ((ones & ~0xfffful) | pattern(at, 2)));
	check(LOAD("movl (%%" DX "), %%eax", 4, 0, at, ones) == pattern(at, 4));
	check(LOAD("movzbl (%%" DX "), %%eax", 1, DESC_ZEXT, at, ones) ==
	      pattern(at, 1));
	check(LOAD("movzwl (%%" DX "), %%eax", 2, DESC_ZEXT, at, ones) ==
	      pattern(at, 2));
#if MODE == 64
	check(LOAD("movq (%%rdx), %%rax", 8, 0, at, ones) == pattern(at, 8));
	check(LOAD("movsbq (%%rdx), %%rax", 1, DESC_SEXT, at, ones) ==
	      (ulong)(signed char)pattern(at, 1));
	check(LOAD("movswq (%%rdx), %%rax", 2, DESC_SEXT, at, ones) ==
	      (ulong)(short)pattern(at, 2));
	check(LOAD("movslq (%%rdx), %%rax", 4, DESC_SEXT, at, ones) ==
	      (ulong)(int)pattern(at, 4));
#endif
}

static void stores(ulong at)
{
	u32 old = LOAD("movl (%%" DX "), %%eax", 4, 0, at, 0);

	STORE("movb %%cl, (%%" DX ")", 1, at, 0x11223344);
	check((u32)LOAD("movl (%%" DX "), %%eax", 4, 0, at, 0) ==
	      ((old & ~0xffu) | 0x44));
	STORE("movw %%cx, (%%" DX ")", 2, at, 0x11225566);
	check((u16)LOAD("movw (%%" DX "), %%ax", 2, 0, at, 0) == 0x5566);
	STORE("movl %%ecx, (%%" DX ")", 4, at, 0xfedcba98);
	check((u32)LOAD("movl (%%" DX "), %%eax", 4, 0, at, 0) == 0xfedcba98);
	STORE_IMM("movb $0x5a, (%%" DX ")", 1, at, 0x5a);
	STORE_IMM("movw $0x1234, (%%" DX ")", 2, at + 2, 0x1234);
	check((u32)LOAD("movl (%%" DX "), %%eax", 4, 0, at, 0) == 0x1234ba5a);
	STORE_IMM("movl $0x89abcdef, (%%" DX ")", 4, at, 0x89abcdef);
	check((u32)LOAD("movl (%%" DX "), %%eax", 4, 0, at, 0) == 0x89abcdef);
#if MODE == 64
	STORE("movq %%rcx, (%%rdx)", 8, at, 0x1122334455667788);
	check(LOAD("movq (%%rdx), %%rax", 8, 0, at, 0) == 0x1122334455667788);
	/* the immediate is sign-extended to 64 bits */
	STORE_IMM("movq $-2, (%%rdx)", 8, at, -2ull);
	check(LOAD("movq (%%rdx), %%rax", 8, 0, at, 0) == -2ull);
#endif
}

/* one access, one half in RAM and the other in the device */
static void edges(void)
{
	ulong low = GUEST_MMIO - 2, high = GUEST_MMIO_END - 2;
	u8 *ram = phys(GUEST_MMIO - 2), *ram_end = phys(GUEST_MMIO_END);
	u32 v;

	ram[0] = 0xaa;
	ram[1] = 0xbb;
	ram_end[0] = 0xcc;
	ram_end[1] = 0xdd;
	v = LOAD("movl (%%" DX "), %%eax", 4, 0, low, 0);
	check(v == ((u32)pattern(GUEST_MMIO, 2) << 16 | 0xbbaa));
	v = LOAD("movl (%%" DX "), %%eax", 4, 0, high, 0);
	check(v == (0xddcc0000 | (u32)pattern(high, 2)));
	STORE("movl %%ecx, (%%" DX ")", 4, low, 0x44332211);
	check(ram[0] == 0x11 && ram[1] == 0x22);
	v = LOAD("movw (%%" DX "), %%ax", 2, 0, GUEST_MMIO, 0);
	check(v == 0x4433);
	STORE("movl %%ecx, (%%" DX ")", 4, high, 0x88776655);
	check(ram_end[0] == 0x77 && ram_end[1] == 0x88);
	v = LOAD("movw (%%" DX "), %%ax", 2, 0, high, 0);
	check(v == 0x6655);
}

int main(void)
{
	ulong at;
	int i;

	puts("mmio\n");
	loads(GUEST_MMIO);
	loads(GUEST_MMIO + 0x123);
	/* bytes with the sign bit set */
	loads(GUEST_MMIO + 0x2f0);
	stores(GUEST_MMIO + 0x4000);
	stores(GUEST_MMIO + 0x4101);
	/* every split of 8 bytes by the page boundary */
	for (i = 1; i < 8; i++) {
		at = GUEST_MMIO + 0x2000 - i;
		loads(at);
		stores(at + 0x4000);
	}
	edges();
	return 0;
}
