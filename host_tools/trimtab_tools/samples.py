"""Samples: what one is, how they are read from files, in which order they are trained.

Two kinds of files are read: .npz with keys x and y, and a folder with one folder of images for each class.
The type of x says what the numbers are: uint8 is raw (pixels as a camera gives them), int8 is already
quantized for the network, and floats are real values that are quantized here.
"""

import functools
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from .errors import DataError

IMAGES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".ppm", ".pgm"}
MASK = 0xFFFFFFFF
KINDS = {"u1": np.uint8, "i1": np.int8, "f2": np.float32, "f4": np.float32, "f8": np.float32}


class Sample(NamedTuple):
    """One sample as it travels to a board."""

    data: bytes  # uint8 with raw=True, else int8; for mse the int8 target follows
    label: int = 0  # index of the class
    raw: bool = False


def load(
    path: str | Path,
    labels: Sequence[str] = (),
    shape: Sequence[int] | None = None,
    classes: int | None = None,
    split: str | None = None,
    targets: bool = False,
) -> tuple[np.ndarray, np.ndarray | None, tuple[str, ...]]:
    """Read (x, y, names): x[i] is a sample of `shape`, names[y[i]] is its class.

    `labels` are the class names of the package, in order. A package without names takes integers below
    `classes`. y is None where an .npz has no labels. With `targets`, y is not a class but the wanted
    outputs of a regression. `split` is "train" or "val" and selects by the key split of the .npz (0 train,
    1 val) or by the subfolder of that name, if there is one.
    """
    path = Path(path)
    if path.is_dir():
        return _folders(path, tuple(labels), shape, split)
    if path.suffix == ".npz" and path.is_file():
        return _npz(path, tuple(labels), shape, classes, split, targets)
    raise DataError(f"{path} is neither an .npz file nor a folder of class folders: check --data")


# -- numbers


def quantize(x: np.ndarray, scale: float, zero: int) -> np.ndarray:
    """Real values to int8: halves are rounded away from zero, what is out of range saturates."""
    steps = np.asarray(x, np.float64) / np.float64(np.float32(scale))
    return np.clip(np.trunc(steps + np.copysign(0.5, steps)) + zero, -128, 127).astype(np.int8)


def raw_map(tensor: Any, pixels: tuple[float, float] | None = None) -> np.ndarray:
    """The int8 value of each raw byte 0 to 255 in an input tensor, as a package maps it.

    `tensor` is a Tensor of graph/ir.py.
    `pixels` are the real values of raw 0 and 255. Without them, raw bytes cover the whole range of the input.
    """
    levels = np.arange(256)
    if not pixels:
        return (levels - 128).astype(np.int8)
    real = pixels[0] + (pixels[1] - pixels[0]) * levels / 255
    return np.clip(np.rint(real / tensor.scale[0]) + tensor.zero_point, -128, 127).astype(np.int8)


def samples(
    x: np.ndarray, y: np.ndarray | None, scale: float, zero: int, targets: np.ndarray | None = None
) -> Callable[[int], Sample]:
    """A function that gives the Sample of an index. `targets` are int8 rows, one behind each sample (mse)."""
    raw = x.dtype == np.uint8

    def sample(i):
        data = x[i] if x.dtype != np.float32 else quantize(x[i], scale, zero)
        tail = b"" if targets is None else targets[i].tobytes()
        return Sample(data.tobytes() + tail, 0 if y is None else int(y[i]), raw)

    return sample


# -- labels


def indices(
    y: npt.ArrayLike, labels: Sequence[str] = (), classes: int | None = None, path: str | Path = "data"
) -> np.ndarray:
    """Labels as indices: names are looked up in the label list, integers are indices already."""
    y = np.asarray(y)
    if y.ndim != 1:
        raise DataError(f"{path}: y has shape {_by(y.shape)}: give one integer or name for each sample")
    if y.dtype.kind in "US":
        return _named([name.decode() if isinstance(name, bytes) else str(name) for name in y], labels, path)
    if y.dtype.kind not in "iu":
        raise DataError(f"{path}: labels are {y.dtype}: give integers or names")
    count = len(labels) or classes
    wrong = outside(y, count)
    if wrong is not None:
        raise DataError(f"{path}: label {wrong} is not in the package: it has {count} classes, from 0")
    return y.astype(np.int64)


def outside(y: npt.ArrayLike, classes: int | None) -> int | None:
    """The first label that is not one of so many classes; without a number of classes, the first negative
    one.
    """
    y = np.asarray(y)
    wrong = y[(y < 0) | (y >= classes)] if classes else y[y < 0]
    return int(wrong[0]) if len(wrong) else None


def _named(names, labels, path):
    _known(names, labels, labels, path)
    index = {name: i for i, name in enumerate(labels)}
    return np.array([index[name] for name in names], np.int64)


def _known(names, known, labels, path):
    """Refuse the first name that is not among the known ones."""
    unknown = sorted(set(names) - set(known))
    if unknown:
        has = ", ".join(labels) or "no label names (compile it with --labels)"
        raise DataError(f"{path}: label {unknown[0]!r} is not in the package: it has {has}")


# -- .npz files


def _npz(path, labels, shape, classes, split, targets):
    arrays = _arrays(path)
    x, y = _kind(arrays["x"], shape, path), arrays.get("y")
    if y is not None:
        if len(y) != len(x):
            raise DataError(f"{path} has {len(x)} samples and {len(y)} labels: each sample needs one label")
        y = _targets(y, path) if targets else indices(y, labels, classes, path)
    if split and "split" in arrays:
        chosen = arrays["split"] == (0 if split == "train" else 1)
        x, y = x[chosen], None if y is None else y[chosen]
    return x, y, labels


def _arrays(path):
    """The arrays of the file that have a meaning here. Pickled objects are refused: loading runs code."""
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {key: file[key] for key in file.files if key in ("x", "y", "split")}
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"{path} cannot be read as .npz: save it with numpy.savez(path, x=x, y=y)") from error
    if "x" not in arrays:
        raise DataError(f"{path} has no key x: save it with numpy.savez(path, x=x, y=y)")
    return arrays


def _kind(x, shape, path):
    """x as one of the three kinds of samples, in the shape that the package takes."""
    kind = KINDS.get(x.dtype.str[1:])
    if kind is None:
        raise DataError(f"{path}: x is {x.dtype}, samples are uint8 (raw), int8 (quantized) or float (real)")
    x = x.astype(kind, copy=False)
    if shape is None or x.shape[1:] == tuple(shape):
        return x
    if x[0:1].size != np.prod(shape):
        raise DataError(f"{path}: a sample is {_by(x.shape[1:])}, the package takes {_by(shape)}: resize it")
    return x.reshape((len(x), *shape))


def _targets(y, path):
    kind = KINDS.get(y.dtype.str[1:])
    if kind in (None, np.uint8):
        raise DataError(f"{path}: y is {y.dtype}, wanted outputs are int8 (quantized) or float (real values)")
    return y.astype(kind, copy=False)


def _by(shape):
    return "x".join(map(str, shape)) or "one value"


# -- folders of images


def _folders(path, labels, shape, split):
    """One folder of images for each class, in the order of the labels, or of the alphabet if there are
    none.
    """
    if split and (path / split).is_dir():
        path = path / split
    folders = sorted(sub.name for sub in path.iterdir() if sub.is_dir() and not sub.name.startswith("."))
    if not folders:
        raise DataError(f"{path} holds no class folders: put the images of each class into one of its name")
    names = labels or tuple(folders)
    _known(folders, names, labels, path)
    if shape is None or len(shape) != 3 or shape[2] not in (1, 3):
        raise DataError(f"images do not fit a package that takes {_by(shape or ())}: give it an .npz file")
    files = [
        (file, names.index(name))
        for name in folders
        for file in sorted((path / name).iterdir())
        if file.suffix.lower() in IMAGES
    ]
    if not files:
        raise DataError(f"{path} holds no images: .png and .jpg are read")
    x = np.stack([image(file, shape) for file, _ in files])
    return x, np.array([y for _, y in files], np.int64), names


def image(file: str | Path, shape: Sequence[int]) -> np.ndarray:
    """One image as uint8 (H, W, C): the largest middle part of the right proportions, resized."""
    try:
        from PIL import Image, ImageOps, UnidentifiedImageError
    except ImportError as error:
        raise DataError("reading images takes Pillow: pip install trimtab[images]") from error
    height, width, channels = shape
    try:
        with Image.open(file) as opened:
            upright = ImageOps.exif_transpose(opened).convert("RGB" if channels == 3 else "L")
            picture = ImageOps.fit(upright, (width, height), Image.Resampling.BILINEAR)
            return np.asarray(picture, np.uint8).reshape(shape)
    except (UnidentifiedImageError, OSError) as error:
        raise DataError(f"{file} cannot be read as an image: repair or remove it") from error


# -- order and noise: integer arithmetic only, so that every host gets the same in any language


def xorshift32(state: int) -> int:
    """The next state of Marsaglia's generator (13, 17, 5). The state is the random number; it is never 0."""
    state ^= state << 13 & MASK
    state ^= state >> 17
    return state ^ (state << 5 & MASK)


def order(n: int, seed: int, epoch: int) -> list[int]:
    """The order of n samples in an epoch: Fisher-Yates from the top.

    The partner of i is the next random number modulo (i + 1). The generator starts at
    (seed * 2654435761 + 2 * epoch) | 1 in 32 bits, which differs for each epoch.
    """
    state = (seed * 2654435761 + 2 * epoch | 1) & MASK
    chosen = list(range(n))
    for i in range(n - 1, 0, -1):
        state = xorshift32(state)
        j = state % (i + 1)
        chosen[i], chosen[j] = chosen[j], chosen[i]
    return chosen


def synthetic(seed: int, i: int, input_bytes: int, classes: int) -> Sample:
    """Sample i of noise: the low byte of each random number is an int8 input; one more number gives the
    label.
    """
    words = random_words((seed * 2654435761 + i | 1) & MASK, input_bytes + 1)
    return Sample(words[:-1].astype(np.uint8).tobytes(), int(words[-1]) % classes)


def random_words(state: int, n: int) -> np.ndarray:
    """The next n numbers of xorshift32. All that are known give as many more, each so many steps ahead."""
    words, doublings = np.array([xorshift32(state)], np.uint32), 0
    while len(words) < n:
        words = np.concatenate([words, _ahead(words, _leap(doublings))])
        doublings += 1
    return words[:n]


@functools.cache
def _leap(doublings: int) -> np.ndarray:
    """What each byte of a state adds to the state 2 ** doublings steps later: 4 tables of 256 words.

    A step is linear over bits, so a later state is the exclusive or of what its four bytes become.
    """
    if doublings:
        half = _leap(doublings - 1)
        return _ahead(half, half)
    words = np.arange(256, dtype=np.uint32) << (8 * np.arange(4, dtype=np.uint32)[:, None])
    words ^= words << 13
    words ^= words >> 17
    return words ^ (words << 5)


def _ahead(words: np.ndarray, leap: np.ndarray) -> np.ndarray:
    later = leap[0][words & 255]
    for byte in (1, 2, 3):
        later ^= leap[byte][words >> (8 * byte) & 255]
    return later
