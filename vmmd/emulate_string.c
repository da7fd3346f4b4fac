// SPDX-License-Identifier: GPL-2.0
/*
 * String instructions. Each element is complete before the next one starts, and
 * the caller's registers are brought up to date after each: a fault, or the end
 * of a batch, leaves the instruction where the CPU would, to be started again.
 */
#include "emulate_int.h"

/* elements per call: the vCPU must come back to be kicked, paused, interrupted */
#define BATCH	1024

#define RCX	VMM_RCX
#define RSI	VMM_RSI
#define RDI	VMM_RDI

/* the segment of the RSI operand, which a prefix may change */
static unsigned int source_segment(const struct emu_cpu *c)
{
	unsigned int i;

	for (i = 0; i < c->insn->operand_count; i++)
		if (emu_is_mem(c, i) &&
		    ZydisRegisterGetId(c->op[i].mem.base) == RSI)
			return ZydisRegisterGetId(c->op[i].mem.segment);
	return VMM_DS;
}

static struct emu_ref gpr_ref(unsigned int reg, unsigned int size)
{
	return (struct emu_ref){ .kind = REF_REG, .reg = reg, .size = size };
}

/* add to a register as wide as addresses are */
static uint64_t advance(struct emu_cpu *c, unsigned int reg, uint64_t by)
{
	struct emu_ref ref = gpr_ref(reg, c->insn->address_width / 8);
	uint64_t v = emu_load(c, &ref) + by;

	emu_store(c, &ref, v);
	return v & emu_mask(ref.size);
}

static bool source(struct emu_cpu *c, unsigned int size, struct emu_ref *ref)
{
	return emu_at(c, source_segment(c), c->r.gpr[RSI] &
		      emu_mask(c->insn->address_width / 8), size, 0, ref);
}

static bool destination(struct emu_cpu *c, unsigned int size,
			unsigned int access, struct emu_ref *ref)
{
	return emu_at(c, VMM_ES, c->r.gpr[RDI] &
		      emu_mask(c->insn->address_width / 8), size, access, ref);
}

/* is it what the CPU has allowed */
static bool io_allowed(const struct emu_cpu *c, unsigned int kind,
		       unsigned int size)
{
	const struct vmm_exit_io *io = c->emu->io;

	return io && io->string && io->size == size &&
	       io->port == (uint16_t)c->r.gpr[VMM_RDX] &&
	       !io->in == (kind == STRING_OUTS);
}

static uint64_t port_in(struct emu_cpu *c, unsigned int size)
{
	return c->emu->ops->pio_read(c->emu->owner, c->r.gpr[VMM_RDX], size);
}

static void port_out(struct emu_cpu *c, uint64_t v, unsigned int size)
{
	c->emu->ops->pio_write(c->emu->owner, c->r.gpr[VMM_RDX], v, size);
}

/* one element */
static bool element(struct emu_cpu *c, unsigned int kind, unsigned int size)
{
	uint64_t step = c->r.rflags & FL_DF ? -(uint64_t)size : size;
	bool si = kind == STRING_MOVS || kind == STRING_LODS ||
		  kind == STRING_CMPS || kind == STRING_OUTS;
	bool di = kind != STRING_LODS && kind != STRING_OUTS;
	bool writes = di && kind != STRING_CMPS && kind != STRING_SCAS;
	struct emu_ref src, dst, acc = gpr_ref(VMM_RAX, size);

	if (si && !source(c, size, &src))
		return false;
	if (di && !destination(c, size, writes ? WALK_WRITE : 0, &dst))
		return false;
	switch (kind) {
	case STRING_MOVS:
		emu_store(c, &dst, emu_load(c, &src));
		break;
	case STRING_STOS:
		emu_store(c, &dst, emu_load(c, &acc));
		break;
	case STRING_LODS:
		emu_store(c, &acc, emu_load(c, &src));
		break;
	case STRING_CMPS:
		emu_alu(c, ALU_CMP, emu_load(c, &src), emu_load(c, &dst), size);
		break;
	case STRING_SCAS:
		emu_alu(c, ALU_CMP, emu_load(c, &acc), emu_load(c, &dst), size);
		break;
	case STRING_INS:
		emu_store(c, &dst, port_in(c, size));
		break;
	case STRING_OUTS:
		port_out(c, emu_load(c, &src), size);
		break;
	}
	if (si)
		advance(c, RSI, step);
	if (di)
		advance(c, RDI, step);
	return true;
}

/* REPE and REPNE end CMPS and SCAS early */
static bool ends_early(const struct emu_cpu *c, unsigned int kind)
{
	bool equal = c->r.rflags & FL_ZF;

	if (kind != STRING_CMPS && kind != STRING_SCAS)
		return false;
	return c->insn->attributes & ZYDIS_ATTRIB_HAS_REPNE ? equal : !equal;
}

bool emu_string(struct emu_cpu *c, unsigned int arg)
{
	bool rep = c->insn->attributes & (ZYDIS_ATTRIB_HAS_REP |
					 ZYDIS_ATTRIB_HAS_REPE |
					 ZYDIS_ATTRIB_HAS_REPNE);
	unsigned int kind = arg & ~15U, size = arg & 15, n;

	if (c->insn->meta.category != ZYDIS_CATEGORY_STRINGOP &&
	    c->insn->meta.category != ZYDIS_CATEGORY_IOSTRINGOP)
		return emu_vector(c, VECTOR_ANY);	/* SSE's MOVSD */
	if ((kind == STRING_INS || kind == STRING_OUTS) &&
	    !io_allowed(c, kind, size)) {
		c->result = EMU_AGAIN;
		return false;
	}
	if (rep && !(c->r.gpr[RCX] & emu_mask(c->insn->address_width / 8)))
		return true;
	for (n = 0; n < BATCH; n++) {
		if (!element(c, kind, size))
			return false;
		if (!rep || !advance(c, RCX, -1ULL) || ends_early(c, kind))
			return true;
		c->emu->regs = c->r;
	}
	c->result = EMU_AGAIN;
	return false;
}
