"""A program before it has addresses: buffers, records that name buffers, the phases of one time line."""

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
from trimtab.format import ARENA, CONST, NULL, PHASES, RECORDS, STATE, WEIGHTS, fields

FIELDS = {row[0]: fields(row[1]) for row in RECORDS}
NAMES = {kernel: {name for name, *_ in rows} for kernel, rows in FIELDS.items()}
OPTIONAL = {
    kernel: {name for name, kind, *_ in rows if kind and "?" in kind} for kernel, rows in FIELDS.items()
}
BITS = {"b": 8, "h": 16, "x": 16, "i": 32, "m": 1}

# What a kernel writes may lie where one of these inputs lies, at the same address: it reads each element
# before it writes there (depthwise: each channel, which goes through `plane`). That is part of a kernel's
# contract.
_ERROR = (("g", "gy"), ("g", "add"))
IN_PLACE = {
    "add_fwd": (("y", "x"), ("y", "x2")),
    "mul_fwd": (("y", "x"),),
    "sum_fwd": (("y", "x"),),
    "prelu_fwd": (("y", "x"),),
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
    "mul_dx": (("g", "add"),),
    "prelu_dx": (*_ERROR, ("g", "x")),
    "move_dx": (("g", "add"),),
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
    offset: Any = None  # set by the memory planner
    shape: tuple | None = None  # (height, width, channels) of an activation

    def at(self, byte: int) -> "Slot":
        return Slot(self, byte)


@dataclass(frozen=True, eq=False)
class Slot:
    """A place inside a buffer."""

    buffer: Buffer
    byte: int


@dataclass(eq=False)
class Record:
    """One kernel call: the kernel and its fields, each a number, a Buffer, a Slot or None."""

    kernel: str
    values: dict
    layer: str = ""

    def __post_init__(self):
        odd = NAMES[self.kernel] ^ self.values.keys()
        if not odd <= OPTIONAL[self.kernel]:
            raise AssertionError(f"{self.kernel}: fields {odd} do not match the record table")

    @cached_property
    def spans(self) -> list[tuple[str, Buffer, int, int, bool]]:
        """[(field, buffer, first byte, end, written)] of all that this record touches."""
        found = []
        for name, kind, extent, _ in FIELDS[self.kernel]:
            value = self.values.get(name) if kind else None
            if value is not None:
                buffer, byte = (value.buffer, value.byte) if isinstance(value, Slot) else (value, 0)
                found.append((name, buffer, byte, byte + self._size(kind[-1], extent), "!" in kind))
        return found

    def _size(self, letter, extent):
        bits = int(self.values.get("residual", 8)) if letter == "r" else BITS.get(letter, 8)
        for factor in extent:
            bits *= int(self.values[factor] if factor in self.values else factor)
        return (bits + 7) // 8

    def buffers(self, written: bool) -> list:
        """Buffers that this record writes or, with written False, only reads."""
        return [buffer for _, buffer, _, _, writes in self.spans if writes == written]

    def but(self, **values: Any) -> "Record":
        """The same record with other values."""
        return Record(self.kernel, {**self.values, **values}, self.layer)


@dataclass(eq=False)
class Program:
    """All records by phase, and the buffers that the header names."""

    phases: dict = field(default_factory=lambda: {name: [] for name in PHASES})
    state: list = field(default_factory=list)  # Buffers in the order of a save
    input: Buffer | None = None
    output: Buffer | None = None
    target: Buffer | None = None
    latent: Buffer | None = None  # the tensor that the phase `prefix` leaves
    names: Buffer | None = None  # of classes that a board may add
    head_bias: Buffer | None = None
    study: "Program | None" = None  # the time line that gathers Fisher information
    fisher: Buffer | None = None  # its sums over many samples
    candidates: dict = field(default_factory=dict)  # layer -> input channels, of the layers that are summed
    pools: Any = None  # Pools of policies/, where a board chooses what it trains
    clock: Buffer | None = None
    rng: Buffer | None = None
    header: dict = field(default_factory=dict)
    activations: dict = field(default_factory=dict)  # tensor name -> Buffer of every activation
    where: dict = field(default_factory=dict)  # name of a constant tensor -> Buffer of its frozen part
    trained: list = field(default_factory=list)  # for the plan section: what each state buffer is
    constant_pool: dict = field(default_factory=dict)

    def const(self, array: npt.ArrayLike, dtype: npt.DTypeLike) -> Buffer:
        """A constant, stored once however often it is used. Bytes, which need no alignment, lie apart."""
        data = np.ascontiguousarray(array, np.dtype(dtype).newbyteorder("<")).tobytes()
        space = WEIGHTS if np.dtype(dtype).itemsize == 1 else CONST
        return self.constant_pool.setdefault((data, space), Buffer("const", len(data), space, data))

    def constants(self, space: int = CONST) -> list:
        return [buffer for buffer in self.constant_pool.values() if buffer.space == space]

    def keep(self, name: str, array: npt.ArrayLike, dtype: npt.DTypeLike, **about: Any) -> Buffer:
        """A piece of trained state; `array` is what it starts as, `about` goes into the plan section."""
        data = np.ascontiguousarray(array, np.dtype(dtype).newbyteorder("<")).tobytes()
        buffer = Buffer(name, len(data), STATE, data)
        self.state.append(buffer)
        self.trained.append({"name": name, "dtype": np.dtype(dtype).name, "bytes": len(data), **about})
        return buffer

    def but(self, **phases: list[Record]) -> "Program":
        """The same program with other records in some phases."""
        return replace(self, phases={**self.phases, **phases})

    def joined(self) -> "Program":
        """The program with the records of `study` in phases of their own."""
        if not self.study:
            return self
        line = self.study.phases
        return self.but(
            study_map=line["map"],
            study=line["forward"] + line["loss"] + line["gate"],
            fisher=line["backward"],
        )

    def timeline(self) -> list:
        """(phase, record) in order of time."""
        return [(phase, record) for phase in PHASES for record in self.phases[phase]]


def reference(value: Buffer | Slot | int | None) -> int:
    """The word that stands for a field's value in a record."""
    if value is None:
        return NULL
    if isinstance(value, Slot):
        return (value.buffer.space << 28) | (value.buffer.offset + value.byte)
    if isinstance(value, Buffer):
        return (value.space << 28) | value.offset
    return int(value)
