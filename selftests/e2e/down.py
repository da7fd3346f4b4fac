#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""The host goes down with a guest spinning on each of its CPUs, in a lab of its
own each time; the console's log tells how that went. Prints TAP.
Usage: down.py KERNEL [option of scripts/lab...]"""

import os
import shutil
import subprocess
import sys
import tempfile

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.realpath(__file__))))
sys.path.insert(0, os.path.join(TOP, "scripts/lab.d"))
sys.dont_write_bytecode = True
import common

CPUS = 2
TIMEOUT = 300

REFUSED = "power_test: VMM_RUN: " + os.strerror(108)   # ESHUTDOWN
NEXT = "next kernel: "
COMMANDLINE = "console=ttyS0,115200 nokaslr panic=-1"

# Of the kernel that follows. The module would not load with SVM left on.
INIT = """#!/bin/busybox sh
/bin/busybox mount -t proc proc /proc
if /bin/busybox insmod /vmm.ko; then loaded=loads; else loaded="does not load"; fi
echo "%s$(/bin/busybox nproc) CPUs, vmm $loaded"
echo o >/proc/sysrq-trigger
/bin/busybox sleep 1000
""" % NEXT

# How the host goes down: options of the lab, and what the log must have how often.
# A vCPU says that it was refused if it comes to that: the other CPUs are stopped
# soon after.
SOME = range(1, CPUS + 1)
WAYS = {
    "reboot": ([], {REFUSED: SOME, "reboot: Restarting system": [1]}),
    "poweroff": ([], {REFUSED: SOME, "reboot: Power down": [1]}),
    "kexec": ([], {REFUSED: SOME, NEXT + "%d CPUs, vmm loads" % CPUS: [1]}),
    # Nothing is switched off then: the CPUs must start all the same.
    "crash": (["--append", "crashkernel=256M"], {NEXT + "%d CPUs, vmm " % CPUS: [1]}),
}


def next_initrd(module, path):
    """An initramfs for the kernel that follows."""
    entry = common.cpio_entry
    archive = b"".join(entry(name, 0o40755) for name in ("bin", "dev", "proc"))
    for name, mode, source in (("bin/busybox", 0o100755, shutil.which("busybox")),
                               ("vmm.ko", 0o100644, module)):
        with open(source, "rb") as f:
            archive += entry(name, mode, f.read())
    archive += entry("init", 0o100755, INIT.encode()) + common.CPIO_END
    with open(path, "wb") as f:
        f.write(archive)


def run(way, kernel, options, work):
    """What is wrong with how the host went down, one line each."""
    module = os.path.join(TOP, "build/kmod-%s/vmm.ko" % kernel)
    initrd, out = os.path.join(work, "initrd"), os.path.join(work, way)
    # not a link, which the labs that share no files would bring without its file
    image = os.path.realpath(os.path.join(common.prepare_kernel(kernel), "vmlinuz"))
    next_initrd(module, initrd)
    more, wanted = WAYS[way]
    lab = subprocess.run(
        [os.path.join(TOP, "scripts/lab"), "--kernel", kernel, "--smp", str(CPUS),
         "--timeout", str(TIMEOUT), "--out", out, "--bring", image, "--bring", initrd]
        + more + options
        + ["--", "sh", "-c", 'insmod "$1" && shift && exec "$@"', "sh", module,
           os.path.join(TOP, "build/selftests/power_test"), "down", way, image, initrd,
           COMMANDLINE],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        errors="replace")
    with open(os.path.join(out, "console.log"), errors="replace") as f:
        log = f.read()
    wrong = ["wanted %d to %d times '%s', found %d" % (
                 counts[0], counts[-1], text, log.count(text))
             for text, counts in wanted.items() if log.count(text) not in counts]
    if way != "crash" and "the host kernel logged:" in lab.stdout:
        wrong.append("the host complained")
    if wrong:
        wrong += lab.stdout.splitlines() + log.splitlines()[-40:]
    return wrong


def main():
    if len(sys.argv) < 2:
        print("usage: down.py KERNEL [option of scripts/lab...]", file=sys.stderr)
        return 2
    failed = 0
    print("TAP version 13\n1..%d" % len(WAYS), flush=True)
    with tempfile.TemporaryDirectory(dir=common.BUILD, prefix="down.") as work:
        for number, way in enumerate(WAYS, 1):
            wrong = run(way, sys.argv[1], sys.argv[2:], work)
            failed += bool(wrong)
            for line in wrong:
                print("# " + line)
            print("%s %d %s" % ("not ok" if wrong else "ok", number, way), flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
