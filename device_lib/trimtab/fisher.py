"""Which layers and channels a task should train (TinyTrain): Fisher information, a score, budgets.

All numbers are whole, so every board chooses alike. A candidate is a layer that may train, described by a row
of numbers (ROW). Candidates have the order of the network.
"""

import struct

from .format import LOSSES

ROW = (
    "parameters",
    "macs",  # products of the forward pass
    "gradient",  # products of the weight gradient
    "chain",  # products of the errors from the head down to this layer
    "masks",  # bytes of masks that these errors need
    "plane",  # bytes of trained weights
    "residual",  # bytes of their residuals
    "bias",  # bytes of biases
    "input",  # bytes of the kept input
    "error",  # bytes of the error of the trained channels, for a depthwise layer
    "inputs",  # channels of the input
    "channels",  # among which the trained ones are chosen
    "count",  # how many of them train
)
NEVER = -(1 << 20)  # exponent of a sum to which nothing was added; below all others
FAR = 1000  # octaves; layers that are farther apart count as this far

PARAMETERS, MACS, GRADIENT, CHAIN, MASKS, PLANE, RESIDUAL, BIAS, INPUT, ERROR, INPUTS, CHANNELS, COUNT = (
    range(len(ROW))
)
STATE, KEPT = (PLANE, RESIDUAL, BIAS), (INPUT, ERROR)


def up(n):
    """Bytes that n bytes take, aligned."""
    return (n + 3) & ~3


# -- information ---------------------------------------------------------------------------------------------


def study(net, samples, channels):
    """The Fisher information of samples (x, y), for each candidate: (exponent, [sum of each channel])."""
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
    """The score of each candidate, information / (parameters * products), in whole numbers of one unit."""
    known = [exponent for exponent, f in found if any(f)]
    low = min(known) if known else 0
    return [
        (sum(f) << min(exponent - low, FAR) + 64) // (row[PARAMETERS] * row[MACS]) if any(f) else 0
        for (exponent, f), row in zip(found, rows)
    ]


def cost(rows, chosen):
    """(bytes of state, of kept inputs, of masks, products of the backward pass) of a set of candidates.

    All of them share one chain of errors, which goes down to the first.
    """
    if not chosen:
        return 0, 0, 0, 0
    first = rows[min(chosen)]
    state, kept = [sum([up(rows[i][field]) for i in chosen for field in part]) for part in (STATE, KEPT)]
    return state, kept, first[MASKS], sum([rows[i][GRADIENT] for i in chosen]) + first[CHAIN]


def pick(found, rows, fits):
    """Take candidates by falling score, each if the set with it still fits the budgets: fits(cost)."""
    points, chosen = scores(found, rows), []
    for i in sorted(range(len(rows)), key=lambda i: (-points[i], i)):
        if points[i] and fits(cost(rows, chosen + [i])):
            chosen.append(i)
    return sorted(chosen)


def strongest(f, row):
    """The channels with most information, as many as the row says. f has a number for each input channel."""
    many = row[CHANNELS] // len(f)
    by_channel = sorted(range(row[CHANNELS]), key=lambda i: (-f[i // many], i))
    return sorted(by_channel[: row[COUNT]])
