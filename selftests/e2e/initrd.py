# SPDX-License-Identifier: GPL-2.0
"""The smallest Linux guest: an initial RAM file system of busybox and a script."""
import os
import shutil
import sys

sys.path.insert(1, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../scripts/lab.d"))
from initramfs import CPIO_END, cpio_entry, cpio_modules  # noqa: E402 (the lab's)


def make_initrd(path, init, kernel=None, modules=(), files=None):
    """Write it to path; init is a script for /busybox sh, run as the first process.
    Modules of the kernel in this directory are in /modules, see cpio_modules(). files:
    programs more, {name: path}."""
    with open(shutil.which("busybox"), "rb") as f:
        busybox = f.read()
    # the kernel brings /dev/console of its own
    with open(path, "wb") as f:
        f.write(cpio_entry("busybox", 0o100755, busybox) +
                cpio_entry("init", 0o100755, b"#!/busybox sh\n" + init.encode()))
        for name, program in (files or {}).items():
            with open(program, "rb") as data:
                f.write(cpio_entry(name, 0o100755, data.read()))
        f.write((cpio_modules(kernel, modules) if modules else b"") + CPIO_END)
