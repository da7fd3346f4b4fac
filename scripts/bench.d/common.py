# SPDX-License-Identifier: GPL-2.0
"""What the parts of scripts/bench share: the rows, errors, the host's clock."""

import collections
import os
import sys
import time

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.realpath(__file__))))

# title: what both sides do; ratio, most: what the ratio and our own figure should
# not exceed.
Row = collections.namedtuple("Row", "title unit ratio most", defaults=(None, None))

INSTRUCTIONS = "instructions"
GIGA = "10^9 instructions"

ROWS = {
    "cpuid_exit": Row("CPUID", INSTRUCTIONS, 0.4),
    "pio_kernel": Row("OUT to the POST port (KVM: to its own PIC)", INSTRUCTIONS, 0.4),
    "pio_user": Row("port read answered by the monitor (ACPI timer)", INSTRUCTIONS, 0.4),
    "mmio_user": Row("MMIO read answered by the monitor (I/O APIC)", INSTRUCTIONS, 0.4),
    "virtio_notify": Row("notification of a virtio queue, the device's work included",
                         INSTRUCTIONS),
    "hlt_wake": Row("IPI to a CPU in HLT, until it runs", INSTRUCTIONS, 0.6),
    "ipi": Row("IPI of a CPU to itself, until its end", INSTRUCTIONS, 0.6),
    "timer": Row("TSC deadline, from arming to the interrupt's end", INSTRUCTIONS, 0.6),
    "fault_4k": Row("first touch of a 4 KiB page that the host has", INSTRUCTIONS, 0.7),
    "fault_2m": Row("first touch of a 2 MiB page that the host has", INSTRUCTIONS, 0.7),
    "boot_init": Row("start of a kernel to its /init (QEMU: microvm)", GIGA, 0.85),
    "boot_login": Row("start to the login prompt of a Debian disk (QEMU: q35)", GIGA, 0.9),
    "vm_overhead": Row("memory beyond the guest's own, Debian at login", "KiB", most=4096),
    "blk_rand_qd1": Row("virtio-blk, random 4 KiB read", INSTRUCTIONS, 0.7),
    "blk_rand_qd32": Row("virtio-blk, random 4 KiB read, 32 at once", INSTRUCTIONS, 0.7),
    "blk_seq": Row("virtio-blk, sequential 128 KiB read, 8 at once", INSTRUCTIONS, 0.7),
    "net_bulk": Row("virtio-net, 1 MiB to the guest over TCP (vhost-net)", INSTRUCTIONS, 1.0),
    "net_rr": Row("virtio-net, a byte there and back over TCP (vhost-net)", INSTRUCTIONS, 0.8),
    "compute": Row("a computing loop, against the bare host", "times", most=1.01),
    "shell": Row("a loop of processes, against the bare host", "times"),
    "vm_cost_16": Row("a VM from start to end, of 16 at once, the least of 3", "10^6 instructions"),
    "vm_cost_4": Row("a VM from start to end, of 4 at once, the least of 3", "10^6 instructions"),
    "vm_cost_1": Row("a VM from start to end, alone, the least of 3", "10^6 instructions"),
    "snap_diff_pause": Row("a 2 GiB guest (256 MiB in use) stands still while 57 MiB written since "
                           "are saved (QEMU: all of it)", "ms", most=15),
    "restore_first": Row("restore of 1 GiB (512 MiB in use), from its start until the guest "
                         "executes an instruction; the best of 3, without the host's idle time",
                         "ms", most=5),
    "restore_answer": Row("and until the guest answers on its console", "ms"),
    "clones_25": Row("memory of 25 clones of it that wrote nothing, against that of one "
                     "(QEMU: a file that they share, reckoned from 5)", "times", most=1.1),
    "move_idle": Row("an idle guest of 1 GiB stands still when it moves, the longest of 5", "ms",
                     most=10),
    "move_dirty": Row("one that writes 16 MiB/s moves over 32 MiB/s, the longest of 5", "ms",
                      most=50),
    "move_gap": Row("no UDP packet of one each 2 ms, either way, while a guest moves (vhost-net), "
                    "the longest of 5", "ms", most=50),
}


# In the emulated host: what the monitors have to say.
LOG = os.path.join(os.environ.get("OUT", "build/bench"), "monitors.log")


class Failure(Exception):
    """What we wanted and did not get."""


def say(text):
    print("bench: " + text, file=sys.stderr, flush=True)


def idle():
    """Nanoseconds that this host had nothing to do. /proc/stat has them in steps of
    10 ms, which is as much as a thousand reads of a disk take."""
    with open("/proc/timer_list", encoding="ascii") as f:
        return sum(int(line.split(":")[1].split()[0]) for line in f
                   if line.startswith(("  .idle_sleeptime", "  .iowait_sleeptime")))


def instructions():
    """That this host ran: its clock leaps over idle time, and how much of that
    there is depends on how fast the machine reads the disk."""
    # what it takes to ask comes first, and is not in what is measured from here on
    waited = idle()
    return time.monotonic_ns() - waited


class Patience:
    """How long something may take that is waited for. One that spins takes the emulator
    minutes for this many instructions; but for a read of the machine's disk the clock of
    an idle host leaps over as much as it likes."""

    INSTRUCTIONS = 10 * 10**9
    IDLE = 1000 * 10**9

    def __init__(self):
        self.waited, self.executed = idle(), instructions()

    def over(self):
        return (instructions() - self.executed > self.INSTRUCTIONS or
                idle() - self.waited > self.IDLE)

    def __str__(self):
        return "%.0f * 10^9 instructions and %.0f idle seconds" % (
            (instructions() - self.executed) / 1e9, (idle() - self.waited) / 1e9)


def wait_for_file(path):
    patience = Patience()
    while not os.path.exists(path):
        if patience.over():
            raise Failure("there is no %s after %s" % (path, patience))
        time.sleep(0.01)
