"""Ctrl-C at the REPL, at any moment of training: a step is done wholly or not at all."""

import random
import time

import pytest
from lines import noise, tiny
from trimtab.net import Net
from trimtab.package import Package
from trimtab_tools.boards import simulated
from trimtab_tools.boards.files import library_files
from trimtab_tools.boards.pico import Pico
from trimtab_tools.link.repl import mpremote
from trimtab_tools.link.transport import Serial
from trimtab_tools.toolchain.boards import provide

# Each step's sample follows from its number; what Ctrl-C stopped goes on.
STORY = """
import trimtab, gc
net = trimtab.load("net.ttp")
total, hits = %d, 0
def made(n):
    s = n * 2654435761 + 1 & 0xFFFFFFFF
    out = bytearray(net.input_bytes)
    for k in range(len(out)):
        s ^= s << 13 & 0xFFFFFFFF; s ^= s >> 17; s ^= s << 5 & 0xFFFFFFFF
        out[k] = s & 255
    return bytes(out)
samples = [made(n) for n in range(16)]
print("go")
while net.step < total:
    try:
        while net.step < total:
            net.train(samples[net.step & 15], net.step %% 3)
    except KeyboardInterrupt:
        hits += 1
        gc.collect()
        print("hit")  # the next Ctrl-C comes after this
print("end", hits, net.step, net.state_crc())
"""


def clean(package, steps):
    net = simulated.load(package, simulated.best_tier())
    for step in range(steps):
        s, out = ((step & 15) * 2654435761 + 1) & 0xFFFFFFFF, bytearray(net.input_bytes)
        for k in range(len(out)):
            s ^= s << 13 & 0xFFFFFFFF
            s ^= s >> 17
            s ^= s << 5 & 0xFFFFFFFF
            out[k] = s & 255
        net.train(bytes(out), step % 3)
    return net.state_crc()


@pytest.mark.pico
def test_on_the_pico():
    provide("pico")
    package, steps = tiny(), 900  # more than 40 Ctrl-C leave time for
    with Pico(files={**library_files("armv6m"), "/net.ttp": package}) as pico:
        line = Serial(pico.url)
        line.write(b"\r\x01")
        read_until(line, b"exit\r\n>")
        line.write((STORY % steps).encode() + b"\x04")
        read_until(line, b"go\r\n")
        rng = random.Random(2)
        for _ in range(40):
            time.sleep(rng.random() * 0.05)
            line.write(b"\x03")
            assert read_until(line, b"\n") == b"hit\r\n"
        said = read_until(line, b"\n")
        line.write(b"\x02")
        line.close()
        assert said.startswith(b"end "), said
        _, hits, step, crc = said.split()
        assert (int(hits), int(step)) == (40, steps)
        assert int(crc) == clean(package, steps)
        assert mpremote(pico.url, "eval", "6*7").strip() == "42"


def read_until(line, ending, seconds=30):
    data, end = b"", time.monotonic() + seconds
    while not data.endswith(ending):
        assert time.monotonic() < end, data
        data += line.read(1, 100)
    return data


def test_plain_kernels_that_were_stopped_say_so():
    net = Net(Package(tiny()), "plain")
    kernels, at = net.functions, net.phases["head"][0]

    def stopped(mem, offset):
        raise KeyboardInterrupt

    good, kernels[at] = kernels[at], stopped
    sample = noise(net.input_bytes)(0)
    with pytest.raises(KeyboardInterrupt):
        net.train(sample.data, 0)
    kernels[at] = good
    with pytest.raises(ValueError, match="a step was stopped half way: load the package again"):
        net.train(sample.data, 0)
    net.reset()
    net.train(sample.data, 0)
    assert net.step == 1
