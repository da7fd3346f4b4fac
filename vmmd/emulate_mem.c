// SPDX-License-Identifier: GPL-2.0
/* Operands: registers, immediates, guest memory, MMIO. */
#include <string.h>

#include "emulate_int.h"
#include "mem.h"

#define PAGE	4096U

bool emu_fault(struct emu_cpu *c, unsigned int vector)
{
	c->emu->fault = (struct walk_fault){
		.vector = vector,
		.has_error = vector != WALK_UD && vector != WALK_DE &&
			(c->emu->sregs->cr0 & 1),
	};
	c->result = EMU_FAULT;
	return false;
}

bool emu_unsupported(struct emu_cpu *c)
{
	c->result = EMU_UNSUPPORTED;
	return false;
}

bool emu_is_mem(const struct emu_cpu *c, unsigned int n)
{
	return c->op[n].type == ZYDIS_OPERAND_TYPE_MEMORY;
}

/* ---- resolving ------------------------------------------------------------ */

bool emu_at(struct emu_cpu *c, unsigned int seg, uint64_t offset,
	    unsigned int size, unsigned int access, struct emu_ref *ref)
{
	struct walk_fault *fault = &c->emu->fault;
	uint64_t linear;

	*ref = (struct emu_ref){ .kind = REF_MEM, .size = size };
	c->result = EMU_FAULT;
	if (!walk_segment(&c->walk, seg, offset, size, access, &linear, fault))
		return false;
	ref->part[0].len = PAGE - linear % PAGE;
	if (ref->part[0].len > size)
		ref->part[0].len = size;
	if (!walk_page(&c->walk, linear, access, &ref->part[0].gpa, fault))
		return false;
	ref->part[1].len = size - ref->part[0].len;
	if (!ref->part[1].len)
		return true;
	linear += ref->part[0].len;
	if (!walk_is_64(c->emu->sregs))
		linear &= 0xffffffff;
	return walk_page(&c->walk, linear, access, &ref->part[1].gpa, fault);
}

static uint64_t address_register(const struct emu_cpu *c, ZydisRegister reg)
{
	switch (ZydisRegisterGetClass(reg)) {
	case ZYDIS_REGCLASS_GPR16:
		return c->r.gpr[ZydisRegisterGetId(reg)] & 0xffff;
	case ZYDIS_REGCLASS_GPR32:
		return c->r.gpr[ZydisRegisterGetId(reg)] & 0xffffffff;
	case ZYDIS_REGCLASS_GPR64:
		return c->r.gpr[ZydisRegisterGetId(reg)];
	case ZYDIS_REGCLASS_IP:
		return c->next_rip;
	default:
		return 0;
	}
}

uint64_t emu_offset(struct emu_cpu *c, unsigned int n)
{
	const ZydisDecodedOperandMem *m = &c->op[n].mem;
	uint64_t offset = m->disp.has_displacement ? m->disp.value : 0;

	if (m->base != ZYDIS_REGISTER_NONE)
		offset += address_register(c, m->base);
	if (m->index != ZYDIS_REGISTER_NONE)
		offset += address_register(c, m->index) * m->scale;
	return offset & emu_mask(c->insn->address_width / 8);
}

static bool register_ref(struct emu_cpu *c, ZydisRegister reg,
			 struct emu_ref *ref)
{
	unsigned int id = ZydisRegisterGetId(reg);

	ref->kind = REF_REG;
	ref->reg = id;
	switch (ZydisRegisterGetClass(reg)) {
	case ZYDIS_REGCLASS_GPR8:
		/* AL CL DL BL AH CH DH BH SPL BPL SIL DIL R8B... */
		ref->high = id >= 4 && id < 8;
		if (id >= 4)
			ref->reg = id - 4;
		return true;
	case ZYDIS_REGCLASS_GPR16:
	case ZYDIS_REGCLASS_GPR32:
	case ZYDIS_REGCLASS_GPR64:
		return true;
	case ZYDIS_REGCLASS_SEGMENT:
		ref->kind = REF_SEG;
		return true;
	default:
		return emu_unsupported(c);
	}
}

bool emu_operand(struct emu_cpu *c, unsigned int n, unsigned int access,
		 struct emu_ref *ref)
{
	const ZydisDecodedOperand *op = &c->op[n];

	*ref = (struct emu_ref){ .size = op->size / 8 };
	switch (op->type) {
	case ZYDIS_OPERAND_TYPE_REGISTER:
		return register_ref(c, op->reg.value, ref);
	case ZYDIS_OPERAND_TYPE_IMMEDIATE:
		ref->kind = REF_IMM;
		ref->imm = op->imm.value.u;
		return true;
	case ZYDIS_OPERAND_TYPE_MEMORY:
		if (op->mem.type != ZYDIS_MEMOP_TYPE_MEM)
			return emu_unsupported(c);
		return emu_at(c, ZydisRegisterGetId(op->mem.segment),
			      emu_offset(c, n), ref->size, access, ref);
	default:
		return emu_unsupported(c);
	}
}

/* ---- guest physical ------------------------------------------------------- */

/*
 * Aligned accesses to RAM are single accesses, as the other vCPUs expect.
 * False: not aligned, or not of such a size.
 */
static bool copy_at_once(void *to, const void *from, unsigned int len)
{
	if (((uintptr_t)to | (uintptr_t)from) % len)
		return false;
	switch (len) {
	case 1:
		__atomic_store_n((uint8_t *)to, __atomic_load_n(
				 (const uint8_t *)from, __ATOMIC_RELAXED),
				 __ATOMIC_RELAXED);
		return true;
	case 2:
		__atomic_store_n((uint16_t *)to, __atomic_load_n(
				 (const uint16_t *)from, __ATOMIC_RELAXED),
				 __ATOMIC_RELAXED);
		return true;
	case 4:
		__atomic_store_n((uint32_t *)to, __atomic_load_n(
				 (const uint32_t *)from, __ATOMIC_RELAXED),
				 __ATOMIC_RELAXED);
		return true;
	case 8:
		__atomic_store_n((uint64_t *)to, __atomic_load_n(
				 (const uint64_t *)from, __ATOMIC_RELAXED),
				 __ATOMIC_RELAXED);
		return true;
	default:
		return false;
	}
}

/* bytes of the next MMIO access: whole if it can be, else aligned pieces */
static unsigned int mmio_piece(uint64_t gpa, unsigned int len)
{
	unsigned int n = 8;

	if (len == 1 || len == 2 || len == 4 || len == 8)
		return len;
	while (n > len || gpa % n)
		n /= 2;
	return n;
}

static void phys_read(struct emu_cpu *c, uint64_t gpa, uint8_t *buf,
		      unsigned int len)
{
	const void *p = mem_ptr_ro(c->emu->mem, gpa, len);
	unsigned int n;
	uint64_t v;

	if (p) {
		if (!copy_at_once(buf, p, len))
			memcpy(buf, p, len);
		return;
	}
	for (; len; gpa += n, buf += n, len -= n) {
		n = mmio_piece(gpa, len);
		v = c->emu->ops->mmio_read(c->emu->owner, gpa, n);
		memcpy(buf, &v, n);
	}
}

static void phys_write(struct emu_cpu *c, uint64_t gpa, const uint8_t *buf,
		       unsigned int len)
{
	void *p = mem_ptr(c->emu->mem, gpa, len);
	unsigned int n;
	uint64_t v;

	if (p) {
		if (!copy_at_once(p, buf, len))
			memcpy(p, buf, len);
		mem_wrote(c->emu->mem, gpa, len);
		return;
	}
	if (mem_ptr_ro(c->emu->mem, gpa, len))
		return;		/* ROM */
	for (; len; gpa += n, buf += n, len -= n) {
		n = mmio_piece(gpa, len);
		v = 0;
		memcpy(&v, buf, n);
		c->emu->ops->mmio_write(c->emu->owner, gpa, v, n);
	}
}

/* ---- values --------------------------------------------------------------- */

void emu_load_bytes(struct emu_cpu *c, const struct emu_ref *ref, void *buf)
{
	phys_read(c, ref->part[0].gpa, buf, ref->part[0].len);
	if (ref->part[1].len)
		phys_read(c, ref->part[1].gpa,
			  (uint8_t *)buf + ref->part[0].len, ref->part[1].len);
}

void emu_store_bytes(struct emu_cpu *c, const struct emu_ref *ref,
		     const void *buf)
{
	phys_write(c, ref->part[0].gpa, buf, ref->part[0].len);
	if (ref->part[1].len)
		phys_write(c, ref->part[1].gpa,
			   (const uint8_t *)buf + ref->part[0].len,
			   ref->part[1].len);
}

uint64_t emu_load(struct emu_cpu *c, const struct emu_ref *ref)
{
	uint64_t v = 0;

	switch (ref->kind) {
	case REF_REG:
		v = c->r.gpr[ref->reg] >> (ref->high ? 8 : 0);
		break;
	case REF_SEG:
		v = c->emu->sregs->seg[ref->reg].selector;
		break;
	case REF_IMM:
		v = ref->imm;
		break;
	case REF_MEM:
		emu_load_bytes(c, ref, &v);
		break;
	}
	return v & emu_mask(ref->size);
}

void emu_store(struct emu_cpu *c, const struct emu_ref *ref, uint64_t value)
{
	unsigned int shift = ref->high ? 8 : 0;
	uint64_t mask = emu_mask(ref->size) << shift;
	__u64 *reg;

	if (ref->kind == REF_MEM) {
		emu_store_bytes(c, ref, &value);
		return;
	}
	reg = &c->r.gpr[ref->reg];
	if (ref->size == 4)		/* clears the upper half */
		*reg = value & mask;
	else
		*reg = (*reg & ~mask) | ((value << shift) & mask);
}
