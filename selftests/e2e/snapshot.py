#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""End-to-end: a guest that checks its memory, and its disk against that, is saved,
restored and cloned.

    snapshot.py --kernel VMLINUZ --modules DIR --work DIR [--quick | --rounds N]

Runs vmmd (from PATH) on the kernel and an initial RAM file system made here of
busybox and the kernel's modules, which DIR has in lib/modules. --quick does
the half of it, with one CPU, for slow hosts; --rounds nothing but the same again and
again. Prints TAP; exits 0 if nothing failed.
"""
import json
import os
import re
import sys
import time

sys.dont_write_bytecode = True
from console import Console  # noqa: E402 (beside this file)
from counting import (COUNT, FATAL, MODULES, TIMEOUT, Guest, arguments, init,  # noqa: E402
                      names, vmmd)
from initrd import make_initrd  # noqa: E402
from tap import run_tests  # noqa: E402


class Test:
    def __init__(self, args):
        self.dir = args.work
        self.transcript = self.path("snapshot.txt")
        make_initrd(self.path("initrd"), init(4 if args.quick else 24, disk=True), args.modules,
                    MODULES)
        self.run = ["run", "--kernel", args.kernel, "--initrd", self.path("initrd"),
                    "--memory", "128M" if args.quick else "192M", "--cpus", "1" if args.quick else "2",
                    "--append", "console=ttyS0 quiet", "--name", "one",
                    # a port that one machine can have: clones have none
                    "--forward", "tcp:2222:22"]
        with open(self.path("disk"), "wb") as disk:
            disk.truncate(8 << 20)
        self.run.insert(1, self.path("disk"))

    def path(self, name):
        return os.path.join(self.dir, name)


def saves(test):
    """Whole and difference, of a guest that goes on in between and after."""
    with Guest(test.run, test.transcript) as guest:
        before = guest.count(2)
        print("# " + vmmd("snapshot", "one", test.path("whole")).strip())
        # it is busy while it is saved: what it says next may be of before
        middle = guest.latest()
        print("# " + vmmd("snapshot", "one", test.path("diff"), "--diff").strip())
        after = guest.latest()
        guest.count(after + 2)
        vmmd("kill", "one")
    whole, diff = (os.path.getsize(test.path(f)) for f in ("whole", "diff"))
    if diff > whole / 2:
        raise AssertionError("a difference of %d bytes to %d" % (diff, whole))
    return (before, middle), (middle, after)


def goes_on(test, name, at, *options):
    argv = ["restore", test.path(name), "--name", "two", "--discard-disk", *options]
    with Guest(argv, test.transcript) as guest:
        n = guest.count()
        if not at[0] <= n <= at[1] + 1:
            raise AssertionError("count %d, the snapshot was taken from %d to %d" % (n, *at))
        guest.count(n + 4)
        vmmd("kill", "two")
        guest.con.wait(TIMEOUT)
    left = [f for f in os.listdir(test.dir) if f.endswith("two-disk")]
    if left:
        raise AssertionError("%r is left" % left)


def wait_for(name):
    """It is there before it can be asked for anything."""
    for _ in range(100):
        try:
            vmmd("info", name)
            return
        except AssertionError:
            time.sleep(0.1)


def saved_when_restored(test, at):
    """At once, while most of the memory is still in the file."""
    argv = ["restore", test.path("whole"), "--name", "two", "--discard-disk"]
    with Guest(argv, test.transcript) as guest:
        wait_for("two")
        vmmd("snapshot", "two", test.path("again"))
        again = guest.latest()
        guest.count(again + 2)
        vmmd("kill", "two")
        guest.con.wait(TIMEOUT)
    goes_on(test, "again", (at[0], again))


def clones(test):
    vmmd("clone", test.path("whole"), "-n", "3", "--name", "copy", "--discard-disk")
    if names() != ["copy-1", "copy-2", "copy-3"]:
        raise AssertionError("list says %r" % names())
    for name in names():
        with Console(["vmmd", "console", name], test.transcript) as con:
            first = int(con.wait_for(COUNT, TIMEOUT, fatal=FATAL)[1].group(1))
            con.wait_for("count %d " % (first + 2), TIMEOUT, fatal=FATAL)
        vmmd("kill", name)


def again_and_again(test, rounds):
    """Saved, killed, restored from that, and cloned: each goes on from where it was."""
    guest = Guest(test.run, test.transcript)
    guest.count(2)
    older = []
    for n in range(1, rounds + 1):
        name = "round%d" % n
        with guest:
            before = guest.count()
            vmmd("snapshot", "one", test.path(name))
            after = guest.latest()
            guest.count(after + 1)
            vmmd("kill", "one")
            guest.con.wait(TIMEOUT)
        argv = ["clone", test.path(name), "--name", "copy", "--discard-disk"]
        vmmd(*argv, "-n", "1")
        with Console(["vmmd", "console", "copy-1"], test.transcript) as con:
            first = int(con.wait_for(COUNT, TIMEOUT, fatal=FATAL)[1].group(1))
            con.wait_for("count %d " % (first + 1), TIMEOUT, fatal=FATAL)
        vmmd("kill", "copy-1")
        guest = Guest(["restore", test.path(name), "--name", "one"], test.transcript)
        back = guest.count()
        if not (before <= back <= after + 1 and before <= first):
            raise AssertionError("round %d: count %d, and %d of the clone; it was saved from %d to %d"
                                 % (n, back, first, before, after))
        print("# round %d: saved between %d and %d" % (n, before, after), flush=True)
        # the disk of each stands on that of the one before; the memory does not
        if older:
            os.unlink(older.pop())
        older.append(test.path(name))
    with guest:
        vmmd("kill", "one")


def tells(test):
    info = json.loads(vmmd("info", test.path("diff"), "--json"))
    if [p["file"] for p in info["parents"]] != [test.path("whole")] or not info["pages"]:
        raise AssertionError("info says %r" % info)
    if "--name=one" not in vmmd("info", test.path("whole")):
        raise AssertionError("info does not tell the name")


def refuses(test, damage, wanted):
    with open(test.path("whole"), "rb") as f:
        data = bytearray(f.read())
    with open(test.path("bad"), "wb") as f:
        f.write(damage(data))
    said = vmmd("restore", test.path("bad"), "--load-all", wanted=1)
    if not re.search(wanted, said):
        raise AssertionError("said %r, wanted %r" % (said, wanted))


def flipped(data):
    data[len(data) // 2] ^= 1
    return data


def main():
    args = arguments(__doc__, ("--modules", dict(required=True)),
                     ("--quick", dict(action="store_true")),
                     ("--rounds", dict(type=int, default=0)))
    test = Test(args)
    if args.rounds:
        return run_tests([("saved, killed, restored and cloned %d times" % args.rounds,
                           lambda: again_and_again(test, args.rounds))])
    counts = []
    tests = [
        ("a running machine is saved, and what changed since", lambda: counts.extend(saves(test))),
        ("it goes on where it was, its memory read as it is touched",
         lambda: goes_on(test, "whole", counts[0])),
        ("from a difference, too", lambda: goes_on(test, "diff", counts[1])),
        ("info tells what is in them", lambda: tells(test)),
        ("a flipped bit is found", lambda: refuses(test, flipped, "section .*damaged|unpacked")),
    ]
    if not args.quick:
        tests += [
            ("memory is read before", lambda: goes_on(test, "whole", counts[0], "--load-all")),
            ("a machine is saved again before it is all there",
             lambda: saved_when_restored(test, counts[0])),
            ("three clones go on", lambda: clones(test)),
            ("a truncated one is refused", lambda: refuses(test, lambda d: d[:-100], "no snapshot")),
        ]
    return run_tests(tests)


if __name__ == "__main__":
    sys.exit(main())
