#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""End-to-end: a Linux guest on a tap device, with the host's vhost-net and without.

    net.py --kernel DIR --work DIR

DIR has the kernel and its modules. With as many queue pairs as CPUs the guest
fetches and sends data, has its driver go and come and its interrupts move about,
reboots, and fetches again.
Runs vmmd from PATH, and makes the tap device, as root. Prints TAP; exits 0 if
nothing failed.
"""
import argparse
import glob
import hashlib
import os
import shutil
import subprocess
import sys

sys.dont_write_bytecode = True
from boot import (TAP, TAP_GUEST, TAP_HOST, Server, make_tap,  # noqa: E402
                  remove_tap, want)
from console import Console  # noqa: E402 (these are beside this file)
from counting import vmmd  # noqa: E402
from initrd import make_initrd  # noqa: E402
from tap import run_tests  # noqa: E402

CPUS = 2
SIZE_MB = 8
TIMEOUT = 120
INIT = """/busybox mkdir -p /proc /sys /dev
/busybox mount -t proc proc /proc
/busybox mount -t sysfs sys /sys
/busybox mount -t devtmpfs dev /dev
for m in $(/busybox cat /modules/order); do /busybox insmod /modules/$m; done
/busybox --install -s /
export PATH=/ PS1= PS2=
ifconfig lo up
stty -echo
echo UP
exec sh 2>&1
"""


class Guest:
    """One that runs."""

    def __init__(self, args, vhost, port, data):
        self.url = f"http://{TAP_HOST}:{port}"
        self.sum = hashlib.sha256(data).hexdigest()
        self.con = Console(
            ["vmmd", "run", "--kernel", os.path.join(args.kernel, "vmlinuz"),
             "--initrd", os.path.join(args.work, "initrd"), "--memory", "256M",
             "--name", "net", "--cpus", str(CPUS), "--net", f"tap={TAP}", "--net-vhost", vhost,
             "--append", "console=ttyS0 quiet panic=-1"],
            os.path.join(args.work, f"net-{vhost}.txt"))

    def sh(self, command):
        status, output = self.con.run(command, TIMEOUT)
        want(status == 0, f"{command!r} exited with {status}: {output.strip()[-300:]}")
        return output.strip()

    def is_up(self):
        self.con.wait_for(r"UP\r*\n", TIMEOUT, fatal="Kernel panic")

    def configure(self):
        self.sh(f"ifconfig eth0 {TAP_GUEST} netmask 255.255.255.0 up")
        pairs = self.sh("ls /sys/class/net/eth0/queues | grep -c rx")
        want(pairs == str(CPUS), f"wanted {CPUS} queue pairs, found {pairs}")

    def moves(self):
        """Both ways, on each CPU's queues."""
        for cpu in range(CPUS):
            run = f"taskset {1 << cpu:x}"
            self.sh(f"{run} wget -q -O /data {self.url}/data")
            found = self.sh("sha256sum /data").split()[0]
            want(found == self.sum, f"fetched: wanted {self.sum}, found {found}")
            found = self.sh(f"{run} wget -q -O - --post-file /data {self.url}/")
            want(found == self.sum, f"sent: wanted {self.sum}, found {found}")

    def moves_vectors(self):
        """The queues' interrupts go from CPU to CPU meanwhile: each time Linux masks
        the vector and gives it another message."""
        self.sh("irqs=$(grep put /proc/interrupts | cut -d: -f1); rm -f /stop; "
                "while [ ! -e /stop ]; do for irq in $irqs; do for cpu in 1 2; do "
                "echo $cpu >/proc/irq/$irq/smp_affinity || touch /failed; done; done; done &")
        self.moves()
        self.sh("touch /stop; wait; [ ! -e /failed ]")

    def threads(self):
        """The host's, which move its frames: of the kernel's own, or of the monitor's."""
        name = f"vhost-{self.con.process.pid}"
        found = []
        for path in glob.glob("/proc/[0-9]*/task/*/comm"):
            try:
                with open(path, encoding="ascii") as file:
                    if file.read().strip() == name:
                        found.append(os.path.dirname(path))
            except OSError:     # it ended
                pass
        return found

    def busy_threads(self):
        """Those that have used any CPU time, in ns."""
        times = []
        for path in self.threads():
            with open(path + "/schedstat", encoding="ascii") as file:
                times.append(int(file.read().split()[0]))
        return sum(time > 1000000 for time in times)

    def has_threads(self, wanted):
        found = self.busy_threads()
        want(found == wanted, f"wanted {wanted} threads of vhost that worked, found {found}")


def works(args, vhost, port, data):
    wanted = CPUS if vhost == "on" else 0
    guest = Guest(args, vhost, port, data)
    with guest.con:
        guest.is_up()
        guest.configure()
        guest.moves()
        guest.has_threads(wanted)
        driver = "/sys/bus/virtio/drivers/virtio_net"
        guest.sh(f"d=$(basename {driver}/virtio*) && echo $d >{driver}/unbind && "
                 f"! ls /sys/class/net/eth0 2>/dev/null && echo $d >{driver}/bind")
        guest.configure()
        guest.moves_vectors()
        guest.con.line("reboot -f")
        guest.is_up()
        guest.configure()
        guest.moves()
        guest.con.line("poweroff -f")
        status = guest.con.process.wait(TIMEOUT)
    want(status == 0, f"exit status {status}, wanted 0")


# Fetches for ever. What was going on at the snapshot is cut off when it is restored.
FETCHES = """while :; do
	wget -q -O /got %s/data & w=$!
	(sleep 20; kill $w 2>/dev/null) &
	wait $w || continue
	if [ "$(sha256sum </got)" = "%s  -" ]; then echo FETCHED; else echo BAD; fi
done &"""


def is_saved(args, port, data):
    """While the kernel writes to its memory, which has to be known."""
    path = os.path.join(args.work, "snapshot")
    log = os.path.join(args.work, "net-saved.txt")

    def fetches(con, times):
        for _ in range(times):
            con.wait_for("FETCHED", TIMEOUT, fatal="BAD|Kernel panic|BUG")

    guest = Guest(args, "on", port, data)
    with guest.con:
        guest.is_up()
        guest.configure()
        guest.sh(FETCHES % (guest.url, guest.sum))
        fetches(guest.con, 1)
        vmmd("snapshot", "net", path)
        fetches(guest.con, 2)
        want(guest.busy_threads(), "wanted a thread of vhost that worked, found none")
        vmmd("snapshot", "net", path + "-diff", "--diff")
        fetches(guest.con, 1)
    for name, more in (path, ["--net-vhost", "on"]), (path + "-diff", ["--net-vhost", "off"]):
        with Console(["vmmd", "restore", name, "--name", "net", *more], log) as con:
            fetches(con, 2)


def is_wanted(args, port, data):
    """Without the device it is an error to want it, and nothing to go without."""
    os.rename("/dev/vhost-net", "/dev/vhost-gone")
    try:
        command = ["vmmd", "run", "--kernel", os.path.join(args.kernel, "vmlinuz"),
                   "--net", f"tap={TAP}", "--net-vhost", "on"]
        found = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=True, timeout=TIMEOUT)
        want(found.returncode == 1 and "modprobe vhost_net" in found.stderr,
             f"exit status {found.returncode}: {found.stderr}")
        guest = Guest(args, "auto", port, data)
        with guest.con:
            guest.is_up()
            guest.configure()
            guest.sh(f"wget -q -O /data {guest.url}/data")
            guest.has_threads(0)
    finally:
        os.rename("/dev/vhost-gone", "/dev/vhost-net")


TESTS = [
    ("vhost-net moves what the guest fetches and sends, also after its driver went and "
     "after a reboot", lambda *more: works(more[0], "on", *more[1:])),
    ("so does vmmd by itself", lambda *more: works(more[0], "off", *more[1:])),
    ("a guest that vhost-net serves is saved, and restored with it and without", is_saved),
    ("without /dev/vhost-net only --net-vhost on is refused", is_wanted),
]


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kernel", required=True)
    parser.add_argument("--work", required=True)
    args = parser.parse_args()
    www = os.path.join(args.work, "www")
    os.makedirs(www, exist_ok=True)
    data = os.urandom(SIZE_MB << 19).hex().encode()    # busybox posts texts only
    with open(os.path.join(www, "data"), "wb") as file:
        file.write(data)
    make_initrd(os.path.join(args.work, "initrd"), INIT, kernel=args.kernel,
                modules=("virtio_pci", "virtio_net"))
    subprocess.run(["modprobe", "vhost_net"], check=True)
    make_tap()
    try:
        port = Server(www, TAP_HOST).server_address[1]
        return run_tests(TESTS, args, port, data)
    finally:
        remove_tap()
        shutil.rmtree(www, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
