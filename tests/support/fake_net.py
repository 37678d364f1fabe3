"""A net for tests of the link, on CPython and on boards: its state is a checksum of all it was trained on,
so that one sample lost, doubled or swapped shows."""

import struct
from binascii import crc32


class FakeNet:
    name, package_crc, kernels, loss = "fake", 0xC0FFEE, "plain", "softmax"
    labels, classes, output_bytes, state_bytes = ("a", "b", "c"), 3, 3, 300

    def __init__(self, input_bytes=200, flash=None):
        self.input_bytes = input_bytes
        self.input_view = memoryview(bytearray(input_bytes))
        self.target_view = memoryview(bytearray(4))
        self.flash = {} if flash is None else flash  # survives a reset
        self.state = bytearray(self.flash.get("state", bytes(300)))
        self.run = struct.unpack("<I", self.flash.get("run", bytes(4)))[0]
        self.saved_step = self.step

    def word(self, i):
        return struct.unpack_from("<I", self.state, 4 * i)[0]

    @property
    def step(self):
        return self.word(0)

    @property
    def total(self):
        return self.word(1)

    def sum(self):
        return self.word(2)

    def begin(self, total, run=0):
        struct.pack_into("<II", self.state, 0, 0, total)
        self.run = run

    def map_input(self):
        self.input_view[:] = bytes([x ^ 0x80 for x in self.input_view])

    def train_input(self, label):
        self.state[8:12] = struct.pack("<I", crc32(bytes(self.input_view) + bytes([label]), self.sum()))
        struct.pack_into("<I", self.state, 0, self.step + 1)
        return self.sum() & 0xFFFF

    def classify_input(self):
        return crc32(self.input_view) % 3

    def save(self):
        self.flash["run"] = struct.pack("<I", self.run)
        self.flash["state"] = bytes(self.state)
        self.saved_step = self.step
        return self.step

    def state_crc(self):
        return crc32(self.state)

    def read_state(self, offset, into):
        part = self.state[offset : offset + len(into)]
        into[: len(part)] = part
        return len(part)

    def self_test(self):
        return True
