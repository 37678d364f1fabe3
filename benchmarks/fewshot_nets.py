"""The networks of the few-shot benchmark: a trunk for characters of 28x28 pixels, trained in two ways.

    python benchmarks/fewshot_nets.py meta|ordinary

Both ways use five alphabets and see as many pictures. `meta` is ProtoNet: episodes of some characters, with
cross-entropy on the cosines between queries and prototypes. `ordinary` tells all characters apart by a
dense layer, which is thrown away. The int8 networks end in their features and are kept in the user's cache.
"""

import argparse
import functools
import hashlib
from dataclasses import asdict, dataclass

import numpy as np
import paths
from trimtab_tools.formats import read_keras, read_tflite
from trimtab_tools.toolchain import cache

TRAINED = 5  # alphabets; the others are for tasks
BLOCKS = (
    (24, 1),
    (32, 2),
    (32, 1),
    (48, 1),
    (48, 2),
    (64, 1),
)  # (channels, stride) of depthwise-separable pairs


@dataclass(frozen=True)
class Recipe:
    kind: str
    ways: int = 20
    shots: int = 5
    queries: int = 5
    episodes: int = 1500
    rate: float = 2e-3
    scale: float = 10.0  # of cosines
    seed: int = 0


@functools.cache
def omniglot():
    """(pictures uint8 (n, 28, 28, 1), character, alphabet of each picture)"""
    with np.load(paths.ASSETS / "images" / "omniglot_small_28.npz") as file:
        return file["X"][..., None], file["y"].astype(np.int64), file["alphabet"]


def training_pictures():
    """float (characters, 20, 28, 28, 1) in 0..1; a character turned by a quarter is another character."""
    x, y, alphabet = omniglot()
    seen = x[alphabet < TRAINED]
    drawn = seen.reshape(-1, 20, 28, 28, 1)
    assert np.array_equal(y[alphabet < TRAINED].reshape(-1, 20)[:, 0], np.arange(len(drawn)))
    return np.concatenate([np.rot90(drawn, turns, (2, 3)) for turns in range(4)]).astype(np.float32) / 255


def network(recipe):
    """The int8 graph that ends in its features."""
    digest = hashlib.sha256(repr((asdict(recipe), BLOCKS)).encode()).hexdigest()[:12]
    path = cache.folder() / "fewshot" / f"{recipe.kind}-{digest}.tflite"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        trunk = TRAININGS[recipe.kind](recipe)
        some = np.random.default_rng(recipe.seed).permutation(training_pictures().reshape(-1, 28, 28, 1))[
            :200
        ]
        path.write_bytes(read_keras.quantize(trunk, some))
    return read_tflite.read(str(path))


def _trunk(tf):
    layers = tf.keras.layers
    x = entry = tf.keras.Input((28, 28, 1))

    def block(x, layer, last=False):
        x = layers.BatchNormalization()(layer(x))
        return x if last else layers.ReLU(6.0)(x)

    x = block(x, layers.Conv2D(16, 3, 2, "same", use_bias=False, name="first"))
    for i, (channels, stride) in enumerate(BLOCKS):
        x = block(x, layers.DepthwiseConv2D(3, stride, "same", use_bias=False, name=f"depthwise{i}"))
        x = block(x, layers.Conv2D(channels, 1, use_bias=False, name=f"pointwise{i}"), i + 1 == len(BLOCKS))
    return tf.keras.Model(entry, layers.GlobalAveragePooling2D()(x))


def _shifted(x, rng):
    """Each picture moved by up to two pixels."""
    padded = np.pad(x, ((0, 0), (2, 2), (2, 2), (0, 0)))
    at = rng.integers(0, 5, (len(x), 2))
    return np.stack([one[top : top + 28, left : left + 28] for one, (top, left) in zip(padded, at)])


def _rates(tf, recipe):
    return tf.keras.optimizers.Adam(tf.keras.optimizers.schedules.CosineDecay(recipe.rate, recipe.episodes))


def _meta(recipe):
    tf = read_keras.tensorflow()
    tf.keras.utils.set_random_seed(recipe.seed)
    rng, drawn, trunk = np.random.default_rng(recipe.seed), training_pictures(), _trunk(tf)
    optimizer = _rates(tf, recipe)
    n, shots = recipe.ways, recipe.shots
    labels = tf.repeat(tf.range(n), recipe.queries)

    @tf.function
    def step(x):
        with tf.GradientTape() as tape:
            f = tf.math.l2_normalize(trunk(x, training=True), -1)
            prototypes = tf.reduce_mean(tf.reshape(f[: n * shots], (n, shots, -1)), 1)
            logits = recipe.scale * f[n * shots :] @ tf.transpose(tf.math.l2_normalize(prototypes, -1))
            loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits))
        optimizer.apply_gradients(
            zip(tape.gradient(loss, trunk.trainable_variables), trunk.trainable_variables)
        )
        return loss, tf.reduce_mean(tf.cast(tf.argmax(logits, 1, tf.int32) == labels, tf.float32))

    def episode():
        chosen = [
            drawn[c, rng.permutation(20)[: shots + recipe.queries]] for c in rng.permutation(len(drawn))[:n]
        ]
        support, query = (
            [x for one in chosen for x in one[part]] for part in (slice(shots), slice(shots, None))
        )
        return _shifted(np.stack(support + query), rng)

    _loop(step, episode, recipe)
    return trunk


def _ordinary(recipe):
    tf = read_keras.tensorflow()
    tf.keras.utils.set_random_seed(recipe.seed)
    rng, drawn, trunk = np.random.default_rng(recipe.seed), training_pictures(), _trunk(tf)
    classifier = tf.keras.layers.Dense(len(drawn))
    classifier.build(trunk.output.shape)
    optimizer = _rates(tf, recipe)
    variables = trunk.trainable_variables + classifier.trainable_variables

    @tf.function
    def step(x, labels):
        with tf.GradientTape() as tape:
            logits = classifier(trunk(x, training=True))
            loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits))
        optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables))
        return loss, tf.reduce_mean(tf.cast(tf.argmax(logits, 1) == labels, tf.float32))

    def batch():
        n = recipe.ways * (recipe.shots + recipe.queries)
        labels, which = rng.integers(0, len(drawn), n), rng.integers(0, 20, n)
        return _shifted(drawn[labels, which], rng), labels

    _loop(lambda pair: step(*pair), batch, recipe)
    return trunk


def _loop(step, draw, recipe):
    mean = np.zeros(2)
    for i in range(recipe.episodes):
        mean += [float(v) for v in step(draw())]
        if (i + 1) % 100 == 0:
            print(
                f"{recipe.kind} {i + 1}/{recipe.episodes}  loss {mean[0] / 100:.3f}  "
                f"accuracy {mean[1] / 100:.3f}",
                flush=True,
            )
            mean[:] = 0


TRAININGS = {"meta": _meta, "ordinary": _ordinary}

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("kinds", nargs="+", choices=TRAININGS)
    for name in parser.parse_args().kinds:
        graph = network(Recipe(name))
        print(name, len(graph.ops), "layers,", graph[graph.outputs[0]].size, "features")
