#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""End-to-end: running machines have names, and do what is asked through them.

    control.py --kernel VMLINUZ --work DIR

Runs vmmd (from PATH) with bare guests as firmware, and one Linux guest. Prints
TAP; exits 0 if nothing failed.
"""
import argparse
import json
import os
import re
import select
import signal
import socket
import subprocess
import sys
import time

sys.dont_write_bytecode = True
from cli import DISK, SPIN, TIMEOUT, Failure, want  # noqa: E402 (beside this file)
from console import Console, ConsoleError  # noqa: E402
from initrd import make_initrd  # noqa: E402
from tap import run_tests  # noqa: E402

# firmware that echoes what is typed in the other case, and obeys its power button
BUTTON = "build/guests/button.rom"
MANUAL = "vmmd/vmmd-control.7"
RUNTIME = "/run/vmmd"
INIT = """
/busybox mkdir /proc
/busybox mount -t proc proc /proc
echo "the shell is ready"
exec /busybox sh
"""


def vmmd(*args, status=0, **more):
    """Standard output of a verb, and its complaint."""
    got = subprocess.run(["vmmd", *args], stdin=subprocess.DEVNULL, timeout=TIMEOUT,
                         stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False,
                         **more)
    want(got.returncode == status, "vmmd %s: status %d, wanted %d: %s"
         % (" ".join(args), got.returncode, status, got.stderr))
    return got.stdout, got.stderr


def names():
    return [vm["name"] for vm in json.loads(vmmd("list", "--json")[0])]


def info(name):
    return json.loads(vmmd("info", name, "--json")[0])


def until(condition, text):
    deadline = time.monotonic() + TIMEOUT
    while not condition():
        want(time.monotonic() < deadline, text)
        time.sleep(0.1)


class Bench:
    """Files in DIR, and machines that end with the test."""

    def __init__(self, args):
        self.args = args
        self.work = args.work
        self.spin = self.make("spin.rom", SPIN)
        self.disk = self.make("disk.img", DISK)
        self.machines = []

    def make(self, name, data):
        path = os.path.join(self.work, name)
        with open(path, "wb") as f:
            f.write(data)
        return path

    def start(self, *args, rom=BUTTON, name=None, **more):
        """A machine whose disk anyone may share, in the foreground."""
        vm = subprocess.Popen(["vmmd", "run", self.disk, "--read-only", "--net", "none",
                               "--memory", "16M", "--firmware", rom,
                               *(["--name", name] if name else []), *args],
                              stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                              stderr=subprocess.PIPE, text=True, **more)
        self.machines.append(vm)
        return vm

    def running(self, name, *args, rom=BUTTON):
        vm = self.start(*args, rom=rom, name=name)
        until(lambda: vm.poll() is not None or answers(name), "%s does not answer" % name)
        want(vm.poll() is None, "vmmd ended: %s" % (vm.stderr.read() if vm.poll() else ""))
        return vm

    def end(self):
        for vm in self.machines:
            if vm.poll() is None:
                vm.send_signal(signal.SIGCONT)
                vm.kill()
            vm.communicate()
        self.machines = []


def answers(name):
    return not subprocess.run(["vmmd", "info", name], stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL, check=False).returncode


def lists(b):
    a = b.running("a", "--cpus", "2")
    other = b.running("b")
    want(names() == ["a", "b"], "the list has %r" % names())
    table = vmmd("list")[0].splitlines()
    want(len(table) == 3 and table[1].split()[:4] == ["a", str(a.pid), "running", "2"],
         "the list is %r" % table)
    found = info("a")
    want(found["pid"] == a.pid and found["cpus"] == 2 and found["memory"] == 16 << 20
         and found["disk"] == b.disk and found["state"] == "running"
         and found["counters"], "of a it says %r" % found)
    # killed: it leaves its files, and the next of that name comes all the same
    other.kill()
    other.wait()
    want(os.path.exists(RUNTIME + "/b.sock"), "a killed machine left no socket")
    vmmd("info", "b", status=1)
    want(not os.path.exists(RUNTIME + "/b.sock"), "a stale socket stays")
    b.running("b").kill()
    b.machines[-1].wait()
    want(names() == ["a"], "the list has %r" % names())
    b.running("b")
    want(names() == ["a", "b"], "the list has %r" % names())


def unique(b):
    first = b.running("disk.img")
    for vm in b.start(), b.start(name="disk.img"):
        err = vm.communicate(timeout=TIMEOUT)[1]
        want(vm.returncode == 1 and err.count("\n") == 1, "status %d: %s" % (vm.returncode, err))
        want("'disk.img'" in err and str(first.pid) in err and "--name" in err, err)
    b.running("another")


def stops(b):
    vm = b.running("a")
    vmmd("pause", "a")
    want(info("a")["paused_by"] == ["user"], "not paused: %r" % info("a"))
    # what is paused has to go on to power off
    vmmd("stop", "a")
    want(vm.wait(TIMEOUT) == 0, "the machine's status is %d" % vm.returncode)
    left = [name for name in os.listdir(RUNTIME) if name.startswith("a.")]
    want(not left, "it left %r" % left)
    vm = b.running("a", rom=b.spin)
    err = vmmd("stop", "a", "--timeout", "1", status=4)[1]
    want("forced off" in err, "told: %s" % err)
    want(vm.wait(TIMEOUT) == 4, "the machine's status is %d" % vm.returncode)
    # at once again: all is free when stop returns
    for _ in range(3):
        b.running("a")
        vmmd("stop", "a")
    vmmd("stop", "a", status=1)


def kills(b):
    vm = b.running("a", rom=b.spin)
    vmmd("kill", "a")
    want(vm.wait(TIMEOUT) == 4, "the machine's status is %d" % vm.returncode)
    vm = b.running("a")
    vm.send_signal(signal.SIGSTOP)
    listed = json.loads(vmmd("list", "--json")[0])
    want(listed == [{"name": "a", "pid": vm.pid, "state": "no answer"}], "listed: %r" % listed)
    err = vmmd("kill", "a")[1]
    want(str(vm.pid) in err, "told: %s" % err)
    want(vm.wait(TIMEOUT) == -signal.SIGKILL, "the machine's status is %d" % vm.returncode)
    want(not names(), "the list has %r" % names())


def read_until(text, *sockets):
    """Until each has said that, all being listened to; what the first one said."""
    seen = {s: b"" for s in sockets}
    while any(text not in said for said in seen.values()):
        ready = select.select(sockets, [], [], TIMEOUT)[0]
        want(ready, "no %r, but %r" % (text[-80:], [said[-80:] for said in seen.values()]))
        for s in ready:
            data = s.recv(65536)
            want(data, "no %r before the end, but %r" % (text[-80:], seen[s][-80:]))
            seen[s] += data
    return seen[sockets[0]]


def attach(name):
    s = socket.socket(socket.AF_UNIX)
    s.connect("%s/%s.sock" % (RUNTIME, name))
    s.sendall(b'{"cmd":"console"}\n')
    read_until(b"\n", s)
    return s


def consoles(b):
    """Two at the console of a machine whose console is a file; one is deaf."""
    log = os.path.join(b.work, "console.txt")
    b.running("a", "--console", "file=" + log)
    first, second, deaf = attach("a"), attach("a"), attach("a")
    first.sendall(b"Hello")
    read_until(b"hELLO", first, second)
    second.sendall(b"World" * 40000)
    second.shutdown(socket.SHUT_WR)
    read_until(b"wORLD" * 40000, first, second)
    want(names() == ["a"], "the machine has gone")
    vmmd("stop", "a")
    read_until(b"button\n", first)
    for s in first, second, deaf:
        s.close()
    with open(log, "rb") as f:
        text = f.read()
    want(text == b"ready\nhELLO" + b"wORLD" * 40000 + b"button\n",
         "the file has %d bytes: %r" % (len(text), text[-40:]))


def in_background(b):
    """One Linux guest: detached, typed to, paused; its clock goes on meanwhile."""
    initrd = os.path.join(b.work, "initrd")
    make_initrd(initrd, INIT)
    start = ["run", "--kernel", b.args.kernel, "--initrd", initrd, "--memory", "256M",
             "--net", "none", "--append", "console=ttyS0 quiet", "--detach"]
    missing = vmmd("run", os.path.join(b.work, "missing.img"), "--detach", status=1)[1]
    want("missing.img" in missing and missing.count("\n") == 1, "told: %s" % missing)
    vmmd(*start, "--name", "linux")
    pid = info("linux")["pid"]
    try:
        taken = vmmd(*start, "--name", "linux", status=1)[1]
        want(str(pid) in taken, "told: %s" % taken)
        with Console(["vmmd", "console", "linux"], os.path.join(b.work, "linux.txt")) as con:
            # it may have said that before we came
            con.wait_for("the shell is ready", 120, fatal="Kernel panic")

            def uptime():
                con.line("echo up=$(/busybox cut -d. -f1 /proc/uptime)=")
                return int(con.wait_for(r"up=(\d+)=", 60)[1].group(1))

            before = uptime()
            vmmd("pause", "linux")
            want(info("linux")["state"] == "paused", "not paused")
            con.line("echo alive=$((6 * 7))=")
            try:
                con.wait_for("alive=42=", 3)
                raise Failure("a paused machine answers")
            except ConsoleError:
                pass
            vmmd("resume", "linux")
            con.wait_for("alive=42=", 60)
            passed = uptime() - before
            want(passed >= 3, "after a pause of 3 s the guest's clock is %d s on" % passed)
            con.send("\x01x")
            want(con.wait(60) == 0, "the console did not end with Ctrl-A x")
        want(names() == ["linux"], "the machine ended with its console")
        vmmd("stop", "linux", "--timeout", "0", status=4)
        until(lambda: not os.path.exists("/proc/%d" % pid), "the process stays")
    finally:
        subprocess.run(["vmmd", "kill", "linux"], stderr=subprocess.DEVNULL, check=False)


def script(b):
    """That of the manual page, as it stands there."""
    with open(MANUAL, encoding="utf-8") as f:
        text = re.search(r"in Python:\n\.Bd[^\n]*\n(.*?)\.Ed", f.read(), re.DOTALL).group(1)
    want(text.count("\n") <= 11, "it has %d lines" % text.count("\n"))
    b.running("a")
    run = subprocess.run([sys.executable, "-c", text.replace("sleep(10)", "sleep(0)"), "a"],
                         stdout=subprocess.PIPE, text=True, timeout=TIMEOUT, check=True)
    said = [eval(line)["result"]["state"] for line in run.stdout.splitlines()]
    want(said == ["paused", "running"], "it says %r" % run.stdout)


def without_name(b):
    """No runtime directory: the machine runs, and that is told."""
    vm = b.start(rom="build/guests/off.rom", env=dict(os.environ, VMMD_RUNTIME_DIR="/proc/none"))
    err = vm.communicate(timeout=TIMEOUT)[1]
    want(vm.returncode == 0 and err.count("\n") == 1 and "/proc/none" in err
         and "control socket" in err, "status %d: %s" % (vm.returncode, err))
    odd = b.make("my disk.img", DISK)
    vm = subprocess.run(["vmmd", "run", odd, "--net", "none", "--firmware", "build/guests/off.rom"],
                        stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
                        stdout=subprocess.DEVNULL, timeout=TIMEOUT, check=False)
    want(vm.returncode == 0 and "--name" in vm.stderr, "status %d: %s" % (vm.returncode, vm.stderr))


TESTS = [
    ("running machines are listed; what a killed one left is no obstacle", lists),
    ("a name that is taken is refused with the process that has it", unique),
    ("stop presses the button and returns when all is free", stops),
    ("kill forces a machine off, and ends one that does not answer", kills),
    ("several are at a console, and one that does not listen loses only its own", consoles),
    ("a machine in the background is typed to, paused and resumed", in_background),
    ("the manual page's script works", script),
    ("a machine runs without a name where none can be had", without_name),
]


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kernel", required=True)
    parser.add_argument("--work", required=True)
    bench = Bench(parser.parse_args())
    return run_tests(TESTS, bench, after=bench.end)


if __name__ == "__main__":
    sys.exit(main())
