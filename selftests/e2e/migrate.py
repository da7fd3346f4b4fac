#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""End-to-end: a guest that checks its memory moves from one vmmd to another.

    migrate.py --kernel VMLINUZ --work DIR [--moves N] [--only-moves] [--quick]

Runs vmmd (from PATH) on the kernel and an initial RAM file system made here of
busybox. --quick does that with one CPU and less memory, for slow hosts. Prints TAP;
exits 0 if nothing failed.
"""
import json
import os
import re
import signal
import subprocess
import sys
import time

sys.dont_write_bytecode = True
from certificates import make_authority, make_certificate  # noqa: E402 (beside this file)
from console import SCALE, Console  # noqa: E402
from counting import (TIMEOUT, Guest, arguments, goes_on, init, machines_of,  # noqa: E402
                      names, ssh_to, vmmd, wait_listening)
from initrd import make_initrd  # noqa: E402
from tap import run_tests  # noqa: E402
from wire import Wire  # noqa: E402

# of an emulator on a busy machine; what is promised is kept all the same
DOWNTIME = int(os.environ.get("VMM_MIGRATE_DOWNTIME", "4000"))


class Test:
    def __init__(self, args, initrd):
        self.dir = args.work
        self.moves = args.moves
        self.transcript = os.path.join(args.work, "migrate.txt")
        self.run = ["run", "--kernel", args.kernel, "--initrd", initrd,
                    "--memory", "128M" if args.quick else "192M",
                    "--cpus", "1" if args.quick else "2",
                    "--append", "console=ttyS0 quiet", "--name", "m0"]
        self.names = 0

    def path(self, name):
        return os.path.join(self.dir, name)

    def receive(self, *options, at=None):
        """Another vmmd that waits, and its name."""
        self.names += 1
        name = "m%d" % self.names
        at = at or "unix:" + self.path("sock")
        guest = Guest(["receive", at, "--name", name, *options], self.transcript)
        if at.startswith("unix:"):
            deadline = time.monotonic() + TIMEOUT * SCALE
            while not os.path.exists(at[5:]):
                if time.monotonic() > deadline:
                    raise AssertionError("vmmd receive does not listen")
                time.sleep(0.05)
        else:
            wait_listening(PORT)
        return guest, name

    def unix(self):
        return "unix:" + self.path("sock")


def move(test, guest, name, *options, receive=(), at=None, downtime=DOWNTIME):
    """Another vmmd's guest, which goes on where this one was, and its name."""
    before = guest.count()
    target, new = test.receive(*receive, at=at)
    said = vmmd("migrate", name, at or test.unix(), "--downtime", str(downtime), *options)
    print("# " + said.strip(), flush=True)
    guest.end(0)
    stood = float(re.search(r"stood still for ([\d.]+) ms", said).group(1))
    if stood > downtime:
        raise AssertionError("stood still for %f ms, %d were promised" % (stood, downtime))
    after = target.count()
    if not before <= after:
        raise AssertionError("count %d here, %d there" % (before, after))
    target.count(after + 2)
    if names() != [new]:
        raise AssertionError("list says %r, wanted only %s" % (names(), new))
    return target, new


def moves(test):
    """From one to the next, the given number of times, every other by several streams."""
    guest, name = Guest(test.run, test.transcript), "m0"
    guest.count(2)
    for n in range(test.moves):
        with guest:
            guest, name = move(test, guest, name, "--streams", "3" if n % 2 else "1")
    vmmd("kill", name)
    guest.con.close()


def slow_link(test):
    """It writes while its memory creeps over, until it is slowed down for that."""
    with Guest(test.run, test.transcript) as guest:
        guest.count(2)
        target, name = move(test, guest, "m0", "--bandwidth", "4M", downtime=1000)
    with target:
        vmmd("kill", name)


def stays(test, wanted, *options, receive=(), at=None, ends=1, meanwhile=None):
    """The migration fails with that line, and the guest has not noticed."""
    with Guest(test.run, test.transcript) as guest:
        before = guest.count(2)
        target, _ = test.receive(*receive, at=at)
        with target:
            argv = ["vmmd", "migrate", "m0", at or test.unix(), *options]
            p = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                 stderr=subprocess.PIPE, text=True)
            killed = meanwhile and meanwhile(target)
            _, said = p.communicate(timeout=TIMEOUT * SCALE)
            if p.returncode == 0 or not re.search(wanted, said):
                raise AssertionError("exit status %d, %r, wanted %r" % (p.returncode, said, wanted))
            print("# " + said.strip().splitlines()[-1], flush=True)
            if not killed:
                target.end(ends)
        guest.count(before + 3)
        if names() != ["m0"]:
            raise AssertionError("list says %r" % names())
        if json.loads(vmmd("info", "m0", "--json"))["state"] != "running":
            raise AssertionError("m0 does not run")
        vmmd("kill", "m0")


def wait_until_sending(test):
    deadline = time.monotonic() + TIMEOUT * SCALE
    while os.path.exists(test.path("sock")):
        if time.monotonic() > deadline:
            raise AssertionError("nobody connects")
        time.sleep(0.05)
    time.sleep(0.5 * SCALE)


# so slow that it lasts until something happens
SLOW = ("--bandwidth", "256K")


def cancelled(test):
    def cancel(_):
        wait_until_sending(test)
        vmmd("migrate-cancel", "m0")
    stays(test, "given up", *SLOW, meanwhile=cancel)


def target_killed(test):
    def kill(target):
        wait_until_sending(test)
        target.con.process.kill()
        return True
    stays(test, "unix:.*sock", *SLOW, meanwhile=kill)


def interrupted(test):
    """Ctrl-C: the guest stays, and the other side ends."""
    with Guest(test.run, test.transcript) as guest:
        before = guest.count(2)
        target, _ = test.receive()
        with target:
            p = subprocess.Popen(["vmmd", "migrate", "m0", test.unix(), *SLOW],
                                 stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            wait_until_sending(test)
            p.send_signal(signal.SIGINT)
            p.wait(TIMEOUT * SCALE)
            target.end(1)
        guest.count(before + 3)
        vmmd("kill", "m0")


def promise_kept(test):
    """Not even a guest that does nothing would stand still for so short a time."""
    stays(test, "were promised", "--downtime", "1")


def refused(test):
    stays(test, "other options", receive=("--cpus", "3"), ends=2)


def dry_run(test):
    with Guest(test.run, test.transcript) as guest:
        before = guest.count(2)
        target, _ = test.receive()
        with target:
            said = vmmd("migrate", "m0", test.unix(), "--dry-run").strip()
            print("# " + said)
            if not re.search(r": [1-9]\d* KiB/s, \d+\.\d s for all", said):
                raise AssertionError("said %r" % said)
            target.end(0)
        guest.count(before + 2)
        vmmd("kill", "m0")


PORT = 7321
TCP = "tcp:127.0.0.1:%d" % PORT


def tls(test):
    for name in ("ca", "other"):
        make_authority(test.path(name))
        make_certificate(test.path("tls-" + name), test.path(name), "IP:127.0.0.1,DNS:localhost",
                         trusts=test.path("ca"))
    directory = ("--tls-dir", test.path("tls-ca"))
    guest = Guest(test.run, test.transcript)
    with guest:
        guest.count(2)
        target, name = move(test, guest, "m0", *directory, "--streams", "2", receive=directory,
                            at=TCP)
    with target:
        vmmd("kill", name)


def tls_stranger(test):
    """A certificate of somebody else opens nothing."""
    stays(test, "tcp:127.0.0.1:7321: ", "--tls-dir", test.path("tls-other"),
          receive=("--tls-dir", test.path("tls-ca")), at=TCP)


def ssh(test):
    """The other side is begun there, in the background, and keeps its name."""
    there = test.path("there")
    with ssh_to(there, test.path("bin")), Guest(test.run, test.transcript) as guest:
        before = guest.count(2)
        said = vmmd("migrate", "m0", "ssh:there", "--streams", "2", wanted=1)
        if "one connection" not in said:
            raise AssertionError("said %r" % said)
        print("# " + vmmd("migrate", "m0", "ssh:there", "--downtime", str(DOWNTIME)).strip())
        guest.end(0)
    with machines_of(there):
        goes_on(Console(["vmmd", "console", "m0"], test.transcript), before)
        vmmd("kill", "m0")


def cut(test, passes):
    """The link is cut at "go", and each side learns from the other where it is."""
    with Guest(test.run, test.transcript) as guest:
        before = guest.count(2)
        target, name = test.receive(at=TCP)
        with target:
            # each listens for ever
            port = PORT + 1 + passes
            wire = Wire(("127.0.0.1", port), ("127.0.0.1", PORT), passes, again=True)
            said = vmmd("migrate", "m0", "tcp:127.0.0.1:%d" % port, "--downtime", str(DOWNTIME),
                        wanted=0 if passes else 1)
            print("# " + said.strip(), flush=True)
            if not wire.cut:
                raise AssertionError("\"go\" was not seen")
            (guest if passes else target).end(0 if passes else 1)
            if names() != [name if passes else "m0"]:
                raise AssertionError("list says %r" % names())
            (target if passes else guest).count(before + 3)
            vmmd("kill", names()[0])


def in_the_clear(test):
    """Not even to an address of this host's own, if it is not a loopback's."""
    with Guest(test.run, test.transcript) as guest:
        before = guest.count(2)
        subprocess.run(["ip", "address", "add", "198.51.100.1/32", "dev", "lo"], check=True)
        target, _ = test.receive(at="tcp::7321")
        with target:
            said = vmmd("migrate", "m0", "tcp:198.51.100.1", wanted=1)
            if not re.search("in the clear.*--tls-dir.*--insecure", said):
                raise AssertionError("said %r" % said)
            target.end(1)
        guest.count(before + 2)
        vmmd("kill", "m0")


def main():
    args = arguments(__doc__, ("--moves", dict(type=int, default=3)),
                     ("--only-moves", dict(action="store_true")),
                     ("--quick", dict(action="store_true")))
    initrd = os.path.join(args.work, "initrd")
    make_initrd(initrd, init(4 if args.quick else 24))
    test = Test(args, initrd)
    tests = [
        ("a running machine moves on, and on", lambda: moves(test)),
        ("over a slow link, too", lambda: slow_link(test)),
        ("it can be asked whether it could", lambda: dry_run(test)),
        ("migrate-cancel keeps it here", lambda: cancelled(test)),
        ("so does Ctrl-C", lambda: interrupted(test)),
        ("so does the end of the other side", lambda: target_killed(test)),
        ("what was promised is kept: it stays", lambda: promise_kept(test)),
        ("another machine than it is refused", lambda: refused(test)),
        ("it moves over TLS", lambda: tls(test)),
        ("but not to somebody else", lambda: tls_stranger(test)),
        ("nor in the clear", lambda: in_the_clear(test)),
        ("it moves over ssh", lambda: ssh(test)),
        ("cut behind \"go\" it runs there", lambda: cut(test, True)),
        ("cut before \"go\" it runs here", lambda: cut(test, False)),
    ]
    return run_tests(tests[:1] if args.only_moves else tests)


if __name__ == "__main__":
    sys.exit(main())
