// SPDX-License-Identifier: GPL-2.0
/*
 * From interrupt message to vCPUs: IPIs (SDM 3A 11.6) and MSIs (11.11).
 *
 * Senders take no lock. They look vCPUs up in the VM's table, which only grows
 * while the VM lives, and read the addressing registers of others as they are
 * at this moment, as the bus would.
 */
#include <linux/bitfield.h>
#include <linux/errno.h>
#include <linux/minmax.h>
#include <linux/kvm_para.h>
#include "lapic.h"

/* How the message is addressed after 8-bit broadcasts have become this one */
#define DEST_BROADCAST		0xffffffffU
#define DEST_BROADCAST_XAPIC	0xffU

/* MSI address, SDM 3A 11.11.1; 11:5 extend the ID as KVM's guests know it */
#define MSI_ADDR_BASE		0xfee00000ULL
#define MSI_ADDR_FIXED		(~0ULL << 20)
#define MSI_ADDR_DEST		GENMASK(19, 12)
#define MSI_ADDR_DEST_EXT	GENMASK(11, 5)
#define MSI_ADDR_REMAPPABLE	BIT(4)
#define MSI_ADDR_REDIRECT	BIT(3)
#define MSI_ADDR_LOGICAL	BIT(2)

struct message {
	u32 dest;
	u8 vector;
	u8 delivery;		/* enum lapic_delivery */
	bool logical;
	bool level;
	bool lowest;		/* to one of those that match */
	struct vmm_vcpu *except;
	struct vmm_vcpu *source;	/* whose thread this is, or NULL */
};

static bool match_logical(const struct vmm_vcpu *vcpu, u32 dest)
{
	const struct vmm_lapic *apic = &vcpu->apic;
	u32 ldr = lapic_reg(apic, LAPIC_LDR);

	/* SDM 3A 11.12.10.2: cluster in the upper half, members in the lower */
	if (lapic_x2apic(apic)) {
		ldr = lapic_x2apic_ldr(vcpu->id);
		return ldr >> 16 == dest >> 16 && (ldr & dest & 0xffff);
	}
	/* SDM 3A 11.6.2.2 */
	if (dest > 0xff)
		return false;
	ldr >>= 24;
	if (lapic_reg(apic, LAPIC_DFR) == LAPIC_FLAT_DFR)
		return ldr & dest;
	return ldr >> 4 == dest >> 4 && (ldr & dest & 0xf);
}

static bool matches(const struct vmm_vcpu *vcpu, const struct message *msg)
{
	if (!lapic_enabled(&vcpu->apic) || vcpu == msg->except)
		return false;
	if (msg->dest == DEST_BROADCAST)
		return true;
	if (msg->logical)
		return match_logical(vcpu, msg->dest);
	return vcpu->id == msg->dest;
}

/* 1 if the vCPU's APIC took it */
static int deliver(struct vmm_vcpu *vcpu, const struct message *msg)
{
	switch (msg->delivery) {
	case DELIVER_FIXED:
	case DELIVER_LOWEST:
		/* SDM 3A 11.4.7.2: a software-disabled APIC takes no others */
		if (!lapic_software_enabled(&vcpu->apic))
			return 0;
		/* the sender itself will look before it enters again */
		if (lapic_accept(vcpu, msg->vector, msg->level) && vcpu != msg->source)
			vmm_kick(vcpu);
		return 1;
	case DELIVER_NMI:
		vmm_request(vcpu, REQ_NMI);
		return 1;
	case DELIVER_INIT:
		vmm_request(vcpu, REQ_INIT);
		return 1;
	case DELIVER_SIPI:
		WRITE_ONCE(vcpu->sipi_vector, msg->vector);
		vmm_request(vcpu, REQ_SIPI);
		return 1;
	default:
		/* no SMM here; an ExtINT's vector comes from the monitor's PIC */
		return 0;
	}
}

/*
 * The one with the lowest processor priority. Where that is a tie the vector
 * decides, so that vectors spread over CPUs and each stays where it was.
 */
static struct vmm_vcpu *pick_lowest(struct vmm_vm *vm, const struct message *msg)
{
	u32 top = READ_ONCE(vm->top), first = top ? msg->vector % top : 0;
	struct vmm_vcpu *best = NULL;
	u32 best_ppr = ~0U;
	u32 i;

	for (i = 0; i < top; i++) {
		struct vmm_vcpu *vcpu = vmm_vm_vcpu(vm, (first + i) % top);
		u32 ppr;

		if (!vcpu || !matches(vcpu, msg) || !lapic_software_enabled(&vcpu->apic))
			continue;
		ppr = lapic_ppr(&vcpu->apic) >> 4;
		if (ppr < best_ppr) {
			best = vcpu;
			best_ppr = ppr;
		}
	}
	return best;
}

static int route(struct vmm_vm *vm, const struct message *msg)
{
	struct vmm_vcpu *vcpu;
	int n = 0;
	u32 id;

	if (msg->lowest) {
		vcpu = pick_lowest(vm, msg);
		return vcpu ? deliver(vcpu, msg) : 0;
	}
	if (!msg->logical && msg->dest != DEST_BROADCAST) {
		vcpu = vmm_vm_vcpu(vm, msg->dest);
		return vcpu && matches(vcpu, msg) ? deliver(vcpu, msg) : 0;
	}
	vmm_for_each_vcpu(vm, id, vcpu)
		if (matches(vcpu, msg))
			n += deliver(vcpu, msg);
	return n;
}

/* SDM 3A 11.5.3: a sender keeps vectors below 16 to itself */
static bool bad_vector(const struct message *msg)
{
	return msg->vector < 16 &&
	       (msg->delivery == DELIVER_FIXED || msg->delivery == DELIVER_LOWEST);
}

/*
 * The write of ICR: icr2 is the upper half as the guest wrote it, in the mode
 * that its APIC is in. The trigger mode counts only for INIT (table 11-1), and
 * only to say that it ends, which CPUs since the Pentium 4 ignore.
 */
void lapic_send_ipi(struct vmm_vcpu *source, u32 icr, u32 icr2)
{
	bool x2apic = lapic_x2apic(&source->apic);
	struct message msg = {
		.dest = x2apic ? icr2 : icr2 >> 24,
		.vector = icr & LVT_VECTOR,
		.delivery = FIELD_GET(LVT_DELIVERY, icr),
		.logical = icr & ICR_LOGICAL,
		.source = source,
	};

	if (!x2apic && msg.dest == DEST_BROADCAST_XAPIC)
		msg.dest = DEST_BROADCAST;
	if (bad_vector(&msg)) {
		lapic_log_error(source, ESR_SEND_VECTOR);
		return;
	}
	if (msg.delivery == DELIVER_INIT && (icr & ICR_LEVEL) && !(icr & ICR_ASSERT))
		return;

	vmm_count(source, STAT_IPIS);
	switch (icr & ICR_SHORTHAND) {
	case ICR_TO_SELF:
		deliver(source, &msg);
		return;
	case ICR_TO_OTHERS:
		msg.except = source;
		fallthrough;
	case ICR_TO_ALL:
		msg.dest = DEST_BROADCAST;
		break;
	default:
		msg.lowest = msg.delivery == DELIVER_LOWEST;
	}
	route(source->vm, &msg);
}

int vmm_lapic_msi_check(u64 address, u32 data)
{
	if ((address & MSI_ADDR_FIXED) != MSI_ADDR_BASE || (address & MSI_ADDR_REMAPPABLE))
		return -EINVAL;
	return FIELD_GET(LVT_DELIVERY, data) == DELIVER_NONE ? -EINVAL : 0;
}

/*
 * An MSI as a device writes it. The guest's drivers put address and data
 * together, so reserved bits of the data are ignored as the bus ignores them;
 * an address that is none of an MSI is the monitor's error.
 *
 * -> vCPUs that took it; -EINVAL: not an MSI address, an address of the
 * remappable format, or a delivery mode that does not exist.
 */
int vmm_lapic_msi(struct vmm_vm *vm, u64 address, u32 data)
{
	struct message msg = {
		.dest = FIELD_GET(MSI_ADDR_DEST, address) |
			FIELD_GET(MSI_ADDR_DEST_EXT, address) << 8,
		.vector = data & LVT_VECTOR,
		.delivery = FIELD_GET(LVT_DELIVERY, data),
		.logical = address & MSI_ADDR_LOGICAL,
		.level = data & ICR_LEVEL,
	};

	if (vmm_lapic_msi_check(address, data))
		return -EINVAL;
	if (msg.dest == DEST_BROADCAST_XAPIC)
		msg.dest = DEST_BROADCAST;
	if (msg.delivery == DELIVER_FIXED || msg.delivery == DELIVER_LOWEST)
		msg.lowest = msg.delivery == DELIVER_LOWEST || (address & MSI_ADDR_REDIRECT);
	return route(vm, &msg);
}

/* As with a hypervisor's IPIs to many, the low half of ICR says what, not whither. */
int vmm_lapic_ipis(struct vmm_vm *vm, const u64 *map, u32 bits, u32 first, u32 icr)
{
	struct message msg = {
		.dest = DEST_BROADCAST,
		.vector = icr & LVT_VECTOR,
		.delivery = FIELD_GET(LVT_DELIVERY, icr),
	};
	u32 i, top = READ_ONCE(vm->top);
	int n = 0;

	if (icr & (ICR_LOGICAL | ICR_SHORTHAND) || bad_vector(&msg))
		return -KVM_EINVAL;
	for (i = 0; i < 2 * bits && first + i < top && first + i >= first; i++) {
		struct vmm_vcpu *vcpu;

		if (!(map[i / bits] >> i % bits & 1))
			continue;
		vcpu = vmm_vm_vcpu(vm, first + i);
		if (vcpu && matches(vcpu, &msg))
			n += deliver(vcpu, &msg);
	}
	return n;
}
