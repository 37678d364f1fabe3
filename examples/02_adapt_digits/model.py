"""A small network that reads handwritten digits, and a camera that it was not made for.

python model.py [FOLDER] [SEED] trains the network on the PC and writes
    digits.keras     the network
    digits.tflite    the same, quantized to int8
    clear.npz        test pictures as it knows them
    train.npz        pictures of the board's camera, to adapt to
    test.npz         pictures of the board's camera, to count errors
"""

import sys
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits

PRETRAIN, ADAPT = 1247, 400  # of 1797 pictures; the other 150 are the test
EPOCHS = 30


def pictures():
    """uint8 (1797, 8, 8, 1) and labels, shuffled once: bright ink on black."""
    digits = load_digits()
    x = np.rint(digits.images * (255 / 16)).astype(np.uint8)[..., None]
    order = np.random.default_rng(0).permutation(len(x))
    return x[order], digits.target[order]


def hazy(x):
    """The board's camera looks through haze: black turns grey, contrast falls, the sensor adds noise."""
    noise = np.random.default_rng(1).normal(0, 8, x.shape)
    return np.clip(np.rint(100 + 0.55 * x + noise), 0, 255).astype(np.uint8)


def network():
    """73 thousand multiplications: three inverted residual blocks, two of them with a skip connection."""
    from keras import Input, Model, layers

    def normed(name, layer, x, relu=True):
        x = layers.BatchNormalization(name=f"{name}_norm")(layer(x))
        return layers.ReLU(6, name=f"{name}_relu")(x) if relu else x

    def conv(name, x, channels, size=1, relu=True):
        layer = layers.Conv2D(channels, size, padding="same", use_bias=False, name=name)
        return normed(name, layer, x, relu)

    def block(name, x, wide, out, stride=1):
        y = conv(f"{name}_expand", x, wide)
        middle = f"{name}_depthwise"
        y = normed(middle, layers.DepthwiseConv2D(3, stride, padding="same", use_bias=False, name=middle), y)
        y = conv(f"{name}_project", y, out, relu=False)
        return layers.Add(name=f"{name}_add")([x, y]) if x.shape == y.shape else y

    image = Input((8, 8, 1))
    x = conv("stem", image, 8, size=3)
    x = block("early", x, 16, 16, stride=2)
    x = block("middle", x, 24, 16)
    x = block("late", x, 24, 16)
    x = layers.GlobalAveragePooling2D(name="pool")(conv("features", x, 48))
    return Model(image, layers.Dense(10, activation="softmax", name="digit")(x))


def train(x, y, seed=1):
    """The network, trained on real values from 0 to 1."""
    import keras

    keras.utils.set_random_seed(seed)
    model = network()
    rate = keras.optimizers.schedules.CosineDecay(5e-3, EPOCHS * -(-len(x) // 32))
    model.compile(keras.optimizers.Adam(rate), "sparse_categorical_crossentropy")
    model.fit(x / 255, y, batch_size=32, epochs=EPOCHS, verbose=0)
    return model


def main(folder=".", seed=1):
    from trimtab_tools.formats.read_keras import quantize

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    x, y = pictures()
    model = train(x[:PRETRAIN], y[:PRETRAIN], int(seed))
    model.save(folder / "digits.keras")
    quantize(model, x[:PRETRAIN] / 255, folder / "digits.tflite")
    adapt, test = slice(PRETRAIN, PRETRAIN + ADAPT), slice(PRETRAIN + ADAPT, None)
    seen = hazy(x)
    for name, pictured, part in (("clear", x, test), ("train", seen, adapt), ("test", seen, test)):
        np.savez_compressed(folder / f"{name}.npz", x=pictured[part], y=y[part])


if __name__ == "__main__":
    main(*sys.argv[1:])
