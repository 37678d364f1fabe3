"""Views of pictures, by which a data set of images is enlarged."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from PIL.Image import Image


def resized(pictures: Sequence[Image], size: int) -> np.ndarray:
    """uint8 (n, size, size, 3) of PIL images."""
    from PIL.Image import Resampling

    return np.stack([np.asarray(p.resize((size, size), Resampling.BICUBIC), np.uint8) for p in pictures])


def views(pictures: Sequence[Image], size: int, smallest: float = 0.6, seed: int = 0) -> np.ndarray:
    """uint8 (4, n, size, size, 3) of PIL images: whole, mirrored, a random part, another part mirrored.

    A part has from `smallest` to all of the area, and proportions from 4:5 to 5:4.
    """
    rng = np.random.RandomState(seed)

    def part(picture):
        w, h = picture.size
        area, ratio = rng.uniform(smallest, 1) * w * h, np.exp(rng.uniform(np.log(0.8), np.log(1.25)))
        pw, ph = min(w, round((area * ratio) ** 0.5)), min(h, round((area / ratio) ** 0.5))
        x, y = rng.randint(0, w - pw + 1), rng.randint(0, h - ph + 1)
        return picture.crop((x, y, x + pw, y + ph))

    whole, parts, others = (resized([take(p) for p in pictures], size) for take in (lambda p: p, part, part))
    return np.stack([whole, whole[:, :, ::-1], parts, others[:, :, ::-1]])
