// SPDX-License-Identifier: GPL-2.0
/*
 * The two kinds of exit that need to know the instruction: string I/O, whose
 * encoding is simple, and MMIO, which the guest announces in GUEST_MMIO_DESC
 * so that nothing has to be decoded here.
 */
#include <string.h>

#include "vm.h"

struct desc {
	u8 len;
	u8 size;
	u8 reg;
	u8 flags;
	u32 pad;
	u64 imm;
	u64 addr;
};

_Static_assert(offsetof(struct desc, imm) == DESC_IMM_VALUE, "abi.h");
_Static_assert(offsetof(struct desc, addr) == DESC_ADDR, "abi.h");

void *vm_gpa(struct vm *vm, u64 gpa, size_t size)
{
	unsigned int i;

	for (i = 0; i < vm->nmaps; i++) {
		struct vmm_map *m = &vm->map[i];

		if (gpa >= m->gpa && gpa + size <= m->gpa + m->size)
			return (u8 *)(uintptr_t)m->hva + (gpa - m->gpa);
	}
	return NULL;
}

/* one byte of RAM or device; an access may begin in one and end in the other */
static void access_byte(struct vm *vm, u64 gpa, bool write, u8 *byte)
{
	u8 *p = vm_gpa(vm, gpa, 1);

	if (!p) {
		if (!testdev_mmio(&vm->testdev, gpa, 1, write, byte) && !write)
			*byte = 0xff;
	} else if (write) {
		*p = *byte;
	} else {
		*byte = *p;
	}
}

static void access_bytes(struct vm *vm, u64 gpa, unsigned int size, bool write, void *data)
{
	unsigned int i;

	for (i = 0; i < size; i++)
		access_byte(vm, gpa + i, write, (u8 *)data + i);
}

static void load(struct vmm_regs *r, const struct desc *d, u64 value)
{
	u64 *reg = &r->gpr[d->reg & 15];
	unsigned int bits = d->size * 8;

	if (d->flags & DESC_SEXT)
		*reg = (u64)((s64)(value << (64 - bits)) >> (64 - bits));
	else if (d->flags & DESC_ZEXT || d->size >= 4)
		*reg = value;
	else
		*reg = (*reg & ~((1ull << bits) - 1)) | value;
}

void insn_mmio(struct vcpu *v)
{
	struct vm *vm = v->vm;
	struct vmm_run *run = v->run;
	struct desc *p = (struct desc *)(vm->ram + GUEST_MMIO_DESC), d = *p;
	u64 gpa = run->exit.mmio.gpa, value = 0;

	if (!d.len || d.size > 8 || !d.size)
		vm_die("MMIO at gpa %#llx, rip %#llx, that the guest did not announce",
		       gpa, run->regs.rip);
	if (gpa < d.addr || gpa >= d.addr + d.size)
		vm_die("MMIO exit says gpa %#llx, but the guest accesses %u bytes at %#llx",
		       gpa, d.size, d.addr);
	if (!(run->exit.mmio.access & VMM_ACCESS_WRITE) != !(d.flags & DESC_STORE))
		vm_die("MMIO exit at gpa %#llx says access %#x, the guest %s",
		       gpa, run->exit.mmio.access,
		       d.flags & DESC_STORE ? "stores" : "loads");
	if (d.flags & DESC_STORE) {
		value = d.reg == DESC_IMM ? d.imm : run->regs.gpr[d.reg & 15];
		access_bytes(vm, d.addr, d.size, true, &value);
	} else {
		access_bytes(vm, d.addr, d.size, false, &value);
		load(&run->regs, &d, value);
	}
	p->len = 0;	/* once: a second exit for the same access is an error */
	run->regs.rip += d.len;
	run->set |= VMM_STATE_REGS;
	vcpu_complete(v);
}

/* ---- string I/O --------------------------------------------------------------- */

struct strio {
	bool rep, in;
	unsigned int len, size, addr_bits;
	enum vmm_seg seg;
};

static bool code_is(const struct vmm_sregs *s, u16 bit)
{
	return s->seg[VMM_CS].attr & bit;
}

/* prefixes in any order, then 6C..6F (APM 3 1.2.1); REX is the last prefix */
static bool decode(struct vcpu *v, struct strio *s)
{
	const struct vmm_sregs *sr = &v->run->sregs;
	bool prot = sr->cr0 & 1, l64 = (sr->efer & 0x400) && code_is(sr, VMM_SEG_L);
	bool big = l64 || (prot && code_is(sr, VMM_SEG_DB));
	static const u8 seg_prefix[] = { 0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65 };
	u64 base = l64 ? 0 : sr->seg[VMM_CS].base;
	u8 *code = vm_gpa(v->vm, base + v->run->regs.rip, 15), *seg;
	bool op16 = !big, asize = false;

	*s = (struct strio) { .seg = VMM_DS };
	if (!code)
		return false;
	for (; s->len < 15; s->len++) {
		u8 b = code[s->len];

		seg = memchr(seg_prefix, b, sizeof(seg_prefix));
		if (seg)
			s->seg = (enum vmm_seg)(seg - seg_prefix);
		else if (b == 0x66)
			op16 = big;
		else if (b == 0x67)
			asize = true;
		else if (b == 0xf2 || b == 0xf3)
			s->rep = true;
		else if (!(l64 && (b & 0xf0) == 0x40))
			break;
	}
	if ((code[s->len] & 0xfc) != 0x6c)
		return false;
	s->in = code[s->len] < 0x6e;
	s->size = code[s->len] & 1 ? (op16 ? 2 : 4) : 1;
	if (l64)
		s->addr_bits = asize ? 32 : 64;
	else
		s->addr_bits = big != asize ? 32 : 16;
	s->len++;
	return true;
}

static u64 masked(u64 value, unsigned int bits)
{
	return bits == 64 ? value : value & ((1ull << bits) - 1);
}

/* a 16-bit register keeps its upper part, a 32-bit one loses it */
static void advance(u64 *reg, s64 by, unsigned int bits)
{
	u64 keep = bits == 16 ? *reg & ~0xffffull : 0;

	*reg = keep | masked(*reg + by, bits);
}

void insn_string_io(struct vcpu *v)
{
	struct vmm_run *run = v->run;
	u64 *gpr = run->regs.gpr, *index;
	struct strio s;
	s64 step;
	u64 base, gpa;

	if (!decode(v, &s))
		vm_die("string I/O exit at rip %#llx, where there is no INS or OUTS",
		       run->regs.rip);
	if (s.in != run->exit.io.in || s.size != run->exit.io.size ||
	    (u16)gpr[VMM_RDX] != run->exit.io.port)
		vm_die("string I/O: the exit says in=%u size=%u port=%#x, the instruction in=%u size=%u port=%#x",
		       run->exit.io.in, run->exit.io.size, run->exit.io.port,
		       s.in, s.size, (u16)gpr[VMM_RDX]);
	index = &gpr[s.in ? VMM_RDI : VMM_RSI];
	base = run->sregs.seg[s.in ? VMM_ES : s.seg].base;
	if (s.addr_bits == 64 && s.seg < VMM_FS)
		base = 0;
	step = run->regs.rflags & 0x400 ? -(s64)s.size : s.size;
	while (!s.rep || masked(gpr[VMM_RCX], s.addr_bits)) {
		u32 data = 0;

		gpa = base + masked(*index, s.addr_bits);
		if (!s.in)
			access_bytes(v->vm, gpa, s.size, false, &data);
		testdev_io(&v->vm->testdev, run->exit.io.port, s.size, s.in, &data);
		if (s.in)
			access_bytes(v->vm, gpa, s.size, true, &data);
		advance(index, step, s.addr_bits);
		if (!s.rep)
			break;
		advance(&gpr[VMM_RCX], -1, s.addr_bits);
	}
	run->regs.rip += s.len;
	run->set |= VMM_STATE_REGS;
	vcpu_complete(v);
}
