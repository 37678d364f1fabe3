"""Which layers and channels a task should train: Fisher information of its samples, a score, two budgets (TinyTrain).

Numbers are whole, so every board chooses alike. A candidate is a row (parameters, products of its forward pass, bytes
that training it takes, products of its weight gradient, products of the error chain down to it, bytes of masks that
the chain takes), in the order of the network: what lies before costs more of the last two.
"""

import struct

from .format import LOSSES

PARAMETERS, MACS, BYTES, GRADIENT, CHAIN, MASKS = range(6)
NEVER = -(1 << 20)  # an exponent below all: nothing was added yet


def study(net, samples, channels):
    """Fisher information of samples (x, y): for each candidate, of so many channels, (exponent, [sum of squares])."""
    package = net.package
    if net.loss == LOSSES[0] or not sum(channels):
        raise ValueError("this package has no candidates to choose among: compile it with --policy tinytrain")
    n, count = sum(channels), len(channels)
    sums = net._span(package.fisher, 4 * (n + count))
    sums[:] = bytes(4 * n) + struct.pack("<%di" % count, *[NEVER] * count)
    kept = net.input_view, net.target_view, net._phases["map"]
    net.input_view = net._span(package.study_input, len(net.input_view))
    net.target_view = net._span(package.study_target, len(net.target_view))
    net._phases["map"] = net._phases["study_map"]
    try:
        for x, y in samples:
            net.load_target(y)
            net.load_input(x)
            if net._run(*net._phases["study"]):
                net._run(*net._phases["fisher"])
    finally:
        net.input_view, net.target_view, net._phases["map"] = kept
    exponents = struct.unpack_from("<%di" % count, sums, 4 * n)
    found, at = [], 0
    for exponent, c in zip(exponents, channels):
        found.append((exponent, list(struct.unpack_from("<%di" % c, sums, 4 * at))))
        at += c
    return found


def scores(found, rows):
    """Potential over parameters times products, as whole numbers of one unit."""
    known = [exponent for exponent, f in found if any(f)]
    low = min(known) if known else 0
    return [(sum(f) << exponent - low + 64) // (row[PARAMETERS] * row[MACS]) if any(f) else 0
            for (exponent, f), row in zip(found, rows)]


def cost(rows, chosen):
    """(bytes, products of the backward pass) of a set of candidates: the chain goes down to the first of them."""
    if not chosen:
        return 0, 0
    first = rows[min(chosen)]
    return (sum([rows[i][BYTES] for i in chosen]) + first[MASKS],
            sum([rows[i][GRADIENT] for i in chosen]) + first[CHAIN])


def pick(found, rows, most_bytes, most_macs):
    """Candidates by falling score, each as long as the whole set stays inside both budgets."""
    points, chosen = scores(found, rows), []
    for i in sorted(range(len(rows)), key=lambda i: (-points[i], i)):
        size, macs = cost(rows, chosen + [i])
        if points[i] and size <= most_bytes and macs <= most_macs:
            chosen.append(i)
    return sorted(chosen)


def strongest(f, count):
    """Indices of the channels of most information."""
    return sorted(sorted(range(len(f)), key=lambda i: (-f[i], i))[:count])
