"""The link: whatever a line does to the bytes, a board trains each sample once, and the host hears of it."""

import os
import random
import struct
import threading
import zlib
from pathlib import Path

import fake_net
import pytest
from fake_net import FakeNet
from hypothesis import given, settings
from hypothesis import strategies as st
from trimtab import serve
from trimtab.frame import Reader, encode
from trimtab.session import EVALUATE, MESSAGES, RAW, STATES, TRAIN, Board
from trimtab_tools.boards import emulated
from trimtab_tools.errors import BoardError, LinkError
from trimtab_tools.link.client import Client
from trimtab_tools.link.events import Closed, Refused, Reply, Result
from trimtab_tools.link.host import Host
from trimtab_tools.link.start import cure
from trimtab_tools.link.transport import Pair, Process, Serial, Thread
from trimtab_tools.samples import Sample
from trimtab_tools.toolchain import builds


def sample(n):
    """The sample of step n + 1, for a net of 200 or so input bytes."""
    return lambda i: Sample(random.Random(i).randbytes(n), i % 3)


def trained(n, count):
    net = FakeNet(n)
    net.begin(count)
    for i in range(count):
        data, label, _ = sample(n)(i)
        net.input_view[:] = data
        net.train_input(label)
    return net.state_crc()


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


def test_a_clean_line():
    ends = Ends(FakeNet())
    info = ends.open()
    assert [info[key] for key in ("name", "package_crc", "step", "input_bytes")] == ["fake", 0xC0FFEE, 0, 200]
    ends.net.begin(50)
    ends.run(TRAIN, sample(200), 50)
    assert ends.net.state_crc() == trained(200, 50)
    assert [result.seq for result in ends.results] == list(range(1, 51))
    assert None not in [result.value for result in ends.results]
    assert ends.host.losses == 0


@pytest.mark.parametrize("n", [1, 63, 64, 65, 1000, 5000])
def test_any_size_of_sample(n):
    ends = Ends(FakeNet(n))
    ends.open()
    ends.net.begin(3)
    ends.run(TRAIN, sample(n), 3)
    assert ends.net.state_crc() == trained(n, 3)


@pytest.mark.parametrize("seed", range(4))
def test_one_percent_of_damage_changes_nothing(seed):
    ends = Ends(FakeNet(), damage(random.Random(seed), 0.01))
    ends.open()
    ends.net.begin(150)
    ends.run(TRAIN, sample(200), 150)
    assert ends.net.state_crc() == trained(200, 150)
    assert [result.seq for result in ends.results] == list(range(1, 151))
    assert ends.host.losses > 10 and ends.host.size < 64


def test_the_results_are_right_under_damage():
    ends = Ends(FakeNet(30), damage(random.Random(9), 0.01))
    ends.open()
    ends.run(EVALUATE, sample(30), 200)
    assert [r.value for r in ends.results] == [zlib.crc32(sample(30)(i).data) % 3 for i in range(200)]


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
    ends.run(TRAIN, sample(n), 12)
    assert ends.net.state_crc() == trained(n, 12)
    assert [result.seq for result in ends.results] == list(range(1, 13))


def test_one_byte_at_a_time():
    ends = Ends(FakeNet(50))
    ends.open()
    ends.net.begin(5)
    receive = ends.board.receive
    ends.board.receive = lambda data: (event for byte in data for event in receive(bytes([byte])))
    ends.run(TRAIN, sample(50), 5)
    assert ends.net.state_crc() == trained(50, 5)


@pytest.mark.parametrize("credit", [110, 192, 448, 4096])
def test_never_more_in_flight_than_granted(credit):
    ends = Ends(FakeNet(3000), credit=credit, fragment=256)
    ends.open()
    ends.run(TRAIN, sample(3000), 20)
    assert ends.most <= credit
    assert ends.most > credit // 3 or credit > 2000


def test_fragments_grow_on_a_clean_line_up_to_the_grant():
    ends = Ends(FakeNet(1000), credit=1000, fragment=256)
    ends.open()
    ends.run(TRAIN, sample(1000), 40)
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


# -- the client over whole lines


class Bench:
    """A board that serves a FakeNet in a thread; its line can be cut, it can be reset."""

    def __init__(self, n=200):
        self.n = n
        self.flash = {}
        self.net = FakeNet(n, self.flash)
        self.lines = []
        self.busy = threading.Lock()

    def open(self):
        line = Thread(self.run)
        self.lines.append(line)
        return line

    def run(self, port):
        with self.busy:  # a board has one line
            serve.serve(self.net, port)

    def cut(self):
        self.lines[-1].line.close()

    def reset(self):
        self.cut()
        with self.busy:
            self.net = FakeNet(self.n, self.flash)


def test_client_trains_evaluates_saves_and_pulls():
    bench = Bench()
    with Client(bench.open) as client:
        results = list(client.train(sample(200), 20, save_every=8))
        assert [result.seq for result in results] == list(range(1, 21))
        assert client.state_crc() == trained(200, 20) == zlib.crc32(client.pull_state())
        assert client.info["saved"] == 20 and bench.flash["state"] == bytes(bench.net.state)
        right = sum(result.value == i % 3 for i, result in enumerate(client.evaluate(sample(200), 30)))
        assert client.summary() == (30, right)
        assert client.predict(sample(200)(4)) == zlib.crc32(sample(200)(4).data) % 3
        assert client.self_test()
        client.save()
    assert not bench.busy.locked() or bench.lines[-1].thread.join(2) is None


@pytest.mark.parametrize("how", ["cut", "reset"])
def test_client_goes_on_after_cuts_and_resets(how):
    bench = Bench()
    seen = []
    with Client(bench.open) as client:
        for result in client.train(sample(200), 60, save_every=10):
            seen.append(result.seq)
            if result.seq in (3, 17, 31, 44):
                getattr(bench, how)()
        assert client.state_crc() == trained(200, 60)
    assert seen == list(range(1, 61))


def test_a_live_source_survives_resets():
    bench = Bench()
    given = []

    def source():
        for i in range(300):
            given.append(i)
            yield sample(200)(i)

    with Client(bench.open) as client:
        for result in client.train(source(), 300):
            if result.seq in (60, 130, 190, 290):
                bench.reset()
        assert client.resets == 4
        assert client.state_crc() == trained(200, 300)
    assert given == list(range(300))


def test_a_second_host_goes_on_where_the_first_died():
    bench = Bench()
    first = Client(bench.open)
    first.connect()
    run = first.train(sample(200), 30)
    for _ in range(11):
        next(run)
    first.drop()  # no goodbye
    with Client(bench.open) as second:
        assert second.info["step"] >= 11
        list(second.train(sample(200), 30, resume=True))
        assert second.state_crc() == trained(200, 30)


def test_a_new_run_starts_at_step_0_and_is_saved_there():
    bench = Bench()
    with Client(bench.open) as client:
        list(client.train(sample(200), 5, save_every=5))
        kept = bench.net.sum()
        run = client.train(sample(200), 7)
        assert next(run).seq == 1
        bench.reset()
        assert bench.net.step == 0 and bench.net.sum() == kept and bench.net.total == 7
        assert [result.seq for result in run] == [2, 3, 4, 5, 6, 7]


def test_an_iterator_left_behind_does_no_harm():
    bench = Bench()
    with Client(bench.open) as client:
        next(client.train(sample(200), 9))
        assert client.state_crc() == trained(200, 9) or client.info["step"] in (1, 2, 3)
        assert client.info["step"] == bench.net.step


def test_refusals_are_sentences():
    bench = Bench()
    with Client(bench.open) as client:
        with pytest.raises(BoardError, match="label 9 is not one of the package's 3 classes"):
            list(client.train(lambda i: Sample(bytes(200), 9), 1))
        with pytest.raises(BoardError, match="a sample has 5 bytes, the package takes 200"):
            list(client.train(lambda i: Sample(bytes(5), 0), 1))

        def refuse():
            raise OSError("saving takes 8192 bytes, 0 are free: remove some files; nothing was changed")

        bench.net.save = refuse
        with pytest.raises(BoardError, match="0 are free"):
            client.save()
        del bench.net.save
        bench.net.train_input = lambda label: 1 // 0
        with pytest.raises(BoardError, match="division"):
            list(client.train(sample(200), 1))
        assert client.self_test()


def test_ports_that_are_not_there():
    with pytest.raises(LinkError, match="port /dev/nowhere is not there"):
        Serial("/dev/nowhere")
    with pytest.raises(LinkError, match="port socket://127.0.0.1:1 is not there"):
        Serial("socket://127.0.0.1:1")
    with pytest.raises(LinkError, match="no-such-program cannot be started"):
        Process(["no-such-program"])


def test_a_port_that_is_in_use():
    _, far = os.openpty()
    first = Serial(os.ttyname(far))
    with pytest.raises(LinkError, match="is in use: close the program that has it open"):
        Serial(os.ttyname(far))
    first.close()


def test_a_program_that_ends_says_so():
    client = Client(lambda: Process(["false"]))
    with pytest.raises(LinkError, match="false ended with exit code 1|takes no data"):
        client.connect()


def test_a_board_that_is_silent():
    a, _ = Pair.make()
    with pytest.raises(LinkError, match="does not answer|has not answered"):
        Client(lambda: a, patience_ms=300).connect()


@pytest.mark.parametrize(
    "said, sentence",
    [
        (
            "ImportError: no module named 'trimtab'",
            "the board has no trimtab library: run `trimtab deploy x.ttp`",
        ),
        ("OSError: [Errno 2] ENOENT", "the board has no file x.ttp: run `trimtab deploy x.ttp`"),
        (
            "MemoryError: package needs 90000 bytes of arena, 70000 are free: compile with a smaller --ram",
            "package needs 90000 bytes of arena, 70000 are free: compile with a smaller --ram",
        ),
        (
            "MemoryError: memory allocation failed, allocating 90000 bytes",
            "x.ttp does not fit the board's free RAM: compile it again with a smaller --ram",
        ),
        ("ValueError: x.ttp is damaged: deploy it again", "x.ttp is damaged: deploy it again"),
        ("KeyError: 5", "the board cannot load x.ttp: KeyError: 5"),
    ],
)
def test_tracebacks_become_sentences(said, sentence):
    traceback = 'OK\x04Traceback (most recent call last):\r\n  File "<stdin>", line 1\r\n%s\r\n\x04>'
    assert cure(traceback % said, "x.ttp") == sentence


# -- real interpreters

FAKE = Path(fake_net.__file__).read_bytes()
# stands for a package: trimtab.load() is asked for a file and gives the fake net, saved by the real store
BOOT = b"""
import fake_net, trimtab
from trimtab.store import Store
class Slots:
    def __init__(self, path):
        self.stores = {"state": Store(path), "run": Store(path + ".run")}
    def get(self, key, default):
        state = bytearray(default)
        self.stores[key].load([memoryview(state)], 1)
        return state
    def __setitem__(self, key, state):
        self.stores[key].save([memoryview(state)], 1, 0)
def load(path, kernels=None):
    open(path).close()
    return fake_net.FakeNet(200, Slots(path))
trimtab.load = load
"""


def test_micropython_on_a_pipe():
    code = "import fake_net; from trimtab import serve; serve.serve(fake_net.FakeNet())"
    with emulated.Unix("-c", code, files={"fake_net.py": FAKE}, paths=["."], kernels=False) as board:
        client = Client(lambda: Process.around(board.process))
        client.connect()
        assert len(list(client.train(sample(200), 300))) == 300
        assert client.state_crc() == trained(200, 300)
        assert zlib.crc32(client.pull_state()) == trained(200, 300)
        client.close()
        assert board.process.wait(5) == 0


def test_two_ctrl_c_end_serving():
    code = "import fake_net; from trimtab import serve; serve.serve(fake_net.FakeNet()); print('REPL')"
    with emulated.Unix("-c", code, files={"fake_net.py": FAKE}, paths=["."], kernels=False) as board:
        client = Client(lambda: Process.around(board.process))
        client.connect()
        client.line.write(b"\x03\x03")
        assert board.process.wait(5) == 0
        assert board.process.stdout.read().endswith(b"REPL\n")


def library():
    files = {
        f"lib/trimtab/{path.relative_to(builds.library())}": path.read_bytes()
        for path in builds.library().rglob("*.py")
    }
    return dict(files, **{"fake_net.py": FAKE, "boot.py": BOOT, "net.ttp": b"-"})


@pytest.fixture(scope="module")
def pico():
    with emulated.Pico("stock", library()) as board:
        yield board


def test_from_the_repl_to_frames_and_back_on_an_emulated_pico(pico):
    with Client(lambda: Serial(pico.url), "net.ttp") as client:
        assert client.info["name"] == "fake" and client.info["heap_free"] > 100000
        assert len(list(client.train(sample(200), 60))) == 60
        assert client.state_crc() == trained(200, 60)
    assert emulated.mpremote(pico.url, "eval", "6*7").strip() == "42"


def test_mpremote_gets_in_while_the_pico_serves(pico):
    client = Client(lambda: Serial(pico.url), "net.ttp")
    client.connect()
    run = client.train(sample(200), 60)
    next(run)
    client.drop()  # the host dies in the middle of a frame, perhaps
    assert emulated.mpremote(pico.url, "eval", "6*7").strip() == "42"


def test_a_reset_of_the_pico_in_the_middle_of_a_run(pico):
    with Client(lambda: Serial(pico.url), "net.ttp", patience_ms=1500) as client:
        seen = []
        for result in client.train(sample(200), 45, save_every=10):
            seen.append(result.seq)
            if result.seq == 25:
                pico.reset(wait=False)
        assert client.resets == 1
        assert client.state_crc() == trained(200, 45)
    assert seen == list(range(1, 46))


def test_what_is_missing_on_the_pico_is_said(pico):
    with pytest.raises(BoardError, match="the board has no file other.ttp: run `trimtab deploy other.ttp`"):
        Client(lambda: Serial(pico.url), "other.ttp").connect()
    with emulated.Pico("stock") as bare, pytest.raises(BoardError, match="the board has no trimtab library"):
        Client(lambda: Serial(bare.url), "net.ttp").connect()
