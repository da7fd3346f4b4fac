# SPDX-License-Identifier: GPL-2.0
"""Figures of guests that are saved, restored, cloned and moved, in milliseconds of
the lab's clock."""

import collections
import itertools
import os
import re
import subprocess
import time

from common import Failure, idle, say, wait_for_file
from console import Console
from linux import LOAD, MINI
from memory import Group
from qmp import Qmp
from stacks import VMMD, run
from trace import First

INITRD = "/tmp/move.initrd"
SAVED, DIFF = "/tmp/saved", "/tmp/diff"
SOCKET = "/tmp/move.sock"
RAM = "/tmp/ram"            # of QEMU's clones
MOVES = 5
DELTA = 57 << 10            # KiB
BANDWIDTH = 32 << 20        # bytes/s, of which a guest that is busy writes half
CLONES = 25
FEW = 5                     # of QEMU, as each takes long to begin
SETTLE = 1                  # s


class Guest(Console):
    """A machine in which the load program has so many MiB of memory in use."""

    def prepare(self, used):
        self.expect("VMM-INIT")
        self.type("stty -echo; /load memory %d\n" % used)
        self.expect("filled")
        return self

    def tell(self, line):
        """What it is to do from now on; it says that it does."""
        self.type(line + "\n")
        self.expect("here")


def make_initrd():
    """The smallest guest's, and the load program in front."""
    run("sh", "-c", "cd %s && echo load | cpio --quiet -o -H newc | cat - %s >%s" % (
        os.path.dirname(LOAD), os.path.realpath(MINI + "initrd"), INITRD))


# What a machine starts, and in which network it is: its MAC address, and tap devices
# that it has by turns.
Boot = collections.namedtuple("Boot", "kernel initrd append mac taps", defaults=(None, ()))
MEMORY_BOOT = Boot(MINI + "vmlinuz", INITRD, "console=ttyS0 loglevel=4 then=shell")


def said(pattern, *command):
    """What a command of vmmd says of the milliseconds."""
    p = subprocess.run([VMMD, *command], stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if p.returncode:
        raise Failure("'vmmd %s': %s" % (" ".join(command), p.stderr.strip()))
    say(p.stderr.strip())
    return float(re.search(pattern, p.stderr)[1])


STOOD = r"stood still for ([\d.]+) ms"


class OurMoves:
    """vmmd's. Each machine has another name."""

    entry = "vmm/vmm_entry"
    names = 0

    def __init__(self, boot):
        self.boot, self.taps = boot, itertools.cycle(boot.taps)

    @classmethod
    def name(cls):
        cls.names += 1
        return "move%d" % cls.names

    def net(self):
        return ["--net", "tap=" + next(self.taps)] if self.boot.taps else ["--net", "none"]

    def start(self, size):
        name, boot = self.name(), self.boot
        mac = ["--mac", boot.mac] if boot.mac else []
        guest = Guest([VMMD, "run", "--kernel", boot.kernel, "--initrd", boot.initrd, "--append",
                       boot.append, *self.net(), *mac, "--memory", "%dM" % size, "--name", name])
        guest.name = name
        return guest

    def pause(self, guest):
        """The time that it stands still while what it wrote is saved."""
        said(STOOD, "snapshot", guest.name, SAVED)
        guest.tell("write %d" % DELTA)
        return said(STOOD, "snapshot", guest.name, DIFF, "--diff")

    def save(self, guest):
        said(STOOD, "snapshot", guest.name, SAVED)
        guest.kill()

    def restore(self, _):
        return Guest([VMMD, "restore", SAVED, "--name", self.name()])

    def template(self, _, size, used):
        guest = self.start(size).prepare(used)
        self.save(guest)

    def clones(self, group, _, count):
        """What ends them."""
        run(*group.command([VMMD, "clone", SAVED, "-n", str(count), "--name", "clone"]))
        return lambda: [run(VMMD, "kill", "clone-%d" % n) for n in range(1, count + 1)]

    def move(self, guest, _, downtime, bandwidth=0):
        """Where it is then, and how long it stood still."""
        name = self.name()
        there = Guest([VMMD, "receive", "unix:" + SOCKET, *self.net(), "--name", name])
        there.name = name
        wait_for_file(SOCKET)
        limit = ["--bandwidth", str(bandwidth)] if bandwidth else []
        ms = said(STOOD, "migrate", guest.name, "unix:" + SOCKET, "--downtime", str(downtime),
                  *limit)
        guest.kill()
        return there, ms


class KvmMoves:
    """QEMU's."""

    entry = "kvm/kvm_entry"
    machines = 0

    def __init__(self, stack, boot):
        self.stack, self.boot, self.taps = stack, boot, itertools.cycle(boot.taps)

    def machine(self, size, *options):
        KvmMoves.machines += 1
        path = "/tmp/qmp%d" % KvmMoves.machines
        net = self.stack.net(next(self.taps), self.boot.mac) if self.boot.taps else []
        command = self.stack.machine("q35", 1, size) + net + [
            "-kernel", self.boot.kernel, "-initrd", self.boot.initrd, "-append",
            self.boot.append, "-qmp", "unix:%s,server=on,wait=off" % path, *options]
        return command, path

    def start(self, size, *options, group=None):
        command, path = self.machine(size, *options)
        guest = Guest(group.command(command) if group else command)
        guest.qmp = Qmp(path)
        return guest

    def pause(self, guest):
        """It saves no difference, but lets the guest run meanwhile."""
        guest.tell("write %d" % DELTA)
        return guest.qmp.migrate("exec:cat >" + SAVED, 15)

    def save(self, guest):
        guest.qmp.migrate("exec:cat >" + SAVED, 15)
        guest.kill()

    def restore(self, size):
        return Guest(self.machine(size, "-incoming", "exec:cat " + SAVED)[0])

    @staticmethod
    def shared(share):
        return ["-object", "memory-backend-file,id=ram,size=1G,mem-path=%s,share=%s" % (
            RAM, share), "-M", "memory-backend=ram"]

    def template(self, group, size, used):
        guest = self.start(size, *self.shared("on"), group=group).prepare(used)
        guest.qmp.ignore_shared()
        self.save(guest)

    def clones(self, group, size, count):
        guests = []
        for _ in range(count):
            guest = self.start(size, *self.shared("off"), "-incoming", "defer", group=group)
            guest.qmp.ignore_shared()
            guest.qmp.run("migrate-incoming", uri="exec:cat " + SAVED)
            guests.append(guest)
        return lambda: [guest.kill() for guest in guests]

    def move(self, guest, size, downtime, bandwidth=0):
        if os.path.exists(SOCKET):      # the last one's, which nobody hears
            os.remove(SOCKET)
        there = self.start(size, "-incoming", "unix:" + SOCKET)
        wait_for_file(SOCKET)
        ms = guest.qmp.migrate("unix:" + SOCKET, downtime, bandwidth)
        guest.kill()
        return there, ms


def moves_of(stack, boot):
    return OurMoves(boot) if stack.key == "ours" else KvmMoves(stack, boot)


def memory_moves(stack):
    """Of machines that have memory in use, and no network."""
    make_initrd()
    return moves_of(stack, MEMORY_BOOT)


def longest(stack, size, used, busy, downtime, bandwidth=0):
    """Of some moves, each from where the last one came to."""
    moves, stood = memory_moves(stack), []
    guest = moves.start(size).prepare(used)
    for _ in range(MOVES):
        guest.tell(busy)
        time.sleep(0.3)
        guest, ms = moves.move(guest, size, downtime, bandwidth)
        stood.append(ms)
    guest.tell("idle")
    guest.kill()
    say("%s: stood still for %s ms" % (stack.name, stood))
    return max(stood)


def move_idle(stack, _):
    yield "move_idle", longest(stack, 1024, 8, "idle", 10)


def move_dirty(stack, _):
    yield "move_dirty", longest(stack, 256, 24, "dirty %d" % (BANDWIDTH >> 11), 50, BANDWIDTH)


def snap_diff_pause(stack, _):
    moves = memory_moves(stack)
    guest = moves.start(2048).prepare(256)
    yield "snap_diff_pause", moves.pause(guest)
    guest.kill()
    for path in SAVED, DIFF:
        if os.path.exists(path):
            os.remove(path)


def restored(moves, size):
    """Milliseconds until the guest executes its first instruction, and until it
    answers, without those in which programs were looked for on the machine's disk."""
    with First(moves.entry) as first:
        before = idle()
        guest = moves.restore(size)
        guest.tell("spin")
        answer = time.monotonic_ns()
        # which came before: the guest does not sleep
        waited = idle()
    guest.kill()
    if first.instruction() is None:
        raise Failure("wanted %s of a guest that goes on in the trace, found none"
                      % moves.entry)
    entry, instruction, answer = ((ns - waited - guest.start) / 1e6 for ns in (
        first.entry(), first.instruction(), answer))
    say("entered after %.1f ms, went on after %.1f, answered after %.1f; %.1f more were idle"
        % (entry, instruction, answer, (waited - before) / 1e6))
    return instruction, answer


def restore(stack, _):
    moves = memory_moves(stack)
    guest = moves.start(1024).prepare(512)
    guest.tell("spin")
    moves.save(guest)
    # the first finds programs and the file not in memory
    best = min(restored(moves, 1024) for _ in range(3))
    os.remove(SAVED)
    yield "restore_first", round(best[0], 1)
    yield "restore_answer", round(best[1], 1)


def memory_of(moves, count):
    """MiB of so many that have the same memory, the kernel's for them included."""
    with Group() as group:
        moves.template(group, 1024, 512)
        end = moves.clones(group, 1024, count)
        time.sleep(SETTLE)
        found = group.all_kb() / 1024
        end()
        group.wait_empty()
    for path in SAVED, RAM:
        if os.path.exists(path):
            os.remove(path)
    say("memory of %d: %.1f MiB" % (count, found))
    return found


def clones(stack, _):
    moves = memory_moves(stack)
    count = CLONES if stack.key == "ours" else FEW
    one, some = memory_of(moves, 1), memory_of(moves, count)
    yield "clones_25", round(1 + (some / one - 1) * (CLONES - 1) / (count - 1), 3)


PARTS = (
    (("snap_diff_pause",), snap_diff_pause),
    (("restore_first", "restore_answer"), restore),
    (("clones_25",), clones),
    (("move_idle",), move_idle),
    (("move_dirty",), move_dirty),
)
