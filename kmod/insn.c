// SPDX-License-Identifier: GPL-2.0
/*
 * Fetching and measuring the guest's instruction, for CPUs that do not tell the
 * next RIP, and the few forms of MOV that are used on the APIC page. Everything
 * read here belongs to the guest: it is copied once and bounds are ours.
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
	bool size16, addr_other;
};

/* legacy prefixes, then REX right before the opcode (APM 3 1.2) */
static void skip_prefixes(struct cursor *c, bool wide)
{
	c->rex = 0;
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
		case 0x64: case 0x65: case 0xf0: case 0xf2: case 0xf3:
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

/* length of ModRM, SIB and displacement; mod 3 is not memory (APM 3 1.4) */
static int modrm_len(const struct cursor *c, bool addr16)
{
	u8 modrm = c->buf[c->at], mod = modrm >> 6, rm = modrm & 7;

	if (mod == 3)
		return -EINVAL;
	if (addr16)
		return 1 + (mod == 0 ? (rm == 6 ? 2 : 0) : mod);
	if (rm == 4) {
		if (c->at + 1 >= c->have)
			return -EINVAL;
		if (mod == 0)
			return 2 + ((c->buf[c->at + 1] & 7) == 5 ? 4 : 0);
		return 2 + (mod == 1 ? 1 : 4);
	}
	return 1 + (mod == 0 ? (rm == 5 ? 4 : 0) : mod == 1 ? 1 : 4);
}

static int addr_size(const struct cursor *c, bool wide, bool big)
{
	if (wide)
		return c->addr_other ? 4 : 8;
	return big != c->addr_other ? 4 : 2;
}

/* 89, 8B: between a register and memory; A1, A3: EAX and an address; C7 /0 */
int vmm_insn_mov(struct vmm_vcpu *vcpu, struct vmm_insn_mov *m)
{
	struct cursor c __uninitialized;
	bool wide, big;
	int r, asize;
	u8 op;

	r = start(vcpu, &c, VMM_INSN_MAX, &wide, &big);
	if (r)
		return r;
	if (c.at + 2 > c.have || c.rex & 8 || big == c.size16)
		return -EINVAL;		/* not 32 bits wide */
	memset(m, 0, sizeof(*m));
	asize = addr_size(&c, wide, big);
	op = c.buf[c.at++];
	m->write = op != 0x8b && op != 0xa1;
	switch (op) {
	case 0xa1:
	case 0xa3:
		m->len = c.at + asize;
		return m->len <= c.have ? 0 : -EINVAL;
	case 0x89:
	case 0x8b:
	case 0xc7:
		break;
	default:
		return -EINVAL;
	}
	m->reg = (c.buf[c.at] >> 3 & 7) | (c.rex & 4 ? 8 : 0);
	m->has_imm = op == 0xc7;
	if (m->has_imm && m->reg & 7)
		return -EINVAL;
	r = modrm_len(&c, asize == 2);
	if (r < 0)
		return r;
	c.at += r;
	if (m->has_imm) {
		if (c.at + 4 > c.have)
			return -EINVAL;
		memcpy(&m->imm, c.buf + c.at, 4);
		c.at += 4;
	}
	m->len = c.at;
	return c.at <= c.have ? 0 : -EINVAL;
}
