#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""End-to-end: a guest moves again and again, and never stands still for longer than
was promised.

    promise.py --kernel VMLINUZ --load FILE --work DIR [--moves N]

FILE is the program of scripts/bench.d/load.c, which writes to memory at a rate that
it is told. The times mean something in a lab that counts instructions. A move may
give up, and leave the machine where it is: that breaks no promise, and is told. Runs
vmmd from PATH. Prints TAP; exits 0 if nothing failed.
"""
import os
import re
import shutil
import sys
import time

sys.dont_write_bytecode = True
from console import Console, ConsoleError  # noqa: E402 (beside this file)
from counting import TIMEOUT, arguments, run_vmmd, vmmd  # noqa: E402
from initrd import make_initrd  # noqa: E402
from tap import run_tests  # noqa: E402

INIT = """/busybox mkdir /proc
/busybox mount -t proc proc /proc
/busybox mount -t devtmpfs dev /dev
exec </dev/console >/dev/console 2>&1
/busybox stty -echo
exec /load memory USED
"""
FATAL = "Kernel panic|BUG|clocksource.*unstable"
BANDWIDTH = 32 << 10        # KiB/s, of which a guest that is busy writes half


class Test:
    def __init__(self, args):
        self.dir = args.work
        self.args = args
        self.transcript = self.path("promise.txt")

    def path(self, name):
        return os.path.join(self.dir, name)

    def guest(self, memory, used):
        """A machine of so many MiB of memory, of which so many are in use."""
        make_initrd(self.path("initrd"), INIT.replace("USED", str(used)),
                    files={"load": self.args.load})
        guest = Console(["vmmd", "run", "--kernel", self.args.kernel, "--initrd",
                         self.path("initrd"), "--memory", "%dM" % memory, "--append",
                         "console=ttyS0 quiet", "--net", "none", "--name", "m0"],
                        self.transcript)
        try:
            guest.wait_for("filled", TIMEOUT, fatal=FATAL)
        except ConsoleError:
            guest.close()
            raise
        return guest

    def receive(self, name):
        guest = Console(["vmmd", "receive", "unix:" + self.path("sock"), "--name", name],
                        self.transcript)
        deadline = time.monotonic() + TIMEOUT
        while not os.path.exists(self.path("sock")):
            if time.monotonic() > deadline:
                raise AssertionError("vmmd receive does not listen")
            time.sleep(0.05)
        return guest


def tell(guest, line):
    """What the guest is to do from now on; it says that it does."""
    guest.line(line)
    guest.wait_for("here", TIMEOUT, fatal=FATAL)


class Tally:
    """What the moves were promised, and what came of it."""

    def __init__(self, promise):
        self.promise = promise
        self.stood, self.predicted, self.stayed = [], [], []

    def add(self, said):
        match = re.search(r"stood still for ([\d.]+) ms \(([\d.]+) predicted\)", said)
        self.stood.append(float(match.group(1)))
        self.predicted.append(float(match.group(2)))

    def over(self):
        return sum(ms > self.promise for ms in self.stood)

    def tell(self):
        print("# %d moved, %d over %g ms, %d stayed" % (
            len(self.stood), self.over(), self.promise, len(self.stayed)))
        for said in self.stayed:
            print("# stayed: " + said)
        if self.stood:
            stood = sorted(self.stood)
            print("# stood still: median %.1f ms, most %.1f; predicted: median %.1f" % (
                stood[len(stood) // 2], stood[-1],
                sorted(self.predicted)[len(stood) // 2]), flush=True)


def moves(test, promise, busy, memory, used, *options):
    """`busy`: what the guest does in between and meanwhile."""
    tally = Tally(promise)
    guest, name = test.guest(memory, used), "m0"
    for n in range(1, test.args.moves + 1):
        with guest:
            tell(guest, busy)
            time.sleep(0.3)
            target, new = test.receive("m%d" % n), "m%d" % n
            p = run_vmmd("migrate", name, "unix:" + test.path("sock"), "--downtime",
                         str(promise), *options)
            said = (p.stdout + p.stderr).strip()
            print("# %s" % said, flush=True)
            if p.returncode:
                target.wait(TIMEOUT)
                target.close()
                tally.stayed.append(said)
                tell(guest, busy)
                continue
            tally.add(said)
            if guest.wait(TIMEOUT):
                raise AssertionError("the source ended with status %d" % guest.wait(0))
        guest, name = target, new
    with guest:
        tell(guest, busy)
        vmmd("kill", name)
    tally.tell()
    if tally.over():
        raise AssertionError("%d of %d moves took longer than was promised" % (
            tally.over(), len(tally.stood)))
    if not tally.stood:
        raise AssertionError("it never moved")


def read_ahead(args):
    """What is read while a clock runs out: an idle lab's leaps until the file has come."""
    vmmd("--help")
    shutil.copy(args.kernel, os.path.join(args.work, "vmlinuz"))
    args.kernel = os.path.join(args.work, "vmlinuz")


def main():
    args = arguments(__doc__, ("--load", dict(required=True)),
                     ("--moves", dict(type=int, default=100)))
    read_ahead(args)
    test = Test(args)
    return run_tests([
        ("an idle guest of 1 GiB stands still for 10 ms at most, in %d moves" % args.moves,
         lambda: moves(test, 10, "idle", 1024, 8)),
        ("one that writes half of what the link takes for 50 ms at most",
         lambda: moves(test, 50, "dirty %d" % (BANDWIDTH // 2), 192, 24,
                       "--bandwidth", "%dK" % BANDWIDTH)),
    ])


if __name__ == "__main__":
    sys.exit(main())
