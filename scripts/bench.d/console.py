# SPDX-License-Identifier: GPL-2.0
"""A machine whose serial console is our pipe."""

import os
import select
import subprocess

from common import LOG, Failure, Patience, instructions


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
        raise Failure("%s before %s; the guest's last words:\n%s\nof: %s" % (
            why, wanted, self.seen[-1000:].decode(errors="replace"), " ".join(self.command)))

    def expect(self, wanted):
        """Read up to this text; return what stood before it."""
        while wanted.encode() not in self.seen:
            data = self.read("'%s'" % wanted)
            if not data:
                self.failure("status %d came" % self.vm.wait(), "'%s'" % wanted)
            self.seen += data
        before, self.seen = self.seen.split(wanted.encode(), 1)
        return before.decode(errors="replace")

    def read(self, wanted):
        fd, patience = self.vm.stdout.fileno(), None
        while not select.select([fd], [], [], 1)[0]:
            # not before it is silent: what it takes to look is in what is measured
            patience = patience or Patience()
            if patience.over():
                self.failure("%s without a word" % patience, wanted)
        return os.read(fd, 65536)

    def type(self, text):
        self.vm.stdin.write(text.encode())

    def kill(self):
        self.vm.kill()
        self.vm.wait()

    def end(self):
        """Read to the end: a guest whose console is full does not power off."""
        while data := self.read("its end"):
            self.seen += data
        if self.vm.wait():
            raise Failure("the guest ended, but status %d came from: %s" % (
                self.vm.returncode, " ".join(self.command)))
