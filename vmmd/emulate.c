// SPDX-License-Identifier: GPL-2.0
/* Fetch, decode, dispatch. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "emulate_int.h"
#include "mem.h"

#define PAGE		4096U
#define INSN_MAX	15	/* bytes, APM 3 1.1 */
#define CACHE_SLOTS	32

struct handler {
	emu_fn *fn;
	unsigned int arg;
};

#define M(name, ...) [ZYDIS_MNEMONIC_##name] = { __VA_ARGS__ }
#define STRING(name, kind) \
	M(name##B, emu_string, kind | 1), M(name##W, emu_string, kind | 2), \
	M(name##D, emu_string, kind | 4)
#define STRING8(name, kind) \
	STRING(name, kind), M(name##Q, emu_string, kind | 8)
#define VECTOR(name, kind) \
	M(name, emu_vector, kind), M(V##name, emu_vector, kind)

static const struct handler handlers[ZYDIS_MNEMONIC_MAX_VALUE + 1] = {
	M(MOV, emu_mov),
	M(MOVNTI, emu_mov),
	M(MOVZX, emu_movsx, EXTEND_ZERO),
	M(MOVSX, emu_movsx, EXTEND_SIGN),
	M(MOVSXD, emu_movsx, EXTEND_SIGN),
	M(MOVBE, emu_movbe),
	M(XCHG, emu_xchg),
	M(PUSH, emu_push),
	M(POP, emu_pop),
	M(CALL, emu_jump, JUMP_CALL),
	M(JMP, emu_jump, JUMP_ONLY),
	M(CLFLUSH, emu_touch),
	M(CLFLUSHOPT, emu_touch),
	M(CLWB, emu_touch),

	M(ADD, emu_alu2, ALU_ADD),
	M(ADC, emu_alu2, ALU_ADC),
	M(SUB, emu_alu2, ALU_SUB),
	M(SBB, emu_alu2, ALU_SBB),
	M(CMP, emu_alu2, ALU_CMP),
	M(AND, emu_alu2, ALU_AND),
	M(OR, emu_alu2, ALU_OR),
	M(XOR, emu_alu2, ALU_XOR),
	M(TEST, emu_alu2, ALU_TEST),
	M(INC, emu_alu1, ALU_INC),
	M(DEC, emu_alu1, ALU_DEC),
	M(NEG, emu_alu1, ALU_NEG),
	M(NOT, emu_alu1, ALU_NOT),
	M(SHL, emu_shift, SHIFT_SHL),
	M(SHR, emu_shift, SHIFT_SHR),
	M(SAR, emu_shift, SHIFT_SAR),
	M(ROL, emu_shift, SHIFT_ROL),
	M(ROR, emu_shift, SHIFT_ROR),
	M(RCL, emu_shift, SHIFT_RCL),
	M(RCR, emu_shift, SHIFT_RCR),
	M(BT, emu_bit, BIT_TEST),
	M(BTS, emu_bit, BIT_SET),
	M(BTR, emu_bit, BIT_RESET),
	M(BTC, emu_bit, BIT_COMPLEMENT),
	M(BSF, emu_scan, 0),
	M(BSR, emu_scan, 1),
	M(MUL, emu_mul),
	M(IMUL, emu_imul),
	M(DIV, emu_div),
	M(IDIV, emu_idiv),
	M(CMPXCHG, emu_cmpxchg),
	M(CMPXCHG8B, emu_cmpxchg_wide, 4),
	M(CMPXCHG16B, emu_cmpxchg_wide, 8),
	M(XADD, emu_xadd),

	M(SETO, emu_setcc), M(SETNO, emu_setcc), M(SETB, emu_setcc),
	M(SETNB, emu_setcc), M(SETZ, emu_setcc), M(SETNZ, emu_setcc),
	M(SETBE, emu_setcc), M(SETNBE, emu_setcc), M(SETS, emu_setcc),
	M(SETNS, emu_setcc), M(SETP, emu_setcc), M(SETNP, emu_setcc),
	M(SETL, emu_setcc), M(SETNL, emu_setcc), M(SETLE, emu_setcc),
	M(SETNLE, emu_setcc),
	M(CMOVO, emu_cmovcc), M(CMOVNO, emu_cmovcc), M(CMOVB, emu_cmovcc),
	M(CMOVNB, emu_cmovcc), M(CMOVZ, emu_cmovcc), M(CMOVNZ, emu_cmovcc),
	M(CMOVBE, emu_cmovcc), M(CMOVNBE, emu_cmovcc), M(CMOVS, emu_cmovcc),
	M(CMOVNS, emu_cmovcc), M(CMOVP, emu_cmovcc), M(CMOVNP, emu_cmovcc),
	M(CMOVL, emu_cmovcc), M(CMOVNL, emu_cmovcc), M(CMOVLE, emu_cmovcc),
	M(CMOVNLE, emu_cmovcc),

	STRING8(MOVS, STRING_MOVS),	/* MOVSD: SSE's too */
	STRING8(STOS, STRING_STOS),
	STRING8(LODS, STRING_LODS),
	STRING8(CMPS, STRING_CMPS),
	STRING8(SCAS, STRING_SCAS),
	STRING(INS, STRING_INS),
	STRING(OUTS, STRING_OUTS),

	VECTOR(MOVUPS, VECTOR_ANY),
	VECTOR(MOVUPD, VECTOR_ANY),
	VECTOR(MOVDQU, VECTOR_ANY),
	VECTOR(LDDQU, VECTOR_ANY),
	VECTOR(MOVD, VECTOR_ANY),
	VECTOR(MOVQ, VECTOR_ANY),
	VECTOR(MOVSS, VECTOR_ANY),
	M(VMOVSD, emu_vector, VECTOR_ANY),
	VECTOR(MOVAPS, VECTOR_ALIGNED),
	VECTOR(MOVAPD, VECTOR_ALIGNED),
	VECTOR(MOVDQA, VECTOR_ALIGNED),
	VECTOR(MOVNTDQ, VECTOR_ALIGNED),
	VECTOR(MOVNTDQA, VECTOR_ALIGNED),
	VECTOR(MOVNTPS, VECTOR_ALIGNED),
	VECTOR(MOVNTPD, VECTOR_ALIGNED),
	VECTOR(MOVLPS, VECTOR_LOW),
	VECTOR(MOVLPD, VECTOR_LOW),
	VECTOR(MOVHPS, VECTOR_HIGH),
	VECTOR(MOVHPD, VECTOR_HIGH),

	M(FLD, emu_x87),
	M(FST, emu_x87),
	M(FSTP, emu_x87),
	M(FILD, emu_x87),
	M(FIST, emu_x87),
	M(FISTP, emu_x87),
	M(FISTTP, emu_x87),
	M(FBLD, emu_x87),
	M(FBSTP, emu_x87),
	M(FADD, emu_x87),
	M(FMUL, emu_x87),
	M(FCOM, emu_x87),
	M(FCOMP, emu_x87),
	M(FSUB, emu_x87),
	M(FSUBR, emu_x87),
	M(FDIV, emu_x87),
	M(FDIVR, emu_x87),
	M(FIADD, emu_x87),
	M(FIMUL, emu_x87),
	M(FICOM, emu_x87),
	M(FICOMP, emu_x87),
	M(FISUB, emu_x87),
	M(FISUBR, emu_x87),
	M(FIDIV, emu_x87),
	M(FIDIVR, emu_x87),
	M(FLDCW, emu_x87),
	M(FNSTCW, emu_x87),
	M(FNSTSW, emu_x87),
};

/* an instruction, its bytes, and the mode in which they mean that */
struct decoded {
	unsigned int mode;
	uint8_t code[INSN_MAX];
	ZydisDecodedInstruction insn;	/* length 0: nothing is here */
	ZydisDecodedOperand op[ZYDIS_MAX_OPERAND_COUNT];
};

struct emu_cache {
	struct walk_known walk[WALK_KNOWN];
	struct decoded slot[CACHE_SLOTS];
};

struct emu_cache *emu_cache_new(void)
{
	return calloc(1, sizeof(struct emu_cache));
}

void emu_cache_free(struct emu_cache *cache)
{
	free(cache);
}

/* ---- fetch ---------------------------------------------------------------- */

/*
 * Up to `max` bytes at CS:rip that lie in one page and within CS's limit.
 * Returns how many; 0: *fault says why, or its vector is 0 and there is no
 * memory.
 */
static unsigned int fetch(const struct walk *w, uint64_t rip, uint8_t *buf,
			  unsigned int max, unsigned int access,
			  struct walk_fault *fault)
{
	const struct vmm_segment *cs = &w->sregs->seg[VMM_CS];
	uint64_t linear, gpa;
	unsigned int n;

	fault->vector = 0;
	if (!walk_segment(w, VMM_CS, rip, 1, WALK_FETCH, &linear, fault) ||
	    !walk_page(w, linear, access, &gpa, fault))
		return 0;
	n = PAGE - linear % PAGE;
	if (n > max)
		n = max;
	if (!walk_is_64(w->sregs) && (rip & 0xffffffff) + n - 1 > cs->limit)
		n = cs->limit - (rip & 0xffffffff) + 1;
	return mem_read(w->mem, gpa, buf, n) ? n : 0;
}

/* ---- decode --------------------------------------------------------------- */

static void decoder_init(ZydisDecoder *d, const struct vmm_sregs *s)
{
	switch (walk_code_bits(s)) {
	case 64:
		ZydisDecoderInit(d, ZYDIS_MACHINE_MODE_LONG_64,
				 ZYDIS_STACK_WIDTH_64);
		break;
	case 32:
		ZydisDecoderInit(d, ZYDIS_MACHINE_MODE_LEGACY_32,
				 walk_stack_bits(s) == 32 ? ZYDIS_STACK_WIDTH_32 :
							    ZYDIS_STACK_WIDTH_16);
		break;
	default:
		ZydisDecoderInit(d, ZYDIS_MACHINE_MODE_LEGACY_16,
				 walk_stack_bits(s) == 32 ? ZYDIS_STACK_WIDTH_32 :
							    ZYDIS_STACK_WIDTH_16);
	}
}

/* the text of an instruction, for a person */
static void format_insn(const ZydisDecodedInstruction *insn,
			const ZydisDecodedOperand *op, uint64_t rip, char *buf,
			size_t len)
{
	ZydisFormatter f;

	if (!ZYAN_SUCCESS(ZydisFormatterInit(&f, ZYDIS_FORMATTER_STYLE_INTEL)) ||
	    !ZYAN_SUCCESS(ZydisFormatterFormatInstruction(&f, insn, op,
			insn->operand_count_visible, buf, len, rip, NULL)))
		snprintf(buf, len, "?");
}

static void say_bytes(struct emu *emu, const uint8_t *code, unsigned int n)
{
	char hex[3 * INSN_MAX + 1] = "";
	unsigned int i;

	for (i = 0; i < n; i++)
		snprintf(hex + 3 * i, 4, " %02x", code[i]);
	snprintf(emu->why, sizeof(emu->why),
		 "the bytes at rip 0x%" PRIx64 " are no known instruction:%s",
		 (uint64_t)emu->regs.rip, n ? hex : " unreadable");
}

static unsigned int mode_of(const struct vmm_sregs *s)
{
	return walk_code_bits(s) | walk_stack_bits(s) << 8;
}

/* is what was decoded before still what the bytes say */
static bool known(const struct decoded *d, const uint8_t *code, unsigned int n,
		  unsigned int mode)
{
	return d->insn.length && d->insn.length <= n && d->mode == mode &&
	       !memcmp(d->code, code, d->insn.length);
}

/* fetch and decode; a second page is read only if the instruction needs it */
static bool decode(struct emu_cpu *c, struct decoded *d)
{
	struct walk_fault *fault = &c->emu->fault;
	unsigned int n = 0, more, mode = mode_of(c->emu->sregs);
	ZyanStatus st;
	uint8_t code[INSN_MAX];
	ZydisDecoder z;
	bool again;

	do {
		more = fetch(&c->walk, c->r.rip + n, code + n, INSN_MAX - n,
			     WALK_FETCH, fault);
		if (!more && fault->vector) {
			c->result = EMU_FAULT;
			return false;
		}
		n += more;
		st = ZYAN_STATUS_SUCCESS;
		again = known(d, code, n, mode);
		if (again)
			break;
		decoder_init(&z, c->emu->sregs);
		st = ZydisDecoderDecodeFull(&z, code, n, &d->insn, d->op);
		if (!ZYAN_SUCCESS(st))
			d->insn.length = 0;
	} while (st == ZYDIS_STATUS_NO_MORE_DATA && more && n < INSN_MAX);
	if (!ZYAN_SUCCESS(st)) {
		say_bytes(c->emu, code, n);
		c->result = EMU_UNSUPPORTED;
		return false;
	}
	if (!again) {
		d->mode = mode;
		memcpy(d->code, code, d->insn.length);
	}
	c->insn = &d->insn;
	c->op = d->op;
	c->next_rip = c->r.rip + d->insn.length;
	if (!walk_is_64(c->emu->sregs))
		c->next_rip &= 0xffffffff;
	return true;
}

/* ---- run ------------------------------------------------------------------ */

enum emu_result emu_run(struct emu *emu)
{
	struct emu_cpu c = {
		.emu = emu,
		.walk = {
			.mem = emu->mem,
			.sregs = emu->sregs,
			.rflags = emu->regs.rflags,
			.phys_bits = emu->phys_bits,
		},
		.r = emu->regs,
	};
	const struct handler *h;
	struct decoded own, *d = &own;
	char text[128];

	own.insn.length = 0;
	if (emu->cache) {
		c.walk.known = emu->cache->walk;
		d = &emu->cache->slot[(c.r.rip ^ c.r.rip >> 5) % CACHE_SLOTS];
	}
	if (!decode(&c, d))
		return c.result;
	h = &handlers[c.insn->mnemonic];
	if (h->fn ? h->fn(&c, h->arg) : emu_unsupported(&c)) {
		c.r.rip = c.next_rip;
		c.r.rflags &= ~FL_RF;	/* APM 2 3.1.6 */
		emu->regs = c.r;
		return EMU_DONE;
	}
	if (c.result == EMU_UNSUPPORTED) {
		format_insn(c.insn, c.op, c.r.rip, text, sizeof(text));
		snprintf(emu->why, sizeof(emu->why),
			 "the instruction `%s` at rip 0x%" PRIx64, text,
			 (uint64_t)emu->regs.rip);
	}
	return c.result;
}

unsigned int emu_peek(struct mem *mem, const struct vmm_regs *regs,
		      const struct vmm_sregs *sregs, uint8_t *buf,
		      unsigned int max, char *text, unsigned long textlen)
{
	struct walk w = {
		.mem = mem,
		.sregs = sregs,
		.rflags = regs->rflags,
		.phys_bits = 52,
	};
	ZydisDecodedOperand op[ZYDIS_MAX_OPERAND_COUNT];
	ZydisDecodedInstruction insn;
	struct walk_fault fault;
	unsigned int n = 0, more;
	ZydisDecoder d;

	do {
		more = fetch(&w, regs->rip + n, buf + n, max - n,
			     WALK_FETCH | WALK_PEEK, &fault);
		n += more;
	} while (more && n < max);
	decoder_init(&d, sregs);
	if (n && ZYAN_SUCCESS(ZydisDecoderDecodeFull(&d, buf, n, &insn, op)))
		format_insn(&insn, op, regs->rip, text, textlen);
	else
		snprintf(text, textlen, "(no instruction)");
	return n;
}
