"""The link between this PC and MicroPython, on a pipe and on an emulated Pico."""

import zlib
from pathlib import Path

import fake_net
import pytest
from lines import noise, trained
from trimtab_tools.boards.pico import Pico
from trimtab_tools.boards.unix import Unix
from trimtab_tools.errors import BoardError
from trimtab_tools.link.client import Client
from trimtab_tools.link.repl import mpremote
from trimtab_tools.link.transport import Process, Serial
from trimtab_tools.toolchain import sources

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
    with Unix("-c", code, files={"fake_net.py": FAKE}, paths=["."], kernels=False) as board:
        client = Client(lambda: Process.around(board.process))
        client.connect()
        assert len(list(client.train(noise(200), 300))) == 300
        assert client.state_crc() == trained(200, 300)
        assert zlib.crc32(client.pull_state()) == trained(200, 300)
        client.close()
        assert board.process.wait(5) == 0


def test_two_ctrl_c_end_serving():
    code = "import fake_net; from trimtab import serve; serve.serve(fake_net.FakeNet()); print('REPL')"
    with Unix("-c", code, files={"fake_net.py": FAKE}, paths=["."], kernels=False) as board:
        client = Client(lambda: Process.around(board.process))
        client.connect()
        client.line.write(b"\x03\x03")
        assert board.process.wait(5) == 0
        assert board.process.stdout.read().endswith(b"REPL\n")


def library():
    files = {
        f"lib/trimtab/{path.relative_to(sources.library())}": path.read_bytes()
        for path in sources.library().rglob("*.py")
    }
    return dict(files, **{"fake_net.py": FAKE, "boot.py": BOOT, "net.ttp": b"-"})


@pytest.fixture(scope="module")
def pico():
    with Pico("stock", library()) as board:
        yield board


@pytest.mark.pico
def test_from_the_repl_to_frames_and_back_on_an_emulated_pico(pico):
    with Client(lambda: Serial(pico.url), "net.ttp") as client:
        assert client.info["name"] == "fake" and client.info["heap_free"] > 100000
        assert len(list(client.train(noise(200), 60))) == 60
        assert client.state_crc() == trained(200, 60)
    assert mpremote(pico.url, "eval", "6*7").strip() == "42"


def test_mpremote_gets_in_while_the_pico_serves(pico):
    client = Client(lambda: Serial(pico.url), "net.ttp")
    client.connect()
    run = client.train(noise(200), 60)
    next(run)
    client.drop()  # the host dies in the middle of a frame, perhaps
    assert mpremote(pico.url, "eval", "6*7").strip() == "42"


def test_a_reset_of_the_pico_in_the_middle_of_a_run(pico):
    with Client(lambda: Serial(pico.url), "net.ttp", patience_ms=1500) as client:
        seen = []
        for result in client.train(noise(200), 45, save_every=10):
            seen.append(result.seq)
            if result.seq == 25:
                pico.reset(wait=False)
        assert client.resets == 1
        assert client.state_crc() == trained(200, 45)
    assert seen == list(range(1, 46))


@pytest.mark.pico
def test_what_is_missing_on_the_pico_is_said(pico):
    with pytest.raises(BoardError, match="the board has no file other.ttp: run `trimtab deploy other.ttp`"):
        Client(lambda: Serial(pico.url), "other.ttp").connect()
    with Pico("stock") as bare, pytest.raises(BoardError, match="the board has no trimtab library"):
        Client(lambda: Serial(bare.url), "net.ttp").connect()
