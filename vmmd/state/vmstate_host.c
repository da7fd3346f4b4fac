// SPDX-License-Identifier: GPL-2.0
/*
 * Can a guest that was given these CPUs go on here. Its CPUID table stays as it
 * is: each feature in it must be one that this host's module offers.
 */
#include <errno.h>
#include <stdio.h>

#include "cpuid.h"
#include "state/vmstate_priv.h"

#define TSC_PPM		250ULL	/* further apart, and guests' clocks drift */

enum { EAX, EBX, ECX, EDX };

/* registers whose bits are features, and those bits of them that are not */
static const struct {
	uint32_t function, index;
	uint8_t reg;
	uint32_t ignore;
	const char *bit[32];
} features[] = {
	/* ECX: OSXSAVE follows CR4 */
	{ 1, 0, ECX, 1U << 27, {
		"SSE3", "PCLMULQDQ", "DTES64", "MONITOR", "DS-CPL", "VMX", "SMX",
		"EIST", "TM2", "SSSE3", "CNXT-ID", "SDBG", "FMA", "CMPXCHG16B",
		"xTPR", "PDCM", NULL, "PCID", "DCA", "SSE4.1", "SSE4.2", "x2APIC",
		"MOVBE", "POPCNT", "TSC-deadline", "AES", "XSAVE", "OSXSAVE",
		"AVX", "F16C", "RDRAND", "hypervisor" } },
	/* EDX: APIC follows its base register, HTT is topology */
	{ 1, 0, EDX, 1U << 9 | 1U << 28, {
		"FPU", "VME", "DE", "PSE", "TSC", "MSR", "PAE", "MCE", "CX8",
		"APIC", NULL, "SEP", "MTRR", "PGE", "MCA", "CMOV", "PAT", "PSE-36",
		"PSN", "CLFSH", NULL, "DS", "ACPI", "MMX", "FXSR", "SSE", "SSE2",
		"SS", "HTT", "TM", NULL, "PBE" } },
	{ 6, 0, EAX, 0, { [2] = "ARAT" } },
	{ 7, 0, EBX, 0, {
		"FSGSBASE", "TSC_ADJUST", "SGX", "BMI1", "HLE", "AVX2",
		"FDP_EXCPTN_ONLY", "SMEP", "BMI2", "ERMS", "INVPCID", "RTM", "RDT-M",
		"FCS_FDS", "MPX", "RDT-A", "AVX512F", "AVX512DQ", "RDSEED", "ADX",
		"SMAP", "AVX512_IFMA", NULL, "CLFLUSHOPT", "CLWB", "PT", "AVX512PF",
		"AVX512ER", "AVX512CD", "SHA", "AVX512BW", "AVX512VL" } },
	{ 7, 0, ECX, 1U << 4, {		/* OSPKE follows CR4 */
		"PREFETCHWT1", "AVX512_VBMI", "UMIP", "PKU", "OSPKE", "WAITPKG",
		"AVX512_VBMI2", "CET_SS", "GFNI", "VAES", "VPCLMULQDQ",
		"AVX512_VNNI", "AVX512_BITALG", "TME", "AVX512_VPOPCNTDQ", NULL,
		"LA57", [22] = "RDPID", [25] = "CLDEMOTE", [27] = "MOVDIRI",
		"MOVDIR64B" } },
	{ 7, 0, EDX, 0, {
		[2] = "AVX512_4VNNIW", "AVX512_4FMAPS", "FSRM",
		[10] = "MD_CLEAR", [14] = "SERIALIZE", [26] = "IBRS", "STIBP",
		"L1D_FLUSH", "ARCH_CAPABILITIES", NULL, "SSBD" } },
	{ 7, 1, EAX, 0, {
		[4] = "AVX_VNNI", "AVX512_BF16", [10] = "FZRM", "FSRS", "FSRC",
		[21] = "AMX_FP16", [23] = "AVX_IFMA" } },
	{ 0xd, 0, EAX, 0, {
		"x87 state", "SSE state", "AVX state", "BNDREGS state",
		"BNDCSR state", "opmask state", "ZMM_Hi256 state",
		"Hi16_ZMM state", NULL, "PKRU state" } },
	{ 0xd, 1, EAX, 0, { "XSAVEOPT", "XSAVEC", "XGETBV(1)", "XSAVES", "XFD" } },
	{ 0x40000001, 0, EAX, 0, {
		"KVM clock", "KVM nop I/O delay", NULL, "KVM clock 2", NULL,
		"KVM steal time", "KVM PV EOI", "KVM PV unhalt", NULL,
		"KVM PV TLB flush", NULL, "KVM PV IPI", "KVM poll control",
		"KVM PV yield", [24] = "KVM stable clock" } },
	{ 0x80000001, 0, ECX, 1U << 1, {	/* CmpLegacy is topology */
		"LAHF", "CmpLegacy", "SVM", "ExtApicSpace", "AltMovCr8", "ABM",
		"SSE4A", "MisAlignSse", "3DNowPrefetch", "OSVW", "IBS", "XOP",
		"SKINIT", "WDT", NULL, "LWP", "FMA4", "TCE", [21] = "TBM",
		"TopologyExtensions" } },
	{ 0x80000001, 0, EDX, 1U << 9, {
		[11] = "SYSCALL", [20] = "NX", [22] = "MMXEXT", [25] = "FFXSR",
		"1 GiB pages", "RDTSCP", [29] = "long mode", "3DNowExt", "3DNow" } },
	{ 0x80000007, 0, EDX, 0, { [8] = "invariant TSC" } },
	{ 0x80000008, 0, EBX, 0, { "CLZERO", [2] = "RstrFpErrPtrs",
		[12] = "IBPB", [14] = "IBRS", "STIBP", [24] = "SSBD" } },
	{ 0x80000021, 0, EAX, 0, {
		"NoNestedDataBp", [2] = "LFENCE serializes", [6] = "NullSelClearsBase",
		[8] = "AutoIBRS", [17] = "CpuidUserDis" } },
};

static uint32_t value(const struct vmm_cpuid_entry *e, unsigned int reg)
{
	const uint32_t r[] = { e->eax, e->ebx, e->ecx, e->edx };

	return r[reg];
}

static uint32_t bits(const struct vmm_cpuid_entry *e, uint32_t count, size_t f)
{
	const struct vmm_cpuid_entry *n;

	n = cpuid_find(e, count, features[f].function, features[f].index);
	return n ? value(n, features[f].reg) & ~features[f].ignore : 0;
}

static int check_features(const struct state_cpuid *given,
			  const struct vmm_cpuid_entry *host, uint32_t count,
			  char *err, size_t errlen)
{
	static const char *const reg[] = { "EAX", "EBX", "ECX", "EDX" };
	uint32_t missing;
	unsigned int bit;
	size_t f;

	for (f = 0; f < sizeof(features) / sizeof(*features); f++) {
		missing = bits(given->entry, given->count, f) &
			  ~bits(host, count, f);
		if (!missing)
			continue;
		bit = __builtin_ctz(missing);
		snprintf(err, errlen, "the guest was given the CPU feature %s (CPUID %#x.%u %s bit %u), which this host has not",
			 features[f].bit[bit] ? features[f].bit[bit] : "without a name",
			 features[f].function, features[f].index,
			 reg[features[f].reg], bit);
		return -ENOTSUP;
	}
	return 0;
}

int vmstate_check_host(const struct vmstate *st, const struct vmm_info *info,
		       const struct vmm_cpuid_entry *host, uint32_t count,
		       char *err, size_t errlen)
{
	const struct state_ident *id = &st->ident;
	unsigned int host_bits = cpuid_phys_bits(host, count), given_bits, i;
	int ret;
	uint64_t apart = id->tsc_khz > info->tsc_khz ? id->tsc_khz - info->tsc_khz :
						       info->tsc_khz - id->tsc_khz;

	if (id->vendor != info->vendor) {
		snprintf(err, errlen, "the guest ran on a CPU with %s, this host's has %s: a guest cannot change from one to the other",
			 id->vendor == VMM_VENDOR_VMX ? "VT-x" : "SVM",
			 info->vendor == VMM_VENDOR_VMX ? "VT-x" : "SVM");
		return -ENOTSUP;
	}
	if (apart * 1000000 > info->tsc_khz * TSC_PPM) {
		snprintf(err, errlen, "the guest was given a TSC of %u kHz, this host's has %u: its clocks would run at another speed",
			 id->tsc_khz, info->tsc_khz);
		return -ENOTSUP;
	}
	for (i = 0; i < id->vcpus; i++) {
		given_bits = cpuid_phys_bits(st->cpuid[i].entry, st->cpuid[i].count);
		if (given_bits > host_bits) {
			snprintf(err, errlen, "the guest was given physical addresses of %u bits, this host has %u",
				 given_bits, host_bits);
			return -ENOTSUP;
		}
		ret = check_features(&st->cpuid[i], host, count, err, errlen);
		if (ret)
			return ret;
	}
	return 0;
}
