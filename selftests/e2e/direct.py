#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""End-to-end: a Linux kernel starts without firmware, and again after a reset.

    direct.py --kernel VMLINUZ --work DIR

Runs vmmd (from PATH) on the kernel and an initial RAM file system made here of
busybox. Prints TAP; exits 0 if nothing failed.
"""
import argparse
import os
import re
import shutil
import signal
import subprocess
import sys

sys.dont_write_bytecode = True
from console import Console  # noqa: E402 (beside this file)
from initrd import make_initrd  # noqa: E402
from tap import run_tests  # noqa: E402

# What the kernel found, then whatever is asked for on the command line.
INIT = """/busybox mkdir /proc /sys
/busybox mount -t proc proc /proc
/busybox mount -t sysfs sys /sys
echo "cpus $(/busybox grep -c ^processor /proc/cpuinfo)" \
	"acpi $(/busybox ls /sys/firmware/acpi/tables | /busybox grep -c '^[DF]AC[PS]\\|^APIC')" \
	"pci $(/busybox ls /sys/bus/pci/devices | /busybox wc -l)"
/busybox cat /proc/cmdline
echo "$(/busybox sed -n '/^flags/{p;q}' /proc/cpuinfo) ."
exec /busybox "$end" -f
"""
TIMEOUT = 120


def command(args, initrd, end, *more):
    return ["vmmd", "run", "--kernel", args.kernel, "--initrd", initrd, "--memory", "256M",
            "--net", "none", "--append", "console=ttyS0 quiet end=" + end, *more]


def powers_off(args, initrd):
    with Console(command(args, initrd, "poweroff", "--cpus", "2"),
                 os.path.join(args.work, "direct.txt")) as con:
        con.wait_for(r"cpus 2 acpi 3 pci 4", TIMEOUT, fatal="Kernel panic")
        con.wait_for(r"console=ttyS0 quiet end=poweroff", TIMEOUT)
        status = con.process.wait(TIMEOUT)
    if status:
        raise AssertionError("exit status %d, wanted 0" % status)


def resets(args, initrd):
    with Console(command(args, initrd, "reboot", "--grace", "0"), os.path.join(args.work, "direct.txt")) as con:
        for _ in range(2):
            con.wait_for(r"cpus 1 acpi 3", TIMEOUT, fatal="Kernel panic")
        con.process.send_signal(signal.SIGTERM)
        status = con.process.wait(TIMEOUT)
    if status != 4:
        raise AssertionError("exit status %d, wanted 4: forced off" % status)


def kernel_goes_away(args, initrd):
    """It is read at each reset: then the machine ends, and says why."""
    copy = os.path.join(args.work, "vmlinuz")
    shutil.copy(args.kernel, copy)
    args = argparse.Namespace(kernel=copy, work=args.work)
    vm = subprocess.Popen(command(args, initrd, "reboot"), stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    while b"cpus 1" not in vm.stdout.readline():
        if vm.poll() is not None:
            raise AssertionError("vmmd ended: %r" % vm.stderr.read())
    os.truncate(copy, 4096)
    _, err = vm.communicate(timeout=TIMEOUT)
    if vm.returncode != 1 or copy.encode() not in err:
        raise AssertionError("exit status %d, %r" % (vm.returncode, err))


def flags(con):
    return con.wait_for(r"flags[\t ]*: (.*) \.\r*\n", TIMEOUT, fatal="Kernel panic")[1].group(1).split()


def fewer_features(args, initrd):
    """As if another host had no AES, SMEP, SMAP and XSAVES: the guest has them not, and
    with them as many as before."""
    offered = subprocess.run(["vmmd", "features"], check=True, stdout=subprocess.PIPE,
                             text=True).stdout
    gone = {"AES": "aes", "SMEP": "smep", "SMAP": "smap", "XSAVES": "xsaves"}
    found = []
    for name, text in (("all", offered), ("fewer", "".join(
            line for line in offered.splitlines(True) if line.split()[-1] not in gone))):
        path = os.path.join(args.work, name)
        with open(path, "w", encoding="ascii") as f:
            f.write(text)
        with Console(command(args, initrd, "poweroff", "--features", path),
                     os.path.join(args.work, "direct.txt")) as con:
            found.append(set(flags(con)))
            status = con.process.wait(TIMEOUT)
        if status:
            raise AssertionError("exit status %d, wanted 0" % status)
    with Console(command(args, initrd, "poweroff"), os.path.join(args.work, "direct.txt")) as con:
        if set(flags(con)) != found[0]:
            raise AssertionError("with all of them it has not all")
    lost = found[0] - found[1]
    had = {flag for name, flag in gone.items() if re.search(" %s$" % name, offered, re.M)}
    print("# without %s" % " ".join(sorted(lost)), flush=True)
    if not had or lost != had & found[0]:
        raise AssertionError("%s are gone, wanted %s" % (lost, had & found[0]))


TESTS = [
    ("a kernel without firmware finds CPUs, ACPI and PCI, and powers off", powers_off),
    ("it starts anew after a reset", resets),
    ("a kernel that is gone at a reset ends the machine", kernel_goes_away),
    ("it has only the CPU features that it was given", fewer_features),
]


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kernel", required=True)
    parser.add_argument("--work", required=True)
    args = parser.parse_args()
    initrd = os.path.join(args.work, "initrd")
    make_initrd(initrd, INIT)
    return run_tests(TESTS, args, initrd)


if __name__ == "__main__":
    sys.exit(main())
