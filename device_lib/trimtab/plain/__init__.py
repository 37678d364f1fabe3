"""Every kernel in plain Python: the specification that the other tiers must equal, bit for bit.

A kernel is called with the five memory spaces and the byte offset of its record; it returns an int. Spaces
are arrays of int8 ('b'), the records an array of int32 ('i'). Forward and backward of an operator stand in
one file.

Shapes: x (ih, iw, ic), y (oh, ow, oc), conv weights (oc, kh, kw, ic), depthwise weights (kh, kw, oc).
An error tensor g is int8 with one exponent: its real value is g * 2^exp.

The trained part of a layer's weights is a plane k, which holds only the channels of the index list `kept`. A
conv adds it to the frozen w (which may hold zeros there), and their sum stays within int8; in a depthwise
layer it replaces w.

An output may lie where an input lies if each element is read before it is written: add, mul, tables,
requantize and softmax; g upon its addend, and upon gy or x where elements match. Depthwise, this holds for
whole channels.
"""

FAMILIES = ("conv", "depthwise", "elementwise", "spread", "move", "pool", "update", "head", "clock")
METHODS = ("tinytl", "mobiletl", "tinytrain", "prototypes")  # a board that does not use one may lack its file


def modules():
    """The modules of all families, and of the methods that are installed."""
    found = [_module(name) for name in FAMILIES]
    for name in METHODS:
        try:
            found.append(_module(name))
        except ImportError as error:
            if str(error).lower() != "no module named '%s.%s'" % (__name__, name):
                raise  # the file is there, but something that it imports is not
    return found


def _module(name):
    return __import__(__name__ + "." + name, None, None, (name,))
