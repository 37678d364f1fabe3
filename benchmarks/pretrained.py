"""Train lite residual modules for MCUNet on a source task first: flowers5, in `sim`.

    python benchmarks/pretrained.py

The modules go to benchmarks/results/modules.npz. accuracy.py begins a trial on CIFAR-10 from there, beside
one with random modules. Trunk and biases stay as they are; the head is not kept.
"""

import argparse

import numpy as np
import paths
from trimtab_tools.boards import simulated
from trimtab_tools.boards.progress import bar as progress_bar
from trimtab_tools.compiler.package_reading import Contents
from trimtab_tools.formats import read_checkpoint
from trimtab_tools.lab import trial
from trimtab_tools.lab.experiment import Prepared
from trimtab_tools.lab.trial import Trial

RESULT = paths.RESULTS / "modules.npz"
SOURCE = Trial("tinytl:6,nobias", 2e-3, 4)


def main():
    import datasets

    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    graph = read_checkpoint.read(str(paths.MCUNET))
    prepared = Prepared(graph, datasets.flowers5())
    made = trial.compile_trial(prepared, SOURCE)
    net = simulated.load(made.data, simulated.best_tier())
    train, _ = prepared.at(made.program.latent.name)
    net.begin(SOURCE.epochs * len(prepared.y))
    with progress_bar() as bar:
        task = bar.add_task("modules on flowers5", total=SOURCE.epochs * len(prepared.y), speed="")
        for samples in trial.schedule(len(prepared.y), len(train), SOURCE):
            for view, at in samples:
                net.train_latent(train[view, at].tobytes(), prepared.y[at])
                bar.advance(task)
    tuned = Contents(made.data, b"".join(bytes(part) for part in net.segments)).graph()
    modules = [op for op in tuned.ops if op.kind == "tinytl"]
    np.savez_compressed(
        RESULT, **{f"{op.name}|{name}": tuned[name].data for op in modules for name in op.inputs[2:]}
    )
    print(f"{RESULT}: {len(modules)} modules")


if __name__ == "__main__":
    main()
