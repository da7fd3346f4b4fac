# SPDX-License-Identifier: GPL-2.0
"""A guest that checks its memory and its disk and counts, and commands that work on it."""
import argparse
import contextlib
import json
import os
import re
import subprocess
import time

from console import SCALE, Console, ConsoleError

MODULES = ("virtio_pci", "virtio_blk")  # that a guest with a disk needs
# Memory that must never change, and some that changes all the time, with its sum. The
# disk gets a record in each round: the last one is there, and none of later rounds.
INIT = """/busybox mkdir /proc /dev
/busybox mount -t devtmpfs dev /dev
/busybox mount -t proc proc /proc
DISK=WANTED LOG=WATCHED
if [ $DISK = 1 ]; then
	for m in $(/busybox cat /modules/order); do /busybox insmod /modules/$m; done
	[ -b /dev/vda ] || echo "BAD disk: there is none"
fi
record() { /busybox dd if=/dev/vda bs=512 skip=$1 count=1 2>/dev/null | /busybox tr -d '\\0\\n'; }
/busybox dd if=/dev/urandom of=/still bs=1M count=STILL 2>/dev/null
want=$(/busybox md5sum </still)
n=0
while :; do
	n=$((n + 1))
	/busybox dd if=/dev/urandom of=/moving bs=1M count=1 2>/dev/null
	moving=$(/busybox md5sum </moving)
	[ "$want" = "$(/busybox md5sum </still)" ] || echo "BAD still"
	[ "$moving" = "$(/busybox md5sum </moving)" ] || echo "BAD moving"
	if [ $DISK = 1 ]; then
		echo 1 >/proc/sys/vm/drop_caches
		[ -z "$(record $n)" ] || echo "BAD disk: record $n is there before it was written"
		[ $n = 1 ] || [ "$(record $((n - 1)))" = "r$((n - 1))" ] ||
			echo "BAD disk: record $((n - 1)) is gone"
		echo "r$n" | /busybox dd of=/dev/vda bs=512 seek=$n conv=sync,notrunc,fsync 2>/dev/null
	fi
	[ $LOG = 0 ] || ! /busybox dmesg |
		/busybox grep -E "WARNING:|BUG|Oops|stall|lockup|clocksource.*unstable" ||
		echo "BAD log"
	echo "count $n up $(/busybox cut -d. -f1 /proc/uptime)"
done
"""
TIMEOUT = 120
COUNT = r"count (\d+) up (\d+)\r*\n"
FATAL = "BAD|Kernel panic|BUG|clocksource.*unstable"


def init(still=24, disk=False, log=False):
    """The first process: so many MiB never change; it wants a disk, and MODULES, or none;
    it looks through its kernel's log, or not."""
    return (INIT.replace("WANTED", str(int(disk))).replace("WATCHED", str(int(log)))
            .replace("STILL", str(still)))


class Guest:
    """A machine on a console of its own, that counts."""

    def __init__(self, argv, transcript):
        self.con = Console(["vmmd"] + argv, transcript)
        self.up = 0         # seconds, at the last count

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.con.close()

    def count(self, at_least=0):
        """The next count that is that much; all before it in their order."""
        last = None
        while True:
            _, match = self.con.wait_for(COUNT, TIMEOUT, fatal=FATAL)
            n, up = map(int, match.groups())
            if last is not None and n != last + 1:
                raise AssertionError("count %d after %d" % (n, last))
            if up < self.up:
                raise AssertionError("up for %d s after %d" % (up, self.up))
            self.up = up
            if n >= at_least:
                return n
            last = n

    def latest(self):
        """The last count that it has said by now, or the next one."""
        n = self.count()
        try:
            while True:
                n = int(self.con.wait_for(COUNT, 0, fatal=FATAL)[1].group(1))
        except ConsoleError:
            return n

    def end(self, wanted):
        """Wait for the end of its vmmd."""
        status = self.con.process.wait(TIMEOUT * SCALE)
        if status != wanted:
            raise AssertionError("exit status %d, wanted %d" % (status, wanted))


def run_vmmd(*argv):
    """How it ended, whichever way."""
    return subprocess.run(["vmmd", *argv], stdin=subprocess.DEVNULL, capture_output=True,
                          text=True, timeout=TIMEOUT * SCALE)


def vmmd(*argv, wanted=0):
    p = run_vmmd(*argv)
    if p.returncode != wanted:
        raise AssertionError("vmmd %s: exit status %d, %r" % (" ".join(argv), p.returncode, p.stderr))
    return p.stdout + p.stderr


def goes_on(con, before):
    """On a console that comes later a machine counts on, from that or more."""
    with con:
        after = int(con.wait_for(COUNT, TIMEOUT, fatal=FATAL)[1].group(1))
        if after < before:
            raise AssertionError("count %d here, %d there" % (before, after))
        con.wait_for("count %d " % (after + 2), TIMEOUT, fatal=FATAL)


# what ssh does, but for the other host: the words become a shell's line there
SSH = """#!/bin/sh
while [ "$1" != vmmd ]; do shift; done
VMMD_RUNTIME_DIR=%s exec sh -c "$*"
"""


@contextlib.contextmanager
def ssh_to(there, directory):
    """In PATH there is an ssh that gets to such a host, whose machines are there."""
    os.makedirs(directory, exist_ok=True)
    with open(os.path.join(directory, "ssh"), "w", encoding="ascii") as f:
        f.write(SSH % there)
    os.chmod(f.name, 0o755)
    path = os.environ["PATH"]
    os.environ["PATH"] = directory + ":" + path
    try:
        yield
    finally:
        os.environ["PATH"] = path


@contextlib.contextmanager
def machines_of(there):
    """The commands are for the machines of that directory."""
    here = os.environ["VMMD_RUNTIME_DIR"]
    os.environ["VMMD_RUNTIME_DIR"] = there
    try:
        yield
    finally:
        os.environ["VMMD_RUNTIME_DIR"] = here


def wait_listening(port):
    """Until somebody listens at that port of tcp."""
    deadline = time.monotonic() + TIMEOUT * SCALE
    while True:
        with open("/proc/net/tcp", encoding="ascii") as f:
            if re.search(r":%04X 00000000:0000 0A" % port, f.read()):
                return
        if time.monotonic() > deadline:
            raise AssertionError("vmmd receive does not listen")
        time.sleep(0.05)


def arguments(doc, *options):
    """The script's, whose help is its doc: --kernel, --work, and what options are, each
    the words and keywords of an add_argument(). Its machines' sockets are in --work."""
    parser = argparse.ArgumentParser(description=doc,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kernel", required=True)
    parser.add_argument("--work", required=True)
    for name, keywords in options:
        parser.add_argument(name, **keywords)
    args = parser.parse_args()
    os.environ["VMMD_RUNTIME_DIR"] = os.path.join(args.work, "run")
    os.makedirs(args.work, exist_ok=True)
    return args


def names():
    return sorted(vm["name"] for vm in json.loads(vmmd("list", "--json")))
