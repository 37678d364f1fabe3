"""What several tests need: assets, tiers of kernels, networks, samples, a step run record by record."""

import contextlib
import dataclasses
import functools
import json
import pathlib
import struct

import numpy as np
import pytest
from float_reference import accumulators, half_up
from trimtab_tools.boards import simulated
from trimtab_tools.compiler import compile as compiler
from trimtab_tools.compiler import emit, lifetimes
from trimtab_tools.errors import ToolchainError
from trimtab_tools.graph.rounding import act_range
from trimtab_tools.operators import oracle
from trimtab_tools.operators.check import check
from trimtab_tools.operators.registry import WEIGHTED
from trimtab_tools.toolchain import boards, webassembly

ROOT = pathlib.Path(__file__).resolve().parents[2]


def assets():
    """The folder of models and data beside the repository, or a skip."""
    path = ROOT.parent / "shared" / "assets"
    if not path.is_dir():
        pytest.skip(f"needs the models and data that belong in {path}")
    return path


# Board -> the marker of its tests, so that `pytest -m "not pico"` leaves out all that needs it.
MARKERS = {"pico": "pico", "firmware": "pico", "unix": "unix"}
MARKERS.update(dict.fromkeys(("m3", "m4", "c3", "xtensa"), "qemu"))
running = set()  # the markers of the test that runs: conftest sets them


def provide(board):
    """Install what a board needs; a user who may not skips its tests, with the command that would do it."""
    marker = MARKERS.get(board)
    if marker and marker not in running:
        pytest.fail(f"this test needs board {board}: mark it with pytest.mark.{marker}")
    try:
        boards.provide(board)
    except ToolchainError as error:
        pytest.skip(str(error))


def provide_webassembly(name="pc"):
    """The kernels' module; a system where clang cannot be had skips its tests."""
    try:
        return webassembly.module(name)
    except ToolchainError as error:
        pytest.skip(str(error))


@functools.cache
def c_tier():
    try:
        return simulated.tier("c")
    except ToolchainError as e:
        return str(e)


def tier(name):
    """Kernels "plain" or "c"; a machine without a C compiler skips what needs them."""
    if name == "plain":
        return simulated.tier("plain")
    if isinstance(c_tier(), str):
        pytest.skip(f"C kernels: {c_tier()}")
    return c_tier()


def fastest():
    return simulated.tier("plain") if isinstance(c_tier(), str) else c_tier()


TIERS = ("plain", "c")


# -- compiling and running -----------------------------------------------------------------------------------


def compiled(graph, policy="full", **options):
    options.setdefault("kernels", fastest())
    if options.get("loss") != "mse":
        options.setdefault("classes", 4)
    return compiler.compile_graph(graph, policy, **options)


@contextlib.contextmanager
def all_apart(c):
    """Within, every buffer of the program has a place of its own; gives the package for that."""
    buffers = [life.buffer for life in c.placement.lives]
    packed = [b.offset for b in buffers]
    try:
        yield emit.package(
            c.program, lifetimes.assign(c.program, keep_all=True), c.trunk, "model", c.plan.labels
        )
    finally:
        for buffer, offset in zip(buffers, packed):
            buffer.offset = offset


def load(c, kernels="plain"):
    return simulated.load(c.data, tier(kernels) if isinstance(kernels, str) else kernels)


def inputs(graph, n, seed=0):
    """n int8 samples, smooth enough that neighbours say something about each other."""
    rng = np.random.default_rng(seed)
    shape = graph[graph.inputs[0]].shape
    coarse = rng.integers(-110, 111, (n, *shape[1:]))
    return np.clip(coarse + rng.integers(-17, 18, coarse.shape), -128, 127).astype(np.int8)


def calibrated(graph, samples):
    """The graph with weight scales and biases by which each layer's outputs fill their range and more."""
    tensors = dict(graph.tensors)
    graph = dataclasses.replace(graph, tensors=tensors)
    for i, op in enumerate(graph.ops):
        if op.kind not in WEIGHTED:
            continue
        x = oracle.forward(graph.with_ops(graph.ops[:i]), samples)[op.inputs[0]]
        acc = np.concatenate([accumulators(graph, op, one[None]) for one in x])
        low, high = act_range(op.attrs["act"], graph[op.outputs[0]].scale[0], graph[op.outputs[0]].zero_point)
        middle, spread = (low + high) / 2 - graph[op.outputs[0]].zero_point, (high - low) / 3.2
        w, b = graph[op.inputs[1]], graph[op.inputs[2]]
        std = np.maximum(acc.std(0) if len(w.scale) > 1 else acc.std(), 1)
        scale = np.broadcast_to(
            spread / std * graph[op.outputs[0]].scale[0] / graph[op.inputs[0]].scale[0], w.scale.shape
        )
        tensors[w.name] = dataclasses.replace(w, scale=np.float32(scale).astype(float))
        bias = np.rint(middle / spread * std - acc.mean(0)).astype(np.int32)
        tensors[b.name] = dataclasses.replace(b, data=bias, scale=graph[op.inputs[0]].scale * scale)
    return check(graph)


def set_sample(net, x, target):
    net.input_view[:] = np.asarray(x, np.int8).tobytes()
    if net.loss == "mse":
        net.target_view[:] = np.asarray(target, np.int8).tobytes()
    else:
        struct.pack_into("<i", net.target_view, 0, target)


def step(net, x, target):
    """Train on one sample; returns the loss."""
    set_sample(net, x, target)
    return net.train_input()


class Bench:
    """A network whose step runs record by record, so that every buffer can be read while it lives."""

    ORDER = ("begin", "prefix", "forward", "loss", "gate", "head", "backward", "end")

    def __init__(self, c, kernels="plain", net=None):
        self.c, self.net = c, net or load(c, kernels)

    def bytes(self, where, size=None):
        buffer, byte = (where.buffer, where.byte) if hasattr(where, "buffer") else (where, 0)
        space = self.net.state if buffer.space else self.net.arena
        return space[buffer.offset + byte :][: buffer.size if size is None else size]

    def read(self, where, dtype="<i1", size=None):
        return np.frombuffer(bytes(self.bytes(where, size)), dtype).astype(np.int64)

    def number(self, slot):
        return int(self.read(slot, "<i4", 4)[0])

    def write(self, where, array, dtype):
        data = np.asarray(array).astype(dtype).tobytes()
        self.bytes(where, len(data))[:] = data

    def state(self, name):
        return next(b for b in self.c.program.state if b.name == name)

    def randomize_head(self, seed, samples):
        """A head that knows something, but is sure of nothing: logits of these samples spread by about 1."""
        head = self.c.plan.head
        if head and head.kind == "prototype":
            w = np.random.default_rng(seed).standard_normal(head.weights.shape)
            directions = w / np.linalg.norm(w, axis=1, keepdims=True)
            self.write(self.state("head.prototypes"), half_up(16384 * directions), "<i2")
            self.write(self.state("head.totals"), half_up(16384 * 20 * directions), "<i4")
            self.write(self.state("head.counts"), np.full(len(w), 20), "<i4")
        elif head:
            f = self.c.trunk[head.features]
            x = (oracle.forward(self.c.trunk, np.stack(samples))[head.features] - f.zero_point) * f.scale[0]
            w = np.random.default_rng(seed).standard_normal(head.weights.shape)
            logits = x.reshape(len(x), -1) @ w.T
            spread = np.std(logits - logits.mean(0)) or 4096.0
            self.write(self.state("head.weights"), np.clip(half_up(w * 4096 / spread), -16384, 16384), "<i2")

    def run(self, x, target, before=None, after=None):
        """One training step; before(step) and after(step, again) see each record; again() repeats it."""
        set_sample(self.net, x, target)
        for phase in self.ORDER:
            start, _ = self.net.phases[phase]
            value = 1
            for i, s in enumerate(self.c.program.phases[phase], start):
                again = functools.partial(self.net.functions[i], self.net.mem, self.net.offsets[i])
                if before:
                    before(s)
                value = again()
                if after:
                    after(s, again)
            if phase == "gate" and not value:
                return False
        return True

    def settle(self, samples, targets):
        """Steps that leave nothing behind but the trackers, which come to know the size of every error."""
        kept = bytes(self.net.state)
        trackers = self.state("exponents")
        for x, target in zip(samples, targets):
            self.run(x, target)
            found = bytes(self.bytes(trackers))
            self.net.state[:] = kept
            self.bytes(trackers)[:] = found


def written(updates, folder):
    """Updates as a policy."""
    (folder / "plan.json").write_text(json.dumps({"updates": updates}))
    return f"plan:{folder}/plan.json"


def state(bench):
    """{name: array} of all that is trained."""
    return {
        about["name"]: bench.read(bench.state(about["name"]), np.dtype(about["dtype"]).newbyteorder("<"))
        for about in bench.c.program.trained
    }
