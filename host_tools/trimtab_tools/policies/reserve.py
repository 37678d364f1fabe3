"""What lowering adds for a choice on the board: records for every candidate, as if it were the only one
chosen.

Each keeps the chosen channels of its input in a pool in the arena, and has its plane, residual and biases
in a pool in the state. All records refer to the pools' beginnings; the board patches those of what it
chooses and skips the rest.
"""

import numpy as np
from trimtab.tinytrain import bits_of

from ..errors import ModelError
from ..graph.program import Buffer
from ..graph.geometry import geometry
from .candidates import Pools, most_macs, reserved
from .plan import AXIS, Update


def open_layers(lower):
    """{layer: Candidate} of all that a board may choose; makes the pools."""
    plan, program = lower.plan, lower.program
    if not plan.reserve:
        return {}
    if plan.sums:
        raise ModelError(
            "a choice on the board moves weights with every sample: compile without --accumulate and momentum"
        )
    found, state, kept = reserved(lower.graph, plan.study, plan.reserve, plan.residual)
    bits = program.keep("choice", np.zeros(len(bits_of({}, [c.row for c in found]))), np.int8, role="choice")
    planes = program.keep("planes", np.zeros(state), np.int8, role="planes")
    program.pools = Pools(
        tuple(found), planes, Buffer("kept inputs", kept), bits, most_macs(lower.graph, plan.reserve.share)
    )
    return {c.layer: c for c in found}


def update_of(lower, op):
    """The update of a candidate as its records have it before a choice: its first channels."""
    c = lower.open.get(op.name)
    return Update(op.name, True, tuple(range(c["count"])), AXIS[op.kind]) if c else None


def pooled(lower, op, weights):
    """(weights, biases) in the pool, of a layer whose plane trains."""
    c, planes = lower.open[op.name], lower.program.pools.planes
    residual = planes.at(-(-c["plane"] // 4) * 4) if c["residual"] else None
    return weights(
        dict(w=None, k=planes, kept=lower.const(range(c["count"]), np.uint16)), c["count"], residual
    ), planes


def keep_input(lower, op):
    """Before the layer runs: the channels of its input that an update will read."""
    c, g = lower.open[op.name], geometry(lower.graph, op)
    _gather(
        lower,
        op,
        lower.program.pools.inputs,
        lower.activation(op.inputs[0]),
        g["ih"] * g["iw"],
        c["inputs"],
        "forward",
    )


def pack(lower, op):
    """The update that was just made reads packed channels; what moved is held within int8."""
    backward, pools, c = lower.program.phases["backward"], lower.program.pools, lower.open[op.name]
    step, g = backward.pop(), geometry(lower.graph, op)
    at = pools.inputs.at(-(-c["input"] // 4) * 4)
    if op.kind == "depthwise":
        _gather(lower, op, at, step.values["gy"], g["oh"] * g["ow"], g["oc"], "backward")
        u = np.frombuffer(step.values["u"].data, "<u2")
        backward.append(
            step.but(
                gy=at, x=pools.inputs, kept=None, u=lower.const(u, np.uint16), ic=c["count"], oc=c["count"]
            )
        )
        return
    backward.append(step.but(x=pools.inputs, kept=None, ic=c["count"]))
    v = step.values
    lower.emit(
        "tinytrain_hold",
        dict(
            k=v["k"],
            r=v["r"],
            w=lower.weights(op).fields["w"],
            kept=v["kept"],
            rows=g["oc"] * g["kh"] * g["kw"],
            nk=c["count"],
            ic=g["ic"],
            residual=v["residual"],
        ),
        op.name,
        phase="backward",
    )


def _gather(lower, op, y, x, n, channels, phase):
    count = lower.open[op.name]["count"]
    kept = lower.const(np.minimum(np.arange(count), channels - 1), np.uint16)
    lower.emit("gather", dict(y=y, x=x, kept=kept, n=n, ic=channels, nk=count), op.name, phase=phase)
