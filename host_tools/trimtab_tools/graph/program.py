"""Steps before they have addresses: buffers, records that name buffers, phases of one time line."""

from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from trimtab.format import ARENA, CONST, NULL, PHASES, RECORDS, STATE, WEIGHTS, fields

FIELDS = {row[0]: fields(row[1]) for row in RECORDS}
BYTES = {"b": 1, "h": 2, "x": 2, "i": 4}

# Kernels read an element (depthwise: a channel, which goes through `plane`) before they write it, so what is written may
# lie where one of these lies, at the same address. That is part of their contract.
_ERROR = (("g", "gy"), ("g", "add"))
IN_PLACE = {
    "add_fwd": (("y", "x"), ("y", "x2")),
    "lut_fwd": (("y", "x"),),
    "requantize_fwd": (("y", "x"),),
    "softmax_fwd": (("y", "x"),),
    "mobiletl_fwd": (("y", "x"),),
    "depthwise_fwd": (("y", "x"),),
    "tinytl_add_fwd": (("y", "x"),),
    "scale_dx": _ERROR,
    "lut_dx": (*_ERROR, ("g", "x")),
    "depthwise_dx": _ERROR,
    "conv_dx": (("g", "add"),),
    "avg_dx": (("g", "add"),),
    "max_dx": (("g", "add"),),
}


@dataclass(eq=False)
class Buffer:
    """A run of bytes in one space. Arena buffers have no data; state buffers start with theirs."""

    name: str
    size: int
    space: int = ARENA
    data: bytes | None = None
    offset: int | None = None  # set by the memory planner
    shape: tuple | None = None  # (height, width, channels) of an activation

    def at(self, byte):
        return Slot(self, byte)


@dataclass(frozen=True, eq=False)
class Slot:
    """A place inside a buffer."""

    buffer: Buffer
    byte: int


@dataclass(eq=False)
class Record:
    """One record: a kernel and its fields, each a number, a Buffer, a Slot or None."""

    kernel: str
    values: dict
    layer: str = ""

    def __post_init__(self):
        wanted = {name for name, *_ in FIELDS[self.kernel]}
        given = set(self.values)
        optional = {name for name, kind, *_ in FIELDS[self.kernel] if kind and "?" in kind}
        if given - wanted or wanted - given - optional:
            raise AssertionError(f"{self.kernel}: fields {given ^ wanted} do not match the record table")

    @cached_property
    def spans(self):
        """[(field, buffer, first byte, end, written)] of all that this step touches."""
        found = []
        for name, kind, extent, _ in FIELDS[self.kernel]:
            value = self.values.get(name)
            if kind and value is not None:
                buffer, byte = (value.buffer, value.byte) if isinstance(value, Slot) else (value, 0)
                found.append((name, buffer, byte, byte + self._size(kind[-1], extent), "!" in kind))
        return found

    def _size(self, letter, extent):
        n = 1
        for factor in extent:
            n *= int(factor) if factor.isdigit() else int(self.values[factor])
        bits = {"m": 1, "r": int(self.values.get("residual", 8))}.get(letter) or 8 * BYTES.get(letter, 1)
        return (n * bits + 7) // 8

    def buffers(self, written):
        """Buffers that this step writes (or, with written False, touches without writing)."""
        return [buffer for _, buffer, _, _, writes in self.spans if writes == written]

    def but(self, **values):
        """The same step with other values."""
        return Record(self.kernel, {**self.values, **values}, self.layer)


@dataclass(eq=False)
class Program:
    """All steps by phase, and the buffers that the header names."""

    phases: dict = field(default_factory=lambda: {name: [] for name in PHASES})
    state: list = field(default_factory=list)  # Buffers in the order of a save
    input: Buffer | None = None
    output: Buffer | None = None
    target: Buffer | None = None
    latent: Buffer | None = None  # what the phase `prefix` leaves
    names: Buffer | None = None  # of classes that are not there yet
    head_bias: Buffer | None = None
    study: object = None  # a Program: the time line on which Fisher information is found
    fisher: Buffer | None = None  # sums over many samples
    candidates: dict = field(default_factory=dict)  # input channels of each layer whose sums these are
    pools: object = None  # candidates.Pools, where a board may choose what it trains
    clock: Buffer | None = None
    rng: Buffer | None = None
    header: dict = field(default_factory=dict)
    activations: dict = field(default_factory=dict)  # tensor name -> Buffer of every activation
    where: dict = field(default_factory=dict)  # name of a constant tensor -> Buffer of its frozen part
    trained: list = field(default_factory=list)  # dicts for the plan section: what each state buffer is
    _const: dict = field(default_factory=dict)

    def const(self, array, dtype):
        """A constant, stored once however often it is used; bytes apart from what must be aligned."""
        data = np.ascontiguousarray(array, np.dtype(dtype).newbyteorder("<")).tobytes()
        space = WEIGHTS if np.dtype(dtype).itemsize == 1 else CONST
        return self._const.setdefault((data, space), Buffer("const", len(data), space, data))

    def constants(self, space=CONST):
        return [buffer for buffer in self._const.values() if buffer.space == space]

    def keep(self, name, array, dtype, **about):
        """A piece of trained state, with what it starts as."""
        data = np.ascontiguousarray(array, np.dtype(dtype).newbyteorder("<")).tobytes()
        buffer = Buffer(name, len(data), STATE, data)
        self.state.append(buffer)
        self.trained.append({"name": name, "dtype": np.dtype(dtype).name, "bytes": len(data), **about})
        return buffer

    def but(self, **phases):
        """The same program with other steps in some phases."""
        return replace(self, phases={**self.phases, **phases})

    def joined(self):
        """The program with the steps of `study` in phases of its own."""
        if not self.study:
            return self
        line = self.study.phases
        return self.but(
            study_map=line["map"],
            study=line["forward"] + line["loss"] + line["gate"],
            fisher=line["backward"],
        )

    def timeline(self):
        """(phase, step) in order of time."""
        return [(phase, step) for phase in PHASES for step in self.phases[phase]]


def reference(value):
    """The word that stands for a field's value in a record."""
    if value is None:
        return NULL
    if isinstance(value, Slot):
        return (value.buffer.space << 28) | (value.buffer.offset + value.byte)
    if isinstance(value, Buffer):
        return (value.space << 28) | value.offset
    return int(value)
