// SPDX-License-Identifier: GPL-2.0
/*
 * Task switches of every kind, SDM 3A 8: by JMP, CALL, IRET, task gates in the
 * GDT and the IDT; without paging, with 32-bit and with PAE paging.
 *
 * A nonzero argument asks for what QEMU's own task switch leaves out, too: the
 * T bit, #SS for a stack that is not present, conforming code, EXT in error
 * codes, page faults at the back link, CF and RF in the flags of the old task, EIP
 * of one that faults before its first instruction, the accessed bit of segments.
 * Nor can QEMU begin a switch again that a nested page fault interrupted, as they
 * come when a whole VM is rebuilt: no row for this guest in roundtrip_test.
 */
#include "rt.h"

#define CR0_TS		0x8
#define CR0_WP		0x10000
#define CR0_PG		0x80000000
#define CR4_PSE		0x10
#define CR4_PAE		0x20
#define FLAG_CF		0x1
#define FLAG_DF		0x400
#define FLAG_NT		0x4000
#define FLAG_RF		0x10000
#define FLAG_VM		0x20000
#define FLAG_IOPL3	0x3000
#define DR6_BT		0x8000

/* in this test's own GDT, behind the runtime's descriptors */
enum {
	SEL_MAIN = 0x58, SEL_A = 0x60, SEL_B = 0x68, SEL_A16 = 0x70,
	SEL_SHORT = 0x78, SEL_GONE = 0x80,	/* TSS not present */
	SEL_GATE = 0x88,			/* task gate to A */
	SEL_GATE_ABSENT = 0x90, SEL_GATE_TO_GONE = 0x98, SEL_GATE_TO_DATA = 0xa0,
	SEL_LDT = 0xa8, SEL_LDT_GONE = 0xb0, SEL_CODE_GONE = 0xb8,
	SEL_EXECUTE = 0xc0, SEL_READ = 0xc8,	/* code and data that can only be so */
	SEL_CONFORMING = 0xd0, SEL_CONFORMING3 = 0xd8,
	SEL_FAULT = 0xe0,			/* a task for each of TS, NP, SS, GP */
	SEL_END = 0x100,
};

#define LDT_DATA	0x04			/* selector of ldt[0] */

#define TSS_FREE	0x89ull
#define TSS_BUSY	0x8bull
#define BUSY		0x02ull
#define PRESENT		0x80ull

struct tss {
	u16 link, pad;
	u32 esp0, ss0, esp1, ss1, esp2, ss2;
	u32 cr3, eip, eflags;
	u32 ax, cx, dx, bx, sp, bp, si, di;
	u32 es, cs, ss, ds, fs, gs, ldt;
	u16 trap, iomap;
} __attribute__((aligned(128)));

struct tss16 {
	u16 link, sp0, ss0, sp1, ss1, sp2, ss2;
	u16 ip, flags;
	u16 ax, cx, dx, bx, sp, bp, si, di;
	u16 es, cs, ss, ds, ldt;
} __attribute__((aligned(64)));

_Static_assert(sizeof(struct tss16) == 64 && sizeof(struct tss) == 128, "");

static volatile struct tss main_tss, a, b, fault_tss[4];
static volatile struct tss16 a16;
static volatile u64 table[SEL_END / 8], ldt[1];
static u32 stack_a[256], stack_b[256], stack_fault[256], stack_ring0[256];
static u32 ldt_word = 0x1d7da7a;
static int strict;

/* ---- both sides of a switch ------------------------------------------------- */

/* operands of far jumps; their offset means nothing to a task switch */
volatile struct far {
	u32 offset;
	u16 sel;
} far_target, far_back;

/* around the instruction of the last switch, and the registers behind it */
volatile u32 switch_ip, switch_next, back_regs[7];

/* what task_entry found: EAX..EDI in the order of encoding, EFLAGS */
volatile u32 seen_regs[9];

volatile struct {
	u32 count, cr0, cr3, dr6, dr7, window, fs_word, error;
	u16 tr, ldt;
	int busy_main, busy_a;
} seen;

/* how a task leaves: by IRET, or back to main by JMP */
static volatile int leave_by_jump, free_main;
/* what it does before that */
static void (*volatile body)(void);

#define R_SP		4
#define SEEN_FLAGS	seen_regs[8]

extern char task_entry[], task16_entry[];

asm(".text\n"
    "task16_entry:\n\t"
    "movl %esp, seen_regs+16\n\t"
    "movl $stack_a_top, %esp\n\t"
    "jmp 1f\n"
    "task_entry:\n\t"
    "movl %esp, seen_regs+16\n"
    "1:\tmovl %eax, seen_regs\n\t"
    "movl %ecx, seen_regs+4\n\t"
    "movl %edx, seen_regs+8\n\t"
    "movl %ebx, seen_regs+12\n\t"
    "movl %ebp, seen_regs+20\n\t"
    "movl %esi, seen_regs+24\n\t"
    "movl %edi, seen_regs+28\n\t"
    "pushfl\n\t"
    "popl seen_regs+32\n\t"
    "call task_body\n\t"
    "testl %eax, %eax\n\t"
    "jnz 1f\n\t"
    "iret\n\t"
    "jmp task_entry\n"
    "1:\tljmp *far_back\n\t"
    "jmp task_entry\n");

/* a 16-bit TSS has no room for the address of a stack of ours */
extern char stack_a_top[];
asm(".bss\n\t.balign 16\n\t.skip 1024\nstack_a_top:\n\t.text\n");

static int busy(u32 sel)
{
	return table[sel / 8] >> 41 & 1;
}

static u16 task_register(void)
{
	u16 sel;

	asm volatile("str %0" : "=r"(sel) : : "memory");
	return sel;
}

__attribute__((used)) u32 task_body(void)
{
	u16 sel;
	u32 word;

	seen.count++;
	seen.tr = task_register();
	asm volatile("sldt %0" : "=r"(sel));
	seen.ldt = sel;
	seen.cr0 = READ_CR(0);
	seen.cr3 = READ_CR(3);
	seen.dr6 = READ_DR(6);
	seen.dr7 = READ_DR(7);
	seen.window = seen.cr0 & CR0_PG ? READ((u32 *)phys(0x80000000)) : 0;
	if (seen.ldt) {
		asm volatile("movl %%fs:0, %0" : "=r"(word));
		seen.fs_word = word;
	}
	seen.busy_main = busy(SEL_MAIN);
	seen.busy_a = busy(SEL_A);
	if (seen_regs[R_SP] < GUEST_RAM)
		seen.error = READ((u32 *)phys(seen_regs[R_SP]));
	if (body)
		body();
	/* a JMP needs a task that is not busy, as nested ones leave it */
	if (free_main)
		table[SEL_MAIN / 8] &= ~(BUSY << 40);
	return leave_by_jump;
}

/* the registers that main has at a switch; BX is a selector that is none */
#define MAIN_AX 0xa1a10000
#define MAIN_CX 0xa1a10001
#define MAIN_DX 0xa1a10002
#define MAIN_BX 0xa1a11000
#define MAIN_BP 0xa1a10005
#define MAIN_SI 0xa1a10006
#define MAIN_DI 0xa1a10007

#define STR_(x) #x
#define STR(x) STR_(x)
#define SWITCH(insn)							\
	asm volatile("pushal\n\t"					\
		     "pushfl\n\t"					\
		     "movl $771f, switch_ip\n\t"			\
		     "movl $772f, switch_next\n\t"			\
		     "movl $" STR(MAIN_AX) ", %%eax\n\t"		\
		     "movl $" STR(MAIN_CX) ", %%ecx\n\t"		\
		     "movl $" STR(MAIN_DX) ", %%edx\n\t"		\
		     "movl $" STR(MAIN_BX) ", %%ebx\n\t"		\
		     "movl $" STR(MAIN_BP) ", %%ebp\n\t"		\
		     "movl $" STR(MAIN_SI) ", %%esi\n\t"		\
		     "movl $" STR(MAIN_DI) ", %%edi\n\t"		\
		     "stc\n\t"						\
		     "std\n"						\
		     "771:\t" insn "\n"					\
		     "772:\tmovl %%eax, back_regs\n\t"			\
		     "movl %%ecx, back_regs+4\n\t"			\
		     "movl %%edx, back_regs+8\n\t"			\
		     "movl %%ebx, back_regs+12\n\t"			\
		     "movl %%ebp, back_regs+16\n\t"			\
		     "movl %%esi, back_regs+20\n\t"			\
		     "movl %%edi, back_regs+24\n\t"			\
		     "popfl\n\t"					\
		     "popal"						\
		     : : : "memory", "cc")

/* until seen.count says that a task ran */
#define TAKE_INTERRUPT	"sti; 773: pause; cmpl $0, seen; je 773b; cli"

#define JUMP	SWITCH("ljmp *far_target")
#define CALL	SWITCH("lcall *far_target")

/* ---- descriptors -------------------------------------------------------------- */

static u64 descriptor(u32 base, u32 limit, u64 access, u64 flags)
{
	return (limit & 0xffff) | (u64)(base & 0xffffff) << 16 | access << 40 |
	       (u64)(limit >> 16 & 0xf) << 48 | flags << 52 |
	       (u64)(base >> 24) << 56;
}

static u64 task_gate(u16 sel)
{
	return (u64)sel << 16 | 0xe5ull << 40;
}

static volatile u64 *idt_gate(int vector)
{
	struct {
		u16 limit;
		u32 base;
	} __attribute__((packed)) p;

	asm volatile("sidt %0" : "=m"(p));
	return (volatile u64 *)phys(p.base) + vector;
}

static void free_tss(u32 sel, volatile void *tss)
{
	table[sel / 8] = descriptor((ulong)tss, 103, TSS_FREE, 0);
}

/* ready to start at task_entry */
static void set_up(volatile struct tss *t, u32 *stack_end)
{
	*t = (struct tss){
		.cr3 = READ_CR(3), .eip = (ulong)task_entry, .eflags = 2,
		.ax = 0xb0, .cx = 0xb0000001, .dx = 0xb0000002, .bx = 0xb0000003,
		.sp = (ulong)stack_end, .bp = 0xb0000005, .si = 0xb0000006,
		.di = 0xb0000007,
		.es = SEL_DATA, .cs = SEL_CODE32, .ss = SEL_DATA, .ds = SEL_DATA,
		.fs = SEL_DATA, .gs = SEL_DATA,
		.esp0 = (ulong)&stack_ring0[256], .ss0 = SEL_DATA, .iomap = 104,
	};
}

static void fresh(void)
{
	int i;

	set_up(&a, &stack_a[256]);
	set_up(&b, &stack_b[256]);
	free_tss(SEL_A, &a);
	free_tss(SEL_B, &b);
	for (i = 0; i < 4; i++) {
		set_up(&fault_tss[i], &stack_fault[256]);
		free_tss(SEL_FAULT + i * 8, &fault_tss[i]);
	}
	main_tss.link = 0;
	far_target.sel = SEL_A;
	leave_by_jump = free_main = 0;
	body = 0;
	seen.count = 0;
	asm volatile("clts");
}

static void make_tables(void)
{
	extern u64 gdt[];
	struct {
		u16 limit;
		u32 base;
	} __attribute__((packed)) p = { sizeof(table) - 1, (ulong)table };
	int i;

	for (i = 0; i < SEL_MAIN / 8; i++)
		table[i] = gdt[i];
	free_tss(SEL_MAIN, &main_tss);
	table[SEL_SHORT / 8] = descriptor((ulong)&a, 102, TSS_FREE, 0);
	table[SEL_GONE / 8] = descriptor((ulong)&a, 103, TSS_FREE & ~PRESENT, 0);
	table[SEL_GATE / 8] = task_gate(SEL_A);
	table[SEL_GATE_ABSENT / 8] = task_gate(SEL_A) & ~(PRESENT << 40);
	table[SEL_GATE_TO_GONE / 8] = task_gate(SEL_GONE);
	table[SEL_GATE_TO_DATA / 8] = task_gate(SEL_DATA);
	table[SEL_LDT / 8] = descriptor((ulong)ldt, sizeof(ldt) - 1, 0x82, 0);
	table[SEL_LDT_GONE / 8] = descriptor((ulong)ldt, sizeof(ldt) - 1, 2, 0);
	table[SEL_CODE_GONE / 8] = descriptor(0, 0xfffff, 0x1b, 0xc);
	table[SEL_EXECUTE / 8] = descriptor(0, 0xfffff, 0x99, 0xc);
	table[SEL_READ / 8] = descriptor(0, 0xfffff, 0x91, 0xc);
	table[SEL_CONFORMING / 8] = descriptor(0, 0xfffff, 0x9e, 0xc);
	table[SEL_CONFORMING3 / 8] = descriptor(0, 0xfffff, 0xfe, 0xc);
	ldt[0] = descriptor((ulong)&ldt_word, 3, 0x92, 4);
	asm volatile("lgdt %0" : : "m"(p) : "memory");
	asm volatile("ltr %w0" : : "r"(SEL_MAIN) : "memory");
	check(busy(SEL_MAIN));
	far_back.sel = SEL_MAIN;
}

/* ---- what holds after every switch --------------------------------------------- */

static void check_started(void)
{
	check(seen.count == 1);
	check(seen_regs[0] == 0xb0);
	check(seen_regs[1] == 0xb0000001 && seen_regs[2] == 0xb0000002);
	check(seen_regs[3] == 0xb0000003 && seen_regs[5] == 0xb0000005);
	check(seen_regs[6] == 0xb0000006 && seen_regs[7] == 0xb0000007);
	check(seen.cr0 & CR0_TS);
	check((SEEN_FLAGS & ~FLAG_NT) == 2);
}

/* main's state in its TSS, and back in the registers */
static void check_main(u32 ip)
{
	check(main_tss.eip == ip);
	check(main_tss.ax == MAIN_AX && main_tss.cx == MAIN_CX);
	check(main_tss.dx == MAIN_DX && main_tss.bx == MAIN_BX);
	check(main_tss.bp == MAIN_BP && main_tss.si == MAIN_SI);
	check(main_tss.di == MAIN_DI);
	check(main_tss.cs == SEL_CODE32 && main_tss.ss == SEL_DATA);
	check(main_tss.ds == SEL_DATA && main_tss.es == SEL_DATA);
	check(main_tss.fs == SEL_DATA && main_tss.gs == SEL_DATA);
	check(main_tss.eflags & FLAG_DF && !(main_tss.eflags & FLAG_NT));
	if (strict)
		check(main_tss.eflags & FLAG_CF);
	check(back_regs[0] == MAIN_AX && back_regs[1] == MAIN_CX);
	check(back_regs[2] == MAIN_DX && back_regs[3] == MAIN_BX);
	check(back_regs[4] == MAIN_BP && back_regs[5] == MAIN_SI);
	check(back_regs[6] == MAIN_DI);
	check(task_register() == SEL_MAIN);
	check(busy(SEL_MAIN));
	check(READ_CR(0) & CR0_TS);
}

/* a nested task ran and came back by IRET */
static void check_nested(void)
{
	check(SEEN_FLAGS & FLAG_NT);
	check(a.link == SEL_MAIN && !main_tss.link);
	check(seen.busy_main && seen.busy_a);
	check(!busy(SEL_A));
	check(!(a.eflags & FLAG_NT));
	check(a.sp == seen_regs[R_SP]);
}

/* ---- the kinds ------------------------------------------------------------------ */

static void jump(u16 sel)
{
	fresh();
	far_target.sel = sel;
	leave_by_jump = 1;
	JUMP;
	check_started();
	check_main(switch_next);
	check(!(SEEN_FLAGS & FLAG_NT));
	check(seen.tr == SEL_A && !seen.busy_main && seen.busy_a);
	check(!busy(SEL_A) && !a.link && !main_tss.link);
	check(seen_regs[R_SP] == (ulong)&stack_a[256]);
	/* behind its own jump */
	check(a.eip > (ulong)task_entry && a.eip < (ulong)task_entry + 128);
}

static void call(u16 sel)
{
	u32 ip;

	fresh();
	far_target.sel = sel;
	CALL;
	check_started();
	check_main(switch_next);
	check_nested();
	check(seen.tr == SEL_A);
	/* it goes on behind its IRET */
	ip = a.eip;
	CALL;
	check(seen.count == 2);
	check_main(switch_next);
	check(a.eip == ip);
}

static void call_b(void)
{
	body = 0;
	SWITCH("int $0x91");
	check(seen.tr == SEL_B && b.link == SEL_A && a.link == SEL_MAIN);
	check(a.eip == switch_next && a.ax == MAIN_AX);
	check(seen.busy_main && seen.busy_a && !busy(SEL_B));
	check(task_register() == SEL_A);
}

/* main to A to B and back the same way */
static void nest(void)
{
	fresh();
	body = call_b;
	*idt_gate(0x91) = task_gate(SEL_B);
	CALL;
	check(seen.count == 2);
	check(task_register() == SEL_MAIN && !busy(SEL_A));
	check(busy(SEL_MAIN));
}

/* INT n and INT3: no error code, and back behind them */
static void soft_int(void)
{
	u64 old = *idt_gate(BP);

	*idt_gate(0x90) = *idt_gate(BP) = task_gate(SEL_A);
	fresh();
	SWITCH("int $0x90");
	check_started();
	check_main(switch_next);
	check_nested();
	check(seen_regs[R_SP] == (ulong)&stack_a[256]);
	check(!(main_tss.eflags & FLAG_RF));
	fresh();
	SWITCH("int3");
	check_started();
	check_main(switch_next);
	check_nested();
	*idt_gate(BP) = old;
}

static void skip_fault(void)
{
	check(main_tss.eip == switch_ip);
	if (strict)
		check(main_tss.eflags & FLAG_RF);
	main_tss.eip = switch_next;
}

static void skip_abort(void)
{
	main_tss.eip = switch_next;
}

static void check_error_code(u32 error)
{
	check_started();
	check_main(switch_next);
	check_nested();
	check(seen_regs[R_SP] == (ulong)&stack_a[255]);
	check(seen.error == error);
}

static void exceptions(void)
{
	u64 gp = *idt_gate(GP), df = *idt_gate(DF), pf = *idt_gate(PF);

	fresh();
	body = skip_fault;
	*idt_gate(GP) = task_gate(SEL_A);
	SWITCH("mov %%ebx, %%ds");
	check_error_code(MAIN_BX & 0xffff);

	fresh();
	body = skip_abort;
	*idt_gate(GP) = gp & ~(PRESENT << 40);
	*idt_gate(DF) = task_gate(SEL_A);
	SWITCH("mov %%ebx, %%ds");
	check_error_code(0);
	*idt_gate(GP) = gp;
	*idt_gate(DF) = df;

	if (!(READ_CR(0) & CR0_PG))
		return;
	fresh();
	body = skip_fault;
	*idt_gate(PF) = task_gate(SEL_A);
	SWITCH("movl %%eax, 0x90000123");
	check_error_code(2);
	check(READ_CR(2) == 0x90000123);
	*idt_gate(PF) = pf;
}

/* an interrupt and an NMI; a second NMI comes only if IRET let it */
static void hard_interrupts(void)
{
	u64 nmi = *idt_gate(NMI);
	int i;

	fresh();
	*idt_gate(0x40) = task_gate(SEL_A);
	apic_icr(0, ICR_SELF | ICR_ASSERT | 0x40);
	SWITCH(TAKE_INTERRUPT);
	apic_eoi();
	check_started();
	check_nested();
	check(seen_regs[R_SP] == (ulong)&stack_a[256]);
	check(back_regs[0] == MAIN_AX && back_regs[6] == MAIN_DI);

	*idt_gate(NMI) = task_gate(SEL_A);
	for (i = 0; i < 2; i++) {
		fresh();
		apic_icr(apic_id(), ICR_NMI | ICR_ASSERT);
		for (ulong n = 0; n < 1000000 && !seen.count; n++)
			pause();
		check_started();
		check_nested();
	}
	*idt_gate(NMI) = nmi;
}

static void with_ldt(void)
{
	fresh();
	a.ldt = SEL_LDT;
	a.fs = LDT_DATA;
	CALL;
	check_started();
	check_main(switch_next);
	check_nested();
	check(seen.ldt == SEL_LDT && seen.fs_word == ldt_word);
	asm volatile("sldt %0" : "=r"(seen.ldt) : : "memory");
	check(!seen.ldt);
}

/* L0..L3 and LE go off, G1 and the rest stay; nothing runs at those addresses */
static void breakpoints(void)
{
	fresh();
	WRITE_DR(0, 0xf0000000);
	WRITE_DR(1, 0xf0000010);
	WRITE_DR(7, 0x409);
	CALL;
	check((seen.dr7 & 0xffff) == 0x408);
	WRITE_DR(7, 0x400);
	check_main(switch_next);
}

static volatile u32 db_ip, db_dr6;

static void on_debug(struct frame *f)
{
	db_ip = f->ip;
	db_dr6 = READ_DR(6);
	WRITE_DR(6, 0xffff0ff0);
}

static void trap_bit(void)
{
	fresh();
	a.trap = 1;
	db_ip = 0;
	WRITE_DR(6, 0xffff0ff0);
	handlers[DB] = on_debug;
	CALL;
	handlers[DB] = 0;
	check_started();
	check_main(switch_next);
	check(db_ip == (ulong)task_entry);
	check((db_dr6 & (DR6_BT | 0x400f)) == DR6_BT);
}

/* ---- tasks in ring 3 and in virtual-8086 mode ------------------------------------- */

static volatile struct frame user_frame;
static volatile u32 user_v86[4];		/* ES, DS, FS, GS */

static void on_user(struct frame *f)
{
	user_frame = *f;
	if (f->flags & FLAG_VM)
		for (int i = 0; i < 4; i++)
			user_v86[i] = (&f->user_ss)[1 + i];
	asm volatile("ljmp *far_back");
}

extern char user_entry[], v86_entry[];
asm(".text\n"
    "user_entry:\tint $0x92\n\t"
    "ud2\n\t"
    ".balign 16\n"
    "v86_entry:\tint $0x92\n\t"
    "ud2\n");

static void rings(void)
{
	u32 seg = (ulong)v86_entry >> 4;

	handlers[0x92] = on_user;
	fresh();
	a.eip = (ulong)user_entry;
	a.cs = SEL_USER32;
	a.ss = a.ds = a.es = a.fs = a.gs = SEL_USER_DATA;
	a.sp = 0x1230;
	JUMP;
	check_main(switch_next);
	check(user_frame.cs == SEL_USER32);
	check(user_frame.ip == (ulong)user_entry + 2);
	check(user_frame.user_sp == 0x1230 && user_frame.user_ss == SEL_USER_DATA);
	check((u16)user_frame.ds == SEL_USER_DATA && user_frame.ax == 0xb0);
	check(!(user_frame.flags & FLAG_VM));

	fresh();
	a.eip = 0;
	a.cs = seg;
	a.eflags = 2 | FLAG_VM | FLAG_IOPL3;
	a.ss = 0x1111;
	a.es = 0x2222;
	a.ds = 0x3333;
	a.fs = 0x4444;
	a.gs = 0x5555;
	a.sp = 0x6666;
	JUMP;
	check_main(switch_next);
	check((u16)user_frame.cs == seg && user_frame.ip == 2);
	check(user_frame.flags & FLAG_VM);
	check(user_frame.user_sp == 0x6666 && (u16)user_frame.user_ss == 0x1111);
	check((u16)user_v86[0] == 0x2222 && (u16)user_v86[1] == 0x3333);
	check((u16)user_v86[2] == 0x4444 && (u16)user_v86[3] == 0x5555);
	handlers[0x92] = 0;
}

/* ---- 16-bit TSS ------------------------------------------------------------------- */

static void tss16(void)
{
	fresh();
	a16 = (struct tss16){
		.ip = (ulong)task16_entry, .flags = 2, .ax = 0xb0, .cx = 0xb1,
		.dx = 0xb2, .bx = 0xb3, .sp = 0xb4, .bp = 0xb5, .si = 0xb6,
		.di = 0xb7, .es = SEL_DATA, .cs = SEL_CODE32, .ss = SEL_DATA,
		.ds = SEL_DATA,
	};
	check((ulong)task16_entry < 0x10000);
	table[SEL_A16 / 8] = descriptor((ulong)&a16, 43, 0x81, 0);
	far_target.sel = SEL_A16;
	CALL;
	check(seen.count == 1 && seen.tr == SEL_A16);
	check_main(switch_next);
	/* what the upper halves are differs between CPUs */
	check((u16)seen_regs[0] == 0xb0 && (u16)seen_regs[1] == 0xb1);
	check((u16)seen_regs[2] == 0xb2 && (u16)seen_regs[3] == 0xb3);
	check((u16)seen_regs[4] == 0xb4 && (u16)seen_regs[5] == 0xb5);
	check((u16)seen_regs[6] == 0xb6 && (u16)seen_regs[7] == 0xb7);
	check((SEEN_FLAGS & ~0xd5) == (2 | FLAG_NT));
	check(seen.cr3 == READ_CR(3));
	check(a16.link == SEL_MAIN && !(a16.flags & FLAG_NT));
	check(!busy(SEL_A16));
	check(a16.cs == SEL_CODE32 && a16.ip > (ulong)task16_entry);

	/* too short even for this one */
	table[SEL_A16 / 8] = descriptor((ulong)&a16, 42, 0x81, 0);
	check(TRY("lcall *far_target") == TS && last.error == SEL_A16);
}

/* ---- faults before the switch: main stays the task ---------------------------------- */

static void unswitched(int vector, int want, u16 error)
{
	check(vector == want);
	check(last.error == error);
	check(task_register() == SEL_MAIN);
	check(busy(SEL_MAIN) && !busy(SEL_A));
	check(!(READ_CR(0) & CR0_TS));
	check(!seen.count);
}

#define REFUSED(insn, selector, want, error)				\
	do {								\
		far_target.sel = selector;				\
		unswitched(TRY(insn), want, error);			\
	} while (0)

static void refuse_iret(u16 link, int want, u16 error)
{
	main_tss.link = link;
	unswitched(TRY("pushl $0x4002; popfl; iret"), want, error);
	asm volatile("pushl $2; popfl" : : : "cc");
}

static void refused(void)
{
	fresh();
	REFUSED("ljmp *far_target", SEL_GONE, NP, SEL_GONE);
	REFUSED("lcall *far_target", SEL_GONE, NP, SEL_GONE);
	REFUSED("ljmp *far_target", SEL_SHORT, TS, SEL_SHORT);
	REFUSED("lcall *far_target", SEL_SHORT, TS, SEL_SHORT);
	REFUSED("ljmp *far_target", SEL_MAIN, GP, SEL_MAIN);
	REFUSED("lcall *far_target", SEL_MAIN, GP, SEL_MAIN);
	REFUSED("ljmp *far_target", SEL_END, GP, SEL_END);
	REFUSED("ljmp *far_target", SEL_A | 3, GP, SEL_A);
	REFUSED("ljmp *far_target", SEL_GATE_ABSENT, NP, SEL_GATE_ABSENT);
	REFUSED("lcall *far_target", SEL_GATE_TO_GONE, NP, SEL_GONE);
	REFUSED("lcall *far_target", SEL_GATE_TO_DATA, GP, SEL_DATA);

	refuse_iret(SEL_DATA, TS, SEL_DATA);
	refuse_iret(SEL_A, TS, SEL_A);
	refuse_iret(SEL_END, TS, SEL_END);
	table[SEL_SHORT / 8] |= BUSY << 40;
	refuse_iret(SEL_SHORT, TS, SEL_SHORT);
	table[SEL_SHORT / 8] &= ~(BUSY << 40);
	table[SEL_GONE / 8] |= BUSY << 40;
	refuse_iret(SEL_GONE, NP, SEL_GONE);
	table[SEL_GONE / 8] &= ~(BUSY << 40);

	*idt_gate(0x90) = task_gate(SEL_GONE);
	REFUSED("int $0x90", 0, NP, SEL_GONE);
	*idt_gate(0x90) = task_gate(SEL_SHORT);
	REFUSED("int $0x90", 0, TS, SEL_SHORT);
	*idt_gate(0x90) = task_gate(SEL_DATA);
	REFUSED("int $0x90", 0, GP, SEL_DATA);
}

/* ---- faults after it: in the new task, before its first instruction ------------------ */

/*
 * In a task of their own, as the manual wants it: the segments of the one that
 * faulted are not to be trusted. That one is a task by JMP, so that main is free.
 */
static void broken(volatile u32 *field, u32 value, int vector, u32 error)
{
	u64 old[4];
	int i;

	for (i = 0; i < 4; i++) {
		old[i] = *idt_gate(TS + i);
		*idt_gate(TS + i) = task_gate(SEL_FAULT + i * 8);
	}
	*field = value;
	leave_by_jump = 1;
	JUMP;
	for (i = 0; i < 4; i++)
		*idt_gate(TS + i) = old[i];
	check_main(switch_next);
	check(seen.count == 1);
	check(seen.tr == SEL_FAULT + (vector - TS) * 8);
	check(seen.error == error);
	check(seen_regs[R_SP] == (ulong)&stack_fault[255]);
	check(fault_tss[vector - TS].link == SEL_A);
	check(seen.busy_a && !seen.busy_main);
	check(a.ax == 0xb0 && a.di == 0xb0000007);
	/* the selector was loaded, though what it stands for was not */
	if (strict || field != &a.eip)
		check(*field == value);
	if (strict && field != &a.eip)
		check(a.eip == (ulong)task_entry);
	fresh();
}

#define BROKEN(field, value, vector, error)	\
	broken(&a.field, value, vector, error)

static void broken_tasks(void)
{
	fresh();
	BROKEN(ldt, LDT_DATA, TS, LDT_DATA);
	BROKEN(ldt, SEL_END, TS, SEL_END);
	BROKEN(ldt, SEL_DATA, TS, SEL_DATA);
	BROKEN(ldt, SEL_LDT_GONE, TS, SEL_LDT_GONE);
	BROKEN(cs, 0, TS, 0);
	BROKEN(cs, SEL_DATA, TS, SEL_DATA);
	BROKEN(cs, SEL_MAIN, TS, SEL_MAIN);
	BROKEN(cs, SEL_END, TS, SEL_END);
	BROKEN(cs, SEL_USER32 & ~3, TS, SEL_USER32 & ~3);
	BROKEN(cs, SEL_CODE_GONE, NP, SEL_CODE_GONE);
	BROKEN(ss, 0, TS, 0);
	BROKEN(ss, SEL_CODE32, TS, SEL_CODE32);
	BROKEN(ss, SEL_READ, TS, SEL_READ);
	BROKEN(ss, SEL_END, TS, SEL_END);
	BROKEN(ss, SEL_USER_DATA, TS, SEL_USER_DATA & ~3);
	BROKEN(ss, SEL_DATA | 3, TS, SEL_DATA);
	if (strict) {
		BROKEN(ss, SEL_ABSENT, SS, SEL_ABSENT);
		BROKEN(cs, SEL_CONFORMING3, TS, SEL_CONFORMING3);
	}
	BROKEN(ds, SEL_EXECUTE, TS, SEL_EXECUTE);
	BROKEN(es, SEL_MAIN, TS, SEL_MAIN);
	BROKEN(fs, SEL_END, TS, SEL_END);
	BROKEN(gs, LDT_DATA, TS, LDT_DATA);
	BROKEN(ds, SEL_ABSENT, NP, SEL_ABSENT);
	BROKEN(gs, SEL_DATA | 3, TS, SEL_DATA);
	/* beyond the limit of 64 KiB */
	a.cs = SEL_CODE16;
	BROKEN(eip, 0x20000, GP, 0);
}

/* a fault while an event from outside is delivered says so: EXT, SDM 3A 6.13 */
static void external(void)
{
	u64 ts = *idt_gate(TS), gp = *idt_gate(GP), df = *idt_gate(DF);

	if (strict) {
		fresh();
		*idt_gate(0x40) = task_gate(SEL_GONE);
		apic_icr(0, ICR_SELF | ICR_ASSERT | 0x40);
		unswitched(TRY("sti; 773: pause; jmp 773b"), NP, SEL_GONE | 1);
		cli();
		apic_eoi();

		fresh();
		a.ds = SEL_EXECUTE;
		leave_by_jump = 1;
		*idt_gate(0x40) = task_gate(SEL_A);
		*idt_gate(TS) = task_gate(SEL_FAULT);
		free_main = 1;
		apic_icr(0, ICR_SELF | ICR_ASSERT | 0x40);
		SWITCH(TAKE_INTERRUPT);
		*idt_gate(TS) = ts;
		apic_eoi();
		check(seen.count == 1 && seen.tr == SEL_FAULT);
		check(seen.error == (SEL_EXECUTE | 1));
		check(back_regs[0] == MAIN_AX && back_regs[6] == MAIN_DI);
	}
	/* one that follows from another: SDM 3A 6.15, table 6-5 */
	fresh();
	body = skip_abort;
	a.ds = SEL_EXECUTE;
	leave_by_jump = 1;
	*idt_gate(GP) = task_gate(SEL_A);
	*idt_gate(DF) = task_gate(SEL_FAULT);
	free_main = 1;
	SWITCH("mov %%ebx, %%ds");
	*idt_gate(GP) = gp;
	*idt_gate(DF) = df;
	check_main(switch_next);
	check(seen.count == 1 && seen.tr == SEL_FAULT && !seen.error);
	check(fault_tss[0].link == SEL_A && a.link == SEL_MAIN);
}

/* segments that are allowed, though not everyday */
static void odd_tasks(void)
{
	fresh();
	a.es = SEL_READ;
	a.fs = 0;
	a.gs = SEL_USER_DATA;
	table[SEL_READ / 8] &= ~(1ull << 40);
	CALL;
	check_started();
	check_main(switch_next);
	check_nested();
	check(a.es == SEL_READ && !a.fs && a.gs == SEL_USER_DATA);
	if (!strict)
		return;
	/* accessed is set */
	check(table[SEL_READ / 8] >> 40 & 1);
	/* conforming code of a more privileged ring: in ring 3 */
	fresh();
	a.eip = (ulong)user_entry;
	a.cs = SEL_CONFORMING | 3;
	a.ss = a.ds = a.es = a.fs = a.gs = SEL_USER_DATA;
	handlers[0x92] = on_user;
	JUMP;
	handlers[0x92] = 0;
	check(user_frame.cs == (SEL_CONFORMING | 3));
	check(user_frame.user_ss == SEL_USER_DATA);
}

/* ---- paging -------------------------------------------------------------------------- */

/*
 * Identity in 4 KiB pages up to 4 MiB; at 2 GiB one page, another one in each of
 * two sets of tables.
 */
#define TABLES		0x200000
#define TABLES_STRIDE	0x10000
#define WINDOW_PAGE	0x300000

static u32 table_set(int set)
{
	return TABLES + set * TABLES_STRIDE;
}

static volatile u32 *make_32(int set)
{
	u32 base = table_set(set);
	volatile u32 *pd = phys(base), *pt = phys(base + 0x1000);
	volatile u32 *window = phys(base + 0x2000);
	int i;

	pd[0] = (base + 0x1000) | 7;
	pd[0x80000000u >> 22] = (base + 0x2000) | 7;
	for (i = 0; i < 1024; i++)
		pt[i] = i << 12 | 7;
	window[0] = (WINDOW_PAGE + set * 0x1000) | 7;
	return pt;
}

static volatile u64 *make_pae(int set)
{
	u32 base = table_set(set);
	volatile u64 *pdpt = phys(base), *pd = phys(base + 0x1000);
	volatile u64 *pt = phys(base + 0x2000), *window_pd = phys(base + 0x4000);
	volatile u64 *window = phys(base + 0x5000);
	int i;

	pdpt[0] = (base + 0x1000) | 1;
	pdpt[1] = 0;
	pdpt[2] = (base + 0x4000) | 1;
	pdpt[3] = 0;
	pd[0] = (base + 0x2000) | 7;
	pd[1] = (base + 0x3000) | 7;
	for (i = 0; i < 1024; i++)
		pt[i] = i << 12 | 7;
	window_pd[0] = (base + 0x5000) | 7;
	window[0] = (WINDOW_PAGE + set * 0x1000) | 7;
	return pt;
}

static void paging_on(u32 cr4)
{
	WRITE_CR(3, table_set(0));
	WRITE_CR(4, cr4);
	WRITE_CR(0, READ_CR(0) | CR0_PG);
}

static void paging_off(void)
{
	int i;

	WRITE_CR(0, READ_CR(0) & ~CR0_PG);
	WRITE_CR(4, 0);
	for (i = 0; i < 2 * TABLES_STRIDE / 4; i++)
		WRITE((u32 *)phys(TABLES) + i, 0);
}

/* each task has its own page at 2 GiB */
static void other_cr3(void)
{
	fresh();
	a.cr3 = table_set(1);
	WRITE((u32 *)phys(WINDOW_PAGE), 0xcafe);
	WRITE((u32 *)phys(WINDOW_PAGE + 0x1000), 0xbeef);
	main_tss.cr3 = table_set(0);
	check(READ((u32 *)phys(0x80000000)) == 0xcafe);
	CALL;
	check_started();
	check_main(switch_next);
	check(seen.cr3 == table_set(1) && seen.window == 0xbeef);
	check(READ_CR(3) == table_set(0));
	check(READ((u32 *)phys(0x80000000)) == 0xcafe);
	/* the same tables again: changed entries show */
	fresh();
	a.cr3 = table_set(1);
	WRITE((u32 *)phys(WINDOW_PAGE + 0x1000), 0xf00d);
	CALL;
	check(seen.window == 0xf00d);
}

/*
 * A TSS across two pages that do not lie side by side, and what happens when one
 * of them is not there, or cannot take the back link: a fault of the old task.
 */
#define STRADDLE	0x310fd0

static void flush_page(u32 page)
{
	asm volatile("invlpg (%0)" : : "r"(page) : "memory");
}

/* pte: the entry of STRADDLE; another one follows after `step` words */
static void straddling(volatile u32 *pte, int step)
{
	volatile struct tss *t = phys(STRADDLE);
	u32 first = STRADDLE & ~0xfff, second = first + 0x1000;
	u32 old = pte[0];

	pte[step] = (first + 0x3000) | 7;
	flush_page(second);
	fresh();
	set_up(t, &stack_a[256]);
	free_tss(SEL_A, t);
	t->eflags |= FLAG_CF;
	CALL;
	check(seen.count == 1 && SEEN_FLAGS & FLAG_CF && SEEN_FLAGS & FLAG_NT);
	check_main(switch_next);
	check(t->link == SEL_MAIN && t->ax != 0xb0 && !(t->eflags & FLAG_NT));

	fresh();
	free_tss(SEL_A, t);
	pte[0] &= ~1;
	flush_page(first);
	unswitched(TRY("lcall *far_target"), PF, 0);
	check((last.cr2 & ~0xfff) == first);
	pte[0] = old;
	pte[step] &= ~1;
	flush_page(first);
	flush_page(second);
	unswitched(TRY("lcall *far_target"), PF, 0);
	check((last.cr2 & ~0xfff) == second);
	pte[step] |= 1;
	flush_page(second);
	if (strict) {
		WRITE_CR(0, READ_CR(0) | CR0_WP);
		pte[0] &= ~2;
		flush_page(first);
		unswitched(TRY("lcall *far_target"), PF, 3);
		check((last.cr2 & ~0xfff) == first);
		WRITE_CR(0, READ_CR(0) & ~CR0_WP);
	}
	pte[0] = old;
	pte[step] = second | 7;
	flush_page(first);
	flush_page(second);
}

static void everything(void)
{
	main_tss.cr3 = READ_CR(3);
	jump(SEL_A);
	jump(SEL_GATE);
	call(SEL_A);
	call(SEL_GATE);
	nest();
	soft_int();
	exceptions();
	hard_interrupts();
	with_ldt();
	breakpoints();
	if (strict)
		trap_bit();
	rings();
	tss16();
	refused();
	broken_tasks();
	external();
	odd_tasks();
}

int main(void)
{
	volatile void *pt;

	puts("tasks\n");
	strict = arg(0);
	apic_enable(1);
	make_tables();
	everything();
	puts("32-bit paging\n");
	pt = make_32(0);
	make_32(1);
	paging_on(CR4_PSE);
	everything();
	other_cr3();
	straddling((volatile u32 *)pt + (STRADDLE >> 12), 1);
	paging_off();
	puts("PAE\n");
	pt = make_pae(0);
	make_pae(1);
	paging_on(CR4_PAE);
	everything();
	other_cr3();
	straddling((volatile u32 *)pt + 2 * (STRADDLE >> 12), 2);
	paging_off();
	return 0;
}
