// SPDX-License-Identifier: GPL-2.0
/*
 * x87 instructions with an operand in memory. The CPU that we run on does them:
 * with the guest's x87 state in it, and a buffer of ours for the operand.
 */
#include <string.h>

#include "emulate_int.h"

/* the x87 part of an FXSAVE image, SDM 1 10.5.1.1; 64-bit pointers */
struct x87 {
	uint16_t fcw, fsw;
	uint8_t tags, reserved;
	uint16_t fop;
	uint64_t fip, fdp;
	uint32_t mxcsr, mxcsr_mask;
	uint8_t st[8][16];
};

_Static_assert(sizeof(struct x87) == EMU_X87_SIZE, "x87 part of FXSAVE");

struct fxsave {
	struct x87 x87;
	uint8_t rest[512 - sizeof(struct x87)];
} __attribute__((aligned(16)));

#define EXCEPTIONS	0x3f		/* masks in FCW, flags in FSW */
#define FSW_ES		(1 << 7)
#define FSW_BUSY	(1 << 15)
#define MXCSR_DEFAULT	0x1f80
#define STUB_SIZE	4
#define OPERAND_MAX	10

/* all that D8 to DF can do with (%rsi); x87_execute calls one of them */
extern const char x87_stubs[];
extern void x87_execute(struct fxsave *image, void *operand, const char *stub);

asm(".pushsection .text\n"
    "x87_stubs:\n"
    ".set opcode, 0xd8\n"
    ".rept 8\n"
    ".set modrm, 6\n"
    ".rept 8\n"
    ".byte opcode, modrm\n"
    "ret\n"
    ".byte 0xcc\n"
    ".set modrm, modrm + 8\n"
    ".endr\n"
    ".set opcode, opcode + 1\n"
    ".endr\n"
    /* what is the caller's: the control words, and an empty stack */
    "x87_execute:\n"
    "sub $8, %rsp\n"
    "stmxcsr (%rsp)\n"
    "fnstcw 4(%rsp)\n"
    "fxrstor64 (%rdi)\n"
    "call *%rdx\n"
    "fxsave64 (%rdi)\n"
    "fninit\n"
    "fldcw 4(%rsp)\n"
    "ldmxcsr (%rsp)\n"
    "add $8, %rsp\n"
    "ret\n"
    ".popsection\n");

static bool unmasked(const struct x87 *s)
{
	return s->fsw & ~s->fcw & EXCEPTIONS;
}

/* those two do not wait for what is pending, and show it */
static bool store_word(struct emu_cpu *c, const struct emu_ref *ref, const struct x87 *s)
{
	emu_store(c, ref, c->insn->mnemonic == ZYDIS_MNEMONIC_FNSTCW ? s->fcw : s->fsw);
	return true;
}

/*
 * With all exceptions masked; one that the guest has not masked is not for us: it
 * would be told at the next instruction, and some results are others then.
 */
static bool execute(struct emu_cpu *c, struct x87 *s, void *operand)
{
	struct fxsave image = { .x87 = *s };
	unsigned int opcode = c->insn->opcode & 7, reg = c->insn->raw.modrm.reg;
	uint16_t fcw = s->fcw;

	image.x87.fcw |= EXCEPTIONS;
	image.x87.fsw &= ~(FSW_ES | FSW_BUSY);
	image.x87.mxcsr = MXCSR_DEFAULT;
	x87_execute(&image, operand, x87_stubs + (8 * opcode + reg) * STUB_SIZE);
	if (c->insn->mnemonic == ZYDIS_MNEMONIC_FLDCW)
		fcw = image.x87.fcw;
	image.x87.mxcsr = s->mxcsr;
	image.x87.mxcsr_mask = s->mxcsr_mask;
	*s = image.x87;
	s->fcw = fcw;
	return !unmasked(s);
}

bool emu_x87(struct emu_cpu *c, unsigned int unused)
{
	uint8_t operand[OPERAND_MAX] = {};
	struct emu_ref ref;
	unsigned int n = 0;
	struct x87 s;
	bool store;

	(void)unused;
	while (n < c->insn->operand_count && !emu_is_mem(c, n))
		n++;
	if (n == c->insn->operand_count || c->op[n].size / 8 > OPERAND_MAX)
		return emu_unsupported(c);
	store = c->op[n].actions & ZYDIS_OPERAND_ACTION_MASK_WRITE;
	if (!emu_operand(c, n, store ? WALK_WRITE : 0, &ref))
		return false;
	if (!c->emu->ops->x87_get || c->emu->ops->x87_get(c->emu->owner, &s))
		return emu_unsupported(c);
	if (c->insn->mnemonic == ZYDIS_MNEMONIC_FNSTCW ||
	    c->insn->mnemonic == ZYDIS_MNEMONIC_FNSTSW)
		return store_word(c, &ref, &s);
	if (unmasked(&s))
		return emu_unsupported(c);
	if (!store)
		emu_load_bytes(c, &ref, operand);
	if (!execute(c, &s, operand))
		return emu_unsupported(c);
	/* of no use to the guest but for its own handlers; certainly not ours */
	s.fop = (c->insn->opcode & 7) << 8 | c->insn->raw.modrm.mod << 6 |
		c->insn->raw.modrm.reg << 3 | c->insn->raw.modrm.rm;
	s.fip = c->r.rip;
	s.fdp = emu_offset(c, n);
	if (c->emu->ops->x87_set(c->emu->owner, &s))
		return emu_unsupported(c);
	if (store)
		emu_store_bytes(c, &ref, operand);
	return true;
}
