"""Options that several verbs share, and what their text means."""

import itertools
from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from fractions import Fraction
from typing import Any

from ..errors import UsageError

DATA = ".npz with x and y, or a folder with one folder of images for each class"


# -- add options to a parser


def model(p: ArgumentParser, front: str = "") -> None:
    """A model file, and the classes of a new head."""
    p.add_argument(
        "model",
        help=f"{front}an int8 .tflite file, a published .npz or .pkl checkpoint, or a .keras or .h5 model "
        "with --samples",
    )
    p.add_argument("--labels", help="names of a new head's classes, with commas between")
    p.add_argument(
        "--classes", type=int, default=0, help="number of a new head's classes, if they have no names"
    )
    p.add_argument(
        "--pixels", metavar="LOW,HIGH", help="real values of raw 0 and 255 (default: the input's whole range)"
    )
    p.add_argument("--samples", help=".npz with x, by which a Keras model is quantized")


def plan(p: ArgumentParser) -> None:
    """What is trained, and how."""
    p.add_argument(
        "--policy",
        default="last",
        help="last, bias, full, sparse, tinytrain:K,budget=KB, "
        "mobiletl:BLOCKS, tinytl, or plan:FILE.json (default last)",
    )
    p.add_argument(
        "--scheme",
        help="the sparse update of --policy sparse: a published one, such as mcunet-49kb, or written "
        "out, 20:24=1/4,30=1 (biases of the last 20 layers, shares of layers 24 and 30)",
    )
    head(p)
    p.add_argument(
        "--max-classes", type=int, default=0, metavar="N", help="room for classes that are added on the board"
    )
    p.add_argument("--loss", choices=("softmax", "mse"), default="softmax")
    rate(p)
    p.add_argument(
        "--accumulate", type=int, default=1, metavar="N", help="samples for each update (default 1)"
    )
    p.add_argument(
        "--optimizer",
        default="sgd",
        help="sgd, or momentum[:SHARE]: each update goes on in the next ones "
        "(share 0.9); takes 2 bytes for each weight, 4 for each bias",
    )
    residual(p)
    p.add_argument(
        "--ram",
        metavar="BYTES[,BYTES]",
        help="the blocks of RAM that a board has free, for instance 96k or 100k,70k: a step is made as fast "
        "as it can be in them, and a plan that needs more is refused (default: as little RAM as possible)",
    )


def head(p: ArgumentParser) -> None:
    p.add_argument(
        "--head",
        choices=("dense", "prototype"),
        default="dense",
        help="prototype: classes are mean directions of few samples (default dense)",
    )


def rate(p: ArgumentParser) -> None:
    p.add_argument("--lr", type=float, help="learning rate of one sample (default 0.001)")


def residual(p: ArgumentParser) -> None:
    p.add_argument(
        "--residual",
        type=int,
        choices=(8, 4, 0),
        default=8,
        help="fraction bits kept beside int8 weights (default 8)",
    )


def board(p: ArgumentParser) -> None:
    from ..toolchain.boards import NAMES

    p.add_argument(
        "--board", default="sim", help=f"{', '.join(NAMES)} (emulated from pico on), or a port (default sim)"
    )
    p.add_argument(
        "--kernels", choices=("c", "viper", "plain"), help="of an emulated board (default: its fastest)"
    )


def port(p: ArgumentParser, otherwise: str = "the only board there is") -> None:
    p.add_argument("--port", help=f"serial port of the board (default: {otherwise})")


def key(p: ArgumentParser) -> None:
    p.add_argument("--key", metavar="FILE", help="the board's key (see trimtab key)")


def keras(p: ArgumentParser) -> None:
    p.add_argument(
        "--keras",
        metavar="FILE",
        help="the Keras model that was compiled; a .keras output keeps its layers",
    )


# -- what their text means


def labels(args: Namespace) -> tuple[str, ...]:
    return tuple(args.labels.split(",")) if args.labels else ()


def pixels(text: str | None) -> tuple[float, float] | None:
    if not text:
        return None
    try:
        low, high = (float(v) for v in text.split(","))
    except ValueError:
        raise UsageError(f"--pixels {text} is not LOW,HIGH: write for instance --pixels 0,1") from None
    return low, high


def numbers(text: str | None, kind: Callable[[str], Any]) -> list | None:
    """Numbers with commas between; None if there is no text."""
    try:
        return [kind(word) for word in text.split(",")] if text else None
    except (ValueError, ZeroDivisionError):
        raise UsageError(f"{text} is not a list of numbers: write them with commas between") from None


def fraction(word: str) -> float:
    return float(Fraction(word))


def share(text: str, option: str) -> float:
    """A share of something, written as 0.25 or as 1/4."""
    value = (numbers(text, fraction) or [0])[0]
    if not 0 < value <= 1:
        raise UsageError(f"{option} {text} is not a share: use more than 0, at most 1")
    return value


def size(word: str, text: str) -> int:
    """Bytes, written as 98304 or as 96k; `text` is the whole value of the option, for the message."""
    try:
        return int(float(word.rstrip("kK")) * (1024 if word[-1:] in "kK" else 1))
    except ValueError:
        raise UsageError(
            f"--ram {text} is not a size: write for instance --ram 96k, or 100k,70k for two blocks"
        ) from None


def blocks(text: str | None) -> list[int]:
    """Bytes of a board's blocks of RAM, from the text of --ram."""
    return [size(word, text) for word in text.split(",")] if text else []


def check_ram(arena: int, state: int, text: str) -> None:
    """Refuse an arena and a state that do not fit into the board's blocks; each must lie within one block."""
    sizes = blocks(text)
    for places in itertools.product(range(len(sizes)), repeat=2):
        left = list(sizes)
        for need, place in zip((arena, state), places):
            left[place] -= need
        if min(left) >= 0:
            return
    raise UsageError(
        f"the plan needs {arena} bytes of arena and {state} of state, --ram {text} has no room for them: "
        "train fewer layers or channels"
    )
