# SPDX-License-Identifier: GPL-2.0
"""What a VM's process takes beyond the guest's own memory."""

import os
import re
import time

from common import Failure

GROUPS = "/sys/fs/cgroup/"
KB = 1024
BASE_KB = 640             # of RAM below 1 MiB, a mapping of its own


class Group:
    """A control group, so that kernel memory is counted too: page tables of both
    kinds, structures, stacks."""

    path = GROUPS + "bench-vm"

    def __enter__(self):
        with open(GROUPS + "cgroup.subtree_control", "w", encoding="ascii") as f:
            f.write("+memory")
        if os.path.exists(self.path):       # of one that failed, and is killed
            self.wait_empty()
            os.rmdir(self.path)
        os.mkdir(self.path)
        return self

    def __exit__(self, failed, *_):
        if not failed:
            os.rmdir(self.path)

    def command(self, command):
        return ["sh", "-c", 'echo $$ >%s/cgroup.procs && exec "$@"' % self.path, "sh"] + command

    def kernel_kb(self):
        with open(self.path + "/memory.stat", encoding="ascii") as f:
            return int(re.search(r"^kernel (\d+)$", f.read(), re.M)[1]) // KB

    def all_kb(self):
        """Of the processes, of files that they made in memory, and the kernel's."""
        with open(self.path + "/memory.current", encoding="ascii") as f:
            return int(f.read()) // KB

    def wait_empty(self):
        """Until its processes have ended."""
        while True:
            with open(self.path + "/cgroup.procs", encoding="ascii") as f:
                if not f.read():
                    return
            time.sleep(0.05)

    def overhead(self, pid, guest_kb):
        """KiB: the kernel's, and what the process wrote to outside of the guest's
        memory. Programs and libraries are there once for all VMs."""
        return self.kernel_kb() + private_kb(pid, guest_kb)


def private_kb(pid, guest_kb):
    """The guest's memory is the largest mapping, and vmmd's 640 KiB below 1 MiB, which
    are not to be in a core dump (flag dd) either."""
    mappings = []
    with open("/proc/%d/smaps" % pid, encoding="ascii") as f:
        for line in f:
            words = line.split()
            if words[0] == "Size:":
                mappings.append([int(words[1]), False, 0])
            elif words[0] in ("Private_Dirty:", "Shared_Dirty:"):
                mappings[-1][2] += int(words[1])
            elif words[0] == "VmFlags:":
                mappings[-1][1] = "dd" in words
    largest = max(mappings)
    if largest[0] * 4 < guest_kb * 3:
        raise Failure("wanted a mapping of nearly %d kB of guest memory in process %d, the "
                      "largest has %d kB" % (guest_kb, pid, largest[0]))
    return sum(dirty for size, undumped, dirty in mappings
               if size != largest[0] and not (undumped and size == BASE_KB))
