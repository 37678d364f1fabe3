"""Policy mobiletl beside ordinary training of the same layers, in `sim`: bytes for a block, and accuracy.

    python benchmarks/blocks.py [--seeds N] [--draw]

Bytes are counted on the paper's block (48 channels at 28x28, expanded six times), once with ReLU6 and once
with hard-swish. Accuracy is measured on MCUNet, from ImageNet to CIFAR-10, and on a small network with
hard-swish, which TensorFlow trains here, from digits to clothes. The results go to
benchmarks/results/mobiletl.json; tables of docs/results.md are drawn from there. What has been run stays
run; --draw only draws.
"""

import argparse
import json
import os
from dataclasses import asdict

import numpy as np
import paths
import tables
from accuracy import PAGE, said
from trimtab_tools.boards import simulated
from trimtab_tools.compiler import compile as compiler
from trimtab_tools.compiler import cost
from trimtab_tools.formats import read_checkpoint, read_keras, read_tflite
from trimtab_tools.lab import trial as trials
from trimtab_tools.lab.experiment import Data, Prepared
from trimtab_tools.lab.trial import Trial

RESULTS = paths.RESULTS / "mobiletl.json"
RATE, EPOCHS = 1e-3, 5
TRIALS = {  # data: [(policy, the same layers trained as usual)], test pictures
    "clothes": ([("mobiletl:3", "last:10"), ("mobiletl:1", "last:4")], 1500),
    "cifar10": ([("mobiletl:3", "last:9")], 2000),
}
SIDE, CHANNELS, EXPANSION = 28, 48, 6  # of the paper's block
SMALL = ((32, 8, 1), (32, 16, 2), (64, 16, 1), (96, 24, 2), (96, 24, 1))  # expanded, out, stride


def network(shape, stem, blocks, last, swish, classes):
    """A Keras model of inverted residual blocks, as MobileNetV2 and (without squeeze) V3 have them."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from tensorflow.keras import Input, Model, layers

    def conv(x, n, kernel, stride=1, act=True):
        make = layers.DepthwiseConv2D if n is None else lambda *a, **k: layers.Conv2D(n, *a, **k)
        x = layers.BatchNormalization()(make(kernel, strides=stride, padding="same", use_bias=False)(x))
        return (layers.Activation("hard_silu") if swish else layers.ReLU(6.0))(x) if act else x

    x = inputs = Input(shape)
    if stem:
        x = conv(x, stem, 3, 2)
    for expanded, out, stride in blocks:
        y = conv(conv(conv(x, expanded, 1), None, 5 if stem is None else 3, stride), out, 1, act=False)
        x = layers.Add()([x, y]) if stride == 1 and x.shape[-1] == out else y
    if last:
        x = conv(x, last, 1)
    x = layers.Dense(classes, activation="softmax")(layers.GlobalAveragePooling2D()(x))
    return Model(inputs, x)


# -- bytes ---------------------------------------------------------------------------------------------------


def bytes_of_blocks():
    found = []
    for name, swish in (("ReLU6", False), ("hard-swish", True)):
        model = network((SIDE, SIDE, CHANNELS), None, [(EXPANSION * CHANNELS, CHANNELS, 1)], 0, swish, 10)
        samples = np.random.default_rng(0).normal(0, 1, (8, SIDE, SIDE, CHANNELS)).astype(np.float32)
        graph = read_tflite.read(read_keras.quantize(model, samples))
        row = {"activation": name, "paper_usual": paper(swish, False), "paper_mobiletl": paper(swish, True)}
        for policy, key in (("last:3", "usual"), ("mobiletl:1", "mobiletl")):
            c = compiler.compile_graph(graph, policy, classes=10, kernels=simulated.best_tier())
            row[key] = sum(b.size for b in cost.kept(c.program))
            row[f"{key}_arena"], row[f"{key}_state"] = c.placement.size, cost.end(c.program.state)
        found.append(row)
    return found


def paper(swish, mobiletl):
    """Bytes that the paper's rule keeps for this block, in float32, norms by themselves."""
    small, wide = SIDE**2 * CHANNELS, SIDE**2 * CHANNELS * EXPANSION
    act = "smooth" if swish else "relu"
    rows = []
    for x, y, channels, inner in (
        (small, wide, EXPANSION, 1),
        (wide, wide, EXPANSION, 1),
        (wide, small, 1, 0),
    ):
        rows.append(cost.Row("conv", x, y, share=1, learns=True))
        rows.append(
            cost.Row("norm", y, y, channels * CHANNELS, share=0 if mobiletl and inner else 1, learns=True)
        )
        rows += [cost.Row(act, y, y, learns=True)] * inner
    return round((cost.MOBILETL if mobiletl else cost.MOBILETL_BASELINE).total_kept(rows))


# -- accuracy ------------------------------------------------------------------------------------------------


def clothes():
    """(graph, Data): a network that has learnt digits, and pictures of clothes."""
    import tensorflow as tf

    def load(name):
        with np.load(paths.ASSETS / "images" / name) as f:
            return [f[key] for key in ("X_train", "y_train", "X_test", "y_test")]

    x, y, *_ = load("mnist_5000_1500.npz")
    tf.keras.utils.set_random_seed(1)
    model = network((28, 28, 1), 8, SMALL, 64, True, 10)
    model.compile("adam", "sparse_categorical_crossentropy")
    digits = (x[..., None] / 255).astype(np.float32)
    model.fit(digits, y, batch_size=32, epochs=6, verbose=0)
    graph = read_tflite.read(read_keras.quantize(model, digits))
    x, y, x_test, y_test = load("fashion_mnist_5000_1500.npz")
    first = np.concatenate([np.flatnonzero(y == c)[:200] for c in range(10)])
    views = x[None, first, ..., None]
    return graph, Data(
        "clothes", views, y[first].astype(np.int64), x_test[..., None], y_test.astype(np.int64), 10
    )


def prepared(data):
    if data == "clothes":
        return Prepared(*clothes(), pixels=(0, 1))
    import datasets

    graph = read_checkpoint.read(str(paths.MCUNET))
    return Prepared(graph, datasets.cifar10())


def run(seeds):
    done = (
        json.loads(RESULTS.read_text()) if RESULTS.exists() else {"blocks": bytes_of_blocks(), "trials": []}
    )
    known = {(row["data"], row["policy"], row["seed"]) for row in done["trials"]}
    for data, (pairs, _) in TRIALS.items():
        missing = [
            Trial(policy, RATE, EPOCHS, seed)
            for seed in range(seeds)
            for pair in pairs
            for policy in pair
            if (data, policy, seed) not in known
        ]
        if not missing:
            continue
        network = prepared(data)
        for trial in missing:
            done["trials"].append({"data": data, **asdict(trial), **trials.run(network, trial)})
            RESULTS.write_text(json.dumps(done, indent=1) + "\n")
            print(data, trial.policy, trial.seed, done["trials"][-1]["test"], flush=True)
    RESULTS.write_text(json.dumps(done, indent=1) + "\n")


# -- tables --------------------------------------------------------------------------------------------------


def less(ours, usual):
    return f"{100 * (1 - ours / usual):.1f} %"


def blocks(done):
    yield (
        "activation",
        "paper's count, usual",
        "mobiletl",
        "less",
        "kept here, usual",
        "mobiletl",
        "less",
        "arena, usual",
        "mobiletl",
    )
    for r in done["blocks"]:
        yield (
            r["activation"],
            r["paper_usual"],
            r["paper_mobiletl"],
            less(r["paper_mobiletl"], r["paper_usual"]),
            r["usual"],
            r["mobiletl"],
            less(r["mobiletl"], r["usual"]),
            r["usual_arena"],
            r["mobiletl_arena"],
        )


def of(done, data, policy):
    """Results of all seeds, in order."""
    found = [r for r in done["trials"] if (r["data"], r["policy"]) == (data, policy)]
    return sorted(found, key=lambda r: r["seed"])


def tests(done, data, policy):
    return [r["test"] for r in of(done, data, policy)]


def accuracies(done):
    yield "data", "policy", "test", "the same layers as usual", "difference", "kept, bytes", "usual"
    for data, (pairs, n) in TRIALS.items():
        for pair in pairs:
            found = [tests(done, data, policy) for policy in pair]
            gaps = [ours - usual for ours, usual in zip(*found)]
            gap = f"{np.mean(gaps):+.1f}" if gaps else "not run"
            kept = (r[0]["kept_bytes"] if (r := of(done, data, policy)) else "" for policy in pair)
            yield data, pair[0], *(said(t, n) for t in found), gap, *kept


TABLES = {"blocks": blocks, "mobiletl": accuracies}


def page(done, text):
    """The page with its tables drawn anew."""
    return tables.redrawn(text, {name: rows(done) for name, rows in TABLES.items()})


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=2, help="of each trial (default 2)")
    parser.add_argument("--draw", action="store_true", help="only draw what is there")
    args = parser.parse_args()
    if not args.draw:
        run(args.seeds)
    PAGE.write_text(page(json.loads(RESULTS.read_text()), PAGE.read_text()))


if __name__ == "__main__":
    main()
