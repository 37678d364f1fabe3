"""Policy tinytl, after TinyTL (NeurIPS 2020): small modules learn beside the blocks of a frozen trunk.

The biases from the first module's block on are trained too, unless the user says `nobias`.
"""

import math
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np

from ..errors import ModelError
from ..graph import blocks
from ..graph.geometry import image
from ..graph.ir import Graph, Op, Tensor
from .plan import AXIS, Update, layers, whole
from .policy import Choice, Policy, Request

USAGE = "give a number of blocks, width=1/4, bias or nobias, dx, seed=N, from=FILE.npz, commas between"
KERNELS = 5, 3, 1  # the largest that the pooled map has room for
GROUPS = 2


@dataclass(frozen=True)
class Options:
    blocks: int | None = None  # the last ones; None: all
    width: Fraction = Fraction(1, 4)  # channels between the convolutions, as a share of the block's input
    bias: bool = True
    dx: bool = False  # errors also go through the modules into the blocks below
    seed: int = 0
    source: str = ""  # an export whose modules are the start


def choose(trunk: Graph, request: Request) -> Choice:
    chosen = options(request)
    trunk, modules, behind = insert(trunk, request, chosen)
    biases = [Update(op.name, axis=AXIS[op.kind]) for op in layers(trunk) if op.name in behind]
    return Choice(trunk, (*(biases if chosen.bias else ()), *(whole(trunk, op) for op in modules)))


def options(request: Request) -> Options:
    """Of the words behind the policy's colon."""
    found = Options()
    for word in filter(None, request.words.split(",")):
        try:
            found = replace(found, **_option(*word.partition("=")))
        except (ValueError, ZeroDivisionError):
            raise ModelError(f"policy {request}: {word} is not an option of tinytl: {USAGE}")
    if not 0 < found.width <= 1:
        raise ModelError(
            f"policy {request}: a width of {found.width} is out of range: use more than 0, up to 1"
        )
    return found


def _option(key, sign, value):
    if not sign:
        switches = {"bias": {"bias": True}, "nobias": {"bias": False}, "dx": {"dx": True}}
        return switches[key] if key in switches else {"blocks": int(key)}
    name, read = {"width": ("width", Fraction), "seed": ("seed", int), "from": ("source", str)}.get(
        key, (None, None)
    )
    if not name:
        raise ValueError(key)
    return {name: read(value)}


def insert(trunk: Graph, request: Request, chosen: Options) -> tuple[Graph, list[Op], list[str]]:
    """(trunk with modules, their operators, names of all operators from the first module's block on)."""
    found = [b for b in blocks.find(trunk) if _has_room(trunk, b)]
    count = len(found) if chosen.blocks is None else chosen.blocks
    if not found:
        raise ModelError(f"policy {request}: the model has no inverted residual blocks: choose policy bias")
    if not 0 < count <= len(found):
        raise ModelError(
            f"policy {request}: {len(found)} blocks of the model can have a module: choose 1 to {len(found)}"
        )
    tensors, modules = dict(trunk.tensors), {}
    for number, block in list(enumerate(found, 1))[-count:]:
        modules[block.output] = _module(trunk, tensors, block, number, chosen)
    if chosen.source:
        _load(tensors, modules.values(), chosen.source)
    names = [op.name for op in trunk.ops]
    return (
        _with(trunk, tensors, modules),
        list(modules.values()),
        names[names.index(found[-count].layers[0].name) :],
    )


def _has_room(trunk, block):
    """Maps of some size on both sides, each side of the output halved as often as the block's stride says."""
    x, y = trunk[block.input], trunk[block.output]
    (ih, iw, _), (oh, ow, _) = image(x.shape), image(y.shape)
    sh, sw = block.depthwise.attrs["stride"]
    return len(x.shape) == len(y.shape) == 4 and (oh, ow) == (-(-ih // sh), -(-iw // sw))


def _module(trunk, tensors, block, number, chosen):
    """The operator, whose tensors join the others. It takes over the name of the block's output."""
    x, y, stride = trunk[block.input], trunk[block.output], tuple(block.depthwise.attrs["stride"])
    (ih, iw, ic), oc = image(x.shape), y.shape[-1]
    mid = 8 * max(1, -(-chosen.width * ic // 8))
    groups = GROUPS if ic % GROUPS == 0 else 1
    k = next(k for k in KERNELS if k <= max(1, (min(ih, iw) + 1) // 2))
    name = f"lite_{number}"
    rng = np.random.RandomState([chosen.seed, number])
    made = start(mid, k, ic // groups, oc, y.scale[0], rng)
    names = [f"{name}.{part}" for part in ("weights1", "affine1", "weights2", "affine2")]
    for tensor, (data, scale) in zip(names, made):
        tensors[tensor] = Tensor(tensor, data.shape, data.dtype.name, np.array([scale]), 0, data)
    before = f"{block.output} without {name}"
    tensors[before] = replace(y, name=before)
    return Op(
        "tinytl",
        name,
        (before, block.input, *names),
        (block.output,),
        {"stride": stride, "detached": () if chosen.dx else (1,)},
    )


def _with(trunk, tensors, modules):
    """The graph whose blocks write to where their modules read."""
    ops = []
    for op in trunk.ops:
        module = modules.get(op.outputs[0])
        ops += [replace(op, outputs=(module.inputs[0],)), module] if module else [op]
    return replace(trunk, tensors=tensors, ops=tuple(ops))


def _load(tensors, modules, path):
    """The modules' tensors as another package's export has them."""
    try:
        with np.load(path, allow_pickle=False) as found:
            for op in modules:
                for name in op.inputs[2:]:
                    data = found[f"{op.name}|{name}"]
                    if data.shape != tensors[name].shape or data.dtype != tensors[name].data.dtype:
                        raise KeyError(f"{name} has another shape there")
                    tensors[name] = replace(tensors[name], data=data)
    except (OSError, ValueError, KeyError) as e:
        raise ModelError(
            f"{path} has no modules for this model ({e}): export a package of the same model and options"
        )


# -- what a module starts as


def start(mid: int, k: int, part: int, oc: int, step: float, rng: np.random.RandomState) -> tuple:
    """(data, scale) of w1, affine1, w2, affine2: Kaiming's weights; a second gamma of 0 changes nothing."""
    w1, w2 = _kaiming((mid, k, k, part), rng), _kaiming((oc, 1, 1, mid), rng)
    affine = np.stack([np.full(mid, 1 << 16), np.zeros(mid)]).astype(np.int32)
    return w1, (affine, 2.0**-16), w2, (np.zeros((2, oc), np.int32), step * 2.0**-16)


def _kaiming(shape, rng):
    """(normal weights, 10 to 20 steps wide, which leaves room to grow sixfold; their scale)."""
    sigma = math.sqrt(2 / math.prod(shape[1:]))
    bits = math.floor(math.log2(20 / sigma))
    w = np.rint(rng.standard_normal(shape) * sigma * 2.0**bits)
    return np.clip(w, -127, 127).astype(np.int8), 2.0**-bits


POLICY = Policy(
    "tinytl",
    "tinytl[:OPTIONS]",
    "Small modules beside the blocks are trained, and biases from the first of these blocks on; the weights "
    "of the model stay as they are.",
    choose,
)
