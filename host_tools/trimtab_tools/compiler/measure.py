"""What only running a package tells: the first exponents of errors, and what the golden sample must give."""

import struct

import numpy as np
from trimtab.format import GOLDEN_BYTES
from trimtab.kernels import Tier
from trimtab.net import Net
from trimtab.package import Package

from ..graph.program import Program
from ..policies.hook import Hook
from ..samples import synthetic

ROUNDS = 16  # more than there are trackers: the last ones get several samples, too

# With a head of zeros no error would pass. State -> its type, random numbers for so many bytes.
RANDOM_HEAD = {
    "head.weights": ("<i2", lambda rng, size: rng.randint(-400, 400, size // 2)),
    "head.prototypes": ("<i2", lambda rng, size: rng.randint(-2000, 2000, size // 2)),
    "head.counts": ("<i4", lambda rng, size: np.ones(size // 4)),
}


def first_exponents(
    program: Program, data: bytes, kernels: Tier, hook: Hook, samples: np.ndarray | None = None
) -> None:
    """Each tracker starts where one sample after the other leaves it; nothing else moves.

    An error is only measured well once those above it are, so there are as many samples as trackers, and some
    more.
    """
    trackers = next(b for b in program.state if b.name == "exponents")
    if not trackers.size:
        return
    net = Net(Package(data), kernels)
    state, place = net.state, slice(trackers.offset, trackers.offset + trackers.size)
    rng = np.random.RandomState(1)
    initial = _with_random_head(program, state, rng)
    for i in range(trackers.size // 2 + ROUNDS):
        known = bytes(state[place]) if i else trackers.data
        state[:] = initial
        state[place] = known
        _load(net, i, samples, rng)
        sample = _sample(net)
        net.train_input()
        hook.measure(net, program, sample)
    trackers.data = bytes(state[place])


def _with_random_head(program, state, rng):
    """The package's state, with a head that sends errors."""
    initial = bytearray(state)
    for b in program.state:
        if b.name in RANDOM_HEAD:
            dtype, values = RANDOM_HEAD[b.name]
            initial[b.offset : b.offset + b.size] = values(rng, b.size).astype(dtype).tobytes()
    return initial


def _load(net, i, samples, rng):
    """Sample i and its target, where the net reads them."""
    if samples is not None:
        x, label = np.asarray(samples[i % len(samples)], np.int8).tobytes(), i % net.classes
    else:
        x, label, _ = synthetic(1, i, net.input_bytes, net.classes)
    net.input_view[:] = x
    _set_target(net, label, rng)


def _sample(net):
    """What lies in the input and the target, to be loaded again."""
    x, target = np.frombuffer(bytes(net.input_view), np.int8), bytes(net.target_view)
    return x, np.frombuffer(target, np.int8) if net.loss == "mse" else struct.unpack("<i", target)[0]


def _set_target(net, label, rng):
    if net.loss == "mse":
        net.target_view[:] = rng.randint(-128, 128, net.output_bytes).astype(np.int8).tobytes()
    else:
        struct.pack_into("<i", net.target_view, 0, label)


def golden(data: bytes, kernels: Tier) -> bytes:
    """Output CRC, state CRC after one step, class; then what the sample repeats and, for mse, its target."""
    net = Net(Package(data), kernels)
    x, label, _ = synthetic(0, 0, min(net.input_bytes, GOLDEN_BYTES), net.classes)
    net.repeat_input(x)
    net.classify_input()
    output, after, target = net.output_crc(), 0, b""
    if net.loss != "none":
        net.repeat_input(x)
        _set_target(net, label, np.random.RandomState(2))
        target = bytes(net.target_view) if net.loss == "mse" else b""
        net.train_input()
        after = net.state_crc()
    return struct.pack("<III", output, after, label) + bytes(x) + target
