"""Every operator that the tools know: one row each. A new operator is a new file and its row here."""

from collections.abc import Iterable
from importlib import import_module
from importlib.util import find_spec

from ..graph.ir import Graph, Op
from . import (
    add,
    avg_pool,
    concat,
    conv,
    dense,
    depthwise,
    elu,
    extremes,
    gelu,
    hard_swish,
    leaky_relu,
    log_softmax,
    logistic,
    max_pool,
    mean,
    mul,
    pad,
    parts,
    prelu,
    reduce_max,
    relu,
    repeated,
    requantize,
    reshape,
    slice,
    softmax,
    sub,
    tanh,
    transpose,
    transposed_conv,
)
from .operator import Operator, Tflite

ROWS = (
    conv.OPERATOR,
    depthwise.OPERATOR,
    dense.OPERATOR,
    add.OPERATOR,
    sub.OPERATOR,
    mul.OPERATOR,
    avg_pool.OPERATOR,
    max_pool.OPERATOR,
    mean.OPERATOR,
    pad.OPERATOR,
    concat.OPERATOR,
    reshape.OPERATOR,
    slice.OPERATOR,
    transpose.OPERATOR,
    softmax.OPERATOR,
    log_softmax.OPERATOR,
    requantize.OPERATOR,
    relu.RELU,
    relu.RELU6,
    hard_swish.OPERATOR,
    logistic.OPERATOR,
    tanh.OPERATOR,
    elu.OPERATOR,
    extremes.MINIMUM,
    extremes.MAXIMUM,
    gelu.OPERATOR,
    leaky_relu.OPERATOR,
    prelu.OPERATOR,
)


def _method(name):
    """A file that may be left out, or None: what it adds belongs to one policy."""
    return import_module(f"{__package__}.{name}") if find_spec(f"{__package__}.{name}") else None


tinytl, mobiletl = _method("tinytl"), _method("mobiletl")
OPERATORS = {row.kind: row for row in (*ROWS, *([tinytl.OPERATOR] if tinytl else []))}
# attribute of a marked node -> (row, value of the attribute) -> the row that holds instead
MARKS = {mobiletl.ATTRIBUTE: mobiletl.marked} if mobiletl else {}
CODES = {row.tflite.code: row for row in OPERATORS.values() if row.tflite}
SPELLED = (
    *reshape.SPELLINGS,
    *parts.SPELLINGS,
    *repeated.SPELLINGS,
    reduce_max.SPELLING,
    transposed_conv.SPELLING,
)
# Operators of files that a graph says with those of the rows: their `read` adds the nodes.
SPELLINGS = {form.code: form for form in SPELLED}
WEIGHTED = tuple(row.kind for row in ROWS if row.update)  # inputs x, weights, bias
MACS = {kernel: count for row in OPERATORS.values() for kernel, count in row.macs.items()}


def form(code: str) -> Tflite | None:
    """How files hold an operator, or None where it is not supported."""
    return SPELLINGS.get(code) or (CODES[code].tflite if code in CODES else None)


def has_reference(codes: Iterable[str]) -> bool:
    """Whether TensorFlow Lite's set of reference kernels can run these operators of a file."""
    return all(known.reference for known in map(form, codes) if known)


def row(op: Op) -> Operator:
    """The operator of a node. A policy may have marked the node, which gives it other rules."""
    found = OPERATORS[op.kind]
    for attribute, marked in MARKS.items():
        if attribute in op.attrs:
            found = marked(found, op.attrs[attribute])
    return found


def params(graph: Graph, op: Op) -> dict:
    """The integers of one operator, by name."""
    return OPERATORS[op.kind].params(graph, op)
