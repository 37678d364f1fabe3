"""A board with a key: only signed packages, only hosts that prove the key, no frame twice."""

import hashlib
import hmac
import random
import struct

import numpy as np
import pytest
import trimtab.crc
from fake_net import FakeNet
from helpers import provide
from lines import World, damage, noise, tiny
from trimtab import serve, trust
from trimtab.frame import encode
from trimtab.package import Package, PackageError
from trimtab.session import MESSAGES, TRAIN, Board
from trimtab_tools import cli
from trimtab_tools.boards import key, simulated
from trimtab_tools.boards.files import library_files
from trimtab_tools.boards.pico import Pico
from trimtab_tools.errors import BoardError, UsageError
from trimtab_tools.link.client import Client
from trimtab_tools.link.host import Host
from trimtab_tools.link.transport import Serial

KEY = bytes(range(7, 39))
OTHER = bytes(range(32))


def test_hmac_is_hmac():
    rng = random.Random(1)
    for _ in range(50):
        parts = [rng.randbytes(rng.randrange(90)) for _ in range(3)]
        for length in (16, 32, 64):
            secret = rng.randbytes(length)
            want = hmac.new(secret, b"".join(parts), hashlib.sha256).digest()
            assert trust.hmac(trust.pads(secret), parts) == want


def test_same_looks_at_all():
    a = bytes(range(16))
    assert trust.same(a, bytes(a)) and trust.same(a, memoryview(a))
    assert not any(trust.same(a, a[:i] + bytes([a[i] ^ 1]) + a[i + 1 :]) for i in range(16))
    assert not trust.same(a, a[:15]) and not trust.same(b"", a)


# -- packages


def refused(data, secret=KEY):
    with pytest.raises(PackageError) as found:
        trust.check(Package(bytes(data)), secret)
    return str(found.value)


def test_a_signed_package_runs_and_every_flipped_byte_is_refused():
    plain = tiny()
    assert (
        refused(plain)
        == "this package is not signed and the board has a key: sign it with `trimtab key sign`"
    )
    signed = key.sign(plain, KEY)
    trust.check(Package(signed), KEY)
    assert key.sign(key.sign(plain, OTHER), KEY) == signed
    assert simulated.load(signed, "plain").self_test()
    assert "is not of the board's key" in refused(signed, OTHER)
    assert "is not of the board's key" in refused(signed + b"\0")
    for at in list(range(8, trust.HEADER_BYTES - 4, 3)) + list(range(trust.HEADER_BYTES, len(signed), 11)):
        forged = bytearray(signed)
        forged[at] ^= 4
        struct.pack_into(
            "<I", forged, trust.HEADER_BYTES - 4, trimtab.crc.crc32(forged[: trust.HEADER_BYTES - 4])
        )
        assert refused(forged)


def test_load_asks_for_the_boards_key(tmp_path, monkeypatch):
    monkeypatch.setattr(trimtab, "KEY_FILE", str(tmp_path / "trimtab.key"))
    path = tmp_path / "net.ttp"
    path.write_bytes(tiny())
    assert trimtab.board_key() is None and trimtab.load(str(path), "plain").step == 0
    (tmp_path / "trimtab.key").write_bytes(KEY)
    with pytest.raises(PackageError, match="not signed"):
        trimtab.load(str(path), "plain")
    key.sign_file(path, KEY)
    assert trimtab.load(str(path), "plain").self_test()
    (tmp_path / "trimtab.key").write_bytes(KEY[:31])  # half written: it does not open the board to all
    with pytest.raises(ValueError, match="has 31 bytes, a key has 32"):
        trimtab.load(str(path), "plain")
    (tmp_path / "trimtab.key").unlink()
    (tmp_path / "trimtab.key").mkdir()
    with pytest.raises(OSError):
        trimtab.board_key()


def test_a_key_file_is_made_once_and_private(tmp_path):
    path = tmp_path / "key"
    key.make(path)
    assert len(key.read(path)) == 32 and path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(UsageError, match="is there already"):
        key.make(path)
    path.write_bytes(b"short")
    with pytest.raises(UsageError, match="is not a key of 32 bytes"):
        key.read(path)


def test_the_command_makes_signs_and_trains_with_a_key(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.ttp").write_bytes(tiny())
    np.savez("data.npz", x=np.zeros((9, 4, 3, 2), np.uint8), y=np.arange(9) % 3)
    assert cli.main(["key", "make", "--key", "k"]) == 0
    assert cli.main(["key", "sign", "net.ttp", "--key", "k"]) == 0
    trust.check(Package((tmp_path / "net.ttp").read_bytes()), key.read("k"))
    assert cli.main(["train", "net.ttp", "--data", "data.npz", "--key", "k"]) == 0
    assert cli.main(["key", "sign", "--key", "k"]) == 1
    assert "name a package" in capsys.readouterr().err


# -- sessions


def world(monkeypatch, secret=KEY, spoil=lambda data: data):
    return World(lambda: FakeNet(50), spoil, secret).clock(monkeypatch)


def test_host_and_board_with_one_key_train(monkeypatch):
    here = world(monkeypatch, spoil=damage(random.Random(3), 0.003))
    with Client(here.open, key=KEY, patience_ms=9000) as client:
        told = []
        for result in client.train(noise(50), 60):
            told.append(result.seq)
            if result.seq in (20, 41):
                here.cut()
        assert told == list(range(1, 61))
        clean = FakeNet(50)
        clean.begin(60)
        for i in range(60):
            clean.input_view[:] = noise(50)(i).data
            clean.train_input(i % 3)
        assert client.state_crc() == clean.state_crc()


@pytest.mark.parametrize(
    "board, host, said",
    [
        (KEY, None, "the board has a key: give the same with --key FILE"),
        (None, KEY, "the board has no key: give it yours"),
        (KEY, OTHER, "that is not this board's key"),
    ],
)
def test_keys_that_do_not_go_together(monkeypatch, board, host, said):
    here = world(monkeypatch, board)
    with pytest.raises(BoardError, match=said):
        Client(here.open, key=host).connect()
    assert here.board.state == "closed" or board is None


class Tap:
    """A board and a host joined in memory; what the host sent is kept."""

    def __init__(self, board=None):
        self.net = FakeNet(50)
        self.board = board or Board(
            lambda: serve.describe(self.net), (self.net.input_view, serve.target(self.net)), key=KEY
        )
        self.server = serve.Server(self.net, self.board)
        self.host = Host(KEY)
        self.sent = []

    def hear(self, data):
        for event in self.board.receive(data):
            self.server.answer(event)
        return self.board.take()

    def turn(self):
        data = self.host.take()
        self.sent.append(data)
        return list(self.host.receive(self.hear(data)))

    def open(self, nonce=9):
        self.host.hello(nonce)
        while self.host.state != "ready":
            self.turn()
        return self

    def train(self, count):
        for step in range(self.net.step + 1, self.net.step + 1 + count):
            self.host.submit(TRAIN, step, 1, bytes(range(50)))
            while self.host.jobs:
                self.turn()


def texts(data):
    """The names of what a board without a session said, and its sentences."""
    names = {code[0]: name for name, (code, _) in MESSAGES.items()}
    reader = serve.Board(lambda: {}, (memoryview(bytearray(1)),)).reader
    return [(names[p[0]], bytes(p[4:])) for p in reader.feed(data)]


def test_a_session_that_is_replayed_is_refused():
    tap = Tap().open()
    tap.train(5)
    tap.host.bye()
    tap.turn()
    state = tap.net.state_crc()
    said = texts(b"".join(tap.hear(data) for data in tap.sent))
    assert ("denied", b"this proof was made for another session: say hello and prove anew") in said
    assert {name for name, _ in said} == {"challenge", "denied", "closed"}
    assert tap.net.state_crc() == state and tap.net.step == 5


def test_frames_of_the_open_session_that_are_replayed_change_nothing():
    tap = Tap().open()
    tap.train(3)
    for data in tap.sent[2:] * 2:  # all that was sealed, and the proof before it
        tap.hear(data)
    assert tap.net.step == 3
    tap.train(2)  # and the session goes on
    assert tap.net.step == 5


def test_a_proof_that_is_repeated_gets_the_same_info_and_no_second_session():
    tap = Tap().open()
    tap.train(2)
    seal = tap.board.seal
    answer = tap.hear(next(data for data in tap.sent if data and data[1:2] == b"K"))
    assert tap.board.seal is seal and list(tap.host.receive(answer)) == []
    tap.train(1)
    assert tap.net.step == 3


def test_forged_frames_are_not_heard():
    tap = Tap().open()
    tap.train(1)
    rng = random.Random(4)
    sid = tap.host.sid
    for name, (code, layout) in MESSAGES.items():
        for tail in (b"", rng.randbytes(12), rng.randbytes(40)):
            body = (
                struct.pack("<BBH", code[0], sid, tap.host.number + 1) + bytes(struct.calcsize(layout)) + tail
            )
            answer = tap.hear(encode(body))
            names = {name for name, _ in texts(answer)}
            assert names <= {"challenge", "denied"}, name
            assert list(tap.host.receive(encode(body))) == [] or name == "closed"
            tap.host.state = "ready"
    assert tap.net.step == 1 and tap.board.state == "ready"
    tap.train(2)
    assert tap.net.step == 3


def test_a_board_does_not_pass_for_the_host_nor_the_host_for_the_board():
    said = b"both"
    host, board = trust.Seal(KEY, said, b"host", b"board"), trust.Seal(KEY, said, b"board", b"host")
    frame = host.close(b"payload")
    assert host.open(frame) is None
    assert bytes(board.open(frame)) == b"payload" and board.open(frame) is None
    for at in range(len(frame)):
        forged = frame[:at] + bytes([frame[at] ^ 16]) + frame[at + 1 :]
        assert trust.Seal(KEY, said, b"board", b"host").open(forged) is None


def test_without_a_session_nothing_is_done():
    tap = Tap()
    said = texts(tap.hear(encode(struct.pack("<BBHH", ord("V"), 1, 1, 1))))
    assert said == [("closed", b"")] and "state" not in tap.net.flash


# -- an emulated Pico with a key

BOOT = b"import trimtab.serve\ntrimtab.serve.main('net.ttp')\n"


@pytest.mark.pico
def test_unsigned_wrongly_signed_and_replayed_on_the_pico(tmp_path):
    provide("pico")
    package = tiny()
    files = {
        **library_files("armv6m"),
        "/unsigned.ttp": package,
        "/other.ttp": key.sign(package, OTHER),
        "/net.ttp": key.sign(package, KEY),
    }
    with Pico(files=files) as pico:
        key.put(pico.url, KEY)
        with pytest.raises(BoardError, match="has a key: remove /trimtab.key"):
            key.put(pico.url, OTHER)
        for name, said in (
            ("unsigned", "this package is not signed and the board has a key"),
            ("other", "this package's signature is not of the board's key"),
        ):
            with pytest.raises(BoardError, match=said):
                Client(lambda: Serial(pico.url), f"{name}.ttp", key=KEY).connect()
        taped = []

        class Taped(Serial):
            def write(self, data):
                taped.append(data)
                super().write(data)

        with Client(lambda: Taped(pico.url), "net.ttp", key=KEY) as client:
            taped.clear()  # from here on: sealed frames of this session
            steps = list(client.train(noise(client.info["input_bytes"]), 12))
            assert len(steps) == 12
            state = client.state_crc()
            client.line.port.write(b"".join(taped))
            client.line.read(64, 300)
            assert client.state_crc() == state and client.refresh()["step"] == 12
        with pytest.raises(BoardError, match="that is not this board's key"):
            Client(lambda: Serial(pico.url), "net.ttp", key=OTHER).connect()
        with pytest.raises(BoardError, match="the board has a key: give the same"):
            Client(lambda: Serial(pico.url), "net.ttp").connect()


@pytest.mark.pico
def test_a_replayed_session_on_the_pico():
    provide("pico")
    files = {
        **library_files("armv6m"),
        "/net.ttp": key.sign(tiny(), KEY),
        "/main.py": BOOT,
        "/trimtab.key": KEY,
    }
    taped = []

    class Taped(Serial):
        def write(self, data):
            taped.append(data)
            super().write(data)

    with Pico(files=files, wait=False) as pico:
        client = Client(lambda: Taped(pico.url), key=KEY)
        client.connect()
        assert len(list(client.train(noise(client.info["input_bytes"]), 4))) == 4
        state = client.state_crc()
        client.drop()  # no goodbye: the board serves on
        again = Client(lambda: Serial(pico.url), key=KEY)
        again.connect()
        again.drop()
        line = Serial(pico.url)
        for data in taped:
            line.write(data)
        said = b""
        while b"made for another session" not in said:
            some = line.read(256, 3000)
            assert some, said
            said += some
        line.close()
        with Client(lambda: Serial(pico.url), key=KEY) as client:
            assert client.state_crc() == state and client.info["step"] == 4
