# SPDX-License-Identifier: GPL-2.0
"""A link between two vmmds that is cut when "go" comes by."""
import contextlib
import select
import socket
import threading


def _socket(address):
    return socket.socket(socket.AF_UNIX if isinstance(address, str) else socket.AF_INET)


class Wire(threading.Thread):
    """From one address to another, of a unix socket or of tcp. It passes "go" on or not,
    and is cut; who connects after that gets through, if anybody may."""

    def __init__(self, at, to, passes, again=False):
        super().__init__(daemon=True)
        self.to = to
        self.passes = passes
        self.again = again
        self.cut = False
        self.listener = _socket(at)
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.bind(at)
        self.listener.listen()
        self.start()

    def run(self):
        self.carry(self.is_go)
        while self.again:
            self.carry(lambda data: False)
        self.listener.close()

    @staticmethod
    def is_go(data):
        # a section's head, and its body of 8 bytes, alone at the end
        return data[-48:-32] == b"go".ljust(16, b"\0")

    def carry(self, ends):
        a, _ = self.listener.accept()
        b = _socket(self.to)
        b.connect(self.to)
        # either may be gone in the middle
        with a, b, contextlib.suppress(ConnectionError):
            while True:
                for s in select.select([a, b], [], [])[0]:
                    data = s.recv(1 << 20)
                    if not data:
                        return
                    cut = s is a and ends(data)
                    if not cut or self.passes:
                        (b if s is a else a).sendall(data)
                    if cut:
                        self.cut = True
                        return
