"""A scheme for MCUNet within 99 KB, found on CIFAR-10 by our own search, in `sim`.

    python benchmarks/searched.py [--workers N]

A quarter of the 2000 training pictures judges; no test picture is seen. Candidates are the first pointwise
convolutions of the blocks in the second half, as in the published schemes. The result goes to
benchmarks/results/search.json; accuracy.py trains that scheme beside the published one. The search can be
stopped at any time and goes on.
"""

import argparse
import contextlib
import functools
import json

import paths
from trimtab_tools.boards.progress import bar as progress_bar
from trimtab_tools.formats import read_checkpoint
from trimtab_tools.lab import runners, search
from trimtab_tools.lab.experiment import Prepared

RESULT = paths.RESULTS / "search.json"
BUDGET = 99.84  # KB by MCUNetV3's rule: what the published scheme takes
LAYERS = (21, 24, 27, 30, 33, 36, 39)
DEPTHS = (6, 12, 22)
EPOCHS = 2


@contextlib.contextmanager
def stage(what):
    with progress_bar() as bar:
        task = bar.add_task(what, total=None, speed="")
        yield lambda done, total: bar.update(task, completed=done, total=total)


def main():
    import datasets

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workers", type=int, default=2, help="trials at a time (default 2)")
    args = parser.parse_args()
    graph = read_checkpoint.read(str(paths.MCUNET))
    with stage("frozen layers") as step:
        prepared = Prepared(graph, datasets.cifar10().held_out(), progress=step)
    space = search.Space.of(prepared.trunk, LAYERS, DEPTHS)
    runner = functools.partial(runners.local, workers=args.workers)
    found = search.search(
        prepared, search.Budget(BUDGET), space, search.Recipe(epochs=EPOCHS), runner=runner, stage=stage
    )
    RESULT.write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps({key: found[key] for key in ("scheme", "accuracy", "kilobytes")}))


if __name__ == "__main__":
    main()
