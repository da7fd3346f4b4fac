# SPDX-License-Identifier: GPL-2.0
"""What scripts/lab and its emulators share: errors, kernels, files that are made."""

import os
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
