"""The graph between model file and package: immutable tensors and operators.

One graph holds one int8 network. Passes take a graph and return a new one; operators/check.py runs between
them. Layouts are TensorFlow Lite's: activations NHWC, conv weights OHWI, depthwise weights 1HWC, dense
weights OI.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np


@dataclass(frozen=True, eq=False)
class Tensor:
    name: str
    shape: tuple  # batch is always 1 for activations
    dtype: str  # "int8", "int32", "float32"
    scale: Any = None  # float64 (1,) per tensor or (channels,) per channel
    zero_point: int = 0
    data: Any = None  # constants only
    index: int | None = None  # the tensor's number in the model file

    @property
    def size(self) -> int:
        return int(np.prod(self.shape, dtype=np.int64))

    @property
    def constant(self) -> bool:
        return self.data is not None


@dataclass(frozen=True, eq=False)
class Op:
    kind: str  # a row of operators/registry.py
    name: str  # the layer as the user knows it
    inputs: tuple  # tensor names; "" where an optional input is absent
    outputs: tuple
    attrs: dict = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Graph:
    tensors: dict  # name -> Tensor
    ops: tuple  # in execution order
    inputs: tuple
    outputs: tuple
    input_dtype: str = "int8"  # what the model file takes and gives; the graph inside is int8
    output_dtype: str = "int8"

    def __getitem__(self, name: str) -> Tensor:
        return self.tensors[name]

    def producer(self, name: str) -> Op | None:
        """The operator that writes a tensor."""
        return next((op for op in self.ops if name in op.outputs), None)

    def consumers(self, name: str) -> list:
        """The operators that read a tensor."""
        return [op for op in self.ops if name in op.inputs]

    def with_ops(self, ops: Iterable[Op], outputs: Iterable[str] | None = None) -> "Graph":
        """The graph of these operators, without the tensors that nothing names any more."""
        ops, outputs = tuple(ops), tuple(outputs or self.outputs)
        used = {*self.inputs, *outputs, *(n for op in ops for n in (*op.inputs, *op.outputs))}
        tensors = {n: t for n, t in self.tensors.items() if n in used}
        return replace(self, tensors=tensors, ops=ops, outputs=outputs)
