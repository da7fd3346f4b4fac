// SPDX-License-Identifier: GPL-2.0
/*
 * Arithmetic, logic, shifts, bits: values and flags. A carry vector gives
 * carry, auxiliary carry and overflow at once: bit n of it is the carry out of
 * bit n. Flags that the manuals leave undefined stay as they were.
 */
#include <string.h>

#include "emulate_int.h"

static void set_flags(struct emu_cpu *c, uint64_t mask, uint64_t flags)
{
	c->r.rflags = (c->r.rflags & ~mask) | (flags & mask);
}

static unsigned int msb(unsigned int size)
{
	return size * 8 - 1;
}

/* SF, ZF, PF of a result */
static uint64_t result_flags(uint64_t v, unsigned int size)
{
	uint64_t f = 0;

	v &= emu_mask(size);
	if (!v)
		f |= FL_ZF;
	if (v >> msb(size) & 1)
		f |= FL_SF;
	if (!__builtin_parity(v & 0xff))
		f |= FL_PF;
	return f;
}

/* CF, AF, OF of a carry (or borrow) vector */
static uint64_t carry_flags(uint64_t carries, unsigned int size)
{
	uint64_t top = carries >> msb(size) & 1;
	uint64_t f = 0;

	if (top)
		f |= FL_CF;
	if (carries & 8)
		f |= FL_AF;
	if (top != (carries >> (msb(size) - 1) & 1))
		f |= FL_OF;
	return f;
}

static uint64_t add(struct emu_cpu *c, uint64_t a, uint64_t b,
		    unsigned int carry, unsigned int size, uint64_t mask)
{
	uint64_t v = a + b + carry;
	uint64_t carries = (a & b) | ((a | b) & ~v);

	set_flags(c, mask, result_flags(v, size) | carry_flags(carries, size));
	return v & emu_mask(size);
}

static uint64_t sub(struct emu_cpu *c, uint64_t a, uint64_t b,
		    unsigned int borrow, unsigned int size, uint64_t mask)
{
	uint64_t v = a - b - borrow;
	uint64_t borrows = (~a & b) | ((~a | b) & v);

	set_flags(c, mask, result_flags(v, size) | carry_flags(borrows, size));
	return v & emu_mask(size);
}

static uint64_t logic(struct emu_cpu *c, uint64_t v, unsigned int size)
{
	/* AF is undefined; CPUs clear it */
	set_flags(c, FL_ARITH, result_flags(v, size));
	return v & emu_mask(size);
}

uint64_t emu_alu(struct emu_cpu *c, enum alu op, uint64_t a, uint64_t b,
		 unsigned int size)
{
	unsigned int carry = c->r.rflags & FL_CF ? 1 : 0;

	switch (op) {
	case ALU_ADD:
		return add(c, a, b, 0, size, FL_ARITH);
	case ALU_ADC:
		return add(c, a, b, carry, size, FL_ARITH);
	case ALU_SUB:
	case ALU_CMP:
		return sub(c, a, b, 0, size, FL_ARITH);
	case ALU_SBB:
		return sub(c, a, b, carry, size, FL_ARITH);
	case ALU_AND:
	case ALU_TEST:
		return logic(c, a & b, size);
	case ALU_OR:
		return logic(c, a | b, size);
	case ALU_XOR:
		return logic(c, a ^ b, size);
	case ALU_INC:
		return add(c, a, 1, 0, size, FL_ARITH & ~FL_CF);
	case ALU_DEC:
		return sub(c, a, 1, 0, size, FL_ARITH & ~FL_CF);
	case ALU_NEG:
		return sub(c, 0, a, 0, size, FL_ARITH);
	case ALU_NOT:
		return ~a & emu_mask(size);
	}
	return 0;
}

/* ADD ... TEST: two operands, the first is the destination */
bool emu_alu2(struct emu_cpu *c, unsigned int op)
{
	bool stores = op != ALU_CMP && op != ALU_TEST;
	struct emu_ref dst, src;
	uint64_t a, b, v;

	if (!emu_operand(c, 0, stores ? WALK_WRITE : 0, &dst) ||
	    !emu_operand(c, 1, 0, &src))
		return false;
	a = emu_load(c, &dst);
	/* an immediate may be shorter: it is sign-extended already */
	b = (src.kind == REF_IMM ? src.imm : emu_load(c, &src)) &
	    emu_mask(dst.size);
	v = emu_alu(c, op, a, b, dst.size);
	if (stores)
		emu_store(c, &dst, v);
	return true;
}

/* INC, DEC, NEG, NOT */
bool emu_alu1(struct emu_cpu *c, unsigned int op)
{
	struct emu_ref dst;

	if (!emu_operand(c, 0, WALK_WRITE, &dst))
		return false;
	emu_store(c, &dst, emu_alu(c, op, emu_load(c, &dst), 0, dst.size));
	return true;
}

/* ---- shifts --------------------------------------------------------------- */

static uint64_t rotate_left(uint64_t v, unsigned int n, unsigned int bits,
			    uint64_t mask)
{
	n %= bits;
	return n ? ((v << n) | (v >> (bits - n))) & mask : v;
}

/* the carry flag is one bit more of the value: 9, 17, 33 or 65 go round */
static uint64_t rotate_carry(enum shift op, uint64_t v, unsigned int n,
			     unsigned int bits, unsigned int *carry)
{
	unsigned int out;

	for (n %= bits + 1; n; n--) {
		if (op == SHIFT_RCL) {
			out = v >> (bits - 1) & 1;
			v = v << 1 | *carry;
		} else {
			out = v & 1;
			v = v >> 1 | (uint64_t)*carry << (bits - 1);
		}
		*carry = out;
	}
	return v & emu_mask(bits / 8);
}

/*
 * value shifted by n (1..63); *carry is the carry flag before, and the last bit
 * shifted out after it
 */
static uint64_t shifted(enum shift op, uint64_t v, unsigned int n,
			unsigned int size, unsigned int *carry)
{
	unsigned int bits = size * 8;
	uint64_t mask = emu_mask(size);
	int64_t s = (int64_t)emu_sign_extend(v, size);

	switch (op) {
	case SHIFT_SHL:
		*carry = n <= bits ? v >> (bits - n) & 1 : 0;
		return n < bits ? v << n & mask : 0;
	case SHIFT_SHR:
		*carry = n <= bits ? v >> (n - 1) & 1 : 0;
		return n < bits ? v >> n : 0;
	case SHIFT_SAR:
		*carry = s >> (n - 1) & 1;
		return (uint64_t)(s >> n) & mask;
	case SHIFT_ROL:
		v = rotate_left(v, n, bits, mask);
		*carry = v & 1;
		return v;
	case SHIFT_ROR:
		v = rotate_left(v, bits - n % bits, bits, mask);
		*carry = v >> msb(size) & 1;
		return v;
	case SHIFT_RCL:
	case SHIFT_RCR:
		return rotate_carry(op, v, n, bits, carry);
	}
	return v;
}

bool emu_shift(struct emu_cpu *c, unsigned int op)
{
	struct emu_ref dst, src;
	unsigned int n, carry = c->r.rflags & FL_CF ? 1 : 0;
	uint64_t v, flags, mask;
	bool top, next;

	if (!emu_operand(c, 0, WALK_WRITE, &dst) || !emu_operand(c, 1, 0, &src))
		return false;
	n = emu_load(c, &src) & (dst.size == 8 ? 63 : 31);
	v = emu_load(c, &dst);
	if (!n) {
		emu_store(c, &dst, v);
		return true;
	}
	top = v >> msb(dst.size) & 1;
	v = shifted(op, v, n, dst.size, &carry);
	next = v >> msb(dst.size) & 1;
	/* overflow is defined for a count of 1 */
	flags = carry ? FL_CF : 0;
	if (op == SHIFT_SHL || op == SHIFT_ROL || op == SHIFT_RCL)
		flags |= next != carry ? FL_OF : 0;
	else if (op == SHIFT_SHR)
		flags |= top ? FL_OF : 0;
	else if (op == SHIFT_ROR || op == SHIFT_RCR)
		flags |= next != (v >> (msb(dst.size) - 1) & 1) ? FL_OF : 0;
	mask = FL_CF | (n == 1 ? FL_OF : 0);
	if (op == SHIFT_SHL || op == SHIFT_SHR || op == SHIFT_SAR) {
		flags |= result_flags(v, dst.size);
		mask |= FL_ZF | FL_SF | FL_PF;
	}
	set_flags(c, mask, flags);
	emu_store(c, &dst, v);
	return true;
}

/* ---- bits ----------------------------------------------------------------- */

/*
 * BT and friends. With a register as bit offset, memory is a bit string that
 * reaches to both sides of the operand's address.
 */
static bool bit_place(struct emu_cpu *c, unsigned int access,
		      struct emu_ref *dst, unsigned int *bit)
{
	unsigned int size = c->op[0].size / 8;
	struct emu_ref src;
	int64_t offset;

	if (!emu_operand(c, 1, 0, &src))
		return false;
	offset = (int64_t)emu_sign_extend(emu_load(c, &src), src.size);
	*bit = (unsigned int)offset & (size * 8 - 1);
	if (src.kind != REF_REG || !emu_is_mem(c, 0))
		return emu_operand(c, 0, access, dst);
	return emu_at(c, ZydisRegisterGetId(c->op[0].mem.segment),
		      (emu_offset(c, 0) +
		       (uint64_t)((offset >> 3) & -(int64_t)size)) &
		      emu_mask(c->insn->address_width / 8),
		      size, access, dst);
}

bool emu_bit(struct emu_cpu *c, unsigned int op)
{
	struct emu_ref dst;
	unsigned int bit;
	uint64_t v;

	if (!bit_place(c, op == BIT_TEST ? 0 : WALK_WRITE, &dst, &bit))
		return false;
	v = emu_load(c, &dst);
	set_flags(c, FL_CF, v >> bit & 1 ? FL_CF : 0);
	switch (op) {
	case BIT_TEST:
		return true;
	case BIT_SET:
		v |= 1ULL << bit;
		break;
	case BIT_RESET:
		v &= ~(1ULL << bit);
		break;
	case BIT_COMPLEMENT:
		v ^= 1ULL << bit;
		break;
	}
	emu_store(c, &dst, v);
	return true;
}

/* BSF, BSR: arg says reverse. Of zero the destination stays as it was. */
bool emu_scan(struct emu_cpu *c, unsigned int reverse)
{
	struct emu_ref dst, src;
	uint64_t v;

	if (!emu_operand(c, 0, 0, &dst) || !emu_operand(c, 1, 0, &src))
		return false;
	v = emu_load(c, &src);
	set_flags(c, FL_ZF, v ? 0 : FL_ZF);
	if (v)
		emu_store(c, &dst, reverse ? 63 - __builtin_clzll(v) :
						 __builtin_ctzll(v));
	return true;
}

/* ---- multiplication and division ------------------------------------------ */

static void store_wide(struct emu_cpu *c, unsigned __int128 v,
		       unsigned int size)
{
	struct emu_ref lo = { .kind = REF_REG, .size = size, .reg = VMM_RAX };
	struct emu_ref hi = { .kind = REF_REG, .size = size, .reg = VMM_RDX };

	if (size == 1) {
		lo.size = 2;
		emu_store(c, &lo, v);
		return;
	}
	emu_store(c, &lo, v);
	emu_store(c, &hi, v >> (size * 8));
}

static __int128 signed_product(uint64_t a, uint64_t b, unsigned int size)
{
	return (__int128)(int64_t)emu_sign_extend(a, size) *
	       (int64_t)emu_sign_extend(b, size);
}

/* CF and OF: the upper half of the product says something */
static void product_flags(struct emu_cpu *c, bool wide)
{
	set_flags(c, FL_CF | FL_OF, wide ? FL_CF | FL_OF : 0);
}

static void multiply(struct emu_cpu *c, const struct emu_ref *src,
		     bool is_signed)
{
	uint64_t a = c->r.gpr[VMM_RAX] & emu_mask(src->size);
	uint64_t b = emu_load(c, src);
	unsigned __int128 v;

	if (is_signed)
		v = (unsigned __int128)signed_product(a, b, src->size);
	else
		v = (unsigned __int128)a * b;
	store_wide(c, v, src->size);
	if (is_signed)
		product_flags(c, (__int128)v !=
			      (int64_t)emu_sign_extend(v, src->size));
	else
		product_flags(c, v >> (src->size * 8));
}

bool emu_mul(struct emu_cpu *c, unsigned int arg)
{
	struct emu_ref src;

	(void)arg;
	if (!emu_operand(c, 0, 0, &src))
		return false;
	multiply(c, &src, false);
	return true;
}

/* IMUL has one, two or three operands */
bool emu_imul(struct emu_cpu *c, unsigned int arg)
{
	unsigned int n = c->insn->operand_count_visible;
	struct emu_ref dst, src, imm;
	__int128 v;

	(void)arg;
	if (n == 1) {
		if (!emu_operand(c, 0, 0, &src))
			return false;
		multiply(c, &src, true);
		return true;
	}
	if (!emu_operand(c, 0, 0, &dst) || !emu_operand(c, 1, 0, &src) ||
	    (n == 3 && !emu_operand(c, 2, 0, &imm)))
		return false;
	v = signed_product(emu_load(c, &src),
			   n == 3 ? imm.imm : emu_load(c, &dst), dst.size);
	product_flags(c, v != (int64_t)emu_sign_extend(v, dst.size));
	emu_store(c, &dst, v);
	return true;
}

/* AX, or rDX:rAX */
static unsigned __int128 load_wide(const struct emu_cpu *c, unsigned int size)
{
	uint64_t lo = c->r.gpr[VMM_RAX], hi = c->r.gpr[VMM_RDX];

	if (size == 1)
		return lo & 0xffff;
	return (unsigned __int128)(hi & emu_mask(size)) << (size * 8) |
	       (lo & emu_mask(size));
}

/* quotient and remainder to AL and AH, or to rAX and rDX; all flags undefined */
static void store_quotient(struct emu_cpu *c, uint64_t quotient,
			   uint64_t remainder, unsigned int size)
{
	store_wide(c, (unsigned __int128)remainder << (size * 8) |
		   (quotient & emu_mask(size)), size);
}

bool emu_div(struct emu_cpu *c, unsigned int arg)
{
	unsigned __int128 dividend, quotient;
	struct emu_ref src;
	uint64_t divisor;

	(void)arg;
	if (!emu_operand(c, 0, 0, &src))
		return false;
	divisor = emu_load(c, &src);
	if (!divisor)
		return emu_fault(c, WALK_DE);
	dividend = load_wide(c, src.size);
	quotient = dividend / divisor;
	if (quotient > emu_mask(src.size))
		return emu_fault(c, WALK_DE);
	store_quotient(c, quotient, dividend % divisor, src.size);
	return true;
}

/* by magnitudes: the smallest dividend has no positive one */
bool emu_idiv(struct emu_cpu *c, unsigned int arg)
{
	unsigned __int128 dividend, quotient;
	bool minus, divisor_minus;
	struct emu_ref src;
	uint64_t divisor, remainder;
	unsigned int size;

	(void)arg;
	if (!emu_operand(c, 0, 0, &src))
		return false;
	size = src.size;
	divisor = emu_sign_extend(emu_load(c, &src), size);
	if (!divisor)
		return emu_fault(c, WALK_DE);
	divisor_minus = divisor >> 63;
	if (divisor_minus)
		divisor = -divisor;
	dividend = load_wide(c, size);
	minus = dividend >> (2 * size * 8 - 1) & 1;
	if (minus)
		dividend = -dividend;
	if (size < 8)
		dividend &= emu_mask(2 * size);
	quotient = dividend / divisor;
	remainder = dividend % divisor;
	if (quotient > (emu_mask(size) >> 1) + (minus != divisor_minus))
		return emu_fault(c, WALK_DE);
	store_quotient(c, minus != divisor_minus ? -(uint64_t)quotient : quotient,
		       minus ? -remainder : remainder, size);
	return true;
}

/* ---- compare and exchange, conditions ------------------------------------- */

bool emu_cmpxchg(struct emu_cpu *c, unsigned int arg)
{
	struct emu_ref dst, src, acc = { .kind = REF_REG, .reg = VMM_RAX };
	uint64_t old, want;

	(void)arg;
	if (!emu_operand(c, 0, WALK_WRITE, &dst) || !emu_operand(c, 1, 0, &src))
		return false;
	acc.size = dst.size;
	old = emu_load(c, &dst);
	want = emu_load(c, &acc);
	emu_alu(c, ALU_CMP, want, old, dst.size);
	/* the CPU writes in both cases */
	emu_store(c, &dst, old == want ? emu_load(c, &src) : old);
	if (old != want)
		emu_store(c, &acc, old);
	return true;
}

/* CMPXCHG8B, CMPXCHG16B: EDX:EAX or RDX:RAX, new value in xCX:xBX */
bool emu_cmpxchg_wide(struct emu_cpu *c, unsigned int half)
{
	struct emu_ref dst, reg = { .kind = REF_REG, .size = half };
	const __u64 *gpr = c->r.gpr;
	uint64_t mask = emu_mask(half), lo = 0, hi = 0;
	uint8_t buf[16];
	bool same;

	if (half == 8 && emu_offset(c, 0) % 16)
		return emu_fault(c, WALK_GP);
	if (!emu_operand(c, 0, WALK_WRITE, &dst))
		return false;
	emu_load_bytes(c, &dst, buf);
	memcpy(&lo, buf, half);
	memcpy(&hi, buf + half, half);
	same = lo == (gpr[VMM_RAX] & mask) && hi == (gpr[VMM_RDX] & mask);
	set_flags(c, FL_ZF, same ? FL_ZF : 0);
	if (same) {
		memcpy(buf, &gpr[VMM_RBX], half);
		memcpy(buf + half, &gpr[VMM_RCX], half);
	}
	emu_store_bytes(c, &dst, buf);
	if (!same) {
		reg.reg = VMM_RAX;
		emu_store(c, &reg, lo);
		reg.reg = VMM_RDX;
		emu_store(c, &reg, hi);
	}
	return true;
}

bool emu_xadd(struct emu_cpu *c, unsigned int arg)
{
	struct emu_ref dst, src;
	uint64_t a, b;

	(void)arg;
	if (!emu_operand(c, 0, WALK_WRITE, &dst) || !emu_operand(c, 1, 0, &src))
		return false;
	a = emu_load(c, &dst);
	b = emu_load(c, &src);
	emu_store(c, &src, a);
	emu_store(c, &dst, emu_alu(c, ALU_ADD, a, b, dst.size));
	return true;
}

/* cc as in the low four bits of Jcc's opcode, APM 3 table A-4 */
bool emu_condition(const struct emu_cpu *c, unsigned int cc)
{
	uint64_t f = c->r.rflags;
	bool less = !(f & FL_SF) != !(f & FL_OF);
	bool r = false;

	switch (cc >> 1) {
	case 0:
		r = f & FL_OF;
		break;
	case 1:
		r = f & FL_CF;
		break;
	case 2:
		r = f & FL_ZF;
		break;
	case 3:
		r = f & (FL_CF | FL_ZF);
		break;
	case 4:
		r = f & FL_SF;
		break;
	case 5:
		r = f & FL_PF;
		break;
	case 6:
		r = less;
		break;
	case 7:
		r = less || (f & FL_ZF);
		break;
	}
	return r != (cc & 1);
}

bool emu_setcc(struct emu_cpu *c, unsigned int arg)
{
	struct emu_ref dst;

	(void)arg;
	if (!emu_operand(c, 0, WALK_WRITE, &dst))
		return false;
	emu_store(c, &dst, emu_condition(c, c->insn->opcode & 15));
	return true;
}

bool emu_cmovcc(struct emu_cpu *c, unsigned int arg)
{
	struct emu_ref dst, src;
	uint64_t v;

	(void)arg;
	if (!emu_operand(c, 0, 0, &dst) || !emu_operand(c, 1, 0, &src))
		return false;
	/* memory is read, and the upper half cleared, in any case */
	v = emu_load(c, &src);
	emu_store(c, &dst, emu_condition(c, c->insn->opcode & 15) ?
			   v : emu_load(c, &dst));
	return true;
}
