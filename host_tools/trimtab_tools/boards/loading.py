"""Samples of a file or folder, or noise, in the form that a package takes."""

import functools
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from .. import samples as data
from ..compiler.package_reading import Contents
from ..errors import UsageError
from ..graph.ir import Tensor


def load(contents: Contents, source: Path | str, more: Sequence[str] = ()) -> list[data.Sample]:
    """The samples of a source, as they go over the link. more: names of classes beyond the package's."""
    t, mse = contents.input, contents.loss == "mse"
    assert t.scale is not None, "an input has a scale"
    x, y, _ = data.load(
        source, [*contents.labels, *more], t.shape[1:], contents.package.classes + len(more), targets=mse
    )
    if y is None and not mse:
        raise UsageError(f"{source} has no labels: save it with numpy.savez(path, x=..., y=...)")
    wanted = _wanted(contents.output, real_values(x, t) if y is None else y, source) if mse else None
    sample = data.samples(x, None if mse else y, t.scale[0], t.zero_point, wanted)
    return [sample(i) for i in range(len(x))]


def _wanted(out, y, source):
    """Targets as int8 rows of the output tensor."""
    y = y.reshape(len(y), -1)
    if y.shape[1] != out.size:
        raise UsageError(
            f"a target of {source} has {y.shape[1]} values, the network gives {out.size}: correct y"
        )
    return y if y.dtype == np.int8 else data.quantize(y, out.scale[0], out.zero_point)


def real_values(x: np.ndarray, tensor: Tensor) -> np.ndarray:
    """The real values of samples: the input's scale applies to integers, raw bytes cover its whole range."""
    if x.dtype == np.float32:
        return x
    assert tensor.scale is not None, "an input has a scale"
    levels = x.astype(np.float64) - (128 if x.dtype == np.uint8 else 0)
    return (levels - tensor.zero_point) * tensor.scale[0]


def shuffled(samples: Sequence[data.Sample], seed: int) -> Callable[[int], data.Sample]:
    """i -> sample i of a training that repeats the samples, in another order each time."""
    order = functools.lru_cache(2)(lambda epoch: data.order(len(samples), seed, epoch))
    return lambda i: samples[order(i // len(samples))[i % len(samples)]]


def noise(contents: Contents, seed: int) -> Callable[[int], data.Sample]:
    """i -> sample i of a generator that starts at the seed. With mse its next numbers are the target."""
    p = contents.package
    if contents.loss == "mse":
        return lambda i: data.synthetic(seed, i, p.input_bytes + p.output_count, 1)
    return lambda i: data.synthetic(seed, i, p.input_bytes, p.classes)
