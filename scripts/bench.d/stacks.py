# SPDX-License-Identifier: GPL-2.0
"""The two that are compared: how each loads, and how it runs a machine."""

import contextlib
import glob
import itertools
import os
import shutil
import signal
import subprocess

from common import LOG, Failure

KERNEL = os.environ.get("KERNEL", "6.1")
QEMU = "qemu-system-x86_64"
BROUGHT = "build/bench/qemu/"
VMMD = "build/vmmd/vmmd"
EMPTY_DISK = "/tmp/empty.img"
PC_MEMORY = 512    # MiB
NUMBERS = itertools.count(1)    # of machines from one disk, whose names have to differ


def run(*command):
    if subprocess.run(command, stdin=subprocess.DEVNULL).returncode:
        raise Failure("'%s' failed, see above" % " ".join(command))


class Ours:
    name = "vmm"
    key = "ours"
    tries = 1

    @staticmethod
    def load():
        run("insmod", "build/kmod-%s/vmm.ko" % KERNEL)

    @staticmethod
    def unload():
        run("rmmod", "vmm")

    @staticmethod
    def firmware(rom, ioapic=False):
        """The command for a machine of nothing but firmware. ioapic: for figures of
        the monitor's I/O APIC, as ours always is."""
        if not os.path.exists(EMPTY_DISK):
            with open(EMPTY_DISK, "wb") as f:
                f.write(b"\xfa\xf4" + bytes(508) + b"\x55\xaa" + bytes(512))
        return [VMMD, "run", EMPTY_DISK, "--read-only", "--net", "none", "--cpus", "2",
                "--memory", "64M", "--firmware", rom, "--name", "bare%d" % next(NUMBERS)]

    @staticmethod
    def kernel(kernel, initrd, append):
        """The command for a machine that starts a kernel without firmware."""
        return [VMMD, "run", "--kernel", kernel, "--initrd", initrd, "--append", append,
                "--net", "none", "--memory", "128M"]

    @staticmethod
    def pc(disk, tap):
        return [VMMD, "run", disk, "--direct", "--net", "tap=" + tap,
                "--memory", "%dM" % PC_MEMORY]


class Kvm:
    name = "KVM + QEMU"
    key = "peer"
    tries = 3
    module = "kvm-amd"
    qemu = [QEMU]

    @classmethod
    def load(cls):
        run("modprobe", cls.module)

    @classmethod
    def unload(cls):
        run("modprobe", "-r", cls.module)

    @staticmethod
    def clear():
        """Nothing runs any more."""
        for path in glob.glob("/proc/[0-9]*/comm"):
            with contextlib.suppress(OSError), open(path, encoding="ascii") as f:
                if QEMU.startswith(f.read().rstrip("\n")):     # which is of 15 letters
                    os.kill(int(path.split("/")[2]), signal.SIGKILL)

    @classmethod
    def machine(cls, kind, cpus, memory):
        return cls.qemu + [
            "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-M", kind,
            "-accel", "kvm", "-cpu", "host", "-smp", str(cpus), "-m", "%dM" % memory,
            "-serial", "stdio"]

    @classmethod
    def firmware(cls, rom, ioapic=False):
        """ioapic: it is QEMU's, not KVM's; the local APICs stay KVM's."""
        return cls.machine("q35,kernel-irqchip=" + ("split" if ioapic else "on"), 2, 64) + [
            "-bios", rom, "-device", "virtio-rng-pci,disable-legacy=on"]

    @classmethod
    def kernel(cls, kernel, initrd, append):
        return cls.machine("microvm", 1, 128) + [
            "-kernel", kernel, "-initrd", initrd, "-append", append]

    @staticmethod
    def net(tap, mac=None):
        return ["-netdev", "tap,id=net,vhost=on,script=no,downscript=no,ifname=" + tap,
                "-device", "virtio-net-pci,netdev=net,romfile=" + (",mac=" + mac if mac else "")]

    @classmethod
    def pc(cls, disk, tap):
        return cls.machine("q35", 1, PC_MEMORY) + cls.net(tap) + [
            "-object", "iothread,id=io",
            "-drive", "if=none,id=disk,format=raw,cache=none,aio=io_uring,file=" + disk,
            "-device", "virtio-blk-pci,drive=disk,iothread=io", "-device", "virtio-rng-pci"]


class KvmVmx(Kvm):
    """In Bochs, which does not show this machine's programs: see bring_qemu()."""

    module = "kvm-intel"
    qemu = ["env", "LD_LIBRARY_PATH=" + BROUGHT, BROUGHT + QEMU, "-L", BROUGHT]


def bring_qemu():
    """On the machine: QEMU and its libraries by the names that it asks for."""
    os.makedirs(BROUGHT, exist_ok=True)
    program = shutil.which(QEMU)
    found = subprocess.run(["ldd", program], stdout=subprocess.PIPE, check=True, text=True).stdout
    for path in [program, "/usr/share/qemu/kvmvapic.bin"] + [
            word for word in found.split() if word.startswith("/")]:
        shutil.copy(path, BROUGHT)


class Bare:
    """A running bench guest (guests/bare/bench.c): a letter in, figures out."""

    def __init__(self, command):
        self.command = command
        with open(LOG, "ab") as log:
            self.vm = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                       stderr=log)

    def tell(self, letter):
        self.vm.stdin.write(letter.encode())
        self.vm.stdin.flush()

    def answer(self):
        figures = {}
        for line in self.vm.stdout:
            words = line.decode().split()
            if words == ["."]:
                return figures
            if words:
                figures[words[0]] = int(words[1])
        raise Failure("the bench guest ended with status %d: %s" % (
            self.vm.wait(), " ".join(self.command)))

    def ask(self, letter):
        self.tell(letter)
        return self.answer()

    def end(self):
        """It has been told to power off."""
        self.vm.stdin.close()
        self.vm.stdout.read()
        if self.vm.wait():
            raise Failure("the bench guest powered off, but status %d came from: %s" % (
                self.vm.returncode, " ".join(self.command)))

    def off(self):
        self.tell("q")
        self.end()
