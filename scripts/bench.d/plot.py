# SPDX-License-Identifier: GPL-2.0
"""A bar for each ratio, as a PNG. A plotting library would be a hundred times
this file's size; the letters are the VGA BIOS's, which vmmd's firmware brings."""

import math
import struct
import zlib

FONT = "/usr/share/seabios/vgabios-stdvga.bin"
LETTER_A = bytes.fromhex("000010386cc6c6fec6c6c6c600000000")
LEFT, WIDTH, LINE, TOP = 130, 600, 24, 40
LOW, HIGH = 0.1, 4.0
WHITE, BLACK, GREY, GREEN, RED = range(5)
COLOURS = bytes((255, 255, 255, 0, 0, 0, 190, 190, 190, 60, 140, 80, 190, 70, 60))


def place(ratio):
    """The x of a ratio on the axis, which is logarithmic."""
    part = math.log(min(max(ratio, LOW), HIGH) / LOW) / math.log(HIGH / LOW)
    return LEFT + round(part * WIDTH)


class Picture:
    def __init__(self, width, height):
        self.lines = [bytearray(width) for _ in range(height)]
        with open(FONT, "rb") as f:
            data = f.read()
        start = data.index(LETTER_A) - ord("A") * 16
        self.font = data[start:start + 256 * 16]

    def box(self, left, top, right, bottom, colour):
        for line in self.lines[top:bottom]:
            line[left:right] = bytes([colour]) * (right - left)

    def text(self, left, top, string):
        for at, letter in enumerate(string.encode("ascii")):
            for y, bits in enumerate(self.font[letter * 16:letter * 16 + 16]):
                for x in range(8):
                    if bits & 0x80 >> x:
                        self.lines[top + y][left + at * 8 + x] = BLACK

    def png(self):
        """PNG specification, 5: a palette and one byte for each pixel."""
        def chunk(kind, data):
            return (struct.pack(">I", len(data)) + kind + data
                    + struct.pack(">I", zlib.crc32(kind + data)))
        head = struct.pack(">IIBBBBB", len(self.lines[0]), len(self.lines), 8, 3, 0, 0, 0)
        pixels = zlib.compress(b"".join(b"\0" + line for line in self.lines), 9)
        return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"PLTE", COLOURS)
                + chunk(b"IDAT", pixels) + chunk(b"IEND", b""))


def draw(rows, title):
    """rows: (name, ratio, ratio wanted or None, missed)."""
    picture = Picture(LEFT + WIDTH + 60, TOP + LINE * (len(rows) + 1) + 8)
    picture.text(8, 4, title)
    for ratio in (0.1, 0.2, 0.4, 0.6, 1, 2, 4):
        x = place(ratio)
        picture.box(x, TOP - 6, x + 1, TOP + LINE * len(rows), BLACK if ratio == 1 else GREY)
        picture.text(x - 12, TOP + LINE * len(rows) + 4, "%.1f" % ratio)
    for at, (name, ratio, wanted, missed) in enumerate(rows):
        y = TOP + LINE * at
        picture.text(8, y, name)
        end = max(place(ratio), LEFT + 1)
        picture.box(LEFT, y, end, y + 16, RED if missed else GREEN)
        picture.text(LEFT + WIDTH + 16, y, "%.2f" % ratio)
        if wanted:
            picture.box(place(wanted) - 1, y - 3, place(wanted) + 2, y + 19, BLACK)
    return picture.png()
