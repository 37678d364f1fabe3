"""What layers are called in the user's model, from the names that a converter gave to tensors.

A fused tensor's name lists what went into it: "net/act/Relu;net/bn/FusedBatchNormV3;net/conv2d_3/Conv2D".
"""

import re

HOLDS_WEIGHTS = re.compile(
    r"(Conv2D|depthwise|DepthwiseConv2dNative|MatMul|convolution|BiasAdd|Tensordot)\d*$"
)
SAYS_NOTHING = re.compile(r"^(StatefulPartitionedCall|Identity|PartitionedCall)([:_](\d+|int8))*$")


def layer_name(tensors: list, weighted: bool) -> str | None:
    """The layer's name from the tensors that it writes and holds; None where they say nothing."""
    for tensor in tensors:
        parts = [p.split("/") for p in tensor.split(";") if p]
        holders = [p for p in parts if len(p) > 1 and HOLDS_WEIGHTS.search(p[-1])]
        chosen = holders[0] if weighted and holders else [[tensor], *parts][-1]
        name = chosen[-2] if len(chosen) > 1 else chosen[0]
        if name.strip("0123456789:_ ") and not SAYS_NOTHING.match(name):
            return re.sub(r"[^\w.-]", "_", name)
    return None


def unique(names: list) -> list:
    """The second a becomes a_2, the third a_3, and so on, never meeting a name that is there."""
    counts: dict[str, int] = {}
    taken, result = set(names), []
    for name in names:
        fresh = name
        while name in counts and fresh in taken:
            counts[name] += 1
            fresh = f"{name}_{counts[name]}"
        counts.setdefault(name, 1)
        taken.add(fresh)
        result.append(fresh)
    return result
