#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""End-to-end: a Debian disk boots, works, reboots and powers off in a monitor.

    boot.py --image build/disk.img --work DIR [--vmm COMMAND] [--options TEXT]

COMMAND is the monitor's command line, split as a shell would; {disk} stands
for the disk that the test works on: a copy of the image in DIR; {cpus} for their
number. The words `qemu` and `kvm` stand for QEMU, emulating or on stock KVM: they
tell a fault of ours from one of the image, of this test or of the machine. The
guest must have a user network with the host at 10.0.2.2, and a serial console on
the command's standard input and output.

Prints TAP; exits 0 if nothing failed. VMM_TIMEOUT_SCALE multiplies timeouts.
"""
import argparse
import contextlib
import functools
import hashlib
import http.server
import os
import re
import shlex
import shutil
import signal
import struct
import subprocess
import sys
import threading
import time

sys.dont_write_bytecode = True
from console import Console, ConsoleError  # noqa: E402 (beside this file)

VMMD = "vmmd run {disk} --memory 512M --cpus {cpus} --net user --console stdio"
QEMU = ("qemu-system-x86_64 -accel tcg -m 512 -smp {cpus} -nodefaults -no-user-config"
        " -display none -serial stdio"
        " -drive file={disk},format=raw,if=none,id=disk"
        " -device virtio-blk-pci,drive=disk,disable-legacy=on"
        " -netdev user,id=net -device virtio-net-pci,netdev=net,disable-legacy=on"
        " -device virtio-rng-pci,disable-legacy=on")
PRESETS = {"qemu": QEMU, "kvm": QEMU.replace("-accel tcg", "-accel kvm")}

FETCH_MB = 20
WRITE_MB = 64
HOST = "10.0.2.2"               # as the guest sees it
TAP = "vmm-e2e"                 # made and removed by this test
TAP_HOST, TAP_GUEST = "10.77.0.1", "10.77.0.2"
# After one of these no login prompt comes.
FATAL = (r"Kernel panic - not syncing.*|No bootable device|grub rescue>"
         r"|\(initramfs\)|You are in (rescue|emergency) mode")


class Failure(Exception):
    """A step's result is wrong; the text says what was wanted and found."""


def want(condition, text):
    if not condition:
        raise Failure(text)


def partition_offset(disk):
    """Of the first partition, in bytes."""
    with open(disk, "rb") as file:
        mbr = file.read(512)
    want(mbr[510:] == b"\x55\xaa", f"{disk}: wanted a partitioned disk, found no MBR")
    return struct.unpack_from("<I", mbr, 446 + 8)[0] * 512


def copy(image, disk):
    """Copy what the file system on the image uses. A plain cp would read its
    holes too, which takes longer than a boot when the emulated host does it
    over a file system that cannot tell where they are."""
    offset = partition_offset(image)
    with open(image, "rb") as source, open(disk, "wb") as target:
        target.write(source.read(offset))       # MBR and boot loader
        target.truncate(os.path.getsize(image))
    subprocess.run(["e2image", "-ra", "-o", str(offset), "-O", str(offset), image, disk],
                   check=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


class Server(http.server.ThreadingHTTPServer):
    """Serves one directory on a free port of an address, and answers what is
    posted to it with its sum."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

        def do_POST(self):
            data = self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.end_headers()
            self.wfile.write(hashlib.sha256(data).hexdigest().encode())

    def __init__(self, directory, address="127.0.0.1"):
        super().__init__((address, 0),
                         functools.partial(self.Handler, directory=directory))
        threading.Thread(target=self.serve_forever, daemon=True).start()


def make_tap():
    for command in ("modprobe tun", f"ip tuntap add dev {TAP} mode tap multi_queue",
                    f"ip addr add {TAP_HOST}/24 dev {TAP}", f"ip link set {TAP} up"):
        subprocess.run(command.split(), check=True)


def remove_tap():
    subprocess.run(["ip", "link", "del", TAP], stderr=subprocess.DEVNULL)


class Test:
    """One run. The steps below depend on each other, in this order."""

    def __init__(self, options):
        self.work = options.work
        self.boot_timeout = options.boot_timeout
        self.password = options.password
        self.stop_by = options.stop
        self.in_place = options.in_place
        self.overlay = options.overlay
        self.image = os.path.abspath(options.image)
        self.quick = options.quick
        self.tap = options.tap
        self.disk = (self.image if options.in_place
                     else os.path.join(self.work, "disk.img"))
        self.transcript = os.path.join(self.work, "console.txt")
        self.con = None
        self.port = None
        self.sums = {}
        vmm = f"{PRESETS.get(options.vmm, options.vmm)} {options.options}"
        self.packed = "--ring packed" in vmm
        balloon = re.search(r"--balloon (\d+)M", vmm)
        self.balloon = int(balloon.group(1)) if balloon else 0
        if self.tap:
            vmm += f" --net tap={TAP}"
        self.cpus = options.cpus
        self.argv = [word.replace("{disk}", self.disk).replace("{cpus}", str(self.cpus))
                     for word in shlex.split(vmm)]

    def prepare(self, image):
        """Everything the host has to have ready."""
        os.makedirs(self.work, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            os.remove(self.transcript)
        if self.overlay:
            with contextlib.suppress(FileNotFoundError):
                os.remove(self.disk)
            subprocess.run(["vmmd", "overlay", image, self.disk], check=True)
            self.image_was = os.stat(image)
        elif not self.in_place:
            copy(image, self.disk)
        www = os.path.join(self.work, "www")
        os.makedirs(www, exist_ok=True)
        data = os.urandom(FETCH_MB << 20)
        with open(os.path.join(www, "data"), "wb") as file:
            file.write(data)
        self.sums["fetched"] = hashlib.sha256(data).hexdigest()
        if self.tap:
            make_tap()
        server = Server(www, TAP_HOST) if self.tap else Server(www)
        self.port = server.server_address[1]

    def sh(self, command, timeout):
        """Output of a command in the guest, which must succeed."""
        status, output = self.con.run(command, timeout)
        want(status == 0, f"{command!r} exited with {status}: {output.strip()[-300:]}")
        return output

    def login(self):
        self.con.login("root", self.password, timeout=120)

    # --- The steps. Each docstring is its TAP name -----------------------------
    def boots(self):
        """boots to the login prompt"""
        self.con = Console(self.argv, self.transcript)
        self.con.wait_for(r"(?=login: )", self.boot_timeout, FATAL)

    def logs_in(self):
        """root logs in on the serial console"""
        self.login()

    def has_cpus(self):
        """runs on all CPUs that it was given"""
        found = int(self.sh("nproc", 60))
        want(found == self.cpus, f"wanted {self.cpus} CPUs, found {found}")

    def has_queues(self):
        """has a disk queue for each CPU, with an interrupt of its own"""
        cpus = int(self.sh("nproc", 60))
        queues = len(self.sh("ls /sys/block/vda/mq", 60).split())
        want(queues == min(cpus, 8), f"{queues} disk queues for {cpus} CPUs")
        # each CPU asks in its own queue, past the guest's page cache
        self.sh(f"for c in $(seq 0 {cpus - 1}); do taskset -c $c dd if=/dev/vda of=/dev/null"
                " bs=4k count=8 iflag=direct 2>/dev/null || exit 1; done", 120)
        lines = re.findall(r"^ *\d+:([ \d]+) .*-req\.\d+\s*$",
                           self.sh("grep -- -req /proc/interrupts", 60), re.M)
        quiet = [line for line in lines if not sum(map(int, line.split()))]
        want(len(lines) == queues and not quiet,
             f"{queues} queues, interrupts of {len(lines)}, {len(quiet)} of them never came")
        # VIRTIO_F_RING_PACKED is bit 34, and the first bit comes first
        ring = self.sh("cut -c35 /sys/block/vda/device/features", 60).strip()
        want(ring == str(int(self.packed)), f"packed rings: wanted {int(self.packed)}, found {ring}")

    def gives(self):
        """gives the memory that the balloon asks for"""
        deadline = time.monotonic() + 60
        while True:             # its driver comes when udev finds it
            pages = int(self.sh("awk '/^balloon_inflate/ { print $2 }' /proc/vmstat", 60))
            if pages >= self.balloon << 8:
                break
            want(time.monotonic() < deadline, f"{pages} pages for {self.balloon} MiB")
            time.sleep(1)

    def has_pairs(self):
        """has a queue pair for each CPU on a tap device, and moves 20 MB each way"""
        name = self.sh("ls /sys/class/net | grep -v lo", 60).strip()
        self.sh(f"ip addr add {TAP_GUEST}/24 dev {name} && ip link set {name} up", 60)
        cpus = int(self.sh("nproc", 60))
        pairs = len(self.sh(f"ls -d /sys/class/net/{name}/queues/rx-*", 60).split())
        want(pairs == min(cpus, 8), f"{pairs} queue pairs for {cpus} CPUs")
        # VIRTIO_NET_F_CSUM, GUEST_TSO4 and HOST_TSO4
        bits = self.sh(f"cut -c1,8,12 /sys/class/net/{name}/device/features", 60).strip()
        want(bits == "111", f"offloads: wanted 111, found {bits}")
        url = f"http://{TAP_HOST}:{self.port}"
        self.sh(f"wget -nv -T 60 -t 1 -O /root/fetched {url}/data", 600)
        self.has_sum("fetched")
        found = self.sh(f"wget -q -T 60 -t 1 -O - --post-file=/root/fetched {url}/", 600).strip()
        want(found == self.sums["fetched"], f"sum of what was sent: found {found}")

    def has_lease(self):
        """gets an address and a route by DHCP"""
        deadline = time.monotonic() + 60
        while True:             # nothing makes the login wait for the network
            output = self.sh("ip -4 addr show scope global; ip route", 60)
            if re.search(r"^default via " + re.escape(HOST), output, re.M):
                break
            want(time.monotonic() < deadline, f"no default route via {HOST}: {output!r}")
            time.sleep(1)
        want(re.search(r"inet 10\.0\.2\.\d+/24 .* dynamic", output),
             f"no dynamic address in 10.0.2.0/24: {output!r}")

    def fetches(self):
        """fetches 20 MB over HTTP, unharmed"""
        self.sh(f"wget -nv -T 60 -t 1 -O /root/fetched http://{HOST}:{self.port}/data", 600)
        self.has_sum("fetched")

    def writes(self):
        """writes 64 MB and syncs"""
        self.sh(f"head -c {WRITE_MB << 20} /dev/urandom >/root/written && sync", 600)
        self.sums["written"] = self.sum_of("written")

    def reboots(self):
        """reboots inside the guest to a second login prompt"""
        self.con.line("reboot")
        self.con.wait_for(r"(?=login: )", self.boot_timeout, FATAL)
        self.login()

    def kept(self):
        """keeps both files' contents over the reboot"""
        for name in self.sums:
            self.has_sum(name)

    def stops(self):
        """powers off, and the monitor exits with status 0"""
        if self.stop_by == "sigterm":
            self.con.process.send_signal(signal.SIGTERM)
        else:
            self.con.line("poweroff")
        status = self.con.wait(180)
        want(status == 0, f"monitor's exit status: wanted 0, got {status}")

    def clean(self):
        """leaves a clean file system"""
        # With -n a journal that waits to be replayed is only a remark, but it
        # means that the guest was cut off.
        fsck = subprocess.run(
            ["e2fsck", "-fn", f"{self.disk}?offset={partition_offset(self.disk)}"], text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        with open(self.transcript, "a") as file:
            file.write("\n--- e2fsck\n" + fsck.stdout)
        want(fsck.returncode == 0 and "recover" not in fsck.stdout,
             f"e2fsck -fn exited with {fsck.returncode}")

    def stays(self):
        """wrote to its overlay only, and that can be opened again"""
        now = os.stat(self.image)
        want(now.st_mtime_ns == self.image_was.st_mtime_ns, "the image was written to")
        used = os.stat(self.disk).st_blocks * 512
        want(0 < used < now.st_blocks * 512 / 4, f"the overlay takes {used} bytes")
        # over it, as it must be whole for that
        second = self.disk + ".second"
        with contextlib.suppress(FileNotFoundError):
            os.remove(second)
        subprocess.run(["vmmd", "overlay", self.disk, second], check=True)
        os.remove(second)

    # ---------------------------------------------------------------------------
    def sum_of(self, name):
        return self.sh(f"sha256sum /root/{name}", 300).split()[0]

    def has_sum(self, name):
        found = self.sum_of(name)
        want(found == self.sums[name],
             f"sha256 of {name}: wanted {self.sums[name]}, found {found}")

    def tail(self):
        """The end of the transcript, fit for a TAP comment."""
        with contextlib.suppress(FileNotFoundError), open(self.transcript, "rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - 4096))
            text = file.read().decode("utf-8", "replace")
            text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)
            return [line.rstrip() for line in text.splitlines() if line.strip()][-25:]
        return []

    def walk(self, steps, first, prefix):
        """Take the steps, numbered from first; what comes after a broken one is
        skipped. Returns whether all went well."""
        broken = None
        for number, step in enumerate(steps, first):
            name = prefix + step.__doc__
            if broken:
                print(f"ok {number} - {name} # SKIP step {broken} failed", flush=True)
                continue
            begin = time.monotonic()
            try:
                step()
                print(f"ok {number} - {name}\n# {time.monotonic() - begin:.1f} s", flush=True)
            except (Failure, ConsoleError, OSError, ValueError) as error:
                broken = number
                print(f"not ok {number} - {name}\n# {error}\n"
                      f"# transcript: {self.transcript}, which ends with")
                print("".join(f"#   {line}\n" for line in self.tail()), end="", flush=True)
        return not broken

    def run(self):
        """Returns whether all steps went well."""
        steps = [self.boots, self.logs_in, self.has_cpus, self.has_queues, self.has_lease,
                 self.fetches, self.writes, self.reboots, self.kept, self.stops, self.clean]
        if self.quick:
            steps = [self.boots, self.logs_in, self.has_cpus, self.has_queues, self.stops,
                     self.stays if self.overlay else self.clean]
        if self.tap:
            steps.insert(4, self.has_pairs)
        if self.balloon:
            steps.insert(4, self.gives)
        print(f"1..{len(steps)}", flush=True)
        return self.walk(steps, 1, "debian ")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--image", required=True, help="raw disk image")
    parser.add_argument("--in-place", action="store_true",
                        help="work on the image (or block device) itself, not on a copy")
    parser.add_argument("--overlay", action="store_true",
                        help="work on an overlay over the image, with --quick")
    parser.add_argument("--work", required=True, help="directory for the copy and the transcript")
    parser.add_argument("--vmm", default=VMMD, metavar="COMMAND",
                        help="monitor's command line, or qemu, or kvm (default: %(default)s)")
    parser.add_argument("--cpus", type=int, default=1, metavar="N",
                        help="of the guest (default: 1)")
    parser.add_argument("--options", default="", metavar="TEXT",
                        help="more of the monitor's options")
    parser.add_argument("--password", default="vmm", help="of the guest's root")
    parser.add_argument("--boot-timeout", type=float, default=600, metavar="SECONDS",
                        help="for each of the two boots (default: %(default)s)")
    parser.add_argument("--stop", choices=["poweroff", "sigterm"], default="poweroff",
                        help="end by a command in the guest, or by a signal to the "
                        "monitor, which is to press the power button")
    parser.add_argument("--quick", action="store_true",
                        help="nothing but boot, log in, look at the disk and power off")
    parser.add_argument("--tap", action="store_true",
                        help="give the guest a tap device, which root must be able to make")
    parser.add_argument("--keep", action="store_true", help="keep the copy")
    options = parser.parse_args()
    options.work = os.path.abspath(options.work)

    test = Test(options)
    # SIGTERM must not leave a monitor behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    try:
        try:
            test.prepare(options.image)
        except (Failure, OSError, subprocess.CalledProcessError) as error:
            print(f"1..1\nnot ok 1 - debian disk is copied to {options.work}\n# {error}")
            return 1
        return 0 if test.run() else 1
    finally:
        if test.con:
            test.con.close()
        if options.tap:
            remove_tap()
        shutil.rmtree(os.path.join(test.work, "www"), ignore_errors=True)
        if not options.keep and not options.in_place:
            with contextlib.suppress(FileNotFoundError):
                os.remove(test.disk)


if __name__ == "__main__":
    sys.exit(main())
