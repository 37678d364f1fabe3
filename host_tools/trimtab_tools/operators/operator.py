"""What the tools know about one kind of operator. registry.py lists them all.

A rule of an operator gets the node of the graph (`op`) and whoever asks:

    read(file, entry)           file: formats/read_tflite.Reader -> (inputs, attributes) of the node, or None
                                where it has added the nodes itself
    write(file, op)             file: formats/write_tflite.Writer -> fields of the options table
    params(graph, op)           the integers that a record and the oracle need, by name
    oracle(graph, op, p, xs)    int8 inputs (n, ...) and those integers -> the output, exact
    forward(lower, op)          lower: the compiler's Lowering, which hands out buffers and takes records
    gradient(lower, op, index)  -> Contribution to the error of that input

Forward rules add records to the program. A gradient rule leaves its last record to the compiler, which knows
what else flows into the same error.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..graph.ir import Graph, Op
from ..graph.program import Record

# Who asks stands to the right of this room, so nothing here can import it.
Lowering = Any  # compiler/lowering.Lowering
Reader = Any  # formats/read_tflite.Reader
Entry = Any  # formats/tflite_file.OpEntry
Writer = Any  # formats/write_tflite.Writer

# The rules. A function of this room that is named like the field of a row has the type of that field.
Read = Callable[[Reader, Entry], tuple[tuple, dict] | None]
Write = Callable[[Writer, Op], dict]
Arguments = Callable[[Graph, Op], tuple]
Params = Callable[[Graph, Op], dict]
Oracle = Callable[[Graph, Op, dict, list], np.ndarray]
Forward = Callable[[Lowering, Op], None]
Gradient = Callable[[Lowering, Op, int], "Contribution"]
Update = Callable[[Lowering, Op], None]
State = Callable[[Lowering, Op], None]
Sums = Callable[[Lowering, Op], Iterator[Record]]
PaperRows = Callable[[Graph, Op, int], Iterator[dict]]

NO_SCRATCH = dict(
    scratch=None, words=1
)  # until compiler/scratch.py knows what memory lies free at that record


@dataclass(frozen=True)
class Tflite:
    """How a TensorFlow Lite file holds an operator."""

    code: str  # the builtin operator
    version: int  # of its int8 kernel
    options: str = ""  # its table of options
    fields: tuple = ()  # what `read` needs of that table
    read: Read | None = None
    write: Write = lambda file, op: {}
    arguments: Arguments | None = (
        None  # (graph, op) -> inputs behind the first that the graph has as attributes
    )
    reference: bool = True  # its set of reference kernels has it; if not, its only kernel is the reference


@dataclass(frozen=True)
class Operator:
    kind: str
    # what a valid node has
    attributes: tuple = ()
    activations: int = 1  # so many inputs, the first, are int8 with one scale each
    channel_axis: int = 0  # of weights: the axis of output channels
    # files and integers
    tflite: Tflite | None = None  # None: TensorFlow Lite has no such operator
    params: Params = lambda graph, op: {}
    oracle: Oracle | None = None
    # records
    forward: Forward | None = None  # None: it moves no data, its output is its input
    gradient: Gradient | None = None
    update: Update | None = None  # (lower, op): records that train the weights
    update_bias: Update | None = None  # (lower, op)
    masks: bool = False  # the forward record can write the mask of its clamp
    state: State | None = None  # (lower, op): keeps what it trains beside weights and bias
    sums: Sums | None = None  # (lower, op): keeps accumulators for that, yields the records that fold them
    # cost
    macs: dict = field(default_factory=dict)  # kernel -> multiplications of a record, from its values
    paper: str = "other"  # what the papers count it as: conv, relu, smooth, other, or none
    paper_rows: PaperRows | None = None  # (graph, op, skip): what they count beside it, fields of cost.Row


@dataclass
class Contribution:
    """A part of the error dx of one input: the kernel that computes it, and that record's values.

    Without a kernel dx is gy * m * 2^m_exp, of the same shape; another record can then add it in passing.
    """

    kernel: str | None
    values: dict
    m: int = 0
    m_exp: int = 0


def product(values: dict, names: Iterable[str]) -> int:
    """The product of some values of a record."""
    n = 1
    for name in names:
        n *= values[name]
    return n
