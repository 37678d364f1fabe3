"""Pictures of stripes, 12 x 12: what the network of this example looks at.

python stripes.py FOLDER writes FOLDER/photos/CLASS/*.png, photos.npz and test.npz, for trimtab train.
"""

import sys
from pathlib import Path

import numpy as np

LABELS = ("flat", "steep", "cross")
SIZE = 12


def picture(rng, label):
    """uint8 (12, 12, 1): bright stripes on a dark ground, at a random place and distance, with noise."""
    wave = np.cos(np.arange(SIZE) * 2 * np.pi / rng.uniform(3, 6) + rng.uniform(0, 2 * np.pi))
    flat = np.broadcast_to(wave[:, None], (SIZE, SIZE))
    image = {"flat": flat, "steep": flat.T, "cross": (flat + flat.T) / 2}[label]
    return np.clip(128 + 90 * image + rng.normal(0, 25, image.shape), 0, 255).astype(np.uint8)[..., None]


def pictures(n, seed, labels=LABELS):
    """A list of n (picture, label), the classes in turn."""
    rng = np.random.default_rng(seed)
    return [(picture(rng, labels[i % len(labels)]), labels[i % len(labels)]) for i in range(n)]


def main(folder):
    from PIL import Image

    folder = Path(folder)
    train = pictures(150, seed=1)
    for i, (image, label) in enumerate(train):
        place = folder / "photos" / label
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image[..., 0]).save(place / f"{i:03}.png")
    for name, rows in (("photos", train), ("test", pictures(90, seed=2))):
        x, y = zip(*rows)
        np.savez(folder / f"{name}.npz", x=np.stack(x), y=np.array(y))


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else ".")
