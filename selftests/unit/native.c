// SPDX-License-Identifier: GPL-2.0
#define _GNU_SOURCE 1
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>

#include "native.h"

#define CONTEXT	0x20000000UL	/* struct native, reached by [disp32] */
#define CODE	0x20010000UL

static uint8_t *at;

static void emit(const void *bytes, unsigned int n)
{
	memcpy(at, bytes, n);
	at += n;
}

static void emit_disp(uint32_t offset)
{
	uint32_t disp = CONTEXT + offset;

	emit(&disp, 4);
}

/* mov reg, [disp32] (0x8b) or mov [disp32], reg (0x89) */
static void emit_gpr(uint8_t opcode, unsigned int reg, uint32_t offset)
{
	uint8_t b[] = { 0x48 | (reg >> 3 << 2), opcode, 0x04 | (reg & 7) << 3,
			0x25 };

	emit(b, sizeof(b));
	emit_disp(offset);
}

static void emit_vec(bool store, unsigned int reg, uint32_t offset)
{
	uint8_t avx[] = { 0xc5, 0xfe, store ? 0x7f : 0x6f, 0x04 | reg << 3,
			  0x25 };
	uint8_t sse[] = { 0x0f, store ? 0x11 : 0x10, 0x04 | reg << 3, 0x25 };

	if (native_has_avx())
		emit(avx, sizeof(avx));
	else
		emit(sse, sizeof(sse));
	emit_disp(offset);
}

bool native_has_avx(void)
{
	return __builtin_cpu_supports("avx");
}

static bool map(unsigned long addr, unsigned long size, int prot)
{
	return mmap((void *)addr, size, prot, MAP_PRIVATE | MAP_ANONYMOUS |
		    MAP_FIXED_NOREPLACE, -1, 0) == (void *)addr;
}

bool native_init(void)
{
	return map(NATIVE_DATA, NATIVE_SIZE, PROT_READ | PROT_WRITE) &&
	       map(CONTEXT, 4096, PROT_READ | PROT_WRITE) &&
	       map(CODE, 4096, PROT_READ | PROT_WRITE | PROT_EXEC);
}

#define GPR(i)	(offsetof(struct native, gpr) + 8 * (i))
#define VEC(i)	(offsetof(struct native, vec) + 32 * (i))
#define RSP	4

/* FXRSTOR64 (reg field 1) or FXSAVE64 (0) of the context's image */
static void emit_fxsave(unsigned int reg)
{
	uint8_t b[] = { 0x48, 0x0f, 0xae, 0x04 | reg << 3, 0x25 };

	emit(b, sizeof(b));
	emit_disp(offsetof(struct native, fxsave));
}

static void emit_all(const void *insn, unsigned int len, bool x87)
{
	static const uint8_t saved[] = {	/* push rbx rbp r12..r15 */
		0x53, 0x55, 0x41, 0x54, 0x41, 0x55, 0x41, 0x56, 0x41, 0x57,
	};
	static const uint8_t restored[] = {
		0x41, 0x5f, 0x41, 0x5e, 0x41, 0x5d, 0x41, 0x5c, 0x5d, 0x5b,
	};
	static const uint8_t push_flags[] = { 0xff, 0x34, 0x25 }, popf = 0x9d;
	static const uint8_t pop_flags[] = { 0x8f, 0x04, 0x25 }, pushf = 0x9c;
	static const uint8_t cld = 0xfc, ret = 0xc3, fninit[] = { 0xdb, 0xe3 };
	unsigned int i;

	emit(saved, sizeof(saved));
	if (x87)
		emit_fxsave(1);
	for (i = 0; i < NATIVE_VECS; i++)
		emit_vec(false, i, VEC(i));
	emit(push_flags, sizeof(push_flags));
	emit_disp(offsetof(struct native, rflags));
	emit(&popf, 1);
	emit_gpr(0x89, RSP, offsetof(struct native, host_rsp));
	for (i = 0; i < 16; i++)
		emit_gpr(0x8b, i, GPR(i));
	emit(insn, len);
	for (i = 0; i < 16; i++)
		emit_gpr(0x89, i, GPR(i));
	emit_gpr(0x8b, RSP, offsetof(struct native, host_rsp));
	emit(&pushf, 1);
	emit(pop_flags, sizeof(pop_flags));
	emit_disp(offsetof(struct native, rflags));
	emit(&cld, 1);
	if (x87) {
		emit_fxsave(0);
		emit(fninit, sizeof(fninit));
	}
	for (i = 0; i < NATIVE_VECS; i++)
		emit_vec(true, i, VEC(i));
	emit(restored, sizeof(restored));
	emit(&ret, 1);
}

void native_run(struct native *n, const void *code, unsigned int len)
{
	struct native *context = (struct native *)CONTEXT;

	*context = *n;
	at = (uint8_t *)CODE;
	emit_all(code, len, n->x87);
	((void (*)(void))CODE)();
	*n = *context;
}
