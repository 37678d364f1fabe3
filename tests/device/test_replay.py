"""Replay: samples are kept and trained as they came, outlive a reset, and keep old classes known."""

import os
import zlib
from collections import Counter

import numpy as np
import pytest
import toys
import trimtab
from helpers import compiled, fastest, inputs, load, provide
from networks import trained_layers as network
from toys import RATE, exam, lessons, package
from trimtab.replay import Replay
from trimtab_tools.boards import simulated
from trimtab_tools.boards.unix import Unix


def held(replay):
    """Class of each row."""
    return [replay.data[replay._labels + slot] for slot in range(replay.kept)]


def test_it_keeps_what_is_smaller():
    head, whole = load(compiled(network(), "last"), fastest()), load(package(), fastest())
    assert 0 < head.package.latent_bytes < head.input_bytes and not whole.package.latent_bytes
    assert Replay(head, 5).row_bytes == head.package.latent_bytes
    assert Replay(whole, 5).row_bytes == whole.input_bytes
    assert len(Replay(whole, 5).data) == 4 + 2 * 8 + 5 + 6 * 64


@pytest.mark.parametrize("policy", ["last", "full"])
def test_a_row_trains_as_the_sample_does(policy):
    c = compiled(network(), policy, rate=RATE)
    plain, replayed = load(c, fastest()), load(c, fastest())
    replay = Replay(replayed, 1)
    for i, (x, y) in enumerate(zip(inputs(c.trunk, 6), (3, 1, 1, 2, 0, 3))):
        replay.clear()
        assert replay.add(x, y) is True and held(replay) == [y]
        losses = [plain.train(x, y), replay.train(x, y, times=2)]
        plain.train(x, y)
        plain.train(x, y)
        assert (
            losses[0] == losses[1] and plain.state_crc() == replayed.state_crc() and plain.step == 3 * i + 3
        )


def test_classes_share_the_rows():
    net = load(package(max_classes=10), fastest())
    replay, some = Replay(net, 21), {y: x for x, y in lessons(8, 200)}
    for y in [0] * 100 + [1] * 4 + [2] * 50:
        replay.add(some[y], y)
    assert Counter(held(replay)) == {0: 8, 1: 4, 2: 9}
    net.add_class("mug")
    for _ in range(30):
        replay.add(some[3], "mug")
    assert replay.kept == 21 and Counter(held(replay)) == {0: 5, 1: 4, 2: 6, 8: 6}
    for slot, y in enumerate(held(replay)):
        net.load_input(some[3 if y == 8 else y])
        assert bytes(replay._row(slot)) == bytes(net.input_view)


def test_every_sample_of_a_class_has_the_same_chance():
    """100 samples into 10 rows, 300 times: each stays 30 times, give or take 5.2 (a standard deviation)."""
    net = load(package(), fastest())
    replay, stays = Replay(net, 10), np.zeros(100)
    for _ in range(300):
        words = bytes(replay.data[:4])
        replay.clear()
        replay.data[:4] = words
        for i in range(100):
            replay.add(np.full(64, i, np.int8), 1)
        for slot in range(10):
            stays[replay._row(slot)[0]] += 1
    assert stays.sum() == 3000 and np.abs(stays - 30).max() < 4 * 5.2
    assert np.abs(stays[:50].sum() - 1500) < 4 * 27


def test_old_classes_stay_known():
    """Eight digits are known; a ninth comes, alone: without replay it is all that is left."""
    ends = {}
    for times in (0, 8):
        net = load(package(max_classes=10), fastest())
        replay = Replay(net, 120)
        known = lessons(8, 600)
        net.fit(known, 2)
        before = net.evaluate(exam(range(8)))
        for x, y in known:
            replay.add(x, y)
        net.add_class("mug")
        new = [x for x, y in lessons(9, 400, seed=5) if y == 8][:40]
        net.begin(len(new) * (1 + times))
        for x in new:
            replay.train(x, "mug", times=times)
        ends[times] = before - net.evaluate(exam(range(8))), net.evaluate(exam([8]))
    assert ends[8][0] < 0.12 < 0.3 < ends[0][0], ends
    assert ends[8][1] > 0.5


def test_it_outlives_a_reset(tmp_path):
    path = str(tmp_path / "digits.ttp")
    (tmp_path / "digits.ttp").write_bytes(package(max_classes=10).data)
    net = trimtab.load(path, fastest())
    replay = Replay(net, 12)
    net.add_class("mug")
    for x, y in lessons(9, 80):
        replay.train(x, y, times=2)
    assert 8 in held(replay)
    net.save()
    replay.save()
    again = trimtab.load(path, fastest())
    other = Replay(again, 12)
    assert bytes(other.data[: other._rows]) == bytes(replay.data[: replay._rows])
    for x, y in lessons(9, 20, seed=1):
        assert replay.train(x, y) == other.train(x, y)
    assert again.state_crc() == net.state_crc() and other.data == replay.data
    assert Replay(trimtab.load(path, fastest()), 13).kept == 0  # saved with another size
    other.save()
    os.truncate(path + ".replay.s1", 60)  # power fails
    assert bytes(Replay(trimtab.load(path, fastest()), 12).data[:4]) != bytes(other.data[:4])
    for slot in (".s0", ".s1"):  # the network forgets the class, the replay does so too
        if os.path.exists(path + slot):
            os.remove(path + slot)
    left = Replay(trimtab.load(path, fastest()), 12)
    assert 0 < left.kept < 12 and 8 not in held(left)


def test_refusals():
    net = load(package(max_classes=10), fastest())
    for count in (0, 16384):
        with pytest.raises(ValueError, match="keep 1 to 16383"):
            Replay(net, count)
    replay, x = Replay(net, 3), lessons(8, 1)[0][0]
    before = net.state_crc()
    for wrong in ((x, "mug"), (x, 8), (x[:5], 0)):
        with pytest.raises(ValueError):
            replay.train(*wrong)
    assert replay.kept == 0 and net.state_crc() == before
    with pytest.raises(ValueError, match="load it by path"):
        replay.save()
    with pytest.raises(ValueError, match="--labels"):
        Replay(load(compiled(toys.reader(), "full", loss="mse"), fastest()), 3)


@pytest.mark.unix
@pytest.mark.parametrize("kernels", ["viper", "c"])
def test_a_board_keeps_the_same(kernels):
    """The unix port: same rows, same state, and no memory taken but at the beginning."""
    provide("unix")
    c, some = package(max_classes=10), lessons(9, 24)
    net = simulated.load(c.data, fastest())
    replay = Replay(net, 9)
    net.add_class("mug")
    for x, y in some:
        replay.train(x, y, times=3)
    story = f"""
import gc, trimtab
from trimtab.replay import Replay
from trimtab.crc import crc32
net = trimtab.load("net.ttp", {kernels!r})
replay = Replay(net, 9)
net.add_class("mug")
some = {some!r}
replay.train(*some[0], times=3)
gc.collect()
before = gc.mem_alloc()
for x, y in some[1:]:
    replay.train(x, y, times=3)
x = y = None
gc.collect()
print(gc.mem_alloc() - before < 1000)
replay.save()
print(net.state_crc(), crc32(replay.data), bytes(Replay(net, 9).data) == bytes(replay.data))
"""
    with Unix("-c", story, files={"net.ttp": c.data}, kernels=kernels == "c") as unix:
        assert unix.output().split() == ["True", str(net.state_crc()), str(zlib.crc32(replay.data)), "True"]
