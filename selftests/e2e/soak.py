#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""End-to-end: many guests at once, under load, for a long time.

    soak.py --kernel VMLINUZ --work DIR [--guests N] [--seconds S]

Each guest copies and checksums memory and says so; none may stall, none may find
a wrong sum, and all memory is back at the end. Half of them are killed, the others
powered off. Runs vmmd from PATH. Prints TAP; exits 0 if nothing failed.
"""
import argparse
import os
import re
import select
import signal
import subprocess
import sys
import time

sys.dont_write_bytecode = True
from initrd import make_initrd  # noqa: E402 (beside this file)

INIT = """
/busybox mkdir /proc /t
/busybox mount -t proc proc /proc
/busybox mount -t tmpfs tmpfs /t
/busybox dd if=/dev/urandom of=/t/a bs=1M count=8 2>/dev/null
want=$(/busybox sha256sum </t/a)
round=0
while :; do
	/busybox cp /t/a /t/b
	/busybox mv /t/b /t/a
	if [ "$(/busybox sha256sum </t/a)" = "$want" ]; then
		echo "round $((round += 1))"
	else
		echo CORRUPT
	fi
done
"""
MEMORY_MB = 128
# Kernel memory that a run may keep for itself: slabs of the host.
KEPT_MB = 16
PATIENCE = 180 * float(os.environ.get("VMM_TIMEOUT_SCALE", "1"))


class Guest:
    def __init__(self, number, args, initrd):
        self.number = number
        self.text = b""
        self.rounds = 0
        self.heard = time.monotonic()
        self.silence = 0.0
        self.process = subprocess.Popen(
            ["vmmd", "run", "--kernel", args.kernel, "--initrd", initrd, "--net", "none",
             "--memory", "%dM" % MEMORY_MB, "--cpus", str(1 + number % 2), "--grace", "0",
             "--name", "soak%d" % number, "--append", "console=ttyS0 quiet"],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    def listen(self):
        """Take what it said; an exception if that is not what it should."""
        data = os.read(self.process.stdout.fileno(), 65536)
        if not data:
            raise AssertionError("guest %d ended: %r" % (self.number, self.text[-500:]))
        self.text = (self.text + data)[-4000:]
        if b"CORRUPT" in self.text or b"panic" in self.text or b"vmmd:" in self.text:
            raise AssertionError("guest %d: %r" % (self.number, self.text[-500:]))
        found = re.findall(rb"round (\d+)\r?\n", self.text)
        if found and int(found[-1]) > self.rounds:
            now = time.monotonic()
            if self.rounds:
                self.silence = max(self.silence, now - self.heard)
            self.rounds = int(found[-1])
            self.heard = now


def available_mb():
    """What could be had, and what lies on the lists of free pages that each CPU keeps:
    MemAvailable leaves them out, and they take up to 40 MiB for a CPU of the lab's."""
    with open("/proc/sys/vm/drop_caches", "w", encoding="ascii") as f:
        f.write("3")
    with open("/proc/meminfo", encoding="ascii") as f:
        available = int(re.search(r"MemAvailable:\s+(\d+)", f.read()).group(1))
    with open("/proc/zoneinfo", encoding="ascii") as f:
        on_lists = sum(map(int, re.findall(r"^ +count: (\d+)$", f.read(), re.M)))
    return (available >> 10) + (on_lists * os.sysconf("SC_PAGE_SIZE") >> 20)


def run(guests, seconds):
    """Until all have done a round, and for so many seconds more."""
    by_fd = {g.process.stdout.fileno(): g for g in guests}
    end = None
    while end is None or time.monotonic() < end:
        ready, _, _ = select.select(list(by_fd), [], [], 1)
        for fd in ready:
            by_fd[fd].listen()
        now = time.monotonic()
        for g in guests:
            if now - g.heard > PATIENCE * (1 if g.rounds else len(guests)):
                raise AssertionError("guest %d stalls in round %d: nothing for %d s" %
                                     (g.number, g.rounds, now - g.heard))
        if end is None and all(g.rounds for g in guests):
            end = now + seconds
            print("# all run", flush=True)


def finish(guests):
    for g in guests:
        g.process.send_signal(signal.SIGKILL if g.number % 2 else signal.SIGTERM)
    for g in guests:
        g.process.communicate()
        want = -signal.SIGKILL if g.number % 2 else 4
        if g.process.returncode != want:
            raise AssertionError("guest %d: exit status %d, wanted %d" %
                                 (g.number, g.process.returncode, want))


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kernel", required=True)
    parser.add_argument("--work", required=True)
    parser.add_argument("--guests", type=int, default=16)
    parser.add_argument("--seconds", type=int, default=600)
    args = parser.parse_args()
    initrd = os.path.join(args.work, "soak-initrd")
    make_initrd(initrd, INIT)
    print("TAP version 13\n1..2", flush=True)
    before = available_mb()
    guests = [Guest(n, args, initrd) for n in range(args.guests)]
    failed = 0
    name = "%d guests run for %d seconds, none stalls, none is corrupted" % (
        args.guests, args.seconds)
    try:
        run(guests, args.seconds)
        finish(guests)
        print("# rounds %s; longest silence %.0f s" % (
            " ".join(str(g.rounds) for g in guests), max(g.silence for g in guests)))
        print("ok 1 - " + name, flush=True)
    except AssertionError as error:
        failed += 1
        print("not ok 1 - %s\n# %s" % (name, error), flush=True)
        for g in guests:
            g.process.kill()
            g.process.wait()
    kept = before - available_mb()
    name = "all their memory is back"
    failed += kept > KEPT_MB
    print("%s 2 - %s\n# %d MiB kept of %d" % ("not ok" if kept > KEPT_MB else "ok", name, kept,
                                             args.guests * MEMORY_MB), flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
