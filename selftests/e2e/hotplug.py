#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""End-to-end: two Linux guests with four CPUs each, while a CPU of the host goes and
comes back, again and again.

    hotplug.py --kernel VMLINUZ --work DIR [--times N]

In each guest every CPU has a worker that is bound to it: it computes, checks the
result, sleeps for a moment and counts. After each change all eight must go on, and
neither a guest nor the host may complain. Some of the vCPUs are bound to the CPU that
goes. Runs vmmd from PATH, as root. Prints TAP; exits 0 if nothing failed.
"""
import argparse
import os
import re
import subprocess
import sys
import time

sys.dont_write_bytecode = True
from counting import TIMEOUT, Guest, names, vmmd  # noqa: E402 (beside this file)
from console import SCALE  # noqa: E402
from initrd import make_initrd  # noqa: E402
from tap import run_tests  # noqa: E402

CPUS = 4
BOUND = 2                       # of them, to the host's CPU that goes
GOES = 1
ONLINE = f"/sys/devices/system/cpu/cpu{GOES}/online"
INIT = """/busybox mkdir /proc /sys /t
/busybox mount -t proc proc /proc
/busybox mount -t sysfs sys /sys
/busybox mount -t tmpfs tmpfs /t
/busybox dd if=/dev/urandom of=/t/still bs=64k count=1 2>/dev/null
export want="$(/busybox md5sum </t/still)"
cpu=0
while [ $cpu -lt CPUS ]; do
	echo 0 >/t/$cpu
	cpu=$cpu /busybox taskset $(/busybox printf %x $((1 << cpu))) /busybox sh -c '
		n=0
		while :; do
			[ "$(/busybox md5sum </t/still)" = "$want" ] || echo BAD sum on CPU $cpu
			/busybox usleep 2000
			n=$((n + 1))
			echo $n >/t/new$cpu
			/busybox mv /t/new$cpu /t/$cpu
		done' &
	cpu=$((cpu + 1))
done
n=0
while :; do
	n=$((n + 1))
	/busybox usleep 100000
	read up idle </proc/uptime
	read online </sys/devices/system/cpu/online
	echo "beat $n up $up online $online work $(/busybox cat /t/[0-9] | /busybox tr '\\n' ' ')"
done
""".replace("CPUS", str(CPUS))
BEAT = r"beat (\d+) up ([\d.]+) online (\S+) work ([\d ]+?) *\r*\n"
FATAL = (r"BAD|Kernel panic|BUG|WARNING|[Ll]ockup|LOCKUP|rcu.*(stall|starved|detected)"
         r"|unstable|Call Trace|hung|blocked for more")
# of the host's log; the lab knows more of them
COMPLAINTS = re.compile(FATAL + "|vmm: ")
# a line is read when we come to it, by the host's clock; the guest's may differ as much
LATE = 5 * SCALE


class Beat:
    def __init__(self, match):
        self.n = int(match.group(1))
        self.up = float(match.group(2))
        self.online = match.group(3)
        self.work = [int(n) for n in match.group(4).split()]
        self.heard = time.monotonic()


class Working(Guest):
    def __init__(self, args, initrd, name):
        super().__init__(
            ["run", "--kernel", args.kernel, "--initrd", initrd, "--memory", "128M", "--cpus",
             str(CPUS), "--net", "none", "--append", "console=ttyS0 loglevel=5", "--name", name],
            os.path.join(args.work, name + ".txt"))
        self.last = None

    def beat(self, timeout=TIMEOUT):
        """The next one, with all that holds of each; the first may be anything."""
        _, match = self.con.wait_for(BEAT, timeout, fatal=FATAL)
        beat = Beat(match)
        if len(beat.work) != CPUS or beat.online != f"0-{CPUS - 1}":
            raise AssertionError("CPUs %s are online, work is %r" % (beat.online, beat.work))
        if self.last and (beat.n != self.last.n + 1 or beat.up < self.last.up or
                          any(now < then for now, then in zip(beat.work, self.last.work))):
            raise AssertionError("%r after %r" % (vars(beat), vars(self.last)))
        self.last = beat
        return beat

    def latest(self):
        """All that it has said by now is known."""
        while re.search(BEAT, self.con.peek()):
            self.beat()
        return self.last

    def goes_on(self):
        """Every CPU has worked since now."""
        before = self.latest() or self.beat()
        deadline = time.monotonic() + TIMEOUT * SCALE
        while any(now <= then for now, then in zip(self.last.work, before.work)):
            if time.monotonic() > deadline:
                raise AssertionError("work of the CPUs was %r and is %r, %d s later" %
                                     (before.work, self.last.work, TIMEOUT * SCALE))
            self.beat()

    def vcpus(self):
        """The threads that are."""
        task = f"/proc/{self.con.process.pid}/task"
        found = []
        for tid in sorted(os.listdir(task), key=int):
            with open(f"{task}/{tid}/comm", encoding="ascii") as file:
                if file.read().startswith("vcpu"):
                    found.append(int(tid))
        if len(found) != CPUS:
            raise AssertionError("found %d threads of vCPUs, wanted %d" % (len(found), CPUS))
        return found


def cpu_of(tid):
    """On which it ran last."""
    with open(f"/proc/{tid}/stat", encoding="ascii") as file:
        return int(file.read().rpartition(")")[2].split()[36])


def host_log():
    return subprocess.run(["dmesg"], stdout=subprocess.PIPE, check=True, text=True,
                          errors="replace").stdout.splitlines()


def set_online(on):
    with open(ONLINE, "w", encoding="ascii") as file:
        file.write("1" if on else "0")


def bind(tids, cpus):
    for tid in tids:
        os.sched_setaffinity(tid, cpus)


class Test:
    def __init__(self, args, initrd):
        self.times = args.times
        self.lines = len(host_log())
        self.guests = [Working(args, initrd, name) for name in ("left", "right")]

    def everybody_goes_on(self):
        for guest in self.guests:
            guest.goes_on()

    def close(self):
        set_online(True)
        for guest in self.guests:
            guest.con.close()


def all_cpus_work(test):
    for guest in test.guests:
        guest.beat(3 * TIMEOUT)     # both start at once
    test.everybody_goes_on()


def goes_and_comes(test):
    """After each change all work."""
    first = [guest.latest() for guest in test.guests]
    for _ in range(test.times):
        tied = [tid for guest in test.guests for tid in guest.vcpus()[:BOUND]]
        bind(tied, {GOES})
        test.everybody_goes_on()
        strays = [tid for tid in tied if cpu_of(tid) != GOES]
        if strays:
            raise AssertionError("%d vCPUs that are bound to CPU %d run elsewhere" %
                                 (len(strays), GOES))
        set_online(False)
        test.everybody_goes_on()
        left = [tid for guest in test.guests for tid in guest.vcpus() if cpu_of(tid) == GOES]
        if left:
            raise AssertionError("%d vCPUs ran last on CPU %d, which is offline" %
                                 (len(left), GOES))
        set_online(True)
        test.everybody_goes_on()
    for guest, then in zip(test.guests, first):
        now = guest.latest()
        here, there = now.heard - then.heard, now.up - then.up
        print("# %s: %.1f s here, %.1f s there, work %s" %
              (guest.con.process.args[-1], here, there,
               " ".join(str(b - a) for a, b in zip(then.work, now.work))), flush=True)
        if abs(here - there) > LATE:
            raise AssertionError("%.1f s have passed here, %.1f s in the guest" % (here, there))


def at_once(test):
    """And no time in between."""
    bind([tid for guest in test.guests for tid in guest.vcpus()], {0, GOES})
    for _ in range(test.times):
        set_online(False)
        set_online(True)
    test.everybody_goes_on()


def nobody_complains(test):
    for guest in test.guests:
        guest.beat()        # or what it has complained about, at any time
    said = [line for line in host_log()[test.lines:] if COMPLAINTS.search(line)]
    if said:
        raise AssertionError("the host's log: " + "\n".join(said))
    if names() != ["left", "right"]:
        raise AssertionError("list says %r" % names())
    for guest, name in zip(test.guests, names()):
        vmmd("kill", name)
        guest.con.wait(TIMEOUT)


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kernel", required=True)
    parser.add_argument("--work", required=True)
    parser.add_argument("--times", type=int, default=12, help="that the CPU goes, and comes")
    args = parser.parse_args()
    if not os.access(ONLINE, os.W_OK):
        print("TAP version 13\n1..1\nok 1 # SKIP the host has no second CPU that can go offline")
        return 0
    initrd = os.path.join(args.work, "initrd")
    make_initrd(initrd, INIT)
    test = Test(args, initrd)
    try:
        return run_tests([
            ("two guests with %d CPUs each work" % CPUS, all_cpus_work),
            ("all their CPUs work on each of %d times that a host's CPU goes, and comes" %
             args.times, goes_and_comes),
            ("and after %d times at once" % args.times, at_once),
            ("nobody complains, and they end", nobody_complains),
        ], test)
    finally:
        test.close()


if __name__ == "__main__":
    sys.exit(main())
