"""The layers and the network whose kernels are measured: records and weights with random content."""

import struct

import numpy as np
import paths  # noqa: F401  # makes tests/support importable
from trimtab.format import ARENA, NULL, OPCODES, RECORDS, SPACE_SHIFT, STATE, fields
from trimtab_tools.boards.bare import Run

SPECS = {row[0]: fields(row[1]) for row in RECORDS}
BYTES = {"b": 1, "h": 2, "x": 2, "i": 4}
SCRATCH_WORDS = 1500  # 6 KB


def layer(size, ic, oc, k=1, stride=1):
    """A square layer with TensorFlow's "same" padding."""
    out = -(-size // stride)
    pad = max(0, (out - 1) * stride + k - size) // 2
    return dict(
        ih=size,
        iw=size,
        ic=ic,
        oh=out,
        ow=out,
        oc=oc,
        kh=k,
        kw=k,
        sh=stride,
        sw=stride,
        pt=pad,
        pl=pad,
        nk=ic,
    )


SHAPES = {  # name -> (kernel, layer)
    "pointwise_16x96x32": ("conv_fwd", layer(4, 96, 32)),
    "depthwise3_16x16x24": ("depthwise_fwd", layer(16, 24, 24, 3)),
    "depthwise5_8x8x48": ("depthwise_fwd", layer(8, 48, 48, 5)),
    "depthwise7_8x8x48": ("depthwise_fwd", layer(8, 48, 48, 7)),
    "depthwise3s2_16x16x24": ("depthwise_fwd", layer(16, 24, 24, 3, 2)),
    "conv3s2_3ch": ("conv_fwd", layer(32, 3, 16, 3, 2)),
    "pointwise_64x16x96": ("conv_fwd", layer(8, 16, 96)),
    "depthwise3_4x4x384": ("depthwise_fwd", layer(4, 384, 384, 3)),
    "dense_256x64": ("conv_fwd", {**layer(1, 256, 64), "once": 1}),
    "dense_64x10": ("conv_fwd", {**layer(1, 64, 10), "once": 1}),
    "depthwise3_dx_16x16x24": ("depthwise_dx", layer(16, 24, 24, 3)),
    "pointwise_dx_16x96x32": ("conv_dx", layer(4, 96, 32)),
    "pointwise_dw_64x96x32": ("conv_dw", layer(8, 96, 32)),
    "depthwise3_dw_16x16x24": ("depthwise_dw", layer(16, 24, 24, 3)),
}


def macs(name):
    """Multiplications with pads counted, as others count them."""
    g = SHAPES[name][1]
    return g["oh"] * g["ow"] * g["oc"] * g["kh"] * g["kw"] * (1 if name.startswith("depthwise") else g["ic"])


# Numbers and tensors of a usual layer: outputs fill the range of int8, a few beyond; errors do not saturate.
NUMBERS = dict(
    zx=-20,
    zy=-9,
    lo=-128,
    hi=127,
    once=0,
    m_shift=8,
    m_exp=-20,
    add_mul=0,
    add_shift=0,
    residual=8,
    pre=0,
    words=SCRATCH_WORDS,
    zx2=7,
    mult=1 << 30,
    shift=-8,
    mult2=1 << 30,
    shift2=0,
    mult_y=1 << 30,
    shift_y=-19,
    fill=0,
    top=0,
    left=0,
    first=0,
    bias_mul=1 << 14,
    bias_shift=14,
    scale=200,
    scale_exp=-8,
    limit=16384,
    u=200,
    u_shift=8,
    m=8192,
    bound=4,
    parts=1,
    relu=1,
    u_gamma=138 << 8 | 200,
    u_beta=138 << 8 | 200,
)
TENSORS = {
    "bias": lambda rng, n: rng.integers(-8000, 8000, n),
    "mult": lambda rng, n: rng.integers(1 << 30, 1 << 31, n),
    "shift": lambda rng, n: rng.integers(-9, -7, n),
    "w": lambda rng, n: rng.integers(-127, 128, n),
    "gy": lambda rng, n: rng.integers(-127, 128, n),
    "m": lambda rng, n: rng.integers(8192, 32768, n),
    "u": lambda rng, n: rng.integers(128, 256, n) + 256 * 138 - 65536,
    "lr": lambda rng, n: [200, 8],
    "gy_exp": lambda rng, n: [0],
    "head_exp": lambda rng, n: [0],
    "track": lambda rng, n: [5 * 256],
    "err": lambda rng, n: rng.integers(-6000, 6000, n),
    "protos": lambda rng, n: rng.integers(-4000, 4000, n),
    "unit": lambda rng, n: rng.integers(-4000, 4000, n),
    "counts": lambda rng, n: np.full(n, 5),
    "norm": lambda rng, n: [1 << 14, 5],
    "affine": lambda rng, n: rng.integers(-1 << 16, 1 << 16, n),
    "stats": lambda rng, n: np.full(n, 20000 << 8 | 14),
    "sums": lambda rng, n: rng.integers(-5000, 5000, n),
    "f_exp": lambda rng, n: [-20],
    "g_exp": lambda rng, n: [-10],
    "gain": lambda rng, n: rng.integers(1 << 15, 1 << 17, n),
}
PRESENT = {
    "conv_dw": ("k", "r", "scratch"),
    "depthwise_dw": ("k", "r", "scratch"),
}  # optional tensors; else w and scratch


def run(name, seed=1, **numbers):
    """The Run of a shape; a number may be given otherwise, words=0 for none."""
    kernel, geometry = SHAPES[name]
    return record(kernel, {**geometry, **numbers}, seed)


def record(kernel, numbers, seed=1):
    """The Run of one record of a kernel, on usual numbers but for those given."""
    rng = np.random.default_rng(seed)
    values = {**NUMBERS, **numbers}
    present = [n for n in PRESENT.get(kernel, ("w", "scratch")) if n != "scratch" or values["words"]]
    spaces, words = [bytearray(), bytearray()], []
    for field, kind, extent, _ in SPECS[kernel]:
        if not kind:
            words.append(values[field])
        elif "?" in kind and field not in present:
            words.append(NULL)
        else:
            words.append(_place(spaces, rng, field, kind, extent, values))
    record = struct.pack("<i%di" % len(words), OPCODES[kernel], *words)
    return Run([(kernel, 0)], [*spaces, b"", record, b""])


def _place(spaces, rng, field, kind, extent, values):
    n = int(np.prod([int(f) if f.isdigit() else values[f] for f in extent], dtype=int))
    size = BYTES.get(kind[-1], 1)
    make = TENSORS.get(field, lambda rng, n: rng.integers(-128, 128, n))
    space = STATE if field in ("k", "r", "track") else ARENA
    buffer = spaces[space]
    buffer += bytes(-len(buffer) % 4)
    buffer += np.asarray(make(rng, n)).astype("<i%d" % size).tobytes()
    return space << SPACE_SHIFT | len(buffer) - n * size


def results(name, arena, state):
    """What a run of a shape leaves behind, without its scratch memory."""
    kernel, geometry = SHAPES[name]
    words = struct.unpack("<%di" % len(SPECS[kernel]), run(name).spaces[3][4:])
    arena = bytearray(arena)
    for (field, *_), ref in zip(SPECS[kernel], words):
        if field in ("scratch", "row"):
            size = 4 * (SCRATCH_WORDS if field == "scratch" else geometry["ic"])
            arena[ref : ref + size] = bytes(size)
    return bytes(arena), bytes(state)


def n1():
    """28x28x1, three 3x3 convolutions with stride 2 to 4, 8 and 16 channels, mean, dense 10: 21,220
    multiplications.
    """
    from models import Builder

    b = Builder((28, 28, 1), seed=3, scale=1 / 127, zero=-128)
    for channels in (4, 8, 16):
        b.conv(channels, stride=(2, 2), padding="valid", act="relu", zero=-128)
    b.mean(**b.same_scale())
    b.dense(10)
    return b.graph()
