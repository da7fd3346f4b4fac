#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""End-to-end: what the network sees of a guest that moves, or is saved and restored.

    gap.py --kernel DIR --stream FILE --work DIR [--moves N]

DIR has the kernel and its modules, FILE is the program of stream.c. The guest and the
host send each other numbered UDP packets and have a TCP connection; each side of a
move has a tap device of its own, and both are on one bridge. The times mean something
in a lab that counts instructions. One that is slowed down is moved if N is not 1. Runs
vmmd from PATH, and makes the bridge, as root. Prints TAP; exits 0 if nothing failed.
"""
import glob
import os
import re
import shutil
import subprocess
import sys
import time

sys.dont_write_bytecode = True
from console import Console, ConsoleError  # noqa: E402 (beside this file)
from counting import TIMEOUT, arguments, names, run_vmmd, vmmd  # noqa: E402
from stream import (BRIDGE, MAC, TAPS, TICK_MS, Peer, make_bridge, make_guest,  # noqa: E402
                    parse, remove_bridge)
from tap import run_tests  # noqa: E402

GAP_MS = 50             # the longest that there may be
DOWNTIME_MS = 30        # what is promised
SLOWED = (25, "--bandwidth", "16M")     # to one that is slowed down
SLOWED_GAP_MS = 100     # then: some pauses more, below 20 ms each, if it says nothing between
SETTLE = 0.3            # s, before and after what is tried
FATAL = "BAD|Kernel panic|BUG|clocksource.*unstable"


def port_of_mac():
    """Where the bridge sends what is for the guest."""
    found = subprocess.run(["bridge", "fdb", "show", "br", BRIDGE], check=True,
                           capture_output=True, text=True).stdout
    ports = re.findall(r"^%s dev (\S+)" % MAC, found, re.M)
    return ports[0] if ports else None


def check(tally, what, tcp, gap_ms):
    """Nothing came twice, and what the figure is. Packets may be lost: UDP says so."""
    for who, heard in ("host", tally.host), ("guest", tally.guest):
        if not heard["packets"] or heard["old"]:
            raise AssertionError("%s: the %s heard %r" % (what, who, heard))
        if heard["gap"] > gap_ms * 1000000:
            raise AssertionError("%s: the %s heard nothing for %.1f ms, wanted %d at most" % (
                what, who, heard["gap"] / 1e6, gap_ms))
        if tcp and heard["stall"] > 1000000000:
            raise AssertionError("%s: no byte came to the %s for %.1f s" % (
                what, who, heard["stall"] / 1e9))
    if tally.host["skew"] > GAP_MS * 1000000:
        raise AssertionError("%s: the guest's clock was off by %.1f ms" % (
            what, tally.host["skew"] / 1e6))


class Test:
    def __init__(self, args):
        self.dir, self.args = args.work, args
        self.transcript = self.path("gap.txt")
        self.names = 0
        make_guest(self.path("initrd"), args.kernel, args.stream)

    def path(self, name):
        return os.path.join(self.dir, name)

    def machine(self, argv, tap, vhost):
        """Its console. It is the only one, under a name that was not there before."""
        self.names += 1
        guest = Console(["vmmd", *argv, "--name", "g%d" % self.names, "--net",
                         "tap=" + TAPS[tap], "--net-vhost", vhost], self.transcript)
        guest.name, guest.tap, guest.vhost = "g%d" % self.names, tap, vhost
        return guest

    def start(self, vhost, tcp=False, ms=TICK_MS, busy=False):
        guest = self.machine(
            ["run", "--kernel", self.args.vmlinuz, "--initrd", self.path("initrd"), "--memory",
             "128M", "--mac", MAC, "--append", "console=ttyS0 quiet ms=%d tcp=%s busy=%d" % (
                 ms, "connect" if tcp else "none", busy)], 0, vhost)
        try:
            guest.wait_for("streams", TIMEOUT, fatal=FATAL)
        except ConsoleError:
            guest.close()
            raise
        time.sleep(SETTLE)
        return guest

    def move(self, guest, downtime=DOWNTIME_MS, *options):
        """Where it is then: at the other tap device."""
        target = self.machine(["receive", "unix:" + self.path("sock")], 1 - guest.tap, guest.vhost)
        deadline = time.monotonic() + TIMEOUT
        while not os.path.exists(self.path("sock")):
            if time.monotonic() > deadline:
                raise AssertionError("vmmd receive does not listen")
            time.sleep(0.05)
        said = vmmd("migrate", guest.name, "unix:" + self.path("sock"), "--downtime",
                    str(downtime), *options)
        if guest.wait(TIMEOUT):
            raise AssertionError("the source ended with status %d" % guest.wait(0))
        target.said = said.strip()
        return target


def is_at(guest, what):
    if port_of_mac() != TAPS[guest.tap]:
        raise AssertionError("%s: the guest is at %s, and the bridge sends to %s" % (
            what, TAPS[guest.tap], port_of_mac()))


class Worst:
    """Of all the tallies."""

    def __init__(self, gap_ms=GAP_MS):
        self.gap, self.lost, self.gap_ms = [], [], gap_ms

    def add(self, what, tally, tcp=False):
        print("# %s: %s" % (what, tally), flush=True)
        check(tally, what, tcp, self.gap_ms)
        self.gap.append(tally.of_both("gap") / 1e6)
        self.lost.append(tally.host["lost"] + tally.guest["lost"])

    def tell(self):
        gap = sorted(self.gap)
        print("# %d times: the longest gap %.1f ms, the median %.1f; %d packets lost, %d at most" % (
            len(gap), gap[-1], gap[len(gap) // 2], sum(self.lost), max(self.lost)), flush=True)


def moves(test, vhost, busy=False):
    """One connection for all the moves: it would break, or a byte of it be wrong."""
    worst = Worst(SLOWED_GAP_MS if busy else GAP_MS)
    with Peer(test.args.stream, tcp=True) as peer:
        guest = test.start(vhost, tcp=True, busy=busy)
        for n in range(1, test.args.moves + 1):
            with guest:
                peer.anew()
                time.sleep(SETTLE)
                before = peer.tally()
                target = test.move(guest, *(SLOWED if busy else ()))
                time.sleep(SETTLE)
                with_target(target, lambda: move_is_good(
                    target, "move %d" % n, peer, before, worst, busy))
            guest = target
        with guest:
            vmmd("kill", guest.name)
    worst.tell()


def with_target(guest, check):
    """It is left running only if all is well."""
    try:
        check()
    except BaseException:
        guest.close()
        raise


def move_is_good(target, what, peer, before, worst, busy):
    print("# " + target.said, flush=True)
    if busy and "slowed down" not in target.said:
        raise AssertionError("it was not slowed down")
    after = peer.tally()
    worst.add(what, after, tcp=True)
    if before.of_both("gap") > GAP_MS * 500000:
        raise AssertionError("a gap of %.1f ms before anything moves" % (
            before.of_both("gap") / 1e6))
    for who, was, is_now in ("host", before.host, after.host), ("guest", before.guest, after.guest):
        if is_now["tcp"] <= was["tcp"]:
            raise AssertionError("%s: no byte came to the %s" % (what, who))


def heard(guest):
    """By one that says nothing on the network, but answers on its console."""
    guest.line("")
    _, match = guest.wait_for(r"mine (.*)\n", TIMEOUT, fatal=FATAL)
    return parse(match.group(1))


def silent(test, vhost):
    """What is for one that never sends anything finds it, since vmmd says where it is."""
    with Peer(test.args.stream, tcp=False):
        guest = test.start(vhost, ms=0)
        with guest:
            heard(guest)
            time.sleep(SETTLE)
            target = test.move(guest)
        with target:
            is_at(target, "moved")
            found = heard(target)
            print("# moved: %r" % found)
            if found["gap"] > GAP_MS * 1000000 or not found["packets"]:
                raise AssertionError("it heard %r" % found)
            vmmd("snapshot", target.name, test.path("silent"))
            vmmd("kill", target.name)
            target.wait(TIMEOUT)
        guest = test.machine(["restore", test.path("silent")], 1 - target.tap, vhost)
        with guest:
            heard(guest)
            is_at(guest, "restored")
            if not heard(guest)["packets"]:
                raise AssertionError("restored, it hears nothing")
            vmmd("kill", guest.name)
            guest.wait(TIMEOUT)


def goes_on(peer, what, old, worst):
    """From a number that it had when it was saved, and with none left out."""
    peer.anew()
    time.sleep(SETTLE)
    tally = peer.tally()
    worst.add(what, tally)
    if tally.host["lost"] or not old.host["first"] <= tally.host["first"]:
        raise AssertionError("%s: %r, it was saved at %r" % (what, tally.host, old.host))


def restored(test, peer, argv, was, saved, worst):
    """The first that comes is a number of when it was saved, or the next."""
    peer.anew()
    guest = test.machine(argv, 1 - was.tap, was.vhost)
    with_target(guest, lambda: first_is(peer, argv[0], saved, worst))
    return guest


def first_is(peer, what, saved, worst):
    deadline = time.monotonic() + TIMEOUT
    while True:
        time.sleep(SETTLE)
        tally = peer.tally()
        if tally.host["packets"]:
            break
        if time.monotonic() > deadline:
            raise AssertionError("%s: nothing comes" % what)
    if not saved.host["first"] <= tally.host["first"] <= saved.host["last"] + 1:
        raise AssertionError("%s: it begins with %d, and was saved between %d and %d" % (
            what, tally.host["first"], saved.host["first"], saved.host["last"]))
    if tally.host["lost"] or tally.host["old"]:
        raise AssertionError("%s: %r" % (what, tally.host))
    goes_on(peer, what, saved, worst)


def again_and_again(test, vhost):
    """Saved, restored, cloned and moved; each time it is at the other tap device."""
    worst = Worst()
    with Peer(test.args.stream, tcp=False) as peer:
        guest = test.start(vhost)
        for n in range(1, test.args.moves + 1):
            path = test.path("saved%d" % n)
            with guest:
                peer.anew()
                vmmd("snapshot", guest.name, path)
                time.sleep(SETTLE)
                saved = peer.tally()
                worst.add("snapshot %d" % n, saved)
                vmmd("kill", guest.name)
                guest.wait(TIMEOUT)
            with restored(test, peer, ["clone", path], guest, saved, worst) as clone:
                clone.wait(TIMEOUT)
                clone.name += "-1"
                vmmd("kill", clone.name)
            back = restored(test, peer, ["restore", path], clone, saved, worst)
            with back:
                peer.anew()
                guest = test.move(back)
                time.sleep(SETTLE)
                with_target(guest, lambda: worst.add("move %d" % n, peer.tally()))
            for name in glob.glob(path + "*"):
                os.unlink(name)
        with guest:
            vmmd("kill", guest.name)
    worst.tell()


def end_all():
    """Whatever a test that failed has left."""
    for name in names():
        run_vmmd("kill", name)


def read_ahead(args):
    """What is read while a clock runs out: an idle lab's leaps until the file has come."""
    vmmd("--help")
    args.vmlinuz = os.path.join(args.work, "vmlinuz")
    shutil.copy(os.path.join(args.kernel, "vmlinuz"), args.vmlinuz)
    args.stream = shutil.copy(args.stream, os.path.join(args.work, "stream"))


def main():
    args = arguments(__doc__, ("--stream", dict(required=True)),
                     ("--moves", dict(type=int, default=50)))
    read_ahead(args)
    test = Test(args)
    # how long it says nothing depends on when it happens to be held: not for every day
    slowed = [("and of a guest that is slowed down to move",
               lambda: moves(test, "on", busy=True))] if args.moves > 1 else []
    make_bridge()
    try:
        return run_tests([
            ("%d moves with vhost-net: no gap over %d ms, one TCP connection" % (
                args.moves, GAP_MS), lambda: moves(test, "on")),
            ("and by vmmd itself", lambda: moves(test, "off")),
            *slowed,
            ("a silent guest is found where it has moved to, and where it is restored",
             lambda: silent(test, "on")),
            ("by vmmd itself, too", lambda: silent(test, "off")),
            ("packets are numbered on when it is saved, cloned, restored and moved %d times" %
             args.moves, lambda: again_and_again(test, "on")),
        ], after=end_all)
    finally:
        remove_bridge()


if __name__ == "__main__":
    sys.exit(main())
