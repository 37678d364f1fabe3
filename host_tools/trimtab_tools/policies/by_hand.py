"""Policy plan: a file that names layers, {"updates": [{"layer", "bias", "weight_channels", "axis"}]}.

weight_channels is a ratio or a list of indices; axis may be left out.
"""

import json

from ..errors import ModelError
from ..graph.ir import Graph
from .plan import AXIS, layers, update
from .policy import Choice, Policy, Request


def choose(trunk: Graph, request: Request) -> Choice:
    rows, known, updates = _read(request.words), {op.name: op for op in layers(trunk)}, {}
    for row in rows:
        op = known.get(row.get("layer"))
        if op is None:
            raise ModelError(f"the plan names layer {row.get('layer')!r}: the model has {', '.join(known)}")
        if op.name in updates:
            raise ModelError(f"the plan names layer {op.name} twice: give each layer one row")
        if row.get("axis", AXIS[op.kind]) != AXIS[op.kind]:
            raise ModelError(
                f"layer {op.name}: a {op.kind} layer trains channels of axis {AXIS[op.kind]!r}, "
                f"not {row['axis']!r}"
            )
        updates[op.name] = update(trunk, op, row.get("weight_channels", 0), row.get("bias", True))
    return Choice(trunk, tuple(updates[name] for name in known if name in updates))


def _read(path):
    try:
        with open(path) as f:
            return [dict(row) for row in json.load(f)["updates"]]
    except (OSError, ValueError, KeyError, TypeError) as e:
        raise ModelError(
            f'plan {path!r} cannot be read ({e}): write {{"updates": [{{"layer": ..., "bias": true}}]}}'
        )


POLICY = Policy(
    "plan",
    "plan:FILE.json",
    "A plan by hand names the layers; of a ratio, the channels of largest magnitude are trained.",
    choose,
)
