/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the files of the emulator share:
 *
 *   emulate.c         fetch, decode, dispatch
 *   emulate_mem.c     operands: registers, guest memory, MMIO
 *   emulate_alu.c     arithmetic and logic, with flags
 *   emulate_move.c    moves, stack, jumps, vector moves
 *   emulate_string.c  string instructions, also INS and OUTS
 *   emulate_x87.c     floating point with an operand in memory
 *
 * An instruction works on a copy of the registers, which replaces the caller's
 * when it is complete. It resolves all its operands, with every fault that may
 * come of it, before it touches memory or MMIO; only #DE comes of what was read.
 */
#ifndef VMMD_EMULATE_INT_H
#define VMMD_EMULATE_INT_H

#include <Zydis/Zydis.h>

#include "emulate.h"

#define FL_CF	(1ULL << 0)
#define FL_PF	(1ULL << 2)
#define FL_AF	(1ULL << 4)
#define FL_ZF	(1ULL << 6)
#define FL_SF	(1ULL << 7)
#define FL_DF	(1ULL << 10)
#define FL_OF	(1ULL << 11)
#define FL_RF	(1ULL << 16)
#define FL_ARITH (FL_CF | FL_PF | FL_AF | FL_ZF | FL_SF | FL_OF)

struct emu_cpu {
	struct emu *emu;
	struct walk walk;
	struct vmm_regs r;		/* working copy */
	const ZydisDecodedInstruction *insn;
	const ZydisDecodedOperand *op;
	uint64_t next_rip;
	enum emu_result result;		/* why an emu_fn returned false */
};

/* the work of one mnemonic; false: c->result says why it did not happen */
typedef bool emu_fn(struct emu_cpu *c, unsigned int arg);

emu_fn emu_alu2, emu_alu1, emu_shift, emu_bit, emu_scan, emu_mul, emu_imul;
emu_fn emu_div, emu_idiv;
emu_fn emu_cmpxchg, emu_cmpxchg_wide, emu_xadd, emu_setcc, emu_cmovcc;
emu_fn emu_mov, emu_movsx, emu_movbe, emu_xchg, emu_push, emu_pop, emu_jump;
emu_fn emu_touch, emu_vector, emu_x87;
emu_fn emu_string;

enum alu { ALU_ADD, ALU_ADC, ALU_SUB, ALU_SBB, ALU_CMP, ALU_AND, ALU_OR,
	   ALU_XOR, ALU_TEST, ALU_INC, ALU_DEC, ALU_NEG, ALU_NOT };
enum shift { SHIFT_SHL, SHIFT_SHR, SHIFT_SAR, SHIFT_ROL, SHIFT_ROR, SHIFT_RCL,
	     SHIFT_RCR };
enum bit { BIT_TEST, BIT_SET, BIT_RESET, BIT_COMPLEMENT };
enum extend { EXTEND_ZERO, EXTEND_SIGN };
enum jump { JUMP_ONLY, JUMP_CALL };
enum vector { VECTOR_ANY, VECTOR_ALIGNED, VECTOR_LOW, VECTOR_HIGH };
/* string instructions: kind | element size in bytes */
enum string { STRING_MOVS = 0x10, STRING_STOS = 0x20, STRING_LODS = 0x30,
	      STRING_CMPS = 0x40, STRING_SCAS = 0x50, STRING_INS = 0x60,
	      STRING_OUTS = 0x70 };

/* a place that a value is read from or written to */
struct emu_ref {
	enum { REF_REG, REF_SEG, REF_IMM, REF_MEM } kind;
	unsigned int size;		/* bytes */
	unsigned int reg;		/* REF_REG: enum vmm_gpr; REF_SEG */
	bool high;			/* REF_REG: AH, CH, DH, BH */
	uint64_t imm;
	struct {			/* REF_MEM: one or two pages */
		uint64_t gpa;
		unsigned int len;
	} part[2];
};

/* emulate_mem.c; false: c->result is set */
bool emu_operand(struct emu_cpu *c, unsigned int n, unsigned int access,
		 struct emu_ref *ref);
bool emu_at(struct emu_cpu *c, unsigned int seg, uint64_t offset,
	    unsigned int size, unsigned int access, struct emu_ref *ref);
/* the offset of memory operand n in its segment */
uint64_t emu_offset(struct emu_cpu *c, unsigned int n);
uint64_t emu_load(struct emu_cpu *c, const struct emu_ref *ref);
void emu_store(struct emu_cpu *c, const struct emu_ref *ref, uint64_t value);
void emu_load_bytes(struct emu_cpu *c, const struct emu_ref *ref, void *buf);
void emu_store_bytes(struct emu_cpu *c, const struct emu_ref *ref,
		     const void *buf);
bool emu_is_mem(const struct emu_cpu *c, unsigned int n);

bool emu_fault(struct emu_cpu *c, unsigned int vector);	/* error code 0 */
bool emu_unsupported(struct emu_cpu *c);

/* emulate_alu.c */
bool emu_condition(const struct emu_cpu *c, unsigned int cc);
uint64_t emu_alu(struct emu_cpu *c, enum alu op, uint64_t a, uint64_t b,
		 unsigned int size);	/* sets flags */

static inline uint64_t emu_mask(unsigned int size)
{
	return size >= 8 ? ~0ULL : (1ULL << (size * 8)) - 1;
}

static inline uint64_t emu_sign_extend(uint64_t v, unsigned int size)
{
	unsigned int shift = 64 - size * 8;

	return (uint64_t)((int64_t)(v << shift) >> shift);
}

#endif
