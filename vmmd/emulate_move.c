// SPDX-License-Identifier: GPL-2.0
/* Moves, the stack, indirect jumps, vector moves. */
#include <string.h>

#include "emulate_int.h"

/* MOV in all forms but those to segment, control and debug registers */
bool emu_mov(struct emu_cpu *c, unsigned int arg)
{
	struct emu_ref dst, src;

	(void)arg;
	if (!emu_operand(c, 1, 0, &src) ||
	    !emu_operand(c, 0, WALK_WRITE, &dst))
		return false;
	if (dst.kind == REF_SEG)
		return emu_unsupported(c);
	if (src.kind == REF_IMM)
		src.size = 8;	/* sign-extended already */
	emu_store(c, &dst, emu_load(c, &src));
	return true;
}

/* MOVZX, MOVSX, MOVSXD */
bool emu_movsx(struct emu_cpu *c, unsigned int extend)
{
	struct emu_ref dst, src;
	uint64_t v;

	if (!emu_operand(c, 1, 0, &src) || !emu_operand(c, 0, 0, &dst))
		return false;
	v = emu_load(c, &src);
	if (extend == EXTEND_SIGN)
		v = emu_sign_extend(v, src.size);
	emu_store(c, &dst, v);
	return true;
}

bool emu_movbe(struct emu_cpu *c, unsigned int arg)
{
	struct emu_ref dst, src;
	uint64_t v;

	(void)arg;
	if (!emu_operand(c, 1, 0, &src) ||
	    !emu_operand(c, 0, WALK_WRITE, &dst))
		return false;
	v = __builtin_bswap64(emu_load(c, &src)) >> (64 - src.size * 8);
	emu_store(c, &dst, v);
	return true;
}

bool emu_xchg(struct emu_cpu *c, unsigned int arg)
{
	struct emu_ref a, b;
	uint64_t va, vb;

	(void)arg;
	if (!emu_operand(c, 0, WALK_WRITE, &a) ||
	    !emu_operand(c, 1, WALK_WRITE, &b))
		return false;
	va = emu_load(c, &a);
	vb = emu_load(c, &b);
	emu_store(c, &a, vb);
	emu_store(c, &b, va);
	return true;
}

/* ---- stack and jumps ------------------------------------------------------ */

static uint64_t stack_pointer(const struct emu_cpu *c)
{
	return c->r.gpr[VMM_RSP] &
	       emu_mask(walk_stack_bits(c->emu->sregs) / 8);
}

static void set_stack_pointer(struct emu_cpu *c, uint64_t v)
{
	struct emu_ref rsp = {
		.kind = REF_REG,
		.reg = VMM_RSP,
		.size = walk_stack_bits(c->emu->sregs) / 8,
	};

	emu_store(c, &rsp, v);
}

/* the place where a push of `size` bytes goes; the pointer has moved then */
static bool push_place(struct emu_cpu *c, unsigned int size,
		       struct emu_ref *ref)
{
	set_stack_pointer(c, stack_pointer(c) - size);
	return emu_at(c, VMM_SS, stack_pointer(c), size, WALK_WRITE, ref);
}

bool emu_push(struct emu_cpu *c, unsigned int arg)
{
	unsigned int size = c->insn->operand_width / 8;
	struct emu_ref src, dst;

	(void)arg;
	if (!emu_operand(c, 0, 0, &src))
		return false;
	if (!push_place(c, size, &dst))
		return false;
	if (src.kind == REF_IMM)
		src.size = 8;
	else if (src.kind == REF_REG && src.reg == VMM_RSP)
		return emu_unsupported(c);	/* pushes the old value: rare */
	emu_store(c, &dst, emu_load(c, &src));
	return true;
}

bool emu_pop(struct emu_cpu *c, unsigned int arg)
{
	unsigned int size = c->insn->operand_width / 8;
	struct emu_ref src, dst;

	(void)arg;
	if (!emu_at(c, VMM_SS, stack_pointer(c), size, 0, &src))
		return false;
	/* an address made from RSP uses the value after the pop */
	set_stack_pointer(c, stack_pointer(c) + size);
	if (!emu_operand(c, 0, WALK_WRITE, &dst))
		return false;
	if (dst.kind == REF_SEG)
		return emu_unsupported(c);
	emu_store(c, &dst, emu_load(c, &src));
	return true;
}

/* near CALL and JMP through a register or memory */
bool emu_jump(struct emu_cpu *c, unsigned int kind)
{
	unsigned int size = c->insn->operand_width / 8;
	struct walk_fault fault;
	struct emu_ref src, ret;
	uint64_t target, linear;

	if (c->insn->meta.branch_type == ZYDIS_BRANCH_TYPE_FAR ||
	    c->op[0].type == ZYDIS_OPERAND_TYPE_IMMEDIATE)
		return emu_unsupported(c);
	if (!emu_operand(c, 0, 0, &src))
		return false;
	if (kind == JUMP_CALL && !push_place(c, size, &ret))
		return false;
	target = emu_load(c, &src) & emu_mask(size);
	if (!walk_segment(&c->walk, VMM_CS, target, 1, WALK_FETCH, &linear,
			  &fault))
		return emu_fault(c, WALK_GP);
	if (kind == JUMP_CALL)
		emu_store(c, &ret, c->next_rip);
	c->next_rip = target;
	return true;
}

/*
 * Cache control: the CPU checks the address as for a load of one byte, and
 * there is nothing to do for what is not cached.
 */
bool emu_touch(struct emu_cpu *c, unsigned int arg)
{
	struct emu_ref ref;

	(void)arg;
	if (!emu_is_mem(c, 0))
		return emu_unsupported(c);
	return emu_at(c, ZydisRegisterGetId(c->op[0].mem.segment),
		      emu_offset(c, 0), 1, 0, &ref);
}

/* ---- vector moves --------------------------------------------------------- */

static bool vector_register(const struct emu_cpu *c, unsigned int n)
{
	ZydisRegisterClass class;

	if (c->op[n].type != ZYDIS_OPERAND_TYPE_REGISTER)
		return false;
	class = ZydisRegisterGetClass(c->op[n].reg.value);
	return class == ZYDIS_REGCLASS_XMM || class == ZYDIS_REGCLASS_YMM;
}

static bool vector_get(struct emu_cpu *c, unsigned int reg, uint8_t *v)
{
	const struct emu_ops *ops = c->emu->ops;

	if (!ops->vec_get || ops->vec_get(c->emu->owner, reg, v))
		return emu_unsupported(c);
	return true;
}

static bool vector_load(struct emu_cpu *c, unsigned int kind,
			const struct emu_ref *src, unsigned int reg)
{
	uint8_t v[EMU_VEC_SIZE] = { 0 };
	bool vex = c->insn->encoding == ZYDIS_INSTRUCTION_ENCODING_VEX;
	bool half = kind == VECTOR_LOW || kind == VECTOR_HIGH;

	if (!vector_get(c, reg, v))
		return false;
	/* what is not loaded becomes zero, but SSE leaves the high half alone */
	if (!half)
		memset(v, 0, vex ? EMU_VEC_SIZE : 16);
	emu_load_bytes(c, src, kind == VECTOR_HIGH ? v + 8 : v);
	if (c->emu->ops->vec_set(c->emu->owner, reg, v))
		return emu_unsupported(c);
	return true;
}

/* two-operand moves between a vector register and memory */
bool emu_vector(struct emu_cpu *c, unsigned int kind)
{
	unsigned int m = emu_is_mem(c, 0) ? 0 : 1, size = c->op[m].size / 8;
	uint8_t v[EMU_VEC_SIZE];
	struct emu_ref ref;
	unsigned int reg;

	if (c->insn->operand_count_visible != 2 || !emu_is_mem(c, m) ||
	    !vector_register(c, !m) || size > EMU_VEC_SIZE ||
	    (c->insn->encoding != ZYDIS_INSTRUCTION_ENCODING_LEGACY &&
	     c->insn->encoding != ZYDIS_INSTRUCTION_ENCODING_VEX))
		return emu_unsupported(c);
	reg = ZydisRegisterGetId(c->op[!m].reg.value);
	if (!emu_operand(c, m, m ? 0 : WALK_WRITE, &ref))
		return false;
	/* pages are aligned: the low bits of the physical address will do */
	if (kind == VECTOR_ALIGNED && ref.part[0].gpa % size)
		return emu_fault(c, WALK_GP);
	if (m)
		return vector_load(c, kind, &ref, reg);
	if (!vector_get(c, reg, v))
		return false;
	emu_store_bytes(c, &ref, kind == VECTOR_HIGH ? v + 8 : v);
	return true;
}
