#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""End-to-end: a guest that checks its memory and its disk moves between two hosts.

    hosts.py [--first SERIES] [--second SERIES] [--minus NAME,...] [--moves N] [--quick]
             --work DIR

Starts two labs with a network between them, whose kernels are of these series and of
which the first one's CPU is without the features named, see scripts/lab. Runs on the
machine itself; in each lab it runs once more and does there what it is told. Prints
TAP; exits 0 if nothing failed.
"""
import argparse
import json
import os
import re
import select
import shutil
import subprocess
import sys
import time

sys.dont_write_bytecode = True
from certificates import make_authority, make_certificate  # noqa: E402 (beside this file)
from console import ConsoleError  # noqa: E402
from counting import MODULES, Guest, init, names, run_vmmd, vmmd, wait_listening  # noqa: E402
from initrd import make_initrd  # noqa: E402
from tap import run_tests  # noqa: E402

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PORT = 7321
# of an emulator on a busy machine; what is promised is kept all the same
DOWNTIME = int(os.environ.get("VMM_MIGRATE_DOWNTIME", "8000"))
# Seconds that an answer may take, of which the first is that the lab has started: more
# than what is waited for there.
ANSWER = 300
# The first host is older by so many seconds, and so are its clocks; a guest's may be
# wrong by that much less before it is seen, since consoles are slow.
OLDER = 30
WRONG = 12


class Failure(Exception):
    """Wanted and found."""


def want(condition, text):
    if not condition:
        raise Failure(text)


# ---- in a lab


class Agent:
    """What a host does when it is told so: by the method's name."""

    def __init__(self):
        self.series = ".".join(os.uname().release.split(".")[:2])
        self.dir = "/tmp/hosts"
        os.makedirs(self.dir)
        os.environ["VMMD_RUNTIME_DIR"] = os.path.join(self.dir, "run")
        os.environ["PATH"] = os.path.join(TOP, "build/vmmd") + ":" + os.environ["PATH"]
        self.transcript = os.path.join(os.environ["OUT"], "guests.txt")
        self.guests = {}

    def load(self):
        """The module; seconds that the host is up, and its guests' features."""
        subprocess.run(["insmod", os.path.join(TOP, "build/kmod-%s/vmm.ko" % self.series)],
                       check=True, stdout=sys.stderr)
        self.wait_refined()
        with open("/proc/uptime", encoding="ascii") as f:
            return float(f.read().split()[0]), vmmd("features")

    @staticmethod
    def wait_refined():
        """Until the kernel has measured the TSC better than at its start: that is too
        coarse for a guest of another host."""
        deadline = time.monotonic() + 60
        while "Refined TSC" not in subprocess.run(["dmesg"], stdout=subprocess.PIPE,
                                                  text=True, check=True).stdout:
            want(time.monotonic() < deadline, "the TSC's frequency is not known well")
            time.sleep(0.5)

    def start(self, name, argv, features=None, disk=False):
        argv = ["run", *([self.new_disk(name)] if disk else []), *argv, "--name", name]
        if features is not None:
            path = os.path.join(self.dir, "features")
            with open(path, "w", encoding="ascii") as f:
                f.write(features)
            argv += ["--features", path]
        self.guests[name] = Guest(argv, self.transcript)

    def new_disk(self, name):
        with open(os.path.join(self.dir, name), "wb") as f:
            f.truncate(8 << 20)
        return f.name

    def receive(self, name, at, tls, disk=False):
        path = os.path.join(self.dir, name)
        # that it left here when it went away
        if disk and os.path.exists(path):
            os.unlink(path)
        options = ["--disk", path] if disk else []
        self.guests[name] = Guest(["receive", at, "--name", name, "--tls-dir", tls, *options],
                                  self.transcript)
        wait_listening(PORT)

    def count(self, name, at_least=0):
        """The count, and how long the guest says that it is up."""
        guest = self.guests[name]
        return guest.count(at_least), guest.up

    def migrate(self, name, *argv):
        """How it ended, what was said, and how many bytes left this host for that."""
        before = self.sent()
        p = run_vmmd("migrate", name, *argv)
        return p.returncode, p.stdout + p.stderr, self.sent() - before

    @staticmethod
    def sent():
        with open("/sys/class/net/eth0/statistics/tx_bytes", encoding="ascii") as f:
            return int(f.read())

    def end(self, name, wanted):
        self.guests.pop(name).end(wanted)

    def kill(self, name):
        vmmd("kill", name)
        self.guests.pop(name).con.close()

    def names(self):
        return names()

    def forget(self):
        """Whatever a test has left here."""
        for guest in self.guests.values():
            guest.con.close()
        self.guests.clear()


def serve():
    """A line with a list on stdin, the method's name and its arguments, is answered by
    a line on stdout: true and what it returned, or false and why not."""
    agent = Agent()
    for line in sys.stdin:
        name, *arguments = json.loads(line)
        try:
            answer = [True, getattr(agent, name)(*arguments)]
        except Exception as error:
            answer = [False, str(error) or repr(error)]
        print(json.dumps(answer), flush=True)
    agent.forget()
    return subprocess.run(["rmmod", "vmm"], check=False).returncode


# ---- on the machine


class Host:
    """A lab in which serve() runs."""

    def __init__(self, work, number, series, minus):
        self.number = number
        self.address = "10.77.0.%d" % number
        self.tls = os.path.join(work, "tls%d" % number)
        self.log = os.path.join(work, "host%d.txt" % number)
        argv = [os.path.join(TOP, "scripts/lab"), "--kernel", series, "--mem", "1024",
                "--link", "%s,%d" % (os.path.join(work, "link"), number),
                "--out", os.path.join(work, "host%d" % number), "--timeout", "3600"]
        if minus:
            argv += ["--cpu-minus", minus]
        with open(self.log, "wb") as log:
            self.lab = subprocess.Popen(argv + ["--", os.path.abspath(__file__), "--serve"],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=log)
        self.heard = b""
        self.features = None    # until load()
        self.since = None       # the machine's clock when its own was 0

    def load(self):
        up, self.features = self.call("load")
        self.since = time.monotonic() - up

    def call(self, name, *arguments):
        """Have it done there: what came of it."""
        try:
            self.lab.stdin.write(json.dumps([name, *arguments]).encode() + b"\n")
            self.lab.stdin.flush()
            done, said = json.loads(self.answer(name))
        except (BrokenPipeError, ValueError):
            raise Failure("host %d is gone: %s" % (self.number, self.last_words())) from None
        want(done, "host %d: %s: %s" % (self.number, name, said))
        return said

    def answer(self, name):
        deadline = time.monotonic() + ANSWER
        while b"\n" not in self.heard:
            left = deadline - time.monotonic()
            if left <= 0:
                # it is in the middle of something, and would answer that next
                self.kill()
                raise Failure("host %d: %s: no answer within %d s" % (self.number, name, ANSWER))
            if select.select([self.lab.stdout], [], [], left)[0]:
                data = os.read(self.lab.stdout.fileno(), 65536)
                if not data:
                    return ""
                self.heard += data
        line, self.heard = self.heard.split(b"\n", 1)
        return line

    def last_words(self):
        with open(self.log, errors="replace", encoding="utf-8") as f:
            return "".join(f.readlines()[-20:])

    def end(self):
        """Its module can be unloaded, and its kernel has nothing to complain of."""
        self.lab.stdin.close()
        try:
            status = self.lab.wait(120)
        except subprocess.TimeoutExpired:
            self.kill()
            raise Failure("host %d does not end" % self.number) from None
        want(status == 0, "host %d: exit status %d: %s" % (self.number, status, self.last_words()))

    def kill(self):
        """What it does ends with that; one that hangs is ended, too."""
        self.lab.terminate()
        try:
            self.lab.wait(30)
        except subprocess.TimeoutExpired:
            self.lab.kill()
            self.lab.wait()


class Test:
    def __init__(self, args):
        self.args = args
        self.work = os.path.abspath(args.work)
        self.hosts = []
        self.guests = 0

    def prepare(self):
        shutil.rmtree(self.work, ignore_errors=True)
        os.makedirs(self.work)
        make_authority(os.path.join(self.work, "ca"))
        for number in (1, 2):
            make_certificate(os.path.join(self.work, "tls%d" % number),
                             os.path.join(self.work, "ca"), "IP:10.77.0.%d" % number,
                             trusts=os.path.join(self.work, "ca"))
        kernel = os.path.join(TOP, "build/kernel", self.args.guest)
        self.run = ["--kernel", os.path.join(kernel, "vmlinuz"), "--memory", "128M", "--cpus", "2",
                    "--net", "none", "--append", "console=ttyS0 quiet"]
        for disk in (False, True):
            make_initrd(self.initrd(disk), init(8, disk=disk, log=True), kernel,
                        MODULES if disk else ())

    def initrd(self, disk):
        return os.path.join(self.work, "initrd-disk" if disk else "initrd")

    def start(self, host, features=None, disk=False):
        """A guest that counts; its name, which it keeps."""
        self.guests += 1
        name = "m%d" % self.guests
        host.call("start", name, [*self.run, "--initrd", self.initrd(disk)], features, disk)
        host.call("count", name, 2)
        return name

    def pair(self):
        want(len(self.hosts) == 2 and self.hosts[1].features, "there are no two hosts")
        return self.hosts

    def add(self, *arguments):
        self.hosts.append(Host(self.work, len(self.hosts) + 1, *arguments))
        self.hosts[-1].load()

    def kill(self):
        for host in self.hosts:
            host.kill()

    def forget(self):
        for host in self.hosts:
            if host.lab.poll() is None:
                host.call("forget")


def age(host, name):
    """How long the guest is up by the machine's clock, less what it says itself: what
    is printed late, or read late, makes that more, so the least of some counts."""
    late = []
    for _ in range(3):
        n, up = host.call("count", name)
        late.append(time.monotonic() - up)
    return n, up, min(late)


def migrate(source, target, name, *options):
    """vmmd migrate to where receive() waits."""
    return source.call("migrate", name, "tcp:%s:%d" % (target.address, PORT), "--tls-dir",
                       source.tls, "--downtime", str(DOWNTIME), *options)


def receive(target, name, disk=False):
    target.call("receive", name, "tcp:%s:%d" % (target.address, PORT), target.tls, disk)


def move(source, target, name, disk):
    """It counts on there from where it was here, and so do its clocks."""
    before, up, late = age(source, name)
    receive(target, name, disk)
    status, said, _ = migrate(source, target, name, *(["--with-disk"] if disk else []))
    print("# %d to %d: %s" % (source.number, target.number, said.strip()), flush=True)
    want(status == 0, "exit status %d: %s" % (status, said))
    stood = float(re.search(r"stood still for ([\d.]+) ms", said).group(1))
    want(stood <= DOWNTIME, "stood still for %f ms, %d were promised" % (stood, DOWNTIME))
    source.call("end", name, 0)
    after, up_after, late_after = age(target, name)
    want(after > before and up_after >= up, "count %d here, %d there; up for %d s, and %d"
         % (before, after, up, up_after))
    want(abs(late_after - late) <= WRONG, "the guest's clock is %+.1f s from where it was"
         % (late - late_after))
    want(source.call("names") == [] and target.call("names") == [name], "it runs here, too")


def moves(test, source, target, disk):
    """There and back. What it is given is what both have."""
    features = target.features if source.number == 2 else None
    name = test.start(source, features, disk)
    for _ in range(test.args.moves):
        move(source, target, name, disk)
        source, target = target, source
    source.call("kill", name)


def differ(test):
    """Of the features of the second, the first one lacks those that it was to lack."""
    args = test.args
    test.prepare()
    test.add(args.first, args.minus)
    time.sleep(max(0, test.hosts[0].since + OLDER - time.monotonic()))
    test.add(args.second, None)
    first, second = test.pair()
    want(second.since - first.since >= OLDER, "the hosts are of the same age")
    missing = [name for name in second.features.splitlines()
               if name not in first.features.splitlines()]
    print("# of the first's features are missing: %s" % (", ".join(missing) or "none"), flush=True)
    want(bool(missing) == bool(args.minus), "wanted %s to be missing" % args.minus)
    more = set(first.features.splitlines()) - set(second.features.splitlines())
    want(not more, "the second lacks %r" % more)


def refused(test):
    """One that was given more is not even sent, and has not noticed."""
    first, second = test.pair()
    missing = next(line for line in second.features.splitlines()
                   if line not in first.features.splitlines())
    name = test.start(second)
    for options in (), ("--dry-run",):
        before, _ = second.call("count", name)
        receive(first, name)
        status, said, sent = migrate(second, first, name, *options)
        print("# %s" % said.strip(), flush=True)
        want(status == 1 and "the CPU feature %s, which this host has not" % missing in said,
             "exit status %d, %r, wanted %s to be named" % (status, said, missing))
        want(sent < 1 << 20, "%d bytes were sent before" % sent)
        first.call("end", name, 1)
        second.call("count", name, before + 3)
        want(second.call("names") == [name] and first.call("names") == [],
             "it does not run where it was")
    second.call("kill", name)


def ends(test):
    for host in test.pair():
        host.end()


def tests_of(args):
    def moved(text, source, target, disk):
        return text, lambda test: moves(test, test.pair()[source], test.pair()[target], disk)

    tests = [moved("one of the second moves with its disk, there and back", 1, 0, True)]
    if not args.quick:
        tests += [moved("without one, too", 1, 0, False),
                  moved("one of the first moves", 0, 1, False),
                  moved("and takes its disk along", 0, 1, True)]
    if args.minus:
        tests.append(("one with a feature that the first has not stays at the second", refused))
    return [("two hosts, of which the second has all that the first has", differ), *tests,
            ("their kernels had nothing to complain of", ends)]


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--first", default="6.1")
    parser.add_argument("--second", default="6.12")
    parser.add_argument("--minus")
    parser.add_argument("--guest", default="6.1", help="series of the guest's kernel")
    parser.add_argument("--moves", type=int, default=4)
    parser.add_argument("--quick", action="store_true", help="some of the tests")
    parser.add_argument("--work")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve:
        return serve()
    if not args.work:
        parser.error("wanted --work DIR")
    test = Test(args)
    try:
        return run_tests(tests_of(args), test, after=test.forget)
    finally:
        test.kill()


if __name__ == "__main__":
    sys.exit(main())
