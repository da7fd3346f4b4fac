# SPDX-License-Identifier: GPL-2.0
"""What the network sees of a guest that moves: for how long it says or hears nothing."""

import os
import sys
import time

from common import TOP, Failure, say
from move import MOVES, Boot, moves_of
from stacks import KERNEL

sys.path.append(os.path.join(TOP, "selftests/e2e"))
from stream import MAC, TAPS, TICK_MS, Peer, make_bridge, make_guest, remove_bridge

PROGRAM = "build/selftests/stream"
INITRD = "/tmp/gap.initrd"
SIZE = 128              # MiB
DOWNTIME = 30           # ms that are promised
SETTLE = 0.3            # s, before and after


def tallies(moves, peer):
    """Of each move what both ends heard, from where the last one came to."""
    guest = moves.start(SIZE)
    guest.expect("streams")
    for _ in range(MOVES):
        time.sleep(SETTLE)
        peer.anew()
        guest, _ = moves.move(guest, SIZE, DOWNTIME)
        time.sleep(SETTLE)
        yield peer.tally()
    guest.kill()


def move_gap(stack, _):
    kernel = "build/kernel/" + KERNEL
    make_guest(INITRD, kernel, PROGRAM)
    moves = moves_of(stack, Boot(kernel + "/vmlinuz", INITRD, "console=ttyS0 quiet ms=%d tcp=none "
                                 "busy=0" % TICK_MS, MAC, TAPS))
    make_bridge()
    try:
        with Peer(PROGRAM, tcp=False) as peer:
            found = [tally.of_both("gap") / 1e6 for tally in tallies(moves, peer)]
    except AssertionError as e:
        raise Failure(str(e)) from None
    finally:
        remove_bridge()
    say("%s: nothing came for %s ms" % (stack.name, found))
    yield "move_gap", round(max(found), 1)


PARTS = (
    (("move_gap",), move_gap),
)
