# SPDX-License-Identifier: GPL-2.0
"""The lab's room in QEMU: a CPU with SVM; the machine's files come over 9p."""

import os
import socket
import subprocess

from common import Failure, is_newer, prepare_vmlinux, write_whole
from initramfs import CPIO_END, initramfs, initramfs_sources

# What the initramfs must bring to reach the root; modprobe adds what these need.
MODULES = ("virtio_pci", "virtio_console", "virtio_blk", "9pnet_virtio", "9p", "overlay")

# Of a lab in the network of two.
LINK_ADDRESS = "10.77.0.%d"


def prepare_initrd(kernel):
    """Make KERNEL/initrd unless it is newer than what it is made of."""
    initrd = os.path.join(kernel, "initrd")
    if not is_newer(initrd, initramfs_sources("qemu")):
        write_whole(initrd, initramfs(kernel, "qemu", MODULES) + CPIO_END)
    return initrd


def quote(path):
    return path.replace(",", ",,")


def connect(path):
    """The second lab's end of a link."""
    end = socket.socket(socket.AF_UNIX)
    try:
        end.connect(path)
    except OSError as e:
        raise Failure(1, "wanted a lab with --link %s,1, found none there: %s"
                      % (path, e.strerror or e)) from None
    return end


def link_devices(link, end):
    """The card of a lab whose --link that is, and the wire: the first lab's QEMU
    listens, the second gets what connect() returned."""
    path, number = link
    wire = ("socket,id=link,fd=%d" % end.fileno() if end else
            "stream,id=link,server=on,addr.type=unix,addr.path=" + quote(path))
    # No ROM to boot from. The wire takes large frames, which cost the host less.
    return ["-netdev", wire, "-device", "virtio-net-pci,netdev=link,romfile=,host_mtu=9000,"
            "mac=52:54:00:77:00:%02d" % number]


def command_line(args, kernel, initrd, job, ports, link_end):
    # QEMU translates code anew for each address it runs at. Where each program's
    # libraries are elsewhere, a page of libc has so many translations in the end that
    # a store to it, once it is free, takes milliseconds: each looks through them all.
    append = ["console=ttyS0,115200", "nokaslr", "norandmaps", "panic=-1", "oops=panic",
              "loglevel=7", args.append]
    # With ERMS Linux clears and copies pages by bytes, and each is a store by itself.
    cpu = "max,-erms,%ssvm" % ("-" if args.cpu == "none" else "+")
    cpu += "".join(",-" + name for name in args.cpu_minus)
    accel = "tcg,thread=" + ("multi" if args.mttcg else "single")
    command = ["qemu-system-x86_64", "-name", "lab", "-nodefaults", "-no-user-config",
               "-display", "none", "-no-reboot", "-m", str(args.mem), "-smp", str(args.smp)]
    if args.icount:
        # Nothing but the instruction count may tell time or differ between runs.
        command += ["-icount", "shift=0,sleep=off", "-seed", "1",
                    "-rtc", "base=2024-01-01,clock=vm"]
        cpu += ",-rdrand"
    if args.debug:
        append += ["slub_debug=FZPU", "page_poison=1"]
    # An ELF kernel is written to memory anew at each reset, also that of a wake-up.
    image = os.path.join(kernel, "vmlinuz") if args.suspend else prepare_vmlinux(kernel)
    command += ["-accel", accel, "-cpu", cpu, "-kernel", image, "-initrd", initrd,
                "-append", " ".join(append),
                "-chardev", "file,id=console,path=" + quote(os.path.join(job, "console.log")),
                "-serial", "chardev:console",
                "-virtfs", "local,path=/,mount_tag=host,security_model=none,readonly=on,"
                           "multidevs=remap",
                "-device", "virtio-serial-pci"]
    if args.monitor:
        command += ["-monitor", "unix:%s,server=on,wait=off" % quote(args.monitor)]
    if args.out:
        command += ["-virtfs", "local,path=%s,mount_tag=out,security_model=none,"
                               "multidevs=remap" % quote(os.path.abspath(args.out))]
    if args.link:
        command += link_devices(args.link, link_end)
    for number, fd in enumerate(ports, start=1):
        command += ["-chardev", "socket,id=port%d,fd=%d" % (number, fd),
                    "-device", "virtserialport,nr=%d,chardev=port%d" % (number, number)]
    for i, (name, readonly) in enumerate(args.disk):
        command += ["-drive", "if=none,id=disk%d,format=raw,discard=unmap,file=%s%s" % (
                        i, quote(os.path.abspath(name)), ",readonly=on" if readonly else ""),
                    "-device", "virtio-blk-pci,drive=disk%d,serial=disk%d" % (i, i)]
    return command


class Room:
    """A running QEMU. ports are our ends of control, stdin, stdout, stderr."""

    def __init__(self, args, kernel, job):
        initrd = prepare_initrd(kernel)
        self.log = os.path.join(job, "qemu.log")
        # At a #VMEXIT QEMU may lose the interrupt that just came for that CPU,
        # its timer's for instance: with a guest that spins it would wait for
        # the next one for ever. So a device interrupts now and then.
        self.beat = None if args.icount else 0.25
        pairs = [socket.socketpair() for _ in range(4)]
        self.ports = [pair[0] for pair in pairs]
        theirs = [pair[1].fileno() for pair in pairs]
        link_end = connect(args.link[0]) if args.link and args.link[1] == 2 else None
        passed = theirs + ([link_end.fileno()] if link_end else [])
        with open(self.log, "wb") as log:
            # A session of its own: a terminal's Ctrl-C is not for QEMU. Nor may QEMU
            # be left over when we are killed.
            self.process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", "--"]
                + command_line(args, kernel, initrd, job, theirs, link_end),
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, pass_fds=passed,
                start_new_session=True)
        for end in [pair[1] for pair in pairs] + ([link_end] if link_end else []):
            end.close()
        # Not on the kernel's command line: with --icount boots are to be alike.
        self.ports[0].send(job.encode() + b"\n")

    def finish(self, args, died):
        """What the emulator itself had to say."""
        with open(self.log, errors="replace") as f:
            return f.read()
