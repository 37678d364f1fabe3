"""Learning from a few samples of each class: their prototypes, and training on moved copies of them.

A prototype is the mean direction of the features of a class. It needs no gradient; the gradient trains the
layers below the head.
"""

import struct
from array import array

from .augment import Augment


def enroll(net, samples):
    """Make the prototypes of the classes of these (x, label) from these alone. Other classes keep theirs."""
    if not net.prototypes:
        raise ValueError("this package has no prototypes: compile it with --head prototype")
    net.require_whole()
    counts = net.span(net.package.head_bias, 4 * net.package.output_count)
    seen = set()
    for x, y in samples:
        net.load_target(y)
        net.load_input(x)
        k = struct.unpack_from("<i", net.target_view)[0]
        if k not in seen:
            seen.add(k)
            struct.pack_into("<i", counts, 4 * k, 0)
        net.classify_input()
        net.run_phase("enroll")


def copies(net, samples, shift=2, flip=False, brightness=0):
    """A moved copy of each sample, as (int8, label)."""
    augment = Augment(net.package.shape(), shift, flip, brightness)
    for i, (x, y) in enumerate(samples):
        net.load_input(x)
        augment(net.input_view, i)
        yield array("b", bytes(net.input_view)), y


def fit(net, support, epochs, shift, flip, brightness):
    """Each epoch: new prototypes, then a step on a moved copy of each sample. Returns the last mean loss."""
    n, mean = len(support), 0
    augment = Augment(net.package.shape(), shift, flip, brightness)
    net.begin(epochs * n)
    for epoch in range(epochs):
        enroll(net, support)
        total = 0
        for x, y in support:
            net.load_target(y)
            net.load_input(x)
            augment(net.input_view, net.step)
            total += net.train_input()
        mean = total / n / 1024
        print("\repoch %d/%d  loss %.3f" % (epoch + 1, epochs, mean), end="")
    print()
    enroll(net, support)
    return mean
