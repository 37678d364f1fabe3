"""Which positions of a kernel's window meet which inputs and outputs, along one axis."""


def forward_taps(o, stride, pad, size, k):
    """For output o: (position in the window, index of the input), where that lies inside the input."""
    return [(t, o * stride - pad + t) for t in range(k) if 0 <= o * stride - pad + t < size]


def backward_taps(i, stride, pad, size, k):
    """For input i: (position in the window, index of the output) of all outputs that read it."""
    return [
        (t, (i + pad - t) // stride)
        for t in range(k)
        if i + pad - t >= 0 and (i + pad - t) % stride == 0 and (i + pad - t) // stride < size
    ]
