#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""End-to-end: Debian on more virtual CPUs than the host has.

    smp.py --image build/disk.img --work DIR

With four CPUs it boots, uses what the paravirtual interface offers, and builds a
small C project with make -j4, again and again, to the same binary as this side.
With all of that interface hidden it boots as well.

The image has no compiler: tcc and make are this side's, sent over the network.
Prints TAP; exits 0 if nothing failed.
"""
import argparse
import contextlib
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import tarfile

sys.dont_write_bytecode = True
import boot  # noqa: E402 (beside this file)
from boot import Failure, HOST, Server, want  # noqa: E402
from console import Console, ConsoleError  # noqa: E402

MODULES = 24
BUILDS = 5
TCC_LIB = "/usr/lib/x86_64-linux-gnu/tcc"
# KVM's PV EOI has no line in the log: its MSR says whether the guest uses it. Steal
# time has none either, but the TLB flush goes by it.
PV_LINES = ["setup PV IPIs", "PV spinlocks enabled",
            "KVM setup pv remote TLB flush", "setup PV sched yield"]
READ_EOI_MSR = ("dd if=/dev/cpu/1/msr bs=8 count=1 iflag=skip_bytes status=none"
                f" skip={0x4b564d04}")


def module(number):
    """A function that is some work to compile."""
    lines = [f"unsigned f{number}(unsigned x)", "{", "\tstatic const unsigned t[] = {"]
    lines += ["\t\t" + "".join(f"{(number * 7919 + i * 104729) & 0xffffff}u, "
                              for i in range(line, line + 8)) for line in range(0, 2048, 8)]
    lines += ["\t};", "\tunsigned i;", "\tfor (i = 0; i < sizeof(t) / sizeof(t[0]); i++)",
              "\t\tx = (x << 5 | x >> 27) ^ t[i];", "\treturn x;", "}"]
    return "\n".join(lines) + "\n"


# No C library there either: two system calls are all that it takes.
MAIN = """
static long call(long n, long a, long b, long c)
{
	long r;
	__asm__ volatile("syscall" : "=a"(r) : "a"(n), "D"(a), "S"(b), "d"(c)
			 : "rcx", "r11", "memory");
	return r;
}
%s
void _start(void)
{
	char text[9];
	unsigned x = 1;
	int i;
%s
	for (i = 0; i < 8; i++)
		text[i] = "0123456789abcdef"[x >> (28 - 4 * i) & 15];
	text[8] = '\\n';
	call(1, 1, (long)text, 9);
	call(60, 0, 0, 0);
}
"""

MAKEFILE = """
objects := main.o $(foreach n,$(shell seq %d),f$(n).o)
program: $(objects)
	../tcc -B../lib -nostdlib -static -o $@ $^
%%.o: %%.c
	../tcc -B../lib -c -o $@ $<
clean:
	rm -f *.o program
""" % MODULES


def write_project(directory):
    """Compiler, make and sources, as they are used on both sides."""
    project = os.path.join(directory, "project")
    os.makedirs(project)
    shutil.copy("/usr/bin/tcc", directory)
    shutil.copy("/usr/bin/make", directory)
    shutil.copytree(TCC_LIB, os.path.join(directory, "lib"))
    numbers = range(1, MODULES + 1)
    for number in numbers:
        with open(os.path.join(project, f"f{number}.c"), "w") as file:
            file.write(module(number))
    with open(os.path.join(project, "main.c"), "w") as file:
        file.write(MAIN % ("\n".join(f"unsigned f{n}(unsigned x);" for n in numbers),
                           "\n".join(f"\tx = f{n}(x);" for n in numbers)))
    with open(os.path.join(project, "Makefile"), "w") as file:
        file.write(MAKEFILE)


class Test(boot.Test):
    """A boot of its own for each of the two."""

    def prepare(self, image):
        os.makedirs(self.work, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            os.remove(self.transcript)
        boot.copy(image, self.disk)

    def prepare_project(self):
        tree = os.path.join(self.work, "smp")
        www = os.path.join(self.work, "www")
        for directory in tree, www:
            shutil.rmtree(directory, ignore_errors=True)
            os.makedirs(directory)
        write_project(tree)
        with tarfile.open(os.path.join(www, "smp.tar"), "w") as tar:
            tar.add(tree, "smp")
        subprocess.run(["make", "-s", "-C", os.path.join(tree, "project")], check=True,
                       env=dict(os.environ, MAKEFLAGS=""))
        program = os.path.join(tree, "project", "program")
        with open(program, "rb") as file:
            self.sums["program"] = hashlib.sha256(file.read()).hexdigest()
        self.says = subprocess.run([program], stdout=subprocess.PIPE, check=True,
                                   text=True).stdout.strip()
        self.port = Server(www).server_address[1]

    def log(self):
        return self.sh("dmesg | grep -i -e kvm -e 'PV ' -e stealtime", 60)

    def uses_pv(self):
        """uses steal time, PV EOI, PV IPIs, PV spinlocks, PV TLB flush and PV yield"""
        log = self.log()
        for line in PV_LINES:
            want(line in log, f"wanted {line!r} in the guest's log, found {log!r}")
        value = self.sh(f"modprobe msr && {READ_EOI_MSR} | od -An -tu8", 60)
        want(int(value) & 1, f"wanted PV EOI to be on, found its MSR to be {value}")

    def builds(self):
        """builds a C project with make -j4 to the same binary each time"""
        self.has_lease()
        self.sh(f"cd /root && wget -nv -T 60 -t 1 http://{HOST}:{self.port}/smp.tar && "
                "tar xf smp.tar", 300)
        for _ in range(BUILDS):
            self.sh("cd /root/smp/project && ../make -s clean && ../make -s -j4", 600)
            found = self.sum_of("smp/project/program")
            want(found == self.sums["program"],
                 f"sha256 of the program: wanted {self.sums['program']}, found {found}")
        found = self.sh("/root/smp/project/program", 60).strip()
        want(found == self.says, f"the program: wanted {self.says}, found {found}")

    def uses_no_pv(self):
        """finds nothing of the paravirtual interface"""
        log = self.log()
        for line in PV_LINES + ["kvm-clock"]:
            want(line not in log, f"wanted no {line!r} in the guest's log, found {log!r}")
        self.sh("modprobe msr", 60)
        status, _ = self.con.run(READ_EOI_MSR, 60)
        want(status != 0, "wanted no PV EOI MSR, found one")

    def run(self):
        runs = [(4, "", [self.boots, self.logs_in, self.has_cpus, self.has_queues,
                         self.uses_pv, self.builds, self.stops, self.clean]),
                (2, " --no-pv all", [self.boots, self.logs_in, self.has_cpus,
                                     self.uses_no_pv, self.stops, self.clean])]
        base, first, good = self.argv, 1, True
        print(f"1..{sum(len(steps) for _, _, steps in runs)}", flush=True)
        for self.cpus, more, steps in runs:
            options = f"--cpus {self.cpus}{more}"
            self.argv = base + options.split()
            good &= self.walk(steps, first, f"debian {options}: ")
            first += len(steps)
            self.con.close()
        return good


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--image", required=True, help="raw disk image")
    parser.add_argument("--work", required=True, help="directory for the copy and the transcript")
    parser.add_argument("--password", default="vmm", help="of the guest's root")
    parser.add_argument("--boot-timeout", type=float, default=600, metavar="SECONDS")
    options = parser.parse_args()
    options.work = os.path.abspath(options.work)
    options.vmm, options.stop = boot.VMMD, "poweroff"
    options.in_place = options.overlay = options.quick = options.tap = False
    options.cpus, options.options = 1, ""   # each run gives its own, the last counts

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    test = Test(options)
    try:
        try:
            test.prepare(options.image)
            test.prepare_project()
        except (Failure, OSError, subprocess.CalledProcessError) as error:
            print(f"1..1\nnot ok 1 - debian disk is copied to {options.work}\n# {error}")
            return 1
        return 0 if test.run() else 1
    finally:
        if test.con:
            test.con.close()
        shutil.rmtree(os.path.join(test.work, "www"), ignore_errors=True)
        shutil.rmtree(os.path.join(test.work, "smp"), ignore_errors=True)
        with contextlib.suppress(FileNotFoundError):
            os.remove(test.disk)


if __name__ == "__main__":
    sys.exit(main())
