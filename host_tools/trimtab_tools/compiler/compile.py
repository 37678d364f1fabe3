"""A graph and a plan become a package: lower, place, measure first exponents, run the golden sample, emit."""

import struct
from dataclasses import dataclass

import numpy as np
from trimtab import fisher
from trimtab.format import GOLDEN_BYTES

from ..boards import simulated
from ..graph import ir
from ..policies import plan
from ..samples import synthetic
from . import emit, facts, lifetimes, passes
from .autodiff import lower


@dataclass
class Compiled:
    data: bytes  # the package
    trunk: object
    plan: object
    program: object
    placement: object
    cuts: tuple = ()  # runs of layers that are executed in strips

    @property
    def program_state_bytes(self):
        return lifetimes.end(self.program.state)


def compile_graph(
    graph,
    policy="last",
    name="model",
    labels=(),
    classes=0,
    loss="softmax",
    rate=None,
    accumulate=1,
    residual=8,
    max_classes=0,
    optimizer="sgd",
    head="dense",
    pixels=None,
    samples=None,
    kernels=None,
    notes=None,
    optimize=True,
):
    """Compile an int8 graph. samples: int8 inputs by which the first exponents are measured, else synthetic ones.

    optimize=False leaves every buffer whole, in a place of its own: more memory, the same bits.
    """
    ir.check(graph)
    trunk, chosen = plan.make(
        graph, policy, labels, classes, loss, rate, accumulate, residual, max_classes, optimizer, head
    )
    ir.check(trunk)
    program, placement, cuts = _arrange(lower(trunk, chosen, pixels), optimize)
    kernels = kernels or simulated.best_tier()
    notes = {
        "policy": chosen.policy,
        "loss": chosen.loss,
        "rate": chosen.rate,
        **_head_notes(chosen),
        "report": facts.facts(trunk, chosen, program, placement),
        **(notes or {}),
    }

    def package(golden=b""):
        return emit.package(program, placement, trunk, name, chosen.labels, golden, notes)

    if chosen.loss != "none":
        _measure_exponents(program, package(), kernels, samples)
    data = package(_golden(package(), kernels))
    return Compiled(data, trunk, chosen, program, placement, cuts)


def compile_inference(graph, keep_all=False, name="model", kernels=None):
    """A package that only predicts. keep_all gives every activation its own place, so that all can be looked at."""
    ir.check(graph)
    program, placement, cuts = _arrange(lower(graph, plan.TrainPlan()), not keep_all)
    empty = emit.package(program, placement, graph, name)
    golden = _golden(empty, kernels or simulated.best_tier())
    data = emit.package(program, placement, graph, name, golden=golden)
    return Compiled(data, graph, plan.TrainPlan(), program, placement, cuts)


def _arrange(program, optimize):
    """(program, placement, cuts); only activations that lie somewhere as a whole are named."""
    program, placement, cuts = passes.optimize(program) if optimize else passes.leave(program)
    placed = {life.buffer for life in placement.lives}
    program.activations = {name: b for name, b in program.activations.items() if b in placed}
    return program, placement, cuts


def _head_notes(chosen):
    if not chosen.head:
        return {}
    head = chosen.head
    return {"head": {"features": head.features, "classes": head.classes, "kind": head.kind}}


# What exponents are measured with: state -> type, numbers for so many bytes.
RANDOM_HEAD = {
    "head.weights": ("<i2", lambda rng, size: rng.randint(-400, 400, size // 2)),
    "head.prototypes": ("<i2", lambda rng, size: rng.randint(-2000, 2000, size // 2)),
    "head.counts": ("<i4", lambda rng, size: np.ones(size // 4)),
}


def _measure_exponents(program, data, kernels, samples):
    """Each tracker starts where one sample after the other leaves it, with a random head and nothing else moving.

    An error tensor is only measured well once those above it are, so there are as many samples as trackers, and some.
    """
    trackers = next(b for b in program.state if b.name == "exponents")
    n = trackers.size // 2
    if not n:
        return
    net = simulated.load(data, kernels)
    state = net.state
    initial = bytearray(state)
    rng = np.random.RandomState(1)
    for b in program.state:
        if b.name in RANDOM_HEAD:
            dtype, values = RANDOM_HEAD[b.name]
            initial[b.offset : b.offset + b.size] = values(rng, b.size).astype(dtype).tobytes()
    found = trackers.data
    for i in range(n + 16):
        state[:] = initial
        state[trackers.offset : trackers.offset + trackers.size] = found
        if samples is not None:
            x, label = np.asarray(samples[i % len(samples)], np.int8).tobytes(), i % net.classes
        else:
            x, label, _ = synthetic(1, i, net.input_bytes, net.classes)
        net.input_view[:] = x
        _set_target(net, label, rng)
        sample = _sample(net)
        net.train_input()
        if program.fisher:
            fisher.study(net, [sample], list(program.candidates.values()))
        found = bytes(state[trackers.offset : trackers.offset + trackers.size])
    trackers.data = found


def _sample(net):
    """What lies in the input and the target, to be loaded again."""
    x = np.frombuffer(bytes(net.input_view), np.int8)
    target = bytes(net.target_view)
    return x, np.frombuffer(target, np.int8) if net.loss == "mse" else struct.unpack("<i", target)[0]


def _set_target(net, label, rng):
    if net.loss == "mse":
        net.target_view[:] = rng.randint(-128, 128, net.output_bytes).astype(np.int8).tobytes()
    else:
        struct.pack_into("<i", net.target_view, 0, label)


def _golden(data, kernels):
    """Output CRC, state CRC after one step, class; then what the sample repeats and, for mse, its target."""
    net = simulated.load(data, kernels)
    x, label, _ = synthetic(0, 0, min(net.input_bytes, GOLDEN_BYTES), net.classes)
    net._repeat_input(x)
    net.classify_input()
    output, after, target = net._output_crc(), 0, b""
    if net.loss != "none":
        net._repeat_input(x)
        _set_target(net, label, np.random.RandomState(2))
        if net.loss == "mse":
            target = bytes(net.target_view)
        net.train_input()
        after = net.state_crc()
    return struct.pack("<III", output, after, label) + bytes(x) + target
