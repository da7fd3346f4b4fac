# SPDX-License-Identifier: GPL-2.0
"""Figures from Linux guests: boots, memory, disk, network, computing. What needs a
booted Debian comes from one boot of it, and the network's from another."""

import os
import re
import shlex
import shutil
import subprocess

import memory
from common import TOP, Failure, idle, instructions
from console import Console
from stacks import PC_MEMORY, run

MINI = "build/mini/"
LOAD = os.path.join(TOP, "build/bench/load")
BUSYBOX = "/bin/busybox"
IMAGE, EXTENTS = "build/bench/disk.img", "build/bench/disk.extents"
DISK = "/dev/ram0"          # no disk in the way: waits would not be counted
TAP, HOST, GUEST, PORT = "tap0", "10.9.9.1", "10.9.9.2", 5001
PASSWORD = "vmm"            # guests/debian/build

READS = {
    "blk_rand_qd1": ("random", 4096, 1, 2000),
    "blk_rand_qd32": ("random", 4096, 32, 4000),
    "blk_seq": ("sequential", 128 << 10, 8, 1000),
}
PATIENCE = 20   # s of the lab's that a program may take here
NETS = {        # what, how much of it, and the figure's share in that
    "net_bulk": ("send", 100 << 20, 100),
    "net_rr": ("ping", 2000, 2000),
}
LOOPS = {       # %s: the directory of programs
    "compute": "compute 10000000",
    "shell": "time %s/busybox sh -c "
             "'i=0; while [ $i -lt 200 ]; do %s/busybox true; i=$((i+1)); done'",
}


def boot_init(stack, _):
    vm = Console(stack.kernel(MINI + "vmlinuz", MINI + "initrd",
                              "console=ttyS0 loglevel=4 reboot=t then=poweroff"))
    vm.expect("VMM-INIT")
    took = instructions() - vm.start
    vm.end()
    yield "boot_init", round(took / 1e9, 3)


# ---- a booted Debian


def prepare():
    """On the machine: a disk image with the loads in it, and where it has data."""
    start = 1 << 20         # of the partition, guests/debian/build
    run("cp", "--sparse=always", "build/disk.img", IMAGE)
    commands = "".join("write %s /root/%s\nset_inode_field /root/%s mode 0100755\n" % (
        path, os.path.basename(path), os.path.basename(path)) for path in (LOAD, BUSYBOX))
    subprocess.run(["debugfs", "-w", "-f", "-", "%s?offset=%d" % (IMAGE, start)], check=True,
                   input=commands.encode(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    with open(IMAGE, "rb") as image, open(EXTENTS, "w", encoding="ascii") as extents:
        size, end = image.seek(0, os.SEEK_END), 0
        while end < size:
            try:
                at = image.seek(end, os.SEEK_DATA)
            except OSError:         # there is no more
                break
            end = image.seek(at, os.SEEK_HOLE)
            extents.write("%d %d\n" % (at, end))


def write_disk():
    """Only what the image has: it is sparse, and so is the disk in memory."""
    if not os.path.exists(DISK):
        run("modprobe", "brd", "rd_nr=1", "rd_size=%d" % (os.stat(IMAGE).st_size >> 10))
    with open(IMAGE, "rb") as image, open(DISK, "r+b") as disk, open(EXTENTS, "rb") as extents:
        for line in extents:
            at, end = map(int, line.split())
            image.seek(at)
            disk.seek(at)
            while at < end:
                data = image.read(min(1 << 20, end - at))
                disk.write(data)
                at += len(data)
    run("blockdev", "--flushbufs", DISK)


def make_tap():
    if os.path.exists("/sys/class/net/" + TAP):
        return
    run("modprobe", "tun")
    run("modprobe", "vhost_net")
    run("ip", "tuntap", "add", TAP, "mode", "tap")
    run("ip", "addr", "add", HOST + "/24", "dev", TAP)
    run("ip", "link", "set", TAP, "up")


class Debian(Console):
    """A guest at its prompt."""

    PROMPT = "bench# "

    def log_in(self):
        self.type("root\n")
        self.expect("assword: ")
        self.type(PASSWORD + "\n")
        self.expect("# ")
        self.type("stty -echo; PS1='bench'#\\ ; dmesg -n 1\n")
        self.expect(self.PROMPT)

    def run(self, command):
        self.type(command + "\n")
        return self.expect(self.PROMPT)

    def ticks(self, command):
        """That it took, without the host's idle time: what the guest calls idle may
        have been ours."""
        before = idle()
        text = self.run(command)
        return int(re.search(r"ticks (\d+)", text)[1]) - (idle() - before)

    def instructions(self, command):
        """That the host executed from before it was typed to the next prompt."""
        before = instructions()
        self.run(command)
        return instructions() - before

    def off(self):
        self.type("systemctl poweroff\n")
        self.end()


def host_ticks(command):
    try:
        text = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              check=True, text=True, timeout=PATIENCE).stdout
    except subprocess.TimeoutExpired:
        raise Failure("no end after %d s of the lab's clock: %s" % (
            PATIENCE, " ".join(command))) from None
    ticks, idle_ticks = re.search(r"ticks (\d+) idle (\d+)", text).groups()
    return int(ticks) - int(idle_ticks)


def blk(vm):
    """What each read more costs: a program that has asynchronous I/O waits some
    milliseconds at its end, and that the host is idle then is not to be subtracted
    from what it did before."""
    for name, (kind, size, depth, count) in READS.items():
        once, twice = (vm.instructions("/root/load read /dev/vda %s %d %d %d" % (
            kind, size, depth, n)) for n in (count, 2 * count))
        yield name, round((twice - once) / count)


def net(stack, _):
    write_disk()
    make_tap()
    vm = Debian(stack.pc(DISK, TAP))
    vm.expect("login: ")
    vm.log_in()
    vm.run("systemctl -q stop systemd-networkd.socket systemd-networkd")
    vm.run("dev=$(ls /sys/class/net | grep -v lo); ip addr flush dev $dev; "
           "ip addr add %s/24 dev $dev; ip link set $dev up" % GUEST)
    vm.run("/root/load serve %d & sleep 1" % PORT)
    for name, (kind, count, divisor) in NETS.items():
        ticks = host_ticks([LOAD, kind, GUEST, str(PORT), str(count)])
        yield name, round(ticks / divisor)
    vm.run("kill %1")
    vm.off()


def against_host(vm):
    """The same programs here and there: the second time, when all is in memory."""
    for name, command in LOOPS.items():
        for _ in range(2):
            there = vm.ticks("/root/load " + command.replace("%s", "/root"))
            here = host_ticks([LOAD] + shlex.split(command.replace("%s", "/tmp")))
        yield name, round(there / here, 4)


def debian(stack, wanted):
    write_disk()
    make_tap()
    shutil.copy(BUSYBOX, "/tmp/busybox")
    with memory.Group() as group:
        vm = Debian(group.command(stack.pc(DISK, TAP)))
        vm.expect("login: ")
        yield "boot_login", round((instructions() - vm.start) / 1e9, 3)
        if "vm_overhead" in wanted:
            yield "vm_overhead", group.overhead(vm.vm.pid, PC_MEMORY << 10)
        vm.log_in()
        for names, part in (READS, blk), (LOOPS, against_host):
            if wanted & set(names):
                yield from part(vm)
        vm.off()


WORK = ("boot_login", "vm_overhead", *READS, *LOOPS)
DEBIAN = (*WORK, *NETS)
PARTS = (
    (("boot_init",), boot_init),
    (WORK, debian),
    (tuple(NETS), net),
)
