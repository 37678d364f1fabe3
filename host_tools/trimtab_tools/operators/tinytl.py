"""TinyTL's lite residual module: a small trained branch beside a block of the frozen trunk.

An operator `tinytl` has the inputs y, x, w1, affine1, w2, affine2: y leaves the block, x enters it.
Its output is y + upsampled(affine2(norm(w2 * relu(affine1(norm(w1 * pooled(x))))))), in y's quantization.
Weights are int8 with one power of two as scale. Affines are gamma, then beta, with 16 fraction bits; behind
the second norm they count in steps of y. device_lib's plain/tinytl.py has the formats. The file is optional:
everything but the policy `tinytl` runs without it.
"""

import math
from dataclasses import dataclass, field

import numpy as np

from ..graph.geometry import image, same_pad
from ..graph.ir import Graph, Op
from ..graph.program import Buffer, Record
from ..graph.rounding import INT8_MAX, INT8_MIN, factors, qas
from .exact import divide, finish, matmul, window_means, windows
from .operator import NO_SCRATCH, Contribution, Lowering, Operator, product
from .weighted import OUTPUTS

WEIGHT_GAIN, AFFINE_GAIN = 100, 3  # rates beside the head's: the norm makes gradients of weights small
BOUNDS, NORM_CHANNELS = (8, 127), 8  # bounds of gamma and beta: real values, then steps of y


@dataclass(frozen=True)
class Sizes:
    """What the records of a module have in common: pool and convolutions as geometry, channels by group."""

    pool: dict
    convs: tuple  # two
    groups: int  # of the first convolution
    norms: tuple  # channels that are normalized together, for each convolution

    @property
    def positions(self) -> int:
        return self.convs[1]["oh"] * self.convs[1]["ow"]


def sizes(graph: Graph, op: Op) -> Sizes:
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


def pre_shift(geometry: dict, part: int, norm: int) -> int:
    """Bits that sums of products lose, so that those of a group of the norm add up to less than 2^30."""
    most, pre = geometry["kh"] * geometry["kw"] * part * 255 * 127, 0
    while norm * geometry["oh"] * geometry["ow"] * ((most >> pre) + 1) >= 1 << 30:
        pre += 1
    return pre


def norm_channels(channels: int) -> int:
    """Eight, or the divisor next to it."""
    return min((d for d in range(1, channels + 1) if channels % d == 0), key=lambda d: abs(d - NORM_CHANNELS))


# -- the oracle


def params(graph, op):
    """What is joined keeps y's zero point, so there is none to add."""
    zero = graph[op.inputs[1]].zero_point
    return {"x_zero": zero, "y_zero": 0, "act_min": INT8_MIN, "act_max": INT8_MAX}


def oracle(graph, op, p, xs):
    (h, w), w2, affine2 = xs[0].shape[1:3], graph[op.inputs[4]].data, graph[op.inputs[5]].data
    hidden = np.clip(_rsh(before_relu(graph, op, xs[1]), 8), 0, 127)
    made = _rsh(_affine(_normalized(hidden, w2, sizes(graph, op), 1), affine2), 12)
    return finish(xs[0].astype(np.int64) + made.repeat(2, axis=1).repeat(2, axis=2)[:, :h, :w], p)


def before_relu(graph: Graph, op: Op, x: np.ndarray) -> np.ndarray:
    """What the ReLU between the convolutions reads, with 8 fraction bits. x: what the block reads."""
    x, w, affine = x.astype(np.int64), graph[op.inputs[2]].data, graph[op.inputs[3]].data
    pooled = window_means(x, (2, 2), (2, 2), (0, 0, x.shape[1] % 2, x.shape[2] % 2))
    pooled = pooled - graph[op.inputs[1]].zero_point
    return _affine(_normalized(pooled, w, sizes(graph, op), 0), affine)


def _rsh(v, s):
    """v / 2^s to the nearest, ties up."""
    return (v + (1 << np.asarray(s, np.int64) >> 1)) >> s


def _affine(xhat, affine):
    gamma, beta = affine.astype(np.int64)
    return _rsh(gamma, 8) * xhat + _rsh(beta, 4)


def _normalized(x, w, s, i):
    """The sums of convolution i, normalized by groups of channels: int8 with 4 fraction bits."""
    g, norm = s.convs[i], s.norms[i]
    acc = _sums(x, w, g)
    a = _rsh(acc, pre_shift(g, w.shape[-1], norm)).reshape(len(x), -1, g["oc"] // norm, norm)
    axes, n = (1, 3), a.shape[1] * norm
    a = a - divide(a.sum(axes, keepdims=True), n)
    # n squares of so many bits add up to less than 2^30
    spare = _bits(np.abs(a).max(axes, keepdims=True)) - min(11, (29 - int(n - 1).bit_length()) >> 1)
    a = _rsh(a, np.maximum(spare, 0))
    scale, up = _inverse_deviation(np.square(a).sum(axes, keepdims=True), n)
    return np.clip(_rsh(a * scale, 11 + up), -127, 127).reshape(acc.shape)


def _sums(x, w, g):
    """A grouped convolution."""
    part = w.shape[-1]
    width = g["oc"] * part // g["ic"]
    acc = 0
    for ky, kx, view in windows(x, (g["kh"], g["kw"]), (g["sh"], g["sw"]), _padding(g), 0):
        parts = [
            matmul(view[..., c : c + part], w[o : o + width, ky, kx].T)
            for c, o in zip(range(0, g["ic"], part), range(0, g["oc"], width))
        ]
        acc = acc + np.concatenate(parts, axis=-1)
    return acc


def _padding(g):
    """(top, left, bottom, right), so that the last window fits."""
    axes = (("oh", "sh", "kh", "ih", "pt"), ("ow", "sw", "kw", "iw", "pl"))
    behind = (max(0, (g[o] - 1) * g[step] + g[k] - g[n] - g[at]) for o, step, k, n, at in axes)
    return g["pt"], g["pl"], *behind


def _inverse_deviation(squares, n):
    """(sqrt(n / squares) with 15 fraction bits and more, how many more)."""
    up, up_n = (30 - _bits(squares)) & ~1, (30 - n.bit_length()) & ~1
    root = np.maximum(np.floor(np.sqrt(squares << up)).astype(np.int64), 1)
    return ((math.isqrt(n << up_n) << 15) + (root >> 1)) // root, (up_n - up) >> 1


def _bits(v):
    return np.frexp(v.astype(np.float64))[1].astype(np.int64)


# -- state


@dataclass
class Module:
    """The buffers of one module; lists have one entry for each convolution."""

    sizes: Sizes
    weights: list = field(default_factory=list)
    residuals: list = field(default_factory=list)  # None where weights have no fraction plane
    affines: list = field(default_factory=list)
    sums: dict = field(default_factory=dict)  # trained buffer -> its accumulator
    pooled: Buffer | None = None
    xhats: list = field(default_factory=list)
    stats: list = field(default_factory=list)
    errors: tuple = ()  # (error of the first convolution, its exponent)


def module(lower: Lowering, op: Op) -> Module:
    return lower.own[op.name]["module"]


def state(lower, op):
    """Both weights, each with its residual; then both affines."""
    m = lower.own[op.name]["module"] = Module(sizes(lower.graph, op))
    for i, name in enumerate((op.inputs[2], op.inputs[4]), 1):
        w = lower.graph[name].data
        about = dict(tensor=name, role="weights", channels=list(range(w.shape[-1])), axis="in")
        m.weights.append(_keep(lower, op, f"weights{i}", w, np.int8, **about))
        m.residuals.append(_keep_residual(lower, op, i, w.size))
    for i, name in enumerate((op.inputs[3], op.inputs[5]), 1):
        data = lower.graph[name].data
        m.affines.append(_keep(lower, op, f"affine{i}", data, np.int32, tensor=name, role="affine"))


def _keep_residual(lower, op, i, size):
    bits = lower.plan.residual
    if not bits:
        return None
    return _keep(lower, op, f"residual{i}", np.zeros((size * bits + 7) // 8), np.int8, role="residual")


def _keep(lower, op, part, array, dtype, **about):
    return lower.program.keep(f"{op.name}.{part}", array, dtype, **{"layer": op.name, **about})


def sums(lower, op):
    """The records that fold what samples added up."""
    m, keep = module(lower, op), lower.plan.keep
    for i, (k, r, affine) in enumerate(zip(m.weights, m.residuals, m.affines), 1):
        n = affine.size // 4
        m.sums[k] = _keep_sum(lower, op, f"weights{i}.sum", k.size, np.int16)
        m.sums[affine] = _keep_sum(lower, op, f"affine{i}.sum", n, np.int32)
        values = dict(k=k, r=r, acc=m.sums[k], n=k.size, residual=lower.plan.residual, keep=keep)
        yield Record("fold_weights", values, op.name)
        yield Record("fold_bias", dict(bias=affine, acc=m.sums[affine], n=n, keep=keep), op.name)


def _keep_sum(lower, op, part, n, dtype):
    return lower.program.keep(f"{op.name}.{part}", np.zeros(n), dtype, role="sum", layer=op.name)


# -- forward


def forward(lower, op):
    m, x = module(lower, op), lower.graph[op.inputs[1]]
    pool = m.sizes.pool
    m.pooled = Buffer(f"{op.name}: pooled", pool["oh"] * pool["ow"] * pool["oc"])
    values = dict(y=m.pooled, x=lower.activation(op.inputs[1]), **pool, lo=INT8_MIN, hi=INT8_MAX)
    lower.emit("avg_pool_fwd", values, op.name)
    m.xhats, m.stats = [], []
    _conv(lower, op, m, 0, m.pooled, x.zero_point)
    _conv(lower, op, m, 1, _hidden(lower, op, m, "forward"), 0)
    values = dict(
        y=lower.activation(op.outputs[0]),
        x=lower.activation(op.inputs[0]),
        x2=m.xhats[1],
        affine=m.affines[1],
        mask=lower.mask(op.outputs[0]),
        **_join(lower, op, m),
        bound=BOUNDS[1],
        lo=INT8_MIN,
        hi=INT8_MAX,
    )
    lower.emit("tinytl_add_fwd", values, op.name)


def _conv(lower, op, m, i, x, zero):
    """Convolution i and its norm."""
    g, norm = m.sizes.convs[i], m.sizes.norms[i]
    part, positions, norms = lower.graph[op.inputs[2 + 2 * i]].shape[-1], m.sizes.positions, g["oc"] // norm
    xhat = Buffer(f"{op.name}: normalized {i + 1}", positions * g["oc"])
    stats = Buffer(f"{op.name}: statistics {i + 1}", 4 * norms)
    values = dict(
        y=xhat,
        x=x,
        w=m.weights[i],
        sums=Buffer("sums", 4 * norm * positions),
        stats=stats,
        **g,
        part=part,
        norm=norm,
        norms=norms,
        zx=zero,
        pre=pre_shift(g, part, norm),
    )
    lower.emit("tinytl_conv_fwd", values, op.name)
    m.xhats.append(xhat)
    m.stats.append(stats)


def _hidden(lower, op, m, phase):
    """What the second convolution reads: the backward pass computes it again, so that it need not be kept."""
    c = m.sizes.convs[1]["ic"]
    h = Buffer(f"{op.name}: hidden", m.sizes.positions * c)
    values = dict(y=h, x=m.xhats[0], affine=m.affines[0], n=m.sizes.positions, oc=c, bound=BOUNDS[0])
    lower.emit("tinytl_affine_fwd", values, op.name, phase=phase)
    return h


def _join(lower, op, m):
    """The sizes where the branch, half as wide and high, meets the block's output."""
    h, w, c = image(lower.graph[op.outputs[0]].shape)
    return dict(ih=m.sizes.convs[1]["oh"], iw=m.sizes.convs[1]["ow"], oh=h, ow=w, oc=c)


# -- backward: errors from the join down to the first convolution; affines and the second weights move on the
# way


def learn_behind_first(lower: Lowering, op: Op) -> None:
    """All that stands behind the first convolution, as its error passes; the first of the two updates."""
    m, (gy, exp) = module(lower, op), lower.error(op.outputs[0])
    n, (first, second) = m.sizes.positions, m.sizes.convs
    y = lower.graph[op.outputs[0]]
    d = Buffer(f"{op.name}: errors 2", 4 * n * second["oc"])
    lower.emit("tinytl_add_dx", dict(d=d, gy=gy, **_join(lower, op, m)), op.name, phase="backward")
    gy, exp = _norm(lower, op, m, 1, d, exp, 1, y.scale[0], 0)
    h = _hidden(lower, op, m, "backward")
    d = Buffer(f"{op.name}: errors 1", 4 * n * first["oc"])
    values = dict(d=d, gy=gy, w=m.weights[1], n=n, ic=second["ic"], oc=second["oc"])
    lower.emit("tinytl_conv_dx", values, op.name, phase="backward")
    _learn_weights(lower, op, m, 1, gy, exp, h, 0, second)
    m.errors = _norm(lower, op, m, 0, d, exp, m.sizes.groups, 1.0, 4)  # h counts sixteenths


def _norm(lower, op, m, i, d, exp, parts, unit, m_exp):
    """(error of convolution i, its exponent); its affine moves. unit: real value of 1 in gamma and beta."""
    n, oc, norm = m.sizes.positions, m.sizes.convs[i]["oc"], m.sizes.norms[i]
    g, out = Buffer(f"{op.name}: error {i + 1}", n * oc), Buffer("exponent", 4)
    # gamma's gradient counts sixteenths of xhat
    u_gamma, u_beta = map(int, qas([AFFINE_GAIN * 2.0**bits / unit**2 for bits in (12, 16)]))
    values = dict(
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
    )
    lower.emit("tinytl_norm_dx", values, op.name, phase="backward")
    return g, out


def _learn_weights(lower, op, m, i, gy, exp, x, zero, geometry, part=None, kept=None):
    """The weights of one group of convolution i; QAS of a power of two is a shift."""
    at = 0 if part is None else part * m.weights[i].size // m.sizes.groups
    bits = lower.plan.residual
    k, r, acc = m.weights[i], m.residuals[i], m.sums.get(m.weights[i])
    gain = WEIGHT_GAIN / float(lower.graph[op.inputs[2 + 2 * i]].scale[0]) ** 2
    values = dict(
        gy=gy,
        x=x,
        kept=kept,
        gy_exp=exp,
        k=k.at(at),
        r=r.at(at * bits // 8) if r else None,
        acc=acc.at(2 * at) if acc else None,
        u=lower.const(qas([gain] * geometry["oc"]), np.uint16),
        lr=lower.lr,
        rng=lower.program.rng if bits != 8 and acc is None else None,
        residual=bits,
        pre=max(0, (m.sizes.positions - 1).bit_length() - 7),
        **geometry,
        nk=geometry["ic"] if kept is None else kept.size // 2,
        zx=zero,
        **NO_SCRATCH,
    )
    lower.emit("conv_dw", values, op.name, phase="backward")


def _parts(lower, m):
    """(number, geometry, input channels, error) of each group of the first convolution."""
    first, groups = m.sizes.convs[0], m.sizes.groups
    width, part = first["oc"] // groups, first["ic"] // groups
    for j in range(groups):
        kept = lower.const(range(j * part, j * part + part), np.uint16)
        yield j, dict(first, oc=width), kept, m.errors[0].at(j * m.sizes.positions * width)


def learn_first(lower: Lowering, op: Op) -> None:
    """The first weights, after the error below them was computed with what they were."""
    m, zero = module(lower, op), lower.graph[op.inputs[1]].zero_point
    for j, geometry, kept, gy in _parts(lower, m):
        _learn_weights(lower, op, m, 0, gy, m.errors[1], m.pooled, zero, geometry, j, kept)


def gradient(lower, op, index):
    """Of y, as it is; of x, through convolution (group after group) and pool."""
    if index == 0:
        return Contribution(None, {}, 128, -7)
    m, last = module(lower, op), (None, None)
    for j, geometry, kept, gy in _parts(lower, m):
        last = _group_gradient(lower, op, m, j, geometry, kept, gy, *last)
    pool = m.sizes.pool
    m_table, e = factors([1 / n for n in range(1, 5)])
    table = lower.const(m_table, np.int16)
    row = lower.scratch(4 * pool["ic"])
    return Contribution("avg_dx", dict(gy=last[0], gy_exp=last[1], m=table, row=row, **pool, m_exp=e))


def _group_gradient(lower, op, m, j, geometry, kept, gy, add, add_exp):
    """(error of what the pool leaves, its exponent): one group's part and those of the groups before it."""
    g, exp = Buffer(f"{op.name}: error of pooled", m.pooled.size), Buffer("exponent", 4)
    ones = lower.const([128] * geometry["oc"], np.int16)
    values = dict(
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
        g=g,
        mask=None,
        add=add,
        add_exp=add_exp,
        add_mul=128,
        add_shift=-7,
        exp=exp,
        track=lower.tracker(f"{op.name}: pooled"),
        head_exp=lower.head_exp,
        **NO_SCRATCH,
    )
    lower.emit("conv_dx", values, op.name, phase="backward")
    return g, exp


# -- cost


def paper_rows(graph, op, skip):
    """Two convolutions, each with a norm, all trained; a ReLU between them."""
    for i, g in enumerate(sizes(graph, op).convs):
        w, channels = graph[op.inputs[2 + 2 * i]], g["oc"]
        n = g["oh"] * g["ow"] * channels
        sizes_of = dict(x=product(g, ("ih", "iw", "ic")), y=n, channels=channels, weights=w.size)
        macs, groups = n * w.size // channels, g["ic"] // w.shape[-1]
        yield dict(sizes_of, kind="conv", groups=groups, macs=macs, skip=skip, share=1, learns=True)
        after = dict(x=n, y=n, channels=channels, skip=skip, learns=True)
        yield dict(after, kind="norm", weights=channels, biases=channels, share=1, bias=True)
        if i == 0:
            yield dict(after, kind="relu")


OPERATOR = Operator(
    "tinytl",
    attributes=("stride", "detached"),  # detached: inputs to which no error goes back
    activations=2,
    params=params,
    oracle=oracle,
    forward=forward,
    gradient=gradient,
    update=learn_first,
    update_bias=learn_behind_first,
    masks=True,
    state=state,
    sums=sums,
    macs={
        "tinytl_conv_fwd": lambda v: product(v, OUTPUTS) * v["part"],
        "tinytl_conv_dx": lambda v: product(v, ("n", "ic", "oc")),
    },
    paper="none",
    paper_rows=paper_rows,
)
