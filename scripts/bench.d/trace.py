# SPDX-License-Identifier: GPL-2.0
"""When an event of the kernel came first."""

import re

TRACING = "/sys/kernel/tracing/"


def write(name, text):
    with open(TRACING + name, "w", encoding="ascii") as f:
        f.write(text)


class First:
    """with First("kvm/kvm_entry") as first: ...; first.ns() is of CLOCK_MONOTONIC."""

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

    def ns(self):
        with open(TRACING + "trace", encoding="ascii") as f:
            for line in f:
                found = re.search(r" (\d+)\.(\d{6}): ", line)
                if found:
                    return int(found[1]) * 10**9 + int(found[2]) * 1000
        return None
