"""Lite residual modules in a program: sizes, state, the steps of their forward pass and gradients.

An operator `lite` has inputs y, x, w1, affine1, w2, affine2: y is what a block of the frozen trunk leaves, x
what it reads. Its output is y + upsampled(affine2(norm(w2 * relu(affine1(norm(w1 * pooled(x))))))), in y's
quantization. Weights are int8 with one power of two as scale; affines are gamma, then beta, with 16 fraction
bits, behind the second norm in steps of y.
"""

import math
from dataclasses import dataclass, field

import numpy as np

from ..graph.ir import same_pad
from ..graph.program import Buffer, Step
from .registry import Contribution, Row, factors, image, qas

WEIGHT_GAIN, AFFINE_GAIN = 100, 3  # rates beside the head's: the norm makes gradients of weights small
BOUNDS = 8, 127  # of gamma and beta: real values, then steps of y
NORM_CHANNELS = 8


@dataclass(frozen=True)
class Sizes:
    """What the records of a module have in common: pool and convolutions as geometry, channels by group."""

    pool: dict
    convs: tuple  # two
    groups: int  # of the first convolution
    norms: tuple  # channels that are normalized together, for each convolution

    @property
    def positions(self):
        return self.convs[1]["oh"] * self.convs[1]["ow"]


def sizes(graph, op):
    (ih, iw, ic), oc = image(graph[op.inputs[1]].shape), graph[op.inputs[0]].shape[-1]
    mid, k, _, part = graph[op.inputs[2]].shape
    ph, pw = (ih + 1) // 2, (iw + 1) // 2
    sh, sw = op.attrs["stride"]
    pad = same_pad((ph, pw), (k, k), (sh, sw))
    oh, ow = -(-ph // sh), -(-pw // sw)
    pool = dict(ih=ih, iw=iw, ic=ic, oh=ph, ow=pw, oc=ic, kh=2, kw=2, sh=2, sw=2, pt=0, pl=0)
    first = dict(ih=ph, iw=pw, ic=ic, oh=oh, ow=ow, oc=mid, kh=k, kw=k, sh=sh, sw=sw, pt=pad[0], pl=pad[1])
    second = dict(ih=oh, iw=ow, ic=mid, oh=oh, ow=ow, oc=oc, kh=1, kw=1, sh=1, sw=1, pt=0, pl=0)
    return Sizes(pool, (first, second), ic // part, tuple(norm_channels(c) for c in (mid, oc)))


def pre_shift(geometry, part, norm):
    """Bits that sums of products lose, so that those of a group of the norm add up to less than 2^30."""
    most, pre = geometry["kh"] * geometry["kw"] * part * 255 * 127, 0
    while norm * geometry["oh"] * geometry["ow"] * ((most >> pre) + 1) >= 1 << 30:
        pre += 1
    return pre


def norm_channels(channels):
    """Eight, or the divisor next to it."""
    return min((d for d in range(1, channels + 1) if channels % d == 0), key=lambda d: abs(d - NORM_CHANNELS))


# -- state


@dataclass
class Module:
    """The buffers of one module; lists have one entry for each convolution, or each group of the first."""

    sizes: Sizes
    weights: list = field(default_factory=list)
    residuals: list = field(default_factory=list)
    affines: list = field(default_factory=list)
    sums: dict = field(default_factory=dict)  # trained buffer -> its accumulator
    pooled: Buffer | None = None
    xhats: list = field(default_factory=list)
    stats: list = field(default_factory=list)
    errors: tuple = ()  # (error of the first convolution, its exponent)


def state(lower, op):
    """The module with its weights, their residuals, its affines."""
    made, bits = Module(sizes(lower.graph, op)), lower.plan.residual
    for i, name in enumerate((op.inputs[2], op.inputs[4]), 1):
        w = lower.graph[name].data
        made.weights.append(
            lower.program.keep(
                f"{op.name}.weights{i}",
                w,
                np.int8,
                layer=op.name,
                tensor=name,
                role="weights",
                channels=list(range(w.shape[-1])),
                axis="in",
            )
        )
        made.residuals.append(
            lower.program.keep(
                f"{op.name}.residual{i}",
                np.zeros((w.size * bits + 7) // 8),
                np.int8,
                layer=op.name,
                role="residual",
            )
            if bits
            else None
        )
    for i, name in enumerate((op.inputs[3], op.inputs[5]), 1):
        made.affines.append(
            lower.program.keep(
                f"{op.name}.affine{i}",
                lower.graph[name].data,
                np.int32,
                layer=op.name,
                tensor=name,
                role="affine",
            )
        )
    lower.own[op.name]["module"] = made


def sums(lower, op):
    """The records that fold what samples added up."""
    module = _module(lower, op)
    for i, (k, r, affine) in enumerate(zip(module.weights, module.residuals, module.affines), 1):
        n = affine.size // 4
        module.sums[k] = lower.program.keep(
            f"{op.name}.weights{i}.sum", np.zeros(k.size), np.int16, role="sum", layer=op.name
        )
        module.sums[affine] = lower.program.keep(
            f"{op.name}.affine{i}.sum", np.zeros(n), np.int32, role="sum", layer=op.name
        )
        yield Step(
            "fold_weights",
            dict(k=k, r=r, acc=module.sums[k], n=k.size, residual=lower.plan.residual, keep=lower.plan.keep),
            op.name,
        )
        yield Step(
            "fold_bias", dict(bias=affine, acc=module.sums[affine], n=n, keep=lower.plan.keep), op.name
        )


def _module(lower, op):
    return lower.own[op.name]["module"]


# -- forward


def _forward(lower, op):
    m, x = _module(lower, op), lower.graph[op.inputs[1]]
    s, y = m.sizes, lower.graph[op.outputs[0]]
    m.pooled = Buffer(f"{op.name}: pooled", s.pool["oh"] * s.pool["ow"] * s.pool["oc"])
    lower.emit(
        "avg_pool_fwd", dict(y=m.pooled, x=lower.activation(op.inputs[1]), **s.pool, lo=-128, hi=127), op.name
    )
    _conv(lower, op, m, 0, m.pooled, x.zero_point)
    _conv(lower, op, m, 1, _relu(lower, op, m, "forward"), 0)
    lower.emit(
        "tinytl_add_fwd",
        dict(
            y=lower.activation(op.outputs[0]),
            x=lower.activation(op.inputs[0]),
            x2=m.xhats[1],
            affine=m.affines[1],
            mask=lower.mask(op.outputs[0]),
            **_join(s, y),
            bound=BOUNDS[1],
            lo=-128,
            hi=127,
        ),
        op.name,
    )


def _conv(lower, op, m, i, x, zero):
    g, norm = m.sizes.convs[i], m.sizes.norms[i]
    part, positions = lower.graph[op.inputs[2 + 2 * i]].shape[-1], m.sizes.positions
    xhat = Buffer(f"{op.name}: normalized {i + 1}", positions * g["oc"])
    stats = Buffer(f"{op.name}: statistics {i + 1}", 4 * (g["oc"] // norm))
    lower.emit(
        "tinytl_conv_fwd",
        dict(
            y=xhat,
            x=x,
            w=m.weights[i],
            sums=Buffer("sums", 4 * norm * positions),
            stats=stats,
            **g,
            part=part,
            norm=norm,
            norms=g["oc"] // norm,
            zx=zero,
            pre=pre_shift(g, part, norm),
        ),
        op.name,
    )
    m.xhats.append(xhat)
    m.stats.append(stats)


def _relu(lower, op, m, phase):
    """What the second convolution reads: made again for the backward pass, not kept."""
    c = m.sizes.convs[1]["ic"]
    h = Buffer(f"{op.name}: hidden", m.sizes.positions * c)
    lower.emit(
        "tinytl_affine_fwd",
        dict(y=h, x=m.xhats[0], affine=m.affines[0], n=m.sizes.positions, oc=c, bound=BOUNDS[0]),
        op.name,
        phase=phase,
    )
    return h


def _join(s, y):
    h, w, c = image(y.shape)
    return dict(ih=s.convs[1]["oh"], iw=s.convs[1]["ow"], oh=h, ow=w, oc=c)


# -- backward


def _errors(lower, op):
    """Errors from the join down to the first convolution; affines and the second weights move on the way."""
    m, (gy, exp) = _module(lower, op), lower.error(op.outputs[0])
    n, (first, second) = m.sizes.positions, m.sizes.convs
    y = lower.graph[op.outputs[0]]
    d = Buffer(f"{op.name}: errors 2", 4 * n * second["oc"])
    lower.emit("tinytl_add_dx", dict(d=d, gy=gy, **_join(m.sizes, y)), op.name, phase="backward")
    gy, exp = _norm(lower, op, m, 1, d, exp, 1, y.scale[0], 0)
    h = _relu(lower, op, m, "backward")
    d = Buffer(f"{op.name}: errors 1", 4 * n * first["oc"])
    lower.emit(
        "tinytl_conv_dx",
        dict(d=d, gy=gy, w=m.weights[1], n=n, ic=second["ic"], oc=second["oc"]),
        op.name,
        phase="backward",
    )
    _update(lower, op, m, 1, gy, exp, h, 0, second)
    m.errors = _norm(lower, op, m, 0, d, exp, m.sizes.groups, 1.0, 4)  # h counts sixteenths


def _norm(lower, op, m, i, d, exp, parts, unit, m_exp):
    """(error of convolution i, its exponent). unit: real value of 1 in gamma and beta."""
    n, oc, norm = m.sizes.positions, m.sizes.convs[i]["oc"], m.sizes.norms[i]
    g, out = Buffer(f"{op.name}: error {i + 1}", n * oc), Buffer("exponent", 4)
    # gamma's gradient counts sixteenths of xhat
    u_gamma, u_beta = map(int, qas([AFFINE_GAIN * 2.0**bits / unit**2 for bits in (12, 16)]))
    lower.emit(
        "tinytl_norm_dx",
        dict(
            g=g,
            exp=out,
            sums=d,
            x=m.xhats[i],
            stats=m.stats[i],
            affine=m.affines[i],
            acc=m.sums.get(m.affines[i]),
            gy_exp=exp,
            lr=lower.lr,
            n=n,
            oc=oc,
            norm=norm,
            norms=oc // norm,
            parts=parts,
            relu=1 - i,
            bound=BOUNDS[i],
            m_exp=m_exp,
            u_gamma=u_gamma,
            u_beta=u_beta,
            pre=max(0, (n - 1).bit_length() - 3),
        ),
        op.name,
        phase="backward",
    )
    return g, out


def _update(lower, op, m, i, gy, exp, x, zero, geometry, part=None, kept=None):
    """The weights of one group of convolution i; QAS of a power of two is a shift."""
    at = 0 if part is None else part * m.weights[i].size // m.sizes.groups
    bits, oc = lower.plan.residual, geometry["oc"]
    k, r, acc = m.weights[i], m.residuals[i], m.sums.get(m.weights[i])
    gain = WEIGHT_GAIN / float(lower.graph[op.inputs[2 + 2 * i]].scale[0]) ** 2
    lower.emit(
        "conv_dw",
        dict(
            gy=gy,
            x=x,
            kept=kept,
            gy_exp=exp,
            k=k.at(at),
            r=r.at(at * bits // 8) if r else None,
            acc=acc.at(2 * at) if acc else None,
            u=lower.const(qas([gain] * oc), np.uint16),
            lr=lower.lr,
            rng=lower.program.rng if bits != 8 and acc is None else None,
            residual=bits,
            pre=max(0, (m.sizes.positions - 1).bit_length() - 7),
            **geometry,
            nk=geometry["ic"] if kept is None else kept.size // 2,
            zx=zero,
            scratch=None,
            words=1,
        ),
        op.name,
        phase="backward",
    )


def _parts(lower, m):
    """(number, geometry, input channels, error) of each group of the first convolution."""
    first, groups = m.sizes.convs[0], m.sizes.groups
    width, part = first["oc"] // groups, first["ic"] // groups
    for j in range(groups):
        yield (
            j,
            dict(first, oc=width),
            lower.const(range(j * part, j * part + part), np.uint16),
            m.errors[0].at(j * m.sizes.positions * width),
        )


def _learn(lower, op):
    """The first weights, after the errors went through them."""
    m = _module(lower, op)
    for j, geometry, kept, gy in _parts(lower, m):
        _update(
            lower,
            op,
            m,
            0,
            gy,
            m.errors[1],
            m.pooled,
            lower.graph[op.inputs[1]].zero_point,
            geometry,
            j,
            kept,
        )


def _gradient(lower, op, index):
    """Of y, as it is; of x, through convolution (group after group) and pool."""
    if index == 0:
        return Contribution(None, {}, 128, -7)
    m, last = _module(lower, op), None
    for j, geometry, kept, gy in _parts(lower, m):
        made = Buffer(f"{op.name}: error of pooled", m.pooled.size), Buffer("exponent", 4)
        ones = lower.const([128] * geometry["oc"], np.int16)
        lower.emit(
            "conv_dx",
            dict(
                gy=gy,
                w=None,
                k=m.weights[0].at(j * m.weights[0].size // m.sizes.groups),
                kept=kept,
                m=ones,
                row=lower.scratch(4 * geometry["ic"]),
                gy_exp=m.errors[1],
                **geometry,
                nk=kept.size // 2,
                m_shift=7,
                m_exp=-7,
                g=made[0],
                mask=None,
                add=last[0] if last else None,
                add_exp=last[1] if last else None,
                add_mul=128,
                add_shift=-7,
                exp=made[1],
                track=lower.tracker(f"{op.name}: pooled"),
                head_exp=lower.head_exp,
                scratch=None,
                words=1,
            ),
            op.name,
            phase="backward",
        )
        last = made
    pool = m.sizes.pool
    table, e = factors([1 / n for n in range(1, 5)])
    return Contribution(
        "avg_dx",
        dict(
            gy=last[0],
            gy_exp=last[1],
            m=lower.const(table, np.int16),
            row=lower.scratch(4 * pool["ic"]),
            **pool,
            m_exp=e,
        ),
    )


ROW = Row(_forward, _gradient, _learn, _errors, masks=True, state=state, sums=sums)


# -- the start


def start(mid, k, part, oc, step, rng):
    """(data, scale) of w1, affine1, w2, affine2: Kaiming's weights; a second gamma of 0 changes nothing."""
    w1, w2 = _kaiming((mid, k, k, part), rng), _kaiming((oc, 1, 1, mid), rng)
    affine = np.stack([np.full(mid, 1 << 16), np.zeros(mid)]).astype(np.int32)
    return w1, (affine, 2.0**-16), w2, (np.zeros((2, oc), np.int32), step * 2.0**-16)


def _kaiming(shape, rng):
    """Normal weights, 10 to 20 steps wide: room to grow sixfold."""
    sigma = math.sqrt(2 / math.prod(shape[1:]))
    bits = math.floor(math.log2(20 / sigma))
    return np.clip(np.rint(rng.standard_normal(shape) * sigma * 2.0**bits), -127, 127).astype(
        np.int8
    ), 2.0**-bits
