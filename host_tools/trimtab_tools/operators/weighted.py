"""What layers with weights share: conv, depthwise, dense. Their inputs are x, weights and bias."""

import numpy as np

from ..errors import ModelError
from ..graph.geometry import geometry
from ..graph.ir import Graph, Op
from ..graph.rounding import factors, multiply_once_rounded, multiply_twice_rounded, qas, quantize_multipliers
from .exact import finish, output, scale
from .operator import NO_SCRATCH, Lowering, Update, product

WINDOW = ("Padding", "StrideH", "StrideW", "FusedActivationFunction")
CONVOLUTION = (*WINDOW, "DilationHFactor", "DilationWFactor")  # fields of a convolution's options
POSITIONS = 1 << 15  # that an update sums without leaving 32 bits
DEAD = 1000  # a channel whose scale lies so far below the median holds nothing, and its update would explode


def write(file, op) -> dict:
    """The fields of a convolution's options."""
    kernel = file.graph[op.inputs[1]].shape[1:3]
    return {**file.window(op, kernel), "DilationHFactor": 1, "DilationWFactor": 1}


# -- integers


def output_scales(graph: Graph, op: Op) -> list[float]:
    """Real steps of y for one step of the sum, by output channel, as the reference computes them."""
    x, w, y = graph[op.inputs[0]], graph[op.inputs[1]], graph[op.outputs[0]]
    return [scale(x) * float(np.float32(s)) / scale(y) for s in w.scale]


def params(graph, op) -> dict:
    m, shift = quantize_multipliers(output_scales(graph, op))
    return {"multiplier": m, "shift": shift, "x_zero": graph[op.inputs[0]].zero_point, **output(graph, op)}


def bias(graph: Graph, op: Op) -> np.ndarray:
    return graph[op.inputs[2]].data.astype(np.int64)


def twice_rounded(acc: np.ndarray, p: dict) -> np.ndarray:
    """Sums to int8 outputs, as the reference's convolutions round."""
    return finish(multiply_twice_rounded(acc, p["multiplier"], p["shift"]), p)


def once_rounded(acc: np.ndarray, p: dict) -> np.ndarray:
    """The same, as its fully connected kernel rounds."""
    return finish(multiply_once_rounded(acc, p["multiplier"], p["shift"]), p)


# -- records


def scales(graph: Graph, op: Op) -> tuple:
    """(s_x, s_w per output channel, s_y)"""
    x, w, y = graph[op.inputs[0]], graph[op.inputs[1]], graph[op.outputs[0]]
    return x.scale[0], np.broadcast_to(np.asarray(w.scale, np.float64), y.shape[-1:]), y.scale[0]


def forward_values(lower: Lowering, op: Op, p: dict) -> dict:
    """What the forward records have in common."""
    weights = lower.weights(op)
    return dict(
        y=lower.activation(op.outputs[0]),
        x=lower.activation(op.inputs[0]),
        **weights.fields,
        bias=lower.bias(op),
        mult=lower.const(p["multiplier"], np.int32),
        shift=lower.const(p["shift"], np.int8),
        mask=lower.mask(op.outputs[0]),
        **geometry(lower.graph, op),
        nk=weights.nk,
        zx=p["x_zero"],
        zy=p["y_zero"],
        lo=p["act_min"],
        hi=p["act_max"],
        **NO_SCRATCH,
    )


def gradient_values(lower: Lowering, op: Op, outputs: int) -> dict:
    """What the gradient records have in common. `outputs`: channels of y that one input channel flows into.

    dx sums gy * w * (m >> shift) over at most `terms` products. The shift keeps |dx| below 2^30:
    terms * (127 * 2^15 >> shift) * 127.
    """
    g = geometry(lower.graph, op)
    sx, sw, sy = scales(lower.graph, op)
    m, e = factors(sx * sw / sy)
    terms = -(-g["kh"] // g["sh"]) * -(-g["kw"] // g["sw"]) * outputs
    shift = 8
    while terms * ((127 * 32767 >> shift) + 1) * 127 > 1 << 30:
        shift += 1
    weights, m = lower.weights(op), lower.const(m, np.int16)
    return dict(**weights.fields, m=m, **g, nk=weights.nk, m_shift=shift, m_exp=e, **NO_SCRATCH)


def positions(lower: Lowering, op: Op) -> int:
    """Positions of the output, over which updates sum."""
    g = geometry(lower.graph, op)
    n = g["oh"] * g["ow"]
    if n > POSITIONS:
        raise ModelError(f"layer {op.name} has {n} output positions: train layers with at most {POSITIONS}")
    return n


def alive(sw: np.ndarray) -> np.ndarray:
    """Channels that are not dead."""
    return sw >= np.median(sw) / DEAD


def _qas(lower, op, bias):
    """What QAS multiplies gradients with, for each channel.

    A real step of w is lr * dL/dw, so an int8 step is dL/dw8 / s_w^2, and one of b is dL/db32 / (s_w s_x)^2.
    """
    sx, sw, sy = scales(lower.graph, op)
    unit = sw * sx if bias else sw
    return lower.const(qas(np.where(alive(sw), sx * sw / sy / unit**2, 0)), np.uint16)


def update(kernel: str) -> Update:
    """The rule that trains the weights with this kernel."""

    def rule(lower, op):
        n = positions(lower, op)
        gy, exp = lower.error(op.outputs[0])
        weights, bits = lower.weights(op), lower.plan.residual
        values = dict(
            gy=gy,
            x=lower.activation(op.inputs[0]),
            kept=weights.fields["kept"],
            gy_exp=exp,
            k=weights.fields["k"],
            r=weights.residual,
            acc=weights.acc,
            u=_qas(lower, op, bias=False),
            lr=lower.lr,
            rng=lower.program.rng if bits != 8 and weights.acc is None else None,
            residual=bits,
            pre=max(0, (n - 1).bit_length() - 7),
            **geometry(lower.graph, op),
            nk=weights.nk,
            zx=lower.graph[op.inputs[0]].zero_point,
            **NO_SCRATCH,
        )
        lower.emit(kernel, values, op.name, phase="backward")

    return rule


def update_bias(lower, op):
    n = positions(lower, op)
    gy, exp = lower.error(op.outputs[0])
    values = dict(
        gy=gy,
        gy_exp=exp,
        bias=lower.bias(op),
        acc=lower.bias_acc(op),
        u=_qas(lower, op, bias=True),
        lr=lower.lr,
        n=n,
        oc=lower.graph[op.outputs[0]].shape[-1],
    )
    lower.emit("bias_dw", values, op.name, phase="backward")


# -- multiplications of a record

OUTPUTS = ("oh", "ow", "oc", "kh", "kw")


def conv_macs(v: dict) -> int:
    """Of a convolution that walks all channels of the frozen tensor, and those of the trained plane."""
    columns = (v["ic"] if v.get("w") is not None else 0) + (v["nk"] if v.get("k") is not None else 0)
    return product(v, OUTPUTS) * columns


CONV_MACS = {"conv_fwd": conv_macs, "conv_dx": conv_macs, "conv_dw": lambda v: product(v, OUTPUTS) * v["nk"]}
