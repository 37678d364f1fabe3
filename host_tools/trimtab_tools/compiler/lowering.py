"""From graph and plan to a program: the order in which its records come about, and what operators ask for.

An operator's rules get a Lowering. It hands out buffers, constants and places in the state, and takes
records.
"""

from collections import defaultdict
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from ..graph.geometry import image
from ..graph.ir import Graph, Op
from ..graph.program import Buffer, Program, Record, Slot
from ..operators.registry import row
from ..policies.hook import Hook, Pixels, Weights
from ..policies.plan import TrainPlan, Update
from . import autodiff, loss
from .state import State, fill_exponents, finish, lay_out


def lower(graph: Graph, plan: TrainPlan, pixels: Pixels | None = None) -> Program:
    """The program of a trunk and its plan.

    pixels: real values of raw 0 and 255, else the input's whole range.
    """
    line = Lowering(graph, plan)
    line.hook.open_layers(line)
    line.learned = autodiff.wanted(line)
    lay_out(line)
    if plan.loss != "none":
        line.add_sample(pixels)
        finish(line)
        line.hook.after_training(line, pixels)
        fill_exponents(line)
    else:
        line.add_forward(pixels)
        loss.add_output(line)
    loss.describe_output(line)
    names = [graph.inputs[0], *(name for op in graph.ops for name in op.outputs)]
    line.program.activations = {name: line.activation(name) for name in names}
    return line.program


@dataclass
class Lowering:
    """One time line of a program while it comes about."""

    graph: Graph
    plan: TrainPlan
    program: Program = field(default_factory=Program)
    state: State = field(default_factory=State)
    own: dict = field(default_factory=lambda: defaultdict(dict))  # operator -> what its rules remember

    def __post_init__(self):
        self.operators = [op for op in self.graph.ops if op.kind != "reshape"]
        self.learned = set()  # tensors whose error is wanted
        self.errors = {}  # tensor -> autodiff.Error
        self.trained = None  # (Weights, bias) that updates write in place of the layer's own
        self.lr = Buffer("rate", 8)
        self.head_exp = self.exponent()
        self._roots = _roots(self.graph)
        self._activations, self._masks, self._parts = {}, {}, defaultdict(int)

    @property
    def hook(self) -> Hook:
        return self.plan.hook

    def beside(self, hook: Hook) -> "Lowering":
        """Another time line on the same state and constants, on which nothing is trained."""
        program = Program(constant_pool=self.program.constant_pool)
        own = defaultdict(dict, {name: dict(found) for name, found in self.own.items()})
        line = Lowering(self.graph, replace(self.plan, updates=(), hook=hook), program, self.state, own)
        line.learned = autodiff.wanted(line)
        return line

    def add_sample(self, pixels: Pixels | None) -> None:
        """All that one sample runs through: forward, loss, backward."""
        self.add_forward(pixels)
        loss.add_loss(self)
        autodiff.backward(self)

    def add_forward(self, pixels: Pixels | None) -> None:
        """From raw bytes to the last operator."""
        self.program.input = self.activation(self.graph.inputs[0])
        loss.map_input(self, pixels)
        for op in self.operators:
            self.hook.before_layer(self, op)
            forward = row(op).forward
            assert forward, op.kind  # operators without records are not among self.operators
            forward(self, op)

    def update_of(self, op: Op) -> Update | None:
        """What of an operator is trained, by the plan or by what a board may choose."""
        return self.plan.of(op.name) or self.hook.update_of(self, op)

    def root(self, name: str) -> str:
        """The tensor in whose place this one lies: a reshape moves nothing, so its output is its input."""
        return self._roots.get(name, name)

    # -- what rules ask for

    def emit(self, kernel: str, values: dict, layer: str, phase: str = "forward") -> None:
        """Append a record."""
        self.program.phases[phase].append(Record(kernel, values, layer))

    def const(self, array: npt.ArrayLike, dtype: npt.DTypeLike) -> Buffer:
        return self.program.const(np.asarray(array), dtype)

    def activation(self, name: str) -> Buffer:
        name = self.root(name)
        if name not in self._activations:
            t = self.graph[name]
            self._activations[name] = Buffer(name, t.size, shape=image(t.shape))
        return self._activations[name]

    def operand(self, name: str) -> Buffer:
        """An activation, or a constant of int8 that an operator reads in its place."""
        t = self.graph[name]
        if not t.constant:
            return self.activation(name)
        return self.program.where.setdefault(name, self.const(t.data, np.int8))

    def mask(self, name: str) -> Buffer | None:
        """One bit for each element, kept where the tensor's error will be wanted; else None."""
        name = self.root(name)
        if name not in self.learned:
            return None
        if name not in self._masks:
            self._masks[name] = Buffer(f"mask of {name}", (self.graph[name].size + 7) // 8)
        return self._masks[name]

    def scratch(self, size: int) -> Buffer:
        """Memory for one record."""
        return Buffer("row", size)

    def exponent(self) -> Buffer:
        """An int32 in the arena for an exponent of this sample."""
        return Buffer("exponent", 4)

    def weights(self, op: Op) -> Weights:
        return self.trained[0] if self.trained else self.state.weights[op.name]

    def bias(self, op: Op) -> Buffer:
        return self.trained[1] if self.trained else self.state.biases[op.name]

    def bias_acc(self, op: Op) -> Buffer | None:
        """The sum of a bias's updates, where the plan keeps one."""
        return self.state.bias_sums.get(op.name)

    def residual_of(self, plane: Buffer, name: str, layer: str) -> Buffer | None:
        """State for the fraction bits of trained weights, where the plan keeps any."""
        bits = self.plan.residual
        if not bits:
            return None
        zeros = np.zeros((plane.size * bits + 7) // 8)
        return self.program.keep(name, zeros, np.int8, layer=layer, role="residual")

    def sum_of(self, name: str, n: int, dtype: npt.DTypeLike, layer: str) -> Buffer:
        """State for the sum of n updates."""
        return self.program.keep(f"{name}.sum", np.zeros(n), dtype, role="sum", layer=layer)

    def error(self, name: str) -> tuple[Buffer, Buffer]:
        """(buffer, exponent) of a tensor's error, which is complete."""
        error = self.errors[self.root(name)]
        return error.buffer, error.exp

    def tracker(self, name: str) -> Slot:
        """The tracker of the next part of a tensor's error. Time lines share trackers."""
        self._parts[name] += 1
        return self.state.tracker(name, self._parts[name] - 1)


def _roots(graph):
    """{output of a reshape: the tensor in whose place it lies}."""
    roots = {}
    for op in graph.ops:
        if op.kind == "reshape":
            roots[op.outputs[0]] = roots.get(op.inputs[0], op.inputs[0])
    return roots
