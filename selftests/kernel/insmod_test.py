#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""Load and unload: a hundred times over with nothing left behind, twice, in use,
while others open the device and CPUs come and go, and beside KVM.
Usage: insmod_test.py vmm.ko [WORD]: those tests whose names have WORD. TAP on
standard output. The module is loaded again at the end if it was at the start."""

import errno
import fcntl
import mmap
import os
import re
import signal
import struct
import subprocess
import sys
import time

BATCHES = 5
ROUNDS = 20  # in each
WARM_UP = 10
RACES = 40
PAGE_KIB = 4

CPU1 = "/sys/devices/system/cpu/cpu1/online"

VMM_CREATE_VM = 0xB702
VMM_CREATE_VCPU = 0xB710
VMM_RUN = 0xB720
VMM_EXIT_MMIO = 2
RUN_REASON = 16             # offset in the run page
RUN_GPA = 64
RESET_VECTOR = 0xFFFFFFF0
KVM_CREATE_VM = 0xAE01
MSR_EFER = 0xC0000080
EFER_SVME = 1 << 12

# What the kernel itself says of a module from outside, and of free_kib().
TAINT = re.compile(r"loading out-of-tree module|module verification failed|drop_caches"
                   # and of a machine that is slow
                   r"|hrtimer: interrupt took")


class Skip(Exception):
    pass


def vendor():
    """"svm", "vmx" or None: what the kernel says of this CPU."""
    with open("/proc/cpuinfo") as f:
        found = re.search(r"^flags.*\b(svm|vmx)\b", f.read(), re.MULTILINE)
    return found and found.group(1)


KVM = {"svm": "kvm_amd", "vmx": "kvm_intel"}.get(vendor(), "kvm")


def want(condition, message):
    if not condition:
        raise AssertionError(message)


def run(*command):
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)


def loaded(name="vmm"):
    return os.path.exists("/sys/module/" + name)


def insmod(path):
    """0 or an errno, as the system call gave it."""
    libc_insmod = run("insmod", path)
    if not libc_insmod.returncode:
        return 0
    for number in (errno.EEXIST, errno.EBUSY, errno.EOPNOTSUPP, errno.ENOMEM):
        if os.strerror(number) in libc_insmod.stderr:
            return number
    raise AssertionError("insmod: " + libc_insmod.stderr.strip())


def rmmod(name="vmm"):
    return run("rmmod", name).returncode


def log():
    return run("dmesg").stdout.splitlines()


def free_kib():
    run("sync")
    with open("/proc/sys/vm/drop_caches", "w") as f:
        f.write("3")
    with open("/proc/meminfo") as f:
        fields = dict(line.split(":") for line in f)
    return int(fields["MemFree"].split()[0])


def all_or_none_on():
    """Is the hardware on where it is to be while the module is loaded? SVM on all
    CPUs; VT-x only while a guest runs."""
    cpus = svme_cpus()
    wanted = os.cpu_count() if vendor() == "svm" else 0
    want(len(cpus) == wanted, "SVM is on on CPU %s only" % cpus)


def svme_cpus():
    """CPUs on which SVM is switched on."""
    run("modprobe", "msr")
    cpus = []
    for cpu in sorted(os.listdir("/dev/cpu")):
        name = "/dev/cpu/%s/msr" % cpu
        if not os.path.exists(name):
            continue
        with open(name, "rb", buffering=0) as f:
            f.seek(MSR_EFER)
            if struct.unpack("<Q", f.read(8))[0] & EFER_SVME:
                cpus.append(cpu)
    return cpus


def ioctl(fd, request, arg):
    """Again as long as it says EINTR, as VMM_RUN does when the kernel has work left
    for this thread."""
    while True:
        try:
            return fcntl.ioctl(fd, request, arg)
        except InterruptedError:
            pass


def kvm_vm():
    """(/dev/kvm, a VM): from here on KVM owns the hardware. Newer kernels take it
    when KVM's module is loaded, older ones with the first VM."""
    modprobe = run("modprobe", KVM)
    if any(os.strerror(e) in modprobe.stderr for e in (errno.EBUSY, errno.EIO)):
        raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))
    if modprobe.returncode:
        raise Skip("cannot load %s: " % KVM + modprobe.stderr.strip())
    dev = os.open("/dev/kvm", os.O_RDWR | os.O_CLOEXEC)
    try:
        return dev, ioctl(dev, KVM_CREATE_VM, 0)
    except OSError:
        os.close(dev)
        raise


def forever(action):
    """A process that repeats action(n) until it is killed."""
    child = os.fork()
    if child:
        return child
    n = 0
    while True:
        action(n)
        n += 1


def end(child):
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


def set_cpu1(on):
    with open(CPU1, "w") as f:
        f.write("1" if on else "0")


def have_cpu1():
    if not os.access(CPU1, os.W_OK):
        raise Skip("the host has no second CPU that can go offline")


def close(*fds):
    for fd in fds:
        os.close(fd)


# ---- the tests; each begins and ends with neither module loaded


def test_a_hundred_times(module):
    def rounds(count):
        for _ in range(count):
            want(insmod(module) == 0, "insmod failed")
            want(rmmod() == 0, "rmmod failed")

    rounds(WARM_UP)
    lines, free = len(log()), [free_kib()]
    for _ in range(BATCHES):
        rounds(ROUNDS)
        free.append(free_kib())
    new = [line for line in log()[lines:] if not TAINT.search(line)]
    want(not new, "the kernel log has grown: %s" % new[:3])
    # The host keeps lists of pages and fills them once; a leak is in every batch.
    lost = [before - after for before, after in zip(free, free[1:])]
    want(min(lost) < ROUNDS * PAGE_KIB,
         "each %d rounds cost memory, in KiB: %s" % (ROUNDS, lost))


def test_leaves_the_cpus_clean(module):
    want(not svme_cpus(), "SVM is on before insmod, on CPU %s" % svme_cpus())
    want(insmod(module) == 0, "insmod failed")
    all_or_none_on()
    want(rmmod() == 0, "rmmod failed")
    want(not svme_cpus(), "SVM is still on after rmmod, on CPU %s" % svme_cpus())


def test_twice(module):
    want(insmod(module) == 0, "insmod failed")
    want(insmod(module) == errno.EEXIST, "wanted EEXIST from the second insmod")
    want(os.path.exists("/dev/vmm"), "the second insmod took /dev/vmm away")
    want(rmmod() == 0, "rmmod failed")
    want(not os.path.exists("/dev/vmm"), "/dev/vmm is still there")


def test_rmmod_in_use(module):
    want(insmod(module) == 0, "insmod failed")
    dev = os.open("/dev/vmm", os.O_RDWR | os.O_CLOEXEC)
    want(rmmod() != 0, "rmmod with /dev/vmm open succeeded")
    vm = fcntl.ioctl(dev, VMM_CREATE_VM, 0)
    os.close(dev)
    want(rmmod() != 0, "rmmod with a VM open succeeded")
    want(loaded(), "the module has gone")
    os.close(vm)
    want(rmmod() == 0, "rmmod after the last close failed")


def test_opened_meanwhile(module):
    def make_vm(n):
        try:
            dev = os.open("/dev/vmm", os.O_RDWR | os.O_CLOEXEC)
            close(fcntl.ioctl(dev, VMM_CREATE_VM, 0), dev)
        except OSError as e:
            if e.errno not in (errno.ENOENT, errno.ENODEV, errno.ENXIO):
                os._exit(1)
        time.sleep(0.001)

    children = [forever(make_vm) for _ in range(3)]
    removed = 0
    try:
        for _ in range(RACES):
            if not loaded():
                want(insmod(module) == 0, "insmod failed")
            time.sleep(0.02)
            removed += rmmod() == 0
            want(not any(os.waitid(os.P_PID, c, os.WEXITED | os.WNOHANG | os.WNOWAIT)
                         for c in children),
                 "open or VMM_CREATE_VM failed otherwise than for lack of a device")
    finally:
        for child in children:
            end(child)
    want(removed, "rmmod never succeeded")
    if loaded():
        want(rmmod() == 0, "rmmod after the last close failed")
    want(not svme_cpus(), "SVM is still on, on CPU %s" % svme_cpus())


def test_cpus_that_come_and_go(module):
    have_cpu1()
    try:
        set_cpu1(False)
        want(insmod(module) == 0, "insmod failed with a CPU offline")
        set_cpu1(True)
        all_or_none_on()
        set_cpu1(False)
        want(rmmod() == 0, "rmmod failed with a CPU offline")
    finally:
        set_cpu1(True)
    want(not svme_cpus(), "SVM is on on CPU %s after rmmod" % svme_cpus())


def test_cpus_that_come_and_go_meanwhile(module):
    have_cpu1()
    child = forever(lambda n: set_cpu1(n % 2))
    try:
        for _ in range(RACES):
            want(insmod(module) == 0, "insmod failed")
            want(rmmod() == 0, "rmmod failed")
    finally:
        end(child)
        set_cpu1(True)
    want(not svme_cpus(), "SVM is still on, on CPU %s" % svme_cpus())


def test_mode_of_the_device(module):
    want(insmod(module) == 0, "insmod failed")
    mode = os.stat("/dev/vmm").st_mode & 0o777
    want(rmmod() == 0, "rmmod failed")
    want(not mode & 0o007, "/dev/vmm has mode %o: everybody may use it" % mode)


def enter_once():
    """A guest of our own at its reset vector, where there is no memory: its first
    instruction is an exit."""
    dev = os.open("/dev/vmm", os.O_RDWR | os.O_CLOEXEC)
    vm = ioctl(dev, VMM_CREATE_VM, 0)
    vcpu = ioctl(vm, VMM_CREATE_VCPU, 0)
    try:
        ioctl(vcpu, VMM_RUN, 0)
        with mmap.mmap(vcpu, mmap.PAGESIZE) as page:
            reason = struct.unpack_from("<I", page, RUN_REASON)[0]
            gpa = struct.unpack_from("<Q", page, RUN_GPA)[0]
        want((reason, gpa) == (VMM_EXIT_MMIO, RESET_VECTOR),
             "wanted an MMIO exit at the reset vector, found %d at %#x" % (reason, gpa))
    finally:
        close(vcpu, vm, dev)


def test_kvm_came_first(module):
    fds = kvm_vm()
    lines = len(log())
    try:
        want(insmod(module) == errno.EBUSY, "wanted EBUSY while KVM has a VM")
        said = [line for line in log()[lines:] if "vmm:" in line and not TAINT.search(line)]
        want(len(said) == 1, "wanted one sentence in the log, found %s" % said)
        want("rmmod " + KVM in said[0], "no remedy in: " + said[0])
        want(not loaded() and not os.path.exists("/dev/vmm"), "half of it stayed")
    finally:
        close(*fds)
    want(rmmod(KVM) == 0, "rmmod %s failed" % KVM)
    want(insmod(module) == 0, "insmod after the remedy failed")
    want(rmmod() == 0, "rmmod failed")


def kvm_is_kept_out():
    try:
        close(*kvm_vm())
        raise AssertionError("KVM made a VM while vmm owns SVM")
    except OSError as e:
        want(e.errno == errno.EBUSY, "KVM says " + e.strerror)
    all_or_none_on()


def kvm_runs_beside():
    """KVM keeps VT-x on while it has VMs; ours run all the same, then and after."""
    fds = kvm_vm()
    try:
        for _ in range(RACES):
            enter_once()
    finally:
        close(*fds)
    enter_once()


def test_kvm_comes_later(module):
    want(insmod(module) == 0, "insmod failed")
    enter_once()
    if vendor() == "svm":
        kvm_is_kept_out()
    else:
        kvm_runs_beside()
    want(rmmod() == 0, "rmmod failed")
    # and now it is KVM's turn
    close(*kvm_vm())
    want(rmmod(KVM) == 0, "rmmod %s failed" % KVM)


def main():
    if len(sys.argv) not in (2, 3):
        print("usage: insmod_test.py vmm.ko [WORD]", file=sys.stderr)
        return 2
    module, was_loaded, failed = sys.argv[1], loaded(), 0
    word = sys.argv[2] if len(sys.argv) > 2 else ""
    tests = [(n, f) for n, f in globals().items() if n.startswith("test_") and word in n]
    if was_loaded and rmmod():
        print("Bail out! cannot unload vmm, which is in use", flush=True)
        return 1
    rmmod(KVM)
    print("TAP version 13\n1..%d" % len(tests), flush=True)
    for number, (name, test) in enumerate(tests, 1):
        result, note = "ok", ""
        try:
            test(module)
        except Skip as e:
            note = " # SKIP %s" % e
        except (AssertionError, OSError) as e:
            result, failed = "not ok", failed + 1
            print("# %s: %s" % (name, e))
        if loaded():
            rmmod()
        if loaded(KVM):
            rmmod(KVM)
        print("%s %d %s%s" % (result, number, name[5:], note), flush=True)
    if was_loaded:
        insmod(module)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
