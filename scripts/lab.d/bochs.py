# SPDX-License-Identifier: GPL-2.0
"""The lab's room in Bochs: a CPU with VT-x (or another SVM). Bochs has nothing
that shares files: kernel, initramfs and two images with programs and the tree
are put into its memory before it starts; see boot.S."""

import os
import pty
import socket
import struct
import subprocess
import tempfile
import threading
import time
import tty

from common import BUILD, HERE, TOP, Failure, is_newer, prepare_vmlinux, write_whole
from initramfs import (CPIO_END, cpio_entry, initramfs, initramfs_sources, module_paths,
                       release_of)

MODELS = {"vmx": "corei7_haswell_4770", "vmx-pml": "corei7_skylake_x",
          "vmx-off": "corei7_haswell_4770", "svm-bochs": "zambezi"}

# In the initramfs; the second line only for --disk.
MODULES = ("nd_e820", "nd_pmem", "squashfs", "overlay")
DISK_MODULES = ("ata_piix", "sd_mod")
# For modprobe in the lab.
MORE_MODULES = ("kvm_intel", "kvm_amd", "tun", "loop", "ext4", "zram", "msr", "cpuid")

# Packages whose files the lab shows, with those that they and the essential
# ones depend on.
PACKAGES = ("e2fsprogs", "iproute2", "kmod", "make", "mount", "procps", "python3")
# What vmmd loads by itself (--net user); GnuTLS is not missed here.
LOADED = ("/usr/lib/x86_64-linux-gnu/libslirp.so.0",)
UNWANTED = ("/usr/share/doc/", "/usr/share/man/", "/usr/share/locale/", "/usr/share/info/",
            "/usr/share/lintian/", "/usr/share/bug/", "/usr/share/bash-completion/", "/boot/",
            "/var/", "/usr/lib/gcc/", "/usr/include/", "/usr/share/zoneinfo/", "/usr/lib/udev/")
ETC = ("/etc/passwd", "/etc/group", "/etc/nsswitch.conf", "/etc/hosts", "/etc/ld.so.cache",
       "/etc/alternatives")
# Of the tree, what need not or must not travel.
LEFT_OUT = [os.path.join(TOP, name) for name in (
    ".git", "build/kernel", "build/lab", "build/unit", "build/e2e", "build/bench")]
LEFT_OUT_ENDS = (".o", ".a", ".img", ".cmd", ".mod.c", "/bochs.log")

BIOS = "/usr/share/bochs/BIOS-bochs-latest"

MiB = 1 << 20
# See boot.S. The pads must outnumber the blocks that the BIOS touches (six).
STEP = 1 << 16
PADS_AT, PADS = 128 * MiB, 16 * MiB // STEP
KERNEL_AT = 16 * MiB
IPS = 50000000


# ---- images


def padded(data, unit):
    return data + b"\0" * (-len(data) % unit)


def prepare_flat(kernel):
    """Return (file, entry): the kernel as it lies in memory from KERNEL_AT on,
    and where PVH enters it."""
    flat = os.path.join(kernel, "vmlinux.flat")
    vmlinux = prepare_vmlinux(kernel)
    with open(vmlinux, "rb") as f:
        elf = f.read()
    if elf[:4] != b"\x7fELF":
        raise Failure(1, "cannot unpack %s" % vmlinux)
    offset, size, count = struct.unpack_from("<Q", elf, 32) + struct.unpack_from("<HH", elf, 54)
    image, entry = bytearray(), None
    for i in range(count):
        kind, _, at, _, where, length, _, _ = struct.unpack_from("<IIQQQQQQ", elf, offset + i * size)
        if kind == 1:       # PT_LOAD
            where -= KERNEL_AT
            image += b"\0" * (where + length - len(image))
            image[where:where + length] = elf[at:at + length]
        elif kind == 4:     # PT_NOTE
            end = at + length
            while at < end:
                name, desc, number = struct.unpack_from("<III", elf, at)
                at += 12 + name + -name % 4
                if number == 18 and name == 4:      # XEN_ELFNOTE_PHYS32_ENTRY
                    entry = int.from_bytes(elf[at:at + desc], "little")
                at += desc + -desc % 4
    if not is_newer(flat, [vmlinux]):
        write_whole(flat, bytes(padded(image, 2 * MiB)))
    return flat, entry


def compiled(name, command):
    """build/lab-tools/NAME, made by command when the sources are newer."""
    path = os.path.join(BUILD, "lab-tools", name)
    source = os.path.join(HERE, command[-1])
    if not is_newer(path, [source]):
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with tempfile.TemporaryDirectory(dir=os.path.dirname(path)) as work:
            new = os.path.join(work, name)
            subprocess.run(command[:-1] + [source, "-o", new], check=True)
            os.rename(new, path)
    return path


def prepare_initrd(kernel, disks):
    """KERNEL/initrd-bochs or, with disks, initrd-bochs-disks; without the end."""
    initrd = os.path.join(kernel, "initrd-bochs" + ("-disks" if disks else ""))
    ports = compiled("ports", ["gcc", "-O2", "-static", "ports.c"])
    if not is_newer(initrd, initramfs_sources("bochs") + [ports]):
        write_whole(initrd, initramfs(kernel, "bochs",
                                      MODULES + (DISK_MODULES if disks else ()),
                                      [("ports", 0o100755, ports)]))
    return initrd


def package_files():
    """The files of PACKAGES and all that they need, and what holds them together."""
    packages, essential = {}, []
    with open("/var/lib/dpkg/status", errors="replace") as f:
        for stanza in f.read().split("\n\n"):
            fields = dict(line.split(": ", 1) for line in stanza.splitlines()
                          if ": " in line and line[0] != " ")
            if not fields.get("Status", "").endswith(" installed"):
                continue
            packages[fields["Package"]] = fields
            for name in fields.get("Provides", "").split(", "):
                packages.setdefault(name.split(" ")[0], fields)
            if fields.get("Essential") == "yes":
                essential.append(fields["Package"])
    wanted, queue = set(), essential + list(PACKAGES)
    while queue:
        # The first of several alternatives that is there.
        fields = next((packages[name.split(" ")[0].split(":")[0]]
                       for name in queue.pop().split(" | ")
                       if name.split(" ")[0].split(":")[0] in packages), None)
        if not fields or fields["Package"] in wanted:
            continue
        wanted.add(fields["Package"])
        for key in ("Depends", "Pre-Depends"):
            queue += [name for name in fields.get(key, "").split(", ") if name]

    files = set()
    for name in wanted:
        listing = "/var/lib/dpkg/info/%s.list" % name
        if not os.path.exists(listing):
            listing = "/var/lib/dpkg/info/%s:%s.list" % (name, packages[name]["Architecture"])
        with open(listing) as f:
            for path in f.read().splitlines():
                # Since /usr was merged, /bin/sh is /usr/bin/sh for tar.
                path = os.path.join(os.path.realpath(os.path.dirname(path)),
                                    os.path.basename(path))
                if (path != "/." and not (path + "/").startswith(UNWANTED)
                        and os.path.lexists(path)):
                    files.add(path)
                    head, tail = os.path.split(path)
                    cached = "%s/__pycache__/%s.cpython-3%d.pyc" % (
                        head, tail[:-3], os.sys.version_info.minor)
                    if tail.endswith(".py") and os.path.exists(cached):
                        files.add(cached)
    for folder in ("/usr/bin", "/usr/sbin"):
        files.update(entry.path for entry in os.scandir(folder)
                     if entry.is_symlink() and os.path.realpath(entry.path) in files
                     and os.readlink(entry.path).startswith("/etc/alternatives/"))
    for path in ETC:
        files.update(walk(path))
    files.update(path for path in ("/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
                 if os.path.islink(path))
    return files


def walk(top):
    """top and all below it, without what is left out of the tree."""
    if not os.path.lexists(top) or top in LEFT_OUT or (
            top.startswith(BUILD + "/") and top.endswith(LEFT_OUT_ENDS)):
        return
    yield top
    if os.path.isdir(top) and not os.path.islink(top):
        for name in os.listdir(top):
            yield from walk(os.path.join(top, name))


def with_parents(files):
    found = set(files) - {"/"}
    for path in files:
        path = os.path.dirname(path)
        while path != "/" and path not in found:
            found.add(path)
            path = os.path.dirname(path)
    return found


def squashfs(image, files):
    """Make an image of these files. Nothing is compressed: to unpack would cost
    the emulator more than it costs us to read."""
    names = "\0".join(sorted(path.lstrip("/") for path in with_parents(files)))
    with tempfile.TemporaryDirectory(dir=os.path.dirname(image)) as work:
        new = os.path.join(work, "image")
        with open(os.path.join(work, "names"), "w") as f:
            f.write(names)
        # A file that goes away meanwhile is none that was asked for.
        tar = subprocess.Popen(
            ["tar", "-C", "/", "--no-recursion", "--null", "-T", os.path.join(work, "names"),
             "--ignore-failed-read", "--sparse", "-cf", "-"],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        subprocess.run(["sqfstar", "-quiet", "-no-progress", "-all-root", "-no-xattrs",
                        "-noI", "-noD", "-noF", "-noX", "-processors", "1", new],
                       stdin=tar.stdout, check=True)
        tar.wait()
        os.rename(new, image)


def prepare_base(kernel):
    """KERNEL/base.img: programs, and the kernel's modules."""
    base = os.path.join(kernel, "base.img")
    if not is_newer(base, [os.path.join(HERE, "bochs.py"), "/var/lib/dpkg/status"]):
        modules = os.path.join(kernel, "lib/modules", release_of(kernel))
        files = package_files() | set(module_paths(kernel, MORE_MODULES))
        files.update(entry.path for entry in os.scandir(modules)
                     if entry.name.startswith("modules."))
        squashfs(base, files)
    return base


def libraries():
    """The shared libraries of our programs, and those that they load as they run."""
    programs = [p for p in (os.path.join(BUILD, "vmmd/vmmd"), *LOADED) if os.path.exists(p)]
    found = subprocess.run(["ldd"] + programs,
                           stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout
    for word in found.split() + programs:
        if word.startswith("/") and os.path.exists(word):
            word = os.path.join(os.path.realpath(os.path.dirname(word)), os.path.basename(word))
            yield word
            yield os.path.realpath(word)


def concatenate(image, parts):
    with open(image, "wb") as to:
        for part in parts:
            if isinstance(part, bytes):
                to.write(part)
                continue
            with open(part, "rb") as source:
                to.flush()
                size = os.fstat(source.fileno()).st_size
                while os.sendfile(to.fileno(), source.fileno(), None, size):
                    pass
                to.seek(0, os.SEEK_END)
            to.write(b"\0" * (-size % (2 * MiB)))


def prepare_memory(args, kernel, job):
    """Write job/memory.img and job/boot.img for boot.S; return how many MiB the
    emulated machine must have."""
    initrd = prepare_initrd(kernel, args.disk)
    base = prepare_base(kernel)
    tree = os.path.join(job, "tree.img")
    paths = set(walk(TOP)) | set(libraries())
    for path in args.bring:
        path = os.path.realpath(path)
        paths.add(path)
        paths.update(walk(path))
    squashfs(tree, paths)
    flat, entry = prepare_flat(kernel)

    jobfiles = cpio_entry("job", 0o40755)
    for name in os.listdir(job):
        if name == "job.sh" or name.startswith("disk"):
            with open(os.path.join(job, name), "rb") as f:
                jobfiles += cpio_entry("job/" + name, 0o100644, f.read())
    with open(initrd, "rb") as f:
        initrd = padded(f.read() + jobfiles + CPIO_END, 4)
    initrd_size = len(initrd)
    initrd = padded(initrd, 2 * MiB)

    # Above the machine's proper memory: base, initrd, tree. The initrd between
    # the others keeps the kernel from taking them for one range.
    def rounded(path):
        size = os.path.getsize(path)
        return size + -size % (2 * MiB)
    base_at = args.mem // 2 * 2 * MiB
    initrd_at = base_at + rounded(base)
    tree_at = initrd_at + len(initrd)
    end = tree_at + rounded(tree)
    # Above 3 GiB there is no memory but PCI's.
    if end > 3 << 30:
        raise Failure(1, "wanted at most 3 GiB, found %d MiB of --mem and %d MiB of files"
                      % (args.mem, (end - base_at) // MiB))

    append = ["console=ttyS0,115200", "nokaslr", "panic=-1", "oops=panic", "loglevel=7",
              "memmap=%dM!%dM" % (rounded(base) // MiB, base_at // MiB),
              "memmap=%dM!%dM" % (rounded(tree) // MiB, tree_at // MiB),
              # What takes long and changes nothing that we test: the ciphers'
              # tests, keys for signed modules, names of enums in trace events.
              "mitigations=off", "no_timer_check", "cryptomgr.notests",
              # With several CPUs Bochs is slow at MWAIT.
              "idle=halt",
              "initcall_blacklist=load_system_certificate_list,trace_eval_init"]
    if (args.model or MODELS[args.cpu]) == "corei7_skylake_x":
        # Its CPUID gives a frequency 70 times that of its ticks, and for the compact
        # XSAVE area the size of the other form: Linux would do without XSAVE.
        append += ["tsc_early_khz=%d" % (IPS // 1000), "clearcpuid=xsaves,xsavec"]
    if args.debug:
        append += ["slub_debug=FZPU", "page_poison=1"]
    if args.cpu == "svm-bochs":
        append += ["clearcpuid=mwaitx"]     # which Bochs's ryzen promises but cannot
    append = " ".join(append + [args.append]).encode() + b"\0"
    info_at = KERNEL_AT - MiB
    # struct hvm_start_info, hvm_modlist_entry
    info = struct.pack("<IIIIQQQQII", 0x336ec578, 1, 0, 1, info_at + 64, info_at + 128, 0,
                       0x8000, 0, 0).ljust(64, b"\0")
    info += struct.pack("<QQQQ", initrd_at, initrd_size, 0, 0).ljust(64, b"\0") + append

    pads = [b"pad%c" % i for i in range(PADS)]
    concatenate(os.path.join(job, "memory.img"),
                [b"".join(pad.ljust(STEP, b"\0") for pad in pads), padded(info, MiB), flat,
                 base, initrd, tree])
    os.unlink(tree)
    sector = compiled("boot", ["gcc", "-m32", "-nostdlib", "-static", "-Wl,-Ttext=0x7c00",
                               "-Wl,--oformat=binary", "-Wl,--build-id=none", "boot.S"])
    with open(sector, "rb") as f:
        sector = f.read()[:466]
    sector += struct.pack("<IIIIIIIIIIIH", entry, info_at, PADS_AT, PADS,
                          int.from_bytes(pads[-1], "little"),
                          info_at, (MiB + os.path.getsize(flat)) // STEP,
                          base_at, (end - base_at) // STEP, 0, 0, 0xaa55)
    with open(os.path.join(job, "boot.img"), "wb") as f:
        f.write(sector.ljust(1440 * 1024, b"\0"))
    # The BIOS's tables lie in the last 64 KiB.
    return end // MiB + 2


# ---- the run


def prepare_bios(args, job):
    """The BIOS; for vmx-off one that locks VT-x off instead of on."""
    if args.cpu != "vmx-off":
        return BIOS
    with open(BIOS, "rb") as f:
        image = f.read()
    # rdmsr of IA32_FEATURE_CONTROL, then "or eax, 5" (lock, on): in 32 and 16 bits.
    for width in b"", b"\x66":
        head = b"\xb9\x3a\x00\x00\x00\x0f\x32" + width + b"\x83\xc8"
        if head + b"\x05" not in image:
            raise Failure(1, "%s does not lock VT-x on" % BIOS)
        image = image.replace(head + b"\x05", head + b"\x01")
    bios = os.path.join(job, "bios")
    with open(bios, "wb") as f:
        f.write(image)
    return bios


def bochsrc(args, job, memory, serial):
    disks = []
    for i, (name, readonly) in enumerate(args.disk):
        disks.append('ata%d-%s: type=disk, path="%s", mode=%s, model=disk%d%s' % (
            i // 2, ("master", "slave")[i % 2], os.path.abspath(name),
            "volatile" if readonly else "flat", i,
            ', journal="%s"' % os.path.join(job, "journal%d" % i) if readonly else ""))
    return "\n".join([
        # No better display can do without a terminal; nobody looks.
        'display_library: rfb, options="timeout=0"',
        "cpu: model=%s, count=%d, ips=%d, ignore_bad_msrs=1, reset_on_triple_fault=0" % (
            args.model or MODELS[args.cpu], args.smp, IPS),
        # More than 2 GiB it would keep in a file.
        "memory: guest=%d, host=%d" % (memory, min(memory, 2048)),
        "romimage: file=%s, options=fastboot" % prepare_bios(args, job),
        "vgaromimage: file=/usr/share/bochs/VGABIOS-lgpl-latest",
        'optramimage1: file="%s/memory.img", address=0x%x' % (job, PADS_AT),
        "pci: enabled=1, chipset=i440fx",
        "boot: floppy",
        'floppya: 1_44="%s/boot.img", status=inserted' % job,
        "ata1: enabled=1, ioaddr1=0x170, ioaddr2=0x370, irq=15",
        *disks,
        "clock: sync=none, time0=%d" % time.time(),
        'com1: enabled=1, mode=file, dev="%s/console.log"' % job,
        "com2: enabled=1, mode=term, dev=" + serial,
        "port_e9_hack: enabled=1",
        'log: "%s/bochs.log"' % job,
        "panic: action=fatal", "info: action=ignore",
        "plugin_ctrl: speaker=0", ""])


class Wire:
    """Carries frames between Bochs (see ports.c) and the ports that the lab
    sees."""

    HEAD = b"\xf5lab"

    def __init__(self, stdout, serial, ports, job):
        self.stdout, self.serial = stdout, serial
        self.memory = os.path.join(job, "memory.img")
        self.results = open(os.path.join(job, "results.tar"), "wb")
        self.ports = dict(enumerate(ports, start=1))
        self.ready = {1: threading.Semaphore(0), 2: threading.Semaphore(0)}
        self.lock = threading.Lock()
        self.receiver = threading.Thread(target=self.receive, daemon=True)
        for thread in (self.receiver, *(threading.Thread(target=self.send, args=(n,), daemon=True)
                                        for n in self.ready)):
            thread.start()

    def receive(self):
        for stream, data in self.frames():
            if os.path.exists(self.memory):     # has long been read, and is large
                os.unlink(self.memory)
            try:
                if stream == 0:
                    self.ready[data[0]].release()
                elif stream == 5:
                    self.results.write(data)
                else:
                    self.ports[stream].sendall(data)
            except OSError:     # our side has ended
                pass
        self.results.close()
        for port in self.ports.values():
            port.close()

    def frames(self):
        data = b""
        while True:
            # Bochs says something at its start and end, never between our bytes.
            at = data.find(self.HEAD)
            if at >= 0 and len(data) >= at + 7:
                stream, size = struct.unpack_from("<BH", data, at + 4)
                if len(data) >= at + 7 + size:
                    yield stream, data[at + 7:at + 7 + size]
                    data = data[at + 7 + size:]
                    continue
            more = os.read(self.stdout, 1 << 16)
            if not more:
                return
            data += more

    def send(self, stream):
        while True:
            self.ready[stream].acquire()
            try:
                data = self.ports[stream].recv(7)
                with self.lock:
                    os.write(self.serial, bytes([stream << 4 | len(data)]) + data)
            except OSError:
                return
            if not data:
                return


class Room:
    """A running Bochs. ports are our ends of control, stdin, stdout, stderr."""

    def __init__(self, args, kernel, job):
        self.job = job
        self.beat = None
        serial, theirs = pty.openpty()
        tty.setraw(theirs)
        memory = prepare_memory(args, kernel, job)
        for name, text in (("bochsrc", bochsrc(args, job, memory, os.ttyname(theirs))),
                           ("rc", "c\n")):
            with open(os.path.join(job, name), "w") as f:
                f.write(text)
        pairs = [socket.socketpair() for _ in range(4)]
        self.ports = [pair[0] for pair in pairs]
        # Its display is a server: in a network of its own it is nobody's.
        own_network = ["unshare", "--map-root-user", "--net", "--"]
        if subprocess.run(own_network + ["true"], stderr=subprocess.DEVNULL).returncode:
            own_network = []
        stdout, bochs_stdout = os.pipe()
        with open(os.path.join(job, "stderr"), "wb") as log:
            self.process = subprocess.Popen(
                own_network + ["setpriv", "--pdeathsig", "KILL", "--", "bochs", "-q",
                               "-f", os.path.join(job, "bochsrc"), "-rc", os.path.join(job, "rc")],
                stdin=subprocess.DEVNULL, stdout=bochs_stdout, stderr=log,
                start_new_session=True)
        os.close(bochs_stdout)
        self.wire = Wire(stdout, serial, [pair[1] for pair in pairs], job)
        self.theirs = theirs    # open, or serial would report its end

    def finish(self, args, died):
        """Unpack what came back; return what the emulator itself had to say."""
        log = os.path.join(self.job, "bochs.log")
        text = ""
        if os.path.exists(log):
            with open(log, errors="replace") as f:
                text = f.read()
        if args.out:
            # Linux reads these two, APERF and MPERF, at each tick.
            lines = [line for line in text.splitlines(True)
                     if not line.rstrip().endswith(("register 0xe7", "register 0xe8"))]
            with open(os.path.join(args.out, "bochs.log"), "w") as f:
                f.writelines(lines)
            self.wire.receiver.join()
            results = self.wire.results.name
            if os.path.getsize(results):
                subprocess.run(["tar", "-C", args.out, "--no-same-owner", "--touch",
                                "--warning=no-timestamp", "-xf", results])
        # The shutdown port is boot.S's way to end a kernel that died.
        with open(os.path.join(self.job, "stderr"), errors="replace") as f:
            return "".join(line for line in f if died and "PANIC<<" in line
                           or died and line.startswith("[") and "Shutdown port" not in line)
