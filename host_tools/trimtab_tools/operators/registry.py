"""One row per operator: the step of its forward pass, the steps of its gradient, what forward keeps for them.

A rule gets a Lowering (compiler/lowering.py), which hands out buffers, constants and slots. Forward rules append steps.
Gradient rules answer, for one input, with a Contribution: either a kernel that writes an error tensor, or, where the
error is only gy times a number, that number, so that another kernel can add it in passing.
"""

import math
from dataclasses import dataclass

import numpy as np

from ..errors import ModelError
from ..graph.rounding import params


@dataclass
class Contribution:
    """kernel and fields of the step that computes dx; or, kernel None, dx = gy * m * 2^m_exp on the same shape."""

    kernel: str | None
    values: dict
    m: int = 0
    m_exp: int = 0


@dataclass(frozen=True)
class Row:
    forward: object  # (lowering, op) -> None
    gradient: object = None  # (lowering, op, input index) -> Contribution
    update: object = None  # (lowering, op) -> None: the trained weights
    update_bias: object = None  # (lowering, op) -> None
    masks: bool = False  # forward can write the mask of its clamp
    state: object = (
        None  # (lowering, op) -> None: trained state of its own, remembered in lowering.own[op.name]
    )
    sums: object = None  # (lowering, op) -> the records that fold sums of updates into that state


# -- numbers --------------------------------------------------------------------------------------------------------


def mantissa(real, bits):
    """real ~ m * 2^e with m in [2^(bits-1), 2^bits)."""
    if real <= 0:
        return 0, 0
    fraction, e = math.frexp(real)
    m = round(fraction * (1 << bits))
    if m == 1 << bits:
        m, e = m >> 1, e + 1
    return m, e - bits


def factors(reals):
    """15-bit multipliers with one common exponent: reals[i] ~ m[i] * 2^e."""
    top = max(float(np.max(reals)), 1e-30)
    e = math.frexp(top)[1] - 15
    return np.minimum(np.rint(np.asarray(reals, np.float64) / 2.0**e), 32767).astype(np.int16), e


def qas(reals):
    """Update multipliers as uint16: 8-bit mantissa, shift + 128 above it; 0 where a channel is skipped."""
    words = []
    for real in reals:
        m, e = mantissa(real, 8)
        if m and not -128 <= -e <= 127:
            m, e = (0, 0) if e < 0 else (255, 128)
        words.append(m | (128 - e) << 8 if m else 0)
    return np.array(words, np.uint16)


def scales(graph, op):
    """(s_x, s_w per output channel, s_y) of a layer with weights."""
    x, w, y = graph[op.inputs[0]], graph[op.inputs[1]], graph[op.outputs[0]]
    channels = w.shape[-1] if op.kind == "depthwise" else w.shape[0]
    return x.scale[0], np.broadcast_to(np.asarray(w.scale, np.float64), (channels,)), y.scale[0]


NO_SCRATCH = dict(scratch=None, words=1)  # until it is known what memory is free at that step (lifetimes.py)


def image(shape):
    """Any activation shape as (height, width, channels)."""
    sizes = tuple(shape[1:]) if len(shape) > 1 else tuple(shape)
    return (1,) * (3 - len(sizes)) + sizes if len(sizes) <= 3 else (math.prod(sizes[:-2]), *sizes[-2:])


def geometry(graph, op):
    """The twelve words that conv, depthwise and pool records share; a dense layer is a 1x1 conv on a 1x1 map."""
    x, y = graph[op.inputs[0]], graph[op.outputs[0]]
    if op.kind == "dense":
        n_in, n_out = graph[op.inputs[1]].shape[1], graph[op.inputs[1]].shape[0]
        rows = x.size // n_in
        return dict(ih=1, iw=rows, ic=n_in, oh=1, ow=rows, oc=n_out, kh=1, kw=1, sh=1, sw=1, pt=0, pl=0)
    (ih, iw, ic), (oh, ow, oc) = image(x.shape), image(y.shape)
    if op.kind == "mean":
        return dict(ih=ih, iw=iw, ic=ic, oh=1, ow=1, oc=ic, kh=ih, kw=iw, sh=1, sw=1, pt=0, pl=0)
    if "kernel" in op.attrs:
        kh, kw = op.attrs["kernel"]
    else:
        kh, kw = graph[op.inputs[1]].shape[1:3]
    (sh, sw), pad = op.attrs["stride"], op.attrs["pad"]
    return dict(ih=ih, iw=iw, ic=ic, oh=oh, ow=ow, oc=oc, kh=kh, kw=kw, sh=sh, sw=sw, pt=pad[0], pl=pad[1])


# -- layers with weights --------------------------------------------------------------------------------------------


def conv_forward(lower, op, **changes):
    p = params(lower.graph, op)
    g = geometry(lower.graph, op)
    weights = lower.weights(op)
    values = dict(
        y=lower.activation(op.outputs[0]),
        x=lower.activation(op.inputs[0]),
        **weights.fields,
        bias=lower.bias(op),
        mult=lower.const(p["multiplier"], np.int32),
        shift=lower.const(p["shift"], np.int8),
        mask=lower.mask(op.outputs[0]),
        **g,
        nk=weights.nk,
        zx=p["x_zero"],
        zy=p["y_zero"],
        lo=p["act_min"],
        hi=p["act_max"],
        **NO_SCRATCH,
    )
    values.update(changes)
    if op.kind == "depthwise":
        lower.emit("depthwise_fwd", dict(values, plane=None), op.name)
    else:
        lower.emit("conv_fwd", dict(values, once=int(op.kind == "dense")), op.name)


def conv_gradient(lower, op, index):
    """The shift of d keeps |dx| below 2^30: terms * (127 * 2^15 >> shift) * 127."""
    g = geometry(lower.graph, op)
    sx, sw, sy = scales(lower.graph, op)
    m, e = factors(sx * sw / sy)
    terms = -(-g["kh"] // g["sh"]) * -(-g["kw"] // g["sw"])
    terms *= g["oc"] // g["ic"] if op.kind == "depthwise" else g["oc"]
    shift = 8
    while terms * ((127 * 32767 >> shift) + 1) * 127 > 1 << 30:
        shift += 1
    weights = lower.weights(op)
    values = dict(
        **weights.fields, m=lower.const(m, np.int16), **g, nk=weights.nk, m_shift=shift, m_exp=e, **NO_SCRATCH
    )
    if op.kind == "depthwise":
        return Contribution("depthwise_dx", dict(values, plane=None))
    return Contribution("conv_dx", dict(values, row=lower.scratch(4 * g["ic"])))


def _steps(lower, op, bias):
    """QAS: real steps of w are lr * dL/dw, so the int8 ones are dL/dw8 / s_w^2; of b, dL/db32 / (s_w s_x)^2."""
    sx, sw, sy = scales(lower.graph, op)
    unit = sw * sx if bias else sw
    return lower.const(qas(np.where(sw >= np.median(sw) / 1000, sx * sw / sy / unit**2, 0)), np.uint16)


def positions(lower, op):
    g = geometry(lower.graph, op)
    n = g["oh"] * g["ow"]
    if n > 32768:
        raise ModelError(f"layer {op.name} has {n} output positions: train layers with at most 32768")
    return g, n


def conv_update(lower, op):
    g, n = positions(lower, op)
    gy, exp = lower.error(op.outputs[0])
    weights = lower.weights(op)
    lower.emit(
        "depthwise_dw" if op.kind == "depthwise" else "conv_dw",
        dict(
            gy=gy,
            x=lower.activation(op.inputs[0]),
            kept=weights.fields["kept"],
            gy_exp=exp,
            k=weights.fields["k"],
            r=weights.residual,
            acc=weights.acc,
            u=_steps(lower, op, bias=False),
            lr=lower.lr,
            rng=lower.program.rng if lower.plan.residual != 8 and weights.acc is None else None,
            residual=lower.plan.residual,
            pre=max(0, (n - 1).bit_length() - 7),
            **g,
            nk=weights.nk,
            zx=lower.graph[op.inputs[0]].zero_point,
            **NO_SCRATCH,
        ),
        op.name,
        phase="backward",
    )


def bias_update(lower, op):
    g, n = positions(lower, op)
    gy, exp = lower.error(op.outputs[0])
    lower.emit(
        "bias_dw",
        dict(
            gy=gy,
            gy_exp=exp,
            bias=lower.bias(op),
            acc=lower.bias_acc(op),
            u=_steps(lower, op, bias=True),
            lr=lower.lr,
            n=n,
            oc=g["oc"],
        ),
        op.name,
        phase="backward",
    )


# -- the others -----------------------------------------------------------------------------------------------------


def _add_forward(lower, op):
    graph = lower.graph
    if graph[op.inputs[0]].shape != graph[op.inputs[1]].shape:
        raise ModelError(
            f"layer {op.name}: add of different shapes is not supported: give both inputs one shape"
        )
    p = params(graph, op)
    m, s = p["multiplier"], p["shift"]
    lower.emit(
        "add_fwd",
        dict(
            y=lower.activation(op.outputs[0]),
            x=lower.activation(op.inputs[0]),
            x2=lower.activation(op.inputs[1]),
            mask=lower.mask(op.outputs[0]),
            n=graph[op.outputs[0]].size,
            zx=p["a_zero"],
            zx2=p["b_zero"],
            zy=p["y_zero"],
            mult=m[0],
            shift=s[0],
            mult2=m[1],
            shift2=s[1],
            mult_y=m[2],
            shift_y=s[2],
            lo=p["act_min"],
            hi=p["act_max"],
        ),
        op.name,
    )


def _add_gradient(lower, op, index):
    y = lower.graph[op.outputs[0]]
    m, e = factors([lower.graph[n].scale[0] / y.scale[0] for n in op.inputs])
    return Contribution(None, {}, int(m[index]), e)


def _same_scale(lower, op, index):
    return Contribution(None, {}, 128, -7)


def rescale_gradient(lower, op, index):
    m, e = factors([lower.graph[op.inputs[0]].scale[0] / lower.graph[op.outputs[0]].scale[0]])
    return Contribution(None, {}, int(m[0]), e)


def _requantize_forward(lower, op):
    p = params(lower.graph, op)
    lower.emit(
        "requantize_fwd",
        dict(
            y=lower.activation(op.outputs[0]),
            x=lower.activation(op.inputs[0]),
            mask=lower.mask(op.outputs[0]),
            n=lower.graph[op.outputs[0]].size,
            zx=p["x_zero"],
            zy=p["y_zero"],
            mult=p["multiplier"],
            shift=p["shift"],
        ),
        op.name,
    )


def _pool_forward(kernel):
    def forward(lower, op):
        p = params(lower.graph, op)
        lower.emit(
            kernel,
            dict(
                y=lower.activation(op.outputs[0]),
                x=lower.activation(op.inputs[0]),
                **geometry(lower.graph, op),
                lo=p["act_min"],
                hi=p["act_max"],
            ),
            op.name,
        )

    return forward


def _open_pool(lower, op):
    """A pool's own clamp has no mask: it must not bite, as after a layer with the same activation it does not."""
    p, x = params(lower.graph, op), lower.graph[op.inputs[0]]
    if (p["act_min"], p["act_max"]) != (-128, 127) and not (x.zero_point == p["act_min"] == -128):
        raise ModelError(
            f"layer {op.name}: training below a pool with an activation of its own is not supported: "
            "train later layers"
        )


def _avg_gradient(lower, op, index):
    _open_pool(lower, op)
    g = geometry(lower.graph, op)
    ratio = lower.graph[op.inputs[0]].scale[0] / lower.graph[op.outputs[0]].scale[0]
    m, e = factors([ratio / n for n in range(1, g["kh"] * g["kw"] + 1)])
    if op.kind == "mean":  # every window is full, so only the last entry counts: give it all 15 bits
        last, e = factors([ratio / (g["kh"] * g["kw"])])
        m = np.full(g["kh"] * g["kw"], last[0])
    return Contribution(
        "avg_dx", dict(m=lower.const(m, np.int16), row=lower.scratch(4 * g["ic"]), **g, m_exp=e)
    )


def _max_gradient(lower, op, index):
    _open_pool(lower, op)
    g = geometry(lower.graph, op)
    return Contribution("max_dx", dict(x=lower.activation(op.inputs[0]), row=lower.scratch(4 * g["ic"]), **g))


def _mean_forward(lower, op):
    x = lower.graph[op.inputs[0]]
    if tuple(op.attrs["axes"]) != (1, 2):
        raise ModelError(f"layer {op.name}: mean over axes {op.attrs['axes']} is not supported: use (1, 2)")
    p = params(lower.graph, op)
    h, w, c = image(x.shape)
    lower.emit(
        "mean_fwd",
        dict(
            y=lower.activation(op.outputs[0]),
            x=lower.activation(op.inputs[0]),
            mask=lower.mask(op.outputs[0]),
            n=h * w,
            ic=c,
            zx=p["x_zero"],
            zy=p["y_zero"],
            mult=p["multiplier"],
            shift=p["shift"],
        ),
        op.name,
    )


def lut_forward(lower, op):
    table = np.roll(params(lower.graph, op)["table"], 128)  # from byte order to x + 128
    lower.emit(
        "lut_fwd",
        dict(
            y=lower.activation(op.outputs[0]),
            x=lower.activation(op.inputs[0]),
            table=lower.const(table, np.int8),
            n=lower.graph[op.outputs[0]].size,
        ),
        op.name,
    )


def _lut_gradient(lower, op, index):
    """Slope of the real function at each of the 256 inputs, times s_x / s_y; 0 where the output is clipped."""
    x, y = lower.graph[op.inputs[0]], lower.graph[op.outputs[0]]
    real = (np.arange(-128, 128) - x.zero_point) * x.scale[0]
    out = FUNCTIONS[op.kind](real) / y.scale[0] + y.zero_point
    slope = SLOPES[op.kind](real) * x.scale[0] / y.scale[0]
    slope = np.where((out < -128.5) | (out > 127.5), 0, slope)
    e = math.frexp(max(float(np.abs(slope).max()), 1e-30))[1] - 15
    table = np.clip(np.rint(slope / 2.0**e), -32767, 32767)
    ih, iw, ic = image(x.shape)
    return Contribution(
        "lut_dx",
        dict(
            x=lower.activation(op.inputs[0]),
            slope=lower.const(table, np.int16),
            row=lower.scratch(4 * ic),
            ih=ih,
            iw=iw,
            ic=ic,
            m_exp=e,
        ),
    )


def _sigmoid(v):
    return 1 / (1 + np.exp(-v))


FUNCTIONS = {
    "relu": lambda v: np.maximum(v, 0),
    "relu6": lambda v: np.clip(v, 0, 6),
    "hard_swish": lambda v: v * np.clip(v + 3, 0, 6) / 6,
    "logistic": _sigmoid,
}
SLOPES = {
    "relu": lambda v: np.where(v > 0, 1.0, 0.0),
    "relu6": lambda v: np.where((v > 0) & (v < 6), 1.0, 0.0),
    "hard_swish": lambda v: np.where(v <= -3, 0.0, np.where(v >= 3, 1.0, v / 3 + 0.5)),
    "logistic": lambda v: _sigmoid(v) * (1 - _sigmoid(v)),
}


def _pad_forward(lower, op):
    graph = lower.graph
    (ih, iw, ic), (yh, yw, yc) = image(graph[op.inputs[0]].shape), image(graph[op.outputs[0]].shape)
    lower.emit(
        "copy_fwd",
        dict(
            y=lower.activation(op.outputs[0]),
            x=lower.activation(op.inputs[0]),
            ih=ih,
            iw=iw,
            ic=ic,
            yh=yh,
            yw=yw,
            yc=yc,
            fill=params(graph, op)["fill"],
            **_pad_window(lower, op, 0),
        ),
        op.name,
    )


def _pad_window(lower, op, index):
    pads = list(op.attrs["pad"])
    if tuple(pads[0]) != (0, 0):
        raise ModelError(f"layer {op.name}: pads the batch: remove that pad")
    before = [0] * (3 - len(pads[1:])) + [a for a, _ in pads[1:]]
    return dict(top=before[0], left=before[1], first=before[2])


def _concat_forward(lower, op):
    graph = lower.graph
    yh, yw, yc = image(graph[op.outputs[0]].shape)
    for index, name in enumerate(op.inputs):
        ih, iw, ic = image(graph[name].shape)
        lower.emit(
            "copy_fwd",
            dict(
                y=lower.activation(op.outputs[0]),
                x=lower.activation(name),
                ih=ih,
                iw=iw,
                ic=ic,
                yh=yh,
                yw=yw,
                yc=yc,
                fill=256,
                **_concat_window(lower, op, index),
            ),
            op.name,
        )


def _concat_window(lower, op, index):
    shapes = [lower.graph[n].shape for n in op.inputs]
    axis = op.attrs["axis"] % len(shapes[0])
    at = sum(s[axis] for s in shapes[:index])
    where = axis - 1 + 3 - (len(shapes[0]) - 1)
    if axis == 0:
        raise ModelError(f"layer {op.name}: joins batches: concatenate along another axis")
    return {name: at if i == where else 0 for i, name in enumerate(("top", "left", "first"))}


def _window_gradient(window):
    """pad and concat: the part of gy that came from this input, unscaled."""

    def gradient(lower, op, index):
        (ih, iw, ic), (yh, yw, yc) = (
            image(lower.graph[op.inputs[index]].shape),
            image(lower.graph[op.outputs[0]].shape),
        )
        return Contribution(
            "scale_dx",
            dict(
                row=lower.scratch(4 * ic),
                ih=ih,
                iw=iw,
                ic=ic,
                yh=yh,
                yw=yw,
                yc=yc,
                m=128,
                m_exp=-7,
                **window(lower, op, index),
            ),
        )

    return gradient


def _softmax_forward(lower, op):
    y = lower.graph[op.outputs[0]]
    lower.emit(
        "softmax_fwd",
        dict(
            y=lower.activation(op.outputs[0]),
            x=lower.activation(op.inputs[0]),
            table=lower.const(params(lower.graph, op)["table"], np.int32),
            rows=y.size // y.shape[-1],
            n=y.shape[-1],
        ),
        op.name,
    )


_WEIGHTED = Row(conv_forward, conv_gradient, conv_update, bias_update, masks=True)
_LUT = Row(lut_forward, _lut_gradient)
ROWS = {
    "conv": _WEIGHTED,
    "depthwise": _WEIGHTED,
    "dense": _WEIGHTED,
    "add": Row(_add_forward, _add_gradient, masks=True),
    "avg_pool": Row(_pool_forward("avg_pool_fwd"), _avg_gradient),
    "max_pool": Row(_pool_forward("max_pool_fwd"), _max_gradient),
    "mean": Row(_mean_forward, _avg_gradient, masks=True),
    "relu": _LUT,
    "relu6": _LUT,
    "hard_swish": _LUT,
    "logistic": _LUT,
    "pad": Row(_pad_forward, _window_gradient(_pad_window)),
    "concat": Row(_concat_forward, _window_gradient(_concat_window)),
    "requantize": Row(_requantize_forward, rescale_gradient, masks=True),
    "softmax": Row(_softmax_forward),
}


def row(op):
    """The rules of an operator; those that a policy has marked have others."""
    if "step" in op.attrs:
        from ..policies import mobiletl

        return mobiletl.ROWS[op.attrs["step"]]
    if op.kind == "lite":
        from . import tinytl

        return tinytl.ROW
    return ROWS[op.kind]
