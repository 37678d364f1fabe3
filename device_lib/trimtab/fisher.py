"""Which layers and channels a task should train: Fisher information of its samples, a score, budgets
(TinyTrain).

Numbers are whole, so every board chooses alike. A candidate is a row of numbers, ROW; candidates stand in
the order of the network.
"""

import struct

from .format import LOSSES

ROW = (
    "parameters",
    "macs",  # products of the forward pass
    "gradient",  # products of the weight gradient
    "chain",  # products of the errors down to this layer: what lies before costs more
    "masks",  # bytes that the chain keeps
    "plane",  # bytes of trained weights,
    "residual",  # of their residuals,
    "bias",  # of biases,
    "input",  # of the kept input,
    "error",  # and, depthwise, of the error with the same channels
    "inputs",  # channels of the input
    "channels",  # among which the trained ones are chosen
    "count",  # how many of them train
)
NEVER = -(1 << 20)  # an exponent below all: nothing was added yet
FAR = 1000  # octaves beyond which layers do not differ

PARAMETERS, MACS, GRADIENT, CHAIN, MASKS, PLANE, RESIDUAL, BIAS, INPUT, ERROR, INPUTS, CHANNELS, COUNT = (
    range(len(ROW))
)
STATE, KEPT = (PLANE, RESIDUAL, BIAS), (INPUT, ERROR)


def up(n):
    """Bytes that n bytes take, aligned."""
    return (n + 3) & ~3


# -- information ---------------------------------------------------------------------------------------------


def study(net, samples, channels):
    """Fisher information of samples (x, y): (exponent, [sum of squares]) of each candidate's channels."""
    package = net.package
    if net.loss == LOSSES[0] or not sum(channels):
        raise ValueError("this package has no candidates to choose among: compile it with --policy tinytrain")
    n, count = sum(channels), len(channels)
    sums = net.span(package.fisher, 4 * (n + count))
    sums[:] = bytes(4 * n) + struct.pack("<%di" % count, *[NEVER] * count)
    kept = net.input_view, net.target_view, net.phases["map"]
    net.input_view = net.span(package.study_input, len(net.input_view))
    net.target_view = net.span(package.study_target, len(net.target_view))
    net.phases["map"] = net.phases["study_map"]
    try:
        for x, y in samples:
            net.load_target(y)
            net.load_input(x)
            if net.run_phase("study"):
                net.run_phase("fisher")
    finally:
        net.input_view, net.target_view, net.phases["map"] = kept
    exponents = struct.unpack_from("<%di" % count, sums, 4 * n)
    found, at = [], 0
    for exponent, c in zip(exponents, channels):
        found.append((exponent, list(struct.unpack_from("<%di" % c, sums, 4 * at))))
        at += c
    return found


# -- scores and budgets --------------------------------------------------------------------------------------


def scores(found, rows):
    """Potential over parameters times products, as whole numbers of one unit."""
    known = [exponent for exponent, f in found if any(f)]
    low = min(known) if known else 0
    return [
        (sum(f) << min(exponent - low, FAR) + 64) // (row[PARAMETERS] * row[MACS]) if any(f) else 0
        for (exponent, f), row in zip(found, rows)
    ]


def cost(rows, chosen):
    """(bytes of state, of kept inputs, of masks, products of the backward pass) of a set of candidates.

    The chain of errors goes down to the first of them, once for all.
    """
    if not chosen:
        return 0, 0, 0, 0
    first = rows[min(chosen)]
    state, kept = [sum([up(rows[i][field]) for i in chosen for field in part]) for part in (STATE, KEPT)]
    return state, kept, first[MASKS], sum([rows[i][GRADIENT] for i in chosen]) + first[CHAIN]


def pick(found, rows, fits):
    """Candidates by falling score, each if the whole set, fits(cost), stays inside the budgets."""
    points, chosen = scores(found, rows), []
    for i in sorted(range(len(rows)), key=lambda i: (-points[i], i)):
        if points[i] and fits(cost(rows, chosen + [i])):
            chosen.append(i)
    return sorted(chosen)


def strongest(f, row):
    """Indices of the channels of most information, as many as the row says; f is by inputs."""
    many = row[CHANNELS] // len(f)
    by_channel = sorted(range(row[CHANNELS]), key=lambda i: (-f[i // many], i))
    return sorted(by_channel[: row[COUNT]])
