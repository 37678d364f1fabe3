"""Samples for a network: .npz files with keys x and y, or a folder of images for each class.

uint8 is raw, int8 is quantized already, float holds real values that are quantized here, half away from zero.
"""

import zipfile
from pathlib import Path

import numpy as np

from .errors import DataError
from .link.client import Sample

IMAGES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".ppm", ".pgm"}
MASK = 0xFFFFFFFF
KINDS = {"u1": np.uint8, "i1": np.int8, "f2": np.float32, "f4": np.float32, "f8": np.float32}


def load(path, labels=(), shape=None, classes=None, split=None, targets=False):
    """(x, y, names): x[i] a sample in `shape` (H, W, C or what the package takes), y[i] its index in names.

    `labels` are the package's, in order; a package without any takes integers below `classes`. y is None for
    an .npz without labels. split: "train" or "val", where the .npz has a key split (0 train, 1 test) or the
    folder has subfolders of these names.
    """
    path = Path(path)
    if path.is_dir():
        return _folders(path, tuple(labels), shape, split)
    if path.suffix == ".npz" and path.is_file():
        return _npz(path, tuple(labels), shape, classes, split, targets)
    raise DataError(f"{path} is neither an .npz file nor a folder of class folders: check --data")


def quantize(x, scale, zero):
    """Real values to int8, half away from zero, saturated."""
    steps = np.asarray(x, np.float64) / np.float64(np.float32(scale))
    return np.clip(np.trunc(steps + np.copysign(0.5, steps)) + zero, -128, 127).astype(np.int8)


def samples(x, y, scale, zero, targets=None):
    """i -> Sample, as the board takes them; targets: int8 rows that follow each sample (mse)."""
    raw = x.dtype == np.uint8

    def sample(i):
        data = x[i] if x.dtype != np.float32 else quantize(x[i], scale, zero)
        tail = b"" if targets is None else targets[i].tobytes()
        return Sample(data.tobytes() + tail, 0 if y is None else int(y[i]), raw)

    return sample


def _npz(path, labels, shape, classes, split, targets):
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {key: file[key] for key in file.files if key in ("x", "y", "split")}
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"{path} cannot be read as .npz: save it with numpy.savez(path, x=x, y=y)") from error
    if "x" not in arrays:
        raise DataError(f"{path} has no key x: save it with numpy.savez(path, x=x, y=y)")
    x, y = arrays["x"], arrays.get("y")
    kind = KINDS.get(x.dtype.str[1:])
    if kind is None:
        raise DataError(f"{path}: x is {x.dtype}, samples are uint8 (raw), int8 (quantized) or float (real)")
    x = _shaped(x.astype(kind, copy=False), shape, path)
    if y is not None:
        if len(y) != len(x):
            raise DataError(f"{path} has {len(x)} samples and {len(y)} labels: each sample needs one label")
        y = _targets(y, path) if targets else indices(y, labels, classes, path)
    if split and "split" in arrays:
        chosen = arrays["split"] == (0 if split == "train" else 1)
        x, y = x[chosen], None if y is None else y[chosen]
    return x, y, labels


def _targets(y, path):
    kind = KINDS.get(y.dtype.str[1:])
    if kind in (None, np.uint8):
        raise DataError(f"{path}: y is {y.dtype}, wanted outputs are int8 (quantized) or float (real values)")
    return y.astype(kind, copy=False)


def _shaped(x, shape, path):
    if shape is None or x.shape[1:] == tuple(shape):
        return x
    if x[0:1].size != np.prod(shape):
        raise DataError(f"{path}: a sample is {_by(x.shape[1:])}, the package takes {_by(shape)}: resize it")
    return x.reshape((len(x), *shape))


def _by(shape):
    return "x".join(map(str, shape)) or "one value"


def indices(y, labels, classes=None, path="data"):
    """Labels as indices: integers index the label list, names must be in it."""
    y = np.asarray(y)
    if y.ndim != 1:
        raise DataError(f"{path}: y has shape {_by(y.shape)}: give one integer or name for each sample")
    if y.dtype.kind in "US":
        names = [name.decode() if isinstance(name, bytes) else str(name) for name in y]
        unknown = sorted(set(names) - set(labels))
        if unknown:
            raise DataError(f"{path}: label {unknown[0]!r} is not in the package: it has {_list(labels)}")
        return np.array([labels.index(name) for name in names], np.int64)
    if y.dtype.kind not in "iu":
        raise DataError(f"{path}: labels are {y.dtype}: give integers or names")
    count = len(labels) or classes
    wrong = y[(y < 0) | (y >= count)] if count else y[y < 0]
    if len(wrong):
        raise DataError(f"{path}: label {wrong[0]} is not in the package: it has {count} classes, from 0")
    return y.astype(np.int64)


def _list(labels):
    return ", ".join(labels) or "no label names (compile it with --labels)"


def _folders(path, labels, shape, split):
    """A folder of images for each class, in the order of the labels (or of the alphabet, without any)."""
    if split and (path / split).is_dir():
        path = path / split
    folders = sorted(sub.name for sub in path.iterdir() if sub.is_dir() and not sub.name.startswith("."))
    if not folders:
        raise DataError(f"{path} holds no class folders: put the images of each class into one of its name")
    names = labels or tuple(folders)
    unknown = [name for name in folders if name not in names]
    if unknown:
        raise DataError(f"{path}: label {unknown[0]!r} is not in the package: it has {_list(labels)}")
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


def image(file, shape):
    """One image as uint8 H x W x C: the largest middle part of the right proportions, resized."""
    try:
        from PIL import Image, ImageOps, UnidentifiedImageError
    except ImportError as error:
        raise DataError("reading images takes Pillow: pip install trimtab[images]") from error
    height, width, channels = shape
    try:
        with Image.open(file) as picture:
            picture = ImageOps.exif_transpose(picture).convert("RGB" if channels == 3 else "L")
            picture = ImageOps.fit(picture, (width, height), Image.Resampling.BILINEAR)
            return np.asarray(picture, np.uint8).reshape(shape)
    except (UnidentifiedImageError, OSError) as error:
        raise DataError(f"{file} cannot be read as an image: repair or remove it") from error


# -- order and synthetic samples: the same on every host, in any language


def xorshift32(state):
    """The next state of the generator (13, 17, 5); the state is the number, never 0."""
    state ^= state << 13 & MASK
    state ^= state >> 17
    return state ^ (state << 5 & MASK)


def order(n, seed, epoch):
    """The order of n samples in an epoch: Fisher-Yates from the top, the partner of i is the next number
    modulo (i + 1).

    The generator starts at (seed * 2654435761 + 2 * epoch) | 1 in 32 bits: another start for each epoch.
    """
    state = (seed * 2654435761 + 2 * epoch | 1) & MASK
    chosen = list(range(n))
    for i in range(n - 1, 0, -1):
        state = xorshift32(state)
        j = state % (i + 1)
        chosen[i], chosen[j] = chosen[j], chosen[i]
    return chosen


def synthetic(seed, i, input_bytes, classes):
    """Sample i of `trimtab simulate` without data: the low byte of each number as int8, then the label."""
    state = (seed * 2654435761 + i | 1) & MASK
    data = bytearray(input_bytes)
    for k in range(input_bytes):
        state = xorshift32(state)
        data[k] = state & 255
    return Sample(bytes(data), xorshift32(state) % classes)
