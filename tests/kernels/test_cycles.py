"""Kernels alone on the emulated Cortex-M0+: equal to this machine's, and as fast as promised."""

import sys

import kernel_cases
import pytest
from helpers import ROOT, provide
from kernel_cases import NAMES, run_c
from trimtab_tools.boards import bare, native, simulated
from trimtab_tools.compiler import compile

sys.path.append(str(ROOT / "benchmarks"))
import kernel_shapes  # noqa: E402
import kernels  # noqa: E402
import records  # noqa: E402

pytestmark = pytest.mark.pico

CASES = 40
STACK = 1024  # bytes that a kernel may take
MOST = {  # cycles per multiplication
    "pointwise_16x96x32": 4.0,
    "pointwise_64x16x96": 5.6,
    "dense_256x64": 4.5,
    "dense_64x10": 9.5,
    "depthwise3_16x16x24": 8.5,
    "depthwise3_4x4x384": 13.0,
    "depthwise5_8x8x48": 6.0,
    "depthwise7_8x8x48": 4.4,
    "depthwise3s2_16x16x24": 13.0,
    "conv3s2_3ch": 6.0,
    "depthwise3_dx_16x16x24": 8.0,
    "pointwise_dx_16x96x32": 5.0,
    "pointwise_dw_64x96x32": 4.5,
    "depthwise3_dw_16x16x24": 8.3,
}


@pytest.fixture(scope="module", autouse=True)
def board():
    provide("pico")


def test_every_kernel_equals_the_hosts():
    cases = [kernel_cases.Case(name, 2000 + seed) for name in NAMES for seed in range(CASES)]
    for case, done in zip(cases, bare.run([(case.name, [*case.spaces, case.program]) for case in cases])):
        assert (done.values[0], case.result(done.arena, done.state)) == run_c(case), (case.name, case.numbers)
        assert done.stack <= STACK


@pytest.fixture(scope="module")
def measured():
    names = list(kernel_shapes.SHAPES)
    return dict(zip(names, bare.run([kernel_shapes.run(name) for name in names])))


@pytest.mark.parametrize("name", MOST)
def test_cycles(name, measured):
    assert sum(measured[name].cycles) <= MOST[name] * kernel_shapes.macs(name)


@pytest.mark.parametrize("name", kernel_shapes.SHAPES)
def test_measured_layers_equal_the_hosts(name, measured):
    ((kernel, _),) = kernel_shapes.run(name).calls
    spaces = kernel_shapes.run(name).spaces
    arena, state = map(bytearray, spaces[:2])
    native.tier().functions[kernel](native.bind(arena, state, *map(bytes, spaces[2:])), 0)
    done = measured[name]
    assert kernel_shapes.results(name, done.arena, done.state) == kernel_shapes.results(name, arena, state)


def test_without_scratch_memory_it_takes_longer_and_is_the_same():
    name = "pointwise_16x96x32"
    ((kernel, offset),) = kernel_shapes.run(name).calls
    fast, slow = bare.run([kernel_shapes.run(name), kernel_shapes.run(name, words=0)])
    assert sum(slow.cycles) > 2 * sum(fast.cycles)
    y = kernel_shapes.SHAPES[name][1]["oc"] * 16
    assert fast.arena[:y] == slow.arena[:y]


def test_small_network_predicts_in_250_000_cycles():
    run, net = records.network(
        compile.compile_inference(kernel_shapes.n1(), kernels=simulated.best_tier()), records.FORWARD
    )
    (done,) = bare.run([run])
    assert sum(done.cycles) <= 250_000


def test_small_network_trains_in_a_million_cycles_and_11_kb():
    made = compile.compile_graph(kernel_shapes.n1(), "full", classes=10, kernels=simulated.best_tier())
    run, net = records.network(made, records.STEP)
    (done,) = bare.run([run])
    net.train_input()
    assert done.state == bytes(net.mem.spaces[1])
    assert sum(done.cycles) <= 1_000_000
    assert made.placement.size + made.program_state_bytes <= 33_400 // 3


def test_small_network_is_as_fast_under_micropython():
    """Python's own time is part of it."""
    found = kernels.networks()["n1"]
    assert found["forward_cycles"] <= 250_000 and found["step_cycles"] <= 1_000_000


def test_mcunet_predicts_in_120_million_cycles_and_trains_in_175():
    """The published 49 KB scheme at 128x128; its bits are this machine's."""
    made = records.mcunet()
    if not made:
        pytest.skip(f"needs {records.NETWORK.name}, which belongs in {records.NETWORK.parent}")
    run, net = records.network(made, records.STEP)
    (done,) = bare.run([run], skew=0)
    net.train_input()
    assert done.state == bytes(net.mem.spaces[1])
    assert done.stack <= STACK
    rows = records.rows(made, done)
    assert records.total(rows, records.FORWARD) <= 120_000_000
    assert records.total(rows, records.STEP) <= 175_000_000
