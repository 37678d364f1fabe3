"""What a policy may change while its plan is lowered and its package is made. Most change nothing."""

from dataclasses import dataclass
from typing import Any

from trimtab.net import Net

from ..graph.ir import Op
from ..graph.program import Buffer, Program
from ..operators.operator import Lowering

Pixels = tuple[float, float]  # the real values of raw 0 and 255


@dataclass
class Weights:
    """Where a layer's weights lie, as fields of its records: frozen tensor w, trained plane k, list kept."""

    fields: dict
    nk: int = 0  # channels in the trained plane
    residual: Buffer | None = None
    acc: Buffer | None = None  # sum of updates


class Hook:
    """Nothing is changed. A policy overrides what it needs; `lower` is the compiler's Lowering."""

    def open_layers(self, lower: Lowering) -> None:
        """Before the trained state is laid out: keep state of one's own."""

    def update_of(self, lower: Lowering, op: Op) -> Any:
        """The Update of an operator that the plan does not name, or None."""

    def errors_wanted(self, lower: Lowering) -> tuple:
        """Tensors whose errors are wanted though nothing below them is trained."""
        return ()

    def before_layer(self, lower: Lowering, op: Op) -> None:
        """Just before the forward records of an operator."""

    def trained(self, lower: Lowering, op: Op) -> tuple[Weights, Buffer] | None:
        """(Weights, bias Buffer) that an operator's updates write in place of its own, or None."""

    def after_update(self, lower: Lowering, op: Op) -> None:
        """Just after the records that update an operator's weights."""

    def after_error(self, lower: Lowering, name: str) -> None:
        """Just after the record that completes a tensor's error."""

    def after_training(self, lower: Lowering, pixels: Pixels | None) -> None:
        """All records of training are there: add time lines of one's own."""

    def measure(self, net: Net, program: Program, sample: tuple) -> None:
        """While first exponents are measured: what a sample goes through after a training step."""
