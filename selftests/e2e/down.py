#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""The host goes down with a guest spinning on each of its CPUs, in a lab of its
own each time; the console's log tells how that went. Prints TAP."""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.realpath(__file__))))
sys.path.insert(0, os.path.join(TOP, "scripts/lab.d"))
sys.dont_write_bytecode = True
import common
import initramfs

CPUS = 2
# By the lab's CPU: seconds of ours, words for this kernel and for the next. In
# Bochs the check of what kexec is given takes this kernel longer than it allows.
SLOW = ("1500", "watchdog_thresh=60 rcupdate.rcu_cpu_stall_suppress=1",
        " no_timer_check cryptomgr.notests idle=halt mitigations=off"
        " initcall_blacklist=load_system_certificate_list,trace_eval_init")
PACE = {"svm": ("300", "", ""), "vmx": SLOW, "vmx-pml": SLOW}

REFUSED = "power_test: VMM_RUN: " + os.strerror(108)   # ESHUTDOWN
NEXT = "next kernel: "
COMMANDLINE = "console=ttyS0,115200 nokaslr panic=-1"

# Of the kernel that follows. The module would not load with SVM left on. What it
# says goes out before the kernel says that it ends.
INIT = """#!/bin/busybox sh
/bin/busybox mount -t proc proc /proc
if /bin/busybox insmod /vmm.ko; then loaded=loads; else loaded="does not load"; fi
echo "%s$(/bin/busybox nproc) CPUs, vmm $loaded"
/bin/busybox sleep 1
echo o >/proc/sysrq-trigger
/bin/busybox sleep 1000
""" % NEXT

# How the host goes down: words for the kernel's command line, and what the log must
# have how often.
# A vCPU says that it was refused if it comes to that: the other CPUs are stopped
# soon after.
SOME = range(1, CPUS + 1)
WAYS = {
    "reboot": ("", {REFUSED: SOME, "reboot: Restarting system": [1]}),
    "poweroff": ("", {REFUSED: SOME, "reboot: Power down": [1]}),
    "kexec": ("", {REFUSED: SOME, NEXT + "%d CPUs, vmm loads" % CPUS: [1]}),
    # Nothing is switched off then: the CPUs must start all the same.
    "crash": ("crashkernel=256M", {NEXT + "%d CPUs, vmm " % CPUS: [1]}),
}


def next_initrd(module, path):
    """An initramfs for the kernel that follows; small, since it is hashed twice."""
    subprocess.run(["objcopy", "--strip-debug", module, path + ".ko"], check=True)
    entry = initramfs.cpio_entry
    archive = b"".join(entry(name, 0o40755) for name in ("bin", "dev", "proc"))
    for name, mode, source in (("bin/busybox", 0o100755, shutil.which("busybox")),
                               ("vmm.ko", 0o100644, path + ".ko")):
        with open(source, "rb") as f:
            archive += entry(name, mode, f.read())
    archive += entry("init", 0o100755, INIT.encode()) + initramfs.CPIO_END
    with open(path, "wb") as f:
        f.write(archive)


def run(way, cpu, kernel, work):
    """What is wrong with how the host went down, one line each."""
    module = os.path.join(TOP, "build/kmod-%s/vmm.ko" % kernel)
    initrd, out = os.path.join(work, "initrd"), os.path.join(work, way)
    # not a link, which the labs that share no files would bring without its file
    image = os.path.realpath(os.path.join(common.prepare_kernel(kernel), "vmlinuz"))
    next_initrd(module, initrd)
    words, wanted = WAYS[way]
    timeout, more_words, next_words = PACE[cpu]
    lab = subprocess.run(
        [os.path.join(TOP, "scripts/lab"), "--cpu", cpu, "--kernel", kernel,
         "--smp", str(CPUS), "--timeout", timeout, "--append", words + " " + more_words,
         "--out", out, "--bring", image, "--bring", initrd,
         "--", "sh", "-c", 'insmod "$1" && shift && exec "$@"', "sh", module,
         os.path.join(TOP, "build/selftests/power_test"), "down", way, image, initrd,
         COMMANDLINE + next_words],
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
    parser = argparse.ArgumentParser(prog="down.py", description=__doc__)
    parser.add_argument("--cpu", choices=list(PACE), default="svm", help="of the lab")
    parser.add_argument("kernel", help="series of the lab's kernel")
    parser.add_argument("way", nargs="*", default=list(WAYS), metavar="WAY",
                        help=" ".join(WAYS) + " (default: all)")
    args = parser.parse_args()
    ways = args.way
    for way in ways:
        if way not in WAYS:
            parser.error("wanted one of %s, found %s" % (", ".join(WAYS), way))
    failed = 0
    print("TAP version 13\n1..%d" % len(ways), flush=True)
    with tempfile.TemporaryDirectory(dir=common.BUILD, prefix="down.") as work:
        for number, way in enumerate(ways, 1):
            wrong = run(way, args.cpu, args.kernel, work)
            failed += bool(wrong)
            for line in wrong:
                print("# " + line)
            print("%s %d %s" % ("not ok" if wrong else "ok", number, way), flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
