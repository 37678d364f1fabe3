"""x above zero, x times a constant of its channel below it."""

import numpy as np

from ..graph.geometry import image
from ..graph.rounding import factors, multiply_twice_rounded, quantize_multipliers
from . import spread
from .exact import finish, output
from .operator import Contribution, Operator, Tflite


def read(file, entry):
    x, alpha, y = spread.read(file, entry)
    if x.constant or not alpha.constant or x.size != y.size:
        file.refuse("has slopes that are not constant", "use leaky relu")
    return (x.name, alpha.name), {}


def params(graph, op):
    """Multipliers of both sides, made in float32."""
    x, alpha, y = (graph[name] for name in (*op.inputs, op.outputs[0]))
    sx, sa, sy = (np.float32(t.scale[0]) for t in (x, alpha, y))
    m, shift = quantize_multipliers([float(sx / sy), float(sx * sa / sy)])
    zeros = {"x_zero": x.zero_point, "alpha_zero": alpha.zero_point}
    return {"multiplier": m, "shift": shift, **zeros, **output(graph, op)}


def oracle(graph, op, p, xs):
    x, alpha = spread.aligned(graph, op, xs)
    x, m, shift = x - p["x_zero"], p["multiplier"], p["shift"]
    below = multiply_twice_rounded(x * (alpha - p["alpha_zero"]), m[1], shift[1])
    return finish(np.where(x < 0, below, multiply_twice_rounded(x, m[0], shift[0])), p)


def forward(lower, op):
    p = params(lower.graph, op)
    (m, m2), (s, s2) = p["multiplier"], p["shift"]
    values = spread.values(lower, op, p)
    lower.emit("prelu_fwd", {**values, **dict(mult=m, shift=s, mult2=m2, shift2=s2)}, op.name)


def gradient(lower, op, index):
    x, alpha, y = (lower.graph[name] for name in (*op.inputs, op.outputs[0]))
    ratio = x.scale[0] / y.scale[0]
    slopes = (alpha.data.astype(float).ravel() - alpha.zero_point) * alpha.scale[0] * ratio
    table, e = factors(np.abs([ratio, *slopes]))
    signs = np.where(slopes < 0, -1, 1)
    (ih, iw, ic), (_, _, n2, c2) = image(x.shape), spread.circles(lower.graph, op, alpha.name)
    return Contribution(
        "prelu_dx",
        dict(
            row=lower.scratch(4 * ic),
            x=lower.activation(x.name),
            slope=lower.const(table[1:] * signs, np.int16),
            **dict(ih=ih, iw=iw, ic=ic, n2=n2, c2=c2, zx=x.zero_point, m=int(table[0]), m_exp=e),
        ),
    )


OPERATOR = Operator(
    "prelu",
    activations=2,
    tflite=Tflite("PRELU", 1, read=read),
    params=params,
    oracle=oracle,
    forward=forward,
    gradient=gradient,
    masks=True,
    paper="smooth",
)
