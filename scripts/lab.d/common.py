# SPDX-License-Identifier: GPL-2.0
"""What scripts/lab and its emulators share: errors, kernels, initramfs."""

import lzma
import os
import shutil
import struct
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.realpath(__file__))
TOP = os.path.dirname(os.path.dirname(HERE))
BUILD = os.path.join(TOP, "build")


class Failure(Exception):
    """Ends the lab with a status after one line on standard error."""

    def __init__(self, status, message):
        super().__init__(message)
        self.status = status


def say(message):
    print("scripts/lab: " + message, file=sys.stderr, flush=True)


def write_whole(path, data):
    """Another lab may be making the same file: whichever is seen is whole."""
    with tempfile.NamedTemporaryFile(dir=os.path.dirname(path), delete=False) as new:
        new.write(data)
    os.rename(new.name, path)


def is_newer(path, sources):
    return os.path.exists(path) and all(
        os.path.getmtime(path) > os.path.getmtime(s) for s in sources)


def prepare_kernel(series):
    """Return the directory of the kernel, downloaded when it is not there yet."""
    for command in (["deps"], ["kernel", series]):
        result = subprocess.run([os.path.join(TOP, "scripts", command[0])] + command[1:],
                                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        if result.returncode:
            raise Failure(1, "scripts/%s failed, see above" % " ".join(command))
    return result.stdout.strip()


def release_of(kernel):
    with open(os.path.join(kernel, "release")) as f:
        return f.read().strip()


def prepare_vmlinux(kernel):
    """Return the kernel to boot: the one inside vmlinuz, which can be entered
    through PVH. To unpack itself would take it seconds in an emulator."""
    vmlinux = os.path.join(kernel, "vmlinux")
    if os.path.exists(vmlinux):
        return vmlinux
    with open(os.path.join(kernel, "vmlinuz"), "rb") as f:
        image = f.read()
    # See Documentation/arch/x86/boot.rst for the fields; four bytes after the
    # payload give its size.
    start = (image[0x1f1] + 1) * 512 + struct.unpack_from("<I", image, 0x248)[0]
    payload = image[start:start + struct.unpack_from("<I", image, 0x24c)[0] - 4]
    for magic, unpack in ((b"\xfd7zXZ", "xz"), (b"\x28\xb5\x2f\xfd", "zstd")):
        if payload.startswith(magic):
            unpacked = subprocess.run([unpack, "-dc"], input=payload, stdout=subprocess.PIPE,
                                      check=True).stdout
            write_whole(vmlinux, unpacked)
            return vmlinux
    return os.path.join(kernel, "vmlinuz")


def module_paths(kernel, names):
    """The files of these modules and of those that they need, in the order to
    load them."""
    order = []
    for name in names:
        shown = subprocess.run(
            ["/usr/sbin/modprobe", "-d", kernel, "-S", release_of(kernel), "--show-depends", name],
            stdout=subprocess.PIPE, text=True, check=True).stdout
        paths = [line.split()[1] for line in shown.splitlines() if line.startswith("insmod ")]
        order += [path for path in paths if path not in order]
    return order


def cpio_entry(name, mode, data=b""):
    """One file of a newc cpio archive."""
    path = name.encode() + b"\0"
    header = b"070701" + b"".join(b"%08X" % field for field in (
        0, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(path), 0)) + path
    return header + b"\0" * (-len(header) % 4) + data + b"\0" * (-len(data) % 4)


def cpio_modules(kernel, modules):
    """They and what they need in /modules, and in which order to load them."""
    names = []
    archive = cpio_entry("modules", 0o40755)
    for path in module_paths(kernel, modules):
        with open(path, "rb") as f:
            data = f.read()
        name = os.path.basename(path)
        if name.endswith(".xz"):
            name, data = name[:-3], lzma.decompress(data)
        names.append(name)
        archive += cpio_entry("modules/" + name, 0o100644, data)
    return archive + cpio_entry("modules/order", 0o100644, "\n".join(names).encode() + b"\n")


def initramfs(kernel, room, modules, more=()):
    """The bytes of an initramfs: busybox, the modules, init, inside, lab.d/room-ROOM
    as /room, and more (name, mode, path). The archive's end is missing, so that
    more entries can be added."""
    archive = cpio_entry("bin", 0o40755) + cpio_modules(kernel, modules)
    for name, mode, path in (
            ("bin/busybox", 0o100755, shutil.which("busybox")),
            ("init", 0o100755, os.path.join(HERE, "init")),
            ("inside", 0o100755, os.path.join(HERE, "inside")),
            ("room", 0o100644, os.path.join(HERE, "room-" + room)), *more):
        with open(path, "rb") as f:
            archive += cpio_entry(name, mode, f.read())
    return archive


CPIO_END = cpio_entry("TRAILER!!!", 0)


def initramfs_sources(room):
    """The files that an initramfs for this room is made of."""
    return [os.path.join(HERE, name) for name in ("common.py", "init", "inside", room + ".py",
                                                  "room-" + room)]
