#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""End-to-end: what the command line does with bad input, and how a machine ends.

    cli.py --work DIR

Runs vmmd (from PATH) as a user would, with a bare guest as firmware where
a guest is wanted. Prints TAP; exits 0 if nothing failed.
"""
import argparse
import ctypes
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import time

sys.dont_write_bytecode = True
from tap import run_tests  # noqa: E402 (beside this file)

# firmware that ends by itself: prints a line and powers off
ROM = "build/guests/off.rom"
# a first sector that copies sector 1 to sector 2, prints the memory map and powers off
MBR = "build/guests/mbr.bin"
# firmware whose user does what vmmd cannot emulate: prints vectors and powers off
USERDEV = "build/guests/userdev.rom"
# firmware with an UEFI, of the package ovmf
OVMF = "/usr/share/ovmf/OVMF.fd"
# firmware that never ends: JMP to itself at the reset vector
SPIN = b"\x90" * 0xfff0 + b"\xeb\xfe" + b"\x90" * 14
# firmware that triple-faults: LIDT of an empty table, then INT3
CRASH = b"\x90" * 0xfff0 + b"\x2e\x0f\x01\x1e\xf8\xff\xcc\x90" + b"\0" * 8
# a disk with a boot sector, as the BIOS sees it: without, vmmd warns
DISK = b"\xfa\xf4" + b"\0" * 508 + b"\x55\xaa" + b"\0" * 1048064
TIMEOUT = 120 * float(os.environ.get("VMM_TIMEOUT_SCALE", "1"))


class Failure(Exception):
    """Wanted and found."""


def want(condition, text):
    if not condition:
        raise Failure(text)


def takes_usr1(pid):
    """Before vmmd has got ready for it the signal would end vmmd."""
    with open("/proc/%d/status" % pid, encoding="ascii") as f:
        masks = [int(line.split()[1], 16) for line in f if line.startswith(("SigBlk", "SigCgt"))]
    return any(mask >> signal.SIGUSR1 - 1 & 1 for mask in masks)


class Bench:
    """Files in DIR, and vmmd run on them."""

    def __init__(self, work):
        self.work = work
        self.disk = self.make("disk.img", DISK)
        self.spin = self.make("spin.rom", SPIN)
        self.crash = self.make("crash.rom", CRASH)

    def make(self, name, data):
        path = os.path.join(self.work, name)
        with open(path, "wb") as f:
            f.write(data)
        return path

    def start(self, *args, disk=None, before=None):
        return subprocess.Popen(["vmmd", "run", disk or self.disk, "--net", "none", *args],
                                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, preexec_fn=before)

    def running(self, *args):
        """Started, and the guest runs: SIGUSR1's report says so."""
        vm = self.start(*args)
        report = b""
        while b"counters" not in report:
            time.sleep(0.2)
            if vm.poll() is not None:
                raise Failure("vmmd ended: %s" % vm.stderr.read().decode())
            if takes_usr1(vm.pid):
                vm.send_signal(signal.SIGUSR1)
                report = os.read(vm.stderr.fileno(), 65536)
        return vm

    def run(self, *args, disk=None, before=None):
        """Exit status, stdout and stderr."""
        vm = self.start(*args, disk=disk, before=before)
        try:
            out, err = vm.communicate(timeout=TIMEOUT)
        except subprocess.TimeoutExpired:
            vm.kill()
            vm.communicate()
            raise Failure("vmmd %s did not end" % " ".join(args)) from None
        return vm.returncode, out, err.decode()

    def refused(self, status, words, *args, disk=None):
        """One line that has the words, the status, and the disk untouched."""
        got, _, err = self.run(*args, disk=disk)
        want(got == status, "exit status %d, wanted %d: %s" % (got, status, err))
        want(err.count("\n") == 1, "wanted one line, found %r" % err)
        for word in words:
            want(word in err, "wanted %r in %r" % (word, err))


def bad_disks(b):
    qcow2 = b.make("a.qcow2", b"QFI\xfb\0\0\0\3" + b"\0" * 1016)
    vmdk = b.make("a.vmdk", b"KDMV" + b"\0" * 1020)
    b.refused(1, ["missing.img"], disk=os.path.join(b.work, "missing.img"))
    b.refused(1, ["directory"], disk=b.work)
    b.refused(1, ["empty"], disk=b.make("empty.img", b""))
    b.refused(1, ["512"], disk=b.make("odd.img", b"x" * 1000))
    b.refused(1, ["qcow2", "qemu-img convert"], disk=qcow2)
    b.refused(1, ["vmdk", "qemu-img convert"], disk=vmdk)
    with open(qcow2, "rb") as f:
        want(len(f.read()) == 1024, "a refused disk changed")


def bad_options(b):
    b.refused(2, ["--memory"], "--memory", "1M")
    b.refused(2, ["--memory", "4096"], "--memory", "67108865")
    want(b.run("--memory", "60T")[0] in (1, 2), "60T of memory was accepted")
    b.refused(2, ["--cpus"], "--cpus", "65")
    b.refused(2, ["--net"], "--net", "carrier-pigeon")
    b.refused(2, ["--bogus"], "--bogus")
    b.refused(1, ["nothing.bin"], "--firmware", os.path.join(b.work, "nothing.bin"))


def no_device(b):
    os.rename("/dev/vmm", "/dev/vmm.hidden")
    try:
        b.refused(1, ["/dev/vmm", "insmod"])
        # what is wrong on any host comes first
        b.refused(2, ["--cpus"], "--cpus", "65")
        b.refused(1, ["missing.img"], disk=os.path.join(b.work, "missing.img"))
        b.refused(1, ["nothing.bin"], "--firmware", os.path.join(b.work, "nothing.bin"))
    finally:
        os.rename("/dev/vmm.hidden", "/dev/vmm")


def port_bound(b):
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        s.listen()
        port = s.getsockname()[1]
        b.refused(1, [str(port)], "--net", "user", "--forward", "tcp:%d:22" % port)


def disk_locked(b):
    vm = b.running("--firmware", b.spin)
    try:
        b.refused(1, ["disk.img", "locked"], "--firmware", ROM)
    finally:
        vm.kill()
        vm.communicate()
    want(b.run("--firmware", ROM)[0] == 0, "still locked after kill -9")


def powers_off(b):
    status, out, err = b.run("--firmware", ROM)
    want(status == 0, "exit status %d: %s" % (status, err))
    want(out == b"off\n", "printed %r" % out)


def two_at_once(b):
    other = b.make("other.img", DISK)
    first = b.running("--firmware", b.spin)
    status = b.run("--firmware", ROM, "--cpus", "2", disk=other)[0]
    alive = first.poll() is None
    first.kill()
    first.communicate()
    want(status == 0 and alive, "a spinning guest and another one do not go together")


def user_gets_ud(b):
    """A user of the guest with device memory is no danger to the guest."""
    status, out, err = b.run("--firmware", USERDEV)
    want(status == 0 and out == b"0\n0\n6\n6\n", "exit status %d, printed %r: %s" % (status, out, err))
    want(err.count("vCPU 0: ") == 1 and "fxsave" in err, "wanted one report, found %s" % err)


def uefi_shell(b):
    """Of an empty disk, OVMF starts its shell."""
    vm = b.start("--firmware", OVMF)
    seen, deadline = b"", time.monotonic() + TIMEOUT
    try:
        while b"Shell>" not in seen:
            ready = select.select([vm.stdout], [], [], max(0, deadline - time.monotonic()))[0]
            data = os.read(vm.stdout.fileno(), 65536) if ready else b""
            want(data, "no shell, but %r" % seen[-500:])
            seen += data
    finally:
        vm.kill()
        vm.communicate()


def crash_exits(b):
    status, _, err = b.run("--firmware", b.crash, "--on-crash", "exit")
    want(status == 3, "exit status %d: %s" % (status, err))
    want("triple fault" in err and "rip" in err, "no report: %r" % err)


def forced_after_grace(b):
    vm = b.running("--firmware", b.spin, "--grace", "1")
    vm.terminate()
    try:
        vm.communicate(timeout=TIMEOUT)
    except subprocess.TimeoutExpired:
        vm.kill()
        vm.communicate()
        raise Failure("a guest that ignores its power button is not forced off") from None
    want(vm.returncode == 4, "exit status %d, wanted 4" % vm.returncode)


def boots(b, *args, work=None, before=None):
    """The BIOS boots MBR, whose copy arrives on the disk; stderr and the memory map."""
    data = os.urandom(512)
    with open(MBR, "rb") as f:
        disk = os.path.join(work or b.work, "mbr.img")
        with open(disk, "wb") as d:
            d.write(f.read() + data + bytes(1048576 - 1024))
    try:
        status, out, err = b.run(*args, disk=disk, before=before)
        want(status == 0 and out.endswith(b"ok\n"), "exit status %d, printed %r: %s"
             % (status, out[-200:], err))
        with open(disk, "rb") as d:
            d.seek(1024)
            want(d.read(512) == data, "sector 2 is not what the guest wrote")
    finally:
        os.remove(disk)
    return err, [tuple(int(n, 16) for n in line.split())
                 for line in out.decode().split("\n") if line.count(" ") == 2]


def boots_direct(b):
    # not every file system can: the lab's $OUT does
    boots(b, "--direct", work=os.environ.get("OUT"))


def forbid_io_uring():
    """As a container's seccomp filter does it."""
    code = [(0x20, 0, 0, 0), (0x15, 0, 1, 425),         # io_uring_setup
            (0x06, 0, 0, 0x00050001), (0x06, 0, 0, 0x7fff0000)]     # EPERM, allow
    program = b"".join(struct.pack("HBBI", *insn) for insn in code)
    buffer = ctypes.create_string_buffer(program)
    filter_ = struct.pack("HxxxxxxQ", len(code), ctypes.addressof(buffer))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(38, 1, 0, 0, 0) or libc.prctl(22, 2, filter_, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl")


def boots_without_io_uring(b):
    err = boots(b, before=forbid_io_uring)[0]
    want("io_uring" in err, "nothing said of io_uring: %r" % err)


def many_cpus(b):
    log = os.path.join(b.work, "firmware.log")
    for n in "4", "64":
        boots(b, "--cpus", n, "--firmware-log", log)
        with open(log, encoding="ascii", errors="replace") as f:
            want(f"Found {n} cpu(s)" in f.read(), f"SeaBIOS does not say that it found {n} CPUs")


def memory_map(b):
    """RAM below the hole for PCI and above 4 GiB, and all of it."""
    hole, top, size = 0xc0000000, 1 << 32, 4608 << 20
    ram = [(base, base + length) for base, length, kind in
           boots(b, "--memory", "4608M")[1] if kind == 1]
    want((top, top + size - hole) in ram, "no RAM from 4 GiB on: %r" % ram)
    want(all(end <= hole or base >= top for base, end in ram), "RAM in the hole: %r" % ram)
    lost = size - sum(end - base for base, end in ram)
    want(0 <= lost < 2 << 20, "%d bytes of RAM are not in the map: %r" % (lost, ram))


def hugepages(b):
    """Refused while there are none, with the remedy; then all of memory is in them."""
    number = "/proc/sys/vm/nr_hugepages"

    def free():
        with open("/proc/meminfo", encoding="ascii") as f:
            fields = dict(line.split(":") for line in f)
        return int(fields["HugePages_Free"]) - int(fields["HugePages_Rsvd"])

    def ask(n):
        with open(number, "w", encoding="ascii") as f:
            f.write(str(n))

    options = ["--memory", "64M", "--firmware", b.spin, "--hugepages"]
    b.refused(1, ["--hugepages=2M", "32 free", "found 0", number], *options)
    b.refused(1, ["--hugepages=1G"], "--memory", "2G", "--hugepages=1G")
    ask(40)
    try:
        want(free() == 40, "%d huge pages of 40" % free())
        vm = b.running(*options)
        left = free()
        vm.kill()
        vm.communicate()
        want(left == 8, "%d of 40 huge pages are left beside a machine of 64M" % left)
        boots(b, "--memory", "64M", "--hugepages=2M")
        want(free() == 40, "only %d huge pages came back" % free())
    finally:
        ask(0)


TESTS = [
    ("a disk that cannot be used is refused by name", bad_disks),
    ("a bad option is refused by name", bad_options),
    ("without /dev/vmm the remedy is named", no_device),
    ("a port that is bound already is named", port_bound),
    ("a disk in use is refused, and free after kill -9", disk_locked),
    ("a guest that powers off ends vmmd with status 0", powers_off),
    ("a spinning guest leaves room for another", two_at_once),
    ("a disk boots with O_DIRECT", boots_direct),
    ("a disk boots where io_uring is forbidden", boots_without_io_uring),
    ("machines of 4 and of 64 CPUs boot", many_cpus),
    ("more than 3 GiB of memory go around the hole for PCI", memory_map),
    ("memory in huge pages, if there are enough", hugepages),
    ("a user of the guest gets #UD for what vmmd cannot do", user_gets_ud),
    ("an UEFI starts its shell", uefi_shell),
    ("a triple fault ends with a report and status 3", crash_exits),
    ("a guest that ignores SIGTERM is forced off with status 4", forced_after_grace),
]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--work", required=True, metavar="DIR")
    args = parser.parse_args()
    bench = Bench(args.work)
    return run_tests(TESTS, bench)


if __name__ == "__main__":
    sys.exit(main())
