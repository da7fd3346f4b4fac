/* SPDX-License-Identifier: GPL-2.0 */
/* Trace events: /sys/kernel/tracing/events/vmm. Off, each is a no-op to step over. */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM vmm

#if !defined(VMM_TRACE_H) || defined(TRACE_HEADER_MULTI_READ)
#define VMM_TRACE_H

#include <linux/tracepoint.h>

#include "vmm.h"

#define VMM_SHOW_FACT(name, text)	{ FACT_##name, text },
#define show_fact(kind)							\
	__print_symbolic(kind, VMM_FACT_STATS(VMM_SHOW_FACT) { -1, "?" })

#define show_event(type)						\
	__print_symbolic(type, { VMM_EVENT_INTR, "interrupt" },		\
			 { VMM_EVENT_NMI, "nmi" }, { VMM_EVENT_EXCEPTION, "exception" })

/* before each entry */
TRACE_EVENT(vmm_entry,
	TP_PROTO(struct vmm_vcpu *vcpu),
	TP_ARGS(vcpu),
	TP_STRUCT__entry(
		__field(u64, vm)
		__field(u32, vcpu)
		__field(u64, rip)
		__field(int, offer)
	),
	TP_fast_assign(
		__entry->vm = vcpu->vm->serial;
		__entry->vcpu = vcpu->id;
		__entry->rip = vcpu->rip;
		__entry->offer = vcpu->offer;
	),
	TP_printk("vm %llu vcpu %u rip %#llx offer %d", __entry->vm, __entry->vcpu,
		  __entry->rip, __entry->offer)
);

/* after each exit: why, as counters call it, and what the fact says */
TRACE_EVENT(vmm_exit,
	TP_PROTO(struct vmm_vcpu *vcpu),
	TP_ARGS(vcpu),
	TP_STRUCT__entry(
		__field(u64, vm)
		__field(u32, vcpu)
		__field(u32, kind)
		__field(u64, rip)
		__field(u64, info)
	),
	TP_fast_assign(
		const struct vmm_fact *f = &vcpu->fact;

		__entry->vm = vcpu->vm->serial;
		__entry->vcpu = vcpu->id;
		__entry->kind = f->kind;
		__entry->rip = vcpu->rip;
		__entry->info =
			f->kind == FACT_IO ? f->io.port :
			f->kind == FACT_NPF ? f->npf.gpa :
			f->kind == FACT_MSR ? (u32)vcpu->gpr[VMM_RCX] :
			f->kind == FACT_CPUID ? (u32)vcpu->gpr[VMM_RAX] :
			f->kind == FACT_EXCEPTION ? f->exc.vector :
			f->kind == FACT_UNKNOWN || f->kind == FACT_ENTRY_FAILED ?
			f->raw.code : 0;
	),
	TP_printk("vm %llu vcpu %u %s rip %#llx info %#llx", __entry->vm, __entry->vcpu,
		  show_fact(__entry->kind), __entry->rip, __entry->info)
);

/* the guest got it, or gets it at the entry that follows */
TRACE_EVENT(vmm_inject,
	TP_PROTO(struct vmm_vcpu *vcpu, u8 type, u8 vector, u32 error),
	TP_ARGS(vcpu, type, vector, error),
	TP_STRUCT__entry(
		__field(u64, vm)
		__field(u32, vcpu)
		__field(u8, type)
		__field(u8, vector)
		__field(u32, error)
	),
	TP_fast_assign(
		__entry->vm = vcpu->vm->serial;
		__entry->vcpu = vcpu->id;
		__entry->type = type;
		__entry->vector = vector;
		__entry->error = error;
	),
	TP_printk("vm %llu vcpu %u %s vector %u error %#x", __entry->vm, __entry->vcpu,
		  show_event(__entry->type), __entry->vector, __entry->error)
);

/* result: of vmm_npt_fault */
TRACE_EVENT(vmm_fault,
	TP_PROTO(struct vmm_vcpu *vcpu, u64 gpa, u32 access, int result),
	TP_ARGS(vcpu, gpa, access, result),
	TP_STRUCT__entry(
		__field(u64, vm)
		__field(u32, vcpu)
		__field(u64, gpa)
		__field(u32, access)
		__field(int, result)
	),
	TP_fast_assign(
		__entry->vm = vcpu->vm->serial;
		__entry->vcpu = vcpu->id;
		__entry->gpa = gpa;
		__entry->access = access;
		__entry->result = result;
	),
	TP_printk("vm %llu vcpu %u gpa %#llx access %#x result %d", __entry->vm,
		  __entry->vcpu, __entry->gpa, __entry->access, __entry->result)
);

#endif

#undef TRACE_INCLUDE_PATH
#define TRACE_INCLUDE_PATH .
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_FILE trace
#include <trace/define_trace.h>
