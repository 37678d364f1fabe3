"""A class added on the board, with replay and without: what the old classes lose.

    python benchmarks/replay.py [--draw]

For each digit of NEW, a network is trained in Keras on the nine other digits of MNIST; it stays in the
cache. The board's API trains its head again in `sim`, whose arithmetic is the board's bit for bit. Then the
digit is added and learned from 50 samples. The results go to benchmarks/results/replay.json; a table of
docs/results.md is drawn from there. --draw only draws.
"""

import argparse
import json
import os
from pathlib import Path

import numpy as np
import paths
import tables
from trimtab.replay import Replay
from trimtab_tools.boards import simulated
from trimtab_tools.compiler import compile as compiler
from trimtab_tools.formats import read_tflite
from trimtab_tools.lab import batch
from trimtab_tools.toolchain import cache

RESULTS, PAGE = paths.RESULTS / "replay.json", paths.RESULTS_PAGE
ASSET = paths.ASSETS / "images" / "mnist_5000_1500.npz"
NEW = (0, 1, 2, 9)  # the digit that is added, and the seed
RATE, EPOCHS, SAMPLES, ROWS, TIMES = 4e-3, 3, 50, 200, 9


def mnist():
    """(pictures, digits) to train with and to test with."""
    with np.load(ASSET) as file:
        return tuple(
            (file[f"X_{part}"][..., None], file[f"y_{part}"].astype(int)) for part in ("train", "test")
        )


def index(new):
    """digit -> class: the nine known ones in order, then the new one."""
    old = [digit for digit in range(10) if digit != new]
    return np.array([9 if digit == new else old.index(digit) for digit in range(10)])


# -- the network, on the PC


def network(new):
    """The path of the int8 network that knows nine digits."""
    return (
        cache.built(f"replay-{new}", [Path(__file__).name, str(new), "1"], lambda out: pretrain(new, out))
        / "net.tflite"
    )


def pretrain(new, out):
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import keras
    from trimtab_tools.formats.read_keras import quantize

    (x, y), _ = mnist()
    x, y = x[y != new], index(new)[y[y != new]]
    keras.utils.set_random_seed(new)
    moves = np.random.RandomState(0)
    moved = [
        np.stack([np.roll(one, (moves.randint(-2, 3), moves.randint(-2, 3)), (0, 1)) for one in x])
        for _ in range(2)
    ]
    model, epochs = layers(keras), 12
    rate = keras.optimizers.schedules.CosineDecay(5e-3, epochs * (3 * len(x) // 64 + 1))
    model.compile(keras.optimizers.Adam(rate), "sparse_categorical_crossentropy")
    model.fit(np.concatenate([x, *moved]) / 255, np.tile(y, 3), batch_size=64, epochs=epochs, verbose=0)
    quantize(model, x[:500] / 255, out / "net.tflite")


def layers(keras):
    """A DS-CNN of 1.3 million multiplications that gives 128 features."""
    layer = keras.layers

    def normed(x, kind, name, *args):
        x = kind(*args, padding="same", use_bias=False, name=name)(x)
        return layer.ReLU(6, name=f"{name}_relu")(layer.BatchNormalization(name=f"{name}_norm")(x))

    image = keras.Input((28, 28, 1))
    x = normed(image, layer.Conv2D, "stem", 16, 3, 2)
    for i, (channels, stride) in enumerate(((48, 1), (64, 2), (96, 1), (128, 1))):
        x = normed(x, layer.DepthwiseConv2D, f"dw{i}", 3, stride)
        x = normed(x, layer.Conv2D, f"pw{i}", channels, 1)
    x = layer.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(image, layer.Dense(9, activation="softmax", name="digit")(x))


# -- the board


def known(new):
    """A package, and the state of a net that was taught nine digits; the replay that saw them."""
    graph = read_tflite.read(network(new))
    names = tuple(str(digit) for digit in range(10) if digit != new)
    made = compiler.compile_graph(
        graph, "last", labels=names, max_classes=10, rate=RATE, kernels=simulated.best_tier()
    )
    net = simulated.load(made.data, simulated.best_tier())
    (x, y), _ = mnist()
    old, rng = np.flatnonzero(y != new), np.random.default_rng(new)
    latents = {i: net.latent(x[i].tobytes()) for i in old}
    replay = Replay(net, ROWS)
    net.begin(EPOCHS * len(old))
    for epoch in range(EPOCHS):
        for i in rng.permutation(old):
            net.train_latent(latents[i], str(y[i]))
            if not epoch:
                replay.add(x[i].tobytes(), str(y[i]))
    return net, replay


def shares(net, new):
    """Right answers in percent: of the old classes, of the new one."""
    _, (x, y) = mnist()
    right = np.array([*batch.each(net, lambda one, i: one.predict(x[i].tobytes()) == str(y[i]), len(y))])
    return [round(100 * float(right[at].mean()), 1) for at in (y != new, y == new)]


def add(new, times):
    """Teach one more digit; times 0: without replay, from the same samples again and again, for as many
    steps.
    """
    net, replay = known(new)
    before = shares(net, new)[0]
    (x, y), _ = mnist()
    rng = np.random.default_rng(new + 100)
    some = rng.permutation(np.flatnonzero(y == new))[:SAMPLES]
    net.add_class(str(new))
    net.begin(SAMPLES * (1 + TIMES))
    for _ in range(1 if times else 1 + TIMES):
        for i in rng.permutation(some):
            replay.train(x[i].tobytes(), str(new), times=times)
    old, fresh = shares(net, new)
    return {
        "new": new,
        "seed": new,
        "times": times,
        "before": before,
        "old": old,
        "new_class": fresh,
        "steps": net.step,
        "replay_bytes": len(replay.data) if times else 0,
        "row_bytes": replay.row_bytes,
        "state_crc": net.state_crc(),
    }


# -- the page


def table(rows):
    yield (
        "digit added",
        "old classes before",
        "after, with replay",
        "new class",
        "after, without replay",
        "new class",
    )
    pairs = [
        [next(r for r in rows if (r["new"], r["times"]) == (new, times)) for times in (TIMES, 0)]
        for new in NEW
    ]
    for w, wo in pairs:
        yield w["new"], w["before"], f"**{w['old']}**", w["new_class"], wo["old"], wo["new_class"]
    loss = [np.array([r[i]["before"] - r[i]["old"] for r in pairs]) for i in (0, 1)]
    learnt = [np.mean([r[i]["new_class"] for r in pairs]) for i in (0, 1)]
    said = [f"{-v.mean():.1f} ± {v.std(ddof=1) / len(v) ** 0.5:.1f}" for v in loss]
    yield "mean change", "", f"**{said[0]}**", f"{learnt[0]:.1f}", said[1], f"{learnt[1]:.1f}"


def page(rows, text):
    """The page with its table drawn anew."""
    return tables.redrawn(text, {"replay": table(rows)})


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--draw", action="store_true", help="only draw the table from the results that are there"
    )
    if not parser.parse_args().draw:
        rows = [add(new, times) for new in NEW for times in (TIMES, 0)]
        RESULTS.write_text("[\n" + ",\n".join(map(json.dumps, rows)) + "\n]\n")
    PAGE.write_text(page(json.loads(RESULTS.read_text()), PAGE.read_text()))


if __name__ == "__main__":
    main()
