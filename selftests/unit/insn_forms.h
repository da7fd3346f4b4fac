/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The instructions that test_emulate runs both on the real CPU and in the
 * emulator. The assembler makes the table: FORM(text, attributes) puts the
 * bytes, the text and the attributes into the section "forms".
 */
#ifndef INSN_FORMS_H
#define INSN_FORMS_H

#include <stdint.h>

/* attributes; the low bits are flags that are undefined after it */
#define UNDEF_AF	0x10
#define UNDEF_SHIFT	0x811	/* CF, AF, OF: count in CL, small operand */
#define UNDEF_MUL	0xd4	/* SF, ZF, AF, PF */
#define UNDEF_BT	0x894	/* all but CF and ZF */
#define UNDEF_SCAN	0x895	/* all but ZF */
#define UNDEF_OF	0x800
#define UNDEF_ALL	0x8d5
#define FORM_SIZE(bytes) ((bytes) << 12)	/* of a division */
#define FORM_ALIGN16	0x100000
#define FORM_ALIGN32	0x200000
#define FORM_AVX	0x400000
#define FORM_DF		0x800000	/* direction flag at random */
#define FORM_NONZERO	0x1000000	/* undefined for a zero source */
#define FORM_DIV	0x2000000	/* a dividend whose quotient fits */
#define FORM_IDIV	0x4000000
#define FORM_X87	0x8000000
#define FORM_FCW	0x10000000	/* loads a control word that masks all */
#define FORM_FLAGS	0xfff

struct form {
	const uint8_t *code;
	uint64_t len;
	const char *text;
	uint64_t attr;
};

extern const struct form __start_forms[], __stop_forms[];

#define STR2(x) #x
#define STR(x) STR2(x)
#define FORM(text, attr)						\
	asm(".pushsection forms_text, \"a\", @progbits\n"		\
	    "1: " text "\n2:\n"						\
	    "3: .asciz \"" text "\"\n"					\
	    ".popsection\n"						\
	    ".pushsection forms, \"aw\", @progbits\n"			\
	    ".quad 1b, 2b - 1b, 3b, " STR(attr) "\n"			\
	    ".popsection\n");

/* memory, register and immediate forms of a two-operand instruction */
#define ALU(op)								\
	FORM(op "b %dl, (%rbx)", 0) FORM(op "b %ah, (%rbx)", 0)		\
	FORM(op "b %r9b, 3(%rbx)", 0) FORM(op "b %sil, (%rbx)", 0)	\
	FORM(op "w %dx, (%rbx)", 0)					\
	FORM(op "l %edx, (%rbx)", 0) FORM(op "q %rdx, (%rbx)", 0)	\
	FORM(op "q %r15, 5(%rbx, %rcx, 4)", 0)				\
	FORM(op "b $0x5a, (%rbx)", 0) FORM(op "w $0x8001, (%rbx)", 0)	\
	FORM(op "w $-2, (%rbx)", 0) FORM(op "l $-3, (%rbx)", 0)		\
	FORM(op "l $0x12345678, (%rbx)", 0)				\
	FORM(op "q $-1, (%rbx)", 0) FORM(op "q $-0x7fffffff, (%rbx)", 0)
#define ALU_LOAD(op)							\
	FORM(op "b (%rbx), %dl", 0) FORM(op "b (%rbx), %ch", 0)		\
	FORM(op "w (%rbx), %r10w", 0) FORM(op "l (%rbx), %eax", 0)	\
	FORM(op "q (%rbx), %r11", 0) FORM(op "l (%ebx), %edx", 0)	\
	FORM(op "q 0x10000900, %rdx", 0)
#define UNARY(op)							\
	FORM(op "b (%rbx)", 0) FORM(op "w (%rbx)", 0)			\
	FORM(op "l (%rbx)", 0) FORM(op "q (%rbx)", 0)
#define LOCKED(op)							\
	FORM("lock " op "b %dl, (%rbx)", 0) FORM("lock " op "l %edx, (%rbx)", 0)

ALU("add") ALU("adc") ALU("sub") ALU("sbb") ALU("cmp") ALU("and") ALU("or")
ALU("xor") ALU("test") ALU("mov")
ALU_LOAD("add") ALU_LOAD("adc") ALU_LOAD("sub") ALU_LOAD("sbb")
ALU_LOAD("cmp") ALU_LOAD("and") ALU_LOAD("or") ALU_LOAD("xor")
ALU_LOAD("mov")
UNARY("inc") UNARY("dec") UNARY("neg") UNARY("not")
LOCKED("add") LOCKED("adc") LOCKED("sub") LOCKED("sbb") LOCKED("and")
LOCKED("or") LOCKED("xor") LOCKED("xadd") LOCKED("cmpxchg")
FORM("lock incl (%rbx)", 0) FORM("lock negq (%rbx)", 0)

/* moves */
FORM("movabs %al, 0x10000901", 0) FORM("movabs %ax, 0x10000902", 0)
FORM("movabs %eax, 0x10000903", 0) FORM("movabs %rax, 0x10000ffc", 0)
FORM("movabs 0x10000901, %al", 0) FORM("movabs 0x10000902, %ax", 0)
FORM("movabs 0x10000903, %eax", 0) FORM("movabs 0x10000ffd, %rax", 0)
FORM("movw %ds, (%rbx)", 0) FORM("movw %ss, (%rbx)", 0)
FORM("movzbw (%rbx), %dx", 0) FORM("movzbl (%rbx), %edx", 0)
FORM("movzbq (%rbx), %rdx", 0) FORM("movzwl (%rbx), %edx", 0)
FORM("movzwq (%rbx), %rdx", 0) FORM("movsbw (%rbx), %dx", 0)
FORM("movsbl (%rbx), %edx", 0) FORM("movsbq (%rbx), %rdx", 0)
FORM("movswl (%rbx), %r9d", 0) FORM("movswq (%rbx), %rdx", 0)
FORM("movslq (%rbx), %rdx", 0)
FORM("movbew (%rbx), %dx", 0) FORM("movbel (%rbx), %edx", 0)
FORM("movbeq (%rbx), %rdx", 0) FORM("movbew %dx, (%rbx)", 0)
FORM("movbel %edx, (%rbx)", 0) FORM("movbeq %rdx, (%rbx)", 0)
FORM("movntil %edx, (%rbx)", 0) FORM("movntiq %rdx, (%rbx)", 0)
FORM("xchgb %dl, (%rbx)", 0) FORM("xchgw %dx, (%rbx)", 0)
FORM("xchgb %dh, (%rbx)", 0)
FORM("xchgl %edx, (%rbx)", 0) FORM("xchgq %rdx, (%rbx)", 0)
FORM("pushq (%rbx)", 0) FORM("pushw (%rbx)", 0) FORM("popq (%rbx)", 0)
FORM("popw (%rbx)", 0) FORM("popq 16(%rsp)", 0) FORM("pushq 16(%rsp)", 0)
FORM("pushq $-5", 0) FORM("pushq %rdx", 0) FORM("popq %rdx", 0)
FORM("popw %dx", 0) FORM("clflush (%rbx)", 0)

/* shifts: by one, by a constant, by CL */
#define SHIFT(op, undef)						\
	FORM(op "b (%rbx)", undef) FORM(op "w (%rbx)", undef)		\
	FORM(op "l (%rbx)", undef) FORM(op "q (%rbx)", undef)		\
	FORM(op "w $5, (%rbx)", 0x810) FORM(op "q $37, (%rbx)", 0x810)	\
	FORM(op "b %cl, (%rbx)", UNDEF_SHIFT)				\
	FORM(op "w %cl, (%rbx)", UNDEF_SHIFT)				\
	FORM(op "l %cl, (%rbx)", 0x810) FORM(op "q %cl, (%rbx)", 0x810)
SHIFT("shl", UNDEF_AF) SHIFT("shr", UNDEF_AF) SHIFT("sar", UNDEF_AF)
SHIFT("rol", 0) SHIFT("ror", 0) SHIFT("rcl", 0) SHIFT("rcr", 0)
/* through the carry flag a count may be larger than the operand */
FORM("rclb %cl, (%rbx)", UNDEF_OF) FORM("rclw %cl, (%rbx)", UNDEF_OF)
FORM("rcrb %cl, (%rbx)", UNDEF_OF) FORM("rcrw %cl, (%rbx)", UNDEF_OF)
FORM("rclb $9, (%rbx)", UNDEF_OF) FORM("rcrw $18, (%rbx)", UNDEF_OF)

/* bits: an offset in a register reaches outside the operand */
#define BIT(op)								\
	FORM(op "w $13, (%rbx)", UNDEF_BT) FORM(op "l $33, (%rbx)", UNDEF_BT) \
	FORM(op "q $63, (%rbx)", UNDEF_BT)				\
	FORM(op "w %r8w, (%rbx)", UNDEF_BT) FORM(op "l %r8d, (%rbx)", UNDEF_BT) \
	FORM(op "q %r8, (%rbx)", UNDEF_BT)
BIT("bt") BIT("bts") BIT("btr") BIT("btc")
FORM("lock btsl %r8d, (%rbx)", UNDEF_BT)
FORM("bsfw (%rbx), %dx", UNDEF_SCAN) FORM("bsfl (%rbx), %edx", UNDEF_SCAN | FORM_NONZERO)
FORM("bsfq (%rbx), %rdx", UNDEF_SCAN) FORM("bsrw (%rbx), %dx", UNDEF_SCAN)
FORM("bsrl (%rbx), %edx", UNDEF_SCAN | FORM_NONZERO) FORM("bsrq (%rbx), %rdx", UNDEF_SCAN)

/* multiplication and division */
FORM("mulb (%rbx)", UNDEF_MUL) FORM("mulw (%rbx)", UNDEF_MUL)
FORM("mull (%rbx)", UNDEF_MUL) FORM("mulq (%rbx)", UNDEF_MUL)
FORM("imulb (%rbx)", UNDEF_MUL) FORM("imulw (%rbx)", UNDEF_MUL)
FORM("imull (%rbx)", UNDEF_MUL) FORM("imulq (%rbx)", UNDEF_MUL)
FORM("imulw (%rbx), %dx", UNDEF_MUL) FORM("imull (%rbx), %edx", UNDEF_MUL)
FORM("imulq (%rbx), %rdx", UNDEF_MUL)
FORM("imulw $-3, (%rbx), %dx", UNDEF_MUL)
FORM("imull $0x12345, (%rbx), %edx", UNDEF_MUL)
FORM("imulq $-0x12345, (%rbx), %rdx", UNDEF_MUL)

FORM("divb (%rbx)", UNDEF_ALL | FORM_DIV | FORM_SIZE(1))
FORM("divw (%rbx)", UNDEF_ALL | FORM_DIV | FORM_SIZE(2))
FORM("divl (%rbx)", UNDEF_ALL | FORM_DIV | FORM_SIZE(4))
FORM("divq (%rbx)", UNDEF_ALL | FORM_DIV | FORM_SIZE(8))
FORM("idivb (%rbx)", UNDEF_ALL | FORM_IDIV | FORM_SIZE(1))
FORM("idivw (%rbx)", UNDEF_ALL | FORM_IDIV | FORM_SIZE(2))
FORM("idivl (%rbx)", UNDEF_ALL | FORM_IDIV | FORM_SIZE(4))
FORM("idivq (%rbx)", UNDEF_ALL | FORM_IDIV | FORM_SIZE(8))

/* compare and exchange */
FORM("cmpxchgb %dl, (%rbx)", 0) FORM("cmpxchgw %dx, (%rbx)", 0)
FORM("cmpxchgl %edx, (%rbx)", 0) FORM("cmpxchgq %rdx, (%rbx)", 0)
FORM("cmpxchg8b (%rbx)", 0) FORM("cmpxchg16b (%rbx)", FORM_ALIGN16)
FORM("xaddb %dl, (%rbx)", 0) FORM("xaddw %dx, (%rbx)", 0)
FORM("xaddl %edx, (%rbx)", 0) FORM("xaddq %rdx, (%rbx)", 0)

#define CC(cc)								\
	FORM("set" cc " (%rbx)", 0) FORM("cmov" cc "w (%rbx), %dx", 0)	\
	FORM("cmov" cc "l (%rbx), %edx", 0) FORM("cmov" cc "q (%rbx), %rdx", 0)
CC("o") CC("no") CC("b") CC("nb") CC("z") CC("nz") CC("be") CC("nbe")
CC("s") CC("ns") CC("p") CC("np") CC("l") CC("nl") CC("le") CC("nle")

/* strings */
#define STRINGS(op)							\
	FORM(op "b", FORM_DF) FORM(op "w", FORM_DF) FORM(op "l", FORM_DF) \
	FORM(op "q", FORM_DF)						\
	FORM("rep " op "b", FORM_DF) FORM("rep " op "w", FORM_DF)	\
	FORM("rep " op "l", FORM_DF) FORM("rep " op "q", FORM_DF)
STRINGS("movs") STRINGS("stos") STRINGS("lods") STRINGS("cmps") STRINGS("scas")
FORM("repne cmpsb", FORM_DF) FORM("repne scasb", FORM_DF)
FORM("repne scasl", FORM_DF) FORM("repne cmpsq", FORM_DF)
FORM("addr32 movsl", FORM_DF) FORM("addr32 stosb", FORM_DF)

/* vector moves */
FORM("movups (%rbx), %xmm0", 0) FORM("movups %xmm0, (%rbx)", 0)
FORM("movupd (%rbx), %xmm1", 0) FORM("movdqu %xmm1, (%rbx)", 0)
FORM("movdqu (%rbx), %xmm1", 0) FORM("lddqu (%rbx), %xmm1", 0)
FORM("movaps (%rbx), %xmm0", FORM_ALIGN16)
FORM("movaps %xmm1, (%rbx)", FORM_ALIGN16)
FORM("movdqa (%rbx), %xmm0", FORM_ALIGN16)
FORM("movntdq %xmm0, (%rbx)", FORM_ALIGN16)
FORM("movntps %xmm0, (%rbx)", FORM_ALIGN16)
FORM("movd (%rbx), %xmm0", 0) FORM("movd %xmm0, (%rbx)", 0)
FORM("movq (%rbx), %xmm0", 0) FORM("movq %xmm0, (%rbx)", 0)
FORM("movss (%rbx), %xmm0", 0) FORM("movss %xmm0, (%rbx)", 0)
FORM("movsd (%rbx), %xmm0", 0) FORM("movsd %xmm1, (%rbx)", 0)
FORM("movlps (%rbx), %xmm0", 0) FORM("movlps %xmm0, (%rbx)", 0)
FORM("movhps (%rbx), %xmm0", 0) FORM("movhps %xmm0, (%rbx)", 0)
FORM("movlpd (%rbx), %xmm1", 0) FORM("movhpd %xmm1, (%rbx)", 0)
FORM("vmovups (%rbx), %ymm0", FORM_AVX) FORM("vmovups %ymm0, (%rbx)", FORM_AVX)
FORM("vmovdqu (%rbx), %ymm1", FORM_AVX) FORM("vmovdqu %ymm1, (%rbx)", FORM_AVX)
FORM("vmovdqu (%rbx), %xmm1", FORM_AVX) FORM("vmovdqu %xmm1, (%rbx)", FORM_AVX)
FORM("vmovdqa (%rbx), %ymm0", FORM_AVX | FORM_ALIGN32)
FORM("vmovntdq %ymm0, (%rbx)", FORM_AVX | FORM_ALIGN32)
FORM("vmovd (%rbx), %xmm0", FORM_AVX) FORM("vmovq (%rbx), %xmm0", FORM_AVX)
FORM("vmovss (%rbx), %xmm0", FORM_AVX) FORM("vmovsd %xmm0, (%rbx)", FORM_AVX)

/* floating point: single, double, extended; integers; BCD; control words */
#define X87(text)	FORM(text, FORM_X87)
#define X87_REAL(op)	X87(op "s (%rbx)") X87(op "l (%rbx)")
#define X87_INT(op)	X87(op "s (%rbx)") X87(op "l (%rbx)")
X87_REAL("fld") X87("fldt (%rbx)") X87_REAL("fst") X87_REAL("fstp") X87("fstpt (%rbx)")
X87_INT("fild") X87("fildll (%rbx)") X87_INT("fist") X87_INT("fistp") X87("fistpll (%rbx)")
X87("fisttps (%rbx)") X87("fisttpl (%rbx)") X87("fisttpll (%rbx)")
X87("fbld (%rbx)") X87("fbstp (%rbx)")
X87_REAL("fadd") X87_REAL("fmul") X87_REAL("fcom") X87_REAL("fcomp") X87_REAL("fsub")
X87_REAL("fsubr") X87_REAL("fdiv") X87_REAL("fdivr")
X87_INT("fiadd") X87_INT("fimul") X87_INT("ficom") X87_INT("ficomp") X87_INT("fisub")
X87_INT("fisubr") X87_INT("fidiv") X87_INT("fidivr")
FORM("fldcw (%rbx)", FORM_X87 | FORM_FCW) X87("fnstcw (%rbx)") X87("fnstsw (%rbx)")

#endif
