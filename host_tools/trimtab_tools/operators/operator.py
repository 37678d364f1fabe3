"""What the tools know about one kind of operator. registry.py lists them all.

A rule of an operator gets the node of the graph (`op`) and whoever asks:

    read(file, entry)           file: formats/read_tflite.Reader -> (inputs, attributes) of the node
    write(file, op)             file: formats/write_tflite.Writer -> fields of the options table
    params(graph, op)           the integers that a record and the oracle need, by name
    oracle(graph, op, p, xs)    int8 inputs (n, ...) and those integers -> the output, exact
    forward(lower, op)          lower: the compiler's Lowering, which hands out buffers and takes records
    gradient(lower, op, index)  -> Contribution to the error of that input

Forward rules add records to the program. A gradient rule leaves its last record to the compiler, which knows
what else flows into the same error.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

Lowering = Any  # compiler/lowering.Lowering: it stands to the right of this room, so nothing here imports it

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
    read: Callable | None = None
    write: Callable = lambda file, op: {}
    argument: Callable | None = None  # (graph, op) -> its second input, which the graph holds as an attribute
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
    params: Callable = lambda graph, op: {}
    oracle: Callable | None = None
    # records
    forward: Callable | None = None  # None: it moves no data, its output is its input
    gradient: Callable | None = None
    update: Callable | None = None  # (lower, op): records that train the weights
    update_bias: Callable | None = None  # (lower, op)
    masks: bool = False  # the forward record can write the mask of its clamp
    state: Callable | None = None  # (lower, op): keeps what it trains beside weights and bias
    sums: Callable | None = (
        None  # (lower, op): keeps accumulators for that, yields the records that fold them
    )
    # cost
    macs: dict = field(default_factory=dict)  # kernel -> multiplications of a record, from its values
    paper: str = "other"  # what the papers count it as: conv, relu, smooth, other, or none
    paper_rows: Callable | None = None  # (graph, op, skip): what they count beside it, fields of cost.Row


@dataclass
class Contribution:
    """A part of the error dx of one input: the kernel that computes it, and that record's values.

    Without a kernel dx is gy * m * 2^m_exp, of the same shape; another record can then add it in passing.
    """

    kernel: str | None
    values: dict
    m: int = 0
    m_exp: int = 0


def product(values: dict, names) -> int:
    """The product of some values of a record."""
    n = 1
    for name in names:
        n *= values[name]
    return n
