"""The difference of two tensors: their sum, with a sign."""

import functools

from . import add
from .operator import Operator, Tflite

OPERATOR = Operator(
    "sub",
    attributes=("act",),
    activations=2,
    tflite=Tflite("SUB", 2, "SubOptions", ("FusedActivationFunction",), add.read, add.write),
    params=add.params,
    oracle=functools.partial(add.oracle, sign=-1),
    forward=functools.partial(add.forward, sign=-1),
    gradient=functools.partial(add.gradient, sign=-1),
    masks=True,
)
