#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""End-to-end: a guest that checks its memory is saved, restored and cloned.

    snapshot.py --kernel VMLINUZ --work DIR

Runs vmmd (from PATH) on the kernel and an initial RAM file system made here of
busybox. Prints TAP; exits 0 if nothing failed.
"""
import argparse
import json
import os
import re
import subprocess
import sys

sys.dont_write_bytecode = True
from console import SCALE, Console  # noqa: E402 (beside this file)
from initrd import make_initrd  # noqa: E402

# 24 MiB that must never change, and one that changes all the time, with its sum.
INIT = """/busybox mkdir /proc /dev
/busybox mount -t devtmpfs dev /dev
/busybox mount -t proc proc /proc
/busybox dd if=/dev/urandom of=/still bs=1M count=24 2>/dev/null
want=$(/busybox md5sum </still)
n=0
while :; do
	n=$((n + 1))
	/busybox dd if=/dev/urandom of=/moving bs=1M count=1 2>/dev/null
	moving=$(/busybox md5sum </moving)
	[ "$want" = "$(/busybox md5sum </still)" ] || echo "BAD still"
	[ "$moving" = "$(/busybox md5sum </moving)" ] || echo "BAD moving"
	echo "count $n up $(/busybox cut -d. -f1 /proc/uptime)"
done
"""
TIMEOUT = 120
COUNT = r"count (\d+) up (\d+)\r*\n"
FATAL = "BAD|Kernel panic|BUG|clocksource.*unstable"


class Guest:
    """A machine on a console of its own, that counts."""

    def __init__(self, test, argv):
        self.con = Console(["vmmd"] + argv, test.transcript)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.con.close()

    def count(self, at_least=0):
        """The next count that is that much; all before it in their order."""
        last = None
        while True:
            _, match = self.con.wait_for(COUNT, TIMEOUT, fatal=FATAL)
            n = int(match.group(1))
            if last is not None and n != last + 1:
                raise AssertionError("count %d after %d" % (n, last))
            if n >= at_least:
                return n
            last = n


class Test:
    def __init__(self, args, initrd):
        self.dir = args.work
        self.transcript = os.path.join(args.work, "snapshot.txt")
        self.run = ["run", "--kernel", args.kernel, "--initrd", initrd, "--memory", "192M",
                    "--cpus", "2", "--append", "console=ttyS0 quiet", "--name", "one"]

    def path(self, name):
        return os.path.join(self.dir, name)


def vmmd(*argv, wanted=0):
    p = subprocess.run(["vmmd", *argv], stdin=subprocess.DEVNULL, capture_output=True,
                       text=True, timeout=TIMEOUT * SCALE)
    if p.returncode != wanted:
        raise AssertionError("vmmd %s: exit status %d, %r" % (" ".join(argv), p.returncode, p.stderr))
    return p.stdout + p.stderr


def saves(test):
    """Whole and difference, of a guest that goes on in between and after."""
    with Guest(test, test.run) as guest:
        before = guest.count(2)
        print("# " + vmmd("snapshot", "one", test.path("whole")).strip())
        middle = guest.count(before + 2)
        print("# " + vmmd("snapshot", "one", test.path("diff"), "--diff").strip())
        guest.count(middle + 2)
        vmmd("kill", "one")
    whole, diff = (os.path.getsize(test.path(f)) for f in ("whole", "diff"))
    if diff > whole / 2:
        raise AssertionError("a difference of %d bytes to %d" % (diff, whole))
    return before, middle


def goes_on(test, name, at, *options):
    with Guest(test, ["restore", test.path(name), "--name", "two", *options]) as guest:
        n = guest.count()
        if not at <= n <= at + 4:
            raise AssertionError("count %d, the snapshot was taken after %d" % (n, at))
        guest.count(n + 4)
        vmmd("kill", "two")


def saved_when_restored(test, at):
    """At once, while most of the memory is still in the file."""
    with Guest(test, ["restore", test.path("whole"), "--name", "two"]) as guest:
        vmmd("snapshot", "two", test.path("again"))
        guest.count(at + 3)
        vmmd("kill", "two")
    goes_on(test, "again", at)


def clones(test, at):
    vmmd("clone", test.path("whole"), "-n", "3", "--name", "copy")
    names = [vm["name"] for vm in json.loads(vmmd("list", "--json"))]
    if sorted(names) != ["copy-1", "copy-2", "copy-3"]:
        raise AssertionError("list says %r" % names)
    for name in names:
        with Console(["vmmd", "console", name], test.transcript) as con:
            first = int(con.wait_for(COUNT, TIMEOUT, fatal=FATAL)[1].group(1))
            con.wait_for("count %d " % (first + 2), TIMEOUT, fatal=FATAL)
        vmmd("kill", name)


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
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kernel", required=True)
    parser.add_argument("--work", required=True)
    args = parser.parse_args()
    os.environ["VMMD_RUNTIME_DIR"] = os.path.join(args.work, "run")
    os.makedirs(args.work, exist_ok=True)
    initrd = os.path.join(args.work, "initrd")
    make_initrd(initrd, INIT)
    test = Test(args, initrd)
    counts = []
    tests = [
        ("a running machine is saved, and what changed since", lambda: counts.extend(saves(test))),
        ("it goes on where it was, its memory read as it is touched",
         lambda: goes_on(test, "whole", counts[0])),
        ("or read before", lambda: goes_on(test, "whole", counts[0], "--load-all")),
        ("from a difference, too", lambda: goes_on(test, "diff", counts[1])),
        ("and is saved again before it is all there", lambda: saved_when_restored(test, counts[0])),
        ("three clones go on from it", lambda: clones(test, counts[0])),
        ("a truncated one is refused", lambda: refuses(test, lambda d: d[:-100], "no snapshot")),
        ("a flipped bit is found", lambda: refuses(test, flipped, "section .*damaged|unpacked")),
    ]
    print("TAP version 13\n1..%d" % len(tests), flush=True)
    failed = 0
    for number, (name, run) in enumerate(tests, 1):
        try:
            run()
            print("ok %d - %s" % (number, name), flush=True)
        except Exception as error:  # whatever it is, the next test can run
            failed += 1
            print("not ok %d - %s" % (number, name), flush=True)
            print("# " + str(error).replace("\n", "\n# "), flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
