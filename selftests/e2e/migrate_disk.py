#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""End-to-end: a guest that checks its disk moves between two vmmds that share it, or takes it along.

    migrate_disk.py --kernel VMLINUZ --modules DIR --work DIR [--moves N]
                    [--only-moves]

DIR has the modules of the kernel, in lib/modules.
Runs vmmd (from PATH) on the kernel and an initial RAM file system made here of
busybox and the modules that drive the disk. Prints TAP; exits 0 if nothing failed.
"""
import json
import os
import re
import subprocess
import sys
import time

sys.dont_write_bytecode = True
from console import SCALE, Console  # noqa: E402 (beside this file)
from counting import (MODULES, TIMEOUT, Guest, arguments, goes_on, init,  # noqa: E402
                      machines_of, names, run_vmmd, ssh_to, vmmd)
from initrd import make_initrd  # noqa: E402
from tap import run_tests  # noqa: E402
from wire import Wire  # noqa: E402

# of an emulator on a busy machine
DOWNTIME = os.environ.get("VMM_MIGRATE_DOWNTIME", "8000")


class Test:
    def __init__(self, args):
        self.dir = args.work
        self.moves = args.moves
        self.transcript = self.path("migrate_disk.txt")
        make_initrd(self.path("initrd"), init(4, disk=True), args.modules, MODULES)
        self.run = ["--kernel", args.kernel, "--initrd", self.path("initrd"), "--memory", "128M",
                    "--append", "console=ttyS0 quiet", "--name", "m0"]
        self.names = 0

    def path(self, name):
        return os.path.join(self.dir, name)

    def disk(self, name):
        """An empty one."""
        for left in (name, name + ".vmmd-generation"):
            if os.path.exists(self.path(left)):
                os.unlink(self.path(left))
        with open(self.path(name), "wb") as f:
            f.truncate(8 << 20)
        return self.path(name)

    def start(self, disk):
        return Guest(["run", disk, *self.run], self.transcript)

    def receive(self, *options):
        self.names += 1
        name = "m%d" % self.names
        guest = Guest(["receive", self.unix(), "--name", name, *options], self.transcript)
        deadline = time.monotonic() + TIMEOUT * SCALE
        while not os.path.exists(self.path("sock")):
            if time.monotonic() > deadline:
                raise AssertionError("vmmd receive does not listen")
            time.sleep(0.05)
        return guest, name

    def unix(self):
        return "unix:" + self.path("sock")


def generation(disk):
    with open(disk + ".vmmd-generation", encoding="ascii") as f:
        return int(f.read().split()[2])


def move(test, guest, name, receive=(), migrate=()):
    before = guest.count()
    target, new = test.receive(*receive)
    print("# " + vmmd("migrate", name, test.unix(), "--downtime", DOWNTIME, *migrate).strip(),
          flush=True)
    guest.end(0)
    after = target.count()
    if after < before:
        raise AssertionError("count %d here, %d there" % (before, after))
    # each round checks the record of the one before, which was written here
    target.count(after + 2)
    if names() != [new]:
        raise AssertionError("list says %r, wanted only %s" % (names(), new))
    return target, new


def moves(test, disk):
    """There and back: each time another vmmd has the disk, and the larger number."""
    guest, name = test.start(disk), "m0"
    guest.count(2)
    last = 0
    for _ in range(test.moves):
        with guest:
            guest, name = move(test, guest, name)
        if generation(disk) <= last:
            raise AssertionError("generation %d after %d" % (generation(disk), last))
        last = generation(disk)
        said = vmmd("run", disk, *test.run[:-2], "--name", "thief", "--console", "none", wanted=1)
        if "is locked" not in said:
            raise AssertionError("another one got the disk: %r" % said)
    vmmd("kill", name)
    guest.con.close()


def raw(test):
    moves(test, test.disk("disk"))


def overlay(test):
    """What is in its map is the other side's to read."""
    base, top = test.disk("base"), test.path("top")
    vmmd("overlay", base, top)
    moves(test, top)


def goes_over(test):
    """Each time to a disk of its own, and the one before stays as it was."""
    disks = [test.disk("over0")]
    guest, name = test.start(disks[0]), "m0"
    for n in range(test.moves):
        guest.count(2)
        disks.append(test.path("over%d" % (n + 1)))
        with guest:
            guest, name = move(test, guest, name, ("--disk", disks[-1]), ("--with-disk",))
        with open(disks[-2], "rb") as f:
            left = f.read()
        if left[512:1024].rstrip(b"\0") != b"r1\n":
            raise AssertionError("the guest did not write to its disk")
        guest.count(guest.latest() + 2)
        with open(disks[-2], "rb") as f:
            if f.read() != left:
                raise AssertionError("the disk that stayed is written to")
        if os.stat(disks[-1]).st_blocks * 512 > 1 << 20:
            raise AssertionError("the holes of the disk became blocks")
        if os.path.exists(disks[-1] + ".vmmd-generation"):
            raise AssertionError("a disk that goes over has a generation")
    vmmd("kill", name)
    guest.con.close()
    for disk in disks:
        os.unlink(disk)


def over_ssh(test):
    """Who is begun there is told where the disk goes, whatever its name is."""
    there, disk = test.path("there"), test.path("it's $HOME \"there\"")
    with ssh_to(there, test.path("bin")), test.start(test.disk("disk")) as guest:
        before = guest.count(2)
        # it has that name here already
        said = vmmd("migrate", "m0", "ssh:there", "--with-disk", wanted=1)
        if "File exists" not in said:
            raise AssertionError("said %r" % said)
        vmmd("migrate", "m0", "ssh:there", "--with-disk", "--disk", disk, "--downtime", DOWNTIME)
        guest.end(0)
    with machines_of(there):
        goes_on(Console(["vmmd", "console", "m0"], test.transcript), before)
        if json.loads(vmmd("info", "m0", "--json"))["disk"] != disk:
            raise AssertionError("the disk is not at %s" % disk)
        vmmd("kill", "m0")
    os.unlink(disk)


def full(test):
    """There is no room for the disk: it goes on here, and what was made there is gone."""
    small = test.path("small")
    os.makedirs(small)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "small", small], check=True)
    disk = test.disk("disk")
    with open(disk, "r+b") as f:
        f.seek(4 << 20)
        f.write(os.urandom(4 << 20))
    try:
        stays(test, disk, ("No space left", ("--disk", small + "/disk"), ("--with-disk",)))
        if os.listdir(small):
            raise AssertionError("there is still %r" % os.listdir(small))
    finally:
        subprocess.run(["umount", small], check=True)


def stays(test, disk, *attempts):
    """What is said, and the options of both sides; it goes on here after each."""
    with test.start(disk) as guest:
        for wanted, receive, migrate in attempts:
            before = guest.count(2)
            target, _ = test.receive(*receive)
            with target:
                said = vmmd("migrate", "m0", test.unix(), "--downtime", DOWNTIME, *migrate,
                            wanted=1)
                if not re.search(wanted, said):
                    raise AssertionError("said %r, wanted %r" % (said, wanted))
                print("# " + said.strip().splitlines()[-1], flush=True)
                target.end(1)
            guest.count(before + 3)
            if names() != ["m0"]:
                raise AssertionError("list says %r" % names())
        vmmd("kill", "m0")


def refused(test):
    """Targets that have not the disk, or no place for it."""
    copy, over = ("--disk", test.disk("copy")), ("--with-disk",)
    stays(test, test.disk("disk"),
          ("another file, perhaps a copy", copy, ()),
          ("no such file", ("--disk", test.path("nothing")), ()),
          ("say where to with --disk", (), over),
          ("File exists", copy, over))


def cut(test, passes):
    """The link is cut at "go": the disk says who has the guest, and nothing is lost."""
    if os.path.exists(test.path("wire")):
        os.unlink(test.path("wire"))
    disk = test.disk("disk")
    with test.start(disk) as guest:
        before = guest.count(2)
        target, name = test.receive()
        with target:
            wire = Wire(test.path("wire"), test.path("sock"), passes)
            p = run_vmmd("migrate", "m0", "unix:" + test.path("wire"), "--downtime", DOWNTIME)
            print("# exit status %d, %s" % (p.returncode, p.stderr.strip()), flush=True)
            if not wire.cut:
                raise AssertionError("\"go\" was not seen")
            # both may ask the disk when "go" went through: it is who comes first
            moved = p.returncode == 0
            if p.returncode not in ((0, 1) if passes else (1,)):
                raise AssertionError("exit status %d" % p.returncode)
            (guest if moved else target).end(0 if moved else 1)
            if names() != [name if moved else "m0"]:
                raise AssertionError("list says %r" % names())
            (target if moved else guest).count(before + 3)
            vmmd("kill", names()[0])


def killed(test):
    """The other side is, in the middle: it goes on here."""
    with test.start(test.disk("disk")) as guest:
        before = guest.count(2)
        target, _ = test.receive()
        with target:
            p = subprocess.Popen(["vmmd", "migrate", "m0", test.unix(), "--bandwidth", "256K"],
                                 stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            while os.path.exists(test.path("sock")):
                time.sleep(0.05)
            time.sleep(0.5 * SCALE)
            target.con.process.kill()
            if p.wait(TIMEOUT * SCALE) != 1:
                raise AssertionError("exit status %d" % p.returncode)
        guest.count(before + 3)
        vmmd("kill", "m0")


def main():
    args = arguments(__doc__, ("--modules", dict(required=True)),
                     ("--moves", dict(type=int, default=2)),
                     ("--only-moves", dict(action="store_true")))
    test = Test(args)
    tests = [
        ("a machine moves, and the disk that both have", lambda: raw(test)),
        ("an overlay, too", lambda: overlay(test)),
        ("it moves and takes its disk along", lambda: goes_over(test)),
        ("cut behind \"go\" it runs on one side", lambda: cut(test, True)),
        ("cut before \"go\" it runs here", lambda: cut(test, False)),
        ("with the other side killed, too", lambda: killed(test)),
        ("it stays if the other side has another disk, or no place for this one",
         lambda: refused(test)),
        ("or no room", lambda: full(test)),
        ("the disk goes over ssh", lambda: over_ssh(test)),
    ]
    return run_tests(tests[:3] if args.only_moves else tests)


if __name__ == "__main__":
    sys.exit(main())
