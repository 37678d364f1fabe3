"""How stripes.tflite was made: a network that tells flat from steep stripes, and has never seen a cross."""

import sys

import keras
import numpy as np
from keras import layers
from stripes import SIZE, pictures
from trimtab_tools.formats.read_keras import quantize

KNOWN = ("flat", "steep")


def main(path):
    keras.utils.set_random_seed(1)
    rows = pictures(600, 0, KNOWN)
    x = np.stack([image for image, _ in rows]) / 255
    y = np.array([KNOWN.index(label) for _, label in rows])
    model = keras.Sequential(
        [
            keras.Input((SIZE, SIZE, 1)),
            layers.Conv2D(8, 3, 2, padding="same", activation="relu6", name="edges"),
            layers.DepthwiseConv2D(3, padding="same", activation="relu6", name="groups"),
            layers.Conv2D(16, 1, activation="relu6", name="mix"),
            layers.GlobalAveragePooling2D(name="pool"),
            layers.Dense(2, activation="softmax", name="stripes"),
        ]
    )
    model.compile(keras.optimizers.Adam(0.01), "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(x, y, batch_size=32, epochs=15, verbose=2)
    quantize(model, x, path)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "stripes.tflite")
