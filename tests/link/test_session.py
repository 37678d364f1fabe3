"""The session in memory: whatever a line does to the bytes, each sample trains once."""

import random
import struct
import zlib

import pytest
from fake_net import FakeNet
from hypothesis import given, settings
from hypothesis import strategies as st
from lines import damage, noise, trained
from trimtab import serve
from trimtab.frame import Reader, encode
from trimtab.session import EVALUATE, MESSAGES, RAW, STATES, TRAIN, Board
from trimtab_tools.link.events import Closed, Refused, Reply, Result
from trimtab_tools.link.host import Host
from trimtab_tools.samples import Sample


class Ends:
    """A host and a board joined in memory, with a clock of their own; `spoil` stands for the line."""

    def __init__(self, net, spoil=lambda data: data, credit=192, fragment=64):
        self.net = net
        self.spoil = spoil
        self.now = 0
        self.board = Board(lambda: serve.describe(net), (net.input_view, serve.target(net)), credit, fragment)
        self.server = serve.Server(net, self.board)
        self.host = Host()
        self.results = []
        self.most = 0  # bytes of samples in flight

    def turn(self):
        """Everything that is due crosses the line once; returns the host's events."""
        to_board = self.spoil(self.host.take())
        self.most = max(self.most, sum(entry[1] for entry in self.host.flight))
        for event in self.board.receive(to_board):
            self.server.answer(event)
        self.board.tick(self.now)
        events = list(self.host.receive(self.spoil(self.board.take())))
        self.host.tick(self.now)
        self.now += 10
        return events

    def open(self):
        self.host.hello(7)
        while self.host.state == "opening":
            self.turn()
        return self.host.info

    def run(self, kind, source, count, turns=100000):
        following = done = 0
        for _ in range(turns):
            while following < count and self.host.room():
                one = source(following)
                following += 1
                self.host.submit(kind, following, one.label, one.data)
            for event in self.turn():
                if isinstance(event, Result):
                    done = event.seq
                    self.results.append(event)
                elif isinstance(event, Closed):
                    raise AssertionError("the board forgot its session")
            if done == count:
                return
        raise AssertionError("%d of %d samples after %d turns" % (done, count, turns))


def test_a_clean_line():
    ends = Ends(FakeNet())
    info = ends.open()
    assert [info[key] for key in ("name", "package_crc", "step", "input_bytes")] == ["fake", 0xC0FFEE, 0, 200]
    ends.net.begin(50)
    ends.run(TRAIN, noise(200), 50)
    assert ends.net.state_crc() == trained(200, 50)
    assert [result.seq for result in ends.results] == list(range(1, 51))
    assert None not in [result.value for result in ends.results]
    assert ends.host.losses == 0


@pytest.mark.parametrize("n", [1, 63, 64, 65, 1000, 5000])
def test_any_size_of_sample(n):
    ends = Ends(FakeNet(n))
    ends.open()
    ends.net.begin(3)
    ends.run(TRAIN, noise(n), 3)
    assert ends.net.state_crc() == trained(n, 3)


@pytest.mark.parametrize("seed", range(4))
def test_one_percent_of_damage_changes_nothing(seed):
    ends = Ends(FakeNet(), damage(random.Random(seed), 0.01))
    ends.open()
    ends.net.begin(150)
    ends.run(TRAIN, noise(200), 150)
    assert ends.net.state_crc() == trained(200, 150)
    assert [result.seq for result in ends.results] == list(range(1, 151))
    assert ends.host.losses > 10 and ends.host.size < 64


def test_the_results_are_right_under_damage():
    ends = Ends(FakeNet(30), damage(random.Random(9), 0.01))
    ends.open()
    ends.run(EVALUATE, noise(30), 200)
    assert [r.value for r in ends.results] == [zlib.crc32(noise(30)(i).data) % 3 for i in range(200)]


class Reorder:
    """Cuts the stream anywhere, holds pieces back, repeats and swaps them."""

    def __init__(self, rng):
        self.rng = rng
        self.late = b""

    def __call__(self, data):
        cut = self.rng.randrange(len(data) + 1)
        first, second = data[:cut], data[cut:]
        what = self.rng.randrange(8)
        if what == 0:
            first, second = second, first
        elif what == 1:
            second += data
        elif what == 2:
            self.late, second = second, self.late
        elif what == 3:
            second = b""
        return first + second


@given(st.integers(0, 2**32 - 1), st.integers(1, 400))
@settings(max_examples=25, deadline=None)
def test_cut_held_back_repeated_and_swapped(seed, n):
    ends = Ends(FakeNet(n), Reorder(random.Random(seed)))
    ends.open()
    ends.net.begin(12)
    ends.run(TRAIN, noise(n), 12)
    assert ends.net.state_crc() == trained(n, 12)
    assert [result.seq for result in ends.results] == list(range(1, 13))


def test_one_byte_at_a_time():
    ends = Ends(FakeNet(50))
    ends.open()
    ends.net.begin(5)
    receive = ends.board.receive
    ends.board.receive = lambda data: (event for byte in data for event in receive(bytes([byte])))
    ends.run(TRAIN, noise(50), 5)
    assert ends.net.state_crc() == trained(50, 5)


@pytest.mark.parametrize("credit", [110, 192, 448, 4096])
def test_never_more_in_flight_than_granted(credit):
    ends = Ends(FakeNet(3000), credit=credit, fragment=256)
    ends.open()
    ends.run(TRAIN, noise(3000), 20)
    assert ends.most <= credit
    assert ends.most > credit // 3 or credit > 2000


def test_fragments_grow_on_a_clean_line_up_to_the_grant():
    ends = Ends(FakeNet(1000), credit=1000, fragment=256)
    ends.open()
    ends.run(TRAIN, noise(1000), 40)
    assert ends.host.size >= 256
    assert ends.host.losses == 0


def test_raw_samples_are_mapped_on_the_board():
    ends = Ends(FakeNet(8))
    ends.open()
    ends.run(TRAIN | RAW, lambda i: Sample(bytes(8), 0), 1)
    assert bytes(ends.net.input_view) == b"\x80" * 8


def test_a_request_that_is_repeated_is_answered_once():
    ends = Ends(FakeNet())
    ends.open()
    saves = []
    ends.net.save = lambda: saves.append(1) or 0
    ends.host.ask("save")
    frame = ends.host.take()
    for event in ends.board.receive(frame + frame + frame):
        ends.server.answer(event)
    replies = list(ends.host.receive(ends.board.take()))
    assert replies == [Reply("saved", (0,), b"")] and len(saves) == 1


def forge(code, body, sid):
    return encode(struct.pack("<BBH", code, sid, 1) + body)


def test_unknown_and_short_messages_end_in_an_error_not_in_a_crash():
    ends = Ends(FakeNet())
    ends.open()
    sid = ends.host.sid
    forged = ((0x7E, b"what", "unknown"), (ord("X"), b"short", "layout"), (ord("I"), bytes(70), "unknown"))
    for code, body, name in forged:
        assert list(ends.board.receive(forge(code, body, sid))) == []
        (event,) = ends.host.receive(ends.board.take())
        assert isinstance(event, Refused) and event.cause == name


def test_every_message_with_random_bodies():
    rng = random.Random(5)
    ends = Ends(FakeNet())
    ends.open()
    for _ in range(3000):
        code = rng.choice(list(MESSAGES.values()))[0][0]
        for event in ends.board.receive(forge(code, rng.randbytes(rng.randrange(60)), ends.host.sid)):
            ends.server.answer(event)
        list(ends.host.receive(forge(code, rng.randbytes(rng.randrange(90)), ends.host.sid)))
        ends.board.take()


def test_a_label_that_is_not_there():
    ends = Ends(FakeNet())
    ends.open()
    ends.host.submit(TRAIN, 1, 3, bytes(200))
    events = [event for _ in range(9) for event in ends.turn()]
    assert events == [Refused("sample", 1, "label 3 is not one of the package's 3 classes")]
    assert ends.net.step == 0


def test_hello_is_harmless_at_a_repl():
    for nonce in range(0, 2**31, 2**24 + 12345):
        host = Host()
        host.hello(nonce)
        assert min(host.take()[:-1]) >= 0x20


def test_no_frame_looks_like_ctrl_c():
    for name, (code, layout) in MESSAGES.items():
        for value in (0, 3, 255):
            payload = struct.pack("<BBH", code[0], value, value) + bytes([value]) * struct.calcsize(layout)
            assert encode(payload)[1] != 3, name


@pytest.mark.parametrize(
    "typed, silent, over",
    [
        (b"\x03", True, False),
        (b"\x03\x03", False, False),
        (b"\x03\x03", True, True),
        (b"\r\x03", True, True),
        (b"\r\x03\r", False, True),  # mpremote, whose Ctrl-A stays in the port
        (b"\x03\x03\x03", True, False),
        (b"ab", True, False),
    ],
)
def test_ctrl_c_between_frames(typed, silent, over):
    reader = Reader()
    list(reader.feed(encode(b"before") + typed))
    assert serve.interrupted(reader, silent) is over


def test_the_tables_agree():
    codes = [code for code, _ in MESSAGES.values()]
    assert len(set(codes)) == len(codes) and all(len(code) == 1 and code >= b" " for code in codes)
    for states in STATES.values():
        for rows in states.values():
            assert set(rows) <= set(MESSAGES) and set(rows.values()) <= set(states)
