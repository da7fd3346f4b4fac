// SPDX-License-Identifier: GPL-2.0
#include <inttypes.h>

#include "dump.h"
#include "emulate.h"

static const char *const exit_name[] = {
	[VMM_EXIT_NONE]		= "none",
	[VMM_EXIT_IO]		= "port I/O",
	[VMM_EXIT_MMIO]		= "MMIO",
	[VMM_EXIT_FAULT]	= "page fault",
	[VMM_EXIT_WINDOW]	= "interrupt window",
	[VMM_EXIT_EOI]		= "EOI",
	[VMM_EXIT_KICK]		= "kick",
	[VMM_EXIT_SHUTDOWN]	= "shutdown",
	[VMM_EXIT_ENTRY_FAILED]	= "entry failed",
	[VMM_EXIT_UNKNOWN]	= "unknown",
};

static const char *access_name(uint32_t access)
{
	if (access & VMM_ACCESS_FETCH)
		return "fetch";
	return access & VMM_ACCESS_WRITE ? "write" : "read";
}

void dump_exit(FILE *to, const struct vmm_run *run)
{
	uint32_t reason = run->reason;
	const char *name = "?";

	if (reason < sizeof(exit_name) / sizeof(exit_name[0]))
		name = exit_name[reason];
	fprintf(to, "  exit %" PRIu32 " (%s)", reason, name);
	switch (reason) {
	case VMM_EXIT_IO:
		fprintf(to, ": %s%s port 0x%x size %u",
			run->exit.io.in ? "in" : "out",
			run->exit.io.string ? " string" : "",
			run->exit.io.port, run->exit.io.size);
		break;
	case VMM_EXIT_MMIO:
		fprintf(to, ": %s of guest physical 0x%" PRIx64,
			access_name(run->exit.mmio.access),
			(uint64_t)run->exit.mmio.gpa);
		break;
	case VMM_EXIT_FAULT:
		fprintf(to, ": %s of guest physical 0x%" PRIx64 ", error %d",
			access_name(run->exit.fault.access),
			(uint64_t)run->exit.fault.gpa, run->exit.fault.error);
		break;
	default:
		fprintf(to, ": raw code 0x%" PRIx64 " info 0x%" PRIx64
			" 0x%" PRIx64 " event 0x%" PRIx64,
			(uint64_t)run->exit.raw.code,
			(uint64_t)run->exit.raw.info1,
			(uint64_t)run->exit.raw.info2,
			(uint64_t)run->exit.raw.event);
		if (run->reason == VMM_EXIT_ENTRY_FAILED)
			fprintf(to, ": the CPU refuses %.*s", (int)sizeof(run->exit.failed.why),
				run->exit.failed.why);
	}
	fputc('\n', to);
}

static void dump_segments(FILE *to, const struct vmm_sregs *s)
{
	static const char *const name[VMM_NSEG] = {
		"es", "cs", "ss", "ds", "fs", "gs", "ldtr", "tr",
	};
	unsigned int i;

	for (i = 0; i < VMM_NSEG; i++)
		fprintf(to, "  %-4s %04x base %016" PRIx64 " limit %08" PRIx32
			" attr %03x\n", name[i], s->seg[i].selector,
			(uint64_t)s->seg[i].base, s->seg[i].limit,
			s->seg[i].attr);
	fprintf(to, "  gdtr base %016" PRIx64 " limit %04" PRIx32
		"  idtr base %016" PRIx64 " limit %04" PRIx32 "\n",
		(uint64_t)s->gdtr.base, s->gdtr.limit,
		(uint64_t)s->idtr.base, s->idtr.limit);
}

static void dump_code(FILE *to, struct mem *mem, const struct vmm_state *st)
{
	uint8_t code[16];
	char text[96];
	unsigned int i, n;

	n = emu_peek(mem, &st->regs, &st->sregs, code, sizeof(code), text,
		     sizeof(text));
	fprintf(to, "  code");
	for (i = 0; i < n; i++)
		fprintf(to, " %02x", code[i]);
	fprintf(to, "%s  %s\n", n ? "" : " unreadable", text);
}

void dump_state(FILE *to, struct mem *mem, const struct vmm_state *st)
{
	static const char *const name[16] = {
		"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
		"r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15",
	};
	const struct vmm_sregs *s = &st->sregs;
	unsigned int i;

	for (i = 0; i < 16; i++)
		fprintf(to, "  %-3s %016" PRIx64 "%s", name[i],
			(uint64_t)st->regs.gpr[i], i % 4 == 3 ? "\n" : "");
	fprintf(to, "  rip %016" PRIx64 "  rflags %08" PRIx64 "\n",
		(uint64_t)st->regs.rip, (uint64_t)st->regs.rflags);
	fprintf(to, "  cr0 %08" PRIx64 "  cr2 %016" PRIx64 "  cr3 %016" PRIx64
		"  cr4 %08" PRIx64 "  cr8 %" PRIx64 "  efer %" PRIx64 "\n",
		(uint64_t)s->cr0, (uint64_t)s->cr2, (uint64_t)s->cr3,
		(uint64_t)s->cr4, (uint64_t)s->cr8, (uint64_t)s->efer);
	dump_segments(to, s);
	fprintf(to, "  event type %u vector %u error 0x%x, nmi %u%s, shadow %u, run state %u\n",
		st->events.type, st->events.vector, st->events.error,
		st->events.nmi_pending,
		st->events.nmi_blocked ? " blocked" : "", st->events.shadow,
		st->events.run_state);
	dump_code(to, mem, st);
}
