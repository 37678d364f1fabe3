"""Bad lines: bytes that are lost, flipped or repeated, lines that are cut, boards that are reset.

No time passes for real in a World; Damaged spoils a real line.
"""

import random

from fake_net import FakeNet
from models import Builder
from trimtab import serve
from trimtab.session import Board
from trimtab_tools.boards import simulated
from trimtab_tools.compiler import compile as compiler
from trimtab_tools.errors import LinkError
from trimtab_tools.link import client
from trimtab_tools.samples import Sample


def tiny(seed=2, policy="full"):
    """The package of a network that trains fast: 24 bytes of input."""
    b = Builder((4, 3, 2), seed=seed)
    b.conv(3, (3, 3), (2, 2), act="relu6")
    return compiler.compile_graph(
        b.graph(), policy, labels=("a", "b", "c"), rate=0.01, name="tiny", kernels=simulated.best_tier()
    ).data


def noise(n, classes=3):
    """Sample i, the same whenever it is asked."""
    return lambda i: Sample(random.Random(i).randbytes(n), i % classes)


def trained(n, count):
    """The CRC of a FakeNet of n input bytes after that many samples of noise."""
    net = FakeNet(n)
    net.begin(count)
    for i in range(count):
        data, label, _ = noise(n)(i)
        net.input_view[:] = data
        net.train_input(label)
    return net.state_crc()


def damage(rng, rate):
    """Of all bytes, `rate` are lost, flipped or repeated."""

    def spoil(data):
        out = bytearray()
        for byte in data:
            what = int(rng.random() / rate * 3)
            if what == 0:
                byte ^= 1 << rng.randrange(8)
            if what != 1:
                out.append(byte)
            if what == 2:
                out.append(byte)
        return bytes(out)

    return spoil


class Damaged:
    """A line whose bytes are damaged in both directions."""

    def __init__(self, line, rng, rate):
        self.line, self.spoil = line, damage(rng, rate)
        self.close = line.close

    def read(self, n, timeout_ms):
        return self.spoil(self.line.read(n, timeout_ms))

    def write(self, data):
        self.line.write(self.spoil(data))


class World:
    """A board behind lines that can be cut, with a clock of its own. make() boots the board's net."""

    def __init__(self, make, spoil=lambda data: data, key=None, credit=192, fragment=128):
        self.make, self.spoil, self.key, self.grant = make, spoil, key, (credit, fragment)
        self.now = 0
        self.line = None
        self.boots = 0
        self.boot()

    def boot(self):
        self.net = self.make()
        self.boots += 1
        into = (self.net.input_view, serve.target(self.net))
        self.board = Board(lambda: serve.describe(self.net), into, *self.grant, key=self.key)
        self.server = serve.Server(self.net, self.board)

    def open(self):
        self.cut()
        self.line = Line(self)
        return self.line

    def cut(self):
        if self.line:
            self.line.dead = True

    def reset(self):
        self.cut()
        self.boot()

    def clock(self, monkeypatch):
        """Let the client live in this world's time."""
        monkeypatch.setattr(client, "now_ms", lambda: self.now)
        monkeypatch.setattr(client.time, "sleep", self.sleep)
        return self

    def sleep(self, seconds):
        self.now += int(seconds * 1000)

    def turn(self, data):
        for event in self.board.receive(data):
            self.server.answer(event)
        self.board.tick(self.now)
        return self.board.take()


class Line:
    def __init__(self, world):
        self.world = world
        self.there, self.back = b"", b""
        self.dead = False

    def read(self, n, timeout_ms):
        self._alive()
        there, self.there = self.there, b""
        self.back += self.world.spoil(self.world.turn(there))
        self.world.now += 1 if self.back else timeout_ms
        data, self.back = self.back[:n], self.back[n:]
        return data

    def write(self, data):
        self._alive()
        self.there += self.world.spoil(data)

    def close(self):
        self.dead = True

    def _alive(self):
        if self.dead:
            raise LinkError("the line was cut")
