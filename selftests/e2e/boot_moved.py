#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""End-to-end: Debian boots while it is saved, restored and moved at random moments.

    boot_moved.py --image build/disk.img --work DIR [--rounds N] [--seed N]
                  [--seconds N]

All that a device is in the middle of has to go along: a firmware call, a request on
its way, an interrupt that was not taken. The rounds are spread over the first so many
seconds, which is how long a boot takes in the lab. Prints TAP; exits 0 if nothing
failed. The seed is printed: it gives the same moments, as far as the host is as fast.
"""
import argparse
import os
import random
import re
import sys
import time

sys.dont_write_bytecode = True
from boot import FATAL  # noqa: E402 (beside this file)
from console import SCALE, Console  # noqa: E402
from counting import vmmd  # noqa: E402
from tap import run_tests  # noqa: E402

BOOT = 600
ENDS = 120
OPTIONS = ["--memory", "512M", "--cpus", "2", "--net", "user", "--console", "stdio"]
# as in boot.py, and what a device says that has lost something
BAD = FATAL + r"|I/O error|soft lockup|rcu.*stall|virtio.*(broken|id \d+ is not a head)|BUG: |nothing to boot"


class Boot:
    def __init__(self, args):
        self.work = args.work
        self.transcript = self.path("console.txt")
        self.rounds = 0
        vmmd("overlay", os.path.abspath(args.image), self.path("disk0"))
        self.con = self.start(["run", self.path("disk0"), *OPTIONS])

    def path(self, name):
        return os.path.join(self.work, name)

    def start(self, argv):
        return Console(["vmmd", *argv, "--name", "r%d" % self.rounds], self.transcript)

    def new_console(self, con):
        self.con.wait(ENDS)
        self.con.close()
        self.con = con

    def moves(self, *options):
        """Its disk stays where it is, and is the other vmmd's then."""
        name, at = "r%d" % self.rounds, "unix:" + self.path("sock")
        self.rounds += 1
        con = self.start(["receive", at, "--console", "stdio"])
        deadline = time.monotonic() + ENDS * SCALE
        while not os.path.exists(self.path("sock")):
            if time.monotonic() > deadline:
                raise AssertionError("vmmd receive does not listen")
            time.sleep(0.05)
        said = vmmd("migrate", name, at, "--downtime", "20000", *options)
        print("# " + said.strip().splitlines()[-1], flush=True)
        self.new_console(con)

    def saved(self):
        """Then killed, and restored."""
        name, file = "r%d" % self.rounds, self.path("saved%d" % self.rounds)
        said = vmmd("snapshot", name, file)
        print("# " + said.strip().splitlines()[-1], flush=True)
        # what it did after that has never been
        vmmd("kill", name)
        self.rounds += 1
        self.new_console(self.start(["restore", file, "--console", "stdio"]))


def boots(args):
    rng = random.Random(args.seed)
    print("# seed %d" % args.seed, flush=True)
    boot = Boot(args)
    moments = sorted(rng.uniform(0, args.seconds) for _ in range(args.rounds))
    begun = time.monotonic()
    kinds = [boot.moves, boot.saved, lambda: boot.moves("--streams", "2")]
    for n, moment in enumerate(moments):
        time.sleep(max(0, begun + moment * SCALE - time.monotonic()))
        kinds[n % len(kinds)]()
    # a getty that had its prompt on an older console says it again
    boot.con.line("")
    boot.con.wait_for(r"(?=login: )", BOOT, BAD)
    boot.con.login("root", args.password, 120)
    status, said = boot.con.run("nproc; systemctl is-system-running --wait; dmesg", 240)
    bad = [line for line in said.splitlines() if re.search(BAD + "|Call Trace", line)]
    if bad or status:
        raise AssertionError("exit status %d, %r" % (status, bad[:5]))
    if said.split()[:2] != ["2", "running"]:
        raise AssertionError("the system is %r" % said.split()[:2])
    # all that was read and written, against what the file system knows of it
    status, said = boot.con.run("head -c 16M /dev/urandom >x && sync && md5sum x >y && "
                                "echo 3 >/proc/sys/vm/drop_caches && md5sum -c y", 240)
    if status or "x: OK" not in said:
        raise AssertionError("%d: %r" % (status, said))
    boot.con.line("poweroff")
    if boot.con.wait(ENDS):
        raise AssertionError("exit status %d" % boot.con.process.returncode)
    # and on the consoles of before
    with open(boot.transcript, encoding="utf-8", errors="replace") as f:
        found = re.search(BAD, f.read())
    if found:
        raise AssertionError("said %r" % found.group())


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--image", required=True)
    parser.add_argument("--work", required=True)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--password", default="vmm")
    args = parser.parse_args()
    os.environ["VMMD_RUNTIME_DIR"] = os.path.join(args.work, "run")
    os.makedirs(args.work, exist_ok=True)
    return run_tests([("Debian boots in %d pieces" % (args.rounds + 1), lambda: boots(args))])


if __name__ == "__main__":
    sys.exit(main())
