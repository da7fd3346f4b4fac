# SPDX-License-Identifier: GPL-2.0
"""Initial RAM file systems: the lab's, and what all such archives are made of."""

import lzma
import os
import shutil
import subprocess

HERE = os.path.dirname(os.path.realpath(__file__))


def release_of(kernel):
    with open(os.path.join(kernel, "release")) as f:
        return f.read().strip()


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
    return [os.path.join(HERE, name) for name in ("initramfs.py", "init", "inside", room + ".py",
                                                  "room-" + room)]
