# SPDX-License-Identifier: GPL-2.0
"""When a guest begins, as its hypervisor's trace events tell."""

import re

TRACING = "/sys/kernel/tracing/"


def write(name, text):
    with open(TRACING + name, "w", encoding="ascii") as f:
        f.write(text)


class First:
    """with First("kvm/kvm_entry") as first: ...; then first.entry() and
    first.instruction() are of CLOCK_MONOTONIC, in ns, or None."""

    def __init__(self, event):
        self.enable = "events/%s/enable" % event

    def __enter__(self):
        write("trace_clock", "mono")
        write("options/overwrite", "0")     # the first ones stay
        write("trace", "")
        write(self.enable, "1")
        return self

    def __exit__(self, *_):
        write(self.enable, "0")

    def __iter__(self):
        """(ns, rip) of each entry."""
        with open(TRACING + "trace", encoding="ascii") as f:
            for line in f:
                found = re.search(r" (\d+)\.(\d{6}): .* rip (0x[0-9a-f]+)", line)
                if found:
                    yield int(found[1]) * 10**9 + int(found[2]) * 1000, found[3]

    def entry(self):
        return next((ns for ns, _ in self), None)

    def instruction(self):
        """The last entry before the guest is elsewhere: those before it only brought
        the pages that the first instruction needs."""
        last = begun = None
        for ns, rip in self:
            begun = begun or rip
            if rip != begun:
                return last
            last = ns
        return None
