"""Classes that are added on the board, in rows of the head that `trimtab compile --max-classes` reserved.

Their names are part of the trained state, so they are saved and restored with it and count in its CRC. A row
without a name has a bias so low that its probability is 0: it takes no part, and no step changes it.
"""

import struct

from .format import LABEL_BYTES


def names(view):
    """The names of the added classes, in the order of their rows, from that part of the state."""
    found = []
    for at in range(0, len(view), LABEL_BYTES):
        name = bytes(view[at : at + LABEL_BYTES]).rstrip(b"\0")
        if not name:
            break
        try:
            found.append(name.decode())
        except UnicodeError:  # no save wrote this: the names end here
            break
    return tuple(found)


def add_class(net, name):
    """Give the next free row to a class; returns its index."""
    package = net.package
    data = name.encode()
    if net.classes == package.output_count:
        raise ValueError(
            "the package has no room for another class: compile it with --max-classes %d" % (net.classes + 1)
        )
    if name in net.labels:
        raise ValueError("label %r is in the package already: choose another name" % name)
    if not 0 < len(data) <= LABEL_BYTES or b"\0" in data:
        raise ValueError(
            "a label has 1 to %d bytes, %r has %d: choose another name" % (LABEL_BYTES, name, len(data))
        )
    at = (net.classes - package.classes) * LABEL_BYTES
    names_of(net)[at : at + len(data)] = data
    bias = net.span(package.head_bias, 4 * package.output_count)
    struct.pack_into("<i", bias, 4 * net.classes, 0)
    net.name_classes()
    return net.classes - 1


def names_of(net):
    """The part of the state that holds the names."""
    package = net.package
    return net.span(package.names, (package.output_count - package.classes) * LABEL_BYTES)
