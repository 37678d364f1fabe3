"""The library on the interpreters that it is for: the REPL's verbs, and no allocation while training."""

import numpy as np
import pytest
from helpers import provide
from models import Builder
from trimtab_tools.boards import simulated
from trimtab_tools.boards.files import library_files
from trimtab_tools.boards.pico import Pico
from trimtab_tools.boards.unix import Unix
from trimtab_tools.compiler import compile as compiler
from trimtab_tools.link.repl import mpremote
from trimtab_tools.samples import synthetic

# What a user types at the REPL; the samples are the noise of `trimtab simulate`.
STORY = """
import trimtab, gc
net = trimtab.load("net.ttp")
print("test", net.self_test())
print("names", net.labels, net.info()["kernels"], net.step)
def noise(seed, i, n):
    s = (seed * 2654435761 + i | 1) & 0xFFFFFFFF
    out = bytearray(n)
    for k in range(n):
        s ^= s << 13 & 0xFFFFFFFF; s ^= s >> 17; s ^= s << 5 & 0xFFFFFFFF
        out[k] = s & 255
    return bytes(out)
samples = [(noise(1, 2 * i, net.input_bytes), net.labels[i % 3]) for i in range(6)]
print("before", net.evaluate(samples))
net.fit(samples, epochs=20)
print("after", net.evaluate(samples), net.predict(samples[1][0]))
print("saved", net.save(), hex(net.state_crc()))
net.train(samples[0][0], "c")
again = trimtab.load("net.ttp")
print("again", again.step, hex(again.state_crc()), again.evaluate(samples))
try:
    net.train(samples[0][0], "horse")
except ValueError as e:
    print("error", e)
try:
    net.train(bytes(5), "a")
except ValueError as e:
    print("error", e)
x, y = samples[0]
net.load_input(x)
net.train_input(1)
def allocated():
    gc.collect()
    if net.kernels != "plain":
        gc.disable()
    before = gc.mem_alloc()
    for i in range(20):
        net.train_input()
        net.classify_input()
    return gc.mem_alloc() - before
print("allocated", allocated())
"""


@pytest.fixture(scope="module")
def package():
    b = Builder((6, 6, 2), seed=2)
    b.conv(6, (3, 3), (2, 2), act="relu6")
    skip = b.x
    b.depthwise(act="relu6")
    b.conv(6, (1, 1))
    b.add(skip, b.x)
    made = compiler.compile_graph(
        b.graph(), "full", labels=("a", "b", "c"), rate=0.01, kernels=simulated.best_tier()
    )
    return made.data


def on_the_pc(package):
    """The story's lines as the PC computes them: accuracy before and after, and the state's CRC."""
    net = simulated.load(package, simulated.best_tier())
    samples = [(synthetic(1, 2 * i, net.input_bytes, 1).data, "abc"[i % 3]) for i in range(6)]
    before = net.evaluate(samples)
    net.fit(samples, epochs=20)
    return before, net.evaluate(samples), net.predict(samples[1][0]), hex(net.state_crc())


def check_story(said, package, kernels):
    lines = dict(line.split(" ", 1) for line in said.replace("\r\n", "\n").splitlines() if " " in line)
    before, after, predicted, crc = on_the_pc(package)
    assert after > before
    assert lines["test"] == "True"
    assert lines["names"] == f"('a', 'b', 'c') {kernels} 0"
    assert float(lines["before"]) == pytest.approx(before, abs=1e-4)
    assert lines["after"].split()[1] == predicted
    assert lines["saved"] == f"120 {crc}"
    assert lines["again"].startswith(f"120 {crc} ")
    assert "loss" in said
    if kernels != "plain":
        assert lines["allocated"] == "0"


@pytest.mark.unix
def test_sums_allocate_nothing_either(package):
    provide("unix")
    b = Builder((6, 6, 2), seed=2)
    b.conv(6, (3, 3), (2, 2), act="relu6")
    made = compiler.compile_graph(
        b.graph(), "full", labels=("a", "b", "c"), accumulate=3, kernels=simulated.best_tier()
    )
    code = (
        STORY[: STORY.index("samples = ")]
        + "net.load_input(noise(1, 0, net.input_bytes)); net.train_input(1)\n"
        + STORY[STORY.index("def allocated") :]
    )
    with Unix("-c", code, files={"net.ttp": made.data}) as unix:
        assert unix.output().splitlines()[-1] == "allocated 0"


@pytest.mark.unix
@pytest.mark.parametrize("kernels", ["c", "viper", "plain"])
def test_story_on_unix(package, kernels):
    provide("unix")
    story = STORY.replace('load("net.ttp")', 'load("net.ttp", "%s")' % kernels)
    with Unix("-c", story, files={"net.ttp": package}, kernels=kernels == "c") as unix:
        check_story(unix.output(), package, kernels)


@pytest.mark.pico
def test_story_on_the_pico(package):
    provide("pico")
    files = {**library_files("armv6m"), "/net.ttp": package}
    with Pico(files=files) as pico:
        check_story(mpremote(pico.url, "exec", STORY), package, "c")
        pico.reset()
        code = "import trimtab; net = trimtab.load('net.ttp'); print(net.step, hex(net.state_crc()))"
        assert mpremote(pico.url, "exec", code).strip() == f"120 {on_the_pc(package)[3]}"


@pytest.mark.unix
def test_errors_on_the_board(package):
    provide("unix")
    with Unix("-c", STORY, files={"net.ttp": package}) as unix:
        said = unix.output()
    assert "error label 'horse' is not in the package: it has a, b, c" in said
    assert "error a sample has 5 values, the network takes 72" in said


def test_floats_and_int8_are_quantized_alike(package):
    net = simulated.load(package, simulated.best_tier())
    q = np.arange(-36, 36, dtype=np.int8)
    real = (q.astype(np.float64) - net.package.input_zero) * net.package.float("input_scale")
    net.load_input(q)
    as_int8 = bytes(net.input_view)
    net.load_input(real.tolist())
    assert bytes(net.input_view) == as_int8 == q.tobytes()
    net.load_input(bytes(range(72)))
    assert bytes(net.input_view) == (np.arange(72) - 128).astype(np.int8).tobytes()
