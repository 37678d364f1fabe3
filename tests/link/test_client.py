"""The client: it trains each sample once over lines that are cut and boards that are reset."""

import threading
import zlib

import pytest
from fake_net import FakeNet
from lines import noise, trained
from trimtab import serve
from trimtab_tools.errors import BoardError
from trimtab_tools.link.client import Client
from trimtab_tools.link.live import Live
from trimtab_tools.link.transport import Thread
from trimtab_tools.samples import Sample


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
        results = list(client.train(noise(200), 20, save_every=8))
        assert [result.seq for result in results] == list(range(1, 21))
        assert client.state_crc() == trained(200, 20) == zlib.crc32(client.pull_state())
        assert client.info["saved"] == 20 and bench.flash["state"] == bytes(bench.net.state)
        right = sum(result.value == i % 3 for i, result in enumerate(client.evaluate(noise(200), 30)))
        assert client.summary() == (30, right)
        assert client.predict(noise(200)(4)) == zlib.crc32(noise(200)(4).data) % 3
        assert client.self_test()
        client.save()
    assert not bench.busy.locked() or bench.lines[-1].thread.join(2) is None


@pytest.mark.parametrize("how", ["cut", "reset"])
def test_client_goes_on_after_cuts_and_resets(how):
    bench = Bench()
    seen = []
    with Client(bench.open) as client:
        for result in client.train(noise(200), 60, save_every=10):
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
            yield noise(200)(i)

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
    run = first.train(noise(200), 30)
    for _ in range(11):
        next(run)
    first.drop()  # no goodbye
    with Client(bench.open) as second:
        assert second.info["step"] >= 11
        list(second.train(noise(200), 30, resume=True))
        assert second.state_crc() == trained(200, 30)


def test_a_new_run_starts_at_step_0_and_is_saved_there():
    bench = Bench()
    with Client(bench.open) as client:
        list(client.train(noise(200), 5, save_every=5))
        kept = bench.net.sum()
        run = client.train(noise(200), 7)
        assert next(run).seq == 1
        bench.reset()
        assert bench.net.step == 0 and bench.net.sum() == kept and bench.net.total == 7
        assert [result.seq for result in run] == [2, 3, 4, 5, 6, 7]


def test_an_iterator_left_behind_does_no_harm():
    bench = Bench()
    with Client(bench.open) as client:
        next(client.train(noise(200), 9))
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
            list(client.train(noise(200), 1))
        assert client.self_test()


def test_a_live_source_is_kept_since_the_last_save():
    live = Live((Sample(bytes([i])) for i in range(9)), 0)
    assert [live(i).data[0] for i in (0, 1, 4, 2)] == [0, 1, 4, 2]
    live.forget(3)
    assert live(3).data == b"\3" and len(live.kept) == 2
    with pytest.raises(BoardError, match="the board is back at step 2"):
        live(2)
    with pytest.raises(BoardError, match="the source ended after 9 samples"):
        live(9)
