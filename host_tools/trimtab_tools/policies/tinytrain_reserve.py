"""What a package of policy tinytrain holds so that a board may choose: pools, and records for each candidate.

Each candidate has records as if it alone were chosen. The chosen channels of its input lie in a pool in the
arena; its plane, residual and biases lie in a pool in the state. All records refer to the beginnings of the
pools. The board patches the records of what it chooses and skips the others (trimtab.tinytrain).
"""

import struct
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from trimtab import fisher
from trimtab import tinytrain as device
from trimtab.tinytrain import HEAD, PATCHED, bits_of

from ..graph.geometry import geometry
from ..graph.ir import Graph, Op
from ..graph.program import Buffer, Program, Record, Slot, reference
from ..operators.operator import Lowering
from .hook import Weights
from .plan import AXIS, Update


@dataclass(frozen=True)
class Candidate:
    """A layer that may be chosen, and what that takes."""

    layer: str
    row: tuple  # numbers in the order of trimtab.fisher.ROW

    def __getitem__(self, name: str) -> int:
        return self.row[fisher.ROW.index(name)]


@dataclass(frozen=True, eq=False)
class Pools:
    """What a package holds for a choice on the board."""

    candidates: tuple
    planes: Buffer  # in the state: planes, residuals and biases
    inputs: Buffer  # in the arena: kept inputs
    bits: Buffer  # in the state: which channels were chosen
    most_macs: int

    def tensors(self, graph: Graph) -> list[tuple]:
        """Names of the weights and biases of all candidates, in their order."""
        inputs = {op.name: op.inputs for op in graph.ops}
        return [inputs[c.layer][1:3] for c in self.candidates]

    def section(self, program: Program, places: dict[Record, int]) -> bytes:
        """The section `choice`: pools, then each candidate's row and the places of its records."""
        head = dict(candidates=len(self.candidates), most_macs=min(self.most_macs, 0xFFFFFFFF))
        for name, buffer in (("planes", self.planes), ("kept", self.inputs), ("bits", self.bits)):
            head[name], head[f"{name}_bytes"] = reference(buffer), buffer.size
        words = [head[name] for name in HEAD]
        for c in self.candidates:
            offsets = [places[record] for record in _patched(program, c.layer)]
            words += [*c.row, len(offsets), *offsets]
        return struct.pack(f"<{len(words)}I", *words)


def _patched(program, layer):
    """The records of a layer that a choice changes."""
    for phase in ("prefix", "forward", "backward"):
        for record in program.phases[phase]:
            if record.layer == layer and record.kernel in PATCHED:
                yield record


def make_pools(
    program: Program, candidates: list[Candidate], state_bytes: int, kept_bytes: int, most_macs: int
) -> Pools:
    """Pools for these candidates; the two in the state are kept in it."""
    none = np.zeros(len(bits_of({}, [c.row for c in candidates])))
    bits = program.keep("choice", none, np.int8, role="choice")
    planes = program.keep("planes", np.zeros(state_bytes), np.int8, role="planes")
    return Pools(tuple(candidates), planes, Buffer("kept inputs", kept_bytes), bits, most_macs)


# -- records of one candidate, as if it alone were chosen and its first channels


def update_of(op: Op, c: Candidate) -> Update:
    return Update(op.name, True, tuple(range(c["count"])), AXIS[op.kind])


def pooled(lower: Lowering, c: Candidate) -> tuple[Weights, Buffer]:
    """(weights, biases): both begin where the pool of planes begins; the board moves them apart."""
    planes = lower.program.pools.planes
    residual = planes.at(_aligned(c["plane"])) if c["residual"] else None
    kept = lower.const(range(c["count"]), np.uint16)
    return Weights(dict(w=None, k=planes, kept=kept), c["count"], residual), planes


def keep_input(lower: Lowering, op: Op, c: Candidate) -> None:
    """Before the layer runs: the channels of its input that an update will read."""
    g, x = geometry(lower.graph, op), lower.activation(op.inputs[0])
    _gather(lower, op, c, lower.program.pools.inputs, x, g["ih"] * g["iw"], c["inputs"], "forward")


def read_packed(lower: Lowering, op: Op, c: Candidate) -> None:
    """The update that was just lowered reads packed channels."""
    backward, g = lower.program.phases["backward"], geometry(lower.graph, op)
    record, inputs = backward.pop(), lower.program.pools.inputs
    packed = record.but(x=inputs, kept=None, ic=c["count"])
    if op.kind == "depthwise":
        error = inputs.at(_aligned(c["input"]))
        _gather(lower, op, c, error, record.values["gy"], g["oh"] * g["ow"], g["oc"], "backward")
        u = np.frombuffer(record.values["u"].data, "<u2")
        packed = packed.but(gy=error, u=lower.const(u, np.uint16), oc=c["count"])
    backward.append(packed)
    if op.kind != "depthwise":
        _hold(lower, op, c, record.values, g)


def _hold(lower, op, c, v, g):
    """A conv's plane is added to the frozen weights: their sum is held within int8."""
    values = dict(k=v["k"], r=v["r"], w=lower.weights(op).fields["w"], kept=v["kept"])
    sizes = dict(rows=g["oc"] * g["kh"] * g["kw"], nk=c["count"], ic=g["ic"], residual=v["residual"])
    lower.emit("tinytrain_hold", {**values, **sizes}, op.name, phase="backward")


def _gather(lower, op, c, y, x, n, channels, phase):
    """The first channels, or as many as there are: the board patches the list."""
    kept = lower.const(np.minimum(np.arange(c["count"]), channels - 1), np.uint16)
    values = dict(y=y, x=x, kept=kept, n=n, ic=channels, nk=c["count"])
    lower.emit("gather", values, op.name, phase=phase)


def _aligned(n):
    return -(-n // 4) * 4


# -- Fisher information


def fisher_sums(layers: Iterable[str], counts: list[int]) -> tuple[Buffer, dict[str, tuple[int, Slot, Slot]]]:
    """(buffer, {layer: (its input channels, the place of their sums, of the sums' exponent)})."""
    total, places, at = sum(counts), {}, 0
    buffer = Buffer("fisher", 4 * (total + len(counts)))
    for i, (layer, c) in enumerate(zip(layers, counts)):
        places[layer] = c, buffer.at(4 * at), buffer.at(4 * (total + i))
        at += c
    return buffer, places


def add_fisher(lower: Lowering, name: str, layer: str, places: dict) -> None:
    """The error of a tensor is there: what it tells about the channels of a layer that reads it."""
    x, (g, exp), (c, f, f_exp) = lower.graph[name], lower.error(name), places[layer]
    values = dict(f=f, f_exp=f_exp, x=lower.activation(name), g=g, g_exp=exp, sums=lower.scratch(4 * c))
    values.update(n=x.size // c, ic=c, zx=x.zero_point)
    lower.emit("tinytrain_fisher", values, layer, phase="backward")


# -- what a board chose, read from a package and its state


def tuned(section: bytes | memoryview, state: dict, tensors: list) -> dict[str, tuple]:
    """{tensor: (channels, what a board trained there, whether that adds to the frozen values)}."""
    rows = device.parse(section)[1]
    chosen = device.chosen_of(state["choice"].view(np.uint8), rows)
    pool = state["planes"].tobytes()
    found: dict[str, tuple] = {}
    for i, (plane, _, bias, *_) in device.places(rows, chosen).items():
        weights, biases = tensors[i]
        trained = np.frombuffer(pool, np.int8, rows[i][fisher.PLANE], plane)
        found[weights] = chosen[i], trained, not rows[i][fisher.ERROR]
        trained = np.frombuffer(pool, "<i4", rows[i][fisher.BIAS] // 4, bias)
        found[biases] = slice(None), trained, False
    return found
