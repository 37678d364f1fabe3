"""The float twin of the training step: the same int8 forward pass, with gradients and weights in real
numbers.

The difference between a trial and its twin is what training in integers costs. Each int8 weight is a real
weight, rounded. The gradient ignores the rounding, and passes a clamp where the value fits. One sample is
trained at a time.
"""

import importlib
import importlib.util
from collections.abc import Iterator

import numpy as np

from ..errors import ModelError
from ..graph.ir import Graph, Op
from ..policies.plan import TrainPlan
from .float_layers import LAYERS, Layer

# Kinds of layers that belong to a method: (file, class). The file can be deleted together with the method.
OPTIONAL = {"tinytl": ("float_tinytl", "Module")}


def layer_class(op: Op) -> type[Layer]:
    """The class that computes an operator in real numbers."""
    if op.kind in LAYERS:
        return LAYERS[op.kind]
    module, name = OPTIONAL.get(op.kind, ("", ""))
    if module and importlib.util.find_spec(f"{__package__}.{module}"):
        return getattr(importlib.import_module(f"{__package__}.{module}"), name)
    raise ModelError(f"layer {op.name}: the float twin knows no {op.kind}: compare another network")


class Twin:
    """The part of a trunk behind one tensor, with a dense head of zeros."""

    def __init__(self, trunk: Graph, plan: TrainPlan, start: str, qas: bool = True):
        self.graph, self.start = trunk, start
        self.alias: dict[str, str] = {}  # output of a reshape -> the tensor that it reshapes
        self.layers = self._layers(plan, qas)
        self._mark_wanted()
        head = plan.head
        assert head, "a trial trains a head"
        self.features = self.root(head.features)
        f = trunk[self.features]
        assert f.scale is not None, "an activation has a scale"
        self.scale, self.zero = f.scale[0], f.zero_point
        self.w, self.b = np.zeros((head.classes, f.size)), np.zeros(head.classes)

    def root(self, name: str) -> str:
        return self.alias.get(name, name)

    def _layers(self, plan, qas):
        """The layers of the operators whose inputs all depend on the start."""
        layers, known = [], {self.start}
        for op in self.graph.ops:
            inputs = [self.root(name) for name in op.inputs if name and not self.graph[name].constant]
            if not known.issuperset(inputs):
                continue
            known.update(op.outputs)
            if op.kind == "reshape":
                self.alias[op.outputs[0]] = inputs[0]
            else:
                layers.append(layer_class(op)(self.graph, op, inputs, plan.of(op.name), qas))
        return layers

    def _mark_wanted(self):
        """Errors are wanted down to the first layer that learns, except through inputs that are detached."""
        learned = set()
        for layer in self.layers:
            detached = layer.op.attrs.get("detached", ())
            layer.wanted = [name in learned and i not in detached for i, name in enumerate(layer.inputs)]
            layer.learns = layer.update is not None or any(layer.wanted)
            learned.update([layer.output] * layer.learns)

    def step(self, x: np.ndarray, label: int, rate: float) -> float:
        """Forward, backward, update; the loss in nats."""
        values = self._forward(x.reshape(self.graph[self.start].shape))
        f = self._real(values, 1)[0]
        p = softmax(self.w @ f + self.b)
        loss = -np.log(max(p[label], 2.0**-16))
        p[label] -= 1
        errors = {self.features: (self.scale * (p @ self.w)).reshape(values[self.features].shape)}
        self.w -= rate * np.outer(p, f)
        self.b -= rate * p
        self._backward(errors, rate)
        return loss

    def classes(self, samples: np.ndarray, batch: int = 64) -> Iterator[int]:
        """The class of each sample."""
        for at in range(0, len(samples), batch):
            rows = samples[at : at + batch]
            values = self._forward(rows.reshape(len(rows), *self.graph[self.start].shape[1:]))
            yield from (self._real(values, len(rows)) @ self.w.T + self.b).argmax(1).tolist()

    def _forward(self, x):
        values = {self.start: x}
        for layer in self.layers:
            values[layer.output] = layer.forward([values[name] for name in layer.inputs])
        return values

    def _real(self, values, n):
        """The features of n samples as real numbers."""
        return self.scale * (values[self.features].reshape(n, -1).astype(float) - self.zero)

    def _backward(self, errors, rate):
        """Send errors down, layer by layer; each layer updates itself as they pass."""
        for layer in reversed(self.layers):
            if layer.learns and layer.output in errors:
                found = layer.backward(errors.pop(layer.output), rate)
                for name, wanted, dx in zip(layer.inputs, layer.wanted, found):
                    if wanted:
                        errors[name] = errors[name] + dx if name in errors else dx


def softmax(logits: np.ndarray) -> np.ndarray:
    p = np.exp(logits - logits.max())
    return p / p.sum()
