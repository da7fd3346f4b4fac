# SPDX-License-Identifier: GPL-2.0
"""Figures from the bench guest: exits, interrupts, faults, and what a VM costs."""

import re

from common import Failure, instructions
from stacks import Bare

ROM = "build/guests/bench.rom"
THP = "/sys/kernel/mm/transparent_hugepage/"
TOUCHED_KB = 32 << 10

EXITS = ("cpuid_exit", "pio_kernel", "pio_user", "virtio_notify", "hlt_wake", "ipi", "timer")
TIMES = 3
COSTS = {"vm_cost_%d" % n: n for n in (1, 4, 16)}


def exits(stack, _):
    bare = Bare(stack.firmware(ROM))
    figures = bare.ask("e")
    bare.off()
    return [(name, figures[name]) for name in EXITS]


def mmio(stack, _):
    bare = Bare(stack.firmware(ROM, ioapic=True))
    figures = bare.ask("e")
    bare.off()
    return [("mmio_user", figures["mmio_user"])]


def set_huge(name, value):
    """The kernel's choice of huge pages; returns the one before."""
    with open(THP + name, "r+", encoding="ascii") as f:
        before = re.search(r"\[(\w+)\]", f.read())[1]
        f.write(value)
    return before


def huge_kb(pid):
    with open("/proc/%d/smaps_rollup" % pid, encoding="ascii") as f:
        return sum(int(line.split()[1]) for line in f
                   if line.startswith(("AnonHugePages:", "ShmemPmdMapped:")))


def fault(stack, letter, huge):
    """The guest writes to all of its memory; "soft dirty" takes write access from
    the process and everything from the hypervisor; then the guest reads."""
    bare = Bare(stack.firmware(ROM))
    bare.ask(letter)
    if huge != (huge_kb(bare.vm.pid) >= TOUCHED_KB):
        raise Failure("wanted guest memory in pages of %s, found %d kB in pages of 2 MiB" % (
            "2 MiB" if huge else "4 KiB", huge_kb(bare.vm.pid)))
    with open("/proc/%d/clear_refs" % bare.vm.pid, "w", encoding="ascii") as f:
        f.write("4")
    figures = bare.ask(" ")
    bare.off()
    return figures.items()


def faults(stack, wanted):
    for name, letter, anonymous, shared in (("fault_4k", "k", "never", "never"),
                                            ("fault_2m", "m", "always", "advise")):
        if name not in wanted:
            continue
        before = set_huge("enabled", anonymous), set_huge("shmem_enabled", shared)
        yield from fault(stack, letter, letter == "m")
        set_huge("enabled", before[0])
        set_huge("shmem_enabled", before[1])


def cost(stack, count):
    """Of one VM, from its process's start to its end, when there are `count`. Each is
    told at once what to do: while it waits it asks again and again."""
    start = instructions()
    machines = []
    for _ in range(count):
        machines.append(Bare(stack.firmware(ROM)))
        machines[-1].tell("w")
    for bare in machines:
        bare.end()
    return round((instructions() - start) / count / 1e6, 1)


def costs(stack, wanted):
    """The least of some times: by how many others a VM is disturbed is chance."""
    for name, count in COSTS.items():
        if name in wanted:
            yield name, min(cost(stack, count) for _ in range(TIMES))


# What makes which rows.
PARTS_EXITS = (
    (EXITS, exits),
    (("mmio_user",), mmio),
)
PARTS = PARTS_EXITS + (
    (("fault_4k", "fault_2m"), faults),
    (tuple(COSTS), costs),
)
