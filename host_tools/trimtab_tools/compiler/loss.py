"""Both ends of a time line: raw bytes become the input; the output is scored and sends the first error."""

import math

import numpy as np
from trimtab.format import LOSSES

from ..graph.head import COSINES
from ..graph.program import Buffer
from ..graph.rounding import mantissa
from ..operators.operator import Lowering
from ..policies.head import weight_limit
from ..policies.hook import Pixels
from ..samples import raw_map
from .autodiff import first_error, mask_of

EXP_TABLE = np.rint(32767 * np.exp(-np.arange(256) / 16))
LN_TABLE = np.rint(1024 * np.log((128.5 + np.arange(128)) / 128))
PROTOTYPE_UNIT = COSINES / 16384  # of a logit
WINDOW = 32  # samples of which a prototype is the mean while a network trains
ENROLLED = 65535  # the same while classes are enrolled


def map_input(lower: Lowering, pixels: Pixels | None) -> None:
    """Raw bytes to int8. pixels: real values of raw 0 and 255; without them the whole range is used."""
    x, place = lower.graph[lower.graph.inputs[0]], lower.program.input
    table = np.roll(raw_map(x, pixels), 128)  # the kernel reads the raw byte as an int8
    values = dict(y=place, x=place, table=lower.const(table, np.int8), n=x.size)
    lower.emit("lut_fwd", values, "input", phase="map")


def describe_output(lower: Lowering) -> None:
    """What the header says of the output."""
    plan, out = lower.plan, lower.graph[lower.graph.outputs[0]]
    count = plan.head.classes if plan.head else out.size
    lower.program.header.update(
        loss_kind=LOSSES.index(plan.loss),
        classes=count - plan.spare,
        output_count=count,
        output_scale=_head_unit(lower) if plan.head else out.scale[0],
        output_zero=0 if plan.head else out.zero_point,
        accumulate=plan.accumulate,
    )


def _head_unit(lower):
    """Real value of 1 in a logit: a dense head multiplies its features by weights in 1 / 4096."""
    features = lower.graph[lower.plan.head.features]
    return {"dense": float(features.scale[0]) / 4096, "prototype": PROTOTYPE_UNIT}[lower.plan.head.kind]


def add_output(lower: Lowering) -> None:
    """The output of a program that does not train."""
    lower.program.output = lower.activation(lower.graph.outputs[0])


def add_loss(lower: Lowering) -> None:
    """Output, target, loss, the first error, and what the head itself learns."""
    {"softmax": _softmax, "mse": _mse}[lower.plan.loss](lower)


def _softmax(lower):
    p, head = lower.program, lower.plan.head
    p.output, p.target = Buffer("logits", 4 * head.classes), Buffer("label", 4)
    {"dense": _dense_head, "prototype": _prototype_head}[head.kind](lower, head)


def _score(lower, head):
    """The softmax loss. 32767 units, shifted left by `pre`, reach past 16 nats, where exp is 0 in 15 bits."""
    unit = _head_unit(lower)
    pre = max(0, math.ceil(math.log2(2 / (4096 * unit))))
    mul, e = mantissa(unit * 2.0 ** (pre + 4), 15)
    lower.emit(
        "softmax_loss",
        dict(
            logits=lower.program.output,
            label=lower.program.target,
            exp_table=lower.const(EXP_TABLE, np.int16),
            ln_table=lower.const(LN_TABLE, np.int16),
            n=head.classes,
            pre=pre,
            mul=mul,
            shift=-e,
        ),
        "head",
        phase="loss",
    )


def _send_error(lower, kernel, scale, values):
    """The error of the features, if anything below the head learns."""
    head = lower.plan.head
    if lower.root(head.features) not in lower.learned:
        return
    (scale, e), f = mantissa(scale, 8), lower.graph[head.features].size
    g, exp = first_error(lower, head.features)
    lower.emit(
        kernel,
        dict(
            values,
            g=g,
            err=lower.program.output,
            sums=lower.scratch(4 * f),
            mask=mask_of(lower, head.features),
            exp=exp,
            head_exp=lower.head_exp,
            n=head.classes,
            f=f,
            scale=scale,
            scale_exp=e,
        ),
        "head",
        phase="gate",
    )


def _dense_head(lower, head):
    x, trained = lower.graph[head.features], lower.state.head
    n, f, s = head.classes, x.size, float(x.scale[0])
    features, logits = lower.activation(head.features), lower.program.output
    bias_mul, e = mantissa(1 / (16 * s), 15)  # from 2^-16 to s / 4096
    about = dict(n=n, f=f, zx=x.zero_point, bias_mul=bias_mul, bias_shift=-e)
    lower.emit("head_fwd", dict(trained, logits=logits, x=features, **about), "head")
    _score(lower, head)
    _send_error(lower, "head_dx", s, dict(w=trained["w"]))
    u, e = mantissa(s * 4096, 7)
    about = dict(n=n, f=f, zx=x.zero_point, limit=weight_limit(f), u=u, u_shift=-e)
    values = dict(trained, **lower.state.head_sums, err=logits, x=features, lr=lower.lr, **about)
    lower.emit("head_dw", values, "head", phase="head")


def _prototype_head(lower, head):
    """Prototypes follow the features; only what is below them learns by the gradient."""
    p, x, trained = lower.program, lower.graph[head.features], lower.state.head
    n, f, protos = head.classes, x.size, trained["protos"]
    unit, norm = Buffer("direction", 2 * f), Buffer("inverse of the norm", 8)
    features = lower.activation(head.features)
    about = dict(logits=p.output, x=features, protos=protos, counts=trained["counts"])
    lower.emit("prototype_fwd", dict(about, unit=unit, norm=norm, n=n, f=f, zx=x.zero_point), "head")
    _score(lower, head)
    _send_error(lower, "prototype_dx", COSINES, dict(protos=protos, unit=unit, norm=norm))
    for phase, window in (("head", WINDOW), ("enroll", ENROLLED)):
        values = dict(trained, label=p.target, unit=unit, n=n, f=f, window=window)
        lower.emit("prototype_add", values, "head", phase)


def _mse(lower):
    p, name = lower.program, lower.graph.outputs[0]
    y = lower.graph[name]
    p.output, p.target = lower.activation(name), Buffer("target", y.size)
    both = dict(y=p.output, target=p.target, n=y.size)
    lower.emit("mse_loss", both, "output", phase="loss")
    g, exp = first_error(lower, name)
    about = dict(mask=mask_of(lower, name), scale_exp=round(2 * math.log2(y.scale[0])))
    values = dict(both, g=g, exp=exp, head_exp=lower.head_exp, **about)
    lower.emit("mse_dx", values, "output", phase="gate")
