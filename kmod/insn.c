// SPDX-License-Identifier: GPL-2.0
/*
 * Fetching and measuring the guest's instruction, for CPUs that do not tell the
 * next RIP, and the few forms of MOV that are used on the APIC page and on
 * devices. Everything read here belongs to the guest: it is copied once and
 * bounds are ours.
 */
#include <linux/bits.h>
#include <linux/mm.h>

#include "vmm.h"

static bool long_code(const struct vmm_mmu *mmu, const struct vmm_segment *cs)
{
	return mmu->efer & EFER_LMA && cs->attr & VMM_SEG_L;
}

struct cursor {
	u8 buf[VMM_FETCH_MAX + sizeof(u32)];	/* `have` bytes, and room to look */
	u8 have, at;
	u8 rex;
	u8 seg;			/* enum vmm_seg of the prefix, or VMM_NSEG */
	bool size16, addr_other;
};

/* legacy prefixes, then REX right before the opcode (APM 3 1.2) */
static void skip_prefixes(struct cursor *c, bool wide)
{
	c->rex = 0;
	c->seg = VMM_NSEG;
	for (c->at = 0; c->at < c->have; c->at++) {
		u8 b = c->buf[c->at];

		switch (b) {
		case 0x66:
			c->size16 = true;
			break;
		case 0x67:
			c->addr_other = true;
			break;
		case 0x26: case 0x2e: case 0x36: case 0x3e:
			c->seg = VMM_ES + (b >> 3 & 3);
			break;
		case 0x64: case 0x65:
			c->seg = VMM_FS + (b & 1);
			break;
		case 0xf0: case 0xf2: case 0xf3:
			break;
		default:
			if (!wide || (b & 0xf0) != 0x40)
				return;
			c->rex = b;
			c->at++;
			return;
		}
	}
}

static int start(struct vmm_vcpu *vcpu, struct cursor *c, u32 want, bool *wide,
		 bool *big)
{
	struct vmm_segment cs __uninitialized;
	struct vmm_mmu mmu __uninitialized;
	int n;

	vmm_op(get_segment)(vcpu, VMM_CS, &cs);
	vmm_mmu_get(vcpu, &mmu);
	*wide = long_code(&mmu, &cs);
	*big = *wide || cs.attr & VMM_SEG_DB;
	n = vmm_fetch(vcpu, &mmu, *wide ? vcpu->rip : (u32)(cs.base + vcpu->rip),
		      c->buf, want);
	if (n < 0)
		return n;
	c->have = n;
	c->size16 = c->addr_other = false;
	skip_prefixes(c, *wide);
	return 0;
}

/* bytes from the first on, lowest first */
static const struct opcode {
	u8 len;
	u32 bytes;
} opcodes[][2] = {
	[FACT_CPUID] = { { 2, 0xa20f } },
	[FACT_HLT] = { { 1, 0xf4 } },
	[FACT_MSR] = { { 2, 0x300f }, { 2, 0x320f } },
	[FACT_XSETBV] = { { 3, 0xd1010f } },
	[FACT_HYPERCALL] = { { 3, 0xd9010f } },
	[FACT_NOP] = { { 2, 0x080f }, { 2, 0x090f } },
};

static int match(const struct cursor *c, enum vmm_fact_kind kind)
{
	u32 bytes;
	int i;

	memcpy(&bytes, c->buf + c->at, sizeof(bytes));
	for (i = 0; i < 2; i++) {
		const struct opcode *o = &opcodes[kind][i];

		if (o->len && c->at + o->len <= c->have &&
		    !((bytes ^ o->bytes) & GENMASK(o->len * 8 - 1, 0)))
			return c->at + o->len;
	}
	return -EINVAL;
}

int vmm_insn_len(struct vmm_vcpu *vcpu, enum vmm_fact_kind kind)
{
	struct cursor c __uninitialized;
	bool wide, big;
	int r;

	if (kind >= ARRAY_SIZE(opcodes))
		return -EINVAL;
	/* most stand without prefixes: three bytes seldom cross a page */
	r = start(vcpu, &c, 3, &wide, &big);
	if (r)
		return r;
	r = match(&c, kind);
	if (r > 0)
		return r;
	r = start(vcpu, &c, VMM_INSN_MAX, &wide, &big);
	return r ? r : match(&c, kind);
}

/* 0F 20, 0F 22: always a register, whatever ModRM's upper bits say (APM 3) */
int vmm_insn_mov_cr4(struct vmm_vcpu *vcpu)
{
	struct vmm_fact *f = &vcpu->fact;
	struct cursor c __uninitialized;
	bool big;
	u8 modrm;
	int r;

	r = start(vcpu, &c, VMM_INSN_MAX, &f->cr4.wide, &big);
	if (r)
		return r;
	if (c.at + 3 > c.have || c.buf[c.at] != 0x0f ||
	    c.buf[c.at + 1] != (f->cr4.write ? 0x22 : 0x20))
		return -EINVAL;
	modrm = c.buf[c.at + 2];
	if ((modrm >> 3 & 7) != 4 || c.rex & 4)
		return -EINVAL;
	f->cr4.reg = (modrm & 7) | (c.rex & 1 ? 8 : 0);
	return c.at + 3;
}

/* what ModRM and SIB say of memory, APM 3 1.4 */
struct address {
	u8 len;			/* of ModRM, SIB and displacement */
	u8 disp;		/* bytes of it, at the end */
	bool rip;		/* relative to the next instruction */
	int base, index;	/* enum vmm_gpr, or -1 */
	u8 scale;
};

static int address16(const struct cursor *c, struct address *a)
{
	static const s8 base[] = {
		VMM_RBX, VMM_RBX, VMM_RBP, VMM_RBP, -1, -1, VMM_RBP, VMM_RBX,
	};
	static const s8 index[] = {
		VMM_RSI, VMM_RDI, VMM_RSI, VMM_RDI, VMM_RSI, VMM_RDI, -1, -1,
	};
	u8 modrm = c->buf[c->at], mod = modrm >> 6, rm = modrm & 7;

	a->base = base[rm];
	a->index = index[rm];
	a->disp = mod;
	if (mod == 0 && rm == 6) {
		a->base = -1;
		a->disp = 2;
	}
	a->len = 1 + a->disp;
	return 0;
}

static int address_sib(const struct cursor *c, u8 mod, struct address *a)
{
	u8 sib;

	if (c->at + 1 >= c->have)
		return -EINVAL;
	sib = c->buf[c->at + 1];
	a->base = (sib & 7) | (c->rex & 1 ? 8 : 0);
	a->index = (sib >> 3 & 7) | (c->rex & 2 ? 8 : 0);
	a->scale = sib >> 6;
	if (a->index == VMM_RSP)
		a->index = -1;
	if (mod == 0 && (sib & 7) == 5) {
		a->base = -1;
		a->disp = 4;
	}
	a->len = 2 + a->disp;
	return 0;
}

/* mod 3 is not memory */
static int address_form(const struct cursor *c, int asize, bool wide,
			struct address *a)
{
	u8 modrm = c->buf[c->at], mod = modrm >> 6, rm = modrm & 7;

	memset(a, 0, sizeof(*a));
	if (mod == 3)
		return -EINVAL;
	if (asize == 2)
		return address16(c, a);
	a->disp = mod == 2 ? 4 : mod;
	a->index = -1;
	if (rm == 4)
		return address_sib(c, mod, a);
	a->base = rm | (c->rex & 1 ? 8 : 0);
	if (mod == 0 && rm == 5) {
		a->base = -1;
		a->rip = wide;
		a->disp = 4;
	}
	a->len = 1 + a->disp;
	return 0;
}

/*
 * Where in its page the access begins: that takes 12 bits of whatever is added
 * up, so no width matters. `end`: of the instruction.
 */
static u16 page_offset(struct vmm_vcpu *vcpu, const struct cursor *c, bool wide,
		       const struct address *a, u8 at_disp, u8 end)
{
	bool stack = a->base == VMM_RBP || a->base == VMM_RSP;
	u8 seg = c->seg == VMM_NSEG ? (stack ? VMM_SS : VMM_DS) : c->seg;
	u32 sum = a->rip ? vcpu->rip + end : 0;
	struct vmm_segment s;

	if (a->disp == 1)
		sum += (s8)c->buf[at_disp];
	else if (a->disp)
		sum += c->buf[at_disp] | c->buf[at_disp + 1] << 8;
	if (a->base >= 0)
		sum += vcpu->gpr[a->base];
	if (a->index >= 0)
		sum += vcpu->gpr[a->index] << a->scale;
	/* long mode: the others have base 0 */
	if (!wide || seg >= VMM_FS) {
		vmm_op(get_segment)(vcpu, seg, &s);
		sum += s.base;
	}
	return sum & ~PAGE_MASK;
}

static int addr_size(const struct cursor *c, bool wide, bool big)
{
	if (wide)
		return c->addr_other ? 4 : 8;
	return big != c->addr_other ? 4 : 2;
}

/* an immediate of at most 32 bits, sign-extended where 64 are written */
static u64 immediate(const u8 *from, u8 size)
{
	switch (size) {
	case 1:
		return from[0];
	case 2:
		return from[0] | from[1] << 8;
	}
	return (s64)(s32)(from[0] | from[1] << 8 | from[2] << 16 | (u32)from[3] << 24);
}

/*
 * 88..8B: between a register and memory; A0..A3: RAX and an address; C6, C7 /0.
 * The lowest bit clear: of a byte.
 */
int vmm_insn_mov(struct vmm_vcpu *vcpu, struct vmm_insn_mov *m)
{
	struct address a = { .base = -1, .index = -1 };
	u8 op, imm = 0;
	struct cursor c __uninitialized;
	bool wide, big;
	int r, asize;

	r = start(vcpu, &c, VMM_INSN_MAX, &wide, &big);
	if (r)
		return r;
	if (c.at + 2 > c.have)
		return -EINVAL;
	memset(m, 0, sizeof(*m));
	asize = addr_size(&c, wide, big);
	op = c.buf[c.at++];
	m->size = !(op & 1) ? 1 : c.rex & 8 ? 8 : big == c.size16 ? 2 : 4;
	switch (op & ~1) {
	case 0xa0:
	case 0xa2:
		m->write = op & 2;
		a.len = asize;
		a.disp = asize;
		break;
	case 0x88:
	case 0x8a:
	case 0xc6:
		m->write = !(op & 2) || op >= 0xc6;
		m->has_imm = op >= 0xc6;
		m->reg = (c.buf[c.at] >> 3 & 7) | (c.rex & 4 ? 8 : 0);
		/* AH, CH, DH, BH; C6 and C7 have other numbers in no use */
		if (m->has_imm ? m->reg & 7 : m->size == 1 && !c.rex && m->reg > 3)
			return -EINVAL;
		r = address_form(&c, asize, wide, &a);
		if (r)
			return r;
		imm = m->has_imm ? min_t(u8, m->size, 4) : 0;
		break;
	default:
		return -EINVAL;
	}
	c.at += a.len;
	m->len = c.at + imm;
	if (m->len > c.have)
		return -EINVAL;
	if (imm)
		m->imm = immediate(c.buf + c.at, m->size);
	m->offset = page_offset(vcpu, &c, wide, &a, c.at - a.disp, m->len);
	return 0;
}
