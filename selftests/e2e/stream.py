# SPDX-License-Identifier: GPL-2.0
"""A guest that streams (stream.c), the host's end of it, and the network between: a
bridge with two tap devices, for the two sides of a move."""
import re
import subprocess

from initrd import make_initrd

BRIDGE, TAPS = "gap", ("gap0", "gap1")
HOST, GUEST, PORT = "10.77.1.1", "10.77.1.2", "7777"
MAC = "52:54:00:67:61:70"
TICK_MS = 2             # between packets
# The words of the kernel's line are in the environment.
INIT = f"""/busybox mkdir -p /proc /sys /dev
/busybox mount -t proc proc /proc
/busybox mount -t devtmpfs dev /dev
exec </dev/console >/dev/console 2>&1
/busybox stty -echo
for m in $(/busybox cat /modules/order); do /busybox insmod /modules/$m; done
/busybox ifconfig lo up
/busybox ifconfig eth0 {GUEST} netmask 255.255.255.0 up
[ $busy = 0 ] || while :; do
	/busybox dd if=/dev/urandom of=/moving bs=256k count=4 2>/dev/null
	/busybox md5sum /moving >/dev/null
done &
exec /stream {GUEST} {HOST} {PORT} $ms $tcp
"""


def make_guest(path, kernel, program):
    """Its initial RAM file system. The kernel's line wants ms=MS, tcp=HOW (see stream.c)
    and busy=0 or 1: to write to memory all the time."""
    make_initrd(path, INIT, kernel, ("virtio_pci", "virtio_net"), {"stream": program})


def run(*command):
    subprocess.run(command, check=True)


def make_bridge():
    for module in "tun", "bridge", "vhost_net":
        run("modprobe", module)
    run("ip", "link", "add", BRIDGE, "type", "bridge", "stp_state", "0", "forward_delay", "0")
    for tap in TAPS:
        run("ip", "tuntap", "add", "dev", tap, "mode", "tap")
        run("ip", "link", "set", tap, "master", BRIDGE, "up")
    run("ip", "addr", "add", HOST + "/24", "dev", BRIDGE)
    run("ip", "link", "set", BRIDGE, "up")
    # it is not asked where the guest is: a silent one would speak
    run("ip", "neigh", "replace", GUEST, "lladdr", MAC, "dev", BRIDGE, "nud", "permanent")


def remove_bridge():
    for link in (*TAPS, BRIDGE):
        subprocess.run(["ip", "link", "del", link], stderr=subprocess.DEVNULL)


def parse(line):
    return {key: int(value) for key, value in re.findall(r"(\w+)=(\d+)", line)}


class Tally:
    """What each side heard of the other since the last one."""

    def __init__(self, host, guest):
        self.host, self.guest = host, guest

    def of_both(self, key):
        return max(self.host[key], self.guest[key])

    def __str__(self):
        return "gap %.1f ms to the host, %.1f to the guest; lost %d, %d; TCP stalled %.0f ms, %.0f" % (
            self.host["gap"] / 1e6, self.guest["gap"] / 1e6, self.host["lost"],
            self.guest["lost"], self.host["stall"] / 1e6, self.guest["stall"] / 1e6)


class Peer:
    """The host's end. It gets the CPU whenever it wants that."""

    def __init__(self, program, tcp, ms=TICK_MS):
        self.process = subprocess.Popen(
            ["chrt", "-f", "50", program, HOST, GUEST, PORT, str(ms), "listen" if tcp else "none"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.line()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.communicate()

    def line(self):
        said = self.process.stdout.readline().strip()
        if not said or said.startswith("BAD"):
            raise AssertionError("the host's end: %r" % said)
        return said

    def anew(self):
        """Both begin again; what they have is not of interest, or it was not long."""
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return parse(self.line()), parse(self.line())

    def tally(self):
        """Since the last one. The guest's is what it told in its last packet."""
        mine, theirs = self.anew()
        if mine["packets"] and theirs["round"] != mine["round"]:
            raise AssertionError("the guest has not heard of tally %d: %r" % (
                mine["round"], theirs))
        return Tally(mine, theirs)
