# SPDX-License-Identifier: GPL-2.0
"""QEMU's monitor: commands in, answers out."""

import json
import socket
import time

from common import Failure, say, wait_for_file

ANSWER = 20                 # s of the lab's clock that an answer may take
PATIENCE = 30 * 10**9       # ns of the lab's clock that a migration may take
DOUBT = 5 * 10**9           # and after which it is thought to have no end


class Qmp:
    def __init__(self, path):
        wait_for_file(path)
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(ANSWER)
        self.socket.connect(path)
        self.file = self.socket.makefile("r", encoding="utf-8")
        self.file.readline()
        self.run("qmp_capabilities")

    def run(self, command, **arguments):
        try:
            self.socket.sendall(json.dumps({"execute": command, "arguments": arguments}).encode())
            for line in self.file:
                answer = json.loads(line)
                if "error" in answer:
                    raise Failure("QEMU: %s: %s" % (command, answer["error"]["desc"]))
                if "return" in answer:
                    return answer["return"]
        except OSError as e:
            raise Failure("QEMU: %s: %s" % (command, e)) from None
        raise Failure("QEMU ended at " + command)

    def ignore_shared(self):
        """Memory that is a file stays there."""
        self.run("migrate-set-capabilities",
                 capabilities=[{"capability": "x-ignore-shared", "state": True}])

    def migrate(self, uri, downtime, bandwidth=0):
        """Promised so many ms, over so many bytes/s (0: as fast as it goes); the ms
        that the guest stood still. The source is left, and does not run. QEMU does not
        give up: if it comes to no end it is allowed twice the time, and so on."""
        self.run("migrate-set-parameters", **{"downtime-limit": downtime,
                                              "max-bandwidth": bandwidth})
        self.run("migrate", uri=uri)
        start = time.monotonic_ns()
        doubt = start + DOUBT
        while True:
            state = self.run("query-migrate")
            if state.get("status") == "completed":
                return state["downtime"]
            if state.get("status") == "failed" or time.monotonic_ns() > start + PATIENCE:
                raise Failure("QEMU: migration to %s: %s" % (uri, state))
            if time.monotonic_ns() > doubt:
                downtime, doubt = 2 * downtime, doubt + DOUBT
                say("QEMU: no end in sight: allowed %d ms" % downtime)
                self.run("migrate-set-parameters", **{"downtime-limit": downtime})
            time.sleep(0.05)
