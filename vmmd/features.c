// SPDX-License-Identifier: GPL-2.0
/* SDM 2A CPUID, APM 3 appendix E; KVM's in Documentation/virt/kvm/x86/cpuid.rst. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cpuid.h"
#include "features.h"

#define XSAVE_LEAF	0xd
#define XSAVE_LEGACY	576U	/* bytes: the x87's, SSE's and the header */
#define ADDRESS_BITS	"address-bits"

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

static uint32_t *value(struct vmm_cpuid_entry *e, unsigned int reg)
{
	uint32_t *const r[] = { &e->eax, &e->ebx, &e->ecx, &e->edx };

	return r[reg];
}

static uint32_t bits(const struct vmm_cpuid_entry *e, uint32_t count, size_t f)
{
	struct vmm_cpuid_entry *n;

	n = cpuid_find(e, count, features[f].function, features[f].index);
	return n ? *value(n, features[f].reg) & ~features[f].ignore : 0;
}

/* where it is, which is its name to a program, and what people call it */
static int name_bit(size_t f, unsigned int bit, char *text, size_t len)
{
	static const char *const reg[] = { "eax", "ebx", "ecx", "edx" };
	const char *name = features[f].bit[bit];

	return snprintf(text, len, "%x.%x.%s.%u%s%s", features[f].function,
			features[f].index, reg[features[f].reg], bit, name ? " " : "",
			name ? name : "");
}

bool features_missing(const struct vmm_cpuid_entry *given, uint32_t ngiven,
		      const struct vmm_cpuid_entry *host, uint32_t nhost,
		      char *name, size_t len)
{
	uint32_t missing;
	size_t f;

	for (f = 0; f < sizeof(features) / sizeof(*features); f++) {
		missing = bits(given, ngiven, f) & ~bits(host, nhost, f);
		if (missing) {
			name_bit(f, __builtin_ctz(missing), name, len);
			return true;
		}
	}
	return false;
}

int features_print(FILE *to, const struct vmm_cpuid_entry *e, uint32_t count)
{
	char name[80];
	uint32_t left;
	size_t f;

	for (f = 0; f < sizeof(features) / sizeof(*features); f++)
		for (left = bits(e, count, f); left; left &= left - 1) {
			name_bit(f, __builtin_ctz(left), name, sizeof(name));
			if (fprintf(to, "%s\n", name) < 0)
				return -errno;
		}
	return fprintf(to, ADDRESS_BITS " %u\n", cpuid_phys_bits(e, count)) < 0 ? -errno : 0;
}

/* ---- a list of them ------------------------------------------------------- */

struct features {
	uint32_t bits[sizeof(features) / sizeof(*features)];
	unsigned int address_bits;	/* 0: it does not say */
};

/* what name_bit has said, of which the place counts; one that we do not know, too */
static bool take_bit(struct features *l, const char *line)
{
	unsigned int function, index, bit;
	char reg;
	size_t f;

	if (sscanf(line, "%x.%x.e%c" "x.%u", &function, &index, &reg, &bit) != 4 ||
	    reg < 'a' || reg > 'd' || bit > 31)
		return false;
	for (f = 0; f < sizeof(features) / sizeof(*features); f++)
		if (features[f].function == function && features[f].index == index &&
		    features[f].reg == (unsigned int)(reg - 'a'))
			l->bits[f] |= 1U << bit;
	return true;
}

static bool take_line(struct features *l, const char *line)
{
	if (line[strspn(line, " \t\n")] == 0 || line[0] == '#')
		return true;
	if (sscanf(line, ADDRESS_BITS " %u", &l->address_bits) == 1)
		return l->address_bits >= 36 && l->address_bits <= 52;
	return take_bit(l, line);
}

struct features *features_read(const char *path, char *err, size_t errlen)
{
	struct features *l = calloc(1, sizeof(*l));
	FILE *f = l ? fopen(path, "r") : NULL;
	unsigned int n;
	char line[256];

	if (!f) {
		snprintf(err, errlen, "--features %s: %s", path, strerror(errno));
		free(l);
		return NULL;
	}
	for (n = 1; fgets(line, sizeof(line), f); n++)
		if (!take_line(l, line)) {
			line[strcspn(line, "\n")] = 0;
			snprintf(err, errlen, "--features %s: line %u is no feature as vmmd features prints them: '%.60s'",
				 path, n, line);
			free(l);
			l = NULL;
			break;
		}
	fclose(f);
	return l;
}

/* SDM 1, 13.5: what a guest may have in XCR0 says how large the area is at most */
static void fit_xsave(struct vmm_cpuid_entry *e, uint32_t *count)
{
	struct vmm_cpuid_entry *all = cpuid_find(e, *count, XSAVE_LEAF, 0);
	uint32_t size = XSAVE_LEGACY, i, n = 0;

	if (!all)
		return;
	for (i = 0; i < *count; i++) {
		const bool part = e[i].function == XSAVE_LEAF && e[i].index >= 2;

		/* not of XCR0, but of IA32_XSS: bit 0 of ECX */
		if (part && e[i].index < 32 && !(e[i].ecx & 1) &&
		    !(all->eax & 1U << e[i].index))
			continue;
		if (part && !(e[i].ecx & 1) && e[i].ebx + e[i].eax > size)
			size = e[i].ebx + e[i].eax;
		e[n++] = e[i];
	}
	*count = n;
	cpuid_find(e, n, XSAVE_LEAF, 0)->ecx = size;
}

void features_keep(const struct features *l, struct vmm_cpuid_entry *e, uint32_t *count)
{
	struct vmm_cpuid_entry *n;
	size_t f;

	for (f = 0; f < sizeof(features) / sizeof(*features); f++) {
		n = cpuid_find(e, *count, features[f].function, features[f].index);
		if (n)
			*value(n, features[f].reg) &= l->bits[f] | features[f].ignore;
	}
	n = cpuid_find(e, *count, 0x80000008, 0);
	if (n && l->address_bits && (n->eax & 0xff) > l->address_bits)
		n->eax = (n->eax & ~0xffU) | l->address_bits;
	fit_xsave(e, count);
}
