"""Records in one call leave what Python's loop leaves, and Ctrl-C does not wait for the end of them."""

import signal
import time

import numpy as np
import pytest
from helpers import compiled, inputs
from networks import classifier, skip_block
from trimtab.kernels import Tier
from trimtab.net import Net
from trimtab.package import Package
from trimtab_tools.boards import native
from trimtab_tools.toolchain import kernels

STEPS = 12
PLANS = {
    "last": {},
    "bias": {"accumulate": 3},
    "full": {"optimizer": "momentum"},
    "tinytrain:budget=4": {},  # the board's choice switches records off
}


def by_python(tier):
    """The same kernels, each called by Python."""
    return Tier("c", tier.functions, tier.alloc, tier.bind)


def counted(tier, runs):
    """The tier with a note of what each call ran."""

    def run(mem, offsets, i, stop, value):
        reached = tier.run(mem, offsets, i, stop, value)
        runs.append((i, reached, stop))
        return reached

    return Tier("c", tier.functions, tier.alloc, tier.bind, run)


def story(net, graph):
    """All that can be seen of some steps and of a prediction."""
    said = []
    for n, x in enumerate(inputs(graph, STEPS)):
        said.append((net.train(x.ravel(), n % 4), net.state_crc()))
    net.load_input(x.ravel())
    return [*said, net.classify_input(), net.loss_input(), bytes(net.arena)]


@pytest.mark.parametrize("policy", PLANS)
@pytest.mark.parametrize("tier", [native.plain_loops, native.tier], ids=["plain loops", "vector loops"])
def test_the_state_is_that_of_pythons_loop(policy, tier):
    graph, runs = skip_block(), []
    package = Package(compiled(graph, policy, classes=4, rate=0.05, **PLANS[policy]).data)
    by_hand = story(Net(package, by_python(tier())), graph)
    assert story(Net(package, counted(tier(), runs)), graph) == by_hand
    assert bool(runs) == (not package.bytes_of("choice"))
    assert max([reached - i for i, reached, _ in runs], default=5) >= 5


def test_where_no_error_comes_back_the_backward_pass_is_left_out():
    """The first step's head is all zeros."""
    graph, runs = classifier(), []
    net = Net(Package(compiled(graph, "full", classes=4).data), counted(native.tier(), runs))
    start, stop = net.phases["backward"]
    backward = []
    for _ in range(2):
        del runs[:]
        net.train(inputs(graph, 1)[0].ravel(), 1)
        backward.append(any(i < stop and start < reached for i, reached, _ in runs))
    assert backward == [False, True]


def test_a_budget_that_is_used_up_changes_nothing_but_the_calls(monkeypatch):
    graph, runs = skip_block(), []
    package = Package(compiled(graph, "full", classes=4, rate=0.05).data)
    whole = story(Net(package, native.tier()), graph)
    monkeypatch.setattr(native, "BUDGET", 1)
    assert story(Net(package, counted(native.plain_loops(), runs)), graph) == whole
    assert any(reached < stop for _, reached, stop in runs)
    assert all(i < reached for i, reached, _ in runs)


def test_a_record_that_is_declined_ends_the_run():
    package = compiled(skip_block(), "full", classes=4).data
    refusing = kernels.host_library((kernels.packed_only(["depthwise_fwd"]),))
    net = Net(Package(package), native.loaded(refusing))
    with pytest.raises(ValueError, match="for another package"):
        net.predict(np.zeros(net.input_bytes, np.int8))
    with pytest.raises(ValueError, match="for another package"):
        net.train(np.zeros(net.input_bytes, np.int8), 0)


def test_ctrl_c_ends_a_long_run_soon():
    """Ten seconds of records and more: they are the same few, again and again."""
    graph = skip_block()
    net = Net(Package(compiled(graph, "full", classes=4).data), native.plain_loops())
    net.load_input(inputs(graph, 1)[0].ravel())
    forward = net.offsets[net.phases["prefix"][0] : net.phases["forward"][1]]
    start = time.perf_counter()
    net.classify_input()
    times = int(10 / (time.perf_counter() - start)) + 1
    first = len(net.offsets)
    net.offsets.extend(forward * times)
    old = signal.signal(signal.SIGALRM, signal.default_int_handler)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        start = time.perf_counter()
        with pytest.raises(KeyboardInterrupt):
            net.run_records(first, len(net.offsets))
        assert time.perf_counter() - start < 2  # on a busy machine
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)
