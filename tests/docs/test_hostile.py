"""Damaged and hostile input in small numbers; benchmarks/ has the long runs."""

import importlib
import random
import sys
from pathlib import Path

import pytest
from lines import World, damage, noise, tiny
from models import Builder
from trimtab.store import Store
from trimtab_tools.boards import simulated
from trimtab_tools.errors import ModelError
from trimtab_tools.formats import read_tflite, write_tflite
from trimtab_tools.link.client import Client
from trimtab_tools.toolchain.boards import provide

sys.path.append(str(Path(__file__).resolve().parents[2] / "benchmarks"))


def benchmark(name):
    """A program of benchmarks/ as a module."""
    return importlib.import_module(name)


@pytest.mark.parametrize(
    "mode, count, least",
    [
        ("packages", 1500, {"refused": 300, "ran": 100}),
        ("states", 1500, {"loaded": 300, "ignored": 100}),
        ("frames", 5000, {"accepted": 200, "not heard": 1000}),
    ],
)
def test_mutated(mode, count, least):
    """Under the sanitizers: a crash ends the process, which fails the test."""
    provide("sim")
    outcome = benchmark("fuzz_packages").start(mode, count)
    assert outcome["count"] == count
    assert all(outcome[key] >= n for key, n in least.items()), outcome


def test_mutated_tflite_files():
    b = Builder((6, 6, 2), seed=1)
    b.conv(4, (3, 3), (2, 2), act="relu6")
    b.depthwise(act="relu")
    b.dense(3)
    good = write_tflite.write(b.graph())
    rng, refused = random.Random(1), 0
    for _ in range(1500):
        data = bytearray(good)
        for _ in range(rng.choice((1, 1, 3, 20))):
            at = rng.randrange(len(data))
            data[at] = rng.choice((0, 1, 127, 128, 255, rng.randrange(256)))
        try:
            read_tflite.read(bytes(data[: rng.choice((len(data), rng.randrange(len(data))))]))
        except ModelError as error:
            refused += 1
            assert "\n" not in str(error)
    assert 300 < refused < 1500


def test_the_same_state_through_a_bad_line_with_cuts_and_resets(tmp_path, monkeypatch):
    package, samples = tiny(), 600
    rng = random.Random(5)
    world = World(
        lambda: simulated.load(package, simulated.best_tier(), Store(str(tmp_path / "net.ttp"))),
        damage(rng, 0.01),
    )
    world.clock(monkeypatch)
    source = noise(world.net.input_bytes)
    told = []
    with Client(world.open) as client:
        for result in client.train(source, samples, save_every=50):
            told.append(result.seq)
            if result.seq % 67 == 0:
                world.cut()
            if result.seq % 149 == 0:
                world.reset()
        state = client.state_crc()
        assert client.resets == 4
    assert told == list(range(1, samples + 1))
    clean = simulated.load(package, simulated.best_tier())
    clean.begin(samples)
    for i in range(samples):
        clean.input_view[:] = source(i).data
        clean.train_input(source(i).label)
    assert state == clean.state_crc()


@pytest.mark.unix
def test_long_on_unix_without_growth():
    provide("unix")
    done = benchmark("link_endurance").endure("unix", 2000)
    heaps = done["heaps"]
    assert done["steps"] == 2000 and len(set(heaps[len(heaps) // 2 :])) == 1


@pytest.mark.pico
def test_every_power_cut_of_some_saves():
    provide("pico")
    done = benchmark("store_cuts").replay(saves=8, boots=1)
    assert done["wrong"] == 0 and done["images"] > 100 and done["booted_right"] == 1
