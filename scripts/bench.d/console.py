# SPDX-License-Identifier: GPL-2.0
"""A machine whose serial console is our pipe."""

import os
import select
import subprocess
import time

from common import LOG, Failure, instructions

# Nanoseconds of the lab's clock, idle time too, that a marker may take to come.
PATIENCE = 40 * 10**9


class Console:
    def __init__(self, command):
        self.command = command
        self.start = instructions()
        with open(LOG, "ab") as log:
            self.vm = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                       stderr=log, bufsize=0)
        self.seen = b""

    def failure(self, why, wanted):
        self.vm.kill()
        raise Failure("%s before '%s'; the guest's last words:\n%s\nof: %s" % (
            why, wanted, self.seen[-1000:].decode(errors="replace"), " ".join(self.command)))

    def expect(self, wanted):
        """Read up to this text; return what stood before it."""
        deadline = time.monotonic_ns() + PATIENCE
        fd = self.vm.stdout.fileno()
        while wanted.encode() not in self.seen:
            left = deadline - time.monotonic_ns()
            if left <= 0 or not select.select([fd], [], [], left / 1e9)[0]:
                self.failure("%d s of the lab's clock passed" % (PATIENCE // 10**9), wanted)
            data = os.read(fd, 65536)
            if not data:
                self.failure("status %d came" % self.vm.wait(), wanted)
            self.seen += data
        before, self.seen = self.seen.split(wanted.encode(), 1)
        return before.decode(errors="replace")

    def type(self, text):
        self.vm.stdin.write(text.encode())

    def kill(self):
        self.vm.kill()
        self.vm.wait()

    def end(self):
        """Read to the end: a guest whose console is full does not power off."""
        while os.read(self.vm.stdout.fileno(), 65536):
            pass
        if self.vm.wait():
            raise Failure("the guest ended, but status %d came from: %s" % (
                self.vm.returncode, " ".join(self.command)))
