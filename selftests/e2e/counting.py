# SPDX-License-Identifier: GPL-2.0
"""A guest that checks its memory and its disk and counts, and commands that work on it."""
import json
import subprocess

from console import SCALE, Console, ConsoleError

MODULES = ("virtio", "virtio_ring", "virtio_pci_legacy_dev", "virtio_pci_modern_dev", "virtio_pci",
           "virtio_blk")
# Memory that must never change, and some that changes all the time, with its sum. The
# disk gets a record in each round: the last one is there, and none of later rounds.
INIT = """/busybox mkdir /proc /dev
/busybox mount -t devtmpfs dev /dev
/busybox mount -t proc proc /proc
for m in MODULES; do
	[ ! -f /$m.ko ] || /busybox insmod /$m.ko
done
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
	if [ -b /dev/vda ]; then
		echo 1 >/proc/sys/vm/drop_caches
		[ -z "$(record $n)" ] || echo "BAD disk: record $n is there before it was written"
		[ $n = 1 ] || [ "$(record $((n - 1)))" = "r$((n - 1))" ] ||
			echo "BAD disk: record $((n - 1)) is gone"
		echo "r$n" | /busybox dd of=/dev/vda bs=512 seek=$n conv=sync,notrunc,fsync 2>/dev/null
	fi
	echo "count $n up $(/busybox cut -d. -f1 /proc/uptime)"
done
"""
TIMEOUT = 120
COUNT = r"count (\d+) up (\d+)\r*\n"
FATAL = "BAD|Kernel panic|BUG|clocksource.*unstable"


def init(still=24):
    """The first process: so many MiB never change."""
    return INIT.replace("MODULES", " ".join(MODULES)).replace("STILL", str(still))


class Guest:
    """A machine on a console of its own, that counts."""

    def __init__(self, argv, transcript):
        self.con = Console(["vmmd"] + argv, transcript)

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


def names():
    return sorted(vm["name"] for vm in json.loads(vmmd("list", "--json")))
